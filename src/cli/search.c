/* mica search: an index of features built, asked, measured. */
#include "cli/search.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/features.h"
#include "cli/judgements.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE 256 /* rows added at once */

const char *search_score_name(const search_job *job) {
  static const char *const names[] = {"similarity", "distance", "product"};
  return names[job->metric];
}

double search_score(const search_job *job, double score) {
  /* No minus in front of a distance of zero. */
  return job->metric == MICA_INDEX_L2 ? fabs(score) : score;
}

static void tell(const cli_args *a, mica_time_left *left, const char *what, int64_t done,
                 int64_t total) {
  if (!isatty(2) || cli_on(a, "--json")) return;
  const double rest = mica_time_left_update(left, mica_seconds(), done, total);
  fprintf(stderr, "\r\033[K%s: %lld of %lld, %.0f s left", what, (long long)done, (long long)total,
          rest > 0 ? rest : 0);
  if (done >= total) fprintf(stderr, "\r\033[K");
}

char *search_spec(const cli_args *a) {
  const char *metric = cli_text(a, "--metric");
  mica_bytes b = {0};
  mica_bytes_text(&b, cli_text(a, "--spec"));
  if (metric) mica_bytes_printf(&b, ":metric=%s", metric);
  return mica_bytes_take(&b);
}

/* Room for so many rows of another encoder. */
static void *coarse_room(const mica_tensor *coarse, int64_t rows) {
  return mica_realloc_array(NULL, (size_t)rows,
                            (size_t)mica_tensor_dim(coarse, 1) *
                                mica_dtype_size(mica_tensor_dtype(coarse)));
}

