/* Batches of pictures from a data set: order, augmentation and normalisation, all functions of
 * (seed, epoch, item), so a resumed run sees what the uninterrupted one would have seen, and a
 * thread may prepare batches ahead of the step without changing them. */
#include "train/prefetch.h"
#include "train/sampler.h"

#include <mica/train.h>

#include <string.h>

enum { X, LABELS, IDS, TOKENS, TENSORS };

typedef struct slot {
  mica_tensor *full[TENSORS]; /* of whole batches */
  int64_t n;                  /* examples in it */
} slot;

typedef struct dataset_stream {
  const mica_dataset *ds;
  mica_preprocess p;
  mica_dataset_stream_options o;
  mica_key key;
  const mica_sampler *sampler; /* NULL: a permutation, or as they are */
  /* Fixed while batches are being made. */
  int64_t *item, *order, n, epoch;
  uint8_t *pixels; /* a picture, and the same one moved */
  /* Of pictures with texts: those of a batch, and the first row of each class in it (-1: none). */
  const char **text;
  int64_t *first;
  slot *slots;
  mica_prefetch *prefetch;
  /* The caller's. */
  int64_t batches, at; /* of an epoch; the next one */
  bool started;
  mica_tensor *given[TENSORS];
} dataset_stream;

/* ---- one batch ---- */

/* n pixels in the opposite order. */
static void reversed(int64_t n, int64_t c, const uint8_t *from, uint8_t *to) {
  from += (n - 1) * c;
  if (c == 1)
    for (int64_t x = 0; x < n; x++) *to++ = *from--;
  else if (c == 3)
    for (int64_t x = 0; x < n; x++, to += 3, from -= 3) {
      to[0] = from[0];
      to[1] = from[1];
      to[2] = from[2];
    }
  else
    for (int64_t x = 0; x < n; x++, to += c, from -= c) memcpy(to, from, (size_t)c);
}

/* One picture, shifted by (dy, dx), then mirrored when flip, zeros outside. */
static void shifted(const mica_preprocess *p, const uint8_t *from, int64_t dy, int64_t dx,
                    bool flip, uint8_t *to) {
  const int64_t h = p->height, w = p->width, c = p->channels;
  /* Where what remains of a row begins here and there, and how much it is. */
  const int64_t n = dx < 0 ? w + dx : w - dx, left = dx > 0 ? dx : 0;
  const int64_t zeros = flip ? left : dx < 0 ? -dx : 0;
  if (dy || dx) memset(to, 0, (size_t)(h * w * c));
  to += zeros * c;
  from += left * c;
  for (int64_t y = dy < 0 ? -dy : 0; y < h && y + dy < h; y++) {
    const uint8_t *row = from + (y + dy) * w * c;
    if (flip)
      reversed(n, c, row, to + y * w * c);
    else
      memcpy(to + y * w * c, row, (size_t)(n * c));
  }
}

static void example(const dataset_stream *s, int64_t item, float *to) {
  const int64_t size = s->p.height * s->p.width * s->p.channels;
  const mica_key epoch = mica_key_fold(mica_key_fold_name(s->key, "augment"), (uint64_t)s->epoch);
  const mica_key own = mica_key_fold(epoch, (uint64_t)item);
  const uint64_t side = 2 * (uint64_t)s->o.crop + 1;
  const int64_t dy = (int64_t)mica_random_below(own, 0, side) - s->o.crop;
  const int64_t dx = (int64_t)mica_random_below(own, 1, side) - s->o.crop;
  const bool flip = s->o.flip && mica_random_bits(own, 2) & 1, moved = flip || dy || dx;
  if (moved) shifted(&s->p, s->pixels, dy, dx, flip, s->pixels + size);
  mica_image_normalise(&s->p, s->pixels + (moved ? size : 0), 1, to);
}

/* The texts of a batch: their tokens, and for each the first row that has the same one. */
static mica_status add_texts(dataset_stream *s, slot *b) {
  int64_t *label = mica_tensor_data(b->full[LABELS]);
  const int64_t n = b->n;
  for (int64_t i = 0; i < n; i++) s->text[i] = mica_dataset_class(s->ds, label[i]);
  for (int64_t i = n - 1; i >= 0; i--) s->first[label[i]] = i;
  for (int64_t i = 0; i < n; i++) label[i] = s->first[label[i]];
  return mica_tokenizer_encode_rows(s->o.tokenizer, n, s->text, s->o.length,
                                    mica_tensor_data(b->full[TOKENS]), NULL);
}

