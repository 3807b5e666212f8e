#include "support/markup_check.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

enum { DEPTH = 64, NAME = 40 };

typedef struct reader {
  const char *text, *at;
  bool html;
  char open[DEPTH][NAME];
  int depth;
} reader;

static char problem[200];

static const char *wrong(const reader *r, const char *what) {
  snprintf(problem, sizeof problem, "%s at byte %td: \"%.60s\"", what, r->at - r->text, r->at);
  return problem;
}

static bool name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == ':' || c == '_';
}

static bool read_name(reader *r, char name[NAME]) {
  size_t n = 0;
  while (name_byte(r->at[n]) && n < NAME - 1) n++;
  memcpy(name, r->at, n);
  name[n] = 0;
  r->at += n;
  return n > 0;
}

static const char *entity(reader *r) {
  static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&#8239;"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strncmp(r->at, known[i], strlen(known[i])) == 0) {
      r->at += strlen(known[i]);
      return NULL;
    }
  return wrong(r, "an unknown entity");
}

/* One character of content or of an attribute. */
static const char *character(reader *r) {
  const unsigned char c = (unsigned char)*r->at;
  if (c == '&') return entity(r);
  if (c == '<') return wrong(r, "a bare <");
  if (c < 0x20 && c != '\n' && c != '\t' && c != '\r') return wrong(r, "a control character");
  const size_t n = mica_utf8_length(r->at, strnlen(r->at, 4));
  if (n == 0) return wrong(r, "bytes that are not UTF-8");
  if (n == 3 && (memcmp(r->at, "\xef\xbf\xbe", 3) == 0 || memcmp(r->at, "\xef\xbf\xbf", 3) == 0))
    return wrong(r, "a noncharacter");
  r->at += n;
  return NULL;
}

static const char *attributes(reader *r) {
  char seen[16][NAME];
  int count = 0;
  for (;;) {
    const bool space = *r->at == ' ' || *r->at == '\n';
    while (*r->at == ' ' || *r->at == '\n') r->at++;
    if (*r->at == '>' || *r->at == '/' || *r->at == '?') return NULL;
    if (!space) return wrong(r, "no space before an attribute");
    if (count == 16 || !read_name(r, seen[count]))
      return wrong(r, "an attribute's name was expected");
    for (int i = 0; i < count; i++)
      if (strcmp(seen[i], seen[count]) == 0) return wrong(r, "an attribute given twice");
    count++;
    if (strncmp(r->at, "=\"", 2) != 0) return wrong(r, "=\" was expected");
    r->at += 2;
    const char *begin = r->at;
    while (*r->at != '"') {
      if (!*r->at) return wrong(r, "an attribute without end");
      const char *bad = character(r);
      if (bad) return bad;
    }
    const size_t n = (size_t)(r->at - begin);
    const char *name = seen[count - 1];
    if (strcmp(name, "title") && strcmp(name, "aria-label") && strncmp(begin, "data:", 5) != 0)
      for (size_t i = 0; i + 3 <= n; i++)
        if (!memcmp(begin + i, "nan", 3) || !memcmp(begin + i, "inf", 3))
          return wrong(r, "a number that is not finite in an attribute");
    r->at++;
  }
}

static bool is_void(const char *name) {
  return strcmp(name, "meta") == 0 || strcmp(name, "link") == 0;
}

static const char *tag(reader *r) {
  if (strncmp(r->at, "<!DOCTYPE html>", 15) == 0 && r->html) {
    r->at += 15;
    return NULL;
  }
  if (strncmp(r->at, "<?xml", 5) == 0 && r->at == r->text) {
    r->at += 5;
    const char *bad = attributes(r);
    if (bad) return bad;
    if (strncmp(r->at, "?>", 2) != 0) return wrong(r, "?> was expected");
    r->at += 2;
    return NULL;
  }
  const bool end = r->at[1] == '/';
  r->at += end ? 2 : 1;
  char name[NAME];
  if (!read_name(r, name)) return wrong(r, "an element's name was expected");
  if (end) {
    if (r->depth == 0 || strcmp(r->open[r->depth - 1], name) != 0)
      return wrong(r, "the end of another element was expected before this");
    if (*r->at != '>') return wrong(r, "> was expected");
    r->depth--;
    r->at++;
    return NULL;
  }
  const char *bad = attributes(r);
  if (bad) return bad;
  if (strncmp(r->at, "/>", 2) == 0) {
    r->at += 2;
    return NULL;
  }
  if (*r->at != '>') return wrong(r, "> was expected");
  r->at++;
  if (r->html && is_void(name)) return NULL;
  if (r->depth == DEPTH) return wrong(r, "elements too deep");
  memcpy(r->open[r->depth++], name, NAME);
  if (r->html && (strcmp(name, "style") == 0 || strcmp(name, "script") == 0)) {
    char close[NAME + 4];
    snprintf(close, sizeof close, "</%s>", name);
    const char *found = strstr(r->at, close);
    if (!found) return wrong(r, "a style or script without end");
    r->at = found;
  }
  return NULL;
}

const char *markup_problem(const char *text, bool html) {
  reader r = {.text = text, .at = text, .html = html};
  int roots = 0;
  while (*r.at) {
    const bool opens = *r.at == '<' && r.at[1] != '?' && r.at[1] != '!' && r.at[1] != '/';
    if (opens && r.depth == 0) roots++;
    const char *bad = *r.at == '<' ? tag(&r) : character(&r);
    if (bad) return bad;
  }
  if (r.depth) return wrong(&r, "an element without end");
  if (roots != 1) return wrong(&r, "not one root element");
  return NULL;
}

size_t markup_count(const char *text, const char *part) {
  size_t n = 0;
  for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) n++;
  return n;
}
