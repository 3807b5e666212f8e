/* The model file: a network's parameters and its heads' tensors, and in the metadata all that a
 * program needs to use them.
 *
 * One JSON object under the key "mica": format (a number: a newer one is refused), architecture,
 * input, classes, preprocess, heads, answers; the training record, the columns of a table and the
 * tokenizer stand under keys of their own. Tensors of heads are called mica.head.NAME.TENSOR.
 * Everything is checked before a network of the announced sizes is made.
 */
#include "base/json.h"
#include "data/archive.h"
#include "model/changes.h"
#include "model/checkpoint.h"
#include "model/head.h"
#include "model/net.h"
#include "model/parts.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/reduce.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define FORMAT      4 /* a file is written as the oldest that can say what it holds */
#define CLASSES_MAX 1000000
#define FIELDS_MAX  65536
#define HEAD_PREFIX "mica.head."

/* ---- making ---- */

static mica_status keep_classes(mica_model *m, const char *const *names, int64_t n) {
  m->classes = mica_calloc((size_t)n + 1, sizeof *m->classes);
  if (!m->classes) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    if (!(m->classes[i] = mica_model_keep_text(m, names[i], strlen(names[i]))))
      return MICA_ERR_MEMORY;
    m->n_classes++;
  }
  return MICA_OK;
}

static mica_status check_preprocess(const mica_preprocess *p) {
  for (int64_t c = 0; c < p->channels && p->height; c++)
    if (!isfinite(p->mean[c]) || !isfinite(p->deviation[c]) || !(p->deviation[c] > 0))
      return mica_fail(MICA_ERR_INVALID,
                       "preprocess: channel %lld has mean %g and deviation %g, expected finite "
                       "numbers and a deviation above 0",
                       (long long)c, p->mean[c], p->deviation[c]);
  if (p->height && !(p->crop >= 0 && p->crop <= 1))
    return mica_fail(MICA_ERR_INVALID, "preprocess: crop is %g, expected 0 to 1", p->crop);
  if (p->height && !mica_image_filter_name(p->interpolation))
    return mica_fail(MICA_ERR_INVALID, "preprocess: no interpolation %d", (int)p->interpolation);
  if (p->height && (unsigned)p->fit > MICA_FIT_WHOLE)
    return mica_fail(MICA_ERR_INVALID, "preprocess: no fit %d", (int)p->fit);
  return MICA_OK;
}

/* Is it the text of one JSON object? */
static mica_status check_object(const char *text) {
  mica_json_doc *doc;
  mica_status status = mica_json_parse(text, strlen(text), &doc);
  if (status != MICA_OK) return status;
  if (mica_json_type_of(mica_json_root(doc)) != MICA_JSON_OBJECT)
    status = mica_fail(MICA_ERR_FORMAT, "expected a JSON object");
  mica_json_free(doc);
  return status;
}

/* All of a model but its network, which is lent. */
static mica_status describe(mica_model *m, const mica_net *net, const mica_preprocess *p,
                            const char *const *classes, const char *training) {
  const mica_problem *problem = mica_net_problem(net);
  if (problem->height != p->height || problem->width != p->width ||
      problem->channels != p->channels)
    return mica_fail(
        MICA_ERR_INVALID, "preprocess: %lldx%lldx%lld, the network reads %lldx%lldx%lld",
        (long long)p->height, (long long)p->width, (long long)p->channels,
        (long long)problem->height, (long long)problem->width, (long long)problem->channels);
  mica_status status = check_preprocess(p);
  m->preprocess = *p;
  if (status == MICA_OK) status = keep_classes(m, classes, problem->classes);
  if (status == MICA_OK && training && (status = check_object(training)) != MICA_OK)
    status = mica_fail_within("training record");
  if (status == MICA_OK && training && !(m->training = mica_strdup(training)))
    status = MICA_ERR_MEMORY;
  return status;
}

mica_status mica_model_create(mica_net *net, const mica_preprocess *p, const char *const *classes,
                              const char *training, mica_model **out) {
  mica_model *m;
  mica_status status = mica_model_new(&m);
  if (status == MICA_OK) status = describe(m, net, p, classes, training);
  if (status == MICA_OK)
    m->net = net;
  else
    mica_model_free(m);
  *out = status == MICA_OK ? m : NULL;
  return status;
}

