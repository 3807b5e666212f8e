/* Agreement with PyTorch: activations, masks, margins, normalisation over some of the positions. */
#include "support/golden.h"

#include <mica/ops.h>

#include <string.h>

#define FILE_NAME GOLDEN_FOLDER "activations.safetensors"

static mica_engine *engine;

#define leaf     golden_leaf
#define constant golden_constant
#define RUN(name, ...)                                                                             \
  static mica_var name(golden_case *b) {                                                           \
    mica_tape *t = b->t;                                                                           \
    return __VA_ARGS__;                                                                            \
  }
#define X leaf(b, "x")

RUN(celu, mica_celu(t, X, 1))
RUN(softsign, mica_soft_sign(t, X))
RUN(tanhshrink, mica_tanh_shrink(t, X))
RUN(relu6, mica_activate(t, MICA_RELU6, X))
RUN(hardtanh, mica_activate(t, MICA_HARD_TANH, X))
RUN(hardshrink, mica_hard_shrink(t, X, 0.5))
RUN(softshrink, mica_soft_shrink(t, X, 0.5))
RUN(prelu, mica_prelu(t, X, leaf(b, "w")))
RUN(prelu_one, mica_prelu(t, X, leaf(b, "w")))
RUN(glu, mica_glu(t, X, MICA_SIGMOID))
RUN(swiglu, mica_glu(t, X, MICA_SILU))
RUN(masked_fill, mica_masked_fill(t, X, constant(b, "mask"), -1.5))
RUN(margin, mica_multi_margin(t, X, constant(b, "labels"), 1, 1))
RUN(margin_squared, mica_multi_margin(t, X, constant(b, "labels"), 1.75, 2))
RUN(hinge, mica_hinge(t, X, constant(b, "signs"), 1, 1))
RUN(focal, mica_focal(t, X, constant(b, "labels"), 2))
RUN(binary_focal, mica_binary_focal(t, X, constant(b, "target"), 2, 0.25))
RUN(dice, mica_dice(t, mica_sigmoid(t, X), constant(b, "target"), 1, false))
RUN(masked_batch_norm,
    mica_masked_batch_norm_train(t, X, constant(b, "some"), leaf(b, "w"), leaf(b, "b"), 1e-5,
                                 MICA_IDENTITY, NULL, NULL, NULL))
RUN(response, mica_global_response_norm(t, X, leaf(b, "w"), leaf(b, "b"), 1e-6))

#define CASE(name)                                                                                 \
  { #name, name }
static const golden_operation cases[] = {CASE(celu),
                                         CASE(softsign),
                                         CASE(tanhshrink),
                                         CASE(relu6),
                                         CASE(hardtanh),
                                         CASE(hardshrink),
                                         CASE(softshrink),
                                         CASE(prelu),
                                         CASE(prelu_one),
                                         CASE(glu),
                                         CASE(swiglu),
                                         CASE(masked_fill),
                                         CASE(margin),
                                         CASE(margin_squared),
                                         CASE(hinge),
                                         CASE(focal),
                                         CASE(binary_focal),
                                         CASE(dice),
                                         CASE(masked_batch_norm),
                                         CASE(response)};

static void test_activations(void **state) {
  (void)state;
  golden_run_all(engine, FILE_NAME, cases, sizeof cases / sizeof *cases);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_activations)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
