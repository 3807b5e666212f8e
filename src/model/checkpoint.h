/* Checkpoints and networks as the model file needs them. */
#ifndef MICA_MODEL_CHECKPOINT_H
#define MICA_MODEL_CHECKPOINT_H

#include <mica/model.h>

/* mica_params_save with n further tensors. */
mica_status mica_params_save_with(const mica_params *params, const mica_named_view *more, int64_t n,
                                  const char *path, const mica_text_pair *metadata, int64_t m);
/* The same with matrices and kernels of float32 as int8, w = scale q, the scales [first dimension]
 * as NAME.scale. */
mica_status mica_params_save_int8(const mica_params *params, const mica_named_view *more, int64_t n,
                                  const char *path, const mica_text_pair *metadata, int64_t m);
/* mica_params_load from an archive that is open already. */
mica_status mica_params_load_from(mica_params *params, const mica_archive *archive,
                                  const mica_load_options *o, mica_load_report *report);
#endif
