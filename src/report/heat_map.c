/* Heat maps and confusion matrices: one grid of coloured cells, two ways to fill it. */
#include "report/figure.h"

#include <stdio.h>
#include <string.h>

#include "report/number.h"

typedef struct cell {
  char ramp; /* 'h' or 'e', or 0 for an empty cell */
  int level; /* 0 to MICA_RAMP_LEVELS - 1 */
  char text[24];
  char hover[400];
} cell;

typedef struct grid {
  int32_t rows, columns;
  const char *const *row_names, *const *column_names;
  const char *row_label, *column_label;
  void (*fill)(const struct grid *g, int32_t row, int32_t column, cell *out);
  const void *data; /* fill's */
  double left, top, cell_width, cell_height;
  bool texts, hovers;
} grid;

static double longest_name(const char *const *names, int32_t n) {
  double width = 0;
  for (int32_t i = 0; names && i < n; i++) width = fmax(width, mica_text_width(names[i], 11));
  return width;
}

static int level_of(double share) {
  const int level = (int)(share * MICA_RAMP_LEVELS);
  return level < 0 ? 0 : level >= MICA_RAMP_LEVELS ? MICA_RAMP_LEVELS - 1 : level;
}

/* Lay the grid out in `width` pixels with `margin` kept free on the right; returns the figure's
 * height. */
static double grid_layout(grid *g, double width, double margin, bool title, double least_cell) {
  const double names = fmin(longest_name(g->row_names, g->rows), width * 0.3);
  g->left = (g->row_label ? 20 : 2) + (names > 0 ? names + 8 : 0);
  g->top = title ? 26 : 4;
  g->cell_width = fmin((width - g->left - margin) / g->columns, 72);
  g->cell_height = fmax(fmin(g->cell_width, 36), least_cell);
  /* tall maps of many rows get flat cells rather than an endless page */
  if (g->cell_height * g->rows > 1.4 * width)
    g->cell_height = fmax(1.4 * width / g->rows, least_cell);
  const double column_names = longest_name(g->column_names, g->columns);
  double foot = 6;
  if (column_names > g->cell_width - 4)
    foot += fmin(column_names, 120) * 0.72 + 14; /* turned */
  else if (column_names > 0)
    foot += 16;
  return g->top + g->cell_height * g->rows + foot + (g->column_label ? 18 : 0);
}

/* Neighbours of one colour are drawn as one rectangle when nothing tells them apart. */
static void draw_cells(mica_canvas *c, const grid *g) {
  mica_bytes_text(&c->out, "<g shape-rendering=\"crispEdges\">\n");
  for (int32_t r = 0; r < g->rows; r++) {
    const double y = g->top + r * g->cell_height;
    for (int32_t k = 0; k < g->columns;) {
      cell now = {0}, next = {0};
      g->fill(g, r, k, &now);
      int32_t end = k + 1;
      for (; !g->texts && !g->hovers && end < g->columns; end++) {
        g->fill(g, r, end, &next);
        if (next.ramp != now.ramp || next.level != now.level) break;
      }
      const double x = g->left + k * g->cell_width,
                   gap = g->cell_width > 8 && g->cell_height > 8 && g->texts;
      char class_name[8];
      if (now.ramp)
        snprintf(class_name, sizeof class_name, "%c%d", now.ramp, now.level);
      else
        strcpy(class_name, "u");
      mica_canvas_rect(c, x, y, (end - k) * g->cell_width - gap, g->cell_height - gap, class_name,
                       g->hovers ? ">" : "/>");
      if (g->hovers) {
        mica_canvas_hover(c, now.hover);
        mica_bytes_text(&c->out, "</rect>");
      }
      if (g->texts && now.text[0]) {
        const bool strong =
            now.ramp && now.level >= 10 /* where white text begins to be the clearer one */;
        const double size = 11;
        mica_bytes_text(&c->out, "<g font-size=\"11\" pointer-events=\"none\">");
        mica_canvas_text(c, x + (g->cell_width - gap) / 2, y + g->cell_height / 2 + 4,
                         strong ? "i" : "n", MICA_ANCHOR_MIDDLE, size, g->cell_width + 6, now.text);
        mica_bytes_text(&c->out, "</g>");
      }
      k = end;
    }
    mica_bytes_text(&c->out, "\n");
  }
  mica_bytes_text(&c->out, "</g>\n");
}

