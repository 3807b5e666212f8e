/* Negative items: the shares in which they come, what is left out, and that they depend on what
 * they are for and on nothing else. */
#include "support/failing_alloc.h"

#include <mica/interactions.h>

#include <math.h>
#include <string.h>

enum { USERS = 4, ITEMS = 10, DRAWS = 60000 };

/* Item i was taken 1 + i times; user u has seen the items of the same remainder by 4, and user 3
 * all but the last. */
static mica_interactions *make(void) {
  int64_t user[200], item[200], n = 0;
  for (int64_t i = 0; i < ITEMS; i++)
    for (int64_t k = 0; k <= i; k++) {
      user[n] = k == 0 && i < ITEMS - 1 ? 3 : i % 3;
      item[n++] = i;
    }
  mica_interactions *x;
  assert_int_equal(mica_interactions_create(n, user, item, NULL, NULL, NULL, &x), MICA_OK);
  assert_int_equal(mica_interactions_items(x), ITEMS);
  assert_int_equal(mica_interactions_users(x), USERS);
  return x;
}

/* The number of the user of that name. */
static int64_t who(const mica_interactions *x, const char *name) {
  return mica_interactions_find_user(x, name);
}

static mica_negatives *sampler(const mica_interactions *x, mica_negative_kind kind, double alpha,
                               bool unseen) {
  mica_negative_options o = MICA_NEGATIVE_OPTIONS;
  mica_negatives *s;
  o.kind = kind;
  o.alpha = alpha;
  o.unseen = unseen;
  if (mica_negatives_create(x, NULL, &o, &s) != MICA_OK) fail_msg("%s", mica_last_error());
  return s;
}

/* The chi-square of counts against shares; items of no share must not have come. */
static double distance(const int64_t *count, const double *share) {
  double total = 0, chi = 0;
  for (int i = 0; i < ITEMS; i++) total += share[i];
  for (int i = 0; i < ITEMS; i++) {
    const double expected = DRAWS * share[i] / total;
    if (share[i] > 0)
      chi += pow((double)count[i] - expected, 2) / expected;
    else
      assert_int_equal(count[i], 0);
  }
  return chi;
}

/* Items in the order of the interactions: item number i is i. */
static void test_shares(void **state) {
  (void)state;
  mica_interactions *x = make();
  static int64_t draws[DRAWS];
  for (int kind = 0; kind < 2; kind++)
    for (int alpha = 0; alpha <= 2; alpha++)
      for (int64_t user = -1; user < USERS; user++) {
        mica_negatives *s = sampler(x, (mica_negative_kind)kind, alpha / 2.0, user >= 0);
        int64_t users[DRAWS / 60], count[ITEMS] = {0};
        double share[ITEMS];
        float log_q[ITEMS];
        int64_t items[ITEMS];
        for (int i = 0; i < DRAWS / 60; i++) users[i] = user;
        assert_int_equal(mica_negatives_draw(s, 5, DRAWS / 60, users, 60, draws), MICA_OK);
        for (int i = 0; i < DRAWS; i++) {
          assert_in_range(draws[i], 0, ITEMS - 1);
          count[draws[i]]++;
        }
        double total = 0;
        for (int i = 0; i < ITEMS; i++) {
          items[i] = i;
          share[i] = kind ? pow(1 + i, alpha / 2.0) : 1;
          total += share[i];
        }
        mica_negatives_log_q(s, ITEMS, items, log_q);
        for (int i = 0; i < ITEMS; i++)
          assert_true(fabs((double)log_q[i] - log(share[i] / total)) < 1e-6);
        for (int64_t i = 0; i < ITEMS; i++)
          if (user >= 0 && mica_interactions_seen(x, user, i)) share[i] = 0;
        assert_true(distance(count, share) < 28); /* 9 degrees: one in a thousand is above */
        mica_negatives_free(s);
      }
  mica_interactions_free(x);
}

