/* What stands between a layer and its weight: attaching adapters, asking them, merging them. */
#include "param/packed_linear.h"
#include "param/tree.h"

#include <mica/ops.h>

#include <stdio.h>
#include <string.h>

void mica_adapting_end(mica_adapting *a) {
  mica_spec_free(a->spec);
  mica_free(a->name);
}

static const mica_adapter_functions *functions_of(const mica_adapting *a) {
  return mica_spec_component(a->spec)->functions;
}

static bool works(const mica_adapting *a) {
  return !a->off && !a->merged;
}

bool mica_node_adapted(const mica_node *node) {
  for (int32_t i = 0; i < node->n_adapter; i++)
    if (works(&node->adapter[i])) return true;
  return false;
}

/* ---- attaching ---- */

static mica_status check_name(const char *name) {
  const size_t n = name ? strlen(name) : 0;
  if (n >= 1 && n <= 64 &&
      strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n)
    return MICA_OK;
  return mica_fail(MICA_ERR_INVALID,
                   "adapter '%.80s': a name is 1 to 64 letters, digits, '_' and '-'",
                   name ? name : "");
}

static mica_adapting *find(const mica_node *node, const char *name) {
  for (int32_t i = 0; i < node->n_adapter; i++)
    if (strcmp(node->adapter[i].name, name) == 0) return &node->adapter[i];
  return NULL;
}

/* The entries below an adapter's node go; the node stays, empty. */
static mica_status clear(mica_node *own) {
  mica_status status = MICA_OK;
  while (own->n_entry && status == MICA_OK)
    status = mica_param_remove(own, own->entry[own->n_entry - 1].name);
  return status;
}

static mica_status attach(mica_node *node, const char *name, mica_spec *spec, bool *kept) {
  mica_param *weight = mica_node_param(node, "weight");
  const mica_adapter_functions *f = mica_spec_component(spec)->functions;
  mica_node *own = mica_node_childf(node, "adapter.%s", name);
  if (!own) return mica_last_status();
  if (mica_tensor_shape(weight->value)->rank < 2 || !mica_tensor_count(weight->value))
    return mica_fail(MICA_ERR_SHAPE, "adapter %s: '%s' is no matrix or kernel",
                     mica_spec_component(spec)->name, weight->path);
  if (!mica_tree_room((void **)&node->adapter, node->n_adapter, &node->cap_adapter,
                      sizeof *node->adapter))
    return MICA_ERR_MEMORY;
  char *copy = mica_strdup(name);
  if (!copy) return MICA_ERR_MEMORY;
  const bool alone = f->output || (node->n_adapter && functions_of(&node->adapter[0])->output);
  if (alone && node->n_adapter) {
    mica_free(copy);
    return mica_fail(MICA_ERR_STATE, "adapter %s: '%s' has an adapter beside which it cannot stand",
                     mica_spec_component(spec)->name, node->path);
  }
  mica_param_set_flags(weight, 0, MICA_PARAM_TRAINABLE);
  mica_status status = f->output ? f->attach_output(own, weight, mica_node_param(node, "bias"),
                                                    mica_spec_options_mut(spec))
                                 : f->attach(own, weight, mica_spec_options_mut(spec));
  for (int32_t i = 0; i < own->n_entry; i++)
    mica_param_set_flags(own->entry[i].param, MICA_PARAM_ADAPTER, 0);
  *kept = status == MICA_OK && (f->delta || f->output);
  if (*kept) {
    node->adapter[node->n_adapter++] = (mica_adapting){copy, spec, own, false, false};
  } else {
    mica_free(copy);
    if (status != MICA_OK) (void)clear(own);
  }
  return status;
}

