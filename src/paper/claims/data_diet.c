/* data-diet: scores from the first epochs say which training examples matter.
 *
 * pruning    test accuracy after training on a part of the examples, with the same number of steps
 * noise      how well the scores find labels that were changed
 * moment     the same half by the epoch at which it was scored, before training too
 * window     a half of examples with changed labels, by how many of the hardest are left out
 * stability  how much scores of other initial values and of another architecture agree
 * averaging  how much means over networks agree, by how many networks they are over
 */
#include "paper/claims/data_diet_scoring.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- training on a part ---- */

/* The chosen examples: their images and labels. */
static mica_status choose(const mica_diet *s, const double *by, const mica_select_options *select,
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
static mica_status remark_classes(mica_claim_cell *cell, const mica_tensor *label) {
  char text[256];
  size_t used = 0;
  const int64_t *l = mica_tensor_data(label), n = mica_tensor_count(label);
  for (int64_t c = 0; c < MICA_DIET_CLASSES && used < sizeof text - 16; c++) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += l[i] == c;
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", c ? ", " : "",
                             (long long)count);
  }
  return mica_claim_remark(cell, "%s, kept %g: examples of the classes %s", cell->arm->name,
                           cell->point, text);
}

/* What an arm trains on. */
typedef struct picks {
  mica_select_order order;
  bool all;      /* whatever share is to be kept */
  bool window;   /* the very hardest are left out */
  bool balanced; /* as many of each class */
  bool second;   /* by the second of the seed's scores */
} picks;

static const picks hardest = {0};
static const picks hardest_window = {.window = true};
static const picks hardest_balanced = {.balanced = true};
static const picks second_hardest = {.second = true};
static const picks second_window = {.window = true, .second = true};
static const picks easiest = {.order = MICA_SELECT_EASIEST};
static const picks at_random = {.order = MICA_SELECT_RANDOM};
static const picks everything = {.all = true};

/* The cell's measure: test accuracy after training on what the arm picks. Every arm has the same
 * number of steps: more epochs over fewer examples. */
static mica_status train_on_picked(mica_claim_cell *cell, double keep, double window) {
  const mica_diet_settings *o = cell->options;
  const mica_diet *s = cell->shared;
  const picks *p = cell->arm->own;
  mica_select_options select = MICA_SELECT_OPTIONS;
  mica_tensor *x = NULL, *label = NULL;
  mica_net *net = NULL;
  double accuracy = 0;
  select.order = p->order;
  select.keep = p->all ? 1 : keep;
  select.skip = p->window ? window : 0;
  select.balanced = p->balanced;
  select.seed = (uint64_t)cell->seed;
  mica_status status = choose(s, p->second ? s->second : s->score, &select, &x, &label);
  if (status == MICA_OK) status = mica_diet_net(cell, s, o->model, 0, &net);
  if (status == MICA_OK)
    status = mica_diet_train(cell, net, x, label, mica_diet_steps(s->n, o->epochs), 0, NULL);
  if (status == MICA_OK) status = mica_claim_accuracy(net, s->tests, s->truth, &accuracy);
  if (status == MICA_OK) status = mica_claim_report(cell, "accuracy", accuracy);
  if (status == MICA_OK && cell->seed == 0 && cell->arm->role == MICA_ARM_METHOD)
    status = remark_classes(cell, label);
  mica_net_free(net);
  mica_tensor_free(x);
  mica_tensor_free(label);
  return status;
}

/* ---- pruning ---- */

static mica_status prepare_pruning(mica_claim_cell *cell, void **out) {
  const mica_diet_settings *o = cell->options;
  mica_diet *s = NULL;
  mica_net *net = NULL;
  mica_status status = mica_diet_begin(cell, &s);
  if (status != MICA_OK) return status;
  status = mica_diet_take_tests(cell, s);
  if (status == MICA_OK) status = mica_diet_score_as_set(cell, s);
  /* Forgetting takes a whole training. */
  if (status == MICA_OK) status = mica_forgetting_create(s->n, &s->forgotten);
  if (status == MICA_OK) status = mica_diet_early_net(cell, s, 1500, o->epochs, s->forgotten, &net);
  if (status == MICA_OK) mica_forgetting_scores(s->forgotten, s->second);
  mica_net_free(net);
  return mica_diet_ready(status, s, out);
}

