/* Errors, allocation, hashing and the growing buffer. */
#include "support/failing_alloc.h"

#include "base/buffer.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void the_version_is_the_headers(void **state) {
  (void)state;
  char expected[32];
  snprintf(expected, sizeof expected, "%d.%d.%d", MICA_VERSION_MAJOR, MICA_VERSION_MINOR,
           MICA_VERSION_PATCH);
  assert_string_equal(mica_version(), expected);
}

static void every_status_has_its_own_name(void **state) {
  (void)state;
  for (int a = MICA_ERR_CANCELLED; a <= MICA_OK; a++)
    for (int b = MICA_ERR_CANCELLED; b < a; b++)
      assert_string_not_equal(mica_status_name((mica_status)a), mica_status_name((mica_status)b));
  assert_string_equal(mica_status_name((mica_status)-99), "unknown status");
}

static void a_failure_is_remembered(void **state) {
  (void)state;
  mica_clear_error();
  assert_string_equal(mica_last_error(), "");
  assert_int_equal(mica_last_status(), MICA_OK);
  assert_int_equal(mica_fail(MICA_ERR_SHAPE, "row %d of %s", 3, "x"), MICA_ERR_SHAPE);
  assert_string_equal(mica_last_error(), "row 3 of x");
  assert_int_equal(mica_fail_within("file %s", "a.npy"), MICA_ERR_SHAPE);
  assert_string_equal(mica_last_error(), "file a.npy: row 3 of x");
  mica_fail(MICA_ERR_IO, "again: %s", mica_last_error());
  assert_string_equal(mica_last_error(), "again: file a.npy: row 3 of x");
  mica_fail_within("%s", mica_last_error());
  assert_string_equal(mica_last_error(),
                      "again: file a.npy: row 3 of x: again: file a.npy: row 3 of x");
}

static void a_long_message_is_cut_between_letters(void **state) {
  (void)state;
  char text[3000];
  for (size_t pad = 0; pad < 3; pad++) {
    memset(text, 'x', pad);
    for (size_t i = pad; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 4);
    mica_fail(MICA_ERR_INVALID, "%s", text);
    size_t n = strlen(mica_last_error());
    assert_in_range(n, 1000, 1023);
    assert_int_equal((n - pad) % 3, 0);
    mica_fail_within("%s", text);
    assert_in_range(strlen(mica_last_error()), 1000, 1023);
  }
}

static void *fail_in_thread(void *ctx) {
  (void)ctx;
  bool empty = mica_last_status() == MICA_OK;
  mica_fail(MICA_ERR_NUMERIC, "of the other thread");
  return empty ? ctx : NULL;
}

static void each_thread_has_its_own_error(void **state) {
  (void)state;
  mica_fail(MICA_ERR_IO, "of this thread");
  pthread_t thread;
  void *result;
  int here;
  assert_int_equal(pthread_create(&thread, NULL, fail_in_thread, &here), 0);
  assert_int_equal(pthread_join(thread, &result), 0);
  assert_ptr_equal(result, &here);
  assert_string_equal(mica_last_error(), "of this thread");
}

static void blocks_are_made_and_sized(void **state) {
  (void)state;
  char *none = mica_malloc(0), *other = mica_calloc(0, 8);
  assert_non_null(none);
  assert_non_null(other);
  assert_ptr_not_equal(none, other);
  mica_free(none);
  mica_free(other);
  mica_free(NULL);
  mica_free_aligned(NULL);
  int *zeros = mica_calloc(10, sizeof *zeros);
  for (int i = 0; i < 10; i++) assert_int_equal(zeros[i], 0);
  zeros[9] = 9;
  zeros = mica_realloc_array(zeros, 1000, sizeof *zeros);
  assert_int_equal(zeros[9], 9);
  mica_free(zeros);
  char *copy = mica_strndup("abcdef", 3);
  assert_string_equal(copy, "abc");
  mica_free(copy);
  copy = mica_strndup("ab", 100);
  assert_string_equal(copy, "ab");
  mica_free(copy);
}

static void aligned_blocks_are_aligned(void **state) {
  (void)state;
  for (size_t n = 0; n < 300; n++) {
    unsigned char *p = mica_malloc_aligned(n);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    memset(p, 1, n);
    mica_free_aligned(p);
  }
}

