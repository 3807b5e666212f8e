/* The JSON reader.
 *
 * One pass makes an array of nodes that name each other by number, because the array moves while it
 * grows; the finished tree is linked by pointers at the end. A container's members wait on a stack
 * until it closes, then go to a list in the order of the text, for an object followed by the same
 * list sorted by name, which finds repeated names and later serves the look-up. Sorting is a heap
 * sort: no extra memory, and no input makes it slow. Every allocation is bounded by a small
 * multiple of the text.
 */
#include "base/file.h"
#include "base/json.h"
#include "base/number.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define NUMBER_MAX 1100 /* bytes of one number: more than any exact double has */

struct mica_json {
  mica_json_type type;
  bool negative;      /* of an integer */
  uint32_t text_name; /* while parsing: where in the strings the member's name is */
  uint32_t count;     /* members of a container */
  uint32_t first;     /* while parsing: where in `lists` its members begin */
  const char *name;
  union {
    bool truth;
    uint64_t magnitude;
    double number;
    uint32_t text; /* while parsing */
    const char *string;
    const mica_json *const *members; /* an object: count more follow, sorted by name */
  } as;
};

struct mica_json_doc {
  mica_json *nodes;
  const mica_json **links;
  char *strings;
};

typedef struct numbers {
  uint32_t *v;
  uint32_t n, room;
} numbers;

typedef struct parser {
  const char *text;
  size_t n, at;
  mica_json *nodes;
  uint32_t node_count, node_room;
  numbers pending, lists;
  mica_bytes strings;
} parser;

static mica_status refuse(const parser *p, size_t at, const char *what) {
  uint64_t line = 1, column = 1;
  for (size_t i = 0; i < at && i < p->n; i++) {
    column++;
    if (p->text[i] == '\n') {
      line++;
      column = 1;
    }
  }
  return mica_fail(MICA_ERR_FORMAT, "JSON line %" PRIu64 ", column %" PRIu64 ": %s", line, column,
                   what);
}

