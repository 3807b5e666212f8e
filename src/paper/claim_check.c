/* The judgement of a check: differences paired by seed, with Student's interval.
 *
 * Both sides of a check ran with the same seeds, and what a seed draws (data, initial values) it
 * draws for both, so the difference is taken inside each seed and what the seeds have in common
 * drops out. Ratios are judged on logarithms.
 */
#include "paper/claim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

mica_claim_summary mica_claim_summarise(const double *values, int64_t n, double level) {
  mica_claim_summary s = {0, 0, NAN, {NAN, NAN}};
  double squares = 0;
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(values[i])) continue;
    const double before = values[i] - s.mean;
    s.mean += before / (double)++s.n;
    squares += before * (values[i] - s.mean);
  }
  if (!s.n) s.mean = NAN;
  if (s.n < 2) return s;
  s.deviation = sqrt(squares / (double)(s.n - 1));
  const double half =
      mica_student_quantile(0.5 + level / 2, (double)(s.n - 1)) * s.deviation / sqrt((double)s.n);
  s.interval = (mica_interval){s.mean - half, s.mean + half};
  return s;
}

/* The range of a side, and whether point p of the sweep lies in it. */
static bool inside(const mica_claim_table *t, const mica_claim_side *side, int p) {
  if (!t->x->sweep || (side->from == 0 && side->to == 0)) return true;
  return t->point[p] >= side->from && t->point[p] <= side->to;
}

static int points_of(const mica_claim_table *t, const mica_claim_side *side, int *point) {
  int n = 0;
  for (int p = 0; p < t->points; p++)
    if (inside(t, side, p)) point[n++] = p;
  return n;
}

/* The arms that a name, or a beginning with '*', stands for. */
static int arms_of(const mica_claim_table *t, const char *name, int *arm) {
  const size_t n = strlen(name);
  const bool any = n && name[n - 1] == '*';
  int count = 0;
  for (int a = 0; a < t->arms; a++)
    if (any ? strncmp(t->x->arms[a].name, name, n - 1) == 0 : strcmp(t->x->arms[a].name, name) == 0)
      arm[count++] = a;
  return count;
}

/* The mean over points (of the logarithms for a ratio) of an arm with one seed. */
static double side_value(const mica_claim_table *t, int arm, const int *point, int n, int64_t seed,
                         int measure, bool logs) {
  double sum = 0;
  for (int i = 0; i < n; i++) {
    const double v = t->value[mica_claim_at(t, arm, point[i], seed) * t->measures + measure];
    sum += logs ? log(v) : v;
  }
  return sum / (double)n;
}

static double side_mean(const mica_claim_table *t, int arm, const int *point, int n, int measure,
                        bool logs) {
  double sum = 0;
  for (int64_t s = 0; s < t->seeds; s++) sum += side_value(t, arm, point, n, s, measure, logs);
  sum /= (double)t->seeds;
  return logs ? exp(sum) : sum;
}

/* The best of the arms by its mean; an arm without values is never the best. */
static int best_arm(const mica_claim_table *t, const int *arm, int arms, const int *point, int n,
                    int measure, bool logs) {
  const double sign = t->x->measures[measure].lower_is_better ? -1 : 1;
  int best = arm[0];
  double most = -INFINITY;
  for (int i = 0; i < arms; i++) {
    const double m = sign * side_mean(t, arm[i], point, n, measure, logs);
    if (m > most) most = m, best = arm[i];
  }
  return best;
}

static mica_claim_cost cost_of(const mica_claim_table *t, int arm, const int *point, int n,
                               int64_t seed) {
  mica_claim_cost sum = {0, 0, 0, 0};
  for (int i = 0; i < n; i++) {
    const mica_claim_cost *c = &t->cost[mica_claim_at(t, arm, point[i], seed)];
    sum.steps += c->steps;
    sum.examples += c->examples;
    sum.rows += c->rows;
    sum.other += c->other;
  }
  return sum;
}

static mica_status equal_budgets(const mica_claim_table *t, const mica_claim_check *c, int method,
                                 const int *mp, int mn, int baseline, const int *bp, int bn) {
  for (int64_t s = 0; s < t->seeds; s++) {
    const mica_claim_cost a = cost_of(t, method, mp, mn, s), b = cost_of(t, baseline, bp, bn, s);
    if (a.steps == b.steps && a.examples == b.examples && a.rows == b.rows && a.other == b.other)
      continue;
    return mica_fail(
        MICA_ERR_STATE,
        "%s: \"%s\": %s and %s did not spend the same with seed %lld: %lld and %lld steps, %lld "
        "and %lld examples, %lld and %lld fitted rows, %lld and %lld of other work",
        t->x->name, c->what, t->x->arms[method].name, t->x->arms[baseline].name, (long long)s,
        (long long)a.steps, (long long)b.steps, (long long)a.examples, (long long)b.examples,
        (long long)a.rows, (long long)b.rows, (long long)a.other, (long long)b.other);
  }
  return MICA_OK;
}

/* What is judged at once: two sides and their points. */
typedef struct pairing {
  const int *method_arm, *baseline_arm;
  int method_arms, baseline_arms;
  const int *method_point, *baseline_point;
  int method_points, baseline_points;
  int measure;
} pairing;

/* By how much the whole interval is on the right side of the threshold. */
static double slack(const mica_claim_judgement *j) {
  const mica_claim_check *c = j->check;
  if (c->kind == MICA_CHECK_RATIO) return log(j->interval.lo) - log(c->threshold);
  return j->at_most ? c->threshold - j->interval.hi : j->interval.lo - c->threshold;
}

