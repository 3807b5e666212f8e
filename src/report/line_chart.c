/* Line charts: series with gaps and bands, thinned to what the pixels can show. */
#include "report/figure.h"

#include <math.h>
#include <stdio.h>

typedef struct point {
  double x, y;
} point;

/* A path being drawn: lifted at gaps. */
typedef struct pen {
  mica_canvas *c;
  bool down;
} pen;

static void pen_to(pen *p, double x, double y) {
  mica_bytes_text(&p->c->out, p->down ? "L" : "M");
  p->down = true;
  mica_markup_coordinate(&p->c->out, x);
  mica_bytes_text(&p->c->out, " ");
  mica_markup_coordinate(&p->c->out, y);
}

static double x_of(const mica_series *s, int64_t i) {
  return s->x ? s->x[i] : (double)i;
}

static point at(const mica_plot *plot, const mica_series *s, const double *y, int64_t i) {
  return (point){mica_scale_at(&plot->x, x_of(s, i)), mica_scale_at(&plot->y, y[i])};
}

/* What falls on one pixel column is drawn as its first, least, greatest and last point; series that
 * go back in x, or have few points, are drawn whole. */
static void draw_line(mica_canvas *c, const mica_plot *plot, const mica_series *s,
                      const double *y) {
  pen p = {c, false};
  const bool thin = s->n > 4 * (int64_t)(plot->right - plot->left);
  int64_t i = 0;
  while (i < s->n) {
    const point first = at(plot, s, y, i);
    if (!isfinite(first.x) || !isfinite(first.y)) {
      p.down = false;
      i++;
      continue;
    }
    point least = first, greatest = first, last = first;
    int64_t j = i + 1;
    for (; thin && j < s->n; j++) {
      const point next = at(plot, s, y, j);
      if (!isfinite(next.x) || !isfinite(next.y) || floor(next.x) != floor(first.x)) break;
      if (next.y < least.y) least = next;
      if (next.y > greatest.y) greatest = next;
      last = next;
    }
    const bool lone = !p.down;
    pen_to(&p, first.x, first.y);
    if (j > i + 1) {
      pen_to(&p, least.x, least.y);
      pen_to(&p, greatest.x, greatest.y);
      pen_to(&p, last.x, last.y);
    }
    const bool gap_next =
        j >= s->n || !isfinite(at(plot, s, y, j).y) || !isfinite(at(plot, s, y, j).x);
    if (lone && gap_next && j == i + 1) mica_bytes_text(&c->out, "h.1"); /* a point between gaps */
    i = j;
  }
}

static bool has_band(const mica_series *s, const mica_plot *plot, int64_t i) {
  return isfinite(mica_scale_at(&plot->x, x_of(s, i))) &&
         isfinite(mica_scale_at(&plot->y, s->low[i])) &&
         isfinite(mica_scale_at(&plot->y, s->high[i]));
}

/* The band as one closed shape for each stretch without gaps: there along `high`, back along `low`.
 */
static void draw_band(mica_canvas *c, const mica_plot *plot, const mica_series *s) {
  const int64_t stride = 1 + s->n / (4 * (int64_t)(plot->right - plot->left));
  mica_bytes_text(&c->out, "<path class=\"b\" d=\"");
  for (int64_t i = 0; i < s->n;) {
    if (!has_band(s, plot, i)) {
      i++;
      continue;
    }
    int64_t end = i;
    while (end < s->n && has_band(s, plot, end)) end++;
    pen p = {c, false};
    for (int64_t k = i; k < end; k += k + stride < end || k == end - 1 ? stride : end - 1 - k) {
      const point q = at(plot, s, s->high, k);
      pen_to(&p, q.x, q.y);
    }
    for (int64_t k = end - 1; k >= i; k -= k - stride >= i || k == i ? stride : k - i) {
      const point q = at(plot, s, s->low, k);
      pen_to(&p, q.x, q.y);
    }
    mica_bytes_text(&c->out, "z");
    i = end;
  }
  mica_bytes_text(&c->out, "\"/>\n");
}

static mica_status check(const mica_series *series, int32_t n, const mica_line_chart_options *o) {
  if (n < 0 || n > 100 || (n > 0 && !series))
    return mica_fail(MICA_ERR_INVALID, "a line chart of %d series, expected 0 to 100", (int)n);
  for (int32_t k = 0; k < n; k++) {
    const mica_series *s = &series[k];
    if (s->n < 0 || (s->n > 0 && !s->y))
      return mica_fail(MICA_ERR_INVALID, "series %d of a line chart has %lld values%s", (int)k,
                       (long long)s->n, s->y ? "" : " and no y");
    if (!s->low != !s->high)
      return mica_fail(MICA_ERR_INVALID, "series %d of a line chart has one side of a band",
                       (int)k);
  }
  mica_status status = mica_figure_side_check("width", o->width);
  if (!status) status = mica_figure_side_check("height", o->height);
  if (!status) status = mica_axis_check(&o->x, "x");
  if (!status) status = mica_axis_check(&o->y, "y");
  return status;
}

