/* What surrounds an operation on a tape: masks, another attention, taps, replaced backwards, and
 * operations that a program brings itself. */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static mica_engine *engine;

#define assert_close(a, b, bound) assert_true(fabs((a) - (b)) <= (bound))

static mica_tape *tape_new(void) {
  mica_tape *t = NULL;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  return t;
}

static mica_var numbers(mica_tape *t, mica_shape shape, uint64_t seed) {
  (void)seed;
  return mica_random_normal_like(t, shape, MICA_F64, 0, 1);
}

static void assert_same(mica_tape *t, mica_var a, mica_var b, double bound) {
  const mica_view x = mica_read(t, a), y = mica_read(t, b);
  assert_true(mica_ok(t) && mica_shape_equal(&x.shape, &y.shape));
  for (int64_t i = 0; i < mica_view_count(&x); i++)
    assert_close(((const double *)x.data)[i], ((const double *)y.data)[i], bound);
}

/* ---- mask ---- */

static void test_mask_leaves_keys_out(void **state) {
  (void)state;
  mica_tape *t = tape_new();
  mica_var q = numbers(t, MICA_SHAPE(1, 3, 2, 4), 1), k = numbers(t, MICA_SHAPE(1, 5, 2, 4), 2),
           v = numbers(t, MICA_SHAPE(1, 5, 2, 4), 3);
  const double keep[5] = {1, 1, 1, 0, 0};
  const mica_view view = mica_view_of((void *)(uintptr_t)keep, MICA_F64, MICA_SHAPE(1, 5));
  mica_scope_begin(t, "outer");
  assert_true(mica_is_none(mica_mask(t)));
  mica_scope_begin(t, "inner");
  mica_set_mask(t, mica_constant(t, &view));
  mica_var y = mica_masked_attention(t, q, k, v, MICA_NONE, NULL, NULL);
  y = mica_scope_end(t, y);
  /* The mask went with its scope. */
  assert_true(mica_is_none(mica_mask(t)));
  mica_var less = mica_attention(t, q, mica_slice(t, k, 1, 0, 3), mica_slice(t, v, 1, 0, 3),
                                 MICA_NONE, NULL, NULL);
  assert_same(t, y, less, 1e-14);
  mica_var all = mica_masked_attention(t, q, k, v, MICA_NONE, NULL, NULL);
  assert_same(t, all, mica_attention(t, q, k, v, MICA_NONE, NULL, NULL), 0);
  mica_set_mask(t, mica_constant(t, &view));
  mica_masked_attention(t, q, q, q, MICA_NONE, NULL, NULL);
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  assert_non_null(
      strstr(mica_tape_error(t), "the mask [1,5] does not fit the keys [1,3,2,4], in outer"));
  mica_tape_reset(t);
  assert_true(mica_is_none(mica_mask(t)));
  mica_tape_free(t);
}

/* ---- recomputation runs in the context of the first run ---- */

static void attend(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out,
                   mica_var *out) {
  (void)ctx, (void)n_in, (void)n_out;
  out[0] = mica_masked_attention(t, in[0], in[0], in[0], MICA_NONE, NULL, NULL);
}

static mica_var values_only(mica_tape *t, void *ctx, const char *path, mica_var q, mica_var k,
                            mica_var v, mica_var bias, const mica_attention_options *o,
                            mica_var *lse) {
  (void)q, (void)k, (void)bias, (void)o, (void)lse;
  snprintf(ctx, 64, "%s", path);
  /* Attention is itself in here: all queries equal gives means. */
  return mica_affine(t, mica_attention(t, mica_affine(t, v, 0, 1), v, v, MICA_NONE, NULL, NULL), 2,
                     0);
}

static void test_recompute_keeps_the_context(void **state) {
  (void)state;
  const double keep[4] = {1, 0, 1, 1};
  const mica_view view = mica_view_of((void *)(uintptr_t)keep, MICA_F64, MICA_SHAPE(1, 4));
  char path[64] = "";
  for (int other = 0; other < 2; other++) {
    mica_var loss, gradient[2];
    mica_tape *t = tape_new();
    mica_tensor *data;
    mica_var noise = numbers(t, MICA_SHAPE(1, 4, 1, 3), 4);
    assert_int_equal(mica_copy_out(t, noise, &data), MICA_OK);
    for (int again = 0; again < 2; again++) {
      mica_var x = mica_leaf(t, data), y = MICA_NONE;
      mica_scope_begin(t, "here");
      mica_set_mask(t, mica_constant(t, &view));
      if (other) mica_set_attention(t, values_only, path);
      if (again)
        mica_recompute(t, attend, NULL, 1, &x, 1, &y);
      else
        attend(t, NULL, 1, &x, 1, &y);
      y = mica_scope_end(t, y);
      loss = mica_sum(t, mica_square(t, y), 0, NULL, false);
      assert_int_equal(mica_backward(t, loss), MICA_OK);
      gradient[again] = mica_gradient(t, x);
    }
    assert_same(t, gradient[0], gradient[1], 1e-14);
    if (other) assert_string_equal(path, "here");
    mica_tensor_free(data);
    mica_tape_free(t);
  }
}

