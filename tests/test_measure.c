/* Measures of features: values computed by hand, identities, hostile data, failed allocations. */
#include "support/estimator.h"
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <string.h>

static mica_engine *engine;

/* n numbers from a normal distribution. */
static void fill(double *x, int64_t n, uint64_t seed) {
  for (int64_t i = 0; i < n; i++) x[i] = mica_random_normal(mica_key_seed(seed), (uint64_t)i);
}

/* One number of a measure; other NULL: one set, label NULL: none. */
static double ask(const char *spec, const char *name, mica_view x, const int64_t *label,
                  const mica_view *other) {
  mica_measure_data d = MICA_MEASURE_DATA;
  mica_findings *f = NULL;
  d.x = x;
  d.label = label;
  d.other = other;
  assert_int_equal(mica_findings_create(&f), MICA_OK);
  if (mica_measure(engine, spec, &d, f)) fail_msg("%s: %s", spec, mica_last_error());
  const double v = mica_findings_value(f, name);
  mica_findings_free(f);
  return v;
}

static void near(double got, double want, double bound) {
  if (!(fabs(got - want) <= bound)) fail_msg("%.12g, expected %.12g", got, want);
}

/* q [d, d] orthogonal: Gram-Schmidt of random rows. */
static void rotation(int64_t d, uint64_t seed, double *q) {
  fill(q, d * d, seed);
  for (int64_t i = 0; i < d; i++) {
    for (int64_t k = 0; k < i; k++) {
      double dot = 0;
      for (int64_t j = 0; j < d; j++) dot += q[i * d + j] * q[k * d + j];
      for (int64_t j = 0; j < d; j++) q[i * d + j] -= dot * q[k * d + j];
    }
    double length = 0;
    for (int64_t j = 0; j < d; j++) length += q[i * d + j] * q[i * d + j];
    for (int64_t j = 0; j < d; j++) q[i * d + j] /= sqrt(length);
  }
}

/* y = scale x q + shift. */
static void moved(const double *x, int64_t n, int64_t d, const double *q, double scale,
                  double shift, double *y) {
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < d; j++) {
      y[i * d + j] = shift;
      for (int64_t k = 0; k < d; k++) y[i * d + j] += scale * x[i * d + k] * q[k * d + j];
    }
}

/* ---- one set ---- */

static void test_norms(void **state) {
  (void)state;
  const double x[] = {3, 4, 0, 0, 0, 1, 6, 8};
  const int64_t label[] = {0, 1, 1, 0};
  const mica_view v = test_rows(x, 4, 2);
  near(ask("norms", "norm_mean", v, NULL, NULL), 4, 1e-12);
  near(ask("norms", "norm_deviation", v, NULL, NULL), sqrt(15.5), 1e-12);
  near(ask("norms", "norm_median", v, NULL, NULL), 3, 1e-12);
  near(ask("norms", "norm_least", v, NULL, NULL), 0, 0);
  near(ask("norms", "norm_most", v, NULL, NULL), 10, 1e-12);
  near(ask("norms", "zero_rows", v, NULL, NULL), 1, 0);
  mica_measure_data d = MICA_MEASURE_DATA;
  mica_findings *f = NULL;
  d.x = v;
  d.label = label;
  d.classes = 3;
  assert_int_equal(mica_findings_create(&f), MICA_OK);
  assert_int_equal(mica_measure(engine, "norms", &d, f), MICA_OK);
  const mica_finding *last = mica_findings_at(f, mica_findings_count(f) - 1);
  assert_string_equal(last->name, "class_norms");
  assert_int_equal(last->form, MICA_FINDING_BY_CLASS);
  assert_int_equal(last->columns, 3);
  near(last->values[0], 7.5, 1e-12);
  near(last->values[1], 0.5, 1e-12);
  assert_true(isnan(last->values[2]));
  assert_null(mica_findings_at(f, mica_findings_count(f)));
  assert_true(isnan(mica_findings_value(f, "class_norms")));
  mica_findings_free(f);
}

