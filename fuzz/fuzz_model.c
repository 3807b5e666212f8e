/* Any bytes as a model file; what opens, answers one picture or row by each of its heads, and can
 * be written and read again. */
#include "file.h"

#include <mica/model.h>

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void ask(mica_model *m) {
  const mica_preprocess *p = mica_model_preprocess(m);
  const int64_t size = (p->height ? p->height * p->width : 1) * p->channels;
  static uint8_t zeros[4 << 14];
  mica_session *s;
  mica_answer answer;
  if (size > 1 << 14 || mica_session_create(m, &s)) return;
  const mica_view x =
      p->height ? mica_view_of(zeros, MICA_U8, MICA_SHAPE(1, p->height, p->width, p->channels))
                : mica_view_of(zeros, MICA_F32, MICA_SHAPE(1, p->channels));
  for (int64_t i = -1; i < mica_model_heads(m); i++) {
    mica_head_facts facts = {0};
    if (i >= 0 && mica_model_head(m, i, &facts) != MICA_OK) continue;
    (void)mica_model_answer_with(m, i < 0 ? NULL : facts.name);
    if (mica_predict(s, &x, &answer) == MICA_OK && !answer.name) __builtin_trap();
    (void)mica_head_add_class(m, "another", &x);
  }
  mica_session_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  static mica_engine *engine;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_model *m, *again;
  o.threads = 1;
  o.libraries = 0;
  if (!engine && mica_engine_create(&o, &engine)) return 0;
  if (mica_model_open_memory(engine, bytes, n, "fuzz", &m)) return 0;
  ask(m);
  const char *path = fuzz_write("model.mica", bytes, 0);
  if (path && mica_model_save(m, path) == MICA_OK) { /* what one mica writes, it reads */
    if (mica_model_open(engine, path, &again)) __builtin_trap();
    mica_model_free(again);
  }
  mica_model_free(m);
  return 0;
}
