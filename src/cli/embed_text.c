/* Features of lines of text. */
#include "cli/text.h"

#include <mica/tokenizer.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINES 1024 /* read at once; those of equal length go through the network together */

/* A line's tokens, and where its features go. */
typedef struct line {
  mica_tokens tokens;
  int64_t row;
} line;

typedef struct work {
  const mica_tokenizer *tokenizer;
  mica_session *session;
  bool towers; /* the texts of a model of pictures and texts */
  int64_t length, width;
  line line[LINES];
  int64_t n;    /* lines that wait */
  int64_t *ids; /* [LINES, length] */
  float *y;     /* [LINES, width] */
  text_rows *out;
  int64_t room;
} work;

static int by_length(const void *a, const void *b) {
  const line *p = a, *q = b;
  if (p->tokens.n != q->tokens.n) return p->tokens.n < q->tokens.n ? -1 : 1;
  return p->row < q->row ? -1 : p->row > q->row;
}

static mica_status run_lines(work *w) {
  mica_status status = MICA_OK;
  float *x = w->out->x;
  if (w->towers) {
    const int64_t first = w->out->n - w->n;
    status = mica_embed_texts(w->session, w->n, (const char *const *)w->out->line + first,
                              x + first * w->width);
    w->n = 0;
    return status;
  }
  qsort(w->line, (size_t)w->n, sizeof *w->line, by_length);
  for (int64_t from = 0, to; from < w->n && status == MICA_OK; from = to) {
    const int64_t length = w->line[from].tokens.n;
    for (to = from; to < w->n && w->line[to].tokens.n == length; to++)
      memcpy(w->ids + (to - from) * length, w->line[to].tokens.id, (size_t)length * sizeof *w->ids);
    const mica_view ids = mica_view_of(w->ids, MICA_I64, MICA_SHAPE(to - from, length));
    status = mica_embed(w->session, &ids, w->y);
    for (int64_t i = from; i < to && status == MICA_OK; i++)
      memcpy(x + w->line[i].row * w->width, w->y + (i - from) * w->width,
             (size_t)w->width * sizeof *w->y);
    if (status == MICA_OK && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  w->n = 0;
  return status;
}

static mica_status make_room(work *w) {
  text_rows *out = w->out;
  if (out->n < w->room) return MICA_OK;
  const int64_t room = w->room ? w->room * 2 : LINES;
  float *x = mica_realloc_array(out->x, (size_t)(room * w->width), sizeof *x);
  if (x) out->x = x;
  char **lines = x ? mica_realloc_array(out->line, (size_t)room, sizeof *lines) : NULL;
  if (!lines) return MICA_ERR_MEMORY;
  out->line = lines;
  w->room = room;
  return MICA_OK;
}

static mica_status add_line(work *w, const char *text, size_t n) {
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  o.length = w->length;
  mica_status status = make_room(w);
  char *kept = status == MICA_OK ? mica_strndup(text, n) : NULL;
  if (!kept) return MICA_ERR_MEMORY;
  line *l = &w->line[w->n++];
  l->row = w->out->n;
  w->out->line[w->out->n++] = kept;
  status = mica_tokenizer_encode(w->tokenizer, text, n, &o, &l->tokens);
  if (status == MICA_OK && l->tokens.n == 0)
    status = mica_fail(MICA_ERR_FORMAT, "line %lld has no tokens", (long long)w->out->n);
  return status == MICA_OK && w->n == LINES ? run_lines(w) : status;
}

static mica_status read_lines(work *w, const char *path) {
  const bool standard = strcmp(path, "-") == 0;
  FILE *f = standard ? stdin : fopen(path, "rb");
  if (!f) return mica_fail(MICA_ERR_IO, "%s: %s", path, strerror(errno));
  char *text = NULL;
  size_t room = 0;
  ssize_t n;
  mica_status status = MICA_OK;
  while (status == MICA_OK && (n = getline(&text, &room, f)) > 0) {
    if (text[n - 1] == '\n') n--;
    if (n && text[n - 1] == '\r') n--;
    status = add_line(w, text, (size_t)n);
  }
  if (status == MICA_OK && !feof(f))
    status = mica_fail(MICA_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
  free(text);
  if (!standard) fclose(f);
  if (status == MICA_OK && w->n) status = run_lines(w);
  return status == MICA_OK && !w->out->n
             ? mica_fail(MICA_ERR_FORMAT, "%s: no line in it", standard ? "standard input" : path)
             : status;
}

void text_rows_free(text_rows *rows) {
  for (int64_t i = 0; i < rows->n; i++) mica_free(rows->line[i]);
  mica_free(rows->line);
  mica_free(rows->x);
  *rows = (text_rows){0};
}

mica_status cli_text_rows(const mica_model *model, mica_session *session, const char *path,
                          text_rows *out) {
  const mica_problem *problem = mica_net_problem(mica_model_net(model));
  mica_tokenizer *tokenizer = NULL;
  *out = (text_rows){0};
  if (!mica_model_tokenizer(model))
    return mica_fail(MICA_ERR_UNSUPPORTED, "the model has no tokenizer: it reads no text");
  mica_status status = mica_tokenizer_parse(mica_model_tokenizer(model), &tokenizer);
  if (status != MICA_OK) return status;
  if (mica_tokenizer_size(tokenizer) > problem->vocabulary)
    status = mica_fail(MICA_ERR_FORMAT, "a tokenizer of %lld tokens, and a network of %lld",
                       (long long)mica_tokenizer_size(tokenizer), (long long)problem->vocabulary);
  work *w = status == MICA_OK ? mica_calloc(1, sizeof *w) : NULL;
  if (status == MICA_OK && !w) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    w->out = out;
    w->tokenizer = tokenizer;
    w->session = session;
    w->towers = problem->height > 0;
    w->length = problem->length;
    w->width = out->width = mica_net_features(mica_model_net(model));
    w->ids = mica_calloc(LINES, (size_t)w->length * sizeof *w->ids);
    w->y = mica_calloc(LINES, (size_t)w->width * sizeof *w->y);
    status = w->ids && w->y ? read_lines(w, path) : MICA_ERR_MEMORY;
    for (int i = 0; i < LINES; i++) mica_tokens_free(&w->line[i].tokens);
    mica_free(w->ids);
    mica_free(w->y);
  }
  mica_free(w);
  mica_tokenizer_free(tokenizer);
  if (status != MICA_OK) text_rows_free(out);
  return status;
}

mica_status cli_text_embed(const mica_model *model, mica_session *session, const char *path,
                           const char *out, int64_t *rows) {
  text_rows r;
  mica_status status = cli_text_rows(model, session, path, &r);
  if (status != MICA_OK) return status;
  const mica_view view = mica_view_of(r.x, MICA_F32, MICA_SHAPE(r.n, r.width));
  status = mica_npy_write(out, &view);
  *rows = r.n;
  text_rows_free(&r);
  return status;
}
