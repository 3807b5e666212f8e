/* norm.c: normalisation by row, by group of channels, by column.
 *
 * A row's variance is formed about its own mean (two passes over a row that is in the cache); sums
 * for the gradients of gain and bias go to double accumulators.
 */
#include "tensor/kernel/norm.h"

#include "loop.h"
#include "vector.h"
#include "vector_math.h"

/* ---- rows ---- */

/* Elements that are summed in `real`, a multiple of what a turn of a loop takes. */
enum { SUMMED = 1024, TURN = 4 };

/* The sum of `term`, an expression of the vector v at x + i (and of i); what fills the last vector
 * of a row, `rest`, must give 0. */
#define ROW_SUM(rest, term)                                                                        \
  double total = 0;                                                                                \
  for (int64_t run = 0; run < n; run += SUMMED) {                                                  \
    const int64_t stop = smaller(run + SUMMED, n);                                                 \
    vector sum[TURN] = {{0}};                                                                      \
    int64_t i = run;                                                                               \
    for (; i + TURN * VECTOR_WIDTH <= stop; i += TURN * VECTOR_WIDTH) {                            \
      LOOP_PRAGMA(GCC unroll 4)                                                                    \
      for (int k = 0; k < TURN; k++) {                                                             \
        const vector v = vector_load(x + i + k * VECTOR_WIDTH);                                    \
        sum[k] += term;                                                                            \
      }                                                                                            \
    }                                                                                              \
    for (; i < stop; i += VECTOR_WIDTH) {                                                          \
      const vector v =                                                                             \
          stop - i < VECTOR_WIDTH ? vector_load_some(stop - i, x + i, rest) : vector_load(x + i);  \
      sum[0] += term;                                                                              \
    }                                                                                              \
    total += (double)vector_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));                            \
  }                                                                                                \
  return total

static inline double row_sum(int64_t n, const real *x) {
  ROW_SUM(0, v);
}

/* sum (x - centre)^2 */
static inline double row_squares(int64_t n, const real *x, real centre) {
  ROW_SUM(centre, (v - centre) * (v - centre));
}

/* Sums of h = gy gain and of h (x - mean). */
static inline void row_products(int64_t n, const real *x, real mean, const real *gain,
                                const real *gy, double *sum_h, double *sum_hx) {
  double total = 0, product = 0;
  for (int64_t run = 0; run < n; run += SUMMED) {
    const int64_t stop = smaller(run + SUMMED, n);
    vector sum[2] = {{0}}, sumx[2] = {{0}};
    int64_t i = run;
    for (; i + 2 * VECTOR_WIDTH <= stop; i += 2 * VECTOR_WIDTH)
#pragma GCC unroll 2
      for (int k = 0; k < 2; k++) {
        const int64_t at = i + k * VECTOR_WIDTH;
        vector h = vector_load(gy + at);
        if (gain != NULL) h *= vector_load(gain + at);
        sum[k] += h;
        sumx[k] += h * (vector_load(x + at) - mean);
      }
    for (; i < stop; i += VECTOR_WIDTH) {
      const int64_t some = smaller(stop - i, VECTOR_WIDTH);
      vector h = vector_load_some(some, gy + i, 0);
      if (gain != NULL) h *= vector_load_some(some, gain + i, 0);
      sum[0] += h;
      sumx[0] += h * (vector_load_some(some, x + i, mean) - mean);
    }
    total += (double)vector_sum(sum[0] + sum[1]);
    product += (double)vector_sum(sumx[0] + sumx[1]);
  }
  *sum_h = total;
  *sum_hx = product;
}

/* y = (x - mean) scale gain + bias */
static inline void affine_row(int64_t n, const real *x, real mean, real scale, const real *gain,
                              const real *bias, real *y) {
  if (gain != NULL && bias != NULL) {
    SIMD for (int64_t c = 0; c < n; c++) y[c] = (x[c] - mean) * scale * gain[c] + bias[c];
  } else if (gain != NULL) {
    SIMD for (int64_t c = 0; c < n; c++) y[c] = (x[c] - mean) * scale * gain[c];
  } else if (bias != NULL) {
    SIMD for (int64_t c = 0; c < n; c++) y[c] = (x[c] - mean) * scale + bias[c];
  } else {
    SIMD for (int64_t c = 0; c < n; c++) y[c] = (x[c] - mean) * scale;
  }
}

