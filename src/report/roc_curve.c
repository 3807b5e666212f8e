/* Receiver operating characteristics, from scores: sorted once, one step for each distinct score.
 */
#include "report/figure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/number.h"

typedef struct scored {
  double score;
  uint8_t positive;
} scored;

static int descending(const void *a, const void *b) {
  const double x = ((const scored *)a)->score, y = ((const scored *)b)->score;
  return (x < y) - (x > y);
}

/* The curve's corners into x and y (room for n + 1), their number into `corners`; returns the area,
 * NaN when a class is empty. `items` are scratch for n. */
static double trace(const mica_roc *curve, scored *items, double *x, double *y, int64_t *corners) {
  int64_t n = 0;
  double positives = 0, negatives = 0;
  for (int64_t i = 0; i < curve->n; i++) {
    if (isnan(curve->score[i])) continue;
    items[n++] = (scored){curve->score[i], curve->positive[i] != 0};
    if (curve->positive[i])
      positives++;
    else
      negatives++;
  }
  *corners = 0;
  if (positives == 0 || negatives == 0) return NAN;
  qsort(items, (size_t)n, sizeof *items, descending);
  x[0] = y[0] = 0;
  int64_t at = 1;
  double hits = 0, alarms = 0, area = 0;
  for (int64_t i = 0; i < n;) {
    const double score = items[i].score, hits_before = hits, alarms_before = alarms;
    for (; i < n && items[i].score == score; i++) {
      if (items[i].positive)
        hits++;
      else
        alarms++;
    }
    area += (alarms - alarms_before) * (hits + hits_before) / 2;
    /* a corner that continues straight up or straight right replaces the one before */
    const double next_x = alarms / negatives, next_y = hits / positives;
    if (at >= 2 && ((x[at - 2] == x[at - 1] && x[at - 1] == next_x) ||
                    (y[at - 2] == y[at - 1] && y[at - 1] == next_y)))
      at--;
    x[at] = next_x;
    y[at] = next_y;
    at++;
  }
  *corners = at;
  return area / (positives * negatives);
}

static mica_status check(const mica_roc *curves, int32_t n, const mica_roc_options *o) {
  if (n < 0 || n > 20 || (n > 0 && !curves))
    return mica_fail(MICA_ERR_INVALID, "a figure of %d ROC curves, expected 0 to 20", (int)n);
  for (int32_t k = 0; k < n; k++)
    if (curves[k].n < 0 || (curves[k].n > 0 && (!curves[k].score || !curves[k].positive)))
      return mica_fail(MICA_ERR_INVALID, "ROC curve %d has %lld points, or no scores or classes",
                       (int)k, (long long)curves[k].n);
  mica_status status = mica_figure_side_check("width", o->width);
  return status ? status : mica_figure_side_check("height", o->height);
}

static void draw_curve(mica_canvas *c, const mica_plot *plot, int32_t k, const double *x,
                       const double *y, int64_t corners) {
  if (!corners) return;
  mica_bytes_printf(&c->out, "<path class=\"l s%d l%d\" d=\"", (int)k % MICA_SERIES_COLOURS,
                    (int)k / MICA_SERIES_COLOURS % 3);
  double last_x = -1e9, last_y = -1e9;
  for (int64_t i = 0; i < corners; i++) {
    const double at_x = mica_scale_at(&plot->x, x[i]), at_y = mica_scale_at(&plot->y, y[i]);
    /* steps below half a pixel cannot be seen */
    if (i > 0 && i + 1 < corners && fabs(at_x - last_x) < 0.5 && fabs(at_y - last_y) < 0.5)
      continue;
    mica_bytes_text(&c->out, i ? "L" : "M");
    mica_markup_coordinate(&c->out, at_x);
    mica_bytes_text(&c->out, " ");
    mica_markup_coordinate(&c->out, at_y);
    last_x = at_x;
    last_y = at_y;
  }
  mica_bytes_text(&c->out, "\"/>\n");
}

/* "NAME, area 0.973" */
static void legend_text(char *text, size_t size, const char *name, double area) {
  char number[MICA_NUMBER_TEXT];
  mica_number_fixed(number, area, 3, false);
  if (name)
    snprintf(text, size, "%.180s, area %s", name, number);
  else
    snprintf(text, size, "area %s", number);
}

mica_status mica_figure_roc(const mica_roc *curves, int32_t n, const mica_roc_options *options,
                            double *areas, mica_figure **out) {
  static const mica_roc_options defaults = MICA_ROC_OPTIONS;
  mica_roc_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  if (!status) status = check(curves, n, &o);
  if (status) return status;

  int64_t longest = 0, corners[20] = {0};
  for (int32_t k = 0; k < n; k++)
    if (curves[k].n > longest) longest = curves[k].n;
  const size_t room = (size_t)longest + 1;
  scored *items = mica_realloc_array(NULL, room, sizeof *items);
  double *xy = mica_realloc_array(NULL, room, (size_t)(n ? n : 1) * 2 * sizeof *xy);
  if (!items || !xy) {
    mica_free(items);
    mica_free(xy);
    return MICA_ERR_MEMORY;
  }
  char text[20][256];
  const char *names[20];
  bool any = false;
  for (int32_t k = 0; k < n; k++) {
    double *x = xy + (size_t)k * 2 * room;
    const double area = trace(&curves[k], items, x, x + room, &corners[k]);
    if (areas) areas[k] = area;
    legend_text(text[k], sizeof text[k], curves[k].name, area);
    names[k] = text[k];
    any = any || corners[k];
  }

  mica_canvas c;
  mica_canvas_begin(&c, o.width, o.height, o.title, "ROC curve");
  const mica_axis x_axis = {"false positive rate", MICA_AXIS_LINEAR, 0, 1};
  const mica_axis y_axis = {"true positive rate", MICA_AXIS_LINEAR, 0, 1};
  mica_plot plot = {.top = o.title ? 26 : 8, .right = o.width - 14, .bottom = o.height - 42};
  plot.top += mica_legend(&c, names, n, MICA_KEY_LINE, 22, plot.top, plot.right);
  if (plot.bottom < plot.top + 20) plot.bottom = plot.top + 20;
  const mica_range none = {0};
  mica_scale_fit(&plot.y, &y_axis, &none, 0, plot.bottom, plot.top + 4, 42);
  plot.left = 22 + mica_scale_label_width(&plot.y) + 9;
  mica_scale_fit(&plot.x, &x_axis, &none, 0, plot.left, plot.right, 60);
  mica_plot_frame(&c, &plot, &x_axis, &y_axis);
  mica_canvas_line(&c, plot.left, mica_scale_at(&plot.y, 0), plot.right, mica_scale_at(&plot.y, 1),
                   "r");
  for (int32_t k = 0; k < n; k++) {
    const double *x = xy + (size_t)k * 2 * room;
    draw_curve(&c, &plot, k, x, x + room, corners[k]);
  }
  if (!any)
    mica_canvas_text(&c, (plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2, "m",
                     MICA_ANCHOR_MIDDLE, 12, o.width, "no data");
  mica_free(items);
  mica_free(xy);
  return mica_canvas_finish(&c, out);
}
