/* Reading: whole files, mappings, checksums, and what paths are. */
#include "base/file.h"

#include "base/buffer.h"
#include "base/system.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

mica_status mica_fail_errno(const char *path, const char *what) {
  int code = errno;
  char text[128];
  mica_status status = code == ENOENT || code == ENOTDIR ? MICA_ERR_NOT_FOUND : MICA_ERR_IO;
  return mica_fail(status, "%s: %s: %s", path, what, strerror_r(code, text, sizeof text));
}

/* Open a file for reading and look at it; a folder is refused here, where the message can say so.
 */
static mica_status open_to_read(const char *path, int *fd, struct stat *info) {
  if (!path || !*path) return mica_fail(MICA_ERR_INVALID, "the path of a file to read is empty");
  *fd = open(path, O_RDONLY | O_CLOEXEC);
  if (*fd < 0) return mica_fail_errno(path, "cannot be opened");
  mica_status status = MICA_OK;
  if (fstat(*fd, info) != 0)
    status = mica_fail_errno(path, "cannot be looked at");
  else if (S_ISDIR(info->st_mode))
    status = mica_fail(MICA_ERR_IO, "%s: is a folder, not a file", path);
  if (status) close(*fd);
  return status;
}

static mica_status too_long(const char *path, size_t limit) {
  return mica_fail(MICA_ERR_FORMAT, "%s: is longer than the %zu bytes that are allowed", path,
                   limit);
}

/* One read, tried again when a signal came between; 0 at the end, -1 on failure. */
static ssize_t read_some(int fd, void *to, size_t n) {
  const size_t most = (size_t)1 << 30;
  ssize_t got;
  do got = read(fd, to, n < most ? n : most);
  while (got < 0 && errno == EINTR);
  return got;
}

static mica_status read_all(const char *path, int fd, size_t limit, size_t hint, mica_bytes *b) {
  for (;;) {
    size_t more = hint > b->n ? hint - b->n : 65536;
    if (more > limit - b->n) more = limit - b->n;
    /* One byte more than allowed tells a file that is too long from one that just fits. */
    char *at = mica_bytes_reserve(b, more + 1);
    if (!at) return mica_fail_within("%s", path);
    ssize_t got = read_some(fd, at, more + 1);
    if (got < 0) return mica_fail_errno(path, "cannot be read");
    if (got == 0) return MICA_OK;
    if ((size_t)got > limit - b->n) return too_long(path, limit);
    b->n += (size_t)got;
  }
}

mica_status mica_file_read(const char *path, size_t limit, uint8_t **bytes, size_t *n) {
  *bytes = NULL;
  *n = 0;
  int fd;
  struct stat info;
  mica_status status = open_to_read(path, &fd, &info);
  if (status) return status;
  mica_bytes b = {0};
  size_t hint = 0;
  if (S_ISREG(info.st_mode)) {
    if ((uint64_t)info.st_size > limit) {
      close(fd);
      return too_long(path, limit);
    }
    hint = (size_t)info.st_size;
  }
  status = read_all(path, fd, limit, hint, &b);
  close(fd);
  if (!status) {
    *n = b.n;
    *bytes = (uint8_t *)mica_bytes_take(&b);
    if (*bytes) return MICA_OK;
    *n = 0;
    status = mica_fail_within("%s", path);
  }
  mica_bytes_free(&b);
  return status;
}

mica_status mica_file_map(const char *path, mica_mapping *out) {
  static const uint8_t nothing[1] = {0};
  *out = (mica_mapping){nothing, 0};
  int fd;
  struct stat info;
  mica_status status = open_to_read(path, &fd, &info);
  if (status) return status;
  if (!S_ISREG(info.st_mode)) {
    status = mica_fail(MICA_ERR_IO, "%s: only a regular file can be mapped", path);
  } else if ((uint64_t)info.st_size > PTRDIFF_MAX) {
    status = mica_fail(MICA_ERR_MEMORY, "%s: does not fit in the address space", path);
  } else if (info.st_size > 0) {
    void *at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
      status = mica_fail_errno(path, "cannot be mapped");
    else
      *out = (mica_mapping){at, (size_t)info.st_size};
  }
  close(fd);
  return status;
}

void mica_file_unmap(mica_mapping *mapping) {
  /* munmap takes what mmap gave, which we hold as const only. */
  if (mapping->n) munmap((void *)(uintptr_t)mapping->bytes, mapping->n);
  *mapping = (mica_mapping){NULL, 0};
}

mica_status mica_file_sha256(const char *path, char hex[65]) {
  hex[0] = '\0';
  int fd;
  struct stat info;
  mica_status status = open_to_read(path, &fd, &info);
  if (status) return status;
  enum { piece = 1 << 16 };
  uint8_t *bytes = mica_malloc(piece);
  if (!bytes) {
    close(fd);
    return mica_fail_within("%s", path);
  }
  mica_sha256 h;
  mica_sha256_begin(&h);
  ssize_t got;
  while ((got = read_some(fd, bytes, piece)) > 0) mica_sha256_update(&h, bytes, (size_t)got);
  if (got < 0)
    status = mica_fail_errno(path, "cannot be read");
  else
    mica_sha256_end(&h, hex);
  mica_free(bytes);
  close(fd);
  return status;
}

bool mica_file_exists(const char *path) {
  struct stat info;
  return stat(path, &info) == 0;
}

bool mica_is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *mica_path_join(const char *folder, const char *name) {
  size_t n = strlen(folder);
  mica_bytes b = {0};
  mica_bytes_append(&b, folder, n);
  if (n && folder[n - 1] != '/') mica_bytes_byte(&b, '/');
  mica_bytes_text(&b, name);
  return mica_bytes_take(&b);
}
