/* An index as a file: safetensors, laid out so that it can be written while rows still come in.
 *
 *     rows [N, D]       the storage type        at the first multiple of 64 bytes
 *     pad [p] uint8     so that the rest lies at multiples of 8
 *     norms [N] float64, ids [N] int64, labels [N] int64 (if any)
 *     name_offsets [N + 1] int64, names [bytes] uint8 (if any)
 *     state.*           what the component keeps, each behind a pad of its own where it needs one
 *     kept.*            tensors of whoever built it, likewise
 *
 * Metadata: index (the version of this layout), spec, metric, state (JSON), and texts under
 * "text.".
 * The header comes first but is known last: room is left for it and filled with spaces.
 */
#include "index/index.h"

#include "base/json.h"
#include "data/archive.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FORMAT  1
#define RESERVE 4096

/* ---- writing ---- */

typedef struct part {
  char name[96];
  mica_view view; /* data NULL: the rows, written already */
} part;

typedef struct parts {
  part *item;
  int64_t n, room;
  uint64_t at; /* bytes of data so far */
  mica_status status;
} parts;

static const uint8_t zeros[8];

static void add_part(parts *p, const char *name, mica_view view) {
  if (p->status) return;
  const uint64_t off = p->at % 8;
  if (off && view.dtype != MICA_U8) {
    char pad[24];
    snprintf(pad, sizeof pad, p->n == 1 ? "pad" : "pad%lld", (long long)p->n);
    add_part(p, pad,
             mica_view_of((void *)(uintptr_t)zeros, MICA_U8, MICA_SHAPE((int64_t)(8 - off))));
  }
  if (p->n == p->room) {
    part *grown = mica_realloc_array(p->item, (size_t)p->room + 16, sizeof *grown);
    if (!grown) {
      p->status = MICA_ERR_MEMORY;
      return;
    }
    p->item = grown;
    p->room += 16;
  }
  if (p->status) return;
  part *to = &p->item[p->n++];
  snprintf(to->name, sizeof to->name, "%s", name);
  to->view = view;
  p->at += (uint64_t)mica_shape_count(&view.shape) * mica_dtype_size(view.dtype);
}

static mica_view array_of(const void *data, mica_dtype dtype, int64_t n) {
  return mica_view_of((void *)(uintptr_t)data, dtype, MICA_SHAPE(n));
}

static void list_record(const mica_record *record, const char *prefix, parts *p) {
  for (int64_t i = 0; record && i < mica_record_count(record); i++) {
    const char *name;
    const mica_tensor *t = mica_record_at(record, i, &name);
    char full[96];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    add_part(p, full, mica_tensor_view(t));
  }
}

static void list_parts(const mica_index *x, const mica_record *record, parts *p) {
  const int64_t n = x->rows.n;
  add_part(p, "rows", mica_view_of(NULL, x->rows.dtype, MICA_SHAPE(n, x->rows.d)));
  add_part(p, "norms", array_of(x->rows.norm, MICA_F64, n));
  add_part(p, "ids", array_of(x->id, MICA_I64, n));
  if (x->label) add_part(p, "labels", array_of(x->label, MICA_I64, n));
  if (x->name_at) {
    add_part(p, "name_offsets", array_of(x->name_at, MICA_I64, n + 1));
    add_part(p, "names", array_of(x->names, MICA_U8, x->name_at[n]));
  }
  list_record(record, "state", p);
  list_record(x->tensors, "kept", p);
}

static const char *dtype_name(mica_dtype dtype) {
  static const char *const names[MICA_DTYPE_COUNT] = {
      [MICA_F32] = "F32", [MICA_F64] = "F64",  [MICA_BF16] = "BF16", [MICA_F16] = "F16",
      [MICA_I8] = "I8",   [MICA_I16] = "I16",  [MICA_I32] = "I32",   [MICA_I64] = "I64",
      [MICA_U8] = "U8",   [MICA_BOOL] = "BOOL"};
  return names[dtype];
}

static void put_part(mica_json_writer *w, const part *p, uint64_t *at) {
  const mica_shape *s = &p->view.shape;
  mica_json_write_name(w, p->name);
  mica_json_begin_object(w);
  mica_json_put_text(w, "dtype", dtype_name(p->view.dtype));
  mica_json_write_name(w, "shape");
  mica_json_begin_array(w);
  for (int d = 0; d < s->rank; d++) mica_json_write_int(w, s->dim[d]);
  mica_json_end_array(w);
  mica_json_write_name(w, "data_offsets");
  mica_json_begin_array(w);
  mica_json_write_uint(w, *at);
  *at += (uint64_t)mica_shape_count(s) * mica_dtype_size(p->view.dtype);
  mica_json_write_uint(w, *at);
  mica_json_end_array(w);
  mica_json_end_object(w);
}

