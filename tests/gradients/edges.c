/* Cases: tensors of one element and of none, for every operation. */
#include "gradients/gradients.h"

/* clang-format off */
#define RUN(name, ...)                                                                             \
  static mica_var run_##name(mica_tape *t, const mica_var *in) { return __VA_ARGS__; }
#define B 2e-5
#define IN(...) { MICA_SHAPE(__VA_ARGS__), 0.5, 2, 0, false }
#define FIX(...) { MICA_SHAPE(__VA_ARGS__), 0.5, 2, 0, true }
#define CASE(op, what, n, ...) { #op, what, n, { __VA_ARGS__ }, run_##op, B, false, false }
#define FLAT(op, what, n, ...) { #op, what, n, { __VA_ARGS__ }, run_##op, B, true, false }
#define TRAIN(op, what, n, ...) { #op, what, n, { __VA_ARGS__ }, run_##op, B, false, true }

#define UNARY(op) RUN(op, mica_##op(t, in[0]))
UNARY(neg) UNARY(abs) UNARY(exp) UNARY(expm1) UNARY(log) UNARY(log1p) UNARY(sqrt) UNARY(rsqrt)
UNARY(reciprocal) UNARY(square) UNARY(sin) UNARY(cos) UNARY(tanh) UNARY(erf) UNARY(sigmoid)
UNARY(log_sigmoid) UNARY(softplus) UNARY(relu) UNARY(selu) UNARY(gelu) UNARY(gelu_tanh) UNARY(silu)
UNARY(mish) UNARY(hard_sigmoid) UNARY(hard_swish) UNARY(sign) UNARY(floor) UNARY(round)
UNARY(step) UNARY(soft_sign) UNARY(tanh_shrink) UNARY(squared_relu) UNARY(straight_through_round)
RUN(swish, mica_swish(t, in[0], 1.5))
RUN(celu, mica_celu(t, in[0], 0.7))
RUN(soft_shrink, mica_soft_shrink(t, in[0], 0.2))
RUN(hard_shrink, mica_hard_shrink(t, in[0], 0.2))
RUN(prelu, mica_prelu(t, in[0], in[1]))
RUN(glu, mica_glu(t, in[0], MICA_SIGMOID))
RUN(straight_through, mica_straight_through(t, in[0], in[1]))
RUN(straight_through_step, mica_straight_through_step(t, in[0], MICA_STEP_CLIPPED))
RUN(straight_through_argmax, mica_straight_through_argmax(t, in[0], 2))
RUN(leaky_relu, mica_leaky_relu(t, in[0], 0.1))
RUN(elu, mica_elu(t, in[0], 0.7))
RUN(clamp, mica_clamp(t, in[0], 0, 9))
RUN(pow_scalar, mica_pow_scalar(t, in[0], 2.5))
RUN(affine, mica_affine(t, in[0], 3, 1))
RUN(activate, mica_activate(t, MICA_SILU, in[0]))
RUN(cast, mica_cast(t, mica_cast(t, in[0], MICA_F64), mica_dtype_of(t, in[0])))

#define BINARY(op) RUN(op, mica_##op(t, in[0], in[1]))
BINARY(add) BINARY(sub) BINARY(mul) BINARY(div) BINARY(pow) BINARY(maximum) BINARY(minimum)
BINARY(equal) BINARY(less)
RUN(where, mica_where(t, in[0], in[1], in[2]))
RUN(masked_fill, mica_masked_fill(t, in[0], in[1], 3))

RUN(sum, mica_sum(t, in[0], 1, (int[]){-1}, false))
RUN(mean, mica_mean(t, in[0], 1, (int[]){-1}, true))
RUN(variance, mica_variance(t, in[0], 1, (int[]){-1}, false, 0))
RUN(max, mica_max(t, in[0], -1, false))
RUN(min, mica_min(t, in[0], -1, true))
RUN(argmax, mica_cast(t, mica_argmax(t, in[0], -1), mica_dtype_of(t, in[0])))
RUN(log_sum_exp, mica_log_sum_exp(t, in[0], -1, false))
RUN(norm, mica_norm(t, in[0], -1, false))
RUN(softmax, mica_softmax(t, in[0], -1))
RUN(log_softmax, mica_log_softmax(t, in[0], -1))
RUN(l2_normalise, mica_l2_normalise(t, in[0], 1e-12))
RUN(squared_distances, mica_squared_distances(t, in[0], in[1]))
RUN(cosine_similarity, mica_cosine_similarity(t, in[0], in[1], 1e-12))
RUN(cosine_margin, mica_cosine_margin(t, mica_affine(t, in[0], 0.4, 0), MICA_MARGIN_ARC, 0.3))

