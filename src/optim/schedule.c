/* Schedules: the factor of the base learning rate over the steps of a run, after a linear warm-up.
 * Those of two and three phases are in schedule_phases.c.
 */
#include "optim/schedule.h"

#include <math.h>

double mica_schedule_steps(double share, int64_t total) {
  return share < 1 ? share * (double)total : share;
}

double mica_schedule_end(double end, double final_lr, double base) {
  return final_lr > 0 && base > 0 ? final_lr / base : end;
}

/* 0..1 through what comes after the warm-up. */
static double progress(const mica_schedule_options *o, int64_t step, int64_t total) {
  const double warm = mica_schedule_steps(o->warmup, total), rest = (double)total - warm;
  const double p = rest > 0 ? ((double)step - warm) / rest : 1;
  return p < 0 ? 0 : p > 1 ? 1 : p;
}

static double end_of(const mica_schedule_options *o, double base) {
  return mica_schedule_end(o->end, o->final_lr, base);
}

static double constant(const void *options, double base, int64_t step, int64_t total) {
  (void)options, (void)base, (void)step, (void)total;
  return 1;
}
static double linear(const void *options, double base, int64_t step, int64_t total) {
  const mica_schedule_options *o = options;
  return 1 + (end_of(o, base) - 1) * progress(o, step, total);
}
static double cosine(const void *options, double base, int64_t step, int64_t total) {
  const mica_schedule_options *o = options;
  const double end = end_of(o, base);
  return end + (1 - end) * (1 + cos(acos(-1) * progress(o, step, total))) / 2;
}
static double polynomial(const void *options, double base, int64_t step, int64_t total) {
  const mica_schedule_options *o = options;
  const double end = end_of(o, base);
  return end + (1 - end) * pow(1 - progress(o, step, total), o->power);
}
static double multi_step(const void *options, double base, int64_t step, int64_t total) {
  (void)base;
  const mica_schedule_options *o = options;
  double factor = 1;
  for (int i = 0; i < o->at.n; i++)
    if ((double)step >= mica_schedule_steps(o->at.v[i], total)) factor *= o->gamma;
  return factor;
}
static double steps(const void *options, double base, int64_t step, int64_t total) {
  (void)base;
  const mica_schedule_options *o = options;
  const double every = mica_schedule_steps(o->every, total);
  return every > 0 ? pow(o->gamma, floor((double)step / every)) : 1;
}
/* 1 at the end of the warm-up, as its ramp would be (Vaswani et al. 2017, equation 3). */
static double inverse_sqrt(const void *options, double base, int64_t step, int64_t total) {
  (void)base;
  const mica_schedule_options *o = options;
  const double warm = mica_schedule_steps(o->warmup, total);
  return (double)step > warm ? sqrt((warm + 1) / ((double)step + 1)) : 1;
}

mica_status mica_schedule_parse(mica_engine *engine, const char *spec, mica_spec **out) {
  mica_status status = mica_spec_parse(engine, MICA_KIND_SCHEDULE, spec, out);
  if (status != MICA_OK) return status;
  const mica_component *c = mica_spec_component(*out);
  const mica_schedule_functions *f = c->functions;
  if (f->check) status = f->check(mica_spec_options(*out));
  if (status == MICA_OK) return MICA_OK;
  mica_fail_within("schedule %s", c->name);
  mica_spec_free(*out);
  *out = NULL;
  return status;
}

double mica_schedule_rate(const mica_spec *schedule, double base, int64_t step, int64_t total) {
  const mica_schedule_functions *f = mica_spec_component(schedule)->functions;
  const mica_schedule_options *o = mica_spec_options(schedule);
  const double factor = f->factor(o, base, step, total);
  if (f->own_warmup) return factor;
  const double warm = mica_schedule_steps(o->warmup, total);
  /* The first step is not lost: it has one part of the ramp. */
  return (double)step < warm ? factor * ((double)step + 1) / (warm + 1) : factor;
}

double mica_schedule_factor(const mica_spec *schedule, int64_t step, int64_t total) {
  return mica_schedule_rate(schedule, 0, step, total);
}

/* clang-format off */
#define ROW(name, def, lo, hi, help)                                                               \
  {#name, MICA_OPTION_FLOAT, def, lo, hi, NULL, help, offsetof(mica_schedule_options, name)}
static const mica_option table[] = {
    ROW(warmup, "0", 0, 1e12, "linear warm-up: steps, or a share of all when below 1"),
    ROW(end, "0", 0, 1, "last factor (linear, cosine, polynomial)"),
    {"at", MICA_OPTION_FLOATS, "0.3,0.6,0.8", 0, 1e12, NULL,
     "milestones: steps, or shares of all when below 1", offsetof(mica_schedule_options, at)},
    ROW(gamma, "0.2", 0, 1e6, "factor at each milestone (multi-step) or after each part (step)"),
    ROW(final_lr, "0", 0, 1e6, "the last rate itself, in place of `end`; 0: `end` holds"),
    ROW(power, "1", 0, 100, "of polynomial"),
    ROW(every, "0.3", 0, 1e12, "length of a part (step): steps, or a share of all when below 1"),
    {0}};
/* clang-format on */

#define SCHEDULE(symbol, text, summary, fn)                                                        \
  static const mica_schedule_functions symbol##_functions = {fn, false, NULL};                     \
  const mica_component mica_component_schedule_##symbol = {MICA_COMPONENT_HEAD,                    \
                                                           MICA_KIND_SCHEDULE,                     \
                                                           text,                                   \
                                                           summary,                                \
                                                           NULL,                                   \
                                                           table,                                  \
                                                           sizeof(mica_schedule_options),          \
                                                           0,                                      \
                                                           0,                                      \
                                                           &symbol##_functions}

SCHEDULE(constant, "constant", "the base rate throughout", constant);
SCHEDULE(multi_step, "multi-step", "times gamma at each milestone", multi_step);
SCHEDULE(step, "step", "times gamma after each part", steps);
SCHEDULE(cosine, "cosine", "half a cosine down to `end`", cosine);
SCHEDULE(linear, "linear", "a line down to `end`", linear);
SCHEDULE(polynomial, "polynomial", "a power of what is left, down to `end`", polynomial);
SCHEDULE(inverse_sqrt, "inverse-sqrt", "over the root of the steps since the warm-up",
         inverse_sqrt);
