/* Reading index files of FAISS.
 *
 * The file is walked once: sections are four letters and what belongs to them, numbers little
 * endian, arrays with their length before them. Nothing is allocated for a length that the file
 * does not have. What is found is put into the tensors that the component's own loader takes, so
 * that graphs, lists and codes are checked where those of our files are.
 */
#include <mica/exchange.h>

#include "base/file.h"
#include "index/codes.h"
#include "index/index.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
  const uint8_t *at;
  size_t left;
  const char *name;
  mica_status status;
} reader;

typedef enum { FLAT, IVF_FLAT, IVF_PQ, PQ, HNSW } form;

/* Pointers are into the file, aligned to nothing. */
typedef struct found {
  form form;
  int64_t d, n;
  int32_t metric;
  const uint8_t *rows;     /* [n, d] float */
  const uint8_t *id;       /* [n] int64, of an IDMap; or NULL */
  const uint8_t *rotation; /* [d, d] float, or NULL */
  int64_t lists, probe;
  const uint8_t *centre; /* [lists, d] float */
  int64_t parts, bits, code_size;
  const uint8_t *word; /* [parts, 2^bits, d / parts] float */
  const uint8_t *code; /* [n, code_size] of PQ */
  const uint8_t *size; /* [lists] uint64, or with `pairs` [sizes] of list and size */
  int64_t sizes;
  bool pairs;
  const uint8_t *list;                       /* of each list that has rows: codes, then ids */
  const uint8_t *level, *offset, *neighbour; /* int32 [n], uint64 [n + 1], int32 [neighbours] */
  int64_t neighbours, links, candidates, build, entry;
} found;

static void refuse(reader *r, mica_status status, const char *what) {
  if (!r->status) r->status = mica_fail(status, "%s: %s", r->name, what);
}

static const uint8_t *take(reader *r, uint64_t n, uint64_t size) {
  static const uint8_t none[16];
  if (r->status) return none;
  if (size && n > r->left / size) {
    refuse(r, MICA_ERR_FORMAT, "the file ends in the middle of a FAISS index");
    return none;
  }
  const uint8_t *at = r->at;
  r->at += n * size;
  r->left -= (size_t)(n * size);
  return at;
}

#define READ(type)                                                                                 \
  static type read_##type(reader *r) {                                                             \
    type v = 0;                                                                                    \
    const uint8_t *at = take(r, 1, sizeof v);                                                      \
    if (!r->status) memcpy(&v, at, sizeof v);                                                      \
    return v;                                                                                      \
  }
READ(uint8_t)
READ(int32_t)
READ(int64_t)
#undef READ

/* A length, of at most what is left. */
static int64_t read_length(reader *r, uint64_t size) {
  const int64_t n = read_int64_t(r);
  if (!r->status && (n < 0 || (uint64_t)n > r->left / size))
    refuse(r, MICA_ERR_FORMAT, "an array longer than the file");
  return r->status ? 0 : n;
}

static const uint8_t *read_array(reader *r, int64_t expected, uint64_t size, const char *what) {
  char text[96];
  const int64_t n = read_length(r, size);
  if (!r->status && n != expected) {
    snprintf(text, sizeof text, "%lld %s, expected %lld", (long long)n, what, (long long)expected);
    refuse(r, MICA_ERR_FORMAT, text);
  }
  return take(r, (uint64_t)n, size);
}

static int64_t number_at(const uint8_t *list, int64_t i) {
  int64_t v;
  memcpy(&v, list + i * 8, 8);
  return v;
}

static int32_t int_at(const uint8_t *list, int64_t i) {
  int32_t v;
  memcpy(&v, list + i * 4, 4);
  return v;
}

static bool is(const uint8_t *letters, const char *name) {
  return memcmp(letters, name, 4) == 0;
}

