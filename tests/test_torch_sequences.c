/* Agreement with PyTorch: running sums, linear recurrences, Fourier transforms, and long
 * convolutions by both ways. */
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

RUN(rfft, mica_rfft(t, X, 1, MICA_FFT_BACKWARD))
#define IRFFT(n) RUN(irfft_##n, mica_irfft(t, X, 1, n, MICA_FFT_ORTHO))
IRFFT(1)
IRFFT(2)
IRFFT(12)
IRFFT(15)
IRFFT(49)
IRFFT(64)
RUN(fft, mica_fft(t, X, 1, MICA_FFT_FORWARD))
RUN(ifft, mica_ifft(t, X, -1, MICA_FFT_BACKWARD))
RUN(rfft2, mica_rfft2(t, X, MICA_FFT_ORTHO))
RUN(irfft2, mica_irfft2(t, X, 5, MICA_FFT_BACKWARD))

static bool by_transforms;
static mica_var convolution(golden_case *b, bool circular) {
  mica_long_convolution_options o = MICA_LONG_CONVOLUTION_OPTIONS;
  mica_var x = X;
  o.circular = circular;
  if (by_transforms) o.direct = 0;
  return mica_long_convolution(b->t, x, golden_leaf(b, "k"), &o);
}
static mica_var causal(golden_case *b) {
  return convolution(b, false);
}
static mica_var circular(golden_case *b) {
  return convolution(b, true);
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
    {"rfft_1", rfft},
    {"rfft_2", rfft},
    {"rfft_12", rfft},
    {"rfft_15", rfft},
    {"rfft_49", rfft},
    {"rfft_64", rfft},
    CASE(irfft_1),
    CASE(irfft_2),
    CASE(irfft_12),
    CASE(irfft_15),
    CASE(irfft_49),
    CASE(irfft_64),
    CASE(fft),
    CASE(ifft),
    CASE(rfft2),
    CASE(irfft2),
    {"convolution_causal", causal},
    {"convolution_causal_beyond", causal},
    {"convolution_circular", circular},
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
  for (int way = 0; way < 2; way++) {
    by_transforms = way;
    assert_int_equal(golden_run(engine, archive, cases, sizeof cases / sizeof *cases), 0);
  }
  mica_archive_close(archive);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sequences)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
