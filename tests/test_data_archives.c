/* Tensor files: what is written comes back, foreign files are read exactly, hostile ones are
 * refused with a message that says why. */
#include "support/failing_alloc.h"
#include "support/test.h"

#include "base/file.h"
#include "data/archive.h"

#include <mica/data.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static int setup(void **state) {
  (void)state;
  snprintf(path, sizeof path, "/tmp/mica-archive-XXXXXX");
  int fd = mkstemp(path);
  return fd < 0 ? -1 : close(fd);
}
static int teardown(void **state) {
  (void)state;
  return unlink(path);
}

static void refuse(const void *bytes, size_t n, mica_status status, const char *part) {
  mica_archive *a;
  mica_status got = mica_archive_open_memory(bytes, n, "bad", &a);
  if (got != status) fail_msg("status %d for \"%s\"", (int)got, got ? mica_last_error() : part);
  assert_null(a);
  if (!strstr(mica_last_error(), part)) fail_msg("\"%s\" lacks \"%s\"", mica_last_error(), part);
}

/* ---- safetensors ---- */

static size_t wrap(uint8_t *to, const char *header, size_t data) {
  size_t n = strlen(header);
  for (int i = 0; i < 8; i++) to[i] = (uint8_t)((uint64_t)n >> 8 * i);
  memcpy(to + 8, header, n);
  memset(to + 8 + n, 1, data);
  return 8 + n + data;
}

static void refuse_header(const char *header, size_t data, mica_status status, const char *part) {
  uint8_t bytes[2048];
  refuse(bytes, wrap(bytes, header, data), status, part);
}

static void test_hostile_safetensors(void **state) {
  (void)state;
  refuse("", 0, MICA_ERR_FORMAT, "empty");
  refuse("hello, world", 12, MICA_ERR_FORMAT, "not a tensor file");
  uint8_t huge[16] = {0, 0, 0, 0, 0, 0, 0, 0x10, '{', '}'}; /* 2^60 */
  refuse(huge, sizeof huge, MICA_ERR_FORMAT,
         "header of 1152921504606846976 bytes, the file has 16");
  memset(huge, 0xff, 8);
  refuse(huge, sizeof huge, MICA_ERR_FORMAT, "header of 18446744073709551615 bytes");
  refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4,
                MICA_ERR_FORMAT, "tensor a: data_offsets end at 8, the file has 4");
  refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
                12, MICA_ERR_FORMAT, "tensor b overlaps tensor a");
  refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
                MICA_ERR_FORMAT, "4 bytes before tensor a belong to no tensor");
  refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8,
                MICA_ERR_FORMAT, "4 bytes at the end belong to no tensor");
  refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2,-1],\"data_offsets\":[0,8]}}", 8,
                MICA_ERR_FORMAT,
                "tensor a: shape: dimension 0: expected an integer that is not negative");
  refuse_header(
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 0,
      MICA_ERR_FORMAT, "too large");
  refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8,
                MICA_ERR_FORMAT, "takes 12 bytes, data_offsets give it 8");
  refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8,
                MICA_ERR_FORMAT, "ascending");
  refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8,
                MICA_ERR_FORMAT, "data_offsets");
  refuse_header("{\"a\":{\"dtype\":\"Q7\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
                MICA_ERR_UNSUPPORTED, "dtype Q7");
  refuse_header("{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, MICA_ERR_FORMAT, "dtype");
  refuse_header("{\"a\":7}", 0, MICA_ERR_FORMAT, "tensor a");
  refuse_header("{\"__metadata__\":{\"k\":1}}", 0, MICA_ERR_FORMAT,
                "__metadata__: k: expected a string");
  refuse_header("{\"a\":{},\"a\":{}}", 0, MICA_ERR_FORMAT, "header");
  refuse_header("{\"a\":", 0, MICA_ERR_FORMAT, "header");
  /* 100,000 nested arrays. */
  size_t deep = 100000;
  uint8_t *bytes = malloc(deep + 32);
  memset(bytes + 8, '[', deep + 8);
  memcpy(bytes + 8, "{\"a\":", 5);
  for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)(deep + 8) >> 8 * i);
  refuse(bytes, deep + 16, MICA_ERR_FORMAT, "nested");
  free(bytes);
}

