/* Tokenizers: the vocabulary, special tokens, whole texts, pairs and batches, and decoding. */
#include "data/tokenizer.h"

#include "base/utf8.h"

#include <string.h>

static const mica_tokenizer_functions *const kinds[] = {
    &mica_tokenizer_kind_bytes, &mica_tokenizer_kind_wordpiece, &mica_tokenizer_kind_bpe,
    &mica_tokenizer_kind_clip, &mica_tokenizer_kind_llama2c};
#define KINDS (sizeof kinds / sizeof *kinds)

const char *mica_tokenizer_kind_name(mica_tokenizer_kind kind) {
  return (size_t)kind < KINDS ? kinds[kind]->name : "none";
}

/* ---- making ---- */

mica_status mica_tokenizer_create(mica_tokenizer_kind kind, mica_tokenizer **out) {
  *out = NULL;
  mica_tokenizer *t = mica_calloc(1, sizeof *t);
  if (!t) return MICA_ERR_MEMORY;
  t->kind = kind;
  for (int i = 0; i < MICA_TOKEN_ROLES; i++) t->special[i] = -1;
  t->lowercase = t->chinese = true;
  t->word_limit = 100;
  *out = t;
  return MICA_OK;
}

void mica_tokenizer_free(mica_tokenizer *t) {
  if (!t) return;
  mica_pieces_free(&t->spelling);
  mica_pieces_free(&t->plain);
  mica_merges_free(&t->merges);
  mica_free(t->added);
  mica_free(t->score);
  mica_free(t);
}

static size_t spelling_length(const mica_tokenizer *t, int64_t id) {
  size_t n;
  (void)mica_pieces_text(&t->spelling, id, &n);
  return n;
}

mica_status mica_tokenizer_add_special(mica_tokenizer *t, int64_t id) {
  if (mica_tokenizer_is_special(t, id)) return MICA_OK;
  int64_t *added = mica_realloc_array(t->added, (size_t)t->n_added + 1, sizeof *added);
  if (!added) return MICA_ERR_MEMORY;
  int64_t i = t->n_added++;
  for (; i > 0 && spelling_length(t, added[i - 1]) < spelling_length(t, id); i--)
    added[i] = added[i - 1];
  added[i] = id;
  t->added = added;
  return MICA_OK;
}

mica_status mica_tokenizer_merge_spelling(mica_tokenizer *t, const char *left, size_t a,
                                          const char *right, size_t b) {
  char *both = mica_malloc(a + b + 1);
  if (!both) return MICA_ERR_MEMORY;
  memcpy(both, left, a);
  memcpy(both + a, right, b);
  both[a + b] = '\0';
  const int64_t whole = mica_pieces_find(&t->spelling, both, a + b);
  const int64_t first = mica_pieces_find(&t->spelling, left, a);
  const int64_t second = mica_pieces_find(&t->spelling, right, b);
  mica_status status;
  if (whole < 0 || first < 0 || second < 0)
    status = mica_fail(MICA_ERR_FORMAT, "merge %lld gives '%.60s': no token is spelt like that%s",
                       (long long)t->merges.n, both, whole < 0 ? "" : " or its parts");
  else
    status = mica_merges_add(&t->merges, (int32_t)first, (int32_t)second, (int32_t)whole);
  mica_free(both);
  return status;
}

mica_status mica_tokenizer_add_merge(mica_tokenizer *t, int64_t left, int64_t right) {
  size_t a, b;
  const char *first = mica_pieces_text(&t->spelling, left, &a);
  const char *second = mica_pieces_text(&t->spelling, right, &b);
  return mica_tokenizer_merge_spelling(t, first, a, second, b);
}

mica_status mica_tokenizer_cast(mica_tokenizer *t, mica_token_role role, const char *spelling) {
  const int64_t id = mica_pieces_find(&t->spelling, spelling, strlen(spelling));
  if (id < 0 || t->special[role] >= 0) return MICA_OK;
  t->special[role] = id;
  return mica_tokenizer_add_special(t, id);
}

/* Spellings go into JSON, which holds neither a NUL nor bytes that are not UTF-8. */
static mica_status check_spelling(const mica_tokenizer *t, int64_t id) {
  size_t n;
  const char *text = mica_pieces_text(&t->spelling, id, &n);
  for (size_t i = 0; i < n;) {
    const size_t length = mica_utf8_length(text + i, n - i);
    if (!length || !text[i])
      return mica_fail(MICA_ERR_FORMAT, "token %lld is spelt with %s", (long long)id,
                       length ? "a zero byte" : "bytes that are not UTF-8");
    i += length;
  }
  if (n > MICA_SPELLING_MAX)
    return mica_fail(MICA_ERR_FORMAT, "token %lld is spelt with %zu bytes; the most are %zu",
                     (long long)id, n, MICA_SPELLING_MAX);
  return MICA_OK;
}

