/* The report of a training run, and what the model file keeps of it. */
#include "cli/train.h"

#include <mica/feature.h>

#include "base/json.h"

#include <math.h>

#define HARDEST    24
#define MAP_POINTS 1000

/* ---- the report ---- */

static mica_status run_numbers(const train_outcome *r, bool test, int64_t n, mica_report *report) {
  const char *label = r->data->text    ? test ? "Test windows" : "Validation windows"
                      : r->data->table ? test ? "Test rows" : "Validation rows"
                      : test           ? "Test pictures"
                                       : "Validation pictures";
  mica_status status = mica_report_number(report, "examples", (double)n, "count", label);
  if (status == MICA_OK)
    status = mica_report_number(report, "epochs", (double)r->result->epochs, NULL, "Epochs");
  if (status == MICA_OK)
    status = mica_report_number(report, "seconds", r->watch->seconds, "seconds", "Time");
  return status;
}

static mica_status curves(const train_outcome *r, mica_report *report) {
  return r->watch->epochs
             ? mica_report_curves(report, "Training", r->watch->epoch, r->watch->epochs)
             : MICA_OK;
}

/* Everything the page shows of one evaluated part, in the order of the page. */
static mica_status classifier_sections(const train_outcome *r, bool test, const mica_evaluation *e,
                                       mica_report *report) {
  const mica_dataset *pictures = r->data->pictures;
  mica_answers answers = {0};
  mica_estimate accuracy;
  mica_status status = mica_answers_of(pictures, test ? MICA_PART_TEST : MICA_PART_VALIDATION,
                                       r->data->classes, e, &answers);
  if (status == MICA_OK)
    status = mica_accuracy(e->n, answers.truth, answers.predicted, 0.95, &accuracy);
  if (status == MICA_OK)
    status =
        mica_report_interval(report, test ? "test_accuracy" : "validation_accuracy", accuracy.value,
                             accuracy.interval.lo, accuracy.interval.hi, "fraction",
                             test ? "Accuracy, test part" : "Accuracy, validation part");
  if (status == MICA_OK) status = run_numbers(r, test, e->n, report);
  if (status == MICA_OK)
    status = mica_report_number(report, "cross_entropy", e->loss, NULL, "Cross-entropy");
  if (status == MICA_OK && !isnan(e->auroc))
    status = mica_report_number(report, "auroc", e->auroc, NULL, "Area under the ROC curve");
  if (status == MICA_OK) status = curves(r, report);
  if (status == MICA_OK && answers.classes < 200)
    status = mica_report_confusion(report, "Confusion", &answers);
  if (status == MICA_OK && pictures)
    status = mica_report_hardest(report, "Hardest examples", &answers, HARDEST);
  if (status == MICA_OK && e->n > 1) {
    const mica_view features = mica_tensor_view(e->features);
    status =
        mica_report_map(report, "Map of the features", r->engine, &features, &answers, MAP_POINTS);
  }
  mica_answers_free(&answers);
  return status;
}

/* The same for a numeric target, in its own unit: measures, and predictions over truths. */
static mica_status regression_sections(const train_outcome *r, bool test, const mica_evaluation *e,
                                       mica_report *report) {
  const mica_columns *c = mica_data_table_columns(r->data->table);
  mica_regression_measures m;
  double *truth = mica_calloc((size_t)e->n + 1, 2 * sizeof *truth), *predicted = truth + e->n;
  if (!truth) return MICA_ERR_MEMORY;
  train_regression_values(c, e, truth, predicted);
  mica_status status = mica_regression(e->n, 1, truth, predicted, &m);
  if (status == MICA_OK)
    status = mica_report_number(report, test ? "test_r2" : "validation_r2", m.r2, NULL,
                                test ? "R2, test part" : "R2, validation part");
  if (status == MICA_OK)
    status = mica_report_number(report, "root_mean_squared_error", sqrt(m.mse), NULL,
                                "Root mean squared error");
  if (status == MICA_OK)
    status = mica_report_number(report, "mean_absolute_error", m.mae, NULL, "Mean absolute error");
  if (status == MICA_OK) status = run_numbers(r, test, e->n, report);
  if (status == MICA_OK) status = curves(r, report);
  if (status == MICA_OK) {
    mica_scatter_options o = MICA_SCATTER_OPTIONS;
    mica_figure *figure = NULL;
    o.x.label = mica_columns_label(c);
    o.y.label = "predicted";
    status = mica_figure_scatter(truth, predicted, NULL, e->n, 0, &o, &figure);
    if (status == MICA_OK) status = mica_report_section(report, "Predictions");
    if (status == MICA_OK)
      status = mica_report_figure(report, figure, "Each row: what it says, and what is predicted.");
    mica_figure_free(figure);
  }
  mica_free(truth);
  return status;
}

