/* Schedules: the factor of the base learning rate over the steps of a run, after a linear warm-up.
 */
#include <mica/optim.h>

#include <math.h>

static double as_steps(double share, int64_t total) {
  return share < 1 ? share * (double)total : share;
}

/* 0..1 through what comes after the warm-up. */
static double progress(const mica_schedule_options *o, int64_t step, int64_t total) {
  const double warm = as_steps(o->warmup, total), rest = (double)total - warm;
  const double p = rest > 0 ? ((double)step - warm) / rest : 1;
  return p < 0 ? 0 : p > 1 ? 1 : p;
}

static double constant(const void *options, int64_t step, int64_t total) {
  (void)options, (void)step, (void)total;
  return 1;
}
static double linear(const void *options, int64_t step, int64_t total) {
  const mica_schedule_options *o = options;
  return 1 + (o->end - 1) * progress(o, step, total);
}
static double cosine(const void *options, int64_t step, int64_t total) {
  const mica_schedule_options *o = options;
  return o->end + (1 - o->end) * (1 + cos(acos(-1) * progress(o, step, total))) / 2;
}
static double multi_step(const void *options, int64_t step, int64_t total) {
  const mica_schedule_options *o = options;
  double factor = 1;
  for (int i = 0; i < o->at.n; i++)
    if ((double)step >= as_steps(o->at.v[i], total)) factor *= o->gamma;
  return factor;
}

mica_status mica_schedule_parse(mica_engine *engine, const char *spec, mica_spec **out) {
  return mica_spec_parse(engine, MICA_KIND_SCHEDULE, spec, out);
}

double mica_schedule_factor(const mica_spec *schedule, int64_t step, int64_t total) {
  const mica_schedule_functions *f = mica_spec_component(schedule)->functions;
  const mica_schedule_options *o = mica_spec_options(schedule);
  const double warm = as_steps(o->warmup, total);
  const double factor = f->factor(o, step, total);
  /* The first step is not lost: it has one part of the ramp. */
  return (double)step < warm ? factor * ((double)step + 1) / (warm + 1) : factor;
}

static const mica_option table[] = {
    {"warmup", MICA_OPTION_FLOAT, "0", 0, 1e12, NULL,
     "linear warm-up: steps, or a share of all when below 1",
     offsetof(mica_schedule_options, warmup)},
    {"end", MICA_OPTION_FLOAT, "0", 0, 1, NULL, "last factor (linear, cosine)",
     offsetof(mica_schedule_options, end)},
    {"at", MICA_OPTION_FLOATS, "0.3,0.6,0.8", 0, 1e12, NULL,
     "milestones: steps, or shares of all when below 1", offsetof(mica_schedule_options, at)},
    {"gamma", MICA_OPTION_FLOAT, "0.2", 0, 1e6, NULL, "factor at each milestone",
     offsetof(mica_schedule_options, gamma)},
    {0}};

#define SCHEDULE(symbol, text, summary, fn)                                                        \
  static const mica_schedule_functions symbol##_functions = {fn};                                  \
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
SCHEDULE(cosine, "cosine", "half a cosine down to `end`", cosine);
SCHEDULE(linear, "linear", "a line down to `end`", linear);
