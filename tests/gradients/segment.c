/* Cases: bags of embeddings, rows in segments, and interactions of vectors. */
#include "gradients/gradients.h"

static mica_var offsets_of(mica_tape *t, int64_t n, const int64_t *offsets) {
  const mica_view view = mica_view_of((void *)(uintptr_t)offsets, MICA_I64, MICA_SHAPE(n));
  return mica_constant(t, &view);
}
#define OFFSETS(...)                                                                               \
  offsets_of(t, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[]){__VA_ARGS__})
#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    mica_var y = __VA_ARGS__;                                                                      \
    return mica_square(t, y);                                                                      \
  }
#define IDS(n, limit) gradient_ids(t, MICA_SHAPE(n), 1, 2, limit)

/* Ids repeat within a bag and between bags; the second is empty. */
RUN(bag_sum, mica_embedding_bag(t, in[0], IDS(7, 5), OFFSETS(0, 3, 3, 7), MICA_NONE, MICA_BAG_SUM))
RUN(bag_mean,
    mica_embedding_bag(t, in[0], IDS(7, 5), OFFSETS(0, 3, 3, 7), MICA_NONE, MICA_BAG_MEAN))
RUN(bag_max, mica_embedding_bag(t, in[0], IDS(7, 5), OFFSETS(0, 3, 3, 7), MICA_NONE, MICA_BAG_MAX))
RUN(bag_weighted, mica_embedding_bag(t, in[0], IDS(7, 5), OFFSETS(0, 3, 3, 7), in[1], MICA_BAG_SUM))
RUN(bag_weights_alone,
    mica_embedding_bag(t, in[0], IDS(7, 5), OFFSETS(0, 0, 7), in[1], MICA_BAG_SUM))
RUN(bag_one, mica_embedding_bag(t, in[0], IDS(1, 1), OFFSETS(0, 1), in[1], MICA_BAG_SUM))
RUN(bag_one_max, mica_embedding_bag(t, in[0], IDS(1, 1), OFFSETS(0, 1), MICA_NONE, MICA_BAG_MAX))
RUN(bag_nothing, mica_embedding_bag(t, in[0], IDS(0, 1), OFFSETS(0, 0, 0), in[1], MICA_BAG_SUM))
RUN(bag_none, mica_embedding_bag(t, in[0], IDS(0, 1), OFFSETS(0), MICA_NONE, MICA_BAG_MEAN))

/* Larger than a chunk of work: 60 bags of 15 rows of 70. */
static mica_var wide_offsets(mica_tape *t) {
  return gradient_ids(t, MICA_SHAPE(61), 0, 15, 901);
}
RUN(bag_sum_wide,
    mica_embedding_bag(t, in[0], IDS(900, 11), wide_offsets(t), MICA_NONE, MICA_BAG_SUM))
RUN(bag_weighted_wide,
    mica_embedding_bag(t, in[0], IDS(900, 11), wide_offsets(t), in[1], MICA_BAG_SUM))
RUN(bag_max_wide,
    mica_embedding_bag(t, in[0], IDS(900, 11), wide_offsets(t), MICA_NONE, MICA_BAG_MAX))

RUN(sums, mica_segment_sum(t, in[0], OFFSETS(0, 3, 3, 5, 6)))
RUN(means, mica_segment_mean(t, in[0], OFFSETS(0, 3, 3, 5, 6)))
RUN(largest, mica_segment_max(t, in[0], OFFSETS(0, 3, 3, 5, 6)))
RUN(sums_one, mica_segment_sum(t, in[0], OFFSETS(0, 1)))
RUN(means_one, mica_segment_mean(t, in[0], OFFSETS(0, 1)))
RUN(largest_one, mica_segment_max(t, in[0], OFFSETS(0, 1)))
RUN(sums_none, mica_segment_sum(t, in[0], OFFSETS(0, 0)))
RUN(means_none, mica_segment_mean(t, in[0], OFFSETS(0, 0, 0)))
RUN(largest_none, mica_segment_max(t, in[0], OFFSETS(0, 0)))
RUN(sums_wide, mica_segment_sum(t, in[0], wide_offsets(t)))
RUN(means_wide, mica_segment_mean(t, in[0], wide_offsets(t)))
RUN(largest_wide, mica_segment_max(t, in[0], wide_offsets(t)))

