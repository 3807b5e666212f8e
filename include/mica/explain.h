/* mica/explain.h: where a network looks: saliency maps and the measures of them.
 *
 * Most maps are one recipe (Rebuffi et al. 2020). At a layer, with activation x_u and gradient g_u
 * of one class's raw logit at position u: take the contribution of u to the weight gradient of a
 * virtual identity layer there, and squeeze it to one number. A 1x1 convolution and the norm give
 * NormGrad, |x_u| |g_u|.
 *
 * Images are float32 [N,H,W,C] as the network reads them, maps float32 [N,h,w]. Networks are run in
 * evaluation mode and never changed; what has to change one works on a copy. Images of a batch do
 * not touch each other. Layers are the paths of modules ("layer2.0", as mica_layers lists them);
 * NULL or "" is the image itself.
 */
#ifndef MICA_EXPLAIN_H
#define MICA_EXPLAIN_H

#include <mica/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- layers ---- */

/* The modules whose result is a map [N,h,w,C] for images of this size, in the order of their
 * results: their paths and shapes. Release with mica_layers_free. */
typedef struct mica_layer_list {
  int64_t n;
  char **path;
  mica_shape *shape;
} mica_layer_list;
MICA_API mica_status mica_layers(const mica_net *net, const mica_tensor *x, mica_layer_list *out);
MICA_API void mica_layers_free(mica_layer_list *list);

/* How gradients pass a ReLU. */
typedef enum mica_relu_rule {
  MICA_RELU_PLAIN,     /* where its input was positive */
  MICA_RELU_GUIDED,    /* where input and gradient are (Springenberg et al. 2015) */
  MICA_RELU_DECONVNET, /* where the gradient is (Zeiler and Fergus 2014) */
  MICA_RELU_EXCITATION /* excitation backprop (Zhang et al. 2016): probabilities go to the inputs
                          that excite through positive weights; also of convolutions, linear layers,
                          pools and sums; norms pass them on */
} mica_relu_rule;

/* What a layer did for one class of each image. */
typedef struct mica_probe {
  mica_tensor *scores;     /* [N, classes] raw logits */
  mica_tensor *activation; /* [N,h,w,C] at the layer */
  mica_tensor *gradient;   /* of the target's logit, the same shape */
} mica_probe;
/* target [N]: classes. Release with mica_probe_clear. */
MICA_API mica_status mica_probe_layer(const mica_net *net, const mica_tensor *x,
                                      const int64_t *target, const char *layer, mica_relu_rule rule,
                                      mica_probe *out);
MICA_API void mica_probe_clear(mica_probe *probe);

/* ---- the recipe ---- */

typedef enum mica_saliency_layer {
  MICA_SALIENCY_SCALING,  /* x_uc g_uc */
  MICA_SALIENCY_BIAS,     /* g_u */
  MICA_SALIENCY_CONV1X1,  /* x_u g_u^T */
  MICA_SALIENCY_CONV3X3,  /* X_u g_u^T, X_u the 3x3 neighbourhood, zeros around the image */
  MICA_SALIENCY_DEPTHWISE /* each channel's 3x3 neighbourhood times g_uc */
} mica_saliency_layer;

typedef enum mica_saliency_squeeze {
  MICA_SQUEEZE_NORM,        /* L2 (Frobenius) */
  MICA_SQUEEZE_FILTER_NORM, /* L2 of the positive part ("selective") */
  MICA_SQUEEZE_SUM,
  MICA_SQUEEZE_MAX,
  MICA_SQUEEZE_ABS_SUM,
  MICA_SQUEEZE_MAX_ABS
} mica_saliency_squeeze;

/* A fresh map [N,h,w] from activation and gradient [N,h,w,C] of the same shape. */
MICA_API mica_status mica_saliency(const mica_tensor *activation, const mica_tensor *gradient,
                                   mica_saliency_layer layer, mica_saliency_squeeze squeeze,
                                   mica_tensor **out);
/* The same for a real convolution: its input [N,H,W,I] and the gradient at its output [N,h,w,O]. */
MICA_API mica_status mica_saliency_convolution(const mica_tensor *input,
                                               const mica_tensor *gradient, int64_t kernel_height,
                                               int64_t kernel_width, const mica_conv_options *o,
                                               mica_saliency_squeeze squeeze, mica_tensor **out);
/* ReLU of sum_c x_uc mean_u g_uc (Selvaraju et al. 2017). */
MICA_API mica_status mica_saliency_grad_cam(const mica_tensor *activation,
                                            const mica_tensor *gradient, mica_tensor **out);

