/* The driver of optimisers: a rule for each parameter, state that is kept, begun again and made
 * when a parameter becomes trainable, sums over large parameters, rows that are left alone. */
#include "support/test.h"

#include <mica/ops.h>
#include <mica/optim.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static mica_engine *engine;

/* ---- a tree of a few entries, and steps with given gradients ---- */

enum { ROWS = 6, WIDTH = 4 };
static const char *const names[] = {"body.weight", "body.bias", "embedding.weight"};
enum { BODY, BIAS, TABLE, ENTRIES };

static mica_params *tree(mica_engine *e) {
  static const mica_init init = {MICA_INIT_NORMAL, 0, 1, 0, false};
  mica_params *p;
  assert_int_equal(mica_params_create(e, 3, &p), MICA_OK);
  for (int i = 0; i < ENTRIES; i++) {
    char node[32];
    snprintf(node, sizeof node, "%.*s", (int)(strchr(names[i], '.') - names[i]), names[i]);
    assert_int_equal(
        mica_param_add(mica_node_child(mica_params_root(p), node), strchr(names[i], '.') + 1,
                       MICA_F32, i == BIAS ? MICA_SHAPE(WIDTH) : MICA_SHAPE(ROWS, WIDTH),
                       MICA_PARAM_TRAINABLE | (i == BIAS ? 0 : MICA_PARAM_DECAY), &init, NULL),
        MICA_OK);
  }
  return p;
}

static mica_param *entry(mica_params *p, int i) {
  return mica_params_find(p, names[i]);
}
static const float *value(mica_params *p, int i) {
  return mica_tensor_data(mica_param_value(entry(p, i)));
}

/* One step whose gradients are functions of the step and of the values; the table's has rows 1 and
 * 4 only. */
static void step(mica_tape *t, mica_params *p, mica_optimiser *opt, int i) {
  int64_t ids[] = {4, 1, 4};
  mica_tensor *at;
  const mica_view view = mica_view_of(ids, MICA_I64, MICA_SHAPE(3));
  assert_int_equal(mica_tensor_from_view(&view, MICA_I64, &at), MICA_OK);
  mica_params_zero_grad(p);
  mica_tape_reset(t);
  mica_var sum = MICA_NONE;
  for (int k = 0; k < ENTRIES; k++) {
    mica_var w = mica_param_var(t, entry(p, k));
    if (k == TABLE) w = mica_embedding(t, w, mica_input(t, at));
    w = mica_affine(t, w, 1, 0.3 * sin(i + k));
    const mica_var part = mica_sum(t, mica_mul(t, w, w), 0, NULL, false);
    sum = k ? mica_add(t, sum, part) : part;
  }
  assert_int_equal(mica_backward(t, sum), MICA_OK);
  if (mica_optimiser_step(opt, t, 1) != MICA_OK) fail_msg("%s", mica_last_error());
  mica_tensor_free(at);
}

static void steps(mica_params *p, mica_optimiser *opt, int from, int to) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  for (int i = from; i < to; i++) step(t, p, opt, i);
  mica_tape_free(t);
}

static mica_params *trained(const char *spec, int n) {
  mica_params *p = tree(engine);
  mica_optimiser *opt;
  if (mica_optimiser_create(p, spec, &opt) != MICA_OK) fail_msg("%s: %s", spec, mica_last_error());
  steps(p, opt, 0, n);
  mica_optimiser_free(opt);
  return p;
}

static void assert_same(mica_params *a, mica_params *b, int i) {
  const size_t n = (size_t)mica_tensor_count(mica_param_value(entry(a, i)));
  assert_memory_equal(value(a, i), value(b, i), n * sizeof(float));
}

/* ---- rules by name ---- */

