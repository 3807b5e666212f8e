/* Classes from texts: phrase lists and their JSON, prompts, the estimator's scores by their
 * definition, edits, models with a text tower, reasons; errors and failing allocations. */
#include "support/estimator.h"
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static mica_engine *engine;

static mica_phrases *list_of(const char *json) {
  mica_phrases *p;
  if (mica_phrases_parse(json, strlen(json), &p) != MICA_OK) {
    print_error("%s\n", mica_last_error());
    fail();
  }
  return p;
}

static const char birds[] =
    "{\"kite\": [\"a forked tail\", \"has reddish feathers\"], \"sea_gull\": [\"grey wings\", "
    "\"used to ships\", \"may cry\"], \"blank\": []}";

static void text_is(const mica_phrases *p, const char *json) {
  char *text;
  assert_int_equal(mica_phrases_text(p, &text), MICA_OK);
  assert_string_equal(text, json);
  mica_free(text);
}

/* ---- lists ---- */

static void test_lists(void **state) {
  (void)state;
  const char *const two[] = {"white", "black"};
  char path[] = "/tmp/mica-phrases-XXXXXX";
  mica_phrases *p = list_of(birds), *again, *edits;
  assert_int_equal(mica_phrases_classes(p), 3);
  assert_string_equal(mica_phrases_class(p, 1), "sea_gull");
  assert_int_equal(mica_phrases_count(p, 1), 3);
  assert_string_equal(mica_phrases_phrase(p, 0, 1), "has reddish feathers");
  assert_null(mica_phrases_phrase(p, 0, 2));
  assert_null(mica_phrases_class(p, 3));
  assert_int_equal(mica_phrases_find(p, "blank"), 2);
  assert_int_equal(mica_phrases_find(p, "crow"), -1);
  assert_int_equal(mica_phrases_set(p, "blank", 2, two), MICA_OK);
  assert_int_equal(mica_phrases_add(p, "kite", "soars"), MICA_OK);
  assert_int_equal(mica_phrases_add(p, "crow", "black"), MICA_OK);
  edits = list_of("{\"sea_gull\": [\"loud\"], \"owl\": [\"round face\"]}");
  assert_int_equal(mica_phrases_override(p, edits), MICA_OK);
  text_is(p, "{\"kite\":[\"a forked tail\",\"has reddish feathers\",\"soars\"],\"sea_gull\":"
             "[\"loud\"],\"blank\":[\"white\",\"black\"],\"crow\":[\"black\"],\"owl\":[\"round "
             "face\"]}");
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  assert_int_equal(mica_phrases_write(p, path), MICA_OK);
  assert_int_equal(mica_phrases_read(path, &again), MICA_OK);
  char *text;
  assert_int_equal(mica_phrases_text(p, &text), MICA_OK);
  text_is(again, text);
  mica_phrases_free(again);
  mica_free(text);
  unlink(path);
  assert_int_equal(mica_phrases_read(path, &again), MICA_ERR_NOT_FOUND);
  mica_phrases_free(p);
  mica_phrases_free(edits);
  p = list_of("{}");
  assert_int_equal(mica_phrases_set(p, "", 0, NULL), MICA_ERR_INVALID);
  mica_phrases_free(p);
}

static void test_bad_json(void **state) {
  (void)state;
  const char *const bad[] = {"[]",           "{\"a\": \"b\"}",         "{\"a\": [1]}",
                             "{\"\": []}",   "{\"a\": [], \"a\": []}", "{\"a\": [\"b\"",
                             "{\"a\": [[]]}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    mica_phrases *p;
    assert_int_not_equal(mica_phrases_parse(bad[i], strlen(bad[i]), &p), MICA_OK);
    assert_null(p);
  }
}