mica_status mica_tokenizer_finish(mica_tokenizer *t) {
  const int64_t n = t->spelling.n;
  if (n < 1 || n > MICA_VOCABULARY_MAX)
    return mica_fail(MICA_ERR_FORMAT, "a vocabulary of %lld tokens; expected 1 to %lld",
                     (long long)n, (long long)MICA_VOCABULARY_MAX);
  mica_status status = t->spelling.slots ? MICA_OK : mica_pieces_index(&t->spelling);
  if (status == MICA_OK) status = mica_merges_index(&t->merges);
  for (int64_t i = 0; i < n && status == MICA_OK && t->kind != MICA_TOKENIZER_BYTES; i++)
    status = check_spelling(t, i);
  if (status == MICA_OK) status = kinds[t->kind]->complete(t);
  for (int i = 0; i < MICA_TOKEN_ROLES && status == MICA_OK; i++)
    if (t->special[i] >= n)
      status = mica_fail(MICA_ERR_FORMAT, "special token %lld of a vocabulary of %lld",
                         (long long)t->special[i], (long long)n);
    else if (t->special[i] >= 0)
      status = mica_tokenizer_add_special(t, t->special[i]);
  return status;
}

mica_status mica_tokenizer_hand_over(mica_tokenizer *t, mica_status status, mica_tokenizer **out) {
  if (status == MICA_OK) status = mica_tokenizer_finish(t);
  *out = status == MICA_OK ? t : NULL;
  if (status != MICA_OK) mica_tokenizer_free(t);
  return status;
}

/* ---- the vocabulary ---- */

mica_tokenizer_kind mica_tokenizer_kind_of(const mica_tokenizer *t) {
  return t->kind;
}
int64_t mica_tokenizer_size(const mica_tokenizer *t) {
  return t->spelling.n;
}
int64_t mica_tokenizer_special(const mica_tokenizer *t, mica_token_role role) {
  return (unsigned)role < MICA_TOKEN_ROLES ? t->special[role] : -1;
}
bool mica_tokenizer_is_special(const mica_tokenizer *t, int64_t id) {
  for (int64_t i = 0; i < t->n_added; i++)
    if (t->added[i] == id) return true;
  return false;
}
int64_t mica_tokenizer_find(const mica_tokenizer *t, const char *spelling, size_t n) {
  return mica_pieces_find(&t->spelling, spelling, n);
}
const char *mica_tokenizer_token(const mica_tokenizer *t, int64_t id, size_t *n) {
  size_t length;
  if (id < 0 || id >= t->spelling.n) return NULL;
  const char *text = mica_pieces_text(&t->spelling, id, &length);
  if (n) *n = length;
  return text;
}

/* ---- text to tokens ---- */

void mica_tokens_free(mica_tokens *tokens) {
  mica_free(tokens->id);
  *tokens = (mica_tokens){0};
}

mica_status mica_tokens_push(mica_tokens *out, int64_t id) {
  if (out->n == out->room) {
    const int64_t room = out->room ? out->room * 2 : 64;
    int64_t *ids = mica_realloc_array(out->id, (size_t)room, sizeof *ids);
    if (!ids) return MICA_ERR_MEMORY;
    out->id = ids;
    out->room = room;
  }
  out->id[out->n++] = id;
  return MICA_OK;
}

/* The special token that is spelt out at the text's beginning, -1 when there is none. */
static int64_t special_at(const mica_tokenizer *t, const char *text, size_t n) {
  for (int64_t i = 0; i < t->n_added; i++) {
    size_t m;
    const char *spelling = mica_pieces_text(&t->spelling, t->added[i], &m);
    if (m && m <= n && *text == *spelling && memcmp(text, spelling, m) == 0) return t->added[i];
  }
  return -1;
}

static mica_status encode_text(const mica_tokenizer *t, const char *text, size_t n, bool special,
                               mica_merger *scratch, mica_tokens *out) {
  mica_status status = MICA_OK;
  size_t from = 0;
  for (size_t i = 0; special && i < n && status == MICA_OK;) {
    const int64_t id = special_at(t, text + i, n - i);
    if (id < 0) {
      i++;
      continue;
    }
    if (i > from) status = kinds[t->kind]->encode(t, text + from, i - from, scratch, out);
    if (status == MICA_OK) status = mica_tokens_push(out, id);
    i += spelling_length(t, id);
    from = i;
  }
  if (status == MICA_OK && n > from)
    status = kinds[t->kind]->encode(t, text + from, n - from, scratch, out);
  return status;
}

/* How many tokens of two texts are kept so that both have room. */
static void cut_pair(int64_t room, int64_t *a, int64_t *b) {
  if (*a + *b <= room) return;
  int64_t *shorter = *a <= *b ? a : b, *longer = *a <= *b ? b : a;
  if (*shorter > room / 2) {
    *shorter = room / 2;
    *longer = room - room / 2;
  } else {
    *longer = room - *shorter;
  }
}