/* What lies in the file as it would in memory is lent from a mapping that outlives the archive and
 * that keeps writes to itself; all else is not. */
static void test_mapped_tensors(void **state) {
  (void)state;
  float a[16], b[3] = {1, 2, 3};
  bool c[64] = {true};
  for (int i = 0; i < 16; i++) a[i] = (float)i;
  const mica_named_view tensors[] = {{"a", mica_view_of(a, MICA_F32, MICA_SHAPE(4, 4))},
                                     {"b", mica_view_of(b, MICA_F32, MICA_SHAPE(3))},
                                     {"c", mica_view_of(b, MICA_F32, MICA_SHAPE(3))},
                                     {"d", mica_view_of(c, MICA_BOOL, MICA_SHAPE(40))},
                                     {"e", mica_view_of(NULL, MICA_F32, MICA_SHAPE(0))}};
  mica_archive *f;
  mica_tensor *t[5], *again;
  assert_int_equal(mica_safetensors_write(path, tensors, 5, NULL, 0), MICA_OK);
  assert_int_equal(mica_archive_open(path, &f), MICA_OK);
  assert_int_equal(mica_archive_borrow(f, 0, &t[0]), MICA_OK);
  assert_null(t[0]); /* not mapped */
  assert_int_equal(mica_archive_map_file(f), MICA_OK);
  assert_int_equal(mica_archive_map_file(f), MICA_OK);
  for (int i = 0; i < 5; i++) {
    const char name[] = {(char)('a' + i), 0};
    assert_int_equal(mica_archive_borrow(f, mica_archive_find(f, name), &t[i]), MICA_OK);
  }
  assert_int_equal(mica_archive_borrow(f, 5, &again), MICA_OK);
  assert_null(again);
  assert_non_null(t[0]);
  assert_non_null(t[1]); /* behind 64 bytes */
  assert_null(t[2]);     /* behind 76 */
  assert_null(t[3]);
  assert_null(t[4]);
  mica_archive_close(f);
  assert_int_equal(mica_tensor_dim(t[0], 1), 4);
  assert_memory_equal(mica_tensor_data(t[0]), a, sizeof a);
  assert_memory_equal(mica_tensor_data(t[1]), b, sizeof b);
  mica_tensor_free(t[0]);
  ((float *)mica_tensor_data(t[1]))[0] = 9;
  assert_int_equal(mica_archive_open(path, &f), MICA_OK);
  assert_int_equal(mica_archive_read(f, mica_archive_find(f, "b"), &again), MICA_OK);
  assert_memory_equal(mica_tensor_data(again), b, sizeof b);
  mica_tensor_free(again);
  mica_tensor_free(t[1]);
  mica_archive_close(f);
  const uint8_t none[64] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
  assert_int_equal(mica_archive_open_memory(none, 10, "none", &f), MICA_OK);
  assert_int_equal(mica_archive_map_file(f), MICA_OK);
  assert_null(f->map);
  mica_archive_close(f);
}

