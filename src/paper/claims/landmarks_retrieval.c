/* landmarks-retrieval: training on the domain beats features from elsewhere by far, long tail or
 * not; and where most questions show no landmark at all, an answer is surer when it is compared
 * with pictures of nothing.
 *
 * Omniglot stands for landmarks: a character is one. Networks are trained on 136 characters whose
 * numbers of drawings fall from 20 to 1, and asked about alphabets that they never saw. Questions
 * about nothing are binarised pictures of clothes.
 */
#include "numeric/distance.h"
#include "paper/claims/omniglot.h"

#include <mica/paper.h>
#include <mica/retrieval.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, characters, steps, images, epochs, background;
  mica_ints shares;
} settings;

#define ARCFACE "cosine:kind=arcface:scale=12:margin=0.15:dim=64"
#define MODEL   "convnet:widths=16,32,64:convolutions=1"
enum { BATCH = 64, INDEXED = 10, ASKED = 5, NEIGHBOURS = 5, DEPTH = 100 };

/* ---- training ---- */

/* Zipf's law with an exponent of 1, from 20 drawings of the first characters to one of the last:
 * 167 / rank, at most 20, at least 1; 628 drawings of 136 characters. */
static void long_tail(int64_t n, int64_t *each) {
  for (int64_t r = 0; r < n; r++) {
    const double size = round(167.0 / (double)(r + 1));
    each[r] = size > 20 ? 20 : size < 1 ? 1 : (int64_t)size;
  }
}

static mica_status train_data(mica_claim_cell *cell, omniglot *out) {
  const settings *o = cell->options;
  omniglot all = {0};
  mica_status status = mica_omniglot_read(1, &all);
  const int64_t n = o->characters < all.characters ? o->characters : all.characters;
  int64_t *order = mica_calloc((size_t)all.characters + 1, sizeof *order);
  int64_t *each = mica_calloc((size_t)all.characters + 1, sizeof *each);
  if (status == MICA_OK && (!order || !each)) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    long_tail(n, each);
    mica_random_permutation(mica_key_fold_name(cell->key, "characters"), all.characters, order);
    status =
        mica_omniglot_take(&all, mica_key_fold_name(cell->key, "tail"), n, order, each, out, NULL);
  }
  mica_free(order);
  mica_free(each);
  mica_omniglot_free(&all);
  return status;
}

static mica_status trained(mica_claim_cell *cell, const char *classifier, mica_net **net) {
  const settings *o = cell->options;
  const mica_problem problem = MICA_PROBLEM_IMAGES(OMNIGLOT_SIDE, OMNIGLOT_SIDE, 1, 0);
  const uint64_t seed = mica_random_bits(mica_key_fold_name(cell->key, "net"), 0);
  omniglot data = {0};
  mica_stream inner = {0}, stream = {0};
  mica_train_options t = MICA_TRAIN_OPTIONS;
  t.optimiser = "sgd:lr=0.02:momentum=0.9:nesterov=true:weight_decay=1e-4";
  t.schedule = "cosine";
  t.seed = mica_random_bits(mica_key_fold_name(cell->key, "order"), 0);
  mica_status status = train_data(cell, &data);
  if (status == MICA_OK) status = mica_net_create(cell->engine, MODEL, &problem, seed, net);
  if (status == MICA_OK) status = mica_net_set_head(*net, classifier, data.characters);
  if (status == MICA_OK)
    status = mica_memory_stream_create(data.x, data.labels, BATCH, true, true, t.seed, &inner);
  if (status == MICA_OK) status = mica_omniglot_shifts(&inner, 2, t.seed, &stream);
  if (status == MICA_OK) status = mica_claim_train(cell, *net, &stream, o->steps, &t, NULL);
  mica_omniglot_shifts_free(&stream);
  mica_memory_stream_free(&inner);
  mica_omniglot_free(&data);
  return status;
}

/* The same network trained on clothes, with its own features. */
static mica_status off_the_shelf(mica_claim_cell *cell, mica_net **net) {
  const settings *o = cell->options;
  mica_pretraining recipe = MICA_PRETRAINING;
  recipe.model = MODEL;
  recipe.data = "fashion-mnist";
  recipe.images = o->images;
  recipe.epochs = o->epochs;
  recipe.seed = (uint64_t)cell->seed;
  return mica_claim_encoder(cell, &recipe, net);
}

/* ---- features ---- */

