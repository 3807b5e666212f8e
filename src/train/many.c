/* Many small runs at once: workers, each with an engine of one thread, take the next run as they
 * become free.
 */
#include "train/many.h"

#include "base/engine.h"
#include "base/file.h"
#include "base/progress.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define WORKERS 1024 /* the most */

typedef struct crew {
  const mica_train_many_options *o;
  mica_train_outcome *out;
  int64_t jobs;
  mica_engine **engine; /* [workers] */
  _Atomic int64_t next;
  atomic_bool stop;
  pthread_mutex_t lock; /* of what follows, and of the progress callback */
  int64_t done;
  mica_status status; /* why all of them stop */
  char message[1024]; /* as much as a thread's last error holds */
} crew;

static void stop_all(crew *c, mica_status status, const char *why) {
  pthread_mutex_lock(&c->lock);
  if (c->status == MICA_OK) {
    c->status = status;
    snprintf(c->message, sizeof c->message, "%s", why);
  }
  atomic_store(&c->stop, true);
  pthread_mutex_unlock(&c->lock);
}

/* Tell how far they are; the callback may stop them. */
static void tell(crew *c, int64_t more) {
  bool stop = false;
  pthread_mutex_lock(&c->lock);
  c->done += more;
  if (c->o->progress && !atomic_load(&c->stop))
    stop = c->o->progress(c->o->progress_ctx, "training", c->done, c->jobs) != 0;
  pthread_mutex_unlock(&c->lock);
  if (stop) stop_all(c, MICA_ERR_CANCELLED, "training was stopped by the caller");
}

/* ---- one run ---- */

typedef struct watch {
  crew *crew;
  mica_train_fn report; /* the run's own */
  void *ctx;
} watch;

static int report(void *ctx, const mica_train_metrics *m) {
  const watch *w = ctx;
  const int own = w->report ? w->report(w->ctx, m) : 0;
  tell(w->crew, 0);
  return own || atomic_load(&w->crew->stop);
}

static double usual_value(const mica_train_result *r) {
  if (!isnan(r->best_val_accuracy)) return r->best_val_accuracy;
  return isnan(r->best_val_loss) ? r->loss : r->best_val_loss;
}

/* Train the run that was made. The network and its outcome are what they would be alone. */
static mica_status train(crew *c, mica_train_job *job, mica_train_outcome *out) {
  watch w = {c, job->options.report, job->options.report_ctx};
  mica_train_options o = job->options;
  o.dir = NULL;
  o.resume = false;
  o.report = report;
  o.report_ctx = &w;
  const double start = mica_seconds();
  const mica_status status = mica_train(
      job->net, &job->train, job->validation.next ? &job->validation : NULL, &o, &out->result);
  out->seconds = mica_seconds() - start;
  return status;
}

/* Recall the run, or train and record it. What is wrong with the folder stops all runs. */
static mica_status recall_or_train(crew *c, int64_t index, mica_train_job *job,
                                   mica_train_outcome *out) {
  const char *dir = c->o->dir;
  if (!dir) return train(c, job, out);
  char *identity = mica_job_identity(job);
  mica_status status =
      identity ? mica_job_recall(dir, index, identity, job, out, &out->recalled) : MICA_ERR_MEMORY;
  if (status == MICA_OK && !out->recalled) {
    const mica_status trained = train(c, job, out);
    if (trained != MICA_OK) {
      mica_free(identity);
      return trained;
    }
    status = mica_job_record(dir, index, identity, job, out);
  }
  mica_free(identity);
  if (status != MICA_OK && status != MICA_ERR_MEMORY) stop_all(c, status, mica_last_error());
  return status;
}

static mica_status check_made(const mica_train_job *job) {
  if (!job->net || !job->train.next || !job->train.seek)
    return mica_fail(MICA_ERR_INVALID, "the run was made without a network or a stream");
  return MICA_OK;
}

