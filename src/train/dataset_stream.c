/* Batches of pictures from a data set: order, augmentation and normalisation, all functions of
 * (seed, epoch, item), so a resumed run sees what the uninterrupted one would have seen. */
#include <mica/train.h>

#include <string.h>

typedef struct dataset_stream {
  const mica_dataset *ds;
  mica_preprocess p;
  mica_dataset_stream_options o;
  mica_key key;
  int64_t *item, *order, n, epoch, at;
  uint8_t *pixels;               /* a picture, and the same one moved */
  mica_tensor *x, *labels, *ids; /* full batches */
  mica_tensor *given[3];
} dataset_stream;

static void drop_given(dataset_stream *s) {
  for (int i = 0; i < 3; i++) {
    mica_tensor_free(s->given[i]);
    s->given[i] = NULL;
  }
}

static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  dataset_stream *s = ctx;
  if (epoch != s->epoch) {
    s->epoch = epoch;
    if (s->o.shuffle)
      mica_random_permutation(mica_key_fold(mica_key_fold_name(s->key, "order"), (uint64_t)epoch),
                              s->n, s->order);
  }
  s->at = batch * s->o.batch;
  return MICA_OK;
}

/* One picture, shifted by (dy, dx), mirrored when flip, zeros outside. */
static void shifted(const mica_preprocess *p, const uint8_t *from, int64_t dy, int64_t dx,
                    bool flip, uint8_t *to) {
  const int64_t h = p->height, w = p->width, c = p->channels;
  for (int64_t y = 0; y < h; y++)
    for (int64_t x = 0; x < w; x++, to += c) {
      const int64_t sy = y + dy, sx = (flip ? w - 1 - x : x) + dx;
      if (sy >= 0 && sy < h && sx >= 0 && sx < w)
        memcpy(to, from + (sy * w + sx) * c, (size_t)c);
      else
        memset(to, 0, (size_t)c);
    }
}

static mica_status next(void *ctx, mica_batch *out) {
  dataset_stream *s = ctx;
  memset(out, 0, sizeof *out);
  drop_given(s);
  const int64_t n = s->n - s->at < s->o.batch ? s->n - s->at : s->o.batch;
  if (n <= 0) return mica_fail(MICA_ERR_STATE, "stream: the epoch has no more batches");
  const int64_t size = s->p.height * s->p.width * s->p.channels;
  const int64_t *all = mica_tensor_data(mica_dataset_labels(s->ds));
  int64_t *labels = mica_tensor_data(s->labels), *ids = mica_tensor_data(s->ids);
  const mica_key key = mica_key_fold(mica_key_fold_name(s->key, "augment"), (uint64_t)s->epoch);
  for (int64_t i = 0; i < n; i++) {
    const int64_t item = s->item[s->order[s->at + i]];
    mica_status status = mica_dataset_read(s->ds, item, s->pixels);
    if (status != MICA_OK) return status;
    const mica_key own = mica_key_fold(key, (uint64_t)item);
    const uint64_t side = 2 * (uint64_t)s->o.crop + 1;
    const int64_t dy = (int64_t)mica_random_below(own, 0, side) - s->o.crop;
    const int64_t dx = (int64_t)mica_random_below(own, 1, side) - s->o.crop;
    const bool flip = s->o.flip && mica_random_bits(own, 2) & 1;
    const bool moved = flip || dy || dx;
    if (moved) shifted(&s->p, s->pixels, dy, dx, flip, s->pixels + size);
    mica_image_normalise(&s->p, s->pixels + (moved ? size : 0), 1,
                         (float *)mica_tensor_data(s->x) + i * size);
    labels[i] = all[item];
    ids[i] = item;
  }
  s->at += n;
  mica_tensor *const full[3] = {s->x, s->labels, s->ids};
  mica_status status = MICA_OK;
  for (int i = 0; i < 3 && status == MICA_OK; i++)
    status = mica_tensor_slice(full[i], 0, n, &s->given[i]);
  *out = (mica_batch){n, s->given[0], s->given[1], s->given[2], NULL, NULL};
  return status;
}

void mica_dataset_stream_free(mica_stream *stream) {
  dataset_stream *s = stream->ctx;
  if (!s) return;
  drop_given(s);
  mica_tensor_free(s->x);
  mica_tensor_free(s->labels);
  mica_tensor_free(s->ids);
  mica_free(s->pixels);
  mica_free(s->item);
  mica_free(s->order);
  mica_free(s);
  stream->ctx = NULL;
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
  if (o.batch < 1 || o.crop < 0 || o.crop >= p->height || o.crop >= p->width)
    return mica_fail(MICA_ERR_INVALID,
                     "stream: batch size 1 or more, crop 0 to below the picture's side");
  const int64_t n = mica_dataset_part_count(ds, part);
  if (!n) return mica_fail(MICA_ERR_NOT_FOUND, "stream: the data set has nothing in that part");
  dataset_stream *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  out->ctx = s;
  if (o.batch > n) o.batch = n;
  s->ds = ds;
  s->p = *p;
  s->o = o;
  s->key = mica_key_seed(o.seed);
  s->n = n;
  s->epoch = -1;
  s->item = mica_malloc((size_t)n * sizeof *s->item);
  s->order = mica_malloc((size_t)n * sizeof *s->order);
  s->pixels = mica_malloc(2 * (size_t)(p->height * p->width * p->channels));
  mica_status status = s->item && s->order && s->pixels ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status =
        mica_tensor_create(MICA_F32, MICA_SHAPE(o.batch, p->height, p->width, p->channels), &s->x);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(o.batch), &s->labels);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(o.batch), &s->ids);
  if (status != MICA_OK) {
    mica_dataset_stream_free(out);
    return status;
  }
  int64_t k = 0;
  for (int64_t i = 0; i < mica_dataset_count(ds); i++)
    if (mica_dataset_part_of(ds, i) == part) s->item[k++] = i;
  for (int64_t i = 0; i < n; i++) s->order[i] = i;
  out->batches = (n + o.batch - 1) / o.batch;
  out->seek = seek;
  out->next = next;
  return MICA_OK;
}
