/* Bytes at an offset: see source.h. */
#include "data/source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

mica_status mica_source_open(const char *path, mica_source *out) {
  *out = (mica_source){.fd = -1};
  if (!path) return mica_fail(MICA_ERR_INVALID, "no path to open");
  /* Not blocking, so that a FIFO without a writer is refused below instead of waited for. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    mica_status status = errno == ENOENT ? MICA_ERR_NOT_FOUND : MICA_ERR_IO;
    return mica_fail(status, "%s: cannot open: %s", path, strerror(errno));
  }
  struct stat st;
  if (fstat(fd, &st) != 0) {
    int error = errno;
    close(fd);
    return mica_fail(MICA_ERR_IO, "%s: cannot examine: %s", path, strerror(error));
  }
  if (!S_ISREG(st.st_mode)) {
    close(fd);
    return mica_fail(MICA_ERR_IO, "%s: %s, expected a file", path,
                     S_ISDIR(st.st_mode) ? "is a directory" : "is not a regular file");
  }
  out->name = mica_strdup(path);
  if (!out->name) {
    close(fd);
    return MICA_ERR_MEMORY;
  }
  out->fd = fd;
  out->size = (uint64_t)st.st_size;
  return MICA_OK;
}

mica_status mica_source_memory(const void *bytes, size_t n, const char *name, mica_source *out) {
  *out = (mica_source){.fd = -1, .bytes = bytes, .size = n};
  if (!bytes && n) return mica_fail(MICA_ERR_INVALID, "no bytes to read");
  out->name = mica_strdup(name ? name : "memory");
  return out->name ? MICA_OK : MICA_ERR_MEMORY;
}

void mica_source_close(mica_source *source) {
  if (source->fd >= 0) close(source->fd);
  mica_free(source->name);
  *source = (mica_source){.fd = -1};
}

mica_status mica_source_read(const mica_source *source, uint64_t offset, void *to, size_t n) {
  if (offset > source->size || n > source->size - offset)
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: truncated: %zu bytes expected at offset %llu, the file has %llu",
                     source->name, n, (unsigned long long)offset, (unsigned long long)source->size);
  if (!n) return MICA_OK;
  if (source->fd < 0) {
    memcpy(to, source->bytes + offset, n);
    return MICA_OK;
  }
  size_t done = 0;
  while (done < n) {
    ssize_t got = pread(source->fd, (uint8_t *)to + done, n - done, (off_t)(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return mica_fail(MICA_ERR_IO, "%s: cannot read: %s", source->name, strerror(errno));
    if (got == 0)
      return mica_fail(MICA_ERR_IO, "%s: became shorter while it was read", source->name);
    done += (size_t)got;
  }
  return MICA_OK;
}
