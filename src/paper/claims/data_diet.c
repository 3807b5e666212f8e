/* data-diet: scores from the first epochs say which training examples matter.
 *
 * pruning    test accuracy after training on a part of the examples, with the same number of steps
 * noise      how well the scores find labels that were changed
 * moment     the same half by the epoch at which it was scored, before training too
 * window     a half of examples with changed labels, by how many of the hardest are left out
 * stability  how much scores of other initial values and of another architecture agree
 * averaging  how much means over networks agree, by how many networks they are over
 */
#include <mica/paper.h>
#include <mica/select.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, images, epochs, score_epochs, score_seeds, noise_epochs;
  double window, spoiled, half;
  mica_floats keep, noise, windows;
  mica_ints moments, averages;
  const char *model;
  int32_t score;
} settings;

static const char data[] = "fashion-mnist";
enum { BATCH = 128 };

/* ---- what a seed's cells share ---- */

typedef struct shared {
  int64_t n, classes;
  mica_tensor *x, *label;     /* training images; labels as they are trained on */
  bool *wrong;                /* [n] the label was changed */
  mica_tensor *tests, *truth; /* test images */
  double *score;              /* [n] */
  double *second;             /* [n] pruning: forgetting; moment: GraNd */
  double *each;               /* averaging: [networks, n] */
  mica_net *net;              /* noise: trained on the changed labels */
  mica_forgetting *forgotten;
} shared;

