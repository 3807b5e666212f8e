/* pela: a network whose layers are replaced by two factors of their singular value decomposition,
 * and trained for a moment on its own task, is nearly as good as before, there and downstream.
 */
#include <mica/paper.h>
#include <mica/scheme.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, width, images, epochs, steps, tests, labelled;
  mica_floats ratios;
} settings;

enum { BATCH = 64, CLASSES = 10, SIDE = 28 };

/* ---- data: clothes, and clothes shifted by (4, 4) pixels ---- */

typedef struct task {
  mica_net *net; /* the original */
  mica_tensor *x, *label, *tests, *truth;
  mica_tensor *shifted, *shifted_label, *shifted_tests;
} task;

static void release(void *shared) {
  task *s = shared;
  if (!s) return;
  mica_net_free(s->net);
  mica_tensor_free(s->x);
  mica_tensor_free(s->label);
  mica_tensor_free(s->tests);
  mica_tensor_free(s->truth);
  mica_tensor_free(s->shifted);
  mica_tensor_free(s->shifted_label);
  mica_tensor_free(s->shifted_tests);
  mica_free(s);
}

static void roll(mica_tensor *x) {
  float rolled[SIDE * SIDE];
  for (int64_t n = 0; n < mica_tensor_dim(x, 0); n++) {
    float *at = (float *)mica_tensor_data(x) + n * SIDE * SIDE;
    for (int r = 0; r < SIDE; r++)
      for (int c = 0; c < SIDE; c++)
        rolled[(r + 4) % SIDE * SIDE + (c + 4) % SIDE] = at[r * SIDE + c];
    memcpy(at, rolled, sizeof rolled);
  }
}

static mica_status prepare(mica_claim_cell *cell, void **out) {
  static const char data[] = "fashion-mnist";
  const settings *o = cell->options;
  const long long w = (long long)o->width;
  task *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  char spec[120];
  mica_pretraining recipe = MICA_PRETRAINING;
  snprintf(spec, sizeof spec, "mlp:hidden=%lld,%lld,%lld,%lld", w, w, w, w);
  recipe.model = spec;
  recipe.data = data;
  recipe.images = o->images;
  recipe.epochs = o->epochs;
  recipe.seed = (uint64_t)cell->seed;
  const mica_key key = mica_key_fold_name(cell->key, "images"),
                 below = mica_key_fold_name(cell->key, "downstream");
  mica_status status = mica_claim_encoder(cell, &recipe, &s->net);
  if (status == MICA_OK)
    status =
        mica_claim_pictures(cell, data, MICA_PART_TRAIN, key, o->images, NULL, &s->x, &s->label);
  if (status == MICA_OK)
    status =
        mica_claim_pictures(cell, data, MICA_PART_TEST, key, o->tests, NULL, &s->tests, &s->truth);
  if (status == MICA_OK)
    status = mica_claim_pictures(cell, data, MICA_PART_TEST, key, o->tests, NULL, &s->shifted_tests,
                                 NULL);
  if (status == MICA_OK)
    status = mica_claim_pictures(cell, data, MICA_PART_TRAIN, below, o->labelled, NULL, &s->shifted,
                                 &s->shifted_label);
  if (status == MICA_OK) {
    roll(s->shifted);
    roll(s->shifted_tests);
    *out = s;
  } else {
    release(s);
  }
  return status;
}

/* ---- one arm ---- */

/* What an arm does with the copy of the network. */
typedef struct recipe {
  bool factors, random;
  const char *loss; /* of the stage between; NULL: there is none */
} recipe;

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static mica_status forward_time(const mica_net *net, mica_tensor *x, double *seconds) {
  mica_tape *t;
  mica_outputs out;
  mica_status status = mica_tape_create(mica_params_engine(mica_net_params(net)), NULL, &t);
  if (status != MICA_OK) return status;
  mica_no_grad_begin(t);
  const double begin = now();
  mica_net_forward(t, net, mica_input(t, x), &out);
  *seconds = now() - begin;
  status = mica_tape_status(t);
  mica_tape_free(t);
  return status;
}

