/* What is made of parameters for speed alone, such as packed weights: kept beside one of them,
 * shared by the threads that read the tree, and made anew when a value that went into it has been
 * written since.
 */
#ifndef MICA_PARAM_DERIVED_H
#define MICA_PARAM_DERIVED_H

#include <mica/param.h>

typedef struct mica_derived mica_derived;

/* What was made: released with `destroy` when nobody holds it any more. */
struct mica_derived {
  mica_derived *next;
  void *object;
  void (*destroy)(void *object);
  uint64_t key;     /* of values' versions and what else it depends on */
  uint64_t version; /* of the parameter that it is kept beside */
  int holders;
};

enum { MICA_DERIVED_MAX = 4 }; /* kept beside one parameter */

/* The object kept beside q, for as long as q's value stays, under a key (a hash of all that it was
 * made of), made by `make` when there is none; other threads wait for it. *out is NULL where `make`
 * left NULL. Give it back with mica_derived_release. */
mica_status mica_derived_hold(mica_param *q, uint64_t key,
                              mica_status (*make)(void *ctx, void **object), void *ctx,
                              void (*destroy)(void *object), mica_derived **out);
void mica_derived_release(mica_param *q, mica_derived *held);
/* All of q's, which nobody holds. */
void mica_derived_free(mica_param *q);

#endif
