/* One pass over a stream in evaluation mode. */
#include "train/batch.h"

#include <mica/feature.h>

#include <math.h>
#include <string.h>

void mica_evaluation_clear(mica_evaluation *e) {
  mica_tensor_free(e->logits);
  mica_tensor_free(e->features);
  mica_tensor_free(e->labels);
  mica_tensor_free(e->targets);
  memset(e, 0, sizeof *e);
}

/* Rows gathered from batch to batch. */
typedef struct rows {
  mica_dtype dtype;
  char *data;
  int64_t n, cap, width;
} rows;

static mica_status rows_add(rows *r, const void *data, int64_t n, int64_t width) {
  const size_t row = (size_t)width * mica_dtype_size(r->dtype);
  if (r->n && width != r->width)
    return mica_fail(
        MICA_ERR_SHAPE,
        "evaluation: rows of %lld numbers behind rows of %lld; batches of another size "
        "have other logits",
        (long long)width, (long long)r->width);
  r->width = width;
  if (r->n + n > r->cap) {
    int64_t cap = r->cap ? r->cap * 2 : 1024;
    while (cap < r->n + n) cap *= 2;
    char *more = mica_realloc_array(r->data, (size_t)cap, row ? row : 1);
    if (!more) return MICA_ERR_MEMORY;
    r->data = more;
    r->cap = cap;
  }
  memcpy(r->data + (size_t)r->n * row, data, (size_t)n * row);
  r->n += n;
  return MICA_OK;
}

static mica_status rows_tensor(const rows *r, mica_shape shape, mica_tensor **out) {
  const mica_view view = mica_view_of(r->data, r->dtype, shape);
  return mica_tensor_from_view(&view, r->dtype, out);
}

/* Cross-entropy and hits of n rows, in float64; the number of rows that have a class. */
static int64_t score(const float *logits, int64_t n, int64_t classes, const int64_t *labels,
                     double *loss, double *hits) {
  int64_t scored = 0;
  for (int64_t i = 0; i < n; i++) {
    const float *x = logits + i * classes;
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++)
      if (x[c] > x[best]) best = c;
    double sum = 0;
    for (int64_t c = 0; c < classes; c++) sum += exp((double)x[c] - (double)x[best]);
    if (labels[i] < 0 || labels[i] >= classes) continue;
    *loss += log(sum) + (double)x[best] - (double)x[labels[i]];
    *hits += best == labels[i];
    scored++;
  }
  return scored;
}

/* Sum of the squared errors of a batch [n, width], in float64; its shape must be the targets'. */
static mica_status squares(const float *outputs, int64_t n, int64_t width,
                           const mica_tensor *targets, double *loss) {
  if (mica_tensor_count(targets) != n * width)
    return mica_fail(MICA_ERR_SHAPE, "evaluation: %lld outputs for %lld targets",
                     (long long)(n * width), (long long)mica_tensor_count(targets));
  const float *y = mica_tensor_data(targets);
  double sum = 0;
  for (int64_t i = 0; i < n * width; i++) {
    const double d = (double)outputs[i] - (double)y[i];
    sum += d * d;
  }
  *loss += sum / (double)width;
  return MICA_OK;
}

/* Rows of two logits: how far the second is above the first, and whether it should be. */
static mica_status rank(const float *logits, int64_t n, const int64_t *labels, rows *scores,
                        rows *positive) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    if (labels[i] < 0 || labels[i] > 1) continue;
    const double score = (double)logits[2 * i + 1] - (double)logits[2 * i];
    const bool is = labels[i] == 1;
    status = rows_add(scores, &score, 1, 1);
    if (status == MICA_OK) status = rows_add(positive, &is, 1, 1);
  }
  return status;
}

/* NaN where one of the classes, or a number, is missing. */
static mica_status auroc_of(const rows *scores, const rows *positive, double *out) {
  mica_estimate e;
  const double *score = (const double *)(const void *)scores->data;
  *out = NAN;
  int64_t is = 0;
  for (int64_t i = 0; i < scores->n; i++) {
    if (isnan(score[i])) return MICA_OK;
    is += positive->data[i] != 0;
  }
  if (!is || is == scores->n) return MICA_OK;
  const mica_status status =
      mica_auroc(scores->n, score, (const bool *)(const void *)positive->data, 0.95, &e);
  if (status == MICA_OK) *out = e.value;
  return status;
}

