/* Finished matrices in fewer bytes: product quantisation and singular value decomposition, of all
 * rows alike or of groups by norm, and pruning. */
#include "embedding/table.h"
#include "tensor/kernel/factor.h"

#include <mica/numeric.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct compress_options {
  uint32_t size;
  double bytes;
  int64_t parts, groups, iterations;
} compress_options;

/* ---- product quantisation ---- */

/* Codewords [parts, words, d] of n rows and their codes [n, parts]. */
static mica_status quantise(const mica_embedding_table *e, const float *x, int64_t n, int64_t parts,
                            int64_t words, mica_key key, float *book, int64_t *code) {
  const compress_options *o = e->options;
  const int64_t d = e->width / parts;
  mica_kmeans_options how = MICA_KMEANS_OPTIONS;
  double *centres = mica_calloc((size_t)(words * d), sizeof *centres);
  int64_t *own = mica_calloc((size_t)n, sizeof *own);
  mica_status status = centres && own ? MICA_OK : MICA_ERR_MEMORY;
  how.max_iterations = (int32_t)o->iterations;
  for (int64_t p = 0; p < parts && status == MICA_OK; p++) {
    mica_view v = mica_view_of((void *)(uintptr_t)(x + p * d), MICA_F32, MICA_SHAPE(n, d));
    v.row_stride = e->width;
    how.seed = mica_random_bits(key, (uint64_t)p);
    status = mica_kmeans(e->engine, &v, words, &how, centres, own, NULL);
    for (int64_t i = 0; i < words * d && status == MICA_OK; i++)
      book[p * words * d + i] = (float)centres[i];
    for (int64_t i = 0; i < n && status == MICA_OK; i++) code[i * parts + p] = own[i];
  }
  mica_free(own);
  mica_free(centres);
  return status;
}

/* The rows of group g are those from first on; sizes are codewords, or widths. */
typedef struct grouping {
  const mica_embedding_table *e;
  int64_t groups, parts; /* parts 0: widths */
} grouping;

static int64_t group_first(const grouping *o, int64_t g) {
  return o->e->rows * g / o->groups;
}

/* Half of what the group before has, and no more than there are rows. */
static int64_t group_size(const grouping *o, int64_t g, int64_t size) {
  const int64_t n = group_first(o, g + 1) - group_first(o, g), s = size >> g < 1 ? 1 : size >> g;
  return s < n ? s : n;
}

static int64_t sizes_bytes(const void *ctx, int64_t size) {
  const grouping *o = ctx;
  int64_t sum = o->groups > 1 ? 4 * o->e->rows + 16 * (o->groups + 1) : o->parts ? 7 : 8;
  for (int64_t g = 0; g < o->groups; g++) {
    const int64_t n = group_first(o, g + 1) - group_first(o, g), s = group_size(o, g, size);
    sum += 4 * s * o->e->width;
    sum += o->parts ? mica_bits_bytes(n * o->parts, mica_bits_for(s)) : 4 * n * s;
  }
  return sum;
}

/* The way to cut vectors whose codes tell most apart. */
static mica_status solve_codes(const mica_embedding_table *e, grouping *o, int64_t *words) {
  const compress_options *opt = e->options;
  const int64_t hi = e->rows < 4096 ? e->rows : 4096;
  double most = -1;
  int64_t parts = 0;
  for (int64_t k = 1; k <= e->width; k++) {
    if (e->width % k || (opt->parts && k != opt->parts)) continue;
    o->parts = k;
    const int64_t w = mica_embedding_largest(2, hi, e->budget, sizes_bytes, o);
    const double tells = (double)k * log2((double)w);
    if (w < 2 || tells < most) continue;
    most = tells;
    parts = k;
    *words = w;
  }
  o->parts = parts;
  if (parts) return MICA_OK;
  if (opt->parts && e->width % opt->parts)
    return mica_fail(MICA_ERR_INVALID, "%lld parts of a vector of %lld numbers",
                     (long long)opt->parts, (long long)e->width);
  o->parts = opt->parts ? opt->parts : 1;
  return mica_embedding_too_small(e, sizes_bytes(o, 2));
}

