/* mica/tape.h: one training or inference step.
 *
 * Operations run eagerly, take the tape first, allocate from its arena and record their backward.
 * Errors latch: the first failed operation stores its name, its shapes, the module path and the
 * caller's line, returns an inert handle, and the rest of the step does nothing. So model code
 * reads as straight-line mathematics and is checked once a step:
 *
 *     mica_var logits = net(t, node, mica_input(t, batch));
 *     mica_var loss = mica_cross_entropy(t, logits, labels, NULL);
 *     mica_backward(t, loss);
 *     if (mica_optimiser_step(opt, t)) ...  // refuses a latched tape
 *     mica_tape_reset(t);
 *
 * A tape belongs to one thread. After a few steps of the same sizes a step allocates nothing.
 */
#ifndef MICA_TAPE_H
#define MICA_TAPE_H

#include <mica/engine.h>
#include <mica/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_tape mica_tape;

/* A handle of a tensor on a tape: a small value, copied freely. It carries a generation, so the use
 * of a tensor that was released is a latched error, never a stale read. */
typedef struct mica_var {
  uint32_t slot, stamp;
} mica_var;

/* The absent tensor: an optional input left out, and what a failed operation returns. */
#define MICA_NONE ((mica_var){0, 0})
static inline bool mica_is_none(mica_var v) {
  return v.stamp == 0;
}

typedef struct mica_tape_options {
  uint32_t size;
  uint64_t seed;      /* of every random draw on this tape */
  mica_dtype compute; /* MICA_F32, or MICA_BF16: products of matrices and convolutions round their
                         float32 inputs to bfloat16 and add up in float32 */
  uint64_t reserve;   /* bytes of arena to start with; it grows as needed */
} mica_tape_options;
#define MICA_TAPE_OPTIONS                                                                          \
  { sizeof(mica_tape_options), 0, MICA_F32, 0 }

/* NULL options are the defaults. The engine must outlive the tape. */
MICA_API mica_status mica_tape_create(mica_engine *engine, const mica_tape_options *options,
                                      mica_tape **out);
MICA_API void mica_tape_free(mica_tape *t);
/* Release the step: every tensor, record, latched error and queued buffer update goes. */
MICA_API void mica_tape_reset(mica_tape *t);
/* The key of the step's random draws is (seed, step, micro_batch, name path, call number). */
MICA_API void mica_tape_set_step(mica_tape *t, uint64_t step, uint64_t micro_batch);
MICA_API mica_engine *mica_tape_engine(const mica_tape *t);

typedef struct mica_tape_memory {
  uint64_t in_use; /* bytes held by tensors and saved values now */
  uint64_t peak;   /* the most since the last reset */
  uint64_t held;   /* bytes of arena taken from the allocator */
} mica_tape_memory;
/* How much memory the tape holds. */
MICA_API mica_tape_memory mica_tape_memory_use(const mica_tape *t);

/* ---- errors ---- */

/* True while no error is latched; data-dependent loops test it. */
MICA_API bool mica_ok(const mica_tape *t);
/* MICA_OK, or the latched status, which then is also the thread's last error. */
MICA_API mica_status mica_tape_status(const mica_tape *t);
MICA_API const char *mica_tape_error(const mica_tape *t); /* "" when there is none */
/* Latch an error, unless one is latched already. Returns MICA_NONE. */
MICA_API mica_var mica_latch(mica_tape *t, mica_status status, const char *fmt, ...)
    MICA_PRINTF(3, 4);
/* Note the caller's place for the message of a later error; returns t. The operations' macros in
 * mica/where.h call it. */
MICA_API mica_tape *mica_tape_at(mica_tape *t, const char *file, int line);

/* ---- tensors in and out ---- */

/* A constant that shares the tensor's storage; the tape keeps it alive until the reset. */
MICA_API mica_var mica_input(mica_tape *t, mica_tensor *tensor);
/* The same, and backward leaves its gradient for mica_gradient. float32 or float64. */
MICA_API mica_var mica_leaf(mica_tape *t, mica_tensor *tensor);
/* A constant that borrows the caller's memory, which must stay until the reset. */
MICA_API mica_var mica_borrow(mica_tape *t, const mica_view *view);
/* A constant with a copy of `view`'s elements. */
MICA_API mica_var mica_constant(mica_tape *t, const mica_view *view);
MICA_API mica_var mica_full(mica_tape *t, mica_dtype dtype, mica_shape shape, double value);

