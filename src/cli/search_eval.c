/* mica search eval: measures of what an index answers, with intervals over the queries. */
#include "cli/search.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/judgements.h"

#include <math.h>
#include <string.h>

/* What is right: equal labels, or lists, which with words for grades are read in three ways. */
typedef struct truth {
  int64_t *at, *id; /* of each query; NULL: labels */
  double *grade;
  bool revisited;
} truth;

static const char *const protocols[] = {"easy", "medium", "hard"};

typedef struct evaluation {
  search_job job;
  truth truth;
  int64_t depth, seed;
  bool approximate; /* lists are not of all rows */
  int64_t *asked;   /* ids of the queries that could be read, in the order of rankings */
  int rounds;       /* 1, or one for each protocol */
  mica_retrieval *retrieval[3];
  mica_estimate *result[3];
} evaluation;

/* Whether rows of a collection have any is seen by their being right or not. */
static bool has_labels(const search_job *job) {
  return !job->index || mica_index_labels(job->index);
}

static mica_status read_truth(evaluation *e) {
  const char *path = cli_text(e->job.a, "--truth");
  const row_source *q = &e->job.queries;
  judgement *list = NULL;
  int64_t n = 0, words = 0, numbers = 0;
  if (!path) {
    if (!q->label || !has_labels(&e->job))
      return mica_fail(MICA_ERR_NOT_FOUND, "%s have no labels; --truth FILE says what is right",
                       q->label ? "the rows of the index" : "the queries");
    return MICA_OK;
  }
  mica_status status = judgements_are_truth(path)
                           ? judgements_of_truth(path, e->job.index, q, &list, &n)
                           : judgements_read(path, &list, &n);
  for (int64_t i = 0; i < n; i++) {
    words += list[i].grade < GRADE_JUNK;
    numbers += list[i].grade > 0;
  }
  if (!status && words && numbers)
    status = mica_fail(MICA_ERR_FORMAT, "%s: grades that are numbers beside easy and hard", path);
  if (!status)
    status = judgements_deal(list, n, q->id, q->n, &e->truth.at, &e->truth.id, &e->truth.grade);
  e->truth.revisited = words > 0;
  mica_free(list);
  return status;
}

/* The lists of a piece's queries as this protocol grades them. */
typedef struct graded {
  int64_t *at, *id, *label;
  double *grade;
} graded;

static void graded_free(graded *g) {
  mica_free(g->at);
  mica_free(g->id);
  mica_free(g->label);
  mica_free(g->grade);
}

static double grade_of(const truth *t, int round, double grade) {
  if (!t->revisited || grade >= 0) return grade;
  const mica_revisited_kind kind = grade == GRADE_EASY   ? MICA_REVISITED_EASY
                                   : grade == GRADE_HARD ? MICA_REVISITED_HARD
                                                         : MICA_REVISITED_JUNK;
  return mica_revisited_grade((mica_revisited_protocol)round, kind);
}

static mica_status grade_piece(const evaluation *e, const search_piece *p, int round, graded *g) {
  const truth *t = &e->truth;
  int64_t n = 0;
  if (!t->at) {
    g->label = mica_realloc_array(NULL, (size_t)p->m, sizeof *g->label);
    for (int64_t i = 0; i < p->m && g->label; i++) g->label[i] = e->job.queries.label[p->which[i]];
    return g->label ? MICA_OK : MICA_ERR_MEMORY;
  }
  for (int64_t i = 0; i < p->m; i++) n += t->at[p->which[i] + 1] - t->at[p->which[i]];
  g->at = mica_realloc_array(NULL, (size_t)p->m + 1, sizeof *g->at);
  g->id = mica_realloc_array(NULL, (size_t)n + 1, sizeof *g->id);
  g->grade = mica_realloc_array(NULL, (size_t)n + 1, sizeof *g->grade);
  if (!g->at || !g->id || !g->grade) return MICA_ERR_MEMORY;
  n = 0;
  for (int64_t i = 0; i < p->m; i++) {
    g->at[i] = n;
    for (int64_t j = t->at[p->which[i]]; j < t->at[p->which[i] + 1]; j++, n++) {
      g->id[n] = t->id[j];
      g->grade[n] = grade_of(t, round, t->grade[j]);
    }
  }
  g->at[p->m] = n;
  return MICA_OK;
}

