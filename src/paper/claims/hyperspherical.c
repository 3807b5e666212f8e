/* hyperspherical: a classifier trained with features and class vectors on the unit sphere takes new
 * classes as the mean direction of a few examples, without any training.
 *
 * The known classes may keep their trained vectors (columns "trained") or be means like the new
 * ones: where new classes resemble old ones, trained vectors starve them. Means for all classes is
 * what is judged.
 */
#include "paper/claims/omniglot.h"

#include <mica/paper.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, images, epochs, pool, tests, draws, characters, omniglot_epochs;
} settings;

#define KNOWN "0,1,3,4,5,7,8"
#define NOVEL "2,6,9" /* pullover, shirt, boot: like coat, T-shirt and sneaker */
#define MODEL "convnet:widths=16,32,64:convolutions=1"
#define WIDTH 64
enum { BATCH = 64, OLD = 7, NEW = 3, SHOTS = 4, WAYS = 20 };
static const int64_t shots[SHOTS] = {1, 5, 20, 100};

/* ---- features ---- */

/* A matrix of features and the class of each row. */
typedef struct rows {
  mica_tensor *x; /* float32 [n, D] */
  int64_t *label, n;
} rows;

static void rows_free(rows *r) {
  mica_tensor_free(r->x);
  mica_free(r->label);
}

/* Features of pictures (NULL net: the pixels themselves). */
static mica_status features(const mica_net *net, const mica_tensor *x, const mica_tensor *label,
                            rows *out) {
  out->n = mica_tensor_dim(x, 0);
  out->label = mica_malloc((size_t)out->n * sizeof *out->label);
  if (!out->label) return MICA_ERR_MEMORY;
  memcpy(out->label, mica_tensor_data(label), (size_t)out->n * sizeof *out->label);
  if (net) return mica_claim_features(net, x, &out->x);
  const mica_view v = mica_view_of(mica_tensor_data(x), MICA_F32,
                                   MICA_SHAPE(out->n, mica_tensor_count(x) / out->n));
  return mica_tensor_from_view(&v, MICA_F32, &out->x);
}

/* Class names as numbers 0, 1, ... in the order of a list. */
static void renumber(mica_tensor *label, const char *list, int64_t first) {
  int64_t *l = mica_tensor_data(label);
  for (int64_t i = 0; i < mica_tensor_count(label); i++)
    for (int k = 0; list[2 * k]; k++) {
      if (l[i] == list[2 * k] - '0') {
        l[i] = first + k;
        break;
      }
      if (!list[2 * k + 1]) break;
    }
}

/* ---- training ---- */

typedef struct recipe {
  const char *loss, *sampler;
} recipe;

static mica_status train(mica_claim_cell *cell, mica_net *net, mica_tensor *x, mica_tensor *label,
                         int64_t epochs, bool shifted) {
  const recipe *own = cell->arm->own;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_sampler *sampler = NULL;
  mica_sampler_data data = MICA_SAMPLER_DATA;
  mica_stream inner = {0}, stream = {0};
  const int64_t n = mica_tensor_dim(x, 0);
  o.loss = own->loss;
  o.optimiser = "adam:lr=0.001";
  o.schedule = "constant";
  o.seed = mica_random_bits(mica_key_fold_name(cell->key, "order"), 0);
  data.n = n;
  data.label = mica_tensor_data(label);
  mica_status status =
      own->sampler ? mica_sampler_create(cell->engine, own->sampler, &data, &sampler) : MICA_OK;
  if (status == MICA_OK)
    status = mica_memory_stream_create(x, label, BATCH, true, true, o.seed, &inner);
  if (status == MICA_OK && sampler) status = mica_memory_stream_sample(&inner, sampler);
  if (status == MICA_OK && shifted) status = mica_omniglot_shifts(&inner, 2, o.seed, &stream);
  if (status == MICA_OK)
    status = mica_claim_train(cell, net, shifted ? &stream : &inner, n / BATCH * epochs, &o, NULL);
  mica_omniglot_shifts_free(&stream);
  mica_memory_stream_free(&inner);
  mica_sampler_free(sampler);
  return status;
}

