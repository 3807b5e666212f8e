/* mica/report.h: figures, tables, reports and run folders: what a run leaves for people to read.
 *
 * A figure is a finished piece of SVG: it is drawn when it is made, keeps nothing of its input, and
 * can be saved by itself or placed in a report any number of times. A report is one HTML file that
 * needs nothing beside it, with a summary.json written from the same numbers. A run folder holds
 * what a training run says while it lives: metrics.jsonl, a TensorBoard event file, config.json.
 *
 * All text given here may hold anything: it is escaped, bytes that are not UTF-8 and characters
 * that XML forbids become U+FFFD. Numbers are written with a point whatever the locale. NaN and
 * infinite values are gaps in a figure, "n/a" in a table, null in JSON. Every object belongs to one
 * thread at a time; strings and arrays are borrowed for the call only.
 *
 * Options structs are explained in mica/base.h's manner: start from the macro, or pass NULL.
 */
#ifndef MICA_REPORT_H
#define MICA_REPORT_H

#include <math.h>
#include <mica/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- figures ---- */

typedef struct mica_figure mica_figure;

/* NULL is fine; so it is for every _free of this header. */
MICA_API void mica_figure_free(mica_figure *figure);

/* The figure as a complete SVG document, NUL-terminated, owned by the figure; its length into
 * `length` unless NULL. Colours follow the reader's light or dark preference. */
MICA_API const char *mica_figure_svg(const mica_figure *figure, size_t *length);

/* Write the SVG document to `path`, replacing the file as a whole. */
MICA_API mica_status mica_figure_save(const mica_figure *figure, const char *path);

typedef enum mica_axis_scale { MICA_AXIS_LINEAR, MICA_AXIS_LOG } mica_axis_scale;

/* On a logarithmic axis values that are not positive are gaps. `low` and `high` NaN: from the data.
 */
typedef struct mica_axis {
  const char *label; /* NULL: none */
  mica_axis_scale scale;
  double low, high;
} mica_axis;
#define MICA_AXIS                                                                                  \
  { NULL, MICA_AXIS_LINEAR, NAN, NAN }

/* Widths and heights of figures are CSS pixels, 120 to 4000. */

/* Line chart. A long series is thinned to what its pixels can show (first, least, greatest and last
 * value of each pixel column). */
typedef struct mica_series {
  const char *name;         /* in the legend; NULL: none */
  const double *x;          /* n values; NULL: 0, 1, 2, ... */
  const double *y;          /* n values */
  const double *low, *high; /* n values each, the band of an interval; NULL: none */
  int64_t n;
} mica_series;

typedef struct mica_line_chart_options {
  uint32_t size;
  const char *title; /* NULL: none */
  int32_t width, height;
  mica_axis x, y;
  int32_t markers; /* 1: a mark at every point that is drawn; -1: for up to 40 points */
} mica_line_chart_options;
#define MICA_LINE_CHART_OPTIONS                                                                    \
  { sizeof(mica_line_chart_options), NULL, 640, 340, MICA_AXIS, MICA_AXIS, -1 }

/* Draw up to 100 series; without any finite point the plot says "no data", as those below do. */
MICA_API mica_status mica_figure_line_chart(const mica_series *series, int32_t n,
                                            const mica_line_chart_options *options,
                                            mica_figure **out);

/* An image of bytes, row-major, channels last: 1 grey, 3 RGB or 4 RGBA. At most 1024 x 1024:
 * figures are for thumbnails. pixels NULL: no picture. */
typedef struct mica_picture {
  const uint8_t *pixels;
  int32_t width, height, channels;
} mica_picture;

/* Scatter plot of n points. */
typedef struct mica_scatter_options {
  uint32_t size;
  const char *title;
  int32_t width, height;
  mica_axis x, y;
  const char *const *class_names; /* `classes` of them; NULL: no legend */
  const char *const *labels;      /* one for each point, shown on hover; NULL: none */
  const mica_picture *pictures; /* one for each point, shown beside the plot on hover; NULL: none */
  int32_t shown;                /* greatest number of pictures also drawn in the plot, where free */
  int32_t axes;                 /* 0: no ticks, for maps whose axes have no meaning */
} mica_scatter_options;
#define MICA_SCATTER_OPTIONS                                                                       \
  { sizeof(mica_scatter_options), NULL, 720, 480, MICA_AXIS, MICA_AXIS, NULL, NULL, NULL, 60, 1 }

