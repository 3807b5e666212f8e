/* Products of matrices by the library's own loops beside oneDNN's matmul.
 *
 *     build/bench/product [THREADS [TURNS]]
 *
 * The two take turns; a line for each product tells the rate of the loops in GFLOP/s, how many
 * times as fast they are, which of the two a network gets, and how far the results lie apart, as a
 * share of their size.
 */
#include <mica/mica.h>

#include "base/progress.h"
#include "numbers.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/onednn.h"

typedef struct problem {
  const char *what;
  int64_t m, n, k;
  bool trans_a, trans_b;
} problem;

static const problem problems[] = {
    {"square", 2048, 2048, 2048, false, false},
    {"ViT-Tiny, up", 4160, 768, 192, false, true},
    {"ViT-Tiny, down", 4160, 192, 768, false, true},
    {"ViT-Tiny, attention's", 4160, 576, 192, false, true},
    {"its input's gradient", 4160, 192, 768, false, false},
    {"its weights' gradient", 768, 192, 4160, true, false},
    {"one picture, up", 65, 768, 192, false, true},
    {"one picture of 224, up", 197, 1536, 384, false, true},
    {"decoder, up", 2048, 1536, 384, false, true},
    {"its weights' gradient", 1536, 384, 2048, true, false},
    {"ResNet-50, 56x56 wider", 25088, 256, 64, false, true},
    {"ResNet-50, 56x56 narrower", 25088, 64, 256, false, true},
    {"ResNet-50, 14x14 wider", 1568, 1024, 256, false, true},
    {"ResNet-50, 7x7 narrower", 392, 512, 2048, false, true},
};

static double seconds_own(const mica_engine *own, const mica_gemm_args *g, int repetitions) {
  const double begin = mica_seconds();
  for (int i = 0; i < repetitions; i++) need(mica_gemm_run(own, g));
  return (mica_seconds() - begin) / repetitions;
}

static double seconds_other(const mica_engine *engine, const mica_gemm_args *g, int repetitions) {
  bool done = true;
  const double begin = mica_seconds();
  for (int i = 0; i < repetitions && done; i++) need(mica_onednn_gemm(engine, g, &done));
  if (!done) {
    fprintf(stderr, "product: this build has no oneDNN to compare with\n");
    exit(1);
  }
  return (mica_seconds() - begin) / repetitions;
}

static void compare(const mica_engine *engine, const mica_engine *own, const problem *p,
                    int turns) {
  float *a = noise(p->m * p->k, 1), *b = noise(p->k * p->n, 2);
  float *c = noise(p->m * p->n, 3), *d = noise(p->m * p->n, 4);
  mica_gemm_args g = {.dtype = MICA_F32,
                      .compute = MICA_F32,
                      .trans_a = p->trans_a,
                      .trans_b = p->trans_b,
                      .m = p->m,
                      .n = p->n,
                      .k = p->k,
                      .alpha = 1,
                      .a = a,
                      .lda = p->trans_a ? p->m : p->k,
                      .b = b,
                      .ldb = p->trans_b ? p->k : p->n,
                      .c = c,
                      .ldc = p->n,
                      .batch = 1};
  mica_gemm_args other = g;
  other.c = d;
  const double operations = 2.0 * (double)p->m * (double)p->n * (double)p->k;
  const int repetitions = 1 + (int)(5e8 / operations);
  double *times = malloc((size_t)turns * sizeof *times);
  double *ratios = malloc((size_t)turns * sizeof *ratios);
  if (!times || !ratios) need(MICA_ERR_MEMORY);
  seconds_own(own, &g, 1);
  seconds_other(engine, &other, 1);
  for (int i = 0; i < turns; i++) {
    times[i] = seconds_own(own, &g, repetitions);
    ratios[i] = seconds_other(engine, &other, repetitions) / times[i];
  }
  printf("%-26s %5d x %4d x %4d %s %s %8.1f %8.2f   %-6s (%.0e)\n", p->what, (int)p->m, (int)p->n,
         (int)p->k, p->trans_a ? "A^T" : "A  ", p->trans_b ? "B^T" : "B  ",
         operations / median(times, turns) * 1e-9, median(ratios, turns),
         mica_gemm_library_pays(&g) ? "oneDNN" : "loops", apart(p->m * p->n, c, d));
  free(times);
  free(ratios);
  mica_free_aligned(a);
  mica_free_aligned(b);
  mica_free_aligned(c);
  mica_free_aligned(d);
}

int main(int argc, char **argv) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *engine, *own;
  o.threads = argc > 1 ? atoi(argv[1]) : 1;
  const int turns = argc > 2 && atoi(argv[2]) > 0 ? atoi(argv[2]) : 9;
  need(mica_engine_create(&o, &engine));
  o.libraries = false;
  need(mica_engine_create(&o, &own));
  printf("%-26s %29s %13s %8s   taken  (difference)\n", "product", "", "GFLOP/s", "ratio");
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
    compare(engine, own, &problems[i], turns);
  mica_engine_free(own);
  mica_engine_free(engine);
  return 0;
}
