/* Alignment and uniformity on the unit sphere (Wang and Isola 2020): with u, v the rows scaled to
 * length 1,
 *
 *   alignment  = mean |u - v|^alpha over pairs that belong together
 *   uniformity = log mean exp(-t |u - v|^2) over all pairs of different rows
 *
 * Rows of zeros have no direction and are left out.
 */
#include <mica/measure.h>

#include "measure/pairs.h"
#include "numeric/moments.h"
#include "numeric/rows.h"

#include <math.h>

/* ---- alignment ---- */

typedef struct alignment_options {
  uint32_t size;
  double alpha;
  int64_t rows;
} alignment_options;

static const mica_option alignment_table[] = {
    {"alpha", MICA_OPTION_FLOAT, "2", 0.1, 10, NULL, "the power of distances",
     offsetof(alignment_options, alpha)},
    {"rows", MICA_OPTION_INT, "4000", 4, 20000, NULL,
     "the most rows whose pairs are looked at, where alpha is not 2",
     offsetof(alignment_options, rows)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

/* A row and its other view. */
static mica_status of_views(const mica_measure_data *d, double alpha, double *mean) {
  const int64_t n = mica_rows_n(&d->x), width = mica_rows_d(&d->x);
  int64_t pairs = 0;
  double sum = 0;
  if (mica_rows_d(d->other) != width)
    return mica_fail(MICA_ERR_SHAPE, "alignment: %lld columns and %lld of the other view",
                     (long long)width, (long long)mica_rows_d(d->other));
  double *u = mica_realloc_array(NULL, (size_t)width, 2 * sizeof *u), *v = u + width;
  if (!u) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    double square = 0;
    mica_rows_load(&d->x, i, i + 1, NULL, u);
    mica_rows_load(d->other, i, i + 1, NULL, v);
    if (mica_rows_normalise(u, 1, width) >= 0 || mica_rows_normalise(v, 1, width) >= 0) continue;
    for (int64_t j = 0; j < width; j++) square += (u[j] - v[j]) * (u[j] - v[j]);
    sum += pow(square, alpha / 2);
    pairs++;
  }
  mica_free(u);
  *mean = pairs ? sum / (double)pairs : NAN;
  return MICA_OK;
}

/* Pairs of a class, alpha 2: the sum of |u - v|^2 over ordered pairs of n unit rows that add up to
 * S is 2 n^2 - 2 |S|^2. */
static mica_status of_classes_squared(const mica_engine *engine, const mica_measure_data *d,
                                      double *mean) {
  const int64_t n = mica_rows_n(&d->x), width = mica_rows_d(&d->x), classes = d->classes;
  const mica_row_form form = {NULL, true};
  double *sum = mica_calloc((size_t)classes, (size_t)width * sizeof *sum), total = 0, pairs = 0;
  int64_t *count = mica_calloc((size_t)classes, sizeof *count);
  double *row = mica_realloc_array(NULL, (size_t)width, sizeof *row);
  mica_status status = sum && count && row ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_group_sums(engine, &d->x, &form, d->label, classes, sum, count);
  for (int64_t i = 0; i < n && !status; i++) {
    mica_rows_load(&d->x, i, i + 1, NULL, row);
    if (mica_sum_squares(row, width) == 0) count[d->label[i]]--;
  }
  for (int64_t c = 0; c < classes && !status; c++) {
    const double m = (double)count[c];
    total += 2 * m * m - 2 * mica_sum_squares(sum + c * width, width);
    pairs += m * (m - 1);
  }
  *mean = pairs > 0 ? fmax(0, total / pairs) : NAN;
  mica_free(row);
  mica_free(count);
  mica_free(sum);
  return status;
}

typedef struct same_class {
  const mica_row_sample *sample;
  const int64_t *label;
  double alpha, sum, pairs;
} same_class;

static void add_same(void *ctx, int64_t i, const double *square) {
  same_class *s = ctx;
  const int64_t *index = s->sample->index;
  for (int64_t j = 0; j < s->sample->n; j++) {
    if (j == i || s->label[index[j]] != s->label[index[i]]) continue;
    s->sum += pow(square[j], s->alpha / 2);
    s->pairs++;
  }
}

static mica_status of_classes(const mica_engine *engine, const mica_measure_data *d,
                              const alignment_options *o, double *mean) {
  mica_row_sample sample;
  mica_status status = mica_row_sample_take(&d->x, o->rows, d->seed, true, &sample);
  if (status) return status;
  same_class s = {&sample, d->label, o->alpha, 0, 0};
  status = mica_pairs_walk(engine, &sample, add_same, &s);
  *mean = s.pairs > 0 ? s.sum / s.pairs : NAN;
  mica_row_sample_free(&sample);
  return status;
}

static mica_status alignment(const mica_engine *engine, const void *options,
                             const mica_measure_data *d, mica_findings *f) {
  const alignment_options *o = options;
  const bool squared = fabs(o->alpha - 2) < 1e-12;
  double mean = NAN;
  if (!d->other && !d->label)
    return mica_fail(MICA_ERR_INVALID,
                     "alignment looks at pairs that belong together: two views or labels");
  const mica_status status = d->other  ? of_views(d, o->alpha, &mean)
                             : squared ? of_classes_squared(engine, d, &mean)
                                       : of_classes(engine, d, o, &mean);
  return status ? status
                : mica_findings_number(f, "alignment", mean,
                                       d->other ? "distance of a row's two views on the sphere"
                                                : "distance of rows of a class on the sphere");
}

static const mica_measure_functions alignment_functions = {sizeof alignment_functions, alignment};

extern const mica_component mica_component_measure_alignment;
const mica_component mica_component_measure_alignment = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "alignment",
    "how near rows that belong together are: two views, or those of a class",
    NULL,
    alignment_table,
    sizeof(alignment_options),
    MICA_NEED_FEATURES,
    0,
    &alignment_functions};

