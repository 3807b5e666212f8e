/* The claim driver, on a paper made up for it: verdicts, budgets, going on, records. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/near.h"

#include <mica/mica.h>

#include "base/json.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* ---- the paper ---- */

typedef struct toy_options {
  uint32_t size;
  int64_t seeds;
  double gain;  /* of the method over the baseline */
  double noise; /* of the seeds, shared by all arms */
  mica_ints points;
  int64_t overspend; /* of the method */
  bool fail;
} toy_options;

static const mica_option toy_table[] = {
    {"seeds", MICA_OPTION_INT, "4", 1, 1000, NULL, "seeds", offsetof(toy_options, seeds)},
    {"gain", MICA_OPTION_FLOAT, "0.1", -10, 10, NULL, "gain", offsetof(toy_options, gain)},
    {"noise", MICA_OPTION_FLOAT, "0.5", 0, 10, NULL, "noise", offsetof(toy_options, noise)},
    {"points", MICA_OPTION_INTS, "1,2,4", 1, 100, NULL, "points", offsetof(toy_options, points)},
    {"overspend", MICA_OPTION_INT, "0", 0, 100, NULL, "x", offsetof(toy_options, overspend)},
    {"fail", MICA_OPTION_BOOL, "false", 0, 0, NULL, "x", offsetof(toy_options, fail)},
    {0}};

static atomic_int ran, prepared, released; /* cells and units of all threads */

static mica_status toy_prepare(mica_claim_cell *cell, void **shared) {
  double *level = mica_malloc(sizeof *level);
  if (!level) return MICA_ERR_MEMORY;
  const toy_options *o = cell->options;
  *level = o->noise * mica_random_uniform(cell->key, 0);
  prepared++;
  *shared = level;
  return MICA_OK;
}

static void toy_release(void *shared) {
  released++;
  mica_free(shared);
}

static mica_status toy_run(mica_claim_cell *cell) {
  const toy_options *o = cell->options;
  const double level = *(double *)cell->shared;
  const char *name = cell->arm->name;
  ran++;
  if (o->fail && cell->seed == 1) return mica_fail(MICA_ERR_NUMERIC, "it went wrong");
  const bool method = strncmp(name, "method", 6) == 0;
  const double value =
      strcmp(name, "coin") == 0
          ? 0.01
          : 1 + level + (method ? o->gain : 0) + (strcmp(name, "method-b") == 0 ? 0.05 : 0) +
                1e-3 *
                    mica_random_normal(mica_key_fold_name(cell->key, name), (uint64_t)cell->point);
  mica_claim_spend(cell, 10 + (method ? o->overspend : 0));
  mica_status status =
      mica_claim_report(cell, "score", value * (cell->point > 0 ? cell->point : 1));
  if (status == MICA_OK) status = mica_claim_report(cell, "error", 1 / value);
  if (status == MICA_OK && cell->seed == 0 && method)
    status = mica_claim_remark(cell, "level %.3f of %s", level, name);
  return status;
}

static mica_status picture_run(mica_claim_cell *cell) {
  mica_figure *figure;
  const double x[] = {1, 2, 3};
  mica_status status = toy_run(cell);
  if (status != MICA_OK || cell->seed || strcmp(cell->arm->name, "method") != 0) return status;
  const mica_series s = {"s", NULL, x, NULL, NULL, 3};
  status = mica_figure_line_chart(&s, 1, NULL, &figure);
  return status == MICA_OK ? mica_claim_figure(cell, "example", "An example", figure) : status;
}

static const mica_claim_arm arms[] = {{"method", "the method", MICA_ARM_METHOD, NULL, NULL},
                                      {"method-b", "its twin", MICA_ARM_METHOD, NULL, NULL},
                                      {"baseline", "the baseline", MICA_ARM_BASELINE, NULL, NULL},
                                      {"coin", "a coin", MICA_ARM_TRIVIAL, NULL, NULL},
                                      {0}};
