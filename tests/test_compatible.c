/* A new embedding on an old one's index: orthogonal weights by every map, the scheme with its
 * losses, caches of features, rankings by shared columns, backfilling. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

/* ---- orthogonal weights ---- */

/* The largest |W^T W - 1| of columns, or rows where there are fewer. */
static double off(const mica_view *w) {
  const int64_t rows = w->shape.dim[0], columns = w->shape.dim[1];
  const bool wide = rows < columns;
  const int64_t n = wide ? columns : rows, k = wide ? rows : columns;
  const float *v = w->data;
  double most = 0;
  for (int64_t a = 0; a < k; a++)
    for (int64_t b = 0; b < k; b++) {
      double sum = 0;
      for (int64_t i = 0; i < n; i++)
        sum += wide ? (double)v[a * w->row_stride + i] * (double)v[b * w->row_stride + i]
                    : (double)v[i * w->row_stride + a] * (double)v[i * w->row_stride + b];
      most = fmax(most, fabs(sum - (a == b)));
    }
  return most;
}

static void test_orthogonal_maps(void **state) {
  (void)state;
  static const int64_t shapes[][2] = {{6, 6}, {7, 4}, {3, 8}, {1, 1}, {5, 1}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int map = 0; map < 3; map++) {
      const int64_t out = shapes[s][0], in = shapes[s][1];
      mica_params *p;
      mica_optimiser *opt;
      mica_tape *t;
      assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
      mica_node *node = mica_node_child(mica_params_root(p), "layer");
      assert_int_equal(mica_nn_orthogonal_init(node, in, out), MICA_OK);
      assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
      assert_int_equal(mica_optimiser_create(p, "sgd:lr=0.5", &opt), MICA_OK);
      float first[64], before[64];
      double moved = 0;
      for (int i = 0; i < 20; i++) {
        mica_params_zero_grad(p);
        mica_tape_reset(t);
        const mica_var w = mica_nn_orthogonal_weight(t, node, (mica_orthogonal_map)map);
        const mica_view v = mica_read(t, w);
        if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
        assert_true(off(&v) < 1e-5);
        for (int64_t k = 0; k < out * in; k++) {
          const float x = ((const float *)v.data)[k / in * v.row_stride + k % in];
          if (!i) first[k] = x;
          before[k] = x;
          moved = fmax(moved, fabs((double)(x - first[k])));
        }
        const mica_var y =
            mica_mul(t, w, mica_random_normal_like(t, MICA_SHAPE(out, in), MICA_F32, 0, 1));
        assert_int_equal(mica_backward(t, mica_sum(t, y, 0, NULL, false)), MICA_OK);
        assert_int_equal(mica_optimiser_step(opt, t, 1), MICA_OK);
      }
      if (out > 1 && in > 1) assert_true(moved > 0.1);
      /* Another base: the same weight. */
      mica_tape_reset(t);
      mica_view v = mica_read(t, mica_nn_orthogonal_weight(t, node, (mica_orthogonal_map)map));
      for (int64_t k = 0; k < out * in; k++)
        before[k] = ((const float *)v.data)[k / in * v.row_stride + k % in];
      if (out >= in || map != MICA_ORTHOGONAL_HOUSEHOLDER) {
        assert_int_equal(mica_nn_orthogonal_rebase(node, (mica_orthogonal_map)map), MICA_OK);
        mica_tape_reset(t);
        v = mica_read(t, mica_nn_orthogonal_weight(t, node, (mica_orthogonal_map)map));
        for (int64_t k = 0; k < out * in; k++)
          assert_true(fabs((double)(((const float *)v.data)[k / in * v.row_stride + k % in] -
                                    before[k])) < 1e-5);
      }
      mica_optimiser_free(opt);
      mica_tape_free(t);
      mica_params_free(p);
    }
  mica_params *p;
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  assert_int_equal(mica_nn_orthogonal_rebase(mica_params_root(p), 0), MICA_ERR_NOT_FOUND);
  mica_params_free(p);
}

/* ---- the head ---- */

enum { SIDE = 8, IMAGES = 24, CLASSES = 4 };