mica_status search_add_rows(const cli_args *a, row_source *s, int64_t piece, bool numbered,
                            const mica_tensor *coarse, search_take_fn take, void *ctx) {
  const size_t bytes = (size_t)s->width * mica_dtype_size(s->dtype);
  char(*names)[512] = mica_realloc_array(NULL, (size_t)piece, sizeof *names);
  const char **name = mica_realloc_array(NULL, (size_t)piece, sizeof *name);
  int64_t *number = mica_realloc_array(NULL, 3 * (size_t)piece, sizeof *number);
  void *x = mica_realloc_array(NULL, (size_t)piece, bytes);
  void *second = coarse ? coarse_room(coarse, piece) : NULL;
  mica_status status =
      names && name && number && x && (second || !coarse) ? MICA_OK : MICA_ERR_MEMORY;
  mica_time_left left = {0};
  for (int64_t cursor = 0, m = 1; m && !status;) {
    int64_t *which = number, *id = which + piece, *label = id + piece;
    status = row_source_next(s, &cursor, piece, x, which, &m);
    for (int64_t i = 0; i < m && !status; i++) {
      id[i] = s->id[which[i]];
      label[i] = s->label ? s->label[which[i]] : MICA_CLASS_NONE;
      name[i] = row_source_name(s, which[i], names[i], sizeof names[i]);
    }
    mica_index_batch batch = MICA_INDEX_BATCH;
    batch.x = mica_view_of(x, s->dtype, MICA_SHAPE(m, s->width));
    batch.id = numbered ? id : NULL;
    batch.label = s->label ? label : NULL;
    batch.name = s->archive ? NULL : name;
    if (coarse) search_coarse_rows(coarse, m, which, second, &batch.coarse);
    if (!status && m) status = take(ctx, &batch);
    tell(a, &left, "rows", cursor, s->n);
    if (!status && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  mica_free(names);
  mica_free(name);
  mica_free(number);
  mica_free(x);
  mica_free(second);
  return status;
}

static mica_status to_builder(void *builder, const mica_index_batch *batch) {
  return mica_index_builder_add(builder, batch);
}

/* An index of a source's rows; with `path` a file. `data` and `encoder` say where pictures are
 * from. */
static mica_status build_index(const cli_args *a, const mica_engine *engine, row_source *s,
                               const char *data, const char *encoder, const char *path,
                               mica_index **out) {
  mica_index_builder *b = NULL;
  mica_transform *whitening = NULL;
  mica_status status = search_whiten_learn(a, engine, s, &whitening);
  if (status) return status;
  char *spec = search_spec(a);
  status = spec ? mica_index_builder_create(engine, spec, s->width, path, &b) : MICA_ERR_MEMORY;
  if (!status && s->classes) status = mica_index_builder_set_text(b, "classes", s->classes);
  if (!status && data) status = mica_index_builder_set_text(b, "data", data);
  if (!status && encoder) status = mica_index_builder_set_text(b, "encoder", encoder);
  if (!status && whitening) status = search_whiten_keep(whitening, b);
  mica_tensor *coarse = NULL;
  if (!status) status = search_coarse_open(a, s->n, &coarse);
  if (!status) status = search_codes(a, engine, spec, coarse, b);
  if (!status) status = search_add_rows(a, s, PIECE, true, coarse, to_builder, b);
  if (!status) status = mica_index_builder_finish(b, out);
  mica_tensor_free(coarse);
  mica_index_builder_free(b);
  mica_transform_free(whitening);
  s->transform = NULL;
  mica_free(spec);
  return status;
}

/* ---- build ---- */

static void print_built(const cli_args *a, const mica_index *index, const char *out) {
  char *spec = mica_index_spec(index);
  const int64_t zero =
      mica_index_metric_of(index) == MICA_INDEX_COSINE ? mica_index_zero_rows(index) : 0;
  if (cli_on(a, "--json")) {
    mica_bytes b = {0};
    mica_json_writer w = {.out = &b};
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "index", out);
    mica_json_put_text(&w, "spec", spec ? spec : "");
    mica_json_put_int(&w, "rows", mica_index_count(index));
    mica_json_put_int(&w, "columns", mica_index_width(index));
    mica_json_put_int(&w, "zero_rows", mica_index_zero_rows(index));
    mica_json_end_object(&w);
    if (!b.status) puts(b.data);
    mica_bytes_free(&b);
  } else {
    printf("%lld rows of %lld columns, %s\n", (long long)mica_index_count(index),
           (long long)mica_index_width(index), spec ? spec : "");
    if (zero)
      printf("%lld rows are zero: they have no direction, and their similarity to everything is "
             "0\n",
             (long long)zero);
    cli_result(a, "index", out);
  }
  mica_free(spec);
}

/* What the operands from `first` on name, through the encoder: pictures, or the lines of a text. */
static mica_status open_encoded(const cli_args *a, const char *encoder, int first,
                                search_job *job) {
  const bool text = cli_on(a, "--text");
  mica_status status = open_model(job->engine, encoder, &job->encoder);
  if (!status && text && a->n_operands != first + 1)
    status = mica_fail(MICA_ERR_INVALID, "--text takes one text");
  if (status) return status;
  return text ? row_source_texts(job->encoder, a->operand[first], &job->queries)
              : row_source_pictures(a, job->encoder, a->operand + first, a->n_operands - first,
                                    cli_text(a, "--part"), &job->queries);
}

mica_status search_open_rows(const cli_args *a, int first, const char *encoder, search_job *job) {
  if (encoder) return open_encoded(a, encoder, first, job);
  if (cli_on(a, "--text"))
    return mica_fail(MICA_ERR_INVALID, "--text needs --encoder MODEL, which reads it");
  return row_source_features(a->operand[first], cli_text(a, "--labels"), cli_text(a, "--part"),
                             &job->queries);
}

static int build(const cli_args *a) {
  search_job job = {.a = a};
  const char *encoder = cli_text(a, "--encoder"), *out = cli_text(a, "--out");
  if (a->n_operands < 2) return cli_usage(a, "build an index of what?");
  if (a->n_operands > 2 && !encoder) return cli_usage(a, "build takes one file of features");
  if (!out) out = "features.index";
  mica_status status = cli_engine(a, &job.engine);
  if (!status) status = search_open_rows(a, 1, encoder, &job);
  if (!status)
    status = build_index(a, job.engine, &job.queries, encoder ? a->operand[1] : NULL, encoder, out,
                         &job.index);
  if (!status) print_built(a, job.index, out);
  const int code = status ? cli_failed(a) : EXIT_OK;
  search_close(&job);
  return code;
}

/* ---- an index and its queries ---- */

/* A file of features serves as an index of them, made on the spot. */
static mica_status open_index(const cli_args *a, search_job *job) {
  const char *path = a->operand[1];
  mica_archive *archive = NULL;
  mica_status status = MICA_OK;
  if (mica_is_folder(path)) {
    status = search_whiten_unused(a);
    return status ? status : mica_collection_open(job->engine, path, &job->collection);
  }
  status = mica_archive_open(path, &archive);
  if (status) return status;
  const bool index = mica_archive_metadata(archive, "index") != NULL;
  mica_archive_close(archive);
  if (index) {
    status = search_whiten_unused(a);
    return status ? status : mica_index_open(job->engine, path, &job->index);
  }
  row_source rows;
  status = row_source_features(path, NULL, cli_text(a, "--index-part"), &rows);
  if (status) return status;
  status = build_index(a, job->engine, &rows, NULL, NULL, NULL, &job->index);
  row_source_close(&rows);
  return status;
}

int64_t search_rows(const search_job *job) {
  return job->index ? mica_index_count(job->index) : mica_collection_count(job->collection);
}

char *search_spec_of(const search_job *job) {
  return job->index ? mica_index_spec(job->index)
                    : mica_strdup(mica_collection_spec(job->collection));
}

mica_status search_text(const search_job *job, const char *key, char **out) {
  if (!job->index) return mica_collection_text(job->collection, key, out);
  const char *text = mica_index_text(job->index, key);
  *out = text ? mica_strdup(text) : NULL;
  return text && !*out ? MICA_ERR_MEMORY : MICA_OK;
}

int64_t search_class_find(const mica_json *list, const char *name) {
  for (int64_t c = 0; name && c < mica_json_count(list); c++) {
    const char *other = mica_json_string(mica_json_item(list, c));
    if (other && strcmp(other, name) == 0) return c;
  }
  return -1;
}

const char *search_class(const search_job *job, int64_t label) {
  return job->classes && label >= 0
             ? mica_json_string(mica_json_item(mica_json_root(job->classes), label))
             : NULL;
}

/* Labels of queries as the index numbers its classes, by their names where both have some. */
static mica_status match_labels(search_job *job) {
  row_source *q = &job->queries;
  mica_json_doc *doc = NULL;
  char *own = NULL;
  mica_status status = search_text(job, "classes", &own);
  if (!status && own) status = mica_json_parse(own, strlen(own), &job->classes);
  mica_free(own);
  if (status || !job->classes || !q->classes || !q->label) return status;
  status = mica_json_parse(q->classes, strlen(q->classes), &doc);
  for (int64_t i = 0; i < q->n && !status; i++) {
    const int64_t c =
        search_class_find(mica_json_root(job->classes),
                          mica_json_string(mica_json_item(mica_json_root(doc), q->label[i])));
    q->label[i] = c < 0 ? MICA_CLASS_NONE : c;
  }
  mica_json_free(doc);
  return status;
}

static mica_status open_queries(const cli_args *a, search_job *job) {
  const char *encoder = cli_text(a, "--encoder");
  if (!encoder && !cli_on(a, "--text") && is_feature_file(a->operand[2]))
    return row_source_features(a->operand[2], cli_text(a, "--labels"), cli_text(a, "--part"),
                               &job->queries);
  char *own = NULL;
  mica_status status = encoder ? MICA_OK : search_text(job, "encoder", &own);
  if (!status && own) status = open_encoded(a, own, 2, job);
  mica_free(own);
  if (status || job->encoder) return status;
  if (!encoder)
    return mica_fail(MICA_ERR_INVALID,
                     "%s: is no file of features; --encoder MODEL says what makes some of pictures "
                     "or, with --text, of lines",
                     a->operand[2]);
  return open_encoded(a, encoder, 2, job);
}

static mica_status open_seen(search_job *job) {
  const char *path = cli_text(job->a, "--seen");
  judgement *list = NULL;
  int64_t n = 0;
  if (!path) return MICA_OK;
  mica_status status = judgements_read(path, &list, &n);
  if (!status)
    status =
        judgements_deal(list, n, job->queries.id, job->queries.n, &job->seen_at, &job->seen, NULL);
  mica_free(list);
  return status;
}

#define MOST_EFFORT (INT64_C(1) << 40)

/* The label that --label names: by its number, or as the index calls it. */
static mica_status open_label(search_job *job) {
  const char *name = cli_text(job->a, "--label");
  const mica_json *list = job->classes ? mica_json_root(job->classes) : NULL;
  job->want = list && name ? search_class_find(list, name) : -1;
  if (!name || job->want >= 0) return MICA_OK;
  const size_t digits = strspn(name, "0123456789");
  if (digits && !name[digits] && digits < 18) job->want = strtoll(name, NULL, 10);
  return job->want >= 0 ? MICA_OK
                        : mica_fail(MICA_ERR_NOT_FOUND, "--label is '%s', which is no number%s",
                                    name, list ? " and no class of the index" : "");
}

mica_status search_open(const cli_args *a, search_job *job) {
  *job = (search_job){.a = a};
  cli_int(a, "--effort", 0, MOST_EFFORT, &job->effort); /* looked at by run */
  mica_status status = cli_engine(a, &job->engine);
  if (!status) status = open_index(a, job);
  if (!status) status = open_queries(a, job);
  if (!status && job->index) status = search_whiten_open(job->index, &job->whitening);
  if (!status && job->whitening)
    status = row_source_transform(&job->queries, job->engine, job->whitening);
  /* A compatible model's rows begin with what the older one's index is asked with. */
  const int64_t wide = job->queries.width;
  const int64_t columns = status       ? wide
                          : job->index ? mica_index_width(job->index)
                                       : mica_collection_width(job->collection);
  if (!status && wide != columns && !(cli_on(a, "--prefix") && wide > columns))
    status = mica_fail(MICA_ERR_SHAPE, "%s: rows of %lld columns, the index has %lld%s",
                       a->operand[2], (long long)wide, (long long)columns,
                       wide > columns ? "; --prefix asks with the first of them" : "");
  if (status) return status;
  job->width = columns;
  job->metric =
      job->index ? mica_index_metric_of(job->index) : mica_collection_metric_of(job->collection);
  status = search_coarse_open(a, job->queries.n, &job->coarse);
  if (!status) status = match_labels(job);
  if (!status) status = open_seen(job);
  if (!status) status = open_label(job);
  if (!status && cli_text(a, "--only"))
    status = ids_read(cli_text(a, "--only"), &job->only, &job->n_only);
  return status;
}

void search_close(search_job *job) {
  row_source_close(&job->queries);
  mica_free(job->seen_at);
  mica_free(job->seen);
  mica_free(job->only);
  mica_tensor_free(job->coarse);
  mica_json_free(job->classes);
  mica_index_free(job->index);
  mica_collection_free(job->collection);
  mica_transform_free(job->whitening);
  mica_model_free(job->encoder);
  mica_engine_free(job->engine);
}

/* ---- queries, a piece at a time ---- */

static int on_progress(void *ctx, const char *what, int64_t done, int64_t total) {
  (void)ctx, (void)what, (void)done, (void)total;
  return cli_interrupted();
}

mica_status search_piece_begin(const search_job *job, int64_t most, search_piece *out) {
  const row_source *q = &job->queries;
  *out = (search_piece){.most = most, .o = MICA_INDEX_QUERY_OPTIONS};
  out->which = mica_realloc_array(NULL, (size_t)most, sizeof *out->which);
  out->self = mica_realloc_array(NULL, (size_t)most, sizeof *out->self);
  out->at = mica_realloc_array(NULL, (size_t)most + 1, sizeof *out->at);
  out->want = mica_realloc_array(NULL, (size_t)most, sizeof *out->want);
  void *x = mica_realloc_array(NULL, (size_t)most, (size_t)q->width * mica_dtype_size(q->dtype));
  out->x = mica_view_of(x, q->dtype, MICA_SHAPE(0, q->width));
  out->o.progress = on_progress;
  out->o.effort = job->effort;
  void *second = job->coarse ? coarse_room(job->coarse, most) : NULL;
  out->coarse = mica_view_of(second, MICA_F32, MICA_SHAPE(0, 1));
  if (job->coarse && !second) return MICA_ERR_MEMORY;
  out->o.only = job->only;
  out->o.n_only = job->n_only;
  out->o.exact = cli_on(job->a, "--exact");
  if (!(out->which && out->self && out->at && out->want && x)) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < most; i++) out->want[i] = job->want;
  if (job->want >= 0) out->o.want_label = out->want;
  return MICA_OK;
}

