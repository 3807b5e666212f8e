/* FNV-1a, 64 bits (Fowler, Noll, Vo). A seed other than 0 continues an earlier hash. */
#include <mica/base.h>

uint64_t mica_hash64(const void *bytes, size_t n, uint64_t seed) {
  const uint8_t *p = bytes;
  uint64_t h = seed ? seed : 0xcbf29ce484222325u;
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}
