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

static mica_status parse(const char *path, char *text, judgement *list, int64_t *n) {
  int64_t number = 0;
  for (char *line = text, *next; line; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = 0;
    line[strcspn(line, "\r")] = 0;
    number++;
    line = skip_separators(line);
    if (!*line || (number == 1 && !(*line >= '0' && *line <= '9') && *line != '-')) continue;
    if (!read_line(line, &list[*n]))
      return mica_fail(MICA_ERR_FORMAT,
                       "%s: line %lld: expected query,id or query,id,grade with numbers of 0 or "
                       "more, or easy, hard, junk as the grade",
                       path, (long long)number);
    ++*n;
  }
  if (*n) qsort(list, (size_t)*n, sizeof *list, by_query);
  for (int64_t i = 1; i < *n; i++)
    if (by_query(&list[i - 1], &list[i]) == 0)
      return mica_fail(MICA_ERR_FORMAT, "%s: query %lld has id %lld twice", path,
                       (long long)list[i].query, (long long)list[i].id);
  return MICA_OK;
}

mica_status judgements_read(const char *path, judgement **out, int64_t *n) {
  uint8_t *bytes;
  size_t size, lines = 1;
  *out = NULL;
  *n = 0;
  mica_status status = mica_file_read(path, (size_t)1 << 32, &bytes, &size);
  if (status) return status;
  for (size_t i = 0; i < size; i++) lines += bytes[i] == '\n';
  judgement *list = mica_realloc_array(NULL, lines, sizeof *list);
  if (!list) status = MICA_ERR_MEMORY;
  if (!status && strlen((char *)bytes) != size)
    status = mica_fail(MICA_ERR_FORMAT, "%s: is no text", path);
  if (!status) status = parse(path, (char *)bytes, list, n);
  mica_free(bytes);
  if (status) {
    mica_free(list);
    *n = 0;
  } else {
    *out = list;
  }
  return status;
}

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
