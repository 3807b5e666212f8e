/* Axes: from a range of data to pixels, ticks at 1, 2 or 5 times a power of ten, and the plot's
 * frame. */
#include "report/figure.h"

#include <stdio.h>
#include <string.h>

#include "report/number.h"

/* Data beyond this cannot be told apart on paper, and differences of it must not overflow. */
static const double extreme = 1e300;

static bool fits(double value, mica_axis_scale scale) {
  return isfinite(value) && (scale == MICA_AXIS_LINEAR || value > 0);
}

void mica_range_add(mica_range *range, double value, mica_axis_scale scale) {
  if (!fits(value, scale)) return;
  if (!range->any || value < range->low) range->low = value;
  if (!range->any || value > range->high) range->high = value;
  range->any = true;
}

mica_status mica_axis_check(const mica_axis *axis, const char *which) {
  if (axis->scale != MICA_AXIS_LINEAR && axis->scale != MICA_AXIS_LOG)
    return mica_fail(MICA_ERR_INVALID, "the %s axis has scale %d, expected linear or logarithmic",
                     which, (int)axis->scale);
  const double end[2] = {axis->low, axis->high};
  for (int i = 0; i < 2; i++)
    if (!isnan(end[i]) && !fits(end[i], axis->scale))
      return mica_fail(MICA_ERR_INVALID, "the %s axis ends at %g, expected a %s number or NaN",
                       which, end[i], axis->scale == MICA_AXIS_LOG ? "positive" : "finite");
  if (axis->low >= axis->high)
    return mica_fail(MICA_ERR_INVALID, "the %s axis goes from %g to %g, expected low < high", which,
                     axis->low, axis->high);
  return MICA_OK;
}

double mica_scale_at(const mica_scale *s, double value) {
  if (!fits(value, s->log ? MICA_AXIS_LOG : MICA_AXIS_LINEAR)) return NAN;
  const double v = s->log ? log10(value) : fmin(fmax(value, -extreme), extreme);
  const double share = (v - s->low) / (s->high - s->low);
  return s->begin + share * (s->end - s->begin);
}

/* 1, 2 or 5 times a power of ten, the least that is at least `raw`. */
static double nice_step(double raw) {
  const double power = pow(10, floor(log10(raw)));
  const double share = raw / power;
  return power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
}

/* How the ticks of one axis are written: all alike, with the decimals their step needs. */
static void label_ticks(mica_scale *s, double step) {
  double greatest = 0;
  for (int i = 0; i < s->ticks; i++) greatest = fmax(greatest, fabs(s->tick[i]));
  const int step_exponent = (int)floor(log10(step) + 1e-9);
  for (int i = 0; i < s->ticks; i++) {
    char number[MICA_NUMBER_TEXT];
    if (greatest >= 1e15 || greatest < 1e-4) {
      const int digits = greatest > 0 ? (int)floor(log10(greatest) + 1e-9) - step_exponent + 1 : 1;
      snprintf(s->label[i], sizeof s->label[i], "%.31s",
               mica_number_scientific(number, s->tick[i], digits));
      continue;
    }
    static const char suffix[] = {0, 'k', 'M', 'G', 'T'};
    int thousands = 0;
    double divisor = 1;
    while (thousands < 4 && greatest >= (thousands ? 1e3 : 1e4) * divisor) {
      divisor *= 1e3;
      thousands++;
    }
    const int decimals = 3 * thousands - step_exponent;
    mica_number_fixed(number, s->tick[i] / divisor,
                      decimals < 0    ? 0
                      : decimals > 12 ? 12
                                      : decimals,
                      false);
    snprintf(s->label[i], sizeof s->label[i], "%.28s%c", number,
             s->tick[i] == 0 ? 0 : suffix[thousands]);
  }
}

static void linear_ticks(mica_scale *s, double low, double high, int count) {
  double step = nice_step((high - low) / count);
  double first = ceil(low / step - 1e-9);
  while (floor(high / step + 1e-9) - first + 1 > MICA_TICKS_MAX) {
    step = nice_step(step * 1.5);
    first = ceil(low / step - 1e-9);
  }
  s->ticks = 0;
  for (double i = first; i * step <= high + 1e-9 * step && s->ticks < MICA_TICKS_MAX; i++)
    s->tick[s->ticks++] = i * step;
  label_ticks(s, step);
}

static void log_label(char label[32], double value) {
  char number[MICA_NUMBER_TEXT];
  if (value >= 0.999e-3 && value < 9.999e3)
    mica_number_significant(number, value, 3, true);
  else
    mica_number_scientific(number, value, 3);
  snprintf(label, 32, "%.31s", number);
}

static void log_ticks(mica_scale *s, int count) {
  const double decades = s->high - s->low;
  if (decades < 1.2) {
    linear_ticks(s, pow(10, s->low), pow(10, s->high), count);
    return;
  }
  static const double within[3] = {1, 2, 5};
  const int parts = decades * 3 <= count ? 3 : 1;
  int stride = (int)ceil(decades / (count < 2 ? 2 : count));
  if (stride < 1) stride = 1;
  const double first = floor(s->low / stride) * stride;
  s->ticks = 0;
  for (double power = first; power <= s->high + 1e-9; power += stride)
    for (int i = 0; i < parts && s->ticks < MICA_TICKS_MAX; i++) {
      const double value = within[i] * pow(10, power);
      const double at = log10(value);
      if (!(value > 0) || at < s->low - 1e-9 || at > s->high + 1e-9) continue;
      log_label(s->label[s->ticks], value);
      s->tick[s->ticks++] = value;
    }
}

