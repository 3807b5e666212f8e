/* Heads in a model: answers, refusals, classes added while threads predict, the file and back. */
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIDE     8
#define EACH     20 /* examples of a class */
#define KNOWN    3
#define THREADS  8
#define PIXELS   (SIDE * SIDE)
#define PATTERNS 6

static mica_engine *engine;
static char dir[] = "/tmp/mica-test-heads-XXXXXX";
static char path[128];

static int setup(void **state) {
  (void)state;
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/parts.mica", dir);
  return mica_engine_create(NULL, &engine);
}

static int teardown(void **state) {
  (void)state;
  mica_engine_free(engine);
  unlink(path);
  return rmdir(dir);
}

/* Pictures of one pattern (0..5) with noise: which third is bright, and whether rows or columns. */
static mica_tensor *pictures(int pattern, int n, uint64_t seed) {
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(MICA_U8, MICA_SHAPE(n, SIDE, SIDE, 1), &x), MICA_OK);
  uint8_t *to = mica_tensor_data(x);
  const mica_key key = mica_key_fold(mica_key_seed(seed), (uint64_t)pattern);
  for (int i = 0; i < n * PIXELS; i++) {
    const int p = i % PIXELS, along = pattern < 3 ? p / SIDE : p % SIDE;
    const bool bright = along * 3 / SIDE == pattern % 3;
    const double v = (bright ? 200 : 60) + 12 * mica_random_normal(key, (uint64_t)i);
    to[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
  }
  return x;
}

static mica_model *headless(mica_engine *e) {
  const mica_problem task = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, 2);
  const mica_preprocess p = MICA_PREPROCESS(SIDE, SIDE, 1);
  const char *const names[] = {"one", "two"};
  mica_net *net;
  mica_model *m;
  if (mica_net_create(e, "convnet:widths=8,16", &task, 3, &net) != MICA_OK) return NULL;
  if (mica_model_create(net, &p, names, "{\"seed\": 3}", &m) != MICA_OK) {
    mica_net_free(net);
    return NULL;
  }
  return m;
}

static const char *const known[] = {"top", "middle", "bottom"};

/* An estimator fitted on features of the first three patterns. */
static mica_estimator *fitted(mica_model *m, const char *spec) {
  const int64_t width = mica_net_features(mica_model_net(m));
  mica_session *s;
  mica_estimator *e;
  float *x = malloc((size_t)(KNOWN * EACH * width) * sizeof *x);
  int64_t label[KNOWN * EACH];
  assert_non_null(x);
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  for (int c = 0; c < KNOWN; c++) {
    mica_tensor *images = pictures(c, EACH, 1);
    const mica_view v = mica_tensor_view(images);
    if (mica_embed(s, &v, x + c * EACH * width)) fail_msg("%s", mica_last_error());
    for (int i = 0; i < EACH; i++) label[c * EACH + i] = c;
    mica_tensor_free(images);
  }
  mica_session_free(s);
  mica_fit_data data = MICA_FIT_DATA;
  data.x = mica_view_of(x, MICA_F32, MICA_SHAPE(KNOWN * EACH, width));
  data.label = label;
  assert_int_equal(
      mica_estimator_create(mica_params_engine(mica_net_params(mica_model_net(m))), spec, &e),
      MICA_OK);
  if (mica_estimator_fit(e, &data, NULL)) fail_msg("%s", mica_last_error());
  free(x);
  return e;
}

#define PROTOTYPES "prototypes:metric=euclidean:reject=0.02"

static mica_model *with_prototypes(void) {
  mica_model *m = headless(engine);
  assert_non_null(m);
  if (mica_model_put_head(m, "parts", fitted(m, PROTOTYPES), known))
    fail_msg("%s", mica_last_error());
  return m;
}

/* Share of fresh pictures of a pattern that get this name. */
static double share(mica_session *s, int pattern, const char *name) {
  mica_answer answer[EACH];
  mica_tensor *images = pictures(pattern, EACH, 77);
  const mica_view v = mica_tensor_view(images);
  if (mica_predict(s, &v, answer)) fail_msg("%s", mica_last_error());
  int n = 0;
  for (int i = 0; i < EACH; i++) n += strcmp(answer[i].name, name) == 0;
  mica_tensor_free(images);
  return (double)n / EACH;
}

