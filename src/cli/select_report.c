/* The page of `mica select`: how scores spread, what is kept of each class, pictures of the hardest
 * and the easiest examples, and how well scores find labels that are wrong. */
#include "cli/select.h"

#include "base/file.h"

#include <math.h>
#include <string.h>

#define SHOWN 32 /* pictures of each grid */

/* A figure into the section, and into a file beside the page. */
static mica_status place(mica_report *report, const char *folder, const char *name,
                         mica_figure *figure, const char *caption) {
  char *path = mica_path_join(folder, name);
  mica_status status = path ? mica_report_figure(report, figure, caption) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_make_folders(folder);
  if (status == MICA_OK) status = mica_figure_save(figure, path);
  mica_free(path);
  mica_figure_free(figure);
  return status;
}

/* ---- numbers ---- */

static mica_status numbers(const select_job *job, mica_report *report) {
  mica_noise_report noise;
  mica_status status =
      mica_report_number(report, "examples", (double)job->n, "count", "Training examples");
  if (status == MICA_OK)
    status = mica_report_number(report, "kept", (double)job->kept, "count", "Kept");
  if (status == MICA_OK)
    status = mica_report_number(report, "networks", (double)job->sources, "count", "Networks");
  if (status == MICA_OK && isfinite(job->agreement))
    status = mica_report_number(report, "agreement", job->agreement, NULL,
                                "Rank correlation of their scores");
  if (status == MICA_OK && select_finds_wrong(job, &noise)) {
    status = mica_report_interval(report, "wrong_auroc", noise.auroc.value, noise.auroc.interval.lo,
                                  noise.auroc.interval.hi, NULL, "AUROC for wrong labels");
    if (status == MICA_OK)
      status = mica_report_number(report, "wrong_precision", noise.precision, "fraction",
                                  "Wrong among as many hardest");
  }
  return status;
}

/* ---- the spread of scores ---- */

/* Scores of those with the flag, then of those without, into out [n]; how many have it. */
static int64_t part_by(const select_job *job, const bool *flag, double *out) {
  int64_t with = 0, without = 0;
  for (int64_t i = 0; i < job->n; i++) with += flag[i];
  for (int64_t i = 0, k = 0; i < job->n; i++)
    if (flag[i])
      out[k++] = job->score[i];
    else
      out[with + without++] = job->score[i];
  return with;
}

static mica_status spread(const select_job *job, const char *folder, mica_report *report,
                          const bool *flag, const char *with, const char *without, const char *file,
                          const char *caption) {
  double *value = mica_calloc((size_t)job->n + 1, sizeof *value);
  if (!value) return MICA_ERR_MEMORY;
  const int64_t m = part_by(job, flag, value);
  const mica_sample sample[] = {{with, value, m}, {without, value + m, job->n - m}};
  mica_histogram_options o = MICA_HISTOGRAM_OPTIONS;
  mica_figure *figure = NULL;
  o.x.label = job->what;
  mica_status status = mica_figure_histogram(sample, m < job->n ? 2 : 1, &o, &figure);
  mica_free(value);
  return status == MICA_OK ? place(report, folder, file, figure, caption) : status;
}

static mica_status scores_section(const select_job *job, const char *folder, mica_report *report) {
  int64_t infinite = 0;
  char caption[160] = "Scores of what is kept and of what is left out, as shares of each.";
  for (int64_t i = 0; i < job->n; i++) infinite += isinf(job->score[i]) != 0;
  if (infinite)
    snprintf(caption, sizeof caption,
             "Scores, as shares of each. %lld examples that were never learnt stand beyond all.",
             (long long)infinite);
  const mica_status status = mica_report_section(report, "Scores");
  return status == MICA_OK
             ? spread(job, folder, report, job->is_kept, "kept", "left out", "scores.svg", caption)
             : status;
}

/* ---- classes ---- */

static mica_status classes_section(const select_job *job, mica_report *report) {
  mica_table *table = NULL;
  mica_status status = mica_report_section(report, "Classes");
  if (status == MICA_OK) status = select_table(job, &table);
  if (status == MICA_OK)
    status = mica_report_table(report, "classes", table,
                               job->choice.balanced
                                   ? "Each class keeps the same share."
                                   : "Hard examples are not spread evenly over the classes.");
  mica_table_free(table);
  return status;
}

/* ---- pictures ---- */

