/* Lists of items in files, data sets and tables with fewer items, labels that are wrong on purpose.
 */
#include "support/failing_alloc.h"
#include "support/folder.h"

#include "base/file.h"

#include <mica/table.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_item_list *read_list(const char *name) {
  mica_item_list *l;
  if (mica_item_list_read(folder_path(name), &l) != MICA_OK) fail_msg("%s", mica_last_error());
  return l;
}

static void refuse(const char *text, mica_status status, const char *part) {
  mica_item_list *l;
  const char *path = folder_put("bad.csv", text);
  assert_int_equal(mica_item_list_read(path, &l), status);
  assert_null(l);
  if (!strstr(mica_last_error(), part) || !strstr(mica_last_error(), "bad.csv"))
    fail_msg("\"%s\" lacks \"%s\"", mica_last_error(), part);
}

/* ---- files ---- */

static void test_write_and_read(void **state) {
  (void)state;
  mica_item_list *l;
  assert_int_equal(mica_item_list_create(&l), MICA_OK);
  assert_int_equal(mica_item_list_set_fact(l, "score", "el2n"), MICA_OK);
  assert_int_equal(mica_item_list_set_fact(l, "command", "mica select\n--keep: 0.5"), MICA_OK);
  assert_int_equal(mica_item_list_set_fact(l, "score", "grand"), MICA_OK);
  assert_int_equal(mica_item_list_add(l, 7, "a/plain.png"), MICA_OK);
  assert_int_equal(mica_item_list_add(l, 9, "odd, \"name\"\nof two lines.png"), MICA_OK);
  assert_int_equal(mica_item_list_add(l, 3, " #blanks around "), MICA_OK);
  assert_int_equal(mica_item_list_add(l, 4, "not UTF-8 \xff"), MICA_OK);
  assert_int_equal(mica_item_list_add(l, -1, "no number"), MICA_OK);
  assert_int_equal(mica_item_list_add(l, 5, NULL), MICA_OK);
  assert_int_equal(mica_item_list_add(l, -1, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_item_list_add(l, -2, "x"), MICA_ERR_INVALID);
  assert_int_equal(mica_item_list_set_fact(l, "two words", "x"), MICA_ERR_INVALID);
  assert_int_equal(mica_item_list_write(l, folder_path("list.csv")), MICA_OK);
  mica_item_list_free(l);
  l = read_list("list.csv");
  assert_int_equal(mica_item_list_count(l), 6);
  assert_string_equal(mica_item_list_fact(l, "score"), "grand");
  assert_string_equal(mica_item_list_fact(l, "command"), "mica select --keep: 0.5");
  assert_null(mica_item_list_fact(l, "seed"));
  assert_int_equal(mica_item_list_id(l, 0), 7);
  assert_string_equal(mica_item_list_name(l, 0), "a/plain.png");
  assert_string_equal(mica_item_list_name(l, 1), "odd, \"name\"\nof two lines.png");
  assert_string_equal(mica_item_list_name(l, 2), " #blanks around ");
  assert_string_equal(mica_item_list_name(l, 3), "");
  assert_int_equal(mica_item_list_id(l, 3), 4);
  assert_int_equal(mica_item_list_id(l, 4), -1);
  assert_string_equal(mica_item_list_name(l, 4), "no number");
  assert_int_equal(mica_item_list_id(l, 5), 5);
  assert_int_equal(mica_item_list_id(l, 6), -1);
  assert_string_equal(mica_item_list_name(l, -1), "");
  mica_item_list_free(l);
  mica_item_list_free(NULL);
}

static void test_lists_of_ones_own(void **state) {
  (void)state;
  folder_put("own.csv", "\xef\xbb\xbfrank,name,id\r\n1,b.png,\r\n2,\"c,d.png\",12\r\n");
  mica_item_list *l = read_list("own.csv");
  assert_int_equal(mica_item_list_count(l), 2);
  assert_int_equal(mica_item_list_id(l, 0), -1);
  assert_string_equal(mica_item_list_name(l, 1), "c,d.png");
  assert_int_equal(mica_item_list_id(l, 1), 12);
  mica_item_list_free(l);
  folder_put("ids.csv", "# a remark without a colon\n# no key: x\n#k:v\nid\n4\n2\n");
  l = read_list("ids.csv");
  assert_int_equal(mica_item_list_count(l), 2);
  assert_int_equal(mica_item_list_id(l, 1), 2);
  assert_string_equal(mica_item_list_fact(l, "k"), "v");
  mica_item_list_free(l);
  folder_put("empty.csv", "# mica items 1\nid\n");
  l = read_list("empty.csv");
  assert_int_equal(mica_item_list_count(l), 0);
  assert_int_equal(mica_item_list_write(l, folder_path("again.csv")), MICA_OK);
  mica_item_list_free(l);
  l = read_list("again.csv");
  assert_int_equal(mica_item_list_count(l), 0);
  mica_item_list_free(l);
}

static void test_bad_files(void **state) {
  (void)state;
  mica_item_list *l;
  assert_int_equal(mica_item_list_read(folder_path("none.csv"), &l), MICA_ERR_NOT_FOUND);
  refuse("", MICA_ERR_FORMAT, "expected a head with the columns id, name or both");
  refuse("path,label\nx,y\n", MICA_ERR_FORMAT, "expected a head");
  refuse("# mica items 2\nid\n1\n", MICA_ERR_UNSUPPORTED, "a list of form 2");
  refuse("# mica items x\nid\n1\n", MICA_ERR_FORMAT, "line 1");
  refuse("# mica items 1\nid,name\n1,a\nx,b\n", MICA_ERR_FORMAT, "line 4: id 'x'");
  refuse("id,name\n-1,b\n", MICA_ERR_FORMAT, "id '-1'");
  refuse("id,name\n99999999999999999999,b\n", MICA_ERR_FORMAT, "expected a number");
  refuse("id,name\n,\n", MICA_ERR_FORMAT, "line 2: neither id nor name");
  refuse("id,name\n3\n", MICA_ERR_FORMAT, "line 2: 1 fields, expected name in field 2");
  refuse("name\n\"a\n", MICA_ERR_FORMAT, "line 2");
  refuse("name\n\xff\n", MICA_ERR_FORMAT, "UTF-8");
  assert_int_equal(mica_file_write_atomic(folder_path("nul.csv"), "id\n1\0\n", 6), MICA_OK);
  assert_int_equal(mica_item_list_read(folder_path("nul.csv"), &l), MICA_ERR_FORMAT);
  char many[101 * 12 + 16] = "";
  for (int i = 0; i < 101; i++)
    snprintf(many + strlen(many), sizeof many - strlen(many), "# k%d: v\n", i);
  refuse(many, MICA_ERR_INVALID, "more than 100 facts");
}

/* ---- data sets ---- */

#define CLASSES 3
#define ITEMS   30

/* A picture of 1x1 for each name below NAME/, classes by number; `more` of each class in front. */
static mica_dataset *make_dataset(const char *folder, int more) {
  char name[64], class[16];
  for (int i = -more; i < ITEMS; i++) {
    snprintf(class, sizeof class, "c%d", (i + 3 * more) % CLASSES);
    snprintf(name, sizeof name, "%s/%s/%s%02d.pgm", folder, class, i < 0 ? "a" : "p", abs(i));
    assert_int_equal(mica_make_parent(folder_path(name)), MICA_OK);
    folder_put(name, "P5 1 1 255\n!");
  }
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  mica_dataset *ds;
  o.height = o.width = o.channels = 1;
  o.validation = 0;
  if (mica_dataset_open(folder_path(folder), &o, &ds) != MICA_OK) fail_msg("%s", mica_last_error());
  return ds;
}

static void test_subset(void **state) {
  (void)state;
  mica_dataset *ds = make_dataset("subset", 0);
  const int64_t good[] = {4, 0, 29}, twice[] = {4, 4}, beyond[] = {ITEMS}, below[] = {-1};
  assert_int_equal(mica_dataset_subset(ds, MICA_PART_TRAIN, 2, twice), MICA_ERR_INVALID);
  assert_int_equal(mica_dataset_subset(ds, MICA_PART_TRAIN, 1, beyond), MICA_ERR_INVALID);
  assert_int_equal(mica_dataset_subset(ds, MICA_PART_TRAIN, 1, below), MICA_ERR_INVALID);
  assert_int_equal(mica_dataset_subset(ds, MICA_PART_TEST, 3, good), MICA_ERR_INVALID);
  assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TRAIN), ITEMS);
  assert_int_equal(mica_dataset_subset(ds, MICA_PART_TRAIN, 3, good), MICA_OK);
  assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TRAIN), 3);
  assert_int_equal(mica_dataset_count(ds), ITEMS);
  assert_int_equal(mica_dataset_part_of(ds, 4), MICA_PART_TRAIN);
  assert_int_equal(mica_dataset_part_of(ds, 5), MICA_PART_COUNT);
  /* Nested: a subset of what is left. */
  assert_int_equal(mica_dataset_subset(ds, MICA_PART_TRAIN, 1, good), MICA_OK);
  assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TRAIN), 1);
  mica_dataset_free(ds);
}

