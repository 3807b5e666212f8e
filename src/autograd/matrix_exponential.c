/* The matrix exponential, by scaling and squaring (Higham 2005, algorithm 2.3): A / 2^s is small
 * enough for the [m/m] Pade approximant to be exact to rounding, and its result is squared s times.
 */
#include "autograd/matrices.h"

#include <mica/linear_algebra.h>

#include "tensor/kernel/lapack.h"

#include <math.h>
#include <string.h>

/* Up to this 1-norm the approximant of this order is exact to rounding. */
static const struct {
  int order;
  double norm;
} orders[] = {{3, 1.495585217958292e-2},
              {5, 2.539398330063230e-1},
              {7, 9.504178996162932e-1},
              {9, 2.097847961257068},
              {13, 5.371920351148152}};
#define ORDERS (int)(sizeof orders / sizeof *orders)

static double norm_of(int64_t n, const double *a) {
  double most = 0;
  for (int64_t j = 0; j < n; j++) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs(a[i * n + j]);
    if (!(sum <= most)) most = sum; /* a NaN stays */
  }
  return most;
}

static void add_scaled(int64_t n, double alpha, const double *x, double *y) {
  for (int64_t i = 0; i < n; i++) y[i] += alpha * x[i];
}

/* Elements of scratch for an n x n matrix. */
static int64_t room_of(int64_t n) {
  return 6 * n * n;
}

/* y = e^a; a is destroyed. */
static mica_status exponential(const mica_matrix *w, int64_t n, double *a, double *y,
                               double *scratch) {
  const int64_t size = n * n;
  double *square = scratch, *power = square + size, *next = power + size, *even = next + size,
         *odd = even + size, *high = odd + size;
  const double norm = norm_of(n, a);
  if (!isfinite(norm))
    return mica_fail(MICA_ERR_NUMERIC, "the matrix holds values that are not finite");
  int which = 0, squarings = 0;
  while (which < ORDERS - 1 && norm > orders[which].norm) which++;
  if (norm > orders[which].norm) squarings = ilogb(norm / orders[which].norm) + 1;
  for (int64_t i = 0; i < size; i++) a[i] = ldexp(a[i], -squarings);
  /* Coefficients b_0 = 1, b_j = b_(j-1) (m - j + 1) / ((2 m - j + 1) j): numerator V + U and
   * denominator V - U, U the odd part and V the even one. */
  const int m = orders[which].order;
  double b[14] = {1};
  for (int j = 1; j <= m; j++)
    b[j] = b[j - 1] * (double)(m - j + 1) / ((double)(2 * m - j + 1) * j);
  mica_status status = mica_matrix_product(w, false, false, n, n, n, 1, a, a, 0, square);
  memset(even, 0, (size_t)size * sizeof *even);
  memset(odd, 0, (size_t)size * sizeof *odd);
  memset(power, 0, (size_t)size * sizeof *power);
  for (int64_t i = 0; i < n; i++) power[i * n + i] = 1;
  /* Powers of a^2; of order 13 those above the sixth power of a are had from it times the lower. */
  const int direct = m == 13 ? 6 : m - 1;
  memset(high, 0, (size_t)size * sizeof *high);
  memset(y, 0, (size_t)size * sizeof *y);
  for (int j = 0; j <= direct && status == MICA_OK; j += 2) {
    add_scaled(size, b[j], power, even);
    add_scaled(size, b[j + 1], power, odd);
    if (m == 13 && j > 0) { /* even and odd parts of what a^6 multiplies */
      add_scaled(size, b[j + 6], power, high);
      add_scaled(size, b[j + 7], power, y);
    }
    if (j == direct) break;
    status = mica_matrix_product(w, false, false, n, n, n, 1, power, square, 0, next);
    memcpy(power, next, (size_t)size * sizeof *power);
  }
  if (m == 13 && status == MICA_OK) /* power is a^6 */
    status = mica_matrix_product(w, false, false, n, n, n, 1, power, high, 1, even);
  if (m == 13 && status == MICA_OK)
    status = mica_matrix_product(w, false, false, n, n, n, 1, power, y, 1, odd);
  if (status == MICA_OK) status = mica_matrix_product(w, false, false, n, n, n, 1, a, odd, 0, next);
  for (int64_t i = 0; i < size; i++) y[i] = even[i] + next[i], even[i] -= next[i];
  if (status == MICA_OK) status = mica_lapack_solve(w->engine, MICA_F64, n, n, even, n, y, n);
  for (int s = 0; s < squarings && status == MICA_OK; s++) {
    status = mica_matrix_product(w, false, false, n, n, n, 1, y, y, 0, next);
    memcpy(y, next, (size_t)size * sizeof *y);
  }
  for (int64_t i = 0; i < size && status == MICA_OK; i++)
    if (!isfinite(y[i]))
      status = mica_fail(MICA_ERR_NUMERIC, "the result overflows: the matrix has norm %g", norm);
  return status;
}