/* Names that would touch are written at every second, third, ... line. */
static int32_t stride_for(double cell_size, double needed) {
  return cell_size >= needed ? 1 : (int32_t)ceil(needed / cell_size);
}

static void draw_names(mica_canvas *c, const grid *g) {
  const double bottom = g->top + g->rows * g->cell_height;
  mica_bytes_text(&c->out, "<g font-size=\"11\">\n");
  if (g->row_names)
    for (int32_t r = 0; r < g->rows; r += stride_for(g->cell_height, 12))
      mica_canvas_text(c, g->left - 7, g->top + (r + 0.5) * g->cell_height + 4, "", MICA_ANCHOR_END,
                       11, g->left - (g->row_label ? 27 : 9), g->row_names[r]);
  double foot = bottom + 4;
  if (g->column_names) {
    const double longest = longest_name(g->column_names, g->columns);
    const bool turned = longest > g->cell_width - 4;
    for (int32_t k = 0; k < g->columns; k += turned ? stride_for(g->cell_width, 13) : 1) {
      const double x = g->left + (k + 0.5) * g->cell_width;
      if (!turned) {
        mica_canvas_text(c, x, bottom + 14, "", MICA_ANCHOR_MIDDLE, 11, g->cell_width + 4,
                         g->column_names[k]);
        continue;
      }
      mica_bytes_text(&c->out, "<g transform=\"translate(");
      mica_markup_coordinate(&c->out, x + 4);
      mica_bytes_text(&c->out, " ");
      mica_markup_coordinate(&c->out, bottom + 12);
      mica_bytes_text(&c->out, ") rotate(-45)\">");
      mica_canvas_text(c, 0, 0, "", MICA_ANCHOR_END, 11, 120, g->column_names[k]);
      mica_bytes_text(&c->out, "</g>");
    }
    foot += turned ? fmin(longest, 120) * 0.72 + 14 : 16;
  }
  mica_bytes_text(&c->out, "</g>\n");
  if (g->column_label)
    mica_canvas_text(c, g->left + g->columns * g->cell_width / 2, foot + 14, "m",
                     MICA_ANCHOR_MIDDLE, 12, g->columns * g->cell_width + g->left, g->column_label);
  if (g->row_label) {
    mica_bytes_text(&c->out, "<g transform=\"translate(12 ");
    mica_markup_coordinate(&c->out, (g->top + bottom) / 2);
    mica_bytes_text(&c->out, ") rotate(-90)\">");
    mica_canvas_text(c, 0, 0, "m", MICA_ANCHOR_MIDDLE, 12, fmax(bottom - g->top, 60), g->row_label);
    mica_bytes_text(&c->out, "</g>\n");
  }
}

static const char *name_or(const char *const *names, int32_t i, const char *what, char text[32]) {
  if (names && names[i]) return names[i];
  snprintf(text, 32, "%s %d", what, (int)i);
  return text;
}

static mica_status check_names(const char *const *names, int32_t n, const char *which) {
  for (int32_t i = 0; names && i < n; i++)
    if (!names[i]) return mica_fail(MICA_ERR_INVALID, "%s name %d is NULL", which, (int)i);
  return MICA_OK;
}

/* ---- heat map ---- */

typedef struct heat {
  const double *values;
  double low, high;
  bool diverging;
  int digits;
} heat;

static void fill_heat(const grid *g, int32_t row, int32_t column, cell *out) {
  const heat *h = g->data;
  const double value = h->values[(int64_t)row * g->columns + column];
  char number[MICA_NUMBER_TEXT], row_text[32], column_text[32];
  if (g->hovers)
    snprintf(out->hover, sizeof out->hover, "%.150s, %.150s: %s",
             name_or(g->row_names, row, "row", row_text),
             name_or(g->column_names, column, "column", column_text),
             mica_number_significant(number, value, 6, true));
  if (!isfinite(value)) {
    out->ramp = 0;
    out->level = 0;
    return;
  }
  if (g->texts)
    snprintf(out->text, sizeof out->text, "%.23s",
             mica_number_significant(number, value, h->digits, false));
  /* halves, so that a range of the whole number line does not overflow */
  if (h->diverging) {
    const double reach = fmax(fabs(h->low), fabs(h->high));
    out->ramp = value < 0 ? 'e' : 'h';
    out->level = reach > 0 ? level_of(fabs(value) / reach) : 0;
  } else {
    out->ramp = 'h';
    const double span = h->high / 2 - h->low / 2;
    out->level = span > 0 ? level_of((value / 2 - h->low / 2) / span) : 0;
  }
}

