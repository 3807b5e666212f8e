/* Gradients for each example against one backward for each example alone: networks, what is shared
 * between positions and between uses, composed weights, operations without a closed form, and
 * functions whose operations mix examples. */
#include "support/test.h"

#include <mica/model.h>
#include <mica/op.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

/* ---- both ways ---- */

typedef struct gathered {
  mica_params *params;
  double **grad; /* [parameter][examples * elements], NaN where nobody came */
  int64_t examples;
  int parts; /* visits of the first parameter that was visited */
  mica_param *first;
} gathered;

static int64_t index_of(const mica_params *p, const mica_param *q) {
  for (int64_t i = 0; i < mica_params_count(p); i++)
    if (mica_params_at(p, i) == q) return i;
  fail();
  return -1;
}

static gathered gathered_new(mica_params *p, int64_t examples) {
  gathered g = {p, calloc((size_t)mica_params_count(p), sizeof(double *)), examples, 0, NULL};
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const int64_t n = mica_tensor_count(mica_param_value(mica_params_at(p, i))) * examples;
    g.grad[i] = malloc((size_t)n * sizeof(double));
    for (int64_t k = 0; k < n; k++) g.grad[i][k] = NAN;
  }
  return g;
}

static void gathered_free(gathered *g) {
  for (int64_t i = 0; i < mica_params_count(g->params); i++) free(g->grad[i]);
  free(g->grad);
}

static mica_status gather(void *ctx, mica_param *q, int64_t first, int64_t n,
                          const mica_view *gradient) {
  gathered *g = ctx;
  double *to = g->grad[index_of(g->params, q)];
  const int64_t each = mica_tensor_count(mica_param_value(q));
  if (!g->first) g->first = q;
  g->parts += q == g->first;
  assert_true(gradient->shape.rank == 2 && gradient->shape.dim[0] == n &&
              gradient->shape.dim[1] == each);
  for (int64_t k = 0; k < n * each; k++) assert_true(isnan(to[first * each + k]));
  const mica_view view = mica_view_of(to + first * each, MICA_F64, gradient->shape);
  return mica_view_copy(&view, gradient);
}

/* One backward for each example. */
static void one_by_one(mica_tape *t, mica_fn fn, void *ctx, int n_in, const mica_var *in,
                       gathered *g) {
  mica_params *p = g->params;
  for (int64_t e = 0; e < g->examples; e++) {
    mica_var part[4], loss = MICA_NONE;
    for (int i = 0; i < n_in; i++) part[i] = mica_slice(t, in[i], 0, e, e + 1);
    mica_params_zero_grad(p);
    fn(t, ctx, n_in, part, 1, &loss);
    assert_int_equal(mica_backward(t, loss), MICA_OK);
    for (int64_t i = 0; i < mica_params_count(p); i++) {
      mica_param *q = mica_params_at(p, i);
      const int64_t each = mica_tensor_count(mica_param_value(q));
      const mica_view v = mica_param_grad(q);
      const mica_view to = mica_view_of(g->grad[i] + e * each, MICA_F64, v.shape);
      if (v.data) assert_int_equal(mica_view_copy(&to, &v), MICA_OK);
    }
  }
  mica_params_zero_grad(p);
}

/* `parts` is how many ranges of at most at_once examples must have come. */
static void check(mica_params *p, mica_tape *t, mica_fn fn, void *ctx, int n_in, const mica_var *in,
                  int64_t at_once, int parts, double bound) {
  const int64_t examples = mica_dim(t, in[0], 0);
  gathered want = gathered_new(p, examples), got = gathered_new(p, examples);
  one_by_one(t, fn, ctx, n_in, in, &want);
  if (mica_example_gradients(t, fn, ctx, n_in, in, at_once, gather, &got) != MICA_OK)
    fail_msg("%s", mica_last_error());
  assert_int_equal(got.parts, parts);
  double *norm = malloc((size_t)examples * sizeof *norm), *sum = calloc((size_t)examples, 8);
  int compared = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_param *q = mica_params_at(p, i);
    const int64_t each = mica_tensor_count(mica_param_value(q));
    assert_int_equal(mica_param_grad_kind(q), MICA_GRAD_NONE);
    double scale = 0;
    for (int64_t k = 0; k < each * examples; k++)
      if (fabs(want.grad[i][k]) > scale) scale = fabs(want.grad[i][k]);
    for (int64_t k = 0; k < each * examples; k++) {
      const double w = want.grad[i][k], x = got.grad[i][k];
      if (isnan(w) && (isnan(x) || x == 0)) continue;
      compared++;
      if (!(fabs(w - x) <= bound * (scale > 1e-3 ? scale : 1e-3)))
        fail_msg("%s: element %lld is %.9g, alone %.9g", mica_param_path(q), (long long)k, x, w);
      sum[k / each] += w * w;
    }
  }
  assert_true(compared > 0);
  assert_int_equal(mica_example_gradient_norms(t, fn, ctx, n_in, in, at_once, norm), MICA_OK);
  for (int64_t e = 0; e < examples; e++)
    assert_true(fabs(norm[e] - sqrt(sum[e])) <= 10 * bound * (1 + norm[e]));
  free(norm);
  free(sum);
  gathered_free(&want);
  gathered_free(&got);
}

