/* norm.h: normalisation over rows (layer, RMS, L2), groups of channels, and columns (batch).
 *
 * `gain` and `bias` [cols] may be NULL: 1 and 0. Statistics kept for backward (mean, rstd, norm)
 * are in the table's type. Gradients of gain and bias are *added* to double arrays, one pair a
 * chunk of rows, which reduce.combine adds up in order; they may be NULL, as may gx. gy and gx are
 * contiguous.
 */
#ifndef MICA_TENSOR_KERNEL_NORM_H
#define MICA_TENSOR_KERNEL_NORM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mica_norm_kernels {
  /* y = (x - mean) rstd gain + bias, rstd = 1 / sqrt(var + eps), biased variance of the row */
  void (*layer_norm)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, const void *gain,
                     const void *bias, double eps, void *y, int64_t y_stride, void *mean,
                     void *rstd);
  void (*layer_norm_grad)(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                          const void *gain, const void *mean, const void *rstd, const void *gy,
                          void *gx, double *ggain, double *gbias);
  /* y = x rstd gain, rstd = 1 / sqrt(mean x^2 + eps) */
  void (*rms_norm)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, const void *gain,
                   double eps, void *y, int64_t y_stride, void *rstd);
  void (*rms_norm_grad)(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                        const void *gain, const void *rstd, const void *gy, void *gx,
                        double *ggain);
  /* y = x / max(|x|, eps); norm[r] = |x| */
  void (*l2_normalise)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, double eps,
                       void *y, int64_t y_stride, void *norm);
  /* gx = |x| > eps ? (gy - y sum gy y) / |x| : gy / eps */
  void (*l2_normalise_grad)(int64_t rows, int64_t cols, const void *y, int64_t y_stride,
                            const void *norm, double eps, const void *gy, void *gx);

  /* x [examples, positions, channels], contiguous; groups divides channels (groups = channels:
   * instance norm). mean and rstd [examples, groups]; scratch: 3 channels doubles, one for each
   * thread. */
  void (*group_norm)(int64_t examples, int64_t positions, int64_t channels, int64_t groups,
                     const void *x, const void *gain, const void *bias, double eps, void *y,
                     void *mean, void *rstd, double *scratch);
  void (*group_norm_grad)(int64_t examples, int64_t positions, int64_t channels, int64_t groups,
                          const void *x, const void *gain, const void *mean, const void *rstd,
                          const void *gy, void *gx, double *ggain, double *gbias, double *scratch);

  /* Batch norm over the columns of [rows, cols]; the statistics come from reduce.column_moments for
   * each chunk of rows, merged in order by reduce.merge_moments. y = (x - mean) rstd gain + bias,
   * plus residual [rows, cols] unless it is NULL, then max(y, 0) when relu; mean and rstd [cols] */
  void (*batch_norm)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, const void *mean,
                     const void *rstd, const void *gain, const void *bias, const void *residual,
                     bool relu, void *y);
  /* sum_gy[c] += sum_r gy, sum_gy_xhat[c] += sum_r gy (x - mean) rstd: the gradients of bias and
   * gain. With relu gy counts where y > 0, which is found from x again; with a residual too, what
   * counts is written to `passed` [rows, cols], which may be gy. */
  void (*batch_norm_sums)(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                          const void *mean, const void *rstd, const void *gain, const void *bias,
                          const void *residual, bool relu, const void *gy, void *passed,
                          double *sum_gy, double *sum_gy_xhat);
  /* gx = gain rstd (gy - sum_gy / count - xhat sum_gy_xhat / count), the sums and count over all
   * rows of the batch; sums NULL: gx = gain rstd gy (fixed statistics). gx may be gy. */
  void (*batch_norm_grad)(int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                          const void *mean, const void *rstd, const void *gain, const void *bias,
                          bool relu, const void *gy, const double *sum_gy,
                          const double *sum_gy_xhat, double count, void *gx);
} mica_norm_kernels;

#endif
