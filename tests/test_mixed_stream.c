/* Several streams as one: whose batch comes when, that seek can stand anywhere, and training on
 * zipped batches with a loss for each stream. */
#include "support/test.h"

#include <mica/ops.h>
#include <mica/train.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mica_engine *engine;

/* A stream of numbered batches: x [1,1] tells stream, epoch and batch. */
typedef struct numbered {
  int64_t name, batches, epoch, at, seeks;
  mica_tensor *x;
  bool nested, fails;
} numbered;

static mica_status numbered_seek(void *ctx, int64_t epoch, int64_t batch) {
  numbered *s = ctx;
  s->epoch = epoch;
  s->at = batch;
  s->seeks++;
  return MICA_OK;
}
static mica_status numbered_next(void *ctx, mica_batch *out) {
  numbered *s = ctx;
  static const mica_batch one;
  memset(out, 0, sizeof *out);
  if (s->at >= s->batches) return mica_fail(MICA_ERR_STATE, "beyond the end");
  if (s->fails) return mica_fail(MICA_ERR_IO, "the disk is gone");
  ((float *)mica_tensor_data(s->x))[0] = (float)(10000 * s->name + 100 * s->epoch + s->at);
  s->at++;
  out->n = s->name;
  out->x = s->x;
  if (s->nested) out->part = &one, out->parts = 1;
  return MICA_OK;
}

enum { STREAMS = 3 };
static numbered source[STREAMS];
static mica_stream streams[STREAMS];
static const int64_t lengths[STREAMS] = {2, 5, 3};

static void make_streams(void) {
  for (int k = 0; k < STREAMS; k++) {
    source[k] = (numbered){.name = k + 1, .batches = lengths[k]};
    assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(1, 1), &source[k].x), MICA_OK);
    streams[k] = (mica_stream){&source[k], lengths[k], numbered_seek, numbered_next};
  }
}
static void free_streams(void) {
  for (int k = 0; k < STREAMS; k++) mica_tensor_free(source[k].x);
}

static int number(const mica_batch *b) {
  return (int)((const float *)mica_tensor_data(b->x))[0];
}

/* The numbers of all batches of an epoch; a zipped batch has one of each stream. */
static int64_t read_epoch(const mica_stream *s, int64_t epoch, int64_t from, int *out) {
  int64_t n = 0;
  assert_int_equal(s->seek(s->ctx, epoch, from), MICA_OK);
  for (int64_t i = from; i < s->batches; i++) {
    mica_batch b;
    if (s->next(s->ctx, &b) != MICA_OK) fail_msg("%s", mica_last_error());
    for (int64_t k = 0; k < b.parts; k++) out[n++] = number(&b.part[k]);
    if (!b.parts) out[n++] = number(&b);
  }
  mica_batch b;
  assert_int_equal(s->next(s->ctx, &b), MICA_ERR_STATE);
  return n;
}

static void expect(const int *got, int64_t n, const int *want, int64_t m) {
  assert_int_equal(n, m);
  for (int64_t i = 0; i < n; i++)
    if (got[i] != want[i]) fail_msg("batch %d is %d, not %d", (int)i, got[i], want[i]);
}

static void test_turns(void **state) {
  (void)state;
  mica_stream s;
  int got[64];
  mica_mixed_stream_options o = MICA_MIXED_STREAM_OPTIONS;
  assert_int_equal(mica_mixed_stream_create(streams, STREAMS, NULL, &s), MICA_OK);
  assert_int_equal(s.batches, 15);
  mica_mixed_stream_free(&s);
  assert_null(s.ctx);
  o.batches = 7;
  assert_int_equal(mica_mixed_stream_create(streams, STREAMS, &o, &s), MICA_OK);
  static const int first[] = {10000, 20000, 30000, 10001, 20001, 30001, 10100};
  static const int second[] = {10101, 20002, 30002, 10200, 20003, 30100, 10201};
  expect(got, read_epoch(&s, 0, 0, got), first, 7);
  expect(got, read_epoch(&s, 1, 0, got), second, 7);
  expect(got, read_epoch(&s, 0, 4, got), first + 4, 3);
  mica_mixed_stream_free(&s);
}

