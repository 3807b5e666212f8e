/* The linear layer with a weight that is packed already. */
#ifndef MICA_AUTOGRAD_PRODUCT_H
#define MICA_AUTOGRAD_PRODUCT_H

#include <mica/ops.h>

/* x w^T + bias; `packed` is w^T as mica_gemm_pack left it. w [outputs, inputs] and bias (or
 * MICA_NONE) are contiguous. */
mica_var mica_linear_packed(mica_tape *t, mica_var x, mica_var w, const void *packed,
                            mica_var bias);

#endif
