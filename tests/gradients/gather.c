/* Cases: rows and elements by number, and order. */
#include "gradients/gradients.h"

#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    mica_var y = __VA_ARGS__;                                                                      \
    return mica_square(t, y);                                                                      \
  }
RUN(embedding, mica_embedding(t, in[0], gradient_ids(t, MICA_SHAPE(2, 3), 1, 2, 5)))
RUN(gather_rows, mica_gather_rows(t, in[0], gradient_ids(t, MICA_SHAPE(4), 0, 3, 5)))
RUN(gather, mica_gather(t, in[0], 1, gradient_ids(t, MICA_SHAPE(3, 2), 0, 3, 4)))
RUN(gather_first, mica_gather(t, in[0], 0, gradient_ids(t, MICA_SHAPE(2, 4), 0, 2, 3)))
RUN(scatter_add, mica_scatter_add(t, in[0], gradient_ids(t, MICA_SHAPE(4), 1, 2, 3), in[1]))
RUN(top_k, mica_top_k(t, in[0], 2, NULL))
RUN(sort, mica_sort(t, in[0], true, NULL))
RUN(sort_up, mica_sort(t, in[0], false, NULL))

RUN(rows_wide, mica_gather_rows(t, in[0], gradient_ids(t, MICA_SHAPE(700), 3, 7, 11)))
RUN(gather_wide, mica_gather(t, in[0], 1, gradient_ids(t, MICA_SHAPE(500, 2), 1, 5, 70)))
RUN(scatter_wide, mica_scatter_add(t, in[0], gradient_ids(t, MICA_SHAPE(25, 28), 3, 7, 11), in[1]))
RUN(no_rows, mica_gather_rows(t, in[0], gradient_ids(t, MICA_SHAPE(0), 0, 1, 1)))
RUN(top_none, mica_top_k(t, in[0], 0, NULL))

static mica_var top_k_ids(mica_tape *t, const mica_var *in) {
  mica_var ids;
  mica_top_k(t, in[0], 3, &ids);
  return mica_cast(t, ids, mica_dtype_of(t, in[0]));
}

static mica_var one_hot(mica_tape *t, const mica_var *in) {
  const mica_var ids = gradient_ids(t, MICA_SHAPE(2, 3), 1, 2, 4);
  return mica_mul(t, in[0], mica_one_hot(t, ids, 4, mica_dtype_of(t, in[0])));
}

#define B 1e-5
#define ONE(ops, run, ...)                                                                         \
  { ops, #run, 1, {{MICA_SHAPE(__VA_ARGS__), -2, 2, 0, false}}, run, B, false, false }
static const gradient_case cases[] = {
    ONE("embedding", embedding, 5, 3),
    ONE("gather_rows", gather_rows, 5, 2, 2),
    ONE("gather", gather, 3, 4),
    ONE("gather", gather_first, 3, 4),
    {"scatter_add",
     "",
     2,
     {{MICA_SHAPE(3, 2), -2, 2, 0, false}, {MICA_SHAPE(4, 2), -2, 2, 0, false}},
     scatter_add,
     B,
     false,
     false},
    ONE("top_k", top_k, 3, 5),
    ONE("sort", sort, 2, 6),
    ONE("sort", sort_up, 2, 6),
    ONE("gather_rows", rows_wide, 11, 53),
    ONE("gather_rows", no_rows, 4, 3),
    ONE("gather", gather_wide, 500, 70),
    {"scatter_add",
     "wide",
     2,
     {{MICA_SHAPE(11, 53), -2, 2, 0, false}, {MICA_SHAPE(25, 28, 53), -2, 2, 0, false}},
     scatter_wide,
     B,
     false,
     false},
    ONE("top_k", top_k, 2501, 16),
    ONE("top_k", top_none, 3, 4),
    ONE("sort", sort, 2501, 16),
    ONE("sort", sort_up, 3, 1),
    {"top_k", "ids", 1, {{MICA_SHAPE(3, 5), -2, 2, 0, false}}, top_k_ids, B, true, false},
    {"one_hot", "", 1, {{MICA_SHAPE(2, 3, 4), -2, 2, 0, false}}, one_hot, B, false, false},
};
FAMILY(gather);
