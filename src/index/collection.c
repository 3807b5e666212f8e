/* Collections: what is added and deleted, and what is answered. */
#include "index/collection_folder.h"

#include "base/file.h"
#include "index/index.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fewer rows than this are compared one by one in no time. */
enum { least_rows = 4096 };

/* ---- a new segment ---- */

/* The exact index that compares and stores rows as the collection does. */
static mica_status exact_spec(const mica_collection *c, char *out, size_t n) {
  static const char *const storage[] = {"f32", "bf16", "f16"};
  mica_spec *spec = NULL;
  mica_status status = mica_spec_parse(c->engine, MICA_KIND_INDEX, c->spec, &spec);
  if (status) return status;
  const mica_index_head *head = mica_spec_options(spec);
  snprintf(out, n, "exact:metric=%s:storage=%s",
           mica_index_metric_name((mica_index_metric)head->metric), storage[head->storage]);
  mica_spec_free(spec);
  return MICA_OK;
}

enum { piece_rows = 512 };

/* Rows that still count, a piece at a time. */
typedef struct piece {
  char *x, *text; /* the names, one after the other */
  const char *name[piece_rows];
  int64_t id[piece_rows], label[piece_rows], n;
} piece;

static mica_status take_names(const mica_index *from, const int64_t *row, piece *p) {
  int64_t bytes = 0;
  for (int64_t i = 0; i < p->n; i++) bytes += from->name_at[row[i] + 1] - from->name_at[row[i]] + 1;
  mica_free(p->text);
  char *to = p->text = mica_malloc((size_t)bytes);
  if (!to) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < p->n; i++) {
    const size_t length = (size_t)(from->name_at[row[i] + 1] - from->name_at[row[i]]);
    memcpy(to, from->names + from->name_at[row[i]], length);
    to[length] = 0;
    p->name[i] = length ? to : NULL;
    to += length + 1;
  }
  return MICA_OK;
}

static mica_status add_piece(const mica_index *from, const int64_t *row, piece *p,
                             mica_index_builder *b) {
  const mica_index_rows *rows = &from->rows;
  const size_t bytes = (size_t)rows->d * mica_dtype_size(rows->dtype);
  for (int64_t i = 0; i < p->n; i++) {
    memcpy(p->x + (size_t)i * bytes, (const char *)rows->x + (size_t)row[i] * bytes, bytes);
    p->id[i] = from->id[row[i]];
    p->label[i] = from->label ? from->label[row[i]] : MICA_CLASS_NONE;
  }
  mica_status status = from->name_at ? take_names(from, row, p) : MICA_OK;
  if (status) return status;
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(p->x, rows->dtype, MICA_SHAPE(p->n, rows->d));
  batch.id = p->id;
  batch.label = from->label ? p->label : NULL;
  batch.name = from->name_at ? p->name : NULL;
  return mica_index_builder_add(b, &batch);
}

static mica_status add_living(const mica_collection_segment *s, mica_index_builder *b) {
  const mica_index *from = s->at->index;
  int64_t row[piece_rows];
  piece *p = mica_calloc(1, sizeof *p);
  if (!p) return MICA_ERR_MEMORY;
  p->x = mica_realloc_array(NULL, piece_rows, (size_t)from->rows.d * sizeof(float));
  mica_status status = p->x ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t r = 0; r < from->rows.n && !status; r++) {
    if (mica_collection_segment_has(s, r)) row[p->n++] = r;
    if (!p->n || (p->n < piece_rows && r + 1 < from->rows.n)) continue;
    status = add_piece(from, row, p, b);
    p->n = 0;
  }
  mica_free(p->x);
  mica_free(p->text);
  mica_free(p);
  return status;
}

/* A segment of what lives in these segments, then of the batch (NULL: none), at the end of the
 * state. */
