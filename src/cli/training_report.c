/* Puts a training run on a page with the report room: every number goes through mica_report_number,
 * so the page and summary.json cannot differ. */
#include "cli/training_report.h"

#include <mica/feature.h>
#include <mica/report.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HARDEST 24

static mica_status curves(mica_report *report, const training_report *r) {
  const size_t n = (size_t)r->epochs;
  double *x = malloc(4 * (n + 1) * sizeof *x);
  if (!x) return mica_fail(MICA_ERR_MEMORY, "report: out of memory");
  double *train = x + n + 1, *val = train + n + 1, *accuracy = val + n + 1;
  for (size_t i = 0; i < n; i++) {
    x[i] = (double)i + 1;
    train[i] = r->epoch[i].train_loss;
    val[i] = r->epoch[i].val_loss;
    accuracy[i] = 100 * r->epoch[i].val_accuracy;
  }
  const mica_series losses[] = {{"training", x, train, NULL, NULL, r->epochs},
                                {"validation", x, val, NULL, NULL, r->epochs}};
  const mica_series shares[] = {{"validation", x, accuracy, NULL, NULL, r->epochs}};
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  mica_figure *loss_figure = NULL, *accuracy_figure = NULL;
  o.x.label = "epoch";
  o.y.label = "loss";
  mica_status status = mica_figure_line_chart(losses, 2, &o, &loss_figure);
  o.y.label = "accuracy, %";
  if (status == MICA_OK) status = mica_figure_line_chart(shares, 1, &o, &accuracy_figure);
  if (status == MICA_OK) status = mica_report_section(report, "Training");
  if (status == MICA_OK)
    status = mica_report_figure(
        report, loss_figure,
        "Mean loss of each epoch. The training loss is taken while the weights move, "
        "with augmentation.");
  if (status == MICA_OK)
    status = mica_report_figure(report, accuracy_figure, "Accuracy on the validation part.");
  mica_figure_free(loss_figure);
  mica_figure_free(accuracy_figure);
  free(x);
  return status;
}

typedef struct scored {
  int64_t i;
  double loss;
} scored;

static int harder(const void *a, const void *b) {
  const scored *x = a, *y = b;
  if (x->loss != y->loss) return x->loss > y->loss ? -1 : 1;
  return x->i < y->i ? -1 : x->i > y->i;
}

/* Loss and most likely class of each example. */
static void score(const mica_evaluation *e, int64_t *predicted, scored *s) {
  const float *logits = mica_tensor_data(e->logits);
  const int64_t *labels = mica_tensor_data(e->labels), c = mica_tensor_dim(e->logits, 1);
  for (int64_t i = 0; i < e->n; i++) {
    const float *x = logits + i * c;
    int64_t best = 0;
    double sum = 0;
    for (int64_t k = 1; k < c; k++)
      if (x[k] > x[best]) best = k;
    for (int64_t k = 0; k < c; k++) sum += exp((double)x[k] - (double)x[best]);
    predicted[i] = best;
    s[i] = (scored){i, log(sum) + (double)x[best] - (double)x[labels[i]]};
  }
}

static mica_status hardest(mica_report *report, const training_report *r, const int64_t *predicted,
                           scored *s) {
  const mica_evaluation *e = r->evaluation;
  const mica_tensor *images = mica_dataset_images(r->ds);
  const int64_t *labels = mica_tensor_data(e->labels);
  const int32_t h = (int32_t)mica_tensor_dim(images, 1), w = (int32_t)mica_tensor_dim(images, 2);
  const int32_t c = (int32_t)mica_tensor_dim(images, 3);
  /* Example i of the evaluation is item `of_part[i]` of the data set. */
  int64_t *of_part = malloc((size_t)(e->n + 1) * sizeof *of_part), n = 0;
  if (!of_part) return mica_fail(MICA_ERR_MEMORY, "report: out of memory");
  for (int64_t i = 0; i < mica_dataset_count(r->ds) && n < e->n; i++)
    if (mica_dataset_part_of(r->ds, i) == r->part) of_part[n++] = i;
  qsort(s, (size_t)e->n, sizeof *s, harder);
  mica_tile tiles[HARDEST];
  static char caption[HARDEST][64], detail[HARDEST][64];
  int64_t shown = 0;
  for (; shown < HARDEST && shown < e->n; shown++) {
    const int64_t i = s[shown].i;
    snprintf(caption[shown], sizeof caption[shown], "%s", mica_dataset_class(r->ds, labels[i]));
    snprintf(detail[shown], sizeof detail[shown], "as %s", mica_dataset_class(r->ds, predicted[i]));
    tiles[shown] =
        (mica_tile){{(const uint8_t *)mica_tensor_data(images) + of_part[i] * h * w * c, w, h, c},
                    caption[shown],
                    detail[shown],
                    predicted[i] == labels[i] ? MICA_MARK_RIGHT : MICA_MARK_WRONG};
  }
  mica_figure *figure = NULL;
  mica_status status = mica_figure_image_grid(tiles, shown, NULL, &figure);
  if (status == MICA_OK) status = mica_report_section(report, "Hardest examples");
  if (status == MICA_OK)
    status = mica_report_figure(report, figure,
                                "The examples with the largest loss: their label, and what the "
                                "network takes them for.");
  mica_figure_free(figure);
  free(of_part);
  return status;
}

