/* Texts by number in one block, found by open addressing. */
#include "data/tokenizer.h"

#include <string.h>

mica_status mica_pieces_add(mica_pieces *p, const char *text, size_t n) {
  if (p->n + 1 >= p->room) {
    const int64_t room = p->room ? p->room * 2 : 256;
    size_t *begin = mica_realloc_array(p->begin, (size_t)room, sizeof *begin);
    if (!begin) return MICA_ERR_MEMORY;
    if (!p->begin) begin[0] = 0;
    p->begin = begin;
    p->room = room;
  }
  if (p->bytes_room - p->bytes <= n) {
    const size_t room = (p->bytes + n + 1) * 2;
    char *block = mica_realloc_array(p->text, room, 1);
    if (!block) return MICA_ERR_MEMORY;
    p->text = block;
    p->bytes_room = room;
  }
  if (n) memcpy(p->text + p->bytes, text, n);
  p->text[p->bytes + n] = '\0';
  p->bytes += n + 1;
  p->begin[++p->n] = p->bytes;
  if (n > p->longest) p->longest = n;
  return MICA_OK;
}

/* The slot where the text is, or where it would go. The table is never full. */
static uint64_t slot_of(const mica_pieces *p, const char *text, size_t n) {
  uint64_t h = mica_hash64(text, n, 0);
  h ^= h >> 32; /* FNV mixes upwards: the low bits of short texts are the poor ones */
  uint64_t i = h & (p->slots - 1);
  while (p->slot[i] >= 0) {
    size_t m;
    const char *there = mica_pieces_text(p, p->slot[i], &m);
    if (m == n && memcmp(there, text, n) == 0) break;
    i = (i + 1) & (p->slots - 1);
  }
  return i;
}

mica_status mica_pieces_index(mica_pieces *p) {
  uint64_t slots = 16;
  while (slots < (uint64_t)p->n * 2) slots *= 2;
  int64_t *slot = mica_malloc(slots * sizeof *slot);
  if (!slot) return MICA_ERR_MEMORY;
  mica_free(p->slot);
  p->slot = slot;
  p->slots = slots;
  for (uint64_t i = 0; i < slots; i++) slot[i] = -1;
  for (int64_t k = 0; k < p->n; k++) {
    size_t n;
    const char *text = mica_pieces_text(p, k, &n);
    const uint64_t i = slot_of(p, text, n);
    if (slot[i] < 0) slot[i] = k;
  }
  return MICA_OK;
}

int64_t mica_pieces_find(const mica_pieces *p, const char *text, size_t n) {
  return p->slots && n <= p->longest ? p->slot[slot_of(p, text, n)] : -1;
}

void mica_pieces_free(mica_pieces *p) {
  mica_free(p->text);
  mica_free(p->begin);
  mica_free(p->slot);
  *p = (mica_pieces){0};
}
