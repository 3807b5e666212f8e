/* Classes as directions: every kind against its formula, the state that adapts, the classifier on a
 * network, in a model file, and grown by a class. */
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 5, D = 3, C = 4 };
static mica_engine *engine;

static const float features[N * D] = {1, 2, -1, 0.5f, -0.5f, 2, -1, 0.2f, 0.1f, 3, 1, 1, -2, -2, 1};
static const float vectors[C * D] = {1, 0, 0, 0, 2, 0.5f, 0, -1, 1, -3, -1, 0};
static const int64_t classes_of[N] = {1, 2, 3, 0, 3};

static double cosine(int i, int c) {
  double dot = 0, a = 0, b = 0;
  for (int k = 0; k < D; k++) {
    const double x = (double)features[i * D + k], w = (double)vectors[c * D + k];
    dot += x * w, a += x * x, b += w * w;
  }
  return dot / sqrt(a * b);
}

static mica_tensor *tensor(mica_dtype dtype, mica_shape shape, const void *values) {
  mica_tensor *t;
  const mica_view v = mica_view_of((void *)(uintptr_t)values, dtype, shape);
  assert_int_equal(mica_tensor_from_view(&v, dtype, &t), MICA_OK);
  return t;
}

/* Logits of the examples above into out [N, C]; the tape's status. */
static mica_status logits(const mica_cosine_options *o, bool training, bool labelled,
                          mica_cosine_state *state, double *out) {
  mica_tape *t;
  mica_tensor *x = tensor(MICA_F32, MICA_SHAPE(N, D), features);
  mica_tensor *w = tensor(MICA_F32, MICA_SHAPE(C, D), vectors);
  mica_tensor *y = tensor(MICA_I64, MICA_SHAPE(N), classes_of);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_set_training(t, training);
  const mica_var v = mica_cosine_logits(t, mica_input(t, x), mica_input(t, w),
                                        labelled ? mica_input(t, y) : MICA_NONE, o, state);
  const mica_view view = mica_ok(t) ? mica_read(t, v) : (mica_view){0};
  for (int i = 0; i < N * C && view.data; i++) out[i] = (double)((const float *)view.data)[i];
  const mica_status status = mica_tape_status(t);
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_tensor_free(w);
  mica_tensor_free(y);
  return status;
}

static double expected(int32_t kind, double margin, double c) {
  const double angle = acos(c), pi = acos(-1);
  if (kind == MICA_COSINE_COSFACE) return c - margin;
  if (kind == MICA_COSINE_ARCFACE) return angle <= pi - margin ? cos(angle + margin) : c;
  if (kind == MICA_COSINE_CURRICULARFACE)
    return angle < pi - margin ? cos(angle + margin) : c - margin * sin(margin);
  if (kind == MICA_COSINE_SPHEREFACE) {
    const double k = floor(margin * angle / pi);
    return (fmod(k, 2) == 0 ? 1 : -1) * cos(margin * angle) - 2 * k;
  }
  return c;
}

static void kinds_are_their_formulas(void **state) {
  (void)state;
  for (int32_t kind = MICA_COSINE_SOFTMAX; kind <= MICA_COSINE_CURRICULARFACE; kind++) {
    mica_cosine_options o = MICA_COSINE_OPTIONS;
    double out[N * C];
    o.kind = kind;
    o.scale = 7;
    o.margin = kind == MICA_COSINE_SPHEREFACE ? 2 : 0.4;
    mica_cosine_state s = mica_cosine_state_begin(&o, C);
    s.hardness = 0.2;
    double mean = 0;
    for (int i = 0; i < N; i++) mean += cosine(i, (int)classes_of[i]) / N;
    if (logits(&o, true, true, &s, out) != MICA_OK) fail_msg("%s", mica_last_error());
    const double t = 0.2 + 0.01 * (mean - 0.2);
    if (kind == MICA_COSINE_CURRICULARFACE) assert_true(fabs(s.hardness - t) < 1e-6);
    for (int i = 0; i < N; i++) {
      const int own = (int)classes_of[i];
      const double with = expected(kind, o.margin, cosine(i, own));
      for (int c = 0; c < C; c++) {
        double want = c == own ? with : cosine(i, c);
        if (kind == MICA_COSINE_CURRICULARFACE && c != own && want > with) want *= t + want;
        if (fabs(out[i * C + c] - 7 * want) > 2e-5)
          fail_msg("kind %d, row %d, class %d: %g, expected %g", (int)kind, i, c, out[i * C + c],
                   7 * want);
      }
    }
    /* Without labels, and in evaluation, there is no margin. */
    for (int labelled = 0; labelled < 2; labelled++) {
      assert_int_equal(logits(&o, false, labelled, &s, out), MICA_OK);
      for (int i = 0; i < N * C; i++) assert_true(fabs(out[i] - 7 * cosine(i / C, i % C)) < 2e-5);
    }
  }
}

