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
#include "index/index.h"
#include "index/sieve.h"

#include "numeric/chunks.h"
#include "numeric/clusters.h"
#include "numeric/top_k.h"
#include "tensor/dtype.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/search.h"

#include <mica/quantise.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CODES_NONE, CODES_PQ, CODES_OPQ };

typedef struct {
  mica_index_head head;
  int64_t lists, probe;
  int32_t codes;
  int64_t parts, words, rerank, sample, iterations, rotations, seed;
} options;

static const mica_option option_table[] = {
    MICA_INDEX_HEAD_OPTIONS(options),
    {"lists", MICA_OPTION_INT, "0", 0, 1 << 24, NULL,
     "lists that the rows are divided among; 0: 4 sqrt(rows)", offsetof(options, lists)},
    {"probe", MICA_OPTION_INT, "0", 0, 1 << 24, NULL,
     "lists that a query looks at; 0: a thirty-second of them, at least 8",
     offsetof(options, probe)},
    {"codes", MICA_OPTION_CHOICE, "none", 0, 0, "none|pq|opq",
     "short codes of the rows: product quantisation, also with a rotation",
     offsetof(options, codes)},
    {"parts", MICA_OPTION_INT, "16", 1, 1 << 16, NULL, "parts of a code", offsetof(options, parts)},
    {"words", MICA_OPTION_INT, "256", 2, 256, NULL,
     "codewords of each part; 16 take half a byte and are looked up faster",
     offsetof(options, words)},
    {"rerank", MICA_OPTION_INT, "100", 0, 1 << 24, NULL,
     "rows that are scored exactly after their codes; 0: codes alone", offsetof(options, rerank)},
    {"sample", MICA_OPTION_INT, "0", 0, 0, NULL,
     "rows at most that centres are trained on; 0: 64 a list", offsetof(options, sample)},
    {"iterations", MICA_OPTION_INT, "10", 1, 1000, NULL, "of k-means for the centres",
     offsetof(options, iterations)},
    {"rotations", MICA_OPTION_INT, "16", 1, 1000, NULL, "steps of opq's training",
     offsetof(options, rotations)},
    {"seed", MICA_OPTION_INT, "0", 0, 0, NULL, "of what is drawn at random",
     offsetof(options, seed)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

/* Arrays are the state's own after a build, and lie in the file's memory after a load. */
typedef struct {
  int64_t lists, n;
  const float *centre;   /* [lists, d] */
  const int64_t *start;  /* [lists + 1] into order */
  const int64_t *order;  /* [n] rows, list by list */
  mica_quantiser *codes; /* or NULL */
  const uint8_t *code;   /* each list from code_at on */
  const float *constant; /* [n] in the order of lists, for the distance; or NULL */
  int64_t code_bytes;
  int64_t *code_at; /* [lists] */
  float *square;    /* [lists] squared lengths of the centres */
  mica_tensor *held[5];
} state;

/* Codes of 16 words lie in blocks of rows, half a byte each; others byte by byte. */
static bool packed(const mica_quantiser *q) {
  return mica_quantiser_words(q) == 16;
}

static int64_t bytes_of_list(const mica_quantiser *q, int64_t rows) {
  const int64_t parts = mica_quantiser_parts(q);
  return packed(q) ? mica_chunks_of(rows, MICA_CODE_BLOCK) * 16 * parts : rows * parts;
}

static void free_state(void *p) {
  state *s = p;
  if (!s) return;
  for (size_t i = 0; i < sizeof s->held / sizeof *s->held; i++) mica_tensor_free(s->held[i]);
  mica_quantiser_free(s->codes);
  mica_free(s->code_at);
  mica_free(s->square);
  mica_free(s);
}

/* What follows from the lists, once centres and codes are there. */
static mica_status complete(const mica_engine *engine, state *s, int64_t d) {
  s->square = mica_realloc_array(NULL, (size_t)s->lists, sizeof *s->square);
  s->code_at = mica_realloc_array(NULL, (size_t)s->lists, sizeof *s->code_at);
  if (!s->square || !s->code_at) return MICA_ERR_MEMORY;
  mica_kernels_of(engine, MICA_F32)->reduce->row_sum_squares(s->lists, d, s->centre, d, s->square);
  int64_t at = 0;
  for (int64_t l = 0; l < s->lists; l++) {
    s->code_at[l] = at;
    if (s->codes) at += bytes_of_list(s->codes, s->start[l + 1] - s->start[l]);
  }
  return MICA_OK;
}

/* ---- rows as float32 ---- */

/* As centres see it: under cosine of length 1, where it has one. */
static void load_row(const mica_index_rows *rows, int64_t row, float *to) {
  const char *from = (const char *)rows->x + (size_t)(row * rows->d) * mica_dtype_size(rows->dtype);
  mica_convert(to, MICA_F32, from, rows->dtype, (size_t)rows->d);
  if (rows->metric != MICA_INDEX_COSINE || rows->norm[row] == 0) return;
  const double scale = 1 / rows->norm[row];
  for (int64_t j = 0; j < rows->d; j++) to[j] = (float)((double)to[j] * scale);
}

typedef struct {
  const mica_index_rows *rows;
  const int64_t *number; /* or NULL: from `first` on */
  int64_t first, n;
  float *to;
} loading;

enum { loaded_rows = 512 };

static mica_status load_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const loading *l = ctx;
  const int64_t from = chunk * loaded_rows;
  const int64_t to = from + loaded_rows < l->n ? from + loaded_rows : l->n;
  for (int64_t i = from; i < to; i++)
    load_row(l->rows, l->number ? l->number[i] : l->first + i, l->to + i * l->rows->d);
  return MICA_OK;
}

static mica_status load_rows(const mica_engine *engine, const mica_index_rows *rows,
                             const int64_t *number, int64_t first, int64_t n, float *to) {
  loading l = {rows, number, first, n, to};
  return mica_chunks_run(engine, mica_chunks_of(n, loaded_rows), 0, load_chunk, &l);
}

/* ---- building ---- */

typedef struct {
  const mica_engine *engine;
  const options *o;
  const mica_index_rows *rows;
  state *s;
  float *centre;
  int64_t *start, *order;
  float *block; /* [block_rows, d] */
} build_job;

enum { block_rows = 8192 };

/* A tensor that the state holds. */
static mica_status hold(state *s, int which, mica_dtype dtype, mica_shape shape, void **data) {
  mica_status status = mica_tensor_create(dtype, shape, &s->held[which]);
  if (!status) *data = mica_tensor_view(s->held[which]).data;
  return status;
}

static int64_t lists_of(const options *o, int64_t n) {
  int64_t lists = o->lists ? o->lists : (int64_t)(4 * sqrt((double)n) + 0.5);
  const int64_t most = o->lists ? n : 1 + n / 32;
  return lists < most ? lists : most;
}

static mica_status train_centres(const build_job *b) {
  const int64_t n = b->rows->n, d = b->rows->d, lists = b->s->lists;
  int64_t m = b->o->sample ? b->o->sample : 64 * lists;
  if (m < lists) m = lists;
  if (m > n) m = n;
  const mica_key key = mica_key_fold_name(mica_key_seed((uint64_t)b->o->seed), "ivf");
  int64_t *order = mica_realloc_array(NULL, (size_t)n, sizeof *order);
  float *sample = mica_realloc_array(NULL, (size_t)(m * d), sizeof *sample);
  mica_status status = order && sample ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    mica_random_permutation(mica_key_fold_name(key, "sample"), n, order);
    status = load_rows(b->engine, b->rows, m == n ? NULL : order, 0, m, sample);
  }
  const mica_float_rows rows = {sample, m, d, d};
  if (!status)
    status = mica_clusters_fit(b->engine, &rows, lists, b->o->iterations, false, key, b->centre);
  mica_free(order);
  mica_free(sample);
  return status;
}