static void test_safetensors_round_trip(void **state) {
  (void)state;
  float a[6] = {1, -2, NAN, INFINITY, -0.0f, 6};
  int64_t b[2] = {INT64_MIN, 7};
  uint8_t c[3] = {1, 2, 255};
  uint16_t d[4] = {0x3f80, 0x7fc0, 1, 2};
  mica_view strided = {a, MICA_F32, MICA_CPU, {2, {2, 2}}, 3};
  const mica_named_view tensors[] = {{"z.bytes", mica_view_of(c, MICA_U8, MICA_SHAPE(3))},
                                     {"a.strided", strided},
                                     {"bf", mica_view_of(d, MICA_BF16, MICA_SHAPE(2, 2))},
                                     {"none", mica_view_of(NULL, MICA_F32, MICA_SHAPE(0, 4))},
                                     {"scalar", mica_view_of(a, MICA_F32, MICA_SCALAR)},
                                     {"ints", mica_view_of(b, MICA_I64, MICA_SHAPE(2))}};
  const mica_text_pair pairs[] = {{"format", "pt"}, {"a\"\n\xc3\xa9", "x\ty"}};
  assert_int_equal(mica_safetensors_write(path, tensors, 6, pairs, 2), MICA_OK);
  mica_archive *f;
  assert_int_equal(mica_archive_open(path, &f), MICA_OK);
  assert_string_equal(mica_archive_format(f), "safetensors");
  assert_int_equal(mica_archive_count(f), 6);
  assert_int_equal(mica_archive_find(f, "ints"), 0); /* the widest first */
  assert_int_equal(mica_archive_find(f, "nothing"), -1);
  assert_string_equal(mica_archive_metadata(f, "format"), "pt");
  assert_string_equal(mica_archive_metadata(f, "a\"\n\xc3\xa9"), "x\ty");
  assert_null(mica_archive_metadata(f, "x"));
  mica_tensor *t;
  assert_int_equal(mica_archive_read(f, mica_archive_find(f, "a.strided"), &t), MICA_OK);
  const float want[4] = {1, -2, INFINITY, -0.0f};
  assert_memory_equal(mica_tensor_data(t), want, sizeof want);
  mica_tensor_free(t);
  assert_int_equal(mica_archive_read(f, mica_archive_find(f, "bf"), &t), MICA_OK);
  assert_memory_equal(mica_tensor_data(t), d, sizeof d);
  assert_int_equal(mica_tensor_dtype(t), MICA_BF16);
  mica_tensor_free(t);
  assert_int_equal(mica_archive_read(f, mica_archive_find(f, "none"), &t), MICA_OK);
  assert_int_equal(mica_tensor_count(t), 0);
  mica_tensor_free(t);
  int64_t row;
  assert_int_equal(mica_archive_read_rows(f, 0, 1, 2, &row), MICA_OK);
  assert_int_equal(row, 7);
  assert_int_equal(mica_archive_read_rows(f, 0, 1, 3, &row), MICA_ERR_INVALID);
  mica_archive_close(f);
  /* The same tensors give the same bytes, and the data are aligned. */
  char sum[2][65];
  assert_int_equal(mica_file_sha256(path, sum[0]), MICA_OK);
  mica_named_view other[6];
  for (int i = 0; i < 6; i++) other[i] = tensors[5 - i];
  assert_int_equal(mica_safetensors_write(path, other, 6, pairs, 2), MICA_OK);
  assert_int_equal(mica_file_sha256(path, sum[1]), MICA_OK);
  assert_string_equal(sum[0], sum[1]);
  const mica_named_view twice[] = {tensors[0], {"z.bytes", tensors[5].view}};
  assert_int_equal(mica_safetensors_write(path, twice, 2, NULL, 0), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "two tensors are named z.bytes"));
}

/* ---- foreign files, and each of them cut short ---- */

static mica_archive *open_corpus(const char *name, uint8_t **bytes, size_t *n) {
  char file[256];
  snprintf(file, sizeof file, "fuzz/corpus/archive/%s", name);
  mica_archive *a;
  if (mica_file_read(file, 1 << 20, bytes, n) || mica_archive_open_memory(*bytes, *n, file, &a))
    fail_msg("%s", mica_last_error());
  return a;
}

