/* Vocabularies in JSON: vocab.json, and tokenizer.json as the library `tokenizers` writes it. */
#include "data/byte_pieces.h"

#include <string.h>

/* ---- a vocabulary: an object of spelling and number ---- */

static mica_status read_numbers(const mica_json *vocabulary, const char **spelling, int64_t n) {
  for (int64_t i = 0; i < mica_json_count(vocabulary); i++) {
    const char *name = mica_json_name(vocabulary, i);
    int64_t id;
    if (!mica_json_int64(mica_json_item(vocabulary, i), &id) || id < 0 || id >= n)
      return mica_fail(MICA_ERR_FORMAT, "token '%.40s': expected a number below %lld", name,
                       (long long)n);
    if (spelling[id])
      return mica_fail(MICA_ERR_FORMAT, "tokens '%.40s' and '%.40s' have the number %lld",
                       spelling[id], name, (long long)id);
    spelling[id] = name;
  }
  return MICA_OK;
}

/* Tokens beside the vocabulary ("added_tokens"), of which some are in it already. */
static mica_status read_added(const mica_json *added, const char **spelling, int64_t n) {
  for (int64_t i = 0; i < mica_json_count(added); i++) {
    const mica_json *token = mica_json_item(added, i);
    const char *content;
    int64_t id;
    mica_status status = mica_json_need_string(token, "content", &content);
    if (status == MICA_OK) status = mica_json_need_int64(token, "id", &id);
    if (status != MICA_OK) return mica_fail_within("added_tokens[%lld]", (long long)i);
    if (id < 0 || id >= n || (spelling[id] && strcmp(spelling[id], content) != 0))
      return mica_fail(MICA_ERR_FORMAT, "added_tokens[%lld]: the number %lld is not free",
                       (long long)i, (long long)id);
    spelling[id] = content;
  }
  return MICA_OK;
}

static mica_status read_special(const mica_json *added, mica_tokenizer *t) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < mica_json_count(added) && status == MICA_OK; i++) {
    bool special = false;
    int64_t id = 0;
    (void)mica_json_bool(mica_json_get(mica_json_item(added, i), "special"), &special);
    (void)mica_json_int64(mica_json_get(mica_json_item(added, i), "id"), &id);
    if (special) status = mica_tokenizer_add_special(t, id);
  }
  return status;
}

static mica_status read_vocabulary(const mica_json *vocabulary, const mica_json *added,
                                   mica_tokenizer *t) {
  int64_t n = mica_json_count(vocabulary) + mica_json_count(added);
  const char **spelling = mica_calloc((size_t)n + 1, sizeof *spelling);
  if (!spelling) return MICA_ERR_MEMORY;
  mica_status status = read_numbers(vocabulary, spelling, n);
  if (status == MICA_OK) status = read_added(added, spelling, n);
  while (n && !spelling[n - 1]) n--;
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    status = spelling[i] ? mica_pieces_add(&t->spelling, spelling[i], strlen(spelling[i]))
                         : mica_fail(MICA_ERR_FORMAT, "no token has the number %lld", (long long)i);
  mica_free(spelling);
  if (status == MICA_OK) status = mica_pieces_index(&t->spelling);
  return status == MICA_OK ? read_special(added, t) : status;
}

bool mica_vocabulary_has_word_ends(const mica_json *vocabulary) {
  return mica_json_get(vocabulary, "!" MICA_WORD_END) != NULL;
}

mica_status mica_tokenizer_read_vocabulary(const mica_json *vocabulary, mica_tokenizer *t) {
  if (mica_json_type_of(vocabulary) != MICA_JSON_OBJECT)
    return mica_fail(MICA_ERR_FORMAT, "expected an object of tokens and their numbers");
  return read_vocabulary(vocabulary, NULL, t);
}

/* ---- tokenizer.json ---- */

static bool is(const mica_json *v, const char *text) {
  const char *string = mica_json_string(v);
  return string && strcmp(string, text) == 0;
}
static bool is_true(const mica_json *v) {
  bool value = false;
  return mica_json_bool(v, &value) && value;
}
static bool empty(const mica_json *v) {
  return mica_json_type_of(v) == MICA_JSON_NULL || is(v, "");
}

static mica_status unsupported(const char *what) {
  return mica_fail(MICA_ERR_UNSUPPORTED, "%s: not one that is read here", what);
}

/* Each merge is "left right" or ["left", "right"]. */
static mica_status read_merge(const mica_json *v, mica_tokenizer *t) {
  const char *text = mica_json_string(v), *left = text, *right;
  size_t n;
  if (text) {
    right = strchr(text, ' ');
    if (!right) return mica_fail(MICA_ERR_FORMAT, "expected two pieces and a space between them");
    n = (size_t)(right++ - left);
  } else {
    left = mica_json_string(mica_json_item(v, 0));
    right = mica_json_string(mica_json_item(v, 1));
    if (!left || !right) return mica_fail(MICA_ERR_FORMAT, "expected two pieces");
    n = strlen(left);
  }
  return mica_tokenizer_merge_spelling(t, left, n, right, strlen(right));
}

