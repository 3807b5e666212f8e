/* Transforms of rows, machines in pairs and with a free bias, views, regions, sets of patches, and
 * the measures of what they find. */
#include "support/estimator.h"
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

enum { ROWS = 60, D = 6, CLASSES = 3 };
static double rows[ROWS * D];
static int64_t label[ROWS];

static void draw(void) {
  const mica_key key = mica_key_seed(8);
  for (int64_t i = 0; i < ROWS; i++) {
    label[i] = i % CLASSES;
    for (int64_t j = 0; j < D; j++)
      rows[i * D + j] = mica_random_normal(key, (uint64_t)(i * D + j)) + (j == label[i] ? 2.5 : 0);
  }
}

/* ---- transforms ---- */

static void test_lengths_and_powers(void **state) {
  (void)state;
  const double x[] = {3, -4, 0, 0};
  const mica_view v = test_rows(x, 2, 2);
  mica_transform_options o = MICA_TRANSFORM_OPTIONS;
  mica_transform *t;
  double y[4];
  o.power = 2;
  assert_int_equal(mica_transform_fit(engine, &o, &v, &t), MICA_OK);
  assert_int_equal(mica_transform_apply(engine, t, &v, y), MICA_OK);
  const double a = 0.36, b = 0.64, length = sqrt(a * a + b * b);
  assert_near(y[0], a / length, 1e-15);
  assert_near(y[1], -b / length, 1e-15);
  assert_true(y[2] == 0 && y[3] == 0);
  assert_null(mica_transform_variances(t));
  const mica_view wide = test_rows(x, 1, 4);
  assert_int_equal(mica_transform_apply(engine, t, &wide, y), MICA_ERR_SHAPE);
  mica_transform_free(t);
  o.power = 0;
  assert_int_equal(mica_transform_fit(engine, &o, &v, &t), MICA_ERR_INVALID);
  o.power = 1;
  o.pca = 3;
  assert_int_equal(mica_transform_fit(engine, &o, &v, &t), MICA_ERR_INVALID);
  const double bad[] = {1, NAN};
  const mica_view nan = test_rows(bad, 1, 2);
  o.pca = 0;
  assert_int_equal(mica_transform_fit(engine, &o, &nan, &t), MICA_ERR_NUMERIC);
  o.pca = 1;
  const mica_view lone = test_rows(x, 1, 2);
  assert_int_equal(mica_transform_fit(engine, &o, &lone, &t), MICA_ERR_INVALID);
  assert_null(t);
}

/* Whitened components of the rows that they were learnt from have mean 0 and variance 1. */
static void test_whitening(void **state) {
  (void)state;
  const mica_view v = test_rows(rows, ROWS, D);
  mica_transform_options o = MICA_TRANSFORM_OPTIONS;
  mica_transform *t, *again;
  mica_record *record;
  double y[ROWS * 4], z[ROWS * 4];
  o.pca = 4;
  o.normalise = false;
  assert_int_equal(mica_transform_fit(engine, &o, &v, &t), MICA_OK);
  assert_int_equal(mica_transform_width(t), 4);
  assert_int_equal(mica_transform_columns(t), D);
  assert_int_equal(mica_transform_apply(engine, t, &v, y), MICA_OK);
  for (int j = 0; j < 4; j++) {
    double mean = 0, square = 0;
    for (int i = 0; i < ROWS; i++) mean += y[4 * i + j] / ROWS;
    for (int i = 0; i < ROWS; i++) square += y[4 * i + j] * y[4 * i + j] / ROWS;
    assert_near(mean, 0, 1e-12);
    assert_near(square, 1, 1e-9);
  }
  assert_int_equal(mica_record_create(&record), MICA_OK);
  assert_int_equal(mica_transform_save(t, record), MICA_OK);
  assert_int_equal(mica_transform_load(&o, D, record, &again), MICA_OK);
  assert_int_equal(mica_transform_apply(engine, again, &v, z), MICA_OK);
  assert_memory_equal(y, z, sizeof y);
  mica_transform_free(again);
  assert_true(mica_transform_load(&o, D + 1, record, &again) != MICA_OK);
  assert_null(again);
  mica_record_free(record);
  mica_transform_free(t);
}

/* ---- machines ---- */

static double right_of(const mica_estimator *e, const mica_view *x, int64_t n) {
  int64_t got[ROWS], right = 0;
  test_predict(e, *x, got, NULL, NULL, NULL);
  for (int64_t i = 0; i < n; i++) right += got[i] == label[i];
  return (double)right / (double)n;
}

static void same_after_a_record(const mica_estimator *e, const mica_view *x) {
  mica_record *record;
  mica_estimator *again;
  double a[ROWS * CLASSES], b[ROWS * CLASSES];
  assert_int_equal(mica_record_create(&record), MICA_OK);
  assert_int_equal(mica_estimator_save(e, record), MICA_OK);
  if (mica_estimator_load(engine, record, &again) != MICA_OK) fail_msg("%s", mica_last_error());
  test_predict(e, *x, NULL, a, NULL, NULL);
  test_predict(again, *x, NULL, b, NULL, NULL);
  assert_memory_equal(a, b, (size_t)(x->shape.dim[0] * CLASSES) * sizeof *a);
  mica_estimator_free(again);
  mica_record_free(record);
}

