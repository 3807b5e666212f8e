/* Tables whose rows stay in their files: what is learnt, counted and streamed is what a table in
 * memory learns, counts and streams, from any place on, and in memory that does not grow. */
#include "support/failing_alloc.h"
#include "support/folder.h"

#include <mica/train.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROWS = 3000, BATCH = 64, BUFFER = 500 };

/* Numbers with and without gaps, categories common and rare, three classes, a few broken lines. */
static const char *write_rows(const char *name, int64_t rows, int64_t first) {
  const char *path = folder_path(name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fprintf(f, "v,w,k,id,t,y\n");
  for (int64_t i = first; i < first + rows; i++) {
    const mica_key key = mica_key_fold(mica_key_seed(7), (uint64_t)i);
    if (i % 700 == 13) fprintf(f, "broken\n");
    fprintf(f, "%.3f,", mica_random_normal(key, 0));
    if (i % 11) fprintf(f, "%d", (int)mica_random_below(key, 1, 1000));
    fprintf(f, ",%s,u%d,", i % 17 ? (const char *[]){"a", "b", "c"}[i % 3] : "",
            (int)mica_random_below(key, 2, 400));
    fprintf(f, "%.2f,y%d\n", 3 + 2 * mica_random_normal(key, 3), (int)mica_random_below(key, 4, 3));
  }
  fclose(f);
  return path;
}

static mica_data_table_options options(bool in_file) {
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  o.label = "y";
  o.in_file = in_file;
  o.buffer = BUFFER;
  return o;
}

static mica_data_table *open_table(const char *path, const mica_data_table_options *o) {
  mica_data_table *t;
  if (mica_data_table_open(path, o, &t) != MICA_OK) fail_msg("%s", mica_last_error());
  return t;
}

/* ---- what is learnt ---- */

static void same_tables(const char *path, mica_data_table_options *o) {
  char *text[2];
  mica_data_table *t[2];
  for (int k = 0; k < 2; k++) {
    o->in_file = k;
    t[k] = open_table(path, o);
    assert_int_equal(mica_data_table_in_file(t[k]), k);
    assert_int_equal(mica_columns_text(mica_data_table_columns(t[k]), &text[k]), MICA_OK);
  }
  assert_string_equal(text[0], text[1]);
  assert_string_equal(mica_data_table_skipped_text(t[0]), mica_data_table_skipped_text(t[1]));
  assert_int_equal(mica_data_table_skipped(t[0]), mica_data_table_skipped(t[1]));
  assert_int_equal(mica_data_table_count(t[0]), mica_data_table_count(t[1]));
  for (int part = 0; part < MICA_PART_COUNT; part++)
    assert_int_equal(mica_data_table_part_count(t[0], (mica_part)part),
                     mica_data_table_part_count(t[1], (mica_part)part));
  assert_int_equal(mica_data_table_classes(t[0]), mica_data_table_classes(t[1]));
  for (int64_t c = 0; c < mica_data_table_classes(t[0]); c++)
    assert_string_equal(mica_data_table_class(t[0], c), mica_data_table_class(t[1], c));
  for (int k = 0; k < 2; k++) {
    mica_free(text[k]);
    mica_data_table_free(t[k]);
  }
}

static void test_learning(void **state) {
  (void)state;
  const char *path = write_rows("rows.csv", ROWS, 0);
  mica_data_table_options o = options(false);
  same_tables(path, &o);
  o.fields = true;
  o.min_count = 8;
  same_tables(path, &o);
  o.numbers = MICA_NUMBER_LOG_SQUARE;
  same_tables(path, &o);
  o.min_count = 1;
  o.hash_buckets = 31;
  same_tables(path, &o);
  o = options(false);
  o.label = "t"; /* a numeric target */
  o.ignore = "y";
  same_tables(path, &o);
  o = options(false);
  o.categorical = "id";
  o.max_categories = 20;
  same_tables(path, &o);
  mkdir(folder_path("parts"), 0777);
  write_rows("parts/train.csv", 500, 0);
  write_rows("parts/val.csv", 200, 500);
  write_rows("parts/test.csv", 100, 700);
  o = options(false);
  same_tables(folder_path("parts"), &o);
}

static void test_size_decides(void **state) {
  (void)state;
  const char *path = write_rows("rows.csv", ROWS, 0);
  mica_data_table_options o = options(false);
  o.in_file = -1;
  o.memory = 65536;
  mica_data_table *t = open_table(path, &o);
  assert_true(mica_data_table_in_file(t));
  mica_data_table_free(t);
  o.memory = 1 << 20;
  t = open_table(path, &o);
  assert_false(mica_data_table_in_file(t));
  mica_data_table_free(t);
}

static void test_what_is_not_there(void **state) {
  (void)state;
  mica_data_table_options o = options(true);
  mica_data_table *t = open_table(write_rows("rows.csv", 100, 0), &o);
  float x[1024] = {1};
  mica_tensor *all;
  mica_data_table_row(t, 0, x);
  assert_true(x[0] == 0);
  assert_null(mica_data_table_labels(t));
  assert_null(mica_data_table_targets(t));
  assert_int_equal(mica_data_table_matrix(t, MICA_PART_TRAIN, &all, NULL), MICA_ERR_UNSUPPORTED);
  assert_non_null(strstr(mica_last_error(), "the rows stay in the file"));
  mica_data_table_free(t);
  o.memory = 1000;
  assert_int_equal(mica_data_table_open(folder_path("rows.csv"), &o, &t), MICA_ERR_INVALID);
  o = options(true);
  assert_int_equal(mica_data_table_open(folder_put("none.csv", "v,y\n1,\n2,\n"), &o, &t),
                   MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "no row can be used; the first: "));
  o.strict = true;
  assert_int_equal(mica_data_table_open(folder_path("none.csv"), &o, &t), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "line 2: the label 'y' is missing"));
}