static mica_status add_segment(mica_collection_change *h, const mica_collection_segment *merged,
                               int64_t n, int64_t rows, const mica_index_batch *batch) {
  mica_collection *c = h->c;
  char spec[96], name[32];
  mica_index_builder *b = NULL;
  mica_status status = exact_spec(c, spec, sizeof spec);
  if (status) return status;
  snprintf(name, sizeof name, "%06lld.index", (long long)h->after->next_file++);
  char *path = mica_path_join(c->path, name);
  if (!path) return MICA_ERR_MEMORY;
  status =
      mica_index_builder_create(c->engine, rows < least_rows ? spec : c->spec, c->width, path, &b);
  for (int64_t i = 0; i < n && !status; i++) status = add_living(&merged[i], b);
  if (!status && batch) status = mica_index_builder_add(b, batch);
  if (!status) status = mica_index_builder_finish(b, NULL);
  mica_index_builder_free(b);
  mica_free(path);
  if (!status) status = mica_collection_segment_open(c, h->after, name, "");
  if (status) mica_collection_remove(c, name);
  return status;
}

/* ---- deleting ---- */

static int by_value(const void *pa, const void *pb) {
  const int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
  return a < b ? -1 : a > b;
}

/* The rows of a segment with one of the sorted ids no longer count. */
static mica_status strike(mica_collection_segment *s, const int64_t *id, int64_t n,
                          int64_t *struck) {
  const int64_t rows = mica_index_count(s->at->index), *own = mica_index_ids(s->at->index);
  *struck = 0;
  for (int64_t row = 0; row < rows && n; row++) {
    if (own[row] < id[0] || own[row] > id[n - 1] || !mica_collection_segment_has(s, row) ||
        !bsearch(&own[row], id, (size_t)n, sizeof *id, by_value))
      continue;
    if (!s->alive) {
      s->alive = mica_malloc((size_t)mica_collection_segment_words(rows) * sizeof *s->alive);
      if (!s->alive) return MICA_ERR_MEMORY;
      memset(s->alive, 0xff, (size_t)mica_collection_segment_words(rows) * sizeof *s->alive);
      if (rows % 64) s->alive[rows / 64] = (UINT64_C(1) << rows % 64) - 1;
    }
    s->alive[row / 64] &= ~(UINT64_C(1) << row % 64);
    s->rows--;
    ++*struck;
  }
  return MICA_OK;
}

/* The segments of the state before, without these ids; segments that run empty go. */
static mica_status keep_without(mica_collection_change *h, const int64_t *id, int64_t n,
                                int64_t *deleted) {
  mica_collection_state *to = h->after;
  for (int64_t i = 0; i < h->before->n; i++) {
    int64_t struck;
    mica_status status = mica_collection_state_keep(h->c, to, &h->before->segment[i]);
    if (status) return status;
    mica_collection_segment *s = &to->segment[to->n - 1];
    status = strike(s, id, n, &struck);
    if (!status && struck && s->rows) status = mica_collection_segment_write_bitmap(h->c, to, s);
    if (status) return status;
    to->rows -= struck;
    *deleted += struck;
    if (!s->rows) {
      mica_collection_segment_close(h->c, s);
      to->n--;
    }
  }
  return MICA_OK;
}

/* A sorted copy of ids; NULL with the last error set. */
static int64_t *sorted(const int64_t *id, int64_t n) {
  int64_t *copy = mica_realloc_array(NULL, (size_t)n, sizeof *copy);
  if (!copy) return NULL;
  if (n) memcpy(copy, id, (size_t)n * sizeof *copy);
  qsort(copy, (size_t)n, sizeof *copy, by_value);
  return copy;
}

mica_status mica_collection_delete(mica_collection *collection, const int64_t *id, int64_t n,
                                   int64_t *deleted) {
  int64_t count = 0;
  if (deleted) *deleted = 0;
  int64_t *list = sorted(id, n);
  if (!list) return MICA_ERR_MEMORY;
  mica_collection_change h;
  mica_status status = mica_collection_change_begin(collection, &h);
  if (!status) status = keep_without(&h, list, n, &count);
  status = mica_collection_change_end(&h, status);
  if (!status && deleted) *deleted = count;
  mica_free(list);
  return status;
}

/* ---- adding ---- */

/* Segments at the end, from this one on, are so small beside what comes that they are merged with
 * it; their rows are added to *rows. */
static int64_t first_merged(const mica_collection_state *s, int64_t *rows) {
  int64_t i = s->n;
  while (i > 0 && s->segment[i - 1].rows <= 2 * *rows && *rows < INT64_C(1) << 40)
    *rows += s->segment[--i].rows;
  return i;
}

