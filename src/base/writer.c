/* Writing: a temporary file in the target's folder, then fsync, rename, and fsync of the folder.
 *
 * So a reader sees the old file or the new one, whatever happens in between, and two writers of one
 * path leave one whole file. A temporary name that a killed process left behind ends in ".tmp".
 */
#include "base/buffer.h"
#include "base/file.h"
#include "base/system.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file is written in pieces of a large page, each at a multiple of its size: Linux keeps in
 * memory what one call writes in pages as large as that, and who maps the file soon after has few
 * of them to map. Of a piece only what is used is ever touched. */
#define PIECE ((size_t)2 << 20)

struct mica_writer {
  char *path;      /* the final name, links followed */
  char *temporary; /* NULL when written directly */
  int fd;
  mica_status status;
  size_t pending; /* bytes in `piece` that are not in the file yet */
  uint8_t piece[PIECE];
};

static mica_status write_all(mica_writer *w, const uint8_t *bytes, size_t n) {
  while (n > 0) {
    ssize_t put = write(w->fd, bytes, n < (size_t)1 << 30 ? n : (size_t)1 << 30);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return w->status = mica_fail_errno(w->path, "cannot be written");
    bytes += put;
    n -= (size_t)put;
  }
  return MICA_OK;
}

static mica_status flush(mica_writer *w) {
  size_t n = w->pending;
  w->pending = 0;
  return write_all(w, w->piece, n);
}

/* A name beside the target that no other process or thread has. */
static mica_status open_temporary(mica_writer *w, mode_t mode) {
  size_t room = strlen(w->path) + 32;
  w->temporary = mica_malloc(room);
  if (!w->temporary) return mica_fail_within("%s", w->path);
  for (unsigned attempt = 0; attempt < 1000; attempt++) {
    snprintf(w->temporary, room, "%s.%ld-%u.tmp", w->path, (long)getpid(), attempt);
    w->fd = open(w->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (w->fd >= 0) return MICA_OK;
    if (errno != EEXIST) break;
  }
  int code = errno;
  mica_free(w->temporary);
  w->temporary = NULL;
  errno = code;
  return mica_fail_errno(w->path, "cannot be created");
}

static mica_status open_target(mica_writer *w, const char *path) {
  char real[PATH_MAX];
  struct stat info;
  bool exists = stat(path, &info) == 0;
  if (exists && S_ISDIR(info.st_mode))
    return mica_fail(MICA_ERR_IO, "%s: is a folder, not a file", path);
  w->path = mica_strdup(exists && realpath(path, real) ? real : path);
  if (!w->path) return mica_fail_within("%s", path);
  if (!exists || S_ISREG(info.st_mode)) {
    mica_status status = open_temporary(w, 0666);
    /* A file that is replaced keeps its permissions; failing to is no reason not to write. */
    if (!status && exists && fchmod(w->fd, info.st_mode & 07777) != 0) errno = 0;
    return status;
  }
  w->fd = open(w->path, O_WRONLY | O_CLOEXEC);
  return w->fd < 0 ? mica_fail_errno(path, "cannot be opened") : MICA_OK;
}

mica_status mica_writer_open(const char *path, mica_writer **out) {
  *out = NULL;
  if (!path || !*path) return mica_fail(MICA_ERR_INVALID, "the path of a file to write is empty");
  mica_writer *w = mica_malloc(sizeof *w);
  if (!w) return mica_fail_within("%s", path);
  w->path = w->temporary = NULL;
  w->fd = -1;
  w->status = MICA_OK;
  w->pending = 0;
  mica_status status = open_target(w, path);
  if (status) {
    mica_writer_close(w);
    return status;
  }
  *out = w;
  return MICA_OK;
}

mica_status mica_writer_write(mica_writer *w, const void *bytes, size_t n) {
  if (w->status == MICA_ERR_STATE)
    return mica_fail(MICA_ERR_STATE, "%s: is committed already", w->path);
  if (w->status) return w->status;
  const uint8_t *from = bytes;
  while (n > 0) {
    if (!w->pending && n >= PIECE) {
      const size_t whole = n - n % PIECE;
      if (write_all(w, from, whole)) return w->status;
      from += whole;
      n -= whole;
      continue;
    }
    const size_t room = PIECE - w->pending, part = n < room ? n : room;
    memcpy(w->piece + w->pending, from, part);
    w->pending += part;
    from += part;
    n -= part;
    if (w->pending == PIECE && flush(w)) return w->status;
  }
  return MICA_OK;
}

mica_status mica_writer_patch(mica_writer *w, uint64_t offset, const void *bytes, size_t n) {
  if (w->status || flush(w)) return w->status;
  struct stat info;
  if (!w->temporary)
    return w->status = mica_fail(MICA_ERR_IO, "%s: only a regular file can be patched", w->path);
  if (fstat(w->fd, &info) != 0) return w->status = mica_fail_errno(w->path, "cannot be looked at");
  if (offset > (uint64_t)info.st_size || n > (uint64_t)info.st_size - offset)
    return w->status =
               mica_fail(MICA_ERR_INVALID, "%s: a patch reaches beyond what is written", w->path);
  const uint8_t *at = bytes;
  while (n > 0) {
    ssize_t put = pwrite(w->fd, at, n, (off_t)offset);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return w->status = mica_fail_errno(w->path, "cannot be written");
    at += put;
    offset += (uint64_t)put;
    n -= (size_t)put;
  }
  return MICA_OK;
}

mica_status mica_writer_map(mica_writer *w, mica_mapping *out) {
  *out = (mica_mapping){NULL, 0};
  if (w->status || flush(w)) return w->status;
  struct stat info;
  if (!w->temporary)
    return w->status = mica_fail(MICA_ERR_IO, "%s: only a regular file can be mapped", w->path);
  if (fstat(w->fd, &info) != 0) return w->status = mica_fail_errno(w->path, "cannot be looked at");
  if (info.st_size == 0) return MICA_OK;
  void *at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, w->fd, 0);
  if (at == MAP_FAILED) return w->status = mica_fail_errno(w->path, "cannot be mapped");
  *out = (mica_mapping){at, (size_t)info.st_size};
  return MICA_OK;
}

