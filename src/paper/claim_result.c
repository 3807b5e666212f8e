/* What a run has shown, told four ways from the same tables: JSON, text for a terminal, Markdown
 * for docs/results, and an HTML report.
 */
#include "paper/claim.h"

#include "base/file.h"
#include "report/figure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct picture {
  char *name, *caption; /* its file is NAME.svg */
  mica_figure *figure;
  int experiment;
} picture;

typedef struct listing {
  char *name, *caption;
  mica_table *table;
  int experiment; /* -1: the checks */
} listing;

struct mica_paper_result {
  char *slug;
  mica_verdict verdict;
  bool plain; /* the full setting: may be recorded */
  char *json, *text, *markdown;
  picture *picture;
  int pictures;
  listing *list;
  int lists;
};

void mica_paper_result_free(mica_paper_result *result) {
  if (!result) return;
  for (int i = 0; i < result->pictures; i++) {
    mica_free(result->picture[i].name);
    mica_free(result->picture[i].caption);
    mica_figure_free(result->picture[i].figure);
  }
  for (int i = 0; i < result->lists; i++) {
    mica_free(result->list[i].name);
    mica_free(result->list[i].caption);
    mica_table_free(result->list[i].table);
  }
  mica_free(result->picture);
  mica_free(result->list);
  mica_free(result->json);
  mica_free(result->text);
  mica_free(result->markdown);
  mica_free(result->slug);
  mica_free(result);
}

mica_verdict mica_paper_result_verdict(const mica_paper_result *result) {
  return result->verdict;
}
const char *mica_paper_result_json(const mica_paper_result *result) {
  return result->json;
}
const char *mica_paper_result_text(const mica_paper_result *result) {
  return result->text;
}
const char *mica_paper_result_markdown(const mica_paper_result *result) {
  return result->markdown;
}

/* ---- collecting ---- */

/* The judgements of all experiments in their order, and what follows from them. */
typedef struct findings {
  mica_claim_judgement *j;
  int n;
  double trivial; /* the best trivial arm where the headline's method is measured; NaN: none */
  const char *trivial_arm;
} findings;

static mica_status add_picture(mica_paper_result *result, const char *name, const char *caption,
                               int experiment, mica_figure *figure) {
  picture *list = mica_realloc_array(result->picture, (size_t)result->pictures + 1, sizeof *list);
  if (!list) {
    mica_figure_free(figure);
    return MICA_ERR_MEMORY;
  }
  result->picture = list;
  const picture p = {mica_strdup(name), mica_strdup(caption), figure, experiment};
  list[result->pictures++] = p;
  return p.name && p.caption ? MICA_OK : MICA_ERR_MEMORY;
}

static mica_status add_list(mica_paper_result *result, const char *name, const char *caption,
                            int experiment, mica_table *table) {
  listing *list = mica_realloc_array(result->list, (size_t)result->lists + 1, sizeof *list);
  if (!list) {
    mica_table_free(table);
    return MICA_ERR_MEMORY;
  }
  result->list = list;
  const listing l = {mica_strdup(name), mica_strdup(caption), table, experiment};
  list[result->lists++] = l;
  return l.name && l.caption ? MICA_OK : MICA_ERR_MEMORY;
}

/* A name for keys and files: '-' and the like become '_'. */
static void key_of(const char *from, const char *more, char *out, size_t n) {
  snprintf(out, n, "%s%s%s", from, more ? "_" : "", more ? more : "");
  for (char *c = out; *c; c++)
    if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '.')) *c = '_';
}

/* ---- tables ---- */

