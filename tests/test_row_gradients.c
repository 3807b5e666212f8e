/* Row gradients of large tables: brought together they are what adding row by row gives, for any
 * number of threads, and an update of the rows is the update of the whole table. */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 3000000 /* three digits of the sort */
#define IDS  30000

static mica_engine *engine_of(int threads) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *engine = NULL;
  o.threads = threads;
  o.libraries = 0;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  return engine;
}

static mica_params *table_of(mica_engine *engine, int64_t rows, int64_t width) {
  mica_params *p = NULL;
  const mica_init init = {MICA_INIT_NORMAL, 0, 1, 0, false};
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  assert_int_equal(mica_param_add(mica_params_root(p), "table", MICA_F32, MICA_SHAPE(rows, width),
                                  MICA_PARAM_TRAINABLE, &init, NULL),
                   MICA_OK);
  return p;
}

/* A third of the ids is one of ten, the others are anywhere. */
static int64_t id_of(int64_t i, int64_t rows) {
  const mica_key key = mica_key_seed(8);
  return (int64_t)mica_random_below(key, (uint64_t)i, i % 3 ? (uint64_t)rows : 10) * (i % 7 != 0);
}

/* The gradient of sum(row times a number of its own) in `parts` uses of the table. */
static void backward(mica_params *p, int64_t rows, int64_t width, int64_t ids, int parts,
                     bool dense) {
  mica_tape *t = NULL;
  assert_int_equal(mica_tape_create(mica_params_engine(p), NULL, &t), MICA_OK);
  int64_t *id = malloc((size_t)ids * sizeof *id);
  for (int64_t i = 0; i < ids; i++) id[i] = id_of(i, rows);
  mica_var table = mica_weight(t, mica_params_root(p), "table"), total = MICA_NONE;
  for (int k = 0; k < parts; k++) {
    const int64_t n = ids / parts;
    const mica_view view = mica_view_of(id + k * n, MICA_I64, MICA_SHAPE(n));
    mica_var y = mica_embedding(t, table, mica_constant(t, &view));
    mica_tape_set_step(t, (uint64_t)k, 0);
    y = mica_mul(t, y, mica_random_normal_like(t, MICA_SHAPE(n, width), MICA_F32, 0, 1));
    y = mica_sum(t, y, 0, NULL, false);
    total = k ? mica_add(t, total, y) : y;
  }
  if (dense) total = mica_add(t, total, mica_affine(t, mica_sum(t, table, 0, NULL, false), 0, 0));
  if (mica_backward(t, total) != MICA_OK) fail_msg("%s", mica_tape_error(t));
  mica_tape_free(t);
  free(id);
}

static void test_rows_come_together(void **state) {
  (void)state;
  enum { WIDTH = 3 };
  float *kept = NULL;
  for (int threads = 1; threads <= 2; threads++) {
    mica_engine *engine = engine_of(threads);
    mica_params *rows = table_of(engine, ROWS, WIDTH), *dense = table_of(engine, ROWS, WIDTH);
    /* Twice: what is kept from step to step must not show. */
    for (int step = 0; step < 2; step++) {
      mica_params_zero_grad(rows);
      backward(rows, ROWS, WIDTH, step ? IDS : IDS / 3, 3, false);
      if (!step) assert_true(mica_params_grad_norm(rows) > 0);
    }
    backward(dense, ROWS, WIDTH, IDS, 3, true);
    mica_param *q = mica_params_find(rows, "table");
    const int64_t *ids;
    const void *values;
    int64_t n;
    assert_int_equal(mica_param_grad_kind(q), MICA_GRAD_ROWS);
    assert_int_equal(mica_param_grad_rows(q, &ids, &values, &n), MICA_OK);
    assert_true(n > IDS / 3 && n < IDS);
    const mica_view want = mica_param_grad(mica_params_find(dense, "table"));
    for (int64_t i = 0; i < n; i++) {
      assert_true(ids[i] >= 0 && ids[i] < ROWS && (i == 0 || ids[i] > ids[i - 1]));
      for (int c = 0; c < WIDTH; c++) {
        const double got = (double)((const float *)values)[i * WIDTH + c],
                     w = (double)((const float *)want.data)[ids[i] * WIDTH + c];
        assert_true(fabs(got - w) <= 1e-4 * (1 + fabs(w)));
      }
    }
    const size_t bytes = (size_t)(n * WIDTH) * sizeof(float);
    if (kept) assert_memory_equal(kept, values, bytes);
    if (!kept) memcpy(kept = malloc(bytes), values, bytes);
    mica_params_free(rows);
    mica_params_free(dense);
    mica_engine_free(engine);
  }
  free(kept);
}

/* Adagrad leaves rows without a gradient alone, so rows and the whole table agree to the bit. */
static void test_updates_of_rows(void **state) {
  (void)state;
  static const int64_t widths[] = {1, 4, 7, 16, 256, 257, 600};
  for (int k = 0; k < 7; k++) {
    const int64_t rows = 700, width = widths[k], n = rows * width;
    mica_engine *engine = engine_of(2);
    mica_params *p[2] = {table_of(engine, rows, width), table_of(engine, rows, width)};
    for (int dense = 0; dense < 2; dense++) {
      mica_optimiser *opt = NULL;
      assert_int_equal(mica_optimiser_create(p[dense], "adagrad:lr=0.1", &opt), MICA_OK);
      for (int step = 0; step < 3; step++) {
        mica_params_zero_grad(p[dense]);
        backward(p[dense], rows, width, 90, 1, false);
        mica_param *q = mica_params_find(p[dense], "table");
        if (dense) assert_non_null(mica_param_grad(q).data); /* makes it dense */
        assert_int_equal(mica_param_grad_kind(q), dense ? MICA_GRAD_DENSE : MICA_GRAD_ROWS);
        assert_int_equal(mica_optimiser_step(opt, NULL, 1), MICA_OK);
      }
      mica_optimiser_free(opt);
    }
    const float *a = mica_tensor_data(mica_param_value(mica_params_find(p[0], "table")));
    const float *b = mica_tensor_data(mica_param_value(mica_params_find(p[1], "table")));
    for (int64_t i = 0; i < n; i++)
      if (a[i] != b[i])
        fail_msg("width %lld: element %lld differs", (long long)width, (long long)i);
    for (int i = 0; i < 2; i++) mica_params_free(p[i]);
    mica_engine_free(engine);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_come_together),
                                     cmocka_unit_test(test_updates_of_rows)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
