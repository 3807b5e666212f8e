/* Files: whole, mapped, and written so that a reader never sees half of one.
 *
 * Every error names the path.
 */
#ifndef MICA_BASE_FILE_H
#define MICA_BASE_FILE_H

#include <mica/base.h>

/* Read a whole file of at most `limit` bytes (MICA_ERR_FORMAT when it is longer). The block has a
 * NUL beyond its n bytes; release with mica_free. Works on pipes. */
mica_status mica_file_read(const char *path, size_t limit, uint8_t **bytes, size_t *n);

/* A regular file in memory, read only and shared with the system's cache. The system kills a
 * process that touches pages which another one has cut off the file meanwhile: map files that are
 * replaced by renaming, as ours are. `bytes` is never NULL. */
typedef struct mica_mapping {
  const uint8_t *bytes;
  size_t n;
} mica_mapping;
mica_status mica_file_map(const char *path, mica_mapping *out);
void mica_file_unmap(mica_mapping *mapping);

/* A file under construction: written under a temporary name in the same folder, then flushed to
 * disk and renamed by _commit. _close without _commit leaves no trace. When `path` is a link, the
 * file it points to is replaced; a device or pipe is written directly. The first failure latches.
 */
typedef struct mica_writer mica_writer;
mica_status mica_writer_open(const char *path, mica_writer **out);
mica_status mica_writer_write(mica_writer *w, const void *bytes, size_t n);
/* Overwrite n bytes that were written already, at `offset`. */
mica_status mica_writer_patch(mica_writer *w, uint64_t offset, const void *bytes, size_t n);
/* What is written so far, to read; unmap it before _commit. Only of a regular file. */
mica_status mica_writer_map(mica_writer *w, mica_mapping *out);
mica_status mica_writer_commit(mica_writer *w);
void mica_writer_close(mica_writer *w);

mica_status mica_file_write_atomic(const char *path, const void *bytes, size_t n);

/* Create a folder and those above it; one that exists is fine. */
mica_status mica_make_folders(const char *path);
/* The same for the folder that `path` will lie in. */
mica_status mica_make_parent(const char *path);

bool mica_file_exists(const char *path);
bool mica_is_folder(const char *path);
/* "FOLDER/NAME", one slash between; release with mica_free. */
char *mica_path_join(const char *folder, const char *name);

/* SHA-256 of a file's bytes. */
mica_status mica_file_sha256(const char *path, char hex[65]);

#endif
