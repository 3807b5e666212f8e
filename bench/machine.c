/* The machine's limits: the rate of a large matrix product, and the rate at which memory is read
 * and written. */
#include "bench.h"

#include <stdlib.h>

/* ---- 2 n^3 operations ---- */

enum { SIDE = 2048 };

typedef struct product {
  mica_tensor *a, *b;
} product;

static void product_make(bench *b) {
  product *p = b->made = calloc(1, sizeof *p);
  p->a = noise(MICA_SHAPE(SIDE, SIDE), 1);
  p->b = noise(MICA_SHAPE(SIDE, SIDE), 2);
}

static void product_step(bench *b) {
  const product *p = b->made;
  mica_no_grad_begin(b->tape);
  mica_matmul(b->tape, mica_input(b->tape, p->a), mica_input(b->tape, p->b));
  need(mica_tape_status(b->tape));
  mica_tape_reset(b->tape);
}

static void product_free(bench *b) {
  product *p = b->made;
  mica_tensor_free(p->a);
  mica_tensor_free(p->b);
  free(p);
}

/* ---- a[i] = b[i] + s c[i], 12 bytes moved for each i ---- */

enum { TRIAD = 48 << 20, CHUNKS = 64 };

static void triad_range(void *ctx, int64_t begin, int64_t end) {
  float *const *v = ctx;
  const int64_t piece = TRIAD / CHUNKS;
  float *a = v[0];
  const float *x = v[1], *y = v[2];
  for (int64_t i = begin * piece; i < end * piece; i++) a[i] = x[i] + 3.0f * y[i];
}

static void triad_make(bench *b) {
  float **v = b->made = malloc(3 * sizeof *v);
  for (int i = 0; i < 3; i++) v[i] = filled((size_t)TRIAD * sizeof **v);
}

static void triad_step(bench *b) {
  mica_parallel_for(b->engine, CHUNKS, triad_range, b->made);
}

static void triad_free(bench *b) {
  float **v = b->made;
  for (int i = 0; i < 3; i++) free(v[i]);
  free(v);
}

const workload machine_workloads[] = {
    {"gemm", "a product of 2048 x 2048 matrices", product_make, product_step, product_free, NULL},
    {"stream", "a[i] = b[i] + s c[i], three arrays of 192 MB", triad_make, triad_step, triad_free,
     NULL},
    {0}};
