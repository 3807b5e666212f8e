/* mica search add, delete, compact: a folder of rows that grows. */
#include "cli/search.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/features.h"
#include "cli/judgements.h"

#include <stdlib.h>
#include <string.h>

#define PIECE 8192 /* rows added at once: each time is a change of the folder */

/* What the folder holds now, after a change of so many rows. */
static void print_state(const cli_args *a, mica_collection *c, const char *what, int64_t rows) {
  const int64_t all = mica_collection_count(c), files = mica_collection_segments(c);
  if (cli_on(a, "--json")) {
    mica_bytes b = {0};
    mica_json_writer w = {.out = &b};
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "collection", a->operand[1]);
    if (what) mica_json_put_int(&w, what, rows);
    mica_json_put_int(&w, "rows", all);
    mica_json_put_int(&w, "columns", mica_collection_width(c));
    mica_json_put_int(&w, "files", files);
    mica_json_put_text(&w, "spec", mica_collection_spec(c));
    mica_json_end_object(&w);
    if (!b.status) puts(b.data);
    mica_bytes_free(&b);
    return;
  }
  if (what) printf("%lld %s; ", (long long)rows, what);
  printf("%lld rows of %lld columns in %lld files, %s\n", (long long)all,
         (long long)mica_collection_width(c), (long long)files, mica_collection_spec(c));
}

static mica_status to_collection(void *collection, const mica_index_batch *batch) {
  return mica_collection_add(collection, batch);
}

/* One that is there; else none. */
static mica_status open_old(const cli_args *a, search_job *job) {
  char *manifest = mica_path_join(a->operand[1], "collection.json");
  if (!manifest) return MICA_ERR_MEMORY;
  const bool there = mica_file_exists(manifest);
  mica_free(manifest);
  return there ? mica_collection_open(job->engine, a->operand[1], &job->collection) : MICA_OK;
}

/* A new one as wide as the rows, which remembers what makes rows of pictures or texts. */
static mica_status make_new(const cli_args *a, const char *encoder, search_job *job) {
  char *spec = search_spec(a);
  mica_status status = spec ? mica_collection_create(job->engine, a->operand[1], spec,
                                                     job->queries.width, &job->collection)
                            : MICA_ERR_MEMORY;
  mica_free(spec);
  return !status && encoder ? mica_collection_set_text(job->collection, "encoder", encoder)
                            : status;
}

/* ---- names of classes ---- */

/* The names that the collection has and, behind them, those of the rows to come that are new; the
 * rows' labels by these numbers. */
static mica_status merge_names(search_job *job, const mica_json *own, const mica_json *more) {
  row_source *q = &job->queries;
  const int64_t n = mica_json_count(own), m = mica_json_count(more);
  int64_t *number = mica_calloc((size_t)m + 1, sizeof *number), count = n;
  if (!number) return MICA_ERR_MEMORY;
  mica_bytes text = {0};
  mica_json_writer w = {.out = &text};
  mica_json_begin_array(&w);
  for (int64_t c = 0; c < n; c++)
    mica_json_write_string(&w, mica_json_string(mica_json_item(own, c)));
  for (int64_t c = 0; c < m; c++) {
    const char *name = mica_json_string(mica_json_item(more, c));
    number[c] = search_class_find(own, name);
    if (number[c] >= 0) continue;
    number[c] = count++;
    mica_json_write_string(&w, name);
  }
  mica_json_end_array(&w);
  mica_status status = text.status;
  if (!status && count > n)
    status = mica_collection_set_text(job->collection, "classes", text.data);
  for (int64_t i = 0; i < q->n && !status; i++)
    q->label[i] = q->label[i] < m ? number[q->label[i]] : MICA_CLASS_NONE;
  mica_bytes_free(&text);
  mica_free(number);
  return status;
}

/* Labels without names, in a collection whose labels have some. */
static mica_status check_numbers(const row_source *q, int64_t classes, const char *path) {
  for (int64_t i = 0; i < q->n; i++)
    if (q->label[i] >= classes)
      return mica_fail(MICA_ERR_INVALID,
                       "%s: label %lld has no name, and the collection has names for %lld labels",
                       path, (long long)q->label[i], (long long)classes);
  return MICA_OK;
}

