/* Features from several places of a network: the values, the names, the file. */
#include "support/failing_alloc.h"
#include "support/near.h"

#include <mica/mica.h>

#include "base/buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIDE   16
#define FEW    3
#define COMPAT "tests/compat/taps-0.1.0.mica"

static mica_engine *engine;
static char path[] = "/tmp/mica-test-taps-XXXXXX";

static mica_net *network(mica_engine *e, const char *spec) {
  const mica_problem task = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, 2);
  mica_net *net;
  if (mica_net_create(e, spec, &task, 3, &net)) fail_msg("%s", mica_last_error());
  return net;
}

static mica_tensor *pictures(void) {
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(FEW, SIDE, SIDE, 1), &x), MICA_OK);
  float *to = mica_tensor_data(x);
  for (int i = 0; i < FEW * SIDE * SIDE; i++)
    to[i] = (float)mica_random_normal(mica_key_seed(1), (uint64_t)i);
  return x;
}

/* The features of `pictures`, in memory that the caller frees; the tape is in this state. */
static float *features(const mica_net *net, bool training, bool scope, int64_t *width) {
  mica_tape *t;
  mica_outputs out;
  mica_tensor *x = pictures();
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  if (training)
    mica_set_training(t, true);
  else
    mica_no_grad_begin(t);
  if (scope) mica_scope_begin(t, "outer");
  mica_net_forward(t, net, mica_input(t, x), &out);
  if (scope) out.features = mica_scope_end(t, out.features);
  const mica_view v = mica_read(t, out.features);
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  assert_int_equal(v.shape.dim[0], FEW);
  *width = v.shape.dim[1];
  float *copy = malloc((size_t)mica_view_count(&v) * sizeof *copy);
  assert_non_null(copy);
  memcpy(copy, v.data, (size_t)mica_view_count(&v) * sizeof *copy);
  /* The classifier reads what it always did. */
  if (!scope) assert_int_equal(mica_dim(t, out.logits, 1), 2);
  mica_tape_free(t);
  mica_tensor_free(x);
  return copy;
}

/* The means of the pyramid's maps of the same network without taps. */
static float *means(const mica_net *net, int64_t *width) {
  mica_tape *t;
  mica_outputs out;
  mica_tensor *x = pictures();
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_no_grad_begin(t);
  mica_net_forward(t, net, mica_input(t, x), &out);
  mica_var mean[MICA_PYRAMID_MAX];
  for (int i = 0; i < out.n_pyramid; i++) mean[i] = mica_global_avg_pool(t, out.pyramid[i]);
  const mica_view v = mica_read(t, mica_concat(t, out.n_pyramid, mean, 1));
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  *width = v.shape.dim[1];
  float *copy = malloc((size_t)mica_view_count(&v) * sizeof *copy);
  assert_non_null(copy);
  memcpy(copy, v.data, (size_t)mica_view_count(&v) * sizeof *copy);
  mica_tape_free(t);
  mica_tensor_free(x);
  return copy;
}

static void near(const float *got, const float *want, int64_t n) {
  for (int64_t i = 0; i < n; i++) assert_near((double)got[i], (double)want[i], 1e-5);
}

/* Stages by their names, by a pattern and as the pyramid are the same; so inside another scope and
 * while training. */
