/* Labelled features from the rows of a table: the rows themselves, or what a model makes of them.
 */
#include "cli/features.h"
#include "cli/table.h"

#include <string.h>

/* Features of one part, in the order of its rows. */
static mica_status take_part(const mica_data_table *t, mica_part part, mica_session *session,
                             int64_t width, feature_part *to) {
  to->n = mica_data_table_part_count(t, part);
  if (!to->n) return MICA_OK;
  mica_tensor *rows = NULL, *ids = NULL, *labels = NULL;
  mica_status status = mica_data_table_matrix_fields(t, part, &rows, &ids, &labels);
  if (status == MICA_OK && !session) to->x = mica_tensor_retain(rows);
  if (status == MICA_OK && session) {
    mica_view x[2];
    int n = 0;
    if (mica_tensor_count(rows)) x[n++] = mica_tensor_view(rows);
    if (ids) x[n] = mica_tensor_view(ids);
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(to->n, width), &to->x);
    if (status == MICA_OK) status = mica_embed(session, x, mica_tensor_data(to->x));
  }
  if (status == MICA_OK && labels) {
    to->label = mica_calloc((size_t)to->n, sizeof *to->label);
    if (to->label)
      memcpy(to->label, mica_tensor_data(labels), (size_t)to->n * sizeof *to->label);
    else
      status = MICA_ERR_MEMORY;
  }
  mica_tensor_free(rows);
  mica_tensor_free(ids);
  mica_tensor_free(labels);
  return status;
}

static mica_status take_names(const mica_data_table *t, features *f) {
  const int64_t n = mica_data_table_classes(t);
  f->names = mica_calloc((size_t)n + 1, sizeof *f->names);
  if (!f->names) return MICA_ERR_MEMORY;
  for (; f->classes < n; f->classes++)
    if (!(f->names[f->classes] = mica_strdup(mica_data_table_class(t, f->classes))))
      return MICA_ERR_MEMORY;
  return MICA_OK;
}

mica_status features_rows(const mica_data_table_options *given, mica_model *model, const char *path,
                          features *out, char **columns) {
  mica_data_table_options o = *given;
  mica_columns *c = NULL;
  mica_data_table *t = NULL;
  mica_session *session = NULL;
  memset(out, 0, sizeof *out);
  mica_status status = model ? mica_model_read_columns(model, &c) : MICA_OK;
  if (status == MICA_OK && model) status = mica_session_create(model, &session);
  o.columns = c;
  if (status == MICA_OK) status = mica_data_table_open(path, &o, &t);
  if (status == MICA_OK) {
    cli_table_skipped(mica_data_table_skipped(t), mica_data_table_skipped_text(t));
    const mica_columns *own = mica_data_table_columns(t);
    if (mica_columns_regression(own))
      status =
          mica_fail(MICA_ERR_UNSUPPORTED,
                    "%s: '%s' is a numeric target, and only classes can be fitted; `mica train "
                    "mlp` predicts numbers",
                    path, mica_columns_label(own));
    out->width = model ? mica_net_features(mica_model_net(model)) : mica_columns_width(own);
    if (status == MICA_OK && columns) status = mica_columns_text(own, columns);
    if (status == MICA_OK && mica_data_table_labels(t)) status = take_names(t, out);
  }
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++)
    status = take_part(t, (mica_part)k, session, out->width, &out->part[k]);
  mica_session_free(session);
  mica_data_table_free(t);
  mica_columns_free(c);
  if (status != MICA_OK) features_free(out);
  return status;
}
