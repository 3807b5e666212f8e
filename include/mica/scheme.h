/* mica/scheme.h: schemes of training: what stands beside the network that is trained, and what its
 * losses read from there: a teacher, class means, places inside both.
 *
 *     mica_scheme_setting s = {.size = sizeof s, .net = student, .train = &stream};
 *     mica_scheme_create(engine, "distil:teacher=big.mica", &s, "ce+kd:T=4+nd", &scheme);
 *     options.scheme = scheme;
 *     options.loss = mica_scheme_loss(scheme);
 *     mica_train(student, &stream, NULL, &options, NULL);
 */
#ifndef MICA_SCHEME_H
#define MICA_SCHEME_H

#include <mica/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a scheme is made for; everything is the caller's and must outlive the scheme. */
typedef struct mica_scheme_setting {
  uint32_t size;
  const mica_net *net;               /* the one to be trained */
  const mica_stream *train;          /* may be read before training begins */
  const mica_preprocess *preprocess; /* of the stream's pictures; NULL: as the teacher's */
  const char *const *classes;        /* names of net's classes; NULL: not checked */
  const mica_net *teacher;           /* NULL: the one that the scheme's options name */
  const mica_net *guide; /* a second one ("compatible": an independent new model), likewise */
} mica_scheme_setting;

/* The table of a component of kind MICA_KIND_SCHEME. Its descriptor's `provides` tells what it can
 * fill in of mica_loss_inputs. */
typedef struct mica_scheme_functions {
  /* `needs`: the MICA_NEED_* bits of the losses; what none needs need not be made. */
  mica_status (*begin)(const void *options, const mica_scheme_setting *setting, uint32_t needs,
                       void **state);
  void (*free)(void *state);
  /* Losses where the caller names none. */
  const char *(*loss)(const void *options);
  /* Fill in what losses' parameters are made for; classes and features are there. */
  void (*describe)(const void *state, mica_loss_shapes *shapes);
  /* The forward of `net` (the trained network, in training), and of what stands beside it. */
  void (*forward)(mica_tape *t, void *state, const mica_net *net, const mica_inputs *inputs,
                  mica_outputs *out, mica_loss_inputs *in);
} mica_scheme_functions;

typedef struct mica_scheme mica_scheme;

/* From text such as "distil:teacher=big.mica". `loss`: what will be trained with, NULL: the
 * scheme's own. */
MICA_API mica_status mica_scheme_create(mica_engine *engine, const char *spec,
                                        const mica_scheme_setting *setting, const char *loss,
                                        mica_scheme **out);
MICA_API void mica_scheme_free(mica_scheme *scheme);
/* The losses' text, as given or its own. */
MICA_API const char *mica_scheme_loss(const mica_scheme *scheme);
MICA_API const mica_component *mica_scheme_component(const mica_scheme *scheme);
/* For whoever runs a step without the trainer: fill in what losses' parameters are made for, and
 * run the forward. */
MICA_API void mica_scheme_describe(const mica_scheme *scheme, mica_loss_shapes *shapes);
MICA_API void mica_scheme_forward(mica_tape *t, const mica_scheme *scheme, const mica_net *net,
                                  const mica_inputs *inputs, mica_outputs *out,
                                  mica_loss_inputs *in);

/* The mean features [classes, D] float32 of the examples of each class, in one pass over the
 * stream's epoch 0 in evaluation mode; sums are float64. A class without an example gives zeros.
 * classes 0: as many as the labels name. */
MICA_API mica_status mica_class_means(const mica_net *net, const mica_stream *stream,
                                      int64_t classes, mica_tensor **out);

/* ---- options of the built-in schemes ---- */

/* "distil": a frozen teacher in evaluation mode, whose pictures are brought to its own size and
 * scale. Taps are names and patterns as of mica_net_set_taps, joined by commas; those of both
 * networks are matched in the order of their forwards. */
typedef struct mica_distil_options {
  uint32_t size;
  const char *teacher;      /* a model file */
  const char *taps;         /* NULL: blocks or layers, whichever the network has */
  const char *teacher_taps; /* NULL: as taps */
} mica_distil_options;
#define MICA_DISTIL_OPTIONS                                                                        \
  { sizeof(mica_distil_options), NULL, NULL, NULL }

/* "compatible": an older model, and if wanted an independently trained new one (mica/compatible.h).
 * Losses "influence" and "align" read their features, of length 1. */
typedef struct mica_compatible_options {
  uint32_t size;
  const char *old, *new_; /* model files; options "old" and "new" */
  bool cache;             /* each example is looked at once, by the ids of the batches */
} mica_compatible_options;
#define MICA_COMPATIBLE_OPTIONS                                                                    \
  { sizeof(mica_compatible_options), NULL, NULL, false }

#ifdef __cplusplus
}
#endif
#endif