static void test_rules(void **state) {
  (void)state;
  mica_params *mixed =
      trained(" adamw:lr=0.01|*.bias = (sgd:lr=0.1:momentum=0.5) | embedding.*=adagrad:lr=0.2 ", 5);
  static const char *const alone[] = {"adamw:lr=0.01", "sgd:lr=0.1:momentum=0.5", "adagrad:lr=0.2"};
  for (int i = 0; i < ENTRIES; i++) {
    mica_params *one = trained(alone[i], 5);
    assert_same(mixed, one, i);
    mica_params_free(one);
  }
  mica_params_free(mixed);
  /* The last rule that matches; patterns all over. */
  mica_params *a = trained("*.weight=sgd:lr=0.5|*.bias=sgd:lr=0.1|body.*=sgd:lr=0.2", 3);
  mica_params *b = trained("sgd:lr=0.2", 3), *c = trained("sgd:lr=0.5", 3);
  assert_same(a, b, BODY);
  assert_same(a, b, BIAS);
  assert_same(a, c, TABLE);
  mica_params_free(a);
  mica_params_free(b);
  mica_params_free(c);
}

static void test_refusals(void **state) {
  (void)state;
  static const struct {
    const char *spec, *message;
    mica_status status;
  } cases[] = {
      {"adamw|head.*=sgd", "'head.*' matches no parameter", MICA_ERR_NOT_FOUND},
      {"adamw|sgd", "'sgd': expected PATTERN=RULE", MICA_ERR_INVALID},
      {"body.*=sgd", "no rule for parameter 'embedding.weight'", MICA_ERR_INVALID},
      {"adamw|*.bias=sgdd", "did you mean 'sgd'", MICA_ERR_NOT_FOUND},
      {"adamw|", "expected PATTERN=RULE", MICA_ERR_INVALID},
      {"", "optimiser is expected", MICA_ERR_INVALID},
      {"adamw|*.bias=", "optimiser is expected", MICA_ERR_INVALID},
      {"adamw|(*.bias=sgd", "parentheses do not match", MICA_ERR_INVALID},
      {"lamb:adapted=some", "adapted", MICA_ERR_INVALID},
  };
  mica_params *p = tree(engine);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_optimiser *opt = NULL;
    const mica_status status = mica_optimiser_create(p, cases[i].spec, &opt);
    assert_null(opt);
    if (status != cases[i].status || !strstr(mica_last_error(), cases[i].message))
      fail_msg("%s: %d, %s", cases[i].spec, status, mica_last_error());
  }
  char many[1024] = "sgd";
  for (int i = 0; i < 70; i++) strcat(many, "|*=sgd");
  mica_optimiser *opt = NULL;
  assert_int_equal(mica_optimiser_create(p, many, &opt), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "more than 64 parts"));
  mica_params_flag(p, "*", 0, MICA_PARAM_TRAINABLE);
  assert_int_equal(mica_optimiser_create(p, "sgd", &opt), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "no parameter is trainable"));
  mica_params_free(p);
}

/* ---- state ---- */

/* A parameter that is trained later begins there: its correction counts its own steps. */
static void test_unfreezing(void **state) {
  (void)state;
  mica_params *late = tree(engine), *fresh = tree(engine);
  mica_optimiser *opt, *other;
  assert_int_equal(mica_params_flag(late, "body.*", 0, MICA_PARAM_TRAINABLE), 2);
  assert_int_equal(mica_optimiser_create(late, "adam:lr=0.05", &opt), MICA_OK);
  assert_null(mica_params_find(mica_optimiser_state(opt), "body.weight.mean"));
  steps(late, opt, 0, 4);
  assert_same(late, fresh, BODY);
  mica_params_flag(late, "body.*", MICA_PARAM_TRAINABLE, 0);
  assert_int_equal(mica_optimiser_refresh(opt), MICA_OK);
  assert_non_null(mica_params_find(mica_optimiser_state(opt), "body.weight.mean"));
  steps(late, opt, 4, 8);
  assert_int_equal(mica_optimiser_create(fresh, "adam:lr=0.05", &other), MICA_OK);
  steps(fresh, other, 4, 8);
  assert_same(late, fresh, BODY);
  assert_same(late, fresh, BIAS);
  const mica_params *s = mica_optimiser_state(opt);
  const int64_t count = mica_params_count(s);
  assert_int_equal(mica_tensor_get(mica_param_value(mica_params_find(s, "step")), 0), 8);
  assert_int_equal(mica_tensor_get(mica_param_value(mica_params_find(s, "body.bias.step")), 0), 4);
  /* Frozen again: left alone, with its state; and a second refresh makes nothing twice. */
  mica_params_flag(late, "body.*", 0, MICA_PARAM_TRAINABLE);
  assert_int_equal(mica_optimiser_refresh(opt), MICA_OK);
  assert_int_equal(mica_params_count(s), count);
  steps(late, opt, 8, 9);
  assert_same(late, fresh, BODY);
  mica_optimiser_free(opt);
  mica_optimiser_free(other);
  mica_params_free(late);
  mica_params_free(fresh);
}

