/* backward-compatible: a new model whose first dimensions, rotated, answer from an old model's
 * index as well as it can be asked, while all of them are as good as a model trained for itself.
 */
#include <mica/compatible.h>
#include <mica/paper.h>
#include <mica/scheme.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, images, tests, epochs, chain_epochs;
} settings;

enum { SIDE = 28, CLASSES = 10, KNOWN = 5, OLD = 16, BATCH = 128 };
static const char data[] = "fashion-mnist", known[] = "0,1,2,3,4", most[] = "0,1,2,3,4,5,6,7";

/* ---- networks ---- */

/* A network with `width` features and the head behind it ("" for the linear one). */
static mica_status make(mica_claim_cell *cell, const char *name, int64_t width, const char *head,
                        int64_t classes, mica_net **out) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, classes);
  char spec[200];
  snprintf(spec, sizeof spec, "convnet:widths=8,16,32,%lld:convolutions=1%s", (long long)width,
           head);
  return mica_net_create(cell->engine, spec, &problem,
                         mica_random_bits(mica_key_fold_name(cell->key, name), 0), out);
}

typedef struct pictures {
  mica_tensor *x, *label;
} pictures;

static void pictures_end(pictures *p) {
  mica_tensor_free(p->x);
  mica_tensor_free(p->label);
}

static mica_status take(mica_claim_cell *cell, mica_part part, int64_t n, const char *classes,
                        pictures *p) {
  return mica_claim_pictures(cell, data, part, mica_key_fold_name(cell->key, "pictures"), n,
                             classes, &p->x, &p->label);
}

/* Train beside an older network and an independent one (either may be NULL). */
static mica_status train(mica_claim_cell *cell, mica_net *net, const pictures *p, int64_t epochs,
                         const char *loss, const mica_net *old, const mica_net *guide) {
  mica_stream stream = {0};
  mica_scheme *scheme = NULL;
  mica_train_options t = MICA_TRAIN_OPTIONS;
  t.loss = loss;
  t.optimiser = "adam:lr=1e-3:weight_decay=3.05e-5";
  t.schedule = "cosine:warmup=0.05";
  t.seed = mica_random_bits(mica_key_fold_name(cell->key, "order"), 0);
  mica_status status =
      mica_memory_stream_create(p->x, p->label, BATCH, true, false, t.seed, &stream);
  if (status != MICA_OK) return status;
  if (old) {
    const mica_scheme_setting s = {
        .size = sizeof s, .net = net, .train = &stream, .teacher = old, .guide = guide};
    status = mica_scheme_create(cell->engine, "compatible", &s, loss, &scheme);
    t.scheme = scheme;
  }
  const int64_t n = mica_tensor_dim(p->x, 0);
  if (status == MICA_OK)
    status = mica_claim_train(cell, net, &stream, (n + BATCH - 1) / BATCH * epochs, &t, NULL);
  mica_scheme_free(scheme);
  mica_memory_stream_free(&stream);
  return status;
}

/* Features of the test pictures; `unit`: of length 1. */
static mica_status embed(const mica_net *net, const pictures *p, bool unit, mica_tensor **out) {
  const mica_status status = mica_claim_features(net, p->x, out);
  if (status != MICA_OK || !unit) return status;
  const int64_t n = mica_tensor_dim(*out, 0), d = mica_tensor_dim(*out, 1);
  float *v = mica_tensor_data(*out);
  for (int64_t i = 0; i < n; i++, v += d) {
    double sum = 0;
    for (int64_t k = 0; k < d; k++) sum += (double)v[k] * (double)v[k];
    for (int64_t k = 0; k < d && sum > 0; k++) v[k] = (float)((double)v[k] / sqrt(sum));
  }
  return MICA_OK;
}

static mica_status rank(mica_claim_cell *cell, const mica_tensor *query, const mica_tensor *gallery,
                        const pictures *p, const char *top, const char *map, double *value) {
  mica_compat_data d = MICA_COMPAT_DATA;
  mica_compat_result found;
  d.query = mica_tensor_view(query);
  d.gallery = mica_tensor_view(gallery);
  d.query_label = d.gallery_label = mica_tensor_data(p->label);
  mica_status status = mica_compat_eval(cell->engine, &d, &found);
  if (status == MICA_OK && value) *value = found.map.value;
  if (status == MICA_OK && top) status = mica_claim_report(cell, top, found.cmc1.value);
  if (status == MICA_OK && map) status = mica_claim_report(cell, map, found.map.value);
  return status;
}

