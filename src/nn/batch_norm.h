/* What the batch norm layer and those that contain one agree on. */
#ifndef MICA_NN_BATCH_NORM_H
#define MICA_NN_BATCH_NORM_H

#define MICA_BATCH_NORM_EPS 1e-5

#endif