static const mica_claim_measure measures[] = {
    {"score", "score", false}, {"error", "error", true}, {0}};
static const mica_claim_check plain_checks[] = {{"the method is better",
                                                 MICA_CHECK_DIFFERENCE,
                                                 "score",
                                                 {"method", 0, 0},
                                                 {"baseline", 0, 0},
                                                 0.05,
                                                 false,
                                                 NULL,
                                                 false},
                                                {"its error is smaller by a factor",
                                                 MICA_CHECK_RATIO,
                                                 "error",
                                                 {"method", 0, 0},
                                                 {"baseline", 0, 0},
                                                 1.02,
                                                 false,
                                                 NULL,
                                                 false},
                                                {"the best of both",
                                                 MICA_CHECK_DIFFERENCE,
                                                 "score",
                                                 {"method*", 0, 0},
                                                 {"baseline", 0, 0},
                                                 0.1,
                                                 false,
                                                 NULL,
                                                 false},
                                                {"far above a coin",
                                                 MICA_CHECK_VALUE,
                                                 "score",
                                                 {"method", 0, 0},
                                                 {NULL, 0, 0},
                                                 1,
                                                 false,
                                                 NULL,
                                                 false},
                                                {"the baseline does not improve on itself",
                                                 MICA_CHECK_CONTROL,
                                                 "score",
                                                 {"baseline", 0, 0},
                                                 {"baseline", 0, 0},
                                                 0.01,
                                                 false,
                                                 NULL,
                                                 false},
                                                {"shown only",
                                                 MICA_CHECK_DIFFERENCE,
                                                 "score",
                                                 {"coin", 0, 0},
                                                 {"baseline", 0, 0},
                                                 100,
                                                 false,
                                                 "it spends nothing",
                                                 true},
                                                {"an error above what is wanted",
                                                 MICA_CHECK_VALUE,
                                                 "error",
                                                 {"coin", 0, 0},
                                                 {NULL, 0, 0},
                                                 0.25,
                                                 false,
                                                 NULL,
                                                 true},
                                                {"a score below what is wanted",
                                                 MICA_CHECK_VALUE,
                                                 "score",
                                                 {"coin", 0, 0},
                                                 {NULL, 0, 0},
                                                 7,
                                                 false,
                                                 NULL,
                                                 true},
                                                {0}};
static const mica_claim_check sweep_checks[] = {{"at each point",
                                                 MICA_CHECK_DIFFERENCE,
                                                 "score",
                                                 {"method", 1, 4},
                                                 {"baseline", 1, 4},
                                                 0.05,
                                                 true,
                                                 NULL,
                                                 false},
                                                {"grows",
                                                 MICA_CHECK_DIFFERENCE,
                                                 "score",
                                                 {"method", 4, 4},
                                                 {"method", 1, 1},
                                                 1,
                                                 false,
                                                 NULL,
                                                 false},
                                                {0}};
static const mica_claim_experiment experiments[] = {{.name = "plain",
                                                     .title = "A plain one",
                                                     .arms = arms,
                                                     .measures = measures,
                                                     .checks = plain_checks,
                                                     .note = "A note with {braces}.",
                                                     .prepare = toy_prepare,
                                                     .release = toy_release,
                                                     .run = picture_run},
                                                    {.name = "sweep",
                                                     .title = "A sweep",
                                                     .arms = arms,
                                                     .measures = measures,
                                                     .checks = sweep_checks,
                                                     .sweep = "points",
                                                     .sweep_what = "points",
                                                     .sweep_log = true,
                                                     .unit = MICA_UNIT_ARM,
                                                     .prepare = toy_prepare,
                                                     .release = toy_release,
                                                     .run = toy_run},
                                                    {0}};
static const mica_paper_functions functions = {.size = sizeof functions,
                                               .title = "A toy",
                                               .arxiv = "0000.00000",
                                               .claim = "The method is better",
                                               .components = "estimator:gaussian",
                                               .smoke = "points=1:seeds=1",
                                               .experiments = experiments};
