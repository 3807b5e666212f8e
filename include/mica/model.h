/* mica/model.h: architectures by name, networks, model files, sessions.
 *
 * A *network* is an architecture with its parameters, which training changes. A *model* is what
 * training leaves and programs load from one file, shared by threads, each of which has a
 * *session*.
 */
#ifndef MICA_MODEL_H
#define MICA_MODEL_H

#include <mica/component.h>
#include <mica/data.h>
#include <mica/feature.h>
#include <mica/image.h>
#include <mica/layer.h>
#include <mica/nn.h>
#include <mica/table.h>
#include <mica/zero_shot.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- architectures ---- */

/* What one example looks like and how many classes there are (0: no head, features only). It may
 * have several of these: an image and a text, or numbers and categorical fields. */
typedef struct mica_problem {
  int64_t height, width,
      channels; /* an image; or height = width = 0 and channels columns of a row */
  int64_t classes;
  int64_t vocabulary, length; /* a sequence of up to `length` tokens below `vocabulary`; 0: none */
  int64_t fields;             /* categorical fields; 0: none */
  const int64_t *field_size;  /* [fields]: the ids of field f are 0 .. field_size[f] - 1 */
} mica_problem;
#define MICA_PROBLEM_IMAGES(height, width, channels, classes)                                      \
  { (height), (width), (channels), (classes), 0, 0, 0, NULL }
#define MICA_PROBLEM_ROWS(columns, classes)                                                        \
  { 0, 0, (columns), (classes), 0, 0, 0, NULL }
#define MICA_PROBLEM_TOKENS(vocabulary, length, classes)                                           \
  { 0, 0, 0, (classes), (vocabulary), (length), 0, NULL }
/* Categorical fields, and numeric columns beside them (0: none). */
#define MICA_PROBLEM_FIELDS(columns, fields, field_size, classes)                                  \
  { 0, 0, (columns), (classes), 0, 0, (fields), (field_size) }

/* A batch as a network reads it; MICA_NONE where the problem has no such part. */
typedef struct mica_inputs {
  mica_var x;      /* float32 [N,H,W,C] or [N,columns] */
  mica_var tokens; /* int64 [N,L]; a network of two towers runs with one of x and tokens too */
  mica_var fields; /* int64 [N,F] */
} mica_inputs;

#define MICA_PYRAMID_MAX 8

/* What a forward gives; MICA_NONE where the architecture does not have it (its descriptor's
 * `provides` says so). */
typedef struct mica_outputs {
  mica_var logits;                    /* [N, classes], or for each token [N, L, classes] */
  mica_var features;                  /* [N, D], what the head reads */
  mica_var tokens;                    /* [N, L, D] */
  mica_var pyramid[MICA_PYRAMID_MAX]; /* maps [N,H,W,C], finest first; to be read before backward */
  int n_pyramid;
  mica_var text;        /* [N, D]: of the text, where `features` are of the image beside it */
  int64_t class_tokens; /* the first so many of `tokens` stand for no place of the input */
  mica_var part[MICA_LAYER_PARTS]; /* what a head of its own kind gives besides (mica/layer.h) */
} mica_outputs;

/* The table of a component of kind MICA_KIND_MODEL. */
typedef struct mica_model_functions {
  /* Create the parameters below root. */
  mica_status (*init)(mica_node *root, const void *options, const mica_problem *task);
  /* The shapes are checked. The descriptor's `needs` says what it reads: a problem with tokens or
   * fields is refused unless MICA_NEED_TOKENS or MICA_NEED_FIELDS is there, and the reverse. */
  void (*forward)(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                  mica_outputs *out);
  /* The node of the last linear layer, which another class count replaces. */
  const char *(*head)(const void *options);
  /* Width of `features` for these options. */
  int64_t (*features)(const void *options, const mica_problem *task);
} mica_model_functions;

/* ---- networks ---- */

typedef struct mica_net mica_net;

/* From text such as "resnet:depth=20". Initial values are drawn from seed. The problem is copied.
 * Another head than the architecture's own linear one stands behind a bar, "convnet | head=cosine"
 * (mica/layer.h); it reads the features, or the tokens or the last map's positions. */
MICA_API mica_status mica_net_create(mica_engine *engine, const char *spec,
                                     const mica_problem *task, uint64_t seed, mica_net **out);
MICA_API void mica_net_free(mica_net *net);
MICA_API mica_params *mica_net_params(const mica_net *net);
MICA_API const mica_component *mica_net_component(const mica_net *net);
MICA_API const mica_problem *mica_net_problem(const mica_net *net);
/* The canonical text of the architecture and its options; release with mica_free. */
MICA_API char *mica_net_text(const mica_net *net);
MICA_API int64_t mica_net_features(const mica_net *net);
/* The node of its last linear layer; NULL (no error) where it has none. */
MICA_API mica_node *mica_net_head(const mica_net *net);

