/* Other ways back: guided ReLU, deconvnet, excitation backprop, as replaced backwards of
 * operations.
 *
 * Excitation backprop hands a probability P_j at each output to the inputs in proportion to what
 * excites it, P_i = sum_j x_i w+_ij P_j / z_j with z_j = sum_i x_i w+_ij, w+ the positive weights
 * and x the inputs' positive part. ReLU and norms pass it on; max pools give it to the largest.
 */
#include "explain/rules.h"

#include "autograd/convolution.h"

#include <mica/op.h>

#include <math.h>
#include <string.h>

/* ---- ReLU ---- */

static void relu_guided(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  const float *gy = c->grad_out[0].data, *y = c->out[0].data;
  for (int64_t i = 0, n = gx ? mica_view_count(gx) : 0; i < n; i++)
    ((float *)gx->data)[i] = y[i] > 0 && gy[i] > 0 ? gy[i] : 0;
}

static void relu_deconvnet(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  const float *gy = c->grad_out[0].data;
  for (int64_t i = 0, n = gx ? mica_view_count(gx) : 0; i < n; i++)
    ((float *)gx->data)[i] = gy[i] > 0 ? gy[i] : 0;
}

static void pass(mica_call *c) {
  mica_call_grad_pass(c, 0, 0);
}

/* ---- excitation ---- */

static float positive(float v) {
  return v > 0 ? v : 0;
}

/* gy / z where z is positive, into ratio. */
static void divide(const float *gy, const float *z, int64_t n, float *ratio) {
  for (int64_t i = 0; i < n; i++) ratio[i] = z[i] > 0 ? gy[i] / z[i] : 0;
}

static void conv_excitation(mica_call *c) {
  const mica_conv_context *o = c->ctx;
  const float *x = c->in[0].data, *w = c->in[1].data, *gy = c->grad_out[0].data;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  if (o->transposed || o->conv.dtype != MICA_F32) {
    mica_latch(c->tape, MICA_ERR_UNSUPPORTED,
               "excitation backprop does not go through transposed convolutions");
    return;
  }
  const int64_t n = mica_view_count(gx), k = mica_view_count(&c->in[1]);
  const int64_t m = mica_view_count(&c->grad_out[0]);
  float *xp = mica_call_scratch(c, (size_t)n * sizeof *xp),
        *wp = mica_call_scratch(c, (size_t)k * sizeof *wp);
  float *z = mica_call_scratch(c, (size_t)m * sizeof *z);
  if (!xp || !wp || !z) return;
  mica_convolution conv = o->conv;
  conv.compute = MICA_F32;
  for (int64_t i = 0; i < n; i++) xp[i] = positive(x[i]);
  for (int64_t i = 0; i < k; i++) wp[i] = positive(w[i]);
  mica_status status = mica_convolution_forward(c->engine, &conv, xp, wp, NULL, NULL, false, z);
  divide(gy, z, m, z);
  if (status == MICA_OK)
    status = mica_convolution_backward_data(c->engine, &conv, z, wp, NULL, gx->data);
  for (int64_t i = 0; i < n; i++) ((float *)gx->data)[i] *= xp[i];
  if (status != MICA_OK) mica_latch(c->tape, status, "excitation: %s", mica_last_error());
}

static void linear_excitation(mica_call *c) {
  const mica_view *xv = &c->in[0];
  const float *w = c->in[1].data, *gy = c->grad_out[0].data;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  const int64_t o = c->in[1].shape.dim[0], d = c->in[1].shape.dim[1];
  const int64_t rows = mica_view_rows(xv);
  for (int64_t r = 0; r < rows; r++) {
    const float *x = (const float *)xv->data + r * xv->row_stride;
    float *to = (float *)gx->data + r * d;
    memset(to, 0, (size_t)d * sizeof *to);
    for (int64_t j = 0; j < o; j++) {
      double z = 0;
      if (gy[r * o + j] == 0) continue;
      for (int64_t i = 0; i < d; i++) z += (double)positive(x[i]) * (double)positive(w[j * d + i]);
      for (int64_t i = 0; i < d && z > 0; i++)
        to[i] += (float)((double)positive(x[i]) * (double)positive(w[j * d + i]) *
                         (double)gy[r * o + j] / z);
    }
  }
}

