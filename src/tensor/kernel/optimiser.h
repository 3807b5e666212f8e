/* optimiser.h: the whole update of n elements of a parameter in one pass.
 *
 * The gradient is multiplied by grad_scale first (clipping, loss scaling), and is not written.
 * Formulas and the place of eps are PyTorch's.
 */
#ifndef MICA_TENSOR_KERNEL_OPTIMISER_H
#define MICA_TENSOR_KERNEL_OPTIMISER_H

#include <stdbool.h>
#include <stdint.h>

/* g = grad_scale g + weight_decay w; b = first ? g : momentum b + (1 - dampening) g;
 * w -= lr (nesterov ? g + momentum b : b). Without momentum b is not read and may be NULL. */
typedef struct mica_sgd_update {
  double lr, momentum, dampening, weight_decay, grad_scale;
  bool nesterov, first;
} mica_sgd_update;

/* decoupled: w *= 1 - lr weight_decay (AdamW), else g += weight_decay w (Adam);
 * m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; vmax = max(vmax, v) where kept;
 * w -= lr / (1 - beta1^step) m / (sqrt(v) / sqrt(1 - beta2^step) + eps), vmax in v's place where
 * kept */
typedef struct mica_adam_update {
  double lr, beta1, beta2, eps, weight_decay, grad_scale;
  int64_t step; /* 1 for the first update */
  bool decoupled;
} mica_adam_update;

typedef struct mica_optimiser_kernels {
  void (*sgd)(const mica_sgd_update *u, int64_t n, const void *g, void *w, void *b);
  void (*adam)(const mica_adam_update *u, int64_t n, const void *g, void *w, void *m, void *v,
               void *vmax); /* vmax NULL: plain; else AMSGrad */
  void (*average)(int64_t n, double decay, const void *x,
                  void *avg); /* avg += (1 - decay)(x - avg) */
} mica_optimiser_kernels;

#endif
