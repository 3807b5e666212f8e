/* Records of delimited text: see delimited.h.
 *
 * One pass over a window of the input. A line that the window holds whole, and that has no quotes,
 * is cut where it lies: its delimiters become the NULs that end the fields. Other records are
 * gathered in one buffer, each field followed by a NUL. Nothing is allocated once the buffers have
 * grown.
 */
#include "data/delimited.h"

#include "base/buffer.h"
#include "base/utf8.h"

#include <string.h>

enum { WINDOW = 1 << 16 };

struct mica_delimited {
  mica_input *input;
  char delimiter;
  size_t limit;
  mica_status status;               /* latched: what follows an error cannot be trusted */
  int64_t line;                     /* of the next byte */
  int64_t began;                    /* line of the latest record */
  bool end;                         /* the input has no more bytes than those in the window */
  size_t at, have;                  /* of window[] */
  bool quotes, returns, nuls, wide; /* the window has a quote, a CR, a NUL, a byte beyond ASCII */
  mica_bytes text;                  /* the fields of the record */
  size_t *offset;                   /* of each field in text */
  const char **field;
  int64_t n, room;
  char window[WINDOW + 1]; /* and a NUL behind the last line */
};

static const char *name_of(const mica_delimited *r) {
  return mica_input_name(r->input);
}

static bool beyond_ascii(const char *p, size_t n) {
  uint64_t all = 0, eight;
  for (; n >= sizeof eight; p += sizeof eight, n -= sizeof eight) {
    memcpy(&eight, p, sizeof eight);
    all |= eight;
  }
  for (; n; p++, n--) all |= (unsigned char)*p;
  return (all & 0x8080808080808080u) != 0;
}

/* Move what is left to the window's beginning and read behind it. */
static void refill(mica_delimited *r) {
  const size_t left = r->have - r->at;
  size_t got = 0;
  memmove(r->window, r->window + r->at, left);
  r->at = 0;
  r->have = left;
  r->status = mica_input_read(r->input, r->window + left, WINDOW - left, &got);
  if (r->status != MICA_OK) got = 0;
  r->end = got < WINDOW - left;
  r->have += got;
  r->quotes = memchr(r->window, '"', r->have) != NULL;
  r->returns = memchr(r->window, '\r', r->have) != NULL;
  r->nuls = memchr(r->window, 0, r->have) != NULL;
  r->wide = beyond_ascii(r->window, r->have);
}

/* Fill an empty window; false at the end, or after a failure. */
static bool more(mica_delimited *r) {
  if (r->at < r->have) return true;
  if (r->end || r->status != MICA_OK) return false;
  refill(r);
  return r->have > 0;
}

/* The next byte without taking it, -1 when there is none. */
static int peek(mica_delimited *r) {
  return more(r) ? (unsigned char)r->window[r->at] : -1;
}

/* ---- opening ---- */

static const char candidates[] = ",\t;| ";

/* Which candidate parts the lines of the window most evenly: the same number of times in each of
 * the first lines, as often as possible; where none does, the most frequent of the first line. */
static char guess_delimiter(const mica_delimited *r) {
  enum { LINES = 10, KINDS = sizeof candidates - 1 };
  int64_t count[LINES][KINDS] = {{0}};
  int lines = 0;
  bool quoted = false, any = false, open = true; /* open: a quote here would open a field */
  for (size_t i = r->at; i < r->have && lines < LINES; i++) {
    const char c = r->window[i];
    if (c == '"' && (quoted || open)) {
      quoted = !quoted;
      any = open = true; /* behind the closing quote: a doubled one goes on */
    }
    if (quoted || c == '"') continue;
    if (c == '\n' || c == '\r') {
      lines += any;
      any = false;
      open = true;
      continue;
    }
    const char *which = c ? strchr(candidates, c) : NULL;
    if (which) count[lines][which - candidates]++;
    open = which != NULL;
    any = true;
  }
  if (any && lines < LINES && (r->end || !lines)) lines++;
  char best = 0;
  int64_t most = 0;
  for (int pass = 0; pass < 2 && !best; pass++)
    for (int k = 0; k < KINDS; k++) {
      bool even = true;
      for (int i = 1; i < lines; i++) even &= count[i][k] == count[0][k];
      if (candidates[k] == ' ' && best) continue;
      if ((even || pass) && count[0][k] > most) {
        most = count[0][k];
        best = candidates[k];
      }
    }
  return best ? best : ',';
}

static mica_status skip_mark(mica_delimited *r) {
  if (!more(r)) return r->status;
  const unsigned char *p = (const unsigned char *)r->window;
  if (r->have >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) r->at = 3;
  if (r->have >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff)))
    return mica_fail(
        MICA_ERR_FORMAT,
        "%s: is UTF-16; expected UTF-8: convert it, as with `iconv -f UTF-16 -t UTF-8`",
        name_of(r));
  return MICA_OK;
}

