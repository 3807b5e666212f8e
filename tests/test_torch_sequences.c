/* Agreement with PyTorch: running sums and linear recurrences. */
#include "support/golden.h"

#include <mica/ops.h>

#include <string.h>

static mica_engine *engine;

#define RUN(name, ...)                                                                             \
  static mica_var name(golden_case *b) {                                                           \
    mica_tape *t = b->t;                                                                           \
    return __VA_ARGS__;                                                                            \
  }
#define X golden_leaf(b, "x")
#define Z golden_leaf(b, "z")

RUN(cumsum, mica_cumsum(t, X, 1, false, false))
RUN(cumsum_exclusive_reverse, mica_cumsum(t, X, 1, true, true))
RUN(cumprod, mica_cumprod(t, X, 1, false))
RUN(cumprod_reverse, mica_cumprod(t, X, -2, true))

static mica_var scan(golden_case *b, bool start, bool reverse, bool complex) {
  mica_recurrence_options o = MICA_RECURRENCE_OPTIONS;
  o.reverse = reverse;
  o.complex = complex;
  mica_var x = X, z = Z, h0 = start ? golden_leaf(b, "h") : MICA_NONE, y[2];
  y[0] = mica_linear_recurrence(b->t, x, z, h0, &o, &y[1]);
  for (int i = 0; i < 2; i++) y[i] = mica_flatten(b->t, y[i], 0);
  return mica_concat(b->t, 2, y, 0);
}
static mica_var recurrence(golden_case *b) {
  return scan(b, false, false, false);
}
static mica_var recurrence_reverse(golden_case *b) {
  return scan(b, true, true, false);
}
static mica_var recurrence_shared(golden_case *b) {
  return scan(b, true, false, false);
}
static mica_var recurrence_complex(golden_case *b) {
  return scan(b, true, false, true);
}

#define CASE(name)                                                                                 \
  { #name, name }
static const golden_operation cases[] = {
    CASE(cumsum),
    CASE(cumsum_exclusive_reverse),
    CASE(cumprod),
    CASE(cumprod_reverse),
    CASE(recurrence),
    CASE(recurrence_reverse),
    CASE(recurrence_shared),
    CASE(recurrence_complex),
};

static void test_sequences(void **state) {
  (void)state;
  mica_archive *archive = golden_open(GOLDEN_FOLDER "sequences.safetensors");
  int stored = 0;
  for (int64_t i = 0; i < mica_archive_count(archive); i++) {
    const char *name = mica_archive_name(archive, i);
    stored += strcmp(name + strlen(name) - 2, ".y") == 0;
  }
  assert_int_equal(stored, sizeof cases / sizeof *cases);
  assert_int_equal(golden_run(engine, archive, cases, sizeof cases / sizeof *cases), 0);
  mica_archive_close(archive);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sequences)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