/* Ids of the batch: its own, checked, or the next ones. */
static mica_status number_batch(const mica_collection_state *s, const mica_index_batch *batch,
                                int64_t **list) {
  const int64_t n = batch->x.shape.rank == 2 ? batch->x.shape.dim[0] : 0;
  *list = mica_realloc_array(NULL, (size_t)n, sizeof **list);
  if (!*list) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) (*list)[i] = batch->id ? batch->id[i] : s->next_id + i;
  int64_t *order = sorted(*list, n);
  if (!order) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  if (n && order[0] < 0)
    status =
        mica_fail(MICA_ERR_INVALID, "collection: id %lld, expected 0 or more", (long long)order[0]);
  for (int64_t i = 1; i < n && !status; i++)
    if (order[i] == order[i - 1])
      status = mica_fail(MICA_ERR_INVALID, "collection: id %lld is twice in the rows to add",
                         (long long)order[i]);
  mica_free(order);
  return status;
}

static mica_status add_rows(mica_collection_change *h, const mica_index_batch *batch) {
  int64_t *list = NULL, n = batch->x.shape.dim[0], replaced = 0;
  mica_status status = number_batch(h->before, batch, &list);
  int64_t *order = status ? NULL : sorted(list, n);
  if (!status && !order) status = MICA_ERR_MEMORY;
  /* Ids that are all new need no looking for. */
  const bool fresh = order && order[0] >= h->before->next_id;
  if (!status) status = keep_without(h, order, fresh ? 0 : n, &replaced);
  mica_collection_state *to = h->after;
  int64_t rows = n;
  const int64_t first = first_merged(to, &rows), merged = to->n - first;
  mica_collection_segment *from = mica_realloc_array(NULL, (size_t)merged, sizeof *from);
  if (!from) status = MICA_ERR_MEMORY;
  mica_index_batch numbered = MICA_INDEX_BATCH;
  memcpy(&numbered, batch, batch->size < sizeof numbered ? batch->size : sizeof numbered);
  numbered.id = list;
  if (!status) {
    if (order[n - 1] >= to->next_id) to->next_id = order[n - 1] + 1;
    if (merged) memcpy(from, to->segment + first, (size_t)merged * sizeof *from);
    to->n = first;
    for (int64_t i = 0; i < merged; i++) to->rows -= from[i].rows;
    status = add_segment(h, from, merged, rows, &numbered);
    for (int64_t i = 0; i < merged; i++) {
      if (!mica_collection_state_names(h->before, from[i].bitmap))
        mica_collection_remove(h->c, from[i].bitmap);
      mica_collection_segment_close(h->c, &from[i]);
    }
  }
  mica_free(from);
  mica_free(list);
  mica_free(order);
  return status;
}

mica_status mica_collection_add(mica_collection *collection, const mica_index_batch *batch) {
  const mica_view *x = &batch->x;
  char text[96];
  if (x->shape.rank != 2 || x->shape.dim[1] != collection->width)
    return mica_fail(MICA_ERR_SHAPE, "collection: rows %s, expected [rows, %lld]",
                     mica_shape_text(&x->shape, text, sizeof text), (long long)collection->width);
  if (x->shape.dim[0] < 1) return MICA_OK;
  mica_collection_change h;
  mica_status status = mica_collection_change_begin(collection, &h);
  if (!status) status = add_rows(&h, batch);
  return mica_collection_change_end(&h, status);
}

mica_status mica_collection_compact(mica_collection *collection) {
  mica_collection_change h;
  mica_status status = mica_collection_change_begin(collection, &h);
  if (!status && h.before->rows)
    status = add_segment(&h, h.before->segment, h.before->n, h.before->rows, NULL);
  return mica_collection_change_end(&h, status);
}

/* ---- texts ---- */

mica_status mica_collection_set_text(mica_collection *collection, const char *key,
                                     const char *value) {
  int64_t none = 0;
  mica_collection_change h;
  mica_status status = mica_collection_change_begin(collection, &h);
  if (!status) status = keep_without(&h, NULL, 0, &none);
  if (!status) status = mica_collection_state_note(h.after, key, value);
  return mica_collection_change_end(&h, status);
}

