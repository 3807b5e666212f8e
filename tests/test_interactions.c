/* Interactions: every format to one form, thinned and split; what is known beside them; and what
 * is refused. */
#include "support/failing_alloc.h"
#include "support/folder.h"

#include <mica/interactions.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mica_interactions *open_log(const char *path, const mica_interactions_options *o) {
  mica_interactions *x;
  if (mica_interactions_open(path, o, &x) != MICA_OK) fail_msg("%s", mica_last_error());
  return x;
}

/* All as text: "user: item item; user: item; " in the order in which it is kept. */
static const char *told(const mica_interactions *x) {
  static char text[1024];
  size_t n = 0;
  const int64_t *offsets = mica_interactions_offsets(x), *item = mica_interactions_item(x);
  for (int64_t u = 0; u < mica_interactions_users(x); u++) {
    n += (size_t)snprintf(text + n, sizeof text - n, "%s:", mica_interactions_user_name(x, u));
    for (int64_t k = offsets[u]; k < offsets[u + 1]; k++)
      n += (size_t)snprintf(text + n, sizeof text - n, " %s",
                            mica_interactions_item_name(x, item[k]));
    n += (size_t)snprintf(text + n, sizeof text - n, "; ");
  }
  return text;
}

static void refused(const char *path, const mica_interactions_options *o, mica_status status,
                    const char *message) {
  mica_interactions *x;
  assert_int_equal(mica_interactions_open(path, o, &x), status);
  assert_null(x);
  if (!strstr(mica_last_error(), message)) fail_msg("%s", mica_last_error());
}

/* ---- formats ---- */

static void test_formats(void **state) {
  (void)state;
  static const struct {
    const char *text, *format, *told;
    bool rating, time;
  } files[] = {
      {"7\t20\t3\t881250949\n8\t20\t4\t881250950\n7\t21\t5\t881250940\n", "movielens",
       "7: 21 20; 8: 20; ", true, true},
      {"7::20::3::978300760\r\n7::21::5::978300760\r\n", "movielens", "7: 20 21; ", true, true},
      {"userId,movieId,rating,timestamp\n1,10,4.5,964982703\n1,11,4,964982700\n", "csv",
       "1: 11 10; ", true, true},
      {"when,Item ID,user_id,time\nx,a,u,2\nx,b,u,1\n", "csv", "u: b a; ", false, true},
      {"user_id\titem_id\nu\ta\nv\tb\n", "csv", "u: a; v: b; ", false, false},
      {"A39,0205616461,5.0,1369699200\nA3J,0558925278,3.0,1355443200\n", "csv",
       "A39: 0205616461; A3J: 0558925278; ", true, true},
      {"{\"reviewerID\": \"U\", \"asin\": \"B1\", \"overall\": 5.0, \"unixReviewTime\": 2}\n"
       "{\"overall\": 4, \"reviewerID\": \"U\", \"asin\": \"B2\", \"unixReviewTime\": 1}\n",
       "reviews", "U: B2 B1; ", true, true},
      {"1 5\n2 6 5\n", "sequences", "1: 5; 2: 6 5; ", false, false},
      {"1 5\n1 6\n\n2 5", "pairs", "1: 5 6; 2: 5; ", false, false},
  };
  for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
    mica_interactions *x = open_log(folder_put("log", files[k].text), NULL);
    assert_string_equal(mica_interactions_format(x), files[k].format);
    assert_string_equal(told(x), files[k].told);
    assert_int_equal(mica_interactions_rating(x) != NULL, files[k].rating);
    assert_int_equal(mica_interactions_time(x) != NULL, files[k].time);
    assert_int_equal(mica_interactions_skipped(x), 0);
    mica_interactions_free(x);
  }
  /* The first one: ratings and times go along; a user of one line more is a sequence by request. */
  mica_interactions *x = open_log(folder_put("log", files[0].text), NULL);
  assert_true(mica_interactions_rating(x)[0] == 5 && mica_interactions_rating(x)[1] == 3);
  assert_int_equal(mica_interactions_time(x)[2], 881250950);
  assert_int_equal(mica_interactions_find_user(x, "8"), 1);
  assert_int_equal(mica_interactions_find_item(x, "21"), 1);
  assert_int_equal(mica_interactions_find_item(x, "22"), -1);
  assert_null(mica_interactions_item_name(x, 2));
  assert_true(mica_interactions_seen(x, 0, 1));
  assert_false(mica_interactions_seen(x, 1, 1));
  assert_false(mica_interactions_seen(x, 2, 0));
  mica_interactions_free(x);
  mica_interactions_options o = MICA_INTERACTIONS_OPTIONS;
  o.format = "sequences";
  x = open_log(folder_put("log", "1 5\n2 6\n"), &o);
  assert_string_equal(mica_interactions_format(x), "sequences");
  mica_interactions_free(x);
}

