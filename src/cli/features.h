/* Labelled features for the verbs that fit and measure: from pictures through a model, or from
 * files of features. */
#ifndef MICA_CLI_FEATURES_H
#define MICA_CLI_FEATURES_H

#include "cli/cli.h"

#include <mica/mica.h>

typedef struct feature_part {
  int64_t n;
  mica_tensor *x; /* float32 [n, D]; NULL when n is 0 */
  int64_t *label; /* [n]; NULL without labels */
} feature_part;

typedef struct features {
  feature_part part[MICA_PART_COUNT];
  int64_t width, classes;
  char **names;     /* [classes] */
  mica_ints levels; /* the widths of what stands side by side in a row, such as taps; n 0: one */
} features;

void features_free(features *f);
/* The model over every picture of a data set, in its order, with progress on standard error: pieces
 * of m rows of one part, with their labels, are given to `take`. */
typedef mica_status (*features_take_fn)(void *ctx, mica_part part, int64_t m, const int64_t *label,
                                        const float *x);
mica_status features_of_pictures(const cli_args *a, mica_model *model, const mica_dataset *ds,
                                 features_take_fn take, void *ctx);
/* Through the model: every picture of a data set, part by part, with progress on standard error.
 * The data set's classes give the labels. */
mica_status features_embed(const cli_args *a, mica_model *model, const mica_dataset *ds,
                           features *out);
/* The rows of a table: as they are, with columns learnt as the options say (their text goes to
 * *columns, to release with mica_free), or through a model that has columns. */
mica_status features_rows(const mica_data_table_options *o, mica_model *model, const char *path,
                          features *out, char **columns);
/* A file of features: .npy [N, D], or .npz or .safetensors with `features` and, where they are
 * there, `labels` (int64 [N]), `part` (mica_part [N]) and the names of the classes in the metadata
 * `classes`, the widths of levels in `levels`. `labels`: an .npy file of labels, or NULL. Without
 * parts, a share of the rows goes to the validation part. */
mica_status features_read(const char *path, const char *labels, double validation, uint64_t seed,
                          features *out);
/* All parts one after the other as `features`, `labels` and `part` (mica_part), and the names of
 * the classes, to a .safetensors or .npz file; the latter has no place for the names. */
mica_status features_write(const features *f, const char *path);
/* The same of rows x [N, D] as they are, labels (int64 [N]) and part (uint8 [N]); of f, the names
 * and levels. */
mica_status features_write_rows(const features *f, const mica_view *x, const mica_view *labels,
                                const mica_view *part, const char *path);
/* The widths of the model's taps, in out->levels. */
void features_levels(const mica_model *model, features *out);
/* Is this a file of features by its name? */
bool is_feature_file(const char *path);

/* The model file that the user called NAME: a path, or a model fetched under that name. */
mica_status open_model(mica_engine *engine, const char *name, mica_model **out);
/* MICA_ERR_UNSUPPORTED for a model that describes parts of pictures, to a verb that looks into its
 * network. */
mica_status whole_pictures(const mica_model *model);
/* A data set at the size that the model reads. `classes` as in mica_dataset_options. */
mica_status open_pictures(const cli_args *a, const mica_model *model, const char *path,
                          const char *classes, double validation, mica_dataset **out);

#endif
