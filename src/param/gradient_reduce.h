/* Gradients over the ranks of a communicator: data parallelism for any tree. */
#ifndef MICA_PARAM_GRADIENT_REDUCE_H
#define MICA_PARAM_GRADIENT_REDUCE_H

#include "base/communicator.h"

#include <mica/param.h>

/* Replace every trainable entry's gradient by the sum, or the mean, over all ranks, added up in the
 * order of the ranks, so that all have the same bits. The trees have the same entries; the forms of
 * a gradient may differ: dense on any rank makes it dense, rows stay rows, none everywhere stays
 * none. A gradient that is not valid on one rank is not valid on any. Afterwards norms, clipping
 * and optimisers do the same on every rank. NULL: one rank. */
mica_status mica_params_grad_reduce(mica_params *p, mica_communicator *c, bool mean);

#endif
