/* Tables: what columns are learnt, how rows are encoded, split and matched, and what is refused. */
#include "support/failing_alloc.h"
#include "support/folder.h"

#include "data/columns.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mica_data_table_options options(const char *label) {
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  o.label = label;
  o.validation = 0;
  return o;
}

static mica_data_table *open_table(const char *path, const mica_data_table_options *o) {
  mica_data_table *t;
  if (mica_data_table_open(path, o, &t) != MICA_OK) fail_msg("%s", mica_last_error());
  return t;
}

/* Opening must fail with this message, where %s stands for the path. */
static void refused(const char *path, const mica_data_table_options *o, mica_status status,
                    const char *expected) {
  char text[1024];
  mica_data_table *t = NULL;
  const char *at = strstr(expected, "%s");
  snprintf(text, sizeof text, "%.*s%s%s", at ? (int)(at - expected) : 0, expected, at ? path : "",
           at ? at + 2 : expected);
  assert_int_equal(mica_data_table_open(path, o, &t), status);
  assert_null(t);
  assert_string_equal(mica_last_error(), text);
}

static void row_is(const mica_data_table *t, int64_t i, int n, const double *expected) {
  float x[64];
  assert_int_equal(mica_columns_width(mica_data_table_columns(t)), n);
  mica_data_table_row(t, i, x);
  for (int k = 0; k < n; k++)
    if (fabs((double)x[k] - expected[k]) > 1e-6)
      fail_msg("row %lld, number %d: %g, expected %g", (long long)i, k, (double)x[k], expected[k]);
}