/* Draw up to 20000 points, in colours and shapes. `group` gives each point's class, 0 to classes -
 * 1 of at most 1000 (NULL: all of class 0); -1 is drawn in grey. */
MICA_API mica_status mica_figure_scatter(const double *x, const double *y, const int32_t *group,
                                         int64_t n, int32_t classes,
                                         const mica_scatter_options *options, mica_figure **out);

/* Horizontal bars: n groups of `per_group` bars. values[i * per_group + j] is bar j of group i; low
 * and high (NULL, or NaN for one bar: none) are the ends of its error bar. */
typedef struct mica_bar_chart_options {
  uint32_t size;
  const char *title;
  int32_t width;                /* the height follows from the bars */
  mica_axis value;              /* linear: begins at 0 unless `low` says otherwise */
  const char *const *bar_names; /* `per_group` names for the legend; NULL: none */
  double reference;             /* a vertical line, such as chance; NaN: none */
  const char *reference_name;
  int32_t digits; /* significant digits of the value written at each bar; 0: none */
} mica_bar_chart_options;
#define MICA_BAR_CHART_OPTIONS                                                                     \
  { sizeof(mica_bar_chart_options), NULL, 640, MICA_AXIS, NULL, NAN, NULL, 3 }

/* Draw 0 to 1000 groups with a name each. */
MICA_API mica_status mica_figure_bar_chart(const char *const *names, const double *values,
                                           const double *low, const double *high, int64_t n,
                                           int32_t per_group, const mica_bar_chart_options *options,
                                           mica_figure **out);

/* Histograms of up to 8 samples over the same bins, as shares of each sample. */
typedef struct mica_sample {
  const char *name; /* in the legend; NULL: none */
  const double *values;
  int64_t n;
} mica_sample;

typedef struct mica_histogram_options {
  uint32_t size;
  const char *title;
  int32_t width, height;
  mica_axis x;
  int32_t bins;     /* 1 to 500; 0: by the rule of Freedman and Diaconis (1981), 8 to 60 */
  double threshold; /* a vertical line; NaN: none */
  const char *threshold_name;
} mica_histogram_options;
#define MICA_HISTOGRAM_OPTIONS                                                                     \
  { sizeof(mica_histogram_options), NULL, 640, 300, MICA_AXIS, 0, NAN, NULL }

/* Draw the samples; shares are of the finite values, the ends of the bins those of the x axis. */
MICA_API mica_status mica_figure_histogram(const mica_sample *samples, int32_t n,
                                           const mica_histogram_options *options,
                                           mica_figure **out);

/* Heat map of values[rows * columns], row-major, at most 512 x 512. */
typedef struct mica_heat_map_options {
  uint32_t size;
  const char *title;
  int32_t width; /* the height follows from the cells */
  const char *row_label, *column_label;
  const char *const *row_names;    /* `rows` of them; NULL: none */
  const char *const *column_names; /* `columns` of them; NULL: none */
  double low, high;                /* the ends of the colour scale; NaN: from the data */
  int32_t diverging;               /* 1: two colours around 0 */
  int32_t digits;                  /* significant digits written in each cell; 0: none */
} mica_heat_map_options;
#define MICA_HEAT_MAP_OPTIONS                                                                      \
  { sizeof(mica_heat_map_options), NULL, 560, NULL, NULL, NULL, NULL, NAN, NAN, 0, 3 }

/* Draw the map; cells that are not finite stay empty. */
MICA_API mica_status mica_figure_heat_map(const double *values, int32_t rows, int32_t columns,
                                          const mica_heat_map_options *options, mica_figure **out);

/* Confusion matrix: counts[truth * classes + predicted], at least 0. Cells show counts; the colour
 * is the share of the true class, what is right in one colour and what is wrong in another; the
 * last column is each class's share that is right. At most 200 classes. */
typedef struct mica_confusion_options {
  uint32_t size;
  const char *title;
  int32_t width;
} mica_confusion_options;
#define MICA_CONFUSION_OPTIONS                                                                     \
  { sizeof(mica_confusion_options), NULL, 620 }

