/* Queries: what is left out, what is kept, and how the work is cut.
 *
 * An index offers rows for a query; here they are scored, unless the query leaves them out, and the
 * k best are kept. Because a score depends on nothing but its two rows, and lists are ordered by
 * score and then id, the answer does not depend on the order of offering, nor on how the rows were
 * divided between lists.
 */
#include "index/index.h"

#include "base/progress.h"
#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "numeric/top_k.h"
#include "tensor/dtype.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct mica_index_question {
  const mica_index *index;
  const mica_search_kernels *kernels;
  int64_t n, k;
  double *x, *norm;                  /* [n, d], [n] */
  const int64_t *self_row, *self_id; /* [n] or NULL */
  const int64_t *seen_at;            /* [n + 1] or NULL */
  int64_t *seen;                     /* sorted inside each query, from seen_at[0] on */
  const uint64_t *allowed;           /* a bit a row, or NULL */
  const int64_t *want_label;         /* [n] or NULL */
  int64_t effort, allowed_rows;
  float *coarse; /* [n, coarse_width] or NULL */
  int64_t coarse_width;
  const int64_t *few; /* the allowed rows, where so few are that each is looked at; or NULL */
  int64_t *row;       /* [n, k], the answer */
  double *score;
};

struct mica_index_best {
  const mica_index_question *q;
  int64_t query;
  mica_top_k_heap heap; /* of places in the order of ties */
};

int64_t mica_index_question_count(const mica_index_question *question) {
  return question->n;
}
const double *mica_index_question_rows(const mica_index_question *question) {
  return question->x;
}
const double *mica_index_question_norms(const mica_index_question *question) {
  return question->norm;
}
int64_t mica_index_question_k(const mica_index_question *question) {
  return question->k;
}
const float *mica_index_question_coarse(const mica_index_question *question, int64_t *width) {
  *width = question->coarse_width;
  return question->coarse;
}
int64_t mica_index_question_effort(const mica_index_question *question) {
  return question->effort;
}

/* ---- one list ---- */

double mica_index_best_bound(const mica_index_best *best) {
  return best->heap.count < best->heap.k ? -INFINITY : best->heap.item[0].score;
}

static bool left_out(const mica_index_question *q, int64_t query, int64_t row) {
  if (q->allowed && !(q->allowed[row / 64] >> row % 64 & 1)) return true;
  if (q->want_label && q->want_label[query] >= 0 &&
      (!q->index->label || q->index->label[row] != q->want_label[query]))
    return true;
  if (q->self_row && q->self_row[query] == row) return true;
  if (!q->self_id && !q->seen_at) return false;
  const int64_t id = q->index->id[row];
  if (q->self_id && q->self_id[query] == id) return true;
  if (!q->seen_at) return false;
  const int64_t *list = q->seen + (q->seen_at[query] - q->seen_at[0]);
  int64_t lo = 0, hi = q->seen_at[query + 1] - q->seen_at[query];
  while (lo < hi) {
    const int64_t mid = lo + (hi - lo) / 2;
    if (list[mid] == id) return true;
    if (list[mid] < id)
      lo = mid + 1;
    else
      hi = mid;
  }
  return false;
}

bool mica_index_wanted(const mica_index_best *best, int64_t row) {
  return !left_out(best->q, best->query, row);
}

/* ---- the exact score ---- */

/* Rows of 16 bits are widened in pieces of this many columns. */
enum { widened = 512 };

static double sum_of(const mica_index_question *q, const double *x, int64_t row) {
  const mica_index_rows *rows = &q->index->rows;
  double (*sum)(int64_t, const double *, const float *) =
      rows->metric == MICA_INDEX_L2 ? q->kernels->squares : q->kernels->dot;
  if (rows->dtype == MICA_F32) return sum(rows->d, x, (const float *)rows->x + row * rows->d);
  const uint16_t *from = (const uint16_t *)rows->x + row * rows->d;
  float piece[widened];
  double all = 0;
  for (int64_t j = 0; j < rows->d; j += widened) {
    const int64_t n = rows->d - j < widened ? rows->d - j : widened;
    mica_convert(piece, MICA_F32, from + j, rows->dtype, (size_t)n);
    all += sum(n, x + j, piece);
  }
  return all;
}