static void test_machines(void **state) {
  (void)state;
  const mica_view x = test_rows(rows, ROWS, D);
  const mica_fit_data data = test_data(rows, ROWS, D, label);
  static const char *const specs[] = {
      "linear_svm:scheme=ovo",
      "linear_svm:bias=free:loss=hinge",
      "linear_svm:bias=free",
      "linear_svm:bias=free:scheme=ovo:loss=hinge:class_weight=balanced",
      "transformed:with=(linear_svm:C=10)",
      "transformed:power=2:pca=3:with=logistic"};
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    mica_fit_report report = {.size = sizeof report};
    mica_estimator *e = test_fit(engine, specs[i], &data, &report);
    if (right_of(e, &x, ROWS) < 0.8) fail_msg("%s: %g", specs[i], right_of(e, &x, ROWS));
    assert_true(report.converged);
    same_after_a_record(e, &x);
    mica_estimator_free(e);
  }
  /* A free bias costs nothing: the optimum is below that of any penalised one, and shifted rows
   * have the same machine. */
  mica_fit_report free_ = {.size = sizeof free_}, shifted = {.size = sizeof shifted};
  mica_estimator *e =
      test_fit(engine, "linear_svm:bias=free:loss=hinge:tol=1e-8:max_iter=100000", &data, &free_);
  mica_estimator_free(e);
  double moved[ROWS * D];
  for (int i = 0; i < ROWS * D; i++) moved[i] = rows[i] + 3;
  const mica_fit_data far = test_data(moved, ROWS, D, label);
  e = test_fit(engine, "linear_svm:bias=free:loss=hinge:tol=1e-8:max_iter=100000", &far, &shifted);
  assert_near(free_.objective, shifted.objective, 1e-5 * free_.objective);
  mica_estimator_free(e);
  mica_fit_report squared = {.size = sizeof squared}, penalised = {.size = sizeof penalised};
  e = test_fit(engine, "linear_svm:bias=free:tol=1e-8:max_iter=100000", &data, &squared);
  mica_estimator_free(e);
  e = test_fit(engine, "linear_svm:tol=1e-8:max_iter=100000", &data, &penalised);
  mica_estimator_free(e);
  assert_true(squared.objective <= penalised.objective * (1 + 1e-6));
  double w[CLASSES * D], b[CLASSES];
  e = test_fit(engine, "linear_svm:scheme=ovo", &data, NULL);
  assert_int_equal(mica_estimator_linear(e, w, b), MICA_ERR_UNSUPPORTED);
  mica_estimator_free(e);
  /* A class without rows is never named. */
  mica_fit_data four = data;
  four.classes = 4;
  e = test_fit(engine, "linear_svm:scheme=ovo:bias=free", &four, NULL);
  assert_true(right_of(e, &x, ROWS) >= 0.8);
  mica_estimator_free(e);
  mica_estimator *bad;
  assert_int_equal(mica_estimator_create(engine, "transformed:views=4", &bad), MICA_OK);
  assert_int_equal(mica_estimator_fit(bad, &data, NULL), MICA_ERR_SHAPE);
  mica_estimator_free(bad);
  assert_int_equal(mica_estimator_create(engine, "transformed:with=one_class_svm", &bad), MICA_OK);
  assert_int_equal(mica_estimator_fit(bad, &data, NULL), MICA_ERR_INVALID);
  mica_estimator_free(bad);
}

/* Two views a row: the sum of what each is worth. */
static void test_views(void **state) {
  (void)state;
  const int64_t n = ROWS / 2;
  int64_t two[ROWS / 2];
  for (int64_t i = 0; i < n; i++) two[i] = i % 2;
  double pairs[ROWS * D];
  for (int64_t i = 0; i < n; i++)
    for (int64_t v = 0; v < 2; v++)
      memcpy(pairs + (2 * i + v) * D, rows + ((i % 2) + 3 * (i / 2 % 10) + 30 * v) * D,
             D * sizeof *pairs);
  const mica_fit_data data = test_data(pairs, n, 2 * D, two);
  const mica_view x = test_rows(pairs, n, 2 * D), each = test_rows(pairs, 2 * n, D);
  static const char *const forms[] = {"sum", "max"};
  for (int f = 0; f < 2; f++) {
    char spec[80];
    snprintf(spec, sizeof spec, "transformed:views=2:form=%s:with=linear_svm", forms[f]);
    mica_estimator *e = test_fit(engine, spec, &data, NULL);
    double got[ROWS], want[ROWS], single[2 * ROWS];
    int64_t doubled[ROWS];
    for (int64_t i = 0; i < 2 * n; i++) doubled[i] = two[i / 2];
    const mica_fit_data alone = test_data(pairs, 2 * n, D, doubled);
    mica_estimator *one = test_fit(engine, "transformed:with=linear_svm", &alone, NULL);
    test_predict(e, x, NULL, got, NULL, NULL);
    test_predict(one, each, NULL, single, NULL, NULL);
    mica_view_scores(f ? MICA_VIEW_MAX : MICA_VIEW_SUM, n, 2, 2, single, want);
    for (int64_t i = 0; i < 2 * n; i++) assert_near(got[i], want[i], 1e-12);
    mica_estimator_free(e);
    mica_estimator_free(one);
  }
}

