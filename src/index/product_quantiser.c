/* Product quantisation: training, codes, and tables of inner products.
 *
 * Rows are turned and coded a block at a time, so that memory does not grow with their number. The
 * rotation's fit needs only products: the orthogonal factor of a matrix comes from Newton and
 * Schulz's iteration X := X (3 I - X^T X) / 2, whose every step is two of them.
 */
#include <mica/quantise.h>

#include "base/progress.h"
#include "numeric/chunks.h"
#include "numeric/clusters.h"
#include "numeric/serial.h"
#include "tensor/dtype.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/search.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct mica_quantiser {
  const mica_engine *engine;
  int64_t d, parts, words;
  float *word;     /* part p from words * column(p) on, [words, columns] */
  float *turned;   /* the same as [columns, words], for tables */
  float *rotation; /* [d, d] or NULL */
};

static int64_t column_of(const mica_quantiser *q, int64_t p) {
  return p * q->d / q->parts;
}

int64_t mica_quantiser_width(const mica_quantiser *quantiser) {
  return quantiser->d;
}
int64_t mica_quantiser_parts(const mica_quantiser *quantiser) {
  return quantiser->parts;
}
int64_t mica_quantiser_words(const mica_quantiser *quantiser) {
  return quantiser->words;
}
int64_t mica_quantiser_column(const mica_quantiser *quantiser, int64_t p) {
  return column_of(quantiser, p);
}
const float *mica_quantiser_codewords(const mica_quantiser *quantiser) {
  return quantiser->word;
}
const float *mica_quantiser_rotation(const mica_quantiser *quantiser) {
  return quantiser->rotation;
}

void mica_quantiser_free(mica_quantiser *quantiser) {
  if (!quantiser) return;
  mica_free(quantiser->word);
  mica_free(quantiser->turned);
  mica_free(quantiser->rotation);
  mica_free(quantiser);
}

static mica_status create(const mica_engine *engine, int64_t d, int64_t parts, int64_t words,
                          bool rotated, mica_quantiser **out) {
  *out = NULL;
  if (d < 1 || parts < 1 || parts > d)
    return mica_fail(MICA_ERR_INVALID, "quantiser: %lld parts of %lld columns, expected 1 to %lld",
                     (long long)parts, (long long)d, (long long)d);
  if (words < 2 || words > 256)
    return mica_fail(MICA_ERR_INVALID, "quantiser: %lld codewords a part, expected 2 to 256",
                     (long long)words);
  mica_quantiser *q = mica_calloc(1, sizeof *q);
  if (!q) return MICA_ERR_MEMORY;
  *q = (mica_quantiser){.engine = engine, .d = d, .parts = parts, .words = words};
  q->word = mica_realloc_array(NULL, (size_t)(words * d), sizeof *q->word);
  q->turned = mica_realloc_array(NULL, (size_t)(words * d), sizeof *q->turned);
  if (rotated) q->rotation = mica_realloc_array(NULL, (size_t)(d * d), sizeof *q->rotation);
  if (!q->word || !q->turned || (rotated && !q->rotation)) {
    mica_quantiser_free(q);
    return MICA_ERR_MEMORY;
  }
  *out = q;
  return MICA_OK;
}

/* The codewords are there. */
static void complete(mica_quantiser *q) {
  for (int64_t p = 0; p < q->parts; p++) {
    const int64_t from = column_of(q, p), columns = column_of(q, p + 1) - from;
    const float *word = q->word + q->words * from;
    float *to = q->turned + q->words * from;
    for (int64_t j = 0; j < columns; j++)
      for (int64_t w = 0; w < q->words; w++) to[j * q->words + w] = word[w * columns + j];
  }
}

static mica_status check_finite(const float *x, int64_t n, const char *what) {
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(x[i]))
      return mica_fail(MICA_ERR_NUMERIC, "quantiser: a %s is %s, expected a finite number", what,
                       isnan(x[i]) ? "NaN" : "infinite");
  return MICA_OK;
}

