/* The engine: options, environment, threads, fork, log, plug-ins and the library slot. */
#include "support/failing_alloc.h"

#include "base/engine.h"
#include "tensor/kernel/kernel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static mica_engine *engine_of(int threads) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = threads;
  mica_engine *engine;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  return engine;
}

static void defaults_use_the_machine(void **state) {
  (void)state;
  mica_engine *engine;
  unsetenv("MICA_ISA");
  unsetenv("MICA_LIBRARIES");
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  assert_in_range(mica_engine_threads(engine), 1, 1024);
  assert_string_equal(mica_engine_isa(engine), mica_isa_name(mica_isa_detect()));
#ifdef MICA_HAVE_ONEDNN
  assert_true(mica_engine_uses_libraries(engine));
#else
  assert_false(mica_engine_uses_libraries(engine));
#endif
  mica_engine_free(engine);
  mica_engine_free(NULL);
}

static void a_share_of_time_limits_threads(void **state) {
  (void)state;
  assert_int_equal(mica_quota_threads("max", "100000"), 0);
  assert_int_equal(mica_quota_threads("-1", "100000"), 0);
  assert_int_equal(mica_quota_threads("", ""), 0);
  assert_int_equal(mica_quota_threads("200000 100000\n", "100000\n"), 2);
  assert_int_equal(mica_quota_threads("150000", "100000"), 2);
  assert_int_equal(mica_quota_threads("1000", "100000"), 1);
  assert_int_equal(mica_quota_threads("1e300", "1"), MICA_THREADS_MAX);
  assert_int_equal(mica_quota_threads("5", "0"), 0);
  assert_in_range(mica_process_threads(), 1, MICA_THREADS_MAX);
}

static void the_environment_is_heard(void **state) {
  (void)state;
  mica_engine *engine;
  setenv("MICA_ISA", "generic", 1);
  setenv("MICA_LIBRARIES", "0", 1);
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  assert_string_equal(mica_engine_isa(engine), "generic");
  assert_string_equal(mica_kernels_of(engine, MICA_F32)->isa, "generic");
  assert_string_equal(mica_kernels_of(engine, MICA_F64)->isa, "generic");
  assert_false(mica_engine_uses_libraries(engine));
  mica_engine_free(engine);
  setenv("MICA_ISA", "mmx", 1);
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_ERR_INVALID);
  assert_null(engine);
  assert_non_null(strstr(mica_last_error(), "MICA_ISA"));
  mica_engine_options o = MICA_ENGINE_OPTIONS; /* the option comes before the environment */
  o.isa = "generic";
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  mica_engine_free(engine);
  unsetenv("MICA_ISA");
  unsetenv("MICA_LIBRARIES");
  for (mica_isa isa = MICA_ISA_GENERIC; isa <= MICA_ISA_AVX512; isa++) {
    o.isa = mica_isa_name(isa);
    mica_status status = mica_engine_create(&o, &engine);
    assert_int_equal(status, isa <= mica_isa_detect() ? MICA_OK : MICA_ERR_UNSUPPORTED);
    if (!status) assert_string_equal(mica_kernels_of(engine, MICA_F64)->isa, o.isa);
    mica_engine_free(engine);
  }
}

static void wrong_options_are_refused(void **state) {
  (void)state;
  mica_engine *engine;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  assert_int_equal(mica_engine_create(&o, NULL), MICA_ERR_INVALID);
  o.size = 0;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_ERR_INVALID);
  o = (mica_engine_options)MICA_ENGINE_OPTIONS;
  o.threads = -1;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "threads"));
  o = (mica_engine_options)MICA_ENGINE_OPTIONS;
  o.libraries = 7;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_ERR_INVALID);
  o = (mica_engine_options)MICA_ENGINE_OPTIONS;
  o.primitives = -1;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_ERR_INVALID);
  o = (mica_engine_options)MICA_ENGINE_OPTIONS;
  o.threads = 3;
  o.primitives = -5;
  o.size =
      offsetof(mica_engine_options, primitives); /* a struct that ends before the wrong field */
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  assert_int_equal(mica_engine_threads(engine), 3);
  assert_int_equal(engine->primitives, 256);
  mica_engine_free(engine);
}

