/* The pictures of some queries with those of their neighbours beside them, a row each. */
#include "cli/search_grid.h"

#include "base/file.h"
#include "base/json.h"
#include "cli/picture_book.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 20 /* neighbours that are shown */

struct search_grid {
  const search_job *job;
  const char *path;
  int64_t n, shown, k; /* query rows that are there, wanted, and neighbours of each */
  int64_t step;        /* every step-th query is shown */
  int64_t *place;      /* [shown] of the query in job->queries */
  int64_t *row;        /* [shown, k] */
  double *score;
};

static bool ends_with(const char *text, const char *end) {
  const size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

mica_status search_grid_begin(const search_job *job, const char *path, int64_t k, int64_t shown,
                              search_grid **out) {
  *out = NULL;
  if (!ends_with(path, ".svg") && !ends_with(path, ".html"))
    return mica_fail(MICA_ERR_INVALID, "%s: expected a name in .svg or .html", path);
  search_grid *g = mica_calloc(1, sizeof *g);
  if (!g) return MICA_ERR_MEMORY;
  *g = (search_grid){.job = job, .path = path, .k = k < COLUMNS_MAX ? k : COLUMNS_MAX};
  g->shown = shown < job->queries.n ? shown : job->queries.n;
  g->step = job->queries.n / g->shown;
  g->place = mica_realloc_array(NULL, (size_t)g->shown, sizeof *g->place);
  g->row = mica_realloc_array(NULL, (size_t)(g->shown * g->k), sizeof *g->row);
  g->score = mica_realloc_array(NULL, (size_t)(g->shown * g->k), sizeof *g->score);
  if (!g->place || !g->row || !g->score) {
    search_grid_free(g);
    return MICA_ERR_MEMORY;
  }
  *out = g;
  return MICA_OK;
}

void search_grid_free(search_grid *g) {
  if (!g) return;
  mica_free(g->place);
  mica_free(g->row);
  mica_free(g->score);
  mica_free(g);
}

void search_grid_take(search_grid *g, int64_t place, const int64_t *row, const double *score) {
  if (g->n == g->shown || place % g->step) return;
  g->place[g->n] = place;
  memcpy(g->row + g->n * g->k, row, (size_t)g->k * sizeof *row);
  memcpy(g->score + g->n * g->k, score, (size_t)g->k * sizeof *score);
  g->n++;
}

/* ---- where pictures are ---- */

typedef struct books {
  picture_book index, queries; /* without a data set: their names are files */
} books;

/* Rows and their pictures are the same things only when all labels agree. */
static mica_status check_labels(const mica_index *index, const picture_book *book,
                                const char *data) {
  const int64_t *label = mica_index_labels(index), *id = mica_index_ids(index);
  for (int64_t i = 0; label && i < mica_index_count(index); i++)
    if (picture_book_label(book, id[i]) != label[i])
      return mica_fail(MICA_ERR_INVALID,
                       "%s: its pictures are not those of the index: row %lld has label %lld there "
                       "and %lld here",
                       data, (long long)id[i], (long long)picture_book_label(book, id[i]),
                       (long long)label[i]);
  return MICA_OK;
}

static mica_status open_books(const search_job *job, books *b) {
  const char *given = cli_text(job->a, "--data"), *own = mica_index_text(job->index, "data");
  const char *queries = cli_text(job->a, "--query-data"), *data = given ? given : own;
  char name[512];
  *b = (books){0};
  mica_index_name(job->index, 0, name, sizeof name);
  const bool files = !given && *name && mica_file_exists(name);
  if (!files && !data)
    return mica_fail(MICA_ERR_INVALID,
                     "--grid needs pictures: --data names the data set that the rows are from");
  mica_status status = files ? MICA_OK : picture_book_open(job->a, data, !own, &b->index);
  if (!status && !files) status = check_labels(job->index, &b->index, data);
  if (status || !job->queries.archive) return status;
  if (files && !queries)
    return mica_fail(MICA_ERR_INVALID,
                     "--grid: --query-data names the data set that the queries are from");
  return picture_book_open(job->a, queries ? queries : data, true, &b->queries);
}

static mica_status row_picture(const search_job *job, const books *b, int64_t row,
                               mica_tensor **out) {
  char name[4096];
  if (b->index.ds) return picture_book_read(&b->index, mica_index_ids(job->index)[row], out);
  return picture_of_file(mica_index_name(job->index, row, name, sizeof name), out);
}

static mica_status query_picture(const search_job *job, const books *b, int64_t place,
                                 mica_tensor **out) {
  return b->queries.ds ? picture_book_read(&b->queries, job->queries.id[place], out)
                       : row_source_picture(&job->queries, place, out);
}

/* ---- the figure ---- */

typedef struct tiles {
  mica_tile *tile;
  mica_tensor **picture;
  char (*caption)[64];
  char (*detail)[64];
  int64_t n, columns;
} tiles;

static void tiles_free(tiles *t) {
  for (int64_t i = 0; t->picture && i < t->n; i++) mica_tensor_free(t->picture[i]);
  mica_free(t->picture);
  mica_free(t->tile);
  mica_free(t->caption);
  mica_free(t->detail);
}

static void name_class(const mica_json *classes, int64_t label, char *out, size_t n) {
  const char *name = label < 0 ? NULL : mica_json_string(mica_json_item(classes, label));
  if (label < 0)
    *out = 0;
  else if (name)
    snprintf(out, n, "%s", name);
  else
    snprintf(out, n, "%lld", (long long)label);
}

/* A picture that cannot be read leaves its tile empty, with a line about it. */
static void put_picture(tiles *t, int64_t at, mica_status status) {
  mica_tensor *p = t->picture[at];
  t->tile[at].caption = t->caption[at];
  t->tile[at].detail = t->detail[at];
  if (status) {
    fprintf(stderr, "no picture: %s\n", mica_last_error());
    return;
  }
  t->tile[at].picture =
      (mica_picture){mica_tensor_data(p), (int32_t)mica_tensor_dim(p, 1),
                     (int32_t)mica_tensor_dim(p, 0), (int32_t)mica_tensor_dim(p, 2)};
}

static void fill_row(const search_grid *g, const books *b, const mica_json *classes, int64_t q,
                     tiles *t) {
  const search_job *job = g->job;
  const int64_t place = g->place[q], *label = mica_index_labels(job->index);
  const int64_t own = job->queries.label ? job->queries.label[place] : -1;
  int64_t at = q * t->columns;
  name_class(classes, own, t->caption[at], sizeof *t->caption);
  snprintf(t->detail[at], sizeof *t->detail, "query");
  if (cli_on(job->a, "--text")) { /* a line stands for itself */
    row_source_name(&job->queries, place, t->caption[at], sizeof *t->caption);
    t->tile[at].caption = t->caption[at];
    t->tile[at].detail = t->detail[at];
  } else {
    put_picture(t, at, query_picture(job, b, place, &t->picture[at]));
  }
  for (int64_t j = 0; j < g->k; j++) {
    const int64_t row = g->row[q * g->k + j];
    at++;
    if (row < 0) continue;
    if (label) name_class(classes, label[row], t->caption[at], sizeof *t->caption);
    snprintf(t->detail[at], sizeof *t->detail, "%.4g", search_score(job, g->score[q * g->k + j]));
    if (label && own >= 0) t->tile[at].mark = label[row] == own ? MICA_MARK_RIGHT : MICA_MARK_WRONG;
    put_picture(t, at, row_picture(job, b, row, &t->picture[at]));
  }
}

static mica_status draw(const search_grid *g, const books *b, mica_figure **out) {
  tiles t = {.n = g->n * (1 + g->k), .columns = 1 + g->k};
  mica_json_doc *doc = NULL;
  const char *classes = mica_index_text(g->job->index, "classes");
  mica_image_grid_options o = MICA_IMAGE_GRID_OPTIONS;
  mica_status status = classes ? mica_json_parse(classes, strlen(classes), &doc) : MICA_OK;
  t.tile = mica_calloc((size_t)t.n, sizeof *t.tile);
  t.picture = mica_calloc((size_t)t.n, sizeof *t.picture);
  t.caption = mica_calloc((size_t)t.n, sizeof *t.caption);
  t.detail = mica_calloc((size_t)t.n, sizeof *t.detail);
  if (!t.tile || !t.picture || !t.caption || !t.detail) status = MICA_ERR_MEMORY;
  for (int64_t q = 0; q < g->n && !status; q++) {
    fill_row(g, b, doc ? mica_json_root(doc) : NULL, q, &t);
    if (cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  o.title = "Queries and their neighbours";
  o.columns = (int32_t)t.columns;
  if (!status) status = mica_figure_image_grid(t.tile, t.n, &o, out);
  tiles_free(&t);
  mica_json_free(doc);
  return status;
}

static mica_status write_page(const search_grid *g, const mica_figure *figure) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_report *report = NULL;
  char text[160], *html = NULL;
  o.title = "Nearest neighbours";
  o.subtitle = g->job->a->command;
  snprintf(text, sizeof text,
           "%lld of %lld queries, evenly spaced; beside each its nearest rows with their %s, best "
           "first%s.",
           (long long)g->n, (long long)g->job->queries.n, search_score_name(g->job),
           mica_index_labels(g->job->index) && g->job->queries.label
               ? ", framed by whether they are of the query's class"
               : "");
  mica_status status = mica_report_create(&o, &report);
  if (!status) status = mica_report_section(report, "Queries and their neighbours");
  if (!status) status = mica_report_paragraph(report, text);
  if (!status) status = mica_report_figure(report, figure, NULL);
  if (!status) status = mica_report_html(report, &html);
  if (!status) status = mica_file_write_atomic(g->path, html, strlen(html));
  mica_free(html);
  mica_report_free(report);
  return status;
}

mica_status search_grid_write(const search_grid *g) {
  books b;
  mica_figure *figure = NULL;
  mica_status status = open_books(g->job, &b);
  if (!status) status = draw(g, &b, &figure);
  if (!status)
    status = ends_with(g->path, ".svg") ? mica_figure_save(figure, g->path) : write_page(g, figure);
  mica_figure_free(figure);
  picture_book_close(&b.index);
  picture_book_close(&b.queries);
  return status;
}