/* ---- uniformity ---- */

typedef struct uniformity_options {
  uint32_t size;
  double t;
  int64_t rows;
} uniformity_options;

static const mica_option uniformity_table[] = {{"t", MICA_OPTION_FLOAT, "2", 0.001, 1000, NULL,
                                                "how fast the potential falls",
                                                offsetof(uniformity_options, t)},
                                               MICA_PAIRS_OPTION(uniformity_options, "4000"),
                                               {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

typedef struct potential {
  int64_t n;
  double t, sum;
} potential;

static void add_potential(void *ctx, int64_t i, const double *square) {
  potential *p = ctx;
  double sum = 0;
  for (int64_t j = 0; j < p->n; j++)
    if (j != i) sum += exp(-p->t * square[j]);
  p->sum += sum;
}

static mica_status uniformity(const mica_engine *engine, const void *options,
                              const mica_measure_data *d, mica_findings *f) {
  const uniformity_options *o = options;
  mica_row_sample sample;
  mica_status status = mica_row_sample_take(&d->x, o->rows, d->seed, true, &sample);
  if (status) return status;
  potential p = {sample.n, o->t, 0};
  status = mica_pairs_walk(engine, &sample, add_potential, &p);
  const double pairs = (double)sample.n * (double)(sample.n - 1);
  if (!status)
    status = mica_findings_number(f, "uniformity", pairs > 0 ? log(p.sum / pairs) : NAN,
                                  "0: all at one place; lower: spread over the sphere");
  if (!status)
    status = mica_findings_number(f, "rows_compared", (double)sample.n, "rows of the sample");
  mica_row_sample_free(&sample);
  return status;
}

static const mica_measure_functions uniformity_functions = {sizeof uniformity_functions,
                                                            uniformity};

extern const mica_component mica_component_measure_uniformity;
const mica_component mica_component_measure_uniformity = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "uniformity",
    "how evenly rows are spread over the sphere",
    NULL,
    uniformity_table,
    sizeof(uniformity_options),
    MICA_NEED_FEATURES,
    0,
    &uniformity_functions};