static mica_status make_net(mica_claim_cell *cell, int64_t side, int64_t classes, mica_net **out) {
  const mica_problem problem = MICA_PROBLEM_IMAGES(side, side, 1, 0);
  const uint64_t seed = mica_random_bits(mica_key_fold_name(cell->key, "net"), 0);
  mica_status status = mica_net_create(cell->engine, MODEL, &problem, seed, out);
  return status == MICA_OK ? mica_net_set_head(*out, cell->arm->spec, classes) : status;
}

/* ---- classes that are added ---- */

static mica_status copy_of(mica_claim_cell *cell, const mica_estimator *from,
                           mica_estimator **out) {
  mica_record *record = NULL;
  mica_status status = mica_record_create(&record);
  if (status == MICA_OK) status = mica_estimator_save(from, record);
  if (status == MICA_OK) status = mica_estimator_load(cell->engine, record, out);
  mica_record_free(record);
  return status;
}

/* `n` rows of each class of a pool, drawn by a key, class by class, into a fresh matrix. */
static mica_status support(const rows *pool, mica_key key, int64_t classes, int64_t n,
                           mica_tensor **out) {
  const int64_t d = mica_tensor_dim(pool->x, 1);
  int64_t *order = mica_malloc((size_t)pool->n * sizeof *order);
  mica_status status =
      order ? mica_tensor_create(MICA_F32, MICA_SHAPE(classes * n, d), out) : MICA_ERR_MEMORY;
  if (status == MICA_OK) mica_random_permutation(key, pool->n, order);
  for (int64_t c = 0; c < classes && status == MICA_OK; c++) {
    int64_t found = 0;
    for (int64_t i = 0; i < pool->n && found < n; i++)
      if (pool->label[order[i]] == c)
        memcpy((float *)mica_tensor_data(*out) + (c * n + found++) * d,
               (const float *)mica_tensor_data(pool->x) + order[i] * d, (size_t)d * sizeof(float));
    if (found < n)
      status = mica_fail(MICA_ERR_INVALID, "%lld examples of a new class, %lld are wanted",
                         (long long)found, (long long)n);
  }
  mica_free(order);
  return status;
}

/* The share of tests right after `classes` classes of n rows were added to a copy of `old`, or to
 * nothing (NULL: a fit of `spec` on the first). */
static mica_status grown(mica_claim_cell *cell, const mica_estimator *old, const char *spec,
                         const mica_tensor *rows_of, int64_t classes, const rows *tests,
                         double *accuracy) {
  const int64_t n = mica_tensor_dim(rows_of, 0) / classes, d = mica_tensor_dim(rows_of, 1);
  mica_estimator *e = NULL;
  mica_prediction p = MICA_PREDICTION;
  mica_status status = old ? copy_of(cell, old, &e) : mica_estimator_create(cell->engine, spec, &e);
  p.label = mica_malloc((size_t)tests->n * sizeof *p.label);
  int64_t *zero = mica_calloc((size_t)n, sizeof *zero);
  if (status == MICA_OK && (!p.label || !zero)) status = MICA_ERR_MEMORY;
  for (int64_t c = 0; c < classes && status == MICA_OK; c++) {
    const mica_view x =
        mica_view_of((float *)mica_tensor_data(rows_of) + c * n * d, MICA_F32, MICA_SHAPE(n, d));
    if (!old && c == 0) {
      mica_fit_data data = MICA_FIT_DATA;
      data.x = x;
      data.label = zero;
      data.classes = 1;
      status = mica_claim_fit(cell, e, &data, NULL);
    } else {
      status = mica_estimator_add_class(e, &x, NULL);
    }
  }
  const mica_view t = mica_tensor_view(tests->x);
  if (status == MICA_OK) status = mica_estimator_predict(e, &t, &p);
  int64_t right = 0;
  for (int64_t i = 0; i < tests->n && status == MICA_OK; i++)
    right += p.label[i] == tests->label[i];
  *accuracy = (double)right / (double)tests->n;
  mica_free(zero);
  mica_free(p.label);
  mica_estimator_free(e);
  return status;
}