mica_status mica_node_adapt(mica_node *node, const char *name, const char *text) {
  mica_spec *spec = NULL;
  bool kept = false;
  mica_status status = check_name(name);
  if (status != MICA_OK) return status;
  if (!mica_node_param(node, "weight"))
    return mica_fail(MICA_ERR_NOT_FOUND, "adapter %s: '%s' has no weight", text, node->path);
  if (find(node, name))
    return mica_fail(MICA_ERR_STATE, "'%s' has an adapter '%s' already; merge or remove it first",
                     node->path, name);
  status = mica_spec_parse(node->tree->engine, MICA_KIND_ADAPTER, text, &spec);
  if (status == MICA_OK) status = attach(node, name, spec, &kept);
  if (!kept) mica_spec_free(spec);
  return status;
}

/* Is the module meant? Without a pattern, what has most of a network's weights. */
static bool meant(const mica_node *node, const char *pattern) {
  const mica_param *w = mica_node_param(node, "weight");
  if (!w || mica_tensor_shape(w->value)->rank < 2) return false; /* norms have vectors */
  if (pattern) return mica_path_matches(pattern, node->path);
  return w->flags & (MICA_PARAM_LINEAR | MICA_PARAM_CONVOLUTION) && !(w->flags & MICA_PARAM_OUTPUT);
}

static mica_status attach_below(mica_node *node, const char *name, const char *pattern,
                                const char *spec, int64_t *count) {
  mica_status status = MICA_OK;
  /* Only the nodes there are now: an adapter's own nodes are not adapted. */
  const int32_t n = node->n_child;
  if (meant(node, pattern)) {
    status = mica_node_adapt(node, name, spec);
    ++*count;
  }
  for (int32_t i = 0; i < n && status == MICA_OK; i++)
    if (strcmp(node->child[i]->name, "adapter") != 0)
      status = attach_below(node->child[i], name, pattern, spec, count);
  return status;
}

mica_status mica_adapt_as(mica_params *p, const char *name, const char *pattern, const char *text,
                          int64_t *count) {
  int64_t n = 0;
  mica_spec *spec;
  mica_status status = mica_spec_parse(p->engine, MICA_KIND_ADAPTER, text, &spec);
  if (status != MICA_OK) return status;
  mica_spec_free(spec);
  status = attach_below(p->root, name, pattern, text, &n);
  if (count) *count = n;
  if (status == MICA_OK && !n)
    status = mica_fail(MICA_ERR_NOT_FOUND, "adapter %s: no module with a weight matches '%s'", text,
                       pattern ? pattern : "linear layers and convolutions");
  return status;
}

mica_status mica_adapt(mica_params *p, const char *pattern, const char *text, int64_t *count) {
  return mica_adapt_as(p, "default", pattern, text, count);
}

/* ---- in a forward ---- */

static mica_var delta(mica_tape *t, const mica_adapting *a) {
  mica_scope_begin(t, a->name);
  return mica_scope_end(t, functions_of(a)->delta(t, a->own, mica_spec_options(a->spec)));
}

/* mica_weight is for layers that take no adapters, and refuses them. */
static mica_var plain_weight(mica_tape *t, mica_node *node, const char *name) {
  mica_param *q = mica_node_param(node, name);
  return q ? mica_param_var(t, q) : mica_weight(t, node, name);
}

/* The weight of a node, which may be in two factors, and what its adapters add. */
mica_var mica_adapted_weight(mica_tape *t, mica_node *node, const char *name) {
  mica_var w = node && node->low_rank && strcmp(name, "weight") == 0 ? mica_low_rank_weight(t, node)
                                                                     : plain_weight(t, node, name);
  for (int32_t i = 0; node && i < node->n_adapter && mica_ok(t); i++) {
    if (!works(&node->adapter[i]) || functions_of(&node->adapter[i])->output) continue;
    const mica_var d = delta(t, &node->adapter[i]);
    if (mica_ok(t)) w = mica_add(t, w, mica_reshape(t, d, mica_read(t, w).shape));
  }
  return w;
}

mica_var mica_adapted_output(mica_tape *t, mica_node *node, mica_var y) {
  for (int32_t i = 0; node && i < node->n_adapter && mica_ok(t); i++) {
    const mica_adapting *a = &node->adapter[i];
    const mica_adapter_functions *f = functions_of(a);
    if (!works(a) || !f->output) continue;
    mica_scope_begin(t, a->name);
    const mica_var other = f->output(t, a->own, mica_spec_options(a->spec), y);
    y = mica_replace(t, y, mica_scope_end(t, other));
  }
  return y;
}

