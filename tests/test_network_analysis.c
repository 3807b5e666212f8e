/* Gains and shifts of batch norm, dead rectifiers, and what a network loses with its small gains.
 */
#include "support/failing_alloc.h"
#include "support/near.h"
#include "support/test.h"

#include <mica/network_analysis.h>

#include <string.h>

static mica_engine *engine;

enum { N = 20, SIDE = 8, CLASSES = 3 };

typedef struct trial {
  mica_net *net;
  mica_tensor *x, *labels;
  mica_stream stream;
} trial;

static trial begin_on(mica_engine *e, const char *spec) {
  const mica_problem task = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, CLASSES);
  trial r = {0};
  if (mica_net_create(e, spec, &task, 3, &r.net) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(N, SIDE, SIDE, 1), &r.x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(N), &r.labels), MICA_OK);
  for (int64_t i = 0; i < mica_tensor_count(r.x); i++)
    mica_tensor_set(r.x, i, mica_random_normal(mica_key_seed(1), (uint64_t)i));
  for (int64_t i = 0; i < N; i++) mica_tensor_set(r.labels, i, (double)(i % CLASSES));
  assert_int_equal(mica_memory_stream_create(r.x, r.labels, 8, false, false, 0, &r.stream),
                   MICA_OK);
  return r;
}
static trial begin(const char *spec) {
  return begin_on(engine, spec);
}
static void end(trial *r) {
  mica_memory_stream_free(&r->stream);
  mica_tensor_free(r->x);
  mica_tensor_free(r->labels);
  mica_net_free(r->net);
}

static float *values(const trial *r, const char *path) {
  mica_param *q = mica_params_find(mica_net_params(r->net), path);
  assert_non_null(q);
  return mica_param_write(q);
}

/* ---- gains ---- */

static void test_gains(void **state) {
  (void)state;
  trial r = begin("convnet:widths=4,6:convolutions=1");
  values(&r, "stages.0.bn1.weight")[2] = -0.004f;
  values(&r, "stages.1.bn1.weight")[5] = 0.5f;
  values(&r, "stages.1.bn1.bias")[0] = -2;
  mica_gains g;
  assert_int_equal(mica_gains_of(mica_net_params(r.net), &g), MICA_OK);
  assert_int_equal(g.n, 10);
  assert_int_equal(g.layers, 2);
  assert_string_equal(g.name[0], "stages.0.bn1");
  assert_string_equal(g.name[1], "stages.1.bn1");
  assert_int_equal(g.first[0], 0);
  assert_int_equal(g.first[1], 4);
  assert_int_equal(g.first[2], 10);
  for (int i = 0; i < 10; i++) {
    assert_near(g.gain[i], i == 2 ? -0.004 : i == 9 ? 0.5 : 1, 1e-7);
    assert_near(g.shift[i], i == 4 ? -2 : 0, 0);
  }
  assert_near(mica_share_below(g.gain, g.n, 0.01), 0.1, 1e-15);
  assert_near(mica_share_below(g.gain, g.n, 0.004), 0, 0); /* -0.004f is a little larger */
  assert_near(mica_share_below(g.gain, g.n, 0.6), 0.2, 1e-15);
  assert_near(mica_share_below(g.gain, g.n, 1), 0.2, 1e-15);
  assert_true(isnan(mica_share_below(g.gain, 0, 1)));
  mica_gains_free(&g);
  end(&r);
  r = begin("vit:patch=4:dim=8:depth=1:heads=2");
  assert_int_equal(mica_gains_of(mica_net_params(r.net), &g), MICA_ERR_UNSUPPORTED);
  assert_non_null(strstr(mica_last_error(), "no batch norm"));
  end(&r);
}

/* ---- rectifiers ---- */

