/* The hook between a layer and its weight, and attaching, asking and merging through it. */
#include "param/packed_linear.h"
#include "param/tree.h"

#include <mica/ops.h>

static const mica_adapter_functions *functions_of(const mica_node *node) {
  return node->adapter ? node->adapter->functions : NULL;
}

bool mica_node_adapted(const mica_node *node) {
  return node->adapter != NULL;
}

static mica_status attach(mica_node *node, const char *pattern, const mica_spec *spec,
                          int64_t *count) {
  if (mica_node_param(node, "weight") && mica_path_matches(pattern, node->path)) {
    if (node->adapter)
      return mica_fail(MICA_ERR_STATE, "'%s' has the adapter %s already; merge it first",
                       node->path, node->adapter->name);
    const mica_component *component = mica_spec_component(spec);
    const mica_adapter_functions *f = component->functions;
    mica_status status = f->attach(node, mica_spec_options(spec), &node->adapter_state);
    if (status != MICA_OK) return status;
    node->adapter = component;
    ++*count;
    return MICA_OK;
  }
  /* Only the nodes there are now: an adapter's own nodes are not adapted. */
  for (int32_t i = 0, n = node->n_child; i < n; i++) {
    mica_status status = attach(node->child[i], pattern, spec, count);
    if (status != MICA_OK) return status;
  }
  return MICA_OK;
}

mica_status mica_adapt(mica_params *p, const char *pattern, const char *text, int64_t *count) {
  mica_spec *spec;
  int64_t n = 0;
  mica_status status = mica_spec_parse(p->engine, MICA_KIND_ADAPTER, text, &spec);
  if (status != MICA_OK) return status;
  status = attach(p->root, pattern, spec, &n);
  mica_spec_free(spec);
  if (count) *count = n;
  if (status == MICA_OK && !n)
    status = mica_fail(MICA_ERR_NOT_FOUND, "adapter %s: no module with a weight matches '%s'", text,
                       pattern);
  return status;
}

mica_var mica_adapted_weight(mica_tape *t, mica_node *node, const char *name) {
  mica_var w = mica_weight(t, node, name);
  const mica_adapter_functions *f = node ? functions_of(node) : NULL;
  return f && !mica_is_none(w) ? f->weight(t, node, node->adapter_state, w) : w;
}

mica_var mica_adapted_linear(mica_tape *t, mica_node *node, mica_var x) {
  mica_var w = mica_weight(t, node, "weight"), b = mica_weight_optional(t, node, "bias");
  if (!mica_ok(t)) return MICA_NONE;
  const mica_adapter_functions *f = functions_of(node);
  if (f && f->linear) return f->linear(t, node, node->adapter_state, x, w, b);
  if (f) {
    w = f->weight(t, node, node->adapter_state, w);
  } else {
    bool done;
    const mica_var y = mica_packed_linear(t, mica_node_param(node, "weight"), x, w, b, &done);
    if (done) return y;
  }
  return mica_linear(t, x, w, b, MICA_IDENTITY);
}

static mica_status merge(mica_node *node) {
  const mica_adapter_functions *f = functions_of(node);
  if (f) {
    mica_status status = f->merge(node, node->adapter_state);
    if (status != MICA_OK) return status;
    if (f->free) f->free(node->adapter_state);
    node->adapter = NULL;
    node->adapter_state = NULL;
  }
  for (int32_t i = 0; i < node->n_child; i++) {
    mica_status status = merge(node->child[i]);
    if (status != MICA_OK) return status;
  }
  return MICA_OK;
}

mica_status mica_adapters_merge(mica_params *p) {
  return merge(p->root);
}
