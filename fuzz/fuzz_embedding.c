/* Any bytes as a packed embedding table; what opens gives its first and last rows. */
#include <mica/embedding.h>

#include <stdlib.h>
#include <string.h>

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  static mica_engine *engine;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_packed_embedding *p;
  mica_embedding_facts f;
  o.threads = 1;
  o.libraries = 0;
  if (!engine && mica_engine_create(&o, &engine)) return 0;
  if (mica_packed_embedding_open_memory(bytes, n, "fuzz", &p) != MICA_OK) return 0;
  mica_packed_embedding_describe(p, &f);
  float *out = malloc((size_t)(16 * f.width) * sizeof *out);
  for (int64_t first = 0; out && first < 2; first++) {
    int64_t rows[16], m = f.rows < 16 ? f.rows : 16;
    for (int64_t i = 0; i < m; i++) rows[i] = first ? f.rows - 1 - i : i;
    if (mica_packed_embedding_rows(p, engine, m, rows, out) != MICA_OK) __builtin_trap();
  }
  free(out);
  mica_packed_embedding_free(p);
  return 0;
}