static mica_status push(numbers *list, uint32_t value) {
  if (list->n == list->room) {
    if (list->room > UINT32_MAX / 2) return mica_fail(MICA_ERR_FORMAT, "JSON: too many values");
    uint32_t room = list->room ? 2 * list->room : 64;
    uint32_t *grown = mica_realloc_array(list->v, room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    list->v = grown;
    list->room = room;
  }
  list->v[list->n++] = value;
  return MICA_OK;
}

static mica_status new_node(parser *p, uint32_t *out) {
  if (p->node_count == p->node_room) {
    if (p->node_room > UINT32_MAX / 2) return mica_fail(MICA_ERR_FORMAT, "JSON: too many values");
    /* A text has a value for each dozen of bytes or so: few are moved. */
    uint32_t room =
        p->node_room ? 2 * p->node_room : 32 + (uint32_t)(p->n < 1 << 20 ? p->n / 12 : 0);
    mica_json *grown = mica_realloc_array(p->nodes, room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    p->nodes = grown;
    p->node_room = room;
  }
  p->nodes[p->node_count] = (mica_json){.type = MICA_JSON_NULL};
  *out = p->node_count++;
  return MICA_OK;
}

static void skip_space(parser *p) {
  while (p->at < p->n) {
    char c = p->text[p->at];
    if (c != ' ' && c != '\t' && c != '\n' && c != '\r') break;
    p->at++;
  }
}

/* ---- strings ---- */

static bool hex4(const parser *p, size_t at, uint32_t *code) {
  if (p->n - at < 4) return false;
  *code = 0;
  for (size_t i = at; i < at + 4; i++) {
    char c = p->text[i];
    uint32_t digit;
    if (c >= '0' && c <= '9')
      digit = (uint32_t)(c - '0');
    else if (c >= 'a' && c <= 'f')
      digit = (uint32_t)(c - 'a') + 10;
    else if (c >= 'A' && c <= 'F')
      digit = (uint32_t)(c - 'A') + 10;
    else
      return false;
    *code = *code << 4 | digit;
  }
  return true;
}

/* The four digits after \u, and the second half of a surrogate pair. */
static mica_status parse_unicode(parser *p, size_t start) {
  uint32_t code, low;
  if (!hex4(p, p->at, &code)) return refuse(p, start, "\\u needs four hexadecimal digits");
  p->at += 4;
  if (code >= 0xd800 && code <= 0xdbff) {
    if (p->n - p->at < 6 || p->text[p->at] != '\\' || p->text[p->at + 1] != 'u' ||
        !hex4(p, p->at + 2, &low) || low < 0xdc00 || low > 0xdfff)
      return refuse(p, start, "the first half of a surrogate pair stands alone");
    p->at += 6;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xdc00 && code <= 0xdfff) {
    return refuse(p, start, "the second half of a surrogate pair stands alone");
  }
  if (code == 0) return refuse(p, start, "a NUL inside a string is not supported");
  char utf8[4];
  mica_bytes_append(&p->strings, utf8, mica_utf8_encode(code, utf8));
  return MICA_OK;
}

static mica_status parse_escape(parser *p) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  size_t start = p->at++;
  if (p->at >= p->n) return refuse(p, start, "the text ends inside a string");
  char c = p->text[p->at++];
  if (c == 'u') return parse_unicode(p, start);
  const char *found = c ? strchr(from, c) : NULL;
  if (!found) return refuse(p, start, "no such escape in a string");
  mica_bytes_byte(&p->strings, to[found - from]);
  return MICA_OK;
}

/* The text at a quote into the strings; *where is its offset there. */
static mica_status parse_string(parser *p, uint32_t *where) {
  size_t start = p->at++;
  *where = (uint32_t)p->strings.n; /* never longer than the text, whose length fits */
  for (;;) {
    size_t from = p->at;
    while (p->at < p->n && p->text[p->at] != '"' && p->text[p->at] != '\\') {
      size_t length = mica_utf8_length(p->text + p->at, p->n - p->at);
      if (length == 0) return refuse(p, p->at, "bytes that are not UTF-8");
      if ((unsigned char)p->text[p->at] < 0x20)
        return refuse(p, p->at, "a control character in a string must be escaped");
      p->at += length;
    }
    mica_bytes_append(&p->strings, p->text + from, p->at - from);
    if (p->at >= p->n) return refuse(p, start, "the text ends inside a string that begins here");
    if (p->text[p->at] == '"') break;
    mica_status status = parse_escape(p);
    if (status) return status;
  }
  p->at++;
  mica_bytes_byte(&p->strings, '\0');
  return p->strings.status;
}

/* ---- numbers ---- */

static bool digit_at(const parser *p, size_t i) {
  return i < p->n && p->text[i] >= '0' && p->text[i] <= '9';
}

static mica_status parse_number(parser *p, mica_json *v) {
  size_t start = p->at, i = start;
  bool negative = p->text[i] == '-', integer = true, fits = true;
  if (negative) i++;
  if (!digit_at(p, i)) return refuse(p, start, "a digit is missing after '-'");
  if (p->text[i] == '0' && digit_at(p, i + 1))
    return refuse(p, start, "a number must not begin with 0");
  uint64_t magnitude = 0;
  for (; digit_at(p, i); i++) {
    uint64_t digit = (uint64_t)(p->text[i] - '0');
    if (magnitude > (UINT64_MAX - digit) / 10)
      fits = false;
    else
      magnitude = magnitude * 10 + digit;
  }
  if (i < p->n && p->text[i] == '.') {
    integer = false;
    if (!digit_at(p, ++i)) return refuse(p, start, "a digit is missing after '.'");
    while (digit_at(p, i)) i++;
  }
  if (i < p->n && (p->text[i] == 'e' || p->text[i] == 'E')) {
    integer = false;
    i++;
    if (i < p->n && (p->text[i] == '-' || p->text[i] == '+')) i++;
    if (!digit_at(p, i)) return refuse(p, start, "a digit is missing in the exponent");
    while (digit_at(p, i)) i++;
  }
  p->at = i;
  if (i - start > NUMBER_MAX) return refuse(p, start, "a number of too many digits");
  if (negative && magnitude > (uint64_t)1 << 63) fits = false;
  if (integer && fits) {
    v->type = MICA_JSON_INT;
    v->negative = negative;
    v->as.magnitude = magnitude;
    return MICA_OK;
  }
  v->type = MICA_JSON_FLOAT;
  mica_parse_double(p->text + start, i - start, false, &v->as.number);
  if (!isfinite(v->as.number)) return refuse(p, start, "a number beyond the range of a double");
  return MICA_OK;
}

/* ---- values ---- */

static mica_status parse_value(parser *p, int depth, uint32_t *out);

static const char *name_of(const parser *p, uint32_t node) {
  return p->strings.data + p->nodes[node].text_name;
}

static void sift_down(const parser *p, uint32_t *v, uint32_t root, uint32_t n) {
  for (uint32_t child; root < n / 2; root = child) {
    child = 2 * root + 1;
    if (child + 1 < n && strcmp(name_of(p, v[child]), name_of(p, v[child + 1])) < 0) child++;
    if (strcmp(name_of(p, v[root]), name_of(p, v[child])) >= 0) return;
    uint32_t kept = v[root];
    v[root] = v[child];
    v[child] = kept;
  }
}

static void sort_by_name(const parser *p, uint32_t *v, uint32_t n) {
  for (uint32_t i = n / 2; i > 0; i--) sift_down(p, v, i - 1, n);
  for (uint32_t last = n; last > 1; last--) {
    uint32_t kept = v[0];
    v[0] = v[last - 1];
    v[last - 1] = kept;
    sift_down(p, v, 0, last - 1);
  }
}

/* Move the members that wait above `base` to the lists. */
static mica_status close_container(parser *p, uint32_t node, uint32_t base, size_t start) {
  uint32_t first = p->lists.n, count = p->pending.n - base;
  bool object = p->nodes[node].type == MICA_JSON_OBJECT;
  for (int copy = 0; copy < (object ? 2 : 1); copy++)
    for (uint32_t i = 0; i < count; i++) {
      mica_status status = push(&p->lists, p->pending.v[base + i]);
      if (status) return status;
    }
  p->pending.n = base;
  p->nodes[node].first = first;
  p->nodes[node].count = count;
  if (!object || count == 0) return MICA_OK;
  uint32_t *sorted = p->lists.v + first + count;
  sort_by_name(p, sorted, count);
  for (uint32_t i = 1; i < count; i++)
    if (strcmp(name_of(p, sorted[i - 1]), name_of(p, sorted[i])) == 0) {
      mica_fail(MICA_ERR_FORMAT, "the name \"%.200s\" twice in the object that begins here",
                name_of(p, sorted[i]));
      return refuse(p, start, mica_last_error());
    }
  return MICA_OK;
}

static mica_status parse_member(parser *p, bool object, int depth) {
  uint32_t name = 0, child;
  mica_status status;
  if (object) {
    if (p->at >= p->n || p->text[p->at] != '"')
      return refuse(p, p->at, "expected a name in double quotes");
    status = parse_string(p, &name);
    if (status) return status;
    skip_space(p);
    if (p->at >= p->n || p->text[p->at] != ':')
      return refuse(p, p->at, "expected ':' after a name");
    p->at++;
  }
  status = parse_value(p, depth + 1, &child);
  if (status) return status;
  p->nodes[child].text_name = name;
  return push(&p->pending, child);
}

static mica_status parse_container(parser *p, int depth, uint32_t node) {
  size_t start = p->at++;
  if (depth >= MICA_JSON_DEPTH) return refuse(p, start, "nested more than 64 deep");
  bool object = p->text[start] == '{';
  char end = object ? '}' : ']';
  uint32_t base = p->pending.n;
  p->nodes[node].type = object ? MICA_JSON_OBJECT : MICA_JSON_ARRAY;
  skip_space(p);
  if (p->at < p->n && p->text[p->at] == end) {
    p->at++;
    return close_container(p, node, base, start);
  }
  for (;;) {
    mica_status status = parse_member(p, object, depth);
    if (status) return status;
    skip_space(p);
    if (p->at < p->n && p->text[p->at] == end) break;
    if (p->at >= p->n || p->text[p->at] != ',')
      return refuse(p, p->at, object ? "expected ',' or '}'" : "expected ',' or ']'");
    p->at++;
    skip_space(p);
  }
  p->at++;
  return close_container(p, node, base, start);
}

static bool take_word(parser *p, const char *word) {
  size_t n = strlen(word);
  if (p->n - p->at < n || memcmp(p->text + p->at, word, n) != 0) return false;
  p->at += n;
  return true;
}

static mica_status parse_value(parser *p, int depth, uint32_t *out) {
  mica_status status = new_node(p, out);
  if (status) return status;
  skip_space(p);
  if (p->at >= p->n) return refuse(p, p->at, "the text ends where a value is expected");
  mica_json *v = &p->nodes[*out]; /* moves when a container adds nodes */
  char c = p->text[p->at];
  if (c == '{' || c == '[') return parse_container(p, depth, *out);
  if (c == '-' || (c >= '0' && c <= '9')) return parse_number(p, v);
  if (c == '"') {
    v->type = MICA_JSON_STRING;
    return parse_string(p, &v->as.text);
  }
  if (take_word(p, "null")) return MICA_OK;
  v->type = MICA_JSON_BOOL;
  v->as.truth = c == 't';
  if (take_word(p, "true") || take_word(p, "false")) return MICA_OK;
  return refuse(p, p->at, "expected a value");
}

/* ---- the document ---- */

/* Turn numbers into pointers, now that nothing moves any more. */
static void link_tree(mica_json_doc *doc, const parser *p) {
  for (uint32_t i = 0; i < p->lists.n; i++) doc->links[i] = &doc->nodes[p->lists.v[i]];
  for (uint32_t i = 0; i < p->node_count; i++) {
    mica_json *v = &doc->nodes[i];
    if (v->type == MICA_JSON_STRING) v->as.string = doc->strings + v->as.text;
    if (v->type == MICA_JSON_ARRAY || v->type == MICA_JSON_OBJECT)
      v->as.members = doc->links + v->first;
    if (v->type == MICA_JSON_OBJECT)
      for (uint32_t m = 0; m < v->count; m++) {
        mica_json *member = &doc->nodes[p->lists.v[v->first + m]];
        member->name = doc->strings + member->text_name;
      }
  }
}

static mica_status parse_all(parser *p) {
  if (p->n >= 3 && memcmp(p->text, "\xef\xbb\xbf", 3) == 0)
    return refuse(p, 0, "a byte order mark, which JSON does not allow");
  uint32_t root;
  mica_status status = parse_value(p, 0, &root);
  if (status) return status;
  skip_space(p);
  return p->at < p->n ? refuse(p, p->at, "text after the end of the value") : MICA_OK;
}

mica_status mica_json_parse(const char *text, size_t n, mica_json_doc **out) {
  *out = NULL;
  if (n > UINT32_MAX / 2)
    return mica_fail(MICA_ERR_FORMAT, "JSON: %zu bytes are more than are allowed", n);
  parser p = {.text = text, .n = n};
  mica_status status = parse_all(&p);
  mica_json_doc *doc = NULL;
  if (!status) {
    doc = mica_calloc(1, sizeof *doc);
    if (doc) doc->links = mica_malloc((size_t)p.lists.n * sizeof(mica_json *));
    if (!doc || !doc->links) status = MICA_ERR_MEMORY;
  }
  if (!status) {
    doc->nodes = p.nodes;
    doc->strings = p.strings.data;
    link_tree(doc, &p);
    *out = doc;
  } else {
    mica_free(doc);
    mica_free(p.nodes);
    mica_bytes_free(&p.strings);
  }
  mica_free(p.pending.v);
  mica_free(p.lists.v);
  return status;
}

mica_status mica_json_read(const char *path, size_t limit, mica_json_doc **out) {
  *out = NULL;
  uint8_t *bytes;
  size_t n;
  mica_status status = mica_file_read(path, limit, &bytes, &n);
  if (status) return status;
  status = mica_json_parse((const char *)bytes, n, out);
  mica_free(bytes);
  if (status) mica_fail_within("%s", path);
  return status;
}

void mica_json_free(mica_json_doc *doc) {
  if (!doc) return;
  mica_free(doc->nodes);
  mica_free((void *)doc->links);
  mica_free(doc->strings);
  mica_free(doc);
}

const mica_json *mica_json_root(const mica_json_doc *doc) {
  return doc->nodes;
}

/* ---- looking at values ---- */

mica_json_type mica_json_type_of(const mica_json *v) {
  return v ? v->type : MICA_JSON_NULL;
}

const char *mica_json_type_name(mica_json_type type) {
  static const char *const names[] = {"null",     "a boolean", "an integer", "a number",
                                      "a string", "an array",  "an object"};
  return (unsigned)type <= MICA_JSON_OBJECT ? names[type] : "?";
}

int64_t mica_json_count(const mica_json *v) {
  return v ? v->count : 0;
}

const mica_json *mica_json_item(const mica_json *v, int64_t i) {
  return v && i >= 0 && i < (int64_t)v->count ? v->as.members[i] : NULL;
}

const char *mica_json_name(const mica_json *v, int64_t i) {
  const mica_json *member = mica_json_item(v, i);
  return member ? member->name : NULL;
}

const mica_json *mica_json_get(const mica_json *v, const char *name) {
  if (mica_json_type_of(v) != MICA_JSON_OBJECT) return NULL;
  const mica_json *const *sorted = v->as.members + v->count;
  uint32_t lo = 0, hi = v->count;
  while (lo < hi) {
    uint32_t middle = lo + (hi - lo) / 2;
    int order = strcmp(name, sorted[middle]->name);
    if (order == 0) return sorted[middle];
    if (order < 0)
      hi = middle;
    else
      lo = middle + 1;
  }
  return NULL;
}

const char *mica_json_string(const mica_json *v) {
  return mica_json_type_of(v) == MICA_JSON_STRING ? v->as.string : NULL;
}

bool mica_json_bool(const mica_json *v, bool *out) {
  if (mica_json_type_of(v) != MICA_JSON_BOOL) return false;
  *out = v->as.truth;
  return true;
}

bool mica_json_int64(const mica_json *v, int64_t *out) {
  if (mica_json_type_of(v) != MICA_JSON_INT) return false;
  if (v->as.magnitude > (uint64_t)INT64_MAX + v->negative) return false;
  *out = v->negative ? (int64_t)(0u - v->as.magnitude) : (int64_t)v->as.magnitude;
  return true;
}

bool mica_json_uint64(const mica_json *v, uint64_t *out) {
  if (mica_json_type_of(v) != MICA_JSON_INT || (v->negative && v->as.magnitude)) return false;
  *out = v->as.magnitude;
  return true;
}

bool mica_json_double(const mica_json *v, double *out) {
  if (mica_json_type_of(v) == MICA_JSON_FLOAT) {
    *out = v->as.number;
    return true;
  }
  if (mica_json_type_of(v) != MICA_JSON_INT) return false;
  *out = v->negative ? -(double)v->as.magnitude : (double)v->as.magnitude;
  return true;
}

static mica_status missing(const mica_json *object, const char *name, const char *expected) {
  if (mica_json_type_of(object) != MICA_JSON_OBJECT)
    return mica_fail(MICA_ERR_FORMAT, "\"%s\": expected in an object, found %s", name,
                     mica_json_type_name(mica_json_type_of(object)));
  const mica_json *v = mica_json_get(object, name);
  if (!v) return mica_fail(MICA_ERR_FORMAT, "\"%s\": is missing, expected %s", name, expected);
  return mica_fail(MICA_ERR_FORMAT, "\"%s\": expected %s, found %s", name, expected,
                   mica_json_type_name(v->type));
}

mica_status mica_json_need_string(const mica_json *object, const char *name, const char **out) {
  const char *text = mica_json_string(mica_json_get(object, name));
  if (!text) return missing(object, name, "a string");
  *out = text;
  return MICA_OK;
}

mica_status mica_json_need_int64(const mica_json *object, const char *name, int64_t *out) {
  return mica_json_int64(mica_json_get(object, name), out)
             ? MICA_OK
             : missing(object, name, "an integer of 64 bits");
}

mica_status mica_json_need_double(const mica_json *object, const char *name, double *out) {
  return mica_json_double(mica_json_get(object, name), out) ? MICA_OK
                                                            : missing(object, name, "a number");
}

mica_status mica_json_need(const mica_json *object, const char *name, mica_json_type type,
                           const mica_json **out) {
  const mica_json *v = mica_json_get(object, name);
  if (!v || v->type != type) return missing(object, name, mica_json_type_name(type));
  *out = v;
  return MICA_OK;
}