mica_status mica_quantiser_of(const mica_engine *engine, int64_t d, int64_t parts, int64_t words,
                              const float *word, const float *rotation, mica_quantiser **out) {
  mica_status status = create(engine, d, parts, words, rotation != NULL, out);
  if (status) return status;
  memcpy((*out)->word, word, (size_t)(words * d) * sizeof *word);
  status = check_finite(word, words * d, "codeword");
  if (rotation) {
    memcpy((*out)->rotation, rotation, (size_t)(d * d) * sizeof *rotation);
    if (!status) status = check_finite(rotation, d * d, "rotation's element");
  }
  if (!status) {
    complete(*out);
    return MICA_OK;
  }
  mica_quantiser_free(*out);
  *out = NULL;
  return status;
}

/* ---- rotations ---- */

/* y [n, d] = x R^T, or x R when `back`. */
static mica_status turn(const mica_quantiser *q, bool back, const float *x, int64_t n, float *y) {
  return mica_gemm(q->engine, MICA_F32, false, !back, n, q->d, q->d, 1, x, q->d, q->rotation, q->d,
                   0, y, q->d);
}

typedef struct {
  const mica_quantiser *q;
  bool back;
  const float *x;
  int64_t n;
  float *y;
} turning;

enum { turned_rows = 256 };

static mica_status turn_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const turning *t = ctx;
  const int64_t from = chunk * turned_rows, left = t->n - from, d = t->q->d;
  return turn(t->q, t->back, t->x + from * d, left < turned_rows ? left : turned_rows,
              t->y + from * d);
}

static mica_status turn_all(const mica_quantiser *q, bool back, const float *x, int64_t n,
                            float *y) {
  turning t = {q, back, x, n, y};
  return mica_chunks_run(q->engine, mica_chunks_of(n, turned_rows), 0, turn_chunk, &t);
}

/* ---- codes ---- */

/* Codes of n dense rows, turned already. `number` has room for n. */
static mica_status encode_turned(const mica_quantiser *q, const float *x, int64_t n,
                                 int32_t *number, uint8_t *code) {
  for (int64_t p = 0; p < q->parts; p++) {
    const int64_t from = column_of(q, p), columns = column_of(q, p + 1) - from;
    const mica_float_rows rows = {x + from, n, columns, q->d};
    mica_status status =
        mica_clusters_assign(q->engine, &rows, q->word + q->words * from, q->words, number, NULL);
    if (status) return status;
    for (int64_t i = 0; i < n; i++) code[i * q->parts + p] = (uint8_t)number[i];
  }
  return MICA_OK;
}

static void decode_turned(const mica_quantiser *q, const uint8_t *code, int64_t n, float *x) {
  for (int64_t i = 0; i < n; i++, x += q->d)
    for (int64_t p = 0; p < q->parts; p++) {
      const int64_t from = column_of(q, p), columns = column_of(q, p + 1) - from;
      memcpy(x + from, q->word + q->words * from + *code++ * columns, (size_t)columns * sizeof *x);
    }
}

static mica_status check_rows(const mica_view *x, int64_t d, const char *what) {
  char text[96];
  if (x->shape.rank != 2 || !mica_dtype_is_float(x->dtype) || mica_shape_count(&x->shape) < 0 ||
      (d && x->shape.dim[1] != d))
    return mica_fail(MICA_ERR_SHAPE, "quantiser: %s %s of %s, expected rows of %lld floats", what,
                     mica_shape_text(&x->shape, text, sizeof text), mica_dtype_name(x->dtype),
                     (long long)d);
  if (x->shape.dim[0] && (!x->data || x->row_stride < x->shape.dim[1]))
    return mica_fail(MICA_ERR_INVALID, "quantiser: %s without data, or that overlap", what);
  return MICA_OK;
}

/* Row i of a view as float32; MICA_ERR_NUMERIC where it is not finite. */
static mica_status load_row(const mica_view *x, int64_t i, float *to) {
  const size_t bytes = (size_t)(i * x->row_stride) * mica_dtype_size(x->dtype);
  const int64_t d = x->shape.dim[1];
  mica_convert(to, MICA_F32, (const char *)x->data + bytes, x->dtype, (size_t)d);
  float sum = 0;
  for (int64_t j = 0; j < d; j++) sum += 0 * to[j];
  return sum == 0 ? MICA_OK
                  : mica_fail(MICA_ERR_NUMERIC,
                              "quantiser: row %lld holds a number that is not "
                              "finite in float32",
                              (long long)i);
}