static void release(void *given) {
  shared *s = given;
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

static mica_status take(mica_claim_cell *cell, mica_part part, int64_t n, shared *s,
                        mica_tensor **x, mica_tensor **label) {
  const mica_claim_images *images;
  mica_status status = mica_claim_data(cell, data, part, &images);
  if (status != MICA_OK) return status;
  if (!n || n > images->n) n = images->n;
  int64_t *item = mica_calloc((size_t)n, sizeof *item);
  if (!item) return MICA_ERR_MEMORY;
  s->classes = images->classes;
  status = mica_claim_draw(images, mica_key_fold_name(cell->key, "images"), n, NULL, item);
  if (status == MICA_OK) status = mica_claim_take(images, n, item, x, label);
  mica_free(item);
  return status;
}

/* A network of the seed's own: `which` keeps scoring and training apart. */
static mica_status make_net(mica_claim_cell *cell, const shared *s, const char *model,
                            uint64_t which, mica_net **out) {
  const mica_shape *shape = mica_tensor_shape(s->x);
  const mica_problem problem =
      MICA_PROBLEM_IMAGES(shape->dim[1], shape->dim[2], shape->dim[3], s->classes);
  return mica_net_create(cell->engine, model, &problem,
                         mica_random_bits(mica_key_fold_name(cell->key, "net"), which), out);
}

static mica_status train(mica_claim_cell *cell, mica_net *net, mica_tensor *x, mica_tensor *label,
                         int64_t steps, uint64_t which, mica_forgetting *counted) {
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_stream stream;
  const uint64_t seed = mica_random_bits(mica_key_fold_name(cell->key, "order"), which);
  mica_status status = mica_memory_stream_create(x, label, BATCH, true, false, seed, &stream);
  if (status != MICA_OK) return status;
  o.optimiser = "sgd:lr=0.05:momentum=0.9:nesterov=true:weight_decay=5e-4";
  o.schedule = "cosine";
  o.seed = seed;
  if (counted) {
    o.visit = mica_forgetting_visitor;
    o.visit_ctx = counted;
  }
  status = mica_claim_train(cell, net, &stream, steps, &o, NULL);
  mica_memory_stream_free(&stream);
  return status;
}

static int64_t steps_of(int64_t n, int64_t epochs) {
  return (n + BATCH - 1) / BATCH * epochs;
}

/* Scores of all training examples by a network in evaluation mode. */
static mica_status score(const mica_net *net, const shared *s, const char *spec, bool add,
                         double *out) {
  mica_stream stream;
  mica_status status = mica_memory_stream_create(s->x, s->label, 256, false, false, 0, &stream);
  if (status != MICA_OK) return status;
  status = mica_score_examples(net, spec, &stream, s->n, add, out);
  mica_memory_stream_free(&stream);
  return status;
}

static const char *const score_names[] = {"el2n",       "el1n",       "grand",
                                          "grand_last", "max_margin", "sum_margin"};

static mica_status begin(mica_claim_cell *cell, shared **out) {
  const settings *o = cell->options;
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  mica_status status = take(cell, MICA_PART_TRAIN, o->images, s, &s->x, &s->label);
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
    release(s);
  return status;
}

/* A network of the number `which`, trained for so many epochs on the labels as they are. */
static mica_status early_net(mica_claim_cell *cell, const shared *s, uint64_t which, int64_t epochs,
                             mica_forgetting *counted, mica_net **out) {
  const settings *o = cell->options;
  mica_status status = make_net(cell, s, o->model, which, out);
  if (status == MICA_OK && epochs)
    status = train(cell, *out, s->x, s->label, steps_of(s->n, epochs), which, counted);
  return status;
}

/* Add the scores of several early networks up; `second` may be NULL. */
static mica_status score_early(mica_claim_cell *cell, shared *s, uint64_t first, int64_t epochs,
                               const char *spec, const char *second) {
  const settings *o = cell->options;
  mica_status status = MICA_OK;
  for (int64_t k = 0; k < o->score_seeds && status == MICA_OK; k++) {
    mica_net *net = NULL;
    status = early_net(cell, s, first + (uint64_t)k, epochs, NULL, &net);
    if (status == MICA_OK) status = score(net, s, spec, true, s->score);
    if (status == MICA_OK && second) status = score(net, s, second, true, s->second);
    mica_net_free(net);
  }
  return status;
}

/* Give the shared things to the driver, or away. */
static mica_status ready(mica_status status, shared *s, void **out) {
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

/* ---- training on a part ---- */

/* The chosen examples: their images and labels. */
static mica_status choose(const shared *s, const double *by, const mica_select_options *select,
                          mica_tensor **x, mica_tensor **label) {
  const mica_shape *shape = mica_tensor_shape(s->x);
  const int64_t row = mica_tensor_count(s->x) / s->n;
  int64_t *kept = mica_calloc((size_t)s->n, sizeof *kept), n = 0;
  if (!kept) return MICA_ERR_MEMORY;
  mica_status status = mica_select_examples(s->n, by, mica_tensor_data(s->label), select, kept, &n);
  if (status == MICA_OK)
    status =
        mica_tensor_create(MICA_F32, MICA_SHAPE(n, shape->dim[1], shape->dim[2], shape->dim[3]), x);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(n), label);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    memcpy((float *)mica_tensor_data(*x) + i * row,
           (const float *)mica_tensor_data(s->x) + kept[i] * row, (size_t)row * sizeof(float));
    ((int64_t *)mica_tensor_data(*label))[i] =
        ((const int64_t *)mica_tensor_data(s->label))[kept[i]];
  }
  mica_free(kept);
  return status;
}

/* Class counts, which scores skew, of one seed for the report. */
static mica_status remark_classes(mica_claim_cell *cell, const shared *s,
                                  const mica_tensor *label) {
  char text[256];
  size_t used = 0;
  const int64_t *l = mica_tensor_data(label), n = mica_tensor_count(label);
  for (int64_t c = 0; c < s->classes && used < sizeof text - 16; c++) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += l[i] == c;
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", c ? ", " : "",
                             (long long)count);
  }
  return mica_claim_remark(cell, "%s, kept %g: examples of the classes %s", cell->arm->name,
                           cell->point, text);
}

/* The cell's measure: test accuracy after training on what is chosen. Every arm has the same number
 * of steps: more epochs over fewer examples. */