static mica_net *net_of(const char *text, int64_t classes) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, classes);
  mica_net *net;
  if (mica_net_create(engine, text, &problem, 5, &net) != MICA_OK)
    fail_msg("%s: %s", text, mica_last_error());
  return net;
}

static void test_dimensions(void **state) {
  (void)state;
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, CLASSES);
  static const char *const bad[] = {"old=12", "old=6:add=7", "old=11:add=0"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char text[80];
    mica_net *net;
    snprintf(text, sizeof text, "convnet:widths=12 | head=bt2:%s", bad[i]);
    assert_int_equal(mica_net_create(engine, text, &problem, 0, &net), MICA_ERR_INVALID);
    assert_non_null(strstr(mica_last_error(), "bt2"));
  }
  mica_net *net = net_of("convnet:widths=4,12 | head=bt2:old=5:add=3", CLASSES);
  assert_int_equal(mica_net_features(net), 7 + 3);
  mica_net_free(net);
}

/* ---- the scheme ---- */

static mica_tensor *x, *label;

static void train(const char *spec, const char *loss, mica_net *net, const mica_net *old,
                  const mica_net *guide, int64_t epochs, double *last) {
  mica_stream stream;
  mica_scheme *scheme;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_train_result result;
  assert_int_equal(mica_memory_stream_create(x, label, 8, true, false, 1, &stream), MICA_OK);
  const mica_scheme_setting s = {
      .size = sizeof s, .net = net, .train = &stream, .teacher = old, .guide = guide};
  if (mica_scheme_create(engine, spec, &s, loss, &scheme) != MICA_OK)
    fail_msg("%s", mica_last_error());
  o.scheme = scheme;
  o.loss = mica_scheme_loss(scheme);
  o.optimiser = "adam:lr=0.01";
  o.epochs = epochs;
  if (mica_train(net, &stream, NULL, &o, &result) != MICA_OK) fail_msg("%s", mica_last_error());
  *last = result.loss;
  mica_scheme_free(scheme);
  mica_memory_stream_free(&stream);
}

static void test_scheme(void **state) {
  (void)state;
  mica_net *old = net_of("convnet:widths=4,5", 2), *guide = net_of("convnet:widths=4,7", CLASSES);
  double first, last;
  mica_net *net = net_of("convnet:widths=4,12 | head=bt2:old=5:add=3", CLASSES);
  train("compatible", "ce+10*influence+5*align+align:to=new", net, old, guide, 1, &first);
  train("compatible", "ce+10*influence+5*align+align:to=new", net, old, guide, 15, &last);
  assert_true(last < first);
  mica_net_free(net);
  /* Without a head of its own the first features are the older part. */
  net = net_of("convnet:widths=4,6", CLASSES);
  train("compatible", NULL, net, old, NULL, 1, &first);
  train("compatible:cache", NULL, net, old, NULL, 15, &last);
  assert_true(last < first);
  mica_net_free(net);
  mica_net_free(old);
  mica_net_free(guide);
}

static void test_scheme_refuses(void **state) {
  (void)state;
  mica_net *old = net_of("convnet:widths=4,9", 2), *net = net_of("convnet:widths=4,6", CLASSES);
  mica_stream stream;
  mica_scheme *scheme;
  assert_int_equal(mica_memory_stream_create(x, label, 8, true, false, 1, &stream), MICA_OK);
  mica_scheme_setting s = {.size = sizeof s, .net = net, .train = &stream};
  assert_int_equal(mica_scheme_create(engine, "compatible", &s, NULL, &scheme), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "old=FILE"));
  assert_true(mica_scheme_create(engine, "compatible:old=/nowhere.mica", &s, NULL, &scheme) !=
              MICA_OK);
  /* Fewer features than the older embedding's; align to a guide that is not there. */
  static const char *const losses[] = {"ce+influence", "ce+align", "ce+align:to=new"};
  s.teacher = old;
  for (int i = 0; i < 3; i++) {
    mica_train_options o = MICA_TRAIN_OPTIONS;
    assert_int_equal(mica_scheme_create(engine, "compatible", &s, losses[i], &scheme), MICA_OK);
    o.scheme = scheme;
    o.loss = mica_scheme_loss(scheme);
    o.epochs = 1;
    const mica_status status = mica_train(net, &stream, NULL, &o, NULL);
    assert_int_equal(status, i < 2 ? MICA_ERR_SHAPE : MICA_ERR_INVALID);
    mica_scheme_free(scheme);
  }
  mica_memory_stream_free(&stream);
  mica_net_free(old);
  mica_net_free(net);
}