static void test_find(void **state) {
  (void)state;
  mica_dataset *ds = make_dataset("find", 0);
  mica_item_list *l;
  int64_t item[3];
  char name[64], want[64];
  assert_int_equal(mica_item_list_create(&l), MICA_OK);
  assert_int_equal(mica_item_list_find(l, ds, MICA_PART_TRAIN, item), MICA_ERR_INVALID);
  for (int64_t i = 7; i < 10; i++)
    assert_int_equal(mica_item_list_add(l, i, mica_dataset_name(ds, i, name, sizeof name)),
                     MICA_OK);
  assert_int_equal(mica_item_list_find(l, ds, MICA_PART_TRAIN, item), MICA_OK);
  assert_int_equal(item[0], 7);
  assert_int_equal(item[2], 9);
  assert_int_equal(mica_item_list_find(l, ds, MICA_PART_TEST, item), MICA_ERR_NOT_FOUND);
  /* With others before them the numbers are wrong, and the names find them. */
  mica_dataset *grown = make_dataset("find", 3);
  assert_int_equal(mica_dataset_count(grown), ITEMS + 3);
  assert_int_equal(mica_item_list_find(l, grown, MICA_PART_TRAIN, item), MICA_OK);
  for (int64_t k = 0; k < 3; k++) {
    assert_int_not_equal(item[k], 7 + k);
    assert_string_equal(mica_dataset_name(grown, item[k], name, sizeof name),
                        mica_dataset_name(ds, 7 + k, want, sizeof want));
  }
  assert_int_equal(mica_item_list_add(l, 8, NULL), MICA_OK);
  int64_t four[4];
  assert_int_equal(mica_item_list_find(l, ds, MICA_PART_TRAIN, four), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "entry 4, item 8, is there twice"));
  mica_item_list_free(l);
  assert_int_equal(mica_item_list_create(&l), MICA_OK);
  assert_int_equal(mica_item_list_add(l, 0, "c9/none.pgm"), MICA_OK);
  assert_int_equal(mica_item_list_find(l, ds, MICA_PART_TRAIN, item), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "entry 1, 'c9/none.pgm', is not in that part"));
  mica_item_list_free(l);
  mica_dataset_free(grown);
  mica_dataset_free(ds);
}