static void test_zipped(void **state) {
  (void)state;
  mica_stream s;
  int got[64];
  mica_mixed_stream_options o = MICA_MIXED_STREAM_OPTIONS;
  o.mix = MICA_MIX_ZIPPED;
  assert_int_equal(mica_mixed_stream_create(streams, STREAMS, &o, &s), MICA_OK);
  assert_int_equal(s.batches, 5);
  static const int first[] = {10000, 20000, 30000, 10001, 20001, 30001, 10100, 20002,
                              30002, 10101, 20003, 30100, 10200, 20004, 30101};
  static const int second[] = {10201, 20100, 30102, 10300, 20101, 30200};
  expect(got, read_epoch(&s, 0, 0, got), first, 15);
  assert_int_equal(read_epoch(&s, 1, 0, got), 15);
  expect(got, 6, second, 6);
  mica_batch b;
  assert_int_equal(s.seek(s.ctx, 0, 2), MICA_OK);
  assert_int_equal(s.next(s.ctx, &b), MICA_OK);
  assert_int_equal(b.n, 6);
  assert_int_equal(b.parts, STREAMS);
  assert_null(b.x);
  assert_int_equal(b.part[1].n, 2);
  assert_int_equal(number(&b.part[1]), 20002);
  mica_mixed_stream_free(&s);
}

static void test_weights(void **state) {
  (void)state;
  mica_stream s;
  int got[64], again[64], other[64], count[STREAMS] = {0};
  const double weights[] = {1, 2, 0.5};
  mica_mixed_stream_options o = MICA_MIXED_STREAM_OPTIONS;
  o.mix = MICA_MIX_WEIGHTS;
  o.weights = weights;
  o.batches = 20; /* 5.71, 11.43, 2.86: 6, 11, 3 */
  o.seed = 3;
  assert_int_equal(mica_mixed_stream_create(streams, STREAMS, &o, &s), MICA_OK);
  for (int64_t epoch = 0; epoch < 3; epoch++) {
    int seen[STREAMS] = {0};
    assert_int_equal(read_epoch(&s, epoch, 0, got), 20);
    for (int i = 0; i < 20; i++) {
      const int k = got[i] / 10000 - 1;
      /* Each stream goes on where it was, through its own epochs. */
      const int64_t at = count[k]++;
      assert_int_equal(got[i] % 10000, 100 * (at / lengths[k]) + at % lengths[k]);
      seen[k]++;
    }
    assert_true(seen[0] == 6 && seen[1] == 11 && seen[2] == 3);
    assert_int_equal(read_epoch(&s, epoch, 0, again), 20);
    assert_memory_equal(got, again, 20 * sizeof *got);
    /* From anywhere, the same. */
    for (int64_t from = 0; from < 20; from++) {
      const int64_t n = read_epoch(&s, epoch, from, again);
      expect(again, n, got + from, 20 - from);
    }
  }
  /* The order is another in each epoch, and with another seed. */
  read_epoch(&s, 0, 0, got);
  read_epoch(&s, 1, 0, again);
  mica_mixed_stream_free(&s);
  o.seed = 4;
  assert_int_equal(mica_mixed_stream_create(streams, STREAMS, &o, &s), MICA_OK);
  read_epoch(&s, 0, 0, other);
  int differ[2] = {0};
  for (int i = 0; i < 20; i++) {
    differ[0] += got[i] / 10000 != again[i] / 10000;
    differ[1] += got[i] / 10000 != other[i] / 10000;
  }
  assert_true(differ[0] > 3 && differ[1] > 3);
  mica_mixed_stream_free(&s);
  /* Nothing given: all of each, and no seek but those at the ends of epochs. */
  o = (mica_mixed_stream_options)MICA_MIXED_STREAM_OPTIONS;
  o.mix = MICA_MIX_WEIGHTS;
  assert_int_equal(mica_mixed_stream_create(streams, 1, &o, &s), MICA_OK);
  assert_int_equal(s.batches, 2);
  source[0].seeks = 0;
  read_epoch(&s, 4, 0, got);
  assert_int_equal(got[1], 10401);
  assert_int_equal(source[0].seeks, 1);
  mica_mixed_stream_free(&s);
}

