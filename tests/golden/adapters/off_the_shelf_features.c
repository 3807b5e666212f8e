/* off-the-shelf-features: lengths and powers of features, machines against the rest and in pairs with
 * their votes, sums over views; regions of pictures, whitened components, distances of patches. */
#include "adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double *transformed(golden *g, const mica_transform_options *o, const mica_view *fit,
                           const mica_view *x, mica_transform **out) {
  mica_transform *t;
  golden_need(g, mica_transform_fit(golden_engine(g), o, fit, &t));
  const int64_t n = x->shape.dim[0];
  double *y = calloc((size_t)(n * mica_transform_width(t)), sizeof *y);
  if (!y) golden_fail(g, "out of memory");
  golden_need(g, mica_transform_apply(golden_engine(g), t, x, y));
  if (out) *out = t;
  return y;
}

static mica_estimator *fitted(golden *g, const char *scheme, const double *x, int64_t n, int64_t d,
                              const int64_t *label, double *objective) {
  char spec[160];
  mica_estimator *e;
  mica_fit_data data = MICA_FIT_DATA;
  mica_fit_report report = {.size = sizeof report};
  snprintf(spec, sizeof spec,
           "linear_svm:C=%.17g:loss=hinge:bias=free:scheme=%s:tol=1e-11:max_iter=1000000",
           golden_number(g, "C", 1), scheme);
  data.x = mica_view_of((void *)(uintptr_t)x, MICA_F64, MICA_SHAPE(n, d));
  data.label = label;
  golden_need(g, mica_estimator_create(golden_engine(g), spec, &e));
  golden_need(g, mica_estimator_fit(e, &data, &report));
  if (!report.converged) golden_fail(g, "%s", report.note);
  if (objective) *objective = report.objective;
  return e;
}

/* The machine of two classes: fitted on their rows alone, where it is one against the rest. */
static void run_pairs(golden *g, const double *x, int64_t n, int64_t d, const int64_t *label,
                      const double *test, int64_t tests) {
  const int64_t *pair = golden_integers(g, "out.ovo_pairs", NULL);
  const int64_t pairs = golden_dim(g, "out.ovo_pairs", 0);
  double *weight = calloc((size_t)(pairs * d), sizeof *weight);
  double *bias = calloc((size_t)pairs, sizeof *bias), *objective = calloc((size_t)pairs, sizeof *bias);
  double *decision = calloc((size_t)(tests * pairs), sizeof *decision);
  double *rows = calloc((size_t)(n * d), sizeof *rows), *score = calloc((size_t)(2 * tests), 8);
  int64_t *two = calloc((size_t)n, sizeof *two);
  if (!weight || !bias || !objective || !decision || !rows || !score || !two)
    golden_fail(g, "out of memory");
  for (int64_t p = 0; p < pairs; p++) {
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
      if (label[i] == pair[2 * p] || label[i] == pair[2 * p + 1]) {
        memcpy(rows + m * d, x + i * d, (size_t)d * sizeof *rows);
        two[m++] = label[i] != pair[2 * p];
      }
    double both, w[256], b[2];
    if (d > 128) golden_fail(g, "too many columns");
    mica_estimator *e = fitted(g, "ova", rows, m, d, two, &both);
    golden_need(g, mica_estimator_linear(e, w, b));
    memcpy(weight + p * d, w, (size_t)d * sizeof *w);
    bias[p] = b[0];
    objective[p] = both / 2; /* a machine and its mirror image */
    mica_prediction out = MICA_PREDICTION;
    out.score = score;
    const mica_view v = mica_view_of((void *)(uintptr_t)test, MICA_F64, MICA_SHAPE(tests, d));
    golden_need(g, mica_estimator_predict(e, &v, &out));
    for (int64_t i = 0; i < tests; i++) decision[i * pairs + p] = score[2 * i];
    mica_estimator_free(e);
  }
  golden_check_within(g, "out.ovo_weight", mica_view_of(weight, MICA_F64, MICA_SHAPE(pairs, d)), 1e-4);
  golden_check_within(g, "out.ovo_bias", mica_view_of(bias, MICA_F64, MICA_SHAPE(pairs)), 1e-4);
  golden_check_within(g, "out.ovo_objective", mica_view_of(objective, MICA_F64, MICA_SHAPE(pairs)),
                      1e-6);
  golden_check_within(g, "out.ovo_decision",
                      mica_view_of(decision, MICA_F64, MICA_SHAPE(tests, pairs)), 1e-4);
  golden_check_integers(g, "out.ovo_pairs", pair, 2 * pairs);
}

