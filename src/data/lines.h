/* Lines of text, one after the other; LF, CR LF or CR, of at most 16 MiB. */
#ifndef MICA_DATA_LINES_H
#define MICA_DATA_LINES_H

#include "data/input.h"

typedef struct mica_lines mica_lines;

/* `input` must outlive the reader. */
mica_status mica_lines_create(mica_input *input, mica_lines **out);
void mica_lines_free(mica_lines *l);
/* The next line without its end, NUL-terminated, to be changed at will, valid until the next call;
 * NULL at the end. A NUL byte or a line beyond the limit is MICA_ERR_FORMAT. */
mica_status mica_lines_next(mica_lines *l, char **text);
/* The number of the latest line, from 1. */
int64_t mica_lines_number(const mica_lines *l);

#endif
