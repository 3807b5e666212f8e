/* Questions and the texts that answer them, from a list. */
#include "cli/text_pairs.h"

#include "base/buffer.h"
#include "data/delimited.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { QUESTION, TEXT, PART, COLUMNS };

static const char *const names[COLUMNS][6] = {
    {"question", "query", "anchor", "sentence1"},
    {"text", "document", "passage", "answer", "positive", "sentence2"},
    {"part", "split", "set", "subset"}};

typedef struct pair {
  size_t question, text; /* in the block, later numbers */
  uint8_t part;
} pair;

typedef struct reading {
  const char *path;
  mica_input *input;
  mica_delimited *records;
  int64_t at[COLUMNS];
  mica_bytes block;
  pair *v;
  int64_t n, room;
  bool parts; /* the list tells them */
} reading;

/* ---- the list ---- */

static bool find_columns(reading *r, const char *const *field, int64_t n) {
  for (int c = 0; c < COLUMNS; c++) {
    r->at[c] = -1;
    for (int64_t i = n - 1; i >= 0; i--)
      for (int k = 0; k < 6 && names[c][k]; k++)
        if (strcasecmp(field[i], names[c][k]) == 0) r->at[c] = i;
  }
  return r->at[QUESTION] >= 0 && r->at[TEXT] >= 0;
}

static bool is_list(const char *path) {
  const char *dot = path ? strrchr(path, '.') : NULL;
  return dot && (strcmp(dot, ".csv") == 0 || strcmp(dot, ".tsv") == 0);
}

static mica_status open_list(const char *path, reading *r, bool *fits) {
  const char *const *field;
  int64_t n = 0;
  *r = (reading){.path = path};
  mica_status status = mica_input_open(path, &r->input);
  if (status == MICA_OK)
    status = mica_delimited_create(r->input, strstr(path, ".tsv") ? '\t' : 0, (size_t)1 << 20,
                                   &r->records);
  if (status == MICA_OK) status = mica_delimited_next(r->records, &field, &n);
  *fits = status == MICA_OK && find_columns(r, field, n);
  return status;
}

static void close_list(reading *r) {
  mica_delimited_free(r->records);
  mica_input_close(r->input);
  mica_bytes_free(&r->block);
  mica_free(r->v);
}

bool text_pairs_here(const char *path) {
  reading r;
  bool fits = false;
  if (!is_list(path)) return false;
  if (open_list(path, &r, &fits) != MICA_OK) fits = false;
  close_list(&r);
  return fits;
}

static bool part_of(const char *name, uint8_t *out) {
  static const char *const word[] = {"train", "val", "test"};
  for (int k = 0; k < 3; k++)
    if (strncasecmp(name, word[k], strlen(word[k])) == 0) {
      *out = (uint8_t)k;
      return true;
    }
  return false;
}

static mica_status add_pair(reading *r, const char *const *field, int64_t n) {
  const long long line = (long long)mica_delimited_line(r->records);
  pair p = {.part = MICA_PART_TRAIN};
  for (int c = 0; c < COLUMNS; c++)
    if (r->at[c] >= n)
      return mica_fail(MICA_ERR_FORMAT, "%s: line %lld: %lld fields, expected %s in field %lld",
                       r->path, line, (long long)n, names[c][0], (long long)r->at[c] + 1);
  const char *question = field[r->at[QUESTION]], *text = field[r->at[TEXT]];
  if (!*question || !*text)
    return mica_fail(MICA_ERR_FORMAT, "%s: line %lld: an empty %s", r->path, line,
                     *question ? "text" : "question");
  if (r->at[PART] >= 0 && !part_of(field[r->at[PART]], &p.part))
    return mica_fail(MICA_ERR_FORMAT, "%s: line %lld: part '%.40s', expected train, val or test",
                     r->path, line, field[r->at[PART]]);
  r->parts |= p.part != MICA_PART_TRAIN;
  if (r->n == r->room) {
    const int64_t room = r->room ? 2 * r->room : 256;
    pair *more = mica_realloc_array(r->v, (size_t)room, sizeof *more);
    if (!more) return MICA_ERR_MEMORY;
    r->v = more;
    r->room = room;
  }
  p.question = r->block.n;
  mica_bytes_append(&r->block, question, strlen(question) + 1);
  p.text = r->block.n;
  mica_bytes_append(&r->block, text, strlen(text) + 1);
  r->v[r->n++] = p;
  return r->block.status;
}

/* ---- numbers ---- */

typedef struct known {
  const char *text;
  size_t *where; /* whose number it becomes */
} known;

static int by_text(const void *a, const void *b) {
  return strcmp(((const known *)a)->text, ((const known *)b)->text);
}

/* Equal texts get one number, in alphabetical order. */
static mica_status number(reading *r, text_pairs *out) {
  known *all = mica_calloc(2 * (size_t)r->n + 1, sizeof *all);
  out->text = mica_calloc(2 * (size_t)r->n + 1, sizeof *out->text);
  mica_status status = all && out->text ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < r->n && all; i++) {
    all[2 * i] = (known){r->block.data + r->v[i].question, &r->v[i].question};
    all[2 * i + 1] = (known){r->block.data + r->v[i].text, &r->v[i].text};
  }
  if (status == MICA_OK) qsort(all, 2 * (size_t)r->n, sizeof *all, by_text);
  for (int64_t i = 0; i < 2 * r->n && status == MICA_OK; i++) {
    if (!i || strcmp(all[i].text, out->text[out->n - 1]) != 0) {
      out->text[out->n] = mica_strdup(all[i].text);
      if (!out->text[out->n]) status = MICA_ERR_MEMORY;
      out->n++;
    }
    *all[i].where = (size_t)(out->n - 1);
  }
  mica_free(all);
  return status;
}

