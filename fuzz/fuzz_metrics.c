/* Any bytes as metrics.jsonl and as config.json. What a resume would keep of the metrics must be
 * whole lines that load. */
#include "report/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);

  mica_run_record *record = NULL;
  if (!mica_run_record_load(path, &record))
    for (int32_t i = 0; i < mica_run_record_count(record); i++)
      if (!mica_run_record_get(record, mica_run_record_name(record, i))) abort();
  mica_run_record_free(record);

  mica_metrics *metrics = NULL;
  if (!mica_metrics_load(path, &metrics))
    for (int32_t i = 0; i < mica_metrics_count(metrics); i++) {
      const double *steps, *values;
      if (mica_metrics_series(metrics, mica_metrics_name(metrics, i), &steps, &values) < 1) abort();
    }
  mica_metrics_free(metrics);

  mica_metrics_head head;
  const int64_t resume = size ? data[size - 1] : 0;
  if (!mica_metrics_cut_point(path, resume, &head)) {
    if (head.length > size || head.step > resume) abort();
    if (head.length && data[head.length - 1] != '\n') abort();
    if (ftruncate(fd, (off_t)head.length) != 0) abort();
    metrics = NULL;
    if (mica_metrics_load(path, &metrics)) abort();
    mica_metrics_free(metrics);
  }
  close(fd);
  return 0;
}
