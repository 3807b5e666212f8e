/* Every row by its code, then the best of them by the stored rows: codes in memory, rows on disk.
 *
 * Codes are of the rows, by a quantiser that the index trains or is given, or of what another
 * encoder made of the same documents; then a query brings two vectors, one for the codes and one
 * for the rows (Xiao et al. 2022, arXiv 2201.05409). A query sums table entries (Jegou, Douze and
 * Schmid 2011):
 *
 *     <q, x> = sum_p <q_p, word_p>        -|q - x|^2 = sum_p (2 <q_p, word_p> - |word_p|^2) - |q|^2
 */
#include "index/arrays.h"
#include "index/codes.h"
#include "index/index.h"

#include "numeric/top_k.h"
#include "tensor/dtype.h"
#include "tensor/kernel/kernel.h"

#include <math.h>
#include <string.h>

typedef struct {
  mica_index_head head;
  int64_t parts, words, rotations, rerank, sample, iterations, seed;
} options;

static const mica_option option_table[] = {
    MICA_INDEX_HEAD_OPTIONS(options),
    {"parts", MICA_OPTION_INT, "16", 1, 1 << 16, NULL, "parts of a code", offsetof(options, parts)},
    {"words", MICA_OPTION_INT, "256", 2, 256, NULL,
     "codewords of each part; 16 take half a byte and are looked up faster",
     offsetof(options, words)},
    {"rotations", MICA_OPTION_INT, "0", 0, 1000, NULL,
     "steps of a rotation's training (opq); 0: none", offsetof(options, rotations)},
    {"rerank", MICA_OPTION_INT, "100", 0, 1 << 24, NULL,
     "rows that are scored exactly after their codes; 0: codes alone", offsetof(options, rerank)},
    {"sample", MICA_OPTION_INT, "0", 0, 1e15, NULL,
     "rows at most that codes are trained on; 0: 256 a word", offsetof(options, sample)},
    {"iterations", MICA_OPTION_INT, "25", 1, 1000, NULL, "of k-means for each part's words",
     offsetof(options, iterations)},
    {"seed", MICA_OPTION_INT, "0", 0, 0, NULL, "of what is drawn at random",
     offsetof(options, seed)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

typedef struct {
  int64_t n;
  mica_quantiser *codes;
  float *square; /* [parts, words] squared lengths of the codewords */
  const uint8_t *code;
  const int64_t *coarse; /* [1]: 1 where codes are of other vectors than the rows */
  mica_tensor *held[2];
} state;

static const char *const held_name[] = {"codes", "coarse"};

static void free_state(void *p) {
  state *s = p;
  if (!s) return;
  for (int i = 0; i < 2; i++) mica_tensor_free(s->held[i]);
  mica_quantiser_free(s->codes);
  mica_free(s->square);
  mica_free(s);
}

static const mica_quantiser *quantiser_of(const void *p) {
  return ((const state *)p)->codes;
}

static mica_status takes(const void *o_, int64_t width, const mica_quantiser *q) {
  const options *o = o_;
  (void)width;
  if (mica_quantiser_parts(q) == o->parts && mica_quantiser_words(q) == o->words) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID,
                   "pq: codes of %lld parts and %lld words, the specification says %lld and %lld",
                   (long long)mica_quantiser_parts(q), (long long)mica_quantiser_words(q),
                   (long long)o->parts, (long long)o->words);
}

/* ---- building ---- */

enum { block_rows = 8192 };

/* Rows drawn at random, as the codes see them. */
static mica_status train(const mica_engine *engine, const options *o, const mica_index_rows *rows,
                         mica_quantiser **out) {
  mica_quantiser_options q = MICA_QUANTISER_OPTIONS;
  q.parts = o->parts < rows->d ? o->parts : rows->d;
  q.words = o->words;
  q.rotations = o->rotations;
  q.iterations = o->iterations;
  q.seed = (uint64_t)o->seed;
  int64_t m = o->sample ? o->sample : 256 * o->words;
  if (m < o->words) m = o->words;
  if (m > rows->n) m = rows->n;
  q.sample = m;
  if (m < o->words)
    return mica_fail(MICA_ERR_INVALID, "pq: codes of %lld words need as many rows, there are %lld",
                     (long long)o->words, (long long)m);
  int64_t *order = mica_realloc_array(NULL, (size_t)rows->n, sizeof *order);
  float *sample = mica_realloc_array(NULL, (size_t)(m * rows->d), sizeof *sample);
  mica_status status = order && sample ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    const mica_key key = mica_key_fold_name(mica_key_seed((uint64_t)o->seed), "pq");
    mica_random_permutation(key, rows->n, order);
    status = mica_index_load_rows(engine, rows, m == rows->n ? NULL : order, 0, m, sample);
  }
  const mica_view view = mica_view_of(sample, MICA_F32, MICA_SHAPE(m, rows->d));
  if (!status) status = mica_quantiser_fit(engine, &view, &q, out);
  mica_free(order);
  mica_free(sample);
  return status;
}