static mica_status encode(const mica_tokenizer *t, const char *const *text, const size_t *n,
                          int texts, const mica_encode_options *given, mica_tokens *out) {
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  const int64_t begin = o.begin ? t->special[MICA_TOKEN_BEGIN] : -1;
  const int64_t end = o.end ? t->special[MICA_TOKEN_END] : -1;
  const int64_t around = (begin >= 0) + (end >= 0) * texts;
  out->n = out->second = 0;
  if (o.length < 0 || (o.length && o.length < around))
    return mica_fail(MICA_ERR_INVALID,
                     "at most %lld tokens: %lld are needed to begin and end the text",
                     (long long)o.length, (long long)around);
  mica_tokens part[2] = {*out, {0}};
  mica_merger scratch = {0};
  mica_status status = begin >= 0 ? mica_tokens_push(&part[0], begin) : MICA_OK;
  for (int i = 0; i < texts && status == MICA_OK; i++)
    status = encode_text(t, text[i], n[i], o.special, &scratch, &part[i]);
  mica_merger_free(&scratch);
  if (status == MICA_OK && o.length) {
    int64_t first = part[0].n - (begin >= 0);
    cut_pair(o.length - around, &first, &part[1].n);
    part[0].n = first + (begin >= 0);
  }
  if (status == MICA_OK && end >= 0) status = mica_tokens_push(&part[0], end);
  *out = part[0];
  out->second = out->n;
  for (int64_t i = 0; i < part[1].n && status == MICA_OK; i++)
    status = mica_tokens_push(out, part[1].id[i]);
  if (texts == 2 && end >= 0 && status == MICA_OK) status = mica_tokens_push(out, end);
  mica_tokens_free(&part[1]);
  if (status != MICA_OK) out->n = out->second = 0;
  return status;
}

mica_status mica_tokenizer_encode(const mica_tokenizer *t, const char *text, size_t n,
                                  const mica_encode_options *o, mica_tokens *out) {
  return encode(t, &text, &n, 1, o, out);
}

mica_status mica_tokenizer_encode_pair(const mica_tokenizer *t, const char *a, size_t na,
                                       const char *b, size_t nb, const mica_encode_options *o,
                                       mica_tokens *out) {
  return encode(t, (const char *const[]){a, b}, (const size_t[]){na, nb}, 2, o, out);
}

mica_status mica_tokenizer_encode_rows(const mica_tokenizer *t, int64_t n, const char *const *texts,
                                       int64_t length, int64_t *ids, int64_t *count) {
  if (n < 0 || length < 1)
    return mica_fail(MICA_ERR_INVALID, "%lld texts of %lld tokens", (long long)n,
                     (long long)length);
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  o.length = length;
  int64_t pad = t->special[MICA_TOKEN_PAD];
  if (pad < 0) pad = t->special[MICA_TOKEN_END];
  if (pad < 0) pad = 0;
  mica_tokens row = {0};
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    status = mica_tokenizer_encode(t, texts[i], strlen(texts[i]), &o, &row);
    if (status != MICA_OK) break;
    if (count) count[i] = row.n;
    for (int64_t k = 0; k < length; k++) ids[i * length + k] = k < row.n ? row.id[k] : pad;
  }
  mica_tokens_free(&row);
  return status;
}

/* ---- tokens to text ---- */

/* Words of these kinds begin with the space before them, which a text's first word does not have.
 */
static bool drops_space(const mica_tokenizer *t, int64_t previous) {
  if (t->kind == MICA_TOKENIZER_WORDPIECE) return previous < 0;
  if (t->kind == MICA_TOKENIZER_LLAMA2C)
    return previous < 0 || previous == t->special[MICA_TOKEN_BEGIN];
  return false;
}

const char *mica_tokenizer_piece(const mica_tokenizer *t, int64_t previous, int64_t id,
                                 size_t *bytes) {
  if (id < 0 || id >= t->plain.n) return NULL;
  const char *text = mica_pieces_text(&t->plain, id, bytes);
  if (*bytes && *text == ' ' && drops_space(t, previous)) {
    (*bytes)--;
    text++;
  }
  return text;
}

mica_status mica_tokenizer_decode(const mica_tokenizer *t, int64_t n, const int64_t *ids,
                                  bool special, char **text, size_t *bytes) {
  *text = NULL;
  mica_bytes b = {0};
  int64_t previous = -1;
  if (!mica_bytes_reserve(&b, 1)) return b.status;
  *b.data = '\0';
  for (int64_t i = 0; i < n && b.status == MICA_OK; i++) {
    size_t m;
    const char *piece = mica_tokenizer_piece(t, previous, ids[i], &m);
    if (!piece) {
      mica_bytes_free(&b);
      return mica_fail(MICA_ERR_INVALID, "token %lld of a vocabulary of %lld", (long long)ids[i],
                       (long long)t->plain.n);
    }
    const bool left_out = !special && mica_tokenizer_is_special(t, ids[i]);
    if (!left_out) mica_bytes_append(&b, piece, m);
    if (!left_out || t->kind == MICA_TOKENIZER_LLAMA2C) previous = ids[i];
  }
  const mica_status status = b.status;
  if (bytes) *bytes = b.n;
  *text = mica_bytes_take(&b);
  return *text ? MICA_OK : status;
}
