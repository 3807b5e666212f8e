/* Other ways back through a network, and copies that may be changed. */
#ifndef MICA_EXPLAIN_RULES_H
#define MICA_EXPLAIN_RULES_H

#include <mica/explain.h>

/* Let a tape's backward follow the rule. */
mica_status mica_explain_rule(mica_tape *t, mica_relu_rule rule);

/* A network with the same values; no parameter is trainable, so backward computes no weight
 * gradients. */
mica_status mica_explain_copy(const mica_net *net, mica_net **out);

/* Pearson's correlation of two images' maps. */
double mica_map_correlation(const float *a, const float *b, int64_t n);

#endif