/* ---- streams ---- */

/* Without the column of many values: rows of few numbers. */
static mica_data_table_options stream_options(bool in_file) {
  mica_data_table_options o = options(in_file);
  o.ignore = "id";
  return o;
}

/* The rows of an epoch, from a batch on. */
typedef struct rows {
  int64_t n, id[ROWS], label[ROWS];
  float x[ROWS * 16]; /* [n, width] */
} rows;

static void take(const mica_stream *s, int64_t epoch, int64_t from, int64_t to, rows *out) {
  out->n = 0;
  assert_int_equal(s->seek(s->ctx, epoch, from), MICA_OK);
  for (int64_t k = from; k < to; k++) {
    mica_batch b;
    if (s->next(s->ctx, &b) != MICA_OK) fail_msg("%s", mica_last_error());
    const int64_t width = mica_tensor_dim(b.x, 1);
    assert_in_range(width, 1, 16);
    memcpy(out->id + out->n, mica_tensor_data(b.ids), (size_t)b.n * sizeof *out->id);
    memcpy(out->label + out->n, mica_tensor_data(b.labels), (size_t)b.n * sizeof *out->label);
    memcpy(out->x + out->n * width, mica_tensor_data(b.x), (size_t)(b.n * width) * sizeof *out->x);
    out->n += b.n;
  }
}

static rows a, b;

/* Every row of the part comes once, with what it is in memory. */
static void same_part(const char *path, mica_part part, bool shuffle) {
  mica_data_table_options o = stream_options(false);
  mica_data_table *memory = open_table(path, &o);
  o.in_file = 1;
  mica_data_table *file = open_table(path, &o);
  const int64_t width = mica_columns_width(mica_data_table_columns(file));
  mica_stream s;
  assert_int_equal(mica_table_stream_create(file, part, BATCH, shuffle, 3, &s), MICA_OK);
  assert_int_equal(s.batches, (mica_data_table_part_count(memory, part) + BATCH - 1) / BATCH);
  take(&s, 0, 0, s.batches, &a);
  mica_tensor *x, *y;
  assert_int_equal(mica_data_table_matrix(memory, part, &x, &y), MICA_OK);
  assert_int_equal(a.n, mica_tensor_dim(x, 0));
  static bool seen[ROWS];
  memset(seen, 0, sizeof seen);
  int64_t moved = 0;
  for (int64_t i = 0; i < a.n; i++) {
    const int64_t id = a.id[i];
    assert_in_range(id, 0, a.n - 1);
    assert_false(seen[id]);
    seen[id] = true;
    moved += id != i;
    assert_memory_equal(a.x + i * width, (float *)mica_tensor_data(x) + id * width,
                        (size_t)width * sizeof(float));
    assert_int_equal(a.label[i], ((int64_t *)mica_tensor_data(y))[id]);
  }
  assert_int_equal(moved > a.n / 2, shuffle);
  mica_tensor_free(x);
  mica_tensor_free(y);
  mica_table_stream_free(&s);
  mica_data_table_free(memory);
  mica_data_table_free(file);
}

