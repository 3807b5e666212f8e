/* codes.h: scores of product quantiser's codes: sums of the entries that they name (Jegou, Douze
 * and Schmid 2011, section 4: asymmetric distances). float32 only; the other tables are empty. */
#ifndef MICA_TENSOR_KERNEL_CODES_H
#define MICA_TENSOR_KERNEL_CODES_H

#include <stdint.h>

/* Rows whose codes of four bits lie side by side: for each part 16 bytes, byte j with the code of
 * row j in its low half and that of row 16 + j in its high one. */
#define MICA_CODES_BLOCK 32

typedef struct mica_codes_kernels {
  /* entry[w] = sum_j x[j] word[j words + w]: a part of a query against its codewords, which are the
   * columns of `word` */
  void (*entries)(int64_t columns, int64_t words, const float *x, const float *word, float *entry);
  /* score[i] = sum_p table[p words + code[i parts + p]] */
  void (*sum)(int64_t n, int64_t parts, int64_t words, const uint8_t *code, const float *table,
              float *score);
  /* The same for tables of 16 entries a part and n rows in blocks, the last one filled up with any
   * codes; score has room for whole blocks. */
  void (*sum_16)(int64_t n, int64_t parts, const uint8_t *code, const float *table, float *score);
} mica_codes_kernels;

#endif