/* Features of pictures at float32 [n, D]; NULL net: the pixels. */
static mica_status features(const mica_net *net, const mica_tensor *x, mica_tensor **out) {
  const int64_t n = mica_tensor_dim(x, 0);
  if (net) return mica_claim_features(net, x, out);
  const mica_view v =
      mica_view_of(mica_tensor_data(x), MICA_F32, MICA_SHAPE(n, mica_tensor_count(x) / n));
  return mica_tensor_from_view(&v, MICA_F32, out);
}

typedef struct rows {
  mica_tensor *x;
  int64_t *label;
} rows;

static void rows_free(rows *r) {
  mica_tensor_free(r->x);
  mica_free(r->label);
}

static mica_status look(const mica_net *net, const omniglot *o, rows *out) {
  out->label = mica_malloc((size_t)o->n * sizeof *out->label);
  if (!out->label) return MICA_ERR_MEMORY;
  memcpy(out->label, mica_tensor_data(o->labels), (size_t)o->n * sizeof *out->label);
  return features(net, o->x, &out->x);
}

/* New alphabets: ten drawings of each character are the index, the others are questions. */
static mica_status unseen(mica_claim_cell *cell, int64_t asked, omniglot *index,
                          omniglot *questions) {
  omniglot all = {0}, rest = {0};
  mica_status status = mica_omniglot_read(2, &all);
  const int64_t n = all.characters;
  int64_t *order = mica_calloc((size_t)n + 1, sizeof *order);
  int64_t *each = mica_calloc((size_t)n + 1, sizeof *each);
  if (status == MICA_OK && (!order || !each)) status = MICA_ERR_MEMORY;
  for (int64_t c = 0; c < n && status == MICA_OK; c++) order[c] = c, each[c] = INDEXED;
  const mica_key key = mica_key_fold_name(cell->key, "index");
  if (status == MICA_OK) status = mica_omniglot_take(&all, key, n, order, each, index, &rest);
  for (int64_t c = 0; c < n && status == MICA_OK; c++) each[c] = asked;
  if (status == MICA_OK) status = mica_omniglot_take(&rest, key, n, order, each, questions, NULL);
  mica_omniglot_free(&all);
  mica_omniglot_free(&rest);
  mica_free(order);
  mica_free(each);
  return status;
}

/* ---- retrieval ---- */

static mica_status measure(mica_claim_cell *cell, const rows *index, const rows *questions) {
  const mica_view x = mica_tensor_view(questions->x), y = mica_tensor_view(index->x);
  const int64_t n = x.shape.dim[0], m = y.shape.dim[0], k = DEPTH < m ? DEPTH : m;
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  mica_retrieval *r = NULL;
  mica_estimate e[2];
  o.measures = "map@100,cmc@1";
  o.resamples = 1;
  int64_t *at = mica_malloc((size_t)(n * k) * sizeof *at);
  double *distance = mica_malloc((size_t)(n * k) * sizeof *distance);
  double *grade = mica_malloc((size_t)k * sizeof *grade);
  mica_status status =
      at && distance && grade ? mica_retrieval_create(cell->engine, &o, &r) : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = mica_nearest_rows(cell->engine, MICA_METRIC_COSINE, &x, &y, k, NULL, at, distance);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    mica_ranking g = MICA_RANKING;
    for (int64_t j = 0; j < k; j++) grade[j] = index->label[at[i * k + j]] == questions->label[i];
    for (int64_t j = 0; j < m; j++) g.relevant += index->label[j] == questions->label[i];
    g.n = k;
    g.grade = grade;
    status = mica_retrieval_add(r, &g);
  }
  if (status == MICA_OK) status = mica_retrieval_result(r, e);
  if (status == MICA_OK) status = mica_claim_report(cell, "map100", e[0].value);
  if (status == MICA_OK) status = mica_claim_report(cell, "r1", e[1].value);
  mica_retrieval_free(r);
  mica_free(at);
  mica_free(distance);
  mica_free(grade);
  return status;
}

static mica_status run_retrieval(mica_claim_cell *cell) {
  mica_net *net = NULL;
  omniglot index = {0}, questions = {0};
  rows i = {0}, q = {0};
  mica_status status = MICA_OK;
  if (cell->arm->spec)
    status = trained(cell, cell->arm->spec, &net);
  else if (cell->arm->role != MICA_ARM_TRIVIAL)
    status = off_the_shelf(cell, &net);
  if (status == MICA_OK) status = unseen(cell, 0, &index, &questions);
  if (status == MICA_OK) status = look(net, &index, &i);
  if (status == MICA_OK) status = look(net, &questions, &q);
  if (status == MICA_OK) status = measure(cell, &i, &q);
  rows_free(&i);
  rows_free(&q);
  mica_omniglot_free(&index);
  mica_omniglot_free(&questions);
  mica_net_free(net);
  return status;
}

