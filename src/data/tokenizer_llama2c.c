/* The form of llama2.c: scored pieces, a leading space, bytes for what no piece spells. */
#include "data/tokenizer.h"

#include "data/source.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define BYTES 3 /* the token of byte 0; <unk>, <s> and </s> come before it */

static mica_status complete(mica_tokenizer *t) {
  mica_status status = MICA_OK;
  if (t->spelling.n < BYTES + 256)
    return mica_fail(MICA_ERR_FORMAT, "%lld tokens; llama2.c's form has at least %d",
                     (long long)t->spelling.n, BYTES + 256);
  if (!t->score) return mica_fail(MICA_ERR_FORMAT, "the tokens have no scores");
  for (int64_t i = 0; i < t->spelling.n && status == MICA_OK; i++) {
    size_t n;
    const char *text = mica_pieces_text(&t->spelling, i, &n);
    char byte[8];
    if (i < BYTES || i >= BYTES + 256) {
      status = mica_pieces_add(&t->plain, text, n);
      continue;
    }
    snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)(i - BYTES) & 255u);
    if (strcmp(text, byte) != 0)
      return mica_fail(MICA_ERR_FORMAT, "token %lld is '%.40s'; llama2.c's form has %s there",
                       (long long)i, text, byte);
    status = mica_pieces_add(&t->plain, (const char[]){(char)(i - BYTES)}, 1);
  }
  t->special[MICA_TOKEN_UNKNOWN] = 0;
  t->special[MICA_TOKEN_BEGIN] = 1;
  t->special[MICA_TOKEN_END] = 2;
  return status;
}

/* Bytes up to the next that begins a character, four at most: llama2.c's way of finding
 * characters, which invalid text goes through too. */
static size_t character(const char *text, size_t n) {
  size_t length = 1;
  while (length < 4 && length < n && ((unsigned char)text[length] & 0xc0) == 0x80) length++;
  return length;
}

static mica_status push(const mica_tokenizer *t, const char *text, size_t n, mica_merger *scratch) {
  const int64_t id = mica_pieces_find(&t->spelling, text, n);
  if (id >= 0) return mica_merger_push(scratch, (int32_t)id);
  mica_status status = MICA_OK;
  for (size_t i = 0; i < n && status == MICA_OK; i++)
    status = mica_merger_push(scratch, BYTES + (unsigned char)text[i]);
  return status;
}

static mica_status encode(const mica_tokenizer *t, const char *text, size_t n, mica_merger *scratch,
                          mica_tokens *out) {
  mica_status status = push(t, " ", 1, scratch);
  for (size_t i = 0; i < n && status == MICA_OK;) {
    const size_t length = character(text + i, n - i);
    status = push(t, text + i, length, scratch);
    i += length;
  }
  return status == MICA_OK ? mica_merger_run(scratch, t, NULL, out) : status;
}

const mica_tokenizer_functions mica_tokenizer_kind_llama2c = {"llama2c", complete, encode};

/* int32 length of the longest piece, then for each piece float32 score, int32 length, bytes. */
static mica_status read(mica_tokenizer *t, const uint8_t *bytes, size_t n) {
  int64_t room = 0;
  for (size_t at = 4; at < n;) {
    if (n - at < 8) return mica_fail(MICA_ERR_FORMAT, "the file ends within a token");
    const uint32_t bits = mica_le32(bytes + at), length = mica_le32(bytes + at + 4);
    at += 8;
    if (length > n - at || length > MICA_SPELLING_MAX)
      return mica_fail(MICA_ERR_FORMAT, "token %lld claims %lu bytes", (long long)t->spelling.n,
                       (unsigned long)length);
    if (t->spelling.n == room) {
      room = room ? room * 2 : 512;
      float *score = mica_realloc_array(t->score, (size_t)room, sizeof *score);
      if (!score) return MICA_ERR_MEMORY;
      t->score = score;
    }
    float *score = &t->score[t->spelling.n];
    memcpy(score, &bits, sizeof *score);
    if (!isfinite(*score))
      return mica_fail(MICA_ERR_FORMAT, "the score of token %lld is not finite",
                       (long long)t->spelling.n);
    const mica_status status = mica_pieces_add(&t->spelling, (const char *)bytes + at, length);
    if (status != MICA_OK) return status;
    at += length;
  }
  return MICA_OK;
}

mica_status mica_tokenizer_read_llama2c(const uint8_t *bytes, size_t n, mica_tokenizer **out) {
  mica_tokenizer *t;
  *out = NULL;
  mica_status status = mica_tokenizer_create(MICA_TOKENIZER_LLAMA2C, &t);
  if (status != MICA_OK) return status;
  status = read(t, bytes, n);
  return mica_tokenizer_hand_over(t, status, out);
}