/* The rows of each list, ascending. */
static mica_status divide(const build_job *b) {
  const int64_t n = b->rows->n, lists = b->s->lists;
  int32_t *assigned = mica_realloc_array(NULL, (size_t)n, sizeof *assigned);
  mica_status status = assigned ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t from = 0; from < n && !status; from += block_rows) {
    const int64_t m = n - from < block_rows ? n - from : block_rows;
    const mica_float_rows rows = {b->block, m, b->rows->d, b->rows->d};
    status = load_rows(b->engine, b->rows, NULL, from, m, b->block);
    if (!status)
      status = mica_clusters_assign(b->engine, &rows, b->centre, lists, assigned + from, NULL);
  }
  memset(b->start, 0, (size_t)(lists + 1) * sizeof *b->start);
  for (int64_t i = 0; i < n && !status; i++) b->start[assigned[i] + 1]++;
  for (int64_t l = 0; l < lists; l++) b->start[l + 1] += b->start[l];
  for (int64_t i = 0; i < n && !status; i++) b->order[b->start[assigned[i]]++] = i;
  for (int64_t l = lists; l > 0; l--) b->start[l] = b->start[l - 1];
  b->start[0] = 0;
  mica_free(assigned);
  return status;
}

/* What is left of rows beside their centres: those at [from, from + m) of the order. `list` is that
 * of the first. */
