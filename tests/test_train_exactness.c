/* What a training run promises: the same bits again, whatever the thread count of the library's own
 * kernels, and after a stop and a resume at any step with everything switched on; early stopping,
 * best and last weights, moving average, accumulation and clipping as documented.
 */
#include "support/test.h"

#include <mica/train.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N       96
#define CLASSES 3

static char dir[] = "/tmp/mica-test-exactness-XXXXXX";
static const mica_problem task = MICA_PROBLEM_IMAGES(8, 8, 1, CLASSES);

typedef struct outcome {
  mica_status status;
  mica_train_result result;
  int64_t n;
  float w[20000]; /* all weights and statistics */
} outcome;

static mica_engine *engine_of(int threads, int libraries) {
  mica_engine *engine;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = threads;
  o.libraries = libraries;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  return engine;
}

/* Noise, with a little of the class in one corner: it is learnt slowly. */
static void make_data(mica_tensor **x, mica_tensor **labels) {
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(N, 8, 8, 1), x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(N), labels), MICA_OK);
  for (int i = 0; i < N * 64; i++) {
    const int label = i / 64 % CLASSES, p = i % 64;
    ((float *)mica_tensor_data(*x))[i] =
        (float)(mica_random_normal(mica_key_seed(5), (uint64_t)i) + (p / 22 == label ? 0.7 : 0));
    ((int64_t *)mica_tensor_data(*labels))[i / 64] = label;
  }
}

static int stop_at(void *ctx, const mica_train_metrics *m) {
  return m->step >= *(const int64_t *)ctx;
}

static void run(mica_engine *engine, const char *model, int64_t batch, int64_t stop,
                mica_train_options o, outcome *out) {
  mica_net *net;
  mica_tensor *x, *labels;
  mica_stream stream, validation;
  make_data(&x, &labels);
  assert_int_equal(mica_net_create(engine, model, &task, 3, &net), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, labels, batch, true, false, 11, &stream), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, labels, 64, false, false, 0, &validation), MICA_OK);
  o.report_every = 1;
  if (stop) {
    o.report = stop_at;
    o.report_ctx = &stop;
  }
  memset(out, 0, sizeof *out);
  out->status = mica_train(net, &stream, &validation, &o, &out->result);
  const mica_params *p = mica_net_params(net);
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_tensor *v = mica_param_value(mica_params_at(p, i));
    for (int64_t k = 0; k < mica_tensor_count(v); k++) {
      assert_true(out->n < (int64_t)(sizeof out->w / sizeof *out->w));
      out->w[out->n++] = (float)mica_tensor_get(v, k);
    }
  }
  mica_memory_stream_free(&stream);
  mica_memory_stream_free(&validation);
  mica_tensor_free(x);
  mica_tensor_free(labels);
  mica_net_free(net);
}

static void remove_files(void) {
  static const char *const names[] = {"last", "best"};
  char path[256];
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s.safetensors", dir, names[i]);
    unlink(path);
  }
}

static const mica_train_options plain = MICA_TRAIN_OPTIONS;

static mica_train_options all_on(void) {
  mica_train_options o = plain;
  o.epochs = 3;
  o.accumulate = 2;
  o.average = 0.8;
  o.clip = 0.5;
  o.seed = 7;
  o.optimiser = "adamw:lr=0.01";
  return o;
}

static const char *const models[] = {"mlp:hidden=24:dropout=0.2", "resnet:depth=8:width=4",
                                     "vit:patch=4:dim=16:depth=2:heads=2:dropout=0.1"};

