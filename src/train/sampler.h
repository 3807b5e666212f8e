/* How many examples a sampler orders. */
#ifndef MICA_TRAIN_SAMPLER_H
#define MICA_TRAIN_SAMPLER_H

#include <mica/train.h>

int64_t mica_sampler_count(const mica_sampler *sampler);

#endif
