/* Distributions, intervals, sorting and selection, against SciPy and closed forms. */
#include "support/near.h"
#include "support/test.h"

#include "golden/feature_golden.h"
#include "numeric/chunks.h"
#include "numeric/sort.h"
#include "numeric/special.h"
#include "numeric/top_k.h"

#include <mica/numeric.h>

#include <float.h>
#include <stdlib.h>
#include <string.h>

static void test_quantiles(void **state) {
  (void)state;
  for (int i = 0; i < 9; i++) {
    assert_near(mica_normal_quantile(golden_quantile_p[i]), golden_normal_quantile[i], 1e-13);
    for (int j = 0; j < 7; j++) {
      double want = golden_chi2_quantile[j * 9 + i], k = golden_quantile_k[j];
      double got = mica_chi2_quantile(golden_quantile_p[i], k);
      if (fabs(got - want) > 2e-11 * want) {
        print_error("chi2 p=%.17g k=%g: %.17g, want %.17g\n", golden_quantile_p[i], k, got, want);
        fail();
      }
      assert_near(mica_chi2_cdf(got, k), golden_quantile_p[i], 1e-12);
    }
  }
  assert_near(mica_normal_cdf(mica_normal_quantile(1e-200)) / 1e-200, 1, 1e-11);
  assert_near(mica_gamma_q(2, 300) / (301 * exp(-300)), 1, 1e-12);
  /* Two degrees are exponential. */
  assert_near(mica_chi2_quantile(0.75, 2), -2 * log(0.25), 1e-14);
  assert_true(mica_chi2_quantile(0, 3) == 0 && isinf(mica_chi2_quantile(1, 3)));
  assert_true(isnan(mica_chi2_quantile(1.5, 3)) && isnan(mica_chi2_quantile(0.5, 0)));
  assert_true(isnan(mica_chi2_cdf(-1, 3)) && isnan(mica_normal_quantile(NAN)));
  assert_true(isinf(mica_normal_quantile(0)) && isinf(mica_normal_quantile(1)));
  assert_true(mica_gamma_p(3, INFINITY) == 1 && mica_gamma_p(3, 0) == 0);
}

static void test_beta(void **state) {
  (void)state;
  int n = (int)(sizeof golden_beta / sizeof *golden_beta);
  for (int i = 0; i < n; i++) {
    const double *a = golden_beta_arguments + 3 * i;
    assert_near(mica_beta_i(a[0], a[1], a[2]), golden_beta[i], 1e-12);
  }
  assert_true(isnan(mica_beta_i(0, 1, 0.5)) && isnan(mica_beta_i(1, 1, 2)));
  assert_near(mica_binomial_cdf(3, 10, 0.5), 176.0 / 1024, 1e-14);
  assert_true(mica_binomial_cdf(-1, 10, 0.5) == 0 && mica_binomial_cdf(10, 10, 0.5) == 1);
}

static void test_proportions(void **state) {
  (void)state;
  for (int i = 0; i < 6; i++) {
    mica_interval w =
        mica_wilson((double)golden_wilson_hits[i], (double)golden_wilson_trials[i], 0.95);
    assert_near(w.lo, golden_wilson[2 * i], 1e-12);
    assert_near(w.hi, golden_wilson[2 * i + 1], 1e-12);
  }
  mica_interval none = mica_wilson(0, 0, 0.95), bad = mica_wilson(3, 2, 0.95);
  assert_true(none.lo == 0 && none.hi == 1 && isnan(bad.lo) && isnan(mica_wilson(1, 2, 1).hi));
  for (int i = 0; i < 5; i++)
    assert_near(mica_mcnemar_exact((double)golden_mcnemar_pairs[2 * i],
                                   (double)golden_mcnemar_pairs[2 * i + 1]),
                golden_mcnemar[i], 1e-12);
}

