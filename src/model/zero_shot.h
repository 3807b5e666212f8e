/* Embeddings of a class's prompts, as a zero_shot estimator wants them. */
#ifndef MICA_MODEL_ZERO_SHOT_H
#define MICA_MODEL_ZERO_SHOT_H

#include <mica/model.h>

/* The prompts that the estimator's options make of one class, embedded: float32 [n, D] in *x.
 * MICA_ERR_UNSUPPORTED unless it is a zero_shot estimator. */
mica_status mica_prompts_embed(mica_model *model, const mica_estimator *estimator, const char *name,
                               int64_t n, const char *const *phrases, mica_tensor **x);

#endif