/* Look at a tensor: data is NULL for an inert, released or absent one (which latches). Valid until
 * it is released or the tape is reset. */
MICA_API mica_view mica_read(mica_tape *t, mica_var v);
MICA_API int mica_rank(mica_tape *t, mica_var v);
/* Negative axes count from the end. */
MICA_API int64_t mica_dim(mica_tape *t, mica_var v, int axis);
MICA_API mica_dtype mica_dtype_of(mica_tape *t, mica_var v);
/* The value of a tensor of one element; 0 when the tape is latched. */
MICA_API double mica_item(mica_tape *t, mica_var v);
/* A persistent copy. */
MICA_API mica_status mica_copy_out(mica_tape *t, mica_var v, mica_tensor **out);
MICA_API bool mica_requires_grad(mica_tape *t, mica_var v);

/* ---- scopes ---- */

/* A scope names a module in the path (errors, random draws, taps) and gives back its memory: what
 * was made inside and is neither returned, kept nor saved by a recorded operation is released at
 * its end. `name` may be NULL or "" (no path of its own); it is copied. Scopes nest; _end returns
 * y, after the taps on the path have seen it. */
MICA_API void mica_scope_begin(mica_tape *t, const char *name);
MICA_API mica_var mica_scope_end(mica_tape *t, mica_var y);
/* The same with n results; each y[i] may be replaced by a tap only when n is 1. */
MICA_API void mica_scope_end_n(mica_tape *t, int n, mica_var *y);
/* Hold a tensor until the reset, whatever scopes end. Returns v. */
MICA_API mica_var mica_keep(mica_tape *t, mica_var v);
/* Nobody will read v after the backward that passes it, which is an error then. What gradients need
 * goes back to the arena in time, and until then a value that can be made again may be, when it is
 * read: for results that a network gives out for whoever wants them. Returns v. */
MICA_API mica_var mica_until_backward(mica_tape *t, mica_var v);
/* Give a tensor back before its scope ends. */
MICA_API void mica_release(mica_tape *t, mica_var v);
/* `fresh`, and `old` is given back if the current scope made it and nobody kept it: the idiom of a
 * chain of blocks, x = mica_replace(t, x, block(t, x)), which holds one result at a time. */
MICA_API mica_var mica_replace(mica_tape *t, mica_var old, mica_var fresh);
/* The dotted path of the open scopes, "" at top level. Valid until the next scope call. */
MICA_API const char *mica_tape_path(const mica_tape *t);

/* ---- context ---- */

/* Training or evaluation (default): dropout, batch statistics. */
MICA_API void mica_set_training(mica_tape *t, bool training);
MICA_API bool mica_is_training(const mica_tape *t);
MICA_API void mica_set_compute(mica_tape *t, mica_dtype compute); /* MICA_F32 or MICA_BF16 */
MICA_API mica_dtype mica_compute(const mica_tape *t);
/* Between these nothing is recorded. They nest. */
MICA_API void mica_no_grad_begin(mica_tape *t);
MICA_API void mica_no_grad_end(mica_tape *t);
MICA_API bool mica_is_recording(const mica_tape *t);

/* Which positions of the batch hold something: [N,L], 1 or 0, of a float type. Layers that mix
 * positions leave the others out (attention does). MICA_NONE: all do. Holds until the scope ends in
 * which it was set, or the tape is reset. */
MICA_API void mica_set_mask(mica_tape *t, mica_var mask);
MICA_API mica_var mica_mask(const mica_tape *t);

/* The classes of the batch's examples, int64 [N], for a classifier whose logits depend on them in
 * training (margins). MICA_NONE: not known. Holds as long as a mask does. */
MICA_API void mica_set_labels(mica_tape *t, mica_var labels);
MICA_API mica_var mica_labels(const mica_tape *t);