mica_status mica_collection_text(mica_collection *collection, const char *key, char **out) {
  mica_collection_state *s = mica_collection_state_take(collection);
  mica_status status = MICA_OK;
  *out = NULL;
  for (int64_t i = 0; i < s->notes && !*out && !status; i++)
    if (strcmp(s->note[i].key, key) == 0 && !(*out = mica_strdup(s->note[i].value)))
      status = MICA_ERR_MEMORY;
  mica_collection_state_drop(collection, s);
  return status;
}

/* ---- all rows ---- */

typedef struct entry {
  int64_t id, label;
} entry;

static int by_entry(const void *a, const void *b) {
  return by_value(&((const entry *)a)->id, &((const entry *)b)->id);
}

static mica_status list_rows(const mica_collection_state *s, entry *all, int64_t *id,
                             int64_t *label) {
  int64_t n = 0;
  if (!all || !id || !label) return MICA_ERR_MEMORY;
  for (int64_t g = 0; g < s->n; g++) {
    const mica_index *x = s->segment[g].at->index;
    for (int64_t row = 0; row < mica_index_count(x); row++)
      if (mica_collection_segment_has(&s->segment[g], row))
        all[n++] = (entry){x->id[row], x->label ? x->label[row] : MICA_CLASS_NONE};
  }
  if (n) qsort(all, (size_t)n, sizeof *all, by_entry);
  for (int64_t i = 0; i < n; i++) id[i] = all[i].id, label[i] = all[i].label;
  return MICA_OK;
}

mica_status mica_collection_rows(mica_collection *collection, int64_t *n, int64_t **id,
                                 int64_t **label) {
  mica_collection_state *s = mica_collection_state_take(collection);
  entry *all = mica_realloc_array(NULL, (size_t)s->rows + 1, sizeof *all);
  *n = s->rows;
  *id = mica_realloc_array(NULL, (size_t)s->rows + 1, sizeof **id);
  *label = mica_realloc_array(NULL, (size_t)s->rows + 1, sizeof **label);
  const mica_status status = list_rows(s, all, *id, *label);
  mica_collection_state_drop(collection, s);
  mica_free(all);
  if (!status) return MICA_OK;
  mica_free(*id);
  mica_free(*label);
  *id = *label = NULL;
  *n = 0;
  return status;
}

mica_status mica_collection_index(mica_collection *collection, const char *spec, const char *path,
                                  mica_index **out) {
  mica_index_builder *b = NULL;
  mica_collection_state *s = mica_collection_state_take(collection);
  *out = NULL;
  mica_status status = mica_index_builder_create(collection->engine, spec ? spec : collection->spec,
                                                 collection->width, path, &b);
  for (int64_t i = 0; i < s->notes && !status; i++)
    status = mica_index_builder_set_text(b, s->note[i].key, s->note[i].value);
  for (int64_t i = 0; i < s->n && !status; i++) status = add_living(&s->segment[i], b);
  if (!status) status = mica_index_builder_finish(b, out);
  mica_index_builder_free(b);
  mica_collection_state_drop(collection, s);
  return status;
}

/* ---- the collection ---- */

void mica_collection_free(mica_collection *collection) {
  if (!collection) return;
  mica_collection_state_drop(collection, collection->now);
  pthread_mutex_destroy(&collection->lock);
  pthread_mutex_destroy(&collection->writing);
  mica_free(collection->path);
  mica_free(collection->spec);
  mica_free(collection);
}

static mica_status begin(const mica_engine *engine, const char *path, mica_collection **out) {
  *out = NULL;
  mica_collection *c = mica_calloc(1, sizeof *c);
  if (!c) return MICA_ERR_MEMORY;
  c->engine = engine;
  pthread_mutex_init(&c->lock, NULL);
  pthread_mutex_init(&c->writing, NULL);
  c->path = mica_strdup(path);
  if (!c->path) {
    mica_collection_free(c);
    return MICA_ERR_MEMORY;
  }
  *out = c;
  return MICA_OK;
}