mica_status mica_delimited_create(mica_input *input, char delimiter, size_t limit,
                                  mica_delimited **out) {
  *out = NULL;
  if (delimiter == '"' || delimiter == '\n' || delimiter == '\r')
    return mica_fail(MICA_ERR_INVALID, "%s: a quote or a line end cannot part fields",
                     mica_input_name(input));
  mica_delimited *r = mica_calloc(1, sizeof *r);
  if (!r) return MICA_ERR_MEMORY;
  r->input = input;
  r->limit = limit ? limit : MICA_RECORD_LIMIT;
  r->line = 1;
  mica_status status = skip_mark(r);
  if (status != MICA_OK) {
    mica_delimited_free(r);
    return status;
  }
  r->delimiter = delimiter ? delimiter : guess_delimiter(r);
  *out = r;
  return MICA_OK;
}

void mica_delimited_free(mica_delimited *r) {
  if (!r) return;
  mica_bytes_free(&r->text);
  mica_free(r->offset);
  mica_free(r->field);
  mica_free(r);
}

char mica_delimited_delimiter(const mica_delimited *r) {
  return r->delimiter;
}
int64_t mica_delimited_line(const mica_delimited *r) {
  return r->began;
}

/* ---- one record ---- */

static bool failed(mica_delimited *r, mica_status status) {
  if (r->status == MICA_OK) r->status = status;
  return false;
}

/* Append window[at..at+n) to the field; n bytes are taken. */
static bool take(mica_delimited *r, size_t n) {
  if (n > r->limit || r->text.n > r->limit - n)
    return failed(
        r, mica_fail(MICA_ERR_FORMAT,
                     "%s: line %lld: a record of more than %zu bytes, the limit; is a closing "
                     "quote missing?",
                     name_of(r), (long long)r->began, r->limit));
  mica_bytes_append(&r->text, r->window + r->at, n);
  r->at += n;
  return r->text.status == MICA_OK || failed(r, r->text.status);
}

/* Take a line end: LF, CR LF or CR. */
static void take_end(mica_delimited *r) {
  const char c = r->window[r->at++];
  if (c == '\r' && peek(r) == '\n') r->at++;
  r->line++;
}

static bool is_blank(const mica_delimited *r, int c) {
  return (c == ' ' || c == '\t') && c != r->delimiter;
}

static void skip_blanks(mica_delimited *r) {
  while (is_blank(r, peek(r))) r->at++;
}

static bool nul(mica_delimited *r) {
  return failed(r, mica_fail(MICA_ERR_FORMAT, "%s: line %lld: a NUL byte: this is no text file",
                             name_of(r), (long long)r->line));
}

/* Behind the opening quote, to behind the closing one. */
static bool quoted_field(mica_delimited *r) {
  const int64_t opened = r->line;
  for (;;) {
    if (!more(r))
      return failed(r, mica_fail(MICA_ERR_FORMAT,
                                 "%s: line %lld: the quote that opens here is never closed",
                                 name_of(r), (long long)opened));
    size_t n = 0;
    const size_t left = r->have - r->at;
    const char *from = r->window + r->at;
    while (n < left && from[n] != '"' && from[n] && from[n] != '\r' && from[n] != '\n') n++;
    if (n && !take(r, n)) return false;
    if (n == left) continue;
    switch (r->window[r->at]) {
    case 0: return nul(r);
    case '"':
      r->at++;
      if (peek(r) != '"') return true;
      if (!take(r, 1)) return false;
      break;
    case '\r':
      if (!take(r, 1)) return false;
      if (peek(r) == '\n' && !take(r, 1)) return false;
      r->line++;
      break;
    default: /* LF */
      if (!take(r, 1)) return false;
      r->line++;
    }
  }
}

static bool plain_field(mica_delimited *r) {
  const size_t begin = r->text.n;
  for (;;) {
    if (!more(r)) break;
    size_t n = 0;
    const size_t left = r->have - r->at;
    const char *from = r->window + r->at;
    while (n < left && from[n] != r->delimiter && from[n] && from[n] != '\r' && from[n] != '\n')
      n++;
    if (n && !take(r, n)) return false;
    if (n == left) continue;
    if (!r->window[r->at]) return nul(r);
    break;
  }
  while (r->text.n > begin && is_blank(r, (unsigned char)r->text.data[r->text.n - 1])) r->text.n--;
  return true;
}

/* Room for one field more. */
static bool field_room(mica_delimited *r) {
  if (r->n == MICA_FIELDS_MAX)
    return failed(r, mica_fail(MICA_ERR_FORMAT, "%s: line %lld: more than %d fields", name_of(r),
                               (long long)r->began, MICA_FIELDS_MAX));
  if (r->n < r->room) return true;
  const int64_t room = r->room ? r->room * 2 : 32;
  size_t *offset = mica_realloc_array(r->offset, (size_t)room, sizeof *offset);
  if (offset) r->offset = offset;
  const char **field = offset ? mica_realloc_array(r->field, (size_t)room, sizeof *field) : NULL;
  if (!field) return failed(r, MICA_ERR_MEMORY);
  r->field = field;
  r->room = room;
  return true;
}

