/* batchnorm-only: with all weights frozen at random values, training the gains and shifts of batch
 * norm alone makes a network that works, far better than training as many other weights, and better
 * the deeper it is.
 */
#include <mica/network_analysis.h>
#include <mica/paper.h>

#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, images, tests, epochs, width;
  mica_ints depths;
} settings;

static const char data[] = "fashion-mnist";
enum { SIDE = 14, BATCH = 128, CLASSES = 10 };

/* Of Fashion-MNIST's training pixels. */
static const float pixel_mean = 0.2860f, pixel_deviation = 0.3530f;

/* ---- data: pictures pooled to half their size, in three equal channels ---- */

static mica_status pooled(mica_claim_cell *cell, mica_part part, int64_t n, mica_tensor **x,
                          mica_tensor **label) {
  mica_tensor *full = NULL;
  mica_status status = mica_claim_pictures(
      cell, data, part, mica_key_fold_name(cell->key, "images"), n, NULL, &full, label);
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, SIDE, SIDE, 3), x);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const float *from = (const float *)mica_tensor_data(full) + i * 4 * SIDE * SIDE;
    float *to = (float *)mica_tensor_data(*x) + i * 3 * SIDE * SIDE;
    for (int64_t r = 0; r < SIDE; r++)
      for (int64_t c = 0; c < SIDE; c++) {
        const float *at = from + 2 * r * 2 * SIDE + 2 * c;
        const float mean = 0.25f * (at[0] + at[1] + at[2 * SIDE] + at[2 * SIDE + 1]);
        for (int64_t k = 0; k < 3; k++)
          to[3 * (r * SIDE + c) + k] = (mean - pixel_mean) / pixel_deviation;
      }
  }
  mica_tensor_free(full);
  return status;
}

/* ---- one arm ---- */

/* The same initial values for every arm of a seed; what is trained differs. */
static mica_status make_net(mica_claim_cell *cell, mica_net **out) {
  const settings *o = cell->options;
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 3, CLASSES);
  const mica_key key = mica_key_fold_name(cell->key, "net");
  char spec[100];
  snprintf(spec, sizeof spec, "resnet:depth=%lld:width=%lld:shortcut=b", (long long)cell->point,
           (long long)o->width);
  mica_status status = mica_net_create(cell->engine, spec, &problem, mica_random_bits(key, 0), out);
  mica_params *p = status == MICA_OK ? mica_net_params(*out) : NULL;
  if (status == MICA_OK)
    status = mica_params_initialise(p, "conv,linear=normal | bn=uniform", NULL);
  if (status == MICA_OK) status = mica_params_train_only(p, cell->arm->spec);
  if (status == MICA_OK) status = mica_params_decay_only(p, "all");
  if (status == MICA_OK && cell->arm->own)
    status = mica_params_mask(p, cell->arm->own, mica_random_bits(key, 1), NULL);
  return status;
}

/* How many elements outside the trained set differ in any bit from the copy made before training.
 */
static int64_t changed(const mica_params *before, const mica_params *after) {
  int64_t count = 0;
  for (int64_t i = 0; i < mica_params_count(after); i++) {
    const mica_param *q = mica_params_at(after, i), *old = mica_params_at(before, i);
    if (mica_param_flags(q) & MICA_PARAM_BUFFER) continue;
    const bool trained = mica_param_flags(q) & MICA_PARAM_TRAINABLE;
    const mica_tensor *mask = mica_param_mask(q);
    if (trained && !mask) continue;
    const float *a = mica_tensor_data(mica_param_value(old));
    const float *b = mica_tensor_data(mica_param_value(q));
    const bool *free_ = trained ? mica_tensor_data(mask) : NULL;
    for (int64_t k = 0; k < mica_tensor_count(mica_param_value(q)); k++)
      count += !(free_ && free_[k]) && memcmp(&a[k], &b[k], sizeof *a) != 0;
  }
  return count;
}

static mica_status train(mica_claim_cell *cell, mica_net *net) {
  const settings *o = cell->options;
  mica_tensor *x = NULL, *label = NULL;
  mica_train_options t = MICA_TRAIN_OPTIONS;
  t.optimiser = "sgd:lr=0.1:momentum=0.9:weight_decay=1e-4";
  t.schedule = "constant";
  t.seed = mica_random_bits(mica_key_fold_name(cell->key, "order"), 0);
  mica_status status = pooled(cell, MICA_PART_TRAIN, o->images, &x, &label);
  if (status == MICA_OK)
    status =
        mica_claim_train_on(cell, net, x, label, BATCH, true, o->images / BATCH * o->epochs, &t);
  mica_tensor_free(x);
  mica_tensor_free(label);
  return status;
}

static mica_status measure(mica_claim_cell *cell, const mica_net *net, const mica_params *before) {
  const settings *o = cell->options;
  const mica_params *p = mica_net_params(net);
  mica_tensor *x = NULL, *label = NULL;
  double accuracy = 0;
  mica_gains gains = {0};
  mica_status status = pooled(cell, MICA_PART_TEST, o->tests, &x, &label);
  if (status == MICA_OK) status = mica_claim_accuracy(net, x, label, &accuracy);
  if (status == MICA_OK) status = mica_claim_report(cell, "accuracy", accuracy);
  if (status == MICA_OK) status = mica_gains_of(p, &gains);
  if (status == MICA_OK)
    status = mica_claim_report(cell, "small_gains", mica_share_below(gains.gain, gains.n, 0.05));
  if (status == MICA_OK)
    status = mica_claim_report(cell, "trained", (double)mica_params_trained(p));
  if (status == MICA_OK) status = mica_claim_report(cell, "changed", (double)changed(before, p));
  mica_gains_free(&gains);
  mica_tensor_free(x);
  mica_tensor_free(label);
  return status;
}

