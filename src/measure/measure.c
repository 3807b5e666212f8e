/* Findings, and what is checked before a measure looks at the data. */
#include <mica/measure.h>

#include "numeric/rows.h"

#include <math.h>
#include <string.h>

/* ---- findings ---- */

struct mica_findings {
  int64_t n, room;
  mica_finding *item;
};

mica_status mica_findings_create(mica_findings **out) {
  *out = mica_calloc(1, sizeof **out);
  return *out ? MICA_OK : MICA_ERR_MEMORY;
}

/* Forget those from number n on. */
static void cut(mica_findings *f, int64_t n) {
  while (f->n > n) mica_free((double *)(uintptr_t)f->item[--f->n].values);
}

void mica_findings_free(mica_findings *findings) {
  if (!findings) return;
  cut(findings, 0);
  mica_free(findings->item);
  mica_free(findings);
}

int64_t mica_findings_count(const mica_findings *findings) {
  return findings->n;
}

const mica_finding *mica_findings_at(const mica_findings *findings, int64_t i) {
  return i >= 0 && i < findings->n ? &findings->item[i] : NULL;
}

double mica_findings_value(const mica_findings *findings, const char *name) {
  for (int64_t i = 0; i < findings->n; i++)
    if (findings->item[i].form == MICA_FINDING_NUMBER && strcmp(findings->item[i].name, name) == 0)
      return findings->item[i].values[0];
  return NAN;
}

mica_status mica_findings_values(mica_findings *findings, mica_finding_form form, const char *name,
                                 int64_t rows, int64_t columns, const double *values,
                                 const char *meaning) {
  if (rows < 0 || columns < 0 || !name || !meaning)
    return mica_fail(MICA_ERR_INVALID, "a finding of %lld x %lld values, or without a name",
                     (long long)rows, (long long)columns);
  if (findings->n == findings->room) {
    const int64_t room = findings->room ? 2 * findings->room : 16;
    mica_finding *grown = mica_realloc_array(findings->item, (size_t)room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    findings->item = grown;
    findings->room = room;
  }
  double *copy = mica_realloc_array(NULL, (size_t)(rows * columns) + 1, sizeof *copy);
  if (!copy) return MICA_ERR_MEMORY;
  memcpy(copy, values, (size_t)(rows * columns) * sizeof *copy);
  findings->item[findings->n++] = (mica_finding){form, name, meaning, rows, columns, copy};
  return MICA_OK;
}

mica_status mica_findings_number(mica_findings *findings, const char *name, double value,
                                 const char *meaning) {
  return mica_findings_values(findings, MICA_FINDING_NUMBER, name, 1, 1, &value, meaning);
}

/* ---- checks ---- */

static mica_status check_labels(mica_measure_data *d) {
  int64_t most = 0;
  if (!d->label) return MICA_OK;
  for (int64_t i = 0; i < mica_rows_n(&d->x); i++) {
    if (d->label[i] < 0 || (d->classes && d->label[i] >= d->classes) || d->label[i] >= INT32_MAX)
      return mica_fail(MICA_ERR_INVALID, "measure: label %lld of row %lld, expected 0 to %lld",
                       (long long)d->label[i], (long long)i,
                       (long long)(d->classes ? d->classes : INT32_MAX) - 1);
    if (d->label[i] > most) most = d->label[i];
  }
  if (!d->classes) d->classes = most + 1;
  return MICA_OK;
}

static mica_status check(const mica_engine *engine, const mica_component *c, mica_measure_data *d) {
  mica_status status = mica_rows_check(&d->x, "features");
  if (!status && d->other) status = mica_rows_check(d->other, "the other features");
  if (status) return status;
  const int64_t n = mica_rows_n(&d->x);
  if (n < 2)
    return mica_fail(MICA_ERR_SHAPE, "measure: %lld rows, expected at least 2", (long long)n);
  if (d->other && mica_rows_n(d->other) != n)
    return mica_fail(MICA_ERR_SHAPE, "measure: %lld rows of features and %lld of the others",
                     (long long)n, (long long)mica_rows_n(d->other));
  if ((c->needs & MICA_NEED_LABELS) && !d->label)
    return mica_fail(MICA_ERR_INVALID, "%s looks at classes, and the features have no labels",
                     c->name);
  if ((c->needs & MICA_NEED_TWO_VIEWS) && !d->other)
    return mica_fail(MICA_ERR_INVALID, "%s compares two sets of features, and there is one",
                     c->name);
  status = check_labels(d);
  if (!status) status = mica_rows_check_finite(engine, &d->x, "features");
  if (!status && d->other) status = mica_rows_check_finite(engine, d->other, "the other features");
  return status;
}

mica_status mica_measure(const mica_engine *engine, const char *spec, const mica_measure_data *data,
                         mica_findings *findings) {
  mica_spec *s = NULL;
  mica_measure_data d = MICA_MEASURE_DATA;
  if (!data || data->size < sizeof(uint32_t) || !spec || !findings)
    return mica_fail(MICA_ERR_INVALID, "measure: no data, specification or findings");
  memcpy(&d, data, data->size < sizeof d ? data->size : sizeof d);
  d.size = sizeof d;
  const int64_t before = findings->n;
  mica_status status = mica_spec_parse(engine, MICA_KIND_MEASURE, spec, &s);
  if (status) return status;
  const mica_component *c = mica_spec_component(s);
  const mica_measure_functions *fn = c->functions;
  status = check(engine, c, &d);
  if (!status) status = fn->measure(engine, mica_spec_options(s), &d, findings);
  if (status) cut(findings, before);
  mica_spec_free(s);
  return status;
}
