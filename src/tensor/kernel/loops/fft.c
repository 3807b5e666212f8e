/* fft.c: the passes of a Fourier transform (Stockham, decimation in frequency); every innermost
 * loop runs over neighbouring lanes, and over more of memory the later the pass. */
#include "tensor/kernel/fft.h"

#include "loop.h"

enum { LANES = 64 / sizeof(real) };

typedef struct part {
  const real *xr, *xi;
  real *yr, *yi;
} part;

/* ---- one block: r values a run of `len` apart in x by `in`, results in y by len ---- */

#define STORE(k, re_value, im_value)                                                               \
  do {                                                                                             \
    const real re_ = (re_value), im_ = (im_value), wr_ = w[2 * (k)-2], wi_ = w[2 * (k)-1];         \
    p.yr[(k)*len + i] = re_ * wr_ - im_ * wi_;                                                     \
    p.yi[(k)*len + i] = re_ * wi_ + im_ * wr_;                                                     \
  } while (0)

static void radix2(part p, int64_t len, int64_t in, const real *w) {
  SIMD for (int64_t i = 0; i < len; i++) {
    const real ar = p.xr[i], ai = p.xi[i], br = p.xr[in + i], bi = p.xi[in + i];
    p.yr[i] = ar + br;
    p.yi[i] = ai + bi;
    STORE(1, ar - br, ai - bi);
  }
}

static void radix3(part p, int64_t len, int64_t in, const real *w) {
  const real sine = (real)0.86602540378443864676, half = (real)0.5;
  SIMD for (int64_t i = 0; i < len; i++) {
    const real tr = p.xr[in + i] + p.xr[2 * in + i], ti = p.xi[in + i] + p.xi[2 * in + i];
    const real dr = sine * (p.xr[in + i] - p.xr[2 * in + i]);
    const real di = sine * (p.xi[in + i] - p.xi[2 * in + i]);
    const real mr = p.xr[i] - half * tr, mi = p.xi[i] - half * ti;
    p.yr[i] = p.xr[i] + tr;
    p.yi[i] = p.xi[i] + ti;
    STORE(1, mr + di, mi - dr);
    STORE(2, mr - di, mi + dr);
  }
}

static void radix4(part p, int64_t len, int64_t in, const real *w) {
  SIMD for (int64_t i = 0; i < len; i++) {
    const real ar = p.xr[i] + p.xr[2 * in + i], ai = p.xi[i] + p.xi[2 * in + i];
    const real br = p.xr[i] - p.xr[2 * in + i], bi = p.xi[i] - p.xi[2 * in + i];
    const real cr = p.xr[in + i] + p.xr[3 * in + i], ci = p.xi[in + i] + p.xi[3 * in + i];
    const real dr = p.xr[in + i] - p.xr[3 * in + i], di = p.xi[in + i] - p.xi[3 * in + i];
    p.yr[i] = ar + cr;
    p.yi[i] = ai + ci;
    STORE(1, br + di, bi - dr);
    STORE(2, ar - cr, ai - ci);
    STORE(3, br - di, bi + dr);
  }
}

static void radix5(part p, int64_t len, int64_t in, const real *w) {
  const real c1 = (real)0.30901699437494742410, c2 = (real)-0.80901699437494742410;
  const real s1 = (real)0.95105651629515357212, s2 = (real)0.58778525229247312917;
  SIMD for (int64_t i = 0; i < len; i++) {
    const real ar = p.xr[in + i] + p.xr[4 * in + i], ai = p.xi[in + i] + p.xi[4 * in + i];
    const real br = p.xr[2 * in + i] + p.xr[3 * in + i], bi = p.xi[2 * in + i] + p.xi[3 * in + i];
    const real dr = p.xr[in + i] - p.xr[4 * in + i], di = p.xi[in + i] - p.xi[4 * in + i];
    const real er = p.xr[2 * in + i] - p.xr[3 * in + i], ei = p.xi[2 * in + i] - p.xi[3 * in + i];
    const real mr = p.xr[i] + c1 * ar + c2 * br, mi = p.xi[i] + c1 * ai + c2 * bi;
    const real nr = p.xr[i] + c2 * ar + c1 * br, ni = p.xi[i] + c2 * ai + c1 * bi;
    const real ur = s1 * dr + s2 * er, ui = s1 * di + s2 * ei;
    const real vr = s2 * dr - s1 * er, vi = s2 * di - s1 * ei;
    p.yr[i] = p.xr[i] + ar + br;
    p.yi[i] = p.xi[i] + ai + bi;
    STORE(1, mr + ui, mi - ur);
    STORE(2, nr + vi, ni - vr);
    STORE(3, nr - vi, ni + vr);
    STORE(4, mr - ui, mi + ur);
  }
}

