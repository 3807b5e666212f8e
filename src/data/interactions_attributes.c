/* What is known of users and items: attributes with any number of values, and the files that hold
 * them. */
#include "data/interactions.h"

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

#define JSON_LIMIT ((size_t)1 << 30)

/* ---- one attribute ---- */

void mica_attribute_free(mica_attribute_table *a) {
  mica_free((char *)a->view.name);
  mica_dictionary_free(&a->values);
  mica_free(a->offsets);
  mica_free(a->ids);
  mica_free(a->row);
  *a = (mica_attribute_table){0};
}

mica_status mica_attribute_begin(mica_attribute_table **list, int64_t *n, const char *name) {
  mica_attribute_table *more = mica_realloc_array(*list, (size_t)*n + 1, sizeof *more);
  if (!more) return MICA_ERR_MEMORY;
  *list = more;
  more[*n] = (mica_attribute_table){0};
  if (!(more[*n].view.name = mica_strdup(name))) return MICA_ERR_MEMORY;
  ++*n;
  return MICA_OK;
}

mica_status mica_attribute_put(mica_attribute_table *a, int64_t row, const char *value) {
  if (a->n == a->room) {
    const size_t room = a->room ? (size_t)a->room * 2 : 1024;
    int64_t *ids = mica_realloc_array(a->ids, room, sizeof *ids);
    if (!ids) return MICA_ERR_MEMORY;
    a->ids = ids;
    int64_t *rows = mica_realloc_array(a->row, room, sizeof *rows);
    if (!rows) return MICA_ERR_MEMORY;
    a->row = rows;
    a->room = (int64_t)room;
  }
  const int64_t id = mica_dictionary_add(&a->values, value);
  if (id < 0) return MICA_ERR_MEMORY;
  a->row[a->n] = row;
  a->ids[a->n++] = id;
  return MICA_OK;
}

/* Values by row, in the order in which they came. */
mica_status mica_attribute_end(mica_attribute_table *a, int64_t rows) {
  int64_t *ids = mica_realloc_array(NULL, (size_t)a->n + 1, sizeof *ids);
  a->offsets = mica_calloc((size_t)rows + 2, sizeof *a->offsets);
  if (!ids || !a->offsets) {
    mica_free(ids);
    return MICA_ERR_MEMORY;
  }
  /* offsets[row + 1] is where the row's next value goes, and in the end where the next row is. */
  for (int64_t k = 0; k < a->n; k++) a->offsets[a->row[k] + 2]++;
  for (int64_t r = 1; r <= rows; r++) a->offsets[r + 1] += a->offsets[r];
  for (int64_t k = 0; k < a->n; k++) ids[a->offsets[a->row[k] + 1]++] = a->ids[k];
  mica_free(a->ids);
  mica_free(a->row);
  a->ids = ids;
  a->row = NULL;
  a->view.values = a->values.n;
  a->view.value = (const char *const *)a->values.text;
  a->view.offsets = a->offsets;
  a->view.ids = a->ids;
  return MICA_OK;
}

int64_t mica_interactions_user_attributes(const mica_interactions *x) {
  return x->user_attributes;
}
int64_t mica_interactions_item_attributes(const mica_interactions *x) {
  return x->item_attributes;
}
const mica_attribute *mica_interactions_user_attribute(const mica_interactions *x, int64_t i) {
  return i >= 0 && i < x->user_attributes ? &x->user_attribute[i].view : NULL;
}
const mica_attribute *mica_interactions_item_attribute(const mica_interactions *x, int64_t i) {
  return i >= 0 && i < x->item_attributes ? &x->item_attribute[i].view : NULL;
}

/* ---- MovieLens ---- */

/* The two halves of MovieLens's publications: one character between fields, or two colons. */
typedef struct side_file {
  const char *name, *separator;
  bool items;
} side_file;

static const side_file side_files[] = {{"u.user", "|", false},
                                       {"users.dat", "::", false},
                                       {"u.item", "|", true},
                                       {"movies.dat", "::", true}};

enum { FIELDS = 64, AGE = 0, GENDER, OCCUPATION, ZIP, TITLE = 0, YEAR, GENRE };

static int split(char *line, const char *separator, char **field) {
  int n = 0;
  for (char *at = line; at && n < FIELDS;) {
    field[n++] = at;
    at = strstr(at, separator);
    if (at) {
      *at = 0;
      at += strlen(separator);
    }
  }
  return n;
}

