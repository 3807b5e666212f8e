/* Weights in two factors: choosing ranks, replacing, and their product. */
#include "param/low_rank.h"
#include "param/basis.h"
#include "param/tree.h"

#include <mica/ops.h>

#include <math.h>
#include <string.h>

bool mica_node_low_rank(const mica_node *node) {
  return node->low_rank;
}

static mica_status look_for_one(void *ctx, mica_node *node) {
  *(bool *)ctx |= node->low_rank;
  return MICA_OK;
}

bool mica_params_factored(const mica_params *p) {
  bool any = false;
  (void)mica_node_each(p->root, look_for_one, &any);
  return any;
}

mica_var mica_low_rank_weight(mica_tape *t, mica_node *node) {
  mica_var first = mica_adapted_weight(t, mica_node_find(node, "0"), "weight");
  mica_var second = mica_adapted_weight(t, mica_node_find(node, "1"), "weight");
  if (!mica_ok(t)) return MICA_NONE;
  mica_shape shape = mica_read(t, first).shape;
  const int64_t rank = shape.dim[0], outputs = mica_dim(t, second, 0);
  const int64_t inputs = mica_shape_count(&shape) / rank;
  first = mica_reshape(t, first, MICA_SHAPE(rank, inputs));
  second = mica_reshape(t, second, MICA_SHAPE(outputs, rank));
  shape.dim[0] = outputs;
  return mica_reshape(t, mica_matmul(t, second, first), shape);
}

/* ---- the pair ---- */

mica_status mica_low_rank_split(mica_node *node, int64_t rank) {
  mica_param *weight = mica_node_param(node, "weight"), *bias = mica_node_param(node, "bias");
  if (!weight || node->low_rank || node->n_adapter)
    return mica_fail(MICA_ERR_STATE, "'%s' has no plain weight", node->path);
  mica_shape shape = *mica_tensor_shape(weight->value);
  const int64_t outputs = shape.dim[0], inputs = mica_shape_count(&shape) / (outputs ? outputs : 1);
  if (shape.rank < 2 || rank < 1 || rank > outputs || rank > inputs)
    return mica_fail(MICA_ERR_INVALID, "'%s': factors of rank %lld", weight->path, (long long)rank);
  const mica_dtype dtype = mica_tensor_dtype(weight->value);
  const mica_layout layout = weight->layout;
  const uint32_t flags = weight->flags;
  mica_node *first = mica_node_child(node, "0"), *second = mica_node_child(node, "1");
  mica_param *a, *b, *c;
  mica_shape last = shape;
  shape.dim[0] = rank;
  for (int i = 1; i < last.rank; i++) last.dim[i] = 1;
  last.dim[last.rank - 1] = rank;
  mica_status status = mica_param_add(first, "weight", dtype, shape, flags, NULL, &a);
  if (status != MICA_OK) return status;
  mica_param_set_layout(a, layout.kind == MICA_LAYOUT_TRANSPOSED ? (mica_layout){0} : layout);
  status = mica_param_add(second, "weight", dtype, last, flags, NULL, &b);
  if (status == MICA_OK && layout.kind == MICA_LAYOUT_CONV) mica_param_set_layout(b, layout);
  if (status == MICA_OK && bias)
    status = mica_param_add(second, "bias", dtype, MICA_SHAPE(outputs), bias->flags, NULL, &c);
  if (status == MICA_OK && bias)
    memcpy(mica_param_write(c), mica_tensor_data(bias->value),
           (size_t)outputs * mica_dtype_size(dtype));
  if (status == MICA_OK) status = mica_param_remove(node, "weight");
  if (status != MICA_OK) {
    (void)mica_param_remove(first, "weight");
    if (mica_node_param(second, "weight")) (void)mica_param_remove(second, "weight");
    if (mica_node_param(second, "bias")) (void)mica_param_remove(second, "bias");
    return status;
  }
  node->low_rank = true;
  return bias ? mica_param_remove(node, "bias") : MICA_OK;
}

/* ---- ranks ---- */

