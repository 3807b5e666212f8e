/* Adapters on what a layer gives, not on its weight:
 *
 *   ssf         y' = scale y + shift, a number of each for every output (Lian et al. 2022); it goes
 *               into the layer: W' = scale W, b' = scale b + shift
 *   bottleneck  y' = y + up(act(down y)), a layer down to few channels and one up (Houlsby et al.
 *               2019, behind the layers that a block ends its branches with); it stays beside
 *   psrp        y' = y + w(y) y + b(y), w and b by one layer down to few channels and two up (Gao
 *               et al. 2023, the form of their convolutional networks); it stays beside
 *
 * All begin as nothing: scale 1, shift 0, up 0. A layer without a bias has a scale alone.
 */
#include "param/tree.h"

#include <mica/ops.h>

#include <math.h>

/* The outputs of a linear layer or a convolution, whose channels come last. */
static mica_status outputs_of(const char *what, const mica_param *weight, int64_t *out) {
  if (!(weight->flags & (MICA_PARAM_LINEAR | MICA_PARAM_CONVOLUTION)) ||
      weight->layout.kind == MICA_LAYOUT_CONV_TRANSPOSE)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: '%s' is no linear layer's or convolution's weight",
                     what, weight->path);
  *out = mica_tensor_dim(weight->value, 0);
  return MICA_OK;
}

/* ---- scale and shift ---- */

typedef struct ssf_options {
  uint32_t size;
} ssf_options;

static mica_status ssf_attach(mica_node *own, mica_param *weight, mica_param *bias, void *options) {
  int64_t n;
  (void)options;
  mica_status status = outputs_of("ssf", weight, &n);
  const mica_dtype dtype = mica_tensor_dtype(weight->value);
  if (status == MICA_OK)
    status = mica_param_add(own, "scale", dtype, MICA_SHAPE(n), MICA_PARAM_TRAINABLE,
                            &MICA_INIT_ONES, NULL);
  if (status == MICA_OK && bias && mica_tensor_count(bias->value) == n)
    status = mica_param_add(own, "shift", dtype, MICA_SHAPE(n), MICA_PARAM_TRAINABLE,
                            &MICA_INIT_ZEROS, NULL);
  return status;
}

static mica_var ssf_output(mica_tape *t, mica_node *own, const void *options, mica_var y) {
  (void)options;
  const mica_var scaled = mica_mul(t, y, mica_weight(t, own, "scale"));
  return mica_node_param(own, "shift") ? mica_add(t, scaled, mica_weight(t, own, "shift")) : scaled;
}

static mica_status ssf_merge(mica_node *own, mica_param *weight, mica_param *bias,
                             const void *options, bool in) {
  mica_param *scale = mica_node_param(own, "scale"), *shift = mica_node_param(own, "shift");
  const int64_t n = mica_tensor_count(scale->value), row = mica_tensor_count(weight->value) / n;
  (void)options;
  for (int64_t o = 0; o < n && !in; o++)
    if (!(fabs(mica_tensor_get(scale->value, o)) > 1e-12))
      return mica_fail(MICA_ERR_NUMERIC, "ssf: output %lld of '%s' was scaled by 0 and is lost",
                       (long long)o, weight->path);
  (void)mica_param_write(weight);
  if (shift) (void)mica_param_write(bias);
  for (int64_t o = 0; o < n; o++) {
    const double s = mica_tensor_get(scale->value, o), by = in ? s : 1 / s;
    for (int64_t i = o * row; i < (o + 1) * row; i++)
      mica_tensor_set(weight->value, i, by * mica_tensor_get(weight->value, i));
    if (!shift) continue;
    const double b = mica_tensor_get(bias->value, o), d = mica_tensor_get(shift->value, o);
    mica_tensor_set(bias->value, o, in ? s * b + d : (b - d) / s);
  }
  return MICA_OK;
}

static const mica_option ssf_table[] = {{0}};

static const mica_adapter_functions ssf_functions = {
    .attach_output = ssf_attach, .output = ssf_output, .merge = ssf_merge};

const mica_component mica_component_adapter_ssf = {MICA_COMPONENT_HEAD,
                                                   MICA_KIND_ADAPTER,
                                                   "ssf",
                                                   "a scale and a shift of each output",
                                                   "moment-probing",
                                                   ssf_table,
                                                   sizeof(ssf_options),
                                                   0,
                                                   0,
                                                   &ssf_functions};

/* ---- a bottleneck ---- */

typedef struct bottleneck_options {
  uint32_t size;
  int64_t rank;
  int32_t act; /* 0 gelu, 1 relu */
  double scale, dropout;
} bottleneck_options;

