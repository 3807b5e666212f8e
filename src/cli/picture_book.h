/* Small pictures of the rows of an index or of queries, found by the number that a row has. */
#ifndef MICA_CLI_PICTURE_BOOK_H
#define MICA_CLI_PICTURE_BOOK_H

#include "cli/row_source.h"

#define PICTURE_SIDE 96 /* the longer side is at most that */

typedef struct picture_book {
  mica_dataset *ds;
  int64_t *item; /* [n] of the rows of a file of features; NULL: rows are items */
  int64_t n;
} picture_book;

/* The pictures of a data set. `features`: the rows are those that `mica embed --data` writes for
 * it, part after part. */
mica_status picture_book_open(const cli_args *a, const char *data, bool features,
                              picture_book *out);
void picture_book_close(picture_book *book);
/* The picture of a row, uint8 [H,W,C]; and the label that the data set gives it. */
mica_status picture_book_read(const picture_book *book, int64_t row, mica_tensor **out);
int64_t picture_book_label(const picture_book *book, int64_t row); /* -1: there is no such row */
/* The picture in a file, scaled down to the same size. */
mica_status picture_of_file(const char *path, mica_tensor **out);

#endif