static double log_others(int i, double scale) {
  double sum = 0;
  for (int c = 0; c < C; c++)
    if (c != (int)classes_of[i]) sum += exp(scale * cosine(i, c));
  return log(sum);
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void scales_follow_the_batch(void **state) {
  (void)state;
  double own[N], others[N], out[N * C], mean = 0;
  for (int i = 0; i < N; i++) own[i] = cosine(i, (int)classes_of[i]);
  qsort(own, N, sizeof *own, ascending);
  mica_cosine_options o = MICA_COSINE_OPTIONS;
  o.kind = MICA_COSINE_MADACOS;
  o.floor = 1;
  o.top_prob = 0.9;
  for (o.others = 0; o.others <= MICA_COSINE_OTHERS_MEDIAN; o.others++) {
    mica_cosine_state s = mica_cosine_state_begin(&o, C);
    assert_int_equal(logits(&o, true, true, &s, out), MICA_OK);
    assert_true(fabs(s.median - own[(N - 1) / 2]) < 1e-6);
    const double scale = log(9 * (1 - o.alpha) / o.alpha) / (1 - own[(N - 1) / 2]);
    assert_true(fabs(s.scale - scale) < 1e-4 * scale);
    mean = 0;
    for (int i = 0; i < N; i++) {
      others[i] = log_others(i, scale);
      mean += exp(others[i]) / N;
    }
    qsort(others, N, sizeof *others, ascending);
    if (o.others == MICA_COSINE_OTHERS_MEAN) assert_true(fabs(s.log_others - log(mean)) < 1e-3);
    if (o.others == MICA_COSINE_OTHERS_MEDIAN)
      assert_true(fabs(s.log_others - others[(N - 1) / 2]) < 1e-3);
    const double margin = s.median - (s.log_others + log(o.alpha / (1 - o.alpha))) / s.scale;
    assert_true(fabs(s.margin - fmax(0, margin)) < 1e-9);
  }
  o = (mica_cosine_options)MICA_COSINE_OPTIONS;
  o.kind = MICA_COSINE_ADACOS;
  mica_cosine_state s = mica_cosine_state_begin(&o, C);
  assert_true(fabs(s.scale - sqrt(2) * log(C - 1)) < 1e-12);
  assert_int_equal(logits(&o, true, true, &s, out), MICA_OK);
  assert_true(fabs(s.scale - sqrt(2) * log(C - 1)) < 1e-12);
  o.dynamic = true;
  s.scale = 6;
  mean = 0;
  for (int i = 0; i < N; i++) mean += exp(log_others(i, 6)) / N;
  assert_int_equal(logits(&o, true, true, &s, out), MICA_OK);
  const double angle = acos(own[N / 2]), most = acos(-1) / 4;
  assert_true(fabs(s.scale - log(mean) / cos(angle < most ? angle : most)) < 1e-4);
}

static void wrong_options_latch(void **state) {
  (void)state;
  double out[N * C];
  mica_cosine_state s = {1, 0, 0, 0, 0};
  const struct {
    int32_t kind, constraint, others;
    double scale, alpha, top;
  } bad[] = {{9, 0, 0, 1, 0.1, 0.9},  {0, 2, 0, 1, 0.1, 0.9},  {0, 0, 3, 1, 0.1, 0.9},
             {0, 0, 0, -1, 0.1, 0.9}, {0, 0, 0, 1, 0, 0.9},    {0, 0, 0, 1, 0.1, 1},
             {0, 0, 0, 1, 0.95, 0.9}, {0, 0, 0, NAN, 0.1, 0.9}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    mica_cosine_options o = MICA_COSINE_OPTIONS;
    o.kind = bad[i].kind, o.constraint = bad[i].constraint, o.others = bad[i].others;
    o.scale = bad[i].scale, o.alpha = bad[i].alpha, o.top_prob = bad[i].top;
    assert_int_equal(logits(&o, true, true, &s, out), MICA_ERR_INVALID);
    mica_params *p;
    assert_int_equal(mica_params_create(engine, 1, &p), MICA_OK);
    assert_int_equal(mica_nn_cosine_init(mica_params_root(p), 3, 2, &o), MICA_ERR_INVALID);
    mica_params_free(p);
  }
}

static void labels_are_checked(void **state) {
  (void)state;
  const int64_t wrong[2][N] = {{0, 1, 2, 3, C}, {-1, 0, 0, 0, 0}};
  for (int k = 0; k < 4; k++) {
    mica_tape *t;
    mica_cosine_options o = MICA_COSINE_OPTIONS;
    mica_cosine_state s = mica_cosine_state_begin(&o, C);
    mica_tensor *x = tensor(MICA_F32, MICA_SHAPE(N, D), features);
    mica_tensor *w = tensor(MICA_F32, MICA_SHAPE(C, D), vectors);
    mica_tensor *y = tensor(MICA_I64, MICA_SHAPE(k < 2 ? N : 2), wrong[k & 1]);
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    mica_set_training(t, true);
    const mica_var labels = k == 3 ? mica_input(t, x) : mica_input(t, y);
    (void)mica_cosine_logits(t, mica_input(t, x), mica_input(t, w), labels, &o, &s);
    assert_int_equal(mica_tape_status(t), k < 2 ? MICA_ERR_INVALID : MICA_ERR_SHAPE);
    mica_tape_free(t);
    mica_tensor_free(x);
    mica_tensor_free(w);
    mica_tensor_free(y);
  }
}

/* ---- on a network ---- */

#define SIDE 8
#define EACH 24

/* Pictures whose bright third says the class; class 3 is bright in columns. */
static mica_tensor *pictures(int pattern, int n, uint64_t seed) {
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(n, SIDE, SIDE, 1), &x), MICA_OK);
  float *to = mica_tensor_data(x);
  const mica_key key = mica_key_fold(mica_key_seed(seed), (uint64_t)pattern);
  for (int i = 0; i < n * SIDE * SIDE; i++) {
    const int p = i % (SIDE * SIDE), along = pattern < 3 ? p / SIDE : p % SIDE;
    to[i] = (float)((along * 3 / SIDE == pattern % 3) + 0.1 * mica_random_normal(key, (uint64_t)i));
  }
  return x;
}