static mica_status checks_table(const findings *f, mica_paper_result *result) {
  static const char *const heads[] = {"method", "baseline", "margin", "95 % interval", "wanted"};
  mica_table *t = NULL;
  mica_status status = mica_table_create(&t);
  if (status == MICA_OK) status = mica_table_column(t, "check", MICA_ALIGN_LEFT);
  for (size_t i = 0; i < sizeof heads / sizeof *heads && status == MICA_OK; i++)
    status = mica_table_column(t, heads[i], MICA_ALIGN_RIGHT);
  if (status == MICA_OK) status = mica_table_column(t, "holds", MICA_ALIGN_LEFT);
  for (int i = 0; i < f->n && status == MICA_OK; i++) {
    const mica_claim_judgement *j = &f->j[i];
    const mica_claim_check *c = j->check;
    const bool ratio = c->kind == MICA_CHECK_RATIO;
    char cell[192];
    status = mica_table_text(t, c->what);
    snprintf(cell, sizeof cell, "%s %.4g", j->method, j->method_mean);
    if (status == MICA_OK) status = mica_table_text(t, j->judged ? cell : j->method);
    snprintf(cell, sizeof cell, "%s %.4g", j->baseline ? j->baseline : "", j->baseline_mean);
    if (status == MICA_OK) status = mica_table_text(t, j->baseline && j->judged ? cell : "");
    snprintf(cell, sizeof cell, "%.4g%s", j->margin, ratio ? " times" : "");
    if (status == MICA_OK) status = mica_table_shown(t, j->margin, j->judged ? cell : "");
    snprintf(cell, sizeof cell, "%.4g to %.4g", j->interval.lo, j->interval.hi);
    if (status == MICA_OK) status = mica_table_text(t, isnan(j->interval.lo) ? "" : cell);
    snprintf(cell, sizeof cell, "%s%.4g%s", j->at_most ? "at most " : "", c->threshold,
             ratio ? " times" : "");
    if (status == MICA_OK) status = mica_table_shown(t, c->threshold, cell);
    snprintf(cell, sizeof cell, "%s%s%s%s%s", j->holds ? "yes" : "no", *j->why ? " (" : "", j->why,
             *j->why ? ")" : "", c->shown_only ? ", not counted" : "");
    if (status == MICA_OK) status = mica_table_text(t, cell);
  }
  if (status != MICA_OK) {
    mica_table_free(t);
    return status;
  }
  return add_list(result, "checks", "What was claimed, with thresholds fixed beforehand", -1, t);
}

static mica_status value_cell(mica_table *t, const mica_claim_table *x, int arm, int point,
                              int measure) {
  double v[MICA_CLAIM_SEEDS];
  char cell[80];
  for (int64_t s = 0; s < x->seeds; s++)
    v[s] = x->value[mica_claim_at(x, arm, point, s) * x->measures + measure];
  const mica_claim_summary sum = mica_claim_summarise(v, x->seeds, MICA_CLAIM_LEVEL);
  if (!sum.n) return mica_table_text(t, "");
  if (sum.n < 2)
    snprintf(cell, sizeof cell, "%.4g", sum.mean);
  else
    snprintf(cell, sizeof cell, "%.4g \u00b1 %.2g", sum.mean, sum.deviation);
  return mica_table_shown(t, sum.mean, cell);
}

static bool has_measure(const mica_claim_table *x, int arm, int measure) {
  for (int p = 0; p < x->points; p++)
    for (int64_t s = 0; s < x->seeds; s++)
      if (isfinite(x->value[mica_claim_at(x, arm, p, s) * x->measures + measure])) return true;
  return false;
}

static mica_status arm_heads(mica_table *t) {
  static const char *const roles[] = {"arm", "role"};
  mica_status status = MICA_OK;
  for (int i = 0; i < 2 && status == MICA_OK; i++)
    status = mica_table_column(t, roles[i], MICA_ALIGN_LEFT);
  return status;
}

static mica_status arm_cells(mica_table *t, const mica_claim_arm *arm) {
  static const char *const role[] = {"method", "baseline", "trivial", "control", "context"};
  const mica_status status = mica_table_text(t, arm->name);
  return status == MICA_OK ? mica_table_text(t, role[arm->role]) : status;
}

