/* Tables whose categories are fields: which ids values get, what numbers become, and that a model
 * file, a row reader and a stream give the same. */
#include "support/failing_alloc.h"
#include "support/folder.h"

#include "data/columns.h"

#include <mica/train.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char log_csv[] = "user,price,device,y\n"
                              "u1,0,phone,0\n"
                              "u2,3,phone,1\n"
                              "u1,100,desk,0\n"
                              "u1,1,,1\n"
                              "u2,,phone,0\n"
                              "u3,3,tv,1\n";

static mica_data_table_options options(void) {
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  o.label = "y";
  o.validation = 0;
  o.fields = true;
  return o;
}

static mica_data_table *open_table(const mica_data_table_options *o) {
  mica_data_table *t;
  if (mica_data_table_open(folder_put("log.csv", log_csv), o, &t) != MICA_OK)
    fail_msg("%s", mica_last_error());
  return t;
}

static void ids_are(const mica_columns *c, const char *const *cells, const int64_t *expected) {
  float x[8];
  int64_t ids[8];
  assert_int_equal(mica_columns_encode_fields(c, cells, x, ids), MICA_OK);
  for (int64_t f = 0; f < mica_columns_fields(c); f++)
    if (ids[f] != expected[f])
      fail_msg("field %lld of '%s': %lld, expected %lld", (long long)f, cells[0], (long long)ids[f],
               (long long)expected[f]);
}

static void test_ids(void **state) {
  (void)state;
  mica_data_table_options o = options();
  o.numbers = MICA_NUMBER_PLAIN;
  mica_data_table *t = open_table(&o);
  const mica_columns *c = mica_data_table_columns(t);
  /* user and device are fields, price two numbers: its value, and whether it is missing. */
  assert_int_equal(mica_columns_fields(c), 2);
  assert_int_equal(mica_columns_width(c), 2);
  assert_int_equal(mica_columns_field_of(c, 0), 0);
  assert_int_equal(mica_columns_field_of(c, 1), -1);
  assert_int_equal(mica_columns_field_of(c, 2), 1);
  assert_int_equal(mica_columns_field_of(c, 3), -1);
  /* u1, u2, u3, missing, other; phone, desk, tv, missing, other. */
  assert_int_equal(mica_columns_field_size(c)[0], 5);
  assert_int_equal(mica_columns_field_size(c)[1], 5);
  static const int64_t expected[6][2] = {{0, 0}, {1, 0}, {0, 1}, {0, 3}, {1, 0}, {2, 2}};
  static const float numbers[6][2] = {{0, 0}, {3, 0}, {100, 0}, {1, 0}, {0, 1}, {3, 0}};
  for (int64_t i = 0; i < 6; i++) {
    float x[2];
    int64_t ids[2];
    mica_data_table_row_fields(t, i, x, ids);
    assert_memory_equal(ids, expected[i], sizeof ids);
    assert_memory_equal(x, numbers[i], sizeof x);
  }
  ids_are(c, (const char *[]){"u3", "7", "phone"}, (int64_t[]){2, 0});
  ids_are(c, (const char *[]){"u9", "7", NULL}, (int64_t[]){4, 3});
  ids_are(c, (const char *[]){NULL, "7", "radio"}, (int64_t[]){3, 4});
  float x[8];
  int64_t ids[8];
  assert_int_equal(mica_columns_encode(c, (const char *[]){"u1", "7", "tv"}, x), MICA_ERR_INVALID);
  assert_string_equal(mica_last_error(), "the columns make 2 fields beside numbers; "
                                         "mica_columns_encode_fields encodes both");
  assert_int_equal(mica_columns_encode_fields(c, (const char *[]){"u1", "x", "tv"}, x, ids),
                   MICA_ERR_FORMAT);
  assert_string_equal(mica_last_error(), "column 'price': 'x' is no number");
  mica_data_table_free(t);
}