/* The colours with the values they stand for. */
static void draw_scale(mica_canvas *c, const grid *g, const heat *h, double x) {
  const double height = fmin(g->rows * g->cell_height, 130), top = g->top;
  const int levels = h->diverging ? 2 * MICA_RAMP_LEVELS : MICA_RAMP_LEVELS;
  const double reach = fmax(fabs(h->low), fabs(h->high));
  for (int i = 0; i < levels; i++) {
    char class_name[8];
    const int from_top = levels - 1 - i;
    if (h->diverging && from_top < MICA_RAMP_LEVELS)
      snprintf(class_name, sizeof class_name, "e%d", MICA_RAMP_LEVELS - 1 - from_top);
    else
      snprintf(class_name, sizeof class_name, "h%d",
               h->diverging ? from_top - MICA_RAMP_LEVELS : from_top);
    mica_canvas_rect(c, x, top + height * i / levels, 10, height / levels + 0.5, class_name, "/>");
  }
  mica_bytes_text(&c->out, "\n");
  /* digits in proportion to the range: an end that is next to nothing in it is written as 0 */
  const double low = h->diverging ? -reach : h->low, high = h->diverging ? reach : h->high;
  const double span = high / 2 - low / 2;
  const double end[2] = {high, low};
  for (int i = 0; i < 2; i++) {
    char number[MICA_NUMBER_TEXT];
    if (span >= 1e-5 && fabs(low) < 1e5 && fabs(high) < 1e5)
      mica_number_fixed(number, end[i], (int)fmax(2 - floor(log10(span)), 0), true);
    else
      mica_number_scientific(number, end[i], 2);
    mica_canvas_text(c, x + 15, i ? top + height : top + 9, "k", MICA_ANCHOR_START, 11, 55, number);
  }
}

mica_status mica_figure_heat_map(const double *values, int32_t rows, int32_t columns,
                                 const mica_heat_map_options *options, mica_figure **out) {
  static const mica_heat_map_options defaults = MICA_HEAT_MAP_OPTIONS;
  mica_heat_map_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  if (!status && (rows < 1 || rows > 512 || columns < 1 || columns > 512 || !values))
    status = mica_fail(MICA_ERR_INVALID,
                       "a heat map of %d x %d cells, expected 1 to 512 a side and values",
                       (int)rows, (int)columns);
  if (!status && (o.digits < 0 || o.digits > 17))
    status =
        mica_fail(MICA_ERR_INVALID, "a heat map with %d digits, expected 0 to 17", (int)o.digits);
  if (!status && o.low >= o.high)
    status = mica_fail(MICA_ERR_INVALID,
                       "a heat map's colours go from %g to %g, expected low < high", o.low, o.high);
  if (!status && (isinf(o.low) || isinf(o.high)))
    status = mica_fail(MICA_ERR_INVALID,
                       "a heat map's colours end at infinity, expected numbers or NaN");
  if (!status) status = mica_figure_side_check("width", o.width);
  if (!status) status = check_names(o.row_names, rows, "row");
  if (!status) status = check_names(o.column_names, columns, "column");
  if (status) return status;

  mica_range range = {0};
  for (int64_t i = 0; i < (int64_t)rows * columns; i++)
    mica_range_add(&range, values[i], MICA_AXIS_LINEAR);
  const heat h = {.values = values,
                  .low = isnan(o.low) ? range.low : o.low,
                  .high = isnan(o.high) ? range.high : o.high,
                  .diverging = o.diverging != 0,
                  .digits = o.digits};
  grid g = {.rows = rows,
            .columns = columns,
            .row_names = o.row_names,
            .column_names = o.column_names,
            .row_label = o.row_label,
            .column_label = o.column_label,
            .fill = fill_heat,
            .data = &h,
            .hovers = (int64_t)rows * columns <= 2500};
  const double height = grid_layout(&g, o.width, 84, o.title != NULL, 2);
  g.texts = o.digits > 0 && g.cell_height >= 14 && g.cell_width >= 6.2 * (o.digits + 2);
  mica_canvas c;
  mica_canvas_begin(&c, o.width, fmax(height, g.top + 60), o.title, "heat map");
  draw_cells(&c, &g);
  draw_names(&c, &g);
  if (range.any) draw_scale(&c, &g, &h, g.left + columns * g.cell_width + 12);
  return mica_canvas_finish(&c, out);
}