static void test_refusals(void **state) {
  (void)state;
  static const double bad[][3] = {
      {1, 0, 1}, {1, -2, 1}, {1, (double)NAN, 1}, {1, (double)INFINITY, 1}};
  mica_stream s;
  mica_mixed_stream_options o = MICA_MIXED_STREAM_OPTIONS;
  assert_int_equal(mica_mixed_stream_create(streams, 0, &o, &s), MICA_ERR_INVALID);
  assert_int_equal(mica_mixed_stream_create(streams, 65, &o, &s), MICA_ERR_INVALID);
  o.batches = -1;
  assert_int_equal(mica_mixed_stream_create(streams, 2, &o, &s), MICA_ERR_INVALID);
  o.batches = INT64_MAX;
  assert_int_equal(mica_mixed_stream_create(streams, 2, &o, &s), MICA_ERR_INVALID);
  o.batches = 2;
  assert_int_equal(mica_mixed_stream_create(streams, 3, &o, &s), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "stream 3 would have none of the 2 batches"));
  o.mix = (mica_mix)7;
  assert_int_equal(mica_mixed_stream_create(streams, 2, &o, &s), MICA_ERR_INVALID);
  o.mix = MICA_MIX_WEIGHTS;
  o.batches = 0;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    o.weights = bad[i];
    assert_int_equal(mica_mixed_stream_create(streams, 3, &o, &s), MICA_ERR_INVALID);
    assert_non_null(strstr(mica_last_error(), "weight 2 is"));
  }
  const double tiny[] = {1, 1e-300, 1};
  o.weights = tiny;
  assert_int_equal(mica_mixed_stream_create(streams, 3, &o, &s), MICA_ERR_INVALID);
  mica_stream empty = streams[0];
  empty.batches = 0;
  assert_int_equal(mica_mixed_stream_create(&empty, 1, NULL, &s), MICA_ERR_INVALID);
  assert_null(s.ctx);
  /* What a stream says goes through; afterwards it goes on at the same batch. */
  mica_batch b;
  assert_int_equal(mica_mixed_stream_create(streams, 2, NULL, &s), MICA_OK);
  assert_int_equal(s.seek(s.ctx, -1, 0), MICA_ERR_INVALID);
  assert_int_equal(s.seek(s.ctx, INT64_MAX, 0), MICA_ERR_INVALID);
  assert_int_equal(s.seek(s.ctx, 0, 0), MICA_OK);
  assert_int_equal(s.next(s.ctx, &b), MICA_OK);
  source[1].fails = true;
  assert_int_equal(s.next(s.ctx, &b), MICA_ERR_IO);
  source[1].fails = false;
  assert_int_equal(s.next(s.ctx, &b), MICA_OK);
  assert_int_equal(number(&b), 20000);
  source[0].nested = true;
  assert_int_equal(s.next(s.ctx, &b), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "stream 1 is zipped itself"));
  source[0].nested = false;
  mica_mixed_stream_free(&s);
}

/* ---- training ---- */

#define CLASSES 3
static const mica_problem rows = MICA_PROBLEM_ROWS(4, CLASSES);

