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

typedef struct squares {
  mica_engine *engine;
  const mica_view *gradient;
  double *norm;
} squares;

static void squares_range(void *ctx, int64_t begin, int64_t end) {
  const squares *j = ctx;
  const int64_t each = mica_view_cols(j->gradient);
  for (int64_t i = begin; i < end; i++) {
    double s[4] = {0, 0, 0, 0};
    for (int64_t k = 0; k < each; k++) {
      const double g = mica_view_element(j->gradient, i * each + k);
      s[k & 3] += g * g;
    }
    j->norm[i] += s[0] + s[1] + s[2] + s[3];
  }
}

static mica_status add_squares(void *ctx, mica_param *q, int64_t first, int64_t n,
                               const mica_view *gradient) {
  squares job = *(const squares *)ctx;
  (void)q;
  job.gradient = gradient;
  job.norm += first;
  mica_parallel_for(job.engine, n, squares_range, &job);
  return MICA_OK;
}

mica_status mica_example_gradient_norms(mica_tape *t, mica_fn fn, void *ctx, int n_in,
                                        const mica_var *in, int64_t at_once, double *norm) {
  const int64_t n = n_in > 0 ? mica_dim(t, in[0], 0) : 0;
  if (mica_ok(t) && n) memset(norm, 0, (size_t)n * sizeof *norm);
  squares all = {mica_tape_engine(t), NULL, norm};
  const mica_status status =
      mica_example_gradients(t, fn, ctx, n_in, in, at_once, add_squares, &all);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) norm[i] = sqrt(norm[i]);
  return status;
}
