/* Files of interactions: which format they have, and their lines. */
#include "data/interactions.h"

#include "base/file.h"
#include "base/json.h"
#include "base/number.h"
#include "data/columns.h"
#include "data/delimited.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum format { MOVIELENS, CSV, REVIEWS, SEQUENCES, PAIRS, FORMATS } format;
static const char *const format_name[] = {"movielens", "csv", "reviews", "sequences", "pairs"};

/* ---- pieces of lines ---- */

/* Cut at the separator; the number of pieces, at most `most`, the last with all that is left. */
static int cut(char *line, const char *separator, char **piece, int most) {
  int n = 0;
  for (char *at = line; at;) {
    piece[n++] = at;
    at = n < most ? strstr(at, separator) : NULL;
    if (at) {
      *at = 0;
      at += strlen(separator);
    }
  }
  return n;
}

/* The next word between blanks, NULL when there is none. */
static char *word(char **at) {
  char *from = *at + strspn(*at, " \t");
  const size_t n = strcspn(from, " \t");
  if (!n) return NULL;
  *at = from[n] ? from + n + 1 : from + n;
  from[n] = 0;
  return from;
}

static mica_status rating_of(const char *text, float *out) {
  double value;
  if (mica_cell_number(text, &value) != MICA_OK) return mica_fail_within("rating");
  *out = (float)value;
  return MICA_OK;
}

static mica_status time_of(const char *text, int64_t *out) {
  double value;
  const size_t n = strlen(text);
  if (n && mica_parse_int64(text, n, out) == n) return MICA_OK;
  if (mica_cell_number(text, &value) != MICA_OK) return mica_fail_within("time");
  if (!(fabs(value) < 9e18)) return mica_fail(MICA_ERR_FORMAT, "time '%.40s' is too large", text);
  *out = (int64_t)value;
  return MICA_OK;
}

static mica_status add_texts(mica_interactions *x, const char *user, const char *item,
                             const char *rating, const char *time, mica_part part) {
  float value = 0;
  int64_t moment = 0;
  mica_status status =
      *user && *item ? MICA_OK
                     : mica_fail(MICA_ERR_FORMAT, "the %s is missing", *user ? "item" : "user");
  if (status == MICA_OK && rating) status = rating_of(rating, &value);
  if (status == MICA_OK && time) status = time_of(time, &moment);
  return status == MICA_OK ? mica_interactions_add(x, user, item, value, moment, part) : status;
}

/* ---- a line of each format ---- */

typedef struct reading {
  mica_interactions *x;
  mica_part part;
} reading;

static mica_status movielens_line(const reading *r, char *line) {
  char *piece[5];
  const char *separator = strstr(line, "::") ? "::" : "\t";
  const int n = cut(line, separator, piece, 5);
  if (n != 4) return mica_fail(MICA_ERR_FORMAT, "%d fields, expected user, item, rating, time", n);
  return add_texts(r->x, piece[0], piece[1], piece[2], piece[3], r->part);
}

static mica_status pair_line(const reading *r, char *line) {
  const char *user = word(&line), *item = user ? word(&line) : NULL;
  if (!item || word(&line)) return mica_fail(MICA_ERR_FORMAT, "expected a user and an item");
  return mica_interactions_add(r->x, user, item, 0, 0, r->part);
}

/* A user without items is fine: LightGCN's files have them. */
static mica_status sequence_line(const reading *r, char *line) {
  const char *user = word(&line), *item;
  mica_status status = MICA_OK;
  while (status == MICA_OK && user && (item = word(&line)))
    status = mica_interactions_add(r->x, user, item, 0, 0, r->part);
  return status;
}

static mica_status review_line(const reading *r, char *line) {
  mica_json_doc *doc;
  mica_status status = mica_json_parse(line, strlen(line), &doc);
  if (status != MICA_OK) return status;
  const mica_json *root = mica_json_root(doc);
  const char *user, *item;
  double rating;
  int64_t time;
  status = mica_json_need_string(root, "reviewerID", &user);
  if (status == MICA_OK) status = mica_json_need_string(root, "asin", &item);
  if (status == MICA_OK) status = mica_json_need_double(root, "overall", &rating);
  if (status == MICA_OK) status = mica_json_need_int64(root, "unixReviewTime", &time);
  if (status == MICA_OK && !(*user && *item && fabs(rating) <= (double)FLT_MAX))
    status = mica_fail(MICA_ERR_FORMAT, "reviewerID or asin is empty, or overall too large");
  if (status == MICA_OK)
    status = mica_interactions_add(r->x, user, item, (float)rating, time, r->part);
  mica_json_free(doc);
  return status;
}

typedef mica_status (*line_fn)(const reading *r, char *line);

