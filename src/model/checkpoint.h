/* Parameters together with other tensors in one file. */
#ifndef MICA_MODEL_CHECKPOINT_H
#define MICA_MODEL_CHECKPOINT_H

#include <mica/model.h>

/* mica_params_save with n further tensors. */
mica_status mica_params_save_with(const mica_params *params, const mica_named_view *more, int64_t n,
                                  const char *path, const mica_text_pair *metadata, int64_t m);

#endif
