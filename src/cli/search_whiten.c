/* Whitened descriptors: rows become their principal components, each of variance 1, and have length
 * 1; the index keeps what was learned, so queries go through the same.
 */
#include "cli/search.h"

#include <stdlib.h>
#include <string.h>

/* All rows of a source, in memory. */
static mica_status all_rows(row_source *s, mica_tensor **out) {
  int64_t *which = mica_realloc_array(NULL, (size_t)s->n, sizeof *which);
  mica_tensor *all = NULL;
  mica_status status = which ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_tensor_create(s->dtype, MICA_SHAPE(s->n, s->width), &all);
  const size_t bytes = (size_t)s->width * mica_dtype_size(s->dtype);
  int64_t done = 0;
  for (int64_t cursor = 0, m = 1; m && !status; done += m)
    status = row_source_next(s, &cursor, s->n - done,
                             (char *)mica_tensor_data(all) + (size_t)done * bytes, which, &m);
  /* Pictures that could not be read leave no row. */
  if (!status) status = mica_tensor_slice(all, 0, done, out);
  mica_tensor_free(all);
  mica_free(which);
  return status;
}

mica_status search_whiten_learn(const cli_args *a, const mica_engine *engine, row_source *rows,
                                mica_transform **out) {
  const char *on = cli_text(a, "--whiten-on");
  int64_t n;
  mica_tensor *x = NULL;
  row_source other = {0};
  *out = NULL;
  if (!cli_int(a, "--whiten", 0, 1 << 20, &n)) return MICA_ERR_INVALID;
  if (!n && !on) return MICA_OK;
  if (!n) return mica_fail(MICA_ERR_INVALID, "--whiten-on without --whiten N");
  mica_status status = on ? row_source_features(on, NULL, "all", &other) : MICA_OK;
  if (!status) status = all_rows(on ? &other : rows, &x);
  row_source_close(&other);
  mica_transform_options o = MICA_TRANSFORM_OPTIONS;
  o.pca = n;
  if (!status) {
    const mica_view v = mica_tensor_view(x);
    status = mica_transform_fit(engine, &o, &v, out);
  }
  mica_tensor_free(x);
  if (!status) status = row_source_transform(rows, engine, *out);
  if (status) {
    mica_transform_free(*out);
    *out = NULL;
  }
  return status;
}

mica_status search_whiten_unused(const cli_args *a) {
  static const char *const flags[] = {"--whiten", "--whiten-on"};
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    const char *value;
    if (cli_all(a, flags[i], &value, 1))
      return mica_fail(MICA_ERR_INVALID, "%s is for an index that is built of rows", flags[i]);
  }
  return MICA_OK;
}

mica_status search_whiten_keep(const mica_transform *whitening, mica_index_builder *builder) {
  mica_record *record = NULL;
  mica_status status = mica_record_create(&record);
  if (!status) status = mica_transform_save(whitening, record);
  for (int64_t i = 0; !status && i < mica_record_count(record); i++) {
    const char *name;
    mica_tensor *t = mica_record_at(record, i, &name);
    status = mica_index_builder_set_tensor(builder, name, t);
  }
  mica_record_free(record);
  return status;
}

mica_status search_whiten_open(const mica_index *index, mica_transform **out) {
  const mica_record *kept = mica_index_tensors(index);
  const mica_tensor *c = NULL;
  mica_transform_options o = MICA_TRANSFORM_OPTIONS;
  *out = NULL;
  for (int64_t i = 0; kept && i < mica_record_count(kept); i++) {
    const char *name;
    const mica_tensor *t = mica_record_at(kept, i, &name);
    if (strcmp(name, "transform.components") == 0) c = t;
  }
  if (!c) return MICA_OK;
  if (mica_tensor_shape(c)->rank != 2)
    return mica_fail(MICA_ERR_FORMAT, "the index's whitening is damaged");
  o.pca = mica_tensor_dim(c, 0);
  const mica_status status = mica_transform_load(&o, mica_tensor_dim(c, 1), kept, out);
  return status ? status
         : mica_transform_width(*out) == mica_index_width(index)
             ? MICA_OK
             : mica_fail(MICA_ERR_FORMAT,
                         "the index's whitening gives %lld columns, its rows have "
                         "%lld",
                         (long long)mica_transform_width(*out), (long long)mica_index_width(index));
}