RUN(matmul, mica_matmul(t, in[0], in[1]))
RUN(matmul_t, mica_matmul_t(t, in[0], true, in[1], true))
RUN(linear, mica_linear(t, in[0], in[1], in[2], MICA_TANH))
RUN(conv2d, mica_conv2d(t, in[0], in[1], in[2], NULL))
RUN(conv1d, mica_conv1d(t, in[0], in[1], in[2], NULL))
RUN(conv_transpose2d, mica_conv_transpose2d(t, in[0], in[1], in[2], NULL))
RUN(conv_transpose1d, mica_conv_transpose1d(t, in[0], in[1], in[2], NULL))

RUN(rotary, mica_rotary(t, in[0], MICA_NONE, NULL))
RUN(layer_norm, mica_layer_norm(t, in[0], in[1], in[2], 1e-2))
RUN(rms_norm, mica_rms_norm(t, in[0], in[1], 1e-2))
RUN(group_norm, mica_group_norm(t, in[0], in[1], in[2], 1, 1e-2))
RUN(instance_norm, mica_instance_norm(t, in[0], in[1], in[2], 1e-2))
RUN(batch_norm_train, mica_batch_norm_train(t, in[0], in[1], in[2], 1e-2, MICA_RELU, NULL, NULL))
RUN(batch_norm_add_train,
    mica_batch_norm_add_train(t, in[0], in[1], in[2], in[3], 1e-2, MICA_RELU, NULL, NULL))
static mica_var run_masked_batch_norm_train(mica_tape *t, const mica_var *in) {
  const mica_var mask = mica_full(t, MICA_F32, MICA_SHAPE(mica_dim(t, in[0], 0)), 1);
  return mica_masked_batch_norm_train(t, in[0], mask, in[1], in[2], 1e-2, MICA_IDENTITY, NULL, NULL, NULL);
}
RUN(global_response_norm, mica_global_response_norm(t, in[0], in[1], in[2], 1e-6))
RUN(batch_norm, mica_batch_norm(t, in[0], in[1], in[2], in[3], in[4], 1e-2, MICA_IDENTITY))

static const mica_pool_options single = {
    sizeof(mica_pool_options), {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}, false, false};
RUN(max_pool2d, mica_max_pool2d(t, in[0], &single))
RUN(avg_pool2d, mica_avg_pool2d(t, in[0], &single))
RUN(adaptive_avg_pool2d, mica_adaptive_avg_pool2d(t, in[0], 2, 1))
RUN(adaptive_max_pool2d, mica_adaptive_max_pool2d(t, in[0], 1, 2))
RUN(global_avg_pool, mica_global_avg_pool(t, in[0]))
RUN(gem_pool, mica_gem_pool(t, in[0], in[1], 1e-3))
RUN(resize, mica_resize(t, in[0], 2, 3, MICA_BILINEAR, false))

RUN(reshape, mica_reshape(t, in[0], MICA_SHAPE(mica_dim(t, in[0], 1), mica_dim(t, in[0], 0))))
RUN(flatten, mica_flatten(t, in[0], 0))
RUN(permute, mica_permute(t, in[0], 2, (int[]){1, 0}))
RUN(transpose, mica_transpose(t, in[0], 0, 1))
RUN(expand, mica_expand(t, in[0], MICA_SHAPE(3, mica_dim(t, in[0], 0), mica_dim(t, in[0], 1))))
RUN(slice, mica_slice(t, in[0], 1, 0, 1))
RUN(slice_none, mica_slice(t, in[0], 1, 1, 1))
RUN(concat, mica_concat(t, 2, (mica_var[]){in[0], in[0]}, 0))
RUN(stack, mica_stack(t, 2, (mica_var[]){in[0], in[0]}, 1))
static mica_var run_split(mica_tape *t, const mica_var *in) {
  mica_var y[2];
  mica_split(t, in[0], 0, 2, (int64_t[]){mica_dim(t, in[0], 0), 0}, y);
  return mica_square(t, y[0]);
}
RUN(pad, mica_pad(t, in[0], 2, (int64_t[]){0, 1}, (int64_t[]){1, 0}, 2))
RUN(roll, mica_roll(t, in[0], 0, 1))
RUN(flip, mica_flip(t, in[0], 0))

