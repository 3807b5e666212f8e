/* Ten updates of each optimiser against its formula in double. */
#include "support/loops.h"

#include "tensor/kernel/optimiser.h"

#include <math.h>

enum { STEPS = 10 };

static void sgd(const loops_table *t) {
  for (int variant = 0; variant < 8; variant++)
    for (int s = 0; s < loops_size_count; s++) {
      const int64_t n = loops_sizes[s];
      mica_sgd_update u = {.lr = 0.1,
                           .momentum = variant & 1 ? 0.9 : 0,
                           .dampening = variant & 2 ? 0.25 : 0,
                           .weight_decay = variant & 2 ? 0.01 : 0,
                           .grad_scale = 0.5,
                           .nesterov = (variant & 4) != 0};
      void *w = loops_random(t, n, -1, 1, 1), *first = loops_copy(t, n, w), *b = loops_zeros(t, n);
      for (int64_t i = 0; i < n; i++) loops_set(t, b, i, NAN); /* not read at the first step */
      for (int step = 0; step < STEPS; step++) {
        void *g = loops_random(t, n, -1, 1, 10 + (uint64_t)step);
        u.first = step == 0;
        t->k->optimiser->sgd(&u, n, g, w, u.momentum != 0 ? b : NULL);
        loops_free(t, n, g);
      }
      for (int64_t i = 0; i < n; i++) {
        double x = loops_get(t, first, i), v = 0;
        for (int step = 0; step < STEPS; step++) {
          const double raw = -1 + 2 * loops_uniform(10 + (uint64_t)step, (uint64_t)i);
          const double g = 0.5 * raw + u.weight_decay * x;
          if (u.momentum != 0) {
            v = step == 0 ? g : u.momentum * v + (1 - u.dampening) * g;
            x -= u.lr * (u.nesterov ? g + u.momentum * v : v);
          } else {
            x -= u.lr * g;
          }
        }
        loops_check(t, "sgd", i, loops_get(t, w, i), x, 16, 0);
      }
      loops_free(t, n, w), loops_free(t, n, first), loops_free(t, n, b);
    }
}

static void adam(const loops_table *t) {
  for (int variant = 0; variant < 4; variant++)
    for (int s = 0; s < loops_size_count; s++) {
      const int64_t n = loops_sizes[s];
      const bool most = variant & 1;
      mica_adam_update u = {.lr = 0.01,
                            .beta1 = 0.9,
                            .beta2 = 0.99,
                            .eps = 1e-3,
                            .weight_decay = 0.1,
                            .grad_scale = 2,
                            .decoupled = (variant & 2) != 0};
      void *w = loops_random(t, n, -1, 1, 1), *first = loops_copy(t, n, w);
      void *m = loops_zeros(t, n), *v = loops_zeros(t, n), *top = loops_zeros(t, n);
      for (int step = 0; step < STEPS; step++) {
        void *g = loops_random(t, n, -1, 1, 10 + (uint64_t)step);
        u.step = step + 1;
        t->k->optimiser->adam(&u, n, g, w, m, v, most ? top : NULL);
        loops_free(t, n, g);
      }
      for (int64_t i = 0; i < n; i++) {
        double x = loops_get(t, first, i), a = 0, b = 0, c = 0;
        for (int step = 1; step <= STEPS; step++) {
          double g = 2 * (-1 + 2 * loops_uniform(9 + (uint64_t)step, (uint64_t)i));
          if (u.decoupled) {
            x *= 1 - u.lr * u.weight_decay;
          } else {
            g += u.weight_decay * x;
          }
          a = 0.9 * a + 0.1 * g, b = 0.99 * b + 0.01 * g * g, c = fmax(c, b);
          x -= u.lr / (1 - pow(0.9, step)) * a /
               (sqrt(most ? c : b) / sqrt(1 - pow(0.99, step)) + u.eps);
        }
        loops_check(t, "adam", i, loops_get(t, w, i), x, 32, 0);
        loops_check(t, "first moment", i, loops_get(t, m, i), a, 16, 0);
        loops_check(t, "second moment", i, loops_get(t, v, i), b, 16, 0);
        if (most) loops_check(t, "largest", i, loops_get(t, top, i), c, 16, 0);
      }
      loops_free(t, n, w), loops_free(t, n, first), loops_free(t, n, m), loops_free(t, n, v);
      loops_free(t, n, top);
    }
}

static void average(const loops_table *t) {
  for (int s = 0; s < loops_size_count; s++) {
    const int64_t n = loops_sizes[s];
    void *x = loops_random(t, n, -1, 1, 1), *a = loops_random(t, n, -1, 1, 2),
         *old = loops_copy(t, n, a);
    t->k->optimiser->average(n, 0.9, x, a);
    for (int64_t i = 0; i < n; i++)
      loops_check(t, "average", i, loops_get(t, a, i),
                  0.9 * loops_get(t, old, i) + 0.1 * loops_get(t, x, i), 4, 0);
    loops_free(t, n, x), loops_free(t, n, a), loops_free(t, n, old);
  }
}

#define TEST(name, check)                                                                          \
  static void name(void **state) {                                                                 \
    (void)state;                                                                                   \
    loops_each(check);                                                                             \
  }
TEST(gradient_descent, sgd)
TEST(adaptive_moments, adam)
TEST(moving_average, average)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradient_descent),
      cmocka_unit_test(adaptive_moments),
      cmocka_unit_test(moving_average),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
