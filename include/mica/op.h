/* mica/op.h: how an operation is written, inside the library or in a plug-in.
 *
 * An operation is a function that begins a call, makes its outputs, computes, says what backward
 * will need, and ends the call:
 *
 *     static void square_backward(mica_call *c) {            // gx = 2 x gy
 *       const double *x = c->in[0].data, *gy = c->grad_out[0].data;
 *       mica_view *gx = mica_call_grad(c, 0);
 *       if (gx)
 *         for (int64_t i = 0, n = mica_view_count(gx); i < n; i++)
 *           ((double *)gx->data)[i] = 2 * x[i] * gy[i];
 *     }
 *     static const mica_op square_op = {sizeof(mica_op), "square", 0, square_backward};
 *
 *     mica_var square(mica_tape *t, mica_var x) {
 *       mica_call c;
 *       if (!mica_call_begin(&c, t, &square_op, 1, &x)) return MICA_NONE;
 *       const mica_view *y = mica_call_output(&c, c.in[0].dtype, c.in[0].shape);
 *       if (y) ...
 *       mica_call_save_input(&c, 0);
 *       return mica_call_end(&c);
 *     }
 *
 * Backward writes (does not add to) the gradients it is given; the tape does the adding.
 */
#ifndef MICA_OP_H
#define MICA_OP_H

#include <mica/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_call mica_call;

enum {
  /* Inputs may have a row stride; without this flag the tape hands over contiguous copies. Incoming
   * gradients are always contiguous. */
  MICA_OP_ROW_STRIDES = 1u << 0,
  /* Row i of each output depends on row i of each input alone, rows being the leading dimension,
   * or blocks of it; mica_call_mixes names inputs of a call for which it is not so. It lets
   * gradients for each example come from one run over the batch; without it they come from a run
   * for each example. */
  MICA_OP_BY_EXAMPLE = 1u << 1,
  /* backward asks mica_call_examples, and then gives the gradients of inputs that all examples
   * share by mica_call_grad_examples. Without it the tape runs backward once for each example. */
  MICA_OP_CLOSED_FORM = 1u << 2,
  /* Of a replacement (mica_override_backward): it reads all inputs and outputs, also those that the
   * operation itself would not have saved. */
  MICA_OP_SAVES_ALL = 1u << 3
};

typedef struct mica_op {
  uint32_t size; /* sizeof(mica_op) */
  const char *name;
  uint32_t flags;
  void (*backward)(mica_call *c); /* NULL: the result never requires a gradient */
} mica_op;

#define MICA_CALL_INLINE 8

/* One application of an operation, in forward and in backward. Read the fields, leave the rest. */
struct mica_call {
  mica_tape *tape;
  mica_engine *engine;
  const mica_op *op;
  int n_in, n_out;
  const mica_view *in;  /* inputs; in backward data is NULL unless saved; absent inputs: data NULL,
                           rank 0 */
  const mica_view *out; /* outputs; in backward data is NULL unless saved */
  const mica_view *grad_out; /* backward: gradients of the outputs, data NULL where none came */
  void *const *saved;        /* backward: the buffers of mica_call_saved, in order */
  void *ctx;                 /* the bytes given to mica_call_context */
  struct mica_call_state {   /* the tape's own */
    mica_view in_views[MICA_CALL_INLINE], out_views[MICA_CALL_INLINE], grad_views[MICA_CALL_INLINE];
    mica_view gin_views[MICA_CALL_INLINE];
    uint32_t in_slots[MICA_CALL_INLINE], out_slots[MICA_CALL_INLINE];
    void *saved_data[MICA_CALL_INLINE];
    uint32_t saved_buffers[MICA_CALL_INLINE];
    uint32_t *in_slot, *gin_buffers;
    mica_view *in_view, *gin_view;
    uint32_t saved_in, saved_out; /* bit i: backward needs the data of input / output i */
    uint32_t mixes;               /* bit i: examples along input i are mixed */
    uint32_t gin_inline[MICA_CALL_INLINE];
    uint32_t record, spill;
    int n_saved;
    bool records;
  } state;
};

/* Resolve n inputs (MICA_NONE allowed only where bit i of `optional` is set). False: the tape is,
 * or now is, latched; return MICA_NONE at once. More than MICA_CALL_INLINE inputs are allowed,
 * outputs are at most MICA_CALL_INLINE; only inputs 0..31 can be saved. */
MICA_API bool mica_call_begin(mica_call *c, mica_tape *t, const mica_op *op, int n,
                              const mica_var *in);
