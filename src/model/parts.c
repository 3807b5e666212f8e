/* Models that describe several parts of a picture: 16 views of it, or its regions.
 *
 * A picture is read larger than the network reads one, so that the smallest part has as many pixels
 * as the network takes: the whole is then made smaller, the parts are cut out of it.
 */
#include "model/parts.h"

#include "model/head.h"

#include <mica/transform.h>

#include <math.h>
#include <string.h>

#define REGIONS_MAX 8 /* order */

static bool has(const mica_model *m) {
  return m->parts.views > 0 || m->parts.regions > 0;
}

int64_t mica_model_parts(const mica_model *m) {
  return m->parts.views > 0     ? m->parts.views
         : m->parts.regions > 0 ? mica_region_count(m->parts.regions)
                                : 1;
}

int64_t mica_model_features(const mica_model *m) {
  return mica_model_parts(m) * mica_net_features(m->net);
}

const mica_preprocess *mica_model_preprocess(const mica_model *m) {
  return has(m) ? &m->reading : &m->preprocess;
}

void mica_model_read_larger(mica_model *m) {
  m->reading = m->preprocess;
  if (!has(m)) return;
  const double by = m->parts.views > 0 ? 1 / m->parts.crop : (double)(m->parts.regions + 1) / 2;
  m->reading.height = llround(by * (double)m->preprocess.height);
  m->reading.width = llround(by * (double)m->preprocess.width);
}

mica_status mica_model_check_parts(const mica_model *m, const mica_model_views *p) {
  if ((p->views != 0 && p->views != 8 && p->views != MICA_PICTURE_VIEWS) || p->regions < 0 ||
      p->regions > REGIONS_MAX || (p->views && p->regions))
    return mica_fail(
        MICA_ERR_INVALID,
        "%lld views and regions of order %lld, expected 8 or 16 views, or an order of 1 "
        "to %d",
        (long long)p->views, (long long)p->regions, REGIONS_MAX);
  if (p->views && (!(p->crop >= 0.1 && p->crop <= 1) || !(fabs(p->angle) <= 180)))
    return mica_fail(MICA_ERR_INVALID,
                     "views with crops of %g and an angle of %g, expected 0.1 to 1 and at most 180 "
                     "degrees",
                     p->crop, p->angle);
  if ((p->views || p->regions) && !m->preprocess.height)
    return mica_fail(MICA_ERR_UNSUPPORTED, "the model reads no pictures that have parts");
  if ((p->views || p->regions) && m->n_scales)
    return mica_fail(MICA_ERR_UNSUPPORTED, "scales and parts of pictures do not go together");
  return MICA_OK;
}

mica_status mica_model_set_views(mica_model *m, const mica_model_views *given) {
  mica_model_views p = {sizeof p, 0, 0, 0, 0};
  if (given) {
    p = (mica_model_views)MICA_MODEL_VIEWS;
    memcpy(&p, given, given->size < sizeof p ? given->size : sizeof p);
  }
  const mica_status status = mica_model_check_parts(m, &p);
  if (status != MICA_OK) return status;
  if (p.regions == 1) p.regions = 0; /* the whole */
  m->parts = p;
  mica_model_read_larger(m);
  mica_model_drop_heads(m);
  return MICA_OK;
}

/* ---- pictures ---- */

static mica_status part_of(const mica_model *m, const mica_tensor *picture,
                           const mica_region *region, int64_t k, mica_tensor **out) {
  const mica_picture_views_options o = {sizeof o, m->parts.crop, m->parts.angle};
  return region ? mica_picture_crop(picture, &region[k], out)
                : mica_picture_view(picture, &o, (int)k, out);
}

mica_status mica_model_cut(const mica_model *m, const uint8_t *pictures, int64_t n, uint8_t *out) {
  const mica_preprocess *from = &m->reading, *to = &m->preprocess;
  const int64_t parts = mica_model_parts(m), size = from->height * from->width * from->channels;
  const int64_t each = to->height * to->width * to->channels;
  mica_tensor *picture = NULL, *part = NULL, *sized = NULL;
  mica_region *region = m->parts.views > 0 ? NULL : mica_malloc((size_t)parts * sizeof *region);
  mica_status status = m->parts.views > 0 || region ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK && region)
    status = mica_regions(from->height, from->width, m->parts.regions, region);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_U8, MICA_SHAPE(from->height, from->width, from->channels),
                                &picture);
  for (int64_t i = 0; i < n * parts && status == MICA_OK; i++) {
    if (i % parts == 0)
      memcpy(mica_tensor_data(picture), pictures + i / parts * size, (size_t)size);
    status = part_of(m, picture, region, i % parts, &part);
    if (status == MICA_OK)
      status = mica_image_resize(part, to->height, to->width, to->interpolation, &sized);
    if (status == MICA_OK) memcpy(out + i * each, mica_tensor_data(sized), (size_t)each);
    mica_tensor_free(part);
    mica_tensor_free(sized);
    part = sized = NULL;
  }
  mica_tensor_free(picture);
  mica_free(region);
  return status;
}
