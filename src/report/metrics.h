/* report/metrics.h: the lines of metrics.jsonl, for those who write and cut the file. */
#ifndef MICA_REPORT_METRICS_H
#define MICA_REPORT_METRICS_H

#include <mica/report.h>

enum { MICA_METRIC_NAMES_MAX = 4096 };

/* What a resume keeps of metrics.jsonl: its bytes, and the last line's step (-1 without lines) and
 * seconds. */
typedef struct mica_metrics_head {
  uint64_t length;
  int64_t step;
  double seconds;
} mica_metrics_head;

/* Find it; a missing file is an empty one. See mica_run_open for what is an error. */
mica_status mica_metrics_cut_point(const char *path, int64_t resume, mica_metrics_head *head);

/* Names that are given, free, different and UTF-8. */
mica_status mica_metrics_check(const mica_measurement *metrics, int32_t n);

#endif
