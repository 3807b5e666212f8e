/* A second look at answers, and tensors that are kept with an index. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/near.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 12, D = 1 };

static mica_engine *engine;

/* Points 0 to 11 on a line. */
static mica_index *line(void) {
  float x[N];
  mica_index *index = NULL;
  for (int i = 0; i < N; i++) x[i] = (float)i;
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(N, D));
  assert_int_equal(mica_index_create(engine, "exact:metric=l2", &batch, &index), MICA_OK);
  return index;
}

typedef struct looking {
  int64_t calls, next, most; /* queries come in order */
  double value[N];           /* of each row */
} looking;

static mica_status look(void *ctx, int64_t query, int64_t n, const int64_t *row, double *score) {
  looking *l = ctx;
  assert_int_equal(query, l->next++);
  assert_true(n <= l->most);
  l->calls++;
  for (int64_t i = 0; i < n; i++) score[i] = l->value[row[i]];
  return MICA_OK;
}

static mica_status refuse(void *ctx, int64_t query, int64_t n, const int64_t *row, double *score) {
  (void)ctx, (void)query, (void)n, (void)row, (void)score;
  return mica_fail(MICA_ERR_CANCELLED, "enough");
}

static void test_second_look(void **state) {
  (void)state;
  mica_index *index = line();
  float q[2] = {0, 11};
  const mica_view x = mica_view_of(q, MICA_F32, MICA_SHAPE(2, D));
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  looking l = {.most = 4, .value = {1, 5, 1, 7, 9, 9, 9, 9, 2, 2, 2, 2}};
  int64_t row[2][6];
  double score[2][6];
  o.k = 6;
  o.second_look = look;
  o.second_look_ctx = &l;
  o.looked_at = 4;
  assert_int_equal(mica_index_query(index, &x, &o, row[0], score[0]), MICA_OK);
  assert_int_equal(l.calls, 2);
  /* Of 0 to 3 by value, equal ones as they were; 4 and 5 behind them, as far as they were. */
  const int64_t first[6] = {3, 1, 0, 2, 4, 5};
  assert_memory_equal(row[0], first, sizeof first);
  const double scores[6] = {7, 5, 1, 1, -4, -5};
  for (int i = 0; i < 6; i++) assert_near(score[0][i], scores[i], 0);
  const int64_t second[6] = {11, 10, 9, 8, 7, 6};
  assert_memory_equal(row[1], second, sizeof second);
  /* What lies behind has no higher score than what was looked at. */
  for (int i = 0; i < N; i++) l.value[i] = -10 - i;
  l.next = 0;
  assert_int_equal(mica_index_query(index, &x, &o, row[0], score[0]), MICA_OK);
  assert_near(score[0][3], -13, 0);
  assert_near(score[0][4], -13, 0);
  /* Lists that end early, and a look at more than there are. */
  const int64_t only[2] = {2, 4};
  o.only = only;
  o.n_only = 2;
  o.looked_at = 100;
  for (int i = 0; i < N; i++) l.value[i] = i;
  l.next = 0;
  assert_int_equal(mica_index_query(index, &x, &o, row[0], score[0]), MICA_OK);
  assert_true(row[0][0] == 4 && row[0][1] == 2 && row[0][2] == -1 && isnan(score[0][2]));
  /* Refusals. */
  l.value[4] = NAN;
  l.next = 0;
  assert_int_equal(mica_index_query(index, &x, &o, row[0], score[0]), MICA_ERR_NUMERIC);
  assert_non_null(strstr(mica_last_error(), "has no score"));
  o.second_look = refuse;
  assert_int_equal(mica_index_query(index, &x, &o, row[0], score[0]), MICA_ERR_CANCELLED);
  o.looked_at = 0;
  assert_int_equal(mica_index_query(index, &x, &o, row[0], score[0]), MICA_ERR_INVALID);
  mica_index_free(index);
}

/* Measures are of the lists after the second look, and it counts queries across blocks. */
static void test_measured_after_it(void **state) {
  (void)state;
  enum { Q = 3000 };
  mica_index *index = line();
  static float q[Q];
  static int64_t at[Q + 1], id[Q];
  mica_retrieval *r = NULL;
  mica_retrieval_options wanted = MICA_RETRIEVAL_OPTIONS;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  mica_index_truth truth = MICA_INDEX_TRUTH;
  looking l = {.most = N, .value = {[7] = 1}};
  mica_estimate e;
  for (int i = 0; i < Q; i++) at[i + 1] = i + 1, id[i] = 7;
  truth.at = at;
  truth.id = id;
  wanted.measures = "cmc@1";
  o.k = N;
  const mica_view x = mica_view_of(q, MICA_F32, MICA_SHAPE(Q, D));
  for (int looked = 0; looked < 2; looked++) {
    if (looked) {
      o.second_look = look;
      o.second_look_ctx = &l;
    }
    assert_int_equal(mica_retrieval_create(engine, &wanted, &r), MICA_OK);
    assert_int_equal(mica_retrieval_ask(r, index, &x, &truth, &o), MICA_OK);
    assert_int_equal(mica_retrieval_result(r, &e), MICA_OK);
    assert_near(e.value, looked, 0);
    mica_retrieval_free(r);
  }
  assert_int_equal(l.calls, Q);
  mica_index_free(index);
}

