/* mica/train.h: the trainer: epochs over a stream of batches, evaluation, checkpoints, exact
 * resume.
 *
 * Everything random in a run is a function of the seed and the step, and everything that changes is
 * in three trees (parameters, optimiser state, moving average) and a few counters. So a run that
 * was killed and resumed ends with the same bits as one that was not.
 */
#ifndef MICA_TRAIN_H
#define MICA_TRAIN_H

#include <mica/dataset.h>
#include <mica/feature.h>
#include <mica/loss.h>
#include <mica/model.h>
#include <mica/optim.h>
#include <mica/table.h>
#include <mica/text.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- batches ---- */

typedef struct mica_batch {
  int64_t n;            /* examples */
  mica_tensor *x;       /* float32 [n, ...], or NULL */
  mica_tensor *labels;  /* int64 [n], or [n, L] for each token, -100: not to be scored; or NULL */
  mica_tensor *ids;     /* int64 [n], or NULL */
  mica_tensor *targets; /* float32 [n, ...], or NULL */
  mica_tensor *mask;    /* float32 [n, positions], 1 where there is something, or NULL: all */
  mica_tensor *tokens;  /* int64 [n, L], or NULL */
  mica_tensor *fields;  /* int64 [n, F], or NULL */
  /* Of a zipped stream: a batch of each of its streams, and nothing but n above, the sum of theirs.
   * 0 and NULL: not zipped. */
  int64_t parts;
  const struct mica_batch *part;
} mica_batch;

/* Where batches come from. The order of an epoch is a function of its number, so seek can stand
 * anywhere. The tensors of a batch belong to the stream and are valid until its next call. */
typedef struct mica_stream {
  void *ctx;
  int64_t batches; /* of an epoch */
  mica_status (*seek)(void *ctx, int64_t epoch, int64_t batch);
  mica_status (*next)(void *ctx, mica_batch *out);
} mica_stream;

/* A stream over tensors in memory: x [N, ...] and labels int64 [N], or targets float32 [N, ...]
 * (NULL: none). `shuffle` draws
 * each epoch's order from seed and the epoch's number; the last, smaller batch is kept unless
 * drop_last. The tensors are retained. Free with mica_memory_stream_free. */
MICA_API mica_status mica_memory_stream_create(mica_tensor *x, mica_tensor *labels, int64_t batch,
                                               bool shuffle, bool drop_last, uint64_t seed,
                                               mica_stream *out);
MICA_API void mica_memory_stream_free(mica_stream *stream);

/* A stream over one part of a data set, normalised as `preprocess` says. Training streams shuffle,
 * and augment: `crop` pixels of zero padding around a random crop, and a flip of every other
 * picture when `flip`; both are functions of seed, epoch and item. A picture that turns out
 * unreadable is left out of its batch, unless the data set is strict. The data set must outlive it.
 *
 * A thread of the stream's own prepares up to `ahead` batches while the caller uses the one before
 * (so ahead + 1 batches are in memory); it begins with the first mica_stream.next after a seek and
 * ends with the epoch, the next seek or the stream. It changes no bit of the batches. It takes no
 * signals. Where no thread can be made, and in a process forked later, the caller prepares each
 * batch itself; a fork is safe while no other thread is inside a call on the stream. */
typedef struct mica_dataset_stream_options {
  uint32_t size;
  int64_t batch;
  bool shuffle, flip;
  int64_t crop;
  uint64_t seed;
  int64_t ahead;  /* 0: no thread; at most 64 */
  bool drop_last; /* leave out an epoch's last batch where it is smaller than the others */
  /* Not NULL: the names of the classes are texts about their pictures. Batches have them as tokens
   * [n, length], and label i is the first row of the batch that has row i's text. */
  const mica_tokenizer *tokenizer;
  int64_t length;
} mica_dataset_stream_options;
#define MICA_DATASET_STREAM_OPTIONS                                                                \
  { sizeof(mica_dataset_stream_options), 128, false, false, 0, 0, 2, false, NULL, 0 }
MICA_API mica_status mica_dataset_stream_create(const mica_dataset *ds, mica_part part,
                                                const mica_preprocess *preprocess,
                                                const mica_dataset_stream_options *options,
                                                mica_stream *out);
MICA_API void mica_dataset_stream_free(mica_stream *stream);

