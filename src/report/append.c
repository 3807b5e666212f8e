/* Files that grow by whole records: each goes to the system in one call, with no buffer in the
 * process that a kill could take along. */
#include "report/append.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/system.h"

mica_status mica_append_open(const char *path, bool fresh, mica_append_file *file) {
  *file = (mica_append_file){.fd = -1};
  char *copy = mica_strdup(path);
  if (!copy) return MICA_ERR_MEMORY;
  const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (fresh ? O_EXCL : 0), 0666);
  struct stat about;
  mica_status status = fd < 0 ? mica_fail_errno(path, "cannot open for writing") : MICA_OK;
  if (!status && fstat(fd, &about) != 0) status = mica_fail_errno(path, "cannot look at");
  if (!status && !S_ISREG(about.st_mode))
    status = mica_fail(MICA_ERR_IO, "%s: not a regular file", path);
  /* two runs in one folder would spoil each other; the system drops the lock with the process */
  if (!status && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    status = mica_fail(MICA_ERR_STATE, "%s: another run is writing it", path);
  if (status) {
    if (fd >= 0) close(fd);
    mica_free(copy);
    return status;
  }
  *file = (mica_append_file){fd, copy, (uint64_t)about.st_size};
  return MICA_OK;
}

mica_status mica_append_cut(mica_append_file *file, uint64_t length) {
  while (ftruncate(file->fd, (off_t)length) != 0)
    if (errno != EINTR) return mica_fail_errno(file->path, "cannot cut");
  file->length = length;
  return MICA_OK;
}

mica_status mica_append_record(mica_append_file *file, const void *bytes, size_t n) {
  const char *at = bytes;
  size_t left = n;
  while (left) {
    const ssize_t written = write(file->fd, at, left);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const mica_status status = mica_fail_errno(file->path, "cannot write");
      /* half a record must not stay; when even cutting fails, readers leave a line without end out
       */
      if (left != n && ftruncate(file->fd, (off_t)file->length) != 0) return status;
      return status;
    }
    at += written;
    left -= (size_t)written;
  }
  file->length += n;
  return MICA_OK;
}

mica_status mica_append_sync(mica_append_file *file) {
  while (fdatasync(file->fd) != 0)
    if (errno != EINTR) return mica_fail_errno(file->path, "cannot flush");
  return MICA_OK;
}

mica_status mica_append_close(mica_append_file *file) {
  mica_status status = MICA_OK;
  if (file->fd >= 0 && close(file->fd) != 0 && errno != EINTR)
    status = mica_fail_errno(file->path, "cannot close");
  mica_free(file->path);
  *file = (mica_append_file){.fd = -1};
  return status;
}
