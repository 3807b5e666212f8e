/* Safetensors: a length, a JSON directory, the data. Format: github.com/huggingface/safetensors.
 *
 * The reader holds the file to all that the format promises: the tensors, taken by position, cover
 * the data exactly, without holes or overlaps, and each has as many bytes as its shape and type
 * say.
 */
#include "base/file.h"
#include "base/json.h"
#include "data/archive.h"

#include <stdlib.h>
#include <string.h>

/* The format's own bound on the directory. */
#define HEADER_MAX 100000000u

typedef struct element_type {
  const char *name;
  mica_dtype dtype;
  mica_element element;
  uint8_t bytes;
  bool complex;
} element_type;

/* The first row of a dtype is the one that is written. */
static const element_type types[] = {
    {"F32", MICA_F32, MICA_ELEMENT_PLAIN, 4, false},
    {"F64", MICA_F64, MICA_ELEMENT_PLAIN, 8, false},
    {"BF16", MICA_BF16, MICA_ELEMENT_PLAIN, 2, false},
    {"F16", MICA_F16, MICA_ELEMENT_PLAIN, 2, false},
    {"I8", MICA_I8, MICA_ELEMENT_PLAIN, 1, false},
    {"I16", MICA_I16, MICA_ELEMENT_PLAIN, 2, false},
    {"I32", MICA_I32, MICA_ELEMENT_PLAIN, 4, false},
    {"I64", MICA_I64, MICA_ELEMENT_PLAIN, 8, false},
    {"U8", MICA_U8, MICA_ELEMENT_PLAIN, 1, false},
    {"BOOL", MICA_BOOL, MICA_ELEMENT_PLAIN, 1, false},
    {"U16", MICA_I32, MICA_ELEMENT_U16, 2, false},
    {"U32", MICA_I64, MICA_ELEMENT_U32, 4, false},
    {"U64", MICA_I64, MICA_ELEMENT_U64, 8, false},
    {"F8_E4M3", MICA_F16, MICA_ELEMENT_E4M3, 1, false},
    {"F8_E5M2", MICA_F16, MICA_ELEMENT_E5M2, 1, false},
    {"C64", MICA_F32, MICA_ELEMENT_PLAIN, 4, true},
};
enum { TYPES = sizeof types / sizeof types[0] };

/* ---- reading ---- */

static mica_status read_shape(const mica_json *value, const element_type *type, mica_shape *shape) {
  int64_t rank = mica_json_count(value);
  if (rank + type->complex > MICA_MAX_RANK)
    return mica_fail(MICA_ERR_UNSUPPORTED, "shape: %lld dimensions, at most %d are supported",
                     (long long)rank, MICA_MAX_RANK);
  shape->rank = (int32_t)rank;
  for (int64_t d = 0; d < rank; d++)
    if (!mica_json_int64(mica_json_item(value, d), &shape->dim[d]) || shape->dim[d] < 0)
      return mica_fail(MICA_ERR_FORMAT,
                       "shape: dimension %lld: expected an integer that is not negative",
                       (long long)d);
  if (type->complex) shape->dim[shape->rank++] = 2;
  return MICA_OK;
}

