/* Terms whose weight grows over the first epochs. */
#ifndef MICA_LOSS_WARMUP_H
#define MICA_LOSS_WARMUP_H

#include <mica/loss.h>

/* min(1, epoch / warmup) times the term; warmup 0: the term. */
static inline mica_var mica_warm(mica_tape *t, mica_var term, const mica_loss_inputs *in,
                                 double warmup) {
  return in->epoch < warmup ? mica_affine(t, term, in->epoch / warmup, 0) : term;
}

#define MICA_WARMUP_ROW(type)                                                                      \
  {                                                                                                \
    "warmup", MICA_OPTION_FLOAT, "0", 0, 1e6, NULL,                                                \
        "epochs over which the term's weight grows from 0", offsetof(type, warmup)                 \
  }

#endif