/* By hand: what the layers give, channel by channel. */
static void test_rectifiers(void **state) {
  (void)state;
  trial r = begin("resnet:depth=8:width=4:shortcut=b");
  /* Channel 1 of the stem's norm can only be negative: its rectifier is zero there. */
  values(&r, "bn1.weight")[1] = 0;
  values(&r, "bn1.bias")[1] = -1;
  /* Channel 3 is the shift everywhere. */
  values(&r, "bn1.weight")[3] = 0;
  values(&r, "bn1.bias")[3] = 2;
  mica_rectifiers got;
  assert_int_equal(mica_rectifiers_of(r.net, &r.stream, &got), MICA_OK);
  static const char *const names[] = {"bn1",      "layer1.0.bn1", "layer1.0", "layer2.0.bn1",
                                      "layer2.0", "layer3.0.bn1", "layer3.0"};
  assert_int_equal(got.n, 7);
  assert_int_equal(got.examples, N);
  int64_t channels = 0, dead = 0;
  for (int i = 0; i < 7; i++) {
    assert_string_equal(got.rectifier[i].name, names[i]);
    assert_int_equal(got.rectifier[i].channels, i < 3 ? 4 : i < 5 ? 8 : 16);
    assert_true(got.rectifier[i].zeros > 0 && got.rectifier[i].zeros < 1);
    channels += got.rectifier[i].channels;
    dead += got.rectifier[i].dead;
  }
  assert_int_equal(got.rectifier[0].dead, 1);
  assert_true(got.rectifier[0].zeros > 0.25 && got.rectifier[0].zeros < 0.75);
  assert_int_equal(got.channels, channels);
  assert_int_equal(got.dead, dead);
  /* One that never fires. */
  for (int c = 0; c < 4; c++) {
    values(&r, "bn1.weight")[c] = 0;
    values(&r, "bn1.bias")[c] = -1;
  }
  mica_rectifiers_free(&got);
  assert_int_equal(mica_rectifiers_of(r.net, &r.stream, &got), MICA_OK);
  assert_int_equal(got.rectifier[0].dead, 4);
  assert_near(got.rectifier[0].zeros, 1, 0);
  assert_true(got.dead >= 4 && got.zeros > 0);
  mica_rectifiers_free(&got);
  end(&r);
}

/* Rectifiers behind a norm, of their own, and fused with a product are all seen. */
static void test_rectifiers_of_others(void **state) {
  (void)state;
  static const struct {
    const char *spec, *first;
    int64_t n;
  } cases[] = {{"mlp:hidden=7,5", NULL, 2},
               {"convnet:widths=4,6", "stages.0.bn1", 4},
               {"vgg:depth=11:width=2:hidden=6", "features.1", 10},
               {"vgg:depth=11:width=2:small:norm=false", "features.1", 8},
               {"vit:patch=4:dim=8:depth=1:heads=2", NULL, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    trial r = begin(cases[i].spec);
    mica_rectifiers got;
    if (mica_rectifiers_of(r.net, &r.stream, &got) != MICA_OK) fail_msg("%s", mica_last_error());
    if (got.n != cases[i].n) fail_msg("%s: %lld rectifiers", cases[i].spec, (long long)got.n);
    if (cases[i].first) assert_string_equal(got.rectifier[0].name, cases[i].first);
    if (got.n)
      assert_true(got.zeros > 0.1 && got.zeros < 0.95);
    else
      assert_true(isnan(got.zeros));
    mica_rectifiers_free(&got);
    end(&r);
  }
}

/* A place where the network rectifies twice has two names. */
static void see(mica_tape *t, void *ctx, const char *path, mica_var y) {
  (void)t, (void)y;
  strcat(strcat(ctx, path), " ");
}

static void test_watching(void **state) {
  (void)state;
  mica_tape *t;
  char paths[100] = "";
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_watch_relu(t, see, paths);
  const mica_var x = mica_full(t, MICA_F32, MICA_SHAPE(2, 3), -1);
  mica_scope_begin(t, "a");
  mica_relu(t, x);
  mica_activate(t, MICA_GELU, x);
  mica_no_grad_begin(t);
  mica_linear(t, x, mica_full(t, MICA_F32, MICA_SHAPE(4, 3), 1), MICA_NONE, MICA_RELU);
  mica_no_grad_end(t);
  mica_scope_end(t, MICA_NONE);
  mica_watch_relu(t, NULL, NULL);
  mica_relu(t, x);
  assert_string_equal(paths, "a a ");
  mica_tape_free(t);
}

/* ---- pruning ---- */

static void test_prune_curve(void **state) {
  (void)state;
  trial r = begin("convnet:widths=4,6:convolutions=1"),
        same = begin("convnet:widths=4,6:convolutions=1");
  float *a = values(&r, "stages.0.bn1.weight"), *b = values(&r, "stages.1.bn1.weight");
  for (int i = 0; i < 4; i++) a[i] = 0.1f * (float)(i + 1) * (i % 2 ? -1 : 1);
  for (int i = 0; i < 6; i++) b[i] = i < 3 ? 0.25f : 1;
  values(&r, "stages.0.bn1.bias")[0] = 0.5f;
  assert_int_equal(mica_params_copy(mica_net_params(same.net), mica_net_params(r.net)), MICA_OK);
  static const double shares[] = {0, 0.1, 0.4, 1};
  mica_prune_point p[4];
  assert_int_equal(mica_prune_curve(r.net, &r.stream, shares, 4, NULL, p), MICA_OK);
  mica_evaluation e;
  assert_int_equal(mica_evaluate(r.net, &r.stream, false, false, &e), MICA_OK);
  assert_near(p[0].loss, e.loss, 0);
  assert_near(p[0].accuracy, e.accuracy, 0);
  assert_near(p[0].threshold, 0, 0);
  assert_near(p[0].share, 0, 0);
  assert_near(p[1].threshold, 0.1, 1e-7);
  assert_near(p[1].share, 0.1, 1e-15);
  /* The third and fourth smallest are two of three equal ones: two go. */
  assert_near(p[2].share, 0.4, 1e-15);
  assert_near(p[2].threshold, 0.25, 0);
  assert_near(p[3].share, 1, 0);
  assert_near(p[3].threshold, 1, 0);
  /* The network itself is as it was. */
  for (int64_t i = 0; i < mica_params_count(mica_net_params(r.net)); i++) {
    const mica_tensor *x = mica_param_value(mica_params_at(mica_net_params(r.net), i)),
                      *y = mica_param_value(mica_params_at(mica_net_params(same.net), i));
    assert_memory_equal(mica_tensor_data(x), mica_tensor_data(y),
                        (size_t)mica_tensor_count(x) * mica_dtype_size(mica_tensor_dtype(x)));
  }
  /* The same point made by hand: the smallest gain is the first channel's. */
  values(&same, "stages.0.bn1.weight")[0] = 0;
  assert_int_equal(mica_evaluate(same.net, &same.stream, false, false, &e), MICA_OK);
  assert_near(p[1].loss, e.loss, 0);
  /* By thresholds, with the shift. */
  mica_prune_options o = MICA_PRUNE_OPTIONS;
  static const double thresholds[] = {0.05, 0.15, 10};
  o.thresholds = o.shift = true;
  assert_int_equal(mica_prune_curve(r.net, &r.stream, thresholds, 3, &o, p), MICA_OK);
  values(&same, "stages.0.bn1.bias")[0] = 0;
  mica_evaluation without;
  assert_int_equal(mica_evaluate(same.net, &same.stream, false, false, &without), MICA_OK);
  assert_near(p[0].share, 0, 0);
  assert_near(p[1].share, 0.1, 1e-15);
  assert_near(p[1].loss, without.loss, 0);
  assert_true(without.loss != e.loss);
  assert_near(p[2].share, 1, 0);
  static const double wrong[] = {-0.1, 1.5, NAN};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(mica_prune_curve(r.net, &r.stream, &wrong[i], 1, NULL, p), MICA_ERR_INVALID);
    assert_non_null(strstr(mica_last_error(), "share from 0 to 1"));
  }
  end(&r);
  end(&same);
}

