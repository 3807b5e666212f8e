/* winograd.c: the transforms of F(4x4, 3x3) and the products between them. Each transform treats a
 * vector of channels at a time, first the columns, then the rows.
 */
#include "tensor/kernel/loops/winograd_transforms.h"

#include "product_tile.h"

/* m = A y, 6 from 4 */
INLINE void transform_gradient(const vector *y, int step, vector *m, int m_step) {
  const vector y0 = y[0], y1 = y[step], y2 = y[2 * step], y3 = y[3 * step];
  const vector ea = y0 + A2 * y2, oa = A1 * y1 + A3 * y3;
  const vector eb = y0 + B2 * y2, ob = B1 * y1 + B3 * y3;
  m[0] = y0;
  m[m_step] = ea + oa;
  m[2 * m_step] = ea - oa;
  m[3 * m_step] = eb + ob;
  m[4 * m_step] = eb - ob;
  m[5 * m_step] = y3;
}

/* w = G^T u, 3 from 6 */
INLINE void transform_kernel_gradient(const vector *u, int step, vector *w, int w_step) {
  const vector s1 = u[step] + u[2 * step], d1 = u[step] - u[2 * step];
  const vector s2 = u[3 * step] + u[4 * step], d2 = u[3 * step] - u[4 * step];
  w[0] = u[0] + NA * s1 + NB * s2;
  w[w_step] = (NA * A1) * d1 + (NB * B1) * d2;
  w[2 * w_step] = (NA * A2) * s1 + (NB * B2) * s2 + u[5 * step];
}

/* ---- tiles ---- */

/* A transform of tiles of `side` x `side` places into 6 x 6 points, first the columns. `side` and
 * `along` are constants where this is called. */
typedef void (*transform_fn)(const vector *from, int step, vector *to, int to_step);

INLINE void into_points(const int side, const transform_fn along, const mica_winograd_map *map,
                        const void *x, const void *zeros, int64_t begin, int64_t end, int64_t step,
                        void *to) {
  for (int64_t tile = begin; tile < end; tile++) {
    const position p = position_of(map, tile);
    const real *at[SIDE * SIDE];
    places_of(map, image_of(map, x, p.image), zeros, p.h * OUT - map->before_h,
              p.w * OUT - map->before_w, side, at);
    real *v = (real *)to + (tile - begin) * map->channels;
    for (int64_t c = 0; c < map->channels; c += VECTOR_WIDTH) {
      vector half[SIDE][SIDE];
#pragma GCC unroll 6
      for (int i = 0; i < side; i++) {
        vector d[SIDE];
#pragma GCC unroll 6
        for (int j = 0; j < side; j++) d[j] = vector_load(at[i * side + j] + c);
        along(d, 1, half[i], 1);
      }
      for (int j = 0; j < SIDE; j++) {
        vector t[SIDE];
        along(&half[0][j], SIDE, t, 1);
#pragma GCC unroll 6
        for (int i = 0; i < SIDE; i++) vector_store(v + (i * SIDE + j) * step + c, t[i]);
      }
    }
  }
}

static void input(const mica_winograd_map *map, const void *x, const void *zeros, int64_t begin,
                  int64_t end, int64_t step, void *v) {
  into_points(SIDE, transform_input, map, x, zeros, begin, end, step, v);
}

static void output_gradient(const mica_winograd_map *map, const void *dy, const void *zeros,
                            int64_t begin, int64_t end, int64_t step, void *m) {
  into_points(OUT, transform_gradient, map, dy, zeros, begin, end, step, m);
}

static void output(const mica_winograd_map *map, const void *mv, int64_t step, int64_t begin,
                   int64_t end, const void *bias, const void *residual, bool relu, void *yv) {
  for (int64_t tile = begin; tile < end; tile++) {
    const position p = position_of(map, tile);
    const int64_t c_all = map->channels, h = p.h * OUT, w = p.w * OUT;
    const int64_t first = ((p.image * map->height + h) * map->width + w) * c_all;
    const int rows = (int)smaller(OUT, map->height - h),
              columns = (int)smaller(OUT, map->width - w);
    const real *m = (const real *)mv + (tile - begin) * c_all;
    for (int64_t c = 0; c < c_all; c += VECTOR_WIDTH) {
      vector half[SIDE][OUT];
      for (int i = 0; i < SIDE; i++) {
        vector t[SIDE];
#pragma GCC unroll 6
        for (int j = 0; j < SIDE; j++) t[j] = vector_load(m + (i * SIDE + j) * step + c);
        transform_output(t, 1, half[i], 1);
      }
      const vector add = bias ? vector_load((const real *)bias + c) : (vector){0};
      for (int j = 0; j < columns; j++) {
        vector t[OUT];
        transform_output(&half[0][j], OUT, t, 1);
        for (int i = 0; i < rows; i++) {
          const int64_t at = first + (i * map->width + j) * c_all + c;
          vector y = t[i] + add;
          if (residual) y += vector_load((const real *)residual + at);
          vector_store((real *)yv + at, relu ? relu_of(y) : y);
        }
      }
    }
  }
}

/* ---- weights ---- */

/* G w G^T of a vector of channels of one filter; `turned`: of the kernel turned round. */
static void kernel_points(const real *w, int64_t c, bool turned, vector *u) {
  vector half[TAPS][SIDE];
  for (int i = 0; i < TAPS; i++) {
    vector row[TAPS];
    for (int j = 0; j < TAPS; j++)
      row[j] = vector_load(w + (turned ? 8 - (i * TAPS + j) : i * TAPS + j) * c);
    transform_kernel(row, 1, half[i], 1);
  }
  for (int j = 0; j < SIDE; j++) transform_kernel(&half[0][j], SIDE, u + j, SIDE);
}

