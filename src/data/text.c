/* Texts as tokens that stay in files: see mica/text.h. */
#include <mica/text.h>

#include "base/file.h"
#include "data/source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20) /* bytes of text that are cut into tokens at a time */
#define READ  4096              /* tokens read at a time */

/* Where the tokens of a part lie: `n` of them from number `first` on in `source`, `width` bytes
 * each, least byte first. */
typedef struct part_tokens {
  const mica_source *source;
  int64_t first, n, bytes;
} part_tokens;

struct mica_token_text {
  const mica_tokenizer *tokenizer;
  size_t width;
  mica_source source[MICA_PART_COUNT];
  int64_t source_tokens[MICA_PART_COUNT], source_bytes[MICA_PART_COUNT];
  int sources;
  part_tokens part[MICA_PART_COUNT];
};

static mica_status read_tokens(const mica_source *s, size_t width, int64_t first, int64_t n,
                               int64_t *ids) {
  uint8_t raw[READ * 4];
  for (int64_t done = 0; done < n;) {
    const int64_t more = n - done < READ ? n - done : READ;
    const mica_status status =
        mica_source_read(s, (uint64_t)(first + done) * width, raw, (size_t)more * width);
    if (status != MICA_OK) return status;
    for (int64_t i = 0; i < more; i++) {
      const uint8_t *at = raw + (size_t)i * width;
      ids[done + i] = width == 1 ? at[0] : width == 2 ? mica_le16(at) : (int64_t)mica_le32(at);
    }
    done += more;
  }
  return MICA_OK;
}

/* ---- from a text file to a file of tokens ---- */

