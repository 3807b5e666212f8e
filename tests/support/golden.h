/* What PyTorch computed, as tests/golden/make_torch.py stored it: reading it, and cases of one
 * operation run in both precisions against it.
 *
 * Values and gradients: float32 within 2e-5 and float64 within 1e-7 of the largest element
 * (incoming values are stored as float32, results as float64).
 */
#ifndef MICA_TESTS_GOLDEN_H
#define MICA_TESTS_GOLDEN_H

#include "support/test.h"

#include <mica/data.h>
#include <mica/tape.h>

#define GOLDEN_FOLDER "tests/golden/torch/"
#define GOLDEN_LEAVES 8

mica_archive *golden_open(const char *file);
/* The tensor of this name as `dtype` (integers stay what they are). */
mica_tensor *golden_read(const mica_archive *a, mica_dtype dtype, const char *name);
/* Shapes are the same and the largest difference is within bound of the largest element; says so
 * where it is not. */
bool golden_agrees(const char *what, const mica_view *got, const mica_tensor *want, double bound);

/* One case in one precision: its inputs by name, with the leaves whose gradients are compared. */
typedef struct golden_case {
  mica_tape *t;
  const mica_archive *archive;
  mica_dtype dtype;
  const char *name;
  mica_tensor *held[2 * GOLDEN_LEAVES];
  int n_held;
  struct {
    const char *name;
    mica_var v;
  } leaf[GOLDEN_LEAVES];
  int n_leaves;
  bool agrees;
} golden_case;

/* Stored inputs: without a gradient, and with one that is compared. */
mica_var golden_constant(golden_case *b, const char *key);
mica_var golden_leaf(golden_case *b, const char *key);

typedef struct golden_operation {
  const char *name;
  mica_var (*fn)(golden_case *b);
} golden_operation;
/* Result and gradients of each in float32 and float64; returns how many differ. */
int golden_run(mica_engine *engine, const mica_archive *archive, const golden_operation *cases,
               size_t n);
/* The same for a whole file, with failures as the test's; a result NAME.y of the file that no case
 * has the name of fails too. */
void golden_run_all(mica_engine *engine, const char *file, const golden_operation *cases, size_t n);

#endif
