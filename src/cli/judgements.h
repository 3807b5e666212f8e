/* Files of lines "query,id" or "query,id,grade": what belongs to which query. */
#ifndef MICA_CLI_JUDGEMENTS_H
#define MICA_CLI_JUDGEMENTS_H

#include "cli/row_source.h"

/* What a third column that is a word says. */
#define GRADE_JUNK (-1.0)
#define GRADE_HARD (-2.0)
#define GRADE_EASY (-3.0)

typedef struct judgement {
  int64_t query, id;
  double grade; /* 1 without a third column */
} judgement;

/* By query, then by id; a pair that is there twice is an error. Columns are separated by commas,
 * tabs or blanks; a first line that does not begin with a number is a header. Grades are numbers of
 * 0 or more, or easy, hard, junk. */
mica_status judgements_read(const char *path, judgement **out, int64_t *n);
/* The same of the ground truth of revisited Oxford and Paris (.pkl), whose queries are those of
 * `query` [queries] in their order, or of a solution of Google Landmarks (id,images), by names, for
 * which `index` must not be NULL. */
bool judgements_are_truth(const char *path);
mica_status judgements_of_truth(const char *path, const mica_index *index,
                                const row_source *queries, judgement **out, int64_t *n);
/* The lists of these queries [n], as offsets at [n + 1] and ids; release both with mica_free. A
 * query of the file that is not among them is passed over. `grade` may be NULL. */
mica_status judgements_deal(const judgement *all, int64_t count, const int64_t *query, int64_t n,
                            int64_t **at, int64_t **id, double **grade);

/* A file of ids, one a line, ascending when read; a first line that is no number is a header.
 * Release with mica_free. */
mica_status ids_read(const char *path, int64_t **out, int64_t *n);
bool ids_have(const int64_t *ids, int64_t n, int64_t id);

#endif
