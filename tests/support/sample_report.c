#include "support/sample_report.h"

#include <stdio.h>
#include <string.h>

const char *const sample_names[SAMPLE_CLASSES] = {"T-shirt", "trouser",   "pullover", "dress",
                                                  "coat",    "sandal",    "shirt",    "sneaker",
                                                  "bag",     "ankle boot"};

static double normal(uint64_t stream, uint64_t i) {
  return mica_random_normal(mica_key_fold(mica_key_seed(7), stream), i);
}

mica_picture sample_picture(uint8_t pixels[784], int32_t group, uint64_t seed) {
  const double turn = normal(seed, 0) * 0.25, size = 7 + normal(seed, 1);
  for (int y = 0; y < 28; y++)
    for (int x = 0; x < 28; x++) {
      const double u = (x - 13.5) * cos(turn) - (y - 13.5) * sin(turn);
      const double v = (x - 13.5) * sin(turn) + (y - 13.5) * cos(turn);
      const double angle = atan2(v, u), r = sqrt(u * u + v * v);
      const double edge = size * (1 + 0.3 * cos((group % 5 + 2) * angle)) * (group < 5 ? 1 : 0.8);
      const double shade = 200 - 6 * r + (group % 3) * 20;
      pixels[y * 28 + x] = r < edge ? (uint8_t)fmin(fmax(shade, 0), 255) : 0;
    }
  return (mica_picture){pixels, 28, 28, 1};
}

static mica_status add_and_free(mica_report *report, mica_status status, mica_figure *figure,
                                const char *caption) {
  if (!status) status = mica_report_figure(report, figure, caption);
  mica_figure_free(figure);
  return status;
}

static mica_status add_curves(mica_report *report) {
  enum { N = 60, STEPS = 3000 };
  static double train[STEPS], epoch[N], validation[N], low[N], high[N];
  for (int i = 0; i < STEPS; i++)
    train[i] = 2.3 * exp(-i / 350.) + 0.18 + 0.06 * normal(1, (uint64_t)i) * exp(-i / 2000.);
  train[1200] = NAN;
  for (int i = 0; i < N; i++) {
    epoch[i] = (i + 1) * STEPS / (double)N;
    validation[i] = 2.2 * exp(-epoch[i] / 380.) + 0.24 + 0.01 * normal(2, (uint64_t)i);
    low[i] = validation[i] - 0.05;
    high[i] = validation[i] + 0.05;
  }
  const mica_series series[] = {
      {"training", NULL, train, NULL, NULL, STEPS},
      {"validation, with a 95 % interval", epoch, validation, low, high, N}};
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  o.title = "Loss";
  o.width = 760;
  o.x.label = "step";
  o.y.label = "cross-entropy (log scale)";
  o.y.scale = MICA_AXIS_LOG;
  mica_figure *figure = NULL;
  mica_status status = mica_figure_line_chart(series, 2, &o, &figure);
  status = add_and_free(report, status, figure,
                        "Training loss of every step; validation after each epoch.");
  if (status) return status;

  static double rate[N];
  for (int i = 0; i < N; i++)
    rate[i] = 1e-3 * (i < 5 ? (i + 1) / 5. : 0.5 + 0.5 * cos(3.14159 * (i - 5) / 55));
  const mica_series schedule = {NULL, epoch, rate, NULL, NULL, N};
  mica_line_chart_options r = MICA_LINE_CHART_OPTIONS;
  r.title = "Learning rate";
  r.width = 760;
  r.height = 220;
  r.x.label = "step";
  figure = NULL;
  status = mica_figure_line_chart(&schedule, 1, &r, &figure);
  return add_and_free(report, status, figure, NULL);
}

static mica_status add_confusion(mica_report *report) {
  int64_t counts[SAMPLE_CLASSES * SAMPLE_CLASSES];
  for (int r = 0; r < SAMPLE_CLASSES; r++)
    for (int k = 0; k < SAMPLE_CLASSES; k++) {
      const double n =
          r == k ? 930 + 40 * normal(3, (uint64_t)r) : 6 * normal(4, (uint64_t)(r * 10 + k)) - 3;
      counts[r * SAMPLE_CLASSES + k] = n < 0 ? 0 : (int64_t)n;
    }
  counts[0 * 10 + 6] = 96;
  counts[6 * 10 + 0] = 121;
  counts[2 * 10 + 4] = 61;
  mica_figure *figure = NULL;
  mica_confusion_options o = MICA_CONFUSION_OPTIONS;
  o.title = "Which class is taken for which";
  mica_status status = mica_figure_confusion(counts, sample_names, SAMPLE_CLASSES, &o, &figure);
  return add_and_free(report, status, figure,
                      "Blue is right, orange is wrong; {test_accuracy} are right over all.");
}

