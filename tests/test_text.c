/* Texts as tokens that stay in files, and streams of windows over them. */
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/mica-test-text-XXXXXX";
static mica_tokenizer *bytes;

static const char *in_dir(const char *name) {
  static char path[2][128];
  static int k;
  k = !k;
  snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
  return path[k];
}

static void write_file(const char *name, const void *data, size_t n) {
  FILE *f = fopen(in_dir(name), "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

static int setup(void **state) {
  (void)state;
  return !mkdtemp(dir) || mica_tokenizer_bytes(&bytes) != MICA_OK;
}
static int teardown(void **state) {
  (void)state;
  static const char *const names[] = {"text.txt",      "long.txt",        "empty.txt",
                                      "tokenizer.bin", "parts/train.txt", "parts/val.txt",
                                      "parts/test.txt"};
  mica_tokenizer_free(bytes);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(in_dir(names[i]));
  rmdir(in_dir("parts"));
  return rmdir(dir);
}

static mica_token_text *open_text(const char *name, const mica_tokenizer *t, double validation) {
  mica_token_text_options o = MICA_TOKEN_TEXT_OPTIONS;
  mica_token_text *x;
  o.validation = validation;
  if (mica_token_text_open(in_dir(name), t, &o, &x) != MICA_OK) fail_msg("%s", mica_last_error());
  return x;
}

/* ---- parts ---- */

static void test_bytes(void **state) {
  (void)state;
  char text[1000];
  for (int i = 0; i < 1000; i++) text[i] = (char)(i * 7);
  write_file("text.txt", text, sizeof text);
  mica_token_text *x = open_text("text.txt", bytes, 0.1);
  assert_int_equal(mica_token_text_count(x, MICA_PART_TRAIN), 900);
  assert_int_equal(mica_token_text_count(x, MICA_PART_VALIDATION), 100);
  assert_int_equal(mica_token_text_count(x, MICA_PART_TEST), 0);
  assert_int_equal(mica_token_text_bytes(x, MICA_PART_VALIDATION), 100);
  int64_t ids[100];
  assert_int_equal(mica_token_text_read(x, MICA_PART_VALIDATION, 0, 100, ids), MICA_OK);
  for (int i = 0; i < 100; i++) assert_int_equal(ids[i], (unsigned char)text[900 + i]);
  static const int64_t wrong[][2] = {{-1, 1}, {0, 101}, {101, 0}, {1, INT64_MAX}, {50, -1}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_int_equal(mica_token_text_read(x, MICA_PART_VALIDATION, wrong[i][0], wrong[i][1], ids),
                     MICA_ERR_INVALID);
  assert_int_equal(mica_token_text_read(x, MICA_PART_TEST, 0, 1, ids), MICA_ERR_INVALID);
  mica_token_text_free(x);
}

static void test_folder_and_errors(void **state) {
  (void)state;
  mica_token_text *x;
  write_file("empty.txt", "", 0);
  assert_int_equal(mica_token_text_open(in_dir("empty.txt"), bytes, NULL, &x), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "empty.txt: there is no text in it"));
  assert_int_equal(mica_token_text_open(in_dir("none.txt"), bytes, NULL, &x), MICA_ERR_NOT_FOUND);
  assert_int_equal(mkdir(in_dir("parts"), 0777), 0);
  assert_int_equal(mica_token_text_open(in_dir("parts"), bytes, NULL, &x), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "no train.txt"));
  write_file("parts/train.txt", "abcdefghij", 10);
  write_file("parts/test.txt", "xyz", 3);
  x = open_text("parts", bytes, 0.2);
  assert_int_equal(mica_token_text_count(x, MICA_PART_TRAIN), 8);
  assert_int_equal(mica_token_text_count(x, MICA_PART_VALIDATION), 2);
  assert_int_equal(mica_token_text_count(x, MICA_PART_TEST), 3);
  mica_token_text_free(x);
  write_file("parts/val.txt", "klm", 3);
  x = open_text("parts", bytes, 0.2);
  assert_int_equal(mica_token_text_count(x, MICA_PART_TRAIN), 10);
  int64_t ids[3];
  assert_int_equal(mica_token_text_read(x, MICA_PART_VALIDATION, 0, 3, ids), MICA_OK);
  assert_int_equal(ids[2], 'm');
  mica_token_text_free(x);
}

/* ---- other tokenizers ---- */

static void put(FILE *f, float score, const char *text) {
  const int32_t n = (int32_t)strlen(text);
  fwrite(&score, 4, 1, f);
  fwrite(&n, 4, 1, f);
  fwrite(text, 1, (size_t)n, f);
}

/* llama2.c's form with a few pieces. */
static mica_tokenizer *pieces(void) {
  static const char *const piece[] = {" ", "a", "b", "\n", "ab", "aab", " ab"};
  FILE *f = fopen(in_dir("tokenizer.bin"), "wb");
  assert_non_null(f);
  fwrite(&(int32_t){8}, 4, 1, f);
  put(f, 0, "<unk>");
  put(f, 0, "\n<s>\n");
  put(f, 0, "\n</s>\n");
  for (int i = 0; i < 256; i++) {
    char text[8];
    snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
    put(f, 0, text);
  }
  for (size_t i = 0; i < sizeof piece / sizeof *piece; i++)
    put(f, i < 4 ? -9 : -(float)i, piece[i]);
  assert_int_equal(fclose(f), 0);
  mica_tokenizer *t;
  if (mica_tokenizer_open(in_dir("tokenizer.bin"), &t) != MICA_OK)
    fail_msg("%s", mica_last_error());
  return t;
}

static void test_tokens_of_a_short_text(void **state) {
  (void)state;
  static const char text[] = "ab aab\n  ab b\xc3\xa9\nba";
  mica_tokenizer *t = pieces();
  mica_tokens want = {0};
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  o.begin = o.end = false;
  assert_int_equal(mica_tokenizer_encode(t, text, strlen(text), &o, &want), MICA_OK);
  write_file("text.txt", text, strlen(text));
  mica_token_text *x = open_text("text.txt", t, 0);
  assert_int_equal(mica_token_text_count(x, MICA_PART_TRAIN), want.n);
  assert_int_equal(mica_token_text_bytes(x, MICA_PART_TRAIN), (int64_t)strlen(text));
  int64_t got[64];
  assert_int_equal(mica_token_text_read(x, MICA_PART_TRAIN, 0, want.n, got), MICA_OK);
  assert_memory_equal(got, want.id, (size_t)want.n * sizeof *got);
  mica_tokens_free(&want);
  mica_token_text_free(x);
  mica_tokenizer_free(t);
}

/* Longer than what is cut at a time: with lines, and as one line of characters of two bytes. Each
 * piece is a text of its own, which begins with a space in this form; else nothing is lost. */
static void long_text(const char *unit, size_t n) {
  const size_t repeats = ((size_t)5 << 19) / n;
  char *text = malloc(repeats * n + 1), *now;
  assert_non_null(text);
  for (size_t i = 0; i < repeats; i++) memcpy(text + i * n, unit, n);
  write_file("long.txt", text, repeats * n);
  mica_tokenizer *t = pieces();
  mica_token_text *x = open_text("long.txt", t, 0);
  const int64_t count = mica_token_text_count(x, MICA_PART_TRAIN);
  int64_t *ids = malloc((size_t)count * sizeof *ids);
  now = malloc(repeats * n + 1);
  assert_true(ids && now);
  assert_int_equal(mica_token_text_read(x, MICA_PART_TRAIN, 0, count, ids), MICA_OK);
  size_t at = 0, extra = 0;
  for (int64_t i = 0; i < count; i++) {
    size_t m;
    const char *p = mica_tokenizer_piece(t, 3, ids[i], &m);
    /* A space too many, where a piece of the text begins. */
    if (*p == ' ' && text[at] != ' ') {
      p++, m--, extra++;
    }
    assert_true(at + m <= repeats * n && memcmp(p, text + at, m) == 0);
    at += m;
  }
  assert_int_equal(at, repeats * n);
  assert_int_equal(extra, 3); /* 2.5 MiB in pieces of 1 MiB */
  free(ids);
  free(now);
  free(text);
  mica_token_text_free(x);
  mica_tokenizer_free(t);
}

static void test_long_texts(void **state) {
  (void)state;
  long_text("ab aab b\n", 9);
  long_text("\xc3\xa9", 2);
}

/* ---- windows ---- */

#define LENGTH 16
#define BATCH  4

static const int64_t *ids_of(const mica_tensor *t) {
  return mica_tensor_data(t);
}

static void test_windows_end_to_end(void **state) {
  (void)state;
  char text[101];
  for (int i = 0; i < 101; i++) text[i] = (char)(i + 1);
  write_file("text.txt", text, sizeof text);
  mica_token_text *x = open_text("text.txt", bytes, 0);
  mica_stream s;
  assert_int_equal(mica_text_stream_create(x, MICA_PART_TRAIN, LENGTH, BATCH, false, 1, &s),
                   MICA_OK);
  assert_int_equal(s.batches, 2); /* 100 tokens to foretell: 6 windows of 16, and one of 4 */
  assert_int_equal(s.seek(s.ctx, 0, 0), MICA_OK);
  int scored[102] = {0};
  for (int64_t b = 0; b < s.batches; b++) {
    mica_batch batch;
    assert_int_equal(s.next(s.ctx, &batch), MICA_OK);
    assert_null(batch.x);
    assert_int_equal(batch.n, b ? 3 : 4);
    for (int64_t i = 0; i < batch.n * LENGTH; i++) {
      const int64_t token = ids_of(batch.tokens)[i], label = ids_of(batch.labels)[i];
      if (label == -100) continue;
      assert_int_equal(label, token + 1);
      scored[label]++;
    }
  }
  for (int i = 2; i <= 101; i++) assert_int_equal(scored[i], 1);
  mica_batch none;
  assert_int_equal(s.next(s.ctx, &none), MICA_ERR_STATE);
  mica_text_stream_free(&s);
  /* Too short for one window of training, and for anything at all. */
  assert_int_equal(mica_text_stream_create(x, MICA_PART_TRAIN, 101, BATCH, true, 1, &s),
                   MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "has 101 tokens"));
  assert_int_equal(mica_text_stream_create(x, MICA_PART_TEST, 4, BATCH, false, 1, &s),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_text_stream_create(x, MICA_PART_TRAIN, 100, BATCH, true, 1, &s), MICA_OK);
  mica_text_stream_free(&s);
  mica_token_text_free(x);
}

