/* How often each value of several columns was there, in bounded memory.
 *
 * Beyond the bound the rare half of the values of the column that takes the most is forgotten. A
 * value that comes back begins anew, so its count may be too low, by no more than `lost` of its
 * column; one that was there more often than that is never missing.
 */
#ifndef MICA_DATA_VALUE_COUNTS_H
#define MICA_DATA_VALUE_COUNTS_H

#include "data/dictionary.h"

typedef struct mica_value_counts {
  mica_dictionary values;
  int64_t *count; /* [room] */
  int64_t room, bytes, lost;
} mica_value_counts; /* begin with {0} */

mica_status mica_value_counts_add(mica_value_counts *v, const char *text);
void mica_value_counts_free(mica_value_counts *v);
/* Forget values until the n columns take at most `limit` bytes. */
mica_status mica_value_counts_bound(mica_value_counts *columns, int64_t n, int64_t limit);

#endif
