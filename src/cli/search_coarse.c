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

mica_status search_codes_options(const mica_engine *engine, const char *text,
                                 mica_quantiser_options *o) {
  mica_spec *spec = NULL;
  mica_status status = mica_spec_parse(engine, MICA_KIND_INDEX, text, &spec);
  if (status) return status;
  o->parts = option_of(spec, "parts", 0);
  if (!o->parts)
    status = mica_fail(MICA_ERR_UNSUPPORTED, "an index %s takes no codes, pq does",
                       mica_spec_component(spec)->name);
  o->words = option_of(spec, "words", o->words);
  o->rotations = option_of(spec, "rotations", o->rotations);
  o->iterations = option_of(spec, "iterations", o->iterations);
  o->sample = option_of(spec, "sample", o->sample);
  o->seed = (uint64_t)option_of(spec, "seed", 0);
  mica_spec_free(spec);
  return status;
}

/* ---- codes in a file ---- */

mica_status search_codes_write(const mica_quantiser *q, const char *path) {
  const int64_t d = mica_quantiser_width(q), k = mica_quantiser_words(q);
  const float *word = mica_quantiser_codewords(q), *rotation = mica_quantiser_rotation(q);
  const mica_named_view views[] = {
      {"words", mica_view_of((void *)(uintptr_t)word, MICA_F32,
                             MICA_SHAPE(mica_quantiser_parts(q), k, d / mica_quantiser_parts(q)))},
      {"rotation", mica_view_of((void *)(uintptr_t)rotation, MICA_F32, MICA_SHAPE(d, d))}};
  return mica_safetensors_write(path, views, rotation ? 2 : 1, NULL, 0);
}

static mica_status read_codes(const mica_engine *engine, const char *path, mica_quantiser **out) {
  mica_archive *a = NULL;
  mica_tensor *word = NULL, *rotation = NULL;
  mica_status status = mica_archive_open(path, &a);
  if (status) return status;
  const int64_t at = mica_archive_find(a, "words"), turn = mica_archive_find(a, "rotation");
  const mica_shape *s = at < 0 ? NULL : mica_archive_shape(a, at);
  const int64_t d = s && s->rank == 3 ? s->dim[0] * s->dim[2] : 0;
  if (!d || mica_archive_dtype(a, at) != MICA_F32 ||
      (turn >= 0 && (mica_archive_dtype(a, turn) != MICA_F32 ||
                     mica_shape_count(mica_archive_shape(a, turn)) != d * d)))
    status = mica_fail(MICA_ERR_FORMAT, "%s: no codes, as --codes-out writes them", path);
  if (!status) status = mica_archive_read(a, at, &word);
  if (!status && turn >= 0) status = mica_archive_read(a, turn, &rotation);
  if (!status)
    status = mica_quantiser_of(engine, d, s->dim[0], s->dim[1], mica_tensor_data(word),
                               rotation ? mica_tensor_data(rotation) : NULL, out);
  mica_tensor_free(word);
  mica_tensor_free(rotation);
  mica_archive_close(a);
  return status;
}

mica_status search_codes(const cli_args *a, const mica_engine *engine, const char *text,
                         const mica_tensor *coarse, mica_index_builder *b) {
  const char *path = cli_text(a, "--codes");
  mica_quantiser *q = NULL;
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  if (!path && !coarse) return MICA_OK;
  mica_status status = search_codes_options(engine, text, &o);
  if (status) return mica_fail_within("--%s", path ? "codes" : "coarse");
  if (path) {
    status = read_codes(engine, path, &q);
    if (!status) status = mica_index_builder_set_codes(b, q);
    mica_quantiser_free(q);
    return status;
  }
  const mica_view v = mica_tensor_view(coarse);
  if (!status) status = mica_quantiser_fit(engine, &v, &o, &q);
  if (!status) status = mica_index_builder_set_codes(b, q);
  mica_quantiser_free(q);
  return status;
}
