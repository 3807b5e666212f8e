/* Inverted lists: rows are divided among the nearest of some centres, and a query looks at the
 * lists whose centres are nearest to it (Jegou, Douze and Schmid 2011).
 *
 * Without codes the rows of those lists are scored exactly, most of them passed over by the sieve;
 * queries of a block that look at the same list share its product. With codes, what is left of a
 * row beside its centre is kept as a product quantiser's code, and a query first sums table
 * entries:
 *
 *     <q, c + r> = <q, c> + sum_p table[p, code_p]
 *     -|q - c - r|^2 = -|q - c|^2 + 2 sum_p table[p, code_p] - (|r|^2 + 2 <c, r>)
 *
 * The last term does not know the query, so it is kept for each row, and one table does for all
 * lists. The best `rerank` rows of each query are then scored exactly from the stored rows, which
 * may stay on disk (Xiao et al. 2022, arXiv 2201.05409, two granularities).
 */
#include "index/ivf.h"
#include "index/sieve.h"

#include "numeric/top_k.h"
#include "tensor/dtype.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const mica_engine *engine;
  const mica_index_rows *rows;
  const mica_ivf *s;
  const mica_reduce_kernels *reduce;
  const mica_search_kernels *kernels;
  const mica_index_question *question;
  int64_t probe, parts, kept; /* kept: rows that a query keeps of each part by their codes */
  bool rerank;
  float *query;  /* [n, d] */
  int32_t *list; /* [n, probe] nearest first */
  float *near;   /* [n, probe] what its centre adds to a row's score */
  float *table;  /* [n, parts of a code, words], with codes */
} search;

enum { query_rows = 64, tile_rows = 256, scanned_rows = 4096 };

/* ---- the nearest lists ---- */

enum { probed_rows = 16 };

static mica_status probe_chunk(void *ctx, int64_t chunk, void *scratch) {
  const search *q = ctx;
  const mica_ivf *s = q->s;
  const int64_t begin = chunk * probed_rows, all = mica_index_question_count(q->question);
  const int64_t m = all - begin < probed_rows ? all - begin : probed_rows, d = q->rows->d;
  const double *length = mica_index_question_norms(q->question) + begin;
  mica_scored *best = scratch;
  float *product = (float *)(void *)(best + q->probe);
  mica_status status = mica_gemm(q->engine, MICA_F32, false, true, m, s->lists, d, 1,
                                 q->query + begin * d, d, s->centre, d, 0, product, s->lists);
  for (int64_t i = 0; i < m && !status; i++) {
    mica_top_k_heap heap;
    mica_top_k_begin(&heap, best, q->probe);
    const float *p = product + i * s->lists;
    for (int64_t l = 0; l < s->lists; l++) {
      const float score = q->rows->metric == MICA_INDEX_INNER ? p[l] : 2 * p[l] - s->square[l];
      if (heap.count < heap.k || (double)score > heap.item[0].score)
        mica_top_k_offer(&heap, (double)score, l);
    }
    const int64_t found = mica_top_k_end(&heap);
    const double square = q->rows->metric == MICA_INDEX_L2 ? length[i] * length[i] : 0;
    for (int64_t j = 0; j < q->probe; j++) {
      const int64_t to = (begin + i) * q->probe + j;
      q->list[to] = j < found ? (int32_t)best[j].index : -1;
      if (j >= found) continue;
      q->near[to] =
          q->rows->metric == MICA_INDEX_L2 ? (float)(best[j].score - square) : p[best[j].index];
    }
  }
  return status;
}

/* ---- without codes ---- */

/* That a query, by its place in the block, looks at a list. */
typedef struct {
  int32_t list, query;
} visit;

static int by_list(const void *pa, const void *pb) {
  const visit *a = pa, *b = pb;
  if (a->list != b->list) return a->list < b->list ? -1 : 1;
  return a->query < b->query ? -1 : a->query > b->query;
}

/* A thread's scratch: where its parts begin, in bytes. */
typedef struct {
  size_t visit, query, stored, product, a, b, total;
} layout;

