/* Writing indices as FAISS reads them (faiss_read.c has the form). */
#include <mica/exchange.h>

#include "base/file.h"
#include "index/codes.h"
#include "index/index.h"

#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

typedef struct output {
  const mica_index *x;
  mica_writer *w;
  mica_record *record; /* what the component keeps; NULL for none */
  const mica_quantiser *q;
  mica_status status;
} output;

static void bytes(output *o, const void *p, size_t n) {
  if (!o->status && n) o->status = mica_writer_write(o->w, p, n);
}
static void letters(output *o, const char *four) {
  bytes(o, four, 4);
}
static void byte(output *o, uint8_t v) {
  bytes(o, &v, 1);
}
static void int4(output *o, int32_t v) {
  bytes(o, &v, 4);
}
static void int8(output *o, int64_t v) {
  bytes(o, &v, 8);
}

static bool is_l2(const output *o) {
  return o->x->rows.metric == MICA_INDEX_L2;
}

static void header(output *o, int64_t n) {
  int4(o, (int32_t)o->x->rows.d);
  int8(o, n);
  int8(o, 1 << 20); /* two numbers without a meaning */
  int8(o, 1 << 20);
  byte(o, 1); /* trained */
  int4(o, is_l2(o));
}

/* Row `row` as float32, of length 1 under cosine. */
static void row(output *o, int64_t which, float *buffer) {
  mica_index_load_row(&o->x->rows, which, buffer);
  bytes(o, buffer, (size_t)o->x->rows.d * sizeof *buffer);
}

static void flat_head(output *o, int64_t n) {
  letters(o, is_l2(o) ? "IxF2" : "IxFI");
  header(o, n);
  int8(o, n * o->x->rows.d);
}

static void flat(output *o, float *buffer) {
  flat_head(o, o->x->rows.n);
  for (int64_t i = 0; i < o->x->rows.n && !o->status; i++) row(o, i, buffer);
}

static const void *kept(output *o, const char *name) {
  const mica_tensor *t = o->record ? mica_record_get(o->record, name) : NULL;
  if (!t && !o->status) o->status = mica_fail(MICA_ERR_STATE, "the index keeps no '%s'", name);
  return t ? mica_tensor_data(t) : NULL;
}

/* ---- codes ---- */

static int64_t bits_of(const mica_quantiser *q) {
  int64_t bits = 1;
  while (INT64_C(1) << bits < mica_quantiser_words(q)) bits++;
  return bits;
}

static mica_status check_codes(const mica_quantiser *q) {
  const int64_t d = mica_quantiser_width(q), parts = mica_quantiser_parts(q);
  if (d % parts)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "FAISS takes codes whose parts divide the columns: %lld "
                     "do not divide %lld",
                     (long long)parts, (long long)d);
  if (INT64_C(1) << bits_of(q) != mica_quantiser_words(q))
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "FAISS takes codes of a power of 2 of words, not of %lld",
                     (long long)mica_quantiser_words(q));
  return MICA_OK;
}

static void quantiser(output *o) {
  const int64_t d = mica_quantiser_width(o->q), words = mica_quantiser_words(o->q);
  int8(o, d);
  int8(o, mica_quantiser_parts(o->q));
  int8(o, bits_of(o->q));
  int8(o, words * d);
  bytes(o, mica_quantiser_codewords(o->q), (size_t)(words * d) * sizeof(float));
}

static int64_t code_size(const output *o) {
  return (mica_quantiser_parts(o->q) * bits_of(o->q) + 7) / 8;
}

