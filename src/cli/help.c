/* mica help, mica version, mica list. */
#include "cli/cli.h"

#include <string.h>

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

static int run_help(const cli_args *a) {
  if (a->n_operands) {
    for (int i = 0; cli_verbs[i]; i++)
      if (strcmp(cli_verbs[i]->name, a->operand[0]) == 0) {
        cli_help_verb(stdout, cli_verbs[i]);
        return EXIT_OK;
      }
    return cli_usage(a, "no verb '%s'", a->operand[0]);
  }
  printf("mica %s: representation learning in C\n\nusage: mica VERB [operands] [flags]\n\n",
         mica_version());
  for (int i = 0; cli_verbs[i]; i++)
    printf("  %-8s %s\n", cli_verbs[i]->name, cli_verbs[i]->summary);
  printf("\n`mica help VERB` tells a verb's flags, `mica list` the models, losses and optimisers, "
         "with their "
         "options.\n\nexit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C "
         "(resumable)\n");
  return EXIT_OK;
}

static int run_version(const cli_args *a) {
  (void)a;
  printf("mica %s\n", mica_version());
  return EXIT_OK;
}

static void list_options(const mica_component *c) {
  for (const mica_option *o = c->options; o && o->name; o++) {
    printf("      %-14s %s", o->name, o->help);
    if (o->choices) printf(": %s", o->choices);
    printf(" (%s)\n", o->def ? o->def : "");
  }
}

static int run_list(const cli_args *a) {
  mica_engine *engine;
  if (cli_engine(a, &engine) != MICA_OK) return cli_failed(a);
  bool any = false;
  for (int k = 0; k < MICA_KIND_COUNT; k++) {
    const char *kind = mica_kind_name((mica_kind)k);
    if (a->n_operands && strcmp(a->operand[0], kind) != 0) continue;
    const mica_component *c = mica_component_at(engine, (mica_kind)k, 0);
    if (!c) continue;
    any = true;
    if (!cli_on(a, "--json")) printf("%s:\n", kind);
    for (int i = 0; (c = mica_component_at(engine, (mica_kind)k, i)); i++) {
      if (cli_on(a, "--json")) {
        printf("{\"kind\": \"%s\", \"name\": \"%s\", \"summary\": \"%s\"}\n", kind, c->name,
               c->summary);
        continue;
      }
      printf("  %-14s %s\n", c->name, c->summary);
      list_options(c);
    }
  }
  mica_engine_free(engine);
  if (any) return EXIT_OK;
  return cli_usage(a, "nothing of the kind '%s'", a->n_operands ? a->operand[0] : "");
}

static const cli_flag none[] = {{NULL, NULL, NULL, NULL, NULL}};
static const cli_flag list_flags[] = {CLI_COMMON_FLAGS};

const cli_verb verb_help = {"help", "[VERB]", "tell what there is", none, 0, 1, run_help, NULL};
const cli_verb verb_version = {"version", "", "print the version", none, 0, 0, run_version, NULL};
const cli_verb verb_list = {
    "list",     "[KIND]", "list models, losses, optimisers and the like with their options",
    list_flags, 0,        1,
    run_list,   NULL};