static mica_status pq_compress(const mica_embedding_table *e, const float *x, mica_key key,
                               mica_packed_embedding *p) {
  grouping o = {e, 1, 0};
  int64_t words;
  mica_status status = solve_codes(e, &o, &words);
  if (status != MICA_OK) return status;
  const int bits = mica_bits_for(words);
  p->form = &mica_packed_codes;
  p->setting[0] = o.parts;
  p->setting[1] = p->setting[2] = words;
  int64_t *code = mica_calloc((size_t)(e->rows * o.parts), sizeof *code);
  float *book = mica_packed_array(p, 1, words * e->width);
  uint8_t *to = mica_packed_array(p, 3, mica_bits_bytes(e->rows * o.parts, bits));
  status = code && book && to && mica_packed_array(p, 0, 0) &&
                   mica_packed_array(p, 2, mica_bits_bytes(0, bits))
               ? quantise(e, x, e->rows, o.parts, words, key, book, code)
               : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < e->rows * o.parts && status == MICA_OK; i++)
    mica_bits_put(to, i, bits, (uint64_t)code[i]);
  mica_free(code);
  return status;
}

/* ---- singular value decomposition ---- */

/* y [n, w] and m [w, D] with y m the best of that rank for x [n, D]. */
static mica_status narrow(const float *x, int64_t n, int64_t d, int64_t w, float *y, float *m) {
  double *room = mica_calloc((size_t)(2 * d * d + 4 * d), sizeof *room);
  if (!room) return MICA_ERR_MEMORY;
  double *gram = room, *vectors = room + d * d, *values = vectors + d * d, *work = values + d;
  for (int64_t i = 0; i < n; i++)
    for (int64_t a = 0; a < d; a++)
      for (int64_t b = 0; b <= a; b++)
        gram[a * d + b] += (double)x[i * d + a] * (double)x[i * d + b];
  for (int64_t a = 0; a < d; a++)
    for (int64_t b = 0; b < a; b++) gram[b * d + a] = gram[a * d + b];
  const bool good = mica_factor_eigen(d, gram, values, vectors, work);
  for (int64_t k = 0; k < w && good; k++)
    for (int64_t a = 0; a < d; a++) m[k * d + a] = (float)vectors[a * d + d - 1 - k];
  for (int64_t i = 0; i < n && good; i++)
    for (int64_t k = 0; k < w; k++) {
      double sum = 0;
      for (int64_t a = 0; a < d; a++) sum += (double)x[i * d + a] * (double)m[k * d + a];
      y[i * w + k] = (float)sum;
    }
  mica_free(room);
  return good ? MICA_OK : mica_fail(MICA_ERR_NUMERIC, "svd: eigenvalues did not converge");
}

static mica_status svd_compress(const mica_embedding_table *e, const float *x, mica_key key,
                                mica_packed_embedding *p) {
  (void)key;
  const grouping o = {e, 1, 0};
  const int64_t w = mica_embedding_largest(1, e->width - 1, e->budget, sizes_bytes, &o);
  if (w < 1) return mica_embedding_too_small(e, sizes_bytes(&o, 1));
  p->form = &mica_packed_narrow;
  int64_t *widths = mica_packed_array(p, 0, 1);
  float *y = widths ? mica_packed_array(p, 1, e->rows * w) : NULL;
  float *m = y ? mica_packed_array(p, 2, w * e->width) : NULL;
  if (!m) return MICA_ERR_MEMORY;
  *widths = w;
  return narrow(x, e->rows, e->width, w, y, m);
}

/* ---- groups by norm ---- */

typedef struct normed {
  double norm;
  int64_t row;
} normed;