static mica_net *trained(mica_engine *e, const char *classifier, int64_t epochs) {
  const mica_problem task = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, 0);
  mica_net *net;
  mica_stream stream;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_tensor *x, *y, *of[3];
  assert_int_equal(mica_net_create(e, "convnet:widths=8,16:convolutions=1", &task, 3, &net),
                   MICA_OK);
  if (mica_net_set_head(net, classifier, 3)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(3 * EACH, SIDE, SIDE, 1), &x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(3 * EACH), &y), MICA_OK);
  for (int c = 0; c < 3; c++) {
    of[c] = pictures(c, EACH, 1);
    memcpy((float *)mica_tensor_data(x) + c * EACH * SIDE * SIDE, mica_tensor_data(of[c]),
           EACH * SIDE * SIDE * sizeof(float));
    for (int i = 0; i < EACH; i++) ((int64_t *)mica_tensor_data(y))[c * EACH + i] = c;
    mica_tensor_free(of[c]);
  }
  assert_int_equal(mica_memory_stream_create(x, y, 24, true, false, 5, &stream), MICA_OK);
  o.epochs = epochs;
  o.optimiser = "adam:lr=0.01";
  o.schedule = "constant";
  if (mica_train(net, &stream, NULL, &o, NULL)) fail_msg("%s", mica_last_error());
  mica_memory_stream_free(&stream);
  mica_tensor_free(x);
  mica_tensor_free(y);
  return net;
}