static mica_status train_on(mica_claim_cell *cell, const double *by,
                            const mica_select_options *select) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  mica_tensor *x = NULL, *label = NULL;
  mica_net *net = NULL;
  mica_stream tests = {0};
  mica_evaluation e = {0};
  mica_status status = choose(s, by, select, &x, &label);
  if (status == MICA_OK) status = make_net(cell, s, o->model, 0, &net);
  if (status == MICA_OK) status = train(cell, net, x, label, steps_of(s->n, o->epochs), 0, NULL);
  if (status == MICA_OK)
    status = mica_memory_stream_create(s->tests, s->truth, 256, false, false, 0, &tests);
  if (status == MICA_OK) status = mica_evaluate(net, &tests, false, false, &e);
  if (status == MICA_OK) status = mica_claim_report(cell, "accuracy", e.accuracy);
  if (status == MICA_OK && cell->seed == 0 && cell->arm->role == MICA_ARM_METHOD)
    status = remark_classes(cell, s, label);
  if (tests.ctx) mica_memory_stream_free(&tests);
  mica_net_free(net);
  mica_tensor_free(x);
  mica_tensor_free(label);
  return status;
}

/* ---- pruning ---- */

static mica_status prepare_pruning(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  shared *s = NULL;
  mica_net *net = NULL;
  mica_status status = begin(cell, &s);
  if (status != MICA_OK) return status;
  status = take(cell, MICA_PART_TEST, 0, s, &s->tests, &s->truth);
  if (status == MICA_OK)
    status = score_early(cell, s, 1000, o->score_epochs, score_names[o->score], NULL);
  /* Forgetting takes a whole training. */
  if (status == MICA_OK) status = mica_forgetting_create(s->n, &s->forgotten);
  if (status == MICA_OK) status = early_net(cell, s, 1500, o->epochs, s->forgotten, &net);
  if (status == MICA_OK) mica_forgetting_scores(s->forgotten, s->second);
  mica_net_free(net);
  return ready(status, s, out);
}

static mica_status run_majority(mica_claim_cell *cell, const shared *s) {
  int64_t right = 0;
  const int64_t *truth = mica_tensor_data(s->truth), *label = mica_tensor_data(s->label);
  const int64_t n = mica_tensor_count(s->truth);
  int64_t best = 0, most = 0;
  for (int64_t c = 0; c < s->classes; c++) {
    int64_t count = 0;
    for (int64_t i = 0; i < s->n; i++) count += label[i] == c;
    if (count > most) most = count, best = c;
  }
  for (int64_t i = 0; i < n; i++) right += truth[i] == best;
  return mica_claim_report(cell, "accuracy", (double)right / (double)n);
}

/* The class whose mean image is nearest. */
static mica_status run_nearest_mean(mica_claim_cell *cell, const shared *s) {
  const int64_t row = mica_tensor_count(s->x) / s->n, tests = mica_tensor_dim(s->tests, 0);
  const float *x = mica_tensor_data(s->x), *y = mica_tensor_data(s->tests);
  const int64_t *label = mica_tensor_data(s->label), *truth = mica_tensor_data(s->truth);
  double *mean = mica_calloc((size_t)(s->classes * (row + 1)), sizeof *mean);
  double *count = mean + s->classes * row;
  int64_t right = 0;
  if (!mean) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < s->n; i++) {
    count[label[i]]++;
    for (int64_t j = 0; j < row; j++) mean[label[i] * row + j] += (double)x[i * row + j];
  }
  for (int64_t c = 0; c < s->classes; c++)
    for (int64_t j = 0; j < row; j++) mean[c * row + j] /= fmax(1, count[c]);
  for (int64_t i = 0; i < tests; i++) {
    double least = INFINITY;
    int64_t nearest = 0;
    for (int64_t c = 0; c < s->classes; c++) {
      double d = 0;
      for (int64_t j = 0; j < row; j++) {
        const double by = (double)y[i * row + j] - mean[c * row + j];
        d += by * by;
      }
      if (d < least) least = d, nearest = c;
    }
    right += truth[i] == nearest;
  }
  mica_free(mean);
  return mica_claim_report(cell, "accuracy", (double)right / (double)tests);
}

