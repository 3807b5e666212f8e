/* Many runs at once: each has the bits of the run alone on one thread, however many workers there
 * are; finished runs are recalled, failures stay with their run, and all can be stopped. */
#include "support/failing_alloc.h"

#include <mica/ops.h>
#include <mica/train_many.h>

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N       48
#define CLASSES 3
#define JOBS    9
#define MOST    4000

static char dir[] = "/tmp/mica-test-many-XXXXXX";
static const mica_problem task = MICA_PROBLEM_IMAGES(8, 8, 1, CLASSES);
static const char *const models[] = {"mlp:hidden=12:dropout=0.2",
                                     "convnet:widths=4,6:dropout=0.1:convolutions=1",
                                     "resnet:depth=8:width=2"};

/* What a test asks for, and what the runs leave. */
typedef struct world {
  _Atomic int made, ended, released, reports;
  float w[JOBS][MOST];
  int64_t n[JOBS];
  int fails_to_make, diverges, fails_to_end, stops; /* run number, -1: none */
  const char *loss;
} world;

static world fresh(void) {
  return (world){.fails_to_make = -1, .diverges = -1, .fails_to_end = -1, .stops = -1};
}

static int count_reports(void *ctx, const mica_train_metrics *m) {
  (void)m;
  atomic_fetch_add(&((world *)ctx)->reports, 1);
  return 0;
}
static int stop_at_once(void *ctx, const mica_train_metrics *m) {
  (void)ctx, (void)m;
  return 1;
}

static mica_status make(void *ctx, mica_engine *engine, int64_t job, mica_train_job *out) {
  world *w = ctx;
  mica_tensor *x = NULL, *labels = NULL;
  atomic_fetch_add(&w->made, 1);
  assert_int_equal(mica_engine_threads(engine), 1);
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(N, 8, 8, 1), &x);
  if (!status) status = mica_tensor_create(MICA_I64, MICA_SHAPE(N), &labels);
  for (int i = 0; i < N * 64 && !status; i++) {
    ((float *)mica_tensor_data(x))[i] = (float)mica_random_normal(mica_key_seed(5), (uint64_t)i);
    ((int64_t *)mica_tensor_data(labels))[i / 64] = i / 64 % CLASSES;
  }
  if (!status) status = mica_net_create(engine, models[job % 3], &task, (uint64_t)job, &out->net);
  if (!status)
    status = mica_memory_stream_create(x, labels, 8, true, false, (uint64_t)job, &out->train);
  if (!status) status = mica_memory_stream_create(x, labels, 16, false, false, 0, &out->validation);
  mica_tensor_free(x);
  mica_tensor_free(labels);
  snprintf(out->label, sizeof out->label, "%s, \"seed\" %d", models[job % 3], (int)job);
  out->options.epochs = 1 + job % 2;
  out->options.optimiser = job == w->diverges ? "sgd:lr=1e6" : "adamw:lr=0.02";
  out->options.seed = (uint64_t)job;
  if (w->loss) out->options.loss = w->loss;
  out->options.report = job == w->stops ? stop_at_once : count_reports;
  out->options.report_ctx = w;
  out->options.report_every = 2;
  out->own = w;
  if (!status && job == w->fails_to_make)
    status = mica_fail(MICA_ERR_NOT_FOUND, "there is no run %d", (int)job);
  return status;
}

static void keep(world *w, int64_t job, const mica_net *net) {
  const mica_params *p = mica_net_params(net);
  int64_t n = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_tensor *v = mica_param_value(mica_params_at(p, i));
    for (int64_t k = 0; k < mica_tensor_count(v); k++) {
      assert_true(n < MOST);
      w->w[job][n++] = (float)mica_tensor_get(v, k);
    }
  }
  w->n[job] = n;
}

static mica_status end(void *ctx, int64_t job, const mica_train_job *trained,
                       mica_train_outcome *outcome) {
  world *w = ctx;
  atomic_fetch_add(&w->ended, 1);
  assert_ptr_equal(trained->own, ctx);
  keep(w, job, trained->net);
  if (job == w->fails_to_end) return mica_fail(MICA_ERR_IO, "run %d cannot be kept", (int)job);
  if (job == 3) outcome->value = 42;
  return MICA_OK;
}

static void release(void *ctx, int64_t job, mica_train_job *made) {
  (void)job;
  atomic_fetch_add(&((world *)ctx)->released, 1);
  mica_memory_stream_free(&made->train);
  mica_memory_stream_free(&made->validation);
}

