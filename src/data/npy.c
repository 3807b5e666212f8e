/* NumPy's files: one array (.npy) or a zip of them (.npz). Format: numpy.lib.format, versions 1
 * to 3.
 *
 * The header is a Python dictionary display; what is read of it is exactly the form that NumPy
 * writes:
 * {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } with the three keys in any order.
 */
#include "base/file.h"
#include "data/archive.h"

#include <stdio.h>
#include <string.h>

#ifdef MICA_HAVE_ZLIB
#include <zlib.h>
#endif

static const uint8_t magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

/* NumPy writes lines of at most a few hundred bytes; records, which we refuse, can be longer. */
enum { HEADER_MAX = 1 << 20 };

bool mica_is_npy(const uint8_t *head, size_t n) {
  return n >= 6 && memcmp(head, magic, 6) == 0;
}

/* ---- the header's dictionary ---- */

typedef struct cursor {
  const char *at, *end;
} cursor;

static void skip_space(cursor *c) {
  while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t')) c->at++;
}
static bool take(cursor *c, char wanted) {
  skip_space(c);
  if (c->at == c->end || *c->at != wanted) return false;
  c->at++;
  return true;
}
static bool take_word(cursor *c, const char *word) {
  skip_space(c);
  size_t n = strlen(word);
  if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0) return false;
  c->at += n;
  return true;
}
/* A string in quotes without escapes. */
static bool take_string(cursor *c, char *to, size_t room) {
  skip_space(c);
  if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return false;
  char quote = *c->at++;
  size_t n = 0;
  while (c->at < c->end && *c->at != quote) {
    if (*c->at == '\\' || n + 1 == room) return false;
    to[n++] = *c->at++;
  }
  to[n] = '\0';
  return take(c, quote);
}
static bool take_int(cursor *c, int64_t *value) {
  skip_space(c);
  const char *begin = c->at;
  int64_t v = 0;
  while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
    int digit = *c->at++ - '0';
    if (v > (INT64_MAX - digit) / 10) return false;
    v = v * 10 + digit;
  }
  *value = v;
  if (c->at < c->end && *c->at == 'L') c->at++; /* Python 2's long */
  return c->at > begin;
}

static mica_status take_shape(cursor *c, mica_shape *shape) {
  shape->rank = 0;
  if (!take(c, '(')) return mica_fail(MICA_ERR_FORMAT, "shape: expected a tuple of sizes");
  while (!take(c, ')')) {
    if (shape->rank == MICA_MAX_RANK)
      return mica_fail(MICA_ERR_UNSUPPORTED, "shape: more than %d dimensions", MICA_MAX_RANK);
    if (!take_int(c, &shape->dim[shape->rank++]))
      return mica_fail(MICA_ERR_FORMAT, "shape: expected sizes that are not negative");
    if (take(c, ',')) continue;
    if (!take(c, ')')) return mica_fail(MICA_ERR_FORMAT, "shape: expected a tuple of sizes");
    break;
  }
  return MICA_OK;
}

