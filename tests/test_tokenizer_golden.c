/* Tokenizers against reference implementations (tests/golden/make_tokenizers.py): small
 * vocabularies that lie here, and the published ones of BERT, GPT-2, CLIP and llama2.c under
 * MICA_WEIGHTS. */
#include "support/test.h"

#include "base/json.h"

#include <mica/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/tokenizers/"

static mica_json_doc *doc;
static const mica_json *texts;

static int setup(void **state) {
  (void)state;
  if (mica_json_read(GOLDEN "cases.json", 1 << 22, &doc) != MICA_OK) return 1;
  texts = mica_json_get(mica_json_root(doc), "texts");
  return mica_json_count(texts) < 200;
}
static int teardown(void **state) {
  (void)state;
  mica_json_free(doc);
  return 0;
}

static mica_tokenizer *open_one(const char *folder, const char *name) {
  mica_tokenizer *t;
  char path[2048];
  snprintf(path, sizeof path, "%s%s", folder, name);
  if (mica_tokenizer_open(path, &t) != MICA_OK) fail_msg("%s", mica_last_error());
  return t;
}

/* As the model file gives it back. */
static mica_tokenizer *through_text(mica_tokenizer *t) {
  char *text;
  mica_tokenizer *back;
  assert_int_equal(mica_tokenizer_text(t, &text), MICA_OK);
  if (mica_tokenizer_parse(text, &back) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_tokenizer_size(back), mica_tokenizer_size(t));
  for (int role = 0; role < MICA_TOKEN_ROLES; role++)
    assert_int_equal(mica_tokenizer_special(back, (mica_token_role)role),
                     mica_tokenizer_special(t, (mica_token_role)role));
  mica_free(text);
  mica_tokenizer_free(t);
  return back;
}

static void check_decoded(const mica_tokenizer *t, const mica_tokens *ids, const char *text) {
  char *decoded;
  const mica_tokenizer_kind kind = mica_tokenizer_kind_of(t);
  assert_int_equal(mica_tokenizer_decode(t, ids->n, ids->id, true, &decoded, NULL), MICA_OK);
  if (kind == MICA_TOKENIZER_BPE || kind == MICA_TOKENIZER_LLAMA2C)
    assert_string_equal(decoded, text);
  mica_free(decoded);
}

static void check(const char *folder, const char *name) {
  const mica_json *cases = mica_json_get(mica_json_root(doc), name);
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  mica_tokens out = {0};
  o.begin = o.end = false;
  assert_int_equal(mica_json_count(cases), mica_json_count(texts));
  mica_tokenizer *t = open_one(folder, name);
  int64_t checked = 0;
  for (int pass = 0; pass < 2; pass++) {
    if (pass == 1) t = through_text(t);
    for (int64_t i = 0; i < mica_json_count(cases); i++) {
      const mica_json *ids = mica_json_item(cases, i);
      const char *text = mica_json_string(mica_json_item(texts, i));
      if (mica_json_type_of(ids) == MICA_JSON_NULL) continue;
      assert_int_equal(mica_tokenizer_encode(t, text, strlen(text), &o, &out), MICA_OK);
      bool same = out.n == mica_json_count(ids);
      for (int64_t k = 0, id; same && k < out.n; k++)
        same = mica_json_int64(mica_json_item(ids, k), &id) && id == out.id[k];
      if (!same) fail_msg("%s: text %lld: '%s'", name, (long long)i, text);
      check_decoded(t, &out, text);
      checked++;
    }
  }
  assert_true(checked > mica_json_count(texts));
  mica_tokens_free(&out);
  mica_tokenizer_free(t);
}

static void test_small(void **state) {
  (void)state;
  static const char *const names[] = {
      "wordpiece.txt", "wordpiece-cased.json", "bpe", "bpe.json", "clip.txt", "clip.json"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) check(GOLDEN, names[i]);
}