enum { coded_rows = 8192 };

mica_status mica_quantiser_encode(const mica_quantiser *quantiser, const mica_view *x,
                                  uint8_t *code) {
  const mica_quantiser *q = quantiser;
  mica_status status = check_rows(x, q->d, "rows");
  if (status) return status;
  const int64_t n = x->shape.dim[0], room = n < coded_rows ? n : coded_rows;
  float *rows = mica_realloc_array(NULL, (size_t)(room * q->d), sizeof *rows);
  float *turned =
      !q->rotation ? rows : mica_realloc_array(NULL, (size_t)(room * q->d), sizeof *rows);
  int32_t *number = mica_realloc_array(NULL, (size_t)room, sizeof *number);
  status = rows && turned && number ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t from = 0; from < n && !status; from += room) {
    const int64_t m = n - from < room ? n - from : room;
    for (int64_t i = 0; i < m && !status; i++) status = load_row(x, from + i, rows + i * q->d);
    if (!status && q->rotation) status = turn_all(q, false, rows, m, turned);
    if (!status) status = encode_turned(q, turned, m, number, code + from * q->parts);
  }
  if (turned != rows) mica_free(turned);
  mica_free(rows);
  mica_free(number);
  return status;
}

mica_status mica_quantiser_decode(const mica_quantiser *quantiser, const uint8_t *code, int64_t n,
                                  float *x) {
  const mica_quantiser *q = quantiser;
  for (int64_t i = 0; i < n * q->parts; i++)
    if (code[i] >= q->words)
      return mica_fail(MICA_ERR_INVALID, "quantiser: code %d of row %lld, expected less than %lld",
                       code[i], (long long)(i / q->parts), (long long)q->words);
  if (!q->rotation) {
    decode_turned(q, code, n, x);
    return MICA_OK;
  }
  const int64_t room = n < coded_rows ? n : coded_rows;
  float *turned = mica_realloc_array(NULL, (size_t)(room * q->d), sizeof *turned);
  mica_status status = turned ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t from = 0; from < n && !status; from += room) {
    const int64_t m = n - from < room ? n - from : room;
    decode_turned(q, code + from * q->parts, m, turned);
    status = turn_all(q, true, turned, m, x + from * q->d);
  }
  mica_free(turned);
  return status;
}

typedef struct {
  const mica_quantiser *q;
  const float *query;
  int64_t n;
  float *table;
} tables;

enum { table_rows = 64 };

static mica_status table_chunk(void *ctx, int64_t chunk, void *scratch) {
  const tables *t = ctx;
  const mica_quantiser *q = t->q;
  const int64_t begin = chunk * table_rows, left = t->n - begin;
  const int64_t n = left < table_rows ? left : table_rows, entries = q->parts * q->words;
  const float *x = t->query + begin * q->d;
  mica_status status = q->rotation ? turn(q, false, x, n, scratch) : MICA_OK;
  if (q->rotation) x = scratch;
  const mica_search_kernels *kernels = mica_kernels_of(q->engine, MICA_F32)->search;
  for (int64_t i = 0; i < n && !status; i++)
    for (int64_t p = 0; p < q->parts; p++) {
      const int64_t from = column_of(q, p), columns = column_of(q, p + 1) - from;
      kernels->entries(columns, q->words, x + i * q->d + from, q->turned + q->words * from,
                       t->table + (begin + i) * entries + p * q->words);
    }
  return status;
}

mica_status mica_quantiser_table(const mica_quantiser *quantiser, const float *query, int64_t n,
                                 float *table) {
  tables t = {quantiser, query, n, table};
  const int64_t chunks = mica_chunks_of(n, table_rows);
  const size_t scratch = (size_t)(table_rows * quantiser->d) * sizeof(float);
  return quantiser->rotation
             ? mica_chunks_run(quantiser->engine, chunks, scratch, table_chunk, &t)
             : mica_chunks_run_light(quantiser->engine, chunks, scratch, table_chunk, &t);
}

/* ---- training ---- */

