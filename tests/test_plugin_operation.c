/* An operation with its own backward from a shared object outside the library, used by a loss of
 * the same object. */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>

static mica_engine *engine;

#define assert_close(a, b, bound) assert_true(fabs((a) - (b)) <= (bound))

/* The plug-in's loss pulls codes of its own straight-through sign towards the targets:
 * mean (sign(x) - y)^2, with the gradient as if sign were x clipped to [-1, 1]. */
static void test_plugin_operation(void **state) {
  (void)state;
  mica_loss *loss;
  mica_params *p;
  assert_int_equal(mica_engine_load_plugin(engine, MICA_PLUGINS "/operation_sign.so"), MICA_OK);
  assert_int_equal(mica_params_create(engine, 0, &p), MICA_OK);
  assert_int_equal(mica_loss_create(engine, "codes", mica_params_root(p), 2, 4, &loss), MICA_OK);
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  const float x[4] = {0.5f, -0.25f, 3, -2}, y[4] = {1, 1, -1, -1};
  const mica_view xv = mica_view_of((void *)(uintptr_t)x, MICA_F32, MICA_SHAPE(2, 2)),
                  yv = mica_view_of((void *)(uintptr_t)y, MICA_F32, MICA_SHAPE(2, 2));
  mica_tensor *data;
  assert_int_equal(mica_tensor_from_view(&xv, MICA_F32, &data), MICA_OK);
  mica_var leaf = mica_leaf(t, data);
  const mica_loss_inputs in = {.logits = leaf, .targets = mica_constant(t, &yv)};
  mica_var value = mica_loss_forward(t, loss, &in);
  assert_close(mica_item(t, value), 2, 1e-6); /* two codes of four are wrong by 2 */
  assert_int_equal(mica_backward(t, value), MICA_OK);
  const mica_view g = mica_read(t, mica_gradient(t, leaf));
  static const float want[4] = {0, -1, 0, 0};
  for (int i = 0; i < 4; i++)
    assert_close((double)((const float *)g.data)[i], (double)want[i], 1e-6);
  mica_tensor_free(data);
  mica_tape_free(t);
  mica_loss_free(loss);
  mica_params_free(p);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_plugin_operation)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