static mica_status make(mica_collection *c, const char *spec, int64_t width) {
  mica_index *trial = NULL;
  mica_status status = mica_index_begin(c->engine, spec, width, &trial);
  if (status) return status;
  c->spec = mica_index_spec(trial);
  c->width = width;
  mica_index_free(trial);
  if (!c->spec) return MICA_ERR_MEMORY;
  char *manifest = mica_path_join(c->path, MICA_COLLECTION_FILE);
  if (!manifest) return MICA_ERR_MEMORY;
  if (mica_file_exists(manifest))
    status = mica_fail(MICA_ERR_STATE, "%s: is there already", manifest);
  mica_free(manifest);
  mica_collection_state *empty = status ? NULL : mica_collection_state_new();
  if (!status && !empty) status = MICA_ERR_MEMORY;
  if (!status) status = mica_make_folders(c->path);
  if (!status) status = mica_collection_state_write(c, empty);
  if (status)
    mica_collection_state_drop(c, empty);
  else
    c->now = empty;
  return status;
}

mica_status mica_collection_create(const mica_engine *engine, const char *path, const char *spec,
                                   int64_t width, mica_collection **out) {
  mica_status status = begin(engine, path, out);
  if (!status) status = make(*out, spec, width);
  if (!status || !*out) return status;
  mica_collection_free(*out);
  *out = NULL;
  return status;
}

mica_status mica_collection_open(const mica_engine *engine, const char *path,
                                 mica_collection **out) {
  mica_status status = begin(engine, path, out);
  if (!status) status = mica_collection_state_read(*out, &(*out)->now);
  if (!status || !*out) return status;
  mica_collection_free(*out);
  *out = NULL;
  return status;
}

mica_status mica_collection_refresh(mica_collection *collection) {
  mica_collection_state *s = NULL;
  pthread_mutex_lock(&collection->writing);
  mica_status status = mica_collection_state_read(collection, &s);
  if (!status) mica_collection_state_put(collection, s);
  pthread_mutex_unlock(&collection->writing);
  return status;
}

int64_t mica_collection_width(const mica_collection *collection) {
  return collection->width;
}

const char *mica_collection_spec(const mica_collection *collection) {
  return collection->spec;
}

mica_index_metric mica_collection_metric_of(const mica_collection *collection) {
  for (int m = MICA_INDEX_L2; m <= MICA_INDEX_INNER; m++) {
    char text[32];
    snprintf(text, sizeof text, "metric=%s", mica_index_metric_name((mica_index_metric)m));
    if (strstr(collection->spec, text)) return (mica_index_metric)m;
  }
  return MICA_INDEX_COSINE;
}

int64_t mica_collection_count(mica_collection *collection) {
  mica_collection_state *s = mica_collection_state_take(collection);
  const int64_t rows = s->rows;
  mica_collection_state_drop(collection, s);
  return rows;
}

int64_t mica_collection_segments(mica_collection *collection) {
  mica_collection_state *s = mica_collection_state_take(collection);
  const int64_t n = s->n;
  mica_collection_state_drop(collection, s);
  return n;
}

int64_t mica_collection_next_id(mica_collection *collection) {
  mica_collection_state *s = mica_collection_state_take(collection);
  const int64_t id = s->next_id;
  mica_collection_state_drop(collection, s);
  return id;
}

/* ---- questions ---- */

typedef struct found {
  double score;
  int64_t id, label;
} found;

static bool better(const found *a, const found *b) {
  return a->score > b->score || (a->score == b->score && a->id < b->id);
}

/* What a segment answers to one query, into its k best so far. */
static void merge(const mica_collection_segment *s, int64_t k, const int64_t *row,
                  const double *score, found *best, int64_t *count, found *work) {
  const int64_t *id = mica_index_ids(s->at->index), *label = mica_index_labels(s->at->index);
  int64_t a = 0, b = 0, n = 0;
  while (n < k && (a < *count || (b < k && row[b] >= 0))) {
    found next = {0};
    const bool more = b < k && row[b] >= 0;
    if (more) next = (found){score[b], id[row[b]], label ? label[row[b]] : MICA_CLASS_NONE};
    if (more && (a == *count || better(&next, &best[a])))
      work[n++] = next, b++;
    else
      work[n++] = best[a++];
  }
  memcpy(best, work, (size_t)n * sizeof *best);
  *count = n;
}

