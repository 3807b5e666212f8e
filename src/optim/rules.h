/* Which parameter has which update rule: "adamw:lr=1e-3 | embedding.*=adagrad:lr=0.05". */
#ifndef MICA_OPTIM_RULES_H
#define MICA_OPTIM_RULES_H

#include <mica/optim.h>

typedef struct mica_rule {
  char *pattern; /* of parameters' names; NULL: all */
  mica_spec *spec;
  const mica_optimiser_functions *f;
  const void *options;
} mica_rule;

typedef struct mica_rules {
  mica_rule *rule;
  int n;
} mica_rules;

/* Every pattern must match an entry of `params`. */
mica_status mica_rules_parse(const mica_params *params, const char *text, mica_rules *out);
void mica_rules_free(mica_rules *r);
/* The last rule that matches; NULL with the last error set where none does. */
const mica_rule *mica_rules_of(const mica_rules *r, const char *path);

#endif