static void test_answer(void **state) {
  (void)state;
  int64_t found;
  char *question;
  mica_phrases *p = list_of("{}");
  assert_int_equal(mica_phrases_answer(p, "lemur",
                                       "Here are some:\n- four legs\r\n-no\n - no\n- a "
                                       "long tail\n\n-\n- big eyes",
                                       &found),
                   MICA_OK);
  assert_int_equal(found, 3);
  text_is(p, "{\"lemur\":[\"four legs\",\"a long tail\",\"big eyes\"]}");
  assert_int_equal(mica_phrases_question("fire_engine", &question), MICA_OK);
  assert_non_null(strstr(question, "fire engine"));
  mica_free(question);
  mica_phrases_free(p);
}

static void test_controls(void **state) {
  (void)state;
  mica_phrases *p = list_of("{\"a\": [\"one two\", \"three\"], \"b\": [\"four\"], \"c\": "
                            "[\"five six seven\"]}"),
               *other;
  const mica_key key = mica_key_seed(3);
  assert_int_equal(mica_phrases_control_list(p, MICA_PHRASES_SHUFFLED, key, &other), MICA_OK);
  for (int64_t c = 0; c < 3; c++) {
    assert_string_equal(mica_phrases_class(other, c), mica_phrases_class(p, c));
    assert_string_not_equal(mica_phrases_phrase(other, c, 0), mica_phrases_phrase(p, c, 0));
  }
  mica_phrases_free(other);
  assert_int_equal(mica_phrases_control_list(p, MICA_PHRASES_RANDOM, key, &other), MICA_OK);
  assert_int_equal(mica_phrases_count(other, 0), 2);
  mica_phrases_free(other);
  assert_int_equal(mica_phrases_control_list(p, MICA_PHRASES_WORDS, key, &other), MICA_OK);
  const char *words = mica_phrases_phrase(other, 2, 0);
  assert_int_equal(strspn(words, "onetwhrfuivsx "), strlen(words));
  int blanks = 0;
  for (; *words; words++) blanks += *words == ' ';
  assert_int_equal(blanks, 2);
  mica_phrases_free(other);
  assert_int_equal(mica_phrases_control_list(p, MICA_PHRASES_NONE, key, &other), MICA_OK);
  assert_int_equal(mica_phrases_count(other, 0), 0);
  mica_phrases_free(other);
  assert_int_equal(mica_phrases_first(p, 1, &other), MICA_OK);
  assert_int_equal(mica_phrases_count(other, 0), 1);
  mica_phrases_free(other);
  mica_phrases_free(p);
}

/* ---- prompts ---- */

static void prompt_is(const mica_zero_shot_options *o, const char *phrase, const char *expected) {
  char *text;
  assert_int_equal(mica_zero_shot_prompt(o, "sea_gull", phrase, &text), MICA_OK);
  assert_string_equal(text, expected);
  mica_free(text);
}

static void test_prompts(void **state) {
  (void)state;
  mica_zero_shot_options o = MICA_ZERO_SHOT_OPTIONS;
  prompt_is(NULL, "grey wings", "sea gull, which has grey wings");
  prompt_is(NULL, NULL, "sea gull");
  prompt_is(NULL, "antlers", "sea gull, which is antlers");
  prompt_is(NULL, "", "sea gull, which has ");
  o.rule = 1;
  prompt_is(&o, "antlers", "sea gull, which has antlers");
  prompt_is(&o, "a bill", "sea gull, which is a bill");
  prompt_is(&o, "an eye", "sea gull, which is an eye");
  prompt_is(&o, "cancelled", "sea gull, which has cancelled");
  prompt_is(&o, "can swim", "sea gull, which can swim");
  prompt_is(&o, "usedness", "sea gull, which has usedness");
  o.form = 1;
  o.after = ".";
  prompt_is(&o, "grey wings", "which has grey wings, sea gull.");
  o.form = 2;
  o.before = "seen: ";
  prompt_is(&o, "grey wings", "seen: which has grey wings.");
  o.modify = false;
  prompt_is(&o, "grey wings", "seen: grey wings.");
  prompt_is(&o, NULL, "seen: sea gull.");
  mica_phrases *p = list_of(birds);
  mica_prompts all;
  assert_int_equal(mica_zero_shot_prompts(NULL, p, &all), MICA_OK);
  assert_int_equal(all.n, 6);
  assert_string_equal(all.text[5], "blank, which has ");
  assert_int_equal(all.label[4], 1);
  mica_prompts_free(&all);
  o.mode = 2;
  assert_int_equal(mica_zero_shot_prompts(&o, p, &all), MICA_OK);
  assert_int_equal(all.n, 240);
  assert_string_equal(all.text[80], "a bad photo of a sea gull.");
  assert_string_equal(all.text[239], "a tattoo of the blank.");
  mica_prompts_free(&all);
  mica_phrases_free(p);
  p = list_of("{}");
  assert_int_equal(mica_zero_shot_prompts(NULL, p, &all), MICA_ERR_INVALID);
  mica_phrases_free(p);
}

