#include "param/basis.h"

#include <mica/linear_algebra.h>
#include <mica/ops.h>

#include <math.h>
#include <string.h>

void mica_basis_free(mica_basis *b) {
  mica_free(b->u);
  mica_free(b->s);
  mica_free(b->vt);
  *b = (mica_basis){0};
}

static mica_status make(int64_t m, int64_t n, int64_t k, mica_basis *out) {
  *out = (mica_basis){.m = m, .n = n, .k = k};
  out->u = mica_calloc((size_t)(m * k) + 1, sizeof *out->u);
  out->s = mica_calloc((size_t)k + 1, sizeof *out->s);
  out->vt = mica_calloc((size_t)(k * n) + 1, sizeof *out->vt);
  if (out->u && out->s && out->vt) return MICA_OK;
  mica_basis_free(out);
  return MICA_ERR_MEMORY;
}

/* The first out->k columns of u [m, r], s [r] and vt [r, n] of the tape. */
static void take(mica_tape *t, mica_var u, mica_var s, mica_var vt, mica_basis *out) {
  const mica_view uv = mica_read(t, u), sv = mica_read(t, s), tv = mica_read(t, vt);
  if (!mica_ok(t)) return;
  const int64_t r = uv.shape.dim[1], k = out->k;
  for (int64_t i = 0; i < out->m; i++)
    memcpy(out->u + i * k, (const double *)uv.data + i * r, (size_t)k * sizeof(double));
  memcpy(out->s, sv.data, (size_t)k * sizeof(double));
  memcpy(out->vt, tv.data, (size_t)(k * out->n) * sizeof(double));
}

static mica_status begin(mica_engine *engine, mica_tape **t) {
  const mica_status status = mica_tape_create(engine, NULL, t);
  if (status == MICA_OK) mica_no_grad_begin(*t);
  return status;
}

static mica_status end(mica_tape *t, mica_basis *out) {
  const mica_status status = mica_tape_status(t);
  mica_tape_free(t);
  if (status != MICA_OK) mica_basis_free(out);
  return status;
}

mica_status mica_basis_exact(mica_engine *engine, const mica_view *w, mica_basis *out) {
  const int64_t m = w->shape.dim[0], n = w->shape.dim[1];
  mica_tape *t;
  mica_status status = make(m, n, m < n ? m : n, out);
  if (status != MICA_OK) return status;
  status = begin(engine, &t);
  if (status != MICA_OK) {
    mica_basis_free(out);
    return status;
  }
  mica_var s, vt;
  const mica_var a = mica_cast(t, mica_constant(t, w), MICA_F64);
  const mica_var u = mica_svd(t, a, &s, &vt);
  take(t, u, s, vt, out);
  return end(t, out);
}

/* [rows, columns] of normal draws. */
static mica_var draw(mica_tape *t, mica_key key, int64_t rows, int64_t columns) {
  const mica_var v = mica_full(t, MICA_F64, MICA_SHAPE(rows, columns), 0);
  const mica_view view = mica_read(t, v);
  for (int64_t i = 0; mica_ok(t) && i < rows * columns; i++)
    ((double *)view.data)[i] = mica_random_normal(key, (uint64_t)i);
  return v;
}

mica_status mica_basis_randomised(mica_engine *engine, const mica_view *w, int64_t k,
                                  int64_t oversampling, int64_t power, mica_key key,
                                  mica_basis *out) {
  const int64_t m = w->shape.dim[0], n = w->shape.dim[1], least = m < n ? m : n;
  const int64_t columns = k + oversampling < least ? k + oversampling : least;
  mica_tape *t;
  mica_status status = make(m, n, k < least ? k : least, out);
  if (status != MICA_OK) return status;
  status = begin(engine, &t);
  if (status != MICA_OK) {
    mica_basis_free(out);
    return status;
  }
  mica_var upper, s, vt;
  const mica_var a = mica_cast(t, mica_constant(t, w), MICA_F64);
  mica_var q = mica_qr(t, mica_matmul(t, a, draw(t, key, n, columns)), &upper);
  /* An orthonormal range after each half step: else the small values drown in rounding. */
  for (int64_t i = 0; i < power && mica_ok(t); i++) {
    q = mica_qr(t, mica_matmul_t(t, a, true, q, false), &upper);
    q = mica_qr(t, mica_matmul(t, a, q), &upper);
  }
  const mica_var small = mica_svd(t, mica_matmul_t(t, q, true, a, false), &s, &vt);
  take(t, mica_matmul(t, q, small), s, vt, out);
  return end(t, out);
}

mica_status mica_basis_random(mica_engine *engine, int64_t m, int64_t n, int64_t k, mica_key key,
                              mica_basis *out) {
  mica_tape *t;
  mica_status status = make(m, n, k, out);
  if (status != MICA_OK) return status;
  status = begin(engine, &t);
  if (status != MICA_OK) {
    mica_basis_free(out);
    return status;
  }
  mica_var upper;
  const mica_var u = mica_qr(t, draw(t, mica_key_fold(key, 1), m, k), &upper);
  const mica_var v = mica_qr(t, draw(t, mica_key_fold(key, 2), n, k), &upper);
  take(t, u, mica_full(t, MICA_F64, MICA_SHAPE(k), 0), mica_transpose(t, v, 0, 1), out);
  return end(t, out);
}

int64_t mica_basis_rank(const mica_basis *b, double share) {
  double all = 0, sum = 0;
  for (int64_t i = 0; i < b->k; i++) all += b->s[i] * b->s[i];
  for (int64_t i = 0; i < b->k; i++) {
    sum += b->s[i] * b->s[i];
    if (sum >= share * all) return i + 1;
  }
  return b->k;
}

mica_status mica_basis_choose(mica_basis *b, const int64_t *at, int64_t k) {
  mica_basis c;
  const mica_status status = make(b->m, b->n, k, &c);
  if (status != MICA_OK) return status;
  for (int64_t j = 0; j < k; j++) {
    c.s[j] = b->s[at[j]];
    for (int64_t i = 0; i < b->m; i++) c.u[i * k + j] = b->u[i * b->k + at[j]];
    memcpy(c.vt + j * b->n, b->vt + at[j] * b->n, (size_t)b->n * sizeof(double));
  }
  mica_basis_free(b);
  *b = c;
  return MICA_OK;
}