static void expect_values(const mica_archive *a, const char *name, mica_dtype dtype,
                          mica_shape shape, const double *values) {
  mica_tensor *t;
  int64_t i = mica_archive_find(a, name);
  if (i < 0) fail_msg("no tensor %s", name);
  if (mica_archive_read(a, i, &t)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_tensor_dtype(t), dtype);
  assert_true(mica_shape_equal(mica_tensor_shape(t), &shape));
  for (int64_t k = 0; k < mica_tensor_count(t); k++) {
    double got = mica_tensor_get(t, k);
    if (got != values[k] && !(isnan(got) && isnan(values[k])))
      fail_msg("%s[%lld] is %g, expected %g", name, (long long)k, got, values[k]);
  }
  mica_tensor_free(t);
}

static void test_foreign_files(void **state) {
  (void)state;
  static const double count[24] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                   12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
  uint8_t *bytes;
  size_t n;
  for (int old = 0; old < 2; old++) {
    mica_archive *a = open_corpus(old ? "old.pth" : "new.pth", &bytes, &n);
    assert_string_equal(mica_archive_format(a), "pth");
    assert_int_equal(mica_archive_count(a), 4);
    expect_values(a, "state_dict.w", MICA_F32, MICA_SHAPE(2, 3), count);
    expect_values(a, "state_dict.t", MICA_F32, MICA_SHAPE(3, 2), (double[]){0, 3, 1, 4, 2, 5});
    expect_values(a, "state_dict.h", MICA_F16, MICA_SHAPE(2, 3), count);
    expect_values(a, "state_dict.b", MICA_BOOL, MICA_SHAPE(2, 3), (double[]){0, 0, 0, 1, 1, 1});
    assert_string_equal(mica_archive_metadata(a, "epoch"), "7");
    assert_string_equal(mica_archive_metadata(a, "np"), "2.5");
    assert_string_equal(mica_archive_metadata(a, "l.1"), "x");
    assert_false(mica_archive_has_rows(a, mica_archive_find(a, "state_dict.t")));
    mica_archive_close(a);
    mica_free(bytes);
  }
  mica_archive *a = open_corpus("c.npy", &bytes, &n);
  expect_values(a, "array", MICA_I32, MICA_SHAPE(2, 3), count);
  mica_archive_close(a);
  mica_free(bytes);
  a = open_corpus("f.npy", &bytes, &n);
  expect_values(a, "array", MICA_I32, MICA_SHAPE(2, 3, 4), count);
  mica_archive_close(a);
  mica_free(bytes);
  a = open_corpus("z.npy", &bytes, &n);
  expect_values(a, "array", MICA_F64, MICA_SHAPE(2, 2), (double[]){1, 2, 3, -4});
  mica_archive_close(a);
  mica_free(bytes);
  a = open_corpus("s.npz", &bytes, &n);
  expect_values(a, "a", MICA_F64, MICA_SHAPE(4), count);
  expect_values(a, "b", MICA_U8, MICA_SHAPE(2, 2), (double[]){1, 1, 1, 1});
  mica_archive_close(a);
  mica_free(bytes);
  a = open_corpus("a.safetensors", &bytes, &n);
  expect_values(a, "b", MICA_F16, MICA_SHAPE(2, 2), (double[]){(double)NAN, 1, 0x1p-9, -1});
  mica_archive_close(a);
  mica_free(bytes);
}

static void test_truncated_files(void **state) {
  (void)state;
  static const char *const names[] = {"new.pth",      "old.pth", "c.npy", "f.npy", "s.npz", "z.npy",
#ifdef MICA_HAVE_ZLIB
                                      "d.npz",
#endif
                                      "a.safetensors"};
  for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
    uint8_t *bytes;
    size_t n;
    mica_archive_close(open_corpus(names[k], &bytes, &n));
    for (size_t cut = 0; cut < n; cut++) {
      /* A block of exactly that size, so that a sanitizer sees what reads beyond. */
      uint8_t *part = malloc(cut ? cut : 1);
      memcpy(part, bytes, cut);
      mica_archive *a;
      if (mica_archive_open_memory(part, cut, "cut", &a) == MICA_OK)
        fail_msg("%s cut to %zu of %zu bytes was opened", names[k], cut, n);
      if (!*mica_last_error()) fail_msg("no message");
      free(part);
    }
    mica_free(bytes);
  }
}

