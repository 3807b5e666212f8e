/* The digits' table as pictures. */
#include "paper/claims/digits.h"

#include "base/file.h"
#include "paper/claim.h"
#include "paper/claims/digits_table.h"

#include <mica/image.h>

#include <string.h>

enum { SMALL = MICA_DIGITS_SIDE, SIDE = 28 };

static const char packaged[] = "/usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz";

static char *find(void) {
  if (mica_file_exists(packaged)) return mica_strdup(packaged);
  return mica_claim_find_data("digits.csv.gz");
}

static mica_status place(const mica_tensor *small, int64_t side, float *to) {
  mica_tensor *large = NULL;
  const mica_status status = mica_image_resize(small, side, side, MICA_FILTER_BILINEAR, &large);
  if (status != MICA_OK) return status;
  const uint8_t *from = mica_tensor_data(large);
  const int64_t margin = (SIDE - side) / 2;
  for (int64_t r = 0; r < side; r++)
    for (int64_t c = 0; c < side; c++)
      to[(margin + r) * SIDE + margin + c] = (float)from[r * side + c] / 255.0f;
  mica_tensor_free(large);
  return MICA_OK;
}

mica_status mica_claim_digits(mica_claim_cell *cell, int64_t side, mica_tensor **x,
                              mica_tensor **label) {
  (void)cell;
  enum { PIXELS = SMALL * SMALL };
  mica_tensor *small = NULL;
  char *path = find();
  *x = *label = NULL;
  if (!path) return mica_last_status();
  uint8_t *pixels = mica_malloc(MICA_DIGITS * PIXELS);
  mica_status status = pixels ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_tensor_create(MICA_U8, MICA_SHAPE(SMALL, SMALL, 1), &small);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(MICA_DIGITS, SIDE, SIDE, 1), x);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(MICA_DIGITS), label);
  if (status == MICA_OK) status = mica_digits_read(path, pixels, mica_tensor_data(*label));
  for (int64_t i = 0; i < MICA_DIGITS && status == MICA_OK; i++) {
    memcpy(mica_tensor_data(small), pixels + i * PIXELS, PIXELS);
    status = place(small, side, (float *)mica_tensor_data(*x) + i * SIDE * SIDE);
  }
  if (status != MICA_OK) {
    mica_tensor_free(*x);
    mica_tensor_free(*label);
    *x = *label = NULL;
  }
  mica_tensor_free(small);
  mica_free(pixels);
  mica_free(path);
  return status;
}
