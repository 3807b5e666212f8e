/* mica help, mica version. */
#include "cli/cli.h"

#include <string.h>

/* One a line. */
// clang-format off
const cli_group cli_groups[] = {
    {"make a model", {"train", "fit", "select"}},
    {"put it to work", {"predict", "eval", "embed", "search", "generate", "explain"}},
    {"get what others published", {"model", "data"}},
    {"prove a claim", {"paper"}},
    {"look", {"info", "measure", "list", "help", "version"}},
    {NULL, {NULL}},
};
// clang-format on

const cli_term cli_environment[] = {
    {"MICA_MODELS", "where `mica model get` keeps networks; $XDG_CACHE_HOME/mica/models, "
                    "~/.cache/mica/models"},
    {"MICA_DATA",
     "where `mica data get` keeps data sets; $XDG_CACHE_HOME/mica/data, ~/.cache/mica/data"},
    {"MICA_CATALOGUE", "a JSON file with further models and data sets (docs/formats.md)"},
    {"MICA_MIRROR", "fetch https://HOST/PATH from MICA_MIRROR/HOST/PATH; http is allowed then"},
    {"https_proxy, no_proxy", "heeded by downloads, as by curl"},
    {"MICA_ISA", "instruction set: generic, avx2, avx512; the best there is"},
    {"MICA_LIBRARIES", "0: own kernels only, no oneDNN, no OpenBLAS"},
    {"OMP_NUM_THREADS", "threads where --threads names none"},
    {NULL, NULL}};

const cli_term cli_exit_codes[] = {
    {"0", "done"},
    {"1", "failed; the message on standard error names what and why"},
    {"2", "wrong usage: verb, flag, value or number of operands"},
    {"3", "the claim of a paper was not shown"},
    {"130", "stopped with Ctrl-C; what can be continued is kept"},
    {NULL, NULL}};

const cli_term cli_examples[] = {
    {"mica train resnet:depth=20 --data photos/ -o parts.mica --report report",
     "a network from photos/bolt/*.jpg, photos/nut/*.jpg ..."},
    {"mica predict parts.mica new.jpg", "new.jpg,1,bolt,0.93"},
    {"mica eval parts.mica --data more-photos/", "accuracy by class"},
    {"mica search query photos.index new.jpg", "the pictures that are nearest to it"},
    {"mica generate book.mica --prompt 'It was'", "what a language model goes on with"},
    {"mica model get resnet18", "a published network as a model file"},
    {"mica data info photos/", "classes, parts, sizes, unreadable files"},
    {"mica info checkpoint.pth", "tensors, architecture, what would load"},
    {NULL, NULL}};

const cli_verb *cli_verb_find(const char *name) {
  for (int i = 0; cli_verbs[i]; i++)
    if (strcmp(cli_verbs[i]->name, name) == 0) return cli_verbs[i];
  return NULL;
}

bool cli_grouped(const cli_verb *verb) {
  for (const cli_group *g = cli_groups; g->title; g++)
    for (int i = 0; g->verb[i]; i++)
      if (strcmp(g->verb[i], verb->name) == 0) return true;
  return false;
}

void cli_help_verb(FILE *to, const cli_verb *v) {
  fprintf(to, "usage: mica %s%s%s%s\n\n%s.\n", v->name, *v->operands ? " " : "", v->operands,
          v->flags[0].name ? " [flags]" : "", v->summary);
  if (v->flags[0].name) fprintf(to, "\nflags:\n");
  for (const cli_flag *f = v->flags; f->name; f++) {
    char left[64];
    snprintf(left, sizeof left, "%s%s%s%s%s", f->name, f->alias ? ", " : "",
             f->alias ? f->alias : "", f->value ? " " : "", f->value ? f->value : "");
    fprintf(to, "  %-24s %s%s%s%s\n", left, f->help, f->def ? " (" : "", f->def ? f->def : "",
            f->def ? ")" : "");
  }
  if (v->more) fprintf(to, "\n%s\n", v->more);
}

static void print_verb(const cli_verb *v) {
  printf("  %-8s %s\n", v->name, v->summary);
}

static void print_terms(const char *title, const cli_term *t, int width) {
  printf("\n%s:\n", title);
  for (; t->name; t++) printf("  %-*s %s\n", width, t->name, t->meaning);
}

static void print_overview(void) {
  printf("mica %s: representation learning in C\n\nusage: mica VERB [operands] [flags]\n",
         mica_version());
  for (const cli_group *g = cli_groups; g->title; g++) {
    printf("\n%s:\n", g->title);
    for (int i = 0; g->verb[i]; i++) {
      const cli_verb *v = cli_verb_find(g->verb[i]);
      if (v) print_verb(v);
    }
  }
  for (int i = 0; cli_verbs[i]; i++)
    if (!cli_grouped(cli_verbs[i])) print_verb(cli_verbs[i]);
  printf("\nexamples:\n");
  for (const cli_term *t = cli_examples; t->name; t++)
    printf("  %s\n      %s\n", t->name, t->meaning);
  print_terms("exit codes", cli_exit_codes, 4);
  print_terms("environment", cli_environment, 22);
  printf("\n`mica help VERB` tells a verb's flags; -- ends them. `mica list` tells the models, "
         "losses\n"
         "and optimisers with their options.\n");
}

static int run_help(const cli_args *a) {
  if (cli_on(a, "--man")) {
    cli_manual(stdout);
    return EXIT_OK;
  }
  if (cli_on(a, "--names")) {
    for (int i = 0; cli_verbs[i]; i++) puts(cli_verbs[i]->name);
    return EXIT_OK;
  }
  if (!a->n_operands) {
    print_overview();
    return EXIT_OK;
  }
  const cli_verb *verb = cli_verb_find(a->operand[0]);
  if (verb) {
    cli_help_verb(stdout, verb);
    return EXIT_OK;
  }
  const char *names[32];
  int n = 0;
  for (; cli_verbs[n] && n < 32; n++) names[n] = cli_verbs[n]->name;
  const char *near = mica_nearest_name(a->operand[0], names, n);
  return cli_usage(a, "no verb '%s'%s%s%s", a->operand[0], near ? "; did you mean " : "",
                   near ? near : "", near ? "?" : "");
}

static int run_version(const cli_args *a) {
  if (cli_on(a, "--json"))
    printf("{\"version\": \"%s\"}\n", mica_version());
  else
    printf("mica %s\n", mica_version());
  return EXIT_OK;
}

static const cli_flag help_flags[] = {
    {"--man", NULL, NULL, NULL, "print the manual page (man's own format)"},
    {"--names", NULL, NULL, NULL, "print the verbs, one a line"},
    {NULL, NULL, NULL, NULL, NULL}};
static const cli_flag version_flags[] = {{"--json", NULL, NULL, NULL, "print a JSON line"},
                                         {NULL, NULL, NULL, NULL, NULL}};

const cli_verb verb_help = {
    "help", "[VERB]", "tell what there is, and all about a verb", help_flags, 0, 1, run_help, NULL};
const cli_verb verb_version = {"version", "", "print the version", version_flags,
                               0,         0,  run_version,         NULL};
