/* Two sets of features of the same rows up to a linear map, and up to a rotation.
 *
 * Canonical correlations: whitened, the cross-covariance's singular values. Noise directions would
 * count as much as any, so only the leading ones that hold a share of the variance are kept on each
 * side (SVCCA, Raghu et al. 2017). Procrustes: of features centred and scaled to |X| = |Y| = 1 the
 * least |X - Y Q|^2 over orthogonal Q is 2 - 2 |X^T Y|_* (Schonemann 1966).
 */
#include <mica/measure.h>

#include "measure/spectrum.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "numeric/serial.h"

#include <math.h>

typedef struct side {
  const mica_view *x;
  int64_t d, kept;
  double *mean;    /* [d] */
  double *scatter; /* [d, d] */
  double *value;   /* [d] ascending */
  double *vector;  /* [d, d] in columns */
} side;

static mica_status side_of(const mica_engine *engine, const mica_view *x, bool eigen, side *s) {
  const int64_t d = mica_rows_d(x);
  *s = (side){x, d, 0, NULL, NULL, NULL, NULL};
  s->mean = mica_realloc_array(NULL, (size_t)(2 * d + 2), (size_t)d * sizeof *s->mean);
  if (!s->mean) return MICA_ERR_MEMORY;
  s->value = s->mean + d;
  s->scatter = s->value + d;
  s->vector = s->scatter + d * d;
  mica_status status = mica_column_means(engine, x, s->mean);
  if (!status) status = mica_scatter(engine, x, NULL, s->mean, s->scatter, NULL);
  return status || !eigen ? status : mica_serial_eigen(engine, d, s->scatter, s->value, s->vector);
}

/* ---- canonical correlations ---- */

typedef struct options {
  uint32_t size;
  double variance;
} options;

static const mica_option cca_table[] = {
    {"variance", MICA_OPTION_FLOAT, "0.99", 0.01, 1, NULL,
     "share of the variance whose directions are kept (SVCCA); 1: all",
     offsetof(options, variance)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static int64_t keep(const side *s, double share) {
  const double least = s->value[s->d - 1] * MICA_SPECTRUM_ROUNDING;
  double sum = 0, so_far = 0;
  int64_t kept = 0;
  for (int64_t i = 0; i < s->d; i++) sum += fmax(0, s->value[i]);
  for (int64_t i = s->d - 1; i >= 0; i--) {
    if (!(s->value[i] > least) || (kept && so_far >= share * sum * (1 - 1e-12) && share < 1)) break;
    so_far += s->value[i];
    kept++;
  }
  return kept;
}

/* Column i from the largest on, divided by the root of its eigenvalue. */
static double whitening(const side *s, int64_t row, int64_t i) {
  const int64_t at = s->d - 1 - i;
  return s->vector[row * s->d + at] / sqrt(s->value[at]);
}

/* out [a.kept, b.kept] = whitened cross-covariance of cross [a.d, b.d]. */
static mica_status whitened(const mica_engine *engine, const side *a, const side *b,
                            const double *cross, double *out) {
  double *wa = mica_realloc_array(NULL, (size_t)a->d, (size_t)a->kept * sizeof *wa);
  double *wb = mica_realloc_array(NULL, (size_t)b->d, (size_t)b->kept * sizeof *wb);
  double *half = mica_realloc_array(NULL, (size_t)a->d, (size_t)b->kept * sizeof *half);
  mica_status status = wa && wb && half ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t j = 0; j < a->d && !status; j++)
    for (int64_t i = 0; i < a->kept; i++) wa[j * a->kept + i] = whitening(a, j, i);
  for (int64_t j = 0; j < b->d && !status; j++)
    for (int64_t i = 0; i < b->kept; i++) wb[j * b->kept + i] = whitening(b, j, i);
  if (!status) status = mica_product(engine, false, a->d, b->kept, b->d, cross, wb, half);
  if (!status) status = mica_product(engine, true, a->kept, b->kept, a->d, wa, half, out);
  mica_free(half);
  mica_free(wb);
  mica_free(wa);
  return status;
}

static mica_status correlations(const mica_engine *engine, const side *a, const side *b,
                                mica_findings *f) {
  const int64_t k = a->kept < b->kept ? a->kept : b->kept;
  double *cross = mica_realloc_array(NULL, (size_t)a->d, (size_t)b->d * sizeof *cross);
  double *white = mica_realloc_array(NULL, (size_t)a->kept, (size_t)(b->kept + 1) * sizeof *white);
  double *rho = mica_calloc((size_t)k, sizeof *rho), mean = 0, square = 0;
  mica_status status = cross && white && rho ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_cross_scatter(engine, a->x, a->mean, b->x, b->mean, cross);
  if (!status) status = whitened(engine, a, b, cross, white);
  if (!status) status = mica_small_singular_values(engine, a->kept, b->kept, white, rho);
  for (int64_t i = 0; i < k && !status; i++) {
    rho[i] = fmin(1, rho[i]);
    mean += rho[i] / (double)k;
    square += rho[i] * rho[i] / (double)k;
  }
  if (!status) status = mica_findings_number(f, "cca_mean", mean, "mean canonical correlation");
  if (!status)
    status = mica_findings_number(f, "cca_mean_square", square, "mean squared correlation");
  if (!status)
    status = mica_findings_number(f, "cca_directions", (double)k, "directions that were compared");
  if (!status)
    status = mica_findings_values(f, MICA_FINDING_SERIES, "canonical_correlations", 1, k, rho,
                                  "correlation of each pair of directions");
  mica_free(rho);
  mica_free(white);
  mica_free(cross);
  return status;
}

static mica_status cca(const mica_engine *engine, const void *opt, const mica_measure_data *data,
                       mica_findings *f) {
  const options *o = opt;
  side a = {0}, b = {0};
  mica_status status = side_of(engine, &data->x, true, &a);
  if (!status) status = side_of(engine, data->other, true, &b);
  if (!status) {
    a.kept = keep(&a, o->variance);
    b.kept = keep(&b, o->variance);
    if (!a.kept || !b.kept)
      status = mica_fail(MICA_ERR_NUMERIC, "cca: the rows of one of the two are all the same");
  }
  if (!status) status = correlations(engine, &a, &b, f);
  mica_free(a.mean);
  mica_free(b.mean);
  return status;
}

static const mica_measure_functions cca_functions = {sizeof cca_functions, cca};

extern const mica_component mica_component_measure_cca;
const mica_component mica_component_measure_cca = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "cca",
    "canonical correlations of the leading directions (SVCCA)",
    NULL,
    cca_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_TWO_VIEWS,
    0,
    &cca_functions};