/* ---- what it is worth ---- */

static void test_classifier_and_gain(void **state) {
  (void)state;
  const float rows[] = {1, 0, 3, 0, 0, 2};
  const int64_t of[] = {0, 0, 2};
  double mean[6];
  const mica_view v = mica_view_of((void *)(uintptr_t)rows, MICA_F32, MICA_SHAPE(3, 2));
  assert_int_equal(mica_pseudo_classifier(&v, of, 3, mean), MICA_OK);
  static const double want[] = {2, 0, 0, 0, 0, 2};
  assert_memory_equal(mean, want, sizeof want);
  assert_int_equal(mica_pseudo_classifier(&v, of, 2, mean), MICA_ERR_INVALID);
  assert_true(fabs(mica_upgrade_gain(0.6, 0.5, 0.9) - 0.25) < 1e-12);
  assert_true(isnan(mica_upgrade_gain(0.6, 0.5, 0.5)));
}

/* Old rows know the class of half of the items, new ones of all. */
static void test_evaluation(void **state) {
  (void)state;
  enum { N = 12 };
  float old[N * 2], fresh[N * 3];
  int64_t of[N];
  for (int i = 0; i < N; i++) {
    of[i] = i % 3;
    const double a = 2 * acos(-1) * (i % 3) / 3 + 0.01 * i, b = i % 2 ? a : a + 2.1 * (i % 4);
    old[2 * i] = (float)cos(b), old[2 * i + 1] = (float)sin(b);
    fresh[3 * i] = (float)cos(a), fresh[3 * i + 1] = (float)sin(a), fresh[3 * i + 2] = 0.1f;
  }
  mica_compat_data d = MICA_COMPAT_DATA;
  mica_compat_result r;
  const mica_view f = mica_view_of(fresh, MICA_F32, MICA_SHAPE(N, 3));
  d.query = f;
  d.gallery = mica_view_of(old, MICA_F32, MICA_SHAPE(N, 2));
  d.query_label = d.gallery_label = of;
  assert_int_equal(mica_compat_eval(engine, &d, &r), MICA_OK);
  assert_int_equal(r.columns, 2);
  assert_true(r.map.value < 0.9);
  d.fresh = &f;
  static const double share[] = {0, 0.5, 1};
  double map[3];
  assert_int_equal(mica_backfill_curve(engine, &d, mica_key_seed(1), 3, share, map), MICA_OK);
  assert_true(fabs(map[0] - r.map.value) < 1e-12);
  assert_true(map[0] < map[1] && map[1] < map[2] && map[2] > 0.999);
  static const double wrong[] = {1.5};
  assert_int_equal(mica_backfill_curve(engine, &d, mica_key_seed(1), 1, wrong, map),
                   MICA_ERR_INVALID);
  d.query.shape.dim[0] = N - 1;
  assert_int_equal(mica_compat_eval(engine, &d, &r), MICA_ERR_SHAPE);
  d.self = false;
  assert_int_equal(mica_compat_eval(engine, &d, &r), MICA_OK);
  d.query_label = NULL;
  assert_int_equal(mica_compat_eval(engine, &d, &r), MICA_ERR_INVALID);
}

/* ---- features by example ---- */

