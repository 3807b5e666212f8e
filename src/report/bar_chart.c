/* Horizontal bars, which leave room for long names, with error bars and a line of reference. */
#include "report/figure.h"

#include "report/number.h"

typedef struct bars {
  const char *const *names;
  const double *values, *low, *high;
  int64_t n;
  int32_t per_group;
} bars;

static mica_status check(const bars *b, const mica_bar_chart_options *o) {
  if (b->n < 0 || b->n > 1000 || (b->n > 0 && (!b->names || !b->values)))
    return mica_fail(MICA_ERR_INVALID,
                     "a bar chart of %lld groups, expected 0 to 1000 with names and values",
                     (long long)b->n);
  if (b->per_group < 1 || b->per_group > 20)
    return mica_fail(MICA_ERR_INVALID, "a bar chart of %d bars a group, expected 1 to 20",
                     (int)b->per_group);
  if (!b->low != !b->high)
    return mica_fail(MICA_ERR_INVALID, "a bar chart has one end of its error bars");
  if (o->value.scale != MICA_AXIS_LINEAR)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "bars have no length on a logarithmic axis; expected a linear one");
  if (o->digits < 0 || o->digits > 17)
    return mica_fail(MICA_ERR_INVALID, "a bar chart with %d digits, expected 0 to 17",
                     (int)o->digits);
  mica_status status = mica_figure_side_check("width", o->width);
  return status ? status : mica_axis_check(&o->value, "value");
}

static void draw_bar(mica_canvas *c, const mica_plot *plot, const bars *b, int64_t i, double y,
                     double thickness, int digits) {
  const mica_scale *s = &plot->x;
  const double value = b->values[i];
  if (!isfinite(value)) {
    mica_canvas_text(c, plot->left + 6, y + thickness / 2 + 4, "k", MICA_ANCHOR_START, 11, 100,
                     "n/a");
    return;
  }
  /* bars begin at 0, or at the edge when 0 is out of sight */
  const double origin = fmin(fmax(mica_scale_at(s, 0), plot->left), plot->right);
  const double end = fmin(fmax(mica_scale_at(s, value), plot->left), plot->right);
  mica_bytes_printf(&c->out, "<g class=\"s%d\">", (int)(i % b->per_group) % MICA_SERIES_COLOURS);
  mica_canvas_rect(c, fmin(origin, end), y, fmax(fabs(end - origin), 1), thickness, "d", "/></g>");
  double reach = end;
  if (b->low && isfinite(b->low[i]) && isfinite(b->high[i])) {
    const double from = fmin(fmax(mica_scale_at(s, b->low[i]), plot->left), plot->right);
    const double to = fmin(fmax(mica_scale_at(s, b->high[i]), plot->left), plot->right);
    const double middle = y + thickness / 2, cap = fmin(4, thickness / 3);
    mica_canvas_line(c, from, middle, to, middle, "w");
    mica_canvas_line(c, from, middle - cap, from, middle + cap, "w");
    mica_canvas_line(c, to, middle - cap, to, middle + cap, "w");
    reach = fmax(reach, to);
  }
  if (!digits) return;
  char number[MICA_NUMBER_TEXT];
  mica_number_significant(number, value, digits, false);
  mica_canvas_text(c, fmax(reach, origin) + 6, y + thickness / 2 + 4, "k", MICA_ANCHOR_START, 11,
                   200, number);
}