static void the_network_answers_without_a_head(void **state) {
  (void)state;
  mica_model *m = headless(engine);
  mica_session *s;
  mica_answer answer[3];
  double p[3 * 2], score[3];
  assert_non_null(m);
  assert_int_equal(mica_model_heads(m), 0);
  assert_int_equal(mica_model_classes(m), 2);
  assert_string_equal(mica_model_class(m, 1), "two");
  assert_null(mica_model_class(m, 2));
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  mica_tensor *images = pictures(0, 3, 5);
  const mica_view v = mica_tensor_view(images);
  assert_int_equal(mica_predict(s, &v, answer), MICA_OK);
  assert_int_equal(mica_predict_probabilities(s, &v, 2, p), MICA_OK);
  for (int i = 0; i < 3; i++) {
    const int64_t best = p[2 * i + 1] > p[2 * i];
    assert_true(fabs(p[2 * i] + p[2 * i + 1] - 1) < 1e-6);
    assert_int_equal(answer[i].label, best);
    assert_string_equal(answer[i].name, best ? "two" : "one");
    assert_true(answer[i].probability == p[2 * i + best] && isnan(answer[i].anomaly));
  }
  assert_int_equal(mica_predict_probabilities(s, &v, 3, p), MICA_ERR_INVALID);
  assert_int_equal(mica_anomaly_score(s, &v, score), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_head_add_class(m, "x", &v), MICA_ERR_UNSUPPORTED);
  mica_view wrong = v;
  wrong.shape.dim[1]--;
  assert_int_equal(mica_predict(s, &wrong, answer), MICA_ERR_SHAPE);
  assert_non_null(strstr(mica_last_error(), "uint8 [n,8,8,1]"));
  const mica_view none = mica_view_of(NULL, MICA_U8, MICA_SHAPE(0, SIDE, SIDE, 1));
  assert_int_equal(mica_predict(s, &none, answer), MICA_OK);
  mica_tensor_free(images);
  mica_session_free(s);
  mica_model_free(m);
}

/* Features that were made before give the bits that the pictures give. */
static void a_head_answers_features(void **state) {
  (void)state;
  mica_model *m = with_prototypes(), *bare = headless(engine);
  const int64_t width = mica_net_features(mica_model_net(m)), n = 70; /* more than one piece */
  float *x = malloc((size_t)(2 * n * width) * sizeof *x);
  mica_answer answer[2][70];
  mica_session *s;
  assert_true(x != NULL && bare != NULL);
  mica_tensor *images = pictures(1, (int)n, 5);
  const mica_view v = mica_tensor_view(images);
  const mica_view features = mica_view_of(x, MICA_F32, MICA_SHAPE(n, width));
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  assert_int_equal(mica_embed(s, &v, x), MICA_OK);
  assert_int_equal(mica_predict(s, &v, answer[0]), MICA_OK);
  mica_session_take_features(s, true);
  assert_int_equal(mica_predict(s, &features, answer[1]), MICA_OK);
  for (int i = 0; i < n; i++)
    assert_true(answer[0][i].label == answer[1][i].label &&
                answer[0][i].anomaly == answer[1][i].anomaly);
  assert_int_equal(mica_embed(s, &features, x + n * width), MICA_OK);
  assert_memory_equal(x, x + n * width, (size_t)(n * width) * sizeof *x);
  assert_int_equal(mica_predict(s, &v, answer[0]), MICA_ERR_SHAPE);
  mica_session_take_features(s, false);
  assert_int_equal(mica_predict(s, &v, answer[0]), MICA_OK);
  mica_session_free(s);
  assert_int_equal(mica_session_create(bare, &s), MICA_OK);
  mica_session_take_features(s, true);
  assert_int_equal(mica_predict(s, &features, answer[1]), MICA_ERR_UNSUPPORTED);
  assert_non_null(strstr(mica_last_error(), "reads no features"));
  mica_session_free(s);
  mica_tensor_free(images);
  mica_model_free(m);
  mica_model_free(bare);
  free(x);
}

