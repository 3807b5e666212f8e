/* Texts by number and numbers by text: the values of a category, the names of classes or columns.
 * Numbers are given in order of arrival. */
#ifndef MICA_DATA_DICTIONARY_H
#define MICA_DATA_DICTIONARY_H

#include <mica/base.h>

typedef struct mica_dictionary {
  char **text; /* n of them, owned */
  int64_t n, room;
  int64_t *slot; /* open addressing, a power of two of slots; -1: free */
  uint64_t slots;
} mica_dictionary; /* begin with {0} */

/* The number of the text, -1 when it is not there. */
int64_t mica_dictionary_find(const mica_dictionary *d, const char *text);
/* The same, adding it when it is not there; -1 with MICA_ERR_MEMORY, and nothing is changed. */
int64_t mica_dictionary_add(mica_dictionary *d, const char *text);
void mica_dictionary_free(mica_dictionary *d);

#endif