static mica_status bottleneck_attach(mica_node *own, mica_param *weight, mica_param *bias,
                                     void *options) {
  const bottleneck_options *o = options;
  int64_t n;
  (void)bias;
  mica_status status = outputs_of("bottleneck", weight, &n);
  if (status != MICA_OK) return status;
  const double bound = 1 / sqrt((double)n);
  const mica_init uniform = {MICA_INIT_UNIFORM, -bound, bound, 0, false};
  const mica_dtype dtype = mica_tensor_dtype(weight->value);
  const uint32_t matrix = MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY;
  status = mica_param_add(own, "down", dtype, MICA_SHAPE(o->rank, n), matrix, &uniform, NULL);
  if (status == MICA_OK)
    status = mica_param_add(own, "down_bias", dtype, MICA_SHAPE(o->rank), MICA_PARAM_TRAINABLE,
                            &MICA_INIT_ZEROS, NULL);
  if (status == MICA_OK)
    status =
        mica_param_add(own, "up", dtype, MICA_SHAPE(n, o->rank), matrix, &MICA_INIT_ZEROS, NULL);
  return status == MICA_OK ? mica_param_add(own, "up_bias", dtype, MICA_SHAPE(n),
                                            MICA_PARAM_TRAINABLE, &MICA_INIT_ZEROS, NULL)
                           : status;
}

static mica_var bottleneck_output(mica_tape *t, mica_node *own, const void *options, mica_var y) {
  const bottleneck_options *o = options;
  mica_var h = mica_linear(t, y, mica_weight(t, own, "down"), mica_weight(t, own, "down_bias"),
                           MICA_IDENTITY);
  h = mica_activate(t, o->act ? MICA_RELU : MICA_GELU, h);
  if (o->dropout > 0) h = mica_dropout(t, h, o->dropout);
  h = mica_linear(t, h, mica_weight(t, own, "up"), mica_weight(t, own, "up_bias"), MICA_IDENTITY);
  return mica_add(t, y, o->scale == 1 ? h : mica_affine(t, h, o->scale, 0));
}

static const mica_option bottleneck_table[] = {
    {"rank", MICA_OPTION_INT, "16", 1, 65536, NULL, "channels between the two layers",
     offsetof(bottleneck_options, rank)},
    {"act", MICA_OPTION_CHOICE, "gelu", 0, 0, "gelu|relu", "between them",
     offsetof(bottleneck_options, act)},
    {"scale", MICA_OPTION_FLOAT, "1", 0, 1e6, NULL, "of what is added",
     offsetof(bottleneck_options, scale)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "between them",
     offsetof(bottleneck_options, dropout)},
    {0}};

static const mica_adapter_functions bottleneck_functions = {.attach_output = bottleneck_attach,
                                                            .output = bottleneck_output};

const mica_component mica_component_adapter_bottleneck = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ADAPTER,
    "bottleneck",
    "two thin layers behind a frozen one; stays beside it",
    "moment-probing",
    bottleneck_table,
    sizeof(bottleneck_options),
    0,
    0,
    &bottleneck_functions};

/* ---- a recalibration of the output by itself ---- */

typedef struct psrp_options {
  uint32_t size;
  int64_t rank;
} psrp_options;

static mica_status psrp_attach(mica_node *own, mica_param *weight, mica_param *bias,
                               void *options) {
  static const char *const up[] = {"up_weight", "up_bias"};
  const psrp_options *o = options;
  const mica_init normal = {MICA_INIT_TRUNC_NORMAL, 0, 0.02, 0, false};
  const mica_dtype dtype = mica_tensor_dtype(weight->value);
  const uint32_t matrix = MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY;
  int64_t n;
  (void)bias;
  mica_status status = outputs_of("psrp", weight, &n);
  if (status == MICA_OK)
    status = mica_param_add(own, "down", dtype, MICA_SHAPE(o->rank, n), matrix, &normal, NULL);
  for (int i = 0; i < 2 && status == MICA_OK; i++)
    status =
        mica_param_add(own, up[i], dtype, MICA_SHAPE(n, o->rank), matrix, &MICA_INIT_ZEROS, NULL);
  return status;
}

static mica_var psrp_output(mica_tape *t, mica_node *own, const void *options, mica_var y) {
  (void)options;
  const mica_var u = mica_linear(t, y, mica_weight(t, own, "down"), MICA_NONE, MICA_RELU);
  const mica_var w = mica_linear(t, u, mica_weight(t, own, "up_weight"), MICA_NONE, MICA_IDENTITY);
  const mica_var b = mica_linear(t, u, mica_weight(t, own, "up_bias"), MICA_NONE, MICA_IDENTITY);
  return mica_add(t, mica_mul(t, mica_affine(t, w, 1, 1), y), b);
}

static const mica_option psrp_table[] = {{"rank", MICA_OPTION_INT, "16", 1, 65536, NULL,
                                          "channels between", offsetof(psrp_options, rank)},
                                         {0}};

static const mica_adapter_functions psrp_functions = {.attach_output = psrp_attach,
                                                      .output = psrp_output};

const mica_component mica_component_adapter_psrp = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ADAPTER,
    "psrp",
    "what a layer gives, recalibrated by itself; stays beside it",
    "moment-probing",
    psrp_table,
    sizeof(psrp_options),
    0,
    0,
    &psrp_functions};
