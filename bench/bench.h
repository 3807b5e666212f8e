/* One side of the benchmark: a workload is made ready in a process of its own, then repeated as
 * often as it is told, beside the same workload in other libraries (bench/peer/).
 *
 * A workload is one entry of a table at the foot of a file of this folder, and the table one line
 * in bench.c. What it is compared with, how often it is repeated and how much work it does stands
 * in bench/workloads.py.
 */
#ifndef MICA_BENCH_H
#define MICA_BENCH_H

#include <mica/mica.h>

typedef struct bench bench;

typedef struct workload {
  const char *name;       /* "vit-tiny" */
  const char *about;      /* one line of --help */
  void (*make)(bench *b); /* everything that is not measured */
  void (*step)(bench *b); /* what is */
  void (*free)(bench *b); /* what `made` points to; NULL: nothing */
  const void *setting;    /* of this entry, for functions that several share */
} workload;

struct bench {
  const workload *work;
  const char *phase; /* "train", "infer" or whatever the workload knows */
  int64_t batch;     /* 0: the workload's own */
  int threads;
  bool bf16;
  mica_engine *engine;
  mica_tape *tape; /* computes in bf16 where that is asked for */
  uint64_t steps;  /* so far */
  void *made;
};

/* End the program with the last error unless the status is MICA_OK. */
void need(mica_status status);

/* End the program: the workload has no such phase. */
void no_phase(const bench *b);
bool in_phase(const bench *b, const char *phase);

/* float32 values of a normal distribution. */
mica_tensor *noise(mica_shape shape, uint64_t seed);

/* int64 values from 0 to below n. */
mica_tensor *numbers(mica_shape shape, int64_t n, uint64_t seed);

/* A block of 1.0f, each page of it touched; to be freed with free. */
void *filled(size_t bytes);

#endif