static double score_of(const mica_index_question *q, const double *x, int64_t row) {
  const mica_index_rows *rows = &q->index->rows;
  const double sum = sum_of(q, x, row);
  if (rows->metric == MICA_INDEX_L2) return -sqrt(sum);
  if (rows->metric == MICA_INDEX_INNER) return sum;
  if (rows->norm[row] == 0) return 0;
  const double c = sum / rows->norm[row];
  return c > 1 ? 1 : c < -1 ? -1 : c;
}

void mica_index_offer_scored(mica_index_best *best, int64_t row, double score) {
  if (left_out(best->q, best->query, row)) return;
  const int64_t *place = best->q->index->place;
  mica_top_k_offer(&best->heap, score, place ? place[row] : row);
}

void mica_index_offer(mica_index_best *best, int64_t row) {
  const mica_index_question *q = best->q;
  if (left_out(q, best->query, row)) return;
  const int64_t *place = q->index->place;
  const double *x = q->x + best->query * q->index->rows.d;
  mica_top_k_offer(&best->heap, score_of(q, x, row), place ? place[row] : row);
}

/* ---- the work on a block ---- */

typedef struct {
  mica_index_question *q;
  int64_t block, parts;
  mica_index_work_fn fn;
  void *ctx;
  mica_scored *storage; /* [n, parts, k] */
  int64_t *count;       /* [n, parts] */
} work;

static mica_status work_chunk(void *ctx, int64_t chunk, void *scratch) {
  const work *w = ctx;
  const mica_index_question *q = w->q;
  const int64_t part = chunk % w->parts, begin = chunk / w->parts * w->block;
  const int64_t end = begin + w->block < q->n ? begin + w->block : q->n, n = end - begin;
  mica_index_best *best = mica_realloc_array(NULL, (size_t)n, sizeof *best);
  mica_index_best **list = mica_realloc_array(NULL, (size_t)n, sizeof *list);
  mica_status status = best && list ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    for (int64_t i = 0; i < n; i++) {
      best[i] = (mica_index_best){.q = q, .query = begin + i};
      mica_top_k_begin(&best[i].heap, w->storage + ((begin + i) * w->parts + part) * q->k, q->k);
      list[i] = &best[i];
    }
    status = w->fn(w->ctx, q, begin, end, part, list, scratch);
    for (int64_t i = 0; i < n; i++)
      w->count[(begin + i) * w->parts + part] = mica_top_k_end(&best[i].heap);
  }
  mica_free(best);
  mica_free(list);
  return status;
}

/* The k best of a query's sorted lists, by taking the best head again and again. */
static void merge(const work *w, int64_t query, int64_t *head) {
  const mica_index_question *q = w->q;
  const int64_t *at_place = q->index->at_place, *count = w->count + query * w->parts;
  const mica_scored *list = w->storage + query * w->parts * q->k;
  memset(head, 0, (size_t)w->parts * sizeof *head);
  for (int64_t j = 0; j < q->k; j++) {
    int64_t from = -1;
    for (int64_t p = 0; p < w->parts; p++)
      if (head[p] < count[p] && (from < 0 || mica_scored_better(list[p * q->k + head[p]],
                                                                list[from * q->k + head[from]])))
        from = p;
    const mica_scored *s = from < 0 ? NULL : &list[from * q->k + head[from]++];
    q->row[query * q->k + j] = !s ? -1 : at_place ? at_place[s->index] : s->index;
    q->score[query * q->k + j] = s ? s->score : NAN;
  }
}

typedef mica_status (*chunks_fn)(const mica_engine *engine, int64_t chunks, size_t scratch_bytes,
                                 mica_chunk_fn fn, void *ctx);

