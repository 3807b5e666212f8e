/* CLIP's pair merges (Radford et al. 2021): the text in NFC and small letters is cut into words by
 *   's|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
 * and the bytes of each word merge, the last of them marked as the word's end. As the fast
 * tokenizer of `transformers` does it: the original's repairs (ftfy, HTML entities) are the
 * caller's.
 */
#include "data/byte_pieces.h"

#include "base/utf8.h"

static mica_status complete(mica_tokenizer *t) {
  mica_status status = mica_tokenizer_cast(t, MICA_TOKEN_BEGIN, "<|startoftext|>");
  if (status == MICA_OK) status = mica_tokenizer_cast(t, MICA_TOKEN_END, "<|endoftext|>");
  mica_byte_pieces_find(&t->spelling, "", t->of_byte);
  mica_byte_pieces_find(&t->spelling, MICA_WORD_END, t->of_last);
  for (int b = 0; b < 256; b++)
    if (t->of_byte[b] < 0 || t->of_last[b] < 0)
      return mica_fail(MICA_ERR_FORMAT, "the vocabulary has no token for byte %d%s", b,
                       t->of_byte[b] < 0 ? "" : " that ends a word");
  return status == MICA_OK ? mica_byte_pieces_plain(t) : status;
}

static mica_status normalise(const char *text, size_t n, mica_bytes *out) {
  mica_codes codes = {0}, parts = {0};
  mica_status status = mica_codes_read(&codes, text, n);
  if (status == MICA_OK) status = mica_codes_decompose(&parts, &codes);
  if (status == MICA_OK) mica_codes_compose(&parts);
  for (size_t i = 0; i < parts.n && status == MICA_OK; i++) {
    char small[4];
    bool dot;
    mica_bytes_append(out, small, mica_utf8_encode(mica_unicode_lower(parts.code[i], &dot), small));
    if (dot) mica_bytes_append(out, small, mica_utf8_encode(0x307, small));
    status = out->status;
  }
  mica_codes_free(&codes);
  mica_codes_free(&parts);
  return status;
}

#define KINDS (MICA_UNICODE_LETTER | MICA_UNICODE_NUMBER | MICA_UNICODE_SPACE)

static size_t word_end(const char *text, size_t n, size_t at) {
  const size_t contraction = mica_contraction(text + at, n - at);
  if (contraction) return at + contraction;
  size_t length;
  const unsigned kind = mica_unicode_flags(mica_unicode_next(text + at, n - at, &length)) & KINDS;
  at += length;
  if (kind == MICA_UNICODE_NUMBER) return at;
  while (at < n &&
         (mica_unicode_flags(mica_unicode_next(text + at, n - at, &length)) & KINDS) == kind)
    at += length;
  return at;
}

static mica_status encode_words(const mica_tokenizer *t, const char *text, size_t n,
                                mica_merger *scratch, mica_tokens *out) {
  mica_status status = MICA_OK;
  for (size_t at = 0; at < n && status == MICA_OK;) {
    size_t length;
    if (mica_unicode_flags(mica_unicode_next(text + at, n - at, &length)) & MICA_UNICODE_SPACE) {
      at += length;
      continue;
    }
    const size_t end = word_end(text, n, at);
    for (; at < end && status == MICA_OK; at++) {
      const int32_t *of = at + 1 < end ? t->of_byte : t->of_last;
      status = mica_merger_push(scratch, of[(unsigned char)text[at]]);
    }
    if (status == MICA_OK) status = mica_merger_run(scratch, t, &t->merges, out);
  }
  return status;
}

static mica_status encode(const mica_tokenizer *t, const char *text, size_t n, mica_merger *scratch,
                          mica_tokens *out) {
  mica_bytes plain = {0};
  mica_status status = normalise(text, n, &plain);
  if (status == MICA_OK && plain.n) status = encode_words(t, plain.data, plain.n, scratch, out);
  mica_bytes_free(&plain);
  return status;
}

const mica_tokenizer_functions mica_tokenizer_kind_clip = {"clip", complete, encode};
