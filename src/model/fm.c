/* The factorisation machine: weights of single values, and of pairs by the products of their
 * factors. */
#include "model/click.h"

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  return ((const mica_fm_options *)options)->dim;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_fm_options *o = options;
  mica_status status = mica_click_check(task, "fm");
  if (status == MICA_OK) status = mica_click_linear_init(root, task);
  if (status == MICA_OK) status = mica_click_embedding_init(root, task, o->dim, o->table);
  return status == MICA_OK ? mica_click_bias_init(root, task) : status;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  (void)options;
  mica_var z = mica_click_linear(t, root, in);
  out->features = mica_pair_sum(t, mica_click_embedding(t, root, in));
  z = mica_add(t, z, mica_sum(t, out->features, 1, (const int[]){1}, true));
  out->logits = mica_click_logits(t, root, z);
}

static const mica_option options[] = {{"dim", MICA_OPTION_INT, "10", 1, 1 << 16, NULL,
                                       "factors of a value", offsetof(mica_fm_options, dim)},
                                      MICA_CLICK_TABLE(mica_fm_options),
                                      {0}};

static const mica_model_functions functions = {init, forward, mica_click_no_head, features};

MICA_CLICK_COMPONENT(fm, "fm", "factorisation machine on categorical fields", options);
