/* mica list: everything that is chosen by name, with its options. */
#include "cli/cli.h"

#include "base/buffer.h"
#include "base/json.h"
#include "base/options.h"

#include <string.h>

/* Components of the stable interface keep their names and options; those that stand for a single
 * published method may still change. */
static const char *tier(const mica_component *c) {
  return c->slug ? "experimental" : "stable";
}

static void print_options(const mica_component *c) {
  for (const mica_option *o = c->options; o && o->name; o++) {
    printf("      %-14s %s", o->name, o->help);
    if (o->choices) printf(": %s", o->choices);
    const bool bounded = o->lo != 0 || o->hi != 0; /* NOLINT: 0 and 0 mean no bounds */
    printf(" (%s%s%s", o->def ? o->def : "", o->def && *o->def ? "; " : "",
           mica_option_type_name(o->type));
    if (bounded) printf(" from %.9g to %.9g", o->lo, o->hi);
    printf(")\n");
  }
}

static const char *type_word(mica_option_type type) {
  static const char *const words[] = {"bool",   "int",  "float",  "string",
                                      "choice", "ints", "floats", "spec"};
  return words[type];
}

static mica_status print_json(const char *kind, const mica_component *c) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "kind", kind);
  mica_json_put_text(&w, "name", c->name);
  mica_json_put_text(&w, "summary", c->summary);
  mica_json_put_text(&w, "tier", tier(c));
  mica_json_put_text(&w, "paper", c->slug);
  mica_json_write_name(&w, "options");
  mica_json_begin_array(&w);
  for (const mica_option *o = c->options; o && o->name; o++) {
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "name", o->name);
    mica_json_put_text(&w, "type", type_word(o->type));
    mica_json_put_text(&w, "default", o->def ? o->def : "");
    if (o->lo != 0 || o->hi != 0) {
      mica_json_put_double(&w, "from", o->lo);
      mica_json_put_double(&w, "to", o->hi);
    }
    if (o->choices) mica_json_put_text(&w, "choices", o->choices);
    mica_json_put_text(&w, "help", o->help);
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  const mica_status status = b.status;
  if (status == MICA_OK) puts(b.data);
  mica_bytes_free(&b);
  return status;
}

/* The kind of that name, MICA_KIND_COUNT when there is none. */
static int kind_of(const char *name) {
  int k = 0;
  while (k < MICA_KIND_COUNT && strcmp(mica_kind_name((mica_kind)k), name) != 0) k++;
  return k;
}

static int no_such_kind(const cli_args *a, const mica_engine *engine) {
  const char *names[MICA_KIND_COUNT];
  int n = 0;
  for (int k = 0; k < MICA_KIND_COUNT; k++)
    if (mica_component_at(engine, (mica_kind)k, 0)) names[n++] = mica_kind_name((mica_kind)k);
  const char *near = mica_nearest_name(a->operand[0], names, n);
  mica_bytes all = {0};
  for (int i = 0; i < n; i++) mica_bytes_printf(&all, "%s%s", i ? ", " : "", names[i]);
  const int code = cli_usage(a, "nothing of the kind '%s'%s%s%s (there are: %s)", a->operand[0],
                             near ? "; did you mean " : "", near ? near : "", near ? "?" : "",
                             all.data ? all.data : "");
  mica_bytes_free(&all);
  return code;
}

static int list(const cli_args *a, const mica_engine *engine) {
  const char *only_kind = a->n_operands ? a->operand[0] : NULL;
  const char *only_name = a->n_operands > 1 ? a->operand[1] : NULL;
  const int kind = only_kind ? kind_of(only_kind) : 0;
  if (kind == MICA_KIND_COUNT || (only_kind && !mica_component_at(engine, (mica_kind)kind, 0)))
    return no_such_kind(a, engine);
  if (only_name && !mica_component_find(engine, (mica_kind)kind, only_name)) return cli_failed(a);
  for (int k = 0; k < MICA_KIND_COUNT; k++) {
    const char *name = mica_kind_name((mica_kind)k);
    const mica_component *c = mica_component_at(engine, (mica_kind)k, 0);
    if (!c || (only_kind && k != kind)) continue;
    if (!cli_on(a, "--json") && !cli_on(a, "--names") && !only_name) printf("%s:\n", name);
    for (int i = 0; (c = mica_component_at(engine, (mica_kind)k, i)); i++) {
      if (only_name && strcmp(only_name, c->name) != 0) continue;
      if (cli_on(a, "--names")) {
        puts(c->name);
      } else if (!cli_on(a, "--json")) {
        printf("  %-14s %s%s%s%s\n", c->name, c->summary, c->slug ? " (experimental; paper " : "",
               c->slug ? c->slug : "", c->slug ? ")" : "");
        print_options(c);
      } else if (print_json(name, c) != MICA_OK) {
        return cli_failed(a);
      }
    }
  }
  return EXIT_OK;
}

static int run(const cli_args *a) {
  mica_engine *engine;
  if (cli_engine(a, &engine) != MICA_OK) return cli_failed(a);
  const int code = list(a, engine);
  mica_engine_free(engine);
  return code;
}

static const cli_flag flags[] = {{"--names", NULL, NULL, NULL, "names only, one a line"},
                                 CLI_COMMON_FLAGS};

const cli_verb verb_list = {
    "list",
    "[KIND [NAME]]",
    "list models, losses, optimisers and the like with their options",
    flags,
    0,
    2,
    run,
    "Behind each option: its default, what it takes, its range.\n"
    "examples: mica list optimiser\n"
    "          mica list model resnet\n"
    "Components whose paper is named are experimental: their options may change."};
