/* Update rules for parameters by name: see rules.h. */
#include "optim/rules.h"

#include "base/options.h"

#include <string.h>

#define RULES 64 /* the most that a text may have */

static bool matches_any(const mica_params *params, const char *pattern) {
  for (int64_t i = 0; i < mica_params_count(params); i++)
    if (mica_path_matches(pattern, mica_param_path(mica_params_at(params, i)))) return true;
  return false;
}

/* Where the pattern of "PATTERN=RULE" ends: at an '=' before any ':', as names have neither. */
static const char *pattern_end(const char *text) {
  const char *end = text + strcspn(text, "=:(");
  return *end == '=' ? end : NULL;
}

static mica_status add_rule(const mica_params *params, const char *text, mica_rules *out) {
  const char *spec = text, *equals = pattern_end(text);
  mica_rule *rule = &out->rule[out->n];
  *rule = (mica_rule){0};
  out->n++;
  if (equals) {
    size_t n = (size_t)(equals - text);
    while (n && text[n - 1] == ' ') n--;
    rule->pattern = mica_strndup(text, n);
    if (!rule->pattern) return MICA_ERR_MEMORY;
    if (!matches_any(params, rule->pattern))
      return mica_fail(MICA_ERR_NOT_FOUND, "optimiser: '%.200s' matches no parameter",
                       rule->pattern);
    spec = equals + 1;
  } else if (out->n > 1) {
    return mica_fail(
        MICA_ERR_INVALID,
        "optimiser: '%.200s': expected PATTERN=RULE, as only the first rule may be for "
        "all the others",
        text);
  }
  const mica_status status =
      mica_spec_parse(mica_params_engine(params), MICA_KIND_OPTIMISER, spec, &rule->spec);
  if (status != MICA_OK) return status;
  rule->f = mica_spec_component(rule->spec)->functions;
  rule->options = mica_spec_options(rule->spec);
  return MICA_OK;
}

mica_status mica_rules_parse(const mica_params *params, const char *text, mica_rules *out) {
  *out = (mica_rules){0};
  if (!text) return mica_fail(MICA_ERR_INVALID, "optimiser: the text is NULL");
  char **part;
  int n;
  mica_status status = mica_spec_split(text, '|', RULES, &part, &n);
  if (status != MICA_OK) return status;
  out->rule = mica_calloc((size_t)n, sizeof *out->rule);
  if (!out->rule) status = MICA_ERR_MEMORY;
  for (int i = 0; i < n && status == MICA_OK; i++) status = add_rule(params, part[i], out);
  mica_spec_split_free(part, n);
  if (status != MICA_OK) mica_rules_free(out);
  return status;
}

void mica_rules_free(mica_rules *r) {
  for (int i = 0; i < r->n; i++) {
    mica_free(r->rule[i].pattern);
    mica_spec_free(r->rule[i].spec);
  }
  mica_free(r->rule);
  *r = (mica_rules){0};
}

const mica_rule *mica_rules_of(const mica_rules *r, const char *path) {
  for (int i = r->n; i-- > 0;)
    if (!r->rule[i].pattern || mica_path_matches(r->rule[i].pattern, path)) return &r->rule[i];
  mica_fail(MICA_ERR_INVALID,
            "optimiser: no rule for parameter '%s'; begin with a rule without a pattern", path);
  return NULL;
}