static mica_status encode(const mica_engine *engine, const mica_index_rows *rows, state *s,
                          uint8_t *code) {
  const int64_t parts = mica_quantiser_parts(s->codes);
  if (rows->code) {
    mica_codes_put(s->codes, rows->code, 0, rows->n, code);
    return MICA_OK;
  }
  const int64_t room = rows->n < block_rows ? rows->n : block_rows;
  float *block = mica_realloc_array(NULL, (size_t)(room * rows->d), sizeof *block);
  uint8_t *part = mica_realloc_array(NULL, (size_t)(room * parts), 1);
  mica_status status = block && part ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t from = 0; from < rows->n && !status; from += room) {
    const int64_t m = rows->n - from < room ? rows->n - from : room;
    const mica_view view = mica_view_of(block, MICA_F32, MICA_SHAPE(m, rows->d));
    status = mica_index_load_rows(engine, rows, NULL, from, m, block);
    if (!status) status = mica_quantiser_encode(s->codes, &view, part);
    if (!status) mica_codes_put(s->codes, part, from, m, code);
  }
  mica_free(block);
  mica_free(part);
  return status;
}

/* What follows from the codewords. */
static mica_status complete(state *s) {
  const int64_t parts = mica_quantiser_parts(s->codes), words = mica_quantiser_words(s->codes);
  s->square = mica_realloc_array(NULL, (size_t)(parts * words), sizeof *s->square);
  if (!s->square) return MICA_ERR_MEMORY;
  const float *word = mica_quantiser_codewords(s->codes);
  for (int64_t p = 0, at = 0; p < parts; p++) {
    const int64_t columns =
        mica_quantiser_column(s->codes, p + 1) - mica_quantiser_column(s->codes, p);
    for (int64_t w = 0; w < words; w++, at++) {
      double sum = 0;
      for (int64_t j = 0; j < columns; j++, word++) sum += (double)*word * (double)*word;
      s->square[at] = (float)sum;
    }
  }
  return MICA_OK;
}

static mica_status build(const mica_engine *engine, const void *o_, const mica_index_rows *rows,
                         void **out) {
  const options *o = o_;
  void *code = NULL, *coarse = NULL;
  state *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->n = rows->n;
  const mica_quantiser *q = rows->quantiser;
  mica_status status =
      !q ? train(engine, o, rows, &s->codes)
         : mica_quantiser_of(engine, mica_quantiser_width(q), mica_quantiser_parts(q),
                             mica_quantiser_words(q), mica_quantiser_codewords(q),
                             mica_quantiser_rotation(q), &s->codes);
  if (!status)
    status = mica_index_array_make(MICA_U8, MICA_SHAPE(mica_codes_bytes(s->codes, s->n)),
                                   &s->held[0], &code);
  if (!status) status = mica_index_array_make(MICA_I64, MICA_SHAPE(1), &s->held[1], &coarse);
  if (!status) {
    *(int64_t *)coarse = rows->coarse;
    s->code = code;
    s->coarse = coarse;
    status = encode(engine, rows, s, code);
  }
  if (!status) status = complete(s);
  if (status)
    free_state(s);
  else
    *out = s;
  return status;
}

/* ---- files ---- */

static mica_status save(const void *p, mica_record *record) {
  const state *s = p;
  mica_status status = mica_index_arrays_save(record, held_name, s->held, 2);
  return status ? status : mica_quantiser_save(s->codes, "quantiser", record);
}

