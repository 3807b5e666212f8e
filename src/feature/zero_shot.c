/* zero_shot: classes that are known by the embeddings of texts.
 *
 * A row's score of a class is the mean of its cosines to the class's texts, which is its product
 * with the mean of their unit vectors; not scaled to length 1, for that would be another classifier
 * (that of the templates). Their sum favours classes with many texts; the largest needs each
 * cosine.
 */
#include "feature/class_scores.h"
#include "feature/record.h"
#include "numeric/distance.h"
#include "numeric/rows.h"

#include <mica/zero_shot.h>

#include <string.h>

enum { DESCRIPTIONS, NAME, TEMPLATES };
enum { MEAN, MAX, SUM };

static const mica_option option_table[] = {
    {"mode", MICA_OPTION_CHOICE, "descriptions", 0, 0, "descriptions|name|templates",
     "texts of a class: one for each phrase, its name, or 80 sentences around the name",
     offsetof(mica_zero_shot_options, mode)},
    {"aggregate", MICA_OPTION_CHOICE, "mean", 0, 0, "mean|max|sum",
     "of the scores of a class's texts", offsetof(mica_zero_shot_options, aggregate)},
    {"form", MICA_OPTION_CHOICE, "prepend", 0, 0, "prepend|append|none",
     "of a text: name and phrase, phrase and name, or the phrase alone",
     offsetof(mica_zero_shot_options, form)},
    {"rule", MICA_OPTION_CHOICE, "original", 0, 0, "original|word",
     "what joins them: by the phrase's first letters, or by its first word",
     offsetof(mica_zero_shot_options, rule)},
    {"modify", MICA_OPTION_BOOL, "true", 0, 0, NULL,
     "put \"which is\", \"which\" or \"which has\" before a phrase",
     offsetof(mica_zero_shot_options, modify)},
    {"before", MICA_OPTION_STRING, NULL, 0, 0, NULL, "text before all",
     offsetof(mica_zero_shot_options, before)},
    {"between", MICA_OPTION_STRING, ", ", 0, 0, NULL, "text between name and phrase",
     offsetof(mica_zero_shot_options, between)},
    {"after", MICA_OPTION_STRING, NULL, 0, 0, NULL, "text after all",
     offsetof(mica_zero_shot_options, after)},
    {"scale", MICA_OPTION_FLOAT, "100", 0, 1e6, NULL,
     "of scores in the softmax that gives probabilities", offsetof(mica_zero_shot_options, scale)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

typedef struct texts {
  int64_t n, d, classes;
  double *unit;   /* [n, d], class by class */
  int64_t *first; /* [classes + 1] where each class begins */
  double *centre; /* [classes, d]: what rows are multiplied with; NULL for max */
  mica_phrases *phrases;
} texts;

static void free_state(void *state) {
  texts *s = state;
  if (!s) return;
  mica_free(s->unit);
  mica_free(s->first);
  mica_free(s->centre);
  mica_phrases_free(s->phrases);
  mica_free(s);
}

static mica_status create(int64_t n, int64_t d, int64_t classes, texts **out) {
  texts *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->n = n;
  s->d = d;
  s->classes = classes;
  s->unit = mica_realloc_array(NULL, (size_t)n, (size_t)d * sizeof *s->unit);
  s->first = mica_calloc((size_t)classes + 1, sizeof *s->first);
  if (s->unit && s->first) {
    *out = s;
    return MICA_OK;
  }
  free_state(s);
  return MICA_ERR_MEMORY;
}

/* Counts in first[c + 1] to places; every class must have a text. */
static mica_status place(texts *s) {
  for (int64_t c = 0; c < s->classes; c++) {
    if (!s->first[c + 1])
      return mica_fail(MICA_ERR_INVALID, "zero_shot: class %lld has no texts", (long long)c);
    s->first[c + 1] += s->first[c];
  }
  return MICA_OK;
}

/* Rows of class c scaled to length 1. */
static mica_status normalise(texts *s, int64_t c) {
  const int64_t zero =
      mica_rows_normalise(s->unit + s->first[c] * s->d, s->first[c + 1] - s->first[c], s->d);
  if (zero < 0) return MICA_OK;
  return mica_fail(MICA_ERR_NUMERIC, "zero_shot: the embedding of text %lld of class %lld is 0",
                   (long long)zero, (long long)c);
}

/* What follows from the rows. */
static mica_status finish(const mica_zero_shot_options *o, texts *s) {
  const bool template = o->mode == TEMPLATES;
  if (o->aggregate == MAX && !template) return MICA_OK;
  s->centre = mica_calloc((size_t)(s->classes * s->d), sizeof *s->centre);
  if (!s->centre) return MICA_ERR_MEMORY;
  for (int64_t c = 0; c < s->classes; c++) {
    double *to = s->centre + c * s->d;
    const double share =
        o->aggregate == SUM && !template ? 1 : 1 / (double)(s->first[c + 1] - s->first[c]);
    for (int64_t i = s->first[c]; i < s->first[c + 1]; i++)
      for (int64_t j = 0; j < s->d; j++) to[j] += share * s->unit[i * s->d + j];
  }
  if (template && mica_rows_normalise(s->centre, s->classes, s->d) >= 0)
    return mica_fail(MICA_ERR_NUMERIC, "zero_shot: the texts of a class cancel out");
  return MICA_OK;
}

static mica_status fit(const mica_engine *engine, const void *options, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  (void)engine, (void)report;
  const int64_t n = mica_rows_n(&data->x), d = mica_rows_d(&data->x);
  texts *s = NULL;
  mica_status status = create(n, d, data->classes, &s);
  if (status == MICA_OK) {
    for (int64_t i = 0; i < n; i++) s->first[data->label[i] + 1]++;
    status = place(s);
  }
  int64_t *at = status == MICA_OK ? mica_calloc((size_t)s->classes, sizeof *at) : NULL;
  if (status == MICA_OK && !at) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const int64_t c = data->label[i];
    mica_rows_load(&data->x, i, i + 1, NULL, s->unit + (s->first[c] + at[c]++) * d);
  }
  mica_free(at);
  for (int64_t c = 0; status == MICA_OK && c < s->classes; c++) status = normalise(s, c);
  if (status == MICA_OK) status = finish(options, s);
  if (status != MICA_OK) {
    free_state(s);
    return status;
  }
  fitted->task = MICA_TASK_CLASSIFICATION;
  fitted->classes = fitted->outputs = data->classes;
  *state = s;
  return MICA_OK;
}

/* ---- prediction ---- */

/* Products of the rows of x, scaled to length 1, with rows of `with` [m, d]. */
static mica_status products(const mica_engine *engine, const mica_view *x, int64_t d,
                            const double *with, int64_t m, double *out) {
  const int64_t n = mica_rows_n(x);
  double *rows = mica_realloc_array(NULL, (size_t)n, (size_t)d * sizeof *rows);
  if (!rows) return MICA_ERR_MEMORY;
  mica_rows_load(x, 0, n, NULL, rows);
  mica_rows_normalise(rows, n, d);
  const mica_view a = mica_view_of(rows, MICA_F64, MICA_SHAPE(n, d));
  const mica_view b = mica_view_of((void *)(uintptr_t)with, MICA_F64, MICA_SHAPE(m, d));
  const mica_status status = mica_distances(engine, MICA_METRIC_INNER, &a, &b, out);
  for (int64_t i = 0; i < n * m && status == MICA_OK; i++) out[i] = -out[i];
  mica_free(rows);
  return status;
}

static mica_status text_scores(const mica_engine *engine, const void *state, const mica_view *x,
                               double *out) {
  const texts *s = state;
  return products(engine, x, s->d, s->unit, s->n, out);
}

static mica_status largest(const mica_engine *engine, const texts *s, const mica_view *x,
                           double *score) {
  const int64_t n = mica_rows_n(x);
  double *each = mica_realloc_array(NULL, (size_t)n, (size_t)s->n * sizeof *each);
  if (!each) return MICA_ERR_MEMORY;
  const mica_status status = text_scores(engine, s, x, each);
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    for (int64_t c = 0; c < s->classes; c++) {
      double top = each[i * s->n + s->first[c]];
      for (int64_t j = s->first[c] + 1; j < s->first[c + 1]; j++)
        if (each[i * s->n + j] > top) top = each[i * s->n + j];
      score[i * s->classes + c] = top;
    }
  mica_free(each);
  return status;
}

static mica_status predict(const mica_engine *engine, const void *options, const void *state,
                           const mica_view *x, mica_prediction *out) {
  const mica_zero_shot_options *o = options;
  const texts *s = state;
  const int64_t n = mica_rows_n(x);
  double *own, *score = mica_scores_begin(n, s->classes, out, &own);
  if (!score) return MICA_ERR_MEMORY;
  const mica_status status = s->centre ? products(engine, x, s->d, s->centre, s->classes, score)
                                       : largest(engine, s, x, score);
  if (status == MICA_OK) mica_scores_answer(n, s->classes, o->scale, score, out);
  mica_free(own);
  return status;
}

/* ---- phrases ---- */

/* As many texts of each class as its phrases make. */
static mica_status check_phrases(const mica_zero_shot_options *o, const texts *s,
                                 const mica_phrases *p) {
  if (mica_phrases_classes(p) != s->classes)
    return mica_fail(MICA_ERR_INVALID, "zero_shot: %lld classes with phrases, %lld with texts",
                     (long long)mica_phrases_classes(p), (long long)s->classes);
  for (int64_t c = 0; c < s->classes; c++) {
    const int64_t n = mica_phrases_count(p, c), has = s->first[c + 1] - s->first[c];
    const int64_t makes = o->mode == TEMPLATES ? 80 : o->mode == NAME || !n ? 1 : n;
    if (makes != has)
      return mica_fail(MICA_ERR_INVALID,
                       "zero_shot: \"%.100s\" has %lld texts, its phrases make %lld",
                       mica_phrases_class(p, c), (long long)has, (long long)makes);
  }
  return MICA_OK;
}

static mica_status set_phrases(const void *options, void *state, const mica_phrases *phrases) {
  texts *s = state;
  mica_phrases *copy = NULL;
  mica_status status = check_phrases(options, s, phrases);
  if (status == MICA_OK) status = mica_phrases_first(phrases, INT64_MAX, &copy);
  if (status != MICA_OK) return status;
  mica_phrases_free(s->phrases);
  s->phrases = copy;
  return MICA_OK;
}

static const mica_phrases *phrases_of(const void *state) {
  return ((const texts *)state)->phrases;
}

static int64_t count_texts(const void *state) {
  return ((const texts *)state)->n;
}

/* A state in which class `label` has the rows of x. */
static mica_status replaced(const mica_zero_shot_options *o, const texts *s, int64_t label,
                            const mica_view *x, texts **out) {
  const int64_t d = s->d, more = mica_rows_n(x), classes = s->classes + (label == s->classes);
  const int64_t gone = label < s->classes ? s->first[label + 1] - s->first[label] : 0;
  texts *t = NULL;
  if (more < 1) return mica_fail(MICA_ERR_INVALID, "zero_shot: a class without texts");
  mica_status status = create(s->n - gone + more, d, classes, &t);
  if (status != MICA_OK) return status;
  for (int64_t c = 0; c < classes; c++)
    t->first[c + 1] = c == label ? more : s->first[c + 1] - s->first[c];
  status = place(t);
  for (int64_t c = 0; c < classes && status == MICA_OK; c++) {
    double *to = t->unit + t->first[c] * d;
    if (c == label)
      mica_rows_load(x, 0, more, NULL, to);
    else
      memcpy(to, s->unit + s->first[c] * d,
             (size_t)((s->first[c + 1] - s->first[c]) * d) * sizeof *to);
  }
  if (status == MICA_OK) status = normalise(t, label);
  if (status == MICA_OK) status = finish(o, t);
  if (status == MICA_OK)
    *out = t;
  else
    free_state(t);
  return status;
}

static void swap_in(texts *s, texts *next, mica_fitted *fitted) {
  const texts old = *s;
  *s = *next;
  *next = old;
  free_state(next);
  fitted->classes = fitted->outputs = s->classes;
}

static mica_status set_texts(const mica_engine *engine, const void *options, void *state,
                             int64_t label, const mica_view *x, const mica_phrases *phrases,
                             mica_fitted *fitted) {
  (void)engine;
  texts *next = NULL;
  mica_status status = replaced(options, state, label, x, &next);
  if (status == MICA_OK) status = set_phrases(options, next, phrases);
  if (status == MICA_OK)
    swap_in(state, next, fitted);
  else
    free_state(next);
  return status;
}

/* A class by embeddings alone: the list of phrases, which would not tell it, is given up. */
static mica_status add_class(const mica_engine *engine, const void *options, void *state,
                             const mica_view *x, mica_fitted *fitted) {
  (void)engine;
  texts *s = state, *next = NULL;
  const mica_status status = replaced(options, s, s->classes, x, &next);
  if (status == MICA_OK) swap_in(s, next, fitted);
  return status;
}

/* ---- records ---- */

static mica_status save(const void *state, mica_record *record) {
  const texts *s = state;
  mica_status status = mica_record_put_f64(record, "text", MICA_SHAPE(s->n, s->d), s->unit);
  if (status == MICA_OK)
    status = mica_record_put_i64(record, "first", MICA_SHAPE(s->classes + 1), s->first);
  if (status != MICA_OK || !s->phrases) return status;
  char *json = NULL;
  mica_tensor *bytes = NULL;
  status = mica_phrases_text(s->phrases, &json);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_U8, MICA_SHAPE((int64_t)strlen(json)), &bytes);
  if (status == MICA_OK) {
    memcpy(mica_tensor_data(bytes), json, strlen(json));
    status = mica_record_put(record, "phrases", bytes);
  }
  mica_tensor_free(bytes);
  mica_free(json);
  return status;
}