/* ---- memory ---- */

static mica_status analyse(void *ctx) {
  (void)ctx;
  mica_engine *e;
  mica_status status = mica_engine_create(NULL, &e);
  if (status != MICA_OK) return status;
  const mica_problem task = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, CLASSES);
  mica_net *net = NULL;
  mica_tensor *x = NULL;
  mica_stream stream = {0};
  mica_gains gains = {0};
  mica_rectifiers rectifiers = {0};
  mica_prune_point p;
  const double share = 0.5;
  status = mica_net_create(e, "convnet:widths=4:convolutions=1", &task, 1, &net);
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(2, SIDE, SIDE, 1), &x);
  if (status == MICA_OK) memset(mica_tensor_data(x), 0, 2 * SIDE * SIDE * sizeof(float));
  if (status == MICA_OK) status = mica_memory_stream_create(x, NULL, 2, false, false, 0, &stream);
  if (status == MICA_OK) status = mica_gains_of(mica_net_params(net), &gains);
  if (status == MICA_OK) status = mica_rectifiers_of(net, &stream, &rectifiers);
  if (status == MICA_OK) status = mica_prune_curve(net, &stream, &share, 1, NULL, &p);
  mica_gains_free(&gains);
  mica_rectifiers_free(&rectifiers);
  if (stream.ctx) mica_memory_stream_free(&stream);
  mica_tensor_free(x);
  mica_net_free(net);
  mica_engine_free(e);
  return status;
}

static void test_memory(void **state) {
  (void)state;
  assert_true(fail_each(analyse, NULL) > 50);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gains),
      cmocka_unit_test(test_rectifiers),
      cmocka_unit_test(test_rectifiers_of_others),
      cmocka_unit_test(test_watching),
      cmocka_unit_test(test_prune_curve),
      cmocka_unit_test(test_memory),
  };
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
