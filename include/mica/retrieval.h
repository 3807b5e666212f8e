/* mica/retrieval.h: how good ranked answers are: measures of retrieval and of recommendation.
 *
 * A ranking is one query's list of answers, best first, each with a grade: 0 is wrong, above 0 is
 * right, junk is neither and is taken off the list before ranks are counted. Measures of all
 * queries come with intervals over the queries.
 *
 * Equal scores: the order of the list counts as it is given, which for mica_index_query is the
 * lower id first. That is stable, and blind to what is right, unless ids follow the classes and
 * many scores are equal. MICA_TIES_AGAINST puts wrong answers before right ones of the same score:
 * what a measure is worth then is no accident of numbering.
 */
#ifndef MICA_RETRIEVAL_H
#define MICA_RETRIEVAL_H

#include <mica/collection.h>
#include <mica/index.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- one query ---- */

#define MICA_GRADE_JUNK (-1.0)

typedef struct mica_ranking {
  uint32_t size;
  int64_t n;           /* answers */
  const double *grade; /* [n] in their order */
  const double *score; /* [n] not ascending; NULL: none, which `gap` and ties need */
  int64_t relevant;    /* right answers that there are, also beyond the list */
  const double *ideal; /* [relevant] their grades, descending, for nDCG; NULL: all 1 */
} mica_ranking;
#define MICA_RANKING                                                                               \
  { sizeof(mica_ranking), 0, NULL, NULL, 0, NULL }

/* In all of these R is `relevant`, rel(i) is 1 where answer i (from 1, junk taken off) is right,
 * and P(i) is the share of right ones among the first i. They are NaN when R is 0. */

/* Average precision (Buckley and Voorhees 2000): sum P(i) rel(i) / R. With k > 0 of the first k:
 * sum over i <= k / min(R, k), as Google Landmarks counts mAP@100 (Weyand et al. 2020). */
MICA_API double mica_ranking_average_precision(const mica_ranking *ranking, int64_t k);
/* Average precision by the trapezoid rule, as the Oxford and Paris sets count it (Philbin et al.
 * 2007; revisited by Radenovic et al. 2018): each right answer adds the mean of the precision
 * before it and with it, over R. */
MICA_API double mica_ranking_trapezoid_precision(const mica_ranking *ranking);
/* Right answers among the first k, over k (a shorter list counts as filled with wrong ones); over
 * R; and whether there is any: the cumulative match characteristic (CMC), the hit rate (HR), and
 * what metric learning calls recall@k. */
MICA_API double mica_ranking_precision(const mica_ranking *ranking, int64_t k);
MICA_API double mica_ranking_recall(const mica_ranking *ranking, int64_t k);
MICA_API double mica_ranking_hit(const mica_ranking *ranking, int64_t k);
/* Precision at min(k, the rank of the last right answer of the list), as revisited Oxford and Paris
 * count mP@k; 0 without a right answer. */
MICA_API double mica_ranking_last_precision(const mica_ranking *ranking, int64_t k);
/* 1 / the rank of the first right answer; 0 when it is not among the first k (k 0: the list). */
MICA_API double mica_ranking_reciprocal_rank(const mica_ranking *ranking, int64_t k);
/* The rank of the first right answer; k + 1 where it is not among the first k. */
MICA_API double mica_ranking_first(const mica_ranking *ranking, int64_t k);
/* Normalised discounted cumulative gain (Jarvelin and Kekalainen 2002) of the first k (0: the
 * list): sum of gain / log2(i + 1) over what the best order would give. The gain is the grade, or
 * with `exponential` 2^grade - 1 (Burges et al. 2005). */
MICA_API double mica_ranking_ndcg(const mica_ranking *ranking, int64_t k, bool exponential);

/* ---- all queries ---- */

typedef enum mica_ties { MICA_TIES_AS_GIVEN, MICA_TIES_AGAINST } mica_ties;

/* What is measured where nobody says: */
#define MICA_RETRIEVAL_MEASURES                                                                    \
  "map,map@100,cmc@1,cmc@5,cmc@10,recall@10,recall@100,precision@10,mrr,ndcg@10,gap"

typedef struct mica_retrieval_options {
  uint32_t size;
  /* Names with commas between, of
   *   map            mean average precision; map@k of the first k; map@r of the first R
   *   map-trapezoid  the same by the trapezoid rule; mp@k its mean precision
   *   cmc@k, hr@k    any right answer among the first k (two names of one thing)
   *   recall@k       right answers found, over all there are
   *   precision@k    right answers, over k; precision@r of the first R
   *   mrr, mrr@k     mean reciprocal rank
   *   first@k        rank of the first right answer, k + 1 where there is none; lower is better
   *   median-first@k its median over queries
   *   ndcg@k, ndcg   gain is the grade; ndcg-exp@k, ndcg-exp: 2^grade - 1
   *   gap            global average precision (micro-AP): the best answer of every query in one
   *                  list by score; right ones add the precision up to them, over the number of
   *                  queries that have a right answer (Perronnin et al. 2009). gap@k pools the
   * first k, over the sum of min(R, k). Equal scores: the earlier query first. NULL:
   * MICA_RETRIEVAL_MEASURES. */
  const char *measures;
  mica_ties ties;
  /* Queries without any right answer are left out of all means (gap counts their answers as
   * wrong, ever); 1: they count as 0. */
  int32_t count_unanswerable;
  double level; /* of the intervals */
  int32_t resamples;
  uint64_t seed;
} mica_retrieval_options;
#define MICA_RETRIEVAL_OPTIONS                                                                     \
  { sizeof(mica_retrieval_options), NULL, MICA_TIES_AS_GIVEN, 0, 0.95, 1000, 0 }

