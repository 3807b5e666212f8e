/* Every allocation fails in turn while a network takes training steps, and while the rest of the
 * tape's tools run: a clean MICA_ERR_MEMORY, nothing leaks. */
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <stdint.h>
#include <string.h>

/* Own kernels only: where memory is short for a library's primitive they take its place, and then a
 * failed allocation rightly goes without an error. */
static mica_status engine_of_one(mica_engine **out) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  o.libraries = 0;
  return mica_engine_create(&o, out);
}

static mica_var batch(mica_tape *t) {
  return mica_random_normal_like(t, MICA_SHAPE(4, 8, 8, 3), MICA_F32, 0, 1);
}

static mica_var labels(mica_tape *t, int64_t n) {
  static const int64_t all[4] = {2, 0, 1, 1};
  const mica_view v = mica_view_of((void *)(uintptr_t)all, MICA_I64, MICA_SHAPE(n));
  return mica_constant(t, &v);
}

static mica_status step(mica_tape *t, mica_net *net, mica_optimiser *opt, mica_params *average) {
  mica_outputs out;
  mica_tape_reset(t);
  mica_params_zero_grad(mica_net_params(net));
  mica_net_forward(t, net, batch(t), &out);
  mica_var loss = mica_cross_entropy(t, out.logits, labels(t, 4), MICA_NONE, NULL);
  mica_status status = mica_backward(t, loss);
  if (status == MICA_OK) status = mica_optimiser_step(opt, t, 1);
  if (status == MICA_OK) status = mica_commit(t);
  return status == MICA_OK ? mica_average_update(average, mica_net_params(net), 0.9, t) : status;
}

static mica_status train(void *ctx) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(8, 8, 3, 3);
  mica_engine *engine;
  mica_net *net = NULL;
  mica_tape *t = NULL;
  mica_optimiser *opt = NULL;
  mica_params *average = NULL;
  mica_status status = engine_of_one(&engine);
  if (status != MICA_OK) return status;
  status = mica_net_create(engine, ctx, &problem, 1, &net);
  if (status == MICA_OK) status = mica_params_clone(mica_net_params(net), &average);
  if (status == MICA_OK)
    status = mica_optimiser_create(mica_net_params(net), "adamw:lr=1e-3:amsgrad", &opt);
  if (status == MICA_OK) status = mica_optimiser_group(opt, "*.bias", 2, 0);
  if (status == MICA_OK) mica_optimiser_clip(opt, 1);
  if (status == MICA_OK) status = mica_tape_create(engine, NULL, &t);
  if (status == MICA_OK) mica_set_training(t, true);
  for (int i = 0; i < 2 && status == MICA_OK; i++) status = step(t, net, opt, average);
  mica_tape_free(t);
  mica_optimiser_free(opt);
  mica_params_free(average);
  mica_net_free(net);
  mica_engine_free(engine);
  return status;
}

/* ---- the rest of the tape's tools ---- */

static void block(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out, mica_var *out) {
  (void)n_in, (void)n_out;
  const int64_t n = mica_dim(t, in[0], 0);
  mica_var h = mica_embedding(t, mica_weight(t, ctx, "table"), in[0]); /* [n,2,4] */
  h = mica_reshape(t, mica_dropout(t, h, 0.1), MICA_SHAPE(n, 2, 1, 4));
  h = mica_masked_attention(t, h, h, h, MICA_NONE, NULL, NULL);
  out[0] = mica_sum(t, mica_square(t, mica_reshape(t, h, MICA_SHAPE(n, 8))), 1, (int[]){1}, false);
}

static mica_var causal(mica_tape *t, void *ctx, const char *path, mica_var q, mica_var k,
                       mica_var v, mica_var bias, const mica_attention_options *o, mica_var *lse) {
  (void)ctx, (void)path, (void)o;
  const double slopes[1] = {0.5};
  mica_attention_options own = MICA_ATTENTION_OPTIONS;
  own.scale = 0.5;
  own.causal = true;
  own.slopes = slopes; /* they and the sharpening keep buffers for the backward */
  own.power = 2;
  return mica_attention(t, q, k, v, bias, &own, lse);
}

static mica_var look(mica_tape *t, void *ctx, const char *path, mica_var v) {
  (void)ctx, (void)path;
  return mica_retain_grad(t, v);
}

