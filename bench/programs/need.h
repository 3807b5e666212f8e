/* What has to succeed. */
#ifndef MICA_BENCH_NEED_H
#define MICA_BENCH_NEED_H

#include <mica/base.h>

#include <stdio.h>
#include <stdlib.h>

static inline void need(mica_status status) {
  if (status == MICA_OK) return;
  fprintf(stderr, "bench: %s\n", mica_last_error());
  exit(1);
}

#endif