static void test_published(void **state) {
  (void)state;
  static const char *const names[] = {"tokenizers/bert", "tokenizers/gpt2", "tokenizers/clip",
                                      "llama2c-tinystories/tok512.bin",
                                      "llama2c-tinystories/tokenizer.bin"};
  static const int64_t size[] = {30522, 50257, 49408, 512, 32000};
  const char *weights = getenv("MICA_WEIGHTS");
  if (!weights) {
    print_message("skipped: MICA_WEIGHTS is not set\n");
    skip();
  }
  char folder[1000];
  snprintf(folder, sizeof folder, "%s/", weights);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
#ifndef MICA_HAVE_ZLIB
    if (size[i] == 49408) continue; /* CLIP's file is packed */
#endif
    check(folder, names[i]);
    mica_tokenizer *t = open_one(folder, names[i]);
    assert_int_equal(mica_tokenizer_size(t), size[i]);
    mica_tokenizer_free(t);
  }
}

/* GPT-2's numbers follow from its merges alone. */
static void test_merges_alone(void **state) {
  (void)state;
  const char *weights = getenv("MICA_WEIGHTS");
  if (!weights) {
    print_message("skipped: MICA_WEIGHTS is not set\n");
    skip();
  }
  char from[1000], to[] = "/tmp/mica-test-merges-XXXXXX", folder[1000];
  assert_non_null(mkdtemp(to));
  snprintf(from, sizeof from, "cp '%s/tokenizers/gpt2/vocab.bpe' %s/merges.txt", weights, to);
  assert_int_equal(system(from), 0);
  snprintf(folder, sizeof folder, "%s/", weights);
  mica_tokenizer *a = open_one(to, ""), *b = open_one(folder, "tokenizers/gpt2/encoder.json");
  assert_int_equal(mica_tokenizer_size(a), mica_tokenizer_size(b));
  for (int64_t i = 0; i < mica_tokenizer_size(a); i++)
    assert_string_equal(mica_tokenizer_token(a, i, NULL), mica_tokenizer_token(b, i, NULL));
  mica_tokenizer_free(a);
  mica_tokenizer_free(b);
  snprintf(from, sizeof from, "rm -r %s", to);
  assert_int_equal(system(from), 0);
}

/* ---- what the references do not say ---- */

