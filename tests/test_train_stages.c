/* Stages of a run: what is trained in each, values that come back or are drawn again, rules, losses
 * and schedules of their own; and that a run which stops anywhere goes on to the same bytes. */
#include "support/test.h"

#include <mica/train.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N       96
#define CLASSES 3
#define BATCH   16 /* six steps an epoch */
#define STEPS   6
#define MOST    40

static char dir[] = "/tmp/mica-test-stages-XXXXXX";
static const mica_problem task = MICA_PROBLEM_IMAGES(8, 8, 1, CLASSES);
static mica_engine *engine;

/* What a run leaves, and its weights after each step. */
typedef struct outcome {
  mica_status status;
  mica_train_result result;
  mica_train_metrics seen[MOST];
  int64_t n, steps, stop;
  const mica_net *net;
  float start[20000], w[20000], after[MOST][2000];
} outcome;

static void flatten(const mica_params *p, float *to, int64_t most, int64_t *n) {
  *n = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_tensor *v = mica_param_value(mica_params_at(p, i));
    for (int64_t k = 0; k < mica_tensor_count(v) && *n < most; k++)
      to[(*n)++] = (float)mica_tensor_get(v, k);
  }
}

static int watch(void *ctx, const mica_train_metrics *m) {
  outcome *out = ctx;
  int64_t n;
  if (m->step <= MOST) {
    out->seen[m->step - 1] = *m;
    flatten(mica_net_params(out->net), out->after[m->step - 1], 2000, &n);
  }
  out->steps = m->step;
  return out->stop && m->step >= out->stop;
}

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

static const char small[] = "mlp:hidden=8:dropout=0.2";

/* `stages` ends with NULL. */
static void run(const char *model, const char *const *stages, mica_train_options o, outcome *out) {
  mica_net *net;
  mica_tensor *x, *labels;
  mica_stream stream, validation;
  make_data(&x, &labels);
  assert_int_equal(mica_net_create(engine, model, &task, 3, &net), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, labels, BATCH, true, false, 11, &stream), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, labels, 64, false, false, 0, &validation), MICA_OK);
  const int64_t stop = out->stop;
  memset(out, 0, sizeof *out);
  out->stop = stop;
  out->net = net;
  o.report_every = 1;
  o.report = watch;
  o.report_ctx = out;
  o.stages = stages;
  while (stages && stages[o.n_stages]) o.n_stages++;
  flatten(mica_net_params(net), out->start, 20000, &out->n);
  out->status = mica_train(net, &stream, &validation, &o, &out->result);
  flatten(mica_net_params(net), out->w, 20000, &out->n);
  /* What is trainable is as it was. */
  for (int64_t i = 0; i < mica_params_count(mica_net_params(net)); i++) {
    const uint32_t flags = mica_param_flags(mica_params_at(mica_net_params(net), i));
    assert_true(((flags & MICA_PARAM_TRAINABLE) != 0) == !(flags & MICA_PARAM_BUFFER));
  }
  mica_memory_stream_free(&stream);
  mica_memory_stream_free(&validation);
  mica_tensor_free(x);
  mica_tensor_free(labels);
  mica_net_free(net);
}

static mica_train_options plain(void) {
  mica_train_options o = MICA_TRAIN_OPTIONS;
  o.optimiser = "sgd:lr=0.1:momentum=0.9";
  o.schedule = "constant";
  o.seed = 7;
  return o;
}

#define STAGES(...)                                                                                \
  (const char *const[]) {                                                                          \
    __VA_ARGS__, NULL                                                                              \
  }

/* The mlp's entries in order: layers.0.weight [8,64], layers.0.bias [8], head.weight [3,8],
 * head.bias [3]. */
enum { BODY = 8 * 64 + 8, HEAD = 3 * 8 + 3, ALL = BODY + HEAD };

static bool same(const float *a, const float *b, int from, int n) {
  return memcmp(a + from, b + from, (size_t)n * sizeof *a) == 0;
}

