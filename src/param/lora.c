/* Low-rank adaptation (Hu et al. 2022): W + (alpha / rank) B A, with A [rank, I] and B [O, rank]
 * trained and W frozen. B starts at zero, so the adapted network begins as the original one. */
#include <mica/ops.h>
#include <mica/param.h>

#include <math.h>

typedef struct lora_options {
  uint32_t size;
  int64_t rank;
  double alpha, dropout;
} lora_options;

typedef struct lora_state {
  double scale, dropout;
} lora_state;

/* The weight as a matrix [O, the rest]. */
static int64_t rows_of(const mica_tensor *w) {
  return mica_tensor_dim(w, 0);
}

static mica_status attach(mica_node *node, const void *options, void **state) {
  const lora_options *o = options;
  mica_param *weight = mica_node_param(node, "weight");
  const mica_tensor *w = mica_param_value(weight);
  if (mica_tensor_shape(w)->rank < 2 || !mica_tensor_count(w))
    return mica_fail(MICA_ERR_SHAPE, "lora: '%s' is no matrix or convolution",
                     mica_param_path(weight));
  const int64_t out = rows_of(w), in = mica_tensor_count(w) / out;
  if (o->rank > out || o->rank > in)
    return mica_fail(MICA_ERR_INVALID, "lora: rank %lld is above the sizes %lldx%lld of '%s'",
                     (long long)o->rank, (long long)out, (long long)in, mica_param_path(weight));
  lora_state *s = mica_malloc(sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  *s = (lora_state){o->alpha / (double)o->rank, o->dropout};
  const double bound = 1 / sqrt((double)in);
  const mica_init a = {MICA_INIT_UNIFORM, -bound, bound, 0, false};
  const mica_dtype dtype = mica_tensor_dtype(w);
  mica_status status = mica_param_add(node, "lora_A", dtype, MICA_SHAPE(o->rank, in),
                                      MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY, &a, NULL);
  if (status == MICA_OK) {
    status = mica_param_add(node, "lora_B", dtype, MICA_SHAPE(out, o->rank),
                            MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY, &MICA_INIT_ZEROS, NULL);
    if (status != MICA_OK) mica_param_remove(node, "lora_A");
  }
  if (status != MICA_OK) {
    mica_free(s);
    return status;
  }
  mica_param_set_flags(weight, 0, MICA_PARAM_TRAINABLE);
  *state = s;
  return MICA_OK;
}

/* W + scale B A, in the weight's own shape. */
static mica_var compose(mica_tape *t, mica_node *node, const void *state, mica_var weight) {
  const lora_state *s = state;
  mica_scope_begin(t, "lora");
  mica_var ba = mica_matmul(t, mica_weight(t, node, "lora_B"), mica_weight(t, node, "lora_A"));
  const mica_view v = mica_read(t, weight);
  ba = mica_reshape(t, mica_affine(t, ba, s->scale, 0), v.shape);
  return mica_scope_end(t, mica_add(t, weight, ba));
}

/* x W^T + b + scale (drop(x) A^T) B^T: two thin products instead of a weight of full size. */
static mica_var linear(mica_tape *t, mica_node *node, const void *state, mica_var x,
                       mica_var weight, mica_var bias) {
  const lora_state *s = state;
  mica_var y = mica_linear(t, x, weight, bias, MICA_IDENTITY);
  mica_scope_begin(t, "lora");
  mica_var h = mica_dropout(t, x, s->dropout);
  h = mica_linear(t, h, mica_weight(t, node, "lora_A"), MICA_NONE, MICA_IDENTITY);
  h = mica_linear(t, h, mica_weight(t, node, "lora_B"), MICA_NONE, MICA_IDENTITY);
  return mica_scope_end(t, mica_add(t, y, mica_affine(t, h, s->scale, 0)));
}

static mica_status merge(mica_node *node, void *state) {
  const lora_state *s = state;
  mica_param *weight = mica_node_param(node, "weight");
  const mica_tensor *a = mica_param_value(mica_node_param(node, "lora_A"));
  const mica_tensor *b = mica_param_value(mica_node_param(node, "lora_B"));
  mica_tensor *w = mica_param_value(weight);
  const int64_t rank = mica_tensor_dim(a, 0), in = mica_tensor_dim(a, 1),
                out = mica_tensor_dim(b, 0);
  mica_param_write(weight);
  for (int64_t i = 0; i < out; i++)
    for (int64_t j = 0; j < in; j++) {
      double sum = 0;
      for (int64_t k = 0; k < rank; k++)
        sum += mica_tensor_get(b, i * rank + k) * mica_tensor_get(a, k * in + j);
      mica_tensor_set(w, i * in + j, mica_tensor_get(w, i * in + j) + s->scale * sum);
    }
  mica_status status = mica_param_remove(node, "lora_A");
  if (status == MICA_OK) status = mica_param_remove(node, "lora_B");
  mica_param_set_flags(weight, MICA_PARAM_TRAINABLE, 0);
  return status;
}

static const mica_option options[] = {
    {"rank", MICA_OPTION_INT, "8", 1, 65536, NULL, "of the two factors",
     offsetof(lora_options, rank)},
    {"alpha", MICA_OPTION_FLOAT, "8", 0, 1e6, NULL, "the update is scaled by alpha / rank",
     offsetof(lora_options, alpha)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "on the update's input (linear layers)",
     offsetof(lora_options, dropout)},
    {0}};

static const mica_adapter_functions functions = {attach, mica_free, compose, linear, merge};

const mica_component mica_component_adapter_lora = {MICA_COMPONENT_HEAD,
                                                    MICA_KIND_ADAPTER,
                                                    "lora",
                                                    "low-rank update of a frozen weight",
                                                    "lora-limits",
                                                    options,
                                                    sizeof(lora_options),
                                                    0,
                                                    0,
                                                    &functions};
