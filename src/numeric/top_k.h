/* The k largest of a stream of numbered scores.
 *
 * A bounded binary heap in the caller's memory: O(log k) for a score that enters, one comparison
 * for one that does not. Ties go to the lower index, so the answer does not depend on the order of
 * offering.
 */
#ifndef MICA_NUMERIC_TOP_K_H
#define MICA_NUMERIC_TOP_K_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mica_scored {
  double score;
  int64_t index;
} mica_scored;

typedef struct mica_top_k_heap {
  int64_t k, count;
  mica_scored *item; /* k of them, the worst first */
} mica_top_k_heap;

/* `storage` has room for k >= 0 items and stays the caller's. */
void mica_top_k_begin(mica_top_k_heap *top, mica_scored *storage, int64_t k);

/* True when a is a better answer than b: a larger score, or an equal one with a lower index. */
static inline bool mica_scored_better(mica_scored a, mica_scored b) {
  return a.score > b.score || (a.score == b.score && a.index < b.index);
}

/* Offer a score. NaN never enters. */
void mica_top_k_offer(mica_top_k_heap *top, double score, int64_t index);

/* Sort what was kept, best first, in place; returns how many (at most k). The heap is used up. */
int64_t mica_top_k_end(mica_top_k_heap *top);

#endif