static void unknown(reader *r, const uint8_t *letters) {
  static const struct {
    const char *letters, *name;
  } known[] = {{"IxHe", "an LSH index"},
               {"IxHE", "an LSH index"},
               {"IxSQ", "a scalar quantiser"},
               {"IwSq", "inverted lists of scalar codes"},
               {"IwSQ", "inverted lists of scalar codes"},
               {"IHNp", "a graph of PQ codes"},
               {"IHNs", "a graph of scalar codes"},
               {"IHN2", "a graph of two levels"},
               {"IxRF", "an index that refines another"},
               {"IwPf", "fast-scan lists"},
               {"IPfs", "fast-scan codes"},
               {"IBxF", "an index of bits"},
               {"IxMp", "a map of ids inside another index"},
               {"IxM2", "a map of ids inside another index"}};
  char text[160];
  const char *what = NULL;
  if (r->status) return;
  for (size_t i = 0; i < sizeof known / sizeof *known && !what; i++)
    if (is(letters, known[i].letters)) what = known[i].name;
  bool printable = true;
  for (int i = 0; i < 4; i++) printable &= letters[i] > 32 && letters[i] < 127;
  if (!printable) {
    refuse(r, MICA_ERR_FORMAT, "no index file of FAISS");
    return;
  }
  snprintf(text, sizeof text,
           "FAISS section '%.4s'%s%s is not read here: IndexFlat, IVFFlat, IVFPQ, PQ and HNSWFlat "
           "are",
           (const char *)letters, what ? ", " : "", what ? what : "");
  refuse(r, MICA_ERR_UNSUPPORTED, text);
}

/* ---- the parts of an index ---- */

/* Columns, rows, and the metric. */
static void read_header(reader *r, found *f) {
  f->d = read_int32_t(r);
  f->n = read_int64_t(r);
  read_int64_t(r);
  read_int64_t(r);
  const bool trained = read_uint8_t(r);
  f->metric = read_int32_t(r);
  if (r->status) return;
  if (f->d < 1 || f->d > 1 << 20 || f->n < 0 || f->n > INT64_C(1) << 40)
    refuse(r, MICA_ERR_FORMAT, "columns or rows out of range");
  else if (f->metric != 0 && f->metric != 1)
    refuse(r, MICA_ERR_UNSUPPORTED, "a FAISS metric other than L2 and inner product");
  else if (!trained)
    refuse(r, MICA_ERR_UNSUPPORTED, "a FAISS index that was not trained");
  else if (f->n < 1)
    refuse(r, MICA_ERR_FORMAT, "a FAISS index without rows");
}

static bool is_flat(const uint8_t *letters) {
  return is(letters, "IxF2") || is(letters, "IxFI") || is(letters, "IxFl");
}

/* The flat index inside another one: of as many columns, and `n` rows. */
static const uint8_t *read_inner(reader *r, int64_t d, int64_t n, const char *what) {
  found inner = {0};
  const uint8_t *letters = take(r, 1, 4);
  if (!r->status && !is_flat(letters)) unknown(r, letters);
  read_header(r, &inner);
  if (!r->status && (inner.d != d || inner.n != n))
    refuse(r, MICA_ERR_FORMAT, "an inner index of another size");
  return read_array(r, r->status ? 0 : n * d, 4, what);
}

static void read_quantiser(reader *r, found *f) {
  const int64_t d = read_int64_t(r);
  f->parts = read_int64_t(r);
  f->bits = read_int64_t(r);
  if (!r->status && (d != f->d || f->parts < 1 || d % f->parts))
    refuse(r, MICA_ERR_FORMAT, "a product quantiser of another size");
  if (!r->status && (f->bits < 1 || f->bits > 8))
    refuse(r, MICA_ERR_UNSUPPORTED, "codes of more than 8 bits a part");
  if (!r->status) f->code_size = (f->parts * f->bits + 7) / 8;
  f->word = read_array(r, r->status ? 0 : f->d << f->bits, 4, "numbers of codewords");
}

