/* Attention alone, forward and backward: 6 heads of 64, 16384 tokens in sequences of one length. */
#include "bench.h"

#include <stdlib.h>

enum { TOKENS = 16384, HEADS = 6, DIM = 64 };

typedef struct qkv {
  mica_tensor *q, *k, *v, *gradient;
  bool causal;
} qkv;

static void make(bench *b) {
  const int64_t length = *(const int64_t *)b->work->setting, n = TOKENS / length;
  qkv *x = b->made = calloc(1, sizeof *x);
  x->causal = in_phase(b, "causal");
  if (!x->causal && !in_phase(b, "full")) no_phase(b);
  x->q = noise(MICA_SHAPE(n, length, HEADS, DIM), 1);
  x->k = noise(MICA_SHAPE(n, length, HEADS, DIM), 2);
  x->v = noise(MICA_SHAPE(n, length, HEADS, DIM), 3);
  x->gradient = noise(MICA_SHAPE(n, length, HEADS, DIM), 4);
}

static void step(bench *b) {
  const qkv *x = b->made;
  mica_tape *t = b->tape;
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = x->causal;
  const mica_var y = mica_attention(t, mica_leaf(t, x->q), mica_leaf(t, x->k), mica_leaf(t, x->v),
                                    MICA_NONE, &o, NULL);
  need(mica_backward_from(t, y, mica_input(t, x->gradient)));
  mica_tape_reset(t);
}

static void release(bench *b) {
  qkv *x = b->made;
  mica_tensor_free(x->q);
  mica_tensor_free(x->k);
  mica_tensor_free(x->v);
  mica_tensor_free(x->gradient);
  free(x);
}

#define LENGTH(n)                                                                                  \
  {                                                                                                \
    "attention-" #n, "16384 tokens in sequences of " #n, make, step, release, &(const int64_t) {   \
      n                                                                                            \
    }                                                                                              \
  }
const workload attention_workloads[] = {LENGTH(512),  LENGTH(1024),  LENGTH(2048), LENGTH(4096),
                                        LENGTH(8192), LENGTH(16384), {0}};