/* gx = scale h - shift - (x - mean) slope, with h = gy gain */
static inline void affine_row_grad(int64_t n, const real *x, real mean, const real *gain,
                                   const real *gy, real scale, real shift, real slope, real *gx) {
  if (gain != NULL) {
    SIMD for (int64_t c = 0; c < n; c++) gx[c] =
        scale * gy[c] * gain[c] - shift - (x[c] - mean) * slope;
  } else {
    SIMD for (int64_t c = 0; c < n; c++) gx[c] = scale * gy[c] - shift - (x[c] - mean) * slope;
  }
}

/* ggain += gy (x - mean) scale, gbias += gy, over some rows: `real` sums of a run of rows go to the
 * doubles. mean NULL: zeros. */
static inline void affine_param_grad(int64_t rows, int64_t n, const real *x, int64_t x_stride,
                                     const real *mean, const real *scale, const real *gy,
                                     double *ggain, double *gbias) {
  enum { WIDTH = 64, RUN = 32 };
  if (ggain == NULL && gbias == NULL) return;
  for (int64_t r0 = 0; r0 < rows; r0 += RUN)
    for (int64_t c0 = 0; c0 < n; c0 += WIDTH) {
      const int64_t r1 = smaller(r0 + RUN, rows), width = smaller(WIDTH, n - c0);
      real gain[WIDTH] = {0}, bias[WIDTH] = {0};
      for (int64_t r = r0; r < r1; r++) {
        const real *px = x + r * x_stride + c0, *pg = gy + r * n + c0;
        const real m = mean != NULL ? mean[r] : (real)0, s = scale[r];
        SIMD for (int64_t j = 0; j < width; j++) {
          gain[j] += pg[j] * ((px[j] - m) * s);
          bias[j] += pg[j];
        }
      }
      if (ggain != NULL) {
        SIMD for (int64_t j = 0; j < width; j++) ggain[c0 + j] += (double)gain[j];
      }
      if (gbias != NULL) {
        SIMD for (int64_t j = 0; j < width; j++) gbias[c0 + j] += (double)bias[j];
      }
    }
}

/* Rows of x and gy that stay in the first cache while they are read twice. */
static int64_t rows_at_once(int64_t cols) {
  return 1 + 16384 / (int64_t)sizeof(real) / (cols + 1);
}

/* Towards the caches, the row that comes next: reading would pause while a row is worked on. */
static inline void fetch_row(int64_t cols, const real *x) {
  for (int64_t c = 0; c < cols; c += 64 / (int64_t)sizeof(real)) __builtin_prefetch(x + c);
}

static void layer_norm(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                       const void *gain, const void *bias, double eps, void *y, int64_t y_stride,
                       void *mean, void *rstd) {
  const real *px = x;
  real *py = y, *pm = mean, *ps = rstd;
  if (cols <= 0) return;
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride) {
    fetch_row(cols, px + x_stride);
    const real m = (real)(row_sum(cols, px) / (double)cols);
    const real s = (real)(1 / sqrt(row_squares(cols, px, m) / (double)cols + eps));
    affine_row(cols, px, m, s, gain, bias, py);
    pm[r] = m;
    ps[r] = s;
  }
}

/* With h = gy gain and xhat = (x - mean) rstd: gx = rstd (h - mean h - xhat mean(h xhat)). Rows are
 * read one after the other first, and down the columns while they are in the cache. */
