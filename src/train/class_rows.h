/* Numbers of examples by a class of theirs. */
#ifndef MICA_TRAIN_CLASS_ROWS_H
#define MICA_TRAIN_CLASS_ROWS_H

#include <mica/base.h>

typedef struct class_rows {
  int64_t *at;  /* [classes + 1] */
  int64_t *row; /* [at[classes]], ascending within a class */
} class_rows;

/* Of n labels; those below 0, and those that keep (NULL: all) has no true for, are left out. */
mica_status mica_class_rows(int64_t n, const int64_t *label, const bool *keep, int64_t classes,
                            class_rows *out);
void mica_class_rows_free(class_rows *rows);

static inline int64_t mica_class_rows_of(const class_rows *rows, int64_t c) {
  return rows->at[c + 1] - rows->at[c];
}

#endif