/* ---- Procrustes ---- */

typedef struct procrustes_options {
  uint32_t size;
} procrustes_options;

static const mica_option procrustes_table[] = {{NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static double trace(const side *s) {
  double sum = 0;
  for (int64_t j = 0; j < s->d; j++) sum += s->scatter[j * s->d + j];
  return sum;
}

static mica_status procrustes(const mica_engine *engine, const void *o,
                              const mica_measure_data *data, mica_findings *f) {
  (void)o;
  side a = {0}, b = {0};
  mica_status status = side_of(engine, &data->x, false, &a);
  if (!status) status = side_of(engine, data->other, false, &b);
  const int64_t k = a.d < b.d ? a.d : b.d;
  double *cross =
      status ? NULL : mica_realloc_array(NULL, (size_t)a.d, (size_t)b.d * sizeof *cross);
  double *s = status ? NULL : mica_realloc_array(NULL, (size_t)k, sizeof *s), nuclear = 0;
  if (!status && (!cross || !s)) status = MICA_ERR_MEMORY;
  if (!status && !(trace(&a) > 0 && trace(&b) > 0))
    status = mica_fail(MICA_ERR_NUMERIC, "procrustes: the rows of one of the two are all the same");
  if (!status) status = mica_cross_scatter(engine, a.x, a.mean, b.x, b.mean, cross);
  if (!status) status = mica_small_singular_values(engine, a.d, b.d, cross, s);
  for (int64_t i = 0; i < k && !status; i++) nuclear += s[i];
  if (!status) {
    nuclear = fmin(1, nuclear / (sqrt(trace(&a)) * sqrt(trace(&b))));
    status = mica_findings_number(f, "procrustes", 2 - 2 * nuclear,
                                  "0: the same up to rotation and scale; 2: nothing in common");
  }
  mica_free(s);
  mica_free(cross);
  mica_free(a.mean);
  mica_free(b.mean);
  return status;
}

static const mica_measure_functions procrustes_functions = {sizeof procrustes_functions,
                                                            procrustes};

extern const mica_component mica_component_measure_procrustes;
const mica_component mica_component_measure_procrustes = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "procrustes",
    "what is left between two sets of features after the best rotation",
    NULL,
    procrustes_table,
    sizeof(procrustes_options),
    MICA_NEED_FEATURES | MICA_NEED_TWO_VIEWS,
    0,
    &procrustes_functions};
