/* A linear layer whose relu comes with its product: values and gradients are those of the two
 * apart, to the bit, for products of every size; where somebody looks at what lies between they are
 * apart.
 */
#include "support/test.h"

#include <mica/mica.h>

#include <stdlib.h>
#include <string.h>

typedef struct sizes {
  int64_t rows, out, in;
} sizes;

static mica_tensor *random_of(mica_dtype dtype, mica_shape shape, uint64_t seed) {
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(dtype, shape, &x), MICA_OK);
  for (int64_t i = 0; i < mica_tensor_count(x); i++)
    mica_tensor_set(x, i, mica_random_normal(mica_key_seed(seed), (uint64_t)i));
  return x;
}

static mica_var seen(mica_tape *t, void *ctx, const char *path, mica_var v) {
  (void)t, (void)ctx, (void)path;
  return v;
}

enum { APART, TOGETHER, WATCHED };

/* The result, then the gradients of x, w and b, one after the other; *bytes of them. */
static char *run(const mica_engine *engine, mica_dtype dtype, sizes s, int how, size_t *bytes) {
  mica_tape *t;
  mica_tensor *of[4] = {
      random_of(dtype, MICA_SHAPE(s.rows, s.in), 1), random_of(dtype, MICA_SHAPE(s.out, s.in), 2),
      random_of(dtype, MICA_SHAPE(s.out), 3), random_of(dtype, MICA_SHAPE(s.rows, s.out), 4)};
  assert_int_equal(mica_tape_create((mica_engine *)engine, NULL, &t), MICA_OK);
  if (how == WATCHED) assert_int_equal(mica_tap(t, "nowhere", seen, NULL), MICA_OK);
  mica_var in[3], y, result[4];
  for (int i = 0; i < 3; i++) in[i] = mica_leaf(t, of[i]);
  if (how == APART)
    y = mica_relu(t, mica_linear(t, in[0], in[1], in[2], MICA_IDENTITY));
  else
    y = mica_linear(t, in[0], in[1], in[2], MICA_RELU);
  const mica_var loss = mica_sum(t, mica_mul(t, y, mica_input(t, of[3])), 0, NULL, false);
  if (mica_backward(t, loss) != MICA_OK) fail_msg("%s", mica_tape_error(t));
  result[0] = y;
  for (int i = 0; i < 3; i++) result[i + 1] = mica_gradient(t, in[i]);
  char *all = NULL;
  *bytes = 0;
  for (int i = 0; i < 4; i++) {
    const mica_view v = mica_read(t, result[i]);
    if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
    const size_t n = (size_t)mica_view_count(&v) * mica_dtype_size(dtype);
    all = realloc(all, *bytes + n);
    assert_non_null(all);
    memcpy(all + *bytes, v.data, n);
    *bytes += n;
  }
  mica_tape_free(t);
  for (int i = 0; i < 4; i++) mica_tensor_free(of[i]);
  return all;
}

static void test_as_if_apart(void **state) {
  (void)state;
  static const sizes all[] = {{1, 5, 7}, {3, 1, 1}, {13, 33, 17}, {70, 400, 65}, {300, 130, 210}};
  mica_engine *engine;
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  for (size_t k = 0; k < sizeof all / sizeof *all; k++)
    for (int d = 0; d < 2; d++)
      for (int how = TOGETHER; how <= WATCHED; how++) {
        size_t n, m;
        const mica_dtype dtype = d ? MICA_F64 : MICA_F32;
        char *want = run(engine, dtype, all[k], APART, &n);
        char *got = run(engine, dtype, all[k], how, &m);
        assert_int_equal(n, m);
        if (memcmp(want, got, n) != 0) fail_msg("case %zu differs", k);
        free(want);
        free(got);
      }
  mica_engine_free(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_if_apart)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
