/* discriminative-generative: naive Bayes against logistic regression on the same features.
 *
 * Theory: with n features naive Bayes comes near its own asymptotic error after O(log n) examples,
 * logistic regression after O(n). So the generative head wins with few labels and the
 * discriminative one, whose asymptote is lower, with many: two regimes.
 *
 * simulation  classes of known Gaussians: how many examples each needs for an error below 0.01
 * features    a frozen encoder's features of Fashion-MNIST: error by number of examples
 */
#include <mica/experimental.h>
#include <mica/paper.h>

#include <math.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds;
  mica_ints dimensions;
  int64_t draws, simulated_test;
  int64_t encoder_images, encoder_epochs, pool, test;
  mica_ints sizes;
} settings;

/* ---- simulation ---- */

enum { CLASSES = 3, GRID = 26 };
static const int64_t grid[GRID] = {6,   9,   12,  15,   18,   24,   30,   39,  48,
                                   60,  75,  99,  120,  150,  200,  260,  320, 400,
                                   500, 650, 800, 1000, 1300, 1700, 2200, 3000};

typedef struct sample {
  mica_tensor *x;
  int64_t *label;
} sample;

static void sample_end(sample *s) {
  mica_tensor_free(s->x);
  mica_free(s->label);
}

static mica_status sample_draw(const mica_engine *engine, mica_key key, int64_t n, int64_t d,
                               sample *out) {
  out->label = mica_calloc((size_t)n, sizeof *out->label);
  mica_status status =
      out->label ? mica_tensor_create(MICA_F32, MICA_SHAPE(n, d), &out->x) : MICA_ERR_MEMORY;
  if (status != MICA_OK) return status;
  const mica_view x = mica_tensor_view(out->x);
  return mica_gaussian_mixture_draw(engine, key, key, MICA_MIXTURE_EASY, CLASSES, &x, out->label);
}

/* The first m rows are the draw of m; every class is among them. */
static bool has_all(const int64_t *label, int64_t m, int64_t classes) {
  int64_t seen = 0;
  for (int64_t c = 0; c < classes; c++)
    for (int64_t i = 0; i < m; i++)
      if (label[i] == c) {
        seen++;
        break;
      }
  return seen == classes;
}

/* Fit on the rows of a sample; the error on all of another. */
static mica_status fit_and_test(mica_claim_cell *cell, const mica_view *x, const int64_t *label,
                                int64_t classes, const mica_view *test, const int64_t *truth,
                                double *error) {
  const int64_t n = test->shape.dim[0];
  int64_t right;
  const mica_status status =
      mica_claim_fit_and_count(cell, cell->arm->spec, x, label, classes, test, truth, &right);
  *error = (double)(n - right) / (double)n;
  return status;
}

/* The mean error over the draws with m examples each. */
static mica_status mean_error(mica_claim_cell *cell, const sample *train, int64_t draws, int64_t m,
                              const sample *test, double *mean) {
  const mica_view t = mica_tensor_view(test->x);
  mica_status status = MICA_OK;
  *mean = 0;
  for (int64_t k = 0; k < draws && status == MICA_OK; k++) {
    double error = 1;
    mica_view x = mica_tensor_view(train[k].x);
    x.shape.dim[0] = m;
    if (has_all(train[k].label, m, CLASSES))
      status = fit_and_test(cell, &x, train[k].label, CLASSES, &t, test->label, &error);
    *mean += error / (double)draws;
  }
  return status;
}

