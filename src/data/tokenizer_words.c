/* A tokenizer of the words that texts have, for networks that learn words from their own data. */
#include "data/tokenizer.h"

#include "base/buffer.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct word {
  const char *text;
  size_t begin; /* of the text, while the block still moves */
  int64_t in;   /* the text that it is a word of; later in how many it is */
} word;

typedef struct words {
  mica_bytes block;
  word *v;
  int64_t n, room, of;
  int64_t limit; /* code points */
} words;

static mica_status add(void *ctx, const uint32_t *code, size_t n) {
  words *w = ctx;
  if (n > (size_t)w->limit) return MICA_OK;
  if (w->n == w->room) {
    word *more = mica_realloc_array(w->v, (size_t)(w->room ? 2 * w->room : 256), sizeof *more);
    if (!more) return MICA_ERR_MEMORY;
    w->v = more;
    w->room = w->room ? 2 * w->room : 256;
  }
  w->v[w->n++] = (word){NULL, w->block.n, w->of};
  for (size_t i = 0; i < n; i++) {
    char utf8[4];
    mica_bytes_append(&w->block, utf8, mica_utf8_encode(code[i], utf8));
  }
  mica_bytes_byte(&w->block, 0);
  return w->block.status;
}

static int by_text(const void *a, const void *b) {
  const word *x = a, *y = b;
  const int order = strcmp(x->text, y->text);
  return order ? order : x->in < y->in ? -1 : x->in > y->in;
}

static int by_count(const void *a, const void *b) {
  const word *x = a, *y = b;
  return x->in != y->in ? (x->in > y->in ? -1 : 1) : strcmp(x->text, y->text);
}

/* Each word once, with how many texts have it, the most frequent first. */
static void count(words *w) {
  int64_t out = 0, texts = 0;
  for (int64_t i = 0; i < w->n; i++) w->v[i].text = w->block.data + w->v[i].begin;
  if (w->n) qsort(w->v, (size_t)w->n, sizeof *w->v, by_text);
  for (int64_t i = 0; i < w->n; i++) {
    const bool same = i && strcmp(w->v[i].text, w->v[i - 1].text) == 0;
    texts = same ? texts + (w->v[i].in != w->v[i - 1].in) : 1;
    if (i + 1 < w->n && strcmp(w->v[i].text, w->v[i + 1].text) == 0) continue;
    w->v[out] = w->v[i];
    w->v[out++].in = texts;
  }
  w->n = out;
  if (out) qsort(w->v, (size_t)out, sizeof *w->v, by_count);
}

static mica_status spell(mica_tokenizer *t, const words *w, int64_t least, int64_t most) {
  mica_status status = mica_pieces_add(&t->spelling, "[PAD]", 5);
  int64_t n = 0;
  if (status == MICA_OK) status = mica_pieces_add(&t->spelling, "[UNK]", 5);
  for (; n < w->n && (!most || n < most) && w->v[n].in >= least && status == MICA_OK; n++)
    status = mica_pieces_add(&t->spelling, w->v[n].text, strlen(w->v[n].text));
  if (status == MICA_OK && !n)
    return mica_fail(MICA_ERR_INVALID, "words: none is in %lld of the texts", (long long)least);
  return status == MICA_OK ? mica_pieces_add(&t->spelling, "[SEP]", 5) : status;
}

mica_status mica_tokenizer_words(int64_t n, const char *const *texts, int64_t least, int64_t most,
                                 mica_tokenizer **out) {
  mica_tokenizer *t;
  words w = {0};
  *out = NULL;
  mica_status status = mica_tokenizer_create(MICA_TOKENIZER_WORDPIECE, &t);
  if (status != MICA_OK) return status;
  if (n < 1 || least < 1 || most < 0)
    status = mica_fail(MICA_ERR_INVALID,
                       "words: expected 1 text or more, words of 1 text or more, and 0 or more of "
                       "them");
  w.limit = t->word_limit;
  for (; w.of < n && status == MICA_OK; w.of++)
    status = mica_tokenizer_each_word(t, texts[w.of], strlen(texts[w.of]), add, &w);
  if (status == MICA_OK) {
    count(&w);
    status = spell(t, &w, least, most);
  }
  mica_bytes_free(&w.block);
  mica_free(w.v);
  return mica_tokenizer_hand_over(t, status, out);
}