/* The length and the JSON, padded to a multiple of 64 bytes and at least to `reserve`. */
static mica_status make_header(const mica_index *x, const mica_record *record, const parts *p,
                               size_t reserve, mica_bytes *out) {
  char *spec = mica_spec_text(x->spec);
  if (!spec) return MICA_ERR_MEMORY;
  mica_json_writer w = {.out = out};
  mica_bytes_append(out, zeros, 8);
  mica_json_begin_object(&w);
  mica_json_write_name(&w, "__metadata__");
  mica_json_begin_object(&w);
  char format[16];
  snprintf(format, sizeof format, "%d", FORMAT);
  mica_json_put_text(&w, "index", format);
  mica_json_put_text(&w, "spec", spec);
  mica_json_put_text(&w, "metric", mica_index_metric_name(x->rows.metric));
  if (record) mica_json_put_text(&w, "state", mica_record_json(record));
  for (int64_t i = 0; i < x->texts; i++) {
    char key[128];
    snprintf(key, sizeof key, "text.%s", x->text[i].key);
    mica_json_put_text(&w, key, x->text[i].value);
  }
  mica_json_end_object(&w);
  uint64_t at = 0;
  for (int64_t i = 0; i < p->n; i++) put_part(&w, &p->item[i], &at);
  mica_json_end_object(&w);
  mica_free(spec);
  while (!out->status && (out->n % 64 || out->n < reserve)) mica_bytes_byte(out, ' ');
  if (out->status) return out->status;
  for (int i = 0; i < 8; i++) out->data[i] = (char)((uint64_t)(out->n - 8) >> 8 * i & 0xff);
  return MICA_OK;
}

mica_status mica_index_file_begin(const mica_index *index, const char *path, mica_writer **out,
                                  size_t *reserve) {
  char *spec = mica_spec_text(index->spec);
  size_t n = RESERVE + (spec ? 6 * strlen(spec) : 0);
  for (int64_t i = 0; i < index->texts; i++)
    n += 6 * (strlen(index->text[i].key) + strlen(index->text[i].value)) + 16;
  *reserve = (n + 63) / 64 * 64;
  *out = NULL;
  char *room = spec ? mica_calloc(*reserve, 1) : NULL;
  mica_status status = room ? mica_writer_open(path, out) : MICA_ERR_MEMORY;
  if (!status) status = mica_writer_write(*out, room, *reserve);
  mica_free(room);
  mica_free(spec);
  return status;
}

static mica_status write_parts(mica_writer *writer, const parts *p) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < p->n && !status; i++)
    if (p->item[i].view.data) status = mica_write_view(writer, &p->item[i].view);
  return status;
}

mica_status mica_index_state(const mica_index *index, mica_record **record) {
  *record = NULL;
  if (!index->state || !index->fn->save) return MICA_OK;
  mica_status status = mica_record_create(record);
  if (!status) status = index->fn->save(index->state, *record);
  if (!status) return MICA_OK;
  mica_record_free(*record);
  *record = NULL;
  return status;
}

mica_status mica_index_file_end(const mica_index *index, const mica_record *record,
                                mica_writer *writer, size_t reserve) {
  parts p = {0};
  mica_bytes header = {0};
  list_parts(index, record, &p);
  mica_status status = p.status ? p.status : make_header(index, record, &p, reserve, &header);
  if (!status && header.n != reserve)
    status = mica_fail(MICA_ERR_STATE, "index: a header of %zu bytes in a room of %zu", header.n,
                       reserve);
  if (!status) status = write_parts(writer, &p);
  if (!status) status = mica_writer_patch(writer, 0, header.data, header.n);
  if (!status) status = mica_writer_commit(writer);
  mica_bytes_free(&header);
  mica_free(p.item);
  return status;
}

mica_status mica_index_save(const mica_index *index, const char *path) {
  parts p = {0};
  mica_bytes header = {0};
  mica_record *record = NULL;
  mica_writer *writer = NULL;
  mica_status status = mica_index_state(index, &record);
  if (!status) {
    list_parts(index, record, &p);
    status = p.status ? p.status : make_header(index, record, &p, 0, &header);
  }
  if (!status) status = mica_writer_open(path, &writer);
  if (!status) status = mica_writer_write(writer, header.data, header.n);
  if (!status)
    status = mica_writer_write(writer, index->rows.x,
                               (size_t)(index->rows.n * index->rows.d) *
                                   mica_dtype_size(index->rows.dtype));
  if (!status) status = write_parts(writer, &p);
  if (!status) status = mica_writer_commit(writer);
  mica_writer_close(writer);
  mica_record_free(record);
  mica_bytes_free(&header);
  mica_free(p.item);
  return status;
}

