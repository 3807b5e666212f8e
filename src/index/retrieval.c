/* Measures over queries: each ranking is reduced to its values when it comes, so memory grows with
 * queries and measures, not with the length of lists. The pooled measure keeps its answers. */
#include <mica/retrieval.h>

#include "base/nearest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the measures by name ---- */

typedef enum measure_kind {
  AVERAGE_PRECISION,
  AVERAGE_PRECISION_AT_R,
  TRAPEZOID,
  LAST_PRECISION,
  HIT,
  RECALL,
  PRECISION,
  PRECISION_AT_R,
  RECIPROCAL_RANK,
  FIRST,
  MEDIAN_FIRST,
  NDCG,
  NDCG_EXPONENTIAL,
  POOLED
} measure_kind;

enum { NO_K, MAYBE_K, NEEDS_K };

static const struct {
  const char *name;
  measure_kind kind;
  int k;
} known[] = {{"map", AVERAGE_PRECISION, MAYBE_K},
             {"map@r", AVERAGE_PRECISION_AT_R, NO_K},
             {"map-trapezoid", TRAPEZOID, NO_K},
             {"mp", LAST_PRECISION, NEEDS_K},
             {"cmc", HIT, NEEDS_K},
             {"hr", HIT, NEEDS_K},
             {"recall", RECALL, NEEDS_K},
             {"precision", PRECISION, NEEDS_K},
             {"precision@r", PRECISION_AT_R, NO_K},
             {"mrr", RECIPROCAL_RANK, MAYBE_K},
             {"first", FIRST, NEEDS_K},
             {"median-first", MEDIAN_FIRST, NEEDS_K},
             {"ndcg", NDCG, MAYBE_K},
             {"ndcg-exp", NDCG_EXPONENTIAL, MAYBE_K},
             {"gap", POOLED, MAYBE_K}};
enum { KNOWN = sizeof known / sizeof *known };

typedef struct measure {
  char name[32];
  measure_kind kind;
  int64_t k;
} measure;

/* An answer in the pool. */
typedef struct answer {
  double score;
  int64_t query, rank;
  bool right;
} answer;

struct mica_retrieval {
  const mica_engine *engine;
  mica_retrieval_options o;
  measure *measure;
  int32_t m;
  int64_t n, room, unanswerable;
  double *value;     /* [room, m] */
  int64_t *relevant; /* [room] */
  int64_t pool_k;    /* answers of each query that the largest gap@k needs */
  answer *pool;
  int64_t pooled, pool_room;
};

