/* mica/network_analysis.h: what is in a trained network: the gains of its batch norms, rectifiers
 * that never fire, and what it loses when small gains are set to zero (Frankle, Schwab & Morcos
 * 2021).
 */
#ifndef MICA_NETWORK_ANALYSIS_H
#define MICA_NETWORK_ANALYSIS_H

#include <mica/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- gains and shifts of batch norm ---- */

/* Channel by channel in the order of the network's parameters. Layer i has channels first[i] to
 * first[i + 1] - 1. */
typedef struct mica_gains {
  int64_t n, layers;
  double *gain, *shift; /* [n] */
  int64_t *first;       /* [layers + 1] */
  char **name;          /* [layers]: the layers' paths */
} mica_gains;
/* Free with mica_gains_free. A network without batch norm is MICA_ERR_UNSUPPORTED. */
MICA_API mica_status mica_gains_of(const mica_params *params, mica_gains *out);
MICA_API void mica_gains_free(mica_gains *gains);
/* The share of the n values whose size is below the threshold; NaN of none. Of gains: the share of
 * features that are switched off. */
MICA_API double mica_share_below(const double *x, int64_t n, double threshold);

/* ---- rectifiers ---- */

/* One rectifier. A channel is dead when it was zero at every position of every example. */
typedef struct mica_rectifier {
  char *name; /* the module's path, with "#2" and so on where it rectifies several times */
  int64_t channels, dead;
  double zeros; /* share of its results that are zero */
} mica_rectifier;
typedef struct mica_rectifiers {
  int64_t n;
  mica_rectifier *rectifier; /* [n], in the order in which the network runs */
  int64_t channels, dead;    /* of all together */
  double zeros;              /* likewise */
  int64_t examples;
} mica_rectifiers;
/* One pass over the stream's epoch 0 in evaluation mode. Free with mica_rectifiers_free. */
MICA_API mica_status mica_rectifiers_of(const mica_net *net, const mica_stream *stream,
                                        mica_rectifiers *out);
MICA_API void mica_rectifiers_free(mica_rectifiers *rectifiers);

/* ---- setting gains to zero ---- */

typedef struct mica_prune_options {
  uint32_t size;
  bool shift;      /* set the shift of such a channel to zero too */
  bool thresholds; /* `at` holds thresholds: gains smaller than that; else shares of all channels,
                      the smallest gains of the whole network first */
} mica_prune_options;
#define MICA_PRUNE_OPTIONS                                                                         \
  { sizeof(mica_prune_options), false, false }
typedef struct mica_prune_point {
  double at;        /* as asked for */
  double share;     /* of the channels that were set to zero */
  double threshold; /* the largest size among them; 0 for none */
  double loss, accuracy;
} mica_prune_point;
/* Evaluate a copy of the network on the stream with gains of batch norm set to zero, for each of
 * the n values of `at`; into out [n]. NULL options are the defaults. Shares are 0 to 1, thresholds
 * 0 or more. */
MICA_API mica_status mica_prune_curve(const mica_net *net, const mica_stream *stream,
                                      const double *at, int64_t n,
                                      const mica_prune_options *options, mica_prune_point *out);

#ifdef __cplusplus
}
#endif
#endif
