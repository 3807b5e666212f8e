/* Values that only backward wants and that one pass makes again: they are given back, made anew,
 * and the gradients have the bits that they have when the values are held on to. */
#include "support/failing_alloc.h"

#include <mica/ops.h>

#include <math.h>
#include <string.h>

enum { ROWS = 260, WIDTH = 68 }; /* 70 KB in float32 */

typedef mica_var (*act_fn)(mica_tape *t, mica_var x, mica_var gain, mica_var bias);

static mica_var gelu(mica_tape *t, mica_var x, mica_var gain, mica_var bias) {
  (void)gain, (void)bias;
  return mica_gelu(t, x);
}
static mica_var leaky_relu(mica_tape *t, mica_var x, mica_var gain, mica_var bias) {
  (void)gain, (void)bias;
  return mica_leaky_relu(t, x, 0.3);
}
static mica_var layer_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias) {
  return mica_layer_norm(t, x, gain, bias, 1e-5);
}
static mica_var no_bias(mica_tape *t, mica_var x, mica_var gain, mica_var bias) {
  (void)bias;
  return mica_layer_norm(t, x, gain, MICA_NONE, 1e-5);
}
static mica_var rms_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias) {
  (void)bias;
  return mica_rms_norm(t, x, gain, 1e-5);
}
static mica_var batch_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias) {
  return mica_batch_norm_train(t, x, gain, bias, 1e-5, MICA_RELU, NULL, NULL);
}
static mica_var fixed_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias) {
  const mica_var mean = mica_full(t, mica_dtype_of(t, x), MICA_SHAPE(WIDTH), 0.1);
  const mica_var var = mica_full(t, mica_dtype_of(t, x), MICA_SHAPE(WIDTH), 0.9);
  return mica_batch_norm(t, x, gain, bias, mean, var, 1e-5, MICA_IDENTITY);
}
/* As long as a chain of residual blocks; the last is made from all before it. */
static mica_var blocks(mica_tape *t, mica_var x, mica_var gain, mica_var bias) {
  for (int i = 0; i < 3; i++) {
    const mica_var h = mica_mul(t, x, mica_silu(t, x));
    x = mica_batch_norm_add_train(t, h, gain, bias, x, 1e-5, MICA_RELU, NULL, NULL);
  }
  return x;
}
/* Made from a lost value, and lost itself. */
static mica_var chain(mica_tape *t, mica_var x, mica_var gain, mica_var bias) {
  return mica_silu(t, mica_layer_norm(t, x, gain, bias, 1e-5));
}
static mica_var strided(mica_tape *t, mica_var x, mica_var gain, mica_var bias) {
  x = mica_concat(t, 2, (mica_var[]){x, x}, 1);
  return mica_layer_norm(t, mica_slice(t, x, -1, 0, WIDTH), gain, bias, 1e-5);
}

static const struct {
  const char *name;
  act_fn fn;
  uint64_t kept; /* values of x's size that stay */
} cases[] = {{"gelu", gelu, 0},       {"leaky_relu", leaky_relu, 0}, {"layer_norm", layer_norm, 0},
             {"no_bias", no_bias, 0}, {"rms_norm", rms_norm, 0},     {"chain", chain, 0},
             {"blocks", blocks, 3},   {"batch_norm", batch_norm, 0}, {"fixed_norm", fixed_norm, 0},
             {"strided", strided, 2}};

typedef struct problem {
  mica_engine *engine;
  mica_dtype dtype;
  act_fn fn;
  bool hold, twice; /* hold on to the handles; two layers read the value */
  uint64_t in_use;  /* after forward */
  mica_tensor *gradient[4];
} problem;