/* The mean over the middle axis of [N,P,C], as global pooling takes it. */
static void mean_excitation(mica_call *c) {
  const mica_view *x = &c->in[0];
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  if (x->shape.rank != 3 || mica_view_count(&c->grad_out[0]) != x->shape.dim[0] * x->shape.dim[2]) {
    mica_latch(c->tape, MICA_ERR_UNSUPPORTED,
               "excitation backprop goes through global average pooling, not through other means");
    return;
  }
  const int64_t n = x->shape.dim[0], p = x->shape.dim[1], ch = x->shape.dim[2];
  const float *from = x->data, *gy = c->grad_out[0].data;
  float *to = gx->data;
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < ch; k++) {
      double z = 0;
      for (int64_t u = 0; u < p; u++) z += (double)positive(from[(i * p + u) * ch + k]);
      for (int64_t u = 0; u < p; u++)
        to[(i * p + u) * ch + k] =
            z > 0
                ? (float)((double)positive(from[(i * p + u) * ch + k]) * (double)gy[i * ch + k] / z)
                : 0;
    }
}

/* A sum of two of the same shape. */
static void add_excitation(mica_call *c) {
  const float *a = c->in[0].data, *b = c->in[1].data, *gy = c->grad_out[0].data;
  mica_view *ga = mica_call_grad(c, 0), *gb = mica_call_grad(c, 1);
  const int64_t n = mica_view_count(&c->grad_out[0]);
  if ((ga && mica_view_count(ga) != n) || (gb && mica_view_count(gb) != n) || !a || !b) {
    mica_latch(c->tape, MICA_ERR_UNSUPPORTED,
               "excitation backprop goes through sums of two of the same shape");
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    const float pa = positive(a[i]), pb = positive(b[i]), z = pa + pb;
    if (ga) ((float *)ga->data)[i] = z > 0 ? gy[i] * pa / z : 0;
    if (gb) ((float *)gb->data)[i] = z > 0 ? gy[i] * pb / z : 0;
  }
}

static void unknown(mica_call *c) {
  mica_latch(c->tape, MICA_ERR_UNSUPPORTED, "excitation backprop does not go through %s",
             c->op->name);
}

/* ---- rules ---- */

typedef struct replaced {
  const char *name;
  mica_op op;
} replaced;

#define REPLACED(name_, flags_, backward_)                                                         \
  {                                                                                                \
    name_, {                                                                                       \
      sizeof(mica_op), name_, flags_, backward_                                                    \
    }                                                                                              \
  }

static const replaced guided[] = {REPLACED("relu", MICA_OP_SAVES_ALL, relu_guided)};
static const replaced deconvnet[] = {REPLACED("relu", 0, relu_deconvnet)};
static const replaced excitation[] = {
    REPLACED("relu", 0, pass),
    REPLACED("batch_norm", 0, pass),
    REPLACED("layer_norm", 0, pass),
    REPLACED("conv", MICA_OP_SAVES_ALL, conv_excitation),
    REPLACED("linear", MICA_OP_SAVES_ALL | MICA_OP_ROW_STRIDES, linear_excitation),
    REPLACED("mean", MICA_OP_SAVES_ALL, mean_excitation),
    REPLACED("add", MICA_OP_SAVES_ALL, add_excitation),
    REPLACED("avg_pool", 0, unknown),
    REPLACED("adaptive_avg_pool", 0, unknown),
    REPLACED("attention", 0, unknown)};

static mica_status replace_all(mica_tape *t, const replaced *list, size_t n) {
  mica_status status = MICA_OK;
  for (size_t i = 0; i < n && status == MICA_OK; i++)
    status = mica_override_backward(t, list[i].name, &list[i].op);
  return status;
}

mica_status mica_explain_rule(mica_tape *t, mica_relu_rule rule) {
  switch (rule) {
  case MICA_RELU_GUIDED: return replace_all(t, guided, sizeof guided / sizeof *guided);
  case MICA_RELU_DECONVNET: return replace_all(t, deconvnet, sizeof deconvnet / sizeof *deconvnet);
  case MICA_RELU_EXCITATION:
    return replace_all(t, excitation, sizeof excitation / sizeof *excitation);
  default: return MICA_OK;
  }
}

mica_status mica_explain_copy(const mica_net *net, mica_net **out) {
  char *text = mica_net_text(net);
  mica_net *own = NULL;
  mica_status status = text ? mica_net_create(mica_params_engine(mica_net_params(net)), text,
                                              mica_net_problem(net), MICA_SEED_NONE, &own)
                            : MICA_ERR_MEMORY;
  mica_free(text);
  if (status == MICA_OK) status = mica_params_copy(mica_net_params(own), mica_net_params(net));
  if (status == MICA_OK) {
    mica_params_flag(mica_net_params(own), "*", 0, MICA_PARAM_TRAINABLE);
    *out = own;
  } else {
    mica_net_free(own);
  }
  return status;
}
