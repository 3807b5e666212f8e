/* landmarks-retrieval: the measures of both tracks, and generalised-mean pooling with ArcFace. */
#include "adapter.h"

#include <stdio.h>
#include <stdlib.h>

static void check_arcface(golden *g) {
  mica_tape *t;
  mica_cosine_options o = MICA_COSINE_OPTIONS;
  o.kind = MICA_COSINE_ARCFACE;
  o.scale = golden_number(g, "scale", 45.25);
  o.margin = golden_number(g, "margin", 0.1);
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  mica_set_training(t, true);
  const mica_var map = mica_leaf(t, golden_channels_last(g, "in.feature_map", MICA_F32));
  const mica_var whiten = mica_leaf(t, golden_tensor(g, "param.whiten_weight", MICA_F32));
  const mica_var bias = mica_leaf(t, golden_tensor(g, "param.whiten_bias", MICA_F32));
  const mica_var columns = mica_leaf(t, golden_tensor(g, "param.class_weight", MICA_F32));
  const mica_var labels = mica_input(t, golden_tensor(g, "in.labels", MICA_I64));
  const mica_var p = mica_full(t, MICA_F32, MICA_SHAPE(1), golden_number(g, "gem_p", 3));
  mica_cosine_state state = mica_cosine_state_begin(&o, golden_dim(g, "param.class_weight", 1));
  const mica_var pooled = mica_gem_pool(t, map, p, golden_number(g, "gem_eps", 1e-6));
  const mica_var embedding = mica_linear(t, pooled, whiten, bias, MICA_IDENTITY);
  const mica_var logits =
      mica_cosine_logits(t, embedding, mica_transpose(t, columns, 0, 1), labels, &o, &state);
  const mica_var loss = mica_cross_entropy(t, logits, labels, MICA_NONE, NULL);
  golden_check_var(g, "out.gem", t, pooled);
  golden_check_var(g, "out.embedding", t, embedding);
  golden_check_var(g, "out.logits", t, logits);
  golden_check_var(g, "out.loss", t, loss);
  golden_need(g, mica_backward(t, loss));
  golden_check_channels_last(g, "grad.feature_map", mica_read(t, mica_gradient(t, map)));
  golden_check_var(g, "grad.whiten_weight", t, mica_gradient(t, whiten));
  golden_check_var(g, "grad.whiten_bias", t, mica_gradient(t, bias));
  golden_check_var(g, "grad.class_weight", t, mica_gradient(t, columns));
}

/* The measures named, of the rankings that `one` makes; it frees nothing, the case is a process. */
static mica_retrieval *measured(golden *g, const char *names, int64_t queries,
                                mica_ranking (*one)(golden *g, int64_t query, void *ctx),
                                void *ctx) {
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  mica_retrieval *r;
  o.measures = names;
  o.resamples = 1;
  golden_need(g, mica_retrieval_create(golden_engine(g), &o, &r));
  for (int64_t q = 0; q < queries; q++) {
    const mica_ranking ranking = one(g, q, ctx);
    golden_need(g, mica_retrieval_add(r, &ranking));
  }
  return r;
}

static const mica_estimate *result(golden *g, const mica_retrieval *r) {
  mica_estimate *e = calloc((size_t)mica_retrieval_measures(r), sizeof *e);
  if (!e) golden_fail(g, "out of memory");
  golden_need(g, mica_retrieval_result(r, e));
  return e;
}

/* ---- recognition: one answer of each query ---- */

typedef struct recognition {
  const int64_t *truth, *class;
  const double *score;
  const bool *has;
  int64_t each;
  bool ignore; /* queries that show no landmark */
} recognition;

static mica_ranking answer_of(golden *g, int64_t q, void *ctx) {
  const recognition *o = ctx;
  mica_ranking r = MICA_RANKING;
  double *grade = calloc(1, sizeof *grade);
  if (!grade) golden_fail(g, "out of memory");
  for (int64_t k = 0; k < o->each; k++) {
    const int64_t truth = o->truth[q * o->each + k];
    if (truth < 0) continue;
    r.relevant = 1;
    if (truth == o->class[q]) *grade = 1;
  }
  r.n = o->has[q] && (r.relevant || !o->ignore);
  r.grade = grade;
  r.score = o->score + q;
  return r;
}

static void check_recognition(golden *g) {
  const mica_view has = golden_view(g, "in.has_prediction", MICA_BOOL);
  recognition o = {golden_integers(g, "in.ground_truth", NULL),
                   golden_integers(g, "in.pred_class", NULL),
                   golden_doubles(g, "in.pred_score", NULL), has.data,
                   golden_dim(g, "in.ground_truth", 1), false};
  const int64_t n = golden_dim(g, "in.pred_class", 0);
  const mica_estimate *all = result(g, measured(g, "gap,cmc@1", n, answer_of, &o));
  o.ignore = true;
  const mica_estimate *known = result(g, measured(g, "gap", n, answer_of, &o));
  golden_check_doubles(g, "out.gap", &all[0].value, 1);
  golden_check_doubles(g, "out.top1", &all[1].value, 1);
  golden_check_doubles(g, "out.gap_ignore_non_gt", &known[0].value, 1);
}