/* Codes of m rows from row `at` of those at `from`: bit after bit. */
static void codes(output *o, const uint8_t *from, int64_t at, int64_t m) {
  const int64_t parts = mica_quantiser_parts(o->q), bits = bits_of(o->q), size = code_size(o);
  uint8_t *code = mica_malloc((size_t)parts), *packed = mica_malloc((size_t)size);
  if (!code || !packed) o->status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < m && !o->status; i++) {
    mica_codes_get(o->q, from, at + i, 1, code);
    memset(packed, 0, (size_t)size);
    for (int64_t p = 0; p < parts; p++) {
      const int64_t bit = p * bits;
      const unsigned v = (unsigned)code[p] << bit % 8;
      packed[bit / 8] = (uint8_t)(packed[bit / 8] | v);
      if (v >> 8) packed[bit / 8 + 1] = (uint8_t)(packed[bit / 8 + 1] | v >> 8);
    }
    bytes(o, packed, (size_t)size);
  }
  mica_free(code);
  mica_free(packed);
}

/* A rotation goes before the index of codes. */
static void rotation(output *o) {
  const int64_t d = o->x->rows.d;
  if (!mica_quantiser_rotation(o->q)) return;
  letters(o, "IxPT");
  header(o, o->x->rows.n);
  int4(o, 1);
  letters(o, "LTra");
  byte(o, 0); /* no shift */
  int8(o, d * d);
  bytes(o, mica_quantiser_rotation(o->q), (size_t)(d * d) * sizeof(float));
  int8(o, 0);
  int4(o, (int32_t)d);
  int4(o, (int32_t)d);
  byte(o, 1);
}

static void pq(output *o) {
  const mica_index_rows *rows = &o->x->rows;
  const int64_t *coarse = kept(o, "coarse");
  const uint8_t *code = kept(o, "codes");
  if (!o->status && *coarse)
    o->status = mica_fail(MICA_ERR_UNSUPPORTED, "FAISS has no codes of another encoder");
  if (!o->status) o->status = check_codes(o->q);
  rotation(o);
  letters(o, "IxPq");
  header(o, rows->n);
  quantiser(o);
  int8(o, rows->n * code_size(o));
  codes(o, code, 0, rows->n);
  int4(o, 0); /* searched by distances */
  byte(o, 0);
  int4(o, 0);
}

/* ---- lists ---- */

/* The centres, turned where codes are. */
static void centres(output *o, int64_t lists, const float *centre, float *buffer) {
  const int64_t d = o->x->rows.d;
  const float *r = o->q ? mica_quantiser_rotation(o->q) : NULL;
  flat_head(o, lists);
  for (int64_t l = 0; l < lists && !o->status; l++) {
    for (int64_t i = 0; i < d; i++) {
      double sum = 0;
      for (int64_t j = 0; r && j < d; j++) sum += (double)r[i * d + j] * (double)centre[l * d + j];
      buffer[i] = r ? (float)sum : centre[l * d + i];
    }
    bytes(o, buffer, (size_t)d * sizeof *buffer);
  }
}

static void lists(output *o, float *buffer) {
  const mica_index_rows *rows = &o->x->rows;
  const float *centre = kept(o, "centres");
  const int64_t *start = kept(o, "starts"), *order = kept(o, "order");
  const uint8_t *code = o->q ? kept(o, "codes") : NULL;
  if (!o->status && o->q) o->status = check_codes(o->q);
  if (o->status) return;
  const int64_t n = mica_tensor_count(mica_record_get(o->record, "starts")) - 1;
  if (o->q) rotation(o);
  letters(o, o->q ? "IwPQ" : "IwFl");
  header(o, rows->n);
  int8(o, n);
  int8(o, n / 32 > 8 ? n / 32 : n < 8 ? n : 8); /* lists that a query looks at */
  centres(o, n, centre, buffer);
  byte(o, 0); /* no table of ids */
  int8(o, 0);
  if (o->q) {
    byte(o, 1); /* codes are of residuals */
    int8(o, code_size(o));
    quantiser(o);
  }
  letters(o, "ilar");
  int8(o, n);
  int8(o, o->q ? code_size(o) : rows->d * (int64_t)sizeof(float));
  letters(o, "full");
  int8(o, n);
  for (int64_t l = 0; l < n; l++) int8(o, start[l + 1] - start[l]);
  for (int64_t l = 0; l < n && !o->status; l++) {
    const int64_t m = start[l + 1] - start[l];
    if (o->q) {
      codes(o, code, 0, m);
      code += mica_codes_bytes(o->q, m);
    }
    for (int64_t i = start[l]; i < start[l + 1] && !o->q; i++) row(o, order[i], buffer);
    for (int64_t i = start[l]; i < start[l + 1]; i++) int8(o, o->x->id[order[i]]);
  }
}

