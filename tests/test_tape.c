/* The tape: gradients through scopes and shared inputs, released handles, memory, recomputation,
 * taps, random keys. The operations used here are written with the public op.h, as a plug-in's
 * would be. */
#include "support/test.h"

#include <mica/op.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

/* cmocka's own compares in float */
#define assert_close(a, b, bound) assert_true(fabs((a) - (b)) <= (bound))

/* ---- three operations in double ---- */

static void mul_backward(mica_call *c) {
  const double *gy = c->grad_out[0].data;
  for (int i = 0; i < 2; i++) {
    const double *other = c->in[1 - i].data;
    mica_view *g = mica_call_grad(c, i);
    for (int64_t k = 0; g && k < mica_view_count(g); k++) ((double *)g->data)[k] = gy[k] * other[k];
  }
}
static const mica_op mul_op = {sizeof(mica_op), "mul", 0, mul_backward};

static mica_var mul(mica_tape *t, mica_var a, mica_var b) {
  mica_call c;
  if (!mica_call_begin(&c, t, &mul_op, 2, (mica_var[]){a, b})) return MICA_NONE;
  if (!mica_shape_equal(&c.in[0].shape, &c.in[1].shape))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "shapes differ:");
  const mica_view *y = mica_call_output(&c, MICA_F64, c.in[0].shape);
  if (y)
    for (int64_t k = 0; k < mica_view_count(y); k++)
      ((double *)y->data)[k] =
          ((const double *)c.in[0].data)[k] * ((const double *)c.in[1].data)[k];
  mica_call_save_input(&c, 0);
  mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

static void sum_backward(mica_call *c) {
  mica_view *g = mica_call_grad(c, 0);
  for (int64_t k = 0; g && k < mica_view_count(g); k++)
    ((double *)g->data)[k] = *(const double *)c->grad_out[0].data;
}
static const mica_op sum_op = {sizeof(mica_op), "sum", 0, sum_backward};

static mica_var sum(mica_tape *t, mica_var x) {
  mica_call c;
  if (!mica_call_begin(&c, t, &sum_op, 1, &x)) return MICA_NONE;
  const mica_view *y = mica_call_output(&c, MICA_F64, MICA_SCALAR);
  if (y) {
    double s = 0;
    for (int64_t k = 0; k < mica_view_count(&c.in[0]); k++) s += ((const double *)c.in[0].data)[k];
    *(double *)y->data = s;
  }
  return mica_call_end(&c);
}

static void same_backward(mica_call *c) {
  mica_call_grad_pass(c, 0, 0);
}
static const mica_op same_op = {sizeof(mica_op), "same", MICA_OP_ROW_STRIDES, same_backward};

static mica_var same(mica_tape *t, mica_var x) {
  mica_call c;
  if (!mica_call_begin(&c, t, &same_op, 1, &x)) return MICA_NONE;
  mica_call_output_alias(&c, 0, 0, c.in[0].shape, c.in[0].row_stride);
  return mica_call_end(&c);
}

/* ---- helpers ---- */

static mica_tape *tape_new(void) {
  mica_tape *t = NULL;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  return t;
}

static mica_tensor *tensor(int64_t n, double first) {
  mica_tensor *x = NULL;
  assert_int_equal(mica_tensor_create(MICA_F64, MICA_SHAPE(n), &x), MICA_OK);
  for (int64_t i = 0; i < n; i++) mica_tensor_set(x, i, first + (double)i);
  return x;
}

static double at(mica_tape *t, mica_var v, int64_t i) {
  mica_view view = mica_read(t, v);
  assert_non_null(view.data);
  return ((const double *)view.data)[i];
}

/* ---- gradients ---- */

static void test_gradients_add_up(void **state) {
  (void)state;
  mica_tape *t = tape_new();
  mica_tensor *data = tensor(3, 2);
  mica_var x = mica_leaf(t, data);
  /* y = sum(x^3 + passes of x^2): every way of adding gradients at once */
  mica_var x2 = mul(t, x, x), x3 = mul(t, x2, same(t, x));
  mica_var y = mul(t, sum(t, x3), sum(t, same(t, same(t, x2))));
  double s3 = 8 + 27 + 64, s2 = 4 + 9 + 16;
  assert_close(mica_item(t, y), s3 * s2, 1e-9);
  assert_int_equal(mica_backward(t, y), MICA_OK);
  mica_var g = mica_gradient(t, x);
  for (int i = 0; i < 3; i++) {
    double v = 2 + i;
    assert_close(at(t, g, i), s2 * 3 * v * v + s3 * 2 * v, 1e-9);
  }
  /* the graph is used up */
  assert_int_equal(mica_backward(t, y), MICA_ERR_STATE);
  assert_non_null(strstr(mica_tape_error(t), "used up"));
  mica_tensor_free(data);
  mica_tape_free(t);
}

