/* Reading metrics.jsonl: one JSON object a line, into one series for each name; and where to cut it
 * on a resume. */
#include "report/metrics.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"

static const size_t file_limit = (size_t)1 << 31;

typedef struct metric_series {
  char *name;
  double *step, *value;
  int64_t n, room;
} metric_series;

struct mica_metrics {
  metric_series *series;
  int32_t count, room;
};

void mica_metrics_free(mica_metrics *m) {
  if (!m) return;
  for (int32_t i = 0; i < m->count; i++) {
    mica_free(m->series[i].name);
    mica_free(m->series[i].step);
    mica_free(m->series[i].value);
  }
  mica_free(m->series);
  mica_free(m);
}

/* Parse a line and its step; the document is the caller's. */
static mica_status parse_line(const char *line, size_t n, mica_json_doc **doc, int64_t *step) {
  mica_status status = mica_json_parse(line, n, doc);
  if (status) return status;
  const mica_json *root = mica_json_root(*doc);
  if (mica_json_type_of(root) != MICA_JSON_OBJECT)
    status = mica_fail(MICA_ERR_FORMAT, "holds %s, expected an object",
                       mica_json_type_name(mica_json_type_of(root)));
  else
    status = mica_json_need_int64(root, "step", step);
  if (status) mica_json_free(*doc);
  return status;
}

/* The series of a name; `hint` is where it stood in the line before, which is nearly always where
 * it is. */
static mica_status find_series(mica_metrics *m, const char *name, int32_t hint,
                               metric_series **out) {
  if (hint < m->count && strcmp(m->series[hint].name, name) == 0) {
    *out = &m->series[hint];
    return MICA_OK;
  }
  for (int32_t i = 0; i < m->count; i++)
    if (strcmp(m->series[i].name, name) == 0) {
      *out = &m->series[i];
      return MICA_OK;
    }
  if (m->count == MICA_METRIC_NAMES_MAX)
    return mica_fail(MICA_ERR_FORMAT, "more than %d names of metrics", MICA_METRIC_NAMES_MAX);
  if (m->count == m->room) {
    const int32_t room = m->room ? m->room * 2 : 8;
    metric_series *series = mica_realloc_array(m->series, (size_t)room, sizeof *series);
    if (!series) return MICA_ERR_MEMORY;
    m->series = series;
    m->room = room;
  }
  char *copy = mica_strdup(name);
  if (!copy) return MICA_ERR_MEMORY;
  m->series[m->count] = (metric_series){.name = copy};
  *out = &m->series[m->count++];
  return MICA_OK;
}

static mica_status append(metric_series *s, double step, double value) {
  if (s->n == s->room) {
    const int64_t room = s->room ? s->room * 2 : 64;
    double *steps = mica_realloc_array(s->step, (size_t)room, sizeof *steps);
    if (!steps) return MICA_ERR_MEMORY;
    s->step = steps;
    double *values = mica_realloc_array(s->value, (size_t)room, sizeof *values);
    if (!values) return MICA_ERR_MEMORY;
    s->value = values;
    s->room = room;
  }
  s->step[s->n] = step;
  s->value[s->n++] = value;
  return MICA_OK;
}

mica_status mica_metrics_check(const mica_measurement *metrics, int32_t n) {
  if (n < 0 || n > MICA_METRIC_NAMES_MAX || (n > 0 && !metrics))
    return mica_fail(MICA_ERR_INVALID, "a line of %d metrics, expected 0 to %d", (int)n,
                     MICA_METRIC_NAMES_MAX);
  for (int32_t i = 0; i < n; i++) {
    const char *name = metrics[i].name;
    if (!name || !*name || strcmp(name, "step") == 0 || strcmp(name, "seconds") == 0)
      return mica_fail(MICA_ERR_INVALID, "metric %d is named \"%s\", which is not free", (int)i,
                       name ? name : "");
    for (const char *at = name; *at;) {
      const size_t bytes = mica_utf8_length(at, strnlen(at, 4));
      if (!bytes)
        return mica_fail(MICA_ERR_INVALID, "metric %d has a name that is not UTF-8", (int)i);
      at += bytes;
    }
    for (int32_t k = 0; k < i; k++)
      if (strcmp(metrics[k].name, name) == 0)
        return mica_fail(MICA_ERR_INVALID, "metric \"%s\" stands twice in one line", name);
  }
  return MICA_OK;
}