static mica_status keep_object(char **to, const char *text, const char *what) {
  if (text && check_object(text) != MICA_OK) return mica_fail_within("%s", what);
  char *copy = text ? mica_strdup(text) : NULL;
  if (text && !copy) return MICA_ERR_MEMORY;
  mica_free(*to);
  *to = copy;
  return MICA_OK;
}

mica_status mica_model_set_columns(mica_model *m, const char *columns) {
  return keep_object(&m->columns, columns, "columns");
}

mica_status mica_model_set_tokenizer(mica_model *m, const char *tokenizer) {
  return keep_object(&m->tokenizer, tokenizer, "tokenizer");
}

/* ---- writing ---- */

static void write_numbers(mica_json_writer *w, const char *name, const double *x, int64_t n) {
  mica_json_write_name(w, name);
  mica_json_begin_array(w);
  for (int64_t i = 0; i < n; i++) mica_json_write_double(w, x[i]);
  mica_json_end_array(w);
}

static void write_texts(mica_json_writer *w, const char *name, const char *const *x, int64_t n) {
  mica_json_write_name(w, name);
  mica_json_begin_array(w);
  for (int64_t i = 0; i < n; i++) mica_json_write_string(w, x[i] ? x[i] : "");
  mica_json_end_array(w);
}

/* Heads as they are at one moment, with their records. */
typedef struct heads {
  mica_head *head[MICA_HEADS_MAX];
  mica_record *record[MICA_HEADS_MAX];
  int64_t n, answering; /* -1: none */
  int64_t tensors;
} heads;

static void heads_release(const mica_model *m, heads *h) {
  for (int64_t i = 0; i < h->n; i++) {
    mica_record_free(h->record[i]);
    mica_head_release(m, h->head[i]);
  }
}

static mica_status heads_hold(const mica_model *m, heads *h) {
  mica_status status = MICA_OK;
  *h = (heads){.answering = -1};
  for (int64_t i = 0; i < MICA_HEADS_MAX && status == MICA_OK; i++) {
    bool answers;
    mica_head *head = mica_head_hold_at(m, i, &answers);
    if (!head) break;
    h->head[h->n++] = head;
    if (answers) h->answering = i;
    status = mica_record_create(&h->record[i]);
    if (status == MICA_OK) status = mica_estimator_save(head->estimator, h->record[i]);
    if (status == MICA_OK) h->tensors += mica_record_count(h->record[i]);
  }
  return status;
}

static void write_head(mica_json_writer *w, const mica_head *head, const mica_record *record) {
  mica_json_begin_object(w);
  mica_json_put_text(w, "name", head->name);
  write_texts(w, "classes", head->classes, mica_estimator_classes(head->estimator));
  if (head->examples) {
    mica_json_write_name(w, "examples");
    mica_json_begin_array(w);
    for (int64_t i = 0; i < mica_estimator_classes(head->estimator); i++)
      mica_json_write_int(w, head->examples[i]);
    mica_json_end_array(w);
  }
  mica_json_put_text(w, "features", "features");
  mica_json_put_text(w, "record", mica_record_json(record));
  mica_json_write_name(w, "tensors");
  mica_json_begin_array(w);
  for (int64_t i = 0; i < mica_record_count(record); i++) {
    const char *name;
    (void)mica_record_at(record, i, &name);
    mica_json_write_string(w, name);
  }
  mica_json_end_array(w);
  mica_json_end_object(w);
}

static const char *const fit_name[] = {"cover", "whole"};

static void write_taps(mica_json_writer *w, const mica_net_taps_list *taps) {
  mica_json_write_name(w, "taps");
  mica_json_begin_array(w);
  for (int i = 0; i < taps->n; i++) {
    mica_json_begin_object(w);
    mica_json_put_text(w, "name", taps->tap[i].name);
    mica_json_put_int(w, "width", taps->tap[i].width);
    mica_json_end_object(w);
  }
  mica_json_end_array(w);
}

static void write_parts(mica_json_writer *w, const mica_model_views *p) {
  mica_json_write_name(w, "parts");
  mica_json_begin_object(w);
  if (p->views) {
    mica_json_put_int(w, "views", p->views);
    mica_json_put_double(w, "crop", p->crop);
    mica_json_put_double(w, "angle", p->angle);
  } else {
    mica_json_put_int(w, "regions", p->regions);
  }
  mica_json_end_object(w);
}

