/* Data sets: every kind of them, their names and parts, files that cannot be read, hostile files.
 */
#include "support/failing_alloc.h"
#include "support/test.h"

#include "base/file.h"

#include <mica/data.h>
#include <mica/dataset.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef MICA_HAVE_ZLIB
#include <zlib.h>
#endif

/* ---- files to open ---- */

static char root[64];

static int setup(void **state) {
  (void)state;
  snprintf(root, sizeof root, "/tmp/mica-datasets-XXXXXX");
  return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -r '%s'", root);
  return system(command);
}

static const char *at(const char *name) {
  static char path[4][512];
  static int k;
  k = (k + 1) % 4;
  snprintf(path[k], sizeof path[k], "%s/%s", root, name);
  return path[k];
}

static void put(const char *name, const void *bytes, size_t n) {
  assert_int_equal(mica_make_parent(at(name)), MICA_OK);
  FILE *f = fopen(at(name), "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

static void put_text(const char *name, const char *text) {
  put(name, text, strlen(text));
}

/* A grey picture of 2x2 pixels of one value. */
static void put_picture(const char *name, int value) {
  char text[32];
  const int head = snprintf(text, sizeof text, "P5 2 2 255\n");
  memset(text + head, value, 4);
  put(name, text, (size_t)head + 4);
}

static mica_dataset_options grey(void) {
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  o.height = o.width = 2;
  o.channels = 1;
  o.validation = 0;
  return o;
}

static mica_dataset *open_it(const char *name, const mica_dataset_options *o) {
  mica_dataset *ds;
  if (mica_dataset_open(at(name), o, &ds) != MICA_OK) fail_msg("%s", mica_last_error());
  return ds;
}

static void refuse(const char *path, const mica_dataset_options *o, mica_status status,
                   const char *part) {
  mica_dataset *ds;
  const mica_status got = mica_dataset_open(path, o, &ds);
  if (got != status) fail_msg("status %d for \"%s\"", (int)got, got ? mica_last_error() : part);
  assert_null(ds);
  if (!strstr(mica_last_error(), part)) fail_msg("\"%s\" lacks \"%s\"", mica_last_error(), part);
}

static int64_t label_of(const mica_dataset *ds, int64_t i) {
  return ((const int64_t *)mica_tensor_data(mica_dataset_labels(ds)))[i];
}

static int64_t find(const mica_dataset *ds, const char *name) {
  char buf[256];
  for (int64_t i = 0; i < mica_dataset_count(ds); i++)
    if (strcmp(mica_dataset_name(ds, i, buf, sizeof buf), name) == 0) return i;
  return -1;
}

/* Item i of that name, class and part is a picture of one value. */
static void assert_item(const mica_dataset *ds, const char *name, const char *class, mica_part part,
                        int value) {
  const int64_t i = find(ds, name);
  uint8_t pixels[4] = {1, 2, 3, 4};
  if (i < 0) fail_msg("no item %s", name);
  assert_string_equal(mica_dataset_class(ds, label_of(ds, i)), class);
  assert_int_equal(mica_dataset_part_of(ds, i), part);
  assert_int_equal(mica_dataset_read(ds, i, pixels), MICA_OK);
  for (int k = 0; k < 4; k++) assert_int_equal(pixels[k], value);
}

/* ---- folders ---- */

static void test_folder(void **state) {
  (void)state;
  const mica_dataset_options o = grey();
  put_picture("plain/nut/a.pgm", 1);
  put_picture("plain/bolt/b.PGM", 2);
  put_picture("plain/bolt/c.pgm", 3);
  put_text("plain/bolt/notes.txt", "not a picture, and not named as one");
  put_text("plain/README", "beside the folders");
  mica_dataset *ds = open_it("plain", &o);
  assert_int_equal(mica_dataset_count(ds), 3);
  assert_int_equal(mica_dataset_classes(ds), 2);
  assert_string_equal(mica_dataset_class(ds, 0), "bolt");
  assert_null(mica_dataset_class(ds, 2));
  assert_item(ds, "bolt/b.PGM", "bolt", MICA_PART_TRAIN, 2);
  assert_item(ds, "bolt/c.pgm", "bolt", MICA_PART_TRAIN, 3);
  assert_item(ds, "nut/a.pgm", "nut", MICA_PART_TRAIN, 1);
  assert_int_equal(mica_dataset_skipped(ds), 0);
  uint8_t pixels[4];
  assert_int_equal(mica_dataset_read(ds, 3, pixels), MICA_ERR_INVALID);
  assert_int_equal(mica_dataset_part_of(ds, -1), MICA_PART_COUNT);
  mica_dataset_free(ds);
  mica_dataset_options chosen = o;
  chosen.classes = "nut,screw,bolt";
  ds = open_it("plain", &chosen);
  assert_int_equal(mica_dataset_classes(ds), 3);
  assert_int_equal(label_of(ds, find(ds, "nut/a.pgm")), 0);
  assert_int_equal(label_of(ds, find(ds, "bolt/c.pgm")), 2);
  mica_dataset_free(ds);

  put_picture("parts/train/x/1.pgm", 10);
  put_picture("parts/train/y/2.pgm", 20);
  put_picture("parts/val/y/3.pgm", 30);
  put_picture("parts/test/x/4.pgm", 40);
  ds = open_it("parts", &o);
  assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TRAIN), 2);
  assert_item(ds, "train/x/1.pgm", "x", MICA_PART_TRAIN, 10);
  assert_item(ds, "val/y/3.pgm", "y", MICA_PART_VALIDATION, 30);
  assert_item(ds, "test/x/4.pgm", "x", MICA_PART_TEST, 40);
  double mean[4], deviation[4];
  assert_int_equal(mica_dataset_statistics(ds, mean, deviation), MICA_OK);
  assert_float_equal(mean[0], 15. / 255, 1e-9);
  assert_float_equal(deviation[0], 5. / 255, 1e-9);
  mica_dataset_free(ds);
  mica_dataset_options odd = o;
  odd.crop = 2;
  refuse(at("parts"), &odd, MICA_ERR_INVALID, "a crop of 0.01 to 1");
  refuse(at("nowhere"), &o, MICA_ERR_NOT_FOUND, "nowhere: no such file or folder");
  refuse(at("plain/README"), &o, MICA_ERR_UNSUPPORTED, "README: not a data set: expected a folder");
  assert_int_equal(mkdir(at("nothing"), 0700), 0);
  refuse(at("nothing"), &o, MICA_ERR_NOT_FOUND, "nothing: no pictures: expected CLASS/picture");
}

