/* Logistic regression on fields: the baseline of click models. */
#include "model/click.h"

static int64_t features(const void *options, const mica_problem *task) {
  (void)options;
  return task->fields + task->channels;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  (void)options;
  mica_status status = mica_click_check(task, "lr");
  if (status == MICA_OK) status = mica_click_linear_init(root, task);
  return status == MICA_OK ? mica_click_bias_init(root, task) : status;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  (void)options;
  mica_var w = mica_nn_field_embedding(t, mica_node_find(root, "linear"), in->fields, in->x);
  out->features = mica_flatten(t, w, 1);
  out->logits = mica_click_logits(t, root, mica_sum(t, out->features, 1, (const int[]){1}, true));
}

static const mica_option options[] = {{0}};

static const mica_model_functions functions = {init, forward, mica_click_no_head, features};

MICA_CLICK_COMPONENT(lr, "lr", "logistic regression on categorical fields", options);