/* Rows of two classes, one of them rare; then `extra` more. */
static const char *many_rows(const char *name, int n, int extra) {
  const char *path = folder_path(name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fprintf(f, "id,y\n");
  for (int i = 0; i < n; i++) fprintf(f, "%d,%s\n", i, i % 10 ? "common" : "rare");
  for (int i = 0; i < extra; i++) fprintf(f, "%d,rare\n", n + i);
  fclose(f);
  return path;
}

/* ---- columns ---- */

static void test_columns(void **state) {
  (void)state;
  const char *path = folder_put("t.csv", "age,colour,size,y\n"
                                         "1,red,?,no\n"
                                         "3,blue,2,yes\n"
                                         "1,red,4,no\n"
                                         "3,green,NA,yes\n"
                                         "2,,,no\n");
  mica_data_table_options o = options("y");
  mica_data_table *t = open_table(path, &o);
  const mica_columns *c = mica_data_table_columns(t);
  assert_int_equal(mica_data_table_count(t), 5);
  assert_int_equal(mica_columns_count(c), 3);
  assert_string_equal(mica_columns_name(c, 1), "colour");
  assert_int_equal(mica_columns_kind(c, 0), MICA_COLUMN_NUMERIC);
  assert_int_equal(mica_columns_kind(c, 1), MICA_COLUMN_CATEGORICAL);
  assert_int_equal(mica_columns_kind(c, 2), MICA_COLUMN_NUMERIC);
  assert_string_equal(mica_columns_label(c), "y");
  assert_false(mica_columns_regression(c));
  assert_int_equal(mica_data_table_classes(t), 2);
  assert_string_equal(mica_data_table_class(t, 0), "no");
  assert_string_equal(mica_data_table_class(t, 1), "yes");
  assert_int_equal(mica_data_table_labels(t)[1], 1);
  assert_null(mica_data_table_targets(t));
  /* age: mean 2, deviation sqrt(4/5); colour: red, then blue and green by name, then missing; size:
   * mean 3, deviation 1, and whether it is missing. */
  const double d = sqrt(0.8);
  row_is(t, 0, 7, (double[]){-1 / d, 1, 0, 0, 0, 0, 1});
  row_is(t, 1, 7, (double[]){1 / d, 0, 1, 0, 0, -1, 0});
  row_is(t, 3, 7, (double[]){1 / d, 0, 0, 1, 0, 0, 1});
  row_is(t, 4, 7, (double[]){0, 0, 0, 0, 1, 0, 1});
  /* What was never seen: zeros. */
  float x[7];
  assert_int_equal(mica_columns_encode(c, (const char *[]){"2", "violet", "3"}, x), MICA_OK);
  for (int k = 0; k < 7; k++) assert_true(x[k] == 0);
  assert_int_equal(mica_columns_encode(c, (const char *[]){"two", "red", "3"}, x), MICA_ERR_FORMAT);
  assert_string_equal(mica_last_error(), "column 'age': 'two' is no number");
  mica_data_table_free(t);
}

/* The cells that were kept while columns were judged are those of a second reading, which a row
 * that cannot be used asks for. */
static void test_one_reading_or_two(void **state) {
  (void)state;
  static const struct {
    const char *head, *row[6];
  } files[] = {
      {"a,b,y", {"1,x,p\n", "2.5,y,q\n", "?,x,p\n", "4,,q\n", "1e3,z,p\n", "-7,y,r\n"}},
      {"a,b,y", {",?,1\n", "1,,2\n", "2,late,1\n", "3,text,2\n", "NA,late,3\n", "5,,1\n"}},
      {"a,b,y", {"1,7,0.5\n", "2,x,1.5\n", "3,7,2.25\n", "4,8,3\n", "5,x,4\n", "6,9,5.125\n"}},
      {"a,b,y", {"1,1e300,p\n", "2,3,q\n", "3,4,p\n", "4,5,q\n", "5,6,p\n", "6,7,q\n"}},
      {"a,b,y", {"1,2,p\n", "2,3,\n", "3,4,p\n", "4,5,q\n", "5,6,p\n", "6,7,q\n"}}};
  for (size_t k = 0; k < sizeof files / sizeof *files; k++)
    for (int split = 0; split < 2; split++) {
      char text[512], longer[600], one[64], other[64];
      float x[64], y[64];
      int n = snprintf(text, sizeof text, "%s\n", files[k].head);
      for (int r = 0; r < 6; r++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s", files[k].row[r]);
      snprintf(longer, sizeof longer, "%stoo,many,fields,here\n", text);
      mica_data_table_options o = options("y");
      o.validation = split ? 0.4 : 0;
      mica_data_table *t = open_table(folder_put("once.csv", text), &o);
      mica_data_table *u = open_table(folder_put("twice.csv", longer), &o);
      const mica_columns *c = mica_data_table_columns(t), *d = mica_data_table_columns(u);
      assert_int_equal(mica_data_table_skipped(t) + 1, mica_data_table_skipped(u));
      assert_int_equal(mica_data_table_count(t), mica_data_table_count(u));
      assert_int_equal(mica_columns_width(c), mica_columns_width(d));
      assert_int_equal(mica_columns_regression(c), mica_columns_regression(d));
      assert_int_equal(mica_data_table_classes(t), mica_data_table_classes(u));
      for (int64_t i = 0; i < mica_data_table_classes(t); i++)
        assert_string_equal(mica_data_table_class(t, i), mica_data_table_class(u, i));
      for (int64_t i = 0; i < mica_data_table_count(t); i++) {
        mica_data_table_row(t, i, x);
        mica_data_table_row(u, i, y);
        assert_memory_equal(x, y, (size_t)mica_columns_width(c) * sizeof *x);
        assert_int_equal(mica_data_table_part_of(t, i), mica_data_table_part_of(u, i));
        assert_string_equal(mica_data_table_name(t, i, one, sizeof one),
                            mica_data_table_name(u, i, other, sizeof other));
        if (mica_data_table_labels(t))
          assert_int_equal(mica_data_table_labels(t)[i], mica_data_table_labels(u)[i]);
        else
          assert_true(mica_data_table_targets(t)[i] == mica_data_table_targets(u)[i]);
      }
      mica_data_table_free(t);
      mica_data_table_free(u);
    }
}

static void test_meanings_by_request(void **state) {
  (void)state;
  const char *path =
      folder_put("t.csv", "id,zip,v,y\n1,100,1,a\n2,200,2,b\n3,100,3,a\n4,300,4,b\n");
  mica_data_table_options o = options("y");
  o.categorical = "zip";
  o.ignore = "id";
  o.max_categories = 1;
  mica_data_table *t = open_table(path, &o);
  const mica_columns *c = mica_data_table_columns(t);
  assert_int_equal(mica_columns_count(c), 2);
  assert_int_equal(mica_columns_kind(c, 0), MICA_COLUMN_CATEGORICAL);
  /* 100 has a place, 200 and 300 share one, and so does what was never seen. */
  const double d = sqrt(1.25);
  row_is(t, 0, 3, (double[]){1, 0, -1.5 / d});
  row_is(t, 1, 3, (double[]){0, 1, -0.5 / d});
  row_is(t, 3, 3, (double[]){0, 1, 1.5 / d});
  float x[3];
  assert_int_equal(mica_columns_encode(c, (const char *[]){"999", "2.5"}, x), MICA_OK);
  assert_true(x[0] == 0 && x[1] == 1);
  mica_data_table_free(t);

  o = options("y");
  o.numeric = "size";
  refused(path, &o, MICA_ERR_NOT_FOUND, "%s: no column 'size' (numeric)");
  o.numeric = "zi";
  refused(path, &o, MICA_ERR_NOT_FOUND, "%s: no column 'zi' (numeric); did you mean 'zip'?");
  o.numeric = "zip";
  o.categorical = "zip";
  refused(path, &o, MICA_ERR_INVALID,
          "%s: column 'zip' is given two meanings, the second as categorical");
  o = options("z");
  refused(path, &o, MICA_ERR_NOT_FOUND, "%s: no column 'z' (the label)");
  o = options("y");
  o.ignore = "id,zip,v";
  refused(path, &o, MICA_ERR_FORMAT, "%s: no column is left beside the label");
}

static void test_targets(void **state) {
  (void)state;
  mica_data_table_options o = options("y");
  mica_data_table *t = open_table(folder_put("t.csv", "x,y\na,1.5\nb,2.5\na,3.5\n"), &o);
  assert_true(mica_columns_regression(mica_data_table_columns(t)));
  assert_true(mica_data_table_targets(t)[1] == 2.5);
  assert_null(mica_data_table_labels(t));
  assert_int_equal(mica_data_table_classes(t), 0);
  assert_true(fabs(mica_columns_target(mica_data_table_columns(t), 1) - 2.5 - sqrt(2.0 / 3)) <
              1e-12);
  mica_data_table_free(t);
  /* Few whole numbers are classes, in the order of their values; or a target on request. */
  const char *whole = folder_put("w.csv", "x,y\na,10\nb,9\na,-1\n");
  t = open_table(whole, &o);
  assert_int_equal(mica_data_table_classes(t), 3);
  assert_string_equal(mica_data_table_class(t, 0), "-1");
  assert_string_equal(mica_data_table_class(t, 2), "10");
  mica_data_table_free(t);
  o.target = MICA_TARGET_NUMBER;
  t = open_table(whole, &o);
  assert_true(mica_data_table_targets(t)[2] == -1);
  mica_data_table_free(t);
  refused(folder_put("t.csv", "x,y\na,1\nb,many\n"), &o, MICA_ERR_FORMAT,
          "%s: line 3: the label 'y' is to be a number, but here it is 'many'");
  o.target = MICA_TARGET_CLASSES;
  refused(many_rows("many.csv", 1001, 0),
          &(mica_data_table_options){sizeof o, "id", o.target, .header = -1, .max_categories = 2},
          MICA_ERR_FORMAT,
          "%s: the label 'id' has more than 1000 different values, too many for classes; a numeric "
          "target needs a loss such as mse");
}

/* ---- files ---- */

static void test_headers(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int header, rows;
    const char *first;
  } cases[] = {{"a,b\n1,2\n", 1, 1, "a"}, {"1,2\n3,4\n", 0, 2, "c1"}, {"x,x\ny,z\n", 0, 2, "c1"},
               {"a,b\nc,d\n", 1, 1, "a"}, {"a,\n1,2\n", 0, 2, "c1"},  {"a,?\n1,2\n", 0, 2, "c1"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_data_table_options o = options(NULL);
    mica_data_table *t = open_table(folder_put("t.csv", cases[i].text), &o);
    assert_string_equal(mica_columns_name(mica_data_table_columns(t), 0), cases[i].first);
    assert_int_equal(mica_data_table_count(t), cases[i].rows);
    mica_data_table_free(t);
  }
  /* As the caller says. A column without a name is called by its number. */
  mica_data_table_options o = options(NULL);
  o.header = 0;
  mica_data_table *t = open_table(folder_put("t.csv", "a,b\nc,d\n"), &o);
  assert_int_equal(mica_data_table_count(t), 2);
  mica_data_table_free(t);
  o.header = 1;
  t = open_table(folder_put("t.csv", ",b\n1,2\n"), &o);
  assert_string_equal(mica_columns_name(mica_data_table_columns(t), 0), "c1");
  mica_data_table_free(t);
  /* The label's name tells the header, whatever else stands there. */
  o = options("y");
  t = open_table(folder_put("t.csv", "1,1,y\n3,4,a\n"),
                 &(mica_data_table_options){sizeof o, "c3", .header = 0, .max_categories = 10});
  assert_int_equal(mica_data_table_count(t), 2);
  mica_data_table_free(t);
  refused(folder_put("t.csv", "1,1,y\n3,4,a\n"), &o, MICA_ERR_FORMAT,
          "%s: two columns are named '1'");
  refused(folder_put("t.csv", ""), &o, MICA_ERR_FORMAT, "%s: is empty; expected lines of fields");
  refused(folder_put("t.csv", "x,y\n"), &o, MICA_ERR_FORMAT, "%s: no row can be used");
  refused(folder_path("absent.csv"), &o, MICA_ERR_NOT_FOUND,
          "%s: cannot open: No such file or directory");
  refused("-", &o, MICA_ERR_INVALID,
          "standard input cannot be read twice, as learning columns needs; give a file");
}

static void test_rows_that_cannot_be_used(void **state) {
  (void)state;
  const char *path = folder_put("t.csv", "v,y\n1,a\n2\n3,b,c\n4,\n5,b\ninf,a\n1e999,a\n6,a\n");
  mica_data_table_options o = options("y");
  mica_data_table *t = open_table(path, &o);
  char expected[1024];
  assert_int_equal(mica_data_table_count(t), 3);
  assert_int_equal(mica_data_table_skipped(t), 5);
  snprintf(expected, sizeof expected,
           "%s: line 3: 1 field, expected 2 as in the first line\n"
           "%s: line 4: 3 fields, expected 2 as in the first line\n"
           "%s: line 5: the label 'y' is missing\n"
           "%s: line 7: column 'v': 'inf' is not finite; numbers go to 3.4e38 in magnitude\n"
           "%s: line 8: column 'v': '1e999' is too large; numbers go to 3.4e38 in magnitude\n",
           path, path, path, path, path);
  assert_string_equal(mica_data_table_skipped_text(t), expected);
  mica_data_table_free(t);
  o.strict = true;
  refused(path, &o, MICA_ERR_FORMAT, "%s: line 3: 1 field, expected 2 as in the first line");
  o = options("y");
  o.numeric = "v";
  path = folder_put("t.csv", "v,y\nx,a\n");
  mica_data_table *none;
  snprintf(expected, sizeof expected,
           "%s: no row can be used; the first: %s: line 2: column 'v': 'x' is no number", path,
           path);
  assert_int_equal(mica_data_table_open(path, &o, &none), MICA_ERR_FORMAT);
  assert_string_equal(mica_last_error(), expected);
}

static void test_numbers_of_other_places(void **state) {
  (void)state;
  mica_data_table_options o = options("y");
  refused(folder_put("t.csv", "v;y\n1,5;a\n2,5;b\n"), &o, MICA_ERR_FORMAT,
          "%s: line 2: column 'v': '1,5' has a decimal comma; numbers are written with a point "
          "(name the column as categorical if these are no numbers)");
  o.numeric = "v";
  o.strict = true;
  refused(folder_path("t.csv"), &o, MICA_ERR_FORMAT,
          "%s: line 2: column 'v': '1,5' has a decimal comma; numbers are written with a point");
  o = options("y");
  o.categorical = "v";
  mica_data_table *t = open_table(folder_path("t.csv"), &o);
  assert_int_equal(mica_columns_width(mica_data_table_columns(t)), 2);
  mica_data_table_free(t);
}

static void test_too_many_values(void **state) {
  (void)state;
  mica_data_table_options o = options("y");
  o.max_categories = 2;
  refused(folder_put("t.csv", "v,y\n1,a\n2,b\n3,a\nx,b\n"), &o, MICA_ERR_FORMAT,
          "%s: column 'v' has more than 2 different values and 'x' on line 5 is no number; ignore "
          "the column, name it as categorical to keep the most frequent, as numeric to skip such "
          "lines, or raise max-categories");
  o.max_categories = 0;
  refused(folder_path("t.csv"), &o, MICA_ERR_INVALID,
          "table: max-categories from 1 to 1048576, a validation share from 0 to below 1");
}

/* ---- parts ---- */

static void test_validation_split(void **state) {
  (void)state;
  mica_data_table_options o = options("y");
  o.validation = 0.2;
  mica_data_table *a = open_table(many_rows("a.csv", 1000, 0), &o);
  mica_data_table *b = open_table(many_rows("b.csv", 1000, 500), &o);
  int64_t held[2] = {0};
  for (int64_t i = 0; i < 1000; i++) {
    assert_int_equal(mica_data_table_part_of(a, i), mica_data_table_part_of(b, i));
    if (mica_data_table_part_of(a, i) == MICA_PART_VALIDATION) held[mica_data_table_labels(a)[i]]++;
  }
  assert_in_range(held[0], 140, 220); /* of 900 */
  assert_in_range(held[1], 8, 34);    /* of 100 */
  assert_int_equal(held[0] + held[1], mica_data_table_part_count(a, MICA_PART_VALIDATION));
  /* The matrix of a part holds its rows in their order. */
  mica_tensor *x, *y;
  assert_int_equal(mica_data_table_matrix(a, MICA_PART_VALIDATION, &x, &y), MICA_OK);
  assert_int_equal(mica_tensor_dim(x, 0), held[0] + held[1]);
  int64_t k = 0;
  for (int64_t i = 0; i < 1000; i++) {
    float row[1];
    if (mica_data_table_part_of(a, i) != MICA_PART_VALIDATION) continue;
    mica_data_table_row(a, i, row);
    assert_true(((float *)mica_tensor_data(x))[k] == row[0]);
    assert_int_equal(((int64_t *)mica_tensor_data(y))[k++], mica_data_table_labels(a)[i]);
  }
  mica_tensor_free(x);
  mica_tensor_free(y);
  mica_data_table_free(a);
  mica_data_table_free(b);
  /* Equal rows stay together; a class of one kind of row stays in the training part. */
  a = open_table(folder_put("t.csv", "v,y\n1,a\n1,a\n2,a\n2,a\n3,b\n3,b\n"), &o);
  for (int64_t i = 0; i < 6; i += 2)
    assert_int_equal(mica_data_table_part_of(a, i), mica_data_table_part_of(a, i + 1));
  assert_int_equal(mica_data_table_part_count(a, MICA_PART_VALIDATION), 2);
  assert_int_equal(mica_data_table_part_of(a, 5), MICA_PART_TRAIN);
  mica_data_table_free(a);
}

/* Statistics, values and missing marks are those of the training part alone. */
static void test_folder(void **state) {
  (void)state;
  char parts[256];
  snprintf(parts, sizeof parts, "%s/parts", folder_dir);
  mkdir(parts, 0777);
  folder_put("parts/train.csv", "v,w,y\n1,p,a\n3,p,b\n");
  folder_put("parts/val.csv", "y,w,v\na,q,100\nb,p,?\n");
  folder_put("parts/test.csv", "v,w,y,more\n2,p,b,0\n");
  assert_true(mica_is_table(parts));
  assert_false(mica_is_table(folder_dir));
  mica_data_table_options o = options("y");
  mica_data_table *t = open_table(parts, &o);
  assert_int_equal(mica_data_table_part_count(t, MICA_PART_TRAIN), 2);
  assert_int_equal(mica_data_table_part_count(t, MICA_PART_VALIDATION), 2);
  assert_int_equal(mica_data_table_part_count(t, MICA_PART_TEST), 1);
  row_is(t, 0, 2, (double[]){-1, 1});
  row_is(t, 2, 2, (double[]){98, 0});
  row_is(t, 3, 2, (double[]){0, 1});
  row_is(t, 4, 2, (double[]){0, 1});
  assert_int_equal(mica_data_table_labels(t)[4], 1);
  mica_data_table_free(t);
  const char *test = folder_put("parts/test.csv", "v,w,y\n2,p,c\n");
  char expected[512];
  snprintf(expected, sizeof expected, "%s: line 2: label 'y': 'c' is no class of the training part",
           test);
  mica_data_table *none;
  assert_int_equal(mica_data_table_open(parts, &o, &none), MICA_ERR_NOT_FOUND);
  assert_string_equal(mica_last_error(), expected);
  test = folder_put("parts/test.csv", "v,w\n2,p\n");
  snprintf(expected, sizeof expected,
           "%s: no column 'y' with the labels, unlike the file before it", test);
  assert_int_equal(mica_data_table_open(parts, &o, &none), MICA_ERR_NOT_FOUND);
  assert_string_equal(mica_last_error(), expected);
  remove(folder_path("parts/train.csv"));
  assert_int_equal(mica_data_table_open(parts, &o, &none), MICA_ERR_NOT_FOUND);
  snprintf(expected, sizeof expected, "%s: no train.csv, train.tsv or either .gz", parts);
  assert_string_equal(mica_last_error(), expected);
}

/* ---- columns that come back from a file ---- */

static mica_columns *through_json(const mica_columns *c) {
  mica_bytes text = {0};
  mica_json_writer w = {.out = &text};
  mica_json_doc *doc;
  mica_columns *back;
  mica_columns_write(c, &w);
  assert_int_equal(text.status, MICA_OK);
  assert_int_equal(mica_json_parse(text.data, text.n, &doc), MICA_OK);
  assert_int_equal(mica_columns_read(mica_json_root(doc), &back), MICA_OK);
  mica_json_free(doc);
  mica_bytes_free(&text);
  return back;
}

static void test_given_columns(void **state) {
  (void)state;
  mica_data_table_options o = options("y");
  o.categorical = "k";
  o.max_categories = 2;
  mica_data_table *t =
      open_table(folder_put("t.csv", "v,k,y\n1,p,a\n3,p,b\n?,q,b\n5,r,a\n6,s,a\n"), &o);
  mica_columns *c = through_json(mica_data_table_columns(t));
  assert_int_equal(mica_columns_set_classes(c, (const char *[]){"a", "b"}, 2), MICA_OK);
  assert_int_equal(mica_columns_width(c), 5);
  /* Rows in another order, without and with the label. */
  mica_row_reader *r;
  const char *rows = folder_put("rows.csv", "k,more,v\nq,x,?\n\nbad\nr,x,3\n");
  assert_int_equal(mica_row_reader_open(rows, c, NULL, &r), MICA_OK);
  float x[10], y[5];
  int64_t number[2], n;
  assert_int_equal(mica_row_reader_next(r, 2, x, number, &n), MICA_OK);
  assert_int_equal(n, 2);
  assert_int_equal(number[1], 3);
  mica_data_table_row(t, 2, y);
  assert_memory_equal(x, y, sizeof y);
  assert_true(x[5 + 4] == 1); /* r shares the place for others */
  assert_int_equal(mica_row_reader_next(r, 2, x, NULL, &n), MICA_OK);
  assert_int_equal(n, 0);
  assert_int_equal(mica_row_reader_skipped(r), 1);
  assert_non_null(strstr(mica_row_reader_skipped_text(r), "line 4: 1 field, expected 3"));
  mica_row_reader_close(r);
  mica_data_table_options given = options(NULL);
  given.columns = c;
  mica_data_table *e = open_table(folder_put("e.csv", "y,v,k\nb,3,p\n"), &given);
  assert_int_equal(mica_data_table_labels(e)[0], 1);
  mica_data_table_free(e);
  e = open_table(rows, &given);
  assert_null(mica_data_table_labels(e));
  mica_data_table_free(e);
  refused(folder_put("e.csv", "y,v\nb,3\n"), &given, MICA_ERR_NOT_FOUND,
          "%s: no column 'k'; its first line names the columns it has");
  refused(folder_put("e.csv", "y,v,k\nc,3,p\n"), &given, MICA_ERR_NOT_FOUND,
          "%s: line 2: label 'y': 'c' is no class of the training part");
  given.header = 0;
  refused(folder_put("e.csv", "a,3,p\n"), &given, MICA_ERR_NOT_FOUND,
          "%s: no column 'v', 'k'; its columns have no names");
  mica_columns_free(c);
  mica_data_table_free(t);
}

/* Files without a header: the columns are known by their place, with the label or without. */
static void test_columns_by_position(void **state) {
  (void)state;
  mica_data_table_options o = options("c1");
  mica_data_table *t = open_table(folder_put("t.csv", "e,x,1\np,x,3\ne,s,5\n"), &o);
  mica_columns *c = through_json(mica_data_table_columns(t));
  float with[3], without[3];
  int64_t n;
  mica_row_reader *r;
  assert_int_equal(mica_columns_width(c), 3);
  assert_int_equal(mica_row_reader_open(folder_put("r.csv", "p,s,3\n"), c, NULL, &r), MICA_OK);
  assert_int_equal(mica_row_reader_next(r, 1, with, NULL, &n), MICA_OK);
  assert_int_equal(n, 1);
  mica_row_reader_close(r);
  assert_int_equal(mica_row_reader_open(folder_put("r.csv", "s,3\n"), c, NULL, &r), MICA_OK);
  assert_int_equal(mica_row_reader_next(r, 1, without, NULL, &n), MICA_OK);
  mica_row_reader_close(r);
  assert_memory_equal(with, without, sizeof with);
  assert_true(with[0] == 0 && with[1] == 1 && with[2] == 0);
  const char *path = folder_put("r.csv", "s,3,4,5\n");
  char expected[512];
  assert_int_equal(mica_row_reader_open(path, c, NULL, &r), MICA_ERR_NOT_FOUND);
  snprintf(expected, sizeof expected,
           "%s: 4 fields a line, expected the 3 of the training file, or those without the label",
           path);
  assert_string_equal(mica_last_error(), expected);
  mica_columns_free(c);
  mica_data_table_free(t);
}

static void test_hostile_columns(void **state) {
  (void)state;
  static const struct {
    const char *json, *message;
  } cases[] = {
      {"{}", "\"columns\": is missing, expected an array"},
      {"{\"columns\": []}", "\"by_position\" is missing or not true or false"},
      {"{\"columns\": [], \"by_position\": true, \"fields\": 1, \"label\": 3}",
       "\"label\" is no text"},
      {"{\"columns\": [], \"by_position\": true, \"fields\": 1, \"target\": {\"mean\": 0, "
       "\"deviation\": 0}}",
       "mean and deviation must be finite, the deviation above 0"},
      {"{\"columns\": [{\"name\": \"a\", \"missing\": false, \"mean\": 0, \"deviation\": -1}], "
       "\"by_position\": true, \"fields\": 1}",
       "columns[0]: mean and deviation must be finite, the deviation above 0"},
      {"{\"columns\": [{\"name\": \"a\", \"missing\": false, \"values\": [\"x\", \"x\"], "
       "\"other\": "
       "false}], \"by_position\": true, \"fields\": 1}",
       "columns[0]: values[1] is no text, or stands there twice"},
      {"{\"columns\": [{\"name\": \"a\", \"missing\": false, \"values\": {}}], \"by_position\": "
       "true, \"fields\": 1}",
       "columns[0]: \"values\" is no array of at most 1048576 texts"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_json_doc *doc;
    mica_columns *c;
    assert_int_equal(mica_json_parse(cases[i].json, strlen(cases[i].json), &doc), MICA_OK);
    assert_int_equal(mica_columns_read(mica_json_root(doc), &c), MICA_ERR_FORMAT);
    assert_string_equal(mica_last_error(), cases[i].message);
    mica_json_free(doc);
  }
  /* Positions that lie are found out when a file is matched. */
  static const char lies[] =
      "{\"columns\": [{\"name\": \"c9\", \"missing\": false, \"mean\": 0, \"deviation\": 1}], "
      "\"by_position\": true, \"fields\": 2, \"label\": \"\"}";
  mica_json_doc *doc;
  mica_columns *c;
  mica_row_reader *r;
  assert_int_equal(mica_json_parse(lies, strlen(lies), &doc), MICA_OK);
  assert_int_equal(mica_columns_read(mica_json_root(doc), &c), MICA_OK);
  assert_int_equal(mica_row_reader_open(folder_put("r.csv", "1,2\n"), c, NULL, &r),
                   MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "the model's column 'c9' is no position"));
  mica_columns_free(c);
  mica_json_free(doc);
}

/* ---- memory ---- */

static mica_status learn_and_read(void *ctx) {
  (void)ctx;
  mica_data_table_options o = options("y");
  o.validation = 0.3;
  mica_data_table *t;
  mica_status status = mica_data_table_open(folder_path("memory.csv"), &o, &t);
  if (status != MICA_OK) return status;
  mica_columns *c = mica_data_table_take_columns(t);
  mica_tensor *x = NULL, *y = NULL;
  status = mica_data_table_matrix(t, MICA_PART_TRAIN, &x, &y);
  mica_tensor_free(x);
  mica_tensor_free(y);
  mica_data_table_free(t);
  mica_row_reader *r = NULL;
  if (status == MICA_OK) status = mica_row_reader_open(folder_path("memory.csv"), c, NULL, &r);
  float row[32];
  int64_t n = 1;
  while (status == MICA_OK && n) status = mica_row_reader_next(r, 1, row, NULL, &n);
  mica_row_reader_close(r);
  mica_columns_free(c);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  folder_put("memory.csv", "v,k,y\n1,p,a\n2,q,b\n3,p,a\nx\n4,r,b\n5,p,a\n");
  failing_alloc_install();
  print_message("%ld allocations\n", fail_each(learn_and_read, NULL));
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_columns),
      cmocka_unit_test(test_one_reading_or_two),
      cmocka_unit_test(test_meanings_by_request),
      cmocka_unit_test(test_targets),
      cmocka_unit_test(test_headers),
      cmocka_unit_test(test_rows_that_cannot_be_used),
      cmocka_unit_test(test_numbers_of_other_places),
      cmocka_unit_test(test_too_many_values),
      cmocka_unit_test(test_validation_split),
      cmocka_unit_test(test_folder),
      cmocka_unit_test(test_given_columns),
      cmocka_unit_test(test_columns_by_position),
      cmocka_unit_test(test_hostile_columns),
      cmocka_unit_test(test_failing_allocations),
  };
  return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