static mica_status work_by(chunks_fn run, const mica_engine *engine, mica_index_question *question,
                           int64_t block, int64_t parts, size_t scratch_bytes,
                           mica_index_work_fn fn, void *ctx) {
  const size_t lists = (size_t)question->n * (size_t)parts;
  work w = {question, block, parts, fn, ctx, NULL, NULL};
  w.storage = mica_realloc_array(NULL, lists * (size_t)question->k, sizeof *w.storage);
  w.count = mica_realloc_array(NULL, lists + (size_t)parts, sizeof *w.count);
  mica_status status = w.storage && w.count ? MICA_OK : MICA_ERR_MEMORY;
  if (!status)
    status = run(engine, mica_chunks_of(question->n, block) * parts, scratch_bytes, work_chunk, &w);
  for (int64_t i = 0; i < question->n && !status; i++) merge(&w, i, w.count + lists);
  mica_free(w.storage);
  mica_free(w.count);
  return status;
}

mica_status mica_index_work(const mica_engine *engine, mica_index_question *question, int64_t block,
                            int64_t parts, size_t scratch_bytes, mica_index_work_fn fn, void *ctx) {
  return work_by(mica_chunks_run, engine, question, block, parts, scratch_bytes, fn, ctx);
}

mica_status mica_index_work_light(const mica_engine *engine, mica_index_question *question,
                                  int64_t block, int64_t parts, size_t scratch_bytes,
                                  mica_index_work_fn fn, void *ctx) {
  return work_by(mica_chunks_run_light, engine, question, block, parts, scratch_bytes, fn, ctx);
}

/* ---- the whole ---- */

static int by_value(const void *pa, const void *pb) {
  const int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
  return a < b ? -1 : a > b;
}

static mica_status check(const mica_index *index, const mica_view *x,
                         const mica_index_query_options *o) {
  char text[96];
  if (x->shape.rank != 2 || !mica_dtype_is_float(x->dtype) || mica_shape_count(&x->shape) < 0)
    return mica_fail(MICA_ERR_SHAPE, "queries: %s of %s, expected [rows, columns] of floats",
                     mica_shape_text(&x->shape, text, sizeof text), mica_dtype_name(x->dtype));
  if (x->shape.dim[1] != index->rows.d)
    return mica_fail(MICA_ERR_SHAPE, "queries of %lld columns, the index has %lld",
                     (long long)x->shape.dim[1], (long long)index->rows.d);
  if (x->shape.dim[0] && (!x->data || x->row_stride < x->shape.dim[1]))
    return mica_fail(MICA_ERR_INVALID, "queries without data, or that overlap");
  if (o->k < 1)
    return mica_fail(MICA_ERR_INVALID, "%lld neighbours, expected at least 1", (long long)o->k);
  if (o->effort < 0)
    return mica_fail(MICA_ERR_INVALID, "an effort of %lld, expected 0 or more",
                     (long long)o->effort);
  const mica_view *c = o->coarse;
  if (c && (c->shape.rank != 2 || !mica_dtype_is_float(c->dtype) ||
            c->shape.dim[0] != x->shape.dim[0] || c->shape.dim[1] < 1))
    return mica_fail(MICA_ERR_SHAPE, "coarse queries: %s of %s, expected %lld rows of floats",
                     mica_shape_text(&c->shape, text, sizeof text), mica_dtype_name(c->dtype),
                     (long long)x->shape.dim[0]);
  if (c && (!c->data || c->row_stride < c->shape.dim[1]) && c->shape.dim[0])
    return mica_fail(MICA_ERR_INVALID, "coarse queries without data, or that overlap");
  const mica_index_functions *fn = index->fn;
  if (c && !o->exact && (fn->size < sizeof *fn || !fn->takes))
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "coarse queries of an index %s, which has no codes of "
                     "another encoder",
                     mica_spec_component(index->spec)->name);
  for (int64_t i = 1; o->only && i < o->n_only; i++)
    if (o->only[i] < o->only[i - 1])
      return mica_fail(MICA_ERR_INVALID, "only: ids that do not ascend");
  if (o->second_look && o->looked_at < 1)
    return mica_fail(MICA_ERR_INVALID, "a second look at %lld answers, expected 1 or more",
                     (long long)o->looked_at);
  if (!o->seen_at) return MICA_OK;
  for (int64_t i = 0; i < x->shape.dim[0]; i++)
    if (o->seen_at[i] < 0 || o->seen_at[i] > o->seen_at[i + 1])
      return mica_fail(MICA_ERR_INVALID, "seen_at of query %lld: expected offsets that ascend",
                       (long long)i);
  return MICA_OK;
}