/* ---- recognition where most questions show nothing ---- */

typedef struct shared {
  rows index, questions;
  mica_tensor *clothes, *background, *characters; /* features */
} shared;

static void release(void *given) {
  shared *s = given;
  rows_free(&s->index);
  rows_free(&s->questions);
  mica_tensor_free(s->clothes);
  mica_tensor_free(s->background);
  mica_tensor_free(s->characters);
  mica_free(s);
}

/* Pictures of clothes as black and white drawings of Omniglot's size. */
static mica_status clothes(mica_claim_cell *cell, mica_part part, int64_t n, const mica_net *net,
                           mica_tensor **out) {
  enum { FROM = 28 };
  mica_tensor *x = NULL, *big = NULL;
  mica_status status = mica_claim_pictures(
      cell, "fashion-mnist", part, mica_key_fold_name(cell->key, "clothes"), n, NULL, &x, NULL);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, OMNIGLOT_SIDE, OMNIGLOT_SIDE, 1), &big);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const float *from = (const float *)mica_tensor_data(x) + i * FROM * FROM;
    float *to = (float *)mica_tensor_data(big) + i * OMNIGLOT_SIDE * OMNIGLOT_SIDE;
    for (int64_t r = 0; r < OMNIGLOT_SIDE; r++)
      for (int64_t c = 0; c < OMNIGLOT_SIDE; c++)
        to[r * OMNIGLOT_SIDE + c] =
            from[r * FROM / OMNIGLOT_SIDE * FROM + c * FROM / OMNIGLOT_SIDE] > 0.5f;
  }
  if (status == MICA_OK) status = features(net, big, out);
  mica_tensor_free(x);
  mica_tensor_free(big);
  return status;
}

/* So many questions about nothing for each share of them among all. */
static int64_t beside(int64_t questions, double percent) {
  return (int64_t)llround((double)questions * percent / (100 - percent));
}

static mica_status prepare(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  mica_net *net = NULL;
  omniglot index = {0}, questions = {0}, taught = {0};
  double most = 0;
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  for (int i = 0; i < o->shares.n; i++) most = fmax(most, (double)o->shares.v[i]);
  mica_status status = trained(cell, ARCFACE, &net);
  if (status == MICA_OK) status = unseen(cell, ASKED, &index, &questions);
  if (status == MICA_OK) status = look(net, &index, &s->index);
  if (status == MICA_OK) status = look(net, &questions, &s->questions);
  const int64_t none = beside(questions.n, most);
  if (status == MICA_OK)
    status = clothes(cell, MICA_PART_TRAIN, none > 0 ? none : 1, net, &s->clothes);
  if (status == MICA_OK) status = clothes(cell, MICA_PART_TEST, o->background, net, &s->background);
  if (status == MICA_OK) status = train_data(cell, &taught);
  if (status == MICA_OK) status = features(net, taught.x, &s->characters);
  mica_omniglot_free(&index);
  mica_omniglot_free(&questions);
  mica_omniglot_free(&taught);
  mica_net_free(net);
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

typedef struct confidence {
  int64_t k;
  int background; /* 0 none, 1 pictures of clothes, 2 the characters of training */
} confidence;

/* The labelled rows of the index, with those of the background as one class more. */
static mica_status fit(mica_claim_cell *cell, mica_estimator **out) {
  const shared *s = cell->shared;
  const confidence *own = cell->arm->own;
  const mica_tensor *more = own->background == 1   ? s->background
                            : own->background == 2 ? s->characters
                                                   : NULL;
  const int64_t n = mica_tensor_dim(s->index.x, 0), d = mica_tensor_dim(s->index.x, 1);
  const int64_t m = more ? mica_tensor_dim(more, 0) : 0;
  int64_t classes = 0;
  for (int64_t i = 0; i < n; i++)
    if (s->index.label[i] >= classes) classes = s->index.label[i] + 1;
  char spec[96];
  float *x = mica_malloc((size_t)((n + m) * d) * sizeof *x);
  int64_t *label = mica_malloc((size_t)(n + m) * sizeof *label);
  mica_fit_data data = MICA_FIT_DATA;
  if (m)
    snprintf(spec, sizeof spec, "knn:k=%lld:weights=similarity:background=%lld", (long long)own->k,
             (long long)classes);
  else
    snprintf(spec, sizeof spec, "knn:k=%lld:weights=similarity", (long long)own->k);
  mica_status status =
      x && label ? mica_estimator_create(cell->engine, spec, out) : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    memcpy(x, mica_tensor_data(s->index.x), (size_t)(n * d) * sizeof *x);
    if (m) memcpy(x + n * d, mica_tensor_data(more), (size_t)(m * d) * sizeof *x);
    memcpy(label, s->index.label, (size_t)n * sizeof *label);
    for (int64_t i = 0; i < m; i++) label[n + i] = classes;
    data.x = mica_view_of(x, MICA_F32, MICA_SHAPE(n + m, d));
    data.label = label;
    data.classes = classes + (m > 0);
    status = mica_claim_fit(cell, *out, &data, NULL);
  }
  mica_free(x);
  mica_free(label);
  return status;
}

