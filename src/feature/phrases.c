/* Phrase lists: classes in an order, each with its phrases; JSON in and out, edits, controls. */
#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"

#include <mica/zero_shot.h>

#include <string.h>

#define FILE_MAX ((size_t)64 << 20)

typedef struct list {
  char *name;
  char **phrase;
  int64_t n, room;
} list;

struct mica_phrases {
  list *item;
  int64_t n, room;
};

mica_status mica_phrases_create(mica_phrases **out) {
  *out = mica_calloc(1, sizeof **out);
  return *out ? MICA_OK : MICA_ERR_MEMORY;
}

static void list_end(list *l) {
  for (int64_t j = 0; j < l->n; j++) mica_free(l->phrase[j]);
  mica_free(l->phrase);
  mica_free(l->name);
  *l = (list){0};
}

void mica_phrases_free(mica_phrases *p) {
  if (!p) return;
  for (int64_t i = 0; i < p->n; i++) list_end(&p->item[i]);
  mica_free(p->item);
  mica_free(p);
}

/* ---- looking ---- */

int64_t mica_phrases_classes(const mica_phrases *p) {
  return p->n;
}

const char *mica_phrases_class(const mica_phrases *p, int64_t i) {
  return i >= 0 && i < p->n ? p->item[i].name : NULL;
}

int64_t mica_phrases_count(const mica_phrases *p, int64_t i) {
  return i >= 0 && i < p->n ? p->item[i].n : 0;
}

const char *mica_phrases_phrase(const mica_phrases *p, int64_t i, int64_t j) {
  return j >= 0 && j < mica_phrases_count(p, i) ? p->item[i].phrase[j] : NULL;
}

int64_t mica_phrases_find(const mica_phrases *p, const char *name) {
  for (int64_t i = 0; i < p->n; i++)
    if (strcmp(p->item[i].name, name) == 0) return i;
  return -1;
}

/* ---- changing ---- */

static mica_status push(list *l, const char *text, size_t n) {
  if (l->n == l->room) {
    const int64_t room = l->room ? 2 * l->room : 8;
    char **grown = mica_realloc_array(l->phrase, (size_t)room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    l->phrase = grown;
    l->room = room;
  }
  char *copy = mica_malloc(n + 1);
  if (!copy) return MICA_ERR_MEMORY;
  memcpy(copy, text, n);
  copy[n] = 0;
  l->phrase[l->n++] = copy;
  return MICA_OK;
}

/* A new last class of that name without phrases. */
static mica_status append(mica_phrases *p, const char *name) {
  if (!*name) return mica_fail(MICA_ERR_INVALID, "phrases: a class without a name");
  if (p->n == p->room) {
    const int64_t room = p->room ? 2 * p->room : 16;
    list *grown = mica_realloc_array(p->item, (size_t)room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    p->item = grown;
    p->room = room;
  }
  char *copy = mica_strdup(name);
  if (!copy) return MICA_ERR_MEMORY;
  p->item[p->n++] = (list){copy, NULL, 0, 0};
  return MICA_OK;
}

mica_status mica_phrases_set(mica_phrases *p, const char *name, int64_t n,
                             const char *const *phrase) {
  list next = {0};
  mica_status status = MICA_OK;
  for (int64_t j = 0; j < n && status == MICA_OK; j++)
    status = push(&next, phrase[j], strlen(phrase[j]));
  int64_t at = mica_phrases_find(p, name);
  if (status == MICA_OK && at < 0) {
    at = p->n;
    status = append(p, name);
  }
  if (status != MICA_OK) {
    list_end(&next);
    return status;
  }
  list *l = &p->item[at];
  next.name = l->name;
  l->name = NULL;
  list_end(l);
  *l = next;
  return MICA_OK;
}

mica_status mica_phrases_add(mica_phrases *p, const char *name, const char *phrase) {
  const int64_t at = mica_phrases_find(p, name);
  if (at >= 0) return push(&p->item[at], phrase, strlen(phrase));
  return mica_phrases_set(p, name, 1, &phrase);
}

mica_status mica_phrases_override(mica_phrases *p, const mica_phrases *edits) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < edits->n && status == MICA_OK; i++)
    status = mica_phrases_set(p, edits->item[i].name, edits->item[i].n,
                              (const char *const *)edits->item[i].phrase);
  return status;
}

