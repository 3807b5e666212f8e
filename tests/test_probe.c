/* The estimator "probe": heads trained on features, tokens among them; what moments see that means
 * do not; through a model's file and sessions. */
#include "support/estimator.h"
#include "support/failing_alloc.h"
#include "support/folder.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

enum { ROWS = 120, TOKENS = 12, CHANNELS = 4, CLASSES = 2 };
static double tokens[ROWS * TOKENS * CHANNELS];
static int64_t label[ROWS];

/* Two classes whose tokens have the same mean, and channels 0 and 1 that go together or against. */
static void draw(void) {
  const mica_key key = mica_key_seed(5);
  for (int64_t i = 0; i < ROWS; i++) {
    label[i] = i % CLASSES;
    for (int64_t k = 0; k < TOKENS; k++) {
      double *x = tokens + (i * TOKENS + k) * CHANNELS;
      for (int64_t c = 0; c < CHANNELS; c++)
        x[c] = mica_random_normal(key, (uint64_t)((i * TOKENS + k) * CHANNELS + c));
      x[1] = (label[i] ? x[0] : -x[0]) + 0.3 * x[1];
    }
  }
}

static mica_estimator *fitted(mica_engine *e, const char *spec, int64_t rows, int64_t d) {
  mica_fit_data data = test_data(tokens, rows, d, label);
  mica_fit_report report = {.size = sizeof report};
  mica_estimator *p;
  if (mica_estimator_create(e, spec, &p) != MICA_OK) fail_msg("%s: %s", spec, mica_last_error());
  if (mica_estimator_fit(p, &data, &report) != MICA_OK) fail_msg("%s: %s", spec, mica_last_error());
  assert_true(report.iterations > 0 && isfinite(report.objective));
  return p;
}

/* The share of the rows from `from` on that it is right about. */
static double accuracy(const mica_estimator *p, int64_t from, int64_t d) {
  int64_t got[ROWS], right = 0;
  double probability[ROWS * CLASSES];
  mica_prediction out = MICA_PREDICTION;
  const mica_view x = test_rows(tokens + from * d, ROWS - from, d);
  out.label = got;
  out.probability = probability;
  assert_int_equal(mica_estimator_predict(p, &x, &out), MICA_OK);
  for (int64_t i = 0; i < ROWS - from; i++) {
    assert_true(fabs(probability[2 * i] + probability[2 * i + 1] - 1) < 1e-9);
    right += got[i] == label[from + i];
  }
  return (double)right / (double)(ROWS - from);
}

static const char moments[] = "probe:head=(moment:hidden=28):channels=4:steps=200:batch=16";

static void test_moments_see_what_means_do_not(void **state) {
  (void)state;
  const int64_t d = TOKENS * CHANNELS;
  mica_estimator *p = fitted(engine, moments, 80, d);
  const double second = accuracy(p, 80, d);
  mica_estimator_free(p);
  p = fitted(engine, "probe:channels=4:steps=200:batch=16", 80, d);
  const double first = accuracy(p, 80, d);
  mica_estimator_free(p);
  if (!(second >= 0.9 && first <= 0.7)) fail_msg("moments %g, the mean %g", second, first);
}

static const char *const specs[] = {
    moments,
    "probe",
    "probe:head=(linear:hidden=5):steps=20:average=0.9:smoothing=0.1",
    "probe:head=(cosine:scale=8):steps=20:schedule=constant:class_token:channels=4",
    "probe:head=(grassmann:dim=2):optimiser=(sgd:lr=0.05 | subspace=rsgd):steps=20",
};

