/* Margins on the cosine of an example and its own class: one value for each example, so arithmetic
 * is plain float64 and the slope is kept from forward. */
#include <mica/op.h>
#include <mica/ops.h>

#include "tensor/element.h"

#include <math.h>

/* Where a slope would be infinite, sines are held at this. */
#define SINE_LEAST 1e-6

/* cos(angle + m) and its slope over the cosine. */
static double arc(double c, double m, double *slope) {
  const double sine = sqrt(fmax(0, 1 - c * c));
  *slope = cos(m) + sin(m) * c / fmax(sine, SINE_LEAST);
  return c * cos(m) - sine * sin(m);
}

/* (-1)^k cos(m angle) - 2 k in the k-th piece of [0, pi] cut into pieces of pi / m: falls
 * throughout (Liu et al. 2017). */
static double sphere(double c, double m, double *slope) {
  const double angle = acos(c), pi = acos(-1), sine = sqrt(fmax(0, 1 - c * c));
  const double k = fmin(floor(m * angle / pi), ceil(m) - 1), sign = fmod(k, 2) == 0 ? 1 : -1;
  /* sin(m x) / sin(x) is m at 0 and m up to its sign at pi. */
  *slope = sign * m * (sine > SINE_LEAST ? sin(m * angle) / sine : c > 0 ? m : m * sign);
  return sign * cos(m * angle) - 2 * k;
}

static double value(mica_margin kind, double given, double m, double *slope) {
  const double c = fmin(1, fmax(-1, given));
  *slope = 1;
  switch (kind) {
  case MICA_MARGIN_COSINE: return c - m;
  case MICA_MARGIN_ARC: return c >= -cos(m) ? arc(c, m, slope) : c;
  case MICA_MARGIN_ARC_FALLING: return c > -cos(m) ? arc(c, m, slope) : c - m * sin(m);
  case MICA_MARGIN_SPHERE: return sphere(c, m, slope);
  default: return c;
  }
}

static void backward(mica_call *c) {
  const double *slope = c->saved[0];
  mica_view *gx = mica_call_grad(c, 0);
  for (int64_t i = 0, n = gx ? mica_view_count(gx) : 0; i < n; i++)
    mica_view_put(gx, i, slope[i] * mica_view_element(&c->grad_out[0], i));
}

static const mica_op op = {sizeof(mica_op), "cosine_margin", MICA_OP_BY_EXAMPLE, backward};

mica_var mica_cosine_margin(mica_tape *t, mica_var cosine, mica_margin kind, double margin) {
  mica_call c;
  if (!mica_call_begin(&c, t, &op, 1, &cosine)) return MICA_NONE;
  const mica_view *x = &c.in[0];
  if (x->dtype != MICA_F32 && x->dtype != MICA_F64)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected float cosines:");
  if ((unsigned)kind > MICA_MARGIN_SPHERE || !(margin >= 0) || margin > 10 ||
      (kind == MICA_MARGIN_SPHERE && margin < 1))
    return mica_call_fail(
        &c, MICA_ERR_INVALID,
        "margin %g of kind %d, expected 0 to 10, and 1 or more as a factor:", margin, (int)kind);
  const mica_view *y = mica_call_output(&c, x->dtype, x->shape);
  double *slope = mica_call_saved(&c, (size_t)mica_view_count(x) * sizeof *slope);
  for (int64_t i = 0, n = y && slope ? mica_view_count(x) : 0; i < n; i++)
    mica_view_put(y, i, value(kind, mica_view_element(x, i), margin, &slope[i]));
  return mica_call_end(&c);
}
