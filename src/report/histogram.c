/* Histograms: several samples over the same bins, as shares, so that samples of different sizes
 * compare. */
#include "report/figure.h"

#include <stdio.h>
#include <stdlib.h>

#include "report/number.h"

enum { SAMPLES_MAX = 8, BINS_MAX = 500 };

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Freedman and Diaconis (1981): a width of twice the interquartile range over the cube root of n,
 * of the sample that asks for the most bins. */
static mica_status choose_bins(const mica_sample *samples, int32_t n, double low, double high,
                               int *bins) {
  double most = 0;
  for (int32_t k = 0; k < n; k++) {
    if (samples[k].n < 2) continue;
    double *sorted = mica_realloc_array(NULL, (size_t)samples[k].n, sizeof *sorted);
    if (!sorted) return MICA_ERR_MEMORY;
    size_t count = 0;
    for (int64_t i = 0; i < samples[k].n; i++)
      if (isfinite(samples[k].values[i])) sorted[count++] = samples[k].values[i];
    qsort(sorted, count, sizeof *sorted, ascending);
    if (count >= 2) {
      const double spread = sorted[count * 3 / 4] - sorted[count / 4];
      const double width = 2 * spread / cbrt((double)count);
      if (width > 0) most = fmax(most, (high - low) / width);
    }
    mica_free(sorted);
  }
  *bins = most > 60 ? 60 : most < 8 ? 8 : (int)ceil(most);
  return MICA_OK;
}

static mica_status check(const mica_sample *samples, int32_t n, const mica_histogram_options *o) {
  if (n < 0 || n > SAMPLES_MAX || (n > 0 && !samples))
    return mica_fail(MICA_ERR_INVALID, "a histogram of %d samples, expected 0 to %d", (int)n,
                     SAMPLES_MAX);
  for (int32_t k = 0; k < n; k++)
    if (samples[k].n < 0 || (samples[k].n > 0 && !samples[k].values))
      return mica_fail(MICA_ERR_INVALID, "sample %d of a histogram has %lld values, or none given",
                       (int)k, (long long)samples[k].n);
  if (o->bins < 0 || o->bins > BINS_MAX)
    return mica_fail(MICA_ERR_INVALID, "a histogram of %d bins, expected 0 to %d", (int)o->bins,
                     BINS_MAX);
  if (o->x.scale != MICA_AXIS_LINEAR)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "a histogram's axis is linear; take the logarithm of the values");
  mica_status status = mica_figure_side_check("width", o->width);
  if (!status) status = mica_figure_side_check("height", o->height);
  if (!status) status = mica_axis_check(&o->x, "x");
  return status;
}

/* The outline of one sample's bins, filled lightly. */
static void draw_sample(mica_canvas *c, const mica_plot *plot, int32_t k, const double *share,
                        int bins, double low, double high) {
  mica_bytes_printf(&c->out, "<g class=\"s%d\">", (int)k);
  for (int part = 0; part < 2; part++) {
    mica_bytes_printf(&c->out, "<path class=\"%s\" d=\"M", part ? "l" : "b");
    mica_markup_coordinate(&c->out, mica_scale_at(&plot->x, low));
    mica_bytes_text(&c->out, " ");
    mica_markup_coordinate(&c->out, mica_scale_at(&plot->y, 0));
    for (int b = 0; b < bins; b++) {
      mica_bytes_text(&c->out, "V");
      mica_markup_coordinate(&c->out, mica_scale_at(&plot->y, share[b]));
      mica_bytes_text(&c->out, "H");
      mica_markup_coordinate(&c->out, mica_scale_at(&plot->x, low + (high - low) * (b + 1) / bins));
    }
    mica_bytes_text(&c->out, "V");
    mica_markup_coordinate(&c->out, mica_scale_at(&plot->y, 0));
    mica_bytes_text(&c->out, "\"/>");
  }
  mica_bytes_text(&c->out, "</g>\n");
}