static void test_same_bits(void **state) {
  (void)state;
  static outcome a, b, one;
  for (int m = 0; m < 3; m++)
    for (int libraries = 0; libraries < 2; libraries++) {
      mica_engine *two = engine_of(2, libraries), *single = engine_of(1, libraries);
      run(two, models[m], 16, 0, all_on(), &a);
      run(two, models[m], 16, 0, all_on(), &b);
      run(single, models[m], 16, 0, all_on(), &one);
      assert_int_equal(a.status, MICA_OK);
      assert_memory_equal(a.w, b.w, sizeof a.w);
      const bool same = memcmp(a.w, one.w, sizeof a.w) == 0;
      /* A library may cut its sums by the number of threads; our own kernels may not. */
      if (libraries)
        print_message("%s with libraries: 1 and 2 threads give %s bits\n", models[m],
                      same ? "the same" : "other");
      else if (!same)
        fail_msg("%s: 1 and 2 threads differ", models[m]);
      mica_engine_free(two);
      mica_engine_free(single);
    }
}

static void test_resume_anywhere(void **state) {
  (void)state;
  static outcome whole, part, rest;
  mica_engine *engine = engine_of(2, 1);
  for (int m = 0; m < 3; m++) {
    mica_train_options o = all_on();
    run(engine, models[m], 16, 0, o, &whole);
    assert_int_equal(whole.result.steps, 9);
    for (int64_t stop = 1; stop <= 9; stop += m ? 4 : 1) {
      o.dir = dir;
      o.resume = true;
      run(engine, models[m], 16, stop, o, &part);
      assert_int_equal(part.status, MICA_ERR_CANCELLED);
      run(engine, models[m], 16, 0, o, &rest);
      if (rest.status) fail_msg("%s", mica_last_error());
      if (memcmp(whole.w, rest.w, sizeof whole.w) != 0)
        fail_msg("%s: a resume at step %lld gives other weights", models[m], (long long)stop);
      assert_memory_equal(&whole.result.loss, &rest.result.loss, sizeof(double));
      assert_int_equal(whole.result.best_epoch, rest.result.best_epoch);
      remove_files();
    }
  }
  mica_engine_free(engine);
}

static void test_early_stop(void **state) {
  (void)state;
  static outcome a, again, part;
  mica_engine *engine = engine_of(1, 0);
  mica_train_options o = all_on();
  o.epochs = 60;
  o.patience = 2;
  o.dir = dir;
  o.optimiser = "sgd:lr=0"; /* nothing gets better */
  run(engine, models[0], 16, 0, o, &a);
  assert_int_equal(a.status, MICA_OK);
  assert_true(a.result.stopped_early);
  assert_int_equal(a.result.best_epoch, 0);
  assert_int_equal(a.result.epochs, 3);
  /* Stopped is stopped: a resume trains no further, a longer patience does. */
  o.resume = true;
  run(engine, models[0], 16, 0, o, &again);
  assert_true(again.result.stopped_early);
  assert_int_equal(again.result.epochs, 3);
  assert_memory_equal(a.w, again.w, sizeof a.w);
  o.patience = 4;
  run(engine, models[0], 16, 0, o, &again);
  assert_int_equal(again.result.epochs, 5);
  /* Taken up with other batches: refused, with a reason; so is a counter that is no number. */
  run(engine, models[0], 5, 0, o, &part);
  assert_int_equal(part.status, MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "batch size and accumulation it was started with"));
  char path[256];
  snprintf(path, sizeof path, "%s/last.safetensors", dir);
  FILE *f = fopen(path, "r+b");
  assert_non_null(f);
  /* The widest elements come first: the optimiser's step, then the run's counters. */
  static char head[1 << 16];
  const size_t n = fread(head, 1, sizeof head, f);
  uint64_t header = 0;
  assert_true(n > 8);
  for (int i = 0; i < 8; i++) header |= (uint64_t)(unsigned char)head[i] << 8 * i;
  const char *run_at = NULL;
  for (size_t i = 8; i + 5 < n && !run_at; i++)
    if (memcmp(head + i, "\"run\"", 5) == 0) run_at = head + i;
  assert_non_null(run_at);
  const char *offsets = strstr(run_at, "data_offsets\":[");
  assert_non_null(offsets);
  const double bad = (double)NAN;
  assert_int_equal(fseek(f, (long)(8 + header + strtoull(offsets + 15, NULL, 10)), SEEK_SET), 0);
  assert_int_equal(fwrite(&bad, sizeof bad, 1, f), 1);
  fclose(f);
  run(engine, models[0], 16, 0, o, &part);
  assert_int_equal(part.status, MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "run: the epoch is"));
  assert_non_null(strstr(mica_last_error(), "expected a whole number"));
  remove_files();
  mica_engine_free(engine);
}

