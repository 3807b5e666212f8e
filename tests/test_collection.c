/* Collections: what is added, replaced and deleted, against a plain list of rows; processes that
 * are killed; many who ask while one changes. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/near.h"

#include <mica/mica.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

enum { d = 8, k = 5, most_ids = 12000 };

static mica_engine *engine;

/* Row `id` in its version `version`. */
static void fill(int64_t id, int64_t version, float *x) {
  const mica_key key = mica_key_fold(mica_key_seed(3), (uint64_t)version);
  for (int j = 0; j < d; j++) x[j] = (float)mica_random_normal(key, (uint64_t)(id * d + j));
}

static mica_status add(mica_collection *c, const int64_t *id, int64_t n, int64_t version) {
  float *x = mica_malloc((size_t)(n * d) * sizeof *x);
  int64_t *label = mica_malloc((size_t)n * sizeof *label);
  char *text = mica_malloc((size_t)n * 24);
  const char **name = mica_malloc((size_t)n * sizeof *name);
  assert_true(x && label && text && name);
  for (int64_t i = 0; i < n; i++) {
    fill(id[i], version, x + i * d);
    label[i] = id[i] % 3;
    snprintf(text + 24 * i, 24, "row %d.%d", (int)id[i], (int)version);
    name[i] = id[i] % 4 ? text + 24 * i : NULL;
  }
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(n, d));
  batch.id = id;
  batch.label = label;
  batch.name = name;
  const mica_status status = mica_collection_add(c, &batch);
  mica_free(x);
  mica_free(label);
  mica_free(text);
  mica_free(name);
  return status;
}

/* ---- a plain list ---- */

typedef struct list {
  int64_t version[most_ids]; /* 0: there is none */
  int64_t n;
} list;

static void check(mica_collection *c, const list *l, int64_t seed) {
  float q[d], x[d];
  fill(seed, 99, q);
  int64_t count = 0, id[k], label[k], best[k];
  double score[k], least[k];
  for (int j = 0; j < k; j++) best[j] = -1, least[j] = -INFINITY;
  for (int64_t i = 0; i < most_ids; i++) {
    if (!l->version[i]) continue;
    count++;
    fill(i, l->version[i], x);
    double sum = 0;
    for (int j = 0; j < d; j++)
      sum += ((double)x[j] - (double)q[j]) * ((double)x[j] - (double)q[j]);
    double s = -sqrt(sum);
    int64_t who = i;
    for (int j = 0; j < k; j++)
      if (s > least[j]) {
        const double other = least[j];
        const int64_t whose = best[j];
        least[j] = s, best[j] = who;
        s = other, who = whose;
      }
  }
  assert_int_equal(mica_collection_count(c), count);
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = k;
  o.effort = most_ids;
  const mica_view query = mica_view_of(q, MICA_F32, MICA_SHAPE(1, d));
  if (mica_collection_query(c, &query, &o, id, score, label) != MICA_OK)
    fail_msg("%s", mica_last_error());
  for (int j = 0; j < k; j++) {
    assert_int_equal(id[j], best[j]);
    if (id[j] < 0) {
      assert_true(isnan(score[j]) && label[j] == MICA_CLASS_NONE);
      continue;
    }
    char name[24], want[24];
    assert_near(score[j], least[j], 1e-12);
    assert_int_equal(label[j], id[j] % 3);
    snprintf(want, sizeof want, "row %d.%d", (int)id[j], (int)l->version[id[j]]);
    assert_string_equal(mica_collection_name(c, id[j], name, sizeof name), id[j] % 4 ? want : "");
  }
}

static mica_collection *reopened(const char *path) {
  mica_collection *c;
  if (mica_collection_open(engine, path, &c) != MICA_OK) fail_msg("%s", mica_last_error());
  return c;
}

/* ---- changes ---- */