static double share(mica_session *s, int pattern, const char *name) {
  mica_answer answer[EACH];
  mica_tensor *images = pictures(pattern, EACH, 77), *bytes;
  assert_int_equal(mica_tensor_create(MICA_U8, MICA_SHAPE(EACH, SIDE, SIDE, 1), &bytes), MICA_OK);
  for (int i = 0; i < EACH * SIDE * SIDE; i++) {
    const float v = 100 + 100 * ((const float *)mica_tensor_data(images))[i];
    ((uint8_t *)mica_tensor_data(bytes))[i] = (uint8_t)v;
  }
  const mica_view v = mica_tensor_view(bytes);
  if (mica_predict(s, &v, answer)) fail_msg("%s", mica_last_error());
  int n = 0;
  for (int i = 0; i < EACH; i++) n += strcmp(answer[i].name, name) == 0;
  mica_tensor_free(images);
  mica_tensor_free(bytes);
  return (double)n / EACH;
}

static void class_vectors_stay_at_length_one(void **state) {
  (void)state;
  mica_net *net = trained(engine, "cosine:scale=10:constraint=project:dim=4", 2);
  const mica_param *q = mica_params_find(mica_net_params(net), "head.fc.weight");
  assert_non_null(q);
  const float *w = mica_tensor_data(mica_param_value(q));
  for (int c = 0; c < 3; c++) {
    double sum = 0;
    for (int k = 0; k < 4; k++) sum += (double)w[4 * c + k] * (double)w[4 * c + k];
    assert_true(fabs(sum - 1) < 1e-5);
  }
  assert_int_equal(mica_net_features(net), 4);
  assert_null(mica_params_find(mica_net_params(net), "head.weight"));
  mica_net_free(net);
}

static const char *const names[] = {"top", "middle", "bottom"};

static void a_model_keeps_it_and_grows(void **state) {
  (void)state;
  char path[] = "/tmp/mica-test-cosine-XXXXXX";
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  static const char *const specs[] = {
      "cosine:kind=arcface:scale=12:margin=0.1:dim=8:norm:pool=gem-learned",
      "cosine:kind=madacos:alpha=0.1:top_prob=0.99:floor=8", "cosine:kind=curricularface:scale=8",
      "cosine:kind=adacos:dynamic:pool=gem"};
  for (size_t k = 0; k < sizeof specs / sizeof *specs; k++) {
    const mica_preprocess p = {SIDE, SIDE, 1, {100 / 255.0}, {100 / 255.0}, 0, 0, 0};
    mica_net *net = trained(engine, specs[k], 8);
    mica_cosine_state s;
    assert_true(mica_nn_cosine_state(mica_net_head(net), &s));
    assert_true(s.scale > 0 && s.median > 0);
    mica_model *m;
    mica_session *session;
    if (mica_model_create(net, &p, names, NULL, &m)) fail_msg("%s", mica_last_error());
    if (mica_model_save(m, path)) fail_msg("%s", mica_last_error());
    mica_model_free(m);
    if (mica_model_open(engine, path, &m)) fail_msg("%s", mica_last_error());
    assert_int_equal(mica_session_create(m, &session), MICA_OK);
    double old = 0;
    for (int c = 0; c < 3; c++) old += share(session, c, names[c]) / 3;
    if (old < 0.9) fail_msg("%s: %g of the answers are right", specs[k], old);
    /* A class of its own from pictures, beside the vectors of training. */
    mica_tensor *bytes;
    mica_tensor *images = pictures(4, EACH, 9);
    assert_int_equal(mica_tensor_create(MICA_U8, MICA_SHAPE(EACH, SIDE, SIDE, 1), &bytes), MICA_OK);
    for (int i = 0; i < EACH * SIDE * SIDE; i++) {
      const float v = 100 + 100 * ((const float *)mica_tensor_data(images))[i];
      ((uint8_t *)mica_tensor_data(bytes))[i] = (uint8_t)v;
    }
    const mica_view v = mica_tensor_view(bytes);
    double before[EACH * 3];
    assert_int_equal(mica_predict_scores(session, &v, 3, before), MICA_OK);
    assert_int_equal(mica_head_add_class(m, "top", &v), MICA_ERR_INVALID);
    assert_int_equal(mica_model_heads(m), 0);
    if (mica_head_add_class(m, "upright", &v)) fail_msg("%s", mica_last_error());
    assert_int_equal(mica_model_heads(m), 1);
    assert_int_equal(mica_model_classes(m), 4);
    assert_true(share(session, 4, "upright") > 0.8);
    /* The old classes score as the network's own classifier did. */
    double after[EACH * 3];
    assert_int_equal(mica_predict_scores(session, &v, 3, after), MICA_OK);
    for (int i = 0; i < EACH * 3; i++) assert_true(fabs(after[i] - before[i]) < 1e-4 * s.scale);
    mica_session_free(session);
    mica_model_free(m);
    mica_tensor_free(images);
    mica_tensor_free(bytes);
  }
  unlink(path);
}

