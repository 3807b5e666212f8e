/* Batches of numbered examples. The order is a function of (seed, epoch), so a resumed run sees
 * what the uninterrupted one would have seen. */
#include "train/item_stream.h"

#include "train/sampler.h"

#include <string.h>

enum { X, LABELS, IDS, TARGETS, FIELDS, TENSORS };

typedef struct item_stream {
  mica_item_stream_options o;
  mica_key key;
  const mica_sampler *sampler; /* NULL: a permutation, or as they are */
  int64_t *item, *order, epoch, at;
  mica_tensor *full[TENSORS];  /* of a whole batch; NULL: not there */
  mica_tensor *given[TENSORS]; /* the latest batch, a slice of them */
} item_stream;

static void drop_given(item_stream *s) {
  for (int k = 0; k < TENSORS; k++) {
    mica_tensor_free(s->given[k]);
    s->given[k] = NULL;
  }
}

static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  item_stream *s = ctx;
  const mica_key key = mica_key_fold(s->key, (uint64_t)epoch);
  if (epoch != s->epoch && s->sampler) {
    const mica_status status = mica_sampler_order(s->sampler, key, s->order);
    if (status != MICA_OK) return status;
  } else if (epoch != s->epoch && s->o.shuffle) {
    mica_random_permutation(key, s->o.n, s->order);
  }
  s->epoch = epoch;
  s->at = batch * s->o.batch;
  return MICA_OK;
}

static mica_status next(void *ctx, mica_batch *out) {
  item_stream *s = ctx;
  memset(out, 0, sizeof *out);
  const int64_t n = s->o.n - s->at < s->o.batch ? s->o.n - s->at : s->o.batch;
  if (n <= 0) return mica_fail(MICA_ERR_STATE, "stream: the epoch has no more batches");
  const int64_t row = mica_shape_count(&s->o.example), width = s->o.targets;
  float *x = row ? mica_tensor_data(s->full[X]) : NULL;
  int64_t *fields = s->o.fields ? mica_tensor_data(s->full[FIELDS]) : NULL;
  float *targets = width ? mica_tensor_data(s->full[TARGETS]) : NULL;
  int64_t *ids = mica_tensor_data(s->full[IDS]);
  int64_t *labels = s->o.labels ? mica_tensor_data(s->full[LABELS]) : NULL;
  for (int64_t i = 0; i < n; i++) {
    ids[i] = s->item[s->order[s->at + i]];
    s->o.fill(s->o.ctx, ids[i], x ? x + i * row : NULL, fields ? fields + i * s->o.fields : NULL,
              targets ? targets + i * width : NULL);
    if (labels) labels[i] = s->o.labels[ids[i]];
  }
  s->at += n;
  mica_status status = MICA_OK;
  /* A batch of the same size is the same slices: nothing to allocate. */
  if (!s->given[IDS] || mica_tensor_dim(s->given[IDS], 0) != n) drop_given(s);
  for (int k = 0; k < TENSORS && status == MICA_OK; k++)
    if (s->full[k] && !s->given[k]) status = mica_tensor_slice(s->full[k], 0, n, &s->given[k]);
  *out = (mica_batch){.n = n,
                      .x = s->given[X],
                      .labels = s->given[LABELS],
                      .ids = s->given[IDS],
                      .targets = s->given[TARGETS],
                      .fields = s->given[FIELDS]};
  return status;
}

mica_status mica_item_stream_sample(mica_stream *stream, const mica_sampler *sampler) {
  item_stream *s = stream->ctx;
  if (mica_sampler_count(sampler) != s->o.n)
    return mica_fail(MICA_ERR_INVALID, "stream: a sampler of %lld examples, the stream has %lld",
                     (long long)mica_sampler_count(sampler), (long long)s->o.n);
  s->sampler = sampler;
  s->epoch = -1;
  return MICA_OK;
}

void mica_item_stream_free(mica_stream *stream) {
  item_stream *s = stream->ctx;
  if (!s) return;
  drop_given(s);
  for (int k = 0; k < TENSORS; k++) mica_tensor_free(s->full[k]);
  s->o.free(s->o.ctx);
  mica_free(s->item);
  mica_free(s->order);
  mica_free(s);
  stream->ctx = NULL;
}

mica_status mica_item_stream_create(const mica_item_stream_options *o, mica_stream *out) {
  *out = (mica_stream){0};
  item_stream *s = mica_calloc(1, sizeof *s);
  if (!s) {
    o->free(o->ctx);
    return MICA_ERR_MEMORY;
  }
  out->ctx = s;
  s->o = *o;
  s->o.item = NULL; /* the caller's, copied below */
  if (s->o.batch > o->n) s->o.batch = o->n;
  s->epoch = -1;
  s->key = mica_key_fold_name(mica_key_seed(o->seed), "order");
  const int64_t batch = s->o.batch;
  mica_status status = MICA_OK;
  mica_shape x = {o->example.rank + 1, {batch}};
  for (int32_t d = 0; d < o->example.rank; d++) x.dim[d + 1] = o->example.dim[d];
  if (o->n < 1 || batch < 1)
    status =
        mica_fail(MICA_ERR_INVALID, "stream: %lld examples in batches of %lld, expected 1 or more",
                  (long long)o->n, (long long)o->batch);
  if (status == MICA_OK) {
    s->item = mica_malloc((size_t)o->n * sizeof *s->item);
    s->order = mica_malloc((size_t)o->n * sizeof *s->order);
    if (!s->item || !s->order) status = MICA_ERR_MEMORY;
  }
  if (status == MICA_OK && mica_shape_count(&o->example))
    status = mica_tensor_create(MICA_F32, x, &s->full[X]);
  if (status == MICA_OK && o->fields)
    status = mica_tensor_create(MICA_I64, MICA_SHAPE(batch, o->fields), &s->full[FIELDS]);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(batch), &s->full[IDS]);
  if (status == MICA_OK && o->labels)
    status = mica_tensor_create(MICA_I64, MICA_SHAPE(batch), &s->full[LABELS]);
  if (status == MICA_OK && o->targets)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(batch, o->targets), &s->full[TARGETS]);
  if (status != MICA_OK) {
    mica_item_stream_free(out);
    return status;
  }
  for (int64_t i = 0; i < o->n; i++) {
    s->item[i] = o->item ? o->item[i] : i;
    s->order[i] = i;
  }
  out->batches = o->drop_last ? o->n / batch : (o->n + batch - 1) / batch;
  out->seek = seek;
  out->next = next;
  return MICA_OK;
}
