/* What the columns of a file hold, judged by one look through it.
 *
 * A column is numeric when all its values are numbers, else categorical. The different values of a
 * column are remembered up to the number that a category may have, so memory is bounded.
 */
#include "data/table_rows.h"

#include <mica/component.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define CLASSES_BY_CONTENT 100  /* more different whole numbers are a numeric target */
#define CLASSES_AT_LEAST   1000 /* that a label may have, whatever a category may */

typedef enum role { ROLE_OPEN, ROLE_NUMERIC, ROLE_CATEGORICAL, ROLE_IGNORED, ROLE_LABEL } role;

typedef struct guess {
  role role;
  bool whole;                    /* every number has been a whole one */
  bool over;                     /* too many different values to remember */
  bool numbers, texts, missing;  /* some cells are */
  bool beyond;                   /* a number is out of the range of float */
  int64_t text_line, comma_line; /* the first that holds a text, a decimal comma; 0: none */
  char text[48], comma[48];
  mica_dictionary values;
} guess;

static bool numbers_only(const guess *g) {
  return !g->text_line && !g->comma_line;
}
/* What shows that the column is not of numbers only, and its line. */
static const char *example_of(const guess *g, int64_t *line) {
  *line = g->text_line ? g->text_line : g->comma_line;
  return g->text_line ? g->text : g->comma;
}

typedef struct look {
  const mica_data_table_options *o;
  mica_table_file f;
  guess *g; /* f.n */
} look;

static void look_free(look *l) {
  for (int64_t i = 0; l->g && i < l->f.n; i++) mica_dictionary_free(&l->g[i].values);
  mica_free(l->g);
  mica_table_file_close(&l->f);
}

/* ---- what the caller says ---- */

