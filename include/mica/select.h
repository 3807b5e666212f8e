/* mica/select.h: which training examples matter: scores, and subsets chosen by them.
 *
 * A score is a component of kind MICA_KIND_SCORE: it gives each example a number from a network in
 * the middle of its training, larger for the harder example. Scores of several runs (other initial
 * values, another order of the data) are averaged: over scores, not over networks. From scores a
 * subset is kept, whose item numbers `mica train --subset` and mica_dataset_subset take.
 */
#ifndef MICA_SELECT_H
#define MICA_SELECT_H

#include <mica/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- scores ---- */

/* What a score may look at: n examples in evaluation mode, their logits and labels, the features
 * that the last layer reads, and the loss of each as a function on a tape (losses [n] in out[0];
 * every input has the examples along its leading dimension). */
typedef struct mica_score_input {
  int64_t n, classes, width;
  const float *logits;   /* [n, classes] */
  const int64_t *labels; /* [n] */
  const float *features; /* [n, width]; NULL: none */
  mica_tape *t;
  mica_fn loss;
  void *loss_ctx;
  int n_in;
  const mica_var *in;
} mica_score_input;

/* The table of a component of kind MICA_KIND_SCORE, whose `needs` say what it looks at. */
typedef struct mica_score_functions {
  uint32_t size;
  mica_status (*score)(const mica_score_input *in, const void *options, double *out); /* [n] */
} mica_score_functions;

/* Score every example of a stream's epoch 0 by the score of a specification ("el2n"): score[id] of
 * the batch's ids where it has them, else in the stream's order; n examples in all. The network
 * runs in evaluation mode, so the stream should neither shuffle nor augment. With `add` the scores
 * are added to what is there, for means over runs. */
MICA_API mica_status mica_score_examples(const mica_net *net, const char *spec,
                                         const mica_stream *stream, int64_t n, bool add,
                                         double *score);

/* How often each of n examples was forgotten (Toneva et al. 2019): at every visit its answer is
 * right or wrong, and right before, wrong now counts one; before the first visit it was wrong. */
typedef struct mica_forgetting mica_forgetting;
MICA_API mica_status mica_forgetting_create(int64_t n, mica_forgetting **out);
MICA_API void mica_forgetting_free(mica_forgetting *forgetting);
/* m visits, in order; ids out of range are MICA_ERR_INVALID. */
MICA_API mica_status mica_forgetting_visit(mica_forgetting *forgetting, int64_t m,
                                           const int64_t *ids, const bool *right);
/* The counts as scores [n]: infinity for an example that was never right, or never visited. */
MICA_API void mica_forgetting_scores(const mica_forgetting *forgetting, double *score);
/* A visitor of training (mica_train_options.visit) that counts; ctx is a mica_forgetting. Batches
 * need ids. */
MICA_API int mica_forgetting_visitor(void *ctx, const mica_batch *batch, const mica_view *logits);

/* ---- subsets ---- */

typedef enum mica_select_order {
  MICA_SELECT_HARDEST,  /* the largest scores */
  MICA_SELECT_EASIEST,  /* the smallest */
  MICA_SELECT_ABSOLUTE, /* the largest absolute scores */
  MICA_SELECT_RANDOM    /* by the seed */
} mica_select_order;

typedef struct mica_select_options {
  uint32_t size;
  mica_select_order order;
  double keep;   /* share of the examples, above 0 to 1 */
  double skip;   /* share left out first, from the end that is kept: the very hardest, which may be
                    wrong labels; with MICA_SELECT_EASIEST a window above the lowest */
  bool balanced; /* the same share of each class */
  uint64_t seed;
} mica_select_options;
#define MICA_SELECT_OPTIONS                                                                        \
  { sizeof(mica_select_options), MICA_SELECT_HARDEST, 0.5, 0, false, 0 }

/* Choose among n examples: their numbers, ascending, into kept [n], how many into *count (shares
 * are rounded to the nearest number). Ties go to the smaller number. `score` may be NULL for a
 * random choice, `label` [n] (0 and up) without `balanced`. NaN is MICA_ERR_NUMERIC. */
MICA_API mica_status mica_select_examples(int64_t n, const double *score, const int64_t *label,
                                          const mica_select_options *options, int64_t *kept,
                                          int64_t *count);

/* How well scores find the examples whose labels are wrong: the area under the ROC curve, and of
 * the k largest scores the share that is wrong (k 0: as many as are wrong). */
typedef struct mica_noise_report {
  mica_estimate auroc;
  double precision;
  int64_t k;
} mica_noise_report;
MICA_API mica_status mica_score_noise(int64_t n, const double *score, const bool *wrong, int64_t k,
                                      mica_noise_report *out);

/* ---- labels that their neighbours share ---- */

typedef struct mica_clean_options {
  uint32_t size;
  int64_t k;     /* neighbours of each example, by cosine, that are looked at */
  int64_t least; /* so many of them must have its label (and be verified) */
  /* Is it so that examples i and j show the same, by other means (a geometric check)? Asked of
   * neighbours with the same label alone, until `least` are found. NULL: it is. */
  bool (*verify)(void *ctx, int64_t i, int64_t j);
  void *verify_ctx;
} mica_clean_options;
#define MICA_CLEAN_OPTIONS                                                                         \
  { sizeof(mica_clean_options), 100, 3, NULL, NULL }
/* Which examples of a noisily labelled set [N, D] with labels [N] to keep: those of whose k nearest
 * at least so many carry their label, as the clean part of Google Landmarks was made (Weyand et al.
 * 2020). keep [N]; support [N] (may be NULL) says how many were found, counting ended at `least`.
 * Memory: 16 k bytes an example of a block. */
MICA_API mica_status mica_clean_labels(const mica_engine *engine, const mica_view *features,
                                       const int64_t *label, const mica_clean_options *options,
                                       bool *keep, int64_t *support);

#ifdef __cplusplus
}
#endif
#endif
