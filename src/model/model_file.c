/* The model file: a network's parameters, and in the metadata all that a program needs to use it.
 *
 * One JSON object under the key "mica": format (a number: a newer one is refused), architecture,
 * input, classes, preprocess, training. Everything is checked before a network of the announced
 * sizes is made.
 */
#include <mica/model.h>

#include "base/json.h"

#include <math.h>
#include <string.h>

#define FORMAT      1
#define CLASSES_MAX 1000000

struct mica_model {
  mica_net *net;
  mica_preprocess preprocess;
  char **classes;
  int64_t n_classes;
  char *training;
};

/* ---- writing ---- */

static void write_numbers(mica_json_writer *w, const char *name, const double *x, int64_t n) {
  mica_json_write_name(w, name);
  mica_json_begin_array(w);
  for (int64_t i = 0; i < n; i++) mica_json_write_double(w, x[i]);
  mica_json_end_array(w);
}

static void write_int(mica_json_writer *w, const char *name, int64_t value) {
  mica_json_write_name(w, name);
  mica_json_write_int(w, value);
}

mica_status mica_net_save(const mica_net *net, const mica_preprocess *p, const char *const *classes,
                          const char *training, const char *path) {
  const mica_problem *problem = mica_net_problem(net);
  mica_bytes text = {0};
  mica_json_writer w = {.out = &text};
  char *architecture = mica_net_text(net);
  if (!architecture) return MICA_ERR_MEMORY;
  mica_json_begin_object(&w);
  write_int(&w, "format", FORMAT);
  mica_json_write_name(&w, "version");
  mica_json_write_string(&w, mica_version());
  mica_json_write_name(&w, "architecture");
  mica_json_write_string(&w, architecture);
  mica_json_write_name(&w, "input");
  mica_json_begin_object(&w);
  write_int(&w, "height", problem->height);
  write_int(&w, "width", problem->width);
  write_int(&w, "channels", problem->channels);
  mica_json_end_object(&w);
  mica_json_write_name(&w, "classes");
  mica_json_begin_array(&w);
  for (int64_t i = 0; i < problem->classes; i++) mica_json_write_string(&w, classes[i]);
  mica_json_end_array(&w);
  mica_json_write_name(&w, "preprocess");
  mica_json_begin_object(&w);
  mica_json_write_name(&w, "resize");
  mica_json_write_string(&w, "cover");
  write_numbers(&w, "mean", p->mean, p->channels);
  write_numbers(&w, "deviation", p->deviation, p->channels);
  mica_json_end_object(&w);
  mica_json_end_object(&w);
  mica_free(architecture);
  mica_status status = text.status;
  mica_bytes_byte(&text, 0);
  if (status == MICA_OK) status = text.status;
  const mica_text_pair pairs[] = {{"mica", text.data}, {"mica.training", training}};
  if (status == MICA_OK)
    status = mica_params_save(mica_net_params(net), path, pairs, training ? 2 : 1);
  mica_bytes_free(&text);
  return status;
}

/* ---- reading ---- */

static mica_status read_numbers(const mica_json *object, const char *name, int64_t n, double *out) {
  const mica_json *array;
  mica_status status = mica_json_need(object, name, MICA_JSON_ARRAY, &array);
  if (status != MICA_OK) return status;
  if (mica_json_count(array) != n)
    return mica_fail(MICA_ERR_FORMAT, "%s has %lld numbers, expected one for each of %lld channels",
                     name, (long long)mica_json_count(array), (long long)n);
  for (int64_t i = 0; i < n; i++)
    if (!mica_json_double(mica_json_item(array, i), &out[i]) || !isfinite(out[i]))
      return mica_fail(MICA_ERR_FORMAT, "%s[%lld] is no finite number", name, (long long)i);
  return MICA_OK;
}

static mica_status read_classes(mica_model *m, const mica_json *array) {
  const int64_t n = mica_json_count(array);
  if (n > CLASSES_MAX)
    return mica_fail(MICA_ERR_FORMAT, "classes: %lld names, at most %d", (long long)n, CLASSES_MAX);
  m->classes = mica_calloc((size_t)n + 1, sizeof *m->classes);
  if (!m->classes) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    const char *name = mica_json_string(mica_json_item(array, i));
    if (!name) return mica_fail(MICA_ERR_FORMAT, "classes[%lld] is not a string", (long long)i);
    if (!(m->classes[i] = mica_strdup(name))) return MICA_ERR_MEMORY;
    m->n_classes++;
  }
  return MICA_OK;
}

