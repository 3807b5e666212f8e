/* Moments, shrinkage, components, clusters, neighbours and the map: against scikit-learn and closed
 * forms, and the same bits for every thread count. */
#include "support/near.h"
#include "support/test.h"

#include "golden/feature_golden.h"
#include "numeric/distance.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "numeric/serial.h"
#include "numeric/shrinkage.h"

#include <mica/numeric.h>

#include <stdlib.h>
#include <string.h>

static mica_engine *engine_of(int threads) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *engine;
  o.threads = threads;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  return engine;
}

static mica_engine *engine;

static int set_up(void **state) {
  (void)state;
  engine = engine_of(2);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

static mica_view matrix(const double *data, int64_t n, int64_t d) {
  return mica_view_of((void *)(uintptr_t)data, MICA_F64, MICA_SHAPE(n, d));
}

static mica_view golden_rows(void) {
  return matrix(golden_x, 60, 5);
}
static mica_view wide_rows(void) {
  return matrix(golden_wide, 9, 20);
}

/* n x d normal numbers, float32, with a row stride of d + 3; free() them. */
static float *random_rows(int64_t n, int64_t d, uint64_t seed, mica_view *view) {
  float *data = malloc((size_t)(n * (d + 3)) * sizeof *data);
  assert_non_null(data);
  for (int64_t i = 0; i < n * (d + 3); i++)
    data[i] =
        i % (d + 3) < d ? (float)mica_random_normal(mica_key_seed(seed), (uint64_t)i) + 2 : NAN;
  *view = mica_view_of(data, MICA_F32, MICA_SHAPE(n, d));
  view->row_stride = d + 3;
  return data;
}

static void test_rows(void **state) {
  (void)state;
  mica_view v;
  float *data = random_rows(300, 70, 1, &v);
  assert_int_equal(mica_rows_check(&v, "rows"), MICA_OK);
  assert_int_equal(mica_rows_check_finite(engine, &v, "rows"),
                   MICA_OK); /* the stride hides the NaN */
  data[200 * 73 + 11] = INFINITY;
  data[250 * 73 + 3] = NAN;
  assert_int_equal(mica_rows_check_finite(engine, &v, "rows"), MICA_ERR_NUMERIC);
  assert_string_equal(mica_last_error(),
                      "rows: row 200, column 11 is infinite, expected a finite number");
  mica_view bad = v;
  bad.row_stride = 69;
  assert_int_equal(mica_rows_check(&bad, "rows"), MICA_ERR_SHAPE);
  bad = mica_view_of(data, MICA_I32, MICA_SHAPE(3, 2));
  assert_int_equal(mica_rows_check(&bad, "rows"), MICA_ERR_SHAPE);
  bad = mica_view_of(data, MICA_F32, MICA_SHAPE(3));
  assert_int_equal(mica_rows_check(&bad, "rows"), MICA_ERR_SHAPE);
  bad = mica_view_of(data, MICA_F32, MICA_SHAPE(3, 0));
  assert_int_equal(mica_rows_check(&bad, "rows"), MICA_ERR_SHAPE);
  free(data);
}

/* Rows in three calls, and two halves merged, give the moments of all rows. */
static void test_moments(void **state) {
  (void)state;
  mica_view v;
  float *data = random_rows(5000, 37, 2, &v);
  mica_moments whole, parts, half[2], diagonal;
  assert_int_equal(mica_moments_begin(&whole, 37, true), MICA_OK);
  assert_int_equal(mica_moments_begin(&parts, 37, true), MICA_OK);
  assert_int_equal(mica_moments_begin(&diagonal, 37, false), MICA_OK);
  assert_int_equal(mica_moments_add(engine, &whole, &v), MICA_OK);
  assert_int_equal(mica_moments_add(engine, &diagonal, &v), MICA_OK);
  const int64_t cut[] = {0, 1, 4100, 4100, 5000};
  for (int i = 0; i < 4; i++) {
    mica_view part = v;
    part.data = data + cut[i] * 40;
    part.shape.dim[0] = cut[i + 1] - cut[i];
    assert_int_equal(mica_moments_add(engine, &parts, &part), MICA_OK);
  }
  for (int h = 0; h < 2; h++) {
    mica_view part = v;
    part.data = data + h * 2500 * 40;
    part.shape.dim[0] = 2500;
    assert_int_equal(mica_moments_begin(&half[h], 37, true), MICA_OK);
    assert_int_equal(mica_moments_add(engine, &half[h], &part), MICA_OK);
  }
  assert_int_equal(mica_moments_merge(&half[0], &half[1]), MICA_OK);
  double covariance[37 * 37];
  mica_moments_covariance(&whole, 4999, covariance);
  for (int j = 0; j < 37; j++) {
    double mean = 0, square = 0, cross = 0;
    for (int i = 0; i < 5000; i++) mean += (double)data[i * 40 + j] / 5000;
    for (int i = 0; i < 5000; i++) {
      double c = (double)data[i * 40 + j] - mean;
      square += c * c;
      cross += c * (double)data[i * 40];
    }
    assert_near(whole.mean[j], mean, 1e-12);
    assert_near(whole.square[j], square, 1e-11);
    assert_near(covariance[j * 37], cross / 4999, 1e-11);
    assert_near(covariance[j], cross / 4999, 1e-11);
  }
  const mica_moments *same[] = {&parts, &half[0]};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(same[i]->n, 5000);
    assert_all_near(same[i]->mean, whole.mean, 37, 1e-13);
    assert_all_near(same[i]->scatter, whole.scatter, 37 * 37, 1e-11);
  }
  assert_all_near(diagonal.square, whole.square, 37, 1e-12);
  assert_int_equal(mica_moments_merge(&diagonal, &whole), MICA_ERR_SHAPE);
  mica_moments_end(&whole);
  mica_moments_end(&parts);
  mica_moments_end(&half[0]);
  mica_moments_end(&half[1]);
  mica_moments_end(&diagonal);
  free(data);
}

