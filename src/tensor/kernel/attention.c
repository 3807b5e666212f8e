/* Attention over threads: forward by pieces of the queries of a head, backward by batch entry,
 * key/value head and, where these are few, part of the keys, so that no two threads write the same
 * element: each part of the keys has a dq of its own, and these are added in order. Where the
 * gradient of a bias is shared by several of those, one task takes them all, in order. */
#include "tensor/kernel/attention.h"

#include "tensor/kernel/copy.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"

#include <stdatomic.h>
#include <string.h>

enum { TASKS_WANTED = 16, LEAST_BLOCKS = 8 /* of keys that are cut into parts */ };

typedef struct job {
  const mica_engine *engine;
  const mica_attention_args *a;
  const mica_attention_kernels *loops;
  size_t size;
  const void *q, *k, *v, *out, *dout, *lse, *dlse;
  void *to, *to_lse, *dq, *dk, *dv, *dbias;
  int64_t pieces, piece;     /* forward: of a head's queries, and the length of one */
  int64_t batches, kv_heads; /* backward: of a task */
  int64_t parts, part;       /* backward: of the keys, and the length of one */
  char *part_dq;             /* [parts, batch, heads, queries, dim] where there are several */
  atomic_bool failed;
} job;

/* What the loops are given of batch entry b. */
typedef struct entry {
  const mica_attention_args *a;
  mica_attention_args own;
  int64_t b;
  int64_t q, k, v, out, lse, dq, dk, dv, bias; /* elements to go forward */
} entry;

static mica_attention_ids ids_from(mica_attention_ids ids, int64_t first) {
  if (ids.at) ids.at += first;
  return ids;
}

static int64_t token_step(mica_attention_strides own, mica_attention_strides other) {
  return own.batch || own.token || own.head ? own.token : other.token;
}

static void *on(const job *j, const void *p, int64_t elements) {
  return p ? (char *)(uintptr_t)p + elements * (int64_t)j->size : NULL;
}

/* A sequence of a ragged batch is a batch of one. */
static void entry_of(const mica_attention_args *a, int64_t b, entry *e) {
  memset(e, 0, sizeof *e);
  e->a = a;
  e->b = b;
  if (!a->q_offsets) return;
  const int64_t q = a->q_offsets[b], k = a->k_offsets[b];
  e->own = *a;
  e->a = &e->own;
  e->b = 0;
  e->own.batch = 1;
  e->own.entry = b;
  e->own.queries = a->q_offsets[b + 1] - q;
  e->own.keys = a->k_offsets[b + 1] - k;
  if (a->ends) e->own.offset = e->own.keys - e->own.queries;
  e->own.q_position = ids_from(a->q_position, q);
  e->own.q_segment = ids_from(a->q_segment, q);
  e->own.k_position = ids_from(a->k_position, k);
  e->own.k_segment = ids_from(a->k_segment, k);
  const size_t size = mica_dtype_size(a->dtype);
  if (a->sharpened) e->own.sharpened = (char *)a->sharpened + (size_t)q * size;
  if (a->bias) e->own.bias = (const char *)a->bias + (size_t)(b * a->bias_batch) * size;
  e->bias = b * a->bias_batch;
  e->lse = q;
  e->q = q * a->q.token;
  e->k = k * a->k.token;
  e->v = k * a->v.token;
  e->out = q * a->out.token;
  e->dq = q * token_step(a->dq, a->q);
  e->dk = k * token_step(a->dk, a->k);
  e->dv = k * token_step(a->dv, a->v);
}

/* The n-th of `count` pieces of a causal mask in an order in which neighbours, the one with most
 * work and the one with least and so on, have as much as any others. */
static int64_t in_pairs(int64_t n, int64_t count) {
  return n % 2 ? count - 1 - n / 2 : n / 2;
}

static void forward_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const mica_attention_args *a = j->a;
  void *scratch = mica_workspace_acquire(j->engine, (size_t)j->loops->forward_scratch(a) * j->size);
  if (!scratch) {
    j->failed = true;
    return;
  }
  for (int64_t n = begin; n < end; n++) {
    entry e;
    entry_of(a, n / j->pieces / a->heads, &e);
    const int64_t first = in_pairs(n % j->pieces, j->pieces) * j->piece;
    const int64_t left = e.a->queries - first;
    const int64_t h = n / j->pieces % a->heads;
    if (left > 0)
      j->loops->forward(e.a, on(j, j->q, e.q), on(j, j->k, e.k), on(j, j->v, e.v), e.b, h, first,
                        first + (left < j->piece ? left : j->piece), on(j, j->to, e.out),
                        on(j, j->to_lse, e.lse), scratch);
  }
  mica_workspace_release(j->engine, scratch);
}

/* Of a part's dq: dense, head by head. */
static mica_attention_strides part_strides(const mica_attention_args *a) {
  return (mica_attention_strides){a->heads * a->queries * a->dim, a->dim, a->queries * a->dim};
}