static mica_status write_json(const mica_model *m, const mica_net *net, const heads *h,
                              mica_bytes *text) {
  const mica_preprocess *p = &m->preprocess;
  const mica_problem *problem = mica_net_problem(net);
  const mica_net_taps_list *taps = mica_net_taps_of(net);
  mica_json_writer w = {.out = text};
  char *architecture = mica_net_text(net);
  if (!architecture) return MICA_ERR_MEMORY;
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "format",
                    mica_model_parts(m) > 1                             ? 4
                    : mica_changes_any(mica_net_params(net)) || m->int8 ? 3
                    : taps->n                                           ? 2
                                                                        : 1);
  mica_json_put_text(&w, "version", mica_version());
  mica_json_put_text(&w, "architecture", architecture);
  mica_json_write_name(&w, "input");
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "height", p->height);
  mica_json_put_int(&w, "width", p->width);
  mica_json_put_int(&w, "channels", p->channels);
  if (problem->vocabulary) {
    mica_json_put_int(&w, "vocabulary", problem->vocabulary);
    mica_json_put_int(&w, "length", problem->length);
  }
  if (problem->fields) {
    mica_json_write_name(&w, "fields");
    mica_json_begin_array(&w);
    for (int64_t f = 0; f < problem->fields; f++) mica_json_write_int(&w, problem->field_size[f]);
    mica_json_end_array(&w);
  }
  mica_json_end_object(&w);
  write_texts(&w, "classes", m->classes, m->n_classes);
  mica_json_write_name(&w, "preprocess");
  mica_json_begin_object(&w);
  if (p->height) {
    mica_json_put_text(&w, "resize", fit_name[p->fit]);
    mica_json_put_double(&w, "crop", p->crop);
    mica_json_put_text(&w, "interpolation", mica_image_filter_name(p->interpolation));
    write_numbers(&w, "mean", p->mean, p->channels);
    write_numbers(&w, "deviation", p->deviation, p->channels);
  }
  mica_json_end_object(&w);
  if (taps->n) write_taps(&w, taps);
  if (m->parts.views || m->parts.regions) write_parts(&w, &m->parts);
  mica_json_write_name(&w, "heads");
  mica_json_begin_array(&w);
  for (int64_t i = 0; i < h->n; i++) write_head(&w, h->head[i], h->record[i]);
  mica_json_end_array(&w);
  mica_json_put_text(&w, "answers", h->answering < 0 ? NULL : h->head[h->answering]->name);
  const mica_status status = mica_changes_write(mica_net_params(net), &w);
  mica_json_end_object(&w);
  mica_free(architecture);
  mica_bytes_byte(text, 0);
  return status == MICA_OK ? text->status : status;
}

static mica_status save(const mica_model *m, const mica_net *net, const char *path) {
  heads h;
  mica_bytes text = {0};
  mica_status status = heads_hold(m, &h);
  mica_named_view *views = mica_calloc((size_t)h.tensors + 1, sizeof *views);
  char(*names)[256] = mica_calloc((size_t)h.tensors + 1, sizeof *names);
  if (status == MICA_OK && (!views || !names)) status = MICA_ERR_MEMORY;
  int64_t k = 0;
  for (int64_t i = 0; i < h.n && status == MICA_OK; i++)
    for (int64_t j = 0; j < mica_record_count(h.record[i]); j++, k++) {
      const char *name;
      const mica_tensor *tensor = mica_record_at(h.record[i], j, &name);
      snprintf(names[k], sizeof names[k], HEAD_PREFIX "%s.%s", h.head[i]->name, name);
      views[k] = (mica_named_view){names[k], mica_tensor_view(tensor)};
    }
  if (status == MICA_OK) status = write_json(m, net, &h, &text);
  mica_text_pair pairs[4] = {{"mica", text.data}};
  int64_t n_pairs = 1;
  if (m->training) pairs[n_pairs++] = (mica_text_pair){"mica.training", m->training};
  if (m->columns) pairs[n_pairs++] = (mica_text_pair){"mica.columns", m->columns};
  if (m->tokenizer) pairs[n_pairs++] = (mica_text_pair){"mica.tokenizer", m->tokenizer};
  if (status == MICA_OK)
    status = (m->int8 ? mica_params_save_int8 : mica_params_save_with)(mica_net_params(net), views,
                                                                       k, path, pairs, n_pairs);
  mica_bytes_free(&text);
  mica_free(names);
  mica_free(views);
  heads_release(m, &h);
  return status;
}

mica_status mica_model_save(const mica_model *m, const char *path) {
  return save(m, m->net, path);
}

