/* A convolution with the batch norm that follows it.
 *
 * In evaluation a norm is a gain and a shift of each channel, so it can go into the weights:
 * gain / sqrt(var + eps) into each filter, what is left into a bias. The weights so made are laid
 * out as the convolution reads them, once for all calls and threads, and kept beside the weight.
 */
#include <mica/nn.h>
#include <mica/op.h>

#include "autograd/tape.h"
#include "nn/batch_norm.h"
#include "param/derived.h"
#include "tensor/kernel/convolution.h"
#include "tensor/kernel/library.h"

#include <math.h>
#include <string.h>

/* The entries that go into the folded weights. */
enum { WEIGHT, CONV_BIAS, GAIN, BIAS, MEAN, VAR, ENTRIES };

/* A norm that was folded into the convolution's own weights has no entries left. */
static bool is_folded(const mica_node *norm) {
  return norm && mica_node_folded(norm);
}

typedef struct folding {
  const mica_engine *engine;
  mica_param *entry[ENTRIES]; /* CONV_BIAS may be NULL */
  mica_convolution conv;
  double eps;
} folding;

typedef struct folded {
  void *packed; /* NULL: nothing is gained for this geometry */
  float *bias;  /* [o] */
} folded;

static const float *values(const mica_param *q) {
  return q ? mica_tensor_data(mica_param_value(q)) : NULL;
}

static void folded_free(void *object) {
  folded *f = object;
  mica_free_aligned(f->packed);
  mica_free(f->bias);
  mica_free(f);
}

static mica_status fold(void *ctx, void **object) {
  const folding *g = ctx;
  const mica_convolution *v = &g->conv;
  const int64_t width = mica_convolution_taps(v) * (v->c / v->groups);
  const float *w = values(g->entry[WEIGHT]), *b = values(g->entry[CONV_BIAS]);
  folded *f = mica_calloc(1, sizeof *f);
  float *scaled = mica_malloc_aligned((size_t)(v->o * width) * sizeof *scaled);
  if (f) f->bias = mica_malloc((size_t)v->o * sizeof *f->bias);
  mica_status status = f && f->bias && scaled ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t o = 0; o < v->o && status == MICA_OK; o++) {
    const bool plain = !g->entry[VAR];
    const double gain =
        plain ? 1
              : (double)values(g->entry[GAIN])[o] / sqrt((double)values(g->entry[VAR])[o] + g->eps);
    for (int64_t i = 0; i < width; i++)
      scaled[o * width + i] = (float)(gain * (double)w[o * width + i]);
    const double own = b ? (double)b[o] : 0;
    f->bias[o] = (float)(plain ? own
                               : (double)values(g->entry[BIAS])[o] +
                                     gain * (own - (double)values(g->entry[MEAN])[o]));
  }
  if (status == MICA_OK) status = mica_convolution_pack(g->engine, v, scaled, &f->packed);
  mica_free_aligned(scaled);
  if (status == MICA_OK)
    *object = f;
  else if (f)
    folded_free(f);
  return status;
}

/* Everything that the folded weights depend on. */
static uint64_t key_of(const folding *g) {
  struct {
    const mica_param *entry[ENTRIES];
    uint64_t version[ENTRIES];
    mica_convolution conv;
    int64_t threads;
    double eps;
  } key;
  memset(&key, 0, sizeof key);
  for (int i = 0; i < ENTRIES; i++) {
    key.entry[i] = g->entry[i];
    key.version[i] = g->entry[i] ? mica_param_version(g->entry[i]) : 0;
  }
  key.conv = g->conv;
  key.eps = g->eps;
  key.threads = mica_library_threads(g->engine);
  return mica_hash64(&key, sizeof key, 0);
}

/* Is there something to fold, and are its shapes what they should be? Where not, the layers
 * themselves say what is wrong. */
static bool plan(mica_tape *t, mica_node *conv, mica_node *norm, const mica_conv_options *o,
                 mica_var x, mica_var residual, folding *g) {
  if (!mica_ok(t) || !conv || !norm || mica_is_training(t) || mica_is_recording(t) || t->relu_fn ||
      mica_taps_see(t, mica_node_name(conv)) || mica_taps_see(t, mica_node_name(norm)) ||
      mica_node_adapted(conv) || mica_compute(t) != MICA_F32 || o->size != sizeof *o)
    return false;
  memset(g, 0, sizeof *g);
  g->engine = mica_tape_engine(t);
  if (!mica_libraries_usable(g->engine)) return false;
  g->entry[WEIGHT] = mica_node_param(conv, "weight");
  g->entry[CONV_BIAS] = mica_node_param(conv, "bias");
  g->entry[GAIN] = mica_node_param(norm, "weight");
  g->entry[BIAS] = mica_node_param(norm, "bias");
  g->entry[MEAN] = mica_node_param(norm, "running_mean");
  g->entry[VAR] = mica_node_param(norm, "running_var");
  if (!g->entry[WEIGHT]) return false;
  const mica_view w = mica_tensor_view(mica_param_value(g->entry[WEIGHT])), in = mica_read(t, x);
  if (!in.data || in.shape.rank != 4 || w.shape.rank != 4 || in.dtype != MICA_F32 ||
      w.dtype != MICA_F32 || !mica_view_contiguous(&in) ||
      w.shape.dim[3] * o->groups != in.shape.dim[3])
    return false;
  for (int i = CONV_BIAS; i < ENTRIES; i++) {
    if ((i == CONV_BIAS || is_folded(norm)) && !g->entry[i]) continue;
    if (!g->entry[i]) return false;
    const mica_view v = mica_tensor_view(mica_param_value(g->entry[i]));
    if (v.dtype != MICA_F32 || mica_view_count(&v) != w.shape.dim[0]) return false;
  }
  g->conv.dtype = g->conv.compute = MICA_F32;
  g->conv.n = in.shape.dim[0];
  g->conv.c = in.shape.dim[3];
  g->conv.o = w.shape.dim[0];
  g->conv.groups = o->groups;
  g->conv.size[0] = g->conv.kernel[0] = g->conv.stride[0] = g->conv.dilation[0] = 1;
  for (int i = 0; i < 2; i++) {
    g->conv.size[1 + i] = in.shape.dim[1 + i];
    g->conv.kernel[1 + i] = w.shape.dim[1 + i];
    g->conv.stride[1 + i] = o->stride[i];
    g->conv.dilation[1 + i] = o->dilation[i];
    g->conv.before[1 + i] = o->pad[2 * i];
    g->conv.after[1 + i] = o->pad[2 * i + 1];
  }
  int64_t out[MICA_CONVOLUTION_AXES];
  if (mica_convolution_output(&g->conv, out) != MICA_OK || out[1] < 1 || out[2] < 1 || !g->conv.n ||
      !g->conv.o)
    return false;
  if (mica_is_none(residual)) return true;
  const mica_view r = mica_read(t, residual);
  return r.data && r.dtype == MICA_F32 && mica_view_contiguous(&r) && r.shape.rank == 4 &&
         r.shape.dim[0] == g->conv.n && r.shape.dim[1] == out[1] && r.shape.dim[2] == out[2] &&
         r.shape.dim[3] == g->conv.o;
}

