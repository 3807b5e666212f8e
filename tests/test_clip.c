/* CLIP: PyTorch's numbers, pairs of pictures and captions that are learnt, and what is refused. */
#include "support/golden.h"
#include "support/near.h"

#include <mica/mica.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mica_engine *engine;

static mica_net *net_of(const char *spec, const mica_problem *task) {
  mica_net *net;
  if (mica_net_create(engine, spec, task, 3, &net) != MICA_OK) fail_msg("%s", mica_last_error());
  return net;
}

static mica_tape *tape_make(void) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  return t;
}

/* ---- PyTorch ---- */

static void agrees(const mica_archive *a, const char *form, const char *what, const mica_view *got,
                   double bound) {
  char key[200];
  snprintf(key, sizeof key, "%s.%s", form, what);
  mica_tensor *want = golden_read(a, MICA_F64, key);
  assert_true(golden_agrees(key, got, want, bound));
  mica_tensor_free(want);
}

/* In exact arithmetic the gradient of the keys' biases is 0: they move all scores of a query. */
static void check_gradient(const mica_archive *a, const char *form, mica_param *q) {
  char what[160];
  const mica_view g = mica_param_grad(q);
  assert_non_null(g.data);
  if (strstr(mica_param_path(q), "k_proj.bias")) {
    for (int64_t i = 0; i < mica_view_count(&g); i++)
      assert_near((double)((const float *)g.data)[i], 0, 1e-4);
    return;
  }
  /* The gradient as the file has it: through a parameter of the same layout. */
  mica_tensor *reference;
  memcpy(mica_param_write(q), g.data, (size_t)mica_view_count(&g) * sizeof(float));
  assert_int_equal(mica_param_to_reference(q, &reference), MICA_OK);
  const mica_view v = mica_tensor_view(reference);
  snprintf(what, sizeof what, "grad.%s", mica_param_path(q));
  agrees(a, form, what, &v, 1e-4);
  mica_tensor_free(reference);
}

static void against_torch(const char *form, const char *spec) {
  static const char file[] = GOLDEN_FOLDER "clip.safetensors";
  const mica_problem task = {4, 8, 2, 0, 11, 6, 0, NULL};
  char key[64];
  mica_archive *a = golden_open(file);
  mica_net *net = net_of(spec, &task);
  mica_params *params = mica_net_params(net);
  mica_load_options o = MICA_LOAD_OPTIONS;
  mica_load_report report;
  snprintf(key, sizeof key, "%s.param.", form);
  o.strip = key;
  if (mica_params_load(params, file, &o, &report) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(report.missing + report.reshaped, 0);
  assert_int_equal(report.loaded, mica_params_count(params));
  mica_free(report.text);
  snprintf(key, sizeof key, "%s.x", form);
  mica_tensor *x = golden_read(a, MICA_F32, key);
  snprintf(key, sizeof key, "%s.tokens", form);
  mica_tensor *tokens = golden_read(a, MICA_I64, key);
  mica_tape *t = tape_make();
  mica_loss *loss;
  assert_int_equal(mica_loss_create(engine, "clip", NULL, 0, 5, &loss), MICA_OK);
  const mica_inputs in = {mica_input(t, x), mica_input(t, tokens), MICA_NONE};
  mica_outputs out;
  mica_net_forward_inputs(t, net, &in, &out);
  const mica_loss_inputs given = {.logits = out.logits};
  const mica_var l = mica_loss_forward(t, loss, &given);
  const mica_view image = mica_read(t, out.features), text = mica_read(t, out.text),
                  logits = mica_read(t, out.logits), value = mica_read(t, l);
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  assert_int_equal(mica_dim(t, out.tokens, 1), 3);
  assert_int_equal(mica_dim(t, out.tokens, 2), 8);
  agrees(a, form, "image", &image, 2e-5);
  agrees(a, form, "text", &text, 2e-5);
  agrees(a, form, "logits", &logits, 2e-5);
  agrees(a, form, "loss", &value, 2e-5);
  assert_int_equal(mica_backward(t, l), MICA_OK);
  for (int64_t i = 0; i < mica_params_count(params); i++)
    check_gradient(a, form, mica_params_at(params, i));
  mica_loss_free(loss);
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_tensor_free(tokens);
  mica_net_free(net);
  mica_archive_close(a);
}

#define SMALL                                                                                      \
  "clip:dim=5:patch=4:vision_dim=8:vision_depth=2:vision_heads=2:text_dim=6:text_depth=1:"         \
  "text_heads=3"

static void test_torch(void **state) {
  (void)state;
  against_torch("quick", SMALL);
  against_torch("erf", SMALL ":activation=gelu");
  against_torch("limit", SMALL);
}

/* ---- coloured squares ---- */

#define PAIRS      16
#define SIDE       8
#define LENGTH     6
#define VOCABULARY 11
#define WIDTH      16
#define SQUARES                                                                                    \
  "clip:dim=16:patch=4:vision_dim=16:vision_depth=1:vision_heads=2:text_dim=16:text_depth=1:"      \
  "text_heads=2"

static const mica_problem squares = {SIDE, SIDE, 3, 0, VOCABULARY, LENGTH, 0, NULL};

/* One of 4 colours in one of 4 corners, in noise; the caption names both, in either order, between
 * a beginning (9) and an end (10). */
static void draw(uint64_t seed, float *x, int64_t *tokens) {
  static const float colour[4][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, 1, 0}};
  uint64_t at = 0;
  for (int i = 0; i < PAIRS; i++) {
    const int c = i / 4, corner = i % 4;
    const bool turned = mica_random_normal(mica_key_seed(seed), at++) > 0;
    const int64_t caption[LENGTH] = {9, turned ? 5 + corner : 1 + c, turned ? 1 + c : 5 + corner,
                                     10};
    memcpy(tokens + i * LENGTH, caption, sizeof caption);
    for (int p = 0; p < SIDE * SIDE; p++)
      for (int k = 0; k < 3; k++) {
        const bool inside = p / SIDE / 4 == corner / 2 && p % SIDE / 4 == corner % 2;
        x[(i * SIDE * SIDE + p) * 3 + k] =
            (inside ? colour[c][k] : 0) +
            0.3F * (float)mica_random_normal(mica_key_seed(seed), at++);
      }
  }
}

