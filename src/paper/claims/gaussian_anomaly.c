/* gaussian-anomaly: one Gaussian for each level of a frozen network, fitted to normal pictures.
 *
 * The distances find what normal pictures do not have; the principal components with little
 * variance carry it, so that the leading ones alone lose it, and pre-training matters. Normal are
 * pictures of a class that the encoder never saw; anomalous are such pictures with a patch moved
 * elsewhere.
 */
#include <mica/paper.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MODEL    "convnet:widths=16,32,64,64:convolutions=1"
#define LEVELS   "16,32,64,64"
#define SEEN     "0,1,3,4,5,6,8,9" /* pullovers and sneakers are never seen by the encoder */
#define PIXEL_PC 30

typedef struct settings {
  uint32_t size;
  int64_t seeds, images, epochs, normal, test;
  mica_ints classes;
} settings;

/* ---- what the arms share ---- */

typedef struct pictures {
  mica_tensor *normal, *test; /* [n,28,28,1]; the second half of the test is anomalous */
  mica_tensor *features[2], *questions[2]; /* by the pre-trained encoder, by a random one */
  bool *anomalous;
} pictures;

static void release(void *given) {
  pictures *s = given;
  mica_tensor_free(s->normal);
  mica_tensor_free(s->test);
  for (int i = 0; i < 2; i++) {
    mica_tensor_free(s->features[i]);
    mica_tensor_free(s->questions[i]);
  }
  mica_free(s->anomalous);
  mica_free(s);
}

static mica_status draw(mica_claim_cell *cell, mica_part part, int64_t n, mica_tensor **out) {
  char class[32];
  snprintf(class, sizeof class, "%d", (int)cell->point);
  return mica_claim_pictures(cell, "fashion-mnist", part,
                             mica_key_fold(cell->key, (uint64_t)cell->point), n, class, out, NULL);
}

/* Copy a patch of 6 to 9 pixels over another place that it does not touch. */
static void move_patch(mica_key key, float *picture, int64_t height, int64_t width) {
  const int64_t side = 6 + (int64_t)mica_random_below(key, 0, 4);
  const uint64_t rows = (uint64_t)(height - side + 1), columns = (uint64_t)(width - side + 1);
  const int64_t y = (int64_t)mica_random_below(key, 1, rows);
  const int64_t x = (int64_t)mica_random_below(key, 2, columns);
  int64_t to_y = y, to_x = x;
  float patch[81];
  for (uint64_t at = 3;
       (to_y - y < side && y - to_y < side) && (to_x - x < side && x - to_x < side); at += 2) {
    to_y = (int64_t)mica_random_below(key, at, rows);
    to_x = (int64_t)mica_random_below(key, at + 1, columns);
  }
  for (int64_t i = 0; i < side; i++)
    memcpy(patch + i * side, picture + (y + i) * width + x, (size_t)side * sizeof *patch);
  for (int64_t i = 0; i < side; i++)
    memcpy(picture + (to_y + i) * width + to_x, patch + i * side, (size_t)side * sizeof *patch);
}

/* The means of all four maps. */
static mica_status embed(mica_net *net, const pictures *s, mica_tensor **features,
                         mica_tensor **questions) {
  const char *const taps[] = {"pyramid"};
  mica_status status = mica_net_set_taps(net, 1, taps);
  if (status == MICA_OK) status = mica_claim_features(net, s->normal, features);
  if (status == MICA_OK) status = mica_claim_features(net, s->test, questions);
  return status;
}