static void make_rows(int64_t n, uint64_t seed, bool labelled, int64_t batch, mica_stream *out) {
  mica_tensor *x, *y;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(n, 4), &x), MICA_OK);
  assert_int_equal(labelled ? mica_tensor_create(MICA_I64, MICA_SHAPE(n), &y)
                            : mica_tensor_create(MICA_F32, MICA_SHAPE(n, CLASSES), &y),
                   MICA_OK);
  for (int64_t i = 0; i < n * 4; i++)
    ((float *)mica_tensor_data(x))[i] = (float)mica_random_normal(mica_key_seed(seed), (uint64_t)i);
  for (int64_t i = 0; i < mica_tensor_count(y); i++)
    mica_tensor_set(y, i, labelled ? (double)(i % CLASSES) : (double)(i % 5) / 5);
  assert_int_equal(mica_memory_stream_create(x, y, batch, true, false, seed, out), MICA_OK);
  mica_tensor_free(x);
  mica_tensor_free(y);
}

static int64_t stop_step;
static int stop(void *ctx, const mica_train_metrics *m) {
  double *loss = ctx;
  if (m->step == 1 && loss) *loss = m->loss;
  return stop_step && m->step >= stop_step;
}

static mica_status train(const mica_stream *s, const char *loss, const char *folder, double *first,
                         mica_tensor **weights) {
  mica_net *net;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  assert_int_equal(mica_net_create(engine, "mlp:hidden=8:dropout=0.1", &rows, 3, &net), MICA_OK);
  o.loss = loss;
  o.epochs = 3;
  o.dir = folder;
  o.resume = folder != NULL;
  o.report = stop;
  o.report_ctx = first;
  o.report_every = 1;
  const mica_status status = mica_train(net, s, NULL, &o, NULL);
  if (weights) {
    const mica_tensor *w = mica_param_value(mica_params_find(mica_net_params(net), "head.weight"));
    const mica_view v = mica_tensor_view(w);
    assert_int_equal(mica_tensor_from_view(&v, MICA_F32, weights), MICA_OK);
  }
  mica_net_free(net);
  return status;
}

static void test_training(void **state) {
  (void)state;
  mica_stream two[2], zipped;
  double alone[2], both, half, shared;
  make_rows(30, 1, true, 10, &two[0]);
  make_rows(16, 2, false, 4, &two[1]);
  mica_mixed_stream_options o = MICA_MIXED_STREAM_OPTIONS;
  o.mix = MICA_MIX_ZIPPED;
  assert_int_equal(mica_mixed_stream_create(two, 2, &o, &zipped), MICA_OK);
  stop_step = 1;
  assert_int_equal(train(&two[0], "ce", NULL, &alone[0], NULL), MICA_ERR_CANCELLED);
  assert_int_equal(train(&two[1], "mse", NULL, &alone[1], NULL), MICA_ERR_CANCELLED);
  if (train(&zipped, "ce | mse", NULL, &both, NULL) != MICA_ERR_CANCELLED)
    fail_msg("%s", mica_last_error());
  assert_int_equal(train(&zipped, "ce|0.5*mse", NULL, &half, NULL), MICA_ERR_CANCELLED);
  /* Dropout draws differ between a stream alone and as part: the sums agree about. */
  assert_true(fabs(both - alone[0] - alone[1]) < 0.3 * both);
  assert_true(both > half && half > 0.5 * both);
  /* One loss for all streams needs what it needs of each. */
  assert_int_equal(train(&zipped, "ce", NULL, &shared, NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "loss ce needs labels; stream 2 has"));
  assert_int_equal(train(&zipped, "ce|mse|mse", NULL, &shared, NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "3 losses for 2 streams"));
  mica_evaluation e;
  mica_net *net;
  assert_int_equal(mica_net_create(engine, "mlp:hidden=8", &rows, 3, &net), MICA_OK);
  assert_int_equal(mica_evaluate(net, &zipped, false, false, &e), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "the stream is zipped"));
  mica_net_free(net);
  mica_mixed_stream_free(&zipped);
  mica_memory_stream_free(&two[0]);
  mica_memory_stream_free(&two[1]);
}