static void test_bad_files_are_skipped_and_listed(void **state) {
  (void)state;
  mica_dataset_options o = grey();
  put_picture("some/a/good.pgm", 9);
  put_text("some/a/empty.pgm", "");
  put_text("some/a/page.jpg", "<html>404</html>");
  put_text("some/a/short.pgm", "P5 2 2 255\nabc");
  assert_int_equal(mkdir(at("some/a/folder.png"), 0700), 0);
  assert_int_equal(symlink("nowhere.png", at("some/a/dangling.png")), 0);
  assert_int_equal(mkfifo(at("some/a/pipe.png"), 0600), 0); /* nobody writes: it must not wait */
  assert_int_equal(symlink("..", at("some/a/up")), 0);
  assert_int_equal(symlink(".", at("some/loop")), 0);
  assert_int_equal(mkdir(at("some/hollow"), 0700), 0);
  /* Whether everything is decoded at opening or only looked at. */
  for (int lazy = 0; lazy < 2; lazy++) {
    o.memory = lazy ? 0 : 1 << 20;
    mica_dataset *ds = open_it("some", &o);
    const char *text = mica_dataset_skipped_text(ds);
    assert_int_equal(mica_dataset_classes(ds), 1);
    assert_int_equal(mica_dataset_count(ds), lazy ? 2 : 1);
    assert_int_equal(mica_dataset_skipped(ds), lazy ? 7 : 8);
    assert_non_null(strstr(text, "some/a/empty.pgm: is empty"));
    assert_non_null(strstr(text, "some/a/page.jpg: not a picture"));
    assert_non_null(strstr(text, "some/a/folder.png: is a directory"));
    assert_non_null(strstr(text, "some/a/dangling.png: cannot open: No such file"));
    assert_non_null(strstr(text, "some/a/pipe.png: is not a regular file"));
    assert_non_null(strstr(text, "some/hollow: a class folder without pictures"));
    assert_non_null(strstr(text, "some/loop: a class folder without pictures"));
    assert_item(ds, "a/good.pgm", "a", MICA_PART_TRAIN, 9);
    if (lazy) { /* what is cut short shows when it is decoded, and leaves its part */
      uint8_t pixels[4];
      const int64_t i = find(ds, "a/short.pgm");
      assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TRAIN), 2);
      assert_int_equal(mica_dataset_read(ds, i, pixels), MICA_ERR_FORMAT);
      assert_non_null(strstr(mica_last_error(), "a/short.pgm: PNM: truncated"));
      assert_int_equal(mica_dataset_part_of(ds, i), MICA_PART_COUNT);
      assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TRAIN), 1);
      assert_int_equal(mica_dataset_skipped(ds), 8);
    }
    assert_non_null(strstr(mica_dataset_skipped_text(ds), "short.pgm: PNM: truncated"));
    mica_dataset_free(ds);
  }
  o.strict = true;
  refuse(at("some"), &o, MICA_ERR_NOT_FOUND, "some/hollow: a class folder without pictures");
  assert_int_equal(rmdir(at("some/hollow")), 0);
  assert_int_equal(unlink(at("some/loop")), 0);
  refuse(at("some"), &o, MICA_ERR_NOT_FOUND, "dangling.png: cannot open");
  put_text("bad/a/only.png", "");
  o.strict = false;
  refuse(at("bad"), &o, MICA_ERR_FORMAT, "bad: none of 1 pictures could be read; the first: ");
}

