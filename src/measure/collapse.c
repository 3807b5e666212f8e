/* Neural collapse (Papyan, Han and Donoho 2020): rows of a class shrink to its mean, and the means,
 * seen from their centre, become equally long and equally far apart.
 */
#include <mica/measure.h>

#include "measure/class_means.h"
#include "measure/spectrum.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "numeric/serial.h"

#include <math.h>
#include <string.h>

typedef struct options {
  uint32_t size;
} options;

static const mica_option option_table[] = {{NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

/* trace(W B^+) / C with W the covariance within classes and B that of the C class means: the means,
 * centred, are M = U s V^T, and v_k^T W v_k is summed over s_k^2 / C. */
static mica_status shrinking(const mica_engine *engine, const mica_measure_data *data,
                             const mica_class_means *m, const double *centred, double *out) {
  const int64_t d = m->d, k = m->classes, n = mica_rows_n(&data->x);
  double *within = mica_realloc_array(NULL, (size_t)(d + 2 * k + 1), (size_t)d * sizeof *within);
  double *gram = mica_realloc_array(NULL, (size_t)(2 * k + 1), (size_t)k * sizeof *gram);
  mica_status status = within && gram ? MICA_OK : MICA_ERR_MEMORY;
  *out = 0;
  if (!status) {
    double *vector = gram + k * k, *value = vector + k * k, *v = within + d * d;
    status = mica_scatter(engine, &data->x, m->now, m->mean, within, NULL);
    for (int64_t a = 0; a < k; a++)
      for (int64_t b = 0; b < k; b++)
        gram[a * k + b] = mica_dot(centred + a * d, centred + b * d, d);
    if (!status) status = mica_serial_eigen(engine, k, gram, value, vector);
    for (int64_t i = 0; i < k && !status; i++) {
      if (!(value[i] > value[k - 1] * 1e-10)) continue;
      double along = 0;
      memset(v, 0, (size_t)d * sizeof *v);
      for (int64_t c = 0; c < k; c++)
        for (int64_t j = 0; j < d; j++) v[j] += vector[c * k + i] * centred[c * d + j];
      for (int64_t j = 0; j < d; j++) along += v[j] * mica_dot(within + j * d, v, d);
      /* v has length sqrt(value): v^T W v / value over value / k, and divided by k. */
      *out += along / (double)n / (value[i] * value[i]);
    }
  }
  mica_free(gram);
  mica_free(within);
  return status;
}

/* Lengths, and cosines against those of a simplex, -1 / (C - 1). */
static mica_status shape(const mica_class_means *m, const double *centred, mica_findings *f) {
  const int64_t k = m->classes, d = m->d;
  double mean = 0, square = 0, angle = 0, pairs = 0;
  for (int64_t c = 0; c < k; c++) mean += sqrt(mica_sum_squares(centred + c * d, d)) / (double)k;
  for (int64_t c = 0; c < k; c++) {
    const double away = sqrt(mica_sum_squares(centred + c * d, d)) - mean;
    square += away * away / (double)k;
  }
  for (int64_t a = 0; a < k; a++)
    for (int64_t b = 0; b < a; b++) {
      const double length =
          sqrt(mica_sum_squares(centred + a * d, d) * mica_sum_squares(centred + b * d, d));
      if (!(length > 0)) continue;
      angle += fabs(mica_dot(centred + a * d, centred + b * d, d) / length + 1 / (double)(k - 1));
      pairs++;
    }
  mica_status status =
      mica_findings_number(f, "mean_length_variation", mean > 0 ? sqrt(square) / mean : NAN,
                           "0: class means are equally far from their centre");
  if (!status)
    status = mica_findings_number(f, "mean_angle_error", pairs > 0 ? angle / pairs : NAN,
                                  "0: class means stand at the angles of a simplex");
  return status;
}

static mica_status measure(const mica_engine *engine, const void *o, const mica_measure_data *data,
                           mica_findings *f) {
  (void)o;
  mica_class_means m;
  double shrunk = NAN;
  mica_status status = mica_class_means_of(engine, data, false, &m);
  if (status) return status;
  const int64_t d = m.d, k = m.classes, all = data->classes;
  double *centred = mica_realloc_array(NULL, (size_t)k, (size_t)d * sizeof *centred);
  double *cosine =
      all <= 512 ? mica_realloc_array(NULL, (size_t)(all * all), sizeof *cosine) : NULL;
  if (!centred || (all <= 512 && !cosine)) status = MICA_ERR_MEMORY;
  if (!status) {
    /* The centre is that of the means: each class counts the same. */
    memset(m.all, 0, (size_t)d * sizeof *m.all);
    for (int64_t c = 0; c < k; c++)
      for (int64_t j = 0; j < d; j++) m.all[j] += m.mean[c * d + j] / (double)k;
    for (int64_t c = 0; c < k; c++)
      for (int64_t j = 0; j < d; j++) centred[c * d + j] = m.mean[c * d + j] - m.all[j];
    status = shrinking(engine, data, &m, centred, &shrunk);
  }
  if (!status)
    status = mica_findings_number(f, "within_class_variability", shrunk,
                                  "0: rows of a class are all at its mean");
  if (!status) status = shape(&m, centred, f);
  if (!status && cosine) {
    mica_class_mean_cosines(&m, all, cosine);
    status = mica_findings_values(f, MICA_FINDING_MATRIX, "class_mean_cosines", all, all, cosine,
                                  "cosines of class means, seen from their centre");
  }
  mica_free(cosine);
  mica_free(centred);
  mica_class_means_free(&m);
  return status;
}

static const mica_measure_functions functions = {sizeof functions, measure};

extern const mica_component mica_component_measure_collapse;
const mica_component mica_component_measure_collapse = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "collapse",
    "neural collapse: variability within classes, lengths and angles of class means",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    0,
    &functions};
