/* Gradients over ranks: every form with every other, summed and averaged, the same bits everywhere;
 * then norm, scale and clipping of the three forms. */
#include "support/test.h"

#include "param/gradient_reduce.h"

#include <mica/ops.h>
#include <mica/optim.h>
#include <mica/param.h>

#include <math.h>
#include <string.h>

#define RANKS 3
#define SHAPE 5, 2

/* What each rank has of an entry: n none, d dense, r rows (ids rank, rank + 1, rank). */
static const char *const forms[] = {"ddd", "rrr", "nnn", "dnn", "nrn", "rdn", "rnr", "ndr"};
#define ENTRIES (sizeof forms / sizeof *forms)

static double value_at(int rank, int64_t k) {
  return 1 + rank + 0.25 * (double)k;
}

/* Put the gradient there as backward would. */
static void give(mica_tape *t, mica_param *q, char form, int rank) {
  if (form == 'n') return;
  mica_var w = mica_param_var(t, q), g;
  double values[10];
  for (int64_t k = 0; k < 10; k++) values[k] = value_at(rank, k);
  const int64_t ids[3] = {rank, rank + 1, rank};
  const mica_view iv = mica_view_of((void *)(uintptr_t)ids, MICA_I64, MICA_SHAPE(3));
  if (form == 'r') w = mica_embedding(t, w, mica_constant(t, &iv));
  const mica_view gv =
      mica_view_of(values, MICA_F64, form == 'r' ? MICA_SHAPE(3, 2) : MICA_SHAPE(SHAPE));
  g = mica_constant(t, &gv);
  mica_backward(t, mica_sum(t, mica_mul(t, w, g), 0, NULL, false));
}

/* The sum over the ranks, element k of [5,2]. */
static double want_at(const char *form, int64_t k) {
  double s = 0;
  for (int rank = 0; rank < RANKS; rank++) {
    if (form[rank] == 'd') s += value_at(rank, k);
    if (form[rank] != 'r') continue;
    const int64_t ids[3] = {rank, rank + 1, rank};
    for (int i = 0; i < 3; i++)
      if (k / 2 == ids[i]) s += value_at(rank, 2 * i + k % 2);
  }
  return s;
}

static mica_status one_rank(mica_communicator *c, void *ctx) {
  const bool mean = *(const bool *)ctx;
  const int rank = mica_communicator_rank(c);
  mica_engine *engine = NULL;
  mica_params *p = NULL;
  mica_tape *t = NULL;
  mica_param *q[ENTRIES];
  mica_status status = mica_engine_create(NULL, &engine);
  if (status == MICA_OK) status = mica_params_create(engine, 1, &p);
  if (status == MICA_OK) status = mica_tape_create(engine, NULL, &t);
  for (size_t i = 0; i < ENTRIES && status == MICA_OK; i++) {
    mica_node *node = mica_node_childf(mica_params_root(p), "e%d", (int)i);
    status =
        mica_param_add(node, "w", MICA_F64, MICA_SHAPE(SHAPE), MICA_PARAM_TRAINABLE, NULL, &q[i]);
    if (status == MICA_OK) give(t, q[i], forms[i][rank], rank);
  }
  if (status == MICA_OK) status = mica_tape_status(t);
  if (status == MICA_OK) status = mica_params_grad_reduce(p, c, mean);
  double squares = 0;
  for (size_t i = 0; i < ENTRIES && status == MICA_OK; i++) {
    const mica_grad_kind kind = strchr(forms[i], 'd')   ? MICA_GRAD_DENSE
                                : strchr(forms[i], 'r') ? MICA_GRAD_ROWS
                                                        : MICA_GRAD_NONE;
    if (mica_param_grad_kind(q[i]) != kind) status = mica_fail(MICA_ERR_STATE, "%s", forms[i]);
    for (int64_t k = 0; k < 10; k++) squares += pow(want_at(forms[i], k) / (mean ? RANKS : 1), 2);
  }
  /* Norm, clipping and scale of all forms at once, then the numbers. */
  const double norm = sqrt(squares), clip = 2;
  if (status == MICA_OK && fabs(mica_params_grad_norm(p) - norm) > 1e-10)
    status = mica_fail(MICA_ERR_STATE, "norm %g, expected %g", mica_params_grad_norm(p), norm);
  if (status == MICA_OK) mica_params_grad_clip(p, clip);
  if (status == MICA_OK) mica_params_grad_scale(p, 10);
  if (status == MICA_OK && fabs(mica_params_grad_norm(p) - 10 * clip) > 1e-4)
    status = mica_fail(MICA_ERR_STATE, "clipped norm %g", mica_params_grad_norm(p));
  for (size_t i = 0; i < ENTRIES && status == MICA_OK; i++) {
    const mica_view g = mica_param_grad(q[i]); /* makes rows dense */
    for (int64_t k = 0; k < 10 && g.data; k++) {
      const double want = want_at(forms[i], k) / (mean ? RANKS : 1) * 10 * clip / (norm + 1e-6);
      if (fabs(((const double *)g.data)[k] - want) > 1e-10)
        status = mica_fail(MICA_ERR_STATE, "%s: element %d is %g, expected %g", forms[i], (int)k,
                           ((const double *)g.data)[k], want);
    }
  }
  mica_tape_free(t);
  mica_params_free(p);
  mica_engine_free(engine);
  return status;
}

static void test_reduce(void **state) {
  (void)state;
  for (int mean = 0; mean < 2; mean++) {
    bool flag = mean;
    if (mica_virtual_ranks(RANKS, one_rank, &flag) != MICA_OK) fail_msg("%s", mica_last_error());
  }
}

/* A backward that failed on one rank is no gradient on any. */
static mica_status one_fails(mica_communicator *c, void *ctx) {
  (void)ctx;
  mica_engine *engine = NULL;
  mica_params *p = NULL;
  mica_tape *t = NULL;
  mica_param *q = NULL;
  mica_status status = mica_engine_create(NULL, &engine);
  if (status == MICA_OK) status = mica_params_create(engine, 1, &p);
  if (status == MICA_OK) status = mica_tape_create(engine, NULL, &t);
  if (status == MICA_OK)
    status = mica_param_add(mica_params_root(p), "w", MICA_F64, MICA_SHAPE(2), MICA_PARAM_TRAINABLE,
                            NULL, &q);
  if (status == MICA_OK) {
    mica_var loss = mica_sum(t, mica_param_var(t, q), 0, NULL, false);
    mica_backward(t, loss);
    if (mica_communicator_rank(c) == 1) mica_backward(t, loss); /* used up */
    mica_clear_error();
    status = mica_params_grad_reduce(p, c, false);
  }
  if (status == MICA_OK && mica_params_grad_valid(p))
    status = mica_fail(MICA_ERR_STATE, "rank %d takes it for valid", mica_communicator_rank(c));
  mica_tape_free(t);
  mica_params_free(p);
  mica_engine_free(engine);
  return status;
}

static void test_invalid_everywhere(void **state) {
  (void)state;
  if (mica_virtual_ranks(RANKS, one_fails, NULL) != MICA_OK) fail_msg("%s", mica_last_error());
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_reduce),
                                     cmocka_unit_test(test_invalid_everywhere)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
