/* mica export: a model file made smaller, with what that does to size, speed and accuracy. */
#include "cli/catalogue.h"
#include "cli/cli.h"

#include "base/file.h"
#include "base/options.h"
#include "base/progress.h"
#include "model/head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PIECE 64 /* pictures that are answered at once */
#define TURNS 7  /* of a measurement, of which the median counts */

/* ---- what to do ---- */

static const mica_option low_rank_table[] = {
    {"ratio", MICA_OPTION_FLOAT, "0", 0, 1e6, NULL, "parameters before by those after",
     offsetof(mica_low_rank_options, ratio)},
    {"keep", MICA_OPTION_FLOAT, "0", 0, 1, NULL, "share of the parameters",
     offsetof(mica_low_rank_options, keep)},
    {"energy", MICA_OPTION_FLOAT, "0", 0, 1, NULL, "share of the sum of squared singular values",
     offsetof(mica_low_rank_options, energy)},
    {"rank", MICA_OPTION_INT, "0", 0, 1 << 20, NULL, "of every layer",
     offsetof(mica_low_rank_options, rank)},
    {"include", MICA_OPTION_STRING, NULL, 0, 0, NULL, "patterns",
     offsetof(mica_low_rank_options, include)},
    {"exclude", MICA_OPTION_STRING, NULL, 0, 0, NULL, "patterns",
     offsetof(mica_low_rank_options, exclude)},
    {0}};

/* "keep=0.5:exclude=attn.*" into the options; `text` is cut up, and pointed into. */
static mica_status read_low_rank(char *text, mica_low_rank_options *o) {
  mica_status status = MICA_OK;
  for (char *at = text; at && status == MICA_OK;) {
    char *next = strchr(at, ':'), *value;
    if (next) *next++ = 0;
    value = strchr(at, '=');
    if (value) *value++ = 0;
    status = mica_options_set(NULL, low_rank_table, o, at, value ? value : "");
    at = next;
  }
  return status == MICA_OK ? status : mica_fail_within("--low-rank");
}

static void tell_layers(const mica_low_rank_report *r) {
  fprintf(stderr, "%-40s %12s %6s %12s %12s\n", "layer", "size", "rank", "largest", "relative");
  for (int64_t i = 0; i < r->layers; i++) {
    const mica_low_rank_layer *l = &r->layer[i];
    char size[48];
    snprintf(size, sizeof size, "%lldx%lld", (long long)l->outputs, (long long)l->inputs);
    if (l->rank)
      fprintf(stderr, "%-40s %12s %6lld %12.4g %12.4g\n", l->name, size, (long long)l->rank,
              l->largest, l->frobenius);
    else
      fprintf(stderr, "%-40s %12s   stays: a pair would not be smaller\n", l->name, size);
  }
  fprintf(stderr, "%lld of %lld layers in two factors, %lld of %lld parameters (1 / %.3g)\n",
          (long long)r->replaced, (long long)r->layers, (long long)r->after, (long long)r->before,
          r->after ? (double)r->before / (double)r->after : 0);
}

static mica_status low_rank(const cli_args *a, mica_net *net) {
  mica_low_rank_options o = MICA_LOW_RANK_OPTIONS;
  mica_low_rank_report r;
  char *text = mica_strdup(cli_text(a, "--low-rank"));
  if (!text) return MICA_ERR_MEMORY;
  mica_status status = read_low_rank(text, &o);
  if (status == MICA_OK) status = mica_low_rank(mica_net_params(net), &o, &r);
  if (status == MICA_OK) {
    if (!cli_on(a, "--json")) tell_layers(&r);
    mica_low_rank_report_clear(&r);
  }
  mica_free(text);
  return status;
}

static mica_status prune(const cli_args *a, mica_net *net) {
  int64_t kept, all;
  mica_status status = mica_adapters_merge(mica_net_params(net));
  if (status == MICA_OK)
    status = mica_params_prune(mica_net_params(net), cli_text(a, "--prune"), 0, &kept, &all);
  if (status != MICA_OK) return mica_fail_within("--prune");
  if (!cli_on(a, "--json"))
    fprintf(stderr, "pruned: %lld of %lld weights are left (%.2f %%)\n", (long long)kept,
            (long long)all, 100 * (double)kept / (double)all);
  return MICA_OK;
}

