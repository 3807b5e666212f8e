/* hyperspherical: normalised softmax with class vectors that are projected after the step, and the
 * classifier grown by the mean direction of new examples.
 *
 * The files hold class vectors as columns [D, classes].
 */
#include "adapter.h"

#include <stdlib.h>

/* [a, b] of the file as [b, a]. */
static mica_tensor *turned(golden *g, const char *name) {
  const mica_view v = golden_view(g, name, MICA_F32);
  const int64_t a = v.shape.dim[0], b = v.shape.dim[1];
  mica_tensor *out;
  golden_need(g, mica_tensor_create(MICA_F32, MICA_SHAPE(b, a), &out));
  for (int64_t i = 0; i < a; i++)
    for (int64_t j = 0; j < b; j++)
      ((float *)mica_tensor_data(out))[j * a + i] = ((const float *)v.data)[i * b + j];
  return out;
}

static void check_turned(golden *g, const char *name, const mica_view *v) {
  const int64_t a = v->shape.dim[0], b = v->shape.dim[1];
  double *out = calloc((size_t)(a * b) + 1, sizeof *out);
  if (!out) golden_fail(g, "out of memory");
  for (int64_t i = 0; i < a; i++)
    for (int64_t j = 0; j < b; j++)
      out[j * a + i] = v->dtype == MICA_F32 ? (double)((const float *)v->data)[i * b + j]
                                            : ((const double *)v->data)[i * b + j];
  golden_check_doubles(g, name, out, a * b);
}

/* The layer as a network has it: a weight that is projected after plain descent. */
static mica_view check_training(golden *g, const mica_cosine_options *o) {
  mica_params *params;
  mica_tape *t;
  mica_tensor *w = turned(g, "param.class_vectors");
  const int64_t classes = mica_tensor_dim(w, 0), width = mica_tensor_dim(w, 1);
  golden_need(g, mica_params_create(golden_engine(g), 1, &params));
  golden_need(g, mica_nn_cosine_init(mica_params_root(params), width, classes, o));
  mica_param *q = mica_node_param(mica_params_root(params), "weight");
  golden_need(g, mica_param_replace(q, w));
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  mica_set_training(t, true);
  const mica_var x = mica_leaf(t, golden_tensor(g, "in.embeddings", MICA_F32));
  const mica_var labels = mica_input(t, golden_tensor(g, "in.labels", MICA_I64));
  const mica_var logits = mica_nn_cosine(t, mica_params_root(params), o, x, labels);
  const mica_var loss = mica_cross_entropy(t, logits, labels, MICA_NONE, NULL);
  golden_check_var(g, "out.logits", t, logits);
  golden_check_var(g, "out.loss", t, loss);
  golden_need(g, mica_backward(t, loss));
  golden_check_var(g, "grad.embeddings", t, mica_gradient(t, x));
  const mica_view gw = mica_param_grad(q);
  check_turned(g, "grad.class_vectors", &gw);
  const float lr = (float)golden_number(g, "lr", 0.1);
  float *to = mica_param_write(q);
  for (int64_t i = 0; i < classes * width; i++) to[i] -= lr * ((const float *)gw.data)[i];
  mica_nn_cosine_project(mica_params_root(params), o);
  const mica_view after = mica_tensor_view(mica_param_value(q));
  check_turned(g, "out.class_vectors_after_step", &after);
  return after;
}

static void run(golden *g) {
  mica_cosine_options o = MICA_COSINE_OPTIONS;
  o.constraint = 1;
  o.scale = golden_number(g, "scale", 10);
  const mica_view trained = check_training(g, &o);

  /* The trained vectors, grown by a class, as the estimator that a model file has. */
  mica_estimator *e;
  mica_record *record;
  const mica_view fresh = golden_view(g, "in.new_class_embeddings", MICA_F32);
  const mica_view queries = golden_view(g, "in.queries", MICA_F32);
  golden_need(g, mica_cosine_estimator(golden_engine(g), &trained, o.scale, &e));
  golden_need(g, mica_estimator_add_class(e, &fresh, NULL));
  golden_need(g, mica_record_create(&record));
  golden_need(g, mica_estimator_save(e, record));
  const mica_view extended = mica_tensor_view(mica_record_get(record, "vector"));
  check_turned(g, "out.class_vectors_extended", &extended);
  const int64_t n = queries.shape.dim[0], classes = mica_estimator_classes(e);
  mica_prediction p = MICA_PREDICTION;
  p.label = calloc((size_t)n, sizeof *p.label);
  p.score = calloc((size_t)(n * classes), sizeof *p.score);
  p.probability = calloc((size_t)(n * classes), sizeof *p.probability);
  if (!p.label || !p.score || !p.probability) golden_fail(g, "out of memory");
  golden_need(g, mica_estimator_predict(e, &queries, &p));
  golden_check_doubles(g, "out.query_logits", p.score, n * classes);
  golden_check_doubles(g, "out.query_probabilities", p.probability, n * classes);
  golden_check_integers(g, "out.query_class", p.label, n);
}

const golden_adapter golden_adapter_hyperspherical = {"hyperspherical", 1e-5, run};