/* ---- opening ---- */

/* The bytes of a tensor of the file, in place: of this type and shape, and aligned to it. */
static mica_status find_part(const mica_archive *a, const uint8_t *bytes, const char *name,
                             mica_dtype dtype, mica_shape shape, const void **out) {
  char want[96], got[160];
  const int64_t at = mica_archive_find(a, name);
  *out = NULL;
  if (at < 0)
    return mica_fail(MICA_ERR_FORMAT, "%s: no tensor '%s': not an index, or half of one",
                     mica_archive_path(a), name);
  const mica_archive_entry *e = &a->entry[at];
  if (e->dtype != dtype || e->element != MICA_ELEMENT_PLAIN || !mica_shape_equal(&e->shape, &shape))
    return mica_fail(MICA_ERR_FORMAT, "%s: tensor '%s' is %s %s, expected %s %s",
                     mica_archive_path(a), name, mica_dtype_name(e->dtype),
                     mica_shape_text(&e->shape, got, sizeof got), mica_dtype_name(dtype),
                     mica_shape_text(&shape, want, sizeof want));
  if (e->offset % mica_dtype_size(dtype))
    return mica_fail(MICA_ERR_FORMAT, "%s: tensor '%s' is not aligned", mica_archive_path(a), name);
  *out = bytes + e->offset;
  return MICA_OK;
}

static mica_status open_rows(mica_index *x, const uint8_t *bytes) {
  const mica_archive *a = x->archive;
  const int64_t at = mica_archive_find(a, "rows");
  const mica_shape *s = at < 0 ? NULL : mica_archive_shape(a, at);
  if (!s || s->rank != 2 || s->dim[0] < 1 || s->dim[1] != x->rows.d)
    return mica_fail(MICA_ERR_FORMAT, "%s: no tensor 'rows' of [rows, columns]",
                     mica_archive_path(a));
  const int64_t n = x->rows.n = s->dim[0];
  const void *p = NULL;
  mica_status status = find_part(a, bytes, "rows", x->rows.dtype, *s, &x->rows.x);
  if (!status) status = find_part(a, bytes, "norms", MICA_F64, MICA_SHAPE(n), &p);
  x->rows.norm = p;
  if (!status) status = find_part(a, bytes, "ids", MICA_I64, MICA_SHAPE(n), &p);
  x->id = p;
  if (!status && mica_archive_find(a, "labels") >= 0) {
    status = find_part(a, bytes, "labels", MICA_I64, MICA_SHAPE(n), &p);
    x->label = p;
  }
  for (int64_t i = 0; i < n && !status; i++) {
    if (!(x->rows.norm[i] >= 0 && x->rows.norm[i] <= 1e300))
      status = mica_fail(MICA_ERR_FORMAT, "%s: norm %g of row %lld", mica_archive_path(a),
                         x->rows.norm[i], (long long)i);
    else if (x->id[i] < 0 || (x->label && x->label[i] < MICA_CLASS_NONE))
      status = mica_fail(MICA_ERR_FORMAT, "%s: row %lld has a negative id or label",
                         mica_archive_path(a), (long long)i);
  }
  return status;
}

static mica_status open_names(mica_index *x, const uint8_t *bytes) {
  const mica_archive *a = x->archive;
  const int64_t n = x->rows.n;
  const void *p = NULL;
  if (mica_archive_find(a, "name_offsets") < 0) return MICA_OK;
  mica_status status = find_part(a, bytes, "name_offsets", MICA_I64, MICA_SHAPE(n + 1), &p);
  if (status) return status;
  const int64_t *at = p, all = at[n];
  bool ascends = at[0] == 0;
  for (int64_t i = 0; i < n && ascends; i++) ascends = at[i] <= at[i + 1];
  if (!ascends)
    return mica_fail(MICA_ERR_FORMAT, "%s: name_offsets do not ascend from 0",
                     mica_archive_path(a));
  status = find_part(a, bytes, "names", MICA_U8, MICA_SHAPE(all), &p);
  if (status) return status;
  x->name_at = at;
  x->names = p;
  return MICA_OK;
}

static mica_status open_texts(mica_index *x) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < mica_archive_metadata_count(x->archive) && !status; i++) {
    const char *key = mica_archive_metadata_key(x->archive, i);
    if (strncmp(key, "text.", 5) == 0)
      status = mica_index_put_text(x, key + 5, mica_archive_metadata_value(x->archive, i));
  }
  return status;
}