void mica_scale_fit(mica_scale *s, const mica_axis *axis, const mica_range *range, double pad,
                    double begin, double end, double spacing) {
  *s = (mica_scale){.log = axis->scale == MICA_AXIS_LOG, .begin = begin, .end = end};
  const bool fixed_low = !isnan(axis->low), fixed_high = !isnan(axis->high);
  double low = fixed_low ? axis->low : range->any ? range->low : NAN;
  double high = fixed_high ? axis->high : range->any ? range->high : NAN;
  if (isnan(low) && isnan(high)) {
    low = s->log ? 1 : 0;
    high = s->log ? 10 : 1;
  } else if (isnan(low)) {
    low = high;
  } else if (isnan(high)) {
    high = low;
  }
  if (s->log) {
    low = log10(low);
    high = log10(high);
  } else {
    low = fmin(fmax(low, -extreme), extreme);
    high = fmin(fmax(high, -extreme), extreme);
  }
  /* an empty range, or one that the ends or rounding make too narrow to draw, is widened */
  const double magnitude = fmax(fabs(low), fabs(high));
  const double least = s->log ? 0.02 : magnitude > 0 ? magnitude * 1e-9 : 1e-300;
  if (!(high - low >= least)) {
    const double half = s->log ? 0.5 : magnitude > 1e-290 ? magnitude * 0.1 : 0.5;
    const bool free_low = !fixed_low, free_high = !fixed_high;
    if (free_low && free_high) {
      const double middle = low + (high - low) / 2;
      low = middle - half;
      high = middle + half;
    } else if (free_low) {
      low = high - half;
    } else {
      high = low + half;
    }
    pad = 0;
  }
  const double room = (high - low) * pad;
  if (!fixed_low) {
    const bool positive = low >= 0;
    low -= room;
    if (!s->log && positive && low < 0) low = 0;
  }
  if (!fixed_high) high += room;
  s->low = low;
  s->high = high;
  int count = (int)(fabs(end - begin) / spacing);
  if (count < 2) count = 2;
  if (count > 12) count = 12;
  if (s->log)
    log_ticks(s, count);
  else
    linear_ticks(s, low, high, count);
}

double mica_scale_label_width(const mica_scale *s) {
  double width = 0;
  for (int i = 0; i < s->ticks; i++) width = fmax(width, mica_text_width(s->label[i], 11));
  return width;
}

void mica_plot_frame(mica_canvas *c, const mica_plot *plot, const mica_axis *x,
                     const mica_axis *y) {
  const double middle = (plot->left + plot->right) / 2;
  for (int i = 0; i < plot->y.ticks; i++) {
    const double at = mica_scale_at(&plot->y, plot->y.tick[i]);
    mica_canvas_line(c, plot->left, at, plot->right, at, "g");
    mica_canvas_text(c, plot->left - 7, at + 4, "k", MICA_ANCHOR_END, 11, 200, plot->y.label[i]);
  }
  double last = -1e9;
  for (int i = 0; i < plot->x.ticks; i++) {
    const double at = mica_scale_at(&plot->x, plot->x.tick[i]);
    mica_canvas_line(c, at, plot->bottom, at, plot->bottom + 4, "a");
    const double half = mica_text_width(plot->x.label[i], 11) / 2;
    if (at - half < last + 6) continue; /* labels that would touch give way */
    last = at + half;
    mica_canvas_text(c, at, plot->bottom + 17, "k", MICA_ANCHOR_MIDDLE, 11, 200, plot->x.label[i]);
  }
  mica_canvas_line(c, plot->left, plot->bottom, plot->right, plot->bottom, "a");
  if (x->label)
    mica_canvas_text(c, middle, plot->bottom + 34, "m", MICA_ANCHOR_MIDDLE, 12,
                     plot->right - plot->left, x->label);
  if (y->label) {
    mica_bytes_text(&c->out, "<g transform=\"translate(");
    mica_markup_coordinate(&c->out, 12);
    mica_bytes_text(&c->out, " ");
    mica_markup_coordinate(&c->out, (plot->top + plot->bottom) / 2);
    mica_bytes_text(&c->out, ") rotate(-90)\">");
    mica_canvas_text(c, 0, 0, "m", MICA_ANCHOR_MIDDLE, 12, plot->bottom - plot->top, y->label);
    mica_bytes_text(&c->out, "</g>\n");
  }
}

double mica_legend(mica_canvas *c, const char *const *names, int n, mica_key_shape shape,
                   double left, double top, double right) {
  const double row = 18, swatch = 24, gap = 16;
  double x = left, y = top;
  bool any = false;
  for (int i = 0; i < n; i++) {
    if (!names[i] || !*names[i]) continue;
    const double room = fmin(mica_text_width(names[i], 12), right - left - swatch);
    if (any && x + swatch + room > right) {
      x = left;
      y += row;
    }
    any = true;
    if (c) {
      mica_bytes_printf(&c->out, "<g class=\"s%d\">", i % MICA_SERIES_COLOURS);
      if (shape == MICA_KEY_LINE) {
        char line[16];
        snprintf(line, sizeof line, "l l%d", i / MICA_SERIES_COLOURS % 3);
        mica_canvas_line(c, x, y + 8, x + 17, y + 8, line);
      } else if (shape == MICA_KEY_BOX) {
        mica_canvas_rect(c, x + 3, y + 2, 12, 12, "d", " rx=\"2\"/>");
      } else {
        mica_canvas_marker(c, i, x + 9, y + 8, 4);
      }
      mica_bytes_text(&c->out, "</g>");
      mica_canvas_text(c, x + swatch, y + 12, "", MICA_ANCHOR_START, 12, room + 1, names[i]);
    }
    x += swatch + room + gap;
  }
  return any ? y + row - top + 4 : 0;
}