static mica_status fold(const cli_args *a, mica_net *net) {
  int64_t norms = 0, adapters = mica_adapters(mica_net_params(net));
  mica_status status = mica_adapters_merge(mica_net_params(net));
  if (status == MICA_OK) status = mica_net_fold(net, &norms);
  if (status == MICA_OK && !cli_on(a, "--json"))
    fprintf(stderr, "folded: %lld batch norms, adapters of %lld names\n", (long long)norms,
            (long long)adapters);
  return status;
}

/* Adapters from files, and which are used. */
static mica_status adapters(const cli_args *a, mica_model *m) {
  const char *text[CLI_GIVEN];
  mica_params *p = mica_net_params(m->net);
  mica_status status = MICA_OK;
  int n = cli_all(a, "--adapter", text, CLI_GIVEN);
  for (int i = 0; i < n && status == MICA_OK; i++) status = mica_adapter_load(p, text[i], NULL);
  n = cli_all(a, "--off", text, CLI_GIVEN);
  for (int i = 0; i < n && status == MICA_OK; i++) status = mica_adapter_use(p, text[i], false);
  n = cli_all(a, "--on", text, CLI_GIVEN);
  for (int i = 0; i < n && status == MICA_OK; i++) status = mica_adapter_use(p, text[i], true);
  n = cli_all(a, "--remove", text, CLI_GIVEN);
  for (int i = 0; i < n && status == MICA_OK; i++) status = mica_adapter_remove(p, text[i]);
  return status;
}

static bool wanted(const cli_args *a) {
  static const char *const all[] = {"--low-rank", "--prune", "--fold", "--quantise",
                                    "--adapter",  "--off",   "--on",   "--remove"};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (cli_text(a, all[i]) || cli_on(a, all[i])) return true;
  return false;
}

/* ---- what it does ---- */

typedef struct side {
  mica_model *model;
  mica_session *session;
  int64_t bytes, parameters;
  double one, many; /* milliseconds a picture: alone, and PIECE at once */
  int64_t right;
} side;

static mica_status look(const char *path, side *s) {
  struct stat st;
  const mica_params *p = mica_net_params(mica_model_net(s->model));
  if (stat(path, &st) != 0) return mica_fail(MICA_ERR_IO, "%s: cannot be looked at", path);
  s->bytes = (int64_t)st.st_size;
  s->parameters = mica_params_elements(p, 0) - mica_params_elements(p, MICA_PARAM_BUFFER);
  const mica_status status = mica_session_create(s->model, &s->session);
  if (status == MICA_OK) mica_session_take_pictures(s->session, true);
  return status;
}

/* What the model is there for: an answer to each picture or, of one without classes, its vector. */
static mica_status use(const side *s, const mica_view *x, mica_answer *answer, float *vector) {
  return mica_model_classes(s->model) ? mica_predict(s->session, x, answer)
                                      : mica_embed(s->session, x, vector);
}