mica_status mica_evaluate(const mica_net *net, const mica_stream *stream, bool keep_logits,
                          bool keep_features, mica_evaluation *out) {
  memset(out, 0, sizeof *out);
  mica_engine *engine = mica_params_engine(mica_net_params(net));
  mica_tape *t = NULL;
  rows logits = {.dtype = MICA_F32}, features = {.dtype = MICA_F32}, labels = {.dtype = MICA_I64},
       targets = {.dtype = MICA_F32}, scores = {.dtype = MICA_F64}, positive = {.dtype = MICA_BOOL};
  mica_status status = mica_tape_create(engine, NULL, &t);
  if (status == MICA_OK) status = stream->seek(stream->ctx, 0, 0);
  double loss = 0, hits = 0;
  int64_t labelled = 0, targeted = 0;
  for (int64_t b = 0; b < stream->batches && status == MICA_OK; b++) {
    mica_batch batch = {0};
    mica_outputs o;
    status = stream->next(stream->ctx, &batch);
    if (status == MICA_OK && batch.parts)
      status = mica_fail(MICA_ERR_INVALID,
                         "evaluation: the stream is zipped; evaluate its streams one by one");
    if (status != MICA_OK) break;
    mica_tape_reset(t);
    mica_no_grad_begin(t);
    const mica_inputs in = mica_batch_inputs(t, &batch);
    mica_net_forward_inputs(t, net, &in, &o);
    if ((status = mica_tape_status(t)) != MICA_OK) break;
    out->n += batch.n;
    if (!mica_is_none(o.logits)) {
      const mica_view l = mica_read(t, o.logits);
      const int64_t classes = l.shape.dim[l.shape.rank - 1];
      const int64_t scored = classes ? mica_view_count(&l) / classes : 0;
      if (batch.labels && mica_tensor_count(batch.labels) != scored) {
        status = mica_fail(MICA_ERR_SHAPE, "evaluation: %lld labels for %lld rows of logits",
                           (long long)mica_tensor_count(batch.labels), (long long)scored);
      } else if (batch.labels) {
        const int64_t *label = mica_tensor_data(batch.labels);
        labelled += score(l.data, scored, classes, label, &loss, &hits);
        if (classes == 2) status = rank(l.data, scored, label, &scores, &positive);
      } else if (batch.targets) {
        status = squares(l.data, scored, classes, batch.targets, &loss);
        targeted += batch.n;
      }
      if (keep_logits && status == MICA_OK) status = rows_add(&logits, l.data, scored, classes);
    }
    if (keep_features && status == MICA_OK) {
      mica_view f = mica_read(t, o.features);
      if (!mica_view_contiguous(&f)) f = mica_read(t, mica_affine(t, o.features, 1, 0));
      if (mica_ok(t)) status = rows_add(&features, f.data, batch.n, f.shape.dim[1]);
    }
    if ((keep_logits || keep_features) && batch.labels && status == MICA_OK)
      status =
          rows_add(&labels, mica_tensor_data(batch.labels), mica_tensor_count(batch.labels), 1);
    if ((keep_logits || keep_features) && batch.targets && status == MICA_OK)
      status = rows_add(&targets, mica_tensor_data(batch.targets), batch.n,
                        mica_tensor_count(batch.targets) / batch.n);
    if (status == MICA_OK) status = mica_tape_status(t);
  }
  mica_tape_free(t);
  out->loss = labelled + targeted ? loss / (double)(labelled + targeted) : NAN;
  out->accuracy = labelled ? hits / (double)labelled : NAN;
  if (status == MICA_OK) status = auroc_of(&scores, &positive, &out->auroc);
  if (status == MICA_OK && logits.n)
    status = rows_tensor(&logits, MICA_SHAPE(logits.n, logits.width), &out->logits);
  if (status == MICA_OK && features.n)
    status = rows_tensor(&features, MICA_SHAPE(features.n, features.width), &out->features);
  if (status == MICA_OK && labels.n)
    status = rows_tensor(&labels, MICA_SHAPE(labels.n), &out->labels);
  if (status == MICA_OK && targets.n)
    status = rows_tensor(&targets, MICA_SHAPE(targets.n, targets.width), &out->targets);
  mica_free(logits.data);
  mica_free(features.data);
  mica_free(labels.data);
  mica_free(targets.data);
  mica_free(scores.data);
  mica_free(positive.data);
  if (status != MICA_OK) mica_evaluation_clear(out);
  return status;
}
