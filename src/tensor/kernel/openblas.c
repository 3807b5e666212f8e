#include "tensor/kernel/openblas.h"

#ifdef MICA_HAVE_OPENBLAS

#include "tensor/kernel/library.h"

#include <dlfcn.h>
#include <string.h>

/* POSIX promises that a pointer from dlsym may be a function's; the C standard has no cast for it.
 */
static bool find(void *handle, const char *name, void *function) {
  void *symbol = dlsym(handle, name);
  memcpy(function, &symbol, sizeof symbol);
  return symbol != NULL;
}

bool mica_openblas_load(const mica_engine *engine, mica_openblas *l) {
  static const char *const names[] = {"libopenblas.so.0", "libopenblas.so", NULL};
  void *handle = mica_library_handle(engine, MICA_LIBRARY_OPENBLAS, names);
  return handle && find(handle, "dpotrf_", &l->dpotrf) && find(handle, "dtrtrs_", &l->dtrtrs) &&
         find(handle, "dgetrf_", &l->dgetrf) && find(handle, "dgetrs_", &l->dgetrs) &&
         find(handle, "dsyevd_", &l->dsyevd) && find(handle, "dgesdd_", &l->dgesdd) &&
         find(handle, "dgeqrf_", &l->dgeqrf) && find(handle, "dorgqr_", &l->dorgqr);
}

#else

bool mica_openblas_load(const mica_engine *engine, mica_openblas *lapack) {
  (void)engine, (void)lapack;
  return false;
}

#endif