static void a_head_remembers_its_examples(void **state) {
  (void)state;
  mica_model *m = with_prototypes(), *back;
  const int64_t counts[KNOWN] = {5, 0, 7}, wrong[KNOWN] = {5, -1, 7};
  int64_t n[KNOWN + 1];
  assert_false(mica_model_examples(m, KNOWN, n));
  assert_int_equal(mica_model_set_examples(m, "none", counts), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_model_set_examples(m, "parts", wrong), MICA_ERR_INVALID);
  assert_int_equal(mica_model_set_examples(m, "parts", counts), MICA_OK);
  assert_int_equal(mica_model_save(m, path), MICA_OK);
  assert_int_equal(mica_model_open(engine, path, &back), MICA_OK);
  assert_true(mica_model_examples(back, KNOWN, n));
  assert_memory_equal(n, counts, sizeof counts);
  assert_false(mica_model_examples(back, KNOWN + 1, n));
  mica_tensor *five = pictures(4, 5, 9);
  const mica_view v = mica_tensor_view(five);
  assert_int_equal(mica_head_add_class(back, "upright", &v), MICA_OK);
  assert_true(mica_model_examples(back, KNOWN + 1, n));
  assert_true(n[2] == 7 && n[KNOWN] == 5);
  mica_tensor_free(five);
  mica_model_free(m);
  mica_model_free(back);
}

static void a_head_knows_and_refuses_and_learns(void **state) {
  (void)state;
  mica_model *m = with_prototypes();
  mica_session *s;
  mica_head_facts facts;
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  assert_int_equal(mica_model_head(m, 0, &facts), MICA_OK);
  assert_string_equal(facts.name, "parts");
  assert_true(facts.answers && facts.detects && facts.adds_classes && isfinite(facts.threshold));
  assert_int_equal(facts.classes, KNOWN);
  for (int c = 0; c < KNOWN; c++) assert_true(share(s, c, known[c]) > 0.8);
  assert_true(share(s, 4, "none of these") > 0.8);
  mica_tensor *five = pictures(4, 5, 9);
  mica_view v = mica_tensor_view(five);
  if (mica_head_add_class(m, "upright", &v)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_model_classes(m), KNOWN + 1);
  assert_string_equal(mica_model_class(m, KNOWN), "upright");
  assert_true(share(s, 4, "upright") > 0.8);
  for (int c = 0; c < KNOWN; c++) assert_true(share(s, c, known[c]) > 0.8);
  /* Errors change nothing. */
  assert_int_equal(mica_head_add_class(m, "upright", &v), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "'upright' already"));
  v.shape.dim[0] = 0;
  assert_int_equal(mica_head_add_class(m, "new", &v), MICA_ERR_INVALID);
  assert_int_equal(mica_model_classes(m), KNOWN + 1);
  /* Never refuse, then refuse most. */
  assert_int_equal(mica_head_set_rejection(m, 0), MICA_OK);
  assert_true(share(s, 5, "none of these") == 0);
  assert_int_equal(mica_head_set_rejection(m, 0.9), MICA_OK);
  assert_true(share(s, 0, "none of these") > 0.5);
  assert_int_equal(mica_head_set_rejection(m, 1), MICA_ERR_INVALID);
  mica_tensor_free(five);
  mica_session_free(s);
  mica_model_free(m);
}

static void several_heads_stand_side_by_side(void **state) {
  (void)state;
  mica_model *m = with_prototypes();
  mica_estimator *bad = fitted(m, "logistic");
  const char *const twice[] = {"a", "b", "a"};
  assert_int_equal(mica_model_put_head(m, "a head", bad, known), MICA_ERR_INVALID);
  assert_int_equal(mica_model_put_head(m, "head", bad, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_model_put_head(m, "head", bad, twice), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "two classes 'a'"));
  assert_int_equal(mica_model_put_head(m, "linear", bad, known), MICA_OK);
  assert_int_equal(mica_model_heads(m), 2);
  mica_session *s;
  double anomaly[2], score[2 * KNOWN];
  mica_answer answer[2];
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  mica_tensor *images = pictures(1, 2, 5);
  const mica_view v = mica_tensor_view(images);
  /* The linear head answers, with scores of its own. */
  assert_int_equal(mica_predict(s, &v, answer), MICA_OK);
  assert_int_equal(mica_anomaly_score(s, &v, anomaly), MICA_OK);
  assert_true(answer[0].probability > 0 && answer[0].anomaly == anomaly[0]);
  assert_int_equal(mica_predict_scores(s, &v, KNOWN, score), MICA_OK);
  assert_int_equal(mica_head_add_class(m, "new", &v), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_model_answer_with(m, "parts"), MICA_OK);
  assert_int_equal(mica_predict(s, &v, answer), MICA_OK);
  assert_true(answer[0].anomaly != anomaly[0]);
  assert_int_equal(mica_model_answer_with(m, NULL), MICA_OK);
  assert_int_equal(mica_model_classes(m), 2);
  assert_int_equal(mica_model_answer_with(m, "nobody"), MICA_ERR_NOT_FOUND);
  mica_tensor_free(images);
  mica_session_free(s);
  mica_model_free(m);
}