/* The same bits from a record, for float32 rows, and for another number of threads. */
static void test_same_bits(void **state) {
  (void)state;
  const int64_t d = TOKENS * CHANNELS;
  const mica_view x = test_rows(tokens, ROWS, d);
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *one;
  o.threads = 1;
  assert_int_equal(mica_engine_create(&o, &one), MICA_OK);
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    double first[ROWS * CLASSES], second[ROWS * CLASSES], third[ROWS * CLASSES];
    mica_prediction out = MICA_PREDICTION;
    mica_record *record;
    mica_estimator *p = fitted(engine, specs[i], 80, d), *again, *single;
    out.score = first;
    assert_int_equal(mica_estimator_predict(p, &x, &out), MICA_OK);
    assert_int_equal(mica_record_create(&record), MICA_OK);
    assert_int_equal(mica_estimator_save(p, record), MICA_OK);
    if (mica_estimator_load(engine, record, &again) != MICA_OK) fail_msg("%s", mica_last_error());
    out.score = second;
    assert_int_equal(mica_estimator_predict(again, &x, &out), MICA_OK);
    assert_memory_equal(first, second, sizeof first);
    single = fitted(one, specs[i], 80, d);
    out.score = third;
    assert_int_equal(mica_estimator_predict(single, &x, &out), MICA_OK);
    assert_memory_equal(first, third, sizeof first);
    mica_estimator_free(p);
    mica_estimator_free(again);
    mica_estimator_free(single);
    mica_record_free(record);
  }
  mica_engine_free(one);
}

static void test_refusals(void **state) {
  (void)state;
  static const struct {
    const char *spec;
    mica_status status;
    const char *message;
  } bad[] = {
      {"probe:head=(moment:hidden=28)", MICA_ERR_INVALID, "channels"},
      {"probe:channels=7", MICA_ERR_SHAPE, "7 channels"},
      {"probe:head=(grassmann:dim=99)", MICA_ERR_INVALID, "99"},
      {"probe:head=nothing", MICA_ERR_NOT_FOUND, "nothing"},
      {"probe:optimiser=nothing", MICA_ERR_NOT_FOUND, "nothing"},
      {"probe:schedule=nothing", MICA_ERR_NOT_FOUND, "nothing"},
      {"probe:optimiser=(sgd:lr=1e6:momentum=1):head=(linear:hidden=8):steps=200", MICA_ERR_NUMERIC,
       "learning rate"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    mica_fit_data data = test_data(tokens, 40, TOKENS * CHANNELS, label);
    mica_estimator *p;
    assert_int_equal(mica_estimator_create(engine, bad[i].spec, &p), MICA_OK);
    const mica_status status = mica_estimator_fit(p, &data, NULL);
    if (status != bad[i].status || !strstr(mica_last_error(), bad[i].message))
      fail_msg("%s: %d, %s", bad[i].spec, (int)status, mica_last_error());
    mica_estimator_free(p);
  }
}

static int stop(void *ctx, const char *what, int64_t done, int64_t total) {
  (void)ctx, (void)what, (void)total;
  return done == 3;
}

static void test_cancelled(void **state) {
  (void)state;
  mica_fit_data data = test_data(tokens, 40, TOKENS * CHANNELS, label);
  mica_estimator *p;
  data.progress = stop;
  assert_int_equal(mica_estimator_create(engine, "probe", &p), MICA_OK);
  assert_int_equal(mica_estimator_fit(p, &data, NULL), MICA_ERR_CANCELLED);
  assert_false(mica_estimator_fitted(p));
  mica_estimator_free(p);
}

/* ---- as a head of a model that gives all positions of its last map ---- */

enum { SIDE = 8, PICTURES = 40, POSITIONS = 16, WIDTH = 6 };

static mica_model *model_of_maps(void) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, 3);
  const mica_preprocess p = MICA_PREPROCESS(SIDE, SIDE, 1);
  const char *const names[] = {"a", "b", "c"}, *const taps[] = {"pyramid.1:all"};
  mica_net *net;
  mica_model *model;
  assert_int_equal(mica_net_create(engine, "convnet:widths=4,6:convolutions=1", &problem, 1, &net),
                   MICA_OK);
  assert_int_equal(mica_model_create(net, &p, names, NULL, &model), MICA_OK);
  if (mica_model_set_taps(model, 1, taps) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_net_features(mica_model_net(model)), POSITIONS * WIDTH);
  int64_t width = 0;
  assert_string_equal(mica_net_tap(mica_model_net(model), 0, &width), "pyramid.1:all");
  assert_int_equal(width, POSITIONS * WIDTH);
  return model;
}

static void predict(mica_model *model, const uint8_t *pixels, mica_answer *answers) {
  mica_session *session;
  const mica_view x =
      mica_view_of((void *)(uintptr_t)pixels, MICA_U8, MICA_SHAPE(PICTURES, SIDE, SIDE, 1));
  assert_int_equal(mica_session_create(model, &session), MICA_OK);
  if (mica_predict(session, &x, answers) != MICA_OK) fail_msg("%s", mica_last_error());
  mica_session_free(session);
}