static void test_rank(void **state) {
  (void)state;
  /* Rows +-e_i: the covariance is a multiple of the identity, so every measure says d. */
  enum { d = 5 };
  double x[2 * d * d] = {0};
  for (int i = 0; i < d; i++) {
    x[2 * i * d + i] = 1;
    x[(2 * i + 1) * d + i] = -1;
  }
  const mica_view v = test_rows(x, 2 * d, d);
  const char *const same[] = {"effective_rank", "participation_ratio", "stable_rank", "rank"};
  for (int i = 0; i < 4; i++) near(ask("rank", same[i], v, NULL, NULL), d, 1e-9);
  near(ask("rank", "components_90", v, NULL, NULL), 5, 0);
  /* The identity itself, not centred; fewer rows than columns. */
  const double wide[] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
  near(ask("rank:centre=false", "effective_rank", test_rows(wide, 3, 4), NULL, NULL), 3, 1e-9);
  /* Singular values 3 and 1: p = 3/4, 1/4; variances 9 and 1. */
  const double two[] = {3, 0, 0, 1};
  const double entropy = -(0.75 * log(0.75) + 0.25 * log(0.25));
  const mica_view w = test_rows(two, 2, 2);
  near(ask("rank:centre=false", "effective_rank", w, NULL, NULL), exp(entropy), 1e-9);
  near(ask("rank:centre=false", "participation_ratio", w, NULL, NULL), 100.0 / 82, 1e-9);
  near(ask("rank:centre=false", "stable_rank", w, NULL, NULL), 10.0 / 9, 1e-9);
  near(ask("rank:centre=false", "components_90", w, NULL, NULL), 1, 0);
  near(ask("rank:centre=false", "components_99", w, NULL, NULL), 2, 0);
  /* Rows on a line, and rows that are all the same. */
  const double line[] = {1, 2, 2, 4, 3, 6}, still[] = {1, 2, 1, 2};
  near(ask("rank", "effective_rank", test_rows(line, 3, 2), NULL, NULL), 1, 1e-9);
  near(ask("rank", "effective_rank", test_rows(still, 2, 2), NULL, NULL), 0, 0);
}

static void test_alignment(void **state) {
  (void)state;
  /* Directions at right angles and opposite; lengths do not count, nor does the row of zeros. */
  const double x[] = {2, 0, 0, 3, -1, 0, 0, 0}, y[] = {1, 0, 0, -1, -1, 0, 1, 1};
  const int64_t label[] = {0, 0, 0, 1};
  const mica_view v = test_rows(x, 4, 2), w = test_rows(y, 4, 2);
  near(ask("alignment", "alignment", v, label, NULL), (2 + 2 + 4) / 3.0, 1e-12);
  near(ask("alignment:alpha=1", "alignment", v, label, NULL), (2 * sqrt(2) + 2) / 3, 1e-7);
  near(ask("alignment", "alignment", v, NULL, &w), 4.0 / 3, 1e-12);
  near(ask("alignment:alpha=1", "alignment", v, NULL, &w), 2.0 / 3, 1e-12);
  near(ask("uniformity", "uniformity", v, NULL, NULL), log((2 * exp(-4) + exp(-8)) / 3), 1e-9);
  near(ask("uniformity:t=1", "uniformity", v, NULL, NULL), log((2 * exp(-2) + exp(-4)) / 3), 1e-9);
  near(ask("uniformity", "rows_compared", v, NULL, NULL), 3, 0);
  const double one[] = {1, 1, 2, 2};
  near(ask("uniformity", "uniformity", test_rows(one, 2, 2), NULL, NULL), 0, 1e-9);
}

