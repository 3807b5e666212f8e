/* softmax.h: softmax of rows and the cross-entropies fused with it.
 *
 * A row of all -inf has softmax 0 and log-softmax -inf. Strides count elements between rows.
 */
#ifndef MICA_TENSOR_KERNEL_SOFTMAX_H
#define MICA_TENSOR_KERNEL_SOFTMAX_H

#include <stdbool.h>
#include <stdint.h>

/* Hard labels. A row's loss is
 *   (1 - s) w[label] (lse - x[label]) + s / cols sum_c w[c] (lse - x[c]),  lse = ln sum_c e^x[c],
 * PyTorch's, and 0 for an ignored row. */
typedef struct mica_hard_labels {
  const int64_t *label; /* one a row */
  int64_t ignore;       /* rows with this label count for nothing */
  double smoothing;     /* s in [0, 1] */
  const void *weight;   /* class weights w [cols] in the table's type, NULL: all 1 */
} mica_hard_labels;

typedef struct mica_softmax_kernels {
  /* y = e^x / sum e^x */
  void (*softmax)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                  int64_t y_stride);
  /* gx = y (gy - sum gy y) */
  void (*softmax_grad)(int64_t rows, int64_t cols, const void *y, int64_t y_stride, const void *gy,
                       int64_t gy_stride, void *gx, int64_t gx_stride);
  /* y = x - ln sum e^x */
  void (*log_softmax)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                      int64_t y_stride);
  /* gx = gy - e^y sum gy */
  void (*log_softmax_grad)(int64_t rows, int64_t cols, const void *y, int64_t y_stride,
                           const void *gy, int64_t gy_stride, void *gx, int64_t gx_stride);

  /* Per row: loss[r], weight[r] = w[label] (0 when ignored; the mean's denominator is their sum)
   * and lse[r] for backward, in two numbers whose sum it is: where scores are in the hundreds one
   * would leave probabilities of few digits. Returns -1, or the first row whose label is neither
   * ignored nor in [0, cols): rows from there on are untouched. */
  int64_t (*cross_entropy)(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                           const mica_hard_labels *labels, void *loss, void *weight, void *lse);
  /* gx = g[r] d loss[r] / d x; g has one element a row, or is NULL and every row has g_all.
   * streams: gx goes past the caches. */
  void (*cross_entropy_grad)(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                             const mica_hard_labels *labels, const void *lse, const void *g,
                             double g_all, bool streams, void *gx);
  /* loss[r] = sum_c t[r,c] (lse[r] - x[r,c]); 0 where t is 0, whatever x */
  void (*soft_cross_entropy)(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                             const void *t, int64_t t_stride, void *loss, void *lse);
  /* gx = g (e^(x - lse) sum_c t - t), gt = g (lse - x); either may be NULL */
  void (*soft_cross_entropy_grad)(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                                  const void *t, int64_t t_stride, const void *lse, const void *g,
                                  double g_all, void *gx, void *gt);
} mica_softmax_kernels;

#endif