/* Without learning, or hardly any: a majority, or the class whose mean image is nearest. */
static mica_status run_trivial(mica_claim_cell *cell) {
  const mica_diet *s = cell->shared;
  const int64_t n = mica_tensor_count(s->truth), row = mica_tensor_count(s->x) / s->n;
  const int64_t *label = mica_tensor_data(s->label), *truth = mica_tensor_data(s->truth);
  const mica_view x = mica_view_of(mica_tensor_data(s->x), MICA_F32, MICA_SHAPE(s->n, row));
  const mica_view tests = mica_view_of(mica_tensor_data(s->tests), MICA_F32, MICA_SHAPE(n, row));
  int64_t right = 0;
  mica_status status = MICA_OK;
  if (cell->arm->spec)
    status = mica_claim_fit_and_count(cell, cell->arm->spec, &x, label, MICA_DIET_CLASSES, &tests,
                                      truth, &right);
  else
    right = mica_claim_majority(s->n, label, MICA_DIET_CLASSES, n, truth);
  return status == MICA_OK ? mica_claim_report(cell, "accuracy", (double)right / (double)n)
                           : status;
}

static mica_status run_pruning(mica_claim_cell *cell) {
  const mica_diet_settings *o = cell->options;
  return cell->arm->own ? train_on_picked(cell, cell->point, o->window) : run_trivial(cell);
}

/* ---- by the moment of scoring ---- */

static mica_status prepare_moment(mica_claim_cell *cell, void **out) {
  mica_diet *s = NULL;
  mica_status status = mica_diet_begin(cell, &s);
  if (status != MICA_OK) return status;
  status = mica_diet_take_tests(cell, s);
  if (status == MICA_OK)
    status = mica_diet_score_early(cell, s, (int64_t)cell->point, "el2n", "grand");
  return mica_diet_ready(status, s, out);
}

static mica_status run_moment(mica_claim_cell *cell) {
  const mica_diet_settings *o = cell->options;
  return train_on_picked(cell, o->half, o->window);
}

/* ---- wrong labels ---- */

static mica_status prepare_noise(mica_claim_cell *cell, void **out) {
  const mica_diet_settings *o = cell->options;
  mica_diet *s = NULL;
  mica_status status = mica_diet_begin(cell, &s);
  if (status != MICA_OK) return status;
  mica_diet_spoil(cell, s, cell->point);
  status = mica_forgetting_create(s->n, &s->forgotten);
  if (status == MICA_OK)
    status = mica_diet_early_net(cell, s, 2000, o->noise_epochs, s->forgotten, &s->net);
  return mica_diet_ready(status, s, out);
}

static mica_status run_noise(mica_claim_cell *cell) {
  mica_diet *s = cell->shared;
  const mica_key coin = mica_key_fold_name(cell->key, "coin");
  mica_noise_report report;
  mica_status status = MICA_OK;
  if (cell->arm->spec)
    status = mica_diet_score(s->net, s, cell->arm->spec, false, s->score);
  else if (cell->arm->role == MICA_ARM_TRIVIAL)
    for (int64_t i = 0; i < s->n; i++) s->score[i] = mica_random_uniform(coin, (uint64_t)i);
  else
    mica_forgetting_scores(s->forgotten, s->score);
  if (status == MICA_OK) status = mica_score_noise(s->n, s->score, s->wrong, 0, &report);
  if (status == MICA_OK) status = mica_claim_report(cell, "auroc", report.auroc.value);
  if (status == MICA_OK) status = mica_claim_report(cell, "precision", report.precision);
  return status;
}

static mica_status prepare_window(mica_claim_cell *cell, void **out) {
  const mica_diet_settings *o = cell->options;
  mica_diet *s = NULL;
  mica_status status = mica_diet_begin(cell, &s);
  if (status != MICA_OK) return status;
  mica_diet_spoil(cell, s, o->spoiled);
  status = mica_diet_take_tests(cell, s);
  if (status == MICA_OK) status = mica_diet_score_as_set(cell, s);
  return mica_diet_ready(status, s, out);
}

static mica_status run_window(mica_claim_cell *cell) {
  const mica_diet_settings *o = cell->options;
  return train_on_picked(cell, o->half, cell->point);
}

/* ---- stability ---- */

static mica_status prepare_stability(mica_claim_cell *cell, void **out) {
  return mica_diet_begin(cell, (mica_diet **)out);
}

