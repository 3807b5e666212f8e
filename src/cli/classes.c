/* Measures of a classifier's answers, as text and as JSON. */
#include "cli/classes.h"

#include <math.h>
#include <stdlib.h>

/* Intervals by resampling take about a second: as many resamples as that allows, at most 1,000. */
static int32_t resamples(const class_answers *c) {
  const double most = 2e8 / ((double)c->n * (double)c->classes);
  return most >= 1000 ? 1000 : most >= 100 ? (int32_t)most : 0;
}

static mica_status bands(const cli_args *a, class_measures *m) {
  const char *text = cli_text(a, "--bands");
  char *end;
  m->few = text ? strtoll(text, &end, 10) : 20;
  m->many = text && *end == ',' ? strtoll(end + 1, &end, 10) : text ? -1 : 100;
  if (m->few >= 0 && m->many >= m->few && (!text || !*end)) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID, "--bands %s: expected FEW,MANY, the one at most the other",
                   text);
}

/* What needs scores. */
static mica_status measure_scores(const mica_engine *engine, const class_answers *c,
                                  class_measures *m) {
  mica_status status =
      mica_one_vs_rest(engine, mica_key_seed(0), c->n, c->classes, c->score, c->truth, 0.95,
                       resamples(c), m->auroc, m->precision, &m->mean_auroc, &m->mean_precision);
  /* Of two classes the second is the positive one: its measures are those of the classifier. */
  if (status == MICA_OK && c->classes == 2)
    m->mean_auroc = m->auroc[1], m->mean_precision = m->precision[1];
  if (status == MICA_OK && c->probable)
    status = mica_log_loss(c->n, c->classes, c->score, c->truth, &m->log_loss);
  if (status == MICA_OK && c->probable)
    status = mica_calibration(c->n, c->classes, c->score, c->truth, CLASS_BINS, &m->ece, &m->brier,
                              m->confidence, m->right, m->in_bin);
  return status;
}

mica_status class_measure(const cli_args *a, const mica_engine *engine, const class_answers *c,
                          class_measures *m) {
  const mica_estimate unknown = {NAN, {NAN, NAN}};
  const size_t k = (size_t)c->classes;
  *m = (class_measures){
      .mean_auroc = unknown, .mean_precision = unknown, .log_loss = NAN, .ece = NAN, .brier = NAN};
  m->by_class = mica_calloc(k + 1, sizeof *m->by_class);
  m->auroc = mica_calloc(k + 1, sizeof *m->auroc);
  m->precision = mica_calloc(k + 1, sizeof *m->precision);
  m->counts = mica_calloc(k * (k + 1) + 1, sizeof *m->counts);
  if (!m->by_class || !m->auroc || !m->precision || !m->counts) return MICA_ERR_MEMORY;
  for (size_t i = 0; i < k; i++) m->auroc[i] = m->precision[i] = unknown;
  mica_status status = bands(a, m);
  if (status == MICA_OK) status = mica_accuracy(c->n, c->truth, c->predicted, 0.95, &m->accuracy);
  if (status == MICA_OK)
    status = mica_confusion(c->n, c->truth, c->predicted, c->classes, m->counts);
  if (status == MICA_OK)
    status = mica_by_class(m->counts, c->classes, 0.95, m->by_class, &m->macro_f1,
                           &m->balanced_accuracy);
  if (status == MICA_OK && c->trained)
    status = mica_by_band(m->counts, c->classes, c->trained, m->few, m->many, 0.95, m->band);
  if (status == MICA_OK && c->score) status = measure_scores(engine, c, m);
  return status;
}

void class_measures_free(class_measures *m) {
  mica_free(m->by_class);
  mica_free(m->auroc);
  mica_free(m->precision);
  mica_free(m->counts);
}

/* ---- telling ---- */

static const char *const band_names[MICA_BANDS] = {"few", "medium", "many"};