static void test_stages(void **state) {
  (void)state;
  const struct {
    const char *spec, *stage[4], *pattern;
    int64_t width, stages;
  } nets[] = {{"convnet:widths=4,6,8", {"stages.0", "stages.1", "stages.2"}, "stages.?", 18, 3},
              {"resnet:depth=8:width=4", {"layer1", "layer2", "layer3"}, "layer?", 28, 3},
              {"resnet:depth=18:width=4:small",
               {"layer1", "layer2", "layer3", "layer4"},
               "layer[1-4]",
               60,
               4}};
  for (size_t k = 0; k < sizeof nets / sizeof *nets; k++) {
    mica_net *net = network(engine, nets[k].spec);
    int64_t width, own = mica_net_features(net), last;
    float *want = means(net, &width);
    const char *const pyramid[] = {"pyramid"}, *const pattern[] = {nets[k].pattern};
    assert_int_equal(width, nets[k].width);
    for (int form = 0; form < 3; form++) {
      const mica_status status = form == 0   ? mica_net_set_taps(net, nets[k].stages, nets[k].stage)
                                 : form == 1 ? mica_net_set_taps(net, 1, pattern)
                                             : mica_net_set_taps(net, 1, pyramid);
      if (status) fail_msg("%s", mica_last_error());
      assert_int_equal(mica_net_features(net), width);
      assert_int_equal(mica_net_taps(net), nets[k].stages);
      for (int scope = 0; scope < 2; scope++) {
        float *got = features(net, false, scope, &width);
        near(got, want, FEW * width);
        free(got);
      }
    }
    assert_string_equal(mica_net_tap(net, 0, NULL), "pyramid.0");
    assert_non_null(mica_net_tap(net, nets[k].stages - 1, &last));
    assert_int_equal(last, own);
    assert_null(mica_net_tap(net, nets[k].stages, NULL));
    assert_int_equal(mica_net_set_classes(net, 5), MICA_OK); /* the head reads what it did */
    assert_int_equal(mica_net_set_taps(net, 0, NULL), MICA_OK);
    assert_int_equal(mica_net_features(net), own);
    free(want);
    mica_net_free(net);
  }
}

/* A tap inside a convolution with its norm gives what is there, with the norm folded elsewhere. */
static void test_inside(void **state) {
  (void)state;
  mica_net *net = network(engine, "resnet:depth=18:width=4");
  const char *const inside[] = {"layer2.0.bn1", "maxpool", "layer2.1", "features", "fc"};
  int64_t width, stem;
  if (mica_net_set_taps(net, 5, inside)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_net_features(net), 8 + 4 + 8 + 32 + 2);
  mica_net_tap(net, 1, &stem);
  assert_int_equal(stem, 4);
  float *folded = features(net, false, false, &width), sum = 0;
  for (int64_t i = 0; i < width; i++) sum += folded[i] * folded[i];
  assert_true(sum > 0);
  /* The stem's tap turns nothing else off: the block's output is that of the plain network. */
  const char *const block[] = {"layer2.1"};
  assert_int_equal(mica_net_set_taps(net, 1, block), MICA_OK);
  float *plain = features(net, false, false, &width);
  assert_int_equal(width, 8);
  for (int i = 0; i < FEW; i++) near(folded + i * 54 + 12, plain + i * 8, 8);
  free(folded);
  free(plain);
  mica_net_free(net);
}

/* Tokens are averaged too; and gradients flow through taps. */
static void test_tokens_and_gradients(void **state) {
  (void)state;
  mica_net *net = network(engine, "vit:patch=4:dim=12:depth=2:heads=2");
  const char *const names[] = {"blocks.0", "tokens"};
  int64_t width;
  if (mica_net_set_taps(net, 2, names)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_net_features(net), 24);
  free(features(net, false, false, &width));
  free(features(net, true, false, &width));
  mica_tape *t;
  mica_outputs out;
  mica_tensor *x = pictures();
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_net_forward(t, net, mica_input(t, x), &out);
  assert_int_equal(mica_backward(t, mica_mean(t, mica_square(t, out.features), 0, NULL, false)),
                   MICA_OK);
  mica_param *w = mica_params_find(mica_net_params(net), "blocks.0.mlp.fc1.weight");
  assert_non_null(w);
  assert_int_equal(mica_param_grad_kind(w), MICA_GRAD_DENSE);
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_net_free(net);
}

static void refuse(mica_net *net, const char *name, mica_status status, const char *text) {
  if (mica_net_set_taps(net, 1, &name) != status) fail_msg("%s: %s", name, mica_last_error());
  if (!strstr(mica_last_error(), text)) fail_msg("%s: expected '%s'", mica_last_error(), text);
}

