/* A tokenizer as one JSON object, as model files keep it:
 *
 *   {"kind": "bpe", "vocabulary": ["!", ...], "begin": 50256, "end": 50256, "special": [50256],
 *    "merges": [left, right, left, right, ...]}
 *
 * with "scores" for llama2c, "lowercase", "accents", "chinese" and "word_limit" for wordpiece, and
 * nothing but the kind for bytes. */
#include "data/tokenizer.h"

#include <math.h>
#include <string.h>

static const char *const role_name[MICA_TOKEN_ROLES] = {"begin", "end", "pad", "unknown", "mask"};

/* ---- writing ---- */

static void write_vocabulary(const mica_tokenizer *t, mica_json_writer *w) {
  mica_json_write_name(w, "vocabulary");
  mica_json_begin_array(w);
  for (int64_t i = 0; i < t->spelling.n; i++)
    mica_json_write_string(w, mica_tokenizer_token(t, i, NULL));
  mica_json_end_array(w);
  for (int i = 0; i < MICA_TOKEN_ROLES; i++)
    if (t->special[i] >= 0) mica_json_put_int(w, role_name[i], t->special[i]);
  mica_json_write_name(w, "special");
  mica_json_begin_array(w);
  for (int64_t i = 0; i < t->n_added; i++) mica_json_write_int(w, t->added[i]);
  mica_json_end_array(w);
}

static void write_kind(const mica_tokenizer *t, mica_json_writer *w) {
  if (t->kind == MICA_TOKENIZER_LLAMA2C) {
    mica_json_write_name(w, "scores");
    mica_json_begin_array(w);
    for (int64_t i = 0; i < t->spelling.n; i++) mica_json_write_double(w, (double)t->score[i]);
    mica_json_end_array(w);
  } else if (t->kind == MICA_TOKENIZER_WORDPIECE) {
    mica_json_write_name(w, "lowercase");
    mica_json_write_bool(w, t->lowercase);
    mica_json_write_name(w, "accents");
    mica_json_write_bool(w, t->accents);
    mica_json_write_name(w, "chinese");
    mica_json_write_bool(w, t->chinese);
    mica_json_put_int(w, "word_limit", t->word_limit);
  } else {
    mica_json_write_name(w, "merges");
    mica_json_begin_array(w);
    for (int64_t i = 0; i < t->merges.n; i++) {
      mica_json_write_int(w, t->merges.pair[i][0]);
      mica_json_write_int(w, t->merges.pair[i][1]);
    }
    mica_json_end_array(w);
  }
}

mica_status mica_tokenizer_text(const mica_tokenizer *t, char **out) {
  mica_bytes text = {0};
  mica_json_writer w = {.out = &text};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "kind", mica_tokenizer_kind_name(t->kind));
  if (t->kind != MICA_TOKENIZER_BYTES) {
    write_vocabulary(t, &w);
    write_kind(t, &w);
  }
  mica_json_end_object(&w);
  const mica_status status = text.status;
  *out = mica_bytes_take(&text);
  return *out ? MICA_OK : status;
}

/* ---- reading ---- */

static mica_status read_bool(const mica_json *v, const char *name, bool *out) {
  const mica_json *member;
  const mica_status status = mica_json_need(v, name, MICA_JSON_BOOL, &member);
  if (status == MICA_OK) (void)mica_json_bool(member, out);
  return status;
}

static mica_status read_vocabulary(const mica_json *v, mica_tokenizer *t) {
  const mica_json *list;
  mica_status status = mica_json_need(v, "vocabulary", MICA_JSON_ARRAY, &list);
  if (status == MICA_OK && mica_json_count(list) > MICA_VOCABULARY_MAX)
    return mica_fail(MICA_ERR_FORMAT, "vocabulary: %lld tokens", (long long)mica_json_count(list));
  for (int64_t i = 0; status == MICA_OK && i < mica_json_count(list); i++) {
    const char *text = mica_json_string(mica_json_item(list, i));
    if (!text)
      return mica_fail(MICA_ERR_FORMAT, "vocabulary[%lld]: expected a string", (long long)i);
    status = mica_pieces_add(&t->spelling, text, strlen(text));
  }
  for (int i = 0; i < MICA_TOKEN_ROLES && status == MICA_OK; i++)
    if (mica_json_get(v, role_name[i])) {
      status = mica_json_need_int64(v, role_name[i], &t->special[i]);
      if (status == MICA_OK && (t->special[i] < 0 || t->special[i] >= t->spelling.n))
        return mica_fail(MICA_ERR_FORMAT, "%s: expected a token", role_name[i]);
    }
  if (status == MICA_OK) status = mica_json_need(v, "special", MICA_JSON_ARRAY, &list);
  for (int64_t i = 0; status == MICA_OK && i < mica_json_count(list); i++) {
    int64_t id;
    if (!mica_json_int64(mica_json_item(list, i), &id) || id < 0 || id >= t->spelling.n)
      return mica_fail(MICA_ERR_FORMAT, "special[%lld]: expected a token", (long long)i);
    status = mica_tokenizer_add_special(t, id);
  }
  return status;
}

