/* `mica measure` of answers in Google Landmarks' files: a solution (id,landmarks,Usage or
 * id,images,Usage) beside predictions (id,landmarks or id,images).
 *
 * Recognition: a prediction is "CLASS SCORE", a solution the classes that are right, none of them
 * where the picture shows no landmark. Retrieval: lists of ids, best first; what comes again is
 * wrong, and queries whose solution is None are left out. Queries count in the order of their ids,
 * which decides between equal scores; a query without a prediction counts as wrong.
 */
#include "cli/landmark_files.h"
#include "cli/measure.h"

#include "base/buffer.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

bool measure_takes_landmarks(const char *path) {
  const size_t n = strlen(path);
  return n > 4 && strcmp(path + n - 4, ".csv") == 0;
}

/* ---- one query ---- */

/* The words of a list in place: "None" alone is no word. */
static int64_t words(char *list, char **word, int64_t most) {
  int64_t n = 0;
  for (char *at = list, *end; n < most; at = end) {
    at += strspn(at, " ");
    if (!*at) break;
    end = at + strcspn(at, " ");
    word[n++] = at;
    if (*end) *end++ = 0;
  }
  return n == 1 && strcmp(word[0], "None") == 0 ? 0 : n;
}

static int64_t count_words(const char *list) {
  int64_t n = 0;
  for (const char *at = list; *(at += strspn(at, " ")); n++) at += strcspn(at, " ");
  return n;
}

typedef struct query {
  char **truth, **answer;
  int64_t n_truth, n_answer;
  double *grade;
  double score;
} query;

