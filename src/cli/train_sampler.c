/* --sampler of `mica train`: the order of epochs, and for tuples the mistakes of an earlier model.
 */
#include "cli/features.h"
#include "cli/train.h"

#include <string.h>

#define PIECE 64

/* The number of a model's class among the data set's, by name. */
static int64_t class_of(const mica_dataset *ds, const mica_answer *a) {
  for (int64_t c = 0; a->label >= 0 && c < mica_dataset_classes(ds); c++)
    if (strcmp(mica_dataset_class(ds, c), a->name) == 0) return c;
  return MICA_CLASS_NONE;
}

/* What the model says of these items, into predicted [n]. */
static mica_status predict(mica_engine *engine, const char *name, const mica_dataset *ds, int64_t n,
                           const int64_t *item, int64_t *predicted) {
  mica_model *model = NULL;
  mica_session *session = NULL;
  mica_tensor *x = NULL;
  const mica_shape s = mica_dataset_shape(ds);
  const int64_t bytes = s.dim[0] * s.dim[1] * s.dim[2];
  mica_answer answer[PIECE];
  mica_status status = open_model(engine, name, &model);
  if (status == MICA_OK) status = mica_session_create(model, &session);
  if (status == MICA_OK) mica_session_take_pictures(session, true);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_U8, MICA_SHAPE(PIECE, s.dim[0], s.dim[1], s.dim[2]), &x);
  for (int64_t from = 0; from < n && status == MICA_OK; from += PIECE) {
    const int64_t m = n - from < PIECE ? n - from : PIECE;
    for (int64_t i = 0; i < m && status == MICA_OK; i++)
      status = mica_dataset_read(ds, item[from + i], (uint8_t *)mica_tensor_data(x) + i * bytes);
    mica_view v = mica_tensor_view(x);
    v.shape.dim[0] = m;
    if (status == MICA_OK) status = mica_predict(session, &v, answer);
    for (int64_t i = 0; i < m && status == MICA_OK; i++)
      predicted[from + i] = class_of(ds, &answer[i]);
  }
  mica_tensor_free(x);
  mica_session_free(session);
  mica_model_free(model);
  return status;
}

mica_status train_sampler(const cli_args *a, mica_engine *engine, train_data *d) {
  const char *spec = cli_text(a, "--sampler"), *from = cli_text(a, "--predictions");
  if (!spec && !from) return MICA_OK;
  if (!spec) return mica_fail(MICA_ERR_INVALID, "--predictions is for --sampler tuples");
  if (!d->pictures)
    return mica_fail(MICA_ERR_UNSUPPORTED, "--sampler is for pictures, not for a table or a text");
  const mica_dataset *ds = d->pictures;
  const int64_t n = mica_dataset_part_count(ds, MICA_PART_TRAIN);
  const int64_t *all = mica_tensor_data(mica_dataset_labels(ds));
  int64_t *item = mica_calloc(3 * (size_t)n + 1, sizeof *item), *label = item ? item + n : NULL;
  mica_sampler_data data = MICA_SAMPLER_DATA;
  mica_status status = item ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0, k = 0; i < mica_dataset_count(ds) && k < n && item; i++)
    if (mica_dataset_part_of(ds, i) == MICA_PART_TRAIN) {
      label[k] = all[i];
      item[k++] = i;
    }
  data.n = n;
  data.label = label;
  data.classes = mica_dataset_classes(ds);
  if (status == MICA_OK && from) {
    status = predict(engine, from, ds, n, item, label + n);
    data.predicted = label + n;
    if (status != MICA_OK) status = mica_fail_within("--predictions");
  }
  if (status == MICA_OK && mica_sampler_create(engine, spec, &data, &d->sampler) != MICA_OK)
    status = mica_fail_within("--sampler");
  if (status == MICA_OK) status = mica_dataset_stream_sample(&d->part[MICA_PART_TRAIN], d->sampler);
  mica_free(item);
  return status;
}