/* ---- retrieval: ranked lists ---- */

typedef struct lists {
  const int64_t *ranked;
  const bool *relevant;
  int64_t length, images;
} lists;

/* An image that comes again is wrong: it takes its rank and counts once. */
static mica_ranking list_of(golden *g, int64_t q, void *ctx) {
  const lists *l = ctx;
  mica_ranking r = MICA_RANKING;
  double *grade = calloc((size_t)l->length, sizeof *grade);
  bool *seen = calloc((size_t)l->images, sizeof *seen);
  if (!grade || !seen) golden_fail(g, "out of memory");
  for (int64_t i = 0; i < l->images; i++) r.relevant += l->relevant[q * l->images + i];
  for (; r.n < l->length && l->ranked[q * l->length + r.n] >= 0; r.n++) {
    const int64_t image = l->ranked[q * l->length + r.n];
    grade[r.n] = l->relevant[q * l->images + image] && !seen[image];
    seen[image] = true;
  }
  r.grade = grade;
  return r;
}

static void check_lists(golden *g) {
  const mica_view relevant = golden_view(g, "in.relevant", MICA_BOOL);
  lists l = {golden_integers(g, "in.ranked", NULL), relevant.data, golden_dim(g, "in.ranked", 1),
             golden_dim(g, "in.relevant", 1)};
  const int64_t n = golden_dim(g, "in.ranked", 0);
  char names[2048];
  int at = snprintf(names, sizeof names, "map@100,map@10,first@100,median-first@100");
  for (int k = 1; k <= 100; k++)
    at += snprintf(names + at, sizeof names - (size_t)at, ",precision@%d", k);
  const mica_estimate *e = result(g, measured(g, names, n, list_of, &l));
  double precision[100];
  for (int k = 0; k < 100; k++) precision[k] = e[4 + k].value;
  const double position[2] = {e[2].value, e[3].value};
  golden_check_doubles(g, "out.map100", &e[0].value, 1);
  golden_check_doubles(g, "out.map10", &e[1].value, 1);
  golden_check_doubles(g, "out.mean_median_position", position, 2);
  golden_check_doubles(g, "out.mean_precision_at", precision, 100);
}

/* ---- the revisited protocols ---- */

typedef struct revisited {
  const double *similarity; /* [images, queries] */
  const int64_t *label;     /* [queries, images] */
  int64_t images, queries;
  mica_revisited_protocol protocol;
} revisited;

typedef struct ranked {
  double score;
  int64_t image;
} ranked;

static int by_score(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return x->image < y->image ? -1 : 1;
}

static mica_ranking revisited_of(golden *g, int64_t q, void *ctx) {
  const revisited *o = ctx;
  mica_ranking r = MICA_RANKING;
  ranked *order = calloc((size_t)o->images, sizeof *order);
  double *grade = calloc((size_t)o->images, sizeof *grade);
  if (!order || !grade) golden_fail(g, "out of memory");
  for (int64_t i = 0; i < o->images; i++)
    order[i] = (ranked){o->similarity[i * o->queries + q], i};
  qsort(order, (size_t)o->images, sizeof *order, by_score);
  for (int64_t i = 0; i < o->images; i++) {
    const int64_t label = o->label[q * o->images + order[i].image];
    grade[i] = mica_revisited_grade(o->protocol, (mica_revisited_kind)label);
    r.relevant += grade[i] > 0;
  }
  r.n = o->images;
  r.grade = grade;
  return r;
}

static void check_revisited(golden *g) {
  static const char *const names[] = {"easy", "medium", "hard"};
  revisited o = {golden_doubles(g, "in.similarity", NULL), golden_integers(g, "in.labels", NULL),
                 golden_dim(g, "in.similarity", 0), golden_dim(g, "in.similarity", 1), 0};
  for (int k = 0; k < 3; k++) {
    o.protocol = (mica_revisited_protocol)k;
    const mica_retrieval *r =
        measured(g, "map-trapezoid,mp@1,mp@5,mp@10", o.queries, revisited_of, &o);
    const mica_estimate *e = result(g, r);
    double *own = calloc((size_t)o.queries, sizeof *own), at[3];
    char name[32];
    if (!own) golden_fail(g, "out of memory");
    for (int64_t q = 0; q < o.queries; q++) own[q] = mica_retrieval_value(r, 0, q);
    for (int i = 0; i < 3; i++) at[i] = e[1 + i].value;
    snprintf(name, sizeof name, "out.map_%s", names[k]);
    golden_check_doubles(g, name, &e[0].value, 1);
    snprintf(name, sizeof name, "out.ap_%s", names[k]);
    golden_check_doubles(g, name, own, o.queries);
    snprintf(name, sizeof name, "out.mp_%s", names[k]);
    golden_check_doubles(g, name, at, 3);
  }
}

static void run(golden *g) {
  if (golden_has(g, "in.feature_map"))
    check_arcface(g);
  else if (golden_has(g, "in.pred_class"))
    check_recognition(g);
  else if (golden_has(g, "in.ranked"))
    check_lists(g);
  else
    check_revisited(g);
}

const golden_adapter golden_adapter_landmarks_retrieval = {"landmarks-retrieval", 1e-5, run};
