/* Golden vectors: what an adapter is written with.
 *
 * A case is one safetensors file DIR/SLUG/CASE.safetensors: tensors `in.*` and `param.*` are given,
 * every other one (`out.*`, `grad.*`) is expected; options are texts in the metadata, layouts those
 * of the reference. An adapter builds the case from the public API, with shapes and options as the
 * file has them, never from its name, and compares each expected tensor:
 *
 *     static void run(golden *g) {
 *       const mica_view x = golden_view(g, "in.x", MICA_F64);
 *       const double eps = golden_number(g, "eps", 1e-5);
 *       ...
 *       golden_need(g, mica_estimator_fit(e, &data, NULL));
 *       golden_check(g, "out.mean", mean);
 *     }
 *     const golden_adapter golden_adapter_my_paper = {"my-paper", 1e-5, run};
 *
 * in tests/golden/adapters/my_paper.c; the build finds it there.
 *
 * A value agrees when |got - expected| <= tolerance * max(1, largest |expected| of its tensor);
 * float32 `grad.*` also within 1e-5; NaN only with NaN, an infinity only with itself. Integers and
 * booleans are the same or they differ. A case passes when every expected tensor was compared and
 * agreed. A failure of any call here ends the case at once; each case runs in a process of its own,
 * so what was allocated is gone then.
 */
#ifndef MICA_TESTS_GOLDEN_ADAPTER_H
#define MICA_TESTS_GOLDEN_ADAPTER_H

#include <mica/mica.h>

typedef struct golden golden;

typedef struct golden_adapter {
  const char *slug;
  double tolerance;
  void (*run)(golden *g);
} golden_adapter;

/* One engine for the case; it need not be freed. */
mica_engine *golden_engine(golden *g);

/* ---- what the file has ---- */

bool golden_has(const golden *g, const char *name);
/* Number of tensors, and their names, for files whose names are part of the case. */
int64_t golden_count(const golden *g);
const char *golden_name(const golden *g, int64_t i);
/* The stored tensor, converted to this type (MICA_DTYPE_COUNT: as it is stored); the case owns it.
 */
mica_tensor *golden_tensor(golden *g, const char *name, mica_dtype dtype);
mica_view golden_view(golden *g, const char *name, mica_dtype dtype);
/* Its elements as doubles and as integers; *n (may be NULL) says how many. */
const double *golden_doubles(golden *g, const char *name, int64_t *n);
const int64_t *golden_integers(golden *g, const char *name, int64_t *n);
int64_t golden_dim(golden *g, const char *name, int axis);

/* Options; a text that is not of the form expected ends the case. Without the key: the default. */
const char *golden_text(const golden *g, const char *key, const char *otherwise);
double golden_number(golden *g, const char *key, double otherwise);
int64_t golden_integer(golden *g, const char *key, int64_t otherwise);
bool golden_flag(golden *g, const char *key, bool otherwise); /* true, True, 1; false, False, 0 */
/* "1,2,3" or "[1, 2, 3]" or "(1, 2)": at most `most` numbers; returns how many. */
int golden_list(golden *g, const char *key, double *out, int most);

/* ---- comparing ---- */

/* Shapes must agree in all but dimensions of 1. */
void golden_check(golden *g, const char *name, mica_view got);
/* With a tolerance of its own. */
void golden_check_within(golden *g, const char *name, mica_view got, double tolerance);
/* n doubles, or integers. */
void golden_check_doubles(golden *g, const char *name, const double *got, int64_t n);
void golden_check_integers(golden *g, const char *name, const int64_t *got, int64_t n);
/* The sign of each column (axis 1) or row (axis 0) of a matrix is free: singular vectors, QR. */
void golden_check_up_to_sign(golden *g, const char *name, mica_view got, int axis);
/* A value on a tape. */
void golden_check_var(golden *g, const char *name, mica_tape *t, mica_var got);
/* [N,C,H,W] as the file has it against [N,H,W,C]; ranks 3 to 5, likewise. */
void golden_check_channels_last(golden *g, const char *name, mica_view got);
/* [N,C,...] of the file as [N,...,C]. */
mica_tensor *golden_channels_last(golden *g, const char *name, mica_dtype dtype);

/* ---- ending a case ---- */

/* Goes on when status is MICA_OK; else the case fails with the last error. */
void golden_need(golden *g, mica_status status);
/* The same for a tape that has latched. */
void golden_need_tape(golden *g, mica_tape *t);
/* The case fails. */
_Noreturn void golden_fail(golden *g, const char *fmt, ...) MICA_PRINTF(2, 3);

#endif
