/* Progress: how the library reports it, and how a receiver tells the time that is left.
 *
 * Work calls mica_progress_step as often as it likes; the callback hears of it ten times a second
 * at most, and once at the end.
 */
#ifndef MICA_BASE_PROGRESS_H
#define MICA_BASE_PROGRESS_H

#include <mica/engine.h>

/* Seconds of a clock that only goes forward. */
double mica_seconds(void);

typedef struct mica_progress {
  mica_progress_fn fn;
  void *ctx;
  const char *what;
  int64_t done, total;
  double last;     /* when the callback was last called */
  double interval; /* seconds between calls; 0.1 after _begin */
  bool cancelled;
} mica_progress;

/* `fn` NULL: nobody listens. `what` ("epoch 3") must outlive the work. total 0: unknown. */
void mica_progress_begin(mica_progress *p, mica_progress_fn fn, void *ctx, const char *what,
                         int64_t total);
/* `done` of the total is done. MICA_ERR_CANCELLED once the callback has asked to stop. */
mica_status mica_progress_step(mica_progress *p, int64_t done);
/* The last report, whatever the clock says. */
mica_status mica_progress_end(mica_progress *p);

/* A receiver's estimate. Begin with {0}. */
typedef struct mica_time_left {
  double started, last, rate; /* rate: smoothed seconds an item */
  int64_t first, done;
  bool running;
} mica_time_left;

/* Take in that `done` of `total` are done at `now` (mica_seconds()); returns the seconds left, -1
 * while they cannot be told. Recent speed counts most. A smaller `done` begins anew. */
double mica_time_left_update(mica_time_left *e, double now, int64_t done, int64_t total);

/* "12 s", "3 min 05 s", "2 h 07 min" into buf; returns buf. */
#define MICA_DURATION_TEXT 32
const char *mica_duration_text(double seconds, char buf[MICA_DURATION_TEXT]);

#endif
