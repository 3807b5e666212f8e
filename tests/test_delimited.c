/* Delimited text: every form that RFC 4180 and its relatives allow, and a clear refusal of what is
 * none, with bounded memory. */
#include "support/failing_alloc.h"

#include "data/delimited.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* All records as text: fields in [], records parted by newlines, "!MESSAGE" for an error. */
static char *read_all(const char *bytes, size_t n, char delimiter, size_t limit) {
  static char out[4096];
  size_t used = 0;
  mica_input *input;
  mica_delimited *r = NULL;
  assert_int_equal(mica_input_open_memory(bytes, n, "t.csv", &input), MICA_OK);
  mica_status status = mica_delimited_create(input, delimiter, limit, &r);
  out[0] = 0;
  while (status == MICA_OK) {
    const char *const *field;
    int64_t fields;
    status = mica_delimited_next(r, &field, &fields);
    if (status != MICA_OK || !fields) break;
    for (int64_t i = 0; i < fields; i++)
      used += (size_t)snprintf(out + used, sizeof out - used, "[%s]", field[i]);
    used += (size_t)snprintf(out + used, sizeof out - used, "\n");
  }
  if (status != MICA_OK) {
    assert_int_equal(status, MICA_ERR_FORMAT);
    snprintf(out + used, sizeof out - used, "!%s", mica_last_error());
    /* An error stays: nothing behind it can be trusted. */
    const char *const *field;
    int64_t fields;
    if (r) assert_int_equal(mica_delimited_next(r, &field, &fields), MICA_ERR_FORMAT);
  }
  mica_delimited_free(r);
  mica_input_close(input);
  return out;
}

static void reads(const char *text, const char *expected) {
  assert_string_equal(read_all(text, strlen(text), 0, 0), expected);
}

static void test_records(void **state) {
  (void)state;
  reads("", "");
  reads("\n\n", "");
  reads("a,b\n1,2\n", "[a][b]\n[1][2]\n");
  reads("a,b\r\n1,2", "[a][b]\n[1][2]\n");
  reads("a,b\r1,2\r", "[a][b]\n[1][2]\n");
  reads("\xef\xbb\xbf"
        "a,b\n",
        "[a][b]\n");
  reads("a,,\n,,\n", "[a][][]\n[][][]\n");
  reads("\n\na,b\n  \n1,2\n\n", "[a][b]\n[1][2]\n");
  reads("a, b ,\tc\n", "[a][b][c]\n");
  reads("\xc3\xa9,\xe2\x82\xac\n", "[\xc3\xa9][\xe2\x82\xac]\n");
}

static void test_quotes(void **state) {
  (void)state;
  reads("\"a\",\"b,c\"\n\"d\"\"e\",\"f\ng\"\n", "[a][b,c]\n[d\"e][f\ng]\n");
  reads("x,\"one\r\ntwo\rthree\"\r\ny,z", "[x][one\r\ntwo\rthree]\n[y][z]\n");
  reads("a, \"b, c\" ,d\n", "[a][b, c][d]\n");
  reads("\"\"\n", "[]\n"); /* a record of one field that is empty, and says so */
  reads("\"\",\"\"\n", "[][]\n");
  reads("5\" pipe,\"5\"\" pipe\"\n", "[5\" pipe][5\" pipe]\n");
  reads("\"  kept  \",  dropped  \n", "[  kept  ][dropped]\n");
}

static void test_delimiters(void **state) {
  (void)state;
  reads("a\tb\n1,5\t2,5\n", "[a][b]\n[1,5][2,5]\n");
  reads("a;b\n1,5;2,5\n3,5;4,5\n", "[a][b]\n[1,5][2,5]\n[3,5][4,5]\n");
  reads("a|b\n1|2\n", "[a][b]\n[1][2]\n");
  reads("-1 451:1 4149:1\n1 2:1 3:1\n", "[-1][451:1][4149:1]\n[1][2:1][3:1]\n");
  reads("name,note\nx,\"a;b;c;d\"\n", "[name][note]\n[x][a;b;c;d]\n");
  reads("one\ntwo\n", "[one]\n[two]\n");
  reads("a b,c d\n", "[a b][c d]\n"); /* a space only where nothing else parts */
  assert_string_equal(read_all("a,b;c\n", 6, ';', 0), "[a,b][c]\n");
  mica_input *input;
  mica_delimited *r;
  assert_int_equal(mica_input_open_memory("a", 1, "t.csv", &input), MICA_OK);
  assert_int_equal(mica_delimited_create(input, '"', 0, &r), MICA_ERR_INVALID);
  assert_string_equal(mica_last_error(), "t.csv: a quote or a line end cannot part fields");
  mica_input_close(input);
}

