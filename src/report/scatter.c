/* Scatter plots: points in the colours and shapes of their classes, with what they stand for in
 * words and pictures. A picture shows beside the plot while its point is hovered, by CSS alone;
 * where there is room, pictures stand in the plot itself. */
#include "report/figure.h"

#include <stdio.h>

#include "report/number.h"

enum { POINTS_MAX = 20000, SHOWN_MAX = 400, CLASSES_MAX = 1000 };

static const double thumbnail = 24, side_column = 150;

typedef struct scatter {
  const double *x, *y;
  const int32_t *group;
  int64_t n;
  int32_t classes;
  const mica_scatter_options *o;
  mica_plot plot;
  double radius, preview_top;
} scatter;

static mica_status check(const scatter *s) {
  const mica_scatter_options *o = s->o;
  if (s->n < 0 || s->n > POINTS_MAX || (s->n > 0 && (!s->x || !s->y)))
    return mica_fail(MICA_ERR_INVALID,
                     "a scatter plot of %lld points, expected 0 to %d with x and y",
                     (long long)s->n, POINTS_MAX);
  if (s->classes < 0 || s->classes > CLASSES_MAX)
    return mica_fail(MICA_ERR_INVALID, "a scatter plot of %d classes, expected 0 to %d",
                     (int)s->classes, CLASSES_MAX);
  if (o->shown < 0 || o->shown > SHOWN_MAX)
    return mica_fail(MICA_ERR_INVALID, "a scatter plot that shows %d pictures, expected 0 to %d",
                     (int)o->shown, SHOWN_MAX);
  for (int64_t i = 0; i < s->n; i++) {
    if (s->group && (s->group[i] < -1 || s->group[i] >= s->classes))
      return mica_fail(MICA_ERR_INVALID,
                       "point %lld of a scatter plot is of class %d, expected -1 to %d",
                       (long long)i, (int)s->group[i], (int)s->classes - 1);
    if (o->pictures && o->pictures[i].pixels) {
      const mica_status status = mica_picture_check(&o->pictures[i]);
      if (status) return mica_fail_within("point %lld of a scatter plot", (long long)i);
    }
  }
  mica_status status = mica_figure_side_check("width", o->width);
  if (!status) status = mica_figure_side_check("height", o->height);
  if (!status) status = mica_axis_check(&o->x, "x");
  if (!status) status = mica_axis_check(&o->y, "y");
  return status;
}

static const mica_picture *picture_of(const scatter *s, int64_t i) {
  return s->o->pictures && s->o->pictures[i].pixels ? &s->o->pictures[i] : NULL;
}

/* Fit a picture into a square at x, y without changing its proportions. */
static void draw_picture(mica_canvas *c, const mica_picture *p, double x, double y, double side,
                         const char *class_name) {
  const double scale = side / (p->width > p->height ? p->width : p->height);
  const double width = p->width * scale, height = p->height * scale;
  mica_canvas_picture(c, p, x + (side - width) / 2, y + (side - height) / 2, width, height,
                      class_name);
}

static bool locate(const scatter *s, int64_t i, double *x, double *y) {
  *x = mica_scale_at(&s->plot.x, s->x[i]);
  *y = mica_scale_at(&s->plot.y, s->y[i]);
  return *x >= s->plot.left - 1 && *x <= s->plot.right + 1 && *y >= s->plot.top - 1 &&
         *y <= s->plot.bottom + 1;
}

/* Choose points, in their order, whose pictures fit in the plot and overlap no other. */
static int32_t choose_shown(const scatter *s, int64_t *shown) {
  int32_t n = 0;
  double at[SHOWN_MAX][2];
  for (int64_t i = 0; i < s->n && n < s->o->shown; i++) {
    double x, y;
    if (!picture_of(s, i) || !locate(s, i, &x, &y)) continue;
    const double half = thumbnail / 2;
    if (x - half < s->plot.left || x + half > s->plot.right || y - half < s->plot.top ||
        y + half > s->plot.bottom)
      continue;
    bool free = true;
    for (int32_t k = 0; k < n && free; k++)
      free = fabs(at[k][0] - x) > thumbnail + 4 || fabs(at[k][1] - y) > thumbnail + 4;
    if (!free) continue;
    at[n][0] = x;
    at[n][1] = y;
    shown[n++] = i;
  }
  return n;
}

static void draw_point(mica_canvas *c, const scatter *s, int64_t i, bool as_picture) {
  double x, y;
  if (!locate(s, i, &x, &y)) return;
  const int32_t group = s->group ? s->group[i] : 0;
  const mica_picture *picture = picture_of(s, i);
  const char *label = s->o->labels ? s->o->labels[i] : NULL;
  const char *hover = label                             ? label
                      : group >= 0 && s->o->class_names ? s->o->class_names[group]
                                                        : NULL;
  const bool wrapped = picture || hover;
  if (group >= 0)
    mica_bytes_printf(&c->out, "<g class=\"z s%d\">", (int)group % MICA_SERIES_COLOURS);
  else
    mica_bytes_text(&c->out, "<g class=\"z sn\">");
  if (as_picture) {
    const double half = thumbnail / 2;
    mica_canvas_rect(c, x - half - 1, y - half - 1, thumbnail + 2, thumbnail + 2, "f", "/>");
    draw_picture(c, picture, x - half, y - half, thumbnail, NULL);
  } else {
    mica_canvas_marker(c, group < 0 ? 0 : (int)group, x, y, s->radius);
  }
  if (wrapped && hover) mica_canvas_hover(c, hover);
  if (picture) {
    mica_bytes_text(&c->out, "<g class=\"v\">");
    draw_picture(c, picture, s->o->width - side_column + 18, s->preview_top + 6, 108, "x");
    if (hover)
      mica_canvas_text(c, s->o->width - side_column + 12, s->preview_top + 134, "c",
                       MICA_ANCHOR_START, 11, side_column - 14, hover);
    mica_bytes_text(&c->out, "</g>");
  }
  mica_bytes_text(&c->out, "</g>\n");
}