/* The answers to some questions, with their confidences, into the measure. */
static mica_status answer(const mica_estimator *e, const mica_tensor *x, int64_t n,
                          const int64_t *truth, mica_retrieval *r) {
  mica_prediction p = MICA_PREDICTION;
  mica_view v = mica_tensor_view(x);
  v.shape.dim[0] = n;
  p.label = mica_malloc((size_t)n * sizeof *p.label + 1);
  p.anomaly = mica_malloc((size_t)n * sizeof *p.anomaly + 1);
  mica_status status = p.label && p.anomaly ? mica_estimator_predict(e, &v, &p) : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const double score = -p.anomaly[i], grade = truth && p.label[i] == truth[i];
    mica_ranking g = MICA_RANKING;
    g.n = 1;
    g.grade = &grade;
    g.score = &score;
    g.relevant = truth != NULL;
    status = mica_retrieval_add(r, &g);
  }
  mica_free(p.label);
  mica_free(p.anomaly);
  return status;
}

static mica_status run_recognition(mica_claim_cell *cell) {
  const shared *s = cell->shared;
  const int64_t n = mica_tensor_dim(s->questions.x, 0);
  mica_estimator *e = NULL;
  mica_retrieval *r = NULL;
  mica_estimate found[2];
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  o.measures = "gap,cmc@1";
  o.resamples = 1;
  mica_status status = fit(cell, &e);
  if (status == MICA_OK) status = mica_retrieval_create(cell->engine, &o, &r);
  if (status == MICA_OK) status = answer(e, s->questions.x, n, s->questions.label, r);
  const int64_t none = beside(n, cell->point);
  if (status == MICA_OK && none) status = answer(e, s->clothes, none, NULL, r);
  if (status == MICA_OK) status = mica_retrieval_result(r, found);
  if (status == MICA_OK) status = mica_claim_report(cell, "gap", found[0].value);
  if (status == MICA_OK) status = mica_claim_report(cell, "top1", found[1].value);
  mica_retrieval_free(r);
  mica_estimator_free(e);
  return status;
}

/* ---- the claim ---- */

