/* Rankings of an index, or of a collection: what it answers, graded by labels or by lists.
 *
 * Right answers are counted in the whole index, less what the query leaves out, so that a list of
 * any depth is measured against all there are.
 */
#include "index/index.h"

#include <mica/retrieval.h>

#include <stdlib.h>
#include <string.h>

typedef struct {
  int64_t id;
  double grade;
  bool met; /* its row was in the list already */
} listed;

/* The rows that may be in an answer. */
typedef struct {
  int64_t n;
  const int64_t *id, *label, *at_place; /* as of an index */
} table;

typedef struct {
  const mica_index *index;     /* NULL: a collection */
  mica_collection *collection; /* its rows are known by their places in the order of ids */
  table rows;
  const mica_index_truth *truth;
  const mica_index_query_options *o;
  int64_t k;
  int64_t *labels; /* sorted, of all rows; NULL with lists */
  int64_t *row;    /* [block, k] */
  int64_t *id;     /* the same as ids, of a collection */
  double *score, *grade, *ideal;
  listed *list;
  int64_t *out; /* rows that a query leaves out */
} asking;

static int by_value(const void *pa, const void *pb) {
  const int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
  return a < b ? -1 : a > b;
}

static int by_id(const void *pa, const void *pb) {
  const listed *a = pa, *b = pb;
  return a->id < b->id ? -1 : a->id > b->id;
}

static int descending(const void *pa, const void *pb) {
  const double a = *(const double *)pa, b = *(const double *)pb;
  return a > b ? -1 : a < b;
}