/* A stream over one part of a data table: encoded rows [n, width], with labels or with targets
 * [n, 1] (the label less its mean, over its deviation) where it has them, and fields [n, fields]
 * where its columns have them (x is NULL when they have nothing else). The table must outlive
 * it; `shuffle` as above. Free with mica_table_stream_free.
 *
 * Rows that stay in files are read by a thread of the stream's own, as a data set's pictures are.
 * `shuffle` then mixes the rows within the table's `buffer` of them, so a file that is sorted by
 * label should be mixed beforehand; a seek into the middle of an epoch, as a resume makes, reads
 * the file up to there. A file that has changed since is MICA_ERR_FORMAT. */
MICA_API mica_status mica_table_stream_create(mica_data_table *table, mica_part part, int64_t batch,
                                              bool shuffle, uint64_t seed, mica_stream *out);
MICA_API void mica_table_stream_free(mica_stream *stream);

/* A stream over windows of `length` tokens of a text: tokens [n, length] and as labels [n, length]
 * the tokens that follow. Without `shuffle` the windows lie end to end and the last is filled up
 * with what is not scored (-100), so that each token but the first is scored once. With it each
 * epoch draws their order and where the first begins, and leaves out up to length tokens. The text
 * must outlive it. Free with mica_text_stream_free. */
MICA_API mica_status mica_text_stream_create(const mica_token_text *text, mica_part part,
                                             int64_t length, int64_t batch, bool shuffle,
                                             uint64_t seed, mica_stream *out);
MICA_API void mica_text_stream_free(mica_stream *stream);

/* ---- the order of an epoch ---- */

/* Which examples a stream gives in an epoch, in which order, where that is not a permutation of
 * all: "classes:examples=4" (several examples of a class side by side, for losses of pairs),
 * "power:power=0.5" (long tails: classes drawn by a power of their size), "tuples:size=8" (query,
 * positive, negatives, for local_triplet). See `mica list sampler`. */
typedef struct mica_sampler mica_sampler;

/* What a sampler orders: n examples and their classes; a class that somebody predicted for each
 * (NULL: not known), for samplers that look for mistakes. */
typedef struct mica_sampler_data {
  uint32_t size;
  int64_t n;
  const int64_t *label;     /* [n], 0..classes-1 */
  const int64_t *predicted; /* [n], 0..classes-1 or MICA_CLASS_NONE; NULL: not known */
  int64_t classes;          /* 0: the largest label + 1 */
} mica_sampler_data;
#define MICA_SAMPLER_DATA                                                                          \
  { sizeof(mica_sampler_data), 0, NULL, NULL, 0 }

/* The table of a component of kind MICA_KIND_SAMPLER. The data have been checked. */
typedef struct mica_sampler_functions {
  uint32_t size;
  /* Numbers of examples into order [n], any of them any number of times. */
  mica_status (*order)(const void *options, const mica_sampler_data *data, mica_key key,
                       int64_t *order);
} mica_sampler_functions;

/* A sampler of a specification; labels and predictions are copied. */
MICA_API mica_status mica_sampler_create(const mica_engine *engine, const char *spec,
                                         const mica_sampler_data *data, mica_sampler **out);
MICA_API void mica_sampler_free(mica_sampler *sampler);
/* The order of an epoch into order [n]; a function of the key. */
MICA_API mica_status mica_sampler_order(const mica_sampler *sampler, mica_key key, int64_t *order);
/* Let the sampler give the order of a memory stream's or a data set stream's epochs (numbers count
 * within the stream's examples, of which the sampler must have as many; their order is that of the
 * data). To be called before the first seek; the sampler must outlive the stream. */
MICA_API mica_status mica_memory_stream_sample(mica_stream *stream, const mica_sampler *sampler);
MICA_API mica_status mica_dataset_stream_sample(mica_stream *stream, const mica_sampler *sampler);

/* ---- several streams as one ---- */

typedef enum mica_mix {
  MICA_MIX_TURNS,   /* a batch of the first, of the second, ..., of the first again */
  MICA_MIX_WEIGHTS, /* each stream's share of an epoch is its weight's; the order is drawn */
  MICA_MIX_ZIPPED   /* every batch holds one of each stream: mica_batch.part */
} mica_mix;

