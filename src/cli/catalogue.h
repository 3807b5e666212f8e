/* What `mica model get` and `mica data get` can fetch: names, publishers' addresses, licences,
 * checksums.
 *
 * mica redistributes nothing: each file comes from its publisher, under the publisher's terms. The
 * environment variable MICA_CATALOGUE names a JSON file with further entries of the same form
 * (docs/formats.md); an entry of the same name replaces ours.
 */
#ifndef MICA_CLI_CATALOGUE_H
#define MICA_CLI_CATALOGUE_H

#include <mica/dataset.h>

#define CATALOGUE_FILES 4

typedef struct catalogue_file {
  const char *name, *url;
  int64_t bytes;      /* 0: not known */
  const char *sha256; /* 64 digits; fewer: only the first are published; NULL: none */
  bool archive;       /* .tar.gz or .zip: unpacked, then dropped */
} catalogue_file;

typedef struct catalogue_item {
  const char *name, *summary;
  const char *page;    /* the publisher's */
  const char *licence; /* as the publisher states it */
  const char *source;  /* where size and checksum are from */
  catalogue_file file[CATALOGUE_FILES];
  /* models: the architecture that takes the file, and its pictures */
  const char *architecture;
  int64_t side, channels;
  double crop, mean[4], deviation[4];
  mica_image_filter interpolation;
  const char *const *classes;
  int64_t n_classes;
  /* data: a file A<mark>B becomes A/A<mark>B */
  const char *class_mark;
} catalogue_item;

typedef enum catalogue_kind { CATALOGUE_MODELS, CATALOGUE_DATA } catalogue_kind;

/* Entries of our own; tables end with an entry without a name. */
extern const catalogue_item catalogue_models[], catalogue_data[];
extern const char *const imagenet_classes[1000];

typedef struct catalogue {
  const catalogue_item **item; /* n of them, by name where the tables give them */
  int64_t n;
  void *own; /* what MICA_CATALOGUE's entries need */
} catalogue;

mica_status catalogue_open(catalogue_kind kind, catalogue *out);
void catalogue_close(catalogue *c);
/* NULL with MICA_ERR_NOT_FOUND and the nearest name. */
const catalogue_item *catalogue_find(const catalogue *c, const char *name);

/* Bytes of all its files; 0 when one is not known. */
int64_t catalogue_bytes(const catalogue_item *item);

/* The folder where models or data sets are kept: $MICA_MODELS or $MICA_DATA, else
 * $XDG_CACHE_HOME/mica/models (data), else ~/.cache/mica/models (data). Release with mica_free. */
char *catalogue_folder(catalogue_kind kind);
/* What a user called NAME: NAME itself when there is such a file or folder, else what was fetched
 * under that name. NULL with MICA_ERR_NOT_FOUND, telling how to fetch it. Release with mica_free.
 */
char *catalogue_resolve(catalogue_kind kind, const char *name);
/* A data set by path, or by the name it was fetched under. */
mica_status catalogue_open_dataset(const char *name, const mica_dataset_options *options,
                                   mica_dataset **out);

#endif
