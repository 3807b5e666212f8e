/* What many papers' cells do: draw pictures, train on tensors, count right answers. */
#include "paper/claim.h"

mica_status mica_claim_pictures(mica_claim_cell *cell, const char *name, mica_part part,
                                mica_key key, int64_t n, const char *classes, mica_tensor **x,
                                mica_tensor **labels) {
  const mica_claim_images *images;
  mica_status status = mica_claim_data(cell, name, part, &images);
  if (status != MICA_OK) return status;
  if (n == 0) n = images->n;
  int64_t *item = mica_calloc((size_t)n, sizeof *item);
  if (!item) return MICA_ERR_MEMORY;
  status = mica_claim_draw(images, key, n, classes, item);
  if (status == MICA_OK) status = mica_claim_take(images, n, item, x, labels);
  mica_free(item);
  return status;
}

mica_status mica_claim_train_on(mica_claim_cell *cell, mica_net *net, mica_tensor *x,
                                mica_tensor *labels, int64_t batch, bool drop_last, int64_t steps,
                                const mica_train_options *options) {
  mica_stream stream;
  mica_status status =
      mica_memory_stream_create(x, labels, batch, true, drop_last, options->seed, &stream);
  if (status != MICA_OK) return status;
  status = mica_claim_train(cell, net, &stream, steps, options, NULL);
  mica_memory_stream_free(&stream);
  return status;
}

mica_status mica_claim_accuracy(const mica_net *net, mica_tensor *x, mica_tensor *labels,
                                double *accuracy) {
  mica_stream stream;
  mica_evaluation e = {0};
  mica_status status = mica_memory_stream_create(x, labels, 250, false, false, 0, &stream);
  if (status != MICA_OK) return status;
  status = mica_evaluate(net, &stream, false, false, &e);
  if (status == MICA_OK) *accuracy = e.accuracy;
  mica_evaluation_clear(&e);
  mica_memory_stream_free(&stream);
  return status;
}

mica_status mica_claim_fit_and_count(mica_claim_cell *cell, const char *spec, const mica_view *x,
                                     const int64_t *label, int64_t classes, const mica_view *tests,
                                     const int64_t *truth, int64_t *right) {
  const int64_t n = tests->shape.dim[0];
  mica_estimator *e = NULL;
  mica_fit_data data = MICA_FIT_DATA;
  mica_prediction p = MICA_PREDICTION;
  data.x = *x;
  data.label = label;
  data.classes = classes;
  p.label = mica_calloc((size_t)n, sizeof *p.label);
  mica_status status = p.label ? mica_estimator_create(cell->engine, spec, &e) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_claim_fit(cell, e, &data, NULL);
  if (status == MICA_OK) status = mica_estimator_predict(e, tests, &p);
  *right = 0;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) *right += p.label[i] == truth[i];
  mica_free(p.label);
  mica_estimator_free(e);
  return status;
}

int64_t mica_claim_majority(int64_t n, const int64_t *label, int64_t classes, int64_t tests,
                            const int64_t *truth) {
  int64_t best = 0, most = 0, right = 0;
  for (int64_t c = 0; c < classes; c++) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += label[i] == c;
    if (count > most) most = count, best = c;
  }
  for (int64_t i = 0; i < tests; i++) right += truth[i] == best;
  return right;
}