/* The columns that the codes are of: those of the rotation or the codewords. */
static int64_t width_of(const mica_record *record, int64_t words) {
  const mica_tensor *t = mica_record_get(record, "quantiser.words");
  return t ? mica_tensor_count(t) / words : 0;
}

static mica_status load(const mica_engine *engine, const void *o_, const mica_index_rows *rows,
                        const mica_record *record, void **out) {
  const options *o = o_;
  void *coarse = NULL, *code = NULL;
  state *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->n = rows->n;
  mica_status status =
      mica_index_array_take(record, "pq", held_name[1], MICA_I64, 1, &s->held[1], &coarse);
  s->coarse = coarse;
  const int64_t parts = !status && !*s->coarse && o->parts > rows->d ? rows->d : o->parts;
  if (!status)
    status = mica_quantiser_load(engine, record, "quantiser", width_of(record, o->words), parts,
                                 o->words, &s->codes);
  if (!status)
    status = mica_index_array_take(record, "pq", held_name[0], MICA_U8,
                                   mica_codes_bytes(s->codes, s->n), &s->held[0], &code);
  s->code = code;
  if (!status && !*s->coarse && mica_quantiser_width(s->codes) != rows->d)
    status = mica_fail(MICA_ERR_FORMAT, "pq: codes of %lld columns for rows of %lld",
                       (long long)mica_quantiser_width(s->codes), (long long)rows->d);
  if (!status) status = mica_codes_check(s->codes, "pq", s->code, mica_codes_bytes(s->codes, s->n));
  if (!status) status = complete(s);
  if (status)
    free_state(s);
  else
    *out = s;
  return status;
}

/* ---- queries ---- */

enum { query_rows = 4, scanned_rows = 4096 };

typedef struct {
  const mica_index_rows *rows;
  const state *s;
  const mica_search_kernels *kernels;
  const float *x; /* [n, width] what the codes are asked with */
  int64_t kept, part_rows;
  bool rerank;
  float *table; /* [n, parts, words] */
} search;

static size_t scan_bytes(const search *q) {
  return (size_t)q->kept * sizeof(mica_scored) + (scanned_rows + MICA_CODE_BLOCK) * sizeof(float);
}

static void scan_rows(const search *q, int64_t from, int64_t to, const float *table,
                      const mica_index_best *best, float *score, mica_top_k_heap *heap) {
  for (int64_t at = from; at < to; at += scanned_rows) {
    const int64_t n = to - at < scanned_rows ? to - at : scanned_rows;
    mica_codes_sum(q->kernels, q->s->codes, n, q->s->code + mica_codes_bytes(q->s->codes, at),
                   table, score);
    double bound = heap->count < heap->k ? -INFINITY : heap->item[0].score;
    for (int64_t i = 0; i < n; i++) {
      if (!((double)score[i] > bound) || !mica_index_wanted(best, at + i)) continue;
      mica_top_k_offer(heap, (double)score[i], at + i);
      bound = heap->count < heap->k ? -INFINITY : heap->item[0].score;
    }
  }
}

static mica_status scan(void *ctx, const mica_index_question *question, int64_t begin, int64_t end,
                        int64_t part, mica_index_best *const *best, void *scratch) {
  (void)question;
  const search *q = ctx;
  const int64_t entries = mica_quantiser_parts(q->s->codes) * mica_quantiser_words(q->s->codes);
  const int64_t from = part * q->part_rows;
  const int64_t to = from + q->part_rows < q->s->n ? from + q->part_rows : q->s->n;
  const int64_t width = mica_quantiser_width(q->s->codes);
  mica_scored *storage = scratch;
  float *score = (float *)(void *)(storage + q->kept);
  for (int64_t i = begin; i < end; i++) {
    mica_top_k_heap heap;
    mica_top_k_begin(&heap, storage, q->kept);
    scan_rows(q, from, to, q->table + i * entries, best[i - begin], score, &heap);
    const int64_t found = mica_top_k_end(&heap);
    double square = 0;
    for (int64_t j = 0; j < width; j++)
      square += (double)q->x[i * width + j] * (double)q->x[i * width + j];
    for (int64_t c = 0; c < found; c++) {
      const double s = storage[c].score;
      if (q->rerank)
        mica_index_offer(best[i - begin], storage[c].index);
      else
        mica_index_offer_scored(best[i - begin], storage[c].index,
                                q->rows->metric == MICA_INDEX_L2 ? -sqrt(fmax(0, square - s)) : s);
    }
  }
  return MICA_OK;
}

