/* grassmann-classes: classes as subspaces: steps along geodesics keep them orthonormal where plain
 * ones do not, and features spread more within a class and transfer better the more dimensions it
 * has.
 */
#include <mica/measure.h>
#include <mica/paper.h>

#include "paper/claims/digits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, images, tests, epochs, steps;
  double rate;
  const char *model;
} settings;

enum { SIDE = 28, BATCH = 64, CLASSES = 10 };
static const char data[] = "fashion-mnist";

/* ---- one network ---- */

typedef struct arm_settings {
  const char *head, *rule; /* rule: of the subspaces; NULL: as all other weights */
} arm_settings;

static mica_status make(mica_claim_cell *cell, const arm_settings *a, mica_net **out) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, CLASSES);
  char spec[160];
  snprintf(spec, sizeof spec, "%.100s | head=%s", ((const settings *)cell->options)->model,
           a->head);
  return mica_net_create(cell->engine, spec, &problem,
                         mica_random_bits(mica_key_fold_name(cell->key, "net"), 0), out);
}

static mica_status train(mica_claim_cell *cell, const arm_settings *a, mica_net *net, int64_t steps,
                         mica_train_result *result) {
  const settings *o = cell->options;
  mica_tensor *x = NULL, *label = NULL;
  mica_stream stream = {0};
  mica_train_options t = MICA_TRAIN_OPTIONS;
  char rule[200];
  snprintf(rule, sizeof rule, "sgd:lr=%g:momentum=0.9", o->rate);
  if (a->rule)
    snprintf(rule + strlen(rule), sizeof rule - strlen(rule), " | subspace=rsgd:lr=%g%s", o->rate,
             a->rule);
  t.optimiser = rule;
  t.schedule = "cosine";
  t.seed = mica_random_bits(mica_key_fold_name(cell->key, "order"), 0);
  mica_status status =
      mica_claim_pictures(cell, data, MICA_PART_TRAIN, mica_key_fold_name(cell->key, "images"),
                          o->images, NULL, &x, &label);
  if (status == MICA_OK)
    status = mica_memory_stream_create(x, label, BATCH, true, false, t.seed, &stream);
  if (status == MICA_OK) {
    status = mica_claim_train(cell, net, &stream, steps, &t, result);
    mica_memory_stream_free(&stream);
  }
  mica_tensor_free(x);
  mica_tensor_free(label);
  return status;
}

/* ---- the optimiser alone ---- */

static mica_status run_optimiser(mica_claim_cell *cell) {
  const settings *o = cell->options;
  mica_net *net = NULL;
  mica_train_result first = {0}, last = {0};
  double error = NAN;
  const int64_t epoch = (o->images + BATCH - 1) / BATCH, steps = o->steps;
  mica_status status = make(cell, cell->arm->own, &net);
  if (status == MICA_OK)
    status = train(cell, cell->arm->own, net, epoch < steps ? epoch : steps, &first);
  if (status == MICA_OK && steps > epoch)
    status = train(cell, cell->arm->own, net, steps - epoch, &last);
  if (status == MICA_OK) {
    const mica_view w = mica_tensor_view(
        mica_param_value(mica_params_find(mica_net_params(net), "head.fc.weight")));
    status = mica_subspaces_error(&w, &error);
  }
  if (status == MICA_OK) status = mica_claim_report(cell, "error", error);
  if (status == MICA_OK) status = mica_claim_report(cell, "digits", -log10(error));
  if (status == MICA_OK)
    status = mica_claim_report(cell, "fall", first.loss - (steps > epoch ? last.loss : first.loss));
  mica_net_free(net);
  return status;
}

/* ---- heads side by side ---- */

static mica_status angles(mica_claim_cell *cell, const mica_tensor *features,
                          const mica_tensor *truth) {
  mica_findings *f = NULL;
  mica_measure_data d = MICA_MEASURE_DATA;
  d.x = mica_tensor_view(features);
  d.label = mica_tensor_data(truth);
  d.classes = CLASSES;
  mica_status status = mica_findings_create(&f);
  if (status == MICA_OK) status = mica_measure(cell->engine, "angles", &d, f);
  if (status == MICA_OK)
    status = mica_claim_report(cell, "angle", mica_findings_value(f, "class_angle"));
  if (status == MICA_OK)
    status = mica_claim_report(cell, "zeros", mica_findings_value(f, "zero_share"));
  mica_findings_free(f);
  return status;
}