/* Arms and measures of an experiment without a sweep. */
static mica_status plain_table(const mica_claim_table *x, int experiment,
                               mica_paper_result *result) {
  mica_table *t = NULL;
  char key[128];
  mica_status status = mica_table_create(&t);
  if (status == MICA_OK) status = arm_heads(t);
  for (int m = 0; m < x->measures && status == MICA_OK; m++)
    status = mica_table_column(t, x->x->measures[m].what, MICA_ALIGN_RIGHT);
  if (status == MICA_OK) status = mica_table_column(t, "what it is", MICA_ALIGN_LEFT);
  for (int a = 0; a < x->arms && status == MICA_OK; a++) {
    status = arm_cells(t, &x->x->arms[a]);
    for (int m = 0; m < x->measures && status == MICA_OK; m++) status = value_cell(t, x, a, 0, m);
    if (status == MICA_OK) status = mica_table_text(t, x->x->arms[a].what);
  }
  if (status != MICA_OK) {
    mica_table_free(t);
    return status;
  }
  key_of(x->x->name, NULL, key, sizeof key);
  return add_list(result, key, "mean \u00b1 deviation over the seeds", experiment, t);
}

/* Arms and points for one measure. */
static mica_status sweep_table(const mica_claim_table *x, int experiment, int measure,
                               mica_paper_result *result) {
  mica_table *t = NULL;
  char key[128], head[200];
  mica_status status = mica_table_create(&t);
  if (status == MICA_OK) status = arm_heads(t);
  for (int p = 0; p < x->points && status == MICA_OK; p++) {
    snprintf(head, sizeof head, "%.6g", x->point[p]);
    status = mica_table_column(t, head, MICA_ALIGN_RIGHT);
  }
  for (int a = 0; a < x->arms && status == MICA_OK; a++) {
    if (!has_measure(x, a, measure)) continue;
    status = arm_cells(t, &x->x->arms[a]);
    for (int p = 0; p < x->points && status == MICA_OK; p++)
      status = value_cell(t, x, a, p, measure);
  }
  if (status != MICA_OK) {
    mica_table_free(t);
    return status;
  }
  key_of(x->x->name, x->x->measures[measure].name, key, sizeof key);
  snprintf(head, sizeof head, "%s by %s, mean \u00b1 deviation over the seeds",
           x->x->measures[measure].what, x->x->sweep_what ? x->x->sweep_what : x->x->sweep);
  return add_list(result, key, head, experiment, t);
}

static mica_status experiment_tables(const mica_claim_run *r, mica_paper_result *result) {
  mica_status status = MICA_OK;
  for (int e = 0; e < r->experiments && status == MICA_OK; e++) {
    const mica_claim_table *x = &r->table[e];
    if (x->points == 1)
      status = plain_table(x, e, result);
    else
      for (int m = 0; m < x->measures && status == MICA_OK; m++)
        status = sweep_table(x, e, m, result);
  }
  return status;
}

/* ---- figures ---- */

static mica_status all_pictures(const mica_claim_run *r, mica_paper_result *result) {
  mica_status status = MICA_OK;
  for (int e = 0; e < r->experiments && status == MICA_OK; e++) {
    const mica_claim_table *x = &r->table[e];
    mica_figure *figure = NULL;
    char caption[300];
    status = mica_claim_chart(x, 0, &figure);
    snprintf(caption, sizeof caption, "%s; %lld seeds, 95 %% intervals", x->x->title,
             (long long)x->seeds);
    if (status == MICA_OK) status = add_picture(result, x->x->name, caption, e, figure);
    for (int64_t i = 0; i < r->units && status == MICA_OK; i++) {
      const mica_claim_unit_of *u = &r->unit[i];
      for (int k = 0; k < u->notes.figures && u->experiment == e && status == MICA_OK; k++) {
        const mica_claim_extra *extra = &u->notes.figure[k];
        status = mica_figure_from_svg(extra->svg, &figure);
        if (status == MICA_OK) status = add_picture(result, extra->name, extra->caption, e, figure);
      }
    }
  }
  return status;
}