/* ---- the estimator ---- */

enum { D = 5, T = 6, N = 4, C = 3 };
static double text[T * D], x[N * D];
static const int64_t label[T] = {0, 1, 0, 1, 1, 2}; /* not class by class */

static void make_numbers(void) {
  for (int i = 0; i < T * D; i++) text[i] = mica_random_normal(mica_key_seed(1), (uint64_t)i);
  for (int i = 0; i < N * D; i++) x[i] = mica_random_normal(mica_key_seed(2), (uint64_t)i);
}

static double cosine(const double *a, const double *b) {
  double ab = 0, aa = 0, bb = 0;
  for (int j = 0; j < D; j++) {
    ab += a[j] * b[j];
    aa += a[j] * a[j];
    bb += b[j] * b[j];
  }
  return ab / sqrt(aa * bb);
}

static mica_estimator *fit(const char *spec) {
  const mica_fit_data data = test_data(text, T, D, label);
  return test_fit(engine, spec, &data, NULL);
}

static void test_scores(void **state) {
  (void)state;
  static const char *const specs[] = {"zero_shot", "zero_shot:aggregate=max",
                                      "zero_shot:aggregate=sum"};
  for (int k = 0; k < 3; k++) {
    double got[N * C], p[N * C];
    int64_t best[N];
    mica_estimator *e = fit(specs[k]);
    test_predict(e, test_rows(x, N, D), best, got, p, NULL);
    for (int i = 0; i < N; i++) {
      double want[C] = {0}, sum = 0;
      for (int c = 0; c < C; c++) {
        double top = -2, all = 0;
        int n = 0;
        for (int t = 0; t < T; t++) {
          if (label[t] != c) continue;
          const double v = cosine(x + i * D, text + t * D);
          top = fmax(top, v);
          all += v;
          n++;
        }
        want[c] = k == 0 ? all / n : k == 1 ? top : all;
        assert_near(got[i * C + c], want[c], 1e-12);
        sum += exp(100 * (got[i * C + c] - got[i * C + best[i]]));
      }
      for (int c = 0; c < C; c++) assert_true(want[c] <= want[best[i]] + 1e-12);
      assert_near(p[i * C + best[i]], 1 / sum, 1e-9);
    }
    mica_estimator_free(e);
  }
}

/* Templates: the vectors' mean is scaled to length 1, which is another classifier. */
static void test_templates(void **state) {
  (void)state;
  double got[N * C], each[N * T];
  mica_estimator *e = fit("zero_shot:mode=templates");
  test_predict(e, test_rows(x, N, D), NULL, got, NULL, NULL);
  const mica_view rows = test_rows(x, N, D);
  assert_int_equal(mica_estimator_texts(e), T);
  assert_int_equal(mica_estimator_text_scores(e, &rows, each), MICA_OK);
  double centre[D] = {0};
  for (int t = 0; t < T; t++)
    for (int j = 0; j < D && label[t] == 1; j++)
      centre[j] += text[t * D + j] /
                   sqrt(cosine(text + t * D, text + t * D) *
                        (text[t * D] * text[t * D] + text[t * D + 1] * text[t * D + 1] +
                         text[t * D + 2] * text[t * D + 2] + text[t * D + 3] * text[t * D + 3] +
                         text[t * D + 4] * text[t * D + 4]));
  for (int i = 0; i < N; i++) {
    assert_near(got[i * C + 1], cosine(x + i * D, centre), 1e-12);
    assert_near(each[i * T + 2], cosine(x + i * D, text + 1 * D), 1e-12); /* class by class */
  }
  mica_estimator_free(e);
}