static mica_status run_simulation(mica_claim_cell *cell) {
  const settings *o = cell->options;
  const int64_t d = (int64_t)cell->point;
  const mica_key key = mica_key_fold(cell->key, (uint64_t)d);
  sample test = {0}, train[16] = {{0}};
  mica_status status =
      sample_draw(cell->engine, mica_key_fold_name(key, "test"), o->simulated_test, d, &test);
  for (int64_t k = 0; k < o->draws && status == MICA_OK; k++)
    status =
        sample_draw(cell->engine, mica_key_fold(key, (uint64_t)k), grid[GRID - 1], d, &train[k]);
  double needed = NAN;
  for (int g = 0; g < GRID && isnan(needed) && status == MICA_OK; g++) {
    double error;
    status = mean_error(cell, train, o->draws, grid[g], &test, &error);
    if (status == MICA_OK && error < 0.01) needed = (double)grid[g];
  }
  /* Not with as many as there are: at least that many. */
  if (status == MICA_OK)
    status = mica_claim_report(cell, "needed", isnan(needed) ? (double)grid[GRID - 1] : needed);
  sample_end(&test);
  for (int64_t k = 0; k < o->draws; k++) sample_end(&train[k]);
  return status;
}

/* ---- features of an encoder ---- */

typedef struct shared {
  mica_tensor *pool, *test; /* features */
  mica_tensor *pool_label, *test_label;
} shared;

static void release_features(void *given) {
  shared *s = given;
  mica_tensor_free(s->pool);
  mica_tensor_free(s->test);
  mica_tensor_free(s->pool_label);
  mica_tensor_free(s->test_label);
  mica_free(s);
}

static mica_status embed(mica_claim_cell *cell, const mica_net *net, mica_part part, int64_t n,
                         mica_tensor **features, mica_tensor **label) {
  mica_tensor *x = NULL;
  mica_status status =
      mica_claim_pictures(cell, "fashion-mnist", part, cell->key, n, NULL, &x, label);
  if (status == MICA_OK) status = mica_claim_features(net, x, features);
  mica_tensor_free(x);
  return status;
}

static mica_status prepare_features(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  mica_pretraining recipe = MICA_PRETRAINING;
  mica_net *net = NULL;
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  recipe.model = "convnet:widths=16,32,64:convolutions=1";
  recipe.data = "fashion-mnist";
  recipe.classes = "0,1,2,3,4,5,6,8"; /* two are never seen by the encoder */
  recipe.images = o->encoder_images;
  recipe.epochs = o->encoder_epochs;
  recipe.seed = (uint64_t)cell->seed;
  mica_status status = mica_claim_encoder(cell, &recipe, &net);
  if (status == MICA_OK)
    status = embed(cell, net, MICA_PART_TRAIN, o->pool, &s->pool, &s->pool_label);
  if (status == MICA_OK)
    status = embed(cell, net, MICA_PART_TEST, o->test, &s->test, &s->test_label);
  mica_net_free(net);
  if (status == MICA_OK)
    *out = s;
  else
    release_features(s);
  return status;
}

/* m rows of the pool, drawn again until every class is there. */
static mica_status draw_rows(mica_key key, const int64_t *label, int64_t pool, int64_t m,
                             int64_t classes, int64_t *order, int64_t *own) {
  for (uint64_t again = 0; again < 10000; again++) {
    mica_random_permutation(mica_key_fold(key, again), pool, order);
    for (int64_t i = 0; i < m; i++) own[i] = label[order[i]];
    if (has_all(own, m, classes)) return MICA_OK;
  }
  return mica_fail(MICA_ERR_INVALID, "%lld examples do not hold all of %lld classes", (long long)m,
                   (long long)classes);
}

/* Scale each column to [0, 1] as the drawn rows have it, in both sets. */
static void scale_columns(float *x, int64_t m, float *test, int64_t n, int64_t d) {
  for (int64_t j = 0; j < d; j++) {
    float lo = x[j], hi = x[j];
    for (int64_t i = 0; i < m; i++) {
      lo = fminf(lo, x[i * d + j]);
      hi = fmaxf(hi, x[i * d + j]);
    }
    const float range = hi > lo ? hi - lo : 1;
    for (int64_t i = 0; i < m; i++) x[i * d + j] = (x[i * d + j] - lo) / range;
    for (int64_t i = 0; i < n; i++) test[i * d + j] = (test[i * d + j] - lo) / range;
  }
}

