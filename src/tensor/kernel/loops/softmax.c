/* softmax.c: softmax of rows, its logarithm, and cross-entropies that never form it in forward. */
#include "tensor/kernel/softmax.h"

#include "loop.h"
#include "stream.h"
#include "vector_exp.h"

enum { RUN = 1024 }; /* elements that are summed in `real`, a multiple of every vector's width */

/* The largest element that is a number. */
static inline real row_max(int64_t n, const real *x) {
  enum { SIDE = 4 };
  vector top[SIDE];
  for (int k = 0; k < SIDE; k++) top[k] = vector_of(-(real)INFINITY);
  int64_t i = 0;
  for (; i + SIDE * VECTOR_WIDTH <= n; i += SIDE * VECTOR_WIDTH)
#pragma GCC unroll 4
    for (int k = 0; k < SIDE; k++)
      top[k] = vector_max(vector_load(x + i + k * VECTOR_WIDTH), top[k]);
  for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH) top[0] = vector_max(vector_load(x + i), top[0]);
  if (i < n) top[1] = vector_max(vector_load_some(n - i, x + i, -(real)INFINITY), top[1]);
  real lane[VECTOR_BYTES / sizeof(real)], most = -(real)INFINITY;
  vector_store(lane, vector_max(vector_max(top[0], top[1]), vector_max(top[2], top[3])));
  for (int64_t k = 0; k < VECTOR_WIDTH; k++) most = lane[k] > most ? lane[k] : most;
  return most;
}

/* What is subtracted before exp: 0 for a row of -inf, so that its exponentials are 0 and not NaN.
 */
static inline real shift_of(real top) {
  return top == -(real)INFINITY ? (real)0 : top;
}

/* The sum of e^(x - shift), and these in y unless it is NULL; NaN where an x is. */
static inline double exp_row(int64_t n, const real *x, real shift, real *y) {
  double total = 0;
  for (int64_t run = 0; run < n; run += RUN) {
    const int64_t stop = smaller(run + RUN, n);
    vector sum[2] = {{0}};
    int64_t i = run;
    for (; i + 2 * VECTOR_WIDTH <= stop; i += 2 * VECTOR_WIDTH)
#pragma GCC unroll 2
      for (int k = 0; k < 2; k++) {
        const vector e = exponential(vector_load(x + i + k * VECTOR_WIDTH) - shift);
        if (y != NULL) vector_store(y + i + k * VECTOR_WIDTH, e);
        sum[k] += e;
      }
    for (; i < stop; i += VECTOR_WIDTH) {
      const bool whole = i + VECTOR_WIDTH <= stop;
      const vector e = exponential(
          (whole ? vector_load(x + i) : vector_load_some(stop - i, x + i, -(real)INFINITY)) -
          shift);
      if (y != NULL && whole) vector_store(y + i, e);
      if (y != NULL && !whole) vector_store_some(stop - i, y + i, e);
      sum[0] += e;
    }
    total += (double)vector_sum(sum[0] + sum[1]);
  }
  return total;
}

static inline double exp_sum_of(int64_t n, const real *x, real shift) {
  return exp_row(n, x, shift, NULL);
}

/* y = mass e^(x - shift) - off */
static inline void exp_affine(int64_t n, const real *x, real shift, real mass, real off, real *y) {
  int64_t i = 0;
  for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH)
    vector_store(y + i, mass * exponential(vector_load(x + i) - shift) - off);
  if (i < n)
    vector_store_some(n - i, y + i,
                      mass * exponential(vector_load_some(n - i, x + i, -(real)INFINITY) - shift) -
                          off);
}

static inline double dot_of(int64_t n, const real *a, const real *b) {
  double total = 0;
  for (int64_t block = 0; block < n; block += BLOCK) {
    const int64_t stop = smaller(block + BLOCK, n);
    real part = 0;
    SIMD_SUM(part)
    for (int64_t i = block; i < stop; i++) part += a[i] * b[i];
    total += (double)part;
  }
  return total;
}

static inline double sum_of(int64_t n, const real *x) {
  double total = 0;
  for (int64_t block = 0; block < n; block += BLOCK) {
    const int64_t stop = smaller(block + BLOCK, n);
    real part = 0;
    SIMD_SUM(part)
    for (int64_t i = block; i < stop; i++) part += x[i];
    total += (double)part;
  }
  return total;
}

static inline double log_sum_exp(int64_t n, const real *x) {
  const real shift = shift_of(row_max(n, x));
  return (double)shift + log(exp_sum_of(n, x, shift));
}

static void softmax(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                    int64_t y_stride) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride) {
    const double total = exp_row(cols, px, shift_of(row_max(cols, px)), py);
    const real scale = (real)(total == 0 ? 0 : 1 / total);
    SIMD for (int64_t c = 0; c < cols; c++) py[c] *= scale;
  }
}

static void softmax_grad(int64_t rows, int64_t cols, const void *y, int64_t y_stride,
                         const void *gy, int64_t gy_stride, void *gx, int64_t gx_stride) {
  const real *py = y, *pg = gy;
  real *pz = gx;
  for (int64_t r = 0; r < rows; r++, py += y_stride, pg += gy_stride, pz += gx_stride) {
    const real d = (real)dot_of(cols, py, pg);
    SIMD for (int64_t c = 0; c < cols; c++) pz[c] = py[c] * (pg[c] - d);
  }
}

static void log_softmax(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                        int64_t y_stride) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride) {
    const real shift = shift_of(row_max(cols, px));
    const double total = exp_sum_of(cols, px, shift);
    const real rest = (real)(total == 0 ? 0 : log(total)); /* x - shift is exact near the maximum */
    SIMD for (int64_t c = 0; c < cols; c++) py[c] = (px[c] - shift) - rest;
  }
}

