/* Tensors that stay in the file: pages of a mapping, private to the process and copied when they
 * are written. */
#include "data/archive.h"

#include <stdatomic.h>
#include <sys/mman.h>

#define ALIGNMENT 64

struct mica_archive_map {
  atomic_int owners;
  uint8_t *bytes;
  size_t n;
};

static void release(void *ctx, void *data) {
  mica_archive_map *map = ctx;
  (void)data;
  if (atomic_fetch_sub_explicit(&map->owners, 1, memory_order_acq_rel) != 1) return;
  munmap(map->bytes, map->n);
  mica_free(map);
}

/* All pages in one call instead of a fault for some of them at a time; where the system refuses, it
 * is told to read ahead and they come by and by. In large pages, where the file system has them in
 * memory: mapping and giving back what the file holds is then hundreds of times less work. What is
 * not in memory yet is read into large pages for that reason. */
static void prepare(uint8_t *bytes, size_t n) {
#ifdef MADV_HUGEPAGE
  madvise(bytes, n, MADV_HUGEPAGE);
#endif
#ifdef MADV_POPULATE_READ
  if (madvise(bytes, n, MADV_POPULATE_READ) == 0) return;
#endif
  madvise(bytes, n, MADV_WILLNEED);
}

mica_status mica_archive_map_file(mica_archive *a) {
  if (a->map || a->source.fd < 0 || !a->source.size || a->source.size > PTRDIFF_MAX) return MICA_OK;
  mica_archive_map *map = mica_calloc(1, sizeof *map);
  if (!map) return MICA_ERR_MEMORY;
  atomic_init(&map->owners, 1);
  map->n = (size_t)a->source.size;
  map->bytes = mmap(NULL, map->n, PROT_READ | PROT_WRITE, MAP_PRIVATE, a->source.fd, 0);
  if (map->bytes == MAP_FAILED) {
    mica_free(map); /* some file systems map nothing: tensors are then read */
    return MICA_OK;
  }
  prepare(map->bytes, map->n);
  a->map = map;
  return MICA_OK;
}

void mica_archive_unmap(mica_archive *a) {
  if (a->map) release(a->map, NULL);
  a->map = NULL;
}

mica_status mica_archive_borrow(const mica_archive *a, int64_t i, mica_tensor **out) {
  *out = NULL;
  if (!a->map || i < 0 || i >= a->n) return MICA_OK;
  const mica_archive_entry *e = &a->entry[i];
  if (e->element != MICA_ELEMENT_PLAIN || e->dtype == MICA_BOOL || e->swap || e->fortran ||
      e->complex || e->strided || e->member >= 0 || !e->extent || e->offset % ALIGNMENT ||
      e->extent > a->map->n || e->offset > a->map->n - e->extent)
    return MICA_OK;
  atomic_fetch_add_explicit(&a->map->owners, 1, memory_order_relaxed);
  const mica_status status =
      mica_tensor_wrap(a->map->bytes + e->offset, e->dtype, e->shape, release, a->map, out);
  if (status) release(a->map, NULL);
  return status;
}
