/* Rows as PostgreSQL's COPY has them in text: a row a line, tabs between columns, backslashes
 * before what would be mistaken; vectors as pgvector writes them, [1,2,3]. */
#include <mica/exchange.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/number.h"
#include "data/lines.h"
#include "index/index.h"

#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

/* ---- out ---- */

static void put_text(mica_bytes *b, const char *text) {
  for (; *text; text++) {
    const char *special = strchr("\t\n\r\\", *text);
    if (special) mica_bytes_byte(b, '\\');
    mica_bytes_byte(b, !special ? *text : "tnr\\"[special - "\t\n\r\\"]);
  }
}

mica_status mica_index_export_copy(const mica_index *index, const char *path) {
  const mica_index_rows *rows = &index->rows;
  mica_writer *w = NULL;
  mica_bytes b = {0};
  char number[MICA_DOUBLE_TEXT], name[4096];
  float *x = mica_realloc_array(NULL, (size_t)rows->d, sizeof *x);
  mica_status status = x ? mica_writer_open(path, &w) : MICA_ERR_MEMORY;
  const size_t bytes = (size_t)rows->d * mica_dtype_size(rows->dtype);
  for (int64_t i = 0; i < rows->n && !status; i++) {
    mica_convert(x, MICA_F32, (const char *)rows->x + (size_t)i * bytes, rows->dtype,
                 (size_t)rows->d);
    mica_bytes_printf(&b, "%lld\t[", (long long)index->id[i]);
    for (int64_t j = 0; j < rows->d; j++) {
      mica_format_float(x[j], number);
      if (j) mica_bytes_byte(&b, ',');
      mica_bytes_text(&b, number);
    }
    mica_bytes_byte(&b, ']');
    if (index->label && index->label[i] < 0)
      mica_bytes_text(&b, "\t\\N");
    else if (index->label)
      mica_bytes_printf(&b, "\t%lld", (long long)index->label[i]);
    if (index->name_at) {
      if (!index->label) mica_bytes_text(&b, "\t\\N");
      mica_index_name(index, i, name, sizeof name);
      mica_bytes_byte(&b, '\t');
      if (*name)
        put_text(&b, name);
      else
        mica_bytes_text(&b, "\\N");
    }
    mica_bytes_byte(&b, '\n');
    status = b.status;
    if (!status) status = mica_writer_write(w, b.data, b.n);
    mica_bytes_clear(&b);
  }
  if (!status) status = mica_writer_commit(w);
  mica_writer_close(w);
  mica_bytes_free(&b);
  mica_free(x);
  return status;
}

/* ---- in ---- */

enum { piece_rows = 256 };

typedef struct {
  const mica_engine *engine;
  const char *spec, *path, *out_path;
  mica_lines *lines;
  mica_index_builder *b;
  int64_t d, rows;
  bool labels, names;
  float *x; /* [piece_rows, d] */
  int64_t id[piece_rows], label[piece_rows];
  char *name[piece_rows]; /* owned */
} reading;

static mica_status bad(const reading *r, const char *what) {
  return mica_fail(MICA_ERR_FORMAT, "%s, line %lld: %s", r->path,
                   (long long)mica_lines_number(r->lines), what);
}

/* The next field, ended; NULL after the last. */
static char *next_field(char **at) {
  char *field = *at;
  if (!field) return NULL;
  char *tab = strchr(field, '\t');
  *at = tab ? tab + 1 : NULL;
  if (tab) *tab = 0;
  return field;
}

/* What backslashes stand for, in place. */
static void unescape(char *text) {
  static const char letters[] = "btnfrv", meant[] = "\b\t\n\f\r\v";
  char *to = text;
  for (; *text; text++) {
    if (*text == '\\' && text[1]) {
      text++;
      const char *letter = strchr(letters, *text);
      *to++ = letter ? meant[letter - letters] : *text;
    } else {
      *to++ = *text;
    }
  }
  *to = 0;
}

static mica_status read_number(const reading *r, const char *text, const char *what, int64_t *out) {
  const size_t n = strlen(text);
  if (!n || mica_parse_int64(text, n, out) != n || *out < 0) return bad(r, what);
  return MICA_OK;
}

static mica_status begin(reading *r, const char *vector) {
  r->d = 1;
  for (const char *c = vector; *c; c++) r->d += *c == ',';
  if (r->d > 1 << 16) return bad(r, "a vector of more than 65536 numbers");
  r->x = mica_realloc_array(NULL, (size_t)(piece_rows * r->d), sizeof *r->x);
  return r->x ? mica_index_builder_create(r->engine, r->spec, r->d, r->out_path, &r->b)
              : MICA_ERR_MEMORY;
}

