/* Zip archives as npz and torch.save write them: members stored or deflated, zip64.
 *
 * The directory at the end of the file is believed only as far as it can be checked: every member
 * must lie inside the file, and a size that deflate could not have produced is refused before
 * anything is allocated for it.
 */
#ifndef MICA_DATA_ZIP_H
#define MICA_DATA_ZIP_H

#include "data/source.h"

typedef struct mica_zip_member {
  char *name;
  uint16_t method; /* 0 stored, 8 deflated */
  uint32_t crc;
  uint64_t packed, size; /* bytes in the file, bytes unpacked */
  uint64_t offset;       /* of the packed bytes */
} mica_zip_member;

typedef struct mica_zip {
  const mica_source *source;
  int64_t n;
  mica_zip_member *member;
  int64_t *order; /* members sorted by name */
} mica_zip;

/* The source must outlive the zip. */
mica_status mica_zip_open(const mica_source *source, mica_zip *out);
void mica_zip_close(mica_zip *zip);
/* NULL (no error) when absent. */
const mica_zip_member *mica_zip_find(const mica_zip *zip, const char *name);

/* Bytes [skip, skip + n) of the unpacked member. When that reaches the member's end, and began with
 * its head (skip <= 64 KiB), the checksum of the whole member is compared too. */
mica_status mica_zip_extract(const mica_zip *zip, const mica_zip_member *member, uint64_t skip,
                             void *to, size_t n);

/* CRC-32 as zip has it, continuing from `crc` (0 to start). */
uint32_t mica_crc32(uint32_t crc, const void *bytes, size_t n);

#ifdef MICA_HAVE_ZLIB
/* zlib's allocations through our hooks: for z_stream's zalloc and zfree. */
void *mica_zlib_alloc(void *opaque, unsigned n, unsigned size);
void mica_zlib_free(void *opaque, void *block);
#endif

#endif
