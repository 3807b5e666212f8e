/* Texts by number: open addressing over the texts in order of arrival. */
#include "data/dictionary.h"

#include <string.h>

/* Eight bytes at a time: a cell of a large table is looked up in a few nanoseconds. */
static uint64_t hash(const char *text) {
  size_t n = strlen(text);
  uint64_t h = n, part;
  for (; n > 0; text += sizeof part) {
    const size_t m = n < sizeof part ? n : sizeof part;
    part = 0;
    memcpy(&part, text, m);
    h = (h ^ part) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32; /* a product mixes upwards */
    n -= m;
  }
  h *= 0xd6e8feb86659fd93u;
  return h ^ h >> 32;
}

/* What a slot holds: the text's number, and above it a part of its hash, so that another text is
 * seldom looked at. */
enum { NUMBER_BITS = 40 };

static int64_t number_in(int64_t slot) {
  return slot & (((int64_t)1 << NUMBER_BITS) - 1);
}

/* The slot where the text is, or where it would go. The table is never full. */
static uint64_t slot_of(const mica_dictionary *d, const char *text, uint64_t h) {
  uint64_t i = h & (d->slots - 1);
  const int64_t tag = (int64_t)(h >> (NUMBER_BITS + 1));
  while (d->slot[i] >= 0 &&
         (d->slot[i] >> NUMBER_BITS != tag || strcmp(d->text[number_in(d->slot[i])], text) != 0))
    i = (i + 1) & (d->slots - 1);
  return i;
}

static int64_t find(const mica_dictionary *d, const char *text, uint64_t h) {
  const int64_t slot = d->slots ? d->slot[slot_of(d, text, h)] : -1;
  return slot < 0 ? -1 : number_in(slot);
}

static void put(mica_dictionary *d, int64_t number) {
  const uint64_t h = hash(d->text[number]);
  d->slot[slot_of(d, d->text[number], h)] =
      (int64_t)(h >> (NUMBER_BITS + 1)) << NUMBER_BITS | number;
}

int64_t mica_dictionary_find(const mica_dictionary *d, const char *text) {
  return find(d, text, hash(text));
}

static bool grow(mica_dictionary *d) {
  const int64_t room = d->room ? d->room * 2 : 16;
  char **text = mica_realloc_array(d->text, (size_t)room, sizeof *text);
  if (!text) return false;
  d->text = text;
  int64_t *slot = mica_malloc((size_t)room * 2 * sizeof *slot);
  if (!slot) return false;
  mica_free(d->slot);
  d->slot = slot;
  d->slots = (uint64_t)room * 2;
  d->room = room;
  for (uint64_t i = 0; i < d->slots; i++) slot[i] = -1;
  for (int64_t k = 0; k < d->n; k++) put(d, k);
  return true;
}

int64_t mica_dictionary_add(mica_dictionary *d, const char *text) {
  const int64_t there = mica_dictionary_find(d, text);
  if (there >= 0) return there;
  if (d->n == d->room && !grow(d)) return -1;
  char *copy = mica_strdup(text);
  if (!copy) return -1;
  d->text[d->n] = copy;
  put(d, d->n);
  return d->n++;
}

void mica_dictionary_free(mica_dictionary *d) {
  for (int64_t i = 0; i < d->n; i++) mica_free(d->text[i]);
  mica_free(d->text);
  mica_free(d->slot);
  *d = (mica_dictionary){0};
}