/* Lists in memory, which is how IndexIVF writes them. */
static void read_lists(reader *r, found *f, int64_t code_size) {
  const uint8_t *letters = take(r, 1, 4);
  if (!r->status && !is(letters, "ilar")) {
    refuse(r, MICA_ERR_UNSUPPORTED, "inverted lists that are not in the file itself");
    return;
  }
  const int64_t lists = read_int64_t(r), size = read_int64_t(r);
  if (!r->status && (lists != f->lists || size != code_size))
    refuse(r, MICA_ERR_FORMAT, "inverted lists of another size");
  letters = take(r, 1, 4);
  if (r->status) return;
  f->pairs = is(letters, "sprs");
  if (!f->pairs && !is(letters, "full")) {
    unknown(r, letters);
    return;
  }
  f->sizes = read_length(r, 8);
  f->size = take(r, (uint64_t)f->sizes, 8);
  if (f->pairs) {
    if (f->sizes % 2) refuse(r, MICA_ERR_FORMAT, "sizes of lists that are no pairs");
    f->sizes /= 2;
  } else if (f->sizes != f->lists) {
    refuse(r, MICA_ERR_FORMAT, "sizes of other lists");
  }
  f->list = r->at;
  int64_t rows = 0, last = -1;
  for (int64_t i = 0; i < f->sizes && !r->status; i++) {
    const int64_t list = f->pairs ? number_at(f->size, 2 * i) : i;
    const int64_t n = number_at(f->size, f->pairs ? 2 * i + 1 : i);
    if (list <= last || list >= f->lists || n < 0 || n > f->n - rows) {
      refuse(r, MICA_ERR_FORMAT, "lists that do not fit their rows");
      return;
    }
    last = list;
    rows += n;
    take(r, (uint64_t)n, (uint64_t)code_size + 8);
  }
  if (!r->status && rows != f->n) refuse(r, MICA_ERR_FORMAT, "lists that do not fit their rows");
}

static void read_ivf(reader *r, found *f) {
  read_header(r, f);
  f->lists = read_int64_t(r);
  f->probe = read_int64_t(r);
  if (!r->status && (f->lists < 1 || f->lists > 1 << 24 || f->probe < 0 || f->probe > 1 << 24))
    refuse(r, MICA_ERR_FORMAT, "a number of lists out of range");
  if (!r->status && f->lists > f->n)
    refuse(r, MICA_ERR_UNSUPPORTED, "more inverted lists than rows");
  f->centre = read_inner(r, f->d, f->lists, "numbers of centres");
  /* Where each id lies: not needed here. */
  const uint8_t map = read_uint8_t(r);
  const int64_t mapped = read_length(r, 8);
  take(r, (uint64_t)mapped, 8);
  if (!r->status && map > 1) refuse(r, MICA_ERR_UNSUPPORTED, "a hash table of ids");
  if (f->form == IVF_FLAT) {
    read_lists(r, f, 4 * f->d);
    return;
  }
  const bool residual = read_uint8_t(r);
  const int64_t size = read_int64_t(r);
  read_quantiser(r, f);
  if (!r->status && !residual)
    refuse(r, MICA_ERR_UNSUPPORTED, "inverted lists of codes that are not of residuals");
  if (!r->status && size != f->code_size) refuse(r, MICA_ERR_FORMAT, "codes of another size");
  read_lists(r, f, f->code_size);
}

static void read_pq(reader *r, found *f) {
  read_header(r, f);
  read_quantiser(r, f);
  f->code = read_array(r, r->status ? 0 : f->n * f->code_size, 1, "bytes of codes");
  const int32_t search = read_int32_t(r);
  read_uint8_t(r);
  read_int32_t(r);
  if (!r->status && search)
    refuse(r, MICA_ERR_UNSUPPORTED, "codes that are not searched by their distances");
}

static void read_hnsw(reader *r, found *f) {
  read_header(r, f);
  const int64_t chances = read_length(r, 8);
  take(r, (uint64_t)chances, 8);
  const int64_t levels = read_length(r, 4);
  const uint8_t *cumulative = take(r, (uint64_t)levels, 4);
  f->level = read_array(r, f->n, 4, "levels of rows");
  f->offset = read_array(r, f->n + 1, 8, "offsets of links");
  f->neighbours = read_length(r, 4);
  f->neighbour = take(r, (uint64_t)f->neighbours, 4);
  f->entry = read_int32_t(r);
  read_int32_t(r);
  f->build = read_int32_t(r);
  f->candidates = read_int32_t(r);
  read_int32_t(r);
  if (!r->status && levels < 3) refuse(r, MICA_ERR_FORMAT, "a graph without levels");
  for (int64_t i = 0; i < levels && !r->status; i++) {
    if (i == 2) f->links = (int64_t)int_at(cumulative, 2) - int_at(cumulative, 1);
    if (i < 2 || int_at(cumulative, i) == (i + 1) * f->links) continue;
    refuse(r, MICA_ERR_UNSUPPORTED, "a graph whose levels have other numbers of links");
  }
  if (!r->status && (int_at(cumulative, 0) != 0 || int_at(cumulative, 1) != 2 * f->links ||
                     f->links < 2 || f->links > 256))
    refuse(r, MICA_ERR_UNSUPPORTED, "a graph of fewer than 2 links, or of more than 256");
  f->rows = read_inner(r, f->d, f->n, "numbers of rows");
}

