/* Agreement with PyTorch: bags of embeddings, rows in segments, and what they refuse. */
#include "support/golden.h"

#include <mica/ops.h>

#include <math.h>
#include <string.h>

static mica_engine *engine;

#define RUN(name, ...)                                                                             \
  static mica_var name(golden_case *b) {                                                           \
    mica_tape *t = b->t;                                                                           \
    return __VA_ARGS__;                                                                            \
  }
#define X       golden_leaf(b, "x")
#define GIVEN   golden_constant(b, "ids"), golden_constant(b, "offsets")
#define OFFSETS golden_constant(b, "offsets")
RUN(bag_sum, mica_embedding_bag(t, X, GIVEN, MICA_NONE, MICA_BAG_SUM))
RUN(bag_mean, mica_embedding_bag(t, X, GIVEN, MICA_NONE, MICA_BAG_MEAN))
RUN(bag_max, mica_embedding_bag(t, X, GIVEN, MICA_NONE, MICA_BAG_MAX))
RUN(bag_weighted, mica_embedding_bag(t, X, GIVEN, golden_leaf(b, "w"), MICA_BAG_SUM))
RUN(segment_sum, mica_segment_sum(t, X, OFFSETS))
RUN(segment_mean, mica_segment_mean(t, X, OFFSETS))
RUN(segment_max, mica_segment_max(t, X, OFFSETS))

static mica_var ints(mica_tape *t, int64_t n, const int64_t *x) {
  const mica_view view = mica_view_of((void *)(uintptr_t)x, MICA_I64, MICA_SHAPE(n));
  return mica_constant(t, &view);
}

static mica_var bag_even(golden_case *b) {
  mica_var ids = mica_flatten(b->t, golden_constant(b, "ids"), 0);
  return mica_embedding_bag(b->t, X, ids, ints(b->t, 3, (int64_t[]){0, 3, 6}), MICA_NONE,
                            MICA_BAG_MEAN);
}

#define CASE(name)                                                                                 \
  { #name, name }
static const golden_operation cases[] = {CASE(bag_sum),      CASE(bag_mean),   CASE(bag_max),
                                         CASE(bag_weighted), CASE(bag_even),   CASE(segment_sum),
                                         CASE(segment_mean), CASE(segment_max)};

static void test_ragged(void **state) {
  (void)state;
  mica_archive *archive = golden_open(GOLDEN_FOLDER "ragged.safetensors");
  assert_int_equal(golden_run(engine, archive, cases, sizeof cases / sizeof *cases), 0);
  int results = 0;
  for (int64_t i = 0; i < mica_archive_count(archive); i++) {
    const char *name = mica_archive_name(archive, i);
    results += strcmp(name + strlen(name) - 2, ".y") == 0;
  }
  assert_int_equal(results, sizeof cases / sizeof *cases);
  mica_archive_close(archive);
}

/* The largest is the first of its equals, and a NaN is larger than any number. */
static void test_largest(void **state) {
  (void)state;
  double x[6] = {1, 3, 3, NAN, 7, NAN};
  const mica_view view = mica_view_of(x, MICA_F64, MICA_SHAPE(6, 1));
  mica_tensor *leaf;
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_F64, view.shape, &leaf), MICA_OK);
  const mica_view to = mica_tensor_view(leaf);
  assert_int_equal(mica_view_copy(&to, &view), MICA_OK);
  mica_var in = mica_leaf(t, leaf);
  mica_var y = mica_segment_max(t, in, ints(t, 3, (int64_t[]){0, 3, 6}));
  const mica_view got = mica_read(t, y);
  assert_true(((double *)got.data)[0] == 3 && isnan(((double *)got.data)[1]));
  assert_int_equal(mica_backward_from(t, y, mica_full(t, MICA_F64, got.shape, 1)), MICA_OK);
  const double want[6] = {0, 1, 0, 1, 0, 0};
  const mica_view g = mica_read(t, mica_gradient(t, in));
  assert_memory_equal(g.data, want, sizeof want);
  mica_tensor_free(leaf);
  mica_tape_free(t);
}

/* Numbers out of range are errors that name them, never reads outside. */
static void refused(mica_dtype type, int64_t n, const int64_t *ids, int64_t n_offsets,
                    const int64_t *offsets, mica_bag mode, int64_t weights, mica_status status,
                    const char *says) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_var table = mica_full(t, type, MICA_SHAPE(4, 2), 1);
  mica_var w = weights < 0 ? MICA_NONE : mica_full(t, MICA_F32, MICA_SHAPE(weights), 1);
  mica_var y = mica_embedding_bag(t, table, ints(t, n, ids), ints(t, n_offsets, offsets), w, mode);
  assert_true(mica_is_none(y));
  assert_int_equal(mica_tape_status(t), status);
  if (!strstr(mica_tape_error(t), says)) fail_msg("%s", mica_tape_error(t));
  mica_tape_free(t);
}

static void test_refuses(void **state) {
  (void)state;
  const int64_t ids[4] = {0, 3, 1, 2}, low[4] = {0, 3, -1, 2}, high[4] = {0, 4, 1, 2};
  const int64_t good[3] = {0, 1, 4}, late[3] = {1, 2, 4}, falls[4] = {0, 3, 2, 4},
                brief[3] = {0, 1, 3}, far[3] = {0, 5, 4};
  refused(MICA_F32, 4, low, 3, good, MICA_BAG_SUM, -1, MICA_ERR_INVALID, "id -1 at place 2");
  refused(MICA_F32, 4, high, 3, good, MICA_BAG_MAX, -1, MICA_ERR_INVALID, "id 4 at place 1");
  refused(MICA_F32, 4, ids, 3, late, MICA_BAG_SUM, -1, MICA_ERR_INVALID, "offsets[0] is 1");
  refused(MICA_F32, 4, ids, 4, falls, MICA_BAG_SUM, -1, MICA_ERR_INVALID, "offsets[1] 3");
  refused(MICA_F32, 4, ids, 3, brief, MICA_BAG_SUM, -1, MICA_ERR_INVALID, "the last 3");
  refused(MICA_F32, 4, ids, 3, far, MICA_BAG_SUM, -1, MICA_ERR_INVALID, "offsets[1] 5");
  refused(MICA_F32, 4, ids, 0, good, MICA_BAG_SUM, -1, MICA_ERR_SHAPE, "[segments + 1]");
  refused(MICA_F32, 4, ids, 3, good, MICA_BAG_MEAN, 4, MICA_ERR_INVALID, "the sum only");
  refused(MICA_F32, 4, ids, 3, good, MICA_BAG_SUM, 3, MICA_ERR_SHAPE, "weight");
  refused(MICA_F64, 4, ids, 3, good, MICA_BAG_SUM, 4, MICA_ERR_SHAPE, "weight");
  refused(MICA_I64, 4, ids, 3, good, MICA_BAG_SUM, -1, MICA_ERR_SHAPE, "floats");
  refused(MICA_F32, 4, ids, 3, good, (mica_bag)7, -1, MICA_ERR_INVALID, "mode 7");
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_segment_sum(t, mica_full(t, MICA_F32, MICA_SHAPE(4, 2), 1), ints(t, 3, brief));
  assert_int_equal(mica_tape_status(t), MICA_ERR_INVALID);
  mica_tape_reset(t);
  mica_segment_max(t, mica_full(t, MICA_F32, MICA_SCALAR, 1), ints(t, 3, good));
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  mica_tape_free(t);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_ragged), cmocka_unit_test(test_largest),
                                     cmocka_unit_test(test_refuses)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