/* ---- one update ---- */

typedef struct shared {
  pictures train, test;
  mica_net *old, *new_;
  mica_tensor *old_features, *new_features; /* of the test pictures, of length 1 */
} shared;

static void release(void *given) {
  shared *s = given;
  pictures_end(&s->train);
  pictures_end(&s->test);
  mica_net_free(s->old);
  mica_net_free(s->new_);
  mica_tensor_free(s->old_features);
  mica_tensor_free(s->new_features);
  mica_free(s);
}

/* The old model knows half of the classes; the independent one knows all and nothing of the old. */
static mica_status prepare(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  pictures half = {0};
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  mica_status status = take(cell, MICA_PART_TRAIN, o->images / 2, known, &half);
  if (status == MICA_OK) status = take(cell, MICA_PART_TRAIN, o->images, NULL, &s->train);
  if (status == MICA_OK) status = take(cell, MICA_PART_TEST, o->tests, NULL, &s->test);
  if (status == MICA_OK) status = make(cell, "old", OLD, "", KNOWN, &s->old);
  if (status == MICA_OK)
    status = train(cell, s->old, &half, o->epochs, "ce:smoothing=0.1", NULL, NULL);
  if (status == MICA_OK) status = make(cell, "new", OLD, "", CLASSES, &s->new_);
  if (status == MICA_OK)
    status = train(cell, s->new_, &s->train, o->epochs, "ce:smoothing=0.1", NULL, NULL);
  if (status == MICA_OK) status = embed(s->old, &s->test, true, &s->old_features);
  if (status == MICA_OK) status = embed(s->new_, &s->test, true, &s->new_features);
  pictures_end(&half);
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

typedef struct arm_settings {
  int64_t width; /* of the features before the head */
  const char *head, *loss;
  bool guided, unit;
} arm_settings;

static const char bct_loss[] = "ce+10*influence",
                  bt2_loss[] = "ce+10*influence+5*align+align:to=new";

/* The share of the gallery that is made again first: a half. */
static mica_status backfill(mica_claim_cell *cell, const shared *s, const mica_tensor *query) {
  static const double share[] = {0.5};
  mica_compat_data d = MICA_COMPAT_DATA;
  const mica_view fresh = mica_tensor_view(query);
  double map;
  d.query = fresh;
  d.gallery = mica_tensor_view(s->old_features);
  d.query_label = d.gallery_label = mica_tensor_data(s->test.label);
  d.fresh = &fresh;
  d.metric = MICA_INDEX_COSINE;
  const mica_status status = mica_backfill_curve(
      cell->engine, &d, mica_key_fold_name(cell->key, "backfill"), 1, share, &map);
  return status == MICA_OK ? mica_claim_report(cell, "half", map) : status;
}

static mica_status measure(mica_claim_cell *cell, const shared *s, const mica_tensor *query) {
  double old_old = NAN, new_old = NAN, best = NAN;
  mica_status status =
      rank(cell, query, s->old_features, &s->test, "new_old_top1", "new_old", &new_old);
  if (status == MICA_OK)
    status = rank(cell, query, query, &s->test, "new_new_top1", "new_new", NULL);
  if (status == MICA_OK)
    status = rank(cell, s->old_features, s->old_features, &s->test, NULL, NULL, &old_old);
  if (status == MICA_OK)
    status = rank(cell, s->new_features, s->new_features, &s->test, NULL, NULL, &best);
  if (status == MICA_OK)
    status = mica_claim_report(cell, "gain", mica_upgrade_gain(new_old, old_old, best));
  return status == MICA_OK ? backfill(cell, s, query) : status;
}

static mica_status run(mica_claim_cell *cell) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  const arm_settings *a = cell->arm->own;
  mica_net *net = NULL;
  mica_tensor *query = NULL;
  if (!a) /* the old model, or the independent one */
    return measure(cell, s, *cell->arm->name == 'o' ? s->old_features : s->new_features);
  mica_status status = make(cell, cell->arm->name, a->width, a->head, CLASSES, &net);
  if (status == MICA_OK)
    status = train(cell, net, &s->train, o->epochs, a->loss, s->old, a->guided ? s->new_ : NULL);
  if (status == MICA_OK) status = embed(net, &s->test, a->unit, &query);
  if (status == MICA_OK) status = measure(cell, s, query);
  mica_tensor_free(query);
  mica_net_free(net);
  return status;
}

