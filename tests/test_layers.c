/* Heads by name: behind an architecture, in its text and its file; subspaces and the rule that
 * keeps them; moments in every pairing; what a frozen transformer is tuned with. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/test.h"

#include "numeric/subspace.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

enum { SIDE = 8, CLASSES = 5 };

static mica_net *net_of(const char *text) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, CLASSES);
  mica_net *net = NULL;
  if (mica_net_create(engine, text, &problem, 3, &net) != MICA_OK)
    fail_msg("%s: %s", text, mica_last_error());
  return net;
}

static mica_tensor *pictures(int64_t n) {
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(n, SIDE, SIDE, 1), &x), MICA_OK);
  float *v = mica_tensor_data(x);
  for (int64_t i = 0; i < n * SIDE * SIDE; i++) v[i] = (float)sin(0.7 * (double)(i * i % 97));
  return x;
}

static mica_tensor *labels_of(int64_t n) {
  mica_tensor *label;
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(n), &label), MICA_OK);
  for (int64_t i = 0; i < n; i++) ((int64_t *)mica_tensor_data(label))[i] = i % CLASSES;
  return label;
}

/* Logits of a few pictures into out [n, classes]. */
static void logits_of(const mica_net *net, int64_t n, float *out) {
  mica_tape *t;
  mica_outputs o;
  mica_tensor *x = pictures(n);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_net_forward(t, net, mica_input(t, x), &o);
  const mica_view v = mica_read(t, o.logits);
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  assert_int_equal(v.shape.dim[0], n);
  memcpy(out, v.data, (size_t)mica_view_count(&v) * sizeof *out);
  mica_tape_free(t);
  mica_tensor_free(x);
}

/* ---- in a network ---- */

static const char *const texts[] = {
    "convnet:widths=4,8 | head=grassmann:dim=3",
    "convnet:widths=4,8 | head=grassmann:dims=1,3",
    "convnet:widths=4,8:convolutions=1 | head=cosine:scale=10",
    "convnet:widths=4,8 | head=linear:hidden=6,7",
    "convnet:widths=4,8 | head=moment:hidden=28",
    "vit:dim=12:depth=1:heads=2 | head=moment:hidden=28",
    "mlp:hidden=6 | head=grassmann:dim=2:normalise=false",
};

static void test_texts_and_files(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    const char *path = folder_path("net.mica");
    float before[3 * CLASSES], after[3 * CLASSES];
    const mica_preprocess p = MICA_PREPROCESS(SIDE, SIDE, 1);
    mica_net *net = net_of(texts[i]);
    char *text = mica_net_text(net);
    assert_string_equal(text, texts[i]);
    mica_free(text);
    logits_of(net, 3, before);
    const char *const names[CLASSES] = {"a", "b", "c", "d", "e"};
    if (mica_net_save(net, &p, names, NULL, path) != MICA_OK) fail_msg("%s", mica_last_error());
    mica_net_free(net);
    mica_model *model;
    if (mica_model_open(engine, path, &model) != MICA_OK) fail_msg("%s", mica_last_error());
    logits_of(mica_model_net(model), 3, after);
    assert_memory_equal(before, after, sizeof before);
    mica_model_free(model);
  }
}

static void test_another_class_count(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    mica_net *net = net_of(texts[i]);
    float out[3 * 7];
    int64_t output = 0;
    assert_int_equal(mica_net_set_classes(net, 7), MICA_OK);
    logits_of(net, 3, out);
    for (int k = 0; k < 3 * 7; k++) assert_true(isfinite(out[k]));
    assert_int_equal(mica_params_select(mica_net_params(net), "output", &output, NULL), MICA_OK);
    assert_true(output > 0);
    mica_net_free(net);
  }
}