static void expect(const mica_tokenizer *t, const char *text, size_t n, const char *const *spelt,
                   int64_t count) {
  mica_tokens out = {0};
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  o.special = true;
  assert_int_equal(mica_tokenizer_encode(t, text, n, &o, &out), MICA_OK);
  assert_int_equal(out.n, count);
  for (int64_t i = 0; i < count; i++)
    assert_string_equal(mica_tokenizer_token(t, out.id[i], NULL), spelt[i]);
  mica_tokens_free(&out);
}
#define SPELT(...)                                                                                 \
  (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

static void test_special(void **state) {
  (void)state;
  mica_tokenizer *t = open_one(GOLDEN, "wordpiece.txt");
  expect(t, "the[MASK]the", 12, SPELT("[CLS]", "the", "[MASK]", "the", "[SEP]"));
  assert_int_equal(mica_tokenizer_special(t, MICA_TOKEN_PAD), 0);
  mica_tokenizer_free(t);
  t = open_one(GOLDEN, "clip.txt");
  expect(t, "A", 1, SPELT("<|startoftext|>", "a</w>", "<|endoftext|>"));
  mica_tokenizer_free(t);
  t = open_one(GOLDEN, "bpe.json");
  expect(t, "a<|endoftext|>b", 15,
         SPELT("<|endoftext|>", "a", "<|endoftext|>", "b", "<|endoftext|>"));
  mica_tokenizer_free(t);
}

/* Bytes that are no text: kept where every byte is, replaced elsewhere, in any place. */
static void test_invalid(void **state) {
  (void)state;
  static const char text[] = "a\xff\xc3 \xed\xa0\x80\0b \xf4\x90\x80\x80 '\xe2\x82";
  const size_t n = sizeof text - 1;
  mica_tokenizer *t = open_one(GOLDEN, "bpe");
  mica_tokens out = {0};
  char *decoded;
  size_t m;
  assert_int_equal(mica_tokenizer_encode(t, text, n, NULL, &out), MICA_OK);
  assert_int_equal(mica_tokenizer_decode(t, out.n, out.id, false, &decoded, &m), MICA_OK);
  assert_int_equal(m, n);
  assert_memory_equal(decoded, text, n);
  mica_free(decoded);
  mica_tokenizer_free(t);
  t = open_one(GOLDEN, "wordpiece.txt");
  expect(t,
         "th\xff\0\xed\xa0\x80"
         "e",
         8, SPELT("[CLS]", "the", "[SEP]"));
  mica_tokenizer_free(t);
  t = open_one(GOLDEN, "clip.txt");
  mica_tokens same = {0};
  assert_int_equal(mica_tokenizer_encode(t, "a\xff", 2, NULL, &out), MICA_OK);
  assert_int_equal(mica_tokenizer_encode(t, "a\xef\xbf\xbd", 4, NULL, &same), MICA_OK);
  assert_int_equal(out.n, same.n);
  assert_memory_equal(out.id, same.id, (size_t)out.n * sizeof *out.id);
  mica_tokens_free(&out);
  mica_tokens_free(&same);
  mica_tokenizer_free(t);
}

static void expect_decoded(const char *name, const char *text, const char *decoded) {
  mica_tokenizer *t = open_one(GOLDEN, name);
  mica_tokens out = {0};
  char *got;
  assert_int_equal(mica_tokenizer_encode(t, text, strlen(text), NULL, &out), MICA_OK);
  assert_int_equal(mica_tokenizer_decode(t, out.n, out.id, false, &got, NULL), MICA_OK);
  assert_string_equal(got, decoded);
  mica_free(got);
  mica_tokens_free(&out);
  mica_tokenizer_free(t);
}

static void test_decoded(void **state) {
  (void)state;
  expect_decoded("wordpiece.txt", "Learning  to represent, words", "learning to represent , words");
  expect_decoded("wordpiece-cased.json", "The naïve fox", "The naïve fox");
  expect_decoded("clip.txt", "  The CAFE\u0301 ", "the caf\u00e9 ");
  expect_decoded("bpe", "  The CAFE\u0301 \n", "  The CAFE\u0301 \n");
}

/* A word without an end takes time in proportion, however its marks lie. */
static void test_long(void **state) {
  (void)state;
  static const char *const names[] = {"wordpiece.txt", "bpe", "clip.txt"};
  static const char *const units[] = {"th", "\u0327\u0301", " ", "\xff", "'", "\u0301\u0316x"};
  const size_t n = 1 << 20;
  char *text = malloc(n);
  assert_non_null(text);
  mica_tokens out = {0};
  for (size_t k = 0; k < 3; k++) {
    mica_tokenizer *t = open_one(GOLDEN, names[k]);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
      const size_t m = strlen(units[u]);
      for (size_t i = 0; i < n; i++) text[i] = units[u][i % m];
      assert_int_equal(mica_tokenizer_encode(t, text, n, NULL, &out), MICA_OK);
      if (k == 1) {
        char *decoded;
        assert_int_equal(mica_tokenizer_decode(t, out.n, out.id, false, &decoded, NULL), MICA_OK);
        assert_memory_equal(decoded, text, n);
        mica_free(decoded);
      }
    }
    mica_tokenizer_free(t);
  }
  mica_tokens_free(&out);
  free(text);
}

/* ---- files that are not what they should be ---- */

