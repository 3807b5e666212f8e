/* A scheme, chosen by text, with what it made. */
#include "train/teach.h"

#include <string.h>

struct mica_scheme {
  mica_spec *spec;
  const mica_scheme_functions *f;
  void *state;
  char *loss;
};

/* All that the losses need; "a | b" has one for each stream. */
static mica_status needs_of(mica_engine *engine, const char *loss, uint32_t *needs) {
  char part[4096];
  mica_status status = MICA_OK;
  *needs = 0;
  for (const char *at = loss; status == MICA_OK && at; at = strchr(at, '|')) {
    at += *at == '|';
    const size_t n = strcspn(at, "|");
    if (n >= sizeof part)
      return mica_fail(MICA_ERR_INVALID, "scheme: the losses' text is too long");
    memcpy(part, at, n);
    part[n] = 0;
    mica_spec_sum sum;
    status = mica_spec_sum_parse(engine, MICA_KIND_LOSS, part, &sum);
    for (int i = 0; status == MICA_OK && i < sum.n; i++)
      *needs |= mica_spec_component(sum.term[i])->needs;
    if (status == MICA_OK) mica_spec_sum_free(&sum);
  }
  return status;
}

mica_status mica_scheme_create(mica_engine *engine, const char *text,
                               const mica_scheme_setting *setting, const char *loss,
                               mica_scheme **out) {
  *out = NULL;
  if (!setting || !setting->net || !setting->train)
    return mica_fail(MICA_ERR_INVALID, "scheme: for which network, on which stream?");
  mica_scheme *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  uint32_t needs = 0;
  mica_scheme_setting full = {0};
  memcpy(&full, setting, setting->size < sizeof full ? setting->size : sizeof full);
  mica_status status = mica_spec_parse(engine, MICA_KIND_SCHEME, text, &s->spec);
  if (status == MICA_OK) {
    const mica_component *c = mica_spec_component(s->spec);
    s->f = c->functions;
    if (!loss) loss = s->f->loss(mica_spec_options(s->spec));
    if (!(s->loss = mica_strdup(loss))) status = MICA_ERR_MEMORY;
    if (status == MICA_OK) status = needs_of(engine, loss, &needs);
    if (status == MICA_OK) {
      status = s->f->begin(mica_spec_options(s->spec), &full, needs, &s->state);
      if (status != MICA_OK) status = mica_fail_within("scheme %s", c->name);
    }
  }
  if (status == MICA_OK)
    *out = s;
  else
    mica_scheme_free(s);
  return status;
}

void mica_scheme_free(mica_scheme *s) {
  if (!s) return;
  if (s->state) s->f->free(s->state);
  mica_spec_free(s->spec);
  mica_free(s->loss);
  mica_free(s);
}

const char *mica_scheme_loss(const mica_scheme *s) {
  return s->loss;
}
const mica_component *mica_scheme_component(const mica_scheme *s) {
  return mica_spec_component(s->spec);
}
void mica_scheme_describe(const mica_scheme *s, mica_loss_shapes *shapes) {
  s->f->describe(s->state, shapes);
}
void mica_scheme_forward(mica_tape *t, const mica_scheme *s, const mica_net *net,
                         const mica_inputs *inputs, mica_outputs *out, mica_loss_inputs *in) {
  s->f->forward(t, s->state, net, inputs, out, in);
}