static void test_in_a_model(void **state) {
  (void)state;
  static uint8_t pixels[PICTURES * SIDE * SIDE];
  static float features[PICTURES * POSITIONS * WIDTH];
  static mica_answer before[PICTURES], after[PICTURES];
  int64_t truth[PICTURES];
  const char *const names[] = {"x", "y"};
  for (int i = 0; i < PICTURES * SIDE * SIDE; i++) pixels[i] = (uint8_t)(i * i % 251);
  for (int i = 0; i < PICTURES; i++) truth[i] = i % 2;
  mica_model *model = model_of_maps(), *opened;
  mica_session *session;
  const mica_view x = mica_view_of(pixels, MICA_U8, MICA_SHAPE(PICTURES, SIDE, SIDE, 1));
  assert_int_equal(mica_session_create(model, &session), MICA_OK);
  assert_int_equal(mica_embed(session, &x, features), MICA_OK);
  mica_session_free(session);
  mica_estimator *p;
  mica_fit_data data = MICA_FIT_DATA;
  data.x = mica_view_of(features, MICA_F32, MICA_SHAPE(PICTURES, POSITIONS * WIDTH));
  data.label = truth;
  assert_int_equal(
      mica_estimator_create(engine, "probe:head=(moment:hidden=28):channels=6:steps=30", &p),
      MICA_OK);
  if (mica_estimator_fit(p, &data, NULL) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_model_put_head(model, "moments", p, names), MICA_OK);
  predict(model, pixels, before);
  const char *path = folder_path("moments.mica");
  if (mica_model_save(model, path) != MICA_OK) fail_msg("%s", mica_last_error());
  mica_model_free(model);
  if (mica_model_open(engine, path, &opened) != MICA_OK) fail_msg("%s", mica_last_error());
  predict(opened, pixels, after);
  for (int i = 0; i < PICTURES; i++) {
    assert_int_equal(before[i].label, after[i].label);
    assert_true(before[i].probability == after[i].probability);
  }
  mica_model_free(opened);
}

static void test_all_positions(void **state) {
  (void)state;
  mica_model *model = model_of_maps();
  static const char *const bad[] = {"pyramid.7:all", "nothing:all", ":all", "pyramid:all"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const mica_status status = mica_model_set_taps(model, 1, &bad[i]);
    assert_true(status == MICA_ERR_NOT_FOUND || status == MICA_ERR_INVALID);
  }
  const char *const two[] = {"stages.?:all"};
  if (mica_model_set_taps(model, 1, two) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_net_taps(mica_model_net(model)), 2);
  assert_int_equal(mica_net_features(mica_model_net(model)), 64 * 4 + 16 * 6);
  mica_model_free(model);
}

/* ---- memory ---- */

static mica_status whole_life(void *ctx) {
  mica_fit_data data = test_data(tokens, 12, TOKENS * CHANNELS, label);
  mica_estimator *p = NULL, *again = NULL;
  mica_record *record = NULL;
  int64_t got[4];
  mica_prediction out = MICA_PREDICTION;
  const mica_view x = test_rows(tokens, 4, TOKENS * CHANNELS);
  out.label = got;
  mica_status status = mica_estimator_create(engine, ctx, &p);
  if (!status) status = mica_estimator_fit(p, &data, NULL);
  if (!status) status = mica_record_create(&record);
  if (!status) status = mica_estimator_save(p, record);
  if (!status) status = mica_estimator_load(engine, record, &again);
  if (!status) status = mica_estimator_predict(again, &x, &out);
  mica_estimator_free(p);
  mica_estimator_free(again);
  mica_record_free(record);
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  char spec[] = "probe:head=(grassmann:dim=2):optimiser=(sgd:lr=0.05 | subspace=rsgd):steps=2:"
                "average=0.5:batch=5";
  fail_each(whole_life, spec);
}

static int set_up(void **state) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 2;
  draw();
  return folder_setup(state) || mica_engine_create(&o, &engine) != MICA_OK;
}
static int tear_down(void **state) {
  mica_engine_free(engine);
  return folder_teardown(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_moments_see_what_means_do_not),
      cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_cancelled),
      cmocka_unit_test(test_in_a_model),
      cmocka_unit_test(test_all_positions),
      cmocka_unit_test(test_failing_memory),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