/* `batches` of an epoch; 0: as many as the longest stream has (zipped), that times their number
 * (turns), or as all have together (weights). A stream that ends before its share does goes on with
 * its next epoch, and every epoch begins where the one before ended. The numbers of batches that a
 * stream gives are the same in each epoch (turns and weights: rounded so that they add up), so seek
 * can stand anywhere and costs no reading. */
typedef struct mica_mixed_stream_options {
  uint32_t size;
  mica_mix mix;
  const double *weights; /* [n] above 0, of MICA_MIX_WEIGHTS; NULL: all the same */
  int64_t batches;
  uint64_t seed; /* of the order of MICA_MIX_WEIGHTS */
} mica_mixed_stream_options;
#define MICA_MIXED_STREAM_OPTIONS                                                                  \
  { sizeof(mica_mixed_stream_options), MICA_MIX_TURNS, NULL, 0, 0 }
/* A stream that mixes n others (1 to 64), which must outlive it; nobody else may use them
 * meanwhile. A stream that would get no batch of an epoch is MICA_ERR_INVALID. The trainer takes
 * zipped batches, with a loss for each stream; mica_evaluate does not. */
MICA_API mica_status mica_mixed_stream_create(const mica_stream *streams, int64_t n,
                                              const mica_mixed_stream_options *options,
                                              mica_stream *out);
MICA_API void mica_mixed_stream_free(mica_stream *stream);

/* ---- evaluation ---- */

typedef struct mica_evaluation {
  int64_t n;
  double loss;           /* mean cross-entropy; with targets, mean squared error */
  double accuracy;       /* share of examples whose largest logit is the label's; NaN without */
  mica_tensor *logits;   /* float32 [N, C] when asked for; a row for each token of its labels */
  mica_tensor *features; /* float32 [N, D] when asked for */
  mica_tensor *labels;   /* int64 [N] when either was asked for and labels are there */
  mica_tensor *targets;  /* float32 [N, C] when either was asked for and targets are there */
  double auroc;          /* of two classes: area under the ROC curve of the second; else NaN */
} mica_evaluation;

/* One pass over the stream's epoch 0 in evaluation mode. Release the tensors with
 * mica_evaluation_clear. */
MICA_API mica_status mica_evaluate(const mica_net *net, const mica_stream *stream, bool keep_logits,
                                   bool keep_features, mica_evaluation *out);
MICA_API void mica_evaluation_clear(mica_evaluation *e);

/* How well pictures and texts find each other in a network of both ("dual", "clip"). */
typedef struct mica_pairs_evaluation {
  int64_t pairs, pictures, texts; /* examples; those that differ from each other */
  /* Share of the pictures one of whose texts is among the 1 and among the 5 nearest of all texts,
   * and of the texts with one of their pictures so; with Wilson's 95 % interval. Of equal
   * similarities the wrong ones count as nearer. */
  mica_estimate to_text[2], to_picture[2];
} mica_pairs_evaluation;

/* One pass over epoch 0 of a stream of pictures and texts, in evaluation mode; all pairs meet,
 * whatever the stream's batches. What has the same pixels is one picture, what has the same tokens
 * one text. Memory: both vectors of each pair. */
MICA_API mica_status mica_evaluate_pairs(const mica_net *net, const mica_stream *stream,
                                         mica_pairs_evaluation *out);

/* ---- the trainer ---- */

typedef struct mica_train_metrics {
  int64_t epoch, step, steps_total, examples; /* epoch from 0; examples seen in all */
  double loss;                                /* mean since the last report */
  double lr;
  double grad_norm; /* 0 unless clipping is on */
  bool end_of_epoch;
  double val_loss, val_accuracy; /* end of an epoch with a validation stream; else NaN */
  bool best;                     /* the best validation of the stage so far */
  double seconds;                /* of this run (resumed time not counted) */
  int64_t stage;                 /* from 0 */
  double val_auroc;              /* as val_accuracy, of two classes */
} mica_train_metrics;

/* Called every `report_every` steps and at the end of each epoch. Non-zero stops the run with
 * MICA_ERR_CANCELLED, after a checkpoint. */
typedef int (*mica_train_fn)(void *ctx, const mica_train_metrics *m);

/* Called with every batch of training after its forward pass: the batch, and the logits [n,
 * classes] (contiguous float32) that the weights before this step gave. Non-zero stops the run. */
typedef int (*mica_train_visit_fn)(void *ctx, const mica_batch *batch, const mica_view *logits);

