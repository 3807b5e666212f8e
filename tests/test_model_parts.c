/* Models that describe parts of pictures: views and regions, through sessions, heads and files. */
#include "support/estimator.h"
#include "support/failing_alloc.h"
#include "support/folder.h"

#include <mica/mica.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

enum { SIDE = 8, WIDTH = 5, READ = 12 };

static mica_model *model_of(int64_t classes) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, classes);
  const mica_preprocess p = MICA_PREPROCESS(SIDE, SIDE, 1);
  const char *const names[] = {"a", "b"};
  mica_net *net;
  mica_model *m;
  assert_int_equal(mica_net_create(engine, "convnet:widths=4,5:convolutions=1", &problem, 1, &net),
                   MICA_OK);
  assert_int_equal(mica_model_create(net, &p, names, NULL, &m), MICA_OK);
  return m;
}

static void draw(uint8_t *p, int64_t n) {
  for (int64_t i = 0; i < n; i++) p[i] = (uint8_t)(i * i * 31 % 253);
}

/* Each part through a model of whole pictures. */
static void by_hand(mica_model *whole, const uint8_t *pixels, const mica_region *region,
                    int64_t side, int64_t parts, float *out) {
  mica_session *s;
  mica_tensor *picture, *part, *sized;
  assert_int_equal(mica_session_create(whole, &s), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_U8, MICA_SHAPE(side, side, 1), &picture), MICA_OK);
  memcpy(mica_tensor_data(picture), pixels, (size_t)(side * side));
  for (int64_t k = 0; k < parts; k++) {
    if (region)
      assert_int_equal(mica_picture_crop(picture, &region[k], &part), MICA_OK);
    else
      assert_int_equal(mica_picture_view(picture, NULL, (int)k, &part), MICA_OK);
    assert_int_equal(mica_image_resize(part, SIDE, SIDE, MICA_FILTER_BILINEAR, &sized), MICA_OK);
    const mica_view x =
        mica_view_of(mica_tensor_data(sized), MICA_U8, MICA_SHAPE(1, SIDE, SIDE, 1));
    assert_int_equal(mica_embed(s, &x, out + k * WIDTH), MICA_OK);
    mica_tensor_free(part);
    mica_tensor_free(sized);
  }
  mica_tensor_free(picture);
  mica_session_free(s);
}

static void test_views(void **state) {
  (void)state;
  enum { N = 6, PARTS = 16 };
  mica_model *m = model_of(0), *whole = model_of(0);
  mica_model_views v = MICA_MODEL_VIEWS;
  mica_session *s;
  uint8_t pixels[N * READ * READ];
  float got[N * PARTS * WIDTH], want[PARTS * WIDTH];
  draw(pixels, sizeof pixels);
  assert_int_equal(mica_model_parts(m), 1);
  assert_int_equal(mica_model_features(m), WIDTH);
  for (int64_t views = 8; views <= PARTS; views += 8) {
    v.views = views;
    assert_int_equal(mica_model_set_views(m, &v), MICA_OK);
    assert_int_equal(mica_model_parts(m), views);
    assert_int_equal(mica_model_features(m), views * WIDTH);
    assert_int_equal(mica_model_preprocess(m)->height, READ);
    assert_int_equal(mica_session_create(m, &s), MICA_OK);
    const mica_view x = mica_view_of(pixels, MICA_U8, MICA_SHAPE(N, READ, READ, 1));
    assert_int_equal(mica_embed(s, &x, got), MICA_OK);
    for (int i = 0; i < N; i++) {
      by_hand(whole, pixels + i * READ * READ, NULL, READ, views, want);
      for (int64_t k = 0; k < views * WIDTH; k++)
        assert_near(got[i * views * WIDTH + k], want[k], 1e-6);
    }
    const mica_view small = mica_view_of(pixels, MICA_U8, MICA_SHAPE(N, SIDE, SIDE, 1));
    assert_int_equal(mica_embed(s, &small, got), MICA_ERR_SHAPE);
    mica_session_free(s);
  }
  assert_int_equal(mica_model_set_views(m, NULL), MICA_OK);
  assert_int_equal(mica_model_preprocess(m)->height, SIDE);
  mica_model_free(m);
  mica_model_free(whole);
}

