/* The grammar of specifications: name:key=value:key=value, and weighted sums of them.
 *
 * Parentheses protect: inside them ':', '+' and '*' mean nothing to the outer level. One pair
 * around a whole value, term or specification is taken off. A '+' inside a number (1e+3) is part of
 * it.
 */
#include "base/number.h"
#include "base/options.h"

#include <math.h>
#include <string.h>

typedef struct kept_text {
  struct kept_text *next;
  char text[];
} kept_text;

struct mica_spec {
  const mica_component *component;
  void *options;
  kept_text *kept;
};

/* A part of the text that is looked at. */
typedef struct piece {
  const char *at;
  size_t n;
} piece;

const char *mica_spec_keep(mica_spec *spec, const char *text, size_t n) {
  if (n > SIZE_MAX / 2) return NULL;
  kept_text *k = mica_malloc(sizeof *k + n + 1);
  if (!k) return NULL;
  memcpy(k->text, text, n);
  k->text[n] = '\0';
  k->next = spec->kept;
  spec->kept = k;
  return k->text;
}

static mica_status check_parentheses(const char *text) {
  int64_t depth = 0;
  for (const char *p = text; *p; p++) {
    if (*p == '(') depth++;
    if (*p == ')' && --depth < 0) break;
  }
  return depth == 0 ? MICA_OK
                    : mica_fail(MICA_ERR_INVALID, "'%.300s': parentheses do not match", text);
}

/* Take one pair of parentheses off, if it holds the whole piece. The text is balanced. */
static piece unwrap(piece p) {
  if (p.n < 2 || p.at[0] != '(' || p.at[p.n - 1] != ')') return p;
  int64_t depth = 0;
  for (size_t i = 0; i + 1 < p.n; i++) {
    if (p.at[i] == '(') depth++;
    if (p.at[i] == ')' && --depth == 0) return p;
  }
  return (piece){p.at + 1, p.n - 2};
}

static piece trim(piece p) {
  while (p.n && (*p.at == ' ' || *p.at == '\t')) p.at++, p.n--;
  while (p.n && (p.at[p.n - 1] == ' ' || p.at[p.n - 1] == '\t')) p.n--;
  return p;
}

/* Is the '+' at p.at[i] the sign of an exponent? Then a number runs up to it from a place where a
 * value can begin. */
static bool exponent_sign(piece p, size_t i) {
  if (i < 2 || i + 1 >= p.n || (p.at[i - 1] != 'e' && p.at[i - 1] != 'E')) return false;
  if (p.at[i + 1] < '0' || p.at[i + 1] > '9') return false;
  size_t first = i - 1;
  while (first > 0 && (strchr("0123456789.", p.at[first - 1]) != NULL)) first--;
  if (first == i - 1) return false;
  if (first > 0 && (p.at[first - 1] == '-' || p.at[first - 1] == '+')) {
    if (first == 1) return true;
    first--;
  }
  return first == 0 || strchr("=,+ (", p.at[first - 1]) != NULL;
}

/* Cut the piece at the first `separator` outside parentheses: what is before it, and the rest after
 * it in *p. False when nothing is left to cut. `p->at` is NULL after the last part. */
static bool cut(piece *p, char separator, piece *part) {
  if (!p->at) return false;
  int64_t depth = 0;
  for (size_t i = 0; i < p->n; i++) {
    char c = p->at[i];
    if (c == '(') depth++;
    if (c == ')') depth--;
    if (c != separator || depth != 0 || (c == '+' && exponent_sign(*p, i))) continue;
    *part = (piece){p->at, i};
    *p = (piece){p->at + i + 1, p->n - i - 1};
    return true;
  }
  *part = *p;
  p->at = NULL;
  return true;
}

static mica_status set_option(mica_spec *spec, piece assignment, uint8_t *given) {
  const mica_option *table = spec->component->options;
  const char *equals = memchr(assignment.at, '=', assignment.n);
  size_t n = equals ? (size_t)(equals - assignment.at) : assignment.n;
  if (n == 0)
    return mica_fail(MICA_ERR_INVALID, "'%.*s': expected key=value",
                     (int)(assignment.n < 200 ? assignment.n : 200), assignment.at);
  char *name = mica_strndup(assignment.at, n);
  if (!name) return MICA_ERR_MEMORY;
  const mica_option *row = mica_option_find(table, name);
  mica_status status = row ? MICA_OK : mica_last_status();
  if (row && given[row - table]++)
    status = mica_fail(MICA_ERR_INVALID, "option %s: given twice", name);
  if (!status && !equals && row->type != MICA_OPTION_BOOL)
    status = mica_fail(MICA_ERR_INVALID, "option %s: expected %s=VALUE, %s", name, name,
                       mica_option_type_name(row->type));
  if (!status) {
    piece text = {"true", 4};
    if (equals) text = unwrap((piece){equals + 1, assignment.n - n - 1});
    char *copy = mica_strndup(text.at, text.n);
    status = copy ? mica_options_set(spec, table, spec->options, name, copy) : MICA_ERR_MEMORY;
    mica_free(copy);
  }
  mica_free(name);
  return status;
}