static void must(const outcome *out) {
  if (out->status) fail_msg("%s", mica_last_error());
}

static void test_one_stage_is_the_run(void **state) {
  (void)state;
  static outcome a, b;
  mica_train_options o = plain();
  o.epochs = 3;
  o.schedule = "cosine:warmup=2";
  run(small, NULL, o, &a);
  o.epochs = 10;
  run(small, STAGES("epochs=3"), o, &b);
  must(&b);
  assert_int_equal(b.result.epochs, 3);
  assert_int_equal(b.seen[0].steps_total, 3 * STEPS);
  for (int i = 0; i < 3 * STEPS; i++) assert_int_equal(b.seen[i].examples, (i + 1) * BATCH);
  assert_memory_equal(a.w, b.w, sizeof a.w);
}

static void test_freezing(void **state) {
  (void)state;
  static outcome a;
  run(small,
      STAGES("train=head.*", "unfreeze=*:freeze=*.bias",
             "freeze=layers.*,head.weight:unfreeze=head.bias"),
      plain(), &a);
  must(&a);
  const float *one = a.after[STEPS - 1], *two = a.after[2 * STEPS - 1];
  assert_true(same(one, a.start, 0, BODY));
  assert_false(same(one, a.start, BODY, HEAD));
  /* unfreeze comes after freeze: everything. */
  assert_false(same(two, one, 0, 8 * 64));
  assert_false(same(two, one, 8 * 64, 8));
  assert_true(same(a.w, two, 0, ALL - CLASSES));
  assert_false(same(a.w, two, ALL - CLASSES, CLASSES));
  assert_int_equal(a.seen[0].stage, 0);
  assert_int_equal(a.seen[3 * STEPS - 1].stage, 2);
  assert_int_equal(a.result.epochs, 3);
}

