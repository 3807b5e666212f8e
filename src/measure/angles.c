/* How wide classes spread in angle, and how many of the features are switched off. */
#include <mica/measure.h>

#include "measure/class_means.h"
#include "numeric/rows.h"

#include <math.h>

typedef struct options {
  uint32_t size;
} options;

static const mica_option option_table[] = {{NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

/* Sums of angles by class, in degrees, and the number of zeros. A row of zeros has no angle. */
static void walk(const mica_measure_data *data, const mica_class_means *m, double *row, double *sum,
                 double *count, double *zeros) {
  for (int64_t i = 0; i < mica_rows_n(&data->x); i++) {
    const int64_t c = m->now[i];
    const double *mean = m->mean + c * m->d;
    mica_rows_load(&data->x, i, i + 1, NULL, row);
    for (int64_t j = 0; j < m->d; j++) *zeros += row[j] == 0;
    const double lengths = sqrt(mica_sum_squares(row, m->d) * mica_sum_squares(mean, m->d));
    if (!(lengths > 0)) continue;
    const double cosine = mica_dot(row, mean, m->d) / lengths;
    sum[m->old[c]] += acos(fmin(fmax(cosine, -1), 1)) * 180 / acos(-1);
    count[m->old[c]]++;
  }
}

static mica_status measure(const mica_engine *engine, const void *o, const mica_measure_data *data,
                           mica_findings *f) {
  (void)o;
  mica_class_means m;
  mica_status status = mica_class_means_of(engine, data, true, &m);
  if (status) return status;
  const int64_t k = data->classes, n = mica_rows_n(&data->x);
  double *sum = mica_calloc((size_t)(2 * k + m.d), sizeof *sum), total = 0, rows = 0, zeros = 0;
  if (sum) {
    walk(data, &m, sum + 2 * k, sum, sum + k, &zeros);
    for (int64_t c = 0; c < k; c++) {
      total += sum[c];
      rows += sum[k + c];
      sum[c] = sum[k + c] > 0 ? sum[c] / sum[k + c] : NAN;
    }
    status = mica_findings_number(f, "class_angle", rows > 0 ? total / rows : NAN,
                                  "mean angle between a row and its class's mean direction, "
                                  "degrees");
  } else {
    status = MICA_ERR_MEMORY;
  }
  if (!status)
    status = mica_findings_number(f, "zero_share", zeros / (double)(n * m.d),
                                  "share of the features that are 0");
  if (!status)
    status = mica_findings_values(f, MICA_FINDING_BY_CLASS, "class_angles", 1, k, sum,
                                  "mean angle to the class's mean direction, degrees");
  mica_free(sum);
  mica_class_means_free(&m);
  return status;
}

static const mica_measure_functions functions = {sizeof functions, measure};

extern const mica_component mica_component_measure_angles;
const mica_component mica_component_measure_angles = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "angles",
    "angles between rows and their class's mean direction; share of zeros",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    0,
    &functions};
