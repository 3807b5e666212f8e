/* Lists of items in files: facts, then CSV. */
#include <mica/dataset.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/number.h"
#include "base/utf8.h"
#include "data/delimited.h"

#include <stdlib.h>
#include <string.h>

#define FORM         "mica items "
#define VERSION      1
#define FACTS        100
#define RECORD_LIMIT ((size_t)1 << 20)

typedef struct entry {
  int64_t id;
  size_t name; /* in text */
} entry;

typedef struct fact {
  char *key, *value;
} fact;

struct mica_item_list {
  mica_bytes text; /* the names, NUL-terminated */
  entry *entry;
  int64_t n, room;
  fact fact[FACTS];
  int facts;
};

mica_status mica_item_list_create(mica_item_list **out) {
  *out = mica_calloc(1, sizeof **out);
  return *out ? MICA_OK : MICA_ERR_MEMORY;
}

void mica_item_list_free(mica_item_list *l) {
  if (!l) return;
  for (int i = 0; i < l->facts; i++) {
    mica_free(l->fact[i].key);
    mica_free(l->fact[i].value);
  }
  mica_bytes_free(&l->text);
  mica_free(l->entry);
  mica_free(l);
}

mica_status mica_item_list_add(mica_item_list *l, int64_t id, const char *name) {
  if (!name) name = "";
  if (id < -1 || (id < 0 && !*name))
    return mica_fail(MICA_ERR_INVALID, "item list: number %lld and no name", (long long)id);
  if (l->n == l->room) {
    const int64_t room = l->room ? 2 * l->room : 256;
    entry *more = mica_realloc_array(l->entry, (size_t)room, sizeof *more);
    if (!more) return MICA_ERR_MEMORY;
    l->entry = more;
    l->room = room;
  }
  const size_t at = l->text.n;
  mica_bytes_append(&l->text, name, strlen(name) + 1);
  if (l->text.status != MICA_OK) return l->text.status;
  l->entry[l->n++] = (entry){id, at};
  return MICA_OK;
}

int64_t mica_item_list_count(const mica_item_list *l) {
  return l->n;
}
int64_t mica_item_list_id(const mica_item_list *l, int64_t i) {
  return i >= 0 && i < l->n ? l->entry[i].id : -1;
}
const char *mica_item_list_name(const mica_item_list *l, int64_t i) {
  return i >= 0 && i < l->n ? l->text.data + l->entry[i].name : "";
}

/* ---- facts ---- */

static fact *fact_of(const mica_item_list *l, const char *key) {
  for (int i = 0; i < l->facts; i++)
    if (strcmp(l->fact[i].key, key) == 0) return (fact *)&l->fact[i];
  return NULL;
}

const char *mica_item_list_fact(const mica_item_list *l, const char *key) {
  const fact *f = fact_of(l, key);
  return f ? f->value : NULL;
}

static bool is_key(const char *key) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  return *key && strspn(key, letters) == strlen(key);
}

mica_status mica_item_list_set_fact(mica_item_list *l, const char *key, const char *value) {
  if (!is_key(key))
    return mica_fail(MICA_ERR_INVALID,
                     "item list: '%.40s' is no key, expected letters, digits and '_'", key);
  fact *f = fact_of(l, key);
  if (!f && l->facts == FACTS)
    return mica_fail(MICA_ERR_INVALID, "item list: more than %d facts", FACTS);
  char *copy = mica_strdup(value);
  if (!copy) return MICA_ERR_MEMORY;
  for (char *c = copy; *c; c++)
    if (*c == '\n' || *c == '\r') *c = ' ';
  if (!f) {
    char *own = mica_strdup(key);
    if (!own) {
      mica_free(copy);
      return MICA_ERR_MEMORY;
    }
    f = &l->fact[l->facts++];
    f->key = own;
  } else {
    mica_free(f->value);
  }
  f->value = copy;
  return MICA_OK;
}

/* ---- writing ---- */

/* Is this a name that a reader can take? Those that are not UTF-8 are known by their number. */
static bool is_text(const char *name) {
  for (size_t left = strlen(name), n; left; left -= n, name += n)
    if (!(n = mica_utf8_length(name, left))) return false;
  return true;
}

static const char *written_name(const mica_item_list *l, int64_t i) {
  const char *name = l->text.data + l->entry[i].name;
  return l->entry[i].id >= 0 && !is_text(name) ? "" : name;
}

mica_status mica_item_list_write(const mica_item_list *l, const char *path) {
  bool ids = false, names = false;
  for (int64_t i = 0; i < l->n; i++) {
    ids |= l->entry[i].id >= 0;
    names |= *written_name(l, i) != 0;
  }
  mica_bytes b = {0};
  mica_bytes_printf(&b, "# " FORM "%d\n", VERSION);
  for (int i = 0; i < l->facts; i++)
    mica_bytes_printf(&b, "# %s: %s\n", l->fact[i].key, l->fact[i].value);
  mica_bytes_printf(&b, "%s%s%s\n", ids || !names ? "id" : "", ids && names ? "," : "",
                    names ? "name" : "");
  for (int64_t i = 0; i < l->n; i++) {
    if (l->entry[i].id >= 0) mica_bytes_printf(&b, "%lld", (long long)l->entry[i].id);
    if (ids && names) mica_bytes_byte(&b, ',');
    if (names) mica_bytes_csv(&b, written_name(l, i));
    mica_bytes_byte(&b, '\n');
  }
  const mica_status status =
      b.status == MICA_OK ? mica_file_write_atomic(path, b.data, b.n) : b.status;
  mica_bytes_free(&b);
  return status;
}

