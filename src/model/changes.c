/* See changes.h. */
#include "model/changes.h"

#include "param/low_rank.h"
#include "param/tree.h"

#include <stdio.h>
#include <string.h>

#define PRODUCTS_MOST ((int64_t)1 << 31) /* elements that factors may stand for */
#define ADAPTERS_MOST 65536              /* a network has fewer modules */

/* ---- writing ---- */

typedef struct look {
  mica_json_writer *w; /* NULL: only count */
  int kind;            /* 0: factors, 1: folded norms, 2: adapters */
  int64_t n;
} look;

static mica_status write_adapters(look *l, const mica_node *node) {
  for (int32_t i = 0; i < node->n_adapter; i++, l->n++) {
    const mica_adapting *a = &node->adapter[i];
    if (!l->w) continue;
    char *text = mica_spec_text(a->spec);
    if (!text) return MICA_ERR_MEMORY;
    mica_json_begin_object(l->w);
    mica_json_put_text(l->w, "name", a->name);
    mica_json_put_text(l->w, "module", node->path);
    mica_json_put_text(l->w, "spec", text);
    mica_json_write_name(l->w, "on");
    mica_json_write_bool(l->w, !a->off);
    mica_json_write_name(l->w, "merged");
    mica_json_write_bool(l->w, a->merged);
    mica_json_end_object(l->w);
    mica_free(text);
  }
  return MICA_OK;
}

static mica_status one(void *ctx, mica_node *node) {
  look *l = ctx;
  if (l->kind == 2) return write_adapters(l, node);
  if (l->kind == 0 ? !node->low_rank : !node->folded) return MICA_OK;
  l->n++;
  if (!l->w) return MICA_OK;
  mica_json_begin_object(l->w);
  if (l->kind == 0) {
    const mica_param *first = mica_node_param(mica_node_find(node, "0"), "weight");
    mica_json_put_text(l->w, "module", node->path);
    mica_json_put_int(l->w, "rank", mica_tensor_dim(first->value, 0));
  } else {
    mica_json_put_text(l->w, "norm", node->path);
    mica_json_put_text(l->w, "into", node->folded->path);
  }
  mica_json_end_object(l->w);
  return MICA_OK;
}

static const char *const lists[] = {"low_rank", "folded", "adapters"};

static int64_t count(const mica_params *params, int kind) {
  look l = {NULL, kind, 0};
  (void)mica_node_each(params->root, one, &l);
  return l.n;
}

bool mica_changes_any(const mica_params *params) {
  return count(params, 0) || count(params, 1) || count(params, 2);
}

mica_status mica_changes_write(const mica_params *params, mica_json_writer *w) {
  mica_status status = MICA_OK;
  for (int kind = 0; kind < 3 && status == MICA_OK; kind++) {
    if (!count(params, kind)) continue;
    look l = {w, kind, 0};
    mica_json_write_name(w, lists[kind]);
    mica_json_begin_array(w);
    status = mica_node_each(params->root, one, &l);
    mica_json_end_array(w);
  }
  return status;
}

/* ---- reading ---- */

static mica_status find(mica_params *params, const char *path, mica_node **out) {
  *out = mica_node_find(params->root, path);
  return *out ? MICA_OK : mica_fail(MICA_ERR_FORMAT, "there is no module '%.200s'", path);
}

static mica_status read_factors(mica_params *params, const mica_json *item) {
  const char *module;
  int64_t rank;
  mica_node *node;
  mica_status status = mica_json_need_string(item, "module", &module);
  if (status == MICA_OK) status = mica_json_need_int64(item, "rank", &rank);
  if (status == MICA_OK) status = find(params, module, &node);
  return status == MICA_OK ? mica_low_rank_split(node, rank) : status;
}

static mica_status read_folded(mica_params *params, const mica_json *item) {
  const char *norm, *into;
  mica_node *a, *b;
  mica_status status = mica_json_need_string(item, "norm", &norm);
  if (status == MICA_OK) status = mica_json_need_string(item, "into", &into);
  if (status == MICA_OK) status = find(params, norm, &a);
  if (status == MICA_OK) status = find(params, into, &b);
  return status == MICA_OK ? mica_norm_fold(b, a, 0, false) : status;
}