static mica_status majority(mica_claim_cell *cell) {
  const settings *o = cell->options;
  const mica_key key = mica_key_fold_name(cell->key, "images");
  mica_tensor *label = NULL, *truth = NULL;
  mica_status status =
      mica_claim_pictures(cell, data, MICA_PART_TRAIN, key, o->images, NULL, NULL, &label);
  if (status == MICA_OK)
    status = mica_claim_pictures(cell, data, MICA_PART_TEST, key, o->tests, NULL, NULL, &truth);
  if (status == MICA_OK) {
    const int64_t right = mica_claim_majority(o->images, mica_tensor_data(label), CLASSES, o->tests,
                                              mica_tensor_data(truth));
    status = mica_claim_report(cell, "accuracy", (double)right / (double)o->tests);
  }
  mica_tensor_free(label);
  mica_tensor_free(truth);
  return status;
}

static mica_status run(mica_claim_cell *cell) {
  mica_net *net = NULL;
  mica_params *before = NULL;
  if (cell->arm->role == MICA_ARM_TRIVIAL) return majority(cell);
  mica_status status = make_net(cell, &net);
  if (status == MICA_OK) status = mica_params_clone(mica_net_params(net), &before);
  if (status == MICA_OK) status = train(cell, net);
  if (status == MICA_OK) status = measure(cell, net, before);
  mica_params_free(before);
  mica_net_free(net);
  return status;
}

/* ---- the claim ---- */

static const mica_claim_arm arms[] = {
    {"bn", "gains and shifts of batch norm", MICA_ARM_METHOD, "bn", NULL},
    {"random", "as many random weights: two of each output channel", MICA_ARM_BASELINE, "conv",
     "conv=random:count=2"},
    {"output", "the output layer", MICA_ARM_BASELINE, "output", NULL},
    {"bn-output", "batch norm and the output layer", MICA_ARM_METHOD, "bn,output", NULL},
    {"all", "everything", MICA_ARM_CONTEXT, "all", NULL},
    {"majority", "always the most frequent class", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};
static const mica_claim_measure measures[] = {{"accuracy", "test accuracy", false},
                                              {"small_gains", "share of gains below 0.05", false},
                                              {"trained", "trained elements", false},
                                              {"changed", "frozen elements that changed", true},
                                              {0}};
static const mica_claim_check checks[] = {
    {"batch norm alone is far better than as many random weights",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"bn", 0, 0},
     {"random", 0, 0},
     0.15,
     true,
     NULL,
     false},
    {"and better the deeper the network",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"bn", 32, 32},
     {"bn", 14, 14},
     0.05,
     false,
     NULL,
     false},
    {"with the output layer it is far better than the output layer alone",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"bn-output", 0, 0},
     {"output", 0, 0},
     0.10,
     true,
     NULL,
     false},
    {"all weights are better than batch norm alone",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"all", 0, 0},
     {"bn", 0, 0},
     0,
     true,
     NULL,
     false},
    {"no frozen element of the method changed by a bit",
     MICA_CHECK_VALUE,
     "changed",
     {"bn", 0, 0},
     {NULL, 0, 0},
     0,
     true,
     NULL,
     false},
    {"nor one of the random baseline",
     MICA_CHECK_VALUE,
     "changed",
     {"random", 0, 0},
     {NULL, 0, 0},
     0,
     true,
     NULL,
     false},
    {"batch norm alone switches more features off than training all",
     MICA_CHECK_DIFFERENCE,
     "small_gains",
     {"bn", 0, 0},
     {"all", 0, 0},
     0,
     true,
     NULL,
     true},
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "parts",
     .title = "Test accuracy by the part of the network that is trained, and its depth",
     .arms = arms,
     .measures = measures,
     .checks = checks,
     .sweep = "depths",
     .sweep_what = "depth",
     .unit = MICA_UNIT_ARM,
     .note = "Running statistics of batch norm follow the batches in every arm. A third of the "
             "features switched off, as the paper reports, takes much longer training.",
     .run = run},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "8", 1, 1000, NULL, "seeds", offsetof(settings, seeds)},
    {"images", MICA_OPTION_INT, "8000", 128, 60000, NULL, "training images",
     offsetof(settings, images)},
    {"tests", MICA_OPTION_INT, "2000", 1, 10000, NULL, "test images", offsetof(settings, tests)},
    {"epochs", MICA_OPTION_INT, "3", 1, 1000, NULL, "of training", offsetof(settings, epochs)},
    {"width", MICA_OPTION_INT, "8", 1, 1000, NULL, "of the first segment",
     offsetof(settings, width)},
    {"depths", MICA_OPTION_INTS, "14,32", 8, 866, NULL, "depths, 6 n + 2",
     offsetof(settings, depths)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Training BatchNorm and Only BatchNorm: On the Expressive Power of Random Features in "
             "CNNs",
    .arxiv = "2003.00152",
    .claim = "Training batch norm alone beats training as many other weights by far, and improves "
             "with depth",
    .components = "mask:random initialiser:uniform initialiser:normal initialiser:orthogonal "
                  "initialiser:binary",
    .smoke = "seeds=1:images=300:tests=200:epochs=1:depths=8",
    .recorded = MICA_VERDICT_NOT_SHOWN,
    .experiments = experiments};

extern const mica_component mica_component_paper_batchnorm_only;
const mica_component mica_component_paper_batchnorm_only = {MICA_COMPONENT_HEAD,
                                                            MICA_KIND_PAPER,
                                                            "batchnorm-only",
                                                            "training batch norm alone",
                                                            "batchnorm-only",
                                                            options,
                                                            sizeof(settings),
                                                            0,
                                                            0,
                                                            &functions};