static void test_ledoit_wolf(void **state) {
  (void)state;
  const struct {
    mica_view x;
    double shrinkage;
    const double *covariance;
  } c[] = {{golden_rows(), golden_lw_shrinkage, golden_lw_covariance},
           {wide_rows(), golden_lw_wide_shrinkage, golden_lw_wide_covariance}};
  for (int i = 0; i < 2; i++) {
    int64_t d = mica_rows_d(&c[i].x), n;
    double mean[20], covariance[400];
    mica_shrunk shrunk;
    assert_int_equal(mica_group_sums(engine, &c[i].x, NULL, NULL, 1, mean, &n), MICA_OK);
    for (int64_t j = 0; j < d; j++) mean[j] /= (double)n;
    assert_int_equal(mica_shrunk_covariance(engine, &c[i].x, NULL, mean, covariance, &shrunk),
                     MICA_OK);
    assert_near(shrunk.rho, c[i].shrinkage, 1e-12);
    assert_all_near(covariance, c[i].covariance, d * d, 1e-12);
  }
}

static void test_components(void **state) {
  (void)state;
  const struct {
    mica_view x;
    int64_t k;
    const double *components, *variance;
  } c[] = {{golden_rows(), 5, golden_pca_components, golden_pca_variance},
           {wide_rows(), 8, golden_pca_wide_components, golden_pca_wide_variance}};
  for (int i = 0; i < 2; i++) {
    int64_t n = mica_rows_n(&c[i].x), d = mica_rows_d(&c[i].x);
    double mean[20], components[400], variance[20], total, sum = 0, y[60 * 20];
    assert_int_equal(mica_pca(engine, &c[i].x, c[i].k, mean, components, variance, &total),
                     MICA_OK);
    assert_all_near(components, c[i].components, c[i].k * d, 1e-9);
    assert_all_near(variance, c[i].variance, c[i].k, 1e-11);
    for (int64_t j = 0; j < c[i].k; j++) sum += c[i].variance[j];
    assert_near(total, sum, 1e-11);
    assert_int_equal(mica_project(engine, &c[i].x, mean, components, c[i].k, y), MICA_OK);
    double square = 0;
    for (int64_t r = 0; r < n; r++) square += y[r * c[i].k + 1] * y[r * c[i].k + 1];
    assert_near(square / (double)(n - 1), variance[1], 1e-10);
    assert_int_equal(mica_pca(engine, &c[i].x, 2, NULL, NULL, variance, NULL), MICA_OK);
    assert_all_near(variance, c[i].variance, 2, 1e-11);
  }
  /* Beyond the rank: nothing, not an arbitrary direction. */
  double components[400], variance[20];
  mica_view wide = wide_rows();
  assert_int_equal(mica_pca(engine, &wide, 20, NULL, components, variance, NULL), MICA_OK);
  for (int j = 9; j < 20; j++) {
    assert_true(variance[j] == 0);
    assert_true(mica_sum_squares(components + j * 20, 20) == 0);
  }
  mica_view one = matrix(golden_x, 1, 5);
  assert_int_equal(mica_pca(engine, &one, 2, NULL, NULL, variance, NULL), MICA_ERR_INVALID);
  mica_view x = golden_rows();
  assert_int_equal(mica_pca(engine, &x, 6, NULL, NULL, variance, NULL), MICA_ERR_INVALID);
}