static mica_status run_pruning(mica_claim_cell *cell) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  const char *arm = cell->arm->name;
  if (strcmp(arm, "majority") == 0) return run_majority(cell, s);
  if (strcmp(arm, "nearest-mean") == 0) return run_nearest_mean(cell, s);
  mica_select_options select = MICA_SELECT_OPTIONS;
  select.keep = strcmp(arm, "full") == 0 ? 1 : cell->point;
  select.seed = (uint64_t)cell->seed;
  if (strcmp(arm, "random") == 0) select.order = MICA_SELECT_RANDOM;
  if (strcmp(arm, "easiest") == 0) select.order = MICA_SELECT_EASIEST;
  if (strcmp(arm, "hardest-window") == 0) select.skip = o->window;
  if (strcmp(arm, "hardest-balanced") == 0) select.balanced = true;
  return train_on(cell, strcmp(arm, "forgetting") == 0 ? s->second : s->score, &select);
}

/* ---- by the moment of scoring ---- */

static mica_status prepare_moment(mica_claim_cell *cell, void **out) {
  shared *s = NULL;
  mica_status status = begin(cell, &s);
  if (status != MICA_OK) return status;
  status = take(cell, MICA_PART_TEST, 0, s, &s->tests, &s->truth);
  if (status == MICA_OK) status = score_early(cell, s, 1000, (int64_t)cell->point, "el2n", "grand");
  return ready(status, s, out);
}

static mica_status run_moment(mica_claim_cell *cell) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  mica_select_options select = MICA_SELECT_OPTIONS;
  select.keep = o->half;
  select.skip = o->window;
  select.seed = (uint64_t)cell->seed;
  if (strcmp(cell->arm->name, "random") == 0) {
    select.order = MICA_SELECT_RANDOM;
    select.skip = 0;
  }
  return train_on(cell, strcmp(cell->arm->name, "grand") == 0 ? s->second : s->score, &select);
}

/* ---- wrong labels ---- */

/* Another class for a share of the labels. */
static void spoil(mica_claim_cell *cell, shared *s, double share) {
  const mica_key key = mica_key_fold_name(cell->key, "flip");
  int64_t *label = mica_tensor_data(s->label);
  for (int64_t i = 0; i < s->n; i++) {
    s->wrong[i] = mica_random_uniform(key, (uint64_t)i) < share;
    if (s->wrong[i])
      label[i] = (label[i] + 1 +
                  (int64_t)mica_random_below(key, (uint64_t)(s->n + i), (uint64_t)s->classes - 1)) %
                 s->classes;
  }
}

static mica_status prepare_noise(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  shared *s = NULL;
  mica_status status = begin(cell, &s);
  if (status != MICA_OK) return status;
  spoil(cell, s, cell->point);
  status = mica_forgetting_create(s->n, &s->forgotten);
  if (status == MICA_OK) status = early_net(cell, s, 2000, o->noise_epochs, s->forgotten, &s->net);
  return ready(status, s, out);
}

static mica_status run_noise(mica_claim_cell *cell) {
  shared *s = cell->shared;
  const char *arm = cell->arm->name;
  const mica_key coin = mica_key_fold_name(cell->key, "coin");
  mica_noise_report report;
  mica_status status = MICA_OK;
  if (strcmp(arm, "coin") == 0)
    for (int64_t i = 0; i < s->n; i++) s->score[i] = mica_random_uniform(coin, (uint64_t)i);
  else if (strcmp(arm, "forgetting") == 0)
    mica_forgetting_scores(s->forgotten, s->score);
  else
    status = score(s->net, s, arm, false, s->score);
  if (status == MICA_OK) status = mica_score_noise(s->n, s->score, s->wrong, 0, &report);
  if (status == MICA_OK) status = mica_claim_report(cell, "auroc", report.auroc.value);
  if (status == MICA_OK) status = mica_claim_report(cell, "precision", report.precision);
  return status;
}