static mica_status set_options(mica_spec *spec, piece rest) {
  size_t rows = 0;
  for (const mica_option *row = spec->component->options; row && row->name; row++) rows++;
  uint8_t *given = mica_calloc(rows, 1);
  if (!given) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  piece assignment;
  while (!status && cut(&rest, ':', &assignment)) status = set_option(spec, assignment, given);
  mica_free(given);
  return status;
}

/* A specification of the component's defaults. */
static mica_status default_spec(const mica_component *component, mica_spec **out) {
  mica_spec *spec = mica_calloc(1, sizeof *spec);
  if (!spec) return MICA_ERR_MEMORY;
  spec->component = component;
  mica_status status = MICA_OK;
  if (component->options_size) {
    spec->options = mica_malloc(component->options_size);
    status = spec->options
                 ? mica_options_default(component->options, spec->options, component->options_size)
                 : MICA_ERR_MEMORY;
  }
  if (status) {
    mica_spec_free(spec);
    return status;
  }
  *out = spec;
  return MICA_OK;
}

static mica_status parse_piece(const mica_engine *engine, mica_kind kind, piece text,
                               mica_spec **out) {
  *out = NULL;
  piece rest = unwrap(trim(text)), name;
  cut(&rest, ':', &name);
  if (name.n == 0)
    return mica_fail(MICA_ERR_INVALID, "a %s is expected, found nothing", mica_kind_name(kind));
  char *text_name = mica_strndup(name.at, name.n);
  if (!text_name) return MICA_ERR_MEMORY;
  const mica_component *component = mica_component_find(engine, kind, text_name);
  mica_free(text_name);
  if (!component) return mica_last_status();
  mica_spec *spec;
  mica_status status = default_spec(component, &spec);
  if (status) return status;
  if (rest.at) status = set_options(spec, rest);
  if (status) {
    mica_fail_within("%s %s", mica_kind_name(kind), component->name);
    mica_spec_free(spec);
    return status;
  }
  *out = spec;
  return MICA_OK;
}

mica_status mica_spec_options_parse(const mica_component *component, const char *text,
                                    mica_spec **out) {
  *out = NULL;
  if (!text) return mica_fail(MICA_ERR_INVALID, "the options' text is NULL");
  mica_status status = check_parentheses(text);
  if (status) return status;
  const piece rest = unwrap(trim((piece){text, strlen(text)}));
  mica_spec *spec;
  status = default_spec(component, &spec);
  if (status) return status;
  if (rest.n) status = set_options(spec, rest);
  if (status)
    mica_spec_free(spec);
  else
    *out = spec;
  return status;
}

mica_status mica_spec_parse(const mica_engine *engine, mica_kind kind, const char *text,
                            mica_spec **out) {
  *out = NULL;
  if (!text) return mica_fail(MICA_ERR_INVALID, "mica_spec_parse: text is NULL");
  mica_status status = check_parentheses(text);
  return status ? status : parse_piece(engine, kind, (piece){text, strlen(text)}, out);
}

void mica_spec_free(mica_spec *spec) {
  if (!spec) return;
  for (kept_text *k = spec->kept, *next; k; k = next) {
    next = k->next;
    mica_free(k);
  }
  mica_free(spec->options);
  mica_free(spec);
}

const mica_component *mica_spec_component(const mica_spec *spec) {
  return spec->component;
}
const void *mica_spec_options(const mica_spec *spec) {
  return spec->options;
}
void *mica_spec_options_mut(mica_spec *spec) {
  return spec->options;
}

/* ---- lists ---- */

void mica_spec_split_free(char **part, int n) {
  for (int i = 0; part && i < n; i++) mica_free(part[i]);
  mica_free(part);
}

