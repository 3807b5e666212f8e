/* Cases: losses. */
#include "gradients/gradients.h"

static mica_var labels(mica_tape *t) {
  return gradient_ids(t, MICA_SHAPE(5), 1, 2, 4);
}

static mica_var hard(mica_tape *t, const mica_var *in, double smoothing, int64_t ignore, bool each,
                     mica_var weights) {
  mica_cross_entropy_options o = MICA_CROSS_ENTROPY_OPTIONS;
  o.smoothing = smoothing;
  o.ignore_index = ignore;
  o.per_example = each;
  return mica_cross_entropy(t, in[0], labels(t), weights, &o);
}
#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return __VA_ARGS__;                                                                            \
  }
RUN(plain, mica_cross_entropy(t, in[0], labels(t), MICA_NONE, NULL))
RUN(smoothed, hard(t, in, 0.2, -100, false, MICA_NONE))
RUN(ignored, hard(t, in, 0, 3, false, MICA_NONE))
RUN(each, hard(t, in, 0.1, 3, true, MICA_NONE))
RUN(weighted, hard(t, in, 0.1, 3, false, in[1]))
RUN(soft, mica_soft_cross_entropy(t, in[0], in[1]))
RUN(bce, mica_bce(t, in[0], in[1]))
RUN(weighted_bce, mica_weighted_bce(t, in[0], in[1], in[2]))
RUN(mse, mica_mse(t, in[0], in[1]))
RUN(l1, mica_l1(t, in[0], in[1]))
RUN(huber, mica_huber(t, in[0], in[1], 1.5))
RUN(hinge, mica_hinge(t, in[0], in[1], 0.7, 1))
RUN(hinge_squared, mica_hinge(t, in[0], in[1], 0.7, 2))
RUN(margin, mica_multi_margin(t, in[0], labels(t), 8, 1))
RUN(margin_squared, mica_multi_margin(t, in[0], labels(t), 8, 2))
RUN(focal, mica_focal(t, in[0], labels(t), 2))
RUN(focal_root, mica_focal(t, in[0], labels(t), 0.5))
RUN(binary_focal, mica_binary_focal(t, in[0], in[1], 1.5, 0.25))
RUN(binary_focal_plain, mica_binary_focal(t, in[0], in[1], 0, -1))
RUN(dice, mica_dice(t, in[0], in[1], 1, false))
RUN(dice_squared, mica_dice(t, in[0], in[1], 0.5, true))
RUN(kl, mica_kl(t, mica_log_softmax(t, in[0], -1), in[1]))
RUN(margin_none, mica_cosine_margin(t, in[0], MICA_MARGIN_NONE, 0.3))
RUN(margin_cosine, mica_cosine_margin(t, in[0], MICA_MARGIN_COSINE, 0.3))
RUN(margin_arc, mica_cosine_margin(t, in[0], MICA_MARGIN_ARC, 0.5))
RUN(margin_falling, mica_cosine_margin(t, in[0], MICA_MARGIN_ARC_FALLING, 0.5))
RUN(margin_sphere, mica_cosine_margin(t, in[0], MICA_MARGIN_SPHERE, 3))
RUN(margin_sphere_part, mica_cosine_margin(t, in[0], MICA_MARGIN_SPHERE, 1.35))

#define B 1e-5
#define IN(lo, hi, ...)                                                                            \
  { MICA_SHAPE(__VA_ARGS__), lo, hi, 0, false }