static mica_status prepare_window(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  shared *s = NULL;
  mica_status status = begin(cell, &s);
  if (status != MICA_OK) return status;
  spoil(cell, s, o->spoiled);
  status = take(cell, MICA_PART_TEST, 0, s, &s->tests, &s->truth);
  if (status == MICA_OK)
    status = score_early(cell, s, 1000, o->score_epochs, score_names[o->score], NULL);
  return ready(status, s, out);
}

static mica_status run_window(mica_claim_cell *cell) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  mica_select_options select = MICA_SELECT_OPTIONS;
  select.keep = o->half;
  select.seed = (uint64_t)cell->seed;
  if (strcmp(cell->arm->name, "random") == 0)
    select.order = MICA_SELECT_RANDOM;
  else
    select.skip = cell->point;
  return train_on(cell, s->score, &select);
}

/* ---- stability ---- */

static mica_status prepare_stability(mica_claim_cell *cell, void **out) {
  return begin(cell, (shared **)out);
}

/* The arm's score from two networks of the same moment. */
static mica_status run_stability(mica_claim_cell *cell) {
  const settings *o = cell->options;
  shared *s = cell->shared;
  const char *models[2] = {o->model, cell->arm->own ? cell->arm->own : o->model};
  double *other = mica_calloc((size_t)s->n, sizeof *other), rho = NAN;
  mica_status status = other ? MICA_OK : MICA_ERR_MEMORY;
  for (int k = 0; k < 2 && status == MICA_OK; k++) {
    mica_net *net = NULL;
    const uint64_t which = 3000 + (uint64_t)k;
    status = make_net(cell, s, models[k], which, &net);
    if (status == MICA_OK && cell->point > 0)
      status = train(cell, net, s->x, s->label, steps_of(s->n, (int64_t)cell->point), which, NULL);
    if (status == MICA_OK) status = score(net, s, cell->arm->spec, false, k ? other : s->score);
    mica_net_free(net);
  }
  if (status == MICA_OK) status = mica_spearman(s->n, s->score, other, &rho);
  if (status == MICA_OK) status = mica_claim_report(cell, "spearman", rho);
  mica_free(other);
  return status;
}

/* ---- averaging ---- */

static int64_t most_averaged(const settings *o) {
  int64_t most = 1;
  for (int64_t i = 0; i < o->averages.n; i++)
    if (o->averages.v[i] > most) most = o->averages.v[i];
  return most;
}

/* Scores of twice as many networks as are averaged at most: EL2N, and behind them GraNd. */
static mica_status prepare_averaging(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  const int64_t networks = 2 * most_averaged(o);
  shared *s = NULL;
  mica_status status = begin(cell, &s);
  if (status != MICA_OK) return status;
  s->each = mica_calloc((size_t)(2 * networks * s->n), sizeof *s->each);
  if (!s->each) status = MICA_ERR_MEMORY;
  for (int64_t k = 0; k < networks && status == MICA_OK; k++) {
    mica_net *net = NULL;
    status = early_net(cell, s, 4000 + (uint64_t)k, o->score_epochs, NULL, &net);
    if (status == MICA_OK) status = score(net, s, "el2n", false, s->each + k * s->n);
    if (status == MICA_OK) status = score(net, s, "grand", false, s->each + (networks + k) * s->n);
    mica_net_free(net);
  }
  return ready(status, s, out);
}