static void test_kmeans(void **state) {
  (void)state;
  mica_view x = matrix(golden_blobs, 150, 3);
  mica_kmeans_options o = MICA_KMEANS_OPTIONS;
  mica_kmeans_report r;
  double centres[150 * 3];
  int64_t assigned[150];
  o.restarts = 20;
  assert_int_equal(mica_kmeans(engine, &x, 6, &o, centres, assigned, &r), MICA_OK);
  assert_true(r.converged);
  assert_near(r.inertia, golden_kmeans_inertia, 1e-10);
  double inertia = 0;
  for (int i = 0; i < 150; i++) {
    double best = INFINITY;
    int64_t near = -1;
    for (int64_t c = 0; c < 6; c++) {
      double d = 0;
      for (int j = 0; j < 3; j++)
        d += (golden_blobs[3 * i + j] - centres[3 * c + j]) *
             (golden_blobs[3 * i + j] - centres[3 * c + j]);
      if (d < best) best = d, near = c;
    }
    assert_int_equal(assigned[i], near);
    inertia += best;
  }
  assert_near(inertia, r.inertia, 1e-10);
  o.cosine = 1;
  assert_int_equal(mica_kmeans(engine, &x, 4, &o, centres, NULL, &r), MICA_OK);
  assert_true(r.inertia <= golden_spherical_inertia * (1 + 1e-9));
  assert_near(mica_sum_squares(centres, 3), 1, 1e-14);
  o.cosine = 0;
  /* As many clusters as rows: every row is its own centre. */
  assert_int_equal(mica_kmeans(engine, &x, 150, &o, centres, assigned, &r), MICA_OK);
  assert_true(r.inertia < 1e-9);
  /* Fewer distinct rows than clusters: empty clusters must not loop or divide by zero. */
  double same[30];
  for (int i = 0; i < 30; i++) same[i] = i % 2 ? 1 : -1;
  mica_view twins = matrix(same, 15, 2);
  assert_int_equal(mica_kmeans(engine, &twins, 4, &o, centres, assigned, &r), MICA_OK);
  assert_true(r.inertia == 0);
  for (int i = 0; i < 8; i++) assert_true(isfinite(centres[i]));
  assert_int_equal(mica_kmeans(engine, &twins, 16, &o, centres, NULL, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_kmeans(engine, &twins, 0, &o, centres, NULL, NULL), MICA_ERR_INVALID);
  same[4] = same[5] = 0;
  o.cosine = 1;
  assert_int_equal(mica_kmeans(engine, &twins, 2, &o, centres, NULL, NULL), MICA_ERR_NUMERIC);
}

static double brute(mica_metric metric, const float *a, const float *b, int64_t d) {
  double ab = 0, aa = 0, bb = 0, diff = 0;
  for (int64_t j = 0; j < d; j++) {
    double x = (double)a[j], y = (double)b[j];
    ab += x * y, aa += x * x, bb += y * y, diff += (x - y) * (x - y);
  }
  return metric == MICA_METRIC_EUCLIDEAN_SQUARED ? diff
         : metric == MICA_METRIC_COSINE          ? 1 - ab / sqrt(aa * bb)
                                                 : -ab;
}

static void test_neighbours(void **state) {
  (void)state;
  enum { n = 300, m = 1500, d = 19, k = 7 };
  mica_view x, y;
  float *a = random_rows(n, d, 4, &x), *b = random_rows(m, d, 5, &y);
  int64_t *index = malloc(n * k * sizeof *index), skip[n];
  double *distance = malloc(n * k * sizeof *distance), *full = malloc(n * m * sizeof *full);
  for (int i = 0; i < n; i++) skip[i] = i * 5;
  for (int metric = 0; metric < 3; metric++)
    for (int leave = 0; leave < 2; leave++) {
      assert_int_equal(mica_distances(engine, (mica_metric)metric, &x, &y, full), MICA_OK);
      assert_int_equal(mica_nearest_rows(engine, (mica_metric)metric, &x, &y, k,
                                         leave ? skip : NULL, index, distance),
                       MICA_OK);
      for (int i = 0; i < n; i++) {
        double last = -INFINITY;
        int below = 0;
        for (int j = 0; j < k; j++) {
          double want =
              brute((mica_metric)metric, a + i * (d + 3), b + index[i * k + j] * (d + 3), d);
          assert_near(distance[i * k + j], want, 1e-12);
          assert_true(distance[i * k + j] >= last);
          assert_true(!leave || index[i * k + j] != skip[i]);
          last = distance[i * k + j];
        }
        for (int j = 0; j < m; j++) below += full[i * m + j] < last && !(leave && j == skip[i]);
        assert_int_equal(below, k - 1);
        assert_near(full[i * m + i],
                    brute((mica_metric)metric, a + i * (d + 3), b + i * (d + 3), d), 1e-12);
      }
    }
  y.shape.dim[0] = 3; /* fewer rows than neighbours asked for */
  assert_int_equal(mica_nearest_rows(engine, MICA_METRIC_COSINE, &x, &y, k, NULL, index, distance),
                   MICA_OK);
  assert_true(index[2] >= 0 && index[3] == -1 && isinf(distance[6]));
  y.shape.dim[1] = 4;
  assert_int_equal(mica_distances(engine, MICA_METRIC_COSINE, &x, &y, full), MICA_ERR_SHAPE);
  free(a), free(b), free(index), free(distance), free(full);
}

static void test_factors(void **state) {
  (void)state;
  double a[25], inverse[25], product[25], x = 0;
  memcpy(a, golden_lw_covariance, sizeof a);
  assert_int_equal(mica_serial_whitening(engine, 5, a, inverse), MICA_OK);
  /* inverse^T inverse is the precision. */
  assert_int_equal(mica_product(engine, true, 5, 5, 5, inverse, inverse, product), MICA_OK);
  for (int i = 0; i < 5; i++)
    for (int j = 0; j < 5; j++) {
      double sum = 0;
      for (int k = 0; k < 5; k++) sum += golden_lw_covariance[i * 5 + k] * product[k * 5 + j];
      assert_near(sum, i == j, 1e-12);
    }
  double b[10], back[10] = {0};
  for (int i = 0; i < 10; i++) b[i] = i + 1;
  assert_int_equal(mica_serial_solve(engine, 5, 2, golden_lw_covariance, b), MICA_OK);
  assert_int_equal(mica_product(engine, false, 5, 2, 5, golden_lw_covariance, b, back), MICA_OK);
  for (int i = 0; i < 10; i++) assert_near(back[i], i + 1, 1e-12);
  double zero = 0;
  assert_int_equal(mica_serial_whitening(engine, 1, &zero, &x), MICA_ERR_NUMERIC);
}

/* A = V diag(w) V^T, V^T V = I and w ascending, for dense, diagonal, low-rank, repeated and graded
 * spectra. */
static void test_eigen(void **state) {
  (void)state;
  enum { most = 90 };
  static double a[most * most], v[most * most], w[most], left[most * most], back[most * most];
  const int sizes[] = {1, 2, 3, 17, most};
  for (int s = 0; s < 5; s++)
    for (int kind = 0; kind < 5; kind++) {
      int n = sizes[s];
      double scale = 0;
      for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
          double r = mica_random_normal(mica_key_seed(3), (uint64_t)(i * most + j));
          double u = mica_random_normal(mica_key_seed(4), (uint64_t)i);
          double t = mica_random_normal(mica_key_seed(4), (uint64_t)j);
          double value = kind == 0   ? r
                         : kind == 1 ? (i == j) * (double)(i % 3)
                         : kind == 2 ? u * t
                         : kind == 3 ? (i == j) + 1
                                     : r * pow(10, -(i + j) / 10.0);
          a[i * n + j] = a[j * n + i] = value;
          scale = fmax(scale, fabs(value));
        }
      assert_int_equal(mica_serial_eigen(engine, n, a, w, v), MICA_OK);
      for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) left[i * n + j] = v[j * n + i] * w[i]; /* diag(w) V^T */
      assert_int_equal(mica_product(engine, false, n, n, n, v, left, back), MICA_OK);
      for (int i = 0; i < n * n; i++) assert_near(back[i] / (n * scale), a[i] / (n * scale), 1e-14);
      assert_int_equal(mica_product(engine, true, n, n, n, v, v, back), MICA_OK);
      for (int i = 0; i < n * n; i++) assert_near(back[i], i / n == i % n, 1e-13);
      for (int i = 1; i < n; i++) assert_true(w[i - 1] <= w[i]);
      static double alone[most];
      assert_int_equal(mica_serial_eigen(engine, n, a, alone, NULL), MICA_OK);
      assert_memory_equal(alone, w, (size_t)n * sizeof *w);
    }
  a[0] = NAN;
  assert_int_equal(mica_serial_eigen(engine, 3, a, w, v), MICA_ERR_NUMERIC);
}

