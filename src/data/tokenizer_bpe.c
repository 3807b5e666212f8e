/* Byte-level pair merges (GPT-2): the text is cut into words by
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * and the bytes of each word merge. */
#include "data/byte_pieces.h"

static mica_status complete(mica_tokenizer *t) {
  mica_status status = mica_tokenizer_cast(t, MICA_TOKEN_END, "<|endoftext|>");
  if (status == MICA_OK && t->special[MICA_TOKEN_BEGIN] < 0)
    t->special[MICA_TOKEN_BEGIN] = t->special[MICA_TOKEN_END];
  mica_byte_pieces_find(&t->spelling, "", t->of_byte);
  for (int b = 0; b < 256; b++)
    if (t->of_byte[b] < 0)
      return mica_fail(MICA_ERR_FORMAT, "the vocabulary has no token for byte %d", b);
  return status == MICA_OK ? mica_byte_pieces_plain(t) : status;
}

#define KINDS (MICA_UNICODE_LETTER | MICA_UNICODE_NUMBER | MICA_UNICODE_SPACE)

/* Letters, numbers, white space, or the rest (0). A byte that is no character is of the rest. */
static unsigned kind_at(const char *text, size_t n, size_t *length) {
  return mica_unicode_flags(mica_unicode_next(text, n, length)) & KINDS;
}

/* Where the characters of one kind from `at` on end; *last: where the last of them begins. */
static size_t run_end(const char *text, size_t n, size_t at, unsigned kind, size_t *last) {
  size_t length;
  *last = at;
  while (at < n && kind_at(text + at, n - at, &length) == kind) {
    *last = at;
    at += length;
  }
  return at;
}

static size_t word_end(const char *text, size_t n, size_t at) {
  const size_t contraction = mica_contraction(text + at, n - at);
  if (contraction) return at + contraction;
  size_t length, last, start = at;
  unsigned kind = kind_at(text + at, n - at, &length);
  if (text[at] == ' ' && at + 1 < n) {
    const unsigned after = kind_at(text + at + 1, n - at - 1, &length);
    if (after != MICA_UNICODE_SPACE) {
      start = at + 1;
      kind = after;
    }
  }
  const size_t end = run_end(text, n, start, kind, &last);
  /* White space leaves its last character to the word behind it. */
  return kind == MICA_UNICODE_SPACE && end < n && last > at ? last : end;
}

static mica_status encode(const mica_tokenizer *t, const char *text, size_t n, mica_merger *scratch,
                          mica_tokens *out) {
  mica_status status = MICA_OK;
  for (size_t at = 0; at < n && status == MICA_OK;) {
    const size_t end = word_end(text, n, at);
    for (; at < end && status == MICA_OK; at++)
      status = mica_merger_push(scratch, t->of_byte[(unsigned char)text[at]]);
    if (status == MICA_OK) status = mica_merger_run(scratch, t, &t->merges, out);
  }
  return status;
}

const mica_tokenizer_functions mica_tokenizer_kind_bpe = {"bpe", complete, encode};