static const mica_component toy = {
    MICA_COMPONENT_HEAD, MICA_KIND_PAPER,     "toy", "a toy", "toy",
    toy_table,           sizeof(toy_options), 0,     0,       &functions};

static mica_engine *engine_of(int threads) {
  mica_engine *engine;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = threads;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  assert_int_equal(mica_engine_register(engine, &toy), MICA_OK);
  return engine;
}

static mica_paper_result *run_toy(mica_engine *engine, mica_paper_options *o, const char *setting) {
  mica_paper_result *result = NULL;
  o->settings = &setting;
  o->n_settings = setting ? 1 : 0;
  if (mica_paper_run(engine, "toy", o, &result) != MICA_OK) fail_msg("%s", mica_last_error());
  return result;
}

/* A number of the result's JSON. */
static double number(const mica_paper_result *result, const char *name) {
  mica_json_doc *doc;
  double v = NAN;
  const char *text = mica_paper_result_json(result);
  assert_null(strchr(text, '\n'));
  assert_int_equal(mica_json_parse(text, strlen(text), &doc), MICA_OK);
  (void)mica_json_double(mica_json_get(mica_json_root(doc), name), &v);
  mica_json_free(doc);
  return v;
}

/* The line of the result's tables that begins with a check. */
static void line_of(const mica_paper_result *result, const char *check, char line[512]) {
  const char *from = strstr(mica_paper_result_markdown(result), check);
  assert_non_null(from);
  snprintf(line, 512, "%.*s", (int)strcspn(from, "\n"), from);
}

/* ---- tests ---- */

static void test_verdicts(void **state) {
  (void)state;
  mica_engine *engine = engine_of(2);
  mica_paper_options o = MICA_PAPER_OPTIONS;
  mica_paper_result *r = run_toy(engine, &o, NULL);
  assert_int_equal(mica_paper_result_verdict(r), MICA_VERDICT_MECHANISM);
  assert_near(number(r, "margin"), 0.1, 5e-3);
  assert_near(number(r, "trivial"), 0.01, 1e-12);
  assert_near(number(r, "seeds"), 4, 0);
  assert_non_null(strstr(mica_paper_result_json(r), "\"holds\":true"));
  assert_non_null(strstr(mica_paper_result_json(r), "\"method_arm\":\"method-b\""));
  assert_non_null(strstr(mica_paper_result_markdown(r),
                         "![A plain one; 4 seeds, 95 % intervals](toy-plain.svg)"));
  assert_non_null(strstr(mica_paper_result_markdown(r), "- level "));
  assert_non_null(strstr(mica_paper_result_text(r), "mechanism shown"));
  /* Whether a threshold is a least or a most is the measure's to say, not the figures'. */
  char line[512];
  line_of(r, "an error above what is wanted", line);
  assert_non_null(strstr(line, "| at most 0.25 | no"));
  line_of(r, "a score below what is wanted", line);
  assert_non_null(strstr(line, "| 7 | no"));
  line_of(r, "the baseline does not improve", line);
  assert_non_null(strstr(line, "| at most 0.01 | yes"));
  line_of(r, "far above a coin", line);
  assert_non_null(strstr(line, "| 1 | yes"));
  mica_paper_result_free(r);
  /* Worse than its threshold, though better than the baseline. */
  r = run_toy(engine, &o, "gain=0.04");
  assert_int_equal(mica_paper_result_verdict(r), MICA_VERDICT_NOT_SHOWN);
  assert_non_null(strstr(mica_paper_result_json(r), "\"holds\":false"));
  mica_paper_result_free(r);
  /* One seed has no interval. */
  o.seeds = 1;
  r = run_toy(engine, &o, NULL);
  assert_int_equal(mica_paper_result_verdict(r), MICA_VERDICT_NOT_SHOWN);
  assert_non_null(strstr(mica_paper_result_json(r), "one seed has no interval"));
  mica_paper_result_free(r);
  o.seeds = 0;
  o.smoke = true;
  r = run_toy(engine, &o, NULL);
  assert_non_null(strstr(mica_paper_result_json(r), "this setting has none of its points"));
  mica_paper_result_free(r);
  mica_engine_free(engine);
}

