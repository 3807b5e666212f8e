/* Predictions with a few rows: the weight is packed for the product once, and kept as long as its
 * value stays. Not at its first use: a program that predicts once would pay for memory it never
 * needs again. */
#ifndef MICA_PARAM_PACKED_LINEAR_H
#define MICA_PARAM_PACKED_LINEAR_H

#include <mica/param.h>

/* x w^T + b, w being the value of q. *done false: this is no case for it, and nothing happened. */
mica_var mica_packed_linear(mica_tape *t, mica_param *q, mica_var x, mica_var w, mica_var b,
                            bool *done);

#endif