#define MICA_TAPS_MAX 16

/* Take the network's features from these places from now on: each one's mean over its positions,
 * one behind the other in the order of the names. A name is a module's path, as in messages and
 * file names of parameters ("layer1", "blocks.3"), a pattern for several ("layer?", in the order of
 * a forward), or an output: "features", "tokens", "pyramid.0", or "pyramid" for all its maps, and
 * the features where they are not the last one's mean. ":all" behind a name takes all its positions
 * in place of their mean, "tokens:all", for what looks at tokens. n = 0: the architecture's own
 * features again. The classifier reads what it always did. Gradients flow through taps, but not out
 * of the inside of blocks that a network runs again in backward (`recompute`). MICA_ERR_NOT_FOUND
 * for a name that is not there.
 */
MICA_API mica_status mica_net_set_taps(mica_net *net, int64_t n, const char *const *names);
/* How many there are, patterns written out; 0: the architecture's own features. */
MICA_API int64_t mica_net_taps(const mica_net *net);
/* The name of tap i, borrowed, and in *width (may be NULL) how many features it gives; NULL out of
 * range. The widths are what levels of an estimator are. */
MICA_API const char *mica_net_tap(const mica_net *net, int64_t i, int64_t *width);

/* Everything the network offers for a batch. Training or evaluation is the tape's. */
MICA_API void mica_net_forward_inputs(mica_tape *t, const mica_net *net, const mica_inputs *in,
                                      mica_outputs *out);
/* The same of a network that reads one thing only. */
MICA_API void mica_net_forward(mica_tape *t, const mica_net *net, mica_var x, mica_outputs *out);
/* Replace the head for another number of classes; its fresh values are drawn from the net's seed.
 */
MICA_API mica_status mica_net_set_classes(mica_net *net, int64_t classes);

/* ---- heads of other kinds than the architecture's own linear layer (mica/layer.h) ---- */

/* Let a head of this specification ("cosine:kind=arcface:dim=64") take the place of the
 * architecture's own, as if the network had been made with it; its parameters are below "head". The
 * number of classes stays, or becomes `classes` unless that is 0. Fresh values are drawn from the
 * net's seed. MICA_ERR_STATE where there is one already, MICA_ERR_INVALID without classes,
 * MICA_ERR_UNSUPPORTED where the architecture gives no features; any other error leaves a network
 * without a head. */
MICA_API mica_status mica_net_set_head(mica_net *net, const char *spec, int64_t classes);
/* Its component, NULL: the architecture's own linear layer. */
MICA_API const mica_component *mica_net_head_component(const mica_net *net);
/* To be called after each step of an optimiser, as mica_train does: class vectors that are to have
 * length 1 get it again. */
MICA_API void mica_net_after_step(mica_net *net);
/* The trained head as an estimator on the network's features. MICA_ERR_UNSUPPORTED where it cannot
 * be one. */
MICA_API mica_status mica_net_head_estimator(const mica_net *net, mica_estimator **out);

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

/* Read values from a checkpoint (safetensors, npz, .pth) in the reference layout by name.
 * Under 90 % of the elements is MICA_ERR_FORMAT unless partial; after any error nothing is changed.
 * Values are taken as they are, NaN and infinity too: a network that has them gives NaN, and
 * training says so at its first step. `report` may be NULL. */
MICA_API mica_status mica_params_load(mica_params *params, const char *path,
                                      const mica_load_options *o, mica_load_report *report);
/* Write all entries (ties once) in the reference layout to a safetensors file, atomically, with m
 * pairs of metadata. */
MICA_API mica_status mica_params_save(const mica_params *params, const char *path,
                                      const mica_text_pair *metadata, int64_t m);
/* The decoder of a llama2.c checkpoint in the form without a version (legacy_export): gpt with
 * Llama's names, rotary pairs, grouped queries; the classifier is the embedding or has its own
 * weights, as the sign of the vocabulary's size says. Every size is checked against the file's
 * before memory is taken: MICA_ERR_FORMAT names the field. */
MICA_API mica_status mica_net_read_llama2c(mica_engine *engine, const char *path, mica_net **out);
/* Write what the adapters of one name train to a safetensors file, with the modules, the texts and
 * a hash of each weight; `bases`: what they keep besides, too. MICA_ERR_STATE while merged. */
MICA_API mica_status mica_adapter_save(const mica_params *params, const char *name,
                                       const char *path, bool bases);
/* Attach what such a file has, under another name where `as` is one. Bases that the file lacks are
 * worked out from the weights, which must be those that the adapter was trained on, to the bit:
 * MICA_ERR_INVALID otherwise, and then nothing is attached. Equal singular values have no vectors
 * of their own, so only the same build finds the same bases for a weight that has some. */