static void test_rows(void **state) {
  (void)state;
  const char *path = write_rows("rows.csv", ROWS, 0);
  for (int shuffle = 0; shuffle < 2; shuffle++) {
    same_part(path, MICA_PART_TRAIN, shuffle);
    same_part(path, MICA_PART_VALIDATION, shuffle);
  }
  mkdir(folder_path("parts"), 0777);
  write_rows("parts/train.csv", 500, 0);
  write_rows("parts/val.csv", 200, 500);
  write_rows("parts/test.csv", 100, 700);
  for (int part = 0; part < MICA_PART_COUNT; part++)
    same_part(folder_path("parts"), (mica_part)part, true);
}

static void test_seeking(void **state) {
  (void)state;
  mica_data_table_options o = stream_options(true);
  mica_data_table *t = open_table(write_rows("rows.csv", ROWS, 0), &o);
  const int64_t width = mica_columns_width(mica_data_table_columns(t));
  mica_stream s, other;
  assert_int_equal(mica_table_stream_create(t, MICA_PART_TRAIN, BATCH, true, 3, &s), MICA_OK);
  assert_int_equal(mica_table_stream_create(t, MICA_PART_TRAIN, BATCH, true, 3, &other), MICA_OK);
  for (int64_t epoch = 0; epoch < 3; epoch++) {
    take(&s, epoch, 0, s.batches, &a);
    static const int64_t places[] = {0, 7, 3, 30, 41};
    for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
      take(&other, epoch, places[k], other.batches, &b);
      const int64_t from = places[k] * BATCH;
      assert_int_equal(a.n, from + b.n);
      assert_memory_equal(a.id + from, b.id, (size_t)b.n * sizeof *b.id);
      assert_memory_equal(a.x + from * width, b.x, (size_t)(b.n * width) * sizeof *b.x);
    }
    /* A few batches, then back again. */
    take(&other, epoch, 5, 8, &b);
    assert_memory_equal(a.id + 5 * BATCH, b.id, (size_t)b.n * sizeof *b.id);
  }
  /* Epochs differ, seeds differ, and beyond the end is nothing. */
  take(&s, 0, 0, 4, &a);
  take(&s, 1, 0, 4, &b);
  assert_memory_not_equal(a.id, b.id, (size_t)a.n * sizeof *a.id);
  mica_table_stream_free(&other);
  assert_int_equal(mica_table_stream_create(t, MICA_PART_TRAIN, BATCH, true, 4, &other), MICA_OK);
  take(&other, 0, 0, 4, &b);
  assert_memory_not_equal(a.id, b.id, (size_t)a.n * sizeof *a.id);
  mica_batch batch;
  assert_int_equal(s.seek(s.ctx, 0, s.batches), MICA_OK);
  assert_int_equal(s.next(s.ctx, &batch), MICA_ERR_STATE);
  mica_table_stream_free(&other);
  mica_table_stream_free(&s);
  mica_data_table_free(t);
}

/* A child has no thread and must not move its parent's place in the file. */
static void test_fork(void **state) {
  (void)state;
  mica_data_table_options o = stream_options(true);
  mica_data_table *t = open_table(write_rows("rows.csv", ROWS, 0), &o);
  mica_stream s;
  mica_batch batch;
  assert_int_equal(mica_table_stream_create(t, MICA_PART_TRAIN, BATCH, true, 3, &s), MICA_OK);
  take(&s, 0, 0, s.batches, &a);
  take(&s, 0, 0, 10, &b);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (!child) {
    bool same = true;
    for (int64_t k = 10; k < 20; k++)
      same = same && s.next(s.ctx, &batch) == MICA_OK &&
             memcmp(mica_tensor_data(batch.ids), a.id + k * BATCH, BATCH * sizeof(int64_t)) == 0;
    mica_table_stream_free(&s);
    _exit(same ? 0 : 1);
  }
  int result;
  assert_int_equal(waitpid(child, &result, 0), child);
  assert_int_equal(result, 0);
  for (int64_t k = 10; k < s.batches; k++) {
    assert_int_equal(s.next(s.ctx, &batch), MICA_OK);
    assert_memory_equal(mica_tensor_data(batch.ids), a.id + k * BATCH,
                        (size_t)batch.n * sizeof(int64_t));
  }
  mica_table_stream_free(&s);
  mica_data_table_free(t);
}