/* Answers and scores for all patterns, to compare two models by. */
typedef struct picture_of_it {
  mica_answer answer[PATTERNS * 4];
  double probability[PATTERNS * 4 * (KNOWN + 1)];
} picture_of_it;

static void look(mica_model *m, picture_of_it *out) {
  mica_session *s;
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  for (int c = 0; c < PATTERNS; c++) {
    mica_tensor *images = pictures(c, 4, 31);
    const mica_view v = mica_tensor_view(images);
    assert_int_equal(mica_predict(s, &v, out->answer + 4 * c), MICA_OK);
    assert_int_equal(
        mica_predict_probabilities(s, &v, KNOWN + 1, out->probability + 4 * c * (KNOWN + 1)),
        MICA_OK);
    mica_tensor_free(images);
  }
  mica_session_free(s);
}

static void a_file_gives_the_same_answers(void **state) {
  (void)state;
  mica_model *m = with_prototypes(), *back;
  mica_tensor *five = pictures(4, 5, 9);
  const mica_view v = mica_tensor_view(five);
  assert_int_equal(mica_head_add_class(m, "upright", &v), MICA_OK);
  assert_int_equal(mica_model_put_head(m, "linear", fitted(m, "logistic"), known), MICA_OK);
  assert_int_equal(mica_model_put_head(m, "strange", fitted(m, "gaussian"), known), MICA_OK);
  assert_int_equal(mica_model_answer_with(m, "parts"), MICA_OK);
  assert_int_equal(mica_model_set_columns(m, "{\"columns\": []}"), MICA_OK);
  if (mica_model_save(m, path)) fail_msg("%s", mica_last_error());
  if (mica_model_open(engine, path, &back)) fail_msg("%s", mica_last_error());
  static picture_of_it a, b;
  look(m, &a);
  look(back, &b);
  for (int i = 0; i < PATTERNS * 4; i++) {
    assert_int_equal(a.answer[i].label, b.answer[i].label);
    assert_string_equal(a.answer[i].name, b.answer[i].name);
    assert_true(a.answer[i].anomaly == b.answer[i].anomaly);
    assert_true(a.answer[i].probability == b.answer[i].probability);
  }
  assert_memory_equal(a.probability, b.probability, sizeof a.probability);
  assert_int_equal(mica_model_heads(back), 3);
  assert_string_equal(mica_model_training(back), "{\"seed\": 3}");
  assert_string_equal(mica_model_columns(back), "{\"columns\": []}");
  mica_head_facts facts;
  assert_int_equal(mica_model_head(back, 0, &facts), MICA_OK);
  assert_true(facts.answers && isfinite(facts.threshold));
  mica_tensor_free(five);
  mica_model_free(back);
  mica_model_free(m);
}

/* ---- eight threads predict while classes are added ---- */

typedef struct reader {
  mica_model *model;
  pthread_t thread;
  int rounds, wrong;
} reader;

static void *read_on(void *ctx) {
  reader *r = ctx;
  mica_session *s;
  mica_answer answer[PATTERNS];
  mica_tensor *images[PATTERNS];
  for (int c = 0; c < PATTERNS; c++) images[c] = pictures(c, 1, 500);
  if (mica_session_create(r->model, &s) != MICA_OK) {
    r->wrong = 1000;
    return NULL;
  }
  for (int round = 0; round < r->rounds; round++)
    for (int c = 0; c < PATTERNS; c++) {
      const mica_view v = mica_tensor_view(images[c]);
      const mica_answer *a = &answer[c];
      if (mica_predict(s, &v, &answer[c]) != MICA_OK)
        r->wrong++;
      else if (c < KNOWN && strcmp(a->name, known[c]) != 0)
        r->wrong++;
      else if (c >= KNOWN && a->label >= 0 && a->label < KNOWN)
        r->wrong++;
    }
  mica_session_free(s);
  for (int c = 0; c < PATTERNS; c++) mica_tensor_free(images[c]);
  return NULL;
}