static mica_status exp_body(const mica_matrix *w) {
  const int64_t n = *(const int64_t *)w->ctx;
  memcpy(w->scratch, w->x[0], (size_t)(n * n) * sizeof *w->scratch);
  return exponential(w, n, w->scratch, w->x[1], w->scratch + n * n);
}

/* exp of [A^T G; 0 A^T] has the gradient in its upper right. It is linear in G, which is brought to
 * the size of A first: a large G would call for more squarings than A does. */
static mica_status exp_grad_body(const mica_matrix *w) {
  const int64_t n = *(const int64_t *)w->ctx, two = 2 * n;
  double *block = w->scratch, *y = block + two * two, *ga = w->x[2];
  const double size = norm_of(n, w->x[0]), size_g = norm_of(n, w->x[1]);
  memset(ga, 0, (size_t)(n * n) * sizeof *ga);
  if (size_g == 0) return MICA_OK;
  const double scale = fmin(fmax(size, orders[0].norm) / size_g, 1e200);
  memset(block, 0, (size_t)(two * two) * sizeof *block);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++) {
      block[i * two + j] = block[(n + i) * two + n + j] = w->x[0][j * n + i];
      block[i * two + n + j] = w->x[1][i * n + j] * scale;
    }
  const mica_status status = exponential(w, two, block, y, y + two * two);
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    for (int64_t j = 0; j < n; j++) ga[i * n + j] = y[i * two + n + j] / scale;
  return status;
}

static void exp_backward(mica_call *c) {
  const mica_matrix_size s = mica_matrices_size(&c->in[0]);
  const int64_t n = s.rows;
  mica_matrices m = {.count = s.count,
                     .side = 2 * n,
                     .fn = exp_grad_body,
                     .ctx = &n,
                     .scratch = 8 * n * n + room_of(2 * n)};
  mica_view *ga = mica_call_grad(c, 0);
  if (!ga) return;
  mica_matrices_read(&m, &c->in[0], n * n);
  mica_matrices_read(&m, &c->grad_out[0], n * n);
  mica_matrices_write(&m, ga, n * n);
  mica_matrices_run(c, &m);
}

static const mica_op exp_op = {sizeof(mica_op), "matrix_exp", MICA_OP_BY_EXAMPLE, exp_backward};

mica_var mica_matrix_exp(mica_tape *t, mica_var a) {
  mica_call c;
  mica_matrix_size s;
  if (!mica_call_begin(&c, t, &exp_op, 1, &a)) return MICA_NONE;
  if (!mica_square_of(&c, 0, &s)) return MICA_NONE;
  const int64_t n = s.rows;
  mica_matrices m = {
      .count = s.count, .side = n, .fn = exp_body, .ctx = &n, .scratch = n * n + room_of(n)};
  mica_matrices_read(&m, &c.in[0], n * n);
  mica_matrices_write(&m, mica_call_output(&c, c.in[0].dtype, c.in[0].shape), n * n);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_save_input(&c, 0);
  return mica_call_end(&c);
}
