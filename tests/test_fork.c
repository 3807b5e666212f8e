/* A host may fork after it has used the library. The child has none of its parent's threads: it
 * works on one, with the engine it inherits and with one of its own, and never waits for ever. A
 * watchdog ends a child that does.
 *
 * The work is all that starts or keeps threads: products and a convolutional network's training
 * step (oneDNN, OpenMP), a factorisation in float64 (OpenBLAS), the host's own loop.
 */
#include "support/test.h"

#include "base/process.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/lapack.h"

#include <mica/train.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIDE    192 /* large enough for the libraries */
#define SECONDS 120 /* of a child's work, which takes under one */

typedef struct results {
  double product32, product64, largest, loss[2];
} results;

static float a32[SIDE * SIDE], b32[SIDE * SIDE];
static double a64[SIDE * SIDE];

static void fill(void) {
  const mica_key key = mica_key_seed(3);
  for (uint64_t i = 0; i < SIDE * SIDE; i++) {
    a64[i] = mica_random_normal(key, i);
    a32[i] = (float)a64[i];
    b32[i] = (float)mica_random_normal(key, i + SIDE * SIDE);
  }
}

static mica_status products(const mica_engine *engine, results *r) {
  static float c32[SIDE * SIDE];
  static double c64[SIDE * SIDE];
  mica_status status = mica_gemm(engine, MICA_F32, false, true, SIDE, SIDE, SIDE, 1, a32, SIDE, b32,
                                 SIDE, 0, c32, SIDE);
  if (!status)
    status = mica_gemm(engine, MICA_F64, false, true, SIDE, SIDE, SIDE, 1, a64, SIDE, a64, SIDE, 0,
                       c64, SIDE);
  double values[SIDE];
  if (!status) status = mica_lapack_eigen(engine, MICA_F64, SIDE, c64, SIDE, values, NULL);
  r->product32 = r->product64 = 0;
  for (int i = 0; i < SIDE * SIDE; i++) {
    r->product32 += fabs((double)c32[i]);
    r->product64 += fabs(c64[i]);
  }
  r->largest = status ? 0 : values[SIDE - 1];
  return status;
}

/* Two steps, so that the second sees the first's update. */
static mica_status train(mica_engine *engine, results *r) {
  const mica_problem task = MICA_PROBLEM_IMAGES(16, 16, 3, 4);
  mica_net *net = NULL;
  mica_optimiser *optimiser = NULL;
  mica_tape *t = NULL;
  mica_tensor *x = NULL, *labels = NULL;
  mica_status status = mica_net_create(engine, "resnet:depth=8:width=8", &task, 3, &net);
  if (!status)
    status = mica_optimiser_create(mica_net_params(net), "sgd:lr=0.05:momentum=0.9", &optimiser);
  if (!status) status = mica_tape_create(engine, NULL, &t);
  if (!status) status = mica_tensor_create(MICA_F32, MICA_SHAPE(16, 16, 16, 3), &x);
  if (!status) status = mica_tensor_create(MICA_I64, MICA_SHAPE(16), &labels);
  for (int i = 0; i < 16 * 16 * 16 * 3 && !status; i++) ((float *)mica_tensor_data(x))[i] = a32[i];
  for (int i = 0; i < 16 && !status; i++) ((int64_t *)mica_tensor_data(labels))[i] = i % 4;
  for (int i = 0; i < 2 && !status; i++) {
    mica_outputs o;
    mica_tape_reset(t);
    mica_set_training(t, true);
    mica_params_zero_grad(mica_net_params(net));
    mica_net_forward(t, net, mica_input(t, x), &o);
    mica_var loss = mica_cross_entropy(t, o.logits, mica_input(t, labels), MICA_NONE, NULL);
    r->loss[i] = mica_item(t, loss);
    status = mica_backward(t, loss);
    if (!status) status = mica_optimiser_step(optimiser, t, 1);
    if (!status) status = mica_commit(t);
  }
  mica_tensor_free(x);
  mica_tensor_free(labels);
  mica_tape_free(t);
  mica_optimiser_free(optimiser);
  mica_net_free(net);
  return status;
}

static mica_status work(mica_engine *engine, results *r) {
  mica_status status = products(engine, r);
  return status ? status : train(engine, r);
}

static bool near_to(double got, double want) {
  return fabs(got - want) <= 1e-3 * fabs(want);
}
static bool same(const results *a, const results *b) {
  return near_to(a->product32, b->product32) && near_to(a->product64, b->product64) &&
         near_to(a->largest, b->largest) && near_to(a->loss[0], b->loss[0]) &&
         near_to(a->loss[1], b->loss[1]);
}

