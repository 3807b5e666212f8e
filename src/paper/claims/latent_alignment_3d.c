/* latent-alignment-3d: matching items across two spaces that were made apart.
 *
 * Two encoders see different halves of the same pictures. Items that neither space was aligned with
 * are matched by a map learnt from known pairs. The whole spaces carry much that the other half
 * does not have; in the directions in which the known pairs correlate most, the same map and the
 * same score match more of them, if there are pairs enough to find those directions.
 *
 * matching  maps and local CKA, in the whole spaces, in principal components, in canonical
 *           directions, by the number of known pairs
 * spaces    how alike the two spaces are to begin with: in them, in components, in directions
 */
#include <mica/alignment.h>
#include <mica/measure.h>
#include <mica/paper.h>

#include <math.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, width, queries;
  mica_ints anchors;
} settings;

/* ---- the two views ---- */

typedef struct views {
  int64_t anchors, queries, width;
  float *ax, *ay, *x, *y; /* [anchors, width] and [queries, width] */
  float *shuffled;        /* ay with its rows permuted: pairs that are none */
} views;

static void release(void *given) {
  views *v = given;
  if (!v) return;
  mica_free(v->ax);
  mica_free(v->ay);
  mica_free(v->x);
  mica_free(v->y);
  mica_free(v->shuffled);
  mica_free(v);
}

/* relu(half W), W [pixels, width] normal with variance 1 / pixels. */
static void project(const float *pixel, int64_t stride, int64_t n, int64_t pixels,
                    const float *weight, int64_t width, float *out) {
  for (int64_t i = 0; i < n; i++) {
    float *to = out + i * width;
    memset(to, 0, (size_t)width * sizeof *to);
    for (int64_t p = 0; p < pixels; p++) {
      const float v = pixel[i * stride + p];
      if (!(v > 0)) continue;
      for (int64_t j = 0; j < width; j++) to[j] += v * weight[p * width + j];
    }
    for (int64_t j = 0; j < width; j++) to[j] = to[j] > 0 ? to[j] : 0;
  }
}

/* The upper and the lower half of n pictures of a part, each through a projection of its own. */
static mica_status see(mica_claim_cell *cell, mica_part part, int64_t n, int64_t width, float *x,
                       float *y) {
  mica_tensor *pictures = NULL;
  mica_status status =
      mica_claim_pictures(cell, "fashion-mnist", part, cell->key, n, NULL, &pictures, NULL);
  if (status != MICA_OK) return status;
  const int64_t whole = mica_tensor_count(pictures) / n, half = whole / 2;
  float *weight = mica_realloc_array(NULL, (size_t)half, (size_t)width * sizeof *weight);
  if (!weight) status = MICA_ERR_MEMORY;
  for (int side = 0; side < 2 && status == MICA_OK; side++) {
    const mica_key key = mica_key_fold_name(cell->key, side ? "lower" : "upper");
    for (int64_t i = 0; i < half * width; i++)
      weight[i] = (float)(mica_random_normal(key, (uint64_t)i) / sqrt((double)half));
    project((const float *)mica_tensor_data(pictures) + side * half, whole, n, half, weight, width,
            side ? y : x);
  }
  mica_free(weight);
  mica_tensor_free(pictures);
  return status;
}

static float *rows(int64_t n, int64_t d) {
  return mica_realloc_array(NULL, (size_t)n, (size_t)d * sizeof(float));
}

