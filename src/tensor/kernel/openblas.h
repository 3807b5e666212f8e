/* LAPACK from OpenBLAS, loaded when first needed: a program that factors nothing does not pay for
 * loading it (5 to 50 ms), and one on a machine without it still works.
 *
 * The symbols are the Fortran ones: column-major, everything by address, and the length of each
 * character argument passed after the last.
 */
#ifndef MICA_TENSOR_KERNEL_OPENBLAS_H
#define MICA_TENSOR_KERNEL_OPENBLAS_H

#include <mica/engine.h>

typedef struct mica_openblas {
  void (*dpotrf)(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t);
  void (*dtrtrs)(const char *uplo, const char *trans, const char *diag, const int *n,
                 const int *nrhs, const double *a, const int *lda, double *b, const int *ldb,
                 int *info, size_t, size_t, size_t);
  void (*dgetrf)(const int *m, const int *n, double *a, const int *lda, int *pivots, int *info);
  void (*dgetrs)(const char *trans, const int *n, const int *nrhs, const double *a, const int *lda,
                 const int *pivots, double *b, const int *ldb, int *info, size_t);
  void (*dsyevd)(const char *jobz, const char *uplo, const int *n, double *a, const int *lda,
                 double *w, double *work, const int *lwork, int *iwork, const int *liwork,
                 int *info, size_t, size_t);
  void (*dgesdd)(const char *jobz, const int *m, const int *n, double *a, const int *lda, double *s,
                 double *u, const int *ldu, double *vt, const int *ldvt, double *work,
                 const int *lwork, int *iwork, int *info, size_t);
  void (*dgeqrf)(const int *m, const int *n, double *a, const int *lda, double *tau, double *work,
                 const int *lwork, int *info);
  void (*dorgqr)(const int *m, const int *n, const int *k, double *a, const int *lda,
                 const double *tau, double *work, const int *lwork, int *info);
} mica_openblas;

/* False when the engine uses no libraries or OpenBLAS is not there. */
bool mica_openblas_load(const mica_engine *engine, mica_openblas *lapack);

#endif
