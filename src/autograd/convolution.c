/* Convolution of lines, images and volumes, channels last, and the transposed forms, which are its
 * backward_data. */
#include "autograd/convolution.h"
#include "autograd/ranges.h"
#include "autograd/tape.h"

#include <mica/ops.h>

#include <string.h>

/* Gradients of weights and bias from `conv->n` images of x and gy; gw and gb may be NULL. */
static mica_status weight_gradients(mica_call *c, const mica_conv_context *o,
                                    const mica_convolution *conv, const void *x, const void *gy,
                                    void *gw, void *gb) {
  const mica_view *g = &c->grad_out[0];
  const int64_t channels = mica_view_cols(g);
  mica_status status = MICA_OK;
  if (gw && o->transposed)
    status = mica_convolution_backward_weights(c->engine, conv, gy, x, gw, NULL);
  else if (gw)
    status = mica_convolution_backward_weights(c->engine, conv, x, gy, gw, gb);
  const int64_t rows = o->conv.n ? mica_view_rows(g) / o->conv.n * conv->n : 0;
  if (status == MICA_OK && gb && (!gw || o->transposed))
    mica_sum_axis(c, g->dtype, 1, rows, channels, 1, gy, gb);
  return status;
}

/* The same for the images of each example. */
static mica_status example_gradients(mica_call *c, const mica_conv_context *o, int64_t examples) {
  mica_convolution conv = o->conv;
  mica_view *gw = mica_call_grad_examples(c, 1), *gb = mica_call_grad_examples(c, 2);
  const size_t size = mica_dtype_size(c->grad_out[0].dtype);
  const size_t x_part = (size_t)(mica_view_count(&c->in[0]) / examples) * size;
  const size_t y_part = (size_t)(mica_view_count(&c->grad_out[0]) / examples) * size;
  mica_status status = MICA_OK;
  conv.n /= examples;
  for (int64_t e = 0; e < examples && (gw || gb) && status == MICA_OK; e++) {
    const char *x = c->in[0].data, *gy = (const char *)c->grad_out[0].data + (size_t)e * y_part;
    char *w = gw ? (char *)gw->data + (size_t)(e * mica_view_cols(gw)) * size : NULL;
    char *b = gb ? (char *)gb->data + (size_t)(e * mica_view_cols(gb)) * size : NULL;
    status = weight_gradients(c, o, &conv, x ? x + (size_t)e * x_part : NULL, gy, w, b);
  }
  return status;
}

/* Backward of y = conv(x, w) + b, and of the transposed y = conv_data(x, w) + b, where x plays the
 * part of the result and y that of the input. */
static void conv_backward(mica_call *c) {
  const mica_conv_context *o = c->ctx;
  const mica_convolution *conv = &o->conv;
  const void *gy = c->grad_out[0].data, *w = c->in[1].data;
  const int64_t examples = mica_call_examples(c);
  mica_status status = MICA_OK;
  bool added = false;
  void *sum = o->transposed ? NULL : mica_call_grad_sum(c, 0);
  if (sum) status = mica_convolution_add_data(c->engine, conv, gy, w, sum, &added);
  mica_view *gx = added || status != MICA_OK ? NULL : mica_call_grad(c, 0);
  if (gx && !o->transposed)
    status = mica_convolution_backward_data(c->engine, conv, gy, w, NULL, gx->data);
  else if (gx)
    status = mica_convolution_forward(c->engine, conv, gy, w, NULL, NULL, false, gx->data);
  if (status == MICA_OK && examples) {
    status = example_gradients(c, o, examples);
  } else if (status == MICA_OK) {
    mica_view *gw = mica_call_grad(c, 1), *gb = mica_call_grad(c, 2);
    status =
        weight_gradients(c, o, conv, c->in[0].data, gy, gw ? gw->data : NULL, gb ? gb->data : NULL);
  }
  if (status != MICA_OK)
    mica_latch(c->tape, status, "%s backward: %s", c->op->name, mica_last_error());
}