static layout lay_out(const search *q) {
  const size_t d = (size_t)q->rows->d, f = sizeof(float);
  layout l = {0};
  l.query = l.visit + (size_t)(query_rows * q->probe) * sizeof(visit);
  l.stored = l.query + query_rows * d * f;
  l.product = l.stored + tile_rows * d * f;
  l.a = l.product + (size_t)query_rows * tile_rows * f;
  l.b = l.a + tile_rows * f;
  l.total = l.b + tile_rows * f;
  return l;
}

/* The visits of queries [begin, end) to the lists of a part, list by list; how many. */
static int64_t visits_of(const search *q, int64_t begin, int64_t end, int64_t part, visit *to) {
  int64_t n = 0;
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = 0; j < q->probe; j++) {
      const int32_t list = q->list[i * q->probe + j];
      if (list >= 0 && list % q->parts == part) to[n++] = (visit){list, (int32_t)(i - begin)};
    }
  qsort(to, (size_t)n, sizeof *to, by_list);
  return n;
}

/* The stored rows of these numbers, side by side. They lie anywhere, so some are asked for ahead.
 */
static void gather(const mica_index_rows *rows, const int64_t *number, int64_t n, float *to) {
  enum { ahead = 6, line = 64 };
  const size_t bytes = (size_t)rows->d * mica_dtype_size(rows->dtype);
  const char *x = rows->x;
  for (int64_t i = -ahead; i < n; i++) {
    for (size_t b = 0; i + ahead < n && b < bytes; b += line)
      __builtin_prefetch(x + (size_t)number[i + ahead] * bytes + b);
    if (i >= 0)
      mica_convert(to + i * rows->d, MICA_F32, x + (size_t)number[i] * bytes, rows->dtype,
                   (size_t)rows->d);
  }
}

/* One list against the m queries that look at it. */
static mica_status look_at_list(const search *q, int64_t begin, const visit *asking, int64_t m,
                                mica_index_best *const *best, char *base, const layout *l) {
  const mica_index_rows *rows = q->rows;
  const int64_t d = rows->d, list = asking->list;
  const double *length = mica_index_question_norms(q->question) + begin;
  float *query = (float *)(void *)(base + l->query), *stored = (float *)(void *)(base + l->stored);
  float *product = (float *)(void *)(base + l->product);
  for (int64_t i = 0; i < m; i++)
    memcpy(query + i * d, q->query + (begin + asking[i].query) * d, (size_t)d * sizeof *query);
  for (int64_t from = q->s->start[list]; from < q->s->start[list + 1]; from += tile_rows) {
    const int64_t left = q->s->start[list + 1] - from, n = left < tile_rows ? left : tile_rows;
    const int64_t *number = q->s->order + from;
    gather(rows, number, n, stored);
    mica_status status =
        mica_gemm(q->engine, MICA_F32, false, true, m, n, d, 1, query, d, stored, d, 0, product, n);
    if (status) return status;
    mica_sieve sieve = {.rows = rows,
                        .reduce = q->reduce,
                        .number = number,
                        .n = n,
                        .a = (float *)(void *)(base + l->a),
                        .b = (float *)(void *)(base + l->b)};
    mica_sieve_begin(&sieve);
    for (int64_t i = 0; i < m; i++)
      mica_sieve_query(&sieve, length[asking[i].query], product + i * n, best[asking[i].query]);
  }
  return MICA_OK;
}

static mica_status look(void *ctx, const mica_index_question *question, int64_t begin, int64_t end,
                        int64_t part, mica_index_best *const *best, void *scratch) {
  (void)question;
  const search *q = ctx;
  const layout l = lay_out(q);
  char *base = scratch;
  visit *v = (visit *)(void *)(base + l.visit);
  const int64_t n = visits_of(q, begin, end, part, v);
  mica_status status = MICA_OK;
  for (int64_t i = 0, m; i < n && !status; i += m) {
    for (m = 1; i + m < n && v[i + m].list == v[i].list;) m++;
    status = look_at_list(q, begin, v + i, m, best, base, &l);
  }
  return status;
}

/* ---- with codes ---- */

static size_t scan_bytes(const search *q) {
  return (size_t)q->kept * sizeof(mica_scored) + (scanned_rows + MICA_CODE_BLOCK) * sizeof(float);
}

