/* Histograms of oriented gradients: what described pictures before networks did. */
#include <mica/transform.h>

#include "numeric/chunks.h"

#include <math.h>
#include <string.h>

typedef struct plan {
  mica_hog_options o;
  const mica_view *x;
  int64_t height, width, channels;
  int64_t rows, columns; /* of cells */
  int64_t out_width;
  float *out;
} plan;

static mica_hog_options options_of(const mica_hog_options *given) {
  mica_hog_options o = MICA_HOG_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  return o;
}

int64_t mica_hog_width(const mica_hog_options *given, int64_t height, int64_t width) {
  const mica_hog_options o = options_of(given);
  if (o.bins < 1 || o.bins > 360 || o.cell < 1 || o.block < 1 || !(o.clip > 0)) return 0;
  const int64_t rows = height / o.cell - o.block + 1, columns = width / o.cell - o.block + 1;
  if (height < 1 || width < 1 || rows < 1 || columns < 1) return 0;
  return rows * columns * o.block * o.block * o.bins;
}

static double value(const plan *p, int64_t n, int64_t y, int64_t x, int64_t c) {
  const int64_t at = ((n * p->height + y) * p->width + x) * p->channels + c;
  return p->x->dtype == MICA_U8 ? ((const uint8_t *)p->x->data)[at] / 255.0
                                : (double)((const float *)p->x->data)[at];
}

/* The gradient of the channel where it is longest: its length, and its direction in 0 .. 1 of half
 * a turn. Beyond the border is the border. */
static double gradient(const plan *p, int64_t n, int64_t y, int64_t x, double *direction) {
  double best = -1, by = 0, bx = 0;
  const int64_t up = y > 0 ? y - 1 : 0, down = y + 1 < p->height ? y + 1 : y;
  const int64_t left = x > 0 ? x - 1 : 0, right = x + 1 < p->width ? x + 1 : x;
  for (int64_t c = 0; c < p->channels; c++) {
    const double gy = value(p, n, down, x, c) - value(p, n, up, x, c);
    const double gx = value(p, n, y, right, c) - value(p, n, y, left, c);
    const double square = gy * gy + gx * gx;
    if (!(square <= best)) best = square, by = gy, bx = gx;
  }
  /* What is no number has no direction; its length tells. */
  const double turn = isnan(best) ? 0 : atan2(by, bx) / 3.14159265358979323846;
  *direction = turn < 0 ? turn + 1 : turn;
  return sqrt(best);
}

/* A cell's share of a vote; cells that are not there lose it. */
static void vote(const plan *p, double *histogram, int64_t row, int64_t column, int64_t bin,
                 double share) {
  if (row < 0 || column < 0 || row >= p->rows || column >= p->columns) return;
  histogram[(row * p->columns + column) * p->o.bins + bin] += share;
}

static void votes(const plan *p, int64_t n, double *histogram) {
  const int64_t bins = p->o.bins;
  const double cell = (double)p->o.cell;
  for (int64_t y = 0; y < p->rows * p->o.cell; y++)
    for (int64_t x = 0; x < p->columns * p->o.cell; x++) {
      double direction;
      const double length = gradient(p, n, y, x, &direction);
      const double b = direction * (double)bins - 0.5;
      const double r = ((double)y + 0.5) / cell - 0.5, c = ((double)x + 0.5) / cell - 0.5;
      const int64_t b0 = (int64_t)floor(b), r0 = (int64_t)floor(r), c0 = (int64_t)floor(c);
      for (int k = 0; k < 8; k++) {
        const int64_t i = k & 1, j = k >> 1 & 1, l = k >> 2;
        const double share = length * (i ? b - (double)b0 : 1 - b + (double)b0) *
                             (j ? r - (double)r0 : 1 - r + (double)r0) *
                             (l ? c - (double)c0 : 1 - c + (double)c0);
        vote(p, histogram, r0 + j, c0 + l, (b0 + i + bins) % bins, share);
      }
    }
}

/* Length 1; false for what is not finite. */
static bool unit(double *v, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += v[i] * v[i];
  for (int64_t i = 0; i < n && sum > 0; i++) v[i] /= sqrt(sum);
  return isfinite(sum);
}

static mica_status one(void *ctx, int64_t n, void *scratch) {
  const plan *p = ctx;
  const int64_t block = p->o.block, bins = p->o.bins, each = block * block * bins;
  double *histogram = scratch, *part = histogram + p->rows * p->columns * bins;
  float *out = p->out + n * p->out_width;
  memset(histogram, 0, (size_t)(p->rows * p->columns * bins) * sizeof *histogram);
  votes(p, n, histogram);
  for (int64_t r = 0; r + block <= p->rows; r++)
    for (int64_t c = 0; c + block <= p->columns; c++) {
      for (int64_t i = 0; i < block; i++)
        memcpy(part + i * block * bins, histogram + ((r + i) * p->columns + c) * bins,
               (size_t)(block * bins) * sizeof *part);
      if (!unit(part, each))
        return mica_fail(MICA_ERR_NUMERIC, "hog: picture %lld has values that are not finite",
                         (long long)n);
      for (int64_t i = 0; i < each; i++) part[i] = fmin(part[i], p->o.clip);
      unit(part, each);
      for (int64_t i = 0; i < each; i++) *out++ = (float)part[i];
    }
  return MICA_OK;
}

mica_status mica_hog(const mica_engine *engine, const mica_hog_options *given, const mica_view *x,
                     float *out) {
  if (x->shape.rank != 4 || (x->dtype != MICA_F32 && x->dtype != MICA_U8))
    return mica_fail(MICA_ERR_SHAPE, "hog: expected pictures [N, H, W, C], float32 or uint8");
  const int64_t *dim = x->shape.dim;
  plan p = {.o = options_of(given),
            .x = x,
            .height = dim[1],
            .width = dim[2],
            .channels = dim[3],
            .out = out};
  p.out_width = mica_hog_width(&p.o, dim[1], dim[2]);
  if (!p.out_width)
    return mica_fail(MICA_ERR_INVALID,
                     "hog: pictures of %lldx%lld hold no block of %lldx%lld cells of %lld pixels",
                     (long long)dim[1], (long long)dim[2], (long long)p.o.block,
                     (long long)p.o.block, (long long)p.o.cell);
  p.rows = dim[1] / p.o.cell;
  p.columns = dim[2] / p.o.cell;
  const int64_t room = (p.rows * p.columns + p.o.block * p.o.block) * p.o.bins;
  return mica_chunks_run(engine, dim[0], (size_t)room * sizeof(double), one, &p);
}
