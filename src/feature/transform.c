/* Rows of length 1, signed powers, principal components with whitening. */
#include <mica/transform.h>

#include "feature/record.h"
#include "numeric/rows.h"

#include <math.h>
#include <string.h>

struct mica_transform {
  mica_transform_options o;
  int64_t d, k;       /* columns; components, 0: none */
  double *mean;       /* [d] */
  double *components; /* [k, d] */
  double *variance;   /* [k] */
};

static void unit(double *row, int64_t d) {
  const double length = sqrt(mica_sum_squares(row, d));
  for (int64_t j = 0; j < d && length > 0; j++) row[j] /= length;
}

/* All that needs no fit. */
static void shape(const mica_transform_options *o, int64_t d, double *row) {
  if (o->l2) unit(row, d);
  if (o->power == 1) return;
  for (int64_t j = 0; j < d; j++) row[j] = copysign(pow(fabs(row[j]), o->power), row[j]);
  unit(row, d);
}

static mica_status create(const mica_transform_options *o, int64_t d, mica_transform **out) {
  *out = NULL;
  if (!(o->power > 0) || o->pca < 0 || o->pca > d)
    return mica_fail(MICA_ERR_INVALID,
                     "transform: power %g and pca %lld of %lld columns, expected a power above 0 "
                     "and at most as many components as columns",
                     o->power, (long long)o->pca, (long long)d);
  mica_transform *t = mica_calloc(1, sizeof *t);
  if (!t) return MICA_ERR_MEMORY;
  t->o = *o;
  t->d = d;
  t->k = o->pca;
  if (t->k && !(t->mean = mica_calloc((size_t)(d + t->k * d + t->k), sizeof *t->mean))) {
    mica_free(t);
    return MICA_ERR_MEMORY;
  }
  if (t->k) {
    t->components = t->mean + d;
    t->variance = t->components + t->k * d;
  }
  *out = t;
  return MICA_OK;
}

mica_status mica_transform_fit(const mica_engine *engine, const mica_transform_options *options,
                               const mica_view *x, mica_transform **out) {
  const mica_transform_options defaults = MICA_TRANSFORM_OPTIONS;
  mica_status status = mica_rows_check(x, "features");
  if (status == MICA_OK) status = mica_rows_check_finite(engine, x, "features");
  if (status == MICA_OK) status = create(options ? options : &defaults, mica_rows_d(x), out);
  if (status != MICA_OK || !(*out)->k) return status;
  mica_transform *t = *out;
  const int64_t n = mica_rows_n(x), d = t->d;
  double *rows = n < 2 ? NULL : mica_malloc((size_t)(n * d) * sizeof *rows);
  if (n < 2)
    status = mica_fail(MICA_ERR_INVALID, "transform: components of %lld row", (long long)n);
  else if (!rows)
    status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    mica_rows_load(x, 0, n, NULL, rows);
    for (int64_t i = 0; i < n; i++) shape(&t->o, d, rows + i * d);
    const mica_view v = mica_view_of(rows, MICA_F64, MICA_SHAPE(n, d));
    status = mica_pca(engine, &v, t->k, t->mean, t->components, t->variance, NULL);
    /* The covariance that is whitened divides by N. */
    for (int64_t i = 0; i < t->k; i++) t->variance[i] *= (double)(n - 1) / (double)n;
  }
  mica_free(rows);
  if (status != MICA_OK) {
    mica_transform_free(t);
    *out = NULL;
  }
  return status;
}

void mica_transform_free(mica_transform *t) {
  if (!t) return;
  mica_free(t->mean);
  mica_free(t);
}

int64_t mica_transform_columns(const mica_transform *t) {
  return t->d;
}
int64_t mica_transform_width(const mica_transform *t) {
  return t->k ? t->k : t->d;
}
const double *mica_transform_variances(const mica_transform *t) {
  return t->variance;
}

mica_status mica_transform_apply(const mica_engine *engine, const mica_transform *t,
                                 const mica_view *x, double *out) {
  mica_status status = mica_rows_check(x, "features");
  if (status != MICA_OK) return status;
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x);
  if (d != t->d)
    return mica_fail(MICA_ERR_SHAPE, "transform: rows of %lld columns, expected %lld", (long long)d,
                     (long long)t->d);
  double *rows = t->k ? mica_malloc((size_t)(n * d + 1) * sizeof *rows) : out;
  if (!rows) return MICA_ERR_MEMORY;
  mica_rows_load(x, 0, n, NULL, rows);
  for (int64_t i = 0; i < n; i++) shape(&t->o, d, rows + i * d);
  if (!t->k) return MICA_OK;
  const mica_view v = mica_view_of(rows, MICA_F64, MICA_SHAPE(n, d));
  status = mica_project(engine, &v, t->mean, t->components, t->k, out);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    double *row = out + i * t->k;
    for (int64_t j = 0; j < t->k && t->o.whiten; j++)
      row[j] = t->variance[j] > 1e-12 * t->variance[0] ? row[j] / sqrt(t->variance[j]) : 0;
    if (t->o.normalise) unit(row, t->k);
  }
  mica_free(rows);
  return status;
}

mica_status mica_transform_save(const mica_transform *t, mica_record *record) {
  if (!t->k) return MICA_OK;
  mica_status status = mica_record_put_f64(record, "transform.mean", MICA_SHAPE(t->d), t->mean);
  if (status == MICA_OK)
    status =
        mica_record_put_f64(record, "transform.components", MICA_SHAPE(t->k, t->d), t->components);
  return status == MICA_OK
             ? mica_record_put_f64(record, "transform.variance", MICA_SHAPE(t->k), t->variance)
             : status;
}

mica_status mica_transform_load(const mica_transform_options *options, int64_t columns,
                                const mica_record *record, mica_transform **out) {
  mica_status status = create(options, columns, out);
  if (status != MICA_OK || !(*out)->k) return status;
  mica_transform *t = *out;
  status = mica_record_take_f64(record, "transform.mean", MICA_SHAPE(t->d), false, t->mean);
  if (status == MICA_OK)
    status = mica_record_take_f64(record, "transform.components", MICA_SHAPE(t->k, t->d), false,
                                  t->components);
  if (status == MICA_OK)
    status =
        mica_record_take_f64(record, "transform.variance", MICA_SHAPE(t->k), false, t->variance);
  if (status != MICA_OK) {
    mica_transform_free(t);
    *out = NULL;
  }
  return status;
}

/* ---- views ---- */

void mica_view_scores(mica_view_form form, int64_t n, int64_t views, int64_t outputs,
                      const double *score, double *out) {
  for (int64_t i = 0; i < n; i++)
    for (int64_t c = 0; c < outputs; c++) {
      double sum = 0, top = -INFINITY;
      for (int64_t v = 0; v < views; v++) {
        const double s = score[(i * views + v) * outputs + c];
        sum += s;
        top = fmax(top, s);
      }
      out[i * outputs + c] = form == MICA_VIEW_SUM ? sum : top;
    }
}