/* The rows of one list whose codes are best, to the heap. */
static void scan_list(const search *q, int64_t list, float near, const float *table,
                      const mica_index_best *best, float *score, mica_top_k_heap *heap) {
  const mica_ivf *s = q->s;
  const float twice = q->rows->metric == MICA_INDEX_L2 ? 2 : 1;
  for (int64_t at = 0; at < s->start[list + 1] - s->start[list]; at += scanned_rows) {
    const int64_t from = s->start[list] + at, left = s->start[list + 1] - from;
    const int64_t n = left < scanned_rows ? left : scanned_rows;
    const uint8_t *code = s->code + s->code_at[list] + mica_codes_bytes(s->codes, at);
    mica_codes_sum(q->kernels, s->codes, n, code, table, score);
    for (int64_t i = 0; i < n; i++) score[i] = near + twice * score[i];
    for (int64_t i = 0; s->constant && i < n; i++) score[i] -= s->constant[from + i];
    double bound = heap->count < heap->k ? -INFINITY : heap->item[0].score;
    for (int64_t i = 0; i < n; i++) {
      if (!((double)score[i] > bound) || !mica_index_wanted(best, s->order[from + i])) continue;
      mica_top_k_offer(heap, (double)score[i], s->order[from + i]);
      bound = heap->count < heap->k ? -INFINITY : heap->item[0].score;
    }
  }
}

static mica_status scan(void *ctx, const mica_index_question *question, int64_t begin, int64_t end,
                        int64_t part, mica_index_best *const *best, void *scratch) {
  (void)question;
  const search *q = ctx;
  const int64_t entries = mica_quantiser_parts(q->s->codes) * mica_quantiser_words(q->s->codes);
  mica_scored *storage = scratch;
  float *score = (float *)(void *)(storage + q->kept);
  for (int64_t i = begin; i < end; i++) {
    mica_top_k_heap heap;
    mica_top_k_begin(&heap, storage, q->kept);
    for (int64_t j = part; j < q->probe; j += q->parts) {
      const int32_t list = q->list[i * q->probe + j];
      if (list >= 0)
        scan_list(q, list, q->near[i * q->probe + j], q->table + i * entries, best[i - begin],
                  score, &heap);
    }
    const int64_t found = mica_top_k_end(&heap);
    for (int64_t c = 0; c < found; c++) {
      const double s = storage[c].score;
      if (q->rerank)
        mica_index_offer(best[i - begin], storage[c].index);
      else
        mica_index_offer_scored(best[i - begin], storage[c].index,
                                q->rows->metric == MICA_INDEX_L2 ? -sqrt(fmax(0, -s)) : s);
    }
  }
  return MICA_OK;
}

/* ---- the whole ---- */

static int64_t probe_of(const mica_ivf_options *o, const mica_ivf *s,
                        const mica_index_question *question) {
  const int64_t effort = mica_index_question_effort(question);
  int64_t probe = effort ? effort : o->probe ? o->probe : s->lists / 32;
  if (!effort && !o->probe && probe < 8) probe = 8;
  return probe < s->lists ? probe : s->lists;
}

