/* Normalisations against their definitions in double, and their gradients against central
 * differences of a weighted sum of the outputs.
 */
#include "support/loops.h"

#include "tensor/kernel/norm.h"
#include "tensor/kernel/reduce.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A normalisation of x [rows, cols] in double, as the differences need it: kind, and what it reads.
 */
typedef enum kind { LAYER, RMS, L2, GROUP, BATCH } kind;
typedef struct problem {
  kind kind;
  int64_t rows, cols; /* GROUP: rows = examples x positions */
  int64_t examples, groups;
  bool relu;
  double eps;
  const double *gain, *bias;
} problem;

/* Mean and 1 / sqrt(variance + eps) of the elements that share statistics with element i. */
static void statistics(const problem *p, const double *x, int64_t i, double *mean, double *rstd) {
  const int64_t r = i / p->cols, c = i % p->cols;
  int64_t r0 = r, r1 = r + 1, c0 = 0, c1 = p->cols;
  if (p->kind == GROUP) {
    const int64_t positions = p->rows / p->examples, each = p->cols / p->groups;
    r0 = r / positions * positions, r1 = r0 + positions, c0 = c / each * each, c1 = c0 + each;
  } else if (p->kind == BATCH) {
    r0 = 0, r1 = p->rows, c0 = c, c1 = c + 1;
  }
  double sum = 0, squares = 0;
  const double n = (double)((r1 - r0) * (c1 - c0));
  for (int64_t a = r0; a < r1; a++)
    for (int64_t b = c0; b < c1; b++) sum += x[a * p->cols + b];
  *mean = p->kind == RMS || p->kind == L2 ? 0 : sum / n;
  for (int64_t a = r0; a < r1; a++)
    for (int64_t b = c0; b < c1; b++) squares += pow(x[a * p->cols + b] - *mean, 2);
  *rstd = p->kind == L2 ? 1 / fmax(sqrt(squares), p->eps) : 1 / sqrt(squares / n + p->eps);
}

static double element(const problem *p, const double *x, int64_t i) {
  double mean, rstd;
  statistics(p, x, i, &mean, &rstd);
  const int64_t c = i % p->cols;
  const double y = (x[i] - mean) * rstd * (p->gain ? p->gain[c] : 1) + (p->bias ? p->bias[c] : 0);
  return p->relu ? fmax(y, 0) : y;
}

static double objective(const problem *p, const double *x, const double *g) {
  double sum = 0;
  for (int64_t i = 0; i < p->rows * p->cols; i++) sum += g[i] * element(p, x, i);
  return sum;
}

static void doubles(const loops_table *t, int64_t n, const void *x, double *out) {
  for (int64_t i = 0; i < n; i++) out[i] = loops_get(t, x, i);
}

enum { LARGEST = 2048 };

