/* Initial values by name. Those of weights (normal, uniform, orthogonal, binary) leave biases as
 * they are; those of normalisations give a gain and a shift of zero. */
#include "param/rules.h"
#include "param/tree.h"

#include <string.h>

/* The part that an entry plays in its layer. */
typedef enum part { PART_WEIGHT, PART_BIAS, PART_GAIN, PART_SHIFT } part;

static part part_of(const mica_param *q) {
  const char *path = mica_param_path(q);
  const size_t n = strlen(path);
  const bool bias = n >= 4 && strcmp(path + n - 4, "bias") == 0;
  if (mica_param_flags(q) & MICA_PARAM_NORM) return bias ? PART_SHIFT : PART_GAIN;
  return bias ? PART_BIAS : PART_WEIGHT;
}

/* ---- weights ---- */

typedef struct weight_options {
  uint32_t size;
  double gain;
  int32_t fan; /* in, out, both */
} weight_options;

/* `both` where there are two forms of the kind, in by `fan` alone or by the mean of both. */
static void weight_init(const weight_options *o, mica_init_kind kind, mica_init_kind both,
                        mica_init *init) {
  *init = (mica_init){o->fan == 2 ? both : kind, 0, 0, o->gain, o->fan == 1};
}

static mica_status normal(const void *options, const mica_param *q, mica_init *init) {
  if (part_of(q) == PART_WEIGHT)
    weight_init(options, MICA_INIT_KAIMING_NORMAL, MICA_INIT_XAVIER_NORMAL, init);
  return MICA_OK;
}

static mica_status uniform(const void *options, const mica_param *q, mica_init *init) {
  switch (part_of(q)) {
  case PART_WEIGHT:
    weight_init(options, MICA_INIT_KAIMING_UNIFORM, MICA_INIT_XAVIER_UNIFORM, init);
    break;
  case PART_GAIN: *init = (mica_init){MICA_INIT_UNIFORM, 0, 1, 0, false}; break;
  case PART_SHIFT: *init = MICA_INIT_ZEROS; break;
  case PART_BIAS: break;
  }
  return MICA_OK;
}

static mica_status orthogonal(const void *options, const mica_param *q, mica_init *init) {
  if (part_of(q) == PART_WEIGHT)
    weight_init(options, MICA_INIT_ORTHOGONAL, MICA_INIT_ORTHOGONAL, init);
  return MICA_OK;
}

static mica_status binary(const void *options, const mica_param *q, mica_init *init) {
  if (part_of(q) == PART_WEIGHT) weight_init(options, MICA_INIT_SIGN, MICA_INIT_SIGN, init);
  return MICA_OK;
}

/* ---- normalisations ---- */

static mica_status gain_and_shift(const mica_param *q, mica_init gain, double shift,
                                  mica_init *init) {
  switch (part_of(q)) {
  case PART_GAIN: *init = gain; return MICA_OK;
  case PART_SHIFT: *init = (mica_init){MICA_INIT_CONSTANT, shift, 0, 0, false}; return MICA_OK;
  default:
    return mica_fail(
        MICA_ERR_INVALID,
        "'%s' is no gain or shift of a normalisation; select with bn=", mica_param_path(q));
  }
}

static mica_status fixed(const void *options, const mica_param *q, mica_init *init) {
  (void)options;
  return gain_and_shift(q, MICA_INIT_ONES, 0, init);
}
static mica_status oneone(const void *options, const mica_param *q, mica_init *init) {
  (void)options;
  return gain_and_shift(q, MICA_INIT_ONES, 1, init);
}
static mica_status positivenegative(const void *options, const mica_param *q, mica_init *init) {
  (void)options;
  return gain_and_shift(q, (mica_init){MICA_INIT_UNIFORM, -1, 1, 0, false}, 0, init);
}

/* ---- any entry ---- */

typedef struct constant_options {
  uint32_t size;
  double value;
} constant_options;