static void test_separation(void **state) {
  (void)state;
  /* Classes around (0, 0) and (10, 0), rows one unit to each side. */
  const double x[] = {-1, 0, 1, 0, 0, -1, 0, 1, 9, 0, 11, 0, 10, -1, 10, 1};
  const int64_t label[] = {0, 0, 0, 0, 2, 2, 2, 2};
  const mica_view v = test_rows(x, 8, 2);
  near(ask("separation", "between_within", v, label, NULL), 200.0 / 8, 1e-9);
  near(ask("separation", "between_share", v, label, NULL), 200.0 / 208, 1e-9);
  near(ask("separation", "fisher_trace", v, label, NULL), 200.0 / 4, 1e-9);
  near(ask("separation", "nearest_mean_accuracy", v, label, NULL), 1, 0);
  /* The silhouette of row (-1, 0), and the others alike, by the definition. */
  double sum = 0;
  for (int i = 0; i < 8; i++) {
    double own = 0, other = 0;
    for (int j = 0; j < 8; j++) {
      const double far = hypot(x[2 * i] - x[2 * j], x[2 * i + 1] - x[2 * j + 1]);
      *(label[i] == label[j] ? &own : &other) += far;
    }
    sum += (other / 4 - own / 3) / (other / 4);
  }
  near(ask("separation", "silhouette", v, label, NULL), sum / 8, 1e-9);
  /* Cosines, pair by pair, rows with themselves counted. */
  const double y[] = {1, 0, 0, 2, -3, 0, -1, -1};
  const int64_t two[] = {0, 0, 1, 1};
  double within = 0, all = 0;
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      const double away = 1 - (y[2 * i] * y[2 * j] + y[2 * i + 1] * y[2 * j + 1]) /
                                  (hypot(y[2 * i], y[2 * i + 1]) * hypot(y[2 * j], y[2 * j + 1]));
      all += away / 16;
      if (two[i] == two[j]) within += away / 8;
    }
  near(ask("separation", "class_separation", test_rows(y, 4, 2), two, NULL), 1 - within / all,
       1e-9);
  /* Leave-one-out: a lone row of a class is never right, and a tie is wrong. */
  const double lone[] = {0, 0, 0, 1, 5, 5};
  const int64_t three[] = {0, 0, 1};
  near(ask("separation", "nearest_mean_accuracy", test_rows(lone, 3, 2), three, NULL), 2.0 / 3, 0);
  const double tie[] = {0, 2, 1, 1};
  const int64_t pair[] = {0, 0, 1, 1};
  near(ask("separation", "nearest_mean_accuracy", test_rows(tie, 4, 1), pair, NULL), 0, 0);
}

static void test_collapse(void **state) {
  (void)state;
  /* Three classes at the corners of an equilateral triangle, every row at its mean. */
  const double s = sqrt(3) / 2;
  const double x[] = {1, 0, 1, 0, -0.5, s, -0.5, s, -0.5, -s, -0.5, -s};
  const int64_t label[] = {0, 0, 1, 1, 2, 2};
  const mica_view v = test_rows(x, 6, 2);
  near(ask("collapse", "within_class_variability", v, label, NULL), 0, 1e-12);
  near(ask("collapse", "mean_length_variation", v, label, NULL), 0, 1e-12);
  near(ask("collapse", "mean_angle_error", v, label, NULL), 0, 1e-12);
  /* Rows a to each side of means at +-1 along one axis: W = a^2 along it, B = 1, over two classes.
   */
  const double a = 0.5, y[] = {1 - a, 0, 1 + a, 0, -1 - a, 0, -1 + a, 0};
  const int64_t two[] = {0, 0, 1, 1};
  near(ask("collapse", "within_class_variability", test_rows(y, 4, 2), two, NULL), a * a / 2,
       1e-12);
  /* What varies across the means does not count. */
  const double z[] = {1, -3, 1, 3, -1, -3, -1, 3};
  near(ask("collapse", "within_class_variability", test_rows(z, 4, 2), two, NULL), 0, 1e-12);
}

/* ---- two sets ---- */

enum { rows = 40, width = 6 };
static double sx[rows * width], sy[rows * width], sz[rows * width], turn[width * width];

static void test_same_up_to_rotation(void **state) {
  (void)state;
  fill(sx, rows * width, 1);
  fill(sz, rows * width, 2);
  rotation(width, 3, turn);
  moved(sx, rows, width, turn, 7, 100, sy);
  const mica_view x = test_rows(sx, rows, width), y = test_rows(sy, rows, width);
  const mica_view z = test_rows(sz, rows, width);
  const char *const kinds[] = {"cka", "cka:debiased", "cka:kernel=rbf",
                               "cka:kernel=rbf:debiased:bandwidth=0.8"};
  for (int i = 0; i < 4; i++) {
    near(ask(kinds[i], "cka", x, NULL, &x), 1, 1e-9);
    near(ask(kinds[i], "cka", x, NULL, &y), 1, 1e-7);
    const double apart = ask(kinds[i], "cka", x, NULL, &z);
    assert_true(apart < 0.7);
    /* Turning and scaling either side changes nothing, nor does their order. */
    near(ask(kinds[i], "cka", y, NULL, &z), apart, 1e-7);
    near(ask(kinds[i], "cka", z, NULL, &x), apart, 1e-9);
  }
  near(ask("procrustes", "procrustes", x, NULL, &y), 0, 1e-6);
  assert_true(ask("procrustes", "procrustes", x, NULL, &z) > 0.5);
  near(ask("cca:variance=1", "cca_mean", x, NULL, &y), 1, 1e-6);
  near(ask("cca:variance=1", "cca_directions", x, NULL, &y), width, 0);
  assert_true(ask("cca", "cca_mean", x, NULL, &z) < 0.6);
}