/* Newcombe's interval must contain the true difference about as often as it says. */
static void test_newcombe_coverage(void **state) {
  (void)state;
  const double cell[4] = {0.70, 0.12, 0.06, 0.12};
  enum { trials = 4000, n = 60 };
  mica_key key = mica_key_seed(7);
  int covered = 0;
  for (uint64_t t = 0; t < trials; t++) {
    double count[4] = {0};
    for (uint64_t i = 0; i < n; i++) {
      double u = mica_random_uniform(key, t * n + i);
      count[u < cell[0] ? 0 : u < cell[0] + cell[1] ? 1 : u < 1 - cell[3] ? 2 : 3]++;
    }
    mica_interval d = mica_newcombe_paired(count[0], count[1], count[2], count[3], 0.95);
    covered += d.lo <= 0.06 && 0.06 <= d.hi;
  }
  assert_true(covered > 0.935 * trials && covered < 0.985 * trials);
  /* Swapping the classifiers turns the interval round; equal ones are centred on zero. */
  mica_interval a = mica_newcombe_paired(50, 9, 3, 10, 0.9),
                b = mica_newcombe_paired(50, 3, 9, 10, 0.9);
  assert_near(a.lo, -b.hi, 1e-15);
  assert_near(a.hi, -b.lo, 1e-15);
  a = mica_newcombe_paired(0, 0, 0, 0, 0.9);
  assert_true(a.lo == -1 && a.hi == 1);
  a = mica_newcombe_paired(20, 0, 0, 0, 0.95);
  assert_true(a.lo < 0 && a.lo > -0.2 && a.hi > 0 && a.hi < 0.2);
}

typedef struct {
  const double *value;
  int64_t n;
} sample;

static double mean_of(void *ctx, const int32_t *count) {
  const sample *s = ctx;
  double sum = 0, n = 0;
  for (int64_t i = 0; i < s->n; i++) sum += count[i] * s->value[i], n += count[i];
  return n == (double)s->n ? sum / n : NAN; /* every resample has n draws */
}

static double undefined(void *ctx, const int32_t *count) {
  (void)ctx, (void)count;
  return NAN;
}

/* The group of the first half must keep its size in every resample. */
static double first_half(void *ctx, const int32_t *count) {
  const sample *s = ctx;
  double n = 0;
  for (int64_t i = 0; i < s->n / 2; i++) n += count[i];
  return n;
}

static void test_bootstrap(void **state) {
  (void)state;
  enum { n = 400 };
  double value[n];
  int32_t group[n];
  for (int i = 0; i < n; i++) {
    value[i] = mica_random_normal(mica_key_seed(3), (uint64_t)i);
    group[i] = i >= n / 2;
  }
  double sum = 0, squares = 0;
  for (int i = 0; i < n; i++) sum += value[i];
  for (int i = 0; i < n; i++) squares += (value[i] - sum / n) * (value[i] - sum / n);
  double error = sqrt(squares / n / n);
  sample s = {value, n};
  mica_interval by_threads[2];
  for (int threads = 1; threads <= 2; threads++) {
    mica_engine_options o = MICA_ENGINE_OPTIONS;
    o.threads = threads;
    mica_engine *engine;
    assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
    mica_interval *b = &by_threads[threads - 1], bad;
    assert_int_equal(
        mica_bootstrap(engine, mica_key_seed(1), n, NULL, 1, 2000, 0.95, mean_of, &s, b), 0);
    assert_near(b->lo, sum / n - 1.96 * error, 0.25 * error);
    assert_near(b->hi, sum / n + 1.96 * error, 0.25 * error);
    assert_int_equal(
        mica_bootstrap(engine, mica_key_seed(1), n, group, 2, 200, 0.95, first_half, &s, &bad), 0);
    assert_true(bad.lo == n / 2 && bad.hi == n / 2);
    assert_int_equal(
        mica_bootstrap(engine, mica_key_seed(1), n, NULL, 1, 20, 0.95, undefined, &s, &bad),
        MICA_ERR_NUMERIC);
    assert_true(isnan(bad.lo));
    assert_int_equal(
        mica_bootstrap(engine, mica_key_seed(1), 0, NULL, 1, 20, 0.95, mean_of, &s, &bad),
        MICA_ERR_INVALID);
    group[5] = 2;
    assert_int_equal(
        mica_bootstrap(engine, mica_key_seed(1), n, group, 2, 20, 0.95, mean_of, &s, &bad),
        MICA_ERR_INVALID);
    group[5] = 0;
    mica_engine_free(engine);
  }
  assert_memory_equal(&by_threads[0], &by_threads[1], sizeof by_threads[0]);
}