/* Runs in the child: 0 when all went well. */
static int child_work(mica_engine *inherited, const results *want, bool own) {
  results got;
  if (mica_engine_threads(inherited) != 1) return 2;
  if (work(inherited, &got)) return 3;
  if (!same(&got, want)) return 4;
  if (!own) return 0;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 2;
  mica_engine *engine;
  if (mica_engine_create(&o, &engine)) return 5;
  if (work(engine, &got)) return 6;
  if (!same(&got, want)) return 7;
  mica_engine_free(engine);
  return 0;
}

static void expect_child(mica_engine *engine, const results *want, bool own) {
  fflush(NULL);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (!child) {
    alarm(SECONDS);
    _exit(child_work(engine, want, own));
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status)) fail_msg("the child ended by signal %d", WTERMSIG(status));
  if (WEXITSTATUS(status)) fail_msg("the child's check %d failed", WEXITSTATUS(status));
}

static mica_engine *engine_of(mica_parallel_fn parallel, void *ctx, int libraries) {
  mica_engine *engine;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 2;
  o.libraries = libraries;
  o.parallel = parallel;
  o.parallel_ctx = ctx;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  return engine;
}

static void test_after_work(void **state) {
  (void)state;
  for (int libraries = 1; libraries >= 0; libraries--) {
    mica_engine *engine = engine_of(NULL, NULL, libraries);
    results want, again;
    assert_int_equal(work(engine, &want), MICA_OK);
    for (int i = 0; i < 2; i++) expect_child(engine, &want, true);
    /* The parent has its threads still. */
    assert_int_equal(mica_engine_threads(engine), 2);
    assert_int_equal(work(engine, &again), MICA_OK);
    assert_memory_equal(&want, &again, sizeof want);
    mica_engine_free(engine);
  }
}

/* A loop of the host's that would be the end of a child: its threads are not there. */
static void host_parallel(void *host, int64_t chunks, mica_range_fn body, void *ctx) {
  if (getpid() != *(const pid_t *)host) _exit(9);
  body(ctx, chunks / 2, chunks);
  body(ctx, 0, chunks / 2);
}

static void test_hosts_loop(void **state) {
  (void)state;
  pid_t self = getpid();
  mica_engine *engine = engine_of(host_parallel, &self, 1);
  results want;
  assert_int_equal(work(engine, &want), MICA_OK);
  expect_child(engine, &want, true);
  mica_engine_free(engine);
}

typedef struct busy {
  mica_engine *engine;
  atomic_bool stop;
  atomic_int rounds;
  mica_status status;
} busy;

static void *keep_busy(void *ctx) {
  busy *b = ctx;
  while (!atomic_load(&b->stop) && !b->status) {
    float c[48 * 48];
    b->status = mica_gemm(b->engine, MICA_F32, false, false, 48, 48, SIDE, 1, a32, SIDE, b32, SIDE,
                          0, c, 48);
    atomic_fetch_add(&b->rounds, 1);
  }
  return NULL;
}

/* While another thread is inside a product, and may hold any lock. The child uses what it
 * inherits. */
static void test_during_work(void **state) {
  (void)state;
  mica_engine *engine = engine_of(NULL, NULL, 1);
  results want;
  assert_int_equal(work(engine, &want), MICA_OK);
  busy b = {.engine = engine};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, keep_busy, &b), 0);
  for (int i = 0; i < 8; i++) {
    const int seen = atomic_load(&b.rounds);
    while (atomic_load(&b.rounds) == seen) usleep(100);
    expect_child(engine, &want, false);
  }
  atomic_store(&b.stop, true);
  pthread_join(thread, NULL);
  assert_int_equal(b.status, MICA_OK);
  mica_engine_free(engine);
}

/* A child knows itself from its parent, and its own child too. */
static void test_processes_are_told_apart(void **state) {
  (void)state;
  assert_int_equal(mica_process(), getpid());
  const pid_t child = fork();
  if (child == 0) {
    if (mica_process() != getpid()) _exit(1);
    const pid_t grandchild = fork();
    if (grandchild == 0) _exit(mica_process() != getpid());
    int status = 1;
    _exit(waitpid(grandchild, &status, 0) != grandchild || status != 0);
  }
  int status = 1;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_int_equal(mica_process(), getpid());
}

int main(void) {
  fill();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_processes_are_told_apart),
      cmocka_unit_test(test_after_work),
      cmocka_unit_test(test_hosts_loop),
      cmocka_unit_test(test_during_work),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
