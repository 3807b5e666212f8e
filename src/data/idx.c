/* IDX files, the format of MNIST: two zero bytes, a type, the rank, the sizes, the elements, big
 * endian. */
#include <mica/dataset.h>

#include "base/file.h"
#include "data/source.h"

#include <string.h>

#ifdef MICA_HAVE_ZLIB
#include <zlib.h>
#endif

#define IDX_MAX ((size_t)1 << 32)

/* The whole file, unpacked when it is gzip: no more than limit bytes. */
static mica_status read_all(const char *path, uint8_t **bytes, size_t *n) {
  mica_status status = mica_file_read(path, IDX_MAX, bytes, n);
  if (status != MICA_OK || *n < 2 || (*bytes)[0] != 0x1f || (*bytes)[1] != 0x8b) return status;
#ifdef MICA_HAVE_ZLIB
  uint8_t *packed = *bytes, *out = NULL;
  size_t room = 0, used = 0;
  z_stream z;
  memset(&z, 0, sizeof z);
  *bytes = NULL;
  if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) status = MICA_ERR_MEMORY;
  z.next_in = packed;
  z.avail_in = (uInt)*n;
  int z_status = Z_OK;
  while (status == MICA_OK && z_status == Z_OK) {
    if (used == room) {
      const size_t more = room ? room * 2 : 1 << 20;
      uint8_t *grown = more <= IDX_MAX ? mica_realloc_array(out, more, 1) : NULL;
      if (!grown) {
        status = more <= IDX_MAX
                     ? MICA_ERR_MEMORY
                     : mica_fail(MICA_ERR_FORMAT, "%s: unpacks to more than 2^32 bytes", path);
        break;
      }
      out = grown;
      room = more;
    }
    z.next_out = out + used;
    z.avail_out = (uInt)(room - used < 1u << 30 ? room - used : 1u << 30);
    const uInt before = z.avail_out;
    z_status = inflate(&z, Z_NO_FLUSH);
    used += before - z.avail_out;
  }
  inflateEnd(&z);
  mica_free(packed);
  if (status == MICA_OK && z_status != Z_STREAM_END)
    status = mica_fail(MICA_ERR_FORMAT, "%s: the gzip data are corrupt or cut short", path);
  if (status != MICA_OK) {
    mica_free(out);
    return status;
  }
  *bytes = out;
  *n = used;
  return MICA_OK;
#else
  mica_free(*bytes);
  *bytes = NULL;
  return mica_fail(MICA_ERR_UNSUPPORTED, "%s: this build unpacks no gzip (built without zlib)",
                   path);
#endif
}

static mica_status parse(const char *path, const uint8_t *p, size_t n, mica_tensor **out) {
  static const struct {
    uint8_t code;
    mica_dtype dtype;
  } types[] = {{8, MICA_U8},    {9, MICA_I8},    {0xb, MICA_I16},
               {0xc, MICA_I32}, {0xd, MICA_F32}, {0xe, MICA_F64}};
  if (n < 4 || p[0] || p[1])
    return mica_fail(MICA_ERR_FORMAT, "%s: not an IDX file: expected two zero bytes at its start",
                     path);
  int type = -1;
  for (int i = 0; i < (int)(sizeof types / sizeof *types); i++)
    if (types[i].code == p[2]) type = i;
  if (type < 0)
    return mica_fail(MICA_ERR_FORMAT, "%s: IDX: unknown element type 0x%02x", path, p[2]);
  mica_shape shape = {p[3], {0}};
  if (shape.rank < 1 || shape.rank > 4 || n < 4 + 4 * (size_t)shape.rank)
    return mica_fail(MICA_ERR_FORMAT, "%s: IDX: %d dimensions, expected 1 to 4 and their sizes",
                     path, p[3]);
  for (int d = 0; d < shape.rank; d++) shape.dim[d] = mica_be32(p + 4 + 4 * d);
  const size_t size = mica_dtype_size(types[type].dtype), head = 4 + 4 * (size_t)shape.rank;
  const int64_t count = mica_shape_count(&shape);
  if (count < 0 || (uint64_t)count > (n - head) / size || (size_t)count * size != n - head)
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: IDX: %zu bytes of elements, the header announces %lld elements", path,
                     n - head, (long long)count);
  mica_status status = mica_tensor_create(types[type].dtype, shape, out);
  if (status != MICA_OK) return status;
  uint8_t *to = mica_tensor_data(*out);
  for (size_t i = 0; i < (size_t)count * size; i++)
    to[i] = p[head + i / size * size + (size - 1 - i % size)];
  return MICA_OK;
}

mica_status mica_idx_read(const char *path, mica_tensor **out) {
  uint8_t *bytes = NULL;
  size_t n = 0;
  *out = NULL;
  mica_status status = read_all(path, &bytes, &n);
  if (status == MICA_OK) status = parse(path, bytes, n, out);
  mica_free(bytes);
  return status;
}