static void backward_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const mica_attention_args *a = j->a;
  void *scratch =
      mica_workspace_acquire(j->engine, (size_t)j->loops->backward_scratch(a) * j->size);
  if (!scratch) {
    j->failed = true;
    return;
  }
  const int64_t columns = a->kv_heads / j->kv_heads;
  for (int64_t m = begin; m < end; m++) {
    const int64_t n = m / j->parts, part = in_pairs(m % j->parts, j->parts);
    for (int64_t i = 0; i < j->batches * j->kv_heads; i++) {
      entry e;
      entry_of(a, n / columns * j->batches + i / j->kv_heads, &e);
      void *dq = on(j, j->dq, e.dq);
      if (j->parts > 1) {
        e.own = *a;
        e.a = &e.own;
        e.own.dq = part_strides(a);
        dq = on(j, j->part_dq, part * a->batch * e.own.dq.batch);
      }
      const int64_t first = part * j->part, left = e.a->keys - first;
      j->loops->backward(e.a, on(j, j->q, e.q), on(j, j->k, e.k), on(j, j->v, e.v),
                         on(j, j->out, e.out), on(j, j->dout, e.out), on(j, j->lse, e.lse),
                         on(j, j->dlse, e.lse), e.b, n % columns * j->kv_heads + i % j->kv_heads,
                         first, first + (left < j->part ? left : j->part), dq, on(j, j->dk, e.dk),
                         on(j, j->dv, e.dv), on(j, j->dbias, e.bias), scratch);
    }
  }
  mica_workspace_release(j->engine, scratch);
}

/* dq of heads [begin, end) from its parts. */
static void join_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  const mica_attention_args *a = j->a;
  const mica_copy_kernels *copy = mica_kernels_of(j->engine, a->dtype)->copy;
  const mica_attention_strides from = part_strides(a),
                               to = a->dq.batch || a->dq.token || a->dq.head ? a->dq : a->q;
  for (int64_t n = begin; n < end; n++)
    for (int64_t part = 0; part < j->parts; part++)
      (part ? copy->add_rows : copy->rows)(
          a->queries, a->dim,
          on(j, j->part_dq, (part * a->batch * a->heads + n) * a->queries * a->dim), from.token,
          on(j, j->dq, n / a->heads * to.batch + n % a->heads * to.head), to.token);
}

static mica_status check(const mica_attention_args *a) {
  if (a->dtype != MICA_F32 && a->dtype != MICA_F64)
    return mica_fail(MICA_ERR_UNSUPPORTED, "attention: %s, expected float32 or float64",
                     mica_dtype_name(a->dtype));
  if (a->batch < 0 || a->queries < 0 || a->keys < 0 || a->heads < 1 || a->kv_heads < 1 ||
      a->heads % a->kv_heads || a->dim < 0 || a->value_dim < 0 || a->queries > INT32_MAX ||
      a->keys > INT32_MAX)
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
  /* Each piece looks at all keys first: no more pieces than threads may want. */
  const int64_t heads = a->batch * a->heads, block = MICA_ATTENTION_QUERIES;
  const int64_t blocks = (a->queries + block - 1) / block;
  j.pieces = heads && heads < TASKS_WANTED ? (TASKS_WANTED + heads - 1) / heads : 1;
  if (j.pieces > blocks) j.pieces = blocks;
  if (!j.pieces) return MICA_OK;
  j.piece = (blocks + j.pieces - 1) / j.pieces * block;
  j.pieces = (a->queries + j.piece - 1) / j.piece;
  mica_parallel_for(engine, heads * j.pieces, forward_range, &j);
  return outcome(&j);
}

/* Elements of the bias as it lies in memory. */
static int64_t bias_extent(const mica_attention_args *a) {
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
  if (!a->batch) return MICA_OK;
  j.batches = j.kv_heads = 1;
  if (dbias) {
    if (!a->bias_batch) j.batches = a->batch;
    if (!a->bias_head) j.kv_heads = a->kv_heads;
    if (a->queries && a->keys) memset(dbias, 0, (size_t)bias_extent(a) * j.size);
  }
  const int64_t tasks = a->batch / j.batches * (a->kv_heads / j.kv_heads);
  const int64_t blocks = (a->keys + MICA_ATTENTION_KEYS - 1) / MICA_ATTENTION_KEYS;
  j.parts = 1;
  j.part = a->keys;
  if (tasks < TASKS_WANTED && blocks >= LEAST_BLOCKS && !dbias && a->power == 0 && !a->q_offsets) {
    j.parts = (TASKS_WANTED + tasks - 1) / tasks;
    if (j.parts > blocks / (LEAST_BLOCKS / 2)) j.parts = blocks / (LEAST_BLOCKS / 2);
    j.part = (blocks + j.parts - 1) / j.parts * MICA_ATTENTION_KEYS;
    j.parts = (a->keys + j.part - 1) / j.part;
    const mica_attention_strides each = part_strides(a);
    j.part_dq = mica_workspace_acquire(engine, (size_t)(j.parts * a->batch * each.batch) * j.size);
    if (!j.part_dq) return mica_fail(MICA_ERR_MEMORY, "attention: out of memory for gradients");
  }
  mica_parallel_for(engine, tasks * j.parts, backward_range, &j);
  if (j.parts > 1 && !j.failed) mica_parallel_for(engine, a->batch * a->heads, join_range, &j);
  mica_workspace_release(engine, j.part_dq);
  return outcome(&j);
}
