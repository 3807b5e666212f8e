/* Building an index: rows are checked, converted and appended, to memory or to the file.
 *
 * A batch is converted a piece at a time. Rows of a batch count only once all of it has been taken,
 * so one with a bad row leaves the index as it was (a file keeps what was written behind its
 * rows, and the next batch writes over it).
 */
#include "index/codes.h"
#include "index/index.h"

#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

#define PIECE_BYTES ((int64_t)1 << 20)

struct mica_index_builder {
  mica_index *index; /* NULL: used up */
  char *path;        /* NULL: memory only */
  mica_writer *writer;
  size_t reserve;
  int64_t room, names_room; /* rows, bytes */
  int64_t code_room;        /* rows */
  bool labelled, named;
  mica_status broken;   /* the file could not be written */
  mica_record *adopted; /* what the component loads instead of building; or NULL */
};

mica_status mica_index_builder_create(const mica_engine *engine, const char *spec, int64_t width,
                                      const char *path, mica_index_builder **out) {
  *out = NULL;
  mica_index_builder *b = mica_calloc(1, sizeof *b);
  if (!b) return MICA_ERR_MEMORY;
  mica_status status = mica_index_begin(engine, spec, width, &b->index);
  if (!status && path && !(b->path = mica_strdup(path))) status = MICA_ERR_MEMORY;
  if (status) {
    mica_index_builder_free(b);
    return status;
  }
  *out = b;
  return MICA_OK;
}

void mica_index_builder_free(mica_index_builder *builder) {
  if (!builder) return;
  mica_writer_close(builder->writer);
  mica_index_free(builder->index);
  mica_record_free(builder->adopted);
  mica_free(builder->path);
  mica_free(builder);
}

void mica_index_builder_adopt(mica_index_builder *builder, mica_record *record) {
  mica_record_free(builder->adopted);
  builder->adopted = record;
}

static mica_status used_up(void) {
  return mica_fail(MICA_ERR_STATE, "index: the builder has finished");
}

mica_status mica_index_builder_set_text(mica_index_builder *builder, const char *key,
                                        const char *value) {
  if (!builder->index) return used_up();
  if (builder->index->rows.n || builder->writer)
    return mica_fail(MICA_ERR_STATE, "index: texts are set before rows are added");
  return mica_index_put_text(builder->index, key, value);
}

mica_status mica_index_builder_set_tensor(mica_index_builder *builder, const char *name,
                                          mica_tensor *tensor) {
  mica_index *x = builder->index;
  if (!x) return used_up();
  if (x->rows.n || builder->writer)
    return mica_fail(MICA_ERR_STATE, "index: tensors are set before rows are added");
  if (strlen(name) > 64)
    return mica_fail(MICA_ERR_INVALID, "index: a tensor's name of more than 64 letters");
  const mica_status status = x->tensors ? MICA_OK : mica_record_create(&x->tensors);
  return status ? status : mica_record_put(x->tensors, name, tensor);
}

mica_status mica_index_builder_set_codes(mica_index_builder *builder,
                                         const mica_quantiser *quantiser) {
  mica_index *x = builder->index;
  if (!x) return used_up();
  if (x->rows.n || builder->writer)
    return mica_fail(MICA_ERR_STATE, "index: codes are set before rows are added");
  const mica_index_functions *fn = x->fn;
  if (fn->size < sizeof *fn || !fn->takes)
    return mica_fail(MICA_ERR_UNSUPPORTED, "index %s takes no codes, pq does",
                     mica_spec_component(x->spec)->name);
  mica_status status = fn->takes(mica_index_options_of(x), x->rows.d, quantiser);
  mica_quantiser *copy = NULL;
  if (!status)
    status = mica_quantiser_of(x->engine, mica_quantiser_width(quantiser),
                               mica_quantiser_parts(quantiser), mica_quantiser_words(quantiser),
                               mica_quantiser_codewords(quantiser),
                               mica_quantiser_rotation(quantiser), &copy);
  if (status) return status;
  mica_quantiser_free(x->own_quantiser);
  x->rows.quantiser = x->own_quantiser = copy;
  return MICA_OK;
}