/* ---- JSON ---- */

static void put_interval(mica_json_writer *w, const mica_interval *interval) {
  mica_json_write_name(w, "interval");
  mica_json_begin_array(w);
  mica_json_write_double(w, interval->lo);
  mica_json_write_double(w, interval->hi);
  mica_json_end_array(w);
}

static void put_bool(mica_json_writer *w, const char *name, bool value) {
  mica_json_write_name(w, name);
  mica_json_write_bool(w, value);
}

static void put_check(mica_json_writer *w, const mica_claim_judgement *j) {
  mica_json_begin_object(w);
  mica_json_put_text(w, "check", j->check->what);
  mica_json_put_text(w, "metric", j->check->measure);
  mica_json_put_text(w, "method_arm", j->method);
  mica_json_put_text(w, "baseline_arm", j->baseline);
  mica_json_put_double(w, "method", j->method_mean);
  mica_json_put_double(w, "baseline", j->baseline_mean);
  mica_json_put_double(w, "margin", j->margin);
  put_interval(w, &j->interval);
  mica_json_put_double(w, "threshold", j->check->threshold);
  mica_json_put_double(w, "point", j->point);
  put_bool(w, "counts", !j->check->shown_only);
  put_bool(w, "holds", j->holds);
  mica_json_put_text(w, "why", *j->why ? j->why : NULL);
  mica_json_end_object(w);
}

static mica_status write_json(const mica_claim_run *r, const findings *f,
                              mica_paper_result *result) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  const mica_claim_judgement *head = f->n ? &f->j[0] : NULL;
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "slug", r->paper->name);
  put_bool(&w, "holds", result->verdict >= MICA_VERDICT_MECHANISM);
  mica_json_put_text(&w, "verdict", mica_verdict_text(result->verdict));
  mica_json_put_text(&w, "metric", head ? head->check->measure : NULL);
  mica_json_put_double(&w, "baseline", head ? head->baseline_mean : NAN);
  mica_json_put_double(&w, "method", head ? head->method_mean : NAN);
  mica_json_put_double(&w, "trivial", f->trivial);
  mica_json_put_double(&w, "margin", head ? head->margin : NAN);
  put_interval(&w, head ? &head->interval : &(mica_interval){NAN, NAN});
  mica_json_put_double(&w, "threshold", head ? head->check->threshold : NAN);
  mica_json_put_int(&w, "seeds", r->table[0].seeds);
  mica_json_put_double(&w, "seconds", r->seconds);
  mica_json_put_text(&w, "method_arm", head ? head->method : NULL);
  mica_json_put_text(&w, "baseline_arm", head ? head->baseline : NULL);
  mica_json_put_text(&w, "trivial_arm", f->trivial_arm);
  put_bool(&w, "smoke", r->o->smoke);
  mica_json_put_text(&w, "setting", r->identity);
  mica_json_write_name(&w, "checks");
  mica_json_begin_array(&w);
  for (int i = 0; i < f->n; i++) put_check(&w, &f->j[i]);
  mica_json_end_array(&w);
  mica_json_write_name(&w, "figures");
  mica_json_begin_array(&w);
  for (int i = 0; i < result->pictures; i++) {
    char path[4200];
    snprintf(path, sizeof path, "%s%s%s.svg", r->o->dir ? r->o->dir : "", r->o->dir ? "/" : "",
             result->picture[i].name);
    mica_json_write_string(&w, path);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  result->json = mica_bytes_take(&b);
  return result->json ? MICA_OK : MICA_ERR_MEMORY;
}

/* ---- text ---- */

static void put_setting(mica_bytes *b, const mica_claim_run *r) {
  mica_bytes_printf(b, "%s; %lld seed%s; %.0f s of work", r->identity, (long long)r->table[0].seeds,
                    r->table[0].seeds == 1 ? "" : "s", r->seconds);
  if (r->o->smoke) mica_bytes_text(b, "; the small setting, which is too small to show anything");
}