static void test_grad_leaves_stored_gradients(void **state) {
  (void)state;
  mica_tape *t = tape_new();
  mica_tensor *data = tensor(2, 3);
  mica_var x = mica_leaf(t, data), z = mica_leaf(t, data);
  mica_var h = mul(t, x, z), y = sum(t, mul(t, h, x));
  mica_var g[2];
  mica_var wrt[2] = {h, z};
  assert_int_equal(mica_grad(t, y, 2, wrt, g, true), MICA_OK);
  assert_close(at(t, g[0], 1), 4, 1e-12);
  assert_close(at(t, g[1], 1), 16, 1e-12);
  assert_true(mica_is_none(mica_gradient(t, x)));
  assert_int_equal(mica_grad(t, y, 1, &x, g, true), MICA_OK);
  assert_close(at(t, g[0], 0), 2 * 9, 1e-12);
  assert_int_equal(mica_backward(t, y), MICA_OK);
  assert_close(at(t, mica_gradient(t, x), 0), 18, 1e-12);
  assert_close(at(t, mica_gradient(t, z), 0), 9, 1e-12);
  mica_tensor_free(data);
  mica_tape_free(t);
}

/* A retained gradient of one backward does not flow into the next. */
static void test_retained_gradients_stay_apart(void **state) {
  (void)state;
  mica_tape *t = tape_new();
  mica_tensor *data = tensor(2, 3);
  mica_var x = mica_leaf(t, data), g;
  mica_var h = mica_retain_grad(t, mul(t, x, x)), y = sum(t, mul(t, h, x));
  for (int i = 0; i < 2; i++) {
    assert_int_equal(mica_grad(t, y, 1, &x, &g, true), MICA_OK);
    assert_close(at(t, g, 1), 3 * 16, 1e-12);
  }
  mica_var other = sum(t, mul(t, x, x));
  assert_int_equal(mica_backward(t, y), MICA_OK);
  assert_close(at(t, mica_gradient(t, h), 0), 3, 1e-12);
  /* Its graph is used up, but this one has no part in it; leaves add up. */
  assert_int_equal(mica_backward(t, other), MICA_OK);
  assert_close(at(t, mica_gradient(t, x), 0), 27 + 6, 1e-12);
  mica_tensor_free(data);
  mica_tape_free(t);
}

/* ---- errors ---- */

static void test_errors_latch(void **state) {
  (void)state;
  mica_tape *t = tape_new();
  mica_tensor *a = tensor(2, 1), *b = tensor(3, 1);
  mica_scope_begin(t, "layer2");
  mica_scope_begin(t, "0");
  mica_var y = mul(mica_tape_at(t, "file.c", 12), mica_input(t, a), mica_input(t, b));
  assert_true(mica_is_none(y));
  y = mul(t, y, y);
  y = mica_scope_end(t, mica_scope_end(t, y));
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  assert_string_equal(mica_tape_error(t), "mul: shapes differ: [2] [3], in layer2.0 (file.c:12)");
  assert_close(mica_item(t, y), 0, 0);
  assert_null(mica_read(t, y).data);
  assert_int_equal(mica_backward(t, y), MICA_ERR_SHAPE);
  mica_tape_reset(t);
  assert_true(mica_ok(t));
  mica_tensor_free(a);
  mica_tensor_free(b);
  mica_tape_free(t);
}

