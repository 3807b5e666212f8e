/* Logs of clicks in the forms of Criteo, Avazu and libFM: known by their first line, prepared as is
 * usual, and read again for a model. */
#include "support/folder.h"
#include "support/test.h"

#include <mica/table.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static FILE *begin(const char *name) {
  FILE *f = fopen(folder_path(name), "w");
  assert_non_null(f);
  return f;
}

static mica_data_table *open_log(const char *path, bool fields) {
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  mica_data_table *t;
  o.validation = 0;
  o.fields = fields;
  if (mica_data_table_open(path, &o, &t) != MICA_OK) fail_msg("%s", mica_last_error());
  return t;
}

/* ---- Criteo ---- */

enum { KAGGLE_HEADER = 1, LABELS = 2 };

/* Counts that repeat, some missing, one negative; hashes of a few values, of which each row has one
 * of its own in C26. */
static const char *criteo(const char *name, char delimiter, int form) {
  FILE *f = begin(name);
  if (form & KAGGLE_HEADER) {
    fprintf(f, "Id,Label");
    for (int i = 1; i <= 39; i++) fprintf(f, ",%c%d", i < 14 ? 'I' : 'C', i < 14 ? i : i - 13);
    fprintf(f, "\n");
  }
  for (int r = 0; r < 20; r++) {
    if (form & KAGGLE_HEADER) fprintf(f, "%d,", 10000 + r);
    if (form & LABELS) fprintf(f, "%d%c", r % 4 == 0, delimiter);
    for (int i = 0; i < 13; i++) {
      if (i != 3 || r % 5) fprintf(f, "%d", i == 1 ? -1 : (r % 4) * (i + 1) * 10);
      fputc(delimiter, f);
    }
    for (int i = 0; i < 26; i++) {
      if (i != 7 || r % 3)
        fprintf(f, "%08x", i == 25 ? 0xabc000u + (unsigned)r : (unsigned)(r % 2));
      fputc(i < 25 ? delimiter : '\n', f);
    }
  }
  fclose(f);
  return folder_path(name);
}

static void test_criteo(void **state) {
  (void)state;
  char *text[2];
  for (int k = 0; k < 2; k++) {
    const char *path =
        k ? criteo("kaggle.csv", ',', LABELS | KAGGLE_HEADER) : criteo("day.txt", '\t', LABELS);
    assert_string_equal(mica_table_log_format(path), "criteo");
    mica_data_table *t = open_log(path, true);
    const mica_columns *c = mica_data_table_columns(t);
    assert_string_equal(mica_columns_format(c), "criteo");
    assert_string_equal(mica_columns_label(c), "label");
    assert_int_equal(mica_data_table_classes(t), 2);
    assert_int_equal(mica_data_table_count(t), 20);
    assert_int_equal(mica_columns_count(c), 39);
    assert_int_equal(mica_columns_fields(c), 39);
    assert_int_equal(mica_columns_width(c), 0);
    assert_string_equal(mica_columns_name(c, 12), "I13");
    assert_int_equal(mica_columns_kind(c, 12), MICA_COLUMN_NUMERIC);
    assert_string_equal(mica_columns_name(c, 38), "C26");
    /* 0, 10, 20, 30 are =0 and the squares of their logarithms, 5, 8, 11; -1 is =-1. */
    assert_int_equal(mica_columns_field_size(c)[0], 4 + 2);
    assert_int_equal(mica_columns_field_size(c)[1], 1 + 2);
    assert_int_equal(mica_columns_field_size(c)[13], 2 + 2);
    /* Values that were there once share an id. */
    assert_int_equal(mica_columns_field_size(c)[38], 0 + 2);
    float x[1];
    int64_t ids[39];
    mica_data_table_row_fields(t, 0, x, ids);
    assert_int_equal(ids[38], 1);
    assert_int_equal(ids[3], mica_columns_field_size(c)[3] - 2); /* missing */
    assert_int_equal(ids[20], 2);
    assert_int_equal(mica_columns_text(c, &text[k]), MICA_OK);
    mica_data_table_free(t);
  }
  /* Both forms teach the same, but for how many fields a line has. */
  const char *from[2] = {strstr(text[0], "\"columns\""), strstr(text[1], "\"columns\"")};
  assert_non_null(from[0]);
  assert_string_equal(from[0], from[1]);

  /* What one form taught reads the others, with labels and without. */
  mica_columns *c;
  assert_int_equal(mica_columns_parse(text[0], (const char *[]){"0", "1"}, 2, &c), MICA_OK);
  const char *files[] = {criteo("day.txt", '\t', LABELS), criteo("test.txt", '\t', 0),
                         criteo("kaggle.csv", ',', LABELS | KAGGLE_HEADER)};
  int64_t ids[3][20 * 39];
  for (int k = 0; k < 3; k++) {
    mica_row_reader *r;
    float x[1];
    int64_t n;
    if (mica_row_reader_open(files[k], c, NULL, &r) != MICA_OK) fail_msg("%s", mica_last_error());
    assert_int_equal(mica_row_reader_next_fields(r, 20, x, ids[k], NULL, &n), MICA_OK);
    assert_int_equal(n, 20);
    assert_memory_equal(ids[k], ids[0], sizeof ids[0]);
    mica_row_reader_close(r);
  }
  mica_row_reader *r;
  assert_int_equal(mica_row_reader_open(folder_put("other.csv", "a,b\n1,2\n"), c, NULL, &r),
                   MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "the first line is none of a log in criteo's format"));
  mica_columns_free(c);
  for (int k = 0; k < 2; k++) mica_free(text[k]);

  /* As rows of numbers: logarithms of the counts. */
  mica_data_table *t = open_log(folder_path("day.txt"), false);
  float x[256];
  assert_in_range(mica_columns_width(mica_data_table_columns(t)), 50, 256);
  mica_data_table_row(t, 1, x);
  assert_float_equal(x[0], 2.397895, 1e-5); /* log(11) */
  mica_data_table_free(t);
}

