/* Bytes in order, inflated on the way where needed: see input.h. */
#include "data/input.h"
#include "data/zip.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef MICA_HAVE_ZLIB
#include <zlib.h>
#endif

enum { BUFFER = 1 << 16 };

struct mica_input {
  char *name;
  int fd; /* -1: memory */
  bool close_fd;
  const uint8_t *memory; /* what is left of it */
  size_t memory_left;
  bool raw_end;    /* nothing more to fetch */
  size_t raw_have; /* bytes of raw[] still to be inflated or handed out, from raw_at */
  size_t raw_at;
  bool gzip;
  bool member_open; /* inside a gzip member */
  uint64_t position;
  uint64_t size;           /* bytes of the file or block, UINT64_MAX when not known */
  size_t out_at, out_have; /* gzip: inflated bytes waiting in out[] */
#ifdef MICA_HAVE_ZLIB
  z_stream z;
  bool z_ready;
#endif
  uint8_t raw[BUFFER];
  uint8_t out[BUFFER];
};

static mica_status fetch(mica_input *s) {
  if (s->raw_have || s->raw_end) return MICA_OK;
  s->raw_at = 0;
  if (s->fd < 0) {
    size_t n = s->memory_left < BUFFER ? s->memory_left : BUFFER;
    if (n) memcpy(s->raw, s->memory, n);
    s->memory += n;
    s->memory_left -= n;
    s->raw_have = n;
  } else {
    ssize_t got;
    do got = read(s->fd, s->raw, BUFFER);
    while (got < 0 && errno == EINTR);
    if (got < 0) return mica_fail(MICA_ERR_IO, "%s: cannot read: %s", s->name, strerror(errno));
    s->raw_have = (size_t)got;
  }
  if (!s->raw_have) s->raw_end = true;
  return MICA_OK;
}

#ifdef MICA_HAVE_ZLIB
/* Fill out[] with at least a byte, or come to the end. */
static mica_status inflate_more(mica_input *s) {
  s->out_at = s->out_have = 0;
  while (!s->out_have) {
    mica_status status = fetch(s);
    if (status) return status;
    if (!s->raw_have) {
      if (s->member_open)
        return mica_fail(MICA_ERR_FORMAT, "%s: truncated: the gzip data end early", s->name);
      return MICA_OK;
    }
    if (!s->member_open) {
      /* Zero bytes behind a member are padding (tar writes it); other bytes must begin a member. */
      if (s->raw[s->raw_at] == 0 && s->z_ready) {
        s->raw_at++, s->raw_have--;
        continue;
      }
      if (!s->z_ready) {
        s->z.zalloc = mica_zlib_alloc;
        s->z.zfree = mica_zlib_free;
        if (inflateInit2(&s->z, 16 + MAX_WBITS) != Z_OK)
          return mica_fail(MICA_ERR_MEMORY, "%s: no memory to inflate gzip data", s->name);
        s->z_ready = true;
      } else {
        (void)inflateReset(&s->z);
      }
      s->member_open = true;
    }
    s->z.next_in = s->raw + s->raw_at;
    s->z.avail_in = (uInt)s->raw_have;
    s->z.next_out = s->out;
    s->z.avail_out = BUFFER;
    int rc = inflate(&s->z, Z_NO_FLUSH);
    s->raw_at += s->raw_have - s->z.avail_in;
    s->raw_have = s->z.avail_in;
    s->out_have = BUFFER - s->z.avail_out;
    if (rc == Z_STREAM_END)
      s->member_open = false;
    else if (rc == Z_MEM_ERROR)
      return mica_fail(MICA_ERR_MEMORY, "%s: no memory to inflate gzip data", s->name);
    else if (rc != Z_OK && rc != Z_BUF_ERROR)
      return mica_fail(MICA_ERR_FORMAT, "%s: broken gzip data: %s", s->name,
                       s->z.msg ? s->z.msg : "unknown reason");
  }
  return MICA_OK;
}
#endif

static mica_status begin(mica_input *s) {
  mica_status status = fetch(s);
  if (status) return status;
  /* A pipe may hand over a single byte at first. */
  while (s->raw_have == 1 && s->raw[0] == 0x1f && s->fd >= 0) {
    ssize_t got = read(s->fd, s->raw + 1, BUFFER - 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    s->raw_have += (size_t)got;
  }
  s->gzip = s->raw_have >= 2 && s->raw[0] == 0x1f && s->raw[1] == 0x8b;
#ifndef MICA_HAVE_ZLIB
  if (s->gzip)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: gzip data need a build with zlib: unpack it first",
                     s->name);
#endif
  return MICA_OK;
}

static mica_status make(const char *name, mica_input **out) {
  mica_input *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->fd = -1;
  s->size = UINT64_MAX;
  s->name = mica_strdup(name);
  if (!s->name) {
    mica_free(s);
    return MICA_ERR_MEMORY;
  }
  *out = s;
  return MICA_OK;
}

