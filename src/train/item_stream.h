/* A stream over numbered examples: the order of each epoch, batches, labels. What an example is,
 * the caller says with one function. */
#ifndef MICA_TRAIN_ITEM_STREAM_H
#define MICA_TRAIN_ITEM_STREAM_H

#include <mica/train.h>

typedef struct mica_item_stream_options {
  int64_t n;           /* examples */
  const int64_t *item; /* [n] their numbers, NULL: 0 to n - 1; copied */
  mica_shape example;  /* of x for one of them; no x where that holds no number */
  int64_t fields;      /* ids of one of them, 0: none */
  int64_t batch;       /* cut to n */
  bool shuffle, drop_last;
  uint64_t seed;         /* of the order; each epoch has its own */
  const int64_t *labels; /* by number, NULL: none; borrowed */
  int64_t targets;       /* numbers of a target, 0: none */
  /* Write example `item` to x, and its ids and target to where there are any (else NULL). */
  void (*fill)(void *ctx, int64_t item, float *x, int64_t *fields, float *target);
  void (*free)(void *ctx);
  void *ctx; /* taken over, also on failure */
} mica_item_stream_options;

mica_status mica_item_stream_create(const mica_item_stream_options *o, mica_stream *out);
void mica_item_stream_free(mica_stream *stream);
/* mica_memory_stream_sample of any such stream. */
mica_status mica_item_stream_sample(mica_stream *stream, const mica_sampler *sampler);

#endif