/* ---- room ---- */

static bool in_memory(const mica_index_builder *b) {
  return !b->path;
}

static mica_status grow_block(void **block, int64_t rows, size_t bytes) {
  void *grown = mica_realloc_array(*block, (size_t)rows, bytes);
  if (!grown) return MICA_ERR_MEMORY;
  *block = grown;
  return MICA_OK;
}

/* A failure leaves some blocks larger than they need be. */
static mica_status make_room(mica_index_builder *b, int64_t more) {
  mica_index *x = b->index;
  const int64_t need = x->rows.n + more;
  if (more > (INT64_C(1) << 40) - x->rows.n)
    return mica_fail(MICA_ERR_UNSUPPORTED, "an index of more than 2^40 rows");
  if (need <= b->room && x->own_id) return MICA_OK;
  int64_t room = b->room ? 2 * b->room : 256;
  if (room < need) room = need;
  mica_status status = grow_block((void **)&x->own_norm, room, sizeof *x->own_norm);
  if (!status) status = grow_block((void **)&x->own_id, room, sizeof *x->own_id);
  if (!status) status = grow_block((void **)&x->own_label, room, sizeof *x->own_label);
  if (!status) status = grow_block((void **)&x->own_name_at, room + 1, sizeof *x->own_name_at);
  if (!status && in_memory(b))
    status = grow_block(&x->own_x, room, (size_t)x->rows.d * mica_dtype_size(x->rows.dtype));
  if (!status) b->room = room;
  return status;
}

static mica_status add_name(mica_index_builder *b, int64_t row, const char *name) {
  mica_index *x = b->index;
  const int64_t from = x->own_name_at[row], n = name ? (int64_t)strlen(name) : 0;
  if (from + n > b->names_room) {
    int64_t room = b->names_room ? 2 * b->names_room : 4096;
    if (room < from + n) room = from + n;
    char *grown = mica_realloc_array(x->own_names, (size_t)room, 1);
    if (!grown) return MICA_ERR_MEMORY;
    x->own_names = grown;
    b->names_room = room;
  }
  if (n) memcpy(x->own_names + from, name, (size_t)n);
  x->own_name_at[row + 1] = from + n;
  return MICA_OK;
}

/* ---- rows ---- */

static mica_status check_batch(const mica_index_builder *b, const mica_index_batch *batch) {
  const mica_view *x = &batch->x;
  char text[96];
  if (x->shape.rank != 2 || !mica_dtype_is_float(x->dtype) || mica_shape_count(&x->shape) < 0)
    return mica_fail(MICA_ERR_SHAPE, "index: rows %s of %s, expected [rows, columns] of floats",
                     mica_shape_text(&x->shape, text, sizeof text), mica_dtype_name(x->dtype));
  if (x->shape.dim[1] != b->index->rows.d)
    return mica_fail(MICA_ERR_SHAPE, "index: rows of %lld columns, the index has %lld",
                     (long long)x->shape.dim[1], (long long)b->index->rows.d);
  if (x->shape.dim[0] && (!x->data || x->row_stride < x->shape.dim[1]))
    return mica_fail(MICA_ERR_INVALID, "index: rows without data, or that overlap");
  for (int64_t i = 0; batch->id && i < x->shape.dim[0]; i++)
    if (batch->id[i] < 0)
      return mica_fail(MICA_ERR_INVALID, "index: id %lld of row %lld, expected 0 or more",
                       (long long)batch->id[i], (long long)i);
  for (int64_t i = 0; batch->label && i < x->shape.dim[0]; i++)
    if (batch->label[i] < 0 && batch->label[i] != MICA_CLASS_NONE)
      return mica_fail(MICA_ERR_INVALID, "index: label %lld of row %lld, expected 0 or more",
                       (long long)batch->label[i], (long long)i);
  return MICA_OK;
}