/* Items that are not in the training part are never drawn by popularity. */
static void test_training_part(void **state) {
  (void)state;
  mica_interactions *x = make();
  uint8_t part[200];
  const int64_t *item = mica_interactions_item(x);
  for (int64_t k = 0; k < mica_interactions_count(x); k++)
    part[k] = item[k] < 5 ? MICA_PART_TRAIN : MICA_PART_TEST;
  mica_negative_options o = MICA_NEGATIVE_OPTIONS;
  o.kind = MICA_NEGATIVE_POPULARITY;
  o.unseen = false;
  mica_negatives *s;
  int64_t draws[1000], none = 7;
  float log_q;
  assert_int_equal(mica_negatives_create(x, part, &o, &s), MICA_OK);
  assert_int_equal(mica_negatives_draw(s, 0, 10, NULL, 100, draws), MICA_OK);
  for (int i = 0; i < 1000; i++) assert_in_range(draws[i], 0, 4);
  mica_negatives_log_q(s, 1, &none, &log_q);
  assert_true(isinf(log_q) && log_q < 0);
  none = -1;
  mica_negatives_log_q(s, 1, &none, &log_q);
  assert_true(isinf(log_q));
  mica_negatives_free(s);
  memset(part, MICA_PART_TEST, sizeof part);
  assert_int_equal(mica_negatives_create(x, part, &o, &s), MICA_ERR_NUMERIC);
  o.alpha = NAN;
  assert_int_equal(mica_negatives_create(x, NULL, &o, &s), MICA_ERR_INVALID);
  mica_interactions_free(x);
}

/* A row's draws do not depend on the rows around it, nor on how many are asked for. */
static void test_functions_of_seed_step_and_row(void **state) {
  (void)state;
  mica_interactions *x = make();
  for (int kind = 0; kind < 2; kind++) {
    mica_negatives *s = sampler(x, (mica_negative_kind)kind, 0.75, true);
    const int64_t users[] = {who(x, "0"), who(x, "1"), who(x, "2"), who(x, "0")};
    int64_t all[4 * 8], two[2 * 8], few[4 * 3], other[4 * 8];
    assert_int_equal(mica_negatives_draw(s, 9, 4, users, 8, all), MICA_OK);
    assert_int_equal(mica_negatives_draw(s, 9, 2, users, 8, two), MICA_OK);
    assert_memory_equal(all, two, sizeof two);
    assert_int_equal(mica_negatives_draw(s, 9, 4, users, 3, few), MICA_OK);
    for (int r = 0; r < 4; r++) assert_memory_equal(all + 8 * r, few + 3 * r, 3 * sizeof *few);
    assert_int_equal(mica_negatives_draw(s, 10, 4, users, 8, other), MICA_OK);
    assert_memory_not_equal(all, other, sizeof all);
    assert_memory_not_equal(all, all + 24, 8 * sizeof *all); /* user 0, another row */
    mica_negatives_free(s);
  }
  mica_interactions_free(x);
}

static void test_lists(void **state) {
  (void)state;
  mica_interactions *x = make();
  int64_t count[ITEMS] = {0};
  for (int kind = 0; kind < 2; kind++)
    for (uint64_t seed = 0; seed < 200; seed++) {
      mica_negative_options o = MICA_NEGATIVE_OPTIONS;
      mica_negatives *s;
      int64_t list[6], again[6];
      o.kind = (mica_negative_kind)kind;
      o.seed = seed;
      assert_int_equal(mica_negatives_create(x, NULL, &o, &s), MICA_OK);
      assert_int_equal(mica_negatives_list(s, who(x, "1"), 6, list), MICA_OK);
      assert_int_equal(mica_negatives_list(s, who(x, "1"), 6, again), MICA_OK);
      assert_memory_equal(list, again, sizeof list);
      for (int k = 0; k < 6; k++) {
        assert_false(mica_interactions_seen(x, who(x, "1"), list[k]));
        for (int j = 0; j < k; j++) assert_int_not_equal(list[j], list[k]);
        if (!kind) count[list[k]]++;
      }
      mica_negatives_free(s);
    }
  /* User 1 has seen 1, 4 and 7: of the seven others each is in 6 / 7 of the lists. */
  for (int64_t i = 0; i < ITEMS; i++)
    if (!mica_interactions_seen(x, who(x, "1"), i)) assert_in_range(count[i], 150, 190);
  mica_negatives *s = sampler(x, MICA_NEGATIVE_POPULARITY, 0.75, true);
  int64_t list[ITEMS];
  assert_int_equal(mica_negatives_list(s, who(x, "3"), 1, list), MICA_OK);
  assert_int_equal(list[0], ITEMS - 1);
  assert_int_equal(mica_negatives_list(s, who(x, "3"), 2, list), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "user '3' has seen all but 1 of 10 items"));
  assert_int_equal(mica_negatives_list(s, USERS, 1, list), MICA_ERR_INVALID);
  mica_negatives_free(s);
  mica_interactions_free(x);
}

