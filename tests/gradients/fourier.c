/* Cases: Fourier transforms and long convolutions. */
#include "gradients/gradients.h"

/* clang-format off */
#define RUN(name, ...)                                                                             \
  static mica_var run_##name(mica_tape *t, const mica_var *in) { return __VA_ARGS__; }
#define B 2e-5
#define IN(...) { MICA_SHAPE(__VA_ARGS__), -1, 1, 0, false }
#define FIX(...) { MICA_SHAPE(__VA_ARGS__), -1, 1, 0, true }
#define CASE(op, what, n, ...) { #op, what, n, { __VA_ARGS__ }, run_##op, B, false, false }
#define WITH(op, run, what, n, ...) { #op, what, n, { __VA_ARGS__ }, run_##run, B, false, false }
/* clang-format on */

RUN(fft, mica_fft(t, in[0], -1, MICA_FFT_BACKWARD))
RUN(fft_middle, mica_fft(t, in[0], 1, MICA_FFT_ORTHO))
RUN(ifft, mica_ifft(t, in[0], -1, MICA_FFT_BACKWARD))
RUN(ifft_middle, mica_ifft(t, in[0], 1, MICA_FFT_FORWARD))
RUN(rfft, mica_rfft(t, in[0], -1, MICA_FFT_BACKWARD))
RUN(rfft_middle, mica_rfft(t, in[0], 1, MICA_FFT_ORTHO))
RUN(rfft_forward, mica_rfft(t, in[0], 0, MICA_FFT_FORWARD))
RUN(irfft, mica_irfft(t, in[0], -1, 2 * mica_dim(t, in[0], -2) - 2, MICA_FFT_FORWARD))
RUN(irfft_odd, mica_irfft(t, in[0], -1, 2 * mica_dim(t, in[0], -2) - 1, MICA_FFT_BACKWARD))
RUN(irfft_middle, mica_irfft(t, in[0], 1, 2 * mica_dim(t, in[0], 1) - 1, MICA_FFT_ORTHO))
RUN(rfft2, mica_rfft2(t, in[0], MICA_FFT_BACKWARD))
RUN(irfft2, mica_irfft2(t, in[0], 2 * mica_dim(t, in[0], 2) - 2, MICA_FFT_ORTHO))
RUN(irfft2_odd, mica_irfft2(t, in[0], 2 * mica_dim(t, in[0], 2) - 1, MICA_FFT_BACKWARD))
/* The smallest half spectrum has one real number in it; one element alone cannot be a pair. */
RUN(pair_of_one, mica_fft(t, mica_stack(t, 2, (mica_var[]){in[0], in[0]}, 1), 0, MICA_FFT_BACKWARD))
RUN(inverse_pair_of_one,
    mica_ifft(t, mica_stack(t, 2, (mica_var[]){in[0], in[0]}, 1), 0, MICA_FFT_BACKWARD))
RUN(half_of_one,
    mica_irfft(t, mica_stack(t, 2, (mica_var[]){in[0], in[0]}, 1), 0, 1, MICA_FFT_BACKWARD))
RUN(half2_of_one,
    mica_irfft2(t, mica_stack(t, 2, (mica_var[]){in[0], in[0]}, 4), 1, MICA_FFT_ORTHO))

static mica_var convolution(mica_tape *t, const mica_var *in, bool circular, int64_t direct) {
  mica_long_convolution_options o = MICA_LONG_CONVOLUTION_OPTIONS;
  o.circular = circular;
  o.direct = direct;
  return mica_long_convolution(t, in[0], in[1], &o);
}
RUN(long_convolution, mica_long_convolution(t, in[0], in[1], NULL))
RUN(causal, convolution(t, in, false, 0))
RUN(circular, convolution(t, in, true, 0))
RUN(circular_direct, convolution(t, in, true, 100))

