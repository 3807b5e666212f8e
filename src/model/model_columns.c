/* The columns of a model of rows. */
#include <mica/model.h>

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
  const int64_t reads = mica_model_preprocess(model)->channels;
  if (mica_model_preprocess(model)->height || mica_columns_width(c) != reads) {
    status = mica_fail(MICA_ERR_FORMAT, "columns make rows of %lld numbers, the network reads %lld",
                       (long long)mica_columns_width(c), (long long)reads);
    mica_columns_free(c);
    return status;
  }
  *out = c;
  return MICA_OK;
}