static int descending(const void *a, const void *b) {
  const mica_scored *x = a, *y = b;
  return mica_scored_better(*x, *y) ? -1 : mica_scored_better(*y, *x) ? 1 : 0;
}

static void test_order(void **state) {
  (void)state;
  enum { n = 257 };
  double value[n], sorted[n];
  int64_t order[n];
  mica_scored all[n], kept[n];
  for (int i = 0; i < n; i++)
    value[i] = sorted[i] = (double)mica_random_below(mica_key_seed(9), (uint64_t)i, 40) - 20;
  value[100] = sorted[100] = NAN;
  value[30] = sorted[30] = INFINITY;
  mica_sort_doubles(sorted, n);
  for (int i = 1; i < n - 1; i++) assert_true(sorted[i - 1] <= sorted[i]);
  assert_true(isnan(sorted[n - 1]) && isinf(sorted[n - 2]));
  assert_int_equal(mica_sort_descending(n, value, order), MICA_OK);
  assert_int_equal(order[0], 30);
  assert_int_equal(order[n - 1], 100);
  for (int i = 1; i < n - 1; i++)
    assert_true(value[order[i - 1]] > value[order[i]] ||
                (value[order[i - 1]] == value[order[i]] && order[i - 1] < order[i]));
  for (int64_t i = 0; i < n; i++) all[i] = (mica_scored){isnan(value[i]) ? -INFINITY : value[i], i};
  qsort(all, n, sizeof *all, descending);
  for (int64_t k = 0; k <= n; k += 32) {
    mica_top_k_heap top;
    mica_top_k_begin(&top, kept, k);
    for (int64_t i = n; i-- > 0;) mica_top_k_offer(&top, value[i], i);
    int64_t found = mica_top_k_end(&top);
    assert_int_equal(found, k < n - 1 ? k : n - 1); /* NaN never enters */
    for (int64_t i = 0; i < found; i++) assert_int_equal(kept[i].index, all[i].index);
  }
  double v[] = {1, 2, 4};
  assert_near(mica_quantile_sorted(v, 3, 0.75), 3, 1e-15);
  assert_true(mica_quantile_sorted(v, 3, 1) == 4 && isnan(mica_quantile_sorted(v, 0, 0.5)));
}

typedef struct {
  int64_t bad;
  int seen[64];
} chunk_job;

static mica_status chunk(void *ctx, int64_t c, void *scratch) {
  chunk_job *j = ctx;
  if (scratch) memset(scratch, 1, 1000);
  j->seen[c]++;
  if (c == j->bad) return mica_fail(MICA_ERR_NUMERIC, "chunk %lld is bad", (long long)c);
  return MICA_OK;
}

/* A failure in a worker thread is the caller's last error. */
static void test_chunks(void **state) {
  (void)state;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 4;
  mica_engine *engine;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  for (int64_t n = 0; n <= 64; n++) {
    chunk_job j = {.bad = -1};
    assert_int_equal(mica_chunks_run(engine, n, 1000, chunk, &j), MICA_OK);
    for (int64_t c = 0; c < 64; c++) assert_int_equal(j.seen[c], c < n);
  }
  chunk_job j = {.bad = 63};
  mica_clear_error();
  assert_int_equal(mica_chunks_run(engine, 64, 0, chunk, &j), MICA_ERR_NUMERIC);
  assert_string_equal(mica_last_error(), "chunk 63 is bad");
  mica_engine_free(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_quantiles),   cmocka_unit_test(test_beta),
      cmocka_unit_test(test_proportions), cmocka_unit_test(test_newcombe_coverage),
      cmocka_unit_test(test_bootstrap),   cmocka_unit_test(test_order),
      cmocka_unit_test(test_chunks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
