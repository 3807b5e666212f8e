/* Components for parameters by name: see rules.h. */
#include "param/rules.h"

#include "base/options.h"

#include <string.h>

#define RULES 64 /* the most that a text may have */

static bool selects_any(const mica_params *params, const char *selection) {
  for (int64_t i = 0; i < mica_params_count(params); i++)
    if (mica_param_selected(mica_params_at(params, i), selection)) return true;
  return false;
}

/* Where the selection of "SELECTION=RULE" ends: at an '=' before any ':', as names have neither. */
static const char *selection_end(const char *text) {
  const char *end = text + strcspn(text, "=:(");
  return *end == '=' ? end : NULL;
}

static mica_status add_rule(const mica_params *params, mica_kind kind, const char *text,
                            mica_rules *out) {
  const char *spec = text, *equals = selection_end(text), *what = mica_kind_name(kind);
  mica_rule *rule = &out->rule[out->n];
  *rule = (mica_rule){0};
  out->n++;
  if (equals) {
    size_t n = (size_t)(equals - text);
    while (n && text[n - 1] == ' ') n--;
    rule->selection = mica_strndup(text, n);
    if (!rule->selection) return MICA_ERR_MEMORY;
    if (mica_selection_check(rule->selection) != MICA_OK) return mica_fail_within("%s", what);
    if (!selects_any(params, rule->selection))
      return mica_fail(MICA_ERR_NOT_FOUND, "%s: '%.200s' matches no parameter", what,
                       rule->selection);
    spec = equals + 1;
  } else if (out->n > 1) {
    return mica_fail(
        MICA_ERR_INVALID,
        "%s: '%.200s': expected PATTERN=RULE, as only the first rule may be for all the others",
        what, text);
  }
  const mica_status status = mica_spec_parse(mica_params_engine(params), kind, spec, &rule->spec);
  if (status != MICA_OK) return status;
  rule->functions = mica_spec_component(rule->spec)->functions;
  rule->options = mica_spec_options(rule->spec);
  return MICA_OK;
}

mica_status mica_rules_parse(const mica_params *params, mica_kind kind, const char *text,
                             mica_rules *out) {
  *out = (mica_rules){0};
  if (!text) return mica_fail(MICA_ERR_INVALID, "%s: the text is NULL", mica_kind_name(kind));
  char **part;
  int n;
  mica_status status = mica_spec_split(text, '|', RULES, &part, &n);
  if (status != MICA_OK) return status;
  out->rule = mica_calloc((size_t)n, sizeof *out->rule);
  if (!out->rule) status = MICA_ERR_MEMORY;
  for (int i = 0; i < n && status == MICA_OK; i++) status = add_rule(params, kind, part[i], out);
  mica_spec_split_free(part, n);
  if (status != MICA_OK) mica_rules_free(out);
  return status;
}

void mica_rules_free(mica_rules *r) {
  for (int i = 0; i < r->n; i++) {
    mica_free(r->rule[i].selection);
    mica_spec_free(r->rule[i].spec);
  }
  mica_free(r->rule);
  *r = (mica_rules){0};
}

const mica_rule *mica_rules_find(const mica_rules *r, const mica_param *q) {
  for (int i = r->n; i-- > 0;)
    if (!r->rule[i].selection || mica_param_selected(q, r->rule[i].selection)) return &r->rule[i];
  return NULL;
}
