/* Packed tables: making, looking up, files. */
#include "embedding/packed.h"

#include "tensor/dtype.h"

#include <mica/data.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mica_packed_form *const forms[] = {
    &mica_packed_rows,    &mica_packed_pairs,  &mica_packed_train,   &mica_packed_network,
    &mica_packed_windows, &mica_packed_blocks, &mica_packed_codes,   &mica_packed_narrow,
    &mica_packed_sparse,  &mica_packed_prefix, &mica_packed_integer, &mica_packed_grouped,
};
#define N_FORMS ((int)(sizeof forms / sizeof *forms))

mica_status mica_packed_create(int64_t fields, const int64_t *size, int64_t width,
                               mica_packed_embedding **out) {
  mica_packed_embedding *p = mica_calloc(1, sizeof *p);
  *out = NULL;
  if (!p) return MICA_ERR_MEMORY;
  p->size = mica_calloc((size_t)fields * 2 + 1, sizeof *p->size);
  if (!p->size) {
    mica_free(p);
    return MICA_ERR_MEMORY;
  }
  p->offset = p->size + fields;
  p->fields = fields;
  p->width = width;
  for (int64_t f = 0; f < fields; f++) {
    p->size[f] = size[f];
    p->offset[f + 1] = p->offset[f] + size[f];
  }
  p->rows = p->offset[fields];
  *out = p;
  return MICA_OK;
}

void mica_packed_embedding_free(mica_packed_embedding *p) {
  if (!p) return;
  for (int i = 0; i < MICA_PACKED_ARRAYS; i++) mica_tensor_free(p->array[i]);
  mica_free(p->derived);
  mica_free(p->size);
  mica_free(p);
}

void *mica_packed_array(mica_packed_embedding *p, int i, int64_t n) {
  mica_tensor_free(p->array[i]);
  p->array[i] = NULL;
  return mica_tensor_create(p->form->dtype[i], MICA_SHAPE(n), &p->array[i]) == MICA_OK
             ? mica_tensor_data(p->array[i])
             : NULL;
}

mica_status mica_packed_copy(mica_packed_embedding *p, int i, const mica_param *q) {
  const mica_tensor *value = mica_param_value(q);
  if (!mica_packed_array(p, i, mica_tensor_count(value))) return MICA_ERR_MEMORY;
  const mica_view to = mica_tensor_view(p->array[i]);
  mica_view from = mica_tensor_view(value);
  from.shape = to.shape;
  from.row_stride = to.row_stride;
  return mica_view_copy(&to, &from);
}

mica_status mica_packed_wrong(const mica_packed_embedding *p, const char *what) {
  return mica_fail(MICA_ERR_FORMAT, "packed table (%s): %s", p->form->name, what);
}

/* ---- numbers of a few bits ---- */

int mica_bits_for(int64_t values) {
  int bits = 1;
  while (bits < 40 && (int64_t)1 << bits < values) bits++;
  return bits;
}

/* With room to read 8 bytes from any of them. */
int64_t mica_bits_bytes(int64_t n, int bits) {
  return (n * bits + 7) / 8 + 7;
}

static uint64_t window(const uint8_t *at) {
  uint64_t word = 0;
  for (int i = 0; i < 8; i++) word |= (uint64_t)at[i] << 8 * i;
  return word;
}

void mica_bits_put(uint8_t *at, int64_t i, int bits, uint64_t value) {
  const int64_t bit = i * bits;
  at += bit / 8;
  const int shift = (int)(bit % 8);
  const uint64_t mask = (((uint64_t)1 << bits) - 1) << shift;
  const uint64_t word = (window(at) & ~mask) | (value << shift & mask);
  for (int k = 0; k < 8; k++) at[k] = (uint8_t)(word >> 8 * k);
}

uint64_t mica_bits_get(const uint8_t *at, int64_t i, int bits) {
  const int64_t bit = i * bits;
  return window(at + bit / 8) >> bit % 8 & (((uint64_t)1 << bits) - 1);
}

/* ---- lookups ---- */

typedef struct lookup_job {
  const mica_packed_embedding *p;
  const int64_t *ids;
  int64_t n;
  bool rows; /* ids are rows of the whole table */
  float *out;
} lookup_job;

