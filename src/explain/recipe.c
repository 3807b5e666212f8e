/* The recipe: contributions of positions to the weight gradient of a virtual layer, squeezed.
 *
 * Outer products are never built: the norm of x g^T is |x| |g|, its sum (sum x)(sum g), its largest
 * element one of four products of extremes, and the norm of its positive part
 * sqrt(|x+|^2 |g+|^2 + |x-|^2 |g-|^2).
 */
#include <mica/explain.h>

#include <math.h>
#include <string.h>

/* ---- squeezing ---- */

/* What is needed of a vector to squeeze an outer product with it. */
typedef struct summary {
  double positive, negative; /* sums of squares */
  double sum, absolute, max, min;
} summary;

static void summary_add(summary *s, double v, int64_t index) {
  *(v > 0 ? &s->positive : &s->negative) += v * v;
  s->sum += v;
  s->absolute += fabs(v);
  s->max = index ? fmax(s->max, v) : v;
  s->min = index ? fmin(s->min, v) : v;
}

static summary summarise(const float *v, int64_t n) {
  summary s = {0};
  for (int64_t i = 0; i < n; i++) summary_add(&s, (double)v[i], i);
  return s;
}

static double squeeze_outer(const summary *a, const summary *g, mica_saliency_squeeze how) {
  switch (how) {
  case MICA_SQUEEZE_NORM: return sqrt((a->positive + a->negative) * (g->positive + g->negative));
  case MICA_SQUEEZE_FILTER_NORM: return sqrt(a->positive * g->positive + a->negative * g->negative);
  case MICA_SQUEEZE_SUM: return a->sum * g->sum;
  case MICA_SQUEEZE_ABS_SUM: return a->absolute * g->absolute;
  case MICA_SQUEEZE_MAX_ABS:
    return fmax(fabs(a->max), fabs(a->min)) * fmax(fabs(g->max), fabs(g->min));
  default:
    return fmax(fmax(a->max * g->max, a->max * g->min), fmax(a->min * g->max, a->min * g->min));
  }
}

static double squeeze_vector(const summary *v, mica_saliency_squeeze how) {
  switch (how) {
  case MICA_SQUEEZE_NORM: return sqrt(v->positive + v->negative);
  case MICA_SQUEEZE_FILTER_NORM: return sqrt(v->positive);
  case MICA_SQUEEZE_SUM: return v->sum;
  case MICA_SQUEEZE_ABS_SUM: return v->absolute;
  case MICA_SQUEEZE_MAX_ABS: return fmax(fabs(v->max), fabs(v->min));
  default: return v->max;
  }
}

/* ---- neighbourhoods ---- */

typedef struct window {
  int64_t height, width, stride[2], pad[2], dilation[2]; /* of the kernel; pad before */
} window;

/* The summary of the channels [from, to) of the patch under output position (r, c) of image i;
 * zeros around the image count as elements. */
static summary patch(const mica_tensor *x, int64_t i, int64_t r, int64_t c, const window *w,
                     int64_t from, int64_t to, const float *scale) {
  const mica_shape *s = mica_tensor_shape(x);
  const float *data = mica_tensor_data(x);
  summary out = {0};
  int64_t index = 0;
  for (int64_t a = 0; a < w->height; a++)
    for (int64_t b = 0; b < w->width; b++) {
      const int64_t y = r * w->stride[0] - w->pad[0] + a * w->dilation[0];
      const int64_t z = c * w->stride[1] - w->pad[1] + b * w->dilation[1];
      const bool inside = y >= 0 && y < s->dim[1] && z >= 0 && z < s->dim[2];
      const float *at = inside ? data + ((i * s->dim[1] + y) * s->dim[2] + z) * s->dim[3] : NULL;
      for (int64_t k = from; k < to; k++)
        summary_add(&out, at ? (double)at[k] * (scale ? (double)scale[k] : 1) : 0, index++);
    }
  return out;
}

static void merge(summary *a, const summary *b, bool first) {
  if (first) {
    *a = *b;
    return;
  }
  a->positive += b->positive;
  a->negative += b->negative;
  a->sum += b->sum;
  a->absolute += b->absolute;
  a->max = fmax(a->max, b->max);
  a->min = fmin(a->min, b->min);
}

/* ---- one position ---- */

static const window around = {3, 3, {1, 1}, {1, 1}, {1, 1}};

static double contribution(const mica_tensor *x, const mica_tensor *g, int64_t i, int64_t r,
                           int64_t c, mica_saliency_layer layer, mica_saliency_squeeze how) {
  const mica_shape *s = mica_tensor_shape(x);
  const int64_t ch = s->dim[3], at = ((i * s->dim[1] + r) * s->dim[2] + c) * ch;
  const float *xu = (const float *)mica_tensor_data(x) + at;
  const float *gu = (const float *)mica_tensor_data(g) + at;
  const summary own = summarise(gu, ch);
  summary v = {0};
  switch (layer) {
  case MICA_SALIENCY_SCALING:
    for (int64_t k = 0; k < ch; k++) summary_add(&v, (double)xu[k] * (double)gu[k], k);
    return squeeze_vector(&v, how);
  case MICA_SALIENCY_BIAS: return squeeze_vector(&own, how);
  case MICA_SALIENCY_CONV1X1: v = summarise(xu, ch); return squeeze_outer(&v, &own, how);
  case MICA_SALIENCY_CONV3X3:
    v = patch(x, i, r, c, &around, 0, ch, NULL);
    return squeeze_outer(&v, &own, how);
  default:
    for (int64_t k = 0; k < ch; k++) {
      const summary one = patch(x, i, r, c, &around, k, k + 1, gu);
      merge(&v, &one, k == 0);
    }
    return squeeze_vector(&v, how);
  }
}