static void read_core(reader *r, found *f) {
  const uint8_t *letters = take(r, 1, 4);
  if (r->status) return;
  if (is_flat(letters)) {
    f->form = FLAT;
    read_header(r, f);
    f->rows = read_array(r, r->status ? 0 : f->n * f->d, 4, "numbers of rows");
  } else if (is(letters, "IwFl")) {
    f->form = IVF_FLAT;
    read_ivf(r, f);
  } else if (is(letters, "IwPQ")) {
    f->form = IVF_PQ;
    read_ivf(r, f);
  } else if (is(letters, "IxPq")) {
    f->form = PQ;
    read_pq(r, f);
  } else if (is(letters, "IHNf")) {
    f->form = HNSW;
    read_hnsw(r, f);
  } else {
    unknown(r, letters);
  }
}

/* One square matrix without a shift, which turns. */
static void read_rotation(reader *r, found *outer) {
  read_header(r, outer);
  const int32_t chain = read_int32_t(r);
  if (!r->status && chain != 1) refuse(r, MICA_ERR_UNSUPPORTED, "more than one transform");
  const uint8_t *letters = take(r, 1, 4);
  if (!r->status && !is(letters, "LTra") && !is(letters, "rrot")) {
    refuse(r, MICA_ERR_UNSUPPORTED, "a transform that is no rotation");
    return;
  }
  const bool shift = read_uint8_t(r);
  const int64_t d = outer->d;
  outer->rotation = read_array(r, r->status ? 0 : d * d, 4, "numbers of a square rotation");
  const int64_t shifts = read_length(r, 4);
  take(r, (uint64_t)shifts, 4);
  const int32_t in = read_int32_t(r), to = read_int32_t(r);
  read_uint8_t(r);
  if (!r->status && (shift || in != d || to != d))
    refuse(r, MICA_ERR_UNSUPPORTED, "a transform that is no rotation");
  for (int64_t i = 0; i < d && !r->status; i++)
    for (int64_t k = 0; k < d && !r->status; k++) {
      double sum = 0;
      float a, b;
      for (int64_t j = 0; j < d; j++) {
        memcpy(&a, outer->rotation + (i * d + j) * 4, 4);
        memcpy(&b, outer->rotation + (k * d + j) * 4, 4);
        sum += (double)a * (double)b;
      }
      if (!(fabs(sum - (i == k)) < 1e-3))
        refuse(r, MICA_ERR_UNSUPPORTED, "a transform that is no rotation");
    }
}

static mica_status parse(reader *r, found *f) {
  found outer = {0};
  bool mapped = false, turned = false;
  if (r->left >= 4 && (is(r->at, "IxMp") || is(r->at, "IxM2"))) {
    take(r, 1, 4);
    read_header(r, &outer);
    mapped = true;
  }
  if (!r->status && r->left >= 4 && is(r->at, "IxPT")) {
    take(r, 1, 4);
    read_rotation(r, &outer);
    turned = true;
  }
  if (!r->status) read_core(r, f);
  if (!r->status && (mapped || turned) && (outer.n != f->n || outer.d != f->d))
    refuse(r, MICA_ERR_FORMAT, "an inner index of another size");
  if (!r->status && turned && f->form != PQ && f->form != IVF_PQ)
    refuse(r, MICA_ERR_UNSUPPORTED, "a transform before an index without codes");
  if (!r->status && mapped && (f->form == IVF_FLAT || f->form == IVF_PQ))
    refuse(r, MICA_ERR_UNSUPPORTED, "a map of ids around inverted lists, which have their own");
  f->rotation = turned ? outer.rotation : NULL;
  if (mapped) f->id = read_array(r, r->status ? 0 : f->n, 8, "ids");
  if (!r->status && r->left) refuse(r, MICA_ERR_FORMAT, "something follows the FAISS index");
  return r->status;
}

/* ---- into an index of ours ---- */

typedef struct making {
  const mica_engine *engine;
  const found *f;
  float *x;    /* [n, d] rows, in the order that they get */
  int64_t *id; /* [n] */
  uint8_t *code;
  mica_quantiser *quantiser;
  mica_record *record;
} making;

