/* Comparison of doubles in tests. */
#ifndef MICA_TESTS_NEAR_H
#define MICA_TESTS_NEAR_H

#include "support/test.h"

#include <math.h>

/* |got - want| <= tolerance * max(1, |want|); equal infinities and two NaN agree. */
static inline void near_at(double got, double want, double tolerance, int64_t i, const char *file,
                           int line) {
  if (got == want || (isnan(got) && isnan(want))) return;
  if (fabs(got - want) <= tolerance * fmax(1, fabs(want))) return;
  print_error("element %lld: got %.17g, want %.17g\n", (long long)i, got, want);
  _fail(file, line);
}

static inline void near_all(const double *got, const double *want, int64_t n, double tolerance,
                            const char *file, int line) {
  for (int64_t i = 0; i < n; i++) near_at(got[i], want[i], tolerance, i, file, line);
}

#define assert_near(got, want, tolerance) near_at(got, want, tolerance, 0, __FILE__, __LINE__)
#define assert_all_near(got, want, n, tolerance)                                                   \
  near_all(got, want, n, tolerance, __FILE__, __LINE__)

#endif
