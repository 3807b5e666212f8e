/* Aligning two spaces: maps and canonical correlations against what they are defined by, in pieces
 * as at once, saved and loaded; CKA's fast form against its definition; assignment against all
 * permutations; matches, quadratic assignment, Chamfer's distance; errors and failing allocations.
 */
#include "support/estimator.h"
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <math.h>
#include <string.h>

enum { N = 90, P = 6, Q = 4, M = 7 };

static mica_engine *engine;
static double x[N * P], y[N * Q], qx[M * P], qy[M * Q];

/* Both sides see three of the same causes through matrices of their own, and noise. */
static void draw(mica_key key, int64_t n, double *a, double *b) {
  for (int64_t i = 0; i < n; i++) {
    double cause[3];
    for (int c = 0; c < 3; c++) cause[c] = mica_random_normal(key, (uint64_t)(i * 64 + c));
    for (int j = 0; j < P; j++) {
      a[i * P + j] = 0.4 * mica_random_normal(key, (uint64_t)(i * 64 + 8 + j)) + j;
      for (int c = 0; c < 3; c++) a[i * P + j] += cause[c] * sin(1.0 + j * 3 + c);
    }
    for (int j = 0; j < Q; j++) {
      b[i * Q + j] = 0.3 * mica_random_normal(key, (uint64_t)(i * 64 + 32 + j)) - 2 * j;
      for (int c = 0; c < 3; c++) b[i * Q + j] += cause[c] * cos(2.0 + j * 5 + c * 2);
    }
  }
}

static mica_estimator *fit(const char *spec, int64_t n) {
  mica_fit_data data = MICA_FIT_DATA;
  const mica_view target = test_rows(y, n, Q);
  data.x = test_rows(x, n, P);
  data.target = &target;
  return test_fit(engine, spec, &data, NULL);
}

static void mapped(const mica_estimator *e, const double *rows, int64_t n, double *out) {
  test_predict(e, test_rows(rows, n, P), NULL, out, NULL, NULL);
}

static double mean(const double *v, int64_t n, int64_t d, int64_t j) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += v[i * d + j] / (double)n;
  return sum;
}

static double covariance(const double *a, int64_t da, int64_t i, const double *b, int64_t db,
                         int64_t j, int64_t n) {
  double sum = 0;
  for (int64_t r = 0; r < n; r++)
    sum += (a[r * da + i] - mean(a, n, da, i)) * (b[r * db + j] - mean(b, n, db, j));
  return sum / (double)(n - 1);
}

/* ---- canonical correlations ---- */

static void test_cca(void **state) {
  (void)state;
  double cx[N * Q], cy[N * Q], rho[Q];
  mica_estimator *e = fit("cca:k=50:ridge=0", N);
  assert_int_equal(mica_estimator_outputs(e), Q);
  assert_int_equal(mica_estimator_correlations(e, rho), Q);
  assert_int_equal(mica_estimator_correlations(e, NULL), Q);
  mapped(e, x, N, cx);
  const mica_view targets = test_rows(y, N, Q);
  assert_int_equal(mica_estimator_targets(e, &targets, cy), MICA_OK);
  for (int i = 0; i < Q; i++) {
    assert_near(mean(cx, N, Q, i), 0, 1e-10);
    assert_true(i == 0 || rho[i] <= rho[i - 1]);
    for (int j = 0; j < Q; j++) {
      assert_near(covariance(cx, Q, i, cx, Q, j, N), i == j, 1e-9);
      assert_near(covariance(cy, Q, i, cy, Q, j, N), i == j, 1e-9);
      assert_near(covariance(cx, Q, i, cy, Q, j, N), i == j ? rho[i] : 0, 1e-9);
    }
  }
  mica_estimator_free(e);
  /* A ridge lowers them; few directions are the first of many. */
  double lower[2];
  e = fit("cca:k=2:ridge=0.1", N);
  assert_int_equal(mica_estimator_correlations(e, lower), 2);
  assert_true(lower[0] < rho[0] && lower[0] > 0.5 * rho[0]);
  mica_estimator_free(e);
}