static mica_status set_type(const char *descr, mica_archive_entry *e) {
  static const struct {
    const char *code;
    mica_dtype dtype;
    mica_element element;
    uint8_t bytes;
    bool complex;
  } types[] = {{"f4", MICA_F32, MICA_ELEMENT_PLAIN, 4, false},
               {"f8", MICA_F64, MICA_ELEMENT_PLAIN, 8, false},
               {"f2", MICA_F16, MICA_ELEMENT_PLAIN, 2, false},
               {"i1", MICA_I8, MICA_ELEMENT_PLAIN, 1, false},
               {"i2", MICA_I16, MICA_ELEMENT_PLAIN, 2, false},
               {"i4", MICA_I32, MICA_ELEMENT_PLAIN, 4, false},
               {"i8", MICA_I64, MICA_ELEMENT_PLAIN, 8, false},
               {"u1", MICA_U8, MICA_ELEMENT_PLAIN, 1, false},
               {"b1", MICA_BOOL, MICA_ELEMENT_PLAIN, 1, false},
               {"u2", MICA_I32, MICA_ELEMENT_U16, 2, false},
               {"u4", MICA_I64, MICA_ELEMENT_U32, 4, false},
               {"u8", MICA_I64, MICA_ELEMENT_U64, 8, false},
               {"c8", MICA_F32, MICA_ELEMENT_PLAIN, 4, true},
               {"c16", MICA_F64, MICA_ELEMENT_PLAIN, 8, true}};
  char order = descr[0];
  if (strchr("<>|=", order) && order) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
      if (strcmp(types[i].code, descr + 1) != 0) continue;
      e->dtype = types[i].dtype;
      e->element = types[i].element;
      e->bytes = types[i].bytes;
      e->complex = types[i].complex;
      e->swap = order == '>' && e->bytes > 1;
      return MICA_OK;
    }
  }
  if (order && descr[1] == 'O')
    return mica_fail(MICA_ERR_UNSUPPORTED, "descr '%s': arrays of Python objects are not read",
                     descr);
  return mica_fail(MICA_ERR_UNSUPPORTED, "descr '%s' is not an element type that is supported",
                   descr);
}

static mica_status parse_header(const char *text, size_t n, mica_archive_entry *e) {
  cursor c = {text, text + n};
  char key[32], descr[32];
  bool seen_descr = false, seen_order = false, seen_shape = false;
  if (!take(&c, '{')) return mica_fail(MICA_ERR_FORMAT, "header: expected a dictionary");
  while (!take(&c, '}')) {
    if (!take_string(&c, key, sizeof key) || !take(&c, ':'))
      return mica_fail(MICA_ERR_FORMAT, "header: expected 'key': value");
    if (strcmp(key, "descr") == 0 && !seen_descr) {
      if (!take_string(&c, descr, sizeof descr))
        return mica_fail(MICA_ERR_UNSUPPORTED, "descr: expected a string (records are not read)");
      mica_status status = set_type(descr, e);
      if (status) return status;
      seen_descr = true;
    } else if (strcmp(key, "fortran_order") == 0 && !seen_order) {
      e->fortran = take_word(&c, "True");
      if (!e->fortran && !take_word(&c, "False"))
        return mica_fail(MICA_ERR_FORMAT, "fortran_order: expected True or False");
      seen_order = true;
    } else if (strcmp(key, "shape") == 0 && !seen_shape) {
      mica_status status = take_shape(&c, &e->shape);
      if (status) return status;
      seen_shape = true;
    } else {
      return mica_fail(MICA_ERR_FORMAT, "header: unexpected key '%s'", key);
    }
    if (take(&c, ',')) continue;
    if (!take(&c, '}')) return mica_fail(MICA_ERR_FORMAT, "header: expected , or }");
    break;
  }
  if (!seen_descr || !seen_order || !seen_shape)
    return mica_fail(MICA_ERR_FORMAT, "header: %s is missing",
                     !seen_descr  ? "descr"
                     : seen_order ? "shape"
                                  : "fortran_order");
  if (e->shape.rank < 2) e->fortran = false;
  if (e->complex) {
    if (e->shape.rank == MICA_MAX_RANK)
      return mica_fail(MICA_ERR_UNSUPPORTED, "shape: more than %d dimensions", MICA_MAX_RANK);
    e->shape.dim[e->shape.rank++] = 2;
  }
  return MICA_OK;
}

/* ---- an array, alone or as a member ---- */

static mica_status peek(const mica_archive *a, int64_t member, uint64_t at, void *to, size_t n) {
  return member < 0 ? mica_source_read(&a->source, at, to, n)
                    : mica_zip_extract(&a->zip, &a->zip.member[member], at, to, n);
}

