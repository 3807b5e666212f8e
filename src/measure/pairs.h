/* All pairs of rows: a sample of rows small enough for that, and a walk over their distances. */
#ifndef MICA_MEASURE_PAIRS_H
#define MICA_MEASURE_PAIRS_H

#include <mica/measure.h>

typedef struct mica_row_sample {
  int64_t n, d;
  double *rows;   /* [n, d] dense */
  int64_t *index; /* [n] ascending row numbers */
} mica_row_sample;

/* All rows of x, or `most` of them by the seed: the same rows for the same N, most and seed. With
 * `unit` they have length 1, and rows of zeros are left out. Ends with mica_row_sample_free. */
mica_status mica_row_sample_take(const mica_view *x, int64_t most, uint64_t seed, bool unit,
                                 mica_row_sample *out);
void mica_row_sample_free(mica_row_sample *sample);

/* Row i of the sample and its squared distances [n] to all rows; its own is 0. */
typedef void (*mica_pairs_fn)(void *ctx, int64_t i, const double *square);
/* Calls fn for rows 0, 1, ... in order, on one thread. Memory: 256 n numbers. */
mica_status mica_pairs_walk(const mica_engine *engine, const mica_row_sample *sample,
                            mica_pairs_fn fn, void *ctx);

/* The option that measures of pairs have; its field is int64_t rows. */
#define MICA_PAIRS_OPTION(type, def)                                                               \
  {                                                                                                \
    "rows", MICA_OPTION_INT, def, 4, 20000, NULL, "the most rows whose pairs are looked at",       \
        offsetof(type, rows)                                                                       \
  }

#endif