/* How many of n sorted values are below v. */
static int64_t below(const int64_t *values, int64_t n, int64_t v) {
  int64_t lo = 0, hi = n;
  while (lo < hi) {
    const int64_t mid = lo + (hi - lo) / 2;
    if (values[mid] < v)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

static int64_t row_at(const table *t, int64_t place) {
  return t->at_place ? t->at_place[place] : place;
}

/* The first place in the order of ids whose id is not below this one. */
static int64_t place_of(const table *t, int64_t id) {
  int64_t lo = 0, hi = t->n;
  while (lo < hi) {
    const int64_t mid = lo + (hi - lo) / 2;
    if (t->id[row_at(t, mid)] < id)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

/* Does query q leave all rows with this id out? */
static bool id_left_out(const asking *w, int64_t q, int64_t id) {
  const mica_index_query_options *o = w->o;
  const table *x = &w->rows;
  const int64_t self = o->self_row ? o->self_row[q] : -1;
  if (o->self_id && o->self_id[q] == id) return true;
  for (int64_t i = o->seen_at ? o->seen_at[q] : 0; o->seen_at && i < o->seen_at[q + 1]; i++)
    if (o->seen[i] == id) return true;
  if (self < 0 || self >= x->n || x->id[self] != id) return false;
  const int64_t place = place_of(x, id) + 1;
  return place >= x->n || x->id[row_at(x, place)] != id;
}

/* ---- labels ---- */

/* Rows of one label that query q leaves out, each once. */
static int64_t count_left_out(const asking *w, int64_t q, int64_t label) {
  const table *x = &w->rows;
  const mica_index_query_options *o = w->o;
  int64_t n = 0, found = 0;
  const int64_t from = o->seen_at ? o->seen_at[q] : 0, to = o->seen_at ? o->seen_at[q + 1] : 0;
  if (o->self_id && o->self_id[q] >= 0) w->out[n++] = o->self_id[q];
  for (int64_t i = from; i < to; i++) w->out[n++] = o->seen[i];
  if (n) qsort(w->out, (size_t)n, sizeof *w->out, by_value);
  const int64_t self = o->self_row ? o->self_row[q] : -1;
  bool self_counted = self < 0 || self >= x->n || x->label[self] != label;
  for (int64_t i = 0; i < n; i++) {
    if (i && w->out[i] == w->out[i - 1]) continue;
    for (int64_t p = place_of(x, w->out[i]); p < x->n; p++) {
      const int64_t row = row_at(x, p);
      if (x->id[row] != w->out[i]) break;
      if (x->label[row] != label) continue;
      found++;
      self_counted = self_counted || row == self;
    }
  }
  return found + !self_counted;
}

static void grade_by_label(const asking *w, int64_t q, const int64_t *row, mica_ranking *g) {
  const table *x = &w->rows;
  const int64_t label = w->truth->label[q];
  for (int64_t i = 0; i < g->n; i++) w->grade[i] = label >= 0 && x->label[row[i]] == label;
  g->relevant = 0;
  if (label < 0) return;
  g->relevant = below(w->labels, x->n, label + 1) - below(w->labels, x->n, label);
  g->relevant -= count_left_out(w, q, label);
}

/* ---- lists ---- */

static void grade_by_list(const asking *w, int64_t q, const int64_t *row, mica_ranking *g) {
  const mica_index_truth *t = w->truth;
  const int64_t from = t->at[q], n = t->at[q + 1] - from;
  g->relevant = 0;
  for (int64_t i = 0; i < n; i++) {
    w->list[i] = (listed){t->id[from + i], t->grade ? t->grade[from + i] : 1, false};
    if (w->list[i].grade > 0 && !id_left_out(w, q, w->list[i].id))
      w->ideal[g->relevant++] = w->list[i].grade;
  }
  if (n) qsort(w->list, (size_t)n, sizeof *w->list, by_id);
  if (g->relevant) qsort(w->ideal, (size_t)g->relevant, sizeof *w->ideal, descending);
  g->ideal = w->ideal;
  for (int64_t i = 0; i < g->n; i++) {
    const listed key = {.id = w->rows.id[row[i]]};
    listed *found = n ? bsearch(&key, w->list, (size_t)n, sizeof *w->list, by_id) : NULL;
    w->grade[i] = !found || (found->met && found->grade > 0) ? 0 : found->grade;
    if (found) found->met = true;
  }
}

static mica_status check(const table *rows, int64_t n, const mica_index_truth *t) {
  if (t->label && !rows->label)
    return mica_fail(MICA_ERR_INVALID, "retrieval measures: the rows of the index have no labels");
  if (!t->label && (!t->at || !t->id))
    return mica_fail(MICA_ERR_INVALID,
                     "retrieval measures: neither labels nor lists say what is right");
  for (int64_t q = 0; q < n && !t->label; q++) {
    if (t->at[q] < 0 || t->at[q + 1] < t->at[q])
      return mica_fail(MICA_ERR_INVALID, "lists of right answers: offsets of query %lld",
                       (long long)q);
    for (int64_t i = t->at[q]; i < t->at[q + 1] && t->grade; i++)
      if (!(t->grade[i] >= 0 && t->grade[i] <= 1e6) && t->grade[i] != MICA_GRADE_JUNK)
        return mica_fail(MICA_ERR_INVALID, "lists of right answers: grade %g for query %lld",
                         t->grade[i], (long long)q);
  }
  return MICA_OK;
}

/* The longest list of offsets. */
static int64_t longest(const int64_t *at, int64_t n) {
  int64_t most = 0;
  for (int64_t i = 0; at && i < n; i++)
    if (at[i + 1] - at[i] > most) most = at[i + 1] - at[i];
  return most;
}

static mica_status make_room(asking *w, int64_t n, int64_t block) {
  const size_t lists = (size_t)longest(w->truth->label ? NULL : w->truth->at, n) + 1;
  const size_t left_out = (size_t)longest(w->o->seen_at, n) + 1;
  w->row = mica_realloc_array(NULL, (size_t)(block * w->k), sizeof *w->row);
  w->score = mica_realloc_array(NULL, (size_t)(block * w->k), sizeof *w->score);
  w->grade = mica_realloc_array(NULL, (size_t)w->k, sizeof *w->grade);
  w->ideal = mica_realloc_array(NULL, lists, sizeof *w->ideal);
  w->list = mica_realloc_array(NULL, lists, sizeof *w->list);
  w->out = mica_realloc_array(NULL, left_out, sizeof *w->out);
  if (w->collection) w->id = mica_realloc_array(NULL, (size_t)(block * w->k), sizeof *w->id);
  if (w->collection && !w->id) return MICA_ERR_MEMORY;
  if (!w->row || !w->score || !w->grade || !w->ideal || !w->list || !w->out) return MICA_ERR_MEMORY;
  if (!w->truth->label) return MICA_OK;
  const int64_t rows = w->rows.n;
  w->labels = mica_realloc_array(NULL, (size_t)rows, sizeof *w->labels);
  if (!w->labels) return MICA_ERR_MEMORY;
  memcpy(w->labels, w->rows.label, (size_t)rows * sizeof *w->labels);
  qsort(w->labels, (size_t)rows, sizeof *w->labels, by_value);
  return MICA_OK;
}

/* Answers of a collection as places of the table; rows that came later are in none, and left out.
 */
static void find_places(asking *w, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    int64_t *row = w->row + i * w->k, m = 0;
    double *score = w->score + i * w->k;
    for (int64_t j = 0; j < w->k; j++) {
      const int64_t id = w->id[i * w->k + j], place = id < 0 ? w->rows.n : place_of(&w->rows, id);
      if (place >= w->rows.n || w->rows.id[place] != id) continue;
      score[m] = score[j];
      row[m++] = place;
    }
    while (m < w->k) row[m++] = -1;
  }
}

static mica_status ask(asking *w, const mica_view *x, const mica_index_query_options *o) {
  if (w->index) return mica_index_query(w->index, x, o, w->row, w->score);
  const mica_status status = mica_collection_query(w->collection, x, o, w->id, w->score, NULL);
  if (!status) find_places(w, x->shape.dim[0]);
  return status;
}

/* A second look counts queries from the first one on, whatever block they are in. */
typedef struct second_look {
  const mica_index_query_options *o;
  int64_t begin;
} second_look;

static mica_status look_from(void *ctx, int64_t query, int64_t n, const int64_t *row,
                             double *score) {
  const second_look *s = ctx;
  return s->o->second_look(s->o->second_look_ctx, s->begin + query, n, row, score);
}

static mica_status ask_block(asking *w, mica_retrieval *into, const mica_view *queries,
                             int64_t begin, int64_t n) {
  mica_view x = *queries;
  mica_index_query_options o = *w->o;
  x.data = (char *)x.data + (size_t)(begin * x.row_stride) * mica_dtype_size(x.dtype);
  x.shape.dim[0] = n;
  o.k = w->k;
  if (o.self_row) o.self_row += begin;
  if (o.self_id) o.self_id += begin;
  if (o.seen_at) o.seen_at += begin;
  if (o.want_label) o.want_label += begin;
  mica_view coarse = {0};
  if (o.coarse && o.coarse->shape.rank == 2 && o.coarse->shape.dim[0] >= begin + n) {
    coarse = *o.coarse;
    coarse.data =
        (char *)coarse.data + (size_t)(begin * coarse.row_stride) * mica_dtype_size(coarse.dtype);
    coarse.shape.dim[0] = n;
    o.coarse = &coarse;
  }
  o.progress = NULL;
  second_look from = {w->o, begin};
  if (o.second_look) {
    o.second_look = look_from;
    o.second_look_ctx = &from;
  }
  mica_status status = ask(w, &x, &o);
  for (int64_t i = 0; i < n && !status; i++) {
    mica_ranking g = MICA_RANKING;
    const int64_t *row = w->row + i * w->k;
    while (g.n < w->k && row[g.n] >= 0) g.n++;
    g.score = w->score + i * w->k;
    g.grade = w->grade;
    if (w->truth->label)
      grade_by_label(w, begin + i, row, &g);
    else
      grade_by_list(w, begin + i, row, &g);
    status = mica_retrieval_add(into, &g);
  }
  return status;
}

static mica_status ask_all(asking *w, mica_retrieval *retrieval, const mica_view *queries,
                           const mica_index_truth *truth, const mica_index_query_options *options) {
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  mica_index_truth t = MICA_INDEX_TRUTH;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  memcpy(&t, truth, truth->size < sizeof t ? truth->size : sizeof t);
  w->truth = &t;
  w->o = &o;
  const int64_t n = queries->shape.rank == 2 ? queries->shape.dim[0] : 0;
  if (queries->shape.rank != 2 || o.k < 1) /* with its message */
    return ask(w, queries, &o);
  w->k = o.k < w->rows.n ? o.k : w->rows.n;
  if (w->k < 1) return mica_fail(MICA_ERR_INVALID, "retrieval measures: there are no rows");
  int64_t block = ((int64_t)1 << 22) / w->k + 1;
  if (block > 1024) block = 1024;
  if (block > n) block = n;
  mica_status status = check(&w->rows, n, &t);
  if (!status) status = make_room(w, n, block);
  for (int64_t begin = 0; begin < n && !status; begin += block) {
    status = ask_block(w, retrieval, queries, begin, begin + block < n ? block : n - begin);
    if (!status && o.progress &&
        o.progress(o.progress_ctx, "queries", begin + block < n ? begin + block : n, n))
      status = mica_fail(MICA_ERR_CANCELLED, "queries: cancelled");
  }
  mica_free(w->labels);
  mica_free(w->row);
  mica_free(w->id);
  mica_free(w->score);
  mica_free(w->grade);
  mica_free(w->ideal);
  mica_free(w->list);
  mica_free(w->out);
  return status;
}

mica_status mica_retrieval_ask(mica_retrieval *retrieval, const mica_index *index,
                               const mica_view *queries, const mica_index_truth *truth,
                               const mica_index_query_options *options) {
  asking w = {.index = index, .rows = {index->rows.n, index->id, index->label, index->at_place}};
  return ask_all(&w, retrieval, queries, truth, options);
}

mica_status mica_retrieval_ask_collection(mica_retrieval *retrieval, mica_collection *collection,
                                          const mica_view *queries, const mica_index_truth *truth,
                                          const mica_index_query_options *options) {
  asking w = {.collection = collection};
  int64_t *id, *label;
  mica_status status = mica_collection_rows(collection, &w.rows.n, &id, &label);
  w.rows.id = id;
  w.rows.label = label;
  if (!status) status = ask_all(&w, retrieval, queries, truth, options);
  mica_free(id);
  mica_free(label);
  return status;
}
