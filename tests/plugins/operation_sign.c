/* An operation outside the library, in one file: the sign of x with a straight-through gradient
 * (Bengio, Leonard & Courville 2013), 1 where |x| <= 1 and 0 elsewhere; and a loss that uses it. */
#include <mica/mica.h>

static void sign_forward(mica_call *c) {
  const mica_view *x = &c->in[0];
  if (x->dtype != MICA_F32) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected float32:");
    return;
  }
  const mica_view *y = mica_call_output(c, MICA_F32, x->shape);
  if (!y) return;
  for (int64_t i = 0; i < mica_view_count(y); i++)
    ((float *)y->data)[i] = ((const float *)x->data)[i] < 0 ? -1.0f : 1.0f;
  mica_call_save_input(c, 0);
}

static void sign_backward(mica_call *c) {
  const float *x = c->in[0].data, *gy = c->grad_out[0].data;
  mica_view *gx = mica_call_grad(c, 0);
  for (int64_t i = 0; gx && i < mica_view_count(gx); i++)
    ((float *)gx->data)[i] = x[i] >= -1 && x[i] <= 1 ? gy[i] : 0;
}

static const mica_custom_op sign_op = {
    {sizeof(mica_op), "straight_through_sign", MICA_OP_BY_EXAMPLE, sign_backward}, sign_forward, 0};

static mica_var forward(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  (void)node, (void)options;
  mica_var code;
  mica_custom(t, &sign_op, NULL, 0, 1, &in->logits, 1, &code);
  return mica_mse(t, code, in->targets);
}

static const mica_loss_functions functions = {.forward = forward};

static const mica_component codes = {MICA_COMPONENT_HEAD,
                                     MICA_KIND_LOSS,
                                     "codes",
                                     "squared error of binary codes",
                                     NULL,
                                     NULL,
                                     0,
                                     MICA_NEED_LOGITS | MICA_NEED_TARGETS,
                                     0,
                                     &functions};

__attribute__((visibility("default"))) mica_status mica_plugin_init(mica_engine *engine);
mica_status mica_plugin_init(mica_engine *engine) {
  return mica_engine_register(engine, &codes);
}