static mica_status residuals(const build_job *b, int64_t from, int64_t m, int64_t list) {
  const int64_t d = b->rows->d;
  mica_status status = load_rows(b->engine, b->rows, b->order + from, 0, m, b->block);
  for (int64_t i = 0; i < m && !status; i++) {
    while (b->start[list + 1] <= from + i) list++;
    for (int64_t j = 0; j < d; j++) b->block[i * d + j] -= b->centre[list * d + j];
  }
  return status;
}

static mica_status train_codes(const build_job *b) {
  const int64_t n = b->rows->n, d = b->rows->d;
  mica_quantiser_options q = MICA_QUANTISER_OPTIONS;
  q.parts = b->o->parts < d ? b->o->parts : d;
  q.words = b->o->words;
  q.rotations = b->o->codes == CODES_OPQ ? b->o->rotations : 0;
  q.seed = (uint64_t)b->o->seed;
  if (n < q.words)
    return mica_fail(MICA_ERR_INVALID, "ivf: codes of %lld words need as many rows, there are %lld",
                     (long long)q.words, (long long)n);
  /* Rows at even distances in the order of lists. */
  const int64_t m = n < 256 * q.words ? n : 256 * q.words;
  float *sample = mica_realloc_array(NULL, (size_t)(m * d), sizeof *sample);
  if (!sample) return MICA_ERR_MEMORY;
  int64_t list = 0;
  for (int64_t i = 0; i < m; i++) {
    const int64_t at = (int64_t)((double)i * (double)n / (double)m);
    load_row(b->rows, b->order[at], sample + i * d);
    while (b->start[list + 1] <= at) list++;
    for (int64_t j = 0; j < d; j++) sample[i * d + j] -= b->centre[list * d + j];
  }
  const mica_view view = mica_view_of(sample, MICA_F32, MICA_SHAPE(m, d));
  mica_status status = mica_quantiser_fit(b->engine, &view, &q, &b->s->codes);
  mica_free(sample);
  return status;
}

/* Codes of m rows, the first of which is row `at` of its list, to the list's place. */
static void put_codes(const mica_quantiser *q, const uint8_t *code, int64_t at, int64_t m,
                      uint8_t *to) {
  const int64_t parts = mica_quantiser_parts(q);
  if (!packed(q)) {
    memcpy(to + at * parts, code, (size_t)(m * parts));
    return;
  }
  for (int64_t i = 0; i < m; i++, code += parts) {
    const int64_t lane = (at + i) % MICA_CODE_BLOCK;
    uint8_t *block = to + (at + i) / MICA_CODE_BLOCK * 16 * parts + lane % 16;
    for (int64_t p = 0; p < parts; p++)
      block[16 * p] = (uint8_t)(block[16 * p] | (lane < 16 ? code[p] : code[p] << 4));
  }
}

/* |r|^2 + 2 <c, r> of a decoded residual. */
static float constant_of(const float *r, const float *c, int64_t d) {
  double sum = 0;
  for (int64_t j = 0; j < d; j++) sum += (double)r[j] * ((double)r[j] + 2 * (double)c[j]);
  return (float)sum;
}

static mica_status encode(const build_job *b, uint8_t *code, float *constant) {
  const state *s = b->s;
  const int64_t d = b->rows->d, parts = mica_quantiser_parts(s->codes);
  uint8_t *part = mica_realloc_array(NULL, (size_t)(block_rows * parts), 1);
  mica_status status = part ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t list = 0; list < s->lists && !status; list++) {
    const int64_t begin = b->start[list], end = b->start[list + 1];
    for (int64_t from = begin; from < end && !status; from += block_rows) {
      const int64_t m = end - from < block_rows ? end - from : block_rows;
      const mica_view rows = mica_view_of(b->block, MICA_F32, MICA_SHAPE(m, d));
      status = residuals(b, from, m, list);
      if (!status) status = mica_quantiser_encode(s->codes, &rows, part);
      if (!status) put_codes(s->codes, part, from - begin, m, code);
      if (!status && constant) status = mica_quantiser_decode(s->codes, part, m, b->block);
      for (int64_t i = 0; i < m && !status && constant; i++)
        constant[from + i] = constant_of(b->block + i * d, b->centre + list * d, d);
    }
    code += bytes_of_list(s->codes, end - begin);
  }
  mica_free(part);
  return status;
}

