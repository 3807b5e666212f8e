/* JSON: what is accepted, what is refused and how, and that what is written reads back. */
#include "support/failing_alloc.h"

#include "base/json.h"
#include "base/number.h"
#include "base/utf8.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parses a copy without a NUL at its very end, so that a read beyond it shows under a sanitizer. */
static mica_status parse_bytes(const char *text, size_t n, mica_json_doc **doc) {
  char *exact = malloc(n ? n : 1);
  assert_non_null(exact);
  memcpy(exact, text, n);
  mica_status status = mica_json_parse(exact, n, doc);
  free(exact);
  return status;
}

static mica_json_doc *accepted(const char *text) {
  mica_json_doc *doc;
  if (parse_bytes(text, strlen(text), &doc)) fail_msg("%s: %s", text, mica_last_error());
  return doc;
}

static void refused_bytes(const char *text, size_t n, const char *part) {
  mica_json_doc *doc;
  mica_status status = parse_bytes(text, n, &doc);
  if (status != MICA_ERR_FORMAT) fail_msg("%.40s: status %d", text, (int)status);
  assert_null(doc);
  if (!strstr(mica_last_error(), part))
    fail_msg("%.40s: '%s' lacks '%s'", text, mica_last_error(), part);
}

static void refused(const char *text, const char *part) {
  refused_bytes(text, strlen(text), part);
}

static void values_of_all_types_are_read(void **state) {
  (void)state;
  mica_json_doc *doc =
      accepted(" {\"a\":[1,-2.5e1,\"x\",true,false,null,{},[]],\r\n\t\"b\":\"\"} ");
  const mica_json *root = mica_json_root(doc), *a = mica_json_get(root, "a");
  assert_int_equal(mica_json_type_of(root), MICA_JSON_OBJECT);
  assert_int_equal(mica_json_count(root), 2);
  assert_string_equal(mica_json_name(root, 1), "b");
  assert_null(mica_json_name(root, 2));
  assert_null(mica_json_name(root, -1));
  assert_int_equal(mica_json_count(a), 8);
  assert_null(mica_json_name(a, 0));
  assert_null(mica_json_get(a, "a"));
  assert_null(mica_json_item(a, 8));
  assert_null(mica_json_item(NULL, 0));
  static const mica_json_type types[] = {MICA_JSON_INT,    MICA_JSON_FLOAT, MICA_JSON_STRING,
                                         MICA_JSON_BOOL,   MICA_JSON_BOOL,  MICA_JSON_NULL,
                                         MICA_JSON_OBJECT, MICA_JSON_ARRAY};
  for (int i = 0; i < 8; i++) assert_int_equal(mica_json_type_of(mica_json_item(a, i)), types[i]);
  double d;
  bool truth;
  assert_true(mica_json_double(mica_json_item(a, 1), &d) && d == -25);
  assert_true(mica_json_double(mica_json_item(a, 0), &d) && d == 1);
  assert_true(mica_json_bool(mica_json_item(a, 3), &truth) && truth);
  assert_true(mica_json_bool(mica_json_item(a, 4), &truth) && !truth);
  assert_false(mica_json_bool(mica_json_item(a, 0), &truth));
  assert_false(mica_json_double(mica_json_item(a, 2), &d));
  assert_string_equal(mica_json_string(mica_json_get(root, "b")), "");
  assert_null(mica_json_string(a));
  assert_null(mica_json_get(root, "c"));
  assert_null(mica_json_get(NULL, "c"));
  mica_json_free(doc);
  mica_json_free(NULL);
  doc = accepted("7");
  assert_int_equal(mica_json_type_of(mica_json_root(doc)), MICA_JSON_INT);
  mica_json_free(doc);
}