/* ---- Avazu ---- */

#define AVAZU_NAMES                                                                                \
  "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,"  \
  "device_id,device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,"     \
  "C21\n"
#define AVAZU_ROW(id, click, hour)                                                                 \
  id click hour ",1005,0,1fbe01fe,f3845767,28905ebd,ecad2386,7801e8d9,07d7df22,a99f214a,"          \
                "ddd2926e,44956a24,1,2,15706,320,50,1722,0,35,-1,79\n"

static void test_avazu(void **state) {
  (void)state;
  static const char rows[] = AVAZU_ROW("1000009418151094273,", "0,", "14102100")
      AVAZU_ROW("1000009418151094274,", "1,", "14102523")
          AVAZU_ROW("1000009418151094275,", "0,", "14102123")
              AVAZU_ROW("1000009418151094276,", "0,", "14133123")
                  AVAZU_ROW("1000009418151094277,", "0,", "");
  char named[4096];
  snprintf(named, sizeof named, "%s%s", AVAZU_NAMES, rows);
  for (int k = 0; k < 2; k++) {
    const char *path = folder_put("avazu.csv", k ? named : rows);
    assert_string_equal(mica_table_log_format(path), "avazu");
    mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
    mica_data_table *t;
    o.validation = 0;
    o.fields = true;
    o.min_count = 1;
    assert_int_equal(mica_data_table_open(path, &o, &t), MICA_OK);
    const mica_columns *c = mica_data_table_columns(t);
    assert_string_equal(mica_columns_label(c), "click");
    assert_int_equal(mica_columns_fields(c), 23);
    assert_string_equal(mica_columns_name(c, 0), "hour");
    assert_string_equal(mica_columns_name(c, 22), "weekday");
    /* The 31st of the 13th month is none; the missing hour is one. */
    assert_int_equal(mica_data_table_count(t), 4);
    assert_int_equal(mica_data_table_skipped(t), 1);
    assert_non_null(strstr(mica_data_table_skipped_text(t),
                           "hour '14133123', expected year, month, day and hour as 14102123"));
    /* 23 twice, 00; Tuesday (2) twice, Saturday (6). */
    static const int64_t hours[] = {1, 0, 0, 2}, days[] = {0, 1, 0, 2};
    for (int64_t i = 0; i < 4; i++) {
      float x[1];
      int64_t ids[23];
      mica_data_table_row_fields(t, i, x, ids);
      assert_int_equal(ids[0], hours[i]);
      assert_int_equal(ids[22], days[i]);
    }
    char *text;
    assert_int_equal(mica_columns_text(c, &text), MICA_OK);
    assert_non_null(strstr(text, "\"values\":[\"23\",\"00\"]"));
    assert_non_null(strstr(text, "\"values\":[\"2\",\"6\"]"));
    mica_free(text);
    mica_data_table_free(t);
  }
}

/* ---- libFM ---- */