/* ---- maps ---- */

/* A fresh map at another size, bilinear with half-pixel centres, no antialiasing. */
MICA_API mica_status mica_map_resize(const mica_tensor *map, int64_t height, int64_t width,
                                     mica_tensor **out);
/* Each image's map to 0..1 in place: less its minimum, over what is then its maximum; a constant
 * map becomes zeros. */
MICA_API void mica_map_normalise(mica_tensor *map);
/* One map of several of the same shape (2 to 64): prod_l M_l^{w_l} or sum_l w_l M_l; weights [n]
 * are scaled to sum 1; NULL: the plain product, or the mean. */
MICA_API mica_status mica_map_combine(int n, const mica_tensor *const *maps, const double *weights,
                                      bool product, mica_tensor **out);
/* Weights (l + 1) / n of n layers, finest first, over their sum. */
MICA_API void mica_map_depth_weights(int n, double *weights);
/* A heat map over an image: uint8 RGB [H,W,3] from a normalised map [H,W] (float32) and an image
 * uint8 [H,W,1 or 3]; `alpha` 0 to 1 is the most that the map covers. */
MICA_API mica_status mica_map_overlay(const float *map, const uint8_t *image, int64_t height,
                                      int64_t width, int64_t channels, double alpha, uint8_t *rgb);

/* ---- methods by name ---- */

/* The table of a component of kind MICA_KIND_EXPLAINER. */
typedef struct mica_explainer_functions {
  uint32_t size;
  bool at_layer; /* the map is of a layer; false: of the image */
  mica_status (*map)(const mica_net *net, const mica_tensor *x, const int64_t *target,
                     const char *layer, const void *options, mica_tensor **out);
} mica_explainer_functions;

typedef struct mica_explain_options {
  uint32_t size;
  const char *layer; /* NULL: the last that mica_layers lists; "input": the image */
  bool resize;       /* to the size of the images, and normalised */
  double meta;       /* one step of gradient descent on the target's cross-entropy with this rate is
                        taken first, for each image from the same weights; negative: of ascent; 0: none */
} mica_explain_options;
#define MICA_EXPLAIN_OPTIONS                                                                       \
  { sizeof(mica_explain_options), NULL, true, 0 }
/* Maps of a batch by a method's specification ("norm_grad", "rise:masks=1000"). target [N]; NULL:
 * the class with the highest score. */
MICA_API mica_status mica_explain(const mica_net *net, const char *method, const mica_tensor *x,
                                  const int64_t *target, const mica_explain_options *options,
                                  mica_tensor **out);

/* A copy of the network after one plain step of every trainable parameter, theta - rate grad
 * CE(f(x), target), in evaluation mode; x [1,H,W,C]. The caller frees it. */
MICA_API mica_status mica_meta_step(const mica_net *net, const mica_tensor *x, int64_t target,
                                    double rate, mica_net **out);

/* ---- measures ---- */

/* Mean over the images of Pearson's correlation between the maps of their highest and their lowest
 * class; lower is more class-sensitive. */
MICA_API mica_status mica_class_sensitivity(const mica_net *net, const char *method,
                                            const mica_tensor *x,
                                            const mica_explain_options *options, double *out);

/* The pointing game: is the map's maximum within `tolerance` pixels of the object, a mask [H,W] of
 * 0 and 1? (15 in the literature; 0: inside it.) */
MICA_API bool mica_pointing_hit(const float *map, const uint8_t *mask, int64_t height,
                                int64_t width, double tolerance);
/* The mean over classes with any answer of hits / (hits + misses); hits and misses [classes]. */
MICA_API double mica_pointing_accuracy(const int64_t *hits, const int64_t *misses, int64_t classes);
/* Is the image a difficult one: do the objects of the class cover less than a quarter of it, while
 * another class is there? The mask is the class's. */
MICA_API bool mica_pointing_difficult(const uint8_t *mask, int64_t height, int64_t width,
                                      bool another_class);

/* The cascading sanity check (Adebayo et al. 2018): layers get fresh initial values from the top
 * down; after each, the mean correlation with the first maps. Into correlation [most]; *steps says
 * how many there were; path (may be NULL) the layers, to release with mica_free each. */
MICA_API mica_status mica_randomise_from_top(const mica_net *net, const char *method,
                                             const mica_tensor *x, const int64_t *target,
                                             const mica_explain_options *options, uint64_t seed,
                                             int64_t most, double *correlation, char **path,
                                             int64_t *steps);

#ifdef __cplusplus
}
#endif
#endif
