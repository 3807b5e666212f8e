/* Communicators on one rank and on virtual ranks, and progress. */
#include "support/failing_alloc.h"

#include "base/communicator.h"
#include "base/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void one_rank_talks_to_itself(void **state) {
  (void)state;
  float x[3] = {1, 2, 3}, y[3] = {0};
  assert_int_equal(mica_communicator_rank(NULL), 0);
  assert_int_equal(mica_communicator_size(NULL), 1);
  assert_int_equal(mica_all_reduce(NULL, MICA_REDUCE_SUM, MICA_F32, x, 3), MICA_OK);
  assert_true(x[2] == 3);
  assert_int_equal(mica_all_gather(NULL, x, sizeof x, y), MICA_OK);
  assert_memory_equal(x, y, sizeof x);
  assert_int_equal(mica_broadcast(NULL, 0, x, sizeof x), MICA_OK);
  assert_int_equal(mica_barrier(NULL), MICA_OK);
  assert_int_equal(mica_broadcast(NULL, 1, x, sizeof x), MICA_ERR_INVALID);
  assert_int_equal(mica_send(NULL, 0, 0, x, 4), MICA_ERR_INVALID);
  assert_int_equal(mica_receive(NULL, 0, 0, x, 4), MICA_ERR_INVALID);
  assert_int_equal(mica_all_reduce(NULL, MICA_REDUCE_SUM, MICA_BF16, x, 3), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_all_reduce(NULL, MICA_REDUCE_SUM, MICA_F32, x, -1), MICA_ERR_INVALID);
  assert_int_equal(mica_all_reduce(NULL, MICA_REDUCE_SUM, MICA_F32, NULL, 1), MICA_ERR_INVALID);
  assert_int_equal(mica_all_reduce(NULL, (mica_reduction)9, MICA_F32, x, 1), MICA_ERR_INVALID);
  assert_int_equal(mica_all_gather(NULL, NULL, 4, y), MICA_ERR_INVALID);
}

