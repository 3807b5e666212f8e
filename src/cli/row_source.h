/* Rows of features a piece at a time, with label, part and name: from a file of features, or from
 * pictures through a model, neither of which needs to fit in memory; or from the lines of a text.
 */
#ifndef MICA_CLI_ROW_SOURCE_H
#define MICA_CLI_ROW_SOURCE_H

#include "cli/cli.h"

#include <mica/mica.h>

typedef struct row_source {
  int64_t n, width;
  mica_dtype dtype; /* of the rows that are read */
  /* What is done to rows before they are handed over, borrowed; NULL: nothing. Then the rows that
   * come in have this width and type. */
  const mica_transform *transform;
  const mica_engine *engine;
  int64_t raw_width;
  mica_dtype raw_dtype;
  int64_t *id;    /* [n] number of the row in its file, of the item in its data set */
  int64_t *label; /* [n]; NULL without labels */
  char *classes;  /* their names as a JSON array; NULL: none */
  /* A file of features. */
  mica_archive *archive;
  int64_t tensor;
  mica_tensor *whole; /* where its rows do not lie together, and those of texts */
  /* Pictures. */
  mica_session *session;
  const mica_model *model;
  mica_dataset *ds;
  char **file; /* [files], for pictures that are no data set; or the lines of a text */
  int64_t files;
  uint8_t *pixels;
} row_source;

/* Open a file of features (as mica embed writes it, see cli/features.h). `labels`: an .npy file of
 * labels in their place, or NULL. `part`: "train", "val", "test" or "all" (NULL too); a file that
 * tells no parts has only "all". */
mica_status row_source_features(const char *path, const char *labels, const char *part,
                                row_source *out);
/* Open pictures: a data set, or files and folders of files without labels. Unreadable ones are
 * passed over. The model must outlive the source. */
mica_status row_source_pictures(const cli_args *a, mica_model *model, const char *const *paths,
                                int n, const char *part, row_source *out);
/* Open a text (- is standard input), whose lines are rows: through a model of texts, or the text
 * tower of one of pictures and texts. */
mica_status row_source_texts(mica_model *model, const char *path, row_source *out);
/* From now on rows go through the transformation, which must outlive the source. */
mica_status row_source_transform(row_source *s, const mica_engine *engine,
                                 const mica_transform *transform);
/* The next rows from *cursor (0 at first) on: up to `most` into `to` [most, width], their places
 * 0..n-1 into which [most], their number into *m; 0 at the end. */
mica_status row_source_next(row_source *s, int64_t *cursor, int64_t most, void *to, int64_t *which,
                            int64_t *m);
/* The file or item behind a place, "" for a row of a file of features; returns buf. */
const char *row_source_name(const row_source *s, int64_t at, char *buf, size_t n);
/* The picture behind a place of a source of pictures: as the model is given it, or the file's own,
 * scaled down. */
mica_status row_source_picture(const row_source *s, int64_t at, mica_tensor **out);
/* Is this the name of a picture? */
bool is_picture_file(const char *path);
void row_source_close(row_source *s);

#endif