typedef struct {
  mica_quantiser *q;
  float *x; /* [n, d] the sample */
  float *turned, *decoded;
  int64_t n;
  int32_t *number;
  uint8_t *code;
  mica_key key;
} training;

/* Some iterations of k-means for each part's codewords on the turned sample. */
static mica_status fit_words(const training *t, int64_t iterations, bool seeded) {
  mica_quantiser *q = t->q;
  for (int64_t p = 0; p < q->parts; p++) {
    const int64_t from = column_of(q, p), columns = column_of(q, p + 1) - from;
    const mica_float_rows rows = {t->turned + from, t->n, columns, q->d};
    mica_status status =
        mica_clusters_fit(q->engine, &rows, q->words, iterations, seeded,
                          mica_key_fold(t->key, (uint64_t)p), q->word + q->words * from);
    if (status) return status;
  }
  return MICA_OK;
}

/* Principal directions to parts of equal variance: the next largest goes to the part whose
 * variances have the smallest product and that has room. */
static mica_status first_rotation(const training *t) {
  mica_quantiser *q = t->q;
  const int64_t d = q->d;
  const mica_view rows = mica_view_of(t->x, MICA_F32, MICA_SHAPE(t->n, d));
  double *axis = mica_realloc_array(NULL, (size_t)(d * d + d + 2 * q->parts), sizeof *axis);
  if (!axis) return MICA_ERR_MEMORY;
  double *variance = axis + d * d, *product = variance + d, *filled = product + q->parts;
  mica_status status = mica_pca(q->engine, &rows, d, NULL, axis, variance, NULL);
  for (int64_t p = 0; p < q->parts; p++) product[p] = filled[p] = 0;
  for (int64_t i = 0; i < d && !status; i++) {
    int64_t to = -1;
    for (int64_t p = 0; p < q->parts; p++) {
      const int64_t room = column_of(q, p + 1) - column_of(q, p);
      if (filled[p] < (double)room && (to < 0 || product[p] < product[to])) to = p;
    }
    float *row = q->rotation + (column_of(q, to) + (int64_t)filled[to]) * d;
    for (int64_t j = 0; j < d; j++) row[j] = (float)axis[i * d + j];
    product[to] +=
        log(fmax(variance[i], 1e-30 * fmax(variance[0], 1e-300)) / fmax(variance[0], 1e-300)) +
        100; /* every direction counts, however small */
    filled[to]++;
  }
  mica_free(axis);
  return status;
}

enum { summed_rows = 4096 };

typedef struct {
  const training *t;
  float *partial; /* [chunks, d, d] */
} cross;

static mica_status cross_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const cross *c = ctx;
  const training *t = c->t;
  const int64_t from = chunk * summed_rows, left = t->n - from, d = t->q->d;
  return mica_gemm(t->q->engine, MICA_F32, true, false, d, d,
                   left < summed_rows ? left : summed_rows, 1, t->decoded + from * d, d,
                   t->x + from * d, d, 0, c->partial + chunk * d * d, d);
}

/* m [d, d] = Y^T X, Y the decoded rows. */
static mica_status cross_products(const training *t, double *m) {
  const int64_t d = t->q->d, chunks = mica_chunks_of(t->n, summed_rows);
  cross c = {t, mica_realloc_array(NULL, (size_t)(chunks * d * d), sizeof *c.partial)};
  mica_status status = c.partial ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_chunks_run(t->q->engine, chunks, 0, cross_chunk, &c);
  for (int64_t i = 0; i < d * d && !status; i++) {
    m[i] = 0;
    for (int64_t k = 0; k < chunks; k++) m[i] += (double)c.partial[k * d * d + i];
  }
  mica_free(c.partial);
  return status;
}

/* m becomes its orthogonal factor; `work` has room for two more. Singular values are raised to 1
 * by at least half a step, so some forty steps reach those of a millionth. */
