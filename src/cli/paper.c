/* mica paper: published claims: what there is, what they say, and running them. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/options.h"
#include "base/progress.h"

#include <mica/paper.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

#define SETTINGS 64

static const mica_paper_functions *functions_of(const mica_component *c) {
  return c->functions;
}

/* ---- list ---- */

static void write_components(mica_json_writer *w, const char *text) {
  mica_json_write_name(w, "components");
  mica_json_begin_array(w);
  while (text && *text) {
    char word[128];
    const size_t n = strcspn(text, " ");
    snprintf(word, sizeof word, "%.*s", (int)n, text);
    if (n) mica_json_write_string(w, word);
    text += n + (text[n] == ' ');
  }
  mica_json_end_array(w);
}

static int list_json(const mica_engine *engine) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  const mica_component *c;
  mica_json_begin_array(&w);
  for (int i = 0; (c = mica_component_at(engine, MICA_KIND_PAPER, i)); i++) {
    const mica_paper_functions *p = functions_of(c);
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "slug", c->name);
    mica_json_put_text(&w, "title", p->title);
    write_components(&w, p->components);
    mica_json_put_text(&w, "arxiv", p->arxiv);
    mica_json_put_text(&w, "verdict", mica_verdict_text(p->recorded));
    mica_json_put_text(&w, "claim", p->claim);
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  const bool whole = b.status == MICA_OK;
  if (whole) puts(b.data);
  mica_bytes_free(&b);
  return whole ? EXIT_OK : EXIT_FAILED;
}

static int list(const cli_args *a, const mica_engine *engine) {
  if (a->n_operands > 1) return cli_usage(a, "list takes no operand");
  if (cli_on(a, "--json")) return list_json(engine);
  const mica_component *c;
  for (int i = 0; (c = mica_component_at(engine, MICA_KIND_PAPER, i)); i++)
    printf("%-24s %-16s %s\n", c->name, mica_verdict_text(functions_of(c)->recorded),
           functions_of(c)->title);
  return EXIT_OK;
}

/* ---- show ---- */

static void show_check(const mica_claim_check *c) {
  static const char *const words[] = {"better by at least", "better by a factor of at least",
                                      "itself beyond", "better by at most"};
  printf("    %s%s\n      %s of %s", c->what, c->shown_only ? " (not counted)" : "", c->measure,
         c->method.arm);
  if (c->kind != MICA_CHECK_VALUE) printf(" against %s", c->baseline.arm);
  printf(", %s %g%s\n", words[c->kind], c->threshold, c->each ? ", at each point" : "");
  if (c->unequal) printf("      budgets differ: %s\n", c->unequal);
}

static void show_experiment(const mica_claim_experiment *x) {
  static const char *const role[] = {"method", "baseline", "trivial", "control", "context"};
  printf("\n%s: %s\n", x->name, x->title);
  if (x->sweep) printf("  sweep over %s\n", x->sweep);
  printf("  arms:\n");
  for (const mica_claim_arm *arm = x->arms; arm->name; arm++)
    printf("    %-16s %-9s %s\n", arm->name, role[arm->role], arm->what);
  printf("  measures:\n");
  for (const mica_claim_measure *m = x->measures; m->name; m++)
    printf("    %-16s %s%s\n", m->name, m->what, m->lower_is_better ? " (lower is better)" : "");
  if (x->checks) printf("  checks:\n");
  for (const mica_claim_check *c = x->checks; c && c->what; c++) show_check(c);
}

static int show(const cli_args *a, const mica_engine *engine) {
  if (a->n_operands != 2) return cli_usage(a, "show takes one paper");
  const mica_component *c = mica_component_find(engine, MICA_KIND_PAPER, a->operand[1]);
  if (!c) return cli_failed(a);
  const mica_paper_functions *p = functions_of(c);
  printf("%s\n", p->title);
  if (p->arxiv) printf("arXiv:%s  https://arxiv.org/abs/%s\n", p->arxiv, p->arxiv);
  printf("\nclaim: %s\nverdict: %s (docs/results/%s.md)\ncomponents: %s\n", p->claim,
         mica_verdict_text(p->recorded), c->name, p->components ? p->components : "");
  for (const mica_claim_experiment *x = p->experiments; x->name; x++) show_experiment(x);
  printf("\nsettings (the full ones; --smoke: %s):\n", p->smoke);
  for (const mica_option *o = c->options; o && o->name; o++)
    printf("  %-16s %s (%s)\n", o->name, o->help, o->def ? o->def : "");
  return EXIT_OK;
}

/* ---- run ---- */

typedef struct watch {
  mica_time_left left;
  bool terminal;
} watch;

static int on_progress(void *ctx, const char *what, int64_t done, int64_t total) {
  watch *w = ctx;
  const double left = mica_time_left_update(&w->left, mica_seconds(), done, total);
  char text[MICA_DURATION_TEXT];
  if (w->terminal)
    fprintf(stderr, "\r\033[K%s: %lld of %lld cells%s%s", what, (long long)done, (long long)total,
            left > 0 ? ", left: " : "", left > 0 ? mica_duration_text(left, text) : "");
  return cli_interrupted();
}

