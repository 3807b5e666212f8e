/* Learning curves on Gaussian classes, and where two curves cross. */
#include "support/estimator.h"
#include "support/failing_alloc.h"

#include <mica/experimental.h>

#include <string.h>

enum { N = 300, D = 20, CLASSES = 3, TESTS = 200, SIZES = 3, REPEATS = 4 };

static const int64_t sizes[SIZES] = {6, 30, 250};
static const char *const specs[] = {"naive_bayes", "logistic"};
static double x[N * D], test_x[TESTS * D];
static int64_t y[N], test_y[TESTS];
static mica_engine *engine;

static int set_up(void **state) {
  (void)state;
  engine = test_engine(2);
  const mica_key world = mica_key_seed(1);
  const mica_view a = test_rows(x, N, D), b = test_rows(test_x, TESTS, D);
  return mica_gaussian_mixture_draw(engine, world, mica_key_seed(2), MICA_MIXTURE_EASY, CLASSES, &a,
                                    y) ||
         mica_gaussian_mixture_draw(engine, world, mica_key_seed(3), MICA_MIXTURE_EASY, CLASSES, &b,
                                    test_y);
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

static mica_learning_curve_options options(void) {
  mica_learning_curve_options o = MICA_LEARNING_CURVE_OPTIONS;
  o.sizes = sizes;
  o.n_sizes = SIZES;
  o.repeats = REPEATS;
  return o;
}

static mica_status curve(const mica_engine *e, const mica_learning_curve_options *o,
                         double *error) {
  const mica_fit_data data = test_data(x, N, D, y);
  const mica_view test = test_rows(test_x, TESTS, D);
  return mica_learning_curve(e, &data, &test, test_y, o, 2, specs, error);
}

static double mean(const double *error, int k, int s) {
  double sum = 0;
  for (int r = 0; r < REPEATS; r++) sum += error[(k * SIZES + s) * REPEATS + r] / REPEATS;
  return sum;
}

static void more_rows_err_less(void **state) {
  (void)state;
  double error[2 * SIZES * REPEATS], again[2 * SIZES * REPEATS];
  mica_learning_curve_options o = options();
  assert_int_equal(curve(engine, &o, error), MICA_OK);
  for (int i = 0; i < 2 * SIZES * REPEATS; i++) assert_true(error[i] >= 0 && error[i] <= 1);
  for (int k = 0; k < 2; k++) assert_true(mean(error, k, 2) < mean(error, k, 0));
  assert_true(mean(error, 0, 1) < mean(error, 1, 1)); /* naive Bayes is right here */
  mica_engine *alone = test_engine(1);
  assert_int_equal(curve(alone, &o, again), MICA_OK);
  assert_memory_equal(error, again, sizeof error);
  o.seed = 1;
  assert_int_equal(curve(alone, &o, again), MICA_OK);
  assert_memory_not_equal(error, again, sizeof error);
  mica_engine_free(alone);
}

/* The whole pool is one draw: the fit on scaled columns is what a fit by hand is. */
static void scales_by_the_drawn_rows(void **state) {
  (void)state;
  static double scaled[N * D], scaled_test[TESTS * D];
  const int64_t all[] = {N};
  for (int how = MICA_SCALE_MINMAX; how <= MICA_SCALE_STANDARD; how++) {
    mica_learning_curve_options o = options();
    double error[2], wrong = 0;
    int64_t label[TESTS];
    for (int j = 0; j < D; j++) {
      double lo = INFINITY, hi = -INFINITY, m = 0, v = 0;
      for (int i = 0; i < N; i++) m += x[i * D + j] / N;
      for (int i = 0; i < N; i++) {
        v += (x[i * D + j] - m) * (x[i * D + j] - m) / N;
        lo = fmin(lo, x[i * D + j]);
        hi = fmax(hi, x[i * D + j]);
      }
      const double shift = how == MICA_SCALE_MINMAX ? lo : m;
      const double by = how == MICA_SCALE_MINMAX ? hi - lo : sqrt(v);
      for (int i = 0; i < N; i++) scaled[i * D + j] = (x[i * D + j] - shift) / by;
      for (int i = 0; i < TESTS; i++) scaled_test[i * D + j] = (test_x[i * D + j] - shift) / by;
    }
    mica_estimator *e;
    const mica_fit_data data = test_data(scaled, N, D, y);
    const mica_view test = test_rows(scaled_test, TESTS, D);
    mica_prediction p = MICA_PREDICTION;
    p.label = label;
    assert_int_equal(mica_estimator_create(engine, "logistic", &e), MICA_OK);
    assert_int_equal(mica_estimator_fit(e, &data, NULL), MICA_OK);
    assert_int_equal(mica_estimator_predict(e, &test, &p), MICA_OK);
    for (int i = 0; i < TESTS; i++) wrong += label[i] != test_y[i];
    mica_estimator_free(e);
    o.sizes = all;
    o.n_sizes = o.repeats = 1;
    o.scaling = (mica_scaling)how;
    assert_int_equal(curve(engine, &o, error), MICA_OK);
    assert_true(fabs(error[1] - wrong / TESTS) < 0.011); /* the order of rows moves a tie or two */
  }
}

/* One row of each of 30 classes is as good as never drawn by chance. */
static void every_class_is_drawn(void **state) {
  (void)state;
  enum { MANY = 30 };
  static double rows[MANY * 4];
  static int64_t label[MANY * 4];
  const int64_t size[] = {MANY};
  double error[1];
  for (int i = 0; i < MANY * 4; i++) {
    label[i] = i % MANY;
    rows[i] = (double)label[i] + 0.001 * (i / MANY);
  }
  const mica_fit_data data = test_data(rows, MANY * 4, 1, label);
  const mica_view test = test_rows(rows, MANY * 4, 1);
  const char *const spec[] = {"prototypes:metric=euclidean"};
  mica_learning_curve_options o = options();
  o.sizes = size;
  o.n_sizes = o.repeats = 1;
  assert_int_equal(mica_learning_curve(engine, &data, &test, label, &o, 1, spec, error), MICA_OK);
  assert_true(error[0] == 0);
}

static int stop(void *ctx, const char *what, int64_t done, int64_t all) {
  (void)ctx;
  (void)what;
  return done > all / 2;
}

static void refuses(void **state) {
  (void)state;
  double error[2 * SIZES * REPEATS];
  mica_learning_curve_options o = options();
  mica_fit_data data = test_data(x, N, D, y);
  mica_view test = test_rows(test_x, TESTS, D);
  const int64_t few[] = {2}, many[] = {N + 1};
  const char *const unknown[] = {"no_such"};
  o.n_sizes = 1;
  o.sizes = few;
  assert_int_equal(curve(engine, &o, error), MICA_ERR_INVALID);
  o.sizes = many;
  assert_int_equal(curve(engine, &o, error), MICA_ERR_INVALID);
  o = options();
  o.repeats = 0;
  assert_int_equal(curve(engine, &o, error), MICA_ERR_INVALID);
  o = options();
  assert_true(mica_learning_curve(engine, &data, &test, test_y, &o, 1, unknown, error) != MICA_OK);
  assert_non_null(strstr(mica_last_error(), "no_such"));
  o.progress = stop;
  assert_int_equal(curve(engine, &o, error), MICA_ERR_CANCELLED);
  o = options();
  const mica_view narrow = test_rows(test_x, TESTS, D - 1);
  assert_int_equal(mica_learning_curve(engine, &data, &narrow, test_y, &o, 2, specs, error),
                   MICA_ERR_SHAPE);
  y[7] = -1;
  assert_int_equal(curve(engine, &o, error), MICA_ERR_INVALID);
  y[7] = 0;
  data.label = NULL;
  assert_int_equal(mica_learning_curve(engine, &data, &test, test_y, &o, 2, specs, error),
                   MICA_ERR_INVALID);
  x[5] = NAN;
  assert_int_equal(curve(engine, &o, error), MICA_ERR_NUMERIC);
  x[5] = 0;
}

static mica_status small(void *ctx) {
  const int64_t size[] = {10};
  mica_learning_curve_options o = options();
  double error[2];
  o.sizes = size;
  o.n_sizes = o.repeats = 1;
  return curve(ctx, &o, error);
}

static void failing_memory_is_an_error(void **state) {
  (void)state;
  mica_engine *alone = test_engine(1);
  assert_int_equal(small(alone), MICA_OK);
  assert_true(fail_each(small, alone) > 10);
  mica_engine_free(alone);
}

static void curves_cross(void **state) {
  (void)state;
  const int64_t at[] = {10, 100, 1000};
  const double flat[] = {0.2, 0.2, 0.2}, falling[] = {0.3, 0.25, 0.1}, above[] = {0.5, 0.4, 0.3},
               meets[] = {0.4, 0.2, 0.2}, wild[] = {0.1, 0.3, 0.1};
  assert_near(mica_crossover(3, at, flat, falling), 100 * pow(10, 1.0 / 3), 1e-9);
  assert_near(mica_crossover(3, at, falling, flat), 100 * pow(10, 1.0 / 3), 1e-9);
  assert_true(isnan(mica_crossover(3, at, flat, above)));
  assert_near(mica_crossover(3, at, flat, meets), 100, 1e-9);
  assert_near(mica_crossover(3, at, flat, wild), 100 * sqrt(10), 1e-9); /* the last of two */
  assert_true(isnan(mica_crossover(1, at, flat, falling)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(more_rows_err_less),         cmocka_unit_test(scales_by_the_drawn_rows),
      cmocka_unit_test(every_class_is_drawn),       cmocka_unit_test(refuses),
      cmocka_unit_test(failing_memory_is_an_error), cmocka_unit_test(curves_cross),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
