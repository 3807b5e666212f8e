/* Tokenizers, mostly those of bytes and of llama2.c's form: text to tokens and back, what the model
 * file keeps, hostile files, and allocations that fail. */
#include "support/failing_alloc.h"

#include <mica/tokenizer.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void expect_ids(const mica_tokens *got, const int64_t *ids, int64_t n) {
  assert_int_equal(got->n, n);
  for (int64_t i = 0; i < n; i++) assert_int_equal(got->id[i], ids[i]);
}

/* Decoded at once and token by token. */
static void expect_text(const mica_tokenizer *t, const mica_tokens *tokens, const char *text,
                        size_t n) {
  char *all;
  size_t length, at = 0;
  assert_int_equal(mica_tokenizer_decode(t, tokens->n, tokens->id, false, &all, &length), MICA_OK);
  assert_int_equal(length, n);
  assert_memory_equal(all, text, n);
  assert_int_equal(all[n], '\0');
  int64_t previous = -1;
  for (int64_t i = 0; i < tokens->n; i++) {
    size_t m;
    const char *piece = mica_tokenizer_piece(t, previous, tokens->id[i], &m);
    previous = tokens->id[i];
    if (mica_tokenizer_is_special(t, tokens->id[i])) continue;
    assert_true(at + m <= n && memcmp(piece, text + at, m) == 0);
    at += m;
  }
  assert_int_equal(at, n);
  mica_free(all);
}

/* ---- bytes ---- */

static mica_tokenizer *bytes(void) {
  mica_tokenizer *t;
  assert_int_equal(mica_tokenizer_bytes(&t), MICA_OK);
  return t;
}

static void test_bytes(void **state) {
  (void)state;
  mica_tokenizer *t = bytes();
  mica_tokens out = {0};
  assert_int_equal(mica_tokenizer_size(t), 257);
  assert_int_equal(mica_tokenizer_kind_of(t), MICA_TOKENIZER_BYTES);
  assert_int_equal(mica_tokenizer_special(t, MICA_TOKEN_END), 256);
  assert_int_equal(mica_tokenizer_special(t, MICA_TOKEN_MASK), -1);
  assert_int_equal(mica_tokenizer_encode(t, "a\0\xff", 3, NULL, &out), MICA_OK);
  expect_ids(&out, (const int64_t[]){256, 'a', 0, 255, 256}, 5);
  assert_int_equal(out.second, 5);
  expect_text(t, &out, "a\0\xff", 3);
  assert_int_equal(mica_tokenizer_find(t, "\xff", 1), 255);
  assert_int_equal(mica_tokenizer_find(t, "ab", 2), -1);
  size_t n;
  assert_null(mica_tokenizer_token(t, 257, &n));
  assert_null(mica_tokenizer_piece(t, -1, -1, &n));
  assert_int_equal(mica_tokenizer_decode(t, 1, (const int64_t[]){257}, true, &(char *){0}, &n),
                   MICA_ERR_INVALID);
  mica_tokens_free(&out);
  mica_tokenizer_free(t);
}

/* What begins and ends a text, cutting, special tokens in the text. */
static void test_options(void **state) {
  (void)state;
  mica_tokenizer *t = bytes();
  mica_tokens out = {0};
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  o.begin = false;
  assert_int_equal(mica_tokenizer_encode(t, "abc", 3, &o, &out), MICA_OK);
  expect_ids(&out, (const int64_t[]){'a', 'b', 'c', 256}, 4);
  o.end = false;
  assert_int_equal(mica_tokenizer_encode(t, "abc", 3, &o, &out), MICA_OK);
  expect_ids(&out, (const int64_t[]){'a', 'b', 'c'}, 3);
  o.special = true;
  const char text[] = "x<|endoftext|><|endoftext|<|endoftext|>";
  assert_int_equal(mica_tokenizer_encode(t, text, strlen(text), &o, &out), MICA_OK);
  assert_int_equal(out.n, 1 + 1 + 12 + 1);
  assert_int_equal(out.id[1], 256);
  assert_int_equal(out.id[14], 256);
  o = (mica_encode_options)MICA_ENCODE_OPTIONS;
  assert_int_equal(mica_tokenizer_encode(t, text, strlen(text), &o, &out), MICA_OK);
  assert_int_equal(out.n, (int64_t)strlen(text) + 2);
  o.length = 4;
  assert_int_equal(mica_tokenizer_encode(t, "abc", 3, &o, &out), MICA_OK);
  expect_ids(&out, (const int64_t[]){256, 'a', 'b', 256}, 4);
  o.length = 1;
  assert_int_equal(mica_tokenizer_encode(t, "abc", 3, &o, &out), MICA_ERR_INVALID);
  assert_int_equal(out.n, 0);
  mica_tokens_free(&out);
  mica_tokenizer_free(t);
}

