/* Any bytes as an index file; what opens answers a query for all its rows. */
#include <mica/index.h>

#include <stdlib.h>
#include <string.h>

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { wide = 1024, many = 512 };

static void ask(const mica_index *index) {
  static double x[wide], score[many];
  static int64_t row[many];
  const int64_t d = mica_index_width(index), rows = mica_index_count(index);
  char name[64];
  if (d > wide || rows > 1 << 16) return;
  for (int64_t i = 0; i < d; i++) x[i] = (double)(i % 5) - 2;
  const mica_view query = mica_view_of(x, MICA_F64, MICA_SHAPE(1, d));
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = many;
  o.self_id = mica_index_ids(index);
  if (mica_index_query(index, &query, &o, row, score)) return;
  for (int i = 0; i < many; i++)
    if (row[i] < -1 || row[i] >= rows || (row[i] >= 0 && score[i] != score[i])) __builtin_trap();
  (void)mica_index_name(index, row[0], name, sizeof name);
  (void)mica_index_text(index, "classes");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  static mica_engine *engine;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_index *index;
  o.threads = 1;
  o.libraries = 0;
  if (!engine && mica_engine_create(&o, &engine)) return 0;
  void *copy = malloc(n + 1); /* aligned, and its end is watched */
  if (!copy) return 0;
  memcpy(copy, bytes, n);
  if (mica_index_open_memory(engine, copy, n, "fuzz", &index) == MICA_OK) {
    ask(index);
    mica_index_free(index);
  }
  free(copy);
  return 0;
}
