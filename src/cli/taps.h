/* Where in a network the features of a verb are taken, and how pictures are made to fit it. */
#ifndef MICA_CLI_TAPS_H
#define MICA_CLI_TAPS_H

#include "cli/features.h"

/* For the tables of the verbs that take features. */
#define CLI_TAPS_FLAGS                                                                             \
  {"--taps", NULL, "A,B", NULL,                                                                    \
   "take the features from these modules, each averaged: layer1,layer2; pyramid for all maps"},    \
  {                                                                                                \
    "--resize", NULL, "HOW", NULL, "whole: resize pictures without cutting them; cover: crop them" \
  }

/* For those that describe parts of pictures. */
#define CLI_VIEWS_FLAGS                                                                            \
  {"--views", NULL, "N", NULL,                                                                     \
   "describe each picture by 16 views side by side: it, its corners and middle, turned, and "      \
   "these "                                                                                        \
   "mirrored; 8: none mirrored"},                                                                  \
      {"--angle", NULL, "X", "15", "with --views: degrees that pictures are turned by"}, {         \
    "--regions", NULL, "H", NULL,                                                                  \
        "describe each picture by its regions of order H side by side (3: 14 windows)"             \
  }

/* What --taps, --resize, --views and --regions say, done to the model; says on standard error when
 * heads go. */
mica_status cli_taps(const cli_args *a, mica_model *model);

/* The specification of a classifier on `parts` parts side by side: `transformed` with that many
 * views, around any other. Release with mica_free. */
mica_status cli_with_parts(const mica_engine *engine, const char *spec, int64_t parts, char **out);

/* The specification of an estimator with its `levels`, where it has that option and does not say
 * itself, made the widths in `levels`. Release with mica_free. */
mica_status cli_with_levels(const mica_engine *engine, const char *spec, const mica_ints *levels,
                            char **out);

/* Put the features of `passes` passes over the training part, randomly shifted by up to `crop`
 * pixels and where `flip` mirrored, in the place of the training part's. */
mica_status features_augment(const cli_args *a, mica_model *model, const mica_dataset *ds,
                             int64_t passes, int64_t crop, bool flip, uint64_t seed, features *f);

#endif
