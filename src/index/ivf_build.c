/* Inverted lists: centres, the rows of each, their codes, and all of it from a file. */
#include "index/arrays.h"
#include "index/ivf.h"
#include "numeric/clusters.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/reduce.h"

#include <math.h>
#include <string.h>

void mica_ivf_free(void *p) {
  mica_ivf *s = p;
  if (!s) return;
  for (size_t i = 0; i < sizeof s->held / sizeof *s->held; i++) mica_tensor_free(s->held[i]);
  mica_quantiser_free(s->codes);
  mica_free(s->code_at);
  mica_free(s->square);
  mica_free(s);
}

/* What follows from the lists, once centres and codes are there. */
static mica_status complete(const mica_engine *engine, mica_ivf *s, int64_t d) {
  s->square = mica_realloc_array(NULL, (size_t)s->lists, sizeof *s->square);
  s->code_at = mica_realloc_array(NULL, (size_t)s->lists, sizeof *s->code_at);
  if (!s->square || !s->code_at) return MICA_ERR_MEMORY;
  mica_kernels_of(engine, MICA_F32)->reduce->row_sum_squares(s->lists, d, s->centre, d, s->square);
  int64_t at = 0;
  for (int64_t l = 0; l < s->lists; l++) {
    s->code_at[l] = at;
    if (s->codes) at += mica_codes_bytes(s->codes, s->start[l + 1] - s->start[l]);
  }
  return MICA_OK;
}

/* ---- building ---- */

typedef struct {
  const mica_engine *engine;
  const mica_ivf_options *o;
  const mica_index_rows *rows;
  mica_ivf *s;
  float *centre;
  int64_t *start, *order;
  float *block; /* [block_rows, d] */
} build_job;

enum { block_rows = 8192 };

static int64_t lists_of(const mica_ivf_options *o, int64_t n) {
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
    status = mica_index_load_rows(b->engine, b->rows, m == n ? NULL : order, 0, m, sample);
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
    status = mica_index_load_rows(b->engine, b->rows, NULL, from, m, b->block);
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
  mica_status status = mica_index_load_rows(b->engine, b->rows, b->order + from, 0, m, b->block);
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
    mica_index_load_row(b->rows, b->order[at], sample + i * d);
    while (b->start[list + 1] <= at) list++;
    for (int64_t j = 0; j < d; j++) sample[i * d + j] -= b->centre[list * d + j];
  }
  const mica_view view = mica_view_of(sample, MICA_F32, MICA_SHAPE(m, d));
  mica_status status = mica_quantiser_fit(b->engine, &view, &q, &b->s->codes);
  mica_free(sample);
  return status;
}

/* |r|^2 + 2 <c, r> of a decoded residual. */
static float constant_of(const float *r, const float *c, int64_t d) {
  double sum = 0;
  for (int64_t j = 0; j < d; j++) sum += (double)r[j] * ((double)r[j] + 2 * (double)c[j]);
  return (float)sum;
}

static mica_status encode(const build_job *b, uint8_t *code, float *constant) {
  const mica_ivf *s = b->s;
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
      if (!status) mica_codes_put(s->codes, part, from - begin, m, code);
      if (!status && constant) status = mica_quantiser_decode(s->codes, part, m, b->block);
      for (int64_t i = 0; i < m && !status && constant; i++)
        constant[from + i] = constant_of(b->block + i * d, b->centre + list * d, d);
    }
    code += mica_codes_bytes(s->codes, end - begin);
  }
  mica_free(part);
  return status;
}

static mica_status add_codes(const build_job *b) {
  mica_ivf *s = b->s;
  void *code = NULL, *constant = NULL;
  mica_status status = train_codes(b);
  if (status) return status;
  for (int64_t l = 0; l < s->lists; l++)
    s->code_bytes += mica_codes_bytes(s->codes, b->start[l + 1] - b->start[l]);
  status = mica_index_array_make(MICA_U8, MICA_SHAPE(s->code_bytes), &s->held[3], &code);
  if (!status) memset(code, 0, (size_t)s->code_bytes);
  if (!status && b->rows->metric == MICA_INDEX_L2)
    status = mica_index_array_make(MICA_F32, MICA_SHAPE(s->n), &s->held[4], &constant);
  if (!status) status = encode(b, code, constant);
  s->code = code;
  s->constant = constant;
  return status;
}

mica_status mica_ivf_build(const mica_engine *engine, const void *o, const mica_index_rows *rows,
                           void **out) {
  mica_ivf *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  build_job b = {.engine = engine, .o = o, .rows = rows, .s = s};
  s->n = rows->n;
  s->lists = lists_of(o, rows->n);
  void *centre = NULL, *start = NULL, *order = NULL;
  mica_status status =
      mica_index_array_make(MICA_F32, MICA_SHAPE(s->lists, rows->d), &s->held[0], &centre);
  if (!status)
    status = mica_index_array_make(MICA_I64, MICA_SHAPE(s->lists + 1), &s->held[1], &start);
  if (!status) status = mica_index_array_make(MICA_I64, MICA_SHAPE(s->n), &s->held[2], &order);
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
    mica_ivf_free(s);
  else
    *out = s;
  return status;
}

/* ---- files ---- */

static const char *const held_name[] = {"centres", "starts", "order", "codes", "constants"};

mica_status mica_ivf_save(const void *p, mica_record *record) {
  const mica_ivf *s = p;
  mica_status status =
      mica_index_arrays_save(record, held_name, s->held, sizeof s->held / sizeof *s->held);
  return status || !s->codes ? status : mica_quantiser_save(s->codes, "quantiser", record);
}

static mica_status take(mica_ivf *s, const mica_record *record, int which, mica_dtype dtype,
                        int64_t n, void **data) {
  return mica_index_array_take(record, "ivf", held_name[which], dtype, n, &s->held[which], data);
}

static mica_status check_lists(const mica_ivf *s) {
  bool fits = s->start[0] == 0 && s->start[s->lists] == s->n;
  for (int64_t l = 0; l < s->lists && fits; l++) fits = s->start[l] <= s->start[l + 1];
  for (int64_t i = 0; i < s->n && fits; i++) fits = s->order[i] >= 0 && s->order[i] < s->n;
  return fits ? MICA_OK : mica_fail(MICA_ERR_FORMAT, "ivf: lists that do not fit their rows");
}

static mica_status load_codes(const mica_engine *engine, const mica_ivf_options *o,
                              const mica_index_rows *rows, const mica_record *record, mica_ivf *s) {
  void *p = NULL;
  const int64_t parts = o->parts < rows->d ? o->parts : rows->d;
  mica_status status =
      mica_quantiser_load(engine, record, "quantiser", rows->d, parts, o->words, &s->codes);
  if (status) return status;
  for (int64_t l = 0; l < s->lists; l++)
    s->code_bytes += mica_codes_bytes(s->codes, s->start[l + 1] - s->start[l]);
  status = take(s, record, 3, MICA_U8, s->code_bytes, &p);
  if (status) return status;
  s->code = p;
  status = mica_codes_check(s->codes, "ivf", s->code, s->code_bytes);
  if (status || rows->metric != MICA_INDEX_L2) return status;
  status = take(s, record, 4, MICA_F32, s->n, &p);
  s->constant = p;
  return status;
}

mica_status mica_ivf_load(const mica_engine *engine, const void *options_,
                          const mica_index_rows *rows, const mica_record *record, void **out) {
  const mica_ivf_options *o = options_;
  mica_ivf *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  void *p = NULL;
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
    mica_ivf_free(s);
  else
    *out = s;
  return status;
}