static mica_engine *engine_of(int threads, int libraries) {
  mica_engine *engine;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = threads;
  o.libraries = libraries;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  return engine;
}

static mica_train_many_options options_of(world *w) {
  mica_train_many_options o = MICA_TRAIN_MANY_OPTIONS;
  o.make = make;
  o.end = end;
  o.release = release;
  o.ctx = w;
  return o;
}

static void remove_files(void) {
  DIR *d = opendir(dir);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    char path[512];
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    unlink(path);
  }
  closedir(d);
}

/* ---- the same bits ---- */

/* Each run by hand, on an engine of one thread. */
static void alone(world *w, int libraries, mica_train_result *result) {
  mica_engine *engine = engine_of(1, libraries);
  for (int64_t i = 0; i < JOBS; i++) {
    mica_train_job job = {.options = MICA_TRAIN_OPTIONS};
    assert_int_equal(make(w, engine, i, &job), MICA_OK);
    assert_int_equal(mica_train(job.net, &job.train, &job.validation, &job.options, &result[i]),
                     MICA_OK);
    keep(w, i, job.net);
    release(w, i, &job);
    mica_net_free(job.net);
  }
  mica_engine_free(engine);
}

static void test_same_bits(void **state) {
  (void)state;
  static world one, many;
  static mica_train_result result[JOBS];
  static mica_train_outcome out[JOBS];
  for (int libraries = 0; libraries < 2; libraries++) {
    one = fresh();
    alone(&one, libraries, result);
    for (int threads = 1; threads <= 4; threads++) {
      mica_engine *engine = engine_of(threads, libraries);
      many = fresh();
      mica_train_many_options o = options_of(&many);
      o.workers = threads == 3 ? 2 : 0;
      if (mica_train_many(engine, JOBS, &o, out) != MICA_OK) fail_msg("%s", mica_last_error());
      for (int i = 0; i < JOBS; i++) {
        if (out[i].status) fail_msg("%s", out[i].message);
        if (one.n[i] != many.n[i] || memcmp(one.w[i], many.w[i], sizeof one.w[i]) != 0)
          fail_msg("run %d of %d workers, libraries %d: other weights than alone", i, threads,
                   libraries);
        assert_memory_equal(&out[i].result.loss, &result[i].loss, sizeof(double));
        assert_int_equal(out[i].result.steps, result[i].steps);
        assert_true(out[i].value == (i == 3 ? 42 : result[i].best_val_accuracy));
        assert_false(out[i].recalled);
        char label[64];
        snprintf(label, sizeof label, "%s, \"seed\" %d", models[i % 3], i);
        assert_string_equal(out[i].label, label);
      }
      assert_int_equal(many.made, JOBS);
      assert_int_equal(many.ended, JOBS);
      assert_int_equal(many.released, JOBS);
      assert_true(many.reports > JOBS);
      mica_engine_free(engine);
    }
  }
}

/* ---- the folder ---- */

static int stop_after_four(void *ctx, const char *what, int64_t done, int64_t total) {
  int64_t *most = ctx;
  assert_string_equal(what, "training");
  assert_int_equal(total, JOBS);
  assert_true(done >= *most && done <= total);
  *most = done;
  return done >= 4;
}

static char *read_text(const char *name) {
  static char text[8192];
  char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  return text;
}

