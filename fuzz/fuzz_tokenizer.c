/* Any bytes as a vocabulary, which then cuts them; and any bytes as a text for each kind of
 * tokenizer. What is read must give the same tokens after a trip through the model file's text, and
 * kinds that keep every byte must give them back. */
#include "data/byte_pieces.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const mica_tokenizer *t, const char *text, size_t n) {
  mica_tokens out = {0}, again = {0};
  mica_tokenizer *back;
  char *json, *decoded;
  size_t m;
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  o.begin = o.end = false;
  o.special = n % 2;
  if (mica_tokenizer_encode(t, text, n, &o, &out)) abort();
  for (int64_t i = 0; i < out.n; i++)
    if (out.id[i] < 0 || out.id[i] >= mica_tokenizer_size(t)) abort();
  if (mica_tokenizer_decode(t, out.n, out.id, true, &decoded, &m)) abort();
  if (t->kind == MICA_TOKENIZER_BYTES || t->kind == MICA_TOKENIZER_BPE)
    if (m != n || memcmp(text, decoded, n) != 0) abort();
  if (mica_tokenizer_text(t, &json) || mica_tokenizer_parse(json, &back)) abort();
  if (mica_tokenizer_encode(back, text, n, &o, &again) || again.n != out.n) abort();
  if (out.n && memcmp(out.id, again.id, (size_t)out.n * sizeof *out.id) != 0) abort();
  mica_tokens_free(&out);
  mica_tokens_free(&again);
  mica_free(json);
  mica_free(decoded);
  mica_tokenizer_free(back);
}

static mica_tokenizer *make(mica_tokenizer_kind kind) {
  static const char *const pieces[] = {"[UNK]", "[CLS]", "[SEP]",  "a",  "##a", "##b", "e", "the",
                                       "##n",   ",",     "\u00e9", "中", "#",   "##",  "'", "i"};
  static const char *const merges[][2] = {{"a", "b"}, {"ab", "ab"}, {"t", "h"}, {"th", "e"}};
  mica_tokenizer *t;
  mica_status status = mica_tokenizer_create(kind, &t);
  if (status) abort();
  if (kind == MICA_TOKENIZER_WORDPIECE) {
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces && !status; i++)
      status = mica_pieces_add(&t->spelling, pieces[i], strlen(pieces[i]));
  } else {
    status = mica_byte_pieces_add(&t->spelling, "");
    if (kind == MICA_TOKENIZER_CLIP) status |= mica_byte_pieces_add(&t->spelling, MICA_WORD_END);
    for (int i = 0; i < 4; i++) {
      char both[8];
      strcat(strcpy(both, merges[i][0]), merges[i][1]);
      status |= mica_pieces_add(&t->spelling, both, strlen(both));
    }
    status |= mica_pieces_add(&t->spelling, "<|endoftext|>", 13);
    status |= mica_pieces_index(&t->spelling);
    for (int i = 0; i < 4; i++)
      status |= mica_tokenizer_merge_spelling(t, merges[i][0], strlen(merges[i][0]), merges[i][1],
                                              strlen(merges[i][1]));
  }
  if (status || mica_tokenizer_hand_over(t, status, &t)) abort();
  return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const mica_tokenizer_kind kinds[] = {MICA_TOKENIZER_WORDPIECE, MICA_TOKENIZER_BPE,
                                              MICA_TOKENIZER_CLIP};
  mica_tokenizer *t;
  if (!mica_tokenizer_read(data, size, NULL, &t)) {
    use(t, (const char *)data, size);
    mica_tokenizer_free(t);
  } else if (t || !*mica_last_error()) {
    abort();
  }
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    t = make(kinds[i]);
    use(t, (const char *)data, size);
    mica_tokenizer_free(t);
  }
  return 0;
}
