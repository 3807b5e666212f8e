/* Sets of photographs of landmarks: ground truths of revisited Oxford and Paris, tables of Google
 * Landmarks, boxes; hostile files. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/test.h"

#include "base/file.h"

#include <mica/dataset.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- pickles ---- */

typedef struct pickle {
  char bytes[4096];
  size_t n;
} pickle;

static void raw(pickle *p, const char *bytes, size_t n) {
  assert_true(p->n + n < sizeof p->bytes);
  memcpy(p->bytes + p->n, bytes, n);
  p->n += n;
}
#define RAW(p, text) raw(p, text, sizeof text - 1)

static void text(pickle *p, const char *s) {
  const char head[5] = {'X', (char)strlen(s), 0, 0, 0};
  raw(p, head, 5);
  raw(p, s, strlen(s));
}

static void integers(pickle *p, int n, ...) {
  va_list args;
  va_start(args, n);
  RAW(p, "](");
  for (int i = 0; i < n; i++) {
    const char op[2] = {'K', (char)va_arg(args, int)};
    raw(p, op, 2);
  }
  va_end(args);
  RAW(p, "e");
}

/* A NumPy array of int64, its bytes as Python 3 has them. */
static void array(pickle *p, int n, const int *v) {
  char head[3] = {'K', (char)n, '\x85'}, count[2] = {'C', (char)(8 * n)};
  RAW(p, "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
         "C\x01"
         "b\x87R(K\x01");
  raw(p, head, 3);
  RAW(p,
      "cnumpy\ndtype\nU\x02i8\x89\x88\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
      "\x89");
  raw(p, count, 2);
  for (int i = 0; i < n; i++) {
    const char b[8] = {(char)v[i]};
    raw(p, b, 8);
  }
  RAW(p, "tb");
}

static void names(pickle *p, const char *key, int n, const char *stem) {
  text(p, key);
  RAW(p, "](");
  for (int i = 0; i < n; i++) {
    char name[32];
    snprintf(name, sizeof name, "%s%d", stem, i);
    text(p, name);
  }
  RAW(p, "es");
}

static const char *save(const pickle *p, const char *name) {
  const char *path = folder_path(name);
  assert_int_equal(mica_file_write_atomic(path, p->bytes, p->n), MICA_OK);
  return path;
}

/* Five images, two queries; `first` writes the first query's dictionary. */
static pickle truth_with(void (*first)(pickle *p)) {
  pickle p = {.n = 0};
  static const int hard[2] = {3, 1};
  RAW(&p, "\x80\x02}");
  names(&p, "imlist", 5, "im_");
  names(&p, "qimlist", 2, "q_");
  text(&p, "gnd");
  RAW(&p, "]");
  first(&p);
  RAW(&p, "a}");
  text(&p, "bbx");
  integers(&p, 4, 1, 0, 3, 2);
  RAW(&p, "s");
  text(&p, "easy");
  integers(&p, 2, 4, 0);
  RAW(&p, "s");
  text(&p, "hard");
  array(&p, 2, hard);
  RAW(&p, "s");
  text(&p, "junk");
  integers(&p, 0);
  RAW(&p, "sas.");
  return p;
}

static void list_of(pickle *p, const char *key, int n, int a, int b) {
  text(p, key);
  integers(p, n, a, b);
  RAW(p, "s");
}

static void plain(pickle *p) {
  RAW(p, "}");
  list_of(p, "easy", 1, 2, 0);
  list_of(p, "hard", 0, 0, 0);
  list_of(p, "junk", 2, 0, 4);
}
static void twice(pickle *p) {
  RAW(p, "}");
  list_of(p, "easy", 1, 2, 0);
  list_of(p, "hard", 1, 2, 0);
  list_of(p, "junk", 0, 0, 0);
}
static void beyond(pickle *p) {
  RAW(p, "}");
  list_of(p, "easy", 1, 5, 0);
  list_of(p, "hard", 0, 0, 0);
  list_of(p, "junk", 0, 0, 0);
}
static void without(pickle *p) {
  RAW(p, "}");
  list_of(p, "easy", 1, 2, 0);
}
static void no_dictionary(pickle *p) {
  RAW(p, "K\x07");
}
static void flat_box(pickle *p) {
  plain(p);
  text(p, "bbx");
  integers(p, 4, 3, 0, 3, 2);
  RAW(p, "s");
}
static void word_in_list(pickle *p) {
  RAW(p, "}");
  text(p, "easy");
  RAW(p, "]");
  text(p, "im_0");
  RAW(p, "as");
  list_of(p, "hard", 0, 0, 0);
  list_of(p, "junk", 0, 0, 0);
}
static void runs(pickle *p) {
  RAW(p, "cos\nsystem\nU\x04true\x85R");
}