/* The definitions, from the kernels: tr(KHLH), and the unbiased estimate of Song et al. */
static double hsic(const double *k, const double *l, int n, bool unbiased) {
  double sum = 0, kl = 0, mixed = 0, all_k = 0, all_l = 0;
  for (int i = 0; i < n; i++) {
    double rk = 0, rl = 0;
    for (int j = 0; j < n; j++) {
      if (unbiased && i == j) continue;
      kl += k[i * n + j] * l[i * n + j];
      rk += k[i * n + j];
      rl += l[i * n + j];
    }
    mixed += rk * rl;
    all_k += rk;
    all_l += rl;
  }
  if (!unbiased) return kl - 2 * mixed / n + all_k * all_l / n / n;
  sum = kl + all_k * all_l / (n - 1) / (n - 2) - 2 * mixed / (n - 2);
  return sum / n / (n - 3);
}

static void test_cka_by_definition(void **state) {
  (void)state;
  enum { n = 9, d = 3, e = 4 };
  double x[n * d], y[n * e], k[2][n * n], l[2][n * n], far[n * n];
  fill(x, n * d, 5);
  fill(y, n * e, 6);
  for (int i = 0; i < n * e; i++) y[i] += x[i % (n * d)];
  for (int side = 0; side < 2; side++) {
    const double *v = side ? y : x;
    const int w = side ? e : d;
    double(*to)[n * n] = side ? l : k;
    int m = 0;
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n; j++) {
        double dot = 0, square = 0;
        for (int c = 0; c < w; c++) {
          dot += v[i * w + c] * v[j * w + c];
          square += (v[i * w + c] - v[j * w + c]) * (v[i * w + c] - v[j * w + c]);
        }
        to[0][i * n + j] = dot;
        to[1][i * n + j] = square;
        if (j < i) far[m++] = square;
      }
    /* The median by counting. */
    for (int i = 0; i < m; i++)
      for (int j = i + 1; j < m; j++)
        if (far[j] < far[i]) {
          const double t = far[i];
          far[i] = far[j];
          far[j] = t;
        }
    const double median = (far[(m - 1) / 2] + far[m / 2]) / 2;
    for (int i = 0; i < n * n; i++) to[1][i] = exp(-to[1][i] / (2 * 0.25 * median));
  }
  const mica_view vx = test_rows(x, n, d), vy = test_rows(y, n, e);
  const char *const kinds[] = {"cka", "cka:debiased", "cka:kernel=rbf", "cka:kernel=rbf:debiased"};
  for (int i = 0; i < 4; i++) {
    const double *a = k[i / 2], *b = l[i / 2];
    const double want = hsic(a, b, n, i % 2) / sqrt(hsic(a, a, n, i % 2) * hsic(b, b, n, i % 2));
    near(ask(kinds[i], "cka", vx, NULL, &vy), want, 1e-9);
  }
}

static void test_correlations(void **state) {
  (void)state;
  /* One shared direction, one that has nothing to do with the other side's. */
  const double x[] = {1, 1, 1, -1, -1, 1, -1, -1, 1, 1, 1, -1, -1, 1, -1, -1};
  const double y[] = {2, 3, 2, 3, -2, 3, -2, 3, 2, -3, 2, -3, -2, -3, -2, -3};
  const mica_view vx = test_rows(x, 8, 2), vy = test_rows(y, 8, 2);
  near(ask("cca:variance=1", "cca_mean", vx, NULL, &vy), 0.5, 1e-9);
  near(ask("cca:variance=1", "cca_mean_square", vx, NULL, &vy), 0.5, 1e-9);
  /* |X| = 4, |Y| = sqrt(104), X^T Y has the one value 16: 2 - 2 * 16 / (4 sqrt(104)). */
  near(ask("procrustes", "procrustes", vx, NULL, &vy), 2 - 8 / sqrt(104), 1e-9);
  /* 9 of 13 parts of y's variance lie in its second column, which alone is kept then. */
  near(ask("cca:variance=0.5", "cca_directions", vx, NULL, &vy), 1, 0);
}

