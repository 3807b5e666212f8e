/* All-reduce of gradients: one agreement on the forms, then one exchange for each entry. */
#include "param/gradient_reduce.h"

#include "param/tree.h"

#include <string.h>

/* What the ranks must agree on about an entry. */
enum { DENSE, ROWS, INVALID, FACTS };

/* Everybody's rows to everybody: counts first, then ids and values padded to the largest count. */
static mica_status gather_rows(mica_param *q, mica_communicator *c) {
  const int size = mica_communicator_size(c);
  const int64_t length = mica_tensor_dim(q->value, 0);
  const size_t row = length ? (size_t)(mica_tensor_count(q->value) / length) *
                                  mica_dtype_size(mica_tensor_dtype(q->value))
                            : 0;
  const int64_t *ids = NULL;
  const void *values = NULL;
  int64_t n = 0, most = 0;
  mica_status status = MICA_OK;
  if (q->grad_kind == MICA_GRAD_ROWS) status = mica_param_grad_rows(q, &ids, &values, &n);
  int64_t *counts = mica_calloc((size_t)size, sizeof *counts);
  if (status == MICA_OK && !counts) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_all_gather(c, &n, sizeof n, counts);
  for (int r = 0; r < size && status == MICA_OK; r++)
    if (counts[r] > most) most = counts[r];
  const size_t part = (size_t)most * (sizeof(int64_t) + row);
  char *mine = NULL, *all = NULL;
  if (status == MICA_OK && part) {
    mine = mica_calloc(1, part);
    all = mica_malloc((size_t)size * part);
    if (!mine || !all) status = MICA_ERR_MEMORY;
  }
  if (status == MICA_OK && part) {
    if (n) memcpy(mine, ids, (size_t)n * sizeof *ids);
    if (n) memcpy(mine + (size_t)most * sizeof *ids, values, (size_t)n * row);
    status = mica_all_gather(c, mine, part, all);
  }
  if (status == MICA_OK) {
    q->n_rows = 0;
    q->grad_kind = MICA_GRAD_NONE;
    for (int r = 0; r < size && status == MICA_OK; r++) {
      const char *from = part ? all + (size_t)r * part : NULL;
      status = mica_param_add_rows(q, (const int64_t *)(const void *)from,
                                   from ? from + (size_t)most * sizeof *ids : NULL, counts[r]);
    }
  }
  mica_free(counts);
  mica_free(mine);
  mica_free(all);
  return status;
}

mica_status mica_params_grad_reduce(mica_params *p, mica_communicator *c, bool mean) {
  if (mica_communicator_size(c) == 1) return MICA_OK;
  int32_t *fact = mica_calloc((size_t)(FACTS * (p->n ? p->n : 1)), sizeof *fact);
  if (!fact) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < p->n; i++) {
    const mica_param *q = p->param[i];
    fact[FACTS * i + DENSE] = q->grad_kind == MICA_GRAD_DENSE;
    fact[FACTS * i + ROWS] = q->grad_kind == MICA_GRAD_ROWS;
    fact[FACTS * i + INVALID] = q->grad_invalid;
  }
  mica_status status = mica_all_reduce(c, MICA_REDUCE_MAX, MICA_I32, fact, FACTS * p->n);
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++) {
    mica_param *q = p->param[i];
    q->grad_invalid = fact[FACTS * i + INVALID];
    if (!(q->flags & MICA_PARAM_TRAINABLE)) continue;
    if (fact[FACTS * i + DENSE]) {
      void *g = mica_param_dense(q);
      status = g ? mica_all_reduce(c, MICA_REDUCE_SUM, mica_tensor_dtype(q->value), g,
                                   mica_tensor_count(q->value))
                 : MICA_ERR_MEMORY;
    } else if (fact[FACTS * i + ROWS]) {
      status = gather_rows(q, c);
    }
  }
  mica_free(fact);
  if (status == MICA_OK && mean) mica_params_grad_scale(p, 1 / (double)mica_communicator_size(c));
  return status;
}