/* ---- the graph ---- */

enum { most_levels = 32 };

static void graph(output *o, float *buffer) {
  const int64_t n = o->x->rows.n;
  const uint8_t *layer = kept(o, "layers");
  const int32_t *ground = kept(o, "ground"), *upper = kept(o, "upper");
  const int64_t *entry = kept(o, "entry");
  if (o->status) return;
  const int64_t links = mica_tensor_dim(mica_record_get(o->record, "ground"), 1) / 2;
  letters(o, "IHNf");
  header(o, n);
  /* The chance of each level, for rows that are added there: geometric, as ours were drawn. */
  int8(o, most_levels);
  for (int l = 0; l < most_levels; l++) {
    const double chance = pow((double)links, -l) * (1 - 1 / (double)links);
    bytes(o, &chance, 8);
  }
  int8(o, most_levels + 1);
  for (int l = 0; l <= most_levels; l++) int4(o, (int32_t)(l ? (l + 1) * links : 0));
  int8(o, n);
  for (int64_t i = 0; i < n; i++) int4(o, layer[i] + 1);
  int8(o, n + 1);
  int64_t at = 0;
  int8(o, 0);
  for (int64_t i = 0; i < n; i++) int8(o, at += (layer[i] + 2) * links);
  int8(o, at);
  for (int64_t i = 0; i < n && !o->status; i++) {
    bytes(o, ground + i * 2 * links, (size_t)(2 * links) * 4);
    bytes(o, upper, (size_t)(layer[i] * links) * 4);
    upper += layer[i] * links;
  }
  int4(o, (int32_t)*entry);
  int4(o, layer[*entry]);
  int4(o, 128); /* candidates while it grows, and of a query */
  int4(o, 64);
  int4(o, 1);
  flat(o, buffer);
}

/* ---- the whole ---- */

static bool numbered(const mica_index *x) {
  for (int64_t i = 0; i < x->rows.n; i++)
    if (x->id[i] != i) return false;
  return true;
}

mica_status mica_index_export_faiss(const mica_index *index, const char *path) {
  const char *kind = mica_spec_component(index->spec)->name;
  output o = {.x = index, .q = mica_index_quantiser(index)};
  const bool of_lists = strcmp(kind, "ivf") == 0, mapped = !of_lists && !numbered(index);
  if (index->rows.d > 1 << 20)
    return mica_fail(MICA_ERR_UNSUPPORTED, "FAISS: rows of %lld columns", (long long)index->rows.d);
  float *buffer = mica_realloc_array(NULL, (size_t)index->rows.d, sizeof *buffer);
  o.status = buffer ? mica_index_state(index, &o.record) : MICA_ERR_MEMORY;
  if (!o.status) o.status = mica_writer_open(path, &o.w);
  if (!o.status && mapped) {
    letters(&o, "IxMp");
    header(&o, index->rows.n);
  }
  if (o.status)
    ;
  else if (of_lists)
    lists(&o, buffer);
  else if (strcmp(kind, "exact") == 0)
    flat(&o, buffer);
  else if (strcmp(kind, "pq") == 0)
    pq(&o);
  else if (strcmp(kind, "hnsw") == 0)
    graph(&o, buffer);
  else
    o.status = mica_fail(MICA_ERR_UNSUPPORTED, "FAISS has no form for an index %s", kind);
  if (mapped) {
    int8(&o, index->rows.n);
    bytes(&o, index->id, (size_t)index->rows.n * 8);
  }
  if (!o.status) o.status = mica_writer_commit(o.w);
  mica_writer_close(o.w);
  mica_record_free(o.record);
  mica_free(buffer);
  return o.status;
}