static void integers_stay_exact(void **state) {
  (void)state;
  mica_json_doc *doc = accepted("[9223372036854775807,-9223372036854775808,18446744073709551615,"
                                "9223372036854775808,18446744073709551616,-9223372036854775809,"
                                "-0,9007199254740993,1.0]");
  const mica_json *a = mica_json_root(doc);
  int64_t i = 1;
  uint64_t u = 1;
  double d;
  assert_true(mica_json_int64(mica_json_item(a, 0), &i) && i == INT64_MAX);
  assert_true(mica_json_int64(mica_json_item(a, 1), &i) && i == INT64_MIN);
  assert_false(mica_json_uint64(mica_json_item(a, 1), &u));
  assert_false(mica_json_int64(mica_json_item(a, 2), &i));
  assert_true(mica_json_uint64(mica_json_item(a, 2), &u) && u == UINT64_MAX);
  assert_false(mica_json_int64(mica_json_item(a, 3), &i));
  assert_true(mica_json_uint64(mica_json_item(a, 3), &u) && u == (uint64_t)1 << 63);
  assert_false(mica_json_uint64(mica_json_item(a, 4), &u));
  assert_true(mica_json_double(mica_json_item(a, 4), &d) && d == 0x1p64);
  assert_false(mica_json_int64(mica_json_item(a, 5), &i));
  assert_true(mica_json_double(mica_json_item(a, 5), &d) && d == -0x1p63);
  assert_true(mica_json_int64(mica_json_item(a, 6), &i) && i == 0);
  assert_true(mica_json_uint64(mica_json_item(a, 6), &u) && u == 0);
  assert_true(mica_json_int64(mica_json_item(a, 7), &i) && i == 9007199254740993);
  assert_false(mica_json_int64(mica_json_item(a, 8), &i));
  mica_json_free(doc);
}

static void strings_are_unescaped(void **state) {
  (void)state;
  mica_json_doc *doc = accepted(
      "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"\\u00e9\\u20AC\\ud83d\\uDE00\",\"\x7f\xc3\xa9\"]");
  const mica_json *a = mica_json_root(doc);
  assert_string_equal(mica_json_string(mica_json_item(a, 0)), "\"\\/\b\f\n\r\t");
  assert_string_equal(mica_json_string(mica_json_item(a, 1)),
                      "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  assert_string_equal(mica_json_string(mica_json_item(a, 2)), "\x7f\xc3\xa9");
  mica_json_free(doc);
}

static void malformed_text_is_refused(void **state) {
  (void)state;
  refused("", "line 1, column 1: the text ends");
  refused("  \n ", "line 2, column 2: the text ends");
  refused("{\"a\" 1}", "column 6: expected ':'");
  refused("{a:1}", "column 2: expected a name");
  refused("{'a':1}", "expected a name");
  refused("{\"a\":1,}", "column 8: expected a name");
  refused("{\"a\":1 \"b\":2}", "expected ',' or '}'");
  refused("[1,]", "column 4: expected a value");
  refused("[1 2]", "expected ',' or ']'");
  refused("[1}", "expected ',' or ']'");
  refused("[,1]", "expected a value");
  refused("]", "expected a value");
  refused("1 2", "column 3: text after the end");
  refused("[]]", "text after the end");
  refused("nul", "expected a value");
  refused("nulll", "text after the end");
  refused("True", "expected a value");
  refused("NaN", "expected a value");
  refused("Infinity", "expected a value");
  refused("-", "digit is missing");
  refused("-Infinity", "digit is missing");
  refused("+1", "expected a value");
  refused(".5", "expected a value");
  refused("01", "must not begin with 0");
  refused("-012", "must not begin with 0");
  refused("1.", "after '.'");
  refused("1.e3", "after '.'");
  refused("1e", "exponent");
  refused("1e+", "exponent");
  refused("0x10", "text after the end");
  refused("1,5", "text after the end");
  refused("1e999", "range of a double");
  refused("-1e999", "range of a double");
  refused("// x\n1", "expected a value");
  refused("\xef\xbb\xbf[]", "byte order mark");
  refused("\"a", "text ends inside a string");
  refused("\"\\", "text ends inside a string");
  refused("\"\\x\"", "no such escape");
  refused("\"\\u12\"", "four hexadecimal digits");
  refused("\"\\u12g4\"", "four hexadecimal digits");
  refused("\"\\u0000\"", "NUL");
  refused("\"\\ud800\"", "surrogate");
  refused("\"\\ud800\\n\"", "surrogate");
  refused("\"\\ud800\\u0041\"", "surrogate");
  refused("\"\\udc00\"", "surrogate");
  refused("\"a\nb\"", "control character");
  refused("[\n\"a\tb\"]", "line 2, column 3: a control character");
  refused_bytes("\"a\0b\"", 5, "control character");
  refused_bytes("[1]\0", 4, "text after the end");
  refused_bytes("\0", 1, "expected a value");
}

static void bad_utf8_is_refused(void **state) {
  (void)state;
  static const char *const wrong[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc3",
                                      "\xc3(",
                                      "\xe0\x80\x80",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xe2\x82",
                                      "\xe2(\xa1",
                                      "\xf0\x80\x80\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80",
                                      "\xf0\x9f\x98",
                                      "\xff",
                                      "\xfe",
                                      "\xf8\x88\x80\x80\x80"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    char text[64];
    snprintf(text, sizeof text, "[\"ok\",\"%s\"]", wrong[i]);
    refused(text, "column 8: bytes that are not UTF-8");
    snprintf(text, sizeof text, "{\"%s\":1}", wrong[i]);
    refused(text, "not UTF-8");
  }
}

/* All code points, against a count of the valid ones, and back. */
static void utf8_is_exactly_its_code_points(void **state) {
  (void)state;
  for (uint32_t code = 1; code <= 0x10ffff; code++) {
    char text[4];
    size_t n = mica_utf8_encode(code, text), expected = n;
    assert_int_equal(n, 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000));
    if (code >= 0xd800 && code <= 0xdfff) expected = 0;
    assert_int_equal(mica_utf8_length(text, n), expected);
    if (n > 1) assert_int_equal(mica_utf8_length(text, n - 1), 0);
  }
}

