/* moment-probing: the head on tokens and on a map, and the recalibration of a block, forward and all
 * gradients of the product with a cotangent. */
#include "adapter.h"

#include <stdio.h>
#include <string.h>

/* The file's name of an entry: classifiers of maps are called otherwise there. */
static const char *name_of(const golden *g, const char *prefix, const char *path) {
  static char name[128];
  static const char *const other[][2] = {{"norm.", "cls_head.norm."},
                                         {"classifier1.", "cls_head.fc."}};
  snprintf(name, sizeof name, "%s%s", prefix, path);
  if (golden_has(g, name)) return name;
  for (int i = 0; i < 2; i++) {
    const size_t n = strlen(other[i][0]);
    if (strncmp(path, other[i][0], n) == 0)
      snprintf(name, sizeof name, "%s%s%s", prefix, other[i][1], path + n);
  }
  return name;
}

static void take(golden *g, mica_params *params) {
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    mica_param *q = mica_params_at(params, i);
    const mica_tensor *given =
        golden_tensor(g, name_of(g, "param.", mica_param_path(q)), MICA_F32);
    mica_tensor *plain; /* a 1x1 convolution is a matrix here */
    const mica_view v =
        mica_view_of(mica_tensor_data(given), MICA_F32, mica_param_reference_shape(q));
    golden_need(g, mica_tensor_from_view(&v, MICA_F32, &plain));
    golden_need(g, mica_param_from_reference(q, plain));
  }
}

static void check_gradients(golden *g, mica_params *params) {
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    mica_param *q = mica_params_at(params, i), *copy;
    mica_params *p;
    mica_tensor *value;
    const mica_view grad = mica_param_grad(q);
    golden_need(g, mica_params_create(golden_engine(g), MICA_SEED_NONE, &p));
    golden_need(g, mica_param_add(mica_params_root(p), "x", grad.dtype, grad.shape, 0, NULL, &copy));
    mica_param_set_layout(copy, mica_param_layout(q));
    const mica_view to = mica_tensor_view(mica_param_value(copy));
    golden_need(g, mica_view_copy(&to, &grad));
    golden_need(g, mica_param_to_reference(copy, &value));
    const char *name = name_of(g, "grad.", mica_param_path(q));
    mica_view v = mica_tensor_view(value);
    if (v.shape.rank == 2 && strcmp(mica_param_path(q), "proj.weight") == 0 &&
        golden_has(g, "in.features"))
      v = mica_view_of(v.data, MICA_F32, MICA_SHAPE(v.shape.dim[0], v.shape.dim[1], 1, 1));
    golden_check_within(g, name, v, 2e-5);
  }
}

static void project(golden *g, mica_tape *t, mica_var y) {
  const mica_var by = mica_input(t, golden_tensor(g, "in.cotangent", MICA_F32));
  golden_need_tape(g, t);
  golden_need(g, mica_backward(t, mica_sum(t, mica_mul(t, y, by), 0, NULL, false)));
}

static void run_block(golden *g, mica_params *params, mica_tape *t) {
  mica_node *root = mica_params_root(params);
  mica_var weight, bias;
  const mica_var x = mica_leaf(t, golden_tensor(g, "in.x", MICA_F32));
  const mica_var y = mica_leaf(t, golden_tensor(g, "in.mlp_out", MICA_F32));
  golden_need(g, mica_nn_recalibration_init(root, golden_dim(g, "in.x", 2),
                                            golden_dim(g, "param.down.weight", 0), false));
  take(g, params);
  mica_nn_recalibration(t, root, x, &weight, &bias);
  const mica_var block =
      mica_add(t, x, mica_add(t, bias, mica_mul(t, mica_affine(t, weight, 1, 1), y)));
  golden_check_var(g, "out.weight", t, weight);
  golden_check_var(g, "out.bias", t, bias);
  golden_check_var(g, "out.block", t, block);
  project(g, t, block);
  golden_check_var(g, "grad.x", t, mica_gradient(t, x));
  golden_check_var(g, "grad.mlp_out", t, mica_gradient(t, y));
}

/* Tokens [N,1+L,D] with the class token, or a map [N,D,H,W]. */
static void run_head(golden *g, mica_params *params, mica_tape *t) {
  const bool map = golden_has(g, "in.features");
  mica_moment_options o = MICA_MOMENT_OPTIONS;
  mica_node *root = mica_params_root(params);
  mica_var features, tokens, cls = MICA_NONE, x;
  o.heads = golden_integer(g, "heads", 4);
  o.hidden = golden_integer(g, "hidden", 512);
  if (strcmp(golden_text(g, "cross", "near"), "near") != 0) golden_fail(g, "pairing not known here");
  o.interleaved = o.norm = map;
  if (map) {
    x = mica_leaf(t, golden_channels_last(g, "in.features", MICA_F32));
    tokens = mica_reshape(t, x, MICA_SHAPE(mica_dim(t, x, 0), -1, mica_dim(t, x, 3)));
    features = mica_global_avg_pool(t, x);
  } else {
    x = mica_leaf(t, golden_tensor(g, "in.tokens", MICA_F32));
    features = cls = mica_leaf(t, golden_tensor(g, "in.cls", MICA_F32));
    tokens = mica_slice(t, x, 1, 1, mica_dim(t, x, 1));
  }
  golden_need_tape(g, t);
  golden_need(g, mica_nn_moment_init(root, mica_dim(t, x, -1), golden_dim(g, "out.logits", 1), &o));
  take(g, params);
  const mica_var logits = mica_nn_moment(t, root, &o, features, tokens);
  golden_check_var(g, "out.logits", t, logits);
  project(g, t, logits);
  if (map) {
    golden_check_channels_last(g, "grad.features", mica_read(t, mica_gradient(t, x)));
  } else {
    golden_check_within(g, "grad.tokens", mica_read(t, mica_gradient(t, x)), 2e-5);
    golden_check_var(g, "grad.cls", t, mica_gradient(t, cls));
  }
}

static void run(golden *g) {
  mica_params *params;
  mica_tape *t;
  golden_need(g, mica_params_create(golden_engine(g), 0, &params));
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  if (golden_has(g, "in.mlp_out"))
    run_block(g, params, t);
  else
    run_head(g, params, t);
  check_gradients(g, params);
}

const golden_adapter golden_adapter_moment_probing = {"moment-probing", 1e-5, run};
