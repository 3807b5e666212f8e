/* A buffer that grows by half again, so that appending costs amortised constant time. */
#include "base/buffer.h"

#include <stdio.h>
#include <string.h>

char *mica_bytes_reserve(mica_bytes *b, size_t more) {
  if (b->status) return NULL;
  if (more > SIZE_MAX / 2 - b->n - 1) {
    b->status = mica_fail(MICA_ERR_MEMORY, "out of memory: %zu bytes asked for", more);
    return NULL;
  }
  size_t need = b->n + more + 1;
  if (need > b->room) {
    size_t room = b->room + b->room / 2;
    if (room < need) room = need;
    if (room < 64) room = 64;
    char *grown = mica_realloc_array(b->data, room, 1);
    if (!grown) {
      b->status = MICA_ERR_MEMORY;
      return NULL;
    }
    b->data = grown;
    b->room = room;
  }
  b->data[b->n + more] = '\0';
  return b->data + b->n;
}

void mica_bytes_append(mica_bytes *b, const void *bytes, size_t n) {
  char *at = mica_bytes_reserve(b, n);
  if (!at) return;
  if (n) memcpy(at, bytes, n);
  b->n += n;
}

void mica_bytes_byte(mica_bytes *b, char byte) {
  mica_bytes_append(b, &byte, 1);
}

void mica_bytes_text(mica_bytes *b, const char *text) {
  mica_bytes_append(b, text, strlen(text));
}

void mica_bytes_csv(mica_bytes *b, const char *text) {
  const size_t n = strlen(text);
  /* Readers drop blanks at the ends, and some take '#' for a remark. */
  const bool plain =
      !n || (!strpbrk(text, ",\"\r\n") && !strchr(" \t#", *text) && !strchr(" \t", text[n - 1]));
  if (!plain) mica_bytes_byte(b, '"');
  for (; *text; text++) {
    if (*text == '"') mica_bytes_byte(b, '"');
    mica_bytes_byte(b, *text);
  }
  if (!plain) mica_bytes_byte(b, '"');
}

void mica_bytes_printf(mica_bytes *b, const char *fmt, ...) {
  va_list args, again;
  va_start(args, fmt);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, args);
  va_end(args);
  char *at = n < 0 ? NULL : mica_bytes_reserve(b, (size_t)n);
  if (at) {
    vsnprintf(at, (size_t)n + 1, fmt, again);
    b->n += (size_t)n;
  } else if (!b->status) {
    b->status = mica_fail(MICA_ERR_INVALID, "text could not be formatted");
  }
  va_end(again);
}

void mica_bytes_clear(mica_bytes *b) {
  b->n = 0;
  b->status = MICA_OK;
  if (b->data) b->data[0] = '\0';
}

void mica_bytes_free(mica_bytes *b) {
  mica_free(b->data);
  *b = (mica_bytes){0};
}

char *mica_bytes_take(mica_bytes *b) {
  if (!mica_bytes_reserve(b, 0)) {
    mica_bytes_free(b);
    return NULL;
  }
  char *data = b->data;
  *b = (mica_bytes){0};
  return data;
}