/* What is put back is what was there: with a rate of 0 it stays so. */
static void test_rewinding(void **state) {
  (void)state;
  static outcome a;
  static const struct {
    const char *stage;
    int step; /* 0: the start */
    int from, n;
  } cases[] = {
      {"rewind=*:optimiser=(sgd:lr=0)", 0, 0, ALL},
      {"rewind=*:rewind_epoch=1:optimiser=(sgd:lr=0)", STEPS, 0, ALL},
      {"rewind=*:rewind_step=4:optimiser=(sgd:lr=0)", 4, 0, ALL},
      {"rewind=layers.*:rewind_step=9:optimiser=(sgd:lr=0)", 9, 0, BODY},
      {"rewind=*:rewind_epoch=2:optimiser=(sgd:lr=0)", 2 * STEPS, 0, ALL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    run(small, STAGES("epochs=2", cases[i].stage), plain(), &a);
    must(&a);
    const float *want = cases[i].step ? a.after[cases[i].step - 1] : a.start;
    assert_true(same(a.w, want, cases[i].from, cases[i].n));
    /* The rest is as the stage before left it. */
    const float *end = a.after[2 * STEPS - 1];
    assert_true(cases[i].n == ALL || same(a.w, end, BODY, HEAD));
    assert_true(cases[i].step == 2 * STEPS || !same(a.w, end, 0, BODY));
  }
  /* Two stages go back to different moments, one of them twice. */
  run(small,
      STAGES("epochs=1", "rewind=*", "rewind=*:rewind_step=8",
             "rewind=*:rewind_step=8:optimiser=(sgd:lr=0)"),
      plain(), &a);
  must(&a);
  assert_true(same(a.w, a.after[7], 0, ALL));
}

static void test_retraining(void **state) {
  (void)state;
  static outcome a, b;
  mica_train_options o = plain();
  run(small, STAGES("epochs=2", "retrain=head.*:optimiser=(sgd:lr=0)"), o, &a);
  must(&a);
  const float *before = a.after[2 * STEPS - 1];
  assert_true(same(a.w, before, 0, BODY));
  for (int i = BODY; i < ALL - CLASSES; i++) /* other draws than both */
    assert_true(a.w[i] != before[i] && a.w[i] != a.start[i]);
  /* The same again, other draws with another seed and in another stage. */
  run(small, STAGES("epochs=2", "retrain=head.*:optimiser=(sgd:lr=0)"), o, &b);
  assert_memory_equal(a.w, b.w, sizeof a.w);
  o.seed = 8;
  run(small, STAGES("epochs=2", "retrain=head.*:optimiser=(sgd:lr=0)"), o, &b);
  assert_false(same(a.w, b.w, BODY, HEAD));
  o.seed = 7;
  run(small, STAGES("epochs=1", "epochs=1", "retrain=head.*:optimiser=(sgd:lr=0)"), o, &b);
  assert_false(same(a.w, b.w, BODY, HEAD));
}

static void test_rules_and_rates(void **state) {
  (void)state;
  static outcome a, b;
  mica_train_options o = plain();
  o.schedule = "linear";
  run(small, STAGES("epochs=2", "lr=0.5", "schedule=constant", "lr=0.01:optimiser=(adam:lr=0.2)"),
      o, &a);
  must(&a);
  for (int i = 0; i < 5 * STEPS; i++) {
    const double want = i < 2 * STEPS   ? 0.1 * (1 - i / 12.0)
                        : i < 3 * STEPS ? 0.5 * (1 - (i - 12) / 6.0)
                        : i < 4 * STEPS ? 0.1
                                        : 0.01;
    if (!(fabs(a.seen[i].lr - want) < 1e-12))
      fail_msg("step %d: %g, not %g", i, a.seen[i].lr, want);
  }
  /* A kept momentum moves on, a new one begins at rest. */
  run(small, STAGES("epochs=1", "epochs=1"), plain(), &a);
  run(small, STAGES("epochs=1", "epochs=1:state=reset"), plain(), &b);
  assert_true(same(a.after[STEPS - 1], b.after[STEPS - 1], 0, ALL));
  assert_false(same(a.w, b.w, 0, ALL));
  run(small, STAGES("epochs=1", "optimiser=(sgd:lr=0.1:momentum=0.9)"), plain(), &a);
  assert_true(same(a.w, b.w, 0, ALL));
  /* Another loss from then on. */
  run(small, STAGES("epochs=1", "loss=(ce:smoothing=0.5)"), plain(), &a);
  run(small, STAGES("epochs=1", "epochs=1"), plain(), &b);
  assert_true(same(a.after[STEPS - 1], b.after[STEPS - 1], 0, ALL));
  assert_true(a.seen[STEPS].loss > b.seen[STEPS].loss);
  run(small, STAGES("loss=(ce:smoothing=0.5)", "epochs=1"), plain(), &b);
  assert_true(b.seen[STEPS].loss > 0.5);
}

static void test_average_follows(void **state) {
  (void)state;
  static outcome a;
  mica_train_options o = plain();
  o.average = 0.9;
  run(small, STAGES("epochs=2", "rewind=*:retrain=head.*:optimiser=(sgd:lr=0)"), o, &a);
  must(&a);
  /* The net ends with the average: of values that did not move any more. */
  assert_true(same(a.w, a.start, 0, BODY));
  assert_true(same(a.w, a.after[3 * STEPS - 1], BODY, HEAD));
}

static void test_patience_ends_a_stage(void **state) {
  (void)state;
  static outcome a;
  mica_train_options o = plain();
  o.patience = 1;
  o.optimiser = "sgd:lr=0"; /* nothing gets better */
  run(small,
      STAGES("epochs=9", "epochs=2:optimiser=(sgd:lr=0.01)", "epochs=5:optimiser=(sgd:lr=0)"), o,
      &a);
  must(&a);
  assert_int_equal(a.seen[2 * STEPS - 1].stage, 0);
  assert_int_equal(a.seen[2 * STEPS].stage, 1);
  /* The best begins anew: the first epoch of each stage is its best so far. */
  assert_true(a.seen[STEPS - 1].best && !a.seen[2 * STEPS - 1].best && a.seen[3 * STEPS - 1].best);
  assert_true(a.result.stopped_early);
  assert_int_equal(a.result.best_epoch, a.result.epochs - 2);
  /* What the run did not come to cannot come back. */
  run(small, STAGES("epochs=9", "rewind=*:rewind_epoch=5"), o, &a);
  assert_int_equal(a.status, MICA_ERR_STATE);
  assert_non_null(strstr(mica_last_error(), "rewind to step 30, which the run did not come to"));
}

/* ---- resume ---- */

static long read_file(const char *name, char *to, long most) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  const long n = (long)fread(to, 1, (size_t)most, f);
  assert_true(n < most);
  fclose(f);
  return n;
}