static mica_status create_and_free(void *ctx) {
  mica_engine *engine;
  mica_status status = mica_engine_create(ctx, &engine);
  mica_engine_free(engine);
  return status;
}

static void creation_survives_no_memory(void **state) {
  (void)state;
  assert_in_range(fail_each(create_and_free, NULL), 2, 10000);
}

static void what_is_built_in_passes_the_checks(void **state) {
  (void)state;
  mica_engine blank = {.threads = 1};
  int n = 0;
  const mica_component *const *builtin = mica_builtin_components(&n);
  assert_true(n > 0);
  for (int i = 0; i < n; i++)
    if (mica_engine_register(&blank, builtin[i])) fail_msg("%s", mica_last_error());
  for (int k = 0; k < MICA_KIND_COUNT; k++) mica_free((void *)blank.components[k].item);
}

/* ---- parallel ---- */

enum { chunk_count = 1000 };

typedef struct visits {
  const mica_engine *engine;
  int times[chunk_count];
} visits;

typedef struct inner {
  pthread_t caller;
  _Atomic(int) n, elsewhere;
} inner;

static void visit_inner(void *ctx, int64_t begin, int64_t end) {
  inner *i = ctx;
  i->n += (int)(end - begin);
  i->elsewhere += !pthread_equal(pthread_self(), i->caller);
}

static void visit(void *ctx, int64_t begin, int64_t end) {
  visits *v = ctx;
  for (int64_t i = begin; i < end; i++) {
    v->times[i]++;
    inner nested = {pthread_self(), 0, 0};
    mica_parallel_for(v->engine, 17, visit_inner, &nested);
    if (nested.n != 17) v->times[i] += 100;
    if (mica_in_parallel() && nested.elsewhere) v->times[i] += 1000;
  }
}

static void each_chunk_runs_once(void **state) {
  (void)state;
  for (int threads = 1; threads <= 4; threads++) {
    mica_engine *engine = engine_of(threads);
    for (int chunks = 0; chunks <= chunk_count; chunks = chunks * 3 + 1) {
      visits *v = calloc(1, sizeof *v);
      v->engine = engine;
      mica_parallel_for(engine, chunks, visit, v);
      for (int i = 0; i < chunk_count; i++) assert_int_equal(v->times[i], i < chunks);
      free(v);
    }
    mica_engine_free(engine);
  }
}

/* The first chunk is slow: it ends when another thread has taken over the last of its range. */
typedef struct takeover {
  pthread_t first;
  atomic_bool taken;
} takeover;

static void wait_for_help(void *ctx, int64_t begin, int64_t end) {
  takeover *o = ctx;
  if (begin == 0) {
    o->first = pthread_self();
    for (int i = 0; i < 20000 && !atomic_load(&o->taken); i++) usleep(1000);
  } else if (begin < 50 && end == 50) {
    atomic_store(&o->taken, true);
  }
}

static void threads_take_over(void **state) {
  (void)state;
  mica_engine *engine = engine_of(2);
  takeover o = {.taken = false};
  mica_parallel_for(engine, 100, wait_for_help, &o);
  assert_true(atomic_load(&o.taken));
  mica_engine_free(engine);
}

typedef struct summation {
  double partial[64];
  int64_t n;
} summation;

static void sum_chunk(void *ctx, int64_t begin, int64_t end) {
  summation *s = ctx;
  for (int64_t c = begin; c < end; c++) {
    s->partial[c] = 0;
    for (int64_t i = s->n * c / 64; i < s->n * (c + 1) / 64; i++)
      s->partial[c] += 1.0 / (double)(3 * i + 1);
  }
}

static double sum_with(int threads) {
  mica_engine *engine = engine_of(threads);
  summation s = {.n = 12345};
  mica_parallel_for(engine, 64, sum_chunk, &s);
  double total = 0;
  for (int c = 0; c < 64; c++) total += s.partial[c];
  mica_engine_free(engine);
  return total;
}

