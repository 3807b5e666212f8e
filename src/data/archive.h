/* The inside of an archive: a directory of entries, each with the place and the form of its bytes.
 *
 * A format's reader fills the directory at opening; reading a tensor is then the same for all of
 * them: fetch the bytes of the payload and turn the file's elements into the tensor's.
 */
#ifndef MICA_DATA_ARCHIVE_H
#define MICA_DATA_ARCHIVE_H

#include "base/file.h"
#include "data/source.h"
#include "data/zip.h"

#include <mica/data.h>

typedef enum mica_element {
  MICA_ELEMENT_PLAIN, /* the tensor's own type */
  MICA_ELEMENT_U16,
  MICA_ELEMENT_U32,
  MICA_ELEMENT_U64,
  MICA_ELEMENT_E4M3, /* 8-bit float, no infinities (OCP E4M3, "FN") */
  MICA_ELEMENT_E5M2
} mica_element;

typedef struct mica_archive_entry {
  char *name;
  mica_dtype dtype; /* of the tensor */
  mica_shape shape;
  mica_element element; /* of the file */
  uint8_t bytes;        /* of an element in the file */
  bool swap;            /* the file's byte order is the other one */
  bool fortran;         /* the first dimension varies fastest */
  bool complex;         /* the last dimension of shape is (re, im) */
  bool strided;         /* stride[] holds, in elements, for every dimension */
  int64_t stride[MICA_MAX_RANK];
  int64_t member;  /* of the zip, -1: directly in the file */
  uint64_t offset; /* of the first element, in the file or the unpacked member */
  uint64_t extent; /* bytes from there that the payload takes in the file */
} mica_archive_entry;

typedef struct mica_archive_map mica_archive_map;

struct mica_archive {
  const char *format;
  mica_source source;
  mica_zip zip;
  int64_t n, capacity;
  mica_archive_entry *entry;
  int64_t *order; /* entries sorted by name */
  int64_t pairs, pairs_capacity;
  mica_text_pair *pair;  /* both strings owned */
  mica_archive_map *map; /* of the whole file, NULL: it is read */
};

/* Append an entry; the archive takes entry->name over, also when it fails. */
mica_status mica_archive_add(mica_archive *archive, const mica_archive_entry *entry);
/* Append a metadata pair (copied). */
mica_status mica_archive_add_text(mica_archive *archive, const char *key, const char *value);

/* Fill the directory; the source is set. */
mica_status mica_archive_open_safetensors(mica_archive *archive);
mica_status mica_archive_open_npy(mica_archive *archive);
mica_status mica_archive_open_npz(mica_archive *archive); /* the zip is open, here and below */
mica_status mica_archive_open_torch_zip(mica_archive *archive);
mica_status mica_archive_open_torch_old(mica_archive *archive);

/* The first bytes of each format. */
bool mica_is_npy(const uint8_t *head, size_t n);
bool mica_is_torch_old(const uint8_t *head, size_t n);

/* Map the file, which must be one that is replaced by renaming (see base/file.h); one that cannot
 * be mapped, or lies in memory, stays as it is. */
mica_status mica_archive_map_file(mica_archive *archive);
void mica_archive_unmap(mica_archive *archive); /* tensors that are lent keep the mapping */
/* Tensor i as it lies in the mapping: writing to it changes this process's copy alone. NULL, with
 * MICA_OK, where its bytes are not there in the tensor's own form and at a multiple of 64. */
mica_status mica_archive_borrow(const mica_archive *archive, int64_t i, mica_tensor **out);

/* Every tensor has a name and no two have the same one. */
mica_status mica_check_names(const mica_named_view *tensors, int64_t n);

/* The elements of a view, row by row where they do not lie together. */
mica_status mica_write_view(mica_writer *writer, const mica_view *view);

/* Bytes of the elements of `shape`, an error where negative or beyond what 62 bits hold. */
mica_status mica_archive_extent(const mica_archive *archive, const char *name,
                                const mica_shape *shape, size_t element_bytes, uint64_t *extent);

#endif