static const mica_op conv_op = {sizeof(mica_op), "conv", MICA_OP_BY_EXAMPLE | MICA_OP_CLOSED_FORM,
                                conv_backward};
static const mica_op conv_transpose_op = {sizeof(mica_op), "conv_transpose",
                                          MICA_OP_BY_EXAMPLE | MICA_OP_CLOSED_FORM, conv_backward};

/* ---- both forms, one to three axes: the last of each array count ---- */

enum { AXES = MICA_CONVOLUTION_AXES };

typedef struct settings {
  int32_t stride[AXES], dilation[AXES], before[AXES], after[AXES], output_pad[AXES];
  int32_t groups;
} settings;

/* Options of `axes` axes, of which the last `used` count. */
static settings settings_of(int axes, int used, const int32_t *stride, const int32_t *dilation,
                            const int32_t *pad, const int32_t *output_pad, int32_t groups) {
  settings s = {.groups = groups};
  for (int i = 0; i < AXES; i++) {
    const int from = i - (AXES - axes);
    s.stride[i] = s.dilation[i] = 1;
    if (i < AXES - used) continue;
    s.stride[i] = stride[from];
    s.dilation[i] = dilation[from];
    s.before[i] = pad[2 * from];
    s.after[i] = pad[2 * from + 1];
    s.output_pad[i] = output_pad[from];
  }
  return s;
}

static bool in_range(const settings *s) {
  bool fine = s->groups >= 1;
  for (int i = 0; i < AXES; i++)
    fine =
        fine && s->stride[i] >= 1 && s->dilation[i] >= 1 && s->before[i] >= 0 && s->after[i] >= 0;
  return fine;
}

