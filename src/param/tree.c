/* The tree of parameters: nodes, entries, ties, flags, copies. */
#include "param/tree.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

bool mica_tree_room(void **v, int64_t n, int64_t *cap, size_t size) {
  if (n < *cap) return true;
  int64_t more = *cap ? *cap * 2 : 8;
  void *grown = mica_realloc_array(*v, (size_t)more, size);
  if (!grown) return false;
  *v = grown;
  *cap = more;
  return true;
}

static bool room32(void **v, int32_t n, int32_t *cap, size_t size) {
  int64_t wide = *cap;
  bool ok = mica_tree_room(v, n, &wide, size);
  *cap = (int32_t)wide;
  return ok;
}

/* "above.name", or "name" at the root. */
static char *join(const char *above, const char *name, size_t length) {
  size_t n = strlen(above), dot = n ? 1 : 0;
  char *path = mica_malloc(n + dot + length + 1);
  if (!path) return NULL;
  memcpy(path, above, n);
  if (dot) path[n] = '.';
  memcpy(path + n + dot, name, length);
  path[n + dot + length] = 0;
  return path;
}

static const char *last_component(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot ? dot + 1 : path;
}

/* ---- nodes ---- */

static mica_node *node_new(mica_params *tree, char *path) {
  mica_node *node = path ? mica_calloc(1, sizeof *node) : NULL;
  if (!node) {
    mica_free(path);
    return NULL;
  }
  node->tree = tree;
  node->path = path;
  node->name = last_component(path);
  return node;
}

static void node_free(mica_node *node) {
  if (!node) return;
  for (int32_t i = 0; i < node->n_child; i++) node_free(node->child[i]);
  for (int32_t i = 0; i < node->n_entry; i++) mica_free(node->entry[i].name);
  if (node->attached_free) node->attached_free(node->attached);
  for (int32_t i = 0; i < node->n_adapter; i++) mica_adapting_end(&node->adapter[i]);
  mica_free(node->adapter);
  mica_free(node->child);
  mica_free(node->entry);
  mica_free(node->path);
  mica_free(node);
}

static mica_node *child_find(const mica_node *node, const char *name, size_t length) {
  for (int32_t i = 0; i < node->n_child; i++)
    if (strncmp(node->child[i]->name, name, length) == 0 && !node->child[i]->name[length])
      return node->child[i];
  return NULL;
}

static mica_node *walk(mica_node *node, const char *name, bool create) {
  while (node && *name) {
    size_t length = strcspn(name, ".");
    if (!length) {
      if (create) mica_fail(MICA_ERR_INVALID, "parameter path '%s' has an empty component", name);
      return NULL;
    }
    mica_node *next = child_find(node, name, length);
    if (!next && create) {
      if (!room32((void **)&node->child, node->n_child, &node->cap_child, sizeof *node->child))
        return NULL;
      next = node_new(node->tree, join(node->path, name, length));
      if (!next) return NULL;
      node->child[node->n_child++] = next;
    }
    node = next;
    name += length + (name[length] == '.');
  }
  return node;
}

mica_node *mica_node_child(mica_node *node, const char *name) {
  return walk(node, name, true);
}
mica_node *mica_node_find(mica_node *node, const char *name) {
  return walk(node, name, false);
}

mica_node *mica_node_childf(mica_node *node, const char *fmt, ...) {
  char name[256];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(name, sizeof name, fmt, args);
  va_end(args);
  if (n < 0 || (size_t)n >= sizeof name) {
    mica_fail(MICA_ERR_INVALID, "a parameter name of %d characters is too long", n);
    return NULL;
  }
  return mica_node_child(node, name);
}

const char *mica_node_index(char *buf, size_t n, const char *name, int64_t index) {
  snprintf(buf, n, "%s.%lld", name, (long long)index);
  return buf;
}

const char *mica_node_name(const mica_node *node) {
  return node->name;
}
const char *mica_node_path(const mica_node *node) {
  return node->path;
}
mica_params *mica_node_params(mica_node *node) {
  return node->tree;
}

