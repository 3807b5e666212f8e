/* Agreement with PyTorch: rotary positions in every layout and scaling. */
#include "support/golden.h"
#include "support/near.h"

#include <mica/nn.h>

#include <math.h>
#include <string.h>

static mica_engine *engine;

static mica_var run(golden_case *b, const char *ids, mica_rotary_options o) {
  o.size = sizeof o;
  return mica_rotary(b->t, golden_leaf(b, "x"), ids ? golden_constant(b, ids) : MICA_NONE, &o);
}
#define RUN(name, ids, ...)                                                                        \
  static mica_var name(golden_case *b) {                                                           \
    return run(b, ids, (mica_rotary_options){0, __VA_ARGS__});                                     \
  }
RUN(halves, NULL, MICA_ROTARY_HALVES, 10000, 0, 0, 0, 1, 2048, 32, 1, 0)
RUN(pairs, NULL, MICA_ROTARY_PAIRS, 10000, 0, 0, 0, 1, 2048, 32, 1, 0)
RUN(part, NULL, MICA_ROTARY_PAIRS, 500, 4, 4, 0, 1, 2048, 32, 1, 0)
RUN(linear, NULL, MICA_ROTARY_HALVES, 10000, 0, 0, MICA_ROTARY_LINEAR, 8, 2048, 32, 1, 0)
RUN(yarn, NULL, MICA_ROTARY_HALVES, 10000, 0, 300, MICA_ROTARY_YARN, 4, 256, 32, 1, 0)
RUN(yarn_ids, "ids", MICA_ROTARY_PAIRS, 1e6, 0, 0, MICA_ROTARY_YARN, 8, 6272, 32, 1, 0)
RUN(yarn_short, NULL, MICA_ROTARY_HALVES, 10000, 0, 0, MICA_ROTARY_YARN, 0.5, 256, 32, 1, 0)

#define CASE(name)                                                                                 \
  { #name, name }
static const golden_operation cases[] = {CASE(halves),    CASE(pairs), CASE(part),
                                         CASE(linear),    CASE(yarn),  CASE(yarn_ids),
                                         CASE(yarn_short)};

static void test_rotary(void **state) {
  (void)state;
  mica_archive *archive = golden_open(GOLDEN_FOLDER "rotary.safetensors");
  assert_int_equal(golden_run(engine, archive, cases, sizeof cases / sizeof *cases), 0);
  mica_archive_close(archive);
}

/* The ramp of a window of 6272 tokens, 8 times as long: pairs 0 to 15 keep their frequency, those
 * from 32 on are slowed down 8 times (Visual Context Window Extension, Wei & Chen 2024). */
static void test_frequencies(void **state) {
  (void)state;
  mica_rotary_options o = MICA_ROTARY_OPTIONS;
  o.base = 1e6;
  double plain[64], slow[64], factor;
  assert_int_equal(mica_rotary_frequencies(&o, 128, plain, &factor), MICA_OK);
  assert_true(plain[0] == 1 && factor == 1);
  o.scaling = MICA_ROTARY_YARN;
  o.factor = 8;
  o.original = 6272;
  assert_int_equal(mica_rotary_frequencies(&o, 128, slow, &factor), MICA_OK);
  assert_near(factor, 0.1 * log(8) + 1, 1e-15);
  for (int i = 0; i < 64; i++) {
    const double ratio = slow[i] / plain[i], ramp = fmin(fmax((i - 15) / 17.0, 0), 1);
    assert_near(ratio, 1 - ramp + ramp / 8, 1e-14);
  }
  o.attention = 1;
  assert_int_equal(mica_rotary_frequencies(&o, 128, slow, &factor), MICA_OK);
  assert_true(factor == 1);
}

static void refused(mica_rotary_options o, mica_shape shape, mica_status status, const char *says) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  assert_true(mica_is_none(mica_rotary(t, mica_full(t, MICA_F32, shape, 1), MICA_NONE, &o)));
  assert_int_equal(mica_tape_status(t), status);
  if (!strstr(mica_tape_error(t), says)) fail_msg("%s", mica_tape_error(t));
  mica_tape_free(t);
}

static void test_refuses(void **state) {
  (void)state;
  mica_rotary_options o = MICA_ROTARY_OPTIONS;
  refused(o, MICA_SHAPE(1, 2, 4), MICA_ERR_SHAPE, "[N,L,h,d]");
  o.dim = 3;
  refused(o, MICA_SHAPE(1, 2, 1, 5), MICA_ERR_INVALID, "even");
  o.dim = 6;
  refused(o, MICA_SHAPE(1, 2, 1, 4), MICA_ERR_INVALID, "dim 6 of 4");
  o.dim = 0;
  o.base = 1;
  refused(o, MICA_SHAPE(1, 2, 1, 4), MICA_ERR_INVALID, "base 1");
  o.base = NAN;
  refused(o, MICA_SHAPE(1, 2, 1, 4), MICA_ERR_INVALID, "base");
  o = (mica_rotary_options)MICA_ROTARY_OPTIONS;
  o.layout = 2;
  refused(o, MICA_SHAPE(1, 2, 1, 4), MICA_ERR_INVALID, "layout 2");
  o.layout = 0;
  o.scaling = 3;
  refused(o, MICA_SHAPE(1, 2, 1, 4), MICA_ERR_INVALID, "scaling 3");
  o.scaling = MICA_ROTARY_LINEAR;
  o.factor = 0;
  refused(o, MICA_SHAPE(1, 2, 1, 4), MICA_ERR_INVALID, "factor 0");
  o.scaling = MICA_ROTARY_YARN;
  o.factor = 2;
  o.original = 0;
  refused(o, MICA_SHAPE(1, 2, 1, 4), MICA_ERR_INVALID, "original 0");
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_var x = mica_full(t, MICA_F32, MICA_SHAPE(2, 3, 1, 4), 1);
  mica_rotary(t, x, mica_full(t, MICA_I64, MICA_SHAPE(2), 1), NULL);
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  mica_tape_reset(t);
  x = mica_full(t, MICA_F32, MICA_SHAPE(2, 3, 1, 4), 1);
  mica_rotary(t, x, mica_full(t, MICA_F32, MICA_SHAPE(3), 1), NULL);
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  mica_tape_free(t);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rotary),
                                     cmocka_unit_test(test_frequencies),
                                     cmocka_unit_test(test_refuses)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
