/* Batches of pictures: the same ones with a thread that works ahead, without it, after a seek, and
 * in a forked child. */
#include "support/failing_alloc.h"
#include "support/test.h"

#include "base/file.h"

#include <mica/train.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ITEMS = 53, SIDE = 6, SIZE = SIDE * SIDE, BATCH = 8, BATCHES = 7 };

static char root[64];
static const mica_preprocess prepared = {
    SIDE, SIDE, 1, {0.5}, {0.25, 1, 1, 1}, 1, MICA_FILTER_BILINEAR, MICA_FIT_COVER};

static void put(const char *name, const void *bytes, size_t n) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", root, name);
  assert_int_equal(mica_make_parent(path), MICA_OK);
  assert_int_equal(mica_file_write_atomic(path, bytes, n), MICA_OK);
}

/* A folder of different pictures. */
static int setup(void **state) {
  (void)state;
  snprintf(root, sizeof root, "/tmp/mica-stream-XXXXXX");
  if (!mkdtemp(root)) return -1;
  for (int i = 0; i < ITEMS; i++) {
    char name[32], bytes[32 + SIZE];
    const int head = snprintf(bytes, sizeof bytes, "P5 %d %d 255\n", SIDE, SIDE);
    for (int k = 0; k < SIZE; k++) bytes[head + k] = (char)(unsigned char)(i * 4 + k);
    snprintf(name, sizeof name, "good/c%d/%02d.pgm", i % 3, i);
    put(name, bytes, (size_t)(head + SIZE));
    snprintf(name, sizeof name, "some/c%d/%02d.pgm", i % 3, i);
    put(name, bytes, (size_t)(head + SIZE - (i % 10 == 4))); /* cut short: 04, 14, ... */
  }
  return 0;
}

static int teardown(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -r '%s'", root);
  return system(command);
}

static mica_status open_folder(const char *name, bool lazy, bool strict, mica_dataset **out) {
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  char path[128];
  snprintf(path, sizeof path, "%s/%s", root, name);
  o.height = o.width = SIDE;
  o.channels = 1;
  o.validation = 0;
  o.strict = strict;
  if (lazy) o.memory = 0;
  return mica_dataset_open(path, &o, out);
}

static mica_stream stream_of(const mica_dataset *ds, int64_t ahead) {
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  mica_stream stream;
  o.batch = BATCH;
  o.shuffle = o.flip = true;
  o.crop = 2;
  o.seed = 7;
  o.ahead = ahead;
  if (mica_dataset_stream_create(ds, MICA_PART_TRAIN, &prepared, &o, &stream) != MICA_OK)
    fail_msg("%s", mica_last_error());
  return stream;
}

/* A number for all that a batch holds. */
static uint64_t digest(const mica_batch *b, uint64_t seed) {
  mica_tensor *const all[] = {b->x, b->labels, b->ids};
  seed = mica_hash64(&b->n, sizeof b->n, seed);
  for (int i = 0; i < 3; i++)
    seed = mica_hash64(
        mica_tensor_data(all[i]),
        (size_t)mica_tensor_count(all[i]) * mica_dtype_size(mica_tensor_dtype(all[i])), seed);
  return seed;
}

static uint64_t next_digest(const mica_stream *s, uint64_t seed) {
  mica_batch b;
  if (s->next(s->ctx, &b) != MICA_OK) fail_msg("%s", mica_last_error());
  return digest(&b, seed);
}

/* Epochs 0 to 2, then the middle of epoch 1 again, then the middle of 0. */
static uint64_t walk(const mica_stream *s) {
  uint64_t d = 0;
  assert_int_equal(s->batches, BATCHES);
  for (int64_t epoch = 0; epoch < 3; epoch++) {
    assert_int_equal(s->seek(s->ctx, epoch, 0), MICA_OK);
    for (int64_t i = 0; i < BATCHES; i++) d = next_digest(s, d);
    mica_batch b;
    assert_int_equal(s->next(s->ctx, &b), MICA_ERR_STATE);
    assert_non_null(strstr(mica_last_error(), "no more batches"));
  }
  assert_int_equal(s->seek(s->ctx, 1, 3), MICA_OK);
  d = next_digest(s, d);
  assert_int_equal(s->seek(s->ctx, 0, 5), MICA_OK);
  d = next_digest(s, d);
  return next_digest(s, d);
}