/* Takes `name` over. */
static mica_status add_array(mica_archive *a, int64_t member, char *name) {
  mica_archive_entry e = {.name = name, .member = member};
  uint64_t size = member < 0 ? a->source.size : a->zip.member[member].size;
  uint8_t head[12] = {0};
  char *text = NULL;
  mica_status status = peek(a, member, 0, head, 10);
  if (!status && !mica_is_npy(head, 10))
    status = mica_fail(MICA_ERR_FORMAT, "%s: %s: not an .npy array", a->source.name, name);
  if (!status && (head[6] < 1 || head[6] > 3))
    status = mica_fail(MICA_ERR_UNSUPPORTED, "%s: %s: .npy version %u, expected 1, 2 or 3",
                       a->source.name, name, head[6]);
  size_t prefix = head[6] == 1 ? 10 : 12;
  if (!status && prefix == 12) status = peek(a, member, 0, head, 12);
  size_t length = prefix == 10 ? mica_le16(head + 8) : mica_le32(head + 8);
  if (!status && (length > HEADER_MAX || length > size - prefix))
    status = mica_fail(MICA_ERR_FORMAT, "%s: %s: header of %zu bytes in %llu bytes", a->source.name,
                       name, length, (unsigned long long)size);
  if (!status) {
    text = mica_malloc(prefix + length);
    status = text ? peek(a, member, 0, text, prefix + length) : MICA_ERR_MEMORY;
  }
  if (!status && parse_header(text + prefix, length, &e))
    status = mica_fail_within("%s: %s", a->source.name, name);
  mica_free(text);
  if (!status) status = mica_archive_extent(a, name, &e.shape, e.bytes, &e.extent);
  e.offset = prefix + length;
  if (!status && e.extent > size - e.offset)
    status = mica_fail(
        MICA_ERR_FORMAT, "%s: %s: truncated: %llu bytes of data expected, %llu are there",
        a->source.name, name, (unsigned long long)e.extent, (unsigned long long)(size - e.offset));
  if (!status && e.extent < size - e.offset && member >= 0)
    status = mica_fail(MICA_ERR_FORMAT, "%s: %s: %llu bytes behind the data", a->source.name, name,
                       (unsigned long long)(size - e.offset - e.extent));
  if (status) {
    mica_free(name);
    return status;
  }
  return mica_archive_add(a, &e);
}

mica_status mica_archive_open_npy(mica_archive *a) {
  a->format = "npy";
  char *name = mica_strdup("array");
  return name ? add_array(a, -1, name) : MICA_ERR_MEMORY;
}

mica_status mica_archive_open_npz(mica_archive *a) {
  a->format = "npz";
  for (int64_t i = 0; i < a->zip.n; i++) {
    const char *member = a->zip.member[i].name;
    size_t n = strlen(member);
    if (n < 4 || strcmp(member + n - 4, ".npy") != 0) continue;
    char *name = mica_strndup(member, n - 4);
    mica_status status = name ? add_array(a, i, name) : MICA_ERR_MEMORY;
    if (status) return status;
  }
  return MICA_OK;
}

/* ---- writing ---- */

/* The array's header, padded so that the data begin at a multiple of 64. Returns its length. */
static size_t write_header(const mica_view *v, char header[512]) {
  static const char *const codes[MICA_DTYPE_COUNT] = {
      [MICA_F32] = "<f4", [MICA_F64] = "<f8", [MICA_F16] = "<f2",
      [MICA_I8] = "|i1",  [MICA_I16] = "<i2", [MICA_I32] = "<i4",
      [MICA_I64] = "<i8", [MICA_U8] = "|u1",  [MICA_BOOL] = "|b1"};
  memcpy(header, magic, 6);
  header[6] = 1;
  header[7] = 0;
  char *at = header + 10, *end = header + 512;
  at += snprintf(at, (size_t)(end - at), "{'descr': '%s', 'fortran_order': False, 'shape': (",
                 codes[v->dtype]);
  for (int d = 0; d < v->shape.rank; d++)
    at += snprintf(at, (size_t)(end - at), "%lld%s", (long long)v->shape.dim[d],
                   d + 1 < v->shape.rank ? ", "
                   : v->shape.rank == 1  ? ","
                                         : "");
  at += snprintf(at, (size_t)(end - at), "), }");
  while ((at - header) % 64 != 63) *at++ = ' ';
  *at++ = '\n';
  size_t length = (size_t)(at - header) - 10;
  header[8] = (char)(length & 0xff);
  header[9] = (char)(length >> 8);
  return (size_t)(at - header);
}

