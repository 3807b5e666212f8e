/* grassmann-classes: the head with its loss, gradients and Riemannian gradient; trajectories of the
 * update rule rsgd under given gradients, elementwise and as projectors. */
#include "adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Subspaces [classes dim, in] of the file as [classes, dim, in]. */
static mica_param *subspaces(golden *g, const char *name, int64_t dim, mica_params **params) {
  const mica_view given = golden_view(g, name, MICA_F32);
  const int64_t rows = given.shape.dim[0], in = given.shape.dim[1];
  mica_param *w;
  golden_need(g, mica_params_create(golden_engine(g), 0, params));
  golden_need(g, mica_nn_grassmann_init(mica_params_root(*params), in, rows / dim, dim));
  w = mica_params_find(*params, "fc.weight");
  memcpy(mica_param_write(w), given.data, (size_t)(rows * in) * sizeof(float));
  return w;
}

static void run_head(golden *g, int64_t dim) {
  mica_params *params;
  mica_tape *t;
  mica_param *w = subspaces(g, "param.subspaces", dim, &params);
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  const mica_var x = mica_leaf(t, golden_tensor(g, "in.features", MICA_F32));
  const mica_var logits = mica_nn_grassmann(t, mica_params_root(params),
                                            golden_number(g, "gamma", 25), true, x);
  const mica_var labels = mica_input(t, golden_tensor(g, "in.labels", MICA_I64));
  const mica_var loss = mica_cross_entropy(t, logits, labels, MICA_NONE, NULL);
  golden_need_tape(g, t);
  golden_check_var(g, "out.logits", t, logits);
  golden_check_var(g, "out.loss", t, loss);
  golden_need(g, mica_backward(t, loss));
  golden_check_var(g, "grad.features", t, mica_gradient(t, x));
  mica_view grad = mica_param_grad(w), value = mica_tensor_view(mica_param_value(w));
  double *horizontal = calloc((size_t)mica_view_count(&grad), sizeof *horizontal);
  if (!horizontal) golden_fail(g, "out of memory");
  golden_need(g, mica_subspaces_horizontal(&value, &grad, horizontal));
  const mica_shape rows = MICA_SHAPE(grad.shape.dim[0] * dim, grad.shape.dim[2]);
  golden_check(g, "grad.subspaces", mica_view_of(grad.data, MICA_F32, rows));
  golden_check(g, "out.riemannian_grad", mica_view_of(horizontal, MICA_F64, rows));
}

/* A loss with this gradient: the product of the weight and it. */
static void step(golden *g, mica_tape *t, mica_param *w, mica_optimiser *opt, mica_params *params,
                 const float *gradient) {
  const mica_view like = mica_view_of((void *)(uintptr_t)gradient, MICA_F32,
                                      *mica_tensor_shape(mica_param_value(w)));
  mica_params_zero_grad(params);
  mica_tape_reset(t);
  const mica_var v = mica_mul(t, mica_param_var(t, w), mica_constant(t, &like));
  golden_need(g, mica_backward(t, mica_sum(t, v, 0, NULL, false)));
  golden_need(g, mica_optimiser_step(opt, t, 1));
}

static void run_rule(golden *g, int64_t dim) {
  char rule[160]; /* the authors' code takes the signs that QR gives */
  const char *reorth = golden_text(g, "reorth_step", "never");
  mica_params *params;
  mica_optimiser *opt;
  mica_tape *t;
  mica_param *w = subspaces(g, "in.subspaces", dim, &params);
  const mica_view grads = golden_view(g, "in.grads", MICA_F32);
  const int64_t steps = grads.shape.dim[0], rows = grads.shape.dim[1], in = grads.shape.dim[2];
  const int64_t classes = rows / dim;
  double *projectors = calloc((size_t)(steps * classes * in * in), sizeof *projectors);
  double *values = calloc((size_t)(steps * rows * in), sizeof *values);
  if (!projectors || !values) golden_fail(g, "out of memory");
  snprintf(rule, sizeof rule, "rsgd:lr=%.17g:momentum=%.17g:reorth=%s:signs=householder", golden_number(g, "lr", 0.1),
           golden_number(g, "momentum", 0), strcmp(reorth, "never") ? reorth : "0");
  golden_need(g, mica_optimiser_create(params, rule, &opt));
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  for (int64_t i = 0; i < steps; i++) {
    step(g, t, w, opt, params, (const float *)grads.data + i * rows * in);
    const float *s = mica_tensor_data(mica_param_value(w));
    for (int64_t k = 0; k < rows * in; k++) values[i * rows * in + k] = s[k];
    for (int64_t c = 0; c < classes; c++)
      for (int64_t a = 0; a < in; a++)
        for (int64_t b = 0; b < in; b++)
          for (int64_t k = 0; k < dim; k++)
            projectors[((i * classes + c) * in + a) * in + b] +=
                (double)s[(c * dim + k) * in + a] * (double)s[(c * dim + k) * in + b];
  }
  golden_check_within(g, "out.projectors",
                      mica_view_of(projectors, MICA_F64, MICA_SHAPE(steps, classes, in, in)), 1e-4);
  if (golden_has(g, "out.subspaces"))
    golden_check_within(g, "out.subspaces",
                        mica_view_of(values, MICA_F64, MICA_SHAPE(steps, rows, in)), 1e-4);
}

static void run(golden *g) {
  const int64_t dim = golden_integer(g, "subspace_dim", 1);
  if (golden_has(g, "in.grads"))
    run_rule(g, dim);
  else
    run_head(g, dim);
}

const golden_adapter golden_adapter_grassmann_classes = {"grassmann-classes", 1e-5, run};