static int by_norm(const void *a, const void *b) {
  const normed *x = a, *y = b;
  if (x->norm > y->norm || x->norm < y->norm) return x->norm > y->norm ? -1 : 1;
  return x->row < y->row ? -1 : x->row > y->row;
}

/* Rows by falling norm into sorted [rows, D]; place says where each row has gone. */
static mica_status sort_rows(const mica_embedding_table *e, const float *x, float *sorted,
                             int32_t *place) {
  normed *all = mica_calloc((size_t)e->rows, sizeof *all);
  if (!all) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < e->rows; i++) {
    all[i].row = i;
    for (int64_t k = 0; k < e->width; k++)
      all[i].norm += (double)x[i * e->width + k] * (double)x[i * e->width + k];
  }
  qsort(all, (size_t)e->rows, sizeof *all, by_norm);
  for (int64_t i = 0; i < e->rows; i++) {
    place[all[i].row] = (int32_t)i;
    memcpy(sorted + i * e->width, x + all[i].row * e->width, (size_t)e->width * sizeof *x);
  }
  mica_free(all);
  return MICA_OK;
}

/* Packed: place [rows], groups [2 (G + 1)], pairs of a first row and a size (codewords or width);
 * codes, weight, books one group after the other. Settings: parts (0: widths), groups. derived: of
 * each group where its codes (bytes) or weight begin, and its book. */

static void grouped_places(const mica_packed_embedding *p, int64_t *at) {
  const int64_t *group = mica_packed_data(p, 1), parts = p->setting[0], n = p->setting[1];
  int64_t codes = 0, books = 0;
  for (int64_t g = 0; g <= n; g++) {
    at[2 * g] = codes;
    at[2 * g + 1] = books;
    if (g == n) break;
    const int64_t rows = group[2 * g + 2] - group[2 * g], s = group[2 * g + 1];
    codes += parts ? mica_bits_bytes(rows * parts, mica_bits_for(s)) : rows * s;
    books += s * p->width;
  }
}

static mica_status fit_groups(const mica_embedding_table *e, const grouping *o, const float *x,
                              mica_key key, mica_packed_embedding *p, const int64_t *at) {
  const int64_t *group = mica_packed_data(p, 1), d = e->width;
  int64_t *code = mica_calloc((size_t)(e->rows * (o->parts ? o->parts : 1)), sizeof *code);
  mica_status status = code ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t g = 0; g < o->groups && status == MICA_OK; g++) {
    const int64_t first = group[2 * g], n = group[2 * g + 2] - first, s = group[2 * g + 1];
    float *book = (float *)mica_packed_data(p, 4) + at[2 * g + 1];
    if (!o->parts) {
      status = narrow(x + first * d, n, d, s, (float *)mica_packed_data(p, 3) + at[2 * g], book);
      continue;
    }
    status =
        quantise(e, x + first * d, n, o->parts, s, mica_key_fold(key, (uint64_t)g), book, code);
    for (int64_t i = 0; i < n * o->parts && status == MICA_OK; i++)
      mica_bits_put((uint8_t *)mica_packed_data(p, 2) + at[2 * g], i, mica_bits_for(s),
                    (uint64_t)code[i]);
  }
  mica_free(code);
  return status;
}