#ifdef MICA_HAVE_ZLIB
static void test_packed(void **state) {
  (void)state;
  write_rows("rows.csv", ROWS, 0);
  char command[600];
  snprintf(command, sizeof command, "gzip -kf '%s'", folder_path("rows.csv"));
  assert_int_equal(system(command), 0);
  mica_data_table_options o = stream_options(true);
  rows *of[] = {&a, &b};
  for (int k = 0; k < 2; k++) {
    mica_data_table *t = open_table(folder_path(k ? "rows.csv.gz" : "rows.csv"), &o);
    mica_stream s;
    assert_int_equal(mica_table_stream_create(t, MICA_PART_TRAIN, BATCH, true, 3, &s), MICA_OK);
    take(&s, 2, 0, s.batches, of[k]);
    mica_table_stream_free(&s);
    mica_data_table_free(t);
  }
  assert_memory_equal(&a, &b, sizeof a);
}
#endif

static void test_changed_file(void **state) {
  (void)state;
  mica_data_table_options o = stream_options(true);
  const char *path = write_rows("rows.csv", 300, 0);
  mica_data_table *t = open_table(path, &o);
  mica_stream s;
  mica_batch batch;
  mica_status status = MICA_OK;
  assert_int_equal(mica_table_stream_create(t, MICA_PART_TRAIN, BATCH, true, 3, &s), MICA_OK);
  write_rows("rows.csv", 100, 0);
  assert_int_equal(s.seek(s.ctx, 0, 0), MICA_OK);
  for (int64_t k = 0; k < s.batches && status == MICA_OK; k++) status = s.next(s.ctx, &batch);
  assert_int_equal(status, MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "changed while it was read"));
  remove(path);
  assert_int_equal(s.seek(s.ctx, 1, 0), MICA_OK);
  assert_int_equal(s.next(s.ctx, &batch), MICA_ERR_NOT_FOUND);
  mica_table_stream_free(&s);
  mica_data_table_free(t);
}

/* ---- training ---- */

static int stop_at(void *ctx, const mica_train_metrics *m) {
  return m->step >= *(const int64_t *)ctx;
}

/* Two epochs, stopped after so many steps (0: not), or taken up again; the weights that result. */
static int64_t train(const char *path, int64_t stop, bool resume, float *weight) {
  mica_engine *engine;
  mica_net *net;
  mica_stream stream, held_out;
  mica_data_table_options o = stream_options(true);
  mica_train_options t = MICA_TRAIN_OPTIONS;
  mica_data_table *table = open_table(path, &o);
  const mica_problem task =
      MICA_PROBLEM_ROWS(mica_columns_width(mica_data_table_columns(table)), 3);
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  assert_int_equal(mica_net_create(engine, "mlp:hidden=8:dropout=0.2", &task, 3, &net), MICA_OK);
  assert_int_equal(mica_table_stream_create(table, MICA_PART_TRAIN, BATCH, true, 5, &stream),
                   MICA_OK);
  assert_int_equal(
      mica_table_stream_create(table, MICA_PART_VALIDATION, BATCH, false, 5, &held_out), MICA_OK);
  t.epochs = 2;
  t.dir = folder_dir;
  t.resume = resume;
  t.report_every = 1;
  if (stop) {
    t.report = stop_at;
    t.report_ctx = &stop;
  }
  assert_int_equal(mica_train(net, &stream, &held_out, &t, NULL),
                   stop ? MICA_ERR_CANCELLED : MICA_OK);
  int64_t n = 0;
  const mica_params *params = mica_net_params(net);
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    const mica_tensor *v = mica_param_value(mica_params_at(params, i));
    for (int64_t k = 0; k < mica_tensor_count(v); k++) weight[n++] = (float)mica_tensor_get(v, k);
  }
  mica_table_stream_free(&stream);
  mica_table_stream_free(&held_out);
  mica_net_free(net);
  mica_engine_free(engine);
  mica_data_table_free(table);
  return n;
}

static void test_resuming(void **state) {
  (void)state;
  static float whole[1000], parts[1000];
  const char *path = write_rows("rows.csv", ROWS, 0);
  const int64_t n = train(path, 0, false, whole);
  assert_in_range(n, 80, 1000);
  /* In the midst of both epochs. */
  train(path, 17, false, parts);
  assert_memory_not_equal(whole, parts, (size_t)n * sizeof *whole);
  train(path, 61, true, parts);
  train(path, 0, true, parts);
  assert_memory_equal(whole, parts, (size_t)n * sizeof *whole);
}

/* ---- memory ---- */

/* Bytes now taken through the hooks, and the most there were. */
static int64_t live, peak;

