/* Codes as an index keeps them, and rows as float32. */
#include "index/codes.h"

#include "tensor/dtype.h"

#include <string.h>

void mica_codes_put(const mica_quantiser *q, const uint8_t *code, int64_t at, int64_t m,
                    uint8_t *to) {
  const int64_t parts = mica_quantiser_parts(q);
  if (!mica_codes_packed(q)) {
    memcpy(to + at * parts, code, (size_t)(m * parts));
    return;
  }
  for (int64_t i = 0; i < m; i++, code += parts) {
    const int64_t lane = (at + i) % MICA_CODE_BLOCK;
    uint8_t *block = to + (at + i) / MICA_CODE_BLOCK * 16 * parts + lane % 16;
    for (int64_t p = 0; p < parts; p++)
      block[16 * p] = (uint8_t)(block[16 * p] | (lane < 16 ? code[p] : code[p] << 4));
  }
}

void mica_codes_get(const mica_quantiser *q, const uint8_t *from, int64_t at, int64_t m,
                    uint8_t *code) {
  const int64_t parts = mica_quantiser_parts(q);
  if (!mica_codes_packed(q)) {
    memcpy(code, from + at * parts, (size_t)(m * parts));
    return;
  }
  for (int64_t i = 0; i < m; i++, code += parts) {
    const int64_t lane = (at + i) % MICA_CODE_BLOCK;
    const uint8_t *block = from + (at + i) / MICA_CODE_BLOCK * 16 * parts + lane % 16;
    for (int64_t p = 0; p < parts; p++)
      code[p] = (uint8_t)(lane < 16 ? block[16 * p] & 15 : block[16 * p] >> 4);
  }
}

mica_status mica_codes_check(const mica_quantiser *q, const char *who, const uint8_t *code,
                             int64_t bytes) {
  const int64_t words = mica_quantiser_words(q);
  if (words == 256 || mica_codes_packed(q)) return MICA_OK;
  for (int64_t i = 0; i < bytes; i++)
    if (code[i] >= words)
      return mica_fail(MICA_ERR_FORMAT, "%s: code %d, expected less than %lld", who, code[i],
                       (long long)words);
  return MICA_OK;
}

/* ---- rows ---- */

void mica_index_load_row(const mica_index_rows *rows, int64_t row, float *to) {
  const char *from = (const char *)rows->x + (size_t)(row * rows->d) * mica_dtype_size(rows->dtype);
  mica_convert(to, MICA_F32, from, rows->dtype, (size_t)rows->d);
  if (rows->metric != MICA_INDEX_COSINE || rows->norm[row] == 0) return;
  const double scale = 1 / rows->norm[row];
  for (int64_t j = 0; j < rows->d; j++) to[j] = (float)((double)to[j] * scale);
}

typedef struct {
  const mica_index_rows *rows;
  const int64_t *number; /* or NULL: from `first` on */
  int64_t first, n;
  float *to;
} loading;

enum { loaded_rows = 512 };

static mica_status load_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const loading *l = ctx;
  const int64_t from = chunk * loaded_rows;
  const int64_t to = from + loaded_rows < l->n ? from + loaded_rows : l->n;
  for (int64_t i = from; i < to; i++)
    mica_index_load_row(l->rows, l->number ? l->number[i] : l->first + i, l->to + i * l->rows->d);
  return MICA_OK;
}

mica_status mica_index_load_rows(const mica_engine *engine, const mica_index_rows *rows,
                                 const int64_t *number, int64_t first, int64_t n, float *to) {
  loading l = {rows, number, first, n, to};
  return mica_chunks_run(engine, mica_chunks_of(n, loaded_rows), 0, load_chunk, &l);
}
