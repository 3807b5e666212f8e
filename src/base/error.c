/* Status names and each thread's last error.
 *
 * The message lives in a fixed buffer of the thread, so that an out-of-memory error can be told
 * without memory. A message that is too long is cut at its end.
 */
#include <mica/base.h>

#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX 1024

typedef struct last_error {
  mica_status status;
  char text[MESSAGE_MAX];
} last_error;

static _Thread_local last_error latest;

const char *mica_version(void) {
  return MICA_VERSION;
}

const char *mica_status_name(mica_status status) {
  switch (status) {
  case MICA_OK: return "ok";
  case MICA_ERR_INVALID: return "invalid argument";
  case MICA_ERR_SHAPE: return "shape mismatch";
  case MICA_ERR_MEMORY: return "out of memory";
  case MICA_ERR_IO: return "input or output failed";
  case MICA_ERR_FORMAT: return "malformed data";
  case MICA_ERR_UNSUPPORTED: return "unsupported";
  case MICA_ERR_NOT_FOUND: return "not found";
  case MICA_ERR_NUMERIC: return "numeric failure";
  case MICA_ERR_STATE: return "wrong state";
  case MICA_ERR_CANCELLED: return "cancelled";
  }
  return "unknown status";
}

const char *mica_last_error(void) {
  return latest.text;
}

mica_status mica_last_status(void) {
  return latest.status;
}

void mica_clear_error(void) {
  latest.status = MICA_OK;
  latest.text[0] = '\0';
}

/* Keep what fits, without half a UTF-8 sequence at a cut end. */
static void keep(mica_status status, const char *text) {
  size_t n = strnlen(text, MESSAGE_MAX);
  if (n == MESSAGE_MAX) {
    n = MESSAGE_MAX - 1;
    while (n > 0 && ((unsigned char)text[n] & 0xc0u) == 0x80u) n--;
  }
  memcpy(latest.text, text, n);
  latest.text[n] = '\0';
  latest.status = status;
}

/* The arguments may point into the buffer itself (a message that quotes the last error), so the
 * text is made beside it first. */
mica_status mica_fail(mica_status status, const char *fmt, ...) {
  char text[MESSAGE_MAX + 1];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  keep(status, n < 0 ? fmt : text);
  return status;
}

mica_status mica_fail_within(const char *fmt, ...) {
  char text[2 * MESSAGE_MAX + 2];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, MESSAGE_MAX, fmt, args);
  va_end(args);
  if (n < 0) text[0] = '\0';
  size_t used = strlen(text);
  memcpy(text + used, ": ", 2);
  memcpy(text + used + 2, latest.text, strlen(latest.text) + 1);
  keep(latest.status ? latest.status : MICA_ERR_STATE, text);
  return latest.status;
}