/* Another order and another shift in each epoch, the same for the same seed, wherever one begins.
 */
static void test_shuffled_windows(void **state) {
  (void)state;
  char text[1000];
  for (int i = 0; i < 1000; i++) text[i] = (char)(i % 251);
  write_file("text.txt", text, sizeof text);
  mica_token_text *x = open_text("text.txt", bytes, 0);
  mica_stream s[2];
  for (int k = 0; k < 2; k++)
    assert_int_equal(mica_text_stream_create(x, MICA_PART_TRAIN, LENGTH, BATCH, true, 9, &s[k]),
                     MICA_OK);
  int64_t first[2], seen[2][LENGTH * BATCH];
  int differ = 0;
  for (int64_t epoch = 0; epoch < 4; epoch++) {
    mica_batch a, b;
    assert_int_equal(s[0].seek(s[0].ctx, epoch, 0), MICA_OK);
    for (int64_t k = 0; k < 3; k++) assert_int_equal(s[0].next(s[0].ctx, &a), MICA_OK);
    assert_int_equal(s[1].seek(s[1].ctx, epoch, 2), MICA_OK);
    assert_int_equal(s[1].next(s[1].ctx, &b), MICA_OK);
    assert_memory_equal(ids_of(a.tokens), ids_of(b.tokens), sizeof seen[0]);
    assert_memory_equal(ids_of(a.labels), ids_of(b.labels), sizeof seen[0]);
    for (int i = 0; i < LENGTH * BATCH; i++)
      assert_int_equal(ids_of(a.labels)[i], (ids_of(a.tokens)[i] + 1) % 251);
    memcpy(seen[epoch % 2], ids_of(a.tokens), sizeof seen[0]);
    first[epoch % 2] = ids_of(a.tokens)[0] % LENGTH;
    if (epoch) differ += first[0] != first[1];
    if (epoch) assert_memory_not_equal(seen[0], seen[1], sizeof seen[0]);
  }
  assert_true(differ > 0);
  for (int k = 0; k < 2; k++) mica_text_stream_free(&s[k]);
  mica_token_text_free(x);
}