/* The choice of the validation part stays when files are added. */
static void test_parts_do_not_reshuffle(void **state) {
  (void)state;
  mica_dataset_options o = grey();
  o.validation = 0.25;
  char name[64];
  for (int i = 0; i < 80; i++) {
    snprintf(name, sizeof name, "grow/c%d/%d.pgm", i % 2, i);
    put_picture(name, i);
  }
  mica_dataset *before = open_it("grow", &o);
  const int64_t held = mica_dataset_part_count(before, MICA_PART_VALIDATION);
  assert_true(held > 10 && held < 32);
  for (int i = 80; i < 200; i++) {
    snprintf(name, sizeof name, "grow/c%d/%d.pgm", i % 2, i);
    put_picture(name, i);
  }
  mica_dataset *after = open_it("grow", &o);
  for (int64_t i = 0; i < 80; i++) {
    char buf[64];
    const int64_t k = find(after, mica_dataset_name(before, i, buf, sizeof buf));
    assert_int_equal(mica_dataset_part_of(before, i), mica_dataset_part_of(after, k));
  }
  mica_dataset_free(before);
  mica_dataset_free(after);
}

static void *read_all(void *ctx) {
  const mica_dataset *ds = ctx;
  uint8_t pixels[4];
  for (int64_t i = 0; i < mica_dataset_count(ds); i++) {
    char name[64];
    if (mica_dataset_read(ds, i, pixels) != MICA_OK) return ctx;
    if (pixels[3] != atoi(strrchr(mica_dataset_name(ds, i, name, sizeof name), '/') + 1))
      return ctx;
  }
  return NULL;
}

/* A budget of a few pictures, of all, and of none; four readers at once. */
static void test_larger_than_memory(void **state) {
  (void)state;
  mica_dataset_options o = grey();
  char name[64];
  for (int i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "many/c/%d.pgm", i);
    put_picture(name, i);
  }
  const int64_t budgets[] = {0, 4 * 7, 4 * 100};
  for (int k = 0; k < 3; k++) {
    o.memory = budgets[k];
    mica_dataset *ds = open_it("many", &o);
    pthread_t thread[4];
    for (int t = 0; t < 4; t++) assert_int_equal(pthread_create(&thread[t], NULL, read_all, ds), 0);
    for (int t = 0; t < 4; t++) {
      void *bad;
      pthread_join(thread[t], &bad);
      assert_null(bad);
    }
    double mean[4], deviation[4];
    assert_int_equal(mica_dataset_statistics(ds, mean, deviation), MICA_OK);
    assert_float_equal(mean[0], 49.5 / 255, 1e-9);
    mica_dataset_free(ds);
  }
}

/* ---- IDX ---- */

static size_t idx_head(uint8_t *to, int rank, const uint32_t *dim) {
  const uint8_t head[4] = {0, 0, 8, (uint8_t)rank};
  memcpy(to, head, 4);
  for (int d = 0; d < rank; d++)
    for (int b = 0; b < 4; b++) to[4 + 4 * d + b] = (uint8_t)(dim[d] >> (24 - 8 * b));
  return 4 + 4 * (size_t)rank;
}

/* n pictures of 2x2 and labels 0, 2, 4, 0, ... */
static size_t idx_images(uint8_t *to, int n) {
  size_t at_byte = idx_head(to, 3, (uint32_t[]){(uint32_t)n, 2, 2});
  for (int i = 0; i < 4 * n; i++) to[at_byte++] = (uint8_t)(i / 4 + 1);
  return at_byte;
}

static size_t idx_labels(uint8_t *to, int n) {
  size_t at_byte = idx_head(to, 1, (uint32_t[]){(uint32_t)n});
  for (int i = 0; i < n; i++) to[at_byte++] = (uint8_t)(i % 3 * 2);
  return at_byte;
}

