/* The values of a category in a new order: the most frequent first, or classes by name. */
#ifndef MICA_DATA_VALUE_ORDER_H
#define MICA_DATA_VALUE_ORDER_H

#include "data/dictionary.h"

typedef enum mica_value_order {
  MICA_ORDER_COUNT, /* most frequent first, then by text */
  MICA_ORDER_TEXT   /* numbers by value, then texts */
} mica_value_order;

/* Keep the first `most` values whose count is `least` or more, at least 1, in that order;
 * becomes[old] is the new number, -1 for one that is dropped (NULL: not wanted). Sets *others when
 * one is dropped that has a count. */
mica_status mica_values_reorder(mica_dictionary *d, const int64_t *count, int64_t most,
                                int64_t least, mica_value_order order, int64_t *becomes,
                                bool *others);

#endif
