/* mica search query: the neighbours of each query, printed or written. */
#include "cli/search.h"
#include "cli/search_grid.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <string.h>

/* A piece of queries with its neighbours. */
typedef struct answers {
  search_piece piece;
  int64_t k;
  int64_t *row; /* [piece.m, k], -1 after the last; of an index */
  int64_t *id, *label;
  double *score;
} answers;

typedef struct output {
  const search_job *job;
  mica_writer *csv; /* NULL: standard output, or arrays */
  /* For arrays: neighbours of all queries. */
  int64_t *id;
  double *score;
  bool arrays;
  search_grid *grid; /* NULL: none */
} output;

static const char *ending(const char *path) {
  const char *dot = path ? strrchr(path, '.') : NULL;
  return dot ? dot : "";
}

/* What a query is called: its picture, else its number. */
static const char *query_name(const search_job *job, int64_t at, char *buf, size_t n) {
  row_source_name(&job->queries, at, buf, n);
  if (!*buf) snprintf(buf, n, "%lld", (long long)job->queries.id[at]);
  return buf;
}

/* Rows of a collection may have labels and names, or come to have them. */
static bool has_labels(const search_job *job) {
  return job->collection || mica_index_labels(job->index);
}

static bool has_names(const search_job *job) {
  char name[2];
  return job->collection || *mica_index_name(job->index, 0, name, sizeof name) != 0;
}

/* The name of an answer, "" for none. */
static const char *answer_name(const search_job *job, const answers *t, int64_t at, char *buf,
                               size_t n) {
  return job->collection ? mica_collection_name(job->collection, t->id[at], buf, n)
                         : mica_index_name(job->index, t->row[at], buf, n);
}

/* One query's neighbours as CSV lines. */
static void put_lines(const search_job *job, const answers *t, int64_t i, mica_bytes *b) {
  char query[512], name[512];
  for (int64_t j = 0; j < t->k; j++) {
    const int64_t at = i * t->k + j;
    if (t->id[at] < 0) break;
    mica_bytes_csv(b, query_name(job, t->piece.which[i], query, sizeof query));
    mica_bytes_printf(b, ",%lld,%lld,%.9g", (long long)j + 1, (long long)t->id[at],
                      search_score(job, t->score[at]));
    if (has_labels(job)) mica_bytes_printf(b, ",%lld", (long long)t->label[at]);
    if (has_names(job)) {
      mica_bytes_byte(b, ',');
      mica_bytes_csv(b, answer_name(job, t, at, name, sizeof name));
    }
    if (job->classes) {
      const char *class = search_class(job, t->label[at]);
      mica_bytes_byte(b, ',');
      mica_bytes_csv(b, class ? class : "");
    }
    mica_bytes_byte(b, '\n');
  }
}

static void put_head(const search_job *job, mica_bytes *b) {
  mica_bytes_printf(b, "query,rank,id,%s%s%s%s\n", search_score_name(job),
                    has_labels(job) ? ",label" : "", has_names(job) ? ",name" : "",
                    job->classes ? ",class" : "");
}