/* One case: forward element by element, backward by differences in x, gain and bias. */
static void run(const loops_table *t, problem p, bool affine, bool shifted) {
  const int64_t n = p.rows * p.cols, stats = p.kind == GROUP   ? p.examples * p.groups
                                             : p.kind == BATCH ? p.cols
                                                               : p.rows;
  const mica_norm_kernels *k = t->k->norm;
  static double x[LARGEST], g[LARGEST], gain[LARGEST], bias[LARGEST];
  double *ggain = calloc((size_t)p.cols, sizeof(double)),
         *gbias = calloc((size_t)p.cols, sizeof(double));
  double *scratch = calloc((size_t)(3 * p.cols), sizeof(double));
  void *vx = loops_random(t, n, -1, 2, (uint64_t)n), *vg = loops_random(t, n, -1, 1, 7);
  void *vw = loops_random(t, p.cols, 0.5, 1.5, 8), *vb = loops_random(t, p.cols, -1, 1, 9);
  void *y = loops_zeros(t, n), *mean = loops_zeros(t, stats), *rstd = loops_zeros(t, stats);
  void *gx = loops_zeros(t, n);
  doubles(t, n, vx, x), doubles(t, n, vg, g), doubles(t, p.cols, vw, gain),
      doubles(t, p.cols, vb, bias);
  const void *w = affine ? vw : NULL, *b = shifted ? vb : NULL;
  p.gain = affine ? gain : NULL;
  p.bias = shifted ? bias : NULL;
  switch (p.kind) {
  case LAYER:
    k->layer_norm(p.rows, p.cols, vx, p.cols, w, b, p.eps, y, p.cols, mean, rstd);
    k->layer_norm_grad(p.rows, p.cols, vx, p.cols, w, mean, rstd, vg, gx, ggain, gbias);
    break;
  case RMS:
    k->rms_norm(p.rows, p.cols, vx, p.cols, w, p.eps, y, p.cols, rstd);
    k->rms_norm_grad(p.rows, p.cols, vx, p.cols, w, rstd, vg, gx, ggain);
    break;
  case L2:
    k->l2_normalise(p.rows, p.cols, vx, p.cols, p.eps, y, p.cols, rstd);
    k->l2_normalise_grad(p.rows, p.cols, y, p.cols, rstd, p.eps, vg, gx);
    break;
  case GROUP:
    k->group_norm(p.examples, p.rows / p.examples, p.cols, p.groups, vx, w, b, p.eps, y, mean, rstd,
                  scratch);
    k->group_norm_grad(p.examples, p.rows / p.examples, p.cols, p.groups, vx, w, mean, rstd, vg, gx,
                       ggain, gbias, scratch);
    break;
  case BATCH: {
    double *m = calloc((size_t)p.cols, sizeof(double)),
           *m2 = calloc((size_t)p.cols, sizeof(double));
    t->k->reduce->column_moments(p.rows, p.cols, vx, p.cols, m, m2);
    for (int64_t c = 0; c < p.cols; c++) {
      loops_set(t, mean, c, m[c]);
      loops_set(t, rstd, c, 1 / sqrt(m2[c] / (double)p.rows + p.eps));
    }
    k->batch_norm(p.rows, p.cols, vx, p.cols, mean, rstd, w, b, NULL, p.relu, y);
    k->batch_norm_sums(p.rows, p.cols, vx, p.cols, mean, rstd, w, b, NULL, p.relu, vg, NULL, gbias,
                       ggain);
    k->batch_norm_grad(p.rows, p.cols, vx, p.cols, mean, rstd, w, b, p.relu, vg, gbias, ggain,
                       (double)p.rows, gx);
    free(m);
    free(m2);
    break;
  }
  }
  const double h = 1e-5, loose = t->dtype == MICA_F32 ? 2e-5 : 1e-8;
  const double size = (double)p.rows * 0.3 + 3;
  for (int64_t i = 0; i < n; i++)
    loops_check(t, "normalised", i, loops_get(t, y, i), element(&p, x, i), 32, 0);
  for (int64_t i = 0; i < n; i += 1 + n / 12) {
    const double at = x[i];
    x[i] = at + h;
    const double up = objective(&p, x, g);
    x[i] = at - h;
    const double want = (up - objective(&p, x, g)) / (2 * h), got = loops_get(t, gx, i);
    x[i] = at;
    if (!(fabs(got - want) <= loose * fmax(3, fabs(want))))
      fail_msg("gradient of kind %d, %s, element %lld: got %.12g, expected %.12g", (int)p.kind,
               t->k->isa, (long long)i, got, want);
  }
  for (int64_t c = 0; c < p.cols && affine; c += 1 + p.cols / 4) {
    const double at = gain[c];
    gain[c] = at + h;
    const double up = objective(&p, x, g);
    gain[c] = at - h;
    const double want = (up - objective(&p, x, g)) / (2 * h);
    gain[c] = at;
    assert_true(fabs(ggain[c] - want) <= loose * size);
  }
  for (int64_t c = 0; c < p.cols && shifted; c += 1 + p.cols / 4) {
    double want = 0;
    for (int64_t r = 0; r < p.rows; r++)
      want += p.relu && element(&p, x, r * p.cols + c) <= 0 ? 0 : g[r * p.cols + c];
    assert_true(fabs(gbias[c] - want) <= loose * size);
  }
  loops_free(t, n, vx), loops_free(t, n, vg), loops_free(t, p.cols, vw), loops_free(t, p.cols, vb);
  loops_free(t, n, y), loops_free(t, stats, mean), loops_free(t, stats, rstd), loops_free(t, n, gx);
  free(ggain), free(gbias), free(scratch);
}

