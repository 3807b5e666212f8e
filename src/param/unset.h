/* Values that are about to be loaded: zero, and not touched before. */
#ifndef MICA_PARAM_UNSET_H
#define MICA_PARAM_UNSET_H

#include <mica/tensor.h>

/* A block of zeros that such values are cut from. */
typedef struct mica_unset mica_unset;

/* A tensor of zeros, from *block where it is small beside one; *block, NULL at first, is exchanged
 * when it is used up. The memory lives as long as a tensor in it, or the block that is held. */
mica_status mica_unset_tensor(mica_unset **block, mica_dtype dtype, mica_shape shape,
                              mica_tensor **out);
void mica_unset_release(mica_unset *block);

#endif