#define need(condition)                                                                            \
  do {                                                                                             \
    if (!(condition)) return mica_fail(MICA_ERR_NUMERIC, "line %d: %s", __LINE__, #condition);     \
  } while (0)

/* Results land here by rank, for comparison between runs. */
typedef struct results {
  float sum[16][50];
} results;

static mica_status collectives(mica_communicator *c, void *ctx) {
  results *r = ctx;
  int rank = c->rank, size = c->size;
  float *x = r->sum[rank];
  for (int i = 0; i < 50; i++) x[i] = 1.0f / (float)(1 + i + 7 * rank * rank);
  float expected[50];
  for (int i = 0; i < 50; i++) {
    expected[i] = 1.0f / (float)(1 + i);
    for (int k = 1; k < size; k++) expected[i] += 1.0f / (float)(1 + i + 7 * k * k);
  }
  mica_status status = mica_all_reduce(c, MICA_REDUCE_SUM, MICA_F32, x, 50);
  if (status) return status;
  need(memcmp(x, expected, sizeof expected) == 0);
  double m[3] = {rank, -rank, rank == size - 1 ? NAN : 1};
  status = mica_all_reduce(c, MICA_REDUCE_MAX, MICA_F64, m, 3);
  if (status) return status;
  need(m[0] == size - 1 && m[1] == 0 && isnan(m[2]));
  int64_t total = rank, largest = rank;
  int32_t wrap = INT32_MAX;
  if (mica_all_reduce(c, MICA_REDUCE_SUM, MICA_I64, &total, 1)) return mica_last_status();
  if (mica_all_reduce(c, MICA_REDUCE_MAX, MICA_I64, &largest, 1)) return mica_last_status();
  if (mica_all_reduce(c, MICA_REDUCE_SUM, MICA_I32, &wrap, 1)) return mica_last_status();
  need(total == size * (size - 1) / 2 && largest == size - 1);
  need(wrap == (int32_t)((uint32_t)INT32_MAX * (uint32_t)size));
  if (mica_all_reduce(c, MICA_REDUCE_SUM, MICA_F64, NULL, 0)) return mica_last_status();
  int gathered[16] = {0};
  if (mica_all_gather(c, &rank, sizeof rank, gathered)) return mica_last_status();
  for (int k = 0; k < size; k++) need(gathered[k] == k);
  for (int root = 0; root < size; root++) {
    int word = rank == root ? 1000 + root : 0;
    if (mica_broadcast(c, root, &word, sizeof word)) return mica_last_status();
    need(word == 1000 + root);
  }
  return mica_barrier(c);
}

static void ranks_agree_bit_for_bit(void **state) {
  (void)state;
  for (int size = 1; size <= 7; size += 2)
    for (int run = 0; run < 5; run++) {
      results r;
      if (mica_virtual_ranks(size, collectives, &r)) fail_msg("%s", mica_last_error());
      for (int k = 1; k < size; k++) assert_memory_equal(r.sum[0], r.sum[k], sizeof r.sum[0]);
    }
}

static mica_status ring(mica_communicator *c, void *ctx) {
  (void)ctx;
  int next = (c->rank + 1) % c->size, before = (c->rank + c->size - 1) % c->size;
  int sum = 0, passing = c->rank;
  for (int step = 0; step < c->size; step++) {
    sum += passing;
    mica_status status = mica_send(c, next, step, &passing, sizeof passing);
    if (!status) status = mica_receive(c, before, step, &passing, sizeof passing);
    if (status) return status;
  }
  need(sum == c->size * (c->size - 1) / 2);
  if (c->rank == 0) { /* tags and order */
    char a = 'a', b = 'b', d = 'd';
    if (mica_send(c, 1, 5, &a, 1) || mica_send(c, 1, 6, &b, 1) || mica_send(c, 1, 5, &d, 1))
      return mica_last_status();
    return mica_send(c, 1, 7, NULL, 0);
  }
  if (c->rank == 1) {
    char first, second, third;
    if (mica_receive(c, 0, 6, &first, 1) || mica_receive(c, 0, 5, &second, 1) ||
        mica_receive(c, 0, 5, &third, 1))
      return mica_last_status();
    need(first == 'b' && second == 'a' && third == 'd');
    return mica_receive(c, 0, 7, NULL, 0);
  }
  return MICA_OK;
}

static void messages_go_round(void **state) {
  (void)state;
  for (int size = 2; size <= 6; size++)
    if (mica_virtual_ranks(size, ring, NULL)) fail_msg("%s", mica_last_error());
}

static mica_status fails_on_two(mica_communicator *c, void *ctx) {
  (void)ctx;
  if (c->rank == 2) return mica_fail(MICA_ERR_NUMERIC, "loss is not finite");
  int x = 0;
  mica_status status = c->rank == 1 ? mica_receive(c, 2, 0, &x, sizeof x) : mica_barrier(c);
  if (status != MICA_ERR_STATE) return mica_fail(MICA_ERR_INVALID, "rank was not told");
  return mica_barrier(c); /* and again, though it was told */
}

static mica_status leaves_early(mica_communicator *c, void *ctx) {
  (void)ctx;
  return c->rank == 0 ? MICA_OK : mica_barrier(c);
}

static mica_status different_sizes(mica_communicator *c, void *ctx) {
  (void)ctx;
  float x[4] = {0};
  return mica_all_reduce(c, MICA_REDUCE_SUM, MICA_F32, x, c->rank == 1 ? 3 : 4);
}

static mica_status different_lengths(mica_communicator *c, void *ctx) {
  (void)ctx;
  char x[4] = {0};
  return c->rank == 0 ? mica_send(c, 1, 0, x, 4) : mica_receive(c, 0, 0, x, 3);
}

static mica_status wrong_peer(mica_communicator *c, void *ctx) {
  (void)ctx;
  char x = 0;
  return mica_send(c, c->rank, 0, &x, 1);
}

static void nobody_waits_for_ever(void **state) {
  (void)state;
  assert_int_equal(mica_virtual_ranks(4, fails_on_two, NULL), MICA_ERR_NUMERIC);
  assert_string_equal(mica_last_error(), "rank 2: loss is not finite");
  assert_int_equal(mica_virtual_ranks(3, leaves_early, NULL), MICA_ERR_STATE);
  assert_non_null(strstr(mica_last_error(), "rank 0, which has stopped"));
  assert_int_equal(mica_virtual_ranks(3, different_sizes, NULL), MICA_ERR_SHAPE);
  assert_int_equal(mica_virtual_ranks(2, different_lengths, NULL), MICA_ERR_SHAPE);
  assert_int_equal(mica_virtual_ranks(2, wrong_peer, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_virtual_ranks(0, ring, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_virtual_ranks(100000, ring, NULL), MICA_ERR_INVALID);
}

static mica_status sum_on_ranks(void *ctx) {
  return mica_virtual_ranks(3, collectives, ctx);
}

static mica_status ring_on_ranks(void *ctx) {
  return mica_virtual_ranks(3, ring, ctx);
}

static void memory_may_run_out(void **state) {
  (void)state;
  results r;
  fail_each(sum_on_ranks, &r);
  fail_each(ring_on_ranks, NULL);
}

/* ---- progress ---- */

typedef struct listener {
  int calls, cancel_at;
  int64_t done;
} listener;

static int listen(void *ctx, const char *what, int64_t done, int64_t total) {
  listener *l = ctx;
  assert_string_equal(what, "epoch 3");
  assert_int_equal(total, 100000);
  l->done = done;
  return ++l->calls == l->cancel_at;
}

static void reports_are_few_and_the_last_is_there(void **state) {
  (void)state;
  listener l = {0};
  mica_progress p;
  mica_progress_begin(&p, listen, &l, "epoch 3", 100000);
  p.interval = 1e6;
  for (int64_t i = 1; i < 100000; i++) assert_int_equal(mica_progress_step(&p, i), MICA_OK);
  assert_int_equal(l.calls, 1);
  assert_int_equal(mica_progress_step(&p, 100000), MICA_OK);
  assert_int_equal(l.calls, 2);
  assert_int_equal(l.done, 100000);
  assert_int_equal(mica_progress_end(&p), MICA_OK);
  assert_int_equal(l.calls, 3);
  mica_progress_begin(&p, NULL, NULL, "epoch 3", 100000);
  assert_int_equal(mica_progress_step(&p, 100000), MICA_OK);
  assert_int_equal(mica_progress_end(&p), MICA_OK);
}

static void a_listener_can_cancel(void **state) {
  (void)state;
  listener l = {.cancel_at = 2};
  mica_progress p;
  mica_progress_begin(&p, listen, &l, "epoch 3", 100000);
  p.interval = 0;
  assert_int_equal(mica_progress_step(&p, 1), MICA_OK);
  assert_int_equal(mica_progress_step(&p, 2), MICA_ERR_CANCELLED);
  assert_non_null(strstr(mica_last_error(), "epoch 3"));
  assert_int_equal(mica_progress_step(&p, 3), MICA_ERR_CANCELLED);
  assert_int_equal(mica_progress_end(&p), MICA_ERR_CANCELLED);
  assert_int_equal(l.calls, 2); /* it is not asked again */
}

static void the_time_left_is_told(void **state) {
  (void)state;
  mica_time_left e = {0};
  assert_true(mica_time_left_update(&e, 100, 0, 50) < 0);
  assert_true(fabs(mica_time_left_update(&e, 102, 10, 50) - 8) < 1e-9);
  assert_true(fabs(mica_time_left_update(&e, 103, 10, 50) - 7) < 1e-9); /* waiting */
  for (int i = 11; i <= 30; i++) mica_time_left_update(&e, 102 + 10 * (i - 10), i, 50);
  assert_true(fabs(mica_time_left_update(&e, 312, 31, 50) - 190) < 2); /* ten times as slow now */
  assert_true(mica_time_left_update(&e, 320, 50, 50) == 0);
  assert_true(mica_time_left_update(&e, 321, 60, 0) < 0);
  assert_true(mica_time_left_update(&e, 322, 0, 50) < 0); /* begun anew */
  char text[MICA_DURATION_TEXT];
  assert_string_equal(mica_duration_text(0.4, text), "0 s");
  assert_string_equal(mica_duration_text(59.4, text), "59 s");
  assert_string_equal(mica_duration_text(185, text), "3 min 05 s");
  assert_string_equal(mica_duration_text(7620, text), "2 h 07 min");
  assert_string_equal(mica_duration_text(-1, text), "?");
  assert_string_equal(mica_duration_text(NAN, text), "?");
  assert_true(strlen(mica_duration_text(HUGE_VAL, text)) < MICA_DURATION_TEXT);
  double a = mica_seconds(), b = mica_seconds();
  assert_true(b >= a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_rank_talks_to_itself),
      cmocka_unit_test(ranks_agree_bit_for_bit),
      cmocka_unit_test(messages_go_round),
      cmocka_unit_test(nobody_waits_for_ever),
      cmocka_unit_test(memory_may_run_out),
      cmocka_unit_test(reports_are_few_and_the_last_is_there),
      cmocka_unit_test(a_listener_can_cancel),
      cmocka_unit_test(the_time_left_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