/* ---- the tree ---- */

mica_status mica_params_create(mica_engine *engine, uint64_t seed, mica_params **out) {
  *out = NULL;
  mica_params *p = mica_calloc(1, sizeof *p);
  if (!p) return MICA_ERR_MEMORY;
  p->engine = engine;
  p->seed = seed;
  p->root = node_new(p, mica_strdup(""));
  if (!p->root || pthread_mutex_init(&p->lock, NULL) != 0) {
    node_free(p->root);
    mica_free(p);
    return MICA_ERR_MEMORY;
  }
  *out = p;
  return MICA_OK;
}

static void param_free(mica_param *q) {
  mica_derived_free(q);
  mica_tensor_free(q->value);
  mica_tensor_free(q->mask);
  mica_param_free_grad(q);
  mica_free(q->path);
  mica_free(q);
}

void mica_params_set_seed(mica_params *p, uint64_t seed) {
  p->seed = seed;
  mica_unset_release(p->unset);
  p->unset = NULL;
}

void mica_params_free(mica_params *p) {
  if (!p) return;
  node_free(p->root);
  for (int64_t i = 0; i < p->n; i++) param_free(p->param[i]);
  for (int64_t i = 0; i < p->n_tie; i++) mica_free(p->tie[i].path);
  mica_free_aligned(p->row_order.block);
  mica_free(p->param);
  mica_free(p->tie);
  mica_unset_release(p->unset);
  pthread_mutex_destroy(&p->lock);
  mica_free(p);
}

mica_engine *mica_params_engine(const mica_params *p) {
  return p->engine;
}
mica_node *mica_params_root(mica_params *p) {
  return p->root;
}

/* ---- entries ---- */

static tree_entry *entry_find(const mica_node *node, const char *name) {
  for (int32_t i = 0; i < node->n_entry; i++)
    if (strcmp(node->entry[i].name, name) == 0) return &node->entry[i];
  return NULL;
}

/* Put a name into a node's list. */
static mica_status entry_add(mica_node *node, const char *name, mica_param *q, bool tie) {
  if (!room32((void **)&node->entry, node->n_entry, &node->cap_entry, sizeof *node->entry))
    return MICA_ERR_MEMORY;
  char *copy = mica_strdup(name);
  if (!copy) return MICA_ERR_MEMORY;
  node->entry[node->n_entry++] = (tree_entry){copy, q, tie};
  return MICA_OK;
}

static mica_status name_check(const mica_node *node, const char *name) {
  if (!node)
    return mica_last_status() == MICA_OK ? mica_fail(MICA_ERR_INVALID, "the node is NULL")
                                         : mica_last_status();
  if (!*name || strchr(name, '.'))
    return mica_fail(MICA_ERR_INVALID, "parameter name '%s': expected a name without dots", name);
  if (entry_find(node, name))
    return mica_fail(MICA_ERR_INVALID, "parameter '%s%s%s' exists already", node->path,
                     *node->path ? "." : "", name);
  return MICA_OK;
}

void mica_params_set_limit(mica_params *params, int64_t elements) {
  params->limit = elements;
}

