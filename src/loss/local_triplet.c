/* The triplet loss of matched local descriptors, in tuples of a query, a positive and negatives. */
#include <mica/loss.h>

#include "tensor/element.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- matching ---- */

static double squared(const mica_view *a, int64_t i, const mica_view *b, int64_t j) {
  const int64_t d = a->shape.dim[a->shape.rank - 1];
  double sum = 0;
  for (int64_t k = 0; k < d; k++) {
    const double x = mica_view_element(a, i * d + k) - mica_view_element(b, j * d + k);
    sum += x * x;
  }
  return sum;
}

/* The nearest of b's rows to row i of a; the second least squared distance into *second. */
static int64_t nearest(const mica_view *a, int64_t i, const mica_view *b, double *best,
                       double *second) {
  int64_t at = -1;
  *best = *second = INFINITY;
  for (int64_t j = 0; j < b->shape.dim[0]; j++) {
    const double d = squared(a, i, b, j);
    if (d < *best) {
      *second = *best;
      *best = d;
      at = j;
    } else if (d < *second) {
      *second = d;
    }
  }
  return at;
}

int64_t mica_mutual_matches(const mica_view *q, const mica_view *p, double ratio, const bool *keep,
                            int64_t *q_row, int64_t *p_row) {
  int64_t n = 0;
  for (int64_t j = 0; j < p->shape.dim[0]; j++) {
    double best, second, unused;
    if (keep && !keep[j]) continue;
    const int64_t i = nearest(p, j, q, &best, &second);
    if (i < 0 || nearest(q, i, p, &unused, &unused) != j) continue;
    if (ratio > 0 && !(sqrt(best) <= ratio * sqrt(second))) continue;
    q_row[n] = i;
    p_row[n++] = j;
  }
  return n;
}

/* ---- the loss ---- */

typedef struct place {
  double value;
  int64_t at;
} place;

static int descending(const void *a, const void *b) {
  const place *x = a, *y = b;
  if (x->value != y->value) return x->value > y->value ? -1 : 1;
  return x->at < y->at ? -1 : 1;
}

/* Which places of example i are in the half with most attention. */
static void most_attended(const mica_view *attention, int64_t i, place *order, bool *keep) {
  const int64_t k = attention->shape.dim[1];
  for (int64_t j = 0; j < k; j++) {
    order[j] = (place){mica_view_element(attention, i * k + j), j};
    keep[j] = false;
  }
  qsort(order, (size_t)k, sizeof *order, descending);
  for (int64_t j = 0; j < k / 2; j++) keep[order[j].at] = true;
}

/* Rows of all examples laid end to end. */
typedef struct triplets {
  int64_t *u, *v, *x, n, room;
  int64_t *q_row, *p_row; /* [K] */
  place *order;
  bool *keep;
} triplets;

static mica_status add(triplets *f, int64_t u, int64_t v, int64_t x) {
  if (f->n == f->room) {
    const int64_t room = f->room ? 2 * f->room : 256;
    int64_t **all[] = {&f->u, &f->v, &f->x};
    for (int i = 0; i < 3; i++) {
      int64_t *more = mica_realloc_array(*all[i], (size_t)room, sizeof *more);
      if (!more) return MICA_ERR_MEMORY;
      *all[i] = more;
    }
    f->room = room;
  }
  f->u[f->n] = u;
  f->v[f->n] = v;
  f->x[f->n++] = x;
  return MICA_OK;
}

static mica_view example(const mica_view *local, int64_t i) {
  const int64_t k = local->shape.dim[1], d = local->shape.dim[2];
  char *data = local->data;
  return mica_view_of(data + (size_t)(i * k * d) * mica_dtype_size(local->dtype), local->dtype,
                      MICA_SHAPE(k, d));
}

static mica_status of_tuple(triplets *f, const mica_local_triplet_options *o,
                            const mica_view *local, const mica_view *attention, int64_t first) {
  const int64_t k = local->shape.dim[1];
  const mica_view query = example(local, first), positive = example(local, first + 1);
  if (o->attention) most_attended(attention, first + 1, f->order, f->keep);
  const int64_t n = mica_mutual_matches(&query, &positive, o->ratio, o->attention ? f->keep : NULL,
                                        f->q_row, f->p_row);
  mica_status status = MICA_OK;
  for (int64_t m = 0; m < n; m++)
    for (int64_t i = first + 2; i < first + o->tuple && status == MICA_OK; i++) {
      const mica_view negative = example(local, i);
      double unused[2];
      const int64_t x = nearest(&query, f->q_row[m], &negative, &unused[0], &unused[1]);
      if (x >= 0)
        status = add(f, first * k + f->q_row[m], (first + 1) * k + f->p_row[m], i * k + x);
    }
  return status;
}

static mica_var rows(mica_tape *t, mica_var flat, const int64_t *ids, int64_t n) {
  const mica_view v = mica_view_of((void *)(uintptr_t)ids, MICA_I64, MICA_SHAPE(n));
  return mica_gather_rows(t, flat, mica_constant(t, &v));
}

static mica_var distance(mica_tape *t, mica_var a, mica_var b) {
  static const int last[] = {1};
  return mica_sum(t, mica_square(t, mica_sub(t, a, b)), 1, last, false);
}

