/* convolution.c: images cut into rows of a matrix and back. */
#include "tensor/kernel/convolution.h"

#include "loop.h"
#include "place.h"

/* A position of the result and what its kernel reaches along each axis. */
typedef struct position {
  const mica_convolution *v;
  const int64_t *out;
  int64_t at[MICA_CONVOLUTION_AXES];
  reach r[MICA_CONVOLUTION_AXES];
} position;

static position position_of(const mica_convolution *v, const int64_t *out, int64_t p) {
  position s = {.v = v, .out = out, .at = {p / out[2] / out[1], p / out[2] % out[1], p % out[2]}};
  for (int i = 0; i < MICA_CONVOLUTION_AXES; i++) s.r[i] = reach_of(v, i, s.at[i]);
  return s;
}

static void next(position *s) {
  int i = MICA_CONVOLUTION_AXES - 1;
  for (; i > 0 && ++s->at[i] == s->out[i]; i--) {
    s->at[i] = 0;
    s->r[i] = reach_of(s->v, i, 0);
  }
  if (i == 0) s->at[0]++;
  s->r[i] = reach_of(s->v, i, s->at[i]);
}

static bool reaches(const reach *r, int64_t tap) {
  return tap >= r->lo && tap < r->hi;
}

static void im2col(const mica_convolution *v, const int64_t *out, int64_t group, const void *xv,
                   int64_t begin, int64_t end, void *columns) {
  const int64_t width = v->c / v->groups, line = v->kernel[2] * width;
  const real *x = (const real *)xv + group * width;
  const bool together = v->groups == 1 && v->dilation[2] == 1;
  real *to = columns;
  if (begin == end) return;
  position s = position_of(v, out, begin);
  for (int64_t p = begin; p < end; p++, next(&s)) {
    const reach *w = &s.r[2];
    const int64_t lo = w->lo * width, n = (w->hi - w->lo) * width;
    for (int64_t d = 0; d < v->kernel[0]; d++)
      for (int64_t h = 0; h < v->kernel[1]; h++, to += line) {
        if (!reaches(&s.r[0], d) || !reaches(&s.r[1], h)) {
          memset(to, 0, (size_t)line * sizeof *to);
          continue;
        }
        const real *from =
            x +
            ((reach_at(&s.r[0], d) * v->size[1] + reach_at(&s.r[1], h)) * v->size[2] + w->start) *
                v->c;
        if (n < line) memset(to, 0, (size_t)line * sizeof *to);
        if (together)
          memcpy(to + lo, from + lo, (size_t)n * sizeof *to);
        else
          for (int64_t k = w->lo; k < w->hi; k++)
            memcpy(to + k * width, from + k * w->step * v->c, (size_t)width * sizeof *to);
      }
  }
}

static void col2im(const mica_convolution *v, const int64_t *out, int64_t group,
                   const void *columns, int64_t begin, int64_t end, void *dxv) {
  const int64_t width = v->c / v->groups, line = v->kernel[2] * width;
  real *dx = (real *)dxv + group * width;
  const bool together = v->groups == 1 && v->dilation[2] == 1;
  const real *from = columns;
  if (begin == end) return;
  position s = position_of(v, out, begin);
  for (int64_t p = begin; p < end; p++, next(&s)) {
    const reach *w = &s.r[2];
    for (int64_t d = 0; d < v->kernel[0]; d++)
      for (int64_t h = 0; h < v->kernel[1]; h++, from += line) {
        if (!reaches(&s.r[0], d) || !reaches(&s.r[1], h)) continue;
        real *to = dx + ((reach_at(&s.r[0], d) * v->size[1] + reach_at(&s.r[1], h)) * v->size[2] +
                         w->start) *
                            v->c;
        if (together) {
          SIMD for (int64_t i = w->lo * width; i < w->hi * width; i++) to[i] += from[i];
        } else {
          for (int64_t k = w->lo; k < w->hi; k++) {
            const real *tap = from + k * width;
            real *place = to + k * w->step * v->c;
            for (int64_t i = 0; i < width; i++) place[i] += tap[i];
          }
        }
      }
  }
}

static void finish(int64_t rows, int64_t cols, const void *biasv, const void *residualv, bool relu,
                   void *yv) {
  const real *bias = biasv, *residual = residualv;
  for (int64_t r = 0; r < rows; r++) {
    real *y = (real *)yv + r * cols;
    if (bias)
      for (int64_t c = 0; c < cols; c++) y[c] += bias[c];
    if (residual)
      for (int64_t c = 0; c < cols; c++) y[c] += residual[r * cols + c];
    if (relu) /* a NaN is not below 0 and stays */
      for (int64_t c = 0; c < cols; c++) y[c] = y[c] < 0 ? 0 : y[c];
  }
}

const mica_convolution_kernels MICA_KERNEL(convolution) = {
    .im2col = im2col,
    .col2im = col2im,
    .finish = finish,
};