static void test_recalled(void **state) {
  (void)state;
  static world whole, some, rest;
  static mica_train_outcome want[JOBS], part[JOBS], out[JOBS];
  mica_engine *engine = engine_of(2, 1);
  whole = fresh();
  mica_train_many_options o = options_of(&whole);
  assert_int_equal(mica_train_many(engine, JOBS, &o, want), MICA_OK);
  /* Stopped on the way ... */
  int64_t most = 0;
  some = fresh();
  o.ctx = &some;
  o.dir = dir;
  o.progress = stop_after_four;
  o.progress_ctx = &most;
  assert_int_equal(mica_train_many(engine, JOBS, &o, part), MICA_ERR_CANCELLED);
  int done = 0;
  for (int i = 0; i < JOBS; i++) {
    assert_true(part[i].status == MICA_OK || part[i].status == MICA_ERR_CANCELLED);
    done += part[i].status == MICA_OK;
  }
  assert_true(done >= 4 && done < JOBS);
  assert_null(read_text("results.csv"));
  assert_int_equal(some.made, some.released);
  /* ... and taken up: what was finished is measured again from its file. */
  rest = fresh();
  o.ctx = &rest;
  o.progress = NULL;
  if (mica_train_many(engine, JOBS, &o, out) != MICA_OK) fail_msg("%s", mica_last_error());
  for (int i = 0; i < JOBS; i++) {
    assert_int_equal(out[i].status, MICA_OK);
    assert_int_equal(out[i].recalled, part[i].status == MICA_OK);
    assert_memory_equal(whole.w[i], rest.w[i], sizeof whole.w[i]);
    assert_memory_equal(&want[i].result.loss, &out[i].result.loss, sizeof(double));
    assert_memory_equal(&want[i].result.best_val_loss, &out[i].result.best_val_loss,
                        sizeof(double));
    assert_int_equal(want[i].result.epochs, out[i].result.epochs);
    assert_int_equal(want[i].result.best_epoch, out[i].result.best_epoch);
    assert_true(want[i].value == out[i].value);
  }
  const char *table = read_text("results.csv");
  assert_non_null(table);
  assert_non_null(strstr(table, "job,label,status,value,epochs,steps,loss,"));
  assert_non_null(strstr(table, "3,\"mlp:hidden=12:dropout=0.2, \"\"seed\"\" 3\",ok,42,2,12,"));
  /* Other runs in the same folder are refused, and none of the files changes. */
  static world other;
  other = fresh();
  other.loss = "ce:smoothing=0.2";
  o.ctx = &other;
  assert_int_equal(mica_train_many(engine, JOBS, &o, out), MICA_ERR_STATE);
  assert_non_null(strstr(mica_last_error(), "job-00000"));
  assert_non_null(strstr(mica_last_error(), "take another folder"));
  /* Whole, whichever run told it first. */
  assert_int_equal(mica_last_error()[strlen(mica_last_error()) - 1], ')');
  /* A file that is none. */
  char path[256];
  snprintf(path, sizeof path, "%s/job-000002.safetensors", dir);
  FILE *f = fopen(path, "wb");
  fputs("not a checkpoint", f);
  fclose(f);
  o.ctx = &rest;
  assert_int_equal(mica_train_many(engine, JOBS, &o, out), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "job-000002.safetensors"));
  mica_engine_free(engine);
  remove_files();
}

/* ---- failures ---- */

static void test_failures_stay(void **state) {
  (void)state;
  static world w;
  static mica_train_outcome out[JOBS];
  mica_engine *engine = engine_of(2, 0);
  w = fresh();
  w.fails_to_make = 1, w.diverges = 3, w.fails_to_end = 5, w.stops = 7;
  mica_train_many_options o = options_of(&w);
  o.dir = dir;
  assert_int_equal(mica_train_many(engine, JOBS, &o, out), MICA_OK);
  for (int i = 0; i < JOBS; i++) {
    const mica_status want = i == 1   ? MICA_ERR_NOT_FOUND
                             : i == 3 ? MICA_ERR_NUMERIC
                             : i == 5 ? MICA_ERR_IO
                             : i == 7 ? MICA_ERR_CANCELLED
                                      : MICA_OK;
    if (out[i].status != want) fail_msg("run %d: %d, %s", i, out[i].status, out[i].message);
    assert_true((out[i].message[0] == 0) == (want == MICA_OK));
  }
  assert_non_null(strstr(out[1].message, "there is no run 1"));
  assert_int_equal(w.made, JOBS);
  assert_int_equal(w.released, JOBS);
  const char *table = read_text("results.csv");
  assert_non_null(strstr(table, "\"seed\"\" 3\",numeric failure,,,,,,,\n"));
  mica_train_summary s[3];
  mica_train_summarise(out, 3, 3, s);
  assert_int_equal(s[0].n, 2);
  assert_int_equal(s[1].n, 1);
  assert_int_equal(s[2].n, 2);
  assert_true(isnan(s[1].deviation) && s[1].mean == out[4].value);
  mica_engine_free(engine);
  remove_files();
}

static mica_status bare(void *ctx, mica_engine *engine, int64_t job, mica_train_job *out) {
  (void)ctx, (void)engine, (void)job, (void)out;
  return MICA_OK;
}

