/* The generator itself, for code that draws in bulk and for its known-answer test. */
#ifndef MICA_BASE_RANDOM_H
#define MICA_BASE_RANDOM_H

#include <mica/base.h>

/* Philox 4x32 with 10 rounds: counter and key to four 32-bit words. */
void mica_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* n consecutive elements begin, begin + 1, ... of the key's stream. */
void mica_random_uniform_fill(mica_key key, uint64_t begin, int64_t n, double *out);
void mica_random_normal_fill(mica_key key, uint64_t begin, int64_t n, double *out);

#endif