static void test_wrong_names(void **state) {
  (void)state;
  mica_net *net = network(engine, "convnet:widths=4,8");
  const char *const twice[] = {"stages.0", "stages.?"};
  const char *const good[] = {"stages.1"};
  assert_int_equal(mica_net_set_taps(net, 1, good), MICA_OK);
  refuse(net, "stage.0", MICA_ERR_NOT_FOUND, "did you mean 'stages.0'");
  refuse(net, "pyramid.2", MICA_ERR_NOT_FOUND, "no module 'pyramid.2'");
  refuse(net, "tokens", MICA_ERR_NOT_FOUND, "no module 'tokens'");
  refuse(net, "nothing*", MICA_ERR_NOT_FOUND, "no module 'nothing*'");
  assert_int_equal(mica_net_set_taps(net, 2, twice), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "named twice"));
  assert_int_equal(mica_net_features(net), 8); /* nothing has changed */
  mica_net_free(net);
  net = network(engine, "resnet:depth=56:width=4");
  refuse(net, "layer1.*", MICA_ERR_INVALID, "at most 16 taps");
  mica_net_free(net);
}

/* ---- models ---- */

static mica_model *model(mica_engine *e) {
  const mica_preprocess p = MICA_PREPROCESS(SIDE, SIDE, 1);
  const char *const classes[] = {"one", "two"};
  mica_model *m;
  mica_net *net = network(e, "convnet:widths=4,8");
  if (mica_model_create(net, &p, classes, NULL, &m)) fail_msg("%s", mica_last_error());
  return m;
}

static void put_gaussian(mica_model *m, const float *x, int64_t n) {
  const int64_t width = mica_net_features(mica_model_net(m));
  mica_fit_data data = MICA_FIT_DATA;
  mica_estimator *e;
  data.x = mica_view_of((void *)(uintptr_t)x, MICA_F32, MICA_SHAPE(n, width));
  assert_int_equal(mica_estimator_create(mica_params_engine(mica_net_params(mica_model_net(m))),
                                         "gaussian:levels=4,8", &e),
                   MICA_OK);
  if (mica_estimator_fit(e, &data, NULL)) fail_msg("%s", mica_last_error());
  if (mica_model_put_head(m, "normal", e, NULL)) fail_msg("%s", mica_last_error());
}

static void examples(uint8_t *pixels, int n) {
  for (int i = 0; i < n * SIDE * SIDE; i++) pixels[i] = (uint8_t)(i * 37 % 251);
}

/* Taps, the fit of pictures and the scores come back from the file; it is of format 2. */
static void test_file(void **state) {
  (void)state;
  enum { n = 40 };
  static uint8_t pixels[n * SIDE * SIDE];
  const char *const stages[] = {"stages.?"};
  float x[n * 12];
  double score[n], again[n];
  mica_model *m = model(engine);
  mica_session *s;
  examples(pixels, n);
  const mica_view v = mica_view_of(pixels, MICA_U8, MICA_SHAPE(n, SIDE, SIDE, 1));
  if (mica_model_set_taps(m, 1, stages)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_model_set_fit(m, MICA_FIT_WHOLE), MICA_OK);
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  assert_int_equal(mica_embed(s, &v, x), MICA_OK);
  put_gaussian(m, x, n);
  assert_int_equal(mica_anomaly_score(s, &v, score), MICA_OK);
  mica_session_free(s);
  assert_int_equal(mica_model_save(m, path), MICA_OK);
  if (getenv("MICA_WRITE_COMPAT")) assert_int_equal(mica_model_save(m, COMPAT), MICA_OK);
  mica_model_free(m);

  mica_archive *a;
  assert_int_equal(mica_archive_open(path, &a), MICA_OK);
  assert_non_null(strstr(mica_archive_metadata(a, "mica"), "\"format\":2"));
  mica_archive_close(a);
  if (mica_model_open(engine, path, &m)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_net_taps(mica_model_net(m)), 2);
  assert_int_equal(mica_model_preprocess(m)->fit, MICA_FIT_WHOLE);
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  if (mica_anomaly_score(s, &v, again)) fail_msg("%s", mica_last_error());
  for (int i = 0; i < n; i++) assert_true(score[i] == again[i]);
  mica_session_free(s);
  /* Other features: the head that read these goes. */
  assert_int_equal(mica_model_heads(m), 1);
  assert_int_equal(mica_model_set_taps(m, 0, NULL), MICA_OK);
  assert_int_equal(mica_model_heads(m), 0);
  assert_int_equal(mica_model_save(m, path), MICA_OK);
  mica_model_free(m);
  assert_int_equal(mica_archive_open(path, &a), MICA_OK);
  assert_non_null(strstr(mica_archive_metadata(a, "mica"), "\"format\":1"));
  mica_archive_close(a);
}

