/* Bytes spelt as visible characters, and words of pair merges: what bpe and clip share. */
#ifndef MICA_DATA_BYTE_PIECES_H
#define MICA_DATA_BYTE_PIECES_H

#include "data/tokenizer.h"
#include "data/unicode.h"

#define MICA_WORD_END "</w>" /* ends the spelling of a piece that ends a word */

/* The code point that spells a byte in GPT-2's vocabulary: itself where that is visible. */
uint32_t mica_byte_code(unsigned byte);
/* Add the spellings of all bytes, in the order of GPT-2's vocabulary, each followed by `suffix`. */
mica_status mica_byte_pieces_add(mica_pieces *p, const char *suffix);
/* The tokens of bytes with that suffix; -1 where there is none. */
void mica_byte_pieces_find(const mica_pieces *p, const char *suffix, int32_t of[256]);
/* Complete `plain`: the bytes that each spelling stands for, with a space where a word ends. */
mica_status mica_byte_pieces_plain(mica_tokenizer *t);

/* How many bytes a contraction ('s, 't, 're, 've, 'm, 'll, 'd) at the text's beginning has, or 0.
 */
size_t mica_contraction(const char *text, size_t n);

#endif
