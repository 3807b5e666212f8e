/* Two files of features whose rows are pairs: `fit`, `eval` and `embed` of what aligns them. */
#ifndef MICA_CLI_ALIGN_H
#define MICA_CLI_ALIGN_H

#include "cli/cli.h"

#define CLI_ALIGN_FLAGS                                                                            \
  {"--targets", NULL, "FILE", NULL,                                                                \
   "features of the second space, whose rows are the pairs of those of --data"},                   \
      {"--anchors", NULL, "N", NULL,                                                               \
       "pairs to learn from, drawn at random, where --data has no parts"},                         \
      {"--queries", NULL, "N", "500", "pairs that were not learnt from, to match"}, {              \
    "--draws", NULL, "N", "3", "times that so many of them are drawn"                              \
  }

/* Does one of the operands align two spaces or, with a model, the head that answers? */
bool cli_aligns(const cli_args *a, const mica_model *model);
/* Estimators that align, learnt from pairs and compared on others. */
int cli_align_fit(const cli_args *a, mica_engine *engine);
/* A model whose head aligns, on pairs. */
int cli_align_eval(const cli_args *a, mica_model *model);
/* Files of features as the head maps them, to one .npy file; with --targets as rows of the second
 * space. */
int cli_align_embed(const cli_args *a, mica_model *model, mica_session *session, const char *out);

#endif