mica_status mica_figure_line_chart(const mica_series *series, int32_t n,
                                   const mica_line_chart_options *options, mica_figure **out) {
  static const mica_line_chart_options defaults = MICA_LINE_CHART_OPTIONS;
  mica_line_chart_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  if (!status) status = check(series, n, &o);
  if (status) return status;

  mica_range x_range = {0}, y_range = {0};
  const char *names[100];
  for (int32_t k = 0; k < n; k++) {
    const mica_series *s = &series[k];
    names[k] = s->name;
    for (int64_t i = 0; i < s->n; i++) {
      mica_range_add(&x_range, x_of(s, i), o.x.scale);
      mica_range_add(&y_range, s->y[i], o.y.scale);
      if (!s->low) continue;
      mica_range_add(&y_range, s->low[i], o.y.scale);
      mica_range_add(&y_range, s->high[i], o.y.scale);
    }
  }

  mica_canvas c;
  mica_canvas_begin(&c, o.width, o.height, o.title, "line chart");
  mica_plot plot = {
      .top = o.title ? 26 : 8, .right = o.width - 14, .bottom = o.height - (o.x.label ? 42 : 24)};
  const double legend_left = o.y.label ? 22 : 4;
  plot.top += mica_legend(&c, names, n, MICA_KEY_LINE, legend_left, plot.top, plot.right);
  if (plot.bottom < plot.top + 20) plot.bottom = plot.top + 20;
  mica_scale_fit(&plot.y, &o.y, &y_range, 0.05, plot.bottom, plot.top + 4, 42);
  plot.left = (o.y.label ? 22 : 4) + mica_scale_label_width(&plot.y) + 9;
  mica_scale_fit(&plot.x, &o.x, &x_range, 0, plot.left, plot.right, 70);
  mica_plot_frame(&c, &plot, &o.x, &o.y);

  if (!x_range.any || !y_range.any) {
    mica_canvas_text(&c, (plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2, "m",
                     MICA_ANCHOR_MIDDLE, 12, o.width, "no data");
    return mica_canvas_finish(&c, out);
  }

  /* lines are clipped to the plot, with room for half their width */
  const double margin = 5;
  mica_bytes_text(&c.out, "<svg");
  mica_canvas_attribute(&c, "x", plot.left - margin);
  mica_canvas_attribute(&c, "y", plot.top - margin);
  mica_canvas_attribute(&c, "width", plot.right - plot.left + 2 * margin);
  mica_canvas_attribute(&c, "height", plot.bottom - plot.top + 2 * margin);
  mica_bytes_text(&c.out, " viewBox=\"");
  mica_markup_coordinate(&c.out, plot.left - margin);
  mica_bytes_text(&c.out, " ");
  mica_markup_coordinate(&c.out, plot.top - margin);
  mica_bytes_text(&c.out, " ");
  mica_markup_coordinate(&c.out, plot.right - plot.left + 2 * margin);
  mica_bytes_text(&c.out, " ");
  mica_markup_coordinate(&c.out, plot.bottom - plot.top + 2 * margin);
  mica_bytes_text(&c.out, "\">\n");
  for (int32_t k = 0; k < n; k++) {
    const mica_series *s = &series[k];
    mica_bytes_printf(&c.out, "<g class=\"s%d\">\n", (int)k % MICA_SERIES_COLOURS);
    if (s->low) draw_band(&c, &plot, s);
    /* more points than pixels are noise: a thin line shows its density */
    mica_bytes_printf(&c.out, "<path class=\"l l%d%s\" d=\"", (int)k / MICA_SERIES_COLOURS % 3,
                      (double)s->n > plot.right - plot.left ? " q" : "");
    draw_line(&c, &plot, s, s->y);
    mica_bytes_text(&c.out, "\"/>\n");
    if (o.markers == 1 || (o.markers < 0 && s->n <= 40))
      for (int64_t i = 0; i < s->n; i++) {
        const point p = at(&plot, s, s->y, i);
        if (isfinite(p.x) && isfinite(p.y)) mica_canvas_marker(&c, (int)k, p.x, p.y, 3);
      }
    mica_bytes_text(&c.out, "</g>\n");
  }
  mica_bytes_text(&c.out, "</svg>\n");
  return mica_canvas_finish(&c, out);
}