static void test_idx(void **state) {
  (void)state;
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  o.validation = 0;
  uint8_t bytes[512];
  put("idx/train-images-idx3-ubyte", bytes, idx_images(bytes, 6));
  refuse(at("idx"), &o, MICA_ERR_NOT_FOUND, "idx: no train-labels-idx1-ubyte or");
  put("idx/train-labels-idx1-ubyte", bytes, idx_labels(bytes, 5));
  refuse(at("idx"), &o, MICA_ERR_FORMAT,
         "train-labels-idx1-ubyte: uint8 [5], expected uint8 [6], a label an image");
  put("idx/train-labels-idx1-ubyte", bytes, idx_labels(bytes, 6));
  put("idx/t10k-images-idx3-ubyte", bytes, idx_images(bytes, 2));
  refuse(at("idx"), &o, MICA_ERR_NOT_FOUND, "no t10k-labels-idx1-ubyte");
  put("idx/t10k-labels-idx1-ubyte", bytes, idx_labels(bytes, 2));
  mica_dataset *ds = open_it("idx", &o);
  assert_int_equal(mica_dataset_count(ds), 8);
  assert_int_equal(mica_dataset_classes(ds), 3);
  assert_item(ds, "train:1", "2", MICA_PART_TRAIN, 2);
  assert_item(ds, "t10k:0", "0", MICA_PART_TEST, 1);
  const mica_shape shape = mica_dataset_shape(ds);
  assert_true(mica_shape_equal(&shape, &MICA_SHAPE(2, 2, 1)));
  mica_dataset_free(ds);
  /* Names for the numbers; another size and three channels. */
  put_text("idx/classes.txt", "zero\r\none\ntwo\nthree\nfour\n\n");
  o.classes = "four,zero";
  o.height = o.width = 3;
  o.channels = 3;
  ds = open_it("idx", &o);
  assert_int_equal(mica_dataset_count(ds), 5);
  uint8_t pixels[27];
  assert_int_equal(label_of(ds, find(ds, "train:2")), 0);
  assert_int_equal(mica_dataset_read(ds, find(ds, "train:2"), pixels), MICA_OK);
  for (int i = 0; i < 27; i++) assert_int_equal(pixels[i], 3);
  mica_dataset_free(ds);
  o.classes = "five";
  refuse(at("idx"), &o, MICA_ERR_NOT_FOUND, "idx: no item of the classes asked for");
  o.classes = NULL;
  put_text("idx/classes.txt", "zero\none\ntwo\n");
  refuse(at("idx"), &o, MICA_ERR_FORMAT, "train:2: label 4, expected 0 to 2, the lines of ");
}

static void refuse_idx(const void *bytes, size_t n, const char *part) {
  mica_tensor *t;
  put("one.idx", bytes, n);
  assert_int_equal(mica_idx_read(at("one.idx"), &t), MICA_ERR_FORMAT);
  assert_null(t);
  if (!strstr(mica_last_error(), part)) fail_msg("\"%s\" lacks \"%s\"", mica_last_error(), part);
}

static void test_hostile_idx(void **state) {
  (void)state;
  uint8_t bytes[64] = {0};
  refuse_idx("", 0, "one.idx: not an IDX file: expected two zero bytes");
  refuse_idx("hello", 5, "not an IDX file");
  refuse_idx("\0\0\x0a\1", 4, "unknown element type 0x0a");
  refuse_idx("\0\0\x08\5", 4, "5 dimensions, expected 1 to 4");
  refuse_idx("\0\0\x08\3\0\0", 6, "truncated: the IDX header needs 4 bytes, 2 are left");
  /* 2^60 items; and as many as no integer holds. */
  size_t n = idx_head(bytes, 3, (uint32_t[]){1u << 20, 1u << 20, 1u << 20});
  refuse_idx(bytes, n + 8,
             "the header announces [1048576,1048576,1048576] elements of 1 bytes, more");
  n = idx_head(bytes, 4, (uint32_t[]){~0u, ~0u, ~0u, ~0u});
  refuse_idx(bytes, n + 8, "more than the file can hold");
  n = idx_head(bytes, 1, (uint32_t[]){4});
  refuse_idx(bytes, n + 3, "elements of 1 bytes, more than the file can hold");
  refuse_idx(bytes, n + 5, "bytes behind the [4] elements");
  mica_tensor *t;
  const uint8_t shorts[] = {0, 0, 0x0b, 1, 0, 0, 0, 2, 1, 2, 0xff, 0xfe};
  put("one.idx", shorts, sizeof shorts);
  assert_int_equal(mica_idx_read(at("one.idx"), &t), MICA_OK);
  assert_int_equal((int)mica_tensor_get(t, 0), 258);
  assert_int_equal((int)mica_tensor_get(t, 1), -2);
  mica_tensor_free(t);
}

#ifdef MICA_HAVE_ZLIB
/* Two gzip members in one file, cut at an odd place. */
static void test_idx_in_gzip_members(void **state) {
  (void)state;
  uint8_t bytes[512];
  const size_t n = idx_images(bytes, 6);
  for (int k = 0; k < 2; k++) {
    gzFile f = gzopen(at("two.idx.gz"), k ? "ab" : "wb");
    assert_non_null(f);
    const size_t from = k ? 19 : 0, to = k ? n : 19;
    assert_int_equal(gzwrite(f, bytes + from, (unsigned)(to - from)), to - from);
    gzclose(f);
  }
  mica_tensor *t;
  if (mica_idx_read(at("two.idx.gz"), &t) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_memory_equal(mica_tensor_data(t), bytes + 16, 24);
  mica_tensor_free(t);
  uint8_t *packed;
  size_t size;
  assert_int_equal(mica_file_read(at("two.idx.gz"), 4096, &packed, &size), MICA_OK);
  put("cut.idx.gz", packed, size - 12);
  mica_free(packed);
  assert_int_equal(mica_idx_read(at("cut.idx.gz"), &t), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "cut.idx.gz: truncated"));
  put("broken.idx.gz", "\x1f\x8b\x08\0\0\0\0\0\0\0\xff\xff\xff\xff", 14);
  assert_int_equal(mica_idx_read(at("broken.idx.gz"), &t), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "broken.idx.gz: broken gzip data"));
}
#endif