static mica_status parse_measure(const char *text, size_t n, measure *out) {
  const char *names[KNOWN];
  char name[32];
  if (n >= sizeof out->name)
    return mica_fail(MICA_ERR_INVALID, "measure '%.40s': no such measure", text);
  snprintf(out->name, sizeof out->name, "%.*s", (int)n, text);
  snprintf(name, sizeof name, "%s", out->name);
  for (int i = 0; i < KNOWN; i++) names[i] = known[i].name;
  int at = 0;
  while (at < KNOWN && strcmp(names[at], name) != 0) at++;
  char *mark = strchr(name, '@');
  out->k = 0;
  if (at == KNOWN && mark) {
    char *end;
    const long long k = strtoll(mark + 1, &end, 10);
    *mark = 0;
    if (mark[1] < '1' || mark[1] > '9' || *end || k < 1 || k > 1000000000)
      return mica_fail(MICA_ERR_INVALID, "measure '%s': expected a number of 1 or more after @",
                       out->name);
    out->k = k;
    for (at = 0; at < KNOWN && strcmp(names[at], name) != 0; at++) {
    }
  }
  if (at == KNOWN) {
    const char *near = mica_nearest_name(name, names, KNOWN);
    return mica_fail(MICA_ERR_INVALID, "measure '%s': no such measure%s%s%s", out->name,
                     near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
  }
  if (known[at].k == NEEDS_K && !out->k)
    return mica_fail(MICA_ERR_INVALID, "measure '%s': expected %s@K, such as %s@10", out->name,
                     name, name);
  if (known[at].k == NO_K && out->k)
    return mica_fail(MICA_ERR_INVALID, "measure '%s': %s takes no number", out->name, name);
  out->kind = known[at].kind;
  if (out->kind == POOLED && !out->k) out->k = 1;
  return MICA_OK;
}

static mica_status parse_measures(mica_retrieval *r, const char *text) {
  int32_t most = 1;
  for (const char *at = text; *at; at++) most += *at == ',';
  r->measure = mica_calloc((size_t)most, sizeof *r->measure);
  if (!r->measure) return MICA_ERR_MEMORY;
  for (const char *at = text;; at++) {
    const size_t n = strcspn(at, ",");
    measure *to = &r->measure[r->m];
    mica_status status = parse_measure(at, n, to);
    if (status) return status;
    for (int32_t i = 0; i < r->m; i++)
      if (strcmp(r->measure[i].name, to->name) == 0)
        return mica_fail(MICA_ERR_INVALID, "measure '%s' is there twice", to->name);
    if (to->kind == POOLED && to->k > r->pool_k) r->pool_k = to->k;
    r->m++;
    at += n;
    if (!*at) return MICA_OK;
  }
}

mica_status mica_retrieval_create(const mica_engine *engine, const mica_retrieval_options *options,
                                  mica_retrieval **out) {
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  *out = NULL;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  if (!(o.level > 0 && o.level < 1) || o.resamples < 1)
    return mica_fail(MICA_ERR_INVALID,
                     "retrieval measures: level %g and %d resamples, expected a level between 0 "
                     "and 1 and at least one resample",
                     o.level, o.resamples);
  mica_retrieval *r = mica_calloc(1, sizeof *r);
  if (!r) return MICA_ERR_MEMORY;
  r->engine = engine;
  r->o = o;
  mica_status status = parse_measures(r, o.measures ? o.measures : MICA_RETRIEVAL_MEASURES);
  r->o.measures = NULL; /* the caller's */
  if (status) {
    mica_retrieval_free(r);
    return status;
  }
  *out = r;
  return MICA_OK;
}

void mica_retrieval_free(mica_retrieval *retrieval) {
  if (!retrieval) return;
  mica_free(retrieval->measure);
  mica_free(retrieval->value);
  mica_free(retrieval->relevant);
  mica_free(retrieval->pool);
  mica_free(retrieval);
}

/* ---- a query ---- */

static mica_status check(const mica_retrieval *r, const mica_ranking *g) {
  int64_t right = 0;
  if (g->n < 0 || g->relevant < 0 || (g->n && !g->grade))
    return mica_fail(MICA_ERR_INVALID, "ranking of query %lld: %lld answers, %lld right ones",
                     (long long)r->n, (long long)g->n, (long long)g->relevant);
  for (int64_t i = 0; i < g->n; i++) {
    if (!(g->grade[i] >= 0 && g->grade[i] <= 1e6) && g->grade[i] != MICA_GRADE_JUNK)
      return mica_fail(MICA_ERR_INVALID, "ranking of query %lld: grade %g of answer %lld",
                       (long long)r->n, g->grade[i], (long long)i);
    if (g->score && (isnan(g->score[i]) || (i && g->score[i] > g->score[i - 1])))
      return mica_fail(MICA_ERR_INVALID,
                       "ranking of query %lld: the score of answer %lld ascends or is NaN",
                       (long long)r->n, (long long)i);
    right += g->grade[i] > 0;
  }
  for (int64_t i = 0; g->ideal && i < g->relevant; i++)
    if (!(g->ideal[i] > 0 && g->ideal[i] <= 1e6) || (i && g->ideal[i] > g->ideal[i - 1]))
      return mica_fail(MICA_ERR_INVALID, "ranking of query %lld: best grades that do not descend",
                       (long long)r->n);
  if (right > g->relevant)
    return mica_fail(MICA_ERR_INVALID,
                     "ranking of query %lld: %lld right answers in the list, %lld in all",
                     (long long)r->n, (long long)right, (long long)g->relevant);
  if (!g->score && (r->pool_k || r->o.ties == MICA_TIES_AGAINST))
    return mica_fail(MICA_ERR_INVALID, "ranking of query %lld: %s needs scores", (long long)r->n,
                     r->pool_k ? "gap" : "putting ties against");
  return MICA_OK;
}

/* The grades with wrong answers before right ones of the same score, the better right ones last. */
static int by_grade(const void *pa, const void *pb) {
  const double a = *(const double *)pa, b = *(const double *)pb;
  return a < b ? -1 : a > b;
}

static void put_ties_against(const mica_ranking *g, double *grade) {
  memcpy(grade, g->grade, (size_t)g->n * sizeof *grade);
  for (int64_t from = 0, to; from < g->n; from = to) {
    for (to = from + 1; to < g->n && g->score[to] == g->score[from];) to++;
    if (to - from > 1) qsort(grade + from, (size_t)(to - from), sizeof *grade, by_grade);
  }
}

static double value_of(const measure *m, const mica_ranking *g) {
  switch (m->kind) {
  case AVERAGE_PRECISION: return mica_ranking_average_precision(g, m->k);
  case AVERAGE_PRECISION_AT_R:
    return g->relevant ? mica_ranking_average_precision(g, g->relevant) : NAN;
  case TRAPEZOID: return mica_ranking_trapezoid_precision(g);
  case LAST_PRECISION: return mica_ranking_last_precision(g, m->k);
  case HIT: return mica_ranking_hit(g, m->k);
  case RECALL: return mica_ranking_recall(g, m->k);
  case PRECISION: return mica_ranking_precision(g, m->k);
  case PRECISION_AT_R: return mica_ranking_precision(g, g->relevant);
  case RECIPROCAL_RANK: return mica_ranking_reciprocal_rank(g, m->k);
  case FIRST:
  case MEDIAN_FIRST: return mica_ranking_first(g, m->k);
  case NDCG: return mica_ranking_ndcg(g, m->k, false);
  case NDCG_EXPONENTIAL: return mica_ranking_ndcg(g, m->k, true);
  case POOLED: return NAN;
  }
  return NAN;
}

/* Room for one more query with `answers` in the pool. */
static mica_status make_room(mica_retrieval *r, int64_t answers) {
  if (r->n == r->room) {
    const int64_t room = r->room ? 2 * r->room : 64;
    double *value = mica_realloc_array(r->value, (size_t)room * (size_t)r->m, sizeof *value);
    if (!value) return MICA_ERR_MEMORY;
    r->value = value;
    int64_t *relevant = mica_realloc_array(r->relevant, (size_t)room, sizeof *relevant);
    if (!relevant) return MICA_ERR_MEMORY;
    r->relevant = relevant;
    r->room = room;
  }
  if (r->pool_room - r->pooled < answers) {
    int64_t room = r->pool_room ? 2 * r->pool_room : 64;
    if (room < r->pooled + answers) room = r->pooled + answers;
    answer *pool = mica_realloc_array(r->pool, (size_t)room, sizeof *pool);
    if (!pool) return MICA_ERR_MEMORY;
    r->pool = pool;
    r->pool_room = room;
  }
  return MICA_OK;
}

mica_status mica_retrieval_add(mica_retrieval *retrieval, const mica_ranking *ranking) {
  mica_retrieval *r = retrieval;
  mica_ranking g = MICA_RANKING;
  memcpy(&g, ranking, ranking->size < sizeof g ? ranking->size : sizeof g);
  mica_status status = check(r, &g);
  double *grade = NULL;
  const int64_t answers = r->pool_k < g.n ? r->pool_k : g.n;
  if (!status) status = make_room(r, answers);
  if (!status && r->o.ties == MICA_TIES_AGAINST) {
    grade = mica_realloc_array(NULL, (size_t)g.n, sizeof *grade);
    if (grade) {
      put_ties_against(&g, grade);
      g.grade = grade;
    } else {
      status = MICA_ERR_MEMORY;
    }
  }
  if (!status) {
    for (int32_t i = 0; i < r->m; i++) {
      const double v = value_of(&r->measure[i], &g);
      const measure_kind kind = r->measure[i].kind;
      const bool counts = isnan(v) && r->o.count_unanswerable && kind != POOLED;
      const bool ranks = kind == FIRST || kind == MEDIAN_FIRST;
      r->value[r->n * r->m + i] = !counts ? v : ranks ? (double)r->measure[i].k + 1 : 0;
    }
    for (int64_t i = 0, rank = 0; i < g.n && rank < answers; i++)
      if (g.grade[i] >= 0)
        r->pool[r->pooled++] = (answer){g.score[i], r->n, ++rank, g.grade[i] > 0};
    r->unanswerable += g.relevant == 0;
    r->relevant[r->n++] = g.relevant;
  }
  mica_free(grade);
  return status;
}

int32_t mica_retrieval_measures(const mica_retrieval *retrieval) {
  return retrieval->m;
}
const char *mica_retrieval_measure(const mica_retrieval *retrieval, int32_t i) {
  return i >= 0 && i < retrieval->m ? retrieval->measure[i].name : NULL;
}
int64_t mica_retrieval_queries(const mica_retrieval *retrieval) {
  return retrieval->n;
}
int64_t mica_retrieval_unanswerable(const mica_retrieval *retrieval) {
  return retrieval->unanswerable;
}
double mica_retrieval_value(const mica_retrieval *retrieval, int32_t i, int64_t q) {
  if (i < 0 || i >= retrieval->m || q < 0 || q >= retrieval->n) return NAN;
  return retrieval->value[q * retrieval->m + i];
}

/* ---- all of them ---- */

static int by_score(const void *pa, const void *pb) {
  const answer *a = pa, *b = pb;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  if (a->query != b->query) return a->query < b->query ? -1 : 1;
  return a->rank < b->rank ? -1 : 1;
}

static int by_score_against(const void *pa, const void *pb) {
  const answer *a = pa, *b = pb;
  if (a->score == b->score && a->right != b->right) return a->right ? 1 : -1;
  return by_score(pa, pb);
}

/* The pooled measure of queries that occur count[q] times (NULL: once). */
static double pooled(const mica_retrieval *r, const answer *sorted, int64_t k,
                     const int32_t *count) {
  double sum = 0, right = 0, all = 0, most = 0;
  for (int64_t q = 0; q < r->n; q++)
    most += (count ? count[q] : 1) * (double)(r->relevant[q] < k ? r->relevant[q] : k);
  for (int64_t i = 0; i < r->pooled; i++) {
    if (sorted[i].rank > k) continue;
    const int32_t times = count ? count[sorted[i].query] : 1;
    for (int32_t t = 0; t < times; t++) {
      all++;
      right += sorted[i].right;
      if (sorted[i].right) sum += right / all;
    }
  }
  return most > 0 ? sum / most : NAN;
}

/* The median of whole ranks 1 to k + 1 of queries that occur count[q] times (NULL: once): counted,
 * not sorted, for each resample asks again. */
static double median_rank(const mica_retrieval *r, int32_t i, const int32_t *count) {
  double n = 0;
  for (int64_t q = 0; q < r->n; q++)
    if (!isnan(r->value[q * r->m + i])) n += count ? count[q] : 1;
  double lo = NAN, hi = NAN;
  /* The ranks that half of the queries are below, and at most at, by bisection over whole ranks. */
  for (int upper = 0; upper < 2; upper++) {
    int64_t least = 1, most = r->measure[i].k + 1;
    const double want = upper ? floor(n / 2) + 1 : ceil(n / 2);
    while (least < most) {
      const int64_t middle = least + (most - least) / 2;
      double at_most = 0;
      for (int64_t q = 0; q < r->n; q++)
        if (r->value[q * r->m + i] <= (double)middle) at_most += count ? count[q] : 1;
      if (at_most >= want)
        most = middle;
      else
        least = middle + 1;
    }
    *(upper ? &hi : &lo) = (double)least;
  }
  return n > 0 ? (lo + hi) / 2 : NAN;
}

typedef struct {
  const mica_retrieval *r;
  const answer *sorted;
} resampled;

static void means(void *ctx, const int32_t *count, double *out) {
  const resampled *s = ctx;
  const mica_retrieval *r = s->r;
  for (int32_t i = 0; i < r->m; i++) {
    double sum = 0, n = 0;
    if (r->measure[i].kind == POOLED) {
      out[i] = pooled(r, s->sorted, r->measure[i].k, count);
      continue;
    }
    if (r->measure[i].kind == MEDIAN_FIRST) {
      out[i] = median_rank(r, i, count);
      continue;
    }
    for (int64_t q = 0; q < r->n; q++) {
      const double v = r->value[q * r->m + i], times = count ? count[q] : 1;
      if (isnan(v)) continue;
      sum += times * v;
      n += times;
    }
    out[i] = n > 0 ? sum / n : NAN;
  }
}

/* Hits, and values that are all the same, of which a bootstrap knows only that they are. */
static bool wants_wilson(const mica_retrieval *r, int32_t i, double *n) {
  double first = NAN;
  bool same = true;
  *n = 0;
  if (r->measure[i].kind == POOLED || r->measure[i].kind == FIRST ||
      r->measure[i].kind == MEDIAN_FIRST)
    return false;
  for (int64_t q = 0; q < r->n; q++) {
    const double v = r->value[q * r->m + i];
    if (isnan(v)) continue;
    if (isnan(first)) first = v;
    same = same && v == first;
    ++*n;
  }
  return same || r->measure[i].kind == HIT;
}

mica_status mica_retrieval_result(const mica_retrieval *retrieval, mica_estimate *out) {
  const mica_retrieval *r = retrieval;
  if (r->n == 0 || (r->n == r->unanswerable && !r->o.count_unanswerable))
    return mica_fail(MICA_ERR_INVALID,
                     "retrieval measures: none of %lld queries has a right answer",
                     (long long)r->n);
  answer *sorted = mica_realloc_array(NULL, (size_t)r->pooled, sizeof *sorted);
  double *mean = mica_realloc_array(NULL, (size_t)r->m, sizeof *mean);
  mica_interval *interval = mica_realloc_array(NULL, (size_t)r->m, sizeof *interval);
  mica_status status = sorted && mean && interval ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    if (r->pooled) {
      memcpy(sorted, r->pool, (size_t)r->pooled * sizeof *sorted);
      qsort(sorted, (size_t)r->pooled, sizeof *sorted,
            r->o.ties == MICA_TIES_AGAINST ? by_score_against : by_score);
    }
    resampled s = {r, sorted};
    means(&s, NULL, mean);
    status =
        mica_bootstrap_many(r->engine, mica_key_fold_name(mica_key_seed(r->o.seed), "queries"),
                            r->n, NULL, 0, r->o.resamples, r->o.level, r->m, means, &s, interval);
  }
  for (int32_t i = 0; i < r->m && !status; i++) {
    double n;
    out[i].value = mean[i];
    out[i].interval =
        wants_wilson(r, i, &n) ? mica_wilson(mean[i] * n, n, r->o.level) : interval[i];
  }
  mica_free(sorted);
  mica_free(mean);
  mica_free(interval);
  return status;
}
