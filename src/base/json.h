/* JSON (RFC 8259): a strict reader into a tree, and a writer.
 *
 * Our own, because the allocator hooks of the usual libraries are process-wide (they would change
 * the host's) and the embedded build has no external library. The reader refuses what is not JSON,
 * names given twice, more than MICA_JSON_DEPTH nested levels, bad UTF-8, a NUL inside a string and
 * numbers beyond a double, each with line and column. 64-bit integers, signed or not, stay exact.
 */
#ifndef MICA_BASE_JSON_H
#define MICA_BASE_JSON_H

#include "base/buffer.h"

#define MICA_JSON_DEPTH 64

typedef enum mica_json_type {
  MICA_JSON_NULL,
  MICA_JSON_BOOL,
  MICA_JSON_INT,
  MICA_JSON_FLOAT,
  MICA_JSON_STRING,
  MICA_JSON_ARRAY,
  MICA_JSON_OBJECT
} mica_json_type;

typedef struct mica_json mica_json;         /* a value; lives as long as its document */
typedef struct mica_json_doc mica_json_doc; /* owns the tree */

/* Parse text[0..n) (no NUL needed). The document keeps no pointer into the text. */
mica_status mica_json_parse(const char *text, size_t n, mica_json_doc **out);
/* Read and parse a file of at most `limit` bytes; errors name it. */
mica_status mica_json_read(const char *path, size_t limit, mica_json_doc **out);
void mica_json_free(mica_json_doc *doc);
const mica_json *mica_json_root(const mica_json_doc *doc);

/* All of these accept NULL as a value: it has type null. */
mica_json_type mica_json_type_of(const mica_json *v);
const char *mica_json_type_name(mica_json_type type); /* "a string", "an object", ... */
/* Members of an array or object, else 0. */
int64_t mica_json_count(const mica_json *v);
/* Member i in the order of the text; NULL out of range. */
const mica_json *mica_json_item(const mica_json *v, int64_t i);
/* The name of member i of an object; NULL out of range or for an array. */
const char *mica_json_name(const mica_json *v, int64_t i);
/* The member of that name (binary search); NULL when absent or when v is no object. */
const mica_json *mica_json_get(const mica_json *v, const char *name);

/* A string's text, NUL-terminated UTF-8; NULL for any other type. */
const char *mica_json_string(const mica_json *v);
/* These return false and leave *out alone when v is of another type or does not fit. */
bool mica_json_bool(const mica_json *v, bool *out);
bool mica_json_int64(const mica_json *v, int64_t *out);
bool mica_json_uint64(const mica_json *v, uint64_t *out);
bool mica_json_double(const mica_json *v, double *out); /* of an integer too */

/* The same for a member that must be there: MICA_ERR_FORMAT, with its name and what was expected.
 */
mica_status mica_json_need_string(const mica_json *object, const char *name, const char **out);
mica_status mica_json_need_int64(const mica_json *object, const char *name, int64_t *out);
mica_status mica_json_need_double(const mica_json *object, const char *name, double *out);
mica_status mica_json_need(const mica_json *object, const char *name, mica_json_type type,
                           const mica_json **out);

/* ---- writing ---- */

/* Begin with {&bytes, indent}: values appear one after the other in the buffer, commas, colons and
 * line breaks by themselves. indent is the number of spaces a level, 0 for all on one line.
 * Failures latch in the buffer. More than MICA_JSON_DEPTH levels are such a failure. */
typedef struct mica_json_writer {
  mica_bytes *out;
  int indent;
  int depth;
  uint64_t started; /* bit d: level d has a member already */
  bool named;       /* a name was written and its value is due */
} mica_json_writer;

void mica_json_begin_object(mica_json_writer *w);
void mica_json_end_object(mica_json_writer *w);
void mica_json_begin_array(mica_json_writer *w);
void mica_json_end_array(mica_json_writer *w);
void mica_json_write_name(mica_json_writer *w, const char *name);
void mica_json_write_null(mica_json_writer *w);
void mica_json_write_bool(mica_json_writer *w, bool value);
void mica_json_write_int(mica_json_writer *w, int64_t value);
void mica_json_write_uint(mica_json_writer *w, uint64_t value);
/* The shortest text that reads back the same; null when not finite, for JSON has no such numbers.
 */
void mica_json_write_double(mica_json_writer *w, double value);
/* Bytes that are not UTF-8 (a file's name may hold them) become U+FFFD; NULL becomes null. */
void mica_json_write_string(mica_json_writer *w, const char *text);

/* A member of an object: its name and its value. */
void mica_json_put_text(mica_json_writer *w, const char *name, const char *text);
void mica_json_put_int(mica_json_writer *w, const char *name, int64_t value);
void mica_json_put_double(mica_json_writer *w, const char *name, double value);

#endif
