/* Progress: reports that are no more frequent than a person can read, and the time left. */
#include "base/progress.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

double mica_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void mica_progress_begin(mica_progress *p, mica_progress_fn fn, void *ctx, const char *what,
                         int64_t total) {
  *p = (mica_progress){.fn = fn, .ctx = ctx, .what = what, .total = total, .interval = 0.1};
  p->last = -HUGE_VAL;
}

static mica_status report(mica_progress *p, double now) {
  if (p->cancelled) return mica_fail(MICA_ERR_CANCELLED, "%s: cancelled", p->what);
  if (!p->fn) return MICA_OK;
  p->last = now;
  if (p->fn(p->ctx, p->what, p->done, p->total) == 0) return MICA_OK;
  p->cancelled = true;
  return mica_fail(MICA_ERR_CANCELLED, "%s: cancelled", p->what);
}

mica_status mica_progress_step(mica_progress *p, int64_t done) {
  p->done = done;
  if (!p->fn) return MICA_OK;
  double now = mica_seconds();
  bool last = p->total > 0 && done >= p->total;
  return p->cancelled || last || now - p->last >= p->interval ? report(p, now) : MICA_OK;
}

mica_status mica_progress_end(mica_progress *p) {
  return report(p, mica_seconds());
}

double mica_time_left_update(mica_time_left *e, double now, int64_t done, int64_t total) {
  if (!e->running || done < e->done) {
    *e = (mica_time_left){.started = now, .last = now, .first = done, .done = done};
    e->running = true;
    return -1;
  }
  if (done > e->done && now > e->last) {
    double rate = (now - e->last) / (double)(done - e->done);
    /* Older speed fades with a time of ten seconds, but for the first item that is all there is. */
    double keep = e->done > e->first ? exp((e->last - now) / 10.0) : 0;
    e->rate = keep * e->rate + (1 - keep) * rate;
    e->last = now;
    e->done = done;
  }
  if (total <= 0 || e->done == e->first) return -1;
  double left = e->rate * (double)(total - e->done) - (now - e->last);
  return left > 0 ? left : 0;
}

const char *mica_duration_text(double seconds, char buf[MICA_DURATION_TEXT]) {
  if (!(seconds >= 0)) {
    snprintf(buf, MICA_DURATION_TEXT, "?");
    return buf;
  }
  long s = seconds < 1e9 ? (long)(seconds + 0.5) : 1000000000;
  if (s < 60)
    snprintf(buf, MICA_DURATION_TEXT, "%ld s", s);
  else if (s < 3600)
    snprintf(buf, MICA_DURATION_TEXT, "%ld min %02ld s", s / 60, s % 60);
  else
    snprintf(buf, MICA_DURATION_TEXT, "%ld h %02ld min", s / 3600, s / 60 % 60);
  return buf;
}