/* ---- compatibility ---- */

/* What release 0.1.0 said of the first pictures of `examples`. MICA_WRITE_COMPAT=1 makes the file
 * that later releases must read, and prints these. */
static const double release_0_1_0[4] =
#include "compat/taps-0.1.0.h"
    ;

static void test_earlier_release(void **state) {
  (void)state;
  static uint8_t pixels[4 * SIDE * SIDE];
  double score[4];
  mica_model *m;
  mica_session *s;
  examples(pixels, 4);
  const mica_view v = mica_view_of(pixels, MICA_U8, MICA_SHAPE(4, SIDE, SIDE, 1));
  if (mica_model_open(engine, COMPAT, &m)) fail_msg("%s", mica_last_error());
  assert_string_equal(mica_net_tap(mica_model_net(m), 1, NULL), "stages.1");
  assert_int_equal(mica_model_preprocess(m)->fit, MICA_FIT_WHOLE);
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  if (mica_anomaly_score(s, &v, score)) fail_msg("%s", mica_last_error());
  for (int i = 0; i < 4; i++)
    if (getenv("MICA_WRITE_COMPAT"))
      printf("%.9g,\n", score[i]);
    else
      assert_near(score[i], release_0_1_0[i], 1e-4);
  mica_session_free(s);
  mica_model_free(m);
}

/* What a file says of taps is not believed. */
static void test_hostile_files(void **state) {
  (void)state;
  const struct {
    const char *taps, *expected;
  } bad[] = {{"3", "taps is no list"},
             {"[{\"name\": 3, \"width\": 4}]", "taps[0]"},
             {"[{\"name\": \"stages.0\"}]", "width"},
             {"[{\"name\": \"stages.0\", \"width\": 0}]", "0 features"},
             {"[{\"name\": \"a*\", \"width\": 4}]", "no module's name"},
             {"[{\"name\": \"a\", \"width\": 4}, {\"name\": \"a\", \"width\": 4}]", "twice"}};
  const char *const stages[] = {"stages.0"};
  mica_model *m = model(engine);
  mica_archive *a;
  mica_bytes head = {0};
  assert_int_equal(mica_model_set_taps(m, 1, stages), MICA_OK);
  assert_int_equal(mica_model_save(m, path), MICA_OK);
  mica_model_free(m);
  assert_int_equal(mica_archive_open(path, &a), MICA_OK);
  char *text = mica_strdup(mica_archive_metadata(a, "mica"));
  mica_named_view views[64];
  mica_tensor *tensor[64];
  const int64_t n = mica_archive_count(a);
  assert_true(n <= 64);
  for (int64_t i = 0; i < n; i++) {
    assert_int_equal(mica_archive_read(a, i, &tensor[i]), MICA_OK);
    views[i] = (mica_named_view){mica_archive_name(a, i), mica_tensor_view(tensor[i])};
  }
  char *from = strstr(text, "\"taps\":"), *to = strchr(from, ']');
  assert_non_null(to);
  const char *const wrong[] = {"[{\"name\": \"stages.0\", \"width\": 5}]",
                               "[{\"name\": \"stages.7\", \"width\": 4}]"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad + 2; i++) {
    const size_t known = sizeof bad / sizeof *bad;
    mica_bytes json = {0};
    mica_bytes_printf(&json, "%.*s\"taps\":%s%s", (int)(from - text), text,
                      i < known ? bad[i].taps : wrong[i - known], to + 1);
    const mica_text_pair pair = {"mica", json.data};
    assert_int_equal(mica_safetensors_write(path, views, n, &pair, 1), MICA_OK);
    mica_bytes_free(&json);
    const mica_status status = mica_model_open(engine, path, &m);
    if (i < known) {
      assert_int_equal(status, MICA_ERR_FORMAT);
      if (!strstr(mica_last_error(), bad[i].expected)) fail_msg("%s", mica_last_error());
      continue;
    }
    /* These are found by the first use. */
    assert_int_equal(status, MICA_OK);
    mica_session *s;
    static uint8_t pixels[SIDE * SIDE];
    float x[8];
    const mica_view v = mica_view_of(pixels, MICA_U8, MICA_SHAPE(1, SIDE, SIDE, 1));
    assert_int_equal(mica_session_create(m, &s), MICA_OK);
    assert_int_equal(mica_embed(s, &v, x), i == known ? MICA_ERR_SHAPE : MICA_ERR_NOT_FOUND);
    assert_non_null(strstr(mica_last_error(), "tap 'stages."));
    mica_session_free(s);
    mica_model_free(m);
  }
  for (int64_t i = 0; i < n; i++) mica_tensor_free(tensor[i]);
  mica_bytes_free(&head);
  mica_free(text);
  mica_archive_close(a);
}

