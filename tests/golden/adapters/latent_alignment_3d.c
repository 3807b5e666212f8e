/* Two spaces and their anchors: `in.anchor_x`, `in.anchor_y` are learnt from, `in.query_x` matched
 * to `in.query_y`, whose pairs are `out.true_match`.
 *
 * CKA linear and RBF, local CKA in both spaces and in k canonical directions, affine maps and
 * rotations, canonical correlations, the projector on the canonical directions of x; for each score
 * the best assignment, and accuracies: of it, of the first, of the first five.
 */
#include "adapter.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct given {
  mica_view ax, ay, x, y;
  int64_t n, p, q, k;
  const char *ridge;
} given;

static double *room(golden *g, int64_t n) {
  double *v = calloc((size_t)n + 1, sizeof *v);
  if (!v) golden_fail(g, "out of memory");
  return v;
}

static mica_estimator *fit(golden *g, const given *v, const char *spec) {
  mica_estimator *e;
  mica_fit_data data = MICA_FIT_DATA;
  char text[256];
  snprintf(text, sizeof text, "%s:k=%lld:ridge=%s", spec, (long long)v->k, v->ridge);
  data.x = v->ax;
  data.target = &v->ay;
  golden_need(g, mica_estimator_create(golden_engine(g), text, &e));
  golden_need(g, mica_estimator_fit(e, &data, NULL));
  return e;
}

static void check(golden *g, const char *name, double *got, mica_shape shape) {
  if (golden_has(g, name)) golden_check(g, name, mica_view_of(got, MICA_F64, shape));
}

/* Scores, their best assignment, and how good it is. */
static void scores(golden *g, const given *v, const char *spec, const char *name) {
  char full[96];
  int64_t *match = calloc((size_t)v->n, sizeof *match);
  double *score = room(g, v->n * v->n);
  mica_match_result r;
  mica_estimator *e = fit(g, v, spec);
  golden_need(g, mica_estimator_pair_scores(e, &v->x, &v->y, score));
  snprintf(full, sizeof full, "out.%s", name);
  check(g, full, score, MICA_SHAPE(v->n, v->n));
  const int64_t *truth = golden_integers(g, "out.true_match", NULL);
  golden_need(g, mica_match_evaluate(v->n, score, truth, match, &r));
  snprintf(full, sizeof full, "out.match.%s", name);
  if (golden_has(g, full)) golden_check_integers(g, full, match, v->n);
  double acc[3] = {r.matching, r.top1, r.top5};
  snprintf(full, sizeof full, "out.acc.%s", name);
  check(g, full, acc, MICA_SHAPE(3));
  free(match);
}

/* Where the queries of x are mapped to. */
static void mapped(golden *g, const given *v, const char *spec, const char *name) {
  mica_prediction p = MICA_PREDICTION;
  p.score = room(g, v->n * v->q);
  golden_need(g, mica_estimator_predict(fit(g, v, spec), &v->x, &p));
  check(g, name, p.score, MICA_SHAPE(v->n, v->q));
}

/* The projector on the span of the canonical directions: W (W^T W)^-1 W^T, the rows of W where the
 * unit vectors are mapped to, less where 0 is. */