static mica_status load_phrases(const void *options, const mica_record *record, texts *s) {
  const mica_tensor *bytes = mica_record_get(record, "phrases");
  mica_phrases *p = NULL;
  if (!bytes || mica_tensor_dtype(bytes) != MICA_U8)
    return mica_fail(MICA_ERR_FORMAT, "estimator record: \"phrases\" is no text");
  mica_status status = mica_phrases_parse(mica_tensor_data((mica_tensor *)(uintptr_t)bytes),
                                          (size_t)mica_tensor_count(bytes), &p);
  if (status == MICA_OK) status = set_phrases(options, s, p);
  mica_phrases_free(p);
  return status == MICA_ERR_INVALID ? MICA_ERR_FORMAT : status;
}

static mica_status load(const mica_engine *engine, const void *options, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  (void)engine;
  const mica_tensor *rows = mica_record_get(record, "text");
  const int64_t n = rows && mica_tensor_shape(rows)->rank == 2 ? mica_tensor_dim(rows, 0) : 0;
  texts *s = NULL;
  if (n < fitted->classes)
    return mica_fail(MICA_ERR_FORMAT, "estimator record: zero_shot with %lld texts of %lld classes",
                     (long long)n, (long long)fitted->classes);
  mica_status status = create(n, fitted->features, fitted->classes, &s);
  if (status == MICA_OK)
    status = mica_record_take_f64(record, "text", MICA_SHAPE(n, s->d), false, s->unit);
  if (status == MICA_OK)
    status = mica_record_take_i64(record, "first", MICA_SHAPE(s->classes + 1), 0, n, s->first);
  for (int64_t c = 0; status == MICA_OK && c < s->classes; c++)
    if (s->first[c] >= s->first[c + 1] || s->first[0] != 0 || s->first[s->classes] != n)
      status = mica_fail(MICA_ERR_FORMAT, "estimator record: \"first\" does not divide the texts");
  if (status == MICA_OK) status = finish(options, s);
  if (status == MICA_OK && mica_record_has(record, "phrases"))
    status = load_phrases(options, record, s);
  if (status == MICA_OK)
    *state = s;
  else
    free_state(s);
  return status;
}

static mica_status linear(const void *options, const void *state, double *weight, double *bias) {
  const texts *s = state;
  (void)options;
  if (!s->centre)
    return mica_fail(MICA_ERR_UNSUPPORTED, "zero_shot: aggregate=max has no linear form");
  memcpy(weight, s->centre, (size_t)(s->classes * s->d) * sizeof *weight);
  memset(bias, 0, (size_t)s->classes * sizeof *bias);
  return MICA_OK;
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities =
        MICA_ESTIMATOR_CLASSIFIES | MICA_ESTIMATOR_ADDS_CLASSES | MICA_ESTIMATOR_PROBABILITIES,
    .fit = fit,
    .free = free_state,
    .predict = predict,
    .add_class = add_class,
    .save = save,
    .load = load,
    .linear = linear,
    .set_phrases = set_phrases,
    .phrases = phrases_of,
    .texts = count_texts,
    .text_scores = text_scores,
    .set_texts = set_texts,
};

extern const mica_component mica_component_estimator_zero_shot;
const mica_component mica_component_estimator_zero_shot = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "zero_shot",
    "classes known by texts: names, templates or descriptions",
    "classify-by-description",
    option_table,
    sizeof(mica_zero_shot_options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    MICA_NEED_LOGITS,
    &functions};