/* The longer of two texts is cut first, then both. */
static void test_pairs(void **state) {
  (void)state;
  static const struct {
    int64_t length;
    const char *a, *b, *kept_a, *kept_b;
  } cases[] = {
      {0, "abcdef", "xy", "abcdef", "xy"},
      {11, "abcdef", "xy", "abcdef", "xy"},
      {9, "abcdef", "xy", "abcd", "xy"},
      {8, "xy", "abcdef", "xy", "abc"},
      {7, "abcdef", "vwxyz", "ab", "vw"},
      {8, "abcdef", "vwxyz", "abc", "vw"},
      {8, "abcde", "uvwxyz", "ab", "uvw"},
      {3, "abc", "xyz", "", ""},
      {0, "", "", "", ""},
      {4, "abc", "", "a", ""},
  };
  mica_tokenizer *t = bytes();
  mica_tokens out = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_encode_options o = MICA_ENCODE_OPTIONS;
    o.length = cases[i].length;
    int64_t expected[32], n = 0;
    expected[n++] = 256;
    for (const char *p = cases[i].kept_a; *p; p++) expected[n++] = *p;
    expected[n++] = 256;
    const int64_t second = n;
    for (const char *p = cases[i].kept_b; *p; p++) expected[n++] = *p;
    expected[n++] = 256;
    assert_int_equal(mica_tokenizer_encode_pair(t, cases[i].a, strlen(cases[i].a), cases[i].b,
                                                strlen(cases[i].b), &o, &out),
                     MICA_OK);
    expect_ids(&out, expected, n);
    assert_int_equal(out.second, second);
  }
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  o.length = 2;
  assert_int_equal(mica_tokenizer_encode_pair(t, "a", 1, "b", 1, &o, &out), MICA_ERR_INVALID);
  mica_tokens_free(&out);
  mica_tokenizer_free(t);
}

static void test_rows(void **state) {
  (void)state;
  mica_tokenizer *t = bytes();
  const char *const texts[] = {"a", "abcdef", ""};
  int64_t ids[3 * 4], count[3];
  assert_int_equal(mica_tokenizer_encode_rows(t, 3, texts, 4, ids, count), MICA_OK);
  static const int64_t expected[] = {256, 'a', 256, 256, 256, 'a', 'b', 256, 256, 256, 256, 256};
  assert_memory_equal(ids, expected, sizeof expected);
  assert_int_equal(count[0], 3);
  assert_int_equal(count[1], 4);
  assert_int_equal(count[2], 2);
  assert_int_equal(mica_tokenizer_encode_rows(t, 3, texts, 1, ids, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_tokenizer_encode_rows(t, 3, texts, 0, ids, NULL), MICA_ERR_INVALID);
  mica_tokenizer_free(t);
}

/* ---- llama2.c's form ---- */

static char path[] = "/tmp/mica-test-tokenizer-XXXXXX";

typedef struct file {
  char bytes[65536];
  size_t n;
} file;

static void put(file *f, float score, const char *text) {
  const int32_t n = (int32_t)strlen(text);
  memcpy(f->bytes + f->n, &score, 4);
  memcpy(f->bytes + f->n + 4, &n, 4);
  memcpy(f->bytes + f->n + 8, text, (size_t)n);
  f->n += 8 + (size_t)n;
}

/* 259 tokens that every such file has, then pieces with their scores. */
static file llama2c(void) {
  static const char *const pieces[] = {" ",    "a",  "b", "aa", "ab", "aab", " a", "\xc3\xa9",
                                       "</s>", "</", "s", ">",  "<",  "/",   "s>"};
  static const float scores[] = {-9, -9, -9, -1, -2, -3, -1, -9, -1, -1, -9, -9, -9, -9, -1};
  file f = {.n = 4};
  put(&f, 0, "<unk>");
  put(&f, 0, "\n<s>\n");
  put(&f, 0, "\n</s>\n");
  for (int i = 0; i < 256; i++) {
    char text[8];
    snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
    put(&f, 0, text);
  }
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) put(&f, scores[i], pieces[i]);
  return f;
}