static mica_status read_tensor(mica_archive *a, const char *name, const mica_json *value,
                               uint64_t data_at, uint64_t data_bytes) {
  const char *dtype;
  const mica_json *dims, *offsets;
  if (mica_json_need_string(value, "dtype", &dtype) ||
      mica_json_need(value, "shape", MICA_JSON_ARRAY, &dims) ||
      mica_json_need(value, "data_offsets", MICA_JSON_ARRAY, &offsets))
    return mica_fail_within("%s: tensor %s", a->source.name, name);
  const element_type *type = NULL;
  for (int i = 0; i < TYPES && !type; i++)
    if (strcmp(types[i].name, dtype) == 0) type = &types[i];
  if (!type)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: tensor %s: dtype %s is not supported",
                     a->source.name, name, dtype);
  mica_archive_entry e = {.dtype = type->dtype,
                          .element = type->element,
                          .bytes = type->bytes,
                          .complex = type->complex,
                          .member = -1};
  if (read_shape(dims, type, &e.shape))
    return mica_fail_within("%s: tensor %s", a->source.name, name);
  mica_status status = mica_archive_extent(a, name, &e.shape, type->bytes, &e.extent);
  if (status) return status;
  uint64_t begin, end;
  if (mica_json_count(offsets) != 2 || !mica_json_uint64(mica_json_item(offsets, 0), &begin) ||
      !mica_json_uint64(mica_json_item(offsets, 1), &end) || begin > end)
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: tensor %s: data_offsets: expected two integers in ascending order",
                     a->source.name, name);
  if (end > data_bytes)
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: tensor %s: data_offsets end at %llu, the file has %llu bytes of data",
                     a->source.name, name, (unsigned long long)end, (unsigned long long)data_bytes);
  if (end - begin != e.extent) {
    char text[160];
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: tensor %s: %s %s takes %llu bytes, data_offsets give it %llu",
                     a->source.name, name, dtype, mica_shape_text(&e.shape, text, sizeof text),
                     (unsigned long long)e.extent, (unsigned long long)(end - begin));
  }
  e.offset = data_at + begin;
  e.name = mica_strdup(name);
  return e.name ? mica_archive_add(a, &e) : MICA_ERR_MEMORY;
}

static mica_status read_metadata(mica_archive *a, const mica_json *value) {
  if (mica_json_type_of(value) != MICA_JSON_OBJECT)
    return mica_fail(MICA_ERR_FORMAT, "%s: __metadata__: %s, expected an object", a->source.name,
                     mica_json_type_name(mica_json_type_of(value)));
  for (int64_t i = 0; i < mica_json_count(value); i++) {
    const char *text = mica_json_string(mica_json_item(value, i));
    if (!text)
      return mica_fail(MICA_ERR_FORMAT, "%s: __metadata__: %s: expected a string", a->source.name,
                       mica_json_name(value, i));
    mica_status status = mica_archive_add_text(a, mica_json_name(value, i), text);
    if (status) return status;
  }
  return MICA_OK;
}

/* By position; an empty tensor before the one that begins at the same place, then by name. */
static int by_offset(const void *pa, const void *pb) {
  const mica_archive_entry *a = pa, *b = pb;
  if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
  if (a->extent != b->extent) return a->extent < b->extent ? -1 : 1;
  return strcmp(a->name, b->name);
}

static mica_status check_cover(mica_archive *a, uint64_t data_at) {
  if (a->n) qsort(a->entry, (size_t)a->n, sizeof *a->entry, by_offset);
  uint64_t at = data_at;
  for (int64_t i = 0; i < a->n; i++) {
    const mica_archive_entry *e = &a->entry[i];
    if (e->offset < at)
      return mica_fail(MICA_ERR_FORMAT, "%s: tensor %s overlaps tensor %s", a->source.name, e->name,
                       a->entry[i - 1].name);
    if (e->offset > at)
      return mica_fail(MICA_ERR_FORMAT, "%s: %llu bytes before tensor %s belong to no tensor",
                       a->source.name, (unsigned long long)(e->offset - at), e->name);
    at = e->offset + e->extent;
  }
  if (at != a->source.size)
    return mica_fail(MICA_ERR_FORMAT, "%s: %llu bytes at the end belong to no tensor",
                     a->source.name, (unsigned long long)(a->source.size - at));
  return MICA_OK;
}