static mica_status add_line(mica_metrics *m, const mica_json *root, int64_t step) {
  mica_status status = MICA_OK;
  int32_t hint = 0;
  for (int64_t i = 0; !status && i < mica_json_count(root); i++) {
    const char *name = mica_json_name(root, i);
    const mica_json *item = mica_json_item(root, i);
    double value = NAN;
    if (strcmp(name, "step") == 0) continue;
    if (!mica_json_double(item, &value) && mica_json_type_of(item) != MICA_JSON_NULL) continue;
    metric_series *series = NULL;
    status = find_series(m, name, hint, &series);
    if (!status) {
      hint = (int32_t)(series - m->series) + 1;
      status = append(series, (double)step, value);
    }
  }
  return status;
}

mica_status mica_metrics_load(const char *path, mica_metrics **out) {
  if (!path) return mica_fail(MICA_ERR_INVALID, "loading metrics needs a path");
  uint8_t *bytes;
  size_t n;
  mica_status status = mica_file_read(path, file_limit, &bytes, &n);
  if (status) return status;
  mica_metrics *m = mica_calloc(1, sizeof *m);
  if (!m) status = MICA_ERR_MEMORY;
  const char *text = (const char *)bytes;
  size_t at = 0;
  for (int64_t line = 1; !status && at < n; line++) {
    const char *end = memchr(text + at, '\n', n - at);
    if (!end) break;
    mica_json_doc *doc;
    int64_t step;
    status = parse_line(text + at, (size_t)(end - text) - at, &doc, &step);
    if (!status) {
      status = add_line(m, mica_json_root(doc), step);
      mica_json_free(doc);
    }
    if (status && status != MICA_ERR_MEMORY)
      status = mica_fail_within("%s: line %lld", path, (long long)line);
    at = (size_t)(end - text) + 1;
  }
  mica_free(bytes);
  if (status) {
    mica_metrics_free(m);
    return status;
  }
  *out = m;
  return MICA_OK;
}

int32_t mica_metrics_count(const mica_metrics *m) {
  return m ? m->count : 0;
}

const char *mica_metrics_name(const mica_metrics *m, int32_t i) {
  return m && i >= 0 && i < m->count ? m->series[i].name : NULL;
}

int64_t mica_metrics_series(const mica_metrics *m, const char *name, const double **steps,
                            const double **values) {
  for (int32_t i = 0; m && name && i < m->count; i++)
    if (strcmp(m->series[i].name, name) == 0) {
      if (steps) *steps = m->series[i].step;
      if (values) *values = m->series[i].value;
      return m->series[i].n;
    }
  if (steps) *steps = NULL;
  if (values) *values = NULL;
  return 0;
}

mica_status mica_metrics_cut_point(const char *path, int64_t resume, mica_metrics_head *head) {
  *head = (mica_metrics_head){.step = -1};
  if (!mica_file_exists(path)) return MICA_OK;
  uint8_t *bytes;
  size_t n;
  mica_status status = mica_file_read(path, file_limit, &bytes, &n);
  if (status) return status;
  const char *text = (const char *)bytes;
  size_t at = 0;
  int64_t damaged = 0; /* the number of the first line that is none */
  for (int64_t line = 1; !status && at < n; line++) {
    const char *end = memchr(text + at, '\n', n - at);
    if (!end) break;
    mica_json_doc *doc;
    int64_t step;
    const mica_status parsed = parse_line(text + at, (size_t)(end - text) - at, &doc, &step);
    at = (size_t)(end - text) + 1;
    if (parsed == MICA_ERR_MEMORY) {
      status = parsed;
    } else if (parsed) {
      if (!damaged) damaged = line;
    } else {
      double seconds = head->seconds;
      mica_json_double(mica_json_get(mica_json_root(doc), "seconds"), &seconds);
      mica_json_free(doc);
      if (damaged)
        status = mica_fail(MICA_ERR_FORMAT, "%s: line %lld is damaged while later lines are whole",
                           path, (long long)damaged);
      else if (step > resume)
        break;
      else
        *head = (mica_metrics_head){at, step, seconds};
    }
  }
  mica_free(bytes);
  return status;
}