mica_var mica_adapted_linear(mica_tape *t, mica_node *node, mica_var x) {
  if (node && node->low_rank) {
    const mica_var h = mica_adapted_linear(t, mica_node_find(node, "0"), x);
    return mica_replace(t, h, mica_adapted_linear(t, mica_node_find(node, "1"), h));
  }
  const mica_var w = plain_weight(t, node, "weight"), b = mica_weight_optional(t, node, "bias");
  if (!mica_ok(t)) return MICA_NONE;
  bool done;
  mica_var y = mica_packed_linear(t, mica_node_param(node, "weight"), x, w, b, &done);
  if (!done) y = mica_linear(t, x, w, b, MICA_IDENTITY);
  for (int32_t i = 0; i < node->n_adapter && mica_ok(t); i++) {
    const mica_adapting *a = &node->adapter[i];
    if (!works(a)) continue;
    const mica_adapter_functions *f = functions_of(a);
    if (f->output) return mica_adapted_output(t, node, y);
    mica_scope_begin(t, a->name);
    const mica_var more = f->linear ? f->linear(t, a->own, mica_spec_options(a->spec), x)
                                    : mica_linear(t, x, delta(t, a), MICA_NONE, MICA_IDENTITY);
    y = mica_replace(t, y, mica_add(t, y, mica_scope_end(t, more)));
  }
  return y;
}

/* ---- merging ---- */

/* W <- W + sign D, worked out in evaluation. */
static mica_status add_delta(mica_node *node, const mica_adapting *a, double sign) {
  mica_param *weight = mica_node_param(node, "weight");
  mica_tape *t = NULL;
  mica_status status = mica_tape_create(node->tree->engine, NULL, &t);
  if (status != MICA_OK) return status;
  mica_no_grad_begin(t);
  const mica_var d = delta(t, a);
  const mica_view v = mica_ok(t) ? mica_read(t, d) : (mica_view){0};
  status = mica_tape_status(t);
  if (status == MICA_OK && mica_view_count(&v) != mica_tensor_count(weight->value))
    status = mica_fail(MICA_ERR_SHAPE, "adapter '%s': %lld numbers for the weight '%s'", a->name,
                       (long long)mica_view_count(&v), weight->path);
  if (status == MICA_OK) {
    const int64_t n = mica_view_count(&v);
    if (v.dtype == MICA_F64) {
      double *w = mica_param_write(weight);
      for (int64_t i = 0; i < n; i++) w[i] += sign * ((const double *)v.data)[i];
    } else {
      float *w = mica_param_write(weight);
      for (int64_t i = 0; i < n; i++)
        w[i] = (float)((double)w[i] + sign * (double)((const float *)v.data)[i]);
    }
  }
  mica_tape_free(t);
  return status;
}

typedef mica_status (*each_fn)(mica_node *node, mica_adapting *a, bool on);

/* Every adapter of that name (NULL: all), the last of a node first. */
static mica_status each(mica_node *node, const char *name, each_fn fn, bool on, int64_t *count) {
  mica_status status = MICA_OK;
  for (int32_t i = node->n_adapter; i-- > 0 && status == MICA_OK;)
    if (!name || strcmp(node->adapter[i].name, name) == 0) {
      status = fn(node, &node->adapter[i], on);
      ++*count;
    }
  for (int32_t i = 0; i < node->n_child && status == MICA_OK; i++)
    status = each(node->child[i], name, fn, on, count);
  return status;
}

static mica_status each_named(mica_params *p, const char *name, each_fn fn, bool on) {
  int64_t n = 0;
  const mica_status status = each(p->root, name, fn, on, &n);
  if (status == MICA_OK && !n)
    return mica_fail(MICA_ERR_NOT_FOUND, "there is no adapter '%.80s'", name ? name : "");
  return status;
}