static int64_t rank_of(const mica_low_rank_options *o, const mica_basis *b) {
  if (o->rank) return o->rank;
  if (o->energy > 0) return mica_basis_rank(b, o->energy);
  const double ratio = o->keep > 0 ? 1 / o->keep : o->ratio;
  const int64_t r = (int64_t)floor((double)b->m * (double)b->n / (ratio * (double)(b->m + b->n)));
  return r < 1 ? 1 : r;
}

static mica_status check(const mica_low_rank_options *o) {
  const int given = (o->ratio > 0) + (o->keep > 0) + (o->energy > 0) + (o->rank > 0);
  if (given != 1 || o->ratio < 0 || o->keep < 0 || o->keep > 1 || o->energy < 0 || o->energy > 1 ||
      o->rank < 0 || (o->ratio > 0 && o->ratio < 1))
    return mica_fail(MICA_ERR_INVALID,
                     "low rank: one of ratio (1 or more), keep and energy (up to 1) and rank (1 or "
                     "more) is to be given");
  return MICA_OK;
}

/* ---- replacing ---- */

static void set(mica_param *q, int64_t i, double x) {
  mica_tensor_set(q->value, i, x);
}

/* diag(s^1/2) V^T and U diag(s^1/2) of the first `rank`; random ones keep the sizes that a layer
 * begins with: each is a Kaiming draw. */
static void fill(mica_node *node, const mica_basis *b, int64_t rank, bool random, mica_key key) {
  mica_param *first = mica_node_param(mica_node_find(node, "0"), "weight");
  mica_param *second = mica_node_param(mica_node_find(node, "1"), "weight");
  (void)mica_param_write(first);
  (void)mica_param_write(second);
  const double low = sqrt(2.0 / (double)b->n), high = sqrt(1.0 / (double)rank);
  for (int64_t k = 0; k < rank; k++) {
    const double root = sqrt(b->s[k]);
    for (int64_t j = 0; j < b->n; j++)
      set(first, k * b->n + j,
          random ? low * mica_random_normal(key, (uint64_t)(k * b->n + j))
                 : root * b->vt[k * b->n + j]);
    for (int64_t i = 0; i < b->m; i++)
      set(second, i * rank + k,
          random ? high * mica_random_normal(mica_key_fold(key, 1), (uint64_t)(i * rank + k))
                 : root * b->u[i * b->k + k]);
  }
}

/* How far the product of the factors is from the weight [m, n]. */
static void measure(mica_node *node, const mica_basis *b, int64_t rank, const double *w,
                    mica_low_rank_layer *l) {
  const mica_tensor *first = mica_node_param(mica_node_find(node, "0"), "weight")->value;
  const mica_tensor *second = mica_node_param(mica_node_find(node, "1"), "weight")->value;
  double square = 0, whole = 0;
  for (int64_t i = 0; i < b->m; i++)
    for (int64_t j = 0; j < b->n; j++) {
      double sum = -w[i * b->n + j];
      for (int64_t k = 0; k < rank; k++)
        sum += mica_tensor_get(second, i * rank + k) * mica_tensor_get(first, k * b->n + j);
      l->largest = fmax(l->largest, fabs(sum));
      square += sum * sum;
      whole += w[i * b->n + j] * w[i * b->n + j];
    }
  l->frobenius = whole > 0 ? sqrt(square / whole) : 0;
}

static mica_status replace(mica_node *node, const mica_low_rank_options *o,
                           mica_low_rank_layer *l) {
  mica_param *weight = mica_node_param(node, "weight");
  const int64_t m = l->outputs, n = l->inputs;
  mica_basis b = {0};
  double *w = mica_calloc((size_t)(m * n), sizeof *w);
  if (!w) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < m * n; i++) w[i] = mica_tensor_get(weight->value, i);
  const mica_view view = mica_view_of(w, MICA_F64, MICA_SHAPE(m, n));
  mica_status status = mica_basis_exact(node->tree->engine, &view, &b);
  if (status != MICA_OK) {
    mica_free(w);
    return mica_fail_within("'%s'", weight->path);
  }
  const int64_t rank = rank_of(o, &b);
  const mica_key key = mica_key_fold_name(mica_key_seed(node->tree->seed), weight->path);
  if (rank * (m + n) < m * n) {
    status = mica_low_rank_split(node, rank);
    if (status == MICA_OK) {
      l->rank = rank;
      fill(node, &b, rank, o->random, key);
      measure(node, &b, rank, w, l);
    }
  }
  mica_basis_free(&b);
  mica_free(w);
  return status;
}

