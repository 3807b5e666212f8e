/* Bytes at an offset, from a file or from memory.
 *
 * Files are read with pread rather than mapped: a mapped file that another process cuts short kills
 * the reader with a signal, and a library inside somebody's program must answer with an error. (A
 * model file is mapped all the same, for its weights: see archive_map.c.) A source has no position,
 * so any number of threads may read it at once.
 */
#ifndef MICA_DATA_SOURCE_H
#define MICA_DATA_SOURCE_H

#include <mica/base.h>

typedef struct mica_source {
  int fd; /* -1: memory */
  const uint8_t *bytes;
  uint64_t size;
  char *name;
} mica_source;

/* A regular file. */
mica_status mica_source_open(const char *path, mica_source *out);
mica_status mica_source_memory(const void *bytes, size_t n, const char *name, mica_source *out);
void mica_source_close(mica_source *source);

/* Exactly n bytes; a range that is not inside the source is MICA_ERR_FORMAT. */
mica_status mica_source_read(const mica_source *source, uint64_t offset, void *to, size_t n);

/* Little-endian loads from bytes of any alignment. */
static inline uint16_t mica_le16(const uint8_t *p) {
  return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t mica_le32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t mica_le64(const uint8_t *p) {
  return (uint64_t)mica_le32(p) | (uint64_t)mica_le32(p + 4) << 32;
}
static inline uint32_t mica_be32(const uint8_t *p) {
  return (uint32_t)p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24;
}

#endif
