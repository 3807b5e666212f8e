/* A figure of queries and their neighbours as pictures. */
#ifndef MICA_CLI_SEARCH_GRID_H
#define MICA_CLI_SEARCH_GRID_H

#include "cli/search.h"

typedef struct search_grid search_grid;

/* For `path`, an .svg or .html file: of `shown` queries, evenly spaced, and up to k neighbours. */
mica_status search_grid_begin(const search_job *job, const char *path, int64_t k, int64_t shown,
                              search_grid **out);
/* The answer to the query at this place: rows [k] and scores [k]. */
void search_grid_take(search_grid *grid, int64_t place, const int64_t *row, const double *score);
/* Find the pictures, draw and write. */
mica_status search_grid_write(const search_grid *grid);
void search_grid_free(search_grid *grid);

#endif
