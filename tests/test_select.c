/* Scores of training examples, forgetting, subsets, and how well scores find wrong labels. */
#include "support/failing_alloc.h"
#include "support/near.h"

#include <mica/mica.h>

#include <math.h>
#include <string.h>

static mica_engine *engine;

enum { N = 40, D = 5, CLASSES = 3 };
static float x[N * D];
static int64_t label[N];

static mica_status data_stream(mica_stream *out, int64_t batch) {
  mica_tensor *rows, *labels;
  assert_int_equal(mica_tensor_wrap(x, MICA_F32, MICA_SHAPE(N, D), NULL, NULL, &rows), MICA_OK);
  assert_int_equal(mica_tensor_wrap(label, MICA_I64, MICA_SHAPE(N), NULL, NULL, &labels), MICA_OK);
  const mica_status status = mica_memory_stream_create(rows, labels, batch, false, false, 0, out);
  mica_tensor_free(rows);
  mica_tensor_free(labels);
  return status;
}

static mica_net *network(void) {
  const mica_problem problem = MICA_PROBLEM_ROWS(D, CLASSES);
  mica_net *net;
  assert_int_equal(mica_net_create(engine, "mlp:hidden=7", &problem, 3, &net), MICA_OK);
  return net;
}

static void make_data(void) {
  for (int i = 0; i < N * D; i++) x[i] = (float)mica_random_normal(mica_key_seed(2), (uint64_t)i);
  for (int i = 0; i < N; i++) label[i] = i % CLASSES;
}

/* The closed forms against each other: one class's error decides all for two classes, GraNd's last
 * layer is EL2N times the features' norm, and GraNd is not smaller. */
static void test_scores(void **state) {
  (void)state;
  double el2n[N], el1n[N], grand[N], last[N], max[N], sum[N], again[N];
  mica_stream stream;
  mica_evaluation e;
  mica_net *net = network();
  assert_int_equal(data_stream(&stream, 16), MICA_OK);
  assert_int_equal(mica_score_examples(net, "el2n", &stream, N, false, el2n), MICA_OK);
  assert_int_equal(mica_score_examples(net, "el1n", &stream, N, false, el1n), MICA_OK);
  assert_int_equal(mica_score_examples(net, "grand", &stream, N, false, grand), MICA_OK);
  assert_int_equal(mica_score_examples(net, "grand_last", &stream, N, false, last), MICA_OK);
  assert_int_equal(mica_score_examples(net, "max_margin", &stream, N, false, max), MICA_OK);
  assert_int_equal(mica_score_examples(net, "sum_margin", &stream, N, false, sum), MICA_OK);
  assert_int_equal(mica_evaluate(net, &stream, true, true, &e), MICA_OK);
  for (int i = 0; i < N; i++) {
    double p[CLASSES], total = 0, square = 1, error = 0, absolute = 0, most = -1;
    for (int c = 0; c < CLASSES; c++)
      total += p[c] = exp(mica_tensor_get(e.logits, i * CLASSES + c));
    for (int c = 0; c < CLASSES; c++) p[c] /= total;
    for (int j = 0; j < mica_tensor_dim(e.features, 1); j++)
      square += pow(mica_tensor_get(e.features, i * mica_tensor_dim(e.features, 1) + j), 2);
    for (int c = 0; c < CLASSES; c++) {
      error += pow(p[c] - (c == label[i]), 2);
      absolute += fabs(p[c] - (c == label[i]));
      if (c != label[i]) most = fmax(most, p[c] - p[label[i]]);
    }
    assert_near(el2n[i], sqrt(error), 1e-6);
    assert_near(el1n[i], absolute, 1e-6);
    assert_near(max[i], most, 1e-6);
    assert_near(sum[i], 1 - CLASSES * p[label[i]], 1e-6);
    assert_near(last[i], sqrt(error * square), 1e-6);
    assert_true(grand[i] >= last[i] * (1 - 1e-6));
  }
  /* Adding, for means over runs. */
  memcpy(again, el2n, sizeof again);
  assert_int_equal(mica_score_examples(net, "el2n", &stream, N, true, again), MICA_OK);
  for (int i = 0; i < N; i++) assert_near(again[i], 2 * el2n[i], 1e-12);
  assert_int_equal(mica_score_examples(net, "el2n", &stream, N - 1, false, again),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_score_examples(net, "el3n", &stream, N, false, again), MICA_ERR_NOT_FOUND);
  mica_evaluation_clear(&e);
  mica_memory_stream_free(&stream);
  mica_net_free(net);
}