typedef struct drawn {
  mica_tensor *x, *tokens;
  uint64_t seed;
} drawn;

static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  drawn *d = ctx;
  d->seed = (uint64_t)(1000 * epoch + batch + 1);
  return MICA_OK;
}
static mica_status next(void *ctx, mica_batch *out) {
  drawn *d = ctx;
  draw(d->seed++, mica_tensor_data(d->x), mica_tensor_data(d->tokens));
  *out = (mica_batch){.n = PAIRS, .x = d->x, .tokens = d->tokens};
  return MICA_OK;
}

static drawn drawn_make(void) {
  drawn d = {0};
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(PAIRS, SIDE, SIDE, 3), &d.x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(PAIRS, LENGTH), &d.tokens), MICA_OK);
  return d;
}
static void drawn_free(drawn *d) {
  mica_tensor_free(d->x);
  mica_tensor_free(d->tokens);
}

/* The shares of pictures that find their caption ([1]) and of captions that find their picture
 * ([0]) among those of a batch, over batches that are not trained on. */
static void retrieval(const mica_net *net, drawn *d, double share[2]) {
  enum { BATCHES = 20 };
  mica_tape *t = tape_make();
  share[0] = share[1] = 0;
  for (int b = 0; b < BATCHES; b++) {
    mica_outputs out;
    mica_tape_reset(t);
    draw(999000 + (uint64_t)b, mica_tensor_data(d->x), mica_tensor_data(d->tokens));
    const mica_inputs in = {mica_input(t, d->x), mica_input(t, d->tokens), MICA_NONE};
    mica_no_grad_begin(t);
    mica_net_forward_inputs(t, net, &in, &out);
    for (int axis = 0; axis < 2; axis++) {
      const mica_view best = mica_read(t, mica_argmax(t, out.logits, axis));
      if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
      for (int i = 0; i < PAIRS; i++)
        share[axis] += (((const int64_t *)best.data)[i] == i) / (double)(BATCHES * PAIRS);
    }
  }
  mica_tape_free(t);
}