/* Columns that repeat others leave the canonical correlations what they were. */
static void test_cca_of_dependent_columns(void **state) {
  (void)state;
  double wide[N * (P + 2)], rho[Q], again[Q];
  mica_estimator *e = fit("cca:ridge=0", N), *w;
  mica_estimator_correlations(e, rho);
  for (int i = 0; i < N; i++) {
    memcpy(wide + i * (P + 2), x + i * P, P * sizeof *x);
    wide[i * (P + 2) + P] = 2 * x[i * P] - x[i * P + 1];
    wide[i * (P + 2) + P + 1] = 3;
  }
  mica_fit_data data = MICA_FIT_DATA;
  const mica_view target = test_rows(y, N, Q);
  data.x = test_rows(wide, N, P + 2);
  data.target = &target;
  w = test_fit(engine, "cca:ridge=0", &data, NULL);
  assert_int_equal(mica_estimator_correlations(w, again), Q);
  assert_all_near(again, rho, Q, 1e-9);
  mica_estimator_free(w);
  /* SVCCA: with half of the variance there are fewer directions. */
  w = test_fit(engine, "cca:variance=0.5", &data, NULL);
  assert_true(mica_estimator_correlations(w, NULL) < Q);
  mica_estimator_free(w);
  mica_estimator_free(e);
}

/* ---- maps ---- */

/* What is left of the targets is orthogonal to what the map could use. */
static void check_normal_equations(const char *spec, bool bias) {
  double out[N * Q];
  mica_estimator *e = fit(spec, N);
  mapped(e, x, N, out);
  for (int j = 0; j < Q; j++) {
    double sum = 0;
    for (int i = 0; i < N; i++) sum += y[i * Q + j] - out[i * Q + j];
    if (bias) assert_near(sum, 0, 1e-9);
    for (int p = 0; p < P; p++) {
      double dot = 0;
      for (int i = 0; i < N; i++) dot += x[i * P + p] * (y[i * Q + j] - out[i * Q + j]);
      assert_near(dot, 0, 1e-8);
    }
  }
  mica_estimator_free(e);
}

static void test_least_squares(void **state) {
  (void)state;
  check_normal_equations("align", true);
  check_normal_equations("align:map=linear", false);
}

/* A space rotated, scaled by no more than its mean and read back by Procrustes. */
static void test_procrustes(void **state) {
  (void)state;
  const double c = cos(0.7), s = sin(0.7);
  double turned[N * P], out[N * P];
  for (int i = 0; i < N; i++)
    for (int j = 0; j < P; j += 2) {
      turned[i * P + j] = c * x[i * P + j] - s * x[i * P + j + 1] + 4;
      turned[i * P + j + 1] = s * x[i * P + j] + c * x[i * P + j + 1] - j;
    }
  mica_fit_data data = MICA_FIT_DATA;
  const mica_view target = test_rows(turned, N, P);
  data.x = test_rows(x, N, P);
  data.target = &target;
  mica_estimator *e = test_fit(engine, "align:map=procrustes", &data, NULL);
  mapped(e, x, N, out);
  assert_all_near(out, turned, N * P, 1e-9);
  mica_estimator_free(e);
}

static void test_relative(void **state) {
  (void)state;
  double out[M * N], to[M * N];
  mica_estimator *e = fit("align:map=relative", N);
  assert_int_equal(mica_estimator_outputs(e), N);
  mapped(e, qx, M, out);
  const mica_view targets = test_rows(qy, M, Q);
  assert_int_equal(mica_estimator_targets(e, &targets, to), MICA_OK);
  for (int i = 0; i < M; i++)
    for (int a = 0; a < N; a++) {
      double dot = 0, u = 0, v = 0;
      for (int j = 0; j < P; j++) {
        const double m = mean(x, N, P, j), l = qx[i * P + j] - m, r = x[a * P + j] - m;
        dot += l * r;
        u += l * l;
        v += r * r;
      }
      assert_near(out[i * N + a], dot / sqrt(u * v), 1e-9);
    }
  mica_estimator_free(e);
}

/* ---- pieces, records, threads ---- */

static const char *const specs[] = {"cca:k=3",
                                    "align",
                                    "align:map=linear",
                                    "align:map=procrustes:standardise",
                                    "align:reduce=cca:k=2",
                                    "align:reduce=pca:k=3",
                                    "align:score=cka",
                                    "align:score=cka:reduce=cca:k=3:standardise",
                                    "align:reduce=cca:k=3:variance=0.9",
                                    "align:map=relative:reduce=pca:k=3"};
enum { SPECS = sizeof specs / sizeof *specs };

static void scores(const mica_estimator *e, double *out) {
  const mica_view a = test_rows(qx, M, P), b = test_rows(qy, M, Q);
  assert_int_equal(mica_estimator_pair_scores(e, &a, &b, out), MICA_OK);
}

