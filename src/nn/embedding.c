/* The embedding layer: a table of rows, looked up by id. */
#include <mica/nn.h>

mica_status mica_nn_embedding_init(mica_node *node, int64_t rows, int64_t width) {
  const mica_init init = {MICA_INIT_NORMAL, 0, 1, 0, false};
  return mica_param_add(node, "weight", MICA_F32, MICA_SHAPE(rows, width),
                        MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_EMBEDDING, &init,
                        NULL);
}

mica_var mica_nn_embedding(mica_tape *t, mica_node *node, mica_var ids) {
  mica_nn_enter(t, node);
  return mica_scope_end(t, mica_embedding(t, mica_adapted_weight(t, node, "weight"), ids));
}