static void run_job(crew *c, mica_engine *engine, int64_t index) {
  const mica_train_many_options *o = c->o;
  mica_train_outcome *out = &c->out[index];
  mica_train_job job = {.options = MICA_TRAIN_OPTIONS};
  mica_clear_error();
  mica_status status = o->make(o->ctx, engine, index, &job);
  if (status == MICA_OK) status = check_made(&job);
  job.label[sizeof job.label - 1] = 0;
  memcpy(out->label, job.label, sizeof out->label);
  if (status == MICA_OK) status = recall_or_train(c, index, &job, out);
  if (status == MICA_OK) {
    out->value = usual_value(&out->result);
    if (o->end) status = o->end(o->ctx, index, &job, out);
  }
  out->status = status;
  if (status != MICA_OK) snprintf(out->message, sizeof out->message, "%.255s", mica_last_error());
  if (o->release) o->release(o->ctx, index, &job);
  mica_net_free(job.net);
  if (status != MICA_ERR_CANCELLED || !atomic_load(&c->stop)) tell(c, 1);
}

static void work(void *ctx, int64_t begin, int64_t end) {
  crew *c = ctx;
  for (int64_t w = begin; w < end; w++)
    while (!atomic_load(&c->stop)) {
      const int64_t index = atomic_fetch_add(&c->next, 1);
      if (index >= c->jobs) break;
      run_job(c, c->engine[w], index);
    }
}

/* ---- all of them ---- */

static mica_status run_all(mica_engine *engine, crew *c, int64_t workers) {
  mica_status status = c->o->dir ? mica_make_folders(c->o->dir) : MICA_OK;
  c->engine = mica_calloc((size_t)workers, sizeof(mica_engine *));
  if (!c->engine && status == MICA_OK) status = MICA_ERR_MEMORY;
  for (int64_t w = 0; w < workers && status == MICA_OK; w++)
    status = mica_engine_create_worker(engine, &c->engine[w]);
  if (status == MICA_OK) {
    mica_parallel_for(engine, workers, work, c);
    status = c->status;
    if (status != MICA_OK) mica_fail(status, "%s", c->message);
  }
  for (int64_t w = 0; c->engine && w < workers; w++) mica_engine_free(c->engine[w]);
  mica_free(c->engine);
  return status == MICA_OK && c->o->dir ? mica_jobs_table(c->o->dir, c->out, c->jobs) : status;
}

mica_status mica_train_many(mica_engine *engine, int64_t jobs, const mica_train_many_options *given,
                            mica_train_outcome *out) {
  mica_train_many_options o = MICA_TRAIN_MANY_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  if (jobs < 0 || o.workers < 0 || o.workers > WORKERS || !o.make || (jobs && !out))
    return mica_fail(MICA_ERR_INVALID,
                     "train_many: %lld runs of %d workers, expected 0 or more, 0 to %d, and a "
                     "function that makes them",
                     (long long)jobs, (int)o.workers, WORKERS);
  int64_t workers = mica_engine_threads(engine);
  if (o.workers && o.workers < workers) workers = o.workers;
  if (workers > jobs) workers = jobs;
  for (int64_t i = 0; i < jobs; i++)
    out[i] = (mica_train_outcome){.status = MICA_ERR_CANCELLED, .value = NAN};
  if (!jobs) return MICA_OK;
  crew c = {.o = &o, .out = out, .jobs = jobs};
  if (pthread_mutex_init(&c.lock, NULL) != 0) return MICA_ERR_MEMORY;
  const mica_status status = run_all(engine, &c, workers);
  pthread_mutex_destroy(&c.lock);
  return status;
}

void mica_train_summarise(const mica_train_outcome *outcomes, int64_t settings, int64_t seeds,
                          mica_train_summary *out) {
  for (int64_t s = 0; s < settings; s++) {
    mica_train_summary r = {0, 0, 0, NAN, NAN};
    double squares = 0;
    for (int64_t i = 0; i < seeds; i++) {
      const mica_train_outcome *o = &outcomes[s * seeds + i];
      if (o->status != MICA_OK || !isfinite(o->value)) continue;
      /* Welford's running mean: no loss of digits where the values are alike. */
      const double before = o->value - r.mean;
      r.mean += before / (double)++r.n;
      squares += before * (o->value - r.mean);
      r.least = r.n == 1 ? o->value : fmin(r.least, o->value);
      r.most = r.n == 1 ? o->value : fmax(r.most, o->value);
    }
    if (!r.n) r.mean = NAN;
    r.deviation = r.n > 1 ? sqrt(squares / (double)(r.n - 1)) : NAN;
    out[s] = r;
  }
}
