/* Means of the classes that occur. */
#include "measure/class_means.h"

#include "numeric/moments.h"
#include "numeric/rows.h"

#include <math.h>

void mica_class_means_free(mica_class_means *m) {
  mica_free(m->old);
  mica_free(m->now);
  mica_free(m->count);
  mica_free(m->mean);
  mica_free(m->all);
  *m = (mica_class_means){0};
}

/* Numbers of the classes that have rows. */
static mica_status renumber(const mica_measure_data *data, mica_class_means *m) {
  const int64_t n = mica_rows_n(&data->x);
  int64_t *number = mica_calloc((size_t)data->classes, sizeof *number);
  m->now = mica_realloc_array(NULL, (size_t)n, sizeof *m->now);
  m->old = mica_realloc_array(NULL, (size_t)data->classes, sizeof *m->old);
  const mica_status status = number && m->now && m->old ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && !status; i++) number[data->label[i]] = 1;
  for (int64_t c = 0; c < data->classes && !status; c++) {
    if (!number[c]) continue;
    number[c] = m->classes;
    m->old[m->classes++] = c;
  }
  for (int64_t i = 0; i < n && !status; i++) m->now[i] = number[data->label[i]];
  mica_free(number);
  return status;
}

mica_status mica_class_means_of(const mica_engine *engine, const mica_measure_data *data, bool unit,
                                mica_class_means *out) {
  const int64_t n = mica_rows_n(&data->x), d = mica_rows_d(&data->x);
  const mica_row_form form = {NULL, unit};
  int64_t *count = NULL;
  *out = (mica_class_means){.d = d};
  mica_status status = renumber(data, out);
  const int64_t k = out->classes;
  if (!status && k < 2)
    status = mica_fail(MICA_ERR_INVALID, "the rows are all of one class, expected at least two");
  if (!status) {
    count = mica_calloc((size_t)k, sizeof *count);
    out->count = mica_calloc((size_t)k, sizeof *out->count);
    out->mean = mica_calloc((size_t)k, (size_t)d * sizeof *out->mean);
    out->all = mica_calloc((size_t)d, sizeof *out->all);
    if (!count || !out->count || !out->mean || !out->all) status = MICA_ERR_MEMORY;
  }
  if (!status) status = mica_group_sums(engine, &data->x, &form, out->now, k, out->mean, count);
  for (int64_t c = 0; c < k && !status; c++) {
    out->count[c] = (double)count[c];
    for (int64_t j = 0; j < d; j++) {
      out->all[j] += out->mean[c * d + j] / (double)n;
      out->mean[c * d + j] /= out->count[c];
    }
  }
  mica_free(count);
  if (status) mica_class_means_free(out);
  return status;
}

void mica_class_mean_cosines(const mica_class_means *m, int64_t classes, double *cosine) {
  for (int64_t i = 0; i < classes * classes; i++) cosine[i] = NAN;
  for (int64_t a = 0; a < m->classes; a++)
    for (int64_t b = 0; b < m->classes; b++) {
      double dot = 0, aa = 0, bb = 0;
      for (int64_t j = 0; j < m->d; j++) {
        const double u = m->mean[a * m->d + j] - m->all[j], v = m->mean[b * m->d + j] - m->all[j];
        dot += u * v;
        aa += u * u;
        bb += v * v;
      }
      if (aa > 0 && bb > 0)
        cosine[m->old[a] * classes + m->old[b]] = fmax(-1, fmin(1, dot / sqrt(aa * bb)));
    }
}
