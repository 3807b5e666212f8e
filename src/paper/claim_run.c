/* Running a claim's units: workers with an engine of one thread each take the next unit as they
 * become free; wide experiments come after them, one unit at a time with all threads.
 *
 * A unit is made, run and released in one thread with one engine, so a paper's code sees no
 * threads. Which worker takes a unit changes no bit of it.
 */
#include "paper/claim.h"

#include "base/engine.h"
#include "base/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void stop_all(mica_claim_run *r, mica_status status, const char *why) {
  pthread_mutex_lock(&r->lock);
  if (r->status == MICA_OK) {
    r->status = status;
    snprintf(r->message, sizeof r->message, "%s", why);
  }
  atomic_store(&r->stop, true);
  pthread_mutex_unlock(&r->lock);
}

void mica_claim_tell(mica_claim_run *r, int64_t more) {
  bool stop = false;
  pthread_mutex_lock(&r->lock);
  r->done += more;
  if (r->o->progress && !atomic_load(&r->stop))
    stop = r->o->progress(r->o->progress_ctx, r->paper->name, r->done, r->cells) != 0;
  pthread_mutex_unlock(&r->lock);
  if (stop) stop_all(r, MICA_ERR_CANCELLED, "the run was stopped; run it again to go on");
}

/* ---- one unit ---- */

static int64_t cells_of(const mica_claim_table *t, const mica_claim_unit_of *u) {
  return (int64_t)(u->arm < 0 ? t->arms : 1) * (u->point < 0 ? t->points : 1);
}

/* Run the cells of a unit, whose shared part is there. */
static mica_status run_cells(mica_claim_run *r, mica_claim_place *place) {
  const mica_claim_table *t = place->table;
  const mica_claim_unit_of *u = place->unit;
  mica_status status = MICA_OK;
  for (int p = 0; p < t->points && status == MICA_OK; p++)
    for (int a = 0; a < t->arms && status == MICA_OK; a++) {
      if ((u->arm >= 0 && u->arm != a) || (u->point >= 0 && u->point != p)) continue;
      if (atomic_load(&r->stop)) return MICA_ERR_CANCELLED;
      place->arm = a;
      place->point = p;
      place->cell.arm = &t->x->arms[a];
      place->cell.point = t->point[p];
      mica_clear_error();
      status = t->x->run(&place->cell);
      if (status == MICA_OK)
        mica_claim_tell(r, 1);
      else if (status != MICA_ERR_CANCELLED)
        mica_fail(status, "%s, %s%s, seed %lld: %.300s", t->x->name, t->x->arms[a].name,
                  t->x->sweep ? " (a point of the sweep)" : "", (long long)u->seed,
                  mica_last_error());
    }
  return status;
}

static mica_status run_unit(mica_claim_run *r, mica_engine *engine, mica_claim_unit_of *u) {
  mica_claim_table *t = &r->table[u->experiment];
  const double begin = mica_seconds();
  const mica_key key = mica_key_fold_name(
      mica_key_fold_name(mica_key_fold(mica_key_seed(0x6d696361), (uint64_t)u->seed),
                         r->paper->name),
      t->x->name);
  mica_claim_place place = {
      .cell = {engine, mica_spec_options(r->spec), t->x, u->arm < 0 ? NULL : &t->x->arms[u->arm],
               u->point < 0 ? NAN : t->point[u->point], u->seed, key, r->o->smoke, NULL, r},
      .table = t,
      .unit = u,
      .arm = u->arm < 0 ? 0 : u->arm,
      .point = u->point < 0 ? 0 : u->point};
  void *shared = NULL;
  mica_status status = MICA_OK;
  if (t->x->prepare) {
    /* What is prepared for one arm alone is its own work, and costs it. */
    status = t->x->prepare(&place.cell, &shared);
    if (status != MICA_OK && status != MICA_ERR_CANCELLED)
      mica_fail(status, "%s, seed %lld: %.300s", t->x->name, (long long)u->seed, mica_last_error());
  }
  place.cell.shared = shared;
  if (status == MICA_OK) status = run_cells(r, &place);
  if (shared && t->x->release) t->x->release(shared);
  if (status == MICA_OK) {
    const double seconds = mica_seconds() - begin;
    u->done = true;
    status = mica_claim_keep(r, u, seconds);
    pthread_mutex_lock(&r->lock);
    r->seconds += seconds;
    pthread_mutex_unlock(&r->lock);
  }
  return status;
}

static void run_or_stop(mica_claim_run *r, mica_engine *engine, mica_claim_unit_of *u) {
  const mica_status status = run_unit(r, engine, u);
  if (status != MICA_OK) stop_all(r, status, mica_last_error());
}

/* ---- all of them ---- */

static bool is_wide(const mica_claim_run *r, int64_t i) {
  return r->table[r->unit[i].experiment].x->wide;
}

typedef struct crew {
  mica_claim_run *run;
  mica_engine **engine;
} crew;

static void work(void *ctx, int64_t begin, int64_t end) {
  crew *c = ctx;
  mica_claim_run *r = c->run;
  for (int64_t w = begin; w < end; w++)
    while (!atomic_load(&r->stop)) {
      const int64_t i = atomic_fetch_add(&r->next, 1);
      if (i >= r->units) break;
      if (!r->unit[i].done && !is_wide(r, i)) run_or_stop(r, c->engine[w], &r->unit[i]);
    }
}

static mica_status run_side_by_side(mica_claim_run *r) {
  int64_t workers = mica_engine_threads(r->engine), left = 0;
  for (int64_t i = 0; i < r->units; i++) left += !r->unit[i].done && !is_wide(r, i);
  if (!left) return MICA_OK;
  if (workers > left) workers = left;
  crew c = {r, mica_calloc((size_t)workers, sizeof(mica_engine *))};
  mica_status status = c.engine ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t w = 0; w < workers && status == MICA_OK; w++)
    status = mica_engine_create_worker(r->engine, &c.engine[w]);
  if (status == MICA_OK) mica_parallel_for(r->engine, workers, work, &c);
  for (int64_t w = 0; c.engine && w < workers; w++) mica_engine_free(c.engine[w]);
  mica_free(c.engine);
  return status;
}

mica_status mica_claim_run_units(mica_claim_run *r) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < r->units && status == MICA_OK; i++) {
    mica_claim_unit_of *u = &r->unit[i];
    status = mica_claim_recall(r, u);
    if (u->done) r->done += cells_of(&r->table[u->experiment], u);
  }
  if (status != MICA_OK) return status;
  mica_claim_tell(r, 0);
  status = run_side_by_side(r);
  for (int64_t i = 0; i < r->units && status == MICA_OK && !atomic_load(&r->stop); i++)
    if (!r->unit[i].done && is_wide(r, i)) run_or_stop(r, r->engine, &r->unit[i]);
  if (status == MICA_OK && r->status != MICA_OK) return mica_fail(r->status, "%s", r->message);
  return status;
}
