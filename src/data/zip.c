/* Reading zip archives: see zip.h. The layout is PKWARE's APPNOTE, sections 4.3 and 4.5.3. */
#include "data/zip.h"

#include <stdlib.h>
#include <string.h>

#ifdef MICA_HAVE_ZLIB
#include <zlib.h>
#endif

enum {
  END_BYTES = 22,
  LOCATOR64_BYTES = 20,
  END64_BYTES = 56,
  CENTRAL_BYTES = 46,
  LOCAL_BYTES = 30,
  PART = 1 << 16
};

uint32_t mica_crc32(uint32_t crc, const void *bytes, size_t n) {
  const uint8_t *p = bytes;
#ifdef MICA_HAVE_ZLIB
  uLong sum = crc;
  while (n) {
    uInt part = n > 1u << 30 ? 1u << 30 : (uInt)n;
    sum = crc32(sum, p, part);
    p += part;
    n -= part;
  }
  return (uint32_t)sum;
#else
  /* Four bits at a time: the table of the reflected polynomial 0xedb88320 for all nibbles. */
  static const uint32_t nibble[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                      0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                      0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                      0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
  crc = ~crc;
  for (size_t i = 0; i < n; i++) {
    crc ^= p[i];
    crc = nibble[crc & 15] ^ crc >> 4;
    crc = nibble[crc & 15] ^ crc >> 4;
  }
  return ~crc;
#endif
}

/* Where the central directory is and how many members it lists. */
typedef struct directory {
  uint64_t offset, bytes, members;
} directory;

static mica_status find_directory(const mica_source *source, directory *d) {
  /* The end record has a comment of up to 64 KiB behind it: search backwards for its signature. */
  if (source->size < END_BYTES)
    return mica_fail(MICA_ERR_FORMAT, "%s: truncated zip", source->name);
  size_t tail = source->size < PART + END_BYTES ? (size_t)source->size : PART + END_BYTES;
  uint8_t *bytes = mica_malloc(tail);
  if (!bytes) return MICA_ERR_MEMORY;
  uint64_t base = source->size - tail;
  mica_status status = mica_source_read(source, base, bytes, tail);
  size_t at = tail;
  for (size_t i = tail - END_BYTES + 1; !status && i-- > 0;) {
    if (mica_le32(bytes + i) != 0x06054b50 || mica_le16(bytes + i + 20) > tail - i - END_BYTES)
      continue;
    at = i;
    break;
  }
  if (!status && at == tail)
    status = mica_fail(MICA_ERR_FORMAT, "%s: zip without an end record (truncated?)", source->name);
  if (!status) {
    const uint8_t *end = bytes + at;
    d->members = mica_le16(end + 10);
    d->bytes = mica_le32(end + 12);
    d->offset = mica_le32(end + 16);
    bool wide = d->members == 0xffff || d->bytes == 0xffffffff || d->offset == 0xffffffff;
    if (wide && at >= LOCATOR64_BYTES && mica_le32(end - LOCATOR64_BYTES) == 0x07064b50) {
      uint8_t end64[END64_BYTES];
      status = mica_source_read(source, mica_le64(end - 12), end64, END64_BYTES);
      if (!status && mica_le32(end64) != 0x06064b50)
        status = mica_fail(MICA_ERR_FORMAT, "%s: zip64 end record missing", source->name);
      d->members = mica_le64(end64 + 32);
      d->bytes = mica_le64(end64 + 40);
      d->offset = mica_le64(end64 + 48);
    }
  }
  mica_free(bytes);
  if (status) return status;
  if (d->offset > source->size || d->bytes > source->size - d->offset ||
      d->members > d->bytes / CENTRAL_BYTES)
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: zip directory of %llu members and %llu bytes does not fit in the file",
                     source->name, (unsigned long long)d->members, (unsigned long long)d->bytes);
  return MICA_OK;
}

/* Sizes and offsets of 0xffffffff stand in the zip64 extra field, in this order. */
static bool widen(const uint8_t *extra, size_t n, mica_zip_member *m, uint64_t *local) {
  bool size = m->size == 0xffffffff, packed = m->packed == 0xffffffff,
       offset = *local == 0xffffffff;
  if (!size && !packed && !offset) return true;
  while (n >= 4) {
    uint16_t id = mica_le16(extra), bytes = mica_le16(extra + 2);
    if (bytes > n - 4) return false;
    if (id == 1) {
      const uint8_t *p = extra + 4, *end = p + bytes;
      uint64_t *field[3] = {size ? &m->size : NULL, packed ? &m->packed : NULL,
                            offset ? local : NULL};
      for (int i = 0; i < 3; i++) {
        if (!field[i]) continue;
        if (end - p < 8) return false;
        *field[i] = mica_le64(p);
        p += 8;
      }
      return true;
    }
    extra += 4 + bytes;
    n -= 4u + bytes;
  }
  return false;
}

