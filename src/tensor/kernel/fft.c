#include "tensor/kernel/fft.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#define PI        3.14159265358979323846
#define LANES_MAX 16

/* ---- plans ---- */

static void plan_free(void *object) {
  mica_fft_plan *p = object;
  if (!p) return;
  mica_free_aligned(p->twiddle);
  mica_free_aligned(p->chirp);
  mica_free_aligned(p->filter);
  mica_free(p);
}

/* The passes of a length; 0 when it has other prime factors. */
static int radices(int64_t n, int *radix) {
  static const int known[] = {4, 2, 3, 5};
  int passes = 0;
  for (int i = 0; i < 4; i++)
    while (n % known[i] == 0 && passes < MICA_FFT_PASSES) {
      radix[passes++] = known[i];
      n /= known[i];
    }
  return n == 1 ? passes : 0;
}

/* The least length from n on that needs no detour. */
static int64_t smooth_from(int64_t n) {
  int radix[MICA_FFT_PASSES];
  while (n > 1 && !radices(n, radix)) n++;
  return n;
}

static void set_pair(mica_dtype dtype, void *pairs, int64_t i, double re, double im) {
  if (dtype == MICA_F32) {
    ((float *)pairs)[2 * i] = (float)re;
    ((float *)pairs)[2 * i + 1] = (float)im;
  } else {
    ((double *)pairs)[2 * i] = re;
    ((double *)pairs)[2 * i + 1] = im;
  }
}

static void *pairs_new(mica_dtype dtype, int64_t n) {
  return mica_malloc_aligned((size_t)(n > 0 ? n : 1) * 2 * mica_dtype_size(dtype));
}

static bool make_twiddles(mica_dtype dtype, mica_fft_plan *p) {
  int64_t count = 0, left = p->m, at = 0;
  for (int k = 0; k < p->passes; k++) {
    left /= p->radix[k];
    count += left * (p->radix[k] - 1);
  }
  p->twiddle = pairs_new(dtype, count);
  if (!p->twiddle) return false;
  left = p->m;
  for (int k = 0; k < p->passes; k++) {
    const int64_t length = left;
    left /= p->radix[k];
    for (int64_t b = 0; b < left; b++)
      for (int power = 1; power < p->radix[k]; power++) {
        const double angle = -2 * PI * (double)(b * power) / (double)length;
        set_pair(dtype, p->twiddle, at++, cos(angle), sin(angle));
      }
  }
  return true;
}

static mica_fft_plan *plan_new(const mica_engine *engine, mica_dtype dtype, int64_t n);

/* The spectrum of the filter is had in float64 whatever the type. */
static bool make_chirp(const mica_engine *engine, mica_dtype dtype, mica_fft_plan *p) {
  const mica_fft_kernels *k = mica_kernels_of(engine, MICA_F64)->fft;
  const int64_t n = p->n, m = p->m, size = m * k->lanes;
  mica_fft_plan *whole = plan_new(engine, MICA_F64, m);
  double *re = mica_workspace_acquire(engine, (size_t)(6 * size) * sizeof *re);
  p->chirp = pairs_new(dtype, n);
  p->filter = pairs_new(dtype, m);
  const bool made = whole && re && p->chirp && p->filter;
  if (made) {
    double *im = re + size;
    memset(re, 0, (size_t)(2 * size) * sizeof *re);
    int64_t square = 0; /* t^2 without whole turns, before they cost digits */
    for (int64_t t = 0; t < n; square = (square + 2 * t + 1) % (2 * n), t++) {
      const double angle = PI * (double)square / (double)n, c = cos(angle), s = sin(angle);
      set_pair(dtype, p->chirp, t, c, -s);
      re[t * k->lanes] = c;
      im[t * k->lanes] = s;
      if (!t) continue;
      re[(m - t) * k->lanes] = c;
      im[(m - t) * k->lanes] = s;
    }
    k->transform(whole, re, im, im + size);
    for (int64_t i = 0; i < m; i++)
      set_pair(dtype, p->filter, i, re[i * k->lanes] / (double)m, im[i * k->lanes] / (double)m);
  }
  mica_workspace_release(engine, re);
  plan_free(whole);
  return made;
}

