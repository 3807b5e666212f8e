/* Agreement with PyTorch: the operations that test_torch.c does not have. */
#include "support/golden.h"

#include <mica/ops.h>

static mica_engine *engine;

#define leaf     golden_leaf
#define constant golden_constant
#define RUN(name, ...)                                                                             \
  static mica_var name(golden_case *b) {                                                           \
    mica_tape *t = b->t;                                                                           \
    return __VA_ARGS__;                                                                            \
  }
#define X leaf(b, "x")

/* ---- convolution and normalisation ---- */

/* Pairs are height, width; pads top, bottom, left, right. */
static mica_conv_options conv_options(int sh, int sw, int dh, int dw, const int32_t pad[4],
                                      int groups, int oh, int ow) {
  return (mica_conv_options){sizeof(mica_conv_options),        {sh, sw}, {dh, dw},
                             {pad[0], pad[1], pad[2], pad[3]}, groups,   {oh, ow}};
}
#define CONV(name, op, ...)                                                                        \
  static mica_var name(golden_case *b) {                                                           \
    const mica_conv_options o = conv_options(__VA_ARGS__);                                         \
    return op(b->t, leaf(b, "x"), leaf(b, "w"), leaf(b, "b"), &o);                                 \
  }
#define PAD(...) ((const int32_t[4]){__VA_ARGS__})
CONV(transpose_dilated, mica_conv_transpose2d, 2, 1, 1, 2, PAD(1, 1, 0, 0), 2, 1, 0)
CONV(conv_asymmetric, mica_conv2d, 2, 2, 1, 1, PAD(2, 1, 0, 1), 1, 0, 0)
CONV(conv1d, mica_conv1d, 1, 2, 1, 2, PAD(0, 0, 2, 2), 2, 0, 0)
CONV(transpose1d, mica_conv_transpose1d, 1, 3, 1, 1, PAD(0, 0, 1, 1), 1, 0, 2)
RUN(instance_norm, mica_instance_norm(t, X, leaf(b, "w"), leaf(b, "b"), 1e-5))
RUN(batch_norm_fixed, mica_batch_norm(t, X, leaf(b, "w"), leaf(b, "b"), constant(b, "mean"),
                                      constant(b, "var"), 1e-5, MICA_IDENTITY))

/* ---- elementwise, reductions, distances, order ---- */

RUN(elu, mica_elu(t, X, 1))
RUN(selu, mica_selu(t, X))
RUN(mish, mica_mish(t, X))
RUN(softplus, mica_softplus(t, X))
RUN(hardswish, mica_hard_swish(t, X))
RUN(hardsigmoid, mica_hard_sigmoid(t, X))
RUN(silu, mica_silu(t, X))
RUN(leaky_relu, mica_leaky_relu(t, X, 0.01))
RUN(relu, mica_relu(t, X))
RUN(logsigmoid, mica_log_sigmoid(t, X))
RUN(tanh_, mica_tanh(t, X))
RUN(sigmoid, mica_sigmoid(t, X))
RUN(normalize, mica_l2_normalise(t, X, 1e-8))
RUN(cosine, mica_cosine_similarity(t, X, leaf(b, "z"), 1e-8))
RUN(cdist, mica_squared_distances(t, X, leaf(b, "z")))
RUN(logsumexp, mica_log_sum_exp(t, X, 1, false))
RUN(variance, mica_variance(t, X, 1, (int[]){1}, false, 1))
RUN(topk, mica_top_k(t, X, 3, NULL))
RUN(sort, mica_sort(t, X, false, NULL))
RUN(largest, mica_max(t, X, 0, false))
RUN(embedding, mica_embedding(t, X, constant(b, "ids")))

/* PyTorch's ids may leave out columns. */
static mica_var gather(golden_case *b) {
  mica_var x = mica_slice(b->t, leaf(b, "x"), 1, 0, 3);
  return mica_gather(b->t, x, 0, constant(b, "ids"));
}

/* ---- sizes ---- */

RUN(nearest, mica_resize(t, X, 9, 4, MICA_NEAREST, false))
RUN(bicubic_up, mica_resize(t, X, 11, 9, MICA_BICUBIC, false))
RUN(bicubic_down, mica_resize(t, X, 4, 3, MICA_BICUBIC, false))
RUN(bicubic_align, mica_resize(t, X, 9, 5, MICA_BICUBIC, true))
RUN(area, mica_resize(t, X, 3, 4, MICA_AREA, false))
RUN(smooth_bilinear, mica_resize(t, X, 3, 4, MICA_SMOOTH_BILINEAR, false))
RUN(smooth_bicubic, mica_resize(t, X, 3, 11, MICA_SMOOTH_BICUBIC, false))

/* ---- attention ---- */

#define QKV leaf(b, "q"), leaf(b, "k"), leaf(b, "v")
RUN(attention_bias, mica_attention(t, QKV, leaf(b, "bias"), NULL, NULL))
RUN(attention_grouped, mica_attention(t, QKV, MICA_NONE, NULL, NULL))
static mica_var attention_window(golden_case *b) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.window = 2;
  return mica_attention(b->t, QKV, MICA_NONE, &o, NULL);
}
static mica_var attention_mask(golden_case *b) {
  mica_set_mask(b->t, constant(b, "keep"));
  return mica_masked_attention(b->t, QKV, MICA_NONE, NULL, NULL);
}
static mica_var attention_lse(golden_case *b) {
  mica_var lse, k = leaf(b, "k");
  mica_attention(b->t, leaf(b, "q"), k, mica_detach(b->t, k), MICA_NONE, NULL, &lse);
  return lse;
}

/* ---- losses ---- */

RUN(bce_weighted, mica_weighted_bce(t, X, constant(b, "target"), constant(b, "weight")))
RUN(mse, mica_mse(t, X, leaf(b, "target")))
RUN(l1, mica_l1(t, X, leaf(b, "target")))

#define CASE(name)                                                                                 \
  { #name, name }
static const golden_operation cases[] = {
    CASE(transpose_dilated),
    CASE(conv_asymmetric),
    CASE(conv1d),
    CASE(transpose1d),
    CASE(instance_norm),
    CASE(batch_norm_fixed),
    CASE(elu),
    CASE(selu),
    CASE(mish),
    CASE(softplus),
    CASE(hardswish),
    CASE(hardsigmoid),
    CASE(silu),
    CASE(leaky_relu),
    CASE(relu),
    CASE(logsigmoid),
    CASE(sigmoid),
    CASE(normalize),
    CASE(cosine),
    CASE(cdist),
    CASE(logsumexp),
    CASE(variance),
    CASE(topk),
    CASE(sort),
    CASE(largest),
    CASE(embedding),
    CASE(gather),
    CASE(nearest),
    CASE(bicubic_up),
    CASE(bicubic_down),
    CASE(bicubic_align),
    CASE(area),
    CASE(smooth_bilinear),
    CASE(smooth_bicubic),
    CASE(attention_bias),
    CASE(attention_mask),
    CASE(attention_grouped),
    CASE(attention_window),
    CASE(attention_lse),
    CASE(bce_weighted),
    CASE(mse),
    CASE(l1),
    {"tanh", tanh_},
};

static void test_operations(void **state) {
  (void)state;
  golden_run_all(engine, GOLDEN_FOLDER "operations.safetensors", cases,
                 sizeof cases / sizeof *cases);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_operations)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
