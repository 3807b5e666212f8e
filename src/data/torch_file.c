/* PyTorch's files: torch.save's zip form (1.6 and later) and the older one.
 *
 *   zip   PREFIX/data.pkl, a pickle whose tensors refer to storages by key, and PREFIX/data/KEY,
 * one stored member a storage old   five pickles (magic number, protocol, system, the object, the
 * list of keys), then for each key a 64-bit element count and the elements
 *
 * The object is flattened: dictionaries and lists join their keys with dots, tensors become
 * entries, numbers and texts metadata.
 */
#include "base/buffer.h"
#include "base/number.h"
#include "data/archive.h"
#include "data/pickle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32, VISITS_MAX = 1 << 21 };
#define PICKLE_MAX ((uint64_t)1 << 28)
#define NAMES_MAX  ((uint64_t)1 << 27)

static const uint8_t magic[15] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                  0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

bool mica_is_torch_old(const uint8_t *head, size_t n) {
  return n >= sizeof magic && memcmp(head, magic, sizeof magic) == 0;
}

static const struct storage_type {
  const char *name;
  mica_dtype dtype;
  uint8_t bytes;
  bool complex;
} storage_types[] = {{"torch.FloatStorage", MICA_F32, 4, false},
                     {"torch.DoubleStorage", MICA_F64, 8, false},
                     {"torch.HalfStorage", MICA_F16, 2, false},
                     {"torch.BFloat16Storage", MICA_BF16, 2, false},
                     {"torch.CharStorage", MICA_I8, 1, false},
                     {"torch.ShortStorage", MICA_I16, 2, false},
                     {"torch.IntStorage", MICA_I32, 4, false},
                     {"torch.LongStorage", MICA_I64, 8, false},
                     {"torch.ByteStorage", MICA_U8, 1, false},
                     {"torch.BoolStorage", MICA_BOOL, 1, false},
                     {"torch.ComplexFloatStorage", MICA_F32, 4, true},
                     {"torch.ComplexDoubleStorage", MICA_F64, 8, true}};

static const struct storage_type *type_of(const mica_pickle_value *storage) {
  for (size_t i = 0; i < sizeof storage_types / sizeof storage_types[0]; i++)
    if (strcmp(storage_types[i].name, storage->storage->text) == 0) return &storage_types[i];
  return NULL;
}

/* Where the elements of a storage are. */
typedef struct place {
  int64_t member;
  uint64_t offset, bytes;
} place;

typedef struct key_place {
  const char *key;
  place place;
} key_place;

typedef struct flattener {
  mica_archive *a;
  char prefix[512];      /* zip: "archive/" */
  const key_place *keys; /* old */
  int64_t n_keys;
  int64_t visits;
  uint64_t named; /* bytes of names so far */
  mica_bytes path;
} flattener;

static int by_key(const void *a, const void *b) {
  return strcmp(((const key_place *)a)->key, ((const key_place *)b)->key);
}

static mica_status find_storage(const flattener *f, const mica_pickle_value *storage, place *out) {
  const mica_archive *a = f->a;
  if (f->keys) {
    const key_place wanted = {.key = storage->text};
    const key_place *found = bsearch(&wanted, f->keys, (size_t)f->n_keys, sizeof wanted, by_key);
    if (found) return *out = found->place, MICA_OK;
  } else {
    char name[1024];
    snprintf(name, sizeof name, "%sdata/%.400s", f->prefix, storage->text);
    const mica_zip_member *m = mica_zip_find(&a->zip, name);
    if (m) return *out = (place){m - a->zip.member, 0, m->size}, MICA_OK;
  }
  return mica_fail(MICA_ERR_FORMAT, "%s: storage %.100s is missing", a->source.name, storage->text);
}