static mica_status run_features(mica_claim_cell *cell) {
  const shared *s = cell->shared;
  const int64_t pool = mica_tensor_dim(s->pool, 0), d = mica_tensor_dim(s->pool, 1);
  const int64_t n = mica_tensor_dim(s->test, 0), m = (int64_t)cell->point, classes = 10;
  const int64_t *truth = mica_tensor_data(s->test_label);
  if (m > pool)
    return mica_fail(MICA_ERR_INVALID, "%lld examples of a pool of %lld", (long long)m,
                     (long long)pool);
  int64_t *order = mica_calloc((size_t)(pool + m), sizeof *order),
          *label = order ? order + pool : NULL;
  float *x = mica_calloc((size_t)(m * d), sizeof *x),
        *test = mica_calloc((size_t)(n * d), sizeof *test);
  double error;
  mica_status status = order && x && test ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = draw_rows(mica_key_fold(cell->key, (uint64_t)m), mica_tensor_data(s->pool_label), pool,
                       m, classes, order, label);
  if (status == MICA_OK && cell->arm->role == MICA_ARM_TRIVIAL) {
    const int64_t right = mica_claim_majority(m, label, classes, n, truth);
    status = mica_claim_report(cell, "error", (double)(n - right) / (double)n);
  } else if (status == MICA_OK) {
    const float *from = mica_tensor_data(s->pool);
    for (int64_t i = 0; i < m; i++) memcpy(x + i * d, from + order[i] * d, (size_t)d * sizeof *x);
    memcpy(test, mica_tensor_data(s->test), (size_t)(n * d) * sizeof *test);
    scale_columns(x, m, test, n, d);
    const mica_view rows = mica_view_of(x, MICA_F32, MICA_SHAPE(m, d));
    const mica_view tests = mica_view_of(test, MICA_F32, MICA_SHAPE(n, d));
    status = fit_and_test(cell, &rows, label, classes, &tests, truth, &error);
    if (status == MICA_OK) status = mica_claim_report(cell, "error", error);
  }
  mica_free(order);
  mica_free(x);
  mica_free(test);
  return status;
}

/* ---- the claim ---- */

static const char unequal[] = "how many examples each needs is what is measured";

static const mica_claim_arm simulation_arms[] = {
    {"naive-bayes", "one diagonal variance for all classes", MICA_ARM_METHOD, "naive_bayes", NULL},
    {"logistic", "multinomial logistic regression, C = 1", MICA_ARM_BASELINE,
     "logistic:C=1:max_iter=1000", NULL},
    {"nearest-mean", "the nearest class mean, no variances", MICA_ARM_TRIVIAL,
     "prototypes:metric=euclidean:debias=false:reject=0", NULL},
    {0}};
static const mica_claim_measure simulation_measures[] = {
    {"needed", "examples needed for an error below 0.01", true}, {0}};
static const mica_claim_check simulation_checks[] = {
    {"from 100 features on, naive Bayes needs a tenth of the examples",
     MICA_CHECK_RATIO,
     "needed",
     {"naive-bayes", 100, 400},
     {"logistic", 100, 400},
     10,
     true,
     unequal,
     false},
    {"its need does not grow from 100 to 400 features",
     MICA_CHECK_DIFFERENCE,
     "needed",
     {"naive-bayes", 400, 400},
     {"naive-bayes", 100, 100},
     0,
     false,
     unequal,
     false},
    {"logistic regression's need grows",
     MICA_CHECK_DIFFERENCE,
     "needed",
     {"logistic", 100, 100},
     {"logistic", 400, 400},
     0,
     false,
     unequal,
     true},
    {0}};