static void test_cache(void **state) {
  (void)state;
  enum { N = 500, WIDTH = 3 };
  static float rows[N * WIDTH], got[N * WIDTH];
  static int64_t id[N];
  mica_feature_cache *c, *again;
  for (int i = 0; i < N; i++) {
    id[i] = (int64_t)i * 7919 % 100003;
    for (int k = 0; k < WIDTH; k++) rows[i * WIDTH + k] = (float)(i * WIDTH + k);
  }
  assert_int_equal(mica_feature_cache_create(0, &c), MICA_ERR_INVALID);
  assert_int_equal(mica_feature_cache_create(WIDTH, &c), MICA_OK);
  assert_false(mica_feature_cache_get(c, 1, id, got));
  const char *path = folder_path("cache.safetensors");
  assert_int_equal(mica_feature_cache_save(c, path), MICA_OK);
  for (int i = 0; i < N; i += 10)
    assert_int_equal(mica_feature_cache_put(c, 10, id + i, rows + i * WIDTH), MICA_OK);
  assert_int_equal(mica_feature_cache_count(c), N);
  assert_true(mica_feature_cache_get(c, N, id, got));
  assert_memory_equal(got, rows, sizeof rows);
  assert_int_equal(mica_feature_cache_put(c, 1, id + 3, rows), MICA_OK); /* another row */
  assert_int_equal(mica_feature_cache_count(c), N);
  assert_true(mica_feature_cache_get(c, 1, id + 3, got) && got[0] == 0);
  const int64_t strange[] = {-1, 99999};
  assert_int_equal(mica_feature_cache_put(c, 1, strange, rows), MICA_ERR_INVALID);
  assert_false(mica_feature_cache_get(c, 2, strange, got));
  if (mica_feature_cache_save(c, path) != MICA_OK) fail_msg("%s", mica_last_error());
  if (mica_feature_cache_open(path, &again) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_feature_cache_count(again), N);
  assert_int_equal(mica_feature_cache_width(again), WIDTH);
  assert_true(mica_feature_cache_get(again, 1, id + 499, got) && got[0] == 499 * WIDTH);
  mica_feature_cache_free(again);
  mica_feature_cache_free(c);
  assert_true(mica_feature_cache_open(folder_put("cache.txt", "x"), &again) != MICA_OK);
}

static mica_status life(void *ctx) {
  (void)ctx;
  enum { N = 130 };
  static float rows[N * 2];
  static int64_t id[N], of[N];
  mica_feature_cache *c = NULL;
  for (int i = 0; i < N; i++) id[i] = i, of[i] = i % 2;
  mica_status status = mica_feature_cache_create(2, &c);
  if (status == MICA_OK) status = mica_feature_cache_put(c, N, id, rows);
  mica_feature_cache_free(c);
  mica_compat_data d = MICA_COMPAT_DATA;
  mica_compat_result r;
  d.query = d.gallery = mica_view_of(rows, MICA_F32, MICA_SHAPE(20, 2));
  d.query_label = d.gallery_label = of;
  return status == MICA_OK ? mica_compat_eval(engine, &d, &r) : status;
}

static void test_failing_memory(void **state) {
  (void)state;
  assert_int_equal(life(NULL), MICA_OK);
  fail_each(life, NULL);
}

static int set_up(void **state) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  if (folder_setup(state) || mica_engine_create(&o, &engine) != MICA_OK) return 1;
  if (mica_tensor_create(MICA_F32, MICA_SHAPE(IMAGES, SIDE, SIDE, 1), &x) != MICA_OK ||
      mica_tensor_create(MICA_I64, MICA_SHAPE(IMAGES), &label) != MICA_OK)
    return 1;
  for (int64_t i = 0; i < IMAGES * SIDE * SIDE; i++)
    ((float *)mica_tensor_data(x))[i] = (float)sin((double)(i * i % 89));
  for (int64_t i = 0; i < IMAGES; i++) ((int64_t *)mica_tensor_data(label))[i] = i % CLASSES;
  return 0;
}
static int tear_down(void **state) {
  mica_tensor_free(x);
  mica_tensor_free(label);
  mica_engine_free(engine);
  return folder_teardown(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_orthogonal_maps),
      cmocka_unit_test(test_dimensions),
      cmocka_unit_test(test_scheme),
      cmocka_unit_test(test_scheme_refuses),
      cmocka_unit_test(test_classifier_and_gain),
      cmocka_unit_test(test_evaluation),
      cmocka_unit_test(test_cache),
      cmocka_unit_test(test_failing_memory),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