static void log_softmax_grad(int64_t rows, int64_t cols, const void *y, int64_t y_stride,
                             const void *gy, int64_t gy_stride, void *gx, int64_t gx_stride) {
  const real *py = y, *pg = gy;
  real *pz = gx;
  for (int64_t r = 0; r < rows; r++, py += y_stride, pg += gy_stride, pz += gx_stride) {
    const real s = (real)sum_of(cols, pg);
    SIMD for (int64_t c = 0; c < cols; c++) pz[c] = pg[c] - math_exp(py[c]) * s;
  }
}

/* ---- hard labels ---- */

static int64_t cross_entropy(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                             const mica_hard_labels *labels, void *loss, void *weight, void *lse) {
  const real *px = x, *w = labels->weight;
  real *pl = loss, *pw = weight, *ps = lse;
  const double s = labels->smoothing;
  const double weights = w != NULL ? sum_of(cols, w) : (double)cols;
  for (int64_t r = 0; r < rows; r++, px += x_stride) {
    const int64_t k = labels->label[r];
    if (k == labels->ignore) {
      pl[r] = pw[r] = ps[2 * r] = ps[2 * r + 1] = 0;
      continue;
    }
    if (k < 0 || k >= cols) return r;
    const double total = log_sum_exp(cols, px);
    const double wk = w != NULL ? (double)w[k] : 1;
    double value = (1 - s) * wk * (total - (double)px[k]);
    if (s > 0) {
      const double weighted = w != NULL ? dot_of(cols, w, px) : sum_of(cols, px);
      value += s / (double)cols * (weights * total - weighted);
    }
    pl[r] = (real)value;
    pw[r] = (real)wk;
    ps[2 * r] = (real)total;
    ps[2 * r + 1] = (real)(total - (double)ps[2 * r]);
  }
  return -1;
}

static void cross_entropy_grad(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                               const mica_hard_labels *labels, const void *lse, const void *g,
                               double g_all, bool streams, void *gx) {
  const real *px = x, *w = labels->weight, *ps = lse, *pg = g;
  real *pz = gx, block[BLOCK];
  const double s = labels->smoothing, each = s / (double)cols;
  const double weights = w != NULL ? sum_of(cols, w) : (double)cols;
  for (int64_t r = 0; r < rows; r++, px += x_stride, pz += cols) {
    const int64_t k = labels->label[r];
    if (k == labels->ignore) {
      for (int64_t c = 0; c < cols; c++) pz[c] = 0;
      continue;
    }
    const double gr = pg != NULL ? (double)pg[r] : g_all;
    const double wk = w != NULL ? (double)w[k] : 1;
    const double share = gr * ((1 - s) * wk + each * weights);
    const real mass = (real)(share * exp(-(double)ps[2 * r + 1])), off = (real)(gr * each);
    for (int64_t c = 0; c < cols; c += BLOCK) {
      const int64_t n = smaller(BLOCK, cols - c);
      real *to = streams ? block : pz + c;
      exp_affine(n, px + c, ps[2 * r], mass, w != NULL ? 0 : off, to);
      if (w != NULL) SIMD for (int64_t i = 0; i < n; i++) to[i] -= off * w[c + i];
      if (k >= c && k < c + n) to[k - c] -= (real)(gr * (1 - s) * wk);
      if (streams) stream_copy(n, block, pz + c);
    }
  }
  if (streams) stream_end();
}

/* ---- soft targets ---- */

static void soft_cross_entropy(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                               const void *t, int64_t t_stride, void *loss, void *lse) {
  const real *px = x, *pt = t;
  real *pl = loss, *ps = lse;
  for (int64_t r = 0; r < rows; r++, px += x_stride, pt += t_stride) {
    const double total = log_sum_exp(cols, px);
    const real top = (real)total;
    double value = 0, mass = 0;
    for (int64_t block = 0; block < cols; block += BLOCK) {
      const int64_t stop = smaller(block + BLOCK, cols);
      real part = 0, share = 0;
      SIMD_SUM(part, share)
      for (int64_t c = block; c < stop; c++) {
        const real term = pt[c] * (top - px[c]);
        part += pt[c] == (real)0 ? (real)0 : term; /* a masked class (x = -inf) costs nothing */
        share += pt[c];
      }
      value += (double)part;
      mass += (double)share;
    }
    pl[r] = (real)(value + mass * (total - (double)top));
    ps[r] = top;
  }
}

static void soft_cross_entropy_grad(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                                    const void *t, int64_t t_stride, const void *lse, const void *g,
                                    double g_all, void *gx, void *gt) {
  const real *px = x, *pt = t, *ps = lse, *pg = g;
  real *pz = gx, *pu = gt;
  for (int64_t r = 0; r < rows; r++, px += x_stride, pt += t_stride) {
    const real gr = pg != NULL ? pg[r] : (real)g_all, total = ps[r];
    if (pz != NULL) {
      const real mass = gr * (real)sum_of(cols, pt);
      exp_affine(cols, px, total, mass, 0, pz);
      SIMD for (int64_t c = 0; c < cols; c++) pz[c] -= gr * pt[c];
      pz += cols;
    }
    if (pu != NULL) {
      SIMD for (int64_t c = 0; c < cols; c++) pu[c] = gr * (total - px[c]);
      pu += cols;
    }
  }
}

const mica_softmax_kernels MICA_KERNEL(softmax) = {
    .softmax = softmax,
    .softmax_grad = softmax_grad,
    .log_softmax = log_softmax,
    .log_softmax_grad = log_softmax_grad,
    .cross_entropy = cross_entropy,
    .cross_entropy_grad = cross_entropy_grad,
    .soft_cross_entropy = soft_cross_entropy,
    .soft_cross_entropy_grad = soft_cross_entropy_grad,
};