/* The same as one JSON line. */
static void put_json(const search_job *job, const answers *t, int64_t i, mica_bytes *b) {
  mica_json_writer w = {.out = b};
  char name[512];
  const int64_t which = t->piece.which[i];
  mica_json_begin_object(&w);
  row_source_name(&job->queries, which, name, sizeof name);
  if (*name)
    mica_json_put_text(&w, "query", name);
  else
    mica_json_put_int(&w, "query", job->queries.id[which]);
  if (job->queries.label) mica_json_put_int(&w, "label", job->queries.label[which]);
  mica_json_write_name(&w, "neighbours");
  mica_json_begin_array(&w);
  for (int64_t at = i * t->k; at < (i + 1) * t->k && t->id[at] >= 0; at++) {
    mica_json_begin_object(&w);
    mica_json_put_int(&w, "id", t->id[at]);
    mica_json_put_double(&w, search_score_name(job), search_score(job, t->score[at]));
    if (has_labels(job)) mica_json_put_int(&w, "label", t->label[at]);
    if (has_names(job)) mica_json_put_text(&w, "name", answer_name(job, t, at, name, sizeof name));
    if (search_class(job, t->label[at]))
      mica_json_put_text(&w, "class", search_class(job, t->label[at]));
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  mica_bytes_byte(b, '\n');
}

static mica_status put(output *o, const answers *t) {
  mica_bytes b = {0};
  for (int64_t i = 0; i < t->piece.m; i++) {
    if (o->grid)
      search_grid_take(o->grid, t->piece.which[i], t->row + i * t->k, t->score + i * t->k);
    for (int64_t j = 0; j < t->k && o->arrays; j++) {
      const int64_t at = i * t->k + j, to = t->piece.which[i] * t->k + j;
      if (t->id[at] < 0) continue;
      o->id[to] = t->id[at];
      o->score[to] = search_score(o->job, t->score[at]);
    }
    if (o->arrays) continue;
    if (cli_on(o->job->a, "--json") && !o->csv)
      put_json(o->job, t, i, &b);
    else
      put_lines(o->job, t, i, &b);
  }
  mica_status status = b.status;
  if (!status && o->csv) status = mica_writer_write(o->csv, b.data, b.n);
  if (!status && !o->csv && b.n) fwrite(b.data, 1, b.n, stdout);
  mica_bytes_free(&b);
  return status;
}

static mica_status begin_output(const search_job *job, int64_t k, const char *path, output *o) {
  const char *end = ending(path);
  *o = (output){.job = job};
  if (path && strcmp(end, ".csv") && strcmp(end, ".npz") && strcmp(end, ".safetensors"))
    return mica_fail(MICA_ERR_INVALID, "%s: expected a name in .csv, .npz or .safetensors", path);
  o->arrays = path && strcmp(end, ".csv");
  if (o->arrays) {
    const size_t n = (size_t)job->queries.n;
    o->id = mica_realloc_array(NULL, n * (size_t)k, sizeof *o->id);
    o->score = mica_realloc_array(NULL, n * (size_t)k, sizeof *o->score);
    for (size_t i = 0; o->id && o->score && i < n * (size_t)k; i++)
      o->id[i] = -1, o->score[i] = NAN;
    return o->id && o->score ? MICA_OK : MICA_ERR_MEMORY;
  }
  mica_bytes b = {0};
  mica_status status = path ? mica_writer_open(path, &o->csv) : MICA_OK;
  if (!status && (path || !cli_on(job->a, "--json"))) {
    put_head(job, &b);
    status = b.status;
    if (!status && path) status = mica_writer_write(o->csv, b.data, b.n);
    if (!status && !path) fputs(b.data, stdout);
  }
  mica_bytes_free(&b);
  return status;
}

static mica_status end_output(output *o, int64_t k, const char *path) {
  if (o->csv) return mica_writer_commit(o->csv);
  if (!o->arrays) return MICA_OK;
  const int64_t n = o->job->queries.n;
  const mica_named_view views[] = {
      {"ids", mica_view_of(o->id, MICA_I64, MICA_SHAPE(n, k))},
      {search_score_name(o->job), mica_view_of(o->score, MICA_F64, MICA_SHAPE(n, k))},
      {"queries", mica_view_of(o->job->queries.id, MICA_I64, MICA_SHAPE(n))}};
  return strcmp(ending(path), ".npz") == 0 ? mica_npz_write(path, views, 3, false)
                                           : mica_safetensors_write(path, views, 3, NULL, 0);
}

static mica_status begin_answers(const search_job *job, int64_t k, answers *t) {
  int64_t most = 1 + ((int64_t)1 << 22) / k;
  if (most > 1024) most = 1024;
  t->k = k;
  t->row = mica_realloc_array(NULL, (size_t)(most * k), sizeof *t->row);
  t->score = mica_realloc_array(NULL, (size_t)(most * k), sizeof *t->score);
  t->id = mica_realloc_array(NULL, (size_t)(most * k), sizeof *t->id);
  t->label = mica_realloc_array(NULL, (size_t)(most * k), sizeof *t->label);
  return t->row && t->score && t->id && t->label ? search_piece_begin(job, most, &t->piece)
                                                 : MICA_ERR_MEMORY;
}

static mica_status ask(const search_job *job, answers *t) {
  const search_piece *p = &t->piece;
  if (job->collection)
    return mica_collection_query(job->collection, &p->x, &p->o, t->id, t->score, t->label);
  mica_status status = mica_index_query(job->index, &p->x, &p->o, t->row, t->score);
  const int64_t *id = mica_index_ids(job->index), *label = mica_index_labels(job->index);
  for (int64_t i = 0; i < p->m * t->k && !status; i++) {
    const int64_t row = t->row[i];
    t->id[i] = row < 0 ? -1 : id[row];
    t->label[i] = row < 0 || !label ? MICA_CLASS_NONE : label[row];
  }
  return status;
}

static mica_status answer_all(search_job *job, int64_t k, int64_t shown, const char *path) {
  answers t = {0};
  output o = {0};
  mica_status status = begin_answers(job, k, &t);
  if (!status) status = begin_output(job, k, path, &o);
  const char *grid = cli_text(job->a, "--grid");
  if (!status && grid && job->collection)
    status = mica_fail(MICA_ERR_UNSUPPORTED, "--grid shows the answers of an index file");
  if (!status && grid) status = search_grid_begin(job, grid, k, shown, &o.grid);
  while (!status) {
    status = search_piece_next(job, &t.piece);
    if (status || !t.piece.m) break;
    t.piece.o.k = k;
    status = ask(job, &t);
    if (!status) status = put(&o, &t);
  }
  if (!status) status = end_output(&o, k, path);
  if (!status && grid) status = search_grid_write(o.grid);
  search_grid_free(o.grid);
  mica_writer_close(o.csv);
  mica_free(o.id);
  mica_free(o.score);
  mica_free(t.row);
  mica_free(t.score);
  mica_free(t.id);
  mica_free(t.label);
  search_piece_end(&t.piece);
  return status;
}

int cli_search_query(const cli_args *a) {
  search_job job;
  int64_t k, shown;
  const char *out = cli_text(a, "--out");
  if (a->n_operands < 3) return cli_usage(a, "expected query INDEX QUERIES");
  if (!cli_int(a, "-k", 1, 1000000, &k) || !cli_int(a, "--show", 1, 90, &shown)) return EXIT_USAGE;
  mica_status status = search_open(a, &job);
  if (!status) status = answer_all(&job, k, shown, out);
  if (!status && out) cli_result(a, "neighbours", out);
  /* Behind lines on standard output there is no place for one of another kind. */
  if (!status && cli_text(a, "--grid") && out) cli_result(a, "grid", cli_text(a, "--grid"));
  if (!status && cli_text(a, "--grid") && !out)
    fprintf(stderr, "grid: %s\n", cli_text(a, "--grid"));
  const int code = status ? cli_failed(a) : EXIT_OK;
  search_close(&job);
  return code;
}
