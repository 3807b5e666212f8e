/* Batch norm over some of the positions: what it learns is what batch norm learns from those alone,
 * whatever the others hold; and the layers that begin as the identity. */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <string.h>

#define ROWS 12
#define COLS 3

static mica_engine *engine;
static mica_tape *t;
static mica_params *p;

static int setup(void **state) {
  (void)state;
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  if (mica_params_create(engine, 1, &p) != MICA_OK) return 1;
  return mica_tape_create(engine, NULL, &t) != MICA_OK;
}
static int teardown(void **state) {
  (void)state;
  mica_tape_free(t);
  mica_params_free(p);
  mica_engine_free(engine);
  return 0;
}

static bool is_active(int row) {
  return row % 3 != 1;
}

/* Rows of a batch; those that are left out hold `other`. */
static mica_var batch(double other, bool active_only) {
  float x[ROWS * COLS];
  int n = 0;
  for (int r = 0; r < ROWS; r++) {
    if (active_only && !is_active(r)) continue;
    for (int c = 0; c < COLS; c++)
      x[n * COLS + c] = is_active(r) ? (float)sin(r * 5 + c * 2.3) + (float)c : (float)other;
    n++;
  }
  const mica_view v = mica_view_of(x, MICA_F32, MICA_SHAPE(n, COLS));
  return mica_constant(t, &v);
}
static mica_var mask(void) {
  float m[ROWS];
  for (int r = 0; r < ROWS; r++) m[r] = is_active(r);
  const mica_view v = mica_view_of(m, MICA_F32, MICA_SHAPE(ROWS));
  return mica_constant(t, &v);
}

static mica_node *layer(const char *name) {
  mica_node *node = mica_node_child(mica_params_root(p), name);
  assert_int_equal(mica_nn_batch_norm_init(node, COLS), MICA_OK);
  return node;
}
static void same_buffer(const mica_node *a, const mica_node *b, const char *name) {
  const mica_tensor *x = mica_param_value(mica_node_param(a, name)),
                    *y = mica_param_value(mica_node_param(b, name));
  for (int64_t i = 0; i < mica_tensor_count(x); i++)
    assert_true(fabs(mica_tensor_get(x, i) - mica_tensor_get(y, i)) < 1e-6);
}

static void test_statistics(void **state) {
  (void)state;
  mica_node *some = layer("some"), *all = layer("all");
  for (int step = 0; step < 3; step++) {
    mica_tape_reset(t);
    mica_set_training(t, true);
    const mica_var y = mica_nn_masked_batch_norm(t, some, MICA_RELU, batch(NAN, false), mask());
    const mica_var z = mica_nn_batch_norm(t, all, MICA_RELU, batch(0, true));
    const mica_view got = mica_read(t, y), want = mica_read(t, z);
    if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
    for (int r = 0, k = 0; r < ROWS; r++, k += is_active(r - 1))
      for (int c = 0; c < COLS; c++) {
        const float g = ((const float *)got.data)[r * COLS + c];
        assert_true(is_active(r) ? g == ((const float *)want.data)[k * COLS + c] : g == 0);
      }
    assert_int_equal(mica_commit(t), MICA_OK);
  }
  same_buffer(some, all, "running_mean");
  same_buffer(some, all, "running_var");
  same_buffer(some, all, "num_batches_tracked");
  /* A batch of which nothing is left changes nothing. */
  mica_tape_reset(t);
  mica_set_training(t, true);
  mica_nn_masked_batch_norm(t, some, MICA_RELU, batch(0, false),
                            mica_full(t, MICA_F32, MICA_SHAPE(ROWS), 0));
  assert_int_equal(mica_commit(t), MICA_OK);
  same_buffer(some, all, "running_mean");
  same_buffer(some, all, "num_batches_tracked");
  /* In evaluation the running statistics are used, and the others are 0. */
  mica_tape_reset(t);
  mica_set_training(t, false);
  const mica_var y = mica_nn_masked_batch_norm(t, some, MICA_IDENTITY, batch(7, false), mask());
  const mica_var z = mica_nn_batch_norm(t, all, MICA_IDENTITY, batch(7, false));
  const mica_view got = mica_read(t, y), want = mica_read(t, z);
  for (int i = 0; i < ROWS * COLS; i++) {
    const double w = is_active(i / COLS) ? (double)((const float *)want.data)[i] : 0;
    assert_true(fabs((double)((const float *)got.data)[i] - w) < 1e-5);
  }
}

static void test_mask_shapes(void **state) {
  (void)state;
  mica_tape_reset(t);
  mica_masked_batch_norm_train(t, batch(0, false), mica_full(t, MICA_F32, MICA_SHAPE(ROWS - 1), 1),
                               MICA_NONE, MICA_NONE, 1e-5, MICA_IDENTITY, NULL, NULL, NULL);
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  if (!strstr(mica_tape_error(t), "a mask [..]")) fail_msg("%s", mica_tape_error(t));
  mica_tape_reset(t);
}

static void test_identities(void **state) {
  (void)state;
  mica_node *response = mica_node_child(mica_params_root(p), "response"),
            *prelu = mica_node_child(mica_params_root(p), "prelu");
  assert_int_equal(mica_nn_global_response_norm_init(response, COLS), MICA_OK);
  assert_int_equal(mica_nn_prelu_init(prelu, 1, 1), MICA_OK);
  mica_tape_reset(t);
  const mica_var x = batch(-2, false);
  const mica_view v = mica_read(t, x),
                  a = mica_read(t, mica_nn_global_response_norm(t, response, 1e-6, x)),
                  b = mica_read(t, mica_nn_prelu(t, prelu, x));
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  assert_memory_equal(a.data, v.data, sizeof(float) * ROWS * COLS);
  assert_memory_equal(b.data, v.data, sizeof(float) * ROWS * COLS);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_statistics),
                                     cmocka_unit_test(test_mask_shapes),
                                     cmocka_unit_test(test_identities)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