/* ---- another attention, in every layer of a network that knows nothing of it ---- */

static mica_var counted(mica_tape *t, void *ctx, const char *path, mica_var q, mica_var k,
                        mica_var v, mica_var bias, const mica_attention_options *o, mica_var *lse) {
  strncat(ctx, path, 40);
  strncat(ctx, " ", 2);
  mica_attention_options causal = o ? *o : (mica_attention_options)MICA_ATTENTION_OPTIONS;
  causal.causal = true;
  return mica_attention(t, q, k, v, bias, &causal, lse);
}

static void test_attention_override(void **state) {
  (void)state;
  const mica_problem problem = MICA_PROBLEM_IMAGES(8, 8, 1, 3);
  mica_net *net;
  assert_int_equal(mica_net_create(engine, "vit:patch=4:dim=8:depth=2:heads=2", &problem, 1, &net),
                   MICA_OK);
  mica_tape *t = tape_new();
  char seen[160] = "";
  mica_outputs plain, causal, again;
  mica_var x = mica_random_normal_like(t, MICA_SHAPE(2, 8, 8, 1), MICA_F32, 0, 1);
  mica_net_forward(t, net, x, &plain);
  mica_set_attention(t, counted, seen);
  mica_net_forward(t, net, x, &causal);
  assert_string_equal(seen, "blocks.0.attn blocks.1.attn ");
  mica_set_attention(t, NULL, NULL);
  mica_net_forward(t, net, x, &again);
  const mica_view a = mica_read(t, plain.tokens), b = mica_read(t, causal.tokens),
                  c = mica_read(t, again.tokens);
  assert_memory_equal(a.data, c.data, (size_t)mica_view_count(&a) * sizeof(float));
  assert_true(memcmp(a.data, b.data, (size_t)mica_view_count(&a) * sizeof(float)) != 0);
  mica_tape_free(t);
  mica_net_free(net);
}

/* ---- taps ---- */

typedef struct look {
  char paths[256];
  mica_var kept;
} look;

static mica_var look_on(mica_tape *t, void *ctx, const char *path, mica_var v) {
  look *l = ctx;
  strncat(l->paths, path, 60);
  strncat(l->paths, " ", 2);
  l->kept = mica_keep(t, mica_retain_grad(t, v));
  return v;
}

static mica_var zero_it(mica_tape *t, void *ctx, const char *path, mica_var v) {
  (void)ctx, (void)path;
  return mica_affine(t, v, 0, 0);
}

static void test_taps_on_a_network(void **state) {
  (void)state;
  const mica_problem problem = MICA_PROBLEM_IMAGES(8, 8, 3, 4);
  mica_net *net;
  assert_int_equal(mica_net_create(engine, "resnet:depth=8:width=4", &problem, 1, &net), MICA_OK);
  mica_tape *t = tape_new();
  look l = {"", MICA_NONE};
  mica_outputs plain, tapped;
  mica_var x = mica_random_normal_like(t, MICA_SHAPE(2, 8, 8, 3), MICA_F32, 0, 1);
  mica_net_forward(t, net, x, &plain);
  assert_int_equal(mica_tap(t, "layer[23]", look_on, &l), MICA_OK);
  mica_net_forward(t, net, x, &tapped);
  assert_string_equal(l.paths, "layer2 layer3 ");
  const mica_view a = mica_read(t, plain.logits), b = mica_read(t, tapped.logits);
  assert_memory_equal(a.data, b.data, (size_t)mica_view_count(&a) * sizeof(float));
  /* The gradient of what was tapped last, [2,2,2,16]: the head's row over the four positions. */
  mica_var one = mica_slice(t, tapped.logits, 1, 1, 2);
  assert_int_equal(mica_backward(t, mica_sum(t, one, 0, NULL, false)), MICA_OK);
  const mica_view g = mica_read(t, mica_gradient(t, l.kept));
  const float *w =
      mica_tensor_data(mica_param_value(mica_params_find(mica_net_params(net), "linear.weight")));
  assert_true(g.shape.rank == 4 && mica_view_count(&g) == 2 * 4 * 16);
  for (int i = 0; i < 2 * 4 * 16; i++)
    assert_close((double)((const float *)g.data)[i], (double)w[16 + i % 16] / 4, 1e-6);
  /* Put another tensor in place: without layer3 only the head's bias is left. */
  mica_taps_clear(t);
  mica_tape_reset(t);
  x = mica_random_normal_like(t, MICA_SHAPE(2, 8, 8, 3), MICA_F32, 0, 1);
  assert_int_equal(mica_tap(t, "layer3", zero_it, NULL), MICA_OK);
  mica_net_forward(t, net, x, &tapped);
  const mica_view y = mica_read(t, tapped.logits);
  const float *bias =
      mica_tensor_data(mica_param_value(mica_params_find(mica_net_params(net), "linear.bias")));
  for (int i = 0; i < 8; i++)
    assert_close((double)((const float *)y.data)[i], (double)bias[i % 4], 0);
  mica_tape_free(t);
  mica_net_free(net);
}