static void test_bad_texts(void **state) {
  (void)state;
  static const struct {
    const char *text;
    mica_status status;
    const char *message;
  } bad[] = {
      {"convnet | tail=grassmann", MICA_ERR_INVALID, "head=HEAD"},
      {"convnet | head=grasman", MICA_ERR_NOT_FOUND, "grassmann"},
      {"convnet:widths=4 | head=grassmann:dim=5", MICA_ERR_INVALID, "1 to 4"},
      {"convnet:widths=4 | head=grassmann:dims=2,5", MICA_ERR_INVALID, "1 to 4"},
      {"convnet:widths=4 | head=moment:hidden=30", MICA_ERR_INVALID, "do not divide"},
      {"convnet:widths=4 | head=moment:hidden=24", MICA_ERR_INVALID, "too few"},
      {"convnet:widths=4 | head=moment:hidden=28:heads=1", MICA_ERR_INVALID, "no pair"},
      {"convnet:widths=4 | head=moment:first=false:second=false", MICA_ERR_INVALID, "neither"},
      {"nothing | head=linear", MICA_ERR_NOT_FOUND, "nothing"},
  };
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, CLASSES);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    mica_net *net;
    assert_int_equal(mica_net_create(engine, bad[i].text, &problem, 0, &net), bad[i].status);
    if (!strstr(mica_last_error(), bad[i].message)) fail_msg("%s", mica_last_error());
    assert_null(net);
  }
  /* Rows have no positions. */
  mica_net *net = net_of("mlp:hidden=6 | head=moment:hidden=28");
  mica_tape *t;
  mica_outputs o;
  mica_tensor *x = pictures(2);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_net_forward(t, net, mica_input(t, x), &o);
  assert_int_equal(mica_tape_status(t), MICA_ERR_UNSUPPORTED);
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_net_free(net);
}

/* ---- moments ---- */

static void test_pairings(void **state) {
  (void)state;
  static const struct {
    const char *pairing;
    int64_t heads, maps;
  } cases[] = {{"near", 4, 3}, {"half", 6, 3}, {"all", 4, 6}, {"one", 4, 3}, {"self", 3, 3}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int centre = 0; centre < 3; centre++) {
      char text[160];
      float out[2 * CLASSES];
      static const char *const names[] = {"scalar", "token", "none"};
      snprintf(text, sizeof text,
               "convnet:widths=4,8:convolutions=1 | head=moment:hidden=%lld:heads=%lld:pairing=%s"
               ":centre=%s:normalise=%s",
               (long long)(7 * cases[i].heads), (long long)cases[i].heads, cases[i].pairing,
               names[centre], centre ? "true" : "false");
      mica_net *net = net_of(text);
      const mica_param *w = mica_params_find(mica_net_params(net), "head.downblocks.0.0.weight");
      assert_int_equal(mica_tensor_dim(mica_param_value(w), 0), cases[i].maps);
      logits_of(net, 2, out);
      for (int k = 0; k < 2 * CLASSES; k++) assert_true(isfinite(out[k]));
      mica_net_free(net);
    }
}

/* Scalar centring does nothing behind a norm without gain, token centring does; one branch alone is
 * not halved. */
static void test_centring_and_branches(void **state) {
  (void)state;
  static const char body[] = "convnet:widths=4,8:convolutions=1 | head=moment:hidden=28";
  char text[160];
  float scalar[2 * CLASSES], none[2 * CLASSES], token[2 * CLASSES], first[2 * CLASSES],
      second[2 * CLASSES];
  mica_net *net = net_of(body);
  logits_of(net, 2, scalar);
  static const char *const more[] = {":centre=none", ":centre=token", ":second=false",
                                     ":first=false"};
  float *const to[] = {none, token, first, second};
  for (int i = 0; i < 4; i++) {
    snprintf(text, sizeof text, "%s%s", body, more[i]);
    mica_net *other = net_of(text);
    /* Initial values go by seed and name: the same in all. */
    logits_of(other, 2, to[i]);
    mica_net_free(other);
  }
  double apart = 0;
  for (int i = 0; i < 2 * CLASSES; i++) {
    assert_true(fabs((double)scalar[i] - (double)none[i]) < 1e-5);
    assert_true(fabs((double)scalar[i] - ((double)first[i] + (double)second[i]) / 2) < 1e-5);
    apart = fmax(apart, fabs((double)scalar[i] - (double)token[i]));
  }
  assert_true(apart > 1e-4);
  mica_net_free(net);
}

/* ---- tuning a frozen transformer ---- */

