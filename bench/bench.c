/* The program of one side: makes a workload ready and repeats it; bench.h tells the idea.
 *
 *     bench WORKLOAD PHASE [--batch N] [--threads N] [--bf16]
 *
 * When it is ready it prints a line. Then each line of standard input is answered by one:
 *
 *     run N     the milliseconds of N repetitions
 *     memory    kilobytes of resident memory: before the workload was made, now, at most
 *     hooks     calls of the allocation hooks since this was last asked
 *     mallocs   the whole process's allocations since then, where preload/count_mallocs.c counts
 *               them, else -1
 */
#include "bench.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern const workload machine_workloads[], network_workloads[], generation_workloads[],
    click_workloads[], attention_workloads[], bandwidth_workloads[], neighbour_workloads[],
    data_workloads[], large_kernel_workloads[], approximate_workloads[];
static const workload *const tables[] = {
    machine_workloads,      network_workloads,     generation_workloads, click_workloads,
    attention_workloads,    bandwidth_workloads,   neighbour_workloads,  data_workloads,
    large_kernel_workloads, approximate_workloads,
};

void need(mica_status status) {
  if (status == MICA_OK) return;
  fprintf(stderr, "bench: %s\n", mica_last_error());
  exit(1);
}

void no_phase(const bench *b) {
  fprintf(stderr, "bench: %s has no phase '%s'\n", b->work->name, b->phase);
  exit(2);
}

bool in_phase(const bench *b, const char *phase) {
  return strcmp(b->phase, phase) == 0;
}

mica_tensor *noise(mica_shape shape, uint64_t seed) {
  mica_tensor *x;
  need(mica_tensor_create(MICA_F32, shape, &x));
  float *v = mica_tensor_data(x);
  for (int64_t i = 0; i < mica_tensor_count(x); i++)
    v[i] = (float)mica_random_normal(mica_key_seed(seed), (uint64_t)i);
  return x;
}

mica_tensor *numbers(mica_shape shape, int64_t n, uint64_t seed) {
  mica_tensor *x;
  need(mica_tensor_create(MICA_I64, shape, &x));
  int64_t *v = mica_tensor_data(x);
  for (int64_t i = 0; i < mica_tensor_count(x); i++)
    v[i] = (int64_t)mica_random_below(mica_key_seed(seed), (uint64_t)i, (uint64_t)n);
  return x;
}

void *filled(size_t bytes) {
  float *block = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (!block) {
    fprintf(stderr, "bench: no %zu bytes of memory\n", bytes);
    exit(1);
  }
  for (size_t i = 0; i < bytes / sizeof *block; i++) block[i] = 1;
  return block;
}

/* ---- what is measured ---- */

static double milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

/* A line of /proc/self/status, in kilobytes. */
static long status_of(const char *field) {
  char line[256];
  long value = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f))
    if (strncmp(line, field, strlen(field)) == 0) value = atol(line + strlen(field));
  if (f) fclose(f);
  return value;
}

static atomic_long hook_calls;

static void *counted_realloc(void *ctx, void *block, size_t bytes) {
  (void)ctx;
  hook_calls++;
  return realloc(block, bytes);
}

static void counted_free(void *ctx, void *block) {
  (void)ctx;
  free(block);
}

/* In the preloaded library. */
extern long bench_count_mallocs(void) __attribute__((weak));

static void run(bench *b, int repetitions) {
  for (int i = 0; i < repetitions; i++, b->steps++) {
    const double start = milliseconds();
    b->work->step(b);
    printf("%s%.4f", i ? " " : "", milliseconds() - start);
  }
  printf("\n");
}

static void serve(bench *b, long memory_before) {
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    if (strncmp(line, "run ", 4) == 0) {
      run(b, atoi(line + 4));
    } else if (strncmp(line, "memory", 6) == 0) {
      printf("%ld %ld %ld\n", memory_before, status_of("VmRSS:"), status_of("VmHWM:"));
    } else if (strncmp(line, "hooks", 5) == 0) {
      printf("%ld\n", atomic_exchange(&hook_calls, 0));
    } else if (strncmp(line, "mallocs", 7) == 0) {
      printf("%ld\n", bench_count_mallocs ? bench_count_mallocs() : -1);
    } else {
      printf("?\n");
    }
    fflush(stdout);
  }
}

static const workload *find(const char *name) {
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    for (const workload *w = tables[i]; w->name; w++)
      if (strcmp(w->name, name) == 0) return w;
  return NULL;
}

static int usage(void) {
  fprintf(stderr, "usage: bench WORKLOAD PHASE [--batch N] [--threads N] [--bf16]\nworkloads:\n");
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    for (const workload *w = tables[i]; w->name; w++)
      fprintf(stderr, "  %-20s %s\n", w->name, w->about);
  return 2;
}

int main(int argc, char **argv) {
  bench b = {.threads = 2};
  if (argc < 3 || !(b.work = find(argv[1]))) return usage();
  b.phase = argv[2];
  for (int i = 3; i < argc; i++) {
    if (strcmp(argv[i], "--bf16") == 0)
      b.bf16 = true;
    else if (strcmp(argv[i], "--batch") == 0 && i + 1 < argc)
      b.batch = atoll(argv[++i]);
    else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
      b.threads = atoi(argv[++i]);
    else
      return usage();
  }
  mica_engine_options engine = MICA_ENGINE_OPTIONS;
  mica_tape_options tape = MICA_TAPE_OPTIONS;
  engine.threads = b.threads;
  if (b.bf16) tape.compute = MICA_BF16;
  need(mica_engine_create(&engine, &b.engine));
  need(mica_tape_create(b.engine, &tape, &b.tape));
  const long memory_before = status_of("VmRSS:");
  b.work->make(&b);
  /* From here on calls are counted, by hooks that end in the same allocator. What is made before
   * comes as it does for who sets no hooks: zeros are the system's, in the pages asked for. */
  const mica_allocator counted = {NULL, counted_realloc, counted_free};
  mica_set_allocator(&counted);
  printf("mica %s\n", mica_version());
  fflush(stdout);
  serve(&b, memory_before);
  if (b.work->free) b.work->free(&b);
  mica_tape_free(b.tape);
  mica_engine_free(b.engine);
  return 0;
}
