/* Weights in two factors, as those read them who make a network from a file. */
#ifndef MICA_PARAM_LOW_RANK_H
#define MICA_PARAM_LOW_RANK_H

#include <mica/param.h>

/* Give the layer's weight up for two factors of zeros; the bias moves. MICA_ERR_INVALID for a rank
 * that the weight cannot have, MICA_ERR_STATE for a layer without a plain weight. */
mica_status mica_low_rank_split(mica_node *node, int64_t rank);

/* Fold the norm [C] into the convolution before it, whose bias is made where it has none: W gain /
 * sqrt(var + eps). The norm's entries go. `values` false: the shapes alone, values are about to be
 * loaded. Entries that are not as a batch norm's are MICA_ERR_INVALID. */
mica_status mica_norm_fold(mica_node *conv, mica_node *norm, double eps, bool values);
/* The convolution that the norm was folded into, NULL: none. */
mica_node *mica_node_folded_into(const mica_node *norm);

/* For every node: those below `node` too. */
typedef mica_status (*mica_node_fn)(void *ctx, mica_node *node);
mica_status mica_node_each(mica_node *node, mica_node_fn fn, void *ctx);

#endif