static void test_describe(void **state) {
  (void)state;
  static const char *const names[] = {"a", "b", "c"};
  const char *const one[] = {"new phrase"};
  double before[N * C], after[N * (C + 1)], weight[(C + 1) * D], bias[C + 1];
  mica_estimator *e = fit("zero_shot");
  const mica_view row = test_rows(text, 1, D);
  assert_null(mica_estimator_phrases(e));
  assert_int_equal(mica_estimator_describe(e, 3, "d", 1, one, &row), MICA_ERR_STATE);
  mica_phrases *p = list_of("{\"a\": [\"1\", \"2\"], \"b\": [\"3\", \"4\", \"5\"], \"c\": []}");
  mica_phrases *wrong = list_of("{\"a\": [\"1\"], \"b\": [\"3\", \"4\", \"5\"], \"c\": []}");
  assert_int_equal(mica_estimator_set_phrases(e, wrong), MICA_ERR_INVALID);
  assert_int_equal(mica_estimator_set_phrases(e, p), MICA_OK);
  test_predict(e, test_rows(x, N, D), NULL, before, NULL, NULL);
  /* Another class's texts stay; a new class is last. */
  assert_int_equal(mica_estimator_describe(e, 1, "b", 1, one, &row), MICA_OK);
  assert_int_equal(mica_estimator_describe(e, 3, "d", 1, one, &row), MICA_OK);
  assert_int_equal(mica_estimator_classes(e), 4);
  assert_int_equal(mica_estimator_texts(e), 5);
  test_predict(e, test_rows(x, N, D), NULL, after, NULL, NULL);
  for (int i = 0; i < N; i++) {
    assert_near(after[i * 4], before[i * C], 1e-15);
    assert_near(after[i * 4 + 2], before[i * C + 2], 1e-15);
    assert_near(after[i * 4 + 1], cosine(x + i * D, text), 1e-12);
    assert_near(after[i * 4 + 3], after[i * 4 + 1], 1e-15);
  }
  assert_int_equal(mica_phrases_count(mica_estimator_phrases(e), 1), 1);
  assert_int_equal(mica_estimator_describe(e, 0, "b", 1, one, &row), MICA_ERR_INVALID);
  assert_int_equal(mica_estimator_describe(e, 4, "a", 1, one, &row), MICA_ERR_INVALID);
  assert_int_equal(mica_estimator_linear(e, weight, bias), MICA_OK);
  (void)names;
  mica_phrases_free(p);
  mica_phrases_free(wrong);
  mica_estimator_free(e);
}