MICA_API mica_status mica_adapter_load(mica_params *params, const char *path, const char *as);
/* Change a fresh network as the model file at `path` was changed against its architecture: weights
 * in two factors, folded norms, adapters. Values stay to be loaded. A file
 * without changes, or of tensors alone, changes nothing. */
MICA_API mica_status mica_net_change_as(mica_net *net, const char *path);
/* The shape that an entry has in interchange files. */
MICA_API mica_shape mica_param_reference_shape(const mica_param *q);
/* A fresh tensor with the entry's value in the reference layout, and the reverse: take the value
 * from one (any float type; MICA_ERR_SHAPE when the shape differs). */
MICA_API mica_status mica_param_to_reference(const mica_param *q, mica_tensor **out);
MICA_API mica_status mica_param_from_reference(mica_param *q, const mica_tensor *value);

/* ---- models: what a program loads ---- */

/* A network with what a program needs to use it: preprocessing, class names, and *heads*, which are
 * estimators fitted on its features. One head answers mica_predict; without one the network's own
 * classifier does. A model is shared by threads. Its network never changes; a head is replaced as a
 * whole when a class is added, so that every prediction is made by the old head or the new one. */
typedef struct mica_model mica_model;

/* Take over the network (on success; the model frees it). `classes`: a name for each class of its
 * own classifier. `training`: a JSON object that is kept as it is, NULL for none. */
MICA_API mica_status mica_model_create(mica_net *net, const mica_preprocess *preprocess,
                                       const char *const *classes, const char *training,
                                       mica_model **out);
/* Open a model file. MICA_ERR_UNSUPPORTED for a file of a newer format, MICA_ERR_FORMAT where a
 * field or tensor is not as expected; the message names it. Large weights stay in the file, which
 * is mapped until the model is freed: put another one in its place by renaming, as all writers
 * here do, for the system ends a process that looks at what was cut off a mapped file. Where
 * others may overwrite the file in place, open its bytes with mica_model_open_memory. */
MICA_API mica_status mica_model_open(mica_engine *engine, const char *path, mica_model **out);
/* The same from a file's bytes in memory, which are not needed afterwards; `name` is for messages.
 */
MICA_API mica_status mica_model_open_memory(mica_engine *engine, const void *bytes, size_t n,
                                            const char *name, mica_model **out);
/* Write the model with all its heads as a safetensors file in the reference layout, whose metadata
 * "mica" is one JSON object; atomically. Other threads may predict meanwhile. */
MICA_API mica_status mica_model_save(const mica_model *model, const char *path);
/* Let mica_model_save write matrices and kernels as int8 with a scale for each output, a quarter of
 * the bytes. What opens the file has float32 again, of those values. Not kept in the file. */
MICA_API void mica_model_set_int8(mica_model *model, bool int8);
/* Fold the batch norms that follow a convolution into its weights; *count (may be NULL) says how
 * many. What evaluation gives stays the same within rounding, and the entries of the norms go.
 * MICA_ERR_STATE for a convolution with an adapter: merge it first. */
MICA_API mica_status mica_net_fold(mica_net *net, int64_t *count);
/* Sessions must be freed first. */
MICA_API void mica_model_free(mica_model *model);
/* Write a network without heads as a model file, as mica_model_create and mica_model_save do. */
MICA_API mica_status mica_net_save(const mica_net *net, const mica_preprocess *preprocess,
                                   const char *const *classes, const char *training,
                                   const char *path);

/* Borrowed for as long as the model lives. */
MICA_API const mica_net *mica_model_net(const mica_model *model);
/* How pictures are to be made ready for its sessions: what the network reads, or larger where parts
 * of them are described (mica_model_set_views). */
MICA_API const mica_preprocess *mica_model_preprocess(const mica_model *model);
/* Features that mica_embed gives of an example: the network's, of each part of a picture. */
MICA_API int64_t mica_model_features(const mica_model *model);
/* The training record's JSON text, NULL when there is none. */
MICA_API const char *mica_model_training(const mica_model *model);
/* What the columns of a row mean, as JSON text, NULL when there is none; setting keeps a copy. To
 * be set before other threads use the model. */
MICA_API const char *mica_model_columns(const mica_model *model);
MICA_API mica_status mica_model_set_columns(mica_model *model, const char *columns);
/* The tokenizer's JSON text (mica/tokenizer.h), likewise. */
MICA_API const char *mica_model_tokenizer(const mica_model *model);
MICA_API mica_status mica_model_set_tokenizer(mica_model *model, const char *tokenizer);
/* The same as columns (mica/table.h) that turn rows of a file into what the model reads, with the
 * classes that answers name now; free with mica_columns_free. MICA_ERR_UNSUPPORTED for a model that
 * has none, MICA_ERR_FORMAT where they do not fit its network. */