static void test_in_pieces(void **state) {
  (void)state;
  double whole[M * M], pieces[M * M];
  for (size_t i = 0; i + 1 < SPECS; i++) {
    mica_estimator *all = fit(specs[i], N), *e = fit(specs[i], 30);
    mica_fit_data more = MICA_FIT_DATA;
    const mica_view target = test_rows(y + 30 * Q, N - 30, Q);
    more.x = test_rows(x + 30 * P, N - 30, P);
    more.target = &target;
    assert_int_equal(mica_estimator_update(e, &more), MICA_OK);
    scores(all, whole);
    scores(e, pieces);
    assert_all_near(pieces, whole, M * M, 1e-8);
    mica_estimator_free(all);
    mica_estimator_free(e);
  }
}

static void test_records(void **state) {
  (void)state;
  double before[M * M], after[M * M];
  for (size_t i = 0; i < SPECS; i++) {
    mica_record *record;
    mica_estimator *e = fit(specs[i], N), *again;
    assert_int_equal(mica_record_create(&record), MICA_OK);
    assert_int_equal(mica_estimator_save(e, record), MICA_OK);
    assert_int_equal(mica_estimator_load(engine, record, &again), MICA_OK);
    scores(e, before);
    scores(again, after);
    assert_memory_equal(before, after, sizeof before);
    mica_record_free(record);
    mica_estimator_free(e);
    mica_estimator_free(again);
  }
}

static void test_threads(void **state) {
  (void)state;
  double one[M * M], four[M * M];
  mica_engine *kept = engine;
  for (size_t i = 0; i < SPECS; i++) {
    mica_estimator *e = fit(specs[i], N);
    scores(e, one);
    mica_estimator_free(e);
    engine = test_engine(4);
    e = fit(specs[i], N);
    scores(e, four);
    mica_estimator_free(e);
    mica_engine_free(engine);
    engine = kept;
    assert_memory_equal(one, four, sizeof one);
  }
}

/* ---- CKA ---- */

static void test_local_cka(void **state) {
  (void)state;
  const mica_view ax = test_rows(x, N, P), ay = test_rows(y, N, Q);
  const mica_view a = test_rows(qx, M, P), b = test_rows(qy, M, Q);
  double fast[M * M], slow[M * M], kernel[M * M], value;
  assert_int_equal(mica_local_cka(engine, &ax, &ay, &a, &b, fast), MICA_OK);
  assert_int_equal(mica_local_cka_reference(engine, MICA_CKA_LINEAR, &ax, &ay, &a, &b, slow),
                   MICA_OK);
  assert_all_near(fast, slow, M * M, 1e-12);
  assert_int_equal(mica_local_cka_reference(engine, MICA_CKA_RBF, &ax, &ay, &a, &b, kernel),
                   MICA_OK);
  for (int i = 0; i < M * M; i++) assert_true(kernel[i] > 0 && kernel[i] < 1);
  assert_true(fabs(kernel[0] - slow[0]) > 1e-6);
  /* A space and itself. */
  assert_int_equal(mica_cka_reference(engine, MICA_CKA_RBF, &ax, &ax, &value), MICA_OK);
  assert_near(value, 1, 1e-12);
}

/* The measures of what two spaces share, and their ends: the same space, and none. */
static void test_companions(void **state) {
  (void)state;
  mica_findings *f;
  double noise[N * Q];
  for (int i = 0; i < N * Q; i++) noise[i] = mica_random_normal(mica_key_seed(99), (uint64_t)i);
  const mica_view same = test_rows(x, N, P), other = test_rows(noise, N, Q);
  mica_measure_data d = MICA_MEASURE_DATA;
  d.x = same;
  d.other = &same;
  assert_int_equal(mica_findings_create(&f), MICA_OK);
  const char *const each[] = {"mutual_knn", "mutual_knn:metric=euclidean:k=200", "rsa",
                              "rsa:metric=euclidean:correlation=pearson"};
  for (size_t i = 0; i < 4; i++) assert_int_equal(mica_measure(engine, each[i], &d, f), MICA_OK);
  assert_near(mica_findings_value(f, "mutual_neighbours"), 1, 0);
  assert_near(mica_findings_value(f, "rsa"), 1, 1e-12);
  mica_findings_free(f);
  d.other = &other;
  assert_int_equal(mica_findings_create(&f), MICA_OK);
  assert_int_equal(mica_measure(engine, "mutual_knn", &d, f), MICA_OK);
  assert_int_equal(mica_measure(engine, "rsa", &d, f), MICA_OK);
  assert_near(mica_findings_value(f, "mutual_neighbours_by_chance"), 10.0 / (N - 1), 1e-12);
  assert_true(fabs(mica_findings_value(f, "mutual_neighbours") - 10.0 / (N - 1)) < 0.05);
  assert_true(fabs(mica_findings_value(f, "rsa")) < 0.1);
  mica_findings_free(f);
}

