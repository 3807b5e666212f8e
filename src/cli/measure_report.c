/* The page of `mica measure`: the numbers in a table, a figure of all else that was found, and a
 * map of the rows. */
#include "cli/measure.h"

#include "base/file.h"

#include <string.h>

#define MAP_POINTS 1000
#define MAP_GROUPS 20 /* more classes than this have no names in the map's legend */

/* A figure into the section, and into a file beside the page. */
static mica_status place(mica_report *report, const char *folder, const char *name,
                         mica_figure *figure, const char *caption) {
  char file[128];
  snprintf(file, sizeof file, "%s.svg", name);
  char *path = mica_path_join(folder, file);
  mica_status status = path ? mica_report_figure(report, figure, caption) : MICA_ERR_MEMORY;
  if (!status) status = mica_make_folders(folder);
  if (!status) status = mica_figure_save(figure, path);
  mica_free(path);
  mica_figure_free(figure);
  return status;
}

/* ---- figures ---- */

static mica_status series(const mica_finding *f, mica_figure **out) {
  const mica_series s = {NULL, NULL, f->values, NULL, NULL, f->columns};
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  o.x.label = "number";
  o.y.label = f->meaning;
  o.y.scale = strcmp(f->name, "spectrum") == 0 ? MICA_AXIS_LOG : MICA_AXIS_LINEAR;
  return mica_figure_line_chart(&s, 1, &o, out);
}

static mica_status sample(const mica_finding *f, mica_figure **out) {
  const mica_sample s = {NULL, f->values, f->columns};
  mica_histogram_options o = MICA_HISTOGRAM_OPTIONS;
  o.x.label = f->meaning;
  return mica_figure_histogram(&s, 1, &o, out);
}

static mica_status bars(const measure_job *job, const mica_finding *f, mica_figure **out) {
  mica_bar_chart_options o = MICA_BAR_CHART_OPTIONS;
  o.value.label = f->meaning;
  return mica_figure_bar_chart((const char *const *)job->names, f->values, NULL, NULL, f->columns,
                               1, &o, out);
}

static mica_status matrix(const measure_job *job, const mica_finding *f, mica_figure **out) {
  mica_heat_map_options o = MICA_HEAT_MAP_OPTIONS;
  o.row_names = o.column_names = f->columns <= 40 ? (const char *const *)job->names : NULL;
  o.digits = f->columns <= 16 ? 2 : 0;
  o.diverging = 1;
  return mica_figure_heat_map(f->values, (int32_t)f->rows, (int32_t)f->columns, &o, out);
}

/* Numbers stand in the table, and what is too much for a figure nowhere. */
static mica_status draw(const measure_job *job, const mica_finding *f, mica_figure **out) {
  *out = NULL;
  switch (f->form) {
  case MICA_FINDING_SERIES: return series(f, out);
  case MICA_FINDING_SAMPLE: return sample(f, out);
  case MICA_FINDING_BY_CLASS: return job->label && f->columns <= 200 ? bars(job, f, out) : MICA_OK;
  case MICA_FINDING_MATRIX: return job->label && f->columns <= 512 ? matrix(job, f, out) : MICA_OK;
  default: return MICA_OK;
  }
}

/* ---- sections ---- */

/* Upper-case first letter, underscores as blanks. */
static const char *title(const char *name, char *buf, size_t n) {
  snprintf(buf, n, "%s", name);
  for (char *p = buf; *p; p++)
    if (*p == '_') *p = ' ';
  if (*buf >= 'a' && *buf <= 'z') *buf = (char)(*buf - 'a' + 'A');
  return buf;
}

/* The numbers of one measure. Keys are unique: the measure's number stands in front. */
static mica_status numbers(const mica_findings *findings, int i, mica_report *report) {
  mica_status status = MICA_OK;
  char key[96], label[192], head[80];
  for (int64_t k = 0; k < mica_findings_count(findings) && !status; k++) {
    const mica_finding *f = mica_findings_at(findings, k);
    if (f->form != MICA_FINDING_NUMBER) continue;
    snprintf(key, sizeof key, "m%d.%.64s", i + 1, f->name);
    snprintf(label, sizeof label, "%s: %.100s", title(f->name, head, sizeof head), f->meaning);
    status = mica_report_number(report, key, f->values[0], NULL, label);
  }
  return status;
}

