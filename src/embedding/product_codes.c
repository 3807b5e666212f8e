/* Differentiable product quantisation (Chen, Li & Sun 2020, DPQ) and its form in which rare ids
 * have fewer codewords (Kang et al. 2020, MGQE). Training has a table of queries; what is kept of
 * it in the end are codes. */
#include "embedding/table.h"

#include <math.h>
#include <string.h>

typedef struct codes_options {
  uint32_t size;
  double bytes;
  int64_t parts;
  int32_t form;    /* vq|sx */
  double frequent; /* MGQE: share of ids that may use all codewords */
} codes_options;

typedef struct codes_plan {
  int64_t parts, words, low, frequent;
} codes_plan;

static int64_t code_bytes(const mica_embedding_table *e, int64_t parts, int64_t words, int64_t low,
                          int64_t frequent) {
  const int64_t many = mica_bits_bytes(frequent * parts, mica_bits_for(words));
  const int64_t few = mica_bits_bytes((e->rows - frequent) * parts, mica_bits_for(low));
  return many + few + 4 * frequent + 4 * words * e->width;
}

typedef struct words_job {
  const mica_embedding_table *e;
  int64_t parts, frequent, low; /* low 0: as many as there are */
} words_job;

static int64_t words_bytes(const void *ctx, int64_t words) {
  const words_job *j = ctx;
  return code_bytes(j->e, j->parts, words, j->low ? j->low : words, j->frequent);
}

/* The most codewords for vectors cut so; where it is better than `plan` by what the codes of all
 * ids tell, it becomes it. */
static void try_parts(const mica_embedding_table *e, const words_job *j, double *most,
                      codes_plan *plan) {
  const int64_t words =
      mica_embedding_largest(j->low ? j->low : 2, 65536, e->budget, words_bytes, j);
  if (words < 2 || words < j->low) return;
  const int64_t low = j->low ? j->low : words;
  const double often = (double)j->frequent / (double)e->rows;
  const double tells =
      (double)j->parts * (often * log2((double)words) + (1 - often) * log2((double)low));
  if (tells < *most) return;
  *most = tells;
  *plan = (codes_plan){j->parts, words, low, j->frequent};
}

/* Of the ways to cut a vector, and of the numbers of codewords for rare ids (powers of two), the
 * one whose codes tell most. */
static mica_status solve(mica_embedding_table *e, const codes_options *o, int64_t frequent,
                         codes_plan *plan) {
  double most = 0;
  for (int64_t parts = 1; parts <= e->width; parts++) {
    if (e->width % parts || (o->parts && parts != o->parts)) continue;
    words_job j = {e, parts, frequent, 0};
    if (!frequent) try_parts(e, &j, &most, plan);
    for (j.low = 2; frequent && j.low <= 1 << 14; j.low *= 2) try_parts(e, &j, &most, plan);
  }
  if (plan->parts) return MICA_OK;
  if (o->parts && e->width % o->parts)
    return mica_fail(MICA_ERR_INVALID, "table: %lld parts of a vector of %lld numbers",
                     (long long)o->parts, (long long)e->width);
  const words_job least = {e, o->parts ? o->parts : 1, frequent, 2};
  return mica_embedding_too_small(e, words_bytes(&least, 2));
}