static mica_status grouped(const mica_embedding_table *e, const grouping *o, int64_t size,
                           const float *x, mica_key key, mica_packed_embedding *p) {
  if (e->rows > INT32_MAX || e->rows < o->groups)
    return mica_fail(MICA_ERR_INVALID, "%lld rows in %lld groups", (long long)e->rows,
                     (long long)o->groups);
  p->form = &mica_packed_grouped;
  p->setting[0] = o->parts;
  p->setting[1] = o->groups;
  int32_t *place = mica_packed_array(p, 0, e->rows);
  int64_t *group = place ? mica_packed_array(p, 1, 2 * (o->groups + 1)) : NULL;
  int64_t *at = mica_calloc((size_t)(2 * (o->groups + 1)), sizeof *at);
  float *sorted = mica_calloc((size_t)(e->rows * e->width), sizeof *sorted);
  mica_status status = group && at && sorted ? sort_rows(e, x, sorted, place) : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    for (int64_t g = 0; g <= o->groups; g++) {
      group[2 * g] = group_first(o, g);
      group[2 * g + 1] = g < o->groups ? group_size(o, g, size) : 0;
    }
    grouped_places(p, at);
    const int64_t *end = at + 2 * o->groups;
    if (!mica_packed_array(p, 2, o->parts ? end[0] : 0) ||
        !mica_packed_array(p, 3, o->parts ? 0 : end[0]) || !mica_packed_array(p, 4, end[1]))
      status = MICA_ERR_MEMORY;
  }
  if (status == MICA_OK) status = fit_groups(e, o, sorted, key, p, at);
  mica_free(sorted);
  mica_free(at);
  return status;
}

static mica_status grouped_pq_compress(const mica_embedding_table *e, const float *x, mica_key key,
                                       mica_packed_embedding *p) {
  const compress_options *opt = e->options;
  grouping o = {e, opt->groups, 0};
  int64_t words;
  const mica_status status = solve_codes(e, &o, &words);
  return status == MICA_OK ? grouped(e, &o, words, x, key, p) : status;
}

static mica_status grouped_svd_compress(const mica_embedding_table *e, const float *x, mica_key key,
                                        mica_packed_embedding *p) {
  const compress_options *opt = e->options;
  const grouping o = {e, opt->groups, 0};
  const int64_t w = mica_embedding_largest(1, e->width, e->budget, sizes_bytes, &o);
  if (w < 1) return mica_embedding_too_small(e, sizes_bytes(&o, 1));
  return grouped(e, &o, w, x, key, p);
}

static mica_status check(mica_packed_embedding *p) {
  const int32_t *place = mica_packed_data(p, 0);
  const int64_t *group = mica_packed_data(p, 1), parts = p->setting[0], n = p->setting[1];
  if (n < 1 || n > 1 << 16 || mica_packed_count(p, 0) != p->rows ||
      mica_packed_count(p, 1) != 2 * (n + 1) || parts < 0 || (parts && p->width % parts) ||
      group[0] != 0 || group[2 * n] != p->rows)
    return mica_packed_wrong(p, "groups and rows do not fit");
  for (int64_t g = 0; g < n; g++)
    if (group[2 * g + 2] < group[2 * g] || group[2 * g + 1] < 1 || group[2 * g + 1] > 1 << 24)
      return mica_packed_wrong(p, "a group's size does not fit");
  for (int64_t i = 0; i < p->rows; i++)
    if (place[i] < 0 || place[i] >= p->rows) return mica_packed_wrong(p, "a row is not there");
  p->derived = mica_calloc((size_t)(2 * (n + 1)), sizeof *p->derived);
  if (!p->derived) return MICA_ERR_MEMORY;
  grouped_places(p, p->derived);
  const int64_t *end = p->derived + 2 * n;
  if (mica_packed_count(p, parts ? 2 : 3) != end[0] || mica_packed_count(p, 4) != end[1])
    return mica_packed_wrong(p, "codes and books do not fit");
  for (int64_t g = 0; g < n && parts; g++)
    for (int64_t i = 0; i < (group[2 * g + 2] - group[2 * g]) * parts; i++)
      if (mica_bits_get((const uint8_t *)mica_packed_data(p, 2) + p->derived[2 * g], i,
                        mica_bits_for(group[2 * g + 1])) >= (uint64_t)group[2 * g + 1])
        return mica_packed_wrong(p, "a wrong code");
  return MICA_OK;
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const int64_t *group = mica_packed_data(p, 1), parts = p->setting[0], d = p->width;
  const int64_t at = ((const int32_t *)mica_packed_data(p, 0))[p->offset[field] + id];
  int64_t g = 0;
  while (group[2 * g + 2] <= at) g++;
  const int64_t i = at - group[2 * g], s = group[2 * g + 1], *from = p->derived + 2 * g;
  const float *book = (const float *)mica_packed_data(p, 4) + from[1];
  if (parts) {
    const uint8_t *codes = (const uint8_t *)mica_packed_data(p, 2) + from[0];
    const int64_t each = d / parts;
    for (int64_t k = 0; k < parts; k++) {
      const int64_t code = (int64_t)mica_bits_get(codes, i * parts + k, mica_bits_for(s));
      memcpy(out + k * each, book + (k * s + code) * each, (size_t)each * sizeof *out);
    }
    return;
  }
  const float *x = (const float *)mica_packed_data(p, 3) + from[0] + i * s;
  memset(out, 0, (size_t)d * sizeof *out);
  for (int64_t k = 0; k < s; k++)
    for (int64_t j = 0; j < d; j++) out[j] += x[k] * book[k * d + j];
}