/* A window of the input ends anywhere: fields that cross it stay whole. */
static void test_windows(void **state) {
  (void)state;
  enum { N = 300000 };
  char *text = malloc(N + 1);
  assert_non_null(text);
  for (int shift = 0; shift < 8; shift++) {
    static const char piece[] = "ab,\"c\"\"d\"\r\n";
    memset(text, ' ', N);
    for (size_t i = 0; i < N; i++)
      text[i] = i < (size_t)shift ? ' ' : piece[(i - (size_t)shift) % 11];
    const size_t n = (size_t)shift + (N - (size_t)shift) / 11 * 11;
    mica_input *input;
    mica_delimited *r;
    assert_int_equal(mica_input_open_memory(text, n, "t.csv", &input), MICA_OK);
    assert_int_equal(mica_delimited_create(input, ',', 0, &r), MICA_OK);
    int64_t records = 0, fields = 1;
    for (;;) {
      const char *const *field;
      assert_int_equal(mica_delimited_next(r, &field, &fields), MICA_OK);
      if (!fields) break;
      assert_int_equal(fields, 2);
      assert_string_equal(field[0], "ab");
      assert_string_equal(field[1], "c\"d");
      assert_int_equal(mica_delimited_line(r), ++records);
    }
    assert_int_equal(records, (N - shift) / 11);
    mica_delimited_free(r);
    mica_input_close(input);
  }
  free(text);
}

/* Records with and without quotes, of all line ends, plain ones beside others that are not:
 * whichever way each is read, wherever the window ends, the fields and lines are those that were
 * written. */
static void test_mixed_records(void **state) {
  (void)state;
  static const char *const written[] = {
      "12.5", "", " padded\t", "\"x,y\"", "\"q\"\"r\"", "gr\xc3\xbc\xc3\x9f", "a b", "\"1\r\n2\""};
  static const char *const meant[] = {
      "12.5", "", "padded", "x,y", "q\"r", "gr\xc3\xbc\xc3\x9f", "a b", "1\r\n2"};
  static const char *const ends[] = {"\n", "\r\n", "\r", "\n\n", "\r\n\r\n"};
  static const int lines_of[] = {1, 1, 1, 2, 2}; /* an empty line is passed over */
  enum { RECORDS = 30000, FIELDS = 4 };
  for (int kind = 0; kind < 6; kind++) { /* 5: all line ends, mixed */
    char *text = malloc((size_t)RECORDS * FIELDS * 16);
    uint8_t *which = malloc((size_t)RECORDS * FIELDS), *end = malloc(RECORDS);
    assert_true(text && which && end);
    size_t n = 0;
    uint64_t bits = 7;
    for (int i = 0; i < RECORDS; i++) {
      /* Long stretches of plain lines, so that whole windows are. */
      const int choices = i / 5000 % 2 ? 8 : 3;
      for (int k = 0; k < FIELDS; k++) {
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        const uint8_t piece = (uint8_t)((bits >> 33) % (unsigned)choices);
        which[i * FIELDS + k] = k == 0 && piece == 1 ? 0 : piece;
        n += (size_t)sprintf(text + n, "%s%s", k ? "," : "", written[which[i * FIELDS + k]]);
      }
      end[i] = kind < 5 ? (uint8_t)kind : (uint8_t)((bits >> 40) % 5);
      /* A CR before an empty line of LF would be one line end. */
      n += (size_t)sprintf(text + n, "%s", ends[end[i]]);
    }
    if (kind % 2) n--; /* without the last byte of the last line end */
    mica_input *input;
    mica_delimited *r;
    assert_int_equal(mica_input_open_memory(text, n, "t.csv", &input), MICA_OK);
    assert_int_equal(mica_delimited_create(input, ',', 0, &r), MICA_OK);
    const char *const *field;
    int64_t fields, line = 1;
    for (int i = 0; i < RECORDS; i++) {
      if (mica_delimited_next(r, &field, &fields)) fail_msg("%s", mica_last_error());
      assert_int_equal(fields, FIELDS);
      assert_int_equal(mica_delimited_line(r), line);
      for (int k = 0; k < FIELDS; k++) {
        const int piece = which[i * FIELDS + k];
        if (strcmp(field[k], meant[piece]) != 0)
          fail_msg("kind %d, record %d, field %d: '%s'", kind, i, k, field[k]);
        line += piece == 7;
      }
      line += lines_of[end[i]];
    }
    assert_int_equal(mica_delimited_next(r, &field, &fields), MICA_OK);
    assert_int_equal(fields, 0);
    mica_delimited_free(r);
    mica_input_close(input);
    free(text);
    free(which);
    free(end);
  }
}

#define REFUSES(text, delimiter, limit, expected)                                                  \
  assert_string_equal(read_all(text, sizeof(text) - 1, delimiter, limit), expected)

