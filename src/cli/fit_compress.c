/* mica fit compress: a finished matrix in fewer bytes, with what that costs its neighbours or, of
 * the vectors of a click model, its answers. */
#include "cli/compress.h"
#include "cli/features.h"
#include "cli/table.h"

#include "base/buffer.h"
#include "base/json.h"
#include "base/progress.h"

#include <mica/embedding.h>
#include <mica/index.h>
#include <mica/report.h>

#include <math.h>
#include <string.h>

enum { QUERIES = 500, NEAREST = 10, METHODS = 32 };

static const char *const usual[] = {"pq", "grouped-pq", "svd", "grouped-svd", "prune", "int", "tt"};

/* What became of one method. */
typedef struct outcome {
  char spec[256], why[256]; /* why: it could not be done; "": it was */
  mica_embedding_facts facts;
  double error, recall, seconds, lookup; /* lookup: microseconds a row */
  double auroc, log_loss;                /* of a click model; NaN: there is none */
} outcome;

/* A click model whose vectors are the matrix, and a log that says what they are worth. */
typedef struct clicks {
  mica_model *model;
  mica_param *vectors;
  mica_columns *columns;
  mica_data_table *table;
  mica_stream stream;
  const char *part;
  outcome full;
} clicks;

typedef struct job {
  const cli_args *a;
  mica_engine *engine;
  mica_tensor *x; /* float32 [n, d] */
  int64_t n, d, queries;
  int64_t *query; /* rows that are asked about */
  int64_t *truth; /* [queries, NEAREST] */
  float *decoded; /* [n, d] */
  clicks clicks;  /* model NULL: a matrix alone */
  outcome outcome[METHODS];
  int n_outcomes, best;
} job;

/* The first matrix of floats in a file. */
static mica_status read_matrix(const char *path, mica_tensor **out) {
  mica_archive *a = NULL;
  mica_status status = mica_archive_open(path, &a);
  if (status != MICA_OK) return status;
  int64_t at = -1;
  for (int64_t i = 0; i < mica_archive_count(a) && at < 0; i++)
    if (mica_archive_shape(a, i)->rank == 2 && mica_dtype_is_float(mica_archive_dtype(a, i)))
      at = i;
  mica_tensor *any = NULL;
  status = at < 0 ? mica_fail(MICA_ERR_FORMAT, "%s: no matrix of floats in it", path)
                  : mica_archive_read(a, at, &any);
  if (status == MICA_OK) {
    const mica_view v = mica_tensor_view(any);
    status = mica_tensor_from_view(&v, MICA_F32, out);
  }
  mica_tensor_free(any);
  mica_archive_close(a);
  return status;
}

/* ---- a click model ---- */

static void clicks_free(clicks *c) {
  mica_table_stream_free(&c->stream);
  mica_data_table_free(c->table);
  mica_columns_free(c->columns);
  mica_model_free(c->model);
}

static mica_status open_clicks(const cli_args *a, mica_engine *engine, clicks *c) {
  const char *name = cli_text(a, "--encoder");
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  mica_status status = open_model(engine, name, &c->model);
  if (status != MICA_OK) return status;
  const mica_net *net = mica_model_net(c->model);
  c->vectors = mica_params_find(mica_net_params(net), "embedding.weight");
  if (mica_net_problem(net)->fields == 0 || mica_net_problem(net)->classes != 2 || !c->vectors)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s: no click model with a plain table of vectors (embedding.weight)", name);
  status = mica_model_read_columns(c->model, &c->columns);
  o.columns = c->columns;
  o.validation = 0;
  o.strict = cli_on(a, "--strict");
  if (status == MICA_OK) status = mica_data_table_open(cli_text(a, "--data"), &o, &c->table);
  if (status != MICA_OK) return status;
  cli_table_skipped(mica_data_table_skipped(c->table), mica_data_table_skipped_text(c->table));
  const bool test = mica_data_table_part_count(c->table, MICA_PART_TEST) > 0;
  c->part = test ? "test part" : "all";
  if (!test && !mica_data_table_part_count(c->table, MICA_PART_TRAIN))
    return mica_fail(MICA_ERR_INVALID, "%s: no row with a label", cli_text(a, "--data"));
  return mica_table_stream_create(c->table, test ? MICA_PART_TEST : MICA_PART_TRAIN, 1024, false, 0,
                                  &c->stream);
}

