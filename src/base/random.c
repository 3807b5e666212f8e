/* Random numbers without state: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random
 * numbers: as easy as 1, 2, 3").
 *
 * The two halves of a key's word are Philox's key; an element's index is the low half of the
 * counter. The upper half of the counter keeps uses apart: 0 for draws, a tag for the derivation of
 * keys and a trial number for the rejections of mica_random_below.
 */
#include "base/random.h"

#include <math.h>
#include <string.h>

void mica_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xd2511f53u * c0, p1 = (uint64_t)0xcd9e8d57u * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

enum { USE_DRAW = 0, USE_SEED = 1, USE_WORD = 2, USE_NAME = 3 };

typedef struct block {
  uint64_t a, b;
} block;

static block draw(mica_key key, uint64_t index, uint32_t use, uint32_t trial) {
  uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), use, trial};
  uint32_t halves[2] = {(uint32_t)key.word, (uint32_t)(key.word >> 32)}, out[4];
  mica_philox(counter, halves, out);
  return (block){(uint64_t)out[1] << 32 | out[0], (uint64_t)out[3] << 32 | out[2]};
}

mica_key mica_key_seed(uint64_t seed) {
  return (mica_key){draw((mica_key){0}, seed, USE_SEED, 0).a};
}

mica_key mica_key_fold(mica_key key, uint64_t word) {
  return (mica_key){draw(key, word, USE_WORD, 0).a};
}

mica_key mica_key_fold_name(mica_key key, const char *name) {
  return (mica_key){draw(key, mica_hash64(name, strlen(name), 0), USE_NAME, 0).a};
}

uint64_t mica_random_bits(mica_key key, uint64_t index) {
  return draw(key, index, USE_DRAW, 0).a;
}

static double uniform_of(uint64_t bits) {
  return (double)(bits >> 11) * 0x1p-53;
}

double mica_random_uniform(mica_key key, uint64_t index) {
  return uniform_of(mica_random_bits(key, index));
}

/* Box and Muller's cosine; 1 - u is in (0, 1], so the logarithm is finite. */
double mica_random_normal(mica_key key, uint64_t index) {
  block r = draw(key, index, USE_DRAW, 0);
  double radius = sqrt(-2.0 * log(1.0 - uniform_of(r.a)));
  return radius * cos(6.283185307179586476925286766559 * uniform_of(r.b));
}

void mica_random_uniform_fill(mica_key key, uint64_t begin, int64_t n, double *out) {
  for (int64_t i = 0; i < n; i++) out[i] = mica_random_uniform(key, begin + (uint64_t)i);
}

void mica_random_normal_fill(mica_key key, uint64_t begin, int64_t n, double *out) {
  for (int64_t i = 0; i < n; i++) out[i] = mica_random_normal(key, begin + (uint64_t)i);
}

/* The product of a 64-bit word and n, its halves apart. */
static void wide_product(uint64_t x, uint64_t n, uint64_t *high, uint64_t *low) {
  uint64_t x0 = (uint32_t)x, x1 = x >> 32, n0 = (uint32_t)n, n1 = n >> 32;
  uint64_t middle = x1 * n0 + (x0 * n0 >> 32), other = x0 * n1 + (uint32_t)middle;
  *low = x * n;
  *high = x1 * n1 + (middle >> 32) + (other >> 32);
}

/* The high half of word * n, drawn again while the low half is one of the 2^64 mod n values that
 * would make some results likelier (Lemire 2019). */
uint64_t mica_random_below(mica_key key, uint64_t index, uint64_t n) {
  if (n < 2) return 0;
  uint64_t uneven = (0u - n) % n, high, low;
  for (uint32_t trial = 0;; trial++) {
    wide_product(draw(key, index, USE_DRAW, trial).a, n, &high, &low);
    if (low >= uneven || trial == UINT32_MAX) return high;
  }
}

void mica_random_permutation(mica_key key, int64_t n, int64_t *order) {
  for (int64_t i = 0; i < n; i++) {
    int64_t j = (int64_t)mica_random_below(key, (uint64_t)i, (uint64_t)i + 1);
    if (j != i) order[i] = order[j];
    order[j] = i;
  }
}