/* Rows are found by their content; equal rows one after the other. */
static void test_rows(void **state) {
  (void)state;
  folder_put("a.csv", "x,y\n1,no\n2,yes\n2,yes\n3,no\n4,yes\n");
  folder_put("b.csv", "x,y\n4,yes\n2,yes\n3,no\n1,no\n2,yes\n");
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  mica_data_table *a, *b, *stays;
  mica_item_list *l;
  int64_t row[3];
  char name[64];
  o.label = "y";
  o.validation = 0;
  o.in_file = 0;
  assert_int_equal(mica_data_table_open(folder_path("a.csv"), &o, &a), MICA_OK);
  assert_int_equal(mica_data_table_open(folder_path("b.csv"), &o, &b), MICA_OK);
  assert_int_equal(mica_item_list_create(&l), MICA_OK);
  for (int64_t i = 1; i < 4; i++)
    assert_int_equal(mica_item_list_add(l, i, mica_data_table_name(a, i, name, sizeof name)),
                     MICA_OK);
  assert_string_equal(mica_data_table_name(a, 5, name, sizeof name), "");
  assert_int_equal(mica_item_list_find_rows(l, a, MICA_PART_TRAIN, row), MICA_OK);
  assert_int_equal(row[0], 1);
  assert_int_equal(row[2], 3);
  assert_int_equal(mica_item_list_find_rows(l, b, MICA_PART_TRAIN, row), MICA_OK);
  assert_int_equal(row[0], 1);
  assert_int_equal(row[1], 4);
  assert_int_equal(row[2], 2);
  assert_int_equal(mica_data_table_subset(b, MICA_PART_TRAIN, 3, row), MICA_OK);
  assert_int_equal(mica_data_table_part_count(b, MICA_PART_TRAIN), 3);
  assert_int_equal(mica_data_table_part_of(b, 0), MICA_PART_COUNT);
  assert_int_equal(mica_data_table_subset(b, MICA_PART_TRAIN, 1, (const int64_t[]){0}),
                   MICA_ERR_INVALID);
  o.in_file = 1;
  assert_int_equal(mica_data_table_open(folder_path("a.csv"), &o, &stays), MICA_OK);
  assert_int_equal(mica_item_list_find_rows(l, stays, MICA_PART_TRAIN, row), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_data_table_subset(stays, MICA_PART_TRAIN, 3, row), MICA_ERR_UNSUPPORTED);
  assert_string_equal(mica_data_table_name(stays, 0, name, sizeof name), "");
  mica_item_list_free(l);
  mica_data_table_free(a);
  mica_data_table_free(b);
  mica_data_table_free(stays);
}