static void remove_files(void) {
  static const char *const names[] = {"last", "best"};
  char path[256];
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s.safetensors", dir, names[i]);
    unlink(path);
  }
}

static void test_resume_anywhere(void **state) {
  (void)state;
  static outcome whole, part, rest;
  static char last[2][1 << 20], best[2][1 << 20];
  static const char *const models[] = {"mlp:hidden=24:dropout=0.2", "resnet:depth=8:width=4"};
  const char *const stages[] = {
      "epochs=2:freeze=head.*,linear.*", "rewind=*.weight:rewind_step=2:unfreeze=*:lr=0.02",
      "retrain=head.*,linear.*:rewind=*:rewind_epoch=1:optimiser=(adagrad:lr=0.05|*.bias=sgd:lr=0."
      "1)",
      "rewind=*:state=reset:loss=(ce:smoothing=0.2):schedule=constant", NULL};
  for (int m = 0; m < 2; m++) {
    mica_train_options o = plain();
    o.accumulate = 2;
    o.average = 0.8;
    o.clip = 0.5;
    o.optimiser = "adamw:lr=0.01";
    o.schedule = "cosine";
    o.dir = dir;
    o.save_every = 2;
    whole.stop = 0;
    run(models[m], stages, o, &whole);
    must(&whole);
    assert_int_equal(whole.result.steps, 15);
    const long n = read_file("last.safetensors", last[0], sizeof last[0]);
    const long n_best = read_file("best.safetensors", best[0], sizeof best[0]);
    remove_files();
    o.resume = true;
    for (int64_t stop = 1; stop <= 15; stop += m ? 2 : 1) {
      part.stop = stop;
      run(models[m], stages, o, &part);
      assert_int_equal(part.status, MICA_ERR_CANCELLED);
      run(models[m], stages, o, &rest);
      must(&rest);
      if (memcmp(whole.w, rest.w, sizeof whole.w) != 0)
        fail_msg("%s: a resume at step %lld gives other weights", models[m], (long long)stop);
      assert_int_equal(read_file("last.safetensors", last[1], sizeof last[1]), n);
      assert_memory_equal(last[0], last[1], (size_t)n);
      assert_int_equal(read_file("best.safetensors", best[1], sizeof best[1]), n_best);
      assert_memory_equal(best[0], best[1], (size_t)n_best);
      assert_int_equal(whole.result.best_epoch, rest.result.best_epoch);
      /* A run that stopped at its end has nothing more to report. */
      if (stop < 15) assert_int_equal(rest.seen[14].examples, whole.seen[14].examples);
      remove_files();
    }
  }
  /* Stopped in the last stage, and taken up with fewer. */
  mica_train_options o = plain();
  o.dir = dir;
  o.resume = true;
  part.stop = 3 * STEPS;
  run(small, STAGES("epochs=1", "epochs=1", "epochs=5"), o, &part);
  assert_int_equal(part.status, MICA_ERR_CANCELLED);
  part.stop = 0;
  run(small, STAGES("epochs=1", "epochs=1"), o, &part);
  assert_int_equal(part.status, MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "another run than this one with 2 stages"));
  remove_files();
}

