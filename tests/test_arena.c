/* The step's allocator: blocks that were given back serve again, and what a first step took too
 * much of is returned. */
#include "support/test.h"

#include "base/arena.h"

#include <string.h>

#define MIB ((size_t)1 << 20)

/* Sizes that are no class's smallest: the block in the middle is taken again, not more memory. */
static void a_block_serves_its_own_size_again(void **state) {
  (void)state;
  mica_arena *a = mica_arena_create(40 * MIB);
  assert_non_null(a);
  const size_t size = 3 * MIB + 777;
  void *one = mica_arena_alloc(a, size), *other = mica_arena_alloc(a, size + 64 * 100),
       *last = mica_arena_alloc(a, size);
  mica_arena_release(a, one);
  void *again = mica_arena_alloc(a, size);
  assert_ptr_equal(again, one);
  mica_arena_release(a, other);
  assert_ptr_equal(mica_arena_alloc(a, size + 64 * 50), other);
  memset(last, 1, size);
  mica_arena_free(a);
}

/* A step whose blocks do not fit into each other's places. */
static void step(mica_arena *a) {
  size_t size = MIB;
  void *before = NULL;
  for (int i = 0; i < 40; i++, size += size / 8) {
    void *block = mica_arena_alloc(a, size);
    assert_non_null(block);
    mica_arena_release(a, before);
    before = block;
  }
  mica_arena_release(a, before);
}

static void what_is_held_settles_near_the_peak(void **state) {
  (void)state;
  mica_arena *a = mica_arena_create(0);
  assert_non_null(a);
  step(a);
  const size_t first = mica_arena_held(a), peak = mica_arena_peak(a);
  assert_true(first > peak + peak / 4);
  mica_arena_reset(a);
  assert_true(mica_arena_held(a) <= peak + peak / 4);
  size_t held = 0;
  for (int i = 0; i < 4; i++) {
    step(a);
    assert_true(mica_arena_peak(a) == peak);
    mica_arena_reset(a);
    if (i > 1) assert_true(mica_arena_held(a) == held);
    held = mica_arena_held(a);
  }
  assert_true(held <= first);
  mica_arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_block_serves_its_own_size_again),
      cmocka_unit_test(what_is_held_settles_near_the_peak),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