const mica_packed_form mica_packed_grouped = {"grouped",
                                              {"places", "groups", "codes", "weight", "books"},
                                              {MICA_I32, MICA_I64, MICA_U8, MICA_F32, MICA_F32},
                                              check,
                                              row};

/* ---- pruning ---- */

static mica_status prune_compress(const mica_embedding_table *e, const float *x, mica_key key,
                                  mica_packed_embedding *p) {
  (void)key;
  const int64_t n = e->rows * e->width;
  bool csr;
  const int64_t keep = mica_sparse_elements(e->rows, n, e->budget, &csr);
  if (keep < 1) return mica_embedding_too_small(e, 12);
  float *w = mica_calloc((size_t)n, sizeof *w);
  if (!w) return MICA_ERR_MEMORY;
  memcpy(w, x, (size_t)n * sizeof *w);
  mica_status status =
      mica_prune_magnitude(n, w, keep) < 0 ? MICA_ERR_MEMORY : mica_sparse_pack(p, w, NULL, csr);
  mica_free(w);
  return status;
}

/* ---- any of them ---- */

/* Methods that begin with a row for each id: give them the rows, and let them decide. */
static mica_status through_table(mica_engine *engine, const char *spec, int64_t rows, int64_t width,
                                 const float *x, mica_packed_embedding **out) {
  mica_params *params = NULL;
  mica_status status = mica_params_create(engine, MICA_SEED_NONE, &params);
  if (status != MICA_OK) return status;
  mica_node *node = mica_node_child(mica_params_root(params), "table");
  status = mica_embedding_init(node, spec, 1, &rows, width);
  mica_param *weight = status == MICA_OK ? mica_node_param(node, "weight") : NULL;
  if (status == MICA_OK && (!weight || mica_tensor_count(mica_param_value(weight)) != rows * width))
    status = mica_fail(MICA_ERR_UNSUPPORTED, "%s has nothing to do with a finished matrix", spec);
  if (status == MICA_OK) {
    memcpy(mica_param_write(weight), x, (size_t)(rows * width) * sizeof *x);
    status = mica_embedding_decide(mica_embedding_at(node));
  }
  if (status == MICA_OK) status = mica_embedding_export(mica_embedding_at(node), out);
  mica_params_free(params);
  return status;
}

static mica_status compress(mica_engine *engine, const char *spec, int64_t rows, int64_t width,
                            const float *x, uint64_t seed, mica_packed_embedding **out) {
  mica_embedding_table *e;
  mica_status status = mica_embedding_place(engine, spec, 1, &rows, width, &e);
  if (status != MICA_OK) return status;
  if (!e->method->compress) {
    mica_embedding_unplace(e);
    return through_table(engine, spec, rows, width, x, out);
  }
  status = mica_packed_create(1, &rows, width, out);
  if (status == MICA_OK)
    status = e->method->compress(e, x, mica_key_fold_name(mica_key_seed(seed), "compress"), *out);
  if (status == MICA_OK) status = (*out)->form->check(*out);
  if (status != MICA_OK) {
    mica_packed_embedding_free(*out);
    *out = NULL;
  }
  mica_embedding_unplace(e);
  return status;
}