enum { COSINE, EUCLID, METRICS };
static const char *const spec_of[METRICS] = {"cosine",
                                             "prototypes:metric=euclidean:debias=false:reject=0"};

static mica_status fit_known(mica_claim_cell *cell, const char *spec, const rows *known,
                             int64_t classes, mica_estimator **out) {
  mica_fit_data data = MICA_FIT_DATA;
  data.x = mica_tensor_view(known->x);
  data.label = known->label;
  data.classes = classes;
  mica_status status = mica_estimator_create(cell->engine, spec, out);
  return status == MICA_OK ? mica_claim_fit(cell, *out, &data, NULL) : status;
}

static mica_status report(mica_claim_cell *cell, const char *what, int64_t n, const char *suffix,
                          double value) {
  char name[64];
  snprintf(name, sizeof name, "%s%lld%s", what, (long long)n, suffix);
  return mica_claim_report(cell, name, value);
}

/* ---- Fashion-MNIST: seven known classes, three new ones ---- */

typedef struct views {
  rows known, pool, tests, new_tests;
} views;

static void views_free(views *v) {
  rows_free(&v->known);
  rows_free(&v->pool);
  rows_free(&v->tests);
  rows_free(&v->new_tests);
}

static mica_status pictures(mica_claim_cell *cell, mica_part part, const char *name, int64_t n,
                            const char *classes, int64_t first, mica_tensor **x,
                            mica_tensor **label) {
  mica_status status = mica_claim_pictures(
      cell, "fashion-mnist", part, mica_key_fold_name(cell->key, name), n, classes, x, label);
  if (status == MICA_OK) renumber(*label, classes, first);
  return status;
}

/* Features of all that is asked of a network; the known training pictures are given. */
static mica_status look(mica_claim_cell *cell, const mica_net *net, const mica_tensor *x,
                        const mica_tensor *label, views *v) {
  const settings *o = cell->options;
  mica_tensor *p = NULL, *l = NULL;
  mica_status status = features(net, x, label, &v->known);
  if (status == MICA_OK)
    status = pictures(cell, MICA_PART_TRAIN, "pool", NEW * o->pool, NOVEL, 0, &p, &l);
  if (status == MICA_OK) status = features(net, p, l, &v->pool);
  mica_tensor_free(p);
  mica_tensor_free(l);
  p = l = NULL;
  if (status == MICA_OK)
    status = mica_claim_pictures(cell, "fashion-mnist", MICA_PART_TEST,
                                 mica_key_fold_name(cell->key, "tests"), o->tests, NULL, &p, &l);
  if (status == MICA_OK) {
    /* Numbers above nine are out of the way of both lists. */
    int64_t *t = mica_tensor_data(l);
    for (int64_t i = 0; i < o->tests; i++) t[i] += 100;
    for (int64_t i = 0; i < o->tests; i++) {
      const char digit = (char)('0' + t[i] - 100);
      const char *old = strchr(KNOWN, digit), *new = strchr(NOVEL, digit);
      t[i] = old ? (old - KNOWN) / 2 : OLD + (new - NOVEL) / 2;
    }
    status = features(net, p, l, &v->tests);
  }
  mica_tensor_free(p);
  mica_tensor_free(l);
  return status;
}

/* The tests of the new classes alone, as 0, 1, 2. */
static mica_status new_tests(views *v) {
  const int64_t d = mica_tensor_dim(v->tests.x, 1);
  rows *to = &v->new_tests;
  for (int64_t i = 0; i < v->tests.n; i++) to->n += v->tests.label[i] >= OLD;
  to->label = mica_malloc((size_t)to->n * sizeof *to->label + 1);
  mica_status status =
      to->label ? mica_tensor_create(MICA_F32, MICA_SHAPE(to->n, d), &to->x) : MICA_ERR_MEMORY;
  for (int64_t i = 0, k = 0; i < v->tests.n && status == MICA_OK; i++) {
    if (v->tests.label[i] < OLD) continue;
    memcpy((float *)mica_tensor_data(to->x) + k * d,
           (const float *)mica_tensor_data(v->tests.x) + i * d, (size_t)d * sizeof(float));
    to->label[k++] = v->tests.label[i] - OLD;
  }
  return status;
}