static int by_size(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The forward of the tests by that of the original, in turns: the median of the ratios. */
static mica_status report_time(mica_claim_cell *cell, const mica_net *net) {
  enum { TURNS = 11 };
  const task *s = cell->shared;
  double ratio[TURNS];
  mica_status status = MICA_OK;
  for (int i = -1; i < TURNS && status == MICA_OK; i++) {
    double a = 1, b = 1;
    status = forward_time(s->net, s->tests, &a);
    if (status == MICA_OK) status = forward_time(net, s->tests, &b);
    if (i >= 0) ratio[i] = b / a;
  }
  if (status != MICA_OK) return status;
  qsort(ratio, TURNS, sizeof *ratio, by_size);
  return mica_claim_report(cell, "time", ratio[TURNS / 2]);
}

static mica_status compress(mica_claim_cell *cell, mica_net *net) {
  const recipe *r = cell->arm->own;
  mica_low_rank_options o = MICA_LOW_RANK_OPTIONS;
  mica_low_rank_report report;
  double before = 0, after = 0;
  o.ratio = cell->point;
  o.random = r->random;
  mica_params_set_seed(mica_net_params(net), mica_random_bits(cell->key, 7));
  mica_status status = mica_low_rank(mica_net_params(net), &o, &report);
  if (status != MICA_OK) return status;
  for (int64_t i = 0; i < report.layers; i++) {
    const mica_low_rank_layer *l = &report.layer[i];
    const double whole = (double)l->outputs * (double)l->inputs;
    before += whole;
    after += l->rank ? (double)l->rank * (double)(l->outputs + l->inputs) : whole;
  }
  mica_low_rank_report_clear(&report);
  return mica_claim_report(cell, "products", after / before);
}

static mica_status train(mica_claim_cell *cell, mica_net *net, mica_tensor *x, mica_tensor *label,
                         const char *loss, double lr, const char *order) {
  const settings *o = cell->options;
  const task *s = cell->shared;
  char optimiser[80];
  mica_stream stream;
  mica_scheme *scheme = NULL;
  mica_train_options t = MICA_TRAIN_OPTIONS;
  snprintf(optimiser, sizeof optimiser, "adamw:lr=%g:weight_decay=0.02", lr);
  t.optimiser = optimiser;
  t.schedule = "cosine";
  t.seed = mica_random_bits(mica_key_fold_name(cell->key, order), 0);
  mica_status status = mica_memory_stream_create(x, label, BATCH, true, true, t.seed, &stream);
  if (status != MICA_OK) return status;
  const mica_scheme_setting setting = {
      .size = sizeof setting, .net = net, .train = &stream, .teacher = s->net};
  status = mica_scheme_create(cell->engine, "distil:taps=[0-3]", &setting, loss, &scheme);
  if (status == MICA_OK) {
    t.scheme = scheme;
    t.loss = mica_scheme_loss(scheme);
    status = mica_claim_train(cell, net, &stream, o->steps, &t, NULL);
  }
  mica_scheme_free(scheme);
  mica_memory_stream_free(&stream);
  return status;
}

static mica_status copy_net(mica_claim_cell *cell, const mica_net *from, mica_net **out) {
  char *text = mica_net_text(from);
  if (!text) return MICA_ERR_MEMORY;
  const mica_status status = mica_net_create(cell->engine, text, mica_net_problem(from), 0, out);
  mica_free(text);
  return status == MICA_OK ? mica_params_copy(mica_net_params(*out), mica_net_params(from))
                           : status;
}

static mica_status run(mica_claim_cell *cell) {
  const task *s = cell->shared;
  const recipe *r = cell->arm->own;
  mica_net *net = NULL;
  double accuracy = 0, below = 0;
  if (!r) {
    const int64_t n = mica_tensor_count(s->truth);
    const int64_t right =
        mica_claim_majority(mica_tensor_count(s->label), mica_tensor_data(s->label), CLASSES, n,
                            mica_tensor_data(s->truth));
    return mica_claim_report(cell, "accuracy", (double)right / (double)n);
  }
  mica_status status = copy_net(cell, s->net, &net);
  if (status == MICA_OK && r->factors) status = compress(cell, net);
  if (status == MICA_OK && r->factors) status = report_time(cell, net);
  if (status == MICA_OK && r->loss)
    status = train(cell, net, s->x, s->label, r->loss, 0.001, "between");
  if (status == MICA_OK) status = mica_claim_accuracy(net, s->tests, s->truth, &accuracy);
  if (status == MICA_OK) status = mica_claim_report(cell, "accuracy", accuracy);
  if (status == MICA_OK)
    status = mica_claim_report(cell, "parameters",
                               (double)mica_params_elements(mica_net_params(net), 0));
  if (status == MICA_OK)
    status = train(cell, net, s->shifted, s->shifted_label, "ce", 0.001, "downstream");
  if (status == MICA_OK) status = mica_claim_accuracy(net, s->shifted_tests, s->truth, &below);
  if (status == MICA_OK) status = mica_claim_report(cell, "downstream", below);
  mica_net_free(net);
  return status;
}

/* ---- the claim ---- */

static const recipe original = {false, false, NULL}, longer = {false, false, "ce"},
                    drawn = {true, true, "ce"}, svd = {true, false, NULL},
                    svd_task = {true, false, "ce"}, svd_features = {true, false, "ce+feature_mse"},
                    svd_weights = {true, false, "ce+perturbation"},
                    svd_hinge = {true, false, "ce+perturbation:mode=hinge"},
                    svd_fro = {true, false, "ce+perturbation:mode=fro"},
                    all = {true, false, "ce+feature_mse+perturbation"};

static const mica_claim_arm arms[] = {
    {"svd-task", "singular vectors, then the task", MICA_ARM_METHOD, NULL, &svd_task},
    {"random-task", "random factors, then the task", MICA_ARM_BASELINE, NULL, &drawn},
    {"svd", "singular vectors alone", MICA_ARM_METHOD, NULL, &svd},
    {"svd-features", "the task and the original's features", MICA_ARM_METHOD, NULL, &svd_features},
    {"svd-weights", "the task and the original's weights", MICA_ARM_CONTEXT, NULL, &svd_weights},
    {"svd-hinge", "the same, only above the bound", MICA_ARM_CONTEXT, NULL, &svd_hinge},
    {"svd-fro", "the same, of the mean square", MICA_ARM_CONTEXT, NULL, &svd_fro},
    {"svd-all", "the task, features and weights", MICA_ARM_METHOD, NULL, &all},
    {"original", "the network as it was", MICA_ARM_BASELINE, NULL, &original},
    {"original-task", "the network, trained as long", MICA_ARM_CONTEXT, NULL, &longer},
    {"majority", "always the most frequent class", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};

static const mica_claim_measure measures[] = {
    {"accuracy", "test accuracy on the original task", false},
    {"downstream", "test accuracy downstream, after fine-tuning", false},
    {"parameters", "parameters", true},
    {"products", "multiplications of the replaced layers, by those of the original", true},
    {"time", "time of a forward, by that of the original", true},
    {0}};

static const char less[] = "the original is not trained in between";
#define CHECK(what, measure, method, from, to, baseline, threshold, why, shown)                    \
  {                                                                                                \
    what, MICA_CHECK_DIFFERENCE, measure, {method, from, to}, {baseline, from, to}, threshold,     \
        false, why, shown                                                                          \
  }
static const mica_claim_check checks[] = {
    CHECK("factors of singular vectors are far better than random ones after as many steps",
          "accuracy", "svd-task", 0, 0, "random-task", 0.03, NULL, false),
    CHECK("a third of the parameters costs at most a point", "accuracy", "svd-task", 3, 3,
          "original", -0.01, less, false),
    CHECK("features of the original cost nothing", "accuracy", "svd-features", 0, 0, "svd-task",
          -0.003, NULL, false),
    {"a third of the parameters takes less than half of the multiplications",
     MICA_CHECK_VALUE,
     "products",
     {"svd-task", 3, 3},
     {NULL, 0, 0},
     0.5,
     false,
     NULL,
     false},
    {"and of the time",
     MICA_CHECK_VALUE,
     "time",
     {"svd-task", 3, 3},
     {NULL, 0, 0},
     0.5,
     false,
     NULL,
     true},
    CHECK("downstream it costs at most a point", "downstream", "svd-task", 3, 3, "original", -0.01,
          less, true),
    CHECK("the weights' term adds nothing here", "accuracy", "svd-all", 0, 0, "svd-features", 0,
          NULL, true),
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "factors",
     .title = "Test accuracy of a network in two factors, by the ratio of its compression",
     .arms = arms,
     .measures = measures,
     .checks = checks,
     .sweep = "ratios",
     .sweep_what = "parameters before by those after",
     .note = "Every arm that is trained in between takes as many steps. Fine-tuning downstream, on "
             "few shifted pictures, is the same for all. Times are ratios of interleaved forwards "
             "in one thread, beside whatever else the machine did.",
     .prepare = prepare,
     .release = release,
     .run = run},
    {0}};

#define ROW(name, def, lo, hi, help)                                                               \
  { #name, MICA_OPTION_INT, def, lo, hi, NULL, help, offsetof(settings, name) }
static const mica_option options[] = {
    ROW(seeds, "5", 1, 1000, "seeds"),
    ROW(width, "512", 16, 4096, "of the four hidden layers"),
    ROW(images, "20000", 100, 60000, "images of the original task"),
    ROW(epochs, "3", 1, 1000, "epochs on them"),
    ROW(steps, "150", 1, 100000, "steps in between, and downstream"),
    ROW(tests, "5000", 100, 10000, "test images"),
    ROW(labelled, "1000", 64, 60000, "images downstream"),
    {"ratios", MICA_OPTION_FLOATS, "3,12", 1, 1000, NULL, "ratios of compression",
     offsetof(settings, ratios)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "PELA: Learning Parameter-Efficient Models with Low-Rank Approximation",
    .arxiv = "2310.10700",
    .claim = "A network in two factors of its singular value decomposition, trained for a moment "
             "on its own task, is as good with a third of the parameters",
    .components = "loss:feature_mse loss:perturbation",
    .smoke = "seeds=1:width=32:images=500:epochs=1:steps=5:tests=200:labelled=64:ratios=3",
    .recorded = MICA_VERDICT_MECHANISM,
    .experiments = experiments};

extern const mica_component mica_component_paper_pela;
const mica_component mica_component_paper_pela = {MICA_COMPONENT_HEAD,
                                                  MICA_KIND_PAPER,
                                                  "pela",
                                                  "layers in two factors",
                                                  "pela",
                                                  options,
                                                  sizeof(settings),
                                                  0,
                                                  0,
                                                  &functions};
