/* moment-probing: on a frozen network, classes that it was not trained on are told far better by
 * moments between groups of channels than by the mean of its last map.
 */
#include <mica/paper.h>

#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, backbone_images, backbone_epochs, tests, steps, cifar_images, cifar_epochs;
  mica_ints images;
} settings;

enum { CLASSES = 5, CHANNELS = 64, MANY = 1000 };
static const char model[] = "convnet:widths=16,32,64:convolutions=1", known[] = "0,1,2,3,4",
                  fresh[] = "5,6,7,8,9";

/* ---- what a seed's cells share ---- */

typedef struct part {
  int64_t n;
  mica_tensor *x, *label, *tokens, *mean;
} part;

typedef struct shared {
  part train, test;
} shared;

static void part_end(part *p) {
  mica_tensor_free(p->x);
  mica_tensor_free(p->label);
  mica_tensor_free(p->tokens);
  mica_tensor_free(p->mean);
}

static void release(void *given) {
  shared *s = given;
  part_end(&s->train);
  part_end(&s->test);
  mica_free(s);
}

/* Labels 5..9 as 0..4, the map's mean and all its positions. */
static mica_status embed(mica_net *net, part *p) {
  static const char *const all[] = {"pyramid.2:all"};
  int64_t *label = mica_tensor_data(p->label);
  for (int64_t i = 0; i < p->n; i++) label[i] -= CLASSES;
  mica_status status = mica_net_set_taps(net, 0, NULL);
  if (status == MICA_OK) status = mica_claim_features(net, p->x, &p->mean);
  if (status == MICA_OK) status = mica_net_set_taps(net, 1, all);
  if (status == MICA_OK) status = mica_claim_features(net, p->x, &p->tokens);
  return status;
}

static mica_status encoder(mica_claim_cell *cell, const char *data, int64_t images, int64_t epochs,
                           mica_net **out) {
  mica_pretraining recipe = MICA_PRETRAINING;
  recipe.model = model;
  recipe.data = data;
  recipe.classes = known;
  recipe.images = images;
  recipe.epochs = epochs;
  recipe.seed = (uint64_t)cell->seed;
  return mica_claim_encoder(cell, &recipe, out);
}

static mica_status ready(mica_status status, mica_net *net, shared *s, void **out) {
  if (status == MICA_OK) status = embed(net, &s->train);
  if (status == MICA_OK) status = embed(net, &s->test);
  mica_net_free(net);
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

static mica_status prepare(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  mica_net *net = NULL;
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  for (int i = 0; i < o->images.n; i++)
    if (o->images.v[i] > s->train.n) s->train.n = o->images.v[i];
  s->test.n = o->tests;
  mica_status status = encoder(cell, "fashion-mnist", o->backbone_images, o->backbone_epochs, &net);
  if (status == MICA_OK)
    status = mica_claim_pictures(cell, "fashion-mnist", MICA_PART_TRAIN,
                                 mica_key_fold_name(cell->key, "train"), s->train.n, fresh,
                                 &s->train.x, &s->train.label);
  if (status == MICA_OK)
    status = mica_claim_pictures(cell, "fashion-mnist", MICA_PART_TEST,
                                 mica_key_fold_name(cell->key, "test"), s->test.n, fresh,
                                 &s->test.x, &s->test.label);
  return ready(status, net, s, out);
}

/* The data set has no test part: a draw is cut in two. */
static mica_status prepare_cifar(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  const mica_claim_images *m;
  mica_net *net = NULL;
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->train.n = o->cifar_images;
  s->test.n = o->cifar_images / 2;
  const int64_t n = s->train.n + s->test.n;
  int64_t *item = mica_calloc((size_t)n, sizeof *item);
  mica_status status = item ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = encoder(cell, "cifar-10", 0, o->cifar_epochs, &net);
  if (status == MICA_OK) status = mica_claim_data(cell, "cifar-10", MICA_PART_TRAIN, &m);
  if (status == MICA_OK)
    status = mica_claim_draw(m, mica_key_fold_name(cell->key, "draw"), n, fresh, item);
  if (status == MICA_OK)
    status = mica_claim_take(m, s->train.n, item, &s->train.x, &s->train.label);
  if (status == MICA_OK)
    status = mica_claim_take(m, s->test.n, item + s->train.n, &s->test.x, &s->test.label);
  mica_free(item);
  return ready(status, net, s, out);
}

/* ---- one arm ---- */

typedef enum rows { TOKENS, MEAN, PIXELS } rows;
typedef struct arm_settings {
  rows of;
  const char *head; /* NULL: logistic regression */
} arm_settings;

static mica_view rows_of(const part *p, rows of, int64_t n) {
  const mica_tensor *t = of == TOKENS ? p->tokens : of == MEAN ? p->mean : p->x;
  return mica_view_of(mica_tensor_data(t), MICA_F32, MICA_SHAPE(n, mica_tensor_count(t) / p->n));
}

static mica_status run(mica_claim_cell *cell) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  const arm_settings *a = cell->arm->own;
  const int64_t n = cell->point > 0 ? (int64_t)cell->point : s->train.n;
  const int64_t *label = mica_tensor_data(s->train.label), *truth = mica_tensor_data(s->test.label);
  int64_t right = 0;
  char spec[300] = "logistic:C=10";
  if (!a) {
    right = mica_claim_majority(n, label, CLASSES, s->test.n, truth);
    return mica_claim_report(cell, "accuracy", (double)right / (double)s->test.n);
  }
  if (a->head)
    snprintf(spec, sizeof spec,
             "probe:head=(%s):channels=%d:steps=%lld:optimiser=(adamw:lr=3e-3):seed=%lld", a->head,
             CHANNELS, (long long)o->steps, (long long)cell->seed);
  const mica_view x = rows_of(&s->train, a->of, n), tests = rows_of(&s->test, a->of, s->test.n);
  mica_status status =
      mica_claim_fit_and_count(cell, spec, &x, label, CLASSES, &tests, truth, &right);
  if (status == MICA_OK)
    status = mica_claim_report(cell, "accuracy", (double)right / (double)s->test.n);
  return status;
}