static void test_learns(void **state) {
  (void)state;
  drawn d = drawn_make();
  const mica_stream stream = {&d, 30, seek, next};
  mica_net *net = net_of(SQUARES, &squares);
  double before[2], after[2];
  retrieval(net, &d, before);
  mica_train_options o = MICA_TRAIN_OPTIONS;
  o.loss = "clip";
  o.optimiser = "adamw:lr=0.003";
  o.epochs = 10;
  if (mica_train(net, &stream, NULL, &o, NULL) != MICA_OK) fail_msg("%s", mica_last_error());
  retrieval(net, &d, after);
  for (int i = 0; i < 2; i++)
    if (!(before[i] < 0.3 && after[i] > 0.9))
      fail_msg("%s: %g, then %g", i ? "captions found" : "pictures found", before[i], after[i]);
  mica_net_free(net);
  drawn_free(&d);
}

/* ---- model file and session ---- */

static void test_session(void **state) {
  (void)state;
  char path[] = "/tmp/mica-test-clip-XXXXXX";
  const mica_preprocess preprocess = MICA_PREPROCESS(SIDE, SIDE, 3);
  static uint8_t pixels[PAIRS * SIDE * SIDE * 3];
  drawn d = drawn_make();
  float *x = mica_tensor_data(d.x), got[PAIRS * WIDTH], again[PAIRS * WIDTH];
  draw(1, x, mica_tensor_data(d.tokens));
  for (int64_t i = 0; i < PAIRS * SIDE * SIDE * 3; i++)
    pixels[i] = (uint8_t)(fminf(fmaxf(x[i], 0), 1) * 255);
  mica_image_normalise(&preprocess, pixels, PAIRS, x);
  mica_net *net = net_of(SQUARES, &squares);
  mica_tape *t = tape_make();
  mica_outputs out;
  const mica_inputs in = {mica_input(t, d.x), mica_input(t, d.tokens), MICA_NONE};
  mica_net_forward_inputs(t, net, &in, &out);
  const mica_view want = mica_read(t, out.features);
  assert_true(mica_ok(t));

  mica_model *m[2];
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  assert_int_equal(mica_model_create(net, &preprocess, NULL, NULL, &m[0]), MICA_OK);
  assert_int_equal(mica_model_save(m[0], path), MICA_OK);
  if (mica_model_open(engine, path, &m[1]) != MICA_OK) fail_msg("%s", mica_last_error());
  mica_view examples[2] = {mica_view_of(pixels, MICA_U8, MICA_SHAPE(PAIRS, SIDE, SIDE, 3)),
                           mica_tensor_view(d.tokens)};
  for (int i = 0; i < 2; i++) {
    mica_session *s;
    mica_answer answer[PAIRS];
    assert_int_equal(mica_session_create(m[i], &s), MICA_OK);
    if (mica_embed(s, examples, i ? again : got) != MICA_OK) fail_msg("%s", mica_last_error());
    /* A score of each pair is no class. */
    assert_int_equal(mica_predict(s, examples, answer), MICA_ERR_UNSUPPORTED);
    assert_non_null(strstr(mica_last_error(), "each pair of a batch"));
    examples[1].shape.dim[0]--;
    assert_int_equal(mica_embed(s, examples, again), MICA_ERR_SHAPE);
    examples[1].shape.dim[0]++;
    mica_session_free(s);
  }
  for (int i = 0; i < PAIRS; i++) {
    double norm = 0;
    for (int k = i * WIDTH; k < (i + 1) * WIDTH; k++) {
      assert_near((double)got[k], (double)((const float *)want.data)[k], 1e-5);
      norm += (double)got[k] * (double)got[k];
    }
    assert_near(norm, 1, 1e-5);
  }
  mica_session *s;
  assert_int_equal(mica_session_create(m[1], &s), MICA_OK);
  assert_int_equal(mica_embed(s, examples, again), MICA_OK);
  assert_memory_equal(got, again, sizeof got);
  mica_session_free(s);
  mica_tape_free(t);
  mica_model_free(m[0]);
  mica_model_free(m[1]);
  drawn_free(&d);
  unlink(path);
}

/* ---- forms ---- */

/* With classes a layer on the image's features answers, and the text is still there. */
static void test_classes(void **state) {
  (void)state;
  drawn d = drawn_make();
  draw(1, mica_tensor_data(d.x), mica_tensor_data(d.tokens));
  mica_net *net = net_of(SQUARES, &squares);
  assert_int_equal(mica_net_set_classes(net, 7), MICA_OK);
  mica_tape *t = tape_make();
  mica_outputs out;
  const mica_inputs in = {mica_input(t, d.x), mica_input(t, d.tokens), MICA_NONE};
  mica_net_forward_inputs(t, net, &in, &out);
  assert_int_equal(mica_dim(t, out.logits, 1), 7);
  assert_int_equal(mica_dim(t, out.text, 1), WIDTH);
  assert_true(mica_ok(t));
  mica_tape_free(t);
  mica_net_free(net);
  drawn_free(&d);
}

