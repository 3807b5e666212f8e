/* Sections about a classifier: what stands on the page, what is refused, what failing memory
 * leaves. */
#include "support/failing_alloc.h"
#include "support/markup_check.h"

#include <mica/feature.h>
#include <mica/training_report.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EACH 6 /* pictures of each of the two classes */
#define N    12

static char folder[] = "/tmp/mica-test-training-report-XXXXXX";
static const char *const names[] = {"<left>", "right"};
static mica_dataset *data; /* without a validation part */

static int make_pictures(void **state) {
  (void)state;
  assert_non_null(mkdtemp(folder));
  for (int c = 0; c < 2; c++) {
    char path[200];
    snprintf(path, sizeof path, "%s/%c", folder, 'a' + c);
    assert_int_equal(mkdir(path, 0700), 0);
    for (int i = 0; i < EACH; i++) {
      snprintf(path, sizeof path, "%s/%c/%d.pgm", folder, 'a' + c, i);
      FILE *f = fopen(path, "wb");
      assert_non_null(f);
      fprintf(f, "P5\n4 4\n255\n");
      for (int p = 0; p < 16; p++) fputc((p % 4 < 2) == (c == 0) ? 200 + i : i, f);
      assert_int_equal(fclose(f), 0);
    }
  }
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  o.height = o.width = 4;
  o.channels = 1;
  o.validation = 0;
  assert_int_equal(mica_dataset_open(folder, &o, &data), MICA_OK);
  return 0;
}

static int remove_pictures(void **state) {
  (void)state;
  mica_dataset_free(data);
  for (int c = 0; c < 2; c++) {
    char path[200];
    for (int i = 0; i < EACH; i++) {
      snprintf(path, sizeof path, "%s/%c/%d.pgm", folder, 'a' + c, i);
      unlink(path);
    }
    snprintf(path, sizeof path, "%s/%c", folder, 'a' + c);
    rmdir(path);
  }
  return rmdir(folder);
}

/* An evaluation whose logits know all classes but that of item 3. */
typedef struct scene {
  mica_engine *engine;
  mica_evaluation e;
  mica_answers answers;
  mica_report *report;
} scene;

static mica_status scene_make(scene *s) {
  *s = (scene){0};
  mica_status status = mica_engine_create(NULL, &s->engine);
  s->e.n = N;
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(N, 2), &s->e.logits);
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(N, 3), &s->e.features);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(N), &s->e.labels);
  for (int64_t i = 0; i < N && status == MICA_OK; i++) {
    const int64_t label = i >= EACH;
    mica_tensor_set(s->e.labels, i, (double)label);
    mica_tensor_set(s->e.logits, 2 * i + (i == 3 ? !label : label), 1 + 0.1 * (double)i);
    for (int64_t k = 0; k < 3; k++)
      mica_tensor_set(s->e.features, 3 * i + k, (double)(label * 5 + (i * (k + 2)) % 4));
  }
  if (status == MICA_OK) status = mica_answers_of(data, MICA_PART_TRAIN, names, &s->e, &s->answers);
  if (status == MICA_OK) status = mica_report_create(NULL, &s->report);
  return status;
}

static void scene_free(scene *s) {
  mica_report_free(s->report);
  mica_answers_free(&s->answers);
  mica_evaluation_clear(&s->e);
  mica_engine_free(s->engine);
}

static mica_status every_section(scene *s) {
  const mica_epoch epoch[] = {{1.5, NAN, NAN}, {1.2, 1.3, 0.5}, {1.0, 1.1, 0.75}};
  const mica_view features = mica_tensor_view(s->e.features);
  mica_status status = mica_report_curves(s->report, "Curves", epoch, 3);
  if (status == MICA_OK) status = mica_report_confusion(s->report, "Confusion", &s->answers);
  if (status == MICA_OK) status = mica_report_hardest(s->report, "Hardest", &s->answers, 5);
  const mica_shown_item two[] = {{0, "a caption", "of two", MICA_MARK_WRONG},
                                 {1, NULL, NULL, MICA_MARK_NONE}};
  if (status == MICA_OK)
    status = mica_report_pictures(s->report, "Pictures", s->answers.data, 2, two, "Two of them.");
  if (status == MICA_OK)
    status = mica_report_map(s->report, "Map", s->engine, &features, &s->answers, 10);
  return status;
}

