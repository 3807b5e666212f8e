/* The deep and cross network of 2021: cross layers with matrices, full, of low rank, or mixtures of
 * low-rank experts, beside a tower or below it. */
#include "model/click.h"

enum { PARALLEL, STACKED };

static int64_t inputs_of(const mica_dcnv2_options *o, const mica_problem *task) {
  return (task->fields + task->channels) * o->dim;
}

static int64_t features(const void *options, const mica_problem *task) {
  const mica_dcnv2_options *o = options;
  const int64_t in = inputs_of(o, task), deep = mica_click_width(&o->hidden, in);
  return o->structure == STACKED ? deep : in + deep;
}

static mica_cross_options cross_of(const mica_dcnv2_options *o) {
  return (mica_cross_options){sizeof(mica_cross_options), o->layers, true, o->rank, o->experts};
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_dcnv2_options *o = options;
  const mica_cross_options cross = cross_of(o);
  const int64_t in = inputs_of(o, task);
  mica_status status = mica_click_check(task, "dcnv2");
  if (status == MICA_OK && o->experts > 1 && !o->rank)
    status =
        mica_fail(MICA_ERR_INVALID, "model dcnv2: %lld experts need a rank", (long long)o->experts);
  if (status == MICA_OK) status = mica_click_embedding_init(root, task, o->dim, o->table);
  if (status == MICA_OK) status = mica_nn_cross_init(mica_node_child(root, "cross"), in, &cross);
  if (status == MICA_OK)
    status = mica_nn_tower_init(mica_node_child(root, "tower"), in, &o->hidden, o->norm);
  if (status == MICA_OK) status = mica_click_head_init(root, features(o, task));
  return status == MICA_OK ? mica_click_bias_init(root, task) : status;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_dcnv2_options *o = options;
  const mica_cross_options cross = cross_of(o);
  mica_var x = mica_flatten(t, mica_click_embedding(t, root, in), 1);
  mica_var crossed = mica_nn_cross(t, mica_node_find(root, "cross"), &cross, x);
  mica_var deep = mica_nn_tower(t, mica_node_find(root, "tower"), &o->hidden, o->dropout,
                                o->structure == STACKED ? crossed : x);
  out->features =
      o->structure == STACKED ? deep : mica_concat(t, 2, (mica_var[]){crossed, deep}, 1);
  out->logits = mica_click_logits(t, root, mica_click_head(t, root, out->features));
}

static const mica_option options[] = {
    {"dim", MICA_OPTION_INT, "16", 1, 1 << 16, NULL, "width of a value's vector",
     offsetof(mica_dcnv2_options, dim)},
    {"layers", MICA_OPTION_INT, "2", 0, 1000, NULL, "cross layers",
     offsetof(mica_dcnv2_options, layers)},
    {"hidden", MICA_OPTION_INTS, "768,768", 1, 1 << 20, NULL, "widths of the tower's layers",
     offsetof(mica_dcnv2_options, hidden)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "after each of them",
     offsetof(mica_dcnv2_options, dropout)},
    {"norm", MICA_OPTION_BOOL, "false", 0, 0, NULL, "batch norm in the tower",
     offsetof(mica_dcnv2_options, norm)},
    {"rank", MICA_OPTION_INT, "0", 0, 1 << 16, NULL, "of the cross layers' matrices; 0: full",
     offsetof(mica_dcnv2_options, rank)},
    {"experts", MICA_OPTION_INT, "1", 1, 1024, NULL, "mixed in a cross layer",
     offsetof(mica_dcnv2_options, experts)},
    {"structure", MICA_OPTION_CHOICE, "parallel", 0, 0, "parallel|stacked",
     "tower beside the cross layers, or on top", offsetof(mica_dcnv2_options, structure)},
    MICA_CLICK_TABLE(mica_dcnv2_options),
    {0}};

static const mica_model_functions functions = {init, forward, mica_click_no_head, features};

MICA_CLICK_COMPONENT(dcnv2, "dcnv2", "deep and cross network, matrices (DCN-V2)", options);