/* Well separated groups stay apart on the map, and every point lands beside its own kind. */
static void test_map(void **state) {
  (void)state;
  enum { n = 240, d = 10 };
  double x[n * d], y[n * 2], again[n * 2], divergence;
  for (int i = 0; i < n * d; i++)
    x[i] = mica_random_normal(mica_key_seed(6), (uint64_t)i) + 6 * (i / d % 4 == i % d);
  mica_view v = matrix(x, n, d);
  mica_map_options o = MICA_MAP_OPTIONS;
  o.iterations = 300;
  assert_int_equal(mica_map_points(engine, &v, &o, y, &divergence), MICA_OK);
  assert_true(divergence > 0 && divergence < 1.5);
  int right = 0;
  double sum = 0;
  for (int i = 0; i < n; i++) {
    int best = -1;
    double least = INFINITY;
    for (int j = 0; j < n; j++) {
      double dx = y[2 * i] - y[2 * j], dy = y[2 * i + 1] - y[2 * j + 1];
      if (j != i && dx * dx + dy * dy < least) least = dx * dx + dy * dy, best = j;
    }
    right += best % 4 == i % 4;
    sum += y[2 * i];
  }
  assert_true(right >= n - 2);
  assert_near(sum / n, 0, 1e-3);
  mica_engine *single = engine_of(1);
  assert_int_equal(mica_map_points(single, &v, &o, again, NULL), MICA_OK);
  assert_memory_equal(y, again, sizeof y);
  mica_engine_free(single);
  v.shape.dim[0] = 5; /* too few for neighbourhoods: the principal components */
  assert_int_equal(mica_map_points(engine, &v, NULL, y, NULL), MICA_OK);
  for (int i = 0; i < 10; i++) assert_true(isfinite(y[i]));
  v.shape.dim[0] = 1;
  assert_int_equal(mica_map_points(engine, &v, NULL, y, NULL), MICA_ERR_INVALID);
  v.shape.dim[0] = n;
  for (int i = 0; i < n * d; i++) x[i] = 1; /* all points are one */
  assert_int_equal(mica_map_points(engine, &v, NULL, y, NULL), MICA_OK);
  for (int i = 0; i < 2 * n; i++) assert_true(isfinite(y[i]));
}

