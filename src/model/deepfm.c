/* DeepFM: a factorisation machine and a tower that read the same vectors. */
#include "model/click.h"

static int64_t inputs_of(const mica_deepfm_options *o, const mica_problem *task) {
  return (task->fields + task->channels) * o->dim;
}

static int64_t features(const void *options, const mica_problem *task) {
  const mica_deepfm_options *o = options;
  return o->dim + mica_click_width(&o->hidden, inputs_of(o, task));
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_deepfm_options *o = options;
  const int64_t in = inputs_of(o, task);
  mica_status status = mica_click_check(task, "deepfm");
  if (status == MICA_OK) status = mica_click_linear_init(root, task);
  if (status == MICA_OK) status = mica_click_embedding_init(root, task, o->dim, o->table);
  if (status == MICA_OK)
    status = mica_nn_tower_init(mica_node_child(root, "tower"), in, &o->hidden, o->norm);
  if (status == MICA_OK) status = mica_click_head_init(root, mica_click_width(&o->hidden, in));
  return status == MICA_OK ? mica_click_bias_init(root, task) : status;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_deepfm_options *o = options;
  mica_var z = mica_click_linear(t, root, in), e = mica_click_embedding(t, root, in);
  mica_var pairs = mica_pair_sum(t, e);
  mica_var deep = mica_nn_tower(t, mica_node_find(root, "tower"), &o->hidden, o->dropout,
                                mica_flatten(t, e, 1));
  z = mica_add(t, z, mica_sum(t, pairs, 1, (const int[]){1}, true));
  z = mica_add(t, z, mica_click_head(t, root, deep));
  out->features = mica_concat(t, 2, (mica_var[]){pairs, deep}, 1);
  out->logits = mica_click_logits(t, root, z);
}

static const mica_option options[] = {
    {"dim", MICA_OPTION_INT, "10", 1, 1 << 16, NULL, "width of a value's vector",
     offsetof(mica_deepfm_options, dim)},
    {"hidden", MICA_OPTION_INTS, "400,400,400", 1, 1 << 20, NULL, "widths of the tower's layers",
     offsetof(mica_deepfm_options, hidden)},
    {"dropout", MICA_OPTION_FLOAT, "0.5", 0, 0.999, NULL, "after each of them",
     offsetof(mica_deepfm_options, dropout)},
    {"norm", MICA_OPTION_BOOL, "false", 0, 0, NULL, "batch norm in the tower",
     offsetof(mica_deepfm_options, norm)},
    MICA_CLICK_TABLE(mica_deepfm_options),
    {0}};

static const mica_model_functions functions = {init, forward, mica_click_no_head, features};

MICA_CLICK_COMPONENT(deepfm, "deepfm", "DeepFM: factorisation machine and tower", options);