static mica_fft_plan *plan_new(const mica_engine *engine, mica_dtype dtype, int64_t n) {
  mica_fft_plan *p = mica_calloc(1, sizeof *p);
  if (!p) return NULL;
  p->n = p->m = n;
  p->passes = radices(n, p->radix);
  const bool direct = n == 1 || p->passes;
  if (!direct) {
    p->m = smooth_from(2 * n - 1);
    p->passes = radices(p->m, p->radix);
  }
  if (make_twiddles(dtype, p) && (direct || make_chirp(engine, dtype, p))) return p;
  plan_free(p);
  return NULL;
}

typedef struct plan_key {
  char what[8];
  int64_t n;
  int64_t dtype;
} plan_key;

static plan_key key_of(mica_dtype dtype, int64_t n) {
  plan_key key;
  memset(&key, 0, sizeof key);
  memcpy(key.what, "fft", 3);
  key.n = n;
  key.dtype = dtype;
  return key;
}

static mica_status plan_take(const mica_engine *engine, mica_dtype dtype, int64_t n,
                             mica_fft_plan **out) {
  const plan_key key = key_of(dtype, n);
  void *kept;
  const mica_status status = mica_primitive_take(engine, &key, sizeof key, &kept);
  if (status != MICA_OK) return status;
  *out = kept ? kept : plan_new(engine, dtype, n);
  return *out ? MICA_OK : MICA_ERR_MEMORY;
}

static void plan_put(const mica_engine *engine, mica_dtype dtype, mica_fft_plan *p) {
  const plan_key key = key_of(dtype, p->n);
  mica_primitive_put(engine, &key, sizeof key, p, plan_free);
}

/* ---- transforms ---- */

typedef struct fft_job {
  const mica_engine *engine;
  const mica_fft_args *a;
  const mica_fft_kernels *k;
  const mica_fft_plan *plan;
  int64_t group; /* columns of one task */
  const char *x;
  char *y;
  atomic_bool failed;
} fft_job;

/* Where columns first, first + 1, .. begin in [outer, rows, inner] elements of `width` numbers. */
static void offsets(int64_t first, int64_t count, int64_t columns, int64_t rows, int64_t inner,
                    int64_t width, int64_t *offset) {
  for (int64_t l = 0; l < count; l++) {
    const int64_t c = first + l;
    offset[l] = c < columns ? (c / inner * rows * inner + c % inner) * width : -1;
  }
}

static void fft_range(void *ctx, int64_t begin, int64_t end) {
  fft_job *j = ctx;
  const mica_fft_args *a = j->a;
  const mica_fft_kernels *k = j->k;
  const size_t size = mica_dtype_size(a->dtype);
  const int64_t n = a->n, half = n / 2 + 1, columns = a->outer * a->inner, lanes = k->lanes;
  char *re = mica_workspace_acquire(j->engine, (size_t)((2 * n + 4 * j->plan->m) * lanes) * size);
  if (!re) {
    atomic_store(&j->failed, true);
    return;
  }
  char *im = re + (size_t)(n * lanes) * size, *work = im + (size_t)(n * lanes) * size;
  int64_t place[2 * LANES_MAX], spectrum[2 * LANES_MAX];
  for (int64_t g = begin; g < end; g++) {
    const int64_t first = g * j->group;
    if (a->kind == MICA_FFT_COMPLEX) {
      offsets(first, lanes, columns, n, a->inner, 2, place);
      k->load(n, n, place, 2 * a->inner, j->x, re);
      k->load(n, n, place, 2 * a->inner, j->x + size, im);
      k->transform(j->plan, a->inverse ? im : re, a->inverse ? re : im, work);
      k->store(n, place, 2 * a->inner, a->scale, re, j->y);
      k->store(n, place, 2 * a->inner, a->scale, im, j->y + size);
      continue;
    }
    offsets(first, 2 * lanes, columns, n, a->inner, 1, place);
    offsets(first, 2 * lanes, columns, half, a->inner, 2, spectrum);
    if (a->kind == MICA_FFT_REAL) {
      k->load(n, n, place, a->inner, j->x, re);
      k->load(n, n, place + lanes, a->inner, j->x, im);
      k->transform(j->plan, re, im, work);
      k->split(n, spectrum, 2 * a->inner, a->scale, a->inner_scale, re, im, j->y);
    } else {
      k->join(n, spectrum, 2 * a->inner, a->scale, a->inner_scale, j->x, re, im);
      k->transform(j->plan, im, re, work);
      k->store(n, place, a->inner, 1, re, j->y);
      k->store(n, place + lanes, a->inner, 1, im, j->y);
    }
  }
  mica_workspace_release(j->engine, re);
}