static mica_status open_file(const void *data, size_t n, mica_tokenizer **out) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
  return mica_tokenizer_open(path, out);
}

static void test_llama2c(void **state) {
  (void)state;
  file f = llama2c();
  mica_tokenizer *t;
  mica_tokens out = {0};
  if (open_file(f.bytes, f.n, &t) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_tokenizer_kind_of(t), MICA_TOKENIZER_LLAMA2C);
  assert_int_equal(mica_tokenizer_size(t), 259 + 15);
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  o.end = false;
  /* "aa" and " a" have equal scores, so the first pair merges; then "aab" is no pair's. */
  assert_int_equal(mica_tokenizer_encode(t, "aab", 3, &o, &out), MICA_OK);
  expect_ids(&out, (const int64_t[]){1, 265, 263}, 3);
  expect_text(t, &out, "aab", 3);
  assert_int_equal(mica_tokenizer_encode(t, "\xc3\xa9\xff\xe2\x82", 5, &o, &out), MICA_OK);
  expect_ids(&out, (const int64_t[]){1, 259, 266, 3 + 0xff, 3 + 0xe2, 3 + 0x82}, 6);
  expect_text(t, &out, "\xc3\xa9\xff\xe2\x82", 5);
  assert_int_equal(mica_tokenizer_encode(t, "", 0, &o, &out), MICA_OK);
  expect_ids(&out, (const int64_t[]){1}, 1);
  /* An ordinary piece may look like a special one. */
  assert_int_equal(mica_tokenizer_encode(t, "</s>", 4, &o, &out), MICA_OK);
  assert_int_equal(out.id[out.n - 1], 267);
  mica_tokens_free(&out);
  mica_tokenizer_free(t);
}

static void test_hostile(void **state) {
  (void)state;
  static const char *const json[] = {
      "{}",
      "{\"kind\":\"none\"}",
      "{\"kind\":\"llama2c\"}",
      "{\"kind\":\"llama2c\",\"vocabulary\":[\"a\"],\"special\":[]}",
      "{\"kind\":\"llama2c\",\"vocabulary\":[\"a\"],\"special\":[],\"scores\":[0]}",
      "{\"kind\":\"llama2c\",\"vocabulary\":[\"a\"],\"special\":[1],\"scores\":[0]}",
      "{\"kind\":\"llama2c\",\"vocabulary\":[\"a\"],\"special\":[],\"scores\":[1e300]}",
      "{\"kind\":\"llama2c\",\"vocabulary\":[3],\"special\":[],\"scores\":[0]}",
      "{\"kind\":\"llama2c\",\"vocabulary\":[\"a\"],\"begin\":-1,\"special\":[],\"scores\":[0]}",
  };
  mica_tokenizer *t;
  for (size_t i = 0; i < sizeof json / sizeof *json; i++) {
    assert_int_not_equal(mica_tokenizer_parse(json[i], &t), MICA_OK);
    assert_null(t);
    assert_non_null(strstr(mica_last_error(), "tokenizer"));
    assert_int_not_equal(open_file(json[i], strlen(json[i]), &t), MICA_OK);
    assert_non_null(strstr(mica_last_error(), path));
  }
  const file good = llama2c();
  for (size_t n = 0; n < good.n; n += 1 + n / 8) {
    assert_int_equal(open_file(good.bytes, n, &t), MICA_ERR_FORMAT);
    assert_null(t);
  }
  file f = good;
  memcpy(f.bytes + 4, &(float){NAN}, 4);
  assert_int_equal(open_file(f.bytes, f.n, &t), MICA_ERR_FORMAT);
  f = good;
  memcpy(f.bytes + 8, &(int32_t){-1}, 4);
  assert_int_equal(open_file(f.bytes, f.n, &t), MICA_ERR_FORMAT);
  f = good;
  put(&f, 0, "\xff");
  assert_int_equal(open_file(f.bytes, f.n, &t), MICA_ERR_FORMAT);
  assert_int_equal(mica_tokenizer_open("/nowhere/at/all", &t), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_tokenizer_open("/tmp/../tmp/.", &t), MICA_ERR_NOT_FOUND);
}