static void test_refusals(void **state) {
  (void)state;
  REFUSES("a,b\n1,\0\n", 0, 0, "[a][b]\n!t.csv: line 2: a NUL byte: this is no text file");
  REFUSES("a,b\n1,\"\0\"\n", 0, 0, "[a][b]\n!t.csv: line 2: a NUL byte: this is no text file");
  REFUSES("a,b\n1,caf\xe9\n", 0, 0,
          "[a][b]\n!t.csv: line 2: field 2 is not UTF-8 (byte 0xe9); convert the file, as with "
          "`iconv -f LATIN1 -t UTF-8`");
  REFUSES("a,\xed\xa0\x80\n", 0, 0, /* a surrogate */
          "!t.csv: line 1: field 2 is not UTF-8 (byte 0xed); convert the file, as with "
          "`iconv -f LATIN1 -t UTF-8`");
  REFUSES("\xff\xfe"
          "a\0,\0",
          0, 0,
          "!t.csv: is UTF-16; expected UTF-8: convert it, as with `iconv -f UTF-16 -t UTF-8`");
  REFUSES("a,b\n\"x\"y,2\n", 0, 0,
          "[a][b]\n!t.csv: line 2: field 1 goes on behind its closing quote");
  REFUSES("a,b\n1,\"two\nthree\n", 0, 0,
          "[a][b]\n!t.csv: line 2: the quote that opens here is never closed");
  REFUSES("abc,def\n", ',', 5,
          "!t.csv: line 1: a record of more than 5 bytes, the limit; is a closing quote missing?");
  REFUSES("ab\n\"c\nd\ne\nf\",g\n", ',', 5,
          "[ab]\n!t.csv: line 2: a record of more than 5 bytes, the limit; is a closing quote "
          "missing?");
  char *commas = malloc(70000);
  assert_non_null(commas);
  memset(commas, ',', 70000);
  assert_string_equal(read_all(commas, 70000, ',', 0), "!t.csv: line 1: more than 65536 fields");
  free(commas);
}

/* A line of 1 GB: the error names file, line and limit, and memory stays near the limit. */
static void test_a_line_of_a_gigabyte(void **state) {
  (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  print_message("skip: the sanitizer's own memory would be measured\n");
  skip();
#endif
  char path[] = "/tmp/mica-test-delimited-XXXXXX";
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  static char piece[1 << 20];
  memset(piece, 'x', sizeof piece);
  assert_int_equal(write(fd, "a,b\n", 4), 4);
  /* 32 MB are enough for the reader, which must stop at 16: the rest is a hole of NULs. */
  for (int i = 0; i < 32; i++) assert_int_equal(write(fd, piece, sizeof piece), sizeof piece);
  assert_int_equal(ftruncate(fd, (off_t)1 << 30), 0);
  close(fd);
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  mica_input *input;
  mica_delimited *r;
  const char *const *field;
  int64_t n;
  char expected[256];
  assert_int_equal(mica_input_open(path, &input), MICA_OK);
  assert_int_equal(mica_delimited_create(input, 0, 0, &r), MICA_OK);
  assert_int_equal(mica_delimited_next(r, &field, &n), MICA_OK);
  assert_int_equal(mica_delimited_next(r, &field, &n), MICA_ERR_FORMAT);
  snprintf(
      expected, sizeof expected,
      "%s: line 2: a record of more than 16777216 bytes, the limit; is a closing quote missing?",
      path);
  assert_string_equal(mica_last_error(), expected);
  getrusage(RUSAGE_SELF, &after);
  assert_true(after.ru_maxrss - before.ru_maxrss < 64 * 1024); /* KiB */
  mica_delimited_free(r);
  mica_input_close(input);
  unlink(path);
}

static mica_status read_something(void *ctx) {
  (void)ctx;
  static const char text[] = "a,b,c\n1,\"2\",3\n4,5,6\n";
  mica_input *input;
  mica_delimited *r = NULL;
  mica_status status = mica_input_open_memory(text, sizeof text - 1, "t.csv", &input);
  if (status != MICA_OK) return status;
  status = mica_delimited_create(input, 0, 0, &r);
  int64_t n = 1;
  while (status == MICA_OK && n) {
    const char *const *field;
    status = mica_delimited_next(r, &field, &n);
  }
  mica_delimited_free(r);
  mica_input_close(input);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  failing_alloc_install();
  assert_true(fail_each(read_something, NULL) > 4);
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_records),
      cmocka_unit_test(test_quotes),
      cmocka_unit_test(test_delimiters),
      cmocka_unit_test(test_windows),
      cmocka_unit_test(test_mixed_records),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_a_line_of_a_gigabyte),
      cmocka_unit_test(test_failing_allocations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
