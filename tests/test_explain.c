/* Saliency: every method on every network of images, the ways back by hand, maps and measures. */
#include "support/failing_alloc.h"
#include "support/near.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static mica_engine *engine;

static mica_tensor *images(int64_t n, int64_t side, int64_t channels) {
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(n, side, side, channels), &x), MICA_OK);
  for (int64_t i = 0; i < mica_tensor_count(x); i++)
    mica_tensor_set(x, i, mica_random_uniform(mica_key_seed(4), (uint64_t)i));
  return x;
}

static mica_net *network(const char *spec, int64_t side, int64_t channels) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(side, side, channels, 3);
  mica_net *net;
  if (mica_net_create(engine, spec, &problem, 3, &net) != MICA_OK)
    fail_msg("%s", mica_last_error());
  return net;
}

static uint64_t hash_of(const mica_net *net) {
  const mica_params *p = mica_net_params(net);
  uint64_t h = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_tensor *v = mica_param_value(mica_params_at(p, i));
    h = mica_hash64(mica_tensor_data(v),
                    (size_t)mica_tensor_count(v) * mica_dtype_size(mica_tensor_dtype(v)), h);
  }
  return h;
}

static void test_every_method_on_every_network(void **state) {
  (void)state;
  static const char *const specs[] = {"convnet:widths=4,6", "resnet:depth=8:width=4:shortcut=b",
                                      "vit:patch=4:dim=8:depth=1:heads=2", "mlp:hidden=6"};
  mica_tensor *x = images(2, 8, 3);
  int made = 0;
  for (size_t k = 0; k < sizeof specs / sizeof *specs; k++) {
    mica_net *net = network(specs[k], 8, 3);
    const uint64_t before = hash_of(net);
    mica_layer_list list;
    assert_int_equal(mica_layers(net, x, &list), MICA_OK);
    const mica_component *c;
    for (int i = 0; (c = mica_component_at(engine, MICA_KIND_EXPLAINER, i)); i++) {
      const mica_explainer_functions *fn = c->functions;
      mica_tensor *map = NULL;
      mica_explain_options o = MICA_EXPLAIN_OPTIONS;
      o.meta = i % 2 ? 0.01 : 0;
      char spec[64];
      snprintf(spec, sizeof spec, "%s%s", c->name, strcmp(c->name, "rise") == 0 ? ":masks=20" : "");
      const mica_status status = mica_explain(net, spec, x, NULL, &o, &map);
      if (status == MICA_ERR_UNSUPPORTED) { /* no map in the network, or no way back through it */
        if (!(fn->at_layer && (!list.n || strcmp(c->name, "excitation") == 0)))
          fail_msg("%s of %s: %s", c->name, specs[k], mica_last_error());
        continue;
      }
      if (status != MICA_OK) fail_msg("%s of %s: %s", c->name, specs[k], mica_last_error());
      assert_true(mica_shape_equal(mica_tensor_shape(map), &MICA_SHAPE(2, 8, 8)));
      for (int64_t j = 0; j < mica_tensor_count(map); j++)
        assert_true(mica_tensor_get(map, j) >= 0 && mica_tensor_get(map, j) <= 1);
      mica_tensor_free(map);
      made++;
    }
    assert_true(hash_of(net) == before);
    mica_layers_free(&list);
    mica_net_free(net);
  }
  assert_true(made > 25);
  mica_tensor_free(x);
}

/* A network of one ReLU whose gradients are known: y = w2 relu(w1 x) for each pixel of one channel,
 * as 1x1 convolutions would be; here an mlp of one pixel. */
static void test_relu_rules(void **state) {
  (void)state;
  mica_tensor *x;
  const int64_t target = 0;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(1, 1, 1, 1), &x), MICA_OK);
  mica_tensor_set(x, 0, 2);
  const mica_problem problem = MICA_PROBLEM_IMAGES(1, 1, 1, 1);
  mica_net *net;
  assert_int_equal(mica_net_create(engine, "mlp:hidden=4", &problem, 1, &net), MICA_OK);
  mica_params *p = mica_net_params(net);
  /* First layer 1, -1, 1, -1; last layer 3, 5, -7, -11. */
  const float first[4] = {1, -1, 1, -1}, last[4] = {3, 5, -7, -11};
  memcpy(mica_param_write(mica_params_find(p, "layers.0.weight")), first, sizeof first);
  memset(mica_param_write(mica_params_find(p, "layers.0.bias")), 0, sizeof first);
  memcpy(mica_param_write(mica_params_find(p, "head.weight")), last, sizeof last);
  static const struct {
    mica_relu_rule rule;
    double gradient;
  } want[] = {{MICA_RELU_PLAIN, 3 - 7}, /* units 0 and 2 are on */
              {MICA_RELU_GUIDED, 3},    /* of those, positive gradients */
              {MICA_RELU_DECONVNET, 3 - 5} /* all positive gradients */};
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    mica_probe probe;
    if (mica_probe_layer(net, x, &target, NULL, want[i].rule, &probe) != MICA_OK)
      fail_msg("%s", mica_last_error());
    assert_near(mica_tensor_get(probe.gradient, 0), want[i].gradient, 1e-6);
    mica_probe_clear(&probe);
  }
  mica_net_free(net);
  mica_tensor_free(x);
}

