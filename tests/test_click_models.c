/* Click models against an independent implementation of their papers' equations
 * (tests/golden/make_click_models.py): scores, loss and every gradient; and what they refuse. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/golden.h"

#include <mica/mica.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FOLDER "tests/golden/click_models/"
#define BOUND  2e-5

static mica_engine *engine;
static int64_t field_size[] = {5, 3, 7, 2};
#define FIELDS 4

static mica_tensor *read_optional(const mica_archive *a, const char *name) {
  mica_tensor *x = NULL;
  const int64_t i = mica_archive_find(a, name);
  if (i >= 0) assert_int_equal(mica_archive_read(a, i, &x), MICA_OK);
  return x;
}

static void load(mica_net *net, const mica_archive *a, int64_t *loaded) {
  mica_params *p = mica_net_params(net);
  *loaded = 0;
  for (int64_t i = 0; i < mica_archive_count(a); i++) {
    const char *name = mica_archive_name(a, i);
    if (strncmp(name, "param.", 6) != 0) continue;
    mica_param *q = mica_params_find(p, name + 6);
    if (!q) fail_msg("%s: no parameter %s", mica_archive_path(a), name + 6);
    mica_tensor *value = golden_read(a, MICA_F32, name);
    if (mica_param_replace(q, value) != MICA_OK) fail_msg("%s: %s", name, mica_last_error());
    mica_tensor_free(value);
    ++*loaded;
  }
}

static void check_gradients(const char *file, mica_net *net, const mica_archive *a) {
  mica_params *p = mica_net_params(net);
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    mica_param *q = mica_params_at(p, i);
    if (!(mica_param_flags(q) & MICA_PARAM_TRAINABLE)) continue;
    const bool table = strcmp(mica_param_path(q), "embedding.weight") == 0;
    if (table) assert_int_equal(mica_param_grad_kind(q), MICA_GRAD_ROWS);
    char name[160];
    snprintf(name, sizeof name, "grad.%s", mica_param_path(q));
    mica_tensor *want = golden_read(a, MICA_F64, name);
    const mica_view got = mica_param_grad(q);
    assert_non_null(got.data);
    /* A bias before batch norm has no gradient but rounding. */
    double largest = 0.01;
    for (int64_t k = 0; k < mica_tensor_count(want); k++)
      largest = fmax(largest, fabs(mica_tensor_get(want, k)));
    assert_true(mica_shape_equal(&got.shape, mica_tensor_shape(want)));
    for (int64_t k = 0; k < mica_tensor_count(want); k++) {
      const double g = (double)((const float *)got.data)[k], w = mica_tensor_get(want, k);
      if (!(fabs(g - w) <= 1e-4 * largest))
        fail_msg("%s: %s [%lld] is %.8g, expected %.8g", file, name, (long long)k, g, w);
    }
    mica_tensor_free(want);
  }
}

static void check_file(const char *file) {
  char path[300];
  snprintf(path, sizeof path, FOLDER "%s", file);
  mica_archive *a = NULL;
  assert_int_equal(mica_archive_open(path, &a), MICA_OK);
  mica_tensor *ids = read_optional(a, "ids"), *x = read_optional(a, "x"),
              *click = read_optional(a, "click"), *z = read_optional(a, "z"),
              *loss = read_optional(a, "loss");
  const mica_problem problem =
      MICA_PROBLEM_FIELDS(x ? mica_tensor_dim(x, 1) : 0, FIELDS, field_size, 2);
  mica_net *net = NULL;
  mica_tape *t = NULL;
  if (mica_net_create(engine, mica_archive_metadata(a, "spec"), &problem, 1, &net) != MICA_OK)
    fail_msg("%s: %s", file, mica_last_error());
  int64_t loaded, trainable = 0;
  load(net, a, &loaded);
  for (int64_t i = 0; i < mica_params_count(mica_net_params(net)); i++)
    trainable += mica_param_flags(mica_params_at(mica_net_params(net), i)) & MICA_PARAM_TRAINABLE;
  assert_int_equal(loaded, trainable);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_set_training(t, true);
  const mica_inputs in = {x ? mica_input(t, x) : MICA_NONE, MICA_NONE, mica_input(t, ids)};
  mica_outputs out;
  mica_net_forward_inputs(t, net, &in, &out);
  if (!mica_ok(t)) fail_msg("%s: %s", file, mica_tape_error(t));
  assert_int_equal(mica_dim(t, out.features, 1), mica_net_features(net));
  const mica_view logits = mica_read(t, out.logits);
  assert_int_equal(logits.shape.dim[1], 2);
  for (int64_t i = 0; i < mica_tensor_count(z); i++) {
    const float *l = (const float *)logits.data + 2 * i;
    const double want = mica_tensor_get(z, i), got = (double)l[1] - (double)l[0];
    if (!(fabs(got - want) <= BOUND * (1 + fabs(want))))
      fail_msg("%s: score %lld is %.8g, expected %.8g", file, (long long)i, got, want);
  }
  mica_var value = mica_cross_entropy(t, out.logits, mica_input(t, click), MICA_NONE, NULL);
  assert_true(fabs(mica_item(t, value) - mica_tensor_get(loss, 0)) <= BOUND);
  if (mica_backward(t, value) != MICA_OK) fail_msg("%s: %s", file, mica_tape_error(t));
  check_gradients(file, net, a);
  mica_tape_free(t);
  mica_net_free(net);
  mica_tensor *all[] = {ids, x, click, z, loss};
  for (int i = 0; i < 5; i++) mica_tensor_free(all[i]);
  mica_archive_close(a);
}