static mica_var convolve(mica_tape *t, mica_var x, mica_var w, mica_var bias, const settings *o,
                         bool transposed, int used) {
  const int rank = used + 2, first = AXES - used;
  mica_call c;
  if (!mica_call_begin_optional(&c, t, transposed ? &conv_transpose_op : &conv_op, 3,
                                (mica_var[]){x, w, bias}, 4))
    return MICA_NONE;
  const mica_view *xv = &c.in[0], *wv = &c.in[1], *bv = &c.in[2];
  if (xv->shape.rank != rank || wv->shape.rank != rank)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected an input and a weight of rank %d:", rank);
  if (xv->dtype != wv->dtype || (xv->dtype != MICA_F32 && xv->dtype != MICA_F64) ||
      (bv->data && bv->dtype != xv->dtype))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%s input and %s weight, expected the same float type:",
                          mica_dtype_name(xv->dtype), mica_dtype_name(wv->dtype));
  if (!in_range(o))
    return mica_call_fail(&c, MICA_ERR_INVALID,
                          "stride, dilation and groups must be 1 or more, padding 0 or more:");
  const int64_t *xd = xv->shape.dim, *wd = wv->shape.dim, channels = xd[rank - 1];
  if (!transposed && wd[rank - 1] * o->groups != channels)
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "the input has %lld channels, the weight reads %lld in %d groups:",
                          (long long)channels, (long long)wd[rank - 1], o->groups);
  if (transposed && wd[0] != channels)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "the input has %lld channels, the weight reads %lld:",
                          (long long)channels, (long long)wd[0]);
  const int64_t out_c = transposed ? wd[rank - 1] * o->groups : wd[0];
  mica_convolution conv = {.dtype = xv->dtype,
                           .compute = xv->dtype == MICA_F32 ? mica_compute(t) : xv->dtype,
                           .n = xd[0],
                           .c = transposed ? out_c : channels,
                           .o = transposed ? channels : out_c,
                           .groups = o->groups};
  for (int i = 0; i < AXES; i++) {
    const int64_t size = i < first ? 1 : xd[1 + i - first];
    const int32_t stride = o->stride[i], dilation = o->dilation[i], more = o->output_pad[i];
    conv.kernel[i] = i < first ? 1 : wd[1 + i - first];
    conv.stride[i] = stride;
    conv.dilation[i] = dilation;
    conv.before[i] = o->before[i];
    conv.after[i] = o->after[i];
    conv.size[i] = size;
    if (!transposed) continue;
    if (more < 0 || (more && more >= (stride > dilation ? stride : dilation)))
      return mica_call_fail(&c, MICA_ERR_INVALID,
                            "output_pad must be below the stride or the dilation:");
    conv.size[i] = (size - 1) * stride - o->before[i] - o->after[i] +
                   dilation * (conv.kernel[i] - 1) + more + 1;
  }
  int64_t out[AXES];
  mica_status status = mica_convolution_output(&conv, out);
  if (status != MICA_OK) return mica_call_fail(&c, status, "%s:", mica_last_error());
  mica_shape shape = {.rank = rank};
  shape.dim[0] = xd[0];
  shape.dim[rank - 1] = out_c;
  for (int i = first; i < AXES; i++) {
    if (transposed && out[i] != xd[1 + i - first])
      return mica_call_fail(&c, MICA_ERR_SHAPE, "no convolution has this result:");
    if (!transposed && out[i] < 1)
      return mica_call_fail(&c, MICA_ERR_SHAPE, "the kernel does not fit the padded input:");
    shape.dim[1 + i - first] = transposed ? conv.size[i] : out[i];
  }
  if (bv->data && (bv->shape.rank != 1 || bv->shape.dim[0] != out_c))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "the bias must be [%lld]:", (long long)out_c);
  const mica_view *y = mica_call_output(&c, xv->dtype, shape);
  if (y && mica_view_count(y)) {
    status = transposed ? mica_convolution_backward_data(c.engine, &conv, xv->data, wv->data,
                                                         bv->data, y->data)
                        : mica_convolution_forward(c.engine, &conv, xv->data, wv->data, bv->data,
                                                   NULL, false, y->data);
    if (status != MICA_OK) return mica_call_fail(&c, status, "%s", mica_last_error());
  }
  mica_call_mixes(&c, 1);
  mica_call_mixes(&c, 2);
  const mica_conv_context context = {conv, transposed};
  mica_call_context(&c, &context, sizeof context);
  if (mica_call_needs_grad(&c, 1)) mica_call_save_input(&c, 0);
  if (mica_call_needs_grad(&c, 0)) mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

static mica_var flat(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                     const mica_conv_options *given, bool transposed, int used) {
  mica_conv_options o = MICA_CONV_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  const settings s = settings_of(2, used, o.stride, o.dilation, o.pad, o.output_pad, o.groups);
  return convolve(t, x, w, bias, &s, transposed, used);
}

static mica_var deep(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                     const mica_conv3d_options *given, bool transposed) {
  mica_conv3d_options o = MICA_CONV3D_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  const settings s = settings_of(3, 3, o.stride, o.dilation, o.pad, o.output_pad, o.groups);
  return convolve(t, x, w, bias, &s, transposed, 3);
}

mica_var mica_conv1d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                     const mica_conv_options *o) {
  return flat(t, x, w, bias, o, false, 1);
}
mica_var mica_conv2d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                     const mica_conv_options *o) {
  return flat(t, x, w, bias, o, false, 2);
}
mica_var mica_conv3d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                     const mica_conv3d_options *o) {
  return deep(t, x, w, bias, o, false);
}
mica_var mica_conv_transpose1d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                               const mica_conv_options *o) {
  return flat(t, x, w, bias, o, true, 1);
}
mica_var mica_conv_transpose2d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                               const mica_conv_options *o) {
  return flat(t, x, w, bias, o, true, 2);
}
mica_var mica_conv_transpose3d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                               const mica_conv3d_options *o) {
  return deep(t, x, w, bias, o, true);
}
