/* The parts of `mica train`: what it trains on, and what it says and writes meanwhile. */
#ifndef MICA_CLI_TRAIN_H
#define MICA_CLI_TRAIN_H

#include "cli/table.h"
#include "cli/text_pairs.h"

#include <mica/scheme.h>
#include <mica/training_report.h>

#include "base/progress.h"

/* ---- what of a network is trained ---- */

/* Initial values as the flags say. */
mica_status train_params_initialise(const cli_args *a, mica_params *params);
/* What is trained, and what decays, as the flags say. */
/* Attach the adapters of --adapter; everything but them and the output layer is frozen then. */
mica_status train_params_adapt(const cli_args *a, mica_params *params, int64_t seed);
/* What becomes of them after training: a file of their own, or the weights. */
mica_status train_params_end(const cli_args *a, mica_params *params);
mica_status train_params_choose(const cli_args *a, mica_params *params, int64_t seed);
/* Say how much of the network is trained. */
void train_params_describe(const char *name, const mica_params *params);

/* ---- what a network is trained on: pictures, rows of a table, or a text ---- */

typedef struct train_data {
  mica_dataset *pictures; /* one of these three */
  mica_data_table *table;
  mica_token_text *text;
  text_pairs *questions;     /* or questions and the texts that answer them */
  bool pairs;                /* the pictures' classes are texts about them */
  mica_tokenizer *tokenizer; /* of a text, or of pairs */
  char *tokenizer_text;
  mica_problem problem;
  mica_preprocess preprocess;
  const char **classes;              /* names of the network's outputs */
  char *columns;                     /* of a table, for the model file */
  const char *loss;                  /* for data such as these, where none is given */
  mica_stream part[MICA_PART_COUNT]; /* ctx NULL: nothing in that part */
  mica_sampler *sampler;             /* of the training part; NULL: it is shuffled */
  mica_stream steps;                 /* the training part in epochs of a given length; ctx NULL: as
                                        long as it is */
  int64_t whole;                     /* of the training part before a subset was taken */
} train_data;

/* Open --data as the flags say. */
mica_status train_data_open(const cli_args *a, mica_engine *engine, int64_t batch, int64_t seed,
                            train_data *d);
void train_data_free(train_data *d);
/* One line on standard error: how much there is of what. */
void train_data_describe(const cli_args *a, const train_data *d);
/* What identifies the data at `path`: the SHA-256 of files; of pictures that of their parts, names
 * and sizes. */
mica_status train_data_hash(const train_data *d, const char *path, char hex[65]);

/* Wrong labels and a subset, as the flags say; before streams are made. */
mica_status train_change_data(const cli_args *a, train_data *d);
/* --sampler: let the training part come in another order. */
mica_status train_sampler(const cli_args *a, mica_engine *engine, train_data *d);
/* --steps: make data->steps, and *epochs as many as they are. */
mica_status train_change_steps(const cli_args *a, int64_t batch, train_data *d, int64_t *epochs);
/* What of these is to be known to repeat the run. */
mica_status train_change_record(const cli_args *a, mica_run_record *r);
#define CLI_LABEL_NOISE_FLAGS                                                                      \
  {"--label-noise", NULL, "X", "0",                                                                \
   "pictures: give this share of the training part wrong labels"},                                 \
      {"--noise-kind", NULL, "KIND", "uniform",                                                    \
       "uniform: any other class; next: the one after it; permute: dealt among the chosen"},       \
  {                                                                                                \
    "--noise-seed", NULL, "N", "0", "which items get wrong labels, whatever --seed is"             \
  }

/* A log of clicks: two classes for a model that reads fields. */
bool train_data_clicks(const train_data *d);
/* What the outputs are: a number, not classes. */
bool train_data_regression(const train_data *d);

mica_status train_pictures_open(const cli_args *a, int64_t batch, int64_t seed, train_data *d);
mica_status train_table_open(const cli_args *a, mica_engine *engine, int64_t batch, int64_t seed,
                             train_data *d);
mica_status train_text_open(const cli_args *a, int64_t batch, int64_t seed, train_data *d);
/* Questions and the texts that answer them. */
mica_status train_retriever_open(const cli_args *a, train_data *d);
/* Train, and tell how well questions that were held out find their texts. */
mica_status train_retriever(const cli_args *a, mica_engine *engine, const char *optimiser,
                            const mica_train_options *given, int64_t batch, const train_data *d,
                            mica_net *net);