/* Means over support draws of joint and disjoint accuracy by each metric, and joint accuracy with
 * the trained vectors where there are some. */
typedef struct outcome {
  double joint[METRICS], disjoint[METRICS], trained;
} outcome;

static mica_status at_shots(mica_claim_cell *cell, const views *v, mica_estimator *const *known,
                            const mica_estimator *trained, int64_t n, outcome *out) {
  const settings *o = cell->options;
  mica_status status = MICA_OK;
  *out = (outcome){{0}, {0}, 0};
  for (int64_t k = 0; k < o->draws && status == MICA_OK; k++) {
    const mica_key key = mica_key_fold(mica_key_fold_name(cell->key, "support"), (uint64_t)k);
    mica_tensor *s = NULL;
    double a = 0;
    status = support(&v->pool, mica_key_fold(key, (uint64_t)n), NEW, n, &s);
    for (int m = 0; m < METRICS && status == MICA_OK; m++) {
      status = grown(cell, known[m], NULL, s, NEW, &v->tests, &a);
      out->joint[m] += a / (double)o->draws;
      if (status == MICA_OK) status = grown(cell, NULL, spec_of[m], s, NEW, &v->new_tests, &a);
      out->disjoint[m] += a / (double)o->draws;
    }
    if (status == MICA_OK && trained) status = grown(cell, trained, NULL, s, NEW, &v->tests, &a);
    out->trained += a / (double)o->draws;
    mica_tensor_free(s);
  }
  return status;
}

/* How well the largest cosine with a known mean tells new classes from known ones. */
static mica_status open_set(mica_claim_cell *cell, const views *v, const mica_estimator *known) {
  mica_prediction p = MICA_PREDICTION;
  bool *new_ = mica_calloc((size_t)v->tests.n, sizeof *new_);
  mica_estimate auroc;
  p.anomaly = mica_calloc((size_t)v->tests.n, sizeof *p.anomaly);
  const mica_view x = mica_tensor_view(v->tests.x);
  mica_status status = new_ && p.anomaly ? mica_estimator_predict(known, &x, &p) : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < v->tests.n && status == MICA_OK; i++) new_[i] = v->tests.label[i] >= OLD;
  if (status == MICA_OK) status = mica_auroc(v->tests.n, p.anomaly, new_, 0.95, &auroc);
  if (status == MICA_OK) status = mica_claim_report(cell, "auroc", auroc.value);
  mica_free(new_);
  mica_free(p.anomaly);
  return status;
}

/* The method is judged by cosines, the others by their better metric. */
static double better(const mica_claim_cell *cell, const double *by_metric) {
  return cell->arm->role == MICA_ARM_METHOD ? by_metric[COSINE]
                                            : fmax(by_metric[COSINE], by_metric[EUCLID]);
}

static mica_status judge(mica_claim_cell *cell, const mica_net *net, const views *v) {
  mica_estimator *known[METRICS] = {NULL, NULL}, *trained = NULL;
  mica_status status = MICA_OK;
  for (int m = 0; m < METRICS && status == MICA_OK; m++)
    status = fit_known(cell, spec_of[m], &v->known, OLD, &known[m]);
  if (status == MICA_OK && cell->arm->role == MICA_ARM_METHOD)
    status = mica_net_head_estimator(net, &trained);
  for (int i = 0; i < SHOTS && status == MICA_OK; i++) {
    outcome r;
    const bool shown = shots[i] == 5 || shots[i] == 100;
    status = at_shots(cell, v, known, trained, shots[i], &r);
    if (status == MICA_OK) status = report(cell, "joint", shots[i], "", better(cell, r.joint));
    if (status == MICA_OK)
      status = report(cell, "disjoint", shots[i], "", better(cell, r.disjoint));
    if (status == MICA_OK && shown)
      status = report(cell, "joint", shots[i], "-cosine", r.joint[COSINE]);
    if (status == MICA_OK && shown)
      status = report(cell, "joint", shots[i], "-euclid", r.joint[EUCLID]);
    if (status == MICA_OK && shown && trained)
      status = report(cell, "joint", shots[i], "-trained", r.trained);
  }
  if (status == MICA_OK) status = open_set(cell, v, known[COSINE]);
  for (int m = 0; m < METRICS; m++) mica_estimator_free(known[m]);
  mica_estimator_free(trained);
  return status;
}