/* The same for a text: how well the next token is foretold. */
static mica_status text_sections(const train_outcome *r, bool test, const mica_evaluation *e,
                                 mica_report *report) {
  const mica_part part = test ? MICA_PART_TEST : MICA_PART_VALIDATION;
  mica_status status =
      mica_report_number(report, test ? "test_bits_per_byte" : "validation_bits_per_byte",
                         train_text_bits(r->data, part, e->loss), NULL,
                         test ? "Bits a byte, test part" : "Bits a byte, validation part");
  if (status == MICA_OK)
    status = mica_report_number(report, "perplexity", exp(e->loss), NULL, "Perplexity");
  if (status == MICA_OK)
    status = mica_report_number(report, "cross_entropy", e->loss, NULL, "Cross-entropy");
  if (status == MICA_OK)
    status =
        mica_report_number(report, "accuracy", e->accuracy, "fraction", "Tokens that are foretold");
  if (status == MICA_OK) status = run_numbers(r, test, e->n, report);
  return status == MICA_OK ? curves(r, report) : status;
}

/* The same for pictures with texts: how they find each other. */
static mica_status pairs_sections(const train_outcome *r, bool test, const mica_evaluation *e,
                                  mica_report *report) {
  const mica_pairs_evaluation *p = r->pairs;
  const struct {
    const char *name, *label;
    const mica_estimate *e;
  } found[] = {{"to_text_r1", "R@1, from picture to text", &p->to_text[0]},
               {"to_text_r5", "R@5, from picture to text", &p->to_text[1]},
               {"to_picture_r1", "R@1, from text to picture", &p->to_picture[0]},
               {"to_picture_r5", "R@5, from text to picture", &p->to_picture[1]}};
  mica_status status = MICA_OK;
  (void)e;
  for (size_t i = 0; i < sizeof found / sizeof *found && status == MICA_OK; i++)
    status = mica_report_interval(report, found[i].name, found[i].e->value, found[i].e->interval.lo,
                                  found[i].e->interval.hi, "fraction", found[i].label);
  if (status == MICA_OK)
    status = mica_report_number(report, "texts", (double)p->texts, "count",
                                test ? "Test texts" : "Validation texts");
  if (status == MICA_OK) status = run_numbers(r, test, p->pictures, report);
  return status == MICA_OK ? curves(r, report) : status;
}

mica_status train_report(const train_outcome *r, const char *folder) {
  const mica_stream *held_out = &r->data->part[MICA_PART_VALIDATION];
  const bool test = r->test->n > 0;
  mica_evaluation validation = {0};
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_report *report = NULL;
  const bool rows = !r->data->text && !r->data->pairs;
  if (!test && !held_out->ctx)
    return mica_fail(MICA_ERR_INVALID, "--report needs a validation or test part");
  o.title = "Training report";
  o.subtitle = r->args->operand[0];
  mica_status status = mica_report_create(&o, &report);
  if (status == MICA_OK && !test) status = mica_evaluate(r->net, held_out, rows, rows, &validation);
  if (status == MICA_OK)
    status = (r->data->text    ? text_sections
              : r->data->pairs ? pairs_sections
              : train_data_regression(r->data)
                  ? regression_sections
                  : classifier_sections)(r, test, test ? r->test : &validation, report);
  if (status == MICA_OK) status = mica_report_record(report, r->record);
  if (status == MICA_OK) status = mica_report_write(report, folder);
  mica_report_free(report);
  mica_evaluation_clear(&validation);
  return status;
}

/* ---- numbers ---- */

void train_regression_values(const mica_columns *c, const mica_evaluation *e, double *truth,
                             double *predicted) {
  const float *y = mica_tensor_data(e->targets), *f = mica_tensor_data(e->logits);
  for (int64_t i = 0; i < e->n; i++) {
    truth[i] = mica_columns_target(c, (double)y[i]);
    predicted[i] = mica_columns_target(c, (double)f[i]);
  }
}

static void put(mica_json_writer *w, const char *name, double value) {
  mica_json_put_double(w, name, value);
}

char *train_record(const train_outcome *r) {
  const bool regression =
      r->data->text || r->data->questions || r->data->pairs || train_data_regression(r->data);
  mica_bytes text = {0};
  mica_json_writer w = {.out = &text};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "command", r->args->command);
  mica_json_put_int(&w, "seed", r->seed);
  static const char *const data[] = {"data", "data_sha256", "data_fingerprint"};
  for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
    const char *value = mica_run_record_get(r->record, data[i]);
    if (!value) continue;
    mica_json_put_text(&w, data[i], value);
  }
  mica_json_put_int(&w, "epochs", r->result->epochs);
  put(&w, "loss", r->result->loss);
  if (regression) {
    put(&w, "validation_loss", r->result->best_val_loss);
    put(&w, "test_loss", r->test->n ? r->test->loss : NAN);
  } else {
    put(&w, "validation_accuracy", r->result->best_val_accuracy);
    put(&w, "test_accuracy", r->test->n ? r->test->accuracy : NAN);
  }
  if (r->pairs->pairs) {
    put(&w, "to_text_r1", r->pairs->to_text[0].value);
    put(&w, "to_picture_r1", r->pairs->to_picture[0].value);
  }
  if (train_data_clicks(r->data)) {
    put(&w, "validation_log_loss", r->result->best_val_loss);
    put(&w, "validation_auroc", r->watch->auroc);
    put(&w, "test_log_loss", r->test->n ? r->test->loss : NAN);
    put(&w, "test_auroc", r->test->n ? r->test->auroc : NAN);
  }
  mica_json_end_object(&w);
  return mica_bytes_take(&text);
}