mica_status mica_phrases_answer(mica_phrases *p, const char *name, const char *answer,
                                int64_t *found) {
  list next = {0};
  mica_status status = MICA_OK;
  for (const char *line = answer; *line && status == MICA_OK;) {
    size_t n = strcspn(line, "\n");
    const char *end = line + n;
    while (n && line[n - 1] == '\r') n--;
    if (n >= 2 && line[0] == '-' && line[1] == ' ') status = push(&next, line + 2, n - 2);
    line = *end ? end + 1 : end;
  }
  if (found) *found = next.n;
  if (status == MICA_OK)
    status = mica_phrases_set(p, name, next.n, (const char *const *)next.phrase);
  list_end(&next);
  return status;
}

/* ---- JSON ---- */

static mica_status take_class(const char *name, const mica_json *value, mica_phrases *p) {
  if (mica_json_type_of(value) != MICA_JSON_ARRAY)
    return mica_fail(MICA_ERR_FORMAT,
                     "phrases: class \"%.100s\" has %s, expected an array of texts", name,
                     mica_json_type_name(mica_json_type_of(value)));
  mica_status status = append(p, name);
  for (int64_t j = 0; j < mica_json_count(value) && status == MICA_OK; j++) {
    const char *text = mica_json_string(mica_json_item(value, j));
    if (!text)
      return mica_fail(MICA_ERR_FORMAT, "phrases: phrase %lld of class \"%.100s\" is no text",
                       (long long)j, name);
    status = push(&p->item[p->n - 1], text, strlen(text));
  }
  return status;
}

static mica_status take(const mica_json *root, mica_phrases **out) {
  if (mica_json_type_of(root) != MICA_JSON_OBJECT)
    return mica_fail(MICA_ERR_FORMAT, "phrases: expected an object of classes and arrays of texts");
  mica_phrases *p;
  mica_status status = mica_phrases_create(&p);
  for (int64_t i = 0; status == MICA_OK && i < mica_json_count(root); i++)
    status = take_class(mica_json_name(root, i), mica_json_item(root, i), p);
  if (status == MICA_OK)
    *out = p;
  else
    mica_phrases_free(p);
  return status;
}

mica_status mica_phrases_parse(const char *json, size_t n, mica_phrases **out) {
  mica_json_doc *doc = NULL;
  *out = NULL;
  mica_status status = mica_json_parse(json, n, &doc);
  if (status == MICA_OK) status = take(mica_json_root(doc), out);
  mica_json_free(doc);
  return status;
}

mica_status mica_phrases_read(const char *path, mica_phrases **out) {
  mica_json_doc *doc = NULL;
  *out = NULL;
  mica_status status = mica_json_read(path, FILE_MAX, &doc);
  if (status == MICA_OK && (status = take(mica_json_root(doc), out)) != MICA_OK)
    status = mica_fail_within("%s", path);
  mica_json_free(doc);
  return status;
}

static void write(const mica_phrases *p, mica_bytes *b, int indent) {
  mica_json_writer w = {.out = b, .indent = indent};
  mica_json_begin_object(&w);
  for (int64_t i = 0; i < p->n; i++) {
    mica_json_write_name(&w, p->item[i].name);
    mica_json_begin_array(&w);
    for (int64_t j = 0; j < p->item[i].n; j++) mica_json_write_string(&w, p->item[i].phrase[j]);
    mica_json_end_array(&w);
  }
  mica_json_end_object(&w);
}

mica_status mica_phrases_text(const mica_phrases *p, char **json) {
  mica_bytes b = {0};
  write(p, &b, 0);
  mica_bytes_byte(&b, 0);
  const mica_status status = b.status;
  *json = mica_bytes_take(&b);
  return status;
}

mica_status mica_phrases_write(const mica_phrases *p, const char *path) {
  mica_bytes b = {0};
  write(p, &b, 2);
  mica_bytes_byte(&b, '\n');
  const mica_status status = b.status ? b.status : mica_file_write_atomic(path, b.data, b.n);
  mica_bytes_free(&b);
  return status;
}

/* ---- controls ---- */