/* Batch i of the epoch into a slot. Pictures that turn out unreadable are left out, unless the data
 * set is strict. */
static mica_status make(void *ctx, int64_t i, int64_t which) {
  dataset_stream *s = ctx;
  slot *b = &s->slots[which];
  const int64_t first = i * s->o.batch, size = s->p.height * s->p.width * s->p.channels;
  const int64_t n = s->n - first < s->o.batch ? s->n - first : s->o.batch;
  const int64_t *all = mica_tensor_data(mica_dataset_labels(s->ds));
  int64_t *labels = mica_tensor_data(b->full[LABELS]), *ids = mica_tensor_data(b->full[IDS]);
  float *x = mica_tensor_data(b->full[X]);
  b->n = 0;
  for (int64_t k = 0; k < n; k++) {
    const int64_t item = s->item[s->order[first + k]];
    if (mica_prefetch_cancelled(s->prefetch))
      return mica_fail(MICA_ERR_CANCELLED, "stream: this batch is not wanted any more");
    const mica_status status = mica_dataset_read(s->ds, item, s->pixels);
    if (status != MICA_OK) {
      if (mica_dataset_part_of(s->ds, item) != MICA_PART_COUNT) return status;
      continue;
    }
    example(s, item, x + b->n * size);
    labels[b->n] = all[item];
    ids[b->n++] = item;
  }
  if (!b->n)
    return mica_fail_within("stream: none of a batch's %lld pictures can be read", (long long)n);
  return s->o.tokenizer ? add_texts(s, b) : MICA_OK;
}

/* ---- the stream ---- */

static void drop_given(dataset_stream *s) {
  for (int i = 0; i < TENSORS; i++) {
    mica_tensor_free(s->given[i]);
    s->given[i] = NULL;
  }
}

static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  dataset_stream *s = ctx;
  mica_prefetch_stop(s->prefetch);
  const mica_key key = mica_key_fold(mica_key_fold_name(s->key, "order"), (uint64_t)epoch);
  if (epoch != s->epoch && s->sampler) {
    const mica_status status = mica_sampler_order(s->sampler, key, s->order);
    if (status != MICA_OK) return status;
  } else if (epoch != s->epoch && s->o.shuffle) {
    mica_random_permutation(key, s->n, s->order);
  }
  s->epoch = epoch;
  s->at = batch;
  s->started = false;
  return MICA_OK;
}

static mica_status next(void *ctx, mica_batch *out) {
  dataset_stream *s = ctx;
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
  for (int i = 0; i < TENSORS && status == MICA_OK; i++)
    if (!b->full[i])
      continue;
    else if (b->n == s->o.batch)
      s->given[i] = mica_tensor_retain(b->full[i]);
    else
      status = mica_tensor_slice(b->full[i], 0, b->n, &s->given[i]);
  if (status != MICA_OK) return status;
  out->n = b->n;
  out->x = s->given[X];
  out->labels = s->given[LABELS];
  out->ids = s->given[IDS];
  out->tokens = s->given[TOKENS];
  return MICA_OK;
}

mica_status mica_dataset_stream_sample(mica_stream *stream, const mica_sampler *sampler) {
  dataset_stream *s = stream->ctx;
  if (mica_sampler_count(sampler) != s->n)
    return mica_fail(MICA_ERR_INVALID, "stream: a sampler of %lld examples, the stream has %lld",
                     (long long)mica_sampler_count(sampler), (long long)s->n);
  mica_prefetch_stop(s->prefetch);
  s->sampler = sampler;
  s->epoch = -1;
  return MICA_OK;
}

void mica_dataset_stream_free(mica_stream *stream) {
  dataset_stream *s = stream->ctx;
  if (!s) return;
  mica_prefetch_free(s->prefetch); /* before what its thread uses */
  drop_given(s);
  for (int64_t k = 0; s->slots && k <= s->o.ahead; k++)
    for (int i = 0; i < TENSORS; i++) mica_tensor_free(s->slots[k].full[i]);
  mica_free(s->slots);
  mica_free(s->pixels);
  mica_free(s->text);
  mica_free(s->first);
  mica_free(s->item);
  mica_free(s->order);
  mica_free(s);
  stream->ctx = NULL;
}