/* ---- wrong labels ---- */

/* How many labels differ from the truth; which of them, by number. */
static int flipped(const mica_dataset *ds, bool which[ITEMS]) {
  const int64_t *label = mica_tensor_data(mica_dataset_labels(ds));
  const int64_t *truth = mica_tensor_data(mica_dataset_true_labels(ds));
  int n = 0;
  for (int i = 0; i < ITEMS; i++) {
    assert_in_range(label[i], 0, CLASSES - 1);
    which[i] = label[i] != truth[i];
    n += which[i];
  }
  return n;
}

static void test_label_noise(void **state) {
  (void)state;
  mica_dataset *ds = make_dataset("noise", 0);
  bool few[ITEMS], more[ITEMS], other[ITEMS];
  int64_t before[ITEMS];
  assert_ptr_equal(mica_dataset_true_labels(ds), mica_dataset_labels(ds));
  memcpy(before, mica_tensor_data(mica_dataset_labels(ds)), sizeof before);
  assert_int_equal(mica_dataset_flip_labels(ds, MICA_PART_TRAIN, MICA_LABEL_NOISE_UNIFORM, 0.2, 1),
                   MICA_OK);
  assert_int_equal(flipped(ds, few), 6);
  assert_memory_equal(mica_tensor_data(mica_dataset_true_labels(ds)), before, sizeof before);
  assert_int_equal(mica_dataset_flip_labels(ds, MICA_PART_TRAIN, MICA_LABEL_NOISE_UNIFORM, 0.5, 1),
                   MICA_OK);
  assert_int_equal(flipped(ds, more), 15);
  for (int i = 0; i < ITEMS; i++) assert_true(more[i] || !few[i]);
  assert_int_equal(mica_dataset_flip_labels(ds, MICA_PART_TRAIN, MICA_LABEL_NOISE_UNIFORM, 0.5, 2),
                   MICA_OK);
  assert_int_equal(flipped(ds, other), 15);
  assert_true(memcmp(more, other, sizeof more) != 0);
  assert_int_equal(mica_dataset_flip_labels(ds, MICA_PART_TRAIN, MICA_LABEL_NOISE_NEXT, 1, 0),
                   MICA_OK);
  const int64_t *label = mica_tensor_data(mica_dataset_labels(ds));
  for (int i = 0; i < ITEMS; i++) assert_int_equal(label[i], (before[i] + 1) % CLASSES);
  assert_int_equal(mica_dataset_flip_labels(ds, MICA_PART_TRAIN, MICA_LABEL_NOISE_PERMUTE, 1, 0),
                   MICA_OK);
  int count[CLASSES] = {0};
  for (int i = 0; i < ITEMS; i++) count[label[i]]++;
  for (int c = 0; c < CLASSES; c++) assert_int_equal(count[c], ITEMS / CLASSES);
  assert_in_range(flipped(ds, few), 10, 29);
  /* Another part is left as it is, none of it is flipped here. */
  assert_int_equal(mica_dataset_flip_labels(ds, MICA_PART_TRAIN, MICA_LABEL_NOISE_NEXT, 0, 0),
                   MICA_OK);
  assert_int_equal(flipped(ds, few), 0);
  assert_int_equal(mica_dataset_flip_labels(ds, MICA_PART_TEST, MICA_LABEL_NOISE_NEXT, 1, 0),
                   MICA_OK);
  assert_int_equal(flipped(ds, few), 0);
  assert_int_equal(mica_dataset_flip_labels(ds, MICA_PART_TRAIN, MICA_LABEL_NOISE_NEXT, 1.5, 0),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_dataset_flip_labels(ds, MICA_PART_TRAIN, (mica_label_noise)7, 0.5, 0),
                   MICA_ERR_INVALID);
  mica_dataset_free(ds);
  mica_dataset_options one = MICA_DATASET_OPTIONS;
  one.height = one.width = one.channels = 1;
  one.classes = "c0";
  assert_int_equal(mica_dataset_open(folder_path("noise"), &one, &ds), MICA_OK);
  assert_int_equal(mica_dataset_flip_labels(ds, MICA_PART_TRAIN, MICA_LABEL_NOISE_UNIFORM, 0.1, 0),
                   MICA_ERR_INVALID);
  mica_dataset_free(ds);
}