/* ---- CIFAR ---- */

static void put_cifar(const char *name, int records, int labels, int first) {
  const size_t record = (size_t)labels + 3072;
  uint8_t *bytes = calloc((size_t)records, record);
  for (int i = 0; i < records; i++) {
    uint8_t *r = bytes + (size_t)i * record;
    r[0] = 1;
    r[labels - 1] = (uint8_t)(first + i);
    memset(r + labels, 10 + i, 1024);
    memset(r + labels + 1024, 20 + i, 1024);
    memset(r + labels + 2048, 30 + i, 1024);
  }
  put(name, bytes, (size_t)records * record);
  free(bytes);
}

static void test_cifar(void **state) {
  (void)state;
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  uint8_t pixels[3072];
  o.validation = 0;
  put_cifar("c10/data_batch_1.bin", 2, 1, 7);
  put_cifar("c10/data_batch_2.bin", 2, 1, 0);
  put_cifar("c10/test_batch.bin", 1, 1, 8);
  put_text("c10/batches.meta.txt", "plane\ncar\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n");
  mica_dataset *ds = open_it("c10", &o);
  assert_int_equal(mica_dataset_count(ds), 5);
  assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TEST), 1);
  const int64_t i = find(ds, "data_batch_1.bin:1");
  assert_string_equal(mica_dataset_class(ds, label_of(ds, i)), "ship");
  assert_int_equal(mica_dataset_read(ds, i, pixels), MICA_OK);
  for (int p = 0; p < 3072; p++) assert_int_equal(pixels[p], 11 + 10 * (p % 3));
  assert_int_equal(find(ds, "test_batch.bin:0"), 4);
  mica_dataset_free(ds);
  put_cifar("c100/train.bin", 3, 2, 97);
  put_cifar("c100/test.bin", 1, 2, 98);
  ds = open_it("c100", &o);
  assert_int_equal(mica_dataset_classes(ds), 3);
  assert_string_equal(mica_dataset_class(ds, 2), "99");
  mica_dataset_free(ds);
  put_cifar("c100/train.bin", 4, 2, 97);
  refuse(at("c100"), &o, MICA_ERR_FORMAT, "train.bin: record 3: label 100, expected 0 to 99");
  put_cifar("c100/data_batch_1.bin", 1, 1, 0);
  refuse(at("c100"), &o, MICA_ERR_FORMAT, "files of CIFAR-10 and of CIFAR-100 in one folder");
  put_text("c10/data_batch_2.bin", "too short");
  refuse(at("c10"), &o, MICA_ERR_FORMAT,
         "data_batch_2.bin: 9 bytes, expected records of 3073 (CIFAR-10)");
  put_text("c10/data_batch_2.bin", "");
  refuse(at("c10"), &o, MICA_ERR_FORMAT, "data_batch_2.bin: 0 bytes, expected records of 3073");
}

/* ---- lists ---- */

static void test_list(void **state) {
  (void)state;
  mica_dataset_options o = grey();
  put_picture("list/in/a.pgm", 1);
  put_picture("list/in/b, c.pgm", 2);
  put_picture("list/d.pgm", 3);
  char text[512];
  snprintf(text, sizeof text,
           "id,Label,FileName,split\n1,nut,in/a.pgm,train\r\n2,bolt,\"in/b, c.pgm\",VAL\n\n"
           "3,nut,%s,test\n",
           at("list/d.pgm"));
  put_text("list/all.csv", text);
  mica_dataset *ds = open_it("list/all.csv", &o);
  assert_int_equal(mica_dataset_count(ds), 3);
  assert_string_equal(mica_dataset_class(ds, 0), "bolt");
  assert_item(ds, "in/a.pgm", "nut", MICA_PART_TRAIN, 1);
  assert_item(ds, "in/b, c.pgm", "bolt", MICA_PART_VALIDATION, 2);
  assert_item(ds, at("list/d.pgm"), "nut", MICA_PART_TEST, 3);
  mica_dataset_free(ds);
  /* Numbers sort as numbers; no header; some classes only; a file that is not there. */
  put_text("list/n.tsv", "in/a.pgm\t10\nd.pgm\t9\nin/gone.pgm\t9\n");
  ds = open_it("list/n.tsv", &o);
  assert_int_equal(mica_dataset_count(ds), 2);
  assert_string_equal(mica_dataset_class(ds, 0), "9");
  assert_string_equal(mica_dataset_class(ds, 1), "10");
  assert_int_equal(mica_dataset_skipped(ds), 1);
  assert_non_null(strstr(mica_dataset_skipped_text(ds), "in/gone.pgm: cannot open: No such file"));
  mica_dataset_free(ds);
  o.strict = true;
  refuse(at("list/n.tsv"), &o, MICA_ERR_NOT_FOUND, "in/gone.pgm: cannot open");
  o.strict = false;
  o.classes = "10";
  ds = open_it("list/n.tsv", &o);
  assert_int_equal(mica_dataset_count(ds), 1);
  mica_dataset_free(ds);
  o.classes = "eleven";
  refuse(at("list/n.tsv"), &o, MICA_ERR_NOT_FOUND, "n.tsv: no item of the classes asked for");
}