static void test_refusals(void **state) {
  (void)state;
  mica_engine *engine = engine_of(2, 0);
  mica_train_outcome out[2];
  mica_train_many_options o = MICA_TRAIN_MANY_OPTIONS;
  assert_int_equal(mica_train_many(engine, 1, &o, out), MICA_ERR_INVALID);
  o.make = bare;
  assert_int_equal(mica_train_many(engine, -1, &o, out), MICA_ERR_INVALID);
  assert_int_equal(mica_train_many(engine, 1, &o, NULL), MICA_ERR_INVALID);
  o.workers = -1;
  assert_int_equal(mica_train_many(engine, 1, &o, out), MICA_ERR_INVALID);
  o.workers = 0;
  assert_int_equal(mica_train_many(engine, 0, &o, NULL), MICA_OK);
  assert_int_equal(mica_train_many(engine, 2, &o, out), MICA_OK);
  assert_int_equal(out[0].status, MICA_ERR_INVALID);
  assert_non_null(strstr(out[1].message, "without a network or a stream"));
  o.dir = "/proc/nowhere/at/all";
  assert_true(mica_train_many(engine, 2, &o, out) != MICA_OK);
  mica_engine_free(engine);
}

static void test_summary(void **state) {
  (void)state;
  static const double values[] = {1, 2, 4, 1e9 + 1, 1e9 + 2, 1e9 + 3, NAN, NAN, 7};
  mica_train_outcome out[9];
  mica_train_summary s[3];
  for (int i = 0; i < 9; i++) out[i] = (mica_train_outcome){.value = values[i]};
  mica_train_summarise(out, 3, 3, s);
  assert_true(fabs(s[0].mean - 7.0 / 3) < 1e-15 && s[0].least == 1 && s[0].most == 4);
  assert_true(fabs(s[0].deviation - sqrt(7.0 / 3)) < 1e-15);
  assert_true(s[1].mean == 1e9 + 2 && fabs(s[1].deviation - 1) < 1e-9);
  assert_true(s[2].n == 1 && s[2].mean == 7 && isnan(s[2].deviation));
  out[8].status = MICA_ERR_NUMERIC;
  mica_train_summarise(out + 6, 1, 3, s);
  assert_true(s[0].n == 0 && isnan(s[0].mean) && isnan(s[0].least) && isnan(s[0].most));
}

/* ---- components of the caller's engine ---- */

static mica_var half_forward(mica_tape *t, mica_node *node, const void *options,
                             const mica_loss_inputs *in) {
  (void)node, (void)options;
  return mica_affine(t, mica_cross_entropy(t, in->logits, in->labels, MICA_NONE, 0), 0.5, 0);
}
static const mica_loss_functions half_functions = {.forward = half_forward};
static const mica_component half = {MICA_COMPONENT_HEAD,
                                    MICA_KIND_LOSS,
                                    "half",
                                    "half of cross-entropy",
                                    NULL,
                                    NULL,
                                    0,
                                    MICA_NEED_LOGITS | MICA_NEED_LABELS,
                                    0,
                                    &half_functions};

static void test_own_components(void **state) {
  (void)state;
  static world w;
  static mica_train_outcome out[JOBS];
  mica_engine *engine = engine_of(2, 0);
  assert_int_equal(mica_engine_register(engine, &half), MICA_OK);
  w = fresh();
  w.loss = "half";
  mica_train_many_options o = options_of(&w);
  assert_int_equal(mica_train_many(engine, 4, &o, out), MICA_OK);
  for (int i = 0; i < 4; i++)
    if (out[i].status) fail_msg("%s", out[i].message);
  mica_engine_free(engine);
}

/* ---- memory ---- */

static mica_status two_runs(void *ctx) {
  static world w;
  mica_engine *engine = NULL;
  mica_engine_options eo = MICA_ENGINE_OPTIONS;
  mica_train_outcome out[2] = {{0}};
  eo.threads = 1;
  eo.libraries = 0;
  (void)ctx;
  w = fresh();
  remove_files();
  mica_status status = mica_engine_create(&eo, &engine);
  mica_train_many_options o = options_of(&w);
  o.dir = dir;
  if (!status) status = mica_train_many(engine, 2, &o, out);
  for (int i = 0; i < 2 && !status; i++)
    if (out[i].status) status = mica_fail(out[i].status, "%s", out[i].message);
  mica_engine_free(engine);
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  failing_alloc_install();
  assert_int_equal(two_runs(NULL), MICA_OK);
  assert_true(fail_every(7, two_runs, NULL) > 100);
  failing_alloc_remove();
  remove_files();
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
      cmocka_unit_test(test_same_bits),      cmocka_unit_test(test_recalled),
      cmocka_unit_test(test_failures_stay),  cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_summary),        cmocka_unit_test(test_own_components),
      cmocka_unit_test(test_failing_memory),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