/* ---- npy and npz ---- */

static void refuse_npy(const char *header, size_t data, mica_status status, const char *part) {
  uint8_t bytes[512] = "\x93NUMPY\1\0";
  size_t n = strlen(header);
  bytes[8] = (uint8_t)(n & 0xff);
  bytes[9] = (uint8_t)(n >> 8);
  memcpy(bytes + 10, header, n);
  refuse(bytes, 10 + n + data, status, part);
}

static void test_hostile_npy(void **state) {
  (void)state;
  refuse_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }", 0,
             MICA_ERR_FORMAT, "too large");
  refuse_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", 15, MICA_ERR_FORMAT,
             "truncated: 16 bytes of data expected, 15");
  refuse_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,), }", 16, MICA_ERR_FORMAT,
             "shape");
  refuse_npy("{'descr': '|O', 'fortran_order': False, 'shape': (4,), }", 16, MICA_ERR_UNSUPPORTED,
             "arrays of Python objects");
  refuse_npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,), }", 16,
             MICA_ERR_UNSUPPORTED, "records");
  refuse_npy("{'descr': '<U4', 'fortran_order': False, 'shape': (4,), }", 16, MICA_ERR_UNSUPPORTED,
             "descr '<U4'");
  refuse_npy("{'descr': '<f4', 'shape': (4,), }", 16, MICA_ERR_FORMAT, "fortran_order is missing");
  refuse_npy("{'descr': '<f4', 'fortran_order': 0, 'shape': (4,), }", 16, MICA_ERR_FORMAT,
             "expected True or False");
  refuse_npy("{'x': __import__('os')}", 16, MICA_ERR_FORMAT, "unexpected key 'x'");
  refuse("\x93NUMPY\x09\0\0\0\0\0", 12, MICA_ERR_UNSUPPORTED, "version 9");
  refuse("\x93NUMPY\2\0\xff\xff\xff\xff", 12, MICA_ERR_FORMAT, "header of 4294967295 bytes");
}

static void test_npz_round_trip(void **state) {
  (void)state;
  float a[300];
  for (int i = 0; i < 300; i++) a[i] = (float)(i % 7);
  int8_t b = -3;
  uint16_t c[2] = {0x3f80, 0};
  const mica_named_view tensors[] = {{"a/b", mica_view_of(a, MICA_F32, MICA_SHAPE(10, 30))},
                                     {"b", mica_view_of(&b, MICA_I8, MICA_SCALAR)}};
  for (int compress = 0; compress < 2; compress++) {
    mica_status status = mica_npz_write(path, tensors, 2, compress);
    if (compress && status == MICA_ERR_UNSUPPORTED) continue;
    assert_int_equal(status, MICA_OK);
    mica_archive *f;
    assert_int_equal(mica_archive_open(path, &f), MICA_OK);
    mica_tensor *t;
    assert_int_equal(mica_archive_has_rows(f, 0), !compress);
    assert_int_equal(mica_archive_read(f, mica_archive_find(f, "a/b"), &t), MICA_OK);
    assert_memory_equal(mica_tensor_data(t), a, sizeof a);
    mica_tensor_free(t);
    mica_archive_close(f);
    /* One flipped bit of the data is noticed. */
    uint8_t *bytes;
    size_t n;
    assert_int_equal(mica_file_read(path, 1 << 20, &bytes, &n), MICA_OK);
    size_t second = 30;
    while (memcmp(bytes + second, "PK\3\4", 4) != 0) second++;
    bytes[second - 10] ^= 1;
    assert_int_equal(mica_archive_open_memory(bytes, n, "flipped", &f), MICA_OK);
    assert_int_equal(mica_archive_read(f, mica_archive_find(f, "a/b"), &t), MICA_ERR_FORMAT);
    assert_non_null(strstr(mica_last_error(), "flipped"));
    mica_archive_close(f);
    mica_free(bytes);
  }
  const mica_named_view bf = {"c", mica_view_of(c, MICA_BF16, MICA_SHAPE(2))};
  assert_int_equal(mica_npz_write(path, &bf, 1, false), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_npy_write(path, &tensors[0].view), MICA_OK);
  mica_archive *f;
  assert_int_equal(mica_archive_open(path, &f), MICA_OK);
  double want[300];
  for (int i = 0; i < 300; i++) want[i] = (double)a[i];
  expect_values(f, "array", MICA_F32, MICA_SHAPE(10, 30), want);
  mica_archive_close(f);
}

