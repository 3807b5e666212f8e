/* mica/retriever.h: training encoders for retrieval by two representations of a document: short
 * codes in memory that find candidates, dense vectors on disk that decide between them (Xiao et al.
 * 2022, arXiv 2201.05409).
 *
 *     1. an encoder is trained on random batches (mica_retriever_train), its document vectors are
 *        quantised (mica_quantiser_fit), and it is trained on together with the codewords, so that
 *        codes tell documents apart (mica_contrastive_pq_*)
 *     2. what the codes find for each training query, without the right answers, is what is hard
 *        (mica_mine_negatives)
 *     3. another encoder is trained on batches of queries that have candidates in common
 *        (mica_locality)
 *
 * The two are served as one index: rows are the dense vectors, codes those of the first encoder
 * (mica_index_builder_set_codes), and a query brings both of its vectors (coarse of
 * mica_index_query_options).
 */
#ifndef MICA_RETRIEVER_H
#define MICA_RETRIEVER_H

#include <mica/index.h>
#include <mica/nn.h>
#include <mica/quantise.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- contrastive product quantisation: codewords that are trained as weights ---- */

/* codebook [P, K, D / P] ~ U(-0.1, 0.1), and with `rotated` rotate [D, D], a buffer, the identity
 * at first. P divides D, 2 <= K <= 256; else MICA_ERR_INVALID. */
MICA_API mica_status mica_contrastive_pq_init(mica_node *node, int64_t d, int64_t parts,
                                              int64_t words, bool rotated);
/* Take over a quantiser's codewords and rotation (the identity where it has none); its sizes must
 * be the node's, and a node without `rotate` takes no rotation: MICA_ERR_INVALID. */
MICA_API mica_status mica_contrastive_pq_import(mica_node *node, const mica_quantiser *quantiser);
/* The node as a quantiser, which makes and reads the codes of an index. */
MICA_API mica_status mica_contrastive_pq_export(const mica_node *node, mica_quantiser **out);

/* x R^T, or x without a rotation: x [N, D]. */
MICA_API mica_var mica_contrastive_pq_rotate(mica_tape *t, mica_node *node, mica_var x);
/* What the codes of x stand for, in rotated space [N, D]: each part of x R^T becomes its nearest
 * codeword. Straight through: with w the one-hot choice, the gradient of w is that of
 * softmax_k(-|x'_p - c_pk|^2), so it reaches x and all codewords, and through the product w c the
 * chosen codeword. *code (may be NULL): int64 [N, P]. */
MICA_API mica_var mica_contrastive_pq(mica_tape *t, mica_node *node, mica_var x, mica_var *code);
/* The same from codes, int64 [N, P]; gradients to the codewords. */
MICA_API mica_var mica_contrastive_pq_decode(mica_tape *t, mica_node *node, mica_var code);
/* Queries that stay whole against codes: (q R^T) . decoded, [Q, D] and [N, P] -> [Q, N]. */
MICA_API mica_var mica_contrastive_pq_score(mica_tape *t, mica_node *node, mica_var q,
                                            mica_var code);

/* ---- losses ---- */

typedef struct mica_retriever_loss_options {
  uint32_t size;
  double temperature;           /* scores are divided by it */
  double dense, codes, squares; /* what the terms count */
  bool unrotated; /* squares compare the vector before its rotation, as the published program does;
                     with a rotation that is another thing than the error of the codes */
} mica_retriever_loss_options;
#define MICA_RETRIEVER_LOSS_OPTIONS                                                                \
  { sizeof(mica_retriever_loss_options), 1, 1, 1, 1e-6, false }

typedef struct mica_retriever_losses {
  mica_var dense, codes, squares; /* the terms, not yet weighted; MICA_NONE where not computed */
} mica_retriever_losses;

/* The mean cross entropy of queries q [B, D] with their documents k [B, D] among all documents of
 * the batch and further ones n [M, D] (MICA_NONE: none): logits (q . k, q . n) / t. A pair whose
 * mask, pairs [B, B] or more [B, M] (MICA_NONE: 1 everywhere), is 0 has the score -10000 before the
 * division: document j is right for query i too. A query's own document always counts. */
MICA_API mica_var mica_in_batch_loss(mica_tape *t, mica_var q, mica_var k, mica_var n,
                                     mica_var pairs, mica_var more, double temperature);
/* dense CE(q, k, n) + codes CE(q R^T, k^, n^) + squares (mean |k' - k^|^2 + mean |n' - n^|^2), x^
 * the codes of x and x' = x R^T. A term of weight 0 is not computed. *terms may be NULL. */
MICA_API mica_var mica_contrastive_pq_loss(mica_tape *t, mica_node *node, mica_var q, mica_var k,
                                           mica_var n, mica_var pairs, mica_var more,
                                           const mica_retriever_loss_options *o,
                                           mica_retriever_losses *terms);