/* Rows and what their codes are made of come from one encoder in all batches, or from two. */
static mica_status check_coarse(const mica_index_builder *b, const mica_index_batch *batch) {
  const mica_index_rows *rows = &b->index->rows;
  const mica_view *c = &batch->coarse;
  const bool given = c->shape.rank != 0;
  if (given && !rows->quantiser)
    return mica_fail(MICA_ERR_STATE, "index: coarse vectors, but no codes were set for them");
  if (!rows->quantiser) return MICA_OK;
  const int64_t width = mica_quantiser_width(rows->quantiser);
  if (given && (c->shape.rank != 2 || c->shape.dim[0] != batch->x.shape.dim[0]))
    return mica_fail(MICA_ERR_SHAPE, "index: coarse vectors of %lld rows, expected %lld",
                     (long long)(c->shape.rank == 2 ? c->shape.dim[0] : -1),
                     (long long)batch->x.shape.dim[0]);
  if (!given && width != rows->d)
    return mica_fail(MICA_ERR_SHAPE,
                     "index: codes of %lld columns for rows of %lld, and no coarse vectors",
                     (long long)width, (long long)rows->d);
  if (rows->n && given != rows->coarse)
    return mica_fail(MICA_ERR_INVALID, "index: some rows with coarse vectors, others without");
  return MICA_OK;
}

static bool is_finite(const void *row, mica_dtype dtype, int64_t d, double *norm) {
  double sum = 0;
  for (int64_t j = 0; j < d; j++) {
    const double v = dtype == MICA_F32    ? (double)((const float *)row)[j]
                     : dtype == MICA_BF16 ? (double)mica_bf16_to_f32(((const uint16_t *)row)[j])
                                          : (double)mica_f16_to_f32(((const uint16_t *)row)[j]);
    sum += v * v;
  }
  *norm = sqrt(sum);
  return isfinite(sum);
}

typedef struct {
  const mica_view *from;
  const mica_index_rows *rows;
  int64_t begin, end, per_chunk, first; /* rows of the batch; number of its first in the index */
  char *to;
  double *norm;
} conversion;

static mica_status convert_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const conversion *c = ctx;
  const int64_t d = c->rows->d;
  const size_t bytes = (size_t)d * mica_dtype_size(c->rows->dtype);
  int64_t from = c->begin + chunk * c->per_chunk, to = from + c->per_chunk;
  if (to > c->end) to = c->end;
  for (int64_t i = from; i < to; i++) {
    char *row = c->to + (size_t)(i - c->begin) * bytes;
    const char *given = (const char *)c->from->data +
                        (size_t)(i * c->from->row_stride) * mica_dtype_size(c->from->dtype);
    mica_convert(row, c->rows->dtype, given, c->from->dtype, (size_t)d);
    if (!is_finite(row, c->rows->dtype, d, &c->norm[i - c->begin]))
      return mica_fail(MICA_ERR_NUMERIC,
                       "index: row %lld holds a number that is not finite, or none in %s",
                       (long long)(c->first + i), mica_dtype_name(c->rows->dtype));
  }
  return MICA_OK;
}

/* The batch's rows into the index's type, piece by piece, to memory or the file. */
static mica_status take_rows(mica_index_builder *b, const mica_view *from) {
  mica_index *x = b->index;
  const int64_t n = from->shape.dim[0];
  const size_t bytes = (size_t)x->rows.d * mica_dtype_size(x->rows.dtype);
  const int64_t piece = 1 + PIECE_BYTES / (int64_t)bytes;
  char *buffer = in_memory(b) ? NULL : mica_malloc((size_t)piece * bytes);
  mica_status status = buffer || in_memory(b) ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t begin = 0; begin < n && !status; begin += piece) {
    const int64_t end = begin + piece < n ? begin + piece : n, at = x->rows.n + begin;
    char *to = buffer ? buffer : (char *)x->own_x + (size_t)at * bytes;
    conversion c = {from,      &x->rows, begin,           end, 1 + (piece - 1) / 8,
                    x->rows.n, to,       x->own_norm + at};
    status =
        mica_chunks_run(x->engine, mica_chunks_of(end - begin, c.per_chunk), 0, convert_chunk, &c);
    if (!status && buffer) {
      status = b->broken = mica_writer_write(b->writer, to, (size_t)(end - begin) * bytes);
    }
  }
  mica_free(buffer);
  return status;
}