static mica_status check_view(const mica_view *v) {
  int64_t count = mica_view_count(v);
  if (!mica_dtype_size(v->dtype) || count < 0 || (count && !v->data))
    return mica_fail(MICA_ERR_INVALID, "not a valid view");
  if (v->dtype == MICA_BF16)
    return mica_fail(MICA_ERR_UNSUPPORTED, "NumPy has no bfloat16: convert to float32 first");
  return MICA_OK;
}

mica_status mica_npy_write(const char *path, const mica_view *view) {
  if (!path || !view) return mica_fail(MICA_ERR_INVALID, "npy: no path or no view");
  if (check_view(view)) return mica_fail_within("%s", path);
  char header[512];
  size_t n = write_header(view, header);
  mica_writer *w = NULL;
  mica_status status = mica_writer_open(path, &w);
  if (!status) status = mica_writer_write(w, header, n);
  if (!status) status = mica_write_view(w, view);
  if (!status) status = mica_writer_commit(w);
  mica_writer_close(w);
  return status;
}

/* ---- npz: a zip with one .npy a member ---- */

typedef struct member {
  uint32_t crc, packed, size, offset;
} member;

static void put16(uint8_t *p, unsigned v) {
  p[0] = (uint8_t)(v & 0xff);
  p[1] = (uint8_t)(v >> 8 & 0xff);
}
static void put32(uint8_t *p, uint32_t v) {
  put16(p, v & 0xffff);
  put16(p + 2, v >> 16);
}

/* The 26 bytes that local header and directory share, from "version needed" to the name's length.
 */
static void put_common(uint8_t *p, const member *m, bool deflated, size_t name) {
  put16(p, 20);
  put16(p + 2, 1u << 11); /* names are UTF-8 */
  put16(p + 4, deflated ? 8 : 0);
  put16(p + 6, 0);
  put16(p + 8, 1u << 5 | 1); /* 1980-01-01: the same tensors give the same bytes */
  put32(p + 10, m->crc);
  put32(p + 14, m->packed);
  put32(p + 18, m->size);
  put16(p + 22, (unsigned)name);
  put16(p + 24, 0);
}

static mica_status pack(uint8_t *raw, size_t n, bool compress, uint8_t **packed, size_t *bytes) {
  *packed = raw;
  *bytes = n;
  if (!compress) return MICA_OK;
#ifdef MICA_HAVE_ZLIB
  z_stream z = {.zalloc = mica_zlib_alloc, .zfree = mica_zlib_free};
  if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) !=
      Z_OK)
    return mica_fail(MICA_ERR_MEMORY, "no memory to deflate");
  size_t room = deflateBound(&z, (uLong)n);
  uint8_t *to = mica_malloc(room);
  mica_status status = to ? MICA_OK : MICA_ERR_MEMORY;
  if (to) {
    z.next_in = raw;
    z.avail_in = (uInt)n;
    z.next_out = to;
    z.avail_out = (uInt)room;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) status = mica_fail(MICA_ERR_IO, "deflate failed");
    *bytes = room - z.avail_out;
  }
  deflateEnd(&z);
  if (status)
    mica_free(to);
  else
    *packed = to;
  return status;
#else
  return mica_fail(MICA_ERR_UNSUPPORTED, "compressed .npz files need a build with zlib");
#endif
}