static void test_reset(void **state) {
  (void)state;
  static const char *const specs[] = {"adam:lr=0.05:amsgrad",
                                      "sgd:lr=0.1:momentum=0.9:dampening=0.5",
                                      "rmsprop:momentum=0.9:centred",
                                      "adagrad:lr_decay=0.5",
                                      "lamb",
                                      "lars:momentum=0.5"};
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    mica_params *a = tree(engine), *b = tree(engine);
    mica_optimiser *opt, *other;
    assert_int_equal(mica_optimiser_create(a, specs[i], &opt), MICA_OK);
    steps(a, opt, 0, 3);
    assert_int_equal(mica_params_copy(b, a), MICA_OK);
    assert_int_equal(mica_optimiser_create(b, specs[i], &other), MICA_OK);
    mica_optimiser_reset(opt, "body.*");
    steps(a, opt, 3, 6);
    steps(b, other, 3, 6);
    assert_same(a, b, BODY);
    assert_same(a, b, BIAS);
    assert_true(memcmp(value(a, TABLE), value(b, TABLE), ROWS * WIDTH * sizeof(float)) != 0);
    /* All of them, and the same again from the values of b. */
    mica_optimiser_reset(opt, NULL);
    mica_optimiser_reset(other, NULL);
    assert_int_equal(mica_params_copy(b, a), MICA_OK);
    steps(a, opt, 6, 8);
    steps(b, other, 6, 8);
    for (int k = 0; k < ENTRIES; k++) assert_same(a, b, k);
    mica_optimiser_free(opt);
    mica_optimiser_free(other);
    mica_params_free(a);
    mica_params_free(b);
  }
}

/* ---- rows ---- */

static void test_rows_left_alone(void **state) {
  (void)state;
  static const struct {
    const char *spec;
    bool alone; /* rows without a gradient keep their value */
  } cases[] = {
      {"sgd", true},
      {"sgd:weight_decay=0.1", false},
      {"sgd:momentum=0.9:weight_decay=0.1:lazy", true},
      {"adam", true}, /* no moments yet: nothing to move by */
      {"adamw", false},
      {"adamw:lazy", true},
      {"adagrad", true},
      {"adagrad:weight_decay=0.1", false},
      {"adagrad:weight_decay=0.1:lazy", true},
      {"rmsprop:weight_decay=0.1", false},
      {"rmsprop:weight_decay=0.1:momentum=0.9:lazy", true},
      {"lamb", false},
      {"lamb:lazy", true},
      {"lars:weight_decay=0.1", false},
      {"lars:weight_decay=0.1:lazy", true},
  };
  mica_params *before = tree(engine);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_params *p = trained(cases[i].spec, 3);
    for (int r = 0; r < ROWS; r++) {
      const bool same = memcmp(value(p, TABLE) + r * WIDTH, value(before, TABLE) + r * WIDTH,
                               WIDTH * sizeof(float)) == 0;
      const bool has_gradient = r == 1 || r == 4;
      if (same != (!has_gradient && cases[i].alone))
        fail_msg("%s: row %d %s", cases[i].spec, r, same ? "was left alone" : "moved");
    }
    mica_params_free(p);
  }
  mica_params_free(before);
}

/* ---- sums over many pieces ---- */