/* A file without a name: it is gone when it is closed, however the process ends. */
static mica_status temporary_file(FILE **out) {
  const char *folder = getenv("TMPDIR");
  char path[PATH_MAX];
  if (!folder || !*folder) folder = "/tmp";
  if (snprintf(path, sizeof path, "%s/mica-tokens-XXXXXX", folder) >= (int)sizeof path)
    return mica_fail(MICA_ERR_INVALID, "TMPDIR is too long a path");
  const int fd = mkstemp(path);
  if (fd < 0) return mica_fail(MICA_ERR_IO, "%s: %s", path, strerror(errno));
  unlink(path);
  (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
  *out = fdopen(fd, "w+b");
  if (*out) return MICA_OK;
  close(fd);
  return mica_fail(MICA_ERR_IO, "%s: %s", path, strerror(errno));
}

static bool write_tokens(FILE *f, size_t width, const mica_tokens *tokens) {
  for (int64_t i = 0; i < tokens->n; i++) {
    const uint64_t id = (uint64_t)tokens->id[i];
    uint8_t raw[4];
    for (size_t k = 0; k < width; k++) raw[k] = (uint8_t)(id >> 8 * k);
    if (fwrite(raw, 1, width, f) != width) return false;
  }
  return true;
}

static bool is_blank(char c) {
  return c == '\n' || c == '\r' || c == ' ' || c == '\t';
}

/* Where to cut the first n bytes of a longer text: behind the last end of a line that something
 * other than blanks follows, so that no run of blanks is torn; else behind the last whole
 * character. */
static size_t cut_of(const char *text, size_t n) {
  for (size_t i = n - 1; i > 0; i--)
    if (text[i - 1] == '\n' && !is_blank(text[i])) return i;
  size_t end = n;
  while (end > 1 && end > n - 4 && ((unsigned char)text[end] & 0xC0) == 0x80) end--;
  return end;
}

/* The tokens of a whole text, one piece after the other, to `f`. */
static mica_status tokenise(const mica_source *text, const mica_tokenizer *t, size_t width, FILE *f,
                            int64_t *count) {
  char *piece = mica_malloc(PIECE + 1);
  mica_tokens tokens = {0};
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  o.begin = o.end = false;
  mica_status status = piece ? MICA_OK : MICA_ERR_MEMORY;
  *count = 0;
  for (uint64_t at = 0; at < text->size && status == MICA_OK;) {
    const uint64_t left = text->size - at;
    const bool last = left <= PIECE;
    size_t n = last ? (size_t)left : PIECE + 1;
    status = mica_source_read(text, at, piece, n);
    if (status != MICA_OK) break;
    if (!last) n = cut_of(piece, PIECE);
    status = mica_tokenizer_encode(t, piece, n, &o, &tokens);
    if (status == MICA_OK && !write_tokens(f, width, &tokens))
      status = mica_fail(MICA_ERR_IO, "%s: its tokens cannot be written: %s", text->name,
                         strerror(errno));
    *count += tokens.n;
    at += n;
  }
  mica_tokens_free(&tokens);
  mica_free(piece);
  if (status == MICA_OK && fflush(f) != 0)
    status =
        mica_fail(MICA_ERR_IO, "%s: its tokens cannot be written: %s", text->name, strerror(errno));
  return status;
}

/* Add a file as the next source. */
static mica_status add_source(mica_token_text *x, const char *path) {
  mica_source text;
  mica_status status = mica_source_open(path, &text);
  if (status != MICA_OK) return status;
  const int k = x->sources;
  x->source_bytes[k] = (int64_t)text.size;
  x->source_tokens[k] = (int64_t)text.size;
  if (mica_tokenizer_kind_of(x->tokenizer) == MICA_TOKENIZER_BYTES) {
    x->source[x->sources++] = text;
  } else {
    FILE *f = NULL;
    status = temporary_file(&f);
    if (status == MICA_OK)
      status = tokenise(&text, x->tokenizer, x->width, f, &x->source_tokens[k]);
    const int fd = status == MICA_OK ? fcntl(fileno(f), F_DUPFD_CLOEXEC, 3) : -1;
    if (status == MICA_OK && fd < 0)
      status = mica_fail(MICA_ERR_IO, "%s: its tokens cannot be kept: %s", path, strerror(errno));
    if (f) fclose(f);
    if (status == MICA_OK) {
      x->source[x->sources++] =
          (mica_source){fd, NULL, (uint64_t)x->source_tokens[k] * x->width, text.name};
      text.name = NULL;
    }
    mica_source_close(&text);
  }
  if (status == MICA_OK && !x->source_tokens[k])
    status = mica_fail(MICA_ERR_FORMAT, "%s: there is no text in it", path);
  return status;
}

/* ---- parts ---- */

static void put_part(mica_token_text *x, mica_part part, int source, int64_t first, int64_t n) {
  const int64_t all = x->source_tokens[source];
  /* Of a cut file the bytes are shared out as the tokens are. */
  const double share = (double)n / (double)all;
  const int64_t bytes =
      n == all ? x->source_bytes[source] : (int64_t)(share * (double)x->source_bytes[source] + 0.5);
  x->part[part] = (part_tokens){&x->source[source], first, n, bytes};
}

/* FOLDER/NAME.txt as a source: its number, -1 where there is none. */
static mica_status add_named(mica_token_text *x, const char *folder, const char *name, int *out) {
  char *path = mica_path_join(folder, name);
  *out = -1;
  if (!path) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  if (mica_file_exists(path)) {
    status = add_source(x, path);
    *out = x->sources - 1;
  }
  mica_free(path);
  return status;
}

static mica_status open_files(mica_token_text *x, const char *path, double validation) {
  int train = 0, val = -1, test = -1;
  mica_status status;
  if (mica_is_folder(path)) {
    status = add_named(x, path, "train.txt", &train);
    if (status == MICA_OK && train < 0)
      return mica_fail(MICA_ERR_NOT_FOUND, "%s: no train.txt in that folder", path);
    if (status == MICA_OK) status = add_named(x, path, "val.txt", &val);
    if (status == MICA_OK) status = add_named(x, path, "test.txt", &test);
  } else {
    status = add_source(x, path);
  }
  if (status != MICA_OK) return status;
  const int64_t all = x->source_tokens[train];
  const int64_t held = val < 0 ? (int64_t)((double)all * validation) : 0;
  put_part(x, MICA_PART_TRAIN, train, 0, all - held);
  if (held) put_part(x, MICA_PART_VALIDATION, train, all - held, held);
  if (val >= 0) put_part(x, MICA_PART_VALIDATION, val, 0, x->source_tokens[val]);
  if (test >= 0) put_part(x, MICA_PART_TEST, test, 0, x->source_tokens[test]);
  return MICA_OK;
}

mica_status mica_token_text_open(const char *path, const mica_tokenizer *tokenizer,
                                 const mica_token_text_options *given, mica_token_text **out) {
  mica_token_text_options o = MICA_TOKEN_TEXT_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  *out = NULL;
  if (!(o.validation >= 0 && o.validation < 1))
    return mica_fail(MICA_ERR_INVALID, "text: validation is %g, expected 0 to below 1",
                     o.validation);
  mica_token_text *x = mica_calloc(1, sizeof *x);
  if (!x) return MICA_ERR_MEMORY;
  const int64_t size = mica_tokenizer_size(tokenizer);
  const bool bytes = mica_tokenizer_kind_of(tokenizer) == MICA_TOKENIZER_BYTES;
  x->tokenizer = tokenizer;
  x->width = bytes ? 1 : size <= 1 << 16 ? 2 : 4;
  const mica_status status = open_files(x, path, o.validation);
  if (status != MICA_OK) {
    mica_token_text_free(x);
    return status;
  }
  *out = x;
  return MICA_OK;
}

void mica_token_text_free(mica_token_text *x) {
  if (!x) return;
  for (int i = 0; i < x->sources; i++) mica_source_close(&x->source[i]);
  mica_free(x);
}

const mica_tokenizer *mica_token_text_tokenizer(const mica_token_text *x) {
  return x->tokenizer;
}
int64_t mica_token_text_count(const mica_token_text *x, mica_part part) {
  return (unsigned)part < MICA_PART_COUNT ? x->part[part].n : 0;
}
int64_t mica_token_text_bytes(const mica_token_text *x, mica_part part) {
  return (unsigned)part < MICA_PART_COUNT ? x->part[part].bytes : 0;
}

mica_status mica_token_text_read(const mica_token_text *x, mica_part part, int64_t begin, int64_t n,
                                 int64_t *ids) {
  const int64_t all = mica_token_text_count(x, part);
  if (begin < 0 || n < 0 || begin > all || n > all - begin)
    return mica_fail(MICA_ERR_INVALID, "text: %lld tokens from %lld on asked for, it has %lld",
                     (long long)n, (long long)begin, (long long)all);
  const part_tokens *p = &x->part[part];
  return n ? read_tokens(p->source, x->width, p->first + begin, n, ids) : MICA_OK;
}