/* clang-format off */
static const gradient_case cases[] = {
    CASE(fft, "", 1, IN(2, 8, 2)), CASE(fft, "odd", 1, IN(2, 15, 2)), CASE(fft, "prime", 1, IN(3, 7, 2)),
    WITH(fft, fft_middle, "middle", 1, IN(2, 6, 3, 2)), CASE(fft, "none", 1, IN(0, 4, 2)),
    WITH(fft, pair_of_one, "one", 1, IN(1)), WITH(fft, fft_middle, "large", 1, IN(3, 60, 40, 2)),
    CASE(fft, "long", 1, IN(2, 2048, 2)), CASE(fft, "long prime", 1, IN(2, 1031, 2)),
    CASE(ifft, "", 1, IN(2, 10, 2)), CASE(ifft, "prime", 1, IN(2, 11, 2)),
    WITH(ifft, ifft_middle, "middle", 1, IN(2, 9, 2, 2)), CASE(ifft, "none", 1, IN(0, 4, 2)),
    WITH(ifft, inverse_pair_of_one, "one", 1, IN(1)),
    CASE(rfft, "", 1, IN(3, 8)), CASE(rfft, "odd", 1, IN(3, 9)), CASE(rfft, "prime", 1, IN(1, 13)),
    CASE(rfft, "one", 1, IN(1, 1)), CASE(rfft, "two", 1, IN(5, 2)), CASE(rfft, "none", 1, IN(0, 4)),
    WITH(rfft, rfft_middle, "middle", 1, IN(2, 6, 3)), WITH(rfft, rfft_forward, "first", 1, IN(12, 2)),
    WITH(rfft, rfft_middle, "large", 1, IN(3, 50, 70)), CASE(rfft, "long", 1, IN(40, 500)),
    CASE(irfft, "", 1, IN(3, 5, 2)), WITH(irfft, irfft_odd, "odd", 1, IN(3, 5, 2)),
    WITH(irfft, irfft_odd, "prime", 1, IN(2, 4, 2)), WITH(irfft, half_of_one, "one", 1, IN(1)),
    CASE(irfft, "none", 1, IN(0, 3, 2)), WITH(irfft, irfft_middle, "middle", 1, IN(2, 4, 3, 2)),
    WITH(irfft, irfft_middle, "large", 1, IN(2, 33, 40, 2)),
    CASE(rfft2, "", 1, IN(2, 4, 6, 1)), CASE(rfft2, "odd", 1, IN(1, 3, 5, 2)),
    CASE(rfft2, "one", 1, IN(1, 1, 1, 1)), CASE(rfft2, "none", 1, IN(0, 3, 2, 2)),
    CASE(irfft2, "", 1, IN(1, 4, 3, 2, 2)), WITH(irfft2, irfft2_odd, "odd", 1, IN(1, 3, 3, 2, 2)),
    WITH(irfft2, half2_of_one, "one", 1, IN(1, 1, 1, 1)), CASE(irfft2, "none", 1, IN(0, 3, 2, 2, 2)),

    CASE(long_convolution, "direct", 2, IN(2, 6, 3), IN(3, 4)), CASE(long_convolution, "one", 2, IN(1, 1, 1), IN(1, 1)),
    CASE(long_convolution, "none", 2, IN(0, 4, 2), IN(2, 3)), CASE(long_convolution, "no channels", 2, IN(2, 4, 0), IN(0, 3)),
    CASE(long_convolution, "no places", 2, IN(2, 0, 3), IN(3, 2)), CASE(long_convolution, "no taps", 2, IN(2, 4, 3), IN(3, 0)),
    WITH(long_convolution, causal, "causal", 2, IN(3, 6, 3), IN(3, 4)),
    WITH(long_convolution, causal, "one, transformed", 2, IN(1, 1, 1), IN(1, 1)),
    WITH(long_convolution, causal, "more taps than places", 2, IN(2, 4, 2), IN(2, 7)),
    WITH(long_convolution, circular, "circular", 2, IN(2, 7, 3), IN(3, 7)),
    WITH(long_convolution, circular_direct, "circular, direct", 2, IN(2, 6, 3), IN(3, 4)),
    WITH(long_convolution, causal, "input alone", 2, IN(2, 5, 2), FIX(2, 5)),
    WITH(long_convolution, causal, "taps alone", 2, FIX(2, 5, 2), IN(2, 5)),
    WITH(long_convolution, causal, "large", 2, IN(5, 90, 21), IN(21, 90)),
    WITH(long_convolution, circular, "large, circular", 2, IN(5, 97, 3), IN(3, 60)),
};
/* clang-format on */
FAMILY(fourier);