static void refuse_list(const char *text, const char *part) {
  const mica_dataset_options o = grey();
  put_text("wrong.csv", text);
  refuse(at("wrong.csv"), &o, MICA_ERR_FORMAT, part);
}

static void test_wrong_lists(void **state) {
  (void)state;
  refuse_list("", "wrong.csv: is empty, expected a list of pictures");
  refuse_list("path,label\n", "wrong.csv: a header and no rows");
  refuse_list("path,kind\na.pgm,b\n", "wrong.csv: the header has no column 'label'");
  refuse_list("height,weight\n1,2\n",
              "no list of pictures: expected a header with the columns path");
  refuse_list("path,label\na.pgm,b\nc.pgm\n", "line 3: 1 fields, expected label in field 2");
  refuse_list("path,label\na.pgm,\n", "line 2: an empty label");
  refuse_list("path,label\n,b\n", "line 2: an empty path");
  refuse_list("path,label,part\na.pgm,b,holdout\n", "line 2: part 'holdout', expected train, val");
  refuse_list("path,label\n\"a.pgm,b\n", "line 2: the quote that opens here is never closed");
}

/* A child writes to our standard input; the list must be refused in bounded memory. */
static void test_list_on_standard_input(void **state) {
  (void)state;
  const mica_dataset_options o = grey();
  char text[600];
  const int n =
      snprintf(text, sizeof text, "%s\tnut\n%s\tbolt\n", at("list/in/a.pgm"), at("list/d.pgm"));
  int ends[2], before = dup(STDIN_FILENO);
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(write(ends[1], text, (size_t)n), n);
  close(ends[1]);
  dup2(ends[0], STDIN_FILENO);
  close(ends[0]);
  mica_dataset *ds;
  if (mica_dataset_open("-", &o, &ds) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_dataset_count(ds), 2);
  assert_item(ds, at("list/d.pgm"), "bolt", MICA_PART_TRAIN, 3);
  mica_dataset_free(ds);

  FILE *flood = popen("printf 'path\\tlabel\\n'; head -c 1000000000 /dev/zero | tr '\\0' x", "r");
  assert_non_null(flood);
  dup2(fileno(flood), STDIN_FILENO);
  refuse("-", &o, MICA_ERR_FORMAT, "standard input: line 2: a record of more than 1048576 bytes");
  dup2(before, STDIN_FILENO);
  close(before);
  pclose(flood);
}

/* ---- arrays ---- */

static void put_arrays(const char *name, const char *x_key, mica_view x, const char *y_key,
                       mica_view y) {
  const mica_named_view both[2] = {{x_key, x}, {y_key, y}};
  assert_int_equal(mica_make_parent(at(name)), MICA_OK);
  if (strstr(name, ".npz"))
    assert_int_equal(mica_npz_write(at(name), both, 2, false), MICA_OK);
  else
    assert_int_equal(mica_safetensors_write(at(name), both, 2, NULL, 0), MICA_OK);
}

