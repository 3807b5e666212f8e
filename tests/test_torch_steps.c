/* Agreement with PyTorch over steps: optimisers with dense and with row gradients, clipping, the
 * moving average, and every schedule. */
#include "support/golden.h"

#include <mica/ops.h>
#include <mica/optim.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEPS 10

static mica_engine *engine;

/* ---- optimisers ---- */

typedef struct named {
  const char *name, *spec;
} named;

static const named optimisers[] = {
    {"sgd", "sgd:lr=0.1"},
    {"momentum", "sgd:lr=0.1:momentum=0.9:weight_decay=0.05"},
    {"dampening", "sgd:lr=0.1:momentum=0.8:dampening=0.3"},
    {"nesterov", "sgd:lr=0.1:momentum=0.9:weight_decay=0.05:nesterov=true"},
    {"adam", "adam:lr=0.05:beta1=0.8:beta2=0.95:weight_decay=0.1"},
    {"adamw", "adamw:lr=0.05:beta1=0.8:beta2=0.95:weight_decay=0.1"},
    {"amsgrad", "adam:lr=0.05:beta1=0.8:beta2=0.95:amsgrad=true"},
    {"amsgradw", "adamw:lr=0.05:beta1=0.8:beta2=0.95:weight_decay=0.1:amsgrad=true"},
};
/* LAMB and LARS are the papers' formulas in make_torch.py. */
static const named rules[] = {
    {"adagrad", "adagrad:lr=0.1"},
    {"adagrad_decay", "adagrad:lr=0.1:lr_decay=0.2:weight_decay=0.05:initial=0.3:eps=1e-3"},
    {"rmsprop", "rmsprop:lr=0.02:alpha=0.9"},
    {"rmsprop_momentum", "rmsprop:lr=0.02:alpha=0.9:eps=1e-3:weight_decay=0.05:momentum=0.8"},
    {"rmsprop_centred", "rmsprop:lr=0.02:alpha=0.9:eps=1e-3:centred"},
    {"rmsprop_both", "rmsprop:lr=0.02:alpha=0.9:eps=1e-3:weight_decay=0.05:momentum=0.8:centred"},
    {"lamb", "lamb:lr=0.05:beta1=0.8:beta2=0.95:weight_decay=0.1"},
    {"lamb_bound",
     "lamb:lr=0.05:beta1=0.8:beta2=0.95:weight_decay=0.1:eps=1e-3:bound=1.5:correct=false"},
    {"lars", "lars:lr=0.5:weight_decay=0.05:trust=0.02"},
};
/* The same on a parameter that does not decay, such as a bias. */
static const named plain_rules[] = {
    {"lamb_plain", "lamb:lr=0.05:beta1=0.8:beta2=0.95:weight_decay=0.1"},
    {"lars_plain", "lars:lr=0.05:weight_decay=0.05:trust=0.02"},
};