/* ---- confusion matrix ---- */

typedef struct confusion {
  const int64_t *counts;
  double total[200]; /* of each true class */
} confusion;

static void fill_confusion(const grid *g, int32_t row, int32_t column, cell *out) {
  const confusion *m = g->data;
  const int64_t count = m->counts[(int64_t)row * g->columns + column];
  const double share = m->total[row] > 0 ? (double)count / m->total[row] : 0;
  /* a few errors among many must still be seen: the square root spreads the low end */
  out->ramp = row == column ? 'h' : count ? 'e' : 0;
  out->level = count == 0 ? 0 : level_of(row == column ? share : sqrt(share) * 0.94 + 0.06);
  if (g->texts && count > 0) snprintf(out->text, sizeof out->text, "%lld", (long long)count);
  if (!g->hovers) return;
  char a[32], b[32], number[MICA_NUMBER_TEXT];
  snprintf(out->hover, sizeof out->hover, "%.130s taken for %.130s: %lld (%s %%)",
           name_or(g->row_names, row, "class", a), name_or(g->row_names, column, "class", b),
           (long long)count, mica_number_fixed(number, share * 100, 1, false));
}

mica_status mica_figure_confusion(const int64_t *counts, const char *const *names, int32_t classes,
                                  const mica_confusion_options *options, mica_figure **out) {
  static const mica_confusion_options defaults = MICA_CONFUSION_OPTIONS;
  mica_confusion_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  if (!status && (classes < 1 || classes > 200 || !counts))
    status =
        mica_fail(MICA_ERR_INVALID,
                  "a confusion matrix of %d classes, expected 1 to 200 and counts", (int)classes);
  if (!status) status = mica_figure_side_check("width", o.width);
  if (!status) status = check_names(names, classes, "class");
  if (status) return status;

  confusion m = {.counts = counts};
  int64_t greatest = 0;
  for (int32_t r = 0; r < classes; r++)
    for (int32_t k = 0; k < classes; k++) {
      const int64_t count = counts[(int64_t)r * classes + k];
      if (count < 0)
        return mica_fail(MICA_ERR_INVALID,
                         "a confusion matrix has %lld at row %d, column %d, expected 0 or more",
                         (long long)count, (int)r, (int)k);
      m.total[r] += (double)count;
      if (count > greatest) greatest = count;
    }
  grid g = {.rows = classes,
            .columns = classes,
            .row_names = names,
            .column_names = names,
            .row_label = "true class",
            .column_label = "predicted class",
            .fill = fill_confusion,
            .data = &m,
            .hovers = classes <= 50};
  const double height = grid_layout(&g, o.width, 58, o.title != NULL, 3);
  char text[32];
  snprintf(text, sizeof text, "%lld", (long long)greatest);
  g.texts = g.cell_height >= 14 && g.cell_width >= mica_text_width(text, 11) + 2;
  mica_canvas c;
  mica_canvas_begin(&c, o.width, height, o.title, "confusion matrix");
  draw_cells(&c, &g);
  draw_names(&c, &g);
  if (g.cell_height >= 12) {
    const double x = g.left + classes * g.cell_width + 8;
    for (int32_t r = 0; r < classes; r++) {
      char number[MICA_NUMBER_TEXT], percent[MICA_NUMBER_TEXT + 8];
      if (m.total[r] > 0)
        snprintf(percent, sizeof percent, "%s\u202f%%",
                 mica_number_fixed(number,
                                   100 * (double)counts[(int64_t)r * classes + r] / m.total[r], 1,
                                   false));
      else
        snprintf(percent, sizeof percent, "\u2013");
      mica_canvas_text(&c, x, g.top + (r + 0.5) * g.cell_height + 4, "k", MICA_ANCHOR_START, 11, 60,
                       percent);
    }
    mica_canvas_text(&c, x, g.top - 6, "k", MICA_ANCHOR_START, 11, 60, o.title ? "right" : "");
  }
  return mica_canvas_finish(&c, out);
}
