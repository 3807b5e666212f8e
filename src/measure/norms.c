/* The lengths of rows. */
#include <mica/measure.h>

#include "numeric/rows.h"
#include "numeric/sort.h"

#include <mica/numeric.h>

#include <math.h>
#include <string.h>

typedef struct options {
  uint32_t size;
} options;

static const mica_option option_table[] = {{NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static mica_status spread(const double *norm, double *sorted, int64_t n, mica_findings *f) {
  double mean = 0, square = 0;
  int64_t zeros = 0;
  memcpy(sorted, norm, (size_t)n * sizeof *norm);
  mica_sort_doubles(sorted, n);
  for (int64_t i = 0; i < n; i++) mean += sorted[i] / (double)n;
  for (int64_t i = 0; i < n; i++) square += (sorted[i] - mean) * (sorted[i] - mean) / (double)n;
  while (zeros < n && sorted[zeros] == 0) zeros++;
  const double deviation = sqrt(square);
  mica_status status = mica_findings_number(f, "norm_mean", mean, "mean length of a row");
  if (!status)
    status = mica_findings_number(f, "norm_deviation", deviation, "standard deviation of lengths");
  if (!status)
    status = mica_findings_number(f, "norm_variation", mean > 0 ? deviation / mean : NAN,
                                  "deviation of lengths over their mean");
  if (!status) status = mica_findings_number(f, "norm_least", sorted[0], "shortest row");
  if (!status)
    status = mica_findings_number(f, "norm_median", mica_quantile_sorted(sorted, n, 0.5),
                                  "median length");
  if (!status) status = mica_findings_number(f, "norm_most", sorted[n - 1], "longest row");
  if (!status) status = mica_findings_number(f, "zero_rows", (double)zeros, "rows of zeros");
  return status ? status
                : mica_findings_values(f, MICA_FINDING_SAMPLE, "norms", 1, n, norm,
                                       "lengths of the rows");
}

/* Mean lengths by class; NaN for a class without rows. */
static mica_status by_class(const mica_measure_data *d, const double *norm, mica_findings *f) {
  double *sum = mica_calloc((size_t)d->classes, 2 * sizeof *sum), *count = sum + d->classes;
  if (!sum) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < mica_rows_n(&d->x); i++) {
    sum[d->label[i]] += norm[i];
    count[d->label[i]]++;
  }
  for (int64_t c = 0; c < d->classes; c++) sum[c] = count[c] > 0 ? sum[c] / count[c] : NAN;
  const mica_status status = mica_findings_values(f, MICA_FINDING_BY_CLASS, "class_norms", 1,
                                                  d->classes, sum, "mean length by class");
  mica_free(sum);
  return status;
}

static mica_status measure(const mica_engine *engine, const void *o, const mica_measure_data *d,
                           mica_findings *f) {
  (void)engine, (void)o;
  const int64_t n = mica_rows_n(&d->x), width = mica_rows_d(&d->x);
  double *norm = mica_realloc_array(NULL, (size_t)n, 2 * sizeof *norm);
  double *row = mica_realloc_array(NULL, (size_t)width, sizeof *row);
  mica_status status = norm && row ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && !status; i++) {
    mica_rows_load(&d->x, i, i + 1, NULL, row);
    norm[i] = sqrt(mica_sum_squares(row, width));
  }
  if (!status) status = spread(norm, norm + n, n, f);
  if (!status && d->label) status = by_class(d, norm, f);
  mica_free(row);
  mica_free(norm);
  return status;
}

static const mica_measure_functions functions = {sizeof functions, measure};

extern const mica_component mica_component_measure_norms;
const mica_component mica_component_measure_norms = {MICA_COMPONENT_HEAD,
                                                     MICA_KIND_MEASURE,
                                                     "norms",
                                                     "lengths of rows, in all and by class",
                                                     NULL,
                                                     option_table,
                                                     sizeof(options),
                                                     MICA_NEED_FEATURES,
                                                     0,
                                                     &functions};
