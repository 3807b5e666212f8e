/* What click models share. */
#include "model/click.h"

mica_status mica_click_check(const mica_problem *task, const char *model) {
  if (task->classes > 2)
    return mica_fail(MICA_ERR_INVALID, "model %s: %lld classes, expected two: clicked or not",
                     model, (long long)task->classes);
  if (task->height)
    return mica_fail(MICA_ERR_INVALID, "model %s reads fields and columns, no images", model);
  return MICA_OK;
}

mica_status mica_click_bias_init(mica_node *root, const mica_problem *task) {
  if (!task->classes) return MICA_OK;
  return mica_param_add(root, "bias", MICA_F32, MICA_SHAPE(task->classes), MICA_PARAM_TRAINABLE,
                        &MICA_INIT_ZEROS, NULL);
}

mica_var mica_click_logits(mica_tape *t, mica_node *root, mica_var z) {
  mica_var bias = mica_weight_optional(t, root, "bias");
  if (mica_is_none(bias)) return MICA_NONE;
  if (mica_dim(t, bias, 0) == 2)
    z = mica_pad(t, z, 2, (const int64_t[]){0, 1}, (const int64_t[]){0, 0}, 0);
  return mica_add(t, z, bias);
}

mica_status mica_click_linear_init(mica_node *root, const mica_problem *task) {
  return mica_nn_field_embedding_init(mica_node_child(root, "linear"), task->fields,
                                      task->field_size, task->channels, 1, NULL);
}

mica_var mica_click_linear(mica_tape *t, mica_node *root, const mica_inputs *in) {
  mica_var w = mica_nn_field_embedding(t, mica_node_find(root, "linear"), in->fields, in->x);
  return mica_sum(t, w, 1, (const int[]){1}, false);
}

mica_status mica_click_embedding_init(mica_node *root, const mica_problem *task, int64_t dim,
                                      const char *table) {
  mica_node *node = mica_node_child(root, "embedding");
  if (!table)
    return mica_nn_field_embedding_init(node, task->fields, task->field_size, task->channels, dim,
                                        NULL);
  mica_status status = mica_embedding_init(node, table, task->fields, task->field_size, dim);
  if (status == MICA_OK && task->channels) {
    const mica_init small = {MICA_INIT_NORMAL, 0, 0.01, 0, false};
    status = mica_param_add(node, "numeric", MICA_F32, MICA_SHAPE(task->channels, dim),
                            MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_EMBEDDING, &small,
                            NULL);
  }
  return status;
}

mica_var mica_click_embedding(mica_tape *t, mica_node *root, const mica_inputs *in) {
  mica_node *node = mica_node_find(root, "embedding");
  if (!mica_embedding_at(node)) return mica_nn_field_embedding(t, node, in->fields, in->x);
  const mica_var y = mica_embedding_lookup(t, node, in->fields);
  return mica_nn_field_columns(t, node, y, in->x);
}

mica_status mica_click_head_init(mica_node *root, int64_t width) {
  return mica_nn_linear_init(mica_node_child(root, "head"), width, 1, false);
}

mica_var mica_click_head(mica_tape *t, mica_node *root, mica_var features) {
  return mica_nn_linear(t, mica_node_find(root, "head"), features);
}

const char *mica_click_no_head(const void *options) {
  (void)options;
  return NULL;
}
