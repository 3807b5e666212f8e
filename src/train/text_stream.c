/* Windows of a text as batches: tokens and the tokens that follow them. */
#include <mica/train.h>

#include <string.h>

typedef struct text_stream {
  const mica_token_text *text;
  mica_part part;
  int64_t length, batch, windows, epoch, at, shift, *order, *row;
  bool shuffle;
  mica_key key;
  mica_tensor *tokens, *labels, *given[2]; /* whole batches, and slices of them */
} text_stream;

static void drop_given(text_stream *s) {
  for (int k = 0; k < 2; k++) {
    mica_tensor_free(s->given[k]);
    s->given[k] = NULL;
  }
}

/* Each epoch cuts the text elsewhere, so that no place is always a window's first. */
static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  text_stream *s = ctx;
  if (epoch != s->epoch) {
    s->epoch = epoch;
    if (s->shuffle) {
      const int64_t spare = mica_token_text_count(s->text, s->part) - 1 - s->windows * s->length;
      const mica_key key = mica_key_fold(s->key, (uint64_t)epoch);
      mica_random_permutation(key, s->windows, s->order);
      s->shift =
          (int64_t)mica_random_below(mica_key_fold_name(key, "shift"), 0, (uint64_t)(spare + 1));
    }
  }
  s->at = batch * s->batch;
  return MICA_OK;
}

/* Window number w as row i of the batch; beyond the end of the text there is nothing to score. */
static mica_status fill(text_stream *s, int64_t w, int64_t i) {
  const int64_t begin = s->shift + w * s->length;
  const int64_t left = mica_token_text_count(s->text, s->part) - begin;
  const int64_t n = left < s->length + 1 ? left : s->length + 1;
  const mica_status status = mica_token_text_read(s->text, s->part, begin, n, s->row);
  int64_t *token = (int64_t *)mica_tensor_data(s->tokens) + i * s->length;
  int64_t *label = (int64_t *)mica_tensor_data(s->labels) + i * s->length;
  for (int64_t k = 0; k < s->length; k++) {
    token[k] = k < n ? s->row[k] : 0;
    label[k] = k + 1 < n ? s->row[k + 1] : -100;
  }
  return status;
}

static mica_status next(void *ctx, mica_batch *out) {
  text_stream *s = ctx;
  memset(out, 0, sizeof *out);
  const int64_t n = s->windows - s->at < s->batch ? s->windows - s->at : s->batch;
  if (n <= 0) return mica_fail(MICA_ERR_STATE, "stream: the epoch has no more batches");
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) status = fill(s, s->order[s->at + i], i);
  s->at += n;
  /* A batch of the same size is the same slices: nothing to allocate. */
  if (s->given[0] && mica_tensor_dim(s->given[0], 0) != n) drop_given(s);
  if (status == MICA_OK && !s->given[0]) {
    status = mica_tensor_slice(s->tokens, 0, n, &s->given[0]);
    if (status == MICA_OK) status = mica_tensor_slice(s->labels, 0, n, &s->given[1]);
  }
  *out = (mica_batch){.n = n, .tokens = s->given[0], .labels = s->given[1]};
  return status;
}

void mica_text_stream_free(mica_stream *stream) {
  text_stream *s = stream->ctx;
  if (!s) return;
  drop_given(s);
  mica_tensor_free(s->tokens);
  mica_tensor_free(s->labels);
  mica_free(s->order);
  mica_free(s->row);
  mica_free(s);
  stream->ctx = NULL;
}

mica_status mica_text_stream_create(const mica_token_text *text, mica_part part, int64_t length,
                                    int64_t batch, bool shuffle, uint64_t seed, mica_stream *out) {
  *out = (mica_stream){0};
  const int64_t n = mica_token_text_count(text, part);
  if (length < 1 || batch < 1)
    return mica_fail(MICA_ERR_INVALID,
                     "text stream: %lld tokens in batches of %lld, expected 1 or more",
                     (long long)length, (long long)batch);
  if (n < 2 || (shuffle && n - 1 < length))
    return mica_fail(MICA_ERR_INVALID,
                     "text stream: the part has %lld tokens, too few for windows of %lld and the "
                     "token that follows",
                     (long long)n, (long long)length);
  text_stream *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  /* Shuffled windows leave room to shift by up to a window's length where there is some. */
  const int64_t whole = (n - 1) / length;
  s->text = text;
  s->part = part;
  s->length = length;
  s->shuffle = shuffle;
  s->windows = !shuffle ? (n - 2) / length + 1 : whole > 1 ? (n - length) / length : whole;
  s->batch = batch < s->windows ? batch : s->windows;
  s->epoch = -1;
  s->key = mica_key_fold_name(mica_key_seed(seed), "order");
  s->order = mica_malloc((size_t)s->windows * sizeof *s->order);
  s->row = mica_malloc((size_t)(length + 1) * sizeof *s->row);
  out->ctx = s;
  mica_status status = s->order && s->row ? MICA_OK : MICA_ERR_MEMORY;
  const mica_shape shape = MICA_SHAPE(s->batch, length);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, shape, &s->tokens);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, shape, &s->labels);
  if (status != MICA_OK) {
    mica_text_stream_free(out);
    return status;
  }
  for (int64_t i = 0; i < s->windows; i++) s->order[i] = i;
  out->batches = (s->windows + s->batch - 1) / s->batch;
  out->seek = seek;
  out->next = next;
  return MICA_OK;
}