static void names_must_differ(void **state) {
  (void)state;
  refused("{\"a\":1,\"b\":2,\"a\":3}", "\"a\" twice");
  refused("[\n{\"x\":1,\"\\u0078\":2}]", "line 2, column 1: the name \"x\" twice");
  mica_json_free(accepted("{\"a\":{\"a\":1},\"b\":{\"a\":1}}"));
}

static void many_names_are_found(void **state) {
  (void)state;
  enum { n = 20000 };
  mica_bytes b = {0};
  mica_bytes_text(&b, "{");
  for (int i = 0; i < n; i++)
    mica_bytes_printf(&b, "%s\"key%d\":%d", i ? "," : "", i * 7919 % n, i);
  mica_bytes_text(&b, "}");
  mica_json_doc *doc = accepted(b.data);
  for (int i = 0; i < n; i++) {
    char name[32];
    int64_t value;
    snprintf(name, sizeof name, "key%d", i * 7919 % n);
    assert_string_equal(mica_json_name(mica_json_root(doc), i), name);
    assert_true(mica_json_int64(mica_json_get(mica_json_root(doc), name), &value));
    assert_int_equal(value, i);
  }
  mica_json_free(doc);
  b.data[b.n - 1] = ',';
  mica_bytes_text(&b, "\"key17\":1}");
  refused(b.data, "\"key17\" twice");
  mica_bytes_free(&b);
}

static void nesting_has_a_limit(void **state) {
  (void)state;
  static const char *const open[] = {"[", "{\"a\":"}, *const close[] = {"]", "}"};
  for (int kind = 0; kind < 2; kind++)
    for (int depth = 63; depth <= 66; depth++) {
      mica_bytes b = {0};
      for (int i = 0; i < depth; i++) mica_bytes_text(&b, open[kind]);
      mica_bytes_text(&b, "1");
      for (int i = 0; i < depth; i++) mica_bytes_text(&b, close[kind]);
      if (depth <= MICA_JSON_DEPTH)
        mica_json_free(accepted(b.data));
      else
        refused(b.data, "nested more than 64 deep");
      mica_bytes_free(&b);
    }
  enum { deep = 100000 };
  char *text = malloc(2 * deep);
  memset(text, '[', deep);
  memset(text + deep, ']', deep);
  refused_bytes(text, deep, "column 65: nested more than 64 deep");
  refused_bytes(text, 2 * deep, "column 65: nested more than 64 deep");
  free(text);
}