static mica_status add_tensor(flattener *f, const mica_pickle_value *t) {
  mica_archive *a = f->a;
  const char *name = f->path.n ? f->path.data : "array";
  const struct storage_type *type = type_of(t->storage);
  if (!type)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: tensor %s: %s is not an element type",
                     a->source.name, name, t->storage->storage->text);
  place p = {0};
  mica_status status = find_storage(f, t->storage, &p);
  if (status) return mica_fail_within("tensor %s", name);
  mica_archive_entry e = {.dtype = type->dtype,
                          .bytes = type->bytes,
                          .complex = type->complex,
                          .shape = t->shape,
                          .member = p.member};
  uint64_t width = (uint64_t)type->bytes * (type->complex ? 2 : 1), bytes;
  status = mica_archive_extent(a, name, &t->shape, (size_t)width, &bytes);
  if (status) return status;
  /* The highest element touched, and whether the strides are those of a row-major tensor. */
  uint64_t last = 0, step = 1;
  bool overflow = false;
  for (int d = t->shape.rank; d-- > 0;) {
    uint64_t size = (uint64_t)t->shape.dim[d], stride = (uint64_t)t->stride[d];
    if (size > 1 && stride != step) e.strided = true;
    if (size > 1 && stride > ((uint64_t)1 << 62) / (size - 1)) overflow = true;
    last += size > 1 && !overflow ? (size - 1) * stride : 0;
    if (last > (uint64_t)1 << 60) overflow = true;
    step *= size ? size : 1;
  }
  uint64_t first = (uint64_t)t->integer, elements = p.bytes / width;
  if (bytes && (overflow || first > elements || last >= elements - first))
    return mica_fail(MICA_ERR_FORMAT, "%s: tensor %s reaches beyond its storage of %llu elements",
                     a->source.name, name, (unsigned long long)elements);
  /* An expanded tensor (stride 0) may be larger than its storage, but not without measure. */
  if (bytes / 64 > p.bytes + 65536)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s: tensor %s: %llu bytes expanded from a storage of %llu", a->source.name,
                     name, (unsigned long long)bytes, (unsigned long long)p.bytes);
  e.offset = p.offset + (bytes ? first * width : 0);
  e.extent = bytes ? (last + 1) * width : 0;
  memcpy(e.stride, t->stride, sizeof e.stride);
  if (type->complex) {
    if (e.shape.rank == MICA_MAX_RANK)
      return mica_fail(MICA_ERR_UNSUPPORTED, "%s: tensor %s: more than %d dimensions",
                       a->source.name, name, MICA_MAX_RANK);
    e.shape.dim[e.shape.rank++] = 2;
  }
  e.name = mica_strdup(name);
  return e.name ? mica_archive_add(a, &e) : MICA_ERR_MEMORY;
}

static mica_status add_scalar(flattener *f, const mica_pickle_value *v) {
  char number[MICA_DOUBLE_TEXT > 24 ? MICA_DOUBLE_TEXT : 24];
  const char *text = number, *name = f->path.n ? f->path.data : "value";
  switch (v->kind) {
  case MICA_PICKLE_BOOL: text = v->integer ? "true" : "false"; break;
  case MICA_PICKLE_INT: snprintf(number, sizeof number, "%lld", (long long)v->integer); break;
  case MICA_PICKLE_FLOAT: mica_format_double(v->real, number); break;
  case MICA_PICKLE_TEXT: text = v->text; break;
  default: return MICA_OK; /* None, types, raw bytes: nothing that a reader of tensors asks for */
  }
  return mica_archive_add_text(f->a, name, text);
}

static mica_status flatten(flattener *f, const mica_pickle_value *v, int depth);

static mica_status flatten_under(flattener *f, const char *key, const mica_pickle_value *v,
                                 int depth) {
  size_t n = f->path.n;
  if (n) mica_bytes_byte(&f->path, '.');
  mica_bytes_text(&f->path, key);
  if (f->path.status) return f->path.status;
  if (f->path.n > 4096)
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: a name of more than 4096 bytes",
                     f->a->source.name);
  mica_status status = flatten(f, v, depth + 1);
  f->path.n = n;
  if (f->path.data) f->path.data[n] = '\0';
  return status;
}

