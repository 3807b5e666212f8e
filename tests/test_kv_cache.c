/* Caches of keys and values: the same as attention over everything while nothing is forgotten, and
 * the rule of LM-Infinite or StreamingLLM after that, whatever the steps' sizes. */
#include "support/failing_alloc.h"
#include "support/near.h"

#include <mica/kv_cache.h>

#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

enum { BATCH = 2, TOKENS = 23, HEADS = 4, KV = 2, DIM = 6, VALUE = 3 };

static mica_tape *tape_make(void) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  return t;
}

/* The same draws each time. */
static void inputs(mica_tape *t, mica_var out[3]) {
  mica_tape_set_step(t, 5, 0);
  out[0] = mica_random_normal_like(t, MICA_SHAPE(BATCH, TOKENS, HEADS, DIM), MICA_F64, 0, 1);
  out[1] = mica_random_normal_like(t, MICA_SHAPE(BATCH, TOKENS, KV, DIM), MICA_F64, 0, 1);
  out[2] = mica_random_normal_like(t, MICA_SHAPE(BATCH, TOKENS, KV, VALUE), MICA_F64, 0, 1);
}

static const mica_rotary_options turning = {
    sizeof(mica_rotary_options), MICA_ROTARY_PAIRS, 50, 4, 0, 0, 1, 2048, 32, 1, 0};

static double turned_dot(const double *q, const double *k, double distance) {
  double frequency[DIM / 2], sum = 0;
  mica_rotary_frequencies(&turning, DIM, frequency, NULL);
  for (int i = 0; i < 2; i++) { /* <R(a) q, R(b) k> depends on a - b alone */
    const double c = cos(distance * frequency[i]), s = sin(distance * frequency[i]);
    const double *a = q + 2 * i, *b = k + 2 * i;
    sum += c * (a[0] * b[0] + a[1] * b[1]) + s * (a[0] * b[1] - a[1] * b[0]);
  }
  for (int i = 4; i < DIM; i++) sum += q[i] * k[i];
  return sum;
}

/* The definition, one score after the other. */
static void reference(const mica_kv_cache_options *o, bool rotary, const double *q, const double *k,
                      const double *v, double *y) {
  const int64_t window = o->length - o->sinks;
  for (int64_t b = 0; b < BATCH; b++)
    for (int64_t i = 0; i < TOKENS; i++)
      for (int64_t h = 0; h < HEADS; h++) {
        const double *query = q + ((b * TOKENS + i) * HEADS + h) * DIM;
        double *out = y + ((b * TOKENS + i) * HEADS + h) * VALUE, total = 0;
        memset(out, 0, VALUE * sizeof *out);
        for (int64_t j = 0; j <= i; j++) {
          if (i - j >= window && j >= o->sinks) continue;
          const int64_t row = (b * TOKENS + j) * KV + h / (HEADS / KV);
          double distance = (double)(i - j);
          if (i - j >= window)
            distance =
                o->distance ? (double)o->distance : fmin(distance, (double)(o->length - 1 - j));
          const double *key = k + row * DIM;
          double score = 0;
          for (int c = 0; c < DIM; c++) score += query[c] * key[c];
          if (rotary) score = turned_dot(query, key, distance);
          const double weight = exp(score / sqrt(DIM));
          total += weight;
          for (int c = 0; c < VALUE; c++) out[c] += weight * v[row * VALUE + c];
        }
        for (int c = 0; c < VALUE; c++) out[c] /= total;
      }
}

/* All tokens through a cache in steps of the given sizes, the last one repeated. */
static void through(mica_kv_cache *cache, bool rotary, const int64_t *sizes, int n, double *y) {
  mica_tape *t = tape_make();
  mica_kv_cache_clear(cache);
  for (int64_t at = 0, k = 0; at < TOKENS; k++) {
    int64_t size = sizes[k < n ? k : n - 1];
    if (size > TOKENS - at) size = TOKENS - at;
    mica_tape_reset(t);
    mica_var x[3];
    inputs(t, x);
    for (int i = 0; i < 3; i++) x[i] = mica_slice(t, x[i], 1, at, at + size);
    mica_var out = mica_cached_attention(t, cache, x[0], x[1], x[2], rotary ? &turning : NULL, 0);
    const mica_view got = mica_read(t, out);
    assert_true(mica_ok(t));
    for (int64_t b = 0; b < BATCH; b++)
      memcpy(y + (b * TOKENS + at) * HEADS * VALUE,
             (const double *)got.data + b * size * HEADS * VALUE,
             (size_t)(size * HEADS * VALUE) * sizeof *y);
    assert_int_equal(mica_kv_cache_advance(cache, t), MICA_OK);
    at += size;
    assert_int_equal(mica_kv_cache_seen(cache), at);
  }
  mica_tape_free(t);
}

