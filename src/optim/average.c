/* The moving average of weights. */
#include <mica/optim.h>

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/optimiser.h"

#define PIECE 65536

typedef struct average_job {
  const mica_optimiser_kernels *k;
  size_t size;
  int64_t n;
  double decay;
  const char *x;
  char *average;
} average_job;

static void average_range(void *ctx, int64_t begin, int64_t end) {
  const average_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i * PIECE, n = j->n - from < PIECE ? j->n - from : PIECE;
    const size_t at = (size_t)from * j->size;
    j->k->average(n, j->decay, j->x + at, j->average + at);
  }
}

mica_status mica_average_update(mica_params *average, const mica_params *params, double decay,
                                const mica_tape *t) {
  if (t && !mica_ok(t)) return mica_tape_status(t);
  const mica_engine *engine = mica_params_engine(average);
  for (int64_t i = 0; i < mica_params_count(average); i++) {
    mica_param *to = mica_params_at(average, i);
    const mica_param *from = mica_params_find(params, mica_param_path(to));
    if (!from)
      return mica_fail(MICA_ERR_NOT_FOUND, "average: no parameter '%s'", mica_param_path(to));
    const mica_tensor *x = mica_param_value(from);
    const int64_t n = mica_tensor_count(x);
    const mica_dtype dtype = mica_tensor_dtype(x);
    if (mica_param_flags(to) & MICA_PARAM_BUFFER || (dtype != MICA_F32 && dtype != MICA_F64)) {
      const mica_view a = mica_tensor_view(mica_param_value(to)), b = mica_tensor_view(x);
      mica_param_write(to);
      mica_status status = mica_view_copy(&a, &b);
      if (status != MICA_OK) return status;
      continue;
    }
    average_job job = {mica_kernels_of(engine, dtype)->optimiser,
                       mica_dtype_size(dtype),
                       n,
                       decay,
                       mica_tensor_data(x),
                       mica_param_write(to)};
    mica_parallel_for(engine, (n + PIECE - 1) / PIECE, average_range, &job);
  }
  return MICA_OK;
}