/* Their coarse vectors as float32. */
static mica_status load_coarse(mica_index_question *q, const mica_view *x, int64_t begin) {
  const int64_t d = q->coarse_width;
  for (int64_t i = 0; x && i < q->n; i++) {
    const char *from =
        (const char *)x->data + (size_t)((begin + i) * x->row_stride) * mica_dtype_size(x->dtype);
    float *to = q->coarse + i * d, sum = 0;
    mica_convert(to, MICA_F32, from, x->dtype, (size_t)d);
    for (int64_t j = 0; j < d; j++) sum += 0 * to[j];
    if (sum != 0)
      return mica_fail(MICA_ERR_NUMERIC,
                       "coarse query %lld holds a number that is not finite in float32",
                       (long long)(begin + i));
  }
  return MICA_OK;
}

/* Queries [begin, begin + n) as float64, with their lengths; under cosine of length 1. */
static mica_status load(mica_index_question *q, const mica_view *x, int64_t begin) {
  const mica_index_rows *rows = &q->index->rows;
  const int64_t d = rows->d;
  for (int64_t i = 0; i < q->n; i++) {
    double *to = q->x + i * d;
    const char *from =
        (const char *)x->data + (size_t)((begin + i) * x->row_stride) * mica_dtype_size(x->dtype);
    mica_convert(to, MICA_F64, from, x->dtype, (size_t)d);
    double largest = 0;
    for (int64_t j = 0; j < d; j++) {
      if (!isfinite(to[j]))
        return mica_fail(MICA_ERR_NUMERIC,
                         "query %lld, column %lld is %s, expected a finite number",
                         (long long)(begin + i), (long long)j, isnan(to[j]) ? "NaN" : "infinite");
      largest = fmax(largest, fabs(to[j]));
    }
    if (largest > 1e150)
      return mica_fail(MICA_ERR_NUMERIC, "query %lld holds %g, beyond what can be squared",
                       (long long)(begin + i), largest);
    q->norm[i] = sqrt(mica_sum_squares(to, d));
    if (rows->metric == MICA_INDEX_COSINE && q->norm[i] > 0)
      for (int64_t j = 0; j < d; j++) to[j] /= q->norm[i];
  }
  return MICA_OK;
}

/* ---- few rows that may be in an answer ---- */

/* An approximate index would pass by many others to find them, or miss them. */
static bool are_few(const mica_index *index, int64_t allowed, int64_t k) {
  return allowed <= 4 * k || allowed <= index->rows.n / 64;
}

/* The rows that are allowed and whose ids are listed. */
static mica_status allow_listed(const mica_index *index, const mica_index_query_options *o,
                                uint64_t **out) {
  const int64_t n = index->rows.n;
  uint64_t *bits = mica_calloc((size_t)n / 64 + 1, sizeof *bits);
  if (!bits) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    if (o->allowed && !(o->allowed[i / 64] >> i % 64 & 1)) continue;
    int64_t lo = 0, hi = o->n_only;
    while (lo < hi) {
      const int64_t mid = lo + (hi - lo) / 2;
      if (o->only[mid] < index->id[i])
        lo = mid + 1;
      else
        hi = mid;
    }
    if (lo < o->n_only && o->only[lo] == index->id[i]) bits[i / 64] |= UINT64_C(1) << i % 64;
  }
  *out = bits;
  return MICA_OK;
}

