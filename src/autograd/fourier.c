/* Discrete Fourier transforms.
 *
 * The transform is symmetric, so its adjoint is the transform with the other sign in the exponent
 * and the same factor. Half spectra: a pair that stands for two places counts twice on the way from
 * a spectrum to real numbers, so the gradient of real input goes back by half of it, and that of a
 * half spectrum by twice the transform.
 */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/fft.h"

#include <math.h>

typedef struct fourier_context {
  mica_fft_args back; /* what backward runs */
} fourier_context;

static double scale_of(mica_fft_norm norm, bool inverse, int64_t n) {
  if (norm == MICA_FFT_ORTHO) return 1 / sqrt((double)n);
  return (norm == MICA_FFT_FORWARD) == inverse ? 1 : 1 / (double)n;
}

static void fourier_backward(mica_call *c) {
  const fourier_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  const mica_status status = mica_fft_run(c->engine, &o->back, c->grad_out[0].data, gx->data);
  if (status != MICA_OK) mica_call_fail(c, status, "%s", mica_last_error());
}

static const mica_op fft_op = {sizeof(mica_op), "fft", MICA_OP_BY_EXAMPLE, fourier_backward};
static const mica_op ifft_op = {sizeof(mica_op), "ifft", MICA_OP_BY_EXAMPLE, fourier_backward};
static const mica_op rfft_op = {sizeof(mica_op), "rfft", MICA_OP_BY_EXAMPLE, fourier_backward};
static const mica_op irfft_op = {sizeof(mica_op), "irfft", MICA_OP_BY_EXAMPLE, fourier_backward};

/* n: of the real result of an inverse real transform. */
static mica_var transform(mica_tape *t, const mica_op *op, mica_var x, int axis, int64_t n,
                          mica_fft_norm norm) {
  mica_call c;
  int at;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  const bool from_pairs = op != &rfft_op, to_pairs = op != &irfft_op;
  const bool inverse = op == &ifft_op || op == &irfft_op;
  mica_shape shape = v->shape; /* without the pairs */
  if (!mica_is_float(v)) return mica_call_fail(&c, MICA_ERR_SHAPE, "expected float32 or float64:");
  if (norm != MICA_FFT_BACKWARD && norm != MICA_FFT_ORTHO && norm != MICA_FFT_FORWARD)
    return mica_call_fail(&c, MICA_ERR_INVALID, "there is no normalisation %d:", (int)norm);
  if (from_pairs && (shape.rank < 2 || shape.dim[--shape.rank] != 2))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected complex numbers [..,2]:");
  if (!mica_axis(&shape, axis, &at))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "there is no axis %d:", axis);
  if (to_pairs && shape.rank == MICA_MAX_RANK)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "no room for another dimension:");
  if (op != &irfft_op) n = shape.dim[at];
  if (n < 1)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "no transform of length %lld:", (long long)n);
  if (op == &irfft_op && shape.dim[at] != n / 2 + 1)
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "length %lld has a half spectrum of %lld:", (long long)n,
                          (long long)(n / 2 + 1));
  if (at == 0) mica_call_mixes(&c, 0);
  mica_fft_args a = {.dtype = v->dtype,
                     .kind = op == &rfft_op    ? MICA_FFT_REAL
                             : op == &irfft_op ? MICA_FFT_HALF
                                               : MICA_FFT_COMPLEX,
                     .inverse = inverse,
                     .n = n,
                     .scale = scale_of(norm, inverse, n),
                     .inner_scale = 1};
  int64_t length;
  mica_around(&shape, at, &a.outer, &length, &a.inner);
  shape.dim[at] = op == &rfft_op ? n / 2 + 1 : n;
  if (to_pairs) shape.dim[shape.rank++] = 2;
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  if (y) {
    const mica_status status = mica_fft_run(c.engine, &a, v->data, y->data);
    if (status != MICA_OK) return mica_call_fail(&c, status, "%s", mica_last_error());
  }
  fourier_context o = {a};
  o.back.inverse = !inverse;
  if (op == &rfft_op) o.back.kind = MICA_FFT_HALF, o.back.inner_scale = 0.5;
  if (op == &irfft_op) o.back.kind = MICA_FFT_REAL, o.back.inner_scale = 2;
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

mica_var mica_fft(mica_tape *t, mica_var x, int axis, mica_fft_norm norm) {
  return transform(t, &fft_op, x, axis, 0, norm);
}
mica_var mica_ifft(mica_tape *t, mica_var x, int axis, mica_fft_norm norm) {
  return transform(t, &ifft_op, x, axis, 0, norm);
}
mica_var mica_rfft(mica_tape *t, mica_var x, int axis, mica_fft_norm norm) {
  return transform(t, &rfft_op, x, axis, 0, norm);
}
mica_var mica_irfft(mica_tape *t, mica_var x, int axis, int64_t n, mica_fft_norm norm) {
  return transform(t, &irfft_op, x, axis, n, norm);
}

mica_var mica_rfft2(mica_tape *t, mica_var x, mica_fft_norm norm) {
  if (mica_rank(t, x) != 4) return mica_latch(t, MICA_ERR_SHAPE, "rfft2: expected [N,H,W,C]");
  mica_scope_begin(t, NULL);
  return mica_scope_end(t, mica_fft(t, mica_rfft(t, x, 2, norm), 1, norm));
}
mica_var mica_irfft2(mica_tape *t, mica_var x, int64_t width, mica_fft_norm norm) {
  if (mica_rank(t, x) != 5) return mica_latch(t, MICA_ERR_SHAPE, "irfft2: expected [N,H,W,C,2]");
  mica_scope_begin(t, NULL);
  return mica_scope_end(t, mica_irfft(t, mica_ifft(t, x, 1, norm), 2, width, norm));
}