static mica_status read_lines(const char *path, mica_part part, line_fn fn, mica_interactions *x) {
  const reading r = {x, part};
  mica_input *input = NULL;
  mica_lines *lines = NULL;
  mica_status status = mica_input_open(path, &input);
  if (status == MICA_OK) status = mica_lines_create(input, &lines);
  while (status == MICA_OK) {
    char *line;
    status = mica_lines_next(lines, &line);
    if (status != MICA_OK || !line) break;
    if (!line[strspn(line, " \t")]) continue;
    status = fn(&r, line);
    if (status == MICA_ERR_FORMAT)
      status = mica_interactions_skip(x, path, mica_lines_number(lines));
  }
  mica_lines_free(lines);
  mica_input_close(input);
  return status;
}

/* ---- CSV ---- */

enum { USER, ITEM, RATING, TIME, ROLES };

/* Is the column's name one of the role's, but for case and _? */
static bool is_named(const char *name, const char *const *known) {
  for (; *known; known++) {
    const char *a = name, *b = *known;
    while (*a && *b) {
      if (*a == '_' || *a == ' ') {
        a++;
        continue;
      }
      if ((*a >= 'A' && *a <= 'Z' ? *a - 'A' + 'a' : *a) != *b) break;
      a++, b++;
    }
    if (!*a && !*b) return true;
  }
  return false;
}

/* Where the roles stand in a header; true when user and item do. */
static bool find_roles(const char *const *field, int64_t n, int64_t role[ROLES]) {
  static const char *const names[ROLES][8] = {
      {"user", "userid", "reviewerid", "uid", NULL},
      {"item", "itemid", "movie", "movieid", "product", "productid", "asin", NULL},
      {"rating", "ratings", "overall", "score", NULL},
      {"time", "timestamp", "unixreviewtime", NULL}};
  for (int k = 0; k < ROLES; k++) {
    role[k] = -1;
    for (int64_t i = n - 1; i >= 0; i--)
      if (is_named(field[i], names[k])) role[k] = i;
  }
  return role[USER] >= 0 && role[ITEM] >= 0;
}

static bool is_number(const char *text) {
  double v;
  return mica_cell_number(text, &v) == MICA_OK;
}

/* user, item, rating, time without a header. */
static bool is_bare(const char *const *field, int64_t n) {
  int64_t t;
  return n == 4 && is_number(field[2]) && time_of(field[3], &t) == MICA_OK && t > 100000000;
}

static mica_status read_csv(const char *path, mica_part part, mica_interactions *x) {
  mica_input *input = NULL;
  mica_delimited *records = NULL;
  const char *const *field;
  int64_t n = 0, width = 0, role[ROLES] = {0, 1, 2, 3};
  mica_status status = mica_input_open(path, &input);
  if (status == MICA_OK) status = mica_delimited_create(input, 0, 0, &records);
  if (status == MICA_OK) status = mica_delimited_next(records, &field, &n);
  bool header = false;
  if (status == MICA_OK) {
    header = n && find_roles(field, n, role);
    width = n;
    if (!header && !(n && is_bare(field, n)))
      status = mica_fail(MICA_ERR_FORMAT,
                         "%s: the first line names no user and item, nor is it a user, an item, a "
                         "rating and a time",
                         path);
    if (!header)
      for (int k = 0; k < ROLES; k++) role[k] = k;
    x->has_rating = role[RATING] >= 0;
    x->has_time = role[TIME] >= 0;
  }
  while (status == MICA_OK && n) {
    if (!header) {
      status = n == width ? add_texts(x, field[role[USER]], field[role[ITEM]],
                                      role[RATING] < 0 ? NULL : field[role[RATING]],
                                      role[TIME] < 0 ? NULL : field[role[TIME]], part)
                          : mica_fail(MICA_ERR_FORMAT,
                                      "%lld fields, expected %lld as in the first "
                                      "line",
                                      (long long)n, (long long)width);
      if (status == MICA_ERR_FORMAT)
        status = mica_interactions_skip(x, path, mica_delimited_line(records));
    }
    header = false;
    if (status == MICA_OK) status = mica_delimited_next(records, &field, &n);
  }
  mica_delimited_free(records);
  mica_input_close(input);
  return status;
}

/* ---- which format ---- */

/* What the words of a line of numbers show: a pair, a sequence, or neither. */
static format by_words(char *line) {
  int n = 0;
  for (const char *w; (w = word(&line)); n++)
    if (strspn(w, "0123456789") != strlen(w)) return FORMATS;
  return n == 2 ? PAIRS : n ? SEQUENCES : FORMATS;
}

static format by_line(char *line) {
  char *piece[5];
  int64_t t;
  if (line[strspn(line, " \t")] == '{') return REVIEWS;
  if (strstr(line, "::")) return cut(line, "::", piece, 5) == 4 ? MOVIELENS : FORMATS;
  char *tab = strchr(line, '\t');
  if (tab) {
    char copy[256];
    snprintf(copy, sizeof copy, "%s", line);
    if (cut(copy, "\t", piece, 5) == 4 && is_number(piece[2]) && time_of(piece[3], &t) == MICA_OK)
      return MOVIELENS;
  }
  if (strchr(line, ',') || (tab && !(line[0] >= '0' && line[0] <= '9'))) return CSV;
  return by_words(line);
}