static mica_status prepare(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  views *v = mica_calloc(1, sizeof *v);
  if (!v) return MICA_ERR_MEMORY;
  for (int i = 0; i < o->anchors.n; i++)
    if (o->anchors.v[i] > v->anchors) v->anchors = o->anchors.v[i];
  v->queries = o->queries;
  v->width = o->width;
  v->ax = rows(v->anchors, v->width);
  v->ay = rows(v->anchors, v->width);
  v->shuffled = rows(v->anchors, v->width);
  v->x = rows(v->queries, v->width);
  v->y = rows(v->queries, v->width);
  int64_t *order = mica_calloc((size_t)v->anchors, sizeof *order);
  mica_status status =
      v->ax && v->ay && v->shuffled && v->x && v->y && order ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = see(cell, MICA_PART_TRAIN, v->anchors, v->width, v->ax, v->ay);
  if (status == MICA_OK) status = see(cell, MICA_PART_TEST, v->queries, v->width, v->x, v->y);
  /* Within each prefix that a point uses, so that every draw of anchors is permuted in itself. */
  for (int i = 0, from = 0; i < o->anchors.n && status == MICA_OK; i++) {
    const int64_t n = o->anchors.v[i] - from;
    if (n <= 0) continue;
    mica_random_permutation(mica_key_fold(cell->key, (uint64_t)i), n, order);
    for (int64_t k = 0; k < n; k++)
      memcpy(v->shuffled + (from + k) * v->width, v->ay + (from + order[k]) * v->width,
             (size_t)v->width * sizeof *v->ay);
    from = (int)o->anchors.v[i];
  }
  mica_free(order);
  if (status == MICA_OK)
    *out = v;
  else
    release(v);
  return status;
}

static mica_view view_of(const float *data, int64_t n, int64_t d) {
  return mica_view_of((void *)(uintptr_t)data, MICA_F32, MICA_SHAPE(n, d));
}

/* ---- matching ---- */

static mica_status fit(mica_claim_cell *cell, const views *v, int64_t anchors, const char *spec,
                       bool shuffled, mica_estimator **out) {
  mica_fit_data data = MICA_FIT_DATA;
  const mica_view target = view_of(shuffled ? v->shuffled : v->ay, anchors, v->width);
  data.x = view_of(v->ax, anchors, v->width);
  data.target = &target;
  mica_status status = mica_estimator_create(cell->engine, spec, out);
  return status == MICA_OK ? mica_claim_fit(cell, *out, &data, NULL) : status;
}

static mica_status report(mica_claim_cell *cell, const mica_match_result *r) {
  const struct {
    const char *name;
    double value;
  } all[] = {{"top5", r->top5},
             {"matching", r->matching},
             {"top1", r->top1},
             {"back-top5", r->back_top5},
             {"top10", r->top10}};
  mica_status status = MICA_OK;
  for (size_t i = 0; i < sizeof all / sizeof *all && status == MICA_OK; i++)
    status = mica_claim_report(cell, all[i].name, all[i].value);
  return status;
}

static mica_status run(mica_claim_cell *cell) {
  const views *v = cell->shared;
  const mica_view x = view_of(v->x, v->queries, v->width), y = view_of(v->y, v->queries, v->width);
  double *score = mica_calloc((size_t)(v->queries * v->queries), sizeof *score);
  mica_estimator *e = NULL;
  mica_match_result r;
  mica_status status = score ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = fit(cell, v, (int64_t)cell->point, cell->arm->spec, cell->arm->own != NULL, &e);
  if (status == MICA_OK) status = mica_estimator_pair_scores(e, &x, &y, score);
  if (status == MICA_OK) status = mica_match_evaluate(v->queries, score, NULL, NULL, &r);
  mica_estimator_free(e);
  mica_free(score);
  return status == MICA_OK ? report(cell, &r) : status;
}

/* ---- how alike the spaces are ---- */

