/* Unpacking what came from outside.
 *
 * zip: with the library's own reader, member by member, every name checked before a byte is
 * written. tar: with the system's tar into a folder that did not exist before. GNU and BSD tar
 * never follow a link out of it and refuse ".."; what they leave is looked at afterwards, and
 * anything but plain files and folders makes the whole archive an error. Nothing of an archive is
 * used before that.
 */
#include "cli/unpack.h"

#include "base/file.h"
#include "cli/program.h"
#include "data/zip.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMBER_MOST ((uint64_t)4 << 30)
#define DEPTH_MOST  64

/* ---- trees ---- */

typedef mica_status (*visit_fn)(void *ctx, const char *path, const struct stat *info);

/* Every entry below `path`, a folder after what it holds. */
static mica_status walk(const char *path, int depth, visit_fn visit, void *ctx) {
  DIR *d = opendir(path);
  if (!d) return mica_fail(MICA_ERR_IO, "%s: cannot be listed: %s", path, strerror(errno));
  mica_status status =
      depth < DEPTH_MOST ? MICA_OK : mica_fail(MICA_ERR_FORMAT, "%s: folders too deep", path);
  struct dirent *e;
  while (status == MICA_OK && (e = readdir(d))) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    struct stat info;
    char *below = mica_path_join(path, e->d_name);
    if (!below)
      status = mica_fail(MICA_ERR_MEMORY, "out of memory");
    else if (lstat(below, &info) != 0)
      status = mica_fail(MICA_ERR_IO, "%s: cannot be looked at: %s", below, strerror(errno));
    if (status == MICA_OK && S_ISDIR(info.st_mode)) status = walk(below, depth + 1, visit, ctx);
    if (status == MICA_OK) status = visit(ctx, below, &info);
    mica_free(below);
  }
  closedir(d);
  return status;
}

static mica_status visit_remove(void *ctx, const char *path, const struct stat *info) {
  (void)ctx;
  (void)info;
  if (remove(path) == 0) return MICA_OK;
  return mica_fail(MICA_ERR_IO, "%s: cannot be removed: %s", path, strerror(errno));
}

mica_status tree_remove(const char *path) {
  struct stat info;
  if (lstat(path, &info) != 0) return MICA_OK;
  mica_status status = S_ISDIR(info.st_mode) ? walk(path, 0, visit_remove, NULL) : MICA_OK;
  return status == MICA_OK ? visit_remove(NULL, path, NULL) : status;
}

/* ---- archives ---- */

static mica_status visit_check(void *ctx, const char *path, const struct stat *info) {
  const char *archive = ctx;
  if (S_ISDIR(info->st_mode) || (S_ISREG(info->st_mode) && info->st_nlink == 1)) return MICA_OK;
  return mica_fail(MICA_ERR_FORMAT, "%s: holds a link or a device (%s): refused", archive,
                   strrchr(path, '/') + 1);
}

static mica_status unpack_tar(const char *archive, const char *folder) {
  const char *const argv[] = {"tar", "-x",   "-o", "--no-same-permissions", "-f", archive,
                              "-C",  folder, NULL};
  mica_status status = program_run(argv, "unpack");
  if (status == MICA_OK) return walk(folder, 0, visit_check, (void *)archive);
  return status == MICA_ERR_IO ? mica_fail_within("%s", archive) : status;
}

/* Is the name a path that stays below where it begins? */
static bool stays_below(const char *name) {
  if (!*name || *name == '/' || strchr(name, '\\')) return false;
  for (const char *part = name; part; part = strchr(part, '/')) {
    part += *part == '/';
    if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || !part[2])) return false;
  }
  return true;
}