mica_status mica_matrix_compress(mica_engine *engine, const char *spec, const mica_view *x,
                                 uint64_t seed, mica_packed_embedding **out) {
  *out = NULL;
  if (x->shape.rank != 2 || !mica_dtype_is_float(x->dtype) || !mica_view_count(x))
    return mica_fail(MICA_ERR_SHAPE, "expected a matrix [rows, width] of floats");
  mica_tensor *copy;
  mica_status status = mica_tensor_from_view(x, MICA_F32, &copy);
  if (status != MICA_OK) return status;
  const float *v = mica_tensor_data(copy);
  for (int64_t i = 0; i < mica_tensor_count(copy) && status == MICA_OK; i++)
    if (!isfinite(v[i]))
      status =
          mica_fail(MICA_ERR_NUMERIC, "row %lld of the matrix has an element that is not finite",
                    (long long)(i / x->shape.dim[1]));
  if (status == MICA_OK)
    status = compress(engine, spec, x->shape.dim[0], x->shape.dim[1], v, seed, out);
  mica_tensor_free(copy);
  return status;
}

/* ---- descriptors ---- */

#define ITERATIONS                                                                                 \
  {                                                                                                \
    "iterations", MICA_OPTION_INT, "25", 1, 100000, NULL, "of k-means, at most",                   \
        offsetof(compress_options, iterations)                                                     \
  }
#define PARTS                                                                                      \
  {                                                                                                \
    "parts", MICA_OPTION_INT, "0", 0, 65536, NULL, "of a vector; 0: solved for too",               \
        offsetof(compress_options, parts)                                                          \
  }
#define GROUPS                                                                                     \
  {                                                                                                \
    "groups", MICA_OPTION_INT, "4", 1, 16, NULL, "of rows, each with half of the size before",     \
        offsetof(compress_options, groups)                                                         \
  }
static const mica_option pq_options[] = {
    MICA_EMBEDDING_BYTES(compress_options, "0.1"), PARTS, ITERATIONS, {0}};
static const mica_option grouped_pq_options[] = {
    MICA_EMBEDDING_BYTES(compress_options, "0.1"), PARTS, GROUPS, ITERATIONS, {0}};
static const mica_option grouped_svd_options[] = {
    MICA_EMBEDDING_BYTES(compress_options, "0.25"), GROUPS, {0}};
static const mica_option plain_options[] = {MICA_EMBEDDING_BYTES(compress_options, "0.25"), {0}};

static const mica_embedding_method pq_method = {.compress = pq_compress};
static const mica_embedding_method grouped_pq_method = {.compress = grouped_pq_compress};
static const mica_embedding_method svd_method = {.compress = svd_compress};
static const mica_embedding_method grouped_svd_method = {.compress = grouped_svd_compress};
static const mica_embedding_method prune_method = {.compress = prune_compress};
MICA_EMBEDDING_COMPONENT(pq, "pq", "finished matrices: product quantisation", pq_options,
                         compress_options);
MICA_EMBEDDING_COMPONENT(grouped_pq, "grouped-pq",
                         "finished matrices: more codewords for rows of large norm",
                         grouped_pq_options, compress_options);
MICA_EMBEDDING_COMPONENT(svd, "svd", "finished matrices: narrow rows times a projection",
                         plain_options, compress_options);
MICA_EMBEDDING_COMPONENT(grouped_svd, "grouped-svd",
                         "finished matrices: wider rows where the norm is large",
                         grouped_svd_options, compress_options);
MICA_EMBEDDING_COMPONENT(prune, "prune", "finished matrices: the largest elements, as sparse rows",
                         plain_options, compress_options);
