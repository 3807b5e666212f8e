/* Cases: attention. */
#include "gradients/gradients.h"

#include <stdint.h>

static mica_var attend(mica_tape *t, const mica_var *in, bool causal, int64_t window, bool bias,
                       bool lse) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = causal;
  o.window = window;
  mica_var l,
      y = mica_attention(t, in[0], in[1], in[2], bias ? in[3] : MICA_NONE, &o, lse ? &l : NULL);
  if (!lse) return y;
  mica_var flat[2] = {mica_reshape(t, y, MICA_SHAPE(-1)), mica_reshape(t, l, MICA_SHAPE(-1))};
  return mica_concat(t, 2, flat, 0);
}
#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return attend(t, in, __VA_ARGS__);                                                             \
  }
RUN(plain, false, 0, false, false)
RUN(causal, true, 0, false, false)
RUN(window, false, 2, false, false)
RUN(biased, false, 0, true, false)
RUN(with_lse, true, 0, false, true)

static mica_var masked(mica_tape *t, const mica_var *in) {
  const double keep[2][4] = {{1, 1, 0, 1}, {0, 1, 1, 0}};
  const mica_view view = mica_view_of((void *)(uintptr_t)keep, MICA_F64, MICA_SHAPE(2, 4));
  mica_scope_begin(t, NULL);
  mica_set_mask(t, mica_constant(t, &view));
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = true;
  return mica_scope_end(t, mica_masked_attention(t, in[0], in[1], in[2], in[3], &o, NULL));
}
static mica_var masked_lse(mica_tape *t, const mica_var *in) {
  const double keep[4] = {1, 0, 1, 1};
  const mica_view view = mica_view_of((void *)(uintptr_t)keep, MICA_F64, MICA_SHAPE(1, 4));
  mica_var l;
  mica_scope_begin(t, NULL);
  mica_set_mask(t, mica_constant(t, &view));
  mica_masked_attention(t, in[0], in[1], in[2], MICA_NONE, NULL, &l);
  return mica_scope_end(t, l);
}

static mica_var only_lse(mica_tape *t, const mica_var *in) {
  mica_var l;
  mica_attention(t, in[0], in[1], in[2], MICA_NONE, NULL, &l);
  return l;
}

static mica_var packed(mica_tape *t, const mica_var *in) {
  return mica_packed_attention(t, in[0], 2, MICA_NONE, NULL);
}
static mica_var packed_biased(mica_tape *t, const mica_var *in) {
  const double keep[2][3] = {{1, 0, 1}, {0, 1, 1}};
  const mica_view view = mica_view_of((void *)(uintptr_t)keep, MICA_F64, MICA_SHAPE(2, 3));
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.window = 2;
  mica_scope_begin(t, NULL);
  mica_set_mask(t, mica_constant(t, &view));
  return mica_scope_end(t, mica_packed_attention(t, in[0], 3, in[1], &o));
}

#define B 2e-5
#define IN(...)                                                                                    \
  { MICA_SHAPE(__VA_ARGS__), -1.5, 1.5, 0, false }
static const gradient_case cases[] = {
    {"attention",
     "plain",
     3,
     {IN(2, 3, 2, 4), IN(2, 5, 2, 4), IN(2, 5, 2, 3)},
     plain,
     B,
     false,
     false},
    {"attention",
     "grouped",
     3,
     {IN(1, 3, 4, 2), IN(1, 3, 2, 2), IN(1, 3, 2, 2)},
     plain,
     B,
     false,
     false},
    {"attention",
     "causal",
     3,
     {IN(1, 4, 2, 3), IN(1, 4, 2, 3), IN(1, 4, 2, 3)},
     causal,
     B,
     false,
     false},
    {"attention",
     "causal, longer keys",
     3,
     {IN(1, 2, 1, 3), IN(1, 5, 1, 3), IN(1, 5, 1, 3)},
     causal,
     B,
     false,
     false},
    {"attention",
     "causal, longer queries",
     3,
     {IN(1, 5, 1, 3), IN(1, 2, 1, 3), IN(1, 2, 1, 3)},
     causal,
     B,
     false,
     false},
    {"attention",
     "window",
     3,
     {IN(1, 6, 1, 2), IN(1, 6, 1, 2), IN(1, 6, 1, 2)},
     window,
     B,
     false,
     false},
    {"attention",
     "bias",
     4,
     {IN(2, 3, 2, 2), IN(2, 4, 2, 2), IN(2, 4, 2, 2), IN(2, 2, 3, 4)},
     biased,
     B,
     false,
     false},
    {"attention",
     "shared bias",
     4,
     {IN(2, 3, 2, 2), IN(2, 4, 2, 2), IN(2, 4, 2, 2), IN(2, 1, 4)},
     biased,
     B,
     false,
     false},
    {"attention",
     "log-sum-exp",
     3,
     {IN(2, 3, 2, 2), IN(2, 3, 2, 2), IN(2, 3, 2, 2)},
     with_lse,
     B,
     false,
     false},
    {"masked_attention",
     "with bias",
     4,
     {IN(2, 4, 2, 2), IN(2, 4, 2, 2), IN(2, 4, 2, 2), IN(2, 4, 4)},
     masked,
     B,
     false,
     false},
    {"masked_attention",
     "log-sum-exp",
     3,
     {IN(1, 3, 2, 2), IN(1, 4, 2, 2), IN(1, 4, 2, 2)},
     masked_lse,
     B,
     false,
     false},
    {"attention",
     "only log-sum-exp",
     3,
     {IN(1, 3, 2, 2), IN(1, 3, 2, 2), IN(1, 3, 2, 2)},
     only_lse,
     B,
     false,
     false},
    {"attention",
     "several tiles",
     4,
     {IN(1, 67, 2, 3), IN(1, 52, 1, 3), IN(1, 52, 1, 2), IN(67, 52)},
     biased,
     B,
     false,
     false},
    {"attention",
     "several tiles, window",
     3,
     {IN(1, 66, 1, 2), IN(1, 99, 1, 2), IN(1, 99, 1, 2)},
     window,
     B,
     false,
     false},
    {"packed_attention", "", 1, {IN(2, 3, 12)}, packed, B, false, false},
    {"packed_attention",
     "bias and mask",
     2,
     {IN(2, 3, 18), IN(3, 3, 3)},
     packed_biased,
     B,
     false,
     false},
};
FAMILY(attention);
