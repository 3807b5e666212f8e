/* Cases: reductions, softmax, unit vectors and distances. */
#include "gradients/gradients.h"

#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return __VA_ARGS__;                                                                            \
  }

RUN(sum_all, mica_sum(t, in[0], 0, NULL, false))
RUN(sum_last, mica_sum(t, in[0], 1, (int[]){-1}, false))
RUN(sum_first, mica_sum(t, in[0], 1, (int[]){0}, true))
RUN(sum_middle, mica_sum(t, in[0], 2, (int[]){1, 2}, false))
RUN(sum_middle_one, mica_sum(t, in[0], 1, (int[]){1}, false))
RUN(sum_none, mica_sum(t, in[0], 0, NULL, true))
RUN(sum_apart, mica_sum(t, in[0], 2, (int[]){0, 2}, false))
RUN(mean_middle, mica_mean(t, in[0], 1, (int[]){1}, true))
RUN(mean_all, mica_mean(t, in[0], 0, NULL, true))
RUN(mean_last, mica_mean(t, in[0], 1, (int[]){-1}, false))
RUN(variance_apart, mica_variance(t, in[0], 2, (int[]){0, 2}, true, 0))
RUN(variance, mica_variance(t, in[0], 1, (int[]){1}, false, 1))
RUN(max_last, mica_max(t, in[0], -1, false))
RUN(max_middle, mica_max(t, in[0], 1, true))
RUN(min_first, mica_min(t, in[0], 0, false))
RUN(argmax, mica_argmax(t, in[0], 1))
RUN(lse, mica_log_sum_exp(t, in[0], -1, true))
RUN(lse_first, mica_log_sum_exp(t, in[0], 0, false))
RUN(norm, mica_norm(t, in[0], -1, false))
RUN(norm_middle, mica_norm(t, in[0], 1, true))
RUN(softmax, mica_softmax(t, in[0], -1))
RUN(softmax_first, mica_softmax(t, in[0], 0))
RUN(log_softmax, mica_log_softmax(t, in[0], -1))
RUN(log_softmax_middle, mica_log_softmax(t, in[0], 1))
RUN(unit, mica_l2_normalise(t, in[0], 1e-12))
RUN(distances, mica_squared_distances(t, in[0], in[1]))
RUN(cosines, mica_cosine_similarity(t, in[0], in[1], 1e-12))

#define B 1e-5
#define ONE(ops, run, ...)                                                                         \
  { ops, #run, 1, {{MICA_SHAPE(__VA_ARGS__), -2, 2, 0, false}}, run, B, false, false }
#define TWO(ops, run)                                                                              \
  {                                                                                                \
    ops, #run, 2, {{MICA_SHAPE(3, 5), -2, 2, 0, false}, {MICA_SHAPE(4, 5), -2, 2, 0, false}}, run, \
        B, false, false                                                                            \
  }

static const gradient_case cases[] = {
    ONE("sum", sum_all, 3, 4, 2),
    ONE("sum", sum_all, 1),
    ONE("sum", sum_all, 0, 3),
    ONE("sum", sum_last, 3, 7),
    ONE("sum", sum_first, 5, 3),
    ONE("sum", sum_middle, 2, 3, 4, 2),
    ONE("sum", sum_apart, 2, 3, 4),
    ONE("mean", mean_middle, 2, 5, 3),
    ONE("mean", mean_all, 4, 4),
    ONE("variance", variance, 3, 6),
    ONE("max", max_last, 4, 6),
    ONE("max", max_middle, 2, 5, 3),
    ONE("min", min_first, 6, 2),
    {"argmax", "", 1, {{MICA_SHAPE(3, 5, 2), -2, 2, 0, false}}, argmax, B, true, false},
    ONE("log_sum_exp", lse, 3, 6),
    ONE("log_sum_exp", lse_first, 4, 3),
    ONE("norm", norm, 3, 5),
    ONE("norm", norm_middle, 2, 4, 3),
    ONE("softmax", softmax, 4, 9),
    ONE("softmax", softmax_first, 4, 3),
    ONE("log_softmax", log_softmax, 2, 3, 5),
    ONE("log_softmax", log_softmax_middle, 2, 4, 3),
    ONE("softmax", softmax, 3, 1),
    {"sum", "rank 0", 1, {{MICA_SCALAR, -2, 2, 0, false}}, sum_none, B, false, false},
    ONE("sum", sum_last, 4, 0),
    ONE("mean", mean_last, 1, 1),
    ONE("variance", variance_apart, 3, 2, 4),
    ONE("softmax", softmax, 0, 3),
    ONE("log_sum_exp", lse, 1, 1),
    ONE("norm", norm, 0, 4),
    /* More than a chunk of work, cut along each of [outer, axis, inner]. */
    ONE("sum", sum_all, 3, 20001),
    ONE("sum", sum_last, 2001, 17),
    ONE("sum", sum_last, 2, 20001),
    ONE("sum", sum_first, 20001, 2),
    ONE("sum", sum_first, 3, 20001),
    ONE("sum", sum_first, 201, 203),
    ONE("mean", mean_middle, 3, 2001, 7),
    ONE("mean", mean_middle, 701, 5, 11),
    ONE("sum", sum_middle_one, 2, 7, 5001),
    ONE("sum", sum_apart, 30, 20, 70),
    ONE("max", max_last, 701, 53),
    ONE("max", max_middle, 70, 20, 30),
    ONE("max", max_middle, 2, 5, 5001),
    ONE("min", min_first, 5, 9001),
    ONE("log_sum_exp", lse, 701, 53),
    ONE("norm", norm, 701, 53),
    ONE("norm", norm, 2, 20001),
    ONE("softmax", softmax, 701, 53),
    ONE("softmax", softmax, 2, 20001),
    ONE("log_softmax", log_softmax, 701, 53),
    ONE("l2_normalise", unit, 701, 53),
    {"argmax", "chunks", 1, {{MICA_SHAPE(70, 20, 30), -2, 2, 0, false}}, argmax, B, true, false},

    ONE("l2_normalise", unit, 4, 6),
    TWO("squared_distances", distances),
    TWO("cosine_similarity", cosines),
};
FAMILY(reduction);
