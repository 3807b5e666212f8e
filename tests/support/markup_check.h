/* Is a text well-formed XML, or HTML as strict as XML but for elements that have no end? Our own
 * reader, so that the test needs no other program. */
#ifndef MICA_TESTS_MARKUP_CHECK_H
#define MICA_TESTS_MARKUP_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/* NULL when well-formed, else what is wrong and where (in a static buffer): UTF-8, characters, tags
 * that match, attributes quoted and unique, entities known, no NaN or infinity in an attribute.
 * Contents of style and script are skipped in HTML. */
const char *markup_problem(const char *text, bool html);

/* How often `part` stands in `text`. */
size_t markup_count(const char *text, const char *part);

#endif