/* x and two weights' gradients of sum((act(x) w1^T)^2) and the like. */
static mica_status run(void *ctx) {
  problem *p = ctx;
  mica_tape *t = NULL;
  mica_status status = mica_tape_create(p->engine, NULL, &t);
  if (status != MICA_OK) return status;
  const mica_shape shapes[4] = {MICA_SHAPE(ROWS, WIDTH), MICA_SHAPE(12, WIDTH), MICA_SHAPE(WIDTH),
                                MICA_SHAPE(WIDTH)};
  mica_tensor *leaf[4] = {NULL};
  mica_var v[4];
  for (int i = 0; i < 4 && status == MICA_OK; i++) {
    const mica_var values = mica_random_normal_like(t, shapes[i], p->dtype, 0, 1);
    status = mica_copy_out(t, values, &leaf[i]);
    if (mica_ok(t)) mica_release(t, values);
    if (status == MICA_OK) v[i] = mica_leaf(t, leaf[i]);
  }
  if (status == MICA_OK) {
    if (!p->hold) mica_scope_begin(t, NULL);
    const mica_var h = p->fn(t, v[0], v[2], v[3]);
    mica_var y = mica_linear(t, h, v[1], MICA_NONE, MICA_IDENTITY);
    if (p->twice) y = mica_add(t, y, mica_linear(t, h, v[1], MICA_NONE, MICA_IDENTITY));
    y = mica_sum(t, mica_square(t, y), 0, NULL, false);
    if (!p->hold) y = mica_scope_end(t, y);
    p->in_use = mica_tape_memory_use(t).in_use;
    status = mica_backward(t, y);
  }
  for (int i = 0; i < 4 && status == MICA_OK; i++) {
    const mica_var g = mica_gradient(t, v[i]);
    if (!mica_is_none(g)) status = mica_copy_out(t, g, &p->gradient[i]);
  }
  for (int i = 0; i < 4; i++) mica_tensor_free(leaf[i]);
  mica_tape_free(t);
  return status;
}

static void drop(problem *p) {
  for (int i = 0; i < 4; i++) mica_tensor_free(p->gradient[i]);
  memset(p->gradient, 0, sizeof p->gradient);
}

static void equal_bits(const problem *a, const problem *b) {
  for (int i = 0; i < 4; i++) {
    assert_int_equal(!a->gradient[i], !b->gradient[i]);
    if (!a->gradient[i]) continue;
    assert_memory_equal(mica_tensor_data(a->gradient[i]), mica_tensor_data(b->gradient[i]),
                        (size_t)mica_tensor_count(a->gradient[i]) *
                            mica_dtype_size(mica_tensor_dtype(a->gradient[i])));
  }
}

static void the_bits_are_those_of_values_that_were_held(void **state) {
  mica_engine *engine = *state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int form = 0; form < 4; form++) {
      problem held = {.engine = engine,
                      .dtype = form & 1 ? MICA_F64 : MICA_F32,
                      .fn = cases[i].fn,
                      .hold = true,
                      .twice = form & 2};
      problem lost = held;
      lost.hold = false;
      if (run(&held) != MICA_OK || run(&lost) != MICA_OK)
        fail_msg("%s: %s", cases[i].name, mica_last_error());
      assert_non_null(lost.gradient[0]);
      equal_bits(&held, &lost);
      const uint64_t one = ROWS * WIDTH * mica_dtype_size(held.dtype);
      if (lost.in_use >= cases[i].kept * one + one * 9 / 10 || held.in_use < lost.in_use + one)
        fail_msg("%s holds %llu bytes, and %llu where handles live on", cases[i].name,
                 (unsigned long long)lost.in_use, (unsigned long long)held.in_use);
      drop(&held);
      drop(&lost);
    }
}

static mica_status fresh(void *ctx) {
  (void)ctx;
  problem p = {.dtype = MICA_F32, .fn = chain};
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  o.libraries = 0;
  mica_status status = mica_engine_create(&o, &p.engine);
  if (status == MICA_OK) status = run(&p);
  drop(&p);
  mica_engine_free(p.engine);
  return status;
}

static void memory_may_be_short_when_they_are_made_again(void **state) {
  (void)state;
  assert_true(fail_each(fresh, NULL) > 0);
}

/* A graph that is kept gives the same gradient again, also from values that were made again. */
static void a_kept_graph_serves_twice(void **state) {
  mica_engine *engine = *state;
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(ROWS, WIDTH), &x), MICA_OK);
  float *at = mica_tensor_data(x);
  for (int i = 0; i < ROWS * WIDTH; i++) at[i] = (float)(i % 31) / 9 - 1.5f;
  const mica_var leaf = mica_leaf(t, x);
  mica_scope_begin(t, NULL);
  const mica_var h = mica_gelu(t, leaf);
  const mica_var y = mica_scope_end(t, mica_sum(t, mica_mul(t, h, h), 0, NULL, false));
  mica_var g[2];
  for (int i = 0; i < 2; i++)
    if (mica_grad(t, y, 1, &leaf, &g[i], i == 0) != MICA_OK) fail_msg("%s", mica_last_error());
  const mica_view a = mica_read(t, g[0]), b = mica_read(t, g[1]);
  assert_memory_equal(a.data, b.data, sizeof(float) * ROWS * WIDTH);
  assert_true(fabs((double)((const float *)a.data)[0]) > 0);
  mica_tape_free(t);
  mica_tensor_free(x);
}