static void test_papers_equations(void **state) {
  (void)state;
  DIR *folder = opendir(FOLDER);
  assert_non_null(folder);
  int files = 0;
  for (const struct dirent *e; (e = readdir(folder));)
    if (strstr(e->d_name, ".safetensors")) check_file(e->d_name), files++;
  closedir(folder);
  assert_int_equal(files, 11);
}

/* ---- errors ---- */

static void refused(const char *spec, const mica_problem *problem, const char *says) {
  mica_net *net = NULL;
  assert_int_equal(mica_net_create(engine, spec, problem, 1, &net), MICA_ERR_INVALID);
  assert_null(net);
  if (!strstr(mica_last_error(), says)) fail_msg("%s", mica_last_error());
}

static void test_problems_refused(void **state) {
  (void)state;
  mica_problem three = MICA_PROBLEM_FIELDS(0, FIELDS, field_size, 3),
               two = MICA_PROBLEM_FIELDS(0, FIELDS, field_size, 2);
  static const char *const names[] = {"lr", "fm", "deepfm", "dcn", "dcnv2", "dlrm"};
  for (int i = 0; i < 6; i++) refused(names[i], &three, "expected two");
  refused("dcnv2:experts=2", &two, "need a rank");
  two.fields = 1;
  refused("dlrm", &two, "no pairs");
}

