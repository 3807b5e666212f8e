/* Click models on a log like Criteo's: 26 fields of ids, 13 numbers, batches of 2048 in which an id
 * of rank r comes as often as 1 / r.
 *
 *     train   a step; the optimiser updates the rows that came
 *     infer   the scores of a batch
 */
#include "bench.h"

#include <math.h>
#include <stdlib.h>

enum { FIELDS = 26, NUMBERS = 13, BATCH = 2048, BATCHES = 16 };

/* As many ids as Criteo's fields have, at most 150,000: 1.2 million rows. */
static const int64_t criteo[FIELDS] = {
    1460, 583,   150000, 150000, 305,  24,   12517, 633,    3,  93145, 5683,   150000, 3194,
    27,   14992, 150000, 10,     5652, 2173, 4,     150000, 18, 15,    150000, 105,    142572};

typedef struct setting {
  const char *model, *optimiser;
  int64_t rows; /* of every field; 0: as many as Criteo's have */
} setting;

typedef struct batch {
  mica_tensor *x, *fields, *click;
} batch;

typedef struct clicks {
  mica_net *net;
  mica_optimiser *optimiser;
  batch batches[BATCHES];
} clicks;

static batch make_batch(uint64_t number, int64_t rows, const int64_t *size) {
  const mica_key key = mica_key_seed(number + 1);
  batch b;
  b.x = noise(MICA_SHAPE(rows, NUMBERS), number);
  b.click = numbers(MICA_SHAPE(rows), 2, number);
  need(mica_tensor_create(MICA_I64, MICA_SHAPE(rows, FIELDS), &b.fields));
  int64_t *id = mica_tensor_data(b.fields);
  for (int64_t i = 0; i < rows * FIELDS; i++)
    id[i] =
        (int64_t)exp(mica_random_uniform(key, (uint64_t)i) * log((double)size[i % FIELDS] + 1)) - 1;
  return b;
}

static void make(bench *b) {
  const setting *s = b->work->setting;
  clicks *c = b->made = calloc(1, sizeof *c);
  int64_t size[FIELDS];
  const bool train = in_phase(b, "train");
  if (!train && !in_phase(b, "infer")) no_phase(b);
  const int64_t rows = b->batch ? b->batch : BATCH;
  for (int i = 0; i < FIELDS; i++) size[i] = s->rows ? s->rows : criteo[i];
  const mica_problem problem = MICA_PROBLEM_FIELDS(NUMBERS, FIELDS, size, 2);
  need(mica_net_create(b->engine, s->model, &problem, 1, &c->net));
  if (train) need(mica_optimiser_create(mica_net_params(c->net), s->optimiser, &c->optimiser));
  for (uint64_t i = 0; i < BATCHES; i++) c->batches[i] = make_batch(i, rows, size);
}

static void step(bench *b) {
  mica_tape *t = b->tape;
  clicks *c = b->made;
  const batch *now = &c->batches[b->steps % BATCHES];
  mica_outputs o;
  mica_tape_set_step(t, b->steps, 0);
  if (!c->optimiser) mica_no_grad_begin(t);
  mica_set_training(t, c->optimiser != NULL);
  const mica_inputs in = {mica_input(t, now->x), MICA_NONE, mica_input(t, now->fields)};
  if (c->optimiser) mica_params_zero_grad(mica_net_params(c->net));
  mica_net_forward_inputs(t, c->net, &in, &o);
  if (c->optimiser) {
    need(mica_backward(
        t, mica_cross_entropy(t, o.logits, mica_input(t, now->click), MICA_NONE, NULL)));
    need(mica_optimiser_step(c->optimiser, t, 1));
    need(mica_commit(t));
  }
  need(mica_tape_status(t));
  mica_tape_reset(t);
}

static void release(bench *b) {
  clicks *c = b->made;
  for (int i = 0; i < BATCHES; i++) {
    mica_tensor_free(c->batches[i].x);
    mica_tensor_free(c->batches[i].fields);
    mica_tensor_free(c->batches[i].click);
  }
  mica_optimiser_free(c->optimiser);
  mica_net_free(c->net);
  free(c);
}

static const setting deepfm = {"deepfm:dim=16:dropout=0", "adam:lazy=true", 0};
static const setting dlrm_adam = {"dlrm:dim=16", "adam:lazy=true", 1000000};
static const setting dlrm_adagrad = {"dlrm:dim=16", "adagrad", 1000000};

const workload click_workloads[] = {
    {"deepfm", "DeepFM, 1.2 million rows, Adam", make, step, release, &deepfm},
    {"dlrm-adam", "DLRM, 26 tables of 10^6 rows, Adam", make, step, release, &dlrm_adam},
    {"dlrm-adagrad", "the same, Adagrad", make, step, release, &dlrm_adagrad},
    {0}};