mica_status mica_fft_run(const mica_engine *engine, const mica_fft_args *a, const void *x,
                         void *y) {
  mica_fft_plan *plan;
  const mica_fft_kernels *k = mica_kernels_of(engine, a->dtype)->fft;
  const int64_t columns = a->outer * a->inner;
  if (columns == 0) return MICA_OK;
  const mica_status status = plan_take(engine, a->dtype, a->n, &plan);
  if (status != MICA_OK) return status;
  fft_job job = {.engine = engine,
                 .a = a,
                 .k = k,
                 .plan = plan,
                 .group = a->kind == MICA_FFT_COMPLEX ? k->lanes : 2 * k->lanes,
                 .x = x,
                 .y = y};
  atomic_init(&job.failed, false);
  mica_parallel_for(engine, (columns + job.group - 1) / job.group, fft_range, &job);
  plan_put(engine, a->dtype, plan);
  return atomic_load(&job.failed) ? MICA_ERR_MEMORY : MICA_OK;
}

/* ---- convolutions ----
 *
 * A lane is a channel, or a channel of one of several items where there are few channels. The taps'
 * spectrum is that of real numbers, so one item's places may be the real part and another's the
 * imaginary part of what it multiplies. */

enum { PARTS = 8 }; /* at most so many sums of the taps' gradient */

typedef struct convolve_job {
  const mica_engine *engine;
  const mica_fft_convolution *c;
  const mica_fft_kernels *k;
  const mica_fft_plan *plan;
  size_t size;
  int64_t n, rows;  /* of the transform; taps that can reach */
  int64_t together; /* items in the lanes of one task */
  int64_t groups;   /* of channels */
  int64_t pairs;    /* of items, or of as many together */
  int64_t parts;    /* in which the pairs are summed up */
  const char *x, *taps, *gy;
  char *y, *gk;
  char *spectrum; /* [groups, 2, n, lanes] */
  char *sums;     /* [groups, parts, 2, n, lanes] */
  atomic_bool failed;
} convolve_job;

static char *block(const convolve_job *j, char *base, int64_t i) {
  return base + (size_t)(i * 2 * j->n * j->k->lanes) * j->size;
}

/* Channel and item of lane l of a task; false when there is none. */
static bool lane(const convolve_job *j, int64_t group, int64_t l, int64_t *item, int64_t *channel) {
  const int64_t width = j->together > 1 ? j->c->channels : j->k->lanes;
  *item = l / width;
  *channel = group * j->k->lanes + l % width;
  return *item < j->together && *channel < j->c->channels;
}

static void place_items(const convolve_job *j, int64_t group, int64_t first, int64_t *offset) {
  for (int64_t l = 0; l < j->k->lanes; l++) {
    int64_t item, channel;
    const bool there = lane(j, group, l, &item, &channel) && first + item < j->c->items;
    offset[l] = there ? (first + item) * j->c->length * j->c->channels + channel : -1;
  }
}

static void load_pair(const convolve_job *j, int64_t group, int64_t pair, const char *x, char *re) {
  int64_t offset[LANES_MAX];
  const int64_t channels = j->c->channels, first = 2 * pair * j->together;
  place_items(j, group, first, offset);
  j->k->load(j->c->length, j->n, offset, channels, x, re);
  place_items(j, group, first + j->together, offset);
  j->k->load(j->c->length, j->n, offset, channels, x, re + (size_t)(j->n * j->k->lanes) * j->size);
}

static void store_pair(const convolve_job *j, int64_t group, int64_t pair, const char *re,
                       char *y) {
  int64_t offset[LANES_MAX];
  const int64_t channels = j->c->channels, first = 2 * pair * j->together;
  const double scale = 1 / (double)j->n;
  place_items(j, group, first, offset);
  j->k->store(j->c->length, offset, channels, scale, re, y);
  place_items(j, group, first + j->together, offset);
  j->k->store(j->c->length, offset, channels, scale, re + (size_t)(j->n * j->k->lanes) * j->size,
              y);
}