static void test_against_a_list(void **state) {
  (void)state;
  static const char *const specs[] = {"exact:metric=l2", "ivf:metric=l2:lists=16",
                                      "hnsw:metric=l2:links=8:build=40"};
  static list l;
  for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
    char path[256];
    mica_collection *c;
    snprintf(path, sizeof path, "%s", folder_path(s == 0 ? "a" : s == 1 ? "b" : "c"));
    assert_int_equal(mica_collection_create(engine, path, specs[s], d, &c), MICA_OK);
    memset(&l, 0, sizeof l);
    check(c, &l, 0);
    const mica_key key = mica_key_seed(s);
    int64_t next = 0;
    for (int64_t step = 1; step <= 30; step++) {
      const uint64_t what = mica_random_below(key, (uint64_t)(2 * step), 4);
      int64_t n = 1 + (int64_t)mica_random_below(key, (uint64_t)(2 * step + 1), 60), *id;
      if (step == 3) n = 5000; /* beyond what stays exact */
      id = mica_malloc((size_t)n * sizeof *id);
      for (int64_t i = 0; i < n; i++)
        id[i] = what < 2 || step == 3 ? next + i : (7 * i + step) % (next + 1);
      if (what < 3 || step == 3) { /* add, or replace some */
        int64_t m = 0;
        for (int64_t i = 0; i < n; i++) { /* each id once */
          bool twice = false;
          for (int64_t j = 0; j < m && !twice && what == 2; j++) twice = id[j] == id[i];
          if (!twice) id[m++] = id[i];
        }
        assert_int_equal(add(c, id, m, step), MICA_OK);
        for (int64_t i = 0; i < m; i++) {
          l.version[id[i]] = step;
          if (id[i] >= next) next = id[i] + 1;
        }
      } else {
        int64_t deleted, want = 0;
        for (int64_t i = 0; i < n; i++) {
          want += l.version[id[i]] != 0;
          l.version[id[i]] = 0;
        }
        assert_int_equal(mica_collection_delete(c, id, n, &deleted), MICA_OK);
        assert_int_equal(deleted, want);
      }
      mica_free(id);
      assert_int_equal(mica_collection_next_id(c), next);
      check(c, &l, step);
    }
    assert_in_range(mica_collection_segments(c), 1, 14);
    mica_collection *again = reopened(path);
    check(again, &l, 77);
    assert_int_equal(mica_collection_compact(c), MICA_OK);
    assert_int_equal(mica_collection_segments(c), 1);
    check(c, &l, 78);
    check(again, &l, 78); /* what it has mapped stays */
    assert_int_equal(mica_collection_refresh(again), MICA_OK);
    assert_int_equal(mica_collection_segments(again), 1);
    check(again, &l, 79);
    mica_collection_free(again);
    mica_collection_free(c);
    char command[600];
    snprintf(command, sizeof command, "test $(ls %s | wc -l) -eq 3", path);
    assert_int_equal(system(command), 0); /* no file is left over */
  }
}

static void test_ids_by_themselves(void **state) {
  (void)state;
  mica_collection *c;
  float x[3 * d] = {0};
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(3, d));
  assert_int_equal(mica_collection_create(engine, folder_path("ids"), "exact", d, &c), MICA_OK);
  assert_int_equal(mica_collection_add(c, &batch), MICA_OK);
  assert_int_equal(mica_collection_add(c, &batch), MICA_OK);
  assert_int_equal(mica_collection_count(c), 6);
  assert_int_equal(mica_collection_next_id(c), 6);
  const int64_t all[6] = {0, 1, 2, 3, 4, 5};
  int64_t deleted;
  assert_int_equal(mica_collection_delete(c, all, 6, &deleted), MICA_OK);
  assert_int_equal(deleted, 6);
  assert_int_equal(mica_collection_segments(c), 0);
  assert_int_equal(mica_collection_compact(c), MICA_OK);
  assert_int_equal(mica_collection_add(c, &batch), MICA_OK);
  assert_int_equal(mica_collection_next_id(c), 9); /* an id is never given again */
  mica_collection_free(c);
}

/* ---- what is refused ---- */

static mica_status no_look(void *ctx, int64_t query, int64_t n, const int64_t *row, double *score) {
  (void)ctx, (void)query, (void)n, (void)row, (void)score;
  fail_msg("a collection asked for a second look");
  return MICA_OK;
}