mica_status mica_param_add(mica_node *node, const char *name, mica_dtype dtype, mica_shape shape,
                           uint32_t flags, const mica_init *init, mica_param **out) {
  if (out) *out = NULL;
  mica_status status = name_check(node, name);
  if (status != MICA_OK) return status;
  if (!(flags & MICA_PARAM_BUFFER) && dtype != MICA_F32 && dtype != MICA_F64)
    return mica_fail(MICA_ERR_INVALID, "parameter '%s.%s' is %s, expected float32 or float64",
                     node->path, name, mica_dtype_name(dtype));
  mica_params *p = node->tree;
  const int64_t elements = mica_shape_count(&shape);
  if (p->limit && elements > p->limit - p->elements)
    return mica_fail(MICA_ERR_FORMAT,
                     "'%s.%s' would make more than the %lld elements that are allowed", node->path,
                     name, (long long)p->limit);
  if (!mica_tree_room((void **)&p->param, p->n, &p->cap, sizeof *p->param)) return MICA_ERR_MEMORY;
  mica_param *q = mica_calloc(1, sizeof *q);
  if (!q) return MICA_ERR_MEMORY;
  q->tree = p;
  q->flags = flags;
  q->init = init ? *init : MICA_INIT_ZEROS;
  q->path = join(node->path, name, strlen(name));
  if (!q->path)
    status = MICA_ERR_MEMORY;
  else if (p->seed == MICA_SEED_NONE)
    status = mica_unset_tensor(&p->unset, dtype, shape, &q->value);
  else
    status = mica_tensor_create(dtype, shape, &q->value);
  if (status == MICA_OK) {
    q->name = last_component(q->path);
    if (init && p->seed != MICA_SEED_NONE) {
      mica_large_pages(mica_tensor_data(q->value), (size_t)elements * mica_dtype_size(dtype));
      status = mica_init_fill(q, init);
    }
  }
  if (status == MICA_OK) status = entry_add(node, name, q, false);
  if (status != MICA_OK) {
    param_free(q);
    return status;
  }
  p->param[p->n++] = q;
  p->elements += elements;
  if (out) *out = q;
  return MICA_OK;
}

mica_status mica_param_tie(mica_node *node, const char *name, mica_param *other) {
  mica_status status = name_check(node, name);
  if (status != MICA_OK) return status;
  if (!other) return mica_fail(MICA_ERR_INVALID, "tie '%s': the other entry is NULL", name);
  mica_params *p = node->tree;
  if (!mica_tree_room((void **)&p->tie, p->n_tie, &p->cap_tie, sizeof *p->tie))
    return MICA_ERR_MEMORY;
  char *path = join(node->path, name, strlen(name));
  if (!path) return MICA_ERR_MEMORY;
  status = entry_add(node, name, other, true);
  if (status != MICA_OK) {
    mica_free(path);
    return status;
  }
  p->tie[p->n_tie++] = (tree_tie){path, other};
  return MICA_OK;
}

mica_status mica_param_remove(mica_node *node, const char *name) {
  tree_entry *e = entry_find(node, name);
  if (!e) return mica_fail(MICA_ERR_NOT_FOUND, "no parameter '%s' below '%s'", name, node->path);
  mica_params *p = node->tree;
  mica_param *q = e->param;
  bool tie = e->tie;
  for (int64_t i = 0; i < p->n_tie && !tie; i++)
    if (p->tie[i].param == q)
      return mica_fail(MICA_ERR_STATE, "parameter '%s' is tied to '%s'", q->path, p->tie[i].path);
  mica_free(e->name);
  *e = node->entry[--node->n_entry];
  if (tie) {
    char *path = join(node->path, name, strlen(name));
    if (!path) return MICA_ERR_MEMORY;
    for (int64_t i = 0; i < p->n_tie; i++)
      if (strcmp(p->tie[i].path, path) == 0) {
        mica_free(p->tie[i].path);
        memmove(&p->tie[i], &p->tie[i + 1], (size_t)(p->n_tie - i - 1) * sizeof *p->tie);
        p->n_tie--;
        break;
      }
    mica_free(path);
    return MICA_OK;
  }
  for (int64_t i = 0; i < p->n; i++)
    if (p->param[i] == q) {
      memmove(&p->param[i], &p->param[i + 1], (size_t)(p->n - i - 1) * sizeof(mica_param *));
      p->n--;
      break;
    }
  param_free(q);
  return MICA_OK;
}

mica_status mica_params_remove(mica_params *p, const char *selection, int64_t *count) {
  mica_status status = mica_selection_check(selection);
  int64_t n = 0;
  for (int64_t i = p->n; i-- > 0 && status == MICA_OK;) {
    const mica_param *q = p->param[i];
    if (!mica_param_selected(q, selection)) continue;
    char *name = mica_strdup(q->path);
    if (!name) return MICA_ERR_MEMORY;
    char *dot = strrchr(name, '.');
    mica_node *node = p->root;
    if (dot) {
      *dot = 0;
      node = mica_node_find(p->root, name);
    }
    status = mica_param_remove(node, dot ? dot + 1 : name);
    mica_free(name);
    n++;
  }
  if (count) *count = n;
  return status;
}