MICA_API mica_status mica_model_read_columns(const mica_model *model, mica_columns **out);
/* Classes that answers name now: those of the answering head, or the network's. */
MICA_API int64_t mica_model_classes(const mica_model *model);
/* The name of class i, valid for as long as the model; NULL out of range. */
MICA_API const char *mica_model_class(const mica_model *model, int64_t i);

/* Take the features from other places of the network (mica_net_set_taps); heads, which read the
 * features as they were, are taken out. To be done before other threads use the model. */
MICA_API mica_status mica_model_set_taps(mica_model *model, int64_t n, const char *const *names);
/* How pictures are made to fit from now on (mica_preprocess). Likewise. */
MICA_API mica_status mica_model_set_fit(mica_model *model, mica_image_fit fit);

#define MICA_SCALES_MAX 16
/* Take the features of pictures at several scales of their sides (0.01 to 100) from now on: each at
 * length 1, their mean, at length 1 again; the network's own classifier does not answer then. n =
 * 0: as they are. Not kept in the model file. To be done before other threads use the model. */
MICA_API mica_status mica_model_set_scales(mica_model *model, int64_t n, const double *scales);

/* What is described of a picture in place of the whole: views (mica_picture_view), or regions
 * (mica_regions), of mica/transform.h. */
typedef struct mica_model_views {
  uint32_t size;
  int64_t views;      /* 16, 8 (none of them mirrored), or 0 */
  double crop, angle; /* of views: share of a side, 0.1 to 1; degrees */
  int64_t regions;    /* order, 1 to 8; 0: views */
} mica_model_views;
#define MICA_MODEL_VIEWS                                                                           \
  { sizeof(mica_model_views), 16, 2.0 / 3, 15, 0 }
/* Take the features of these parts of each picture from now on, one part's behind the other's.
 * Pictures are read larger for it (mica_model_preprocess), so that a part has the pixels that the
 * network takes. Heads, which read other features, are taken out (`transformed:views=16` is one
 * that reads these), and the network's own classifier does not answer. Kept in the model file.
 * NULL: whole pictures again. MICA_ERR_UNSUPPORTED for a model that reads no pictures, or has
 * scales. To be done before other threads use the model. */
MICA_API mica_status mica_model_set_views(mica_model *model, const mica_model_views *views);
/* How many parts of a picture are described; 1: the whole. */
MICA_API int64_t mica_model_parts(const mica_model *model);

/* ---- heads ---- */

#define MICA_HEADS_MAX 64

/* Add a fitted estimator as a head, or replace the one of that name, and let it answer. Its number
 * of features must be the network's. `classes`: a name for each of its classes (NULL when it has
 * none); names must differ. The model takes the estimator over on success. Names of heads are 1 to
 * 64 letters, digits, '_' and '-'. */
MICA_API mica_status mica_model_put_head(mica_model *model, const char *name,
                                         mica_estimator *estimator, const char *const *classes);
/* Let another head answer; NULL: the network's own classifier. */
MICA_API mica_status mica_model_answer_with(mica_model *model, const char *head);

/* Keep how many rows of each class [classes of the head] a head was fitted on; a class that is
 * added later counts its examples. To be done before other threads use the model. */
MICA_API mica_status mica_model_set_examples(mica_model *model, const char *head,
                                             const int64_t *examples);
/* The same of the first `classes` classes of the answering head: false where it is not known. */
MICA_API bool mica_model_examples(const mica_model *model, int64_t classes, int64_t *out);

/* What is known of a head. */
typedef struct mica_head_facts {
  char name[65];
  char estimator[512]; /* the specification, as far as it fits */
  mica_task task;
  int64_t classes, outputs;
  bool answers, detects, adds_classes;
  double threshold; /* of the anomaly score, above which the answer is "none of these"; infinity:
                       never */
} mica_head_facts;
MICA_API int64_t mica_model_heads(const mica_model *model);
MICA_API mica_status mica_model_head(const mica_model *model, int64_t i, mica_head_facts *out);

/* Add a class to the answering head from n >= 1 examples (as mica_predict takes them), while other
 * threads predict. Where the network's own classifier answers and can be an estimator ("cosine"),
 * it becomes a head that answers from then on: the old classes keep the vectors of training. A name
 * that is there already is MICA_ERR_INVALID; a head that cannot grow, and a model without one, are
 * MICA_ERR_UNSUPPORTED. On error nothing has changed. */
MICA_API mica_status mica_head_add_class(mica_model *model, const char *name,
                                         const mica_view *examples);
/* Set the share of known examples that the answering head may answer "none of these", 0 to below 1
 * (mica_estimator_set_rejection). */
MICA_API mica_status mica_head_set_rejection(mica_model *model, double rate);

/* Of an answering head that aligns two spaces (mica/alignment.h): rows y [M, Q] of the second space
 * where the mapped rows of the first lie, out [M, outputs]; and how well features x [N, D] of the
 * network go with them, out [N, M]. MICA_ERR_UNSUPPORTED for other heads. */