static mica_status read_merges(const mica_json *model, mica_tokenizer *t) {
  const mica_json *merges;
  mica_status status = mica_json_need(model, "merges", MICA_JSON_ARRAY, &merges);
  for (int64_t i = 0; status == MICA_OK && i < mica_json_count(merges); i++) {
    status = read_merge(mica_json_item(merges, i), t);
    if (status != MICA_OK) status = mica_fail_within("merges[%lld]", (long long)i);
  }
  return status;
}

static mica_status check_bpe(const mica_json *root) {
  const mica_json *cut = mica_json_get(root, "pre_tokenizer"),
                  *regex = mica_json_get(cut, "use_regex");
  if (!empty(mica_json_get(root, "normalizer"))) return unsupported("normalizer");
  if (!is(mica_json_get(cut, "type"), "ByteLevel") ||
      is_true(mica_json_get(cut, "add_prefix_space")) || (regex && !is_true(regex)))
    return unsupported("pre_tokenizer");
  return MICA_OK;
}

static mica_status check_clip(const mica_json *root) {
  static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
  const mica_json *parts = mica_json_get(mica_json_get(root, "pre_tokenizer"), "pretokenizers");
  const char *regex =
      mica_json_string(mica_json_get(mica_json_get(mica_json_item(parts, 0), "pattern"), "Regex"));
  const mica_json *folds = mica_json_get(mica_json_get(root, "normalizer"), "normalizers");
  const size_t n = regex ? strlen(regex) : 0, m = strlen(pattern);
  if (n < m || strcmp(regex + n - m, pattern) != 0) return unsupported("pre_tokenizer");
  if (mica_json_count(folds) != 3 || !is(mica_json_get(mica_json_item(folds, 0), "type"), "NFC") ||
      !is(mica_json_get(mica_json_item(folds, 2), "type"), "Lowercase"))
    return unsupported("normalizer");
  return MICA_OK;
}

static mica_status read_bpe(const mica_json *root, const mica_json *model, mica_tokenizer *t) {
  if (is_true(mica_json_get(model, "byte_fallback")) ||
      is_true(mica_json_get(model, "ignore_merges")) ||
      !empty(mica_json_get(model, "continuing_subword_prefix")))
    return unsupported("model");
  const mica_status status = t->kind == MICA_TOKENIZER_CLIP ? check_clip(root) : check_bpe(root);
  return status == MICA_OK ? read_merges(model, t) : status;
}

static mica_status read_wordpiece(const mica_json *root, const mica_json *model,
                                  mica_tokenizer *t) {
  const mica_json *fold = mica_json_get(root, "normalizer"), *limit, *marks;
  if (!is(mica_json_get(fold, "type"), "BertNormalizer") ||
      !is_true(mica_json_get(fold, "clean_text")))
    return unsupported("normalizer");
  if (!is(mica_json_get(mica_json_get(root, "pre_tokenizer"), "type"), "BertPreTokenizer"))
    return unsupported("pre_tokenizer");
  if (!is(mica_json_get(model, "continuing_subword_prefix"), "##") ||
      !is(mica_json_get(model, "unk_token"), "[UNK]"))
    return unsupported("model");
  t->chinese = is_true(mica_json_get(fold, "handle_chinese_chars"));
  t->lowercase = is_true(mica_json_get(fold, "lowercase"));
  marks = mica_json_get(fold, "strip_accents");
  t->accents = mica_json_type_of(marks) == MICA_JSON_BOOL ? !is_true(marks) : !t->lowercase;
  limit = mica_json_get(model, "max_input_chars_per_word");
  return limit ? mica_json_need_int64(model, "max_input_chars_per_word", &t->word_limit) : MICA_OK;
}

mica_status mica_tokenizer_read_library(const mica_json *root, mica_tokenizer **out) {
  const mica_json *model, *vocabulary;
  *out = NULL;
  mica_status status = mica_json_need(root, "model", MICA_JSON_OBJECT, &model);
  if (status == MICA_OK) status = mica_json_need(model, "vocab", MICA_JSON_OBJECT, &vocabulary);
  if (status != MICA_OK) return status;
  const mica_json *type = mica_json_get(model, "type");
  const bool wordpiece = is(type, "WordPiece");
  if (!wordpiece && !is(type, "BPE")) return unsupported("model");
  const mica_json *suffix = mica_json_get(model, "end_of_word_suffix");
  const bool clip = !wordpiece && is(suffix, MICA_WORD_END);
  if (!wordpiece && !clip && !empty(suffix)) return unsupported("end_of_word_suffix");
  mica_tokenizer *t;
  status = mica_tokenizer_create(wordpiece ? MICA_TOKENIZER_WORDPIECE
                                 : clip    ? MICA_TOKENIZER_CLIP
                                           : MICA_TOKENIZER_BPE,
                                 &t);
  if (status != MICA_OK) return status;
  status = read_vocabulary(vocabulary, mica_json_get(root, "added_tokens"), t);
  if (status == MICA_OK)
    status = wordpiece ? read_wordpiece(root, model, t) : read_bpe(root, model, t);
  return mica_tokenizer_hand_over(t, status, out);
}
