/* Batches from tensors in memory. */
#include "train/item_stream.h"

#include <string.h>

typedef struct memory {
  mica_tensor *x, *labels;
  int64_t row, targets; /* numbers of an example, and of its target */
} memory;

static void fill(void *ctx, int64_t item, float *x, int64_t *fields, float *target) {
  const memory *m = ctx;
  (void)fields;
  if (x)
    memcpy(x, (const float *)mica_tensor_data(m->x) + item * m->row, (size_t)m->row * sizeof *x);
  if (target)
    memcpy(target, (const float *)mica_tensor_data(m->labels) + item * m->targets,
           (size_t)m->targets * sizeof *target);
}

static void release(void *ctx) {
  memory *m = ctx;
  mica_tensor_free(m->x);
  mica_tensor_free(m->labels);
  mica_free(m);
}

void mica_memory_stream_free(mica_stream *stream) {
  mica_item_stream_free(stream);
}

mica_status mica_memory_stream_sample(mica_stream *stream, const mica_sampler *sampler) {
  return mica_item_stream_sample(stream, sampler);
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
  const bool classes = labels && mica_tensor_dtype(labels) == MICA_I64;
  const bool targets = labels && mica_tensor_dtype(labels) == MICA_F32;
  if (labels && !(classes && mica_tensor_count(labels) == n) &&
      !(targets && mica_tensor_shape(labels)->rank > 0 && mica_tensor_dim(labels, 0) == n))
    return mica_fail(MICA_ERR_SHAPE, "stream: expected %lld int64 labels, or float32 targets",
                     (long long)n);
  if (batch < 1)
    return mica_fail(MICA_ERR_INVALID, "stream: batch size %lld, expected 1 or more",
                     (long long)batch);
  memory *m = mica_calloc(1, sizeof *m);
  if (!m) return MICA_ERR_MEMORY;
  m->x = mica_tensor_retain(x);
  m->labels = labels ? mica_tensor_retain(labels) : NULL;
  m->row = mica_tensor_count(x) / n;
  m->targets = targets ? mica_tensor_count(labels) / n : 0;
  mica_item_stream_options o = {.n = n,
                                .batch = batch,
                                .shuffle = shuffle,
                                .drop_last = drop_last,
                                .seed = seed,
                                .labels = classes ? mica_tensor_data(labels) : NULL,
                                .targets = m->targets,
                                .fill = fill,
                                .free = release,
                                .ctx = m};
  o.example.rank = shape->rank - 1;
  for (int32_t d = 1; d < shape->rank; d++) o.example.dim[d - 1] = shape->dim[d];
  return mica_item_stream_create(&o, out);
}
