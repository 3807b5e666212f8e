/* The manual page, made of the tables that the tool itself reads: it cannot tell anything else. */
#include "cli/cli.h"

#include <string.h>

/* Text for troff: a backslash, a leading dot or quote, and hyphens that must stay hyphens. */
static void put(FILE *to, const char *text) {
  bool start = true;
  for (; *text; text++) {
    if (start && (*text == '.' || *text == '\'')) fputs("\\&", to);
    start = *text == '\n';
    if (*text == '\\')
      fputs("\\e", to);
    else if (*text == '-')
      fputs("\\-", to);
    else
      fputc(*text, to);
  }
}

static void terms(FILE *to, const char *title, const cli_term *t) {
  fprintf(to, ".SH %s\n", title);
  for (; t->name; t++) {
    fputs(".TP\n.B \"", to);
    put(to, t->name);
    fputs("\"\n", to);
    put(to, t->meaning);
    fputs(".\n", to);
  }
}

static void verb(FILE *to, const cli_verb *v) {
  fputs(".SS \"", to);
  put(to, v->name);
  if (*v->operands) fputc(' ', to);
  put(to, v->operands);
  fputs("\"\n", to);
  put(to, v->summary);
  fputs(".\n", to);
  for (const cli_flag *f = v->flags; f->name; f++) {
    fputs(".TP\n\\fB", to);
    put(to, f->name);
    if (f->alias) {
      fputs("\\fR, \\fB", to);
      put(to, f->alias);
    }
    fputs("\\fR", to);
    if (f->value) {
      fputs(" \\fI", to);
      put(to, f->value);
      fputs("\\fR", to);
    }
    fputc('\n', to);
    put(to, f->help);
    if (f->def) {
      fputs(" (", to);
      put(to, f->def);
      fputc(')', to);
    }
    fputs(".\n", to);
  }
  if (v->more) {
    fputs(".PP\n.nf\n", to);
    put(to, v->more);
    fputs("\n.fi\n", to);
  }
}

void cli_manual(FILE *to) {
  fprintf(
      to,
      ".\\\" Made by `mica help --man`.\n"
      ".TH MICA 1 \"\" \"mica %s\" \"User Commands\"\n"
      ".SH NAME\nmica \\- train, adapt and use representations\n"
      ".SH SYNOPSIS\n.B mica\n.I verb\n.RI [ operands ]\n.RI [ flags ]\n"
      ".SH DESCRIPTION\n"
      "Trains image encoders, adapts those that others published, and uses the result. What it\n"
      "leaves is a model file\n.RI ( name .mica),\nwhich C programs open with\n.BR libmica .\n"
      "A flag may be written\n.BI \\-\\-flag= value\nor\n.BI \\-\\-flag \" value\" ;\n"
      ".B \\-\\-\nends the flags.\n"
      ".SH VERBS\n",
      mica_version());
  for (const cli_group *g = cli_groups; g->title; g++)
    for (int i = 0; g->verb[i]; i++)
      if (cli_verb_find(g->verb[i])) verb(to, cli_verb_find(g->verb[i]));
  for (int i = 0; cli_verbs[i]; i++)
    if (!cli_grouped(cli_verbs[i])) verb(to, cli_verbs[i]);
  fputs(".SH COMPONENTS\n"
        "One grammar for everything that has options, which\n.B mica list\ntells:\n"
        ".BR name:key=value:key=value ,\nlists with commas\n.RB ( sizes=8,16,32 ),\n"
        "a component inside another in parentheses, and sums of losses\n.RB ( ce+0.5*kd:T=4 ).\n",
        to);
  terms(to, "EXAMPLES", cli_examples);
  terms(to, "EXIT STATUS", cli_exit_codes);
  terms(to, "ENVIRONMENT", cli_environment);
  fputs(".SH SEE ALSO\nThe headers in\n.IR include/mica ,\n.BR pkg\\-config (1)\n.I mica\n", to);
}