static void rows(const loops_table *t) {
  static const int64_t shapes[][2] = {{1, 7}, {3, 64}, {5, 19}, {1, 300}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int affine = 0; affine < 2; affine++) {
      const problem p = {LAYER, shapes[s][0], shapes[s][1], 1, 1, false, 1e-5, NULL, NULL};
      run(t, p, affine, affine);
      run(t, p, affine, false);
      problem q = p;
      q.kind = RMS;
      run(t, q, affine, false);
      q.kind = L2;
      run(t, q, false, false);
      q.eps = 1e3; /* every row is shorter than eps */
      run(t, q, false, false);
    }
}

static void groups(const loops_table *t) {
  static const int64_t shapes[][4] = {
      {1, 1, 8, 2}, {2, 9, 6, 3}, {2, 7, 5, 5}, {1, 70, 4, 1}, {1, 3, 130, 13}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int affine = 0; affine < 2; affine++)
      run(t,
          (problem){GROUP, shapes[s][0] * shapes[s][1], shapes[s][2], shapes[s][0], shapes[s][3],
                    false, 1e-3, NULL, NULL},
          affine, affine);
}

static void batch(const loops_table *t) {
  static const int64_t shapes[][2] = {{2, 1}, {7, 5}, {130, 3}, {9, 67}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int variant = 0; variant < 4; variant++)
      run(t, (problem){BATCH, shapes[s][0], shapes[s][1], 1, 1, variant & 1, 1e-3, NULL, NULL},
          variant & 2, variant & 2);
}

/* With a residual: what is added to the norm before relu. The three passes against those of the
 * norm without one, and of relu by itself. */
static void with_residual(const loops_table *t) {
  static const int64_t shapes[][2] = {{2, 1}, {7, 5}, {70, 67}, {3, 300}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int in_place = 0; in_place < 2; in_place++) {
      const int64_t rows = shapes[s][0], cols = shapes[s][1], n = rows * cols;
      const mica_norm_kernels *k = t->k->norm;
      void *x = loops_random(t, n, -1, 1, 1), *more = loops_random(t, n, -1, 1, 2);
      void *g = loops_random(t, n, -1, 1, 3), *passed = in_place ? g : loops_zeros(t, n);
      void *w = loops_random(t, cols, 0.5, 1.5, 4), *b = loops_random(t, cols, -1, 1, 5);
      void *mean = loops_random(t, cols, -0.5, 0.5, 6), *rstd = loops_random(t, cols, 1, 2, 7);
      void *y = loops_zeros(t, n), *z = loops_zeros(t, n), *masked = loops_zeros(t, n);
      double *sum[4];
      for (int i = 0; i < 4; i++) sum[i] = calloc((size_t)cols, sizeof *sum[i]);
      loops_set(t, more, n / 2, NAN);
      k->batch_norm(rows, cols, x, cols, mean, rstd, w, b, NULL, false, z);
      for (int relu = 0; relu < 2; relu++) {
        k->batch_norm(rows, cols, x, cols, mean, rstd, w, b, more, relu, y);
        for (int64_t i = 0; i < n; i++) {
          const double v = loops_get(t, z, i) + loops_get(t, more, i);
          loops_check(t, "sum", i, loops_get(t, y, i), relu && v < 0 ? 0 : v, 1, 0);
        }
      }
      for (int64_t i = 0; i < n; i++)
        loops_set(t, masked, i, loops_get(t, y, i) <= 0 ? 0 : loops_get(t, g, i));
      k->batch_norm_sums(rows, cols, x, cols, mean, rstd, w, b, NULL, false, masked, NULL, sum[0],
                         sum[1]);
      k->batch_norm_sums(rows, cols, x, cols, mean, rstd, w, b, more, true, g, passed, sum[2],
                         sum[3]);
      for (int64_t i = 0; i < n; i++)
        assert_true(loops_get(t, passed, i) == loops_get(t, masked, i));
      for (int64_t c = 0; c < cols; c++)
        assert_true(sum[0][c] == sum[2][c] && sum[1][c] == sum[3][c]);
      for (int i = 0; i < 4; i++) free(sum[i]);
      if (!in_place) loops_free(t, n, passed);
      loops_free(t, n, x), loops_free(t, n, more), loops_free(t, n, g), loops_free(t, cols, w);
      loops_free(t, cols, b), loops_free(t, cols, mean), loops_free(t, cols, rstd);
      loops_free(t, n, y), loops_free(t, n, z), loops_free(t, n, masked);
    }
}

