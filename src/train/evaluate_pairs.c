/* How well pictures and texts find each other: all pairs of a stream, both ways. */
#include "train/batch.h"

#include <mica/retrieval.h>

#include <stdlib.h>
#include <string.h>

#define LIST 50 /* how far down ties are looked at */

typedef struct marked {
  uint64_t hash;
  int64_t i;
} marked;

/* Vectors of one kind; equal things have equal hashes. */
typedef struct side {
  float *x; /* [n, width] */
  marked *mark;
  int64_t *number; /* [n] of the thing, by first occurrence */
  int64_t things;
} side;

typedef struct pairs {
  side picture, text;
  int64_t n, room, width;
} pairs;

static void side_free(side *s) {
  mica_free(s->x);
  mica_free(s->mark);
  mica_free(s->number);
}

static mica_status grow(side *s, int64_t room, int64_t width) {
  float *x = mica_realloc_array(s->x, (size_t)room, (size_t)width * sizeof *x);
  if (x) s->x = x;
  marked *mark = x ? mica_realloc_array(s->mark, (size_t)room, sizeof *mark) : NULL;
  if (mark) s->mark = mark;
  return mark ? MICA_OK : MICA_ERR_MEMORY;
}

/* The rows of a batch [n, width], and a hash of what each was made of. */
static void take(side *s, int64_t at, const mica_view *rows, const mica_tensor *from) {
  const int64_t n = rows->shape.dim[0], width = rows->shape.dim[1];
  const size_t bytes =
      (size_t)(mica_tensor_count(from) / n) * mica_dtype_size(mica_tensor_dtype(from));
  const char *of = mica_tensor_data(from);
  memcpy(s->x + at * width, rows->data, (size_t)(n * width) * sizeof *s->x);
  for (int64_t i = 0; i < n; i++)
    s->mark[at + i] = (marked){mica_hash64(of + (size_t)i * bytes, bytes, 0), at + i};
}

static mica_status gather(mica_tape *t, const mica_net *net, const mica_batch *batch, pairs *p) {
  mica_outputs o;
  if (batch->parts || !batch->x || !batch->tokens)
    return mica_fail(MICA_ERR_INVALID, "evaluation: the stream gives no pictures with texts");
  mica_tape_reset(t);
  mica_no_grad_begin(t);
  const mica_inputs in = mica_batch_inputs(t, batch);
  mica_net_forward_inputs(t, net, &in, &o);
  if (mica_ok(t) && (mica_is_none(o.features) || mica_is_none(o.text)))
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "evaluation: the network gives no vectors of pictures and of texts");
  const mica_view x = mica_read(t, mica_affine(t, o.features, 1, 0));
  const mica_view y = mica_read(t, mica_affine(t, o.text, 1, 0));
  mica_status status = mica_tape_status(t);
  if (status != MICA_OK) return status;
  if (x.shape.dim[1] != y.shape.dim[1])
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "evaluation: pictures of %lld numbers and texts of %lld do not meet",
                     (long long)x.shape.dim[1], (long long)y.shape.dim[1]);
  p->width = x.shape.dim[1];
  if (p->n + batch->n > p->room) {
    const int64_t room = 2 * p->room + batch->n;
    status = grow(&p->picture, room, p->width);
    if (status == MICA_OK) status = grow(&p->text, room, p->width);
    if (status != MICA_OK) return status;
    p->room = room;
  }
  take(&p->picture, p->n, &x, batch->x);
  take(&p->text, p->n, &y, batch->tokens);
  p->n += batch->n;
  return MICA_OK;
}

static int by_hash(const void *a, const void *b) {
  const marked *x = a, *y = b;
  if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
  return x->i < y->i ? -1 : x->i > y->i;
}

/* Number the things, and leave the rows of the first of each. */
static mica_status number(side *s, int64_t n, int64_t width) {
  if (!(s->number = mica_calloc((size_t)n + 1, sizeof *s->number))) return MICA_ERR_MEMORY;
  qsort(s->mark, (size_t)n, sizeof *s->mark, by_hash);
  int64_t first = 0;
  for (int64_t k = 0; k < n; k++) {
    if (!k || s->mark[k].hash != s->mark[k - 1].hash) first = s->mark[k].i;
    s->number[s->mark[k].i] = first;
  }
  for (int64_t i = 0; i < n; i++)
    if (s->number[i] == i) {
      memmove(s->x + s->things * width, s->x + i * width, (size_t)width * sizeof *s->x);
      s->number[i] = s->things++;
    } else {
      s->number[i] = s->number[s->number[i]];
    }
  return MICA_OK;
}

