/* The arrays that an index keeps beside its rows: made by a build, or lying in the file's memory
 * after it was opened, and in either case held as tensors, which are also what goes to the file. */
#ifndef MICA_INDEX_ARRAYS_H
#define MICA_INDEX_ARRAYS_H

#include <mica/feature.h>

/* A new tensor into *held, and its elements. */
mica_status mica_index_array_make(mica_dtype dtype, mica_shape shape, mica_tensor **held,
                                  void **data);
/* The record's tensor of this name, of which *held becomes one more owner, and its elements: `n` of
 * `dtype`, else MICA_ERR_FORMAT with `who` in the message. */
mica_status mica_index_array_take(const mica_record *record, const char *who, const char *name,
                                  mica_dtype dtype, int64_t n, mica_tensor **held, void **data);
/* Put those of `n` tensors that are there into a record, under their names. */
mica_status mica_index_arrays_save(mica_record *record, const char *const *name,
                                   mica_tensor *const *held, size_t n);

#endif