static bool add_field(mica_delimited *r) {
  if (!field_room(r)) return false;
  r->offset[r->n++] = r->text.n;
  return true;
}

/* One record into text and offset. *blank: it is a line that holds nothing. */
static bool record(mica_delimited *r, bool *blank) {
  bool quoted = false;
  mica_bytes_clear(&r->text);
  r->n = 0;
  r->began = r->line;
  for (;;) {
    if (!add_field(r)) return false;
    skip_blanks(r);
    if (peek(r) == '"') {
      quoted = true;
      r->at++;
      if (!quoted_field(r)) return false;
      skip_blanks(r);
    } else if (!plain_field(r)) {
      return false;
    }
    mica_bytes_byte(&r->text, 0);
    if (r->text.status != MICA_OK) return failed(r, r->text.status);
    const int c = peek(r);
    if (r->status != MICA_OK) return false;
    if (c == (unsigned char)r->delimiter) {
      r->at++;
      continue;
    }
    if (c == '\n' || c == '\r')
      take_end(r);
    else if (c >= 0)
      return failed(r, mica_fail(MICA_ERR_FORMAT,
                                 "%s: line %lld: field %lld goes on behind its closing quote",
                                 name_of(r), (long long)r->line, (long long)r->n));
    *blank = r->n == 1 && !quoted && r->text.n == 1;
    return r->status == MICA_OK;
  }
}

/* ---- a line as it lies in the window ---- */

/* The length of the next line if it is a record that can be cut in place, and of its end; else
 * false: it is quoted, has a CR inside, is too long, or its end is not in sight. */
static bool plain_line(mica_delimited *r, size_t *length, size_t *end) {
  for (;;) {
    const char *from = r->window + r->at;
    const size_t left = r->have - r->at;
    const char *cr = r->returns ? memchr(from, '\r', left) : NULL;
    const bool cr_last = cr && cr + 1 == from + left;
    const char *stop = memchr(from, '\n', cr && !cr_last ? (size_t)(cr - from) + 2 : left);
    if (!stop && (!cr || cr_last) && !r->end && left < WINDOW) {
      refill(r);
      if (r->status != MICA_OK) return false;
      continue;
    }
    if (cr && (!stop || cr < stop) && !(stop && cr + 1 == stop)) return false;
    if (!stop && !r->end) return false;
    const size_t n = cr && stop && cr < stop ? (size_t)(cr - from)
                     : stop                  ? (size_t)(stop - from)
                                             : left;
    *length = n;
    *end = stop ? (size_t)(stop - from) + 1 - n : 0;
    return n <= r->limit && !(r->quotes && memchr(from, '"', n)) &&
           !(r->nuls && memchr(from, 0, n));
  }
}

/* One line cut into fields; false when it is none that can be, or after a failure. */
static bool cut_line(mica_delimited *r, bool *blank) {
  size_t n, end;
  if (!plain_line(r, &n, &end)) return false;
  char *at = r->window + r->at, *stop = at + n;
  const char delimiter = r->delimiter;
  r->n = 0;
  r->began = r->line;
  *stop = delimiter;
  for (;;) {
    if (!field_room(r)) return false;
    while (is_blank(r, (unsigned char)*at) && at < stop) at++;
    char *last = at;
    while (*last != delimiter) last++;
    char *behind = last;
    while (behind > at && is_blank(r, (unsigned char)behind[-1])) behind--;
    *behind = 0;
    r->field[r->n++] = at;
    if (last == stop) break;
    at = last + 1;
  }
  r->at += n + end;
  r->line += end > 0;
  *blank = r->n == 1 && !*r->field[0];
  return true;
}

static bool check_utf8(mica_delimited *r) {
  for (int64_t k = 0; k < r->n; k++) {
    const char *at = r->field[k];
    size_t left = strlen(at);
    while (left) {
      const size_t n = (unsigned char)*at < 0x80 ? 1 : mica_utf8_length(at, left);
      if (!n)
        return failed(r,
                      mica_fail(MICA_ERR_FORMAT,
                                "%s: line %lld: field %lld is not UTF-8 (byte 0x%02x); convert the "
                                "file, as with `iconv -f LATIN1 -t UTF-8`",
                                name_of(r), (long long)r->began, (long long)k + 1,
                                (unsigned)(unsigned char)*at));
      at += n;
      left -= n;
    }
  }
  return true;
}

mica_status mica_delimited_next(mica_delimited *r, const char *const **fields, int64_t *n) {
  *fields = NULL;
  *n = 0;
  bool blank = true, wide = false;
  while (blank) {
    if (r->status != MICA_OK) return r->status;
    if (!more(r)) return r->status;
    if (cut_line(r, &blank)) {
      wide = r->wide;
    } else {
      if (r->status != MICA_OK || !record(r, &blank)) return r->status;
      for (int64_t k = 0; k < r->n; k++) r->field[k] = r->text.data + r->offset[k];
      wide = true; /* it may have come from several windows */
    }
  }
  if (wide && !check_utf8(r)) return r->status;
  *fields = r->field;
  *n = r->n;
  return MICA_OK;
}