/* An id beyond its field is an error though the table goes on, and a file's offsets are checked. */
static void test_ids_refused(void **state) {
  (void)state;
  static int64_t ids[2][FIELDS] = {{4, 2, 6, 1}, {0, 0, 0, 0}};
  const mica_problem problem = MICA_PROBLEM_FIELDS(0, FIELDS, field_size, 2);
  mica_net *net = NULL;
  mica_tape *t = NULL;
  assert_int_equal(mica_net_create(engine, "fm", &problem, 1, &net), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_outputs out;
  const mica_view view = mica_view_of(ids, MICA_I64, MICA_SHAPE(2, FIELDS));
  mica_net_forward(t, net, mica_constant(t, &view), &out);
  assert_true(mica_ok(t));
  static const int64_t bad[] = {3, -1};
  for (int i = 0; i < 2; i++) {
    mica_tape_reset(t);
    ids[1][1] = bad[i];
    mica_net_forward(t, net, mica_constant(t, &view), &out);
    assert_int_equal(mica_tape_status(t), MICA_ERR_INVALID);
    assert_non_null(strstr(mica_tape_error(t), "in field 1 of example 1"));
  }
  ids[1][1] = 0;
  mica_param *offsets = mica_params_find(mica_net_params(net), "embedding.offsets");
  for (int k = 0; k <= FIELDS; k++) {
    const double was = mica_tensor_get(mica_param_value(offsets), k);
    for (int i = 0; i < 2; i++) {
      ((int64_t *)mica_param_write(offsets))[k] = i ? INT64_MAX : -1;
      mica_tape_reset(t);
      mica_net_forward(t, net, mica_constant(t, &view), &out);
      assert_int_equal(mica_tape_status(t), MICA_ERR_FORMAT);
    }
    ((int64_t *)mica_param_write(offsets))[k] = (int64_t)was;
  }
  mica_tape_free(t);
  mica_net_free(net);
}

/* ---- a gradient for each example ---- */

static void example_loss(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out,
                         mica_var *out) {
  (void)n_in, (void)n_out;
  mica_outputs o;
  const mica_inputs inputs = {in[0], MICA_NONE, in[1]};
  mica_cross_entropy_options each = MICA_CROSS_ENTROPY_OPTIONS;
  each.per_example = true;
  mica_net_forward_inputs(t, ctx, &inputs, &o);
  out[0] = mica_cross_entropy(t, o.logits, in[2], MICA_NONE, &each);
}

static mica_status add_up(void *ctx, mica_param *q, int64_t first, int64_t n, const mica_view *g) {
  (void)first;
  double *sum = ctx;
  if (strcmp(mica_param_path(q), "embedding.weight") != 0) return MICA_OK;
  for (int64_t i = 0; i < mica_view_count(g); i++)
    sum[i % (mica_view_count(g) / n)] += (double)((const float *)g->data)[i];
  return MICA_OK;
}

/* Those of the examples add up to the batch's. */
static void test_example_gradients(void **state) {
  (void)state;
  static const char *const specs[] = {"deepfm:dim=3:hidden=4:dropout=0",
                                      "dlrm:dim=3:bottom=4:top=5",
                                      "dcnv2:dim=3:hidden=4:rank=2:experts=2"};
  enum { N = 5, ROWS = 17, DIM = 3 };
  static int64_t ids[N][FIELDS] = {
      {4, 2, 6, 1}, {0, 0, 0, 0}, {1, 2, 6, 0}, {3, 1, 2, 1}, {4, 2, 2, 0}};
  static int64_t click[N] = {1, 0, 0, 1, 1};
  const mica_problem problem = MICA_PROBLEM_FIELDS(2, FIELDS, field_size, 2);
  for (int i = 0; i < 3; i++) {
    mica_net *net = NULL;
    mica_tape *t = NULL;
    double sum[ROWS * DIM] = {0};
    assert_int_equal(mica_net_create(engine, specs[i], &problem, 1, &net), MICA_OK);
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    const mica_view iv = mica_view_of(ids, MICA_I64, MICA_SHAPE(N, FIELDS)),
                    cv = mica_view_of(click, MICA_I64, MICA_SHAPE(N));
    const mica_var in[3] = {mica_random_normal_like(t, MICA_SHAPE(N, 2), MICA_F32, 0, 1),
                            mica_constant(t, &iv), mica_constant(t, &cv)};
    mica_var loss;
    if (mica_example_gradients(t, example_loss, net, 3, in, 0, add_up, sum) != MICA_OK)
      fail_msg("%s: %s", specs[i], mica_last_error());
    example_loss(t, net, 3, in, 1, &loss);
    assert_int_equal(mica_backward(t, mica_sum(t, loss, 0, NULL, false)), MICA_OK);
    const mica_view g = mica_param_grad(mica_params_find(mica_net_params(net), "embedding.weight"));
    for (int k = 0; k < ROWS * DIM; k++)
      assert_true(fabs(sum[k] - (double)((const float *)g.data)[k]) <= 1e-5);
    mica_tape_free(t);
    mica_net_free(net);
  }
}

/* ---- memory ---- */

typedef struct steps_job {
  const char *spec;
  double clip;
  int steps;
  long before_last; /* allocations before the last step */
} steps_job;

static mica_status take_steps(mica_net *net, mica_optimiser *opt, mica_tape *t, steps_job *j) {
  static int64_t ids[3][FIELDS] = {{4, 2, 6, 1}, {0, 2, 3, 0}, {1, 0, 3, 1}}, click[3] = {1, 0, 1};
  static float x[3][1] = {{1}, {-2}, {0.5f}};
  const mica_view iv = mica_view_of(ids, MICA_I64, MICA_SHAPE(3, FIELDS)),
                  cv = mica_view_of(click, MICA_I64, MICA_SHAPE(3)),
                  xv = mica_view_of(x, MICA_F32, MICA_SHAPE(3, 1));
  mica_status status = MICA_OK;
  mica_optimiser_clip(opt, j->clip);
  mica_set_training(t, true);
  for (int i = 0; i < j->steps && status == MICA_OK; i++) {
    j->before_last = failing_alloc_count();
    mica_outputs out;
    mica_tape_reset(t);
    mica_params_zero_grad(mica_net_params(net));
    const mica_inputs in = {mica_borrow(t, &xv), MICA_NONE, mica_borrow(t, &iv)};
    mica_net_forward_inputs(t, net, &in, &out);
    status =
        mica_backward(t, mica_cross_entropy(t, out.logits, mica_borrow(t, &cv), MICA_NONE, NULL));
    if (status == MICA_OK) status = mica_optimiser_step(opt, t, 1);
  }
  return status;
}

static mica_status train_steps(void *ctx) {
  steps_job *j = ctx;
  const mica_problem problem = MICA_PROBLEM_FIELDS(1, FIELDS, field_size, 2);
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *own = NULL;
  mica_net *net = NULL;
  mica_optimiser *opt = NULL;
  mica_tape *t = NULL;
  o.threads = 1;
  o.libraries = 0;
  mica_status status = mica_engine_create(&o, &own);
  if (status != MICA_OK) return status;
  status = mica_net_create(own, j->spec, &problem, 1, &net);
  if (status == MICA_OK)
    status = mica_optimiser_create(mica_net_params(net), "adam:lazy=true", &opt);
  if (status == MICA_OK) status = mica_tape_create(own, NULL, &t);
  if (status == MICA_OK) status = take_steps(net, opt, t, j);
  mica_tape_free(t);
  mica_optimiser_free(opt);
  mica_net_free(net);
  mica_engine_free(own);
  return status;
}

/* A failed allocation is a clean error, and after a few steps there are none. */
static void test_memory(void **state) {
  (void)state;
  static const char *const specs[] = {"lr",
                                      "fm:dim=3",
                                      "deepfm:dim=3:hidden=4",
                                      "dcn:dim=3:layers=2:hidden=4",
                                      "dcnv2:dim=3:hidden=4:rank=2:experts=2",
                                      "dlrm:dim=3:bottom=4:top=5"};
  for (int i = 0; i < 6; i++) {
    steps_job j = {specs[i], i % 2 ? 1 : 0, 2, 0};
    assert_true(fail_each(train_steps, &j) > 50);
    j.steps = 6;
    failing_alloc_install();
    failing_alloc_arm(0);
    assert_int_equal(train_steps(&j), MICA_OK);
    assert_true(failing_alloc_count() > 0);
    const long in_last_and_after = failing_alloc_count() - j.before_last;
    failing_alloc_remove();
    if (in_last_and_after) fail_msg("%s: %ld allocations in a step", specs[i], in_last_and_after);
  }
}

/* ---- model files ---- */

static void test_model_files(void **state) {
  (void)state;
  static const char *const classes[] = {"no", "yes"};
  static int64_t ids[2][FIELDS] = {{4, 2, 6, 1}, {0, 1, 3, 0}};
  static float x[2][1] = {{0.5f}, {-2}};
  const mica_problem problem = MICA_PROBLEM_FIELDS(1, FIELDS, field_size, 2);
  const mica_preprocess p = MICA_PREPROCESS(0, 0, 1);
  const char *path = folder_path("click.mica");
  mica_net *net = NULL;
  mica_model *model = NULL, *back = NULL;
  double before[2][2], after[2][2];
  const mica_view examples[2] = {mica_view_of(x, MICA_F32, MICA_SHAPE(2, 1)),
                                 mica_view_of(ids, MICA_I64, MICA_SHAPE(2, FIELDS))};
  assert_int_equal(mica_net_create(engine, "dcnv2:dim=3:hidden=4:rank=2", &problem, 1, &net),
                   MICA_OK);
  if (mica_model_create(net, &p, classes, NULL, &model) != MICA_OK)
    fail_msg("%s", mica_last_error());
  assert_int_equal(mica_model_save(model, path), MICA_OK);
  if (mica_model_open(engine, path, &back) != MICA_OK) fail_msg("%s", mica_last_error());
  mica_model *both[2] = {model, back};
  for (int i = 0; i < 2; i++) {
    mica_session *s = NULL;
    assert_int_equal(mica_session_create(both[i], &s), MICA_OK);
    assert_int_equal(mica_predict_probabilities(s, examples, 2, (i ? after : before)[0]), MICA_OK);
    mica_session_free(s);
  }
  assert_memory_equal(before, after, sizeof before);
  assert_true(fabs(before[0][0] + before[0][1] - 1) < 1e-6 && before[0][1] != before[1][1]);
  mica_model_free(model);
  mica_model_free(back);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_papers_equations), cmocka_unit_test(test_problems_refused),
      cmocka_unit_test(test_ids_refused),      cmocka_unit_test(test_example_gradients),
      cmocka_unit_test(test_model_files),      cmocka_unit_test(test_memory)};
  int failed = cmocka_run_group_tests(tests, folder_setup, folder_teardown);
  mica_engine_free(engine);
  return failed;
}