static void what_cannot_be_is_refused(void **state) {
  (void)state;
  const mica_problem task = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, 3);
  const mica_problem rows = MICA_PROBLEM_ROWS(6, 0);
  mica_net *net;
  mica_estimator *e;
  assert_int_equal(mica_net_create(engine, "convnet:widths=8", &task, 3, &net), MICA_OK);
  assert_int_equal(mica_net_head_estimator(net, &e), MICA_ERR_UNSUPPORTED);
  assert_null(mica_net_head_component(net));
  assert_int_equal(mica_net_set_head(net, "cosnie", 0), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_net_set_head(net, "cosine:p=0", 0), MICA_ERR_INVALID);
  assert_int_equal(mica_net_set_head(net, "cosine", 0), MICA_OK);
  assert_int_equal(mica_net_set_head(net, "cosine", 0), MICA_ERR_STATE);
  assert_int_equal(mica_net_set_classes(net, 5), MICA_OK);
  assert_int_equal(
      mica_tensor_dim(mica_param_value(mica_params_find(mica_net_params(net), "head.fc.weight")),
                      0),
      5);
  mica_net_free(net);
  assert_int_equal(mica_net_create(engine, "identity", &rows, 3, &net), MICA_OK);
  assert_int_equal(mica_net_set_head(net, "cosine", 0), MICA_ERR_INVALID);
  assert_int_equal(mica_net_set_head(net, "cosine:pool=gem:dim=4", 2), MICA_OK);
  /* Rows have no map to pool, and training needs labels. */
  for (int training = 0; training < 2; training++) {
    mica_tape *t;
    mica_outputs out;
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    mica_set_training(t, training);
    mica_net_forward(t, net, mica_full(t, MICA_F32, MICA_SHAPE(2, 6), 1), &out);
    assert_int_equal(mica_tape_status(t), MICA_ERR_UNSUPPORTED);
    mica_tape_free(t);
  }
  mica_net_free(net);
  assert_int_equal(mica_net_create(engine, "identity", &rows, 3, &net), MICA_OK);
  assert_int_equal(mica_net_set_head(net, "cosine", 2), MICA_OK);
  mica_tape *t;
  mica_outputs out;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_set_training(t, true);
  mica_net_forward(t, net, mica_full(t, MICA_F32, MICA_SHAPE(2, 6), 1), &out);
  assert_int_equal(mica_tape_status(t), MICA_ERR_INVALID);
  mica_tape_free(t);
  mica_net_free(net);
}

/* ---- the estimator ---- */