static void test_frequencies(void **state) {
  (void)state;
  mica_data_table_options o = options();
  o.min_count = 2;
  mica_data_table *t = open_table(&o);
  const mica_columns *c = mica_data_table_columns(t);
  /* u3, desk and tv were there once. */
  assert_int_equal(mica_columns_field_size(c)[0], 4);
  assert_int_equal(mica_columns_field_size(c)[1], 3);
  ids_are(c, (const char *[]){"u3", "7", "desk"}, (int64_t[]){3, 2});
  float x[2];
  int64_t ids[2];
  mica_data_table_row_fields(t, 5, x, ids);
  assert_int_equal(ids[0], 3);
  assert_int_equal(ids[1], 2);
  mica_data_table_free(t);
  o = options();
  o.max_ids = 1;
  t = open_table(&o);
  c = mica_data_table_columns(t);
  assert_int_equal(mica_columns_field_size(c)[0], 3);
  ids_are(c, (const char *[]){"u2", "7", "phone"}, (int64_t[]){2, 0});
  mica_data_table_free(t);
  /* Fewer values than that may be categories is no bound for fields. */
  o = options();
  o.max_categories = 1;
  t = open_table(&o);
  assert_int_equal(mica_columns_field_size(mica_data_table_columns(t))[0], 5);
  mica_data_table_free(t);
}

static void test_hashes(void **state) {
  (void)state;
  mica_data_table_options o = options();
  o.hash_buckets = 1000;
  mica_data_table *t = open_table(&o);
  const mica_columns *c = mica_data_table_columns(t);
  assert_int_equal(mica_columns_field_size(c)[0], 1001);
  float x[2];
  int64_t a[2], b[2];
  /* Values have their bucket whether they were seen or not, and columns differ in theirs. */
  assert_int_equal(mica_columns_encode_fields(c, (const char *[]){"new", "1", "new"}, x, a), 0);
  assert_int_equal(mica_columns_encode_fields(c, (const char *[]){"new", "1", NULL}, x, b), 0);
  assert_int_equal(a[0], b[0]);
  assert_int_equal(b[1], 1000);
  assert_in_range(a[0], 0, 999);
  assert_int_not_equal(a[0], a[1]);
  mica_data_table_row_fields(t, 0, x, a);
  assert_int_equal(mica_columns_encode_fields(c, (const char *[]){"u1", "0", "phone"}, x, b), 0);
  assert_memory_equal(a, b, sizeof a);
  /* Ten thousand values fill a thousand buckets evenly: the chi-square of 999 degrees. */
  int64_t count[1000] = {0};
  for (int i = 0; i < 10000; i++) {
    char value[16];
    snprintf(value, sizeof value, "%d", i);
    assert_int_equal(mica_columns_encode_fields(c, (const char *[]){value, "1", "a"}, x, a), 0);
    count[a[0]]++;
  }
  double chi = 0;
  for (int i = 0; i < 1000; i++) chi += pow((double)count[i] - 10, 2) / 10;
  assert_true(chi > 800 && chi < 1200);
  mica_data_table_free(t);
}

static void test_numbers(void **state) {
  (void)state;
  mica_data_table_options o = options();
  o.numbers = MICA_NUMBER_LOG;
  mica_data_table *t = open_table(&o);
  const mica_columns *c = mica_data_table_columns(t);
  float x[2];
  int64_t ids[3];
  assert_int_equal(mica_columns_encode_fields(c, (const char *[]){"u1", "99", "tv"}, x, ids), 0);
  assert_true(fabsf(x[0] - logf(100)) < 1e-6f && x[1] == 0);
  assert_int_equal(mica_columns_encode_fields(c, (const char *[]){"u1", "-5", "tv"}, x, ids), 0);
  assert_true(x[0] == 0 && x[1] == 0);
  mica_data_table_free(t);
  /* Buckets: 0, 3, 100, 1, missing, 3 are the values =0, 1 (log(3)^2 is 1.2), 21, =1. */
  o.numbers = MICA_NUMBER_LOG_SQUARE;
  t = open_table(&o);
  c = mica_data_table_columns(t);
  assert_int_equal(mica_columns_fields(c), 3);
  assert_int_equal(mica_columns_width(c), 0);
  assert_int_equal(mica_columns_kind(c, 1), MICA_COLUMN_NUMERIC);
  assert_int_equal(mica_columns_field_size(c)[1], 6);
  ids_are(c, (const char *[]){"u1", "3", "tv"}, (int64_t[]){0, 0, 2});
  ids_are(c, (const char *[]){"u1", "4", "tv"}, (int64_t[]){0, 0, 2}); /* log(4)^2 is 1.9 */
  ids_are(c, (const char *[]){"u1", "0", "tv"}, (int64_t[]){0, 2, 2});
  ids_are(c, (const char *[]){"u1", "0.5", "tv"}, (int64_t[]){0, 2, 2});
  ids_are(c, (const char *[]){"u1", "1", "tv"}, (int64_t[]){0, 3, 2});
  ids_are(c, (const char *[]){"u1", "100", "tv"}, (int64_t[]){0, 1, 2});
  ids_are(c, (const char *[]){"u1", "", "tv"}, (int64_t[]){0, 4, 2});
  ids_are(c, (const char *[]){"u1", "-3e38", "tv"}, (int64_t[]){0, 5, 2});
  assert_int_equal(mica_columns_encode_fields(c, (const char *[]){"u1", "x", "tv"}, x, ids),
                   MICA_ERR_FORMAT);
  assert_string_equal(mica_last_error(), "column 'price': 'x' is no number");
  mica_data_table_free(t);
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    bool fields;
    int64_t min_count, buckets;
    mica_number_form numbers;
    const char *message;
  } cases[] = {
      {true, 2, 10, MICA_NUMBER_STANDARD,
       "table: min-count counts values, hash-buckets keeps none; give one of them"},
      {false, 2, 0, MICA_NUMBER_STANDARD,
       "table: min-count, hash-buckets and log-square numbers need fields"},
      {false, 1, 0, MICA_NUMBER_LOG_SQUARE,
       "table: min-count, hash-buckets and log-square numbers need fields"},
      {true, 1, -1, MICA_NUMBER_STANDARD,
       "table: numbers are standard, plain, log or log-square, min-count is 0 or more, max-ids up "
       "to 1048576, hash-buckets up to 2147483648"},
  };
  const char *path = folder_put("log.csv", log_csv);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_data_table_options o = options();
    mica_data_table *t;
    o.fields = cases[i].fields;
    o.min_count = cases[i].min_count;
    o.hash_buckets = cases[i].buckets;
    o.numbers = cases[i].numbers;
    assert_int_equal(mica_data_table_open(path, &o, &t), MICA_ERR_INVALID);
    assert_string_equal(mica_last_error(), cases[i].message);
  }
}

