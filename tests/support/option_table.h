/* Compares an options struct's initialiser macro with the option table of the same component.
 *
 *     assert_initialiser(mica_component_adam.options, mica_adam_options, MICA_ADAM_OPTIONS);
 */
#ifndef MICA_TESTS_OPTION_TABLE_H
#define MICA_TESTS_OPTION_TABLE_H

#include "support/test.h"

#include <mica/component.h>

#define assert_initialiser(table, type, macro)                                                     \
  do {                                                                                             \
    const type initialised = macro;                                                                \
    check_initialiser(table, &initialised, sizeof initialised, #macro);                            \
  } while (0)

void check_initialiser(const mica_option *table, const void *initialised, size_t bytes,
                       const char *macro);

#endif
