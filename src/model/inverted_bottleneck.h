/* What the networks of inverted bottlenecks (EfficientNet, MobileNet) are made of. */
#ifndef MICA_MODEL_INVERTED_BOTTLENECK_H
#define MICA_MODEL_INVERTED_BOTTLENECK_H

#include <mica/nn.h>

/* A scaled number of channels: to the nearest eight, but never down by more than a tenth. */
int64_t mica_round_to_eights(double wanted);

/* A convolution k x k without bias and its batch norm, as children of `node`. */
mica_status mica_conv_norm_init(mica_node *node, const char *conv, const char *norm, int64_t in,
                                int64_t out, int64_t k, int64_t groups);

/* The two 1x1 convolutions of squeeze-and-excitation (Hu et al. 2018), with bias. */
mica_status mica_squeeze_and_excite_init(mica_node *node, const char *reduce, const char *expand,
                                         int64_t wide, int64_t narrow);
/* x times gate(expand(inner(reduce(mean of each channel)))). */
mica_var mica_squeeze_and_excite(mica_tape *t, mica_node *reduce, mica_node *expand,
                                 mica_activation inner, mica_activation gate, mica_var x);

#endif