static int by_text(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static mica_status query_make(landmark_entry *truth, landmark_entry *answer, query *q) {
  const size_t t = (size_t)count_words(truth->list) + 1;
  const size_t a = answer ? (size_t)count_words(answer->list) + 1 : 1;
  *q = (query){.truth = mica_calloc(t, sizeof *q->truth),
               .answer = mica_calloc(a, sizeof *q->answer),
               .grade = mica_calloc(a, sizeof *q->grade)};
  if (!q->truth || !q->answer || !q->grade) return MICA_ERR_MEMORY;
  q->n_truth = words(truth->list, q->truth, (int64_t)t);
  q->n_answer = answer ? words(answer->list, q->answer, (int64_t)a) : 0;
  qsort(q->truth, (size_t)q->n_truth, sizeof *q->truth, by_text);
  return MICA_OK;
}

static void query_free(query *q) {
  mica_free(q->truth);
  mica_free(q->answer);
  mica_free(q->grade);
}

/* "CLASS SCORE": one answer; the truth is one of several classes. */
static mica_status recognised(query *q, const char *id, mica_ranking *r) {
  char *end;
  r->relevant = q->n_truth > 0;
  r->n = q->n_answer > 0;
  r->score = &q->score;
  if (!r->n) return MICA_OK;
  q->score = q->n_answer == 2 ? strtod(q->answer[1], &end) : 0;
  if (q->n_answer != 2 || *end || !(q->score == q->score))
    return mica_fail(MICA_ERR_FORMAT, "the prediction of '%.100s' is no class and score", id);
  q->grade[0] = q->n_truth && bsearch(&q->answer[0], q->truth, (size_t)q->n_truth, sizeof *q->truth,
                                      by_text) != NULL;
  return MICA_OK;
}

/* Ids, of which each is right once. */
static mica_status retrieved(query *q, mica_ranking *r) {
  bool *met = mica_calloc((size_t)q->n_truth + 1, sizeof *met);
  if (!met) return MICA_ERR_MEMORY;
  r->relevant = q->n_truth;
  r->n = q->n_answer;
  for (int64_t i = 0; i < q->n_answer && q->n_truth; i++) {
    char **found = bsearch(&q->answer[i], q->truth, (size_t)q->n_truth, sizeof *q->truth, by_text);
    if (!found || met[found - q->truth]) continue;
    met[found - q->truth] = true;
    q->grade[i] = 1;
  }
  mica_free(met);
  return MICA_OK;
}

static mica_status take(mica_retrieval *r, bool recognition, landmark_entry *truth,
                        landmark_entry *answer) {
  query q;
  mica_ranking g = MICA_RANKING;
  mica_status status = query_make(truth, answer, &q);
  g.grade = q.grade;
  if (status == MICA_OK) status = recognition ? recognised(&q, truth->id, &g) : retrieved(&q, &g);
  if (status == MICA_OK) status = mica_retrieval_add(r, &g);
  query_free(&q);
  return status;
}

/* ---- all of them ---- */

static mica_status tell(const cli_args *a, const mica_retrieval *r) {
  const int32_t m = mica_retrieval_measures(r);
  mica_estimate *e = mica_calloc((size_t)m, sizeof *e);
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_status status = e ? mica_retrieval_result(r, e) : MICA_ERR_MEMORY;
  if (status == MICA_OK && !cli_on(a, "--json")) {
    printf("%lld queries, %lld of them show nothing\n", (long long)mica_retrieval_queries(r),
           (long long)mica_retrieval_unanswerable(r));
    for (int32_t i = 0; i < m; i++)
      printf("%-18s %.4f  (%.4f to %.4f)\n", mica_retrieval_measure(r, i), e[i].value,
             e[i].interval.lo, e[i].interval.hi);
  } else if (status == MICA_OK) {
    mica_json_begin_object(&w);
    mica_json_put_int(&w, "queries", mica_retrieval_queries(r));
    mica_json_put_int(&w, "unanswerable", mica_retrieval_unanswerable(r));
    for (int32_t i = 0; i < m; i++)
      mica_json_put_double(&w, mica_retrieval_measure(r, i), e[i].value);
    mica_json_end_object(&w);
    status = b.status;
    if (status == MICA_OK) puts(b.data);
  }
  mica_bytes_free(&b);
  mica_free(e);
  return status;
}

static mica_status measure(const cli_args *a, landmark_answers *truth, landmark_answers *given) {
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  mica_engine *engine = NULL;
  mica_retrieval *r = NULL;
  const char *measures = cli_text(a, "--measures"), *usage = cli_text(a, "--usage");
  if (truth->recognition != given->recognition)
    return mica_fail(MICA_ERR_FORMAT, "one file is of landmarks, the other of images");
  o.measures = measures             ? measures
               : truth->recognition ? "gap,cmc@1"
                                    : "map@100,precision@1,precision@10,first@100,median-first@100";
  mica_status status = cli_engine(a, &engine);
  if (status == MICA_OK) status = mica_retrieval_create(engine, &o, &r);
  int64_t taken = 0;
  for (int64_t i = 0; i < truth->n && status == MICA_OK; i++) {
    landmark_entry *t = &truth->entry[i];
    if (usage ? strcmp(t->usage, usage) != 0 : strcmp(t->usage, "Ignored") == 0) continue;
    landmark_entry *answer = bsearch(t, given->entry, (size_t)given->n, sizeof *t, landmark_by_id);
    status = take(r, truth->recognition, t, answer);
    taken++;
  }
  if (status == MICA_OK && !taken)
    status = mica_fail(MICA_ERR_NOT_FOUND, "the solution has no query%s%s",
                       usage ? " of usage " : "", usage ? usage : "");
  if (status == MICA_OK) status = tell(a, r);
  mica_retrieval_free(r);
  mica_engine_free(engine);
  return status;
}

int measure_landmarks(const cli_args *a) {
  landmark_answers truth = {0}, given = {0};
  if (a->n_operands != 2) return cli_usage(a, "expected a solution and predictions");
  mica_status status = landmark_answers_read(a->operand[0], &truth);
  if (status == MICA_OK) status = landmark_answers_read(a->operand[1], &given);
  if (status == MICA_OK) status = measure(a, &truth, &given);
  landmark_answers_free(&truth);
  landmark_answers_free(&given);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}