static void test_libfm(void **state) {
  (void)state;
  const char *path = folder_put("log.libfm", "-1 204:1 4798:1 5041:1\n"
                                             "1 42:1  1572:1 5042:1 \n"
                                             "1 204:1 1572:1.0 5041:1\n"
                                             "1 204:1 1572:1\n"
                                             "1 204:1 1572:0.5 3:1\n"
                                             "-1 42:1 4798:1 5041:1\n");
  assert_string_equal(mica_table_log_format(path), "libfm");
  mica_data_table *t = open_log(path, true);
  const mica_columns *c = mica_data_table_columns(t);
  assert_int_equal(mica_columns_fields(c), 3);
  assert_string_equal(mica_columns_name(c, 0), "f1");
  assert_int_equal(mica_columns_field_size(c)[0], 2 + 2);
  assert_int_equal(mica_data_table_count(t), 4);
  assert_string_equal(mica_data_table_class(t, 0), "-1");
  char expected[600];
  snprintf(expected, sizeof expected,
           "%s: line 4: 2 values, expected 3 as in the first line: one of each field\n"
           "%s: line 5: '1572:0.5', expected ID:1: a field has one value\n",
           path, path);
  assert_string_equal(mica_data_table_skipped_text(t), expected);
  float x[1];
  int64_t ids[3];
  mica_data_table_row_fields(t, 1, x, ids);
  assert_int_equal(ids[2], 2); /* 5042 was there once */
  assert_int_equal(mica_columns_encode_fields(c, (const char *[]){"204", "1572", "5041"}, x, ids),
                   MICA_OK);
  assert_true(ids[0] == 0 && ids[1] == 0 && ids[2] == 0);
  mica_data_table_free(t);
}

/* ---- MovieLens ---- */

static void test_movielens(void **state) {
  (void)state;
  mkdir(folder_path("ml"), 0777);
  folder_put("ml/u.data",
             "2\t1\t2\t881250949\n1\t2\t4\t881250950\n1\t1\t3\t7\n1\t1\t5\t8\n2\t2\t1\t9\n");
  folder_put("ml/u.user", "1|24|M|technician|85711\n2|53|F|other|\n");
  folder_put("ml/u.item",
             "1|Toy Story (1995)|01-Jan-1995||http://u|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
             "2|Golden, Eye|01-Jan-1995||http://u|0|0|0|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0\n");
  const char *path = folder_path("ml");
  assert_true(mica_is_table(path));
  assert_string_equal(mica_table_log_format(path), "movielens");
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  mica_data_table *t;
  o.validation = 0;
  o.fields = true;
  o.min_count = 1;
  assert_int_equal(mica_data_table_open(path, &o, &t), MICA_OK);
  const mica_columns *c = mica_data_table_columns(t);
  static const char *const names[] = {"user",       "item", "age",  "gender",
                                      "occupation", "zip",  "year", "genre"};
  assert_int_equal(mica_columns_fields(c), 8);
  for (int64_t i = 0; i < 8; i++) assert_string_equal(mica_columns_name(c, i), names[i]);
  /* User 2: item 2 at 9, then item 1, both below 3; user 1: the 3 is left out. */
  static const int64_t labels[] = {0, 0, 1, 1};
  assert_int_equal(mica_data_table_count(t), 4);
  assert_memory_equal(mica_data_table_labels(t), labels, sizeof labels);
  char *text;
  assert_int_equal(mica_columns_text(c, &text), MICA_OK);
  assert_non_null(strstr(text, "\"values\":[\"Animation|Children's|Comedy\",\"Drama\"]"));
  assert_non_null(strstr(text, "\"format\":\"movielens\""));
  /* Rows to be predicted, in another order and without the click. */
  mica_columns *again;
  mica_row_reader *r;
  float x[1];
  int64_t ids[8], row[8], n;
  assert_int_equal(mica_columns_parse(text, (const char *[]){"0", "1"}, 2, &again), MICA_OK);
  folder_put("rows.csv", "genre,item,user,age,gender,occupation,zip,year\n"
                         "Animation|Children's|Comedy,1,2,53,F,other,,1995\n");
  if (mica_row_reader_open(folder_path("rows.csv"), again, NULL, &r) != MICA_OK)
    fail_msg("%s", mica_last_error());
  assert_int_equal(mica_row_reader_next_fields(r, 1, x, ids, NULL, &n), MICA_OK);
  assert_int_equal(n, 1);
  mica_data_table_row_fields(t, 1, x, row);
  assert_memory_equal(ids, row, sizeof ids);
  mica_row_reader_close(r);
  mica_columns_free(again);
  mica_free(text);
  mica_data_table_free(t);
}

/* ---- what is none ---- */

