/* 3x3 convolutions by Winograd's products beside oneDNN's own kernels, the three passes of each.
 *
 *     build/bench/convolution [THREADS [TURNS]]
 *
 * The two take turns; a line for each convolution tells how many times as fast the products are,
 * and how far the results lie apart, as a share of their size.
 */
#include <mica/mica.h>

#include "base/progress.h"
#include "numbers.h"
#include "tensor/kernel/convolution.h"
#include "tensor/kernel/onednn.h"
#include "tensor/kernel/winograd.h"

enum { FORWARD, DATA, WEIGHTS, PASSES };

typedef struct problem {
  int64_t n, c, o, side;
} problem;

static const problem problems[] = {{64, 64, 64, 32},  {64, 128, 128, 16}, {64, 256, 256, 8},
                                   {64, 512, 512, 4}, {8, 64, 64, 56},    {8, 128, 128, 28},
                                   {8, 256, 256, 14}, {8, 512, 512, 7},   {128, 16, 16, 28},
                                   {128, 32, 32, 14}, {128, 64, 64, 7}};

typedef struct arrays {
  float *x, *w, *dy;
  float *own[PASSES], *other[PASSES]; /* y, dx, dw */
  int64_t n[PASSES];
} arrays;

static void own(const mica_engine *engine, const mica_convolution *v, int pass, arrays *a) {
  if (pass == FORWARD)
    need(mica_winograd_forward(engine, v, a->w, NULL, a->x, NULL, NULL, false, a->own[FORWARD]));
  else if (pass == DATA)
    need(mica_winograd_data(engine, v, a->dy, a->w, NULL, NULL, a->own[DATA]));
  else
    need(mica_winograd_weights(engine, v, a->x, a->dy, a->own[WEIGHTS]));
}

/* False: this build has no oneDNN. */
static bool other(const mica_engine *engine, const mica_convolution *v, int pass, arrays *a) {
  bool done = false;
  if (pass == FORWARD)
    need(mica_onednn_convolution(engine, v, MICA_ONEDNN_FORWARD, a->x, a->w, NULL,
                                 a->other[FORWARD], &done));
  else if (pass == DATA)
    need(mica_onednn_convolution(engine, v, MICA_ONEDNN_DATA, a->other[DATA], a->w, NULL, a->dy,
                                 &done));
  else
    need(mica_onednn_convolution(engine, v, MICA_ONEDNN_WEIGHTS, a->x, a->other[WEIGHTS], NULL,
                                 a->dy, &done));
  return done;
}

/* The median over the turns of oneDNN's time over that of the products. */
static double ratio(const mica_engine *engine, const mica_convolution *v, int pass, arrays *a,
                    int turns) {
  double *ratios = malloc((size_t)turns * sizeof *ratios);
  if (!ratios) need(MICA_ERR_MEMORY);
  own(engine, v, pass, a);
  for (int i = 0; i < turns; i++) {
    const double begin = mica_seconds();
    own(engine, v, pass, a);
    const double middle = mica_seconds();
    if (!other(engine, v, pass, a)) {
      fprintf(stderr, "convolution: this build has no oneDNN to compare with\n");
      exit(1);
    }
    ratios[i] = (mica_seconds() - middle) / (middle - begin);
  }
  const double middle = median(ratios, turns);
  free(ratios);
  return middle;
}

static void compare(const mica_engine *engine, const problem *p, int turns) {
  const int64_t places = p->n * p->side * p->side;
  const mica_convolution v = {.dtype = MICA_F32,
                              .compute = MICA_F32,
                              .n = p->n,
                              .c = p->c,
                              .o = p->o,
                              .groups = 1,
                              .size = {1, p->side, p->side},
                              .kernel = {1, 3, 3},
                              .stride = {1, 1, 1},
                              .dilation = {1, 1, 1},
                              .before = {0, 1, 1},
                              .after = {0, 1, 1}};
  arrays a = {.x = noise(places * p->c, 1),
              .w = noise(p->o * 9 * p->c, 2),
              .dy = noise(places * p->o, 3),
              .n = {places * p->o, places * p->c, p->o * 9 * p->c}};
  printf("%4d x %3d -> %3d, %2dx%-2d %s", (int)p->n, (int)p->c, (int)p->o, (int)p->side,
         (int)p->side, mica_winograd_pays(engine, &v) ? "  " : "no");
  for (int pass = 0; pass < PASSES; pass++) {
    a.own[pass] = noise(a.n[pass], 4);
    a.other[pass] = noise(a.n[pass], 5);
    printf("  %5.2f", ratio(engine, &v, pass, &a, turns));
    printf(" (%.0e)", apart(a.n[pass], a.own[pass], a.other[pass]));
    mica_free_aligned(a.own[pass]);
    mica_free_aligned(a.other[pass]);
  }
  printf("\n");
  mica_free_aligned(a.x);
  mica_free_aligned(a.w);
  mica_free_aligned(a.dy);
}

int main(int argc, char **argv) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *engine;
  o.threads = argc > 1 ? atoi(argv[1]) : 1;
  const int turns = argc > 2 && atoi(argv[2]) > 0 ? atoi(argv[2]) : 7;
  need(mica_engine_create(&o, &engine));
  printf("images x channels, map; \"no\": not taken in a network;  forward  dx  dw (difference)\n");
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
    compare(engine, &problems[i], turns);
  mica_engine_free(engine);
  return 0;
}