/* The same numbers on any number of threads. */
static void test_threads(void **state) {
  (void)state;
  double margin[2];
  for (int i = 0; i < 2; i++) {
    mica_engine *engine = engine_of(1 + i);
    mica_paper_options o = MICA_PAPER_OPTIONS;
    mica_paper_result *r = run_toy(engine, &o, NULL);
    margin[i] = number(r, "margin");
    mica_paper_result_free(r);
    mica_engine_free(engine);
  }
  assert_true(margin[0] == margin[1]);
}

static void refused(mica_engine *engine, mica_paper_options *o, const char *slug,
                    const char *setting, mica_status want, const char *words) {
  mica_paper_result *result = NULL;
  o->settings = &setting;
  o->n_settings = setting ? 1 : 0;
  assert_int_equal(mica_paper_run(engine, slug, o, &result), want);
  assert_null(result);
  if (!strstr(mica_last_error(), words)) fail_msg("%s", mica_last_error());
}

static void test_errors(void **state) {
  (void)state;
  mica_engine *engine = engine_of(2);
  mica_paper_options o = MICA_PAPER_OPTIONS;
  prepared = released = 0;
  refused(engine, &o, "toy", "overspend=1", MICA_ERR_STATE, "did not spend the same");
  refused(engine, &o, "toy", "fail", MICA_ERR_INVALID, "key=value");
  refused(engine, &o, "toy", "fail=true", MICA_ERR_NUMERIC, "it went wrong");
  refused(engine, &o, "toy", "gian=1", MICA_ERR_INVALID, "gain");
  refused(engine, &o, "toi", NULL, MICA_ERR_NOT_FOUND, "toy");
  o.seeds = 2000;
  refused(engine, &o, "toy", NULL, MICA_ERR_INVALID, "seeds");
  assert_int_equal(prepared, released);
  mica_engine_free(engine);
}

/* Finished units are recalled; those of another setting refused; what fails later is run again. */
static void test_going_on(void **state) {
  (void)state;
  mica_engine *engine = engine_of(2);
  mica_paper_options o = MICA_PAPER_OPTIONS;
  o.dir = folder_path("toy");
  ran = 0;
  mica_paper_result *r = run_toy(engine, &o, NULL);
  const double margin = number(r, "margin");
  char *markdown = mica_strdup(mica_paper_result_markdown(r));
  assert_int_equal(ran, 4 * 4 + 4 * 4 * 3);
  mica_paper_result_free(r);
  remove(folder_path("toy/units/sweep-1-2-method.json"));
  ran = 0;
  r = run_toy(engine, &o, NULL);
  assert_int_equal(ran, 1);
  assert_true(number(r, "margin") == margin);
  const size_t same = (size_t)(strstr(markdown, "## Setting") - markdown);
  assert_memory_equal(mica_paper_result_markdown(r), markdown, same);
  mica_free(markdown);
  mica_paper_result_free(r);
  o.seeds = 5; /* more of the same */
  ran = 0;
  mica_paper_result_free(run_toy(engine, &o, NULL));
  assert_int_equal(ran, 4 + 4 * 3);
  o.seeds = 0;
  refused(engine, &o, "toy", "gain=0.2", MICA_ERR_STATE, "another setting");
  o.fresh = true;
  mica_paper_result_free(run_toy(engine, &o, "gain=0.2"));
  o.fresh = false;
  /* A unit that is no unit. */
  folder_put("toy/units/plain-0.json", "{\"of\": 3}");
  refused(engine, &o, "toy", "gain=0.2", MICA_ERR_FORMAT, "plain-0.json");
  folder_put("toy/units/plain-0.json", "{");
  refused(engine, &o, "toy", "gain=0.2", MICA_ERR_FORMAT, "plain-0.json");
  mica_engine_free(engine);
}