/* What the model's answers are worth with these vectors. */
static mica_status ask_clicks(clicks *c, const float *vectors, int64_t n, outcome *o) {
  mica_evaluation e = {0};
  memcpy(mica_param_write(c->vectors), vectors, (size_t)n * sizeof *vectors);
  mica_status status = mica_evaluate(mica_model_net(c->model), &c->stream, false, false, &e);
  o->auroc = e.auroc;
  o->log_loss = e.loss;
  mica_evaluation_clear(&e);
  if (status == MICA_OK && isnan(o->auroc))
    status =
        mica_fail(MICA_ERR_INVALID, "the log has rows of one label alone: what the vectors are "
                                    "worth cannot be seen");
  return status;
}

/* ---- a matrix ---- */

/* The nearest other rows of each row that is asked about, in `rows`, as those are in x. */
static mica_status neighbours(const job *j, const float *rows, int64_t *out) {
  mica_index *index = NULL;
  mica_index_batch all = MICA_INDEX_BATCH;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  float *x = mica_malloc((size_t)(j->queries * j->d) * sizeof *x);
  double *score = mica_calloc((size_t)(j->queries * NEAREST), sizeof *score);
  mica_status status = x && score ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < j->queries && status == MICA_OK; i++)
    memcpy(x + i * j->d, (const float *)mica_tensor_data(j->x) + j->query[i] * j->d,
           (size_t)j->d * sizeof *x);
  all.x = mica_view_of((void *)(uintptr_t)rows, MICA_F32, MICA_SHAPE(j->n, j->d));
  if (status == MICA_OK) {
    char spec[64];
    snprintf(spec, sizeof spec, "exact:metric=%s", cli_text(j->a, "--metric"));
    status = mica_index_create(j->engine, spec, &all, &index);
  }
  o.k = NEAREST;
  o.self_row = j->query;
  if (status == MICA_OK) {
    const mica_view v = mica_view_of(x, MICA_F32, MICA_SHAPE(j->queries, j->d));
    status = mica_index_query(index, &v, &o, out, score);
  }
  mica_index_free(index);
  mica_free(score);
  mica_free(x);
  return status;
}

static double share_found(const job *j, const int64_t *got) {
  int64_t found = 0, all = 0;
  for (int64_t i = 0; i < j->queries; i++)
    for (int64_t k = 0; k < NEAREST; k++) {
      const int64_t row = j->truth[i * NEAREST + k];
      if (row < 0) continue;
      all++;
      for (int64_t m = 0; m < NEAREST; m++) found += got[i * NEAREST + m] == row;
    }
  return all ? (double)found / (double)all : NAN;
}

/* The share of the squares that are lost. */
static double lost(const job *j) {
  const float *x = mica_tensor_data(j->x);
  double error = 0, all = 0;
  for (int64_t i = 0; i < j->n * j->d; i++) {
    const double e = (double)x[i] - (double)j->decoded[i];
    error += e * e;
    all += (double)x[i] * (double)x[i];
  }
  return all > 0 ? error / all : NAN;
}

static mica_status measure(job *j, const mica_packed_embedding *p, outcome *o) {
  int64_t *rows = mica_malloc((size_t)j->n * sizeof *rows);
  int64_t *got = mica_calloc((size_t)(j->queries * NEAREST), sizeof *got);
  mica_status status = rows && got ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < j->n && status == MICA_OK; i++) rows[i] = i;
  const double begin = mica_seconds();
  if (status == MICA_OK) status = mica_packed_embedding_rows(p, j->engine, j->n, rows, j->decoded);
  o->lookup = (mica_seconds() - begin) / (double)j->n * 1e6;
  if (status == MICA_OK) status = neighbours(j, j->decoded, got);
  o->error = lost(j);
  o->recall = share_found(j, got);
  if (status == MICA_OK && j->clicks.model)
    status = ask_clicks(&j->clicks, j->decoded, j->n * j->d, o);
  mica_packed_embedding_describe(p, &o->facts);
  mica_free(got);
  mica_free(rows);
  return status;
}

