/* What the kernel of a convolution covers, laid side by side, and its adjoint. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/convolution.h"

#include <string.h>

enum { AXES = MICA_CONVOLUTION_AXES };

typedef struct unfold_context {
  mica_convolution conv;
  int64_t out[AXES];
} unfold_context;

typedef struct unfold_job {
  const mica_convolution_kernels *k;
  const unfold_context *o;
  size_t size;
  int64_t places, positions, width; /* elements of an image, positions, elements of a position */
  int64_t block, blocks;            /* positions of a task, tasks of an image */
  const char *x;
  char *y;
} unfold_job;

static void unfold_range(void *ctx, int64_t begin, int64_t end) {
  const unfold_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t n = i / j->blocks, from = i % j->blocks * j->block;
    const int64_t to = from + j->block < j->positions ? from + j->block : j->positions;
    j->k->im2col(&j->o->conv, j->o->out, 0, j->x + (size_t)(n * j->places) * j->size, from, to,
                 j->y + (size_t)((n * j->positions + from) * j->width) * j->size);
  }
}

static void fold_range(void *ctx, int64_t begin, int64_t end) {
  const unfold_job *j = ctx;
  for (int64_t n = begin; n < end; n++) {
    char *y = j->y + (size_t)(n * j->places) * j->size;
    memset(y, 0, (size_t)j->places * j->size);
    j->k->col2im(&j->o->conv, j->o->out, 0, j->x + (size_t)(n * j->positions * j->width) * j->size,
                 0, j->positions, y);
  }
}

/* Patches y from images x, or the sum of patches x in images y. */
static void run(mica_call *c, const unfold_context *o, bool unfold, const void *x, void *y) {
  const mica_convolution *v = &o->conv;
  unfold_job j = {.k = mica_kernels_of(c->engine, v->dtype)->convolution,
                  .o = o,
                  .size = mica_dtype_size(v->dtype),
                  .places = mica_convolution_places(v) * v->c,
                  .positions = o->out[0] * o->out[1] * o->out[2],
                  .width = mica_convolution_taps(v) * v->c,
                  .x = x,
                  .y = y};
  if (!j.places || !v->n) return;
  j.block = j.width < MICA_CHUNK ? MICA_CHUNK / j.width : 1;
  j.blocks = (j.positions + j.block - 1) / j.block;
  if (unfold)
    mica_parallel_for(c->engine, v->n * j.blocks, unfold_range, &j);
  else
    mica_parallel_for(c->engine, v->n, fold_range, &j);
}

static void unfold_backward(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  if (gx) run(c, c->ctx, false, c->grad_out[0].data, gx->data);
}

static void fold_backward(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  if (gx) run(c, c->ctx, true, c->grad_out[0].data, gx->data);
}

static const mica_op unfold_op = {sizeof(mica_op), "unfold", MICA_OP_BY_EXAMPLE, unfold_backward};
static const mica_op fold_op = {sizeof(mica_op), "fold", MICA_OP_BY_EXAMPLE, fold_backward};

/* The geometry of n images of `size`, c channels; false has failed the call. */
static bool plan(mica_call *c, const mica_unfold_options *given, int axes, int64_t n,
                 const int64_t *size, int64_t channels, unfold_context *o) {
  mica_unfold_options u = MICA_UNFOLD_OPTIONS;
  if (given) memcpy(&u, given, given->size < sizeof u ? given->size : sizeof u);
  const mica_dtype dtype = c->in[0].dtype;
  o->conv = (mica_convolution){
      .dtype = dtype, .compute = dtype, .n = n, .c = channels, .o = channels, .groups = 1};
  for (int i = 0; i < AXES; i++) {
    const int at = i - (AXES - axes);
    o->conv.size[i] = at < 0 ? 1 : size[at];
    o->conv.kernel[i] = at < 0 ? 1 : u.kernel[at];
    o->conv.stride[i] = at < 0 ? 1 : u.stride[at];
    o->conv.dilation[i] = at < 0 ? 1 : u.dilation[at];
    o->conv.before[i] = at < 0 ? 0 : u.pad[2 * at];
    o->conv.after[i] = at < 0 ? 0 : u.pad[2 * at + 1];
  }
  if (mica_convolution_output(&o->conv, o->out) != MICA_OK) {
    mica_call_fail(c, MICA_ERR_INVALID,
                   "kernel, stride and dilation must be 1 or more, padding 0 or more:");
    return false;
  }
  if (o->out[0] < 1 || o->out[1] < 1 || o->out[2] < 1) {
    mica_call_fail(c, MICA_ERR_SHAPE, "the kernel does not fit the padded input:");
    return false;
  }
  return true;
}

mica_var mica_unfold(mica_tape *t, mica_var x, const mica_unfold_options *options) {
  mica_call c;
  if (!mica_call_begin(&c, t, &unfold_op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  const int axes = v->shape.rank - 2;
  if (axes < 1 || axes > AXES || !mica_is_float(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "expected float [N,..,C] with one to three spatial axes:");
  unfold_context o;
  const int64_t channels = v->shape.dim[axes + 1];
  if (!plan(&c, options, axes, v->shape.dim[0], v->shape.dim + 1, channels, &o)) return MICA_NONE;
  mica_shape shape = {.rank = axes + 3};
  shape.dim[0] = v->shape.dim[0];
  for (int i = 0; i < axes; i++) shape.dim[1 + i] = o.out[AXES - axes + i];
  shape.dim[axes + 1] = mica_convolution_taps(&o.conv);
  shape.dim[axes + 2] = channels;
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  if (y) run(&c, &o, true, v->data, y->data);
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

mica_var mica_fold(mica_tape *t, mica_var patches, const int64_t *size,
                   const mica_unfold_options *options) {
  mica_call c;
  if (!mica_call_begin(&c, t, &fold_op, 1, &patches)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  const int axes = v->shape.rank - 3;
  if (axes < 1 || axes > AXES || !mica_is_float(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "expected float [N,..,taps,C] with one to three spatial axes:");
  unfold_context o;
  mica_shape shape = {.rank = axes + 2};
  const int64_t *d = v->shape.dim;
  shape.dim[0] = d[0];
  shape.dim[axes + 1] = d[axes + 2];
  for (int i = 0; i < axes; i++) shape.dim[1 + i] = size[i];
  if (!plan(&c, options, axes, d[0], size, d[axes + 2], &o)) return MICA_NONE;
  bool fits = mica_convolution_taps(&o.conv) == d[axes + 1];
  for (int i = 0; i < axes; i++) fits = fits && o.out[AXES - axes + i] == d[1 + i];
  char text[128];
  if (!fits)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "no patches of %s by this kernel:",
                          mica_shape_text(&shape, text, sizeof text));
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  if (y) run(&c, &o, false, v->data, y->data);
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}
