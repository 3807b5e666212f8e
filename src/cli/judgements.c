/* Lines "query,id,grade". */
#include "cli/judgements.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_query(const void *pa, const void *pb) {
  const judgement *a = pa, *b = pb;
  if (a->query != b->query) return a->query < b->query ? -1 : 1;
  return a->id < b->id ? -1 : a->id > b->id;
}

static char *skip_separators(char *at) {
  return at + strspn(at, " \t,;");
}

static bool read_integer(char **at, int64_t *out) {
  char *end;
  *at = skip_separators(*at);
  const long long v = strtoll(*at, &end, 10);
  if (end == *at || v < 0 || (*end && !strchr(" \t,;", *end))) return false;
  *out = v;
  *at = end;
  return true;
}

static bool read_grade(char *at, double *out) {
  static const struct {
    const char *word;
    double grade;
  } words[] = {{"easy", GRADE_EASY}, {"hard", GRADE_HARD}, {"junk", GRADE_JUNK}};
  at = skip_separators(at);
  *out = 1;
  if (!*at) return true;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(at, words[i].word) == 0) {
      *out = words[i].grade;
      return true;
    }
  char *end;
  *out = strtod(at, &end);
  return end != at && !*skip_separators(end) && *out >= 0 && *out <= 1e6;
}

static bool read_line(char *line, judgement *out) {
  return read_integer(&line, &out->query) && read_integer(&line, &out->id) &&
         read_grade(line, &out->grade);
}

/* A text file, line by line. */
typedef struct {
  const char *path;
  uint8_t *bytes;
  size_t lines; /* at most */
  char *next;
  int64_t number;
} lines;

static mica_status lines_open(const char *path, lines *l) {
  size_t size;
  *l = (lines){.path = path, .lines = 1};
  mica_status status = mica_file_read(path, (size_t)1 << 32, &l->bytes, &size);
  if (status) return status;
  for (size_t i = 0; i < size; i++) l->lines += l->bytes[i] == '\n';
  l->next = (char *)l->bytes;
  if (strlen(l->next) == size) return MICA_OK;
  mica_free(l->bytes);
  return mica_fail(MICA_ERR_FORMAT, "%s: is no text", path);
}

/* The next line that is neither empty nor a header, NULL at the end. */
static char *next_line(lines *l) {
  while (l->next) {
    char *line = l->next;
    l->next = strchr(line, '\n');
    if (l->next) *l->next++ = 0;
    line[strcspn(line, "\r")] = 0;
    l->number++;
    line = skip_separators(line);
    const bool header = l->number == 1 && !(*line >= '0' && *line <= '9') && *line != '-';
    if (*line && !header) return line;
  }
  return NULL;
}

static mica_status parse(lines *l, judgement *list, int64_t *n) {
  for (char *line; (line = next_line(l));)
    if (!read_line(line, &list[(*n)++]))
      return mica_fail(MICA_ERR_FORMAT,
                       "%s: line %lld: expected query,id or query,id,grade with numbers of 0 or "
                       "more, or easy, hard, junk as the grade",
                       l->path, (long long)l->number);
  if (*n) qsort(list, (size_t)*n, sizeof *list, by_query);
  for (int64_t i = 1; i < *n; i++)
    if (by_query(&list[i - 1], &list[i]) == 0)
      return mica_fail(MICA_ERR_FORMAT, "%s: query %lld has id %lld twice", l->path,
                       (long long)list[i].query, (long long)list[i].id);
  return MICA_OK;
}

mica_status judgements_read(const char *path, judgement **out, int64_t *n) {
  lines l;
  *out = NULL;
  *n = 0;
  mica_status status = lines_open(path, &l);
  if (status) return status;
  judgement *list = mica_realloc_array(NULL, l.lines, sizeof *list);
  status = list ? parse(&l, list, n) : MICA_ERR_MEMORY;
  mica_free(l.bytes);
  if (status) {
    mica_free(list);
    *n = 0;
  } else {
    *out = list;
  }
  return status;
}

/* ---- ids ---- */

static int by_value(const void *pa, const void *pb) {
  const int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
  return a < b ? -1 : a > b;
}

mica_status ids_read(const char *path, int64_t **out, int64_t *n) {
  lines l;
  *out = NULL;
  *n = 0;
  mica_status status = lines_open(path, &l);
  if (status) return status;
  int64_t *list = mica_realloc_array(NULL, l.lines, sizeof *list);
  if (!list) status = MICA_ERR_MEMORY;
  for (char *line; !status && (line = next_line(&l));)
    if (!read_integer(&line, &list[(*n)++]) || *skip_separators(line))
      status = mica_fail(MICA_ERR_FORMAT, "%s: line %lld: expected one number of 0 or more", path,
                         (long long)l.number);
  mica_free(l.bytes);
  if (status) {
    mica_free(list);
    *n = 0;
    return status;
  }
  qsort(list, (size_t)*n, sizeof *list, by_value);
  *out = list;
  return MICA_OK;
}

bool ids_have(const int64_t *ids, int64_t n, int64_t id) {
  return n && bsearch(&id, ids, (size_t)n, sizeof id, by_value);
}

/* ---- lists of queries ---- */

/* The first of the sorted judgements that is not of an earlier query. */
static int64_t first_of(const judgement *all, int64_t count, int64_t query) {
  int64_t lo = 0, hi = count;
  while (lo < hi) {
    const int64_t mid = lo + (hi - lo) / 2;
    if (all[mid].query < query)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

mica_status judgements_deal(const judgement *all, int64_t count, const int64_t *query, int64_t n,
                            int64_t **at, int64_t **id, double **grade) {
  int64_t total = 0;
  *at = mica_realloc_array(NULL, (size_t)n + 1, sizeof **at);
  if (!*at) return MICA_ERR_MEMORY;
  (*at)[0] = 0;
  for (int64_t i = 0; i < n; i++) {
    total += first_of(all, count, query[i] + 1) - first_of(all, count, query[i]);
    (*at)[i + 1] = total;
  }
  *id = mica_realloc_array(NULL, (size_t)total + 1, sizeof **id);
  if (grade) *grade = mica_realloc_array(NULL, (size_t)total + 1, sizeof **grade);
  if (!*id || (grade && !*grade)) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    const judgement *from = all + first_of(all, count, query[i]);
    for (int64_t j = 0; j < (*at)[i + 1] - (*at)[i]; j++) {
      (*id)[(*at)[i] + j] = from[j].id;
      if (grade) (*grade)[(*at)[i] + j] = from[j].grade;
    }
  }
  return MICA_OK;
}
