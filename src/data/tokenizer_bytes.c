/* Bytes as tokens 0 to 255; 256 begins and ends a text and fills it up. */
#include "data/tokenizer.h"

#include <string.h>

#define END "<|endoftext|>"

static mica_status complete(mica_tokenizer *t) {
  mica_status status = MICA_OK;
  if (t->spelling.n != 257)
    return mica_fail(MICA_ERR_FORMAT, "a vocabulary of bytes has 257 tokens, not %lld",
                     (long long)t->spelling.n);
  for (int64_t i = 0; i < t->spelling.n && status == MICA_OK; i++) {
    size_t n;
    const char *text = mica_pieces_text(&t->spelling, i, &n);
    status = mica_pieces_add(&t->plain, text, n);
  }
  t->special[MICA_TOKEN_BEGIN] = t->special[MICA_TOKEN_END] = t->special[MICA_TOKEN_PAD] = 256;
  return status;
}

static mica_status encode(const mica_tokenizer *t, const char *text, size_t n, mica_merger *scratch,
                          mica_tokens *out) {
  (void)t, (void)scratch;
  mica_status status = MICA_OK;
  for (size_t i = 0; i < n && status == MICA_OK; i++)
    status = mica_tokens_push(out, (unsigned char)text[i]);
  return status;
}

const mica_tokenizer_functions mica_tokenizer_kind_bytes = {"bytes", complete, encode};

mica_status mica_tokenizer_bytes(mica_tokenizer **out) {
  mica_tokenizer *t;
  *out = NULL;
  mica_status status = mica_tokenizer_create(MICA_TOKENIZER_BYTES, &t);
  if (status != MICA_OK) return status;
  for (int i = 0; i < 256 && status == MICA_OK; i++)
    status = mica_pieces_add(&t->spelling, (const char[]){(char)i}, 1);
  if (status == MICA_OK) status = mica_pieces_add(&t->spelling, END, strlen(END));
  return mica_tokenizer_hand_over(t, status, out);
}
