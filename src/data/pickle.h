/* A restricted reader of Python pickles: enough for the files of torch.save and
 * for lists of numbers and texts, and nothing that runs.
 *
 * A pickle is a program for a stack machine that may name any function of Python and call it. This
 * machine knows the instructions that build lists, tuples, dictionaries and scalars, and a fixed
 * list of names; "calling" one of those assembles a value here. Every other instruction or name is
 * an error that says which. Memory and time are bounded by the pickle's length.
 */
#ifndef MICA_DATA_PICKLE_H
#define MICA_DATA_PICKLE_H

#include "data/source.h"

#include <mica/tensor.h>

typedef enum mica_pickle_kind {
  MICA_PICKLE_NONE,
  MICA_PICKLE_BOOL,
  MICA_PICKLE_INT,
  MICA_PICKLE_FLOAT,
  MICA_PICKLE_TEXT,
  MICA_PICKLE_BYTES, /* also integers of more than 8 bytes, as they stand in the file */
  MICA_PICKLE_LIST,  /* also NumPy arrays of one dimension */
  MICA_PICKLE_TUPLE,
  MICA_PICKLE_DICT,   /* item: key, value, key, value, ... */
  MICA_PICKLE_GLOBAL, /* text: "module.name", one of the known ones */
  MICA_PICKLE_STORAGE,
  MICA_PICKLE_TENSOR,
  MICA_PICKLE_NUMPY_TYPE, /* text: "f8" */
  MICA_PICKLE_MARK
} mica_pickle_kind;

typedef struct mica_pickle_value mica_pickle_value;
struct mica_pickle_value {
  mica_pickle_kind kind;
  int64_t integer; /* of int and bool; elements of a storage; storage offset of a tensor */
  double real;
  char *text; /* NUL-terminated; a storage's key */
  size_t n;
  mica_pickle_value **item; /* owned list of borrowed values */
  int64_t count, room;
  mica_pickle_value *storage; /* of a tensor; of a storage: its type, a global */
  mica_shape shape;
  int64_t stride[MICA_MAX_RANK];
  mica_pickle_value *next; /* all values of a document, for their release */
};

typedef struct mica_pickle {
  mica_pickle_value *all;
  mica_pickle_value *root;
  int64_t values;
} mica_pickle;

/* Read one pickle at *at and move *at behind it. `out` is to be freed also after an error. */
mica_status mica_pickle_read(const mica_source *source, uint64_t *at, mica_pickle *out);
void mica_pickle_free(mica_pickle *pickle);

/* The value under a text key, NULL when absent or when `dict` is none. */
const mica_pickle_value *mica_pickle_get(const mica_pickle_value *dict, const char *key);

#endif