/* Draw the matrix; `names` (classes of them) may be NULL. */
MICA_API mica_status mica_figure_confusion(const int64_t *counts, const char *const *names,
                                           int32_t classes, const mica_confusion_options *options,
                                           mica_figure **out);

/* Receiver operating characteristic. A score is higher for what should be positive; points with
 * equal scores share one step, so the area is the Mann-Whitney statistic with ties counted half.
 * Points whose score is NaN are left out. The area is written in the legend. */
typedef struct mica_roc {
  const char *name; /* in the legend; NULL: only the area */
  const double *score;
  const uint8_t *positive; /* 0 or 1 */
  int64_t n;
} mica_roc;

typedef struct mica_roc_options {
  uint32_t size;
  const char *title;
  int32_t width, height;
} mica_roc_options;
#define MICA_ROC_OPTIONS                                                                           \
  { sizeof(mica_roc_options), NULL, 480, 420 }

/* `areas` (n of them, may be NULL) receives the areas; NaN where one of the classes is empty. */
MICA_API mica_status mica_figure_roc(const mica_roc *curves, int32_t n,
                                     const mica_roc_options *options, double *areas,
                                     mica_figure **out);

/* Pictures in a grid with up to two lines of text under each. */
typedef enum mica_mark { MICA_MARK_NONE, MICA_MARK_RIGHT, MICA_MARK_WRONG } mica_mark;

typedef struct mica_tile {
  mica_picture picture;
  const char *caption; /* NULL: none */
  const char *detail;  /* smaller, NULL: none */
  mica_mark mark;      /* frames the picture */
} mica_tile;

typedef struct mica_image_grid_options {
  uint32_t size;
  const char *title;
  int32_t columns;   /* 1 to 40 */
  int32_t tile;      /* pixels of a picture's longer side on the page */
  int32_t pixelated; /* 1: enlarge small pictures without smoothing */
} mica_image_grid_options;
#define MICA_IMAGE_GRID_OPTIONS                                                                    \
  { sizeof(mica_image_grid_options), NULL, 8, 76, 1 }

/* Draw up to 2000 tiles, row by row. */
MICA_API mica_status mica_figure_image_grid(const mica_tile *tiles, int64_t n,
                                            const mica_image_grid_options *options,
                                            mica_figure **out);

/* ---- tables ---- */

/* A table is filled column heads first, then cell by cell: rows are complete when every column has
 * its cell. The same table is printed on a terminal, placed in a report and written to
 * summary.json. */
typedef struct mica_table mica_table;

typedef enum mica_align { MICA_ALIGN_LEFT, MICA_ALIGN_RIGHT } mica_align;

/* A table without columns. */
MICA_API mica_status mica_table_create(mica_table **out);
MICA_API void mica_table_free(mica_table *table);
/* Columns cannot be added once there are cells (MICA_ERR_STATE). At most 64. */
MICA_API mica_status mica_table_column(mica_table *table, const char *head, mica_align align);
MICA_API mica_status mica_table_text(mica_table *table, const char *text); /* NULL: an empty cell */
/* A number shown with `digits` significant digits; JSON and sorting get the full value. */
MICA_API mica_status mica_table_number(mica_table *table, double value, int digits);
MICA_API mica_status mica_table_integer(mica_table *table, int64_t value);
/* A number shown as text of the caller's, such as "92.1 % (91.5-92.6)". */
MICA_API mica_status mica_table_shown(mica_table *table, double value, const char *text);
MICA_API int64_t mica_table_rows(const mica_table *table); /* complete rows */
MICA_API int32_t mica_table_columns(const mica_table *table);

typedef struct mica_table_options {
  uint32_t size;
  int32_t width;  /* columns of the terminal: the widest left-aligned column is cut to fit; 0: no
                     bound */
  int32_t indent; /* spaces before each line */
  int32_t rule;   /* 1: a rule of '-' under the heads */
} mica_table_options;
#define MICA_TABLE_OPTIONS                                                                         \
  { sizeof(mica_table_options), 0, 0, 1 }

/* The table as lines of text with aligned columns, to release with mica_free. Control characters in
 * cells, which a terminal would obey, become U+FFFD. */