static mica_status add_map(mica_report *report) {
  enum { N = 900 };
  static double x[N], y[N];
  static int32_t group[N];
  static uint8_t pixels[N][784];
  static mica_picture picture[N];
  static char label[N][40];
  static const char *labels[N];
  for (int i = 0; i < N; i++) {
    group[i] = i % SAMPLE_CLASSES;
    x[i] = 6 * cos(group[i] * 0.7) + normal(5, (uint64_t)i) * 0.9;
    y[i] = 5 * sin(group[i] * 1.3) + normal(6, (uint64_t)i) * 0.9;
    picture[i] = sample_picture(pixels[i], group[i], (uint64_t)i + 100);
    snprintf(label[i], sizeof label[i], "%s, number %d", sample_names[group[i]], i);
    labels[i] = label[i];
  }
  mica_scatter_options o = MICA_SCATTER_OPTIONS;
  o.title = "Features in two dimensions";
  o.width = 900;
  o.height = 540;
  o.axes = 0;
  o.class_names = sample_names;
  o.labels = labels;
  o.pictures = picture;
  o.shown = 80;
  mica_figure *figure = NULL;
  mica_status status = mica_figure_scatter(x, y, group, N, SAMPLE_CLASSES, &o, &figure);
  return add_and_free(report, status, figure,
                      "Two principal components. Point at a mark to see its picture.");
}

static mica_status add_hardest(mica_report *report) {
  enum { N = 16 };
  static uint8_t pixels[N][784];
  static char caption[N][40], detail[N][40];
  mica_tile tiles[N];
  for (int i = 0; i < N; i++) {
    snprintf(caption[i], sizeof caption[i], "%s", sample_names[i % 10]);
    snprintf(detail[i], sizeof detail[i], "%s %d%%", sample_names[(i * 3 + 6) % 10], 99 - i);
    tiles[i] = (mica_tile){sample_picture(pixels[i], i % 10, (uint64_t)i + 5000), caption[i],
                           detail[i], i % 5 == 4 ? MICA_MARK_RIGHT : MICA_MARK_WRONG};
  }
  mica_figure *figure = NULL;
  mica_status status = mica_figure_image_grid(tiles, N, NULL, &figure);
  return add_and_free(report, status, figure,
                      "The most confident errors: the true class, then what was said.");
}

static mica_status add_unknown(mica_report *report) {
  enum { N = 2000 };
  static double known[N], unknown[N], score[2 * N], weak[2 * N];
  static uint8_t positive[2 * N];
  for (int i = 0; i < N; i++) {
    known[i] = 0.82 + 0.07 * normal(8, (uint64_t)i);
    unknown[i] = 0.58 + 0.1 * normal(9, (uint64_t)i);
    score[i] = known[i];
    score[N + i] = unknown[i];
    weak[i] = known[i] + 0.2 * normal(10, (uint64_t)i);
    weak[N + i] = unknown[i] + 0.2 * normal(11, (uint64_t)i);
    positive[i] = 1;
  }
  const mica_sample samples[] = {{"known classes", known, N}, {"never seen", unknown, N}};
  mica_histogram_options h = MICA_HISTOGRAM_OPTIONS;
  h.title = "Similarity to the nearest prototype";
  h.x.label = "cosine";
  h.threshold = 0.7;
  mica_figure *figure = NULL;
  mica_status status = mica_figure_histogram(samples, 2, &h, &figure);
  status = add_and_free(report, status, figure,
                        "What lies left of the threshold is answered with \"none of these\".");
  if (status) return status;
  const mica_roc curves[] = {{"prototypes", score, positive, 2 * N},
                             {"logit", weak, positive, 2 * N}};
  mica_roc_options o = MICA_ROC_OPTIONS;
  o.title = "Known against never seen";
  double areas[2];
  figure = NULL;
  status = mica_figure_roc(curves, 2, &o, areas, &figure);
  if (!status)
    status = mica_report_number(report, "unknown_auroc", areas[0], NULL, "AUROC, never seen");
  if (!status)
    status = mica_report_number(report, "unknown_share", 0.871, "fraction", "never seen, refused");
  return add_and_free(report, status, figure, NULL);
}

static mica_status add_comparison(mica_report *report) {
  static const char *const names[] = {"logistic regression", "k nearest neighbours",
                                      "ridge regression", "prototypes (cosine)",
                                      "pixels, nearest neighbour"};
  static const double value[] = {0.923, 0.909, 0.897, 0.884, 0.812};
  static const double low[] = {0.917, 0.903, 0.891, 0.877, 0.804},
                      high[] = {0.929, 0.915, 0.903, 0.891, 0.82};
  mica_bar_chart_options o = MICA_BAR_CHART_OPTIONS;
  o.title = "Test accuracy";
  o.reference = 0.1;
  o.reference_name = "chance";
  mica_figure *figure = NULL;
  mica_status status = mica_figure_bar_chart(names, value, low, high, 5, 1, &o, &figure);
  status = add_and_free(report, status, figure, "With 95 % intervals of Wilson.");
  mica_table *table = NULL;
  if (!status) status = mica_table_create(&table);
  if (!status) status = mica_table_column(table, "estimator", MICA_ALIGN_LEFT);
  if (!status) status = mica_table_column(table, "accuracy", MICA_ALIGN_RIGHT);
  if (!status) status = mica_table_column(table, "fit, seconds", MICA_ALIGN_RIGHT);
  if (!status) status = mica_table_column(table, "bytes", MICA_ALIGN_RIGHT);
  for (int i = 0; !status && i < 5; i++) {
    status = mica_table_text(table, names[i]);
    if (!status) status = mica_table_number(table, value[i], 3);
    if (!status) status = mica_table_number(table, 0.2 * (5 - i) * (5 - i), 2);
    if (!status) status = mica_table_integer(table, 1 << (10 + 3 * i));
  }
  if (!status)
    status = mica_report_table(report, "estimators", table, "The same features for all.");
  mica_table_free(table);
  if (status) return status;
  static const double grouped[] = {0.91, 0.93, 0.88, 0.9, 0.84, NAN};
  static const char *const shots[] = {"all classes", "seen often", "five examples"};
  static const char *const bars[] = {"frozen", "fine-tuned"};
  mica_bar_chart_options g = MICA_BAR_CHART_OPTIONS;
  g.title = "Frozen and fine-tuned";
  g.bar_names = bars;
  g.value.label = "accuracy";
  figure = NULL;
  status = mica_figure_bar_chart(shots, grouped, NULL, NULL, 3, 2, &g, &figure);
  return add_and_free(report, status, figure, NULL);
}

