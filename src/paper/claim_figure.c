/* The figures that every experiment gets: lines over the points of a sweep, or bars of the arms,
 * with the interval of each mean over the seeds.
 */
#include "paper/claim.h"

#include <math.h>
#include <string.h>

/* Mean and interval of each arm at each point: [arms, points] each. */
static void means(const mica_claim_table *t, int measure, double *mean, double *low, double *high) {
  double v[MICA_CLAIM_SEEDS];
  for (int a = 0; a < t->arms; a++)
    for (int p = 0; p < t->points; p++) {
      for (int64_t s = 0; s < t->seeds; s++)
        v[s] = t->value[mica_claim_at(t, a, p, s) * t->measures + measure];
      const mica_claim_summary sum = mica_claim_summarise(v, t->seeds, MICA_CLAIM_LEVEL);
      mean[a * t->points + p] = sum.mean;
      low[a * t->points + p] = sum.interval.lo;
      high[a * t->points + p] = sum.interval.hi;
    }
}

static bool any_value(const double *v, int n) {
  for (int i = 0; i < n; i++)
    if (isfinite(v[i])) return true;
  return false;
}

static mica_status lines(const mica_claim_table *t, int measure, const double *mean,
                         const double *low, const double *high, mica_figure **out) {
  mica_series series[MICA_CLAIM_ARMS];
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  int n = 0;
  for (int a = 0; a < t->arms; a++) {
    const int at = a * t->points;
    if (!any_value(mean + at, t->points)) continue;
    series[n++] =
        (mica_series){t->x->arms[a].name, t->point, mean + at, low + at, high + at, t->points};
  }
  o.title = t->x->title;
  o.x.label = t->x->sweep_what ? t->x->sweep_what : t->x->sweep;
  o.x.scale = t->x->sweep_log ? MICA_AXIS_LOG : MICA_AXIS_LINEAR;
  o.y.label = t->x->measures[measure].what;
  return mica_figure_line_chart(series, n, &o, out);
}

static mica_status bars(const mica_claim_table *t, int measure, const double *mean,
                        const double *low, const double *high, mica_figure **out) {
  const char *names[MICA_CLAIM_ARMS];
  double v[MICA_CLAIM_ARMS], lo[MICA_CLAIM_ARMS], hi[MICA_CLAIM_ARMS];
  mica_bar_chart_options o = MICA_BAR_CHART_OPTIONS;
  int n = 0;
  for (int a = 0; a < t->arms; a++) {
    if (!isfinite(mean[a])) continue;
    names[n] = t->x->arms[a].name;
    v[n] = mean[a];
    lo[n] = low[a];
    hi[n++] = high[a];
  }
  o.title = t->x->title;
  o.value.label = t->x->measures[measure].what;
  return mica_figure_bar_chart(names, v, lo, hi, n, 1, &o, out);
}

mica_status mica_claim_chart(const mica_claim_table *t, int measure, mica_figure **out) {
  const size_t n = (size_t)(t->arms * t->points);
  double *mean = mica_calloc(3 * n, sizeof *mean);
  if (!mean) return MICA_ERR_MEMORY;
  means(t, measure, mean, mean + n, mean + 2 * n);
  const mica_status status = t->points > 1 ? lines(t, measure, mean, mean + n, mean + 2 * n, out)
                                           : bars(t, measure, mean, mean + n, mean + 2 * n, out);
  mica_free(mean);
  return status;
}
