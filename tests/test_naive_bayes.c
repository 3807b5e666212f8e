/* Naive Bayes: its distributions against their definitions, data in pieces, a class more. */
#include "support/estimator.h"

#include <mica/mica.h>

#include <math.h>
#include <string.h>

enum { N = 24, D = 3, K = 3 };

static mica_engine *engine;
static double counts[N * D], reals[N * D];
static int64_t label[N];

static void make_data(void) {
  const mica_key key = mica_key_seed(5);
  for (int i = 0; i < N; i++) {
    label[i] = i % K;
    for (int j = 0; j < D; j++) {
      const uint64_t at = (uint64_t)(i * D + j);
      counts[at] = (double)mica_random_below(key, at, 5) + (label[i] == j ? 2 : 0);
      reals[at] =
          mica_random_normal(key, 1000 + at) * (double)(1 + label[i]) + (label[i] == j ? 3 : 0);
    }
  }
}

/* Scores and probabilities of an estimator fitted on x for its own rows. */
static void scores(const char *spec, const double *x, double *score, double *p) {
  const mica_fit_data data = test_data(x, N, D, label);
  mica_estimator *e = test_fit(engine, spec, &data, NULL);
  test_predict(e, data.x, NULL, score, p, NULL);
  mica_estimator_free(e);
}

/* Mean over the rows of class c of column j; of its squares' deviations when centre is given. */
static double mean_of(const double *x, int c, int j, const double *centre) {
  double sum = 0;
  int n = 0;
  for (int i = 0; i < N; i++)
    if (label[i] == c) {
      const double v = x[i * D + j];
      sum += centre ? (v - *centre) * (v - *centre) : v;
      n++;
    }
  return sum / n;
}

static void test_gaussian(void **state) {
  (void)state;
  double got[N * K], p[N * K], each[N * K];
  scores("naive_bayes:eps=0.01", reals, got, p);
  scores("naive_bayes:eps=0.01:variance=class", reals, each, NULL);
  for (int i = 0; i < N; i++) {
    double sum = 0;
    for (int c = 0; c < K; c++) {
      double shared = log(1.0 / K), own = log(1.0 / K);
      for (int j = 0; j < D; j++) {
        double pooled = 0, v = 0;
        for (int b = 0; b < K; b++) {
          const double m = mean_of(reals, b, j, NULL);
          const double w = mean_of(reals, b, j, &m) + 0.01;
          pooled += w / K;
          if (b == c) v = w;
        }
        const double off = reals[i * D + j] - mean_of(reals, c, j, NULL);
        shared -= 0.5 * off * off / pooled;
        own -= 0.5 * (off * off / v + log(2 * 3.14159265358979323846 * v));
      }
      assert_near(got[i * K + c], shared, 1e-12);
      assert_near(each[i * K + c], own, 1e-12);
      sum += p[i * K + c];
    }
    assert_near(sum, 1, 1e-12);
  }
}

static void test_counts(void **state) {
  (void)state;
  double multinomial[N * K], complement[N * K], bernoulli[N * K];
  scores("naive_bayes:distribution=multinomial:smoothing=0.5", counts, multinomial, NULL);
  scores("naive_bayes:distribution=complement", counts, complement, NULL);
  scores("naive_bayes:distribution=bernoulli:threshold=2", counts, bernoulli, NULL);
  const double rows = (double)N / K;
  for (int i = 0; i < N; i++)
    for (int c = 0; c < K; c++) {
      double total = 0.5 * D, others = D, a = log(1.0 / K), b = 0, e = log(1.0 / K);
      for (int j = 0; j < D; j++)
        for (int k = 0; k < K; k++)
          *(k == c ? &total : &others) += rows * mean_of(counts, k, j, NULL);
      for (int j = 0; j < D; j++) {
        double elsewhere = 1, on = 0;
        for (int k = 0; k < K; k++)
          if (k != c) elsewhere += rows * mean_of(counts, k, j, NULL);
        for (int r = 0; r < N; r++) on += label[r] == c && counts[r * D + j] > 2;
        const double v = counts[i * D + j], q = (on + 1) / (rows + 2);
        a += v * log((rows * mean_of(counts, c, j, NULL) + 0.5) / total);
        b -= v * log(elsewhere / others);
        e += v > 2 ? log(q) : log(1 - q);
      }
      assert_near(multinomial[i * K + c], a, 1e-12);
      assert_near(complement[i * K + c], b, 1e-12);
      assert_near(bernoulli[i * K + c], e, 1e-12);
    }
}