static void test_records(void **state) {
  (void)state;
  double before[N * C], after[N * C];
  mica_record *record, *broken;
  mica_estimator *e = fit("zero_shot:before=( it is):aggregate=max"), *again;
  mica_phrases *p = list_of("{\"a\": [\"1\", \"2\"], \"b\": [\"3\", \"4\", \"5\"], \"c\": []}");
  assert_int_equal(mica_estimator_set_phrases(e, p), MICA_OK);
  assert_int_equal(mica_record_create(&record), MICA_OK);
  assert_int_equal(mica_estimator_save(e, record), MICA_OK);
  assert_int_equal(mica_estimator_load(engine, record, &again), MICA_OK);
  test_predict(e, test_rows(x, N, D), NULL, before, NULL, NULL);
  test_predict(again, test_rows(x, N, D), NULL, after, NULL, NULL);
  assert_memory_equal(before, after, sizeof before);
  char *kept;
  assert_int_equal(mica_phrases_text(p, &kept), MICA_OK);
  text_is(mica_estimator_phrases(again), kept);
  mica_free(kept);
  mica_estimator_free(again);
  /* Without one of its tensors, or with phrases of other classes. */
  for (int k = 0; k < 4; k++) {
    static const char *const names[] = {"text", "first", "phrases"};
    assert_int_equal(mica_record_create(&broken), MICA_OK);
    for (int64_t i = 0; i < mica_record_count(record); i++) {
      const char *name;
      mica_tensor *t = mica_record_at(record, i, &name);
      if (k < 2 && strcmp(name, names[k]) == 0) continue;
      if (k >= 2 && strcmp(name, "phrases") == 0) {
        const char *bad = k == 2 ? "{\"a\":[]}" : "{";
        mica_tensor *bytes;
        assert_int_equal(mica_tensor_create(MICA_U8, MICA_SHAPE((int64_t)strlen(bad)), &bytes),
                         MICA_OK);
        memcpy(mica_tensor_data(bytes), bad, strlen(bad));
        assert_int_equal(mica_record_put(broken, name, bytes), MICA_OK);
        mica_tensor_free(bytes);
        continue;
      }
      assert_int_equal(mica_record_put(broken, name, t), MICA_OK);
    }
    assert_int_equal(mica_record_set_json(broken, mica_record_json(record)), MICA_OK);
    assert_int_not_equal(mica_estimator_load(engine, broken, &again), MICA_OK);
    mica_record_free(broken);
  }
  mica_record_free(record);
  mica_phrases_free(p);
  mica_estimator_free(e);
}

static void test_estimator_errors(void **state) {
  (void)state;
  const double zero[2 * D] = {1};
  const int64_t gap[2] = {0, 2};
  mica_estimator *e, *knn;
  mica_fit_data data = test_data(zero, 2, D, label);
  assert_int_equal(mica_estimator_create(engine, "zero_shot", &e), MICA_OK);
  assert_int_equal(mica_estimator_fit(e, &data, NULL), MICA_ERR_NUMERIC);
  data = test_data(text, 2, D, gap);
  assert_int_equal(mica_estimator_fit(e, &data, NULL), MICA_ERR_INVALID);
  mica_estimator_free(e);
  const mica_fit_data rows = test_data(text, T, D, label);
  knn = test_fit(engine, "knn", &rows, NULL);
  const mica_view view = test_rows(x, N, D);
  double out[N * T];
  assert_int_equal(mica_estimator_text_scores(knn, &view, out), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_estimator_texts(knn), 0);
  assert_null(mica_estimator_phrases(knn));
  mica_estimator_free(knn);
}

/* ---- models ---- */

enum { SIDE = 8, WIDTH = 6 };

static mica_model *model_of(const char *spec, bool tokenizer) {
  const mica_problem problem = {SIDE, SIDE, 3, 0, 300, 12, 0, NULL};
  const mica_preprocess p = MICA_PREPROCESS(SIDE, SIDE, 3);
  mica_net *net;
  mica_model *model;
  mica_tokenizer *t;
  char *json;
  assert_int_equal(mica_net_create(engine, spec, &problem, 7, &net), MICA_OK);
  assert_int_equal(mica_model_create(net, &p, NULL, NULL, &model), MICA_OK);
  if (!tokenizer) return model;
  assert_int_equal(mica_tokenizer_bytes(&t), MICA_OK);
  assert_int_equal(mica_tokenizer_text(t, &json), MICA_OK);
  assert_int_equal(mica_model_set_tokenizer(model, json), MICA_OK);
  mica_free(json);
  mica_tokenizer_free(t);
  return model;
}

static const char dual[] = "dual:dim=6:widths=4,8:words=8:hidden=8:pad=256";
static const char clip[] = "clip:dim=6:patch=4:vision_dim=8:vision_depth=1:vision_heads=2:"
                           "text_dim=8:text_depth=1:text_heads=2";

static void make_pixels(uint8_t *pixels, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    pixels[i] = (uint8_t)mica_random_below(mica_key_seed(6), (uint64_t)i, 256);
}

