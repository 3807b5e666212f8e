/* What a recorded convolution keeps of its geometry. */
#ifndef MICA_AUTOGRAD_CONVOLUTION_H
#define MICA_AUTOGRAD_CONVOLUTION_H

#include "tensor/kernel/convolution.h"

typedef struct mica_conv_context {
  mica_convolution conv;
  bool transposed;
} mica_conv_context;

#endif