static void run_votes(golden *g, const double *x, int64_t n, int64_t d, const int64_t *label,
                      const double *test, int64_t tests) {
  mica_estimator *e = fitted(g, "ovo", x, n, d, label, NULL);
  const int64_t k = mica_estimator_classes(e);
  double *score = calloc((size_t)(tests * k), sizeof *score);
  int64_t *votes = calloc((size_t)(tests * k), sizeof *votes), *named = calloc((size_t)tests, 8);
  mica_prediction out = MICA_PREDICTION;
  if (!score || !votes || !named) golden_fail(g, "out of memory");
  out.score = score;
  out.label = named;
  const mica_view v = mica_view_of((void *)(uintptr_t)test, MICA_F64, MICA_SHAPE(tests, d));
  golden_need(g, mica_estimator_predict(e, &v, &out));
  for (int64_t i = 0; i < tests * k; i++) votes[i] = (int64_t)score[i];
  golden_check_integers(g, "out.ovo_votes", votes, tests * k);
  golden_check_integers(g, "out.ovo_pred", named, tests);
}

static int64_t first_largest(const double *v, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; i++)
    if (v[i] > v[best]) best = i;
  return best;
}

static void run_views(golden *g, const double *x, int64_t n, int64_t d, const int64_t *label,
                      const double *views, int64_t tests, int64_t each) {
  mica_estimator *e = fitted(g, "ova", x, n, d, label, NULL);
  const int64_t k = mica_estimator_classes(e), all = tests * each;
  double *weight = calloc((size_t)(k * d), sizeof *weight), *bias = calloc((size_t)k, sizeof *bias);
  double *score = calloc((size_t)(all * k), sizeof *score), *sum = calloc((size_t)(tests * k), 8);
  int64_t *named = calloc((size_t)tests, sizeof *named);
  if (!weight || !bias || !score || !sum || !named) golden_fail(g, "out of memory");
  golden_need(g, mica_estimator_linear(e, weight, bias));
  golden_check_within(g, "out.ova_weight", mica_view_of(weight, MICA_F64, MICA_SHAPE(k, d)), 1e-4);
  golden_check_within(g, "out.ova_bias", mica_view_of(bias, MICA_F64, MICA_SHAPE(k)), 1e-4);
  mica_prediction out = MICA_PREDICTION;
  out.score = score;
  const mica_view v = mica_view_of((void *)(uintptr_t)views, MICA_F64, MICA_SHAPE(all, d));
  golden_need(g, mica_estimator_predict(e, &v, &out));
  golden_check_within(g, "out.ova_response",
                      mica_view_of(score, MICA_F64, MICA_SHAPE(tests, each, k)), 1e-4);
  mica_view_scores(MICA_VIEW_SUM, tests, each, k, score, sum);
  golden_check_within(g, "out.ova_sum", mica_view_of(sum, MICA_F64, MICA_SHAPE(tests, k)), 1e-4);
  for (int64_t i = 0; i < tests; i++) named[i] = first_largest(sum + i * k, k);
  golden_check_integers(g, "out.ova_pred_sum", named, tests);
  mica_view_scores(MICA_VIEW_MAX, tests, each, k, score, sum);
  for (int64_t i = 0; i < tests; i++) named[i] = first_largest(sum + i * k, k);
  golden_check_integers(g, "out.ova_pred_max", named, tests);
}

static void run_machines(golden *g) {
  const mica_view x = golden_view(g, "in.features", MICA_F64);
  const int64_t *label = golden_integers(g, "in.labels", NULL);
  const int64_t n = x.shape.dim[0], d = x.shape.dim[1];
  const int64_t tests = golden_dim(g, "in.test_features", 0), each = golden_dim(g, "in.test_features", 1);
  mica_view views = golden_view(g, "in.test_features", MICA_F64);
  views = mica_view_of(views.data, MICA_F64, MICA_SHAPE(tests * each, d));
  mica_transform_options o = MICA_TRANSFORM_OPTIONS;
  double *rows = transformed(g, &o, &x, &x, NULL), *all = transformed(g, &o, &x, &views, NULL);
  o.power = 2;
  golden_check_doubles(g, "out.normalised", rows, n * d);
  golden_check_doubles(g, "out.power2", transformed(g, &o, &x, &x, NULL), n * d);
  /* Pairs are asked with the first view, the picture as it is. */
  double *first = calloc((size_t)(tests * d), sizeof *first);
  if (!first) golden_fail(g, "out of memory");
  for (int64_t i = 0; i < tests; i++)
    memcpy(first + i * d, all + i * each * d, (size_t)d * sizeof *first);
  run_pairs(g, rows, n, d, label, first, tests);
  run_votes(g, rows, n, d, label, first, tests);
  run_views(g, rows, n, d, label, all, tests, each);
}

