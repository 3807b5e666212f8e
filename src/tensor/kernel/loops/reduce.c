/* reduce.c: sums in blocks of BLOCK elements (`real`, several accumulators), blocks in double. */
#include "tensor/kernel/reduce.h"

#include "loop.h"
#include "vector_math.h"

/* ---- vectors ---- */

/* total += the sum of `expression` over i */
#define BLOCK_SUM(total, n, expression)                                                            \
  for (int64_t block = 0; block < (n); block += BLOCK) {                                           \
    const int64_t stop = smaller(block + BLOCK, (n));                                              \
    real part = 0;                                                                                 \
    SIMD_SUM(part)                                                                                 \
    for (int64_t i = block; i < stop; i++) part += (expression);                                   \
    (total) += (double)part;                                                                       \
  }

static double sum(int64_t n, const void *x) {
  const real *px = x;
  double total = 0;
  BLOCK_SUM(total, n, px[i])
  return total;
}

static double sum_abs(int64_t n, const void *x) {
  const real *px = x;
  double total = 0;
  BLOCK_SUM(total, n, math_fabs(px[i]))
  return total;
}

static double dot(int64_t n, const void *a, const void *b) {
  const real *pa = a, *pb = b;
  double total = 0;
  BLOCK_SUM(total, n, pa[i] * pb[i])
  return total;
}

static double sum_squares(int64_t n, const void *x) {
  return dot(n, x, x);
}

static double squared_distance(int64_t n, const void *a, const void *b) {
  const real *pa = a, *pb = b;
  double total = 0;
  BLOCK_SUM(total, n, (pa[i] - pb[i]) * (pa[i] - pb[i]))
  return total;
}

/* The largest of sign x by blocks without its place, then the place by a second look at one block.
 */
static double extreme(bool maximum, int64_t n, const void *x, int64_t *arg) {
  const real *px = x;
  const real sign = maximum ? (real)1 : (real)-1;
  real best = -(real)INFINITY;
  int64_t at = n > 0 ? 0 : -1;
  for (int64_t block = 0; block < n; block += BLOCK) {
    const int64_t stop = smaller(block + BLOCK, n);
    real top = -(real)INFINITY;
    int nan = 0;
    LOOP_PRAGMA(omp simd reduction(max : top) reduction(| : nan))
    for (int64_t i = block; i < stop; i++) {
      const real v = sign * px[i];
      top = v > top ? v : top;
      nan |= v != v ? 1 : 0;
    }
    if (nan) {
      int64_t i = block;
      while (px[i] == px[i]) i++;
      if (arg != NULL) *arg = i;
      return (double)px[i];
    }
    if (top > best) {
      best = top;
      at = block;
    }
  }
  if (arg != NULL) {
    while (at >= 0 && sign * px[at] != best) at++;
    *arg = at;
  }
  return (double)(sign * best);
}

/* v - v is 0 for a number and NaN for everything else. */
static int64_t count_nonfinite(int64_t n, const void *x) {
  enum { PIECE = 1 << 14 };
  const real *px = x;
  int64_t count = 0;
  for (int64_t block = 0; block < n; block += PIECE) {
    const int64_t stop = smaller(block + PIECE, n);
    int part = 0;
    SIMD_SUM(part)
    for (int64_t i = block; i < stop; i++) part += px[i] - px[i] == (real)0 ? 0 : 1;
    count += part;
  }
  return count;
}

/* Whole pieces are passed over at the speed of vectors; a piece that holds one is looked through.
 */
static int64_t first_reaching(int64_t n, const void *p, const void *a, const void *b, double least,
                              int64_t from) {
  enum { PIECE = 64 };
  const real *pp = p, *pa = a, *pb = b, bound = (real)least;
  for (int64_t i = from; i < n; i += PIECE) {
    const int64_t stop = smaller(i + PIECE, n);
    int any = 0;
    SIMD_SUM(any)
    for (int64_t j = i; j < stop; j++) any += pp[j] * pa[j] - pb[j] < bound ? 0 : 1;
    for (int64_t j = i; any && j < stop; j++)
      if (!(pp[j] * pa[j] - pb[j] < bound)) return j;
  }
  return n;
}

/* ---- rows ---- */

static void row_sum(int64_t rows, int64_t cols, const void *x, int64_t stride, double alpha,
                    void *y) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++) py[r] = (real)(alpha * sum(cols, px + r * stride));
}

static void row_sum_squares(int64_t rows, int64_t cols, const void *x, int64_t stride, void *y) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++) py[r] = (real)sum_squares(cols, px + r * stride);
}

static void row_dot(int64_t rows, int64_t cols, const void *a, int64_t a_stride, const void *b,
                    int64_t b_stride, void *y) {
  const real *pa = a, *pb = b;
  real *py = y;
  for (int64_t r = 0; r < rows; r++) py[r] = (real)dot(cols, pa + r * a_stride, pb + r * b_stride);
}