mica_status mica_net_save(const mica_net *net, const mica_preprocess *p, const char *const *classes,
                          const char *training, const char *path) {
  mica_model *m;
  mica_status status = mica_model_new(&m);
  if (status == MICA_OK) status = describe(m, net, p, classes, training);
  if (status == MICA_OK) status = save(m, net, path);
  mica_model_free(m);
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

/* Strings of an array, kept by the model: n + 1 pointers to release with mica_free. */
static mica_status read_names(mica_model *m, const mica_json *array, const char ***out,
                              int64_t *count) {
  const int64_t n = mica_json_count(array);
  if (n > CLASSES_MAX)
    return mica_fail(MICA_ERR_FORMAT, "classes: %lld names, at most %d", (long long)n, CLASSES_MAX);
  const char **names = *out = mica_calloc((size_t)n + 1, sizeof *names);
  if (!names) return MICA_ERR_MEMORY;
  *count = n;
  for (int64_t i = 0; i < n; i++) {
    const char *name = mica_json_string(mica_json_item(array, i));
    if (!name) return mica_fail(MICA_ERR_FORMAT, "classes[%lld] is not a string", (long long)i);
    if (!(names[i] = mica_model_keep_text(m, name, strlen(name)))) return MICA_ERR_MEMORY;
  }
  return MICA_OK;
}

static mica_status read_preprocess(const mica_json *object, mica_preprocess *p) {
  const char *resize, *interpolation;
  mica_status status = mica_json_need_string(object, "resize", &resize);
  if (status == MICA_OK && strcmp(resize, fit_name[MICA_FIT_WHOLE]) == 0)
    p->fit = MICA_FIT_WHOLE;
  else if (status == MICA_OK && strcmp(resize, fit_name[MICA_FIT_COVER]) != 0)
    status = mica_fail(MICA_ERR_UNSUPPORTED, "resize is '%s', expected cover or whole", resize);
  if (status == MICA_OK) status = mica_json_need_double(object, "crop", &p->crop);
  if (status == MICA_OK) status = mica_json_need_string(object, "interpolation", &interpolation);
  if (status == MICA_OK) status = mica_image_filter_find(interpolation, &p->interpolation);
  if (status == MICA_OK) status = read_numbers(object, "mean", p->channels, p->mean);
  if (status == MICA_OK) status = read_numbers(object, "deviation", p->channels, p->deviation);
  if (status == MICA_OK && check_preprocess(p) != MICA_OK)
    status = mica_fail(MICA_ERR_FORMAT, "%s", mica_last_error());
  return status == MICA_OK ? status : mica_fail_within("preprocess");
}

/* What the file holds bounds the network that it may announce, with room for a tensor that is
 * missing and will be told by its name. */
static int64_t elements_allowed(const mica_archive *archive) {
  int64_t n = 0;
  for (int64_t i = 0; i < mica_archive_count(archive); i++)
    n += mica_shape_count(mica_archive_shape(archive, i));
  return 2 * n + 65536;
}

/* The sizes of categorical fields, in memory that is the caller's to free. */
static mica_status read_fields(const mica_json *array, mica_problem *problem, int64_t **sizes) {
  const int64_t n = mica_json_count(array);
  if (mica_json_type_of(array) != MICA_JSON_ARRAY || n < 1 || n > FIELDS_MAX)
    return mica_fail(MICA_ERR_FORMAT, "input: fields is no list of 1 to %d sizes", FIELDS_MAX);
  if (!(*sizes = mica_calloc((size_t)n, sizeof **sizes))) return MICA_ERR_MEMORY;
  for (int64_t f = 0; f < n; f++)
    if (!mica_json_int64(mica_json_item(array, f), &(*sizes)[f]) || (*sizes)[f] < 1 ||
        (*sizes)[f] > INT64_MAX / FIELDS_MAX)
      return mica_fail(MICA_ERR_FORMAT, "input: fields[%lld] is no number of values", (long long)f);
  problem->fields = n;
  problem->field_size = *sizes;
  return MICA_OK;
}

static mica_status read_problem(const mica_json *input, mica_problem *p, int64_t **sizes) {
  mica_status status = mica_json_need_int64(input, "height", &p->height);
  if (status == MICA_OK) status = mica_json_need_int64(input, "width", &p->width);
  if (status == MICA_OK) status = mica_json_need_int64(input, "channels", &p->channels);
  if (status == MICA_OK && mica_json_get(input, "vocabulary")) {
    status = mica_json_need_int64(input, "vocabulary", &p->vocabulary);
    if (status == MICA_OK) status = mica_json_need_int64(input, "length", &p->length);
  }
  if (status == MICA_OK && mica_json_get(input, "fields"))
    status = read_fields(mica_json_get(input, "fields"), p, sizes);
  if (status != MICA_OK) return status;
  const bool other = p->vocabulary > 0 || p->fields > 0;
  if (p->height < 0 || p->height > 4096 || p->width < 0 || p->width > 4096 ||
      p->channels < !other || (p->height && p->channels > 4) || p->channels > 1 << 24)
    return mica_fail(MICA_ERR_FORMAT, "input of %lldx%lldx%lld is out of range",
                     (long long)p->height, (long long)p->width, (long long)p->channels);
  if (p->vocabulary < 0 || p->vocabulary > 1 << 28 || p->length < 0 || p->length > 1 << 28)
    return mica_fail(MICA_ERR_FORMAT,
                     "input of %lld tokens of a vocabulary of %lld is out of range",
                     (long long)p->length, (long long)p->vocabulary);
  return MICA_OK;
}

static mica_status read_taps(const mica_json *array, mica_net *net) {
  mica_net_taps_list taps = {0};
  mica_status status = MICA_OK;
  if (mica_json_type_of(array) != MICA_JSON_ARRAY)
    return mica_fail(MICA_ERR_FORMAT, "taps is no list");
  for (int64_t i = 0; i < mica_json_count(array) && status == MICA_OK; i++) {
    const char *name;
    int64_t width;
    status = mica_json_need_string(mica_json_item(array, i), "name", &name);
    if (status == MICA_OK) status = mica_json_need_int64(mica_json_item(array, i), "width", &width);
    if (status == MICA_OK) status = mica_net_taps_add(&taps, name, width);
    if (status == MICA_ERR_INVALID) status = mica_fail(MICA_ERR_FORMAT, "%s", mica_last_error());
    if (status != MICA_OK) status = mica_fail_within("taps[%lld]", (long long)i);
  }
  if (status == MICA_OK) mica_net_take_taps(net, &taps);
  mica_net_taps_end(&taps);
  return status;
}

static mica_status read_parts(const mica_json *object, mica_model *m) {
  mica_model_views p = {.size = sizeof p};
  mica_status status = MICA_OK;
  if (mica_json_get(object, "regions")) {
    status = mica_json_need_int64(object, "regions", &p.regions);
  } else {
    status = mica_json_need_int64(object, "views", &p.views);
    if (status == MICA_OK) status = mica_json_need_double(object, "crop", &p.crop);
    if (status == MICA_OK) status = mica_json_need_double(object, "angle", &p.angle);
  }
  if (status == MICA_OK && mica_model_check_parts(m, &p) != MICA_OK)
    status = mica_fail(MICA_ERR_FORMAT, "%s", mica_last_error());
  if (status == MICA_OK && !p.views && p.regions < 2)
    status = mica_fail(MICA_ERR_FORMAT, "no parts");
  if (status != MICA_OK) return mica_fail_within("parts");
  m->parts = p;
  mica_model_read_larger(m);
  return MICA_OK;
}

static mica_status parse(mica_engine *engine, mica_model *m, const mica_archive *archive,
                         const mica_json *root) {
  int64_t format;
  const char *architecture;
  const mica_json *input, *classes, *preprocess;
  mica_problem problem = {0};
  int64_t *sizes = NULL;
  mica_status status = mica_json_need_int64(root, "format", &format);
  if (status == MICA_OK && (format < 1 || format > FORMAT))
    status = mica_fail(MICA_ERR_UNSUPPORTED,
                       "model format %lld; this is mica %s, which reads formats up to %d",
                       (long long)format, mica_version(), FORMAT);
  if (status == MICA_OK) status = mica_json_need_string(root, "architecture", &architecture);
  if (status == MICA_OK) status = mica_json_need(root, "input", MICA_JSON_OBJECT, &input);
  if (status == MICA_OK) status = read_problem(input, &problem, &sizes);
  if (status == MICA_OK) status = mica_json_need(root, "classes", MICA_JSON_ARRAY, &classes);
  if (status == MICA_OK) status = read_names(m, classes, &m->classes, &m->n_classes);
  if (status == MICA_OK) status = mica_json_need(root, "preprocess", MICA_JSON_OBJECT, &preprocess);
  m->preprocess = (mica_preprocess)MICA_PREPROCESS(problem.height, problem.width, problem.channels);
  if (status == MICA_OK && problem.height) status = read_preprocess(preprocess, &m->preprocess);
  problem.classes = m->n_classes;
  if (status == MICA_OK)
    status = mica_net_create_within(
        engine, architecture, &problem, MICA_SEED_NONE,
        elements_allowed(archive) + mica_changes_elements(root, archive), &m->net);
  mica_free(sizes);
  if (status == MICA_OK) {
    /* Factors and adapters come beside the weights that they are for. */
    mica_params *params = mica_net_params(m->net);
    mica_params_set_limit(params,
                          4 * elements_allowed(archive) + 2 * mica_changes_elements(root, archive));
    status = mica_changes_read(params, root);
    mica_params_set_limit(params, 0);
  }
  if (status == MICA_OK && mica_json_get(root, "taps"))
    status = read_taps(mica_json_get(root, "taps"), m->net);
  if (status == MICA_OK && mica_json_get(root, "parts"))
    status = read_parts(mica_json_get(root, "parts"), m);
  return status;
}

/* ---- reading heads ---- */

static mica_status read_tensor(const mica_archive *archive, const char *head, const char *name,
                               mica_record *record) {
  mica_tensor *tensor = NULL;
  char full[256];
  const int length = snprintf(full, sizeof full, HEAD_PREFIX "%s.%s", head, name);
  const int64_t at =
      length > 0 && (size_t)length < sizeof full ? mica_archive_find(archive, full) : -1;
  if (at < 0)
    return mica_fail(MICA_ERR_FORMAT, "head '%.64s': the file has no tensor '%.200s'", head, full);
  mica_status status = mica_archive_read(archive, at, &tensor);
  if (status == MICA_OK) status = mica_record_put(record, name, tensor);
  mica_tensor_free(tensor);
  return status;
}

/* How many rows of each class the head was fitted on, where the file tells. */
static mica_status read_examples(mica_model *m, const char *head, const mica_json *array,
                                 int64_t n) {
  if (!array) return MICA_OK;
  if (mica_json_type_of(array) != MICA_JSON_ARRAY || mica_json_count(array) != n)
    return mica_fail(MICA_ERR_FORMAT, "head '%.64s': examples are no list of %lld counts", head,
                     (long long)n);
  int64_t *counts = mica_calloc((size_t)n + 1, sizeof *counts);
  mica_status status = counts ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    if (!mica_json_int64(mica_json_item(array, i), &counts[i]) || counts[i] < 0)
      status = mica_fail(MICA_ERR_FORMAT, "head '%.64s': examples[%lld] is no count", head,
                         (long long)i);
  if (status == MICA_OK) status = mica_model_set_examples(m, head, counts);
  mica_free(counts);
  return status;
}

static mica_status read_head(mica_model *m, const mica_archive *archive, const mica_json *object) {
  const char *name, *features, *json, **classes = NULL;
  const mica_json *names, *tensors;
  int64_t n = 0;
  mica_record *record = NULL;
  mica_estimator *estimator = NULL;
  mica_status status = mica_json_need_string(object, "name", &name);
  if (status == MICA_OK) status = mica_json_need_string(object, "features", &features);
  if (status == MICA_OK && strcmp(features, "features") != 0)
    status = mica_fail(MICA_ERR_UNSUPPORTED, "head '%.64s' reads '%.64s', expected 'features'",
                       name, features);
  if (status == MICA_OK) status = mica_json_need_string(object, "record", &json);
  if (status == MICA_OK) status = mica_json_need(object, "classes", MICA_JSON_ARRAY, &names);
  if (status == MICA_OK) status = mica_json_need(object, "tensors", MICA_JSON_ARRAY, &tensors);
  if (status == MICA_OK) status = mica_record_create(&record);
  if (status == MICA_OK) status = mica_record_set_json(record, json);
  for (int64_t i = 0; status == MICA_OK && i < mica_json_count(tensors); i++) {
    const char *tensor = mica_json_string(mica_json_item(tensors, i));
    status = tensor ? read_tensor(archive, name, tensor, record)
                    : mica_fail(MICA_ERR_FORMAT, "tensors[%lld] is not a string", (long long)i);
  }
  if (status == MICA_OK)
    status = mica_estimator_load(mica_params_engine(mica_net_params(m->net)), record, &estimator);
  if (status == MICA_OK) status = read_names(m, names, &classes, &n);
  if (status == MICA_OK && n != mica_estimator_classes(estimator))
    status = mica_fail(MICA_ERR_FORMAT, "head '%.64s': %lld names for %lld classes", name,
                       (long long)n, (long long)mica_estimator_classes(estimator));
  for (int i = 0; i < m->n_heads && status == MICA_OK; i++)
    if (strcmp(m->head[i]->name, name) == 0)
      status = mica_fail(MICA_ERR_FORMAT, "two heads are called '%.64s'", name);
  const bool classifies =
      status == MICA_OK && mica_estimator_task(estimator) == MICA_TASK_CLASSIFICATION;
  if (status == MICA_OK)
    status = mica_model_put_head(m, name, estimator, classifies ? classes : NULL);
  if (status != MICA_OK)
    mica_estimator_free(estimator);
  else
    status = read_examples(m, name, mica_json_get(object, "examples"), n);
  mica_free(classes);
  mica_record_free(record);
  return status;
}

static mica_status read_heads(mica_model *m, const mica_archive *archive, const mica_json *root) {
  const mica_json *array, *answers = mica_json_get(root, "answers");
  mica_status status = mica_json_need(root, "heads", MICA_JSON_ARRAY, &array);
  for (int64_t i = 0; status == MICA_OK && i < mica_json_count(array); i++) {
    status = read_head(m, archive, mica_json_item(array, i));
    if (status != MICA_OK) status = mica_fail_within("heads[%lld]", (long long)i);
  }
  if (status == MICA_OK && mica_json_type_of(answers) != MICA_JSON_NULL &&
      !mica_json_string(answers))
    status = mica_fail(MICA_ERR_FORMAT, "answers is no string");
  return status == MICA_OK ? mica_model_answer_with(m, mica_json_string(answers)) : status;
}

/* ---- opening ---- */

/* ---- weights that are not numbers ---- */

#define PIECE 8192 /* elements looked at in one go */

typedef struct finite_check {
  const mica_kernels *kernels;
  const char *values;
  size_t size;
  int64_t n;
  atomic_llong odd;
} finite_check;

static void count_odd(void *ctx, int64_t begin, int64_t end) {
  finite_check *f = ctx;
  const int64_t from = begin * PIECE, to = end * PIECE < f->n ? end * PIECE : f->n;
  const int64_t odd =
      f->kernels->reduce->count_nonfinite(to - from, f->values + (size_t)from * f->size);
  if (odd) atomic_fetch_add(&f->odd, odd);
}

/* They answer nothing: told here, not by nonsense later. */
static mica_status check_finite(const mica_params *params) {
  const mica_engine *engine = mica_params_engine(params);
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    const mica_param *q = mica_params_at(params, i);
    const mica_tensor *value = mica_param_value(q);
    const mica_dtype dtype = mica_tensor_dtype(value);
    if (dtype != MICA_F32 && dtype != MICA_F64) continue;
    finite_check f = {mica_kernels_of(engine, dtype), mica_tensor_data(value),
                      mica_dtype_size(dtype), mica_tensor_count(value), 0};
    mica_parallel_for(engine, (f.n + PIECE - 1) / PIECE, count_odd, &f);
    for (int64_t k = 0; atomic_load(&f.odd) && k < f.n; k++) {
      const double x = mica_tensor_get(value, k);
      if (!isfinite(x))
        return mica_fail(MICA_ERR_FORMAT, "tensor '%s': element %lld is %g, expected a number",
                         mica_param_path(q), (long long)k, x);
    }
  }
  return MICA_OK;
}

