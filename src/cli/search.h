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
  uint64_t *allowed;       /* a bit a row; NULL: all may be in an answer */
  int64_t effort;
  mica_time_left left;
} search_job;

/* Open what the verb's operands and flags name: index and queries. */
mica_status search_open(const cli_args *a, search_job *job);
void search_close(search_job *job);

/* The next queries, up to `most` at once, and what each leaves out of its answer. */
typedef struct search_piece {
  int64_t most, cursor;
  int64_t m;                  /* queries; 0 at the end */
  int64_t *which;             /* [m] their places in job->queries */
  mica_view x;                /* [m, width] */
  mica_index_query_options o; /* all but k */
  int64_t *self, *at, *seen;  /* what the options point to */
} search_piece;
mica_status search_piece_begin(const search_job *job, int64_t most, search_piece *out);
mica_status search_piece_next(search_job *job, search_piece *piece);
void search_piece_end(search_piece *piece);

/* "similarity", "distance" or "product", and a score as that number. */
const char *search_score_name(const mica_index *index);
double search_score(const mica_index *index, double score);

int cli_search_query(const cli_args *a);
int cli_search_eval(const cli_args *a);
int cli_search_curve(const cli_args *a);

#endif
