/* The digits' file: one line a picture, 64 numbers of 0 to 16 and the label. */
#ifndef MICA_PAPER_CLAIMS_DIGITS_TABLE_H
#define MICA_PAPER_CLAIMS_DIGITS_TABLE_H

#include <mica/base.h>

enum { MICA_DIGITS = 1797, MICA_DIGITS_SIDE = 8 };

/* pixels [1797, 8, 8], 0..255, and label [1797]. */
mica_status mica_digits_read(const char *path, uint8_t *pixels, int64_t *label);

#endif