static mica_status write_text(const mica_claim_run *r, mica_paper_result *result) {
  mica_bytes b = {0};
  mica_status status = MICA_OK;
  for (int e = -1; e < r->experiments && status == MICA_OK; e++) {
    if (e >= 0) mica_bytes_printf(&b, "\n%s\n", r->table[e].x->title);
    for (int i = 0; i < result->lists && status == MICA_OK; i++) {
      char *text = NULL;
      if (result->list[i].experiment != e) continue;
      status = mica_table_render(result->list[i].table, NULL, &text);
      if (status == MICA_OK) mica_bytes_printf(&b, "%s:\n%s", result->list[i].caption, text);
      mica_free(text);
    }
  }
  mica_bytes_printf(&b, "\n%s: %s\n(", r->fn->claim, mica_verdict_text(result->verdict));
  put_setting(&b, r);
  mica_bytes_text(&b, ")\n");
  result->text = mica_bytes_take(&b);
  return status == MICA_OK && !result->text ? MICA_ERR_MEMORY : status;
}

/* ---- Markdown ---- */

static void put_remarks(mica_bytes *b, const mica_claim_run *r, int experiment) {
  for (int64_t i = 0; i < r->units; i++) {
    const mica_bytes *remarks = &r->unit[i].notes.remarks;
    if (r->unit[i].experiment != experiment || !remarks->n) continue;
    mica_bytes_byte(b, '\n');
    for (const char *line = remarks->data; *line;) {
      const size_t n = strcspn(line, "\n");
      mica_bytes_printf(b, "- %.*s (seed %lld)\n", (int)n, line, (long long)r->unit[i].seed);
      line += n + (line[n] == '\n');
    }
  }
}

static mica_status put_lists(mica_bytes *b, const mica_paper_result *result, int experiment) {
  mica_status status = MICA_OK;
  for (int i = 0; i < result->lists && status == MICA_OK; i++) {
    char *text = NULL;
    if (result->list[i].experiment != experiment) continue;
    status = mica_table_markdown(result->list[i].table, &text);
    if (status == MICA_OK) mica_bytes_printf(b, "\n%s:\n\n%s", result->list[i].caption, text);
    mica_free(text);
  }
  return status;
}

/* `prefix` stands before the names of the figures' files. */
static mica_status make_markdown(const mica_claim_run *r, const mica_paper_result *result,
                                 char **out) {
  mica_bytes b = {0};
  mica_bytes_printf(&b, "# %s\n\n", r->fn->title);
  if (r->fn->arxiv)
    mica_bytes_printf(&b, "[arXiv:%s](https://arxiv.org/abs/%s)\n\n", r->fn->arxiv, r->fn->arxiv);
  mica_bytes_printf(&b, "%s\n\n**Verdict: %s**\n", r->fn->claim,
                    mica_verdict_text(result->verdict));
  mica_status status = put_lists(&b, result, -1);
  for (int e = 0; e < r->experiments && status == MICA_OK; e++) {
    const mica_claim_experiment *x = r->table[e].x;
    mica_bytes_printf(&b, "\n## %s\n", x->title);
    if (x->note) mica_bytes_printf(&b, "\n%s\n", x->note);
    status = put_lists(&b, result, e);
    for (int i = 0; i < result->pictures; i++)
      if (result->picture[i].experiment == e)
        mica_bytes_printf(&b, "\n![%s](%s-%s.svg)\n", result->picture[i].caption, result->slug,
                          result->picture[i].name);
    put_remarks(&b, r, e);
  }
  mica_bytes_printf(&b, "\n## Setting\n\n`mica paper run %s`: ", result->slug);
  put_setting(&b, r);
  mica_bytes_text(&b, ".\n");
  *out = mica_bytes_take(&b);
  return status == MICA_OK && !*out ? MICA_ERR_MEMORY : status;
}

