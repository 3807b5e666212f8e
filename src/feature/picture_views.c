/* Parts and views of pictures: crops, turned and mirrored ones, regions made larger or square. */
#include <mica/transform.h>

#include <math.h>
#include <string.h>

/* ---- regions ---- */

static int64_t between(int64_t v, int64_t lo, int64_t hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

mica_region mica_region_enlarge(mica_region r, double factor, int64_t height, int64_t width) {
  const double by_y = (double)r.height * (factor - 1) / 2,
               by_x = (double)r.width * (factor - 1) / 2;
  const int64_t top = between(llround((double)r.y - by_y), 0, height - 1);
  const int64_t left = between(llround((double)r.x - by_x), 0, width - 1);
  const int64_t bottom = between(llround((double)(r.y + r.height) + by_y), top + 1, height);
  const int64_t right = between(llround((double)(r.x + r.width) + by_x), left + 1, width);
  return (mica_region){top, left, bottom - top, right - left};
}

mica_region mica_region_square(mica_region r, int64_t height, int64_t width) {
  const int64_t least = height < width ? height : width;
  const int64_t side = between(r.height > r.width ? r.height : r.width, 1, least);
  return (mica_region){between(r.y + (r.height - side) / 2, 0, height - side),
                       between(r.x + (r.width - side) / 2, 0, width - side), side, side};
}

/* ---- pictures ---- */

static mica_status check(const mica_tensor *picture) {
  const mica_shape *s = mica_tensor_shape(picture);
  if (mica_tensor_dtype(picture) == MICA_U8 && s->rank == 3 && s->dim[0] > 0 && s->dim[1] > 0 &&
      s->dim[2] > 0)
    return MICA_OK;
  return mica_fail(MICA_ERR_SHAPE, "a picture is uint8 [height, width, channels]");
}

mica_status mica_picture_crop(const mica_tensor *picture, const mica_region *r, mica_tensor **out) {
  *out = NULL;
  mica_status status = check(picture);
  if (status != MICA_OK) return status;
  const int64_t h = mica_tensor_dim(picture, 0), w = mica_tensor_dim(picture, 1);
  const int64_t c = mica_tensor_dim(picture, 2);
  if (r->height < 1 || r->width < 1 || r->y < 0 || r->x < 0 || r->y > h - r->height ||
      r->x > w - r->width)
    return mica_fail(MICA_ERR_INVALID,
                     "a region of %lldx%lld at %lld, %lld of a picture of %lldx%lld",
                     (long long)r->height, (long long)r->width, (long long)r->y, (long long)r->x,
                     (long long)h, (long long)w);
  status = mica_tensor_create(MICA_U8, MICA_SHAPE(r->height, r->width, c), out);
  if (status != MICA_OK) return status;
  const uint8_t *from = mica_tensor_data(picture);
  uint8_t *to = mica_tensor_data(*out);
  for (int64_t y = 0; y < r->height; y++)
    memcpy(to + y * r->width * c, from + ((r->y + y) * w + r->x) * c, (size_t)(r->width * c));
  return MICA_OK;
}

/* The value at a place that may be outside. */
static double at(const uint8_t *p, const int64_t dim[3], int64_t y, int64_t x, int64_t c,
                 int fill) {
  if (fill >= 0 && (y < 0 || x < 0 || y >= dim[0] || x >= dim[1])) return fill;
  y = between(y, 0, dim[0] - 1);
  x = between(x, 0, dim[1] - 1);
  return p[(y * dim[1] + x) * dim[2] + c];
}

mica_status mica_picture_affine(const mica_tensor *picture, const double m[6], int fill,
                                mica_tensor **out) {
  *out = NULL;
  mica_status status = check(picture);
  for (int i = 0; i < 6 && status == MICA_OK; i++)
    if (!isfinite(m[i]) || fabs(m[i]) > 1e9)
      status = mica_fail(MICA_ERR_INVALID, "a map of pictures with %g in it", m[i]);
  if (status == MICA_OK && (fill < -1 || fill > 255))
    status = mica_fail(MICA_ERR_INVALID, "fill %d, expected 0 to 255 or -1", fill);
  if (status == MICA_OK) status = mica_tensor_create(MICA_U8, *mica_tensor_shape(picture), out);
  if (status != MICA_OK) return status;
  const int64_t *dim = mica_tensor_shape(picture)->dim;
  const uint8_t *p = mica_tensor_data(picture);
  uint8_t *to = mica_tensor_data(*out);
  /* Beyond a pixel outside all is the same, and whole numbers stay small. */
  const double most_y = (double)dim[0] + 1, most_x = (double)dim[1] + 1;
  for (int64_t i = 0; i < dim[0]; i++)
    for (int64_t j = 0; j < dim[1]; j++) {
      const double y = fmin(fmax(m[0] * (double)i + m[1] * (double)j + m[2], -2), most_y);
      const double x = fmin(fmax(m[3] * (double)i + m[4] * (double)j + m[5], -2), most_x);
      const int64_t y0 = (int64_t)floor(y), x0 = (int64_t)floor(x);
      const double dy = y - (double)y0, dx = x - (double)x0;
      for (int64_t c = 0; c < dim[2]; c++) {
        const double top =
            (1 - dx) * at(p, dim, y0, x0, c, fill) + dx * at(p, dim, y0, x0 + 1, c, fill);
        const double low =
            (1 - dx) * at(p, dim, y0 + 1, x0, c, fill) + dx * at(p, dim, y0 + 1, x0 + 1, c, fill);
        *to++ = (uint8_t)lround((1 - dy) * top + dy * low);
      }
    }
  return MICA_OK;
}

static mica_status turned(const mica_tensor *picture, double degrees, mica_tensor **out) {
  const double a = degrees * 3.14159265358979323846 / 180, c = cos(a), s = sin(a);
  const double y = (double)(mica_tensor_dim(picture, 0) - 1) / 2;
  const double x = (double)(mica_tensor_dim(picture, 1) - 1) / 2;
  const double m[6] = {c, s, y - c * y - s * x, -s, c, x + s * y - c * x};
  return mica_picture_affine(picture, m, -1, out);
}

static void mirror(mica_tensor *picture) {
  const int64_t h = mica_tensor_dim(picture, 0), w = mica_tensor_dim(picture, 1);
  const int64_t channels = mica_tensor_dim(picture, 2);
  uint8_t *p = mica_tensor_data(picture);
  for (int64_t y = 0; y < h; y++)
    for (int64_t x = 0; x < w / 2; x++)
      for (int64_t c = 0; c < channels; c++) {
        uint8_t *a = p + (y * w + x) * channels + c, *b = p + (y * w + w - 1 - x) * channels + c;
        const uint8_t kept = *a;
        *a = *b;
        *b = kept;
      }
}

mica_status mica_picture_view(const mica_tensor *picture, const mica_picture_views_options *given,
                              int view, mica_tensor **out) {
  mica_picture_views_options o = MICA_PICTURE_VIEWS_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  *out = NULL;
  mica_status status = check(picture);
  if (status != MICA_OK) return status;
  if (view < 0 || view >= MICA_PICTURE_VIEWS || !(o.crop > 0 && o.crop <= 1) || !isfinite(o.angle))
    return mica_fail(MICA_ERR_INVALID, "view %d of a picture, crops of %g, an angle of %g", view,
                     o.crop, o.angle);
  const int64_t h = mica_tensor_dim(picture, 0), w = mica_tensor_dim(picture, 1);
  const int64_t ch = between(llround(o.crop * (double)h), 1, h);
  const int64_t cw = between(llround(o.crop * (double)w), 1, w);
  const mica_region part[] = {
      {0, 0, h, w},        {0, 0, ch, cw},           {0, w - cw, ch, cw},
      {h - ch, 0, ch, cw}, {h - ch, w - cw, ch, cw}, {(h - ch) / 2, (w - cw) / 2, ch, cw}};
  const int kind = view % (MICA_PICTURE_VIEWS / 2);
  status = kind < 6 ? mica_picture_crop(picture, &part[kind], out)
                    : turned(picture, kind == 6 ? o.angle : -o.angle, out);
  if (status == MICA_OK && view >= MICA_PICTURE_VIEWS / 2) mirror(*out);
  return status;
}
