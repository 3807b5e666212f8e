/* Attention over threads: forward by blocks of queries, backward by batch entry and key/value head,
 * so that no two threads write the same element. A bias that several of those share is the
 * exception: its gradient is made by one thread, in order. */
#include "tensor/kernel/attention.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"

#include <stdatomic.h>
#include <string.h>

enum { QUERIES = 32 }; /* of a chunk */

typedef struct job {
  const mica_engine *engine;
  const mica_attention_args *a;
  const mica_attention_kernels *loops;
  size_t size;
  const void *q, *k, *v, *out, *dout, *lse, *dlse;
  void *to, *to_lse, *dq, *dk, *dv, *dbias;
  atomic_bool failed;
} job;

static void forward_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const int64_t rows = j->a->batch * j->a->heads * j->a->queries;
  void *scratch = mica_workspace_acquire(j->engine, (size_t)j->a->keys * j->size);
  if (!scratch) {
    j->failed = true;
    return;
  }
  const int64_t last = end * QUERIES < rows ? end * QUERIES : rows;
  j->loops->forward(j->a, j->q, j->k, j->v, begin * QUERIES, last, j->to, j->to_lse, scratch);
  mica_workspace_release(j->engine, scratch);
}

static void backward_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  void *scratch = mica_workspace_acquire(j->engine, 2 * (size_t)j->a->keys * j->size);
  if (!scratch) {
    j->failed = true;
    return;
  }
  for (int64_t n = begin; n < end; n++)
    j->loops->backward(j->a, j->q, j->k, j->v, j->out, j->dout, j->lse, j->dlse, n / j->a->kv_heads,
                       n % j->a->kv_heads, j->dq, j->dk, j->dv, j->dbias, scratch);
  mica_workspace_release(j->engine, scratch);
}

static mica_status check(const mica_attention_args *a) {
  if (a->dtype != MICA_F32 && a->dtype != MICA_F64)
    return mica_fail(MICA_ERR_UNSUPPORTED, "attention: %s, expected float32 or float64",
                     mica_dtype_name(a->dtype));
  if (a->batch < 0 || a->queries < 0 || a->keys < 0 || a->heads < 1 || a->kv_heads < 1 ||
      a->heads % a->kv_heads || a->dim < 0 || a->value_dim < 0 || a->window < 0)
    return mica_fail(MICA_ERR_SHAPE, "attention: sizes out of range");
  return MICA_OK;
}

static mica_status outcome(const job *j) {
  return j->failed ? mica_fail(MICA_ERR_MEMORY, "attention: out of memory for scores") : MICA_OK;
}

mica_status mica_attention_forward(const mica_engine *engine, const mica_attention_args *a,
                                   const void *q, const void *k, const void *v, void *out,
                                   void *lse) {
  mica_status status = check(a);
  if (status != MICA_OK) return status;
  job j = {.engine = engine,
           .a = a,
           .loops = mica_kernels_of(engine, a->dtype)->attention,
           .size = mica_dtype_size(a->dtype),
           .q = q,
           .k = k,
           .v = v,
           .to = out,
           .to_lse = lse};
  const int64_t rows = a->batch * a->heads * a->queries;
  mica_parallel_for(engine, (rows + QUERIES - 1) / QUERIES, forward_range, &j);
  return outcome(&j);
}

/* Elements of the bias as it lies in memory, and whether two (batch, head) pairs meet in one. */
static int64_t bias_extent(const mica_attention_args *a, bool *shared) {
  const int64_t group = a->heads / a->kv_heads;
  *shared = (a->batch > 1 && !a->bias_batch) || (a->heads > group && !a->bias_head);
  return (a->batch - 1) * a->bias_batch + (a->heads - 1) * a->bias_head +
         (a->queries - 1) * a->bias_query + a->keys;
}

mica_status mica_attention_backward(const mica_engine *engine, const mica_attention_args *a,
                                    const void *q, const void *k, const void *v, const void *out,
                                    const void *dout, const void *lse, const void *dlse, void *dq,
                                    void *dk, void *dv, void *dbias) {
  mica_status status = check(a);
  if (status != MICA_OK) return status;
  job j = {.engine = engine,
           .a = a,
           .loops = mica_kernels_of(engine, a->dtype)->attention,
           .size = mica_dtype_size(a->dtype),
           .q = q,
           .k = k,
           .v = v,
           .out = out,
           .dout = dout,
           .lse = lse,
           .dlse = dlse,
           .dq = dq,
           .dk = dk,
           .dv = dv,
           .dbias = dbias};
  const int64_t pairs = a->batch * a->kv_heads;
  bool shared = false;
  if (dbias && pairs && a->queries && a->keys)
    memset(dbias, 0, (size_t)bias_extent(a, &shared) * j.size);
  if (shared)
    backward_range(&j, 0, pairs);
  else
    mica_parallel_for(engine, pairs, backward_range, &j);
  return outcome(&j);
}