static mica_status codes_init(mica_embedding_table *e, int64_t frequent) {
  const codes_options *o = e->options;
  codes_plan *plan = e->plan = mica_calloc(1, sizeof *plan);
  if (!plan) return MICA_ERR_MEMORY;
  mica_status status = solve(e, o, frequent, plan);
  const mica_shape book =
      MICA_SHAPE(plan->parts, plan->words, plan->parts ? e->width / plan->parts : 0);
  if (status == MICA_OK)
    status = mica_embedding_weight(e, "query", MICA_SHAPE(e->rows, e->width), NULL);
  if (status == MICA_OK) status = mica_embedding_weight(e, "codebook", book, NULL);
  if (status == MICA_OK && o->form == 1) {
    mica_param *q;
    status = mica_embedding_weight(e, "key", book, NULL);
    if (status == MICA_OK)
      status = mica_embedding_buffer(e, "statistics", MICA_F32, MICA_SHAPE(2, plan->words), &q);
    if (status == MICA_OK) {
      float *s = mica_param_write(q);
      for (int64_t k = 0; k < plan->words; k++) s[plan->words + k] = 1;
    }
  }
  if (status == MICA_OK && frequent) {
    mica_param *q;
    status = mica_embedding_buffer(e, "frequent", MICA_I32, MICA_SHAPE(frequent), &q);
    if (status == MICA_OK) status = mica_embedding_frequent(e, NULL, frequent, mica_param_write(q));
  }
  return status;
}

static mica_status dpq_init(mica_embedding_table *e) {
  return codes_init(e, 0);
}

static mica_status mgqe_init(mica_embedding_table *e) {
  const codes_options *o = e->options;
  const int64_t n = (int64_t)floor(o->frequent * (double)e->rows);
  return codes_init(e, n < 1 ? 1 : n);
}

static mica_status mgqe_counts(mica_embedding_table *e, const int64_t *count) {
  const codes_plan *plan = e->plan;
  return mica_embedding_frequent(e, count, plan->frequent,
                                 mica_param_write(mica_node_param(e->node, "frequent")));
}

static int64_t words_of(const mica_embedding_table *e, int64_t field, int64_t id) {
  const codes_plan *plan = e->plan;
  const int32_t *frequent =
      mica_tensor_data(mica_param_value(mica_node_param(e->node, "frequent")));
  return mica_embedding_find(frequent, plan->frequent, e->offset[field] + id) < 0 ? plan->low
                                                                                  : plan->words;
}

/* *codes [n, P] too, unless NULL. */
static mica_var decode(mica_tape *t, const mica_embedding_table *e, const mica_embedding_batch *b,
                       mica_var *codes) {
  const codes_options *o = e->options;
  const codes_plan *plan = e->plan;
  mica_var q = mica_embedding(t, mica_weight(t, e->node, "query"), b->rows), code;
  mica_var book = mica_weight(t, e->node, "codebook");
  if (o->form == 1) {
    mica_var mean, var;
    mica_param *kept = mica_node_param(e->node, "statistics");
    const bool training = mica_is_training(t);
    mica_var y =
        mica_softmax_codewords(t, q, mica_weight(t, e->node, "key"), book,
                               training ? MICA_NONE : mica_param_var(t, kept), &code, &mean, &var);
    if (training) mica_buffer_lerp(t, kept, 0.1, mica_stack(t, 2, (mica_var[]){mean, var}, 0));
    if (codes) *codes = code;
    return y;
  }
  const mica_var words = plan->frequent ? mica_embedding_map(t, e, b, words_of) : MICA_NONE;
  code = mica_nearest_codewords(t, q, book, words);
  const mica_var c = mica_codeword_rows(t, book, code);
  if (codes) *codes = code;
  if (!mica_is_training(t)) return c;
  return mica_with_penalty(t, mica_straight_through(t, c, q), mica_mse(t, c, mica_detach(t, q)));
}

static mica_var codes_lookup(mica_tape *t, const mica_embedding_table *e,
                             const mica_embedding_batch *b) {
  return decode(t, e, b, NULL);
}

static int64_t codes_bytes(const mica_embedding_table *e) {
  const codes_plan *plan = e->plan;
  return code_bytes(e, plan->parts, plan->words, plan->low, plan->frequent);
}

/* ---- packing ---- */

#define AT_ONCE 4096

