/* Fourier transforms of any length, and convolutions by them, along one axis of [outer, n, inner].
 *
 * Lengths whose prime factors are 2, 3 and 5 are done by a Stockham transform of mixed radix;
 * others as a convolution of such a length (Bluestein 1970). A few columns are worked on at once,
 * side by side (`lanes`), and of real data twice as many: two real columns are the real and
 * imaginary part of one complex one. Plans are kept with the engine's other primitives.
 *
 * dtype is MICA_F32 or MICA_F64, and the arithmetic is of that type. Complex numbers are pairs.
 */
#ifndef MICA_TENSOR_KERNEL_FFT_H
#define MICA_TENSOR_KERNEL_FFT_H

#include <mica/engine.h>
#include <mica/tensor.h>

typedef enum mica_fft_kind {
  MICA_FFT_REAL, /* x real [outer, n, inner] -> y [outer, n / 2 + 1, inner] pairs */
  MICA_FFT_HALF, /* back: x pairs, y real; imaginary parts of a real spectrum's ends are not read */
  MICA_FFT_COMPLEX /* pairs to pairs */
} mica_fft_kind;

typedef struct mica_fft_args {
  mica_dtype dtype;
  mica_fft_kind kind;
  bool inverse; /* complex: exponents with a plus */
  int64_t outer, n, inner;
  double scale; /* of every result */
  double
      inner_scale; /* real and half: also of each pair that stands for two of the whole spectrum */
} mica_fft_args;

/* y is written, x kept; they do not overlap. n >= 1. MICA_ERR_MEMORY. */
mica_status mica_fft_run(const mica_engine *engine, const mica_fft_args *a, const void *x, void *y);

/* Convolution of each channel along the axis of x [items, length, channels] with its own taps
 * k [channels, taps]: y_t = sum_j k_j x_(t-j), x 0 before the first place, or going round. */
typedef struct mica_fft_convolution {
  mica_dtype dtype;
  bool circular; /* taps <= length then */
  int64_t items, length, channels, taps;
} mica_fft_convolution;

mica_status mica_fft_convolve(const mica_engine *engine, const mica_fft_convolution *c,
                              const void *x, const void *k, void *y);
/* gx and gk may be NULL. */
mica_status mica_fft_convolve_grad(const mica_engine *engine, const mica_fft_convolution *c,
                                   const void *x, const void *k, const void *gy, void *gx,
                                   void *gk);

/* ---- loops/fft.c ---- */

#define MICA_FFT_PASSES 64

typedef struct mica_fft_plan {
  int64_t n;
  int64_t m; /* the length of the passes: n, or Bluestein's */
  int passes, radix[MICA_FFT_PASSES];
  void *twiddle; /* pairs: of each pass, for each of its m blocks, the powers 1 .. radix - 1 */
  void *chirp;   /* Bluestein: n pairs e^(-i pi t^2 / n); NULL: none */
  void *filter;  /* m pairs, the spectrum of its inverse over m */
} mica_fft_plan;

/* Columns lie side by side: element t of lane l is at t lanes + l, real and imaginary parts apart.
 * offset[l] is where the lane's first element is, -1 for a lane that is not there; `step` leads to
 * its next one. */
typedef struct mica_fft_kernels {
  int64_t lanes;
  /* The forward transform in place; exchanging re and im makes it the inverse. `work`: 4 m lanes.
   */
  void (*transform)(const mica_fft_plan *p, void *re, void *im, void *work);
  /* `rows` elements of each lane, then zeros up to n. */
  void (*load)(int64_t rows, int64_t n, const int64_t *offset, int64_t step, const void *x,
               void *to);
  void (*store)(int64_t rows, const int64_t *offset, int64_t step, double scale, const void *from,
                void *y);
  /* The half spectra, pairs, of the 2 lanes real columns whose transform together this is; and the
   * transform from those. */
  void (*split)(int64_t n, const int64_t *offset, int64_t step, double scale, double inner_scale,
                const void *re, const void *im, void *y);
  void (*join)(int64_t n, const int64_t *offset, int64_t step, double scale, double inner_scale,
               const void *x, void *re, void *im);
  /* a *= b, or conj(b); sum += a conj(b): n lanes elements */
  void (*multiply)(int64_t n, bool conjugate, void *a_re, void *a_im, const void *b_re,
                   const void *b_im);
  void (*add_product)(int64_t n, const void *a_re, const void *a_im, const void *b_re,
                      const void *b_im, void *sum_re, void *sum_im);
  /* sum += a, 2 n lanes elements */
  void (*add)(int64_t n, const void *a, void *sum);
} mica_fft_kernels;

#endif