static void thread_counts_give_the_same_bits(void **state) {
  (void)state;
  double one = sum_with(1);
  for (int threads = 2; threads <= 5; threads++) {
    double many = sum_with(threads);
    assert_memory_equal(&one, &many, sizeof one);
  }
}

/* Regions one after the other and with rests between them, long enough for threads to fall asleep.
 */
static void *keep_visiting(void *ctx) {
  const mica_engine *engine = ctx;
  visits *v = calloc(1, sizeof *v);
  const char *wrong = NULL;
  v->engine = engine;
  for (int round = 0; round < 60 && !wrong; round++) {
    const int chunks = 1 + round * 13 % 100;
    memset(v->times, 0, sizeof v->times);
    mica_parallel_for(engine, chunks, visit, v);
    for (int i = 0; i < chunk_count; i++)
      if (v->times[i] != (i < chunks)) wrong = "a chunk was not run once";
    if (round % 20 == 19) usleep(4000);
  }
  free(v);
  return (void *)wrong;
}

static void callers_may_share_an_engine(void **state) {
  (void)state;
  mica_engine *engine = engine_of(3);
  pthread_t caller[3];
  for (int i = 0; i < 3; i++)
    assert_int_equal(pthread_create(&caller[i], NULL, keep_visiting, engine), 0);
  for (int i = 0; i < 3; i++) {
    void *wrong;
    assert_int_equal(pthread_join(caller[i], &wrong), 0);
    assert_null(wrong);
  }
  assert_null(keep_visiting(engine));
  mica_engine_free(engine);
}

typedef struct host {
  int calls;
  int64_t chunks;
} host;

static void host_parallel(void *ctx, int64_t chunks, mica_range_fn body, void *body_ctx) {
  host *h = ctx;
  h->calls++;
  h->chunks = chunks;
  for (int64_t i = chunks - 1; i >= 0; i--) body(body_ctx, i, i + 1);
}

static void the_hosts_loop_is_used(void **state) {
  (void)state;
  host h = {0, 0};
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 4;
  o.parallel = host_parallel;
  o.parallel_ctx = &h;
  mica_engine *engine;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  visits *v = calloc(1, sizeof *v);
  v->engine = engine;
  mica_parallel_for(engine, 37, visit, v);
  for (int i = 0; i < 37; i++) assert_int_equal(v->times[i], 1);
  assert_int_equal(h.calls, 1); /* the nested calls did not reach it */
  assert_int_equal(h.chunks, 37);
  inner single = {pthread_self(), 0, 0};
  mica_parallel_for(engine, 1, visit_inner, &single); /* one chunk is no work to share */
  assert_int_equal(single.n, 1);
  assert_int_equal(single.elsewhere, 0);
  assert_int_equal(h.calls, 1);
  assert_false(mica_in_parallel());
  free(v);
  mica_engine_free(engine);
}

static int child_after_fork(mica_engine *engine) {
  if (mica_engine_threads(engine) != 1) return 2;
  visits *v = calloc(1, sizeof *v);
  v->engine = engine;
  mica_parallel_for(engine, 100, visit, v);
  for (int i = 0; i < 100; i++)
    if (v->times[i] != 1) return 3;
  mica_engine *own;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 2;
  if (mica_engine_create(&o, &own)) return 4;
  if (mica_engine_threads(own) != 1) return 5; /* the pool is the parent's */
  v->engine = own;
  mica_parallel_for(own, 100, visit, v);
  mica_engine_free(own);
  free(v);
  return 0;
}

static void a_forked_child_does_not_hang(void **state) {
  (void)state;
  mica_engine *engine = engine_of(2);
  visits *v = calloc(1, sizeof *v);
  v->engine = engine;
  mica_parallel_for(engine, 100, visit, v);
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    alarm(20);
    const int code = child_after_fork(engine);
    free(v); /* so that a leak checker finds nothing in the child */
    _exit(code);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_int_equal(mica_engine_threads(engine), 2);
  mica_parallel_for(engine, 100, visit, v);
  free(v);
  mica_engine_free(engine);
}

