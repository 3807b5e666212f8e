/* The networks and scores that the experiments of data-diet share. */
#include "paper/claims/data_diet_scoring.h"

static const char data[] = "fashion-mnist";
enum { BATCH = 128 };

void mica_diet_release(void *given) {
  mica_diet *s = given;
  mica_tensor_free(s->x);
  mica_tensor_free(s->label);
  mica_tensor_free(s->tests);
  mica_tensor_free(s->truth);
  mica_net_free(s->net);
  mica_forgetting_free(s->forgotten);
  mica_free(s->wrong);
  mica_free(s->score);
  mica_free(s->second);
  mica_free(s->each);
  mica_free(s);
}

static mica_status take(mica_claim_cell *cell, mica_part part, int64_t n, mica_tensor **x,
                        mica_tensor **label) {
  return mica_claim_pictures(cell, data, part, mica_key_fold_name(cell->key, "images"), n, NULL, x,
                             label);
}

mica_status mica_diet_begin(mica_claim_cell *cell, mica_diet **out) {
  const mica_diet_settings *o = cell->options;
  mica_diet *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  mica_status status = take(cell, MICA_PART_TRAIN, o->images, &s->x, &s->label);
  if (status == MICA_OK) {
    s->n = mica_tensor_dim(s->x, 0);
    s->score = mica_calloc((size_t)s->n, sizeof *s->score);
    s->second = mica_calloc((size_t)s->n, sizeof *s->second);
    s->wrong = mica_calloc((size_t)s->n, sizeof *s->wrong);
    if (!s->score || !s->second || !s->wrong) status = MICA_ERR_MEMORY;
  }
  if (status == MICA_OK)
    *out = s;
  else
    mica_diet_release(s);
  return status;
}

mica_status mica_diet_take_tests(mica_claim_cell *cell, mica_diet *s) {
  return take(cell, MICA_PART_TEST, 0, &s->tests, &s->truth);
}

mica_status mica_diet_ready(mica_status status, mica_diet *s, void **out) {
  if (status == MICA_OK)
    *out = s;
  else
    mica_diet_release(s);
  return status;
}

void mica_diet_spoil(mica_claim_cell *cell, mica_diet *s, double share) {
  const mica_key key = mica_key_fold_name(cell->key, "flip");
  int64_t *label = mica_tensor_data(s->label);
  for (int64_t i = 0; i < s->n; i++) {
    s->wrong[i] = mica_random_uniform(key, (uint64_t)i) < share;
    if (s->wrong[i])
      label[i] = (label[i] + 1 +
                  (int64_t)mica_random_below(key, (uint64_t)(s->n + i), MICA_DIET_CLASSES - 1)) %
                 MICA_DIET_CLASSES;
  }
}

/* ---- networks ---- */

int64_t mica_diet_steps(int64_t n, int64_t epochs) {
  return (n + BATCH - 1) / BATCH * epochs;
}

mica_status mica_diet_net(mica_claim_cell *cell, const mica_diet *s, const char *model,
                          uint64_t which, mica_net **out) {
  const mica_shape *shape = mica_tensor_shape(s->x);
  const mica_problem problem =
      MICA_PROBLEM_IMAGES(shape->dim[1], shape->dim[2], shape->dim[3], MICA_DIET_CLASSES);
  return mica_net_create(cell->engine, model, &problem,
                         mica_random_bits(mica_key_fold_name(cell->key, "net"), which), out);
}

mica_status mica_diet_train(mica_claim_cell *cell, mica_net *net, mica_tensor *x,
                            mica_tensor *label, int64_t steps, uint64_t which,
                            mica_forgetting *counted) {
  mica_train_options o = MICA_TRAIN_OPTIONS;
  o.optimiser = "sgd:lr=0.05:momentum=0.9:nesterov=true:weight_decay=5e-4";
  o.schedule = "cosine";
  o.seed = mica_random_bits(mica_key_fold_name(cell->key, "order"), which);
  if (counted) {
    o.visit = mica_forgetting_visitor;
    o.visit_ctx = counted;
  }
  return mica_claim_train_on(cell, net, x, label, BATCH, false, steps, &o);
}

mica_status mica_diet_early_net(mica_claim_cell *cell, const mica_diet *s, uint64_t which,
                                int64_t epochs, mica_forgetting *counted, mica_net **out) {
  const mica_diet_settings *o = cell->options;
  mica_status status = mica_diet_net(cell, s, o->model, which, out);
  if (status == MICA_OK && epochs)
    status =
        mica_diet_train(cell, *out, s->x, s->label, mica_diet_steps(s->n, epochs), which, counted);
  return status;
}

/* ---- scores ---- */

mica_status mica_diet_score(const mica_net *net, const mica_diet *s, const char *spec, bool add,
                            double *out) {
  mica_stream stream;
  mica_status status = mica_memory_stream_create(s->x, s->label, 256, false, false, 0, &stream);
  if (status != MICA_OK) return status;
  status = mica_score_examples(net, spec, &stream, s->n, add, out);
  mica_memory_stream_free(&stream);
  return status;
}

mica_status mica_diet_score_early(mica_claim_cell *cell, mica_diet *s, int64_t epochs,
                                  const char *spec, const char *second) {
  const mica_diet_settings *o = cell->options;
  mica_status status = MICA_OK;
  for (int64_t k = 0; k < o->score_seeds && status == MICA_OK; k++) {
    mica_net *net = NULL;
    status = mica_diet_early_net(cell, s, 1000 + (uint64_t)k, epochs, NULL, &net);
    if (status == MICA_OK) status = mica_diet_score(net, s, spec, true, s->score);
    if (status == MICA_OK && second) status = mica_diet_score(net, s, second, true, s->second);
    mica_net_free(net);
  }
  return status;
}

mica_status mica_diet_score_as_set(mica_claim_cell *cell, mica_diet *s) {
  static const char *const names[] = {"el2n",       "el1n",       "grand",
                                      "grand_last", "max_margin", "sum_margin"};
  const mica_diet_settings *o = cell->options;
  return mica_diet_score_early(cell, s, o->score_epochs, names[o->score], NULL);
}