static mica_status write_member(mica_writer *w, const mica_named_view *t, bool compress, member *m,
                                uint64_t *at) {
  mica_status status = check_view(&t->view);
  if (status) return status;
  if (strlen(t->name) > 65000) return mica_fail(MICA_ERR_INVALID, "a name of 65000 bytes or more");
  size_t width = mica_dtype_size(t->view.dtype), count = (size_t)mica_view_count(&t->view);
  char header[512];
  size_t head = write_header(&t->view, header);
  if (count > (UINT32_MAX - 512) / width || *at > UINT32_MAX)
    return mica_fail(MICA_ERR_UNSUPPORTED, "an .npz member of 4 GiB or more: use safetensors");
  size_t n = head + count * width, name = strlen(t->name) + 4;
  uint8_t *raw = mica_malloc(n), *packed = raw;
  if (!raw) return MICA_ERR_MEMORY;
  memcpy(raw, header, head);
  mica_view flat = mica_view_of(raw + head, t->view.dtype, MICA_SHAPE((int64_t)count));
  status = mica_view_copy(&flat, &t->view);
  size_t bytes = n;
  if (!status) status = pack(raw, n, compress, &packed, &bytes);
  if (!status && bytes > UINT32_MAX - 512)
    status = mica_fail(MICA_ERR_UNSUPPORTED, "an .npz member of 4 GiB or more: use safetensors");
  if (!status) {
    *m = (member){mica_crc32(0, raw, n), (uint32_t)bytes, (uint32_t)n, (uint32_t)*at};
    uint8_t local[30];
    put32(local, 0x04034b50);
    put_common(local + 4, m, compress, name);
    status = mica_writer_write(w, local, sizeof local);
  }
  if (!status) status = mica_writer_write(w, t->name, name - 4);
  if (!status) status = mica_writer_write(w, ".npy", 4);
  if (!status) status = mica_writer_write(w, packed, bytes);
  *at += 30 + name + bytes;
  if (packed != raw) mica_free(packed);
  mica_free(raw);
  return status;
}

static mica_status write_directory(mica_writer *w, const mica_named_view *tensors, int64_t n,
                                   const member *members, bool compress, uint64_t at) {
  uint64_t bytes = 0;
  mica_status status = MICA_OK;
  for (int64_t i = 0; !status && i < n; i++) {
    uint8_t entry[46] = {0};
    size_t name = strlen(tensors[i].name) + 4;
    put32(entry, 0x02014b50);
    put16(entry + 4, 3 << 8 | 20); /* made on Unix */
    put_common(entry + 6, &members[i], compress, name);
    put32(entry + 38, 0100644u << 16);
    put32(entry + 42, members[i].offset);
    status = mica_writer_write(w, entry, sizeof entry);
    if (!status) status = mica_writer_write(w, tensors[i].name, name - 4);
    if (!status) status = mica_writer_write(w, ".npy", 4);
    bytes += sizeof entry + name;
  }
  if (!status && (at > UINT32_MAX || bytes > UINT32_MAX - at || n > 65535))
    status = mica_fail(MICA_ERR_UNSUPPORTED, "an .npz file of 4 GiB or more: use safetensors");
  uint8_t end[22] = {0};
  put32(end, 0x06054b50);
  put16(end + 8, (unsigned)n);
  put16(end + 10, (unsigned)n);
  put32(end + 12, (uint32_t)bytes);
  put32(end + 16, (uint32_t)at);
  return status ? status : mica_writer_write(w, end, sizeof end);
}

mica_status mica_npz_write(const char *path, const mica_named_view *tensors, int64_t n,
                           bool compress) {
  if (!path || n < 0 || (n && !tensors))
    return mica_fail(MICA_ERR_INVALID, "npz: no path, or a negative count");
  mica_status status = mica_check_names(tensors, n);
  if (status) return mica_fail_within("%s", path);
  member *members = mica_calloc((size_t)n, sizeof *members);
  if (!members) return MICA_ERR_MEMORY;
  mica_writer *w = NULL;
  uint64_t at = 0;
  status = mica_writer_open(path, &w);
  for (int64_t i = 0; !status && i < n; i++) {
    status = write_member(w, &tensors[i], compress, &members[i], &at);
    if (status) mica_fail_within("%s: %s", path, tensors[i].name);
  }
  if (!status) status = write_directory(w, tensors, n, members, compress, at);
  if (!status) status = mica_writer_commit(w);
  mica_writer_close(w);
  mica_free(members);
  return status;
}