static mica_status flatten(flattener *f, const mica_pickle_value *v, int depth) {
  const char *file = f->a->source.name;
  f->named += f->path.n;
  if (++f->visits > VISITS_MAX || depth > DEPTH_MAX || f->named > NAMES_MAX)
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: pickle: an object that contains itself, or nested too deeply", file);
  char number[24];
  mica_status status = MICA_OK;
  switch (v->kind) {
  case MICA_PICKLE_TENSOR: return add_tensor(f, v);
  case MICA_PICKLE_DICT:
    for (int64_t i = 0; !status && i + 1 < v->count; i += 2) {
      const mica_pickle_value *key = v->item[i];
      if (key->kind == MICA_PICKLE_INT)
        snprintf(number, sizeof number, "%lld", (long long)key->integer);
      else if (key->kind != MICA_PICKLE_TEXT || strlen(key->text) != key->n)
        return mica_fail(MICA_ERR_UNSUPPORTED, "%s: pickle: a dictionary key that is no plain text",
                         file);
      status = flatten_under(f, key->kind == MICA_PICKLE_INT ? number : key->text, v->item[i + 1],
                             depth);
    }
    return status;
  case MICA_PICKLE_LIST:
  case MICA_PICKLE_TUPLE:
    for (int64_t i = 0; !status && i < v->count; i++) {
      snprintf(number, sizeof number, "%lld", (long long)i);
      status = flatten_under(f, number, v->item[i], depth);
    }
    return status;
  default: return add_scalar(f, v);
  }
}

mica_status mica_archive_open_torch_zip(mica_archive *a) {
  a->format = "pth";
  flattener f = {.a = a};
  const mica_zip_member *pkl = NULL;
  for (int64_t i = 0; i < a->zip.n && !pkl; i++) {
    const char *name = a->zip.member[i].name;
    size_t n = strlen(name);
    if (n < 8 || strcmp(name + n - 8, "data.pkl") != 0 || (n > 8 && name[n - 9] != '/')) continue;
    if (n - 8 >= sizeof f.prefix)
      return mica_fail(MICA_ERR_FORMAT, "%s: a member's name is too long", a->source.name);
    memcpy(f.prefix, name, n - 8);
    pkl = &a->zip.member[i];
  }
  if (!pkl) return mica_fail(MICA_ERR_FORMAT, "%s: no data.pkl", a->source.name);
  if (pkl->size > PICKLE_MAX)
    return mica_fail(MICA_ERR_FORMAT, "%s: a data.pkl of %llu bytes", a->source.name,
                     (unsigned long long)pkl->size);
  char order_name[600], order[4] = {0};
  snprintf(order_name, sizeof order_name, "%sbyteorder", f.prefix);
  const mica_zip_member *byteorder = mica_zip_find(&a->zip, order_name);
  if (byteorder && byteorder->size >= 3) {
    mica_status status = mica_zip_extract(&a->zip, byteorder, 0, order, 3);
    if (status) return status;
    if (strcmp(order, "lit") != 0)
      return mica_fail(MICA_ERR_UNSUPPORTED, "%s: written on a big-endian machine", a->source.name);
  }
  uint8_t *bytes = mica_malloc((size_t)pkl->size);
  if (!bytes) return MICA_ERR_MEMORY;
  mica_source source = {.fd = -1};
  mica_pickle pickle = {0};
  mica_status status = mica_zip_extract(&a->zip, pkl, 0, bytes, (size_t)pkl->size);
  if (!status) status = mica_source_memory(bytes, (size_t)pkl->size, a->source.name, &source);
  uint64_t at = 0;
  if (!status) status = mica_pickle_read(&source, &at, &pickle);
  if (!status) status = flatten(&f, pickle.root, 0);
  mica_pickle_free(&pickle);
  mica_bytes_free(&f.path);
  mica_source_close(&source);
  mica_free(bytes);
  return status;
}

/* ---- the old form ---- */

static mica_status check_system(const mica_archive *a, const mica_pickle_value *protocol,
                                const mica_pickle_value *system) {
  if (protocol->kind != MICA_PICKLE_INT || protocol->integer != 1001)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: PyTorch file protocol %lld, expected 1001",
                     a->source.name, (long long)protocol->integer);
  const mica_pickle_value *little = mica_pickle_get(system, "little_endian");
  if (!little || little->kind != MICA_PICKLE_BOOL || !little->integer)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: written on a big-endian machine", a->source.name);
  return MICA_OK;
}