/* The archive's tensors into the network that the metadata announced. */
static mica_status read_parameters(const mica_model *m, const mica_archive *archive) {
  mica_load_options o = MICA_LOAD_OPTIONS;
  mica_load_report report = {0};
  o.strip = "";
  o.new_head = false;
  o.partial = true; /* every lack is told below */
  mica_status status = mica_params_load_from(mica_net_params(m->net), archive, &o, &report);
  mica_params_set_seed(mica_net_params(m->net), 0);
  if (status == MICA_OK && (report.missing || report.reshaped))
    status = mica_fail(MICA_ERR_FORMAT, "tensors do not fit the architecture:\n%s",
                       report.text ? report.text : "");
  mica_free(report.text);
  return status == MICA_OK ? check_finite(mica_net_params(m->net)) : status;
}

/* A further JSON object of the metadata, as text. */
static mica_status keep_metadata(const mica_archive *archive, const char *key, char **out) {
  const char *text = mica_archive_metadata(archive, key);
  mica_status status = text ? check_object(text) : MICA_OK;
  if (status != MICA_OK) return mica_fail_within("%s", key);
  *out = text ? mica_strdup(text) : NULL;
  return text && !*out ? MICA_ERR_MEMORY : MICA_OK;
}

static mica_status open_archive(mica_engine *engine, const mica_archive *archive,
                                mica_model **out) {
  mica_model *m = NULL;
  mica_json_doc *doc = NULL;
  const char *text = mica_archive_metadata(archive, "mica");
  mica_status status = mica_model_new(&m);
  if (status == MICA_OK && !text)
    status = mica_fail(MICA_ERR_FORMAT, "no metadata 'mica': a file of tensors, not a model");
  if (status == MICA_OK) status = mica_json_parse(text, strlen(text), &doc);
  if (status == MICA_OK) status = parse(engine, m, archive, mica_json_root(doc));
  if (status == MICA_OK) status = keep_metadata(archive, "mica.training", &m->training);
  if (status == MICA_OK) status = keep_metadata(archive, "mica.columns", &m->columns);
  if (status == MICA_OK) status = keep_metadata(archive, "mica.tokenizer", &m->tokenizer);
  if (status == MICA_OK) status = read_heads(m, archive, mica_json_root(doc));
  mica_json_free(doc);
  if (status == MICA_OK) status = read_parameters(m, archive);
  if (status != MICA_OK) {
    mica_model_free(m);
    return mica_fail_within("%s", mica_archive_path(archive));
  }
  *out = m;
  return MICA_OK;
}