static mica_var run_one_hot(mica_tape *t, const mica_var *in) {
  const mica_var ids = gradient_ids(t, MICA_SHAPE(mica_dim(t, in[0], 0)), 0, 1, 1);
  return mica_mul(t, in[0], mica_one_hot(t, ids, mica_dim(t, in[0], 1), mica_dtype_of(t, in[0])));
}
RUN(embedding, mica_embedding(t, in[0], gradient_ids(t, MICA_SHAPE(1, 1), 0, 1, 1)))
RUN(embedding_none, mica_embedding(t, in[0], gradient_ids(t, MICA_SHAPE(0, 2), 0, 1, 1)))
RUN(gather_rows, mica_gather_rows(t, in[0], gradient_ids(t, MICA_SHAPE(1), 0, 1, 1)))
RUN(gather, mica_gather(t, in[0], 1, gradient_ids(t, MICA_SHAPE(mica_dim(t, in[0], 0), 1), 0, 1, 1)))
RUN(scatter_add, mica_scatter_add(t, in[0], gradient_ids(t, MICA_SHAPE(mica_dim(t, in[1], 0)), 0, 1, 1), in[1]))
RUN(top_k, mica_top_k(t, in[0], 1, NULL))
RUN(sort, mica_sort(t, in[0], true, NULL))

RUN(dropout, mica_dropout(t, in[0], 0.5))
RUN(drop_path, mica_drop_path(t, in[0], 0.5))

RUN(attention, mica_attention(t, in[0], in[1], in[2], MICA_NONE, NULL, NULL))
static mica_var run_masked_attention(mica_tape *t, const mica_var *in) {
  mica_scope_begin(t, NULL);
  mica_set_mask(t, mica_full(t, MICA_F32, MICA_SHAPE(mica_dim(t, in[1], 0), mica_dim(t, in[1], 1)), 1));
  return mica_scope_end(t, mica_masked_attention(t, in[0], in[1], in[2], MICA_NONE, NULL, NULL));
}
/* Every key is left out: zeros, and no gradient. */
static mica_var run_nothing_seen(mica_tape *t, const mica_var *in) {
  mica_scope_begin(t, NULL);
  mica_set_mask(t, mica_full(t, MICA_F32, MICA_SHAPE(1, 2), 0));
  return mica_scope_end(t, mica_masked_attention(t, in[0], in[1], in[2], MICA_NONE, NULL, NULL));
}

RUN(packed_attention, mica_packed_attention(t, in[0], 1, MICA_NONE, NULL))

static mica_var labels(mica_tape *t, mica_var x) {
  return gradient_ids(t, MICA_SHAPE(mica_dim(t, x, 0)), 0, 1, 1);
}
RUN(cross_entropy, mica_cross_entropy(t, in[0], labels(t, in[0]), MICA_NONE, NULL))
RUN(soft_cross_entropy, mica_soft_cross_entropy(t, in[0], in[1]))
BINARY(bce) BINARY(mse) BINARY(l1) BINARY(kl)
RUN(hinge, mica_hinge(t, in[0], in[1], 9, 1))
RUN(multi_margin, mica_multi_margin(t, in[0], labels(t, in[0]), 9, 2))
RUN(focal, mica_focal(t, in[0], labels(t, in[0]), 2))
RUN(binary_focal, mica_binary_focal(t, in[0], in[1], 2, 0.25))
RUN(dice, mica_dice(t, in[0], in[1], 1, false))
RUN(weighted_bce, mica_weighted_bce(t, in[0], in[1], in[2]))
RUN(huber, mica_huber(t, in[0], in[1], 0.3))

