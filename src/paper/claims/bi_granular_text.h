/* Paragraphs of the Brown corpus as documents, and an encoder of them and of questions after them:
 * what the experiments of bi-granular-retrieval share. */
#ifndef MICA_PAPER_CLAIMS_BI_GRANULAR_TEXT_H
#define MICA_PAPER_CLAIMS_BI_GRANULAR_TEXT_H

#include <mica/paper.h>
#include <mica/retriever.h>

/* Documents of at least 40 words, cut after 100; words that are seen once in all are left out. */
typedef struct mica_paragraphs {
  int64_t n, tests;   /* the last `tests` of the n documents give the test questions */
  int64_t *at, *word; /* document i: word[at[i]] to word[at[i + 1] - 1] */
  int64_t words;      /* of the vocabulary */
  double *idf;        /* [words] ln(n / documents that have it) */
  int64_t *own;       /* [n + 1] 0, 1, ...: each question's right document is its own */
} mica_paragraphs;

/* Draw n of the corpus' paragraphs. */
mica_status mica_paragraphs_read(mica_key key, int64_t n, int64_t tests, mica_paragraphs *out);
void mica_paragraphs_free(mica_paragraphs *p);

enum { MICA_PARAGRAPH_COLUMNS = 64, MICA_QUESTION_WORDS = 8 };

/* Mean of word vectors, weighted by idf, then a linear layer and a layer norm. */
typedef struct mica_paragraph_encoder {
  const mica_paragraphs *text;
  mica_params *params;
  mica_key key;         /* of the questions */
  int64_t *question;    /* [n, 8] words of the questions, drawn anew for each epoch */
  const int64_t *asked; /* where questions are others than those of the epoch; or NULL */
} mica_paragraph_encoder;

mica_status mica_paragraph_encoder_create(mica_engine *engine, const mica_paragraphs *text,
                                          uint64_t seed, mica_key key, mica_paragraph_encoder *out);
/* The same weights, to be trained further. */
mica_status mica_paragraph_encoder_clone(const mica_paragraph_encoder *e,
                                         mica_paragraph_encoder *out);
void mica_paragraph_encoder_free(mica_paragraph_encoder *e);

/* As mica_retriever_train calls it: e is a mica_paragraph_encoder. */
mica_var mica_paragraph_encode(mica_tape *t, void *e, bool documents, int64_t n,
                               const int64_t *item);
mica_status mica_paragraph_epoch(void *e, int64_t epoch);

/* Words of questions after all documents, eight positions of each: [n, 8]. */
void mica_paragraph_questions(const mica_paragraphs *text, mica_key key, int64_t *word);
/* Vectors [end - begin, 64] of documents, or of these questions (NULL: documents). */
mica_status mica_paragraph_vectors(const mica_paragraph_encoder *e, const int64_t *question,
                                   int64_t begin, int64_t end, float *x);

#endif
