/* Records: a short list of named tensors and one JSON text. */
#include "feature/record.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

typedef struct {
  char *name;
  mica_tensor *tensor;
} entry;

struct mica_record {
  entry *item;
  int64_t n, room;
  char *json;
};

mica_status mica_record_create(mica_record **out) {
  *out = mica_calloc(1, sizeof **out);
  return *out ? MICA_OK : MICA_ERR_MEMORY;
}

void mica_record_free(mica_record *record) {
  if (!record) return;
  for (int64_t i = 0; i < record->n; i++) {
    mica_free(record->item[i].name);
    mica_tensor_free(record->item[i].tensor);
  }
  mica_free(record->item);
  mica_free(record->json);
  mica_free(record);
}

static const entry *find(const mica_record *record, const char *name) {
  for (int64_t i = 0; i < record->n; i++)
    if (strcmp(record->item[i].name, name) == 0) return &record->item[i];
  return NULL;
}

static bool name_ok(const char *name) {
  if (!*name) return false;
  for (; *name; name++)
    if (!isalnum((unsigned char)*name) && *name != '_' && *name != '.') return false;
  return true;
}

mica_status mica_record_put(mica_record *record, const char *name, mica_tensor *tensor) {
  if (!tensor || !name || !name_ok(name))
    return mica_fail(MICA_ERR_INVALID,
                     "record: tensor name \"%s\", expected letters, digits, '_' and '.'",
                     name ? name : "");
  if (find(record, name))
    return mica_fail(MICA_ERR_INVALID, "record: a second tensor \"%s\"", name);
  if (record->n == record->room) {
    int64_t room = record->room ? 2 * record->room : 8;
    entry *grown = mica_realloc_array(record->item, (size_t)room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    record->item = grown;
    record->room = room;
  }
  char *copy = mica_strdup(name);
  if (!copy) return MICA_ERR_MEMORY;
  record->item[record->n++] = (entry){copy, mica_tensor_retain(tensor)};
  return MICA_OK;
}

const mica_tensor *mica_record_get(const mica_record *record, const char *name) {
  const entry *e = find(record, name);
  if (!e) mica_fail(MICA_ERR_NOT_FOUND, "record: no tensor \"%s\"", name);
  return e ? e->tensor : NULL;
}

bool mica_record_has(const mica_record *record, const char *name) {
  return find(record, name) != NULL;
}

int64_t mica_record_count(const mica_record *record) {
  return record->n;
}

mica_tensor *mica_record_at(const mica_record *record, int64_t i, const char **name) {
  if (i < 0 || i >= record->n) return NULL;
  if (name) *name = record->item[i].name;
  return record->item[i].tensor;
}

mica_status mica_record_set_json(mica_record *record, const char *json) {
  char *copy = mica_strdup(json);
  if (!copy) return MICA_ERR_MEMORY;
  mica_free(record->json);
  record->json = copy;
  return MICA_OK;
}

const char *mica_record_json(const mica_record *record) {
  return record->json ? record->json : "{}";
}

/* ---- values ---- */

static mica_status put(mica_record *record, const char *name, mica_dtype dtype, mica_shape shape,
                       const void *values) {
  mica_tensor *tensor;
  mica_status status = mica_tensor_create(dtype, shape, &tensor);
  if (status) return status;
  size_t bytes = (size_t)mica_tensor_count(tensor) * mica_dtype_size(dtype);
  if (bytes) memcpy(mica_tensor_data(tensor), values, bytes);
  status = mica_record_put(record, name, tensor);
  mica_tensor_free(tensor);
  return status;
}

mica_status mica_record_put_f64(mica_record *record, const char *name, mica_shape shape,
                                const double *values) {
  return put(record, name, MICA_F64, shape, values);
}

mica_status mica_record_put_i64(mica_record *record, const char *name, mica_shape shape,
                                const int64_t *values) {
  return put(record, name, MICA_I64, shape, values);
}

static mica_status expect(const mica_record *record, const char *name, mica_dtype dtype,
                          mica_shape shape, const void **data) {
  const mica_tensor *tensor = mica_record_get(record, name);
  if (!tensor) return mica_fail(MICA_ERR_FORMAT, "estimator record: no tensor \"%s\"", name);
  if (mica_tensor_dtype(tensor) != dtype || !mica_shape_equal(mica_tensor_shape(tensor), &shape)) {
    char got[96], wanted[96];
    return mica_fail(MICA_ERR_FORMAT, "estimator record: tensor \"%s\" is %s %s, expected %s %s",
                     name, mica_dtype_name(mica_tensor_dtype(tensor)),
                     mica_shape_text(mica_tensor_shape(tensor), got, sizeof got),
                     mica_dtype_name(dtype), mica_shape_text(&shape, wanted, sizeof wanted));
  }
  *data = mica_tensor_data(tensor);
  return MICA_OK;
}

mica_status mica_record_take_f64(const mica_record *record, const char *name, mica_shape shape,
                                 bool minus_infinity, double *values) {
  const void *data;
  mica_status status = expect(record, name, MICA_F64, shape, &data);
  if (status) return status;
  const double *from = data;
  for (int64_t i = 0, n = mica_shape_count(&shape); i < n; i++) {
    if (!isfinite(from[i]) && !(minus_infinity && from[i] < 0))
      return mica_fail(MICA_ERR_FORMAT, "estimator record: element %lld of \"%s\" is not finite",
                       (long long)i, name);
    values[i] = from[i];
  }
  return MICA_OK;
}

mica_status mica_record_take_i64(const mica_record *record, const char *name, mica_shape shape,
                                 int64_t lo, int64_t hi, int64_t *values) {
  const void *data;
  mica_status status = expect(record, name, MICA_I64, shape, &data);
  if (status) return status;
  const int64_t *from = data;
  for (int64_t i = 0, n = mica_shape_count(&shape); i < n; i++) {
    if (from[i] < lo || from[i] > hi)
      return mica_fail(MICA_ERR_FORMAT,
                       "estimator record: element %lld of \"%s\" is %lld, expected %lld..%lld",
                       (long long)i, name, (long long)from[i], (long long)lo, (long long)hi);
    values[i] = from[i];
  }
  return MICA_OK;
}

mica_status mica_record_take_counts(const mica_record *record, int64_t classes, double *count) {
  const mica_status status =
      mica_record_take_f64(record, "count", MICA_SHAPE(classes), false, count);
  for (int64_t c = 0; c < classes && !status; c++)
    if (count[c] < 0)
      return mica_fail(MICA_ERR_FORMAT, "estimator record: class %lld has %g examples",
                       (long long)c, count[c]);
  return status;
}