static mica_status ask(const mica_collection_state *s, const mica_view *x,
                       const mica_index_query_options *given, int64_t *row, double *score,
                       found *best, int64_t *count, found *work) {
  const int64_t n = x->shape.dim[0], k = given->k;
  mica_status status = MICA_OK;
  for (int64_t g = 0; g < s->n && !status; g++) {
    mica_index_query_options o = *given;
    o.allowed = s->segment[g].alive;
    status = mica_index_query(s->segment[g].at->index, x, &o, row, score);
    for (int64_t i = 0; i < n && !status; i++)
      merge(&s->segment[g], k, row + i * k, score + i * k, best + i * k, &count[i], work);
  }
  return status;
}

static mica_status check(const mica_collection *c, const mica_view *x,
                         const mica_index_query_options *o) {
  char text[96];
  if (x->shape.rank != 2 || x->shape.dim[1] != c->width || !mica_dtype_is_float(x->dtype))
    return mica_fail(MICA_ERR_SHAPE, "queries: %s of %s, expected [rows, %lld] of floats",
                     mica_shape_text(&x->shape, text, sizeof text), mica_dtype_name(x->dtype),
                     (long long)c->width);
  if (o->k < 1)
    return mica_fail(MICA_ERR_INVALID, "%lld neighbours, expected at least 1", (long long)o->k);
  if (o->coarse)
    return mica_fail(MICA_ERR_UNSUPPORTED, "collection: coarse queries; its rows have one encoder");
  if (o->second_look)
    return mica_fail(MICA_ERR_UNSUPPORTED, "collection: a second look; it is for rows of an index");
  if (o->allowed || o->self_row)
    return mica_fail(MICA_ERR_INVALID, "collection: rows have no lasting numbers to allow or skip");
  return MICA_OK;
}

mica_status mica_collection_query(mica_collection *collection, const mica_view *queries,
                                  const mica_index_query_options *options, int64_t *id,
                                  double *score, int64_t *label) {
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  o.size = sizeof o;
  mica_status status = check(collection, queries, &o);
  if (status) return status;
  const int64_t n = queries->shape.dim[0], k = o.k;
  int64_t *row = mica_realloc_array(NULL, (size_t)(n * k), sizeof *row);
  found *best = mica_realloc_array(NULL, (size_t)((n + 1) * k), sizeof *best);
  int64_t *count = mica_calloc((size_t)n + 1, sizeof *count);
  status = row && best && count ? MICA_OK : MICA_ERR_MEMORY;
  mica_collection_state *s = mica_collection_state_take(collection);
  if (!status) status = ask(s, queries, &o, row, score, best, count, best + n * k);
  mica_collection_state_drop(collection, s);
  for (int64_t i = 0; i < n && !status; i++)
    for (int64_t j = 0; j < k; j++) {
      const found *f = j < count[i] ? &best[i * k + j] : NULL;
      id[i * k + j] = f ? f->id : -1;
      score[i * k + j] = f ? f->score : NAN;
      if (label) label[i * k + j] = f ? f->label : MICA_CLASS_NONE;
    }
  mica_free(row);
  mica_free(best);
  mica_free(count);
  return status;
}

/* The row of an id that counts, -1 for none. Ids that ascend are looked for by halves. */
static int64_t row_of(const mica_collection_segment *s, int64_t id) {
  const mica_index *x = s->at->index;
  const int64_t *own = mica_index_ids(x), n = mica_index_count(x);
  int64_t lo = 0, hi = n;
  while (!x->place && lo < hi) {
    const int64_t mid = lo + (hi - lo) / 2;
    if (own[mid] < id)
      lo = mid + 1;
    else
      hi = mid;
  }
  for (; lo < n && (x->place || own[lo] == id); lo++)
    if (own[lo] == id && mica_collection_segment_has(s, lo)) return lo;
  return -1;
}

const char *mica_collection_name(mica_collection *collection, int64_t id, char *buf, size_t n) {
  if (n) buf[0] = 0;
  mica_collection_state *s = mica_collection_state_take(collection);
  for (int64_t i = 0; i < s->n; i++) {
    const int64_t row = row_of(&s->segment[i], id);
    if (row < 0) continue;
    mica_index_name(s->segment[i].at->index, row, buf, n);
    break;
  }
  mica_collection_state_drop(collection, s);
  return buf;
}
