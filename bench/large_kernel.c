/* A block of the kind that networks of large kernels stack (Ding et al. 2024), on maps of
 * 56x56x128: depthwise convolution, batch norm, pointwise to four times the channels, GELU,
 * pointwise back, and the input added.
 *
 *     train   forward and backward, to the input as well
 *     infer   forward
 */
#include "bench.h"

#include <stdlib.h>

enum { SIDE = 56, CHANNELS = 128, TRAIN_BATCH = 8 };

typedef struct block {
  mica_params *params;
  mica_node *depthwise, *norm, *wide, *narrow;
  mica_conv_options conv;
  mica_tensor *x, *gradient; /* gradient NULL: inference */
} block;

static void make(bench *b) {
  const int64_t kernel = *(const int64_t *)b->work->setting;
  block *l = b->made = calloc(1, sizeof *l);
  const bool train = in_phase(b, "train");
  if (!train && !in_phase(b, "infer")) no_phase(b);
  const int64_t batch = b->batch ? b->batch : train ? TRAIN_BATCH : 1;
  need(mica_params_create(b->engine, 1, &l->params));
  mica_node *root = mica_params_root(l->params);
  l->depthwise = mica_node_child(root, "depthwise");
  l->norm = mica_node_child(root, "norm");
  l->wide = mica_node_child(root, "wide");
  l->narrow = mica_node_child(root, "narrow");
  need(
      mica_nn_conv2d_init(l->depthwise, CHANNELS, CHANNELS, kernel, kernel, CHANNELS, false, NULL));
  need(mica_nn_batch_norm_init(l->norm, CHANNELS));
  need(mica_nn_linear_init(l->wide, CHANNELS, 4 * CHANNELS, true));
  need(mica_nn_linear_init(l->narrow, 4 * CHANNELS, CHANNELS, true));
  l->conv = (mica_conv_options)MICA_CONV_OPTIONS;
  l->conv.groups = CHANNELS;
  for (int i = 0; i < 4; i++) l->conv.pad[i] = (int32_t)(kernel / 2);
  l->x = noise(MICA_SHAPE(batch, SIDE, SIDE, CHANNELS), 1);
  if (train) l->gradient = noise(MICA_SHAPE(batch, SIDE, SIDE, CHANNELS), 2);
}

static mica_var forward(mica_tape *t, const block *l, mica_var x) {
  mica_var h = mica_nn_conv2d_norm(t, l->depthwise, l->norm, &l->conv, MICA_IDENTITY, x, MICA_NONE);
  h = mica_replace(t, h, mica_nn_linear(t, l->wide, h));
  h = mica_replace(t, h, mica_gelu(t, h));
  h = mica_replace(t, h, mica_nn_linear(t, l->narrow, h));
  return mica_replace(t, h, mica_add(t, h, x));
}

static void step(bench *b) {
  const block *l = b->made;
  mica_tape *t = b->tape;
  if (l->gradient) {
    mica_set_training(t, true);
    mica_params_zero_grad(l->params);
    need(mica_backward_from(t, forward(t, l, mica_leaf(t, l->x)), mica_input(t, l->gradient)));
    need(mica_commit(t));
  } else {
    mica_no_grad_begin(t);
    forward(t, l, mica_input(t, l->x));
    need(mica_tape_status(t));
  }
  mica_tape_reset(t);
}

static void release(bench *b) {
  block *l = b->made;
  mica_tensor_free(l->x);
  mica_tensor_free(l->gradient);
  mica_params_free(l->params);
  free(l);
}

#define KERNEL(n)                                                                                  \
  {                                                                                                \
    "large-kernel-" #n, "block with a depthwise convolution of " #n "x" #n ", 56x56x128", make,    \
        step, release, &(const int64_t) {                                                          \
      n                                                                                            \
    }                                                                                              \
  }
const workload large_kernel_workloads[] = {KERNEL(13), KERNEL(31), {0}};