/* ---- a chain of updates: 5, 8, 10 classes ---- */

/* What the chain's models are asked for is kept by the newest alone. */
static mica_status run_chain(mica_claim_cell *cell) {
  const settings *o = cell->options;
  static const struct {
    const char *classes;
    int64_t n;
  } steps[] = {{known, KNOWN}, {most, 8}, {NULL, CLASSES}};
  enum { STEPS = sizeof steps / sizeof *steps };
  const bool bt2 = *cell->arm->name == 'b' && cell->arm->name[1] == 't';
  mica_net *net[STEPS] = {NULL}, *guide = NULL;
  mica_tensor *features[STEPS] = {NULL};
  pictures test = {0};
  int64_t width = OLD; /* of the embedding before */
  mica_status status = take(cell, MICA_PART_TEST, o->tests, NULL, &test);
  for (int i = 0; i < STEPS && status == MICA_OK; i++) {
    pictures p = {0};
    char head[64] = "", name[32];
    const int64_t n = o->images * steps[i].n / CLASSES;
    snprintf(name, sizeof name, "chain%d", i);
    status = take(cell, MICA_PART_TRAIN, n, steps[i].classes, &p);
    if (i && bt2) {
      if (status == MICA_OK) status = make(cell, "guide", OLD, "", steps[i].n, &guide);
      if (status == MICA_OK)
        status = train(cell, guide, &p, o->chain_epochs, "ce:smoothing=0.1", NULL, NULL);
      snprintf(head, sizeof head, " | head=bt2:old=%lld:add=4", (long long)width);
    }
    if (status == MICA_OK)
      status = make(cell, name, i && bt2 ? OLD + width : OLD, head, steps[i].n, &net[i]);
    if (status == MICA_OK)
      status = train(cell, net[i], &p, o->chain_epochs,
                     !i    ? "ce:smoothing=0.1"
                     : bt2 ? bt2_loss
                           : bct_loss,
                     i ? net[i - 1] : NULL, guide);
    if (status == MICA_OK) status = embed(net[i], &test, !(i && bt2), &features[i]);
    if (i && bt2) width = OLD + 4;
    mica_net_free(guide);
    guide = NULL;
    pictures_end(&p);
  }
  if (status == MICA_OK)
    status = rank(cell, features[2], features[0], &test, "last_first_top1", "last_first", NULL);
  if (status == MICA_OK)
    status = rank(cell, features[2], features[1], &test, NULL, "last_second", NULL);
  if (status == MICA_OK)
    status = rank(cell, features[2], features[2], &test, NULL, "last_last", NULL);
  if (status == MICA_OK)
    status = rank(cell, features[0], features[0], &test, NULL, "first_first", NULL);
  for (int i = 0; i < STEPS; i++) {
    mica_net_free(net[i]);
    mica_tensor_free(features[i]);
  }
  pictures_end(&test);
  return status;
}

/* ---- the claim ---- */

static const arm_settings bt2 = {2 * OLD, " | head=bt2", bt2_loss, true, false},
                          bct = {OLD, "", bct_loss, false, true},
                          dims = {OLD + 4, "", bct_loss, false, true},
                          a0 = {2 * OLD, " | head=bt2:add=0", bt2_loss, true, false},
                          c1 = {2 * OLD, " | head=bt2:scale=1", bt2_loss, true, false};

static const mica_claim_arm arms[] = {
    {"bt2", "rotations, 4 dimensions more", MICA_ARM_METHOD, NULL, &bt2},
    {"bct", "influence loss alone", MICA_ARM_BASELINE, NULL, &bct},
    {"bct-dims", "influence loss, 4 dimensions more", MICA_ARM_BASELINE, NULL, &dims},
    {"independent", "trained without the old model", MICA_ARM_BASELINE, NULL, NULL},
    {"old", "the old model on its own index: nothing is upgraded", MICA_ARM_TRIVIAL, NULL, NULL},
    {"bt2-add0", "no dimension more", MICA_ARM_CONTEXT, NULL, &a0},
    {"bt2-scale1", "new part of length 1", MICA_ARM_CONTEXT, NULL, &c1},
    {0}};