static void check_model(const char *spec) {
  uint8_t pixels[3 * SIDE * SIDE * 3];
  float features[3 * WIDTH], embedded[2 * WIDTH];
  const char *const texts[] = {"kite, which is a forked tail", "kite, which has reddish feathers"};
  char path[] = "/tmp/mica-zero-shot-XXXXXX";
  mica_model *model = model_of(spec, true), *again;
  mica_session *session;
  mica_answer answer[3], kept[3];
  mica_reasons reasons[3 * 2];
  mica_phrases *p = list_of(birds);
  make_pixels(pixels, sizeof pixels);
  const mica_view view = mica_view_of(pixels, MICA_U8, MICA_SHAPE(3, SIDE, SIDE, 3));
  assert_int_equal(mica_model_zero_shot(model, "birds", "zero_shot", p), MICA_OK);
  assert_int_equal(mica_session_create(model, &session), MICA_OK);
  mica_session_take_pictures(session, true);
  if (mica_predict(session, &view, answer)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_embed(session, &view, features), MICA_OK);
  assert_int_equal(mica_embed_texts(session, 2, texts, embedded), MICA_OK);
  assert_int_equal(mica_predict_reasons(session, &view, 2, reasons), MICA_OK);
  for (int i = 0; i < 3; i++) {
    const mica_reasons *r = &reasons[i * 2];
    double mean = 0;
    assert_int_equal(r[0].label, answer[i].label);
    assert_string_equal(r[0].name, answer[i].name);
    assert_true(r[0].score >= r[1].score);
    for (int64_t j = 0; j < r[0].n; j++) {
      mean += r[0].reason[j].similarity / (double)r[0].n;
      assert_true(j == 0 || r[0].reason[j].similarity <= r[0].reason[j - 1].similarity);
    }
    assert_near(mean, r[0].score, 1e-9);
    /* The first class's texts, by hand. */
    for (int k = 0; k < 2; k++)
      if (r[k].label == 0) {
        double c[2] = {0};
        for (int t = 0; t < 2; t++)
          for (int j = 0; j < WIDTH; j++)
            c[t] += (double)(features[i * WIDTH + j] * embedded[t * WIDTH + j]);
        assert_near(r[k].reason[0].similarity, fmax(c[0], c[1]), 1e-5);
      }
  }
  for (int i = 0; i < 6; i++) mica_reasons_free(&reasons[i]);
  /* One class anew, a class more; the rest is as it was. */
  const char *const soars[] = {"soars", "circles"};
  assert_int_equal(mica_head_describe(model, "blank", 2, soars), MICA_OK);
  assert_int_equal(mica_head_describe(model, "owl", 1, soars), MICA_OK);
  assert_int_equal(mica_model_classes(model), 4);
  assert_string_equal(mica_model_class(model, 3), "owl");
  /* The file has it all. */
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  assert_int_equal(mica_predict(session, &view, answer), MICA_OK);
  assert_int_equal(mica_model_save(model, path), MICA_OK);
  mica_session_free(session);
  mica_model_free(model);
  assert_int_equal(mica_model_open(engine, path, &again), MICA_OK);
  unlink(path);
  assert_int_equal(mica_session_create(again, &session), MICA_OK);
  mica_session_take_pictures(session, true);
  assert_int_equal(mica_predict(session, &view, kept), MICA_OK);
  for (int i = 0; i < 3; i++) assert_int_equal(kept[i].label, answer[i].label);
  assert_int_equal(mica_head_describe(again, "crow", 2, soars), MICA_OK);
  mica_session_free(session);
  mica_model_free(again);
  mica_phrases_free(p);
}

static void test_models(void **state) {
  (void)state;
  check_model(dual);
  check_model(clip);
}

