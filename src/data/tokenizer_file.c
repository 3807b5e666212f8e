/* Vocabulary files, told by their contents, and folders that hold them. */
#include "data/byte_pieces.h"

#include "base/file.h"
#include "data/input.h"

#include <string.h>

/* CLIP's vocabulary has 49408 tokens: bytes, bytes that end a word, merges, two special ones. Its
 * file has more merges than that. */
#define CLIP_MERGES (49408 - 512 - 2)

static mica_status read_file(const char *path, uint8_t **bytes, size_t *n) {
  mica_input *in;
  mica_status status = mica_input_open(path, &in);
  if (status != MICA_OK) return status;
  status = mica_input_rest(in, MICA_TOKENIZER_FILE, bytes, n);
  mica_input_close(in);
  return status;
}

/* ---- lines ---- */

/* The line at text[*at..n), without its end; *at moves behind it. False where the text has ended.
 */
static bool next_line(const char *text, size_t n, size_t *at, const char **line, size_t *length) {
  if (*at >= n) return false;
  *line = text + *at;
  const char *end = memchr(*line, '\n', n - *at);
  *length = end ? (size_t)(end - *line) : n - *at;
  *at += *length + (end != NULL);
  if (*length && (*line)[*length - 1] == '\r') (*length)--;
  return true;
}

/* Does the line say "left right"? */
static bool is_pair(const char *line, size_t n, size_t *space) {
  const char *p = memchr(line, ' ', n);
  if (!p || p == line || p + 1 == line + n || memchr(p + 1, ' ', n - (size_t)(p + 1 - line)))
    return false;
  *space = (size_t)(p - line);
  return true;
}

static bool is_version(const char *line, size_t n) {
  static const char word[] = "#version";
  for (size_t i = 0; i + strlen(word) <= n && i < 64; i++)
    if (memcmp(line + i, word, strlen(word)) == 0) return true;
  return false;
}

/* ---- vocab.txt ---- */

static bool has_capital(const char *piece, size_t n) {
  if (n && *piece == '[') return false;
  for (size_t i = 0; i < n; i++)
    if (piece[i] >= 'A' && piece[i] <= 'Z') return true;
  return false;
}

static mica_status read_pieces(const char *text, size_t n, mica_tokenizer **out) {
  mica_tokenizer *t;
  mica_status status = mica_tokenizer_create(MICA_TOKENIZER_WORDPIECE, &t);
  if (status != MICA_OK) return status;
  bool cased = false;
  const char *line;
  size_t length;
  for (size_t at = 0; status == MICA_OK && next_line(text, n, &at, &line, &length);) {
    cased |= has_capital(line, length);
    status = mica_pieces_add(&t->spelling, line, length);
  }
  t->lowercase = !cased;
  t->accents = cased;
  return mica_tokenizer_hand_over(t, status, out);
}

/* ---- merges ---- */

typedef struct merge_lines {
  const char *text;
  size_t n;
} merge_lines;

/* The next pair of pieces; an empty line is passed over. */
static bool next_pair(const merge_lines *m, size_t *at, const char **line, size_t *length,
                      size_t *space, mica_status *status) {
  while (*status == MICA_OK && next_line(m->text, m->n, at, line, length)) {
    if (*length == 0 || (*line == m->text && is_version(*line, *length))) continue;
    if (is_pair(*line, *length, space)) return true;
    *status = mica_fail(MICA_ERR_FORMAT, "'%.*s': expected two pieces and a space between them",
                        (int)(*length < 40 ? *length : 40), *line);
  }
  return false;
}

static bool ends_word(const char *line, size_t n) {
  const size_t m = strlen(MICA_WORD_END);
  return n > m && memcmp(line + n - m, MICA_WORD_END, m) == 0;
}

/* The vocabulary that GPT-2 and CLIP make of their merges. */
static mica_status vocabulary_of(const merge_lines *m, mica_tokenizer *t) {
  const bool clip = t->kind == MICA_TOKENIZER_CLIP;
  mica_status status = mica_byte_pieces_add(&t->spelling, "");
  if (clip && status == MICA_OK) status = mica_byte_pieces_add(&t->spelling, MICA_WORD_END);
  const char *line;
  size_t at = 0, length, space;
  mica_bytes both = {0};
  for (int64_t i = 0; (!clip || i < CLIP_MERGES) && status == MICA_OK &&
                      next_pair(m, &at, &line, &length, &space, &status);
       i++) {
    mica_bytes_clear(&both);
    mica_bytes_append(&both, line, space);
    mica_bytes_append(&both, line + space + 1, length - space - 1);
    status = both.status;
    if (status == MICA_OK) status = mica_pieces_add(&t->spelling, both.data, both.n);
  }
  mica_bytes_free(&both);
  static const char *const special[] = {"<|startoftext|>", "<|endoftext|>"};
  for (int i = clip ? 0 : 1; i < 2 && status == MICA_OK; i++)
    status = mica_pieces_add(&t->spelling, special[i], strlen(special[i]));
  return status == MICA_OK ? mica_pieces_index(&t->spelling) : status;
}

/* `vocabulary` NULL: as GPT-2 and CLIP number it. */
static mica_status read_merges(const merge_lines *m, const mica_json *vocabulary,
                               mica_tokenizer **out) {
  const char *line;
  size_t at = 0, length, space;
  mica_status status = MICA_OK;
  bool clip = vocabulary && mica_vocabulary_has_word_ends(vocabulary);
  while (!vocabulary && !clip && next_pair(m, &at, &line, &length, &space, &status))
    clip = ends_word(line, length);
  if (status != MICA_OK) return status;
  mica_tokenizer *t;
  status = mica_tokenizer_create(clip ? MICA_TOKENIZER_CLIP : MICA_TOKENIZER_BPE, &t);
  if (status != MICA_OK) return status;
  status = vocabulary ? mica_tokenizer_read_vocabulary(vocabulary, t) : vocabulary_of(m, t);
  at = 0;
  for (int64_t i = 0; (!clip || vocabulary || i < CLIP_MERGES) && status == MICA_OK &&
                      next_pair(m, &at, &line, &length, &space, &status);
       i++)
    status = mica_tokenizer_merge_spelling(t, line, space, line + space + 1, length - space - 1);
  return mica_tokenizer_hand_over(t, status, out);
}

