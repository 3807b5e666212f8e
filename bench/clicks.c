/* DeepFM on a log like Criteo's, with the protocol of speed.c: each line of standard input says how
 * many steps, and their milliseconds are printed on one line. peer_clicks.py does the same in
 * PyTorch.
 *
 *     clicks
 *
 * 26 fields with as many ids as Criteo's, at most 150,000 (1.2 million rows of 16), 13 numbers,
 * batches of 2048 in which an id of rank r comes as often as 1 / r; tower 400-400-400, Adam that
 * updates the rows that came.
 */
#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { FIELDS = 26, NUMBERS = 13, BATCH = 2048, BATCHES = 16, THREADS = 2 };

static int64_t field_size[FIELDS] = {1460,  583,  150000, 150000, 305, 24,     12517,  633,   3,
                                     93145, 5683, 150000, 3194,   27,  14992,  150000, 10,    5652,
                                     2173,  4,    150000, 18,     15,  150000, 105,    142572};

static void need(mica_status status) {
  if (status == MICA_OK) return;
  fprintf(stderr, "clicks: %s\n", mica_last_error());
  exit(1);
}

static double milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

typedef struct batch {
  mica_tensor *x, *fields, *click;
} batch;

static batch make_batch(uint64_t number) {
  const mica_key key = mica_key_seed(number + 1);
  batch b;
  need(mica_tensor_create(MICA_F32, MICA_SHAPE(BATCH, NUMBERS), &b.x));
  need(mica_tensor_create(MICA_I64, MICA_SHAPE(BATCH, FIELDS), &b.fields));
  need(mica_tensor_create(MICA_I64, MICA_SHAPE(BATCH), &b.click));
  float *x = mica_tensor_data(b.x);
  int64_t *id = mica_tensor_data(b.fields), *click = mica_tensor_data(b.click);
  for (uint64_t i = 0; i < BATCH * NUMBERS; i++)
    x[i] = (float)mica_random_normal(mica_key_fold(key, 1), i);
  for (uint64_t i = 0; i < BATCH * FIELDS; i++)
    id[i] = (int64_t)exp(mica_random_uniform(mica_key_fold(key, 2), i) *
                         log((double)field_size[i % FIELDS] + 1)) -
            1;
  for (uint64_t i = 0; i < BATCH; i++)
    click[i] = mica_random_uniform(mica_key_fold(key, 3), i) < 0.25;
  return b;
}

static void step(mica_tape *t, const mica_net *net, mica_optimiser *optimiser, const batch *b,
                 uint64_t number) {
  const mica_inputs in = {mica_input(t, b->x), MICA_NONE, mica_input(t, b->fields)};
  mica_outputs o;
  mica_tape_set_step(t, number, 0);
  mica_set_training(t, true);
  mica_params_zero_grad(mica_net_params(net));
  mica_net_forward_inputs(t, net, &in, &o);
  need(mica_backward(t, mica_cross_entropy(t, o.logits, mica_input(t, b->click), MICA_NONE, NULL)));
  need(mica_optimiser_step(optimiser, t, 1));
  need(mica_commit(t));
  mica_tape_reset(t);
}

int main(void) {
  mica_engine_options options = MICA_ENGINE_OPTIONS;
  options.threads = THREADS;
  mica_engine *engine;
  mica_tape *t;
  mica_net *net;
  mica_optimiser *optimiser;
  batch b[BATCHES];
  const mica_problem problem = MICA_PROBLEM_FIELDS(NUMBERS, FIELDS, field_size, 2);
  need(mica_engine_create(&options, &engine));
  need(mica_tape_create(engine, NULL, &t));
  need(mica_net_create(engine, "deepfm:dim=16:dropout=0", &problem, 1, &net));
  need(mica_optimiser_create(mica_net_params(net), "adam:lazy=true", &optimiser));
  for (uint64_t i = 0; i < BATCHES; i++) b[i] = make_batch(i);
  uint64_t number = 0;
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    for (int i = 0, n = atoi(line); i < n; i++, number++) {
      const double start = milliseconds();
      step(t, net, optimiser, &b[number % BATCHES], number);
      printf("%s%.4f", i ? " " : "", milliseconds() - start);
    }
    printf("\n");
    fflush(stdout);
  }
  for (int i = 0; i < BATCHES; i++) {
    mica_tensor_free(b[i].x);
    mica_tensor_free(b[i].fields);
    mica_tensor_free(b[i].click);
  }
  mica_optimiser_free(optimiser);
  mica_net_free(net);
  mica_tape_free(t);
  mica_engine_free(engine);
  return 0;
}
