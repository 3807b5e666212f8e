/* Every allocation of a fit, an added class, an update, a save, a load and a prediction fails in
 * turn: a clean error, no leak, and an estimator that still works. */
#include "support/estimator.h"
#include "support/failing_alloc.h"

#include "golden/feature_golden.h"

#include <string.h>

static mica_engine *engine;
static const char *spec;

static mica_status life(mica_estimator *e, mica_record *record, mica_estimator **again) {
  mica_fit_data data = test_data(golden_x, 60, 5, golden_y);
  mica_view target = test_rows(golden_t, 60, 2), more = test_rows(golden_xt, 4, 5);
  int64_t label[12];
  double numbers[12 * 4], anomaly[12];
  bool regression = strncmp(spec, "ridge:lambda=1,2", 16) == 0;
  if (regression) data.label = NULL, data.target = &target;
  const mica_estimator_functions *fn = mica_estimator_component(e)->functions;
  if (!(fn->abilities & MICA_ESTIMATOR_CLASSIFIES)) data.label = NULL;
  mica_status status = mica_estimator_fit(e, &data, NULL);
  if (!status && fn->add_class && mica_estimator_task(e) == MICA_TASK_CLASSIFICATION) {
    status = mica_estimator_add_class(e, &more, NULL);
    if (status && mica_estimator_classes(e) != 3) return MICA_ERR_STATE;
  }
  if (!status && fn->abilities & MICA_ESTIMATOR_UPDATES) status = mica_estimator_update(e, &data);
  if (!status) status = mica_estimator_save(e, record);
  if (!status) status = mica_estimator_load(engine, record, again);
  if (status) return status;
  mica_prediction p = MICA_PREDICTION;
  mica_view x = test_rows(golden_xt, 12, 5);
  p.score = numbers;
  if (fn->abilities & MICA_ESTIMATOR_DETECTS) p.anomaly = anomaly;
  status = mica_estimator_predict(*again, &x, &p);
  if (status || regression) return status;
  p.score = p.anomaly = NULL;
  p.label = label;
  return mica_estimator_predict(*again, &x, &p);
}

static mica_status whole_life(void *ctx) {
  (void)ctx;
  mica_estimator *e = NULL, *again = NULL;
  mica_record *record = NULL;
  mica_status status = mica_estimator_create(engine, spec, &e);
  if (!status) status = mica_record_create(&record);
  if (!status) status = life(e, record, &again);
  mica_estimator_free(e);
  mica_estimator_free(again);
  mica_record_free(record);
  return status;
}

static void test_estimators(void **state) {
  (void)state;
  const char *const specs[] = {"logistic:max_iter=4:C=3",
                               "ridge",
                               "ridge:lambda=1,2",
                               "knn:k=3",
                               "prototypes",
                               "naive_bayes",
                               "linear_svm",
                               "gaussian",
                               "gaussian:levels=2,3:classes=one",
                               "gaussian:distance=euclidean",
                               "gaussian:reducer=npca:variance=0.9",
                               "one_class_svm:levels=2,3"};
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    spec = specs[i];
    assert_int_equal(whole_life(NULL), MICA_OK); /* what the engine keeps is made here */
    assert_true(fail_each(whole_life, NULL) > 20);
  }
}

static mica_status validate(void *ctx) {
  (void)ctx;
  mica_fit_data data = test_data(golden_x, 60, 5, golden_y);
  mica_contender c[] = {MICA_CONTENDER("prototypes"), MICA_CONTENDER("knn")};
  mica_status status = mica_cross_validate(engine, &data, 2, 1, 0.95, 2, c, NULL);
  return status;
}

static mica_status rank(void *ctx) {
  (void)ctx;
  mica_estimate each[2][3], mean[2];
  double score[60 * 3];
  for (int i = 0; i < 180; i++) score[i] = golden_x[i];
  return mica_one_vs_rest(engine, mica_key_seed(1), 60, 3, score, golden_y, 0.95, 10, each[0],
                          each[1], &mean[0], &mean[1]);
}

static mica_status numerics(void *ctx) {
  (void)ctx;
  mica_view x = test_rows(golden_x, 60, 5);
  double centres[15], y[120];
  mica_estimate ap;
  mica_map_options o = MICA_MAP_OPTIONS;
  o.iterations = 3;
  mica_status status = mica_kmeans(engine, &x, 3, NULL, centres, NULL, NULL);
  if (!status) status = mica_map_points(engine, &x, &o, y, NULL);
  if (!status)
    status = mica_average_precision(engine, mica_key_seed(1), 80, golden_score, golden_positive,
                                    0.9, 5, &ap);
  return status;
}

static void test_algorithms(void **state) {
  (void)state;
  assert_int_equal(validate(NULL), MICA_OK);
  assert_true(fail_each(validate, NULL) > 20);
  assert_int_equal(rank(NULL), MICA_OK);
  assert_true(fail_each(rank, NULL) > 8);
  assert_int_equal(numerics(NULL), MICA_OK);
  assert_true(fail_each(numerics, NULL) > 20);
}

/* One thread: the n-th allocation is then the same one in every run. */
static int set_up(void **state) {
  (void)state;
  failing_alloc_install();
  engine = test_engine(1);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  failing_alloc_remove();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_estimators),
      cmocka_unit_test(test_algorithms),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