static mica_status query(const mica_engine *engine, const void *options_, const void *state_,
                         const mica_index_rows *rows, mica_index_question *question) {
  const mica_ivf_options *o = options_;
  const mica_ivf *s = state_;
  const int64_t n = mica_index_question_count(question), k = mica_index_question_k(question);
  const mica_kernels *kernels = mica_kernels_of(engine, MICA_F32);
  search q = {.engine = engine,
              .rows = rows,
              .s = s,
              .reduce = kernels->reduce,
              .kernels = kernels->search,
              .question = question,
              .probe = probe_of(o, s, question),
              .kept = o->rerank > k ? o->rerank : k,
              .rerank = o->rerank > 0};
  const size_t probes = (size_t)(n * q.probe);
  const int64_t entries =
      s->codes ? mica_quantiser_parts(s->codes) * mica_quantiser_words(s->codes) : 0;
  q.query = mica_realloc_array(NULL, (size_t)(n * (rows->d + entries)), sizeof *q.query);
  q.list = mica_realloc_array(NULL, probes, sizeof *q.list);
  q.near = mica_realloc_array(NULL, probes, sizeof *q.near);
  mica_status status = q.query && q.list && q.near ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    q.table = q.query + n * rows->d;
    mica_convert(q.query, MICA_F32, mica_index_question_rows(question), MICA_F64,
                 (size_t)(n * rows->d));
    status = mica_chunks_run(engine, mica_chunks_of(n, probed_rows),
                             (size_t)q.probe * sizeof(mica_scored) +
                                 (size_t)(probed_rows * s->lists) * sizeof(float),
                             probe_chunk, &q);
  }
  if (!status && s->codes) status = mica_quantiser_table(s->codes, q.query, n, q.table);
  /* Few queries are shared between threads by cutting the lists, where that is work enough. */
  const int64_t block = s->codes ? 4 : query_rows, blocks = mica_chunks_of(n, block);
  const double bytes = (double)(n * q.probe) * (double)s->n / (double)s->lists *
                       (double)(s->codes ? mica_quantiser_parts(s->codes) : 4 * rows->d);
  q.parts = mica_chunks_of(8, blocks < 1 ? 1 : blocks);
  if (q.parts > q.probe) q.parts = q.probe;
  if ((double)q.parts > 1 + bytes / (1 << 20)) q.parts = 1 + (int64_t)(bytes / (1 << 20));
  if (!status)
    status = s->codes
                 ? mica_index_work_light(engine, question, block, q.parts, scan_bytes(&q), scan, &q)
                 : mica_index_work(engine, question, block, q.parts, lay_out(&q).total, look, &q);
  mica_free(q.query);
  mica_free(q.list);
  mica_free(q.near);
  return status;
}

static const mica_quantiser *quantiser_of(const void *state) {
  return ((const mica_ivf *)state)->codes;
}

static const mica_option option_table[] = {
    MICA_INDEX_HEAD_OPTIONS(mica_ivf_options),
    {"lists", MICA_OPTION_INT, "0", 0, 1 << 24, NULL,
     "lists that the rows are divided among; 0: 4 sqrt(rows)", offsetof(mica_ivf_options, lists)},
    {"probe", MICA_OPTION_INT, "0", 0, 1 << 24, NULL,
     "lists that a query looks at; 0: a thirty-second of them, at least 8",
     offsetof(mica_ivf_options, probe)},
    {"codes", MICA_OPTION_CHOICE, "none", 0, 0, "none|pq|opq",
     "short codes of the rows: product quantisation, also with a rotation",
     offsetof(mica_ivf_options, codes)},
    {"parts", MICA_OPTION_INT, "16", 1, 1 << 16, NULL, "parts of a code",
     offsetof(mica_ivf_options, parts)},
    {"words", MICA_OPTION_INT, "256", 2, 256, NULL,
     "codewords of each part; 16 take half a byte and are looked up faster",
     offsetof(mica_ivf_options, words)},
    {"rerank", MICA_OPTION_INT, "100", 0, 1 << 24, NULL,
     "rows that are scored exactly after their codes; 0: codes alone",
     offsetof(mica_ivf_options, rerank)},
    {"sample", MICA_OPTION_INT, "0", 0, 1e15, NULL,
     "rows at most that centres are trained on; 0: 64 a list", offsetof(mica_ivf_options, sample)},
    {"iterations", MICA_OPTION_INT, "10", 1, 1000, NULL, "of k-means for the centres",
     offsetof(mica_ivf_options, iterations)},
    {"rotations", MICA_OPTION_INT, "16", 1, 1000, NULL, "steps of opq's training",
     offsetof(mica_ivf_options, rotations)},
    {"seed", MICA_OPTION_INT, "0", 0, 0, NULL, "of what is drawn at random",
     offsetof(mica_ivf_options, seed)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static const mica_index_functions functions = {.size = sizeof functions,
                                               .build = mica_ivf_build,
                                               .free = mica_ivf_free,
                                               .save = mica_ivf_save,
                                               .load = mica_ivf_load,
                                               .query = query,
                                               .quantiser = quantiser_of};

extern const mica_component mica_component_index_ivf;
const mica_component mica_component_index_ivf = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_INDEX,
    "ivf",
    "the lists nearest to a query, whole or by short codes",
    NULL,
    option_table,
    sizeof(mica_ivf_options),
    MICA_NEED_FEATURES,
    0,
    &functions};