static mica_status add_codes(const build_job *b) {
  state *s = b->s;
  void *code = NULL, *constant = NULL;
  mica_status status = train_codes(b);
  if (status) return status;
  for (int64_t l = 0; l < s->lists; l++)
    s->code_bytes += bytes_of_list(s->codes, b->start[l + 1] - b->start[l]);
  status = hold(s, 3, MICA_U8, MICA_SHAPE(s->code_bytes), &code);
  if (!status) memset(code, 0, (size_t)s->code_bytes);
  if (!status && b->rows->metric == MICA_INDEX_L2)
    status = hold(s, 4, MICA_F32, MICA_SHAPE(s->n), &constant);
  if (!status) status = encode(b, code, constant);
  s->code = code;
  s->constant = constant;
  return status;
}

static mica_status build(const mica_engine *engine, const void *o, const mica_index_rows *rows,
                         void **out) {
  state *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  build_job b = {.engine = engine, .o = o, .rows = rows, .s = s};
  s->n = rows->n;
  s->lists = lists_of(o, rows->n);
  void *centre = NULL, *start = NULL, *order = NULL;
  mica_status status = hold(s, 0, MICA_F32, MICA_SHAPE(s->lists, rows->d), &centre);
  if (!status) status = hold(s, 1, MICA_I64, MICA_SHAPE(s->lists + 1), &start);
  if (!status) status = hold(s, 2, MICA_I64, MICA_SHAPE(s->n), &order);
  b.centre = centre, b.start = start, b.order = order;
  s->centre = centre, s->start = start, s->order = order;
  b.block = mica_realloc_array(NULL, (size_t)(block_rows * rows->d), sizeof *b.block);
  if (!status && !b.block) status = MICA_ERR_MEMORY;
  if (!status) status = train_centres(&b);
  if (!status) status = divide(&b);
  if (!status && b.o->codes != CODES_NONE) status = add_codes(&b);
  if (!status) status = complete(engine, s, rows->d);
  mica_free(b.block);
  if (status)
    free_state(s);
  else
    *out = s;
  return status;
}

/* ---- files ---- */

static const char *const held_name[] = {"centres", "starts", "order", "codes", "constants"};

static mica_status save(const void *p, mica_record *record) {
  const state *s = p;
  mica_status status = MICA_OK;
  for (size_t i = 0; i < sizeof held_name / sizeof *held_name && !status; i++)
    if (s->held[i]) status = mica_record_put(record, held_name[i], s->held[i]);
  if (!status && s->codes) status = mica_quantiser_save(s->codes, "quantiser", record);
  return status;
}

/* The elements of a tensor of this type and number; another owner of it goes to the state. */
static mica_status take(state *s, const mica_record *record, size_t which, mica_dtype dtype,
                        int64_t n, const void **data) {
  for (int64_t i = 0; i < mica_record_count(record); i++) {
    const char *name;
    mica_tensor *t = mica_record_at(record, i, &name);
    if (strcmp(name, held_name[which]) != 0) continue;
    const mica_view v = mica_tensor_view(t);
    if (v.dtype != dtype || mica_shape_count(&v.shape) != n) break;
    s->held[which] = mica_tensor_retain(t);
    *data = v.data;
    return MICA_OK;
  }
  return mica_fail(MICA_ERR_FORMAT, "ivf: no tensor '%s' of %lld %s", held_name[which],
                   (long long)n, mica_dtype_name(dtype));
}

static mica_status check_lists(const state *s) {
  bool fits = s->start[0] == 0 && s->start[s->lists] == s->n;
  for (int64_t l = 0; l < s->lists && fits; l++) fits = s->start[l] <= s->start[l + 1];
  for (int64_t i = 0; i < s->n && fits; i++) fits = s->order[i] >= 0 && s->order[i] < s->n;
  return fits ? MICA_OK : mica_fail(MICA_ERR_FORMAT, "ivf: lists that do not fit their rows");
}