static void long_numbers_have_a_limit(void **state) {
  (void)state;
  char text[3000];
  memset(text, '9', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  refused(text, "too many digits");
  text[1000] = '\0';
  refused(text, "range of a double");
  text[300] = '\0';
  mica_json_doc *doc = accepted(text);
  double d;
  assert_true(mica_json_double(mica_json_root(doc), &d) && d == 1e300);
  mica_json_free(doc);
}

/* Every prefix and every single wrong byte of a document: an answer, never a crash. */
static void damaged_text_is_survived(void **state) {
  (void)state;
  static const char text[] = "{\"na\\u00efve\": [1, -2.5e-3, \"\xe2\x82\xac\", {\"b\": null}], "
                             "\"t\": [true, false, []], \"\": {}}";
  size_t n = sizeof text - 1;
  mica_json_doc *doc;
  for (size_t cut = 0; cut < n; cut++) {
    assert_int_equal(parse_bytes(text, cut, &doc), MICA_ERR_FORMAT);
    assert_null(doc);
  }
  char changed[sizeof text];
  for (size_t i = 0; i < n; i++)
    for (int byte = 0; byte < 256; byte++) {
      memcpy(changed, text, sizeof text);
      changed[i] = (char)byte;
      mica_status status = parse_bytes(changed, n, &doc);
      assert_true(status == MICA_OK || status == MICA_ERR_FORMAT);
      mica_json_free(doc);
    }
}

static void required_members_are_explained(void **state) {
  (void)state;
  mica_json_doc *doc = accepted("{\"s\":\"x\",\"i\":5,\"d\":0.5,\"a\":[]}");
  const mica_json *root = mica_json_root(doc), *v;
  const char *s;
  int64_t i;
  double d;
  assert_int_equal(mica_json_need_string(root, "s", &s), MICA_OK);
  assert_string_equal(s, "x");
  assert_int_equal(mica_json_need_int64(root, "i", &i), MICA_OK);
  assert_int_equal(i, 5);
  assert_int_equal(mica_json_need_double(root, "d", &d), MICA_OK);
  assert_true(d == 0.5);
  assert_int_equal(mica_json_need(root, "a", MICA_JSON_ARRAY, &v), MICA_OK);
  assert_int_equal(mica_json_need_string(root, "i", &s), MICA_ERR_FORMAT);
  assert_string_equal(mica_last_error(), "\"i\": expected a string, found an integer");
  assert_int_equal(mica_json_need_int64(root, "d", &i), MICA_ERR_FORMAT);
  assert_int_equal(mica_json_need_double(root, "none", &d), MICA_ERR_FORMAT);
  assert_string_equal(mica_last_error(), "\"none\": is missing, expected a number");
  assert_int_equal(mica_json_need(root, "s", MICA_JSON_OBJECT, &v), MICA_ERR_FORMAT);
  assert_int_equal(mica_json_need(mica_json_get(root, "a"), "s", MICA_JSON_OBJECT, &v),
                   MICA_ERR_FORMAT);
  mica_json_free(doc);
}

static mica_status parse_once(void *ctx) {
  mica_json_doc *doc;
  mica_status status = mica_json_parse(ctx, strlen(ctx), &doc);
  mica_json_free(doc);
  return status;
}

static mica_status write_once(void *ctx) {
  (void)ctx;
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_array(&w);
  for (int i = 0; i < 100; i++) mica_json_write_string(&w, "a longer text than fits at once");
  mica_json_end_array(&w);
  mica_status status = b.status;
  mica_bytes_free(&b);
  return status;
}

static void memory_may_run_out(void **state) {
  (void)state;
  mica_bytes b = {0};
  mica_bytes_text(&b, "[");
  for (int i = 0; i < 200; i++) mica_bytes_printf(&b, "{\"name\":\"value %d\",\"b\":[1,2]},", i);
  mica_bytes_text(&b, "0]");
  fail_each(parse_once, b.data);
  fail_each(write_once, NULL);
  mica_bytes_free(&b);
}

/* ---- writing ---- */

static void a_document_is_written(void **state) {
  (void)state;
  for (int indent = 0; indent <= 2; indent += 2) {
    mica_bytes b = {0};
    mica_json_writer w = {.out = &b, .indent = indent};
    mica_json_begin_object(&w);
    mica_json_write_name(&w, "list");
    mica_json_begin_array(&w);
    mica_json_write_int(&w, INT64_MIN);
    mica_json_write_uint(&w, UINT64_MAX);
    mica_json_write_double(&w, 0.1);
    mica_json_write_double(&w, 3);
    mica_json_write_double(&w, NAN);
    mica_json_write_bool(&w, true);
    mica_json_write_null(&w);
    mica_json_end_array(&w);
    mica_json_write_name(&w, "none");
    mica_json_begin_object(&w);
    mica_json_end_object(&w);
    mica_json_write_name(&w, "text");
    mica_json_write_string(&w, "a\"\\\n\t\x01\x7f/\xc3\xa9\xff");
    mica_json_write_name(&w, "nothing");
    mica_json_write_string(&w, NULL);
    mica_json_end_object(&w);
    assert_int_equal(b.status, MICA_OK);
    assert_int_equal(w.depth, 0);
    assert_string_equal(
        b.data, indent ? "{\n  \"list\": [\n    -9223372036854775808,\n    18446744073709551615,\n"
                         "    0.1,\n    3.0,\n    null,\n    true,\n    null\n  ],\n"
                         "  \"none\": {},\n  \"text\": \"a\\\"\\\\\\n\\t\\u0001\\u007f/\xc3\xa9"
                         "\xef\xbf\xbd\",\n  \"nothing\": null\n}"
                       : "{\"list\":[-9223372036854775808,18446744073709551615,0.1,3.0,null,true,"
                         "null],\"none\":{},\"text\":\"a\\\"\\\\\\n\\t\\u0001\\u007f/\xc3\xa9"
                         "\xef\xbf\xbd\",\"nothing\":null}");
    mica_json_doc *doc = accepted(b.data);
    assert_string_equal(mica_json_string(mica_json_get(mica_json_root(doc), "text")),
                        "a\"\\\n\t\x01\x7f/\xc3\xa9\xef\xbf\xbd");
    mica_json_free(doc);
    mica_bytes_free(&b);
  }
}

static void a_writer_out_of_step_says_so(void **state) {
  (void)state;
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_end_array(&w);
  assert_int_equal(b.status, MICA_ERR_STATE);
  mica_bytes_free(&b);
  w = (mica_json_writer){.out = &b};
  for (int i = 0; i < MICA_JSON_DEPTH; i++) mica_json_begin_array(&w);
  assert_int_equal(b.status, MICA_OK);
  mica_json_begin_array(&w);
  assert_int_equal(b.status, MICA_ERR_STATE);
  mica_bytes_free(&b);
}

/* ---- numbers ---- */

static void doubles_are_parsed_as_strtod_does(void **state) {
  (void)state;
  static const char *const texts[] = {"0",
                                      "-0",
                                      "1",
                                      "0.1",
                                      "1e23",
                                      "8.5e-5",
                                      "123456789012345678",
                                      "9007199254740993",
                                      "2.2250738585072011e-308",
                                      "4.9e-324",
                                      "2.4703282292062327e-324",
                                      "2.4703282292062328e-324",
                                      "1.7976931348623157e308",
                                      "1.7976931348623159e308",
                                      "1e-400",
                                      "1e400",
                                      "0e999999999999",
                                      "1e-99999999999999999999",
                                      "123456.789e3",
                                      "0.000000000000000000000000000001234567890123456",
                                      "1.00000000000000011102230246251565404236316680908203125",
                                      "1.00000000000000011102230246251565404236316680908203124",
                                      "1.00000000000000011102230246251565404236316680908203126",
                                      "100000000000000000000000",
                                      "5e-1",
                                      "1.e2",
                                      ".5"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    double got = -1, expected = strtod(texts[i], NULL);
    assert_int_equal(mica_parse_double(texts[i], strlen(texts[i]), false, &got), strlen(texts[i]));
    if (memcmp(&got, &expected, sizeof got)) fail_msg("%s: %a, not %a", texts[i], got, expected);
  }
  /* A tie that only the last of 900 digits breaks. */
  char tie[960] = "1.00000000000000011102230246251565404236316680908203125";
  double got;
  for (int last = '0'; last <= '1'; last++) {
    size_t n = strlen("1.00000000000000011102230246251565404236316680908203125");
    memset(tie + n, '0', 900 - n);
    tie[900] = (char)last;
    tie[901] = '\0';
    assert_int_equal(mica_parse_double(tie, 901, false, &got), 901);
    assert_true(got == (last == '1' ? 1 + 0x1p-52 : 1));
  }
  uint64_t bits = 12345;
  for (int i = 0; i < 20000; i++) {
    bits = bits * 6364136223846793005u + 1442695040888963407u;
    double x, y;
    memcpy(&x, &bits, sizeof x);
    if (!isfinite(x)) continue;
    char shortest[MICA_DOUBLE_TEXT], longest[64];
    int n = mica_format_double(x, shortest);
    assert_int_equal(n, strlen(shortest));
    assert_int_equal(mica_parse_double(shortest, (size_t)n, false, &y), n);
    assert_true(x == y);
    int m = snprintf(longest, sizeof longest, "%.25e", x);
    assert_int_equal(mica_parse_double(longest, (size_t)m, false, &y), m);
    assert_true(x == y);
    assert_true(n <= 24);
  }
}

/* Up to 19 digits with a small power of ten, in the middle between two doubles too, are what strtod
 * makes of them. */
static void full_numbers_are_parsed_exactly(void **state) {
  (void)state;
  uint64_t bits = 99;
  for (int i = 0; i < 200000; i++) {
    char text[64];
    double got = -1;
    bits = bits * 6364136223846793005u + 1442695040888963407u;
    const uint64_t mantissa = i % 2 ? bits >> (bits % 24) : ((bits >> 11) | 1) + (1ull << 53);
    const int power = (int)(bits >> 40) % 30 - (int)(bits >> 50) % 30;
    const int n =
        i % 4 ? snprintf(text, sizeof text, "%llue%d", (unsigned long long)mantissa, power)
              : snprintf(text, sizeof text, "%llu.%05llu", (unsigned long long)(mantissa >> 20),
                         (unsigned long long)(mantissa % 100000));
    assert_int_equal(mica_parse_double(text, (size_t)n, false, &got), n);
    const double expected = strtod(text, NULL);
    if (got != expected) fail_msg("%s: %a, not %a", text, got, expected);
  }
  static const char *const ties[] = {"9007199254740993",
                                     "9007199254740995",
                                     "18014398509481990",
                                     "4503599627370496.5",
                                     "4503599627370497.5",
                                     "2251799813685248.25",
                                     "1e27",
                                     "9999999999999999999e-27",
                                     "0.1234567890123456789"};
  for (size_t i = 0; i < sizeof ties / sizeof *ties; i++) {
    double got;
    assert_int_equal(mica_parse_double(ties[i], strlen(ties[i]), false, &got), strlen(ties[i]));
    assert_true(got == strtod(ties[i], NULL));
  }
}

static void what_is_no_number_is_left(void **state) {
  (void)state;
  double d = 7;
  int64_t i = 7;
  static const char *const wrong[] = {"",  "-",   "+",  ".",   "e5", "-.",
                                      "x", "--1", " 1", "inf", "nan"};
  for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
    assert_int_equal(mica_parse_double(wrong[k], strlen(wrong[k]), false, &d), 0);
  assert_true(d == 7);
  assert_int_equal(mica_parse_double("1e", 2, false, &d), 1);
  assert_int_equal(mica_parse_double("1e+x", 4, false, &d), 1);
  assert_int_equal(mica_parse_double("12abc", 5, false, &d), 2);
  assert_int_equal(mica_parse_double("1.2.3", 5, false, &d), 3);
  assert_int_equal(mica_parse_double("123", 2, false, &d), 2);
  assert_true(d == 12);
  assert_int_equal(mica_parse_double("-Inf", 4, true, &d), 4);
  assert_true(d == -HUGE_VAL);
  assert_int_equal(mica_parse_double("NaN", 3, true, &d), 3);
  assert_true(isnan(d));
  assert_int_equal(mica_parse_double("infinityx", 9, true, &d), 8);
  assert_int_equal(mica_parse_double("in", 2, true, &d), 0);
  assert_int_equal(mica_parse_int64("9223372036854775807", 19, &i), 19);
  assert_true(i == INT64_MAX);
  assert_int_equal(mica_parse_int64("-9223372036854775808", 20, &i), 20);
  assert_true(i == INT64_MIN);
  assert_int_equal(mica_parse_int64("9223372036854775808", 19, &i), 0);
  assert_int_equal(mica_parse_int64("-9223372036854775809", 20, &i), 0);
  assert_int_equal(mica_parse_int64("+5x", 3, &i), 2);
  assert_true(i == 5);
  assert_int_equal(mica_parse_int64("-", 1, &i), 0);
  assert_int_equal(mica_parse_int64("", 0, &i), 0);
}

static void shortest_texts_are_short(void **state) {
  (void)state;
  static const struct {
    double x;
    const char *text;
  } cases[] = {{0.1, "0.1"},
               {1, "1"},
               {-0.0, "-0"},
               {1e100, "1e+100"},
               {1.0 / 3, "0.3333333333333333"},
               {HUGE_VAL, "inf"},
               {-HUGE_VAL, "-inf"}};
  char text[MICA_DOUBLE_TEXT];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_format_double(cases[i].x, text);
    assert_string_equal(text, cases[i].text);
  }
  mica_format_double(NAN, text);
  assert_string_equal(text, "nan");
  mica_format_float(0.1f, text);
  assert_string_equal(text, "0.1");
  mica_format_float(16777217.0f, text);
  assert_string_equal(text, "16777216");
}