static void test_other_files(void **state) {
  (void)state;
  assert_null(mica_table_log_format(folder_put("t.csv", "a,b\n1,2\n")));
  assert_null(mica_table_log_format(folder_put("t.csv", "1 2:3 x\n")));
  assert_null(mica_table_log_format(folder_put("t.csv", "")));
  assert_null(mica_table_log_format(folder_path("absent.csv")));
  assert_null(mica_table_log_format(folder_dir));
  /* What the caller says goes first: another label, a header, no format. */
  const char *path = criteo("day.txt", '\t', LABELS);
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  mica_data_table *t;
  o.label = "c1";
  assert_int_equal(mica_data_table_open(path, &o, &t), MICA_OK);
  assert_null(mica_columns_format(mica_data_table_columns(t)));
  assert_string_equal(mica_columns_name(mica_data_table_columns(t), 0), "c2");
  mica_data_table_free(t);
  o = (mica_data_table_options)MICA_DATA_TABLE_OPTIONS;
  o.format = "none";
  assert_int_equal(mica_data_table_open(path, &o, &t), MICA_OK);
  assert_null(mica_columns_label(mica_data_table_columns(t)));
  mica_data_table_free(t);
  /* A column by request is what the caller says, in a log too. */
  o = (mica_data_table_options)MICA_DATA_TABLE_OPTIONS;
  o.categorical = "I2";
  o.ignore = "C26,I1";
  assert_int_equal(mica_data_table_open(path, &o, &t), MICA_OK);
  assert_int_equal(mica_columns_count(mica_data_table_columns(t)), 37);
  assert_int_equal(mica_columns_kind(mica_data_table_columns(t), 0), MICA_COLUMN_CATEGORICAL);
  mica_data_table_free(t);
  o = (mica_data_table_options)MICA_DATA_TABLE_OPTIONS;
  o.format = "kdd";
  assert_int_equal(mica_data_table_open(path, &o, &t), MICA_ERR_INVALID);
  assert_string_equal(mica_last_error(),
                      "table: format 'kdd', expected none, criteo, avazu, libfm or movielens");
  o.format = "avazu";
  assert_int_equal(mica_data_table_open(path, &o, &t), MICA_ERR_FORMAT);
  mica_columns *c;
  assert_int_equal(mica_columns_parse("{\"by_position\": false, \"fields\": 1, \"columns\": [], "
                                      "\"format\": \"kdd\"}",
                                      NULL, 0, &c),
                   MICA_ERR_UNSUPPORTED);
  assert_string_equal(mica_last_error(), "a log in the format 'kdd' is not known here");
}

/* The real files, where they are: rows and clicks as their collection counts them. */
static void test_real_logs(void **state) {
  (void)state;
  static const struct {
    const char *path, *format;
    int64_t rows, fields;
  } files[] = {{"ctr-samples/wide-resdnn/criteo/train.csv.gz", "criteo", 7200, 39},
               {"ctr-samples/wide-resdnn/criteo/test.csv", "criteo", 391, 39},
               {"ctr-samples/criteo-tiny/train.tiny.csv.gz", "criteo", 1999, 39},
               {"ctr-samples/deepctr/criteo_sample.txt", "criteo", 200, 39},
               {"ctr-samples/wide-resdnn/avazu/train.csv.gz", "avazu", 8087, 23},
               {"ctr-samples/wide-resdnn/avazu/test.csv", "avazu", 432, 23},
               {"ctr-samples/avazu-tiny/tr.rx.csv.gz", "avazu", 2994, 23},
               {"ctr-samples/deepctr/avazu_sample.txt", "avazu", 100, 23},
               {"frappe/frappe.test.libfm.gz", "libfm", 28860, 10},
               {"movielens-100k", "movielens", 72855, 8}};
  const char *root = getenv("MICA_DATA");
  int found = 0;
  for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", root ? root : "", files[k].path);
    const size_t n = strlen(path);
    const bool packed = strcmp(path + n - 3, ".gz") == 0;
#ifndef MICA_HAVE_ZLIB
    if (packed) continue;
#endif
    (void)packed;
    if (!root || access(path, R_OK) != 0) continue;
    mica_data_table *t = open_log(path, true);
    assert_string_equal(mica_columns_format(mica_data_table_columns(t)), files[k].format);
    assert_int_equal(mica_data_table_count(t), files[k].rows);
    assert_int_equal(mica_data_table_skipped(t), 0);
    assert_int_equal(mica_data_table_classes(t), 2);
    assert_int_equal(mica_columns_fields(mica_data_table_columns(t)), files[k].fields);
    mica_data_table_free(t);
    found++;
  }
  if (!found) skip();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_criteo),      cmocka_unit_test(test_avazu),
      cmocka_unit_test(test_libfm),       cmocka_unit_test(test_movielens),
      cmocka_unit_test(test_other_files), cmocka_unit_test(test_real_logs),
  };
  return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
