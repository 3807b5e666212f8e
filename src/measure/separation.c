/* How far apart classes lie: scatter between and within them, Fisher's trace, the silhouette
 * (Rousseeuw 1987), the nearest class mean, and 1 - mean cosine distance within classes over that
 * of all pairs (Kornblith et al. 2021).
 */
#include <mica/measure.h>

#include "measure/class_means.h"
#include "measure/pairs.h"
#include "measure/spectrum.h"
#include "numeric/distance.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "numeric/serial.h"

#include <math.h>
#include <string.h>

typedef struct options {
  uint32_t size;
  int64_t rows;
} options;

static const mica_option option_table[] = {{"rows", MICA_OPTION_INT, "4000", 4, 20000, NULL,
                                            "the most rows that the silhouette looks at",
                                            offsetof(options, rows)},
                                           {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

/* ---- scatter ---- */

/* trace(W^+ B) with W and B the scatter within and between, over the directions in which rows of a
 * class differ. */
static double fisher(const mica_class_means *m, const double *value, const double *vector) {
  const int64_t d = m->d;
  const double least = value[d - 1] * MICA_SPECTRUM_ROUNDING;
  double trace = 0;
  for (int64_t k = 0; k < d; k++) {
    if (!(value[k] > least)) continue;
    double between = 0;
    for (int64_t c = 0; c < m->classes; c++) {
      double along = 0;
      for (int64_t j = 0; j < d; j++) along += vector[j * d + k] * (m->mean[c * d + j] - m->all[j]);
      between += m->count[c] * along * along;
    }
    trace += between / value[k];
  }
  return trace;
}

static mica_status scatter(const mica_engine *engine, const mica_measure_data *data,
                           const mica_class_means *m, mica_findings *f) {
  const int64_t d = m->d;
  double *within = mica_realloc_array(NULL, (size_t)(2 * d + 1), (size_t)d * sizeof *within);
  if (!within) return MICA_ERR_MEMORY;
  double *vector = within + d * d, *value = vector + d * d, inside = 0, between = 0;
  mica_status status = mica_scatter(engine, &data->x, m->now, m->mean, within, NULL);
  for (int64_t j = 0; j < d && !status; j++) inside += within[j * d + j];
  for (int64_t c = 0; c < m->classes; c++)
    for (int64_t j = 0; j < d; j++)
      between += m->count[c] * (m->mean[c * d + j] - m->all[j]) * (m->mean[c * d + j] - m->all[j]);
  if (!status)
    status = mica_findings_number(f, "between_within", inside > 0 ? between / inside : NAN,
                                  "scatter of class means over that of rows around them");
  if (!status)
    status = mica_findings_number(f, "between_share",
                                  inside + between > 0 ? between / (inside + between) : NAN,
                                  "share of the variance that the classes explain");
  if (!status && inside > 0) status = mica_serial_eigen(engine, d, within, value, vector);
  if (!status)
    status = mica_findings_number(f, "fisher_trace", inside > 0 ? fisher(m, value, vector) : NAN,
                                  "trace of within^-1 between, where rows of a class differ");
  mica_free(within);
  return status;
}

/* ---- the nearest class mean ---- */

/* Leave-one-out: without a row, its own class's mean lies n / (n - 1) times as far from it. A tie
 * is a wrong answer, as is a class of one row. */
static mica_status nearest_mean(const mica_engine *engine, const mica_measure_data *data,
                                const mica_class_means *m, mica_findings *f) {
  enum { block = 512 };
  const int64_t n = mica_rows_n(&data->x), d = m->d, k = m->classes;
  const int64_t most = n < block ? n : block;
  double *rows = mica_realloc_array(NULL, (size_t)most, (size_t)(d + k) * sizeof *rows);
  if (!rows) return MICA_ERR_MEMORY;
  double *square = rows + most * d;
  const mica_view means = mica_view_of(m->mean, MICA_F64, MICA_SHAPE(k, d));
  int64_t right = 0;
  mica_status status = MICA_OK;
  for (int64_t from = 0; from < n && !status; from += block) {
    const int64_t to = n - from < block ? n : from + block;
    const mica_view some = mica_view_of(rows, MICA_F64, MICA_SHAPE(to - from, d));
    mica_rows_load(&data->x, from, to, NULL, rows);
    status = mica_distances(engine, MICA_METRIC_EUCLIDEAN_SQUARED, &some, &means, square);
    for (int64_t i = from; i < to && !status; i++) {
      const int64_t own = m->now[i];
      const double *s = square + (i - from) * k, others = m->count[own] - 1;
      const double away = others > 0 ? m->count[own] / others : INFINITY;
      bool nearest = others > 0;
      for (int64_t c = 0; c < k; c++) nearest &= c == own || s[own] * away * away < s[c];
      right += nearest;
    }
  }
  mica_free(rows);
  return status ? status
                : mica_findings_number(f, "nearest_mean_accuracy", (double)right / (double)n,
                                       "rows nearest to their own class's mean (leave-one-out)");
}

/* ---- cosines ---- */

/* With u_c the mean of a class's unit rows, the mean cosine of its pairs is |u_c|^2 and that of all
 * pairs, each pair of classes counting the same, |mean u_c|^2. */
static mica_status cosines(const mica_engine *engine, const mica_measure_data *data,
                           mica_findings *f) {
  mica_class_means m;
  mica_status status = mica_class_means_of(engine, data, true, &m);
  if (status) return status;
  double within = 0, total = 0;
  for (int64_t c = 0; c < m.classes; c++)
    within += mica_sum_squares(m.mean + c * m.d, m.d) / (double)m.classes;
  for (int64_t j = 0; j < m.d; j++) {
    double mean = 0;
    for (int64_t c = 0; c < m.classes; c++) mean += m.mean[c * m.d + j] / (double)m.classes;
    total += mean * mean;
  }
  mica_class_means_free(&m);
  return mica_findings_number(f, "class_separation",
                              total < 1 ? 1 - (1 - within) / (1 - total) : NAN,
                              "1 - cosine distance within classes over that of all pairs");
}

/* ---- the silhouette ---- */

typedef struct silhouette {
  const mica_row_sample *sample;
  const mica_class_means *means;
  double *count, *sum; /* [classes] rows of the sample, and distances to them */
  double total;
} silhouette;

static void add_silhouette(void *ctx, int64_t i, const double *square) {
  silhouette *s = ctx;
  const int64_t *now = s->means->now, own = now[s->sample->index[i]];
  double other = INFINITY;
  memset(s->sum, 0, (size_t)s->means->classes * sizeof *s->sum);
  for (int64_t j = 0; j < s->sample->n; j++) s->sum[now[s->sample->index[j]]] += sqrt(square[j]);
  for (int64_t c = 0; c < s->means->classes; c++)
    if (c != own && s->count[c] > 0) other = fmin(other, s->sum[c] / s->count[c]);
  if (s->count[own] < 2 || isinf(other)) return; /* 0 by convention */
  const double inside = s->sum[own] / (s->count[own] - 1), larger = fmax(inside, other);
  if (larger > 0) s->total += (other - inside) / larger;
}

static mica_status silhouettes(const mica_engine *engine, const mica_measure_data *data,
                               const mica_class_means *m, int64_t rows, mica_findings *f) {
  mica_row_sample sample;
  mica_status status = mica_row_sample_take(&data->x, rows, data->seed, false, &sample);
  if (status) return status;
  silhouette s = {&sample, m, mica_calloc((size_t)m->classes, 2 * sizeof(double)), NULL, 0};
  if (!s.count) status = MICA_ERR_MEMORY;
  if (!status) {
    s.sum = s.count + m->classes;
    for (int64_t i = 0; i < sample.n; i++) s.count[m->now[sample.index[i]]]++;
    status = mica_pairs_walk(engine, &sample, add_silhouette, &s);
  }
  if (!status)
    status = mica_findings_number(f, "silhouette", s.total / (double)sample.n,
                                  "1: rows lie far from other classes; 0: between them");
  if (!status)
    status = mica_findings_number(f, "rows_compared", (double)sample.n,
                                  "rows that the silhouette looked at");
  mica_free(s.count);
  mica_row_sample_free(&sample);
  return status;
}

/* ---- together ---- */

static mica_status measure(const mica_engine *engine, const void *opt, const mica_measure_data *d,
                           mica_findings *f) {
  const options *o = opt;
  mica_class_means m;
  mica_status status = mica_class_means_of(engine, d, false, &m);
  if (status) return status;
  status = scatter(engine, d, &m, f);
  if (!status) status = nearest_mean(engine, d, &m, f);
  if (!status) status = cosines(engine, d, f);
  if (!status) status = silhouettes(engine, d, &m, o->rows, f);
  mica_class_means_free(&m);
  return status;
}

static const mica_measure_functions functions = {sizeof functions, measure};

extern const mica_component mica_component_measure_separation;
const mica_component mica_component_measure_separation = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "separation",
    "how far apart classes lie: scatter, Fisher's trace, silhouette, nearest mean, cosines",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    0,
    &functions};
