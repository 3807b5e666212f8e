/* Parameters on the tape: weights as leaves, buffer updates in the queue. */
#include "param/tree.h"

#include "autograd/sink.h"
#include "tensor/element.h"

#include <string.h>

mica_var mica_weight_optional(mica_tape *t, mica_node *node, const char *name) {
  mica_param *q = mica_node_param(node, name);
  return q ? mica_param_var(t, q) : MICA_NONE;
}

mica_var mica_weight(mica_tape *t, mica_node *node, const char *name) {
  mica_param *q = mica_node_param(node, name);
  if (q && strcmp(name, "weight") == 0 && mica_node_adapted(node))
    return mica_latch(t, MICA_ERR_UNSUPPORTED, "'%s' has an adapter, and its layer takes none",
                      mica_param_path(q));
  if (q) return mica_param_var(t, q);
  return mica_latch(t, MICA_ERR_NOT_FOUND, "no parameter '%s' below '%s'", name,
                    node ? mica_node_path(node) : "(no node)");
}

/* ---- updates, applied by mica_commit ---- */

static mica_status commit_set(void *owner, double weight, const mica_view *value) {
  (void)weight;
  mica_param *q = owner;
  const mica_view to = mica_tensor_view(q->value);
  q->version++;
  return mica_view_copy(&to, value);
}

static mica_status commit_blend(mica_param *q, double keep, double weight, const mica_view *value) {
  if (mica_view_count(value) != mica_tensor_count(q->value) || !mica_dtype_is_float(value->dtype) ||
      !mica_view_contiguous(value))
    return mica_fail(MICA_ERR_SHAPE, "the update of buffer '%s' has another shape or type",
                     q->path);
  q->version++;
  for (int64_t i = 0, n = mica_view_count(value); i < n; i++)
    mica_tensor_set(q->value, i,
                    keep * mica_tensor_get(q->value, i) + weight * mica_view_element(value, i));
  return MICA_OK;
}

static mica_status commit_lerp(void *owner, double weight, const mica_view *value) {
  return commit_blend(owner, 1 - weight, weight, value);
}

static mica_status commit_add(void *owner, double weight, const mica_view *value) {
  return commit_blend(owner, 1, weight, value);
}

void mica_buffer_set(mica_tape *t, mica_param *buffer, mica_var value) {
  mica_tape_queue(t, commit_set, buffer, 1, value);
}
void mica_buffer_lerp(mica_tape *t, mica_param *buffer, double weight, mica_var value) {
  mica_tape_queue(t, commit_lerp, buffer, weight, value);
}
void mica_buffer_add(mica_tape *t, mica_param *buffer, mica_var value) {
  mica_tape_queue(t, commit_add, buffer, 1, value);
}