static mica_status make_slot(slot *b, int64_t batch, const mica_preprocess *p, int64_t length) {
  mica_status status = mica_tensor_create(
      MICA_F32, MICA_SHAPE(batch, p->height, p->width, p->channels), &b->full[X]);
  for (int i = LABELS; i <= IDS && status == MICA_OK; i++)
    status = mica_tensor_create(MICA_I64, MICA_SHAPE(batch), &b->full[i]);
  return status == MICA_OK && length
             ? mica_tensor_create(MICA_I64, MICA_SHAPE(batch, length), &b->full[TOKENS])
             : status;
}

mica_status mica_dataset_stream_create(const mica_dataset *ds, mica_part part,
                                       const mica_preprocess *p,
                                       const mica_dataset_stream_options *given, mica_stream *out) {
  *out = (mica_stream){0};
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  const mica_shape shape = mica_dataset_shape(ds);
  if (shape.dim[0] != p->height || shape.dim[1] != p->width || shape.dim[2] != p->channels)
    return mica_fail(MICA_ERR_SHAPE,
                     "stream: the data set has pictures of %lldx%lldx%lld, the model reads "
                     "%lldx%lldx%lld",
                     (long long)shape.dim[0], (long long)shape.dim[1], (long long)shape.dim[2],
                     (long long)p->height, (long long)p->width, (long long)p->channels);
  if (o.batch < 1 || o.crop < 0 || o.crop >= p->height || o.crop >= p->width || o.ahead < 0 ||
      o.ahead > 64)
    return mica_fail(MICA_ERR_INVALID,
                     "stream: batch size 1 or more, crop 0 to below the picture's side, 0 to 64 "
                     "batches ahead");
  if (o.tokenizer && o.length < 1)
    return mica_fail(MICA_ERR_INVALID, "stream: texts of %lld tokens, expected 1 or more",
                     (long long)o.length);
  if (!o.tokenizer) o.length = 0;
  const int64_t n = mica_dataset_part_count(ds, part);
  if (!n) return mica_fail(MICA_ERR_NOT_FOUND, "stream: the data set has nothing in that part");
  dataset_stream *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  out->ctx = s;
  if (o.batch > n) o.batch = n;
  const int64_t batches = o.drop_last ? n / o.batch : (n + o.batch - 1) / o.batch;
  if (o.ahead > batches - 1) o.ahead = batches - 1;
  s->ds = ds;
  s->p = *p;
  s->o = o;
  s->key = mica_key_seed(o.seed);
  s->n = n;
  s->epoch = -1;
  s->batches = batches;
  s->item = mica_malloc((size_t)n * sizeof *s->item);
  s->order = mica_malloc((size_t)n * sizeof *s->order);
  s->pixels = mica_malloc(2 * (size_t)(p->height * p->width * p->channels));
  s->slots = mica_calloc((size_t)o.ahead + 1, sizeof *s->slots);
  s->text = mica_calloc((size_t)o.batch, sizeof *s->text);
  s->first = mica_calloc((size_t)mica_dataset_classes(ds) + 1, sizeof *s->first);
  mica_status status = s->item && s->order && s->pixels && s->slots && s->text && s->first
                           ? MICA_OK
                           : MICA_ERR_MEMORY;
  for (int64_t k = 0; k <= o.ahead && status == MICA_OK; k++)
    status = make_slot(&s->slots[k], o.batch, p, o.length);
  if (status == MICA_OK) status = mica_prefetch_create(make, s, o.ahead, &s->prefetch);
  if (status != MICA_OK) {
    mica_dataset_stream_free(out);
    return status;
  }
  int64_t k = 0;
  for (int64_t i = 0; i < mica_dataset_count(ds) && k < n; i++)
    if (mica_dataset_part_of(ds, i) == part) s->item[k++] = i;
  s->n = k;
  for (int64_t i = 0; i < k; i++) s->order[i] = i;
  out->batches = batches;
  out->seek = seek;
  out->next = next;
  return MICA_OK;
}
