/* What is right for each query, from files of others: ground truths of revisited Oxford and Paris,
 * solutions of Google Landmarks' retrieval. */
#include "cli/judgements.h"
#include "cli/landmark_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool ends_with(const char *path, const char *ending) {
  const size_t n = strlen(path), m = strlen(ending);
  return n >= m && strcmp(path + n - m, ending) == 0;
}

static bool begins_with(const char *path, const char *text) {
  char head[32] = "";
  struct stat s;
  if (stat(path, &s) != 0 || !S_ISREG(s.st_mode)) return false; /* a pipe is read once */
  FILE *f = fopen(path, "rb");
  const size_t n = f ? fread(head, 1, sizeof head - 1, f) : 0;
  if (f) fclose(f);
  return n >= strlen(text) && strncmp(head, text, strlen(text)) == 0;
}

bool judgements_are_truth(const char *path) {
  return ends_with(path, ".pkl") || begins_with(path, "id,images");
}

/* ---- revisited Oxford and Paris ---- */

static mica_status of_revisited(const char *path, const row_source *q, judgement **out,
                                int64_t *n) {
  static const double grades[] = {GRADE_EASY, GRADE_HARD, GRADE_JUNK};
  mica_revisited *r = NULL;
  mica_status status = mica_revisited_open(path, &r);
  if (status) return status;
  const int64_t queries = mica_revisited_queries(r);
  int64_t total = 0, some;
  for (int64_t i = 0; i < 3 * queries; i++) {
    mica_revisited_list(r, i / 3, (mica_revisited_answers)(i % 3), &some);
    total += some;
  }
  *out = mica_realloc_array(NULL, (size_t)total + 1, sizeof **out);
  if (queries != q->n)
    status = mica_fail(MICA_ERR_SHAPE, "%s: %lld queries, but %lld were given", path,
                       (long long)queries, (long long)q->n);
  else if (!*out)
    status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < 3 * queries && !status; i++) {
    const int64_t *list = mica_revisited_list(r, i / 3, (mica_revisited_answers)(i % 3), &some);
    for (int64_t j = 0; j < some; j++)
      (*out)[(*n)++] = (judgement){q->id[i / 3], list[j], grades[i % 3]};
  }
  mica_revisited_free(r);
  return status;
}

/* ---- solutions of Google Landmarks ---- */

typedef struct named {
  char *name;
  int64_t id;
} named;

static int by_name(const void *a, const void *b) {
  return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

/* "a/b/c/abc123.jpg" is the picture abc123. */
static char *stem_of(const char *path) {
  const char *slash = strrchr(path, '/'), *from = slash ? slash + 1 : path,
             *dot = strrchr(from, '.');
  return mica_strndup(from, dot ? (size_t)(dot - from) : strlen(from));
}

/* Pictures that are not in the index get ids that no row has: right answers that nobody finds. */
static int64_t id_of(const named *all, int64_t n, char *name, int64_t *missing) {
  const named key = {name, 0};
  const named *found = n ? bsearch(&key, all, (size_t)n, sizeof *all, by_name) : NULL;
  return found ? found->id : INT64_MAX - (*missing)++;
}

static mica_status add_list(char *list, int64_t query, const named *all, int64_t rows,
                            judgement **out, int64_t *n, int64_t *room) {
  int64_t missing = 0;
  char *rest = NULL;
  for (char *at = strtok_r(list, " ", &rest); at; at = strtok_r(NULL, " ", &rest)) {
    if (strcmp(at, "None") == 0) continue;
    if (*n == *room) {
      *room = *room ? 2 * *room : 1024;
      judgement *more = mica_realloc_array(*out, (size_t)*room, sizeof *more);
      if (!more) return MICA_ERR_MEMORY;
      *out = more;
    }
    (*out)[(*n)++] = (judgement){query, id_of(all, rows, at, &missing), 1};
  }
  return MICA_OK;
}

static mica_status of_solution(const char *path, const mica_index *index, const row_source *q,
                               judgement **out, int64_t *n) {
  if (!index)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s: goes by the names of an index's pictures; mica search export makes an "
                     "index of a collection",
                     path);
  const int64_t rows = mica_index_count(index);
  landmark_answers truth;
  int64_t room = 0, known = 0;
  char name[512];
  named *all = mica_calloc((size_t)rows, sizeof *all);
  mica_status status = landmark_answers_read(path, &truth);
  if (!status && !all) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < rows && !status; i++) {
    all[i] =
        (named){stem_of(mica_index_name(index, i, name, sizeof name)), mica_index_ids(index)[i]};
    if (!all[i].name) status = MICA_ERR_MEMORY;
  }
  if (!status) qsort(all, (size_t)rows, sizeof *all, by_name);
  for (int64_t i = 0; i < q->n && !status; i++) {
    landmark_entry key = {stem_of(row_source_name(q, i, name, sizeof name)), NULL, NULL};
    if (!key.id) status = MICA_ERR_MEMORY;
    landmark_entry *found = status || !truth.n ? NULL
                                               : bsearch(&key, truth.entry, (size_t)truth.n,
                                                         sizeof key, landmark_by_id);
    mica_free(key.id);
    if (!found || strcmp(found->usage, "Ignored") == 0) continue;
    known++;
    status = add_list(found->list, q->id[i], all, rows, out, n, &room);
  }
  if (!status && !known)
    status = mica_fail(MICA_ERR_NOT_FOUND,
                       "%s: no query has the name of a picture in it: pictures go by their names, "
                       "so index and queries are to be made of pictures (--encoder)",
                       path);
  for (int64_t i = 0; i < rows && all; i++) mica_free(all[i].name);
  mica_free(all);
  landmark_answers_free(&truth);
  return status;
}

mica_status judgements_of_truth(const char *path, const mica_index *index, const row_source *q,
                                judgement **out, int64_t *n) {
  *out = NULL;
  *n = 0;
  const mica_status status =
      ends_with(path, ".pkl") ? of_revisited(path, q, out, n) : of_solution(path, index, q, out, n);
  if (status) {
    mica_free(*out);
    *out = NULL;
    *n = 0;
  }
  return status;
}
