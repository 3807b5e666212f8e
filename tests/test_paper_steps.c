/* What many claims do (the last part of mica/paper.h), in a paper made up for it: each arm's figure
 * is known beforehand. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/near.h"

#include <mica/mica.h>

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 50, D = 3, BATCH = 20, STEPS = 200 };

typedef struct step_options {
  uint32_t size;
  int64_t seeds;
} step_options;

static const mica_option table[] = {
    {"seeds", MICA_OPTION_INT, "1", 1, 1000, NULL, "seeds", offsetof(step_options, seeds)}, {0}};

/* Rows of two classes that lie far apart: 30 of the first, 20 of the second. */
static mica_status make_rows(mica_tensor **x, mica_tensor **label) {
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(N, D), x);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(N), label);
  for (int64_t i = 0; i < N && status == MICA_OK; i++) {
    const int64_t c = i % 5 > 2;
    ((int64_t *)mica_tensor_data(*label))[i] = c;
    for (int64_t j = 0; j < D; j++)
      ((float *)mica_tensor_data(*x))[i * D + j] =
          (float)(4.0 * (double)c - 2 +
                  0.1 * mica_random_normal(mica_key_seed(1), (uint64_t)(i * D + j)));
  }
  return status;
}

static mica_status train(mica_claim_cell *cell, mica_tensor *x, mica_tensor *label,
                         double *accuracy) {
  const mica_problem problem = MICA_PROBLEM_ROWS(D, 2);
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_net *net = NULL;
  o.optimiser = "sgd:lr=0.1";
  o.seed = 3;
  mica_status status = mica_net_create(cell->engine, "mlp:hidden=8", &problem, 1, &net);
  if (status == MICA_OK)
    status = mica_claim_train_on(cell, net, x, label, BATCH, cell->arm->own != NULL, STEPS, &o);
  if (status == MICA_OK) status = mica_claim_accuracy(net, x, label, accuracy);
  mica_net_free(net);
  return status;
}

/* Ten pictures, four of class 1: 1 where what is drawn is as asked for. */
static mica_status draw(mica_claim_cell *cell) {
  const char *data = cell->arm->spec;
  mica_tensor *all = NULL, *some = NULL, *label = NULL, *none = NULL;
  mica_status status =
      mica_claim_pictures(cell, data, MICA_PART_TRAIN, cell->key, 0, NULL, &all, NULL);
  if (status == MICA_OK)
    status = mica_claim_pictures(cell, data, MICA_PART_TRAIN, cell->key, 3, "1", &some, &label);
  bool good = status == MICA_OK && mica_tensor_dim(all, 0) == 10 && mica_tensor_dim(some, 0) == 3;
  for (int64_t i = 0; i < 3 && good; i++) good = ((int64_t *)mica_tensor_data(label))[i] == 1;
  if (status == MICA_OK) status = mica_claim_report(cell, "accuracy", good);
  if (status == MICA_OK) { /* there are four */
    const mica_status many =
        mica_claim_pictures(cell, data, MICA_PART_TRAIN, cell->key, 5, "1", &none, NULL);
    status = many == MICA_ERR_INVALID && !none ? MICA_OK : MICA_ERR_STATE;
    if (many == MICA_ERR_MEMORY) status = many;
  }
  mica_tensor_free(all);
  mica_tensor_free(some);
  mica_tensor_free(label);
  return status;
}

static mica_status run(mica_claim_cell *cell) {
  if (cell->arm->role == MICA_ARM_CONTROL) return draw(cell);
  mica_tensor *x = NULL, *label = NULL;
  mica_status status = make_rows(&x, &label);
  double accuracy = -1;
  int64_t right = -1;
  const mica_view v = status == MICA_OK ? mica_tensor_view(x) : (mica_view){0};
  const int64_t *l = status == MICA_OK ? mica_tensor_data(label) : NULL;
  if (status == MICA_OK && cell->arm->spec)
    status = mica_claim_fit_and_count(cell, cell->arm->spec, &v, l, 2, &v, l, &right);
  else if (status == MICA_OK && cell->arm->role == MICA_ARM_TRIVIAL)
    right = mica_claim_majority(N, l, 2, N, l);
  else if (status == MICA_OK)
    status = train(cell, x, label, &accuracy);
  if (status == MICA_OK)
    status = mica_claim_report(cell, "accuracy", right < 0 ? accuracy : (double)right / N);
  mica_tensor_free(x);
  mica_tensor_free(label);
  return status;
}

static const char dropping;
static char pictures[512]; /* the folder of them */
static const mica_claim_arm arms[] = {
    {"net", "a network", MICA_ARM_METHOD, NULL, NULL},
    {"whole-batches", "the same without the last batch", MICA_ARM_CONTEXT, NULL, &dropping},
    {"mean", "the nearest mean", MICA_ARM_BASELINE, "prototypes:metric=euclidean:reject=0", NULL},
    {"majority", "the majority", MICA_ARM_TRIVIAL, NULL, NULL},
    {"pictures", "pictures are drawn", MICA_ARM_CONTROL, pictures, NULL},
    {0}};