static mica_status read_scores(const mica_json *v, mica_tokenizer *t) {
  const mica_json *list;
  const mica_status status = mica_json_need(v, "scores", MICA_JSON_ARRAY, &list);
  if (status != MICA_OK) return status;
  if (mica_json_count(list) != t->spelling.n)
    return mica_fail(MICA_ERR_FORMAT, "scores: %lld for %lld tokens",
                     (long long)mica_json_count(list), (long long)t->spelling.n);
  t->score = mica_calloc((size_t)t->spelling.n + 1, sizeof *t->score);
  if (!t->score) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < t->spelling.n; i++) {
    double score;
    if (!mica_json_double(mica_json_item(list, i), &score) || !isfinite((float)score))
      return mica_fail(MICA_ERR_FORMAT, "scores[%lld]: expected a float32 number", (long long)i);
    t->score[i] = (float)score;
  }
  return MICA_OK;
}

static mica_status read_merges(const mica_json *v, mica_tokenizer *t) {
  const mica_json *list;
  mica_status status = mica_json_need(v, "merges", MICA_JSON_ARRAY, &list);
  if (status == MICA_OK) status = mica_pieces_index(&t->spelling);
  if (status == MICA_OK && mica_json_count(list) % 2)
    return mica_fail(MICA_ERR_FORMAT, "merges: expected pairs of tokens");
  for (int64_t i = 0; status == MICA_OK && i < mica_json_count(list); i += 2) {
    int64_t id[2];
    for (int k = 0; k < 2; k++)
      if (!mica_json_int64(mica_json_item(list, i + k), &id[k]) || id[k] < 0 ||
          id[k] >= t->spelling.n)
        return mica_fail(MICA_ERR_FORMAT, "merges[%lld]: expected a token", (long long)(i + k));
    status = mica_tokenizer_add_merge(t, id[0], id[1]);
  }
  return status;
}

static mica_status read_kind(const mica_json *v, mica_tokenizer *t) {
  mica_status status = read_vocabulary(v, t);
  if (status != MICA_OK) return status;
  if (t->kind == MICA_TOKENIZER_LLAMA2C) return read_scores(v, t);
  if (t->kind != MICA_TOKENIZER_WORDPIECE) return read_merges(v, t);
  status = read_bool(v, "lowercase", &t->lowercase);
  if (status == MICA_OK) status = read_bool(v, "accents", &t->accents);
  if (status == MICA_OK) status = read_bool(v, "chinese", &t->chinese);
  return status == MICA_OK ? mica_json_need_int64(v, "word_limit", &t->word_limit) : status;
}

mica_status mica_tokenizer_from_json(const mica_json *v, mica_tokenizer **out) {
  *out = NULL;
  const char *name;
  mica_status status = mica_json_need_string(v, "kind", &name);
  if (status != MICA_OK) return status;
  int kind = 0;
  while (kind < MICA_TOKENIZER_KINDS &&
         strcmp(name, mica_tokenizer_kind_name((mica_tokenizer_kind)kind)) != 0)
    kind++;
  if (kind == MICA_TOKENIZER_KINDS)
    return mica_fail(MICA_ERR_UNSUPPORTED, "kind: '%.40s' is no kind of tokenizer", name);
  if (kind == MICA_TOKENIZER_BYTES) return mica_tokenizer_bytes(out);
  mica_tokenizer *t;
  status = mica_tokenizer_create((mica_tokenizer_kind)kind, &t);
  if (status != MICA_OK) return status;
  status = read_kind(v, t);
  return mica_tokenizer_hand_over(t, status, out);
}

mica_status mica_tokenizer_parse(const char *text, mica_tokenizer **out) {
  mica_json_doc *doc;
  *out = NULL;
  mica_status status = mica_json_parse(text, strlen(text), &doc);
  if (status != MICA_OK) return mica_fail_within("tokenizer");
  status = mica_tokenizer_from_json(mica_json_root(doc), out);
  mica_json_free(doc);
  return status == MICA_OK ? MICA_OK : mica_fail_within("tokenizer");
}