static mica_status load_codes(const mica_engine *engine, const options *o,
                              const mica_index_rows *rows, const mica_record *record, state *s) {
  const void *p = NULL;
  const int64_t parts = o->parts < rows->d ? o->parts : rows->d;
  mica_status status =
      mica_quantiser_load(engine, record, "quantiser", rows->d, parts, o->words, &s->codes);
  if (status) return status;
  for (int64_t l = 0; l < s->lists; l++)
    s->code_bytes += bytes_of_list(s->codes, s->start[l + 1] - s->start[l]);
  status = take(s, record, 3, MICA_U8, s->code_bytes, &p);
  if (status) return status;
  s->code = p;
  if (o->words < 256 && !packed(s->codes))
    for (int64_t i = 0; i < s->code_bytes; i++)
      if (s->code[i] >= o->words)
        return mica_fail(MICA_ERR_FORMAT, "ivf: code %d, expected less than %lld", s->code[i],
                         (long long)o->words);
  if (rows->metric != MICA_INDEX_L2) return MICA_OK;
  status = take(s, record, 4, MICA_F32, s->n, &p);
  s->constant = p;
  return status;
}

static mica_status load(const mica_engine *engine, const void *options_,
                        const mica_index_rows *rows, const mica_record *record, void **out) {
  const options *o = options_;
  state *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  const void *p = NULL;
  s->n = rows->n;
  s->lists = lists_of(o, rows->n);
  mica_status status = take(s, record, 0, MICA_F32, s->lists * rows->d, &p);
  s->centre = p;
  if (!status) status = take(s, record, 1, MICA_I64, s->lists + 1, &p);
  s->start = p;
  if (!status) status = take(s, record, 2, MICA_I64, s->n, &p);
  s->order = p;
  if (!status) status = check_lists(s);
  if (!status && o->codes != CODES_NONE) status = load_codes(engine, o, rows, record, s);
  if (!status) status = complete(engine, s, rows->d);
  if (status)
    free_state(s);
  else
    *out = s;
  return status;
}

/* ---- queries ---- */

typedef struct {
  const mica_engine *engine;
  const mica_index_rows *rows;
  const state *s;
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
  const state *s = q->s;
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
  const state *s = q->s;
  const int64_t parts = mica_quantiser_parts(s->codes), words = mica_quantiser_words(s->codes);
  const float twice = q->rows->metric == MICA_INDEX_L2 ? 2 : 1;
  for (int64_t at = 0; at < s->start[list + 1] - s->start[list]; at += scanned_rows) {
    const int64_t from = s->start[list] + at, left = s->start[list + 1] - from;
    const int64_t n = left < scanned_rows ? left : scanned_rows;
    const uint8_t *code = s->code + s->code_at[list] + bytes_of_list(s->codes, at);
    if (packed(s->codes))
      q->kernels->sum_16(n, parts, code, table, score);
    else
      q->kernels->sum(n, parts, words, code, table, score);
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

static int64_t probe_of(const options *o, const state *s, const mica_index_question *question) {
  const int64_t effort = mica_index_question_effort(question);
  int64_t probe = effort ? effort : o->probe ? o->probe : s->lists / 32;
  if (!effort && !o->probe && probe < 8) probe = 8;
  return probe < s->lists ? probe : s->lists;
}

static mica_status query(const mica_engine *engine, const void *options_, const void *state_,
                         const mica_index_rows *rows, mica_index_question *question) {
  const options *o = options_;
  const state *s = state_;
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
                 ? mica_index_work(engine, question, block, q.parts, scan_bytes(&q), scan, &q)
                 : mica_index_work(engine, question, block, q.parts, lay_out(&q).total, look, &q);
  mica_free(q.query);
  mica_free(q.list);
  mica_free(q.near);
  return status;
}

static const mica_index_functions functions = {.size = sizeof functions,
                                               .build = build,
                                               .free = free_state,
                                               .save = save,
                                               .load = load,
                                               .query = query};

extern const mica_component mica_component_index_ivf;
const mica_component mica_component_index_ivf = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_INDEX,
    "ivf",
    "the lists nearest to a query, whole or by short codes",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES,
    0,
    &functions};