#define LOOKUPS 256

static int64_t field_of(const mica_packed_embedding *p, int64_t row) {
  int64_t lo = 0, hi = p->fields - 1;
  while (lo < hi) {
    const int64_t middle = lo + (hi - lo + 1) / 2;
    if (p->offset[middle] <= row)
      lo = middle;
    else
      hi = middle - 1;
  }
  return lo;
}

static void lookup_range(void *ctx, int64_t begin, int64_t end) {
  const lookup_job *j = ctx;
  const mica_packed_embedding *p = j->p;
  const int64_t last = end * LOOKUPS < j->n ? end * LOOKUPS : j->n;
  for (int64_t i = begin * LOOKUPS; i < last; i++) {
    const int64_t f = j->rows ? field_of(p, j->ids[i]) : i % p->fields;
    p->form->row(p, f, j->rows ? j->ids[i] - p->offset[f] : j->ids[i], j->out + i * p->width);
  }
}

static mica_status look_up(const mica_engine *engine, lookup_job *j) {
  const mica_packed_embedding *p = j->p;
  for (int64_t i = 0; i < j->n; i++) {
    const int64_t limit = j->rows ? p->rows : p->size[i % p->fields];
    if (j->ids[i] < 0 || j->ids[i] >= limit)
      return mica_fail(MICA_ERR_INVALID, "id %lld (number %lld), expected 0 or more and below %lld",
                       (long long)j->ids[i], (long long)i, (long long)limit);
  }
  mica_parallel_for(engine, (j->n + LOOKUPS - 1) / LOOKUPS, lookup_range, j);
  return MICA_OK;
}

mica_status mica_packed_embedding_lookup(const mica_packed_embedding *p, const mica_engine *engine,
                                         int64_t n, const int64_t *ids, float *out) {
  lookup_job j = {p, ids, n * p->fields, false, out};
  return look_up(engine, &j);
}

mica_status mica_packed_embedding_rows(const mica_packed_embedding *p, const mica_engine *engine,
                                       int64_t n, const int64_t *rows, float *out) {
  lookup_job j = {p, rows, n, true, out};
  return look_up(engine, &j);
}

void mica_packed_embedding_describe(const mica_packed_embedding *p, mica_embedding_facts *out) {
  *out = (mica_embedding_facts){p->fields, p->width, p->rows, 4 * p->rows * p->width, 0, 0, 0, 0};
  for (int i = 0; i < MICA_PACKED_ARRAYS; i++)
    if (p->array[i])
      out->bytes +=
          mica_tensor_count(p->array[i]) * (int64_t)mica_dtype_size(mica_tensor_dtype(p->array[i]));
  out->rate = (double)out->bytes / (double)out->full_bytes;
}

const char *mica_packed_embedding_form(const mica_packed_embedding *p) {
  return p->form->name;
}

/* ---- files ---- */

mica_status mica_packed_embedding_save(const mica_packed_embedding *p, const char *path) {
  mica_named_view view[MICA_PACKED_ARRAYS + 2];
  int64_t n = 0, head[MICA_PACKED_SETTINGS + 1];
  head[0] = p->width;
  memcpy(head + 1, p->setting, sizeof p->setting);
  view[n++] =
      (mica_named_view){"table.fields", mica_view_of(p->size, MICA_I64, MICA_SHAPE(p->fields))};
  view[n++] = (mica_named_view){"table.settings",
                                mica_view_of(head, MICA_I64, MICA_SHAPE(MICA_PACKED_SETTINGS + 1))};
  for (int i = 0; i < MICA_PACKED_ARRAYS; i++)
    if (p->array[i])
      view[n++] = (mica_named_view){p->form->array[i], mica_tensor_view(p->array[i])};
  const mica_text_pair about = {"mica.embedding", p->form->name};
  return mica_safetensors_write(path, view, n, &about, 1);
}

static mica_status read_integers(const mica_archive *a, const char *name, int64_t least,
                                 mica_tensor **out) {
  const int64_t i = mica_archive_find(a, name);
  if (i < 0 || mica_archive_dtype(a, i) != MICA_I64 || mica_archive_shape(a, i)->rank != 1 ||
      mica_archive_shape(a, i)->dim[0] < least)
    return mica_fail(MICA_ERR_FORMAT, "%s: expected int64 '%s' [%lld or more]",
                     mica_archive_path(a), name, (long long)least);
  return mica_archive_read(a, i, out);
}

