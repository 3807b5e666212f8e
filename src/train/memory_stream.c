/* Batches from tensors in memory. */
#include <mica/train.h>

#include <string.h>

typedef struct memory_stream {
  mica_tensor *x, *labels;
  int64_t n, batch, epoch, at;
  bool shuffle;
  mica_key key;
  int64_t *order;
  mica_tensor *batch_x, *batch_labels, *batch_ids; /* full batches; shorter ones are slices */
  mica_tensor *given[3];
} memory_stream;

static void drop_given(memory_stream *s) {
  for (int i = 0; i < 3; i++) {
    mica_tensor_free(s->given[i]);
    s->given[i] = NULL;
  }
}

static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  memory_stream *s = ctx;
  if (epoch != s->epoch) {
    s->epoch = epoch;
    if (s->shuffle) mica_random_permutation(mica_key_fold(s->key, (uint64_t)epoch), s->n, s->order);
  }
  s->at = batch * s->batch;
  return MICA_OK;
}

static mica_status next(void *ctx, mica_batch *out) {
  memory_stream *s = ctx;
  memset(out, 0, sizeof *out);
  drop_given(s);
  const int64_t n = s->n - s->at < s->batch ? s->n - s->at : s->batch;
  if (n <= 0) return mica_fail(MICA_ERR_STATE, "stream: the epoch has no more batches");
  const size_t row =
      (size_t)(mica_tensor_count(s->x) / s->n) * mica_dtype_size(mica_tensor_dtype(s->x));
  char *x = mica_tensor_data(s->batch_x);
  const char *from = mica_tensor_data(s->x);
  int64_t *labels = s->labels ? mica_tensor_data(s->batch_labels) : NULL;
  const int64_t *all = s->labels ? mica_tensor_data(s->labels) : NULL;
  int64_t *ids = mica_tensor_data(s->batch_ids);
  for (int64_t i = 0; i < n; i++) {
    ids[i] = s->order[s->at + i];
    memcpy(x + (size_t)i * row, from + (size_t)ids[i] * row, row);
    if (labels) labels[i] = all[ids[i]];
  }
  s->at += n;
  mica_status status = mica_tensor_slice(s->batch_x, 0, n, &s->given[0]);
  if (status == MICA_OK && labels) status = mica_tensor_slice(s->batch_labels, 0, n, &s->given[1]);
  if (status == MICA_OK) status = mica_tensor_slice(s->batch_ids, 0, n, &s->given[2]);
  *out = (mica_batch){n, s->given[0], s->given[1], s->given[2], NULL, NULL};
  return status;
}

void mica_memory_stream_free(mica_stream *stream) {
  memory_stream *s = stream->ctx;
  if (!s) return;
  drop_given(s);
  mica_tensor_free(s->x);
  mica_tensor_free(s->labels);
  mica_tensor_free(s->batch_x);
  mica_tensor_free(s->batch_labels);
  mica_tensor_free(s->batch_ids);
  mica_free(s->order);
  mica_free(s);
  stream->ctx = NULL;
}

mica_status mica_memory_stream_create(mica_tensor *x, mica_tensor *labels, int64_t batch,
                                      bool shuffle, bool drop_last, uint64_t seed,
                                      mica_stream *out) {
  *out = (mica_stream){0};
  const mica_shape *shape = mica_tensor_shape(x);
  if (shape->rank < 1 || shape->dim[0] < 1 || mica_tensor_dtype(x) != MICA_F32)
    return mica_fail(MICA_ERR_SHAPE,
                     "stream: expected float32 examples [N,..] with N of 1 or more");
  const int64_t n = shape->dim[0];
  if (labels && (mica_tensor_dtype(labels) != MICA_I64 || mica_tensor_count(labels) != n))
    return mica_fail(MICA_ERR_SHAPE, "stream: expected %lld int64 labels", (long long)n);
  if (batch < 1)
    return mica_fail(MICA_ERR_INVALID, "stream: batch size %lld, expected 1 or more",
                     (long long)batch);
  if (batch > n) batch = n;
  memory_stream *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  out->ctx = s;
  s->x = mica_tensor_retain(x);
  s->labels = labels ? mica_tensor_retain(labels) : NULL;
  s->n = n;
  s->batch = batch;
  s->epoch = -1;
  s->shuffle = shuffle;
  s->key = mica_key_fold_name(mica_key_seed(seed), "order");
  s->order = mica_malloc((size_t)n * sizeof *s->order);
  mica_shape one = *shape;
  one.dim[0] = batch;
  mica_status status = s->order ? mica_tensor_create(MICA_F32, one, &s->batch_x) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(batch), &s->batch_ids);
  if (status == MICA_OK && labels)
    status = mica_tensor_create(MICA_I64, MICA_SHAPE(batch), &s->batch_labels);
  if (status != MICA_OK) {
    mica_memory_stream_free(out);
    return status;
  }
  for (int64_t i = 0; i < n; i++) s->order[i] = i;
  out->batches = drop_last ? n / batch : (n + batch - 1) / batch;
  out->seek = seek;
  out->next = next;
  return MICA_OK;
}