MICA_API mica_status mica_head_targets(const mica_model *model, const mica_view *y, double *out);
MICA_API mica_status mica_head_pair_scores(const mica_model *model, const mica_view *x,
                                           const mica_view *y, double *out);

/* ---- pictures for a model ---- */

/* Scale and cut a decoded picture as the model's preprocessing says: uint8 [height,width,channels]
 * into `out`. */
MICA_API mica_status mica_model_prepare(const mica_model *model, const mica_tensor *image,
                                        uint8_t *out);
/* Read n picture files into a fresh tensor of examples, uint8 [n,height,width,channels]. */
MICA_API mica_status mica_model_read(const mica_model *model, int64_t n, const char *const *paths,
                                     mica_tensor **out);

/* ---- sessions: one a thread ---- */

typedef struct mica_session mica_session;
/* A session on a model, which must outlive it; one thread uses it at a time. */
MICA_API mica_status mica_session_create(mica_model *model, mica_session **out);
MICA_API void mica_session_free(mica_session *session);

/* From now on the session's examples are features [n, D] as mica_embed gives them, float32, which
 * go to the heads without the network (true), or what the model reads (false). The network's own
 * classifier does not answer features: MICA_ERR_UNSUPPORTED. */
MICA_API void mica_session_take_features(mica_session *session, bool features);

typedef struct mica_answer {
  int64_t label;      /* the class, or MICA_CLASS_NONE */
  const char *name;   /* of the class, or "none of these"; valid for as long as the model */
  double probability; /* of the most likely class; NaN where the head gives none */
  double anomaly;     /* larger: less like what is known; NaN where the head gives none */
} mica_answer;

/* Examples are a view: uint8 [n,height,width,channels] of the model's preprocessing, float32
 * [n,columns] for a model of rows, int64 [n,L] for one of tokens, int64 [n,fields] for one of
 * categorical fields. A model that reads several of these is given an array of views, one for each
 * that it reads, in this order. n may be 0. Large n are worked off in pieces. All but the head is
 * const, and each function fills `out` completely or leaves an error. */

/* One answer for each example: out [n]. MICA_ERR_UNSUPPORTED where the answering head predicts
 * real values. */
MICA_API mica_status mica_predict(mica_session *session, const mica_view *examples,
                                  mica_answer *out);
/* Probabilities out [n, classes]; `classes` at most mica_model_classes: what has been added since
 * the caller asked is left out. */
MICA_API mica_status mica_predict_probabilities(mica_session *session, const mica_view *examples,
                                                int64_t classes, double *out);
/* The answering head's raw scores (mica_prediction), or the network's logits: out [n, columns], the
 * first `columns` of them. */
MICA_API mica_status mica_predict_scores(mica_session *session, const mica_view *examples,
                                         int64_t columns, double *out);
/* Anomaly scores out [n], of the answering head, else of the first head that gives them. */
MICA_API mica_status mica_anomaly_score(mica_session *session, const mica_view *examples,
                                        double *out);
/* Thresholds of the scores by level of the head that mica_anomaly_score asks, out [n], n its
 * outputs (mica_estimator_level_thresholds). */
MICA_API mica_status mica_anomaly_thresholds(const mica_model *model, double rate,
                                             mica_threshold_from from, int64_t n, double *out);
/* Features out [n, mica_net_features]. */
MICA_API mica_status mica_embed(mica_session *session, const mica_view *examples, float *out);

/* ---- classes known by texts (mica/zero_shot.h) ---- */

/* A model of pictures and texts (`clip`, `dual`): from now on the session's examples are pictures
 * alone (true), or both (false). */
MICA_API void mica_session_take_pictures(mica_session *session, bool pictures);
/* Embeddings of n texts, out [n, D] of length 1: of a model's text tower, whose width is that of
 * its features. MICA_ERR_UNSUPPORTED for a model without texts or a tokenizer. Longer texts than
 * the model reads are cut. */
MICA_API mica_status mica_embed_texts(mica_session *session, int64_t n, const char *const *texts,
                                      float *out);
/* Make a head `name` of a phrase list by a specification ("zero_shot:aggregate=max"), and let it
 * answer. */
MICA_API mica_status mica_model_zero_shot(mica_model *model, const char *name, const char *spec,
                                          const mica_phrases *phrases);
/* Give a class of the answering head these n phrases, or add a class; only its texts are embedded.
 * Other threads may predict. MICA_ERR_UNSUPPORTED unless a zero_shot head made from phrases
 * answers. */
MICA_API mica_status mica_head_describe(mica_model *model, const char *class_name, int64_t n,
                                        const char *const *phrases);