static void test_truth(void **state) {
  (void)state;
  const pickle p = truth_with(plain);
  mica_revisited *r;
  int64_t n;
  double box[4] = {0};
  assert_int_equal(mica_revisited_open(save(&p, "gnd.pkl"), &r), MICA_OK);
  assert_int_equal(mica_revisited_images(r), 5);
  assert_int_equal(mica_revisited_queries(r), 2);
  assert_string_equal(mica_revisited_image(r, 4), "im_4");
  assert_string_equal(mica_revisited_query(r, 1), "q_1");
  assert_null(mica_revisited_image(r, 5));
  assert_null(mica_revisited_query(r, -1));
  assert_false(mica_revisited_box(r, 0, box));
  assert_false(mica_revisited_box(r, 2, box));
  assert_true(mica_revisited_box(r, 1, box));
  assert_true(box[0] == 1 && box[1] == 0 && box[2] == 3 && box[3] == 2);
  const int64_t *list = mica_revisited_list(r, 1, MICA_ANSWERS_EASY, &n);
  assert_true(n == 2 && list[0] == 0 && list[1] == 4);
  list = mica_revisited_list(r, 1, MICA_ANSWERS_HARD, &n);
  assert_true(n == 2 && list[0] == 1 && list[1] == 3);
  mica_revisited_list(r, 1, MICA_ANSWERS_JUNK, &n);
  assert_int_equal(n, 0);
  list = mica_revisited_list(r, 0, MICA_ANSWERS_JUNK, &n);
  assert_true(n == 2 && list[0] == 0 && list[1] == 4);
  assert_null(mica_revisited_list(r, 2, MICA_ANSWERS_EASY, &n));
  assert_int_equal(n, 0);
  assert_null(mica_revisited_list(r, 0, (mica_revisited_answers)3, &n));
  mica_revisited_free(r);
  mica_revisited_free(NULL);
}

static void refuse(const pickle *p, mica_status status, const char *part) {
  mica_revisited *r = (mica_revisited *)-1;
  assert_int_equal(mica_revisited_open(save(p, "bad.pkl"), &r), status);
  assert_null(r);
  if (!strstr(mica_last_error(), part)) fail_msg("%s", mica_last_error());
}