MICA_API mica_status mica_table_render(const mica_table *table, const mica_table_options *options,
                                       char **out);

/* The table in Markdown's pipe form, to release with mica_free. */
MICA_API mica_status mica_table_markdown(const mica_table *table, char **out);

/* ---- records ---- */

/* What one must know to repeat a run: ordered names and values, flat. Adding a name again replaces
 * its value. */
typedef struct mica_run_record mica_run_record;

/* An empty record, of at most 10000 entries. */
MICA_API mica_status mica_run_record_create(mica_run_record **out);
MICA_API void mica_run_record_free(mica_run_record *record);
/* Add an entry, or replace its value; names are not empty. A number that is not finite is kept as
 * null. */
MICA_API mica_status mica_run_record_text(mica_run_record *record, const char *name,
                                          const char *value);
MICA_API mica_status mica_run_record_number(mica_run_record *record, const char *name,
                                            double value);
MICA_API mica_status mica_run_record_integer(mica_run_record *record, const char *name,
                                             int64_t value);
/* "command": the arguments as a POSIX shell would need them quoted. */
MICA_API mica_status mica_run_record_command(mica_run_record *record, int argc,
                                             const char *const *argv);
/* "mica", "compiler", "system", "processor" and "cores" of this process. */
MICA_API mica_status mica_run_record_environment(mica_run_record *record);
MICA_API int32_t mica_run_record_count(const mica_run_record *record);
/* Entry i, or NULL past the last; values as text. */
MICA_API const char *mica_run_record_name(const mica_run_record *record, int32_t i);
MICA_API const char *mica_run_record_value(const mica_run_record *record, int32_t i);
/* The value of a name as text, NULL when there is none. */
MICA_API const char *mica_run_record_get(const mica_run_record *record, const char *name);
/* A JSON object, replacing the file as a whole; and back. Loading accepts strings, numbers, true
 * and false, at most 16 MiB. */
MICA_API mica_status mica_run_record_save(const mica_run_record *record, const char *path);
MICA_API mica_status mica_run_record_load(const char *path, mica_run_record **out);

/* ---- reports ---- */

typedef struct mica_report mica_report;

typedef struct mica_report_options {
  uint32_t size;
  const char *title;    /* NULL: "Report" */
  const char *subtitle; /* NULL: none */
} mica_report_options;
#define MICA_REPORT_OPTIONS                                                                        \
  { sizeof(mica_report_options), NULL, NULL }

/* A report without content. */
MICA_API mica_status mica_report_create(const mica_report_options *options, mica_report **out);
MICA_API void mica_report_free(mica_report *report);

/* Every figure of a report is a number with a key, written to summary.json under that key. Numbers
 * added before the first section are the key figures at the top; later ones stand in their section.
 * A key is a-z, 0-9, '_' and '.', begins with a letter, is unique and none of the words "report",
 * "units", "tables", "record". Units that change how a number is shown (never what is stored):
 *
 *     "fraction"  0.923 is shown as 92.3 %
 *     "seconds"   192 is shown as 3 min 12 s
 *     "bytes"     4200000 is shown as 4.2 MB
 *     "count"     60000 is shown as 60,000
 *
 * any other unit is written behind the number; NULL or "" is none. `label` NULL: in summary.json
 * only.
 */
MICA_API mica_status mica_report_number(mica_report *report, const char *key, double value,
                                        const char *unit, const char *label);
/* The same with an interval, which gets the keys KEY_low and KEY_high. */
MICA_API mica_status mica_report_interval(mica_report *report, const char *key, double value,
                                          double low, double high, const char *unit,
                                          const char *label);

/* Begin a section; what is added next stands in it. */
MICA_API mica_status mica_report_section(mica_report *report, const char *title);
/* A paragraph, in which {key} stands for a number already added, shown with its unit; an unknown
 * key is MICA_ERR_NOT_FOUND. Write {{ and }} for braces. Captions below work the same way. */
MICA_API mica_status mica_report_paragraph(mica_report *report, const char *text);
/* Text as it is, in lines and with its spaces. */
MICA_API mica_status mica_report_verbatim(mica_report *report, const char *text);
MICA_API mica_status mica_report_figure(mica_report *report, const mica_figure *figure,
                                        const char *caption);