static void unpack_codes(const found *f, const uint8_t *from, int64_t n, uint8_t *to) {
  for (int64_t i = 0; i < n; i++, from += f->code_size)
    for (int64_t p = 0; p < f->parts; p++) {
      const int64_t bit = p * f->bits;
      unsigned v = from[bit / 8];
      if (bit / 8 + 1 < f->code_size) v |= (unsigned)from[bit / 8 + 1] << 8;
      *to++ = (uint8_t)(v >> bit % 8 & ((1u << f->bits) - 1));
    }
}

static mica_status make_quantiser(making *m) {
  const found *f = m->f;
  const int64_t words = INT64_C(1) << f->bits;
  float *word = mica_realloc_array(NULL, (size_t)(words * f->d), sizeof *word);
  float *rotation = mica_realloc_array(NULL, (size_t)(f->rotation ? f->d * f->d : 1), sizeof *word);
  mica_status status = word && rotation ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) memcpy(word, f->word, (size_t)(words * f->d) * sizeof *word);
  if (!status && f->rotation)
    memcpy(rotation, f->rotation, (size_t)(f->d * f->d) * sizeof *rotation);
  if (!status)
    status = mica_quantiser_of(m->engine, f->d, f->parts, words, word,
                               f->rotation ? rotation : NULL, &m->quantiser);
  mica_free(word);
  mica_free(rotation);
  return status;
}

static mica_status put(making *m, const char *name, mica_dtype dtype, mica_shape shape,
                       void **data) {
  mica_tensor *t = NULL;
  mica_status status = mica_tensor_create(dtype, shape, &t);
  if (!status) status = mica_record_put(m->record, name, t);
  if (!status) *data = mica_tensor_data(t);
  mica_tensor_free(t); /* the record has it */
  return status;
}

/* Centres as they are before a rotation: c = R^T c'. */
static void turn_back(const found *f, float *centre) {
  float r;
  for (int64_t i = 0; i < f->lists; i++)
    for (int64_t j = 0; j < f->d; j++) {
      double sum = 0;
      for (int64_t k = 0; k < f->d; k++) {
        float c;
        memcpy(&r, f->rotation + (k * f->d + j) * 4, 4);
        memcpy(&c, f->centre + (i * f->d + k) * 4, 4);
        sum += (double)r * (double)c;
      }
      centre[i * f->d + j] = (float)sum;
    }
}

/* The rows of all lists, one list after the other. */
static mica_status make_lists(making *m) {
  const found *f = m->f;
  const int64_t row_bytes = f->form == IVF_PQ ? f->code_size : 4 * f->d;
  void *centre = NULL, *start_ = NULL, *order = NULL;
  mica_status status = put(m, "centres", MICA_F32, MICA_SHAPE(f->lists, f->d), &centre);
  if (!status) status = put(m, "starts", MICA_I64, MICA_SHAPE(f->lists + 1), &start_);
  if (!status) status = put(m, "order", MICA_I64, MICA_SHAPE(f->n), &order);
  if (status) return status;
  memcpy(centre, f->centre, (size_t)(f->lists * f->d) * sizeof(float));
  if (f->rotation) turn_back(f, centre);
  for (int64_t i = 0; i < f->n; i++) ((int64_t *)order)[i] = i;
  int64_t *start = start_, at = 0, list = 0;
  const uint8_t *from = f->list;
  for (int64_t i = 0; i < f->sizes; i++) {
    const int64_t which = f->pairs ? number_at(f->size, 2 * i) : i;
    const int64_t n = number_at(f->size, f->pairs ? 2 * i + 1 : i);
    for (; list <= which; list++) start[list] = at;
    if (m->code)
      unpack_codes(f, from, n, m->code + at * f->parts);
    else if (n)
      memcpy(m->x + at * f->d, from, (size_t)(n * row_bytes));
    from += n * row_bytes;
    if (n) memcpy(m->id + at, from, (size_t)n * 8);
    from += n * 8;
    at += n;
  }
  for (; list <= f->lists; list++) start[list] = at;
  return MICA_OK;
}

/* Rows that codes of residuals stand for, the codes as an index keeps them, and for the distance
 * |r|^2 + 2 <c, r> of each. */
