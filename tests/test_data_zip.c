/* Zips (npz, new .pth files) whose directory and members contradict each other, claim what is not
 * there, or blow up when unpacked: each is refused with a message, before its size is allocated.
 * And paths that name something other than a file.
 */
#include "support/failing_alloc.h"

#include <mica/data.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A member as the local header and the directory tell it; `bytes` are what is there. */
typedef struct member {
  const char *name;
  const void *bytes;
  size_t n;
  uint32_t method, crc, packed, size, flags, local; /* local: bytes added to the header's offset */
} member;

static uint8_t zip[1 << 16];
static size_t used;

static void put(uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) zip[used++] = (uint8_t)(value >> 8 * i);
}
static void put_bytes(const void *bytes, size_t n) {
  memcpy(zip + used, bytes, n);
  used += n;
}

static uint32_t crc32_of(const uint8_t *bytes, size_t n) {
  uint32_t sum = ~0u;
  for (size_t i = 0; i < n; i++) {
    sum ^= bytes[i];
    for (int k = 0; k < 8; k++) sum = sum >> 1 ^ (sum & 1 ? 0xedb88320u : 0);
  }
  return ~sum;
}

static void put_head(const member *m, uint32_t signature) {
  put(signature, 4);
  if (signature == 0x02014b50) put(20, 2); /* made by */
  put(20, 2);
  put(m->flags, 2);
  put(m->method, 2);
  put(0, 4); /* date and time */
  put(m->crc, 4);
  put(m->packed, 4);
  put(m->size, 4);
  put(strlen(m->name), 2);
  put(0, 2);
}

/* The zip of some members, with `claimed` of them in the end record. */
static void build(const member *m, int n, uint64_t claimed) {
  size_t local[8];
  used = 0;
  for (int i = 0; i < n; i++) {
    local[i] = used;
    put_head(&m[i], 0x04034b50);
    put_bytes(m[i].name, strlen(m[i].name));
    put_bytes(m[i].bytes, m[i].n);
  }
  const size_t directory = used;
  for (int i = 0; i < n; i++) {
    put_head(&m[i], 0x02014b50);
    put(0, 2); /* comment, disk, attributes */
    put(0, 2);
    put(0, 2);
    put(0, 4);
    put(local[i] + m[i].local, 4);
    put_bytes(m[i].name, strlen(m[i].name));
  }
  const size_t bytes = used - directory;
  put(0x06054b50, 4);
  put(0, 4);
  put(claimed, 2);
  put(claimed, 2);
  put(bytes, 4);
  put(directory, 4);
  put(0, 2);
}

/* Two float32 in a .npy. */
static const uint8_t *array(size_t *n) {
  static uint8_t bytes[200];
  static const char header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
  memcpy(bytes, "\x93NUMPY\1\0", 8);
  bytes[8] = sizeof header - 1;
  memcpy(bytes + 10, header, sizeof header - 1);
  *n = 10 + sizeof header - 1 + 8;
  const float values[2] = {1, -2};
  memcpy(bytes + *n - 8, values, 8);
  return bytes;
}

static member stored(const char *name) {
  member m = {.name = name};
  m.bytes = array(&m.n);
  m.size = m.packed = (uint32_t)m.n;
  m.crc = crc32_of(m.bytes, m.n);
  return m;
}

/* Opening, or else reading the first tensor, fails with this message. */
static void refuse(mica_status status, const char *part) {
  mica_archive *a;
  mica_status got = mica_archive_open_memory(zip, used, "bad", &a);
  if (!got) {
    mica_tensor *t;
    assert_true(mica_archive_count(a) > 0);
    got = mica_archive_read(a, 0, &t);
    if (!got) fail_msg("was read: %s expected", part);
    mica_archive_close(a);
  }
  if (got != status || !strstr(mica_last_error(), part) || !strstr(mica_last_error(), "bad"))
    fail_msg("status %d, \"%s\" lacks \"%s\"", (int)got, mica_last_error(), part);
}

static void test_well_formed(void **state) {
  (void)state;
  const member m = stored("a.npy");
  build(&m, 1, 1);
  mica_archive *a;
  mica_tensor *t;
  if (mica_archive_open_memory(zip, used, "good", &a)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_archive_read(a, 0, &t), MICA_OK);
  assert_true(mica_tensor_get(t, 1) == -2);
  mica_tensor_free(t);
  mica_archive_close(a);
}

