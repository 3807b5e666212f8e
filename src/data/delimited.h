/* Records of delimited text (RFC 4180): CSV and its relatives with tabs, semicolons, bars, spaces.
 *
 * A field in quotes may hold delimiters, line ends and, doubled, quotes. Lines end with LF, CRLF or
 * CR. Blanks around a field, and around its quotes, are dropped; lines that hold nothing are passed
 * over. A quote inside an unquoted field is an ordinary character. UTF-8 only, with or without a
 * byte order mark; NUL bytes, other encodings, text behind a closing quote and records beyond the
 * limits are errors that name file and line. Memory is bounded by the limit, whatever the input.
 */
#ifndef MICA_DATA_DELIMITED_H
#define MICA_DATA_DELIMITED_H

#include "data/input.h"

#define MICA_RECORD_LIMIT ((size_t)16 << 20) /* bytes of one record */
#define MICA_FIELDS_MAX   65536

typedef struct mica_delimited mica_delimited;

/* Reads from `input`, which must outlive the reader. A delimiter of 0: the one of , TAB ; | (and
 * space where there is none of them) that parts the first lines most evenly. `limit` 0:
 * MICA_RECORD_LIMIT. */
mica_status mica_delimited_create(mica_input *input, char delimiter, size_t limit,
                                  mica_delimited **out);
void mica_delimited_free(mica_delimited *r);
char mica_delimited_delimiter(const mica_delimited *r);

/* The next record: *n fields as NUL-terminated text, valid until the next call; *n is 0 at the end.
 */
mica_status mica_delimited_next(mica_delimited *r, const char *const **fields, int64_t *n);
/* The line, from 1, on which the latest record began. */
int64_t mica_delimited_line(const mica_delimited *r);

#endif
