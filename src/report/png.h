/* report/png.h: thumbnails as PNG, in every build and with the same bytes everywhere. */
#ifndef MICA_REPORT_PNG_H
#define MICA_REPORT_PNG_H

#include <mica/report.h>

/* Encode a checked picture; *png is to be released with mica_free. */
mica_status mica_png_thumbnail(const mica_picture *picture, uint8_t **png, size_t *length);

#endif