/* What comes behind the end of a text, and a mask that leaves it out, change nothing. */
static void test_end_of_text(void **state) {
  (void)state;
  drawn d = drawn_make();
  draw(1, mica_tensor_data(d.x), mica_tensor_data(d.tokens));
  mica_net *net = net_of(SQUARES, &squares);
  mica_tape *t = tape_make();
  int64_t tokens[PAIRS * LENGTH];
  float keep[PAIRS * LENGTH], text[3][PAIRS * WIDTH];
  memcpy(tokens, mica_tensor_data(d.tokens), sizeof tokens);
  for (int i = 0; i < PAIRS * LENGTH; i++) {
    keep[i] = i % LENGTH < 4;
    if (!(keep[i] > 0)) tokens[i] = i % 5;
  }
  const mica_view other = mica_view_of(tokens, MICA_I64, MICA_SHAPE(PAIRS, LENGTH)),
                  mask = mica_view_of(keep, MICA_F32, MICA_SHAPE(PAIRS, LENGTH));
  for (int i = 0; i < 3; i++) {
    mica_outputs out;
    mica_tape_reset(t);
    const mica_inputs in = {mica_input(t, d.x),
                            i == 1 ? mica_borrow(t, &other) : mica_input(t, d.tokens), MICA_NONE};
    if (i == 2) mica_set_mask(t, mica_borrow(t, &mask));
    mica_net_forward_inputs(t, net, &in, &out);
    const mica_view y = mica_read(t, out.text);
    if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
    memcpy(text[i], y.data, sizeof text[i]);
    for (int k = 0; k < PAIRS * WIDTH; k++)
      assert_near((double)text[i][k], (double)text[0][k], 1e-6);
  }
  mica_tape_free(t);
  mica_net_free(net);
  drawn_free(&d);
}

/* OpenAI's deviations, and 1 / 0.07 as the first scale. */
static void test_initial_values(void **state) {
  (void)state;
  const mica_problem task = {32, 32, 3, 0, 64, 32, 0, NULL};
  mica_net *net = net_of("clip:dim=64:patch=8:vision_dim=64:vision_depth=2:vision_heads=4:"
                         "text_dim=64:text_depth=8:text_heads=4",
                         &task);
  static const struct {
    const char *name;
    double deviation;
  } want[] = {{"text_model.embeddings.token_embedding.weight", 0.02},
              {"text_model.embeddings.position_embedding.weight", 0.01},
              {"text_model.encoder.layers.7.self_attn.q_proj.weight", 0.125},
              {"text_model.encoder.layers.0.self_attn.out_proj.weight", 0.125 / 4},
              {"text_model.encoder.layers.3.mlp.fc1.weight", 0.0883883},
              {"text_model.encoder.layers.3.mlp.fc2.weight", 0.125 / 4},
              {"vision_model.embeddings.patch_embedding.weight", 0.02},
              {"vision_model.encoder.layers.1.self_attn.out_proj.weight", 0.0625},
              {"vision_model.encoder.layers.1.mlp.fc1.bias", 0},
              {"visual_projection.weight", 0.125},
              {"text_projection.weight", 0.125}};
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    const mica_param *q = mica_params_find(mica_net_params(net), want[i].name);
    if (!q) fail_msg("no %s", want[i].name);
    double sum = 0;
    const int64_t n = mica_tensor_count(mica_param_value(q));
    for (int64_t k = 0; k < n; k++) sum += pow(mica_tensor_get(mica_param_value(q), k), 2);
    if (!(fabs(sqrt(sum / (double)n) - want[i].deviation) <= 0.06 * want[i].deviation))
      fail_msg("%s: %g", want[i].name, sqrt(sum / (double)n));
  }
  const mica_param *scale = mica_params_find(mica_net_params(net), "logit_scale");
  assert_near(exp(mica_tensor_get(mica_param_value(scale), 0)), 1 / 0.07, 1e-6);
  mica_net_free(net);
}

