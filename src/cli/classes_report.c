/* The page about a classifier's answers: key figures, classes, what is taken for what, ranking and
 * calibration. */
#include "cli/classes.h"

#include <mica/training_report.h>

#include <math.h>

#define CURVES 12 /* the most ROC curves in one figure */

static mica_status key_figures(mica_report *r, const class_answers *c, const class_measures *m) {
  const mica_estimate *a = &m->accuracy, *u = &m->mean_auroc, *p = &m->mean_precision;
  const struct {
    const char *key, *unit, *label;
    double value;
  } number[] = {
      {"balanced_accuracy", "fraction", "Mean accuracy over classes", m->balanced_accuracy},
      {"macro_f1", NULL, "Mean F1 over classes", m->macro_f1},
      {"loss", NULL, "Cross-entropy", m->log_loss},
      {"ece", NULL, "Calibration error", m->ece},
      {"brier", NULL, "Brier score", m->brier}};
  mica_status status = mica_report_interval(r, "accuracy", a->value, a->interval.lo, a->interval.hi,
                                            "fraction", "Accuracy");
  if (status == MICA_OK)
    status = mica_report_number(r, "examples", (double)c->n, "count", "Examples");
  if (status == MICA_OK && !isnan(u->value))
    status =
        mica_report_interval(r, "auroc", u->value, u->interval.lo, u->interval.hi, NULL, "AUROC");
  if (status == MICA_OK && !isnan(p->value))
    status = mica_report_interval(r, "average_precision", p->value, p->interval.lo, p->interval.hi,
                                  NULL, "Average precision");
  for (size_t i = 0; i < sizeof number / sizeof *number && status == MICA_OK; i++)
    if (!isnan(number[i].value))
      status =
          mica_report_number(r, number[i].key, number[i].value, number[i].unit, number[i].label);
  return status;
}

/* A table row: name, rows, accuracy with interval. */
static mica_status begin_row(mica_table *t, const char *name, int64_t rows,
                             const mica_estimate *e) {
  char cell[96];
  mica_status status = mica_table_text(t, name);
  if (status == MICA_OK) status = mica_table_integer(t, rows);
  snprintf(cell, sizeof cell, "%.1f %% (%.1f to %.1f)", 100 * e->value, 100 * e->interval.lo,
           100 * e->interval.hi);
  if (status == MICA_OK) status = mica_table_shown(t, e->value, rows ? cell : "");
  return status;
}

static mica_status begin_table(const char *first, mica_table **out) {
  mica_status status = mica_table_create(out);
  if (status == MICA_OK) status = mica_table_column(*out, first, MICA_ALIGN_LEFT);
  if (status == MICA_OK) status = mica_table_column(*out, "examples", MICA_ALIGN_RIGHT);
  if (status == MICA_OK) status = mica_table_column(*out, "accuracy", MICA_ALIGN_RIGHT);
  return status;
}

static mica_status class_table(mica_report *r, const class_answers *c, const class_measures *m) {
  static const char *const heads[] = {"precision", "F1", "AUROC", "average precision"};
  mica_table *t = NULL;
  mica_status status = begin_table("class", &t);
  for (size_t i = 0; i < sizeof heads / sizeof *heads && status == MICA_OK; i++)
    status = mica_table_column(t, heads[i], MICA_ALIGN_RIGHT);
  if (status == MICA_OK && c->trained)
    status = mica_table_column(t, "training examples", MICA_ALIGN_RIGHT);
  for (int64_t i = 0; i < c->classes && status == MICA_OK; i++) {
    const mica_class_measures *k = &m->by_class[i];
    const double v[] = {k->precision, k->f1, m->auroc[i].value, m->precision[i].value};
    status = begin_row(t, c->names[i], k->support, &k->recall);
    for (int j = 0; j < 4 && status == MICA_OK; j++) status = mica_table_number(t, v[j], 4);
    if (status == MICA_OK && c->trained) status = mica_table_integer(t, c->trained[i]);
  }
  if (status == MICA_OK) status = mica_report_section(r, "Classes");
  if (status == MICA_OK) status = mica_report_table(r, "classes", t, NULL);
  mica_table_free(t);
  return status;
}

