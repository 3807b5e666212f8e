/* mica/text.h: texts as sequences of tokens, for training on them.
 *
 * A *token text* is one file of text, or a folder with train.txt and, where they are there, val.txt
 * and test.txt, as tokens of a tokenizer. It is not held in memory: with the tokenizer of bytes the
 * file is read where it lies, with any other its tokens are written to a temporary file first, a
 * piece of the text at a time. So it may be larger than memory. The files must not change while it
 * is used.
 */
#ifndef MICA_TEXT_H
#define MICA_TEXT_H

#include <mica/dataset.h>
#include <mica/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_token_text mica_token_text;

typedef struct mica_token_text_options {
  uint32_t size;
  double validation; /* the share at the end of the training part that becomes the validation part
                        where none is given, 0 to below 1 */
} mica_token_text_options;
#define MICA_TOKEN_TEXT_OPTIONS                                                                    \
  { sizeof(mica_token_text_options), 0.1 }

/* The tokenizer must outlive it. MICA_ERR_FORMAT for a text without a token. Texts are cut for the
 * tokenizer at ends of lines, and where a line is longer than 1 MiB inside it. */
MICA_API mica_status mica_token_text_open(const char *path, const mica_tokenizer *tokenizer,
                                          const mica_token_text_options *options,
                                          mica_token_text **out);
/* NULL does nothing. */
MICA_API void mica_token_text_free(mica_token_text *text);
MICA_API const mica_tokenizer *mica_token_text_tokenizer(const mica_token_text *text);
/* Tokens of a part, and the bytes of text that they stand for; 0 for a part that is not there. */
MICA_API int64_t mica_token_text_count(const mica_token_text *text, mica_part part);
MICA_API int64_t mica_token_text_bytes(const mica_token_text *text, mica_part part);
/* Tokens begin .. begin + n - 1 of a part; a range outside it is MICA_ERR_INVALID. Any number of
 * threads may read at once. */
MICA_API mica_status mica_token_text_read(const mica_token_text *text, mica_part part,
                                          int64_t begin, int64_t n, int64_t *ids);

#ifdef __cplusplus
}
#endif
#endif