/* Filters as the depth of the product, channels as its columns. */
static void weights_turned(int64_t c, const real *w, int64_t depth, int64_t f, int64_t point,
                           real *packed) {
  for (int64_t from = 0; from < c; from += VECTOR_WIDTH) {
    vector u[POINTS];
    kernel_points(w + from, c, true, u);
    real *to = packed + (from / TILE_COLUMNS * depth + f) * TILE_COLUMNS + from % TILE_COLUMNS;
    for (int p = 0; p < POINTS; p++) vector_store(to + p * point, u[p]);
  }
}

/* A vector of filters as columns, channels as the depth: a square of each point is transposed. */
static void weights_straight(int64_t c, const real *w, int64_t f, int64_t point, real *packed) {
  vector u[VECTOR_WIDTH][POINTS];
  for (int64_t from = 0; from < c; from += VECTOR_WIDTH) {
    for (int i = 0; i < VECTOR_WIDTH; i++)
      kernel_points(w + i * TAPS * TAPS * c + from, c, false, u[i]);
    real *to = packed + (f / TILE_COLUMNS * c + from) * TILE_COLUMNS + f % TILE_COLUMNS;
    for (int p = 0; p < POINTS; p++) {
      vector square[VECTOR_WIDTH];
#pragma GCC unroll 16
      for (int i = 0; i < VECTOR_WIDTH; i++) square[i] = u[i][p];
      vector_transpose(square);
#pragma GCC unroll 16
      for (int k = 0; k < VECTOR_WIDTH; k++)
        vector_store(to + p * point + k * TILE_COLUMNS, square[k]);
    }
  }
}

static void weights(int64_t o, int64_t c, const void *wv, bool turned, int64_t begin, int64_t end,
                    int64_t step, void *packed) {
  const real *w = wv;
  if (turned)
    for (int64_t f = begin; f < end; f++)
      weights_turned(c, w + f * TAPS * TAPS * c, o, f, step, packed);
  else
    for (int64_t f = begin; f < end; f += VECTOR_WIDTH)
      weights_straight(c, w + f * TAPS * TAPS * c, f, step, packed);
}

static void weight_gradient(int64_t c, const void *uv, int64_t step, int64_t begin, int64_t end,
                            void *dw) {
  for (int64_t f = begin; f < end; f++)
    for (int64_t from = 0; from < c; from += VECTOR_WIDTH) {
      const real *u = (const real *)uv + f * c + from;
      real *to = (real *)dw + f * TAPS * TAPS * c + from;
      vector half[SIDE][TAPS];
      for (int i = 0; i < SIDE; i++) {
        vector t[SIDE];
        for (int j = 0; j < SIDE; j++) t[j] = vector_load(u + (i * SIDE + j) * step);
        transform_kernel_gradient(t, 1, half[i], 1);
      }
      for (int j = 0; j < TAPS; j++) {
        vector t[TAPS];
        transform_kernel_gradient(&half[0][j], TAPS, t, 1);
        for (int i = 0; i < TAPS; i++) vector_store(to + (i * TAPS + j) * c, t[i]);
      }
    }
}

/* ---- products ---- */

INLINE void product_tile(const int vectors, const bool across, int64_t rows, int64_t depth,
                         const real *left, int64_t left_step, const real *right, int64_t right_step,
                         bool fresh, real *to, int64_t to_step) {
  product_sums sum;
  const real *row[TILE_ROWS];
  product_rows(across, rows, left, left_step, row);
  if (fresh)
    product_begin(vectors, true, rows, to, to_step, sum);
  else
    product_begin(vectors, false, rows, to, to_step, sum);
  product_add(vectors, across, depth, row, left_step, right, right_step, sum);
  product_store(vectors, rows, sum, to, to_step);
}

static int64_t width_at(int64_t columns, int64_t column) {
  return smaller(columns - column, TILE_COLUMNS) / VECTOR_WIDTH;
}

static void product(int64_t rows, int64_t depth, int64_t columns, const void *vv,
                    const void *packed, void *mv) {
  const real *v = vv, *right = packed;
  for (int64_t j = 0; j < columns; j += TILE_COLUMNS, right += depth * TILE_COLUMNS)
    for (int64_t i = 0; i < rows; i += TILE_ROWS) {
      real *to = (real *)mv + i * columns + j;
#define TILE(vectors)                                                                              \
  product_tile(vectors, false, rows - i, depth, v + i * depth, depth, right, TILE_COLUMNS, true,   \
               to, columns)
      PRODUCT_WIDTHS(width_at(columns, j), TILE)
#undef TILE
    }
}

static void gradient_product(int64_t rows, int64_t o, int64_t c, const void *mv, const void *vv,
                             bool fresh, void *uv) {
  const real *m = mv, *v = vv;
  for (int64_t j = 0; j < c; j += TILE_COLUMNS)
    for (int64_t i = 0; i < o; i += TILE_ROWS) {
      real *to = (real *)uv + i * c + j;
#define TILE(vectors) product_tile(vectors, true, o - i, rows, m + i, o, v + j, c, fresh, to, c)
      PRODUCT_WIDTHS(width_at(c, j), TILE)
#undef TILE
    }
}

const mica_winograd_kernels MICA_KERNEL(winograd) = {
    .vector = VECTOR_WIDTH,
    .columns = TILE_COLUMNS,
    .input = input,
    .output_gradient = output_gradient,
    .output = output,
    .weights = weights,
    .weight_gradient = weight_gradient,
    .product = product,
    .gradient_product = gradient_product,
};