/* Two means, over the first so many networks and over as many others. */
static mica_status run_averaging(mica_claim_cell *cell) {
  shared *s = cell->shared;
  const int64_t networks = 2 * most_averaged(cell->options), k = (int64_t)cell->point;
  const double *each = s->each + (strcmp(cell->arm->name, "grand") == 0 ? networks : 0) * s->n;
  double rho;
  for (int64_t i = 0; i < s->n; i++) {
    s->score[i] = s->second[i] = 0;
    for (int64_t j = 0; j < k; j++) {
      s->score[i] += each[j * s->n + i];
      s->second[i] += each[(networks / 2 + j) * s->n + i];
    }
  }
  const mica_status status = mica_spearman(s->n, s->score, s->second, &rho);
  return status == MICA_OK ? mica_claim_report(cell, "spearman", rho) : status;
}

/* ---- the claim ---- */

static const mica_claim_arm pruning_arms[] = {
    {"hardest-window", "the largest scores, without the very largest", MICA_ARM_METHOD, NULL, NULL},
    {"hardest", "the largest scores", MICA_ARM_METHOD, NULL, NULL},
    {"hardest-balanced", "the largest scores of each class", MICA_ARM_CONTEXT, NULL, NULL},
    {"random", "as many at random", MICA_ARM_BASELINE, NULL, NULL},
    {"easiest", "the smallest scores", MICA_ARM_CONTROL, NULL, NULL},
    {"full", "all examples", MICA_ARM_CONTEXT, NULL, NULL},
    {"forgetting", "those unlearnt most often in a whole training", MICA_ARM_CONTEXT, NULL, NULL},
    {"nearest-mean", "the class whose mean image is nearest", MICA_ARM_TRIVIAL, NULL, NULL},
    {"majority", "always the most frequent class", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};
static const mica_claim_measure pruning_measures[] = {{"accuracy", "test accuracy", false}, {0}};
static const mica_claim_check pruning_checks[] = {
    {"the hardest half, less the very hardest, is at least as good as a random half",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"hardest-window", 0.5, 0.5},
     {"random", 0.5, 0.5},
     0,
     false,
     NULL,
     false},
    {"the easiest half is clearly worse than a random half",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"random", 0.5, 0.5},
     {"easiest", 0.5, 0.5},
     0.02,
     false,
     NULL,
     false},
    {"the hardest half with the very hardest",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"hardest", 0.5, 0.5},
     {"random", 0.5, 0.5},
     0,
     false,
     NULL,
     true},
    {"the hardest 30 % (may lose coverage)",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"hardest-window", 0.3, 0.3},
     {"random", 0.3, 0.3},
     0,
     false,
     NULL,
     true},
    {"half of the examples, chosen, against all of them",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"hardest", 0.5, 0.5},
     {"full", 0.5, 0.5},
     0,
     false,
     NULL,
     true},
    {0}};

static const mica_claim_arm moment_arms[] = {
    {"el2n", "the largest errors, without the very largest", MICA_ARM_METHOD, NULL, NULL},
    {"grand", "the largest gradients, without the very largest", MICA_ARM_METHOD, NULL, NULL},
    {"random", "as many at random", MICA_ARM_BASELINE, NULL, NULL},
    {0}};
static const mica_claim_arm window_arms[] = {
    {"hardest", "the largest scores behind those that are left out", MICA_ARM_METHOD, NULL, NULL},
    {"random", "as many at random", MICA_ARM_BASELINE, NULL, NULL},
    {0}};
static const mica_claim_arm averaging_arms[] = {
    {"el2n", "means of errors", MICA_ARM_METHOD, NULL, NULL},
    {"grand", "means of norms of gradients", MICA_ARM_METHOD, NULL, NULL},
    {0}};