static mica_status make_residuals(making *m) {
  const found *f = m->f;
  const int64_t *start = mica_tensor_data(mica_record_get(m->record, "starts"));
  const float *centre = mica_tensor_data(mica_record_get(m->record, "centres"));
  void *code = NULL, *constant = NULL;
  int64_t bytes = 0;
  mica_status status = mica_quantiser_decode(m->quantiser, m->code, f->n, m->x);
  for (int64_t l = 0; l < f->lists; l++)
    bytes += mica_codes_bytes(m->quantiser, start[l + 1] - start[l]);
  if (!status) status = put(m, "codes", MICA_U8, MICA_SHAPE(bytes), &code);
  if (!status && f->metric == 1)
    status = put(m, "constants", MICA_F32, MICA_SHAPE(f->n), &constant);
  if (status) return status;
  memset(code, 0, (size_t)bytes);
  uint8_t *to = code;
  for (int64_t l = 0; l < f->lists; l++) {
    const int64_t n = start[l + 1] - start[l];
    mica_codes_put(m->quantiser, m->code + start[l] * f->parts, 0, n, to);
    to += mica_codes_bytes(m->quantiser, n);
    for (int64_t i = start[l]; i < start[l + 1]; i++) {
      double sum = 0;
      for (int64_t j = 0; j < f->d; j++) {
        float *r = &m->x[i * f->d + j];
        const double c = (double)centre[l * f->d + j];
        sum += (double)*r * ((double)*r + 2 * c);
        *r = (float)((double)*r + c);
      }
      if (constant) ((float *)constant)[i] = (float)sum;
    }
  }
  return mica_quantiser_save(m->quantiser, "quantiser", m->record);
}

/* Links by layers. Each row has 2 links of them in its lowest, `links` in each further one. */
static mica_status make_graph(making *m) {
  const found *f = m->f;
  void *layer = NULL, *ground = NULL, *upper = NULL, *entry = NULL;
  int64_t all = 0, at = 0;
  for (int64_t i = 0; i < f->n; i++) {
    const int64_t levels = int_at(f->level, i), from = number_at(f->offset, i);
    const int64_t end = number_at(f->offset, i + 1), want = (levels + 1) * f->links;
    if (levels < 1 || levels > 32 || from != at || end - from != want || end > f->neighbours)
      return mica_fail(MICA_ERR_FORMAT, "links that do not fit the levels of row %lld",
                       (long long)i);
    at = end;
    all += levels - 1;
  }
  if (f->entry < 0 || f->entry >= f->n)
    return mica_fail(MICA_ERR_FORMAT, "a graph that is entered at row %lld of %lld",
                     (long long)f->entry, (long long)f->n);
  mica_status status = put(m, "layers", MICA_U8, MICA_SHAPE(f->n), &layer);
  if (!status) status = put(m, "ground", MICA_I32, MICA_SHAPE(f->n, 2 * f->links), &ground);
  if (!status) status = put(m, "upper", MICA_I32, MICA_SHAPE(all, f->links), &upper);
  if (!status) status = put(m, "entry", MICA_I64, MICA_SHAPE(1), &entry);
  if (status) return status;
  *(int64_t *)entry = f->entry;
  int32_t *to = upper;
  for (int64_t i = 0; i < f->n; i++) {
    const int64_t levels = int_at(f->level, i);
    const uint8_t *from = f->neighbour + number_at(f->offset, i) * 4;
    ((uint8_t *)layer)[i] = (uint8_t)(levels - 1);
    memcpy((int32_t *)ground + i * 2 * f->links, from, (size_t)(2 * f->links) * 4);
    memcpy(to, from + 2 * f->links * 4, (size_t)((levels - 1) * f->links) * 4);
    to += (levels - 1) * f->links;
  }
  return MICA_OK;
}

static void spec_of(const found *f, char *text, size_t n) {
  const char *metric = f->metric == 1 ? "l2" : "inner";
  const long long parts = f->parts, words = 1LL << f->bits;
  if (f->form == FLAT)
    snprintf(text, n, "exact:metric=%s", metric);
  else if (f->form == HNSW)
    snprintf(text, n, "hnsw:metric=%s:links=%lld:build=%lld:candidates=%lld", metric,
             (long long)f->links, (long long)(f->build > 0 && f->build < 65536 ? f->build : 128),
             (long long)(f->candidates > 0 ? f->candidates : 64));
  else if (f->form == PQ)
    snprintf(text, n, "pq:metric=%s:parts=%lld:words=%lld:rerank=0", metric, parts, words);
  else
    snprintf(text, n, "ivf:metric=%s:lists=%lld:probe=%lld", metric, (long long)f->lists,
             (long long)f->probe);
  if (f->form == IVF_PQ)
    snprintf(text + strlen(text), n - strlen(text), ":codes=%s:parts=%lld:words=%lld:rerank=0",
             f->rotation ? "opq" : "pq", parts, words);
}

