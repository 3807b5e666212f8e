/* An activation with a learnt slope below 0. */
#include <mica/nn.h>

mica_status mica_nn_prelu_init(mica_node *node, int64_t channels, double slope) {
  const mica_init init = {MICA_INIT_CONSTANT, slope, 0, 0, false};
  return mica_param_add(node, "weight", MICA_F32, MICA_SHAPE(channels), MICA_PARAM_TRAINABLE, &init,
                        NULL);
}

mica_var mica_nn_prelu(mica_tape *t, mica_node *node, mica_var x) {
  mica_nn_enter(t, node);
  return mica_scope_end(t, mica_prelu(t, x, mica_weight(t, node, "weight")));
}