static void test_records(void **state) {
  (void)state;
  mica_engine *engine = engine_of(1);
  mica_paper_options o = MICA_PAPER_OPTIONS;
  const char *folder = folder_path("records");
  mica_paper_result *r = run_toy(engine, &o, NULL);
  assert_int_equal(mica_paper_result_record(r, folder), MICA_OK);
  mica_paper_result_free(r);
  static const char *const files[] = {"records/toy.md", "records/toy-plain.svg",
                                      "records/toy-sweep.svg", "records/toy-example.svg"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    FILE *f = fopen(folder_path(files[i]), "r");
    if (!f) fail_msg("%s is not there", files[i]);
    fclose(f);
  }
  o.smoke = true;
  r = run_toy(engine, &o, NULL);
  assert_int_equal(mica_paper_result_record(r, folder), MICA_ERR_INVALID);
  mica_paper_result_free(r);
  o.smoke = false;
  o.seeds = 2; /* fewer than the full setting has */
  r = run_toy(engine, &o, NULL);
  assert_int_equal(mica_paper_result_record(r, folder), MICA_ERR_INVALID);
  mica_paper_result_free(r);
  mica_engine_free(engine);
}

static int stop_after(void *ctx, const char *what, int64_t done, int64_t total) {
  (void)what;
  (void)total;
  return done >= *(int *)ctx;
}

static void test_stopping(void **state) {
  (void)state;
  mica_engine *engine = engine_of(2);
  mica_paper_options o = MICA_PAPER_OPTIONS;
  int after = 9;
  o.dir = folder_path("stopped");
  o.progress = stop_after;
  o.progress_ctx = &after;
  refused(engine, &o, "toy", NULL, MICA_ERR_CANCELLED, "stopped");
  o.progress = NULL;
  ran = 0;
  mica_paper_result_free(run_toy(engine, &o, NULL));
  assert_true(ran < 4 * 4 + 4 * 4 * 3);
  mica_engine_free(engine);
}

static mica_status run_for_failing(void *ctx) {
  mica_paper_result *result = NULL;
  mica_paper_options o = MICA_PAPER_OPTIONS;
  o.smoke = true;
  const mica_status status = mica_paper_run(ctx, "toy", &o, &result);
  mica_paper_result_free(result);
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  mica_engine *engine = engine_of(1);
  fail_each(run_for_failing, engine);
  mica_engine_free(engine);
}

static void test_student(void **state) {
  (void)state;
  /* Tables of the distribution; one degree is Cauchy's, two have a closed form. */
  assert_near(mica_student_quantile(0.975, 4), 2.7764451051977934, 1e-12);
  assert_near(mica_student_quantile(0.975, 1), tan(3.14159265358979323846 * 0.475), 1e-10);
  assert_near(mica_student_quantile(0.9, 2), 0.8 / sqrt(2 * 0.9 * 0.1), 1e-12);
  assert_near(mica_student_quantile(0.025, 9), -2.2621571627982053, 1e-12);
  assert_near(mica_student_quantile(0.975, 1e6), 1.959966, 1e-5);
  assert_near(mica_student_cdf(2.7764451051977934, 4), 0.975, 1e-13);
  assert_true(mica_student_quantile(0.5, 3) == 0);
  assert_true(isinf(mica_student_quantile(1, 3)));
  assert_true(isnan(mica_student_quantile(0.5, 0)));
  assert_true(isnan(mica_student_quantile(2, 1)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_verdicts),       cmocka_unit_test(test_threads),
      cmocka_unit_test(test_errors),         cmocka_unit_test(test_going_on),
      cmocka_unit_test(test_records),        cmocka_unit_test(test_stopping),
      cmocka_unit_test(test_failing_memory), cmocka_unit_test(test_student)};
  return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
