/* mica search import, export: indices in the files of FAISS, rows as PostgreSQL copies them. */
#include "cli/search.h"

#include "base/file.h"

#include <string.h>

/* Files of FAISS begin with four letters, the first of which is I. */
static bool is_faiss(const char *path) {
  char head[4] = {0};
  FILE *f = fopen(path, "rb");
  const size_t n = f ? fread(head, 1, sizeof head, f) : 0;
  if (f) fclose(f);
  return n == sizeof head && head[0] == 'I' && head[1] > ' ' && head[2] > ' ' && head[3] > ' ';
}

int cli_search_import(const cli_args *a) {
  search_job job = {.a = a};
  const char *out = cli_text(a, "--out");
  if (a->n_operands != 2) return cli_usage(a, "expected import FILE");
  if (!out) out = "features.index";
  const char *path = a->operand[1];
  char *spec = search_spec(a);
  mica_status status = spec ? cli_engine(a, &job.engine) : MICA_ERR_MEMORY;
  if (!status && is_faiss(path))
    status = mica_index_import_faiss(job.engine, path, out, &job.index);
  else if (!status)
    status = mica_index_import_copy(job.engine, spec, path, out, &job.index);
  if (!status && !cli_on(a, "--json")) {
    char *made = mica_index_spec(job.index);
    printf("%lld rows of %lld columns, %s\n", (long long)mica_index_count(job.index),
           (long long)mica_index_width(job.index), made ? made : "");
    mica_free(made);
  }
  if (!status) cli_result(a, "index", out);
  const int code = status ? cli_failed(a) : EXIT_OK;
  mica_free(spec);
  search_close(&job);
  return code;
}

static bool is_copy(const char *path) {
  static const char *const endings[] = {".copy", ".tsv", ".txt", ".sql"};
  const char *dot = strrchr(path, '.');
  for (int i = 0; dot && i < 4; i++)
    if (strcmp(dot, endings[i]) == 0) return true;
  return false;
}

/* An index file, or a collection as one index. */
static mica_status open_either(const cli_args *a, search_job *job, const char *path) {
  if (!mica_is_folder(a->operand[1]))
    return mica_index_open(job->engine, a->operand[1], &job->index);
  mica_status status = mica_collection_open(job->engine, a->operand[1], &job->collection);
  if (!status && !mica_collection_count(job->collection))
    status = mica_fail(MICA_ERR_INVALID, "%s: there are no rows in it", a->operand[1]);
  return status ? status : mica_collection_index(job->collection, NULL, path, &job->index);
}

static bool is_index(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot && strcmp(dot, ".index") == 0;
}

/* What PostgreSQL is told to take the file in. */
static void print_statements(const mica_index *index, const char *out) {
  static const char *const operators[] = {"vector_cosine_ops", "vector_l2_ops", "vector_ip_ops"};
  char name[2];
  const bool named = *mica_index_name(index, 0, name, sizeof name) != 0;
  const bool labels = mica_index_labels(index) || named;
  printf("CREATE TABLE items (id bigint PRIMARY KEY, embedding vector(%lld)%s%s);\n",
         (long long)mica_index_width(index), labels ? ", label bigint" : "",
         named ? ", name text" : "");
  printf("\\copy items FROM '%s'\n", out);
  printf("CREATE INDEX ON items USING hnsw (embedding %s);\n",
         operators[mica_index_metric_of(index)]);
}

int cli_search_export(const cli_args *a) {
  search_job job = {.a = a};
  const char *out = cli_text(a, "--out");
  if (a->n_operands != 2) return cli_usage(a, "expected export INDEX -o FILE");
  if (!out) return cli_usage(a, "export to which file? -o FILE.faiss, or FILE.copy");
  if (is_index(out) && !mica_is_folder(a->operand[1]))
    return cli_usage(a, "%s: a collection is exported to an .index, an index to .faiss or .copy",
                     a->operand[1]);
  mica_status status = cli_engine(a, &job.engine);
  if (!status) status = open_either(a, &job, is_index(out) ? out : NULL);
  if (!status && is_index(out)) {
    cli_result(a, "index", out);
    search_close(&job);
    return EXIT_OK;
  }
  if (!status)
    status = is_copy(out) ? mica_index_export_copy(job.index, out)
                          : mica_index_export_faiss(job.index, out);
  if (!status && is_copy(out) && !cli_on(a, "--json")) print_statements(job.index, out);
  if (!status) cli_result(a, is_copy(out) ? "rows" : "faiss", out);
  const int code = status ? cli_failed(a) : EXIT_OK;
  search_close(&job);
  return code;
}