mica_status mica_spec_split(const char *text, char separator, int most, char ***out, int *n) {
  *out = NULL;
  *n = 0;
  mica_status status = check_parentheses(text);
  if (status) return status;
  char **part = mica_calloc((size_t)most, sizeof *part);
  if (!part) return MICA_ERR_MEMORY;
  piece rest = {text, strlen(text)}, one;
  while (!status && cut(&rest, separator, &one)) {
    if (*n == most) {
      status = mica_fail(MICA_ERR_INVALID, "'%.300s': more than %d parts", text, most);
      break;
    }
    one = trim(one);
    part[*n] = mica_strndup(one.at, one.n);
    if (!part[(*n)++]) status = MICA_ERR_MEMORY;
  }
  if (!status) {
    *out = part;
    return MICA_OK;
  }
  mica_spec_split_free(part, *n);
  *n = 0;
  return status;
}

/* ---- sums ---- */

static mica_status add_term(const mica_engine *engine, mica_kind kind, piece term,
                            mica_spec_sum *sum) {
  double weight = 1;
  piece rest = trim(term), before;
  cut(&rest, '*', &before);
  if (rest.at) {
    before = trim(before);
    if (mica_parse_double(before.at, before.n, false, &weight) != before.n || !before.n ||
        !isfinite(weight))
      return mica_fail(MICA_ERR_INVALID, "'%.*s': expected a weight before '*'",
                       (int)(before.n < 200 ? before.n : 200), before.at);
  } else {
    rest = before;
  }
  size_t n = (size_t)sum->n + 1;
  double *weights = mica_realloc_array(sum->weight, n, sizeof *weights);
  if (!weights) return MICA_ERR_MEMORY;
  sum->weight = weights;
  mica_spec **terms = mica_realloc_array(sum->term, n, sizeof *terms);
  if (!terms) return MICA_ERR_MEMORY;
  sum->term = terms;
  mica_status status = parse_piece(engine, kind, rest, &terms[sum->n]);
  if (status) return status;
  weights[sum->n++] = weight;
  return MICA_OK;
}

mica_status mica_spec_sum_parse(const mica_engine *engine, mica_kind kind, const char *text,
                                mica_spec_sum *out) {
  *out = (mica_spec_sum){0, NULL, NULL};
  if (!text) return mica_fail(MICA_ERR_INVALID, "mica_spec_sum_parse: text is NULL");
  mica_status status = check_parentheses(text);
  piece rest = {text, strlen(text)}, term;
  while (!status && cut(&rest, '+', &term)) {
    if (out->n == 1000)
      status = mica_fail(MICA_ERR_INVALID, "more than 1000 terms in a sum");
    else
      status = add_term(engine, kind, term, out);
  }
  if (status) mica_spec_sum_free(out);
  return status;
}

void mica_spec_sum_free(mica_spec_sum *sum) {
  for (int i = 0; i < sum->n; i++) mica_spec_free(sum->term[i]);
  mica_free(sum->term);
  mica_free(sum->weight);
  *sum = (mica_spec_sum){0, NULL, NULL};
}

/* ---- back to text ---- */

char *mica_spec_text(const mica_spec *spec) {
  const mica_component *c = spec->component;
  mica_bytes out = {0}, field = {0};
  void *defaults = NULL;
  mica_status status = MICA_OK;
  mica_bytes_text(&out, c->name);
  if (c->options_size) {
    defaults = mica_malloc(c->options_size);
    status =
        defaults ? mica_options_default(c->options, defaults, c->options_size) : MICA_ERR_MEMORY;
  }
  for (const mica_option *row = c->options; row && row->name && !status; row++) {
    if (mica_option_equal(row, spec->options, defaults)) continue;
    mica_bytes_clear(&field);
    mica_option_write(&field, row, spec->options);
    mica_bytes_reserve(&field, 0);
    status = field.status;
    if (!status && check_parentheses(field.data)) status = mica_fail_within("option %s", row->name);
    if (status) break;
    bool protect = strpbrk(field.data, ":()+* \t") != NULL;
    mica_bytes_byte(&out, ':');
    mica_bytes_text(&out, row->name);
    mica_bytes_text(&out, protect ? "=(" : "=");
    mica_bytes_append(&out, field.data, field.n);
    if (protect) mica_bytes_byte(&out, ')');
  }
  mica_free(defaults);
  mica_bytes_free(&field);
  if (!status) return mica_bytes_take(&out);
  mica_bytes_free(&out);
  return NULL;
}