/* In pieces, the second of which brings a class that the first lacks. */
static void test_pieces(void **state) {
  (void)state;
  int64_t order[N];
  double x[N * D], whole[N * K], pieces[N * K];
  int n = 0;
  for (int c = 0; c < K; c++)
    for (int i = 0; i < N; i++)
      if (label[i] == c) {
        memcpy(x + n * D, reals + i * D, D * sizeof *x);
        order[n++] = c;
      }
  const int first = 2 * N / K; /* classes 0 and 1 */
  mica_fit_data all = test_data(x, N, D, order), a = test_data(x, first, D, order);
  const mica_fit_data b = test_data(x + first * D, N - first, D, order + first);
  mica_estimator *one = test_fit(engine, "naive_bayes", &all, NULL), *two, *three;
  assert_int_equal(mica_estimator_create(engine, "naive_bayes", &two), MICA_OK);
  assert_int_equal(mica_estimator_update(two, &a), MICA_OK);
  assert_int_equal(mica_estimator_classes(two), 2);
  assert_int_equal(mica_estimator_update(two, &b), MICA_OK);
  assert_int_equal(mica_estimator_classes(two), K);
  three = test_fit(engine, "naive_bayes", &a, NULL);
  int64_t added;
  assert_int_equal(mica_estimator_add_class(three, &b.x, &added), MICA_OK);
  assert_int_equal(added, 2);
  test_predict(one, all.x, NULL, whole, NULL, NULL);
  test_predict(two, all.x, NULL, pieces, NULL, NULL);
  assert_all_near(pieces, whole, N * K, 1e-11);
  test_predict(three, all.x, NULL, pieces, NULL, NULL);
  assert_all_near(pieces, whole, N * K, 1e-11);
  /* What does not fit changes nothing. */
  const mica_fit_data wide = test_data(x, 4, D - 1, order);
  assert_int_equal(mica_estimator_update(two, &wide), MICA_ERR_SHAPE);
  mica_estimator *knn = test_fit(engine, "knn", &all, NULL);
  assert_int_equal(mica_estimator_update(knn, &a), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_estimator_linear(knn, whole, pieces), MICA_ERR_UNSUPPORTED);
  mica_estimator_free(knn);
  mica_estimator_free(one);
  mica_estimator_free(two);
  mica_estimator_free(three);
}

/* The linear form gives the same answers, scores up to what the classes have in common. */
static void test_linear(void **state) {
  (void)state;
  static const char *const specs[] = {"naive_bayes", "naive_bayes:distribution=multinomial",
                                      "naive_bayes:distribution=complement", "logistic"};
  const mica_fit_data data = test_data(counts, N, D, label);
  for (size_t k = 0; k < sizeof specs / sizeof *specs; k++) {
    double w[K * D], b[K], score[N * K];
    mica_estimator *e = test_fit(engine, specs[k], &data, NULL);
    assert_int_equal(mica_estimator_linear(e, w, b), MICA_OK);
    test_predict(e, data.x, NULL, score, NULL, NULL);
    for (int i = 0; i < N; i++) {
      double own[K];
      for (int c = 0; c < K; c++) {
        own[c] = b[c];
        for (int j = 0; j < D; j++) own[c] += w[c * D + j] * counts[i * D + j];
        assert_near(own[c] - own[0], score[i * K + c] - score[i * K], 1e-10);
      }
    }
    mica_estimator_free(e);
  }
  mica_estimator *e = test_fit(engine, "naive_bayes:variance=class", &data, NULL);
  double w[K * D], b[K];
  assert_int_equal(mica_estimator_linear(e, w, b), MICA_ERR_UNSUPPORTED);
  mica_estimator_free(e);
}

static void test_absent_class_and_errors(void **state) {
  (void)state;
  mica_fit_data data = test_data(reals, N, D, label);
  double score[N * 5];
  int64_t answer[N];
  data.classes = 5;
  mica_estimator *e = test_fit(engine, "naive_bayes", &data, NULL);
  test_predict(e, data.x, answer, score, NULL, NULL);
  for (int i = 0; i < N; i++) assert_true(isinf(score[i * 5 + 4]) && answer[i] < 3);
  mica_estimator_free(e);
  mica_estimator *m;
  assert_int_equal(mica_estimator_create(engine, "naive_bayes:distribution=multinomial", &m),
                   MICA_OK);
  assert_int_equal(mica_estimator_fit(m, &data, NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "expected counts"));
  mica_estimator_free(m);
  double constant[N * D];
  for (int i = 0; i < N * D; i++) constant[i] = i % D == 1 ? 4 : reals[i];
  const mica_fit_data flat = test_data(constant, N, D, label);
  assert_int_equal(mica_estimator_create(engine, "naive_bayes:eps=0", &m), MICA_OK);
  assert_int_equal(mica_estimator_fit(m, &flat, NULL), MICA_ERR_NUMERIC);
  assert_non_null(strstr(mica_last_error(), "feature 1"));
  mica_estimator_free(m);
}

/* The same bits on one thread and two. */
static void test_threads(void **state) {
  (void)state;
  enum { WIDE = 200 };
  static double x[N * WIDE], score[2][N * K];
  for (int i = 0; i < N * WIDE; i++) x[i] = mica_random_normal(mica_key_seed(1), (uint64_t)i);
  for (int k = 0; k < 2; k++) {
    mica_engine *own = test_engine(k + 1);
    const mica_fit_data data = test_data(x, N, WIDE, label);
    mica_estimator *e = test_fit(own, "naive_bayes", &data, NULL);
    test_predict(e, data.x, NULL, score[k], NULL, NULL);
    mica_estimator_free(e);
    mica_engine_free(own);
  }
  assert_memory_equal(score[0], score[1], sizeof score[0]);
}

int main(void) {
  engine = test_engine(1);
  make_data();
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_gaussian),
                                     cmocka_unit_test(test_counts),
                                     cmocka_unit_test(test_pieces),
                                     cmocka_unit_test(test_linear),
                                     cmocka_unit_test(test_absent_class_and_errors),
                                     cmocka_unit_test(test_threads)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