/* ---- assignment ---- */

static double best_of_all(int n, int m, const double *v, int row, uint32_t used, bool most) {
  if (row == n) return 0;
  double best = most ? -INFINITY : INFINITY;
  for (int j = 0; j < m; j++) {
    if (used >> j & 1) continue;
    const double sum = v[row * m + j] + best_of_all(n, m, v, row + 1, used | 1u << j, most);
    if (most ? sum > best : sum < best) best = sum;
  }
  return best;
}

static void test_assignment(void **state) {
  (void)state;
  double v[36], turned[36], total, again;
  int64_t column[6], row[6];
  for (uint64_t trial = 0; trial < 40; trial++) {
    const int n = 1 + (int)(trial % 5), m = n + (int)(trial % 2);
    for (int i = 0; i < n * m; i++) /* few values, so that many are equal */
      v[i] = trial < 20 ? (double)mica_random_below(mica_key_seed(trial), (uint64_t)i, 4)
                        : mica_random_normal(mica_key_seed(trial), (uint64_t)i);
    for (int i = 0; i < n * m; i++) turned[i % m * n + i / m] = v[i];
    for (int most = 0; most < 2; most++) {
      double sum = 0;
      uint32_t used = 0;
      assert_int_equal(mica_linear_assignment(n, m, v, most, column, &total), MICA_OK);
      for (int i = 0; i < n; i++) {
        assert_true(column[i] >= 0 && column[i] < m && !(used >> column[i] & 1));
        used |= 1u << column[i];
        sum += v[i * m + column[i]];
      }
      assert_near(sum, total, 1e-12);
      assert_near(total, best_of_all(n, m, v, 0, 0, most), 1e-9);
      assert_int_equal(mica_linear_assignment(m, n, turned, most, row, &again), MICA_OK);
      assert_near(again, total, 1e-9);
      int without = 0;
      for (int j = 0; j < m; j++) without += row[j] < 0;
      assert_int_equal(without, m - n);
    }
  }
  assert_int_equal(mica_linear_assignment(0, 0, v, true, column, &total), MICA_OK);
  v[1] = NAN;
  assert_int_equal(mica_linear_assignment(2, 2, v, true, column, NULL), MICA_ERR_NUMERIC);
  assert_int_equal(mica_linear_assignment(-1, 2, v, true, column, NULL), MICA_ERR_INVALID);
}

/* A kernel and the same with its items permuted: the permutation comes back. */
static void test_quadratic_assignment(void **state) {
  (void)state;
  enum { K = 14 };
  double a[K * K], b[K * K], value, perfect = 0;
  int64_t order[K], found[K];
  mica_random_permutation(mica_key_seed(4), K, order);
  for (int i = 0; i < 3; i++) { /* three seeds: items that stay where they are */
    int at = 0;
    while (order[at] != i) at++;
    order[at] = order[i];
    order[i] = i;
  }
  for (int i = 0; i < K; i++)
    for (int j = 0; j < K; j++) {
      double d = 0;
      for (int p = 0; p < P; p++) d += pow(x[i * P + p] - x[j * P + p], 2);
      a[i * K + j] = exp(-d / 6);
    }
  for (int i = 0; i < K; i++)
    for (int j = 0; j < K; j++) b[order[i] * K + order[j]] = a[i * K + j];
  for (int i = 0; i < K * K; i++) perfect += a[i] * a[i];
  mica_qap_options o = MICA_QAP_OPTIONS;
  o.seeds = 3;
  o.restarts = 4;
  assert_int_equal(mica_quadratic_assignment(engine, K, a, b, &o, found, &value), MICA_OK);
  for (int i = 0; i < K; i++) assert_int_equal(found[i], order[i]);
  assert_near(value, perfect, 1e-9);
  o.seeds = K + 1;
  assert_int_equal(mica_quadratic_assignment(engine, K, a, b, &o, found, NULL), MICA_ERR_INVALID);
  a[3] = INFINITY;
  assert_int_equal(mica_quadratic_assignment(engine, K, a, b, NULL, found, NULL), MICA_ERR_NUMERIC);
}

/* ---- matches, clouds ---- */