static mica_status orthogonalise(const mica_engine *engine, int64_t d, double *m, double *work) {
  double *square = work, *next = work + d * d, norm = 0;
  for (int64_t i = 0; i < d * d; i++) norm += m[i] * m[i];
  norm = sqrt(norm);
  if (!(norm > 0) || !isfinite(norm))
    return mica_fail(MICA_ERR_NUMERIC, "quantiser: the rotation's matrix is %s",
                     norm == 0 ? "zero" : "not finite");
  for (int64_t i = 0; i < d * d; i++) m[i] /= norm;
  double off = 1;
  for (int step = 0; step < 100 && off > 1e-12; step++) {
    mica_status status = mica_product(engine, true, d, d, d, m, m, square);
    if (status) return status;
    off = 0;
    for (int64_t i = 0; i < d; i++)
      for (int64_t j = 0; j < d; j++) {
        const double one = i == j ? 1 : 0;
        off = fmax(off, fabs(square[i * d + j] - one));
        square[i * d + j] = 1.5 * one - 0.5 * square[i * d + j];
      }
    status = mica_product(engine, false, d, d, d, m, square, next);
    if (status) return status;
    memcpy(m, next, (size_t)(d * d) * sizeof *m);
  }
  return off < 1e-6 ? MICA_OK
                    : mica_fail(MICA_ERR_NUMERIC, "quantiser: the rotation does not converge");
}

/* The rotation that brings the sample nearest to its decoded rows. Directions that the rows do not
 * have stay where they are. */
static mica_status fit_rotation(const training *t, double *m) {
  mica_quantiser *q = t->q;
  const int64_t d = q->d;
  mica_status status = encode_turned(q, t->turned, t->n, t->number, t->code);
  if (status) return status;
  decode_turned(q, t->code, t->n, t->decoded);
  status = cross_products(t, m);
  double norm = 0;
  for (int64_t i = 0; i < d * d && !status; i++) norm += m[i] * m[i];
  norm = norm > 0 ? sqrt(norm) : 1;
  for (int64_t i = 0; i < d * d && !status; i++) m[i] += 1e-4 * norm * (double)q->rotation[i];
  if (!status) status = orthogonalise(q->engine, d, m, m + d * d);
  for (int64_t i = 0; i < d * d && !status; i++) q->rotation[i] = (float)m[i];
  return status;
}

static mica_status fit(const training *t, const mica_quantiser_options *o) {
  mica_quantiser *q = t->q;
  mica_progress progress;
  mica_progress_begin(&progress, o->progress, o->progress_ctx, "rotation", o->rotations);
  mica_status status = MICA_OK;
  if (q->rotation) {
    double *m = mica_realloc_array(NULL, (size_t)(3 * q->d * q->d), sizeof *m);
    status = m ? first_rotation(t) : MICA_ERR_MEMORY;
    if (!status) status = turn_all(q, false, t->x, t->n, t->turned);
    for (int64_t i = 0; i < o->rotations && !status; i++) {
      status = fit_words(t, i ? 1 : 8, i > 0);
      if (!status) status = fit_rotation(t, m);
      if (!status) status = turn_all(q, false, t->x, t->n, t->turned);
      if (!status) status = mica_progress_step(&progress, i + 1);
    }
    mica_free(m);
  }
  if (!status) status = fit_words(t, o->iterations, false);
  if (!status) status = mica_progress_end(&progress);
  return status;
}

static mica_status check_options(const mica_view *x, const mica_quantiser_options *o) {
  mica_status status = check_rows(x, 0, "rows");
  if (status) return status;
  if (o->rotations < 0 || o->iterations < 1 || o->sample < 0)
    return mica_fail(MICA_ERR_INVALID,
                     "quantiser: %lld rotations, %lld iterations, a sample of %lld; expected at "
                     "least 0, 1 and 0",
                     (long long)o->rotations, (long long)o->iterations, (long long)o->sample);
  if (x->shape.dim[0] < o->words)
    return mica_fail(MICA_ERR_INVALID, "quantiser: %lld codewords of %lld rows",
                     (long long)o->words, (long long)x->shape.dim[0]);
  return MICA_OK;
}

/* The rows that the quantiser is trained on, as float32. */
static mica_status draw_sample(const mica_view *x, training *t) {
  const int64_t all = x->shape.dim[0], d = t->q->d;
  int64_t *order = mica_realloc_array(NULL, (size_t)all, sizeof *order);
  if (!order) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  mica_random_permutation(mica_key_fold_name(t->key, "sample"), all, order);
  for (int64_t i = 0; i < t->n && !status; i++)
    status = load_row(x, t->n == all ? i : order[i], t->x + i * d);
  mica_free(order);
  return status;
}

