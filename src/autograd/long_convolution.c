/* Convolution along time with taps of each channel's own: by Fourier transforms, or, where there
 * are few taps, as any other convolution. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/fft.h"

#include <string.h>

static void long_convolution_backward(mica_call *c) {
  const mica_fft_convolution *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0), *gk = mica_call_grad(c, 1);
  if (!mica_ok(c->tape)) return;
  const mica_status status =
      mica_fft_convolve_grad(c->engine, o, c->in[0].data, c->in[1].data, c->grad_out[0].data,
                             gx ? gx->data : NULL, gk ? gk->data : NULL);
  if (status != MICA_OK) mica_call_fail(c, status, "%s", mica_last_error());
}

static const mica_op long_convolution_op = {sizeof(mica_op), "long_convolution", MICA_OP_BY_EXAMPLE,
                                            long_convolution_backward};

static mica_var by_transforms(mica_tape *t, mica_var x, mica_var k, bool circular) {
  mica_call c;
  if (!mica_call_begin(&c, t, &long_convolution_op, 2, (mica_var[]){x, k})) return MICA_NONE;
  mica_call_mixes(&c, 1);
  const int64_t *d = c.in[0].shape.dim;
  const mica_fft_convolution o = {c.in[0].dtype, circular, d[0], d[1], d[2], c.in[1].shape.dim[1]};
  const mica_view *y = mica_call_output(&c, c.in[0].dtype, c.in[0].shape);
  if (y) {
    const mica_status status = mica_fft_convolve(c.engine, &o, c.in[0].data, c.in[1].data, y->data);
    if (status != MICA_OK) return mica_call_fail(&c, status, "%s", mica_last_error());
  }
  mica_call_context(&c, &o, sizeof o);
  mica_call_save_input(&c, 0);
  mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

/* The same as a convolution with a group for each channel: its taps run the other way. */
static mica_var directly(mica_tape *t, mica_var x, mica_var k, bool circular) {
  const int64_t length = mica_dim(t, x, 1), channels = mica_dim(t, x, 2), taps = mica_dim(t, k, 1);
  mica_conv_options o = MICA_CONV_OPTIONS;
  o.groups = (int32_t)channels;
  if (circular)
    x = mica_concat(t, 2, (mica_var[]){mica_slice(t, x, 1, length - taps + 1, length), x}, 1);
  else
    o.pad[2] = (int32_t)(taps - 1);
  k = mica_reshape(t, mica_flip(t, k, 1), MICA_SHAPE(channels, taps, 1));
  return mica_conv1d(t, x, k, MICA_NONE, &o);
}

mica_var mica_long_convolution(mica_tape *t, mica_var x, mica_var k,
                               const mica_long_convolution_options *options) {
  mica_long_convolution_options w = MICA_LONG_CONVOLUTION_OPTIONS;
  if (options) memcpy(&w, options, options->size < sizeof w ? options->size : sizeof w);
  const mica_view vx = mica_read(t, x), vk = mica_read(t, k);
  char tx[128], tk[128];
  if (!mica_ok(t)) return MICA_NONE;
  mica_shape_text(&vx.shape, tx, sizeof tx);
  mica_shape_text(&vk.shape, tk, sizeof tk);
  if (!mica_is_float(&vx) || vx.dtype != vk.dtype || vx.shape.rank != 3 || vk.shape.rank != 2 ||
      vk.shape.dim[0] != vx.shape.dim[2])
    return mica_latch(t, MICA_ERR_SHAPE,
                      "long_convolution: %s and %s, expected [N,L,C] and taps [C,K] of one float "
                      "type",
                      tx, tk);
  const int64_t length = vx.shape.dim[1], taps = vk.shape.dim[1];
  if (w.circular && taps > length)
    return mica_latch(t, MICA_ERR_SHAPE,
                      "long_convolution: %lld taps go round a length of %lld more than once",
                      (long long)taps, (long long)length);
  /* What a convolution does not take (no taps, no channels) is no work here. */
  const bool direct = taps <= w.direct && taps > 0 && length > 0 && vx.shape.dim[0] > 0 &&
                      vx.shape.dim[2] > 0 && vx.shape.dim[2] <= INT32_MAX && taps <= INT32_MAX;
  mica_scope_begin(t, NULL);
  return mica_scope_end(t, direct ? directly(t, x, k, w.circular)
                                  : by_transforms(t, x, k, w.circular));
}
