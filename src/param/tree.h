/* What a tree of parameters is made of; shared by the files of this room only. */
#ifndef MICA_PARAM_TREE_H
#define MICA_PARAM_TREE_H

#include "param/derived.h"
#include "param/unset.h"

#include <pthread.h>

struct mica_param {
  mica_params *tree;
  char *path;
  const char *name; /* last component of path */
  mica_tensor *value;
  uint32_t flags;
  uint64_t version;
  mica_layout layout;
  mica_init init;    /* of the value as it was made */
  mica_tensor *mask; /* of the elements that are trained; NULL: all */
  int64_t unmasked;  /* elements in it */

  mica_grad_kind grad_kind;
  bool grad_invalid;
  void *dense; /* kept from step to step */
  int64_t *ids;
  void *rows;
  int64_t n_rows, cap_rows;
  bool coalesced;
  void *spare_rows; /* a second place for them, kept too */
  int64_t cap_spare;

  mica_derived *derived; /* under the tree's lock: see derived.h */
};

typedef struct tree_entry {
  char *name;
  mica_param *param;
  bool tie; /* another entry owns it */
} tree_entry;

struct mica_node {
  mica_params *tree;
  char *path;
  const char *name;
  mica_node **child;
  int32_t n_child, cap_child;
  tree_entry *entry;
  int32_t n_entry, cap_entry;
  /* What a layer keeps beside its entries, and what frees it; the function tells whose it is. */
  void *attached;
  void (*attached_free)(void *attached);
  struct mica_adapting *adapter;
  int32_t n_adapter;
  int64_t cap_adapter;
  bool low_rank;     /* its weight is the product of those of its children 1 and 0 */
  mica_node *folded; /* the convolution whose weights do the work of this norm; NULL: none */
};

/* An adapter of a node. */
typedef struct mica_adapting {
  char *name;
  mica_spec *spec;
  mica_node *own;
  bool off, merged;
} mica_adapting;

/* Attach to this node alone; what a file says of it comes with `spec` complete. */
mica_status mica_node_adapt(mica_node *node, const char *name, const char *spec);
void mica_adapting_end(mica_adapting *a);

typedef struct tree_tie {
  char *path;
  mica_param *param;
} tree_tie;

/* The order of the row gradient that was sorted last: gradient_rows.c. */
typedef struct mica_row_order {
  void *block;
  int64_t room, n;
  bool second; /* half of the block */
} mica_row_order;

struct mica_params {
  mica_engine *engine;
  pthread_mutex_t lock; /* of derived values */
  uint64_t seed;
  int64_t elements, limit; /* of all entries together; limit 0: none */
  mica_node *root;
  mica_param **param; /* in order of creation, owned */
  int64_t n, cap;
  tree_tie *tie;
  int64_t n_tie, cap_tie;
  mica_row_order row_order;
  mica_unset *unset; /* of values to be loaded */
};

/* Room for one more element of *v; false: out of memory. */
bool mica_tree_room(void **v, int64_t n, int64_t *cap, size_t size);
/* Fill the value from `init`, drawing from the tree's seed and the entry's path. */
mica_status mica_init_fill(mica_param *q, const mica_init *init);
void mica_param_free_grad(mica_param *q);
/* Put zeros into the gradient where the mask holds elements back. */
void mica_param_mask_grad(mica_param *q);
/* The gradient made dense, zeros where there was none; NULL when memory is short. */
void *mica_param_dense(mica_param *q);
/* Sorts the rows of a row gradient by id and adds up those of one id, in the order in which they
 * came. */
mica_status mica_param_coalesce(mica_param *q);
/* Rows put into the row form, where no dense gradient is. */
mica_status mica_param_put_rows(mica_param *q, const int64_t *ids, const void *values, int64_t n);
/* Rows (ids, values [n, row]) added to the gradient, of either form. */
mica_status mica_param_add_rows(mica_param *q, const int64_t *ids, const void *values, int64_t n);

#endif
