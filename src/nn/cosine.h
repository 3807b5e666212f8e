/* What the cosine layer takes from a batch. */
#ifndef MICA_NN_COSINE_H
#define MICA_NN_COSINE_H

#include <mica/nn.h>

/* Scale, margin and t of this batch from its cosines [N,C] (contiguous, float32 or float64) and
 * labels [N], which are in range; o is complete. In evaluation the margin is 0 and t stays. */
mica_status mica_cosine_adapt(const mica_cosine_options *o, const mica_view *cosine,
                              const int64_t *label, bool training, mica_cosine_state *state);

#endif
