/* What a model that describes parts of pictures makes of them. */
#ifndef MICA_MODEL_PARTS_H
#define MICA_MODEL_PARTS_H

#include <mica/model.h>

/* Whether a model can describe such parts. */
mica_status mica_model_check_parts(const mica_model *model, const mica_model_views *parts);
/* The size at which pictures are read, anew from the network's preprocessing. */
void mica_model_read_larger(mica_model *model);
/* n pictures as they are read, cut into the parts of each: [n parts, H, W, C] as the network reads.
 */
mica_status mica_model_cut(const mica_model *model, const uint8_t *pictures, int64_t n,
                           uint8_t *out);

#endif