/* A label that each query wants, and more queries than are asked at once. */
static void test_wanted_labels_of_many_queries(void **state) {
  (void)state;
  enum { Q = 2000 };
  static float q[Q];
  static int64_t want[Q], label[Q], of_row[N];
  float rows[N];
  mica_index *index = NULL;
  mica_retrieval *r = NULL;
  mica_retrieval_options wanted = MICA_RETRIEVAL_OPTIONS;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  mica_index_truth truth = MICA_INDEX_TRUTH;
  mica_estimate e;
  for (int i = 0; i < N; i++) rows[i] = (float)i, of_row[i] = i % 2;
  for (int i = 0; i < Q; i++) want[i] = label[i] = i >= 1024;
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(rows, MICA_F32, MICA_SHAPE(N, D));
  batch.label = of_row;
  assert_int_equal(mica_index_create(engine, "exact:metric=l2", &batch, &index), MICA_OK);
  truth.label = label;
  wanted.measures = "cmc@1";
  o.k = 1;
  o.want_label = want;
  const mica_view x = mica_view_of(q, MICA_F32, MICA_SHAPE(Q, D));
  assert_int_equal(mica_retrieval_create(engine, &wanted, &r), MICA_OK);
  assert_int_equal(mica_retrieval_ask(r, index, &x, &truth, &o), MICA_OK);
  assert_int_equal(mica_retrieval_result(r, &e), MICA_OK);
  assert_near(e.value, 1, 0);
  mica_retrieval_free(r);
  mica_index_free(index);
}

/* ---- tensors ---- */

static mica_status keep_and_open(void *path) {
  float x[N] = {0};
  mica_index_builder *b = NULL;
  mica_index *index = NULL;
  mica_tensor *t = NULL;
  mica_engine *own = NULL;
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(N, D));
  mica_status status = mica_engine_create(NULL, &own);
  if (status == MICA_OK) status = mica_tensor_create(MICA_F64, MICA_SHAPE(3, 1), &t);
  for (int i = 0; status == MICA_OK && i < 3; i++) mica_tensor_set(t, i, i + 0.5);
  if (status == MICA_OK) status = mica_index_builder_create(own, "exact", D, path, &b);
  if (status == MICA_OK) status = mica_index_builder_set_tensor(b, "some.thing", t);
  if (status == MICA_OK) status = mica_index_builder_add(b, &batch);
  if (status == MICA_OK) {
    assert_int_equal(mica_index_builder_set_tensor(b, "late", t), MICA_ERR_STATE);
    status = mica_index_builder_finish(b, &index);
  }
  if (status == MICA_OK) {
    const mica_record *kept = mica_index_tensors(index);
    assert_int_equal(mica_record_count(kept), 1);
    assert_near(mica_tensor_get(mica_record_get(kept, "some.thing"), 2), 2.5, 0);
  }
  mica_tensor_free(t);
  mica_index_builder_free(b);
  mica_index_free(index);
  mica_engine_free(own);
  return status;
}

static void test_kept_tensors(void **state) {
  (void)state;
  char path[512];
  snprintf(path, sizeof path, "%s", folder_path("kept.index"));
  assert_int_equal(keep_and_open(NULL), MICA_OK);
  assert_int_equal(keep_and_open(path), MICA_OK);
  mica_index *index = NULL;
  assert_int_equal(mica_index_open(engine, path, &index), MICA_OK);
  assert_near(mica_tensor_get(mica_record_get(mica_index_tensors(index), "some.thing"), 0), 0.5, 0);
  /* Saved again they are still there. */
  char again[512];
  snprintf(again, sizeof again, "%s", folder_path("again.index"));
  assert_int_equal(mica_index_save(index, again), MICA_OK);
  mica_index_free(index);
  assert_int_equal(mica_index_open(engine, again, &index), MICA_OK);
  assert_int_equal(mica_record_count(mica_index_tensors(index)), 1);
  mica_index_free(index);
  index = line();
  assert_null(mica_index_tensors(index));
  assert_int_equal(mica_index_save(index, again), MICA_OK);
  mica_index_free(index);
  assert_int_equal(mica_index_open(engine, again, &index), MICA_OK);
  assert_null(mica_index_tensors(index));
  mica_index_free(index);
  assert_true(fail_each(keep_and_open, path) > 20);
  assert_true(fail_each(keep_and_open, NULL) > 20);
}

static void test_names_of_tensors(void **state) {
  (void)state;
  mica_index_builder *b = NULL;
  mica_tensor *t = NULL;
  char name[80];
  memset(name, 'a', sizeof name);
  name[65] = 0;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(1), &t), MICA_OK);
  assert_int_equal(mica_index_builder_create(engine, "exact", D, NULL, &b), MICA_OK);
  assert_int_equal(mica_index_builder_set_tensor(b, name, t), MICA_ERR_INVALID);
  assert_int_equal(mica_index_builder_set_tensor(b, "a/b", t), MICA_ERR_INVALID);
  assert_int_equal(mica_index_builder_set_tensor(b, "a", t), MICA_OK);
  assert_int_equal(mica_index_builder_set_tensor(b, "a", t), MICA_ERR_INVALID);
  mica_index_builder_free(b);
  mica_tensor_free(t);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_second_look), cmocka_unit_test(test_measured_after_it),
      cmocka_unit_test(test_wanted_labels_of_many_queries), cmocka_unit_test(test_kept_tensors),
      cmocka_unit_test(test_names_of_tensors)};
  const int failed = cmocka_run_group_tests(tests, folder_setup, folder_teardown);
  mica_engine_free(engine);
  return failed;
}