static void row_moments(int64_t rows, int64_t cols, const void *x, int64_t stride, double *mean,
                        double *m2) {
  const real *px = x;
  for (int64_t r = 0; r < rows; r++, px += stride) {
    const double centre = cols > 0 ? sum(cols, px) / (double)cols : 0;
    const real m = (real)centre;
    double squares = 0, rest = 0; /* about the rounded mean, then corrected for its rounding */
    BLOCK_SUM(squares, cols, (px[i] - m) * (px[i] - m))
    BLOCK_SUM(rest, cols, px[i] - m)
    mean[r] = centre;
    const double corrected = cols > 0 ? squares - rest * rest / (double)cols : 0;
    m2[r] = corrected < 0 ? 0 : corrected;
  }
}

static void row_extreme(bool maximum, int64_t rows, int64_t cols, const void *x, int64_t stride,
                        void *y, int64_t *arg) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++) {
    const double best = extreme(maximum, cols, px + r * stride, arg != NULL ? arg + r : NULL);
    if (py != NULL) py[r] = (real)best;
  }
}

static void row_log_sum_exp(int64_t rows, int64_t cols, const void *x, int64_t stride, void *y) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++, px += stride) {
    const real top = (real)extreme(true, cols, px, NULL);
    /* An infinite or NaN maximum is the answer; subtracting it would only make NaN. */
    if (!(math_fabs(top) < (real)INFINITY)) {
      py[r] = top;
      continue;
    }
    double total = 0;
    BLOCK_SUM(total, cols, math_exp(px[i] - top))
    py[r] = (real)((double)top + log(total));
  }
}

/* ---- columns: WIDTH of them at a time, RUN rows between additions in double ---- */

enum { WIDTH = 64, RUN = 64 };

/* acc[c] += sum_r `expression` of row r and column c */
#define COLUMN_SUM(rows, cols, acc, expression)                                                    \
  for (int64_t c0 = 0; c0 < (cols); c0 += WIDTH) {                                                 \
    const int64_t width = smaller(WIDTH, (cols)-c0);                                               \
    for (int64_t r0 = 0; r0 < (rows); r0 += RUN) {                                                 \
      const int64_t r1 = smaller(r0 + RUN, (rows));                                                \
      real part[WIDTH] = {0};                                                                      \
      for (int64_t r = r0; r < r1; r++) {                                                          \
        SIMD for (int64_t j = 0; j < width; j++) {                                                 \
          const int64_t c = c0 + j;                                                                \
          part[j] += (expression);                                                                 \
        }                                                                                          \
      }                                                                                            \
      for (int64_t j = 0; j < width; j++) (acc)[c0 + j] += (double)part[j];                        \
    }                                                                                              \
  }

static void column_sum(int64_t rows, int64_t cols, const void *x, int64_t stride, double *acc) {
  const real *px = x;
  if (cols == 1 && stride == 1) {
    acc[0] += sum(rows, px);
    return;
  }
  COLUMN_SUM(rows, cols, acc, px[r * stride + c])
}

static void column_dot(int64_t rows, int64_t cols, const void *a, int64_t a_stride, const void *b,
                       int64_t b_stride, double *acc) {
  const real *pa = a, *pb = b;
  if (cols == 1 && a_stride == 1 && b_stride == 1) {
    acc[0] += dot(rows, pa, pb);
    return;
  }
  COLUMN_SUM(rows, cols, acc, pa[r * a_stride + c] * pb[r * b_stride + c])
}

static void merge_moments(int64_t cols, double count, double *mean, double *m2, double more,
                          const double *more_mean, const double *more_m2) {
  const double total = count + more;
  if (more <= 0) return;
  const double share = more / total, weight = count * share;
  SIMD for (int64_t c = 0; c < cols; c++) {
    const double d = more_mean[c] - mean[c];
    mean[c] += d * share;
    m2[c] += more_m2[c] + d * d * weight;
  }
}

/* Each tile of RUN x WIDTH is read twice while it is in the cache: its means, then its squares
 * about them; tiles are merged downwards. */
static void column_moments(int64_t rows, int64_t cols, const void *x, int64_t stride, double *mean,
                           double *m2) {
  const real *px = x;
  for (int64_t c = 0; c < cols; c++) mean[c] = m2[c] = 0;
  for (int64_t c0 = 0; c0 < cols; c0 += WIDTH) {
    const int64_t width = smaller(WIDTH, cols - c0);
    for (int64_t r0 = 0; r0 < rows; r0 += RUN) {
      const int64_t r1 = smaller(r0 + RUN, rows);
      real total[WIDTH] = {0}, centre[WIDTH], squares[WIDTH] = {0}, rest[WIDTH] = {0};
      double tile_mean[WIDTH], tile_m2[WIDTH];
      for (int64_t r = r0; r < r1; r++) {
        SIMD for (int64_t j = 0; j < width; j++) total[j] += px[r * stride + c0 + j];
      }
      const double count = (double)(r1 - r0);
      for (int64_t j = 0; j < width; j++) centre[j] = (real)((double)total[j] / count);
      for (int64_t r = r0; r < r1; r++) {
        SIMD for (int64_t j = 0; j < width; j++) {
          const real d = px[r * stride + c0 + j] - centre[j];
          squares[j] += d * d;
          rest[j] += d;
        }
      }
      for (int64_t j = 0; j < width; j++) { /* what the rounded centre left over */
        const double off = (double)rest[j] / count;
        const double exact = (double)squares[j] - (double)rest[j] * off;
        tile_mean[j] = (double)centre[j] + off;
        tile_m2[j] = exact < 0 ? 0 : exact;
      }
      merge_moments(width, (double)r0, mean + c0, m2 + c0, count, tile_mean, tile_m2);
    }
  }
}

