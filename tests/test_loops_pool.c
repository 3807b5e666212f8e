/* Pooling and resizing of images against loops over every tap, and their gradients
 * against the same weights read the other way.
 */
#include "support/loops.h"

#include "tensor/kernel/pool.h"
#include "tensor/kernel/resize.h"

#include <math.h>
#include <stdlib.h>

enum { IMAGES = 2 };

/* clang-format off */
static const mica_pool_geometry geometries[] = {
    /* channels, size, out, kernel, stride, dilation, before, after, count_padding, adaptive */
    {3, {1, 4, 6}, {1, 2, 3}, {1, 2, 2}, {1, 2, 2}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, false, false},
    {65, {1, 5, 7}, {1, 3, 4}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}, false, false},
    {2, {1, 5, 7}, {1, 3, 4}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}, true, false},
    {4, {1, 7, 7}, {1, 3, 3}, {1, 2, 3}, {1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {0, 0, 1}, false, false},
    /* ceil mode looks past the end */
    {1, {1, 6, 6}, {1, 3, 3}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, true, false},
    {7, {1, 1, 1}, {1, 1, 1}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}, true, false},
    {3, {1, 7, 5}, {1, 3, 2}, {0}, {0}, {0}, {0}, {0}, false, true},
    {130, {1, 3, 3}, {1, 5, 1}, {0}, {0}, {0}, {0}, {0}, false, true},
    {3, {5, 4, 6}, {2, 2, 3}, {2, 2, 2}, {2, 2, 2}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, false, false},
    {66, {4, 5, 3}, {3, 2, 4}, {3, 2, 2}, {2, 3, 1}, {1, 2, 1}, {1, 0, 1}, {1, 0, 0}, true, false},
    {2, {6, 3, 7}, {4, 5, 3}, {0}, {0}, {0}, {0}, {0}, false, true},
};
/* clang-format on */

/* Whether input position i belongs to window o of an axis, and how many positions a mean divides
 * by. */
static bool inside(const mica_pool_geometry *g, int axis, int64_t o, int64_t i) {
  const int64_t size = g->size[axis], out = g->out[axis];
  if (g->adaptive)
    return i >= o * size / out && (double)i < ceil((double)((o + 1) * size) / (double)out);
  for (int64_t k = 0; k < g->kernel[axis]; k++)
    if (o * g->stride[axis] - g->before[axis] + k * g->dilation[axis] == i) return true;
  return false;
}

static int64_t divided_by(const mica_pool_geometry *g, int axis, int64_t o) {
  int64_t n = 0;
  const bool padding = g->count_padding && !g->adaptive;
  for (int64_t i = padding ? -g->before[axis] : 0;
       i < g->size[axis] + (padding ? g->after[axis] : 0); i++)
    n += inside(g, axis, o, i);
  return n;
}

static void pooled(const loops_table *t, const mica_pool_geometry *g) {
  const int64_t C = g->channels, in = g->size[0] * g->size[1] * g->size[2] * C,
                out = g->out[0] * g->out[1] * g->out[2] * C;
  void *x = loops_random(t, IMAGES * in, -1, 1, 1), *gy = loops_random(t, IMAGES * out, -1, 1, 2);
  void *top = loops_zeros(t, IMAGES * out), *mean = loops_zeros(t, IMAGES * out);
  void *gtop = loops_random(t, IMAGES * in, 5, 6, 3),
       *gmean = loops_random(t, IMAGES * in, 5, 6, 4);
  int32_t *arg = calloc((size_t)(IMAGES * out), sizeof *arg);
  const int64_t rows = IMAGES * g->out[0] * g->out[1];
  for (int64_t r = 0; r < rows; r++) { /* one row at a time, as many threads might */
    t->k->pool->max_pool(g, r, r + 1, x, top, arg);
    t->k->pool->avg_pool(g, r, r + 1, x, mean);
  }
  t->k->pool->max_pool_grad(g, 0, 1, arg, gy, gtop);
  t->k->pool->max_pool_grad(g, 1, IMAGES, arg, gy, gtop);
  t->k->pool->avg_pool_grad(g, 0, IMAGES, gy, gmean);
  double *want_top = calloc((size_t)(IMAGES * in), 8),
         *want_mean = calloc((size_t)(IMAGES * in), 8);
  for (int64_t i = 0; i < IMAGES * out; i++) {
    const int64_t c = i % C, ox = i / C % g->out[2], line = i / C / g->out[2];
    const int64_t oy = line % g->out[1], oz = line / g->out[1] % g->out[0];
    const int64_t base = i / out * in;
    double best = -INFINITY, sum = 0;
    int64_t at = -1;
    const double n = (double)(divided_by(g, 0, oz) * divided_by(g, 1, oy) * divided_by(g, 2, ox));
    for (int64_t place = 0; place < in / C; place++) {
      const int64_t ix = place % g->size[2], iy = place / g->size[2] % g->size[1],
                    iz = place / g->size[2] / g->size[1];
      if (!inside(g, 0, oz, iz) || !inside(g, 1, oy, iy) || !inside(g, 2, ox, ix)) continue;
      const int64_t from = base + place * C + c;
      const double v = loops_get(t, x, from);
      sum += v;
      want_mean[from] += loops_get(t, gy, i) / n;
      if (v > best) best = v, at = place;
    }
    assert_true(loops_get(t, top, i) == best);
    assert_int_equal(arg[i], at);
    loops_check(t, "average pool", i, loops_get(t, mean, i), sum / n, 8, 0);
    want_top[base + at * C + c] += loops_get(t, gy, i);
  }
  for (int64_t i = 0; i < IMAGES * in; i++) {
    loops_check(t, "max pool gradient", i, loops_get(t, gtop, i), want_top[i], 8, 0);
    loops_check(t, "average pool gradient", i, loops_get(t, gmean, i), want_mean[i], 8, 0);
  }
  loops_free(t, IMAGES * in, x), loops_free(t, IMAGES * out, gy), loops_free(t, IMAGES * out, top);
  loops_free(t, IMAGES * out, mean), loops_free(t, IMAGES * in, gtop),
      loops_free(t, IMAGES * in, gmean);
  free(arg), free(want_top), free(want_mean);
}