/* Handles that outlive a value that nobody else holds on to. */
static void a_value_until_backward(void **state) {
  mica_engine *engine = *state;
  mica_tape *t;
  mica_tensor *x;
  enum { BYTES = ROWS * WIDTH * (int)sizeof(float) };
  static float bits[ROWS * WIDTH];
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(ROWS, WIDTH), &x), MICA_OK);
  float *at = mica_tensor_data(x);
  for (int i = 0; i < ROWS * WIDTH; i++) at[i] = (float)(i % 31) / 9 - 1.5f;
  const mica_var leaf = mica_leaf(t, x);
  const mica_var a = mica_gelu(t, leaf), b = mica_silu(t, a), product = mica_mul(t, b, leaf);
  const mica_var y = mica_sum(t, mica_square(t, product), 0, NULL, false);
  memcpy(bits, mica_read(t, a).data, BYTES);
  const uint64_t before = mica_tape_memory_use(t).in_use;
  mica_until_backward(t, a);
  mica_until_backward(t, b);
  mica_until_backward(t, b);
  mica_until_backward(t, product);
  mica_until_backward(t, leaf);
  assert_true(before - mica_tape_memory_use(t).in_use > 2 * BYTES * 9 / 10);
  /* Read again, also by an operation; who reads it holds it. */
  assert_memory_equal(mica_read(t, a).data, bits, BYTES);
  const mica_var sum = mica_add(t, product, a);
  assert_int_equal(mica_backward(t, y), MICA_OK);
  assert_memory_equal(mica_read(t, a).data, bits, BYTES);
  assert_non_null(mica_read(t, sum).data);
  assert_non_null(mica_read(t, product).data); /* read by the sum */
  assert_null(mica_read(t, b).data);
  assert_int_equal(mica_tape_status(t), MICA_ERR_STATE);
  assert_non_null(strstr(mica_tape_error(t), "given back in backward"));
  mica_tape_free(t);
  mica_tensor_free(x);
}

/* What one loss does not need of a value is there for another. */
static void a_value_that_only_the_second_loss_needs(void **state) {
  mica_engine *engine = *state;
  mica_tape *t;
  mica_tensor *x, *w;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(ROWS, WIDTH), &x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(5, WIDTH), &w), MICA_OK);
  for (int i = 0; i < ROWS * WIDTH; i++) ((float *)mica_tensor_data(x))[i] = (float)(i % 7);
  for (int i = 0; i < 5 * WIDTH; i++) ((float *)mica_tensor_data(w))[i] = 1;
  const mica_var leaf = mica_leaf(t, x), weight = mica_leaf(t, w);
  mica_var loss[2];
  mica_scope_begin(t, NULL);
  const mica_var h = mica_gelu(t, leaf);
  loss[0] = mica_sum(t, h, 0, NULL, false);
  loss[1] = mica_sum(t, mica_linear(t, h, weight, MICA_NONE, MICA_IDENTITY), 0, NULL, false);
  mica_scope_end_n(t, 2, loss);
  mica_var gradient;
  if (mica_backward(t, loss[0]) != MICA_OK ||
      mica_grad(t, loss[1], 1, &weight, &gradient, false) != MICA_OK)
    fail_msg("%s", mica_last_error());
  const mica_view g = mica_read(t, gradient);
  assert_true(((const float *)g.data)[0] > 1);
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_tensor_free(w);
}

static int setup(void **state) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 2;
  return mica_engine_create(&o, (mica_engine **)state);
}
static int teardown(void **state) {
  mica_engine_free(*state);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_bits_are_those_of_values_that_were_held),
      cmocka_unit_test(memory_may_be_short_when_they_are_made_again),
      cmocka_unit_test(a_kept_graph_serves_twice),
      cmocka_unit_test(a_value_until_backward),
      cmocka_unit_test(a_value_that_only_the_second_loss_needs),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