/* One reason for an answer. */
typedef struct mica_reason {
  const char *text;  /* the phrase, or in other modes the prompt; owned by the reasons */
  double similarity; /* cosine of picture and prompt */
} mica_reason;
typedef struct mica_reasons {
  int64_t label;    /* of the class that they speak for */
  const char *name; /* of the class; owned by the model */
  double score;     /* of the class */
  int64_t n;
  mica_reason *reason; /* [n], the most similar first */
  char *texts;         /* where their texts lie */
} mica_reasons;        /* release with mica_reasons_free */
/* Why pictures (as mica_predict takes them) are given their classes by the answering head:
 * `classes` best classes of each, with all of their texts. out [n, classes]. */
MICA_API mica_status mica_predict_reasons(mica_session *session, const mica_view *examples,
                                          int64_t classes, mica_reasons *out);
MICA_API void mica_reasons_free(mica_reasons *reasons);

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
  mica_ints widths;     /* of the stages of 3x3 convolutions, which are joined by max pooling */
  double dropout;       /* before the head */
  int64_t convolutions; /* of each stage */
  int64_t hidden;       /* width of a layer with ReLU on the last map, pooled once more; its output
                           are the features. 0: none, they are the map's mean */
} mica_convnet_options;
#define MICA_CONVNET_OPTIONS                                                                       \
  { sizeof(mica_convnet_options), {3, {32, 64, 128}}, 0.0, 2, 0 }

typedef struct mica_resnet_options {
  uint32_t size;
  int64_t depth; /* 20, 32, 44, 56, ... = 6 n + 2 (CIFAR form); 18, 34, 50, 101, 152, 200 (ImageNet
                    form) */
  int64_t width; /* of the first stage; 0: 16 (CIFAR form) or 64 */
  int32_t shortcut; /* CIFAR form: a (no parameters: subsample and pad) | b (1x1 convolution) */
  bool small;       /* ImageNet form with a 3x3 stride 1 stem and no pooling, for small images */
  int32_t form;     /* auto (ImageNet where it has that depth) | cifar | imagenet */
  bool recompute;   /* run each block again in backward: memory of the blocks' inputs and one block,
                       for networks of hundreds of layers */
} mica_resnet_options;
#define MICA_RESNET_OPTIONS                                                                        \
  { sizeof(mica_resnet_options), 20, 0, 0, false, 0, false }

/* "vgg" (Simonyan & Zisserman 2015), depths 11, 13, 16 and 19, with batch norm or without;
 * torchvision's names: features.N, classifier.N. The classifier has two hidden layers behind a 7x7
 * adaptive average pooling; `small`, for small images, has one linear layer `classifier` behind
 * global average pooling. */
typedef struct mica_vgg_options {
  uint32_t size;
  int64_t depth;
  bool norm;
  bool small;
  int64_t width;  /* of the first stage; the others have 2, 4, 8 and 8 times as many channels */
  int64_t hidden; /* of the classifier; not of `small` */
  double dropout; /* behind each hidden layer of the classifier; not of `small` */
} mica_vgg_options;
#define MICA_VGG_OPTIONS                                                                           \
  { sizeof(mica_vgg_options), 16, true, false, 64, 4096, 0.5 }

/* "efficientnet" (Tan and Le 2019), with the names of the `efficientnet_pytorch` checkpoints
 * (_conv_stem, _bn0, _blocks.N._depthwise_conv, _conv_head, _fc). The pyramid is the stem and the
 * last block of each stage; together with the features, the mean of the head's map, they are the
 * nine blocks that anomaly detectors tap. */
typedef struct mica_efficientnet_options {
  uint32_t size;
  int32_t variant;     /* b0 .. b7 */
  double dropout;      /* before the classifier; -1: as published for the variant */
  double drop_connect; /* of the last block; linear over depth */
  double width, depth; /* factors of the scaling; 0: the variant's */
} mica_efficientnet_options;
#define MICA_EFFICIENTNET_OPTIONS                                                                  \
  { sizeof(mica_efficientnet_options), 0, -1.0, 0.2, 0.0, 0.0 }

/* "mobilenet" (MobileNetV3, Howard et al. 2019), with torchvision's names (features.0.0,
 * features.1.block.0.0, classifier.0, classifier.3). The pyramid is the last map of each size;
 * features are the classifier's hidden layer. */
typedef struct mica_mobilenet_options {
  uint32_t size;
  int32_t variant; /* small | large */
  double width;    /* factor of the widths */
  double dropout;  /* before the classifier */
} mica_mobilenet_options;
#define MICA_MOBILENET_OPTIONS                                                                     \
  { sizeof(mica_mobilenet_options), 0, 1.0, 0.2 }