/* Scratch of one task: `blocks` of re and im, and the transform's own. */
static char *room(convolve_job *j, int64_t blocks, char **work) {
  const int64_t own = 2 * blocks * j->n, all = (own + 4 * j->plan->m) * j->k->lanes;
  char *memory = mica_workspace_acquire(j->engine, (size_t)all * j->size);
  if (!memory)
    atomic_store(&j->failed, true);
  else
    *work = memory + (size_t)(own * j->k->lanes) * j->size;
  return memory;
}

static void taps_range(void *ctx, int64_t begin, int64_t end) {
  convolve_job *j = ctx;
  char *work, *memory = room(j, 0, &work);
  if (!memory) return;
  int64_t offset[LANES_MAX];
  for (int64_t g = begin; g < end; g++) {
    char *re = block(j, j->spectrum, g), *im = re + (size_t)(j->n * j->k->lanes) * j->size;
    for (int64_t l = 0; l < j->k->lanes; l++) {
      int64_t item, channel;
      offset[l] = lane(j, g, l, &item, &channel) ? channel * j->c->taps : -1;
    }
    j->k->load(j->rows, j->n, offset, 1, j->taps, re);
    memset(im, 0, (size_t)(j->n * j->k->lanes) * j->size);
    j->k->transform(j->plan, re, im, work);
  }
  mica_workspace_release(j->engine, memory);
}

/* y = the pair of items times the taps, or with `conjugate` against them. */
static void filter(const convolve_job *j, int64_t group, int64_t pair, bool conjugate, char *re,
                   char *work, char *y) {
  const size_t half = (size_t)(j->n * j->k->lanes) * j->size;
  const char *taps = block(j, j->spectrum, group);
  j->k->multiply(j->n, conjugate, re, re + half, taps, taps + half);
  j->k->transform(j->plan, re + half, re, work);
  store_pair(j, group, pair, re, y);
}

static void convolve_range(void *ctx, int64_t begin, int64_t end) {
  convolve_job *j = ctx;
  const size_t half = (size_t)(j->n * j->k->lanes) * j->size;
  char *work, *re = room(j, 1, &work);
  if (!re) return;
  for (int64_t i = begin; i < end; i++) {
    const int64_t group = i / j->pairs, pair = i % j->pairs;
    load_pair(j, group, pair, j->x, re);
    j->k->transform(j->plan, re, re + half, work);
    filter(j, group, pair, false, re, work, j->y);
  }
  mica_workspace_release(j->engine, re);
}

/* One part of the pairs of a group: gx of each, and the sum of spectra that is gk's. */
static void grad_range(void *ctx, int64_t begin, int64_t end) {
  convolve_job *j = ctx;
  const size_t half = (size_t)(j->n * j->k->lanes) * j->size;
  char *work, *memory = room(j, 2, &work);
  if (!memory) return;
  char *g = memory, *x = memory + 2 * half;
  for (int64_t i = begin; i < end; i++) {
    const int64_t group = i / j->parts, part = i % j->parts;
    char *sum = j->gk ? block(j, j->sums, i) : NULL;
    if (sum) memset(sum, 0, 2 * half);
    for (int64_t pair = part * j->pairs / j->parts; pair < (part + 1) * j->pairs / j->parts;
         pair++) {
      load_pair(j, group, pair, j->gy, g);
      j->k->transform(j->plan, g, g + half, work);
      if (sum) {
        load_pair(j, group, pair, j->x, x);
        j->k->transform(j->plan, x, x + half, work);
        j->k->add_product(j->n, g, g + half, x, x + half, sum, sum + half);
      }
      if (j->y) filter(j, group, pair, true, g, work, j->y);
    }
  }
  mica_workspace_release(j->engine, memory);
}