static mica_status prepare(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  mica_pretraining recipe = MICA_PRETRAINING;
  mica_net *net = NULL, *random = NULL;
  pictures *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  recipe.model = MODEL;
  recipe.data = "fashion-mnist";
  recipe.classes = SEEN;
  recipe.images = o->images;
  recipe.epochs = o->epochs;
  recipe.seed = (uint64_t)cell->seed;
  s->anomalous = mica_calloc((size_t)o->test, sizeof *s->anomalous);
  mica_status status =
      s->anomalous ? draw(cell, MICA_PART_TRAIN, o->normal, &s->normal) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = draw(cell, MICA_PART_TEST, o->test, &s->test);
  if (status == MICA_OK) {
    const int64_t height = mica_tensor_dim(s->test, 1), width = mica_tensor_dim(s->test, 2);
    const mica_key key = mica_key_fold_name(cell->key, "patch");
    for (int64_t i = o->test / 2; i < o->test; i++) {
      s->anomalous[i] = true;
      move_patch(mica_key_fold(key, (uint64_t)i),
                 (float *)mica_tensor_data(s->test) + i * height * width, height, width);
    }
    status = mica_claim_encoder(cell, &recipe, &net);
  }
  if (status == MICA_OK)
    status =
        mica_net_create(cell->engine, MODEL, mica_net_problem(net), 1000 + recipe.seed, &random);
  if (status == MICA_OK) status = embed(net, s, &s->features[0], &s->questions[0]);
  if (status == MICA_OK) status = embed(random, s, &s->features[1], &s->questions[1]);
  mica_net_free(net);
  mica_net_free(random);
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

/* ---- the arms ---- */

/* Which features an arm reads, and what it tells besides its AUROC. */
typedef struct reads {
  int encoder; /* 0 pre-trained, 1 random */
  int64_t first, columns;
  bool false_alarms, kept;
} reads;

static const reads all = {0, 0, 176, false, false}, of_random = {1, 0, 176, false, false};
static const reads all_alarms = {0, 0, 176, true, false};
static const reads all_reduced = {0, 0, 176, false, true};
static const reads random_reduced = {1, 0, 176, false, true};
static const reads levels[4] = {{0, 0, 16, false, false},
                                {0, 16, 32, false, false},
                                {0, 48, 64, false, false},
                                {0, 112, 64, false, false}};

static mica_status report_auroc(mica_claim_cell *cell, int64_t n, const double *score) {
  const pictures *s = cell->shared;
  mica_estimate auroc;
  const mica_status status = mica_auroc(n, score, s->anomalous, 0.95, &auroc);
  return status == MICA_OK ? mica_claim_report(cell, "auroc", auroc.value) : status;
}

static mica_view columns_of(const mica_tensor *x, const reads *r) {
  mica_view v = mica_tensor_view(x);
  v.data = (float *)v.data + r->first;
  v.shape.dim[1] = r->columns;
  return v;
}

/* The share of clean test pictures that lie beyond n sigma, the mean over levels. */
static mica_status report_false_alarms(mica_claim_cell *cell, const mica_estimator *e,
                                       const double *by_level, int64_t clean) {
  static const char *const name[] = {"beyond-1-sigma", "beyond-2-sigma", "beyond-3-sigma"};
  const int64_t outputs = mica_estimator_outputs(e);
  mica_status status = MICA_OK;
  for (int sigma = 1; sigma <= 3 && status == MICA_OK; sigma++) {
    double limit[MICA_LIST_MAX], above = 0;
    status = mica_estimator_level_thresholds(e, mica_sigma_share(sigma), MICA_THRESHOLD_LAW, limit);
    for (int64_t i = 0; i < clean * outputs && status == MICA_OK; i++)
      above += by_level[i] > limit[i % outputs];
    if (status == MICA_OK)
      status = mica_claim_report(cell, name[sigma - 1], above / (double)(clean * outputs));
  }
  return status;
}

static mica_status run_estimator(mica_claim_cell *cell) {
  const pictures *s = cell->shared;
  const reads *r = cell->arm->own;
  const mica_view questions = columns_of(s->questions[r->encoder], r);
  const int64_t n = questions.shape.dim[0];
  mica_estimator *e = NULL;
  mica_fit_data data = MICA_FIT_DATA;
  mica_fit_report report = {.size = sizeof report};
  mica_prediction p = MICA_PREDICTION;
  data.x = columns_of(s->features[r->encoder], r);
  mica_status status = mica_estimator_create(cell->engine, cell->arm->spec, &e);
  if (status == MICA_OK) status = mica_claim_fit(cell, e, &data, &report);
  p.anomaly = mica_calloc((size_t)n, sizeof *p.anomaly);
  p.score = status == MICA_OK
                ? mica_calloc((size_t)(n * mica_estimator_outputs(e)), sizeof *p.score)
                : NULL;
  if (status == MICA_OK && (!p.anomaly || !p.score)) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_estimator_predict(e, &questions, &p);
  if (status == MICA_OK) status = report_auroc(cell, n, p.anomaly);
  if (status == MICA_OK && r->false_alarms) status = report_false_alarms(cell, e, p.score, n / 2);
  if (status == MICA_OK && r->kept) {
    double kept = 0;
    for (int l = 0; l < report.levels; l++) kept += (double)report.level[l].kept;
    status = mica_claim_report(cell, "kept", kept);
  }
  mica_free(p.anomaly);
  mica_free(p.score);
  mica_estimator_free(e);
  return status;
}

/* Pixels: what their first principal components leave of a picture. */
static mica_status run_pixels(mica_claim_cell *cell) {
  const pictures *s = cell->shared;
  const int64_t n = mica_tensor_dim(s->normal, 0), tests = mica_tensor_dim(s->test, 0);
  const int64_t d = mica_tensor_count(s->normal) / n, k = PIXEL_PC < n ? PIXEL_PC : n - 1;
  const mica_view x = mica_view_of(mica_tensor_data(s->normal), MICA_F32, MICA_SHAPE(n, d));
  const mica_view t = mica_view_of(mica_tensor_data(s->test), MICA_F32, MICA_SHAPE(tests, d));
  double *mean = mica_calloc((size_t)(d * (k + 1)), sizeof *mean);
  double *y = mica_calloc((size_t)(tests * (k + 1)), sizeof *y);
  mica_status status = mean && y ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_pca(cell->engine, &x, k, mean, mean + d, NULL, NULL);
  if (status == MICA_OK) status = mica_project(cell->engine, &t, mean, mean + d, k, y);
  double *left = y ? y + tests * k : NULL;
  for (int64_t i = 0; i < tests && status == MICA_OK; i++) {
    for (int64_t j = 0; j < d; j++) {
      const double v = (double)((const float *)t.data)[i * d + j] - mean[j];
      left[i] += v * v;
    }
    for (int64_t j = 0; j < k; j++) left[i] -= y[i * k + j] * y[i * k + j];
  }
  mica_claim_spend(cell, n);
  if (status == MICA_OK) status = report_auroc(cell, tests, left);
  mica_free(mean);
  mica_free(y);
  return status;
}

static mica_status run(mica_claim_cell *cell) {
  return cell->arm->spec ? run_estimator(cell) : run_pixels(cell);
}

/* ---- the claim ---- */

#define GAUSSIAN "gaussian:levels=" LEVELS
#define PCA(t)   GAUSSIAN ":reducer=pca:variance=" t
#define NPCA(t)  GAUSSIAN ":reducer=npca:variance=" t

static const mica_claim_arm arms[] = {
    {"mvg", "Mahalanobis distance, mean over four levels", MICA_ARM_METHOD, GAUSSIAN, &all_alarms},
    {"sed", "each column by its own deviation", MICA_ARM_BASELINE,
     GAUSSIAN ":distance=standardised", &all},
    {"l2", "Euclidean distance to the mean", MICA_ARM_BASELINE, GAUSSIAN ":distance=euclidean",
     &all},
    {"npca-99", "the components behind 99 % of the variance", MICA_ARM_METHOD, NPCA("0.99"),
     &all_reduced},
    {"npca-99.9", "behind 99.9 %", MICA_ARM_CONTEXT, NPCA("0.999"), &all_reduced},
    {"npca-99.99", "behind 99.99 %", MICA_ARM_CONTEXT, NPCA("0.9999"), &all_reduced},
    {"pca-95", "the components with 95 % of the variance", MICA_ARM_BASELINE, PCA("0.95"),
     &all_reduced},
    {"pca-99", "with 99 %", MICA_ARM_CONTEXT, PCA("0.99"), &all_reduced},
    {"oc-svm", "one-class support vector machine, radial kernel", MICA_ARM_CONTEXT,
     "one_class_svm:boundary:levels=" LEVELS, &all},
    {"level-1", "the first level alone", MICA_ARM_CONTEXT, "gaussian", &levels[0]},
    {"level-2", "the second", MICA_ARM_CONTEXT, "gaussian", &levels[1]},
    {"level-3", "the third", MICA_ARM_CONTEXT, "gaussian", &levels[2]},
    {"level-4", "the fourth", MICA_ARM_CONTEXT, "gaussian", &levels[3]},
    {"random-mvg", "an encoder of random weights", MICA_ARM_CONTROL, GAUSSIAN, &of_random},
    {"random-sed", "the same, by deviations", MICA_ARM_CONTROL, GAUSSIAN ":distance=standardised",
     &of_random},
    {"random-l2", "the same, Euclidean", MICA_ARM_CONTROL, GAUSSIAN ":distance=euclidean",
     &of_random},
    {"random-npca-99", "the same, trailing components", MICA_ARM_CONTROL, NPCA("0.99"),
     &random_reduced},
    {"random-pca-95", "the same, leading components", MICA_ARM_CONTROL, PCA("0.95"),
     &random_reduced},
    {"pixels", "what 30 principal components of the pixels leave", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};

static const mica_claim_measure measures[] = {
    {"auroc", "image AUROC", false},
    {"kept", "components kept, of 176", true},
    {"beyond-1-sigma", "clean pictures beyond 1 sigma of a level (0.317 by the law)", true},
    {"beyond-2-sigma", "beyond 2 sigma (0.0455)", true},
    {"beyond-3-sigma", "beyond 3 sigma (0.0027)", true},
    {0}};

static const mica_claim_check checks[] = {
    {"the Mahalanobis distance is better than the standardised one",
     MICA_CHECK_DIFFERENCE,
     "auroc",
     {"mvg", 0, 0},
     {"sed", 0, 0},
     0.05,
     false,
     NULL,
     false},
    {"and better than the Euclidean one",
     MICA_CHECK_DIFFERENCE,
     "auroc",
     {"mvg", 0, 0},
     {"l2", 0, 0},
     0.05,
     false,
     NULL,
     false},
    {"the components with little variance lose nothing",
     MICA_CHECK_DIFFERENCE,
     "auroc",
     {"npca-99", 0, 0},
     {"mvg", 0, 0},
     -0.02,
     false,
     NULL,
     false},
    {"those with much variance do",
     MICA_CHECK_DIFFERENCE,
     "auroc",
     {"npca-99", 0, 0},
     {"pca-95", 0, 0},
     0.05,
     false,
     NULL,
     false},
    {"pre-training matters",
     MICA_CHECK_DIFFERENCE,
     "auroc",
     {"mvg", 0, 0},
     {"random-mvg", 0, 0},
     0.02,
     false,
     NULL,
     false},
    {"(not claimed here) the network is better than the pixels",
     MICA_CHECK_DIFFERENCE,
     "auroc",
     {"mvg", 0, 0},
     {"pixels", 0, 0},
     0,
     false,
     "the same pictures, but not a fit",
     true},
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "anomaly",
     .title = "Image AUROC on pictures with a moved patch, by the normal class",
     .arms = arms,
     .measures = measures,
     .checks = checks,
     .sweep = "classes",
     .sweep_what = "normal class",
     .unit = MICA_UNIT_POINT,
     .note =
         "Fashion-MNIST; the encoder saw eight of the ten classes, the normal ones are the other "
         "two (2 pullover, 7 sneaker). Each anomalous picture has one patch of 6 to 9 pixels "
         "copied over another place of it; where both are background nothing can be seen. "
         "Features are the means of the four stages' maps.",
     .prepare = prepare,
     .release = release,
     .run = run},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "16", 1, 1000, NULL, "repeats", offsetof(settings, seeds)},
    {"images", MICA_OPTION_INT, "12000", 1, 48000, NULL, "of pre-training",
     offsetof(settings, images)},
    {"epochs", MICA_OPTION_INT, "2", 1, 1000, NULL, "of pre-training", offsetof(settings, epochs)},
    {"normal", MICA_OPTION_INT, "250", 10, 6000, NULL, "training images of the normal class",
     offsetof(settings, normal)},
    {"test", MICA_OPTION_INT, "400", 10, 1000, NULL, "test images, the second half anomalous",
     offsetof(settings, test)},
    {"classes", MICA_OPTION_INTS, "2,7", 0, 9, NULL, "normal classes", offsetof(settings, classes)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly "
             "Detection",
    .arxiv = "2005.14140",
    .claim =
        "One Gaussian for each level of a frozen network finds anomalies better than distances "
        "without a covariance, and its components with little variance carry the signal",
    .components = "estimator:gaussian estimator:one_class_svm",
    .smoke = "seeds=1:images=2000:epochs=1:classes=7",
    .recorded = MICA_VERDICT_NOT_SHOWN,
    .experiments = experiments};

extern const mica_component mica_component_paper_gaussian_anomaly;
const mica_component mica_component_paper_gaussian_anomaly = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "gaussian-anomaly",
    "anomalies as distances from one Gaussian for each level of a frozen network",
    "gaussian-anomaly",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
