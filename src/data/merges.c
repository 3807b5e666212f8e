/* Merging neighbours, the best pair first: a list of symbols and a heap of the pairs that can
 * merge, so a text of n symbols takes n log n. */
#include "data/tokenizer.h"

#include <string.h>

/* ---- which pairs merge ---- */

static uint64_t slot_of(const mica_merges *m, int32_t left, int32_t right) {
  uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
  h ^= h >> 32;
  uint64_t i = h & (m->slots - 1);
  while (m->slot[i] >= 0 && (m->pair[m->slot[i]][0] != left || m->pair[m->slot[i]][1] != right))
    i = (i + 1) & (m->slots - 1);
  return i;
}

mica_status mica_merges_add(mica_merges *m, int32_t left, int32_t right, int32_t whole) {
  if (m->n == m->room) {
    const int64_t room = m->room ? m->room * 2 : 256;
    int32_t(*pair)[3] = mica_realloc_array(m->pair, (size_t)room, sizeof *pair);
    if (!pair) return MICA_ERR_MEMORY;
    m->pair = pair;
    m->room = room;
  }
  int32_t *p = m->pair[m->n++];
  p[0] = left, p[1] = right, p[2] = whole;
  return MICA_OK;
}

mica_status mica_merges_index(mica_merges *m) {
  uint64_t slots = 16;
  while (slots < (uint64_t)m->n * 2) slots *= 2;
  int64_t *slot = mica_malloc(slots * sizeof *slot);
  if (!slot) return MICA_ERR_MEMORY;
  mica_free(m->slot);
  m->slot = slot;
  m->slots = slots;
  for (uint64_t i = 0; i < slots; i++) slot[i] = -1;
  for (int64_t k = 0; k < m->n; k++) {
    const uint64_t i = slot_of(m, m->pair[k][0], m->pair[k][1]);
    if (slot[i] < 0) slot[i] = k; /* the first of equal pairs has the better rank */
  }
  return MICA_OK;
}

void mica_merges_free(mica_merges *m) {
  mica_free(m->pair);
  mica_free(m->slot);
  *m = (mica_merges){0};
}

/* ---- candidates ---- */

typedef struct mica_candidate {
  double key; /* smaller is better */
  int64_t at; /* of the left symbol */
  int32_t left, right, whole;
} candidate;

static bool before(const candidate *a, const candidate *b) {
  return a->key < b->key || (a->key == b->key && a->at < b->at);
}

static mica_status put(mica_merger *g, candidate c) {
  if (g->candidates == g->heap_room) {
    const int64_t room = g->heap_room ? g->heap_room * 2 : 64;
    candidate *heap = mica_realloc_array(g->heap, (size_t)room, sizeof *heap);
    if (!heap) return MICA_ERR_MEMORY;
    g->heap = heap;
    g->heap_room = room;
  }
  int64_t i = g->candidates++;
  for (; i > 0 && before(&c, &g->heap[(i - 1) / 2]); i = (i - 1) / 2)
    g->heap[i] = g->heap[(i - 1) / 2];
  g->heap[i] = c;
  return MICA_OK;
}

static candidate take(mica_merger *g) {
  const candidate best = g->heap[0], last = g->heap[--g->candidates];
  int64_t i = 0;
  for (int64_t child = 1; child < g->candidates; child = 2 * i + 1) {
    if (child + 1 < g->candidates && before(&g->heap[child + 1], &g->heap[child])) child++;
    if (!before(&g->heap[child], &last)) break;
    g->heap[i] = g->heap[child];
    i = child;
  }
  g->heap[i] = last;
  return best;
}

/* ---- merging ---- */

mica_status mica_merger_push(mica_merger *g, int32_t symbol) {
  if (g->n == g->room) {
    const int64_t room = g->room ? g->room * 2 : 64;
    int32_t *symbols = mica_realloc_array(g->symbol, (size_t)room, sizeof *symbols);
    if (symbols) g->symbol = symbols;
    int64_t *next = mica_realloc_array(g->next, (size_t)room, sizeof *next);
    if (next) g->next = next;
    int64_t *previous = mica_realloc_array(g->previous, (size_t)room, sizeof *previous);
    if (previous) g->previous = previous;
    if (!symbols || !next || !previous) return MICA_ERR_MEMORY;
    g->room = room;
  }
  g->symbol[g->n++] = symbol;
  return MICA_OK;
}

/* Does the pair become a token, and how good is that? By score, the token is the one that is
 * spelt as both together. */
static bool merges_to(mica_merger *g, const mica_tokenizer *t, const mica_merges *merges,
                      candidate *c) {
  if (merges) {
    const int64_t rank = merges->slot[slot_of(merges, c->left, c->right)];
    if (rank < 0) return false;
    c->whole = merges->pair[rank][2];
    c->key = (double)rank;
    return true;
  }
  size_t a, b;
  const char *left = mica_pieces_text(&t->spelling, c->left, &a);
  const char *right = mica_pieces_text(&t->spelling, c->right, &b);
  if (a + b > t->spelling.longest) return false;
  memcpy(g->pair, left, a);
  memcpy(g->pair + a, right, b);
  const int64_t whole = mica_pieces_find(&t->spelling, g->pair, a + b);
  if (whole < 0 || mica_tokenizer_is_special(t, whole)) return false;
  c->whole = (int32_t)whole;
  c->key = -(double)t->score[whole];
  return true;
}

static mica_status consider(mica_merger *g, const mica_tokenizer *t, const mica_merges *merges,
                            int64_t at) {
  if (at < 0 || g->next[at] >= g->n) return MICA_OK;
  candidate c = {.at = at, .left = g->symbol[at], .right = g->symbol[g->next[at]]};
  return merges_to(g, t, merges, &c) ? put(g, c) : MICA_OK;
}

mica_status mica_merger_run(mica_merger *g, const mica_tokenizer *t, const mica_merges *merges,
                            mica_tokens *out) {
  if (!merges && !g->pair && !(g->pair = mica_malloc(t->spelling.longest))) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < g->n; i++) {
    g->next[i] = i + 1;
    g->previous[i] = i - 1;
  }
  g->candidates = 0;
  for (int64_t i = 0; i + 1 < g->n && status == MICA_OK; i++) status = consider(g, t, merges, i);
  while (g->candidates && status == MICA_OK) {
    const candidate c = take(g);
    const int64_t right = g->next[c.at];
    /* The pair may be gone since it was found: either part merged with its other neighbour. */
    if (g->symbol[c.at] != c.left || right >= g->n || g->symbol[right] != c.right) continue;
    g->symbol[c.at] = c.whole;
    g->symbol[right] = -1;
    g->next[c.at] = g->next[right];
    if (g->next[right] < g->n) g->previous[g->next[right]] = c.at;
    status = consider(g, t, merges, g->previous[c.at]);
    if (status == MICA_OK) status = consider(g, t, merges, c.at);
  }
  for (int64_t i = 0; i < g->n && status == MICA_OK; i = g->next[i])
    status = mica_tokens_push(out, g->symbol[i]);
  g->n = 0;
  return status;
}

void mica_merger_free(mica_merger *g) {
  mica_free(g->symbol);
  mica_free(g->next);
  mica_free(g->previous);
  mica_free(g->heap);
  mica_free(g->pair);
  *g = (mica_merger){0};
}