void search_piece_end(search_piece *piece) {
  mica_free(piece->which);
  mica_free(piece->self);
  mica_free(piece->at);
  mica_free(piece->seen);
  mica_free(piece->want);
  mica_free(piece->coarse.data);
  mica_free(piece->x.data);
}

/* The seen ids of the piece's queries, one list after the other. */
static mica_status gather_seen(const search_job *job, search_piece *p) {
  p->at[0] = 0;
  for (int64_t i = 0; i < p->m; i++)
    p->at[i + 1] = p->at[i] + job->seen_at[p->which[i] + 1] - job->seen_at[p->which[i]];
  mica_free(p->seen);
  p->seen = mica_realloc_array(NULL, (size_t)p->at[p->m] + 1, sizeof *p->seen);
  if (!p->seen) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < p->m; i++)
    memcpy(p->seen + p->at[i], job->seen + job->seen_at[p->which[i]],
           (size_t)(p->at[i + 1] - p->at[i]) * sizeof *p->seen);
  p->o.seen_at = p->at;
  p->o.seen = p->seen;
  return MICA_OK;
}

mica_status search_piece_next(search_job *job, search_piece *p) {
  const row_source *q = &job->queries;
  if (p->cursor) tell(job->a, &job->left, "queries", p->cursor, q->n);
  mica_status status =
      row_source_next(&job->queries, &p->cursor, p->most, p->x.data, p->which, &p->m);
  if (status || !p->m) return status;
  p->x = mica_view_of(p->x.data, q->dtype, MICA_SHAPE(p->m, q->width));
  p->x.shape.dim[1] = job->width; /* of wider rows the first columns */
  for (int64_t i = 0; i < p->m; i++) p->self[i] = q->id[p->which[i]];
  if (job->coarse) {
    search_coarse_rows(job->coarse, p->m, p->which, p->coarse.data, &p->coarse);
    p->o.coarse = &p->coarse;
  }
  if (cli_on(job->a, "--no-self")) p->o.self_id = p->self;
  return job->seen_at ? gather_seen(job, p) : MICA_OK;
}