mica_status mica_model_open(mica_engine *engine, const char *path, mica_model **out) {
  *out = NULL;
  mica_archive *archive;
  mica_status status = mica_archive_open(path, &archive);
  if (status != MICA_OK) return status;
  status = mica_archive_map_file(archive);
  if (status == MICA_OK) status = open_archive(engine, archive, out);
  mica_archive_close(archive);
  return status;
}

mica_status mica_model_open_memory(mica_engine *engine, const void *bytes, size_t n,
                                   const char *name, mica_model **out) {
  *out = NULL;
  mica_archive *archive;
  mica_status status = mica_archive_open_memory(bytes, n, name, &archive);
  if (status != MICA_OK) return status;
  status = open_archive(engine, archive, out);
  mica_archive_close(archive);
  return status;
}

/* ---- what may be changed ---- */

mica_status mica_model_set_scales(mica_model *m, int64_t n, const double *scales) {
  if (n < 0 || n > MICA_SCALES_MAX)
    return mica_fail(MICA_ERR_INVALID, "%lld scales, expected 0 to %d", (long long)n,
                     MICA_SCALES_MAX);
  if (n && !m->preprocess.height)
    return mica_fail(MICA_ERR_UNSUPPORTED, "the model reads no pictures that could be scaled");
  if (n && mica_model_parts(m) > 1)
    return mica_fail(MICA_ERR_UNSUPPORTED, "scales and parts of pictures do not go together");
  for (int64_t i = 0; i < n; i++)
    if (!(scales[i] >= 0.01 && scales[i] <= 100))
      return mica_fail(MICA_ERR_INVALID, "scale %g, expected 0.01 to 100", scales[i]);
  for (int64_t i = 0; i < n; i++) m->scale[i] = scales[i];
  m->n_scales = (int)n;
  return MICA_OK;
}

mica_status mica_model_set_taps(mica_model *m, int64_t n, const char *const *names) {
  const mica_status status = mica_net_set_taps(m->net, n, names);
  if (status == MICA_OK) mica_model_drop_heads(m);
  return status;
}

void mica_model_set_int8(mica_model *m, bool int8) {
  m->int8 = int8;
}

mica_status mica_model_set_fit(mica_model *m, mica_image_fit fit) {
  if ((unsigned)fit > MICA_FIT_WHOLE || !m->preprocess.height)
    return mica_fail(MICA_ERR_INVALID, "%s",
                     m->preprocess.height ? "no such way to fit pictures"
                                          : "the model reads no pictures");
  m->preprocess.fit = fit;
  mica_model_read_larger(m);
  return MICA_OK;
}

const mica_net *mica_model_net(const mica_model *m) {
  return m->net;
}
const char *mica_model_training(const mica_model *m) {
  return m->training;
}
const char *mica_model_columns(const mica_model *m) {
  return m->columns;
}
const char *mica_model_tokenizer(const mica_model *m) {
  return m->tokenizer;
}
