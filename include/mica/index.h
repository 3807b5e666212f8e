/* mica/index.h: neighbour search: rows of features that answer which of them are nearest to a
 * query.
 *
 * An index is chosen by a specification ("exact:metric=l2:storage=f16"), filled with rows [N, D],
 * and then answers queries with the k best rows, best first. It lives in memory, or in a file that
 * is built row by row and opened by mapping, so that it may be larger than memory. Rows carry an
 * int64 id, and where they have them a label and a name.
 *
 * Scores: the larger the nearer. cosine: the cosine similarity, -1..1 (0 with a row or a query of
 * zeros, which has no direction); inner: the inner product; l2: minus the Euclidean distance.
 *
 * Equal scores: the lower id comes first, among equal ids the earlier row. Scores are computed in
 * float64 in one fixed order for each pair of query and row, so equal rows tie exactly, and answers
 * are the same bits for every thread count and however queries are grouped.
 *
 * A finished index may be read by many threads at once; a builder belongs to one.
 */
#ifndef MICA_INDEX_H
#define MICA_INDEX_H

#include <mica/component.h>
#include <mica/engine.h>
#include <mica/feature.h>
#include <mica/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mica_index_metric {
  MICA_INDEX_COSINE,
  MICA_INDEX_L2,
  MICA_INDEX_INNER
} mica_index_metric;

/* "cosine", "l2", "inner"; never NULL. */
MICA_API const char *mica_index_metric_name(mica_index_metric metric);

typedef struct mica_index mica_index;
struct mica_quantiser; /* mica/quantise.h */

/* ---- building ---- */

/* Rows to be added, borrowed for the call. */
typedef struct mica_index_batch {
  uint32_t size;
  mica_view x;             /* [N, D], float32, float64, bfloat16 or float16; all finite */
  const int64_t *id;       /* [N], not negative; NULL: the row's number in the index */
  const int64_t *label;    /* [N], not negative, MICA_CLASS_NONE for none; NULL: none */
  const char *const *name; /* [N], NULL for none; NULL: none */
  mica_view coarse;        /* [N, C], what the rows' codes are made of where it is not the rows
                              (mica_index_builder_set_codes); rank 0: none */
} mica_index_batch;
/* clang-format off */
#define MICA_INDEX_BATCH                                                                           \
  { sizeof(mica_index_batch), {0}, NULL, NULL, NULL, {0} }
/* clang-format on */

typedef struct mica_index_builder mica_index_builder;

/* Begin an index of `width` columns. With `path` the rows go to that file, under a temporary name
 * until the index is finished, and only 24 bytes a row and the names stay in memory; a component
 * that builds a structure of all rows reads them from there. */
MICA_API mica_status mica_index_builder_create(const mica_engine *engine, const char *spec,
                                               int64_t width, const char *path,
                                               mica_index_builder **out);
/* A text that is kept with the index ("classes", "encoder"); before the first rows, else
 * MICA_ERR_STATE. Setting a key again replaces its text. */
MICA_API mica_status mica_index_builder_set_text(mica_index_builder *builder, const char *key,
                                                 const char *value);
/* A tensor that is kept with the index, which becomes one more owner, under a name of at most 64
 * letters, digits, '_' and '.' (what rows went through before they came here, and queries must);
 * likewise before the first rows, and once for each name. */
MICA_API mica_status mica_index_builder_set_tensor(mica_index_builder *builder, const char *name,
                                                   mica_tensor *tensor);
/* The rows' codes are those of this quantiser, which is copied, in place of one that the index
 * trains; before the first rows. They are codes of the rows themselves (of length 1 under cosine),
 * or of each batch's `coarse`: the vectors of another encoder, and then a query brings its vector
 * of that encoder too (two granularities, Xiao et al. 2022). MICA_ERR_UNSUPPORTED for an index that
 * takes no codes; `pq` does, if parts and words are those of its specification. */
MICA_API mica_status mica_index_builder_set_codes(mica_index_builder *builder,
                                                  const struct mica_quantiser *quantiser);
/* Append rows. A number that is not finite (also one that the storage type cannot hold) is
 * MICA_ERR_NUMERIC and names its row; after a failure nothing of the batch has been added, except
 * that a file that cannot be written stays so. */
MICA_API mica_status mica_index_builder_add(mica_index_builder *builder,
                                            const mica_index_batch *batch);
/* Complete the index: the file gets its name, replacing an older one as a whole. `out` receives the
 * opened index unless NULL. The builder is then used up; free it. */
MICA_API mica_status mica_index_builder_finish(mica_index_builder *builder, mica_index **out);
/* Without _finish the file leaves no trace. NULL does nothing. */
MICA_API void mica_index_builder_free(mica_index_builder *builder);

/* An index in memory of one batch, which is copied. */
MICA_API mica_status mica_index_create(const mica_engine *engine, const char *spec,
                                       const mica_index_batch *rows, mica_index **out);

/* ---- files ---- */

/* Open an index file: a safetensors file, which is mapped and stays so until the index is freed.
 * One of a newer version is MICA_ERR_UNSUPPORTED, one that does not fit together MICA_ERR_FORMAT.
 */