static void test_what_is_refused(void **state) {
  (void)state;
  mica_collection *c, *other;
  const int64_t twice[3] = {4, 5, 4}, bad[2] = {1, -1};
  const char *path = folder_path("refused");
  assert_int_equal(mica_collection_open(engine, path, &other), MICA_ERR_NOT_FOUND);
  assert_null(other);
  assert_int_equal(mica_collection_create(engine, path, "exakt", d, &c), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_collection_create(engine, path, "exact", 0, &c), MICA_ERR_SHAPE);
  assert_int_equal(mica_collection_create(engine, path, "exact", d, &c), MICA_OK);
  assert_int_equal(mica_collection_create(engine, path, "exact", d, &other), MICA_ERR_STATE);
  assert_int_equal(add(c, twice, 3, 1), MICA_ERR_INVALID);
  assert_int_equal(add(c, bad, 2, 1), MICA_ERR_INVALID);
  float x[2 * d] = {0};
  x[d] = NAN;
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(2, d));
  assert_int_equal(mica_collection_add(c, &batch), MICA_ERR_NUMERIC);
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(2, d - 1));
  assert_int_equal(mica_collection_add(c, &batch), MICA_ERR_SHAPE);
  assert_int_equal(mica_collection_count(c), 0);
  assert_int_equal(mica_collection_segments(c), 0);
  int64_t id[k];
  double score[k];
  uint64_t allowed = 1;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = k;
  o.allowed = &allowed;
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(1, d));
  assert_int_equal(mica_collection_query(c, &batch.x, &o, id, score, NULL), MICA_ERR_INVALID);
  o.allowed = NULL;
  o.second_look = no_look;
  assert_int_equal(mica_collection_query(c, &batch.x, &o, id, score, NULL), MICA_ERR_UNSUPPORTED);
  assert_non_null(strstr(mica_last_error(), "second look"));
  o.second_look = NULL;
  o.coarse = &batch.x;
  assert_int_equal(mica_collection_query(c, &batch.x, &o, id, score, NULL), MICA_ERR_UNSUPPORTED);
  mica_collection_free(c);
}

static void test_damaged_folders(void **state) {
  (void)state;
  static const char *const texts[] = {
      "",
      "{}",
      "[1]",
      "{\"format\": 2}",
      "{\"format\": 1, \"spec\": \"exact\", \"width\": 8, \"next_id\": 0, \"next_file\": 0, "
      "\"texts\": {\"classes\": 7}}",
      "{\"format\": 1, \"spec\": \"exact\", \"width\": 8, \"next_id\": 0, \"next_file\": 0, "
      "\"texts\": [\"classes\"]}",
      "{\"format\": 1, \"spec\": \"exact\", \"width\": 0, \"next_id\": 0, \"next_file\": 0}",
      "{\"format\": 1, \"spec\": \"exact\", \"width\": 8, \"next_id\": 0, \"next_file\": 0, "
      "\"segments\": [{\"file\": \"../1.index\"}]}",
      "{\"format\": 1, \"spec\": \"exact\", \"width\": 8, \"next_id\": 0, \"next_file\": 0, "
      "\"segments\": [7]}",
      "{\"format\": 1, \"spec\": \"exact\", \"width\": 8, \"next_id\": 0, \"next_file\": 0, "
      "\"segments\": [{\"file\": \"000009.index\"}]}",
      "{\"format\": 1, \"spec\": \"exact\", \"width\": 9, \"next_id\": 0, \"next_file\": 0, "
      "\"segments\": [{\"file\": \"000000.index\"}]}",
      "{\"format\": 1, \"spec\": \"exact\", \"width\": 8, \"next_id\": 0, \"next_file\": 0, "
      "\"segments\": [{\"file\": \"000000.index\", \"alive\": \"000000.alive\"}]}"};
  mica_collection *c;
  const int64_t id[3] = {1, 2, 3};
  assert_int_equal(mica_collection_create(engine, folder_path("damaged"), "exact", d, &c), MICA_OK);
  assert_int_equal(add(c, id, 3, 1), MICA_OK);
  mica_collection_free(c);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    folder_put("damaged/collection.json", texts[i]);
    if (mica_collection_open(engine, folder_path("damaged"), &c) == MICA_OK)
      fail_msg("opened: %s", texts[i]);
    assert_null(c);
    assert_true(strlen(mica_last_error()) > 0);
  }
}