static void test_hostile_truths(void **state) {
  (void)state;
  static const struct {
    void (*first)(pickle *p);
    const char *part;
  } bad[] = {{twice, "there twice"},
             {beyond, "no image's number"},
             {without, "no list under 'hard'"},
             {no_dictionary, "no list under 'easy'"},
             {flat_box, "'bbx' is no box"},
             {word_in_list, "no image's number"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const pickle p = truth_with(bad[i].first);
    refuse(&p, MICA_ERR_FORMAT, bad[i].part);
  }
  pickle p = truth_with(runs);
  refuse(&p, MICA_ERR_UNSUPPORTED, "os.system");
  p = truth_with(plain);
  const size_t whole = p.n;
  for (p.n = 0; p.n < whole; p.n++) refuse(&p, MICA_ERR_FORMAT, "");
  p.n = 0;
  RAW(&p, "\x80\x02K\x01.");
  refuse(&p, MICA_ERR_FORMAT, "'imlist'");
  p.n = 0;
  RAW(&p, "\x80\x02}");
  names(&p, "imlist", 0, "");
  RAW(&p, ".");
  refuse(&p, MICA_ERR_FORMAT, "'imlist'");
  p.n = 0;
  RAW(&p, "\x80\x02}");
  names(&p, "imlist", 2, "a");
  names(&p, "qimlist", 2, "b");
  RAW(&p, ".");
  refuse(&p, MICA_ERR_FORMAT, "expected a list of 2 dictionaries");
  assert_int_equal(mica_revisited_open(NULL, &(mica_revisited *){NULL}), MICA_ERR_INVALID);
}

/* Arrays that are no list of numbers, and bytes that would serve again and again. */
static void test_hostile_arrays(void **state) {
  (void)state;
  static const char head[] = "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
                             "C\x01"
                             "b\x87R",
                    type[] = "cnumpy\ndtype\nU\x02i8\x89\x88\x87R";
  pickle p = {.n = 0};
  raw(&p, head, sizeof head - 1);
  RAW(&p, "(K\x01K\x02K\x02\x86");
  raw(&p, type, sizeof type - 1);
  RAW(&p, "\x89"
          "C\x08"
          "12345678tb.");
  refuse(&p, MICA_ERR_FORMAT, "array of one dimension");
  p.n = 0;
  raw(&p, head, sizeof head - 1);
  RAW(&p, "(K\x01K\x03\x85");
  raw(&p, type, sizeof type - 1);
  RAW(&p, "\x89"
          "C\x08"
          "12345678tb.");
  refuse(&p, MICA_ERR_FORMAT, "array of one dimension");
  p.n = 0;
  raw(&p, head, sizeof head - 1);
  RAW(&p, "(K\x01K\x02\x85");
  raw(&p, type, sizeof type - 1);
  RAW(&p, "\x89"
          "C\x08"
          "12345678tb.");
  refuse(&p, MICA_ERR_UNSUPPORTED, "array of type i8");
  p.n = 0;
  for (int i = 0; i < 2; i++) { /* the same 16 bytes for two arrays */
    raw(&p, head, sizeof head - 1);
    RAW(&p, "(K\x01K\x02\x85");
    raw(&p, type, sizeof type - 1);
    if (i)
      RAW(&p, "\x89h\x07tb");
    else
      RAW(&p, "\x89"
              "C\x10"
              "1234567812345678q\x07tb");
  }
  RAW(&p, ".");
  refuse(&p, MICA_ERR_UNSUPPORTED, "array of type i8");
  p.n = 0;
  raw(&p, head, sizeof head - 1); /* a million elements of no bytes */
  RAW(&p, "(K\x01J\x00\x00\x10\x00\x85"
          "cnumpy\ndtype\nU\x02i0\x89\x88\x87R\x89"
          "C\x00tb.");
  refuse(&p, MICA_ERR_UNSUPPORTED, "array of type i0");
  p.n = 0;
  raw(&p, head, sizeof head - 1); /* a state for what has one */
  RAW(&p, "(K\x01K\x00\x85");
  raw(&p, type, sizeof type - 1);
  RAW(&p, "\x89"
          "C\x00tbNb.");
  refuse(&p, MICA_ERR_UNSUPPORTED, "unknown kind of object");
}

/* A list that many queries name must not be copied for each of them. */
static void test_amplified_lists(void **state) {
  (void)state;
  pickle p = {.n = 0};
  RAW(&p, "\x80\x02}");
  names(&p, "imlist", 90, "i");
  names(&p, "qimlist", 90, "q");
  text(&p, "gnd");
  RAW(&p, "](}");
  text(&p, "easy");
  RAW(&p, "](");
  for (int i = 0; i < 90; i++) {
    const char op[2] = {'K', (char)i};
    raw(&p, op, 2);
  }
  RAW(&p, "es");
  list_of(&p, "hard", 0, 0, 0);
  list_of(&p, "junk", 0, 0, 0);
  RAW(&p, "q\x01");
  for (int i = 1; i < 90; i++) RAW(&p, "h\x01");
  RAW(&p, "es.");
  refuse(&p, MICA_ERR_FORMAT, "more answers than the file has numbers");
}

/* ---- pictures ---- */

/* Grey, 4x4, pixel (y, x) has the value base + 4 y + x. */
static void picture(const char *name, int base) {
  char bytes[64];
  const int head = snprintf(bytes, sizeof bytes, "P5 4 4 255\n");
  for (int i = 0; i < 16; i++) bytes[head + i] = (char)(base + i);
  const char *path = folder_path(name);
  assert_int_equal(mica_make_parent(path), MICA_OK);
  assert_int_equal(mica_file_write_atomic(path, bytes, (size_t)head + 16), MICA_OK);
}

static const char *table(const char *name, const char *content) {
  assert_int_equal(mica_make_parent(folder_path(name)), MICA_OK);
  return folder_put(name, content);
}

static mica_dataset_options of_side(int64_t side) {
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  o.height = o.width = side;
  o.channels = 1;
  o.validation = 0.5; /* a ground truth holds out nothing */
  return o;
}

static mica_dataset *opened(const char *path, const mica_dataset_options *o) {
  mica_dataset *ds = NULL;
  if (mica_dataset_open(path, o, &ds) != MICA_OK) fail_msg("%s", mica_last_error());
  return ds;
}

static void test_truth_as_data_set(void **state) {
  (void)state;
  const pickle p = truth_with(plain);
  const mica_dataset_options o = of_side(2);
  uint8_t x[4];
  char name[64];
  for (int i = 0; i < 5; i++) {
    snprintf(name, sizeof name, "roxford/jpg/im_%d.jpg", i);
    picture(name, 0);
  }
  picture("roxford/jpg/q_0.jpg", 0);
  picture("roxford/jpg/q_1.jpg", 100);
  mica_dataset *ds = opened(save(&p, "roxford/gnd.pkl"), &o);
  assert_int_equal(mica_dataset_count(ds), 7);
  assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TRAIN), 5);
  assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TEST), 2);
  assert_int_equal(mica_dataset_classes(ds), 1);
  assert_string_equal(mica_dataset_class(ds, 0), "roxford");
  assert_string_equal(mica_dataset_name(ds, 6, name, sizeof name), "q_1.jpg");
  /* Columns 1 and 2 of rows 0 and 1. */
  assert_int_equal(mica_dataset_read(ds, 6, x), MICA_OK);
  assert_true(x[0] == 101 && x[1] == 102 && x[2] == 105 && x[3] == 106);
  mica_dataset_free(ds);
  /* Numbers would shift without a picture: it is an error. */
  assert_int_equal(remove(folder_path("roxford/jpg/im_2.jpg")), 0);
  assert_int_equal(mica_dataset_open(folder_path("roxford/gnd.pkl"), &o, &ds), MICA_ERR_NOT_FOUND);
  mica_dataset_options chosen = o;
  chosen.classes = "a";
  assert_int_equal(mica_dataset_open(folder_path("roxford/gnd.pkl"), &chosen, &ds),
                   MICA_ERR_INVALID);
}