/* The passes on arrays of p->m rows; work has as many rows again, twice. */
static void passes(const mica_fft_plan *p, real *re, real *im, real *work) {
  real *xr = re, *xi = im, *yr = work, *yi = work + p->m * LANES;
  const real *w = p->twiddle;
  int64_t stride = 1, left = p->m;
  for (int k = 0; k < p->passes; k++) {
    const int r = p->radix[k];
    const int64_t blocks = left / r, len = stride * LANES, in = blocks * len;
    for (int64_t b = 0; b < blocks; b++, w += 2 * (r - 1)) {
      const part at = {xr + b * len, xi + b * len, yr + b * r * len, yi + b * r * len};
      if (r == 2)
        radix2(at, len, in, w);
      else if (r == 3)
        radix3(at, len, in, w);
      else if (r == 4)
        radix4(at, len, in, w);
      else
        radix5(at, len, in, w);
    }
    real *turn = xr;
    xr = yr, yr = turn;
    turn = xi;
    xi = yi, yi = turn;
    stride *= r;
    left = blocks;
  }
  if (xr == re) return;
  memcpy(re, xr, (size_t)(p->m * LANES) * sizeof(real));
  memcpy(im, xi, (size_t)(p->m * LANES) * sizeof(real));
}

/* (yr, yi)[t] = w[t] (xr, xi)[t], one factor for all lanes of a row. */
static void scale_rows(int64_t rows, const real *w, const real *xr, const real *xi, real *yr,
                       real *yi) {
  for (int64_t t = 0; t < rows; t++) {
    const real wr = w[2 * t], wi = w[2 * t + 1];
    SIMD for (int64_t l = 0; l < LANES; l++) {
      const real re = xr[t * LANES + l], im = xi[t * LANES + l];
      yr[t * LANES + l] = re * wr - im * wi;
      yi[t * LANES + l] = re * wi + im * wr;
    }
  }
}

static void transform(const mica_fft_plan *p, void *vre, void *vim, void *vwork) {
  real *re = vre, *im = vim, *work = vwork;
  if (!p->chirp) {
    passes(p, re, im, work);
    return;
  }
  const int64_t size = p->m * LANES;
  real *ar = work + 2 * size, *ai = ar + size;
  const size_t rest = (size_t)((p->m - p->n) * LANES) * sizeof(real);
  scale_rows(p->n, p->chirp, re, im, ar, ai);
  memset(ar + p->n * LANES, 0, rest);
  memset(ai + p->n * LANES, 0, rest);
  passes(p, ar, ai, work);
  scale_rows(p->m, p->filter, ar, ai, ar, ai);
  passes(p, ai, ar, work);
  scale_rows(p->n, p->chirp, ar, ai, re, im);
}

/* ---- in and out ---- */

/* All lanes are there, side by side. */
static bool neighbours(const int64_t *offset) {
  for (int64_t l = 0; l < LANES; l++)
    if (offset[l] != offset[0] + l) return false;
  return offset[0] >= 0;
}

static void load(int64_t rows, int64_t n, const int64_t *offset, int64_t step, const void *vx,
                 void *vto) {
  const real *x = vx;
  real *to = vto;
  if (neighbours(offset)) {
    for (int64_t t = 0; t < rows; t++)
      memcpy(to + t * LANES, x + offset[0] + t * step, LANES * sizeof(real));
  } else {
    for (int64_t l = 0; l < LANES; l++)
      for (int64_t t = 0; t < rows; t++)
        to[t * LANES + l] = offset[l] < 0 ? 0 : x[offset[l] + t * step];
  }
  memset(to + rows * LANES, 0, (size_t)((n - rows) * LANES) * sizeof(real));
}