/* A linear probe on the digits: 897 to fit and 900 to test. */
static mica_status transfer(mica_claim_cell *cell, const mica_net *net) {
  enum { FITTED = 897 };
  mica_tensor *x = NULL, *label = NULL, *features = NULL;
  int64_t right = 0, n = 0;
  mica_status status = mica_claim_digits(cell, 24, &x, &label);
  if (status == MICA_OK) {
    n = mica_tensor_dim(x, 0);
    /* Without a network the probe reads the pixels. */
    if (net)
      status = mica_claim_features(net, x, &features);
    else
      features = mica_tensor_retain(x);
  }
  if (status == MICA_OK) {
    const int64_t d = mica_tensor_count(features) / n;
    float *v = mica_tensor_data(features);
    const int64_t *y = mica_tensor_data(label);
    const mica_view fit = mica_view_of(v, MICA_F32, MICA_SHAPE(FITTED, d));
    const mica_view test = mica_view_of(v + FITTED * d, MICA_F32, MICA_SHAPE(n - FITTED, d));
    status = mica_claim_fit_and_count(cell, "logistic:C=10", &fit, y, CLASSES, &test, y + FITTED,
                                      &right);
  }
  if (status == MICA_OK)
    status = mica_claim_report(cell, "transfer", (double)right / (double)(n - FITTED));
  mica_tensor_free(features);
  mica_tensor_free(x);
  mica_tensor_free(label);
  return status;
}

static mica_status run_heads(mica_claim_cell *cell) {
  const settings *o = cell->options;
  const arm_settings *a = cell->arm->own;
  mica_net *net = NULL;
  mica_tensor *tests = NULL, *truth = NULL, *features = NULL;
  double accuracy = 0;
  mica_status status =
      mica_claim_pictures(cell, data, MICA_PART_TEST, mica_key_fold_name(cell->key, "tests"),
                          o->tests, NULL, &tests, &truth);
  if (status == MICA_OK && !a) { /* pixels */
    status = transfer(cell, NULL);
  } else {
    if (status == MICA_OK) status = make(cell, a, &net);
    if (status == MICA_OK)
      status = train(cell, a, net, (o->images + BATCH - 1) / BATCH * o->epochs, NULL);
    if (status == MICA_OK) status = mica_claim_accuracy(net, tests, truth, &accuracy);
    if (status == MICA_OK) status = mica_claim_report(cell, "accuracy", accuracy);
    if (status == MICA_OK) status = mica_claim_features(net, tests, &features);
    if (status == MICA_OK) status = angles(cell, features, truth);
    if (status == MICA_OK) status = transfer(cell, net);
  }
  mica_tensor_free(features);
  mica_tensor_free(tests);
  mica_tensor_free(truth);
  mica_net_free(net);
  return status;
}

/* ---- the claim ---- */

static const arm_settings geodesic = {"grassmann:dim=4", ""},
                          qr = {"grassmann:dim=4", ":retraction=qr"},
                          plain = {"grassmann:dim=4", NULL};
static const mica_claim_arm optimiser_arms[] = {
    {"geodesic", "steps along geodesics", MICA_ARM_METHOD, NULL, &geodesic},
    {"qr", "straight steps, then QR", MICA_ARM_CONTEXT, NULL, &qr},
    {"plain", "SGD with momentum, no way back", MICA_ARM_BASELINE, NULL, &plain},
    {0}};
static const mica_claim_measure optimiser_measures[] = {
    {"digits", "digits of orthonormality, -log10 of the largest |S S^T - I|", false},
    {"error", "largest |S S^T - I|", true},
    {"fall", "fall of the training loss since the first epoch", false},
    {0}};

static const arm_settings linear = {"linear", NULL}, cosine = {"cosine:scale=25", NULL},
                          k1 = {"grassmann:dim=1", ""}, k2 = {"grassmann:dim=2", ""},
                          k4 = {"grassmann:dim=4", ""}, k8 = {"grassmann:dim=8", ""},
                          k16 = {"grassmann:dim=16", ""}, k32 = {"grassmann:dim=32", ""},
                          k8qr = {"grassmann:dim=8", ":retraction=qr"},
                          k8raw = {"grassmann:dim=8:gamma=1:normalise=false", ""};