static void layer_norm_grad(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                            const void *gain, const void *mean, const void *rstd, const void *gy,
                            void *gx, double *ggain, double *gbias) {
  const real *px = x, *pm = mean, *ps = rstd, *pg = gy;
  real *pz = gx;
  const int64_t some = rows_at_once(cols);
  for (int64_t begin = 0; begin < rows; begin += some) {
    const int64_t end = smaller(begin + some, rows);
    for (int64_t r = begin; pz != NULL && r < end; r++, pz += cols) {
      const real *row = px + r * x_stride, *g = pg + r * cols;
      const double s = (double)ps[r];
      double h, hx;
      fetch_row(cols, row + x_stride);
      fetch_row(cols, g + cols);
      row_products(cols, row, pm[r], gain, g, &h, &hx);
      affine_row_grad(cols, row, pm[r], gain, g, ps[r], (real)(s * h / (double)cols),
                      (real)(s * s * s * hx / (double)cols), pz);
    }
    affine_param_grad(end - begin, cols, px + begin * x_stride, x_stride, pm + begin, ps + begin,
                      pg + begin * cols, ggain, gbias);
  }
}

static void rms_norm(int64_t rows, int64_t cols, const void *x, int64_t x_stride, const void *gain,
                     double eps, void *y, int64_t y_stride, void *rstd) {
  const real *px = x;
  real *py = y, *ps = rstd;
  if (cols <= 0) return;
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride) {
    ps[r] = (real)(1 / sqrt(row_squares(cols, px, (real)0) / (double)cols + eps));
    affine_row(cols, px, (real)0, ps[r], gain, NULL, py);
  }
}

/* gx = rstd (h - xhat mean(h xhat)) */
static void rms_norm_grad(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                          const void *gain, const void *rstd, const void *gy, void *gx,
                          double *ggain) {
  const real *px = x, *ps = rstd, *pg = gy;
  real *pz = gx;
  const int64_t some = rows_at_once(cols);
  for (int64_t begin = 0; begin < rows; begin += some) {
    const int64_t end = smaller(begin + some, rows);
    for (int64_t r = begin; pz != NULL && r < end; r++, pz += cols) {
      const real *row = px + r * x_stride, *g = pg + r * cols;
      const double s = (double)ps[r];
      double h, hx;
      row_products(cols, row, (real)0, gain, g, &h, &hx);
      affine_row_grad(cols, row, (real)0, gain, g, ps[r], (real)0,
                      (real)(s * s * s * hx / (double)cols), pz);
    }
    affine_param_grad(end - begin, cols, px + begin * x_stride, x_stride, NULL, ps + begin,
                      pg + begin * cols, ggain, NULL);
  }
}

static void l2_normalise(int64_t rows, int64_t cols, const void *x, int64_t x_stride, double eps,
                         void *y, int64_t y_stride, void *norm) {
  const real *px = x;
  real *py = y, *pn = norm;
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride) {
    const double size = sqrt(row_squares(cols, px, (real)0));
    const real scale = (real)(1 / (size < eps ? eps : size));
    affine_row(cols, px, (real)0, scale, NULL, NULL, py);
    pn[r] = (real)size;
  }
}

static void l2_normalise_grad(int64_t rows, int64_t cols, const void *y, int64_t y_stride,
                              const void *norm, double eps, const void *gy, void *gx) {
  const real *py = y, *pn = norm, *pg = gy;
  real *pz = gx;
  for (int64_t r = 0; r < rows; r++, py += y_stride, pg += cols, pz += cols) {
    const double size = (double)pn[r];
    double unused, along = 0;
    if (!(size <= eps)) row_products(cols, py, (real)0, NULL, pg, &unused, &along);
    const double scale = 1 / (size <= eps ? eps : size);
    affine_row_grad(cols, py, (real)0, NULL, pg, (real)scale, (real)0, (real)(scale * along), pz);
  }
}

/* ---- groups of channels ---- */

/* WIDTH channels at a time over all positions of one example: acc[c] += sum `expression`. */
enum { WIDTH = 64, RUN = 64 };