/* The codes of all rows [rows, parts], piece by piece through the tape. */
static mica_status all_codes(const mica_embedding_table *e, int64_t *to) {
  const codes_plan *plan = e->plan;
  mica_tape *t = NULL;
  int64_t *rows = mica_calloc(AT_ONCE, sizeof *rows);
  if (!rows) return MICA_ERR_MEMORY;
  mica_status status = mica_tape_create(e->engine, NULL, &t);
  for (int64_t f = 0; f < e->fields && status == MICA_OK; f++)
    for (int64_t i = e->offset[f]; i < e->offset[f + 1] && status == MICA_OK; i += AT_ONCE) {
      const int64_t left = e->offset[f + 1] - i, n = left < AT_ONCE ? left : AT_ONCE;
      for (int64_t k = 0; k < n; k++) rows[k] = i + k;
      const mica_view v = mica_view_of(rows, MICA_I64, MICA_SHAPE(n));
      mica_var codes;
      mica_tape_reset(t);
      mica_no_grad_begin(t);
      const mica_embedding_batch b = {mica_borrow(t, &v), n, 1, f};
      decode(t, e, &b, &codes);
      const mica_view c = mica_read(t, codes);
      if (c.data) memcpy(to + i * plan->parts, c.data, (size_t)(n * plan->parts) * sizeof *to);
      status = mica_tape_status(t);
    }
  mica_tape_free(t);
  mica_free(rows);
  return status;
}

static mica_status pack_codes(const mica_embedding_table *e, mica_packed_embedding *p,
                              const int64_t *code) {
  const codes_plan *plan = e->plan;
  const int64_t parts = plan->parts, m = plan->frequent, few = e->rows - m;
  const int many_bits = mica_bits_for(plan->words), few_bits = mica_bits_for(plan->low);
  p->form = &mica_packed_codes;
  p->setting[0] = parts;
  p->setting[1] = plan->words;
  p->setting[2] = plan->low;
  mica_status status = mica_packed_copy(p, 1, mica_node_param(e->node, "codebook"));
  if (status != MICA_OK) return status;
  uint8_t *a = mica_packed_array(p, 2, mica_bits_bytes(m * parts, many_bits));
  uint8_t *b = a ? mica_packed_array(p, 3, mica_bits_bytes(few * parts, few_bits)) : NULL;
  if (!b) return MICA_ERR_MEMORY;
  int32_t *frequent = mica_packed_array(p, 0, m);
  if (!frequent) return MICA_ERR_MEMORY;
  if (m)
    memcpy(frequent, mica_tensor_data(mica_param_value(mica_node_param(e->node, "frequent"))),
           (size_t)m * sizeof *frequent);
  for (int64_t i = 0, of_many = 0, of_few = 0; i < e->rows; i++) {
    const bool often = of_many < m && frequent[of_many] == i;
    for (int64_t k = 0; k < parts; k++)
      if (often)
        mica_bits_put(a, of_many * parts + k, many_bits, (uint64_t)code[i * parts + k]);
      else
        mica_bits_put(b, of_few * parts + k, few_bits, (uint64_t)code[i * parts + k]);
    if (often)
      of_many++;
    else
      of_few++;
  }
  return MICA_OK;
}

static mica_status codes_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  const codes_plan *plan = e->plan;
  int64_t *code = mica_calloc((size_t)(e->rows * plan->parts), sizeof *code);
  if (!code) return MICA_ERR_MEMORY;
  mica_status status = all_codes(e, code);
  if (status == MICA_OK) status = pack_codes(e, p, code);
  mica_free(code);
  return status;
}

/* ---- the packed form: frequent [m], codebook [P, K, d], their codes, the others' codes. Settings:
 * parts, words, words of the others ---- */