static mica_status judge_once(const mica_claim_table *t, const pairing *p,
                              mica_claim_judgement *out) {
  const mica_claim_check *c = out->check;
  const bool logs = c->kind == MICA_CHECK_RATIO, lower = t->x->measures[p->measure].lower_is_better;
  const bool alone = c->kind == MICA_CHECK_VALUE;
  const int m = best_arm(t, p->method_arm, p->method_arms, p->method_point, p->method_points,
                         p->measure, logs);
  const int b = alone ? -1
                      : best_arm(t, p->baseline_arm, p->baseline_arms, p->baseline_point,
                                 p->baseline_points, p->measure, logs);
  const double sign = lower && !alone ? -1 : 1;
  double d[MICA_CLAIM_SEEDS];
  for (int64_t s = 0; s < t->seeds; s++) {
    d[s] = side_value(t, m, p->method_point, p->method_points, s, p->measure, logs);
    if (b >= 0)
      d[s] -= side_value(t, b, p->baseline_point, p->baseline_points, s, p->measure, logs);
    d[s] *= sign;
  }
  const int choices = p->method_arms * (alone ? 1 : p->baseline_arms);
  const mica_claim_summary sum =
      mica_claim_summarise(d, t->seeds, 1 - (1 - MICA_CLAIM_LEVEL) / (double)choices);
  out->method = t->x->arms[m].name;
  out->method_mean = side_mean(t, m, p->method_point, p->method_points, p->measure, logs);
  if (b >= 0) {
    out->baseline = t->x->arms[b].name;
    out->baseline_mean = side_mean(t, b, p->baseline_point, p->baseline_points, p->measure, logs);
  }
  out->seeds = sum.n;
  out->margin = logs ? exp(sum.mean) : sum.mean;
  out->interval = sum.interval;
  if (logs) out->interval = (mica_interval){exp(sum.interval.lo), exp(sum.interval.hi)};
  out->judged = true;
  out->holds = sum.n == t->seeds && slack(out) >= 0;
  if (sum.n < t->seeds)
    snprintf(out->why, sizeof out->why, "%lld of %lld seeds have a value", (long long)sum.n,
             (long long)t->seeds);
  else if (sum.n < 2)
    snprintf(out->why, sizeof out->why, "one seed has no interval");
  if (b < 0 || c->unequal) return MICA_OK;
  mica_status status = MICA_OK;
  for (int i = 0; i < p->method_arms && status == MICA_OK; i++)
    for (int k = 0; k < p->baseline_arms && status == MICA_OK; k++)
      status = equal_budgets(t, c, p->method_arm[i], p->method_point, p->method_points,
                             p->baseline_arm[k], p->baseline_point, p->baseline_points);
  return status;
}

mica_status mica_claim_judge(const mica_claim_table *t, const mica_claim_check *c,
                             mica_claim_judgement *out) {
  int ma[MICA_CLAIM_ARMS], ba[MICA_CLAIM_ARMS], mp[MICA_LIST_MAX], bp[MICA_LIST_MAX];
  const bool alone = c->kind == MICA_CHECK_VALUE;
  *out = (mica_claim_judgement){.check = c,
                                .method_mean = NAN,
                                .baseline_mean = NAN,
                                .margin = NAN,
                                .interval = {NAN, NAN},
                                .point = NAN,
                                .method = c->method.arm,
                                .baseline = alone ? NULL : c->baseline.arm};
  pairing p = {ma, ba, 0, 0, mp, bp, 0, 0, mica_claim_measure_index(t, c->measure)};
  p.method_arms = arms_of(t, c->method.arm, ma);
  p.method_points = points_of(t, &c->method, mp);
  if (!alone) {
    p.baseline_arms = arms_of(t, c->baseline.arm, ba);
    p.baseline_points = points_of(t, &c->baseline, bp);
  }
  if (p.measure < 0 || !p.method_arms || (!alone && !p.baseline_arms))
    return mica_fail(MICA_ERR_INVALID, "%s: \"%s\": there is no measure %s of %s%s%s", t->x->name,
                     c->what, c->measure, c->method.arm, alone ? "" : " and ",
                     alone ? "" : c->baseline.arm);
  out->at_most =
      c->kind == MICA_CHECK_CONTROL || (alone && t->x->measures[p.measure].lower_is_better);
  if (!p.method_points || (!alone && !p.baseline_points)) {
    snprintf(out->why, sizeof out->why, "this setting has none of its points");
    return MICA_OK;
  }
  if (!c->each) return judge_once(t, &p, out);
  if (!alone && p.method_points != p.baseline_points)
    return mica_fail(MICA_ERR_INVALID, "%s: \"%s\": sides of %d and %d points", t->x->name, c->what,
                     p.method_points, p.baseline_points);
  /* The weakest point stands for all. */
  mica_status status = MICA_OK;
  mica_claim_judgement weakest = *out;
  bool holds = true;
  const int n = p.method_points;
  p.method_points = p.baseline_points = 1;
  for (int i = 0; i < n && status == MICA_OK; i++) {
    mica_claim_judgement one = *out;
    p.method_point = mp + i;
    p.baseline_point = bp + i;
    status = judge_once(t, &p, &one);
    one.point = t->point[mp[i]];
    holds = holds && one.holds;
    const double a = slack(&one), b = slack(&weakest);
    if (!i || !(a >= b) || one.seeds < weakest.seeds) weakest = one;
  }
  *out = weakest;
  out->holds = holds;
  return status;
}