/* ---- what is hard, and batches of it ---- */

/* Which documents are right for each of n queries: relevant[at[i]] to relevant[at[i + 1] - 1], at
 * least one, numbers below `documents`. Borrowed. */
typedef struct mica_relevance {
  int64_t queries, documents;
  const int64_t *at, *relevant;
} mica_relevance;

/* The `depth` nearest rows of each query without those that are right for it: their ids, best first
 * (-1 after the last one), to id [Q, depth]. The index' ids are the documents' numbers. `coarse` as
 * in mica_index_query_options, or NULL; `effort` likewise. */
MICA_API mica_status mica_mine_negatives(const mica_index *index, const mica_view *queries,
                                         const mica_view *coarse, const mica_relevance *truth,
                                         int64_t depth, int64_t effort, int64_t *id);

typedef enum mica_walk {
  MICA_WALK_RANDOM, /* queries in random order: no locality */
  MICA_WALK_DEPTH,  /* the query that was met last comes next ("random walk") */
  MICA_WALK_BREADTH /* the query that was met first ("snow sample") */
} mica_walk;

typedef struct mica_locality_options {
  uint32_t size;
  int32_t walk;      /* mica_walk */
  int64_t batch;     /* queries */
  int64_t negatives; /* further documents for each query, drawn from its candidates of ranks
                        [from, to); random documents where those are used up, or there are none */
  int64_t from, to;
  int64_t link_from, link_to; /* a query is linked to its candidates of these ranks */
  uint64_t seed;
} mica_locality_options;
#define MICA_LOCALITY_OPTIONS                                                                      \
  { sizeof(mica_locality_options), MICA_WALK_DEPTH, 128, 1, 0, 200, 0, 200, 0 }

/* Batches of queries that compete for the same documents. Each query is used once an epoch. A batch
 * begins with a query drawn from the unused ones; after each, those linked to its negatives are
 * met, and the next is the last or the first of them, or drawn again when there is none. */
typedef struct mica_locality mica_locality;

/* candidates [Q, depth] as mica_mine_negatives gives them, or NULL (depth 0): none. Both are
 * borrowed. */
MICA_API mica_status mica_locality_create(const mica_relevance *truth, const int64_t *candidates,
                                          int64_t depth, const mica_locality_options *options,
                                          mica_locality **out);
/* NULL does nothing. */
MICA_API void mica_locality_free(mica_locality *s);
/* Begin an epoch; its draws depend on the seed and its number alone. */
MICA_API void mica_locality_begin(mica_locality *s, int64_t epoch);
/* The next batch: queries [batch], for each a right document [batch] and then
 * negative [batch * negatives], all of them different where there are enough documents. Returns how
 * many queries; 0 ends the epoch. */
MICA_API int64_t mica_locality_next(mica_locality *s, int64_t *query, int64_t *positive,
                                    int64_t *negative);

/* ---- training ---- */

/* Vectors [n, D] of these queries or documents. */
typedef mica_var (*mica_retriever_fn)(mica_tape *t, void *ctx, bool documents, int64_t n,
                                      const int64_t *item);

typedef struct mica_retriever_options {
  uint32_t size;
  int64_t epochs;
  const char *optimiser, *schedule;
  double clip; /* of the gradients' norm; 0: none */
  mica_retriever_loss_options loss;
  mica_locality_options batches;
  mica_node *codes; /* a contrastive quantiser that is trained along; NULL: dense vectors alone */
  /* Told before each epoch, NULL: nobody. A status but MICA_OK ends the training. */
  mica_status (*epoch)(void *ctx, int64_t epoch);
  mica_progress_fn progress; /* of steps */
  void *progress_ctx;
} mica_retriever_options;
#define MICA_RETRIEVER_OPTIONS                                                                     \
  {                                                                                                \
    sizeof(mica_retriever_options), 10, "adamw:lr=1e-4", "linear:warmup=1000", 1,                  \
        MICA_RETRIEVER_LOSS_OPTIONS, MICA_LOCALITY_OPTIONS, NULL, NULL, NULL, NULL                 \
  }

typedef struct mica_retriever_result {
  int64_t steps;
  double first_loss, last_loss; /* means over the first and the last epoch */
} mica_retriever_result;

/* One stage of training: batches of mica_locality, vectors of `encode`, the loss above. Trains the
 * trainable entries of params, of which `codes` is a part. result may be NULL. */
MICA_API mica_status mica_retriever_train(mica_params *params, mica_retriever_fn encode, void *ctx,
                                          const mica_relevance *truth, const int64_t *candidates,
                                          int64_t depth, const mica_retriever_options *options,
                                          mica_retriever_result *result);

#ifdef __cplusplus
}
#endif
#endif