static mica_status constant(const void *options, const mica_param *q, mica_init *init) {
  (void)q;
  const constant_options *o = options;
  *init = (mica_init){MICA_INIT_CONSTANT, o->value, 0, 0, false};
  return MICA_OK;
}

/* ---- by rules ---- */

static bool same(const mica_init *a, const mica_init *b) {
  return a->kind == b->kind && a->a == b->a && a->b == b->b && a->gain == b->gain &&
         a->fan_out == b->fan_out;
}

mica_status mica_params_initialise(mica_params *p, const char *text, int64_t *count) {
  mica_rules rules;
  mica_status status = mica_rules_parse(p, MICA_KIND_INITIALISER, text, &rules);
  if (status != MICA_OK) return status;
  int64_t n = 0;
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++) {
    mica_param *q = p->param[i];
    const mica_rule *rule = mica_rules_find(&rules, q);
    if (!rule || q->flags & MICA_PARAM_BUFFER) continue;
    const mica_initialiser_functions *f = rule->functions;
    mica_init init = q->init;
    status = f->describe(rule->options, q, &init);
    if (status != MICA_OK || same(&init, &q->init)) continue;
    status = mica_param_initialise(q, &init);
    n++;
  }
  mica_rules_free(&rules);
  if (count) *count = n;
  return status;
}

#define WEIGHT_TABLE(default_gain)                                                                 \
  {                                                                                                \
    {"gain",                                                                                       \
     MICA_OPTION_FLOAT,                                                                            \
     default_gain,                                                                                 \
     1e-9,                                                                                         \
     1e9,                                                                                          \
     NULL,                                                                                         \
     "factor of the deviation",                                                                    \
     offsetof(weight_options, gain)},                                                              \
        {"fan",                                                                                    \
         MICA_OPTION_CHOICE,                                                                       \
         "in",                                                                                     \
         0,                                                                                        \
         0,                                                                                        \
         "in|out|both",                                                                            \
         "what the deviation goes by",                                                             \
         offsetof(weight_options, fan)},                                                           \
    {                                                                                              \
      0                                                                                            \
    }                                                                                              \
  }
static const mica_option kaiming_table[] = WEIGHT_TABLE("1.4142135623730951");
static const mica_option orthogonal_table[] = {{"gain", MICA_OPTION_FLOAT, "1", 1e-9, 1e9, NULL,
                                                "factor of the matrix",
                                                offsetof(weight_options, gain)},
                                               {0}};
static const mica_option constant_table[] = {{"value", MICA_OPTION_FLOAT, "0", 0, 0, NULL,
                                              "of every element",
                                              offsetof(constant_options, value)},
                                             {0}};

#define INITIALISER(name, summary, table, bytes)                                                   \
  static const mica_initialiser_functions name##_functions = {name};                               \
  const mica_component mica_component_initialiser_##name = {                                       \
      MICA_COMPONENT_HEAD, MICA_KIND_INITIALISER, #name, summary, NULL, table, bytes, 0, 0,        \
      &name##_functions};
INITIALISER(normal, "weights: normal, by the fan (He et al. 2015)", kaiming_table,
            sizeof(weight_options))
INITIALISER(uniform, "weights: uniform, by the fan; normalisations: gain in [0, 1), shift 0",
            kaiming_table, sizeof(weight_options))
INITIALISER(orthogonal, "weights: an orthogonal matrix (Saxe et al. 2014)", orthogonal_table,
            sizeof(weight_options))
INITIALISER(binary, "weights: random signs times the layer's deviation", kaiming_table,
            sizeof(weight_options))
INITIALISER(fixed, "normalisations: gain 1, shift 0", NULL, 0)
INITIALISER(oneone, "normalisations: gain 1, shift 1", NULL, 0)
INITIALISER(positivenegative, "normalisations: gain in [-1, 1), shift 0", NULL, 0)
INITIALISER(constant, "one value", constant_table, sizeof(constant_options))