static void test_boxes_of_lists(void **state) {
  (void)state;
  const mica_dataset_options o = of_side(2);
  mica_dataset *ds;
  uint8_t x[4];
  picture("boxes/a.pgm", 0);
  ds = opened(table("boxes/list.csv", "path,label,box\na.pgm,one,1.4 1.6 9 4.2\na.pgm,two,\n"), &o);
  assert_int_equal(mica_dataset_read(ds, 0, x), MICA_OK); /* columns 1 to 3 of rows 2 and 3 */
  assert_true(x[0] >= 9 && x[3] <= 15 && x[0] < x[1] && x[1] < x[2]);
  assert_int_equal(mica_dataset_read(ds, 1, x), MICA_OK);
  assert_true(x[0] < 5);
  mica_dataset_free(ds);
  static const char *const bad[] = {"1 2 3", "3 1 3 2", "1 2 3 4 5", "a b c d", "0 0 nan 1"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char list[96];
    snprintf(list, sizeof list, "path,label,box\na.pgm,one,%s\n", bad[i]);
    assert_int_equal(mica_dataset_open(table("boxes/bad.csv", list), &o, &ds), MICA_ERR_FORMAT);
    assert_non_null(strstr(mica_last_error(), "expected LEFT TOP RIGHT BOTTOM"));
  }
  mica_dataset_options strict = o;
  strict.strict = true;
  assert_int_equal(mica_dataset_open(table("boxes/bad.csv", "path,label,box\na.pgm,one,7 7 9 9\n"),
                                     &strict, &ds),
                   MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "outside the picture of 4x4"));
}

