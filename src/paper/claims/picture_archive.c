/* See picture_archive.h. */
#include "paper/claims/picture_archive.h"

#include "data/input.h"

#include <mica/image.h>

#include <string.h>

enum { BLOCK = 512, LARGEST = 1 << 24 };

/* An octal number of at most n digits; -1 for none. */
static int64_t octal(const uint8_t *text, int n) {
  int64_t value = 0;
  int i = 0;
  while (i < n && text[i] == ' ') i++;
  if (i == n || text[i] < '0' || text[i] > '7') return -1;
  for (; i < n && text[i] >= '0' && text[i] <= '7'; i++) value = 8 * value + text[i] - '0';
  return value;
}

static mica_status decode(const mica_archived *each, const char *name, const uint8_t *bytes,
                          size_t n) {
  mica_tensor *picture = NULL;
  mica_status status = mica_image_decode(bytes, n, name, &picture);
  if (status == MICA_OK) status = each->take(each->ctx, name, picture);
  mica_tensor_free(picture);
  return status;
}

/* One member; *end at the blocks of zeros behind the last. */
static mica_status member(mica_input *in, const mica_archived *each, bool *end) {
  uint8_t head[BLOCK];
  char name[101] = "";
  mica_status status = mica_input_exact(in, head, BLOCK, "a member of an archive");
  if (status != MICA_OK) return status;
  *end = head[0] == 0;
  if (*end) return MICA_OK;
  memcpy(name, head, 100);
  const int64_t size = octal(head + 124, 12);
  if (size < 0 || size > LARGEST)
    return mica_fail(MICA_ERR_FORMAT, "%s: %s has no size that a picture may have",
                     mica_input_name(in), name);
  const uint64_t padded = ((uint64_t)size + BLOCK - 1) / BLOCK * BLOCK;
  const bool file = head[156] == '0' || head[156] == 0;
  if (!file || !size || (each->wanted && !each->wanted(each->ctx, name)))
    return mica_input_skip(in, padded);
  uint8_t *bytes = mica_malloc((size_t)padded);
  status = bytes ? mica_input_exact(in, bytes, (size_t)padded, name) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = decode(each, name, bytes, (size_t)size);
  mica_free(bytes);
  return status;
}

mica_status mica_archived_pictures(const char *path, const mica_archived *each) {
  mica_input *in = NULL;
  mica_status status = mica_input_open(path, &in);
  for (bool end = false; !end && status == MICA_OK;) status = member(in, each, &end);
  mica_input_close(in);
  return status;
}