/* By the first lines: the first one tells, but for pairs, which a longer line makes sequences. */
static mica_status look(const char *path, format *out) {
  enum { LINES = 1000 };
  mica_input *input = NULL;
  mica_lines *lines = NULL;
  *out = FORMATS;
  mica_status status = mica_input_open(path, &input);
  if (status == MICA_OK) status = mica_lines_create(input, &lines);
  for (int k = 0; k < LINES && status == MICA_OK; k++) {
    char *line;
    status = mica_lines_next(lines, &line);
    if (status != MICA_OK || !line) break;
    if (!line[strspn(line, " \t")]) continue;
    const format here = by_line(line);
    if (*out == FORMATS || (*out == PAIRS && here == SEQUENCES)) *out = here;
    if (*out != PAIRS) break;
  }
  mica_lines_free(lines);
  mica_input_close(input);
  return status;
}

static mica_status read_file(const char *path, format f, mica_part part, mica_interactions *x) {
  static const line_fn line[] = {movielens_line, NULL, review_line, sequence_line, pair_line};
  if (f == CSV) return read_csv(path, part, x);
  x->has_rating = x->has_time = f == MOVIELENS || f == REVIEWS;
  return read_lines(path, part, line[f], x);
}

/* ---- folders ---- */

/* The file of that name in the folder, packed or not; NULL when it is not there. */
static char *file_in(const char *folder, const char *name, mica_status *status) {
  char packed[64];
  for (int k = 0; k < 2; k++) {
    snprintf(packed, sizeof packed, "%s%s", name, k ? ".gz" : "");
    char *path = mica_path_join(folder, packed);
    if (!path) *status = MICA_ERR_MEMORY;
    if (!path || (mica_file_exists(path) && !mica_is_folder(path))) return path;
    mica_free(path);
  }
  return NULL;
}

typedef struct folder_form {
  format format;
  const char *file[MICA_PART_COUNT][2]; /* names that a part's file may have */
} folder_form;

static const folder_form folder_forms[] = {
    {MOVIELENS, {{"u.data", NULL}, {NULL, NULL}, {NULL, NULL}}},
    {MOVIELENS, {{"ratings.dat", NULL}, {NULL, NULL}, {NULL, NULL}}},
    {CSV, {{"ratings.csv", NULL}, {NULL, NULL}, {NULL, NULL}}},
    {SEQUENCES, {{"train.txt", NULL}, {"valid.txt", "val.txt"}, {"test.txt", NULL}}}};

static mica_status read_folder(const char *folder, int asked, mica_interactions *x, bool *found) {
  mica_status status = MICA_OK;
  *found = false;
  for (size_t k = 0; k < sizeof folder_forms / sizeof *folder_forms && status == MICA_OK; k++) {
    const folder_form *form = &folder_forms[k];
    if (asked != FORMATS && asked != (int)form->format) continue;
    for (int part = 0; part < MICA_PART_COUNT && status == MICA_OK; part++)
      for (int i = 0; i < 2 && form->file[part][i] && status == MICA_OK; i++) {
        char *path = file_in(folder, form->file[part][i], &status);
        if (!path) continue;
        *found = true;
        x->format = format_name[form->format];
        x->has_part |= part != MICA_PART_TRAIN;
        status = read_file(path, form->format, (mica_part)part, x);
        mica_free(path);
        break;
      }
    if (*found) break;
  }
  return status;
}

mica_status mica_interactions_read(const char *path, const char *name, mica_interactions *x) {
  int asked = 0;
  while (name && asked < FORMATS && strcmp(name, format_name[asked]) != 0) asked++;
  if (!name) asked = FORMATS;
  if (name && asked == FORMATS)
    return mica_fail(MICA_ERR_INVALID,
                     "interactions: format '%.40s', expected movielens, csv, reviews, sequences or "
                     "pairs",
                     name);
  if (mica_is_folder(path)) {
    bool found;
    const mica_status status = read_folder(path, asked, x, &found);
    return status != MICA_OK || found ? status
                                      : mica_fail(MICA_ERR_NOT_FOUND,
                                                  "%s: no u.data, ratings.dat, ratings.csv or "
                                                  "train.txt",
                                                  path);
  }
  format f = (format)asked;
  if (f == FORMATS) {
    const mica_status status = look(path, &f);
    if (status != MICA_OK) return status;
  }
  if (f == FORMATS)
    return mica_fail(MICA_ERR_FORMAT, "%s: the first line is none of a log of users and items",
                     path);
  x->format = format_name[f];
  return read_file(path, f, MICA_PART_TRAIN, x);
}