mica_status mica_input_open(const char *path, mica_input **out) {
  *out = NULL;
  if (!path) return mica_fail(MICA_ERR_INVALID, "no path to open");
  bool input = strcmp(path, "-") == 0;
  mica_input *s;
  mica_status status = make(input ? "standard input" : path, &s);
  if (status) return status;
  s->fd = input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
  s->close_fd = !input;
  struct stat st;
  if (s->fd < 0)
    status = mica_fail(errno == ENOENT ? MICA_ERR_NOT_FOUND : MICA_ERR_IO, "%s: cannot open: %s",
                       path, strerror(errno));
  else if (fstat(s->fd, &st) == 0 && S_ISDIR(st.st_mode))
    status = mica_fail(MICA_ERR_IO, "%s: is a directory, expected a file", path);
  else if (fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode))
    s->size = (uint64_t)st.st_size;
  if (!status) status = begin(s);
  if (status)
    mica_input_close(s);
  else
    *out = s;
  return status;
}

mica_status mica_input_open_memory(const void *bytes, size_t n, const char *name,
                                   mica_input **out) {
  *out = NULL;
  mica_input *s;
  mica_status status = make(name ? name : "memory", &s);
  if (status) return status;
  s->memory = bytes;
  s->memory_left = n;
  s->size = n;
  status = begin(s);
  if (status)
    mica_input_close(s);
  else
    *out = s;
  return status;
}

void mica_input_close(mica_input *s) {
  if (!s) return;
#ifdef MICA_HAVE_ZLIB
  if (s->z_ready) inflateEnd(&s->z);
#endif
  if (s->close_fd && s->fd >= 0) close(s->fd);
  mica_free(s->name);
  mica_free(s);
}

const char *mica_input_name(const mica_input *s) {
  return s->name;
}
uint64_t mica_input_position(const mica_input *s) {
  return s->position;
}
uint64_t mica_input_bound(const mica_input *s) {
  return s->gzip && s->size < UINT64_MAX / 1032 ? s->size * 1032 : s->size;
}

/* Make bytes available and tell where; *n is 0 at the end. */
static mica_status window(mica_input *s, const uint8_t **at, size_t *n) {
#ifdef MICA_HAVE_ZLIB
  if (s->gzip) {
    if (!s->out_have) {
      mica_status status = inflate_more(s);
      if (status) return status;
    }
    *at = s->out + s->out_at;
    *n = s->out_have;
    return MICA_OK;
  }
#endif
  mica_status status = fetch(s);
  *at = s->raw + s->raw_at;
  *n = s->raw_have;
  return status;
}

static void consume(mica_input *s, size_t n) {
  s->position += n;
  if (s->gzip) {
    s->out_at += n;
    s->out_have -= n;
  } else {
    s->raw_at += n;
    s->raw_have -= n;
  }
}

mica_status mica_input_read(mica_input *s, void *to, size_t n, size_t *got) {
  size_t done = 0;
  *got = 0;
  while (done < n) {
    const uint8_t *at;
    size_t have;
    mica_status status = window(s, &at, &have);
    if (status) return status;
    if (!have) break;
    if (have > n - done) have = n - done;
    if (to) memcpy((uint8_t *)to + done, at, have);
    consume(s, have);
    done += have;
  }
  *got = done;
  return MICA_OK;
}

mica_status mica_input_exact(mica_input *s, void *to, size_t n, const char *what) {
  size_t got;
  mica_status status = mica_input_read(s, to, n, &got);
  if (!status && got != n)
    status = mica_fail(MICA_ERR_FORMAT, "%s: truncated: %s needs %zu bytes, %zu are left", s->name,
                       what, n, got);
  return status;
}

mica_status mica_input_skip(mica_input *s, uint64_t n) {
  while (n) {
    size_t part = n < BUFFER ? (size_t)n : BUFFER, got;
    mica_status status = mica_input_read(s, NULL, part, &got);
    if (status) return status;
    if (got != part)
      return mica_fail(MICA_ERR_FORMAT, "%s: truncated: %llu bytes more were expected", s->name,
                       (unsigned long long)(n - got));
    n -= part;
  }
  return MICA_OK;
}

mica_status mica_input_rest(mica_input *s, size_t limit, uint8_t **bytes, size_t *n) {
  uint8_t *block = NULL;
  size_t have = 0, capacity = 0;
  *bytes = NULL;
  *n = 0;
  for (;;) {
    const uint8_t *at;
    size_t more;
    mica_status status = window(s, &at, &more);
    if (!status && more > limit - have)
      status = mica_fail(MICA_ERR_FORMAT, "%s: more than the limit of %zu bytes", s->name, limit);
    if (!status && have + more + 1 > capacity) {
      size_t wanted = capacity * 2 > have + more + 1 ? capacity * 2 : have + more + 1;
      uint8_t *grown = mica_realloc_array(block, wanted, 1);
      if (grown)
        block = grown, capacity = wanted;
      else
        status = MICA_ERR_MEMORY;
    }
    if (status) {
      mica_free(block);
      return status;
    }
    if (!more) break;
    memcpy(block + have, at, more);
    have += more;
    consume(s, more);
  }
  block[have] = 0;
  *bytes = block;
  *n = have;
  return MICA_OK;
}

int mica_input_byte(mica_input *s, mica_status *status) {
  const uint8_t *at;
  size_t have;
  *status = window(s, &at, &have);
  if (*status || !have) return -1;
  int byte = *at;
  consume(s, 1);
  return byte;
}
