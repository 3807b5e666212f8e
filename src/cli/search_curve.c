/* mica search curve: how many of the true neighbours an index, or a collection, finds, and how
 * fast, the harder it looks. */
#include "cli/search.h"

#include <mica/report.h>

#include <math.h>
#include <string.h>

enum { most_points = 24 };

typedef struct point {
  int64_t effort;
  double recall, seconds; /* of all queries; of one */
} point;

typedef struct curve {
  search_job job;
  int64_t k;
  point at[most_points];
  int32_t n;
} curve;

/* ---- queries in memory ---- */

/* All queries, with what each leaves out: a sample of some hundred, so they fit. */
static mica_status take_queries(curve *c, int64_t most, search_piece *p) {
  mica_status status = search_piece_begin(&c->job, most, p);
  if (!status) status = search_piece_next(&c->job, p);
  if (!status && !p->m) status = mica_fail(MICA_ERR_INVALID, "there are no queries");
  return status;
}

/* Rows, or of a collection ids. */
static mica_status ask(const curve *c, const mica_view *x, const mica_index_query_options *o,
                       int64_t *row, double *score) {
  return c->job.index ? mica_index_query(c->job.index, x, o, row, score)
                      : mica_collection_query(c->job.collection, x, o, row, score, NULL);
}

/* One query of the piece, as its own question. */
static mica_status ask_one(const curve *c, const search_piece *p, int64_t i,
                           mica_index_query_options o, int64_t *row, double *score) {
  mica_view x = p->x;
  x.data = (char *)p->x.data + (size_t)(i * p->x.row_stride) * mica_dtype_size(x.dtype);
  x.shape.dim[0] = 1;
  mica_view coarse = p->coarse;
  if (o.coarse) {
    coarse.data =
        (char *)coarse.data + (size_t)(i * coarse.row_stride) * mica_dtype_size(coarse.dtype);
    coarse.shape.dim[0] = 1;
    o.coarse = &coarse;
  }
  if (o.self_id) o.self_id += i;
  if (o.seen_at) o.seen_at += i;
  return ask(c, &x, &o, row, score);
}

/* The share of the true neighbours that are found: by score, as equal rows may stand for each
 * other. */
static double found(const double *truth, const double *got, int64_t k) {
  int64_t n = 0, hits = 0;
  while (n < k && !isnan(truth[n])) n++;
  for (int64_t j = 0; j < k; j++) hits += n && got[j] >= truth[n - 1];
  return n ? (double)(hits < n ? hits : n) / (double)n : NAN;
}

static mica_status measure(curve *c, search_piece *p, int64_t effort, const double *truth,
                           int64_t *row, double *score) {
  mica_index_query_options o = p->o;
  point *to = &c->at[c->n];
  int64_t counted = 0;
  o.k = c->k;
  o.effort = effort;
  *to = (point){.effort = effort};
  mica_status status = ask_one(c, p, 0, o, row, score); /* into the caches */
  for (int64_t i = 0; i < p->m && !status; i++) {
    const double begin = mica_seconds();
    status = ask_one(c, p, i, o, row, score);
    to->seconds += mica_seconds() - begin;
    const double r = status ? NAN : found(truth + i * c->k, score, c->k);
    if (!isnan(r)) to->recall += r, counted++;
  }
  to->seconds /= (double)p->m;
  to->recall = counted ? to->recall / (double)counted : NAN;
  c->n += !status;
  return status;
}

static mica_status measure_all(curve *c, search_piece *p) {
  const size_t all = (size_t)(p->m * c->k);
  int64_t *row = mica_realloc_array(NULL, all, sizeof *row);
  double *truth = mica_realloc_array(NULL, all, sizeof *truth);
  double *score = mica_realloc_array(NULL, (size_t)c->k, sizeof *score);
  mica_status status = row && truth && score ? MICA_OK : MICA_ERR_MEMORY;
  mica_index_query_options exact = p->o;
  exact.k = c->k;
  exact.exact = 1;
  if (!status) status = ask(c, &p->x, &exact, row, truth);
  const double enough = 0.9999;
  for (int64_t effort = 1; !status && c->n < most_points; effort *= 2) {
    status = measure(c, p, effort, truth, row, score);
    if (!status && (c->at[c->n - 1].recall >= enough || effort >= search_rows(&c->job))) break;
  }
  mica_free(row);
  mica_free(truth);
  mica_free(score);
  return status;
}

/* ---- what is told ---- */

static void print(const curve *c) {
  const bool json = cli_on(c->job.a, "--json");
  if (!json) printf("effort,recall,microseconds\n");
  for (int32_t i = 0; i < c->n; i++)
    printf(json ? "{\"effort\": %lld, \"recall\": %.6g, \"microseconds\": %.4g}\n"
                : "%lld,%.6g,%.4g\n",
           (long long)c->at[i].effort, c->at[i].recall, 1e6 * c->at[i].seconds);
}

static mica_status draw(const curve *c, const char *path) {
  double x[most_points], y[most_points];
  char *spec = search_spec_of(&c->job), title[160];
  mica_figure *figure = NULL;
  for (int32_t i = 0; i < c->n; i++) {
    x[i] = 1e6 * c->at[i].seconds;
    y[i] = c->at[i].recall;
  }
  const mica_series series = {.x = x, .y = y, .n = c->n};
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  snprintf(title, sizeof title, "%s, %lld rows", spec ? spec : "index",
           (long long)search_rows(&c->job));
  o.title = title;
  o.x.label = "microseconds a query";
  o.x.scale = MICA_AXIS_LOG;
  o.y.label = "share of the true neighbours";
  o.markers = 1;
  mica_status status = mica_figure_line_chart(&series, 1, &o, &figure);
  if (!status) status = mica_figure_save(figure, path);
  mica_figure_free(figure);
  mica_free(spec);
  return status;
}

int cli_search_curve(const cli_args *a) {
  curve c = {0};
  search_piece p = {0};
  const char *out = cli_text(a, "--out");
  if (a->n_operands < 3) return cli_usage(a, "expected curve INDEX QUERIES");
  if (!cli_int(a, "-k", 1, 10000, &c.k)) return EXIT_USAGE;
  mica_status status = search_open(a, &c.job);
  if (!status) status = take_queries(&c, 500, &p);
  if (!status) status = measure_all(&c, &p);
  if (!status) print(&c);
  if (!status && out) status = draw(&c, out);
  if (!status && out) fprintf(stderr, "figure: %s\n", out);
  const int code = status ? cli_failed(a) : EXIT_OK;
  search_piece_end(&p);
  search_close(&c.job);
  return code;
}