static mica_status band_table(mica_report *r, const class_measures *m) {
  static const char *const name[MICA_BANDS] = {"few", "medium", "many"};
  mica_table *t = NULL;
  char text[160];
  mica_status status = begin_table("classes", &t);
  if (status == MICA_OK) status = mica_table_column(t, "mean of classes", MICA_ALIGN_RIGHT);
  if (status == MICA_OK) status = mica_table_column(t, "number of classes", MICA_ALIGN_RIGHT);
  for (int b = 0; b < MICA_BANDS && status == MICA_OK; b++) {
    status = begin_row(t, name[b], m->band[b].rows, &m->band[b].accuracy);
    if (status == MICA_OK) status = mica_table_number(t, m->band[b].mean_recall, 4);
    if (status == MICA_OK) status = mica_table_integer(t, m->band[b].classes);
  }
  snprintf(text, sizeof text,
           "Classes with fewer than %lld training examples, with more than %lld, and between.",
           (long long)m->few, (long long)m->many);
  if (status == MICA_OK) status = mica_report_section(r, "Accuracy by training examples");
  if (status == MICA_OK) status = mica_report_table(r, "bands", t, text);
  mica_table_free(t);
  return status;
}

static mica_status confusion(mica_report *r, const class_answers *c) {
  const mica_answers answers = {.n = c->n,
                                .classes = c->classes,
                                .names = c->names,
                                .truth = (int64_t *)c->truth,
                                .predicted = (int64_t *)c->predicted};
  return mica_report_confusion(r, "Confusion", &answers);
}

/* ROC curves of each class against the rest, or of the second of two. */
static mica_status ranking(mica_report *r, const class_answers *c) {
  const int64_t first = c->classes == 2 ? 1 : 0, k = c->classes - first;
  const size_t cells = (size_t)(c->n * k) + 1;
  mica_roc curve[CURVES];
  mica_roc_options o = MICA_ROC_OPTIONS;
  mica_figure *figure = NULL;
  double *score = mica_malloc(cells * sizeof *score);
  uint8_t *positive = mica_malloc(cells);
  mica_status status = score && positive ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t j = 0; j < k && status == MICA_OK; j++) {
    for (int64_t i = 0; i < c->n; i++) {
      score[j * c->n + i] = c->score[i * c->classes + first + j];
      positive[j * c->n + i] = c->truth[i] == first + j;
    }
    curve[j] = (mica_roc){c->names[first + j], score + j * c->n, positive + j * c->n, c->n};
  }
  o.width = 640;
  if (status == MICA_OK) status = mica_figure_roc(curve, (int32_t)k, &o, NULL, &figure);
  if (status == MICA_OK) status = mica_report_section(r, "Ranking");
  if (status == MICA_OK)
    status = mica_report_figure(
        r, figure, k > 1 ? "Each class against the rest; the area is in the legend." : NULL);
  mica_figure_free(figure);
  mica_free(score);
  mica_free(positive);
  return status;
}

static mica_status calibration(mica_report *r, const class_measures *m) {
  double x[CLASS_BINS], y[CLASS_BINS], low[CLASS_BINS], high[CLASS_BINS];
  const double ends[] = {0, 1};
  int64_t n = 0;
  for (int b = 0; b < CLASS_BINS; b++) {
    const double rows = (double)m->in_bin[b];
    if (!m->in_bin[b]) continue;
    const mica_interval w = mica_wilson(m->right[b] * rows, rows, 0.95);
    x[n] = m->confidence[b];
    y[n] = m->right[b];
    low[n] = w.lo;
    high[n++] = w.hi;
  }
  const mica_series series[] = {{"calibrated", ends, ends, NULL, NULL, 2},
                                {"this classifier", x, y, low, high, n}};
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  mica_figure *figure = NULL;
  o.width = 480;
  o.height = 420;
  o.x.label = "probability of the answer";
  o.y.label = "share that is right";
  o.x.low = o.y.low = 0;
  o.x.high = o.y.high = 1;
  mica_status status = mica_figure_line_chart(series, 2, &o, &figure);
  if (status == MICA_OK) status = mica_report_section(r, "Calibration");
  if (status == MICA_OK)
    status = mica_report_figure(
        r, figure, "Answers in bins by their probability, with Wilson's 95 % intervals.");
  mica_figure_free(figure);
  return status;
}

mica_status class_report(const cli_args *a, const class_answers *c, const class_measures *m,
                         const char *folder) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_report *r = NULL;
  o.title = a->operand[0];
  o.subtitle = cli_text(a, "--data");
  mica_status status = mica_report_create(&o, &r);
  if (status == MICA_OK) status = key_figures(r, c, m);
  if (status == MICA_OK) status = class_table(r, c, m);
  if (status == MICA_OK && c->trained) status = band_table(r, m);
  if (status == MICA_OK && c->classes < 200) status = confusion(r, c);
  if (status == MICA_OK && c->score && c->classes >= 2 && c->classes <= CURVES)
    status = ranking(r, c);
  if (status == MICA_OK && c->probable && c->score) status = calibration(r, m);
  if (status == MICA_OK) status = mica_report_write(r, folder);
  mica_report_free(r);
  return status;
}