static void the_locale_does_not_matter(void **state) {
  (void)state;
  static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
  const char *set = NULL;
  for (size_t i = 0; i < 4 && !set; i++) set = setlocale(LC_NUMERIC, names[i]);
  if (!set) {
    print_message("skipped: no locale with a decimal comma is installed\n");
    skip();
  }
  double d;
  char text[MICA_DOUBLE_TEXT];
  mica_format_double(0.1, text);
  size_t used = mica_parse_double("1.00000000000000000001e-5", 25, false, &d);
  setlocale(LC_NUMERIC, "C");
  assert_string_equal(text, "0.1");
  assert_int_equal(used, 25);
  assert_true(d == 1e-5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_of_all_types_are_read),
      cmocka_unit_test(integers_stay_exact),
      cmocka_unit_test(strings_are_unescaped),
      cmocka_unit_test(malformed_text_is_refused),
      cmocka_unit_test(bad_utf8_is_refused),
      cmocka_unit_test(utf8_is_exactly_its_code_points),
      cmocka_unit_test(names_must_differ),
      cmocka_unit_test(many_names_are_found),
      cmocka_unit_test(nesting_has_a_limit),
      cmocka_unit_test(long_numbers_have_a_limit),
      cmocka_unit_test(damaged_text_is_survived),
      cmocka_unit_test(required_members_are_explained),
      cmocka_unit_test(memory_may_run_out),
      cmocka_unit_test(a_document_is_written),
      cmocka_unit_test(a_writer_out_of_step_says_so),
      cmocka_unit_test(doubles_are_parsed_as_strtod_does),
      cmocka_unit_test(full_numbers_are_parsed_exactly),
      cmocka_unit_test(what_is_no_number_is_left),
      cmocka_unit_test(shortest_texts_are_short),
      cmocka_unit_test(the_locale_does_not_matter),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