static void test_order(void **state) {
  (void)state;
  /* Equal times stay in the file's order. */
  mica_interactions *x =
      open_log(folder_put("log", "1::a::5::2000\n2::b::5::1\n1::c::5::1000\n1::d::5::2000\n"
                                 "1::b::5::2000\n1::e::5::-5\n"),
               NULL);
  assert_string_equal(told(x), "1: e c a d b; 2: b; ");
  mica_interactions_free(x);
  const int64_t user[] = {9, 9, 3, 9}, item[] = {1, 2, 1, 5}, time[] = {5, 4, 0, 5};
  assert_int_equal(mica_interactions_create(4, user, item, NULL, time, NULL, &x), MICA_OK);
  assert_string_equal(told(x), "9: 2 1 5; 3: 1; ");
  assert_null(mica_interactions_format(x));
  mica_interactions_free(x);
}

/* ---- thinning ---- */

static const char rated[] = "a::1::5::1\na::2::4::2\na::3::2::3\nb::1::5::4\nb::2::5::5\n"
                            "b::2::5::6\nc::1::5::7\nc::4::5::8\nd::4::5::9\n";

static void test_thinning(void **state) {
  (void)state;
  static const struct {
    double rating;
    int64_t user, item;
    bool core, unique;
    const char *told;
  } cases[] = {
      {-1e30, 0, 0, false, false, "a: 1 2 3; b: 1 2 2; c: 1 4; d: 4; "},
      {4, 0, 0, false, false, "a: 1 2; b: 1 2 2; c: 1 4; d: 4; "},
      {-1e30, 0, 0, false, true, "a: 1 2 3; b: 1 2; c: 1 4; d: 4; "},
      /* Items first: 3 goes; then d has one. */
      {-1e30, 2, 2, false, false, "a: 1 2; b: 1 2 2; c: 1 4; "},
      /* Without d, 4 goes, and without 4, c. */
      {-1e30, 2, 2, true, false, "a: 1 2; b: 1 2 2; "},
      {-1e30, 3, 0, false, true, "a: 1 2 3; "},
      {-1e30, 0, 3, false, true, "a: 1; b: 1; c: 1; "},
  };
  const char *path = folder_put("log", rated);
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    mica_interactions_options o = MICA_INTERACTIONS_OPTIONS;
    o.min_rating = cases[k].rating;
    o.min_user = cases[k].user;
    o.min_item = cases[k].item;
    o.core = cases[k].core;
    o.unique = cases[k].unique;
    mica_interactions *x = open_log(path, &o);
    assert_string_equal(told(x), cases[k].told);
    mica_interactions_free(x);
  }
  mica_interactions_options o = MICA_INTERACTIONS_OPTIONS;
  o.min_item = 5;
  refused(path, &o, MICA_ERR_FORMAT,
          "nothing is left of users with 0 and items with 5 interactions");
  o.min_item = -1;
  refused(path, &o, MICA_ERR_INVALID, "min-user and min-item 0 or more");
}

/* ---- splits ---- */

