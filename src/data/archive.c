/* Archives: one reader's face for safetensors, npz, npy and PyTorch files. */
#include "data/archive.h"

#include <stdlib.h>
#include <string.h>

/* ---- the directory ---- */

mica_status mica_archive_add(mica_archive *a, const mica_archive_entry *entry) {
  if (a->n == a->capacity) {
    int64_t capacity = a->capacity ? a->capacity * 2 : 256;
    mica_archive_entry *grown = mica_realloc_array(a->entry, (size_t)capacity, sizeof *grown);
    if (!grown) {
      mica_free(entry->name);
      return MICA_ERR_MEMORY;
    }
    a->entry = grown;
    a->capacity = capacity;
  }
  a->entry[a->n++] = *entry;
  return MICA_OK;
}

mica_status mica_archive_add_text(mica_archive *a, const char *key, const char *value) {
  if (a->pairs == a->pairs_capacity) {
    int64_t capacity = a->pairs_capacity ? a->pairs_capacity * 2 : 16;
    mica_text_pair *grown = mica_realloc_array(a->pair, (size_t)capacity, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    a->pair = grown;
    a->pairs_capacity = capacity;
  }
  char *k = mica_strdup(key), *v = mica_strdup(value);
  if (!k || !v) {
    mica_free(k);
    mica_free(v);
    return MICA_ERR_MEMORY;
  }
  a->pair[a->pairs++] = (mica_text_pair){k, v};
  return MICA_OK;
}

mica_status mica_archive_extent(const mica_archive *a, const char *name, const mica_shape *shape,
                                size_t element_bytes, uint64_t *extent) {
  int64_t count = mica_shape_count(shape);
  char text[160];
  if (count < 0 || (uint64_t)count > (UINT64_MAX >> 2) / element_bytes)
    return mica_fail(MICA_ERR_FORMAT, "%s: tensor %s: shape %s is negative or too large",
                     a->source.name, name, mica_shape_text(shape, text, sizeof text));
  *extent = (uint64_t)count * element_bytes;
  return MICA_OK;
}

typedef struct named {
  const char *name;
  int64_t i;
} named;

static int by_name(const void *a, const void *b) {
  return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

/* Sort the names for look-up; a name twice is an error. */
static mica_status index_names(mica_archive *a) {
  named *list = mica_malloc((size_t)a->n * sizeof *list);
  a->order = mica_malloc((size_t)a->n * sizeof *a->order);
  mica_status status = list && a->order ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    for (int64_t i = 0; i < a->n; i++) list[i] = (named){a->entry[i].name, i};
    qsort(list, (size_t)a->n, sizeof *list, by_name);
    for (int64_t i = 0; i < a->n; i++) a->order[i] = list[i].i;
    for (int64_t i = 1; !status && i < a->n; i++)
      if (strcmp(list[i - 1].name, list[i].name) == 0)
        status = mica_fail(MICA_ERR_FORMAT, "%s: two tensors are named %s", a->source.name,
                           list[i].name);
  }
  mica_free(list);
  return status;
}

static bool in_zip(const mica_archive *a, const char *ending) {
  for (int64_t i = 0; i < a->zip.n; i++) {
    size_t n = strlen(a->zip.member[i].name), e = strlen(ending);
    if (n >= e && strcmp(a->zip.member[i].name + n - e, ending) == 0) return true;
  }
  return false;
}

static mica_status open_directory(mica_archive *a) {
  uint8_t head[64] = {0};
  size_t n = a->source.size < sizeof head ? (size_t)a->source.size : sizeof head;
  mica_status status = mica_source_read(&a->source, 0, head, n);
  if (status) return status;
  if (mica_is_npy(head, n)) return mica_archive_open_npy(a);
  if (mica_is_torch_old(head, n)) return mica_archive_open_torch_old(a);
  if (n >= 4 && (mica_le32(head) == 0x04034b50 || mica_le32(head) == 0x06054b50)) {
    status = mica_zip_open(&a->source, &a->zip);
    if (status) return status;
    if (in_zip(a, "data.pkl")) return mica_archive_open_torch_zip(a);
    if (a->zip.n == 0 || in_zip(a, ".npy")) return mica_archive_open_npz(a);
    return mica_fail(MICA_ERR_FORMAT, "%s: a zip file with neither .npy members nor a data.pkl",
                     a->source.name);
  }
  /* A safetensors file begins with the length of its JSON. */
  if (n >= 9 && head[8] == '{') return mica_archive_open_safetensors(a);
  if (n == 0) return mica_fail(MICA_ERR_FORMAT, "%s: the file is empty", a->source.name);
  return mica_fail(MICA_ERR_FORMAT,
                   "%s: not a tensor file: expected safetensors, npz, npy or a PyTorch file",
                   a->source.name);
}

static mica_status finish_open(mica_archive *a, mica_status status, mica_archive **out) {
  if (!status) status = open_directory(a);
  if (!status) status = index_names(a);
  if (status) {
    mica_archive_close(a);
    return status;
  }
  *out = a;
  return MICA_OK;
}

mica_status mica_archive_open(const char *path, mica_archive **out) {
  *out = NULL;
  mica_archive *a = mica_calloc(1, sizeof *a);
  if (!a) return MICA_ERR_MEMORY;
  return finish_open(a, mica_source_open(path, &a->source), out);
}

mica_status mica_archive_open_memory(const void *bytes, size_t n, const char *name,
                                     mica_archive **out) {
  *out = NULL;
  mica_archive *a = mica_calloc(1, sizeof *a);
  if (!a) return MICA_ERR_MEMORY;
  return finish_open(a, mica_source_memory(bytes, n, name, &a->source), out);
}

void mica_archive_close(mica_archive *a) {
  if (!a) return;
  for (int64_t i = 0; i < a->n; i++) mica_free(a->entry[i].name);
  for (int64_t i = 0; i < a->pairs; i++) {
    mica_free((char *)a->pair[i].key);
    mica_free((char *)a->pair[i].value);
  }
  mica_free(a->entry);
  mica_free(a->pair);
  mica_free(a->order);
  mica_archive_unmap(a);
  mica_zip_close(&a->zip);
  mica_source_close(&a->source);
  mica_free(a);
}

static bool valid(const mica_archive *a, int64_t i) {
  return a && i >= 0 && i < a->n;
}

const char *mica_archive_format(const mica_archive *a) {
  return a->format;
}
const char *mica_archive_path(const mica_archive *a) {
  return a->source.name;
}
int64_t mica_archive_count(const mica_archive *a) {
  return a->n;
}
const char *mica_archive_name(const mica_archive *a, int64_t i) {
  return valid(a, i) ? a->entry[i].name : NULL;
}
mica_dtype mica_archive_dtype(const mica_archive *a, int64_t i) {
  return valid(a, i) ? a->entry[i].dtype : MICA_DTYPE_COUNT;
}
const mica_shape *mica_archive_shape(const mica_archive *a, int64_t i) {
  return valid(a, i) ? &a->entry[i].shape : NULL;
}

int64_t mica_archive_find(const mica_archive *a, const char *name) {
  int64_t lo = 0, hi = a->n;
  while (lo < hi) {
    int64_t mid = lo + (hi - lo) / 2;
    int order = strcmp(a->entry[a->order[mid]].name, name);
    if (order == 0) return a->order[mid];
    if (order < 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  return -1;
}

int64_t mica_archive_metadata_count(const mica_archive *a) {
  return a->pairs;
}
const char *mica_archive_metadata_key(const mica_archive *a, int64_t i) {
  return i >= 0 && i < a->pairs ? a->pair[i].key : NULL;
}
const char *mica_archive_metadata_value(const mica_archive *a, int64_t i) {
  return i >= 0 && i < a->pairs ? a->pair[i].value : NULL;
}
const char *mica_archive_metadata(const mica_archive *a, const char *key) {
  for (int64_t i = 0; i < a->pairs; i++)
    if (strcmp(a->pair[i].key, key) == 0) return a->pair[i].value;
  return NULL;
}

/* ---- reading ---- */

static mica_status fetch(const mica_archive *a, const mica_archive_entry *e, uint64_t from,
                         void *to, size_t n) {
  mica_status status =
      e->member < 0 ? mica_source_read(&a->source, e->offset + from, to, n)
                    : mica_zip_extract(&a->zip, &a->zip.member[e->member], e->offset + from, to, n);
  return status ? mica_fail_within("tensor %s", e->name) : MICA_OK;
}

static void swap_bytes(uint8_t *p, size_t n, size_t width) {
  for (size_t i = 0; i < n; i++, p += width)
    for (size_t k = 0; k < width / 2; k++) {
      uint8_t byte = p[k];
      p[k] = p[width - 1 - k];
      p[width - 1 - k] = byte;
    }
}

/* The 8-bit floats have a 3 or 2-bit mantissa and fit in float16, subnormal ones as normal numbers.
 */
static uint16_t e4m3_to_f16(uint8_t v) {
  uint16_t sign = (uint16_t)((v & 0x80) << 8);
  int exponent = v >> 3 & 15, mantissa = v & 7;
  if (exponent == 15 && mantissa == 7) return sign | 0x7e00; /* NaN */
  if (exponent == 0) {
    if (!mantissa) return sign;
    /* mantissa * 2^-9: make the leading bit implicit */
    int shift = mantissa >= 4 ? 0 : mantissa >= 2 ? 1 : 2;
    return (uint16_t)(sign | (15 - 7 - shift) << 10 | ((mantissa << (shift + 1)) & 7) << 7);
  }
  return (uint16_t)(sign | (exponent - 7 + 15) << 10 | mantissa << 7);
}

/* Turn n elements of the file's type at `from` into the tensor's at `to`; they do not overlap. */
static mica_status convert(const mica_archive *a, const mica_archive_entry *e, const uint8_t *from,
                           void *to, size_t n) {
  switch (e->element) {
  case MICA_ELEMENT_PLAIN: memcpy(to, from, n * e->bytes); return MICA_OK;
  case MICA_ELEMENT_U16:
    for (size_t i = 0; i < n; i++) {
      uint16_t v;
      memcpy(&v, from + 2 * i, 2);
      ((int32_t *)to)[i] = v;
    }
    return MICA_OK;
  case MICA_ELEMENT_U32:
    for (size_t i = 0; i < n; i++) {
      uint32_t v;
      memcpy(&v, from + 4 * i, 4);
      ((int64_t *)to)[i] = v;
    }
    return MICA_OK;
  case MICA_ELEMENT_U64:
    for (size_t i = 0; i < n; i++) {
      uint64_t v;
      memcpy(&v, from + 8 * i, 8);
      if (v > INT64_MAX)
        return mica_fail(MICA_ERR_UNSUPPORTED,
                         "%s: tensor %s: uint64 value %llu does not fit in int64", a->source.name,
                         e->name, (unsigned long long)v);
      ((int64_t *)to)[i] = (int64_t)v;
    }
    return MICA_OK;
  case MICA_ELEMENT_E4M3:
    for (size_t i = 0; i < n; i++) ((uint16_t *)to)[i] = e4m3_to_f16(from[i]);
    return MICA_OK;
  case MICA_ELEMENT_E5M2:
    for (size_t i = 0; i < n; i++) ((uint16_t *)to)[i] = (uint16_t)(from[i] << 8);
    return MICA_OK;
  }
  return mica_fail(MICA_ERR_UNSUPPORTED, "%s: tensor %s: unknown element", a->source.name, e->name);
}

/* A bool of the file may hold any byte; the tensor's holds 0 or 1. */
static void settle_bools(const mica_archive_entry *e, void *to, size_t n) {
  if (e->dtype != MICA_BOOL) return;
  for (size_t i = 0; i < n; i++) ((uint8_t *)to)[i] = ((uint8_t *)to)[i] != 0;
}

/* Copy elements that do not lie in row-major order: in memory `from` has e's strides. */
static void gather(const mica_archive_entry *e, const uint8_t *from, uint8_t *to, int64_t count) {
  int rank = e->shape.rank - (e->complex ? 1 : 0);
  size_t width = (size_t)e->bytes * (e->complex ? 2 : 1);
  int64_t stride[MICA_MAX_RANK], index[MICA_MAX_RANK] = {0}, step = 1;
  for (int d = 0; d < rank; d++) {
    stride[d] = e->strided ? e->stride[d] : step;
    step *= e->shape.dim[d];
  }
  if (e->complex) count /= 2;
  int64_t at = 0;
  for (int64_t i = 0; i < count; i++) {
    memcpy(to + (size_t)i * width, from + (size_t)at * width, width);
    for (int d = rank; d-- > 0;) {
      at += stride[d];
      if (++index[d] < e->shape.dim[d]) break;
      at -= stride[d] * index[d];
      index[d] = 0;
    }
  }
}

static bool rows_together(const mica_archive_entry *e) {
  return !e->fortran && !e->strided;
}

/* Elements of the file at `raw` (already in row-major order) into the tensor's memory. */
static mica_status settle(const mica_archive *a, const mica_archive_entry *e, uint8_t *raw,
                          void *to, size_t n) {
  if (e->swap) swap_bytes(raw, n, e->bytes);
  mica_status status = raw == to ? MICA_OK : convert(a, e, raw, to, n);
  if (!status) settle_bools(e, to, n);
  return status;
}

mica_status mica_archive_read(const mica_archive *a, int64_t i, mica_tensor **out) {
  *out = NULL;
  if (!valid(a, i))
    return mica_fail(MICA_ERR_INVALID, "tensor number %lld of %lld", (long long)i,
                     (long long)(a ? a->n : 0));
  const mica_archive_entry *e = &a->entry[i];
  mica_tensor *tensor;
  mica_status status = mica_tensor_create(e->dtype, e->shape, &tensor);
  if (status) return mica_fail_within("%s: tensor %s", a->source.name, e->name);
  int64_t count = mica_tensor_count(tensor);
  size_t n = (size_t)count;
  uint8_t *data = mica_tensor_data(tensor);
  bool direct = e->element == MICA_ELEMENT_PLAIN && rows_together(e);
  uint8_t *raw = NULL, *sorted = NULL;
  if (n && direct) {
    status = fetch(a, e, 0, data, n * e->bytes);
    if (!status) status = settle(a, e, data, data, n);
  } else if (n) {
    raw = mica_malloc((size_t)e->extent);
    sorted = rows_together(e) ? raw : mica_malloc(n * e->bytes);
    status = raw && sorted ? fetch(a, e, 0, raw, (size_t)e->extent) : MICA_ERR_MEMORY;
    if (!status && sorted != raw) gather(e, raw, sorted, count);
    if (!status) status = settle(a, e, sorted, data, n);
  }
  if (sorted != raw) mica_free(sorted);
  mica_free(raw);
  if (status) {
    mica_tensor_free(tensor);
    return status;
  }
  *out = tensor;
  return MICA_OK;
}

bool mica_archive_has_rows(const mica_archive *a, int64_t i) {
  if (!valid(a, i)) return false;
  const mica_archive_entry *e = &a->entry[i];
  return rows_together(e) && e->shape.rank > 0 &&
         (e->member < 0 || a->zip.member[e->member].method == 0);
}

mica_status mica_archive_read_rows(const mica_archive *a, int64_t i, int64_t begin, int64_t end,
                                   void *data) {
  if (!valid(a, i))
    return mica_fail(MICA_ERR_INVALID, "tensor number %lld of %lld", (long long)i,
                     (long long)(a ? a->n : 0));
  const mica_archive_entry *e = &a->entry[i];
  if (!mica_archive_has_rows(a, i))
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s: tensor %s: its rows do not lie together in the file", a->source.name,
                     e->name);
  if (begin < 0 || end < begin || end > e->shape.dim[0])
    return mica_fail(MICA_ERR_INVALID, "%s: tensor %s: rows %lld to %lld of %lld", a->source.name,
                     e->name, (long long)begin, (long long)end, (long long)e->shape.dim[0]);
  if (begin == end) return MICA_OK;
  int64_t row = mica_shape_count(&e->shape) / e->shape.dim[0];
  size_t n = (size_t)(row * (end - begin));
  uint64_t from = (uint64_t)(row * begin) * e->bytes;
  if (!n) return MICA_OK;
  if (e->element == MICA_ELEMENT_PLAIN) {
    mica_status status = fetch(a, e, from, data, n * e->bytes);
    return status ? status : settle(a, e, data, data, n);
  }
  uint8_t *raw = mica_malloc(n * e->bytes);
  mica_status status = raw ? fetch(a, e, from, raw, n * e->bytes) : MICA_ERR_MEMORY;
  if (!status) status = settle(a, e, raw, data, n);
  mica_free(raw);
  return status;
}