static void fixed_statistics(const loops_table *t) {
  enum { ROWS = 4, COLS = 67 };
  void *g = loops_random(t, ROWS * COLS, -1, 1, 1), *gx = loops_zeros(t, ROWS * COLS);
  void *mean = loops_zeros(t, COLS), *rstd = loops_random(t, COLS, 1, 2, 2),
       *w = loops_random(t, COLS, 1, 2, 3);
  void *x = loops_random(t, ROWS * COLS, -1, 1, 4);
  for (int relu = 0; relu < 2; relu++) {
    t->k->norm->batch_norm_grad(ROWS, COLS, x, COLS, mean, rstd, w, NULL, relu, g, NULL, NULL, ROWS,
                                gx);
    for (int64_t i = 0; i < ROWS * COLS; i++) {
      const double through = relu && loops_get(t, x, i) <= 0 ? 0 : loops_get(t, g, i);
      loops_check(t, "fixed", i, loops_get(t, gx, i),
                  through * loops_get(t, rstd, i % COLS) * loops_get(t, w, i % COLS), 4, 0);
    }
  }
  loops_free(t, ROWS * COLS, g), loops_free(t, ROWS * COLS, gx), loops_free(t, ROWS * COLS, x);
  loops_free(t, COLS, mean), loops_free(t, COLS, rstd), loops_free(t, COLS, w);
}

/* Strided rows in and out, and a gradient that nobody wants. */
static void strides(const loops_table *t) {
  enum { ROWS = 3, COLS = 10, STRIDE = 16 };
  void *wide = loops_random(t, ROWS * STRIDE, -1, 1, 1), *tight = loops_zeros(t, ROWS * COLS);
  void *y = loops_zeros(t, ROWS * COLS), *z = loops_zeros(t, ROWS * STRIDE);
  void *mean = loops_zeros(t, ROWS), *rstd = loops_zeros(t, ROWS);
  for (int64_t i = 0; i < ROWS * COLS; i++)
    loops_set(t, tight, i, loops_get(t, wide, i / COLS * STRIDE + i % COLS));
  t->k->norm->layer_norm(ROWS, COLS, wide, STRIDE, NULL, NULL, 1e-5, z, STRIDE, mean, rstd);
  t->k->norm->layer_norm(ROWS, COLS, tight, COLS, NULL, NULL, 1e-5, y, COLS, mean, rstd);
  for (int64_t i = 0; i < ROWS * STRIDE; i++)
    assert_true(loops_get(t, z, i) ==
                (i % STRIDE < COLS ? loops_get(t, y, i / STRIDE * COLS + i % STRIDE) : 0));
  double bias[COLS] = {0};
  t->k->norm->layer_norm_grad(ROWS, COLS, wide, STRIDE, NULL, mean, rstd, tight, NULL, NULL, bias);
  assert_true(fabs(bias[0] - loops_get(t, tight, 0) - loops_get(t, tight, COLS) -
                   loops_get(t, tight, 2 * COLS)) < (t->dtype == MICA_F32 ? 1e-6 : 1e-14));
  loops_free(t, ROWS * STRIDE, wide), loops_free(t, ROWS * COLS, tight),
      loops_free(t, ROWS * COLS, y);
  loops_free(t, ROWS * STRIDE, z), loops_free(t, ROWS, mean), loops_free(t, ROWS, rstd);
}

#define TEST(name, check)                                                                          \
  static void name(void **state) {                                                                 \
    (void)state;                                                                                   \
    loops_each(check);                                                                             \
  }
TEST(by_row, rows)
TEST(by_group_of_channels, groups)
TEST(by_column, batch)
TEST(by_column_with_a_residual, with_residual)
TEST(with_fixed_statistics, fixed_statistics)
TEST(with_row_strides, strides)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(by_row),           cmocka_unit_test(by_group_of_channels),
      cmocka_unit_test(by_column),        cmocka_unit_test(with_fixed_statistics),
      cmocka_unit_test(with_row_strides), cmocka_unit_test(by_column_with_a_residual),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