static void refused(const char *text, mica_status status, const char *why) {
  char path[] = "/tmp/mica-test-vocabulary-XXXXXX";
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  FILE *f = fdopen(fd, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
  mica_tokenizer *t;
  const mica_status got = mica_tokenizer_open(path, &t);
  remove(path);
  assert_null(t);
  if (got != status || !strstr(mica_last_error(), why))
    fail_msg("%s: %d, %s", text, (int)got, mica_last_error());
}

#define MODEL(normaliser, cutter, model)                                                           \
  "{\"normalizer\":" normaliser ",\"pre_tokenizer\":" cutter ",\"model\":" model "}"
#define BERT "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"lowercase\":true}"
#define CUT  "{\"type\":\"BertPreTokenizer\"}"
#define WORDPIECE(vocabulary, more)                                                                \
  "{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","          \
  "\"vocab\":" vocabulary more "}"

static void test_hostile(void **state) {
  (void)state;
  refused("", MICA_ERR_FORMAT, "0 tokens");
  refused("a\nb\n", MICA_ERR_FORMAT, "no [UNK]");
  refused("[UNK]\n\xff\n", MICA_ERR_FORMAT, "not UTF-8");
  refused("#version: 0.2\na b c\n", MICA_ERR_FORMAT, "two pieces");
  refused("#version: 0.2\nzz y\n", MICA_ERR_FORMAT, "merge 0");
  refused("{\"a\":0}", MICA_ERR_NOT_FOUND, "merges.txt");
  refused("{\"model\":{}}", MICA_ERR_FORMAT, "vocab");
  refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":{}}}", MICA_ERR_UNSUPPORTED, "model");
  refused(MODEL(BERT, CUT, WORDPIECE("{\"[UNK]\":0,\"a\":0}", "")), MICA_ERR_FORMAT,
          "have the number 0");
  refused(MODEL(BERT, CUT, WORDPIECE("{\"[UNK]\":0,\"a\":-1}", "")), MICA_ERR_FORMAT, "below 2");
  refused(MODEL(BERT, CUT, WORDPIECE("{\"a\":1,\"[UNK]\":2,\"b\":3}", "")), MICA_ERR_FORMAT,
          "below 3");
  refused(MODEL(BERT, CUT, WORDPIECE("{\"[UNK]\":1,\"a\":2,\"b\":\"c\"}", "")), MICA_ERR_FORMAT,
          "'b'");
  refused(MODEL(BERT, CUT, WORDPIECE("{\"[UNK]\":0}", ",\"max_input_chars_per_word\":100000")),
          MICA_ERR_FORMAT, "100000 characters");
  refused(MODEL("null", CUT, WORDPIECE("{\"[UNK]\":0}", "")), MICA_ERR_UNSUPPORTED, "normalizer");
  refused(MODEL(BERT, "null", WORDPIECE("{\"[UNK]\":0}", "")), MICA_ERR_UNSUPPORTED,
          "pre_tokenizer");
  refused("{\"added_tokens\":[{\"id\":7,\"content\":\"x\"}],\"model\":" WORDPIECE("{\"[UNK]\":0}",
                                                                                  "") "}",
          MICA_ERR_FORMAT, "added_tokens[0]");
  refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"normalizer\":null,"
          "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}}",
          MICA_ERR_FORMAT, "no token for byte 0");
  refused("{\"kind\":\"bpe\",\"vocabulary\":[\"a\"],\"special\":[],\"merges\":[0]}",
          MICA_ERR_FORMAT, "pairs");
  refused("{\"kind\":\"bpe\",\"vocabulary\":[\"a\"],\"special\":[],\"merges\":[0,1]}",
          MICA_ERR_FORMAT, "merges[1]");
  refused("{\"kind\":\"clip\",\"vocabulary\":[\"a\"],\"special\":[],\"merges\":[0,0]}",
          MICA_ERR_FORMAT, "'aa'");
  refused("{\"kind\":\"wordpiece\",\"vocabulary\":[\"[UNK]\"],\"special\":[],\"lowercase\":1}",
          MICA_ERR_FORMAT, "lowercase");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_small),   cmocka_unit_test(test_published),
      cmocka_unit_test(test_special), cmocka_unit_test(test_merges_alone),
      cmocka_unit_test(test_invalid), cmocka_unit_test(test_decoded),
      cmocka_unit_test(test_long),    cmocka_unit_test(test_hostile)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
