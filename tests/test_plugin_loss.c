/* A loss from a shared object outside the library: loaded, found by name, composed, trained with.
 */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static mica_engine *engine;

static void test_focal(void **state) {
  (void)state;
  mica_loss *loss;
  mica_params *p;
  assert_int_equal(mica_params_create(engine, 0, &p), MICA_OK);
  mica_node *node = mica_params_root(p);
  assert_int_not_equal(mica_loss_create(engine, "own_focal", node, 3, 4, &loss), MICA_OK);
  const mica_status status = mica_engine_load_plugin(engine, MICA_PLUGINS "/loss_focal.so");
  if (status != MICA_OK) print_error("%s\n", mica_last_error());
  assert_int_equal(status, MICA_OK);
  assert_int_equal(mica_loss_create(engine, "ce+0.5*own_focal:gamma=1", node, 3, 4, &loss),
                   MICA_OK);
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  float x[6] = {1, 2, 3, 0, -1, 1};
  int64_t y[2] = {2, 0};
  const mica_view xv = mica_view_of(x, MICA_F32, MICA_SHAPE(2, 3)),
                  yv = mica_view_of(y, MICA_I64, MICA_SHAPE(2));
  const mica_loss_inputs in = {.logits = mica_constant(t, &xv), .labels = mica_constant(t, &yv)};
  const double got = mica_item(t, mica_loss_forward(t, loss, &in));
  double want = 0;
  for (int i = 0; i < 2; i++) {
    double sum = 0;
    for (int c = 0; c < 3; c++) sum += exp((double)x[3 * i + c]);
    const double q = exp((double)x[3 * i + y[i]]) / sum;
    want += (-log(q) - 0.5 * (1 - q) * log(q)) / 2;
  }
  assert_true(fabs(got - want) < 1e-6);
  mica_tape_free(t);
  mica_loss_free(loss);
  mica_params_free(p);
}

/* mica/mica.h turns operations into macros that note where they were called. */
static void test_errors_name_the_line(void **state) {
  (void)state;
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_var a = mica_full(t, MICA_F32, MICA_SHAPE(2), 0),
           b = mica_full(t, MICA_F32, MICA_SHAPE(3), 0);
  char want[64];
  snprintf(want, sizeof want, "test_plugin_loss.c:%d)", __LINE__ + 1);
  mica_add(t, a, b);
  assert_non_null(strstr(mica_tape_error(t), want));
  mica_tape_free(t);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_focal),
                                     cmocka_unit_test(test_errors_name_the_line)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