typedef struct mica_train_options {
  uint32_t size;
  const char *loss;      /* a weighted sum of losses: "ce:smoothing=0.1"; of a zipped stream one
                            for all its streams, or one for each: "ce | 0.5*kd" */
  const char *optimiser; /* "sgd:lr=0.1:momentum=0.9:weight_decay=5e-4:nesterov=true" */
  const char *schedule;  /* "cosine:warmup=0.05" */
  int64_t epochs;        /* where there are no stages */
  int64_t accumulate;    /* micro-batches of a step: gradients are averaged over them */
  double clip;           /* norm of the gradients; 0: off */
  double average; /* decay of a moving average of the weights, which is then evaluated; 0: off */
  uint64_t seed;  /* of dropout and the like; initial values and data order have their own */
  mica_dtype compute;   /* MICA_F32 or MICA_BF16 */
  const char *dir;      /* for last.safetensors and best.safetensors; NULL: no files */
  bool resume;          /* continue from dir's last.safetensors when it is there */
  int64_t save_every;   /* steps between checkpoints; 0: at the end of each epoch */
  int64_t patience;     /* end a stage after so many epochs without a better validation; 0: never */
  int64_t report_every; /* steps */
  mica_train_fn report;
  void *report_ctx;
  const mica_net *teacher;   /* of distillation losses; evaluation mode, not changed */
  const char *const *stages; /* see below; NULL: one of `epochs` */
  int64_t n_stages;          /* at most 64 */
  bool best_by_loss; /* the lower validation loss is better, whatever the accuracy: for clicks, and
                        where tokens are predicted */
  mica_train_visit_fn visit; /* NULL: nothing; needs logits, and no zipped stream */
  void *visit_ctx;
  const struct mica_scheme *scheme; /* mica/scheme.h, which may bring a teacher; NULL: none */
} mica_train_options;
#define MICA_TRAIN_OPTIONS                                                                         \
  {                                                                                                \
    sizeof(mica_train_options), "ce", "adamw", "cosine", 10, 1, 0, 0, 0, MICA_F32, NULL, false, 0, \
        0, 50, NULL, NULL, NULL, NULL, 0, false, NULL, NULL, NULL                                  \
  }

/* Stages, each a text of the grammar of components ("epochs=5:train=head.*:lr=0.01"), run one after
 * the other. Before a stage begins, in this order:
 *
 *   train, freeze, unfreeze   selections (mica/param.h): train these alone; not these; these
 *                             again. What they say holds in later stages too; after the run the
 *                             parameters are as trainable as they were before it.
 *   rewind                    selected parameters (and running statistics) get their values of an
 *                             earlier moment back: those after rewind_epoch epochs or rewind_step
 *                             steps of the run; without either, those that the run began with.
 *   retrain                   those selected get fresh initial values, drawn from the run's seed
 *                             and the stage's number.
 *   state                     reset: the optimiser's state is zero again. It is kept otherwise,
 * also that of parameters which are not trained for a while. optimiser, loss, schedule others from
 * here on (an optimiser with fresh state); in parentheses where they have options:
 * optimiser=(sgd:lr=0.1). lr                        the base rate of the optimiser's first rule in
 * this stage; the other rules' rates change with it.
 *
 * and then `epochs` (1) are trained. A schedule runs over the steps of its stage. Epochs are
 * counted through, so the order of examples differs between stages. The best validation, and
 * best.safetensors with it, begin anew with each stage. A moving average follows what rewind and
 * retrain put in place. A run is resumed in any stage, with the same stages; the values that a
 * later stage goes back to are in its checkpoints. */

typedef struct mica_train_result {
  int64_t epochs, steps;
  double loss;              /* of the last epoch */
  double best_val_accuracy; /* of the last stage; NaN without validation, and with targets */
  int64_t best_epoch;       /* -1 without validation */
  bool stopped_early;       /* the last stage was */
  double best_val_loss;     /* NaN without validation */
} mica_train_result;

/* Train net in place. With validation and `dir`, the best weights are in best.safetensors, and the
 * net ends with the last ones. Non-finite losses are MICA_ERR_NUMERIC. `validation` and `result`
 * may be NULL. */
MICA_API mica_status mica_train(mica_net *net, const mica_stream *train,
                                const mica_stream *validation, const mica_train_options *options,
                                mica_train_result *result);

#ifdef __cplusplus
}
#endif
#endif