static const mica_claim_arm head_arms[] = {
    {"k8", "subspaces of 8 dimensions", MICA_ARM_METHOD, NULL, &k8},
    {"k1", "subspaces of 1 dimension", MICA_ARM_BASELINE, NULL, &k1},
    {"k2", "2 dimensions", MICA_ARM_CONTEXT, NULL, &k2},
    {"k4", "4 dimensions", MICA_ARM_CONTEXT, NULL, &k4},
    {"k16", "16 dimensions", MICA_ARM_CONTEXT, NULL, &k16},
    {"k32", "32 dimensions", MICA_ARM_CONTEXT, NULL, &k32},
    {"k8-qr", "8 dimensions, retraction by QR", MICA_ARM_CONTEXT, NULL, &k8qr},
    {"k8-raw", "8 dimensions, features not normalised", MICA_ARM_CONTEXT, NULL, &k8raw},
    {"cosine", "a direction for each class, scale 25", MICA_ARM_BASELINE, NULL, &cosine},
    {"linear", "a vector and a bias for each class", MICA_ARM_BASELINE, NULL, &linear},
    {"pixels", "a linear probe on the pixels", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};
static const mica_claim_measure head_measures[] = {
    {"angle", "mean angle to the class's mean direction, degrees", false},
    {"accuracy", "test accuracy", false},
    {"transfer", "accuracy of a linear probe on digits", false},
    {"zeros", "share of features that are 0", false},
    {0}};

static const mica_claim_check head_checks[] = {
    {"features spread more within a class of 8 dimensions than of 1",
     MICA_CHECK_DIFFERENCE,
     "angle",
     {"k8", 0, 0},
     {"k1", 0, 0},
     1.5,
     false,
     NULL,
     false},
    {"and transfer at least as well",
     MICA_CHECK_DIFFERENCE,
     "transfer",
     {"k8", 0, 0},
     {"k1", 0, 0},
     0,
     false,
     NULL,
     false},
    {"accuracy is not below that of the cosine head by more than half a point",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"k8", 0, 0},
     {"cosine", 0, 0},
     -0.005,
     false,
     NULL,
     false},
    {"features transfer better than pixels",
     MICA_CHECK_DIFFERENCE,
     "transfer",
     {"k8", 0, 0},
     {"pixels", 0, 0},
     0,
     false,
     "pixels need no training",
     true},
    {"and no worse than those of a linear head",
     MICA_CHECK_DIFFERENCE,
     "transfer",
     {"k8", 0, 0},
     {"linear", 0, 0},
     0,
     false,
     NULL,
     true},
    {0}};
static const mica_claim_check optimiser_checks[] = {
    {"after all steps the subspaces are orthonormal to 1e-5",
     MICA_CHECK_VALUE,
     "error",
     {"geodesic", 0, 0},
     {NULL, 0, 0},
     1e-5,
     false,
     NULL,
     false},
    {"plain steps drift off by orders of magnitude more",
     MICA_CHECK_DIFFERENCE,
     "digits",
     {"geodesic", 0, 0},
     {"plain", 0, 0},
     3,
     false,
     NULL,
     false},
    {"and the training loss falls",
     MICA_CHECK_VALUE,
     "fall",
     {"geodesic", 0, 0},
     {NULL, 0, 0},
     0,
     false,
     NULL,
     false},
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "heads",
     .title = "Angles within classes, accuracy and transfer by the head",
     .arms = head_arms,
     .measures = head_measures,
     .checks = head_checks,
     .unit = MICA_UNIT_ARM,
     .run = run_heads},
    {.name = "optimiser",
     .title = "Orthonormality after training with and without steps on the manifold",
     .arms = optimiser_arms,
     .measures = optimiser_measures,
     .checks = optimiser_checks,
     .unit = MICA_UNIT_ARM,
     .run = run_optimiser},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "5", 1, 1000, NULL, "seeds", offsetof(settings, seeds)},
    {"images", MICA_OPTION_INT, "6000", 64, 60000, NULL, "training pictures",
     offsetof(settings, images)},
    {"tests", MICA_OPTION_INT, "3000", 100, 10000, NULL, "test pictures",
     offsetof(settings, tests)},
    {"epochs", MICA_OPTION_INT, "6", 1, 1000, NULL, "of training", offsetof(settings, epochs)},
    {"steps", MICA_OPTION_INT, "500", 1, 1000000, NULL, "optimiser: steps",
     offsetof(settings, steps)},
    {"rate", MICA_OPTION_FLOAT, "0.05", 1e-6, 10, NULL, "learning rate of everything",
     offsetof(settings, rate)},
    {"model", MICA_OPTION_SPEC, "convnet:widths=16,32,64:convolutions=1", 0, 0, NULL, "the network",
     offsetof(settings, model)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Get the Best of Both Worlds: Improving Accuracy and Transferability by Grassmann "
             "Class Representation",
    .arxiv = "2308.01547",
    .claim = "Classes as subspaces, trained along geodesics, let features spread within a class "
             "and transfer better at no cost in accuracy",
    .components = "layer:grassmann optimiser:rsgd measure:angles",
    .smoke = "seeds=1:images=640:tests=200:epochs=1:steps=20",
    .recorded = MICA_VERDICT_NOT_SHOWN,
    .experiments = experiments};

extern const mica_component mica_component_paper_grassmann_classes;
const mica_component mica_component_paper_grassmann_classes = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "grassmann-classes",
    "classes as subspaces: orthonormality, spread within classes, transfer",
    "grassmann-classes",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
