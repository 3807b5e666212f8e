/* scan.c: linear recurrences and running sums; the innermost loop runs over columns. */
#include "tensor/kernel/scan.h"

#include "loop.h"

/* y = a x + b over n columns; conjugate: conj(a) x + b. b may be NULL. */
static void multiply_add(bool complex, bool conjugate, int64_t n, const real *a, const real *x,
                         const real *b, real *y) {
  if (!complex) {
    if (b) {
      SIMD for (int64_t c = 0; c < n; c++) y[c] = a[c] * x[c] + b[c];
    } else {
      SIMD for (int64_t c = 0; c < n; c++) y[c] = a[c] * x[c];
    }
    return;
  }
  const real sign = conjugate ? (real)-1 : (real)1;
  for (int64_t c = 0; c < n; c += 2) {
    const real im = sign * a[c + 1], base_re = b ? b[c] : 0, base_im = b ? b[c + 1] : 0;
    const real re = a[c] * x[c] - im * x[c + 1];
    y[c + 1] = a[c] * x[c + 1] + im * x[c] + base_im;
    y[c] = re + base_re;
  }
}

static void set_row(int64_t n, const real *x, real *y) {
  if (x)
    memcpy(y, x, (size_t)n * sizeof(real));
  else
    memset(y, 0, (size_t)n * sizeof(real));
}

/* Step i of the walk is this step of the axis. */
static int64_t place(const mica_scan *s, int64_t i) {
  return s->reverse ? s->length - 1 - i : i;
}

static void recurrence(const mica_scan *s, const void *va, const void *vb, const void *h0, void *vh,
                       void *last) {
  const real *a = va, *b = vb, *before = h0;
  real *h = vh;
  for (int64_t i = 0; i < s->length; i++) {
    const int64_t t = place(s, i);
    real *now = h + t * s->step;
    if (before)
      multiply_add(s->complex, false, s->columns, a + t * s->a_step, before, b + t * s->step, now);
    else
      set_row(s->columns, b + t * s->step, now);
    before = now;
  }
  if (last) set_row(s->columns, before, last);
}

/* acc += g conj(h) */
static void add_product(bool complex, int64_t n, const real *g, const real *h, double *acc) {
  if (!complex) {
    SIMD for (int64_t c = 0; c < n; c++) acc[c] += (double)g[c] * (double)h[c];
    return;
  }
  for (int64_t c = 0; c < n; c += 2) {
    acc[c] += (double)g[c] * (double)h[c] + (double)g[c + 1] * (double)h[c + 1];
    acc[c + 1] += (double)g[c + 1] * (double)h[c] - (double)g[c] * (double)h[c + 1];
  }
}

static void recurrence_grad(const mica_scan *s, const mica_scan_gradient *j) {
  const real *a = j->a, *h = j->h, *gh = j->gh;
  real *gb = j->gb, *ga = j->ga;
  const real *after = NULL; /* the gradient of the step behind, and its factor */
  const real *factor = NULL;
  if (j->shared) memset(j->shared, 0, (size_t)s->columns * sizeof(double));
  for (int64_t i = s->length; i-- > 0;) {
    const int64_t t = place(s, i);
    real *g = gb + t * s->step;
    const real *own = gh ? gh + t * s->step : NULL;
    if (after) {
      multiply_add(s->complex, true, s->columns, factor, after, own, g);
    } else {
      set_row(s->columns, j->glast, g);
      if (own) {
        SIMD for (int64_t c = 0; c < s->columns; c++) g[c] += own[c];
      }
    }
    const real *before = i ? h + place(s, i - 1) * s->step : j->h0;
    if (ga && before)
      multiply_add(s->complex, true, s->columns, before, g, NULL, ga + t * s->step);
    else if (ga)
      set_row(s->columns, NULL, ga + t * s->step);
    if (j->shared && before) add_product(s->complex, s->columns, g, before, j->shared);
    after = g;
    factor = a + t * s->a_step;
  }
  if (!j->gh0) return;
  if (after)
    multiply_add(s->complex, true, s->columns, factor, after, NULL, j->gh0);
  else
    set_row(s->columns, j->glast, j->gh0);
}

static void cumsum(const mica_scan *s, bool exclusive, const void *vx, void *vy) {
  double sum[BLOCK];
  for (int64_t c = 0; c < s->columns; c += BLOCK) {
    const int64_t n = smaller(BLOCK, s->columns - c);
    memset(sum, 0, sizeof sum);
    for (int64_t i = 0; i < s->length; i++) {
      const int64_t at = place(s, i) * s->step + c;
      const real *x = (const real *)vx + at;
      real *y = (real *)vy + at;
      if (exclusive) {
        for (int64_t k = 0; k < n; k++) {
          const double before = sum[k];
          sum[k] += (double)x[k];
          y[k] = (real)before;
        }
      } else {
        SIMD for (int64_t k = 0; k < n; k++) {
          sum[k] += (double)x[k];
          y[k] = (real)sum[k];
        }
      }
    }
  }
}

const mica_scan_kernels MICA_KERNEL(scan) = {recurrence, recurrence_grad, cumsum};
