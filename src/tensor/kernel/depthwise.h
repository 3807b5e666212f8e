/* Depthwise convolution on raw pointers: the part of convolution.h where groups = c = o, in the
 * element type itself. `out` is what mica_convolution_output gives. */
#ifndef MICA_TENSOR_KERNEL_DEPTHWISE_H
#define MICA_TENSOR_KERNEL_DEPTHWISE_H

#include "tensor/kernel/convolution.h"

/* As mica_convolution_forward and mica_convolution_backward_data. */
mica_status mica_depthwise_forward(const mica_engine *engine, const mica_convolution *v,
                                   const int64_t *out, const void *x, const void *w,
                                   const void *bias, const void *residual, bool relu, void *y);
mica_status mica_depthwise_data(const mica_engine *engine, const mica_convolution *v,
                                const int64_t *out, const void *dy, const void *w, const void *bias,
                                void *dx);
/* Weights [c, taps] to [taps, c] (`forth`), or back. */
void mica_depthwise_taps(const mica_convolution *v, const void *from, void *to, bool forth);

#endif