static const char *parts_of(const mica_interactions *x, const mica_split_options *o) {
  static char text[64];
  uint8_t part[64];
  assert_in_range(mica_interactions_count(x), 1, 63);
  if (mica_interactions_split(x, o, part) != MICA_OK) fail_msg("%s", mica_last_error());
  for (int64_t i = 0; i < mica_interactions_count(x); i++) text[i] = "rvt"[part[i]];
  text[mica_interactions_count(x)] = 0;
  return text;
}

static void test_splits(void **state) {
  (void)state;
  mica_interactions *x =
      open_log(folder_put("log", "a::1::5::10\na::2::4::20\na::3::2::30\na::4::2::40\n"
                                 "b::1::5::25\nb::2::5::40\nc::1::5::35\nc::2::5::36\n"
                                 "c::3::5::50\nd::1::1::5\n"),
               NULL);
  mica_split_options o = MICA_SPLIT_OPTIONS;
  assert_string_equal(parts_of(x, NULL), "rrvt"
                                         "rr"
                                         "rvt"
                                         "r");
  o.kind = MICA_SPLIT_TIME;
  o.test = o.validation = 0.2;
  /* 50 and, with it, both of 40 are test: the second latest is one of them; then 36, 35. */
  assert_string_equal(parts_of(x, &o), "rrrt"
                                       "rt"
                                       "rvt"
                                       "r");
  o.kind = MICA_SPLIT_SHARE;
  o.test = 0.34;
  o.validation = 0.25;
  assert_string_equal(parts_of(x, &o), "rrvt"
                                       "rr"
                                       "rrt"
                                       "r");
  o.kind = MICA_SPLIT_FILES;
  uint8_t part[10];
  assert_int_equal(mica_interactions_split(x, &o, part), MICA_ERR_UNSUPPORTED);
  o.kind = (mica_split_kind)9;
  assert_int_equal(mica_interactions_split(x, &o, part), MICA_ERR_INVALID);
  o.kind = MICA_SPLIT_RANDOM;
  o.test = 0.75;
  assert_int_equal(mica_interactions_split(x, &o, part), MICA_ERR_INVALID);
  mica_interactions_free(x);
  x = open_log(folder_put("log", "1 5\n2 6 5\n"), NULL);
  o = (mica_split_options)MICA_SPLIT_OPTIONS;
  o.kind = MICA_SPLIT_TIME;
  assert_int_equal(mica_interactions_split(x, &o, part), MICA_ERR_UNSUPPORTED);
  mica_interactions_free(x);
}

static void test_random_split(void **state) {
  (void)state;
  enum { N = 4000 };
  static int64_t user[N], item[N];
  for (int64_t i = 0; i < N; i++) {
    user[i] = i % 37;
    item[i] = i;
  }
  static uint8_t part[N], other[N];
  mica_interactions *x, *y;
  mica_split_options o = MICA_SPLIT_OPTIONS;
  o.kind = MICA_SPLIT_RANDOM;
  assert_int_equal(mica_interactions_create(N, user, item, NULL, NULL, NULL, &x), MICA_OK);
  assert_int_equal(mica_interactions_split(x, &o, part), MICA_OK);
  int64_t count[3] = {0};
  for (int64_t i = 0; i < N; i++) count[part[i]]++;
  assert_in_range(count[1], 330, 470);
  assert_in_range(count[2], 330, 470);
  o.seed = 1;
  assert_int_equal(mica_interactions_split(x, &o, other), MICA_OK);
  assert_memory_not_equal(part, other, N);
  /* Without the second half, the first stays where it was. */
  assert_int_equal(mica_interactions_create(N / 2, user, item, NULL, NULL, NULL, &y), MICA_OK);
  o.seed = 0;
  assert_int_equal(mica_interactions_split(y, &o, other), MICA_OK);
  for (int64_t u = 0; u < 37; u++) {
    const int64_t from = mica_interactions_offsets(x)[u], at = mica_interactions_offsets(y)[u];
    assert_memory_equal(part + from, other + at,
                        (size_t)(mica_interactions_offsets(y)[u + 1] - at));
  }
  mica_interactions_free(x);
  mica_interactions_free(y);
}