static mica_status read_adapter(mica_params *params, const mica_json *item) {
  const char *name, *module, *spec;
  bool on = true, merged = false;
  mica_node *node;
  mica_status status = mica_json_need_string(item, "name", &name);
  if (status == MICA_OK) status = mica_json_need_string(item, "module", &module);
  if (status == MICA_OK) status = mica_json_need_string(item, "spec", &spec);
  if (status == MICA_OK) status = find(params, module, &node);
  (void)mica_json_bool(mica_json_get(item, "on"), &on);
  (void)mica_json_bool(mica_json_get(item, "merged"), &merged);
  if (status == MICA_OK) status = mica_node_adapt(node, name, spec);
  if (status == MICA_OK && node->n_adapter) {
    node->adapter[node->n_adapter - 1].off = !on;
    node->adapter[node->n_adapter - 1].merged = merged;
  }
  return status;
}

mica_status mica_changes_read(mica_params *params, const mica_json *root) {
  static mica_status (*const read[])(mica_params *, const mica_json *) = {read_factors, read_folded,
                                                                          read_adapter};
  mica_status status = MICA_OK;
  for (int kind = 0; kind < 3 && status == MICA_OK; kind++) {
    const mica_json *list = mica_json_get(root, lists[kind]);
    if (!list) continue;
    if (mica_json_type_of(list) != MICA_JSON_ARRAY || mica_json_count(list) > ADAPTERS_MOST)
      return mica_fail(MICA_ERR_FORMAT, "%s is no list of modules", lists[kind]);
    for (int64_t i = 0; i < mica_json_count(list) && status == MICA_OK; i++) {
      status = read[kind](params, mica_json_item(list, i));
      if (status == MICA_OK || status == MICA_ERR_MEMORY) continue;
      /* What the caller may not do is here what the file should not say. */
      char why[256];
      snprintf(why, sizeof why, "%s", mica_last_error());
      status = mica_fail(status == MICA_ERR_NOT_FOUND ? MICA_ERR_UNSUPPORTED : MICA_ERR_FORMAT,
                         "%s[%lld]: %s", lists[kind], (long long)i, why);
    }
  }
  return status;
}

mica_status mica_net_change_as(mica_net *net, const char *path) {
  mica_archive *archive;
  mica_json_doc *doc = NULL;
  mica_status status = mica_archive_open(path, &archive);
  if (status != MICA_OK) return status;
  const char *text = mica_archive_metadata(archive, "mica");
  if (text) status = mica_json_parse(text, strlen(text), &doc);
  if (doc) {
    /* Entries are made without values: those of the file come next. */
    mica_params *params = mica_net_params(net);
    const uint64_t seed = params->seed;
    params->seed = MICA_SEED_NONE;
    status = mica_changes_read(params, mica_json_root(doc));
    params->seed = seed;
  }
  mica_json_free(doc);
  mica_archive_close(archive);
  return status == MICA_OK ? status : mica_fail_within("%s", path);
}

int64_t mica_changes_elements(const mica_json *root, const mica_archive *archive) {
  const mica_json *list = mica_json_get(root, lists[0]);
  int64_t sum = 0;
  for (int64_t i = 0; list && i < mica_json_count(list); i++) {
    const char *module = mica_json_string(mica_json_get(mica_json_item(list, i), "module"));
    char name[512];
    int64_t size[2] = {0, 0};
    for (int k = 0; module && k < 2; k++) {
      if (snprintf(name, sizeof name, "%s.%d.weight", module, k) >= (int)sizeof name) break;
      const int64_t at = mica_archive_find(archive, name);
      const mica_shape *s = at < 0 ? NULL : mica_archive_shape(archive, at);
      if (s && s->rank > 1 && s->dim[0] > 0)
        size[k] = k ? s->dim[0] : mica_shape_count(s) / s->dim[0];
    }
    if (size[0] > 0 && size[1] > 0 && size[0] <= PRODUCTS_MOST / size[1]) sum += size[0] * size[1];
    if (sum > PRODUCTS_MOST) return PRODUCTS_MOST;
  }
  return sum;
}
