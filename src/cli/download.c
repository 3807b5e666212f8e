/* Downloads: curl as a child process.
 *
 * The curl program, and not its library: nothing is linked or loaded, the embedded build has the
 * same code, and certificates, proxies (https_proxy, no_proxy ...) and protocols are those of the
 * system's own curl. mica reads the size of the part file to tell how far it is.
 *
 * TO.part is locked while it grows, so that two of us never write to one file. A part that was
 * resumed and has the wrong checksum may stem from another version: it is fetched once more from
 * the beginning before the mismatch is an error.
 */
#include "cli/download.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/program.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

char *download_address(const char *url) {
  const char *mirror = getenv("MICA_MIRROR"), *rest = strstr(url, "://");
  mica_bytes b = {0};
  if (!mirror || !*mirror || !rest) return mica_strdup(url);
  mica_bytes_text(&b, mirror);
  if (mirror[strlen(mirror) - 1] != '/') mica_bytes_byte(&b, '/');
  mica_bytes_text(&b, rest + 3);
  mica_bytes_byte(&b, 0);
  return mica_bytes_take(&b);
}

/* ---- progress ---- */

typedef struct progress {
  const download *d;
  const char *name; /* without its folders */
  bool terminal;
  double next; /* when to tell again */
  mica_time_left left;
} progress;

static void tell(progress *p, int64_t done, bool last) {
  const double now = mica_seconds();
  const int64_t total = p->d->bytes;
  const double left = mica_time_left_update(&p->left, now, done, total);
  if (!last && now < p->next) return;
  p->next = now + (p->terminal && !p->d->json ? 0.2 : 2);
  if (p->d->json) {
    mica_bytes b = {0};
    mica_json_writer w = {.out = &b};
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "file", p->d->to);
    mica_json_put_int(&w, "bytes", done);
    if (total > 0) {
      mica_json_put_int(&w, "total", total);
    }
    mica_json_end_object(&w);
    if (b.data) puts(b.data);
    fflush(stdout);
    mica_bytes_free(&b);
    return;
  }
  char text[MICA_DURATION_TEXT];
  fprintf(stderr, "%s%s: %.1f", p->terminal ? "\r\033[K" : "", p->name, (double)done * 1e-6);
  if (total > 0) fprintf(stderr, " of %.1f", (double)total * 1e-6);
  fprintf(stderr, " MB");
  if (!last && total > 0 && left >= 0) fprintf(stderr, ", %s left", mica_duration_text(left, text));
  if (!p->terminal || last) fputc('\n', stderr);
}

/* ---- curl ---- */

/* The three digits of the server's answer, which curl was told to print last; 0 for none. */
static int http_code(program *p) {
  int code = 0;
  char *mark = strstr(p->text, "http=");
  if (!mark) return 0;
  code = atoi(mark + 5);
  *mark = 0; /* the rest of the text is curl's complaint */
  p->n = strlen(p->text);
  return code;
}

static mica_status explain(const download *d, const char *url, const char *part, int exit_code,
                           int http, const char *complaint) {
  switch (exit_code) {
  case 3:
  case 1: return mica_fail(MICA_ERR_INVALID, "%s: %s", url, complaint);
  case 5:
  case 6:
  case 7:
    return mica_fail(MICA_ERR_IO,
                     "%s: no connection (%s); downloads need a network, or a file put at %s by "
                     "hand",
                     url, complaint, d->to);
  case 22:
    return mica_fail(http == 404 ? MICA_ERR_NOT_FOUND : MICA_ERR_IO, "%s: the server answers %d%s",
                     url, http,
                     http == 404   ? ", not found"
                     : http == 403 ? ", forbidden"
                                   : "");
  case 23:
    return mica_fail(MICA_ERR_IO, "%s: cannot be written, the disk may be full; the part is kept",
                     part);
  case 47: return mica_fail(MICA_ERR_IO, "%s: more than 5 redirects", url);
  case 63:
    return mica_fail(MICA_ERR_FORMAT, "%s: is larger than the %lld bytes expected", url,
                     (long long)(d->bytes ? d->bytes : DOWNLOAD_MOST));
  case 35:
  case 60:
  case 77: return mica_fail(MICA_ERR_IO, "%s: no secure connection: %s", url, complaint);
  default:
    return mica_fail(MICA_ERR_IO,
                     "%s: the transfer broke off (curl %d%s%s); the part is kept, the same command "
                     "continues",
                     url, exit_code, *complaint ? ": " : "", complaint);
  }
}

static int64_t size_of(int fd) {
  struct stat info;
  return fstat(fd, &info) == 0 ? (int64_t)info.st_size : -1;
}