static void pool(const loops_table *t) {
  for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++) pooled(t, &geometries[i]);
}

static void not_a_number(const loops_table *t) {
  const mica_pool_geometry g = {.channels = 1,
                                .size = {1, 2, 2},
                                .out = {1, 1, 1},
                                .kernel = {1, 2, 2},
                                .stride = {1, 2, 2},
                                .dilation = {1, 1, 1}};
  void *x = loops_zeros(t, 4), *y = loops_zeros(t, 1);
  const double v[] = {5, NAN, 7, NAN}, minus[] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  int32_t arg = -1;
  for (int i = 0; i < 4; i++) loops_set(t, x, i, v[i]);
  t->k->pool->max_pool(&g, 0, 1, x, y, &arg);
  assert_true(isnan(loops_get(t, y, 0)) && arg == 1);
  for (int i = 0; i < 4; i++) loops_set(t, x, i, minus[i]);
  t->k->pool->max_pool(&g, 0, 1, x, y, &arg);
  assert_true(loops_get(t, y, 0) == -INFINITY && arg == 0);
  loops_free(t, 4, x), loops_free(t, 1, y);
}

/* How much input i counts in output o along an axis. */
static double weight(bool bilinear, bool corners, int64_t size, int64_t out, int64_t o, int64_t i) {
  if (!bilinear) return (int64_t)floor((double)(o * size) / (double)out) == i;
  double at = corners ? (out > 1 ? (double)(o * (size - 1)) / (double)(out - 1) : 0)
                      : ((double)o + 0.5) * (double)size / (double)out - 0.5;
  at = fmin(fmax(at, 0), (double)(size - 1));
  return fmax(0, 1 - fabs(at - (double)i));
}

static void resize(const loops_table *t) {
  static const int64_t sizes[][5] = {
      {1, 1, 3, 4, 5}, {4, 6, 2, 4, 6}, {3, 5, 65, 7, 4}, {8, 6, 1, 3, 1}, {5, 4, 3, 10, 8}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (int kind = 0; kind < 3; kind++) {
      const mica_resize_geometry g = {sizes[s][0], sizes[s][1], sizes[s][2], sizes[s][3],
                                      sizes[s][4], kind > 0,    kind == 2};
      const int64_t C = g.channels, in = g.height * g.width * C,
                    out = g.out_height * g.out_width * C;
      void *x = loops_random(t, IMAGES * in, -1, 1, 1), *y = loops_zeros(t, IMAGES * out);
      void *gy = loops_random(t, IMAGES * out, -1, 1, 2),
           *gx = loops_random(t, IMAGES * in, 5, 6, 3);
      double *want = calloc((size_t)(IMAGES * in), 8);
      for (int64_t r = 0; r < IMAGES * g.out_height; r++) t->k->resize->resize(&g, r, r + 1, x, y);
      t->k->resize->resize_grad(&g, 0, IMAGES, gy, gx);
      for (int64_t i = 0; i < IMAGES * out; i++) {
        const int64_t c = i % C, ox = i / C % g.out_width, oy = i / C / g.out_width % g.out_height;
        double sum = 0;
        for (int64_t iy = 0; iy < g.height; iy++)
          for (int64_t ix = 0; ix < g.width; ix++) {
            const double w = weight(g.bilinear, g.align_corners, g.height, g.out_height, oy, iy) *
                             weight(g.bilinear, g.align_corners, g.width, g.out_width, ox, ix);
            const int64_t from = i / out * in + (iy * g.width + ix) * C + c;
            sum += w * loops_get(t, x, from);
            want[from] += w * loops_get(t, gy, i);
          }
        loops_check(t, "resize", i, loops_get(t, y, i), sum, 8, 0);
      }
      for (int64_t i = 0; i < IMAGES * in; i++)
        loops_check(t, "resize gradient", i, loops_get(t, gx, i), want[i], 32, 0);
      loops_free(t, IMAGES * in, x), loops_free(t, IMAGES * out, y),
          loops_free(t, IMAGES * out, gy);
      loops_free(t, IMAGES * in, gx);
      free(want);
    }
}

#define TEST(name, check)                                                                          \
  static void name(void **state) {                                                                 \
    (void)state;                                                                                   \
    loops_each(check);                                                                             \
  }
TEST(pooling_and_its_gradient, pool)
TEST(a_nan_is_the_maximum, not_a_number)
TEST(resizing_and_its_gradient, resize)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pooling_and_its_gradient),
      cmocka_unit_test(a_nan_is_the_maximum),
      cmocka_unit_test(resizing_and_its_gradient),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
