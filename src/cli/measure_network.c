/* `mica measure MODEL`: the gains of its batch norms; with pictures also rectifiers that never fire
 * and the accuracy that is left without the small gains. */
#include "cli/features.h"
#include "cli/measure.h"

#include <mica/network_analysis.h>

#include <math.h>
#include <string.h>

enum { THRESHOLDS = 3, SHARES = 9 };
static const double threshold[THRESHOLDS] = {0.01, 0.05, 0.1};
static const double share[SHARES] = {0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9};

typedef struct job {
  const cli_args *a;
  mica_engine *engine;
  mica_model *model;
  mica_dataset *ds;
  mica_stream stream;
  mica_gains gains;
  mica_rectifiers rectifiers;
  mica_prune_point point[SHARES];
  bool data;
} job;

bool measure_takes_model(const char *path) {
  const size_t n = strlen(path);
  return n > 5 && strcmp(path + n - 5, ".mica") == 0;
}

/* The test part; where there is none, the training part. */
static mica_status look_at(job *j, const char *path) {
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  mica_status status = open_pictures(j->a, j->model, path, NULL, 0, &j->ds);
  if (status != MICA_OK) return status;
  const bool test = mica_dataset_part_count(j->ds, MICA_PART_TEST) > 0;
  status = mica_dataset_stream_create(j->ds, test ? MICA_PART_TEST : MICA_PART_TRAIN,
                                      mica_model_preprocess(j->model), &o, &j->stream);
  if (status == MICA_OK)
    status = mica_rectifiers_of(mica_model_net(j->model), &j->stream, &j->rectifiers);
  if (status == MICA_OK)
    status = mica_prune_curve(mica_model_net(j->model), &j->stream, share, SHARES, NULL, j->point);
  j->data = status == MICA_OK;
  return status;
}

static void tell(const job *j) {
  const bool json = cli_on(j->a, "--json");
  const mica_gains *g = &j->gains;
  if (json)
    printf("{\"layers\": %lld, \"channels\": %lld", (long long)g->layers, (long long)g->n);
  else
    printf("batch norm: %lld layers, %lld channels\n", (long long)g->layers, (long long)g->n);
  for (int i = 0; i < THRESHOLDS; i++) {
    const double below = mica_share_below(g->gain, g->n, threshold[i]);
    if (json)
      printf(", \"gains_below_%g\": %.9g", threshold[i], below);
    else
      printf("gains below %-5g %6.2f %%\n", threshold[i], 100 * below);
  }
  const mica_rectifiers *r = &j->rectifiers;
  if (j->data && json)
    printf(", \"dead\": %lld, \"rectified_channels\": %lld, \"zeros\": %.9g", (long long)r->dead,
           (long long)r->channels, r->zeros);
  else if (j->data)
    printf(
        "rectifiers: %lld of %lld channels never fire on %lld pictures; %.2f %% of results are 0\n",
        (long long)r->dead, (long long)r->channels, (long long)r->examples, 100 * r->zeros);
  const bool classifies = j->data && !isnan(j->point[0].accuracy);
  if (classifies && !json) printf("accuracy without the smallest gains:\n");
  for (int i = 0; classifies && i < SHARES; i++)
    if (json)
      printf("%s{\"share\": %.9g, \"threshold\": %.9g, \"accuracy\": %.9g}%s",
             i ? ", " : ", \"curve\": [", j->point[i].share, j->point[i].threshold,
             j->point[i].accuracy, i + 1 < SHARES ? "" : "]");
    else
      printf("  %5.1f %% of the channels (below %.4g)  %6.2f %%\n", 100 * j->point[i].share,
             j->point[i].threshold, 100 * j->point[i].accuracy);
  if (json) printf("}\n");
}

/* ---- the page ---- */

static mica_status histogram(mica_report *report, const char *title, const double *v, int64_t n) {
  const mica_sample sample = {NULL, v, n};
  mica_histogram_options o = MICA_HISTOGRAM_OPTIONS;
  mica_figure *figure = NULL;
  o.x.label = title;
  mica_status status = mica_figure_histogram(&sample, 1, &o, &figure);
  if (status == MICA_OK) status = mica_report_section(report, title);
  if (status == MICA_OK) status = mica_report_figure(report, figure, NULL);
  mica_figure_free(figure);
  return status;
}

static mica_status curve(const job *j, mica_report *report) {
  double x[SHARES], y[SHARES];
  for (int i = 0; i < SHARES; i++) {
    x[i] = j->point[i].share;
    y[i] = j->point[i].accuracy;
  }
  const mica_series series = {NULL, x, y, NULL, NULL, SHARES};
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  mica_figure *figure = NULL;
  o.x.label = "share of the channels whose gain is set to 0, the smallest first";
  o.y.label = "accuracy";
  mica_status status = mica_figure_line_chart(&series, 1, &o, &figure);
  if (status == MICA_OK) status = mica_report_section(report, "Without the small gains");
  if (status == MICA_OK) status = mica_report_figure(report, figure, NULL);
  mica_figure_free(figure);
  return status;
}

static mica_status write_page(const job *j, const char *folder) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_report *report = NULL;
  o.title = "What is in the network";
  o.subtitle = j->a->operand[0];
  mica_status status = mica_report_create(&o, &report);
  if (status == MICA_OK)
    status = mica_report_number(report, "channels", (double)j->gains.n, "count", "channels");
  if (status == MICA_OK)
    status = mica_report_number(report, "small", mica_share_below(j->gains.gain, j->gains.n, 0.01),
                                "fraction", "gains below 0.01");
  if (status == MICA_OK) status = histogram(report, "Gains", j->gains.gain, j->gains.n);
  if (status == MICA_OK) status = histogram(report, "Shifts", j->gains.shift, j->gains.n);
  if (status == MICA_OK && j->data) status = curve(j, report);
  if (status == MICA_OK) status = mica_report_write(report, folder);
  mica_report_free(report);
  return status;
}

static int measure(job *j) {
  const cli_args *a = j->a;
  const char *data = cli_text(a, "--data"), *folder = cli_text(a, "--report");
  if (a->n_operands > 1) return cli_usage(a, "one network at a time");
  mica_status status = cli_engine(a, &j->engine);
  if (status == MICA_OK) status = open_model(j->engine, a->operand[0], &j->model);
  if (status == MICA_OK) status = whole_pictures(j->model);
  if (status == MICA_OK)
    status = mica_gains_of(mica_net_params(mica_model_net(j->model)), &j->gains);
  if (status == MICA_OK && data) status = look_at(j, data);
  if (status == MICA_OK && folder) status = write_page(j, folder);
  if (status != MICA_OK) return cli_failed(a);
  tell(j);
  if (folder) {
    char path[4200];
    snprintf(path, sizeof path, "%s/report.html", folder);
    cli_result(a, "report", path);
  }
  return EXIT_OK;
}

int measure_network(const cli_args *a) {
  job j = {.a = a};
  cli_catch_interrupt();
  const int code = measure(&j);
  if (j.stream.ctx) mica_dataset_stream_free(&j.stream);
  mica_gains_free(&j.gains);
  mica_rectifiers_free(&j.rectifiers);
  mica_dataset_free(j.ds);
  mica_model_free(j.model);
  mica_engine_free(j.engine);
  return code;
}