static mica_status list_allowed(const mica_index *index, const uint64_t *allowed, int64_t count,
                                int64_t **out) {
  int64_t *list = mica_realloc_array(NULL, (size_t)count + 1, sizeof *list), n = 0;
  if (!list) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < index->rows.n && n < count; i++)
    if (allowed[i / 64] >> i % 64 & 1) list[n++] = i;
  *out = list;
  return MICA_OK;
}

static mica_status look_at_few(void *ctx, const mica_index_question *q, int64_t begin, int64_t end,
                               int64_t part, mica_index_best *const *best, void *scratch) {
  (void)ctx;
  (void)part;
  (void)scratch;
  for (int64_t i = begin; i < end; i++)
    for (int64_t r = 0; r < q->allowed_rows; r++) mica_index_offer(best[i - begin], q->few[r]);
  return MICA_OK;
}

/* One block of queries. */
static mica_status ask(const mica_index *index, const mica_view *x,
                       const mica_index_query_options *o, int64_t begin, mica_index_question *q) {
  mica_status status = load(q, x, begin);
  if (!status) status = load_coarse(q, o->coarse, begin);
  if (status) return status;
  q->self_row = o->self_row ? o->self_row + begin : NULL;
  q->self_id = o->self_id ? o->self_id + begin : NULL;
  q->want_label = o->want_label ? o->want_label + begin : NULL;
  q->seen_at = o->seen_at ? o->seen_at + begin : NULL;
  q->seen = NULL;
  if (q->seen_at) {
    const int64_t from = q->seen_at[0], n = q->seen_at[q->n] - from;
    q->seen = mica_realloc_array(NULL, (size_t)n, sizeof *q->seen);
    if (!q->seen) return MICA_ERR_MEMORY;
    if (n) memcpy(q->seen, o->seen + from, (size_t)n * sizeof *q->seen);
    for (int64_t i = 0; i < q->n; i++)
      qsort(q->seen + (q->seen_at[i] - from), (size_t)(q->seen_at[i + 1] - q->seen_at[i]),
            sizeof *q->seen, by_value);
  }
  if (q->few)
    status = mica_index_work_light(index->engine, q, 8, 1, 0, look_at_few, NULL);
  else if (o->exact)
    status = mica_exact_query(index->engine, &index->rows, q);
  else
    status = index->fn->query(index->engine, mica_index_options_of(index), index->state,
                              &index->rows, q);
  mica_free(q->seen);
  return status;
}

/* Queries that are asked together: enough to keep matrix products busy, few enough that progress is
 * told a few times a second and that the lists stay small. */
static int64_t block_of(const mica_index *index, int64_t k) {
  int64_t n = (int64_t)(4e10 / ((double)index->rows.n * (double)index->rows.d + 1));
  const int64_t lists = ((int64_t)1 << 22) / (k + 1);
  if (n > lists) n = lists;
  if (n > 4096) n = 4096;
  return n < 128 ? 128 : n;
}

static int64_t count_allowed(int64_t n, const uint64_t *allowed) {
  if (!allowed) return n;
  int64_t count = 0;
  for (int64_t i = 0; i < n / 64; i++) count += __builtin_popcountll(allowed[i]);
  if (n % 64) count += __builtin_popcountll(allowed[n / 64] & ((UINT64_C(1) << n % 64) - 1));
  return count;
}