mica_status mica_paper_result_record(const mica_paper_result *result, const char *folder) {
  if (!result->plain)
    return mica_fail(MICA_ERR_INVALID,
                     "%s: only a run of the full setting, with all of its seeds, is recorded",
                     result->slug);
  mica_status status = mica_make_folders(folder);
  for (int i = -1; i < result->pictures && status == MICA_OK; i++) {
    mica_bytes b = {0};
    mica_bytes_printf(&b, "%s/%s%s%s%s", folder, result->slug, i < 0 ? "" : "-",
                      i < 0 ? "" : result->picture[i].name, i < 0 ? ".md" : ".svg");
    char *path = mica_bytes_take(&b);
    if (!path) return MICA_ERR_MEMORY;
    status = i < 0 ? mica_file_write_atomic(path, result->markdown, strlen(result->markdown))
                   : mica_figure_save(result->picture[i].figure, path);
    mica_free(path);
  }
  return status;
}

/* ---- files beside the units ---- */

static mica_status save_as(const char *dir, const char *name, const char *extension,
                           const char *text) {
  mica_bytes b = {0};
  mica_bytes_printf(&b, "%s/%s%s", dir, name, extension);
  char *path = mica_bytes_take(&b);
  const mica_status status =
      path ? mica_file_write_atomic(path, text, strlen(text)) : MICA_ERR_MEMORY;
  mica_free(path);
  return status;
}

/* A paragraph of plain text: braces mean something to a report. */
static mica_status add_paragraph(mica_report *report, const char *text) {
  mica_bytes b = {0};
  for (; text && *text; text++) {
    if (*text == '{' || *text == '}') mica_bytes_byte(&b, *text);
    mica_bytes_byte(&b, *text);
  }
  const mica_status status =
      b.status != MICA_OK || !b.data ? b.status : mica_report_paragraph(report, b.data);
  mica_bytes_free(&b);
  return status;
}

static mica_status report_experiment(const mica_claim_run *r, const mica_paper_result *result,
                                     int e, mica_report *report) {
  const mica_claim_experiment *x = e < 0 ? NULL : r->table[e].x;
  mica_status status = mica_report_section(report, x ? x->title : "The claim");
  if (status == MICA_OK) status = add_paragraph(report, x ? x->note : r->fn->claim);
  for (int i = 0; i < result->pictures && status == MICA_OK; i++)
    if (result->picture[i].experiment == e)
      status = mica_report_figure(report, result->picture[i].figure, NULL);
  for (int i = 0; i < result->lists && status == MICA_OK; i++)
    if (result->list[i].experiment == e)
      status = mica_report_table(report, result->list[i].name, result->list[i].table, NULL);
  mica_bytes remarks = {0};
  if (x) put_remarks(&remarks, r, e);
  if (status == MICA_OK && remarks.data) status = mica_report_verbatim(report, remarks.data);
  mica_bytes_free(&remarks);
  return status;
}

static mica_status write_report(const mica_claim_run *r, const findings *f,
                                const mica_paper_result *result) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_report *report = NULL;
  mica_bytes setting = {0};
  put_setting(&setting, r);
  o.title = r->fn->title;
  o.subtitle = mica_verdict_text(result->verdict);
  mica_status status =
      setting.status == MICA_OK ? mica_report_create(&o, &report) : MICA_ERR_MEMORY;
  if (status == MICA_OK && f->n)
    status = mica_report_interval(report, "margin", f->j[0].margin, f->j[0].interval.lo,
                                  f->j[0].interval.hi, NULL, "margin of the headline");
  for (int e = -1; e < r->experiments && status == MICA_OK; e++)
    status = report_experiment(r, result, e, report);
  if (status == MICA_OK) status = mica_report_section(report, "Setting");
  if (status == MICA_OK) status = add_paragraph(report, setting.data);
  if (status == MICA_OK) status = mica_report_write(report, r->o->dir);
  mica_report_free(report);
  mica_bytes_free(&setting);
  return status;
}