/* ---- whole pictures ---- */

static void test_whole_picture(void **state) {
  (void)state;
  mica_tensor *wide, *fitted;
  assert_int_equal(mica_tensor_create(MICA_U8, MICA_SHAPE(20, 50, 1), &wide), MICA_OK);
  uint8_t *to = mica_tensor_data(wide), out[16 * 16];
  for (int i = 0; i < 1000; i++) to[i] = (uint8_t)(i * 7 % 256);
  mica_preprocess p = MICA_PREPROCESS(16, 16, 1);
  p.fit = MICA_FIT_WHOLE;
  assert_int_equal(mica_image_prepare(wide, &p, out), MICA_OK);
  assert_int_equal(mica_image_resize(wide, 16, 16, MICA_FILTER_BILINEAR, &fitted), MICA_OK);
  assert_memory_equal(out, mica_tensor_data(fitted), sizeof out);
  mica_tensor_free(fitted);
  /* With a crop the middle of the larger resize is taken. */
  p.crop = 0.8;
  assert_int_equal(mica_image_prepare(wide, &p, out), MICA_OK);
  assert_int_equal(mica_image_resize(wide, 20, 20, MICA_FILTER_BILINEAR, &fitted), MICA_OK);
  for (int r = 0; r < 16; r++)
    assert_memory_equal(out + 16 * r, (uint8_t *)mica_tensor_data(fitted) + 20 * (r + 2) + 2, 16);
  mica_tensor_free(fitted);
  p.fit = (mica_image_fit)7;
  assert_int_equal(mica_image_prepare(wide, &p, out), MICA_ERR_INVALID);
  mica_tensor_free(wide);
  mica_model *m = model(engine);
  assert_int_equal(mica_model_set_fit(m, (mica_image_fit)7), MICA_ERR_INVALID);
  mica_model_free(m);
}

/* ---- memory ---- */

static mica_status life(void *ctx) {
  const char *const names[] = {"pyramid", "stages.0"};
  uint8_t pixels[SIDE * SIDE] = {0};
  const mica_view v = mica_view_of(pixels, MICA_U8, MICA_SHAPE(1, SIDE, SIDE, 1));
  float x[16];
  mica_session *s = NULL;
  mica_status status = mica_model_set_taps(ctx, 2, names);
  if (!status) status = mica_session_create(ctx, &s);
  if (!status) status = mica_embed(s, &v, x);
  mica_session_free(s);
  const mica_status cleared = mica_model_set_taps(ctx, 0, NULL);
  return status ? status : cleared;
}

static void test_failures(void **state) {
  (void)state;
  failing_alloc_install();
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *own;
  o.threads = 1;
  assert_int_equal(mica_engine_create(&o, &own), MICA_OK);
  mica_model *m = model(own);
  assert_int_equal(life(m), MICA_OK); /* what the engine keeps is made here */
  assert_true(fail_each(life, m) > 20);
  mica_model_free(m);
  mica_engine_free(own);
  failing_alloc_remove();
}

static int setup(void **state) {
  (void)state;
  const int f = mkstemp(path);
  if (f < 0 || close(f)) return 1;
  return mica_engine_create(NULL, &engine);
}

static int teardown(void **state) {
  (void)state;
  mica_engine_free(engine);
  return unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_stages),
                                     cmocka_unit_test(test_inside),
                                     cmocka_unit_test(test_tokens_and_gradients),
                                     cmocka_unit_test(test_wrong_names),
                                     cmocka_unit_test(test_file),
                                     cmocka_unit_test(test_earlier_release),
                                     cmocka_unit_test(test_hostile_files),
                                     cmocka_unit_test(test_whole_picture),
                                     cmocka_unit_test(test_failures)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
