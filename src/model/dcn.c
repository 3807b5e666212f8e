/* The deep and cross network: cross layers of the vector form beside a tower. */
#include "model/click.h"

static int64_t inputs_of(const mica_dcn_options *o, const mica_problem *task) {
  return (task->fields + task->channels) * o->dim;
}

static int64_t features(const void *options, const mica_problem *task) {
  const mica_dcn_options *o = options;
  const int64_t in = inputs_of(o, task);
  return in + mica_click_width(&o->hidden, in);
}

static mica_cross_options cross_of(const mica_dcn_options *o) {
  return (mica_cross_options){sizeof(mica_cross_options), o->layers, false, 0, 1};
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_dcn_options *o = options;
  const mica_cross_options cross = cross_of(o);
  const int64_t in = inputs_of(o, task);
  mica_status status = mica_click_check(task, "dcn");
  if (status == MICA_OK) status = mica_click_embedding_init(root, task, o->dim, o->table);
  if (status == MICA_OK) status = mica_nn_cross_init(mica_node_child(root, "cross"), in, &cross);
  if (status == MICA_OK)
    status = mica_nn_tower_init(mica_node_child(root, "tower"), in, &o->hidden, o->norm);
  if (status == MICA_OK) status = mica_click_head_init(root, features(o, task));
  return status == MICA_OK ? mica_click_bias_init(root, task) : status;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_dcn_options *o = options;
  const mica_cross_options cross = cross_of(o);
  mica_var x = mica_flatten(t, mica_click_embedding(t, root, in), 1);
  mica_var crossed = mica_nn_cross(t, mica_node_find(root, "cross"), &cross, x);
  mica_var deep = mica_nn_tower(t, mica_node_find(root, "tower"), &o->hidden, o->dropout, x);
  out->features = mica_concat(t, 2, (mica_var[]){crossed, deep}, 1);
  out->logits = mica_click_logits(t, root, mica_click_head(t, root, out->features));
}

static const mica_option options[] = {
    {"dim", MICA_OPTION_INT, "16", 1, 1 << 16, NULL, "width of a value's vector",
     offsetof(mica_dcn_options, dim)},
    {"layers", MICA_OPTION_INT, "6", 0, 1000, NULL, "cross layers",
     offsetof(mica_dcn_options, layers)},
    {"hidden", MICA_OPTION_INTS, "1024,1024", 1, 1 << 20, NULL, "widths of the tower's layers",
     offsetof(mica_dcn_options, hidden)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "after each of them",
     offsetof(mica_dcn_options, dropout)},
    {"norm", MICA_OPTION_BOOL, "true", 0, 0, NULL, "batch norm in the tower",
     offsetof(mica_dcn_options, norm)},
    MICA_CLICK_TABLE(mica_dcn_options),
    {0}};

static const mica_model_functions functions = {init, forward, mica_click_no_head, features};

MICA_CLICK_COMPONENT(dcn, "dcn", "deep and cross network, vectors (DCN)", options);
