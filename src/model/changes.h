/* How a network differs from what its architecture's text makes: weights in two factors, folded
 * norms, adapters. The model file has a list of each. */
#ifndef MICA_MODEL_CHANGES_H
#define MICA_MODEL_CHANGES_H

#include "base/json.h"
#include "data/archive.h"

#include <mica/model.h>

bool mica_changes_any(const mica_params *params);
/* "low_rank", "folded" and "adapters" into the object that is being written. */
mica_status mica_changes_write(const mica_params *params, mica_json_writer *w);
/* The same changes to a network that was made from the architecture's text; values come later. */
mica_status mica_changes_read(mica_params *params, const mica_json *root);
/* Elements that the network may have more than the file because of factors: those of the products
 * that the list names, as far as the file has the factors. */
int64_t mica_changes_elements(const mica_json *root, const mica_archive *archive);

#endif
