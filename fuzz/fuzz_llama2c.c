/* Any bytes as a checkpoint of llama2.c; what loads must also run. */
#include "file.h"

#include <mica/generate.h>

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  const char *path = fuzz_write("fuzz.bin", bytes, n);
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *engine;
  mica_net *net;
  mica_generator *g;
  o.threads = 1;
  if (!path || mica_engine_create(&o, &engine) != MICA_OK) return 0;
  if (mica_net_read_llama2c(engine, path, &net) == MICA_OK) {
    if (mica_generator_create(net, NULL, &g) == MICA_OK) {
      int64_t token = 0;
      if (mica_generator_feed(g, 1, &token) == MICA_OK) (void)mica_generator_next(g, &token);
      mica_generator_free(g);
    }
    mica_net_free(net);
  }
  mica_engine_free(engine);
  return 0;
}