static void test_arrays(void **state) {
  (void)state;
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  o.validation = 0;
  uint8_t bytes[24], pixels[12];
  float floats[24];
  int64_t longs[24], labels[2] = {5, 3};
  uint8_t small[2] = {5, 3};
  for (int i = 0; i < 24; i++) {
    bytes[i] = (uint8_t)(i * 10);
    floats[i] = (float)(i * 10) / 255;
    longs[i] = i * 10;
  }
  const mica_view y = mica_view_of(labels, MICA_I64, MICA_SHAPE(2));
  const mica_view y2 = mica_view_of(small, MICA_U8, MICA_SHAPE(2, 1));
  /* The same pictures, 2x2x3, in every form. */
  put_arrays("a/1.npz", "images", mica_view_of(bytes, MICA_U8, MICA_SHAPE(2, 2, 2, 3)), "labels",
             y);
  put_arrays("a/2.safetensors", "x", mica_view_of(floats, MICA_F32, MICA_SHAPE(2, 2, 2, 3)), "y",
             y2);
  put_arrays("a/3.npz", "train_images", mica_view_of(longs, MICA_I64, MICA_SHAPE(2, 2, 2, 3)),
             "train_labels", y2);
  float planes[24];
  for (int i = 0; i < 2; i++)
    for (int c = 0; c < 3; c++)
      for (int p = 0; p < 4; p++) planes[i * 12 + c * 4 + p] = (float)(i * 12 + p * 3 + c) * 10;
  put_arrays("a/4.npz", "x_test", mica_view_of(planes, MICA_F32, MICA_SHAPE(2, 3, 2, 2)), "y_test",
             y);
  put_text("b/classes.txt", "");
  for (int k = 1; k <= 4; k++) {
    char name[32], item[16];
    snprintf(name, sizeof name, k == 2 ? "a/%d.safetensors" : "a/%d.npz", k);
    mica_dataset *ds = open_it(name, &o);
    assert_int_equal(mica_dataset_count(ds), 2);
    assert_string_equal(mica_dataset_class(ds, 0), "3");
    snprintf(item, sizeof item, "%s:1", k == 3 ? "train" : k == 4 ? "test" : "item");
    assert_int_equal(find(ds, item), 1);
    assert_int_equal(label_of(ds, 1), 0);
    assert_int_equal(mica_dataset_part_of(ds, 1), k == 4 ? MICA_PART_TEST : MICA_PART_TRAIN);
    assert_int_equal(mica_dataset_read(ds, 1, pixels), MICA_OK);
    assert_memory_equal(pixels, bytes + 12, 12);
    mica_dataset_free(ds);
  }
  /* Grey ones without an axis for the channel, and masks. */
  bool mask[8] = {0, 1, 1, 0, 1, 1, 1, 1};
  put_arrays("a/5.npz", "images", mica_view_of(mask, MICA_BOOL, MICA_SHAPE(2, 2, 2)), "labels", y);
  put_text("a/classes.txt", "a\nb\nc\nthird\ne\nfifth\n");
  mica_dataset *ds = open_it("a/5.npz", &o);
  assert_item(ds, "item:1", "third", MICA_PART_TRAIN, 255);
  mica_dataset_free(ds);
}

static void refuse_arrays(mica_view x, mica_view y, const char *part) {
  const mica_dataset_options o = MICA_DATASET_OPTIONS;
  put_arrays("w/wrong.npz", "images", x, "labels", y);
  refuse(at("w/wrong.npz"), &o, MICA_ERR_FORMAT, part);
}

static void test_wrong_arrays(void **state) {
  (void)state;
  const mica_dataset_options o = MICA_DATASET_OPTIONS;
  float x[16] = {0};
  int64_t y[2] = {0, 1};
  const mica_shape grey_two = MICA_SHAPE(2, 2, 2);
  const mica_view images = mica_view_of(x, MICA_F32, grey_two);
  const mica_view labels = mica_view_of(y, MICA_I64, MICA_SHAPE(2));
  x[5] = NAN;
  refuse_arrays(images, labels, "wrong.npz: images: item 1 has a value that is not finite");
  x[5] = -1;
  refuse_arrays(images, labels, "images: values from -1 to 0, expected 0 to 1 or 0 to 255");
  x[5] = 256;
  refuse_arrays(images, labels, "images: values from 0 to 256, expected");
  x[5] = 0;
  refuse_arrays(mica_view_of(x, MICA_F32, MICA_SHAPE(2, 2, 2, 2)), labels,
                "images has the shape [2,2,2,2], expected pictures [N,H,W]");
  refuse_arrays(mica_view_of(x, MICA_F32, MICA_SHAPE(0, 2, 2)), labels, "has the shape [0,2,2]");
  refuse_arrays(images, mica_view_of(y, MICA_I64, MICA_SHAPE(1)),
                "labels is int64 [1], expected integers [2], a label a picture");
  refuse_arrays(images, mica_view_of(x, MICA_F32, MICA_SHAPE(2)),
                "labels is float32 [2], expected");
  y[1] = -1;
  refuse_arrays(images, labels, "item:1: label -1, expected 0 to 65535");
  y[1] = 1 << 20;
  refuse_arrays(images, labels, "item:1: label 1048576, expected 0 to 65535");
  put_arrays("w/names.npz", "pictures", images, "labels", labels);
  refuse(at("w/names.npz"), &o, MICA_ERR_NOT_FOUND,
         "no pictures with labels: expected images and labels, x and y");
  put_text("w/text.npz", "hello, world");
  refuse(at("w/text.npz"), &o, MICA_ERR_FORMAT, "w/text.npz: not a tensor file");
}

/* ---- short memory ---- */

static mica_status open_and_read(void *name) {
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  uint8_t pixels[32 * 32 * 3];
  o.validation = 0.3;
  if (strstr(name, "lazy")) o.memory = 0;
  mica_dataset *ds;
  mica_status status = mica_dataset_open(at(strrchr(name, ' ') + 1), &o, &ds);
  for (int64_t i = 0; status == MICA_OK && i < mica_dataset_count(ds); i++)
    status = mica_dataset_read(ds, i, pixels);
  mica_dataset_free(ds);
  return status;
}