static void test_match(void **state) {
  (void)state;
  /* Row 0 prefers column 1, whose row is 2; ties go to the lower index. */
  const double s[9] = {5, 4, 0, 1, 1, 1, 3, 9, 9};
  const int64_t truth[3] = {0, 2, 1}, twice[3] = {0, 0, 1};
  int64_t match[3];
  mica_match_result r;
  assert_int_equal(mica_match_evaluate(3, s, truth, match, &r), MICA_OK);
  assert_near(r.top1, 2.0 / 3, 1e-12);
  assert_near(r.top5, 1, 1e-12);
  assert_near(r.back_top1, 2.0 / 3, 1e-12);
  assert_int_equal(match[0], 0);
  assert_int_equal(mica_match_evaluate(3, s, NULL, NULL, &r), MICA_OK);
  assert_near(r.top1, 1.0 / 3, 1e-12);
  assert_int_equal(mica_match_evaluate(3, s, twice, NULL, &r), MICA_ERR_INVALID);
  assert_int_equal(mica_match_evaluate(0, s, NULL, NULL, &r), MICA_ERR_INVALID);
}

static void test_chamfer(void **state) {
  (void)state;
  const double p[6] = {0, 0, 1, 0, 0, 3}, q[4] = {0, 0, 2, 0};
  const mica_view a = test_rows(p, 3, 2), b = test_rows(q, 2, 2), none = test_rows(q, 0, 2);
  double d;
  assert_int_equal(mica_chamfer_distance(engine, &a, &b, &d), MICA_OK);
  assert_near(d, (0 + 1 + 9) / 3.0 + (0 + 1) / 2.0, 1e-12);
  assert_int_equal(mica_chamfer_distance(engine, &a, &none, &d), MICA_ERR_INVALID);
  const mica_view flat = test_rows(q, 4, 1);
  assert_int_equal(mica_chamfer_distance(engine, &a, &flat, &d), MICA_ERR_SHAPE);
}

/* ---- errors ---- */

static mica_status try_fit(const char *spec, const mica_view *a, const mica_view *b) {
  mica_fit_data data = MICA_FIT_DATA;
  mica_estimator *e = NULL;
  data.x = *a;
  data.target = b;
  mica_status status = mica_estimator_create(engine, spec, &e);
  if (!status) status = mica_estimator_fit(e, &data, NULL);
  mica_estimator_free(e);
  return status;
}

static void test_errors(void **state) {
  (void)state;
  const double zeros[N * P] = {0};
  double out[M * M];
  const mica_view a = test_rows(x, N, P), b = test_rows(y, N, Q), one = test_rows(x, 1, P);
  const mica_view first = test_rows(y, 1, Q), flat = test_rows(zeros, N, P);
  assert_int_equal(try_fit("align", &a, NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "targets"));
  assert_int_equal(try_fit("align", &one, &first), MICA_ERR_INVALID);
  assert_int_equal(try_fit("align:map=none", &a, &b), MICA_ERR_SHAPE);
  assert_int_equal(try_fit("align:map=procrustes:zero_pad=false", &a, &b), MICA_ERR_SHAPE);
  assert_int_equal(try_fit("cca", &flat, &b), MICA_ERR_NUMERIC);
  assert_int_equal(try_fit("cca:k=0", &a, &b), MICA_ERR_INVALID);
  mica_estimator *e = fit("align", N), *knn;
  assert_int_equal(mica_estimator_targets(e, &a, out), MICA_ERR_SHAPE);
  assert_int_equal(mica_estimator_pair_scores(e, &b, &b, out), MICA_ERR_SHAPE);
  assert_int_equal(mica_estimator_pair_scores(e, &a, &a, out), MICA_ERR_SHAPE);
  mica_estimator_free(e);
  e = fit("align:map=relative", N);
  mica_fit_data more = MICA_FIT_DATA;
  more.x = a;
  more.target = &b;
  assert_int_equal(mica_estimator_update(e, &more), MICA_ERR_UNSUPPORTED);
  mica_estimator_free(e);
  assert_int_equal(mica_estimator_create(engine, "ridge", &knn), MICA_OK);
  assert_int_equal(mica_estimator_targets(knn, &b, out), MICA_ERR_STATE);
  assert_int_equal(mica_estimator_fit(knn, &more, NULL), MICA_OK);
  assert_int_equal(mica_estimator_targets(knn, &b, out), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_estimator_correlations(knn, NULL), 0);
  mica_estimator_free(knn);
  assert_int_equal(mica_cka_reference(engine, MICA_CKA_LINEAR, &a, &one, out), MICA_ERR_SHAPE);
  assert_int_equal(mica_cka_reference(engine, MICA_CKA_RBF, &flat, &b, out), MICA_ERR_NUMERIC);
  assert_int_equal(mica_local_cka(engine, &a, &b, &b, &b, out), MICA_ERR_SHAPE);
}