static void eight_threads_share_a_growing_model(void **state) {
  (void)state;
  mica_model *m = with_prototypes();
  reader r[THREADS];
  for (int i = 0; i < THREADS; i++) {
    r[i] = (reader){.model = m, .rounds = 20};
    assert_int_equal(pthread_create(&r[i].thread, NULL, read_on, &r[i]), 0);
  }
  for (int c = KNOWN; c < PATTERNS; c++) {
    char name[16];
    snprintf(name, sizeof name, "new %d", c);
    mica_tensor *five = pictures(c, 5, 9);
    const mica_view v = mica_tensor_view(five);
    if (mica_head_add_class(m, name, &v)) fail_msg("%s", mica_last_error());
    assert_int_equal(mica_model_save(m, path), MICA_OK);
    mica_tensor_free(five);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(r[i].thread, NULL);
    assert_int_equal(r[i].wrong, 0);
  }
  assert_int_equal(mica_model_classes(m), PATTERNS);
  mica_model_free(m);
}

/* ---- failing memory ---- */

static bool libraries; /* with oneDNN, whose primitives the engine keeps */

static mica_status engine_of_one(mica_engine **out) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  o.libraries = libraries ? 1 : 0;
  return mica_engine_create(&o, out);
}

typedef mica_status (*on_model)(mica_model *m);

static mica_status opened(on_model fn) {
  mica_engine *e;
  mica_model *m = NULL;
  mica_status status = engine_of_one(&e);
  if (status == MICA_OK) {
    status = mica_model_open(e, path, &m);
    if (status == MICA_OK && fn) status = fn(m);
  }
  mica_model_free(m);
  mica_engine_free(e);
  return status;
}

static mica_tensor *sample;

static mica_status predict(mica_model *m) {
  mica_session *s = NULL;
  mica_answer answer[5];
  double out[5 * KNOWN];
  const mica_view v = mica_tensor_view(sample);
  mica_status status = mica_session_create(m, &s);
  if (status == MICA_OK) status = mica_predict(s, &v, answer);
  if (status == MICA_OK) status = mica_predict_probabilities(s, &v, KNOWN, out);
  if (status == MICA_OK) status = mica_anomaly_score(s, &v, out);
  mica_session_free(s);
  return status;
}

static mica_status grow(mica_model *m) {
  const mica_view v = mica_tensor_view(sample);
  mica_status status = mica_head_add_class(m, "grown", &v);
  if (status != MICA_OK && mica_model_classes(m) != KNOWN) fail_msg("half a class was added");
  return status == MICA_OK ? mica_model_save(m, path) : status;
}

static mica_status open_it(void *ctx) {
  (void)ctx;
  return opened(NULL);
}
static mica_status predict_with_it(void *ctx) {
  (void)ctx;
  return opened(predict);
}

static mica_status grow_it(void *ctx) {
  (void)ctx;
  return opened(grow);
}

static void save_known(void) {
  const int64_t counts[KNOWN] = {5, 6, 7};
  mica_model *m = with_prototypes();
  assert_int_equal(mica_model_set_examples(m, "parts", counts), MICA_OK);
  assert_int_equal(mica_model_save(m, path), MICA_OK);
  mica_model_free(m);
}

static void failing_memory_is_an_error(void **state) {
  (void)state;
  save_known();
  sample = pictures(4, 5, 9);
  assert_true(fail_every(7, open_it, NULL) > 50);
  assert_true(fail_each(predict_with_it, NULL) > 50);
  libraries = true;
  assert_true(fail_each(predict_with_it, NULL) > 50);
  libraries = false;
  assert_true(fail_every(5, grow_it, NULL) > 50);
  mica_tensor_free(sample);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_network_answers_without_a_head),
      cmocka_unit_test(a_head_answers_features),
      cmocka_unit_test(a_head_remembers_its_examples),
      cmocka_unit_test(a_head_knows_and_refuses_and_learns),
      cmocka_unit_test(several_heads_stand_side_by_side),
      cmocka_unit_test(a_file_gives_the_same_answers),
      cmocka_unit_test(eight_threads_share_a_growing_model),
      cmocka_unit_test(failing_memory_is_an_error),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