mica_param *mica_node_param(const mica_node *node, const char *name) {
  const tree_entry *e = node ? entry_find(node, name) : NULL;
  return e ? e->param : NULL;
}

mica_param *mica_params_find(const mica_params *p, const char *path) {
  const char *dot = strrchr(path, '.');
  if (!dot) return mica_node_param(p->root, path);
  mica_node *node = p->root;
  for (const char *from = path; node && from < dot;) {
    size_t length = strcspn(from, ".");
    node = child_find(node, from, length);
    from += length + 1;
  }
  return mica_node_param(node, dot + 1);
}

int64_t mica_params_count(const mica_params *p) {
  return p->n;
}
mica_param *mica_params_at(const mica_params *p, int64_t i) {
  return i >= 0 && i < p->n ? p->param[i] : NULL;
}
int64_t mica_params_ties(const mica_params *p) {
  return p->n_tie;
}
const char *mica_params_tie_at(const mica_params *p, int64_t i, mica_param **entry) {
  if (i < 0 || i >= p->n_tie) return NULL;
  if (entry) *entry = p->tie[i].param;
  return p->tie[i].path;
}

int64_t mica_params_elements(const mica_params *p, uint32_t flags) {
  int64_t n = 0;
  for (int64_t i = 0; i < p->n; i++)
    if ((p->param[i]->flags & flags) == flags) n += mica_tensor_count(p->param[i]->value);
  return n;
}

const char *mica_param_path(const mica_param *q) {
  return q->path;
}
uint32_t mica_param_flags(const mica_param *q) {
  return q->flags;
}
void mica_param_set_flags(mica_param *q, uint32_t set, uint32_t clear) {
  q->flags = (q->flags & ~clear) | set;
}
void mica_node_set_flags(mica_node *node, uint32_t set, uint32_t clear) {
  for (int32_t i = 0; i < node->n_entry; i++)
    mica_param_set_flags(node->entry[i].param, set, clear);
  for (int32_t i = 0; i < node->n_child; i++) mica_node_set_flags(node->child[i], set, clear);
}
mica_layout mica_param_layout(const mica_param *q) {
  return q->layout;
}
void mica_param_set_layout(mica_param *q, mica_layout layout) {
  q->layout = layout;
}
mica_tensor *mica_param_value(const mica_param *q) {
  return q->value;
}
uint64_t mica_param_version(const mica_param *q) {
  return q->version;
}
void *mica_param_write(mica_param *q) {
  q->version++;
  return mica_tensor_data(q->value);
}

mica_status mica_param_replace(mica_param *q, mica_tensor *value) {
  if (mica_tensor_dtype(value) != mica_tensor_dtype(q->value) ||
      !mica_shape_equal(mica_tensor_shape(value), mica_tensor_shape(q->value))) {
    char is[128], want[128];
    return mica_fail(MICA_ERR_SHAPE, "parameter '%s' is %s %s, not %s %s", q->path,
                     mica_dtype_name(mica_tensor_dtype(q->value)),
                     mica_shape_text(mica_tensor_shape(q->value), want, sizeof want),
                     mica_dtype_name(mica_tensor_dtype(value)),
                     mica_shape_text(mica_tensor_shape(value), is, sizeof is));
  }
  mica_tensor_retain(value);
  mica_tensor_free(q->value);
  q->value = value;
  q->version++;
  return MICA_OK;
}

