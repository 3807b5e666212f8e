/* Every allocation fails in turn while a network is made, saved and loaded: a clean
 * MICA_ERR_MEMORY that leaks nothing, and a save or load that is repeated then succeeds. */
#include "support/failing_alloc.h"

#include <mica/model.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIDE    8
#define CLASSES 3

static const mica_problem task = MICA_PROBLEM_IMAGES(SIDE, SIDE, 3, CLASSES);
static const char *const models[] = {"resnet:depth=8:width=2",
                                     "vit:patch=4:dim=8:depth=1:heads=2:dropout=0.1"};
static char dir[] = "/tmp/mica-test-failing-XXXXXX";
static char weights[128];

/* Own kernels only: where memory is short for a library's primitive they take its place, and then a
 * failed allocation rightly goes without an error. */
static mica_status engine_of_one(mica_engine **out) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  o.libraries = 0;
  return mica_engine_create(&o, out);
}

static mica_status create(void *ctx) {
  mica_engine *engine;
  mica_net *net = NULL;
  mica_status status = engine_of_one(&engine);
  if (status != MICA_OK) return status;
  status = mica_net_create(engine, ctx, &task, 1, &net);
  mica_net_free(net);
  mica_engine_free(engine);
  return status;
}

static mica_status save(void *ctx) {
  mica_engine *engine;
  mica_net *net = NULL;
  mica_status status = engine_of_one(&engine);
  if (status != MICA_OK) return status;
  status = mica_net_create(engine, ctx, &task, 1, &net);
  if (status == MICA_OK) {
    status = mica_params_save(mica_net_params(net), weights, NULL, 0);
    if (status != MICA_OK && mica_params_save(mica_net_params(net), weights, NULL, 0) != MICA_OK)
      fail_msg("the repeated save failed: %s", mica_last_error());
  }
  mica_net_free(net);
  mica_engine_free(engine);
  return status;
}

static uint64_t digest(const mica_params *params) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    const mica_tensor *v = mica_param_value(mica_params_at(params, i));
    sum = mica_hash64(mica_tensor_data(v),
                      (size_t)mica_tensor_count(v) * mica_dtype_size(mica_tensor_dtype(v)), sum);
  }
  return sum;
}

static mica_status load(void *ctx) {
  mica_engine *engine;
  mica_net *net = NULL;
  mica_status status = engine_of_one(&engine);
  if (status != MICA_OK) return status;
  status = mica_net_create(engine, ctx, &task, 2, &net);
  if (status == MICA_OK) {
    mica_load_report report = {0};
    const mica_params *params = mica_net_params(net);
    const uint64_t before = digest(params);
    status = mica_params_load(mica_net_params(net), weights, NULL, &report);
    mica_free(report.text);
    if ((status == MICA_OK) == (digest(params) == before)) fail_msg("a failed load changes values");
    if (status != MICA_OK && mica_params_load(mica_net_params(net), weights, NULL, NULL) != MICA_OK)
      fail_msg("the repeated load failed: %s", mica_last_error());
  }
  mica_net_free(net);
  mica_engine_free(engine);
  return status;
}

/* ---- the tests: each path, for both architectures ---- */

static void each(mica_status (*fn)(void *ctx), const char *what) {
  for (int i = 0; i < 2; i++) {
    char *model = strdup(models[i]);
    assert_non_null(model);
    print_message("%s, %s: %ld allocations\n", models[i], what, fail_each(fn, model));
    free(model);
  }
}

static void test_create(void **state) {
  (void)state;
  each(create, "creating");
}
static void test_save_and_load(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    char *model = strdup(models[i]);
    assert_non_null(model);
    const long saving = fail_each(save, model), loading = fail_each(load, model);
    print_message("%s: %ld allocations saving, %ld loading\n", model, saving, loading);
    free(model);
  }
}

static int make_dir(void **state) {
  (void)state;
  if (!mkdtemp(dir)) return -1;
  snprintf(weights, sizeof weights, "%s/weights.safetensors", dir);
  return 0;
}
/* rmdir fails when a failed save left its temporary file behind. */
static int remove_dir(void **state) {
  (void)state;
  remove(weights);
  return rmdir(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_create),
      cmocka_unit_test(test_save_and_load),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