/* One query's answers [k] by the scores of a second look at the first of them. */
static mica_status look_again(const mica_index_query_options *o, int64_t query, int64_t k,
                              int64_t *row, double *score, mica_scored *list) {
  int64_t found = 0;
  while (found < k && row[found] >= 0) found++;
  const int64_t n = found < o->looked_at ? found : o->looked_at;
  if (!n) return MICA_OK;
  const mica_status status = o->second_look(o->second_look_ctx, query, n, row, score);
  if (status) return status;
  for (int64_t j = 0; j < n; j++) {
    if (isnan(score[j]))
      return mica_fail(MICA_ERR_NUMERIC, "second look: answer %lld of query %lld has no score",
                       (long long)j, (long long)query);
    int64_t at = j; /* insertion: lists are short, and what is equal stays in order */
    const mica_scored s = {score[j], row[j]};
    for (; at > 0 && list[at - 1].score < s.score; at--) list[at] = list[at - 1];
    list[at] = s;
  }
  for (int64_t j = 0; j < n; j++) {
    score[j] = list[j].score;
    row[j] = list[j].index;
  }
  for (int64_t j = n; j < found; j++) score[j] = fmin(score[j], score[n - 1]);
  return MICA_OK;
}

static mica_status look_at_all_again(const mica_index_query_options *o, int64_t n, int64_t *row,
                                     double *score) {
  const int64_t most = o->k < o->looked_at ? o->k : o->looked_at;
  mica_scored *list = mica_realloc_array(NULL, (size_t)most, sizeof *list);
  mica_status status = list ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && !status; i++)
    status = look_again(o, i, o->k, row + i * o->k, score + i * o->k, list);
  mica_free(list);
  return status;
}

mica_status mica_index_query(const mica_index *index, const mica_view *queries,
                             const mica_index_query_options *options, int64_t *row, double *score) {
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  uint64_t *listed = NULL;
  mica_status status = check(index, queries, &o);
  if (!status && o.only) status = allow_listed(index, &o, &listed);
  if (status) return status;
  if (listed) o.allowed = listed;
  const int64_t n = queries->shape.dim[0], d = index->rows.d;
  const int64_t k = o.k < index->rows.n ? o.k : index->rows.n, all = block_of(index, k);
  const int64_t block = all < n ? all : n;
  mica_index_question q = {.index = index,
                           .kernels = mica_kernels_of(index->engine, MICA_F32)->search,
                           .k = k,
                           .effort = o.effort,
                           .allowed = o.allowed,
                           .allowed_rows = count_allowed(index->rows.n, o.allowed)};
  q.x = mica_realloc_array(NULL, (size_t)(block * d), sizeof *q.x);
  q.norm = mica_realloc_array(NULL, (size_t)block, sizeof *q.norm);
  if (o.coarse) {
    q.coarse_width = o.coarse->shape.dim[1];
    q.coarse = mica_realloc_array(NULL, (size_t)(block * q.coarse_width), sizeof *q.coarse);
  }
  q.row = mica_realloc_array(NULL, (size_t)(block * k), sizeof *q.row);
  q.score = mica_realloc_array(NULL, (size_t)(block * k), sizeof *q.score);
  status = q.x && q.norm && q.row && q.score && (q.coarse || !o.coarse) ? MICA_OK : MICA_ERR_MEMORY;
  int64_t *few = NULL;
  if (!status && o.allowed && are_few(index, q.allowed_rows, k))
    status = list_allowed(index, o.allowed, q.allowed_rows, &few);
  q.few = few;
  mica_progress p;
  mica_progress_begin(&p, o.progress, o.progress_ctx, "queries", n);
  for (int64_t begin = 0; begin < n && !status; begin += block) {
    q.n = begin + block < n ? block : n - begin;
    status = ask(index, queries, &o, begin, &q);
    for (int64_t i = 0; i < q.n && !status; i++)
      for (int64_t j = 0; j < o.k; j++) {
        row[(begin + i) * o.k + j] = j < k ? q.row[i * k + j] : -1;
        score[(begin + i) * o.k + j] = j < k ? q.score[i * k + j] : NAN;
      }
    if (!status) status = mica_progress_step(&p, begin + q.n);
  }
  if (!status) status = mica_progress_end(&p);
  if (!status && o.second_look) status = look_at_all_again(&o, n, row, score);
  mica_free(few);
  mica_free(listed);
  mica_free(q.x);
  mica_free(q.norm);
  mica_free(q.coarse);
  mica_free(q.row);
  mica_free(q.score);
  return status;
}