static mica_status add_heat_maps(mica_report *report) {
  double small[8 * 8], large[40 * 64];
  char text[8][16];
  const char *names[8];
  for (int i = 0; i < 64; i++) small[i] = i / 8 == i % 8 ? 1 : 0.8 * sin(i * 1.7) * cos(i * 0.31);
  for (int i = 0; i < 40 * 64; i++) large[i] = exp(-pow(i % 64 - 20 - i / 64 * 0.6, 2) / 90.);
  for (int i = 0; i < 8; i++) {
    snprintf(text[i], sizeof text[i], "layer %d", i);
    names[i] = text[i];
  }
  small[11] = NAN;
  mica_heat_map_options o = MICA_HEAT_MAP_OPTIONS;
  o.title = "Agreement of layers";
  o.row_names = o.column_names = names;
  o.diverging = 1;
  o.digits = 2;
  mica_figure *figure = NULL;
  mica_status status = mica_figure_heat_map(small, 8, 8, &o, &figure);
  status = add_and_free(report, status, figure, NULL);
  if (status) return status;
  mica_heat_map_options l = MICA_HEAT_MAP_OPTIONS;
  l.title = "Attention of one head";
  l.row_label = "query";
  l.column_label = "key";
  figure = NULL;
  status = mica_figure_heat_map(large, 40, 64, &l, &figure);
  return add_and_free(report, status, figure, NULL);
}

static mica_status add_record(mica_report *report) {
  static const char *const argv[] = {"mica",     "train", "resnet:depth=20", "--data", "my photos/",
                                     "--epochs", "5"};
  mica_run_record *record;
  mica_status status = mica_run_record_create(&record);
  if (status) return status;
  status = mica_run_record_command(record, 7, argv);
  if (!status) status = mica_run_record_integer(record, "seed", 1);
  if (!status)
    status = mica_run_record_text(
        record, "data.sha256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
  if (!status) status = mica_run_record_environment(record);
  if (!status) status = mica_report_record(report, record);
  mica_run_record_free(record);
  return status;
}

static mica_status fill(mica_report *report) {
  mica_status status = mica_report_interval(report, "test_accuracy", 0.9234, 0.918, 0.9285,
                                            "fraction", "test accuracy");
  if (!status)
    status = mica_report_number(report, "added_class_accuracy", 0.941, "fraction",
                                "accuracy on added classes");
  if (!status) status = mica_report_number(report, "seconds", 192.4, "seconds", "time in all");
  if (!status) status = mica_report_number(report, "model_bytes", 1.12e6, "bytes", "model file");
  if (!status) status = mica_report_number(report, "train_images", 60000, "count", NULL);
  if (!status) status = mica_report_section(report, "Training");
  if (!status)
    status = mica_report_paragraph(
        report, "A residual network of 20 layers learned from {train_images} pictures "
                "in {seconds} and gets {test_accuracy} of the test pictures right.");
  if (!status) status = add_curves(report);
  if (!status) status = mica_report_section(report, "Errors");
  if (!status) status = add_confusion(report);
  if (!status) status = add_hardest(report);
  if (!status) status = mica_report_section(report, "Features");
  if (!status) status = add_map(report);
  if (!status) status = mica_report_section(report, "Estimators");
  if (!status) status = add_comparison(report);
  if (!status) status = mica_report_section(report, "None of these");
  if (!status) status = add_unknown(report);
  if (!status) status = mica_report_section(report, "Inside");
  if (!status) status = add_heat_maps(report);
  if (!status)
    status = mica_report_verbatim(report, "conv1   3x3   16\nlayer1  3 blocks <of> two & more");
  if (!status) status = add_record(report);
  return status;
}

mica_status sample_report(mica_report **out) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  o.title = "Fashion-MNIST, eight classes and two more";
  o.subtitle = "A sample on synthetic data";
  mica_report *report;
  mica_status status = mica_report_create(&o, &report);
  if (status) return status;
  status = fill(report);
  if (status) {
    mica_report_free(report);
    return status;
  }
  *out = report;
  return MICA_OK;
}
