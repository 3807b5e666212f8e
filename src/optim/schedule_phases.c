/* Schedules of phases: warm-up, stable, decay; and one cycle up and down. */
#include "optim/schedule.h"

#include <math.h>

/* ---- warm-up, stable, decay (Hu et al. 2024; the forms of Hagele et al. 2024) ---- */

static double wsd(const void *options, double base, int64_t step, int64_t total) {
  const mica_wsd_options *o = options;
  const double length = mica_schedule_steps(o->decay, total);
  const double p = length > 0 ? 1 - ((double)total - (double)step) / length : 0;
  const double end = mica_schedule_end(o->end, o->final_lr, base);
  if (p <= 0) return 1;
  double left = 0;
  switch (o->form) {
  case MICA_DECAY_LINEAR: left = 1 - p; break;
  case MICA_DECAY_COSINE: left = (1 + cos(acos(-1) * p)) / 2; break;
  case MICA_DECAY_SQRT: left = 1 - sqrt(p); break;
  default: return pow(end, p);
  }
  return end + (1 - end) * left;
}

static mica_status check_wsd(const void *options) {
  const mica_wsd_options *o = options;
  if (o->form != MICA_DECAY_EXPONENTIAL || o->end > 0 || o->final_lr > 0) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID, "form=exponential needs an end or final_lr above 0");
}

/* clang-format off */
#define WSD(name, def, lo, hi, help)                                                               \
  {#name, MICA_OPTION_FLOAT, def, lo, hi, NULL, help, offsetof(mica_wsd_options, name)}
static const mica_option wsd_table[] = {
    WSD(warmup, "0.05", 0, 1e12, "linear warm-up: steps, or a share of all when below 1"),
    WSD(decay, "0.1", 0, 1e12, "the last part: steps, or a share of all when below 1"),
    WSD(end, "0", 0, 1, "last factor"),
    WSD(final_lr, "0", 0, 1e6, "the last rate itself, in place of `end`; 0: `end` holds"),
    {"form", MICA_OPTION_CHOICE, "linear", 0, 0, "linear|cosine|sqrt|exponential",
     "of the last part; sqrt is 1 - sqrt(share of it)", offsetof(mica_wsd_options, form)},
    {0}};
/* clang-format on */

static const mica_schedule_functions wsd_functions = {wsd, false, check_wsd};
const mica_component mica_component_schedule_wsd = {MICA_COMPONENT_HEAD,
                                                    MICA_KIND_SCHEDULE,
                                                    "wsd",
                                                    "warm-up, the base rate, then a decay",
                                                    NULL,
                                                    wsd_table,
                                                    sizeof(mica_wsd_options),
                                                    0,
                                                    0,
                                                    &wsd_functions};

/* ---- one cycle (Smith & Topin 2019), PyTorch's OneCycleLR ---- */

static double between(int32_t form, double from, double to, double p) {
  return form == MICA_CYCLE_LINEAR ? from + (to - from) * p
                                   : to + (from - to) * (1 + cos(acos(-1) * p)) / 2;
}

static double onecycle(const void *options, double base, int64_t step, int64_t total) {
  (void)base;
  const mica_onecycle_options *o = options;
  const double rise = mica_schedule_steps(o->warmup, total), last = (double)total - 1;
  const double s = (double)step < last ? (double)step : last;
  const double level[4] = {o->start, 1, o->three_phase ? o->start : o->end, o->end};
  const double until[3] = {rise - 1, o->three_phase ? 2 * rise - 2 : last, last};
  double from = 0;
  for (int i = 0; i < 3; i++) {
    const bool final = i == 2 || (i == 1 && !o->three_phase);
    if (s <= until[i] || final) {
      const double p = until[i] > from ? (s - from) / (until[i] - from) : 1;
      return between(o->form, level[i], level[i + 1], p < 0 ? 0 : p > 1 ? 1 : p);
    }
    from = until[i];
  }
  return o->end;
}

static mica_status check_onecycle(const void *options) {
  const mica_onecycle_options *o = options;
  if (!o->three_phase || o->warmup >= 1 || o->warmup <= 0.5) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID,
                   "warmup is %g; two of three phases last as long, so it is at "
                   "most 0.5",
                   o->warmup);
}

/* clang-format off */
#define CYCLE(name, type, def, lo, hi, choices, help)                                              \
  {#name, MICA_OPTION_##type, def, lo, hi, choices, help, offsetof(mica_onecycle_options, name)}
static const mica_option onecycle_table[] = {
    CYCLE(warmup, FLOAT, "0.3", 0, 1e12, NULL, "the rise: steps, or a share of all when below 1"),
    CYCLE(start, FLOAT, "0.04", 0, 1, NULL, "first factor"),
    CYCLE(end, FLOAT, "4e-6", 0, 1, NULL, "last factor"),
    CYCLE(form, CHOICE, "cosine", 0, 0, "cosine|linear", "of each phase"),
    CYCLE(three_phase, BOOL, "false", 0, 0, NULL,
          "fall to the first factor in as many steps as the rise has, then to the last"),
    {0}};
/* clang-format on */

static const mica_schedule_functions onecycle_functions = {onecycle, true, check_onecycle};
const mica_component mica_component_schedule_onecycle = {MICA_COMPONENT_HEAD,
                                                         MICA_KIND_SCHEDULE,
                                                         "onecycle",
                                                         "up to the base rate and down again",
                                                         NULL,
                                                         onecycle_table,
                                                         sizeof(mica_onecycle_options),
                                                         0,
                                                         0,
                                                         &onecycle_functions};
