/* The bounded heap: its root is the worst kept score, the one to beat. */
#include "numeric/top_k.h"

void mica_top_k_begin(mica_top_k_heap *top, mica_scored *storage, int64_t k) {
  *top = (mica_top_k_heap){.k = k, .item = storage};
}

/* Put `item` into the hole at `at` of a heap of n, moving better-placed children up. */
static void sift_down(mica_scored *heap, int64_t n, int64_t at, mica_scored item) {
  for (;;) {
    int64_t child = 2 * at + 1;
    if (child >= n) break;
    if (child + 1 < n && mica_scored_better(heap[child], heap[child + 1])) child++;
    if (!mica_scored_better(item, heap[child])) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = item;
}

void mica_top_k_offer(mica_top_k_heap *top, double score, int64_t index) {
  mica_scored item = {score, index};
  if (score != score || top->k == 0) return;
  if (top->count == top->k) {
    if (mica_scored_better(item, top->item[0])) sift_down(top->item, top->k, 0, item);
    return;
  }
  int64_t at = top->count++;
  while (at > 0 && mica_scored_better(top->item[(at - 1) / 2], item)) {
    top->item[at] = top->item[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  top->item[at] = item;
}

int64_t mica_top_k_end(mica_top_k_heap *top) {
  for (int64_t n = top->count - 1; n > 0; n--) {
    mica_scored worst = top->item[0];
    sift_down(top->item, n, 0, top->item[n]);
    top->item[n] = worst;
  }
  return top->count;
}