/* Titles are in Latin-1 in some of the files: what is not UTF-8 is read as that. */
static mica_status as_utf8(const char *text, mica_bytes *out) {
  const size_t n = strlen(text);
  bool fine = true;
  for (size_t i = 0, k; i < n && fine; i += k) {
    k = mica_utf8_length(text + i, n - i);
    fine = k > 0;
  }
  mica_bytes_clear(out);
  for (size_t i = 0; i < n; i++) {
    char code[4];
    if (fine)
      mica_bytes_byte(out, text[i]);
    else
      mica_bytes_append(out, code, mica_utf8_encode((unsigned char)text[i], code));
  }
  return out->status;
}

/* The year in brackets at the end of a title, as "Toy Story (1995)". */
static bool year_of(const char *title, char year[5]) {
  const size_t n = strlen(title);
  if (n < 6 || title[n - 1] != ')' || title[n - 6] != '(' ||
      strspn(title + n - 5, "0123456789") != 4)
    return false;
  memcpy(year, title + n - 5, 4);
  year[4] = 0;
  return true;
}

static mica_status put_genres(mica_attribute_table *a, int64_t row, const side_file *side,
                              char **field, int n) {
  static const char *const genres[] = {
      "unknown",     "Action", "Adventure", "Animation", "Children's", "Comedy",  "Crime",
      "Documentary", "Drama",  "Fantasy",   "Film-Noir", "Horror",     "Musical", "Mystery",
      "Romance",     "Sci-Fi", "Thriller",  "War",       "Western"};
  enum { GENRES = sizeof genres / sizeof *genres };
  mica_status status = MICA_OK;
  if (side->separator[0] == '|') {
    for (int k = 0; k < GENRES && 5 + k < n && status == MICA_OK; k++)
      if (strcmp(field[5 + k], "1") == 0) status = mica_attribute_put(a, row, genres[k]);
    return status;
  }
  for (char *at = field[2]; at && *at && status == MICA_OK;) {
    const size_t length = strcspn(at, "|");
    char *next = at[length] ? at + length + 1 : NULL;
    at[length] = 0;
    if (length) status = mica_attribute_put(a, row, at);
    at = next;
  }
  return status;
}

static mica_status put_item(mica_attribute_table *a, int64_t row, const side_file *side,
                            char **field, int n, mica_bytes *scratch) {
  char year[5];
  mica_status status = as_utf8(field[1], scratch);
  if (status != MICA_OK || !scratch->n) return status;
  status = mica_attribute_put(&a[TITLE], row, scratch->data);
  if (status == MICA_OK && year_of(scratch->data, year))
    status = mica_attribute_put(&a[YEAR], row, year);
  return status == MICA_OK ? put_genres(&a[GENRE], row, side, field, n) : status;
}

/* u.user has age before gender, users.dat after it. */
static mica_status put_user(mica_attribute_table *a, int64_t row, const side_file *side,
                            char **field) {
  const bool swapped = side->separator[0] == ':';
  static const int place[] = {1, 2, 3, 4}, other[] = {2, 1, 3, 4};
  mica_status status = MICA_OK;
  for (int k = AGE; k <= ZIP && status == MICA_OK; k++) {
    const char *value = field[(swapped ? other : place)[k]];
    if (*value) status = mica_attribute_put(&a[k], row, value);
  }
  return status;
}

