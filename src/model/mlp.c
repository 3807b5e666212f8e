/* The multi-layer perceptron: linear layers "layers.0", "layers.1", ..., and "head". */
#include <mica/model.h>

static const mica_activation activations[] = {MICA_RELU, MICA_GELU, MICA_TANH, MICA_SILU};

static int64_t inputs_of(const mica_problem *task) {
  return task->height ? task->height * task->width * task->channels : task->channels;
}

static int64_t features(const void *options, const mica_problem *task) {
  const mica_mlp_options *o = options;
  return o->hidden.n ? o->hidden.v[o->hidden.n - 1] : inputs_of(task);
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_mlp_options *o = options;
  int64_t in = inputs_of(task);
  for (int i = 0; i < o->hidden.n; i++) {
    mica_node *node = mica_node_childf(root, "layers.%d", i);
    mica_status status = mica_nn_linear_init(node, in, o->hidden.v[i], true);
    if (status != MICA_OK) return status;
    in = o->hidden.v[i];
    if (i == 0 && task->height)
      mica_param_set_layout(
          mica_node_param(node, "weight"),
          (mica_layout){MICA_LAYOUT_FLATTEN, task->channels, task->height, task->width});
  }
  mica_node *head = mica_node_child(root, "head");
  if (!task->classes) return head ? MICA_OK : mica_last_status();
  mica_status status = mica_nn_linear_init(head, in, task->classes, true);
  if (status == MICA_OK && !o->hidden.n && task->height)
    mica_param_set_layout(
        mica_node_param(head, "weight"),
        (mica_layout){MICA_LAYOUT_FLATTEN, task->channels, task->height, task->width});
  return status;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_mlp_options *o = options;
  mica_var x = mica_flatten(t, in->x, 1);
  for (int i = 0; i < o->hidden.n && mica_ok(t); i++) {
    char name[32];
    mica_node *node = mica_node_find(root, mica_node_index(name, sizeof name, "layers", i));
    x = mica_activate(t, activations[o->activation], mica_nn_linear(t, node, x));
    if (o->dropout > 0) x = mica_dropout(t, x, o->dropout);
  }
  out->features = x;
  mica_node *head = mica_node_find(root, "head");
  if (mica_node_param(head, "weight")) out->logits = mica_nn_linear(t, head, x);
}

static const mica_option options[] = {
    {"hidden", MICA_OPTION_INTS, "256,256", 1, 1 << 20, NULL, "widths of the hidden layers",
     offsetof(mica_mlp_options, hidden)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "after each hidden layer",
     offsetof(mica_mlp_options, dropout)},
    {"activation", MICA_OPTION_CHOICE, "relu", 0, 0, "relu|gelu|tanh|silu", "of the hidden layers",
     offsetof(mica_mlp_options, activation)},
    {0}};

static const char *head_of(const void *o) {
  (void)o;
  return "head";
}

static const mica_model_functions functions = {init, forward, head_of, features};

const mica_component mica_component_model_mlp = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MODEL,
    "mlp",
    "multi-layer perceptron on rows or flattened images",
    NULL,
    options,
    sizeof(mica_mlp_options),
    0,
    MICA_NEED_LOGITS | MICA_NEED_FEATURES,
    &functions};