/* ---- strides, threads, samples ---- */

static void test_same_for_every_thread_count(void **state) {
  (void)state;
  enum { n = 900, d = 12 };
  static double x[n * d], y[n * d];
  static int64_t label[n];
  static float narrow[n * (d + 3)];
  fill(x, n * d, 7);
  fill(y, n * d, 8);
  for (int i = 0; i < n; i++) label[i] = i % 7;
  for (int i = 0; i < n * d; i++) {
    x[i] = (float)(x[i] + (i / d % 7 == i % d));
    narrow[i / d * (d + 3) + i % d] = (float)x[i];
  }
  mica_view strided = mica_view_of(narrow, MICA_F32, MICA_SHAPE(n, d));
  strided.row_stride = d + 3;
  const mica_view vx = test_rows(x, n, d), vy = test_rows(y, n, d);
  mica_engine *one = engine, *three = test_engine(3);
  const char *const asked[][2] = {{"norms", "norm_mean"},
                                  {"rank", "effective_rank"},
                                  {"alignment:alpha=1:rows=300", "alignment"},
                                  {"uniformity:rows=500", "uniformity"},
                                  {"separation:rows=400", "silhouette"},
                                  {"collapse", "within_class_variability"},
                                  {"cka", "cka"},
                                  {"cka:kernel=rbf:rows=300", "cka"},
                                  {"cca", "cca_mean"},
                                  {"procrustes", "procrustes"}};
  for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
    const bool two = i >= 6;
    const mica_view *other = two ? &vy : NULL;
    engine = one;
    const double a = ask(asked[i][0], asked[i][1], vx, label, other);
    engine = three;
    const double b = ask(asked[i][0], asked[i][1], vx, label, other);
    const double c = ask(asked[i][0], asked[i][1], strided, label, other);
    assert_true(isfinite(a));
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_equal(&a, &c, sizeof a);
  }
  near(ask("uniformity:rows=500", "rows_compared", vx, NULL, NULL), 500, 0);
  mica_engine_free(three);
  engine = one;
}

/* ---- what cannot be measured ---- */

static void refuse(const char *spec, const mica_measure_data *d, mica_status want,
                   const char *says) {
  mica_findings *f = NULL;
  assert_int_equal(mica_findings_create(&f), MICA_OK);
  assert_int_equal(mica_findings_number(f, "before", 1, "there already"), MICA_OK);
  assert_int_equal(mica_measure(engine, spec, d, f), want);
  if (!strstr(mica_last_error(), says)) fail_msg("'%s' does not say '%s'", mica_last_error(), says);
  assert_int_equal(mica_findings_count(f), 1);
  mica_findings_free(f);
}