enum { RESULTS = BATCH * TOKENS * HEADS * VALUE };

static void compare(mica_kv_cache_options o, bool rotary) {
  static const int64_t whole[] = {TOKENS}, single[] = {1}, mixed[] = {7, 1, 1, 4};
  static double want[RESULTS], got[RESULTS];
  mica_tape *t = tape_make();
  mica_var x[3];
  inputs(t, x);
  reference(&o, rotary, mica_read(t, x[0]).data, mica_read(t, x[1]).data, mica_read(t, x[2]).data,
            want);
  mica_tape_free(t);
  mica_kv_cache *cache;
  assert_int_equal(mica_kv_cache_create(engine, &o, &cache), MICA_OK);
  through(cache, rotary, whole, 1, got);
  assert_all_near(got, want, RESULTS, 1e-12);
  through(cache, rotary, single, 1, got);
  assert_all_near(got, want, RESULTS, 1e-12);
  through(cache, rotary, mixed, 4, got);
  assert_all_near(got, want, RESULTS, 1e-12);
  assert_int_equal(mica_kv_cache_kept(cache), o.length < TOKENS ? o.length : TOKENS);
  mica_kv_cache_free(cache);
}

static mica_kv_cache_options keep(int64_t length, int64_t sinks, int64_t distance) {
  mica_kv_cache_options o = MICA_KV_CACHE_OPTIONS;
  o.length = length;
  o.sinks = sinks;
  o.distance = distance;
  return o;
}

static void test_policies(void **state) {
  (void)state;
  for (int rotary = 0; rotary < 2; rotary++) {
    compare(keep(TOKENS, 0, 0), rotary);
    compare(keep(100, 4, 0), rotary);
    compare(keep(8, 0, 0), rotary);
    compare(keep(1, 0, 0), rotary);
    compare(keep(9, 2, 0), rotary);
    compare(keep(11, 3, 8), rotary);
    compare(keep(7, 2, 7), rotary); /* the distance differs from the window */
    compare(keep(21, 3, 0), rotary);
  }
}

/* Far beyond what float32 positions could tell apart, the phases stay. */
static void test_far_positions(void **state) {
  (void)state;
  mica_kv_cache *cache;
  const mica_kv_cache_options o = keep(4, 1, 0);
  assert_int_equal(mica_kv_cache_create(engine, &o, &cache), MICA_OK);
  mica_tape *t = tape_make();
  double first[2] = {0, 0};
  for (int64_t step = 0; step < 5000; step++) { /* the same token again and again */
    mica_tape_reset(t);
    mica_var x = mica_full(t, MICA_F32, MICA_SHAPE(1, 1, 1, 4), 0.5);
    mica_var v = mica_full(t, MICA_F32, MICA_SHAPE(1, 1, 1, 1), step < 1 ? 1 : 0);
    mica_var y = mica_cached_attention(t, cache, x, x, v, &turning, 2);
    first[step & 1] = mica_item(t, y);
    assert_int_equal(mica_kv_cache_advance(cache, t), MICA_OK);
    if (step > 10) assert_near(first[0], first[1], 2e-6);
  }
  assert_true(first[0] > 0.05 && first[0] < 0.9);
  mica_tape_free(t);
  mica_kv_cache_free(cache);
}