static void test_released_handles_are_errors(void **state) {
  (void)state;
  mica_tape *t = tape_new(), *u = tape_new();
  mica_tensor *a = tensor(2, 1);
  mica_scope_begin(t, "s");
  mica_var x = mica_input(t, a), inner = mul(t, x, x), kept = mica_keep(t, mul(t, x, x));
  mica_var y = mica_scope_end(t, mul(t, inner, x));
  assert_close(at(t, y, 1), 8, 0);
  assert_close(at(t, kept, 1), 4, 0);
  /* the slot of `inner` may be in use again: the stamp tells */
  mica_var other = mica_input(t, a);
  (void)other;
  assert_null(mica_read(t, inner).data);
  assert_int_equal(mica_tape_status(t), MICA_ERR_STATE);
  mica_tape_reset(t);
  assert_null(mica_read(t, y).data);
  assert_int_equal(mica_tape_status(t), MICA_ERR_STATE);
  assert_null(mica_read(u, y).data);
  assert_int_equal(mica_tape_status(u), MICA_ERR_STATE);
  mica_tensor_free(a);
  mica_tape_free(t);
  mica_tape_free(u);
}

/* ---- memory ---- */

static void *counting_realloc(void *ctx, void *block, size_t n) {
  ++*(int *)ctx;
  return realloc(block, n);
}
static void counting_free(void *ctx, void *block) {
  (void)ctx;
  free(block);
}

static mica_var chain(mica_tape *t, mica_var x, int n) {
  for (int i = 0; i < n; i++) {
    mica_scope_begin(t, "block");
    mica_var h = mul(t, x, x);
    x = mica_replace(t, x, mica_scope_end(t, mul(t, h, h)));
  }
  return x;
}

static void test_scopes_bound_memory(void **state) {
  (void)state;
  const int64_t n = 10000;
  const uint64_t one = 80000, slack = 8192;
  mica_tape *t = tape_new();
  mica_tensor *a = tensor(n, 0);
  for (int64_t i = 0; i < n; i++) mica_tensor_set(a, i, 1);
  mica_var y = chain(t, mica_input(t, a), 20);
  assert_close(at(t, y, 0), 1, 0);
  /* the input of a block, h and the result */
  assert_true(mica_tape_memory_use(t).peak < 3 * one + slack);
  mica_tape_reset(t);
  y = sum(t, chain(t, mica_leaf(t, a), 20));
  uint64_t before = mica_tape_memory_use(t).in_use;
  assert_int_equal(mica_backward(t, y), MICA_OK);
  /* two saved tensors a block go as their gradients come: three gradients at most are added */
  assert_true(mica_tape_memory_use(t).peak < before + 3 * one + slack);
  assert_true(mica_tape_memory_use(t).in_use < 2 * one + slack);
  mica_tensor_free(a);
  mica_tape_free(t);
}

static void test_steady_state_allocates_nothing(void **state) {
  (void)state;
  int count = 0;
  const mica_allocator counting = {&count, counting_realloc, counting_free};
  mica_set_allocator(&counting);
  mica_tape *t = tape_new();
  mica_tensor *a = tensor(5000, 0);
  for (int step = 0; step < 6; step++) {
    if (step == 3) count = 0;
    mica_tape_reset(t);
    mica_var x = mica_leaf(t, a), y = sum(t, chain(t, x, 4));
    mica_tape_draw(t, "noise");
    assert_int_equal(mica_backward(t, y), MICA_OK);
  }
  assert_int_equal(count, 0);
  mica_tensor_free(a);
  mica_tape_free(t);
  mica_set_allocator(NULL);
}

/* ---- recomputation and random keys ---- */

static void noisy(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out, mica_var *out) {
  (void)n_in;
  (void)n_out;
  ++*(int *)ctx;
  mica_scope_begin(t, "noise");
  double a = mica_random_uniform(mica_tape_draw(t, "a"), 0);
  double b = mica_random_uniform(mica_tape_draw(t, "a"), 0);
  assert_true(a != b);
  mica_var noise = mica_full(t, MICA_F64, MICA_SHAPE(3), a + 10 * b);
  out[0] = mica_scope_end(t, mul(t, mul(t, in[0], in[0]), noise));
}

