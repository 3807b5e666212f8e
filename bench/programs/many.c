/* Many small runs: side by side on single threads, against one after the other with all threads.
 *
 *     build/bench/many [RUNS [ROUNDS]]
 *
 * The two take turns; a line for each network tells the runs a second of both and the median ratio.
 */
#include <mica/mica.h>

#include "base/progress.h"
#include "need.h"

#define N     2000
#define SIDE  16
#define MOST  64
#define TURNS 31

static const char *model;
static mica_tensor *x, *labels;

static mica_status make(void *ctx, mica_engine *engine, int64_t job, mica_train_job *out) {
  const mica_problem task = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, 10);
  (void)ctx;
  mica_status status = mica_net_create(engine, model, &task, (uint64_t)job, &out->net);
  if (status == MICA_OK)
    status = mica_memory_stream_create(x, labels, 32, true, false, (uint64_t)job, &out->train);
  out->options.epochs = 1;
  return status;
}

static void release(void *ctx, int64_t job, mica_train_job *made) {
  (void)ctx, (void)job;
  mica_memory_stream_free(&made->train);
}

static double in_turn(mica_engine *engine, int64_t runs) {
  const double start = mica_seconds();
  for (int64_t i = 0; i < runs; i++) {
    mica_train_job job = {.options = MICA_TRAIN_OPTIONS};
    need(make(NULL, engine, i, &job));
    need(mica_train(job.net, &job.train, NULL, &job.options, NULL));
    release(NULL, i, &job);
    mica_net_free(job.net);
  }
  return mica_seconds() - start;
}

static double at_once(mica_engine *engine, int64_t runs) {
  static mica_train_outcome out[MOST];
  mica_train_many_options o = MICA_TRAIN_MANY_OPTIONS;
  o.make = make;
  o.release = release;
  const double start = mica_seconds();
  need(mica_train_many(engine, runs, &o, out));
  for (int64_t i = 0; i < runs; i++) need(out[i].status);
  return mica_seconds() - start;
}

static int by_size(const void *a, const void *b) {
  const double p = *(const double *)a, q = *(const double *)b;
  return (p > q) - (p < q);
}
static double median(double *v, int n) {
  qsort(v, (size_t)n, sizeof *v, by_size);
  return v[n / 2];
}

int main(int argc, char **argv) {
  const int64_t runs = argc > 1 ? strtoll(argv[1], NULL, 10) : 16;
  const int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 5;
  static const char *const models[] = {"mlp:hidden=64,64", "mlp:hidden=256", "convnet:widths=8,16",
                                       "resnet:depth=8:width=8"};
  if (runs < 1 || runs > MOST || rounds < 1 || rounds > TURNS) {
    fprintf(stderr, "many: 1 to %d runs, 1 to %d rounds\n", MOST, TURNS);
    return 2;
  }
  mica_engine *engine;
  need(mica_engine_create(NULL, &engine));
  need(mica_tensor_create(MICA_F32, MICA_SHAPE(N, SIDE, SIDE, 1), &x));
  need(mica_tensor_create(MICA_I64, MICA_SHAPE(N), &labels));
  for (int64_t i = 0; i < N * SIDE * SIDE; i++)
    ((float *)mica_tensor_data(x))[i] = (float)mica_random_normal(mica_key_seed(1), (uint64_t)i);
  for (int64_t i = 0; i < N; i++) ((int64_t *)mica_tensor_data(labels))[i] = i % 10;
  printf("%lld runs, %d threads\n", (long long)runs, mica_engine_threads(engine));
  for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
    double turn[TURNS], once[TURNS], ratio[TURNS];
    model = models[m];
    at_once(engine, runs < 2 ? runs : 2); /* memory and caches warm */
    for (int r = 0; r < rounds; r++) {
      turn[r] = in_turn(engine, runs);
      once[r] = at_once(engine, runs);
      ratio[r] = turn[r] / once[r];
    }
    printf("%-24s in turn %6.2f runs/s, at once %6.2f runs/s, ratio %.2f\n", model,
           (double)runs / median(turn, rounds), (double)runs / median(once, rounds),
           median(ratio, rounds));
    fflush(stdout);
  }
  mica_tensor_free(x);
  mica_tensor_free(labels);
  mica_engine_free(engine);
  return 0;
}