/* A table of complete rows; readers sort it by clicking a head. `name` is its key in summary.json's
 * "tables", with the same letters as a number's key, and unique. */
MICA_API mica_status mica_report_table(mica_report *report, const char *name,
                                       const mica_table *table, const char *caption);
/* The record at the end of the report, folded. Replaces an earlier one. */
MICA_API mica_status mica_report_record(mica_report *report, const mica_run_record *record);

/* The value of a number added before; NaN when the key is unknown. */
MICA_API double mica_report_value(const mica_report *report, const char *key);

/* Write DIR/report.html and DIR/summary.json, each replaced as a whole, the directory made if it is
 * missing. May be called again after more has been added. */
MICA_API mica_status mica_report_write(const mica_report *report, const char *directory);

/* The two files' contents, to release with mica_free. */
MICA_API mica_status mica_report_html(const mica_report *report, char **out);
MICA_API mica_status mica_report_summary(const mica_report *report, char **out);

/* ---- run folders ---- */

typedef struct mica_run mica_run;

typedef struct mica_run_options {
  uint32_t size;
  int64_t resume;     /* the step resumed from: later lines are removed; -1: a fresh run */
  int32_t event_file; /* 1: write a TensorBoard event file too */
  const mica_run_record *config; /* written to config.json; NULL: none */
} mica_run_options;
#define MICA_RUN_OPTIONS                                                                           \
  { sizeof(mica_run_options), -1, 1, NULL }

/* Open DIR for writing, making it if it is missing. A fresh run refuses a folder that has metrics
 * (MICA_ERR_STATE): results are not overwritten silently. On resume metrics.jsonl is cut behind the
 * last whole line whose step is at most `resume`; damage in its middle is MICA_ERR_FORMAT and
 * nothing is touched. */
MICA_API mica_status mica_run_open(const char *directory, const mica_run_options *options,
                                   mica_run **out);

typedef struct mica_measurement {
  const char *name; /* not "step" or "seconds", not empty */
  double value;
} mica_measurement;

/* Append {"step":..,"seconds":..,"NAME":VALUE,...} as one line, and the same scalars to the event
 * file. `seconds` is the time since the run began, continued over a resume. The line has left the
 * process when this returns: it survives a kill. Steps must not decrease. */
MICA_API mica_status mica_run_log(mica_run *run, int64_t step, const mica_measurement *metrics,
                                  int32_t n);
/* Also onto the disk, for use beside a checkpoint. */
MICA_API mica_status mica_run_sync(mica_run *run);
MICA_API double mica_run_seconds(const mica_run *run);
/* Closes and frees, whatever it returns: the first error of closing. NULL is fine. */
MICA_API mica_status mica_run_close(mica_run *run);

/* What a metrics.jsonl holds, as series for figures. A last line without its end is left out. */
typedef struct mica_metrics mica_metrics;
MICA_API mica_status mica_metrics_load(const char *path, mica_metrics **out);
MICA_API void mica_metrics_free(mica_metrics *metrics);
MICA_API int32_t mica_metrics_count(const mica_metrics *metrics);
MICA_API const char *mica_metrics_name(const mica_metrics *metrics, int32_t i);
/* The steps and values of one metric in file order, owned by `metrics`; 0 when there is no such
 * metric. Each pointer may be NULL. */
MICA_API int64_t mica_metrics_series(const mica_metrics *metrics, const char *name,
                                     const double **steps, const double **values);

/* ---- event files ---- */

/* TensorBoard's event files: length-delimited records, each with two masked CRC-32C sums, holding
 * protocol buffers of type tensorflow.Event. Scalars only. */
typedef struct mica_event_file mica_event_file;

/* Create `path`, which must not exist. `resume` of at least 0 tells readers to forget what earlier
 * files in the folder said from that step on. */
MICA_API mica_status mica_event_file_open(const char *path, int64_t resume, mica_event_file **out);
/* `seconds` since 1970. */
MICA_API mica_status mica_event_file_scalars(mica_event_file *file, double seconds, int64_t step,
                                             const mica_measurement *metrics, int32_t n);
MICA_API mica_status mica_event_file_close(mica_event_file *file);

#ifdef __cplusplus
}
#endif
#endif