/* In a file rows can only be appended, so a batch is looked at before anything is written. */
static mica_status check_rows(const mica_index_builder *b, const mica_view *from) {
  const mica_index_rows *rows = &b->index->rows;
  const size_t bytes = (size_t)rows->d * mica_dtype_size(rows->dtype);
  const int64_t n = from->shape.dim[0], piece = 1 + PIECE_BYTES / (int64_t)bytes;
  char *buffer = mica_malloc((size_t)piece * (bytes + sizeof(double)) + 8);
  if (!buffer) return MICA_ERR_MEMORY;
  double *norm = (double *)(void *)(buffer + ((size_t)piece * bytes + 7) / 8 * 8);
  mica_status status = MICA_OK;
  for (int64_t begin = 0; begin < n && !status; begin += piece) {
    const int64_t end = begin + piece < n ? begin + piece : n;
    conversion c = {from, rows, begin, end, 1 + (piece - 1) / 8, rows->n, buffer, norm};
    status = mica_chunks_run(b->index->engine, mica_chunks_of(end - begin, c.per_chunk), 0,
                             convert_chunk, &c);
  }
  mica_free(buffer);
  return status;
}

/* The codes of a batch behind those that are there. Rows are coded in their own type, so that codes
 * are those of what is stored. */
static mica_status take_codes(mica_index_builder *b, const mica_index_batch *batch) {
  mica_index *x = b->index;
  const mica_quantiser *q = x->rows.quantiser;
  const int64_t n = batch->x.shape.dim[0], parts = mica_quantiser_parts(q);
  if (x->rows.n + n > b->code_room) {
    const int64_t room = b->room > x->rows.n + n ? b->room : x->rows.n + n;
    mica_status status = grow_block((void **)&x->own_code, room, (size_t)parts);
    if (status) return status;
    b->code_room = room;
  }
  uint8_t *to = x->own_code + x->rows.n * parts;
  if (batch->coarse.shape.rank) return mica_quantiser_encode(q, &batch->coarse, to);
  enum { piece = 1024 };
  const int64_t d = x->rows.d;
  const size_t element = mica_dtype_size(batch->x.dtype);
  float *rows = mica_realloc_array(NULL, (size_t)((n < piece ? n : piece) * d), sizeof *rows);
  char *stored = mica_malloc((size_t)d * sizeof(float));
  mica_status status = rows && stored ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t from = 0; from < n && !status; from += piece) {
    const int64_t m = n - from < piece ? n - from : piece;
    for (int64_t i = 0; i < m; i++) {
      double norm = 0;
      const char *given =
          (const char *)batch->x.data + (size_t)((from + i) * batch->x.row_stride) * element;
      mica_convert(stored, x->rows.dtype, given, batch->x.dtype, (size_t)d);
      is_finite(stored, x->rows.dtype, d, &norm);
      const mica_index_rows one = {1,     d,    x->rows.metric, x->rows.dtype, stored,
                                   &norm, NULL, NULL,           false};
      mica_index_load_row(&one, 0, rows + i * d);
    }
    const mica_view view = mica_view_of(rows, MICA_F32, MICA_SHAPE(m, d));
    status = mica_quantiser_encode(q, &view, to + from * parts);
  }
  mica_free(rows);
  mica_free(stored);
  return status;
}

