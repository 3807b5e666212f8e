/* What is chosen for which parameter: "adamw:lr=1e-3 | embedding.*=adagrad:lr=0.05". */
#ifndef MICA_PARAM_RULES_H
#define MICA_PARAM_RULES_H

#include <mica/param.h>

typedef struct mica_rule {
  char *selection; /* of parameters; NULL: all */
  mica_spec *spec;
  const void *functions; /* the component's table */
  const void *options;
} mica_rule;

typedef struct mica_rules {
  mica_rule *rule;
  int n;
} mica_rules;

/* Components of `kind`. Only the first may be without a selection; every selection must match an
 * entry of `params`. */
mica_status mica_rules_parse(const mica_params *params, mica_kind kind, const char *text,
                             mica_rules *out);
void mica_rules_free(mica_rules *r);
/* The last rule that selects the entry, NULL (no error) where none does. */
const mica_rule *mica_rules_find(const mica_rules *r, const mica_param *q);

#endif
