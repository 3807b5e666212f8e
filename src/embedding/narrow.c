/* The packed form of narrow rows: widths [fields], weight, projections. A field narrower than the
 * vector has a projection [width of it, D] and, with setting 0, then [D] more to add. */
#include "embedding/table.h"

#include <string.h>

static mica_status check(mica_packed_embedding *p) {
  const int64_t *width = mica_packed_data(p, 0), bias = p->setting[0] != 0;
  if (mica_packed_count(p, 0) != p->fields) return mica_packed_wrong(p, "no width of a field");
  p->derived = mica_calloc((size_t)(2 * p->fields), sizeof *p->derived);
  if (!p->derived) return MICA_ERR_MEMORY;
  int64_t weight = 0, projection = 0;
  for (int64_t f = 0; f < p->fields; f++) {
    if (width[f] < 1 || width[f] > p->width) return mica_packed_wrong(p, "a width is too large");
    p->derived[2 * f] = weight;
    p->derived[2 * f + 1] = projection;
    weight += p->size[f] * width[f];
    if (width[f] < p->width || bias) projection += (width[f] + bias) * p->width;
  }
  return weight == mica_packed_count(p, 1) && projection == mica_packed_count(p, 2)
             ? MICA_OK
             : mica_packed_wrong(p, "rows and projections do not fit");
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const int64_t w = ((const int64_t *)mica_packed_data(p, 0))[field], d = p->width;
  const float *x = (const float *)mica_packed_data(p, 1) + p->derived[2 * field] + id * w;
  const float *m = (const float *)mica_packed_data(p, 2) + p->derived[2 * field + 1];
  if (w == d && !p->setting[0]) {
    memcpy(out, x, (size_t)d * sizeof *out);
    return;
  }
  if (p->setting[0])
    memcpy(out, m + w * d, (size_t)d * sizeof *out);
  else
    memset(out, 0, (size_t)d * sizeof *out);
  for (int64_t k = 0; k < w; k++)
    for (int64_t i = 0; i < d; i++) out[i] += x[k] * m[k * d + i];
}

const mica_packed_form mica_packed_narrow = {
    "narrow", {"widths", "weight", "projections"}, {MICA_I64, MICA_F32, MICA_F32}, check, row};