static mica_status locate(const mica_source *source, mica_zip_member *m, uint64_t local) {
  uint8_t head[LOCAL_BYTES];
  mica_status status = mica_source_read(source, local, head, LOCAL_BYTES);
  if (status) return mica_fail_within("member %s", m->name);
  if (mica_le32(head) != 0x04034b50)
    return mica_fail(MICA_ERR_FORMAT, "%s: member %s: no local header at offset %llu", source->name,
                     m->name, (unsigned long long)local);
  m->offset = local + LOCAL_BYTES + mica_le16(head + 26) + mica_le16(head + 28);
  if (m->offset > source->size || m->packed > source->size - m->offset)
    return mica_fail(MICA_ERR_FORMAT, "%s: member %s of %llu bytes does not fit in the file",
                     source->name, m->name, (unsigned long long)m->packed);
  if (m->method == 0 && m->packed != m->size)
    return mica_fail(MICA_ERR_FORMAT, "%s: member %s is stored but its two sizes differ",
                     source->name, m->name);
  /* Deflate's best is 258 bytes for 2 bits: 1032 to 1. */
  if (m->method == 8 && m->size / 1032 > m->packed)
    return mica_fail(MICA_ERR_FORMAT, "%s: member %s claims %llu bytes from %llu deflated ones",
                     source->name, m->name, (unsigned long long)m->size,
                     (unsigned long long)m->packed);
  return MICA_OK;
}

static mica_status read_directory(mica_zip *zip, const uint8_t *bytes, size_t left,
                                  uint64_t members) {
  const mica_source *source = zip->source;
  for (uint64_t i = 0; i < members; i++) {
    mica_zip_member *m = &zip->member[zip->n];
    if (left < CENTRAL_BYTES || mica_le32(bytes) != 0x02014b50)
      return mica_fail(MICA_ERR_FORMAT, "%s: zip directory entry %llu is broken", source->name,
                       (unsigned long long)i);
    size_t name = mica_le16(bytes + 28), extra = mica_le16(bytes + 30),
           comment = mica_le16(bytes + 32);
    size_t all = CENTRAL_BYTES + name + extra + comment;
    if (all > left)
      return mica_fail(MICA_ERR_FORMAT, "%s: zip directory entry %llu is truncated", source->name,
                       (unsigned long long)i);
    uint16_t flags = mica_le16(bytes + 8);
    m->method = mica_le16(bytes + 10);
    m->crc = mica_le32(bytes + 16);
    m->packed = mica_le32(bytes + 20);
    m->size = mica_le32(bytes + 24);
    uint64_t local = mica_le32(bytes + 42);
    m->name = mica_strndup((const char *)bytes + CENTRAL_BYTES, name);
    if (!m->name) return MICA_ERR_MEMORY;
    zip->n++;
    if (strlen(m->name) != name)
      return mica_fail(MICA_ERR_FORMAT, "%s: member name with a NUL byte", source->name);
    if (!widen(bytes + CENTRAL_BYTES + name, extra, m, &local))
      return mica_fail(MICA_ERR_FORMAT, "%s: member %s: zip64 sizes missing", source->name,
                       m->name);
    if (flags & 1)
      return mica_fail(MICA_ERR_UNSUPPORTED, "%s: member %s is encrypted", source->name, m->name);
    if (m->method != 0 && m->method != 8)
      return mica_fail(MICA_ERR_UNSUPPORTED,
                       "%s: member %s: compression method %u, expected 0 (stored) or 8 (deflated)",
                       source->name, m->name, m->method);
    mica_status status = locate(source, m, local);
    if (status) return status;
    bytes += all;
    left -= all;
  }
  return MICA_OK;
}

typedef struct named {
  const char *name;
  int64_t i;
} named;

static int by_name(const void *a, const void *b) {
  return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

static mica_status sort_names(mica_zip *zip) {
  named *list = mica_malloc((size_t)zip->n * sizeof *list);
  zip->order = mica_malloc((size_t)zip->n * sizeof *zip->order);
  mica_status status = list && zip->order ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    for (int64_t i = 0; i < zip->n; i++) list[i] = (named){zip->member[i].name, i};
    if (zip->n) qsort(list, (size_t)zip->n, sizeof *list, by_name);
    for (int64_t i = 0; i < zip->n; i++) zip->order[i] = list[i].i;
  }
  mica_free(list);
  return status;
}

mica_status mica_zip_open(const mica_source *source, mica_zip *out) {
  *out = (mica_zip){.source = source};
  directory d = {0};
  mica_status status = find_directory(source, &d);
  if (status) return status;
  uint8_t *bytes = mica_malloc((size_t)d.bytes);
  out->member = mica_calloc((size_t)d.members, sizeof *out->member);
  status = bytes && out->member ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_source_read(source, d.offset, bytes, (size_t)d.bytes);
  if (!status) status = read_directory(out, bytes, (size_t)d.bytes, d.members);
  if (!status) status = sort_names(out);
  mica_free(bytes);
  if (status) mica_zip_close(out);
  return status;
}

void mica_zip_close(mica_zip *zip) {
  for (int64_t i = 0; i < zip->n; i++) mica_free(zip->member[i].name);
  mica_free(zip->member);
  mica_free(zip->order);
  *zip = (mica_zip){0};
}