static double run_noisy(bool recompute, double *gradient) {
  mica_tape *t = tape_new();
  mica_tensor *data = tensor(3, 1);
  mica_var x = mica_leaf(t, data), h = x;
  int calls = 0;
  for (int i = 0; i < 2; i++) {
    mica_var y[1];
    if (recompute) {
      mica_recompute(t, noisy, &calls, 1, &h, 1, y);
    } else {
      /* the same draws: below the key that recompute takes */
      noisy(t, &calls, 1, &h, 1, y);
    }
    h = y[0];
  }
  mica_var loss = sum(t, h);
  double value = mica_item(t, loss);
  assert_int_equal(mica_backward(t, loss), MICA_OK);
  assert_int_equal(calls, recompute ? 4 : 2);
  /* d/dx of c x^4 is 4 c x^3 for each element: gradient and value agree whatever the noise */
  mica_var g = mica_gradient(t, x);
  *gradient = 0;
  for (int i = 0; i < 3; i++) *gradient += at(t, g, i) * (1 + i) / 4;
  mica_tensor_free(data);
  mica_tape_free(t);
  return value;
}

static void test_recompute_replays(void **state) {
  (void)state;
  double g, again;
  double y = run_noisy(false, &g);
  assert_close(y, g, 1e-9 * fabs(y));
  y = run_noisy(true, &g);
  assert_close(y, g, 1e-9 * fabs(y));
  assert_close(y, run_noisy(true, &again), 0);
}

static void test_draws_depend_on_place_only(void **state) {
  (void)state;
  mica_tape *t = tape_new();
  mica_scope_begin(t, "a");
  mica_key a0 = mica_tape_draw(t, "dropout"), a1 = mica_tape_draw(t, "dropout");
  mica_scope_end(t, MICA_NONE);
  mica_tape_reset(t);
  mica_scope_begin(t, "other");
  mica_tape_draw(t, "dropout");
  mica_scope_end(t, MICA_NONE);
  mica_scope_begin(t, "a");
  mica_key b0 = mica_tape_draw(t, "dropout");
  mica_scope_end(t, MICA_NONE);
  assert_true(a0.word == b0.word && a0.word != a1.word);
  mica_tape_reset(t);
  mica_tape_set_step(t, 1, 0);
  mica_scope_begin(t, "a");
  assert_true(mica_tape_draw(t, "dropout").word != a0.word);
  mica_tape_free(t);
}

/* ---- taps and overrides ---- */

static mica_var double_it(mica_tape *t, void *ctx, const char *path, mica_var v) {
  strcpy(ctx, path);
  return mul(t, v, mica_full(t, MICA_F64, MICA_SHAPE(2), 2));
}

static void zero_backward(mica_call *c) {
  mica_view *g = mica_call_grad(c, 0);
  if (g) memset(g->data, 0, (size_t)mica_view_count(g) * 8);
}
static const mica_op zero_op = {sizeof(mica_op), "zero", 0, zero_backward};

static void test_taps_and_overrides(void **state) {
  (void)state;
  mica_tape *t = tape_new();
  mica_tensor *data = tensor(2, 1);
  char seen[64] = "";
  assert_int_equal(mica_tap(t, "net.layer[1-2]", double_it, seen), MICA_OK);
  assert_int_equal(mica_override_backward(t, "sum", &zero_op), MICA_OK);
  mica_var x = mica_leaf(t, data);
  mica_scope_begin(t, "net");
  mica_scope_begin(t, "layer1");
  mica_var y = mica_scope_end(t, mul(t, x, x));
  y = mica_scope_end(t, y);
  assert_string_equal(seen, "net.layer1");
  assert_close(at(t, y, 1), 8, 0);
  assert_int_equal(mica_backward(t, sum(t, y)), MICA_OK);
  assert_close(at(t, mica_gradient(t, x), 1), 0, 0);
  mica_taps_clear(t);
  mica_tape_reset(t);
  x = mica_leaf(t, data);
  assert_int_equal(mica_backward(t, sum(t, mul(t, x, x))), MICA_OK);
  assert_close(at(t, mica_gradient(t, x), 1), 4, 0);
  mica_tensor_free(data);
  mica_tape_free(t);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gradients_add_up),
      cmocka_unit_test(test_grad_leaves_stored_gradients),
      cmocka_unit_test(test_retained_gradients_stay_apart),
      cmocka_unit_test(test_errors_latch),
      cmocka_unit_test(test_released_handles_are_errors),
      cmocka_unit_test(test_scopes_bound_memory),
      cmocka_unit_test(test_steady_state_allocates_nothing),
      cmocka_unit_test(test_recompute_replays),
      cmocka_unit_test(test_draws_depend_on_place_only),
      cmocka_unit_test(test_taps_and_overrides),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
