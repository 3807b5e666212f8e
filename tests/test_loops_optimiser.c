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

static void adagrad(const loops_table *t) {
  for (int s = 0; s < loops_size_count; s++) {
    const int64_t n = loops_sizes[s];
    mica_adagrad_update u = {.initial = 0.1, .eps = 1e-3, .weight_decay = 0.1, .grad_scale = 2};
    void *w = loops_random(t, n, -1, 1, 1), *first = loops_copy(t, n, w), *sum = loops_zeros(t, n);
    for (int step = 0; step < STEPS; step++) {
      void *g = loops_random(t, n, -1, 1, 10 + (uint64_t)step);
      u.rate = 0.1 / (1 + step);
      t->k->optimiser->adagrad(&u, n, g, w, sum);
      loops_free(t, n, g);
    }
    for (int64_t i = 0; i < n; i++) {
      double x = loops_get(t, first, i), a = 0;
      for (int step = 0; step < STEPS; step++) {
        const double g = 2 * (-1 + 2 * loops_uniform(10 + (uint64_t)step, (uint64_t)i)) + 0.1 * x;
        a += g * g;
        x -= 0.1 / (1 + step) * g / (sqrt(a + 0.1) + 1e-3);
      }
      loops_check(t, "adagrad", i, loops_get(t, w, i), x, 32, 0);
      loops_check(t, "sum of squares", i, loops_get(t, sum, i), a, 32, 0);
    }
    loops_free(t, n, w), loops_free(t, n, first), loops_free(t, n, sum);
  }
}

static void rmsprop(const loops_table *t) {
  for (int variant = 0; variant < 4; variant++)
    for (int s = 0; s < loops_size_count; s++) {
      const int64_t n = loops_sizes[s];
      const bool centred = variant & 1, momentum = variant & 2;
      const mica_rmsprop_update u = {.lr = 0.02,
                                     .alpha = 0.9,
                                     .eps = 0.1,
                                     .momentum = momentum ? 0.8 : 0,
                                     .weight_decay = 0.1,
                                     .grad_scale = 2};
      void *w = loops_random(t, n, -1, 1, 1), *first = loops_copy(t, n, w);
      void *v = loops_zeros(t, n), *m = loops_zeros(t, n), *b = loops_zeros(t, n);
      for (int step = 0; step < STEPS; step++) {
        void *g = loops_random(t, n, -1, 1, 10 + (uint64_t)step);
        t->k->optimiser->rmsprop(&u, n, g, w, v, centred ? m : NULL, momentum ? b : NULL);
        loops_free(t, n, g);
      }
      for (int64_t i = 0; i < n; i++) {
        double x = loops_get(t, first, i), square = 0, mean = 0, moved = 0;
        for (int step = 0; step < STEPS; step++) {
          const double g = 2 * (-1 + 2 * loops_uniform(10 + (uint64_t)step, (uint64_t)i)) + 0.1 * x;
          square = 0.9 * square + 0.1 * g * g;
          mean += 0.1 * (g - mean);
          const double d = g / (sqrt(centred ? square - mean * mean : square) + 0.1);
          moved = 0.8 * moved + d;
          x -= 0.02 * (momentum ? moved : d);
        }
        loops_check(t, "rmsprop", i, loops_get(t, w, i), x, 64, 0);
        loops_check(t, "mean square", i, loops_get(t, v, i), square, 32, 0);
        if (centred) loops_check(t, "mean", i, loops_get(t, m, i), mean, 32, 0);
        if (momentum) loops_check(t, "momentum", i, loops_get(t, b, i), moved, 256, 0);
      }
      loops_free(t, n, w), loops_free(t, n, first), loops_free(t, n, v), loops_free(t, n, m);
      loops_free(t, n, b);
    }
}

