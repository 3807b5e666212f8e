/* The rule of a parameter among an optimiser's. */
#ifndef MICA_OPTIM_RULE_H
#define MICA_OPTIM_RULE_H

#include "param/rules.h"

/* NULL with the last error set where there is none. */
const mica_rule *mica_optimiser_rule(const mica_rules *rules, const mica_param *q);

#endif