static void test_regions(void **state) {
  (void)state;
  enum { SQUARE = 16, PARTS = 14 };
  mica_model *m = model_of(0), *whole = model_of(0);
  mica_model_views v = MICA_MODEL_VIEWS;
  mica_session *s;
  mica_region region[PARTS];
  uint8_t pixels[SQUARE * SQUARE];
  float got[PARTS * WIDTH], want[PARTS * WIDTH];
  draw(pixels, sizeof pixels);
  v.views = 0;
  v.regions = 3;
  assert_int_equal(mica_model_set_views(m, &v), MICA_OK);
  assert_int_equal(mica_model_parts(m), PARTS);
  assert_int_equal(mica_model_preprocess(m)->width, SQUARE);
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  const mica_view x = mica_view_of(pixels, MICA_U8, MICA_SHAPE(1, SQUARE, SQUARE, 1));
  assert_int_equal(mica_embed(s, &x, got), MICA_OK);
  assert_int_equal(mica_regions(SQUARE, SQUARE, 3, region), MICA_OK);
  by_hand(whole, pixels, region, SQUARE, PARTS, want);
  for (int k = 0; k < PARTS * WIDTH; k++) assert_near(got[k], want[k], 1e-6);
  mica_session_free(s);
  v.regions = 1;
  assert_int_equal(mica_model_set_views(m, &v), MICA_OK);
  assert_int_equal(mica_model_parts(m), 1);
  assert_int_equal(mica_model_preprocess(m)->width, SIDE);
  mica_model_free(m);
  mica_model_free(whole);
}

/* A head that reads views, written and opened again. */
static void test_heads(void **state) {
  (void)state;
  enum { N = 8, ALL = 16 * WIDTH };
  mica_model *m = model_of(2), *again;
  const mica_model_views v = MICA_MODEL_VIEWS;
  const char *const names[] = {"noisy", "even"};
  mica_session *s;
  mica_answer before[N], after[N];
  uint8_t pixels[N * READ * READ];
  int64_t label[N];
  float x[N * ALL];
  const char *path = folder_path("parts.mica");
  for (int i = 0; i < N; i++) {
    label[i] = i % 2;
    for (int k = 0; k < READ * READ; k++)
      pixels[i * READ * READ + k] = (uint8_t)(i % 2 ? 120 + i : k * (97 + i) % 256);
  }
  assert_int_equal(mica_model_set_views(m, &v), MICA_OK);
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  const mica_view pictures = mica_view_of(pixels, MICA_U8, MICA_SHAPE(N, READ, READ, 1));
  assert_int_equal(mica_predict(s, &pictures, before), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_embed(s, &pictures, x), MICA_OK);
  mica_estimator *e;
  mica_fit_data data = MICA_FIT_DATA;
  data.x = mica_view_of(x, MICA_F32, MICA_SHAPE(N, ALL));
  data.label = label;
  assert_int_equal(mica_estimator_create(engine, "transformed:views=16:power=2", &e), MICA_OK);
  assert_int_equal(mica_estimator_fit(e, &data, NULL), MICA_OK);
  assert_int_equal(mica_model_put_head(m, "views", e, names), MICA_OK);
  assert_int_equal(mica_model_answer_with(m, "views"), MICA_OK);
  assert_int_equal(mica_predict(s, &pictures, before), MICA_OK);
  for (int i = 0; i < N; i++) assert_string_equal(before[i].name, names[i % 2]);
  mica_session_take_features(s, true);
  assert_int_equal(mica_predict(s, &data.x, after), MICA_OK);
  for (int i = 0; i < N; i++) assert_int_equal(after[i].label, before[i].label);
  mica_session_free(s);
  assert_int_equal(mica_model_save(m, path), MICA_OK);
  mica_model_free(m);
  if (mica_model_open(engine, path, &again) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_model_parts(again), 16);
  assert_int_equal(mica_model_preprocess(again)->height, READ);
  assert_int_equal(mica_session_create(again, &s), MICA_OK);
  assert_int_equal(mica_predict(s, &pictures, after), MICA_OK);
  for (int i = 0; i < N; i++) assert_string_equal(after[i].name, names[i % 2]);
  mica_session_free(s);
  assert_int_equal(mica_model_set_fit(again, MICA_FIT_WHOLE), MICA_OK);
  assert_int_equal(mica_model_preprocess(again)->fit, MICA_FIT_WHOLE);
  assert_int_equal(mica_model_set_views(again, NULL), MICA_OK);
  assert_int_equal(mica_model_heads(again), 0);
  mica_model_free(again);
}

