/* copy.c: rows, repeats, transposes and general strided copies. */
#include "tensor/kernel/copy.h"

#include "loop.h"
#include "stream.h"

static void rows_(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                  int64_t y_stride) {
  const real *px = x;
  real *py = y;
  if (rows <= 0 || cols <= 0) return;
  if (x_stride == cols && y_stride == cols) {
    memcpy(py, px, (size_t)(rows * cols) * sizeof(real));
    return;
  }
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride) {
    if (cols >= 32) {
      memcpy(py, px, (size_t)cols * sizeof(real));
    } else {
      for (int64_t c = 0; c < cols; c++) py[c] = px[c];
    }
  }
}

static void add_rows(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                     int64_t y_stride) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride) {
    SIMD for (int64_t c = 0; c < cols; c++) py[c] += px[c];
  }
}

static void add_bias(int64_t rows, int64_t cols, const void *x, int64_t x_stride, const void *bias,
                     void *y, int64_t y_stride) {
  const real *px = x, *pb = bias;
  real *py = y;
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride) {
    SIMD for (int64_t c = 0; c < cols; c++) py[c] = px[c] + pb[c];
  }
}

static void scale_rows(int64_t rows, int64_t cols, const void *x, int64_t x_stride, const void *v,
                       void *y, int64_t y_stride) {
  const real *px = x, *pv = v;
  real *py = y;
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride) {
    const real s = pv[r];
    SIMD for (int64_t c = 0; c < cols; c++) py[c] = px[c] * s;
  }
}

static void repeat_row(int64_t rows, int64_t cols, double alpha, const void *row, void *y,
                       int64_t y_stride) {
  const real *px = row;
  real *py = y;
  const real a = (real)alpha;
  for (int64_t r = 0; r < rows; r++, py += y_stride) {
    SIMD for (int64_t c = 0; c < cols; c++) py[c] = a * px[c];
  }
}

static void repeat_element(int64_t rows, int64_t cols, double alpha, const void *v, void *y,
                           int64_t y_stride) {
  const real *pv = v;
  real *py = y;
  const real a = (real)alpha;
  for (int64_t r = 0; r < rows; r++, py += y_stride) {
    const real s = a * pv[r];
    SIMD for (int64_t c = 0; c < cols; c++) py[c] = s;
  }
}

static void reverse_rows(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                         int64_t y_stride) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride)
    for (int64_t c = 0; c < cols; c++) py[c] = px[cols - 1 - c];
}

/* Tiles of 16 x 16: their lines of both sides stay in the first cache. */
static void transpose(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                      int64_t y_stride) {
  enum { TILE = 16 };
  const real *px = x;
  real *py = y;
  for (int64_t r0 = 0; r0 < rows; r0 += TILE) {
    const int64_t r1 = smaller(r0 + TILE, rows);
    for (int64_t c0 = 0; c0 < cols; c0 += TILE) {
      const int64_t c1 = smaller(c0 + TILE, cols);
      for (int64_t c = c0; c < c1; c++)
        for (int64_t r = r0; r < r1; r++) py[c * y_stride + r] = px[r * x_stride + c];
    }
  }
}

/* One run along the last dimension of y. */
static void run(int64_t n, const real *x, int64_t step, real *y) {
  if (step == 1) {
    memcpy(y, x, (size_t)n * sizeof(real));
  } else if (step == 0) {
    const real v = x[0];
    for (int64_t i = 0; i < n; i++) y[i] = v;
  } else {
    for (int64_t i = 0; i < n; i++) y[i] = x[i * step];
  }
}

static void strided(int rank, const int64_t *dim, const int64_t *step, int64_t begin, int64_t end,
                    const void *x, void *y) {
  const real *px = x;
  real *py = y;
  if (begin >= end) return;
  /* Dimensions that x crosses in one stride are merged, so that runs are as long as they can be. */
  int64_t size[8], move[8], at[8];
  int n = 0;
  for (int i = 0; i < rank; i++) {
    if (dim[i] == 1) continue;
    if (n > 0 && move[n - 1] == step[i] * dim[i]) {
      size[n - 1] *= dim[i];
      move[n - 1] = step[i];
    } else {
      size[n] = dim[i];
      move[n++] = step[i];
    }
  }
  if (n == 0) {
    size[0] = 1;
    move[0] = 1;
    n = 1;
  }
  const real *from = px;
  int64_t rest = begin;
  for (int i = n - 1; i >= 0; i--) {
    at[i] = rest % size[i];
    rest /= size[i];
    from += at[i] * move[i];
  }
  /* A matrix transposed in place of its last two dimensions goes tile by tile. */
  const bool matrix = n >= 2 && move[n - 2] == 1 && move[n - 1] > 1;
  for (int64_t i = begin; i < end;) {
    int64_t done;
    int last = n - 1;
    if (matrix && at[n - 1] == 0 && at[n - 2] == 0 && end - i >= size[n - 1] * size[n - 2]) {
      transpose(size[n - 1], size[n - 2], from, move[n - 1], py + i, size[n - 1]);
      done = size[n - 1] * size[n - 2];
      last = n - 2;
      at[last] = size[last];
      from += size[last] * move[last];
    } else {
      done = smaller(size[last] - at[last], end - i);
      run(done, from, move[last], py + i);
      at[last] += done;
      from += done * move[last];
    }
    for (int d = last; d > 0 && at[d] == size[d]; d--) { /* carry */
      from += move[d - 1] - size[d] * move[d];
      at[d] = 0;
      at[d - 1]++;
    }
    i += done;
  }
}

static void stream(int64_t n, const void *x, void *y) {
  stream_copy(n, x, y);
}

const mica_copy_kernels MICA_KERNEL(copy) = {
    .stream = stream,
    .stream_end = stream_end,
    .rows = rows_,
    .add_rows = add_rows,
    .add_bias = add_bias,
    .scale_rows = scale_rows,
    .repeat_row = repeat_row,
    .repeat_element = repeat_element,
    .reverse_rows = reverse_rows,
    .transpose = transpose,
    .strided = strided,
};
