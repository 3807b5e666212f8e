/* Making, borrowing and saving the arrays of an index. */
#include "index/arrays.h"

#include <string.h>

mica_status mica_index_array_make(mica_dtype dtype, mica_shape shape, mica_tensor **held,
                                  void **data) {
  mica_status status = mica_tensor_create(dtype, shape, held);
  if (!status) *data = mica_tensor_view(*held).data;
  return status;
}

mica_status mica_index_array_take(const mica_record *record, const char *who, const char *name,
                                  mica_dtype dtype, int64_t n, mica_tensor **held, void **data) {
  for (int64_t i = 0; i < mica_record_count(record); i++) {
    const char *other;
    mica_tensor *t = mica_record_at(record, i, &other);
    if (strcmp(other, name) != 0) continue;
    const mica_view v = mica_tensor_view(t);
    if (v.dtype != dtype || mica_shape_count(&v.shape) != n) break;
    *held = mica_tensor_retain(t);
    *data = v.data;
    return MICA_OK;
  }
  return mica_fail(MICA_ERR_FORMAT, "%s: no tensor '%s' of %lld %s", who, name, (long long)n,
                   mica_dtype_name(dtype));
}

mica_status mica_index_arrays_save(mica_record *record, const char *const *name,
                                   mica_tensor *const *held, size_t n) {
  mica_status status = MICA_OK;
  for (size_t i = 0; i < n && !status; i++)
    if (held[i]) status = mica_record_put(record, name[i], held[i]);
  return status;
}