static void test_folders(void **state) {
  (void)state;
  mkdir(folder_path("lightgcn"), 0777);
  folder_put("lightgcn/train.txt", "0 10 11\n1 12\n2\n");
  folder_put("lightgcn/valid.txt", "0 13\n");
  folder_put("lightgcn/test.txt", "1 10\n2 11 12\n");
  mica_interactions *x = open_log(folder_path("lightgcn"), NULL);
  assert_string_equal(told(x), "0: 10 11 13; 1: 12 10; 2: 11 12; ");
  mica_split_options o = MICA_SPLIT_OPTIONS;
  o.kind = MICA_SPLIT_FILES;
  assert_string_equal(parts_of(x, &o), "rrv"
                                       "rt"
                                       "tt");
  assert_non_null(mica_interactions_file_part(x));
  mica_interactions_free(x);
  mkdir(folder_path("empty"), 0777);
  refused(folder_path("empty"), NULL, MICA_ERR_NOT_FOUND, "no u.data, ratings.dat");
}

/* ---- attributes ---- */

/* "value value" of a row. */
static const char *values_of(const mica_attribute *a, int64_t row) {
  static char text[256];
  size_t n = 0;
  text[0] = 0;
  for (int64_t k = a->offsets[row]; k < a->offsets[row + 1]; k++)
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? "|" : "", a->value[a->ids[k]]);
  return text;
}

static void test_attributes(void **state) {
  (void)state;
  mkdir(folder_path("ml"), 0777);
  folder_put("ml/u.data", "2\t1\t3\t881250949\n1\t2\t4\t881250950\n1\t3\t4\t881250950\n");
  folder_put("ml/u.user", "1|24|M|technician|85711\n2|53|F|other|94043\n3|1|F|other|1\nbroken\n");
  folder_put("ml/u.item",
             "1|Toy Story (1995)|01-Jan-1995||http://u|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
             "2|Mis\xe9rables, Les|01-Jan-1995||http://u|0|0|0|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0\n");
  mica_interactions *x = open_log(folder_path("ml"), NULL);
  assert_string_equal(told(x), "2: 1; 1: 2 3; ");
  assert_int_equal(mica_interactions_user_attributes(x), 4);
  assert_int_equal(mica_interactions_item_attributes(x), 3);
  const mica_attribute *a = mica_interactions_user_attribute(x, 2);
  assert_string_equal(a->name, "occupation");
  assert_int_equal(a->values, 2);
  assert_string_equal(values_of(a, 0), "other");
  assert_string_equal(values_of(a, 1), "technician");
  assert_string_equal(values_of(mica_interactions_user_attribute(x, 1), 0), "F");
  assert_string_equal(values_of(mica_interactions_item_attribute(x, 0), 1),
                      "Mis\xc3\xa9rables, Les");
  assert_string_equal(values_of(mica_interactions_item_attribute(x, 1), 0), "1995");
  assert_string_equal(values_of(mica_interactions_item_attribute(x, 1), 1), "");
  a = mica_interactions_item_attribute(x, 2);
  assert_string_equal(a->name, "genre");
  assert_string_equal(values_of(a, 0), "Animation|Children's|Comedy");
  assert_string_equal(values_of(a, 1), "Drama");
  assert_string_equal(values_of(a, 2), "");
  assert_null(mica_interactions_item_attribute(x, 3));
  assert_int_equal(mica_interactions_skipped(x), 1);
  assert_non_null(
      strstr(mica_interactions_skipped_text(x), "u.user: line 4: 1 fields, expected 5"));
  /* One more, from JSON; and what is no such file. */
  const char *json = folder_put("attributes.json", "{\"1\": [5, \"x\"], \"3\": [5], \"9\": [7]}");
  assert_int_equal(mica_interactions_add_item_attribute(x, "tag", json), MICA_OK);
  a = mica_interactions_item_attribute(x, 3);
  assert_string_equal(values_of(a, 0), "5|x");
  assert_string_equal(values_of(a, 2), "5");
  json = folder_put("attributes.json", "{\"1\": 5}");
  assert_int_equal(mica_interactions_add_item_attribute(x, "bad", json), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "\"1\" is no list of values"));
  json = folder_put("attributes.json", "{\"1\": [null]}");
  assert_int_equal(mica_interactions_add_item_attribute(x, "bad", json), MICA_ERR_FORMAT);
  json = folder_put("attributes.json", "[]");
  assert_int_equal(mica_interactions_add_item_attribute(x, "bad", json), MICA_ERR_FORMAT);
  assert_int_equal(mica_interactions_item_attributes(x), 4);
  mica_interactions_free(x);
  /* The other publication. */
  mkdir(folder_path("ml1m"), 0777);
  folder_put("ml1m/ratings.dat", "1::1193::5::978300760\n1::661::3::978302109\n");
  folder_put("ml1m/users.dat", "1::F::1::10::48067\n");
  folder_put("ml1m/movies.dat",
             "1193::One Flew (1975)::Drama\n661::James (1996)::Animation|Musical\n");
  x = open_log(folder_path("ml1m/ratings.dat"), NULL);
  assert_string_equal(values_of(mica_interactions_user_attribute(x, 0), 0), "1");
  assert_string_equal(values_of(mica_interactions_user_attribute(x, 1), 0), "F");
  assert_string_equal(values_of(mica_interactions_item_attribute(x, 1), 1), "1996");
  assert_string_equal(values_of(mica_interactions_item_attribute(x, 2), 1), "Animation|Musical");
  mica_interactions_free(x);
}