static bool is_tied(const mica_param *q) {
  for (int64_t i = 0; i < q->tree->n_tie; i++)
    if (q->tree->tie[i].param == q) return true;
  return false;
}

static bool meant(const mica_node *node, const mica_low_rank_options *o) {
  const mica_param *w = mica_node_param(node, "weight"), *b = mica_node_param(node, "bias");
  if (!w || w->flags & MICA_PARAM_OUTPUT || is_tied(w) || (b && is_tied(b)) ||
      !(w->flags & (MICA_PARAM_LINEAR | MICA_PARAM_CONVOLUTION)) ||
      w->layout.kind == MICA_LAYOUT_CONV_TRANSPOSE)
    return false;
  const mica_shape *s = mica_tensor_shape(w->value);
  /* Of a line or a volume there is no second convolution to do. */
  if ((s->rank != 2 && s->rank != 4) || s->dim[0] < o->least_outputs || !mica_shape_count(s))
    return false;
  if (o->include && !mica_path_matches(o->include, node->path)) return false;
  return !(o->exclude && mica_path_matches(o->exclude, node->path));
}

typedef struct found {
  mica_node **node;
  int64_t n, cap;
  bool short_of_memory;
} found;

static void gather(mica_node *node, const mica_low_rank_options *o, found *f) {
  if (meant(node, o)) {
    if (!mica_tree_room((void **)&f->node, f->n, &f->cap, sizeof *f->node))
      f->short_of_memory = true;
    else
      f->node[f->n++] = node;
  }
  for (int32_t i = 0; i < node->n_child; i++) gather(node->child[i], o, f);
}

static mica_status describe(const mica_node *node, mica_low_rank_layer *l) {
  const mica_shape *s = mica_tensor_shape(mica_node_param(node, "weight")->value);
  *l = (mica_low_rank_layer){.name = mica_strdup(node->path), .outputs = s->dim[0]};
  l->inputs = mica_shape_count(s) / s->dim[0];
  return l->name ? MICA_OK : MICA_ERR_MEMORY;
}

static int64_t parameters(const mica_params *p) {
  return mica_params_elements(p, 0) - mica_params_elements(p, MICA_PARAM_BUFFER);
}

mica_status mica_low_rank(mica_params *p, const mica_low_rank_options *given,
                          mica_low_rank_report *report) {
  mica_low_rank_options o = MICA_LOW_RANK_OPTIONS;
  mica_low_rank_report r = {.before = parameters(p)};
  found f = {0};
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_status status = check(&o);
  if (status == MICA_OK) gather(p->root, &o, &f);
  if (f.short_of_memory) status = MICA_ERR_MEMORY;
  if (status == MICA_OK && !f.n)
    status = mica_fail(MICA_ERR_NOT_FOUND, "low rank: there is no layer to replace");
  if (status == MICA_OK && !(r.layer = mica_calloc((size_t)f.n, sizeof *r.layer)))
    status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < f.n && status == MICA_OK; i++) {
    status = describe(f.node[i], &r.layer[r.layers++]);
    if (status == MICA_OK) status = replace(f.node[i], &o, &r.layer[i]);
    r.replaced += r.layer[i].rank > 0;
  }
  r.after = parameters(p);
  mica_free(f.node);
  if (status == MICA_OK && report)
    *report = r;
  else
    mica_low_rank_report_clear(&r);
  if (status != MICA_OK && report) *report = (mica_low_rank_report){0};
  return status;
}

void mica_low_rank_report_clear(mica_low_rank_report *report) {
  for (int64_t i = 0; i < report->layers; i++) mica_free(report->layer[i].name);
  mica_free(report->layer);
  *report = (mica_low_rank_report){0};
}