static void test_same_bits_with_a_thread(void **state) {
  (void)state;
  uint64_t expected = 0;
  for (int lazy = 0; lazy < 2; lazy++)
    for (int64_t ahead = 0; ahead < 9; ahead += ahead < 3 ? 1 : 5) {
      mica_dataset *ds;
      assert_int_equal(open_folder("good", lazy, false, &ds), MICA_OK);
      mica_stream s = stream_of(ds, ahead);
      const uint64_t got = walk(&s);
      if (!expected) expected = got;
      assert_true(got == expected);
      mica_dataset_stream_free(&s);
      mica_dataset_free(ds);
    }
}

/* Is `to` the picture `from` moved by (dy, dx) and then mirrored, with zeros outside? */
static bool is_moved(const uint8_t *from, int dy, int dx, bool flip, const float *to) {
  for (int y = 0; y < SIDE; y++)
    for (int x = 0; x < SIDE; x++)
      for (int c = 0; c < 3; c++) {
        const int sy = y + dy, sx = (flip ? SIDE - 1 - x : x) + dx;
        const bool inside = sy >= 0 && sy < SIDE && sx >= 0 && sx < SIDE;
        const int value = inside ? from[(sy * SIDE + sx) * 3 + c] : 0;
        if (to[(y * SIDE + x) * 3 + c] != (float)value) return false;
      }
  return true;
}

/* Every shift and both sides come, and each batch holds pictures moved in one of these ways. */
static void test_how_pictures_are_moved(void **state) {
  (void)state;
  enum { CROP = 2, WAYS = 2 * CROP + 1 };
  static uint8_t pixels[SIZE * 3];
  uint8_t bytes[32 + SIZE * 3];
  int seen[WAYS][WAYS][2] = {{{0}}};
  for (int i = 0; i < BATCH; i++) {
    char name[32];
    const int head = snprintf((char *)bytes, sizeof bytes, "P6 %d %d 255\n", SIDE, SIDE);
    for (int k = 0; k < SIZE * 3; k++) bytes[head + k] = (uint8_t)(i * 17 + k * 5 + 1);
    snprintf(name, sizeof name, "colour/c/%02d.ppm", i);
    put(name, bytes, (size_t)(head + SIZE * 3));
  }
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  mica_dataset_stream_options so = MICA_DATASET_STREAM_OPTIONS;
  mica_preprocess plain = MICA_PREPROCESS(SIDE, SIDE, 3);
  mica_dataset *ds;
  mica_stream s;
  char path[128];
  snprintf(path, sizeof path, "%s/colour", root);
  for (int c = 0; c < 3; c++) plain.deviation[c] = 1.0 / 255;
  o.height = o.width = SIDE;
  o.validation = 0;
  so.batch = BATCH;
  so.flip = true;
  so.crop = CROP;
  so.ahead = 0;
  assert_int_equal(mica_dataset_open(path, &o, &ds), MICA_OK);
  assert_int_equal(mica_dataset_stream_create(ds, MICA_PART_TRAIN, &plain, &so, &s), MICA_OK);
  for (int epoch = 0; epoch < 60; epoch++) {
    mica_batch b;
    assert_int_equal(s.seek(s.ctx, epoch, 0), MICA_OK);
    assert_int_equal(s.next(s.ctx, &b), MICA_OK);
    for (int i = 0; i < BATCH; i++) {
      const float *x = (const float *)mica_tensor_data(b.x) + i * SIZE * 3;
      int found = 0;
      assert_int_equal(mica_dataset_read(ds, ((int64_t *)mica_tensor_data(b.ids))[i], pixels),
                       MICA_OK);
      for (int way = 0; way < WAYS * WAYS * 2; way++) {
        const int dy = way / 2 / WAYS, dx = way / 2 % WAYS;
        if (!is_moved(pixels, dy - CROP, dx - CROP, way % 2, x)) continue;
        seen[dy][dx][way % 2]++;
        found++;
      }
      assert_int_equal(found, 1);
    }
  }
  for (int way = 0; way < WAYS * WAYS * 2; way++)
    assert_true(seen[way / 2 / WAYS][way / 2 % WAYS][way % 2]);
  mica_dataset_stream_free(&s);
  mica_dataset_free(ds);
}