static void test_forgetting(void **state) {
  (void)state;
  mica_forgetting *f;
  double score[4];
  const int64_t ids[] = {0, 1, 0, 0, 1, 0, 0, 2};
  const bool right[] = {true, false, false, true, false, false, true, true};
  assert_int_equal(mica_forgetting_create(4, &f), MICA_OK);
  assert_int_equal(mica_forgetting_visit(f, 8, ids, right), MICA_OK);
  mica_forgetting_scores(f, score);
  assert_true(score[0] == 2);   /* right, wrong, right, wrong, right */
  assert_true(isinf(score[1])); /* never right */
  assert_true(score[2] == 0);
  assert_true(isinf(score[3])); /* never seen */
  const int64_t bad = 4;
  assert_int_equal(mica_forgetting_visit(f, 1, &bad, right), MICA_ERR_INVALID);
  mica_forgetting_free(f);
  /* From training: the sum of visits is what training showed. */
  mica_stream stream;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_net *net = network();
  double after[N];
  int learnt = 0;
  assert_int_equal(data_stream(&stream, 8), MICA_OK);
  assert_int_equal(mica_forgetting_create(N, &f), MICA_OK);
  o.epochs = 30;
  o.optimiser = "adam:lr=0.05";
  o.visit = mica_forgetting_visitor;
  o.visit_ctx = f;
  assert_int_equal(mica_train(net, &stream, NULL, &o, NULL), MICA_OK);
  mica_forgetting_scores(f, after);
  for (int i = 0; i < N; i++) learnt += isfinite(after[i]);
  assert_true(learnt > N / 2);
  mica_forgetting_free(f);
  /* A visitor that refuses stops the run. */
  assert_int_equal(mica_forgetting_create(3, &f), MICA_OK);
  o.visit_ctx = f;
  assert_int_equal(mica_train(net, &stream, NULL, &o, NULL), MICA_ERR_CANCELLED);
  mica_forgetting_free(f);
  mica_memory_stream_free(&stream);
  mica_net_free(net);
}

static void chosen(const double *score, const int64_t *labels, const mica_select_options *o,
                   int64_t n, const int64_t *want, int64_t wanted) {
  int64_t kept[16], count;
  assert_int_equal(mica_select_examples(n, score, labels, o, kept, &count), MICA_OK);
  assert_int_equal(count, wanted);
  for (int64_t i = 0; i < count; i++) assert_int_equal(kept[i], want[i]);
}

static void test_subsets(void **state) {
  (void)state;
  const double score[8] = {0.5, -4, 3, 1, 3, 0, 2, INFINITY};
  const int64_t labels[8] = {0, 0, 0, 0, 1, 1, 1, 1};
  mica_select_options o = MICA_SELECT_OPTIONS;
  chosen(score, NULL, &o, 8, (int64_t[]){2, 4, 6, 7}, 4);
  o.skip = 0.125; /* the infinite one */
  chosen(score, NULL, &o, 8, (int64_t[]){2, 3, 4, 6}, 4);
  o.order = MICA_SELECT_EASIEST;
  o.keep = 0.25;
  chosen(score, NULL, &o, 8, (int64_t[]){0, 5}, 2);
  o.skip = 0;
  chosen(score, NULL, &o, 8, (int64_t[]){1, 5}, 2);
  o.order = MICA_SELECT_ABSOLUTE;
  chosen(score, NULL, &o, 8, (int64_t[]){1, 7}, 2);
  o.order = MICA_SELECT_HARDEST;
  o.balanced = true; /* ties: the smaller number */
  chosen(score, labels, &o, 8, (int64_t[]){2, 7}, 2);
  o.balanced = false;
  o.keep = 0.125;
  chosen((const double[8]){0}, NULL, &o, 8, (int64_t[]){0}, 1);
  o = (mica_select_options)MICA_SELECT_OPTIONS;
  o.order = MICA_SELECT_RANDOM;
  int64_t a[8], b[8], n, m;
  assert_int_equal(mica_select_examples(8, NULL, NULL, &o, a, &n), MICA_OK);
  o.seed = 1;
  assert_int_equal(mica_select_examples(8, NULL, NULL, &o, b, &m), MICA_OK);
  assert_true(n == 4 && m == 4 && memcmp(a, b, sizeof(int64_t) * 4) != 0);
  o.keep = 0;
  assert_int_equal(mica_select_examples(8, score, NULL, &o, a, &n), MICA_ERR_INVALID);
  o.keep = 0.5;
  o.order = MICA_SELECT_HARDEST;
  assert_int_equal(mica_select_examples(8, NULL, NULL, &o, a, &n), MICA_ERR_INVALID);
  o.balanced = true;
  assert_int_equal(mica_select_examples(8, score, NULL, &o, a, &n), MICA_ERR_INVALID);
  o.balanced = false;
  assert_int_equal(mica_select_examples(2, (const double[]){1, NAN}, NULL, &o, a, &n),
                   MICA_ERR_NUMERIC);
}