mica_status mica_archive_open_safetensors(mica_archive *a) {
  a->format = "safetensors";
  uint8_t length[8];
  mica_status status = mica_source_read(&a->source, 0, length, 8);
  if (status) return status;
  uint64_t header = mica_le64(length);
  if (header > a->source.size - 8)
    return mica_fail(MICA_ERR_FORMAT, "%s: header of %llu bytes, the file has %llu (truncated?)",
                     a->source.name, (unsigned long long)header,
                     (unsigned long long)a->source.size);
  if (header > HEADER_MAX)
    return mica_fail(MICA_ERR_FORMAT, "%s: header of %llu bytes, the format allows %u",
                     a->source.name, (unsigned long long)header, HEADER_MAX);
  char *text = mica_malloc((size_t)header);
  if (!text) return MICA_ERR_MEMORY;
  mica_json_doc *doc = NULL;
  status = mica_source_read(&a->source, 8, text, (size_t)header);
  if (!status && mica_json_parse(text, (size_t)header, &doc))
    status = mica_fail_within("%s: header", a->source.name);
  mica_free(text);
  if (status) return status;
  const mica_json *root = mica_json_root(doc);
  if (mica_json_type_of(root) != MICA_JSON_OBJECT)
    status = mica_fail(MICA_ERR_FORMAT, "%s: header: expected an object", a->source.name);
  uint64_t data_at = 8 + header;
  for (int64_t i = 0; !status && i < mica_json_count(root); i++) {
    const char *name = mica_json_name(root, i);
    const mica_json *value = mica_json_item(root, i);
    status = strcmp(name, "__metadata__") == 0
                 ? read_metadata(a, value)
                 : read_tensor(a, name, value, data_at, a->source.size - data_at);
  }
  mica_json_free(doc);
  return status ? status : check_cover(a, data_at);
}

/* ---- writing ---- */

typedef struct place {
  const mica_named_view *tensor;
  uint64_t bytes;
} place;

static int by_size_then_name(const void *pa, const void *pb) {
  const place *a = pa, *b = pb;
  size_t wa = mica_dtype_size(a->tensor->view.dtype), wb = mica_dtype_size(b->tensor->view.dtype);
  if (wa != wb) return wa > wb ? -1 : 1;
  return strcmp(a->tensor->name, b->tensor->name);
}

static int by_key(const void *a, const void *b) {
  return strcmp((*(const mica_text_pair *const *)a)->key, (*(const mica_text_pair *const *)b)->key);
}

static mica_status check_tensors(const mica_named_view *tensors, int64_t n, place *places) {
  for (int64_t i = 0; i < n; i++) {
    const mica_named_view *t = &tensors[i];
    size_t width = mica_dtype_size(t->view.dtype);
    int64_t count = mica_view_count(&t->view);
    if (strcmp(t->name, "__metadata__") == 0)
      return mica_fail(MICA_ERR_INVALID, "a tensor cannot be named __metadata__");
    if (!width || count < 0 || (count && !t->view.data))
      return mica_fail(MICA_ERR_INVALID, "tensor %s: not a valid view", t->name);
    places[i] = (place){t, (uint64_t)count * width};
  }
  if (n) qsort(places, (size_t)n, sizeof *places, by_size_then_name);
  return MICA_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

mica_status mica_check_names(const mica_named_view *tensors, int64_t n) {
  const char **names = mica_malloc((size_t)n * sizeof *names);
  if (!names) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  for (int64_t i = 0; !status && i < n; i++) {
    names[i] = tensors[i].name;
    if (!names[i]) status = mica_fail(MICA_ERR_INVALID, "tensor %lld has no name", (long long)i);
  }
  if (!status && n) qsort(names, (size_t)n, sizeof *names, by_name);
  for (int64_t i = 1; !status && i < n; i++)
    if (strcmp(names[i - 1], names[i]) == 0)
      status = mica_fail(MICA_ERR_INVALID, "two tensors are named %s", names[i]);
  mica_free(names);
  return status;
}

static mica_status write_metadata(mica_json_writer *w, const mica_text_pair *metadata, int64_t m) {
  const mica_text_pair **sorted = mica_malloc((size_t)m * sizeof *sorted);
  if (!sorted) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < m; i++) sorted[i] = &metadata[i];
  if (m) qsort(sorted, (size_t)m, sizeof *sorted, by_key);
  mica_status status = MICA_OK;
  mica_json_write_name(w, "__metadata__");
  mica_json_begin_object(w);
  for (int64_t i = 0; !status && i < m; i++) {
    if (i && strcmp(sorted[i - 1]->key, sorted[i]->key) == 0)
      status = mica_fail(MICA_ERR_INVALID, "metadata: %s is given twice", sorted[i]->key);
    mica_json_put_text(w, sorted[i]->key, sorted[i]->value ? sorted[i]->value : "");
  }
  mica_json_end_object(w);
  mica_free(sorted);
  return status;
}