/* One method; that it cannot be as small is no failure of the whole. */
static mica_status try_method(job *j, const char *method, const char *bytes, int64_t seed) {
  outcome *o = &j->outcome[j->n_outcomes];
  mica_packed_embedding *p = NULL;
  snprintf(o->spec, sizeof o->spec, "%s%s%s", method, bytes ? ":bytes=" : "", bytes ? bytes : "");
  const mica_view x = mica_tensor_view(j->x);
  const double begin = mica_seconds();
  mica_status status = mica_matrix_compress(j->engine, o->spec, &x, (uint64_t)seed, &p);
  o->seconds = mica_seconds() - begin;
  j->n_outcomes++;
  if (status == MICA_ERR_INVALID && strstr(mica_last_error(), "is the least")) {
    snprintf(o->why, sizeof o->why, "%s", mica_last_error());
    return MICA_OK;
  }
  if (status == MICA_OK) status = measure(j, p, o);
  const char *out = cli_text(j->a, "--out");
  const outcome *best = j->best < 0 ? NULL : &j->outcome[j->best];
  const bool better =
      status == MICA_OK &&
      (!best || (j->clicks.model ? o->auroc > best->auroc : o->recall > best->recall));
  if (better) j->best = j->n_outcomes - 1;
  if (better && out) status = mica_packed_embedding_save(p, out);
  mica_packed_embedding_free(p);
  return status;
}

/* ---- telling ---- */

static mica_status print_clicks(const job *j, mica_table *table, const outcome *o) {
  if (!j->clicks.model) return MICA_OK;
  mica_status status = mica_table_number(table, o->auroc, 5);
  if (status == MICA_OK) status = mica_table_number(table, o->auroc - j->clicks.full.auroc, 2);
  return status == MICA_OK ? mica_table_number(table, o->log_loss, 4) : status;
}

/* The vectors as they are, which all others are compared with. */
static mica_status print_full(const job *j, mica_table *table) {
  mica_status status = mica_table_text(table, "(as they are)");
  if (status == MICA_OK) status = mica_table_integer(table, 4 * j->n * j->d);
  const double values[] = {1, 0, 1};
  for (int i = 0; i < 3 && status == MICA_OK; i++) status = mica_table_number(table, values[i], 4);
  for (int i = 0; i < 2 && status == MICA_OK; i++) status = mica_table_text(table, "");
  return status == MICA_OK ? print_clicks(j, table, &j->clicks.full) : status;
}

static mica_status print_table(const job *j) {
  static const char *const heads[] = {"bytes",    "share", "lost squares", "recall@10", "fit, s",
                                      "us a row", "AUROC", "gained",       "log loss"};
  const size_t columns = j->clicks.model ? 9 : 6;
  mica_table *table = NULL;
  mica_table_options how = MICA_TABLE_OPTIONS;
  char *text = NULL;
  mica_status status = mica_table_create(&table);
  if (status == MICA_OK) status = mica_table_column(table, "method", MICA_ALIGN_LEFT);
  for (size_t i = 0; i < columns && status == MICA_OK; i++)
    status = mica_table_column(table, heads[i], MICA_ALIGN_RIGHT);
  if (status == MICA_OK && j->clicks.model) status = print_full(j, table);
  for (int i = 0; i < j->n_outcomes && status == MICA_OK; i++) {
    const outcome *o = &j->outcome[i];
    if (*o->why) continue;
    status = mica_table_text(table, o->spec);
    if (status == MICA_OK) status = mica_table_integer(table, o->facts.bytes);
    if (status == MICA_OK) status = mica_table_number(table, o->facts.rate, 4);
    if (status == MICA_OK) status = mica_table_number(table, o->error, 4);
    if (status == MICA_OK) status = mica_table_number(table, o->recall, 4);
    if (status == MICA_OK) status = mica_table_number(table, o->seconds, 2);
    if (status == MICA_OK) status = mica_table_number(table, o->lookup, 3);
    if (status == MICA_OK) status = print_clicks(j, table, o);
  }
  if (status == MICA_OK) status = mica_table_render(table, &how, &text);
  if (status == MICA_OK && j->clicks.model)
    printf("%lld rows of the log (%s)\n",
           (long long)mica_data_table_part_count(
               j->clicks.table, *j->clicks.part == 't' ? MICA_PART_TEST : MICA_PART_TRAIN),
           j->clicks.part);
  if (status == MICA_OK) printf("%s", text);
  for (int i = 0; i < j->n_outcomes; i++)
    if (*j->outcome[i].why) printf("%s\n", j->outcome[i].why);
  mica_free(text);
  mica_table_free(table);
  return status;
}