/* ---- the model file's text ---- */

static void test_text(void **state) {
  (void)state;
  const file f = llama2c();
  for (int kind = 0; kind < 2; kind++) {
    mica_tokenizer *t = NULL, *back;
    char *text, *again;
    if (kind == 0)
      t = bytes();
    else
      assert_int_equal(open_file(f.bytes, f.n, &t), MICA_OK);
    assert_int_equal(mica_tokenizer_text(t, &text), MICA_OK);
    if (mica_tokenizer_parse(text, &back) != MICA_OK) fail_msg("%s", mica_last_error());
    assert_int_equal(mica_tokenizer_text(back, &again), MICA_OK);
    assert_string_equal(text, again);
    mica_tokens a = {0}, b = {0};
    static const char line[] = "ab aab </s> \xc3\xa9\xff";
    assert_int_equal(mica_tokenizer_encode(t, line, strlen(line), NULL, &a), MICA_OK);
    assert_int_equal(mica_tokenizer_encode(back, line, strlen(line), NULL, &b), MICA_OK);
    expect_ids(&b, a.id, a.n);
    mica_tokens_free(&a);
    mica_tokens_free(&b);
    mica_free(text);
    mica_free(again);
    mica_tokenizer_free(t);
    mica_tokenizer_free(back);
  }
}

/* A long text without any word takes time in proportion: a million symbols that all merge. */
static void test_long(void **state) {
  (void)state;
  const file f = llama2c();
  mica_tokenizer *t;
  mica_tokens out = {0};
  const size_t n = 1 << 20;
  char *text = malloc(n);
  assert_non_null(text);
  memset(text, 'a', n);
  assert_int_equal(open_file(f.bytes, f.n, &t), MICA_OK);
  assert_int_equal(mica_tokenizer_encode(t, text, n, NULL, &out), MICA_OK);
  assert_int_equal(out.n, 2 + (int64_t)n / 2 + 1);
  expect_text(t, &out, text, n);
  free(text);
  mica_tokens_free(&out);
  mica_tokenizer_free(t);
}

/* ---- short memory ---- */

static mica_status use(void *ctx) { /* a path, or NULL for bytes */
  mica_tokenizer *t, *back = NULL;
  mica_tokens out = {0};
  char *text = NULL, *decoded = NULL;
  mica_status status = ctx ? mica_tokenizer_open(ctx, &t) : mica_tokenizer_bytes(&t);
  if (status != MICA_OK) return status;
  status = mica_tokenizer_text(t, &text);
  if (status == MICA_OK) status = mica_tokenizer_parse(text, &back);
  if (status == MICA_OK) status = mica_tokenizer_encode_pair(back, "a aab", 5, "b", 1, NULL, &out);
  if (status == MICA_OK) status = mica_tokenizer_decode(back, out.n, out.id, true, &decoded, NULL);
  mica_free(text);
  mica_free(decoded);
  mica_tokens_free(&out);
  mica_tokenizer_free(t);
  mica_tokenizer_free(back);
  return status;
}

static void test_short_memory(void **state) {
  (void)state;
  const file f = llama2c();
  mica_tokenizer *t;
  assert_int_equal(open_file(f.bytes, f.n, &t), MICA_OK);
  mica_tokenizer_free(t);
  fail_each(use, NULL);
  fail_every(29, use, path);
  fail_every(13, use, "tests/golden/tokenizers/wordpiece.txt");
  fail_every(29, use, "tests/golden/tokenizers/bpe");
  fail_every(29, use, "tests/golden/tokenizers/clip.json");
}

static int setup(void **state) {
  (void)state;
  const int fd = mkstemp(path);
  return fd < 0 || close(fd) != 0;
}
static int teardown(void **state) {
  (void)state;
  return unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bytes),       cmocka_unit_test(test_options),
      cmocka_unit_test(test_pairs),       cmocka_unit_test(test_rows),
      cmocka_unit_test(test_llama2c),     cmocka_unit_test(test_hostile),
      cmocka_unit_test(test_text),        cmocka_unit_test(test_long),
      cmocka_unit_test(test_short_memory)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