static void test_transformer_tuning(void **state) {
  (void)state;
  static const char body[] = "vit:patch=4:dim=12:depth=2:heads=2";
  char text[200];
  float plain[2 * CLASSES], zero[2 * CLASSES], drawn[2 * CLASSES], prompted[2 * CLASSES];
  mica_net *net = net_of(body);
  int64_t count = 0;
  logits_of(net, 2, plain);
  mica_net_free(net);
  snprintf(text, sizeof text, "%s:recalibrate=psrp:recalibrate_rank=3:recalibrate_zero=true", body);
  net = net_of(text);
  logits_of(net, 2, zero);
  assert_int_equal(mica_params_select(mica_net_params(net), "*.psrp.*", &count, NULL), MICA_OK);
  assert_int_equal(count, 2 * 3);
  mica_net_free(net);
  snprintf(text, sizeof text, "%s:recalibrate=psrp:recalibrate_rank=3", body);
  net = net_of(text);
  logits_of(net, 2, drawn);
  mica_net_free(net);
  for (int pool = 0; pool < 2; pool++) {
    float shallow[2 * CLASSES], deep[2 * CLASSES];
    snprintf(text, sizeof text, "%s:prompts=3:pool=%s", body, pool ? "avg" : "token");
    net = net_of(text);
    logits_of(net, 2, prompted);
    mica_net_free(net);
    /* Deep ones are a set for each block; what the second block is given counts. */
    snprintf(text, sizeof text, "%s:prompts=3:deep_prompts:pool=%s", body, pool ? "avg" : "token");
    net = net_of(text);
    mica_param *own = mica_params_find(mica_net_params(net), "prompts");
    assert_int_equal(mica_tensor_dim(mica_param_value(own), 0), 2);
    logits_of(net, 2, shallow);
    float *value = mica_param_write(own);
    for (int i = 0; i < 3 * 12; i++) value[3 * 12 + i] += i % 3 ? 0.5f : -0.5f;
    logits_of(net, 2, deep);
    double change = 0;
    for (int i = 0; i < 2 * CLASSES; i++)
      change = fmax(change, fabs((double)shallow[i] - (double)deep[i]));
    assert_true(change > 1e-5);
    mica_net_free(net);
  }
  double psrp = 0, prompts = 0;
  for (int i = 0; i < 2 * CLASSES; i++) {
    assert_true(fabs((double)plain[i] - (double)zero[i]) < 1e-6);
    psrp = fmax(psrp, fabs((double)plain[i] - (double)drawn[i]));
    prompts = fmax(prompts, fabs((double)plain[i] - (double)prompted[i]));
  }
  assert_true(psrp > 0 && prompts > 0);
}

/* ---- subspaces and their rule ---- */

static double train_subspaces(const char *rule, mica_net *net, int steps, double *loss) {
  mica_tape *t;
  mica_optimiser *opt;
  mica_tensor *x = pictures(10), *label = labels_of(10);
  mica_params *p = mica_net_params(net);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  if (mica_optimiser_create(p, rule, &opt) != MICA_OK) fail_msg("%s", mica_last_error());
  for (int i = 0; i < steps; i++) {
    mica_outputs o;
    mica_params_zero_grad(p);
    mica_tape_reset(t);
    mica_set_training(t, true);
    mica_net_forward(t, net, mica_input(t, x), &o);
    const mica_var v = mica_cross_entropy(t, o.logits, mica_input(t, label), MICA_NONE, NULL);
    loss[i != 0] = mica_item(t, v);
    assert_int_equal(mica_backward(t, v), MICA_OK);
    if (mica_optimiser_step(opt, t, 1) != MICA_OK) fail_msg("%s", mica_last_error());
  }
  const mica_view w = mica_tensor_view(mica_param_value(mica_params_find(p, "head.fc.weight")));
  double error = NAN;
  assert_int_equal(mica_subspaces_error(&w, &error), MICA_OK);
  mica_optimiser_free(opt);
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_tensor_free(label);
  return error;
}

static void test_rule_keeps_subspaces(void **state) {
  (void)state;
  static const char *const rules[] = {
      "adamw:lr=0.003 | subspace=rsgd:lr=0.1:reorth=1", "sgd:lr=0.05 | subspace=rsgd:lr=0.1",
      "lamb:lr=0.01 | subspace=rsgd:lr=0.1:momentum=0",
      "sgd:lr=0.05 | subspace=rsgd:lr=0.1:retraction=qr",
      "sgd:lr=0.05 | subspace=rsgd:lr=0.1:reorth=1:signs=householder"};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    mica_net *net = net_of(texts[0]);
    double loss[2];
    const double error = train_subspaces(rules[i], net, 60, loss);
    if (!(error < 1e-5)) fail_msg("%s: off by %g", rules[i], error);
    if (!(loss[1] < 0.8 * loss[0])) fail_msg("%s: %g after %g", rules[i], loss[1], loss[0]);
    mica_net_free(net);
  }
  mica_net *net = net_of(texts[0]);
  double loss[2];
  assert_true(train_subspaces("sgd:lr=0.05", net, 60, loss) > 1e-3);
  mica_net_free(net);
}