static void projector(golden *g, const given *v, const mica_estimator *e) {
  const int64_t p = v->p, k = mica_estimator_outputs(e);
  double *unit = room(g, (p + 1) * p), *w = room(g, (p + 1) * k), *out = room(g, p * p);
  for (int64_t i = 0; i < p; i++) unit[i * p + i] = 1;
  const mica_view rows = mica_view_of(unit, MICA_F64, MICA_SHAPE(p + 1, p));
  mica_prediction to = MICA_PREDICTION;
  to.score = w;
  golden_need(g, mica_estimator_predict(e, &rows, &to));
  for (int64_t i = 0; i < p * k; i++) w[i] -= w[p * k + i % k];
  for (int64_t c = 0; c < k; c++) { /* orthonormal columns, one after the other, twice over */
    for (int64_t twice = 0; twice < 2; twice++)
      for (int64_t b = 0; b < c; b++) {
        double dot = 0;
        for (int64_t i = 0; i < p; i++) dot += w[i * k + b] * w[i * k + c];
        for (int64_t i = 0; i < p; i++) w[i * k + c] -= dot * w[i * k + b];
      }
    double square = 0;
    for (int64_t i = 0; i < p; i++) square += w[i * k + c] * w[i * k + c];
    for (int64_t i = 0; i < p; i++) w[i * k + c] /= __builtin_sqrt(square);
  }
  for (int64_t i = 0; i < p * p; i++)
    for (int64_t c = 0; c < k; c++) out[i] += w[i / p * k + c] * w[i % p * k + c];
  check(g, "out.projector_x", out, MICA_SHAPE(p, p));
}

static void run(golden *g) {
  mica_engine *engine = golden_engine(g);
  given v = {.ax = golden_view(g, "in.anchor_x", MICA_F64),
             .ay = golden_view(g, "in.anchor_y", MICA_F64),
             .x = golden_view(g, "in.query_x", MICA_F64),
             .y = golden_view(g, "in.query_y", MICA_F64)};
  v.n = golden_dim(g, "in.query_x", 0);
  v.p = golden_dim(g, "in.query_x", 1);
  v.q = golden_dim(g, "in.query_y", 1);
  v.k = golden_integer(g, "k", 50);
  v.ridge = golden_text(g, "cca_reg", "0");
  double linear, rbf, *local = room(g, v.n * v.n), *rho = room(g, v.k);
  golden_need(g, mica_cka_reference(engine, MICA_CKA_LINEAR, &v.ax, &v.ay, &linear));
  golden_need(g, mica_cka_reference(engine, MICA_CKA_RBF, &v.ax, &v.ay, &rbf));
  check(g, "out.linear_cka", &linear, MICA_SHAPE(1));
  check(g, "out.rbf_cka", &rbf, MICA_SHAPE(1));
  mica_findings *f;
  mica_measure_data d = MICA_MEASURE_DATA;
  d.x = v.ax;
  d.other = &v.ay;
  golden_need(g, mica_findings_create(&f));
  golden_need(g, mica_measure(engine, "cka", &d, f));
  linear = mica_findings_value(f, "cka");
  check(g, "out.linear_cka", &linear, MICA_SHAPE(1));
  golden_need(g, mica_local_cka(engine, &v.ax, &v.ay, &v.x, &v.y, local));
  check(g, "out.local_cka", local, MICA_SHAPE(v.n, v.n));
  golden_need(g, mica_local_cka_reference(engine, MICA_CKA_LINEAR, &v.ax, &v.ay, &v.x, &v.y,
                                          local));
  check(g, "out.local_cka", local, MICA_SHAPE(v.n, v.n));
  const mica_estimator *cca = fit(g, &v, "cca");
  check(g, "out.canonical_correlations", rho, MICA_SHAPE(mica_estimator_correlations(cca, rho)));
  projector(g, &v, cca);
  mapped(g, &v, "align:map=affine", "out.affine_query");
  mapped(g, &v, "align:map=procrustes:standardise", "out.procrustes_query");
  const int64_t *truth = golden_integers(g, "out.true_match", NULL);
  golden_check_integers(g, "out.true_match", truth, v.n); /* what the queries were made with */
  scores(g, &v, "align:score=cka", "local_cka");
  scores(g, &v, "align:score=cka:reduce=cca", "local_cka_subspace");
  scores(g, &v, "align:centre=false", "affine_cosine");
  scores(g, &v, "align:reduce=cca", "affine_cosine_subspace");
}

const golden_adapter golden_adapter_latent_alignment_3d = {"latent-alignment-3d", 1e-8, run};
