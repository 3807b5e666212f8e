/* A batch on the tape. */
#ifndef MICA_TRAIN_BATCH_H
#define MICA_TRAIN_BATCH_H

#include <mica/train.h>

/* What the network reads of a batch, without a copy; the batch's mask becomes the tape's. */
mica_inputs mica_batch_inputs(mica_tape *t, const mica_batch *batch);

#endif