/* Texts are looked for one after the other: a folder has so many and no more. */
static void test_too_many_texts(void **state) {
  (void)state;
  static char text[40000];
  mica_collection *c;
  const int64_t id[1] = {1};
  assert_int_equal(mica_collection_create(engine, folder_path("many"), "exact", d, &c), MICA_OK);
  assert_int_equal(add(c, id, 1, 1), MICA_OK);
  mica_collection_free(c);
  for (int more = 0; more < 2; more++) {
    int n = snprintf(text, sizeof text,
                     "{\"format\": 1, \"spec\": \"exact\", \"width\": 8, \"next_id\": 0, "
                     "\"next_file\": 0, \"segments\": [], \"texts\": {");
    for (int i = 0; i < 1024 + more; i++)
      n += snprintf(text + n, sizeof text - (size_t)n, "%s\"%d\": \"x\"", i ? ", " : "", i);
    snprintf(text + n, sizeof text - (size_t)n, "}}");
    folder_put("many/collection.json", text);
    assert_int_equal(mica_collection_open(engine, folder_path("many"), &c),
                     more ? MICA_ERR_INVALID : MICA_OK);
    if (more) break;
    assert_int_equal(mica_collection_set_text(c, "7", "y"), MICA_OK);
    assert_int_equal(mica_collection_set_text(c, "one more", "y"), MICA_ERR_INVALID);
    mica_collection_free(c);
  }
}

/* ---- texts, all rows, measures ---- */

static void expect_text(mica_collection *c, const char *key, const char *want) {
  char *got;
  assert_int_equal(mica_collection_text(c, key, &got), MICA_OK);
  if (want)
    assert_string_equal(got, want);
  else
    assert_null(got);
  mica_free(got);
}

static void test_texts(void **state) {
  (void)state;
  mica_collection *c, *other;
  const int64_t id[3] = {1, 2, 3};
  assert_int_equal(mica_collection_create(engine, folder_path("texts"), "exact", d, &c), MICA_OK);
  assert_int_equal(mica_collection_open(engine, folder_path("texts"), &other), MICA_OK);
  expect_text(c, "classes", NULL);
  assert_int_equal(mica_collection_set_text(c, "classes", "[\"a\"]"), MICA_OK);
  assert_int_equal(mica_collection_set_text(c, "encoder", "net.mica"), MICA_OK);
  assert_int_equal(add(c, id, 3, 1), MICA_OK);
  assert_int_equal(mica_collection_set_text(c, "classes", "[\"a\",\"b\"]"), MICA_OK);
  assert_int_equal(mica_collection_delete(c, id, 1, NULL), MICA_OK);
  assert_int_equal(mica_collection_compact(c), MICA_OK);
  expect_text(c, "classes", "[\"a\",\"b\"]");
  assert_int_equal(mica_collection_count(c), 2);
  expect_text(other, "encoder", NULL); /* another process's, until it looks again */
  assert_int_equal(mica_collection_refresh(other), MICA_OK);
  expect_text(other, "encoder", "net.mica");
  mica_collection_free(other);
  mica_collection_free(c);
}

