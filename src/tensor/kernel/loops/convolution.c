/* Convolution's own loops: images cut into rows of a matrix and back, and depthwise convolution. */
#include "tensor/kernel/convolution.h"
#include "tensor/kernel/kernel.h"

#include <string.h>

static int64_t place(int64_t out, int64_t tap, int64_t stride, int64_t dilation, int64_t pad) {
  return out * stride + tap * dilation - pad;
}

static void im2col(const mica_convolution *v, int64_t out_w, int64_t group, const void *xv,
                   int64_t begin, int64_t end, void *columns) {
  const int64_t width = v->c / v->groups;
  const real *x = (const real *)xv + group * width;
  real *to = columns;
  for (int64_t p = begin; p < end; p++)
    for (int64_t kh = 0; kh < v->kh; kh++) {
      const int64_t h = place(p / out_w, kh, v->stride_h, v->dilation_h, v->pad_top);
      for (int64_t kw = 0; kw < v->kw; kw++, to += width) {
        const int64_t w = place(p % out_w, kw, v->stride_w, v->dilation_w, v->pad_left);
        if (h < 0 || h >= v->h || w < 0 || w >= v->w)
          memset(to, 0, (size_t)width * sizeof *to);
        else
          memcpy(to, x + (h * v->w + w) * v->c, (size_t)width * sizeof *to);
      }
    }
}

static void col2im(const mica_convolution *v, int64_t out_w, int64_t group, const void *columns,
                   int64_t begin, int64_t end, void *dxv) {
  const int64_t width = v->c / v->groups;
  real *dx = (real *)dxv + group * width;
  const real *from = columns;
  for (int64_t p = begin; p < end; p++)
    for (int64_t kh = 0; kh < v->kh; kh++) {
      const int64_t h = place(p / out_w, kh, v->stride_h, v->dilation_h, v->pad_top);
      for (int64_t kw = 0; kw < v->kw; kw++, from += width) {
        const int64_t w = place(p % out_w, kw, v->stride_w, v->dilation_w, v->pad_left);
        if (h < 0 || h >= v->h || w < 0 || w >= v->w) continue;
        real *to = dx + (h * v->w + w) * v->c;
        for (int64_t i = 0; i < width; i++) to[i] += from[i];
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

static void depthwise_forward(const mica_convolution *v, int64_t out_h, int64_t out_w,
                              const void *xv, const void *tapsv, const void *bias,
                              const void *residual, bool relu, int64_t begin, int64_t end,
                              void *yv) {
  const int64_t c = v->c;
  const real *taps = tapsv;
  for (int64_t row = begin; row < end; row++) {
    const real *x = (const real *)xv + row / out_h * v->h * v->w * c;
    real *line = (real *)yv + row * out_w * c;
    const real *add = residual ? (const real *)residual + row * out_w * c : NULL;
    for (int64_t ow = 0; ow < out_w; ow++) {
      real *restrict y = line + ow * c;
      real sum[256];
      for (int64_t from = 0; from < c; from += 256) {
        const int64_t n = c - from < 256 ? c - from : 256;
        memset(sum, 0, (size_t)n * sizeof *sum);
        for (int64_t kh = 0; kh < v->kh; kh++) {
          const int64_t h = place(row % out_h, kh, v->stride_h, v->dilation_h, v->pad_top);
          if (h < 0 || h >= v->h) continue;
          for (int64_t kw = 0; kw < v->kw; kw++) {
            const int64_t w = place(ow, kw, v->stride_w, v->dilation_w, v->pad_left);
            if (w < 0 || w >= v->w) continue;
            const real *in = x + (h * v->w + w) * c + from,
                       *t = taps + (kh * v->kw + kw) * c + from;
            for (int64_t i = 0; i < n; i++) sum[i] += in[i] * t[i];
          }
        }
        if (add)
          for (int64_t i = 0; i < n; i++) sum[i] += add[ow * c + from + i];
        memcpy(y + from, sum, (size_t)n * sizeof *sum);
      }
      finish(1, c, bias, NULL, relu, y);
    }
  }
}

static void depthwise_data(const mica_convolution *v, int64_t out_h, int64_t out_w, const void *dyv,
                           const void *tapsv, const void *bias, int64_t begin, int64_t end,
                           void *dxv) {
  const int64_t c = v->c;
  const real *taps = tapsv;
  for (int64_t n = begin; n < end; n++) {
    const real *dy = (const real *)dyv + n * out_h * out_w * c;
    real *dx = (real *)dxv + n * v->h * v->w * c;
    memset(dx, 0, (size_t)(v->h * v->w * c) * sizeof *dx);
    for (int64_t oh = 0; oh < out_h; oh++)
      for (int64_t kh = 0; kh < v->kh; kh++) {
        const int64_t h = place(oh, kh, v->stride_h, v->dilation_h, v->pad_top);
        if (h < 0 || h >= v->h) continue;
        for (int64_t ow = 0; ow < out_w; ow++)
          for (int64_t kw = 0; kw < v->kw; kw++) {
            const int64_t w = place(ow, kw, v->stride_w, v->dilation_w, v->pad_left);
            if (w < 0 || w >= v->w) continue;
            real *restrict to = dx + (h * v->w + w) * c;
            const real *from = dy + (oh * out_w + ow) * c, *t = taps + (kh * v->kw + kw) * c;
            for (int64_t i = 0; i < c; i++) to[i] += from[i] * t[i];
          }
      }
    if (bias) finish(v->h * v->w, c, bias, NULL, false, dx);
  }
}

static void depthwise_weights(const mica_convolution *v, int64_t out_h, int64_t out_w,
                              const void *xv, const void *dyv, int64_t begin, int64_t end,
                              void *dtapsv) {
  const int64_t c = v->c;
  real *dtaps = dtapsv;
  memset(dtaps, 0, (size_t)(v->kh * v->kw * c) * sizeof *dtaps);
  for (int64_t n = begin; n < end; n++)
    for (int64_t oh = 0; oh < out_h; oh++)
      for (int64_t kh = 0; kh < v->kh; kh++) {
        const int64_t h = place(oh, kh, v->stride_h, v->dilation_h, v->pad_top);
        if (h < 0 || h >= v->h) continue;
        for (int64_t ow = 0; ow < out_w; ow++)
          for (int64_t kw = 0; kw < v->kw; kw++) {
            const int64_t w = place(ow, kw, v->stride_w, v->dilation_w, v->pad_left);
            if (w < 0 || w >= v->w) continue;
            const real *x = (const real *)xv + ((n * v->h + h) * v->w + w) * c;
            const real *dy = (const real *)dyv + ((n * out_h + oh) * out_w + ow) * c;
            real *restrict to = dtaps + (kh * v->kw + kw) * c;
            for (int64_t i = 0; i < c; i++) to[i] += x[i] * dy[i];
          }
      }
}

const mica_convolution_kernels MICA_KERNEL(convolution) = {
    .im2col = im2col,
    .col2im = col2im,
    .depthwise_forward = depthwise_forward,
    .depthwise_data = depthwise_data,
    .depthwise_weights = depthwise_weights,
    .finish = finish,
};
