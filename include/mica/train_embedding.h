/* mica/train_embedding.h: training a network with a compressed embedding table through the stages
 * that the table's method needs: warm-up, search, decision, training anew.
 *
 *     all methods    train; where the method has parameters for it, a step on a validation batch
 *                    trains those after each step of the rest, once the warm-up is over
 *     REPEATS        what was searched stays, everything else is trained anew
 *     then           the table decides (mica_embedding_decide), by evolution where it EVOLVES
 *     RETRAINS       everything but the decision is trained anew, from its first values
 *     TUNES          training goes on for a while
 *
 * The weights with the best validation AUROC of the last stage are what the network ends with.
 */
#ifndef MICA_TRAIN_EMBEDDING_H
#define MICA_TRAIN_EMBEDDING_H

#include <mica/embedding.h>
#include <mica/train.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_train_embedding_options {
  uint32_t size;
  const char *node; /* where the table is */
  const char *optimiser, *loss;
  int64_t steps;    /* of each stage that trains */
  int64_t warm_up;  /* of them before the search begins */
  int64_t tune;     /* steps after a decision, of methods that go on */
  int64_t evaluate; /* steps between two looks at the validation stream; 0: at a stage's end */
  uint64_t seed;    /* of draws, and of first values where training begins anew: the network's */
  mica_progress_fn progress;
  void *progress_ctx;
} mica_train_embedding_options;
#define MICA_TRAIN_EMBEDDING_OPTIONS                                                               \
  {                                                                                                \
    sizeof(mica_train_embedding_options), "embedding", "adam:lr=1e-3", "ce", 1000, 100, 250, 0, 0, \
        NULL, NULL                                                                                 \
  }

typedef struct mica_train_embedding_result {
  int64_t steps, searched; /* steps of training, and those on validation batches */
  int64_t tried;           /* settings that evolution asked about */
  double auroc;            /* of the validation stream; NaN where it has not two classes */
} mica_train_embedding_result;

/* Train `net`, whose node `options->node` has a table. Validation is needed: MICA_ERR_INVALID
 * without. Batches with labels; both streams are read from their first epoch on. `result` may be
 * NULL. A loss that is not finite is MICA_ERR_NUMERIC. */
MICA_API mica_status mica_train_embedding(mica_net *net, const mica_stream *train,
                                          const mica_stream *validation,
                                          const mica_train_embedding_options *options,
                                          mica_train_embedding_result *result);

#ifdef __cplusplus
}
#endif
#endif