/* One step of a parameter of more than a thousand pieces' worth of rows, or of several pieces. */
static void large_step(int threads, const char *spec, bool rows, double *norm, float *out,
                       int64_t n) {
  mica_engine *e;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_params *p;
  mica_param *w;
  mica_optimiser *opt;
  mica_tape *t;
  o.threads = threads;
  assert_int_equal(mica_engine_create(&o, &e), MICA_OK);
  assert_int_equal(mica_params_create(e, 1, &p), MICA_OK);
  static const mica_init init = {MICA_INIT_UNIFORM, -1, 1, 0, false};
  const int64_t width = 100;
  assert_int_equal(mica_param_add(mica_params_root(p), "w", MICA_F32, MICA_SHAPE(n / width, width),
                                  MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY, &init, &w),
                   MICA_OK);
  const float *x = mica_tensor_data(mica_param_value(w));
  *norm = 0;
  for (int64_t i = 0; i < n; i++) *norm += (double)x[i] * (double)x[i];
  *norm = sqrt(*norm);
  assert_int_equal(mica_optimiser_create(p, spec, &opt), MICA_OK);
  assert_int_equal(mica_tape_create(e, NULL, &t), MICA_OK);
  mica_var v = mica_param_var(t, w);
  mica_tensor *ids = NULL;
  if (rows) {
    assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(n / width), &ids), MICA_OK);
    for (int64_t i = 0; i < n / width; i++) ((int64_t *)mica_tensor_data(ids))[i] = i;
    v = mica_embedding(t, v, mica_input(t, ids));
  }
  /* The gradient is the value itself. */
  assert_int_equal(
      mica_backward(t, mica_affine(t, mica_sum(t, mica_mul(t, v, v), 0, NULL, false), 0.5, 0)),
      MICA_OK);
  assert_int_equal(mica_optimiser_step(opt, t, 1), MICA_OK);
  memcpy(out, mica_tensor_data(mica_param_value(w)), (size_t)n * sizeof *out);
  mica_tensor_free(ids);
  mica_tape_free(t);
  mica_optimiser_free(opt);
  mica_params_free(p);
  mica_engine_free(e);
}

static void test_sums(void **state) {
  (void)state;
  enum { N = 400000 };
  static float one[N], two[N], by_row[N], start[N];
  double norm, again;
  /* A direction of the value's own: w - lr trust w, whatever the norm, with trust |w| / |w|. */
  large_step(1, "lars:lr=0:momentum=0", false, &norm, start, N);
  large_step(1, "lars:lr=0.5:trust=0.5:momentum=0", false, &norm, one, N);
  large_step(2, "lars:lr=0.5:trust=0.5:momentum=0", false, &again, two, N);
  large_step(2, "lars:lr=0.5:trust=0.5:momentum=0:lazy", true, &again, by_row, N);
  assert_memory_equal(one, two, sizeof one);
  for (int i = 0; i < N; i++) {
    assert_true(fabs((double)one[i] - 0.75 * (double)start[i]) < 1e-6);
    assert_true(fabs((double)one[i] - (double)by_row[i]) < 1e-6);
  }
  /* Adam's first direction is the sign: its norm is sqrt(N). */
  large_step(1, "lamb:lr=0.1:eps=0:weight_decay=0", false, &norm, one, N);
  large_step(2, "lamb:lr=0.1:eps=0:weight_decay=0", false, &norm, two, N);
  large_step(2, "lamb:lr=0.1:eps=0:weight_decay=0:lazy", true, &norm, by_row, N);
  assert_memory_equal(one, two, sizeof one);
  const double move = 0.1 * norm / sqrt(N);
  for (int i = 0; i < N; i++) {
    if (start[i] == 0) continue;
    assert_true(fabs(fabs((double)start[i] - (double)one[i]) - move) < 1e-5);
    assert_true(fabs((double)one[i] - (double)by_row[i]) < 1e-5);
  }
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rules),      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_unfreezing), cmocka_unit_test(test_reset),
      cmocka_unit_test(test_sums),       cmocka_unit_test(test_rows_left_alone)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
