/* What the kinds of tokenizer share: the vocabulary, the merges, and how each kind is made and cuts
 * a text. */
#ifndef MICA_DATA_TOKENIZER_H
#define MICA_DATA_TOKENIZER_H

#include "base/json.h"

#include <mica/tokenizer.h>

/* Bounds for what a file may claim; the largest vocabularies in use have about 256000 tokens. */
#define MICA_VOCABULARY_MAX ((int64_t)1 << 22)
#define MICA_SPELLING_MAX   ((size_t)1 << 16)
#define MICA_TOKENIZER_FILE ((size_t)1 << 28)

#define MICA_TOKENIZER_KINDS 5

/* ---- texts by number, and numbers by text ---- */

/* Each text lies in one block and ends with a NUL; it may hold others. The first of equal texts is
 * found. Begin with {0}. */
typedef struct mica_pieces {
  char *text;
  size_t bytes, bytes_room;
  size_t *begin; /* [n + 1] */
  int64_t n, room;
  size_t longest;
  int64_t *slot;
  uint64_t slots;
} mica_pieces;
mica_status mica_pieces_add(mica_pieces *p, const char *text, size_t n);
/* Make texts findable; add none afterwards. */
mica_status mica_pieces_index(mica_pieces *p);
int64_t mica_pieces_find(const mica_pieces *p, const char *text, size_t n);
void mica_pieces_free(mica_pieces *p);
static inline const char *mica_pieces_text(const mica_pieces *p, int64_t i, size_t *n) {
  *n = p->begin[i + 1] - p->begin[i] - 1;
  return p->text + p->begin[i];
}

/* ---- merges of neighbours ---- */

/* Which pairs of tokens become one, in the order of their ranks. */
typedef struct mica_merges {
  int32_t (*pair)[3]; /* left, right, what they become */
  int64_t n, room;
  int64_t *slot;
  uint64_t slots;
} mica_merges;
mica_status mica_merges_add(mica_merges *m, int32_t left, int32_t right, int32_t whole);
mica_status mica_merges_index(mica_merges *m);
void mica_merges_free(mica_merges *m);

/* Scratch of one encoding: neighbours as a list, candidates as a heap. Begin with {0}. */
typedef struct mica_merger {
  int32_t *symbol;
  int64_t *next, *previous;
  int64_t n, room;
  struct mica_candidate *heap;
  int64_t candidates, heap_room;
  char *pair; /* two spellings */
} mica_merger;
mica_status mica_merger_push(mica_merger *g, int32_t symbol);
/* Merge the symbols until no pair can, always the best pair, the first of equal ones, by rank in
 * `merges` or, when it is NULL, by the scores of a vocabulary of llama2.c's kind; append what is
 * left to `out` and forget the symbols. */
mica_status mica_merger_run(mica_merger *g, const mica_tokenizer *t, const mica_merges *merges,
                            mica_tokens *out);
void mica_merger_free(mica_merger *g);

/* ---- the tokenizer ---- */

struct mica_tokenizer {
  mica_tokenizer_kind kind;
  mica_pieces spelling; /* [n] as files have them */
  mica_pieces plain;    /* [n] the bytes that a token stands for */
  int64_t special[MICA_TOKEN_ROLES];
  int64_t *added; /* tokens that are special, the longest spelling first */
  int64_t n_added;
  mica_merges merges;      /* bpe, clip */
  float *score;            /* llama2c */
  int32_t of_byte[256];    /* bpe: a byte's token; clip: the same within a word */
  int32_t of_last[256];    /* clip: of a byte that ends a word */
  bool lowercase, accents; /* wordpiece: fold case; keep accents */
  bool chinese;            /* wordpiece: ideographs are words */
  int64_t word_limit;      /* wordpiece: longer words are unknown */
};

/* A kind of tokenizer. */
typedef struct mica_tokenizer_functions {
  const char *name;
  /* Complete what spelling, merges and special tokens say: `plain`, byte tables, checks. */
  mica_status (*complete)(mica_tokenizer *t);
  /* Append the tokens of a text without special ones. */
  mica_status (*encode)(const mica_tokenizer *t, const char *text, size_t n, mica_merger *scratch,
                        mica_tokens *out);
} mica_tokenizer_functions;
extern const mica_tokenizer_functions mica_tokenizer_kind_bytes, mica_tokenizer_kind_wordpiece,
    mica_tokenizer_kind_bpe, mica_tokenizer_kind_clip, mica_tokenizer_kind_llama2c;

/* An empty one: no token, no special one. */
mica_status mica_tokenizer_create(mica_tokenizer_kind kind, mica_tokenizer **out);
/* The token is special; it may be said twice. */
mica_status mica_tokenizer_add_special(mica_tokenizer *t, int64_t id);
/* The next best merge; the spellings are indexed. MICA_ERR_FORMAT when no token is spelt as both
 * together. */
mica_status mica_tokenizer_add_merge(mica_tokenizer *t, int64_t left, int64_t right);
/* The same by spelling. */
mica_status mica_tokenizer_merge_spelling(mica_tokenizer *t, const char *left, size_t a,
                                          const char *right, size_t b);
/* Let the token of this spelling play a part, and be special, when there is one and the part is
 * free. */
mica_status mica_tokenizer_cast(mica_tokenizer *t, mica_token_role role, const char *spelling);
/* Index the spellings, complete the kind: then it is ready. After an error it is still to be freed.
 */
mica_status mica_tokenizer_finish(mica_tokenizer *t);

/* Finish it and hand it over, or free it when `status` or that is an error. */
mica_status mica_tokenizer_hand_over(mica_tokenizer *t, mica_status status, mica_tokenizer **out);

mica_status mica_tokens_push(mica_tokens *out, int64_t id);

/* A word of a text as wordpiece sees it: n code points. */
typedef mica_status (*mica_word_fn)(void *ctx, const uint32_t *code, size_t n);
/* Every word and mark of punctuation of a text, in order, folded as the tokenizer says. */
mica_status mica_tokenizer_each_word(const mica_tokenizer *t, const char *text, size_t n,
                                     mica_word_fn fn, void *ctx);

/* ---- files: errors do not name the one that was opened ---- */

/* Read what is in a file. `folder`: where further files may lie, NULL for none. */
mica_status mica_tokenizer_read(const uint8_t *bytes, size_t n, const char *folder,
                                mica_tokenizer **out);
mica_status mica_tokenizer_read_llama2c(const uint8_t *bytes, size_t n, mica_tokenizer **out);
/* mica_tokenizer_text's object. */
mica_status mica_tokenizer_from_json(const mica_json *v, mica_tokenizer **out);
/* tokenizer.json of the library `tokenizers`. */
mica_status mica_tokenizer_read_library(const mica_json *root, mica_tokenizer **out);
/* Spellings from vocab.json, indexed. */
mica_status mica_tokenizer_read_vocabulary(const mica_json *vocabulary, mica_tokenizer *t);
bool mica_vocabulary_has_word_ends(const mica_json *vocabulary);

#endif
