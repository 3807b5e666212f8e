/* What aligning two spaces stands on: the moments of pairs, and what is derived from them. */
#ifndef MICA_FEATURE_ALIGNMENT_H
#define MICA_FEATURE_ALIGNMENT_H

#include "numeric/moments.h"

#include <mica/feature.h>

enum {
  MICA_ALIGN_NONE,
  MICA_ALIGN_AFFINE,
  MICA_ALIGN_LINEAR,
  MICA_ALIGN_PROCRUSTES,
  MICA_ALIGN_RELATIVE
};
enum { MICA_REDUCE_NONE, MICA_REDUCE_CCA, MICA_REDUCE_PCA };
enum { MICA_SCORE_COSINE, MICA_SCORE_CKA };

typedef struct mica_align_options {
  uint32_t size;
  int32_t map, reduce, score;
  int64_t k;
  double ridge, variance;
  bool standardise, zero_pad, centre;
} mica_align_options;

/* A side reduced: rows become (row - mean) w, or stay as they are where w is NULL. */
typedef struct mica_align_side {
  int64_t d, k;  /* columns before and after */
  double *mean;  /* [d], of the anchors */
  double *w;     /* [d, k], or NULL and k = d */
  double *scale; /* [k]: what CKA divides by, 1 unless standardised */
} mica_align_side;

typedef struct mica_alignment {
  mica_moments pairs; /* of rows [x, y] */
  mica_align_side x, y;
  int64_t outputs, correlations;
  double *rho;     /* [correlations], NULL: none */
  double *map;     /* [x.k, outputs], NULL: as it is, or relative */
  double *bias;    /* [outputs] */
  double *target;  /* [y.k] mean of the anchors' y as reduced */
  double *cross;   /* [x.k, y.k] scatter of the reduced and scaled anchors, for CKA; NULL: none */
  double *xx, *yy; /* [x.k, x.k], [y.k, y.k] */
  double *ax, *ay; /* relative: anchors as reduced [n, x.k], [n, y.k], of length 1 */
  int64_t anchors;
} mica_alignment;

void mica_alignment_free(void *state);
/* Of P and Q columns, no pairs yet. */
mica_status mica_alignment_create(int64_t p, int64_t q, mica_alignment **out);
/* Add pairs to the moments; mica_alignment_derive makes the rest. */
mica_status mica_alignment_add(const mica_engine *engine, mica_alignment *a, const mica_view *x,
                               const mica_view *y);
/* Everything that follows from the moments (and for `relative` nothing of the anchors). */
mica_status mica_alignment_derive(const mica_engine *engine, const mica_align_options *o,
                                  mica_alignment *a);
/* Keep these anchors for `relative`. */
mica_status mica_alignment_keep(const mica_engine *engine, const mica_align_options *o,
                                mica_alignment *a, const mica_view *x, const mica_view *y);

/* Rows of one side as reduced: out [N, k]. With `centred` the mean is taken off in any case. */
mica_status mica_align_reduce(const mica_engine *engine, const mica_align_side *side,
                              const mica_view *rows, bool centred, double *out);

/* ---- the functions of the estimators' tables ---- */

mica_status mica_alignment_predict(const mica_engine *engine, const void *options,
                                   const void *state, const mica_view *x, mica_prediction *out);
mica_status mica_alignment_targets(const mica_engine *engine, const void *options,
                                   const void *state, const mica_view *y, double *out);
mica_status mica_alignment_pair_scores(const mica_engine *engine, const void *options,
                                       const void *state, const mica_view *x, const mica_view *y,
                                       double *out);

#endif
