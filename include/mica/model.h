/* mica/model.h: architectures by name, networks, model files, sessions.
 *
 * A *network* is an architecture with its parameters, which training changes. A *model* is what
 * training leaves and programs load from one file: immutable, shared by threads, each of which has
 * a *session*.
 */
#ifndef MICA_MODEL_H
#define MICA_MODEL_H

#include <mica/component.h>
#include <mica/data.h>
#include <mica/image.h>
#include <mica/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- architectures ---- */

/* What one example looks like and how many classes there are (0: no head, features only). */
typedef struct mica_problem {
  int64_t height, width,
      channels; /* an image; or height = width = 0 and channels columns of a row */
  int64_t classes;
} mica_problem;

#define MICA_PYRAMID_MAX 8

/* What a forward gives; MICA_NONE where the architecture does not have it (its descriptor's
 * `provides` says so). */
typedef struct mica_outputs {
  mica_var logits;                    /* [N, classes] */
  mica_var features;                  /* [N, D], what the head reads */
  mica_var tokens;                    /* [N, L, D] */
  mica_var pyramid[MICA_PYRAMID_MAX]; /* maps [N,H,W,C], finest first */
  int n_pyramid;
} mica_outputs;

/* The table of a component of kind MICA_KIND_MODEL. */
typedef struct mica_model_functions {
  /* Create the parameters below root. */
  mica_status (*init)(mica_node *root, const void *options, const mica_problem *task);
  /* x is [N,H,W,C] or [N,columns], float32. */
  void (*forward)(mica_tape *t, mica_node *root, const void *options, mica_var x,
                  mica_outputs *out);
  /* The node of the last linear layer, which another class count replaces. */
  const char *(*head)(const void *options);
  /* Width of `features` for these options. */
  int64_t (*features)(const void *options, const mica_problem *task);
} mica_model_functions;

/* ---- networks ---- */

typedef struct mica_net mica_net;

/* From text such as "resnet:depth=20". Initial values are drawn from seed. */
MICA_API mica_status mica_net_create(mica_engine *engine, const char *spec,
                                     const mica_problem *task, uint64_t seed, mica_net **out);
MICA_API void mica_net_free(mica_net *net);
MICA_API mica_params *mica_net_params(const mica_net *net);
MICA_API const mica_component *mica_net_component(const mica_net *net);
MICA_API const mica_problem *mica_net_problem(const mica_net *net);
/* The canonical text of the architecture and its options; release with mica_free. */
MICA_API char *mica_net_text(const mica_net *net);
MICA_API int64_t mica_net_features(const mica_net *net);
/* Everything the network offers for a batch. Training or evaluation is the tape's. */
MICA_API void mica_net_forward(mica_tape *t, const mica_net *net, mica_var x, mica_outputs *out);
/* Replace the head for another number of classes; its fresh values are drawn from the net's seed.
 */
MICA_API mica_status mica_net_set_classes(mica_net *net, int64_t classes);

/* ---- checkpoints ---- */

typedef struct mica_load_options {
  uint32_t size;
  const char *strip; /* prefix to drop from the file's names ("module."), NULL: the common wrappers
                        are recognised ("module.", "state_dict.", "model.") */
  bool partial;      /* accept under 90 % of the parameters' elements */
  bool new_head;     /* a head of another class count stays at its fresh values */
} mica_load_options;
#define MICA_LOAD_OPTIONS                                                                          \
  { sizeof(mica_load_options), NULL, false, true }

/* What a load did, as counts and as text for a person: names loaded, missing, unexpected, reshaped.
 */
typedef struct mica_load_report {
  int64_t loaded, missing, unexpected, reshaped;
  double share; /* of the parameters' elements that were loaded */
  char *text;   /* one line a tensor that was not simply loaded; release with mica_free */
} mica_load_report;

/* Read values from a checkpoint (safetensors, npz) in the reference layout by name.
 * Under 90 % of the elements is MICA_ERR_FORMAT unless partial, and then nothing is changed.
 * `report` may be NULL. */
MICA_API mica_status mica_params_load(mica_params *params, const char *path,
                                      const mica_load_options *o, mica_load_report *report);
/* Write all entries (ties once) in the reference layout to a safetensors file, atomically, with m
 * pairs of metadata. */
MICA_API mica_status mica_params_save(const mica_params *params, const char *path,
                                      const mica_text_pair *metadata, int64_t m);
