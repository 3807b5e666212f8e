/* Queries of one embedding on rows of another, by the columns that both have. */
#include <mica/compatible.h>

#include "numeric/rows.h"

#include <math.h>
#include <string.h>

mica_status mica_pseudo_classifier(const mica_view *features, const int64_t *label, int64_t classes,
                                   double *out) {
  mica_status status = mica_rows_check(features, "features");
  if (status != MICA_OK) return status;
  const int64_t n = mica_rows_n(features), d = mica_rows_d(features);
  int64_t *count = mica_calloc((size_t)classes + 1, sizeof *count);
  double *row = mica_calloc((size_t)d, sizeof *row);
  if (!count || !row) status = MICA_ERR_MEMORY;
  memset(out, 0, (size_t)(classes * d) * sizeof *out);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    if (label[i] < 0 || label[i] >= classes) {
      status = mica_fail(MICA_ERR_INVALID, "label %lld of row %lld, expected 0 to %lld",
                         (long long)label[i], (long long)i, (long long)classes - 1);
      break;
    }
    mica_rows_load(features, i, i + 1, NULL, row);
    for (int64_t j = 0; j < d; j++) out[label[i] * d + j] += row[j];
    count[label[i]]++;
  }
  for (int64_t c = 0; c < classes && status == MICA_OK; c++)
    for (int64_t j = 0; j < d && count[c]; j++) out[c * d + j] /= (double)count[c];
  mica_free(count);
  mica_free(row);
  return status;
}

double mica_upgrade_gain(double new_old, double old_old, double new_new) {
  return new_new == old_old ? NAN : (new_old - old_old) / (new_new - old_old);
}

/* ---- a mixed gallery ---- */

static mica_status check(const mica_compat_data *d) {
  mica_status status = mica_rows_check(&d->query, "queries");
  if (status == MICA_OK) status = mica_rows_check(&d->gallery, "gallery");
  if (status == MICA_OK && d->fresh) status = mica_rows_check(d->fresh, "renewed rows");
  if (status != MICA_OK) return status;
  const int64_t n = mica_rows_n(&d->gallery);
  if (!d->query_label || !d->gallery_label)
    return mica_fail(MICA_ERR_INVALID, "queries and gallery need labels");
  if (d->self && mica_rows_n(&d->query) != n)
    return mica_fail(MICA_ERR_SHAPE, "%lld queries are not the %lld rows of the gallery",
                     (long long)mica_rows_n(&d->query), (long long)n);
  if (d->renewed && (!d->fresh || mica_rows_n(d->fresh) != n))
    return mica_fail(MICA_ERR_SHAPE, "renewed rows are not as many as the gallery's %lld",
                     (long long)n);
  return MICA_OK;
}

static int64_t columns_of(const mica_compat_data *d) {
  int64_t m = mica_rows_d(&d->query);
  if (mica_rows_d(&d->gallery) < m) m = mica_rows_d(&d->gallery);
  if (d->renewed && mica_rows_d(d->fresh) < m) m = mica_rows_d(d->fresh);
  return m;
}

/* The gallery's rows [n, m], each of its generation. */
static void mix(const mica_compat_data *d, int64_t m, double *rows) {
  const mica_view old = mica_rows_columns(&d->gallery, 0, m);
  mica_view fresh = old;
  if (d->renewed) fresh = mica_rows_columns(d->fresh, 0, m);
  for (int64_t i = 0; i < mica_rows_n(&d->gallery); i++)
    mica_rows_load(d->renewed && d->renewed[i] ? &fresh : &old, i, i + 1, NULL, rows + i * m);
}

static mica_status ask(const mica_engine *engine, const mica_compat_data *d,
                       const mica_index *index, const mica_view *queries, mica_estimate *found) {
  const int64_t q = mica_rows_n(queries);
  mica_retrieval *r = NULL;
  mica_retrieval_options options = MICA_RETRIEVAL_OPTIONS;
  mica_index_truth truth = MICA_INDEX_TRUTH;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  int64_t *self = d->self ? mica_calloc((size_t)q + 1, sizeof *self) : NULL;
  if (d->self && !self) return MICA_ERR_MEMORY;
  for (int64_t i = 0; self && i < q; i++) self[i] = i;
  options.measures = "cmc@1,cmc@5,map";
  options.resamples = 200;
  truth.label = d->query_label;
  o.k = mica_index_count(index);
  o.self_row = self;
  mica_status status = mica_retrieval_create(engine, &options, &r);
  if (status == MICA_OK) status = mica_retrieval_ask(r, index, queries, &truth, &o);
  if (status == MICA_OK) status = mica_retrieval_result(r, found);
  mica_retrieval_free(r);
  mica_free(self);
  return status;
}

mica_status mica_compat_eval(const mica_engine *engine, const mica_compat_data *data,
                             mica_compat_result *out) {
  static const char *const specs[] = {"exact:metric=cosine", "exact:metric=l2",
                                      "exact:metric=inner"};
  mica_status status = check(data);
  if (status != MICA_OK) return status;
  const int64_t n = mica_rows_n(&data->gallery), m = columns_of(data);
  double *rows = mica_malloc((size_t)(n * m) * sizeof *rows);
  mica_index *index = NULL;
  mica_estimate found[3];
  if (!rows) return MICA_ERR_MEMORY;
  mix(data, m, rows);
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(rows, MICA_F64, MICA_SHAPE(n, m));
  batch.label = data->gallery_label;
  status = mica_index_create(engine, specs[data->metric], &batch, &index);
  mica_free(rows);
  if (status == MICA_OK) {
    const mica_view queries = mica_rows_columns(&data->query, 0, m);
    status = ask(engine, data, index, &queries, found);
  }
  if (status == MICA_OK) *out = (mica_compat_result){found[0], found[1], found[2], m};
  mica_index_free(index);
  return status;
}

mica_status mica_backfill_curve(const mica_engine *engine, const mica_compat_data *data,
                                mica_key key, int64_t n, const double *share, double *map) {
  const int64_t rows = mica_rows_n(&data->gallery);
  mica_compat_data d = *data;
  bool *renewed = mica_calloc((size_t)rows + 1, sizeof *renewed);
  int64_t *order = mica_calloc((size_t)rows + 1, sizeof *order);
  mica_status status = renewed && order ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < rows && order; i++) order[i] = i;
  for (int64_t i = 0; i < rows - 1 && order; i++) {
    const int64_t j = i + (int64_t)mica_random_below(key, (uint64_t)i, (uint64_t)(rows - i));
    const int64_t k = order[i];
    order[i] = order[j];
    order[j] = k;
  }
  d.renewed = renewed;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    mica_compat_result found;
    if (!(share[i] >= 0 && share[i] <= 1))
      status = mica_fail(MICA_ERR_INVALID, "a share of %g of the gallery", share[i]);
    for (int64_t k = 0; k < rows && status == MICA_OK; k++)
      renewed[order[k]] = (double)k < share[i] * (double)rows;
    if (status == MICA_OK) status = mica_compat_eval(engine, &d, &found);
    if (status == MICA_OK) map[i] = found.map.value;
  }
  mica_free(renewed);
  mica_free(order);
  return status;
}
