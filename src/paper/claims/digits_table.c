/* Reading the digits' file, plain or compressed. */
#include "paper/claims/digits_table.h"

#include "data/input.h"
#include "data/lines.h"

#include <stdlib.h>

enum { PIXELS = MICA_DIGITS_SIDE * MICA_DIGITS_SIDE };

static mica_status parse(const char *line, int64_t number, uint8_t *pixels, int64_t *label) {
  const char *at = line;
  for (int i = 0; i <= PIXELS; i++) {
    char *end;
    const long v = strtol(at, &end, 10);
    const long most = i < PIXELS ? 16 : 9;
    if (end == at || v < 0 || v > most || *end != (i < PIXELS ? ',' : 0))
      return mica_fail(MICA_ERR_FORMAT, "digits: line %lld is no picture", (long long)number);
    if (i < PIXELS)
      pixels[i] = (uint8_t)(v * 255 / 16);
    else
      *label = v;
    at = end + 1;
  }
  return MICA_OK;
}

mica_status mica_digits_read(const char *path, uint8_t *pixels, int64_t *label) {
  mica_input *input = NULL;
  mica_lines *lines = NULL;
  char *line = NULL;
  mica_status status = mica_input_open(path, &input);
  if (status == MICA_OK) status = mica_lines_create(input, &lines);
  for (int64_t i = 0; i < MICA_DIGITS && status == MICA_OK; i++) {
    status = mica_lines_next(lines, &line);
    if (status == MICA_OK && !line)
      status = mica_fail(MICA_ERR_FORMAT, "%s: %lld pictures, expected %d", path, (long long)i,
                         MICA_DIGITS);
    if (status == MICA_OK) status = parse(line, i + 1, pixels + i * PIXELS, label + i);
  }
  mica_lines_free(lines);
  mica_input_close(input);
  return status;
}