static mica_status measures(mica_report *report, const training_report *r) {
  const mica_evaluation *e = r->evaluation;
  const int64_t classes = mica_dataset_classes(r->ds);
  const int64_t *labels = mica_tensor_data(e->labels);
  int64_t *predicted = malloc((size_t)(e->n + 1) * sizeof *predicted);
  int64_t *counts = calloc((size_t)(classes * (classes + 1)), sizeof *counts);
  scored *s = malloc((size_t)(e->n + 1) * sizeof *s);
  const char **names = malloc((size_t)(classes + 1) * sizeof *names);
  mica_status status = predicted && counts && s && names
                           ? MICA_OK
                           : mica_fail(MICA_ERR_MEMORY, "report: out of memory");
  if (status == MICA_OK) {
    const bool test = r->part == MICA_PART_TEST;
    mica_estimate accuracy;
    mica_figure *figure = NULL;
    mica_confusion_options o = MICA_CONFUSION_OPTIONS;
    score(e, predicted, s);
    for (int64_t i = 0; i < classes; i++) names[i] = mica_dataset_class(r->ds, i);
    status = mica_accuracy(e->n, labels, predicted, 0.95, &accuracy);
    if (status == MICA_OK)
      status = mica_report_interval(report, test ? "test_accuracy" : "validation_accuracy",
                                    accuracy.value, accuracy.interval.lo, accuracy.interval.hi,
                                    "fraction",
                                    test ? "Accuracy, test part" : "Accuracy, validation part");
    if (status == MICA_OK)
      status = mica_report_number(report, "examples", (double)e->n, NULL,
                                  test ? "Test pictures" : "Validation pictures");
    if (status == MICA_OK)
      status = mica_report_number(report, "cross_entropy", e->loss, NULL, "Cross-entropy");
    if (status == MICA_OK)
      status = mica_report_number(report, "epochs", (double)r->result->epochs, NULL, "Epochs");
    if (status == MICA_OK)
      status = mica_report_number(report, "seconds", r->seconds, "seconds", "Time");
    if (status == MICA_OK && r->epochs) status = curves(report, r);
    if (status == MICA_OK) status = mica_confusion(e->n, labels, predicted, classes, counts);
    /* The last column, "none of these", stays empty for a network: leave it out. */
    for (int64_t i = 1; i < classes && status == MICA_OK; i++)
      memmove(counts + i * classes, counts + i * (classes + 1), (size_t)classes * sizeof *counts);
    if (status == MICA_OK && classes <= 50) {
      status = mica_figure_confusion(counts, names, (int32_t)classes, &o, &figure);
      if (status == MICA_OK) status = mica_report_section(report, "Confusion");
      if (status == MICA_OK)
        status = mica_report_figure(report, figure,
                                    "Rows are the true classes, columns what the network says.");
      mica_figure_free(figure);
    }
    if (status == MICA_OK) status = hardest(report, r, predicted, s);
  }
  free(predicted);
  free(counts);
  free(s);
  free(names);
  return status;
}

mica_status cli_training_report(const training_report *r) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_report *report = NULL;
  mica_run_record *record = NULL;
  o.title = r->title;
  o.subtitle = r->model;
  mica_status status = mica_report_create(&o, &report);
  if (status == MICA_OK) status = measures(report, r);
  if (status == MICA_OK) status = mica_run_record_create(&record);
  if (status == MICA_OK) status = mica_run_record_text(record, "command", r->command);
  if (status == MICA_OK) status = mica_run_record_environment(record);
  if (status == MICA_OK) status = mica_report_record(report, record);
  if (status == MICA_OK) status = mica_report_write(report, r->folder);
  mica_run_record_free(record);
  mica_report_free(report);
  return status;
}
