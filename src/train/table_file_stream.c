/* Batches of a table whose rows stay in their files: see data/table_pass.h for their order. A
 * thread of the stream's own reads, decodes and mixes. */
#include "train/table_file_stream.h"

#include "data/table_pass.h"
#include "train/prefetch.h"

#include <string.h>

enum { X, FIELDS, LABELS, IDS, TARGETS, TENSORS };
enum { AHEAD = 2 };

typedef struct slot {
  mica_tensor *full[TENSORS]; /* NULL: not there */
  int64_t n;
} slot;

typedef struct file_stream {
  const mica_columns *columns;
  int64_t batch, total, batches;
  mica_table_pass *pass;
  slot slots[AHEAD + 1];
  mica_prefetch *prefetch;
  /* The caller's. */
  int64_t epoch, at;
  bool started;
  mica_tensor *given[TENSORS];
} file_stream;

/* ---- one batch ---- */

static void put(const file_stream *s, const slot *b, int64_t k, const double *cell,
                const mica_row_label *label, int64_t number) {
  const mica_columns *c = s->columns;
  float *x = b->full[X] ? mica_tensor_data(b->full[X]) : NULL;
  int64_t *fields = b->full[FIELDS] ? mica_tensor_data(b->full[FIELDS]) : NULL;
  mica_columns_expand(c, cell, x ? x + k * c->width : NULL, fields ? fields + k * c->fields : NULL);
  ((int64_t *)mica_tensor_data(b->full[IDS]))[k] = number;
  if (b->full[LABELS]) ((int64_t *)mica_tensor_data(b->full[LABELS]))[k] = label->label;
  if (b->full[TARGETS])
    ((float *)mica_tensor_data(b->full[TARGETS]))[k] =
        (float)((label->target - c->target_mean) / c->target_deviation);
}

/* Batch i of the epoch into a slot. */
static mica_status make(void *ctx, int64_t i, int64_t which) {
  file_stream *s = ctx;
  slot *b = &s->slots[which];
  const int64_t first = i * s->batch;
  const int64_t end = first + s->batch < s->total ? first + s->batch : s->total;
  mica_status status = MICA_OK;
  if (mica_table_pass_epoch(s->pass) != s->epoch || mica_table_pass_place(s->pass) > first)
    status = mica_table_pass_begin(s->pass, s->epoch);
  while (status == MICA_OK && mica_table_pass_place(s->pass) < end) {
    if (mica_prefetch_cancelled(s->prefetch))
      return mica_fail(MICA_ERR_CANCELLED, "stream: this batch is not wanted any more");
    const int64_t k = mica_table_pass_place(s->pass) - first;
    const double *cell;
    mica_row_label label;
    int64_t number;
    status = mica_table_pass_next(s->pass, &cell, &label, &number);
    if (status == MICA_OK && k >= 0) put(s, b, k, cell, &label, number);
  }
  b->n = end - first;
  return status;
}

/* ---- the stream ---- */

static void drop_given(file_stream *s) {
  for (int k = 0; k < TENSORS; k++) {
    mica_tensor_free(s->given[k]);
    s->given[k] = NULL;
  }
}

static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  file_stream *s = ctx;
  mica_prefetch_stop(s->prefetch);
  s->epoch = epoch;
  s->at = batch;
  s->started = false;
  return MICA_OK;
}

static mica_status next(void *ctx, mica_batch *out) {
  file_stream *s = ctx;
  int64_t which;
  memset(out, 0, sizeof *out);
  drop_given(s);
  if (s->at < 0 || s->at >= s->batches)
    return mica_fail(MICA_ERR_STATE, "stream: the epoch has no more batches");
  if (!s->started) mica_prefetch_start(s->prefetch, s->at, s->batches);
  s->started = true;
  s->at++;
  mica_status status = mica_prefetch_next(s->prefetch, &which);
  const slot *b = &s->slots[which];
  for (int k = 0; k < TENSORS && status == MICA_OK; k++)
    if (b->full[k]) status = mica_tensor_slice(b->full[k], 0, b->n, &s->given[k]);
  if (status != MICA_OK) return status;
  *out = (mica_batch){.n = b->n,
                      .x = s->given[X],
                      .labels = s->given[LABELS],
                      .ids = s->given[IDS],
                      .targets = s->given[TARGETS],
                      .fields = s->given[FIELDS]};
  return MICA_OK;
}

bool mica_table_file_stream_is(const mica_stream *stream) {
  return stream->next == next;
}

void mica_table_file_stream_free(mica_stream *stream) {
  file_stream *s = stream->ctx;
  if (!s) return;
  mica_prefetch_free(s->prefetch); /* before what its thread uses */
  drop_given(s);
  for (int64_t b = 0; b <= AHEAD; b++)
    for (int k = 0; k < TENSORS; k++) mica_tensor_free(s->slots[b].full[k]);
  mica_table_pass_free(s->pass);
  mica_free(s);
  stream->ctx = NULL;
}

static mica_status make_slot(const file_stream *s, slot *b) {
  const mica_columns *c = s->columns;
  const bool labelled = mica_table_pass_labelled(s->pass);
  mica_status status = mica_tensor_create(MICA_I64, MICA_SHAPE(s->batch), &b->full[IDS]);
  if (status == MICA_OK && c->width)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(s->batch, c->width), &b->full[X]);
  if (status == MICA_OK && c->fields)
    status = mica_tensor_create(MICA_I64, MICA_SHAPE(s->batch, c->fields), &b->full[FIELDS]);
  if (status == MICA_OK && labelled && c->regression)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(s->batch, 1), &b->full[TARGETS]);
  if (status == MICA_OK && labelled && !c->regression)
    status = mica_tensor_create(MICA_I64, MICA_SHAPE(s->batch), &b->full[LABELS]);
  return status;
}

mica_status mica_table_file_stream_create(const mica_data_table *table, mica_part part,
                                          int64_t batch, bool shuffle, uint64_t seed,
                                          mica_stream *out) {
  file_stream *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->columns = mica_data_table_columns(table);
  s->total = mica_data_table_part_count(table, part);
  s->batch = batch < s->total ? batch : s->total;
  s->batches = (s->total + s->batch - 1) / s->batch;
  *out = (mica_stream){.ctx = s, .batches = s->batches, .seek = seek, .next = next};
  const mica_key key = mica_key_fold_name(mica_key_seed(seed), "order");
  mica_status status = mica_table_pass_create(table, part, shuffle, key, &s->pass);
  for (int64_t b = 0; b <= AHEAD && status == MICA_OK; b++) status = make_slot(s, &s->slots[b]);
  if (status == MICA_OK) status = mica_prefetch_create(make, s, AHEAD, &s->prefetch);
  if (status != MICA_OK) mica_table_file_stream_free(out);
  return status;
}