/* A collection is measured as the index of its rows is, by labels and by lists. */
static void test_measures(void **state) {
  (void)state;
  enum { rows = 300, asked = 20 };
  mica_collection *c;
  mica_index *index;
  int64_t id[rows], n, *ids, *labels, own[asked], label[asked], at[asked + 1], right[2 * asked];
  float q[asked * d];
  assert_int_equal(
      mica_collection_create(engine, folder_path("measured"), "exact:metric=l2", d, &c), MICA_OK);
  for (int64_t i = 0; i < rows; i++) id[i] = (i * 7) % rows; /* in another order */
  for (int64_t i = 0; i < rows; i += 50) assert_int_equal(add(c, id + i, 50, 1), MICA_OK);
  assert_int_equal(mica_collection_delete(c, id, 30, NULL), MICA_OK);
  assert_int_equal(add(c, id + 20, 20, 2), MICA_OK); /* ten of them again, ten replaced */
  assert_int_equal(mica_collection_set_text(c, "classes", "[]"), MICA_OK);
  assert_int_equal(mica_collection_rows(c, &n, &ids, &labels), MICA_OK);
  assert_int_equal(n, rows - 20);
  for (int64_t i = 0; i < n; i++) {
    assert_true(i == 0 || ids[i] > ids[i - 1]);
    assert_int_equal(labels[i], ids[i] % 3);
  }
  assert_int_equal(mica_collection_index(c, "exact:metric=l2", NULL, &index), MICA_OK);
  assert_int_equal(mica_index_count(index), n);
  assert_string_equal(mica_index_text(index, "classes"), "[]");
  for (int64_t i = 0; i < asked; i++) {
    fill(i, 5, q + i * d);
    own[i] = ids[i * 3];
    label[i] = i % 3;
    at[i] = 2 * i;
    right[2 * i] = ids[i * 5];
    right[2 * i + 1] = i % 4 ? ids[i * 7] : id[0]; /* that one is gone */
    if (right[2 * i] == right[2 * i + 1]) right[2 * i + 1] = ids[n - 1];
  }
  at[asked] = 2 * asked;
  const mica_view x = mica_view_of(q, MICA_F32, MICA_SHAPE(asked, d));
  for (int lists = 0; lists < 2; lists++) {
    mica_index_truth truth = MICA_INDEX_TRUTH;
    mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
    mica_retrieval *a, *b;
    mica_estimate e[16], f[16];
    o.k = 40;
    o.self_id = own;
    o.seen_at = at;
    o.seen = right; /* half of what is right is left out */
    if (lists) o.seen_at = NULL, o.seen = NULL;
    truth.label = lists ? NULL : label;
    truth.at = at;
    truth.id = right;
    assert_int_equal(mica_retrieval_create(engine, NULL, &a), MICA_OK);
    assert_int_equal(mica_retrieval_create(engine, NULL, &b), MICA_OK);
    if (mica_retrieval_ask_collection(a, c, &x, &truth, &o)) fail_msg("%s", mica_last_error());
    assert_int_equal(mica_retrieval_ask(b, index, &x, &truth, &o), MICA_OK);
    assert_int_equal(mica_retrieval_result(a, e), MICA_OK);
    assert_int_equal(mica_retrieval_result(b, f), MICA_OK);
    for (int32_t i = 0; i < mica_retrieval_measures(a); i++) {
      assert_near(e[i].value, f[i].value, 1e-15);
      assert_true(e[i].value >= 0 && (i > 0 || e[i].value > 0));
    }
    mica_retrieval_free(a);
    mica_retrieval_free(b);
  }
  /* Nothing to rank, and what rows of a collection do not have. */
  mica_retrieval *r;
  mica_index_truth truth = MICA_INDEX_TRUTH;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  truth.label = label;
  o.self_row = own;
  assert_int_equal(mica_retrieval_create(engine, NULL, &r), MICA_OK);
  assert_int_equal(mica_retrieval_ask_collection(r, c, &x, &truth, &o), MICA_ERR_INVALID);
  assert_int_equal(mica_collection_delete(c, ids, n, NULL), MICA_OK);
  assert_int_equal(mica_retrieval_ask_collection(r, c, &x, &truth, NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "no rows"));
  mica_retrieval_free(r);
  mica_index_free(index);
  mica_free(ids);
  mica_free(labels);
  mica_collection_free(c);
}

/* ---- processes ---- */