/* What excitation backprop hands down is a probability, where every position excites something. */
static void test_excitation(void **state) {
  (void)state;
  mica_tensor *x = images(2, 8, 1), *map;
  mica_net *net = network("convnet:widths=5,7:convolutions=1", 8, 1);
  const int64_t target[2] = {0, 2};
  mica_probe p;
  assert_int_equal(mica_probe_layer(net, x, target, "stages.0", MICA_RELU_EXCITATION, &p), MICA_OK);
  const int64_t size = mica_tensor_count(p.gradient) / 2;
  for (int64_t i = 0; i < 2; i++) {
    double sum = 0;
    for (int64_t k = 0; k < size; k++) {
      assert_true(mica_tensor_get(p.gradient, i * size + k) >= 0);
      sum += mica_tensor_get(p.gradient, i * size + k);
    }
    assert_near(sum, 1, 1e-5);
  }
  mica_probe_clear(&p);
  mica_explain_options o = MICA_EXPLAIN_OPTIONS;
  o.layer = "stages.0";
  assert_int_equal(mica_explain(net, "excitation:contrastive=true", x, target, &o, &map), MICA_OK);
  mica_tensor_free(map);
  mica_net_free(net);
  mica_tensor_free(x);
}

static void test_maps(void **state) {
  (void)state;
  mica_tensor *map, *larger, *both;
  const float v[4] = {0, 1, 2, 3};
  const mica_view view = mica_view_of((void *)v, MICA_F32, MICA_SHAPE(1, 2, 2));
  assert_int_equal(mica_tensor_from_view(&view, MICA_F32, &map), MICA_OK);
  assert_int_equal(mica_map_resize(map, 4, 4, &larger), MICA_OK);
  /* Half-pixel centres: the second row and column lie a quarter of the way. */
  assert_near(mica_tensor_get(larger, 0), 0, 1e-6);
  assert_near(mica_tensor_get(larger, 5), 0.75, 1e-6);
  assert_near(mica_tensor_get(larger, 15), 3, 1e-6);
  mica_map_normalise(larger);
  assert_near(mica_tensor_get(larger, 15), 1, 1e-6);
  const mica_tensor *two[2] = {larger, larger};
  assert_int_equal(mica_map_combine(2, two, NULL, true, &both), MICA_OK);
  assert_near(mica_tensor_get(both, 5), 0.0625, 1e-6);
  mica_tensor_free(both);
  double w[2];
  mica_map_depth_weights(2, w);
  assert_near(w[0], 1.0 / 3, 1e-15);
  assert_near(w[1], 2.0 / 3, 1e-15);
  assert_int_equal(mica_map_combine(2, two, w, true, &both), MICA_OK);
  assert_near(mica_tensor_get(both, 5), 0.25, 1e-6);
  mica_tensor_free(both);
  assert_int_equal(mica_map_combine(2, two, w, false, &both), MICA_OK);
  assert_near(mica_tensor_get(both, 5), 0.25, 1e-6);
  mica_tensor_free(both);
  const mica_tensor *apart[2] = {larger, map};
  assert_int_equal(mica_map_combine(2, apart, NULL, true, &both), MICA_ERR_SHAPE);
  assert_int_equal(mica_map_combine(2, two, (double[]){0, 0}, true, &both), MICA_ERR_INVALID);
  assert_int_equal(mica_map_resize(map, 0, 4, &both), MICA_ERR_SHAPE);
  mica_tensor_free(larger);
  memset(mica_tensor_data(map), 0, sizeof v);
  mica_map_normalise(map);
  for (int i = 0; i < 4; i++) assert_true(mica_tensor_get(map, i) == 0);
  const uint8_t grey[4] = {0, 100, 200, 255};
  uint8_t rgb[12];
  assert_int_equal(mica_map_overlay((const float[]){0, 0, 0, 1}, grey, 2, 2, 1, 0, rgb), MICA_OK);
  for (int i = 0; i < 12; i++) assert_int_equal(rgb[i], grey[i / 3]);
  assert_int_equal(mica_map_overlay((const float[]){0, 0, 0, 1}, grey, 2, 2, 1, 1, rgb), MICA_OK);
  assert_true(rgb[9] > 100 && rgb[10] == 0 && rgb[11] == 0); /* red where it is largest */
  assert_int_equal(mica_map_overlay(v, grey, 2, 2, 2, 1, rgb), MICA_ERR_INVALID);
  mica_tensor_free(map);
}