MICA_API mica_status mica_index_open(const mica_engine *engine, const char *path, mica_index **out);
/* The same from memory, which must be aligned to 8 bytes and outlive the index; `name` is for
 * messages. */
MICA_API mica_status mica_index_open_memory(const mica_engine *engine, const void *bytes, size_t n,
                                            const char *name, mica_index **out);
/* Write an index to a file, under a temporary name until it is complete. */
MICA_API mica_status mica_index_save(const mica_index *index, const char *path);
/* NULL does nothing. */
MICA_API void mica_index_free(mica_index *index);

/* ---- what it holds ---- */

/* Rows, and columns of each. */
MICA_API int64_t mica_index_count(const mica_index *index);
MICA_API int64_t mica_index_width(const mica_index *index);
/* How rows are compared, and the type they are stored in. */
MICA_API mica_index_metric mica_index_metric_of(const mica_index *index);
MICA_API mica_dtype mica_index_storage(const mica_index *index);
/* The specification as canonical text; release with mica_free, NULL when memory is short. */
MICA_API char *mica_index_spec(const mica_index *index);
/* Rows of zeros, which under cosine have no direction. */
MICA_API int64_t mica_index_zero_rows(const mica_index *index);
/* The stored rows [N, D], borrowed. */
MICA_API mica_view mica_index_view(const mica_index *index);
/* Of each row [N], borrowed: the ids, and the labels or NULL when no row has one. */
MICA_API const int64_t *mica_index_ids(const mica_index *index);
MICA_API const int64_t *mica_index_labels(const mica_index *index);
/* The name of a row into buf, "" when it has none or there is no such row; returns buf. */
MICA_API const char *mica_index_name(const mica_index *index, int64_t row, char *buf, size_t n);
/* The quantiser of the rows' codes, NULL where there is none; borrowed. */
MICA_API const struct mica_quantiser *mica_index_quantiser(const mica_index *index);
/* The text under `key`, NULL when absent (not an error). */
MICA_API const char *mica_index_text(const mica_index *index, const char *key);
/* The tensors that are kept with the index, NULL where there are none; borrowed. */
MICA_API const mica_record *mica_index_tensors(const mica_index *index);

/* ---- queries ---- */

/* A second look at a query's first n answers, best first: their rows, and their scores to be
 * replaced by better ones, none NaN, as of matches of local features that agree on a geometry. */
typedef mica_status (*mica_index_second_look_fn)(void *ctx, int64_t query, int64_t n,
                                                 const int64_t *row, double *score);

typedef struct mica_index_query_options {
  uint32_t size;
  int64_t k; /* neighbours of each query; more than there are rows is fine */
  /* What is left out of the answer to query i: the row self_row[i], every row whose id is
   * self_id[i], and rows with the ids seen[seen_at[i]] to seen[seen_at[i + 1] - 1], in any order.
   * -1 leaves nothing out; NULL: none. */
  const int64_t *self_row, *self_id; /* [Q] */
  const int64_t *seen_at;            /* [Q + 1] ascending from 0 */
  const int64_t *seen;
  mica_progress_fn progress; /* of queries; a non-zero return cancels */
  void *progress_ctx;
  /* How hard an approximate index looks: lists of an ivf, candidates of an hnsw, rows of a pq that
   * are scored again; 0: as its specification says. An exact one takes no notice. */
  int64_t effort;
  /* What may be in an answer: rows r whose bit r % 64 of allowed[r / 64] is set, and for query i
   * rows of the label want_label[i], -1 for any. NULL: all. Few allowed rows are all looked at; of
   * a rare label an approximate index may find fewer than there are. */
  const uint64_t *allowed;
  const int64_t *want_label; /* [Q] */
  int32_t exact;             /* 1: every row is compared, whatever the index */
  const mica_view *coarse;   /* [Q, C]: the queries as the encoder of the codes has them, for an
                                index whose codes are of another encoder; NULL: none */
  const int64_t *only;       /* [n_only], ascending: the ids that may be in an answer, besides what
                                `allowed` says; NULL: all */
  int64_t n_only;
  /* The first `looked_at` answers of a query are ordered by the scores that this gives them, equal
   * ones as they were; the others stay behind them, with scores that are no higher. It is called
   * for one query after the other, in their order, by the calling thread. NULL: no second look. */
  mica_index_second_look_fn second_look;
  void *second_look_ctx;
  int64_t looked_at;
} mica_index_query_options;
#define MICA_INDEX_QUERY_OPTIONS                                                                   \
  {                                                                                                \
    sizeof(mica_index_query_options), 10, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, 0,    \
        NULL, NULL, 0, NULL, NULL, 100                                                             \
  }

/* The k nearest rows of each query, best first: row [Q, k] (-1 after the last one) and score [Q, k]
 * (NaN there). `queries` [Q, D] are float32, float64, bfloat16 or float16. `options` NULL: the
 * defaults. Memory: 16 k bytes for each of a block of queries, and scratch. */
MICA_API mica_status mica_index_query(const mica_index *index, const mica_view *queries,
                                      const mica_index_query_options *options, int64_t *row,
                                      double *score);

