/* Bytes of pictures: sums of integers are exact on every instruction set, whatever the sizes. */
#include "support/loops.h"

#include "tensor/kernel/pixel.h"

#include <stdlib.h>
#include <string.h>

static uint8_t byte(uint64_t stream, int64_t i) {
  return (uint8_t)(256 * loops_uniform(stream, (uint64_t)i));
}

/* From -1 to 2 times the unit, so that sums leave the range of a byte on both sides. */
static int32_t weight(uint64_t stream, int64_t i) {
  return (int32_t)((3 * loops_uniform(stream, (uint64_t)i) - 1) * (1 << MICA_PIXEL_BITS) / 3);
}

static uint8_t expected(int64_t sum) {
  sum += 1 << (MICA_PIXEL_BITS - 1);
  return (uint8_t)(sum <= 0 ? 0 : sum >> MICA_PIXEL_BITS > 255 ? 255 : sum >> MICA_PIXEL_BITS);
}

static void across(const loops_table *t) {
  enum { ROWS = 3, WIDTH = 75, MOST = 300, TAPS = 4 };
  static uint8_t x[ROWS * WIDTH], y[ROWS * MOST + 1];
  static int32_t wide[WIDTH], at[TAPS * MOST], w[TAPS * MOST];
  for (int i = 0; i < ROWS * WIDTH; i++) x[i] = byte(1, i);
  for (int n = 1; n <= MOST; n += n < 40 ? 1 : 37)
    for (int taps = 1; taps <= TAPS; taps++) {
      for (int i = 0; i < taps * n; i++) {
        at[i] = (int32_t)(WIDTH * loops_uniform(2, (uint64_t)i));
        w[i] = weight(3, i);
      }
      const mica_pixel_taps p = {n, taps, at, w};
      y[ROWS * n] = 77;
      t->k->pixel->across(&p, ROWS, WIDTH, x, wide, y);
      for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < n; j++) {
          int64_t sum = 0;
          for (int k = 0; k < taps; k++)
            sum += (int64_t)x[r * WIDTH + at[k * n + j]] * w[k * n + j];
          assert_int_equal(y[r * n + j], expected(sum));
        }
      assert_int_equal(y[ROWS * n], 77);
    }
}

static void down(const loops_table *t) {
  enum { TAPS = 5, STRIDE = 700 };
  static uint8_t x[TAPS * STRIDE], y[STRIDE + 1];
  int32_t w[TAPS];
  for (int i = 0; i < TAPS * STRIDE; i++) x[i] = byte(4, i);
  for (int k = 0; k < TAPS; k++) w[k] = weight(5, k);
  for (int n = 1; n <= STRIDE; n += n < 40 ? 1 : 31)
    for (int taps = 1; taps <= TAPS; taps++) {
      y[n] = 77;
      t->k->pixel->down(taps, w, n, x, STRIDE, y);
      for (int j = 0; j < n; j++) {
        int64_t sum = 0;
        for (int k = 0; k < taps; k++) sum += (int64_t)x[k * STRIDE + j] * w[k];
        assert_int_equal(y[j], expected(sum));
      }
      assert_int_equal(y[n], 77);
    }
}

static void normalise(const loops_table *t) {
  enum { MOST = 210 };
  const double scale[] = {0.5, -0.25, 0.125, 2}, shift[] = {-1, 0.5, 3, 0};
  static uint8_t x[MOST * 4];
  for (int i = 0; i < MOST * 4; i++) x[i] = byte(6, i);
  for (int64_t channels = 1; channels <= 4; channels++)
    for (int64_t n = 0; n <= MOST; n += n < 20 ? 1 : 19) {
      void *y = loops_zeros(t, n * channels);
      t->k->pixel->normalise(n, channels, scale, shift, x, y);
      for (int64_t i = 0; i < n * channels; i++)
        assert_true(loops_get(t, y, i) ==
                    x[i] * scale[i % channels] + shift[i % channels]); /* exact in float */
      loops_free(t, n * channels, y);
    }
}

static void test_across(void **state) {
  (void)state;
  loops_each(across);
}
static void test_down(void **state) {
  (void)state;
  loops_each(down);
}
static void test_normalise(void **state) {
  (void)state;
  loops_each(normalise);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_across), cmocka_unit_test(test_down),
                                     cmocka_unit_test(test_normalise)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