/* The arm's score from two networks of the same moment. */
static mica_status run_stability(mica_claim_cell *cell) {
  const mica_diet_settings *o = cell->options;
  mica_diet *s = cell->shared;
  const char *models[2] = {o->model, cell->arm->own ? cell->arm->own : o->model};
  double *other = mica_calloc((size_t)s->n, sizeof *other), rho = NAN;
  mica_status status = other ? MICA_OK : MICA_ERR_MEMORY;
  for (int k = 0; k < 2 && status == MICA_OK; k++) {
    mica_net *net = NULL;
    const uint64_t which = 3000 + (uint64_t)k;
    status = mica_diet_net(cell, s, models[k], which, &net);
    if (status == MICA_OK && cell->point > 0)
      status = mica_diet_train(cell, net, s->x, s->label,
                               mica_diet_steps(s->n, (int64_t)cell->point), which, NULL);
    if (status == MICA_OK)
      status = mica_diet_score(net, s, cell->arm->spec, false, k ? other : s->score);
    mica_net_free(net);
  }
  if (status == MICA_OK) status = mica_spearman(s->n, s->score, other, &rho);
  if (status == MICA_OK) status = mica_claim_report(cell, "spearman", rho);
  mica_free(other);
  return status;
}

/* ---- averaging ---- */

static int64_t most_averaged(const mica_diet_settings *o) {
  int64_t most = 1;
  for (int64_t i = 0; i < o->averages.n; i++)
    if (o->averages.v[i] > most) most = o->averages.v[i];
  return most;
}

/* Scores of twice as many networks as are averaged at most: EL2N, and behind them GraNd. */
static mica_status prepare_averaging(mica_claim_cell *cell, void **out) {
  const mica_diet_settings *o = cell->options;
  const int64_t networks = 2 * most_averaged(o);
  mica_diet *s = NULL;
  mica_status status = mica_diet_begin(cell, &s);
  if (status != MICA_OK) return status;
  s->each = mica_calloc((size_t)(2 * networks * s->n), sizeof *s->each);
  if (!s->each) status = MICA_ERR_MEMORY;
  for (int64_t k = 0; k < networks && status == MICA_OK; k++) {
    mica_net *net = NULL;
    status = mica_diet_early_net(cell, s, 4000 + (uint64_t)k, o->score_epochs, NULL, &net);
    if (status == MICA_OK) status = mica_diet_score(net, s, "el2n", false, s->each + k * s->n);
    if (status == MICA_OK)
      status = mica_diet_score(net, s, "grand", false, s->each + (networks + k) * s->n);
    mica_net_free(net);
  }
  return mica_diet_ready(status, s, out);
}

/* Two means, over the first so many networks and over as many others. */
static mica_status run_averaging(mica_claim_cell *cell) {
  mica_diet *s = cell->shared;
  const int64_t networks = 2 * most_averaged(cell->options), k = (int64_t)cell->point;
  const picks *p = cell->arm->own;
  const double *each = s->each + (p->second ? networks : 0) * s->n;
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
    {"hardest-window", "the largest scores, without the very largest", MICA_ARM_METHOD, NULL,
     &hardest_window},
    {"hardest", "the largest scores", MICA_ARM_METHOD, NULL, &hardest},
    {"hardest-balanced", "the largest scores of each class", MICA_ARM_CONTEXT, NULL,
     &hardest_balanced},
    {"random", "as many at random", MICA_ARM_BASELINE, NULL, &at_random},
    {"easiest", "the smallest scores", MICA_ARM_CONTROL, NULL, &easiest},
    {"full", "all examples", MICA_ARM_CONTEXT, NULL, &everything},
    {"forgetting", "those unlearnt most often in a whole training", MICA_ARM_CONTEXT, NULL,
     &second_hardest},
    {"nearest-mean", "the class whose mean image is nearest", MICA_ARM_TRIVIAL,
     "prototypes:metric=euclidean:debias=false:reject=0", NULL},
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
    {"el2n", "the largest errors, without the very largest", MICA_ARM_METHOD, NULL,
     &hardest_window},
    {"grand", "the largest gradients, without the very largest", MICA_ARM_METHOD, NULL,
     &second_window},
    {"random", "as many at random", MICA_ARM_BASELINE, NULL, &at_random},
    {0}};
static const mica_claim_arm window_arms[] = {
    {"hardest", "the largest scores behind those that are left out", MICA_ARM_METHOD, NULL,
     &hardest_window},
    {"random", "as many at random", MICA_ARM_BASELINE, NULL, &at_random},
    {0}};
