/* What the batch norm layer and those that contain one agree on. */
#ifndef MICA_NN_BATCH_NORM_H
#define MICA_NN_BATCH_NORM_H

#include <mica/nn.h>

/* The caller's options with what an older caller does not know; NULL: the defaults. */
mica_norm_options mica_norm_options_of(const mica_norm_options *given);
/* act(norm(x) + residual) in training, as one operation. */
mica_var mica_nn_batch_norm_add(mica_tape *t, mica_node *node, const mica_norm_options *o,
                                mica_activation act, mica_var x, mica_var residual);

#endif