static int run_one(const cli_args *a, mica_engine *engine, const char *slug, int settings,
                   const char *const *setting) {
  const char *out = cli_text(a, "--out");
  const bool smoke = cli_on(a, "--smoke"), json = cli_on(a, "--json");
  mica_paper_options o = MICA_PAPER_OPTIONS;
  mica_paper_result *result = NULL;
  watch w = {.terminal = isatty(2) && !json};
  char dir[4096];
  if (out)
    snprintf(dir, sizeof dir, "%s", out);
  else
    snprintf(dir, sizeof dir, "claims/%s%s", slug, smoke ? "-smoke" : "");
  if (!cli_int(a, "--seeds", 0, 1000, &o.seeds)) return EXIT_USAGE;
  o.dir = dir;
  o.cache = cli_text(a, "--cache");
  o.smoke = smoke;
  o.fresh = cli_on(a, "--fresh");
  o.settings = setting;
  o.n_settings = settings;
  o.progress = on_progress;
  o.progress_ctx = &w;
  mica_status status = mica_paper_run(engine, slug, &o, &result);
  if (w.terminal) fprintf(stderr, "\r\033[K");
  if (status == MICA_OK && cli_on(a, "--record"))
    status = mica_paper_result_record(result, cli_text(a, "--record-dir"));
  if (status != MICA_OK) {
    mica_paper_result_free(result);
    return cli_failed(a);
  }
  if (!json) {
    const mica_component *c = mica_component_find(engine, MICA_KIND_PAPER, slug);
    printf("%s\n%s\nfigure: %s/%s.svg\nreport: %s/report.html\n", functions_of(c)->title,
           mica_paper_result_text(result), dir, functions_of(c)->experiments[0].name, dir);
  } else {
    printf("%s\n", mica_paper_result_json(result));
  }
  const bool holds = mica_paper_result_verdict(result) >= MICA_VERDICT_MECHANISM;
  mica_paper_result_free(result);
  return holds ? EXIT_OK : EXIT_NOT_SHOWN;
}

/* One after the other; what fails stops nothing. The worst of the exit codes. */
static int run_papers(const cli_args *a, mica_engine *engine) {
  const mica_component *c;
  int worst = EXIT_OK;
  if (a->n_operands > 1 || cli_text(a, "--out"))
    return cli_usage(a, "--all takes no paper, no settings and no --out");
  for (int i = 0; (c = mica_component_at(engine, MICA_KIND_PAPER, i)); i++) {
    const int code = run_one(a, engine, c->name, 0, NULL);
    if (code == EXIT_STOPPED) return code;
    if (worst == EXIT_OK || (worst == EXIT_NOT_SHOWN && code != EXIT_OK)) worst = code;
  }
  return worst;
}

static int run_paper(const cli_args *a, mica_engine *engine) {
  const char *setting[SETTINGS];
  if (cli_on(a, "--all")) return run_papers(a, engine);
  if (a->n_operands < 2) return cli_usage(a, "run takes a paper: `mica paper list` tells them");
  if (a->n_operands - 2 > SETTINGS) return cli_usage(a, "more than %d settings", SETTINGS);
  for (int i = 2; i < a->n_operands; i++) setting[i - 2] = a->operand[i];
  return run_one(a, engine, a->operand[1], a->n_operands - 2, setting);
}

static int paper(const cli_args *a, mica_engine *engine) {
  static const char *const names[] = {"list", "show", "run"};
  const char *what = a->operand[0];
  if (strcmp(what, "list") == 0) return list(a, engine);
  if (strcmp(what, "show") == 0) return show(a, engine);
  if (strcmp(what, "run") == 0) return run_paper(a, engine);
  const char *near = mica_nearest_name(what, names, 3);
  return cli_usage(a, "'%s' is none of list, show, run%s%s%s", what, near ? "; did you mean " : "",
                   near ? near : "", near ? "?" : "");
}

static int run(const cli_args *a) {
  mica_engine *engine;
  cli_catch_interrupt();
  if (cli_engine(a, &engine) != MICA_OK) return cli_failed(a);
  const int code = paper(a, engine);
  mica_engine_free(engine);
  return code;
}

static const cli_flag flags[] = {
    {"--smoke", NULL, NULL, NULL, "run: the small setting, some seconds; shows nothing"},
    {"--seeds", NULL, "N", "0", "run: so many seeds; 0: as the setting says"},
    {"--out", "-o", "DIR", NULL, "run: the folder of units, figures and report (claims/SLUG)"},
    {"--fresh", NULL, NULL, NULL, "run: do not go on with what the folder has"},
    {"--cache", NULL, "DIR", "claims/pretrained", "run: pre-trained networks that papers share"},
    {"--all", NULL, NULL, NULL, "run: every paper, one after the other"},
    {"--record", NULL, NULL, NULL, "run: write the result, of the full setting only, for the docs"},
    {"--record-dir", NULL, "DIR", "docs/results", "run: where --record writes"},
    CLI_COMMON_FLAGS};

const cli_verb verb_paper = {
    "paper",
    "list | show SLUG | run SLUG [KEY=VALUE...]",
    "run the claim of a published paper against its baseline",
    flags,
    1,
    -1,
    run,
    "run compares method and baseline over several seeds with equal budgets and thresholds fixed\n"
    "beforehand. It exits with 0 when the claim is shown, with 3 when it is not. A run that was\n"
    "stopped goes on where it was. With --json the last line is one JSON object.\n"
    "examples: mica paper list\n"
    "          mica paper run data-diet --smoke\n"
    "          mica paper run data-diet seeds=3 images=6000 -o try"};
