/* Shapes and views: counting, text, and the copy between any two views. */
#include "tensor/dtype.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COUNT_MAX ((int64_t)1 << 62)

int64_t mica_shape_count(const mica_shape *shape) {
  if (shape->rank < 0 || shape->rank > MICA_MAX_RANK) return -1;
  int64_t count = 1;
  bool empty = false, overflow = false;
  for (int i = 0; i < shape->rank; i++) {
    int64_t d = shape->dim[i];
    if (d < 0) return -1;
    if (d == 0)
      empty = true;
    else if (count > (COUNT_MAX - 1) / d)
      overflow = true;
    else
      count *= d;
  }
  /* [0, 2^62, 2^62] is refused too: a slice of it would not count. */
  return overflow ? -1 : empty ? 0 : count;
}

bool mica_shape_equal(const mica_shape *a, const mica_shape *b) {
  if (a->rank != b->rank) return false;
  for (int i = 0; i < a->rank && i < MICA_MAX_RANK; i++)
    if (a->dim[i] != b->dim[i]) return false;
  return true;
}

const char *mica_shape_text(const mica_shape *shape, char *buf, size_t n) {
  if (n == 0) return buf;
  size_t used = 0;
  int rank = shape->rank < 0 ? 0 : shape->rank > MICA_MAX_RANK ? MICA_MAX_RANK : shape->rank;
  used += (size_t)snprintf(buf, n, "[");
  for (int i = 0; i < rank && used < n; i++)
    used += (size_t)snprintf(buf + used, n - used, i ? ",%" PRId64 : "%" PRId64, shape->dim[i]);
  if (used < n) snprintf(buf + used, n - used, "]");
  return buf;
}

mica_view mica_view_of(void *data, mica_dtype dtype, mica_shape shape) {
  mica_view v = {data, dtype, MICA_CPU, shape, 1};
  v.row_stride = mica_view_cols(&v);
  return v;
}

int64_t mica_view_count(const mica_view *v) {
  return mica_shape_count(&v->shape);
}

int64_t mica_view_rows(const mica_view *v) {
  mica_shape rows = v->shape;
  if (rows.rank > 0)
    rows.rank--;
  else
    rows = MICA_SCALAR;
  return mica_shape_count(&rows);
}

int64_t mica_view_cols(const mica_view *v) {
  int rank = v->shape.rank;
  return rank > 0 && rank <= MICA_MAX_RANK ? v->shape.dim[rank - 1] : 1;
}

bool mica_view_contiguous(const mica_view *v) {
  return v->row_stride == mica_view_cols(v) || mica_view_rows(v) <= 1;
}

static mica_status check_view(const mica_view *v, const char *which) {
  if (!mica_dtype_valid(v->dtype))
    return mica_fail(MICA_ERR_INVALID, "copy %s: element type %d is out of range", which,
                     (int)v->dtype);
  char text[160];
  int64_t count = mica_view_count(v);
  if (count < 0)
    return mica_fail(MICA_ERR_SHAPE, "copy %s: shape %s has no valid count", which,
                     mica_shape_text(&v->shape, text, sizeof text));
  if (count > 0 && !v->data)
    return mica_fail(MICA_ERR_INVALID, "copy %s: %" PRId64 " elements without data", which, count);
  if (!mica_view_contiguous(v) && v->row_stride < mica_view_cols(v))
    return mica_fail(MICA_ERR_SHAPE, "copy %s: row stride %" PRId64 " is less than a row of %s",
                     which, v->row_stride, mica_shape_text(&v->shape, text, sizeof text));
  return MICA_OK;
}

/* A place in a view: `left` elements remain in the run that starts at `at`. */
typedef struct cursor {
  unsigned char *at;
  size_t size;
  int64_t run, left, gap;
} cursor;

static cursor cursor_of(const mica_view *v) {
  bool whole = mica_view_contiguous(v);
  cursor c = {.at = v->data, .size = mica_dtype_size(v->dtype)};
  c.run = whole ? mica_view_count(v) : mica_view_cols(v);
  c.gap = whole ? 0 : v->row_stride - c.run;
  c.left = c.run;
  return c;
}

static void advance(cursor *c, int64_t n) {
  c->at += (size_t)n * c->size;
  c->left -= n;
  if (c->left > 0) return;
  c->at += (size_t)c->gap * c->size;
  c->left = c->run;
}

mica_status mica_view_copy(const mica_view *to, const mica_view *from) {
  mica_status status = check_view(to, "to");
  if (!status) status = check_view(from, "from");
  if (status) return status;
  int64_t n = mica_view_count(from);
  if (mica_view_count(to) != n) {
    char a[160], b[160];
    return mica_fail(MICA_ERR_SHAPE, "copy: %s does not hold as many elements as %s",
                     mica_shape_text(&to->shape, a, sizeof a),
                     mica_shape_text(&from->shape, b, sizeof b));
  }
  cursor out = cursor_of(to), in = cursor_of(from);
  while (n > 0) {
    int64_t step = out.left < in.left ? out.left : in.left;
    mica_convert(out.at, to->dtype, in.at, from->dtype, (size_t)step);
    n -= step;
    if (n == 0) break; /* stay inside: the gap after the last row is not ours */
    advance(&out, step);
    advance(&in, step);
  }
  return MICA_OK;
}