static mica_var loss_of(mica_tape *t, mica_var local, const triplets *f, double margin) {
  const mica_var flat = mica_reshape(t, local, MICA_SHAPE(-1, mica_dim(t, local, 2)));
  /* Without a match the loss is 0 and still hangs on the descriptors. */
  if (!f->n) return mica_affine(t, mica_sum(t, flat, 0, NULL, false), 0, 0);
  const mica_var u = rows(t, flat, f->u, f->n);
  const mica_var near = distance(t, u, rows(t, flat, f->v, f->n));
  const mica_var far = distance(t, u, rows(t, flat, f->x, f->n));
  const mica_var lack = mica_relu(t, mica_affine(t, mica_sub(t, near, far), 1, margin));
  return mica_sum(t, lack, 0, NULL, false);
}

mica_var mica_local_triplet(mica_tape *t, mica_var local, mica_var attention,
                            const mica_local_triplet_options *given) {
  mica_local_triplet_options o = MICA_LOCAL_TRIPLET_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_scope_begin(t, NULL);
  local = mica_l2_normalise(t, local, 1e-12);
  const mica_view x = mica_read(t, local), a = mica_read(t, attention);
  if (mica_ok(t) && (x.shape.rank != 3 || a.shape.rank != 2 || !mica_view_contiguous(&x) ||
                     !mica_view_contiguous(&a) || a.shape.dim[0] != x.shape.dim[0] ||
                     a.shape.dim[1] != x.shape.dim[1])) {
    char p[96], q[96];
    mica_latch(t, MICA_ERR_SHAPE,
               "local_triplet: expected descriptors [N,K,D] and attention [N,K]: %s %s",
               mica_shape_text(&x.shape, p, sizeof p), mica_shape_text(&a.shape, q, sizeof q));
  }
  if (mica_ok(t) && (o.tuple < 3 || !(o.margin >= 0) || !(o.ratio >= 0)))
    mica_latch(t, MICA_ERR_INVALID,
               "local_triplet: tuples of %lld, margin %g, ratio %g, expected 3 or more, and 0 or "
               "more",
               (long long)o.tuple, o.margin, o.ratio);
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  const size_t k = (size_t)x.shape.dim[1] + 1;
  triplets f = {.q_row = mica_calloc(k, sizeof *f.q_row),
                .p_row = mica_calloc(k, sizeof *f.p_row),
                .order = mica_calloc(k, sizeof *f.order),
                .keep = mica_calloc(k, sizeof *f.keep)};
  mica_status status = f.q_row && f.p_row && f.order && f.keep ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i + o.tuple <= x.shape.dim[0] && status == MICA_OK; i += o.tuple)
    status = of_tuple(&f, &o, &x, &a, i);
  if (status != MICA_OK) mica_latch(t, status, "local_triplet: out of memory");
  const mica_var y = status == MICA_OK ? loss_of(t, local, &f, o.margin) : MICA_NONE;
  mica_free(f.u);
  mica_free(f.v);
  mica_free(f.x);
  mica_free(f.q_row);
  mica_free(f.p_row);
  mica_free(f.order);
  mica_free(f.keep);
  return mica_scope_end(t, y);
}

/* ---- of a network's last map ---- */

static mica_var forward(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  (void)node;
  static const int last[] = {2};
  mica_scope_begin(t, NULL);
  const mica_view v = mica_read(t, in->map);
  if (mica_ok(t) && v.shape.rank != 4)
    mica_latch(t, MICA_ERR_SHAPE, "loss local_triplet reads a map [N,H,W,C]");
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  const int64_t n = v.shape.dim[0], places = v.shape.dim[1] * v.shape.dim[2];
  const mica_var map = mica_reshape(t, in->map, MICA_SHAPE(n, places, v.shape.dim[3]));
  const mica_var attention = mica_sum(t, mica_abs(t, mica_detach(t, map)), 1, last, false);
  return mica_scope_end(t, mica_local_triplet(t, map, attention, options));
}

static const mica_option table[] = {
    {"tuple", MICA_OPTION_INT, "8", 3, 1 << 20, NULL,
     "examples of a tuple: query, positive, negatives; batches are tuples",
     offsetof(mica_local_triplet_options, tuple)},
    {"margin", MICA_OPTION_FLOAT, "0.1", 0, 1e6, NULL, "of squared distances",
     offsetof(mica_local_triplet_options, margin)},
    {"ratio", MICA_OPTION_FLOAT, "0.9", 0, 1, NULL,
     "of the nearest to the second nearest distance, at most; 0: any",
     offsetof(mica_local_triplet_options, ratio)},
    {"attention", MICA_OPTION_BOOL, "true", 0, 0, NULL,
     "match only the half of the positive's places with most attention",
     offsetof(mica_local_triplet_options, attention)},
    {0}};

static const mica_loss_functions functions = {.forward = forward};

extern const mica_component mica_component_loss_local_triplet;
const mica_component mica_component_loss_local_triplet = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LOSS,
    "local_triplet",
    "triplets of matched local descriptors, in tuples",
    "compact-retrieval",
    table,
    sizeof(mica_local_triplet_options),
    MICA_NEED_PYRAMID,
    0,
    &functions};