static void test_one_process_changes_at_a_time(void **state) {
  (void)state;
  int told[2];
  char byte;
  mica_collection *c;
  char lock[300];
  assert_int_equal(mica_collection_create(engine, folder_path("locked"), "exact", d, &c), MICA_OK);
  snprintf(lock, sizeof lock, "%s", folder_path("locked/lock"));
  assert_int_equal(pipe(told), 0);
  const pid_t child = fork();
  if (child == 0) {
    const int fd = open(lock, O_RDWR | O_CREAT, 0666);
    if (fd < 0 || flock(fd, LOCK_EX) != 0 || write(told[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  assert_true(child > 0);
  assert_int_equal(read(told[0], &byte, 1), 1);
  const int64_t id[1] = {1};
  assert_int_equal(add(c, id, 1, 1), MICA_ERR_STATE);
  assert_non_null(strstr(mica_last_error(), "another process"));
  assert_int_equal(mica_collection_count(c), 0);
  assert_int_equal(kill(child, SIGKILL), 0);
  assert_int_equal(waitpid(child, NULL, 0), child);
  assert_int_equal(add(c, id, 1, 1), MICA_OK); /* the lock went with the process */
  assert_int_equal(mica_collection_count(c), 1);
  close(told[0]);
  close(told[1]);
  mica_collection_free(c);
}

/* Adds pairs of rows and deletes every third pair until it is killed, telling each change. */
static void change_until_killed(const char *path, int told) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *own;
  mica_collection *c;
  o.threads = 1;
  if (mica_engine_create(&o, &own) || mica_collection_open(own, path, &c)) _exit(1);
  for (int64_t i = mica_collection_next_id(c) / 2;; i++) {
    const int64_t pair[2] = {2 * i, 2 * i + 1};
    if (add(c, pair, 2, 1)) _exit(1);
    if (i % 3 == 2 && mica_collection_delete(c, pair, 2, NULL)) _exit(1);
    if (write(told, "x", 1) != 1) _exit(1);
  }
}

static void test_a_killed_process_leaves_a_whole_state(void **state) {
  (void)state;
  char path[300];
  mica_collection *c;
  snprintf(path, sizeof path, "%s", folder_path("killed"));
  assert_int_equal(mica_collection_create(engine, path, "exact:metric=l2", d, &c), MICA_OK);
  mica_collection_free(c);
  int64_t before = 0;
  for (int trial = 0; trial < 12; trial++) {
    int told[2];
    char byte;
    assert_int_equal(pipe(told), 0);
    const pid_t child = fork();
    if (child == 0) change_until_killed(path, told[1]);
    assert_true(child > 0);
    for (int i = 0; i < 1 + trial % 4; i++) assert_int_equal(read(told[0], &byte, 1), 1);
    usleep((useconds_t)(400 * trial)); /* somewhere inside the next change */
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(told[0]);
    close(told[1]);
    c = reopened(path);
    const int64_t next = mica_collection_next_id(c), rows = mica_collection_count(c);
    assert_true(next > before && next % 2 == 0);
    before = next;
    /* Pairs are there as a whole; the last may not have been deleted yet. */
    const int64_t pairs = next / 2, gone = pairs / 3;
    assert_true(rows == 2 * (pairs - gone) || (pairs % 3 == 0 && rows == 2 * (pairs - gone + 1)));
    if (pairs % 3 == 0) { /* as the next process expects it */
      const int64_t last[2] = {next - 2, next - 1};
      assert_int_equal(mica_collection_delete(c, last, 2, NULL), MICA_OK);
    }
    mica_collection_free(c);
  }
}

/* ---- threads ---- */

typedef struct crowd {
  mica_collection *c;
  atomic_bool stop;
  atomic_int asked, wrong;
} crowd;

/* Rows come and go by hundreds: each answer is of a whole hundred. */
static void *keep_asking(void *ctx) {
  crowd *w = ctx;
  float q[d];
  fill(5, 1, q);
  const mica_view query = mica_view_of(q, MICA_F32, MICA_SHAPE(1, d));
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = 1000;
  int64_t *id = mica_malloc(1000 * sizeof *id);
  double *score = mica_malloc(1000 * sizeof *score);
  while (!atomic_load(&w->stop)) {
    int64_t n = 0;
    if (mica_collection_query(w->c, &query, &o, id, score, NULL)) atomic_fetch_add(&w->wrong, 1);
    while (n < 1000 && id[n] >= 0) n++;
    if (n % 100 || n == 0) atomic_fetch_add(&w->wrong, 1);
    atomic_fetch_add(&w->asked, 1);
  }
  mica_free(id);
  mica_free(score);
  return NULL;
}

static void test_many_ask_while_one_changes(void **state) {
  (void)state;
  pthread_t asking[3];
  crowd w = {0};
  int64_t id[100];
  for (int64_t i = 0; i < 100; i++) id[i] = i;
  assert_int_equal(mica_collection_create(engine, folder_path("crowd"), "exact:metric=l2", d, &w.c),
                   MICA_OK);
  assert_int_equal(add(w.c, id, 100, 1), MICA_OK);
  for (int t = 0; t < 3; t++)
    assert_int_equal(pthread_create(&asking[t], NULL, keep_asking, &w), 0);
  for (int64_t step = 0; step < 12; step++) {
    for (int64_t i = 0; i < 100; i++) id[i] = 100 * (1 + step % 4) + i;
    if (step % 4 == 3)
      assert_int_equal(mica_collection_compact(w.c), MICA_OK);
    else if (step / 4 % 2)
      assert_int_equal(mica_collection_delete(w.c, id, 100, NULL), MICA_OK);
    else
      assert_int_equal(add(w.c, id, 100, 2), MICA_OK);
  }
  while (atomic_load(&w.asked) < 30) usleep(1000);
  atomic_store(&w.stop, true);
  for (int t = 0; t < 3; t++) assert_int_equal(pthread_join(asking[t], NULL), 0);
  assert_int_equal(atomic_load(&w.wrong), 0);
  mica_collection_free(w.c);
}

/* ---- memory that runs out ---- */

static mica_status whole_life(void *ctx) {
  (void)ctx;
  mica_collection *c = NULL;
  const int64_t id[3] = {1, 2, 3}, more[2] = {3, 4};
  float x[5 * d];
  int64_t got[2 * k];
  double score[2 * k];
  mica_index_batch batch = MICA_INDEX_BATCH;
  for (int64_t i = 0; i < 5; i++) fill(i, 1, x + i * d);
  char command[600];
  snprintf(command, sizeof command, "rm -rf %s", folder_path("life"));
  if (system(command) != 0) return MICA_ERR_IO;
  mica_status status = mica_collection_create(engine, folder_path("life"), "exact", d, &c);
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(3, d));
  batch.id = id;
  if (!status) status = mica_collection_add(c, &batch);
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(2, d));
  batch.id = more;
  if (!status) status = mica_collection_add(c, &batch);
  if (!status) status = mica_collection_delete(c, id, 1, NULL);
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = k;
  if (!status) status = mica_collection_query(c, &batch.x, &o, got, score, NULL);
  if (!status) status = mica_collection_compact(c);
  if (!status) status = mica_collection_refresh(c);
  char *text = NULL;
  int64_t n, *ids = NULL, *labels = NULL;
  mica_index *index = NULL;
  mica_retrieval *r = NULL;
  const int64_t at[3] = {0, 1, 2}, right[2] = {2, 3};
  mica_index_truth truth = MICA_INDEX_TRUTH;
  mica_retrieval_options measures = MICA_RETRIEVAL_OPTIONS;
  measures.measures = "map,hr@1";
  truth.at = at;
  truth.id = right;
  if (!status) status = mica_collection_set_text(c, "classes", "[]");
  if (!status) status = mica_collection_text(c, "classes", &text);
  if (!status) status = mica_collection_rows(c, &n, &ids, &labels);
  if (!status) status = mica_collection_index(c, NULL, NULL, &index);
  if (!status) status = mica_retrieval_create(engine, &measures, &r);
  if (!status) status = mica_retrieval_ask_collection(r, c, &batch.x, &truth, NULL);
  mica_free(text);
  mica_free(ids);
  mica_free(labels);
  mica_index_free(index);
  mica_retrieval_free(r);
  mica_collection_free(c);
  return status;
}

static void test_memory_runs_out(void **state) {
  (void)state;
  assert_int_equal(whole_life(NULL), MICA_OK);
  assert_true(fail_every(5, whole_life, NULL) > 50);
}

static int set_up(void **state) {
  failing_alloc_install();
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  if (mica_engine_create(&o, &engine) != MICA_OK) return 1;
  return folder_setup(state);
}

static int tear_down(void **state) {
  mica_engine_free(engine);
  failing_alloc_remove();
  return folder_teardown(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_a_list),
      cmocka_unit_test(test_ids_by_themselves),
      cmocka_unit_test(test_what_is_refused),
      cmocka_unit_test(test_damaged_folders),
      cmocka_unit_test(test_too_many_texts),
      cmocka_unit_test(test_texts),
      cmocka_unit_test(test_measures),
      cmocka_unit_test(test_one_process_changes_at_a_time),
      cmocka_unit_test(test_a_killed_process_leaves_a_whole_state),
      cmocka_unit_test(test_many_ask_while_one_changes),
      cmocka_unit_test(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
