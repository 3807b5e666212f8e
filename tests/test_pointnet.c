/* PointNet: the order of a cloud's points does not matter, rows and pictures of points are the
 * same, and it learns to tell shapes; what does not fit together is refused. */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <string.h>

enum { CLOUDS = 24, POINTS = 32 };

static mica_engine *engine;

/* Points on a sphere, or on the faces of a cube. */
static void draw(float *x, int64_t *label) {
  const mica_key key = mica_key_seed(8);
  for (uint64_t i = 0; i < CLOUDS; i++) {
    label[i] = (int64_t)(i % 2);
    for (uint64_t p = 0; p < POINTS; p++) {
      double v[3], length = 0, most = 0;
      for (uint64_t c = 0; c < 3; c++) {
        v[c] = mica_random_normal(key, (i * POINTS + p) * 4 + c);
        length += v[c] * v[c];
        most = fmax(most, fabs(v[c]));
      }
      for (uint64_t c = 0; c < 3; c++)
        x[(i * POINTS + p) * 3 + c] = (float)(v[c] / (label[i] ? most : sqrt(length)));
    }
  }
}

static void features(const mica_net *net, float *x, mica_shape shape, float *out) {
  mica_tape *t;
  mica_outputs y;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_tensor *in;
  const mica_view v = mica_view_of(x, MICA_F32, shape);
  assert_int_equal(mica_tensor_from_view(&v, MICA_F32, &in), MICA_OK);
  mica_net_forward(t, net, mica_input(t, in), &y);
  const mica_view got = mica_read(t, y.features);
  assert_true(mica_ok(t));
  memcpy(out, got.data, (size_t)(shape.dim[0] * mica_net_features(net)) * sizeof *out);
  mica_tensor_free(in);
  mica_tape_free(t);
}

static void test_order(void **state) {
  (void)state;
  static float x[CLOUDS * POINTS * 3], turned[CLOUDS * POINTS * 3], a[CLOUDS * 16], b[CLOUDS * 16];
  int64_t label[CLOUDS];
  mica_net *rows, *pictures;
  const mica_problem r = MICA_PROBLEM_ROWS(POINTS * 3, 2), p = MICA_PROBLEM_IMAGES(POINTS, 1, 3, 2);
  const char *spec = "pointnet:widths=8,16:hidden=8";
  draw(x, label);
  for (int i = 0; i < CLOUDS; i++)
    for (int k = 0; k < POINTS; k++)
      memcpy(turned + (i * POINTS + k) * 3, x + (i * POINTS + (k * 7 + 3) % POINTS) * 3,
             3 * sizeof *x);
  assert_int_equal(mica_net_create(engine, spec, &r, 1, &rows), MICA_OK);
  assert_int_equal(mica_net_create(engine, spec, &p, 1, &pictures), MICA_OK);
  assert_int_equal(mica_net_features(rows), 16);
  features(rows, x, MICA_SHAPE(CLOUDS, POINTS * 3), a);
  features(rows, turned, MICA_SHAPE(CLOUDS, POINTS * 3), b);
  for (int i = 0; i < CLOUDS * 16; i++) assert_true(fabsf(a[i] - b[i]) <= 1e-6f);
  features(pictures, x, MICA_SHAPE(CLOUDS, POINTS, 1, 3), b);
  assert_memory_equal(a, b, sizeof a);
  mica_net_free(rows);
  mica_net_free(pictures);
}

static void test_learns(void **state) {
  (void)state;
  mica_tensor *x, *label;
  mica_net *net;
  mica_stream stream;
  mica_evaluation e;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  const mica_problem problem = MICA_PROBLEM_ROWS(POINTS * 3, 2);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(CLOUDS, POINTS * 3), &x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(CLOUDS), &label), MICA_OK);
  draw(mica_tensor_data(x), mica_tensor_data(label));
  assert_int_equal(
      mica_net_create(engine, "pointnet:widths=16,32:hidden=16:dropout=0.1", &problem, 2, &net),
      MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, label, 8, true, false, 3, &stream), MICA_OK);
  o.epochs = 30;
  o.optimiser = "adam:lr=0.01";
  assert_int_equal(mica_train(net, &stream, NULL, &o, NULL), MICA_OK);
  assert_int_equal(mica_evaluate(net, &stream, false, false, &e), MICA_OK);
  assert_true(e.accuracy > 0.85);
  mica_evaluation_clear(&e);
  mica_memory_stream_free(&stream);
  mica_net_free(net);
  mica_tensor_free(x);
  mica_tensor_free(label);
}

static void test_refuses(void **state) {
  (void)state;
  mica_net *net;
  const mica_problem odd = MICA_PROBLEM_ROWS(31, 2);
  assert_int_equal(mica_net_create(engine, "pointnet", &odd, 1, &net), MICA_ERR_INVALID);
  assert_int_equal(mica_net_create(engine, "pointnet:widths=", &odd, 1, &net), MICA_ERR_INVALID);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_learns),
                                     cmocka_unit_test(test_refuses)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