/* Each item comes once an epoch, with its label and the pixels it should have. */
static void test_what_is_in_a_batch(void **state) {
  (void)state;
  mica_dataset *ds;
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  mica_stream s;
  o.batch = BATCH;
  assert_int_equal(open_folder("good", false, false, &ds), MICA_OK);
  assert_int_equal(mica_dataset_stream_create(ds, MICA_PART_TRAIN, &prepared, &o, &s), MICA_OK);
  int seen[ITEMS] = {0};
  for (int64_t i = 0; i < BATCHES; i++) {
    mica_batch b;
    assert_int_equal(s.next(s.ctx, &b), MICA_OK);
    assert_int_equal(b.n, i < BATCHES - 1 ? BATCH : ITEMS % BATCH);
    for (int64_t k = 0; k < b.n; k++) {
      const int64_t item = ((const int64_t *)mica_tensor_data(b.ids))[k];
      uint8_t pixels[SIZE];
      seen[item]++;
      assert_int_equal(((const int64_t *)mica_tensor_data(b.labels))[k],
                       ((const int64_t *)mica_tensor_data(mica_dataset_labels(ds)))[item]);
      assert_int_equal(mica_dataset_read(ds, item, pixels), MICA_OK);
      for (int p = 0; p < SIZE; p++)
        assert_float_equal(((const float *)mica_tensor_data(b.x))[k * SIZE + p],
                           ((float)pixels[p] / 255 - 0.5f) / 0.25f, 1e-5f);
    }
  }
  for (int i = 0; i < ITEMS; i++) assert_int_equal(seen[i], 1);
  mica_dataset_stream_free(&s);
  mica_dataset_free(ds);
}

static void test_free_and_seek_while_it_works(void **state) {
  (void)state;
  mica_dataset *ds;
  assert_int_equal(open_folder("good", true, false, &ds), MICA_OK);
  for (int i = 0; i < 60; i++) {
    mica_stream s = stream_of(ds, 3);
    uint64_t d = 0;
    for (int k = 0; k < i % 4; k++) {
      assert_int_equal(s.seek(s.ctx, k, k), MICA_OK);
      d = next_digest(&s, d);
    }
    mica_dataset_stream_free(&s);
  }
  mica_dataset_free(ds);
}

static void test_unreadable_pictures(void **state) {
  (void)state;
  mica_dataset *ds;
  /* Found at opening, or on the way: the same pictures are left. */
  for (int lazy = 0; lazy < 2; lazy++) {
    assert_int_equal(open_folder("some", lazy, false, &ds), MICA_OK);
    mica_stream s = stream_of(ds, 2);
    int64_t n = 0;
    for (int64_t i = 0; i < s.batches; i++) {
      mica_batch b;
      assert_int_equal(s.next(s.ctx, &b), MICA_OK);
      n += b.n;
    }
    assert_int_equal(n, ITEMS - 5);
    assert_int_equal(mica_dataset_part_count(ds, MICA_PART_TRAIN), ITEMS - 5);
    assert_int_equal(mica_dataset_skipped(ds), 5);
    mica_dataset_stream_free(&s);
    mica_dataset_free(ds);
  }
  /* A strict set stops, and the thread's message arrives. */
  assert_int_equal(open_folder("some", true, true, &ds), MICA_OK);
  for (int64_t ahead = 0; ahead < 3; ahead += 2) {
    mica_stream s = stream_of(ds, ahead);
    mica_status status = MICA_OK;
    mica_batch b;
    mica_clear_error();
    for (int64_t i = 0; i < s.batches && status == MICA_OK; i++) status = s.next(s.ctx, &b);
    assert_int_equal(status, MICA_ERR_FORMAT);
    assert_int_equal(mica_last_status(), MICA_ERR_FORMAT);
    assert_non_null(strstr(mica_last_error(), "4.pgm: PNM: truncated"));
    mica_dataset_stream_free(&s);
  }
  mica_dataset_free(ds);
}

/* A child has no thread of ours; it goes on with the same bits, and nothing hangs. */
static void test_fork(void **state) {
  (void)state;
  mica_dataset *ds;
  assert_int_equal(open_folder("good", true, false, &ds), MICA_OK);
  for (int round = 0; round < 20; round++) {
    mica_stream s = stream_of(ds, 3);
    assert_int_equal(s.seek(s.ctx, 2, 0), MICA_OK);
    for (int i = 0; i < round % 4; i++) next_digest(&s, 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    uint64_t d = 0;
    alarm(child ? 0 : 20);
    for (int i = round % 4; i < BATCHES; i++) d = next_digest(&s, d);
    assert_int_equal(s.seek(s.ctx, 0, 1), MICA_OK);
    d = next_digest(&s, d);
    mica_dataset_stream_free(&s);
    if (!child) {
      _exit((int)(d % 251));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), (int)(d % 251));
  }
  mica_dataset_free(ds);
}