static void test_best_is_what_was_measured(void **state) {
  (void)state;
  static outcome a;
  mica_engine *engine = engine_of(1, 0);
  mica_train_options o = plain;
  o.epochs = 6;
  o.dir = dir;
  o.optimiser = "sgd:lr=1.5"; /* up and down */
  run(engine, "mlp:hidden=16", 16, 0, o, &a);
  assert_int_equal(a.status, MICA_OK);
  mica_net *net;
  mica_tensor *x, *labels;
  mica_stream validation;
  mica_evaluation e;
  char path[256];
  snprintf(path, sizeof path, "%s/best.safetensors", dir);
  make_data(&x, &labels);
  assert_int_equal(mica_net_create(engine, "mlp:hidden=16", &task, 99, &net), MICA_OK);
  assert_int_equal(mica_params_load(mica_net_params(net), path, NULL, NULL), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, labels, 64, false, false, 0, &validation), MICA_OK);
  assert_int_equal(mica_evaluate(net, &validation, false, false, &e), MICA_OK);
  assert_true(e.accuracy == a.result.best_val_accuracy && e.loss == a.result.best_val_loss);
  mica_memory_stream_free(&validation);
  mica_tensor_free(x);
  mica_tensor_free(labels);
  mica_net_free(net);
  mica_engine_free(engine);
  remove_files();
}

static double distance(const outcome *a, const outcome *b) {
  double sum = 0;
  assert_int_equal(a->n, b->n);
  for (int64_t i = 0; i < a->n; i++) sum += pow((double)a->w[i] - (double)b->w[i], 2);
  return sqrt(sum);
}

static void test_arithmetic(void **state) {
  (void)state;
  static outcome start, one, other;
  mica_engine *engine = engine_of(1, 0);
  mica_train_options o = plain;
  const char *model = "mlp:hidden=16";
  o.epochs = 1;
  o.schedule = "constant";
  o.optimiser = "sgd:lr=0";
  run(engine, model, N, 0, o, &start);
  /* One step of all examples, and the same in four parts whose gradients are averaged. */
  o.optimiser = "sgd:lr=0.5";
  run(engine, model, N, 0, o, &one);
  assert_int_equal(one.result.steps, 1);
  o.accumulate = 4;
  run(engine, model, N / 4, 0, o, &other);
  assert_int_equal(other.result.steps, 1);
  const double step = distance(&start, &one);
  assert_true(step > 0.01);
  assert_true(distance(&one, &other) < 1e-5 * step);
  /* Clipped, the step has the length it may have. */
  o.accumulate = 1;
  o.clip = step / 0.5 / 10;
  run(engine, model, N, 0, o, &other);
  assert_true(fabs(distance(&start, &other) - step / 10) < 1e-3 * step);
  /* The average of the start and the step. */
  o.clip = 0;
  o.average = 0.75;
  run(engine, model, N, 0, o, &other);
  assert_true(fabs(distance(&start, &other) - 0.25 * step) < 1e-5 * step);
  assert_true(fabs(distance(&one, &other) - 0.75 * step) < 1e-5 * step);
  mica_engine_free(engine);
}

static int make_dir(void **state) {
  (void)state;
  return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
  (void)state;
  remove_files();
  return rmdir(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_same_bits),  cmocka_unit_test(test_resume_anywhere),
      cmocka_unit_test(test_early_stop), cmocka_unit_test(test_best_is_what_was_measured),
      cmocka_unit_test(test_arithmetic),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