static mica_status unpack_member(const char *archive, const mica_zip *zip, const mica_zip_member *m,
                                 const char *folder) {
  if (!stays_below(m->name))
    return mica_fail(MICA_ERR_FORMAT, "%s: its member '%s' would leave the folder: refused",
                     archive, m->name);
  if (m->size > MEMBER_MOST)
    return mica_fail(MICA_ERR_FORMAT, "%s: its member '%s' has %llu bytes", archive, m->name,
                     (unsigned long long)m->size);
  char *path = mica_path_join(folder, m->name);
  if (!path) return mica_fail(MICA_ERR_MEMORY, "out of memory");
  mica_status status;
  const size_t length = strlen(m->name);
  if (m->name[length - 1] == '/') {
    status = mica_make_folders(path);
  } else {
    uint8_t *bytes = mica_malloc((size_t)m->size + 1);
    status = bytes ? mica_zip_extract(zip, m, 0, bytes, (size_t)m->size)
                   : mica_fail(MICA_ERR_MEMORY, "out of memory");
    if (status == MICA_OK) status = mica_make_parent(path);
    if (status == MICA_OK) {
      FILE *f = fopen(path, "wbx"); /* a name given twice is an error */
      const bool ok = f && fwrite(bytes, 1, (size_t)m->size, f) == (size_t)m->size;
      if ((f && fclose(f) != 0) || !ok)
        status = mica_fail(MICA_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    }
    mica_free(bytes);
  }
  mica_free(path);
  return status;
}

static mica_status unpack_zip(const char *archive, const char *folder) {
  mica_source source;
  mica_zip zip = {0};
  mica_status status = mica_source_open(archive, &source);
  if (status != MICA_OK) return status;
  status = mica_zip_open(&source, &zip);
  if (status == MICA_OK) {
    for (int64_t i = 0; i < zip.n && status == MICA_OK; i++)
      status = unpack_member(archive, &zip, &zip.member[i], folder);
    mica_zip_close(&zip);
  }
  mica_source_close(&source);
  return status;
}

static bool ends_with(const char *text, const char *end) {
  const size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

mica_status unpack(const char *archive, const char *folder) {
  mica_status status = mica_make_folders(folder);
  if (status != MICA_OK) return status;
  if (ends_with(archive, ".zip")) return unpack_zip(archive, folder);
  if (ends_with(archive, ".tar") || ends_with(archive, ".tar.gz") || ends_with(archive, ".tgz"))
    return unpack_tar(archive, folder);
  return mica_fail(MICA_ERR_UNSUPPORTED, "%s: is no .zip, .tar, .tar.gz or .tgz", archive);
}

/* ---- arrangement ---- */

static mica_status move_to(const char *from, const char *to) {
  if (rename(from, to) == 0) return MICA_OK;
  return mica_fail(MICA_ERR_IO, "%s: cannot be moved to %s: %s", from, to, strerror(errno));
}

mica_status unpack_lift(const char *folder) {
  char only[256] = "";
  int n = 0;
  DIR *d = opendir(folder);
  if (!d) return mica_fail(MICA_ERR_IO, "%s: cannot be listed: %s", folder, strerror(errno));
  for (struct dirent *e; (e = readdir(d));)
    if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
      snprintf(only, sizeof only, "%s", e->d_name);
      n++;
    }
  closedir(d);
  char *top = n == 1 ? mica_path_join(folder, only) : NULL;
  if (!top || !mica_is_folder(top)) {
    mica_free(top);
    return MICA_OK;
  }
  /* FOLDER/top aside to FOLDER.top, and that in FOLDER's place. */
  char aside[4096];
  mica_status status = MICA_OK;
  if (snprintf(aside, sizeof aside, "%s.top", folder) >= (int)sizeof aside)
    status = mica_fail(MICA_ERR_INVALID, "%s: the name is too long", folder);
  if (status == MICA_OK) status = tree_remove(aside);
  if (status == MICA_OK) status = move_to(top, aside);
  if (status == MICA_OK) status = tree_remove(folder);
  if (status == MICA_OK) status = move_to(aside, folder);
  mica_free(top);
  return status;
}

/* A file NAME of the folder whose class is not CLASS/NAME yet. */
static mica_status into_class(const char *folder, const char *name, const char *mark) {
  const char *at = strstr(name, mark);
  char class_name[256];
  if (!at || at == name || at - name >= (ptrdiff_t)sizeof class_name) return MICA_OK;
  memcpy(class_name, name, (size_t)(at - name));
  class_name[at - name] = 0;
  char *from = mica_path_join(folder, name), *parent = mica_path_join(folder, class_name);
  char *to = parent ? mica_path_join(parent, name) : NULL;
  mica_status status =
      from && to ? mica_make_folders(parent) : mica_fail(MICA_ERR_MEMORY, "out of memory");
  if (status == MICA_OK) status = move_to(from, to);
  mica_free(from);
  mica_free(parent);
  mica_free(to);
  return status;
}

mica_status unpack_into_classes(const char *folder, const char *mark) {
  /* One file at a time: a listing is not read while its folder changes. */
  for (;;) {
    char next[256] = "";
    DIR *d = opendir(folder);
    if (!d) return mica_fail(MICA_ERR_IO, "%s: cannot be listed: %s", folder, strerror(errno));
    for (struct dirent *e; !*next && (e = readdir(d));) {
      struct stat info;
      if (strstr(e->d_name, mark) &&
          fstatat(dirfd(d), e->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
          strstr(e->d_name, mark) != e->d_name)
        snprintf(next, sizeof next, "%s", e->d_name);
    }
    closedir(d);
    if (!*next) return MICA_OK;
    const mica_status status = into_class(folder, next, mark);
    if (status != MICA_OK) return status;
  }
}