/* ---- the verb ---- */

static int run(const cli_args *a) {
  const char *what = a->operand[0];
  int64_t effort;
  if (!cli_int(a, "--effort", 0, MOST_EFFORT, &effort)) return EXIT_USAGE;
  cli_catch_interrupt();
  if (strcmp(what, "build") == 0) return build(a);
  if (strcmp(what, "query") == 0) return cli_search_query(a);
  if (strcmp(what, "eval") == 0) return cli_search_eval(a);
  if (strcmp(what, "curve") == 0) return cli_search_curve(a);
  if (strcmp(what, "add") == 0) return cli_search_add(a);
  static const char *const finished[] = {"delete", "compact", "import", "export"};
  for (size_t i = 0; i < sizeof finished / sizeof *finished; i++)
    if (strcmp(what, finished[i]) == 0 && search_whiten_unused(a)) return cli_failed(a);
  if (strcmp(what, "delete") == 0) return cli_search_delete(a);
  if (strcmp(what, "compact") == 0) return cli_search_compact(a);
  if (strcmp(what, "import") == 0) return cli_search_import(a);
  if (strcmp(what, "export") == 0) return cli_search_export(a);
  return cli_usage(
      a, "'%s' is none of build, query, eval, curve, add, delete, compact, import and export",
      what);
}