/* Class names beside the plot, as many as fit. Returns where the list ends. */
static double draw_classes(mica_canvas *c, const scatter *s, double top, double bottom) {
  const double row = 18, x = s->o->width - side_column + 12;
  const int32_t fit = (int32_t)((bottom - top) / row);
  const int32_t shown = s->classes <= fit ? s->classes : fit - 1;
  double y = top;
  for (int32_t k = 0; k < shown; k++, y += row) {
    mica_bytes_printf(&c->out, "<g class=\"s%d\">", (int)k % MICA_SERIES_COLOURS);
    mica_canvas_marker(c, (int)k, x + 5, y + 8, 4.5);
    mica_bytes_text(&c->out, "</g>");
    mica_canvas_text(c, x + 17, y + 12, "", MICA_ANCHOR_START, 12, side_column - 30,
                     s->o->class_names[k]);
  }
  if (shown < s->classes) {
    char text[40];
    snprintf(text, sizeof text, "and %d more", (int)(s->classes - shown));
    mica_canvas_text(c, x + 17, y + 12, "m", MICA_ANCHOR_START, 12, side_column - 30, text);
    y += row;
  }
  return y;
}

mica_status mica_figure_scatter(const double *x, const double *y, const int32_t *group, int64_t n,
                                int32_t classes, const mica_scatter_options *options,
                                mica_figure **out) {
  static const mica_scatter_options defaults = MICA_SCATTER_OPTIONS;
  mica_scatter_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  scatter s = {.x = x, .y = y, .group = group, .n = n, .classes = group ? classes : 1, .o = &o};
  if (!status) status = check(&s);
  if (!status && o.class_names)
    for (int32_t k = 0; k < s.classes; k++)
      if (!o.class_names[k]) return mica_fail(MICA_ERR_INVALID, "class name %d is NULL", (int)k);
  if (status) return status;

  mica_range x_range = {0}, y_range = {0};
  bool pictures = false;
  for (int64_t i = 0; i < n; i++) {
    mica_range_add(&x_range, x[i], o.x.scale);
    mica_range_add(&y_range, y[i], o.y.scale);
    pictures = pictures || picture_of(&s, i);
  }
  const bool side = o.class_names || pictures;
  mica_canvas c;
  mica_canvas_begin(&c, o.width, o.height, o.title, "scatter plot");
  mica_plot *plot = &s.plot;
  plot->top = o.title ? 26 : 6;
  plot->right = o.width - (side ? side_column : 14);
  plot->bottom = o.height - (o.axes ? (o.x.label ? 42 : 24) : (o.x.label ? 22 : 4));
  mica_scale_fit(&plot->y, &o.y, &y_range, 0.05, plot->bottom, plot->top + 4, 42);
  plot->left = o.axes      ? (o.y.label ? 22 : 4) + mica_scale_label_width(&plot->y) + 9
               : o.y.label ? 20
                           : 2;
  mica_scale_fit(&plot->x, &o.x, &x_range, 0.05, plot->left, plot->right, 70);
  if (!o.axes) {
    plot->x.ticks = plot->y.ticks = 0;
    mica_canvas_rect(&c, plot->left, plot->top, plot->right - plot->left, plot->bottom - plot->top,
                     "o", "/>\n");
  }
  if (o.axes) {
    mica_plot_frame(&c, plot, &o.x, &o.y);
  } else {
    if (o.x.label)
      mica_canvas_text(&c, (plot->left + plot->right) / 2, plot->bottom + 16, "m",
                       MICA_ANCHOR_MIDDLE, 12, plot->right - plot->left, o.x.label);
    if (o.y.label) {
      mica_bytes_text(&c.out, "<g transform=\"translate(12 ");
      mica_markup_coordinate(&c.out, (plot->top + plot->bottom) / 2);
      mica_bytes_text(&c.out, ") rotate(-90)\">");
      mica_canvas_text(&c, 0, 0, "m", MICA_ANCHOR_MIDDLE, 12, plot->bottom - plot->top, o.y.label);
      mica_bytes_text(&c.out, "</g>\n");
    }
  }
  const double preview = pictures ? 146 : 0;
  s.preview_top = o.height - preview;
  if (o.class_names && s.classes > 0) draw_classes(&c, &s, plot->top, o.height - preview - 4);
  if (pictures) {
    mica_canvas_rect(&c, o.width - side_column + 12, s.preview_top, 120, 120, "u", " rx=\"4\"/>");
    mica_canvas_text(&c, o.width - side_column + 72, s.preview_top + 64, "k", MICA_ANCHOR_MIDDLE,
                     11, 120, "point at a mark");
  }
  s.radius = n <= 300 ? 4 : n <= 1500 ? 3.2 : 2.4;
  int64_t shown[SHOWN_MAX];
  const int32_t shown_count = o.pictures ? choose_shown(&s, shown) : 0;
  int32_t next = 0;
  for (int64_t i = 0; i < n; i++) {
    if (next < shown_count && shown[next] == i)
      next++;
    else
      draw_point(&c, &s, i, false);
  }
  for (int32_t k = 0; k < shown_count; k++) draw_point(&c, &s, shown[k], true);
  if (!x_range.any || !y_range.any)
    mica_canvas_text(&c, (plot->left + plot->right) / 2, (plot->top + plot->bottom) / 2, "m",
                     MICA_ANCHOR_MIDDLE, 12, o.width, "no data");
  return mica_canvas_finish(&c, out);
}
