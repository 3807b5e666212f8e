/* Moment probing: a classifier of the tokens' mean beside one of their cross moments.
 *
 * The moment of heads i and j is H_i^T H_j / L, [d, d]. It is worked out transposed, so that the
 * unit columns are rows, and becomes a channel of a map that convolutions shrink.
 */
#include <mica/layer.h>

static int64_t maps_of(const mica_moment_options *o) {
  switch (o->pairing) {
  case MICA_PAIR_HALF: return o->heads / 2;
  case MICA_PAIR_ALL: return o->heads * (o->heads - 1) / 2;
  case MICA_PAIR_SELF: return o->heads;
  default: return o->heads - 1;
  }
}

/* The heads of map m. */
static void pair_of(const mica_moment_options *o, int64_t m, int64_t *i, int64_t *j) {
  *i = m;
  *j = m + 1;
  switch (o->pairing) {
  case MICA_PAIR_HALF: *j = m + o->heads / 2; break;
  case MICA_PAIR_ONE: *i = 0; break;
  case MICA_PAIR_SELF: *j = m; break;
  case MICA_PAIR_ALL:
    for (*i = 0; m >= o->heads - 1 - *i; ++*i) m -= o->heads - 1 - *i;
    *j = *i + 1 + m;
    break;
  default: break;
  }
}

/* Side of the maps after all convolutions, 0 where nothing is left. */
static int64_t side_of(const mica_moment_options *o) {
  int64_t side = o->hidden / o->heads;
  for (int64_t k = 0; k < 2 * o->downs && side > 0; k++) side = side < 3 ? 0 : (side - 3) / 2 + 1;
  return side;
}

static mica_status check(const mica_moment_options *o) {
  if (o->heads < 1 || o->hidden < 1 || o->hidden % o->heads)
    return mica_fail(MICA_ERR_INVALID, "moment: %lld heads do not divide hidden %lld",
                     (long long)o->heads, (long long)o->hidden);
  if (!o->first && !o->second)
    return mica_fail(MICA_ERR_INVALID, "moment: neither the first nor the second moment");
  if (!o->second) return MICA_OK;
  if (maps_of(o) < 1)
    return mica_fail(MICA_ERR_INVALID, "moment: %lld heads make no pair", (long long)o->heads);
  if (side_of(o) < 1)
    return mica_fail(MICA_ERR_INVALID,
                     "moment: %lld channels a head are too few for %lld blocks of convolutions",
                     (long long)(o->hidden / o->heads), (long long)o->downs);
  return MICA_OK;
}

static mica_status second_init(mica_node *node, int64_t in, int64_t classes,
                               const mica_moment_options *o) {
  const int64_t maps = maps_of(o), side = side_of(o);
  mica_node *classifier = mica_node_child(node, "classifier2");
  mica_status status = mica_nn_linear_init(mica_node_child(node, "proj"), in, o->hidden, true);
  if (status == MICA_OK)
    status = mica_nn_layer_norm_init(mica_node_child(node, "ln"), o->hidden / o->heads);
  for (int64_t b = 0; b < o->downs && status == MICA_OK; b++)
    for (int k = 0; k <= 2 && status == MICA_OK; k += 2)
      status = mica_nn_conv2d_init(mica_node_childf(node, "downblocks.%lld.%d", (long long)b, k),
                                   maps, maps, 3, 3, 1, false, NULL);
  if (status == MICA_OK)
    status = mica_nn_linear_init(classifier, maps * side * side, classes, true);
  if (status == MICA_OK)
    mica_param_set_layout(mica_node_param(classifier, "weight"),
                          (mica_layout){MICA_LAYOUT_FLATTEN, maps, side, side});
  return status;
}

mica_status mica_nn_moment_init(mica_node *node, int64_t in, int64_t classes,
                                const mica_moment_options *o) {
  mica_status status = check(o);
  if (status == MICA_OK && o->first && o->norm)
    status = mica_nn_layer_norm_init(mica_node_child(node, "norm"), in);
  if (status == MICA_OK && o->first)
    status = mica_nn_linear_init(mica_node_child(node, "classifier1"), in, classes, true);
  if (status == MICA_OK && o->second) status = second_init(node, in, classes, o);
  return status;
}

/* [N,L,hidden] -> heads [heads,N,L,d], normalised and centred. */
static mica_var heads_of(mica_tape *t, mica_node *node, const mica_moment_options *o,
                         mica_var tokens) {
  const int64_t n = mica_dim(t, tokens, 0), l = mica_dim(t, tokens, 1), d = o->hidden / o->heads;
  mica_var x = mica_nn_linear(t, mica_node_find(node, "proj"), tokens);
  if (o->interleaved)
    x = mica_permute(t, mica_reshape(t, x, MICA_SHAPE(n, l, d, o->heads)), 4, (int[]){3, 0, 1, 2});
  else
    x = mica_permute(t, mica_reshape(t, x, MICA_SHAPE(n, l, o->heads, d)), 4, (int[]){2, 0, 1, 3});
  x = mica_nn_layer_norm(t, mica_node_find(node, "ln"), 1e-5, x);
  if (o->centre == MICA_CENTRE_SCALAR)
    x = mica_sub(t, x, mica_mean(t, x, 2, (int[]){2, 3}, true));
  else if (o->centre == MICA_CENTRE_TOKEN)
    x = mica_sub(t, x, mica_mean(t, x, 1, (int[]){2}, true));
  return x;
}

