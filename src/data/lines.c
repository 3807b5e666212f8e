/* Lines of text: see lines.h. */
#include "data/lines.h"

#include "base/buffer.h"

#include <string.h>

enum { WINDOW = 1 << 16, LIMIT = 16 << 20 };

struct mica_lines {
  mica_input *input;
  int64_t number;
  size_t at, have; /* of window[] */
  bool end, after_cr;
  mica_bytes line;
  char window[WINDOW];
};

mica_status mica_lines_create(mica_input *input, mica_lines **out) {
  *out = NULL;
  mica_lines *l = mica_calloc(1, sizeof *l);
  if (!l) return MICA_ERR_MEMORY;
  l->input = input;
  *out = l;
  return MICA_OK;
}

void mica_lines_free(mica_lines *l) {
  if (!l) return;
  mica_bytes_free(&l->line);
  mica_free(l);
}

int64_t mica_lines_number(const mica_lines *l) {
  return l->number;
}

static mica_status fill(mica_lines *l) {
  l->at = 0;
  const mica_status status = mica_input_read(l->input, l->window, WINDOW, &l->have);
  if (status != MICA_OK) l->have = 0;
  l->end = l->have < WINDOW;
  return status;
}

/* The bytes of the window up to a line end, into the line. */
static mica_status take(mica_lines *l, bool *ended) {
  const char *from = l->window + l->at;
  const size_t left = l->have - l->at;
  size_t n = 0;
  while (n < left && from[n] && from[n] != '\n' && from[n] != '\r') n++;
  if (l->line.n + n > LIMIT)
    return mica_fail(MICA_ERR_FORMAT, "%s: line %lld: longer than %d bytes",
                     mica_input_name(l->input), (long long)l->number, LIMIT);
  mica_bytes_append(&l->line, from, n);
  l->at += n;
  *ended = n < left;
  if (!*ended) return l->line.status;
  if (!from[n])
    return mica_fail(MICA_ERR_FORMAT, "%s: line %lld: a NUL byte: this is no text file",
                     mica_input_name(l->input), (long long)l->number);
  l->after_cr = from[n] == '\r';
  l->at++;
  return l->line.status;
}

mica_status mica_lines_next(mica_lines *l, char **text) {
  bool ended = false, any = false;
  *text = NULL;
  mica_bytes_clear(&l->line);
  l->number++;
  while (!ended) {
    if (l->at == l->have) {
      const mica_status status = l->end ? MICA_OK : fill(l);
      if (status != MICA_OK) return status;
      if (l->at == l->have) break;
    }
    /* The LF of a CR LF, which may begin another window. */
    if (l->after_cr && l->window[l->at] == '\n' && !any) {
      l->after_cr = false;
      l->at++;
      continue;
    }
    l->after_cr = false;
    any = true;
    const mica_status status = take(l, &ended);
    if (status != MICA_OK) return status;
  }
  if (!any) return MICA_OK;
  if (!mica_bytes_reserve(&l->line, 1)) return l->line.status;
  l->line.data[l->line.n] = 0;
  *text = l->line.data;
  return MICA_OK;
}
