/* Measures of one ranking: single walks down the list, junk passed over. */
#include <mica/retrieval.h>

#include <math.h>

/* The answers from the best on, junk left out: true while there is one, its rank (from 1) and how
 * many right ones there were with it. */
typedef struct {
  const mica_ranking *ranking;
  int64_t at, rank, right;
  double grade;
} walk;

static bool next(walk *w) {
  const mica_ranking *r = w->ranking;
  while (w->at < r->n && r->grade[w->at] < 0) w->at++;
  if (w->at >= r->n) return false;
  w->grade = r->grade[w->at++];
  w->rank++;
  w->right += w->grade > 0;
  return true;
}

double mica_ranking_average_precision(const mica_ranking *ranking, int64_t k) {
  walk w = {.ranking = ranking};
  const int64_t r = ranking->relevant, most = k > 0 && k < r ? k : r;
  double sum = 0;
  if (r < 1) return NAN;
  while ((k < 1 || w.rank < k) && next(&w))
    if (w.grade > 0) sum += (double)w.right / (double)w.rank;
  return sum / (double)most;
}

double mica_ranking_trapezoid_precision(const mica_ranking *ranking) {
  walk w = {.ranking = ranking};
  double sum = 0;
  if (ranking->relevant < 1) return NAN;
  while (next(&w)) {
    if (!(w.grade > 0)) continue;
    const double before = w.rank == 1 ? 1 : (double)(w.right - 1) / (double)(w.rank - 1);
    sum += (before + (double)w.right / (double)w.rank) / 2;
  }
  return sum / (double)ranking->relevant;
}

/* Right answers among the first k. */
static int64_t right_of(const mica_ranking *ranking, int64_t k) {
  walk w = {.ranking = ranking};
  while (w.rank < k && next(&w)) {
  }
  return w.right;
}

double mica_ranking_precision(const mica_ranking *ranking, int64_t k) {
  if (ranking->relevant < 1 || k < 1) return NAN;
  return (double)right_of(ranking, k) / (double)k;
}

double mica_ranking_recall(const mica_ranking *ranking, int64_t k) {
  if (ranking->relevant < 1) return NAN;
  return (double)right_of(ranking, k) / (double)ranking->relevant;
}

double mica_ranking_hit(const mica_ranking *ranking, int64_t k) {
  if (ranking->relevant < 1) return NAN;
  return right_of(ranking, k) > 0;
}

double mica_ranking_last_precision(const mica_ranking *ranking, int64_t k) {
  walk w = {.ranking = ranking};
  int64_t last = 0;
  if (ranking->relevant < 1) return NAN;
  while (next(&w))
    if (w.grade > 0) last = w.rank;
  if (last > k) last = k;
  return last < 1 ? 0 : (double)right_of(ranking, last) / (double)last;
}

double mica_ranking_reciprocal_rank(const mica_ranking *ranking, int64_t k) {
  walk w = {.ranking = ranking};
  if (ranking->relevant < 1) return NAN;
  while ((k < 1 || w.rank < k) && next(&w))
    if (w.grade > 0) return 1 / (double)w.rank;
  return 0;
}

double mica_ranking_first(const mica_ranking *ranking, int64_t k) {
  walk w = {.ranking = ranking};
  if (ranking->relevant < 1 || k < 1) return NAN;
  while (w.rank < k && next(&w))
    if (w.grade > 0) return (double)w.rank;
  return (double)k + 1;
}

static double gain(double grade, bool exponential) {
  return exponential ? exp2(grade) - 1 : grade;
}

double mica_ranking_ndcg(const mica_ranking *ranking, int64_t k, bool exponential) {
  walk w = {.ranking = ranking};
  double sum = 0, best = 0;
  if (ranking->relevant < 1) return NAN;
  while ((k < 1 || w.rank < k) && next(&w))
    if (w.grade > 0) sum += gain(w.grade, exponential) / log2((double)w.rank + 1);
  for (int64_t i = 0; i < ranking->relevant && (k < 1 || i < k); i++)
    best += gain(ranking->ideal ? ranking->ideal[i] : 1, exponential) / log2((double)i + 2);
  return sum / best;
}

double mica_revisited_grade(mica_revisited_protocol protocol, mica_revisited_kind kind) {
  static const double grade[3][4] = {{0, 1, MICA_GRADE_JUNK, MICA_GRADE_JUNK},
                                     {0, 1, 1, MICA_GRADE_JUNK},
                                     {0, MICA_GRADE_JUNK, 1, MICA_GRADE_JUNK}};
  if ((unsigned)protocol > 2 || (unsigned)kind > 3) return NAN;
  return grade[protocol][kind];
}
