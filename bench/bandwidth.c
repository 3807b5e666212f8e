/* Operations that little is computed in: memory is what limits them. Arrays of 400 MB, far beyond
 * the caches. Phases: "forward", and "train", forward and backward. */
#include "bench.h"

#include <stdlib.h>

enum { ELEMENTS = 100 << 20 };

typedef enum operation { LAYER_NORM, CROSS_ENTROPY, GELU, GELU_TANH } operation;

typedef struct setting {
  operation operation;
  int64_t columns;
} setting;

typedef struct arrays {
  mica_tensor *x, *gradient, *labels, *gain, *bias;
} arrays;

static void make(bench *b) {
  const setting *s = b->work->setting;
  const int64_t rows = ELEMENTS / s->columns;
  arrays *a = b->made = calloc(1, sizeof *a);
  if (!in_phase(b, "forward") && !in_phase(b, "train")) no_phase(b);
  a->x = noise(MICA_SHAPE(rows, s->columns), 1);
  if (s->operation == CROSS_ENTROPY)
    a->labels = numbers(MICA_SHAPE(rows), s->columns, 2);
  else if (in_phase(b, "train"))
    a->gradient = noise(MICA_SHAPE(rows, s->columns), 3);
  if (s->operation == LAYER_NORM) {
    a->gain = noise(MICA_SHAPE(s->columns), 4);
    a->bias = noise(MICA_SHAPE(s->columns), 5);
  }
}

static mica_var apply(const bench *b, const arrays *a) {
  mica_tape *t = b->tape;
  const mica_var x = mica_leaf(t, a->x);
  switch (((const setting *)b->work->setting)->operation) {
  case LAYER_NORM: return mica_layer_norm(t, x, mica_leaf(t, a->gain), mica_leaf(t, a->bias), 1e-5);
  case CROSS_ENTROPY: return mica_cross_entropy(t, x, mica_input(t, a->labels), MICA_NONE, NULL);
  case GELU: return mica_gelu(t, x);
  default: return mica_gelu_tanh(t, x);
  }
}

static void step(bench *b) {
  const arrays *a = b->made;
  mica_tape *t = b->tape;
  const bool forward = in_phase(b, "forward");
  if (forward) mica_no_grad_begin(t);
  const mica_var y = apply(b, a);
  if (!forward && a->gradient)
    mica_backward_from(t, y, mica_input(t, a->gradient));
  else if (!forward)
    mica_backward(t, y);
  need(mica_tape_status(t));
  mica_tape_reset(t);
}

static void release(bench *b) {
  arrays *a = b->made;
  mica_tensor_free(a->x);
  mica_tensor_free(a->gradient);
  mica_tensor_free(a->labels);
  mica_tensor_free(a->gain);
  mica_tensor_free(a->bias);
  free(a);
}

/* ---- an optimiser's step over 10^8 parameters ---- */

enum { PARAMETERS = 100000000 };

typedef struct update {
  mica_params *params;
  mica_optimiser *optimiser;
} update;

static void update_make(bench *b) {
  update *u = b->made = calloc(1, sizeof *u);
  mica_param *p;
  if (!in_phase(b, "step")) no_phase(b);
  need(mica_params_create(b->engine, 1, &u->params));
  need(mica_param_add(mica_params_root(u->params), "weight", MICA_F32,
                      MICA_SHAPE(PARAMETERS / 1000, 1000), MICA_PARAM_TRAINABLE, NULL, &p));
  need(mica_optimiser_create(u->params, "adamw:lr=1e-4:weight_decay=0.05", &u->optimiser));
  mica_tape *t = b->tape;
  const mica_var w = mica_param_var(t, p);
  need(mica_backward(t, mica_mean(t, w, 0, NULL, false)));
  mica_tape_reset(t);
}

static void update_step(bench *b) {
  update *u = b->made;
  need(mica_optimiser_step(u->optimiser, b->tape, 1));
}

static void update_free(bench *b) {
  update *u = b->made;
  mica_optimiser_free(u->optimiser);
  mica_params_free(u->params);
  free(u);
}

#define OPERATION(name, about, operation, columns)                                                 \
  {                                                                                                \
    name, about, make, step, release, &(const setting) {                                           \
      operation, columns                                                                           \
    }                                                                                              \
  }
const workload bandwidth_workloads[] = {
    OPERATION("layer-norm", "100 M values in rows of 768", LAYER_NORM, 768),
    OPERATION("cross-entropy-1000", "100 M logits in rows of 1000", CROSS_ENTROPY, 1000),
    OPERATION("cross-entropy-50257", "100 M logits in rows of 50257", CROSS_ENTROPY, 50257),
    OPERATION("gelu", "100 M values, by the normal distribution", GELU, 1024),
    OPERATION("gelu-tanh", "100 M values, by the hyperbolic tangent", GELU_TANH, 1024),
    {"adamw", "10^8 parameters", update_make, update_step, update_free, NULL},
    {0}};
