/* Pictures that a data set keeps in an archive. */
#ifndef MICA_PAPER_CLAIMS_PICTURE_ARCHIVE_H
#define MICA_PAPER_CLAIMS_PICTURE_ARCHIVE_H

#include <mica/tensor.h>

/* What to do with a member, named as in the archive. `wanted` says whether it is to be decoded,
 * NULL: each is; `take` is given the picture, uint8 [H, W, C], borrowed. */
typedef struct mica_archived {
  bool (*wanted)(void *ctx, const char *name);
  mica_status (*take)(void *ctx, const char *name, const mica_tensor *picture);
  void *ctx;
} mica_archived;

/* Go through the files of a .tar or .tar.gz in their order. */
mica_status mica_archived_pictures(const char *path, const mica_archived *each);

#endif
