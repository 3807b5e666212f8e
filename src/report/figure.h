/* report/figure.h: what every kind of figure is drawn with: the finished figure, a canvas that
 * writes SVG, axes with ticks, and legends.
 *
 * Colours are CSS classes that the figure's style defines for light and for dark pages: s0 to s9
 * set the current colour of a series, and the classes of shapes use it. Figures define no ids, so
 * any number of them live in one page; clipping is done by nested svg elements.
 */
#ifndef MICA_REPORT_FIGURE_H
#define MICA_REPORT_FIGURE_H

#include <mica/report.h>

#include "report/markup.h"

enum { MICA_SERIES_COLOURS = 10, MICA_RAMP_LEVELS = 16 };

struct mica_figure {
  char *svg; /* the whole document */
  size_t length;
  size_t style_begin,
      style_end;     /* the style element, which a page holds once for all its figures */
  size_t root_begin; /* behind the XML declaration */
};

/* A figure again from its SVG document, as mica_figure_svg gave it. */
mica_status mica_figure_from_svg(const char *svg, mica_figure **out);

/* The CSS of all figures. */
extern const char mica_figure_style[];

/* ---- canvas ---- */

typedef struct mica_canvas {
  mica_bytes out;
  double width, height;
  size_t style_begin, style_end, root_begin;
} mica_canvas;

typedef enum mica_anchor { MICA_ANCHOR_START, MICA_ANCHOR_MIDDLE, MICA_ANCHOR_END } mica_anchor;

/* Begin a figure; `title` is also its description for those who cannot see it, else `kind` is. */
void mica_canvas_begin(mica_canvas *c, double width, double height, const char *title,
                       const char *kind);
/* The finished figure, or the canvas's error. */
mica_status mica_canvas_finish(mica_canvas *c, mica_figure **out);
void mica_canvas_discard(mica_canvas *c);

/* Text cut with an ellipsis to `room` pixels at `size` pixels; the whole of it then shows on hover.
 */
void mica_canvas_text(mica_canvas *c, double x, double y, const char *class_name,
                      mica_anchor anchor, double size, double room, const char *text);
void mica_canvas_line(mica_canvas *c, double x1, double y1, double x2, double y2,
                      const char *class_name);
/* Opens "<rect ..."; `tail` ends the element ("/>" or ">" to put a title in it). */
void mica_canvas_rect(mica_canvas *c, double x, double y, double width, double height,
                      const char *class_name, const char *tail);
/* Shape number k % 5 (disc, square, triangle, diamond, cross) of radius r, without class. */
void mica_canvas_marker(mica_canvas *c, int k, double x, double y, double r);
/* A title element, shown on hover. */
void mica_canvas_hover(mica_canvas *c, const char *text);
/* An image element with the picture as PNG in a data URI. `class_name` may be NULL. */
void mica_canvas_picture(mica_canvas *c, const mica_picture *picture, double x, double y,
                         double width, double height, const char *class_name);
/* Number attributes: ` NAME="VALUE"`. */
void mica_canvas_attribute(mica_canvas *c, const char *name, double value);

/* About how wide a text is in pixels at a font size of `size`. */
double mica_text_width(const char *text, double size);

/* MICA_ERR_INVALID unless `picture` has 1, 3 or 4 channels and sides of 1 to 1024. */
mica_status mica_picture_check(const mica_picture *picture);

/* ---- axes ---- */

enum { MICA_TICKS_MAX = 24 };

typedef struct mica_scale {
  bool log;
  double low, high;  /* data; on a log axis already their log10 */
  double begin, end; /* pixels; begin > end for an axis that runs upwards */
  int ticks;
  double tick[MICA_TICKS_MAX]; /* data */
  char label[MICA_TICKS_MAX][32];
} mica_scale;

/* A running range of the finite (on a log axis: positive) values seen. */
typedef struct mica_range {
  double low, high;
  bool any;
} mica_range;
void mica_range_add(mica_range *range, double value, mica_axis_scale scale);

/* Check an axis of the caller's: MICA_ERR_INVALID with `which` ("x") in the message. */
mica_status mica_axis_check(const mica_axis *axis, const char *which);

/* Fit a scale to data between two pixels. An end that the axis does not fix is `pad` of the range
 * beyond the data. About one tick every `spacing` pixels. */
void mica_scale_fit(mica_scale *s, const mica_axis *axis, const mica_range *range, double pad,
                    double begin, double end, double spacing);
/* The pixel of a value; NaN for a gap. */
double mica_scale_at(const mica_scale *s, double value);

/* The rectangle in which data is drawn. */
typedef struct mica_plot {
  double left, top, right, bottom;
  mica_scale x, y;
} mica_plot;

/* Grid lines, ticks, tick labels and axis labels. */
void mica_plot_frame(mica_canvas *c, const mica_plot *plot, const mica_axis *x, const mica_axis *y);
/* The room that the tick labels and the label of a vertical axis need. */
double mica_scale_label_width(const mica_scale *s);

/* ---- legends ---- */

typedef enum mica_key_shape { MICA_KEY_LINE, MICA_KEY_BOX, MICA_KEY_MARKER } mica_key_shape;

/* A legend in rows that wrap at `right`, or its height alone when `c` is NULL. Names that are NULL
 * have no entry. Returns the height, 0 without entries. */
double mica_legend(mica_canvas *c, const char *const *names, int n, mica_key_shape shape,
                   double left, double top, double right);

/* ---- options ---- */

/* Fill `out` from `defaults` and then from as much as `given` (NULL: nothing) has by its size
 * field. */
mica_status mica_report_options_complete(void *out, const void *defaults, size_t bytes,
                                         const void *given);
/* MICA_ERR_INVALID unless a figure's side is 120 to 4000. */
mica_status mica_figure_side_check(const char *name, int32_t pixels);

#endif