/* Those from place `from` of the order on, in steps of `by`. */
static mica_status pictures(const select_job *job, mica_report *report, const char *title,
                            int64_t from, int64_t by, const char *caption) {
  mica_shown_item shown[SHOWN];
  char detail[SHOWN][64];
  int64_t n = 0;
  for (int64_t r = from; r >= 0 && r < job->n && n < SHOWN; r += by, n++) {
    const int64_t i = job->order[r], truth = job->item[i];
    const bool wrong = job->wrong && job->wrong[i];
    const int64_t *right =
        mica_tensor_data(mica_dataset_true_labels(job->data.pictures)); /* where they are kept */
    snprintf(detail[n], sizeof detail[n], "%.3g%s%.40s", job->score[i], wrong ? ", is " : "",
             wrong && right[truth] != job->label[i]
                 ? mica_dataset_class(job->data.pictures, right[truth])
             : wrong ? "wrong"
                     : "");
    shown[n] =
        (mica_shown_item){job->item[i], mica_dataset_class(job->data.pictures, job->label[i]),
                          detail[n], wrong ? MICA_MARK_WRONG : MICA_MARK_NONE};
  }
  return mica_report_pictures(report, title, job->data.pictures, n, shown, caption);
}

static mica_status pictures_sections(const select_job *job, mica_report *report) {
  const char *under = job->wrong ? "Each with its label and its score; framed where the label is "
                                   "wrong."
                                 : "Each with its label and its score.";
  mica_status status = pictures(job, report, "Hardest examples", 0, 1, under);
  if (status == MICA_OK) status = pictures(job, report, "Easiest examples", job->n - 1, -1, under);
  return status;
}

/* ---- wrong labels ---- */

static mica_status precision_figure(const select_job *job, const char *folder,
                                    mica_report *report) {
  double x[101], y[101];
  int64_t found = 0, points = 0;
  for (int64_t r = 0, next = 1; r < job->n && points < 101; r++) {
    found += job->wrong[job->order[r]];
    if ((r + 1) * 100 < next * job->n) continue;
    x[points] = 100 * (double)(r + 1) / (double)job->n;
    y[points++] = (double)found / (double)(r + 1);
    while (next * job->n <= (r + 1) * 100) next++;
  }
  const mica_series series = {NULL, x, y, NULL, NULL, points};
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  mica_figure *figure = NULL;
  o.x.label = "hardest examples, %";
  o.y.label = "share with a wrong label";
  o.y.low = 0;
  o.y.high = 1;
  o.markers = 0;
  const mica_status status = mica_figure_line_chart(&series, 1, &o, &figure);
  return status == MICA_OK ? place(report, folder, "precision.svg", figure,
                                   "Precision of the hardest examples as a list of suspects.")
                           : status;
}

static mica_status wrong_section(const select_job *job, const char *folder, mica_report *report) {
  mica_noise_report noise;
  if (!select_finds_wrong(job, &noise)) return MICA_OK;
  mica_figure *figure = NULL;
  const mica_roc roc = {cli_text(job->a, "--score"), job->score, (const uint8_t *)job->wrong,
                        job->n};
  mica_status status = mica_report_section(report, "Wrong labels");
  if (status == MICA_OK)
    status = spread(job, folder, report, job->wrong, "wrong label", "right label", "wrong.svg",
                    "Scores of examples whose label is wrong, and of the others.");
  if (status == MICA_OK) status = mica_figure_roc(&roc, 1, NULL, NULL, &figure);
  if (status == MICA_OK)
    status = place(report, folder, "roc.svg", figure, "Wrong labels found against false alarms.");
  return status == MICA_OK ? precision_figure(job, folder, report) : status;
}

/* ---- the page ---- */

static mica_status record_of(const select_job *job, mica_run_record **out) {
  const cli_args *a = job->a;
  mica_status status = mica_run_record_create(out);
  if (status == MICA_OK) status = mica_run_record_text(*out, "command", a->command);
  if (status == MICA_OK) status = mica_run_record_text(*out, "data", job->path);
  if (status == MICA_OK) status = mica_run_record_text(*out, "score", job->what);
  if (status == MICA_OK) status = mica_run_record_text(*out, "seed", cli_text(a, "--seed"));
  if (status == MICA_OK) status = train_change_record(a, *out);
  return status == MICA_OK ? mica_run_record_environment(*out) : status;
}

mica_status select_report(const select_job *job, const char *folder) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_report *report = NULL;
  mica_run_record *record = NULL;
  o.title = "Training examples by score";
  o.subtitle = job->what;
  mica_status status = mica_report_create(&o, &report);
  if (status == MICA_OK) status = numbers(job, report);
  if (status == MICA_OK) status = scores_section(job, folder, report);
  if (status == MICA_OK) status = classes_section(job, report);
  if (status == MICA_OK && job->data.pictures) status = pictures_sections(job, report);
  if (status == MICA_OK) status = wrong_section(job, folder, report);
  if (status == MICA_OK) status = record_of(job, &record);
  if (status == MICA_OK) status = mica_report_record(report, record);
  if (status == MICA_OK) status = mica_report_write(report, folder);
  mica_run_record_free(record);
  mica_report_free(report);
  return status;
}