/* ---- networks ---- */

static void net_loss(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out,
                     mica_var *out) {
  (void)n_in, (void)n_out;
  mica_outputs o;
  mica_net_forward(t, ctx, in[0], &o);
  mica_cross_entropy_options each = MICA_CROSS_ENTROPY_OPTIONS;
  each.per_example = true;
  out[0] = mica_cross_entropy(t, o.logits, in[1], MICA_NONE, &each);
}

static void check_net(const char *spec, bool training, int64_t at_once, int parts) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(8, 8, 3, 4);
  mica_net *net;
  mica_tape *t;
  assert_int_equal(mica_net_create(engine, spec, &problem, 5, &net), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_set_training(t, training);
  const mica_var in[2] = {mica_random_normal_like(t, MICA_SHAPE(5, 8, 8, 3), MICA_F32, 0, 1),
                          mica_constant(t, &(mica_view){(int64_t[]){3, 1, 0, 2, 1}, MICA_I64,
                                                        MICA_CPU, MICA_SHAPE(5), 5})};
  check(mica_net_params(net), t, net_loss, net, 2, in, at_once, parts, 2e-5);
  mica_tape_free(t);
  mica_net_free(net);
}

static void test_networks(void **state) {
  (void)state;
  check_net("mlp:hidden=9,7", false, 0, 1);
  check_net("convnet:widths=4,6", false, 2, 3);
  check_net("resnet:depth=8:width=4", false, 3, 2);
  check_net("resnet:depth=18:width=4", false, 0, 1);
  check_net("vit:patch=4:dim=8:depth=2:heads=2", true, 0, 1);
  check_net("vit:patch=4:dim=8:depth=1:heads=2:pool=avg", false, 4, 2);
}

/* Batch statistics mix examples: each is taken alone. */
static void test_batch_statistics(void **state) {
  (void)state;
  check_net("resnet:depth=8:width=4", true, 0, 5);
}

/* ---- what is shared ---- */

typedef struct shared {
  mica_node *node;
  int mean; /* 1: the loss is a mean, 2: examples meet in a matrix of products */
} shared;

static mica_params *make_shared(shared *s) {
  mica_params *p;
  const mica_init normal = {MICA_INIT_NORMAL, 0, 0.7, 0, false};
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  s->node = mica_params_root(p);
  static const struct {
    const char *name;
    mica_shape shape;
  } list[] = {{"table", {2, {6, 4}}},     {"position", {3, {1, 3, 4}}}, {"a", {2, {2, 4}}},
              {"b", {2, {4, 2}}},         {"w", {2, {4, 4}}},           {"gain", {1, {4}}},
              {"bias", {1, {4}}},         {"power", {1, {1}}},          {"start", {3, {1, 1, 4}}},
              {"kernel", {3, {4, 2, 4}}}, {"up", {3, {4, 2, 3}}},       {"unused", {1, {2}}}};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    assert_int_equal(mica_param_add(s->node, list[i].name, MICA_F64, list[i].shape,
                                    MICA_PARAM_TRAINABLE, &normal, NULL),
                     MICA_OK);
  return p;
}

/* A language model in small: a table tied to the output, positions, a start token, a composed
 * weight, every normalisation, convolutions over the sequence, and a learnable power. */
