/* Run folders: metrics.jsonl, an event file and config.json, written while a run lives so that what
 * was logged survives the process, and continued where a resume begins. */
#include <mica/report.h>

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "report/append.h"
#include "report/figure.h"
#include "report/metrics.h"

struct mica_run {
  mica_append_file metrics;
  mica_event_file *events; /* NULL: none */
  int64_t step;
  double before;           /* seconds of the runs that this one continues */
  struct timespec started; /* monotonic */
};

static double clock_seconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double mica_run_seconds(const mica_run *run) {
  if (!run) return 0;
  const double started = (double)run->started.tv_sec + 1e-9 * (double)run->started.tv_nsec;
  return run->before + clock_seconds(CLOCK_MONOTONIC) - started;
}

/* events.out.tfevents.TIME.HOST.PID.NUMBER, which is how TensorBoard knows and orders them. */
static mica_status open_events(mica_run *run, const char *directory, int64_t resume) {
  char host[65] = "localhost";
  if (gethostname(host, sizeof host - 1) != 0) strcpy(host, "localhost");
  host[sizeof host - 1] = 0;
  mica_status status = MICA_OK;
  for (int number = 0; number < 1000; number++) {
    char name[160];
    snprintf(name, sizeof name, "events.out.tfevents.%010lld.%s.%ld.%d", (long long)time(NULL),
             host, (long)getpid(), number);
    char *path = mica_path_join(directory, name);
    if (!path) return MICA_ERR_MEMORY;
    const bool taken = mica_file_exists(path);
    if (!taken) status = mica_event_file_open(path, resume < 0 ? -1 : resume + 1, &run->events);
    mica_free(path);
    if (!taken) return status;
  }
  return mica_fail(MICA_ERR_STATE, "%s: no free name for an event file", directory);
}

static mica_status open_metrics(mica_run *run, const char *directory, int64_t resume) {
  char *path = mica_path_join(directory, "metrics.jsonl");
  if (!path) return MICA_ERR_MEMORY;
  mica_metrics_head head = {.step = -1};
  mica_status status = resume >= 0 ? mica_metrics_cut_point(path, resume, &head) : MICA_OK;
  if (!status) status = mica_append_open(path, false, &run->metrics);
  if (!status && resume < 0 && run->metrics.length > 0)
    status = mica_fail(MICA_ERR_STATE,
                       "%s holds an earlier run: resume it, or choose another folder", path);
  if (!status && head.length < run->metrics.length)
    status = mica_append_cut(&run->metrics, head.length);
  run->step = head.step;
  run->before = head.seconds;
  mica_free(path);
  return status;
}

mica_status mica_run_open(const char *directory, const mica_run_options *options, mica_run **out) {
  static const mica_run_options defaults = MICA_RUN_OPTIONS;
  mica_run_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  if (status) return status;
  if (!directory || !*directory) return mica_fail(MICA_ERR_INVALID, "a run needs a folder");
  status = mica_make_folders(directory);
  if (status) return status;
  mica_run *run = mica_calloc(1, sizeof *run);
  if (!run) return MICA_ERR_MEMORY;
  run->metrics.fd = -1;
  clock_gettime(CLOCK_MONOTONIC, &run->started);
  status = open_metrics(run, directory, o.resume);
  if (!status && o.config) {
    char *path = mica_path_join(directory, "config.json");
    status = path ? mica_run_record_save(o.config, path) : MICA_ERR_MEMORY;
    mica_free(path);
  }
  if (!status && o.event_file) status = open_events(run, directory, o.resume);
  if (status) {
    mica_append_close(&run->metrics);
    mica_free(run);
    return status;
  }
  *out = run;
  return MICA_OK;
}

mica_status mica_run_log(mica_run *run, int64_t step, const mica_measurement *metrics, int32_t n) {
  if (!run) return mica_fail(MICA_ERR_INVALID, "logging needs a run");
  mica_status status = mica_metrics_check(metrics, n);
  if (status) return status;
  if (step < 0 || step < run->step)
    return mica_fail(MICA_ERR_INVALID, "step %lld logged after step %lld", (long long)step,
                     (long long)run->step);
  const double seconds = mica_run_seconds(run);
  mica_bytes line = {0};
  mica_json_writer w = {&line, 0, 0, 0, false};
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "step", step);
  mica_json_put_double(&w, "seconds", round(seconds * 1000) / 1000);
  for (int32_t i = 0; i < n; i++) {
    mica_json_put_double(&w, metrics[i].name, metrics[i].value);
  }
  mica_json_end_object(&w);
  mica_bytes_byte(&line, '\n');
  status = line.status ? line.status : mica_append_record(&run->metrics, line.data, line.n);
  mica_bytes_free(&line);
  if (status) return status;
  run->step = step;
  if (run->events)
    status = mica_event_file_scalars(run->events, clock_seconds(CLOCK_REALTIME), step, metrics, n);
  return status;
}

mica_status mica_run_sync(mica_run *run) {
  return run ? mica_append_sync(&run->metrics) : mica_fail(MICA_ERR_INVALID, "syncing needs a run");
}

mica_status mica_run_close(mica_run *run) {
  if (!run) return MICA_OK;
  const mica_status events = mica_event_file_close(run->events);
  const mica_status metrics = mica_append_close(&run->metrics);
  mica_free(run);
  return metrics ? metrics : events;
}
