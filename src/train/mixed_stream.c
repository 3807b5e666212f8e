/* Several streams as one.
 *
 * Stream k gives `share[k]` batches of every epoch, so before epoch e it has given e times that:
 * where any of them stands follows from the epoch and the order within it alone.
 */
#include <mica/train.h>

#include <math.h>
#include <string.h>

#define STREAMS 64
#define BATCHES INT64_C(0x100000000) /* the most of an epoch */

typedef struct mixed {
  mica_stream *stream; /* [n] */
  int64_t n, batches;
  mica_mix mix;
  mica_key key;
  int64_t *share; /* [n] batches of an epoch */
  int64_t *due;   /* [n] batches given since the run's beginning, when this one comes */
  int64_t *at;    /* [n] where the stream stands, -1: nobody knows */
  int64_t *turn;  /* [batches] whose turn it is, in the epoch `turns_of`; NULL when zipped */
  int64_t *order; /* [batches] scratch */
  int64_t turns_of, next;
  mica_batch *part; /* [n] */
} mixed;

/* Whose turn each batch of the epoch is. */
static void set_turns(mixed *m, int64_t epoch) {
  if (m->mix == MICA_MIX_ZIPPED || m->turns_of == epoch) return;
  int64_t at = 0;
  m->turns_of = epoch;
  if (m->mix == MICA_MIX_TURNS) {
    for (; at < m->batches; at++) m->turn[at] = at % m->n;
    return;
  }
  mica_random_permutation(mica_key_fold(m->key, (uint64_t)epoch), m->batches, m->order);
  for (int64_t k = 0; k < m->n; k++)
    for (int64_t i = 0; i < m->share[k]; i++) m->turn[m->order[at++]] = k;
}

static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  mixed *m = ctx;
  if (epoch < 0 || batch < 0 || batch > m->batches || epoch > INT64_MAX / m->batches - 1)
    return mica_fail(MICA_ERR_INVALID, "mixed stream: batch %lld of epoch %lld is none of it",
                     (long long)batch, (long long)epoch);
  set_turns(m, epoch);
  for (int64_t k = 0; k < m->n; k++) m->due[k] = epoch * m->share[k];
  for (int64_t i = 0; i < batch && m->turn; i++) m->due[m->turn[i]]++;
  for (int64_t k = 0; k < m->n && !m->turn; k++) m->due[k] += batch;
  for (int64_t k = 0; k < m->n; k++) m->at[k] = -1;
  m->next = batch;
  return MICA_OK;
}

/* The batch that is due of stream k. */
static mica_status take(mixed *m, int64_t k, mica_batch *out) {
  const mica_stream *s = &m->stream[k];
  const int64_t epoch = m->due[k] / s->batches, batch = m->due[k] % s->batches;
  mica_status status = MICA_OK;
  if (m->at[k] != m->due[k] || batch == 0) status = s->seek(s->ctx, epoch, batch);
  m->at[k] = -1;
  if (status == MICA_OK) status = s->next(s->ctx, out);
  if (status != MICA_OK) return status;
  if (out->parts)
    return mica_fail(MICA_ERR_INVALID, "mixed stream: stream %lld is zipped itself",
                     (long long)k + 1);
  m->at[k] = ++m->due[k];
  return MICA_OK;
}

static mica_status next(void *ctx, mica_batch *out) {
  mixed *m = ctx;
  memset(out, 0, sizeof *out);
  if (m->next >= m->batches)
    return mica_fail(MICA_ERR_STATE, "mixed stream: the epoch has no more batches");
  mica_status status = MICA_OK;
  if (m->turn) {
    status = take(m, m->turn[m->next], out);
  } else {
    for (int64_t k = 0; k < m->n && status == MICA_OK; k++) {
      status = take(m, k, &m->part[k]);
      out->n += m->part[k].n;
    }
    out->parts = m->n;
    out->part = m->part;
  }
  if (status != MICA_OK) {
    memset(out, 0, sizeof *out);
    return status;
  }
  m->next++;
  return MICA_OK;
}

/* ---- shares ---- */

/* Batches that add up to all of them and are nearest to the weights: whole parts first, then one
 * more for those with the largest rest, the earlier of equals. */
static mica_status weigh(mixed *m, const double *weights) {
  double sum = 0, rest[STREAMS];
  int64_t left = m->batches;
  for (int64_t k = 0; k < m->n; k++) {
    const double w = weights ? weights[k] : 1;
    if (!(w > 0) || !isfinite(w))
      return mica_fail(MICA_ERR_INVALID, "mixed stream: weight %lld is %g, expected above 0",
                       (long long)k + 1, w);
    sum += w;
  }
  for (int64_t k = 0; k < m->n; k++) {
    const double want = (double)m->batches * ((weights ? weights[k] : 1) / sum);
    m->share[k] = (int64_t)floor(want);
    if (m->share[k] > left) m->share[k] = left;
    rest[k] = want - (double)m->share[k];
    left -= m->share[k];
  }
  for (; left > 0; left--) {
    int64_t most = 0;
    for (int64_t k = 1; k < m->n; k++)
      if (rest[k] > rest[most]) most = k;
    m->share[most]++;
    rest[most] -= 1;
  }
  return MICA_OK;
}