static void shared_loss(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out,
                        mica_var *out) {
  (void)n_in, (void)n_out;
  const shared *s = ctx;
  const int64_t n = mica_dim(t, in[0], 0);
  mica_var table = mica_weight(t, s->node, "table");
  mica_var h = mica_embedding(t, table, in[0]); /* [n,3,4] */
  h = mica_add(t, h, mica_weight(t, s->node, "position"));
  mica_var w = mica_add(t, mica_weight(t, s->node, "w"),
                        mica_matmul(t, mica_weight(t, s->node, "b"), mica_weight(t, s->node, "a")));
  h = mica_linear(t, h, w, mica_weight(t, s->node, "bias"), MICA_TANH);
  h = mica_layer_norm(t, h, mica_weight(t, s->node, "gain"), mica_weight(t, s->node, "bias"), 1e-5);
  mica_var start = mica_expand(t, mica_weight(t, s->node, "start"), MICA_SHAPE(n, 1, 4));
  h = mica_concat(t, 2, (mica_var[]){start, h}, 1); /* [n,4,4] */
  h = mica_conv1d(t, h, mica_weight(t, s->node, "kernel"), mica_weight(t, s->node, "bias"), NULL);
  h = mica_group_norm(t, h, mica_weight(t, s->node, "gain"), mica_weight(t, s->node, "bias"), 2,
                      1e-5);
  h = mica_rms_norm(t, h, mica_weight(t, s->node, "gain"), 1e-5);
  mica_var up = mica_conv_transpose1d(t, h, mica_weight(t, s->node, "up"), MICA_NONE, NULL);
  mica_var pooled = mica_gem_pool(t, mica_softplus(t, up),
                                  mica_square(t, mica_weight(t, s->node, "power")), 1e-3);
  mica_var heads = mica_reshape(t, h, MICA_SHAPE(n, 3, 2, 2));
  h = mica_reshape(t, mica_attention(t, heads, heads, heads, MICA_NONE, NULL, NULL),
                   MICA_SHAPE(n * 3, 4));
  mica_var logits = mica_matmul_t(t, h, false, table, true); /* [3n,6] */
  mica_var p = mica_log_softmax(t, mica_reshape(t, logits, MICA_SHAPE(n, 3, 6)), -1);
  mica_var loss = mica_sum(t, mica_square(t, p), 2, (int[]){1, 2}, false);
  loss = mica_add(t, loss, mica_sum(t, pooled, 1, (int[]){1}, false));
  loss = mica_add(t, loss, mica_max(t, mica_reshape(t, p, MICA_SHAPE(n, 18)), 1, false));
  if (s->mean == 2) {
    mica_var flat = mica_reshape(t, p, MICA_SHAPE(n, 18));
    loss = mica_add(t, loss,
                    mica_sum(t, mica_matmul_t(t, flat, false, flat, true), 1, (int[]){1}, false));
  }
  out[0] = s->mean == 1 ? mica_mean(t, loss, 0, NULL, false) : loss;
}

static void test_shared_weights(void **state) {
  (void)state;
  shared s = {0};
  mica_params *p = make_shared(&s);
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  int64_t ids[12] = {0, 5, 2, 2, 2, 1, 4, 3, 5, 1, 0, 1};
  const mica_view view = mica_view_of(ids, MICA_I64, MICA_SHAPE(4, 3));
  const mica_var in = mica_constant(t, &view);
  check(p, t, shared_loss, &s, 1, &in, 0, 1, 1e-11);
  check(p, t, shared_loss, &s, 1, &in, 3, 2, 1e-11);
  s.mean = 1; /* only one example's mean is its loss */
  check(p, t, shared_loss, &s, 1, &in, 0, 4, 1e-11);
  s.mean = 2;
  check(p, t, shared_loss, &s, 1, &in, 0, 4, 1e-11);
  /* A frozen parameter is not visited. */
  s.mean = 0;
  mica_params_flag(p, "w,a,table", 0, MICA_PARAM_TRAINABLE);
  check(p, t, shared_loss, &s, 1, &in, 0, 1, 1e-11);
  assert_true(mica_tape_memory_use(t).in_use < 1 << 20);
  mica_tape_free(t);
  mica_params_free(p);
}