MICA_API bool mica_call_begin_optional(mica_call *c, mica_tape *t, const mica_op *op, int n,
                                       const mica_var *in, uint32_t optional);
/* The next output, uninitialised; NULL after an error (skip the computing). */
MICA_API const mica_view *mica_call_output(mica_call *c, mica_dtype dtype, mica_shape shape);
/* The next output as a view of input i: `offset` elements in, with the given shape and row stride.
 */
MICA_API const mica_view *mica_call_output_alias(mica_call *c, int i, int64_t offset,
                                                 mica_shape shape, int64_t row_stride);
/* Copy `bytes` of options for backward (c->ctx then points to the copy). */
MICA_API void *mica_call_context(mica_call *c, const void *options, size_t bytes);
/* What backward needs. Nothing is held when nothing is recorded. */
MICA_API void mica_call_save_input(mica_call *c, int i);
MICA_API void mica_call_save_output(mica_call *c, int i);
/* A buffer filled in forward and held for backward (argmax, masks); at most MICA_CALL_INLINE. When
 * nothing is recorded it lives until mica_call_end. NULL after an error. */
MICA_API void *mica_call_saved(mica_call *c, size_t bytes);
/* Scratch memory, 64-byte aligned, until mica_call_end or the end of backward; NULL after an error.
 */
MICA_API void *mica_call_scratch(mica_call *c, size_t bytes);
/* True when input i requires a gradient (also in forward: skip preparing what is not needed). */
MICA_API bool mica_call_needs_grad(const mica_call *c, int i);
/* True when this call is being recorded: backward may come. */
MICA_API bool mica_call_recorded(const mica_call *c);
/* Latch "op: message [input shapes] in path (file:line)" and end the call. Returns MICA_NONE. */
MICA_API mica_var mica_call_fail(mica_call *c, mica_status status, const char *fmt, ...)
    MICA_PRINTF(3, 4);
/* End the call: the first output's handle; _end_n writes all n. */
MICA_API mica_var mica_call_end(mica_call *c);
MICA_API void mica_call_end_n(mica_call *c, int n, mica_var *out);

/* Backward: where to write the gradient of input i, contiguous, uninitialised; NULL when it needs
 * none or memory ran out. Ask once for each input. */
MICA_API mica_view *mica_call_grad(mica_call *c, int i);
/* Backward: the gradient of input i is the gradient of output j unchanged (shape of input i):
 * shares the buffer instead of copying. */
MICA_API void mica_call_grad_pass(mica_call *c, int i, int j);
/* Backward: the gradient of input i is zero but in n rows (ids into its leading dimension, may
 * repeat; values [n, ...]). Parameters keep it sparse; elsewhere the tape makes it dense. */
MICA_API void mica_call_grad_rows(mica_call *c, int i, const int64_t *ids, const void *values,
                                  int64_t n);

/* Forward: row i of the outputs does not depend on row i of input i alone (a sum over the leading
 * dimension; a weight). */
MICA_API void mica_call_mixes(mica_call *c, int i);
/* Backward of an operation with MICA_OP_CLOSED_FORM: the number of examples for which gradients are
 * asked, each having an equal part of the leading dimension; 0: the usual sum over all. */
MICA_API int64_t mica_call_examples(const mica_call *c);
/* Then: where to write the gradients of input i, [examples, elements of the input], contiguous,
 * uninitialised; NULL when input i has a part for each example itself, needs no gradient, or memory
 * ran out. mica_call_grad gives NULL for such an input. Ask once. */
MICA_API mica_view *mica_call_grad_examples(mica_call *c, int i);

/* An operation as one value: `op` with its backward, and a forward that makes the outputs of the
 * call it is given (mica_call_output), computes them from c->in and c->ctx, and says what backward
 * needs. It may fail with mica_call_fail. */
typedef struct mica_custom_op {
  mica_op op;
  void (*forward)(mica_call *c);
  uint32_t optional; /* bit i: input i may be MICA_NONE */
} mica_custom_op;
/* Apply it: n_out outputs into out, MICA_NONE after an error. `ctx` (may be NULL) is copied for
 * both passes. */
MICA_API void mica_custom(mica_tape *t, const mica_custom_op *op, const void *ctx, size_t bytes,
                          int n_in, const mica_var *in, int n_out, mica_var *out);

/* Replace the backward of every later operation of this name (guided ReLU); NULL restores. Kept
 * until mica_taps_clear. */
MICA_API mica_status mica_override_backward(mica_tape *t, const char *op,
                                            const mica_op *replacement);

#ifdef __cplusplus
}
#endif
#endif