static mica_status run_spaces(mica_claim_cell *cell) {
  const views *v = cell->shared;
  const mica_view x = view_of(v->x, v->queries, v->width), y = view_of(v->y, v->queries, v->width);
  mica_estimator *e = NULL;
  mica_findings *f = NULL;
  double *rx = NULL, *ry = NULL;
  mica_status status = fit(cell, v, v->anchors, cell->arm->spec, false, &e);
  const int64_t k = status == MICA_OK ? mica_estimator_outputs(e) : 0;
  if (status == MICA_OK) {
    rx = mica_calloc((size_t)(v->queries * k), sizeof *rx);
    ry = mica_calloc((size_t)(v->queries * k), sizeof *ry);
    status = rx && ry ? mica_findings_create(&f) : MICA_ERR_MEMORY;
  }
  mica_prediction p = MICA_PREDICTION;
  p.score = rx;
  if (status == MICA_OK) status = mica_estimator_predict(e, &x, &p);
  if (status == MICA_OK) status = mica_estimator_targets(e, &y, ry);
  mica_measure_data d = MICA_MEASURE_DATA;
  const mica_view other = mica_view_of(ry, MICA_F64, MICA_SHAPE(v->queries, k));
  d.x = mica_view_of(rx, MICA_F64, MICA_SHAPE(v->queries, k));
  d.other = &other;
  if (status == MICA_OK) status = mica_measure(cell->engine, "cka", &d, f);
  if (status == MICA_OK) status = mica_measure(cell->engine, "mutual_knn", &d, f);
  if (status == MICA_OK) status = mica_claim_report(cell, "cka", mica_findings_value(f, "cka"));
  if (status == MICA_OK)
    status = mica_claim_report(cell, "neighbours", mica_findings_value(f, "mutual_neighbours"));
  mica_findings_free(f);
  mica_free(ry);
  mica_free(rx);
  mica_estimator_free(e);
  return status;
}

/* ---- the claim ---- */

static const char shuffle[] = "shuffled";

static const mica_claim_arm arms[] = {
    {"affine-cca50", "affine map of 50 canonical directions", MICA_ARM_METHOD,
     "align:reduce=cca:k=50", NULL},
    {"affine", "affine map of the whole spaces", MICA_ARM_BASELINE, "align", NULL},
    {"affine-pca50", "affine map of 50 principal components", MICA_ARM_BASELINE,
     "align:reduce=pca:k=50", NULL},
    {"affine-cca10", "affine map of 10 canonical directions", MICA_ARM_CONTEXT,
     "align:reduce=cca:k=10", NULL},
    {"affine-cca150", "affine map of 150 canonical directions", MICA_ARM_CONTEXT,
     "align:reduce=cca:k=150", NULL},
    {"cka-cca50", "local CKA in 50 canonical directions", MICA_ARM_METHOD,
     "align:reduce=cca:k=50:score=cka", NULL},
    {"cka", "local CKA of the whole spaces", MICA_ARM_BASELINE, "align:score=cka", NULL},
    {"cka-pca50", "local CKA in 50 principal components", MICA_ARM_BASELINE,
     "align:reduce=pca:k=50:score=cka", NULL},
    {"cka-stretched", "local CKA of columns of equal deviation", MICA_ARM_CONTEXT,
     "align:score=cka:standardise", NULL},
    {"linear", "least squares without a bias", MICA_ARM_CONTEXT, "align:map=linear", NULL},
    {"procrustes", "a rotation of standardised columns", MICA_ARM_CONTEXT,
     "align:map=procrustes:standardise", NULL},
    {"relative", "cosines to the known pairs", MICA_ARM_CONTEXT, "align:map=relative", NULL},
    {"svcca50", "affine map of 50 canonical directions of 99 % of the variance", MICA_ARM_CONTEXT,
     "align:reduce=cca:k=50:variance=0.99", NULL},
    {"shuffled", "50 canonical directions of pairs that are none", MICA_ARM_CONTROL,
     "align:reduce=cca:k=50", shuffle},
    {"none", "cosines of the spaces as they are", MICA_ARM_TRIVIAL, "align:map=none", NULL},
    {0}};

static const mica_claim_measure measures[] = {
    {"top5", "share whose pair is among the first five", false},
    {"matching", "share of pairs in the best assignment", false},
    {"top1", "share whose pair is the first", false},
    {"back-top5", "share among the first five, the other way round", false},
    {"top10", "share whose pair is among the first ten", false},
    {0}};