/* ---- reading ---- */

/* One line of facts without its '#'. Text that is no fact is a remark. */
static mica_status read_fact(mica_item_list *l, char *line) {
  line += strspn(line, " \t");
  for (size_t n = strlen(line); n && strchr(" \t\r", line[n - 1]);) line[--n] = 0;
  if (strncmp(line, FORM, strlen(FORM)) == 0) {
    int64_t version;
    const char *number = line + strlen(FORM);
    const size_t n = strlen(number);
    if (!n || mica_parse_int64(number, n, &version) != n || version < 1)
      return mica_fail(MICA_ERR_FORMAT, "'%.60s', expected '# " FORM "' and a number", line);
    if (version > VERSION)
      return mica_fail(MICA_ERR_UNSUPPORTED,
                       "a list of form %lld, this version knows those up to %d", (long long)version,
                       VERSION);
    return MICA_OK;
  }
  char *colon = strchr(line, ':');
  if (!colon) return MICA_OK;
  *colon = 0;
  if (!is_key(line)) return MICA_OK;
  return mica_item_list_set_fact(l, line, colon + 1 + strspn(colon + 1, " \t"));
}

/* The lines in front of the table; how many they are, and where the table begins. */
static mica_status read_facts(mica_item_list *l, char *text, size_t n, size_t *begin,
                              int64_t *lines) {
  size_t at = n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
  *lines = 0;
  while (at < n && text[at] == '#') {
    char *end = memchr(text + at, '\n', n - at);
    const size_t next = end ? (size_t)(end - text) + 1 : n;
    if (end) *end = 0; /* the block ends with a NUL of its own */
    const mica_status status = read_fact(l, text + at + 1);
    if (status != MICA_OK) return mica_fail_within("line %lld", (long long)*lines + 1);
    at = next;
    ++*lines;
  }
  *begin = at;
  return MICA_OK;
}

typedef struct head {
  int64_t id, name; /* columns, -1: there is none */
} head;

static mica_status read_head(const char *const *field, int64_t n, head *out) {
  *out = (head){-1, -1};
  for (int64_t i = n - 1; i >= 0; i--) {
    if (strcmp(field[i], "id") == 0) out->id = i;
    if (strcmp(field[i], "name") == 0) out->name = i;
  }
  return out->id >= 0 || out->name >= 0
             ? MICA_OK
             : mica_fail(MICA_ERR_FORMAT, "no list of items: expected a head with the columns id, "
                                          "name or both");
}

static mica_status read_row(mica_item_list *l, const head *h, const char *const *field, int64_t n) {
  int64_t id = -1;
  if (h->id >= n || h->name >= n)
    return mica_fail(MICA_ERR_FORMAT, "%lld fields, expected %s in field %lld", (long long)n,
                     h->id >= n ? "id" : "name", (long long)(h->id >= n ? h->id : h->name) + 1);
  const char *name = h->name >= 0 ? field[h->name] : "", *number = h->id >= 0 ? field[h->id] : "";
  const size_t digits = strlen(number);
  if (digits && (mica_parse_int64(number, digits, &id) != digits || id < 0))
    return mica_fail(MICA_ERR_FORMAT, "id '%.40s', expected a number from 0", number);
  if (id < 0 && !*name) return mica_fail(MICA_ERR_FORMAT, "neither id nor name");
  return mica_item_list_add(l, id, name);
}

static mica_status read_table(mica_item_list *l, mica_delimited *records, int64_t before) {
  const char *const *field;
  int64_t n;
  head h = {-1, -1};
  mica_status status = mica_delimited_next(records, &field, &n);
  if (status == MICA_OK) status = read_head(field, n, &h);
  while (status == MICA_OK) {
    status = mica_delimited_next(records, &field, &n);
    if (status != MICA_OK || !n) return status;
    if (read_row(l, &h, field, n) != MICA_OK)
      status = mica_fail_within("line %lld", (long long)(before + mica_delimited_line(records)));
  }
  return status;
}

mica_status mica_item_list_read(const char *path, mica_item_list **out) {
  mica_input *file = NULL, *rest = NULL;
  mica_delimited *records = NULL;
  uint8_t *bytes = NULL;
  size_t n = 0, begin = 0;
  int64_t lines = 0;
  *out = NULL;
  mica_status status = mica_input_open(path, &file);
  if (status != MICA_OK) return status;
  status = mica_input_rest(file, (size_t)1 << 32, &bytes, &n);
  mica_input_close(file);
  mica_item_list *l = NULL;
  if (status == MICA_OK) status = mica_item_list_create(&l);
  bool inside = false; /* what follows tells no file's name by itself */
  if (status == MICA_OK) {
    inside = true;
    status = memchr(bytes, 0, n) ? mica_fail(MICA_ERR_FORMAT, "no list of items: it has NUL bytes")
                                 : read_facts(l, (char *)bytes, n, &begin, &lines);
  }
  if (status == MICA_OK)
    status = mica_input_open_memory(bytes + begin, n - begin, "table of items", &rest);
  if (status == MICA_OK) status = mica_delimited_create(rest, ',', RECORD_LIMIT, &records);
  if (status == MICA_OK) status = read_table(l, records, lines);
  if (status != MICA_OK && inside) status = mica_fail_within("%s", path);
  mica_delimited_free(records);
  mica_input_close(rest);
  mica_free(bytes);
  if (status != MICA_OK) {
    mica_item_list_free(l);
    return status;
  }
  *out = l;
  return MICA_OK;
}