static const mica_claim_arm noise_arms[] = {
    {"el2n", "norm of the error", MICA_ARM_METHOD, NULL, NULL},
    {"el1n", "sum of the absolute error", MICA_ARM_CONTEXT, NULL, NULL},
    {"grand", "norm of the gradient of all weights", MICA_ARM_METHOD, NULL, NULL},
    {"grand_last", "norm of the last layer's gradient", MICA_ARM_CONTEXT, NULL, NULL},
    {"max_margin", "largest wrong probability less the right one", MICA_ARM_CONTEXT, NULL, NULL},
    {"sum_margin", "all wrong probabilities, each less the right one", MICA_ARM_CONTEXT, NULL,
     NULL},
    {"forgetting", "how often it was unlearnt", MICA_ARM_BASELINE, NULL, NULL},
    {"coin", "a random number", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};
static const mica_claim_measure noise_measures[] = {
    {"auroc", "area under the ROC curve for wrong labels", false},
    {"precision", "share of wrong labels among the top scores", false},
    {0}};
static const mica_claim_check noise_checks[] = {
    {"EL2N after two epochs finds 10 % of wrong labels",
     MICA_CHECK_VALUE,
     "auroc",
     {"el2n", 0.1, 0.1},
     {NULL, 0, 0},
     0.9,
     false,
     NULL,
     false},
    {"it finds them better than forgetting, which needs longer",
     MICA_CHECK_DIFFERENCE,
     "auroc",
     {"el2n", 0.1, 0.1},
     {"forgetting", 0.1, 0.1},
     0,
     false,
     NULL,
     true},
    {0}};

static const mica_claim_arm stability_arms[] = {
    {"el2n", "two sets of initial values", MICA_ARM_METHOD, "el2n", NULL},
    {"el2n-architectures", "the network and a small convolutional one", MICA_ARM_METHOD, "el2n",
     "convnet:widths=8,16:convolutions=1"},
    {"grand", "two sets of initial values", MICA_ARM_CONTEXT, "grand", NULL},
    {0}};
static const mica_claim_measure stability_measures[] = {
    {"spearman", "Spearman's correlation of the scores", false}, {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "pruning",
     .title = "Test accuracy by the share of the training examples that is kept",
     .arms = pruning_arms,
     .measures = pruning_measures,
     .checks = pruning_checks,
     .sweep = "keep",
     .sweep_what = "share kept",
     .note = "Every arm trains the same network for the same number of steps; the scores are means "
             "over other networks, in the middle of their training. At 30 % random examples may "
             "win: hard ones alone lose coverage.",
     .prepare = prepare_pruning,
     .release = release,
     .run = run_pruning},
    {.name = "noise",
     .title = "Finding changed labels by the scores of one short run",
     .arms = noise_arms,
     .measures = noise_measures,
     .checks = noise_checks,
     .sweep = "noise",
     .sweep_what = "share of changed labels",
     .unit = MICA_UNIT_POINT,
     .prepare = prepare_noise,
     .release = release,
     .run = run_noise},
    {.name = "moment",
     .title = "Test accuracy on a chosen half, by the epoch it was scored at",
     .arms = moment_arms,
     .measures = pruning_measures,
     .sweep = "moments",
     .sweep_what = "epoch of scoring",
     .unit = MICA_UNIT_POINT,
     .note = "Epoch 0 is before training: whether GraNd tells anything there is in dispute.",
     .prepare = prepare_moment,
     .release = release,
     .run = run_moment},
    {.name = "window",
     .title =
         "Test accuracy on a half of examples with changed labels, by the share of the hardest "
         "that is left out",
     .arms = window_arms,
     .measures = pruning_measures,
     .sweep = "windows",
     .sweep_what = "share left out",
     .note = "The labels of a share of the training examples (`spoiled`) are changed; the hardest "
             "are then mostly these.",
     .prepare = prepare_window,
     .release = release,
     .run = run_window},
    {.name = "averaging",
     .title = "Agreement of two means of scores, by how many networks each is over",
     .arms = averaging_arms,
     .measures = stability_measures,
     .sweep = "averages",
     .sweep_what = "networks",
     .prepare = prepare_averaging,
     .release = release,
     .run = run_averaging},
    {.name = "stability",
     .title = "Agreement of the scores of two networks, by the epoch they are taken at",
     .arms = stability_arms,
     .measures = stability_measures,
     .sweep = "moments",
     .sweep_what = "epoch",
     .unit = MICA_UNIT_POINT,
     .note = "Epoch 0 is the network before training.",
     .prepare = prepare_stability,
     .release = release,
     .run = run_stability},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "5", 1, 1000, NULL, "seeds", offsetof(settings, seeds)},
    {"images", MICA_OPTION_INT, "12000", 100, 60000, NULL, "training images",
     offsetof(settings, images)},
    {"epochs", MICA_OPTION_INT, "8", 1, 1000, NULL,
     "budget: steps of so many epochs over all images", offsetof(settings, epochs)},
    {"score_epochs", MICA_OPTION_INT, "3", 1, 1000, NULL, "when the examples are scored",
     offsetof(settings, score_epochs)},
    {"score_seeds", MICA_OPTION_INT, "3", 1, 100, NULL, "networks whose scores are averaged",
     offsetof(settings, score_seeds)},
    {"noise_epochs", MICA_OPTION_INT, "2", 1, 1000, NULL, "noise: when the examples are scored",
     offsetof(settings, noise_epochs)},
    {"window", MICA_OPTION_FLOAT, "0.05", 0, 0.9, NULL, "share of the hardest that is left out",
     offsetof(settings, window)},
    {"keep", MICA_OPTION_FLOATS, "0.3,0.5", 0.01, 0.95, NULL, "shares that are kept",
     offsetof(settings, keep)},
    {"half", MICA_OPTION_FLOAT, "0.5", 0.01, 0.95, NULL, "moment and window: share that is kept",
     offsetof(settings, half)},
    {"spoiled", MICA_OPTION_FLOAT, "0.1", 0, 0.9, NULL, "window: share of changed labels",
     offsetof(settings, spoiled)},
    {"windows", MICA_OPTION_FLOATS, "0,0.05,0.1,0.15,0.2", 0, 0.9, NULL,
     "window: shares of the hardest that are left out", offsetof(settings, windows)},
    {"averages", MICA_OPTION_INTS, "1,2,3,5", 1, 100, NULL, "averaging: networks of a mean",
     offsetof(settings, averages)},
    {"noise", MICA_OPTION_FLOATS, "0.1,0.2", 0.001, 0.9, NULL, "shares of changed labels",
     offsetof(settings, noise)},
    {"moments", MICA_OPTION_INTS, "0,1,2,3", 0, 1000, NULL,
     "moment and stability: epochs of scoring", offsetof(settings, moments)},
    {"model", MICA_OPTION_STRING, "mlp:hidden=256", 0, 0, NULL, "the network",
     offsetof(settings, model)},
    {"score", MICA_OPTION_CHOICE, "el2n", 0, 0, "el2n|el1n|grand|grand_last|max_margin|sum_margin",
     "what the examples are chosen by", offsetof(settings, score)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Deep Learning on a Data Diet: Finding Important Examples Early in Training",
    .arxiv = "2107.07075",
    .claim = "Scores of the first epochs let half of the training examples go without loss, and "
             "find wrong labels",
    .components = "score:el2n score:el1n score:grand score:grand_last score:max_margin "
                  "score:sum_margin",
    .smoke = "seeds=1:images=2000:epochs=2:score_epochs=1:score_seeds=1:noise_epochs=1:keep=0.5:"
             "noise=0.1:moments=1:windows=0.1:averages=1",
    .recorded = MICA_VERDICT_MECHANISM,
    .experiments = experiments};

extern const mica_component mica_component_paper_data_diet;
const mica_component mica_component_paper_data_diet = {MICA_COMPONENT_HEAD,
                                                       MICA_KIND_PAPER,
                                                       "data-diet",
                                                       "training on the examples that matter",
                                                       "data-diet",
                                                       options,
                                                       sizeof(settings),
                                                       0,
                                                       0,
                                                       &functions};