static mica_status ask_piece(evaluation *e, search_piece *p, int round) {
  graded g = {0};
  mica_index_truth t = MICA_INDEX_TRUTH;
  mica_status status = grade_piece(e, p, round, &g);
  t.label = g.label;
  t.at = g.at;
  t.id = g.id;
  t.grade = g.grade;
  if (!status && e->job.index)
    status = mica_retrieval_ask(e->retrieval[round], e->job.index, &p->x, &t, &p->o);
  else if (!status)
    status =
        mica_retrieval_ask_collection(e->retrieval[round], e->job.collection, &p->x, &t, &p->o);
  graded_free(&g);
  return status;
}

static mica_status begin(const cli_args *a, evaluation *e) {
  const char *ties = cli_text(a, "--ties");
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  o.measures = cli_text(a, "--measures");
  o.ties = strcmp(ties, "against") == 0 ? MICA_TIES_AGAINST : MICA_TIES_AS_GIVEN;
  if (strcmp(ties, "against") != 0 && strcmp(ties, "id") != 0)
    return mica_fail(MICA_ERR_INVALID, "--ties is '%s', expected id or against", ties);
  o.seed = (uint64_t)e->seed;
  mica_status status = search_open(a, &e->job);
  if (!status) status = read_truth(e);
  char *spec = status ? NULL : search_spec_of(&e->job);
  e->approximate = spec && strncmp(spec, "exact", 5) != 0 && !cli_on(a, "--exact");
  mica_free(spec);
  e->rounds = e->truth.revisited ? 3 : 1;
  /* What those sets are measured by, unless something else was asked for. */
  if (e->truth.revisited && strcmp(o.measures, MICA_RETRIEVAL_MEASURES) == 0)
    o.measures = "map-trapezoid,mp@1,mp@5,mp@10";
  for (int i = 0; i < e->rounds && !status; i++)
    status = mica_retrieval_create(e->job.engine, &o, &e->retrieval[i]);
  return status;
}

static mica_status measure(evaluation *e) {
  search_piece p = {0};
  int64_t n = 0;
  e->asked = mica_realloc_array(NULL, (size_t)e->job.queries.n, sizeof *e->asked);
  mica_status status = e->asked ? search_piece_begin(&e->job, 256, &p) : MICA_ERR_MEMORY;
  while (!status) {
    status = search_piece_next(&e->job, &p);
    if (status || !p.m) break;
    for (int64_t i = 0; i < p.m; i++) e->asked[n++] = p.self[i];
    p.o.k = e->depth ? e->depth : search_rows(&e->job);
    for (int i = 0; i < e->rounds && !status; i++) status = ask_piece(e, &p, i);
  }
  search_piece_end(&p);
  for (int i = 0; i < e->rounds && !status; i++) {
    const int32_t m = mica_retrieval_measures(e->retrieval[i]);
    e->result[i] = mica_realloc_array(NULL, (size_t)m, sizeof *e->result[i]);
    status = e->result[i] ? mica_retrieval_result(e->retrieval[i], e->result[i]) : MICA_ERR_MEMORY;
  }
  return status;
}

/* ---- what is told ---- */

/* "map", or with several protocols "map easy". */
static const char *title(const evaluation *e, int round, int32_t i, char *buf, size_t n) {
  snprintf(buf, n, "%s%s%s", mica_retrieval_measure(e->retrieval[round], i),
           e->rounds > 1 ? " " : "", e->rounds > 1 ? protocols[round] : "");
  return buf;
}

static mica_status print_text(const evaluation *e) {
  mica_table *t = NULL;
  char name[64], value[32], interval[64], *text = NULL;
  mica_status status = mica_table_create(&t);
  static const char *const heads[] = {"measure", "value", "95 % interval"};
  for (int i = 0; i < 3 && !status; i++)
    status = mica_table_column(t, heads[i], i ? MICA_ALIGN_RIGHT : MICA_ALIGN_LEFT);
  for (int round = 0; round < e->rounds; round++)
    for (int32_t i = 0; i < mica_retrieval_measures(e->retrieval[round]) && !status; i++) {
      const mica_estimate *v = &e->result[round][i];
      snprintf(value, sizeof value, "%.4f", v->value);
      snprintf(interval, sizeof interval, "%.4f to %.4f", v->interval.lo, v->interval.hi);
      status = mica_table_text(t, title(e, round, i, name, sizeof name));
      if (!status) status = mica_table_text(t, value);
      if (!status) status = mica_table_text(t, interval);
    }
  if (!status) status = mica_table_render(t, NULL, &text);
  if (!status) {
    const mica_retrieval *r = e->retrieval[0];
    printf("%lld queries, %lld rows", (long long)mica_retrieval_queries(r),
           (long long)search_rows(&e->job));
    if (mica_retrieval_unanswerable(r))
      printf("; %lld queries have no right answer and are left out",
             (long long)mica_retrieval_unanswerable(r));
    if (e->depth && e->depth < search_rows(&e->job))
      printf("; lists end at rank %lld: right answers beyond it count as not found",
             (long long)e->depth);
    if (e->approximate)
      printf(
          "; the index is approximate: rows that it did not look at count as not found (--effort "
          "looks harder, --exact at all)");
    printf("\n%s", text);
  }
  mica_free(text);
  mica_table_free(t);
  return status;
}