static mica_status copy_class(const mica_phrases *from, int64_t i, int64_t most, const char *name,
                              mica_phrases *to) {
  const list *l = &from->item[i];
  return mica_phrases_set(to, name, l->n < most ? l->n : most, (const char *const *)l->phrase);
}

mica_status mica_phrases_first(const mica_phrases *p, int64_t most, mica_phrases **out) {
  mica_status status = mica_phrases_create(out);
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++)
    status = copy_class(p, i, most < 0 ? 0 : most, p->item[i].name, *out);
  if (status != MICA_OK) {
    mica_phrases_free(*out);
    *out = NULL;
  }
  return status;
}

/* All phrases, or all words of them, borrowed: text [n] with its length. */
typedef struct pool {
  const char **text;
  size_t *length;
  int64_t n;
} pool;

static int64_t words(const char *text, pool *to) {
  int64_t n = 0;
  for (const char *s = text + strspn(text, " "); *s; s += strspn(s, " ")) {
    const size_t length = strcspn(s, " ");
    if (to) {
      to->text[to->n] = s;
      to->length[to->n++] = length;
    }
    s += length;
    n++;
  }
  return n;
}

static mica_status make_pool(const mica_phrases *p, bool of_words, pool *out) {
  int64_t n = 0;
  for (int64_t i = 0; i < p->n; i++)
    for (int64_t j = 0; j < p->item[i].n; j++)
      n += of_words ? words(p->item[i].phrase[j], NULL) : 1;
  *out = (pool){mica_calloc((size_t)n + 1, sizeof *out->text),
                mica_calloc((size_t)n + 1, sizeof *out->length), 0};
  if (!out->text || !out->length) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < p->n; i++)
    for (int64_t j = 0; j < p->item[i].n; j++) {
      const char *text = p->item[i].phrase[j];
      if (of_words) {
        words(text, out);
      } else {
        out->text[out->n] = text;
        out->length[out->n++] = strlen(text);
      }
    }
  return MICA_OK;
}

static mica_status draw(const mica_phrases *p, bool of_words, mica_key key, mica_phrases *to) {
  pool from = {0};
  uint64_t at = 0;
  mica_status status = make_pool(p, of_words, &from);
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++) {
    status = append(to, p->item[i].name);
    for (int64_t j = 0; j < p->item[i].n && status == MICA_OK; j++) {
      const int64_t pieces = of_words ? words(p->item[i].phrase[j], NULL) : 1;
      mica_bytes b = {0};
      for (int64_t k = 0; k < pieces; k++) {
        const uint64_t pick = mica_random_below(key, at++, (uint64_t)from.n);
        if (k) mica_bytes_byte(&b, ' ');
        mica_bytes_append(&b, from.text[pick], from.length[pick]);
      }
      status = b.status ? b.status : push(&to->item[to->n - 1], b.data ? b.data : "", b.n);
      mica_bytes_free(&b);
    }
  }
  mica_free(from.text);
  mica_free(from.length);
  return status;
}

/* A cycle through all classes in a drawn order, so that none keeps its own phrases. */
static mica_status shuffle(const mica_phrases *p, mica_key key, mica_phrases *to) {
  int64_t *order = mica_calloc((size_t)(2 * p->n) + 1, sizeof *order), *next = order + p->n;
  if (!order) return MICA_ERR_MEMORY;
  mica_random_permutation(key, p->n, order);
  for (int64_t i = 0; i < p->n; i++) next[order[i]] = order[(i + 1) % p->n];
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++)
    status = copy_class(p, next[i], INT64_MAX, p->item[i].name, to);
  mica_free(order);
  return status;
}

mica_status mica_phrases_control_list(const mica_phrases *p, mica_phrase_control control,
                                      mica_key key, mica_phrases **out) {
  if (control == MICA_PHRASES_NONE) return mica_phrases_first(p, 0, out);
  mica_status status = mica_phrases_create(out);
  if (status != MICA_OK) return status;
  if (control == MICA_PHRASES_SHUFFLED)
    status = shuffle(p, key, *out);
  else
    status = draw(p, control == MICA_PHRASES_WORDS, key, *out);
  if (status != MICA_OK) {
    mica_phrases_free(*out);
    *out = NULL;
  }
  return status;
}
