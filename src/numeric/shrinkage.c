/* Ledoit-Wolf in two passes: scatter with the fourth-moment sum, then the scalar formulas.
 *
 * The sum over pairs of columns of squared products, sum_i sum_jk (x_ij x_ik)^2, is sum_i |x_i|^4,
 * which the scatter pass gives for nothing.
 */
#include "numeric/shrinkage.h"

#include "numeric/moments.h"
#include "numeric/rows.h"

#include <math.h>

mica_status mica_shrunk_covariance(const mica_engine *engine, const mica_view *x,
                                   const int64_t *group, const double *centre, double *covariance,
                                   mica_shrunk *out) {
  int64_t n = mica_rows_n(x), d = mica_rows_d(x);
  double fourth;
  if (n < 1) return mica_fail(MICA_ERR_INVALID, "covariance of no rows");
  mica_status status = mica_scatter(engine, x, group, centre, covariance, &fourth);
  if (status) return status;
  double trace = 0, frobenius = 0, count = (double)n, p = (double)d;
  for (int64_t i = 0; i < d * d; i++) covariance[i] /= count;
  for (int64_t i = 0; i < d; i++) {
    trace += covariance[i * d + i];
    frobenius += mica_sum_squares(covariance + i * d, d);
  }
  double scale = trace / p;
  /* |S - m I|^2 = |S|^2 - p m^2 loses digits when S is near a multiple of I: sum it as it stands.
   */
  double delta = 0;
  for (int64_t i = 0; i < d; i++)
    for (int64_t j = 0; j < d; j++) {
      double v = covariance[i * d + j] - (i == j ? scale : 0);
      delta += v * v;
    }
  delta /= p;
  double beta = fmin(delta, (fourth / count - frobenius) / (count * p));
  double rho = beta > 0 && delta > 0 ? beta / delta : 0;
  for (int64_t i = 0; i < d * d; i++) covariance[i] *= 1 - rho;
  for (int64_t i = 0; i < d; i++) covariance[i * d + i] += rho * scale;
  *out = (mica_shrunk){rho, scale};
  return isfinite(scale)
             ? MICA_OK
             : mica_fail(MICA_ERR_NUMERIC, "the covariance is not finite: features too large");
}
