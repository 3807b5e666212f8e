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
  return mica_examples_run(t, fn, ctx, n_in, in, at_once, visit, &v, NULL);
}

typedef struct squares {
  mica_engine *engine;
  const mica_view *gradient;
  double *norm;
} squares;

static double sum_of_squares(const mica_view *v, int64_t from, int64_t n) {
  double s[8] = {0};
  int64_t k = 0;
  if (v->dtype == MICA_F32) {
    const float *g = (const float *)v->data + from;
    for (; k + 8 <= n; k += 8)
      for (int j = 0; j < 8; j++) s[j] += (double)g[k + j] * (double)g[k + j];
  }
  for (; k < n; k++) {
    const double g = mica_view_element(v, from + k);
    s[k & 7] += g * g;
  }
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

static void squares_range(void *ctx, int64_t begin, int64_t end) {
  const squares *j = ctx;
  const int64_t each = mica_view_cols(j->gradient);
  for (int64_t i = begin; i < end; i++) j->norm[i] += sum_of_squares(j->gradient, i * each, each);
}

static mica_status add_squares(void *ctx, void *owner, int64_t first, int64_t n,
                               const mica_view *gradient) {
  squares job = *(const squares *)ctx;
  (void)owner;
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
      mica_examples_run(t, fn, ctx, n_in, in, at_once, add_squares, &all, norm);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) norm[i] = sqrt(norm[i]);
  return status;
}