/* ---- files beside each other ---- */

/* The first of these files that is there; NULL without an error when none is, *status tells. */
static char *beside(const char *folder, const char *const *names, mica_status *status) {
  *status = MICA_OK;
  for (; *names; names++) {
    char *path = mica_path_join(folder, *names);
    if (!path) *status = MICA_ERR_MEMORY;
    if (!path || mica_file_exists(path)) return path;
    mica_free(path);
  }
  return NULL;
}

static const char *const vocabulary_names[] = {"vocab.json", "encoder.json", NULL};
static const char *const merge_names[] = {"merges.txt", "vocab.bpe", NULL};

static mica_status read_merge_file(const char *path, const mica_json *vocabulary,
                                   mica_tokenizer **out) {
  uint8_t *bytes;
  size_t n;
  mica_status status = read_file(path, &bytes, &n);
  if (status != MICA_OK) return status;
  status = read_merges(&(merge_lines){(const char *)bytes, n}, vocabulary, out);
  mica_free(bytes);
  return status == MICA_OK ? MICA_OK : mica_fail_within("%s", path);
}

/* A vocabulary with the merges beside it. */
static mica_status with_merges(const mica_json *vocabulary, const char *folder,
                               mica_tokenizer **out) {
  mica_status status;
  char *path = folder ? beside(folder, merge_names, &status) : NULL;
  if (folder && status != MICA_OK) return status;
  if (!path)
    return mica_fail(MICA_ERR_NOT_FOUND, "no merges.txt or vocab.bpe beside this vocabulary");
  status = read_merge_file(path, vocabulary, out);
  mica_free(path);
  return status;
}

/* Merges, with the vocabulary beside them where there is one. */
static mica_status with_vocabulary(const merge_lines *m, const char *folder, mica_tokenizer **out) {
  mica_status status = MICA_OK;
  char *path = folder ? beside(folder, vocabulary_names, &status) : NULL;
  if (status != MICA_OK) return status;
  mica_json_doc *doc = NULL;
  if (path) status = mica_json_read(path, MICA_TOKENIZER_FILE, &doc);
  mica_free(path);
  if (status == MICA_OK) status = read_merges(m, doc ? mica_json_root(doc) : NULL, out);
  mica_json_free(doc);
  return status;
}

static mica_status read_json(const char *text, size_t n, const char *folder, mica_tokenizer **out) {
  mica_json_doc *doc;
  mica_status status = mica_json_parse(text, n, &doc);
  if (status != MICA_OK) return status;
  const mica_json *root = mica_json_root(doc);
  if (mica_json_type_of(mica_json_get(root, "model")) == MICA_JSON_OBJECT)
    status = mica_tokenizer_read_library(root, out);
  else if (mica_json_string(mica_json_get(root, "kind")))
    status = mica_tokenizer_from_json(root, out);
  else
    status = with_merges(root, folder, out);
  mica_json_free(doc);
  return status;
}

mica_status mica_tokenizer_read(const uint8_t *bytes, size_t n, const char *folder,
                                mica_tokenizer **out) {
  *out = NULL;
  const char *text = (const char *)bytes, *line = text;
  size_t at = 0, length = 0, space;
  while (at < n && bytes[at] && strchr(" \t\r\n", bytes[at])) at++;
  if (at < n && bytes[at] == '{') return read_json(text, n, folder, out);
  if (memchr(bytes, 0, n < 4096 ? n : 4096)) return mica_tokenizer_read_llama2c(bytes, n, out);
  at = 0;
  (void)next_line(text, n, &at, &line, &length);
  if (is_version(line, length) || is_pair(line, length, &space))
    return with_vocabulary(&(merge_lines){text, n}, folder, out);
  return read_pieces(text, n, out);
}

/* The file in the folder that tells most; NULL with an error. */
static char *look_in(const char *folder) {
  static const char *const names[] = {"tokenizer.json",
                                      "vocab.txt",
                                      "vocab.json",
                                      "encoder.json",
                                      "merges.txt",
                                      "vocab.bpe",
                                      "bpe_simple_vocab_16e6.txt",
                                      "bpe_simple_vocab_16e6.txt.gz",
                                      "tokenizer.bin",
                                      NULL};
  mica_status status;
  char *path = beside(folder, names, &status);
  if (!path && status == MICA_OK)
    (void)mica_fail(MICA_ERR_NOT_FOUND, "%s: no vocabulary file in this folder", folder);
  return path;
}

static char *folder_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? mica_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : mica_strdup(".");
}

mica_status mica_tokenizer_open(const char *path, mica_tokenizer **out) {
  *out = NULL;
  char *file = mica_is_folder(path) ? look_in(path) : mica_strdup(path);
  char *folder = file ? folder_of(file) : NULL;
  if (!folder) {
    mica_free(file);
    return mica_last_status();
  }
  uint8_t *bytes;
  size_t n;
  mica_status status = read_file(file, &bytes, &n);
  if (status == MICA_OK) {
    status = mica_tokenizer_read(bytes, n, folder, out);
    mica_free(bytes);
    if (status != MICA_OK) status = mica_fail_within("%s", file);
  }
  mica_free(file);
  mica_free(folder);
  return status;
}
