/* Convolution layers: parameters, their layout in interchange files, and forwards that are the
 * operations. */
#include "support/test.h"

#include <mica/model.h>
#include <mica/nn.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

enum { IN = 4, OUT = 6, K = 2, GROUPS = 2 };

typedef struct layer {
  int axes;
  bool transposed;
} layer;

static const layer layers[] = {{1, false}, {2, false}, {3, false}, {1, true}, {2, true}, {3, true}};

static mica_status init(const layer *l, mica_node *node, int64_t groups) {
  if (l->axes == 1 && !l->transposed)
    return mica_nn_conv1d_init(node, IN, OUT, K, groups, true, NULL);
  if (l->axes == 2 && !l->transposed)
    return mica_nn_conv2d_init(node, IN, OUT, K, K, groups, true, NULL);
  if (l->axes == 3 && !l->transposed)
    return mica_nn_conv3d_init(node, IN, OUT, K, K, K, groups, true, NULL);
  if (l->axes == 1) return mica_nn_conv_transpose1d_init(node, IN, OUT, K, groups, true, NULL);
  if (l->axes == 2) return mica_nn_conv_transpose2d_init(node, IN, OUT, K, K, groups, true, NULL);
  return mica_nn_conv_transpose3d_init(node, IN, OUT, K, K, K, groups, true, NULL);
}

static mica_var apply(const layer *l, mica_tape *t, mica_node *node, mica_var x, mica_var w,
                      mica_var b, bool as_layer) {
  mica_conv_options o = MICA_CONV_OPTIONS;
  mica_conv3d_options o3 = MICA_CONV3D_OPTIONS;
  o.groups = o3.groups = GROUPS;
  o.stride[1] = o3.stride[2] = 2;
  if (l->axes == 1 && !l->transposed)
    return as_layer ? mica_nn_conv1d(t, node, &o, x) : mica_conv1d(t, x, w, b, &o);
  if (l->axes == 2 && !l->transposed)
    return as_layer ? mica_nn_conv2d(t, node, &o, x) : mica_conv2d(t, x, w, b, &o);
  if (l->axes == 3 && !l->transposed)
    return as_layer ? mica_nn_conv3d(t, node, &o3, x) : mica_conv3d(t, x, w, b, &o3);
  if (l->axes == 1)
    return as_layer ? mica_nn_conv_transpose1d(t, node, &o, x)
                    : mica_conv_transpose1d(t, x, w, b, &o);
  if (l->axes == 2)
    return as_layer ? mica_nn_conv_transpose2d(t, node, &o, x)
                    : mica_conv_transpose2d(t, x, w, b, &o);
  return as_layer ? mica_nn_conv_transpose3d(t, node, &o3, x)
                  : mica_conv_transpose3d(t, x, w, b, &o3);
}

static mica_params *tree(const layer *l, mica_node **node) {
  mica_params *p = NULL;
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  *node = mica_node_child(mica_params_root(p), "layer");
  assert_int_equal(init(l, *node, GROUPS), MICA_OK);
  return p;
}

static void test_forwards_are_the_operations(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
    mica_node *node;
    mica_params *p = tree(&layers[i], &node);
    mica_tape *t = NULL;
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    mica_shape shape = {.rank = layers[i].axes + 2};
    for (int d = 0; d < shape.rank; d++) shape.dim[d] = d == shape.rank - 1 ? IN : 3;
    mica_var x = mica_random_normal_like(t, shape, MICA_F32, 0, 1);
    mica_var got = apply(&layers[i], t, node, x, MICA_NONE, MICA_NONE, true);
    mica_var want = apply(&layers[i], t, node, x, mica_weight(t, node, "weight"),
                          mica_weight(t, node, "bias"), false);
    const mica_view a = mica_read(t, got), b = mica_read(t, want);
    assert_true(mica_ok(t) && mica_view_count(&a) > 0 &&
                mica_view_count(&a) == mica_view_count(&b));
    assert_memory_equal(a.data, b.data, (size_t)mica_view_count(&a) * sizeof(float));
    assert_int_equal(a.shape.dim[a.shape.rank - 1], OUT);
    mica_tape_free(t);
    mica_params_free(p);
  }
}

/* PyTorch: uniform within 1 / sqrt(channels read for an output times taps), the weight's second
 * dimension counting as the channels. */
static void test_initial_values(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
    mica_node *node;
    mica_params *p = tree(&layers[i], &node);
    const int64_t second = (layers[i].transposed ? OUT : IN) / GROUPS;
    const double bound = 1 / sqrt((double)second * pow(K, layers[i].axes));
    static const char *const names[] = {"weight", "bias"};
    for (int k = 0; k < 2; k++) {
      const mica_tensor *v = mica_param_value(mica_node_param(node, names[k]));
      double largest = 0;
      for (int64_t e = 0; e < mica_tensor_count(v); e++)
        largest = fmax(largest, fabs(mica_tensor_get(v, e)));
      assert_true(largest <= bound && largest > bound / 3);
    }
    mica_params_free(p);
  }
}

/* Here [O, k.., I], there [O, I, k..]; transposed [I, k.., O] and [I, O, k..]. Without the
 * transposed form kernel and inputs are as large, so a wrong order would keep the shape. */
static void test_reference_layout(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
    mica_node *node;
    mica_params *p = tree(&layers[i], &node);
    mica_param *w = mica_node_param(node, "weight");
    const mica_tensor *here = mica_param_value(w);
    mica_tensor *there = NULL;
    assert_int_equal(mica_param_to_reference(w, &there), MICA_OK);
    const mica_shape *s = mica_tensor_shape(here);
    const int64_t last = s->dim[s->rank - 1], first = s->dim[0];
    const int64_t taps = mica_tensor_count(here) / first / last;
    for (int64_t a = 0; a < first; a++)
      for (int64_t k = 0; k < taps; k++)
        for (int64_t b = 0; b < last; b++)
          assert_true(mica_tensor_get(here, (a * taps + k) * last + b) ==
                      mica_tensor_get(there, (a * last + b) * taps + k));
    const int64_t n = mica_tensor_count(here);
    double *kept = malloc((size_t)n * sizeof *kept);
    assert_non_null(kept);
    for (int64_t e = 0; e < n; e++) kept[e] = mica_tensor_get(here, e);
    memset(mica_param_write(w), 0, (size_t)n * sizeof(float));
    assert_int_equal(mica_param_from_reference(w, there), MICA_OK);
    for (int64_t e = 0; e < n; e++) assert_true(mica_tensor_get(mica_param_value(w), e) == kept[e]);
    free(kept);
    mica_tensor_free(there);
    mica_params_free(p);
  }
}

static void test_refusals(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
    mica_params *p = NULL;
    assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
    assert_int_equal(init(&layers[i], mica_params_root(p), 3), MICA_ERR_INVALID);
    assert_int_equal(init(&layers[i], mica_params_root(p), 0), MICA_ERR_INVALID);
    mica_params_free(p);
  }
  mica_params *p = NULL;
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  assert_int_equal(mica_nn_conv3d_init(mica_params_root(p), 2, 2, 3, 0, 3, 1, false, NULL),
                   MICA_ERR_INVALID);
  mica_params_free(p);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_forwards_are_the_operations),
      cmocka_unit_test(test_initial_values),
      cmocka_unit_test(test_reference_layout),
      cmocka_unit_test(test_refusals),
  };
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