static mica_status match_names(const cli_args *a, search_job *job) {
  const row_source *q = &job->queries;
  mica_json_doc *own = NULL, *more = NULL;
  char *text = NULL;
  if (!q->label) return MICA_OK;
  mica_status status = mica_collection_text(job->collection, "classes", &text);
  if (!status && !text && q->classes && mica_collection_count(job->collection))
    status = mica_fail(MICA_ERR_INVALID,
                       "%s: its labels have names and those of the collection have none; --labels "
                       "gives numbers",
                       a->operand[2]);
  if (!status && (text || q->classes)) {
    status = mica_json_parse(text ? text : "[]", text ? strlen(text) : 2, &own);
    if (!status && q->classes) status = mica_json_parse(q->classes, strlen(q->classes), &more);
    if (!status && more) status = merge_names(job, mica_json_root(own), mica_json_root(more));
    if (!status && !more)
      status = check_numbers(q, mica_json_count(mica_json_root(own)), a->operand[2]);
  }
  mica_json_free(own);
  mica_json_free(more);
  mica_free(text);
  return status;
}

int cli_search_add(const cli_args *a) {
  search_job job = {.a = a};
  int64_t before = 0;
  if (a->n_operands < 3) return cli_usage(a, "expected add COLLECTION FEATURES");
  static const char *const others[] = {"--whiten", "--whiten-on", "--codes", "--coarse"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    const char *value;
    if (cli_all(a, others[i], &value, 1))
      return cli_usage(a, "%s is for an index, not for a collection", others[i]);
  }
  const char *encoder = cli_text(a, "--encoder");
  const bool rows = !encoder && !cli_on(a, "--text") && is_feature_file(a->operand[2]);
  char *own = NULL;
  if (a->n_operands > 3 && rows) return cli_usage(a, "add takes one file of features");
  mica_status status = cli_engine(a, &job.engine);
  if (!status) status = open_old(a, &job);
  if (!status && job.collection && !rows && !encoder)
    status = mica_collection_text(job.collection, "encoder", &own);
  if (!status && !rows && !encoder && !own)
    status = mica_fail(MICA_ERR_INVALID,
                       "%s: is no file of features; --encoder MODEL says what makes some of it",
                       a->operand[2]);
  if (!status) status = search_open_rows(a, 2, encoder ? encoder : own, &job);
  if (!status && !job.collection) status = make_new(a, encoder, &job);
  if (!status) status = match_names(a, &job);
  mica_free(own);
  if (!status) before = mica_collection_count(job.collection);
  if (!status)
    status = search_add_rows(a, &job.queries, PIECE, cli_on(a, "--keep-ids"), NULL, to_collection,
                             job.collection);
  if (!status)
    print_state(a, job.collection, "added", mica_collection_count(job.collection) - before);
  const int code = status ? cli_failed(a) : EXIT_OK;
  search_close(&job);
  return code;
}

/* Ids of the operands and of the file of --only. */
static mica_status ids_given(const cli_args *a, int64_t **out, int64_t *n) {
  int64_t *list = NULL, count = 0;
  const char *path = cli_text(a, "--only");
  mica_status status = path ? ids_read(path, &list, &count) : MICA_OK;
  int64_t *all = mica_realloc_array(NULL, (size_t)(count + a->n_operands), sizeof *all);
  if (!status && !all) status = MICA_ERR_MEMORY;
  if (!status && count) memcpy(all, list, (size_t)count * sizeof *all);
  mica_free(list);
  for (int i = 2; i < a->n_operands && !status; i++) {
    const char *text = a->operand[i];
    const size_t digits = strspn(text, "0123456789");
    if (!digits || text[digits] || digits > 18)
      status = mica_fail(MICA_ERR_INVALID, "'%s' is no id: a number of 0 or more", text);
    else
      all[count++] = strtoll(text, NULL, 10);
  }
  *out = all;
  *n = count;
  return status;
}

int cli_search_delete(const cli_args *a) {
  search_job job = {.a = a};
  int64_t *id = NULL, n = 0, deleted = 0;
  if (a->n_operands < 2) return cli_usage(a, "expected delete COLLECTION ID...");
  if (a->n_operands == 2 && !cli_text(a, "--only"))
    return cli_usage(a, "delete which rows? Ids, or --only FILE");
  mica_status status = ids_given(a, &id, &n);
  if (!status) status = cli_engine(a, &job.engine);
  if (!status) status = mica_collection_open(job.engine, a->operand[1], &job.collection);
  if (!status) status = mica_collection_delete(job.collection, id, n, &deleted);
  if (!status) print_state(a, job.collection, "deleted", deleted);
  const int code = status ? cli_failed(a) : EXIT_OK;
  mica_free(id);
  search_close(&job);
  return code;
}

int cli_search_compact(const cli_args *a) {
  search_job job = {.a = a};
  if (a->n_operands != 2) return cli_usage(a, "expected compact COLLECTION");
  mica_status status = cli_engine(a, &job.engine);
  if (!status) status = mica_collection_open(job.engine, a->operand[1], &job.collection);
  if (!status) status = mica_collection_compact(job.collection);
  if (!status) print_state(a, job.collection, NULL, 0);
  const int code = status ? cli_failed(a) : EXIT_OK;
  search_close(&job);
  return code;
}