static void test_modes(void **state) {
  (void)state;
  uint8_t pixels[SIDE * SIDE * 3];
  mica_reasons r[3];
  make_pixels(pixels, sizeof pixels);
  const mica_view view = mica_view_of(pixels, MICA_U8, MICA_SHAPE(1, SIDE, SIDE, 3));
  static const char *const specs[] = {"zero_shot:mode=name", "zero_shot:mode=templates"};
  mica_model *model = model_of(dual, true);
  mica_phrases *p = list_of(birds);
  for (int k = 0; k < 2; k++) {
    mica_session *session;
    assert_int_equal(mica_model_zero_shot(model, "birds", specs[k], p), MICA_OK);
    assert_int_equal(mica_session_create(model, &session), MICA_OK);
    mica_session_take_pictures(session, true);
    assert_int_equal(mica_predict_reasons(session, &view, 3, r), MICA_OK);
    for (int i = 0; i < 3; i++) {
      assert_int_equal(r[i].n, k ? 80 : 1);
      const char *said = strchr(r[i].name, '_') ? "sea gull" : r[i].name;
      assert_non_null(strstr(r[i].reason[0].text, said));
      mica_reasons_free(&r[i]);
    }
    mica_session_free(session);
  }
  mica_phrases_free(p);
  mica_model_free(model);
}