static mica_status run_fashion(mica_claim_cell *cell) {
  const settings *o = cell->options;
  mica_net *net = NULL;
  mica_tensor *x = NULL, *label = NULL;
  views v = {0};
  mica_status status = pictures(cell, MICA_PART_TRAIN, "known", o->images, KNOWN, 0, &x, &label);
  if (status == MICA_OK && cell->arm->spec) status = make_net(cell, 28, OLD, &net);
  if (status == MICA_OK && net) status = train(cell, net, x, label, o->epochs, false);
  if (status == MICA_OK) status = look(cell, net, x, label, &v);
  if (status == MICA_OK) status = new_tests(&v);
  if (status == MICA_OK) status = judge(cell, net, &v);
  views_free(&v);
  mica_tensor_free(x);
  mica_tensor_free(label);
  mica_net_free(net);
  return status;
}

/* ---- Omniglot: forty characters, then twenty of alphabets never seen ---- */

static mica_status episodes(mica_claim_cell *cell, const rows *all, int64_t characters) {
  const settings *o = cell->options;
  static const int64_t of[2] = {1, 5};
  double by_metric[2][METRICS] = {{0}};
  const int64_t d = mica_tensor_dim(all->x, 1), n_draws = 10 * o->draws;
  int64_t *chosen = mica_calloc((size_t)characters, sizeof *chosen);
  rows pool = {0}, tests = {0};
  mica_status status = chosen ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    pool.label = mica_calloc((size_t)all->n, sizeof *pool.label);
    tests.label = mica_calloc((size_t)all->n, sizeof *tests.label);
    if (!pool.label || !tests.label) status = MICA_ERR_MEMORY;
  }
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(WAYS * 5, d), &pool.x);
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(WAYS * 15, d), &tests.x);
  for (int64_t k = 0; k < n_draws && status == MICA_OK; k++) {
    const mica_key key = mica_key_fold(mica_key_fold_name(cell->key, "episode"), (uint64_t)k);
    mica_random_permutation(key, characters, chosen);
    pool.n = tests.n = 0;
    for (int64_t c = 0; c < WAYS; c++) {
      int64_t seen = 0;
      const int64_t from =
          (int64_t)mica_random_below(mica_key_fold_name(key, "from"), (uint64_t)c, 20);
      /* Five drawings in turn from a random one are the pool, the others are asked. */
      for (int64_t i = 0; i < all->n && seen < 20; i++) {
        if (all->label[i] != chosen[c]) continue;
        const bool taught = (seen + 20 - from) % 20 < 5;
        rows *to = taught ? &pool : &tests;
        memcpy((float *)mica_tensor_data(to->x) + to->n * d,
               (const float *)mica_tensor_data(all->x) + i * d, (size_t)d * sizeof(float));
        to->label[to->n++] = c;
        seen++;
      }
    }
    for (int i = 0; i < 2 && status == MICA_OK; i++) {
      mica_tensor *s = NULL;
      status = support(&pool, mica_key_fold_name(key, "support"), WAYS, of[i], &s);
      for (int m = 0; m < METRICS && status == MICA_OK; m++) {
        double a;
        status = grown(cell, NULL, spec_of[m], s, WAYS, &tests, &a);
        by_metric[i][m] += a / (double)n_draws;
      }
      mica_tensor_free(s);
    }
  }
  for (int i = 0; i < 2 && status == MICA_OK; i++) {
    status = report(cell, "shots", of[i], "", better(cell, by_metric[i]));
    if (status == MICA_OK) status = report(cell, "shots", of[i], "-cosine", by_metric[i][COSINE]);
    if (status == MICA_OK) status = report(cell, "shots", of[i], "-euclid", by_metric[i][EUCLID]);
  }
  rows_free(&pool);
  rows_free(&tests);
  mica_free(chosen);
  return status;
}