/* ---- for those who write an index ---- */

/* The options struct of every index begins with these, and its table with
 * MICA_INDEX_HEAD_OPTIONS(struct's name); the struct names its first member `head`. */
typedef struct mica_index_head {
  uint32_t size;
  int32_t metric;  /* mica_index_metric */
  int32_t storage; /* 0 float32, 1 bfloat16, 2 float16 */
} mica_index_head;
#define MICA_INDEX_HEAD_OPTIONS(type)                                                              \
  {"metric",                                                                                       \
   MICA_OPTION_CHOICE,                                                                             \
   "cosine",                                                                                       \
   0,                                                                                              \
   0,                                                                                              \
   "cosine|l2|inner",                                                                              \
   "what makes a row near: cosine similarity, Euclidean distance, inner product",                  \
   offsetof(type, head.metric)},                                                                   \
  {                                                                                                \
    "storage", MICA_OPTION_CHOICE, "f32", 0, 0, "f32|bf16|f16", "element type of the stored rows", \
        offsetof(type, head.storage)                                                               \
  }

/* The rows of an index, as its component sees them. */
typedef struct mica_index_rows {
  int64_t n, d;
  mica_index_metric metric;
  mica_dtype dtype;   /* MICA_F32, MICA_BF16 or MICA_F16 */
  const void *x;      /* [n, d], dense */
  const double *norm; /* [n] Euclidean lengths of the stored rows */
  /* Where codes were given to the builder: their quantiser, the codes [n, parts], and whether they
   * are of other vectors than the rows. */
  const struct mica_quantiser *quantiser;
  const uint8_t *code;
  bool coarse;
} mica_index_rows;

/* Queries under way, and the best rows found for one of them so far. */
typedef struct mica_index_question mica_index_question;
typedef struct mica_index_best mica_index_best;

/* The number of queries, their rows [n, D] in float64 (under cosine of length 1, or zero), their
 * lengths before that [n], and k, which is at most the number of rows. */
MICA_API int64_t mica_index_question_count(const mica_index_question *question);
MICA_API const double *mica_index_question_rows(const mica_index_question *question);
MICA_API const double *mica_index_question_norms(const mica_index_question *question);
MICA_API int64_t mica_index_question_k(const mica_index_question *question);
/* The queries as the encoder of the codes has them: float32 [n, width], NULL where none came. */
MICA_API const float *mica_index_question_coarse(const mica_index_question *question,
                                                 int64_t *width);
/* The effort that was asked for, 0 for none. */
MICA_API int64_t mica_index_question_effort(const mica_index_question *question);

/* Look for neighbours of queries [begin, end) in part `part` of the rows; `best` has one list a
 * query. `scratch` is 64-byte aligned and this call's alone. */
typedef mica_status (*mica_index_work_fn)(void *ctx, const mica_index_question *question,
                                          int64_t begin, int64_t end, int64_t part,
                                          mica_index_best *const *best, void *scratch);
/* Run fn over blocks of at most `block` queries times `parts` parts on the engine's threads, then
 * merge the lists of each query. Both numbers must follow from sizes alone. */
MICA_API mica_status mica_index_work(const mica_engine *engine, mica_index_question *question,
                                     int64_t block, int64_t parts, size_t scratch_bytes,
                                     mica_index_work_fn fn, void *ctx);
/* The score that a further row must reach to enter the list; -infinity while it is not full. */
MICA_API double mica_index_best_bound(const mica_index_best *best);
/* May the row be in this query's answer? */
MICA_API bool mica_index_wanted(const mica_index_best *best, int64_t row);
/* Offer a row: it is scored, unless the query leaves it out. At most once in one list. */
MICA_API void mica_index_offer(mica_index_best *best, int64_t row);
/* Offer a row with a score of the index's own making. */
MICA_API void mica_index_offer_scored(mica_index_best *best, int64_t row, double score);

/* The functions of a component of kind MICA_KIND_INDEX. Those but `query` may be NULL: an index
 * without a structure beside its rows has no state. What is given has been checked. */
typedef struct mica_index_functions {
  uint32_t size;
  mica_status (*build)(const mica_engine *engine, const void *options, const mica_index_rows *rows,
                       void **state);
  void (*free)(void *state);
  /* Tensors and JSON of the state; load gets the same ones. */
  mica_status (*save)(const void *state, mica_record *record);
  mica_status (*load)(const mica_engine *engine, const void *options, const mica_index_rows *rows,
                      const mica_record *record, void **state);
  mica_status (*query)(const mica_engine *engine, const void *options, const void *state,
                       const mica_index_rows *rows, mica_index_question *question);
  /* The state's quantiser; NULL: never has one. */
  const struct mica_quantiser *(*quantiser)(const void *state);
  /* MICA_OK where codes of this quantiser may be given, and queries with coarse vectors asked;
   * NULL: never. */
  mica_status (*takes)(const void *options, int64_t width, const struct mica_quantiser *quantiser);
} mica_index_functions;

#ifdef __cplusplus
}
#endif
#endif