/* Pictures with texts. */
mica_status train_pairs_open(const cli_args *a, int64_t batch, int64_t seed, train_data *d);
/* Between the pictures and their streams: the tokenizer and what the network is to read. */
mica_status train_pairs_texts(const cli_args *a, train_data *d);
/* The list of captions in a folder, or the path itself; release with mica_free. */
char *cli_pairs_path(const char *path);
/* The tokens of a caption where --length says nothing: as CLIP's. */
#define CLI_CAPTION_LENGTH 77
/* "R@1 ..." both ways, as lines on standard output or as fields of a JSON object. */
void cli_print_pairs(const mica_pairs_evaluation *e, const char *part, bool json);
/* `mica eval` of a model of pictures and texts; returns the exit code. */
int cli_pairs_eval(const cli_args *a, mica_model *model);
/* A loss in nats a token as bits a byte of the part's text. */
double train_text_bits(const train_data *d, mica_part part, double loss);
/* "bytes", or a vocabulary file or folder. */
mica_status cli_tokenizer(const char *name, mica_tokenizer **out);
/* `mica eval` of a language model on a text; returns the exit code. */
int cli_text_eval(const cli_args *a, mica_model *model);

/* ---- compressed tables of vectors ---- */

#define CLI_EMBEDDING_FLAGS                                                                        \
  {"--table", NULL, "SPEC", NULL,                                                                  \
   "click models: how the vectors of ids are kept; see `mica list embedding`"},                    \
      {"--bytes", NULL, "X", NULL,                                                                 \
       "share of the full table's bytes that it may take; without --table it is compositional"},   \
  {                                                                                                \
    "--table-out", NULL, "FILE", NULL, "write the packed table, which needs no network"            \
  }
/* The architecture with --table and --bytes put in; NULL when memory is short. */
char *train_architecture(const cli_args *a);

/* ---- progress ---- */

typedef struct train_watch {
  bool json, terminal;
  mica_time_left left;
  mica_epoch *epoch; /* of the run, with those before it was resumed */
  int64_t epochs;
  double seconds;
  const train_data *data;
  const mica_net *net; /* what of its head changes by the step is logged */
  char failure[512];   /* what stopped a report; "": nothing */
  bool clicks;         /* two classes by log loss and AUROC */
  double auroc;        /* of the best validation; NaN: not known */
  /* The folder it writes to, see train_run.h. */
  mica_run *run;
  const char *folder;
  const mica_run_record *record;
} train_watch;

/* A mica_train_fn; ctx is a train_watch. */
int train_watch_report(void *ctx, const mica_train_metrics *m);
mica_status train_watch_epoch(train_watch *w, const mica_epoch *e);
void train_watch_free(train_watch *w);

/* Does the table's method need stages of its own? Train through them; each stage has o->epochs. */
bool train_needs_stages(const mica_net *net);
mica_status train_stages(mica_net *net, const train_data *d, const mica_train_options *o,
                         train_watch *w, mica_train_result *result);
/* Settle what is open in the network's table, if it has one, say what it takes, and write it where
 * --table-out says. */
mica_status train_finish_table(const cli_args *a, const mica_net *net);

/* ---- afterwards ---- */

typedef struct train_outcome {
  mica_engine *engine;
  const cli_args *args;
  const train_data *data;
  const train_watch *watch;
  mica_net *net;
  const mica_train_result *result;
  const mica_evaluation *test; /* n 0: no test part */
  const mica_pairs_evaluation
      *pairs; /* of the test part, else the validation part; pairs 0: none */
  const mica_run_record *record;
  int64_t seed;
} train_outcome;

/* Targets and outputs of a regression [n], in the target's own unit. */
void train_regression_values(const mica_columns *c, const mica_evaluation *e, double *truth,
                             double *predicted);
/* FOLDER/report.html and summary.json, of the test part, or of the validation part where there is
 * none. */
mica_status train_report(const train_outcome *r, const char *folder);
/* What the model file keeps about its training: a JSON object to release with mica_free, NULL when
 * memory is short. */
char *train_record(const train_outcome *r);

#endif