static mica_status run_omniglot(mica_claim_cell *cell) {
  const settings *o = cell->options;
  omniglot seen = {0}, unseen = {0}, taught = {0};
  mica_net *net = NULL;
  rows all = {0};
  int64_t *order = NULL;
  mica_status status = mica_omniglot_read(1, &seen);
  if (status == MICA_OK) status = mica_omniglot_read(2, &unseen);
  if (status == MICA_OK && !(order = mica_calloc((size_t)seen.characters, sizeof *order)))
    status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const int64_t n = o->characters < seen.characters ? o->characters : seen.characters;
    mica_random_permutation(mica_key_fold_name(cell->key, "characters"), seen.characters, order);
    status = mica_omniglot_take(&seen, cell->key, n, order, NULL, &taught, NULL);
  }
  if (status == MICA_OK && cell->arm->spec)
    status = make_net(cell, OMNIGLOT_SIDE, taught.characters, &net);
  if (status == MICA_OK && net)
    status = train(cell, net, taught.x, taught.labels, o->omniglot_epochs, true);
  if (status == MICA_OK) status = features(net, unseen.x, unseen.labels, &all);
  if (status == MICA_OK) status = episodes(cell, &all, unseen.characters);
  rows_free(&all);
  mica_net_free(net);
  mica_free(order);
  mica_omniglot_free(&seen);
  mica_omniglot_free(&unseen);
  mica_omniglot_free(&taught);
  return status;
}

/* ---- the claim ---- */

static const recipe by_class = {"ce", NULL};
static const recipe hard = {"triplet:margin=0.3", "classes:examples=8"},
                    soft = {"triplet:soft:normalise=false:margin=0", "classes:examples=8"};

