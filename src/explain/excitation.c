/* Excitation backprop (Zhang et al. 2016) to a layer, plain and contrastive. The contrastive map is
 * what the class gets less what its opposite gets, whose last layer has the weights negated.
 */
#include <mica/explain.h>

#include "explain/rules.h"
#include "model/net.h"

#include <math.h>

typedef struct options {
  uint32_t size;
  bool contrastive;
} options;

/* The probability at each position [N,h,w]; summing to one for each image where it can. */
static mica_status marginal(const mica_net *net, const mica_tensor *x, const int64_t *target,
                            const char *layer, mica_tensor **out) {
  mica_probe p;
  mica_status status = mica_probe_layer(net, x, target, layer, MICA_RELU_EXCITATION, &p);
  if (status != MICA_OK) return status;
  status = mica_saliency(p.activation, p.gradient, MICA_SALIENCY_BIAS, MICA_SQUEEZE_SUM, out);
  mica_probe_clear(&p);
  if (status != MICA_OK) return status;
  const int64_t n = mica_tensor_dim(*out, 0), size = mica_tensor_count(*out) / n;
  float *v = mica_tensor_data(*out);
  for (int64_t i = 0; i < n; i++, v += size) {
    double sum = 0;
    for (int64_t k = 0; k < size; k++) sum += (double)v[k];
    for (int64_t k = 0; k < size && sum > 0; k++) v[k] = (float)((double)v[k] / sum);
  }
  return MICA_OK;
}

static mica_status negate_head(mica_net *net) {
  const mica_component *c = mica_net_component(net);
  const mica_model_functions *fn = c->functions;
  char *text = mica_net_text(net);
  mica_spec *spec = NULL;
  mica_status status =
      text ? mica_net_parse(mica_params_engine(mica_net_params(net)), text, &spec, NULL)
           : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const char *name = fn->head ? fn->head(mica_spec_options(spec)) : NULL;
    mica_node *head = name ? mica_node_find(mica_params_root(mica_net_params(net)), name) : NULL;
    mica_param *weight = head ? mica_node_param(head, "weight") : NULL;
    if (!weight)
      status = mica_fail(MICA_ERR_UNSUPPORTED, "contrastive excitation needs a last linear layer");
    float *v = weight ? mica_param_write(weight) : NULL;
    for (int64_t i = 0; v && i < mica_tensor_count(mica_param_value(weight)); i++) v[i] = -v[i];
  }
  mica_spec_free(spec);
  mica_free(text);
  return status;
}

static mica_status excitation(const mica_net *net, const mica_tensor *x, const int64_t *target,
                              const char *layer, const void *given, mica_tensor **out) {
  const options *o = given;
  mica_status status = marginal(net, x, target, layer, out);
  if (status != MICA_OK || !o->contrastive) return status;
  mica_net *opposite = NULL;
  mica_tensor *against = NULL;
  status = mica_explain_copy(net, &opposite);
  if (status == MICA_OK) status = negate_head(opposite);
  if (status == MICA_OK) status = marginal(opposite, x, target, layer, &against);
  float *v = mica_tensor_data(*out);
  for (int64_t i = 0; status == MICA_OK && i < mica_tensor_count(*out); i++)
    v[i] = fmaxf(0, v[i] - ((const float *)mica_tensor_data(against))[i]);
  mica_tensor_free(against);
  mica_net_free(opposite);
  if (status != MICA_OK) {
    mica_tensor_free(*out);
    *out = NULL;
  }
  return status;
}

static const mica_option table[] = {{"contrastive", MICA_OPTION_BOOL, "false", 0, 0, NULL,
                                     "less what the opposite of the class gets",
                                     offsetof(options, contrastive)},
                                    {0}};

static const mica_explainer_functions functions = {sizeof functions, true, excitation};

extern const mica_component mica_component_explainer_excitation;
const mica_component mica_component_explainer_excitation = {MICA_COMPONENT_HEAD,
                                                            MICA_KIND_EXPLAINER,
                                                            "excitation",
                                                            "excitation backprop to a layer",
                                                            "saliency",
                                                            table,
                                                            sizeof(options),
                                                            MICA_NEED_IMAGES | MICA_NEED_LOGITS,
                                                            0,
                                                            &functions};