static void put_results(const evaluation *e, int round, mica_json_writer *w) {
  char name[64];
  for (int32_t i = 0; i < mica_retrieval_measures(e->retrieval[round]); i++) {
    const char *measure = mica_retrieval_measure(e->retrieval[round], i);
    const mica_estimate *v = &e->result[round][i];
    mica_json_put_double(w, measure, v->value);
    snprintf(name, sizeof name, "%s_low", measure);
    mica_json_put_double(w, name, v->interval.lo);
    snprintf(name, sizeof name, "%s_high", measure);
    mica_json_put_double(w, name, v->interval.hi);
  }
}

static mica_status print_json(const evaluation *e) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "queries", mica_retrieval_queries(e->retrieval[0]));
  mica_json_put_int(&w, "rows", search_rows(&e->job));
  mica_json_write_name(&w, "approximate");
  mica_json_write_bool(&w, e->approximate);
  for (int round = 0; round < e->rounds; round++) {
    if (e->rounds > 1) {
      mica_json_write_name(&w, protocols[round]);
      mica_json_begin_object(&w);
    }
    mica_json_put_int(&w, "unanswerable", mica_retrieval_unanswerable(e->retrieval[round]));
    put_results(e, round, &w);
    if (e->rounds > 1) mica_json_end_object(&w);
  }
  mica_json_end_object(&w);
  const mica_status status = b.status;
  if (!status) puts(b.data);
  mica_bytes_free(&b);
  return status;
}

/* Each query's values, for those who look for the bad ones. */
static mica_status write_values(const evaluation *e, const char *path) {
  mica_bytes b = {0};
  char name[64];
  mica_bytes_text(&b, "query");
  for (int round = 0; round < e->rounds; round++)
    for (int32_t i = 0; i < mica_retrieval_measures(e->retrieval[round]); i++)
      mica_bytes_printf(&b, ",%s", title(e, round, i, name, sizeof name));
  mica_bytes_byte(&b, '\n');
  for (int64_t q = 0; q < mica_retrieval_queries(e->retrieval[0]); q++) {
    mica_bytes_printf(&b, "%lld", (long long)e->asked[q]);
    for (int round = 0; round < e->rounds; round++)
      for (int32_t i = 0; i < mica_retrieval_measures(e->retrieval[round]); i++) {
        const double v = mica_retrieval_value(e->retrieval[round], i, q);
        if (isnan(v))
          mica_bytes_byte(&b, ',');
        else
          mica_bytes_printf(&b, ",%.9g", v);
      }
    mica_bytes_byte(&b, '\n');
  }
  const mica_status status = b.status ? b.status : mica_file_write_atomic(path, b.data, b.n);
  mica_bytes_free(&b);
  return status;
}

int cli_search_eval(const cli_args *a) {
  evaluation e = {0};
  const char *out = cli_text(a, "--out");
  if (a->n_operands < 3) return cli_usage(a, "expected eval INDEX QUERIES");
  if (!cli_int(a, "--seed", 0, INT64_MAX, &e.seed) ||
      !cli_int(a, "--depth", 0, INT64_MAX, &e.depth))
    return EXIT_USAGE;
  mica_status status = begin(a, &e);
  if (!status) status = measure(&e);
  if (!status) status = cli_on(a, "--json") ? print_json(&e) : print_text(&e);
  if (!status && out) status = write_values(&e, out);
  if (!status && out && !cli_on(a, "--json")) cli_result(a, "values", out);
  const int code = status ? cli_failed(a) : EXIT_OK;
  for (int i = 0; i < e.rounds; i++) {
    mica_retrieval_free(e.retrieval[i]);
    mica_free(e.result[i]);
  }
  mica_free(e.asked);
  mica_free(e.truth.at);
  mica_free(e.truth.id);
  mica_free(e.truth.grade);
  search_close(&e.job);
  return code;
}