RUN(pair_sum, mica_pair_sum(t, in[0]))
RUN(pair_dots, mica_pair_dots(t, in[0]))

#define B 2e-5
/* clang-format off */
#define IN(...) { MICA_SHAPE(__VA_ARGS__), -2, 2, 0, false }
#define FIX(...) { MICA_SHAPE(__VA_ARGS__), -2, 2, 0, true }
#define CASE(op, run, n, ...) { #op, #run, n, { __VA_ARGS__ }, run, B, false, false }
static const gradient_case cases[] = {
    CASE(embedding_bag, bag_sum, 1, IN(5, 3)),
    CASE(embedding_bag, bag_mean, 1, IN(5, 3)),
    CASE(embedding_bag, bag_max, 1, IN(5, 3)),
    CASE(embedding_bag, bag_weighted, 2, IN(5, 3), IN(7)),
    CASE(embedding_bag, bag_weights_alone, 2, FIX(5, 3), IN(7)),
    CASE(embedding_bag, bag_one, 2, IN(1, 1), IN(1)),
    CASE(embedding_bag, bag_one_max, 1, IN(1, 1)),
    CASE(embedding_bag, bag_nothing, 2, IN(4, 2), IN(0)),
    CASE(embedding_bag, bag_none, 1, IN(4, 2)),
    CASE(embedding_bag, bag_sum, 1, IN(5, 0)),
    CASE(embedding_bag, bag_sum_wide, 1, IN(11, 70)),
    CASE(embedding_bag, bag_weighted_wide, 2, IN(11, 70), IN(900)),
    CASE(embedding_bag, bag_max_wide, 1, IN(11, 70)),
    CASE(segment_sum, sums, 1, IN(6, 2, 3)),
    CASE(segment_sum, sums_one, 1, IN(1, 1)),
    CASE(segment_sum, sums_none, 1, IN(0, 3)),
    CASE(segment_sum, sums, 1, IN(6)),
    CASE(segment_sum, sums_wide, 1, IN(900, 70)),
    CASE(segment_mean, means, 1, IN(6, 5)),
    CASE(segment_mean, means_one, 1, IN(1)),
    CASE(segment_mean, means_none, 1, IN(0, 2, 3)),
    CASE(segment_mean, means_wide, 1, IN(900, 70)),
    CASE(segment_max, largest, 1, IN(6, 5)),
    CASE(segment_max, largest_one, 1, IN(1, 1)),
    CASE(segment_max, largest_none, 1, IN(0, 3)),
    CASE(segment_max, largest_wide, 1, IN(900, 70)),
    CASE(pair_sum, pair_sum, 1, IN(2, 5, 3)),
    CASE(pair_sum, pair_sum, 1, IN(1, 1, 1)),
    CASE(pair_sum, pair_sum, 1, IN(0, 3, 2)),
    CASE(pair_sum, pair_sum, 1, IN(3, 0, 2)),
    CASE(pair_sum, pair_sum, 1, IN(3, 1, 70)),
    CASE(pair_sum, pair_sum, 1, IN(150, 7, 33)),
    CASE(pair_dots, pair_dots, 1, IN(2, 5, 3)),
    CASE(pair_dots, pair_dots, 1, IN(1, 1, 1)),
    CASE(pair_dots, pair_dots, 1, IN(0, 3, 2)),
    CASE(pair_dots, pair_dots, 1, IN(3, 0, 2)),
    CASE(pair_dots, pair_dots, 1, IN(3, 1, 70)),
    CASE(pair_dots, pair_dots, 1, IN(150, 7, 33)),
};
/* clang-format on */
FAMILY(segment);
