/* Folders of pictures with and without defects, and detectors measured on folds. */
#include "support/estimator.h"
#include "support/failing_alloc.h"
#include "support/folder.h"

#include <mica/dataset.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void make(const char *const *files) {
  for (; *files; files++) {
    char part[128];
    for (const char *slash = strchr(*files, '/'); slash; slash = strchr(slash + 1, '/')) {
      snprintf(part, sizeof part, "%.*s", (int)(slash - *files), *files);
      mkdir(folder_path(part), 0777);
    }
    folder_put(*files, "P5 1 1 255 x");
  }
}

/* Does the picture's path end so? */
static bool ends(const char *path, const char *end) {
  const size_t n = path ? strlen(path) : 0, m = strlen(end);
  return n >= m && strcmp(path + n - m, end) == 0;
}

static void test_layout(void **state) {
  (void)state;
  static const char *const files[] = {"all/bottle/train/good/001.png",
                                      "all/bottle/train/good/000.png",
                                      "all/bottle/train/good/notes.txt",
                                      "all/bottle/test/good/000.png",
                                      "all/bottle/test/crack/000.png",
                                      "all/bottle/test/crack/001.png",
                                      "all/bottle/test/crack/002.png",
                                      "all/bottle/ground_truth/crack/000_mask.png",
                                      "all/bottle/ground_truth/crack/001.png",
                                      "all/cable/train/good/000.jpg",
                                      "all/readme.txt",
                                      "all/other/train/bad/000.png",
                                      NULL};
  make(files);
  mica_defects *d;
  assert_true(mica_defects_here(folder_path("all")));
  assert_true(mica_defects_here(folder_path("all/bottle")));
  assert_false(mica_defects_here(folder_path("all/other")));
  assert_false(mica_defects_here(folder_path("all/readme.txt")));
  assert_false(mica_defects_here(folder_path("nothing")));
  if (mica_defects_open(folder_path("all"), &d)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_defects_categories(d), 2);
  assert_string_equal(mica_defects_category(d, 0), "bottle");
  assert_string_equal(mica_defects_category(d, 1), "cable");
  assert_null(mica_defects_category(d, 2));
  assert_int_equal(mica_defects_count(d, 0), 6);
  assert_int_equal(mica_defects_count(d, 1), 1);
  assert_int_equal(mica_defects_count(d, 2), 0);
  static const struct {
    const char *path, *kind, *mask;
    mica_part part;
  } wanted[] = {{"train/good/000.png", "good", NULL, MICA_PART_TRAIN},
                {"train/good/001.png", "good", NULL, MICA_PART_TRAIN},
                {"test/crack/000.png", "crack", "crack/000_mask.png", MICA_PART_TEST},
                {"test/crack/001.png", "crack", "crack/001.png", MICA_PART_TEST},
                {"test/crack/002.png", "crack", NULL, MICA_PART_TEST},
                {"test/good/000.png", "good", NULL, MICA_PART_TEST}};
  for (int i = 0; i < 6; i++) {
    const mica_defect_picture *p = mica_defects_at(d, 0, i);
    assert_true(ends(p->path, wanted[i].path));
    assert_string_equal(p->kind, wanted[i].kind);
    assert_int_equal(p->part, wanted[i].part);
    assert_int_equal(p->defect, strcmp(p->kind, "good") != 0);
    if (wanted[i].mask)
      assert_true(ends(p->mask, wanted[i].mask));
    else
      assert_null(p->mask);
  }
  assert_null(mica_defects_at(d, 0, 6));
  mica_defects_free(d);
  /* One category alone, with a slash behind its name. */
  if (mica_defects_open(folder_path("all/bottle/"), &d)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_defects_categories(d), 1);
  assert_string_equal(mica_defects_category(d, 0), "bottle");
  mica_defects_free(d);
  assert_int_equal(mica_defects_open(folder_path("all/other"), &d), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "expected train/good/picture"));
  assert_int_equal(mica_defects_open(folder_path("all/readme.txt"), &d), MICA_ERR_NOT_FOUND);
  static const char *const empty[] = {"empty/train/good/notes.txt", NULL};
  make(empty);
  assert_int_equal(mica_defects_open(folder_path("empty"), &d), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "no pictures in it"));
  mica_defects_free(NULL);
}

static mica_status open_all(void *ctx) {
  mica_defects *d = NULL;
  const mica_status status = mica_defects_open(ctx, &d);
  mica_defects_free(d);
  return status;
}

static void test_failures(void **state) {
  (void)state;
  char path[256];
  snprintf(path, sizeof path, "%s", folder_path("all/bottle"));
  assert_int_equal(open_all(path), MICA_OK);
  assert_true(fail_each(open_all, path) > 10);
}

/* ---- folds ---- */

enum { D = 4, NORMAL = 100, TEST = 60 };
static double normal[NORMAL * D], test[TEST * D];
static bool anomalous[TEST];

static void test_folds(void **state) {
  (void)state;
  mica_engine *engine = test_engine(2);
  const mica_key key = mica_key_seed(5);
  for (int i = 0; i < NORMAL * D; i++) normal[i] = mica_random_normal(key, (uint64_t)i);
  for (int i = 0; i < TEST * D; i++) {
    anomalous[i / D] = i / D % 2;
    test[i] = mica_random_normal(key, 10000 + (uint64_t)i) + (i / D % 2 && i % D == 1 ? 3 : 0);
  }
  const mica_view x = test_rows(normal, NORMAL, D), t = test_rows(test, TEST, D);
  mica_anomaly_fold fold[5], again[5], svm[5];
  if (mica_anomaly_folds(engine, "gaussian", &x, &t, anomalous, 5, 1, fold))
    fail_msg("%s", mica_last_error());
  assert_int_equal(mica_anomaly_folds(engine, "gaussian", &x, &t, anomalous, 5, 1, again), MICA_OK);
  assert_memory_equal(fold, again, sizeof fold);
  double beyond = 0;
  for (int k = 0; k < 5; k++) {
    assert_true(fold[k].auroc > 0.8 && fold[k].auroc <= 1);
    assert_int_equal(fold[k].kept, D);
    for (int s = 1; s < MICA_SIGMAS; s++) assert_true(fold[k].beyond[s] <= fold[k].beyond[s - 1]);
    beyond += fold[k].beyond[0] / 5;
  }
  assert_near(beyond, mica_sigma_share(1), 0.15);
  assert_int_equal(mica_anomaly_folds(engine, "one_class_svm", &x, &t, anomalous, 5, 1, svm),
                   MICA_OK);
  assert_true(svm[0].auroc > 0.7);
  for (int s = 0; s < MICA_SIGMAS; s++) assert_true(isnan(svm[0].beyond[s]));
  assert_int_equal(mica_anomaly_folds(engine, "ridge", &x, &t, anomalous, 5, 1, svm),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_anomaly_folds(engine, "gaussian", &x, &t, anomalous, 1, 1, svm),
                   MICA_ERR_INVALID);
  static bool none[TEST];
  assert_int_equal(mica_anomaly_folds(engine, "gaussian", &x, &t, none, 5, 1, svm),
                   MICA_ERR_INVALID);
  mica_engine_free(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_layout), cmocka_unit_test(test_failures),
                                     cmocka_unit_test(test_folds)};
  return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