/* ---- the same everywhere ---- */

static void same_rows(const mica_data_table *t) {
  char *text;
  mica_columns *c;
  mica_row_reader *r;
  assert_int_equal(mica_columns_text(mica_data_table_columns(t), &text), MICA_OK);
  if (mica_columns_parse(text, (const char *[]){"0", "1"}, 2, &c) != MICA_OK)
    fail_msg("%s: %s", mica_last_error(), text);
  mica_free(text);
  const int64_t width = mica_columns_width(c), fields = mica_columns_fields(c);
  assert_int_equal(mica_row_reader_open(folder_put("log.csv", log_csv), c, NULL, &r), MICA_OK);
  float x[6 * 8], *matrix;
  int64_t ids[6 * 8], n;
  assert_int_equal(mica_row_reader_next_fields(r, 6, x, ids, NULL, &n), MICA_OK);
  assert_int_equal(n, 6);
  mica_tensor *mx, *mids;
  assert_int_equal(mica_data_table_matrix_fields(t, MICA_PART_TRAIN, &mx, &mids, NULL), MICA_OK);
  matrix = width ? mica_tensor_data(mx) : x;
  for (int64_t i = 0; i < 6; i++) {
    float row[8];
    int64_t id[8];
    mica_data_table_row_fields(t, i, row, id);
    assert_memory_equal(row, x + i * width, (size_t)width * sizeof *x);
    assert_memory_equal(row, matrix + i * width, (size_t)width * sizeof *x);
    assert_memory_equal(id, ids + i * fields, (size_t)fields * sizeof *id);
    assert_memory_equal(id, (int64_t *)mica_tensor_data(mids) + i * fields,
                        (size_t)fields * sizeof *id);
  }
  mica_tensor_free(mx);
  mica_tensor_free(mids);
  mica_row_reader_close(r);
  mica_columns_free(c);
}

static void test_columns_come_back(void **state) {
  (void)state;
  for (int form = MICA_NUMBER_STANDARD; form <= MICA_NUMBER_LOG_SQUARE; form++)
    for (int buckets = 0; buckets <= 7; buckets += 7) {
      mica_data_table_options o = options();
      o.numbers = (mica_number_form)form;
      o.hash_buckets = buckets;
      mica_data_table *t = open_table(&o);
      same_rows(t);
      mica_data_table_free(t);
    }
}