static void write_entry(mica_json_writer *w, const place *p, uint64_t *at) {
  const mica_view *v = &p->tensor->view;
  const char *dtype = "";
  for (int i = 0; i < TYPES && !*dtype; i++)
    if (types[i].dtype == v->dtype) dtype = types[i].name;
  mica_json_write_name(w, p->tensor->name);
  mica_json_begin_object(w);
  mica_json_put_text(w, "dtype", dtype);
  mica_json_write_name(w, "shape");
  mica_json_begin_array(w);
  for (int d = 0; d < v->shape.rank; d++) mica_json_write_int(w, v->shape.dim[d]);
  mica_json_end_array(w);
  mica_json_write_name(w, "data_offsets");
  mica_json_begin_array(w);
  mica_json_write_uint(w, *at);
  mica_json_write_uint(w, *at += p->bytes);
  mica_json_end_array(w);
  mica_json_end_object(w);
}

mica_status mica_write_view(mica_writer *w, const mica_view *v) {
  size_t width = mica_dtype_size(v->dtype);
  if (mica_view_contiguous(v))
    return mica_writer_write(w, v->data, (size_t)mica_view_count(v) * width);
  size_t row = (size_t)mica_view_cols(v) * width, stride = (size_t)v->row_stride * width;
  mica_status status = MICA_OK;
  for (int64_t r = 0, rows = mica_view_rows(v); !status && r < rows; r++)
    status = mica_writer_write(w, (const uint8_t *)v->data + (size_t)r * stride, row);
  return status;
}

mica_status mica_safetensors_write(const char *path, const mica_named_view *tensors, int64_t n,
                                   const mica_text_pair *metadata, int64_t m) {
  if (!path || n < 0 || m < 0 || (n && !tensors) || (m && !metadata))
    return mica_fail(MICA_ERR_INVALID, "safetensors: no path, or a negative count");
  place *places = mica_malloc((size_t)n * sizeof *places);
  if (!places) return MICA_ERR_MEMORY;
  mica_bytes text = {0};
  mica_json_writer json = {.out = &text};
  mica_status status = mica_check_names(tensors, n);
  if (!status) status = check_tensors(tensors, n, places);
  mica_bytes_append(&text, "\0\0\0\0\0\0\0\0", 8);
  mica_json_begin_object(&json);
  if (!status && m) status = write_metadata(&json, metadata, m);
  uint64_t at = 0;
  for (int64_t i = 0; !status && i < n; i++) write_entry(&json, &places[i], &at);
  mica_json_end_object(&json);
  while (!text.status && text.n % 64) mica_bytes_byte(&text, ' ');
  if (!status) status = text.status;
  if (status) {
    mica_bytes_free(&text);
    mica_free(places);
    return mica_fail_within("%s", path);
  }
  for (int i = 0; i < 8; i++) text.data[i] = (char)((uint64_t)(text.n - 8) >> 8 * i & 0xff);
  mica_writer *w = NULL;
  status = mica_writer_open(path, &w);
  if (!status) status = mica_writer_write(w, text.data, text.n);
  for (int64_t i = 0; !status && i < n; i++) status = mica_write_view(w, &places[i].tensor->view);
  if (!status) status = mica_writer_commit(w);
  mica_writer_close(w);
  mica_bytes_free(&text);
  mica_free(places);
  return status;
}