static const mica_claim_measure measures[] = {
    {"new_old", "mAP of new queries on the old index", false},
    {"new_old_top1", "top-1 of new queries on the old index", false},
    {"new_new", "mAP on its own index", false},
    {"new_new_top1", "top-1 on its own index", false},
    {"gain", "upgrade gain in mAP before a row is made again", false},
    {"half", "mAP with a half of the index made again", false},
    {0}};

static const char other[] = "the old and the independent model are trained before the arms begin";
#define CHECK(what, measure, method, baseline, threshold, unequal, shown)                          \
  {                                                                                                \
    what, MICA_CHECK_DIFFERENCE, measure, {method, 0, 0}, {baseline, 0, 0}, threshold, false,      \
        unequal, shown                                                                             \
  }
static const mica_claim_check checks[] = {
    CHECK("new queries on the old index beat the old model on it", "new_old", "bt2", "old", 0,
          other, false),
    CHECK("and those of a model with the influence loss alone", "new_old", "bt2", "bct", 0, NULL,
          false),
    CHECK("on its own index it is within 3 points of the independent model", "new_new_top1", "bt2",
          "independent", -0.03, other, false),
    CHECK("it beats plain further dimensions on the old index", "new_old", "bt2", "bct-dims", 0,
          NULL, true),
    CHECK("and on its own", "new_new", "bt2", "bct-dims", 0, NULL, true),
    {0}};

static const mica_claim_arm chain_arms[] = {
    {"bt2", "rotations at each update", MICA_ARM_METHOD, NULL, NULL},
    {"bct", "influence loss at each update", MICA_ARM_BASELINE, NULL, NULL},
    {0}};
static const mica_claim_measure chain_measures[] = {
    {"last_first", "mAP of the third model on the first one's index", false},
    {"last_first_top1", "top-1 of the third model on the first one's index", false},
    {"last_second", "mAP on the second one's index", false},
    {"last_last", "mAP on its own index", false},
    {"first_first", "mAP of the first model on its own index", false},
    {0}};
static const mica_claim_check chain_checks[] = {
    {"after two updates rotations serve the first index better",
     MICA_CHECK_DIFFERENCE,
     "last_first",
     {"bt2", 0, 0},
     {"bct", 0, 0},
     0,
     false,
     "it trains an independent model for each update too",
     true},
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "update",
     .title = "One update: the old index asked by the new model, and its own",
     .arms = arms,
     .measures = measures,
     .checks = checks,
     .note =
         "The old model knows five of the ten classes. Every test picture is query and gallery, "
         "its own row left out.",
     .prepare = prepare,
     .release = release,
     .run = run},
    {.name = "chain",
     .title = "Two updates, of 5, 8 and 10 classes",
     .arms = chain_arms,
     .measures = chain_measures,
     .checks = chain_checks,
     .unit = MICA_UNIT_ARM,
     .run = run_chain},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "5", 1, 1000, NULL, "seeds", offsetof(settings, seeds)},
    {"images", MICA_OPTION_INT, "6000", 100, 60000, NULL, "training pictures",
     offsetof(settings, images)},
    {"tests", MICA_OPTION_INT, "3000", 100, 10000, NULL, "test pictures",
     offsetof(settings, tests)},
    {"epochs", MICA_OPTION_INT, "8", 1, 1000, NULL, "of each model", offsetof(settings, epochs)},
    {"chain_epochs", MICA_OPTION_INT, "4", 1, 1000, NULL, "of each model of the chain",
     offsetof(settings, chain_epochs)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "BT^2: Backward-compatible Training with Basis Transformation",
    .arxiv = "2211.03989",
    .claim = "With a few dimensions more and learnt rotations a new embedding answers from the old "
             "index better than the old one did, and loses next to nothing of its own quality",
    .components = "layer:bt2 loss:influence loss:align scheme:compatible",
    .smoke = "seeds=1:images=500:tests=200:epochs=1:chain_epochs=1",
    .recorded = MICA_VERDICT_MECHANISM,
    .experiments = experiments};

extern const mica_component mica_component_paper_backward_compatible;
const mica_component mica_component_paper_backward_compatible = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "backward-compatible",
    "a new embedding on an old one's index",
    "backward-compatible",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