static const mica_claim_arm averaging_arms[] = {
    {"el2n", "means of errors", MICA_ARM_METHOD, NULL, &hardest},
    {"grand", "means of norms of gradients", MICA_ARM_METHOD, NULL, &second_hardest},
    {0}};

static const mica_claim_arm noise_arms[] = {
    {"el2n", "norm of the error", MICA_ARM_METHOD, "el2n", NULL},
    {"el1n", "sum of the absolute error", MICA_ARM_CONTEXT, "el1n", NULL},
    {"grand", "norm of the gradient of all weights", MICA_ARM_METHOD, "grand", NULL},
    {"grand_last", "norm of the last layer's gradient", MICA_ARM_CONTEXT, "grand_last", NULL},
    {"max_margin", "largest wrong probability less the right one", MICA_ARM_CONTEXT, "max_margin",
     NULL},
    {"sum_margin", "all wrong probabilities, each less the right one", MICA_ARM_CONTEXT,
     "sum_margin", NULL},
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
     .release = mica_diet_release,
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
     .release = mica_diet_release,
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
     .release = mica_diet_release,
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
     .release = mica_diet_release,
     .run = run_window},
    {.name = "averaging",
     .title = "Agreement of two means of scores, by how many networks each is over",
     .arms = averaging_arms,
     .measures = stability_measures,
     .sweep = "averages",
     .sweep_what = "networks",
     .prepare = prepare_averaging,
     .release = mica_diet_release,
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
     .release = mica_diet_release,
     .run = run_stability},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "5", 1, 1000, NULL, "seeds", offsetof(mica_diet_settings, seeds)},
    {"images", MICA_OPTION_INT, "12000", 100, 60000, NULL, "training images",
     offsetof(mica_diet_settings, images)},
    {"epochs", MICA_OPTION_INT, "8", 1, 1000, NULL,
     "budget: steps of so many epochs over all images", offsetof(mica_diet_settings, epochs)},
    {"score_epochs", MICA_OPTION_INT, "3", 1, 1000, NULL, "when the examples are scored",
     offsetof(mica_diet_settings, score_epochs)},
    {"score_seeds", MICA_OPTION_INT, "3", 1, 100, NULL, "networks whose scores are averaged",
     offsetof(mica_diet_settings, score_seeds)},
    {"noise_epochs", MICA_OPTION_INT, "2", 1, 1000, NULL, "noise: when the examples are scored",
     offsetof(mica_diet_settings, noise_epochs)},
    {"window", MICA_OPTION_FLOAT, "0.05", 0, 0.9, NULL, "share of the hardest that is left out",
     offsetof(mica_diet_settings, window)},
    {"keep", MICA_OPTION_FLOATS, "0.3,0.5", 0.01, 0.95, NULL, "shares that are kept",
     offsetof(mica_diet_settings, keep)},
    {"half", MICA_OPTION_FLOAT, "0.5", 0.01, 0.95, NULL, "moment and window: share that is kept",
     offsetof(mica_diet_settings, half)},
    {"spoiled", MICA_OPTION_FLOAT, "0.1", 0, 0.9, NULL, "window: share of changed labels",
     offsetof(mica_diet_settings, spoiled)},
    {"windows", MICA_OPTION_FLOATS, "0,0.05,0.1,0.15,0.2", 0, 0.9, NULL,
     "window: shares of the hardest that are left out", offsetof(mica_diet_settings, windows)},
    {"averages", MICA_OPTION_INTS, "1,2,3,5", 1, 100, NULL, "averaging: networks of a mean",
     offsetof(mica_diet_settings, averages)},
    {"noise", MICA_OPTION_FLOATS, "0.1,0.2", 0.001, 0.9, NULL, "shares of changed labels",
     offsetof(mica_diet_settings, noise)},
    {"moments", MICA_OPTION_INTS, "0,1,2,3", 0, 1000, NULL,
     "moment and stability: epochs of scoring", offsetof(mica_diet_settings, moments)},
    {"model", MICA_OPTION_STRING, "mlp:hidden=256", 0, 0, NULL, "the network",
     offsetof(mica_diet_settings, model)},
    {"score", MICA_OPTION_CHOICE, "el2n", 0, 0, "el2n|el1n|grand|grand_last|max_margin|sum_margin",
     "what the examples are chosen by", offsetof(mica_diet_settings, score)},
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
                                                       sizeof(mica_diet_settings),
                                                       0,
                                                       0,
                                                       &functions};
