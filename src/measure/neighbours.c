/* Two sets of features of the same rows by what lies near what.
 *
 * Mutual nearest neighbours: the share of a row's k nearest that both sets agree on (Huh et al.
 * 2024). Representational similarity (RSA, Kriegeskorte et al. 2008): the correlation of the
 * distances of all pairs of rows in the two sets.
 */
#include <mica/measure.h>

#include "measure/pairs.h"
#include "numeric/distance.h"
#include "numeric/rows.h"

#include <mica/numeric.h>

#include <math.h>

/* The same rows of both sets, dense. */
static mica_status both_samples(const mica_measure_data *data, int64_t most,
                                mica_row_sample sample[2]) {
  mica_status status = mica_row_sample_take(&data->x, most, data->seed, false, &sample[0]);
  if (status) return status;
  status = mica_row_sample_take(data->other, most, data->seed, false, &sample[1]);
  if (status) mica_row_sample_free(&sample[0]);
  return status;
}

/* ---- mutual neighbours ---- */

typedef struct neighbour_options {
  uint32_t size;
  int64_t k, rows;
  int32_t metric;
} neighbour_options;

static const mica_option neighbour_table[] = {
    {"k", MICA_OPTION_INT, "10", 1, 1000, NULL, "neighbours of each row",
     offsetof(neighbour_options, k)},
    {"metric", MICA_OPTION_CHOICE, "cosine", 0, 0, "cosine|euclidean", "what near is",
     offsetof(neighbour_options, metric)},
    MICA_PAIRS_OPTION(neighbour_options, "3000"),
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static mica_status nearest(const mica_engine *engine, const mica_row_sample *s,
                           const neighbour_options *o, int64_t k, int64_t *index) {
  const mica_view x = mica_view_of(s->rows, MICA_F64, MICA_SHAPE(s->n, s->d));
  int64_t *skip = mica_realloc_array(NULL, (size_t)s->n, sizeof *skip);
  double *distance = mica_realloc_array(NULL, (size_t)s->n, (size_t)k * sizeof *distance);
  mica_status status = skip && distance ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < s->n && !status; i++) skip[i] = i;
  if (!status)
    status =
        mica_nearest_rows(engine, o->metric ? MICA_METRIC_EUCLIDEAN_SQUARED : MICA_METRIC_COSINE,
                          &x, &x, k, skip, index, distance);
  mica_free(distance);
  mica_free(skip);
  return status;
}

static mica_status mutual(const mica_engine *engine, const void *options,
                          const mica_measure_data *data, mica_findings *f) {
  const neighbour_options *o = options;
  mica_row_sample sample[2];
  mica_status status = both_samples(data, o->rows, sample);
  if (status) return status;
  const int64_t n = sample[0].n, k = o->k < n - 1 ? o->k : n - 1;
  int64_t *a = mica_realloc_array(NULL, (size_t)n, (size_t)k * 2 * sizeof *a);
  int64_t *b = a ? a + n * k : NULL, shared = 0;
  status = a ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = nearest(engine, &sample[0], o, k, a);
  if (!status) status = nearest(engine, &sample[1], o, k, b);
  for (int64_t i = 0; i < n * k && !status; i++)
    for (int64_t j = i / k * k; j < (i / k + 1) * k; j++) shared += a[i] == b[j];
  if (!status)
    status = mica_findings_number(f, "mutual_neighbours", (double)shared / (double)(n * k),
                                  "share of a row's nearest that both agree on");
  if (!status)
    status = mica_findings_number(f, "mutual_neighbours_by_chance", (double)k / (double)(n - 1),
                                  "what two unrelated sets would share");
  mica_free(a);
  mica_row_sample_free(&sample[0]);
  mica_row_sample_free(&sample[1]);
  return status;
}

static const mica_measure_functions mutual_functions = {sizeof mutual_functions, mutual};

extern const mica_component mica_component_measure_mutual_knn;
const mica_component mica_component_measure_mutual_knn = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "mutual_knn",
    "nearest neighbours that two sets of features share",
    "latent-alignment-3d",
    neighbour_table,
    sizeof(neighbour_options),
    MICA_NEED_FEATURES | MICA_NEED_TWO_VIEWS,
    0,
    &mutual_functions};

/* ---- correlation of distances ---- */

typedef struct rsa_options {
  uint32_t size;
  int64_t rows;
  int32_t metric, correlation;
} rsa_options;

static const mica_option rsa_table[] = {
    {"metric", MICA_OPTION_CHOICE, "cosine", 0, 0, "cosine|euclidean", "distance of two rows",
     offsetof(rsa_options, metric)},
    {"correlation", MICA_OPTION_CHOICE, "spearman", 0, 0, "spearman|pearson",
     "of the distances, or of their ranks", offsetof(rsa_options, correlation)},
    MICA_PAIRS_OPTION(rsa_options, "1000"),
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

/* The distances of all pairs i > j, one after the other. */
static mica_status pair_distances(const mica_engine *engine, const mica_row_sample *s,
                                  int32_t euclidean, double *out) {
  const int64_t n = s->n;
  const mica_view x = mica_view_of(s->rows, MICA_F64, MICA_SHAPE(n, s->d));
  double *all = mica_realloc_array(NULL, (size_t)n, (size_t)n * sizeof *all);
  if (!all) return MICA_ERR_MEMORY;
  const mica_status status = mica_distances(
      engine, euclidean ? MICA_METRIC_EUCLIDEAN_SQUARED : MICA_METRIC_COSINE, &x, &x, all);
  for (int64_t i = 0, at = 0; i < n && !status; i++)
    for (int64_t j = 0; j < i; j++) out[at++] = euclidean ? sqrt(all[i * n + j]) : all[i * n + j];
  mica_free(all);
  return status;
}

static mica_status rsa(const mica_engine *engine, const void *options,
                       const mica_measure_data *data, mica_findings *f) {
  const rsa_options *o = options;
  mica_row_sample sample[2];
  mica_status status = both_samples(data, o->rows, sample);
  if (status) return status;
  const int64_t n = sample[0].n, pairs = n * (n - 1) / 2;
  double *a = mica_realloc_array(NULL, (size_t)pairs, 2 * sizeof *a), value = NAN;
  status = a ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = pair_distances(engine, &sample[0], o->metric, a);
  if (!status) status = pair_distances(engine, &sample[1], o->metric, a + pairs);
  if (!status && o->correlation) value = mica_pearson(pairs, a, a + pairs);
  if (!status && !o->correlation) status = mica_spearman(pairs, a, a + pairs, &value);
  if (!status)
    status = mica_findings_number(f, "rsa", value, "correlation of the distances of all pairs");
  mica_free(a);
  mica_row_sample_free(&sample[0]);
  mica_row_sample_free(&sample[1]);
  return status;
}

static const mica_measure_functions rsa_functions = {sizeof rsa_functions, rsa};

extern const mica_component mica_component_measure_rsa;
const mica_component mica_component_measure_rsa = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "rsa",
    "how the distances of all pairs of rows correlate (RSA)",
    "latent-alignment-3d",
    rsa_table,
    sizeof(rsa_options),
    MICA_NEED_FEATURES | MICA_NEED_TWO_VIEWS,
    0,
    &rsa_functions};
