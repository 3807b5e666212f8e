/* The registry of gradient cases: each operation of mica/ops.h and
 * mica/linear_algebra.h with sample shapes.
 *
 * A case builds a result of any shape from its inputs; the walker (test_gradients.c) projects it on
 * fixed random numbers and compares backward with central differences in float64, then runs the
 * case in float64 and float32 on every instruction set, with one and two threads, with and without
 * libraries and with row strides, forward and backward against the float64 run of the generic
 * loops.
 */
#ifndef MICA_TESTS_GRADIENTS_H
#define MICA_TESTS_GRADIENTS_H

#include <mica/ops.h>

#define CASE_INPUTS 5

typedef struct gradient_input {
  mica_shape shape;
  double lo, hi; /* uniform; a gap keeps away from a kink: |x| >= gap */
  double gap;
  bool constant; /* no gradient asked for */
} gradient_input;

typedef struct gradient_case {
  const char *ops;  /* names of the operations it covers, separated by spaces, without mica_ */
  const char *name; /* of the variant; "" for the only one */
  int n;
  gradient_input in[CASE_INPUTS];
  mica_var (*run)(mica_tape *t, const mica_var *in);
  double bound; /* float32 against float64: |a - b| <= bound * max(1, largest |b|) */
  bool no_gradient;
  bool training;
} gradient_case;

typedef struct gradient_family {
  const char *name;
  const gradient_case *cases;
  int n;
} gradient_family;

/* At the foot of tests/gradients/NAME.c: its cases are a family, which the build finds by the
 * file's name. */
#define FAMILY(name)                                                                               \
  extern const gradient_family gradient_##name;                                                    \
  const gradient_family gradient_##name = {#name, cases, (int)(sizeof cases / sizeof *cases)}

/* Fixed int64 ids on the tape: i * step + start modulo limit. */
mica_var gradient_ids(mica_tape *t, mica_shape shape, int64_t start, int64_t step, int64_t limit);

#endif