static void test_contradictions(void **state) {
  (void)state;
  member m[2] = {stored("a.npy"), stored("a.npy")};
  build(m, 2, 2);
  refuse(MICA_ERR_FORMAT, "two tensors are named a");
  m[1] = stored("b.npy");
  build(m, 2, 60000);
  refuse(MICA_ERR_FORMAT, "zip directory of 60000 members");
  m[0].crc ^= 1;
  build(m, 1, 1);
  refuse(MICA_ERR_FORMAT, "member a.npy: checksum does not match, the file is damaged");
  m[0] = stored("a.npy");
  m[0].size += 4;
  build(m, 1, 1);
  refuse(MICA_ERR_FORMAT, "member a.npy is stored but its two sizes differ");
  m[0].packed = m[0].size = 0xfffffff0;
  build(m, 1, 1);
  refuse(MICA_ERR_FORMAT, "member a.npy of 4294967280 bytes does not fit in the file");
  m[0].packed = m[0].size = 0xffffffff;
  build(m, 1, 1);
  refuse(MICA_ERR_FORMAT, "member a.npy: zip64 sizes missing");
  m[0] = stored("a.npy");
  m[0].local = 3;
  build(m, 1, 1);
  refuse(MICA_ERR_FORMAT, "member a.npy: no local header at offset 3");
  m[0].local = 0x7fffffff;
  build(m, 1, 1);
  refuse(MICA_ERR_FORMAT, "truncated");
  m[0] = stored("a.npy");
  m[0].flags = 1;
  build(m, 1, 1);
  refuse(MICA_ERR_UNSUPPORTED, "member a.npy is encrypted");
  m[0] = stored("a.npy");
  m[0].method = 14;
  build(m, 1, 1);
  refuse(MICA_ERR_UNSUPPORTED, "compression method 14, expected 0 (stored) or 8 (deflated)");
  /* Sizes that fit, for an array that is larger than its member. */
  m[0] = stored("a.npy");
  m[0].n -= 4;
  m[0].size = m[0].packed = (uint32_t)m[0].n;
  m[0].crc = crc32_of(m[0].bytes, m[0].n);
  build(m, 1, 1);
  refuse(MICA_ERR_FORMAT, "8 bytes of data expected, 4");
  /* Cut anywhere: refused, and nothing beyond the end is read. */
  m[0] = stored("a.npy");
  build(m, 1, 1);
  for (size_t n = 0; n < used; n++) {
    uint8_t *part = malloc(n ? n : 1);
    mica_archive *a;
    memcpy(part, zip, n);
    if (mica_archive_open_memory(part, n, "cut", &a) == MICA_OK) fail_msg("cut at %zu", n);
    free(part);
  }
}

static void test_bombs(void **state) {
  (void)state;
  /* A claim beyond what deflate can do is refused without allocating it. */
  member m = stored("a.npy");
  m.method = 8;
  m.size = 4000000000u;
  build(&m, 1, 1);
  failing_alloc_install();
  refuse(MICA_ERR_FORMAT, "member a.npy claims 4000000000 bytes from");
  failing_alloc_remove();
#ifdef MICA_HAVE_ZLIB
  /* Stored bytes in deflate's form: a header of 5 bytes before them. */
  uint8_t packed[220] = {1};
  size_t n;
  const uint8_t *bytes = array(&n);
  packed[1] = (uint8_t)n;
  packed[3] = (uint8_t)~n;
  packed[4] = 0xff;
  memcpy(packed + 5, bytes, n);
  m = (member){"a.npy", packed, n + 5, 8, crc32_of(bytes, n), (uint32_t)n + 5, (uint32_t)n, 0, 0};
  build(&m, 1, 1);
  mica_archive *a;
  mica_tensor *t;
  assert_int_equal(mica_archive_open_memory(zip, used, "good", &a), MICA_OK);
  assert_int_equal(mica_archive_read(a, 0, &t), MICA_OK);
  mica_tensor_free(t);
  mica_archive_close(a);
  /* More, and less, than the directory says. */
  m.size -= 4;
  build(&m, 1, 1);
  refuse(MICA_ERR_FORMAT, "8 bytes of data expected, 4");
  m.size += 8;
  build(&m, 1, 1);
  refuse(MICA_ERR_FORMAT, "4 bytes behind the data");
  m.size -= 4;
  m.crc ^= 0x80;
  build(&m, 1, 1);
  refuse(MICA_ERR_FORMAT, "checksum does not match");
  m.crc ^= 0x80;
  packed[3] ^= 1;
  build(&m, 1, 1);
  refuse(MICA_ERR_FORMAT, "broken deflate data");
#endif
}

/* ---- paths that are no file ---- */

static void refuse_path(const char *path, mica_status status, const char *part) {
  mica_archive *a;
  assert_int_equal(mica_archive_open(path, &a), status);
  assert_null(a);
  if (!strstr(mica_last_error(), part) || !strstr(mica_last_error(), path))
    fail_msg("\"%s\" lacks \"%s\"", mica_last_error(), part);
}

static void test_no_files(void **state) {
  (void)state;
  char dir[] = "/tmp/mica-test-zip-XXXXXX", name[3][64];
  assert_non_null(mkdtemp(dir));
  for (int i = 0; i < 3; i++) snprintf(name[i], sizeof name[i], "%s/%d.npz", dir, i);
  refuse_path(dir, MICA_ERR_IO, "is a directory, expected a file");
  refuse_path(name[0], MICA_ERR_NOT_FOUND, "No such file");
  assert_int_equal(symlink(dir, name[0]), 0);
  refuse_path(name[0], MICA_ERR_IO, "is a directory, expected a file");
  assert_int_equal(symlink(name[1], name[1]), 0);
  refuse_path(name[1], MICA_ERR_IO, "Too many levels of symbolic links");
  assert_int_equal(mkfifo(name[2], 0600), 0);
  refuse_path(name[2], MICA_ERR_IO, "is not a regular file");
  refuse_path("/dev/zero", MICA_ERR_IO, "is not a regular file");
  for (int i = 0; i < 3; i++) unlink(name[i]);
  /* A link to a file is that file. */
  const member m = stored("a.npy");
  build(&m, 1, 1);
  FILE *f = fopen(name[0], "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(zip, 1, used, f), used);
  fclose(f);
  assert_int_equal(symlink(name[0], name[1]), 0);
  mica_archive *a;
  assert_int_equal(mica_archive_open(name[1], &a), MICA_OK);
  mica_archive_close(a);
  unlink(name[0]);
  unlink(name[1]);
  assert_int_equal(rmdir(dir), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_well_formed),
      cmocka_unit_test(test_contradictions),
      cmocka_unit_test(test_bombs),
      cmocka_unit_test(test_no_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
