/* Products and convolutions by oneDNN: the one file that knows its API, 2.6 and 3.x.
 *
 * Each function sets *done when oneDNN did the work. It leaves *done false, with status MICA_OK and
 * the result unwritten, when this build has no oneDNN or oneDNN has only a slow reference path for
 * the case: the caller then does it itself. Compiled primitives are kept in the engine's bounded
 * cache with their reorders, and all their scratch comes from the engine's workspaces.
 *
 * oneDNN may cut a long sum by the number of threads: results repeat bit for bit for one thread
 * count, and may differ in the last bits between two.
 */
#ifndef MICA_TENSOR_KERNEL_ONEDNN_H
#define MICA_TENSOR_KERNEL_ONEDNN_H

#include "tensor/kernel/convolution.h"
#include "tensor/kernel/gemm.h"

/* C = alpha * op(A) * op(B) + beta * C + bias; the caller applies args->relu afterwards, because
 * oneDNN's own turns NaN into 0. */
mica_status mica_onednn_gemm(const mica_engine *engine, const mica_gemm_args *args, bool *done);

typedef enum mica_onednn_pass {
  MICA_ONEDNN_FORWARD,        /* src x, weights w, bias or NULL, dst y */
  MICA_ONEDNN_FORWARD_ADD,    /* the same, added to what y holds */
  MICA_ONEDNN_FORWARD_PACKED, /* the same as forward, weights from mica_onednn_pack */
  MICA_ONEDNN_PACK,           /* weights w, dst packed weights: what mica_onednn_pack runs */
  MICA_ONEDNN_DATA,           /* src dx (written), weights w, dst dy */
  MICA_ONEDNN_WEIGHTS         /* src x, weights dw (written), bias db (written) or NULL, dst dy */
} mica_onednn_pass;

/* One pass of a float32 convolution. */
mica_status mica_onednn_convolution(const mica_engine *engine, const mica_convolution *conv,
                                    mica_onednn_pass pass, void *src, void *weights, void *bias,
                                    void *dst, bool *done);

/* The weights in the layout that the forward pass of this geometry reads, made once for many calls:
 * a block to be freed with mica_free_aligned, NULL (and MICA_OK) where oneDNN has nothing good.
 * It fits calls of the same geometry, presence of a bias and number of threads. */
mica_status mica_onednn_pack(const mica_engine *engine, const mica_convolution *conv, bool bias,
                             const void *weights, void **packed);

#endif