#define CHANNEL_SUM(acc, expression)                                                               \
  for (int64_t c0 = 0; c0 < channels; c0 += WIDTH) {                                               \
    const int64_t width = smaller(WIDTH, channels - c0);                                           \
    for (int64_t p0 = 0; p0 < positions; p0 += RUN) {                                              \
      const int64_t p1 = smaller(p0 + RUN, positions);                                             \
      real part[WIDTH] = {0};                                                                      \
      for (int64_t p = p0; p < p1; p++) {                                                          \
        SIMD for (int64_t j = 0; j < width; j++) {                                                 \
          const int64_t c = c0 + j, i = p * channels + c;                                          \
          part[j] += (expression);                                                                 \
        }                                                                                          \
      }                                                                                            \
      for (int64_t j = 0; j < width; j++) (acc)[c0 + j] += (double)part[j];                        \
    }                                                                                              \
  }

static void group_norm(int64_t examples, int64_t positions, int64_t channels, int64_t groups,
                       const void *x, const void *gain, const void *bias, double eps, void *y,
                       void *mean, void *rstd, double *scratch) {
  const real *px = x, *pw = gain, *pb = bias;
  real *py = y, *pm = mean, *ps = rstd;
  if (positions <= 0 || channels <= 0) return;
  const int64_t each = channels / groups;
  const double count = (double)(positions * each);
  double *sums = scratch;
  real *centre = (real *)(scratch + channels), *factor = (real *)(scratch + 2 * channels);
  for (int64_t n = 0; n < examples; n++, px += positions * channels, py += positions * channels) {
    for (int64_t c = 0; c < channels; c++) sums[c] = 0;
    CHANNEL_SUM(sums, px[i])
    for (int64_t g = 0; g < groups; g++) {
      double total = 0;
      for (int64_t c = g * each; c < (g + 1) * each; c++) total += sums[c];
      const real m = (real)(total / count);
      pm[n * groups + g] = m;
      for (int64_t c = g * each; c < (g + 1) * each; c++) {
        centre[c] = m;
        sums[c] = 0;
      }
    }
    CHANNEL_SUM(sums, (px[i] - centre[c]) * (px[i] - centre[c]))
    for (int64_t g = 0; g < groups; g++) {
      double total = 0;
      for (int64_t c = g * each; c < (g + 1) * each; c++) total += sums[c];
      const real s = (real)(1 / sqrt(total / count + eps));
      ps[n * groups + g] = s;
      for (int64_t c = g * each; c < (g + 1) * each; c++) factor[c] = pw != NULL ? s * pw[c] : s;
    }
    for (int64_t p = 0; p < positions; p++) {
      const real *row = px + p * channels;
      real *out = py + p * channels;
      if (pb != NULL) {
        SIMD for (int64_t c = 0; c < channels; c++) out[c] =
            (row[c] - centre[c]) * factor[c] + pb[c];
      } else {
        SIMD for (int64_t c = 0; c < channels; c++) out[c] = (row[c] - centre[c]) * factor[c];
      }
    }
  }
}

/* With h = gy gain over the group: gx = rstd (h - mean h - xhat mean(h xhat)). */
static void group_norm_grad(int64_t examples, int64_t positions, int64_t channels, int64_t groups,
                            const void *x, const void *gain, const void *mean, const void *rstd,
                            const void *gy, void *gx, double *ggain, double *gbias,
                            double *scratch) {
  const real *px = x, *pw = gain, *pm = mean, *ps = rstd, *pg = gy;
  real *pz = gx;
  if (positions <= 0 || channels <= 0) return;
  const int64_t each = channels / groups;
  const double count = (double)(positions * each);
  double *sum_g = scratch, *sum_gx = scratch + channels;
  real *centre = (real *)(scratch + 2 * channels); /* room for one real a channel, at least */
  for (int64_t n = 0; n < examples; n++, px += positions * channels, pg += positions * channels) {
    for (int64_t c = 0; c < channels; c++) {
      sum_g[c] = sum_gx[c] = 0;
      centre[c] = pm[n * groups + c / each];
    }
    CHANNEL_SUM(sum_g, pg[i])
    CHANNEL_SUM(sum_gx, pg[i] * (px[i] - centre[c]))
    for (int64_t c = 0; c < channels; c++) {
      if (ggain != NULL) ggain[c] += sum_gx[c] * (double)ps[n * groups + c / each];
      if (gbias != NULL) gbias[c] += sum_g[c];
    }
    if (pz == NULL) continue;
    for (int64_t g = 0; g < groups; g++) {
      const double s = (double)ps[n * groups + g];
      double h = 0, hx = 0;
      for (int64_t c = g * each; c < (g + 1) * each; c++) {
        const double w = pw != NULL ? (double)pw[c] : 1;
        h += w * sum_g[c];
        hx += w * sum_gx[c];
      }
      for (int64_t c = g * each; c < (g + 1) * each; c++) {
        sum_g[c] = s * h / count;           /* now the shift of the group */
        sum_gx[c] = s * s * s * hx / count; /* and its slope along x - mean */
      }
    }
    for (int64_t c0 = 0; c0 < channels; c0 += WIDTH) {
      const int64_t width = smaller(WIDTH, channels - c0);
      real scale[WIDTH], shift[WIDTH], slope[WIDTH];
      for (int64_t j = 0; j < width; j++) {
        const real s = ps[n * groups + (c0 + j) / each];
        scale[j] = pw != NULL ? s * pw[c0 + j] : s;
        shift[j] = (real)sum_g[c0 + j];
        slope[j] = (real)sum_gx[c0 + j];
      }
      for (int64_t p = 0; p < positions; p++) {
        const int64_t at = p * channels + c0;
        SIMD for (int64_t j = 0; j < width; j++) pz[at + j] =
            scale[j] * pg[at + j] - shift[j] - (px[at + j] - centre[c0 + j]) * slope[j];
      }
    }
    pz += positions * channels;
  }
}