#define EACH(op) CASE(op, "one", 1, IN(1, 1)), CASE(op, "none", 1, IN(0, 3))
#define IMAGE(op) CASE(op, "one", 1, IN(1, 1, 1, 1)), CASE(op, "none", 1, IN(0, 3, 2, 4))
#define PAIR(op)                                                                                   \
  CASE(op, "one", 2, IN(1, 1), FIX(1, 1)), CASE(op, "none", 2, IN(0, 3), IN(0, 3)),                \
  CASE(op, "none by some", 2, IN(0, 3), IN(3))
#define ROWS(op) CASE(op, "one", 2, IN(1, 1), IN(1, 1)), CASE(op, "none", 2, IN(0, 3), IN(0, 3))
#define Q(...) IN(__VA_ARGS__), IN(__VA_ARGS__), IN(__VA_ARGS__)

static const gradient_case cases[] = {
    EACH(neg), EACH(abs), EACH(exp), EACH(expm1), EACH(log), EACH(log1p), EACH(sqrt), EACH(rsqrt),
    EACH(reciprocal), EACH(square), EACH(sin), EACH(cos), EACH(tanh), EACH(erf), EACH(sigmoid),
    EACH(log_sigmoid), EACH(softplus), EACH(relu), EACH(selu), EACH(gelu), EACH(gelu_tanh),
    EACH(silu), EACH(mish), EACH(hard_sigmoid), EACH(hard_swish), EACH(leaky_relu), EACH(elu),
    EACH(clamp), EACH(pow_scalar), EACH(affine), EACH(activate), EACH(cast),
    EACH(soft_sign), EACH(tanh_shrink), EACH(squared_relu), EACH(swish), EACH(celu),
    EACH(soft_shrink), EACH(hard_shrink),
    CASE(prelu, "one", 2, IN(1, 1), IN(1)), CASE(prelu, "none", 2, IN(0, 3), IN(3)),
    CASE(glu, "one", 1, IN(1, 2)), CASE(glu, "none", 1, IN(0, 4)),
    FLAT(step, "one", 1, IN(1)), FLAT(step, "none", 1, IN(2, 0)),
    FLAT(straight_through, "one", 2, IN(1), IN(1)), FLAT(straight_through, "none", 2, IN(0), IN(0)),
    FLAT(straight_through_round, "one", 1, IN(1)), FLAT(straight_through_round, "none", 1, IN(0)),
    FLAT(straight_through_step, "one", 1, IN(1)), FLAT(straight_through_step, "none", 1, IN(0)),
    FLAT(straight_through_argmax, "one", 1, IN(1, 1)), FLAT(straight_through_argmax, "none", 1, IN(0, 3)),
    FLAT(sign, "one", 1, IN(1)), FLAT(sign, "none", 1, IN(2, 0)),
    FLAT(floor, "one", 1, IN(1)), FLAT(floor, "none", 1, IN(2, 0)),
    FLAT(round, "one", 1, IN(1)), FLAT(round, "none", 1, IN(2, 0)),
    PAIR(add), PAIR(sub), PAIR(mul), PAIR(div), PAIR(pow), PAIR(maximum), PAIR(minimum),
    FLAT(equal, "one", 2, IN(1), IN(1)), FLAT(equal, "none", 2, IN(0, 2), IN(2)),
    FLAT(less, "one", 2, IN(1), IN(1)), FLAT(less, "none", 2, IN(0, 2), IN(2)),
    CASE(masked_fill, "one", 2, IN(1), FIX(1)), CASE(masked_fill, "none", 2, IN(0, 2), FIX(2)),
    CASE(one_hot, "one", 1, IN(1, 1)), CASE(one_hot, "none", 1, IN(0, 3)),
    CASE(where, "one", 3, FIX(1), IN(1), IN(1)), CASE(where, "none", 3, FIX(2), IN(0, 2), IN(1)),

    EACH(sum), EACH(mean), EACH(variance), EACH(max), EACH(min), EACH(log_sum_exp), EACH(norm),
    EACH(softmax), EACH(log_softmax), EACH(l2_normalise),
    CASE(sum, "of none", 1, IN(3, 0)), CASE(softmax, "of none", 1, IN(3, 0)),
    CASE(l2_normalise, "of none", 1, IN(3, 0)),
    FLAT(argmax, "one", 1, IN(1, 1)), FLAT(argmax, "none", 1, IN(0, 3)),
    CASE(squared_distances, "one", 2, IN(1, 1), IN(1, 1)),
    CASE(squared_distances, "none", 2, IN(0, 3), IN(2, 3)),
    CASE(cosine_margin, "one", 1, IN(1)),
    CASE(cosine_margin, "none", 1, IN(0, 1)),
    CASE(cosine_similarity, "one", 2, IN(1, 2), IN(1, 2)),
    CASE(cosine_similarity, "one element", 2, IN(1, 1), IN(1, 1)),
    CASE(cosine_similarity, "none", 2, IN(2, 3), IN(0, 3)),

    CASE(matmul, "one", 2, IN(1, 1), IN(1, 1)), CASE(matmul, "none", 2, IN(2, 0), IN(0, 3)),
    CASE(matmul, "no matrices", 2, IN(0, 2, 3), IN(3, 2)),
    CASE(matmul_t, "one", 2, IN(1, 1), IN(1, 1)), CASE(matmul_t, "none", 2, IN(2, 0), IN(3, 2)),
    CASE(linear, "one", 3, IN(1, 1), IN(1, 1), IN(1)),
    CASE(linear, "none", 3, IN(0, 3), IN(2, 3), IN(2)),
    CASE(linear, "of none", 3, IN(4, 0), IN(2, 0), IN(2)),
    CASE(conv2d, "one", 3, IN(1, 1, 1, 1), IN(1, 1, 1, 1), IN(1)),
    CASE(conv2d, "none", 3, IN(0, 3, 3, 2), IN(4, 2, 2, 2), IN(4)),
    CASE(conv1d, "one", 3, IN(1, 1, 1), IN(1, 1, 1), IN(1)),
    CASE(conv1d, "none", 3, IN(0, 3, 2), IN(4, 2, 2), IN(4)),
    CASE(conv_transpose2d, "one", 3, IN(1, 1, 1, 1), IN(1, 1, 1, 1), IN(1)),
    CASE(conv_transpose2d, "none", 3, IN(0, 3, 3, 2), IN(2, 2, 2, 4), IN(4)),
    CASE(conv_transpose1d, "one", 3, IN(1, 1, 1), IN(1, 1, 1), IN(1)),
    CASE(conv_transpose1d, "none", 3, IN(0, 3, 2), IN(2, 2, 4), IN(4)),

    CASE(rotary, "one", 1, IN(1, 1, 1, 1)), CASE(rotary, "none", 1, IN(0, 2, 1, 3)),
    CASE(rotary, "no channels", 1, IN(2, 2, 1, 0)),

    CASE(layer_norm, "one", 3, IN(1, 1), IN(1), IN(1)),
    CASE(layer_norm, "none", 3, IN(0, 3), IN(3), IN(3)),
    CASE(rms_norm, "one", 2, IN(1, 1), IN(1)), CASE(rms_norm, "none", 2, IN(0, 3), IN(3)),
    CASE(group_norm, "one", 3, IN(1, 1, 1), IN(1), IN(1)),
    CASE(group_norm, "none", 3, IN(0, 2, 3), IN(3), IN(3)),
    CASE(instance_norm, "one", 3, IN(1, 1, 1), IN(1), IN(1)),
    CASE(instance_norm, "none", 3, IN(0, 2, 3), IN(3), IN(3)),
    TRAIN(batch_norm_train, "one", 3, IN(1, 1), IN(1), IN(1)),
    TRAIN(batch_norm_add_train, "one", 4, IN(1, 1), IN(1), IN(1), IN(1, 1)),
    TRAIN(masked_batch_norm_train, "one", 3, IN(1, 1), IN(1), IN(1)),
    TRAIN(masked_batch_norm_train, "none", 3, IN(0, 3), IN(3), IN(3)),
    CASE(global_response_norm, "one", 3, IN(1, 1), IN(1), IN(1)),
    CASE(global_response_norm, "none", 3, IN(0, 2, 3), IN(3), IN(3)),
    CASE(batch_norm, "one", 5, IN(1, 1), IN(1), IN(1), FIX(1), FIX(1)),
    CASE(batch_norm, "none", 5, IN(0, 3), IN(3), IN(3), FIX(3), FIX(3)),

    IMAGE(max_pool2d), IMAGE(avg_pool2d), IMAGE(adaptive_avg_pool2d), IMAGE(adaptive_max_pool2d),
    IMAGE(global_avg_pool), IMAGE(resize),
    CASE(gem_pool, "one", 2, IN(1, 1, 1), IN(1)), CASE(gem_pool, "none", 2, IN(0, 2, 3), IN(1)),

    EACH(reshape), EACH(flatten), EACH(permute), EACH(transpose), EACH(expand), EACH(slice),
    EACH(concat), EACH(stack), EACH(split), EACH(pad), EACH(roll), EACH(flip),
    {"slice", "to none", 1, {IN(3, 2)}, run_slice_none, B, false, false},

    CASE(embedding, "one", 1, IN(1, 1)), {"embedding", "none", 1, {IN(3, 2)}, run_embedding_none, B, false, false},
    CASE(embedding, "of none", 1, IN(3, 0)),
    CASE(gather_rows, "one", 1, IN(1, 1)), CASE(gather_rows, "none", 1, IN(3, 0)),
    CASE(gather, "one", 1, IN(1, 1)), CASE(gather, "none", 1, IN(0, 3)),
    CASE(scatter_add, "one", 2, IN(1, 1), IN(1, 1)), CASE(scatter_add, "none", 2, IN(3, 2), IN(0, 2)),
    EACH(top_k), EACH(sort),
    TRAIN(dropout, "one", 1, IN(1, 1)), TRAIN(dropout, "none", 1, IN(0, 3)),
    TRAIN(drop_path, "one", 1, IN(1, 1)), TRAIN(drop_path, "none", 1, IN(0, 3)),

    CASE(attention, "one", 3, Q(1, 1, 1, 1)), CASE(attention, "none", 3, Q(0, 2, 1, 3)),
    CASE(attention, "no queries", 3, IN(2, 0, 2, 3), IN(2, 3, 1, 3), IN(2, 3, 1, 2)),
    CASE(attention, "no keys", 3, IN(2, 3, 2, 3), IN(2, 0, 1, 3), IN(2, 0, 1, 2)),
    CASE(masked_attention, "one", 3, Q(1, 1, 1, 1)), CASE(masked_attention, "none", 3, Q(0, 2, 1, 3)),
    {"masked_attention", "nothing seen", 3, {Q(1, 2, 1, 3)}, run_nothing_seen, B, false, false},
    CASE(packed_attention, "one", 1, IN(1, 1, 3)), CASE(packed_attention, "none", 1, IN(0, 2, 3)),
    CASE(packed_attention, "no tokens", 1, IN(2, 0, 6)),

    CASE(cross_entropy, "one", 1, IN(1, 1)), CASE(cross_entropy, "none", 1, IN(0, 3)),
    ROWS(soft_cross_entropy), ROWS(bce), ROWS(kl),
    CASE(mse, "one", 2, IN(1, 1), IN(1, 1)), CASE(mse, "none", 2, IN(0, 3), IN(0, 3)),
    CASE(l1, "one", 2, IN(1, 1), IN(1, 1)), CASE(l1, "none", 2, IN(0, 3), IN(0, 3)),
    CASE(huber, "one", 2, IN(1, 1), IN(1, 1)), CASE(huber, "none", 2, IN(0, 3), IN(0, 3)),
    CASE(hinge, "one", 2, IN(1, 1), IN(1, 1)), CASE(hinge, "none", 2, IN(0, 3), IN(0, 3)),
    CASE(multi_margin, "one", 1, IN(1, 1)), CASE(multi_margin, "none", 1, IN(0, 3)),
    CASE(focal, "one", 1, IN(1, 1)), CASE(focal, "none", 1, IN(0, 3)),
    CASE(binary_focal, "one", 2, IN(1, 1), IN(1, 1)), CASE(binary_focal, "none", 2, IN(0, 3), IN(0, 3)),
    CASE(dice, "one", 2, IN(1, 1), IN(1, 1)), CASE(dice, "none", 2, IN(0, 3), IN(0, 3)),
    CASE(weighted_bce, "one", 3, IN(1, 1), IN(1, 1), IN(1)),
    CASE(weighted_bce, "none", 3, IN(0, 3), IN(0, 3), FIX(3)),
};
/* clang-format on */
FAMILY(edges);