static void test_each_allocation_fails(void **state) {
  (void)state;
  uint8_t bytes[512];
  put("mem/idx/train-images-idx3-ubyte", bytes, idx_images(bytes, 6));
  put("mem/idx/train-labels-idx1-ubyte", bytes, idx_labels(bytes, 6));
  put_text("mem/idx/classes.txt", "a\nb\nc\nd\ne\n");
  put_cifar("mem/cifar/data_batch_1.bin", 3, 1, 0);
  put_picture("mem/folder/x/a.pgm", 1);
  put_picture("mem/folder/y/b.pgm", 2);
  put_text("mem/folder/y/wrong.pgm", "");
  put_text("mem/list.csv", "path,label\nfolder/x/a.pgm,one\nfolder/y/b.pgm,two\n");
  float x[24] = {0};
  int64_t y[2] = {0, 1};
  put_arrays("mem/a.npz", "images", mica_view_of(x, MICA_F32, MICA_SHAPE(2, 3, 2, 2)), "labels",
             mica_view_of(y, MICA_I64, MICA_SHAPE(2)));
  static char *const names[] = {" mem/idx",        " mem/cifar",    " mem/folder",
                                "lazy mem/folder", " mem/list.csv", " mem/a.npz"};
  for (int i = 0; i < 6; i++) assert_true(fail_each(open_and_read, names[i]) > 8);
}

/* ---- published files ---- */

#if defined MICA_HAVE_ZLIB && defined MICA_HAVE_PNG
static void test_published_files(void **state) {
  (void)state;
  const char *data = getenv("MICA_DATA");
  char path[512];
  if (!data) {
    print_message("MICA_DATA is not set: no published files\n");
    skip();
  }
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  o.validation = 0;
  mica_dataset *ds;
  snprintf(path, sizeof path, "%s/cifar-10", data);
  if (mica_dataset_open(path, &o, &ds) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_dataset_count(ds), 4000);
  assert_int_equal(mica_dataset_classes(ds), 10);
  assert_string_equal(mica_dataset_class(ds, label_of(ds, 0)), "frog");
  double mean[4], deviation[4];
  assert_int_equal(mica_dataset_statistics(ds, mean, deviation), MICA_OK);
  assert_float_equal(mean[0], 0.491, 0.01); /* of the whole set: 0.4914, 0.4822, 0.4465 */
  assert_float_equal(mean[2], 0.447, 0.01);
  mica_dataset_free(ds);
  snprintf(path, sizeof path, "%s/mnist-t10k/t10k-images-idx3-ubyte.gz", data);
  mica_tensor *t;
  assert_int_equal(mica_idx_read(path, &t), MICA_OK);
  assert_true(mica_shape_equal(mica_tensor_shape(t), &MICA_SHAPE(10000, 28, 28)));
  mica_tensor_free(t);
  snprintf(path, sizeof path, "%s/medmnist3d/adrenalmnist3d.npz", data);
  refuse(path, &o, MICA_ERR_FORMAT,
         "train_images has the shape [1188,28,28,28], expected pictures");
  /* COIL-20 is one flat folder of objN__V.png: a list gives its labels. */
  snprintf(path, sizeof path,
           "mkdir '%s/coil' && tar xzf '%s/coil-20/coil-20-proc-36views.tar.gz' -C '%s/coil'", root,
           data, root);
  assert_int_equal(system(path), 0);
  snprintf(
      path, sizeof path,
      "cd '%s/coil' && find . -name 'obj*.png' | sed -n 's|^\\./\\(.*\\)\\(obj[0-9]*\\)__\\([0-9]*"
      "\\.png\\)$|\\1\\2__\\3,\\2|p' | (echo path,label; cat) > all.csv",
      root);
  assert_int_equal(system(path), 0);
  mica_dataset *coil = open_it("coil/all.csv", &o);
  assert_int_equal(mica_dataset_count(coil), 720);
  assert_int_equal(mica_dataset_classes(coil), 20);
  assert_int_equal(mica_dataset_skipped(coil), 0);
  mica_dataset_free(coil);
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_folder),
    cmocka_unit_test(test_bad_files_are_skipped_and_listed),
    cmocka_unit_test(test_parts_do_not_reshuffle),
    cmocka_unit_test(test_larger_than_memory),
    cmocka_unit_test(test_idx),
    cmocka_unit_test(test_hostile_idx),
#ifdef MICA_HAVE_ZLIB
    cmocka_unit_test(test_idx_in_gzip_members),
#endif
    cmocka_unit_test(test_cifar),
    cmocka_unit_test(test_list),
    cmocka_unit_test(test_wrong_lists),
    cmocka_unit_test(test_list_on_standard_input),
    cmocka_unit_test(test_arrays),
    cmocka_unit_test(test_wrong_arrays),
    cmocka_unit_test(test_each_allocation_fails),
#if defined MICA_HAVE_ZLIB && defined MICA_HAVE_PNG
    cmocka_unit_test(test_published_files),
#endif
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