static const mica_claim_arm feature_arms[] = {
    {"naive-bayes", "one diagonal variance for all classes", MICA_ARM_METHOD, "naive_bayes", NULL},
    {"logistic", "multinomial logistic regression, C = 1", MICA_ARM_BASELINE,
     "logistic:C=1:max_iter=1000", NULL},
    {"nearest-mean", "the nearest class mean, no variances", MICA_ARM_CONTEXT,
     "prototypes:metric=euclidean:debias=false:reject=0", NULL},
    {"majority", "the most frequent class of the draw", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};
static const mica_claim_measure feature_measures[] = {{"error", "test error", true}, {0}};
static const mica_claim_check feature_checks[] = {
    {"with 20 to 50 examples naive Bayes is better",
     MICA_CHECK_DIFFERENCE,
     "error",
     {"naive-bayes", 20, 50},
     {"logistic", 20, 50},
     0.015,
     false,
     NULL,
     false},
    {"with 5,000 and more logistic regression is better",
     MICA_CHECK_DIFFERENCE,
     "error",
     {"logistic", 5000, 1e9},
     {"naive-bayes", 5000, 1e9},
     0.04,
     false,
     NULL,
     false},
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "simulation",
     .title = "Examples needed for an error of 0.01, by the number of features",
     .arms = simulation_arms,
     .measures = simulation_measures,
     .checks = simulation_checks,
     .sweep = "dimensions",
     .sweep_what = "features",
     .sweep_log = true,
     .unit = MICA_UNIT_ARM,
     .note = "Three Gaussian classes with means -1, 1 and 2 in every coordinate and a diagonal "
             "covariance, half of whose variances are the number of features and half 1. The "
             "number is the least of a fixed grid at which the mean error over the draws is below "
             "0.01; where 3,000 do not do, 3,000 is reported.",
     .run = run_simulation},
    {.name = "features",
     .title = "Test error on a frozen encoder's features, by the number of labelled examples",
     .arms = feature_arms,
     .measures = feature_measures,
     .checks = feature_checks,
     .sweep = "sizes",
     .sweep_what = "labelled examples",
     .sweep_log = true,
     .note = "Fashion-MNIST; the encoder saw eight of the ten classes. Features are scaled to "
             "[0, 1] as the drawn examples have them; the same draw for every arm.",
     .prepare = prepare_features,
     .release = release_features,
     .run = run_features},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "5", 1, 1000, NULL, "repeats", offsetof(settings, seeds)},
    {"dimensions", MICA_OPTION_INTS, "50,100,200,400", 2, 100000, NULL,
     "simulation: numbers of features", offsetof(settings, dimensions)},
    {"draws", MICA_OPTION_INT, "3", 1, 16, NULL, "simulation: training draws of a repeat",
     offsetof(settings, draws)},
    {"simulated_test", MICA_OPTION_INT, "10000", 1, 10000000, NULL, "simulation: test examples",
     offsetof(settings, simulated_test)},
    {"encoder_images", MICA_OPTION_INT, "16000", 1, 48000, NULL, "features: pre-training images",
     offsetof(settings, encoder_images)},
    {"encoder_epochs", MICA_OPTION_INT, "2", 1, 1000, NULL, "features: of pre-training",
     offsetof(settings, encoder_epochs)},
    {"pool", MICA_OPTION_INT, "14000", 10, 60000, NULL, "features: examples to draw from",
     offsetof(settings, pool)},
    {"test", MICA_OPTION_INT, "4000", 1, 10000, NULL, "features: test images",
     offsetof(settings, test)},
    {"sizes", MICA_OPTION_INTS, "20,30,50,100,200,500,1000,2000,5000,12000", 10, 60000, NULL,
     "features: numbers of labelled examples", offsetof(settings, sizes)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Revisiting Discriminative vs. Generative Classifiers: Theory and Implications",
    .arxiv = "2302.02334",
    .claim = "With few labels naive Bayes beats logistic regression on the same features, with "
             "many it loses: it needs O(log n) examples, not O(n)",
    .components = "estimator:naive_bayes estimator:logistic",
    .smoke = "seeds=1:dimensions=50,100:draws=1:simulated_test=2000:encoder_images=1500:"
             "encoder_epochs=1:pool=1500:test=500:sizes=20,50,1000",
    .recorded = MICA_VERDICT_MECHANISM,
    .experiments = experiments};

extern const mica_component mica_component_paper_discriminative_generative;
const mica_component mica_component_paper_discriminative_generative = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "discriminative-generative",
    "naive Bayes against logistic regression, by the number of examples",
    "discriminative-generative",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