/* ---- short memory ---- */

static mica_status all_of_it(void *ctx) {
  const char *const *path = ctx;
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  mica_dataset *ds = NULL;
  mica_item_list *l = NULL, *own = NULL;
  int64_t item[2];
  o.height = o.width = o.channels = 1;
  o.validation = 0;
  mica_status status = mica_dataset_open(path[0], &o, &ds);
  if (status == MICA_OK) status = mica_item_list_read(path[1], &l);
  if (status == MICA_OK) status = mica_item_list_find(l, ds, MICA_PART_TRAIN, item);
  if (status == MICA_OK) status = mica_dataset_subset(ds, MICA_PART_TRAIN, 2, item);
  if (status == MICA_OK)
    status = mica_dataset_flip_labels(ds, MICA_PART_TRAIN, MICA_LABEL_NOISE_PERMUTE, 1, 0);
  if (status == MICA_OK) status = mica_item_list_create(&own);
  if (status == MICA_OK) status = mica_item_list_add(own, 1, "x");
  if (status == MICA_OK) status = mica_item_list_set_fact(own, "k", "v");
  if (status == MICA_OK) status = mica_item_list_write(own, path[2]);
  mica_item_list_free(l);
  mica_item_list_free(own);
  mica_dataset_free(ds);
  return status;
}

static void test_short_memory(void **state) {
  (void)state;
  static char path[3][512];
  snprintf(path[0], sizeof path[0], "%s", folder_path("noise"));
  snprintf(path[1], sizeof path[1], "%s",
           folder_put("short.csv", "# k: v\nid,name\n29,c1/p01.pgm\n,c0/p00.pgm\n"));
  snprintf(path[2], sizeof path[2], "%s", folder_path("written.csv"));
  const char *given[] = {path[0], path[1], path[2]};
  assert_true(fail_each(all_of_it, given) > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_write_and_read), cmocka_unit_test(test_lists_of_ones_own),
      cmocka_unit_test(test_bad_files),      cmocka_unit_test(test_subset),
      cmocka_unit_test(test_find),           cmocka_unit_test(test_rows),
      cmocka_unit_test(test_label_noise),    cmocka_unit_test(test_short_memory)};
  return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
