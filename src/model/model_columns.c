/* The columns of a model of rows. */
#include <mica/model.h>

/* Do the columns make what the network reads? */
static mica_status fit(const mica_model *model, const mica_columns *c) {
  const int64_t reads = mica_model_preprocess(model)->channels, fields = mica_columns_fields(c);
  const mica_problem *problem = mica_net_problem(mica_model_net(model));
  if (mica_model_preprocess(model)->height || mica_columns_width(c) != reads)
    return mica_fail(MICA_ERR_FORMAT, "columns make rows of %lld numbers, the network reads %lld",
                     (long long)mica_columns_width(c), (long long)reads);
  if (fields != problem->fields)
    return mica_fail(MICA_ERR_FORMAT, "columns make %lld fields, the network reads %lld",
                     (long long)fields, (long long)problem->fields);
  for (int64_t f = 0; f < fields; f++)
    if (mica_columns_field_size(c)[f] != problem->field_size[f])
      return mica_fail(MICA_ERR_FORMAT, "field %lld has %lld ids, the network reads %lld",
                       (long long)f, (long long)mica_columns_field_size(c)[f],
                       (long long)problem->field_size[f]);
  return MICA_OK;
}

mica_status mica_model_read_columns(const mica_model *model, mica_columns **out) {
  *out = NULL;
  const char *text = mica_model_columns(model);
  if (!text)
    return mica_fail(MICA_ERR_UNSUPPORTED, "the model has no columns: it reads %s",
                     mica_model_preprocess(model)->height ? "pictures" : "rows of numbers");
  const int64_t n = mica_model_classes(model);
  const char **classes = mica_calloc((size_t)n + 1, sizeof *classes);
  if (!classes) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) classes[i] = mica_model_class(model, i);
  mica_columns *c;
  mica_status status = mica_columns_parse(text, classes, n, &c);
  mica_free(classes);
  if (status != MICA_OK) return status;
  status = fit(model, c);
  if (status != MICA_OK) {
    mica_columns_free(c);
    return status;
  }
  *out = c;
  return MICA_OK;
}