/* Guided backpropagation (Springenberg et al. 2015): negative gradients do not pass a ReLU. */
static void guided_backward(mica_call *c) {
  const double *gy = c->grad_out[0].data;
  const double *kept = c->in[0].data ? c->in[0].data : c->out[0].data;
  mica_view *gx = mica_call_grad(c, 0);
  for (int64_t i = 0; gx && i < mica_view_count(gx); i++)
    ((double *)gx->data)[i] = kept[i] > 0 && gy[i] > 0 ? gy[i] : 0;
}
static const mica_op guided = {sizeof(mica_op), "guided relu", 0, guided_backward};

static void test_guided_relu(void **state) {
  (void)state;
  mica_tape *t = tape_new();
  double data[4] = {1, -1, 2, 3}, weight[4] = {1, 1, -1, 2};
  const mica_view xv = mica_view_of(data, MICA_F64, MICA_SHAPE(4)),
                  wv = mica_view_of(weight, MICA_F64, MICA_SHAPE(4));
  mica_tensor *x;
  assert_int_equal(mica_tensor_from_view(&xv, MICA_F64, &x), MICA_OK);
  static const double want[2][4] = {{1, 0, 0, 2}, {1, 0, -1, 2}};
  for (int plain = 0; plain < 2; plain++) {
    assert_int_equal(mica_override_backward(t, "relu", plain ? NULL : &guided), MICA_OK);
    mica_var leaf = mica_leaf(t, x);
    mica_var y = mica_mul(t, mica_relu(t, leaf), mica_constant(t, &wv));
    assert_int_equal(mica_backward(t, mica_sum(t, y, 0, NULL, false)), MICA_OK);
    const mica_view g = mica_read(t, mica_gradient(t, leaf));
    for (int i = 0; i < 4; i++) assert_close(((const double *)g.data)[i], want[plain][i], 0);
  }
  mica_tensor_free(x);
  mica_tape_free(t);
}

/* ---- operations of one's own ---- */

typedef struct power {
  double p;
} power;

/* y0 = x^p, y1 = sum x + b (b may be absent) */
static void powers_forward(mica_call *c) {
  const double p = ((const power *)c->ctx)->p, *x = c->in[0].data, *b = c->in[1].data;
  if (c->in[0].dtype != MICA_F64) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected float64:");
    return;
  }
  const int64_t n = mica_view_count(&c->in[0]);
  const mica_view *y0 = mica_call_output(c, MICA_F64, c->in[0].shape);
  const mica_view *y1 = mica_call_output(c, MICA_F64, MICA_SCALAR);
  if (!y0 || !y1) return;
  double sum = b ? *b : 0;
  for (int64_t i = 0; i < n; i++) {
    ((double *)y0->data)[i] = pow(x[i], p);
    sum += x[i];
  }
  *(double *)y1->data = sum;
  mica_call_save_input(c, 0);
}

static void powers_backward(mica_call *c) {
  const double p = ((const power *)c->ctx)->p, *x = c->in[0].data;
  const double *g0 = c->grad_out[0].data, *g1 = c->grad_out[1].data;
  mica_view *gx = mica_call_grad(c, 0), *gb = mica_call_grad(c, 1);
  for (int64_t i = 0; gx && i < mica_view_count(gx); i++)
    ((double *)gx->data)[i] = (g0 ? g0[i] * p * pow(x[i], p - 1) : 0) + (g1 ? *g1 : 0);
  if (gb) *(double *)gb->data = g1 ? *g1 : 0;
}

static const mica_custom_op powers = {
    {sizeof(mica_op), "powers", 0, powers_backward}, powers_forward, 2};