mica_status mica_figure_bar_chart(const char *const *names, const double *values, const double *low,
                                  const double *high, int64_t n, int32_t per_group,
                                  const mica_bar_chart_options *options, mica_figure **out) {
  static const mica_bar_chart_options defaults = MICA_BAR_CHART_OPTIONS;
  const bars b = {names, values, low, high, n, per_group};
  mica_bar_chart_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  if (!status) status = check(&b, &o);
  if (status) return status;

  const int64_t count = n * per_group;
  mica_range range = {0};
  double label_width = 0;
  for (int64_t i = 0; i < n; i++) label_width = fmax(label_width, mica_text_width(names[i], 12));
  for (int64_t i = 0; i < count; i++) {
    mica_range_add(&range, values[i], MICA_AXIS_LINEAR);
    if (!low || !isfinite(values[i])) continue;
    mica_range_add(&range, low[i], MICA_AXIS_LINEAR);
    mica_range_add(&range, high[i], MICA_AXIS_LINEAR);
  }
  const bool any = range.any;
  if (any && isnan(o.value.low)) mica_range_add(&range, 0, MICA_AXIS_LINEAR);
  if (any && isfinite(o.reference)) mica_range_add(&range, o.reference, MICA_AXIS_LINEAR);

  const double thickness = per_group == 1 ? 18 : 13, gap = per_group == 1 ? 8 : 12;
  const double group = thickness * per_group + gap;
  mica_plot plot = {.top = o.title ? 26 : 8};
  plot.left = fmin(label_width, o.width * 0.4) + 10;
  plot.right = o.width - (o.digits ? 16 + 0.6 * 11 * (o.digits + 2) : 14);
  if (o.bar_names)
    plot.top += mica_legend(NULL, o.bar_names, per_group, MICA_KEY_BOX, plot.left, 0, o.width);
  const bool reference = isfinite(o.reference) && any;
  const double legend_top = o.title ? 26 : 8;
  if (reference) plot.top += 16;
  plot.bottom = plot.top + group * (double)(n ? n : 1) + 2;

  mica_canvas c;
  mica_canvas_begin(&c, o.width, plot.bottom + (o.value.label ? 42 : 24), o.title, "bar chart");
  if (o.bar_names)
    mica_legend(&c, o.bar_names, per_group, MICA_KEY_BOX, plot.left, legend_top, o.width);
  const bool at_zero_low = isnan(o.value.low) && any && range.low >= 0;
  const bool at_zero_high = isnan(o.value.high) && any && range.high <= 0;
  mica_axis axis = o.value;
  if (at_zero_low) axis.low = 0;
  if (at_zero_high && !at_zero_low) axis.high = 0;
  mica_scale_fit(&plot.x, &axis, &range, 0.03, plot.left, plot.right, 70);
  for (int i = 0; i < plot.x.ticks; i++) {
    const double x = mica_scale_at(&plot.x, plot.x.tick[i]);
    mica_canvas_line(&c, x, plot.top, x, plot.bottom, "g");
    mica_canvas_text(&c, x, plot.bottom + 16, "k", MICA_ANCHOR_MIDDLE, 11, 200, plot.x.label[i]);
  }
  if (o.value.label)
    mica_canvas_text(&c, (plot.left + plot.right) / 2, plot.bottom + 34, "m", MICA_ANCHOR_MIDDLE,
                     12, plot.right - plot.left, o.value.label);
  for (int64_t i = 0; i < n; i++) {
    const double top = plot.top + group * (double)i + gap / 2;
    mica_canvas_text(&c, plot.left - 8, top + thickness * per_group / 2 + 4, "", MICA_ANCHOR_END,
                     12, plot.left - 8, names[i]);
    for (int32_t j = 0; j < per_group; j++)
      draw_bar(&c, &plot, &b, i * per_group + j, top + thickness * j,
               thickness - (per_group > 1 ? 1 : 0), o.digits);
  }
  if (!any)
    mica_canvas_text(&c, (plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2 + 4, "m",
                     MICA_ANCHOR_MIDDLE, 12, o.width, "no data");
  const double zero = any ? mica_scale_at(&plot.x, 0) : plot.left;
  if (zero >= plot.left - 0.5 && zero <= plot.right + 0.5)
    mica_canvas_line(&c, zero, plot.top, zero, plot.bottom, "a");
  if (reference) {
    const double x = mica_scale_at(&plot.x, o.reference);
    if (x >= plot.left && x <= plot.right) {
      mica_canvas_line(&c, x, plot.top - 2, x, plot.bottom, "r");
      mica_canvas_text(&c, x, plot.top - 6, "k", MICA_ANCHOR_MIDDLE, 11, 200,
                       o.reference_name ? o.reference_name : "reference");
    }
  }
  return mica_canvas_finish(&c, out);
}