/* The gradient of sum(w g) is g: ten given gradients, the weights compared after each step. */
static bool run_optimiser(const mica_archive *archive, const named *rule, uint32_t flags,
                          mica_dtype dtype) {
  mica_params *params;
  mica_param *w;
  mica_optimiser *opt;
  mica_tape *t;
  bool good = true;
  mica_tensor *start = golden_read(archive, dtype, "w");
  mica_tensor *want = golden_read(archive, MICA_F64, rule->name);
  assert_int_equal(mica_params_create(engine, 1, &params), MICA_OK);
  assert_int_equal(mica_param_add(mica_params_root(params), "w", dtype, *mica_tensor_shape(start),
                                  flags, &MICA_INIT_ZEROS, &w),
                   MICA_OK);
  memcpy(mica_param_write(w), mica_tensor_data(start),
         (size_t)mica_tensor_count(start) * mica_dtype_size(dtype));
  assert_int_equal(mica_optimiser_create(params, rule->spec, &opt), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  for (int i = 0; i < STEPS && good; i++) {
    char name[64];
    snprintf(name, sizeof name, "g.%d", i);
    mica_tensor *g = golden_read(archive, dtype, name), *row;
    mica_params_zero_grad(params);
    mica_var product = mica_mul(t, mica_param_var(t, w), mica_input(t, g));
    assert_int_equal(mica_backward(t, mica_sum(t, product, 0, NULL, false)), MICA_OK);
    assert_int_equal(mica_optimiser_step(opt, t, 1), MICA_OK);
    mica_tape_reset(t);
    mica_tensor *step;
    assert_int_equal(mica_tensor_slice(want, i, i + 1, &step), MICA_OK);
    assert_int_equal(mica_tensor_reshape(step, *mica_tensor_shape(start), &row), MICA_OK);
    snprintf(name, sizeof name, "%s, step %d", rule->name, i);
    const mica_view got = mica_tensor_view(mica_param_value(w));
    good = golden_agrees(name, &got, row, dtype == MICA_F32 ? 2e-6 : 1e-12);
    mica_tensor_free(row);
    mica_tensor_free(step);
    mica_tensor_free(g);
  }
  mica_tape_free(t);
  mica_optimiser_free(opt);
  mica_params_free(params);
  mica_tensor_free(want);
  mica_tensor_free(start);
  return good;
}

static int run_optimisers(const mica_archive *archive, const named *list, size_t n,
                          uint32_t flags) {
  int failed = 0;
  for (size_t k = 0; k < n; k++) {
    failed += !run_optimiser(archive, &list[k], flags, MICA_F32);
    failed += !run_optimiser(archive, &list[k], flags, MICA_F64);
  }
  return failed;
}

#define COUNT(list) (sizeof list / sizeof *list)

static void test_optimisers(void **state) {
  (void)state;
  const uint32_t decays = MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY;
  mica_archive *archive = golden_open(GOLDEN_FOLDER "optimisers.safetensors");
  assert_int_equal(run_optimisers(archive, optimisers, COUNT(optimisers), decays), 0);
  mica_archive_close(archive);
  archive = golden_open(GOLDEN_FOLDER "rules.safetensors");
  assert_int_equal(run_optimisers(archive, rules, COUNT(rules), decays), 0);
  assert_int_equal(run_optimisers(archive, plain_rules, COUNT(plain_rules), MICA_PARAM_TRAINABLE),
                   0);
  mica_archive_close(archive);
}

/* ---- row gradients ---- */

static const named row_optimisers[] = {
    {"rows_sgd", "sgd:lr=0.1"},
    {"rows_adam", "adam:lr=0.05:beta1=0.8:beta2=0.95:eps=1e-12:lazy"},
    {"rows_dense_adam", "adam:lr=0.05:beta1=0.8:beta2=0.95:eps=1e-12"},
    {"rows_momentum", "sgd:lr=0.1:momentum=0.9:weight_decay=0.05"},
};
static const named row_rules[] = {
    {"rows_adagrad", "adagrad:lr=0.1:lr_decay=0.2:initial=0.1"},
    {"rows_rmsprop", "rmsprop:lr=0.02:alpha=0.9:momentum=0.8"},
    {"rows_lamb", "lamb:lr=0.05:beta1=0.8:beta2=0.95:weight_decay=0.1"},
    {"rows_lamb_lazy", "lamb:lr=0.05:beta1=0.8:beta2=0.95:weight_decay=0.1:lazy"},
    {"rows_lars", "lars:lr=0.5:weight_decay=0.05:trust=0.02"},
    {"rows_lars_lazy", "lars:lr=0.5:weight_decay=0.05:trust=0.02:lazy"},
};

/* The gradient of sum(embedding(table, ids) g) is g at the rows ids, some of them twice. */
static bool run_rows(const mica_archive *archive, const named *rule, mica_dtype dtype) {
  mica_params *params;
  mica_param *table;
  mica_optimiser *opt;
  mica_tape *t;
  bool good = true;
  mica_tensor *start = golden_read(archive, dtype, "table");
  mica_tensor *ids = golden_read(archive, dtype, "ids"), *g = golden_read(archive, dtype, "grads");
  mica_tensor *want = golden_read(archive, MICA_F64, rule->name);
  assert_int_equal(mica_params_create(engine, 1, &params), MICA_OK);
  assert_int_equal(
      mica_param_add(mica_params_root(params), "table", dtype, *mica_tensor_shape(start),
                     MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY, &MICA_INIT_ZEROS, &table),
      MICA_OK);
  memcpy(mica_param_write(table), mica_tensor_data(start),
         (size_t)mica_tensor_count(start) * mica_dtype_size(dtype));
  assert_int_equal(mica_optimiser_create(params, rule->spec, &opt), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  for (int i = 0; i < STEPS && good; i++) {
    mica_tensor *its, *some, *row, *table_after;
    assert_int_equal(mica_tensor_slice(ids, i, i + 1, &its), MICA_OK);
    assert_int_equal(mica_tensor_slice(g, i, i + 1, &some), MICA_OK);
    mica_params_zero_grad(params);
    mica_var rows = mica_embedding(t, mica_param_var(t, table), mica_input(t, its));
    mica_var loss = mica_sum(t, mica_mul(t, rows, mica_input(t, some)), 0, NULL, false);
    assert_int_equal(mica_backward(t, loss), MICA_OK);
    assert_int_equal(mica_param_grad_kind(table), MICA_GRAD_ROWS);
    assert_int_equal(mica_optimiser_step(opt, t, 1), MICA_OK);
    mica_tape_reset(t);
    assert_int_equal(mica_tensor_slice(want, i, i + 1, &row), MICA_OK);
    assert_int_equal(mica_tensor_reshape(row, *mica_tensor_shape(start), &table_after), MICA_OK);
    char name[64];
    snprintf(name, sizeof name, "%s, step %d", rule->name, i);
    const mica_view got = mica_tensor_view(mica_param_value(table));
    /* SparseAdam adds eps before it corrects the deviation, Adam after. */
    good = golden_agrees(name, &got, table_after, dtype == MICA_F32 ? 3e-6 : 1e-10);
    mica_tensor_free(table_after);
    mica_tensor_free(row);
    mica_tensor_free(its);
    mica_tensor_free(some);
  }
  mica_tape_free(t);
  mica_optimiser_free(opt);
  mica_params_free(params);
  mica_tensor_free(want);
  mica_tensor_free(start);
  mica_tensor_free(ids);
  mica_tensor_free(g);
  return good;
}

static void test_row_optimisers(void **state) {
  (void)state;
  mica_archive *archive = golden_open(GOLDEN_FOLDER "steps.safetensors");
  int failed = 0;
  for (size_t k = 0; k < COUNT(row_optimisers); k++) {
    failed += !run_rows(archive, &row_optimisers[k], MICA_F32);
    failed += !run_rows(archive, &row_optimisers[k], MICA_F64);
  }
  mica_archive_close(archive);
  archive = golden_open(GOLDEN_FOLDER "rules.safetensors");
  for (size_t k = 0; k < COUNT(row_rules); k++) {
    failed += !run_rows(archive, &row_rules[k], MICA_F32);
    failed += !run_rows(archive, &row_rules[k], MICA_F64);
  }
  mica_archive_close(archive);
  assert_int_equal(failed, 0);
}

/* ---- clipping and the moving average ---- */

static bool check(const mica_archive *archive, const char *key, int step, const mica_params *p,
                  const char *name, double bound) {
  char stored[32];
  snprintf(stored, sizeof stored, "%s.%d", key, step);
  mica_tensor *want = golden_read(archive, MICA_F64, stored);
  const mica_view got = mica_tensor_view(mica_param_value(mica_params_find(p, name)));
  const bool good = golden_agrees(stored, &got, want, bound);
  mica_tensor_free(want);
  return good;
}

static void run_clipping(const mica_archive *archive, mica_dtype dtype) {
  static const char *const names[2] = {"a", "b"};
  const double bound = dtype == MICA_F32 ? 3e-6 : 1e-12;
  mica_params *params, *average;
  mica_optimiser *opt;
  mica_tape *t;
  assert_int_equal(mica_params_create(engine, 1, &params), MICA_OK);
  for (int i = 0; i < 2; i++) {
    mica_tensor *start = golden_read(archive, dtype, names[i]);
    mica_param *w;
    assert_int_equal(mica_param_add(mica_params_root(params), names[i], dtype,
                                    *mica_tensor_shape(start), MICA_PARAM_TRAINABLE, NULL, &w),
                     MICA_OK);
    memcpy(mica_param_write(w), mica_tensor_data(start),
           (size_t)mica_tensor_count(start) * mica_dtype_size(dtype));
    mica_tensor_free(start);
  }
  assert_int_equal(mica_params_clone(params, &average), MICA_OK);
  assert_int_equal(mica_optimiser_create(params, "sgd:lr=0.1:momentum=0.9", &opt), MICA_OK);
  mica_optimiser_clip(opt, 5);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  int failed = 0, clipped = 0;
  for (int step = 0; step < STEPS; step++) {
    char key[32];
    mica_tensor *g[2];
    mica_var sum[2];
    mica_params_zero_grad(params);
    for (int i = 0; i < 2; i++) {
      snprintf(key, sizeof key, "g%s.%d", names[i], step);
      g[i] = golden_read(archive, dtype, key);
      mica_var w = mica_param_var(t, mica_params_find(params, names[i]));
      sum[i] = mica_sum(t, mica_mul(t, w, mica_input(t, g[i])), 0, NULL, false);
    }
    assert_int_equal(mica_backward(t, mica_add(t, sum[0], sum[1])), MICA_OK);
    assert_int_equal(mica_optimiser_step(opt, t, 1), MICA_OK);
    assert_int_equal(mica_average_update(average, params, 0.8, t), MICA_OK);
    mica_tape_reset(t);
    snprintf(key, sizeof key, "norm.%d", step);
    mica_tensor *norm = golden_read(archive, MICA_F64, key);
    const double want = mica_tensor_get(norm, 0);
    assert_true(fabs(mica_optimiser_grad_norm(opt) - want) <= bound * want);
    clipped += want > 5;
    mica_tensor_free(norm);
    for (int i = 0; i < 2; i++) {
      char mean[8];
      snprintf(mean, sizeof mean, "mean_%s", names[i]);
      failed += !check(archive, names[i], step, params, names[i], bound);
      failed += !check(archive, mean, step, average, names[i], bound);
      mica_tensor_free(g[i]);
    }
  }
  assert_int_equal(failed, 0);
  assert_true(clipped > 2 && clipped < STEPS);
  mica_tape_free(t);
  mica_optimiser_free(opt);
  mica_params_free(average);
  mica_params_free(params);
}

static void test_clipping_and_average(void **state) {
  (void)state;
  mica_archive *archive = golden_open(GOLDEN_FOLDER "steps.safetensors");
  run_clipping(archive, MICA_F32);
  run_clipping(archive, MICA_F64);
  mica_archive_close(archive);
}

/* ---- schedules ---- */

/* Every schedule of the engine is in one of these lists at least once. */
static const named schedules[] = {
    {"constant", "constant"},
    {"multi_step", "multi-step:at=8,20,21:gamma=0.3"},
    {"multi_step", "multi-step:at=0.2,0.5,21:gamma=0.3"},
    {"cosine", "cosine"},
    {"cosine_end", "cosine:end=0.1"},
    {"linear", "linear:end=0.05"},
    {"constant_warm", "constant:warmup=6"},
    {"multi_step_warm", "multi-step:at=4,20:gamma=0.5:warmup=6"},
    {"cosine_warm", "cosine:end=0.2:warmup=10"},
    {"cosine_warm", "cosine:end=0.2:warmup=0.25"},
    {"linear_warm", "linear:warmup=0.25"},
};
/* One cycle has 41 steps there. */
static const named phases[] = {
    {"polynomial", "polynomial:power=2"},
    {"polynomial_end", "polynomial:power=0.5:end=0.1"},
    {"step", "step:every=12:gamma=0.3"},
    {"step", "step:every=0.3:gamma=0.3"},
    {"inverse_sqrt", "inverse-sqrt:warmup=8"},
    {"wsd", "wsd:warmup=4:decay=10"},
    {"wsd", "wsd:warmup=0.1:decay=0.25"},
    {"wsd_cosine", "wsd:warmup=4:decay=10:end=0.1:form=cosine"},
    {"wsd_sqrt", "wsd:warmup=4:decay=10:end=0.05:form=sqrt"},
    {"wsd_exponential", "wsd:warmup=4:decay=10:end=0.02:form=exponential"},
    {"onecycle", "onecycle"},
    {"onecycle_linear", "onecycle:form=linear:warmup=0.4:start=0.2:end=0.01"},
    {"onecycle_three", "onecycle:three_phase"},
    {"onecycle_three_linear", "onecycle:three_phase:form=linear:warmup=0.45:start=0.2:end=0.01"},
};

static void run_schedules(const mica_archive *archive, const named *list, size_t n) {
  for (size_t k = 0; k < n; k++) {
    mica_spec *spec;
    assert_int_equal(mica_schedule_parse(engine, list[k].spec, &spec), MICA_OK);
    mica_tensor *want = golden_read(archive, MICA_F64, list[k].name);
    const int64_t total = strncmp(list[k].name, "onecycle", 8) == 0 ? 41 : 40;
    for (int64_t i = 0; i < mica_tensor_count(want); i++) {
      const double got = mica_schedule_factor(spec, i, total), w = mica_tensor_get(want, i);
      if (!(fabs(got - w) <= 1e-11))
        fail_msg("%s: step %lld has %.15g, PyTorch %.15g", list[k].spec, (long long)i, got, w);
    }
    mica_tensor_free(want);
    mica_spec_free(spec);
  }
}

static bool listed(const named *list, size_t n, const char *name) {
  for (size_t k = 0; k < n; k++)
    if (strncmp(list[k].spec, name, strlen(name)) == 0) return true;
  return false;
}

static void test_schedules(void **state) {
  (void)state;
  mica_archive *archive = golden_open(GOLDEN_FOLDER "schedules.safetensors");
  run_schedules(archive, schedules, COUNT(schedules));
  mica_archive_close(archive);
  archive = golden_open(GOLDEN_FOLDER "phases.safetensors");
  run_schedules(archive, phases, COUNT(phases));
  mica_archive_close(archive);
  const mica_component *c;
  for (int i = 0; (c = mica_component_at(engine, MICA_KIND_SCHEDULE, i)); i++)
    if (!listed(schedules, COUNT(schedules), c->name) && !listed(phases, COUNT(phases), c->name))
      fail_msg("schedule %s is compared with nothing", c->name);
}

/* A last rate is the same whatever the base rate. */
static void test_final_rate(void **state) {
  (void)state;
  static const char *const specs[] = {"cosine:final_lr=1e-5", "linear:final_lr=1e-5",
                                      "polynomial:final_lr=1e-5", "wsd:final_lr=1e-5",
                                      "wsd:final_lr=1e-5:form=exponential"};
  for (size_t k = 0; k < COUNT(specs); k++) {
    mica_spec *spec;
    assert_int_equal(mica_schedule_parse(engine, specs[k], &spec), MICA_OK);
    for (double base = 1e-4; base < 1; base *= 10) {
      assert_true(fabs(base * mica_schedule_rate(spec, base, 1000, 1000) - 1e-5) < 1e-12);
      assert_true(mica_schedule_rate(spec, base, 500, 1000) >
                  mica_schedule_rate(spec, base, 999, 1000));
    }
    mica_spec_free(spec);
  }
}

static void test_refused_schedules(void **state) {
  (void)state;
  static const named cases[] = {
      {"wsd:form=exponential", "schedule wsd: form=exponential needs an end or final_lr above 0"},
      {"onecycle:three_phase:warmup=0.6", "schedule onecycle: warmup is 0.6"},
      {"wsd:form=steep", "form"},
      {"cosine:decay=0.1", "decay"},
  };
  for (size_t k = 0; k < COUNT(cases); k++) {
    mica_spec *spec = NULL;
    assert_int_equal(mica_schedule_parse(engine, cases[k].name, &spec), MICA_ERR_INVALID);
    assert_null(spec);
    if (!strstr(mica_last_error(), cases[k].spec)) fail_msg("%s", mica_last_error());
  }
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_optimisers),           cmocka_unit_test(test_row_optimisers),
      cmocka_unit_test(test_clipping_and_average), cmocka_unit_test(test_schedules),
      cmocka_unit_test(test_final_rate),           cmocka_unit_test(test_refused_schedules)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
