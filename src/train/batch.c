#include "train/batch.h"

mica_inputs mica_batch_inputs(mica_tape *t, const mica_batch *batch) {
  mica_inputs in = {MICA_NONE, MICA_NONE, MICA_NONE};
  if (batch->x) in.x = mica_input(t, batch->x);
  if (batch->tokens) in.tokens = mica_input(t, batch->tokens);
  if (batch->fields) in.fields = mica_input(t, batch->fields);
  if (batch->labels) mica_set_labels(t, mica_input(t, batch->labels));
  if (batch->mask) mica_set_mask(t, mica_input(t, batch->mask));
  return in;
}