static void test_custom(void **state) {
  (void)state;
  mica_tape *t = tape_new();
  mica_tensor *data, *bias;
  const double x[3] = {1, 2, 3}, b = 5;
  const mica_view xv = mica_view_of((void *)(uintptr_t)x, MICA_F64, MICA_SHAPE(3)),
                  bv = mica_view_of((void *)(uintptr_t)&b, MICA_F64, MICA_SCALAR);
  assert_int_equal(mica_tensor_from_view(&xv, MICA_F64, &data), MICA_OK);
  assert_int_equal(mica_tensor_from_view(&bv, MICA_F64, &bias), MICA_OK);
  for (int with = 0; with < 4; with++) { /* bit 0: the bias, bit 1: only the second result */
    mica_var leaf = mica_leaf(t, data), y[2];
    mica_var in[2] = {leaf, with & 1 ? mica_leaf(t, bias) : MICA_NONE};
    power p = {3};
    mica_custom(t, &powers, &p, sizeof p, 2, in, 2, y);
    p.p = 0; /* the context was copied */
    assert_close(mica_item(t, y[1]), with & 1 ? 11 : 6, 0);
    mica_var loss =
        with & 2 ? y[1]
                 : mica_add(t, mica_sum(t, y[0], 0, NULL, false), mica_affine(t, y[1], 10, 0));
    assert_int_equal(mica_backward(t, loss), MICA_OK);
    const mica_view g = mica_read(t, mica_gradient(t, leaf));
    for (int i = 0; i < 3; i++)
      assert_close(((const double *)g.data)[i], with & 2 ? 1 : 3 * x[i] * x[i] + 10, 1e-12);
    if (with & 1) assert_close(mica_item(t, mica_gradient(t, in[1])), with & 2 ? 1 : 10, 0);
  }
  mica_var y[3] = {MICA_NONE, MICA_NONE, MICA_NONE},
           wrong = mica_full(t, MICA_F32, MICA_SHAPE(2), 1);
  mica_custom(t, &powers, &(power){2}, sizeof(power), 2, (mica_var[]){wrong, MICA_NONE}, 2, y);
  assert_true(mica_is_none(y[0]));
  assert_non_null(strstr(mica_tape_error(t), "powers: expected float64: [2]"));
  mica_tape_reset(t);
  mica_var leaf = mica_leaf(t, data);
  mica_custom(t, &powers, &(power){2}, sizeof(power), 2, (mica_var[]){leaf, MICA_NONE}, 3, y);
  assert_non_null(strstr(mica_tape_error(t), "powers: 2 outputs made, 3 asked for"));
  mica_tape_reset(t);
  mica_custom(t, &powers, &(power){2}, sizeof(power), 2, (mica_var[]){MICA_NONE, MICA_NONE}, 2, y);
  assert_non_null(strstr(mica_tape_error(t), "powers: a required tensor is absent"));
  mica_tensor_free(data);
  mica_tensor_free(bias);
  mica_tape_free(t);
}

/* ---- errors in backward ---- */

static void failing_backward(mica_call *c) {
  mica_call_fail(c, MICA_ERR_NUMERIC, "no gradient today:");
}
static void same_forward(mica_call *c) {
  mica_call_output_alias(c, 0, 0, c->in[0].shape, c->in[0].row_stride);
}
static const mica_custom_op failing = {
    {sizeof(mica_op), "failing", 0, failing_backward}, same_forward, 0};

/* They name the module and the line where the operation was called, not where backward was. */
static void test_backward_errors_name_their_place(void **state) {
  (void)state;
  mica_tape *t = tape_new();
  mica_tensor *data;
  assert_int_equal(mica_tensor_create(MICA_F64, MICA_SHAPE(2), &data), MICA_OK);
  char want[128];
  mica_var x = mica_leaf(t, data), y;
  mica_scope_begin(t, "layer2");
  mica_scope_begin(t, "0");
  x = mica_square(t, x);
  snprintf(want, sizeof want, "failing: no gradient today: [2], in layer2.0 (%s:%d)", __FILE__,
           __LINE__ + 1);
  mica_custom(MICA_HERE(t), &failing, NULL, 0, 1, &x, 1, &y);
  y = mica_scope_end(t, mica_scope_end(t, y));
  y = mica_sum(t, y, 0, NULL, false);
  assert_int_equal(mica_backward(t, y), MICA_ERR_NUMERIC);
  assert_string_equal(mica_tape_error(t), want);
  mica_tensor_free(data);
  mica_tape_free(t);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_mask_leaves_keys_out),
      cmocka_unit_test(test_recompute_keeps_the_context),
      cmocka_unit_test(test_attention_override),
      cmocka_unit_test(test_taps_on_a_network),
      cmocka_unit_test(test_guided_relu),
      cmocka_unit_test(test_custom),
      cmocka_unit_test(test_backward_errors_name_their_place),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
