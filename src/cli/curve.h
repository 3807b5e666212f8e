/* Learning curves in the tool. */
#ifndef MICA_CLI_CURVE_H
#define MICA_CLI_CURVE_H

#include "cli/features.h"

/* For the table of mica fit. */
#define CLI_CURVE_FLAGS                                                                            \
  {"--sizes", NULL, "N,N", NULL,                                                                   \
   "learning curves: test errors of fits on draws of so many training examples; no model"},        \
      {"--repeats", NULL, "N", "5", "with --sizes: draws of each size"},                           \
      {"--scale", NULL, "HOW", "none",                                                             \
       "with --sizes: minmax or standard, each column as the drawn examples have it"},             \
  {                                                                                                \
    "--figure", NULL, "FILE", NULL, "with --sizes: draw the curves as SVG"                         \
  }

/* mica fit --sizes on these features, spec[i] being operand i; an exit code. */
int cli_fit_curve(const cli_args *a, const mica_engine *engine, const features *f,
                  const char *const *spec);

#endif