static void directions_are_means_of_unit_rows(void **state) {
  (void)state;
  /* A long row counts no more than a short one; the second class has no direction. */
  const double x[] = {10, 0, 0, 1, 0, 1, 0, -1, 0, 0};
  const int64_t label[] = {0, 0, 1, 1, 3};
  const double ask[] = {1, 1, -1, 0.1};
  mica_estimator *e;
  mica_fit_data data = MICA_FIT_DATA;
  data.x = mica_view_of((void *)(uintptr_t)x, MICA_F64, MICA_SHAPE(5, 2));
  data.label = label;
  assert_int_equal(mica_estimator_create(engine, "cosine:scale=4", &e), MICA_OK);
  if (mica_estimator_fit(e, &data, NULL)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_estimator_classes(e), 4);
  double score[8], probability[8], anomaly[2];
  int64_t got[2];
  mica_prediction p = {sizeof p, got, score, probability, anomaly};
  const mica_view q = mica_view_of((void *)(uintptr_t)ask, MICA_F64, MICA_SHAPE(2, 2));
  assert_int_equal(mica_estimator_predict(e, &q, &p), MICA_OK);
  assert_true(fabs(score[0] - 4) < 1e-12 && fabs(anomaly[0]) < 1e-12 && got[0] == 0);
  for (int c = 1; c < 4; c++) assert_true(score[c] == 0);
  double sum = 0;
  for (int c = 0; c < 4; c++) sum += probability[c];
  assert_true(fabs(sum - 1) < 1e-12);
  assert_true(anomaly[1] > 0.9);
  assert_int_equal(mica_estimator_set_rejection(e, 0.5), MICA_OK);
  const double away[] = {-1, 0, -2, 0};
  const mica_view more = mica_view_of((void *)(uintptr_t)away, MICA_F64, MICA_SHAPE(2, 2));
  int64_t added;
  assert_int_equal(mica_estimator_add_class(e, &more, &added), MICA_OK);
  assert_int_equal(added, 4);
  double five[10];
  p.score = five, p.probability = NULL;
  assert_int_equal(mica_estimator_predict(e, &q, &p), MICA_OK);
  assert_int_equal(got[1], 4);
  mica_estimator_free(e);
}

static mica_status everything(void *ctx) {
  (void)ctx;
  const mica_problem task = MICA_PROBLEM_ROWS(3, 0);
  mica_engine *own = NULL;
  mica_net *net = NULL;
  mica_estimator *e = NULL;
  mica_tape *t = NULL;
  mica_tensor *y = NULL;
  mica_outputs out;
  mica_status status = mica_engine_create(NULL, &own);
  if (status == MICA_OK) status = mica_net_create(own, "identity", &task, 1, &net);
  if (status == MICA_OK) status = mica_net_set_head(net, "cosine:kind=madacos:dim=2:norm", 4);
  if (status == MICA_OK) status = mica_net_head_estimator(net, &e);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(5), &y);
  if (status == MICA_OK) status = mica_tape_create(own, NULL, &t);
  if (status == MICA_OK) {
    mica_set_training(t, true);
    mica_set_labels(t, mica_input(t, y));
    mica_net_forward(t, net, mica_full(t, MICA_F32, MICA_SHAPE(5, 3), 1), &out);
    (void)mica_backward(t, mica_sum(t, out.logits, 0, NULL, false));
    status = mica_commit(t);
  }
  mica_tape_free(t);
  mica_tensor_free(y);
  mica_estimator_free(e);
  mica_net_free(net);
  mica_engine_free(own);
  return status;
}

static void memory_runs_out(void **state) {
  (void)state;
  failing_alloc_install();
  assert_true(fail_each(everything, NULL) > 20);
  failing_alloc_remove();
}

static int setup(void **state) {
  (void)state;
  return mica_engine_create(NULL, &engine);
}
static int teardown(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

int main(void) {
  const struct CMUnitTest before[] = {cmocka_unit_test(memory_runs_out)};
  const struct CMUnitTest tests[] = {cmocka_unit_test(kinds_are_their_formulas),
                                     cmocka_unit_test(scales_follow_the_batch),
                                     cmocka_unit_test(wrong_options_latch),
                                     cmocka_unit_test(labels_are_checked),
                                     cmocka_unit_test(class_vectors_stay_at_length_one),
                                     cmocka_unit_test(a_model_keeps_it_and_grows),
                                     cmocka_unit_test(what_cannot_be_is_refused),
                                     cmocka_unit_test(directions_are_means_of_unit_rows)};
  const int failed = cmocka_run_group_tests(before, NULL, NULL);
  return failed + cmocka_run_group_tests(tests, setup, teardown);
}