/* A decoder learns a text that repeats itself. */
static void test_training(void **state) {
  (void)state;
  char text[2000];
  for (int i = 0; i < 2000; i++) text[i] = "the cat sat. "[i % 13];
  write_file("text.txt", text, sizeof text);
  mica_token_text *x = open_text("text.txt", bytes, 0.2);
  const mica_problem problem = MICA_PROBLEM_TOKENS(mica_tokenizer_size(bytes), LENGTH, 0);
  mica_engine *engine;
  mica_net *net;
  mica_stream train, validation;
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  if (mica_net_create(engine, "gpt:dim=32:depth=1:heads=2", &problem, 1, &net) != MICA_OK)
    fail_msg("%s", mica_last_error());
  assert_int_equal(mica_text_stream_create(x, MICA_PART_TRAIN, LENGTH, BATCH, true, 1, &train),
                   MICA_OK);
  assert_int_equal(
      mica_text_stream_create(x, MICA_PART_VALIDATION, LENGTH, BATCH, false, 1, &validation),
      MICA_OK);
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_train_result result;
  o.optimiser = "adamw:lr=0.01";
  o.epochs = 6;
  o.best_by_loss = true;
  if (mica_train(net, &train, &validation, &o, &result) != MICA_OK)
    fail_msg("%s", mica_last_error());
  mica_evaluation e;
  assert_int_equal(mica_evaluate(net, &validation, false, false, &e), MICA_OK);
  assert_true(e.loss < 1 && e.accuracy > 0.8); /* the first tokens of a window are a guess */
  assert_true(result.best_val_loss <= e.loss + 1e-9);
  mica_evaluation_clear(&e);
  mica_text_stream_free(&train);
  mica_text_stream_free(&validation);
  mica_net_free(net);
  mica_engine_free(engine);
  mica_token_text_free(x);
}