mica_status mica_param_resize(mica_param *q, mica_shape shape, const mica_init *init) {
  mica_tensor *fresh, *old = q->value;
  mica_status status = mica_tensor_create(mica_tensor_dtype(old), shape, &fresh);
  if (status != MICA_OK) return status;
  q->value = fresh;
  if (init) status = mica_init_fill(q, init);
  if (status != MICA_OK) {
    q->value = old;
    mica_tensor_free(fresh);
    return status;
  }
  if (init) q->init = *init;
  mica_tensor_free(old);
  mica_param_free_grad(q);
  mica_param_set_mask(q, NULL);
  q->version++;
  return MICA_OK;
}

mica_status mica_param_initialise(mica_param *q, const mica_init *init) {
  /* Never written: zero, as it is to be, and better not touched before it is loaded. */
  const bool zero = q->tree->seed == MICA_SEED_NONE && q->version == 0;
  if (!zero) q->version++;
  const mica_status status = zero ? MICA_OK : mica_init_fill(q, init);
  if (status == MICA_OK) q->init = *init;
  return status;
}

mica_status mica_params_reinitialise(mica_params *p, const char *selection, uint64_t seed,
                                     int64_t *count) {
  const uint64_t own = p->seed;
  mica_status status = mica_selection_check(selection);
  int64_t n = 0;
  p->seed = seed;
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++) {
    mica_param *q = p->param[i];
    if (!mica_param_selected(q, selection)) continue;
    q->version++;
    status = mica_init_fill(q, &q->init);
    n++;
  }
  p->seed = own;
  if (count) *count = n;
  return status;
}

/* ---- copies ---- */

/* Split "a.b.c" at its last dot; the node is made when absent. */
static mica_node *owner_of(mica_params *p, const char *path) {
  const char *dot = strrchr(path, '.');
  if (!dot) return p->root;
  char *above = mica_strndup(path, (size_t)(dot - path));
  mica_node *node = above ? mica_node_child(p->root, above) : NULL;
  mica_free(above);
  return node;
}

mica_status mica_params_clone(const mica_params *from, mica_params **out) {
  mica_params *p;
  mica_status status = mica_params_create(from->engine, from->seed, &p);
  for (int64_t i = 0; i < from->n && status == MICA_OK; i++) {
    const mica_param *q = from->param[i];
    mica_param *copy = NULL;
    mica_node *node = owner_of(p, q->path);
    status = node ? mica_param_add(node, q->name, mica_tensor_dtype(q->value),
                                   *mica_tensor_shape(q->value), q->flags, NULL, &copy)
                  : MICA_ERR_MEMORY;
    if (status != MICA_OK) break;
    copy->layout = q->layout;
    copy->init = q->init;
    const mica_view to = mica_tensor_view(copy->value), have = mica_tensor_view(q->value);
    status = mica_view_copy(&to, &have);
    if (status == MICA_OK && q->mask) {
      const mica_view mask = mica_tensor_view(q->mask);
      status = mica_param_set_mask(copy, &mask);
    }
  }
  for (int64_t i = 0; i < from->n_tie && status == MICA_OK; i++) {
    mica_node *node = owner_of(p, from->tie[i].path);
    status = node ? mica_param_tie(node, last_component(from->tie[i].path),
                                   mica_params_find(p, from->tie[i].param->path))
                  : MICA_ERR_MEMORY;
  }
  if (status != MICA_OK) {
    mica_params_free(p);
    p = NULL;
  }
  *out = p;
  return status;
}

mica_status mica_params_copy(mica_params *to, const mica_params *from) {
  for (int64_t i = 0; i < to->n; i++) {
    mica_param *q = to->param[i];
    const mica_param *other = mica_params_find(from, q->path);
    if (!other)
      return mica_fail(MICA_ERR_NOT_FOUND, "copy: no parameter '%s' to copy from", q->path);
    if (!mica_shape_equal(mica_tensor_shape(q->value), mica_tensor_shape(other->value)))
      return mica_fail(MICA_ERR_SHAPE, "copy: parameter '%s' has another shape", q->path);
    const mica_view a = mica_tensor_view(q->value), b = mica_tensor_view(other->value);
    mica_status status = mica_view_copy(&a, &b);
    if (status != MICA_OK) return status;
    q->version++;
  }
  return MICA_OK;
}
