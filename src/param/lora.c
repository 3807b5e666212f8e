/* Low-rank adaptation (Hu et al. 2022): D = (alpha / rank) B A, with A [rank, I] and B [O, rank]
 * trained. B starts at zero, so the adapted network begins as the original one. */
#include <mica/ops.h>
#include <mica/param.h>

#include <math.h>

typedef struct lora_options {
  uint32_t size;
  int64_t rank;
  double alpha, dropout;
} lora_options;

static mica_status attach(mica_node *own, mica_param *weight, void *options) {
  const lora_options *o = options;
  const mica_tensor *w = mica_param_value(weight);
  const int64_t out = mica_tensor_dim(w, 0), in = mica_tensor_count(w) / out;
  if (o->rank > out || o->rank > in)
    return mica_fail(MICA_ERR_INVALID, "lora: rank %lld is above the sizes %lldx%lld of '%s'",
                     (long long)o->rank, (long long)out, (long long)in, mica_param_path(weight));
  const double bound = 1 / sqrt((double)in);
  const mica_init a = {MICA_INIT_UNIFORM, -bound, bound, 0, false};
  const mica_dtype dtype = mica_tensor_dtype(w);
  const uint32_t flags = MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY;
  const mica_status status =
      mica_param_add(own, "lora_A", dtype, MICA_SHAPE(o->rank, in), flags, &a, NULL);
  return status == MICA_OK ? mica_param_add(own, "lora_B", dtype, MICA_SHAPE(out, o->rank), flags,
                                            &MICA_INIT_ZEROS, NULL)
                           : status;
}

static double scale_of(const lora_options *o) {
  return o->alpha / (double)o->rank;
}

static mica_var delta(mica_tape *t, mica_node *own, const void *options) {
  const mica_var ba = mica_matmul(t, mica_weight(t, own, "lora_B"), mica_weight(t, own, "lora_A"));
  return mica_affine(t, ba, scale_of(options), 0);
}

/* scale (drop(x) A^T) B^T: two thin products instead of a weight of full size. */
static mica_var linear(mica_tape *t, mica_node *own, const void *options, mica_var x) {
  const lora_options *o = options;
  mica_var h = mica_dropout(t, x, o->dropout);
  h = mica_linear(t, h, mica_weight(t, own, "lora_A"), MICA_NONE, MICA_IDENTITY);
  h = mica_linear(t, h, mica_weight(t, own, "lora_B"), MICA_NONE, MICA_IDENTITY);
  return mica_affine(t, h, scale_of(o), 0);
}

static const mica_option options[] = {
    {"rank", MICA_OPTION_INT, "8", 1, 65536, NULL, "of the two factors",
     offsetof(lora_options, rank)},
    {"alpha", MICA_OPTION_FLOAT, "8", 0, 1e6, NULL, "the update is scaled by alpha / rank",
     offsetof(lora_options, alpha)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "on the update's input (linear layers)",
     offsetof(lora_options, dropout)},
    {0}};

static const mica_adapter_functions functions = {
    .attach = attach, .delta = delta, .linear = linear};

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
