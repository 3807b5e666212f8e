/* Cases: what compressed embedding tables are made of (mica/embedding.h). They count as cases of
 * the embedding, whose header has every operation that must have some. */
#include "gradients/gradients.h"

#include <mica/embedding.h>

#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return mica_square(t, __VA_ARGS__);                                                            \
  }
#define IDS(n, most) gradient_ids(t, MICA_SHAPE(n), 1, 5, most)
RUN(product, mica_compositional_embedding(t, in[0], in[1], IDS(9, 20), true))
RUN(sum, mica_compositional_embedding(t, in[0], in[1], IDS(9, 20), false))
RUN(nothing, mica_compositional_embedding(t, in[0], in[1], IDS(0, 20), true))
RUN(many, mica_compositional_embedding(t, in[0], in[1], IDS(700, 20), true))
RUN(cut, mica_prefix(t, in[0], gradient_ids(t, MICA_SHAPE(5, 3), 0, 2, 4)))
RUN(threshold, mica_soft_threshold(t, in[0], in[1]))
RUN(gated, mica_mul(t, in[0], mica_row_gate(t, in[0], in[1])))

static mica_var train(mica_tape *t, const mica_var *in) {
  static const int64_t dims[3] = {2, 1, 3};
  return mica_square(t, mica_tensor_train_embedding(t, in, IDS(11, 24), dims, 2));
}
static mica_var train_many(mica_tape *t, const mica_var *in) {
  static const int64_t dims[3] = {2, 2, 2};
  return mica_square(t, mica_tensor_train_embedding(t, in, IDS(300, 24), dims, 5));
}
static const int64_t numbers[9] = {2038074743, 147806607, 732152371,  1777953349, 1792310488,
                                   1963679704, 252070890, 1849836274, 602957304};
static mica_var windows(mica_tape *t, const mica_var *in) {
  const mica_var ids = gradient_ids(t, MICA_SHAPE(7, 3), 0, 3, 1000);
  return mica_square(t, mica_array_embedding(t, in[0], ids, 6, 2, numbers));
}
static mica_var words(mica_tape *t, const mica_var *in) {
  return mica_square(t, mica_codeword_rows(t, in[0], gradient_ids(t, MICA_SHAPE(9, 3), 0, 2, 4)));
}
static mica_var penalty(mica_tape *t, const mica_var *in) {
  return mica_with_penalty(t, mica_square(t, in[0]), mica_detach(t, in[1]));
}

#define B 1e-5
#define X(...)                                                                                     \
  { MICA_SHAPE(__VA_ARGS__), -2, 2, 0, false }
#define FAR(...)                                                                                   \
  { MICA_SHAPE(__VA_ARGS__), -4, 4, 1.1, false } /* of a kink */
static const gradient_case cases[] = {
    {"embedding",
     "compositional embedding, product",
     2,
     {X(4, 3), X(5, 3)},
     product,
     B,
     false,
     false},
    {"embedding", "compositional embedding, sum", 2, {X(4, 3), X(5, 3)}, sum, B, false, false},
    {"embedding",
     "compositional embedding, no ids",
     2,
     {X(4, 3), X(5, 3)},
     nothing,
     B,
     false,
     false},
    {"embedding", "compositional embedding, wide", 2, {X(4, 53), X(5, 53)}, many, B, false, false},
    {"embedding", "tensor train embedding", 3, {X(4, 4), X(3, 4), X(2, 6)}, train, B, false, false},
    {"embedding",
     "tensor train embedding, many",
     3,
     {X(4, 10), X(3, 50), X(2, 10)},
     train_many,
     B,
     false,
     false},
    {"embedding", "array embedding", 1, {X(23)}, windows, B, false, false},
    {"embedding", "codeword rows", 1, {X(3, 4, 2)}, words, B, false, false},
    {"embedding", "prefix", 1, {X(5, 3, 4)}, cut, B, false, false},
    {"embedding", "soft threshold, each", 2, {FAR(4, 3), X(4, 3)}, threshold, B, false, false},
    {"embedding", "soft threshold, one", 2, {FAR(4, 3), X(1)}, threshold, B, false, false},
    {"embedding", "row gate", 2, {X(5, 4), X(5, 1)}, gated, B, true, false},
    {"embedding", "with penalty", 2, {X(5, 4), X(1)}, penalty, B, false, false},
};
FAMILY(embedding);