/* Zipped twice over the same stream, a step's gradient is twice that of the stream: with the same
 * number of examples in each part, as SGD at half the rate. */
static void test_gradients_add_up(void **state) {
  (void)state;
  mica_stream two[2], zipped;
  mica_net *net[2];
  for (int i = 0; i < 2; i++) {
    make_rows(30, 1, true, 10, &two[i]);
    assert_int_equal(mica_net_create(engine, "mlp:hidden=8", &rows, 3, &net[i]), MICA_OK);
  }
  mica_mixed_stream_options o = MICA_MIXED_STREAM_OPTIONS;
  o.mix = MICA_MIX_ZIPPED;
  assert_int_equal(mica_mixed_stream_create(two, 2, &o, &zipped), MICA_OK);
  mica_train_options t = MICA_TRAIN_OPTIONS;
  t.epochs = 2;
  t.optimiser = "sgd:lr=0.2";
  assert_int_equal(mica_train(net[0], &two[0], NULL, &t, NULL), MICA_OK);
  t.optimiser = "sgd:lr=0.1";
  assert_int_equal(mica_train(net[1], &zipped, NULL, &t, NULL), MICA_OK);
  const mica_params *a = mica_net_params(net[0]), *b = mica_net_params(net[1]);
  for (int64_t i = 0; i < mica_params_count(a); i++) {
    const mica_tensor *x = mica_param_value(mica_params_at(a, i)),
                      *y = mica_param_value(mica_params_at(b, i));
    for (int64_t k = 0; k < mica_tensor_count(x); k++)
      assert_true(fabs(mica_tensor_get(x, k) - mica_tensor_get(y, k)) < 1e-5);
  }
  mica_mixed_stream_free(&zipped);
  for (int i = 0; i < 2; i++) {
    mica_memory_stream_free(&two[i]);
    mica_net_free(net[i]);
  }
}

static void test_resume(void **state) {
  (void)state;
  char dir[] = "/tmp/mica-test-mixed-XXXXXX", path[64];
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/last.safetensors", dir);
  for (int mix = MICA_MIX_TURNS; mix <= MICA_MIX_ZIPPED; mix++) {
    mica_stream two[2], mixed;
    make_rows(30, 1, true, 10, &two[0]);
    make_rows(16, 2, true, 4, &two[1]);
    mica_mixed_stream_options o = MICA_MIXED_STREAM_OPTIONS;
    o.mix = (mica_mix)mix;
    assert_int_equal(mica_mixed_stream_create(two, 2, &o, &mixed), MICA_OK);
    mica_tensor *whole, *rest;
    stop_step = 0;
    assert_int_equal(train(&mixed, "ce", NULL, NULL, &whole), MICA_OK);
    for (int64_t at = 1; at < 3 * mixed.batches; at += 2) {
      stop_step = at;
      assert_int_equal(train(&mixed, "ce", dir, NULL, NULL), MICA_ERR_CANCELLED);
      stop_step = 0;
      assert_int_equal(train(&mixed, "ce", dir, NULL, &rest), MICA_OK);
      assert_memory_equal(mica_tensor_data(whole), mica_tensor_data(rest),
                          (size_t)mica_tensor_count(whole) * sizeof(float));
      mica_tensor_free(rest);
      remove(path);
    }
    mica_tensor_free(whole);
    mica_mixed_stream_free(&mixed);
    mica_memory_stream_free(&two[0]);
    mica_memory_stream_free(&two[1]);
  }
  assert_int_equal(rmdir(dir), 0);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  make_streams();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_turns),    cmocka_unit_test(test_zipped),
      cmocka_unit_test(test_weights),  cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_training), cmocka_unit_test(test_gradients_add_up),
      cmocka_unit_test(test_resume),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  free_streams();
  mica_engine_free(engine);
  return failed;
}