/* ---- log, slot, plug-ins ---- */

typedef struct heard {
  int n;
  mica_log_level level;
  char text[2000];
} heard;

static void hear(void *ctx, mica_log_level level, const char *message) {
  heard *h = ctx;
  h->n++;
  h->level = level;
  snprintf(h->text, sizeof h->text, "%s", message);
}

static void the_log_reaches_the_host(void **state) {
  (void)state;
  heard h = {0};
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.log = hear;
  o.log_ctx = &h;
  mica_engine *engine;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  h.n = 0;
  mica_engine_log(engine, MICA_LOG_WARNING, "%d pictures skipped", 3);
  assert_int_equal(h.n, 1);
  assert_int_equal(h.level, MICA_LOG_WARNING);
  assert_string_equal(h.text, "3 pictures skipped");
  mica_engine_free(engine);
  engine = engine_of(1);
  mica_engine_log(engine, MICA_LOG_INFO, "into the silence");
  mica_engine_free(engine);
}

static _Atomic(int) slots_made, slots_freed;

static void *make_slot(const mica_engine *engine) {
  (void)engine;
  slots_made++;
  return mica_malloc(8);
}

static void free_slot(void *object) {
  slots_freed++;
  mica_free(object);
}

static void *no_slot(const mica_engine *engine) {
  (void)engine;
  return NULL;
}

static void take_slot(void *ctx, int64_t begin, int64_t end) {
  visits *v = ctx;
  (void)end;
  if (!mica_engine_slot(v->engine, make_slot, free_slot)) v->times[begin] = 1;
}

static void the_slot_is_made_once_and_freed(void **state) {
  (void)state;
  mica_engine *engine = engine_of(4);
  assert_null(mica_engine_slot(engine, no_slot, free_slot));
  visits *v = calloc(1, sizeof *v);
  v->engine = engine;
  mica_parallel_for(engine, 100, take_slot, v);
  for (int i = 0; i < 100; i++) assert_int_equal(v->times[i], 0);
  void *object = mica_engine_slot(engine, make_slot, free_slot);
  assert_ptr_equal(object, mica_engine_slot(engine, make_slot, free_slot));
  assert_int_equal(slots_made - slots_freed, 1);
  mica_engine_free(engine);
  assert_int_equal(slots_made, slots_freed);
  free(v);
}

static void a_missing_plugin_is_named(void **state) {
  (void)state;
  mica_engine *engine = engine_of(1);
  assert_int_equal(mica_engine_load_plugin(engine, "/nowhere/plugin.so"), MICA_ERR_IO);
  assert_non_null(strstr(mica_last_error(), "/nowhere/plugin.so"));
  assert_int_equal(mica_engine_load_plugin(engine, "libm.so.6"), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "mica_plugin_init"));
  assert_int_equal(mica_engine_load_plugin(engine, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_engine_load_plugin(NULL, "x"), MICA_ERR_INVALID);
  mica_engine_free(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_use_the_machine),
      cmocka_unit_test(a_share_of_time_limits_threads),
      cmocka_unit_test(the_environment_is_heard),
      cmocka_unit_test(wrong_options_are_refused),
      cmocka_unit_test(creation_survives_no_memory),
      cmocka_unit_test(what_is_built_in_passes_the_checks),
      cmocka_unit_test(each_chunk_runs_once),
      cmocka_unit_test(threads_take_over),
      cmocka_unit_test(thread_counts_give_the_same_bits),
      cmocka_unit_test(callers_may_share_an_engine),
      cmocka_unit_test(the_hosts_loop_is_used),
      cmocka_unit_test(a_forked_child_does_not_hang),
      cmocka_unit_test(the_log_reaches_the_host),
      cmocka_unit_test(the_slot_is_made_once_and_freed),
      cmocka_unit_test(a_missing_plugin_is_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
