/* Factorisations in one thread, and products in strips. */
#include "numeric/serial.h"

#include "numeric/chunks.h"
#include "tensor/kernel/factor.h"
#include "tensor/kernel/gemm.h"

#include <string.h>

mica_status mica_serial_eigen(const mica_engine *engine, int64_t n, const double *a, double *values,
                              double *vectors) {
  (void)engine;
  double *work = mica_malloc(((size_t)n * (size_t)n + 3 * (size_t)n) * sizeof *work);
  if (!work) return MICA_ERR_MEMORY;
  double sum = 0;
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j <= i; j++) {
      work[i * n + j] = work[j * n + i] = a[i * n + j];
      sum += 0 * a[i * n + j];
    }
  mica_status status = MICA_OK;
  if (sum != 0)
    status = mica_fail(MICA_ERR_NUMERIC, "eigenvalues of a matrix that is not finite");
  else if (!mica_factor_eigen(n, work, values, vectors, work + n * n))
    status = mica_fail(MICA_ERR_NUMERIC, "eigenvalues of a %lld x %lld matrix do not converge",
                       (long long)n, (long long)n);
  mica_free(work);
  return status;
}

/* The lower triangle of a becomes L. */
static mica_status cholesky(int64_t n, double *a) {
  if (mica_factor_cholesky(n, a)) return MICA_OK;
  return mica_fail(MICA_ERR_NUMERIC, "the matrix is not positive definite");
}

mica_status mica_serial_solve(const mica_engine *engine, int64_t n, int64_t columns,
                              const double *a, double *b) {
  (void)engine;
  double *l = mica_malloc((size_t)n * (size_t)n * sizeof *l);
  if (!l) return MICA_ERR_MEMORY;
  memcpy(l, a, (size_t)n * (size_t)n * sizeof *l);
  mica_status status = cholesky(n, l);
  if (!status) mica_factor_triangular(true, false, n, columns, l, b);
  if (!status) mica_factor_triangular(true, true, n, columns, l, b);
  mica_free(l);
  return status;
}

mica_status mica_serial_whitening(const mica_engine *engine, int64_t n, double *a,
                                  double *inverse) {
  (void)engine;
  mica_status status = cholesky(n, a);
  if (status) return status;
  memset(inverse, 0, (size_t)n * (size_t)n * sizeof *inverse);
  for (int64_t i = 0; i < n; i++) { /* row i of L^-1 from the rows above it */
    double *row = inverse + i * n;
    row[i] = 1;
    for (int64_t k = 0; k < i; k++)
      for (int64_t c = 0; c <= k; c++) row[c] -= a[i * n + k] * inverse[k * n + c];
    for (int64_t c = 0; c <= i; c++) row[c] /= a[i * n + i];
  }
  return MICA_OK;
}

/* ---- products ---- */

typedef struct {
  const mica_engine *engine;
  bool trans;
  int64_t m, n, k;
  const double *a, *b;
  double *out;
} product;

enum { strip = 64 };

static mica_status product_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const product *p = ctx;
  int64_t from = chunk * strip, rows = p->m - from < strip ? p->m - from : strip;
  return mica_gemm(p->engine, MICA_F64, p->trans, false, rows, p->n, p->k, 1,
                   p->a + (p->trans ? from : from * p->k), p->trans ? p->m : p->k, p->b, p->n, 0,
                   p->out + from * p->n, p->n);
}

mica_status mica_product(const mica_engine *engine, bool trans, int64_t m, int64_t n, int64_t k,
                         const double *a, const double *b, double *out) {
  product p = {engine, trans, m, n, k, a, b, out};
  return mica_chunks_run(engine, mica_chunks_of(m, strip), 0, product_chunk, &p);
}