/* Classes of other dimensions keep theirs, and step as if they were alone. */
static void test_dimensions_of_each_class(void **state) {
  (void)state;
  static const char *const rules[] = {
      "sgd:lr=0.05 | subspace=rsgd:lr=0.1", "sgd:lr=0.05 | subspace=rsgd:lr=0.1:retraction=qr",
      "sgd:lr=0.05 | subspace=rsgd:lr=0.1:reorth=1:signs=householder"};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    mica_net *net = net_of("convnet:widths=4,8 | head=grassmann:dims=1,3,2");
    double loss[2];
    const double error = train_subspaces(rules[i], net, 40, loss);
    if (!(error < 1e-5)) fail_msg("%s: off by %g", rules[i], error);
    assert_true(loss[1] < loss[0]);
    const float *w = mica_tensor_data(
        mica_param_value(mica_params_find(mica_net_params(net), "head.fc.weight")));
    for (int c = 0; c < CLASSES; c++)
      for (int k = 0; k < 3; k++) {
        static const int dims[3] = {1, 3, 2};
        double square = 0;
        for (int j = 0; j < 8; j++)
          square += (double)w[(c * 3 + k) * 8 + j] * w[(c * 3 + k) * 8 + j];
        assert_true(k < dims[c % 3] ? fabs(square - 1) < 1e-5 : square == 0);
      }
    mica_net_free(net);
  }
  double alone[2 * 6], padded[3 * 6] = {0}, g[3 * 6] = {0};
  for (int i = 0; i < 12; i++) {
    alone[i] = mica_random_normal(mica_key_seed(1), (uint64_t)i);
    g[i] = mica_random_normal(mica_key_seed(2), (uint64_t)i);
  }
  assert_int_equal(mica_subspaces_orthonormalise(MICA_F64, 1, 2, 6, alone), MICA_OK);
  memcpy(padded, alone, sizeof alone);
  const mica_subspace_step step = {0.3, true, true, false};
  assert_int_equal(mica_subspaces_step(engine, &step, MICA_F64, 1, 2, 6, g, alone), MICA_OK);
  assert_int_equal(mica_subspaces_step(engine, &step, MICA_F64, 1, 3, 6, g, padded), MICA_OK);
  assert_memory_equal(alone, padded, sizeof alone);
  for (int i = 12; i < 18; i++) assert_true(padded[i] == 0);
  double angle[3];
  const double two[2 * 2 * 3] = {1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0};
  const mica_view v = mica_view_of((void *)(uintptr_t)two, MICA_F64, MICA_SHAPE(2, 2, 3));
  assert_int_equal(mica_subspace_angles(&v, 0, 1, angle), MICA_OK);
  assert_true(fabs(angle[0]) < 1e-7 && fabs(angle[1] - acos(0)) < 1e-9);
}

