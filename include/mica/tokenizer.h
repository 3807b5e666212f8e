/* mica/tokenizer.h: text as numbers and back.
 *
 * A *tokenizer* cuts a text into *tokens*, numbers below its vocabulary's size. It is immutable and
 * shared by threads. Its JSON text lies in the model file (mica_model_set_tokenizer), so a model
 * needs no other file.
 *
 * Texts are bytes. Those that are not UTF-8 are never an error: the kinds that keep every byte
 * (bytes, bpe, llama2c) give them back when decoded, the others treat each as U+FFFD.
 */
#ifndef MICA_TOKENIZER_H
#define MICA_TOKENIZER_H

#include <mica/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mica_tokenizer_kind {
  MICA_TOKENIZER_BYTES,     /* a token a byte; 256 begins and ends a text and fills it up */
  MICA_TOKENIZER_WORDPIECE, /* BERT (Devlin et al. 2018): words, then the longest pieces */
  MICA_TOKENIZER_BPE,       /* byte-level pair merges (GPT-2, Radford et al. 2019) */
  MICA_TOKENIZER_CLIP,      /* pair merges of lower-cased words that end in </w> (CLIP) */
  MICA_TOKENIZER_LLAMA2C    /* merges by score, the form of llama2.c's tokenizer.bin */
} mica_tokenizer_kind;

typedef struct mica_tokenizer mica_tokenizer;

/* ---- making one ---- */

/* The tokenizer of bytes: 257 tokens. */
MICA_API mica_status mica_tokenizer_bytes(mica_tokenizer **out);
/* Read a vocabulary, told by its contents, .gz or not:
 *   vocab.txt           a piece a line: wordpiece. Cased when a piece outside brackets has a
 * capital letter vocab.json          (encoder.json) a JSON object of token and number, with
 * merges.txt or vocab.bpe in the same folder: bpe, or clip where pieces end in </w> merges.txt
 * (vocab.bpe, bpe_simple_vocab_16e6.txt) pairs of pieces: the vocabulary file beside it, or without
 * one the numbers that GPT-2 and CLIP give tokenizer.json      as the library `tokenizers` writes
 * it, as far as it says one of these kinds tokenizer.bin       llama2.c's form mica_tokenizer_text
 * what this library writes A folder is looked through for these names. */
MICA_API mica_status mica_tokenizer_open(const char *path, mica_tokenizer **out);
/* A tokenizer of the words of n texts: of kind wordpiece, without pieces of words and without case
 * and accents. Words that fewer than `least` of the texts have are left out, and so are the rarest
 * beyond `most` of them (0: all stay); they are one unknown token, as every word that comes later.
 * Token 0 fills up rows, the last ends a text. MICA_ERR_INVALID where no word is left. */
MICA_API mica_status mica_tokenizer_words(int64_t n, const char *const *texts, int64_t least,
                                          int64_t most, mica_tokenizer **out);
/* The tokenizer as one JSON object, for a model file; release with mica_free. */
MICA_API mica_status mica_tokenizer_text(const mica_tokenizer *t, char **out);
/* The same read back. */
MICA_API mica_status mica_tokenizer_parse(const char *text, mica_tokenizer **out);
/* NULL does nothing. */
MICA_API void mica_tokenizer_free(mica_tokenizer *t);

/* ---- the vocabulary ---- */

/* What the vocabulary was told to be. */
MICA_API mica_tokenizer_kind mica_tokenizer_kind_of(const mica_tokenizer *t);
/* "bytes", "wordpiece", "bpe", "clip" or "llama2c". */
MICA_API const char *mica_tokenizer_kind_name(mica_tokenizer_kind kind);
/* Tokens are 0 .. size - 1. */
MICA_API int64_t mica_tokenizer_size(const mica_tokenizer *t);