#define MANY 20000, 1e9
static const mica_claim_check checks[] = {
    {"with 20,000 pairs, canonical directions beat the whole spaces by 5 points",
     MICA_CHECK_DIFFERENCE,
     "top5",
     {"affine-cca50", MANY},
     {"affine", MANY},
     0.05,
     true,
     NULL,
     false},
    {"and as many principal components by 5 points",
     MICA_CHECK_DIFFERENCE,
     "top5",
     {"affine-cca50", MANY},
     {"affine-pca50", MANY},
     0.05,
     true,
     NULL,
     false},
    {"the assignment recovers more pairs too",
     MICA_CHECK_DIFFERENCE,
     "matching",
     {"affine-cca50", MANY},
     {"affine", MANY},
     0,
     true,
     NULL,
     false},
    {"local CKA gains from them as well",
     MICA_CHECK_DIFFERENCE,
     "top5",
     {"cka-cca50", MANY},
     {"cka", MANY},
     0,
     true,
     NULL,
     false},
    {"pairs that are none teach nothing: at most 2 % over unaligned spaces",
     MICA_CHECK_CONTROL,
     "top5",
     {"shuffled", 0, 0},
     {"none", 0, 0},
     0.02,
     true,
     NULL,
     false},
    {"with 1,000 pairs the whole spaces are better",
     MICA_CHECK_DIFFERENCE,
     "top5",
     {"affine", 0, 1000},
     {"affine-cca50", 0, 1000},
     0,
     true,
     NULL,
     true},
    {0}};

static const mica_claim_arm space_arms[] = {
    {"cca50", "50 canonical directions", MICA_ARM_METHOD, "cca:k=50", NULL},
    {"whole", "the spaces as they are", MICA_ARM_BASELINE, "align:map=none", NULL},
    {"pca50", "50 principal components", MICA_ARM_BASELINE, "align:map=none:reduce=pca:k=50", NULL},
    {0}};
static const mica_claim_measure space_measures[] = {
    {"cka", "linear CKA of items not aligned with", false},
    {"neighbours", "share of the ten nearest that both spaces agree on", false},
    {0}};
static const mica_claim_check space_checks[] = {
    {"the two spaces agree on more neighbours in canonical directions",
     MICA_CHECK_DIFFERENCE,
     "neighbours",
     {"cca50", 0, 0},
     {"whole", 0, 0},
     0.02,
     false,
     NULL,
     true},
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "matching",
     .title = "Items matched across two spaces, by the number of known pairs",
     .arms = arms,
     .measures = measures,
     .checks = checks,
     .sweep = "anchors",
     .sweep_what = "known pairs",
     .sweep_log = true,
     .note = "Fashion-MNIST: one encoder sees the upper half of a picture, the other the lower "
             "half, each a random projection to 256 columns and a rectifier. Known pairs are drawn "
             "from the training part, the 500 to match from the test part; chance is 0.2 % for the "
             "first and 1 % for the first five.",
     .prepare = prepare,
     .release = release,
     .run = run},
    {.name = "spaces",
     .title = "How alike the two spaces are",
     .arms = space_arms,
     .measures = space_measures,
     .checks = space_checks,
     .note = "Of the 500 items that were not aligned with; directions and components are those of "
             "the largest number of known pairs.",
     .prepare = prepare,
     .release = release,
     .run = run_spaces},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "3", 1, 1000, NULL, "repeats", offsetof(settings, seeds)},
    {"width", MICA_OPTION_INT, "256", 2, 4096, NULL, "columns of each space",
     offsetof(settings, width)},
    {"queries", MICA_OPTION_INT, "500", 10, 10000, NULL, "pairs to be matched",
     offsetof(settings, queries)},
    {"anchors", MICA_OPTION_INTS, "1000,5000,20000", 200, 60000, NULL, "known pairs",
     offsetof(settings, anchors)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Escaping Plato's Cave: Towards the Alignment of 3D and Text Latent Spaces",
    .arxiv = "2503.05283",
    .claim = "Two spaces that were learnt apart are matched far better in the directions in which "
             "known pairs correlate most than as they are, given pairs enough",
    .components = "estimator:align estimator:cca measure:mutual_knn measure:rsa",
    .smoke = "seeds=1:anchors=1000,20000:queries=200:width=128",
    .recorded = MICA_VERDICT_MECHANISM,
    .experiments = experiments};

extern const mica_component mica_component_paper_latent_alignment_3d;
const mica_component mica_component_paper_latent_alignment_3d = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "latent-alignment-3d",
    "matching items across two spaces in the directions that correlate",
    "latent-alignment-3d",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