/* Two bags of an example's three ids, or three of one: examples stay apart where bags are alike. */
static void bag_loss(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out,
                     mica_var *out) {
  (void)n_in, (void)n_out;
  const shared *s = ctx;
  const int64_t n = mica_dim(t, in[0], 0), bags = s->mean ? 2 : 1;
  int64_t offsets[9] = {0};
  for (int64_t e = 0; e < n; e++) {
    if (s->mean) offsets[2 * e + 1] = 3 * e + 1;
    offsets[bags * (e + 1)] = 3 * (e + 1);
  }
  const mica_view view = mica_view_of(offsets, MICA_I64, MICA_SHAPE(bags * n + 1));
  mica_var ids = mica_flatten(t, in[0], 0), weights = mica_flatten(t, in[1], 0);
  mica_var table = mica_weight(t, s->node, "table"), at = mica_constant(t, &view);
  mica_var y = mica_embedding_bag(t, table, ids, at, weights, MICA_BAG_SUM);
  y = mica_add(t, y,
               mica_embedding_bag(t, mica_square(t, table), ids, at, MICA_NONE, MICA_BAG_MAX));
  y = mica_mul(t, y, mica_segment_mean(t, mica_gather_rows(t, table, ids), at));
  out[0] = mica_sum(t, mica_reshape(t, y, MICA_SHAPE(n, bags * 4)), 1, (int[]){1}, false);
}

static void test_bags(void **state) {
  (void)state;
  shared s = {0};
  mica_params *p = make_shared(&s);
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  int64_t ids[12] = {0, 5, 2, 2, 2, 1, 4, 3, 5, 1, 0, 1};
  const mica_view view = mica_view_of(ids, MICA_I64, MICA_SHAPE(4, 3));
  const mica_var in[2] = {mica_constant(t, &view),
                          mica_random_normal_like(t, MICA_SHAPE(4, 3), MICA_F64, 0, 1)};
  check(p, t, bag_loss, &s, 2, in, 0, 1, 1e-11);
  check(p, t, bag_loss, &s, 2, in, 2, 2, 1e-11);
  s.mean = 1;
  check(p, t, bag_loss, &s, 2, in, 0, 4, 1e-11);
  mica_tape_free(t);
  mica_params_free(p);
}

/* ---- errors ---- */

static void no_loss(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out,
                    mica_var *out) {
  (void)ctx, (void)n_in, (void)n_out;
  out[0] = mica_relu(t, in[0]);
}

static mica_status refuse(void *ctx, mica_param *q, int64_t first, int64_t n, const mica_view *g) {
  (void)ctx, (void)q, (void)first, (void)n, (void)g;
  return mica_fail(MICA_ERR_CANCELLED, "enough");
}

static void test_errors(void **state) {
  (void)state;
  shared s = {0};
  mica_params *p = make_shared(&s);
  mica_tape *t;
  double norm[3];
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_var x = mica_full(t, MICA_F32, MICA_SHAPE(3, 2), 1),
           y = mica_full(t, MICA_F32, MICA_SHAPE(2), 1);
  assert_int_equal(mica_example_gradient_norms(t, no_loss, NULL, 1, &x, 0, norm), MICA_ERR_SHAPE);
  assert_non_null(strstr(mica_tape_error(t), "[3,2] of 3 examples, expected their losses"));
  mica_tape_reset(t);
  x = mica_full(t, MICA_F32, MICA_SHAPE(3, 2), 1);
  y = mica_full(t, MICA_F32, MICA_SHAPE(2), 1);
  assert_int_equal(mica_example_gradient_norms(t, no_loss, NULL, 2, (mica_var[]){x, y}, 0, norm),
                   MICA_ERR_SHAPE);
  assert_non_null(strstr(mica_tape_error(t), "input 1 has 2 examples, input 0 3"));
  mica_tape_reset(t);
  int64_t ids[3] = {0, 1, 2};
  const mica_view view = mica_view_of(ids, MICA_I64, MICA_SHAPE(1, 3));
  x = mica_constant(t, &view);
  assert_int_equal(mica_example_gradients(t, shared_loss, &s, 1, &x, 0, refuse, NULL),
                   MICA_ERR_CANCELLED);
  assert_non_null(strstr(mica_tape_error(t), "enough"));
  mica_tape_free(t);
  mica_params_free(p);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_networks),
                                     cmocka_unit_test(test_batch_statistics),
                                     cmocka_unit_test(test_shared_weights),
                                     cmocka_unit_test(test_bags), cmocka_unit_test(test_errors)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
