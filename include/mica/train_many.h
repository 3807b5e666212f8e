/* mica/train_many.h: many small networks trained at once, one a core.
 *
 * A small network leaves most of a processor idle: its products are too short to be shared out. So
 * runs that do not need each other (seeds, subsets, clients, widths) go side by side, each on one
 * thread, by the bits as if each had been trained alone with an engine of one thread. Which worker
 * takes a run, how many there are and what ran before it changes nothing.
 */
#ifndef MICA_TRAIN_MANY_H
#define MICA_TRAIN_MANY_H

#include <mica/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One run, as the caller makes it. */
typedef struct mica_train_job {
  mica_net *net;              /* from the worker's engine; freed when the run is over */
  mica_stream train;          /* nobody else's: a stream serves one run */
  mica_stream validation;     /* next NULL: none */
  mica_train_options options; /* dir and resume are not read; texts must live until `release` */
  char label[64];             /* for the table and messages */
  void *own;                  /* the caller's */
} mica_train_job;

/* What became of a run. */
typedef struct mica_train_outcome {
  mica_status status; /* MICA_ERR_CANCELLED: it was stopped, or never began */
  bool recalled;      /* done by an earlier call, and read from the folder */
  mica_train_result result;
  double value;   /* what `end` measured; else the best validation accuracy, or without one the best
                     validation loss, or without that the last loss */
  double seconds; /* of training; 0 when recalled */
  char label[64];
  char message[256]; /* of a failure */
} mica_train_outcome;

typedef struct mica_train_many_options {
  uint32_t size;
  int32_t workers; /* runs at once; 0: as many as the engine has threads, and no more ever work */
  /* Make run number `job`, with everything from `engine`: one thread, the kernels and components of
   * the engine given to mica_train_many. `out` comes zero, but for the options' defaults. */
  mica_status (*make)(void *ctx, mica_engine *engine, int64_t job, mica_train_job *out);
  /* The run has ended well, or was recalled: measure its network, set outcome->value. NULL:
   * nothing.
   */
  mica_status (*end)(void *ctx, int64_t job, const mica_train_job *trained,
                     mica_train_outcome *outcome);
  /* Free what make has made but the network, also after it failed. NULL: nothing to free. */
  void (*release)(void *ctx, int64_t job, mica_train_job *made);
  /* The three are called on the workers' threads, several at once, for different runs. */
  void *ctx;
  /* A folder for the finished runs and for results.csv; NULL: none. A run that is in it already is
   * recalled instead of trained: its weights are read, and `end` measures them again. */
  const char *dir;
  /* Called after each run, and now and then during one, on any worker's thread, one at a time.
   * Non-zero stops all of them. */
  mica_progress_fn progress;
  void *progress_ctx;
} mica_train_many_options;
#define MICA_TRAIN_MANY_OPTIONS                                                                    \
  { sizeof(mica_train_many_options), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL }

/* Train runs 0 to jobs - 1 and tell of each in out [jobs]. A run that fails is told there and stops
 * no other. MICA_OK when all came to an end, well or not; MICA_ERR_CANCELLED when they were
 * stopped; MICA_ERR_STATE when a file in the folder is of another run than the one of its number
 * (another network, initial values, options or number of batches). */
MICA_API mica_status mica_train_many(mica_engine *engine, int64_t jobs,
                                     const mica_train_many_options *options,
                                     mica_train_outcome *out);

/* One setting over its seeds: those runs that ended well with a finite value. */
typedef struct mica_train_summary {
  int64_t n;
  double mean, deviation; /* NaN with none; of n - 1 degrees of freedom, NaN with fewer than two */
  double least, most;     /* NaN with none */
} mica_train_summary;
/* Runs laid out setting by setting, [settings, seeds], into out [settings]. */
MICA_API void mica_train_summarise(const mica_train_outcome *outcomes, int64_t settings,
                                   int64_t seeds, mica_train_summary *out);

#ifdef __cplusplus
}
#endif
#endif
