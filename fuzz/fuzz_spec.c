/* Any text to the grammar of specifications: as a sum, whose canonical text must mean the same; as
 * the options of a component without its name; as update rules for parameters. */
#include <mica/optim.h>

#include "base/options.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct options {
  uint32_t size;
  bool fast;
  int64_t steps;
  double rate;
  const char *file, *teacher;
  int32_t mode;
  mica_ints sizes;
  mica_floats betas;
} options;

#define ROW(name, type, def, choices)                                                              \
  { #name, type, def, 0, 0, choices, "", offsetof(options, name) }
static const mica_option table[] = {ROW(fast, MICA_OPTION_BOOL, "false", NULL),
                                    ROW(steps, MICA_OPTION_INT, "100", NULL),
                                    ROW(rate, MICA_OPTION_FLOAT, "0.5", NULL),
                                    ROW(file, MICA_OPTION_STRING, NULL, NULL),
                                    ROW(teacher, MICA_OPTION_SPEC, "a:b=c", NULL),
                                    ROW(mode, MICA_OPTION_CHOICE, "avg", "max|avg|gem"),
                                    ROW(sizes, MICA_OPTION_INTS, "8,16", NULL),
                                    ROW(betas, MICA_OPTION_FLOATS, "0.9,0.999", NULL),
                                    {0}};
static const mica_component loss = {MICA_COMPONENT_HEAD, .kind = MICA_KIND_LOSS,
                                    .name = "x",         .summary = "the fuzzer's",
                                    .options = table,    .options_size = sizeof(options)};

static mica_engine *engine;

static mica_params *params;

static void other_readings(const char *text) {
  mica_spec *spec;
  mica_optimiser *optimiser;
  if (mica_spec_options_parse(&loss, text, &spec) == MICA_OK)
    mica_spec_free(spec);
  else if (!*mica_last_error() || spec)
    abort();
  if (mica_optimiser_create(params, text, &optimiser) == MICA_OK)
    mica_optimiser_free(optimiser);
  else if (!*mica_last_error() || optimiser)
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!engine) {
    mica_engine_options o = MICA_ENGINE_OPTIONS;
    o.threads = 1;
    if (mica_engine_create(&o, &engine) || mica_engine_register(engine, &loss)) abort();
    if (mica_params_create(engine, 0, &params) ||
        mica_param_add(mica_node_child(mica_params_root(params), "head"), "bias", MICA_F32,
                       MICA_SHAPE(2), MICA_PARAM_TRAINABLE, NULL, NULL))
      abort();
  }
  char *text = malloc(size + 1);
  if (!text) return 0;
  if (size) memcpy(text, data, size);
  text[size] = '\0';
  mica_spec_sum sum;
  other_readings(text);
  mica_status status = mica_spec_sum_parse(engine, MICA_KIND_LOSS, text, &sum);
  free(text);
  if (status) {
    if (!*mica_last_error() || sum.n) abort();
    return 0;
  }
  for (int i = 0; i < sum.n; i++) {
    mica_spec *again;
    char *once = mica_spec_text(sum.term[i]);
    if (!once || mica_spec_parse(engine, MICA_KIND_LOSS, once, &again)) abort();
    char *twice = mica_spec_text(again);
    if (!twice || strcmp(once, twice) != 0) abort();
    mica_free(once);
    mica_free(twice);
    mica_spec_free(again);
  }
  mica_spec_sum_free(&sum);
  return 0;
}