static mica_status list_documents(const reading *r, text_pairs *out) {
  bool *is = mica_calloc((size_t)out->n + 1, sizeof *is);
  out->document = mica_calloc((size_t)out->n + 1, sizeof *out->document);
  if (!is || !out->document) {
    mica_free(is);
    return MICA_ERR_MEMORY;
  }
  for (int64_t i = 0; i < r->n; i++) is[r->v[i].text] = true;
  for (int64_t i = 0; i < out->n; i++)
    if (is[i]) out->document[out->documents++] = i;
  mica_free(is);
  return MICA_OK;
}

static int by_part(const void *a, const void *b) {
  const pair *x = a, *y = b;
  if (x->part != y->part) return x->part < y->part ? -1 : 1;
  if (x->question != y->question) return x->question < y->question ? -1 : 1;
  return x->text < y->text ? -1 : x->text > y->text;
}

/* A question is held out, or not, with all its pairs. */
static void hold_out(reading *r, const text_pairs *p, double share) {
  for (int64_t i = 0; i < r->n; i++) {
    const mica_key key = mica_key_fold_name(mica_key_seed(0), p->text[r->v[i].question]);
    if ((double)mica_random_bits(key, 0) < share * 18446744073709551616.0)
      r->v[i].part = MICA_PART_VALIDATION;
  }
}

static mica_status deal(reading *r, text_pairs *out) {
  qsort(r->v, (size_t)r->n, sizeof *r->v, by_part);
  for (int k = 0; k < MICA_PART_COUNT; k++) {
    text_pairs_part *p = &out->part[k];
    p->question = mica_calloc((size_t)r->n + 1, sizeof *p->question);
    p->at = mica_calloc((size_t)r->n + 2, sizeof *p->at);
    p->right = mica_calloc((size_t)r->n + 1, sizeof *p->right);
    if (!p->question || !p->at || !p->right) return MICA_ERR_MEMORY;
  }
  for (int64_t i = 0; i < r->n; i++) {
    const pair *v = &r->v[i], *before = i && v[-1].part == v->part ? v - 1 : NULL;
    text_pairs_part *p = &out->part[v->part];
    if (before && before->question == v->question && before->text == v->text) continue;
    if (!before || before->question != v->question) {
      p->question[p->n++] = (int64_t)v->question;
      p->at[p->n] = p->at[p->n - 1];
    }
    p->right[p->at[p->n]++] = (int64_t)v->text;
  }
  return MICA_OK;
}

mica_status text_pairs_read(const char *path, double validation, text_pairs *out) {
  const char *const *field;
  int64_t n;
  reading r;
  bool fits;
  *out = (text_pairs){0};
  mica_status status = open_list(path, &r, &fits);
  if (status == MICA_OK && !fits)
    status = mica_fail(MICA_ERR_FORMAT, "%s: expected a header with the columns question and text",
                       path);
  while (status == MICA_OK) {
    status = mica_delimited_next(r.records, &field, &n);
    if (status != MICA_OK || !n) break;
    status = add_pair(&r, field, n);
  }
  if (status == MICA_OK && !r.n)
    status = mica_fail(MICA_ERR_FORMAT, "%s: a header and no pairs", path);
  if (status == MICA_OK) status = number(&r, out);
  if (status == MICA_OK) status = list_documents(&r, out);
  if (status == MICA_OK && !r.parts) hold_out(&r, out, validation);
  if (status == MICA_OK) status = deal(&r, out);
  if (status == MICA_OK && !out->part[MICA_PART_TRAIN].n)
    status = mica_fail(MICA_ERR_INVALID, "%s: no question in the training part", path);
  close_list(&r);
  if (status != MICA_OK) text_pairs_free(out);
  return status;
}

mica_status text_pairs_encode(text_pairs *p, const mica_tokenizer *tokenizer, int64_t length) {
  p->length = length;
  p->token = mica_realloc_array(NULL, (size_t)p->n, (size_t)length * sizeof *p->token);
  p->tokens = mica_calloc((size_t)p->n + 1, sizeof *p->tokens);
  if (!p->token || !p->tokens) return MICA_ERR_MEMORY;
  return mica_tokenizer_encode_rows(tokenizer, p->n, (const char *const *)p->text, length, p->token,
                                    p->tokens);
}

void text_pairs_free(text_pairs *p) {
  for (int64_t i = 0; i < p->n; i++) mica_free(p->text[i]);
  mica_free(p->text);
  mica_free(p->document);
  for (int k = 0; k < MICA_PART_COUNT; k++) {
    mica_free(p->part[k].question);
    mica_free(p->part[k].at);
    mica_free(p->part[k].right);
  }
  mica_free(p->token);
  mica_free(p->tokens);
  *p = (text_pairs){0};
}