static mica_status tools(mica_tape *t, mica_params *p, mica_optimiser *opt) {
  static const int64_t ids[4] = {1, 2, 2, 0};
  static const float keep[4] = {1, 1, 0, 1};
  const mica_view iv = mica_view_of((void *)(uintptr_t)ids, MICA_I64, MICA_SHAPE(2, 2)),
                  kv = mica_view_of((void *)(uintptr_t)keep, MICA_F32, MICA_SHAPE(2, 2));
  mica_node *root = mica_params_root(p);
  double norm[2];
  mica_var x = mica_constant(t, &iv), y = MICA_NONE;
  mica_params_zero_grad(p);
  mica_set_training(t, true);
  mica_status status = mica_tap(t, "outer", look, NULL);
  if (status == MICA_OK) status = mica_example_gradient_norms(t, block, root, 1, &x, 0, norm);
  mica_scope_begin(t, "outer");
  mica_set_mask(t, mica_constant(t, &kv));
  mica_set_attention(t, causal, NULL);
  mica_recompute(t, block, root, 1, &x, 1, &y);
  y = mica_scope_end(t, y);
  mica_var loss = mica_sum(t, y, 0, NULL, false), w = mica_weight(t, root, "table"), g;
  mica_var picture = mica_reshape(t, w, MICA_SHAPE(1, 3, 2, 2));
  mica_var volume = mica_reshape(t, w, MICA_SHAPE(1, 3, 2, 1, 2));
  mica_var grid = mica_affine_grid(t, mica_full(t, MICA_F32, MICA_SHAPE(1, 2, 3), 0.5),
                                   (const int64_t[]){2, 2}, false);
  const mica_var each[] = {
      mica_resize(t, picture, 2, 5, MICA_SMOOTH_BICUBIC, false),
      mica_grid_sample(t, picture, grid, NULL),
      mica_unfold(t, picture, NULL),
      mica_conv2d(t, picture, mica_full(t, MICA_F32, MICA_SHAPE(2, 1, 1, 1), 2), MICA_NONE,
                  &(mica_conv_options){sizeof(mica_conv_options), {1, 1}, {1, 1}, {0}, 2, {0}}),
      mica_conv3d(t, volume, mica_full(t, MICA_F32, MICA_SHAPE(3, 2, 2, 1, 2), 1), MICA_NONE, NULL),
      mica_max_pool3d(t,
                      mica_pad_edges(t, volume, MICA_PAD_REPLICATE, (const int64_t[]){1, 1, 1},
                                     (const int64_t[]){1, 1, 1}),
                      NULL)};
  mica_var other = MICA_NONE;
  for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
    const mica_var part = mica_sum(t, each[i], 0, NULL, false);
    other = i ? mica_add(t, other, part) : part;
  }
  if (status == MICA_OK) status = mica_grad(t, other, 1, &w, &g, true);
  if (status == MICA_OK) status = mica_backward(t, loss); /* rows */
  if (status == MICA_OK) status = mica_optimiser_step(opt, t, 1);
  if (status == MICA_OK) mica_params_zero_grad(p);
  if (status == MICA_OK) status = mica_backward(t, other); /* dense */
  return status == MICA_OK ? mica_optimiser_step(opt, t, 1) : status;
}

static mica_status use_tools(void *ctx) {
  (void)ctx;
  const mica_init normal = {MICA_INIT_NORMAL, 0, 1, 0, false};
  mica_engine *engine;
  mica_params *p = NULL;
  mica_tape *t = NULL;
  mica_optimiser *opt = NULL;
  mica_status status = engine_of_one(&engine);
  if (status != MICA_OK) return status;
  status = mica_params_create(engine, 1, &p);
  if (status == MICA_OK)
    status = mica_param_add(mica_params_root(p), "table", MICA_F32, MICA_SHAPE(3, 4),
                            MICA_PARAM_TRAINABLE, &normal, NULL);
  if (status == MICA_OK) status = mica_optimiser_create(p, "adam:lazy", &opt);
  if (status == MICA_OK) status = mica_tape_create(engine, NULL, &t);
  if (status == MICA_OK) status = tools(t, p, opt);
  mica_tape_free(t);
  mica_optimiser_free(opt);
  mica_params_free(p);
  mica_engine_free(engine);
  return status;
}

static void test_training(void **state) {
  (void)state;
  static char resnet[] = "resnet:depth=8:width=2", vit[] = "vit:patch=4:dim=8:depth=1:heads=2";
  failing_alloc_install();
  assert_true(fail_every(3, train, resnet) > 300);
  assert_true(fail_every(3, train, vit) > 200);
  failing_alloc_remove();
}

static void test_tools(void **state) {
  (void)state;
  failing_alloc_install();
  assert_true(fail_each(use_tools, NULL) > 30);
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_training), cmocka_unit_test(test_tools)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
