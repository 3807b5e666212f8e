/* --coarse: what another encoder made of the same rows, for an index whose codes are of that. */
#include "cli/search.h"

#include <stddef.h>
#include <string.h>

mica_status search_coarse_open(const cli_args *a, int64_t n, mica_tensor **out) {
  const char *path = cli_text(a, "--coarse");
  row_source s;
  *out = NULL;
  if (!path) return MICA_OK;
  mica_status status = row_source_features(path, NULL, cli_text(a, "--part"), &s);
  if (status) return status;
  int64_t *which = mica_realloc_array(NULL, (size_t)s.n, sizeof *which), cursor = 0, m = 0, at = 0;
  if (!which) status = MICA_ERR_MEMORY;
  if (!status && s.n != n)
    status =
        mica_fail(MICA_ERR_SHAPE, "%s: %lld rows beside %lld", path, (long long)s.n, (long long)n);
  if (!status) status = mica_tensor_create(s.dtype, MICA_SHAPE(s.n, s.width), out);
  const size_t bytes = (size_t)s.width * mica_dtype_size(s.dtype);
  for (m = 1; m && !status; at += m)
    status = row_source_next(&s, &cursor, s.n - at,
                             (char *)mica_tensor_data(*out) + (size_t)at * bytes, which, &m);
  row_source_close(&s);
  mica_free(which);
  return status;
}

void search_coarse_rows(const mica_tensor *coarse, int64_t m, const int64_t *which, void *buffer,
                        mica_view *out) {
  const size_t bytes =
      (size_t)mica_tensor_dim(coarse, 1) * mica_dtype_size(mica_tensor_dtype(coarse));
  for (int64_t i = 0; i < m; i++)
    memcpy((char *)buffer + (size_t)i * bytes,
           (const char *)mica_tensor_data(coarse) + (size_t)which[i] * bytes, bytes);
  *out = mica_view_of(buffer, mica_tensor_dtype(coarse), MICA_SHAPE(m, mica_tensor_dim(coarse, 1)));
}

/* An option of the specification by its name; `otherwise` where it has none of that name. */
static int64_t option_of(const mica_spec *spec, const char *name, int64_t otherwise) {
  const mica_option *o = mica_spec_component(spec)->options;
  const char *options = mica_spec_options(spec);
  for (; o->name; o++)
    if (strcmp(o->name, name) == 0 && o->type == MICA_OPTION_INT) {
      int64_t v;
      memcpy(&v, options + o->offset, sizeof v);
      return v;
    }
  return otherwise;
}

mica_status search_coarse_fit(const mica_engine *engine, const char *text,
                              const mica_tensor *coarse, mica_index_builder *b) {
  mica_spec *spec = NULL;
  mica_quantiser *q = NULL;
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  mica_status status = mica_spec_parse(engine, MICA_KIND_INDEX, text, &spec);
  if (status) return status;
  o.parts = option_of(spec, "parts", 0);
  if (!o.parts)
    status = mica_fail(MICA_ERR_UNSUPPORTED, "--coarse: an index %s takes no codes, pq does",
                       mica_spec_component(spec)->name);
  o.words = option_of(spec, "words", o.words);
  o.rotations = option_of(spec, "rotations", o.rotations);
  o.iterations = option_of(spec, "iterations", o.iterations);
  o.sample = option_of(spec, "sample", o.sample);
  o.seed = (uint64_t)option_of(spec, "seed", 0);
  const mica_view v = mica_tensor_view(coarse);
  if (!status) status = mica_quantiser_fit(engine, &v, &o, &q);
  if (!status) status = mica_index_builder_set_codes(b, q);
  mica_quantiser_free(q);
  mica_spec_free(spec);
  return status;
}