/* ---- the claim ---- */

static const arm_settings mp = {TOKENS, "moment:hidden=128:heads=4"},
                          mp_token = {TOKENS, "moment:hidden=128:heads=4:centre=token"},
                          lp = {TOKENS, "linear"}, mlp = {TOKENS, "linear:hidden=136"},
                          logistic = {MEAN, NULL},
                          second = {TOKENS, "moment:hidden=128:heads=4:first=false"},
                          plain = {TOKENS, "moment:hidden=128:heads=4:pairing=self"},
                          half = {TOKENS, "moment:hidden=128:heads=4:pairing=half"},
                          all_pairs = {TOKENS, "moment:hidden=128:heads=4:pairing=all"},
                          eight = {TOKENS, "moment:hidden=128:heads=8"},
                          narrow = {TOKENS, "moment:hidden=64:heads=4"},
                          wide = {TOKENS, "moment:hidden=256:heads=4:downs=2"},
                          pixels = {PIXELS, NULL};

static const mica_claim_arm arms[] = {
    {"mp", "mean and cross moments, as the authors' code centres", MICA_ARM_METHOD, NULL, &mp},
    {"mp-token", "the same of covariances", MICA_ARM_METHOD, NULL, &mp_token},
    {"lp", "a linear probe on the mean", MICA_ARM_BASELINE, NULL, &lp},
    {"mlp", "two layers on the mean with as many parameters", MICA_ARM_BASELINE, NULL, &mlp},
    {"logistic", "logistic regression on the mean, to convergence", MICA_ARM_BASELINE, NULL,
     &logistic},
    {"second", "cross moments alone", MICA_ARM_CONTEXT, NULL, &second},
    {"self", "moments of each group with itself", MICA_ARM_CONTEXT, NULL, &plain},
    {"half", "two pairs of groups", MICA_ARM_CONTEXT, NULL, &half},
    {"all", "all pairs of groups", MICA_ARM_CONTEXT, NULL, &all_pairs},
    {"heads8", "eight groups", MICA_ARM_CONTEXT, NULL, &eight},
    {"hidden64", "64 channels", MICA_ARM_CONTEXT, NULL, &narrow},
    {"hidden256", "256 channels, two blocks of convolutions", MICA_ARM_CONTEXT, NULL, &wide},
    {"pixels", "logistic regression on the pixels", MICA_ARM_TRIVIAL, NULL, &pixels},
    {"majority", "always the most frequent class", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};
static const mica_claim_measure measures[] = {{"accuracy", "test accuracy", false}, {0}};

#define CHECK(what, method, baseline, from, to, threshold, shown)                                  \
  {                                                                                                \
    what, MICA_CHECK_DIFFERENCE, "accuracy", {method, from, to}, {baseline, from, to}, threshold,  \
        false, NULL, shown                                                                         \
  }
static const mica_claim_check checks[] = {
    CHECK("moments tell new classes far better than the mean", "mp", "lp", MANY, 1e9, 0.05, false),
    CHECK("so do covariances", "mp-token", "lp", MANY, 1e9, 0.05, true),
    CHECK("with few pictures too", "mp", "lp", 1, MANY - 1, 0, true),
    CHECK("better than as many parameters on the mean", "mp", "mlp", MANY, 1e9, 0, true),
    CHECK("better than logistic regression on the mean, to convergence", "mp", "logistic", MANY,
          1e9, 0, true),
    CHECK("better than pixels", "mp", "pixels", MANY, 1e9, 0, true),
    {0}};
static const mica_claim_check cifar_checks[] = {
    CHECK("moments tell new classes of CIFAR-10 better than the mean", "mp", "lp", 0, 0, 0, false),
    CHECK("better than as many parameters on the mean", "mp", "mlp", 0, 0, 0, true),
    CHECK("better than logistic regression on the mean, to convergence", "mp", "logistic", 0, 0, 0,
          true),
    CHECK("better than pixels", "mp", "pixels", 0, 0, 0, true),
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "fashion",
     .title = "Accuracy on five new classes by the number of labelled pictures",
     .arms = arms,
     .measures = measures,
     .checks = checks,
     .sweep = "images",
     .sweep_what = "labelled pictures",
     .sweep_log = true,
     .note = "The network was trained on the other five classes and stays as it is.",
     .prepare = prepare,
     .release = release,
     .run = run},
    {.name = "cifar",
     .title = "The same on colour pictures: CIFAR-10, network trained on 5 classes, probed on 5",
     .arms = arms,
     .measures = measures,
     .checks = cifar_checks,
     .prepare = prepare_cifar,
     .release = release,
     .run = run},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "5", 1, 1000, NULL, "seeds", offsetof(settings, seeds)},
    {"backbone_images", MICA_OPTION_INT, "12000", 64, 30000, NULL, "pictures of the network's own",
     offsetof(settings, backbone_images)},
    {"backbone_epochs", MICA_OPTION_INT, "4", 1, 1000, NULL, "epochs of its training",
     offsetof(settings, backbone_epochs)},
    {"tests", MICA_OPTION_INT, "2000", 10, 5000, NULL, "test pictures", offsetof(settings, tests)},
    {"steps", MICA_OPTION_INT, "400", 1, 1000000, NULL, "updates of a probe",
     offsetof(settings, steps)},
    {"cifar_images", MICA_OPTION_INT, "1200", 10, 1300, NULL, "cifar: labelled pictures",
     offsetof(settings, cifar_images)},
    {"cifar_epochs", MICA_OPTION_INT, "15", 1, 1000, NULL, "cifar: epochs of the network",
     offsetof(settings, cifar_epochs)},
    {"images", MICA_OPTION_INTS, "300,3000", 10, 30000, NULL, "labelled pictures",
     offsetof(settings, images)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Tuning Pre-trained Model via Moment Probing",
    .arxiv = "2307.11342",
    .claim = "A frozen network's classes are told far better by second moments between groups of "
             "its last channels than by their mean",
    .components = "layer:moment estimator:probe model:vit",
    .smoke = "seeds=1:backbone_images=256:backbone_epochs=1:tests=100:steps=10:images=60,1000:"
             "cifar_images=60:cifar_epochs=1",
    .recorded = MICA_VERDICT_MECHANISM,
    .experiments = experiments};

extern const mica_component mica_component_paper_moment_probing;
const mica_component mica_component_paper_moment_probing = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "moment-probing",
    "moments between channels of a frozen network against their mean",
    "moment-probing",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