static void test_hostile_columns(void **state) {
  (void)state;
  static const struct {
    const char *column, *message;
  } cases[] = {
      {"\"field\": \"x\"", "\"field\" is neither \"value\" nor \"log-square\""},
      {"\"field\": 3", "\"field\" is neither \"value\" nor \"log-square\""},
      {"\"field\": \"value\", \"buckets\": 0", "\"buckets\" is no number from 1 to 2147483648"},
      {"\"field\": \"value\", \"buckets\": 2147483649",
       "\"buckets\" is no number from 1 to 2147483648"},
      {"\"field\": \"value\"", "\"values\" is no array of at most 1048576 texts"},
      {"\"field\": \"value\", \"values\": [], \"other\": false",
       "a field has ids for missing and other values"},
      {"\"form\": \"square\"", "\"form\" is neither \"plain\" nor \"log\""},
      {"\"form\": 7", "\"form\" is neither \"plain\" nor \"log\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char json[512], expected[256];
    mica_columns *c;
    snprintf(json, sizeof json,
             "{\"by_position\": false, \"fields\": 1, \"columns\": [{\"name\": \"a\", \"missing\": "
             "true, %s}]}",
             cases[i].column);
    snprintf(expected, sizeof expected, "columns[0]: %s", cases[i].message);
    assert_int_equal(mica_columns_parse(json, NULL, 0, &c), MICA_ERR_FORMAT);
    assert_string_equal(mica_last_error(), expected);
  }
}

static void test_stream(void **state) {
  (void)state;
  mica_data_table_options o = options();
  for (int form = MICA_NUMBER_STANDARD; form <= MICA_NUMBER_LOG_SQUARE; form += 3) {
    o.numbers = (mica_number_form)form;
    mica_data_table *t = open_table(&o);
    const int64_t width = mica_columns_width(mica_data_table_columns(t));
    const int64_t fields = mica_columns_fields(mica_data_table_columns(t));
    mica_stream s;
    mica_batch b;
    int64_t seen = 0;
    assert_int_equal(mica_table_stream_create(t, MICA_PART_TRAIN, 4, true, 1, &s), MICA_OK);
    assert_int_equal(s.batches, 2);
    assert_int_equal(s.seek(s.ctx, 0, 0), MICA_OK);
    for (int64_t k = 0; k < s.batches; k++) {
      assert_int_equal(s.next(s.ctx, &b), MICA_OK);
      assert_int_equal(mica_tensor_dim(b.fields, 0), b.n);
      assert_int_equal(mica_tensor_dim(b.fields, 1), fields);
      assert_int_equal(b.x != NULL, width > 0);
      for (int64_t i = 0; i < b.n; i++) {
        float x[8];
        int64_t ids[8];
        const int64_t item = ((int64_t *)mica_tensor_data(b.ids))[i];
        mica_data_table_row_fields(t, item, x, ids);
        assert_memory_equal(ids, (int64_t *)mica_tensor_data(b.fields) + i * fields,
                            (size_t)fields * sizeof *ids);
        if (b.x)
          assert_memory_equal(x, (float *)mica_tensor_data(b.x) + i * width,
                              (size_t)width * sizeof *x);
        assert_int_equal(((int64_t *)mica_tensor_data(b.labels))[i], item % 2);
        seen |= 1LL << item;
      }
    }
    assert_int_equal(seen, 63);
    mica_table_stream_free(&s);
    mica_data_table_free(t);
  }
}

static mica_status learn_and_stream(void *ctx) {
  mica_data_table_options o = options();
  o.numbers = MICA_NUMBER_LOG_SQUARE;
  mica_data_table *t;
  mica_status status = mica_data_table_open(ctx, &o, &t);
  if (status != MICA_OK) return status;
  mica_tensor *x = NULL, *ids = NULL, *y = NULL;
  status = mica_data_table_matrix_fields(t, MICA_PART_TRAIN, &x, &ids, &y);
  mica_tensor_free(x);
  mica_tensor_free(ids);
  mica_tensor_free(y);
  mica_stream s = {0};
  mica_batch b;
  if (status == MICA_OK) status = mica_table_stream_create(t, MICA_PART_TRAIN, 4, true, 1, &s);
  if (status == MICA_OK) status = s.seek(s.ctx, 0, 0);
  if (status == MICA_OK) status = s.next(s.ctx, &b);
  if (s.ctx) mica_table_stream_free(&s);
  mica_data_table_free(t);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  char path[256];
  snprintf(path, sizeof path, "%s", folder_put("log.csv", log_csv));
  failing_alloc_install();
  print_message("%ld allocations\n", fail_each(learn_and_stream, path));
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ids),
      cmocka_unit_test(test_frequencies),
      cmocka_unit_test(test_hashes),
      cmocka_unit_test(test_numbers),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_columns_come_back),
      cmocka_unit_test(test_hostile_columns),
      cmocka_unit_test(test_stream),
      cmocka_unit_test(test_failing_allocations),
  };
  return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
