/* Option tables, for the rest of the library. */
#ifndef MICA_BASE_OPTIONS_H
#define MICA_BASE_OPTIONS_H

#include "base/buffer.h"

#include <mica/component.h>

/* Bytes of the field that an option of this type has. */
size_t mica_option_size(mica_option_type type);
/* "a number", "true or false", ...: what is expected of a value. */
const char *mica_option_type_name(mica_option_type type);

/* The row of that name, or NULL with a message that suggests the nearest or lists them all. */
const mica_option *mica_option_find(const mica_option *table, const char *name);

/* Is the table itself sound: names, offsets within `bytes`, defaults that parse and lie in range?
 */
mica_status mica_options_check(const mica_option *table, size_t bytes);

/* Append the value of one option as the grammar writes it. */
void mica_option_write(mica_bytes *out, const mica_option *row, const void *options);
/* Does the option have the same value in both structs? */
bool mica_option_equal(const mica_option *row, const void *a, const void *b);

/* Keep a copy of text[0..n) for as long as the spec lives; NULL when memory is short. */
const char *mica_spec_keep(mica_spec *spec, const char *text, size_t n);

/* "key=value:key=value" for a component that is not chosen by name; "" is its defaults. */
mica_status mica_spec_options_parse(const mica_component *component, const char *text,
                                    mica_spec **out);

/* The parts of a text between separators outside parentheses, without the blanks around them; at
 * most `most`. Free with mica_spec_split_free. */
mica_status mica_spec_split(const char *text, char separator, int most, char ***out, int *n);
void mica_spec_split_free(char **part, int n);

#endif