/* The shape that an entry has in interchange files. */
MICA_API mica_shape mica_param_reference_shape(const mica_param *q);
/* A fresh tensor with the entry's value in the reference layout, and the reverse: take the value
 * from one (any float type; MICA_ERR_SHAPE when the shape differs). */
MICA_API mica_status mica_param_to_reference(const mica_param *q, mica_tensor **out);
MICA_API mica_status mica_param_from_reference(mica_param *q, const mica_tensor *value);

/* ---- model files ---- */

/* Write the network with what a program needs to use it, as a safetensors file in the reference
 * layout whose metadata "mica" is one JSON object; atomically. `classes`: a name for each class.
 * `training`: a JSON object kept as it is (seed, arguments, measures), NULL for none. */
MICA_API mica_status mica_net_save(const mica_net *net, const mica_preprocess *preprocess,
                                   const char *const *classes, const char *training,
                                   const char *path);

/* An opened model file: immutable, shared by threads. */
typedef struct mica_model mica_model;
MICA_API mica_status mica_model_open(mica_engine *engine, const char *path, mica_model **out);
MICA_API void mica_model_free(mica_model *model);
MICA_API const mica_net *mica_model_net(const mica_model *model);
MICA_API const mica_preprocess *mica_model_preprocess(const mica_model *model);
MICA_API int64_t mica_model_classes(const mica_model *model);
MICA_API const char *mica_model_class(const mica_model *model, int64_t i);
/* The training record's JSON text, NULL when there is none. */
MICA_API const char *mica_model_training(const mica_model *model);

/* ---- sessions: one a thread ---- */

typedef struct mica_session mica_session;
/* A session on a model, which must outlive it; one thread uses it at a time. */
MICA_API mica_status mica_session_create(const mica_model *model, mica_session **out);
MICA_API void mica_session_free(mica_session *session);
/* Class probabilities of n pictures, uint8 [n,height,width,channels] of the model's preprocess,
 * into probability [n, classes]. */
MICA_API mica_status mica_predict(mica_session *session, const uint8_t *images, int64_t n,
                                  float *probability);
/* Features [n, mica_net_features] of the same. */
MICA_API mica_status mica_embed(mica_session *session, const uint8_t *images, int64_t n,
                                float *features);

/* ---- options of the built-in architectures ---- */

typedef struct mica_mlp_options {
  uint32_t size;
  mica_ints hidden; /* widths of the hidden layers */
  double dropout;
  int32_t activation; /* relu|gelu|tanh|silu */
} mica_mlp_options;
#define MICA_MLP_OPTIONS                                                                           \
  { sizeof(mica_mlp_options), {2, {256, 256}}, 0.0, 0 }

typedef struct mica_convnet_options {
  uint32_t size;
  mica_ints widths; /* of the stages: two 3x3 convolutions each, the stages joined by max pooling */
  double dropout;   /* before the head */
} mica_convnet_options;
#define MICA_CONVNET_OPTIONS                                                                       \
  { sizeof(mica_convnet_options), {3, {32, 64, 128}}, 0.0 }

typedef struct mica_resnet_options {
  uint32_t size;
  int64_t depth; /* 20, 32, 44, 56, ... = 6 n + 2 (CIFAR form); 18, 34, 50, 101 (ImageNet form) */
  int64_t width; /* of the first stage; 0: 16 (CIFAR form) or 64 */
  int32_t shortcut; /* CIFAR form: a (no parameters: subsample and pad) | b (1x1 convolution) */
  bool small;       /* ImageNet form with a 3x3 stride 1 stem and no pooling, for small images */
} mica_resnet_options;
#define MICA_RESNET_OPTIONS                                                                        \
  { sizeof(mica_resnet_options), 20, 0, 0, false }

typedef struct mica_vit_options {
  uint32_t size;
  int64_t patch, dim, depth, heads;
  double mlp_ratio, dropout, drop_path;
  bool qkv_bias;
  int32_t pool; /* token (class token) | avg (mean of the patches, then fc_norm) */
} mica_vit_options;
#define MICA_VIT_OPTIONS                                                                           \
  { sizeof(mica_vit_options), 4, 192, 12, 3, 4.0, 0.0, 0.0, true, 0 }

#ifdef __cplusplus
}
#endif
#endif