static const mica_claim_arm retrieval_arms[] = {
    {"arcface", "ArcFace, scale 12, margin 0.15", MICA_ARM_METHOD, ARCFACE, NULL},
    {"softmax", "normalised softmax, scale 20", MICA_ARM_METHOD, "cosine:scale=20:dim=64", NULL},
    {"elsewhere", "the same network trained on Fashion-MNIST", MICA_ARM_BASELINE, NULL, NULL},
    {"pixels", "the pixels", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};
static const mica_claim_measure retrieval_measures[] = {
    {"map100", "mAP@100", false}, {"r1", "recall at 1", false}, {0}};
#define BETTER(what, baseline, threshold)                                                          \
  {                                                                                                \
    what, MICA_CHECK_DIFFERENCE, "map100", {"arcface", 0, 0}, {baseline, 0, 0}, threshold, false,  \
        "what is compared with was trained elsewhere, or not at all", false                        \
  }
static const mica_claim_check retrieval_checks[] = {
    BETTER("training on the domain gains ten points of mAP over features from elsewhere",
           "elsewhere", 0.10),
    BETTER("and over the pixels", "pixels", 0.10),
    {"(not claimed) the margin pays on 628 drawings",
     MICA_CHECK_DIFFERENCE,
     "map100",
     {"arcface", 0, 0},
     {"softmax", 0, 0},
     0,
     false,
     NULL,
     true},
    {0}};

static const confidence top1 = {1, 0}, sum5 = {NEIGHBOURS, 0}, background5 = {NEIGHBOURS, 1},
                        characters5 = {NEIGHBOURS, 2};
static const mica_claim_arm recognition_arms[] = {
    {"background", "the sum of five similarities less the mean of five to 500 pictures of nothing",
     MICA_ARM_METHOD, NULL, &background5},
    {"top-1", "the largest similarity", MICA_ARM_BASELINE, NULL, &top1},
    {"sum-5", "the sum of the class's similarities among the five largest", MICA_ARM_BASELINE, NULL,
     &sum5},
    {"characters", "the background taken from the characters of training", MICA_ARM_CONTROL, NULL,
     &characters5},
    {0}};
static const mica_claim_measure recognition_measures[] = {
    {"gap", "GAP", false}, {"top1", "share of true questions answered rightly", false}, {0}};
#define SURER(what, baseline)                                                                      \
  {                                                                                                \
    what, MICA_CHECK_DIFFERENCE, "gap", {"background", 90, 90}, {baseline, 90, 90}, 0.05, false,   \
        "the background is rows more", false                                                       \
  }
static const mica_claim_check recognition_checks[] = {
    SURER("with 90 % of questions about nothing, the background gains five points of GAP over the "
          "largest similarity",
          "top-1"),
    SURER("and over the sum of similarities", "sum-5"),
    {"(not claimed) a background of training characters does as well",
     MICA_CHECK_CONTROL,
     "gap",
     {"characters", 90, 90},
     {"sum-5", 90, 90},
     0,
     false,
     "the background is rows more",
     true},
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "retrieval",
     .title = "Retrieval of characters of unseen alphabets",
     .arms = retrieval_arms,
     .measures = retrieval_measures,
     .checks = retrieval_checks,
     .unit = MICA_UNIT_ARM,
     .note =
         "Omniglot: 628 drawings of 136 characters are trained, 20 of the most frequent and one "
         "of the rarest; 1,560 drawings of 156 new characters are the index and as many are "
         "asked.",
     .run = run_retrieval},
    {.name = "recognition",
     .title = "Recognition by the share of questions that show nothing known",
     .arms = recognition_arms,
     .measures = recognition_measures,
     .checks = recognition_checks,
     .sweep = "shares",
     .sweep_what = "questions about nothing, %",
     .unit = MICA_UNIT_SEED,
     .note = "780 questions about 156 characters, and binarised pictures of clothes. Features are "
             "those of ArcFace.",
     .prepare = prepare,
     .release = release,
     .run = run_recognition},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "16", 1, 1000, NULL, "seeds", offsetof(settings, seeds)},
    {"characters", MICA_OPTION_INT, "136", 2, 136, NULL, "trained", offsetof(settings, characters)},
    {"steps", MICA_OPTION_INT, "400", 1, 100000, NULL, "of training", offsetof(settings, steps)},
    {"images", MICA_OPTION_INT, "6000", 100, 60000, NULL, "of clothes, to train elsewhere",
     offsetof(settings, images)},
    {"epochs", MICA_OPTION_INT, "2", 1, 1000, NULL, "likewise", offsetof(settings, epochs)},
    {"background", MICA_OPTION_INT, "500", 10, 10000, NULL, "pictures of nothing",
     offsetof(settings, background)},
    {"shares", MICA_OPTION_INTS, "0,50,90,95", 0, 95, NULL,
     "of questions about nothing, in percent", offsetof(settings, shares)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title =
        "Google Landmarks Dataset v2 -- A Large-Scale Benchmark for Instance-Level Recognition "
        "and Retrieval",
    .arxiv = "2004.01804",
    .claim =
        "Training on the domain's long tail beats features from elsewhere, and a background of "
        "pictures of nothing makes answers comparable where most questions show nothing",
    .components = "layer:cosine estimator:knn sampler:power",
    .smoke = "seeds=1:characters=30:steps=40:images=300:epochs=1:shares=0,90",
    .recorded = MICA_VERDICT_MECHANISM,
    .experiments = experiments};

extern const mica_component mica_component_paper_landmarks_retrieval;
const mica_component mica_component_paper_landmarks_retrieval = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "landmarks-retrieval",
    "instance recognition and retrieval under a long tail",
    "landmarks-retrieval",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