static void print_json(const job *j) {
  for (int i = 0; i < j->n_outcomes; i++) {
    const outcome *o = &j->outcome[i];
    mica_bytes b = {0};
    mica_json_writer w = {.out = &b};
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "method", o->spec);
    mica_json_put_text(&w, "error", *o->why ? o->why : NULL);
    mica_json_put_double(&w, "bytes", *o->why ? NAN : (double)o->facts.bytes);
    mica_json_put_double(&w, "share", *o->why ? NAN : o->facts.rate);
    mica_json_put_double(&w, "lost", *o->why ? NAN : o->error);
    mica_json_put_double(&w, "recall", *o->why ? NAN : o->recall);
    mica_json_put_double(&w, "fit_seconds", o->seconds);
    if (j->clicks.model) {
      mica_json_put_double(&w, "auroc", *o->why ? NAN : o->auroc);
      mica_json_put_double(&w, "full_auroc", j->clicks.full.auroc);
      mica_json_put_double(&w, "log_loss", *o->why ? NAN : o->log_loss);
      mica_json_put_double(&w, "full_log_loss", j->clicks.full.log_loss);
    }
    mica_json_end_object(&w);
    mica_bytes_byte(&b, 0);
    if (b.data) printf("%s\n", b.data);
    mica_bytes_free(&b);
  }
}

static int compress(job *j) {
  const cli_args *a = j->a;
  const char *data = cli_text(a, "--data"), *out = cli_text(a, "--out");
  int64_t seed;
  const bool of_model = cli_text(a, "--encoder") != NULL;
  if (!data)
    return cli_usage(a, "--data is missing: a file with the matrix or, with --encoder, a log");
  if (a->n_operands > METHODS) return cli_usage(a, "at most %d methods", METHODS - 1);
  if (!cli_int(a, "--seed", 0, INT64_MAX, &seed)) return EXIT_USAGE;
  mica_status status = cli_engine(a, &j->engine);
  if (status == MICA_OK && of_model) status = open_clicks(a, j->engine, &j->clicks);
  if (status == MICA_OK && of_model) {
    const mica_view v = mica_tensor_view(mica_param_value(j->clicks.vectors));
    status = mica_tensor_from_view(&v, MICA_F32, &j->x);
  } else if (status == MICA_OK) {
    status = read_matrix(data, &j->x);
  }
  if (status != MICA_OK) return cli_failed(a);
  j->n = mica_tensor_dim(j->x, 0);
  j->d = mica_tensor_dim(j->x, 1);
  j->queries = j->n < QUERIES ? j->n : QUERIES;
  j->best = -1;
  int64_t *order = mica_malloc((size_t)(j->n + 1) * sizeof *order);
  j->query = mica_calloc((size_t)j->queries + 1, sizeof *j->query);
  j->truth = mica_calloc((size_t)(j->queries * NEAREST) + 1, sizeof *j->truth);
  j->decoded = mica_calloc((size_t)(j->n * j->d) + 1, sizeof *j->decoded);
  status = order && j->query && j->truth && j->decoded ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    mica_random_permutation(mica_key_fold_name(mica_key_seed((uint64_t)seed), "queries"), j->n,
                            order);
    memcpy(j->query, order, (size_t)j->queries * sizeof *order);
    status = neighbours(j, mica_tensor_data(j->x), j->truth);
  }
  mica_free(order);
  if (status == MICA_OK && of_model)
    status = ask_clicks(&j->clicks, mica_tensor_data(j->x), j->n * j->d, &j->clicks.full);
  const int given = a->n_operands - 1, n = given ? given : (int)(sizeof usual / sizeof *usual);
  for (int i = 0; i < n && status == MICA_OK; i++)
    status = try_method(j, given ? a->operand[i + 1] : usual[i], cli_text(a, "--bytes"), seed);
  if (status == MICA_OK && cli_on(a, "--json"))
    print_json(j);
  else if (status == MICA_OK)
    status = print_table(j);
  if (status == MICA_OK && j->best < 0)
    status = mica_fail(MICA_ERR_INVALID, "no method can be as small");
  if (status != MICA_OK) return cli_failed(a);
  if (out) cli_result(a, "table", out);
  return EXIT_OK;
}

int cli_fit_compress(const cli_args *a) {
  job j = {.a = a};
  const int code = compress(&j);
  mica_free(j.decoded);
  mica_free(j.truth);
  mica_free(j.query);
  mica_tensor_free(j.x);
  clicks_free(&j.clicks);
  mica_engine_free(j.engine);
  return code;
}