static void impossible_sizes_are_refused(void **state) {
  (void)state;
  assert_null(mica_malloc(SIZE_MAX));
  assert_int_equal(mica_last_status(), MICA_ERR_MEMORY);
  assert_null(mica_calloc(SIZE_MAX / 2, 3));
  assert_null(mica_realloc_array(NULL, SIZE_MAX / 7, 8));
  mica_clear_error();
  assert_null(mica_malloc_aligned(SIZE_MAX));
  assert_int_equal(mica_last_status(), MICA_ERR_MEMORY);
  assert_null(mica_malloc_aligned(SIZE_MAX - 70));
}

static mica_status allocate_all(void *ctx) {
  (void)ctx;
  void *a = mica_malloc(3), *b = mica_calloc(4, 5), *c = mica_strdup("text");
  void *d = mica_malloc_aligned(100), *e = NULL;
  mica_status status = a && b && c && d ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    e = mica_realloc_array(a, 7, 7);
    if (e)
      a = e;
    else
      status = MICA_ERR_MEMORY;
  }
  mica_free(a);
  mica_free(b);
  mica_free(c);
  mica_free_aligned(d);
  return status;
}

static void every_allocation_goes_through_the_hooks(void **state) {
  (void)state;
  assert_int_equal(fail_each(allocate_all, NULL), 5);
}

static void fnv_has_its_published_values(void **state) {
  (void)state;
  assert_true(mica_hash64("", 0, 0) == 0xcbf29ce484222325u);
  assert_true(mica_hash64("a", 1, 0) == 0xaf63dc4c8601ec8cu);
  assert_true(mica_hash64("foobar", 6, 0) == 0x85944171f73967e8u);
  assert_true(mica_hash64("bar", 3, mica_hash64("foo", 3, 0)) == 0x85944171f73967e8u);
}

static void check_sha256(const char *text, size_t repeat, const char *expected) {
  size_t n = strlen(text);
  for (size_t step = 1; step <= 130; step += 43) {
    mica_sha256 h;
    char hex[65];
    mica_sha256_begin(&h);
    for (size_t r = 0; r < repeat; r++)
      for (size_t i = 0; i < n; i += step)
        mica_sha256_update(&h, text + i, n - i < step ? n - i : step);
    mica_sha256_end(&h, hex);
    assert_string_equal(hex, expected);
  }
}

static void sha256_has_its_published_values(void **state) {
  (void)state;
  check_sha256("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  check_sha256("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  check_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  char million[1001];
  memset(million, 'a', 1000);
  million[1000] = '\0';
  check_sha256(million, 1000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void buffers_grow(void **state) {
  (void)state;
  mica_bytes b = {0};
  for (int i = 0; i < 1000; i++) mica_bytes_printf(&b, "%d,", i);
  assert_int_equal(b.n, 10 * 2 + 90 * 3 + 900 * 4);
  assert_int_equal(strlen(b.data), b.n);
  assert_memory_equal(b.data + b.n - 8, "998,999,", 8);
  char *taken = mica_bytes_take(&b);
  assert_null(b.data);
  mica_free(taken);
  taken = mica_bytes_take(&b);
  assert_string_equal(taken, "");
  mica_free(taken);
  assert_null(mica_bytes_reserve(&b, SIZE_MAX - 3));
  mica_bytes_text(&b, "ignored after a failure");
  assert_int_equal(b.status, MICA_ERR_MEMORY);
  assert_null(mica_bytes_take(&b));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_version_is_the_headers),
      cmocka_unit_test(every_status_has_its_own_name),
      cmocka_unit_test(a_failure_is_remembered),
      cmocka_unit_test(a_long_message_is_cut_between_letters),
      cmocka_unit_test(each_thread_has_its_own_error),
      cmocka_unit_test(blocks_are_made_and_sized),
      cmocka_unit_test(aligned_blocks_are_aligned),
      cmocka_unit_test(impossible_sizes_are_refused),
      cmocka_unit_test(every_allocation_goes_through_the_hooks),
      cmocka_unit_test(fnv_has_its_published_values),
      cmocka_unit_test(sha256_has_its_published_values),
      cmocka_unit_test(buffers_grow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