static mica_status parse(mica_engine *engine, mica_model *m, const mica_json *root) {
  int64_t format;
  const char *architecture, *resize;
  const mica_json *input, *classes, *preprocess;
  mica_problem problem = {0};
  mica_status status = mica_json_need_int64(root, "format", &format);
  if (status == MICA_OK && format != FORMAT)
    status =
        mica_fail(MICA_ERR_UNSUPPORTED, "model format %lld; this is mica %s, which reads format %d",
                  (long long)format, mica_version(), FORMAT);
  if (status == MICA_OK) status = mica_json_need_string(root, "architecture", &architecture);
  if (status == MICA_OK) status = mica_json_need(root, "input", MICA_JSON_OBJECT, &input);
  if (status == MICA_OK) status = mica_json_need_int64(input, "height", &problem.height);
  if (status == MICA_OK) status = mica_json_need_int64(input, "width", &problem.width);
  if (status == MICA_OK) status = mica_json_need_int64(input, "channels", &problem.channels);
  if (status == MICA_OK && (problem.height < 0 || problem.height > 4096 || problem.width < 0 ||
                            problem.width > 4096 || problem.channels < 1 ||
                            (problem.height && problem.channels > 4) || problem.channels > 1 << 24))
    status =
        mica_fail(MICA_ERR_FORMAT, "input of %lldx%lldx%lld is out of range",
                  (long long)problem.height, (long long)problem.width, (long long)problem.channels);
  if (status == MICA_OK) status = mica_json_need(root, "classes", MICA_JSON_ARRAY, &classes);
  if (status == MICA_OK) status = read_classes(m, classes);
  if (status == MICA_OK) status = mica_json_need(root, "preprocess", MICA_JSON_OBJECT, &preprocess);
  m->preprocess = (mica_preprocess){
      problem.height, problem.width, problem.channels, {0}, {1, 1, 1, 1}, 1, MICA_FILTER_BILINEAR};
  if (status == MICA_OK && problem.height) {
    status = mica_json_need_string(preprocess, "resize", &resize);
    if (status == MICA_OK && strcmp(resize, "cover") != 0)
      status = mica_fail(MICA_ERR_UNSUPPORTED, "preprocess.resize is '%s', expected cover", resize);
    if (status == MICA_OK)
      status = read_numbers(preprocess, "mean", problem.channels, m->preprocess.mean);
    if (status == MICA_OK)
      status = read_numbers(preprocess, "deviation", problem.channels, m->preprocess.deviation);
    for (int64_t c = 0; c < problem.channels && status == MICA_OK; c++)
      if (!(m->preprocess.deviation[c] > 0))
        status =
            mica_fail(MICA_ERR_FORMAT, "preprocess.deviation[%lld] must be above 0", (long long)c);
  }
  problem.classes = m->n_classes;
  return status == MICA_OK ? mica_net_create(engine, architecture, &problem, 0, &m->net) : status;
}

mica_status mica_model_open(mica_engine *engine, const char *path, mica_model **out) {
  *out = NULL;
  mica_archive *archive;
  mica_status status = mica_archive_open(path, &archive);
  if (status != MICA_OK) return status;
  mica_model *m = mica_calloc(1, sizeof *m);
  mica_json_doc *doc = NULL;
  const char *text = mica_archive_metadata(archive, "mica"), *training;
  if (!m)
    status = MICA_ERR_MEMORY;
  else if (!text)
    status = mica_fail(MICA_ERR_FORMAT, "no metadata 'mica': a file of tensors, not a model");
  if (status == MICA_OK) status = mica_json_parse(text, strlen(text), &doc);
  if (status == MICA_OK) status = parse(engine, m, mica_json_root(doc));
  training = m ? mica_archive_metadata(archive, "mica.training") : NULL;
  if (status == MICA_OK && training && !(m->training = mica_strdup(training)))
    status = MICA_ERR_MEMORY;
  mica_json_free(doc);
  mica_archive_close(archive);
  if (status != MICA_OK) status = mica_fail_within("%s", path);
  if (status == MICA_OK) {
    mica_load_options o = MICA_LOAD_OPTIONS;
    mica_load_report report;
    o.strip = "";
    o.new_head = false;
    status = mica_params_load(mica_net_params(m->net), path, &o, &report);
    if (status == MICA_OK && (report.missing || report.reshaped))
      status = mica_fail(MICA_ERR_FORMAT, "%s: tensors do not fit the architecture:\n%s", path,
                         report.text ? report.text : "");
    mica_free(report.text);
  }
  if (status != MICA_OK) {
    mica_model_free(m);
    return status;
  }
  *out = m;
  return MICA_OK;
}

void mica_model_free(mica_model *m) {
  if (!m) return;
  for (int64_t i = 0; i < m->n_classes; i++) mica_free(m->classes[i]);
  mica_free(m->classes);
  mica_free(m->training);
  mica_net_free(m->net);
  mica_free(m);
}

const mica_net *mica_model_net(const mica_model *m) {
  return m->net;
}
const mica_preprocess *mica_model_preprocess(const mica_model *m) {
  return &m->preprocess;
}
int64_t mica_model_classes(const mica_model *m) {
  return m->n_classes;
}
const char *mica_model_class(const mica_model *m, int64_t i) {
  return i >= 0 && i < m->n_classes ? m->classes[i] : NULL;
}
const char *mica_model_training(const mica_model *m) {
  return m->training;
}
