/* Finished matrices in fewer bytes, in the tool. */
#ifndef MICA_CLI_COMPRESS_H
#define MICA_CLI_COMPRESS_H

#include "cli/cli.h"

/* For the table of mica fit. */
#define CLI_COMPRESS_FLAGS                                                                         \
  {"--bytes", NULL, "X", NULL, "compress: share of the matrix's bytes that may be used"}, {        \
    "--metric", NULL, "NAME", "cosine", "compress: neighbours by cosine, l2 or inner"              \
  }

/* mica fit compress METHOD...: operand 0 is "compress"; an exit code. */
int cli_fit_compress(const cli_args *a);

#endif