typedef struct mica_vit_options {
  uint32_t size;
  int64_t patch, dim, depth, heads;
  double mlp_ratio, dropout, drop_path;
  bool qkv_bias;
  int32_t pool; /* token (class token) | avg (mean of the patches, then fc_norm) */
  /* For tuning a frozen network, parameters that it lacks: a recalibration psrp in each block
   * (mica_nn_recalibration), and tokens behind the class token that leave before the end (prompts;
   * Jia et al. 2022): in the shallow form one set that goes through all blocks, in the deep one a
   * set for each block, in place of what became of the last block's. */
  int32_t recalibrate; /* none | psrp */
  int64_t recalibrate_rank;
  bool recalibrate_zero; /* at first each block is as it was */
  int64_t prompts;
  bool deep_prompts;
} mica_vit_options;
#define MICA_VIT_OPTIONS                                                                           \
  { sizeof(mica_vit_options), 4, 192, 12, 3, 4.0, 0.0, 0.0, true, 0, 0, 16, false, 0, false }

/* "clip" (Radford et al. 2021), an image tower and a text tower with the names of the
 * `transformers` library; the defaults are those of ViT-B/32, whose problem is 224x224x3 images,
 * 49408 tokens and length 77. The image tower is a vision transformer with a class token and a norm
 * before its blocks too; the text tower is causal, and a text is read at the first of its largest
 * ids, as in OpenAI's code, where the end of a text is the last id of the vocabulary. Features are
 * the image's embedding and `text` is the text's, both of length 1; `tokens` are the image tower's
 * last block. A problem without classes gives the logits e^s image text^T [N,N] of a batch, s
 * logit_scale, with e^s at most 100 (above that logit_scale has no gradient): loss "clip" trains
 * it. Classes > 0 give a linear layer on the features instead. */
typedef struct mica_clip_options {
  uint32_t size;
  int64_t dim; /* of the space where the towers meet */
  int64_t patch, vision_dim, vision_depth, vision_heads;
  int64_t text_dim, text_depth, text_heads;
  double mlp_ratio;
  int32_t activation; /* quick_gelu | gelu */
  double eps;         /* of the norms */
} mica_clip_options;
#define MICA_CLIP_OPTIONS                                                                          \
  { sizeof(mica_clip_options), 512, 32, 768, 12, 12, 512, 12, 8, 4.0, 0, 1e-5 }

/* "pointnet" (Qi et al. 2017): a cloud of points, whose order does not matter, as a row of `dims`
 * coordinates for each point, or as a picture [points, 1, dims]. */
typedef struct mica_pointnet_options {
  uint32_t size;
  int64_t dims;     /* coordinates of a point, where clouds are rows */
  mica_ints widths; /* layers of each point; the last is the features' width */
  mica_ints hidden; /* layers between features and classes */
  bool norm;        /* batch norm behind the layers of each point */
  double dropout;
} mica_pointnet_options;
#define MICA_POINTNET_OPTIONS                                                                      \
  { sizeof(mica_pointnet_options), 3, {3, {64, 128, 1024}}, {2, {512, 256}}, true, 0.0 }

/* "dual", an image tower and a text tower small enough to train anywhere: stages of 3x3
 * convolutions with batch norm and max pooling, and the mean of a text's words through two layers.
 * Outputs are as those of "clip": features and text of length 1, logits of all pairs of a batch;
 * loss "clip" trains it. */
typedef struct mica_dual_options {
  uint32_t size;
  int64_t dim;      /* of the space where the towers meet */
  mica_ints widths; /* of the image tower's stages */
  int64_t words;    /* width of a word */
  int64_t hidden;   /* of the text tower's layer */
  int64_t pad;      /* the token that fills up rows and counts for nothing; -1: none */
} mica_dual_options;
#define MICA_DUAL_OPTIONS                                                                          \
  { sizeof(mica_dual_options), 64, {3, {16, 32, 64}}, 64, 64, 0 }

/* "bert", an encoder of tokens with the norm behind each sum (Devlin et al. 2018). Features are the
 * pooled tokens, and `tokens` those of the last block; classes > 0 adds a classifier of whole
 * texts. */
typedef struct mica_bert_options {
  uint32_t size;
  int64_t dim, depth, heads, hidden;
  int64_t types;     /* texts that one example may have */
  int64_t pad;       /* the token that fills up rows: attention and means leave it out; -1: none */
  int64_t separator; /* the token behind which the next text begins; -1: none */
  double eps, dropout;
  int32_t pool;   /* cls (the first token) | mean | pooler (the first through a tanh layer) */
  bool normalise; /* features have length 1 */
} mica_bert_options;
#define MICA_BERT_OPTIONS                                                                          \
  { sizeof(mica_bert_options), 384, 6, 12, 1536, 2, 0, -1, 1e-12, 0.0, 0, false }

/* Click models read categorical fields and numeric columns (a number enters as itself times a
 * learnt vector, or into DLRM's bottom layers) and answer whether (2 classes, the second is the
 * click) or how much (1 output). Embeddings are "embedding.*", first-order weights "linear.*". */

/* "lr", logistic regression: a weight for each value of each field. */
typedef struct mica_lr_options {
  uint32_t size;
} mica_lr_options;
#define MICA_LR_OPTIONS                                                                            \
  { sizeof(mica_lr_options) }