static mica_status set_shares(mixed *m, const double *weights) {
  mica_status status = MICA_OK;
  if (m->mix == MICA_MIX_WEIGHTS) status = weigh(m, weights);
  for (int64_t k = 0; k < m->n && m->mix != MICA_MIX_WEIGHTS; k++)
    m->share[k] =
        m->mix == MICA_MIX_ZIPPED ? m->batches : m->batches / m->n + (k < m->batches % m->n);
  for (int64_t k = 0; k < m->n && status == MICA_OK; k++)
    if (!m->share[k])
      status =
          mica_fail(MICA_ERR_INVALID,
                    "mixed stream: stream %lld would have none of the %lld batches of an epoch",
                    (long long)k + 1, (long long)m->batches);
  return status;
}

/* ---- life ---- */

static int64_t default_batches(const mica_stream *streams, int64_t n, mica_mix mix) {
  int64_t longest = 0, all = 0;
  for (int64_t k = 0; k < n; k++) {
    if (streams[k].batches > longest) longest = streams[k].batches;
    all += streams[k].batches;
  }
  return mix == MICA_MIX_ZIPPED ? longest : mix == MICA_MIX_TURNS ? n * longest : all;
}

static mica_status check(const mica_stream *streams, int64_t n,
                         const mica_mixed_stream_options *o) {
  if (n < 1 || n > STREAMS)
    return mica_fail(MICA_ERR_INVALID, "mixed stream: %lld streams, expected 1 to %d", (long long)n,
                     STREAMS);
  if ((unsigned)o->mix > MICA_MIX_ZIPPED)
    return mica_fail(MICA_ERR_INVALID, "mixed stream: mix is %d, expected one of mica_mix",
                     (int)o->mix);
  for (int64_t k = 0; k < n; k++)
    if (streams[k].batches < 1 || streams[k].batches > BATCHES / n)
      return mica_fail(MICA_ERR_INVALID,
                       "mixed stream: stream %lld has %lld batches, expected 1 to %lld",
                       (long long)k + 1, (long long)streams[k].batches, (long long)(BATCHES / n));
  if (o->batches < 0 || o->batches > BATCHES)
    return mica_fail(MICA_ERR_INVALID, "mixed stream: %lld batches, expected 0 to %lld",
                     (long long)o->batches, (long long)BATCHES);
  return MICA_OK;
}

static mica_status allocate(mixed *m, const mica_stream *streams) {
  const size_t n = (size_t)m->n, batches = (size_t)m->batches;
  m->stream = mica_calloc(n, sizeof *m->stream);
  m->share = mica_calloc(n, sizeof *m->share);
  m->due = mica_calloc(n, sizeof *m->due);
  m->at = mica_calloc(n, sizeof *m->at);
  m->part = mica_calloc(n, sizeof *m->part);
  if (!m->stream || !m->share || !m->due || !m->at || !m->part) return MICA_ERR_MEMORY;
  memcpy(m->stream, streams, n * sizeof *streams);
  if (m->mix == MICA_MIX_ZIPPED) return MICA_OK;
  m->turn = mica_calloc(batches, sizeof *m->turn);
  m->order = mica_calloc(batches, sizeof *m->order);
  return m->turn && m->order ? MICA_OK : MICA_ERR_MEMORY;
}

void mica_mixed_stream_free(mica_stream *stream) {
  mixed *m = stream->ctx;
  if (!m) return;
  mica_free(m->stream);
  mica_free(m->share);
  mica_free(m->due);
  mica_free(m->at);
  mica_free(m->part);
  mica_free(m->turn);
  mica_free(m->order);
  mica_free(m);
  stream->ctx = NULL;
}

mica_status mica_mixed_stream_create(const mica_stream *streams, int64_t n,
                                     const mica_mixed_stream_options *given, mica_stream *out) {
  *out = (mica_stream){0};
  mica_mixed_stream_options o = MICA_MIXED_STREAM_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_status status = check(streams, n, &o);
  if (status != MICA_OK) return status;
  mixed *m = mica_calloc(1, sizeof *m);
  if (!m) return MICA_ERR_MEMORY;
  out->ctx = m;
  m->n = n;
  m->mix = o.mix;
  m->batches = o.batches ? o.batches : default_batches(streams, n, o.mix);
  m->key = mica_key_fold_name(mica_key_seed(o.seed), "mix");
  m->turns_of = -1;
  status = allocate(m, streams);
  if (status == MICA_OK) status = set_shares(m, o.weights);
  if (status == MICA_OK) status = seek(m, 0, 0);
  if (status != MICA_OK) {
    mica_mixed_stream_free(out);
    return status;
  }
  out->batches = m->batches;
  out->seek = seek;
  out->next = next;
  return MICA_OK;
}
