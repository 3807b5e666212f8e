/* Small pictures of rows. */
#include "cli/picture_book.h"

#include "cli/catalogue.h"

#include <string.h>

void picture_book_close(picture_book *book) {
  mica_dataset_free(book->ds);
  mica_free(book->item);
  *book = (picture_book){0};
}

static bool holds_files(const mica_dataset *ds) {
  char name[512];
  mica_dataset_name(ds, 0, name, sizeof name);
  return is_picture_file(name);
}

/* Items of the training part, then those of the validation and the test part. */
static mica_status order_by_part(picture_book *book) {
  const int64_t n = mica_dataset_count(book->ds);
  book->item = mica_realloc_array(NULL, (size_t)n + 1, sizeof *book->item);
  if (!book->item) return MICA_ERR_MEMORY;
  book->n = 0;
  for (int part = 0; part < MICA_PART_COUNT; part++)
    for (int64_t i = 0; i < n; i++)
      if (mica_dataset_part_of(book->ds, i) == (mica_part)part) book->item[book->n++] = i;
  return MICA_OK;
}

mica_status picture_book_open(const cli_args *a, const char *data, bool features,
                              picture_book *out) {
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  *out = (picture_book){0};
  o.validation = 0; /* as `mica embed` opens it */
  o.strict = cli_on(a, "--strict");
  mica_status status = catalogue_open_dataset(data, &o, &out->ds);
  /* Pictures in arrays keep their size, files are given one. */
  if (!status && holds_files(out->ds)) {
    mica_dataset_free(out->ds);
    out->ds = NULL;
    o.height = o.width = PICTURE_SIDE;
    o.channels = 3;
    status = catalogue_open_dataset(data, &o, &out->ds);
  }
  if (!status) out->n = mica_dataset_count(out->ds);
  if (!status && features) status = order_by_part(out);
  if (status) picture_book_close(out);
  return status;
}

/* Replace a picture that is too large by a smaller one. */
static mica_status shrink(mica_tensor **picture) {
  const int64_t h = mica_tensor_dim(*picture, 0), w = mica_tensor_dim(*picture, 1);
  const int64_t longer = h > w ? h : w;
  mica_tensor *small = NULL;
  if (longer <= PICTURE_SIDE) return MICA_OK;
  const int64_t height = h * PICTURE_SIDE / longer, width = w * PICTURE_SIDE / longer;
  const mica_status status = mica_image_resize(*picture, height ? height : 1, width ? width : 1,
                                               MICA_FILTER_BILINEAR, &small);
  mica_tensor_free(*picture);
  *picture = small;
  return status;
}

int64_t picture_book_label(const picture_book *book, int64_t row) {
  if (row < 0 || row >= book->n) return -1;
  const int64_t *label = mica_tensor_data(mica_dataset_labels(book->ds));
  return label[book->item ? book->item[row] : row];
}

mica_status picture_book_read(const picture_book *book, int64_t row, mica_tensor **out) {
  *out = NULL;
  if (row < 0 || row >= book->n)
    return mica_fail(MICA_ERR_NOT_FOUND, "row %lld has no picture: the data set has %lld",
                     (long long)row, (long long)book->n);
  mica_status status = mica_tensor_create(MICA_U8, mica_dataset_shape(book->ds), out);
  if (!status)
    status =
        mica_dataset_read(book->ds, book->item ? book->item[row] : row, mica_tensor_data(*out));
  if (!status) return shrink(out);
  mica_tensor_free(*out);
  *out = NULL;
  return status;
}

mica_status picture_of_file(const char *path, mica_tensor **out) {
  const mica_status status = mica_image_read(path, out);
  return status ? status : shrink(out);
}