static const mica_claim_arm arms[] = {
    {"ns-10", "normalised softmax, scale 10", MICA_ARM_METHOD,
     "cosine:scale=10:constraint=project:dim=64", &by_class},
    {"ns-20", "normalised softmax, scale 20", MICA_ARM_METHOD,
     "cosine:scale=20:constraint=project:dim=64", &by_class},
    {"softmax", "plain softmax", MICA_ARM_BASELINE, "linear:dim=64", &by_class},
    {"triplet-hard", "hardest triplets of a batch, features at length 1, margin 0.3",
     MICA_ARM_BASELINE, "linear:dim=64", &hard},
    {"triplet-soft", "hardest triplets, plain features, soft margin", MICA_ARM_BASELINE,
     "linear:dim=64", &soft},
    {"pixels", "means of the pixels", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};

static const mica_claim_measure fashion_measures[] = {
    {"joint5", "accuracy over ten classes, 5 shots, means for all", false},
    {"disjoint5", "accuracy over the new classes, 5 shots", false},
    {"joint1", "ten classes, 1 shot", false},
    {"disjoint1", "new classes, 1 shot", false},
    {"joint20", "ten classes, 20 shots", false},
    {"disjoint20", "new classes, 20 shots", false},
    {"joint100", "ten classes, 100 shots", false},
    {"disjoint100", "new classes, 100 shots", false},
    {"joint5-cosine", "ten classes, 5 shots, by cosine", false},
    {"joint5-euclid", "ten classes, 5 shots, Euclidean", false},
    {"joint5-trained", "ten classes, 5 shots, trained vectors for the known", false},
    {"joint100-cosine", "ten classes, 100 shots, by cosine", false},
    {"joint100-euclid", "ten classes, 100 shots, Euclidean", false},
    {"joint100-trained", "ten classes, 100 shots, trained vectors for the known", false},
    {"auroc", "AUROC of new against known by the largest cosine", false},
    {0}};

#define CHECK(what, measure, baseline, threshold, shown)                                           \
  {                                                                                                \
    what, MICA_CHECK_DIFFERENCE, measure, {"ns-*", 0, 0}, {baseline, 0, 0}, threshold, false,      \
        "new classes are added without training; batches of pairs cost the same steps", shown      \
  }
static const mica_claim_check fashion_checks[] = {
    CHECK("with means for all classes, normalised softmax is better than plain softmax", "joint5",
          "softmax", 0.02, false),
    CHECK("and better than triplets", "joint5", "triplet-*", 0.02, false),
    CHECK("among the new classes it is not below plain softmax", "disjoint5", "softmax", 0, false),
    CHECK("nor below triplets", "disjoint5", "triplet-*", 0, false),
    CHECK("(not claimed) it is better than means of pixels", "joint5", "pixels", 0, true),
    {0}};

static const mica_claim_measure omniglot_measures[] = {
    {"shots5", "accuracy of 20 ways, 5 shots", false},
    {"shots1", "20 ways, 1 shot", false},
    {"shots5-cosine", "5 shots by cosine", false},
    {"shots5-euclid", "5 shots, Euclidean", false},
    {"shots1-cosine", "1 shot by cosine", false},
    {"shots1-euclid", "1 shot, Euclidean", false},
    {0}};
static const mica_claim_check omniglot_checks[] = {
    CHECK("(not claimed) better than plain softmax on characters of unseen alphabets", "shots5",
          "softmax", 0.02, true),
    CHECK("(not claimed) and better than triplets", "shots5", "triplet-*", 0.02, true),
    CHECK("(not claimed) and better than pixels", "shots5", "pixels", 0.02, true),
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "fashion",
     .title = "Accuracy with three classes added by the mean of a few examples",
     .arms = arms,
     .measures = fashion_measures,
     .checks = fashion_checks,
     .unit = MICA_UNIT_ARM,
     .note = "Fashion-MNIST; seven classes are trained, pullover, shirt and boot are added. Joint: "
             "ten classes compete; disjoint: the three new ones. The method is measured by "
             "cosines, the others by the better of cosine and Euclidean means. Means over support "
             "draws from the training part.",
     .run = run_fashion},
    {.name = "omniglot",
     .title = "Accuracy of 20 ways on characters of alphabets that training never saw",
     .arms = arms,
     .measures = omniglot_measures,
     .checks = omniglot_checks,
     .unit = MICA_UNIT_ARM,
     .note = "Omniglot; 40 characters of the first small background set are trained, episodes are "
             "drawn from the second.",
     .run = run_omniglot},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "5", 1, 1000, NULL, "seeds", offsetof(settings, seeds)},
    {"images", MICA_OPTION_INT, "7000", 128, 42000, NULL, "training images of known classes",
     offsetof(settings, images)},
    {"epochs", MICA_OPTION_INT, "4", 1, 1000, NULL, "of training", offsetof(settings, epochs)},
    {"pool", MICA_OPTION_INT, "300", 100, 6000, NULL, "images of a new class to draw shots from",
     offsetof(settings, pool)},
    {"tests", MICA_OPTION_INT, "5000", 100, 10000, NULL, "test images", offsetof(settings, tests)},
    {"draws", MICA_OPTION_INT, "10", 1, 1000, NULL, "of shots", offsetof(settings, draws)},
    {"characters", MICA_OPTION_INT, "40", 20, 136, NULL, "Omniglot: trained characters",
     offsetof(settings, characters)},
    {"omniglot_epochs", MICA_OPTION_INT, "20", 1, 1000, NULL, "Omniglot: of training",
     offsetof(settings, omniglot_epochs)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Hyperspherical embedding for novel class classification",
    .arxiv = "2102.03243",
    .claim =
        "Normalised softmax takes new classes as mean directions of a few examples better than "
        "plain softmax and triplets",
    .components = "layer:cosine layer:linear estimator:cosine loss:triplet "
                  "loss:contrastive loss:prototypical loss:constellation sampler:classes",
    .smoke = "seeds=1:images=640:epochs=1:tests=300:draws=1:characters=20:omniglot_epochs=1",
    .recorded = MICA_VERDICT_NOT_SHOWN,
    .experiments = experiments};

extern const mica_component mica_component_paper_hyperspherical;
const mica_component mica_component_paper_hyperspherical = {MICA_COMPONENT_HEAD,
                                                            MICA_KIND_PAPER,
                                                            "hyperspherical",
                                                            "new classes as mean directions",
                                                            "hyperspherical",
                                                            options,
                                                            sizeof(settings),
                                                            0,
                                                            0,
                                                            &functions};