static mica_status read_side(const char *path, const side_file *side, mica_interactions *x) {
  static const char *const user_names[] = {"age", "gender", "occupation", "zip"};
  static const char *const item_names[] = {"title", "year", "genre"};
  mica_attribute_table **list = side->items ? &x->item_attribute : &x->user_attribute;
  int64_t *count = side->items ? &x->item_attributes : &x->user_attributes;
  const int attributes = side->items ? 3 : 4, least = side->items ? 3 : 5;
  const mica_dictionary *names = side->items ? &x->items : &x->users;
  mica_input *input = NULL;
  mica_lines *lines = NULL;
  mica_bytes scratch = {0};
  bool *seen = mica_calloc((size_t)names->n + 1, sizeof *seen);
  mica_status status = seen ? mica_input_open(path, &input) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_lines_create(input, &lines);
  for (int k = 0; k < attributes && status == MICA_OK; k++)
    status = mica_attribute_begin(list, count, side->items ? item_names[k] : user_names[k]);
  while (status == MICA_OK) {
    char *line, *field[FIELDS];
    status = mica_lines_next(lines, &line);
    if (status != MICA_OK || !line) break;
    if (!*line) continue;
    const int n = split(line, side->separator, field);
    if (n < least) {
      mica_fail(MICA_ERR_FORMAT, "%d fields, expected %d or more", n, least);
      status = mica_interactions_skip(x, path, mica_lines_number(lines));
      continue;
    }
    const int64_t row = mica_dictionary_find(names, field[0]);
    if (row < 0 || seen[row]) continue;
    seen[row] = true;
    status = side->items ? put_item(*list, row, side, field, n, &scratch)
                         : put_user(*list, row, side, field);
  }
  for (int64_t k = 0; k < *count && status == MICA_OK; k++)
    status = mica_attribute_end(&(*list)[k], names->n);
  mica_free(seen);
  mica_bytes_free(&scratch);
  mica_lines_free(lines);
  mica_input_close(input);
  return status;
}

mica_status mica_interactions_read_attributes(const char *from, mica_interactions *x) {
  mica_status status = MICA_OK;
  const char *slash = strrchr(from, '/');
  char *folder = mica_is_folder(from) ? mica_strdup(from)
                 : slash              ? mica_strndup(from, (size_t)(slash - from) + 1)
                                      : mica_strdup(".");
  if (!folder) return MICA_ERR_MEMORY;
  for (size_t k = 0; k < sizeof side_files / sizeof *side_files && status == MICA_OK; k++) {
    const side_file *side = &side_files[k];
    char *path = mica_path_join(folder, side->name);
    if (!path) status = MICA_ERR_MEMORY;
    const bool had = side->items ? x->item_attributes > 0 : x->user_attributes > 0;
    if (path && !had && mica_file_exists(path) && !mica_is_folder(path))
      status = read_side(path, side, x);
    mica_free(path);
  }
  mica_free(folder);
  return status;
}

/* ---- JSON ---- */

static mica_status put_json(mica_attribute_table *a, int64_t row, const mica_json *list,
                            const char *name) {
  if (mica_json_type_of(list) != MICA_JSON_ARRAY)
    return mica_fail(MICA_ERR_FORMAT, "\"%.40s\" is no list of values", name);
  mica_status status = MICA_OK;
  for (int64_t k = 0; k < mica_json_count(list) && status == MICA_OK; k++) {
    const mica_json *item = mica_json_item(list, k);
    const char *text = mica_json_string(item);
    char number[24];
    int64_t value;
    if (!text && mica_json_int64(item, &value)) {
      snprintf(number, sizeof number, "%lld", (long long)value);
      text = number;
    }
    status =
        text ? mica_attribute_put(a, row, text)
             : mica_fail(MICA_ERR_FORMAT, "\"%.40s\"[%lld] is neither a text nor a whole number",
                         name, (long long)k);
  }
  return status;
}

mica_status mica_interactions_add_item_attribute(mica_interactions *x, const char *name,
                                                 const char *path) {
  mica_json_doc *doc;
  mica_status status = mica_json_read(path, JSON_LIMIT, &doc);
  if (status != MICA_OK) return status;
  const mica_json *root = mica_json_root(doc);
  if (mica_json_type_of(root) != MICA_JSON_OBJECT)
    status = mica_fail(MICA_ERR_FORMAT, "no object of items and their values");
  const int64_t before = x->item_attributes;
  if (status == MICA_OK)
    status = mica_attribute_begin(&x->item_attribute, &x->item_attributes, name);
  for (int64_t k = 0; status == MICA_OK && k < mica_json_count(root); k++) {
    const char *item = mica_json_name(root, k);
    const int64_t row = mica_dictionary_find(&x->items, item);
    if (row >= 0) status = put_json(&x->item_attribute[before], row, mica_json_item(root, k), item);
  }
  if (status == MICA_OK) status = mica_attribute_end(&x->item_attribute[before], x->items.n);
  mica_json_free(doc);
  if (status == MICA_OK) return MICA_OK;
  if (x->item_attributes > before) mica_attribute_free(&x->item_attribute[--x->item_attributes]);
  return status == MICA_ERR_FORMAT ? mica_fail_within("%s", path) : status;
}