static const mica_claim_measure measures[] = {{"accuracy", "accuracy", false}, {0}};
static const mica_claim_check checks[] = {{"they are as good",
                                           MICA_CHECK_DIFFERENCE,
                                           "accuracy",
                                           {"net", 0, 0},
                                           {"mean", 0, 0},
                                           0,
                                           false,
                                           "another kind of work",
                                           false},
                                          {0}};
static const mica_claim_experiment experiments[] = {{.name = "steps",
                                                     .title = "Steps",
                                                     .arms = arms,
                                                     .measures = measures,
                                                     .checks = checks,
                                                     .run = run},
                                                    {0}};
static const mica_paper_functions functions = {.size = sizeof functions,
                                               .title = "Steps",
                                               .claim = "They are as good",
                                               .components = "estimator:prototypes",
                                               .smoke = "seeds=1",
                                               .experiments = experiments};
static const mica_component paper = {MICA_COMPONENT_HEAD,
                                     MICA_KIND_PAPER,
                                     "steps",
                                     "steps",
                                     "steps",
                                     table,
                                     sizeof(step_options),
                                     0,
                                     0,
                                     &functions};

/* ---- tests ---- */

static mica_engine *engine_of(void) {
  mica_engine *engine;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  assert_int_equal(mica_engine_register(engine, &paper), MICA_OK);
  return engine;
}

static int setup(void **state) {
  if (folder_setup(state)) return -1;
  snprintf(pictures, sizeof pictures, "%s", folder_path("pictures"));
  const char *const classes[] = {"pictures/a", "pictures/b"};
  mica_status status = mica_make_folders(pictures);
  for (int c = 0; c < 2 && status == MICA_OK; c++)
    status = mica_make_folders(folder_path(classes[c]));
  for (int i = 0; i < 10 && status == MICA_OK; i++) {
    char name[40], text[40];
    snprintf(name, sizeof name, "%s/%d.pgm", classes[i >= 6], i);
    snprintf(text, sizeof text, "P5 2 2 255\n%.4s", "abcdefghijklmn" + i);
    folder_put(name, text);
  }
  return status == MICA_OK ? 0 : -1;
}

/* What a unit's file says that an arm measured and spent. */
static double of_arm(const mica_json *unit, int64_t arm, const char *what) {
  const mica_json *cell = mica_json_item(mica_json_get(unit, "cells"), arm);
  double v = NAN;
  if (strcmp(what, "accuracy") == 0) cell = mica_json_get(cell, "measures");
  assert_non_null(cell);
  assert_true(mica_json_double(mica_json_get(cell, what), &v));
  return v;
}

static void test_arms(void **state) {
  (void)state;
  mica_engine *engine = engine_of();
  mica_paper_options o = MICA_PAPER_OPTIONS;
  mica_paper_result *result;
  mica_json_doc *doc;
  uint8_t *text;
  size_t n;
  o.dir = folder_path("steps");
  if (mica_paper_run(engine, "steps", &o, &result) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_file_read(folder_path("steps/units/steps-0.json"), 1 << 20, &text, &n),
                   MICA_OK);
  assert_int_equal(mica_json_parse((const char *)text, n, &doc), MICA_OK);
  const mica_json *unit = mica_json_root(doc);
  /* Epochs of 20, 20 and 10 examples, and of 20 and 20. */
  assert_near(of_arm(unit, 0, "steps"), STEPS, 0);
  assert_near(of_arm(unit, 0, "examples"), STEPS / 3 * N + STEPS % 3 * BATCH, 0);
  assert_near(of_arm(unit, 0, "accuracy"), 1, 0);
  assert_near(of_arm(unit, 1, "examples"), STEPS * BATCH, 0);
  assert_near(of_arm(unit, 1, "accuracy"), 1, 0);
  assert_near(of_arm(unit, 2, "rows"), N, 0);
  assert_near(of_arm(unit, 2, "accuracy"), 1, 0);
  assert_near(of_arm(unit, 3, "accuracy"), 0.6, 0);
  assert_near(of_arm(unit, 4, "accuracy"), 1, 0);
  mica_json_free(doc);
  mica_free(text);
  mica_paper_result_free(result);
  mica_engine_free(engine);
}

static void test_majority(void **state) {
  (void)state;
  const int64_t label[] = {2, 0, 2, 0, 1}, truth[] = {0, 2, 2, 0, 0, 1};
  assert_int_equal(mica_claim_majority(5, label, 3, 6, truth), 3); /* the first of equals */
  assert_int_equal(mica_claim_majority(3, label, 3, 6, truth), 2);
  assert_int_equal(mica_claim_majority(5, label, 3, 0, truth), 0);
}

static mica_status run_for_failing(void *ctx) {
  mica_paper_result *result = NULL;
  mica_paper_options o = MICA_PAPER_OPTIONS;
  const mica_status status = mica_paper_run(ctx, "steps", &o, &result);
  mica_paper_result_free(result);
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  mica_engine *engine = engine_of();
  assert_int_equal(run_for_failing(engine), MICA_OK);
  assert_true(fail_every(5, run_for_failing, engine) > 100);
  mica_engine_free(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_arms), cmocka_unit_test(test_majority),
                                     cmocka_unit_test(test_failing_memory)};
  return cmocka_run_group_tests(tests, setup, folder_teardown);
}