static mica_status write_files(const mica_claim_run *r, const findings *f,
                               const mica_paper_result *result) {
  const char *dir = r->o->dir;
  if (!dir) return MICA_OK;
  mica_status status = save_as(dir, "result", ".json", result->json);
  for (int i = 0; i < result->pictures && status == MICA_OK; i++)
    status = save_as(dir, result->picture[i].name, ".svg",
                     mica_figure_svg(result->picture[i].figure, NULL));
  return status == MICA_OK ? write_report(r, f, result) : status;
}

/* ---- all of it ---- */

static mica_status judge_all(const mica_claim_run *r, findings *f) {
  int room = 0;
  for (int e = 0; e < r->experiments; e++) room += r->table[e].checks;
  f->j = mica_calloc((size_t)(room ? room : 1), sizeof *f->j);
  mica_status status = f->j ? MICA_OK : MICA_ERR_MEMORY;
  for (int e = 0; e < r->experiments && status == MICA_OK; e++)
    for (int c = 0; c < r->table[e].checks && status == MICA_OK; c++)
      status = mica_claim_judge(&r->table[e], &r->table[e].x->checks[c], &f->j[f->n++]);
  return status;
}

/* The best of the arms that learn nothing, over the points of the headline's method. */
static void find_trivial(const mica_claim_table *t, findings *f) {
  f->trivial = NAN;
  if (!t->checks) return;
  const mica_claim_check *head = &t->x->checks[0];
  const int m = mica_claim_measure_index(t, head->measure);
  const double sign = t->x->measures[m].lower_is_better ? -1 : 1;
  for (int a = 0; a < t->arms; a++) {
    if (t->x->arms[a].role != MICA_ARM_TRIVIAL) continue;
    const mica_claim_check alone = {
        .what = "trivial",
        .kind = MICA_CHECK_VALUE,
        .measure = head->measure,
        .method = {t->x->arms[a].name, head->method.from, head->method.to}};
    mica_claim_judgement j;
    if (mica_claim_judge(t, &alone, &j) != MICA_OK || isnan(j.method_mean)) continue;
    if (!f->trivial_arm || sign * j.method_mean > sign * f->trivial) {
      f->trivial = j.method_mean;
      f->trivial_arm = t->x->arms[a].name;
    }
  }
}

static mica_verdict verdict_of(const mica_claim_run *r, const findings *f) {
  int counted = 0;
  for (int i = 0; i < f->n; i++) {
    if (f->j[i].check->shown_only) continue;
    if (!f->j[i].holds) return MICA_VERDICT_NOT_SHOWN;
    counted++;
  }
  if (!counted) return MICA_VERDICT_NOT_SHOWN;
  return r->fn->own_data && r->plain ? MICA_VERDICT_REPRODUCED : MICA_VERDICT_MECHANISM;
}

mica_status mica_claim_result(mica_claim_run *r, mica_paper_result **out) {
  findings f = {NULL, 0, NAN, NULL};
  mica_paper_result *result = mica_calloc(1, sizeof *result);
  mica_status status = result ? judge_all(r, &f) : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    find_trivial(&r->table[0], &f);
    result->verdict = verdict_of(r, &f);
    result->plain = r->plain;
    result->slug = mica_strdup(r->paper->name);
    if (!result->slug) status = MICA_ERR_MEMORY;
  }
  if (status == MICA_OK) status = checks_table(&f, result);
  if (status == MICA_OK) status = experiment_tables(r, result);
  if (status == MICA_OK) status = all_pictures(r, result);
  if (status == MICA_OK) status = write_json(r, &f, result);
  if (status == MICA_OK) status = write_text(r, result);
  if (status == MICA_OK) status = make_markdown(r, result, &result->markdown);
  if (status == MICA_OK) status = write_files(r, &f, result);
  mica_free(f.j);
  if (status == MICA_OK)
    *out = result;
  else
    mica_paper_result_free(result);
  return status;
}
