#include "support/option_table.h"

#include "base/options.h"

#include <stdlib.h>
#include <string.h>

void check_initialiser(const mica_option *table, const void *initialised, size_t bytes,
                       const char *macro) {
  uint32_t size;
  memcpy(&size, initialised, sizeof size);
  if (size != bytes) fail_msg("%s: size is %u, the struct has %zu bytes", macro, size, bytes);
  if (mica_options_check(table, bytes)) fail_msg("%s: %s", macro, mica_last_error());
  void *defaults = malloc(bytes);
  assert_non_null(defaults);
  assert_int_equal(mica_options_default(table, defaults, bytes), MICA_OK);
  for (const mica_option *row = table; row && row->name; row++)
    if (!mica_option_equal(row, initialised, defaults))
      fail_msg("%s: option %s differs from the table's default %s", macro, row->name,
               row->def ? row->def : "(none)");
  free(defaults);
}
