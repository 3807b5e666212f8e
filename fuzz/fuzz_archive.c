/* Any bytes as a tensor file: safetensors, npy, npz, PyTorch's two forms. */
#include <mica/data.h>

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  mica_archive *a;
  if (mica_archive_open_memory(bytes, n, "fuzz", &a)) return 0;
  int64_t budget = INT64_C(1) << 24;
  for (int64_t i = 0; i < mica_archive_count(a) && budget > 0; i++) {
    mica_tensor *t;
    budget -= mica_shape_count(mica_archive_shape(a, i)) + 64;
    if (budget > 0 && !mica_archive_read(a, i, &t)) mica_tensor_free(t);
    if (mica_archive_find(a, mica_archive_name(a, i)) != i) __builtin_trap();
    uint8_t row[4096];
    const mica_shape *s = mica_archive_shape(a, i);
    if (mica_archive_has_rows(a, i) && s->dim[0] > 0 &&
        mica_shape_count(s) / s->dim[0] * (int64_t)mica_dtype_size(mica_archive_dtype(a, i)) <=
            4096)
      (void)mica_archive_read_rows(a, i, s->dim[0] - 1, s->dim[0], row);
  }
  mica_archive_close(a);
  return 0;
}