static const cli_flag flags[] = {
    {"--out", "-o", "FILE", NULL,
     "build: the index, features.index; query: neighbours as .csv, .npz or .safetensors; eval: the "
     "measures of each query as .csv; curve: a figure, .svg; import: the index; export: a file of "
     "FAISS, or .copy or .tsv for PostgreSQL, or of a collection one .index"},
    {"--metric", NULL, "M", NULL, "cosine, l2 or inner; cosine unless the specification says"},
    {"--spec", NULL, "INDEX", "exact",
     "which index: `mica list index` tells them and their options"},
    {"--encoder", NULL, "MODEL", NULL,
     "make features of pictures or texts; an index or collection of them knows its own"},
    {"--text", NULL, NULL, NULL,
     "what goes in, or asks, are the lines of a text (- is standard input), for an encoder of "
     "texts "
     "or of pictures and texts"},
    {"--labels", NULL, "FILE.npy", NULL, "labels of the rows, where their file has none"},
    {"--part", NULL, "P", "all", "rows to index, or to ask with: train, val, test or all"},
    {"--index-part", NULL, "P", "all", "the same of a file of features in the index's place"},
    {"-k", NULL, "N", "10", "query: neighbours of each"},
    {"--no-self", NULL, NULL, NULL, "leave the row with the query's own number out of its answer"},
    {"--grid", NULL, "FILE", NULL,
     "query: a figure, .svg or .html, of queries and neighbours as pictures"},
    {"--show", NULL, "N", "12", "query: queries in that figure, evenly spaced"},
    {"--data", NULL, "DIR", NULL,
     "query: the pictures that the rows are from; an index of pictures knows its own"},
    {"--query-data", NULL, "DIR", NULL, "query: those of the queries, where they are others"},
    {"--measures", NULL, "LIST", MICA_RETRIEVAL_MEASURES, "eval: what to measure"},
    {"--truth", NULL, "FILE", NULL,
     "eval: lines \"query,id\" or \"query,id,grade\" say what is right; else equal labels do"},
    {"--depth", NULL, "N", "0", "eval: how far down lists go; 0: all rows"},
    {"--ties", NULL, "T", "id",
     "eval: of equal scores the lower id first, or `against`: wrong answers first"},
    {"--seed", NULL, "N", "0", "eval: of the intervals' resamples"},
    {"--prefix", NULL, NULL, NULL,
     "query, eval, curve: ask with the first columns of wider rows, as a compatible model gives"},
    {"--effort", NULL, "N", "0",
     "lists of an ivf, candidates of an hnsw, or rows of a pq, that a query looks at; 0: as the "
     "index says"},
    {"--only", NULL, "FILE", NULL,
     "the ids of rows that may be in an answer, one a line; delete: of those to delete"},
    {"--coarse", NULL, "FILE", NULL,
     "what another encoder made of the same rows, or queries: codes (pq) are of that"},
    {"--whiten", NULL, "N", "0",
     "build: rows become N principal components of variance 1, of length 1, and queries too"},
    {"--whiten-on", NULL, "FILE", NULL, "learned from these features; else from the rows"},
    {"--codes", NULL, "FILE", NULL,
     "build: codes (pq) that `mica train --codes` trained with an encoder"},
    {"--label", NULL, "NAME", NULL, "the label that an answer must have, by name or number"},
    {"--exact", NULL, NULL, NULL, "query, eval: look at every row, whatever the index"},
    {"--keep-ids", NULL, NULL, NULL,
     "add: rows keep the numbers of their file, and take the place of rows that have them"},
    {"--seen", NULL, "FILE", NULL, "lines \"query,id\": rows to leave out of a query's answer"},
    {"--strict", NULL, NULL, NULL, "stop at a picture that cannot be read"},
    CLI_COMMON_FLAGS};

