/* A weight that is packed for predictions gives what the product itself gives, follows its value,
 * and survives the lack of memory. */
#include "support/failing_alloc.h"
#include "support/test.h"

#include <mica/mica.h>

#include "param/tree.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct layer {
  mica_engine *engine;
  mica_params *params;
  mica_tape *t;
  mica_node *node;
  int64_t in, out;
} layer;

static layer layer_of(const char *isa, int64_t in, int64_t out) {
  layer l = {.in = in, .out = out};
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.isa = isa;
  o.threads = 2;
  o.libraries = false;
  if (mica_engine_create(&o, &l.engine) != MICA_OK) { /* not on this processor */
    assert_int_equal(mica_last_status(), MICA_ERR_UNSUPPORTED);
    return (layer){0};
  }
  assert_int_equal(mica_params_create(l.engine, 7, &l.params), MICA_OK);
  assert_int_equal(mica_tape_create(l.engine, NULL, &l.t), MICA_OK);
  l.node = mica_node_child(mica_params_root(l.params), "fc");
  assert_int_equal(mica_nn_linear_init(l.node, in, out, true), MICA_OK);
  return l;
}

static void layer_free(layer *l) {
  mica_tape_free(l->t);
  mica_params_free(l->params);
  mica_engine_free(l->engine);
}

static mica_param *weight(const layer *l) {
  return mica_node_param(l->node, "weight");
}

static int kept(const layer *l) {
  int n = 0;
  for (const mica_derived *d = weight(l)->derived; d; d = d->next) n += d->object != NULL;
  return n;
}

/* The layer's answers for `rows`, with what is recorded or not. */
static mica_view answers(layer *l, int64_t rows, bool recording) {
  mica_tape_reset(l->t);
  float *x = malloc((size_t)(rows * l->in) * sizeof *x);
  for (int64_t i = 0; i < rows * l->in; i++) x[i] = (float)sin((double)i);
  const mica_view v = mica_view_of(x, MICA_F32, MICA_SHAPE(rows, l->in));
  const mica_var in = mica_constant(l->t, &v);
  free(x);
  if (!recording) mica_no_grad_begin(l->t);
  const mica_var y = mica_nn_linear(l->t, l->node, in);
  if (!recording) mica_no_grad_end(l->t);
  return mica_read(l->t, y);
}

static void same(layer *l, int64_t rows) {
  const mica_view plain = answers(l, rows, true);
  assert_non_null(plain.data);
  const size_t bytes = (size_t)mica_view_count(&plain) * sizeof(float);
  float *want = malloc(bytes);
  memcpy(want, plain.data, bytes);
  for (int i = 0; i < 3; i++) /* the first use of a value does not pack it */
    assert_memory_equal(want, answers(l, rows, false).data, bytes);
  free(want);
}

static void packed_gives_the_same_bits(void **state) {
  (void)state;
  static const char *const isas[] = {"generic", "avx2", "avx512"};
  static const int64_t sizes[][2] = {{96, 64}, {65, 130}, {1100, 70}, {192, 768}};
  for (size_t i = 0; i < 3; i++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      layer l = layer_of(isas[i], sizes[s][0], sizes[s][1]);
      if (!l.engine) continue;
      for (int64_t rows = 11; rows < 300; rows = rows * 5 + 3) same(&l, rows);
      assert_int_equal(kept(&l), 1);
      layer_free(&l);
    }
}

static void a_written_value_is_packed_anew(void **state) {
  (void)state;
  layer l = layer_of(NULL, 96, 64);
  for (int i = 0; i < 3; i++) {
    float *w = mica_param_write(weight(&l));
    for (int64_t k = 0; k < 96 * 64; k++) w[k] = (float)cos((double)(k * (i + 1)));
    same(&l, 20);
    assert_int_equal(kept(&l), 1); /* those of earlier values are gone */
  }
  layer_free(&l);
}

static void few_rows_and_many_read_the_weight(void **state) {
  (void)state;
  layer l = layer_of(NULL, 96, 64);
  same(&l, 1);
  same(&l, 3);
  same(&l, 1000);
  assert_int_equal(kept(&l), 0);
  layer_free(&l);
}

/* A product with one column is computed as that of a row; what is packed is then the other factor.
 */
static void one_column_reads_the_weight(void **state) {
  (void)state;
  enum { M = 200, K = 600 };
  layer l = layer_of(NULL, K, 1);
  same(&l, M);
  assert_int_equal(kept(&l), 0);
  float *x = calloc(M * K, sizeof *x), y[2][M];
  for (int i = 0; i < M * K; i++) x[i] = (float)sin((double)i);
  const float *w = mica_tensor_data(mica_param_value(weight(&l)));
  void *packed = mica_malloc_aligned(mica_gemm_packed_size(l.engine, MICA_F32, 1, K));
  mica_gemm_pack(l.engine, MICA_F32, true, 1, K, w, K, packed);
  for (int i = 0; i < 2; i++) {
    const mica_gemm_args g = {.dtype = MICA_F32,
                              .compute = MICA_F32,
                              .trans_b = true,
                              .m = M,
                              .n = 1,
                              .k = K,
                              .alpha = 1,
                              .a = x,
                              .lda = K,
                              .b = w,
                              .ldb = K,
                              .c = y[i],
                              .ldc = 1,
                              .packed_b = i ? packed : NULL,
                              .batch = 1};
    assert_int_equal(mica_gemm_run(l.engine, &g), MICA_OK);
  }
  assert_memory_equal(y[0], y[1], sizeof y[0]);
  mica_free_aligned(packed);
  free(x);
  layer_free(&l);
}

static mica_status predict(void *ctx) {
  (void)ctx;
  layer l = {.in = 96, .out = 64};
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.libraries = false;
  mica_status status = mica_engine_create(&o, &l.engine);
  if (status == MICA_OK) status = mica_params_create(l.engine, 7, &l.params);
  if (status == MICA_OK) status = mica_tape_create(l.engine, NULL, &l.t);
  if (status == MICA_OK) {
    l.node = mica_node_child(mica_params_root(l.params), "fc");
    status = mica_nn_linear_init(l.node, l.in, l.out, true);
  }
  if (status == MICA_OK) {
    answers(&l, 20, false);
    const bool answered = mica_ok(l.t) && answers(&l, 20, false).data;
    status = mica_tape_status(l.t);
    assert_true(answered || status != MICA_OK);
  }
  layer_free(&l);
  return status;
}

static void no_memory_is_told(void **state) {
  (void)state;
  assert_true(fail_each(predict, NULL) > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(packed_gives_the_same_bits),
      cmocka_unit_test(a_written_value_is_packed_anew),
      cmocka_unit_test(few_rows_and_many_read_the_weight),
      cmocka_unit_test(one_column_reads_the_weight),
      cmocka_unit_test(no_memory_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