static mica_status use(mica_node *node, mica_adapting *a, bool on) {
  if (a->merged)
    return mica_fail(MICA_ERR_STATE, "adapter '%s' is merged into '%s'", a->name, node->path);
  a->off = !on;
  return MICA_OK;
}

static mica_status merge(mica_node *node, mica_adapting *a, bool in) {
  if (a->merged == in) return MICA_OK;
  const mica_adapter_functions *f = functions_of(a);
  if (f->output && !f->merge)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "adapter %s: is no change of weights, and cannot be merged",
                     mica_spec_component(a->spec)->name);
  const mica_status status =
      f->merge ? f->merge(a->own, mica_node_param(node, "weight"), mica_node_param(node, "bias"),
                          mica_spec_options(a->spec), in)
               : add_delta(node, a, in ? 1 : -1);
  if (status == MICA_OK) {
    a->merged = in;
    a->off = false;
  }
  return status;
}

static mica_status forget(mica_node *node, mica_adapting *a, bool unused) {
  (void)unused;
  const mica_status status = clear(a->own);
  if (status != MICA_OK) return status;
  mica_adapting_end(a);
  *a = node->adapter[--node->n_adapter];
  if (!node->n_adapter)
    mica_param_set_flags(mica_node_param(node, "weight"), MICA_PARAM_TRAINABLE, 0);
  return MICA_OK;
}

static mica_status fold(mica_node *node, mica_adapting *a, bool unused) {
  const mica_status status = a->off ? MICA_OK : merge(node, a, true);
  return status == MICA_OK ? forget(node, a, unused) : status;
}

mica_status mica_adapter_use(mica_params *p, const char *name, bool on) {
  return each_named(p, name, use, on);
}
mica_status mica_adapter_merge(mica_params *p, const char *name, bool in) {
  return each_named(p, name, merge, in);
}
mica_status mica_adapter_remove(mica_params *p, const char *name) {
  return each_named(p, name, forget, false);
}
mica_status mica_adapters_merge(mica_params *p) {
  int64_t n = 0;
  return each(p->root, NULL, fold, false, &n);
}

/* ---- what there is ---- */

#define NAMES_MOST 64

typedef struct gathered {
  mica_adapter_facts *facts;
  int64_t n;
} gathered;

static void gather(const mica_node *node, gathered *g) {
  for (int32_t i = 0; i < node->n_adapter; i++) {
    const mica_adapting *a = &node->adapter[i];
    int64_t k = 0;
    while (k < g->n && strcmp(g->facts[k].name, a->name) != 0) k++;
    if (k == NAMES_MOST) continue;
    mica_adapter_facts *f = &g->facts[k];
    if (k == g->n) {
      g->n++;
      *f = (mica_adapter_facts){.on = !a->off, .merged = a->merged};
      snprintf(f->name, sizeof f->name, "%s", a->name);
      char *text = mica_spec_text(a->spec);
      snprintf(f->spec, sizeof f->spec, "%s", text ? text : "");
      mica_free(text);
    }
    f->modules++;
    for (int32_t e = 0; e < a->own->n_entry; e++) {
      const mica_param *q = a->own->entry[e].param;
      f->stored += mica_tensor_count(q->value);
      if (!(q->flags & MICA_PARAM_BUFFER))
        f->trained += q->mask ? q->unmasked : mica_tensor_count(q->value);
    }
  }
  for (int32_t i = 0; i < node->n_child; i++) gather(node->child[i], g);
}

static bool facts_of(const mica_params *p, int64_t at, int64_t *n, mica_adapter_facts *out) {
  mica_adapter_facts facts[NAMES_MOST];
  gathered g = {facts, 0};
  gather(p->root, &g);
  *n = g.n;
  if (at < 0 || at >= g.n) return false;
  *out = facts[at];
  return true;
}

int64_t mica_adapters(const mica_params *p) {
  int64_t n;
  (void)facts_of(p, -1, &n, NULL);
  return n;
}

bool mica_adapter_at(const mica_params *p, int64_t i, mica_adapter_facts *out) {
  int64_t n;
  return facts_of(p, i, &n, out);
}