/* ---- columns ---- */

enum { COLUMNS = 256 }; /* a block of them: what it needs stays in the first cache */

/* What a block of columns needs: y = (x - centre) scale + shift. */
typedef struct columns {
  real centre[COLUMNS], scale[COLUMNS], shift[COLUMNS];
} columns;

static void columns_at(int64_t c0, int64_t width, const real *mean, const real *rstd,
                       const real *gain, const real *bias, columns *k) {
  for (int64_t j = 0; j < width; j++) {
    k->centre[j] = mean[c0 + j];
    k->scale[j] = gain != NULL ? rstd[c0 + j] * gain[c0 + j] : rstd[c0 + j];
    k->shift[j] = bias != NULL ? bias[c0 + j] : (real)0;
  }
}

static inline real normalised(const columns *k, int64_t j, real x) {
  return (x - k->centre[j]) * k->scale[j] + k->shift[j];
}

static void batch_norm(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                       const void *mean, const void *rstd, const void *gain, const void *bias,
                       const void *residual, bool relu, void *y) {
  const real least = relu ? (real)0 : -(real)INFINITY;
  for (int64_t c0 = 0; c0 < cols; c0 += COLUMNS) {
    const int64_t width = smaller(COLUMNS, cols - c0);
    columns k;
    columns_at(c0, width, mean, rstd, gain, bias, &k);
    for (int64_t r = 0; r < rows; r++) {
      const real *row = (const real *)x + r * x_stride + c0;
      real *out = (real *)y + r * cols + c0;
      if (residual != NULL) {
        const real *more = (const real *)residual + r * cols + c0;
        SIMD for (int64_t j = 0; j < width; j++) {
          const real v = normalised(&k, j, row[j]) + more[j];
          out[j] = v < least ? least : v;
        }
      } else {
        SIMD for (int64_t j = 0; j < width; j++) {
          const real v = normalised(&k, j, row[j]);
          out[j] = v < least ? least : v;
        }
      }
    }
  }
}

/* The gradient that passes the relu of y; a NaN stays visible. */
static inline real through(real y, real gy) {
  return y <= (real)0 ? (gy != gy ? gy : (real)0) : gy;
}