/* Everything once with 1, 2 and 5 threads. */
static void test_bits(void **state) {
  (void)state;
  enum { n = 3000, d = 45, k = 9 };
  mica_view x;
  float *data = random_rows(n, d, 8, &x);
  typedef struct {
    double scatter[d * d], fourth, mean[d], components[d * d], variance[d], centres[k * d],
        projected[n * 3];
    int64_t assigned[n], index[50 * 4];
    double distance[50 * 4];
    mica_kmeans_report report;
  } results;
  results *r = calloc(3, sizeof *r);
  for (int t = 0; t < 3; t++) {
    mica_engine *e = engine_of(t == 0 ? 1 : t == 1 ? 2 : 5);
    mica_kmeans_options o = MICA_KMEANS_OPTIONS;
    mica_view few = x;
    few.shape.dim[0] = 50;
    o.seed = 5;
    assert_int_equal(mica_pca(e, &x, d, r[t].mean, r[t].components, r[t].variance, NULL), MICA_OK);
    assert_int_equal(mica_scatter(e, &x, NULL, r[t].mean, r[t].scatter, &r[t].fourth), MICA_OK);
    assert_int_equal(mica_kmeans(e, &x, k, &o, r[t].centres, r[t].assigned, &r[t].report), MICA_OK);
    assert_int_equal(mica_project(e, &x, r[t].mean, r[t].components, 3, r[t].projected), MICA_OK);
    assert_int_equal(
        mica_nearest_rows(e, MICA_METRIC_COSINE, &few, &x, 4, NULL, r[t].index, r[t].distance),
        MICA_OK);
    mica_engine_free(e);
  }
  assert_memory_equal(&r[0], &r[1], sizeof *r);
  assert_memory_equal(&r[0], &r[2], sizeof *r);
  free(r);
  free(data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rows),        cmocka_unit_test(test_moments),
      cmocka_unit_test(test_ledoit_wolf), cmocka_unit_test(test_components),
      cmocka_unit_test(test_kmeans),      cmocka_unit_test(test_neighbours),
      cmocka_unit_test(test_factors),     cmocka_unit_test(test_eigen),
      cmocka_unit_test(test_map),         cmocka_unit_test(test_bits),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