static void test_nothing_left(void **state) {
  (void)state;
  const int64_t user[] = {0, 0, 1}, item[] = {5, 6, 5};
  mica_interactions *x;
  assert_int_equal(mica_interactions_create(3, user, item, NULL, NULL, NULL, &x), MICA_OK);
  mica_negatives *s = sampler(x, MICA_NEGATIVE_UNIFORM, 0, true);
  int64_t draws[2];
  const int64_t users[] = {1, 0};
  assert_int_equal(mica_negatives_draw(s, 0, 2, users, 1, draws), MICA_ERR_INVALID);
  assert_string_equal(mica_last_error(),
                      "negatives: user '0' has seen all but 0 of 2 items, which is too few");
  assert_int_equal(mica_negatives_draw(s, 0, 1, users, 2, draws), MICA_OK);
  assert_true(draws[0] == 1 && draws[1] == 1);
  mica_negatives_free(s);
  mica_interactions_free(x);
}

static void test_in_batch(void **state) {
  (void)state;
  mica_interactions *x = make();
  const int64_t user[] = {who(x, "0"), who(x, "1"), who(x, "3"), who(x, "1")};
  const int64_t item[] = {0, 1, 2, 1};
  /* 0 has seen 3, 6, 9; 1 has seen 1, 4, 7, its own positive; 3 all but 9. */
  static const float unseen[16] = {1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1};
  static const float any[16] = {1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1};
  float mask[16];
  mica_negatives *s = sampler(x, MICA_NEGATIVE_POPULARITY, 1, true);
  mica_negatives_in_batch(s, 4, user, item, mask);
  assert_memory_equal(mask, unseen, sizeof mask);
  mica_negatives_free(s);
  s = sampler(x, MICA_NEGATIVE_POPULARITY, 1, false);
  mica_negatives_in_batch(s, 4, user, item, mask);
  assert_memory_equal(mask, any, sizeof mask);
  mica_negatives_free(s);
  mica_interactions_free(x);
}

static mica_status make_and_draw(void *ctx) {
  (void)ctx;
  const int64_t user[] = {0, 0, 1}, item[] = {5, 6, 7};
  mica_interactions *x;
  mica_negatives *s = NULL;
  mica_negative_options o = MICA_NEGATIVE_OPTIONS;
  o.kind = MICA_NEGATIVE_POPULARITY;
  mica_status status = mica_interactions_create(3, user, item, NULL, NULL, NULL, &x);
  if (status != MICA_OK) return status;
  status = mica_negatives_create(x, NULL, &o, &s);
  int64_t list[2];
  if (status == MICA_OK) status = mica_negatives_list(s, 1, 2, list);
  mica_negatives_free(s);
  mica_interactions_free(x);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  failing_alloc_install();
  print_message("%ld allocations\n", fail_each(make_and_draw, NULL));
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_shares),
      cmocka_unit_test(test_training_part),
      cmocka_unit_test(test_functions_of_seed_step_and_row),
      cmocka_unit_test(test_lists),
      cmocka_unit_test(test_nothing_left),
      cmocka_unit_test(test_in_batch),
      cmocka_unit_test(test_failing_allocations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
