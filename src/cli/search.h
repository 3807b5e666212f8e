/* What the parts of `mica search` share. */
#ifndef MICA_CLI_SEARCH_H
#define MICA_CLI_SEARCH_H

#include "base/progress.h"
#include "cli/row_source.h"

/* An index, and the queries that it is asked. */
typedef struct search_job {
  const cli_args *a;
  mica_engine *engine;
  mica_model *encoder; /* NULL: queries are features */
  mica_index *index;
  row_source queries;
  int64_t *seen_at, *seen; /* ids to leave out for each query; NULL: none */
  mica_time_left left;
} search_job;

/* Open what the verb's operands and flags name: index and queries. */
mica_status search_open(const cli_args *a, search_job *job);
void search_close(search_job *job);

/* The next queries, up to `most`, with their k neighbours. */
typedef struct search_answers {
  int64_t m;      /* 0 at the end */
  int64_t *which; /* [m] places in job->queries */
  int64_t *row;   /* [m, k], -1 after the last */
  double *score;
  void *x; /* [m, width] the queries themselves */
  int64_t most, k, cursor;
} search_answers;
mica_status search_answers_begin(const search_job *job, int64_t k, search_answers *out);
mica_status search_answers_next(search_job *job, search_answers *answers);
void search_answers_end(search_answers *answers);

/* "similarity", "distance" or "product", and a score as that number. */
const char *search_score_name(const mica_index *index);
double search_score(const mica_index *index, double score);

int cli_search_query(const cli_args *a);

#endif