/* A record whose numbers do not go together is refused. */
static void test_broken_records(void **state) {
  (void)state;
  const char *const drop[] = {"pairs", "mean", "scatter", "anchor.x", "anchor.y"};
  for (size_t k = 0; k < 5; k++) {
    mica_record *record, *broken;
    mica_estimator *e = fit("align:map=relative", N), *again;
    assert_int_equal(mica_record_create(&record), MICA_OK);
    assert_int_equal(mica_record_create(&broken), MICA_OK);
    assert_int_equal(mica_estimator_save(e, record), MICA_OK);
    for (int64_t i = 0; i < mica_record_count(record); i++) {
      const char *name;
      mica_tensor *t = mica_record_at(record, i, &name);
      if (strcmp(name, drop[k]) != 0) assert_int_equal(mica_record_put(broken, name, t), MICA_OK);
    }
    assert_int_equal(mica_record_set_json(broken, mica_record_json(record)), MICA_OK);
    assert_int_not_equal(mica_estimator_load(engine, broken, &again), MICA_OK);
    mica_record_free(record);
    mica_record_free(broken);
    mica_estimator_free(e);
  }
}

/* ---- memory ---- */

static const char *failing;

static mica_status work(void *ctx) {
  (void)ctx;
  mica_fit_data data = MICA_FIT_DATA;
  const mica_view target = test_rows(y, 20, Q), a = test_rows(qx, M, P), b = test_rows(qy, M, Q);
  double out[M * M], d;
  int64_t match[M];
  mica_match_result r;
  mica_record *record = NULL;
  mica_estimator *e = NULL, *again = NULL;
  data.x = test_rows(x, 20, P);
  data.target = &target;
  mica_status status = mica_estimator_create(engine, failing, &e);
  if (!status) status = mica_estimator_fit(e, &data, NULL);
  if (!status && !strstr(failing, "relative")) status = mica_estimator_update(e, &data);
  if (!status) status = mica_record_create(&record);
  if (!status) status = mica_estimator_save(e, record);
  if (!status) status = mica_estimator_load(engine, record, &again);
  if (!status) status = mica_estimator_pair_scores(again, &a, &b, out);
  if (!status) status = mica_match_evaluate(M, out, NULL, match, &r);
  if (!status) status = mica_quadratic_assignment(engine, M, out, out, NULL, match, NULL);
  if (!status) status = mica_chamfer_distance(engine, &a, &a, &d);
  if (!status)
    status = mica_local_cka_reference(engine, MICA_CKA_RBF, &data.x, &target, &a, &b, out);
  if (!status) status = mica_cka_reference(engine, MICA_CKA_RBF, &data.x, &target, &d);
  mica_record_free(record);
  mica_estimator_free(e);
  mica_estimator_free(again);
  return status;
}

static void test_failing(void **state) {
  (void)state;
  const char *const each[] = {"cca:k=3", "align:map=procrustes:standardise:reduce=pca",
                              "align:score=cka", "align:map=relative:reduce=cca"};
  for (size_t i = 0; i < 4; i++) {
    failing = each[i];
    assert_true(fail_each(work, NULL) > 20);
  }
}

int main(void) {
  failing_alloc_install();
  engine = test_engine(1);
  draw(mica_key_seed(1), N, x, y);
  draw(mica_key_seed(2), M, qx, qy);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cca),           cmocka_unit_test(test_cca_of_dependent_columns),
      cmocka_unit_test(test_least_squares), cmocka_unit_test(test_procrustes),
      cmocka_unit_test(test_relative),      cmocka_unit_test(test_in_pieces),
      cmocka_unit_test(test_records),       cmocka_unit_test(test_threads),
      cmocka_unit_test(test_local_cka),     cmocka_unit_test(test_companions),
      cmocka_unit_test(test_assignment),    cmocka_unit_test(test_quadratic_assignment),
      cmocka_unit_test(test_match),         cmocka_unit_test(test_chamfer),
      cmocka_unit_test(test_errors),        cmocka_unit_test(test_broken_records),
      cmocka_unit_test(test_failing)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  failing_alloc_remove();
  return failed;
}
