/* mica/quantise.h: product quantisation: rows of floats as a few bytes each.
 *
 * A row x [D], rotated where the quantiser has a rotation (x' = R x), is cut into parts of
 * neighbouring columns, part p from floor(p D / P) on, and each part is replaced by the nearest of
 * K codewords, whose number is the code (Jegou, Douze and Schmid 2011, "Product Quantization for
 * Nearest Neighbor Search"). The rotation is that of Ge, He, Ke and Sun (2013, "Optimized Product
 * Quantization"). Arithmetic is float32; results are the same bits for every thread count.
 */
#ifndef MICA_QUANTISE_H
#define MICA_QUANTISE_H

#include <mica/engine.h>
#include <mica/feature.h>
#include <mica/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_quantiser mica_quantiser;

typedef struct mica_quantiser_options {
  uint32_t size;
  int64_t parts;      /* P, 1..D: a row's code has one byte for each */
  int64_t words;      /* K, 2..256 codewords of each part */
  int64_t rotations;  /* steps of the rotation's training; 0: no rotation */
  int64_t iterations; /* of k-means for each part's codewords, at the end */
  int64_t sample;     /* rows at most that it is trained on, drawn at random; 0: 256 K */
  uint64_t seed;
  mica_progress_fn progress;
  void *progress_ctx;
} mica_quantiser_options;
#define MICA_QUANTISER_OPTIONS                                                                     \
  { sizeof(mica_quantiser_options), 8, 256, 0, 25, 0, 0, NULL, NULL }

/* Train on rows x [N, D], any float type, all finite, N >= K. The rotation begins with principal
 * directions dealt out to parts of equal products of variances, then code and rotation are fitted
 * in turn: R = the orthogonal factor of Y^T X + s R, Y the decoded rows of R X and s small.
 * MICA_ERR_SHAPE, MICA_ERR_INVALID, MICA_ERR_NUMERIC, MICA_ERR_MEMORY. Memory: 12 bytes for each
 * number of the sample, and with a rotation 24 D^2 and 4 D^2 for each 4096 rows of it. */
MICA_API mica_status mica_quantiser_fit(const mica_engine *engine, const mica_view *x,
                                        const mica_quantiser_options *options,
                                        mica_quantiser **out);
/* One of these codewords: `word` holds for each part in turn its [K, columns of the part], which is
 * [P, K, D / P] where P divides D; `rotation` is R [D, D] or NULL. Both are copied. */
MICA_API mica_status mica_quantiser_of(const mica_engine *engine, int64_t d, int64_t parts,
                                       int64_t words, const float *word, const float *rotation,
                                       mica_quantiser **out);
/* NULL does nothing. */
MICA_API void mica_quantiser_free(mica_quantiser *quantiser);

/* D, P and K. */
MICA_API int64_t mica_quantiser_width(const mica_quantiser *quantiser);
MICA_API int64_t mica_quantiser_parts(const mica_quantiser *quantiser);
MICA_API int64_t mica_quantiser_words(const mica_quantiser *quantiser);
/* The first column of part p, D for p = P. */
MICA_API int64_t mica_quantiser_column(const mica_quantiser *quantiser, int64_t p);
/* All codewords, K D numbers laid out as mica_quantiser_of takes them, and R [D, D] or NULL;
 * borrowed. */
MICA_API const float *mica_quantiser_codewords(const mica_quantiser *quantiser);
MICA_API const float *mica_quantiser_rotation(const mica_quantiser *quantiser);

/* The codes of rows x [N, D]: code [N, P]. */
MICA_API mica_status mica_quantiser_encode(const mica_quantiser *quantiser, const mica_view *x,
                                           uint8_t *code);
/* What n codes stand for: x [n, D], rotated back. A code beyond K is MICA_ERR_INVALID. */
MICA_API mica_status mica_quantiser_decode(const mica_quantiser *quantiser, const uint8_t *code,
                                           int64_t n, float *x);
/* Inner products of the parts of queries [n, D] (float32, dense) with all codewords: table [n, P,
 * K]. The sum over the parts of a code's entries is <query, decoded row>. */
MICA_API mica_status mica_quantiser_table(const mica_quantiser *quantiser, const float *query,
                                          int64_t n, float *table);

/* Put the quantiser's tensors into a record under "PREFIX.words" and "PREFIX.rotation", and take
 * them out again: MICA_ERR_FORMAT where they do not fit D, parts and words. */
MICA_API mica_status mica_quantiser_save(const mica_quantiser *quantiser, const char *prefix,
                                         mica_record *record);
MICA_API mica_status mica_quantiser_load(const mica_engine *engine, const mica_record *record,
                                         const char *prefix, int64_t d, int64_t parts,
                                         int64_t words, mica_quantiser **out);

#ifdef __cplusplus
}
#endif
#endif