static void test_rule_refuses(void **state) {
  (void)state;
  mica_net *net = net_of(texts[0]);
  mica_params *p = mica_net_params(net);
  mica_optimiser *opt;
  mica_tape *t;
  mica_param *w = mica_params_find(p, "head.fc.weight");
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  /* A vector is no set of subspaces. */
  assert_int_equal(mica_optimiser_create(p, "rsgd", &opt), MICA_OK);
  mica_var v =
      mica_sum(t, mica_param_var(t, mica_params_find(p, "stages.0.bn1.bias")), 0, NULL, false);
  assert_int_equal(mica_backward(t, v), MICA_OK);
  assert_int_equal(mica_optimiser_step(opt, t, 1), MICA_ERR_SHAPE);
  mica_optimiser_free(opt);
  /* Elements cannot be held back. */
  const mica_tensor *value = mica_param_value(w);
  const size_t bytes = (size_t)mica_tensor_count(value) * sizeof(float);
  bool *mask = calloc((size_t)mica_tensor_count(value), 1);
  const mica_view m = mica_view_of(mask, MICA_BOOL, *mica_tensor_shape(value));
  assert_int_equal(mica_param_set_mask(w, &m), MICA_OK);
  assert_int_equal(mica_optimiser_create(p, "sgd | subspace=rsgd", &opt), MICA_OK);
  for (int masked = 1; masked >= 0; masked--) {
    float *before = malloc(bytes);
    memcpy(before, mica_tensor_data(value), bytes);
    mica_params_zero_grad(p);
    mica_tape_reset(t);
    v = mica_sum(t, mica_affine(t, mica_param_var(t, w), masked ? 1 : (double)INFINITY, 0), 0, NULL,
                 false);
    mica_backward(t, v);
    assert_int_equal(mica_optimiser_step(opt, t, 1),
                     masked ? MICA_ERR_UNSUPPORTED : MICA_ERR_NUMERIC);
    assert_memory_equal(before, mica_tensor_data(value), bytes);
    free(before);
    assert_int_equal(mica_params_unmask(p, "subspace"), MICA_OK);
  }
  mica_optimiser_free(opt);
  free(mask);
  mica_tape_free(t);
  mica_net_free(net);
}

/* Planes that share a direction and are turned by 30 degrees in the other. */
static void test_angles(void **state) {
  (void)state;
  const double half = acos(-1) / 6;
  const double w[2 * 2 * 3] = {1, 0, 0, 0, 1, 0, 1, 0, 0, 0, cos(half), sin(half)};
  const mica_view v = mica_view_of((void *)(uintptr_t)w, MICA_F64, MICA_SHAPE(2, 2, 3));
  double angle[2], error;
  assert_int_equal(mica_subspace_angles(&v, 0, 1, angle), MICA_OK);
  assert_true(fabs(angle[0]) < 1e-7 && fabs(angle[1] - half) < 1e-9);
  assert_int_equal(mica_subspaces_error(&v, &error), MICA_OK);
  assert_true(error < 1e-15);
  assert_int_equal(mica_subspace_angles(&v, 0, 2, angle), MICA_ERR_INVALID);
  const mica_view flat = mica_view_of((void *)(uintptr_t)w, MICA_F64, MICA_SHAPE(4, 3));
  assert_int_equal(mica_subspaces_error(&flat, &error), MICA_ERR_SHAPE);
  double out[12];
  assert_int_equal(mica_subspaces_horizontal(&v, &flat, out), MICA_ERR_SHAPE);
  const double bad[3] = {1, NAN, 0};
  const mica_view nan = mica_view_of((void *)(uintptr_t)bad, MICA_F64, MICA_SHAPE(1, 1, 3));
  assert_int_equal(mica_subspaces_error(&nan, &error), MICA_OK);
  assert_true(isinf(error));
}

static mica_status whole_life(void *ctx) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, CLASSES);
  mica_engine *own = NULL;
  mica_net *net = NULL;
  mica_status status = mica_engine_create(NULL, &own);
  if (status == MICA_OK) status = mica_net_create(own, ctx, &problem, 0, &net);
  if (status == MICA_OK) status = mica_net_set_classes(net, 3);
  if (status == MICA_OK) {
    char *text = mica_net_text(net);
    if (!text) status = MICA_ERR_MEMORY;
    mica_free(text);
  }
  mica_net_free(net);
  mica_engine_free(own);
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  char grassmann[] = "mlp:hidden=4 | head=grassmann:dim=2",
       moment[] = "convnet:widths=4 | head=moment:hidden=28";
  fail_each(whole_life, grassmann);
  fail_every(3, whole_life, moment);
}

static int set_up(void **state) {
  return folder_setup(state) || mica_engine_create(NULL, &engine) != MICA_OK;
}
static int tear_down(void **state) {
  mica_engine_free(engine);
  return folder_teardown(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_texts_and_files),
      cmocka_unit_test(test_another_class_count),
      cmocka_unit_test(test_bad_texts),
      cmocka_unit_test(test_pairings),
      cmocka_unit_test(test_centring_and_branches),
      cmocka_unit_test(test_transformer_tuning),
      cmocka_unit_test(test_rule_keeps_subspaces),
      cmocka_unit_test(test_dimensions_of_each_class),
      cmocka_unit_test(test_rule_refuses),
      cmocka_unit_test(test_angles),
      cmocka_unit_test(test_failing_memory),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