static void no_backward(mica_call *c) {
  (void)c; /* it is never recorded */
}

static const mica_op folded_op = {sizeof(mica_op), "conv_norm", 0, no_backward};

/* *done false: nothing happened. */
static mica_var run(mica_tape *t, const folding *g, const folded *f, bool relu, mica_var x,
                    mica_var residual, bool *done) {
  mica_call c;
  int64_t out[MICA_CONVOLUTION_AXES];
  *done = true;
  if (!mica_call_begin_optional(&c, t, &folded_op, 2, (mica_var[]){x, residual}, 2))
    return MICA_NONE;
  mica_convolution_output(&g->conv, out);
  const mica_view *y =
      mica_call_output(&c, MICA_F32, MICA_SHAPE(g->conv.n, out[1], out[2], g->conv.o));
  if (y) {
    const mica_status status = mica_convolution_forward_packed(
        g->engine, &g->conv, c.in[0].data, f->packed, f->bias, c.in[1].data, relu, y->data, done);
    if (status != MICA_OK) return mica_call_fail(&c, status, "%s", mica_last_error());
  }
  return mica_call_end(&c);
}

/* In training the sum goes with the norm, unless somebody looks at the norm's result or replaces a
 * gradient in between. */
static bool adds_at_once(const mica_tape *t, const mica_node *norm) {
  return mica_ok(t) && norm && mica_is_training(t) && !t->relu_fn &&
         !mica_taps_see(t, mica_node_name(norm)) && !mica_overridden(t, "add") &&
         !mica_overridden(t, "batch_norm_train");
}

mica_var mica_nn_conv2d_norm(mica_tape *t, mica_node *conv, mica_node *norm,
                             const mica_conv_options *o, mica_activation act, mica_var x,
                             mica_var residual) {
  return mica_nn_conv2d_norm_with(t, conv, norm, o, NULL, act, x, residual);
}

mica_var mica_nn_conv2d_norm_with(mica_tape *t, mica_node *conv, mica_node *norm,
                                  const mica_conv_options *o, const mica_norm_options *given,
                                  mica_activation act, mica_var x, mica_var residual) {
  const mica_norm_options n = mica_norm_options_of(given);
  folding g;
  if (t && t->pair_fn && mica_ok(t)) t->pair_fn(t->pair_ctx, conv, norm, n.eps);
  if (plan(t, conv, norm, o, x, residual, &g)) {
    g.eps = n.eps;
    mica_derived *held = NULL;
    const mica_status status =
        mica_derived_hold(g.entry[WEIGHT], key_of(&g), fold, &g, folded_free, &held);
    if (status != MICA_OK)
      return mica_latch(t, status, "%s: %s", mica_node_path(conv), mica_last_error());
    const folded *f = held->object;
    bool done = false;
    mica_var y = MICA_NONE;
    if (f->packed) {
      y = run(t, &g, f, act == MICA_RELU, x, residual, &done);
      if (done && act != MICA_RELU) y = mica_activate(t, act, y);
    }
    mica_derived_release(g.entry[WEIGHT], held);
    if (done) return y;
    if (!mica_is_none(y)) mica_release(t, y);
  }
  mica_var y = mica_nn_conv2d(t, conv, o, x);
  if (is_folded(norm)) {
    if (!mica_is_none(residual)) y = mica_replace(t, y, mica_add(t, y, residual));
    return act == MICA_IDENTITY ? y : mica_replace(t, y, mica_activate(t, act, y));
  }
  if (mica_is_none(residual))
    return mica_replace(t, y, mica_nn_batch_norm_with(t, norm, &n, act, y));
  if (adds_at_once(t, norm))
    return mica_replace(t, y, mica_nn_batch_norm_add(t, norm, &n, act, y, residual));
  y = mica_replace(t, y, mica_nn_batch_norm_with(t, norm, &n, MICA_IDENTITY, y));
  return mica_replace(t, y, mica_activate(t, act, mica_add(t, y, residual)));
}
