/* Adapter files: what adapters of one name train, and which weights they are for. The bases are
 * worked out again from those weights, unless the file has them too. */
#include "base/json.h"
#include "data/archive.h"
#include "param/tree.h"

#include <mica/model.h>

#include <stdio.h>
#include <string.h>

#define METADATA "mica.adapter"

static void hash_text(const mica_param *weight, char out[17]) {
  const mica_view v = mica_tensor_view(mica_param_value(weight));
  const uint64_t h = mica_hash64(v.data, (size_t)mica_view_count(&v) * mica_dtype_size(v.dtype), 0);
  snprintf(out, 17, "%016llx", (unsigned long long)h);
}

/* ---- writing ---- */

typedef struct writing {
  const char *name;
  bool bases;
  mica_json_writer w;
  mica_named_view *view;
  int64_t n;
} writing;

static mica_status write_node(writing *s, mica_node *node) {
  for (int32_t i = 0; i < node->n_adapter; i++) {
    const mica_adapting *a = &node->adapter[i];
    char hash[17], *text;
    if (strcmp(a->name, s->name) != 0) continue;
    if (a->merged)
      return mica_fail(MICA_ERR_STATE, "adapter '%s' is merged into '%s'", a->name, node->path);
    if (!(text = mica_spec_text(a->spec))) return MICA_ERR_MEMORY;
    hash_text(mica_node_param(node, "weight"), hash);
    mica_json_begin_object(&s->w);
    mica_json_put_text(&s->w, "module", node->path);
    mica_json_put_text(&s->w, "spec", text);
    mica_json_put_text(&s->w, "weight", hash);
    mica_json_end_object(&s->w);
    mica_free(text);
    for (int32_t e = 0; e < a->own->n_entry; e++) {
      const mica_param *q = a->own->entry[e].param;
      if (q->flags & MICA_PARAM_BUFFER && !s->bases) continue;
      s->view[s->n++] = (mica_named_view){q->path, mica_tensor_view(q->value)};
    }
  }
  mica_status status = MICA_OK;
  for (int32_t i = 0; i < node->n_child && status == MICA_OK; i++)
    status = write_node(s, node->child[i]);
  return status;
}

mica_status mica_adapter_save(const mica_params *p, const char *name, const char *path,
                              bool bases) {
  mica_bytes text = {0};
  writing s = {.name = name, .bases = bases, .w = {.out = &text}};
  s.view = mica_calloc((size_t)mica_params_count(p) + 1, sizeof *s.view);
  mica_status status = s.view ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    mica_json_begin_object(&s.w);
    mica_json_put_int(&s.w, "format", 1);
    mica_json_put_text(&s.w, "name", name);
    mica_json_write_name(&s.w, "modules");
    mica_json_begin_array(&s.w);
    status = write_node(&s, p->root);
    mica_json_end_array(&s.w);
    mica_json_end_object(&s.w);
    mica_bytes_byte(&text, 0);
  }
  if (status == MICA_OK) status = text.status;
  if (status == MICA_OK && !s.n)
    status = mica_fail(MICA_ERR_NOT_FOUND, "there is no adapter '%.80s'", name);
  const mica_text_pair pair = {METADATA, text.data};
  if (status == MICA_OK) status = mica_safetensors_write(path, s.view, s.n, &pair, 1);
  mica_bytes_free(&text);
  mica_free(s.view);
  return status;
}

/* ---- reading ---- */

/* The entries that the file has; what is trained must be there. */
static mica_status read_values(const mica_archive *archive, const char *file_name,
                               const mica_adapting *a, const char *module) {
  mica_status status = MICA_OK;
  for (int32_t e = 0; e < a->own->n_entry && status == MICA_OK; e++) {
    mica_param *q = a->own->entry[e].param;
    mica_tensor *value = NULL;
    char name[1024];
    snprintf(name, sizeof name, "%s.adapter.%s.%s", module, file_name, q->name);
    const int64_t at = mica_archive_find(archive, name);
    if (at < 0 && q->flags & MICA_PARAM_BUFFER) continue;
    if (at < 0) return mica_fail(MICA_ERR_FORMAT, "there is no tensor '%.200s'", name);
    status = mica_archive_read(archive, at, &value);
    if (status == MICA_OK) status = mica_param_from_reference(q, value);
    if (status == MICA_ERR_SHAPE) status = mica_fail(MICA_ERR_FORMAT, "%s", mica_last_error());
    mica_tensor_free(value);
  }
  return status;
}

static mica_status read_module(mica_params *p, const mica_archive *archive, const char *file_name,
                               const char *name, const mica_json *item) {
  const char *module, *spec, *hash;
  char here[17];
  mica_status status = mica_json_need_string(item, "module", &module);
  if (status == MICA_OK) status = mica_json_need_string(item, "spec", &spec);
  if (status == MICA_OK) status = mica_json_need_string(item, "weight", &hash);
  if (status != MICA_OK) return status;
  mica_node *node = mica_node_find(p->root, module);
  const mica_param *weight = node ? mica_node_param(node, "weight") : NULL;
  if (!weight)
    return mica_fail(MICA_ERR_INVALID, "the network has no weight '%.200s.weight'", module);
  hash_text(weight, here);
  if (strcmp(hash, here) != 0)
    return mica_fail(MICA_ERR_INVALID, "'%s' is not the weight that the adapter was trained on",
                     mica_param_path(weight));
  status = mica_node_adapt(node, name, spec);
  if (status == MICA_OK)
    status = read_values(archive, file_name, &node->adapter[node->n_adapter - 1], module);
  return status;
}

mica_status mica_adapter_load(mica_params *p, const char *path, const char *as) {
  mica_archive *archive;
  mica_json_doc *doc = NULL;
  const char *name = NULL;
  const mica_json *modules = NULL;
  bool begun = false;
  mica_status status = mica_archive_open(path, &archive);
  if (status != MICA_OK) return status;
  const char *text = mica_archive_metadata(archive, METADATA);
  if (!text) status = mica_fail(MICA_ERR_FORMAT, "no metadata '" METADATA "': not an adapter");
  if (status == MICA_OK) status = mica_json_parse(text, strlen(text), &doc);
  const mica_json *root = doc ? mica_json_root(doc) : NULL;
  if (status == MICA_OK) status = mica_json_need_string(root, "name", &name);
  if (status == MICA_OK) status = mica_json_need(root, "modules", MICA_JSON_ARRAY, &modules);
  mica_adapter_facts facts;
  for (int64_t i = 0; status == MICA_OK && mica_adapter_at(p, i, &facts); i++)
    if (strcmp(facts.name, as ? as : name) == 0)
      status = mica_fail(MICA_ERR_STATE, "there is an adapter '%s' already", facts.name);
  for (int64_t i = 0; status == MICA_OK && i < mica_json_count(modules); i++) {
    begun = true;
    status = read_module(p, archive, name, as ? as : name, mica_json_item(modules, i));
  }
  if (status != MICA_OK) {
    char why[512];
    snprintf(why, sizeof why, "%s", mica_last_error());
    if (begun) (void)mica_adapter_remove(p, as ? as : name);
    status = mica_fail(status, "%s: %s", path, why);
  }
  mica_json_free(doc);
  mica_archive_close(archive);
  return status;
}