/* "fm", the factorisation machine of second order (Rendle 2010, eq. 1). */
typedef struct mica_fm_options {
  uint32_t size;
  int64_t dim;       /* of the factors */
  const char *table; /* of the fields' vectors (mica/embedding.h); NULL: a row for each value */
} mica_fm_options;
#define MICA_FM_OPTIONS                                                                            \
  { sizeof(mica_fm_options), 10, NULL }

/* "deepfm" (Guo et al. 2017): a factorisation machine and a tower on the same vectors. */
typedef struct mica_deepfm_options {
  uint32_t size;
  int64_t dim;
  mica_ints hidden; /* of the tower */
  double dropout;
  bool norm;         /* batch norm in the tower */
  const char *table; /* as of fm */
} mica_deepfm_options;
#define MICA_DEEPFM_OPTIONS                                                                        \
  { sizeof(mica_deepfm_options), 10, {3, {400, 400, 400}}, 0.5, false, NULL }

/* "dcn" (Wang et al. 2017): cross layers beside a tower. */
typedef struct mica_dcn_options {
  uint32_t size;
  int64_t dim, layers;
  mica_ints hidden;
  double dropout;
  bool norm;
  const char *table; /* as of fm */
} mica_dcn_options;
#define MICA_DCN_OPTIONS                                                                           \
  { sizeof(mica_dcn_options), 16, 6, {2, {1024, 1024}}, 0.0, true, NULL }

/* "dcnv2" (Wang et al. 2021): cross layers with a matrix, full or of low rank, or a mixture of
 * such. */
typedef struct mica_dcnv2_options {
  uint32_t size;
  int64_t dim, layers;
  mica_ints hidden;
  double dropout;
  bool norm;
  int64_t rank;      /* 0: full matrices */
  int64_t experts;   /* of a rank, gated by softmax; 1: no gate, no tanh */
  int32_t structure; /* parallel (tower beside the cross layers) | stacked (tower on top) */
  const char *table; /* as of fm */
} mica_dcnv2_options;
#define MICA_DCNV2_OPTIONS                                                                         \
  { sizeof(mica_dcnv2_options), 16, 2, {2, {768, 768}}, 0.0, false, 0, 1, 0, NULL }

/* "dlrm" (Naumov et al. 2019): numbers through bottom layers to a vector like the fields', dot
 * products of all pairs, top layers. */
typedef struct mica_dlrm_options {
  uint32_t size;
  int64_t dim;
  mica_ints bottom, top; /* hidden widths; bottom ends with one more layer, of width dim */
  double dropout;        /* of the top layers */
  const char *table;     /* as of fm */
} mica_dlrm_options;
#define MICA_DLRM_OPTIONS                                                                          \
  { sizeof(mica_dlrm_options), 16, {3, {512, 256, 64}}, {2, {512, 256}}, 0.0, NULL }

/* Decoders of tokens. With learned positions the names are GPT-2's (wte, wpe, h.N, ln_f; linear
 * weights lie transposed in files, as there), with rotary ones Llama's (model.embed_tokens,
 * model.layers.N, model.norm, lm_head), so that checkpoints of both kinds load. A problem without
 * classes gives logits [N,L,vocabulary] of the token that follows; with classes the layer `score`
 * classifies whole sequences from their last token, the last within the tape's mask. Initial values
 * as GPT-2's: deviation 0.02, over sqrt(2 depth) for what is added to the stream. */
typedef struct mica_gpt_options {
  uint32_t size;
  int64_t dim, depth, heads;
  int64_t kv_heads; /* 0: heads */
  int64_t hidden;   /* of the feed-forward; 0: 4 dim, for swiglu 8/3 dim up to a multiple of 32 */
  int32_t position; /* learned | rotary */
  int32_t norm;     /* layer | rms */
  int32_t mlp;      /* gelu | gelu_tanh (GPT-2) | swiglu */
  int32_t bias;     /* of linear layers: all | none | qkv */
  bool tied;        /* the embedding is the last layer too */
  double dropout;   /* of embeddings, and of each layer's two results */
  double eps;       /* of the norms */
  int32_t rotary;   /* halves | pairs: mica_rotary_layout */
  double base;      /* and the further options of mica_rotary_options */
  int64_t rotary_dim;
  int32_t scaling; /* none | linear | yarn */
  double factor;
  int64_t original;
} mica_gpt_options;
#define MICA_GPT_OPTIONS                                                                           \
  {                                                                                                \
    sizeof(mica_gpt_options), 384, 6, 6, 0, 0, 0, 0, 0, 0, true, 0.0, 1e-5, 0, 10000.0, 0, 0, 1.0, \
        2048                                                                                       \
  }

#ifdef __cplusplus
}
#endif
#endif