/* ---- what is refused ---- */

static void test_refuses(void **state) {
  (void)state;
  static const struct {
    const char *spec;
    mica_problem task;
    const char *says;
  } bad[] = {{"clip", MICA_PROBLEM_IMAGES(32, 32, 3, 0), "clip reads tokens"},
             {"clip", MICA_PROBLEM_TOKENS(9, 5, 0), "reads images beside tokens"},
             {"clip:patch=5", {32, 32, 3, 0, 9, 5, 0, NULL}, "patch 5 does not divide"},
             {"clip:vision_heads=5", {32, 32, 3, 0, 9, 5, 0, NULL}, "vision_dim 768"},
             {"clip:text_heads=5", {32, 32, 3, 0, 9, 5, 0, NULL}, "text_dim 512"}};
  mica_net *net;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(mica_net_create(engine, bad[i].spec, &bad[i].task, 1, &net), MICA_ERR_INVALID);
    if (!strstr(mica_last_error(), bad[i].says)) fail_msg("%s", mica_last_error());
  }
  net = net_of(SQUARES, &squares);
  mica_tape *t = tape_make();
  static const struct {
    int64_t height, length;
    mica_status status;
  } odd[] = {{8, LENGTH + 1, MICA_ERR_SHAPE},
             {8, 0, MICA_ERR_SHAPE},
             {4, LENGTH, MICA_ERR_SHAPE},
             {12, LENGTH, MICA_ERR_SHAPE},
             {8, 1, MICA_OK}};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    mica_outputs out;
    mica_tape_reset(t);
    const mica_inputs in = {mica_full(t, MICA_F32, MICA_SHAPE(2, odd[i].height, 8, 3), 0),
                            mica_full(t, MICA_I64, MICA_SHAPE(2, odd[i].length), 1), MICA_NONE};
    mica_net_forward_inputs(t, net, &in, &out);
    if (mica_tape_status(t) != odd[i].status) fail_msg("%zu: %s", i, mica_tape_error(t));
  }
  mica_loss *loss;
  assert_int_equal(mica_loss_create(engine, "clip", NULL, 0, 5, &loss), MICA_OK);
  static const mica_shape shapes[] = {{2, {3, 4}}, {1, {3}}, {3, {3, 3, 3}}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    mica_tape_reset(t);
    const mica_loss_inputs in = {.logits = mica_full(t, MICA_F32, shapes[i], 0)};
    mica_loss_forward(t, loss, &in);
    assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
    assert_non_null(strstr(mica_tape_error(t), "similarities [N,N]"));
  }
  mica_loss_free(loss);
  mica_tape_free(t);
  mica_net_free(net);
}

/* Batches of several sizes: 3, then 16. */
static mica_status next_growing(void *ctx, mica_batch *out) {
  drawn *d = ctx;
  const bool first = d->seed++ == 1;
  const int64_t n = first ? 3 : PAIRS;
  mica_tensor_free(d->x);
  mica_tensor_free(d->tokens);
  d->x = d->tokens = NULL;
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, SIDE, SIDE, 3), &d->x);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(n, LENGTH), &d->tokens);
  *out = (mica_batch){.n = n, .x = d->x, .tokens = d->tokens};
  return status;
}

/* Logits of batches of different sizes have different widths, and cannot be kept as one table. */
static void test_evaluation(void **state) {
  (void)state;
  drawn d = {0};
  const mica_stream stream = {&d, 2, seek, next_growing};
  mica_net *net = net_of(SQUARES, &squares);
  mica_evaluation e;
  assert_int_equal(mica_evaluate(net, &stream, true, false, &e), MICA_ERR_SHAPE);
  assert_non_null(strstr(mica_last_error(), "rows of 16 numbers behind rows of 3"));
  assert_int_equal(mica_evaluate(net, &stream, false, true, &e), MICA_OK);
  assert_int_equal(mica_tensor_dim(e.features, 0), 3 + PAIRS);
  mica_evaluation_clear(&e);
  mica_net_free(net);
  drawn_free(&d);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_torch),       cmocka_unit_test(test_learns),
      cmocka_unit_test(test_session),     cmocka_unit_test(test_classes),
      cmocka_unit_test(test_end_of_text), cmocka_unit_test(test_initial_values),
      cmocka_unit_test(test_refuses),     cmocka_unit_test(test_evaluation)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