static void test_pointing(void **state) {
  (void)state;
  const float map[9] = {0, 0, 0, 0, 5, 0, 0, 0, 0};
  uint8_t mask[9] = {0};
  assert_false(mica_pointing_hit(map, mask, 3, 3, 15));
  mask[0] = 1;
  assert_false(mica_pointing_hit(map, mask, 3, 3, 0));
  assert_false(mica_pointing_hit(map, mask, 3, 3, 1));
  assert_true(mica_pointing_hit(map, mask, 3, 3, 1.5));
  mask[4] = 1;
  assert_true(mica_pointing_hit(map, mask, 3, 3, 0));
  assert_near(mica_pointing_accuracy((int64_t[]){1, 0, 3}, (int64_t[]){1, 0, 1}, 3), 0.625, 1e-15);
  assert_true(isnan(mica_pointing_accuracy((int64_t[]){0}, (int64_t[]){0}, 1)));
  assert_true(mica_pointing_difficult(mask, 3, 3, true));
  assert_false(mica_pointing_difficult(mask, 3, 3, false));
}

static void test_measures(void **state) {
  (void)state;
  mica_tensor *x = images(2, 8, 1);
  mica_net *net = network("convnet:widths=4,6:convolutions=1", 8, 1);
  mica_explain_options o = MICA_EXPLAIN_OPTIONS;
  double sensitivity, correlation[16];
  char *path[16];
  int64_t steps;
  o.layer = "stages.0";
  assert_int_equal(mica_class_sensitivity(net, "norm_grad", x, &o, &sensitivity), MICA_OK);
  assert_true(sensitivity >= -1 && sensitivity <= 1);
  assert_int_equal(
      mica_randomise_from_top(net, "grad_cam", x, NULL, &o, 9, 16, correlation, path, &steps),
      MICA_OK);
  assert_int_equal(steps, 5); /* head, and two stages of norm and convolution */
  assert_string_equal(path[0], "head");
  assert_string_equal(path[4], "stages.0.conv1");
  assert_true(fabs(correlation[4]) < 0.999);
  for (int i = 0; i < 5; i++) mica_free(path[i]);
  o.layer = "stages.7";
  mica_tensor *map = NULL;
  assert_int_equal(mica_explain(net, "norm_grad", x, NULL, &o, &map), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "stages.7"));
  o.layer = NULL;
  assert_int_equal(mica_explain(net, "norm_grat", x, NULL, &o, &map), MICA_ERR_NOT_FOUND);
  const int64_t bad[2] = {0, 3};
  assert_int_equal(mica_explain(net, "norm_grad", x, bad, &o, &map), MICA_ERR_INVALID);
  assert_int_equal(mica_explain(net, "rise:masks=2", x, bad, &o, &map), MICA_ERR_INVALID);
  mica_net_free(net);
  mica_tensor_free(x);
}

/* A step downhill on the loss raises the class's probability, one uphill lowers it. */
static void test_meta_step(void **state) {
  (void)state;
  mica_tensor *x = images(1, 8, 1), *labels;
  mica_net *net = network("convnet:widths=4,6:convolutions=1", 8, 1), *moved;
  double loss[3];
  const double rate[3] = {0, 0.05, -0.05};
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(1), &labels), MICA_OK);
  mica_tensor_set(labels, 0, 1);
  for (int i = 0; i < 3; i++) {
    mica_stream stream;
    mica_evaluation e;
    if (mica_meta_step(net, x, 1, rate[i], &moved) != MICA_OK) fail_msg("%s", mica_last_error());
    assert_int_equal(mica_memory_stream_create(x, labels, 1, false, false, 0, &stream), MICA_OK);
    assert_int_equal(mica_evaluate(moved, &stream, false, false, &e), MICA_OK);
    loss[i] = e.loss;
    mica_evaluation_clear(&e);
    mica_memory_stream_free(&stream);
    mica_net_free(moved);
  }
  assert_true(loss[1] < loss[0] && loss[2] > loss[0]);
  mica_net_free(net);
  mica_tensor_free(labels);
  mica_tensor_free(x);
}

typedef struct life {
  mica_net *net;
  mica_tensor *x;
} life;

static mica_status explain_all(void *ctx) {
  const life *l = ctx;
  static const char *const methods[] = {"norm_grad", "rise:masks=2", "excitation", "guided"};
  mica_status status = MICA_OK;
  for (int i = 0; i < 4 && status == MICA_OK; i++) {
    mica_tensor *map = NULL;
    status = mica_explain(l->net, methods[i], l->x, NULL, NULL, &map);
    mica_tensor_free(map);
  }
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  life l = {network("convnet:widths=2,3:convolutions=1", 4, 1), images(1, 4, 1)};
  assert_int_equal(explain_all(&l), MICA_OK);
  fail_every(3, explain_all, &l);
  mica_net_free(l.net);
  mica_tensor_free(l.x);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_method_on_every_network),
                                     cmocka_unit_test(test_relu_rules),
                                     cmocka_unit_test(test_excitation),
                                     cmocka_unit_test(test_maps),
                                     cmocka_unit_test(test_pointing),
                                     cmocka_unit_test(test_measures),
                                     cmocka_unit_test(test_meta_step),
                                     cmocka_unit_test(test_failing_memory)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