static void store(int64_t rows, const int64_t *offset, int64_t step, double scale,
                  const void *vfrom, void *vy) {
  const real *from = vfrom, factor = (real)scale;
  real *y = vy;
  if (neighbours(offset)) {
    for (int64_t t = 0; t < rows; t++) {
      real *to = y + offset[0] + t * step;
      SIMD for (int64_t l = 0; l < LANES; l++) to[l] = from[t * LANES + l] * factor;
    }
    return;
  }
  for (int64_t l = 0; l < LANES; l++)
    for (int64_t t = 0; t < rows && offset[l] >= 0; t++)
      y[offset[l] + t * step] = from[t * LANES + l] * factor;
}

/* Pair k of n stands for two places of the whole spectrum, k and n - k. */
static bool inside(int64_t n, int64_t k) {
  return k > 0 && 2 * k < n;
}

/* With X = A + i B of real a and b: A_k = (X_k + conj X_(n-k)) / 2, B_k = (X_k - conj X_(n-k)) /
 * 2i.
 */
static void split(int64_t n, const int64_t *offset, int64_t step, double scale, double inner_scale,
                  const void *vre, const void *vim, void *vy) {
  const real *re = vre, *im = vim;
  real *y = vy;
  for (int64_t k = 0; k <= n / 2; k++) {
    const real s = (real)((inside(n, k) ? scale * inner_scale : scale) / 2);
    const int64_t other = k ? n - k : 0;
    for (int64_t l = 0; l < LANES; l++) {
      const real xr = re[k * LANES + l], xi = im[k * LANES + l];
      const real zr = re[other * LANES + l], zi = im[other * LANES + l];
      const int64_t a = offset[l], b = offset[LANES + l];
      if (a >= 0) {
        y[a + k * step] = s * (xr + zr);
        y[a + k * step + 1] = s * (xi - zi);
      }
      if (b >= 0) {
        y[b + k * step] = s * (xi + zi);
        y[b + k * step + 1] = s * (zr - xr);
      }
    }
  }
}

static void join(int64_t n, const int64_t *offset, int64_t step, double scale, double inner_scale,
                 const void *vx, void *vre, void *vim) {
  const real *x = vx;
  real *re = vre, *im = vim;
  for (int64_t k = 0; k <= n / 2; k++) {
    const bool two = inside(n, k);
    const real s = (real)(two ? scale * inner_scale : scale);
    for (int64_t l = 0; l < LANES; l++) {
      const int64_t a = offset[l], b = offset[LANES + l];
      const real ar = a >= 0 ? s * x[a + k * step] : 0, br = b >= 0 ? s * x[b + k * step] : 0;
      const real ai = a >= 0 && two ? s * x[a + k * step + 1] : 0;
      const real bi = b >= 0 && two ? s * x[b + k * step + 1] : 0;
      re[k * LANES + l] = ar - bi;
      im[k * LANES + l] = ai + br;
      if (!two) continue;
      re[(n - k) * LANES + l] = ar + bi;
      im[(n - k) * LANES + l] = br - ai;
    }
  }
}

/* ---- spectra ---- */

static void multiply(int64_t n, bool conjugate, void *a_re, void *a_im, const void *b_re,
                     const void *b_im) {
  real *ar = a_re, *ai = a_im;
  const real *br = b_re, *bi = b_im, sign = conjugate ? (real)-1 : (real)1;
  SIMD for (int64_t i = 0; i < n * LANES; i++) {
    const real re = ar[i], im = ai[i], wi = sign * bi[i];
    ar[i] = re * br[i] - im * wi;
    ai[i] = re * wi + im * br[i];
  }
}

static void add_product(int64_t n, const void *a_re, const void *a_im, const void *b_re,
                        const void *b_im, void *sum_re, void *sum_im) {
  const real *ar = a_re, *ai = a_im, *br = b_re, *bi = b_im;
  real *sr = sum_re, *si = sum_im;
  SIMD for (int64_t i = 0; i < n * LANES; i++) {
    sr[i] += ar[i] * br[i] + ai[i] * bi[i];
    si[i] += ai[i] * br[i] - ar[i] * bi[i];
  }
}

static void add(int64_t n, const void *va, void *vsum) {
  const real *a = va;
  real *sum = vsum;
  SIMD for (int64_t i = 0; i < 2 * n * LANES; i++) sum[i] += a[i];
}

const mica_fft_kernels MICA_KERNEL(fft) = {LANES, transform, load,        store, split,
                                           join,  multiply,  add_product, add};