/* The element size of every storage is known from the tensors that use it: in place.bytes here. */
static mica_status list_widths(const mica_pickle *object, key_place **out, int64_t *n) {
  *n = 0;
  for (const mica_pickle_value *v = object->all; v; v = v->next)
    *n += v->kind == MICA_PICKLE_STORAGE;
  *out = mica_malloc((size_t)*n * sizeof **out);
  if (!*out) return MICA_ERR_MEMORY;
  key_place *to = *out;
  for (const mica_pickle_value *v = object->all; v; v = v->next) {
    if (v->kind != MICA_PICKLE_STORAGE) continue;
    const struct storage_type *type = type_of(v);
    uint64_t width = type ? (uint64_t)type->bytes * (type->complex ? 2 : 1) : 0;
    *to++ = (key_place){v->text, {-1, 0, width}};
  }
  if (*n) qsort(*out, (size_t)*n, sizeof **out, by_key);
  return MICA_OK;
}

static mica_status locate_storages(const mica_archive *a, const key_place *widths, int64_t n,
                                   const mica_pickle_value *list, uint64_t at, key_place *keys) {
  for (int64_t i = 0; i < list->count; i++) {
    const mica_pickle_value *key = list->item[i];
    uint8_t raw[8];
    if (key->kind != MICA_PICKLE_TEXT)
      return mica_fail(MICA_ERR_FORMAT, "%s: the list of storages holds something else",
                       a->source.name);
    mica_status status = mica_source_read(&a->source, at, raw, 8);
    if (status) return mica_fail_within("storage %.100s", key->text);
    at += 8;
    uint64_t elements = mica_le64(raw), width = 0;
    const key_place wanted = {.key = key->text};
    const key_place *found = n ? bsearch(&wanted, widths, (size_t)n, sizeof wanted, by_key) : NULL;
    if (found) width = found->place.bytes;
    if (!width)
      return mica_fail(MICA_ERR_FORMAT, "%s: storage %.100s is used by no tensor", a->source.name,
                       key->text);
    if (elements > (a->source.size - at) / width)
      return mica_fail(MICA_ERR_FORMAT,
                       "%s: storage %.100s claims %llu elements, the file has %llu bytes left",
                       a->source.name, key->text, (unsigned long long)elements,
                       (unsigned long long)(a->source.size - at));
    keys[i] = (key_place){key->text, {-1, at, elements * width}};
    at += elements * width;
  }
  if (list->count) qsort(keys, (size_t)list->count, sizeof *keys, by_key);
  return MICA_OK;
}

mica_status mica_archive_open_torch_old(mica_archive *a) {
  a->format = "pth";
  enum { MAGIC, PROTOCOL, SYSTEM, OBJECT, KEYS, PICKLES };
  mica_pickle pickle[PICKLES] = {{0}};
  uint64_t at = 0;
  mica_status status = MICA_OK;
  for (int i = 0; !status && i < PICKLES; i++)
    status = mica_pickle_read(&a->source, &at, &pickle[i]);
  if (!status) status = check_system(a, pickle[PROTOCOL].root, pickle[SYSTEM].root);
  key_place *keys = NULL;
  flattener f = {.a = a};
  if (!status && pickle[KEYS].root->kind != MICA_PICKLE_LIST)
    status = mica_fail(MICA_ERR_FORMAT, "%s: the list of storages is missing", a->source.name);
  if (!status) {
    f.n_keys = pickle[KEYS].root->count;
    keys = mica_malloc((size_t)f.n_keys * sizeof *keys);
    f.keys = keys;
    if (!keys) status = MICA_ERR_MEMORY;
  }
  key_place *widths = NULL;
  int64_t n_widths = 0;
  if (!status) status = list_widths(&pickle[OBJECT], &widths, &n_widths);
  if (!status) status = locate_storages(a, widths, n_widths, pickle[KEYS].root, at, keys);
  mica_free(widths);
  if (!status) status = flatten(&f, pickle[OBJECT].root, 0);
  mica_bytes_free(&f.path);
  mica_free(keys);
  for (int i = 0; i < PICKLES; i++) mica_pickle_free(&pickle[i]);
  return status;
}
