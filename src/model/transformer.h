/* What transformers with the names of the `transformers` library share. */
#ifndef MICA_MODEL_TRANSFORMER_H
#define MICA_MODEL_TRANSFORMER_H

#include <mica/nn.h>

/* A linear layer of weights from a normal distribution of this deviation, and zero biases. */
mica_status mica_normal_linear_init(mica_node *node, int64_t in, int64_t out, double deviation);
/* A table of rows likewise. */
mica_status mica_normal_table_init(mica_node *node, int64_t rows, int64_t width, double deviation);

/* Attention of x [N,L,C] to itself with three linear layers below node, names of queries, keys and
 * values; -> [N,L,C], before the projection that follows. Heeds the tape's mask. */
mica_var mica_separate_attention(mica_tape *t, mica_node *node, const char *const name[3],
                                 int64_t heads, const mica_attention_options *o, mica_var x);

#endif
