/* A small network of a reference file: all parameters under a published checkpoint's names,
 * pictures `x`, and what PyTorch made of them: values in evaluation, `grad.NAME` of the mean
 * squared logit, and after one step in training `training.logits` and the running statistics
 * `training.NAME`. */
#ifndef MICA_TESTS_REFERENCE_NETWORK_H
#define MICA_TESTS_REFERENCE_NETWORK_H

#include "support/golden.h"

#include <mica/model.h>

typedef struct reference_network {
  mica_archive *file;
  mica_net *net;
  mica_tensor *x;
  mica_tape *tape;
} reference_network;

/* The network of a specification for pictures of five classes, with the file's parameters. */
reference_network reference_begin(mica_engine *engine, const char *spec, int64_t height,
                                  int64_t width, const char *path);
void reference_end(reference_network *r);

/* The value is the file's tensor of this name, within bound. */
void reference_agrees(const reference_network *r, const char *name, mica_var got, double bound);

/* All gradients of the file, of which there are `n`. */
void reference_gradients(const reference_network *r, int64_t n, double bound);
/* Logits and running statistics of the step in training. */
void reference_training(const reference_network *r);

/* Elements of the parameters that are trained. */
int64_t reference_trainable(const mica_net *net);

#endif
