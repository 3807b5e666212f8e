/* The encoder of tokens: a small BERT as the library `transformers` runs it
 * (tests/golden/make_bert.py), with rows that are filled up and one of two texts; what filling up
 * must not change; training. */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GOLDEN "tests/golden/torch/bert.safetensors"
#define BERT   "bert:dim=8:depth=2:heads=2:hidden=12:separator=2"
#define N      4
#define LENGTH 6
#define DIM    8

static mica_engine *engine;
static mica_archive *golden;

static int setup(void **state) {
  (void)state;
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  return mica_archive_open(GOLDEN, &golden) != MICA_OK;
}
static int teardown(void **state) {
  (void)state;
  mica_archive_close(golden);
  mica_engine_free(engine);
  return 0;
}

static mica_tensor *read_golden(const char *name) {
  mica_tensor *out;
  const int64_t i = mica_archive_find(golden, name);
  assert_true(i >= 0);
  assert_int_equal(mica_archive_read(golden, i, &out), MICA_OK);
  return out;
}

static mica_net *make(const char *spec, int64_t classes) {
  const mica_problem problem = MICA_PROBLEM_TOKENS(20, 7, classes);
  mica_net *net;
  if (mica_net_create(engine, spec, &problem, 1, &net) != MICA_OK)
    fail_msg("%s", mica_last_error());
  return net;
}

static void expect(mica_tape *t, mica_var got, const char *name) {
  mica_tensor *want = read_golden(name);
  const mica_view y = mica_read(t, got);
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  assert_int_equal(mica_view_count(&y), mica_tensor_count(want));
  for (int64_t i = 0; i < mica_view_count(&y); i++) {
    const double a = (double)((const float *)y.data)[i], b = mica_tensor_get(want, i);
    if (!(fabs(a - b) <= 2e-5 * (1 + fabs(b))))
      fail_msg("%s[%lld] is %g, expected %g", name, (long long)i, a, b);
  }
  mica_tensor_free(want);
}

static void test_reference(void **state) {
  (void)state;
  static const char *const pools[] = {"cls", "mean", "pooler"};
  mica_tensor *tokens = read_golden("tokens");
  for (int k = 0; k < 3; k++) {
    char spec[128];
    snprintf(spec, sizeof spec, BERT ":pool=%s", pools[k]);
    mica_net *net = make(spec, 0);
    mica_load_report report;
    if (mica_params_load(mica_net_params(net), GOLDEN, NULL, &report) != MICA_OK)
      fail_msg("%s", mica_last_error());
    assert_int_equal(report.missing, 0);
    assert_int_equal(report.reshaped, 0);
    mica_free(report.text);
    mica_tape *t;
    mica_outputs out;
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    mica_net_forward(t, net, mica_input(t, tokens), &out);
    expect(t, out.features, pools[k]);
    /* Places that are filled up hold something too, in both; it means nothing but is the same. */
    expect(t, out.tokens, "hidden");
    mica_tape_free(t);
    mica_net_free(net);
  }
  mica_tensor_free(tokens);
}

static void features(mica_net *net, const int64_t *ids, int64_t n, int64_t length, float *to) {
  mica_tape *t;
  mica_outputs out;
  const mica_view v = mica_view_of((int64_t *)ids, MICA_I64, MICA_SHAPE(n, length));
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_net_forward(t, net, mica_constant(t, &v), &out);
  const mica_view y = mica_read(t, out.features);
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  memcpy(to, y.data, (size_t)(n * DIM) * sizeof *to);
  mica_tape_free(t);
}

/* A row gives the same alone and filled up; a row of nothing else gives zeros; features of length 1
 * have it. */
static void test_filled_up(void **state) {
  (void)state;
  static const int64_t alone[] = {1, 9, 2}, filled[] = {1, 9, 2, 0, 0, 0, 0}, nothing[7] = {0};
  mica_net *net = make(BERT ":pool=mean:normalise", 0);
  float a[DIM], b[DIM];
  double length = 0;
  features(net, alone, 1, 3, a);
  features(net, filled, 1, 7, b);
  for (int i = 0; i < DIM; i++) {
    assert_true(fabsf(a[i] - b[i]) < 1e-5f);
    length += (double)a[i] * (double)a[i];
  }
  assert_true(fabs(length - 1) < 1e-5);
  features(net, nothing, 1, 7, b);
  for (int i = 0; i < DIM; i++) assert_true(b[i] == 0);
  mica_net_free(net);
}

/* Which text a token stands in matters, and only behind the separator. */
static void test_two_texts(void **state) {
  (void)state;
  static const int64_t ids[] = {1, 11, 2, 12, 2, 0};
  mica_net *one = make("bert:dim=8:depth=2:heads=2:hidden=12", 0), *two = make(BERT, 0);
  float a[DIM], b[DIM];
  features(one, ids, 1, 6, a);
  features(two, ids, 1, 6, b);
  assert_memory_not_equal(a, b, sizeof a);
  features(one, ids, 1, 3, a);
  features(two, ids, 1, 3, b);
  assert_memory_equal(a, b, sizeof a);
  mica_net_free(one);
  mica_net_free(two);
}

static mica_status seek(void *ctx, int64_t epoch, int64_t at) {
  (void)ctx, (void)epoch, (void)at;
  return MICA_OK;
}
static mica_status next(void *ctx, mica_batch *out) {
  *out = *(const mica_batch *)ctx;
  return MICA_OK;
}

/* A classifier of whole texts; heads that do not divide the width are refused. */
static void test_trains(void **state) {
  (void)state;
  mica_net *net = make(BERT ":pool=pooler:dropout=0.1", 2), *none;
  mica_batch b = {.n = N, .tokens = read_golden("tokens")};
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(N), &b.labels), MICA_OK);
  for (int i = 0; i < N; i++) mica_tensor_set(b.labels, i, i % 2);
  const mica_stream stream = {&b, 1, seek, next};
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_evaluation e;
  o.optimiser = "adam:lr=0.01";
  o.schedule = "constant";
  o.epochs = 150;
  if (mica_train(net, &stream, NULL, &o, NULL) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_evaluate(net, &stream, false, false, &e), MICA_OK);
  assert_true(e.accuracy == 1 && e.loss < 0.1);
  mica_evaluation_clear(&e);
  mica_tensor_free(b.tokens);
  mica_tensor_free(b.labels);
  mica_net_free(net);
  const mica_problem problem = MICA_PROBLEM_TOKENS(20, 7, 0);
  assert_int_equal(mica_net_create(engine, "bert:dim=8:heads=3", &problem, 1, &none),
                   MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "3 heads"));
}

/* A row longer than the table of positions is an error, not a read beyond it. */
static void test_too_long(void **state) {
  (void)state;
  static int64_t ids[8] = {1};
  mica_net *net = make(BERT, 0);
  mica_tape *t;
  mica_outputs out;
  const mica_view v = mica_view_of(ids, MICA_I64, MICA_SHAPE(1, 8));
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_net_forward(t, net, mica_constant(t, &v), &out);
  assert_false(mica_ok(t));
  mica_tape_free(t);
  mica_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reference), cmocka_unit_test(test_filled_up),
      cmocka_unit_test(test_two_texts), cmocka_unit_test(test_trains),
      cmocka_unit_test(test_too_long)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
