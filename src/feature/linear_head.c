/* The linear map in blocks of rows, and an estimator's functions around it. */
#include "feature/linear_head.h"

#include "feature/class_scores.h"
#include "feature/record.h"
#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "tensor/kernel/gemm.h"

#include <string.h>

enum { block_rows = 256 };

mica_status mica_linear_head_create(int64_t features, int64_t outputs, mica_linear_head **out) {
  *out = NULL;
  mica_linear_head *head = mica_calloc(1, sizeof *head);
  if (!head) return MICA_ERR_MEMORY;
  *head = (mica_linear_head){.features = features, .outputs = outputs};
  head->weight = mica_calloc((size_t)features * (size_t)outputs, sizeof *head->weight);
  head->bias = mica_calloc((size_t)outputs, sizeof *head->bias);
  if (head->weight && head->bias) {
    *out = head;
    return MICA_OK;
  }
  mica_linear_head_free(head);
  return MICA_ERR_MEMORY;
}

void mica_linear_head_free(void *state) {
  mica_linear_head *head = state;
  if (!head) return;
  mica_free(head->weight);
  mica_free(head->bias);
  mica_free(head);
}

typedef struct {
  const mica_engine *engine;
  const mica_linear_head *head;
  const mica_view *x;
  double *score;
} score_job;

static mica_status score_chunk(void *ctx, int64_t chunk, void *scratch) {
  const score_job *j = ctx;
  int64_t n = mica_rows_n(j->x), d = j->head->features, outputs = j->head->outputs;
  int64_t begin = chunk * block_rows, end = begin + block_rows < n ? begin + block_rows : n;
  double *score = j->score + begin * outputs;
  mica_rows_load(j->x, begin, end, NULL, scratch);
  mica_status status = mica_gemm(j->engine, MICA_F64, false, true, end - begin, outputs, d, 1,
                                 scratch, d, j->head->weight, d, 0, score, outputs);
  for (int64_t i = 0; i < end - begin; i++)
    for (int64_t c = 0; c < outputs; c++) score[i * outputs + c] += j->head->bias[c];
  return status;
}

mica_status mica_linear_head_scores(const mica_engine *engine, const mica_linear_head *head,
                                    const mica_view *x, double *score) {
  score_job j = {engine, head, x, score};
  return mica_chunks_run(engine, mica_chunks_of(mica_rows_n(x), block_rows),
                         (size_t)(block_rows * head->features) * sizeof(double), score_chunk, &j);
}

mica_status mica_linear_head_save(const void *state, mica_record *record) {
  const mica_linear_head *head = state;
  mica_status status = mica_record_put_f64(record, "weight",
                                           MICA_SHAPE(head->outputs, head->features), head->weight);
  return status ? status
                : mica_record_put_f64(record, "bias", MICA_SHAPE(head->outputs), head->bias);
}

mica_status mica_linear_head_load(const mica_engine *engine, const void *options,
                                  const mica_fitted *fitted, const mica_record *record,
                                  void **state) {
  (void)engine, (void)options;
  mica_linear_head *head;
  mica_status status = mica_linear_head_create(fitted->features, fitted->outputs, &head);
  if (!status)
    status = mica_record_take_f64(record, "weight", MICA_SHAPE(head->outputs, head->features),
                                  false, head->weight);
  if (!status)
    status = mica_record_take_f64(record, "bias", MICA_SHAPE(head->outputs), true, head->bias);
  if (status)
    mica_linear_head_free(head);
  else
    *state = head;
  return status;
}

mica_status mica_linear_head_linear(const void *options, const void *state, double *weight,
                                    double *bias) {
  (void)options;
  const mica_linear_head *head = state;
  memcpy(weight, head->weight, (size_t)(head->outputs * head->features) * sizeof *weight);
  memcpy(bias, head->bias, (size_t)head->outputs * sizeof *bias);
  return MICA_OK;
}

mica_status mica_linear_head_predict(const mica_engine *engine, const mica_linear_head *head,
                                     const mica_view *x, mica_anomaly_fn anomaly,
                                     const mica_prediction *out) {
  const int64_t n = mica_rows_n(x), outputs = head->outputs;
  double *own, *score = mica_scores_begin(n, outputs, out, &own);
  if (!score) return MICA_ERR_MEMORY;
  const mica_status status = mica_linear_head_scores(engine, head, x, score);
  for (int64_t i = 0; out->anomaly && !status && i < n; i++)
    out->anomaly[i] = anomaly(score + i * outputs, outputs);
  if (!status) mica_scores_answer(n, outputs, 1, score, out);
  mica_free(own);
  return status;
}