static mica_status check(const mica_tensor *x, const mica_tensor *g, bool same) {
  const mica_shape *a = mica_tensor_shape(x), *b = mica_tensor_shape(g);
  if (mica_tensor_dtype(x) == MICA_F32 && mica_tensor_dtype(g) == MICA_F32 && a->rank == 4 &&
      b->rank == 4 && a->dim[0] == b->dim[0] && (!same || mica_shape_equal(a, b)))
    return MICA_OK;
  char one[80], two[80];
  return mica_fail(MICA_ERR_SHAPE, "saliency of %s and %s, expected float32 [N,h,w,C]%s",
                   mica_shape_text(a, one, sizeof one), mica_shape_text(b, two, sizeof two),
                   same ? " of one shape" : "");
}

mica_status mica_saliency(const mica_tensor *activation, const mica_tensor *gradient,
                          mica_saliency_layer layer, mica_saliency_squeeze squeeze,
                          mica_tensor **out) {
  mica_tensor *map = NULL;
  mica_status status = check(activation, gradient, true);
  const mica_shape *s = mica_tensor_shape(activation);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(s->dim[0], s->dim[1], s->dim[2]), &map);
  if (status != MICA_OK) return status;
  float *to = mica_tensor_data(map);
  for (int64_t i = 0; i < s->dim[0]; i++)
    for (int64_t r = 0; r < s->dim[1]; r++)
      for (int64_t c = 0; c < s->dim[2]; c++)
        *to++ = (float)contribution(activation, gradient, i, r, c, layer, squeeze);
  *out = map;
  return MICA_OK;
}

mica_status mica_saliency_convolution(const mica_tensor *input, const mica_tensor *gradient,
                                      int64_t kernel_height, int64_t kernel_width,
                                      const mica_conv_options *o, mica_saliency_squeeze squeeze,
                                      mica_tensor **out) {
  static const mica_conv_options plain = MICA_CONV_OPTIONS;
  if (!o) o = &plain;
  mica_tensor *map = NULL;
  mica_status status = check(input, gradient, false);
  const mica_shape *s = mica_tensor_shape(gradient), *x = mica_tensor_shape(input);
  const int64_t kernel[2] = {kernel_height, kernel_width};
  for (int a = 0; a < 2 && status == MICA_OK; a++) {
    const int64_t reach =
        x->dim[1 + a] + o->pad[2 * a] + o->pad[2 * a + 1] - o->dilation[a] * (kernel[a] - 1) - 1;
    if (kernel[a] < 1 || o->stride[a] < 1 || reach < 0 || reach / o->stride[a] + 1 != s->dim[1 + a])
      status = mica_fail(MICA_ERR_SHAPE,
                         "saliency: a kernel of %lld with stride %lld over %lld does not give %lld",
                         (long long)kernel[a], (long long)o->stride[a], (long long)x->dim[1 + a],
                         (long long)s->dim[1 + a]);
  }
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(s->dim[0], s->dim[1], s->dim[2]), &map);
  if (status != MICA_OK) return status;
  const window w = {kernel_height,
                    kernel_width,
                    {o->stride[0], o->stride[1]},
                    {o->pad[0], o->pad[2]},
                    {o->dilation[0], o->dilation[1]}};
  const float *g = mica_tensor_data(gradient);
  float *to = mica_tensor_data(map);
  for (int64_t i = 0; i < s->dim[0]; i++)
    for (int64_t r = 0; r < s->dim[1]; r++)
      for (int64_t c = 0; c < s->dim[2]; c++, g += s->dim[3]) {
        const summary v = patch(input, i, r, c, &w, 0, x->dim[3], NULL),
                      own = summarise(g, s->dim[3]);
        *to++ = (float)squeeze_outer(&v, &own, squeeze);
      }
  *out = map;
  return MICA_OK;
}

mica_status mica_saliency_grad_cam(const mica_tensor *activation, const mica_tensor *gradient,
                                   mica_tensor **out) {
  mica_tensor *map = NULL;
  mica_status status = check(activation, gradient, true);
  const mica_shape *s = mica_tensor_shape(activation);
  double *mean = NULL;
  if (status == MICA_OK && !(mean = mica_calloc((size_t)s->dim[3] + 1, sizeof *mean)))
    status = MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(s->dim[0], s->dim[1], s->dim[2]), &map);
  const int64_t places = s->rank == 4 ? s->dim[1] * s->dim[2] : 0;
  for (int64_t i = 0; status == MICA_OK && i < s->dim[0]; i++) {
    const float *x = (const float *)mica_tensor_data(activation) + i * places * s->dim[3];
    const float *g = (const float *)mica_tensor_data(gradient) + i * places * s->dim[3];
    float *to = (float *)mica_tensor_data(map) + i * places;
    memset(mean, 0, (size_t)s->dim[3] * sizeof *mean);
    for (int64_t u = 0; u < places; u++)
      for (int64_t k = 0; k < s->dim[3]; k++)
        mean[k] += (double)g[u * s->dim[3] + k] / (double)places;
    for (int64_t u = 0; u < places; u++) {
      double sum = 0;
      for (int64_t k = 0; k < s->dim[3]; k++) sum += mean[k] * (double)x[u * s->dim[3] + k];
      to[u] = (float)fmax(sum, 0);
    }
  }
  mica_free(mean);
  if (status == MICA_OK) *out = map;
  return status;
}
