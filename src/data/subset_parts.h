/* A part with fewer of its items. */
#ifndef MICA_DATA_SUBSET_PARTS_H
#define MICA_DATA_SUBSET_PARTS_H

#include <mica/dataset.h>

/* Of the n items whose parts are part_of [n], leave in `part` only the m given; the others get
 * MICA_PART_COUNT. MICA_ERR_INVALID for one that is not in the part, or given twice; then nothing
 * changes. */
mica_status mica_subset_parts(int64_t n, uint8_t *part_of, mica_part part, int64_t m,
                              const int64_t *item);

#endif