static void run_search(golden *g) {
  const mica_view fit = golden_view(g, "in.pca_train", MICA_F64);
  const int64_t d = fit.shape.dim[1], k = golden_integer(g, "k", 6);
  const int64_t q = golden_dim(g, "in.query_patches", 0), qp = golden_dim(g, "in.query_patches", 1);
  const int64_t r = golden_dim(g, "in.reference_patches", 0),
                rp = golden_dim(g, "in.reference_patches", 1);
  mica_view queries = golden_view(g, "in.query_patches", MICA_F64);
  mica_view references = golden_view(g, "in.reference_patches", MICA_F64);
  queries = mica_view_of(queries.data, MICA_F64, MICA_SHAPE(q * qp, d));
  references = mica_view_of(references.data, MICA_F64, MICA_SHAPE(r * rp, d));
  mica_transform_options o = MICA_TRANSFORM_OPTIONS;
  mica_transform *t;
  o.pca = k;
  double *mine = transformed(g, &o, &fit, &queries, &t);
  double *theirs = transformed(g, &o, &fit, &references, NULL);
  golden_check_doubles(g, "out.eigenvalues", mica_transform_variances(t), k);
  const int64_t all = q * qp;
  double *gram = calloc((size_t)(all * all), sizeof *gram), *distance = calloc((size_t)(q * r), 8);
  double *one = calloc((size_t)(q * k), 8), *other = calloc((size_t)(r * k), 8);
  if (!gram || !distance || !one || !other) golden_fail(g, "out of memory");
  for (int64_t i = 0; i < all; i++)
    for (int64_t j = 0; j < all; j++)
      for (int64_t c = 0; c < k; c++) gram[i * all + j] += mine[i * k + c] * mine[j * k + c];
  golden_check_within(g, "out.query_gram", mica_view_of(gram, MICA_F64, MICA_SHAPE(q, qp, q, qp)),
                      1e-9);
  const mica_view a = mica_view_of(mine, MICA_F64, MICA_SHAPE(all, k));
  const mica_view b = mica_view_of(theirs, MICA_F64, MICA_SHAPE(r * rp, k));
  golden_need(g, mica_patch_set_distances(golden_engine(g), &a, qp, &b, rp, distance));
  golden_check_within(g, "out.distance", mica_view_of(distance, MICA_F64, MICA_SHAPE(q, r)), 1e-9);
  /* Whole pictures are their first patches. */
  for (int64_t i = 0; i < q; i++) memcpy(one + i * k, mine + i * qp * k, (size_t)k * 8);
  for (int64_t i = 0; i < r; i++) memcpy(other + i * k, theirs + i * rp * k, (size_t)k * 8);
  const mica_view c = mica_view_of(one, MICA_F64, MICA_SHAPE(q, k));
  const mica_view e = mica_view_of(other, MICA_F64, MICA_SHAPE(r, k));
  golden_need(g, mica_patch_set_distances(golden_engine(g), &c, 1, &e, 1, distance));
  golden_check_within(g, "out.whole_image_distance",
                      mica_view_of(distance, MICA_F64, MICA_SHAPE(q, r)), 1e-9);
  for (int64_t i = 0; i < golden_count(g); i++) {
    long long h, w, order;
    mica_region region[385];
    if (sscanf(golden_name(g, i), "out.regions_%lldx%lld_order%lld", &h, &w, &order) != 3) continue;
    if (mica_region_count(order) > 385) golden_fail(g, "too many regions");
    golden_need(g, mica_regions(h, w, order, region));
    golden_check_integers(g, golden_name(g, i), (const int64_t *)region, 4 * mica_region_count(order));
  }
}

static void run(golden *g) {
  if (golden_has(g, "in.pca_train"))
    run_search(g);
  else
    run_machines(g);
}

const golden_adapter golden_adapter_off_the_shelf_features = {"off-the-shelf-features", 1e-9, run};
