/* WordPiece as BERT has it (Devlin et al. 2018): control characters go, ideographs and punctuation
 * are words, accents and capitals are folded, and each word is cut into the longest pieces from the
 * left, those inside a word spelt with "##". */
#include "data/tokenizer.h"

#include "base/utf8.h"
#include "data/unicode.h"

#include <string.h>

#define WORD_LIMIT_MAX 256 /* code points */

static mica_status complete(mica_tokenizer *t) {
  static const char *const spelling[MICA_TOKEN_ROLES] = {"[CLS]", "[SEP]", "[PAD]", "[UNK]",
                                                         "[MASK]"};
  mica_status status = MICA_OK;
  for (int i = 0; i < MICA_TOKEN_ROLES && status == MICA_OK; i++)
    status = mica_tokenizer_cast(t, (mica_token_role)i, spelling[i]);
  if (status == MICA_OK && t->special[MICA_TOKEN_UNKNOWN] < 0)
    return mica_fail(MICA_ERR_FORMAT, "the vocabulary has no [UNK]");
  if (t->word_limit < 1 || t->word_limit > WORD_LIMIT_MAX)
    return mica_fail(MICA_ERR_FORMAT, "words of up to %lld characters; expected 1 to %d",
                     (long long)t->word_limit, WORD_LIMIT_MAX);
  mica_bytes word = {0};
  for (int64_t i = 0; i < t->spelling.n && status == MICA_OK; i++) {
    size_t n;
    const char *text = mica_pieces_text(&t->spelling, i, &n);
    mica_bytes_clear(&word);
    if (n >= 2 && memcmp(text, "##", 2) == 0) {
      mica_bytes_append(&word, text + 2, n - 2);
    } else {
      mica_bytes_byte(&word, ' ');
      mica_bytes_append(&word, text, n);
    }
    status = word.status;
    if (status == MICA_OK) status = mica_pieces_add(&t->plain, word.n ? word.data : "", word.n);
  }
  mica_bytes_free(&word);
  return status;
}

/* The blocks of ideographs that are words by themselves; kana and Hangul are not. */
static bool is_ideograph(uint32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
         (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b820 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

/* Punctuation, and every other visible ASCII character that is neither letter nor digit. */
static bool is_punctuation(uint32_t c, unsigned flags) {
  if (c < 128) return c > 32 && c < 127 && !(flags & (MICA_UNICODE_LETTER | MICA_UNICODE_NUMBER));
  return flags & MICA_UNICODE_PUNCTUATION;
}

static mica_status clean(const mica_tokenizer *t, const char *text, size_t n, mica_codes *out) {
  mica_status status = MICA_OK;
  for (size_t i = 0, length; i < n && status == MICA_OK; i += length) {
    uint32_t c = mica_unicode_next(text + i, n - i, &length);
    const unsigned flags = mica_unicode_flags(c);
    const bool line = c == '\t' || c == '\n' || c == '\r';
    if (!c || c == MICA_UNICODE_REPLACEMENT || (flags & MICA_UNICODE_CONTROL && !line)) continue;
    if (flags & MICA_UNICODE_SPACE) c = ' ';
    const bool alone = t->chinese && is_ideograph(c);
    if (alone) status = mica_codes_push(out, ' ');
    if (status == MICA_OK) status = mica_codes_push(out, c);
    if (alone && status == MICA_OK) status = mica_codes_push(out, ' ');
  }
  return status;
}

/* Drop accents and capitals: from `clean` to `parts`, which is what to read then. */
static mica_status fold(const mica_tokenizer *t, const mica_codes *cleaned, mica_codes *parts) {
  mica_codes small = {0};
  mica_status status = MICA_OK;
  if (!t->accents) status = mica_codes_decompose(parts, cleaned);
  const mica_codes *from = t->accents ? cleaned : parts;
  for (size_t i = 0; i < from->n && status == MICA_OK; i++) {
    uint32_t c = from->code[i];
    bool dot = false;
    if (!t->accents && c >= 0x300 && mica_unicode_flags(c) & MICA_UNICODE_MARK) continue;
    if (t->lowercase) c = mica_unicode_lower(c, &dot);
    status = mica_codes_push(&small, c);
    if (dot && status == MICA_OK) status = mica_codes_push(&small, 0x307);
  }
  mica_codes_free(parts);
  *parts = small;
  return status;
}

typedef struct encoding {
  const mica_tokenizer *t;
  mica_tokens *out;
} encoding;

/* One word's pieces; a word that cannot be spelt is one unknown token. */
static mica_status encode_word(void *ctx, const uint32_t *code, size_t n) {
  const mica_tokenizer *t = ((encoding *)ctx)->t;
  mica_tokens *out = ((encoding *)ctx)->out;
  const int64_t first = out->n;
  char word[2 + 4 * WORD_LIMIT_MAX] = "##", *const text = word + 2;
  size_t end[WORD_LIMIT_MAX + 1] = {0}; /* of the bytes of i code points */
  bool known = n <= (size_t)t->word_limit;
  for (size_t i = 0; known && i < n; i++)
    end[i + 1] = end[i] + mica_utf8_encode(code[i], text + end[i]);
  mica_status status = MICA_OK;
  for (size_t i = 0; known && i < n && status == MICA_OK;) {
    size_t k = n;
    int64_t id = -1;
    char kept[2];
    char *begin = i ? text + end[i] - 2 : text;
    memcpy(kept, begin, 2);
    if (i) memcpy(begin, "##", 2);
    for (; k > i && id < 0; k--) {
      const size_t length = (size_t)(text + end[k] - begin);
      id = length <= t->spelling.longest ? mica_pieces_find(&t->spelling, begin, length) : -1;
    }
    memcpy(begin, kept, 2);
    known = id >= 0;
    if (known) status = mica_tokens_push(out, id);
    i = k + 1;
  }
  if (known || status != MICA_OK) return status;
  out->n = first;
  return mica_tokens_push(out, t->special[MICA_TOKEN_UNKNOWN]);
}

static mica_status each_word(const mica_codes *c, mica_word_fn fn, void *ctx) {
  mica_status status = MICA_OK;
  size_t begin = 0;
  for (size_t i = 0; i <= c->n && status == MICA_OK; i++) {
    const unsigned flags = i < c->n ? mica_unicode_flags(c->code[i]) : MICA_UNICODE_SPACE;
    const bool alone = i < c->n && is_punctuation(c->code[i], flags);
    if (!alone && !(flags & MICA_UNICODE_SPACE)) continue;
    if (i > begin) status = fn(ctx, c->code + begin, i - begin);
    if (alone && status == MICA_OK) status = fn(ctx, c->code + i, 1);
    begin = i + 1;
  }
  return status;
}

mica_status mica_tokenizer_each_word(const mica_tokenizer *t, const char *text, size_t n,
                                     mica_word_fn fn, void *ctx) {
  mica_codes cleaned = {0}, folded = {0};
  mica_status status = clean(t, text, n, &cleaned);
  if (status == MICA_OK) status = fold(t, &cleaned, &folded);
  if (status == MICA_OK) status = each_word(&folded, fn, ctx);
  mica_codes_free(&cleaned);
  mica_codes_free(&folded);
  return status;
}

static mica_status encode(const mica_tokenizer *t, const char *text, size_t n, mica_merger *scratch,
                          mica_tokens *out) {
  (void)scratch;
  encoding e = {t, out};
  return mica_tokenizer_each_word(t, text, n, encode_word, &e);
}

const mica_tokenizer_functions mica_tokenizer_kind_wordpiece = {"wordpiece", complete, encode};