/* Moments as maps [N,d,d,maps]. */
static mica_var moments_of(mica_tape *t, const mica_moment_options *o, mica_var heads) {
  const int64_t maps = maps_of(o), l = mica_dim(t, heads, 2);
  int64_t left[64 * 63 / 2], right[64 * 63 / 2];
  for (int64_t m = 0; m < maps; m++) pair_of(o, m, &left[m], &right[m]);
  const mica_view li = mica_view_of(left, MICA_I64, MICA_SHAPE(maps));
  const mica_view ri = mica_view_of(right, MICA_I64, MICA_SHAPE(maps));
  const mica_var a = mica_gather_rows(t, heads, mica_constant(t, &li));
  const mica_var b = mica_gather_rows(t, heads, mica_constant(t, &ri));
  mica_var m = mica_affine(t, mica_matmul_t(t, b, true, a, false), 1 / (double)l, 0);
  if (o->normalise) m = mica_l2_normalise(t, m, 1e-12);
  return mica_permute(t, m, 4, (int[]){1, 3, 2, 0});
}

static mica_var second_of(mica_tape *t, mica_node *node, const mica_moment_options *o,
                          mica_var tokens) {
  mica_conv_options conv = MICA_CONV_OPTIONS;
  conv.stride[0] = conv.stride[1] = 2;
  mica_var x = moments_of(t, o, heads_of(t, node, o, tokens));
  for (int64_t b = 0; b < o->downs && mica_ok(t); b++) {
    char name[32];
    mica_node *block = mica_node_find(node, mica_node_index(name, sizeof name, "downblocks", b));
    x = mica_gelu(t, mica_nn_conv2d(t, mica_node_find(block, "0"), &conv, x));
    x = mica_nn_conv2d(t, mica_node_find(block, "2"), &conv, x);
  }
  return mica_nn_linear(t, mica_node_find(node, "classifier2"), mica_flatten(t, x, 1));
}

mica_var mica_nn_moment(mica_tape *t, mica_node *node, const mica_moment_options *o,
                        mica_var features, mica_var tokens) {
  mica_nn_enter(t, node);
  mica_var first = MICA_NONE, second = MICA_NONE;
  if (o->first) {
    if (o->norm) features = mica_nn_layer_norm(t, mica_node_find(node, "norm"), 1e-6, features);
    first = mica_nn_linear(t, mica_node_find(node, "classifier1"), features);
  }
  if (o->second) second = second_of(t, node, o, tokens);
  if (o->first && o->second) first = mica_affine(t, mica_add(t, first, second), 0.5, 0);
  return mica_scope_end(t, o->first ? first : second);
}

/* ---- the component ---- */

static mica_status init(mica_node *node, const void *options, const mica_layer_problem *p) {
  return mica_nn_moment_init(node, p->features, p->classes, options);
}

static void forward(mica_tape *t, mica_node *node, const void *options, const mica_layer_inputs *in,
                    mica_layer_outputs *out) {
  out->logits = mica_nn_moment(t, node, options, in->features, in->tokens);
}

#define ROW(name, type, def, lo, hi, choices, help)                                                \
  { #name, MICA_OPTION_##type, def, lo, hi, choices, help, offsetof(mica_moment_options, name) }
static const mica_option table[] = {
    ROW(hidden, INT, "512", 1, 65536, NULL, "channels after the projection"),
    ROW(heads, INT, "4", 1, 64, NULL, "groups of these channels"),
    ROW(pairing, CHOICE, "near", 0, 0, "near|half|all|one|self", "which groups make a moment"),
    ROW(centre, CHOICE, "scalar", 0, 0, "scalar|token|none",
        "what is taken off before: the mean of all, of each channel, nothing"),
    ROW(normalise, BOOL, "true", 0, 0, NULL, "columns of each moment get length 1"),
    ROW(interleaved, BOOL, "false", 0, 0, NULL, "channels are dealt out to the groups in turn"),
    ROW(downs, INT, "1", 0, 16, NULL, "blocks of two convolutions that shrink the moments"),
    ROW(first, BOOL, "true", 0, 0, NULL, "classify the mean, or class token"),
    ROW(second, BOOL, "true", 0, 0, NULL, "classify the moments"),
    ROW(norm, BOOL, "false", 0, 0, NULL, "layer norm of the mean before its classifier"),
    {0}};

static const mica_layer_functions functions = {init, forward, NULL, NULL, NULL, NULL};

extern const mica_component mica_component_layer_moment;
const mica_component mica_component_layer_moment = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LAYER,
    "moment",
    "the tokens' mean and cross moments between groups of channels",
    "moment-probing",
    table,
    sizeof(mica_moment_options),
    MICA_NEED_FEATURES | MICA_NEED_TOKENS,
    MICA_NEED_LOGITS,
    &functions};