static int by_size(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Both sides in turn, so that what else the machine does falls on both. */
static mica_status measure_speed(side *sides, const uint8_t *pixels, const mica_preprocess *p,
                                 int64_t n) {
  mica_answer answer[PIECE];
  double taken[2][TURNS];
  const int64_t at_once[2] = {1, n};
  const int64_t width = mica_net_features(mica_model_net(sides[0].model));
  float *vector = mica_malloc((size_t)(n * width) * sizeof *vector);
  mica_status status = vector ? MICA_OK : MICA_ERR_MEMORY;
  for (int k = 0; k < 2 && status == MICA_OK; k++) {
    for (int turn = -1; turn < TURNS && status == MICA_OK; turn++)
      for (int i = 0; i < 2 && status == MICA_OK; i++) {
        const double begin = mica_seconds();
        double end = begin;
        int64_t calls = 0;
        do {
          const mica_view x =
              mica_view_of((void *)(uintptr_t)pixels, MICA_U8,
                           MICA_SHAPE(at_once[k], p->height, p->width, p->channels));
          status = use(&sides[i], &x, answer, vector);
          calls++;
          end = mica_seconds();
        } while (status == MICA_OK && end - begin < 0.02);
        if (turn >= 0) taken[i][turn] = 1000 * (end - begin) / (double)(calls * at_once[k]);
      }
    for (int i = 0; i < 2 && status == MICA_OK; i++) {
      qsort(taken[i], TURNS, sizeof *taken[i], by_size);
      *(k ? &sides[i].many : &sides[i].one) = taken[i][TURNS / 2];
    }
  }
  mica_free(vector);
  return status;
}

/* The model's class of each of the data set's, by name. */
static int64_t class_of(const mica_model *m, const char *name) {
  for (int64_t c = 0; c < mica_model_classes(m); c++)
    if (strcmp(mica_model_class(m, c), name) == 0) return c;
  return MICA_CLASS_NONE;
}

/* Answers of both to every picture of the test part, or all where there is none; *n of them. */
static mica_status answer_all(side *sides, mica_dataset *ds, int64_t *n) {
  const mica_preprocess *p = mica_model_preprocess(sides[0].model);
  const int64_t size = p->height * p->width * p->channels;
  const bool test = mica_dataset_part_count(ds, MICA_PART_TEST) > 0;
  const int64_t *label = mica_tensor_data(mica_dataset_labels(ds));
  uint8_t *pixels = mica_calloc((size_t)(PIECE * size), 1);
  int64_t truth[PIECE], m = 0;
  mica_answer answer[PIECE];
  mica_status status = pixels ? MICA_OK : MICA_ERR_MEMORY;
  *n = 0;
  for (int64_t i = 0, all = mica_dataset_count(ds); i < all && status == MICA_OK; i++) {
    const mica_part part = mica_dataset_part_of(ds, i);
    const int64_t is = class_of(sides[0].model, mica_dataset_class(ds, label[i]));
    if (part != MICA_PART_COUNT && is >= 0 && (!test || part == MICA_PART_TEST) &&
        mica_dataset_read(ds, i, pixels + m * size) == MICA_OK)
      truth[m++] = is;
    if (m < PIECE && i + 1 < all) continue;
    const mica_view x =
        mica_view_of(pixels, MICA_U8, MICA_SHAPE(m, p->height, p->width, p->channels));
    for (int k = 0; k < 2 && m && status == MICA_OK; k++) {
      status = mica_predict(sides[k].session, &x, answer);
      for (int64_t j = 0; j < m && status == MICA_OK; j++)
        sides[k].right += answer[j].label == truth[j];
    }
    *n += m;
    m = 0;
  }
  /* What was read last is what speed is measured with. */
  if (status == MICA_OK && !*n)
    status =
        mica_fail(MICA_ERR_INVALID, "the data have no picture of a class that the model knows");
  if (status == MICA_OK) status = measure_speed(sides, pixels, p, PIECE);
  mica_free(pixels);
  return status;
}

static mica_status compare(const cli_args *a, side *sides, int64_t *n) {
  const char *data = cli_text(a, "--data");
  const mica_preprocess *p = mica_model_preprocess(sides[0].model);
  mica_dataset *ds = NULL;
  *n = 0;
  if (!p->height) {
    if (data) return mica_fail(MICA_ERR_UNSUPPORTED, "--data: accuracy is measured on pictures");
    return MICA_OK;
  }
  if (!data) {
    uint8_t *blank = mica_calloc((size_t)(PIECE * p->height * p->width * p->channels), 1);
    const mica_status status = blank ? measure_speed(sides, blank, p, PIECE) : MICA_ERR_MEMORY;
    mica_free(blank);
    return status;
  }
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  o.height = p->height;
  o.width = p->width;
  o.channels = p->channels;
  o.crop = p->crop;
  o.validation = 0;
  mica_status status = catalogue_open_dataset(data, &o, &ds);
  if (status == MICA_OK) status = answer_all(sides, ds, n);
  mica_dataset_free(ds);
  return status;
}

static void tell(const cli_args *a, const side *s, int64_t n, const char *out) {
  if (cli_on(a, "--json")) {
    printf("{\"model\": ");
    cli_print_json(out);
    for (int i = 0; i < 2; i++) {
      printf(", \"%s\": {\"bytes\": %lld, \"parameters\": %lld", i ? "after" : "before",
             (long long)s[i].bytes, (long long)s[i].parameters);
      if (s[i].one > 0) printf(", \"ms\": %.6g, \"ms_of_%d\": %.6g", s[i].one, PIECE, s[i].many);
      if (n) printf(", \"accuracy\": %.9g", (double)s[i].right / (double)n);
      printf("}");
    }
    printf("}\n");
    return;
  }
  printf("%-24s %14s %14s\n", "", "before", "after");
  printf("%-24s %14lld %14lld\n", "file, bytes", (long long)s[0].bytes, (long long)s[1].bytes);
  printf("%-24s %14lld %14lld\n", "parameters", (long long)s[0].parameters,
         (long long)s[1].parameters);
  if (s[0].one > 0) {
    printf("%-24s %14.4f %14.4f\n", "ms a picture, alone", s[0].one, s[1].one);
    printf("%-24s %14.4f %14.4f\n", "ms a picture, of 64", s[0].many, s[1].many);
  }
  if (n)
    printf("%-24s %13.2f%% %13.2f%%  (%lld pictures)\n", "accuracy",
           100 * (double)s[0].right / (double)n, 100 * (double)s[1].right / (double)n,
           (long long)n);
  printf("model: %s\n", out);
}

static mica_status make(const cli_args *a, mica_engine *engine, const char *out) {
  const char *quantise = cli_text(a, "--quantise");
  mica_model *m = NULL;
  if (quantise && strcmp(quantise, "int8") != 0)
    return mica_fail(MICA_ERR_INVALID, "--quantise %s: expected int8", quantise);
  mica_status status = mica_model_open(engine, a->operand[0], &m);
  if (status == MICA_OK) status = adapters(a, m);
  if (status == MICA_OK && cli_text(a, "--low-rank")) {
    status = mica_adapters_merge(mica_net_params(m->net));
    if (status == MICA_OK) status = low_rank(a, m->net);
  }
  if (status == MICA_OK && cli_text(a, "--prune")) status = prune(a, m->net);
  if (status == MICA_OK && cli_on(a, "--fold")) status = fold(a, m->net);
  if (status == MICA_OK && quantise) mica_model_set_int8(m, true);
  if (status == MICA_OK) status = mica_model_save(m, out);
  mica_model_free(m);
  return status;
}

static int run(const cli_args *a) {
  const char *out = cli_text(a, "--out");
  mica_engine *engine = NULL;
  side sides[2] = {{0}};
  int64_t n = 0;
  if (!wanted(a))
    return cli_usage(a,
                     "what is to be done? --low-rank, --prune, --fold, --quantise int8, --adapter "
                     "FILE");
  mica_status status = cli_engine(a, &engine);
  if (status == MICA_OK) status = make(a, engine, out);
  for (int i = 0; i < 2 && status == MICA_OK; i++) {
    const char *path = i ? out : a->operand[0];
    status = mica_model_open(engine, path, &sides[i].model);
    if (status == MICA_OK) status = look(path, &sides[i]);
  }
  if (status == MICA_OK) status = compare(a, sides, &n);
  if (status == MICA_OK) tell(a, sides, n, out);
  for (int i = 0; i < 2; i++) {
    mica_session_free(sides[i].session);
    mica_model_free(sides[i].model);
  }
  mica_engine_free(engine);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}

static const cli_flag flags[] = {
    {"--out", "-o", "FILE", "small.mica", "the model file to write"},
    {"--low-rank", NULL, "SPEC", NULL,
     "weights in two factors: keep=0.5, ratio=3, rank=32 or energy=0.99, with "
     ":include=PATTERNS:exclude=PATTERNS"},
    {"--prune", NULL, "RULES", NULL,
     "weights become zero but those of a mask: 'conv,linear=magnitude:share=0.3'; see `mica list "
     "mask`. To train on: --mask 'conv,linear=nonzero'"},
    {"--fold", NULL, NULL, NULL, "batch norms into convolutions, adapters into weights"},
    {"--quantise", NULL, "TYPE", NULL,
     "int8: weights as bytes with a scale for each output; what opens the file computes in "
     "float32"},
    {"--adapter", NULL, "FILE", NULL, "add an adapter that `mica train --adapter-out` wrote"},
    {"--on", NULL, "NAME", NULL, "use the adapter of that name"},
    {"--off", NULL, "NAME", NULL, "keep it, but do not use it"},
    {"--remove", NULL, "NAME", NULL, "forget it"},
    {"--data", NULL, "PATH", NULL,
     "pictures with labels: accuracy before and after, on the test part where there is one"},
    CLI_COMMON_FLAGS};

const cli_verb verb_export = {
    "export",
    "MODEL",
    "make a model file smaller or change its adapters, and tell what that costs",
    flags,
    1,
    1,
    run,
    "examples: mica export model.mica --low-rank keep=0.5 --data photos/ -o small.mica\n"
    "          mica export model.mica --fold --quantise int8 --data photos/\n"
    "          mica export base.mica --adapter winter.safetensors --adapter summer.safetensors\n"
    "                      --off summer\n\n"
    "A model in two factors may be trained on: mica train ARCHITECTURE --init small.mica."};