static void test_wrong_options(void **state) {
  (void)state;
  mica_dataset *ds;
  mica_stream s;
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  mica_preprocess other = prepared;
  assert_int_equal(open_folder("good", false, false, &ds), MICA_OK);
  o.ahead = 65;
  assert_int_equal(mica_dataset_stream_create(ds, MICA_PART_TRAIN, &prepared, &o, &s),
                   MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "0 to 64 batches ahead"));
  other.width = SIDE + 1;
  assert_int_equal(mica_dataset_stream_create(ds, MICA_PART_TRAIN, &other, NULL, &s),
                   MICA_ERR_SHAPE);
  assert_non_null(strstr(mica_last_error(), "pictures of 6x6x1, the model reads 6x7x1"));
  assert_int_equal(mica_dataset_stream_create(ds, MICA_PART_TEST, &prepared, NULL, &s),
                   MICA_ERR_NOT_FOUND);
  mica_dataset_stream_free(&s);
  mica_dataset_free(ds);
}

static mica_status use(void *ctx) {
  mica_dataset *ds = NULL;
  mica_stream s = {0};
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  o.batch = 20;
  o.ahead = 0; /* a thread's failure may concern a batch that nobody asks for */
  mica_status status = open_folder("good", ctx != NULL, false, &ds);
  if (status == MICA_OK)
    status = mica_dataset_stream_create(ds, MICA_PART_TRAIN, &prepared, &o, &s);
  for (int64_t i = 0; status == MICA_OK && i < s.batches; i++) {
    mica_batch b;
    status = s.next(s.ctx, &b);
  }
  mica_dataset_stream_free(&s);
  mica_dataset_free(ds);
  return status;
}

static void test_each_allocation_fails(void **state) {
  (void)state;
  int lazy = 1;
  assert_true(fail_each(use, NULL) > 50);
  assert_true(fail_each(use, &lazy) > 50);
}

/* ---- tensors in memory ---- */

static void test_memory_stream(void **state) {
  (void)state;
  mica_tensor *x, *labels;
  mica_stream s;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(10, 2), &x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(10), &labels), MICA_OK);
  for (int i = 0; i < 10; i++) {
    mica_tensor_set(x, 2 * i, i);
    mica_tensor_set(labels, i, 100 + i);
  }
  for (int drop = 0; drop < 2; drop++) {
    assert_int_equal(mica_memory_stream_create(x, labels, 4, true, drop, 3, &s), MICA_OK);
    assert_int_equal(s.batches, drop ? 2 : 3);
    uint64_t first[2] = {0, 0};
    for (int round = 0; round < 4; round++) { /* epochs 0, 1, 0, 1 */
      int seen[10] = {0};
      uint64_t d = 0;
      assert_int_equal(s.seek(s.ctx, round % 2, 0), MICA_OK);
      for (int64_t i = 0; i < s.batches; i++) {
        mica_batch b;
        assert_int_equal(s.next(s.ctx, &b), MICA_OK);
        d = digest(&b, d);
        for (int64_t k = 0; k < b.n; k++) {
          const int item = (int)mica_tensor_get(b.ids, k);
          seen[item]++;
          assert_int_equal((int)mica_tensor_get(b.x, 2 * k), item);
          assert_int_equal((int)mica_tensor_get(b.labels, k), 100 + item);
        }
      }
      int all = 0;
      for (int i = 0; i < 10; i++) all += seen[i] == 1;
      assert_int_equal(all, drop ? 8 : 10);
      if (round < 2) first[round] = d;
      assert_true(d == first[round % 2]);
    }
    assert_true(first[0] != first[1]);
    mica_memory_stream_free(&s);
  }
  assert_int_equal(mica_memory_stream_create(x, labels, 0, false, false, 0, &s), MICA_ERR_INVALID);
  assert_int_equal(mica_memory_stream_create(labels, NULL, 1, false, false, 0, &s), MICA_ERR_SHAPE);
  mica_tensor_free(x);
  mica_tensor_free(labels);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_same_bits_with_a_thread),
      cmocka_unit_test(test_how_pictures_are_moved),
      cmocka_unit_test(test_what_is_in_a_batch),
      cmocka_unit_test(test_free_and_seek_while_it_works),
      cmocka_unit_test(test_unreadable_pictures),
      cmocka_unit_test(test_fork),
      cmocka_unit_test(test_wrong_options),
      cmocka_unit_test(test_each_allocation_fails),
      cmocka_unit_test(test_memory_stream),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