const mica_zip_member *mica_zip_find(const mica_zip *zip, const char *name) {
  int64_t lo = 0, hi = zip->n;
  while (lo < hi) {
    int64_t mid = lo + (hi - lo) / 2;
    int order = strcmp(zip->member[zip->order[mid]].name, name);
    if (order == 0) return &zip->member[zip->order[mid]];
    if (order < 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  return NULL;
}

static mica_status wrong_sum(const mica_zip *zip, const mica_zip_member *m) {
  return mica_fail(MICA_ERR_FORMAT, "%s: member %s: checksum does not match, the file is damaged",
                   zip->source->name, m->name);
}

static mica_status extract_stored(const mica_zip *zip, const mica_zip_member *m, uint64_t skip,
                                  uint8_t *to, size_t n) {
  mica_status status = mica_source_read(zip->source, m->offset + skip, to, n);
  if (status || skip + n != m->size || skip > PART) return status;
  uint8_t *head = mica_malloc((size_t)skip);
  if (!head) return MICA_ERR_MEMORY;
  status = mica_source_read(zip->source, m->offset, head, (size_t)skip);
  if (!status && mica_crc32(mica_crc32(0, head, (size_t)skip), to, n) != m->crc)
    status = wrong_sum(zip, m);
  mica_free(head);
  return status;
}

#ifdef MICA_HAVE_ZLIB
void *mica_zlib_alloc(void *opaque, unsigned n, unsigned size) {
  (void)opaque;
  return mica_calloc(n, size);
}
void mica_zlib_free(void *opaque, void *block) {
  (void)opaque;
  mica_free(block);
}

typedef struct inflater {
  uint8_t in[PART], waste[PART];
} inflater;

static mica_status extract_deflated(const mica_zip *zip, const mica_zip_member *m, uint64_t skip,
                                    uint8_t *to, size_t n) {
  const char *file = zip->source->name;
  z_stream z = {.zalloc = mica_zlib_alloc, .zfree = mica_zlib_free};
  inflater *work = mica_malloc(sizeof *work);
  if (!work) return MICA_ERR_MEMORY;
  if (inflateInit2(&z, -MAX_WBITS) != Z_OK) {
    mica_free(work);
    return mica_fail(MICA_ERR_MEMORY, "%s: member %s: no memory to inflate", file, m->name);
  }
  mica_status status = MICA_OK;
  uint64_t at = 0, taken = 0; /* bytes made, bytes consumed */
  uint32_t sum = 0;
  int rc = Z_OK;
  bool whole = skip + n == m->size;
  while (!status && (at < skip + n || (whole && rc != Z_STREAM_END))) {
    if (!z.avail_in && taken < m->packed) {
      size_t part = m->packed - taken < PART ? (size_t)(m->packed - taken) : PART;
      status = mica_source_read(zip->source, m->offset + taken, work->in, part);
      if (status) break;
      taken += part;
      z.next_in = work->in;
      z.avail_in = (uInt)part;
    }
    /* Into the waste before `skip` and behind the end, where one byte too many is an error. */
    bool wanted = at >= skip && at < skip + n;
    uint64_t room = at < skip ? skip - at : wanted ? skip + n - at : 1;
    uint64_t most = wanted ? 1u << 30 : PART;
    if (room > most) room = most;
    uint8_t *target = wanted ? to + (at - skip) : work->waste;
    z.next_out = target;
    z.avail_out = (uInt)room;
    rc = inflate(&z, Z_NO_FLUSH);
    size_t made = (size_t)room - z.avail_out;
    sum = mica_crc32(sum, target, made);
    at += made;
    if (rc == Z_MEM_ERROR)
      status = mica_fail(MICA_ERR_MEMORY, "%s: member %s: no memory to inflate", file, m->name);
    else if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
      status = mica_fail(MICA_ERR_FORMAT, "%s: member %s: broken deflate data: %s", file, m->name,
                         z.msg ? z.msg : "unknown reason");
    else if (at > m->size || (rc == Z_STREAM_END && at < skip + n) ||
             (rc != Z_STREAM_END && !made && !z.avail_in && taken == m->packed))
      status = mica_fail(MICA_ERR_FORMAT,
                         "%s: member %s: deflate data of another length than %llu bytes", file,
                         m->name, (unsigned long long)m->size);
  }
  inflateEnd(&z);
  mica_free(work);
  if (!status && whole && sum != m->crc) status = wrong_sum(zip, m);
  return status;
}
#endif

mica_status mica_zip_extract(const mica_zip *zip, const mica_zip_member *m, uint64_t skip, void *to,
                             size_t n) {
  if (skip > m->size || n > m->size - skip)
    return mica_fail(
        MICA_ERR_FORMAT, "%s: member %s: truncated: %zu bytes expected at %llu of %llu",
        zip->source->name, m->name, n, (unsigned long long)skip, (unsigned long long)m->size);
  if (m->method == 0) return extract_stored(zip, m, skip, to, n);
#ifdef MICA_HAVE_ZLIB
  return extract_deflated(zip, m, skip, to, n);
#else
  return mica_fail(MICA_ERR_UNSUPPORTED, "%s: member %s: deflated members need a build with zlib",
                   zip->source->name, m->name);
#endif
}