static void test_refusals(void **state) {
  (void)state;
  double x[] = {1, 2, 3, 4, 5, 7}, bad[] = {1, 2, NAN, 4, 5, 6}, same[] = {1, 1, 1, 1, 1, 1};
  int64_t label[] = {0, 1, 5}, one[] = {1, 1, 1}, negative[] = {0, -1, 0};
  const mica_view fewer = test_rows(x, 2, 3), still = test_rows(same, 3, 2);
  const mica_view thin = test_rows(x, 3, 1), odd = test_rows(bad, 3, 2);
  mica_measure_data d = MICA_MEASURE_DATA;
  d.x = test_rows(x, 3, 2);
  refuse("nothing", &d, MICA_ERR_NOT_FOUND, "nothing");
  refuse("rank:centre=maybe", &d, MICA_ERR_INVALID, "centre");
  refuse("cka", &d, MICA_ERR_INVALID, "compares two sets");
  refuse("separation", &d, MICA_ERR_INVALID, "no labels");
  refuse("alignment", &d, MICA_ERR_INVALID, "two views or labels");
  d.label = one;
  refuse("separation", &d, MICA_ERR_INVALID, "one class");
  refuse("collapse", &d, MICA_ERR_INVALID, "one class");
  d.label = negative;
  refuse("norms", &d, MICA_ERR_INVALID, "label -1 of row 1");
  d.label = label;
  d.classes = 5;
  refuse("norms", &d, MICA_ERR_INVALID, "label 5 of row 2, expected 0 to 4");
  d.label = NULL;
  d.other = &fewer;
  refuse("cka", &d, MICA_ERR_SHAPE, "2 of the others");
  d.other = &thin;
  refuse("alignment", &d, MICA_ERR_SHAPE, "1 of the other view");
  refuse("cka:debiased", &d, MICA_ERR_SHAPE, "needs 4");
  d.other = &still;
  refuse("cka", &d, MICA_ERR_NUMERIC, "do not differ");
  refuse("cka:kernel=rbf", &d, MICA_ERR_NUMERIC, "the same row");
  refuse("cca", &d, MICA_ERR_NUMERIC, "all the same");
  refuse("procrustes", &d, MICA_ERR_NUMERIC, "all the same");
  d.other = &odd;
  refuse("cka", &d, MICA_ERR_NUMERIC, "row 1");
  d.other = NULL;
  d.x = odd;
  refuse("norms", &d, MICA_ERR_NUMERIC, "row 1");
  d.x = test_rows(x, 1, 2);
  refuse("norms", &d, MICA_ERR_SHAPE, "at least 2");
  int64_t whole[4] = {0};
  d.x = mica_view_of(whole, MICA_I64, MICA_SHAPE(2, 2));
  refuse("norms", &d, MICA_ERR_SHAPE, "features");
  mica_findings *f = NULL;
  assert_int_equal(mica_findings_create(&f), MICA_OK);
  assert_int_equal(mica_measure(engine, "norms", NULL, f), MICA_ERR_INVALID);
  assert_int_equal(mica_findings_values(f, MICA_FINDING_SERIES, "x", -1, 2, x, ""),
                   MICA_ERR_INVALID);
  mica_findings_free(f);
  mica_findings_free(NULL);
}

static mica_status all_measures(void *ctx) {
  const char *spec = ctx;
  mica_findings *f = NULL;
  mica_measure_data d = MICA_MEASURE_DATA;
  static int64_t label[rows];
  for (int i = 0; i < rows; i++) label[i] = i % 3;
  const mica_view other = test_rows(sz, rows, width);
  d.x = test_rows(sx, rows, width);
  d.label = label;
  if (strncmp(spec, "alignment", 9) != 0) d.other = &other;
  mica_status status = mica_findings_create(&f);
  if (!status) status = mica_measure(engine, spec, &d, f);
  mica_findings_free(f);
  return status;
}

static void test_memory(void **state) {
  (void)state;
  static char specs[][40] = {"norms",
                             "rank",
                             "rank:centre=false",
                             "alignment",
                             "alignment:alpha=3",
                             "uniformity:rows=20",
                             "separation:rows=20",
                             "collapse",
                             "cka",
                             "cka:debiased",
                             "cka:kernel=rbf:rows=20",
                             "cca",
                             "procrustes"};
  fill(sx, rows * width, 1);
  fill(sz, rows * width, 2);
  failing_alloc_install();
  mica_engine *outside = engine;
  engine = test_engine(1);
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    assert_int_equal(all_measures(specs[i]), MICA_OK); /* what the engine keeps is made here */
    assert_true(fail_each(all_measures, specs[i]) > 3);
  }
  mica_engine_free(engine);
  engine = outside;
  failing_alloc_remove();
}

int main(void) {
  engine = test_engine(1);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_norms),
                                     cmocka_unit_test(test_rank),
                                     cmocka_unit_test(test_alignment),
                                     cmocka_unit_test(test_separation),
                                     cmocka_unit_test(test_collapse),
                                     cmocka_unit_test(test_same_up_to_rotation),
                                     cmocka_unit_test(test_cka_by_definition),
                                     cmocka_unit_test(test_correlations),
                                     cmocka_unit_test(test_same_for_every_thread_count),
                                     cmocka_unit_test(test_refusals),
                                     cmocka_unit_test(test_memory)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
