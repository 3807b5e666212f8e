/* report/append.h: files that grow by whole records while a run lives. */
#ifndef MICA_REPORT_APPEND_H
#define MICA_REPORT_APPEND_H

#include <mica/base.h>

typedef struct mica_append_file {
  int fd; /* -1: not open */
  char *path;
  uint64_t length;
} mica_append_file;

/* Open for appending; `fresh` creates the file and refuses one that exists. `file` is zeroed but
 * for fd = -1 when this fails. */
mica_status mica_append_open(const char *path, bool fresh, mica_append_file *file);
/* One record in one write: after an error nothing of it is left. */
mica_status mica_append_record(mica_append_file *file, const void *bytes, size_t n);
mica_status mica_append_cut(mica_append_file *file, uint64_t length);
mica_status mica_append_sync(mica_append_file *file);
/* Fine on one that is not open. */
mica_status mica_append_close(mica_append_file *file);

#endif
