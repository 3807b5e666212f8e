/* The JSON writer. */
#include "base/json.h"
#include "base/number.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void new_line(mica_json_writer *w) {
  if (!w->indent) return;
  mica_bytes_byte(w->out, '\n');
  for (int i = 0; i < w->depth * w->indent; i++) mica_bytes_byte(w->out, ' ');
}

/* What goes before a value or a name. */
static void separate(mica_json_writer *w) {
  if (w->named) {
    w->named = false;
    return;
  }
  if (w->depth == 0) return;
  uint64_t bit = (uint64_t)1 << (w->depth - 1);
  if (w->started & bit) mica_bytes_byte(w->out, ',');
  w->started |= bit;
  new_line(w);
}

static void begin(mica_json_writer *w, char bracket) {
  separate(w);
  if (w->depth == MICA_JSON_DEPTH) {
    if (!w->out->status)
      w->out->status = mica_fail(MICA_ERR_STATE, "JSON: nested more than 64 deep");
    return;
  }
  mica_bytes_byte(w->out, bracket);
  w->started &= ~((uint64_t)1 << w->depth);
  w->depth++;
}

static void end(mica_json_writer *w, char bracket) {
  if (w->out->status) return;
  if (w->depth == 0 || w->named) {
    w->out->status = mica_fail(MICA_ERR_STATE, "JSON: '%c' where nothing can end", bracket);
    return;
  }
  w->depth--;
  if (w->started >> w->depth & 1) new_line(w);
  mica_bytes_byte(w->out, bracket);
}

void mica_json_begin_object(mica_json_writer *w) {
  begin(w, '{');
}
void mica_json_end_object(mica_json_writer *w) {
  end(w, '}');
}
void mica_json_begin_array(mica_json_writer *w) {
  begin(w, '[');
}
void mica_json_end_array(mica_json_writer *w) {
  end(w, ']');
}

static void quoted(mica_bytes *out, const char *text) {
  static const char hex[] = "0123456789abcdef";
  size_t n = strlen(text), plain = 0;
  mica_bytes_byte(out, '"');
  for (size_t i = 0; i < n;) {
    unsigned char c = (unsigned char)text[i];
    size_t length = mica_utf8_length(text + i, n - i);
    if (length && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
      i += length;
      continue;
    }
    mica_bytes_append(out, text + plain, i - plain);
    if (length == 0) {
      mica_bytes_text(out, "\xef\xbf\xbd");
    } else if (c == '"' || c == '\\') {
      mica_bytes_byte(out, '\\');
      mica_bytes_byte(out, (char)c);
    } else if (c == '\n') {
      mica_bytes_text(out, "\\n");
    } else if (c == '\t') {
      mica_bytes_text(out, "\\t");
    } else {
      const char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
      mica_bytes_append(out, escape, sizeof escape);
    }
    plain = ++i;
  }
  mica_bytes_append(out, text + plain, n - plain);
  mica_bytes_byte(out, '"');
}

void mica_json_write_name(mica_json_writer *w, const char *name) {
  separate(w);
  quoted(w->out, name);
  mica_bytes_text(w->out, w->indent ? ": " : ":");
  w->named = true;
}

void mica_json_write_null(mica_json_writer *w) {
  separate(w);
  mica_bytes_text(w->out, "null");
}

void mica_json_write_bool(mica_json_writer *w, bool value) {
  separate(w);
  mica_bytes_text(w->out, value ? "true" : "false");
}

void mica_json_write_int(mica_json_writer *w, int64_t value) {
  separate(w);
  mica_bytes_printf(w->out, "%" PRId64, value);
}

void mica_json_write_uint(mica_json_writer *w, uint64_t value) {
  separate(w);
  mica_bytes_printf(w->out, "%" PRIu64, value);
}

void mica_json_write_double(mica_json_writer *w, double value) {
  if (!isfinite(value)) {
    mica_json_write_null(w);
    return;
  }
  separate(w);
  char text[MICA_DOUBLE_TEXT];
  mica_bytes_append(w->out, text, (size_t)mica_format_double(value, text));
  /* Kept apart from an integer, also for the sign of -0. */
  if (!strpbrk(text, ".e")) mica_bytes_text(w->out, ".0");
}

void mica_json_write_string(mica_json_writer *w, const char *text) {
  if (!text) {
    mica_json_write_null(w);
    return;
  }
  separate(w);
  quoted(w->out, text);
}

void mica_json_put_text(mica_json_writer *w, const char *name, const char *text) {
  mica_json_write_name(w, name);
  mica_json_write_string(w, text);
}

void mica_json_put_int(mica_json_writer *w, const char *name, int64_t value) {
  mica_json_write_name(w, name);
  mica_json_write_int(w, value);
}

void mica_json_put_double(mica_json_writer *w, const char *name, double value) {
  mica_json_write_name(w, name);
  mica_json_write_double(w, value);
}