static void *counting_realloc(void *ctx, void *block, size_t bytes) {
  (void)ctx;
  size_t *old = block ? (size_t *)((char *)block - 16) : NULL;
  const size_t before = old ? *old : 0;
  size_t *fresh = realloc(old, bytes + 16);
  if (!fresh) return NULL;
  *fresh = bytes;
  live += (int64_t)bytes - (int64_t)before;
  if (live > peak) peak = live;
  return (char *)fresh + 16;
}
static void counting_free(void *ctx, void *block) {
  (void)ctx;
  if (!block) return;
  live -= (int64_t) * (size_t *)((char *)block - 16);
  free((char *)block - 16);
}

/* 200000 values that come once or twice, and ten that come often: the file is far larger than the
 * memory, and the ten are kept with their order. */
static void test_bounded_memory(void **state) {
  (void)state;
  const char *path = folder_path("large.csv");
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fprintf(f, "id,y\n");
  for (int i = 0; i < 200000; i++) {
    if (i % 20 < 10 - i % 11)
      fprintf(f, "often%d,%d\n", i % 20, i % 2);
    else
      fprintf(f, "a-rather-long-identifier-%d,%d\n", i / 2, i % 2);
  }
  fclose(f);
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  mica_data_table_options o = options(true);
  o.fields = true;
  o.memory = 200000;
  o.min_count = 100;
  o.buffer = 1000;
  o.max_categories = 100;
  const mica_allocator counting = {NULL, counting_realloc, counting_free};
  mica_set_allocator(&counting);
  live = peak = 0;
  mica_data_table *t = open_table(path, &o);
  const mica_columns *c = mica_data_table_columns(t);
  assert_int_equal(mica_columns_field_size(c)[0], 12);
  float x[1];
  int64_t id;
  for (int k = 0; k < 10; k++) {
    char value[16];
    snprintf(value, sizeof value, "often%d", k);
    assert_int_equal(mica_columns_encode_fields(c, (const char *[]){value}, x, &id), MICA_OK);
    assert_int_equal(id, k);
  }
  mica_stream s;
  mica_batch batch;
  int64_t n = 0;
  assert_int_equal(mica_table_stream_create(t, MICA_PART_TRAIN, 512, true, 1, &s), MICA_OK);
  assert_int_equal(s.seek(s.ctx, 0, 0), MICA_OK);
  for (int64_t k = 0; k < s.batches; k++) {
    assert_int_equal(s.next(s.ctx, &batch), MICA_OK);
    n += batch.n;
  }
  assert_int_equal(n, mica_data_table_part_count(t, MICA_PART_TRAIN));
  mica_table_stream_free(&s);
  mica_data_table_free(t);
  print_message("peak %lld bytes for a file of %lld\n", (long long)peak, (long long)st.st_size);
  assert_true(peak < 1000000);
  assert_true(st.st_size > 5 * peak);
  assert_int_equal(live, 0);
  mica_set_allocator(NULL);
}

static mica_status learn_and_stream(void *ctx) {
  mica_data_table_options o = options(true);
  o.fields = true;
  o.memory = 65536;
  o.buffer = 20;
  mica_data_table *t;
  mica_status status = mica_data_table_open(ctx, &o, &t);
  if (status != MICA_OK) return status;
  mica_stream s = {0};
  mica_batch batch;
  status = mica_table_stream_create(t, MICA_PART_TRAIN, 16, true, 1, &s);
  if (status == MICA_OK) status = s.seek(s.ctx, 0, 0);
  for (int64_t k = 0; k < s.batches && status == MICA_OK; k++) status = s.next(s.ctx, &batch);
  if (s.ctx) mica_table_stream_free(&s);
  mica_data_table_free(t);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  char path[256];
  snprintf(path, sizeof path, "%s", write_rows("small.csv", 60, 0));
  failing_alloc_install();
  print_message("%ld allocations\n", fail_each(learn_and_stream, path));
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_learning),
      cmocka_unit_test(test_size_decides),
      cmocka_unit_test(test_what_is_not_there),
      cmocka_unit_test(test_rows),
      cmocka_unit_test(test_seeking),
      cmocka_unit_test(test_fork),
#ifdef MICA_HAVE_ZLIB
      cmocka_unit_test(test_packed),
#endif
      cmocka_unit_test(test_changed_file),
      cmocka_unit_test(test_resuming),
      cmocka_unit_test(test_bounded_memory),
      cmocka_unit_test(test_failing_allocations),
  };
  return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
