/* A sampler with the data that it orders. */
#include "train/sampler.h"

#include <string.h>

struct mica_sampler {
  mica_spec *spec;
  mica_sampler_data data;
  int64_t *label, *predicted;
};

void mica_sampler_free(mica_sampler *s) {
  if (!s) return;
  mica_spec_free(s->spec);
  mica_free(s->label);
  mica_free(s->predicted);
  mica_free(s);
}

static mica_status check(const mica_sampler_data *d, int64_t *classes) {
  int64_t most = d->classes;
  if (d->n < 1 || !d->label)
    return mica_fail(MICA_ERR_INVALID, "sampler: %lld examples%s, expected 1 or more with labels",
                     (long long)d->n, d->label ? "" : " without labels");
  for (int64_t i = 0; i < d->n; i++) {
    if (d->label[i] < 0 || (d->classes > 0 && d->label[i] >= d->classes))
      return mica_fail(MICA_ERR_INVALID, "sampler: label %lld of example %lld",
                       (long long)d->label[i], (long long)i);
    if (d->label[i] >= most) most = d->label[i] + 1;
  }
  if (most > 65536 && most > 16 * d->n)
    return mica_fail(MICA_ERR_INVALID, "sampler: %lld classes for %lld examples", (long long)most,
                     (long long)d->n);
  for (int64_t i = 0; d->predicted && i < d->n; i++)
    if (d->predicted[i] >= most || d->predicted[i] < MICA_CLASS_NONE)
      return mica_fail(MICA_ERR_INVALID, "sampler: class %lld predicted of example %lld",
                       (long long)d->predicted[i], (long long)i);
  *classes = most;
  return MICA_OK;
}

static mica_status copy(const int64_t *from, int64_t n, int64_t **to) {
  if (!from) return MICA_OK;
  *to = mica_malloc((size_t)n * sizeof **to);
  if (!*to) return MICA_ERR_MEMORY;
  memcpy(*to, from, (size_t)n * sizeof **to);
  return MICA_OK;
}

mica_status mica_sampler_create(const mica_engine *engine, const char *text,
                                const mica_sampler_data *given, mica_sampler **out) {
  mica_sampler_data d = MICA_SAMPLER_DATA;
  *out = NULL;
  memcpy(&d, given, given->size < sizeof d ? given->size : sizeof d);
  mica_status status = check(&d, &d.classes);
  if (status != MICA_OK) return status;
  mica_sampler *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  status = mica_spec_parse(engine, MICA_KIND_SAMPLER, text, &s->spec);
  if (status == MICA_OK) status = copy(d.label, d.n, &s->label);
  if (status == MICA_OK) status = copy(d.predicted, d.n, &s->predicted);
  if (status != MICA_OK) {
    mica_sampler_free(s);
    return status;
  }
  s->data = d;
  s->data.label = s->label;
  s->data.predicted = s->predicted;
  *out = s;
  return MICA_OK;
}

int64_t mica_sampler_count(const mica_sampler *s) {
  return s->data.n;
}

mica_status mica_sampler_order(const mica_sampler *s, mica_key key, int64_t *order) {
  const mica_sampler_functions *f = mica_spec_component(s->spec)->functions;
  return f->order(mica_spec_options(s->spec), &s->data, key, order);
}
