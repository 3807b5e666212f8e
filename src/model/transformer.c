/* What transformers with the names of the `transformers` library share. */
#include "model/transformer.h"

mica_status mica_normal_linear_init(mica_node *node, int64_t in, int64_t out, double deviation) {
  const mica_init normal = {MICA_INIT_NORMAL, 0, deviation, 0, false};
  mica_status status = mica_nn_linear_init(node, in, out, true);
  if (status == MICA_OK) status = mica_param_initialise(mica_node_param(node, "weight"), &normal);
  return status == MICA_OK ? mica_param_initialise(mica_node_param(node, "bias"), &MICA_INIT_ZEROS)
                           : status;
}

mica_status mica_normal_table_init(mica_node *node, int64_t rows, int64_t width, double deviation) {
  const mica_init normal = {MICA_INIT_NORMAL, 0, deviation, 0, false};
  const mica_status status = mica_nn_embedding_init(node, rows, width);
  return status == MICA_OK ? mica_param_initialise(mica_node_param(node, "weight"), &normal)
                           : status;
}

mica_var mica_separate_attention(mica_tape *t, mica_node *node, const char *const name[3],
                                 int64_t heads, const mica_attention_options *o, mica_var x) {
  const int64_t n = mica_dim(t, x, 0), length = mica_dim(t, x, 1), c = mica_dim(t, x, 2);
  mica_var part[3];
  if (!mica_ok(t)) return MICA_NONE;
  mica_scope_begin(t, NULL);
  for (int i = 0; i < 3; i++)
    part[i] = mica_reshape(t, mica_nn_linear(t, mica_node_find(node, name[i]), x),
                           MICA_SHAPE(n, length, heads, c / heads));
  const mica_var y = mica_masked_attention(t, part[0], part[1], part[2], MICA_NONE, o, NULL);
  return mica_scope_end(t, mica_reshape(t, y, MICA_SHAPE(n, length, c)));
}