/* The rename itself is on disk once its folder is. Some file systems cannot sync a folder: the file
 * is whole all the same. */
static void sync_folder(const char *path) {
  char folder[PATH_MAX];
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) : 0;
  if (n >= sizeof folder) return;
  memcpy(folder, path, n);
  folder[n] = '\0';
  int fd = open(n ? folder : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

mica_status mica_writer_commit(mica_writer *w) {
  if (w->status == MICA_ERR_STATE)
    return mica_fail(MICA_ERR_STATE, "%s: is committed already", w->path);
  if (w->status || flush(w)) return w->status;
  int fd = w->fd;
  if (w->temporary && fsync(fd) != 0)
    return w->status = mica_fail_errno(w->path, "cannot be flushed to disk");
  w->fd = -1;
  if (close(fd) != 0) return w->status = mica_fail_errno(w->path, "cannot be closed");
  if (w->temporary) {
    if (rename(w->temporary, w->path) != 0)
      return w->status = mica_fail_errno(w->path, "cannot be put in place");
    mica_free(w->temporary);
    w->temporary = NULL;
    sync_folder(w->path);
  }
  w->status = MICA_ERR_STATE;
  return MICA_OK;
}

void mica_writer_close(mica_writer *w) {
  if (!w) return;
  if (w->fd >= 0) close(w->fd);
  if (w->temporary) unlink(w->temporary);
  mica_free(w->temporary);
  mica_free(w->path);
  mica_free(w);
}

mica_status mica_file_write_atomic(const char *path, const void *bytes, size_t n) {
  mica_writer *w;
  mica_status status = mica_writer_open(path, &w);
  if (status) return status;
  status = mica_writer_write(w, bytes, n);
  if (!status) status = mica_writer_commit(w);
  mica_writer_close(w);
  return status;
}

static mica_status make_folders(const char *path, size_t n) {
  char *each = mica_strndup(path, n);
  if (!each) return mica_fail_within("%s", path);
  mica_status status = MICA_OK;
  for (size_t i = 1; i <= n && !status; i++) {
    if (i < n && each[i] != '/') continue;
    char kept = each[i];
    each[i] = '\0';
    if (mkdir(each, 0777) != 0) {
      int code = errno;
      /* Also when the reason is not EEXIST: what is above may exist and be closed to us. */
      if (!mica_is_folder(each)) {
        errno = code;
        status = mica_fail_errno(each, "folder cannot be created");
      }
    }
    each[i] = kept;
  }
  mica_free(each);
  return status;
}

mica_status mica_make_folders(const char *path) {
  if (!path || !*path)
    return mica_fail(MICA_ERR_INVALID, "the path of a folder to create is empty");
  return make_folders(path, strlen(path));
}

mica_status mica_make_parent(const char *path) {
  const char *slash = path ? strrchr(path, '/') : NULL;
  return slash && slash > path ? make_folders(path, (size_t)(slash - path)) : MICA_OK;
}