/* The dual encoder learns which text is a picture's: its towers have gradients. */
static void test_dual_gradients(void **state) {
  (void)state;
  const mica_problem problem = {SIDE, SIDE, 3, 0, 20, 4, 0, NULL};
  mica_net *net;
  mica_tape *t;
  mica_loss *loss;
  assert_int_equal(
      mica_net_create(engine, "dual:dim=5:widths=3,4:words=4:hidden=6", &problem, 1, &net),
      MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  assert_int_equal(mica_loss_create(engine, "clip", NULL, 0, 5, &loss), MICA_OK);
  mica_set_training(t, true);
  const mica_var x0 = mica_full(t, MICA_F32, MICA_SHAPE(4, SIDE, SIDE, 3), 0);
  const mica_var tokens = mica_full(t, MICA_I64, MICA_SHAPE(4, 4), 0);
  float *pixel = mica_read(t, x0).data;
  int64_t *id = mica_read(t, tokens).data;
  for (int i = 0; i < 4 * SIDE * SIDE * 3; i++)
    pixel[i] = (float)mica_random_normal(mica_key_seed(3), (uint64_t)i);
  for (int i = 0; i < 12; i++) id[i + i / 3] = 1 + i; /* the last of each is filled up */
  const mica_inputs in = {x0, tokens, MICA_NONE};
  mica_outputs y;
  mica_net_forward_inputs(t, net, &in, &y);
  mica_loss_inputs l = {0};
  l.logits = y.logits;
  assert_int_equal(mica_backward(t, mica_loss_forward(t, loss, &l)), MICA_OK);
  for (int64_t i = 0; i < mica_params_count(mica_net_params(net)); i++) {
    mica_param *q = mica_params_at(mica_net_params(net), i);
    if (!(mica_param_flags(q) & MICA_PARAM_TRAINABLE)) continue;
    assert_true(mica_param_grad_kind(q) != MICA_GRAD_NONE);
  }
  mica_loss_free(loss);
  mica_tape_free(t);
  mica_net_free(net);
}

static void test_model_errors(void **state) {
  (void)state;
  const char *const one[] = {"x"};
  float out[WIDTH];
  uint8_t pixels[SIDE * SIDE * 3] = {0};
  mica_reasons r[9];
  mica_session *session;
  mica_phrases *p = list_of(birds);
  const mica_view view = mica_view_of(pixels, MICA_U8, MICA_SHAPE(1, SIDE, SIDE, 3));
  mica_model *model = model_of(dual, false);
  assert_int_equal(mica_model_zero_shot(model, "birds", "zero_shot", p), MICA_ERR_UNSUPPORTED);
  assert_non_null(strstr(mica_last_error(), "tokenizer"));
  assert_int_equal(mica_head_describe(model, "a", 1, one), MICA_ERR_UNSUPPORTED);
  mica_model_free(model);
  model = model_of(dual, true);
  assert_int_equal(mica_model_zero_shot(model, "birds", "knn", p), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_model_zero_shot(model, "bad name", "zero_shot", p), MICA_ERR_INVALID);
  assert_int_equal(mica_session_create(model, &session), MICA_OK);
  mica_session_take_pictures(session, true);
  assert_int_equal(mica_predict_reasons(session, &view, 1, r), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_model_zero_shot(model, "birds", "zero_shot", p), MICA_OK);
  assert_int_equal(mica_predict_reasons(session, &view, 9, r), MICA_ERR_INVALID);
  mica_session_free(session);
  mica_model_free(model);
  /* A model of rows reads no texts. */
  const mica_problem rows = MICA_PROBLEM_ROWS(4, 2);
  const mica_preprocess pre = MICA_PREPROCESS(0, 0, 4);
  mica_net *net;
  assert_int_equal(
      mica_net_create(engine, "identity", &(mica_problem){0, 0, 4, 0, 0, 0, 0, NULL}, 1, &net),
      MICA_OK);
  (void)rows;
  assert_int_equal(mica_model_create(net, &pre, NULL, NULL, &model), MICA_OK);
  assert_int_equal(mica_session_create(model, &session), MICA_OK);
  assert_int_equal(mica_embed_texts(session, 1, one, out), MICA_ERR_UNSUPPORTED);
  mica_session_free(session);
  mica_model_free(model);
  mica_phrases_free(p);
}

/* ---- memory ---- */

static mica_model *shared_model;

static mica_status work(void *ctx) {
  (void)ctx;
  const char *const soars[] = {"soars", "a fork"};
  uint8_t pixels[SIDE * SIDE * 3] = {9};
  const mica_view view = mica_view_of(pixels, MICA_U8, MICA_SHAPE(1, SIDE, SIDE, 3));
  mica_phrases *p = NULL, *other = NULL;
  mica_session *session = NULL;
  mica_reasons r[2] = {{0}};
  int64_t found;
  mica_status status = mica_phrases_parse(birds, strlen(birds), &p);
  if (!status) status = mica_phrases_control_list(p, MICA_PHRASES_WORDS, mica_key_seed(1), &other);
  if (!status) status = mica_phrases_override(p, other);
  if (!status) status = mica_phrases_answer(p, "owl", "- round\n- brown", &found);
  if (!status) status = mica_model_zero_shot(shared_model, "birds", "zero_shot", p);
  if (!status) status = mica_head_describe(shared_model, "kite", 2, soars);
  if (!status) status = mica_session_create(shared_model, &session);
  if (!status) {
    mica_session_take_pictures(session, true);
    status = mica_predict_reasons(session, &view, 2, r);
  }
  mica_reasons_free(&r[0]);
  mica_reasons_free(&r[1]);
  mica_session_free(session);
  mica_phrases_free(other);
  mica_phrases_free(p);
  return status;
}

static void test_failing(void **state) {
  (void)state;
  shared_model = model_of(dual, true);
  for (int i = 0; i < 3; i++) assert_int_equal(work(NULL), MICA_OK); /* what a model keeps */
  failing_alloc_arm(-1);
  for (long n = 1;; n++) { /* the model keeps texts and caches, so blocks are not counted */
    failing_alloc_arm(n);
    const mica_status status = work(NULL);
    const bool happened = failing_alloc_happened();
    failing_alloc_arm(-1);
    if (!happened) break;
    assert_true(status == MICA_ERR_MEMORY || status == MICA_OK);
  }
  assert_int_equal(work(NULL), MICA_OK);
  mica_model_free(shared_model);
}

int main(void) {
  failing_alloc_install();
  engine = test_engine(1);
  make_numbers();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lists),          cmocka_unit_test(test_bad_json),
      cmocka_unit_test(test_answer),         cmocka_unit_test(test_controls),
      cmocka_unit_test(test_prompts),        cmocka_unit_test(test_scores),
      cmocka_unit_test(test_templates),      cmocka_unit_test(test_describe),
      cmocka_unit_test(test_records),        cmocka_unit_test(test_estimator_errors),
      cmocka_unit_test(test_models),         cmocka_unit_test(test_modes),
      cmocka_unit_test(test_dual_gradients), cmocka_unit_test(test_model_errors),
      cmocka_unit_test(test_failing)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  failing_alloc_remove();
  return failed;
}
