/* mica/dataset.h: pictures with labels, read from folders and IDX files, and batches of them.
 *
 * A data set is held in memory as uint8 [N,H,W,C] at one size. What cannot be read is skipped,
 * counted and listed; a strict opening stops instead.
 */
#ifndef MICA_DATASET_H
#define MICA_DATASET_H

#include <mica/image.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Read an IDX file (MNIST's format; .gz as well): uint8, int32 and so on, big endian, up to 4
 * dimensions. */
MICA_API mica_status mica_idx_read(const char *path, mica_tensor **out);

/* ---- data sets ---- */

typedef enum mica_part {
  MICA_PART_TRAIN,
  MICA_PART_VALIDATION,
  MICA_PART_TEST,
  MICA_PART_COUNT
} mica_part;

typedef struct mica_dataset mica_dataset;

typedef struct mica_dataset_options {
  uint32_t size;
  int64_t height, width,
      channels;      /* of the pictures; 0: IDX files keep theirs, folders become 32x32x3 */
  double validation; /* share of the training part held out where no validation part is given; each
                        class gives its share, chosen by a hash of the item's name, so adding files
                        moves none */
  const char *classes; /* names to keep, separated by commas (an order too); NULL: all */
  bool strict;         /* stop at the first unreadable file */
} mica_dataset_options;
#define MICA_DATASET_OPTIONS                                                                       \
  { sizeof(mica_dataset_options), 0, 0, 0, 0.1, NULL, false }

/* Open a folder: four IDX files with MNIST's names (.gz or not), or DIR/CLASS/picture, or
 * DIR/{train,val,test}/CLASS/picture. */
MICA_API mica_status mica_dataset_open(const char *path, const mica_dataset_options *options,
                                       mica_dataset **out);
MICA_API void mica_dataset_free(mica_dataset *ds);
MICA_API int64_t mica_dataset_count(const mica_dataset *ds);
MICA_API int64_t mica_dataset_part_count(const mica_dataset *ds, mica_part part);
/* The shape [H,W,C] that all pictures have. */
MICA_API mica_shape mica_dataset_shape(const mica_dataset *ds);
/* The pixels of item i, uint8 [H,W,C], into `out`. Any number of threads may read at once. */
MICA_API mica_status mica_dataset_read(const mica_dataset *ds, int64_t i, uint8_t *out);
/* Borrowed: the labels, int64 [N]. */
MICA_API const mica_tensor *mica_dataset_labels(const mica_dataset *ds);
MICA_API mica_part mica_dataset_part_of(const mica_dataset *ds, int64_t i);
/* The file of an item below the folder, or "IDX file:number". Written to buf; returns buf. */
MICA_API const char *mica_dataset_name(const mica_dataset *ds, int64_t i, char *buf, size_t n);
MICA_API int64_t mica_dataset_classes(const mica_dataset *ds);
MICA_API const char *mica_dataset_class(const mica_dataset *ds, int64_t i);
/* Files skipped, and a line for each of the first hundred. */
MICA_API int64_t mica_dataset_skipped(const mica_dataset *ds);
MICA_API const char *mica_dataset_skipped_text(const mica_dataset *ds);
/* Mean and deviation of each channel over the training part, in 0..1; up to 4 channels. */
MICA_API void mica_dataset_statistics(const mica_dataset *ds, double mean[4], double deviation[4]);

#ifdef __cplusplus
}
#endif
#endif