/* "few (below 20)" */
static void band_title(const class_measures *m, int b, char *out, size_t n) {
  if (b == MICA_BAND_FEW) snprintf(out, n, "few (below %lld)", (long long)m->few);
  if (b == MICA_BAND_MEDIUM)
    snprintf(out, n, "medium (%lld to %lld)", (long long)m->few, (long long)m->many);
  if (b == MICA_BAND_MANY) snprintf(out, n, "many (above %lld)", (long long)m->many);
}

void class_print(const class_answers *c, const class_measures *m) {
  const mica_estimate *a = &m->mean_auroc, *p = &m->mean_precision;
  for (int64_t i = 0; i < c->classes; i++)
    if (m->by_class[i].support)
      printf("  %-20s %6.2f%%  of %lld\n", c->names[i], 100 * m->by_class[i].recall.value,
             (long long)m->by_class[i].support);
  for (int b = 0; b < MICA_BANDS && c->trained; b++) {
    char title[80] = "";
    band_title(m, b, title, sizeof title);
    if (m->band[b].rows)
      printf("  %-20s %6.2f%%  (%.2f to %.2f) by training examples, classes: %lld\n", title,
             100 * m->band[b].accuracy.value, 100 * m->band[b].accuracy.interval.lo,
             100 * m->band[b].accuracy.interval.hi, (long long)m->band[b].classes);
  }
  if (!isnan(a->value)) {
    printf("AUROC %.4f", a->value);
    if (!isnan(a->interval.lo)) printf(" (%.4f to %.4f)", a->interval.lo, a->interval.hi);
    printf(", average precision %.4f", p->value);
    if (!isnan(p->interval.lo)) printf(" (%.4f to %.4f)", p->interval.lo, p->interval.hi);
    if (c->classes == 2)
      printf(", of %s\n", c->names[1]);
    else
      printf(", means of each class against the rest\n");
  }
  if (!isnan(m->ece)) printf("calibration error %.4f, Brier score %.4f\n", m->ece, m->brier);
}

static void put_estimate(mica_json_writer *w, const char *name, const mica_estimate *e) {
  char text[80];
  mica_json_put_double(w, name, e->value);
  snprintf(text, sizeof text, "%s_low", name);
  mica_json_put_double(w, text, e->interval.lo);
  snprintf(text, sizeof text, "%s_high", name);
  mica_json_put_double(w, text, e->interval.hi);
}

void class_write_json(mica_json_writer *w, const class_answers *c, const class_measures *m) {
  put_estimate(w, "accuracy", &m->accuracy);
  mica_json_put_double(w, "balanced_accuracy", m->balanced_accuracy);
  mica_json_put_double(w, "macro_f1", m->macro_f1);
  mica_json_put_double(w, "loss", m->log_loss);
  put_estimate(w, "auroc", &m->mean_auroc);
  put_estimate(w, "average_precision", &m->mean_precision);
  mica_json_put_double(w, "ece", m->ece);
  mica_json_put_double(w, "brier", m->brier);
  mica_json_write_name(w, "recall");
  mica_json_begin_object(w);
  for (int64_t i = 0; i < c->classes; i++)
    if (m->by_class[i].support) mica_json_put_double(w, c->names[i], m->by_class[i].recall.value);
  mica_json_end_object(w);
  mica_json_write_name(w, "class_auroc");
  mica_json_begin_object(w);
  for (int64_t i = 0; i < c->classes; i++)
    if (!isnan(m->auroc[i].value)) mica_json_put_double(w, c->names[i], m->auroc[i].value);
  mica_json_end_object(w);
  if (!c->trained) return;
  mica_json_write_name(w, "bands");
  mica_json_begin_object(w);
  for (int b = 0; b < MICA_BANDS; b++) {
    mica_json_write_name(w, band_names[b]);
    mica_json_begin_object(w);
    mica_json_put_int(w, "classes", m->band[b].classes);
    mica_json_put_int(w, "examples", m->band[b].rows);
    put_estimate(w, "accuracy", &m->band[b].accuracy);
    mica_json_put_double(w, "mean_recall", m->band[b].mean_recall);
    mica_json_end_object(w);
  }
  mica_json_end_object(w);
}
