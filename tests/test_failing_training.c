/* Every allocation fails in turn in a training step, in a run of two epochs with its checkpoints,
 * and in an evaluation: a clean MICA_ERR_MEMORY that leaks nothing and leaves no half-written file.
 * What failed is then done again with the same objects, and must give the bits of a run in which
 * nothing failed: a step that fails changes no weight, no moment and no statistic.
 */
#include "support/failing_alloc.h"

#include "base/file.h"

#include <mica/train.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N       14
#define CLASSES 3

static const mica_problem task = MICA_PROBLEM_IMAGES(8, 8, 1, CLASSES);
/* Normalisation, attention, dropout; running statistics and an optimiser with two moments. */
static char resnet[] = "resnet:depth=8:width=2",
            vit[] = "vit:patch=4:dim=8:depth=1:heads=2:dropout=0.1",
            mlp[] = "mlp:hidden=8:dropout=0.2";
static char dir[] = "/tmp/mica-test-failing-training-XXXXXX";
static mica_tensor *want; /* the weights of a run in which nothing fails */

/* Own kernels only: where memory is short for a library's primitive they take its place, and then a
 * failed allocation rightly goes without an error. One thread: the n-th allocation is then the same
 * one in every run. */
static mica_status engine_of_one(mica_engine **out) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  o.libraries = 0;
  return mica_engine_create(&o, out);
}

static mica_status make_data(mica_tensor **x, mica_tensor **labels) {
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(N, 8, 8, 1), x);
  if (!status) status = mica_tensor_create(MICA_I64, MICA_SHAPE(N), labels);
  if (status) return status;
  const mica_key key = mica_key_seed(5);
  for (int i = 0; i < N * 64; i++)
    ((float *)mica_tensor_data(*x))[i] = (float)mica_random_normal(key, (uint64_t)i);
  for (int i = 0; i < N; i++) ((int64_t *)mica_tensor_data(*labels))[i] = i % CLASSES;
  return MICA_OK;
}

/* All trees one after the other in one row, to be kept or compared. */
static int64_t flatten(const mica_params *p, float *to) {
  int64_t n = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_tensor *v = mica_param_value(mica_params_at(p, i));
    for (int64_t k = 0; k < mica_tensor_count(v); k++, n++)
      if (to) to[n] = (float)mica_tensor_get(v, k);
  }
  return n;
}

/* The first call keeps the values, the others compare. */
static void expect_same(const mica_params *weights, const mica_params *moments) {
  static float got[16384];
  const int64_t a = flatten(weights, NULL), b = moments ? flatten(moments, NULL) : 0;
  assert_true(a + b <= (int64_t)(sizeof got / sizeof *got));
  flatten(weights, got);
  if (moments) flatten(moments, got + a);
  if (!want) {
    assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(a + b), &want), MICA_OK);
    memcpy(mica_tensor_data(want), got, (size_t)(a + b) * sizeof *got);
  }
  assert_int_equal(mica_tensor_count(want), a + b);
  assert_memory_equal(mica_tensor_data(want), got, (size_t)(a + b) * sizeof *got);
}

/* The reference is made before the failures begin. */
static void each(mica_status (*fn)(void *ctx), char *model, long stride, const char *what) {
  failing_alloc_install();
  assert_int_equal(fn(model), MICA_OK);
  const long n = fail_every(stride, fn, model);
  mica_tensor_free(want);
  want = NULL;
  failing_alloc_remove();
  print_message("%s, %s: %ld allocations\n", model, what, n);
  assert_true(n > 20);
}

/* ---- a step by hand: forward, backward, clipping, update, statistics, moving average ---- */

typedef struct learner {
  mica_engine *engine;
  mica_net *net;
  mica_optimiser *optimiser;
  mica_params *average;
  mica_tape *tape;
  mica_tensor *x, *labels;
} learner;

static mica_status learner_make(learner *l, const char *model) {
  mica_status status = engine_of_one(&l->engine);
  if (!status) status = mica_net_create(l->engine, model, &task, 3, &l->net);
  if (!status)
    status = mica_optimiser_create(mica_net_params(l->net), "adamw:lr=0.01", &l->optimiser);
  if (!status) status = mica_params_clone(mica_net_params(l->net), &l->average);
  if (!status) status = mica_tape_create(l->engine, NULL, &l->tape);
  if (!status) status = make_data(&l->x, &l->labels);
  if (!status) mica_optimiser_clip(l->optimiser, 1);
  return status;
}

static void learner_free(learner *l) {
  mica_tensor_free(l->x);
  mica_tensor_free(l->labels);
  mica_tape_free(l->tape);
  mica_params_free(l->average);
  mica_optimiser_free(l->optimiser);
  mica_net_free(l->net);
  mica_engine_free(l->engine);
}

static mica_status step(learner *l, uint64_t number) {
  mica_tape *t = l->tape;
  mica_params *params = mica_net_params(l->net);
  mica_outputs o;
  mica_tape_reset(t);
  mica_tape_set_step(t, number, 0);
  mica_set_training(t, true);
  mica_params_zero_grad(params);
  mica_net_forward(t, l->net, mica_input(t, l->x), &o);
  mica_status status =
      mica_backward(t, mica_cross_entropy(t, o.logits, mica_input(t, l->labels), MICA_NONE, 0));
  if (!status) status = mica_optimiser_step(l->optimiser, t, 1);
  if (!status) status = mica_commit(t);
  if (!status) status = mica_average_update(l->average, params, 0.9, t);
  return status;
}