static mica_status check(mica_packed_embedding *p) {
  const int64_t parts = p->setting[0], words = p->setting[1], low = p->setting[2];
  const int64_t m = mica_packed_count(p, 0);
  const int32_t *frequent = mica_packed_data(p, 0);
  if (parts < 1 || p->width % parts || words < 1 || words > 1 << 24 || low < 1 || low > words ||
      mica_packed_count(p, 1) != words * p->width || m > p->rows ||
      mica_packed_count(p, 2) != mica_bits_bytes(m * parts, mica_bits_for(words)) ||
      mica_packed_count(p, 3) != mica_bits_bytes((p->rows - m) * parts, mica_bits_for(low)))
    return mica_packed_wrong(p, "parts, words and codes do not fit");
  for (int64_t i = 0; i < m; i++)
    if (frequent[i] < (i ? frequent[i - 1] + 1 : 0) || frequent[i] >= p->rows)
      return mica_packed_wrong(p, "the frequent rows do not rise");
  for (int64_t i = 0; i < p->rows * parts; i++) {
    const bool often = i < m * parts;
    const uint64_t code =
        often ? mica_bits_get(mica_packed_data(p, 2), i, mica_bits_for(words))
              : mica_bits_get(mica_packed_data(p, 3), i - m * parts, mica_bits_for(low));
    if (code >= (uint64_t)(often ? words : low)) return mica_packed_wrong(p, "a wrong code");
  }
  return MICA_OK;
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const int64_t parts = p->setting[0], words = p->setting[1], d = p->width / parts;
  const int64_t m = mica_packed_count(p, 0), whole = p->offset[field] + id;
  const int32_t *frequent = mica_packed_data(p, 0);
  /* How many frequent rows lie before it, and is it one? */
  int64_t lo = 0, hi = m;
  while (lo < hi) {
    const int64_t middle = lo + (hi - lo) / 2;
    if (frequent[middle] < whole)
      lo = middle + 1;
    else
      hi = middle;
  }
  const bool often = lo < m && frequent[lo] == whole;
  const uint8_t *codes = mica_packed_data(p, often ? 2 : 3);
  const int bits = mica_bits_for(often ? words : p->setting[2]);
  const float *book = mica_packed_data(p, 1);
  const int64_t at = (often ? lo : whole - lo) * parts;
  for (int64_t k = 0; k < parts; k++) {
    const float *word = book + (k * words + (int64_t)mica_bits_get(codes, at + k, bits)) * d;
    for (int64_t i = 0; i < d; i++) *out++ = word[i];
  }
}

const mica_packed_form mica_packed_codes = {"codes",
                                            {"frequent", "codebook", "frequent_codes", "codes"},
                                            {MICA_I32, MICA_F32, MICA_U8, MICA_U8},
                                            check,
                                            row};

#define PARTS                                                                                      \
  {                                                                                                \
    "parts", MICA_OPTION_INT, "0", 0, 65536, NULL, "of a vector; 0: solved for too",               \
        offsetof(codes_options, parts)                                                             \
  }
static const mica_option dpq_options[] = {
    MICA_EMBEDDING_BYTES(codes_options, "0.1"),
    PARTS,
    {"form", MICA_OPTION_CHOICE, "vq", 0, 0, "vq|sx",
     "the nearest codeword, or the softmax of products with keys", offsetof(codes_options, form)},
    {0}};
static const mica_option mgqe_options[] = {
    MICA_EMBEDDING_BYTES(codes_options, "0.1"),
    PARTS,
    {"frequent", MICA_OPTION_FLOAT, "0.1", 1e-6, 1, NULL,
     "share of ids that may use all codewords; others use the first of them",
     offsetof(codes_options, frequent)},
    {0}};
static const mica_embedding_method dpq_method = {
    .init = dpq_init, .lookup = codes_lookup, .bytes = codes_bytes, .pack = codes_pack};
static const mica_embedding_method mgqe_method = {.init = mgqe_init,
                                                  .lookup = codes_lookup,
                                                  .bytes = codes_bytes,
                                                  .counts = mgqe_counts,
                                                  .pack = codes_pack};
MICA_EMBEDDING_COMPONENT(dpq, "dpq", "product codes learnt with the network (DPQ)", dpq_options,
                         codes_options);
MICA_EMBEDDING_COMPONENT(mgqe, "mgqe", "product codes, fewer words for rare ids (MGQE)",
                         mgqe_options, codes_options);