typedef struct mica_retrieval mica_retrieval;

/* Begin; an unknown measure is MICA_ERR_INVALID with the nearest name. */
MICA_API mica_status mica_retrieval_create(const mica_engine *engine,
                                           const mica_retrieval_options *options,
                                           mica_retrieval **out);
/* NULL does nothing. */
MICA_API void mica_retrieval_free(mica_retrieval *retrieval);
/* Take in the next query; the ranking is not kept. Grades that are no numbers of 0 or more or junk,
 * scores that ascend, and more right answers than `relevant` are MICA_ERR_INVALID. */
MICA_API mica_status mica_retrieval_add(mica_retrieval *retrieval, const mica_ranking *ranking);
/* The number of measures, and the name of one, NULL out of range. */
MICA_API int32_t mica_retrieval_measures(const mica_retrieval *retrieval);
MICA_API const char *mica_retrieval_measure(const mica_retrieval *retrieval, int32_t i);
/* Queries taken in, and those among them that have no right answer. */
MICA_API int64_t mica_retrieval_queries(const mica_retrieval *retrieval);
MICA_API int64_t mica_retrieval_unanswerable(const mica_retrieval *retrieval);
/* What query q has by measure i; NaN where it has none, and for gap. */
MICA_API double mica_retrieval_value(const mica_retrieval *retrieval, int32_t i, int64_t q);
/* The measures of all queries so far, [mica_retrieval_measures]. The interval is the percentile
 * bootstrap's over queries, all measures from the same resamples; Wilson's for cmc and hr, and
 * where all queries have one value. MICA_ERR_INVALID before the first query that counts. */
MICA_API mica_status mica_retrieval_result(const mica_retrieval *retrieval, mica_estimate *out);

/* ---- of an index ---- */

/* What is right for each query: a row with the same label, or what lists say. */
typedef struct mica_index_truth {
  uint32_t size;
  const int64_t *label; /* [Q]; MICA_CLASS_NONE: nothing is right. NULL: lists */
  /* Of query i: ids id[at[i]] to id[at[i + 1] - 1], in any order, none twice, with grades (NULL: 1;
   * MICA_GRADE_JUNK: junk). A listed id that is not in the index is a right answer nobody finds. A
   * second row with an id is a wrong answer. */
  const int64_t *at, *id;
  const double *grade;
} mica_index_truth;
#define MICA_INDEX_TRUTH                                                                           \
  { sizeof(mica_index_truth), NULL, NULL, NULL, NULL }

/* Rank the index for each query and take the rankings in. `options` as for mica_index_query: k is
 * how far down lists go (more than there are rows: all of them); what a query leaves out is no
 * right answer either. MICA_ERR_INVALID without labels where truth needs them. */
MICA_API mica_status mica_retrieval_ask(mica_retrieval *retrieval, const mica_index *index,
                                        const mica_view *queries, const mica_index_truth *truth,
                                        const mica_index_query_options *options);

/* The same of a collection, as it is when the call begins; rows that others add meanwhile are in no
 * list. What mica_collection_query does not take is refused here, too. */
MICA_API mica_status mica_retrieval_ask_collection(mica_retrieval *retrieval,
                                                   mica_collection *collection,
                                                   const mica_view *queries,
                                                   const mica_index_truth *truth,
                                                   const mica_index_query_options *options);

/* Grades by the protocols of revisited Oxford and Paris (Radenovic et al. 2018): what is right,
 * and what is junk, of images that are easy, hard or junk for a query. */
typedef enum mica_revisited_kind {
  MICA_REVISITED_WRONG,
  MICA_REVISITED_EASY,
  MICA_REVISITED_HARD,
  MICA_REVISITED_JUNK
} mica_revisited_kind;
typedef enum mica_revisited_protocol {
  MICA_REVISITED_PROTOCOL_EASY,   /* easy are right; hard and junk are junk */
  MICA_REVISITED_PROTOCOL_MEDIUM, /* easy and hard are right; junk is junk */
  MICA_REVISITED_PROTOCOL_HARD    /* hard are right; easy and junk are junk */
} mica_revisited_protocol;
/* The grade of an image of this kind: 0, 1 or MICA_GRADE_JUNK. */
MICA_API double mica_revisited_grade(mica_revisited_protocol protocol, mica_revisited_kind kind);

#ifdef __cplusplus
}
#endif
#endif
