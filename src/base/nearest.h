/* The nearest of some names, for "did you mean". */
#ifndef MICA_BASE_NEAREST_H
#define MICA_BASE_NEAREST_H

/* Begin with {NULL, 0}; `name` is the best offer so far that is close enough to be meant. */
typedef struct mica_nearest {
  const char *name;
  int distance;
} mica_nearest;

void mica_nearest_offer(mica_nearest *best, const char *wanted, const char *candidate);

#endif