static double number(mica_dtype dtype, const void *x, int64_t i) {
  return dtype == MICA_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

/* gk of a group's channels: the parts, back from the spectrum, items of one channel together. */
static void taps_grad_range(void *ctx, int64_t begin, int64_t end) {
  convolve_job *j = ctx;
  const mica_fft_convolution *c = j->c;
  const size_t half = (size_t)(j->n * j->k->lanes) * j->size;
  char *work, *memory = room(j, 0, &work);
  if (!memory) return;
  for (int64_t group = begin; group < end; group++) {
    char *sum = block(j, j->sums, group * j->parts);
    for (int64_t part = 1; part < j->parts; part++)
      j->k->add(j->n, block(j, j->sums, group * j->parts + part), sum);
    j->k->transform(j->plan, sum + half, sum, work);
    for (int64_t l = 0; l < j->k->lanes; l++) {
      int64_t item, channel;
      if (!lane(j, group, l, &item, &channel) || item) continue;
      for (int64_t t = 0; t < c->taps; t++) {
        double total = 0;
        for (int64_t i = 0; i < j->together && t < j->rows; i++)
          total += number(c->dtype, sum, t * j->k->lanes + l + i * c->channels);
        total /= (double)j->n;
        if (c->dtype == MICA_F32)
          ((float *)(void *)j->gk)[channel * c->taps + t] = (float)total;
        else
          ((double *)(void *)j->gk)[channel * c->taps + t] = total;
      }
    }
  }
  mica_workspace_release(j->engine, memory);
}

static mica_status convolve(const mica_engine *engine, const mica_fft_convolution *c, const void *x,
                            const void *k, const void *gy, void *y, void *gk) {
  convolve_job j = {.engine = engine,
                    .c = c,
                    .k = mica_kernels_of(engine, c->dtype)->fft,
                    .size = mica_dtype_size(c->dtype),
                    .x = x,
                    .taps = k,
                    .gy = gy,
                    .y = y,
                    .gk = gk};
  atomic_init(&j.failed, false);
  if (gk) memset(gk, 0, (size_t)(c->channels * c->taps) * j.size);
  if (c->items == 0 || c->length == 0 || c->channels == 0) return MICA_OK;
  if (c->taps == 0) {
    if (y) memset(y, 0, (size_t)(c->items * c->length * c->channels) * j.size);
    return MICA_OK;
  }
  j.rows = c->taps < c->length ? c->taps : c->length;
  j.n = c->circular ? c->length : smooth_from(c->length + j.rows - 1);
  j.groups = (c->channels + j.k->lanes - 1) / j.k->lanes;
  j.together = c->channels < j.k->lanes ? j.k->lanes / c->channels : 1;
  j.pairs = (c->items + 2 * j.together - 1) / (2 * j.together);
  j.parts = j.groups < PARTS ? PARTS / j.groups : 1;
  if (j.parts > j.pairs) j.parts = j.pairs;
  mica_fft_plan *plan;
  mica_status status = plan_take(engine, c->dtype, j.n, &plan);
  if (status != MICA_OK) return status;
  j.plan = plan;
  const size_t each = (size_t)(2 * j.n * j.k->lanes) * j.size;
  j.spectrum = mica_workspace_acquire(engine, (size_t)j.groups * each);
  j.sums = gk ? mica_workspace_acquire(engine, (size_t)(j.groups * j.parts) * each) : NULL;
  if (!j.spectrum || (gk && !j.sums)) {
    status = MICA_ERR_MEMORY;
  } else {
    if (y) mica_parallel_for(engine, j.groups, taps_range, &j);
    if (!gy && !atomic_load(&j.failed))
      mica_parallel_for(engine, j.groups * j.pairs, convolve_range, &j);
    if (gy && !atomic_load(&j.failed))
      mica_parallel_for(engine, j.groups * j.parts, grad_range, &j);
    if (gk && !atomic_load(&j.failed)) mica_parallel_for(engine, j.groups, taps_grad_range, &j);
    if (atomic_load(&j.failed)) status = MICA_ERR_MEMORY;
  }
  mica_workspace_release(engine, j.spectrum);
  mica_workspace_release(engine, j.sums);
  plan_put(engine, c->dtype, plan);
  return status;
}

mica_status mica_fft_convolve(const mica_engine *engine, const mica_fft_convolution *c,
                              const void *x, const void *k, void *y) {
  return convolve(engine, c, x, k, NULL, y, NULL);
}

mica_status mica_fft_convolve_grad(const mica_engine *engine, const mica_fft_convolution *c,
                                   const void *x, const void *k, const void *gy, void *gx,
                                   void *gk) {
  if (!gx && !gk) return MICA_OK;
  return convolve(engine, c, x, k, gy, gx, gk);
}
