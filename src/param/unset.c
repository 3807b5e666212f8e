/* A value that is loaded from a mapped file is never written here, so what its making costs is
 * asking the system for memory and giving it back. That is done for many values at once. */
#include "param/unset.h"

#include "base/memory.h"
#include "tensor/dtype.h"

#include <stdatomic.h>

#define ALIGNMENT 64
#define BLOCK     ((size_t)64 << 10) /* the first; each is twice the one before, up to the largest */
#define LARGEST   ((size_t)4 << 20)
#define SMALLEST  256 /* bytes; smaller ones come from memory that the process has */

struct mica_unset {
  atomic_int owners;
  size_t size, used;
  _Alignas(ALIGNMENT) uint8_t bytes[];
};

void mica_unset_release(mica_unset *block) {
  if (block && atomic_fetch_sub_explicit(&block->owners, 1, memory_order_acq_rel) == 1)
    mica_free_aligned(block);
}

static void release(void *ctx, void *data) {
  (void)data;
  mica_unset_release(ctx);
}

mica_status mica_unset_tensor(mica_unset **block, mica_dtype dtype, mica_shape shape,
                              mica_tensor **out) {
  const int64_t count = mica_shape_count(&shape);
  const size_t each = mica_dtype_valid(dtype) ? mica_dtype_size(dtype) : 0;
  const bool fits = count > 0 && each && (uint64_t)count <= LARGEST / 2 / each;
  const size_t bytes = fits ? ((size_t)count * each + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1) : 0;
  if (bytes < SMALLEST) return mica_tensor_create(dtype, shape, out);
  *out = NULL;
  mica_unset *b = *block;
  if (!b || bytes > b->size - b->used) {
    size_t size = !b ? BLOCK : b->size < LARGEST ? 2 * b->size : LARGEST;
    while (size < 2 * bytes) size *= 2;
    b = mica_calloc_aligned(sizeof *b + size);
    if (!b) return MICA_ERR_MEMORY;
    atomic_init(&b->owners, 1);
    b->size = size;
    mica_unset_release(*block);
    *block = b;
  }
  mica_status status = mica_tensor_wrap(b->bytes + b->used, dtype, shape, release, b, out);
  if (status != MICA_OK) return status;
  atomic_fetch_add_explicit(&b->owners, 1, memory_order_relaxed);
  b->used += bytes;
  return MICA_OK;
}
