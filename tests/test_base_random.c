/* Philox against the vectors its authors publish, and the distributions built on it. */
#include "support/test.h"

#include "base/random.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* kat_vectors of Random123 (D. E. Shaw Research), philox4x32 with 10 rounds. */
static void philox_has_its_published_values(void **state) {
  (void)state;
  static const struct {
    uint32_t counter[4], key[2], expected[4];
  } kat[] = {{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
             {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
              {0xffffffff, 0xffffffff},
              {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
             {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
              {0xa4093822, 0x299f31d0},
              {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (size_t i = 0; i < sizeof kat / sizeof *kat; i++) {
    uint32_t out[4];
    mica_philox(kat[i].counter, kat[i].key, out);
    assert_memory_equal(out, kat[i].expected, sizeof out);
  }
}

/* A stream must never change: resumed runs and stored splits depend on it. */
static void draws_are_the_documented_words(void **state) {
  (void)state;
  assert_true(mica_random_bits((mica_key){0}, 0) == 0xe169c58d6627e8d5u);
  uint32_t counter[4] = {0x9abcdef0, 0x12345678, 0, 0}, key[2] = {7, 9}, out[4];
  mica_philox(counter, key, out);
  assert_true(mica_random_bits((mica_key){(uint64_t)9 << 32 | 7}, 0x123456789abcdef0u) ==
              ((uint64_t)out[1] << 32 | out[0]));
}

static void keys_do_not_meet(void **state) {
  (void)state;
  mica_key root = mica_key_seed(0), keys[7] = {root,
                                               mica_key_seed(1),
                                               mica_key_fold(root, 0),
                                               mica_key_fold(root, 1),
                                               mica_key_fold_name(root, ""),
                                               mica_key_fold_name(root, "a"),
                                               mica_key_fold_name(mica_key_seed(1), "a")};
  for (int a = 0; a < 7; a++)
    for (int b = 0; b < a; b++) assert_true(keys[a].word != keys[b].word);
  mica_key xy = mica_key_fold(mica_key_fold(root, 1), 2);
  assert_true(xy.word != mica_key_fold(mica_key_fold(root, 2), 1).word);
}

static void uniforms_fill_their_interval(void **state) {
  (void)state;
  enum { n = 200000, bins = 50 };
  mica_key key = mica_key_seed(3);
  int count[bins] = {0};
  double sum = 0, neighbours = 0, before = 0.5;
  for (uint64_t i = 0; i < n; i++) {
    double u = mica_random_uniform(key, i);
    assert_true(u >= 0 && u < 1);
    count[(int)(u * bins)]++;
    sum += u;
    neighbours += (u - 0.5) * (before - 0.5);
    before = u;
  }
  double chi2 = 0, expected = (double)n / bins;
  for (int b = 0; b < bins; b++) chi2 += (count[b] - expected) * (count[b] - expected) / expected;
  assert_true(chi2 < 85.4); /* 99.9% point for 49 degrees of freedom */
  assert_true(fabs(sum / n - 0.5) < 4 * sqrt(1.0 / 12 / n));
  assert_true(fabs(neighbours / n) < 4 * (1.0 / 12) / sqrt((double)n));
}

static void normals_have_their_moments(void **state) {
  (void)state;
  enum { n = 200000 };
  mica_key key = mica_key_seed(4);
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
  int beyond = 0;
  for (uint64_t i = 0; i < n; i++) {
    double x = mica_random_normal(key, i);
    assert_true(isfinite(x));
    m1 += x, m2 += x * x, m3 += x * x * x, m4 += x * x * x * x;
    beyond += fabs(x) > 1.959963984540054;
  }
  double s = sqrt((double)n);
  assert_true(fabs(m1 / n) < 4 / s);
  assert_true(fabs(m2 / n - 1) < 4 * sqrt(2.0) / s);
  assert_true(fabs(m3 / n) < 4 * sqrt(15.0) / s);
  assert_true(fabs(m4 / n - 3) < 4 * sqrt(96.0) / s);
  assert_true(fabs((double)beyond / n - 0.05) < 4 * sqrt(0.05 * 0.95) / s);
}

static void fills_are_the_single_draws(void **state) {
  (void)state;
  mica_key key = mica_key_seed(5);
  double u[37], g[37];
  mica_random_uniform_fill(key, 1000, 37, u);
  mica_random_normal_fill(key, 1000, 37, g);
  for (uint64_t i = 0; i < 37; i++) {
    assert_true(u[i] == mica_random_uniform(key, 1000 + i));
    assert_true(g[i] == mica_random_normal(key, 1000 + i));
  }
}

static void below_is_even(void **state) {
  (void)state;
  mica_key key = mica_key_seed(6);
  assert_true(mica_random_below(key, 0, 0) == 0);
  assert_true(mica_random_below(key, 0, 1) == 0);
  int count[7] = {0};
  enum { n = 70000 };
  for (uint64_t i = 0; i < n; i++) count[mica_random_below(key, i, 7)]++;
  double chi2 = 0;
  for (int b = 0; b < 7; b++) chi2 += (count[b] - 1e4) * (count[b] - 1e4) / 1e4;
  assert_true(chi2 < 22.46); /* 99.9%, 6 degrees of freedom */
  /* Three quarters of 2^64: without rejection the lower two thirds of results would come twice as
   * often as the rest. */
  uint64_t large = (uint64_t)3 << 62;
  int low = 0;
  for (uint64_t i = 0; i < n; i++) {
    uint64_t x = mica_random_below(key, i, large);
    assert_true(x < large);
    low += x < (uint64_t)1 << 63;
  }
  assert_true(fabs((double)low / n - 2.0 / 3) < 4 * sqrt(2.0 / 9 / n));
}

static void permutations_are_even(void **state) {
  (void)state;
  int count[24] = {0};
  for (uint64_t trial = 0; trial < 24000; trial++) {
    int64_t order[4];
    mica_random_permutation(mica_key_fold(mica_key_seed(7), trial), 4, order);
    int seen = 0, number = 0;
    for (int i = 0; i < 4; i++) {
      assert_in_range(order[i], 0, 3);
      seen |= 1 << order[i];
      int smaller = 0;
      for (int j = i + 1; j < 4; j++) smaller += order[j] < order[i];
      number = number * (4 - i) + smaller;
    }
    assert_int_equal(seen, 15);
    count[number]++;
  }
  double chi2 = 0;
  for (int b = 0; b < 24; b++) chi2 += (count[b] - 1e3) * (count[b] - 1e3) / 1e3;
  assert_true(chi2 < 49.73); /* 99.9%, 23 degrees of freedom */
  int64_t single = -1;
  mica_random_permutation(mica_key_seed(8), 1, &single);
  assert_int_equal(single, 0);
  mica_random_permutation(mica_key_seed(8), 0, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(philox_has_its_published_values),
      cmocka_unit_test(draws_are_the_documented_words),
      cmocka_unit_test(keys_do_not_meet),
      cmocka_unit_test(uniforms_fill_their_interval),
      cmocka_unit_test(normals_have_their_moments),
      cmocka_unit_test(fills_are_the_single_draws),
      cmocka_unit_test(below_is_even),
      cmocka_unit_test(permutations_are_even),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
