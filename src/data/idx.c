/* IDX files, the format of MNIST: two zero bytes, a type, the rank, the sizes, the elements, big
 * endian. */
#include "data/input.h"
#include "data/source.h"

#include <mica/dataset.h>

#define BYTES_MAX ((uint64_t)1 << 32)

static mica_status read_head(mica_input *in, mica_dtype *dtype, mica_shape *shape) {
  static const struct {
    uint8_t code;
    mica_dtype dtype;
  } types[] = {{8, MICA_U8},    {9, MICA_I8},    {0xb, MICA_I16},
               {0xc, MICA_I32}, {0xd, MICA_F32}, {0xe, MICA_F64}};
  const char *path = mica_input_name(in);
  uint8_t head[4] = {0}, size[4];
  size_t got;
  mica_status status = mica_input_read(in, head, 4, &got);
  if (status != MICA_OK) return status;
  if (got < 4 || head[0] || head[1])
    return mica_fail(MICA_ERR_FORMAT, "%s: not an IDX file: expected two zero bytes at its start",
                     path);
  int type = -1;
  for (int i = 0; i < (int)(sizeof types / sizeof *types); i++)
    if (types[i].code == head[2]) type = i;
  if (type < 0)
    return mica_fail(MICA_ERR_FORMAT, "%s: IDX: unknown element type 0x%02x", path, head[2]);
  if (head[3] < 1 || head[3] > 4)
    return mica_fail(MICA_ERR_FORMAT, "%s: IDX: %d dimensions, expected 1 to 4", path, head[3]);
  *dtype = types[type].dtype;
  *shape = (mica_shape){head[3], {0}};
  for (int d = 0; d < shape->rank && status == MICA_OK; d++) {
    status = mica_input_exact(in, size, 4, "the IDX header");
    shape->dim[d] = mica_be32(size);
  }
  return status;
}

static mica_status read_elements(mica_input *in, mica_dtype dtype, mica_shape shape,
                                 mica_tensor **out) {
  const char *path = mica_input_name(in);
  const size_t size = mica_dtype_size(dtype);
  const int64_t count = mica_shape_count(&shape);
  char text[96];
  /* What cannot be there need not be allocated. */
  if (count < 0 || (uint64_t)count > BYTES_MAX / size ||
      (uint64_t)count * size > mica_input_bound(in) - mica_input_position(in))
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: IDX: the header announces %s elements of %zu bytes, more than the file "
                     "can hold",
                     path, mica_shape_text(&shape, text, sizeof text), size);
  mica_status status = mica_tensor_create(dtype, shape, out);
  if (status != MICA_OK) return status;
  uint8_t *p = mica_tensor_data(*out), more;
  size_t got;
  status = mica_input_exact(in, p, (size_t)count * size, "the IDX header's elements");
  if (status == MICA_OK) status = mica_input_read(in, &more, 1, &got);
  if (status == MICA_OK && got)
    status = mica_fail(MICA_ERR_FORMAT, "%s: IDX: bytes behind the %s elements of the header", path,
                       mica_shape_text(&shape, text, sizeof text));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  if (size > 1)
    for (uint8_t *e = p; e < p + (size_t)count * size; e += size)
      for (size_t k = 0; k < size / 2; k++) {
        const uint8_t swapped = e[k];
        e[k] = e[size - 1 - k];
        e[size - 1 - k] = swapped;
      }
#endif
  if (status != MICA_OK) {
    mica_tensor_free(*out);
    *out = NULL;
  }
  return status;
}

mica_status mica_idx_read(const char *path, mica_tensor **out) {
  mica_input *in;
  mica_dtype dtype = MICA_U8;
  mica_shape shape = {0};
  *out = NULL;
  mica_status status = mica_input_open(path, &in);
  if (status != MICA_OK) return status;
  status = read_head(in, &dtype, &shape);
  if (status == MICA_OK) status = read_elements(in, dtype, shape, out);
  mica_input_close(in);
  return status;
}