static const gradient_case cases[] = {
    {"cross_entropy", "", 1, {IN(-2, 2, 5, 4)}, plain, B, false, false},
    {"cross_entropy", "smoothed", 1, {IN(-2, 2, 5, 4)}, smoothed, B, false, false},
    {"cross_entropy", "ignored", 1, {IN(-2, 2, 5, 4)}, ignored, B, false, false},
    {"cross_entropy", "each", 1, {IN(-2, 2, 5, 4)}, each, B, false, false},
    {"cross_entropy",
     "weighted",
     2,
     {IN(-2, 2, 5, 4), {MICA_SHAPE(4), 0.5, 2, 0, true}},
     weighted,
     B,
     false,
     false},
    {"soft_cross_entropy", "", 2, {IN(-2, 2, 5, 4), IN(0.1, 1, 5, 4)}, soft, B, false, false},
    {"bce", "", 2, {IN(-3, 3, 4, 3), IN(0.1, 0.9, 4, 3)}, bce, B, false, false},
    {"weighted_bce",
     "",
     3,
     {IN(-3, 3, 4, 3), IN(0.1, 0.9, 4, 3), IN(0.5, 3, 3)},
     weighted_bce,
     B,
     false,
     false},
    {"hinge", "", 2, {IN(-2, -1, 4, 3), IN(0.5, 1, 4, 3)}, hinge, B, false, false},
    {"hinge", "right", 2, {IN(2, 3, 4, 3), IN(0.5, 1, 4, 3)}, hinge, B, false, false},
    {"hinge", "squared", 2, {IN(-2, 2, 4, 3), IN(-1, 1, 4, 3)}, hinge_squared, B, false, false},
    {"multi_margin", "", 1, {IN(-2, 2, 5, 4)}, margin, B, false, false},
    {"multi_margin", "squared", 1, {IN(-2, 2, 5, 4)}, margin_squared, B, false, false},
    {"focal", "", 1, {IN(-2, 2, 5, 4)}, focal, B, false, false},
    {"focal", "gamma below 1", 1, {IN(-2, 2, 5, 4)}, focal_root, B, false, false},
    {"binary_focal", "", 2, {IN(-3, 3, 4, 3), IN(0.1, 0.9, 4, 3)}, binary_focal, B, false, false},
    {"binary_focal",
     "plain",
     2,
     {IN(-3, 3, 4, 3), IN(0.1, 0.9, 4, 3)},
     binary_focal_plain,
     B,
     false,
     false},
    {"dice", "", 2, {IN(0.1, 0.9, 3, 2, 5), IN(0.1, 0.9, 3, 2, 5)}, dice, B, false, false},
    {"dice", "squared", 2, {IN(0.1, 0.9, 1, 7), IN(0.1, 0.9, 1, 7)}, dice_squared, B, false, false},
    {"mse", "", 2, {IN(-2, 2, 4, 3), IN(-2, 2, 4, 3)}, mse, B, false, false},
    {"l1", "", 2, {IN(1, 2, 4, 3), IN(-2, 0.9, 4, 3)}, l1, B, false, false},
    {"huber", "quadratic", 2, {IN(0, 0.7, 4, 3), IN(-0.7, 0, 4, 3)}, huber, B, false, false},
    {"huber", "linear", 2, {IN(2, 4, 4, 3), IN(-2, 0, 4, 3)}, huber, B, false, false},
    {"cosine_margin", "none", 1, {IN(-0.9, 0.9, 5, 3)}, margin_none, B, false, false},
    {"cosine_margin", "cosine", 1, {IN(-0.9, 0.9, 5, 3)}, margin_cosine, B, false, false},
    {"cosine_margin", "arc", 1, {IN(-0.8, 0.9, 7)}, margin_arc, B, false, false},
    {"cosine_margin", "arc guarded", 1, {IN(-0.99, -0.9, 7)}, margin_arc, B, false, false},
    {"cosine_margin", "falling", 1, {IN(-0.8, 0.9, 7)}, margin_falling, B, false, false},
    {"cosine_margin", "falling past", 1, {IN(-0.99, -0.9, 7)}, margin_falling, B, false, false},
    {"cosine_margin", "sphere", 1, {IN(-0.95, 0.95, 7, 1)}, margin_sphere, B, false, false},
    {"cosine_margin", "sphere, 1.35", 1, {IN(-0.95, 0.95, 7)}, margin_sphere_part, B, false, false},
    {"kl", "", 2, {IN(-2, 2, 5, 4), IN(0.1, 1, 5, 4)}, kl, B, false, false},
};
FAMILY(loss);
