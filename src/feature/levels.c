/* Levels as an option lists them, and their names in records. */
#include "feature/levels.h"

#include <stdio.h>

int64_t mica_levels_count(const mica_ints *levels) {
  return levels->n > 0 ? levels->n : 1;
}

int64_t mica_levels_width(const mica_ints *levels, int64_t l, int64_t d) {
  return levels->n > 0 ? levels->v[l] : d;
}

mica_status mica_levels_check(const mica_ints *levels, int64_t d, const char *estimator) {
  int64_t columns = 0;
  for (int64_t l = 0; l < mica_levels_count(levels); l++)
    columns += mica_levels_width(levels, l, d);
  if (columns == d) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID, "%s: levels of %lld columns in all, the features have %lld",
                   estimator, (long long)columns, (long long)d);
}

const char *mica_level_name(int64_t l, const char *what, char buf[48]) {
  snprintf(buf, 48, "level%lld.%s", (long long)l, what);
  return buf;
}