/* ---- what is refused ---- */

static void test_lines_that_cannot_be_used(void **state) {
  (void)state;
  const char *path =
      folder_put("log", "1::a::5::10\n1::a::5\n1::b::x::10\n::b::5::10\n1::b::5::soon\n"
                        "1::c::5::11\n1::b::nan::11\n1::d::5::1e300\n");
  mica_interactions *x = open_log(path, NULL);
  assert_string_equal(told(x), "1: a c; ");
  char expected[1024];
  snprintf(expected, sizeof expected,
           "%s: line 2: 3 fields, expected user, item, rating, time\n"
           "%s: line 3: rating: 'x' is no number\n"
           "%s: line 4: the user is missing\n"
           "%s: line 5: time: 'soon' is no number\n"
           "%s: line 7: rating: 'nan' is no number\n"
           "%s: line 8: time: '1e300' is too large; numbers go to 3.4e38 in magnitude\n",
           path, path, path, path, path, path);
  assert_string_equal(mica_interactions_skipped_text(x), expected);
  mica_interactions_free(x);
  mica_interactions_options o = MICA_INTERACTIONS_OPTIONS;
  o.strict = true;
  refused(path, &o, MICA_ERR_FORMAT, "line 2: 3 fields, expected user, item, rating, time");
  o = (mica_interactions_options)MICA_INTERACTIONS_OPTIONS;
  o.format = "pairs";
  refused(folder_put("log", "1 2 3\n"), &o, MICA_ERR_FORMAT,
          "no interaction; the first line that cannot be used: ");
  o.format = "ratings";
  refused(folder_path("log"), &o, MICA_ERR_INVALID,
          "format 'ratings', expected movielens, csv, reviews, sequences or pairs");
  refused(folder_put("log", ""), NULL, MICA_ERR_FORMAT, "the first line is none of a log");
  refused(folder_put("log", "hello world\n"), NULL, MICA_ERR_FORMAT,
          "the first line is none of a log");
  refused(folder_put("log", "a,b\n1,2\n"), NULL, MICA_ERR_FORMAT,
          "the first line names no user and item");
  refused(folder_put("log", "{\"asin\": 3}\n"), NULL, MICA_ERR_FORMAT,
          "\"reviewerID\": is missing");
  refused(folder_path("absent"), NULL, MICA_ERR_NOT_FOUND, "cannot open");
  refused("", NULL, MICA_ERR_INVALID, "need a path");
  FILE *f = fopen(folder_path("log"), "wb");
  assert_non_null(f);
  assert_int_equal(fwrite("1 2\n3\0 4\n", 1, 9, f), 9);
  fclose(f);
  refused(folder_path("log"), NULL, MICA_ERR_FORMAT, "line 2: a NUL byte");
}

