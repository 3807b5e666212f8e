/* The methods that are the recipe with its two choices (Rebuffi et al. 2020), and Grad-CAM. */
#include <mica/explain.h>

typedef struct options {
  uint32_t size;
  int32_t phase1, phase2;
} options;

static mica_status cell(const mica_net *net, const mica_tensor *x, const int64_t *target,
                        const char *layer, mica_saliency_layer phase1, mica_saliency_squeeze phase2,
                        mica_tensor **out) {
  mica_probe p;
  mica_status status = mica_probe_layer(net, x, target, layer, MICA_RELU_PLAIN, &p);
  if (status != MICA_OK) return status;
  status = mica_saliency(p.activation, p.gradient, phase1, phase2, out);
  mica_probe_clear(&p);
  return status;
}

static mica_status norm_grad(const mica_net *net, const mica_tensor *x, const int64_t *target,
                             const char *layer, const void *given, mica_tensor **out) {
  const options *o = given;
  return cell(net, x, target, layer, (mica_saliency_layer)o->phase1,
              (mica_saliency_squeeze)o->phase2, out);
}

static mica_status linear(const mica_net *net, const mica_tensor *x, const int64_t *target,
                          const char *layer, const void *o, mica_tensor **out) {
  (void)o;
  return cell(net, x, target, layer, MICA_SALIENCY_SCALING, MICA_SQUEEZE_SUM, out);
}

static mica_status gradient(const mica_net *net, const mica_tensor *x, const int64_t *target,
                            const char *layer, const void *o, mica_tensor **out) {
  (void)o;
  return cell(net, x, target, layer, MICA_SALIENCY_BIAS, MICA_SQUEEZE_MAX_ABS, out);
}

static mica_status gradient_input(const mica_net *net, const mica_tensor *x, const int64_t *target,
                                  const char *layer, const void *o, mica_tensor **out) {
  (void)o, (void)layer;
  return cell(net, x, target, NULL, MICA_SALIENCY_SCALING, MICA_SQUEEZE_SUM, out);
}

static mica_status grad_cam(const mica_net *net, const mica_tensor *x, const int64_t *target,
                            const char *layer, const void *o, mica_tensor **out) {
  (void)o;
  mica_probe p;
  mica_status status = mica_probe_layer(net, x, target, layer, MICA_RELU_PLAIN, &p);
  if (status != MICA_OK) return status;
  status = mica_saliency_grad_cam(p.activation, p.gradient, out);
  mica_probe_clear(&p);
  return status;
}

/* The largest absolute gradient of the image's channels, by another rule at each ReLU. */
static mica_status by_rule(const mica_net *net, const mica_tensor *x, const int64_t *target,
                           mica_relu_rule rule, mica_tensor **out) {
  mica_probe p;
  mica_status status = mica_probe_layer(net, x, target, NULL, rule, &p);
  if (status != MICA_OK) return status;
  status = mica_saliency(p.activation, p.gradient, MICA_SALIENCY_BIAS, MICA_SQUEEZE_MAX_ABS, out);
  mica_probe_clear(&p);
  return status;
}

static mica_status guided(const mica_net *net, const mica_tensor *x, const int64_t *target,
                          const char *layer, const void *o, mica_tensor **out) {
  (void)o, (void)layer;
  return by_rule(net, x, target, MICA_RELU_GUIDED, out);
}

static mica_status deconvnet(const mica_net *net, const mica_tensor *x, const int64_t *target,
                             const char *layer, const void *o, mica_tensor **out) {
  (void)o, (void)layer;
  return by_rule(net, x, target, MICA_RELU_DECONVNET, out);
}

static const mica_option table[] = {
    {"phase1", MICA_OPTION_CHOICE, "conv1x1", 0, 0, "scaling|bias|conv1x1|conv3x3|depthwise",
     "the virtual identity layer", offsetof(options, phase1)},
    {"phase2", MICA_OPTION_CHOICE, "norm", 0, 0, "norm|filter_norm|sum|max|abs_sum|max_abs",
     "how a position's contribution becomes a number", offsetof(options, phase2)},
    {0}};

#define EXPLAINER(symbol_, name_, summary_, table_, bytes_, at_layer_, map_)                       \
  static const mica_explainer_functions functions_##symbol_ = {sizeof functions_##symbol_,         \
                                                               at_layer_, map_};                   \
  extern const mica_component mica_component_explainer_##symbol_;                                  \
  const mica_component mica_component_explainer_##symbol_ = {MICA_COMPONENT_HEAD,                  \
                                                             MICA_KIND_EXPLAINER,                  \
                                                             name_,                                \
                                                             summary_,                             \
                                                             "saliency",                           \
                                                             table_,                               \
                                                             bytes_,                               \
                                                             MICA_NEED_IMAGES | MICA_NEED_LOGITS,  \
                                                             0,                                    \
                                                             &functions_##symbol_};

EXPLAINER(norm_grad, "norm_grad", "NormGrad and its relatives: |x| |g| at a layer", table,
          sizeof(options), true, norm_grad)
EXPLAINER(linear, "linear", "linear approximation: the sum of activation times gradient", NULL, 0,
          true, linear)
EXPLAINER(gradient, "gradient", "the largest absolute gradient of a position", NULL, 0, true,
          gradient)
EXPLAINER(gradient_input, "gradient_input", "gradient times input, of the image", NULL, 0, false,
          gradient_input)
EXPLAINER(grad_cam, "grad_cam", "Grad-CAM: channels weighted by their mean gradients", NULL, 0,
          true, grad_cam)
EXPLAINER(guided, "guided", "guided backpropagation to the image", NULL, 0, false, guided)
EXPLAINER(deconvnet, "deconvnet", "deconvolutional network to the image", NULL, 0, false, deconvnet)