/* Tokens with a part to play. One token may play several. */
typedef enum mica_token_role {
  MICA_TOKEN_BEGIN,   /* before a text: [CLS], <|startoftext|>, <s> */
  MICA_TOKEN_END,     /* after a text: [SEP], <|endoftext|>, </s> */
  MICA_TOKEN_PAD,     /* fills up short rows of a batch */
  MICA_TOKEN_UNKNOWN, /* what the vocabulary cannot spell */
  MICA_TOKEN_MASK     /* stands for a token to guess */
} mica_token_role;
#define MICA_TOKEN_ROLES 5
/* -1 when no token plays that part. */
MICA_API int64_t mica_tokenizer_special(const mica_tokenizer *t, mica_token_role role);
MICA_API bool mica_tokenizer_is_special(const mica_tokenizer *t, int64_t id);

/* The token of this spelling, -1 when there is none. It is the vocabulary's own spelling, as the
 * files have it: "##ing", "\u0120the", "dog</w>". */
MICA_API int64_t mica_tokenizer_find(const mica_tokenizer *t, const char *spelling, size_t n);
/* The spelling of a token, valid as long as the tokenizer; NULL out of range. It may hold a NUL in
 * a tokenizer of bytes, and ends with one that *n does not count. `n` may be NULL. */
MICA_API const char *mica_tokenizer_token(const mica_tokenizer *t, int64_t id, size_t *n);

/* ---- text to tokens ---- */

typedef struct mica_tokens {
  int64_t *id;
  int64_t n, room;
  int64_t second; /* where the second of two texts begins; n when there is one text */
} mica_tokens;    /* begin with {0} */
/* Release the memory and begin anew. */
MICA_API void mica_tokens_free(mica_tokens *tokens);

typedef struct mica_encode_options {
  uint32_t size;
  bool begin, end; /* add the tokens that begin and end a text, where the kind has them */
  bool special;    /* a special token's spelling in the text is that token; else it is mere text,
                      so that a text cannot smuggle one in */
  int64_t length;  /* the most tokens, those of begin and end among them: more are left out at the
                      end of the text. 0: any number */
} mica_encode_options;
#define MICA_ENCODE_OPTIONS                                                                        \
  { sizeof(mica_encode_options), true, true, false, 0 }

/* The tokens of text[0..n), which replace those in `out` (its memory is used again). Takes time in
 * proportion to n log n at most, whatever the text. `o` may be NULL. */
MICA_API mica_status mica_tokenizer_encode(const mica_tokenizer *t, const char *text, size_t n,
                                           const mica_encode_options *o, mica_tokens *out);
/* The same of two texts: begin, a, end, b, end ([CLS] a [SEP] b [SEP]). When they are too long for
 * `length`, the longer one is cut until both are as long, then both. */
MICA_API mica_status mica_tokenizer_encode_pair(const mica_tokenizer *t, const char *a, size_t na,
                                                const char *b, size_t nb,
                                                const mica_encode_options *o, mica_tokens *out);
/* The tokens of n texts, which end with a NUL, as rows of a batch: ids [n, length] with begin and
 * end, cut to `length`, filled up with the token for that (or, where there is none, the one that
 * ends a text, or 0). `count` [n]: the tokens of each before it is filled up, NULL: not asked. */
MICA_API mica_status mica_tokenizer_encode_rows(const mica_tokenizer *t, int64_t n,
                                                const char *const *texts, int64_t length,
                                                int64_t *ids, int64_t *count);

/* ---- tokens to text ---- */

/* The text of n tokens, without special ones unless `special`; *text ends with a NUL beyond its
 * *bytes bytes (it may hold others); release with mica_free. A number outside the vocabulary is
 * MICA_ERR_INVALID. `bytes` may be NULL. */
MICA_API mica_status mica_tokenizer_decode(const mica_tokenizer *t, int64_t n, const int64_t *ids,
                                           bool special, char **text, size_t *bytes);
/* One token after another: the bytes that `id` adds after the token `previous` (-1: it is the
 * first). They are valid as long as the tokenizer, and may end in the middle of a character. A
 * special token gives its spelling. NULL out of range. */
MICA_API const char *mica_tokenizer_piece(const mica_tokenizer *t, int64_t previous, int64_t id,
                                          size_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