/* The tensors whose names begin so, in the file's memory. */
static mica_status open_record(const mica_archive *a, const uint8_t *bytes, const char *prefix,
                               mica_record **out) {
  mica_record *record = NULL;
  mica_status status = mica_record_create(&record);
  for (int64_t i = 0; i < mica_archive_count(a) && !status; i++) {
    const char *name = mica_archive_name(a, i);
    const void *data = NULL;
    mica_tensor *t = NULL;
    if (strncmp(name, prefix, strlen(prefix)) != 0) continue;
    const mica_shape *shape = mica_archive_shape(a, i);
    status = find_part(a, bytes, name, mica_archive_dtype(a, i), *shape, &data);
    if (!status)
      status = mica_tensor_wrap((void *)(uintptr_t)data, mica_archive_dtype(a, i), *shape, NULL,
                                NULL, &t);
    if (!status) status = mica_record_put(record, name + strlen(prefix), t);
    mica_tensor_free(t);
  }
  *out = status ? NULL : record;
  if (status) mica_record_free(record);
  return status;
}

static mica_status open_state(mica_index *x, const uint8_t *bytes) {
  mica_status status = open_record(x->archive, bytes, "kept.", &x->tensors);
  if (!status && !mica_record_count(x->tensors)) {
    mica_record_free(x->tensors);
    x->tensors = NULL;
  }
  if (status || !x->fn->load) return status;
  mica_record *record;
  const char *json = mica_archive_metadata(x->archive, "state");
  status = open_record(x->archive, bytes, "state.", &record);
  if (!status && json) status = mica_record_set_json(record, json);
  if (!status)
    status = x->fn->load(x->engine, mica_index_options_of(x), &x->rows, record, &x->state);
  mica_record_free(record);
  return status;
}

static mica_status check_format(const mica_archive *a) {
  const char *format = mica_archive_metadata(a, "index");
  char expected[16];
  snprintf(expected, sizeof expected, "%d", FORMAT);
  if (strcmp(mica_archive_format(a), "safetensors") != 0 || !format)
    return mica_fail(MICA_ERR_FORMAT, "%s: not an index file (`mica search build` makes one)",
                     mica_archive_path(a));
  if (strcmp(format, expected) != 0)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: index format %s, this library reads %s",
                     mica_archive_path(a), format, expected);
  return MICA_OK;
}

/* Takes the archive over, and the mapping when the index comes about. */
static mica_status open_archive(const mica_engine *engine, mica_archive *a, const uint8_t *bytes,
                                mica_index **out) {
  mica_index *x = NULL;
  mica_status status = check_format(a);
  const char *spec = mica_archive_metadata(a, "spec");
  const int64_t at = mica_archive_find(a, "rows");
  const mica_shape *shape = at < 0 ? NULL : mica_archive_shape(a, at);
  if (!status && (!spec || !shape || shape->rank != 2))
    status = mica_fail(MICA_ERR_FORMAT,
                       "%s: no specification, or no tensor 'rows' of "
                       "[rows, columns]",
                       mica_archive_path(a));
  if (!status && mica_index_begin(engine, spec, shape->dim[1], &x))
    status = mica_fail_within("%s", mica_archive_path(a));
  if (status) {
    mica_archive_close(a);
    return status;
  }
  x->archive = a;
  const char *metric = mica_archive_metadata(a, "metric");
  if (!metric || strcmp(metric, mica_index_metric_name(x->rows.metric)) != 0)
    status = mica_fail(MICA_ERR_FORMAT, "%s: metric '%s', the specification says %s",
                       mica_archive_path(a), metric ? metric : "",
                       mica_index_metric_name(x->rows.metric));
  if (!status) status = open_rows(x, bytes);
  if (!status) status = open_names(x, bytes);
  if (!status) status = open_texts(x);
  if (!status) status = mica_index_complete(x);
  if (!status) status = open_state(x, bytes);
  if (status) {
    mica_index_free(x);
    return status;
  }
  *out = x;
  return MICA_OK;
}

mica_status mica_index_open_memory(const mica_engine *engine, const void *bytes, size_t n,
                                   const char *name, mica_index **out) {
  mica_archive *a = NULL;
  *out = NULL;
  if ((uintptr_t)bytes % 8)
    return mica_fail(MICA_ERR_INVALID, "%s: memory that is not aligned to 8 bytes", name);
  mica_status status = mica_archive_open_memory(bytes, n, name, &a);
  return status ? status : open_archive(engine, a, bytes, out);
}

mica_status mica_index_open(const mica_engine *engine, const char *path, mica_index **out) {
  mica_archive *a = NULL;
  mica_mapping map;
  *out = NULL;
  mica_status status = mica_file_map(path, &map);
  if (status) return status;
  status = mica_archive_open_memory(map.bytes, map.n, path, &a);
  if (!status) status = open_archive(engine, a, map.bytes, out);
  if (status)
    mica_file_unmap(&map);
  else
    (*out)->map = map;
  return status;
}