mica_status mica_quantiser_fit(const mica_engine *engine, const mica_view *x,
                               const mica_quantiser_options *options, mica_quantiser **out) {
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  *out = NULL;
  mica_quantiser *q = NULL;
  mica_status status = check_options(x, &o);
  if (!status) status = create(engine, x->shape.dim[1], o.parts, o.words, o.rotations > 0, &q);
  if (status) return status;
  int64_t n = o.sample ? o.sample : 256 * o.words;
  if (n < o.words) n = o.words;
  if (n > x->shape.dim[0]) n = x->shape.dim[0];
  training t = {.q = q, .n = n, .key = mica_key_fold_name(mica_key_seed(o.seed), "quantiser")};
  const size_t elements = (size_t)(n * q->d);
  t.x = mica_realloc_array(NULL, elements * (q->rotation ? 3 : 1), sizeof *t.x);
  t.number = mica_realloc_array(NULL, (size_t)n, sizeof *t.number);
  t.code = mica_realloc_array(NULL, (size_t)(n * q->parts), 1);
  status = t.x && t.number && t.code ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    t.turned = q->rotation ? t.x + elements : t.x;
    t.decoded = t.x + 2 * elements; /* with a rotation */
    status = draw_sample(x, &t);
  }
  if (!status) status = fit(&t, &o);
  mica_free(t.x);
  mica_free(t.number);
  mica_free(t.code);
  if (status) {
    mica_quantiser_free(q);
    return status;
  }
  complete(q);
  *out = q;
  return MICA_OK;
}

/* ---- records ---- */

static mica_status put(mica_record *record, const char *prefix, const char *name, float *data,
                       mica_shape shape) {
  char full[80];
  snprintf(full, sizeof full, "%s.%s", prefix, name);
  const mica_view view = mica_view_of(data, MICA_F32, shape);
  mica_tensor *t = NULL;
  mica_status status = mica_tensor_from_view(&view, MICA_F32, &t);
  if (!status) status = mica_record_put(record, full, t);
  mica_tensor_free(t);
  return status;
}

mica_status mica_quantiser_save(const mica_quantiser *quantiser, const char *prefix,
                                mica_record *record) {
  const mica_quantiser *q = quantiser;
  mica_status status = put(record, prefix, "words", q->word, MICA_SHAPE(q->words * q->d));
  if (!status && q->rotation)
    status = put(record, prefix, "rotation", q->rotation, MICA_SHAPE(q->d, q->d));
  return status;
}

/* The elements of a float32 tensor of the record, NULL with the last error set. */
static const float *get(const mica_record *record, const char *prefix, const char *name,
                        int64_t n) {
  char full[80];
  snprintf(full, sizeof full, "%s.%s", prefix, name);
  const mica_tensor *t = mica_record_get(record, full);
  if (!t) return NULL;
  const mica_view v = mica_tensor_view(t);
  if (v.dtype == MICA_F32 && mica_shape_count(&v.shape) == n) return v.data;
  mica_fail(MICA_ERR_FORMAT, "tensor '%s': %lld numbers of %s, expected %lld of float32", full,
            (long long)mica_shape_count(&v.shape), mica_dtype_name(v.dtype), (long long)n);
  return NULL;
}

mica_status mica_quantiser_load(const mica_engine *engine, const mica_record *record,
                                const char *prefix, int64_t d, int64_t parts, int64_t words,
                                mica_quantiser **out) {
  char name[80];
  *out = NULL;
  snprintf(name, sizeof name, "%s.rotation", prefix);
  const bool rotated = mica_record_get(record, name) != NULL;
  if (words < 2 || words > 256 || d < 1)
    return mica_fail(MICA_ERR_FORMAT, "quantiser: %lld codewords of %lld columns", (long long)words,
                     (long long)d);
  const float *word = get(record, prefix, "words", words * d);
  const float *rotation = word && rotated ? get(record, prefix, "rotation", d * d) : NULL;
  if (!word || (rotated && !rotation)) return MICA_ERR_FORMAT;
  return mica_quantiser_of(engine, d, parts, words, word, rotation, out);
}