/* Three steps; a failed one is done again. Its memory came back, so nothing needs to be new. */
static mica_status steps(void *ctx) {
  learner l = {0};
  mica_status status = learner_make(&l, ctx);
  mica_status failed = status;
  for (uint64_t i = 0; i < 3 && !status; i++) {
    status = step(&l, i);
    if (status) {
      failed = status;
      char why[512];
      snprintf(why, sizeof why, "%s", mica_last_error());
      assert_string_not_equal(why, "");
      if ((status = step(&l, i)) != MICA_OK)
        fail_msg("the repeated step failed: %s", mica_last_error());
      mica_fail(failed, "%s", why);
    }
  }
  if (!status) expect_same(mica_net_params(l.net), mica_optimiser_state(l.optimiser));
  learner_free(&l);
  return failed;
}

static void test_steps(void **state) {
  (void)state;
  each(steps, resnet, 1, "three steps");
  each(steps, vit, 1, "three steps");
  each(steps, mlp, 1, "three steps");
}

/* ---- the trainer: two epochs, checkpoints after each step, then a resume ---- */

/* Only whole files have their final names, and no temporary one is left. */
static void check_folder(bool empty) {
  DIR *d = opendir(dir);
  assert_non_null(d);
  const struct dirent *e;
  char path[512];
  while ((e = readdir(d))) {
    if (e->d_name[0] == '.') continue;
    if (strcmp(e->d_name, "last.safetensors") != 0 && strcmp(e->d_name, "best.safetensors") != 0)
      fail_msg("%s was left behind", e->d_name);
    snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    if (empty) {
      unlink(path);
      continue;
    }
    mica_archive *a;
    assert_int_equal(mica_archive_open(path, &a), MICA_OK);
    mica_archive_close(a);
  }
  closedir(d);
}

typedef struct world {
  mica_engine *engine;
  mica_net *net;
  mica_tensor *x, *labels;
  mica_stream stream, validation;
} world;

static mica_status world_make(world *w, const char *model) {
  mica_status status = engine_of_one(&w->engine);
  if (!status) status = mica_net_create(w->engine, model, &task, 3, &w->net);
  if (!status) status = make_data(&w->x, &w->labels);
  if (!status) status = mica_memory_stream_create(w->x, w->labels, 4, true, false, 11, &w->stream);
  if (!status)
    status = mica_memory_stream_create(w->x, w->labels, 8, false, false, 0, &w->validation);
  return status;
}

static void world_free(world *w) {
  mica_memory_stream_free(&w->stream);
  mica_memory_stream_free(&w->validation);
  mica_tensor_free(w->x);
  mica_tensor_free(w->labels);
  mica_net_free(w->net);
  mica_engine_free(w->engine);
}

static mica_status run(world *w, bool resume) {
  mica_train_options o = MICA_TRAIN_OPTIONS;
  /* Values kept for later, a rule for some parameters, another optimiser, values drawn again. */
  static const char *const stages[] = {
      "epochs=1", "rewind=*:rewind_step=1:retrain=*.bias:optimiser=(lamb | *.bias=adagrad)"};
  o.stages = stages;
  o.n_stages = 2;
  o.accumulate = 2;
  o.average = 0.9;
  o.clip = 1;
  o.dir = dir;
  o.save_every = 1;
  o.resume = resume;
  return mica_train(w->net, &w->stream, &w->validation, &o, NULL);
}

static mica_status trainer(void *ctx) {
  world w = {0};
  check_folder(true);
  mica_status status = world_make(&w, ctx);
  if (!status) {
    status = run(&w, false);
    if (status) {
      char why[512];
      snprintf(why, sizeof why, "%s", mica_last_error());
      check_folder(false);
      /* From the last checkpoint, or from the start where there is none: a net like the first. */
      mica_net_free(w.net);
      w.net = NULL;
      if (mica_net_create(w.engine, ctx, &task, 3, &w.net) || run(&w, true))
        fail_msg("the resumed run failed: %s", mica_last_error());
      mica_fail(status, "%s", why);
    }
    expect_same(mica_net_params(w.net), NULL);
  }
  world_free(&w);
  check_folder(true);
  return status;
}

static void test_trainer(void **state) {
  (void)state;
  each(trainer, mlp, 1, "two epochs");
  each(trainer, resnet, 13, "two epochs");
  each(trainer, vit, 13, "two epochs");
}

/* ---- evaluation ---- */

static mica_status evaluate(void *ctx) {
  world w = {0};
  mica_evaluation e = {0};
  mica_status status = world_make(&w, ctx);
  if (!status) {
    status = mica_evaluate(w.net, &w.validation, true, true, &e);
    if (status) {
      assert_null(e.logits);
      char why[512];
      snprintf(why, sizeof why, "%s", mica_last_error());
      if (mica_evaluate(w.net, &w.validation, true, true, &e))
        fail_msg("the repeated evaluation failed: %s", mica_last_error());
      mica_fail(status, "%s", why);
    }
    assert_int_equal(e.n, N);
    assert_int_equal(mica_tensor_dim(e.logits, 0), N);
  }
  mica_evaluation_clear(&e);
  world_free(&w);
  return status;
}

static void test_evaluation(void **state) {
  (void)state;
  each(evaluate, resnet, 1, "evaluation");
  each(evaluate, vit, 1, "evaluation");
}

static int make_dir(void **state) {
  (void)state;
  return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
  (void)state;
  return rmdir(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_steps),
      cmocka_unit_test(test_trainer),
      cmocka_unit_test(test_evaluation),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