static mica_status no_such_column(const look *l, const char *name, const char *option) {
  const int names = l->f.n < 4096 ? (int)l->f.n : 4096;
  const char *near = mica_nearest_name(name, (const char *const *)l->f.name, names);
  char range[64] = "";
  if (!near && !l->f.header)
    snprintf(range, sizeof range, "; without a header they are c1 to c%lld", (long long)l->f.n);
  return mica_fail(MICA_ERR_NOT_FOUND, "%s: no column '%s' (%s)%s%s%s%s", l->f.path, name, option,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", range);
}

static mica_status assign(look *l, const char *name, role to, const char *option) {
  const int64_t i = mica_table_file_find(&l->f, name);
  if (i < 0) return no_such_column(l, name, option);
  if (l->g[i].role != ROLE_OPEN && l->g[i].role != to)
    return mica_fail(MICA_ERR_INVALID, "%s: column '%s' is given two meanings, the second as %s",
                     l->f.path, name, option);
  l->g[i].role = to;
  return MICA_OK;
}

static mica_status assign_list(look *l, const char *list, role to, const char *option) {
  while (list && *list) {
    const size_t n = strcspn(list, ",");
    char *name = mica_strndup(list, n);
    if (!name) return MICA_ERR_MEMORY;
    const mica_status status = n ? assign(l, name, to, option) : MICA_OK;
    mica_free(name);
    if (status != MICA_OK) return status;
    list += n + (list[n] == ',');
  }
  return MICA_OK;
}

/* What is known of the columns of a log, where the caller says nothing else. */
static void assign_by_format(look *l) {
  const mica_log_format format = l->f.log.format;
  const char *label = mica_log_format_label(format);
  for (int64_t i = 0; i < l->f.n; i++) {
    static const role of[] = {ROLE_IGNORED, ROLE_NUMERIC, ROLE_CATEGORICAL};
    guess *g = &l->g[i];
    if (g->role != ROLE_OPEN) continue;
    g->role = strcmp(l->f.name[i], label) == 0 ? ROLE_LABEL
                                               : of[mica_log_format_role(format, l->f.name[i])];
  }
}

/* Is anything left to be judged by content? Not in a log whose label is a click. */
static bool is_open(const look *l) {
  const mica_log_format format = l->f.log.format;
  for (int64_t i = 0; i < l->f.n; i++)
    if (l->g[i].role == ROLE_OPEN ||
        (l->g[i].role == ROLE_LABEL && (format == MICA_LOG_NONE || format == MICA_LOG_LIBFM)))
      return true;
  return false;
}

/* ---- what the file holds ---- */

/* *cell: the number, or NAN; *value: the text's number while texts are remembered, or -1. */
static mica_status look_at(guess *g, const char *text, int64_t line, int64_t most, double *cell,
                           int64_t *value) {
  double number;
  const mica_cell kind = mica_cell_kind(text, &number);
  *cell = NAN;
  *value = -1;
  if (kind == MICA_CELL_MISSING) {
    g->missing = true;
    return MICA_OK;
  }
  if (kind == MICA_CELL_NUMBER) {
    *cell = number;
    g->numbers = true;
    if (!(fabs(number) <= (double)FLT_MAX)) g->beyond = true;
    if (!(number == floor(number)) || fabs(number) > 1e15) g->whole = false;
  } else if (kind == MICA_CELL_COMMA && !g->comma_line) {
    g->comma_line = line;
    snprintf(g->comma, sizeof g->comma, "%.40s", text);
  } else if (kind == MICA_CELL_TEXT && !g->text_line) {
    g->text_line = line;
    snprintf(g->text, sizeof g->text, "%.40s", text);
  }
  if (kind != MICA_CELL_NUMBER) g->texts = true;
  if (g->over) return MICA_OK;
  if ((*value = mica_dictionary_add(&g->values, text)) < 0) return MICA_ERR_MEMORY;
  if (g->values.n > most) {
    g->over = true;
    mica_dictionary_free(&g->values);
  }
  return MICA_OK;
}

/* Of a field all values are kept, so none has to be remembered here. */
static int64_t most_values(const look *l, const guess *g) {
  const int64_t most = g->role != ROLE_LABEL && l->o->fields ? 0 : l->o->max_categories;
  return g->role == ROLE_LABEL && most < CLASSES_AT_LEAST ? CLASSES_AT_LEAST : most;
}

static mica_status too_many(const look *l, int64_t i) {
  const guess *g = &l->g[i];
  const char *name = l->f.name[i];
  const long long most = (long long)most_values(l, g);
  int64_t line;
  const char *example = example_of(g, &line);
  if (g->role == ROLE_LABEL && numbers_only(g))
    return mica_fail(
        MICA_ERR_FORMAT,
        "%s: the label '%s' has more than %lld different values, too many for classes; "
        "a numeric target needs a loss such as mse",
        l->f.path, name, most);
  if (g->role == ROLE_LABEL)
    return mica_fail(
        MICA_ERR_FORMAT,
        "%s: the label '%s' has more than %lld different values, as '%s' on line %lld, "
        "too many for classes; raise max-categories",
        l->f.path, name, most, example, (long long)line);
  return mica_fail(
      MICA_ERR_FORMAT,
      "%s: column '%s' has more than %lld different values and '%s' on line %lld is no "
      "number; ignore the column, name it as categorical to keep the most frequent, as "
      "numeric to skip such lines, or raise max-categories",
      l->f.path, name, most, example, (long long)line);
}

/* Is column i numeric? */
static mica_status decide(const look *l, int64_t i, bool *numeric) {
  const guess *g = &l->g[i];
  *numeric = g->role == ROLE_NUMERIC || (g->role == ROLE_OPEN && numbers_only(g));
  if (g->role != ROLE_OPEN || *numeric) return MICA_OK;
  if (!g->text_line)
    return mica_fail(
        MICA_ERR_FORMAT,
        "%s: line %lld: column '%s': '%s' has a decimal comma; numbers are written with "
        "a point (name the column as categorical if these are no numbers)",
        l->f.path, (long long)g->comma_line, l->f.name[i], g->comma);
  return g->over && !l->o->fields ? too_many(l, i) : MICA_OK;
}

static void set_form(const mica_data_table_options *o, mica_log_format format, bool numeric,
                     mica_column *k) {
  k->kind = numeric ? MICA_COLUMN_NUMERIC : MICA_COLUMN_CATEGORICAL;
  if (numeric && o->numbers) k->form = o->numbers;
  if (numeric && !o->numbers && format == MICA_LOG_CRITEO)
    k->form = o->fields ? MICA_NUMBER_LOG_SQUARE : MICA_NUMBER_LOG;
  k->field = o->fields && (!numeric || k->form == MICA_NUMBER_LOG_SQUARE);
  k->missing = k->field;
  k->other = k->field && !o->hash_buckets;
  if (k->field) k->buckets = o->hash_buckets;
}

static mica_status decide_label(const look *l, int64_t i, bool *regression) {
  const guess *g = &l->g[i];
  const bool numbers = numbers_only(g);
  int64_t line;
  const char *example = example_of(g, &line);
  switch (l->o->target) {
  case MICA_TARGET_NUMBER:
    *regression = true;
    if (!numbers)
      return mica_fail(MICA_ERR_FORMAT,
                       "%s: line %lld: the label '%s' is to be a number, but here it is '%s'",
                       l->f.path, (long long)line, l->f.name[i], example);
    return MICA_OK;
  case MICA_TARGET_BY_CONTENT:
    *regression = numbers && (!g->whole || g->over || g->values.n > CLASSES_BY_CONTENT);
    break;
  case MICA_TARGET_CLASSES: *regression = false; break;
  }
  return !*regression && g->over ? too_many(l, i) : MICA_OK;
}

/* ---- together ---- */

static mica_status make(const look *l, mica_columns **out, int64_t **at) {
  int64_t n = 0, label = -1;
  for (int64_t i = 0; i < l->f.n; i++) {
    if (l->g[i].role == ROLE_LABEL) label = i;
    n += l->g[i].role != ROLE_LABEL && l->g[i].role != ROLE_IGNORED;
  }
  if (!n) return mica_fail(MICA_ERR_FORMAT, "%s: no column is left beside the label", l->f.path);
  mica_columns *c = NULL;
  mica_status status = mica_columns_create(n, &c);
  if (status == MICA_OK) c->format = l->f.log.format;
  if (status == MICA_OK && !(*at = mica_malloc(((size_t)n + 1) * sizeof **at)))
    status = MICA_ERR_MEMORY;
  int64_t k = 0;
  for (int64_t i = 0; i < l->f.n && status == MICA_OK; i++) {
    if (i == label || l->g[i].role == ROLE_IGNORED) continue;
    bool numeric = false;
    status = decide(l, i, &numeric);
    set_form(l->o, c->format, numeric, &c->column[k]);
    if (status == MICA_OK && !(c->column[k].name = mica_strdup(l->f.name[i])))
      status = MICA_ERR_MEMORY;
    (*at)[k++] = i;
  }
  if (status == MICA_OK) {
    (*at)[n] = label;
    c->by_position = !l->f.header;
    c->line_fields = l->f.n;
  }
  if (status == MICA_OK && label >= 0) {
    status = decide_label(l, label, &c->regression);
    if (status == MICA_OK && !(c->label = mica_strdup(l->f.name[label]))) status = MICA_ERR_MEMORY;
  }
  if (status != MICA_OK) {
    mica_columns_free(c);
    mica_free(*at);
    *at = NULL;
    return status;
  }
  *out = c;
  return MICA_OK;
}

/* ---- keeping the cells ---- */

void mica_table_seen_free(mica_table_seen *s) {
  mica_free(s->cell);
  mica_free(s->label);
  mica_free(s->hash);
  *s = (mica_table_seen){0};
}

static mica_status seen_room(mica_table_seen *s) {
  if (s->n < s->room) return MICA_OK;
  const size_t room = s->room ? (size_t)s->room * 2 : 1024;
  double *cell = mica_realloc_array(s->cell, room, (size_t)s->columns * sizeof *cell);
  if (cell) s->cell = cell;
  int64_t *label = cell ? mica_realloc_array(s->label, room, sizeof *label) : NULL;
  if (label) s->label = label;
  uint64_t *hash = label ? mica_realloc_array(s->hash, room, sizeof *hash) : NULL;
  if (!hash) return MICA_ERR_MEMORY;
  s->hash = hash;
  s->room = (int64_t)room;
  return MICA_OK;
}

/* Can cells be kept at all? Not where only some of them are looked at. */
static bool can_keep(const look *l) {
  bool all = !l->f.log.format && !l->o->fields && !l->o->hash_buckets;
  for (int64_t i = 0; i < l->f.n; i++)
    all &= l->g[i].role == ROLE_OPEN || l->g[i].role == ROLE_LABEL || l->g[i].role == ROLE_IGNORED;
  return all;
}

/* One row; its cells are kept where they are wanted. */
static mica_status look_at_row(look *l, const char *const *cell, mica_table_seen *s) {
  mica_status status = s ? seen_room(s) : MICA_OK;
  for (int64_t i = 0; i < l->f.n && status == MICA_OK; i++) {
    guess *g = &l->g[i];
    double number = NAN;
    int64_t value = -1;
    if (g->role == ROLE_OPEN || g->role == ROLE_LABEL)
      status = look_at(g, cell[i], mica_delimited_line(l->f.records), most_values(l, g), &number,
                       &value);
    if (!s) continue;
    s->cell[s->n * s->columns + i] = g->texts ? (double)value : number;
    if (g->role == ROLE_LABEL) s->label[s->n] = value;
  }
  if (s && status == MICA_OK) s->hash[s->n++] = mica_table_row_hash(cell, l->f.n);
  return status;
}

/* Do the cells say all that reading the file again would? Then the values go to their columns. A
 * column that began with missing cells and then had texts has NAN where it should have -1. */
static void settle(look *l, mica_columns *c, const int64_t *at, mica_table_seen *s) {
  bool usable = !l->f.skipped && s->n > 0;
  for (int64_t k = 0; k <= c->n; k++) {
    const guess *g = at[k] < 0 ? NULL : &l->g[at[k]];
    const bool number = k < c->n ? c->column[k].kind == MICA_COLUMN_NUMERIC : c->regression;
    if (!g) continue;
    usable &= number ? !g->texts && !g->beyond : !(k < c->n && g->numbers) && !g->over;
    usable &= k < c->n || !g->missing;
  }
  s->usable = usable;
  for (int64_t k = 0; k <= c->n && usable; k++) {
    guess *g = at[k] < 0 ? NULL : &l->g[at[k]];
    if (!g) continue;
    const bool number = k < c->n ? c->column[k].kind == MICA_COLUMN_NUMERIC : c->regression;
    if (number) continue;
    mica_dictionary *to = k < c->n ? &c->column[k].values : &c->classes;
    *to = g->values;
    g->values = (mica_dictionary){0};
    for (int64_t r = 0; r < s->n && k < c->n && g->missing; r++) {
      double *cell = &s->cell[r * s->columns + at[k]];
      if (isnan(*cell)) *cell = -1;
    }
  }
}

mica_status mica_table_guess(const char *path, const mica_data_table_options *o, mica_columns **out,
                             int64_t **at, mica_table_seen *seen) {
  *out = NULL;
  *at = NULL;
  look l = {.o = o};
  mica_status status = mica_table_file_open(path, o, &l.f);
  if (status == MICA_OK && !(l.g = mica_calloc((size_t)l.f.n, sizeof *l.g)))
    status = MICA_ERR_MEMORY;
  for (int64_t i = 0; status == MICA_OK && i < l.f.n; i++) l.g[i].whole = true;
  if (status == MICA_OK && o->label) status = assign(&l, o->label, ROLE_LABEL, "the label");
  if (status == MICA_OK) status = assign_list(&l, o->ignore, ROLE_IGNORED, "to ignore");
  if (status == MICA_OK) status = assign_list(&l, o->numeric, ROLE_NUMERIC, "numeric");
  if (status == MICA_OK) status = assign_list(&l, o->categorical, ROLE_CATEGORICAL, "categorical");
  if (status == MICA_OK && l.f.log.format) assign_by_format(&l);
  if (seen && (status != MICA_OK || !can_keep(&l))) seen = NULL;
  if (seen) seen->columns = l.f.n;
  bool whole = false;
  while (status == MICA_OK && is_open(&l)) {
    const char *const *cell;
    status = mica_table_file_next(&l.f, &cell);
    whole = status == MICA_OK && !cell;
    if (status != MICA_OK || !cell) break;
    status = look_at_row(&l, cell, seen);
  }
  if (status == MICA_OK) status = make(&l, out, at);
  if (status == MICA_OK && seen && whole) settle(&l, *out, *at, seen);
  look_free(&l);
  return status;
}