static void test_refuses(void **state) {
  (void)state;
  mica_kv_cache *cache;
  mica_kv_cache_options o = keep(0, 0, 0);
  assert_int_equal(mica_kv_cache_create(engine, &o, &cache), MICA_ERR_INVALID);
  assert_null(cache);
  o = keep(4, 4, 0);
  assert_int_equal(mica_kv_cache_create(engine, &o, &cache), MICA_ERR_INVALID);
  o = keep(4, 1, -1);
  assert_int_equal(mica_kv_cache_create(engine, &o, &cache), MICA_ERR_INVALID);
  o = keep(4, 1, 0);
  assert_int_equal(mica_kv_cache_create(engine, &o, &cache), MICA_OK);
  mica_tape *t = tape_make();
  mica_var q = mica_full(t, MICA_F32, MICA_SHAPE(1, 2, 2, 4), 1),
           k = mica_full(t, MICA_F32, MICA_SHAPE(1, 2, 1, 4), 1);
  mica_cached_attention(t, cache, q, k, k, NULL, 0);
  /* Two layers of one step must be given the same tokens. */
  mica_scope_begin(t, "other");
  mica_var one = mica_full(t, MICA_F32, MICA_SHAPE(1, 1, 1, 4), 1);
  mica_scope_end(t, mica_cached_attention(t, cache, one, one, one, NULL, 0));
  assert_true(mica_ok(t));
  assert_int_equal(mica_kv_cache_advance(cache, t), MICA_ERR_STATE);
  assert_int_equal(mica_kv_cache_seen(cache), 0);
  /* Another batch in the middle of a text; a layer that was not there before. */
  mica_tape_reset(t);
  q = mica_full(t, MICA_F32, MICA_SHAPE(1, 2, 2, 4), 1);
  k = mica_full(t, MICA_F32, MICA_SHAPE(1, 2, 1, 4), 1);
  mica_cached_attention(t, cache, q, k, k, NULL, 0);
  assert_int_equal(mica_kv_cache_advance(cache, t), MICA_OK);
  mica_cached_attention(t, cache, mica_full(t, MICA_F32, MICA_SHAPE(2, 2, 2, 4), 1),
                        mica_full(t, MICA_F32, MICA_SHAPE(2, 2, 1, 4), 1),
                        mica_full(t, MICA_F32, MICA_SHAPE(2, 2, 1, 4), 1), NULL, 0);
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  assert_int_equal(mica_kv_cache_advance(cache, t), MICA_ERR_SHAPE);
  assert_int_equal(mica_kv_cache_seen(cache), 0);
  mica_tape_reset(t);
  q = mica_full(t, MICA_F32, MICA_SHAPE(1, 2, 3, 4), 1);
  k = mica_full(t, MICA_F32, MICA_SHAPE(1, 2, 2, 4), 1);
  assert_true(mica_is_none(mica_cached_attention(t, cache, q, k, k, NULL, 0)));
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  /* No gradient through it. */
  mica_tape_reset(t);
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(1, 2, 1, 4), &x), MICA_OK);
  mica_var leaf = mica_leaf(t, x);
  mica_cached_attention(t, cache, leaf, leaf, leaf, NULL, 0);
  assert_int_equal(mica_tape_status(t), MICA_ERR_UNSUPPORTED);
  mica_tensor_free(x);
  mica_tape_free(t);
  mica_kv_cache_free(cache);
}

static mica_status whole_text(void *ctx) {
  (void)ctx;
  mica_engine *own = NULL;
  mica_kv_cache *cache = NULL;
  mica_tape *t = NULL;
  const mica_kv_cache_options o = keep(5, 2, 0);
  mica_status status = mica_engine_create(NULL, &own);
  if (status == MICA_OK) status = mica_kv_cache_create(own, &o, &cache);
  if (status == MICA_OK) status = mica_tape_create(own, NULL, &t);
  for (int i = 0; i < 4 && status == MICA_OK; i++) {
    mica_tape_reset(t);
    mica_var x = mica_full(t, MICA_F32, MICA_SHAPE(1, 2, 1, 4), 1);
    mica_cached_attention(t, cache, x, x, x, &turning, 0);
    status = mica_kv_cache_advance(cache, t);
  }
  mica_tape_free(t);
  mica_kv_cache_free(cache);
  mica_engine_free(own);
  return status;
}

static void test_short_of_memory(void **state) {
  (void)state;
  fail_each(whole_text, NULL);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_policies), cmocka_unit_test(test_far_positions),
      cmocka_unit_test(test_refuses), cmocka_unit_test(test_short_of_memory)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