static char *page_of(const mica_report *report) {
  char *html = NULL;
  if (mica_report_html(report, &html)) fail_msg("%s", mica_last_error());
  const char *problem = markup_problem(html, true);
  if (problem) fail_msg("%s", problem);
  return html;
}

static bool stands(const char *html, const char *text) {
  return strstr(html, text) != NULL;
}

static void answers_come_from_logits(void **state) {
  (void)state;
  scene s;
  assert_int_equal(scene_make(&s), MICA_OK);
  assert_int_equal(s.answers.n, N);
  assert_int_equal(s.answers.classes, 2);
  for (int64_t i = 0; i < N; i++) {
    const int64_t label = i >= EACH;
    const double gap = 1 + 0.1 * (double)i; /* of the two logits */
    assert_int_equal(s.answers.item[i], i);
    assert_int_equal(s.answers.truth[i], label);
    assert_int_equal(s.answers.predicted[i], i == 3 ? !label : label);
    assert_true(fabs(s.answers.difficulty[i] - log1p(exp(i == 3 ? gap : -gap))) < 1e-6);
  }
  mica_answers none;
  assert_int_equal(mica_answers_of(data, MICA_PART_TEST, names, &s.e, &none), MICA_ERR_INVALID);
  scene_free(&s);
}

static void the_sections_stand_on_the_page(void **state) {
  (void)state;
  scene s;
  assert_int_equal(scene_make(&s), MICA_OK);
  if (every_section(&s)) fail_msg("%s", mica_last_error());
  char *html = page_of(s.report);
  static const char *const wanted[] = {">Curves<",   ">Confusion<", ">Hardest<",
                                       ">Pictures<", "a caption",   "Two of them.",
                                       ">Map<",      "as right",    "&lt;left&gt;"};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    if (!stands(html, wanted[i])) fail_msg("the page lacks %s", wanted[i]);
  assert_false(stands(html, "none of these"));
  mica_free(html);
  /* One refusal and one unknown picture bring the class of none. */
  s.answers.predicted[0] = MICA_CLASS_NONE;
  s.answers.truth[1] = MICA_CLASS_NONE;
  if (every_section(&s)) fail_msg("%s", mica_last_error());
  html = page_of(s.report);
  assert_true(stands(html, "none of these"));
  mica_free(html);
  scene_free(&s);
}

static void what_cannot_be_drawn_is_refused(void **state) {
  (void)state;
  scene s;
  assert_int_equal(scene_make(&s), MICA_OK);
  mica_view features = mica_tensor_view(s.e.features);
  assert_int_equal(mica_report_curves(s.report, "x", NULL, 0), MICA_ERR_INVALID);
  assert_int_equal(mica_report_hardest(s.report, "x", &s.answers, 0), MICA_ERR_INVALID);
  assert_int_equal(mica_report_hardest(s.report, "x", &s.answers, 2001), MICA_ERR_INVALID);
  const mica_shown_item far = {1000000, NULL, NULL, MICA_MARK_NONE};
  assert_int_equal(mica_report_pictures(s.report, "x", NULL, 1, &far, ""), MICA_ERR_INVALID);
  assert_int_equal(mica_report_pictures(s.report, "x", s.answers.data, 2001, &far, ""),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_report_pictures(s.report, "x", s.answers.data, 1, &far, ""),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_report_map(s.report, "x", s.engine, &features, &s.answers, 1),
                   MICA_ERR_INVALID);
  features.shape.dim[0]--;
  assert_int_equal(mica_report_map(s.report, "x", s.engine, &features, &s.answers, 10),
                   MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "one row of features"));
  scene_free(&s);
}

static mica_status all(void *ctx) {
  (void)ctx;
  scene s;
  mica_status status = scene_make(&s);
  if (status == MICA_OK) status = every_section(&s);
  scene_free(&s);
  return status;
}

static void failing_memory_is_an_error(void **state) {
  (void)state;
  assert_true(fail_every(3, all, NULL) > 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(answers_come_from_logits),
      cmocka_unit_test(the_sections_stand_on_the_page),
      cmocka_unit_test(what_cannot_be_drawn_is_refused),
      cmocka_unit_test(failing_memory_is_an_error),
  };
  return cmocka_run_group_tests(tests, make_pictures, remove_pictures);
}
