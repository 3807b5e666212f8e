/* Gradients for each example, by parameter. The work is the tape's. */
#include <mica/param.h>

#include "autograd/sink.h"
#include "tensor/element.h"

#include <math.h>
#include <string.h>

typedef struct visitor {
  mica_example_fn fn;
  void *ctx;
} visitor;

static mica_status visit(void *ctx, void *owner, int64_t first, int64_t n,
                         const mica_view *gradient) {
  const visitor *v = ctx;
  return v->fn(v->ctx, owner, first, n, gradient);
}

mica_status mica_example_gradients(mica_tape *t, mica_fn fn, void *ctx, int n_in,
                                   const mica_var *in, int64_t at_once, mica_example_fn given,
                                   void *visit_ctx) {
  visitor v = {given, visit_ctx};
  return mica_examples_run(t, fn, ctx, n_in, in, at_once, visit, &v);
}

static mica_status add_squares(void *ctx, mica_param *q, int64_t first, int64_t n,
                               const mica_view *gradient) {
  double *norm = (double *)ctx + first;
  const int64_t each = mica_view_cols(gradient);
  (void)q;
  for (int64_t i = 0; i < n; i++) {
    double s = 0;
    for (int64_t k = i * each; k < (i + 1) * each; k++) {
      const double g = mica_view_element(gradient, k);
      s += g * g;
    }
    norm[i] += s;
  }
  return MICA_OK;
}

mica_status mica_example_gradient_norms(mica_tape *t, mica_fn fn, void *ctx, int n_in,
                                        const mica_var *in, int64_t at_once, double *norm) {
  const int64_t n = n_in > 0 ? mica_dim(t, in[0], 0) : 0;
  if (mica_ok(t) && n) memset(norm, 0, (size_t)n * sizeof *norm);
  const mica_status status =
      mica_example_gradients(t, fn, ctx, n_in, in, at_once, add_squares, norm);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) norm[i] = sqrt(norm[i]);
  return status;
}
