/* mica/compatible.h: a new embedding on an old one's index.
 *
 * When a model is replaced, the rows that are stored were made by the old one. Queries of a
 * compatible new model are compared with them by their first dimensions. Here is what such a model
 * is trained beside (the scheme "compatible", mica/scheme.h), and what the upgrade is worth.
 */
#ifndef MICA_COMPATIBLE_H
#define MICA_COMPATIBLE_H

#include <mica/retrieval.h>
#include <mica/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The mean row of each class, out [classes, D], not made of length 1: the classifier that an older
 * embedding is (Shen et al. 2020). A class without rows gets zeros. */
MICA_API mica_status mica_pseudo_classifier(const mica_view *features, const int64_t *label,
                                            int64_t classes, double *out);

/* ---- features by the number of their example ---- */

typedef struct mica_feature_cache mica_feature_cache;

/* An empty cache for rows of `width` float32 features. */
MICA_API mica_status mica_feature_cache_create(int64_t width, mica_feature_cache **out);
/* NULL does nothing. */
MICA_API void mica_feature_cache_free(mica_feature_cache *cache);
/* Keep the rows [n, width] of the examples id [n], not negative; a later row of an id replaces an
 * earlier one. On error some may have been kept. */
MICA_API mica_status mica_feature_cache_put(mica_feature_cache *cache, int64_t n, const int64_t *id,
                                            const float *rows);
/* The rows of the examples id [n] into out [n, width]; false where one is not there. */
MICA_API bool mica_feature_cache_get(const mica_feature_cache *cache, int64_t n, const int64_t *id,
                                     float *out);
/* How many examples there are, and the width of a row. */
MICA_API int64_t mica_feature_cache_count(const mica_feature_cache *cache);
MICA_API int64_t mica_feature_cache_width(const mica_feature_cache *cache);
/* As a safetensors file with the tensors "id" and "features", and back. */
MICA_API mica_status mica_feature_cache_save(const mica_feature_cache *cache, const char *path);
MICA_API mica_status mica_feature_cache_open(const char *path, mica_feature_cache **out);

/* ---- what it is worth ---- */

typedef struct mica_compat_data {
  uint32_t size;
  mica_view query, gallery; /* [Q, Dq] and [N, Dg]: compared by their first min(Dq, Dg) columns */
  const int64_t *query_label, *gallery_label; /* [Q], [N] */
  bool self; /* query i is row i of the gallery, and left out of its own ranking */
  /* Rows of the gallery that the new model has made again: of those with renewed[i], row i of
   * `fresh` [N, Df] counts, by its first columns too. NULL: none. */
  const bool *renewed;
  const mica_view *fresh;
  mica_index_metric metric; /* inner: 1 - the product is the distance, as the authors have it */
} mica_compat_data;
#define MICA_COMPAT_DATA                                                                           \
  { sizeof(mica_compat_data), {0}, {0}, NULL, NULL, true, NULL, NULL, MICA_INDEX_INNER }

typedef struct mica_compat_result {
  mica_estimate cmc1, cmc5, map; /* a right answer among the first 1, 5; mean average precision */
  int64_t columns;               /* that were compared */
} mica_compat_result;

/* Queries without a right answer are left out. */
MICA_API mica_status mica_compat_eval(const mica_engine *engine, const mica_compat_data *data,
                                      mica_compat_result *out);
/* The share of what an upgrade could bring that it brings before a row is made again:
 * (new_old - old_old) / (new_new - old_old). NaN where there was nothing to gain. */
MICA_API double mica_upgrade_gain(double new_old, double old_old, double new_new);
/* mica_compat_eval's mean average precision with the first of n shares of the gallery renewed, in
 * an order drawn by a key: map [n]. data->fresh must be there, data->renewed is not read. */
MICA_API mica_status mica_backfill_curve(const mica_engine *engine, const mica_compat_data *data,
                                         mica_key key, int64_t n, const double *share, double *map);

#ifdef __cplusplus
}
#endif
#endif