static mica_status section(const measure_job *job, int i, const char *folder, mica_report *report) {
  mica_status status = mica_report_section(report, job->spec[i]);
  if (!status) status = numbers(job->findings[i], i, report);
  for (int64_t k = 0; k < mica_findings_count(job->findings[i]) && !status; k++) {
    const mica_finding *f = mica_findings_at(job->findings[i], k);
    mica_figure *figure = NULL;
    char name[96];
    if (i)
      snprintf(name, sizeof name, "%s_%d", f->name, i + 1);
    else
      snprintf(name, sizeof name, "%s", f->name);
    status = draw(job, f, &figure);
    if (!status && figure) status = place(report, folder, name, figure, f->meaning);
  }
  return status;
}

/* Rows in the plane, neighbours near each other: a sample of them, evenly. */
static mica_status map_of(const measure_job *job, const mica_tensor *x, const char *name,
                          const char *folder, mica_report *report) {
  const int64_t n = mica_tensor_dim(x, 0), d = mica_tensor_dim(x, 1);
  const int64_t m = n < MAP_POINTS ? n : MAP_POINTS;
  float *rows = mica_realloc_array(NULL, (size_t)m, (size_t)d * sizeof *rows);
  double *y = mica_calloc((size_t)m, 4 * sizeof *y);
  int32_t *group = mica_calloc((size_t)m, sizeof *group);
  mica_status status = rows && y && group ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < m && !status; i++) {
    const int64_t from = i * n / m;
    memcpy(rows + i * d, (const float *)mica_tensor_data(x) + from * d, (size_t)d * sizeof *rows);
    group[i] = job->label ? (int32_t)job->label[from] : 0;
  }
  const mica_view view = mica_view_of(rows, MICA_F32, MICA_SHAPE(m, d));
  if (!status) status = mica_map_points(job->engine, &view, NULL, y, NULL);
  for (int64_t i = 0; i < m && !status; i++) {
    y[2 * m + i] = y[2 * i];
    y[3 * m + i] = y[2 * i + 1];
  }
  mica_scatter_options o = MICA_SCATTER_OPTIONS;
  mica_figure *figure = NULL;
  const bool coloured = job->label && job->classes <= 1000;
  o.axes = 0;
  if (coloured && job->classes <= MAP_GROUPS) o.class_names = (const char *const *)job->names;
  if (!status)
    status = mica_figure_scatter(y + 2 * m, y + 3 * m, coloured ? group : NULL, m,
                                 coloured ? (int32_t)job->classes : 1, &o, &figure);
  if (!status)
    status = place(report, folder, name, figure, "Rows in the plane, neighbours near each other.");
  mica_free(group);
  mica_free(y);
  mica_free(rows);
  return status;
}

static mica_status maps(const measure_job *job, const char *folder, mica_report *report) {
  mica_status status = mica_report_section(report, "Map");
  if (!status) status = map_of(job, job->x, "map", folder, report);
  if (!status && job->other) status = map_of(job, job->other, "map_other", folder, report);
  return status;
}

/* ---- the page ---- */

static mica_status record_of(const cli_args *a, mica_run_record **out) {
  mica_status status = mica_run_record_create(out);
  if (!status) status = mica_run_record_text(*out, "command", a->command);
  if (!status) status = mica_run_record_text(*out, "features", a->operand[0]);
  if (!status && a->n_operands > 1) status = mica_run_record_text(*out, "others", a->operand[1]);
  if (!status) status = mica_run_record_text(*out, "part", cli_text(a, "--part"));
  if (!status) status = mica_run_record_text(*out, "seed", cli_text(a, "--seed"));
  return status ? status : mica_run_record_environment(*out);
}

mica_status measure_report(const measure_job *job, const char *folder) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_report *report = NULL;
  mica_run_record *record = NULL;
  o.title = job->other ? "Two sets of features" : "Features";
  o.subtitle = job->a->operand[0];
  mica_status status = mica_report_create(&o, &report);
  if (!status)
    status =
        mica_report_number(report, "rows", (double)mica_tensor_dim(job->x, 0), "count", "Rows");
  if (!status)
    status = mica_report_number(report, "columns", (double)mica_tensor_dim(job->x, 1), "count",
                                "Columns");
  if (!status && job->label)
    status = mica_report_number(report, "classes", (double)job->classes, "count", "Classes");
  for (int i = 0; i < job->n && !status; i++) status = section(job, i, folder, report);
  if (!status) status = maps(job, folder, report);
  if (!status) status = record_of(job->a, &record);
  if (!status) status = mica_report_record(report, record);
  if (!status) status = mica_report_write(report, folder);
  mica_run_record_free(record);
  mica_report_free(report);
  return status;
}
