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

/* g = grad_scale g + weight_decay w; s += g^2; w -= rate g / (sqrt(s + initial) + eps) */
typedef struct mica_adagrad_update {
  double rate, initial, eps, weight_decay, grad_scale;
} mica_adagrad_update;

/* g = grad_scale g + weight_decay w; v = alpha v + (1 - alpha) g^2; m where kept: m += (1 - alpha)
 * (g - m), and v - m^2 in v's place; d = g / (sqrt(v) + eps); b where kept: b = momentum b + d, and
 * b in d's place; w -= lr d */
typedef struct mica_rmsprop_update {
  double lr, alpha, eps, momentum, weight_decay, grad_scale;
} mica_rmsprop_update;

/* m and v as Adam's; r = correct1 m / (sqrt(v) correct2 + eps) + weight_decay w; w -= rate r */
typedef struct mica_lamb_update {
  double rate, beta1, beta2, eps, correct1, correct2, weight_decay, grad_scale;
} mica_lamb_update;

/* b = momentum b + rate (grad_scale g + weight_decay w); w -= b */
typedef struct mica_lars_update {
  double rate, momentum, weight_decay, grad_scale;
} mica_lars_update;

typedef struct mica_optimiser_kernels {
  void (*sgd)(const mica_sgd_update *u, int64_t n, const void *g, void *w, void *b);
  void (*adam)(const mica_adam_update *u, int64_t n, const void *g, void *w, void *m, void *v,
               void *vmax); /* vmax NULL: plain; else AMSGrad */
  void (*adagrad)(const mica_adagrad_update *u, int64_t n, const void *g, void *w, void *s);
  void (*rmsprop)(const mica_rmsprop_update *u, int64_t n, const void *g, void *w, void *v, void *m,
                  void *b); /* m and b may be NULL */
  /* Moves m and v, and adds to sum the squares of w and of r. */
  void (*lamb_moments)(const mica_lamb_update *u, int64_t n, const void *g, const void *w, void *m,
                       void *v, double sum[2]);
  void (*lamb)(const mica_lamb_update *u, int64_t n, const void *m, const void *v, void *w);
  /* Adds to sum the squares of w and of g. */
  void (*squares)(int64_t n, const void *w, const void *g, double sum[2]);
  void (*lars)(const mica_lars_update *u, int64_t n, const void *g, void *w, void *b);
  void (*average)(int64_t n, double decay, const void *x,
                  void *avg); /* avg += (1 - decay)(x - avg) */
} mica_optimiser_kernels;

#endif