static void test_noise(void **state) {
  (void)state;
  const double score[] = {5, 1, 4, 2, 3};
  const bool wrong[] = {true, false, false, false, true};
  mica_noise_report r;
  assert_int_equal(mica_score_noise(5, score, wrong, 0, &r), MICA_OK);
  assert_near(r.auroc.value, 5.0 / 6, 1e-12);
  assert_near(r.precision, 0.5, 0);
  assert_int_equal(r.k, 2);
  assert_int_equal(mica_score_noise(5, score, wrong, 3, &r), MICA_OK);
  assert_near(r.precision, 2.0 / 3, 1e-12);
  assert_int_equal(mica_score_noise(5, score, wrong, 6, &r), MICA_ERR_INVALID);
}

static void test_correlation(void **state) {
  (void)state;
  const double a[] = {1, 2, 3, 4, 5}, b[] = {2, 1, 4, 3, 7}, ties[] = {1, 1, 2, 2, 3};
  double rho;
  assert_near(mica_pearson(5, a, a), 1, 1e-15);
  assert_near(mica_pearson(5, a, b), 12 / sqrt(10 * 21.2), 1e-12);
  assert_int_equal(mica_spearman(5, a, b, &rho), MICA_OK);
  assert_near(rho, 0.8, 1e-12);
  assert_int_equal(mica_spearman(5, a, ties, &rho), MICA_OK);
  assert_near(rho, 9 / sqrt(10 * 9), 1e-12);
  assert_true(isnan(mica_pearson(1, a, b)));
  assert_int_equal(mica_spearman(2, (const double[]){1, 1}, a, &rho), MICA_OK);
  assert_true(isnan(rho));
}

static mica_status all_of_it(void *ctx) {
  mica_net *net = ctx;
  mica_stream stream = {0};
  double score[N], rho;
  int64_t kept[N], n;
  mica_select_options o = MICA_SELECT_OPTIONS;
  mica_forgetting *f = NULL;
  mica_tensor *rows = NULL, *labels = NULL;
  o.balanced = true;
  mica_status status = mica_tensor_wrap(x, MICA_F32, MICA_SHAPE(N, D), NULL, NULL, &rows);
  if (status == MICA_OK)
    status = mica_tensor_wrap(label, MICA_I64, MICA_SHAPE(N), NULL, NULL, &labels);
  if (status == MICA_OK)
    status = mica_memory_stream_create(rows, labels, 16, false, false, 0, &stream);
  mica_tensor_free(rows);
  mica_tensor_free(labels);
  if (status == MICA_OK) status = mica_score_examples(net, "grand", &stream, N, false, score);
  if (status == MICA_OK) status = mica_select_examples(N, score, label, &o, kept, &n);
  if (status == MICA_OK) status = mica_spearman(N, score, score, &rho);
  if (status == MICA_OK) status = mica_forgetting_create(N, &f);
  mica_forgetting_free(f);
  if (stream.ctx) mica_memory_stream_free(&stream);
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  mica_net *net = network();
  assert_int_equal(all_of_it(net), MICA_OK);
  fail_each(all_of_it, net);
  mica_net_free(net);
}

/* Two groups of directions; the last example carries the other group's label. */
static bool never_nine(void *ctx, int64_t i, int64_t j) {
  ++*(int *)ctx;
  return i != 9 && j != 9;
}

static void test_clean_labels(void **state) {
  (void)state;
  float rows[11 * 2];
  int64_t own[11], support[11];
  bool keep[11];
  int asked = 0;
  mica_clean_options o = MICA_CLEAN_OPTIONS;
  for (int i = 0; i < 11; i++) {
    rows[2 * i] = i < 5 ? 1 : 0.02f * (float)i;
    rows[2 * i + 1] = i < 5 ? 0.02f * (float)i : 1;
    own[i] = i < 5 || i == 10 ? 0 : 1;
  }
  const mica_view v = mica_view_of(rows, MICA_F32, MICA_SHAPE(11, 2));
  o.k = 4;
  o.least = 2;
  assert_int_equal(mica_clean_labels(engine, &v, own, &o, keep, support), MICA_OK);
  for (int i = 0; i < 11; i++) assert_true(keep[i] == (i < 10));
  assert_true(support[10] == 0 && support[0] == 2);
  o.verify = never_nine;
  o.verify_ctx = &asked;
  assert_int_equal(mica_clean_labels(engine, &v, own, &o, keep, NULL), MICA_OK);
  assert_true(asked > 0 && !keep[9] && !keep[10] && keep[5]);
  o.least = 5;
  assert_int_equal(mica_clean_labels(engine, &v, own, &o, keep, NULL), MICA_ERR_INVALID);
  o.least = 0;
  assert_int_equal(mica_clean_labels(engine, &v, own, &o, keep, NULL), MICA_ERR_INVALID);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  make_data();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_scores),        cmocka_unit_test(test_forgetting),
      cmocka_unit_test(test_subsets),       cmocka_unit_test(test_noise),
      cmocka_unit_test(test_correlation),   cmocka_unit_test(test_clean_labels),
      cmocka_unit_test(test_failing_memory)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