/* ---- what cannot work ---- */

static void test_refusals(void **state) {
  (void)state;
  static outcome a;
  static const struct {
    const char *stage, *message;
    mica_status status;
  } cases[] = {
      {"epochs=0", "stage 2: option epochs", MICA_ERR_INVALID},
      {"epoch=3", "did you mean 'epochs'", MICA_ERR_INVALID},
      {"freeze=heads.*", "stage 2: freeze: 'heads.*' matches no parameter", MICA_ERR_NOT_FOUND},
      {"retrain=heads.*", "stage 2: retrain: 'heads.*' matches no", MICA_ERR_NOT_FOUND},
      {"freeze=*", "stage 2: no parameter is trainable", MICA_ERR_INVALID},
      {"rewind=*:rewind_step=13", "stage 2: rewind to step 13, and the stage begins at step 12",
       MICA_ERR_INVALID},
      {"rewind=*:rewind_step=1:rewind_epoch=1", "one of rewind_epoch and rewind_step",
       MICA_ERR_INVALID},
      {"rewind_step=1", "say when, and `rewind` which", MICA_ERR_INVALID},
      {"optimiser=adamm", "stage 2: no optimiser is named 'adamm'", MICA_ERR_NOT_FOUND},
      {"optimiser=(head.*=sgd)", "no rule for parameter", MICA_ERR_INVALID},
      {"loss=cee", "stage 2", MICA_ERR_NOT_FOUND},
      {"loss=mse", "stage 2: loss mse needs targets; this run has", MICA_ERR_INVALID},
      {"loss=(ce|ce)", "stage 2: 2 losses for 1 streams", MICA_ERR_INVALID},
      {"schedule=(cosine:warmup=-1)", "stage 2", MICA_ERR_INVALID},
      {"lr=0.1:optimiser=(sgd:lr=0)", "stage 2: lr stands for the rate", MICA_ERR_INVALID},
      {"epochs=1)", "parentheses do not match", MICA_ERR_INVALID},
      {"state=drop", "keep", MICA_ERR_INVALID},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    run(small, STAGES("epochs=2", cases[i].stage), plain(), &a);
    if (a.status != cases[i].status || !strstr(mica_last_error(), cases[i].message))
      fail_msg("%s: %d, %s", cases[i].stage, a.status, mica_last_error());
    /* All but the rate are found before the first step. */
    assert_true(a.steps == 0 || strncmp(cases[i].stage, "lr=", 3) == 0);
  }
  mica_train_options o = plain();
  o.n_stages = 65;
  mica_net *net;
  mica_tensor *x, *labels;
  mica_stream stream;
  make_data(&x, &labels);
  assert_int_equal(mica_net_create(engine, small, &task, 3, &net), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, labels, BATCH, true, false, 11, &stream), MICA_OK);
  assert_int_equal(mica_train(net, &stream, NULL, &o, NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "65 stages, expected 0 to 64"));
  o.n_stages = 1;
  assert_int_equal(mica_train(net, &stream, NULL, &o, NULL), MICA_ERR_INVALID);
  mica_memory_stream_free(&stream);
  mica_tensor_free(x);
  mica_tensor_free(labels);
  mica_net_free(net);
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
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 2;
  if (mica_engine_create(&o, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_stage_is_the_run),
      cmocka_unit_test(test_freezing),
      cmocka_unit_test(test_rewinding),
      cmocka_unit_test(test_retraining),
      cmocka_unit_test(test_rules_and_rates),
      cmocka_unit_test(test_average_follows),
      cmocka_unit_test(test_patience_ends_a_stage),
      cmocka_unit_test(test_resume_anywhere),
      cmocka_unit_test(test_refusals),
  };
  int failed = cmocka_run_group_tests(tests, make_dir, remove_dir);
  mica_engine_free(engine);
  return failed;
}