static mica_status make_parts(making *m) {
  const found *f = m->f;
  const bool coded = f->form == PQ || f->form == IVF_PQ;
  mica_status status = mica_record_create(&m->record);
  m->x = mica_realloc_array(NULL, (size_t)(f->n * f->d), sizeof *m->x);
  m->id = mica_realloc_array(NULL, (size_t)f->n, sizeof *m->id);
  if (coded) m->code = mica_realloc_array(NULL, (size_t)(f->n * f->parts), 1);
  if (!status && !(m->x && m->id && (m->code || !coded))) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < f->n && !status; i++) m->id[i] = f->id ? number_at(f->id, i) : i;
  if (!status && f->rows) memcpy(m->x, f->rows, (size_t)(f->n * f->d) * sizeof *m->x);
  if (!status && coded) status = make_quantiser(m);
  if (!status && f->form == PQ) {
    unpack_codes(f, f->code, f->n, m->code);
    status = mica_quantiser_decode(m->quantiser, m->code, f->n, m->x);
  }
  if (!status && (f->form == IVF_FLAT || f->form == IVF_PQ)) status = make_lists(m);
  if (!status && f->form == IVF_PQ) status = make_residuals(m);
  if (!status && f->form == HNSW) status = make_graph(m);
  return status;
}

/* A code index takes the codes as they are. */
static mica_status adopt_codes(making *m) {
  void *code = NULL, *coarse = NULL;
  const int64_t bytes = mica_codes_bytes(m->quantiser, m->f->n);
  mica_status status = put(m, "codes", MICA_U8, MICA_SHAPE(bytes), &code);
  if (!status) status = put(m, "coarse", MICA_I64, MICA_SHAPE(1), &coarse);
  if (!status) memset(code, 0, (size_t)bytes);
  if (!status) mica_codes_put(m->quantiser, m->code, 0, m->f->n, code);
  return status ? status : mica_quantiser_save(m->quantiser, "quantiser", m->record);
}

static mica_status make_index(const mica_engine *engine, const found *f, const char *out_path,
                              mica_index **out) {
  char spec[192];
  making m = {.engine = engine, .f = f};
  mica_index_builder *b = NULL;
  mica_index_batch batch = MICA_INDEX_BATCH;
  mica_status status = make_parts(&m);
  if (!status && f->form == PQ) status = adopt_codes(&m);
  spec_of(f, spec, sizeof spec);
  if (!status) status = mica_index_builder_create(engine, spec, f->d, out_path, &b);
  if (!status && f->form != FLAT) {
    mica_index_builder_adopt(b, m.record);
    m.record = NULL;
  }
  batch.x = mica_view_of(m.x, MICA_F32, MICA_SHAPE(f->n, f->d));
  batch.id = m.id;
  if (!status) status = mica_index_builder_add(b, &batch);
  if (!status) status = mica_index_builder_finish(b, out);
  mica_index_builder_free(b);
  mica_record_free(m.record);
  mica_quantiser_free(m.quantiser);
  mica_free(m.x);
  mica_free(m.id);
  mica_free(m.code);
  return status;
}

mica_status mica_index_import_faiss_memory(const mica_engine *engine, const void *bytes, size_t n,
                                           const char *name, const char *out_path,
                                           mica_index **out) {
  reader r = {bytes, n, name, MICA_OK};
  found f = {0};
  mica_index *own = NULL;
  if (out) *out = NULL;
  mica_status status = parse(&r, &f);
  if (status) return status;
  status = make_index(engine, &f, out_path, out ? out : &own);
  mica_index_free(own);
  return status ? mica_fail_within("%s", name) : MICA_OK;
}

mica_status mica_index_import_faiss(const mica_engine *engine, const char *path,
                                    const char *out_path, mica_index **out) {
  mica_mapping map;
  if (out) *out = NULL;
  mica_status status = mica_file_map(path, &map);
  if (status) return status;
  status = mica_index_import_faiss_memory(engine, map.bytes, map.n, path, out_path, out);
  mica_file_unmap(&map);
  return status;
}