/* A model file whose metadata say something else at the same length. */
static void hostile(const char *from, const char *to) {
  mica_model *m = model_of(0), *opened = NULL;
  mica_model_views v = MICA_MODEL_VIEWS;
  const char *path = folder_path("hostile.mica");
  v.angle = 15;
  assert_int_equal(mica_model_set_views(m, &v), MICA_OK);
  assert_int_equal(mica_model_save(m, path), MICA_OK);
  mica_model_free(m);
  FILE *f = fopen(path, "r+b");
  assert_non_null(f);
  static char bytes[1 << 16];
  const size_t n = fread(bytes, 1, sizeof bytes, f);
  char *at = NULL;
  for (size_t i = 0; i + strlen(from) < n && !at; i++)
    if (memcmp(bytes + i, from, strlen(from)) == 0) at = bytes + i;
  if (!at) fail_msg("no %s in the file", from);
  memcpy(at, to, strlen(to));
  rewind(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
  assert_int_equal(mica_model_open(engine, path, &opened), MICA_ERR_FORMAT);
  if (!strstr(mica_last_error(), "parts")) fail_msg("%s", mica_last_error());
}

static void test_refusals(void **state) {
  (void)state;
  mica_model *m = model_of(0);
  mica_model_views v = MICA_MODEL_VIEWS;
  const double scales[] = {1, 0.5};
  v.views = 9;
  assert_int_equal(mica_model_set_views(m, &v), MICA_ERR_INVALID);
  v.views = 16;
  v.regions = 2;
  assert_int_equal(mica_model_set_views(m, &v), MICA_ERR_INVALID);
  v.views = 0;
  v.regions = 9;
  assert_int_equal(mica_model_set_views(m, &v), MICA_ERR_INVALID);
  v = (mica_model_views)MICA_MODEL_VIEWS;
  v.crop = 0.05;
  assert_int_equal(mica_model_set_views(m, &v), MICA_ERR_INVALID);
  v = (mica_model_views)MICA_MODEL_VIEWS;
  v.angle = 181;
  assert_int_equal(mica_model_set_views(m, &v), MICA_ERR_INVALID);
  v = (mica_model_views)MICA_MODEL_VIEWS;
  assert_int_equal(mica_model_set_views(m, &v), MICA_OK);
  assert_int_equal(mica_model_set_scales(m, 2, scales), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_model_set_views(m, NULL), MICA_OK);
  assert_int_equal(mica_model_set_scales(m, 2, scales), MICA_OK);
  assert_int_equal(mica_model_set_views(m, &v), MICA_ERR_UNSUPPORTED);
  mica_model_free(m);
  const mica_problem rows = MICA_PROBLEM_ROWS(3, 0);
  const mica_preprocess p = MICA_PREPROCESS(0, 0, 3);
  mica_net *net;
  assert_int_equal(mica_net_create(engine, "identity", &rows, 0, &net), MICA_OK);
  assert_int_equal(mica_model_create(net, &p, NULL, NULL, &m), MICA_OK);
  assert_int_equal(mica_model_set_views(m, &v), MICA_ERR_UNSUPPORTED);
  mica_model_free(m);
  hostile("\\\"views\\\":16", "\\\"views\\\":17");
  hostile("\\\"angle\\\":15", "\\\"anglo\\\":15");
  hostile("\\\"views\\\":16", "\\\"views\\\": 0");
}

static mica_status life(void *ctx) {
  mica_model *m = ctx;
  const mica_model_views v = MICA_MODEL_VIEWS;
  mica_session *s = NULL;
  static uint8_t pixels[READ * READ];
  static float out[16 * WIDTH];
  const mica_view x = mica_view_of(pixels, MICA_U8, MICA_SHAPE(1, READ, READ, 1));
  mica_status status = mica_model_set_views(m, &v);
  if (!status) status = mica_session_create(m, &s);
  if (!status) status = mica_embed(s, &x, out);
  mica_session_free(s);
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  mica_model *m = model_of(0);
  assert_int_equal(life(m), MICA_OK);
  fail_each(life, m);
  mica_model_free(m);
}

static int set_up(void **state) {
  engine = test_engine(1);
  return folder_setup(state);
}
static int tear_down(void **state) {
  mica_engine_free(engine);
  return folder_teardown(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_views),          cmocka_unit_test(test_regions),
      cmocka_unit_test(test_heads),          cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_failing_memory),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