/* The vectors that the codes are asked with, [n, width] float32; *own is what to free. */
static mica_status coarse_rows(const state *s, const mica_index_rows *rows,
                               const mica_index_question *question, const float **out,
                               float **own) {
  const int64_t n = mica_index_question_count(question), width = mica_quantiser_width(s->codes);
  int64_t columns;
  *own = NULL;
  *out = mica_index_question_coarse(question, &columns);
  if (*out && !*s->coarse)
    return mica_fail(MICA_ERR_INVALID, "pq: coarse queries, but the codes are of the rows");
  if (*out && columns != width)
    return mica_fail(MICA_ERR_SHAPE, "pq: coarse queries of %lld columns, the codes have %lld",
                     (long long)columns, (long long)width);
  if (*out) return MICA_OK;
  if (*s->coarse)
    return mica_fail(
        MICA_ERR_INVALID,
        "pq: the codes are of another encoder, and the queries bring no vectors of it");
  *out = *own = mica_realloc_array(NULL, (size_t)(n * width), sizeof **own);
  if (!*own) return MICA_ERR_MEMORY;
  mica_convert(*own, MICA_F32, mica_index_question_rows(question), MICA_F64, (size_t)(n * rows->d));
  return MICA_OK;
}

static mica_status query(const mica_engine *engine, const void *o_, const void *state_,
                         const mica_index_rows *rows, mica_index_question *question) {
  const options *o = o_;
  const state *s = state_;
  const int64_t n = mica_index_question_count(question), k = mica_index_question_k(question);
  const int64_t effort = mica_index_question_effort(question), rerank = effort ? effort : o->rerank;
  search q = {.rows = rows,
              .s = s,
              .kernels = mica_kernels_of(engine, MICA_F32)->search,
              .rerank = o->rerank > 0};
  q.kept = q.rerank && rerank > k ? rerank : k;
  if (q.kept > s->n) q.kept = s->n;
  const int64_t entries = mica_quantiser_parts(s->codes) * mica_quantiser_words(s->codes);
  float *own = NULL;
  mica_status status = coarse_rows(s, rows, question, &q.x, &own);
  q.table = mica_realloc_array(NULL, (size_t)(n * entries), sizeof *q.table);
  if (!status && !q.table) status = MICA_ERR_MEMORY;
  if (!status) status = mica_quantiser_table(s->codes, q.x, n, q.table);
  for (int64_t i = 0; i < n && !status && rows->metric == MICA_INDEX_L2; i++)
    for (int64_t j = 0; j < entries; j++)
      q.table[i * entries + j] = 2 * q.table[i * entries + j] - s->square[j];
  /* Rows are cut for threads by their number alone: each part keeps `kept` rows, so that an answer
   * does not depend on who asks with whom. */
  const int64_t most = mica_chunks_of(s->n, 16 * scanned_rows), parts = most < 8 ? most : 8;
  q.part_rows = mica_chunks_of(mica_chunks_of(s->n, parts), scanned_rows) * scanned_rows;
  if (!status)
    status = mica_index_work_light(engine, question, query_rows, mica_chunks_of(s->n, q.part_rows),
                                   scan_bytes(&q), scan, &q);
  mica_free(own);
  mica_free(q.table);
  return status;
}

static const mica_index_functions functions = {.size = sizeof functions,
                                               .build = build,
                                               .free = free_state,
                                               .save = save,
                                               .load = load,
                                               .query = query,
                                               .quantiser = quantiser_of,
                                               .takes = takes};

extern const mica_component mica_component_index_pq;
const mica_component mica_component_index_pq = {MICA_COMPONENT_HEAD,
                                                MICA_KIND_INDEX,
                                                "pq",
                                                "every row by a short code, the best by the rows",
                                                "bi-granular-retrieval",
                                                option_table,
                                                sizeof(options),
                                                MICA_NEED_FEATURES,
                                                0,
                                                &functions};
