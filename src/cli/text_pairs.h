/* Questions and the texts that answer them: what `mica train` makes an encoder for retrieval of. */
#ifndef MICA_CLI_TEXT_PAIRS_H
#define MICA_CLI_TEXT_PAIRS_H

#include <mica/dataset.h>
#include <mica/tokenizer.h>

/* The questions of one part, with the numbers of the texts that are right for each. */
typedef struct text_pairs_part {
  int64_t n;
  int64_t *question;   /* [n] numbers */
  int64_t *at, *right; /* [n + 1], and texts right[at[i]] to right[at[i + 1] - 1] */
} text_pairs_part;

/* Texts by number; questions and what is asked for are one list, so equal ones have one number. */
typedef struct text_pairs {
  char **text; /* [n] */
  int64_t n;
  int64_t *document, documents; /* the numbers of what may be an answer, ascending */
  text_pairs_part part[MICA_PART_COUNT];
  int64_t length;
  int64_t *token;  /* [n, length], filled up */
  int64_t *tokens; /* [n] before that */
} text_pairs;

/* Is `path` a list of pairs of texts, by its name and first line? */
bool text_pairs_here(const char *path);
/* FILE.csv or .tsv with the columns question (query, anchor) and text (document, passage, answer,
 * positive) and, if there, part; without a validation or test part this share of the questions is
 * held out. Release with text_pairs_free. */
mica_status text_pairs_read(const char *path, double validation, text_pairs *out);
/* Their tokens, rows of `length`. */
mica_status text_pairs_encode(text_pairs *p, const mica_tokenizer *tokenizer, int64_t length);
void text_pairs_free(text_pairs *p);

#endif