mica_status mica_index_builder_add(mica_index_builder *builder, const mica_index_batch *given) {
  mica_index_batch own = MICA_INDEX_BATCH, *batch = &own;
  memcpy(&own, given, given->size < sizeof own ? given->size : sizeof own);
  if (!builder->index) return used_up();
  if (builder->broken)
    return mica_fail(builder->broken, "%s: an earlier write failed", builder->path);
  mica_index *x = builder->index;
  mica_status status = check_batch(builder, batch);
  if (!status) status = check_coarse(builder, batch);
  if (!status) status = make_room(builder, batch->x.shape.dim[0]);
  if (!status && !in_memory(builder)) status = check_rows(builder, &batch->x);
  if (!status && !in_memory(builder) && !builder->writer)
    status = builder->broken =
        mica_index_file_begin(x, builder->path, &builder->writer, &builder->reserve);
  const int64_t from = x->rows.n, n = batch->x.shape.dim[0];
  if (from == 0 && !status) x->own_name_at[0] = 0;
  for (int64_t i = 0; i < n && !status; i++) {
    x->own_id[from + i] = batch->id ? batch->id[i] : from + i;
    x->own_label[from + i] = batch->label ? batch->label[i] : MICA_CLASS_NONE;
    status = add_name(builder, from + i, batch->name ? batch->name[i] : NULL);
  }
  if (!status && x->rows.quantiser) status = take_codes(builder, batch);
  if (!status) status = take_rows(builder, &batch->x);
  if (status) return status;
  if (n) x->rows.coarse = batch->coarse.shape.rank != 0;
  builder->labelled |= n && batch->label;
  builder->named |= n && batch->name;
  x->rows.n += n;
  return MICA_OK;
}

/* ---- the end ---- */

static void settle(mica_index_builder *b) {
  mica_index *x = b->index;
  x->rows.x = x->own_x;
  x->rows.norm = x->own_norm;
  x->id = x->own_id;
  x->label = b->labelled ? x->own_label : NULL;
  x->name_at = b->named ? x->own_name_at : NULL;
  x->names = x->own_names;
  x->rows.code = x->own_code;
}

/* What the component makes of all rows, unless an earlier attempt has it, and its record. */
static mica_status build(const mica_index_builder *b, mica_record **record) {
  mica_index *x = b->index;
  mica_status status = MICA_OK;
  if (b->adopted && !x->state)
    status = x->fn->load(x->engine, mica_index_options_of(x), &x->rows, b->adopted, &x->state);
  else if (x->fn->build && !x->state)
    status = x->fn->build(x->engine, mica_index_options_of(x), &x->rows, &x->state);
  return status || !record ? status : mica_index_state(x, record);
}

/* The component reads the rows where they have been written, and its state goes behind them. */
static mica_status finish_file(mica_index_builder *b) {
  mica_index *x = b->index;
  mica_mapping map = {NULL, 0};
  mica_record *record = NULL;
  mica_status status = x->fn->build ? mica_writer_map(b->writer, &map) : MICA_OK;
  if (!status && map.bytes) x->rows.x = map.bytes + b->reserve;
  if (!status) status = build(b, &record);
  if (!status) status = b->broken = mica_index_file_end(x, record, b->writer, b->reserve);
  x->rows.x = NULL;
  mica_file_unmap(&map);
  mica_record_free(record);
  return status;
}

mica_status mica_index_builder_finish(mica_index_builder *builder, mica_index **out) {
  if (out) *out = NULL;
  if (!builder->index) return used_up();
  if (builder->broken)
    return mica_fail(builder->broken, "%s: an earlier write failed", builder->path);
  mica_index *x = builder->index;
  if (!x->rows.n) return mica_fail(MICA_ERR_INVALID, "index: no rows were added");
  settle(builder);
  mica_status status = mica_index_complete(x);
  if (!status) status = builder->writer ? finish_file(builder) : build(builder, NULL);
  if (status) return status;
  builder->index = NULL;
  if (!builder->writer) {
    if (out)
      *out = x;
    else
      mica_index_free(x);
    return MICA_OK;
  }
  mica_writer_close(builder->writer);
  builder->writer = NULL;
  if (out) status = mica_index_open(x->engine, builder->path, out);
  mica_index_free(x);
  return status;
}

mica_status mica_index_create(const mica_engine *engine, const char *spec,
                              const mica_index_batch *rows, mica_index **out) {
  mica_index_builder *b = NULL;
  *out = NULL;
  const int64_t width = rows->x.shape.rank == 2 ? rows->x.shape.dim[1] : 1;
  mica_status status = mica_index_builder_create(engine, spec, width, NULL, &b);
  if (!status) status = mica_index_builder_add(b, rows);
  if (!status) status = mica_index_builder_finish(b, out);
  mica_index_builder_free(b);
  return status;
}
