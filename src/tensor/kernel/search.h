/* search.h: what neighbour search adds up: exact scores in float64, and sums of the table entries
 * that product quantiser's codes name (Jegou, Douze and Schmid 2011, section 4: asymmetric
 * distances). In the float32 table only. */
#ifndef MICA_TENSOR_KERNEL_SEARCH_H
#define MICA_TENSOR_KERNEL_SEARCH_H

#include <stdint.h>

/* Rows whose codes of four bits lie side by side: for each part 16 bytes, byte j with the code of
 * row j in its low half and that of row 16 + j in its high one. */
#define MICA_CODE_BLOCK 32

typedef struct mica_search_kernels {
  /* sum_j x[j] y[j], and sum_j (x[j] - y[j])^2, in eight sums of float64 that are added in one
   * order */
  double (*dot)(int64_t d, const double *x, const float *y);
  double (*squares)(int64_t d, const double *x, const float *y);
  /* The same of float32 on both sides, in float32: 32 sums, then a tree. For those who only ask
   * which of two rows is nearer, thousands of times a query. */
  float (*near_dot)(int64_t d, const float *x, const float *y);
  float (*near_squares)(int64_t d, const float *x, const float *y);
  /* entry[w] = sum_j x[j] word[j words + w]: a part of a query against its codewords, which are the
   * columns of `word` */
  void (*entries)(int64_t columns, int64_t words, const float *x, const float *word, float *entry);
  /* score[i] = sum_p table[p words + code[i parts + p]] */
  void (*sum)(int64_t n, int64_t parts, int64_t words, const uint8_t *code, const float *table,
              float *score);
  /* The same for tables of 16 entries a part and n rows in blocks, the last one filled up with any
   * codes; score has room for whole blocks. */
  void (*sum_16)(int64_t n, int64_t parts, const uint8_t *code, const float *table, float *score);
} mica_search_kernels;

#endif