struct mica_attention_options;
/* Attention by another rule in place of mica_attention's, for every layer that calls it: arguments
 * and results as there, `path` the module's. NULL restores. Holds as long as a mask does. While fn
 * runs mica_attention is itself, so that fn may call it. */
typedef mica_var (*mica_attention_fn)(mica_tape *t, void *ctx, const char *path, mica_var q,
                                      mica_var k, mica_var v, mica_var bias,
                                      const struct mica_attention_options *o, mica_var *lse);
MICA_API void mica_set_attention(mica_tape *t, mica_attention_fn fn, void *ctx);

struct mica_kv_cache;
/* Keys and values of past tokens (mica/kv_cache.h), which attention layers that know caches read
 * and add to. NULL: none. Holds as long as a mask does. */
MICA_API void mica_set_cache(mica_tape *t, struct mica_kv_cache *cache);
MICA_API struct mica_kv_cache *mica_cache(const mica_tape *t);

/* A tap sees the result of every scope whose path matches a pattern ("layer2.*", as fnmatch): it
 * returns v to look on, or another tensor to put in its place. Taps stay until cleared. */
typedef mica_var (*mica_tap_fn)(mica_tape *t, void *ctx, const char *path, mica_var v);
MICA_API mica_status mica_tap(mica_tape *t, const char *pattern, mica_tap_fn fn, void *ctx);
MICA_API void mica_taps_clear(mica_tape *t);

/* fn sees the result of every rectifier (ReLU), as an operation of its own or fused with a norm or
 * a product, at the module's path; it only looks on. Stays until another takes its place; NULL:
 * none. */
typedef void (*mica_relu_fn)(mica_tape *t, void *ctx, const char *path, mica_var y);
MICA_API void mica_watch_relu(mica_tape *t, mica_relu_fn fn, void *ctx);

/* The key of the next random draw at this place of the step: (seed, purpose, step, micro-batch,
 * path, call number in that path). */
MICA_API mica_key mica_tape_draw(mica_tape *t, const char *purpose);

/* Apply the buffer updates that forward queued (mica_buffer_set and the like), in order, after a
 * step without error; a latched tape refuses and changes nothing. */
MICA_API mica_status mica_commit(mica_tape *t);

/* ---- gradients ---- */

/* Backward from a scalar: gradients are added to the parameters', and left for mica_gradient at
 * mica_leaf tensors and those marked with mica_retain_grad. Uses up the recorded graph: saved
 * values and intermediate gradients are released as soon as their node is done. */
MICA_API mica_status mica_backward(mica_tape *t, mica_var loss);
/* Backward from any tensor with a given gradient of the same shape. */
MICA_API mica_status mica_backward_from(mica_tape *t, mica_var y, mica_var gradient);
/* d loss / d wrt[i] into out[i] (constants on the tape, zeros where loss does not depend on it);
 * parameters' stored gradients are left alone. `keep_graph` allows another backward later. Tensors
 * made inside mica_recompute cannot be asked for. */
MICA_API mica_status mica_grad(mica_tape *t, mica_var loss, int n, const mica_var *wrt,
                               mica_var *out, bool keep_graph);
/* Ask that backward leaves the gradient of an intermediate tensor, until the next backward. Returns
 * v. */
MICA_API mica_var mica_retain_grad(mica_tape *t, mica_var v);
/* The gradient that backward left, as a constant; MICA_NONE (no error) where none came. */
MICA_API mica_var mica_gradient(mica_tape *t, mica_var v);
/* The same value, cut from the graph. */
MICA_API mica_var mica_detach(mica_tape *t, mica_var v);

/* One shape for code that runs on a tape: inputs and a context to outputs, errors latch. */
typedef void (*mica_fn)(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out,
                        mica_var *out);

/* Run fn without keeping its intermediates and run it again in backward (Chen et al. 2016): memory
 * of the largest such call instead of their sum. Random draws are the same both times, queued
 * buffer updates happen once. `ctx` is kept by pointer and must live until backward. */
MICA_API void mica_recompute(mica_tape *t, mica_fn fn, void *ctx, int n_in, const mica_var *in,
                             int n_out, mica_var *out);

#ifdef __cplusplus
}
#endif
#endif