static void column_extreme(bool maximum, int64_t rows, int64_t cols, const void *x, int64_t stride,
                           void *y, int64_t *arg) {
  const real *px = x;
  real *py = y;
  const real sign = maximum ? (real)1 : (real)-1;
  for (int64_t c0 = 0; c0 < cols; c0 += WIDTH) {
    const int64_t width = smaller(WIDTH, cols - c0);
    real best[WIDTH];
    int64_t at[WIDTH];
    for (int64_t j = 0; j < width; j++) {
      best[j] = rows > 0 ? sign * px[c0 + j] : -(real)INFINITY;
      at[j] = rows > 0 ? 0 : -1;
    }
    for (int64_t r = 1; r < rows; r++) {
      SIMD for (int64_t j = 0; j < width; j++) {
        const real v = sign * px[r * stride + c0 + j], b = best[j];
        /* larger, or the first NaN: "not at most" holds for a NaN v, b == b says there was none yet
         */
        const bool wins = v <= b ? false : b == b;
        best[j] = wins ? v : b;
        at[j] = wins ? r : at[j];
      }
    }
    for (int64_t j = 0; j < width; j++) {
      if (py != NULL) py[c0 + j] = sign * best[j];
      if (arg != NULL) arg[c0 + j] = at[j];
    }
  }
}

static void column_log_sum_exp(int64_t rows, int64_t cols, const void *x, int64_t stride, void *y) {
  const real *px = x;
  real *py = y;
  column_extreme(true, rows, cols, x, stride, y, NULL);
  for (int64_t c0 = 0; c0 < cols; c0 += WIDTH) {
    const int64_t width = smaller(WIDTH, cols - c0);
    double total[WIDTH] = {0};
    for (int64_t r0 = 0; r0 < rows; r0 += RUN) {
      const int64_t r1 = smaller(r0 + RUN, rows);
      real part[WIDTH] = {0};
      for (int64_t r = r0; r < r1; r++) {
        SIMD for (int64_t j = 0; j < width; j++) part[j] +=
            math_exp(px[r * stride + c0 + j] - py[c0 + j]);
      }
      for (int64_t j = 0; j < width; j++) total[j] += (double)part[j];
    }
    for (int64_t j = 0; j < width; j++) {
      const real top = py[c0 + j];
      if (math_fabs(top) < (real)INFINITY) py[c0 + j] = (real)((double)top + log(total[j]));
    }
  }
}

static void combine(int64_t n, int64_t chunks, const double *partial, double alpha, void *y) {
  real *py = y;
  for (int64_t c = 0; c < n; c++) {
    double total = 0;
    for (int64_t k = 0; k < chunks; k++) total += partial[k * n + c];
    py[c] = (real)(alpha * total);
  }
}

/* ---- gradients of extremes ---- */

static void row_extreme_grad(int64_t rows, int64_t cols, const int64_t *arg, const void *gy,
                             void *gx) {
  const real *pg = gy;
  real *pz = gx;
  for (int64_t r = 0; r < rows; r++, pz += cols) {
    for (int64_t c = 0; c < cols; c++) pz[c] = 0;
    if (arg[r] >= 0) pz[arg[r]] = pg[r];
  }
}

static void column_extreme_grad(int64_t rows, int64_t cols, const int64_t *arg, const void *gy,
                                void *gx) {
  const real *pg = gy;
  real *pz = gx;
  for (int64_t i = 0; i < rows * cols; i++) pz[i] = 0;
  for (int64_t c = 0; c < cols; c++)
    if (arg[c] >= 0) pz[arg[c] * cols + c] = pg[c];
}

const mica_reduce_kernels MICA_KERNEL(reduce) = {
    .sum = sum,
    .sum_abs = sum_abs,
    .sum_squares = sum_squares,
    .dot = dot,
    .squared_distance = squared_distance,
    .extreme = extreme,
    .count_nonfinite = count_nonfinite,
    .first_reaching = first_reaching,
    .row_sum = row_sum,
    .row_sum_squares = row_sum_squares,
    .row_dot = row_dot,
    .row_moments = row_moments,
    .row_extreme = row_extreme,
    .row_log_sum_exp = row_log_sum_exp,
    .column_sum = column_sum,
    .column_dot = column_dot,
    .column_moments = column_moments,
    .merge_moments = merge_moments,
    .column_extreme = column_extreme,
    .column_log_sum_exp = column_log_sum_exp,
    .combine = combine,
    .row_extreme_grad = row_extreme_grad,
    .column_extreme_grad = column_extreme_grad,
};