mica_status mica_figure_histogram(const mica_sample *samples, int32_t n,
                                  const mica_histogram_options *options, mica_figure **out) {
  static const mica_histogram_options defaults = MICA_HISTOGRAM_OPTIONS;
  mica_histogram_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  if (!status) status = check(samples, n, &o);
  if (status) return status;

  mica_range range = {0};
  const char *names[SAMPLES_MAX];
  for (int32_t k = 0; k < n; k++) {
    names[k] = samples[k].name;
    for (int64_t i = 0; i < samples[k].n; i++)
      mica_range_add(&range, samples[k].values[i], o.x.scale);
  }
  /* the scale decides the ends of the bins, so that a range of no width gets one too */
  mica_range shown = range;
  if (isfinite(o.threshold) && range.any) mica_range_add(&shown, o.threshold, o.x.scale);
  mica_scale scale;
  mica_scale_fit(&scale, &o.x, &shown, 0, 0, 1, 1);
  const double low = scale.low, high = scale.high;
  int bins = o.bins;
  if (!bins) {
    status = choose_bins(samples, n, low, high, &bins);
    if (status) return status;
  }
  double share[SAMPLES_MAX][BINS_MAX] = {{0}};
  mica_range y_range = {0};
  for (int32_t k = 0; k < n; k++) {
    double total = 0;
    for (int64_t i = 0; i < samples[k].n; i++) {
      const double v = samples[k].values[i];
      if (!isfinite(v)) continue;
      total++;
      if (v < low || v > high) continue;
      int b = (int)((v - low) / (high - low) * bins);
      share[k][b < 0 ? 0 : b >= bins ? bins - 1 : b]++;
    }
    for (int b = 0; b < bins && total > 0; b++) {
      share[k][b] /= total;
      mica_range_add(&y_range, share[k][b], MICA_AXIS_LINEAR);
    }
  }

  mica_canvas c;
  mica_canvas_begin(&c, o.width, o.height, o.title, "histogram");
  const mica_axis y_axis = {"share", MICA_AXIS_LINEAR, 0, NAN};
  mica_plot plot = {
      .top = o.title ? 26 : 8, .right = o.width - 14, .bottom = o.height - (o.x.label ? 42 : 24)};
  plot.top += mica_legend(&c, names, n, MICA_KEY_BOX, 22, plot.top, plot.right);
  if (plot.bottom < plot.top + 20) plot.bottom = plot.top + 20;
  mica_scale_fit(&plot.y, &y_axis, &y_range, 0.08, plot.bottom, plot.top + 4, 42);
  plot.left = 22 + mica_scale_label_width(&plot.y) + 9;
  mica_axis x_axis = o.x;
  x_axis.low = low;
  x_axis.high = high;
  mica_scale_fit(&plot.x, &x_axis, &shown, 0, plot.left, plot.right, 70);
  mica_plot_frame(&c, &plot, &o.x, &y_axis);
  if (!range.any)
    mica_canvas_text(&c, (plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2, "m",
                     MICA_ANCHOR_MIDDLE, 12, o.width, "no data");
  for (int32_t k = 0; k < n; k++) draw_sample(&c, &plot, k, share[k], bins, low, high);
  if (o.threshold >= low && o.threshold <= high) {
    const double x = mica_scale_at(&plot.x, o.threshold);
    mica_canvas_line(&c, x, plot.top, x, plot.bottom, "r");
    char text[256], number[MICA_NUMBER_TEXT];
    snprintf(text, sizeof text, "%.180s %s", o.threshold_name ? o.threshold_name : "threshold",
             mica_number_significant(number, o.threshold, 3, true));
    const bool right_side = x < (plot.left + plot.right) / 2;
    mica_canvas_text(&c, right_side ? x + 6 : x - 6, plot.top + 11, "m",
                     right_side ? MICA_ANCHOR_START : MICA_ANCHOR_END, 12,
                     right_side ? plot.right - x - 6 : x - plot.left - 6, text);
  }
  return mica_canvas_finish(&c, out);
}
