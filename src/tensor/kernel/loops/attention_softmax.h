/* attention_softmax.h: softmax of a tile's scores and its gradient where nothing else is asked for
 * (block.simple), on explicit vectors: a column of queries keeps its maximum and its sum in
 * registers while it runs down the keys. Part of attention.c.
 *
 * Exponentials are powers of two: with x = s log2(e) - b one rounding to an integer splits x, and a
 * weight costs a third of what e^x by itself costs. Keys that a causal mask hides are left out by
 * whole vectors; what is left of them gets -inf.
 */
#ifndef MICA_TENSOR_KERNEL_LOOPS_ATTENTION_SOFTMAX_H
#define MICA_TENSOR_KERNEL_LOOPS_ATTENTION_SOFTMAX_H

#include "attention_weights.h"
#include "vector_exp.h"

/* Keys of the tile that some query of the vector at `column` sees. */
static int64_t seen_by(int64_t column, int64_t keys, int64_t diagonal) {
  const int64_t end = column + VECTOR_WIDTH + diagonal;
  return end < 0 ? 0 : smaller(keys, end);
}

/* -inf for the keys that only some queries of a vector see. */
static void hide_beyond(const block *k, int64_t keys, int64_t diagonal) {
  for (int64_t j = diagonal + 1 > 0 ? diagonal + 1 : 0; j < keys; j++) {
    const int64_t end = smaller(j - diagonal, k->width);
    fill(end % VECTOR_WIDTH, -INFINITY, k->s + j * QUERIES + end - end % VECTOR_WIDTH);
  }
}

/* Weights in place of scores, not yet divided by their sum; 0 where hidden. */
static void soften_simply(const block *k, int64_t keys, int64_t diagonal, row_state *r) {
  if (diagonal < keys - 1) hide_beyond(k, keys, diagonal);
  for (int64_t i = 0; i < k->width; i += VECTOR_WIDTH) {
    const int64_t seen = seen_by(i, keys, diagonal);
    real *s = k->s + i, base[VECTOR_BYTES / sizeof(real)];
    vector top = vector_load(r->top + i), sum = {0};
    for (int64_t j = 0; j < seen; j++) top = vector_max(vector_load(s + j * QUERIES), top);
    vector_store(base, top);
    SIMD for (int64_t l = 0; l < VECTOR_WIDTH; l++) base[l] =
        base[l] == -INFINITY ? 0 : base[l] * LOG2_E;
    const vector by = vector_load(base);
    for (int64_t j = 0; j < seen; j++) {
      const vector weight = power_of_two(vector_load(s + j * QUERIES) * LOG2_E - by);
      vector_store(s + j * QUERIES, weight);
      sum += weight;
    }
    for (int64_t j = seen; j < keys; j++) vector_store(s + j * QUERIES, (vector){0});
    const vector shrink = power_of_two(vector_load(r->top + i) * LOG2_E - by);
    vector_store(r->shrink + i, shrink);
    vector_store(r->sum + i, vector_load(r->sum + i) * shrink + sum);
    vector_store(r->top + i, top);
  }
}

/* With p the weights: ds_j = p_j (<dout, v_j> - <dout, out> + dlse), without the scale. */
static void soften_gradients(const block *k, int64_t keys, int64_t diagonal, const row_state *r,
                             const real *shift, real *gradients) {
  if (diagonal < keys - 1) hide_beyond(k, keys, diagonal);
  for (int64_t i = 0; i < k->width; i += VECTOR_WIDTH) {
    const int64_t seen = seen_by(i, keys, diagonal);
    real *s = k->s + i, *ds = gradients + i;
    const vector by = vector_load(r->lift + i) * LOG2_E, add = vector_load(shift + i);
    for (int64_t j = 0; j < seen; j++) {
      const vector p = power_of_two(vector_load(s + j * QUERIES) * LOG2_E - by);
      const vector d = p * (vector_load(ds + j * QUERIES) + add);
      vector_store(s + j * QUERIES, p);
      vector_store(ds + j * QUERIES, (vector)((vector_bits)d & (vector_bits)(p != 0)));
    }
    for (int64_t j = seen; j < keys; j++) {
      vector_store(s + j * QUERIES, (vector){0});
      vector_store(ds + j * QUERIES, (vector){0});
    }
  }
}

#endif
