/* Texts for models that read tokens, and models of other libraries. */
#ifndef MICA_CLI_TEXT_H
#define MICA_CLI_TEXT_H

#include "cli/cli.h"

/* The features of each line of a file (- is standard input) to an .npy file of
 * *rows rows. Longer lines than the model reads are cut. */
mica_status cli_text_embed(const mica_model *model, mica_session *session, const char *path,
                           const char *out, int64_t *rows);

/* Lines of text and their features. */
typedef struct text_rows {
  float *x;    /* [n, width] */
  char **line; /* [n] */
  int64_t n, width;
} text_rows; /* begin with {0}; release with text_rows_free */
mica_status cli_text_rows(const mica_model *model, mica_session *session, const char *path,
                          text_rows *out);
void text_rows_free(text_rows *rows);

/* A folder as the library `transformers` writes it (config.json, a vocabulary, model.safetensors)
 * as a model file. */
mica_status cli_import_folder(const cli_args *a, const char *folder, const char *out);

#endif
