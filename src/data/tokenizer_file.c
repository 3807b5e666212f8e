/* Vocabulary files, told by their contents, and folders that hold them. */
#include "data/tokenizer.h"

#include "base/file.h"
#include "data/input.h"

#include <string.h>

static mica_status read_file(const char *path, uint8_t **bytes, size_t *n) {
  mica_input *in;
  mica_status status = mica_input_open(path, &in);
  if (status != MICA_OK) return status;
  status = mica_input_rest(in, MICA_TOKENIZER_FILE, bytes, n);
  mica_input_close(in);
  return status;
}

static mica_status read_json(const char *text, size_t n, mica_tokenizer **out) {
  mica_json_doc *doc;
  mica_status status = mica_json_parse(text, n, &doc);
  if (status != MICA_OK) return status;
  status = mica_tokenizer_from_json(mica_json_root(doc), out);
  mica_json_free(doc);
  return status;
}

mica_status mica_tokenizer_read(const uint8_t *bytes, size_t n, mica_tokenizer **out) {
  *out = NULL;
  size_t at = 0;
  while (at < n && strchr(" \t\r\n", bytes[at])) at++;
  if (at < n && bytes[at] == '{') return read_json((const char *)bytes, n, out);
  return mica_tokenizer_read_llama2c(bytes, n, out);
}

/* The file in the folder that tells most; NULL with an error. */
static char *look_in(const char *folder) {
  static const char *const names[] = {"tokenizer.json", "tokenizer.bin"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char *path = mica_path_join(folder, names[i]);
    if (!path || mica_file_exists(path)) return path;
    mica_free(path);
  }
  (void)mica_fail(MICA_ERR_NOT_FOUND, "%s: no vocabulary file in this folder", folder);
  return NULL;
}

mica_status mica_tokenizer_open(const char *path, mica_tokenizer **out) {
  *out = NULL;
  char *file = mica_is_folder(path) ? look_in(path) : mica_strdup(path);
  if (!file) return mica_last_status();
  uint8_t *bytes;
  size_t n;
  mica_status status = read_file(file, &bytes, &n);
  if (status == MICA_OK) {
    status = mica_tokenizer_read(bytes, n, out);
    mica_free(bytes);
    if (status != MICA_OK) status = mica_fail_within("%s", file);
  }
  mica_free(file);
  return status;
}
