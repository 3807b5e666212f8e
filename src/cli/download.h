/* One file from the network: resumed, bounded, checked, and only then given its name. */
#ifndef MICA_CLI_DOWNLOAD_H
#define MICA_CLI_DOWNLOAD_H

#include <mica/base.h>

typedef struct download {
  const char *url;
  const char *to;     /* the file; until it is complete and checked, TO.part */
  int64_t bytes;      /* 0: not known; then at most DOWNLOAD_MOST */
  const char *sha256; /* all 64 digits or the first of them; NULL: none is published */
  bool json;          /* progress as JSON lines on standard output, else on standard error */
} download;

#define DOWNLOAD_MOST ((int64_t)8 << 30)

/* Fetch it. A part that is there from before is continued; Ctrl-C (MICA_ERR_CANCELLED) leaves one.
 * The checksum of what came is written to `sha256`. */
mica_status download_file(const download *d, char sha256[65]);

/* The address that is really asked: with MICA_MIRROR set, MIRROR/HOST/PATH. Release with mica_free.
 */
char *download_address(const char *url);

#endif