typedef struct link {
  int64_t from, to;
} link;

static int by_ends(const void *a, const void *b) {
  const link *x = a, *y = b;
  if (x->from != y->from) return x->from < y->from ? -1 : 1;
  return x->to < y->to ? -1 : x->to > y->to;
}

/* Which of b belong to each of a: at [a + 1] and id [n]. */
static mica_status lists(const side *a, const side *b, int64_t n, int64_t **at, int64_t **id) {
  link *l = mica_calloc((size_t)n + 1, sizeof *l);
  *at = mica_calloc((size_t)a->things + 1, sizeof **at);
  *id = mica_calloc((size_t)n + 1, sizeof **id);
  const mica_status status = l && *at && *id ? MICA_OK : MICA_ERR_MEMORY;
  int64_t m = 0;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) l[i] = (link){a->number[i], b->number[i]};
  if (status == MICA_OK) qsort(l, (size_t)n, sizeof *l, by_ends);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    if (i && l[i].from == l[i - 1].from && l[i].to == l[i - 1].to) continue;
    (*id)[m++] = l[i].to;
    (*at)[l[i].from + 1] = m;
  }
  mica_free(l);
  return status;
}

static mica_status ask(mica_engine *engine, const side *a, const side *b, const pairs *p,
                       mica_estimate out[2]) {
  mica_index_batch rows = MICA_INDEX_BATCH;
  mica_index_truth truth = MICA_INDEX_TRUTH;
  mica_index_query_options q = MICA_INDEX_QUERY_OPTIONS;
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  mica_index *index = NULL;
  mica_retrieval *r = NULL;
  int64_t *at = NULL, *id = NULL;
  const mica_view queries = mica_view_of(a->x, MICA_F32, MICA_SHAPE(a->things, p->width));
  rows.x = mica_view_of(b->x, MICA_F32, MICA_SHAPE(b->things, p->width));
  o.measures = "hr@1,hr@5";
  o.ties = MICA_TIES_AGAINST;
  q.k = LIST;
  mica_status status = lists(a, b, p->n, &at, &id);
  if (status == MICA_OK) status = mica_index_create(engine, "exact", &rows, &index);
  if (status == MICA_OK) status = mica_retrieval_create(engine, &o, &r);
  truth.at = at;
  truth.id = id;
  if (status == MICA_OK) status = mica_retrieval_ask(r, index, &queries, &truth, &q);
  if (status == MICA_OK) status = mica_retrieval_result(r, out);
  mica_retrieval_free(r);
  mica_index_free(index);
  mica_free(at);
  mica_free(id);
  return status;
}

mica_status mica_evaluate_pairs(const mica_net *net, const mica_stream *stream,
                                mica_pairs_evaluation *out) {
  memset(out, 0, sizeof *out);
  mica_engine *engine = mica_params_engine(mica_net_params(net));
  mica_tape *t = NULL;
  pairs p = {0};
  mica_status status = mica_tape_create(engine, NULL, &t);
  if (status == MICA_OK) status = stream->seek(stream->ctx, 0, 0);
  for (int64_t b = 0; b < stream->batches && status == MICA_OK; b++) {
    mica_batch batch = {0};
    status = stream->next(stream->ctx, &batch);
    if (status == MICA_OK) status = gather(t, net, &batch, &p);
  }
  mica_tape_free(t);
  if (status == MICA_OK && !p.n)
    status = mica_fail(MICA_ERR_INVALID, "evaluation: the stream has no pairs");
  if (status == MICA_OK) status = number(&p.picture, p.n, p.width);
  if (status == MICA_OK) status = number(&p.text, p.n, p.width);
  if (status == MICA_OK) status = ask(engine, &p.picture, &p.text, &p, out->to_text);
  if (status == MICA_OK) status = ask(engine, &p.text, &p.picture, &p, out->to_picture);
  out->pairs = p.n;
  out->pictures = p.picture.things;
  out->texts = p.text.things;
  side_free(&p.picture);
  side_free(&p.text);
  return status;
}