/* ---- pickles ---- */

static const char magic[] = "\x80\x02\x8a\x0al\xfc\x9c"
                            "F\xf9 j\xa8P\x19.";

static void refuse_pickle(const char *pickle, size_t n, mica_status status, const char *part) {
  static const char system[] = "\x80\x02}U\x0dlittle_endian\x88s.";
  uint8_t bytes[1024];
  size_t at = 0;
  memcpy(bytes, magic, 15);
  at += 15;
  memcpy(bytes + at, "\x80\x02M\xe9\x03.", 6);
  at += 6;
  memcpy(bytes + at, system, sizeof system - 1);
  at += sizeof system - 1;
  memcpy(bytes + at, pickle, n);
  at += n;
  memcpy(bytes + at, "\x80\x02].", 4);
  refuse(bytes, at + 4, status, part);
}
#define REFUSE_PICKLE(text, status, part) refuse_pickle(text, sizeof text - 1, status, part)

static void test_hostile_pickles(void **state) {
  (void)state;
  REFUSE_PICKLE(
      "cos\nsystem\n(U\x04true\x85R.", MICA_ERR_UNSUPPORTED,
      "names os.system, which is not one of the known parts of a checkpoint; nothing was run");
  REFUSE_PICKLE("U\x02osU\x06system\x93.", MICA_ERR_UNSUPPORTED, "names os.system");
  REFUSE_PICKLE("c__builtin__\neval\n.", MICA_ERR_UNSUPPORTED, "__builtin__.eval");
  REFUSE_PICKLE("(U\x01xios\nsystem\n.", MICA_ERR_UNSUPPORTED, "instruction 0x69");
  REFUSE_PICKLE("\x82\x01.", MICA_ERR_UNSUPPORTED, "instruction 0x82");
  REFUSE_PICKLE("R.", MICA_ERR_FORMAT, "too little on the stack");
  REFUSE_PICKLE("K\x01K\x02\x85R.", MICA_ERR_FORMAT, "a call of something that is no name");
  REFUSE_PICKLE("ctorch\nFloatStorage\n)R.", MICA_ERR_UNSUPPORTED, "which is a type");
  REFUSE_PICKLE("h\x05.", MICA_ERR_FORMAT, "memo number 5 was never set");
  REFUSE_PICKLE("Nr\xff\xff\xff\x7f.", MICA_ERR_FORMAT, "memo number 2147483647");
  REFUSE_PICKLE("X\xff\xff\xff\x7f.", MICA_ERR_FORMAT, "a text of 2147483647 bytes");
  REFUSE_PICKLE("t.", MICA_ERR_FORMAT, "a mark is missing");
  REFUSE_PICKLE("]q\x00h\x00"
                "a.",
                MICA_ERR_FORMAT, "contains itself");
  REFUSE_PICKLE("U\x01xQ.", MICA_ERR_FORMAT, "persistent");
  refuse("\x80\x02].", 4, MICA_ERR_FORMAT, "not a tensor file");
  /* A storage in the list without a tensor. */
  uint8_t bytes[256];
  static const char rest[] =
      "\x80\x02M\xe9\x03.\x80\x02}U\x0dlittle_endian\x88s.\x80\x02}.\x80\x02]U\x01"
      "0a.\xff\xff\xff\xff\xff\xff\xff\x7f";
  memcpy(bytes, magic, 15);
  memcpy(bytes + 15, rest, sizeof rest - 1);
  refuse(bytes, 15 + sizeof rest - 1, MICA_ERR_FORMAT, "storage 0 is used by no tensor");
}