static mica_status read_array(const mica_archive *a, mica_packed_embedding *p, int i) {
  const char *name = p->form->array[i];
  const int64_t at = mica_archive_find(a, name);
  if (at < 0 || mica_archive_dtype(a, at) != p->form->dtype[i] ||
      mica_archive_shape(a, at)->rank != 1)
    return mica_fail(MICA_ERR_FORMAT, "%s: expected %s '%s' of one dimension", mica_archive_path(a),
                     mica_dtype_name(p->form->dtype[i]), name);
  return mica_archive_read(a, at, &p->array[i]);
}

static mica_status read_packed(const mica_archive *a, const mica_packed_form *form,
                               const mica_tensor *fields, const mica_tensor *settings,
                               mica_packed_embedding **out) {
  const int64_t *size = mica_tensor_data(fields), *head = mica_tensor_data(settings);
  const int64_t n = mica_tensor_count(fields);
  int64_t rows = 0;
  for (int64_t f = 0; f < n; f++) {
    if (size[f] < 1 || size[f] > ((int64_t)1 << 40) - rows)
      return mica_fail(MICA_ERR_FORMAT, "%s: field %lld has %lld values", mica_archive_path(a),
                       (long long)f, (long long)size[f]);
    rows += size[f];
  }
  if (head[0] < 1 || head[0] > 1 << 16)
    return mica_fail(MICA_ERR_FORMAT, "%s: vectors of %lld numbers", mica_archive_path(a),
                     (long long)head[0]);
  mica_status status = mica_packed_create(n, size, head[0], out);
  if (status != MICA_OK) return status;
  (*out)->form = form;
  memcpy((*out)->setting, head + 1, sizeof(*out)->setting);
  for (int i = 0; i < MICA_PACKED_ARRAYS && form->array[i] && status == MICA_OK; i++)
    status = read_array(a, *out, i);
  return status == MICA_OK ? form->check(*out) : status;
}

static mica_status read_archive(const mica_archive *a, mica_packed_embedding **out) {
  mica_tensor *fields = NULL, *settings = NULL;
  mica_packed_embedding *p = NULL;
  const mica_packed_form *form = NULL;
  const char *name = mica_archive_metadata(a, "mica.embedding");
  mica_status status = MICA_OK;
  for (int i = 0; name && i < N_FORMS; i++)
    if (strcmp(forms[i]->name, name) == 0) form = forms[i];
  if (!form)
    status = mica_fail(name ? MICA_ERR_UNSUPPORTED : MICA_ERR_FORMAT,
                       "%s: %s%.80s, expected a packed table", mica_archive_path(a),
                       name ? "a table of the form " : "no table", name ? name : "");
  if (status == MICA_OK) status = read_integers(a, "table.fields", 1, &fields);
  if (status == MICA_OK)
    status = read_integers(a, "table.settings", MICA_PACKED_SETTINGS + 1, &settings);
  if (status == MICA_OK) status = read_packed(a, form, fields, settings, &p);
  mica_tensor_free(fields);
  mica_tensor_free(settings);
  if (status != MICA_OK) {
    mica_packed_embedding_free(p);
    return status;
  }
  *out = p;
  return MICA_OK;
}

static mica_status open_archive(mica_status status, mica_archive *a, mica_packed_embedding **out) {
  *out = NULL;
  if (status != MICA_OK) return status;
  status = read_archive(a, out);
  mica_archive_close(a);
  return status;
}

mica_status mica_packed_embedding_open(const char *path, mica_packed_embedding **out) {
  mica_archive *a = NULL;
  const mica_status status = mica_archive_open(path, &a);
  return open_archive(status, a, out);
}

mica_status mica_packed_embedding_open_memory(const void *bytes, size_t n, const char *name,
                                              mica_packed_embedding **out) {
  mica_archive *a = NULL;
  const mica_status status = mica_archive_open_memory(bytes, n, name, &a);
  return open_archive(status, a, out);
}