const cli_verb verb_search = {
    "search",
    "build|query|eval|curve|add|delete|compact|import|export FILE...",
    "find the rows of features, or the pictures, that are nearest to others",
    flags,
    1,
    -1,
    run,
    "examples: mica embed net.mica --data photos/ -o f.safetensors\n"
    "          mica search build f.safetensors --part train -o f.index\n"
    "          mica search query f.index f.safetensors --part test -k 5\n"
    "          mica search query f.index f.safetensors --part test --data photos/ --grid "
    "grid.html\n"
    "          mica search eval f.index f.safetensors --part test    measures by equal labels\n"
    "          mica search build photos/ --encoder resnet18 -o photos.index\n"
    "          mica search query photos.index new.jpg\n"
    "          echo 'a red bolt' | mica search query photos.index - --text    by an encoder of "
    "both\n"
    "          mica search query f.npy f.npy --no-self       without an index file\n"
    "          mica search build f.safetensors --spec hnsw -o g.index\n"
    "          mica search curve g.index f.safetensors --part test -o curve.svg\n"
    "          mica search add photos.collection f.safetensors      a folder that grows\n"
    "          mica search query photos.collection f.safetensors --label 3\n"
    "          mica search delete photos.collection 17 204\n"
    "          mica search export g.index -o g.faiss                FAISS; rows.copy: PostgreSQL\n"
    "          mica search import g.faiss -o g.index\n\n"
    "Files of features are .npy [N, D], or .npz or .safetensors with `features`, `labels` and "
    "`part`;\nthey and the index may be larger than memory. Rows are numbered as in their file, "
    "pictures as in\ntheir data set. Equal scores: the lower number comes first."};