/* ---- regions and patches ---- */

static void test_regions(void **state) {
  (void)state;
  mica_region r[30];
  assert_int_equal(mica_region_count(4), 30);
  assert_int_equal(mica_regions(9, 12, 4, r), MICA_OK);
  assert_true(r[0].y == 0 && r[0].x == 0 && r[0].height == 9 && r[0].width == 12);
  assert_true(r[4].y == 3 && r[4].x == 4 && r[4].height == 6 && r[4].width == 8);
  for (int i = 0; i < 30; i++)
    assert_true(r[i].y >= 0 && r[i].x >= 0 && r[i].y + r[i].height <= 9 &&
                r[i].x + r[i].width <= 12);
  assert_int_equal(mica_regions(0, 12, 4, r), MICA_ERR_INVALID);
  assert_int_equal(mica_regions(9, 12, 0, r), MICA_ERR_INVALID);
}

static void test_patches(void **state) {
  (void)state;
  const double q[] = {0, 0, 1, 0}, r[] = {0, 1, 5, 5, 1, 0, 0, 0};
  const mica_view a = test_rows(q, 2, 2), b = test_rows(r, 4, 2);
  double out[2];
  assert_int_equal(mica_patch_set_distances(engine, &a, 2, &b, 2, out), MICA_OK);
  assert_near(out[0], (1 + sqrt(2)) / 2, 1e-15);
  assert_near(out[1], 0, 0);
  assert_int_equal(mica_patch_set_distances(engine, &a, 2, &b, 3, out), MICA_ERR_SHAPE);
}

static void test_measures(void **state) {
  (void)state;
  const double score[] = {4, 3, 2, 1};
  const bool positive[] = {true, false, true, false}, none[] = {false, false, false, false};
  double v;
  assert_int_equal(mica_average_precision_11(4, score, positive, &v), MICA_OK);
  assert_near(v, (6 * 1.0 + 5 * 2.0 / 3) / 11, 1e-15);
  assert_int_equal(mica_average_precision_11(4, score, none, &v), MICA_ERR_INVALID);
  double distance[64];
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < 8; j++) distance[8 * i + j] = i / 4 == j / 4 ? abs(i - j) : 10;
  assert_int_equal(mica_ukbench_score(8, distance, &v), MICA_OK);
  assert_near(v, 4, 0);
  for (int j = 4; j < 8; j++) distance[j] = 0.5; /* all strangers are nearer than the first's kin */
  assert_int_equal(mica_ukbench_score(8, distance, &v), MICA_OK);
  assert_near(v, (7 * 4 + 1) / 8.0, 1e-15);
  assert_int_equal(mica_ukbench_score(7, distance, &v), MICA_ERR_INVALID);
}

static mica_status life(void *ctx) {
  const mica_fit_data data = test_data(rows, ROWS, D, label);
  mica_estimator *e = NULL, *again = NULL;
  mica_record *record = NULL;
  int64_t got[ROWS];
  mica_prediction out = MICA_PREDICTION;
  out.label = got;
  mica_status status = mica_estimator_create(engine, ctx, &e);
  if (!status) status = mica_estimator_fit(e, &data, NULL);
  if (!status) status = mica_record_create(&record);
  if (!status) status = mica_estimator_save(e, record);
  if (!status) status = mica_estimator_load(engine, record, &again);
  if (!status) status = mica_estimator_predict(again, &data.x, &out);
  mica_estimator_free(e);
  mica_estimator_free(again);
  mica_record_free(record);
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  char pairs[] = "linear_svm:scheme=ovo:bias=free", whole[] = "transformed:pca=3";
  assert_int_equal(life(pairs), MICA_OK);
  fail_each(life, pairs);
  assert_int_equal(life(whole), MICA_OK);
  fail_each(life, whole);
}

static int set_up(void **state) {
  (void)state;
  draw();
  engine = test_engine(1);
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lengths_and_powers),
      cmocka_unit_test(test_whitening),
      cmocka_unit_test(test_machines),
      cmocka_unit_test(test_views),
      cmocka_unit_test(test_regions),
      cmocka_unit_test(test_patches),
      cmocka_unit_test(test_measures),
      cmocka_unit_test(test_failing_memory),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