static void test_real_checkpoint(void **state) {
  (void)state;
  const char *weights = getenv("MICA_WEIGHTS");
  if (!weights) {
    print_message("skipped: MICA_WEIGHTS is not set\n");
    skip();
  }
  static const char *const forms[] = {"th", "safetensors", "npz"};
  mica_archive *a[3];
  for (int i = 0; i < 3; i++) {
    char file[600];
    snprintf(file, sizeof file, "%s/resnet-cifar10/resnet20-12fca82f.%s", weights, forms[i]);
    if (mica_archive_open(file, &a[i])) fail_msg("%s", mica_last_error());
    assert_int_equal(mica_archive_count(a[i]), 97);
  }
  for (int64_t k = 0; k < 97; k++) {
    const char *name = mica_archive_name(a[1], k);
    char old[256];
    snprintf(old, sizeof old, "state_dict.module.%s", name);
    mica_tensor *t[3];
    assert_int_equal(mica_archive_read(a[0], mica_archive_find(a[0], old), &t[0]), MICA_OK);
    for (int i = 1; i < 3; i++) {
      assert_int_equal(mica_archive_read(a[i], mica_archive_find(a[i], name), &t[i]), MICA_OK);
      assert_true(mica_shape_equal(mica_tensor_shape(t[0]), mica_tensor_shape(t[i])));
      assert_memory_equal(mica_tensor_data(t[0]), mica_tensor_data(t[i]),
                          (size_t)mica_tensor_count(t[0]) * sizeof(float));
    }
    for (int i = 0; i < 3; i++) mica_tensor_free(t[i]);
  }
  for (int i = 0; i < 3; i++) mica_archive_close(a[i]);
}

/* ---- memory ---- */

static mica_status read_all(void *name) {
  mica_archive *a;
  char file[128];
  snprintf(file, sizeof file, "fuzz/corpus/archive/%s", (const char *)name);
  mica_status status = mica_archive_open(file, &a);
  for (int64_t i = 0; !status && i < mica_archive_count(a); i++) {
    mica_tensor *t;
    status = mica_archive_read(a, i, &t);
    if (!status) mica_tensor_free(t);
  }
  mica_archive_close(a);
  return status;
}

static mica_status write_all(void *ctx) {
  static float data[12];
  const mica_named_view tensors[] = {{"a", mica_view_of(data, MICA_F32, MICA_SHAPE(3, 4))},
                                     {"b", mica_view_of(data, MICA_F32, MICA_SHAPE(2))}};
  const mica_text_pair pair = {"k", "v"};
  (void)ctx;
  mica_status status = mica_safetensors_write(path, tensors, 2, &pair, 1);
  if (!status) status = mica_npz_write(path, tensors, 2, true);
  return status == MICA_ERR_UNSUPPORTED ? MICA_OK : status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  static char names[][16] = {"new.pth", "old.pth",
#ifdef MICA_HAVE_ZLIB
                             "d.npz",
#endif
                             "f.npy", "a.safetensors"};
  failing_alloc_install();
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    assert_true(fail_each(read_all, names[i]) > 5);
  assert_true(fail_each(write_all, NULL) > 5);
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_hostile_safetensors),
      cmocka_unit_test_setup_teardown(test_safetensors_round_trip, setup, teardown),
      cmocka_unit_test(test_foreign_files),
      cmocka_unit_test(test_truncated_files),
      cmocka_unit_test(test_hostile_npy),
      cmocka_unit_test_setup_teardown(test_mapped_tensors, setup, teardown),
      cmocka_unit_test_setup_teardown(test_npz_round_trip, setup, teardown),
      cmocka_unit_test(test_hostile_pickles),
      cmocka_unit_test(test_real_checkpoint),
      cmocka_unit_test_setup_teardown(test_failing_allocations, setup, teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