static void test_tables_of_google_landmarks(void **state) {
  (void)state;
  const mica_dataset_options o = of_side(4);
  mica_dataset *ds;
  char name[64];
  uint8_t x[16];
  picture("gld/train/0/a/1/0a10.jpg", 1);
  picture("gld/train/0/a/2/0a20.jpg", 2);
  picture("gld/train/f/f/f/ffff.jpg", 3);
  picture("gld/index/0/0/7/0077.jpg", 4);
  picture("gld/test/a/b/c/abcd.jpg", 5);
  picture("gld/test/a/b/d/abde.jpg", 6);
  ds = opened(table("gld/train.csv", "id,url,landmark_id\n0a10,http://x,10\n0a20,,9\nffff,,10\n"),
              &o);
  assert_int_equal(mica_dataset_count(ds), 3);
  assert_int_equal(mica_dataset_classes(ds), 2);
  assert_string_equal(mica_dataset_class(ds, 0), "9");
  assert_string_equal(mica_dataset_name(ds, 2, name, sizeof name), "f/f/f/ffff.jpg");
  assert_int_equal(mica_dataset_read(ds, 2, x), MICA_OK);
  assert_int_equal(x[0], 3);
  mica_dataset_free(ds);
  /* Beside the folder of the tables, and lists of ids. */
  ds = opened(table("gld/metadata/train_clean.csv", "landmark_id,images\n10,0a10 ffff\n9,0a20\n"),
              &o);
  assert_int_equal(mica_dataset_count(ds), 3);
  assert_string_equal(mica_dataset_name(ds, 1, name, sizeof name), "f/f/f/ffff.jpg");
  assert_int_equal(mica_dataset_read(ds, 0, x), MICA_OK);
  assert_int_equal(x[0], 1);
  mica_dataset_free(ds);
  ds = opened(table("gld/index.csv", "id\n0077\n"), &o);
  assert_int_equal(mica_dataset_read(ds, 0, x), MICA_OK);
  assert_int_equal(x[0], 4);
  assert_string_equal(mica_dataset_class(ds, 0), "unknown");
  mica_dataset_free(ds);
  ds = opened(table("gld/recognition_solution_v2.1.csv",
                    "id,landmarks,Usage\nabcd,10 9,Public\nabde,,Private\n"),
              &o);
  assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TEST), 2);
  assert_string_equal(mica_dataset_class(ds, 0), "10");
  assert_string_equal(mica_dataset_class(ds, 1), "none");
  mica_dataset_free(ds);
  static const struct {
    const char *text, *part;
  } bad[] = {{"id,landmark_id\n../../etc,1\n", "no picture's id"},
             {"id,landmark_id\nab,1\n", "no picture's id"},
             {"id,landmark_id\n", "no rows"},
             {"landmark_id,images\n1,abc a/b\n", "no picture's id"},
             {"id,x,landmark_id\nabcd,1\n", "fewer than the first line"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(mica_dataset_open(table("gld/train.csv", bad[i].text), &o, &ds),
                     MICA_ERR_FORMAT);
    if (!strstr(mica_last_error(), bad[i].part)) fail_msg("%s", mica_last_error());
  }
}

/* ---- short memory ---- */

static mica_status open_truth(void *path) {
  mica_revisited *r = NULL;
  const mica_status status = mica_revisited_open(path, &r);
  mica_revisited_free(r);
  return status;
}

static mica_status open_set(void *path) {
  const mica_dataset_options o = of_side(2);
  mica_dataset *ds = NULL;
  const mica_status status = mica_dataset_open(path, &o, &ds);
  mica_dataset_free(ds);
  return status;
}

static void test_memory_runs_out(void **state) {
  (void)state;
  const pickle p = truth_with(plain);
  char name[64], path[512];
  for (int i = 0; i < 5; i++) {
    snprintf(name, sizeof name, "short/im_%d.jpg", i);
    picture(name, 0);
  }
  picture("short/q_0.jpg", 0);
  picture("short/q_1.jpg", 0);
  snprintf(path, sizeof path, "%s", save(&p, "short/gnd.pkl"));
  assert_true(fail_each(open_truth, path) > 10);
  assert_true(fail_each(open_set, path) > 10);
  picture("short/train/a/b/c/abc.jpg", 0);
  snprintf(path, sizeof path, "%s", table("short/train.csv", "id,landmark_id\nabc,1\n"));
  assert_true(fail_each(open_set, path) > 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_truth),
                                     cmocka_unit_test(test_hostile_truths),
                                     cmocka_unit_test(test_hostile_arrays),
                                     cmocka_unit_test(test_amplified_lists),
                                     cmocka_unit_test(test_truth_as_data_set),
                                     cmocka_unit_test(test_boxes_of_lists),
                                     cmocka_unit_test(test_tables_of_google_landmarks),
                                     cmocka_unit_test(test_memory_runs_out)};
  return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