/* ---- memory ---- */

static mica_status everything(void *ctx) {
  mica_token_text *x = NULL;
  mica_stream s = {0};
  mica_batch batch;
  mica_status status = mica_token_text_open(in_dir("text.txt"), ctx, NULL, &x);
  if (status == MICA_OK) status = mica_text_stream_create(x, MICA_PART_TRAIN, 4, 2, true, 1, &s);
  if (status == MICA_OK) status = s.seek(s.ctx, 0, 0);
  if (status == MICA_OK) status = s.next(s.ctx, &batch);
  mica_text_stream_free(&s);
  mica_token_text_free(x);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  write_file("text.txt", "ab aab\nab aab\nab aab\n", 21);
  mica_tokenizer *t = pieces();
  assert_true(fail_each(everything, t) > 5);
  assert_true(fail_each(everything, bytes) > 5);
  mica_tokenizer_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes),
                                     cmocka_unit_test(test_folder_and_errors),
                                     cmocka_unit_test(test_tokens_of_a_short_text),
                                     cmocka_unit_test(test_long_texts),
                                     cmocka_unit_test(test_windows_end_to_end),
                                     cmocka_unit_test(test_shuffled_windows),
                                     cmocka_unit_test(test_training),
                                     cmocka_unit_test(test_failing_allocations)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
