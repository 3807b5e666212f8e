/* The choice of a validation part that does not change when examples are added. */
#ifndef MICA_DATA_VALIDATION_SPLIT_H
#define MICA_DATA_VALIDATION_SPLIT_H

#include <mica/dataset.h>

/* Example i of the training part goes to the validation part when hash[i], as a share of all
 * hashes, is below `share`. Within each class (labels 0..classes-1; NULL: one class) that has two
 * different hashes, at least one example goes and one stays: those with the lowest or highest hash.
 * Equal hashes stay together. */
mica_status mica_validation_split(int64_t n, const uint64_t *hash, const int64_t *label,
                                  int64_t classes, double share, uint8_t *part);

#endif