/* ---- real files, where they are ---- */

static void test_real_logs(void **state) {
  (void)state;
  static const struct {
    const char *path, *format;
    int64_t users, items, count;
  } files[] = {{"movielens-100k", "movielens", 943, 1682, 100000},
               {"amazon-seq-s3rec/Beauty.txt.gz", "sequences", 22363, 12101, 198502},
               {"amazon-seq-s3rec/Toys_and_Games.txt.gz", "sequences", 19412, 11924, 167597},
               {"amazon-seq-sasrec/Video.txt.gz", "pairs", 31013, 23715, 287107},
               {"amazon-all-beauty-5/All_Beauty_5.json.gz", "reviews", 0, 0, 5269}};
  const char *root = getenv("MICA_DATA");
  int found = 0;
  for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", root ? root : "", files[k].path);
    const bool packed = strstr(path, ".gz") != NULL;
#ifndef MICA_HAVE_ZLIB
    if (packed) continue;
#endif
    (void)packed;
    if (!root || access(path, R_OK) != 0) continue;
    mica_interactions *x = open_log(path, NULL);
    assert_string_equal(mica_interactions_format(x), files[k].format);
    if (files[k].users) {
      assert_int_equal(mica_interactions_users(x), files[k].users);
      assert_int_equal(mica_interactions_items(x), files[k].items);
    }
    assert_int_equal(mica_interactions_count(x), files[k].count);
    assert_int_equal(mica_interactions_skipped(x), 0);
    mica_interactions_free(x);
    found++;
  }
  if (!found) skip();
}

/* ---- memory ---- */

static mica_status read_and_split(void *ctx) {
  mica_interactions_options o = MICA_INTERACTIONS_OPTIONS;
  mica_interactions *x;
  o.unique = true;
  o.min_user = 1;
  mica_status status = mica_interactions_open(ctx, &o, &x);
  if (status != MICA_OK) return status;
  uint8_t part[8];
  mica_split_options s = MICA_SPLIT_OPTIONS;
  s.kind = MICA_SPLIT_TIME;
  status = mica_interactions_split(x, &s, part);
  if (status == MICA_OK)
    status = mica_interactions_add_item_attribute(x, "tag", folder_path("tags.json"));
  mica_interactions_free(x);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  char path[256];
  mkdir(folder_path("small"), 0777);
  folder_put("small/u.data", "2\t1\t3\t881250949\n1\t2\t4\t881250950\nx\n1\t2\t4\t881250950\n");
  folder_put("small/u.user", "1|24|M|technician|85711\n2|53|F|other|94043\n");
  folder_put("small/u.item", "1|Toy Story (1995)|01-Jan-1995||http://u|0|0|0|1\n");
  folder_put("tags.json", "{\"1\": [5, \"x\"], \"3\": [5], \"9\": [7]}");
  snprintf(path, sizeof path, "%s", folder_path("small"));
  failing_alloc_install();
  print_message("%ld allocations\n", fail_each(read_and_split, path));
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_formats),      cmocka_unit_test(test_order),
      cmocka_unit_test(test_thinning),     cmocka_unit_test(test_splits),
      cmocka_unit_test(test_random_split), cmocka_unit_test(test_folders),
      cmocka_unit_test(test_attributes),   cmocka_unit_test(test_lines_that_cannot_be_used),
      cmocka_unit_test(test_real_logs),    cmocka_unit_test(test_failing_allocations),
  };
  return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