/* One run of curl that appends to the part. *again: begin anew with an empty part. */
static mica_status transfer(const download *d, const char *url, const char *part, int fd,
                            progress *show, bool *again) {
  const int64_t have = size_of(fd), most = d->bytes > 0 ? d->bytes : DOWNLOAD_MOST;
  char from[32], limit[32];
  const bool mirror = getenv("MICA_MIRROR") && *getenv("MICA_MIRROR");
  const char *protocols = mirror ? "=http,https" : "=https";
  snprintf(from, sizeof from, "%lld", (long long)have);
  snprintf(limit, sizeof limit, "%lld", (long long)(most - have));
  const char *const argv[] = {"curl",
                              "--disable", /* no .curlrc: only what is said here */
                              "--fail",
                              "--silent",
                              "--show-error",
                              "--location",
                              "--max-redirs",
                              "5",
                              "--proto",
                              protocols,
                              "--proto-redir",
                              protocols,
                              "--connect-timeout",
                              "20",
                              "--speed-limit",
                              "1",
                              "--speed-time",
                              "60",
                              "--max-filesize",
                              limit,
                              "--continue-at",
                              from,
                              "--output",
                              part,
                              "--write-out",
                              "\nhttp=%{http_code}\n",
                              "--url",
                              url,
                              NULL};
  program p;
  int code = 0;
  *again = false;
  mica_status status = program_start(&p, argv, "download");
  if (status != MICA_OK) return status;
  while (!program_ended(&p, 0.1, &code)) {
    const int64_t now = size_of(fd);
    tell(show, now, false);
    if (cli_interrupted()) program_stop(&p);
    if (p.pid > 0 && now > most) { /* a server that does not tell the size beforehand */
      program_stop(&p);
      code = 63;
    }
    if (p.pid <= 0) break;
  }
  if (cli_interrupted())
    return mica_fail(MICA_ERR_CANCELLED, "stopped at %.1f MB; the same command continues",
                     (double)size_of(fd) * 1e-6);
  const int http = http_code(&p);
  if (code == 0) return MICA_OK;
  /* The server cannot continue (63: it offers the whole file again), or what is there is no part of
   * its file. */
  *again = have > 0 && (code == 33 || code == 36 || code == 63 || http == 416);
  return explain(d, url, part, code, http, program_complaint(&p));
}

static bool same_digits(const char *expected, const char *got) {
  for (; *expected; expected++, got++)
    if (tolower((unsigned char)*expected) != *got) return false;
  return true;
}

static mica_status room_for(const char *part, int64_t bytes) {
  struct statvfs disk;
  if (bytes <= 0 || statvfs(part, &disk) != 0) return MICA_OK;
  const double free_bytes = (double)disk.f_bavail * (double)disk.f_frsize;
  if (free_bytes >= (double)bytes) return MICA_OK;
  return mica_fail(MICA_ERR_IO, "%s: %.1f MB are still to come and the disk has %.1f MB left", part,
                   (double)bytes * 1e-6, free_bytes * 1e-6);
}

static mica_status fetch(const download *d, const char *url, const char *part, int fd,
                         char sha256[65]) {
  const char *slash = strrchr(d->to, '/');
  mica_status status = MICA_OK;
  progress show = {.d = d, .name = slash ? slash + 1 : d->to, .terminal = isatty(2) != 0};
  for (int attempt = 0;; attempt++) {
    int64_t have = size_of(fd);
    bool again = false;
    if (d->bytes > 0 && have > d->bytes) { /* no part of this file */
      if (ftruncate(fd, 0) != 0) return mica_fail(MICA_ERR_IO, "%s: cannot be emptied", part);
      have = 0;
    }
    if (d->bytes <= 0 || have < d->bytes) {
      status = room_for(part, d->bytes - have);
      if (status == MICA_OK) status = transfer(d, url, part, fd, &show, &again);
    }
    const int64_t now = size_of(fd);
    if (status == MICA_OK) tell(&show, now, true);
    if (status == MICA_OK && d->bytes > 0 && now != d->bytes)
      status = mica_fail(MICA_ERR_FORMAT, "%s: has %lld bytes, expected %lld; not kept", url,
                         (long long)now, (long long)d->bytes);
    else if (status == MICA_OK)
      status = mica_file_sha256(part, sha256);
    else if (!again)
      return status;
    if (status == MICA_OK && (!d->sha256 || same_digits(d->sha256, sha256))) return MICA_OK;
    if (status == MICA_OK)
      status = mica_fail(MICA_ERR_FORMAT, "%s: sha256 is %s, expected %s%s; not kept", url, sha256,
                         d->sha256, strlen(d->sha256) < 64 ? "..." : "");
    /* A wrong file, or a server that cannot continue: nothing of the part is of use. */
    if (ftruncate(fd, 0) != 0) return mica_fail(MICA_ERR_IO, "%s: cannot be emptied", part);
    if (!have || attempt) {
      unlink(part);
      return status;
    }
    if (!d->json)
      fprintf(stderr, "%s: the part from before is of no use; from the beginning\n", show.name);
    status = MICA_OK;
  }
}

mica_status download_file(const download *d, char sha256[65]) {
  mica_bytes name = {0};
  mica_bytes_printf(&name, "%s.part", d->to);
  char *url = download_address(d->url);
  mica_status status = name.status == MICA_OK && url ? mica_make_parent(d->to)
                                                     : mica_fail(MICA_ERR_MEMORY, "out of memory");
  int fd = -1;
  if (status == MICA_OK) {
    fd = open(name.data, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
      status = mica_fail(MICA_ERR_IO, "%s: cannot be written: %s", name.data, strerror(errno));
  }
  if (status == MICA_OK && flock(fd, LOCK_EX | LOCK_NB) != 0)
    status = mica_fail(MICA_ERR_IO, "%s: another mica is fetching it", name.data);
  if (status == MICA_OK) status = fetch(d, url, name.data, fd, sha256);
  if (status == MICA_OK && (fsync(fd) != 0 || rename(name.data, d->to) != 0))
    status = mica_fail(MICA_ERR_IO, "%s: cannot be renamed to %s: %s", name.data, d->to,
                       strerror(errno));
  if (fd >= 0 && status != MICA_OK && size_of(fd) == 0) unlink(name.data);
  if (fd >= 0) close(fd);
  mica_bytes_free(&name);
  mica_free(url);
  return status;
}
