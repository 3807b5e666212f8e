/* What the parts of `mica search` share. */
#ifndef MICA_CLI_SEARCH_H
#define MICA_CLI_SEARCH_H

#include "base/json.h"
#include "base/progress.h"
#include "cli/row_source.h"

/* An index, and the queries that it is asked. */
typedef struct search_job {
  const cli_args *a;
  mica_engine *engine;
  mica_model *encoder;         /* NULL: queries are features */
  mica_index *index;           /* NULL: a collection */
  mica_collection *collection; /* NULL: an index */
  mica_json_doc *classes;      /* the names of labels, an array; NULL: they have none */
  mica_index_metric metric;
  int64_t width; /* columns of the index */
  row_source queries;
  mica_transform *whitening; /* of the index; NULL: none */
  int64_t *seen_at, *seen;   /* ids to leave out for each query; NULL: none */
  mica_tensor *coarse;       /* [queries, C] as the encoder of the codes has them; NULL: none */
  int64_t *only, n_only;     /* ids that may be in an answer; NULL: all */
  int64_t want;              /* the label that an answer must have, -1: any */
  int64_t effort;
  mica_time_left left;
} search_job;

/* Open what the verb's operands and flags name: an index, or a collection, and queries. */
mica_status search_open(const cli_args *a, search_job *job);
void search_close(search_job *job);
/* Rows of the index or collection, its specification (release with mica_free), and a text that is
 * kept with it (NULL: none; likewise). */
int64_t search_rows(const search_job *job);
char *search_spec_of(const search_job *job);
mica_status search_text(const search_job *job, const char *key, char **out);
/* The name of a label, NULL where it has none. */
const char *search_class(const search_job *job, int64_t label);
/* The number of the class of this name in a list of names, -1: none. */
int64_t search_class_find(const mica_json *list, const char *name);

/* The next queries, up to `most` at once, and what each leaves out of its answer. */
typedef struct search_piece {
  int64_t most, cursor;
  int64_t m;                        /* queries; 0 at the end */
  int64_t *which;                   /* [m] their places in job->queries */
  mica_view x;                      /* [m, width] */
  mica_index_query_options o;       /* all but k */
  int64_t *self, *at, *seen, *want; /* what the options point to */
  mica_view coarse;                 /* likewise; its data is owned */
} search_piece;
mica_status search_piece_begin(const search_job *job, int64_t most, search_piece *out);
mica_status search_piece_next(search_job *job, search_piece *piece);
void search_piece_end(search_piece *piece);

/* "similarity", "distance" or "product", and a score as that number. */
const char *search_score_name(const search_job *job);
double search_score(const search_job *job, double score);

/* The specification that --spec and --metric make; release with mica_free. */
char *search_spec(const cli_args *a);
/* What takes a batch of rows in: an index under construction, or a collection. */
typedef mica_status (*search_take_fn)(void *ctx, const mica_index_batch *batch);
/* All rows of a source, so many at a time; `numbered`: with the ids that they have there. */
mica_status search_add_rows(const cli_args *a, row_source *s, int64_t piece, bool numbered,
                            const mica_tensor *coarse, search_take_fn take, void *ctx);
/* The features or, with an encoder, the pictures or texts that operands from `first` on name. */
mica_status search_open_rows(const cli_args *a, int first, const char *encoder, search_job *job);

/* The n rows of --coarse in memory, NULL without the flag; some of them, side by side in the
 * buffer. */
mica_status search_coarse_open(const cli_args *a, int64_t n, mica_tensor **out);
void search_coarse_rows(const mica_tensor *coarse, int64_t m, const int64_t *which, void *buffer,
                        mica_view *out);
/* The builder's codes: those of --codes, or of `coarse` as the specification says; nothing without
 * either. */
mica_status search_codes(const cli_args *a, const mica_engine *engine, const char *text,
                         const mica_tensor *coarse, mica_index_builder *b);
/* What a specification of an index with codes says about them. */
mica_status search_codes_options(const mica_engine *engine, const char *text,
                                 mica_quantiser_options *o);
/* Codes that were trained as weights, as a file for --codes. */
mica_status search_codes_write(const mica_quantiser *codes, const char *path);

/* Learn what --whiten asks for, keep it with the index that is built, and let the rows go through
 * it; *out stays NULL without the flag. */
mica_status search_whiten_learn(const cli_args *a, const mica_engine *engine, row_source *rows,
                                mica_transform **out);
mica_status search_whiten_keep(const mica_transform *whitening, mica_index_builder *builder);
/* MICA_ERR_INVALID when a flag of whitening was given to what is no longer built. */
mica_status search_whiten_unused(const cli_args *a);
/* The whitening that an index keeps, NULL: none. */
mica_status search_whiten_open(const mica_index *index, mica_transform **out);

int cli_search_query(const cli_args *a);
int cli_search_eval(const cli_args *a);
int cli_search_curve(const cli_args *a);
int cli_search_add(const cli_args *a);
int cli_search_delete(const cli_args *a);
int cli_search_compact(const cli_args *a);
int cli_search_import(const cli_args *a);
int cli_search_export(const cli_args *a);

#endif