static mica_status read_vector(const reading *r, const char *text, float *x) {
  size_t left = strlen(text);
  if (left < 3 || text[0] != '[' || text[left - 1] != ']')
    return bad(r, "the second column is no vector in brackets");
  text++;
  left -= 2;
  for (int64_t j = 0; j < r->d; j++) {
    double v;
    const size_t used = mica_parse_double(text, left, false, &v);
    if (!used) return bad(r, "a vector that holds no number, or is shorter than the first one");
    x[j] = (float)v;
    text += used;
    left -= used;
    if (j + 1 == r->d) break;
    if (!left || *text != ',') return bad(r, "a vector shorter than the first one");
    text++;
    left--;
  }
  return left ? bad(r, "a vector longer than the first one") : MICA_OK;
}

static mica_status flush(reading *r) {
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(r->x, MICA_F32, MICA_SHAPE(r->rows, r->d));
  batch.id = r->id;
  batch.label = r->labels ? r->label : NULL;
  batch.name = r->names ? (const char *const *)r->name : NULL;
  mica_status status = r->rows ? mica_index_builder_add(r->b, &batch) : MICA_OK;
  for (int64_t i = 0; i < r->rows; i++) mica_free(r->name[i]);
  r->rows = 0;
  return status ? mica_fail_within("%s", r->path) : MICA_OK;
}

static mica_status read_row(reading *r, char *line) {
  char *at = line, *id = next_field(&at), *vector = next_field(&at);
  char *label = next_field(&at), *name = next_field(&at);
  const int64_t i = r->rows;
  if (!vector || next_field(&at))
    return bad(r, "expected columns id, embedding and maybe label and name, with tabs between");
  mica_status status = read_number(r, id, "an id that is no number of 0 or more", &r->id[i]);
  if (!status && !r->b) status = begin(r, vector);
  if (!status) status = read_vector(r, vector, r->x + i * r->d);
  r->label[i] = MICA_CLASS_NONE;
  if (!status && label && strcmp(label, "\\N") != 0) {
    r->labels = true;
    status = read_number(r, label, "a label that is no number of 0 or more", &r->label[i]);
  }
  if (status) return status;
  r->name[i] = NULL;
  if (name && strcmp(name, "\\N") != 0) {
    unescape(name);
    r->names = true;
    r->name[i] = mica_strdup(name);
    if (!r->name[i]) return MICA_ERR_MEMORY;
  }
  return ++r->rows == piece_rows ? flush(r) : MICA_OK;
}

/* Lines of a dump that are not its rows. */
static bool is_other(const char *line) {
  return (line[0] < '0' || line[0] > '9');
}

static mica_status read_lines(reading *r) {
  char *line = NULL;
  bool within = false, ended = false;
  mica_status status = mica_lines_next(r->lines, &line);
  while (!status && line && !ended) {
    if (strcmp(line, "\\.") == 0)
      ended = true;
    else if (strncmp(line, "COPY ", 5) == 0 && !r->b)
      within = true;
    else if (within || !is_other(line))
      status = read_row(r, line);
    else if (r->b)
      status = bad(r, "an id that is no number of 0 or more");
    if (!status) status = mica_lines_next(r->lines, &line);
  }
  if (!status && r->b) status = flush(r);
  if (!status && !r->b)
    status = mica_fail(MICA_ERR_FORMAT, "%s: no rows \"id <tab> [1,2,3]\"", r->path);
  return status;
}

mica_status mica_index_import_copy(const mica_engine *engine, const char *spec, const char *path,
                                   const char *out_path, mica_index **out) {
  mica_input *input = NULL;
  if (out) *out = NULL;
  reading *r = mica_calloc(1, sizeof *r);
  if (!r) return MICA_ERR_MEMORY;
  r->engine = engine;
  r->spec = spec;
  r->path = path;
  r->out_path = out_path;
  mica_status status = mica_input_open(path, &input);
  if (!status) status = mica_lines_create(input, &r->lines);
  if (!status) status = read_lines(r);
  if (!status) status = mica_index_builder_finish(r->b, out);
  for (int64_t i = 0; i < r->rows; i++) mica_free(r->name[i]);
  mica_index_builder_free(r->b);
  mica_lines_free(r->lines);
  mica_input_close(input);
  mica_free(r->x);
  mica_free(r);
  return status;
}