static void lamb(const loops_table *t) {
  for (int s = 0; s < loops_size_count; s++) {
    const int64_t n = loops_sizes[s];
    mica_lamb_update u = {.rate = 0.01,
                          .beta1 = 0.9,
                          .beta2 = 0.99,
                          .eps = 1e-3,
                          .weight_decay = 0.1,
                          .grad_scale = 2};
    void *w = loops_random(t, n, -1, 1, 1), *first = loops_copy(t, n, w);
    void *m = loops_zeros(t, n), *v = loops_zeros(t, n);
    double sums[STEPS][2];
    for (int step = 0; step < STEPS; step++) {
      void *g = loops_random(t, n, -1, 1, 10 + (uint64_t)step);
      u.correct1 = 1 / (1 - pow(0.9, step + 1)), u.correct2 = 1 / sqrt(1 - pow(0.99, step + 1));
      sums[step][0] = 1, sums[step][1] = 2; /* added to */
      t->k->optimiser->lamb_moments(&u, n, g, w, m, v, sums[step]);
      t->k->optimiser->lamb(&u, n, m, v, w);
      loops_free(t, n, g);
    }
    double want[STEPS][2];
    for (int step = 0; step < STEPS; step++) want[step][0] = 1, want[step][1] = 2;
    for (int64_t i = 0; i < n; i++) {
      double x = loops_get(t, first, i), a = 0, b = 0;
      for (int step = 0; step < STEPS; step++) {
        const double g = 2 * (-1 + 2 * loops_uniform(10 + (uint64_t)step, (uint64_t)i));
        a = 0.9 * a + 0.1 * g, b = 0.99 * b + 0.01 * g * g;
        const double r =
            a / (1 - pow(0.9, step + 1)) / (sqrt(b) / sqrt(1 - pow(0.99, step + 1)) + 1e-3) +
            0.1 * x;
        want[step][0] += x * x, want[step][1] += r * r;
        x -= 0.01 * r;
      }
      loops_check(t, "lamb", i, loops_get(t, w, i), x, 32, 0);
      loops_check(t, "first moment", i, loops_get(t, m, i), a, 16, 0);
      loops_check(t, "second moment", i, loops_get(t, v, i), b, 16, 0);
    }
    for (int step = 0; step < STEPS; step++)
      for (int k = 0; k < 2; k++)
        loops_check(t, "sum of squares", step, sums[step][k], want[step][k], 64, 0);
    loops_free(t, n, w), loops_free(t, n, first), loops_free(t, n, m), loops_free(t, n, v);
  }
}

static void lars(const loops_table *t) {
  for (int s = 0; s < loops_size_count; s++) {
    const int64_t n = loops_sizes[s];
    const mica_lars_update u = {.rate = 0.1, .momentum = 0.8, .weight_decay = 0.1, .grad_scale = 2};
    void *w = loops_random(t, n, -1, 1, 1), *first = loops_copy(t, n, w), *b = loops_zeros(t, n);
    double sum[2] = {1, 2}, want[2] = {1, 2};
    for (int step = 0; step < STEPS; step++) {
      void *g = loops_random(t, n, -1, 1, 10 + (uint64_t)step);
      if (!step) t->k->optimiser->squares(n, w, g, sum);
      t->k->optimiser->lars(&u, n, g, w, b);
      loops_free(t, n, g);
    }
    for (int64_t i = 0; i < n; i++) {
      double x = loops_get(t, first, i), moved = 0;
      for (int step = 0; step < STEPS; step++) {
        const double g = -1 + 2 * loops_uniform(10 + (uint64_t)step, (uint64_t)i);
        if (!step) want[0] += x * x, want[1] += g * g;
        moved = 0.8 * moved + 0.1 * (2 * g + 0.1 * x);
        x -= moved;
      }
      loops_check(t, "lars", i, loops_get(t, w, i), x, 64, 0);
    }
    for (int k = 0; k < 2; k++) loops_check(t, "sum of squares", k, sum[k], want[k], 32, 0);
    loops_free(t, n, w), loops_free(t, n, first), loops_free(t, n, b);
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
TEST(sums_of_squares, adagrad)
TEST(root_mean_squares, rmsprop)
TEST(layer_wise_adam, lamb)
TEST(layer_wise_rates, lars)
TEST(moving_average, average)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradient_descent), cmocka_unit_test(adaptive_moments),
      cmocka_unit_test(sums_of_squares),  cmocka_unit_test(root_mean_squares),
      cmocka_unit_test(layer_wise_adam),  cmocka_unit_test(layer_wise_rates),
      cmocka_unit_test(moving_average),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
