/* Codes of a product quantiser as an index keeps them: those of 16 words in blocks of rows, half a
 * byte each, others byte by byte; and rows as those who make codes and centres see them. */
#ifndef MICA_INDEX_CODES_H
#define MICA_INDEX_CODES_H

#include "numeric/chunks.h"
#include "tensor/kernel/search.h"

#include <mica/index.h>
#include <mica/quantise.h>

static inline bool mica_codes_packed(const mica_quantiser *q) {
  return mica_quantiser_words(q) == 16;
}

/* The bytes that codes of so many rows take. */
static inline int64_t mica_codes_bytes(const mica_quantiser *q, int64_t rows) {
  const int64_t parts = mica_quantiser_parts(q);
  return mica_codes_packed(q) ? mica_chunks_of(rows, MICA_CODE_BLOCK) * 16 * parts : rows * parts;
}

/* Codes of m rows, [m, parts] bytes, to rows [at, at + m) of `to`, which was all zeros. */
void mica_codes_put(const mica_quantiser *q, const uint8_t *code, int64_t at, int64_t m,
                    uint8_t *to);
/* The reverse, for rows [at, at + m). */
void mica_codes_get(const mica_quantiser *q, const uint8_t *from, int64_t at, int64_t m,
                    uint8_t *code);
/* MICA_ERR_FORMAT, naming `who`, where one of these bytes names no word. */
mica_status mica_codes_check(const mica_quantiser *q, const char *who, const uint8_t *code,
                             int64_t bytes);
/* score[i] = the sum of the table's entries that row i's code names; room for whole blocks. */
static inline void mica_codes_sum(const mica_search_kernels *kernels, const mica_quantiser *q,
                                  int64_t n, const uint8_t *code, const float *table,
                                  float *score) {
  const int64_t parts = mica_quantiser_parts(q);
  if (mica_codes_packed(q))
    kernels->sum_16(n, parts, code, table, score);
  else
    kernels->sum(n, parts, mica_quantiser_words(q), code, table, score);
}

/* Row `row` of an index as float32; under cosine of length 1, where it has one. */
void mica_index_load_row(const mica_index_rows *rows, int64_t row, float *to);
/* Rows number[0..n-1], or with NULL `first` and on, side by side. */
mica_status mica_index_load_rows(const mica_engine *engine, const mica_index_rows *rows,
                                 const int64_t *number, int64_t first, int64_t n, float *to);

#endif