static void batch_norm_sums(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                            const void *mean, const void *rstd, const void *gain, const void *bias,
                            const void *residual, bool relu, const void *gy, void *passed,
                            double *sum_gy, double *sum_gy_xhat) {
  const real *ps = rstd;
  for (int64_t c0 = 0; c0 < cols; c0 += COLUMNS) {
    const int64_t width = smaller(COLUMNS, cols - c0);
    columns k;
    columns_at(c0, width, mean, rstd, gain, bias, &k);
    for (int64_t r0 = 0; r0 < rows; r0 += RUN) {
      const int64_t r1 = smaller(r0 + RUN, rows);
      real part[COLUMNS] = {0}, partx[COLUMNS] = {0};
      for (int64_t r = r0; r < r1; r++) {
        const real *row = (const real *)x + r * x_stride + c0;
        const real *g = (const real *)gy + r * cols + c0;
        if (relu && residual != NULL) {
          const real *more = (const real *)residual + r * cols + c0;
          real *to = (real *)passed + r * cols + c0;
          SIMD for (int64_t j = 0; j < width; j++) {
            const real h = through(normalised(&k, j, row[j]) + more[j], g[j]);
            to[j] = h;
            part[j] += h;
            partx[j] += h * (row[j] - k.centre[j]);
          }
        } else if (relu) {
          SIMD for (int64_t j = 0; j < width; j++) {
            const real h = through(normalised(&k, j, row[j]), g[j]);
            part[j] += h;
            partx[j] += h * (row[j] - k.centre[j]);
          }
        } else {
          SIMD for (int64_t j = 0; j < width; j++) {
            part[j] += g[j];
            partx[j] += g[j] * (row[j] - k.centre[j]);
          }
        }
      }
      for (int64_t j = 0; j < width; j++) {
        sum_gy[c0 + j] += (double)part[j];
        sum_gy_xhat[c0 + j] += (double)partx[j] * (double)ps[c0 + j];
      }
    }
  }
}

static void batch_norm_grad(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                            const void *mean, const void *rstd, const void *gain, const void *bias,
                            bool relu, const void *gy, const double *sum_gy,
                            const double *sum_gy_xhat, double count, void *gx) {
  const real *ps = rstd;
  for (int64_t c0 = 0; c0 < cols; c0 += COLUMNS) {
    const int64_t width = smaller(COLUMNS, cols - c0);
    columns k;
    real mean_gy[COLUMNS], slope[COLUMNS];
    columns_at(c0, width, mean, rstd, gain, bias, &k);
    for (int64_t j = 0; j < width; j++) {
      const int64_t c = c0 + j;
      const double scale = (double)k.scale[j];
      mean_gy[j] = sum_gy != NULL ? (real)(scale * sum_gy[c] / count) : (real)0;
      slope[j] =
          sum_gy_xhat != NULL ? (real)(scale * (double)ps[c] * sum_gy_xhat[c] / count) : (real)0;
    }
    for (int64_t r = 0; r < rows; r++) {
      const real *row = (const real *)x + r * x_stride + c0;
      const real *g = (const real *)gy + r * cols + c0;
      real *z = (real *)gx + r * cols + c0;
      if (sum_gy != NULL && relu) {
        SIMD for (int64_t j = 0; j < width; j++) z[j] =
            k.scale[j] * through(normalised(&k, j, row[j]), g[j]) - mean_gy[j] -
            (row[j] - k.centre[j]) * slope[j];
      } else if (sum_gy != NULL) {
        SIMD for (int64_t j = 0; j < width; j++) z[j] =
            k.scale[j] * g[j] - mean_gy[j] - (row[j] - k.centre[j]) * slope[j];
      } else if (relu) {
        SIMD for (int64_t j = 0; j < width; j++) z[j] =
            k.scale[j] * through(normalised(&k, j, row[j]), g[j]);
      } else {
        SIMD for (int64_t j = 0; j < width; j++) z[j] = k.scale[j] * g[j];
      }
    }
  }
}

const mica_norm_kernels MICA_KERNEL(norm) = {
    .layer_norm = layer_norm,
    .layer_norm_grad = layer_norm_grad,
    .rms_norm = rms_norm,
    .rms_norm_grad = rms_norm_grad,
    .l2_normalise = l2_normalise,
    .l2_normalise_grad = l2_normalise_grad,
    .group_norm = group_norm,
    .group_norm_grad = group_norm_grad,
    .batch_norm = batch_norm,
    .batch_norm_sums = batch_norm_sums,
    .batch_norm_grad = batch_norm_grad,
};
