/* mica/ops.h: every operation but those of mica/linear_algebra.h, with its formula on the line.
 *
 * float32 and float64 unless a line says otherwise; ids and labels are int64. Every operation here
 * has a gradient for each floating-point input, checked against central differences. Shapes that do
 * not fit latch MICA_ERR_SHAPE on the tape. Negative axes count from the end. Optional inputs are
 * MICA_NONE. [N,H,W,C] means channels last.
 */
#ifndef MICA_OPS_H
#define MICA_OPS_H

#include <mica/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- elementwise, one input ---- */

typedef enum mica_activation {
  MICA_IDENTITY,
  MICA_RELU,
  MICA_GELU,
  MICA_GELU_TANH,
  MICA_SILU,
  MICA_SIGMOID,
  MICA_TANH,
  MICA_LEAKY_RELU, /* slope 0.01 */
  MICA_ELU,        /* alpha 1 */
  MICA_SELU,
  MICA_SOFTPLUS,
  MICA_MISH,
  MICA_HARD_SIGMOID,
  MICA_HARD_SWISH,
  MICA_RELU6,      /* clamp(x, 0, 6) */
  MICA_HARD_TANH,  /* clamp(x, -1, 1) */
  MICA_QUICK_GELU, /* x sigmoid(1.702 x) */
  MICA_CELU,       /* alpha 1 */
  MICA_SOFT_SIGN,
  MICA_TANH_SHRINK,
  MICA_SQUARED_RELU
} mica_activation;
/* One of the activations above, element by element. */
MICA_API mica_var mica_activate(mica_tape *t, mica_activation kind, mica_var x);

MICA_API mica_var mica_neg(mica_tape *t, mica_var x);         /* -x */
MICA_API mica_var mica_abs(mica_tape *t, mica_var x);         /* |x|, gradient 0 at 0 */
MICA_API mica_var mica_exp(mica_tape *t, mica_var x);         /* e^x */
MICA_API mica_var mica_expm1(mica_tape *t, mica_var x);       /* e^x - 1 */
MICA_API mica_var mica_log(mica_tape *t, mica_var x);         /* ln x */
MICA_API mica_var mica_log1p(mica_tape *t, mica_var x);       /* ln(1 + x) */
MICA_API mica_var mica_sqrt(mica_tape *t, mica_var x);        /* x^1/2 */
MICA_API mica_var mica_rsqrt(mica_tape *t, mica_var x);       /* x^-1/2 */
MICA_API mica_var mica_reciprocal(mica_tape *t, mica_var x);  /* 1 / x */
MICA_API mica_var mica_square(mica_tape *t, mica_var x);      /* x^2 */
MICA_API mica_var mica_sin(mica_tape *t, mica_var x);         /* sin x, x in radians */
MICA_API mica_var mica_cos(mica_tape *t, mica_var x);         /* cos x */
MICA_API mica_var mica_tanh(mica_tape *t, mica_var x);        /* tanh x */
MICA_API mica_var mica_erf(mica_tape *t, mica_var x);         /* 2/sqrt(pi) int_0^x e^-u^2 du */
MICA_API mica_var mica_sigmoid(mica_tape *t, mica_var x);     /* 1 / (1 + e^-x) */
MICA_API mica_var mica_log_sigmoid(mica_tape *t, mica_var x); /* -ln(1 + e^-x) */
MICA_API mica_var mica_softplus(mica_tape *t, mica_var x);    /* ln(1 + e^x) */
MICA_API mica_var mica_relu(mica_tape *t, mica_var x);        /* max(x, 0), gradient 0 at 0 */
MICA_API mica_var mica_leaky_relu(mica_tape *t, mica_var x, double slope); /* x > 0 ? x : slope x */
/* x > 0 ? x : alpha (e^x - 1) */
MICA_API mica_var mica_elu(mica_tape *t, mica_var x, double alpha);
/* 1.0507 (x > 0 ? x : 1.6733 (e^x - 1)); Klambauer et al. 2017 */
MICA_API mica_var mica_selu(mica_tape *t, mica_var x);
MICA_API mica_var mica_gelu(mica_tape *t, mica_var x); /* x (1 + erf(x / sqrt 2)) / 2 */
/* x (1 + tanh(sqrt(2/pi)(x + .044715 x^3))) / 2 */
MICA_API mica_var mica_gelu_tanh(mica_tape *t, mica_var x);
MICA_API mica_var mica_silu(mica_tape *t, mica_var x);               /* x sigmoid(x) */
MICA_API mica_var mica_mish(mica_tape *t, mica_var x);               /* x tanh(softplus(x)) */
MICA_API mica_var mica_hard_sigmoid(mica_tape *t, mica_var x);       /* clamp(x + 3, 0, 6) / 6 */
MICA_API mica_var mica_hard_swish(mica_tape *t, mica_var x);         /* x hard_sigmoid(x) */
MICA_API mica_var mica_swish(mica_tape *t, mica_var x, double beta); /* x sigmoid(beta x) */
/* x > 0 ? x : alpha (e^(x / alpha) - 1), alpha > 0 */
MICA_API mica_var mica_celu(mica_tape *t, mica_var x, double alpha);
MICA_API mica_var mica_soft_sign(mica_tape *t, mica_var x); /* x / (1 + |x|) */
/* x - lambda, x + lambda, or 0 between; lambda >= 0 */
MICA_API mica_var mica_soft_shrink(mica_tape *t, mica_var x, double lambda);
MICA_API mica_var mica_hard_shrink(mica_tape *t, mica_var x,
                                   double lambda);             /* |x| > lambda ? x : 0 */
MICA_API mica_var mica_tanh_shrink(mica_tape *t, mica_var x);  /* x - tanh x */
MICA_API mica_var mica_squared_relu(mica_tape *t, mica_var x); /* max(x, 0)^2 */
/* max(x, 0) + slope min(x, 0): slope [1], or [C] for x [..,C] (He et al. 2015) */
MICA_API mica_var mica_prelu(mica_tape *t, mica_var x, mica_var slope);
/* a act(b) of the two halves a, b of the last axis: [..,2C] -> [..,C] (Shazeer 2020) */
MICA_API mica_var mica_glu(mica_tape *t, mica_var x, mica_activation act);
/* Gradient 0 outside. */
MICA_API mica_var mica_clamp(mica_tape *t, mica_var x, double lo, double hi);
MICA_API mica_var mica_pow_scalar(mica_tape *t, mica_var x, double p); /* x^p */
/* scale x + shift */
MICA_API mica_var mica_affine(mica_tape *t, mica_var x, double scale, double shift);
MICA_API mica_var mica_sign(mica_tape *t, mica_var x);  /* no gradient */
MICA_API mica_var mica_step(mica_tape *t, mica_var x);  /* x > 0 ? 1 : 0; no gradient */
MICA_API mica_var mica_floor(mica_tape *t, mica_var x); /* no gradient */
MICA_API mica_var mica_round(mica_tape *t, mica_var x); /* half to even; no gradient */
/* Another element type; the gradient is converted back (float types only). */
MICA_API mica_var mica_cast(mica_tape *t, mica_var x, mica_dtype dtype);

/* ---- elementwise, two inputs, NumPy broadcasting ---- */

MICA_API mica_var mica_add(mica_tape *t, mica_var a, mica_var b);     /* a + b */
MICA_API mica_var mica_sub(mica_tape *t, mica_var a, mica_var b);     /* a - b */
MICA_API mica_var mica_mul(mica_tape *t, mica_var a, mica_var b);     /* a b */
MICA_API mica_var mica_div(mica_tape *t, mica_var a, mica_var b);     /* a / b */
MICA_API mica_var mica_pow(mica_tape *t, mica_var a, mica_var b);     /* a^b */
MICA_API mica_var mica_maximum(mica_tape *t, mica_var a, mica_var b); /* a tie gives half to each */
MICA_API mica_var mica_minimum(mica_tape *t, mica_var a, mica_var b); /* a tie gives half to each */
MICA_API mica_var mica_equal(mica_tape *t, mica_var a, mica_var b);   /* 1 or 0; no gradient */
/* a < b: 1 or 0; no gradient */
MICA_API mica_var mica_less(mica_tape *t, mica_var a, mica_var b);
MICA_API mica_var mica_where(mica_tape *t, mica_var c, mica_var a, mica_var b); /* c != 0 ? a : b */
/* mask != 0 ? value : x; the mask, of any type, broadcasts to x. */
MICA_API mica_var mica_masked_fill(mica_tape *t, mica_var x, mica_var mask, double value);

/* ---- straight-through: the value is one thing, the gradient another's ---- */

/* The value of `hard`, to the bit; the whole gradient goes to `soft`, of the same shape and type
 * (Bengio, Leonard & Courville 2013). What the next three are made of. */
MICA_API mica_var mica_straight_through(mica_tape *t, mica_var hard, mica_var soft);
/* round(x), half to even; gradient as of x. */
MICA_API mica_var mica_straight_through_round(mica_tape *t, mica_var x);
typedef enum mica_step_slope {
  MICA_STEP_IDENTITY, /* as of x */
  MICA_STEP_CLIPPED,  /* as of clamp(x, -1, 1) */
  MICA_STEP_SIGMOID   /* as of sigmoid(x) */
} mica_step_slope;
/* x > 0 ? 1 : 0 */
MICA_API mica_var mica_straight_through_step(mica_tape *t, mica_var x, mica_step_slope slope);
/* 1 at the first largest of the last axis, 0 elsewhere; gradient as of softmax(x / temperature),
 * temperature > 0. With Gumbel noise added to x this is Jang, Gu & Poole 2017. */
MICA_API mica_var mica_straight_through_argmax(mica_tape *t, mica_var x, double temperature);

/* ---- reductions: n axes (n = 0: all), dimensions kept as 1 when keep ---- */

/* sum over the axes */
MICA_API mica_var mica_sum(mica_tape *t, mica_var x, int n, const int *axes, bool keep);
/* sum / count */
MICA_API mica_var mica_mean(mica_tape *t, mica_var x, int n, const int *axes, bool keep);
MICA_API mica_var mica_variance(mica_tape *t, mica_var x, int n, const int *axes, bool keep,
                                double correction); /* sum (x - mean)^2 / (count - correction) */
/* Gradient to the first maximum. */
MICA_API mica_var mica_max(mica_tape *t, mica_var x, int axis, bool keep);
/* gradient to the first minimum */
MICA_API mica_var mica_min(mica_tape *t, mica_var x, int axis, bool keep);
MICA_API mica_var mica_argmax(mica_tape *t, mica_var x, int axis); /* int64, the first maximum */
/* ln sum e^x, without overflow */
MICA_API mica_var mica_log_sum_exp(mica_tape *t, mica_var x, int axis, bool keep);
/* sqrt(sum x^2), gradient 0 at 0 */
MICA_API mica_var mica_norm(mica_tape *t, mica_var x, int axis, bool keep);

/* ---- along one axis: running sums and linear recurrences ---- */

/* y_t = sum of x_i, i <= t (exclusive: i < t); reverse: i >= t (i > t). Sums are kept in float64.
 */
MICA_API mica_var mica_cumsum(mica_tape *t, mica_var x, int axis, bool exclusive, bool reverse);
/* y_t = product of x_i, i <= t (reverse: i >= t). The gradient divides by nothing: zeros are fine.
 */
MICA_API mica_var mica_cumprod(mica_tape *t, mica_var x, int axis, bool reverse);

typedef struct mica_recurrence_options {
  uint32_t size;
  int32_t axis; /* of b, that of the steps */
  bool complex; /* the last dimension of all is 2: real and imaginary part */
  bool reverse; /* from the last step to the first */
} mica_recurrence_options;
#define MICA_RECURRENCE_OPTIONS                                                                    \
  { sizeof(mica_recurrence_options), 1, false, false }
/* h_t = a_t h_(t-1) + b_t for each element on its own, the states h in the shape of b. a broadcasts
 * to b (a dimension of 1 at the axis: the same factor at each step); h0 is b's shape without the
 * axis, or MICA_NONE (zero). *last (may be NULL) is the state after the last step. Time and memory
 * linear in the number of steps; columns run on several threads. */
MICA_API mica_var mica_linear_recurrence(mica_tape *t, mica_var a, mica_var b, mica_var h0,
                                         const mica_recurrence_options *o, mica_var *last);

/* ---- Fourier transforms, of any length >= 1; complex numbers are a last dimension of 2, which
 * axes do not count ---- */

typedef enum mica_fft_norm {
  MICA_FFT_BACKWARD, /* 1 / n in the inverse */
  MICA_FFT_ORTHO,    /* n^-1/2 in both */
  MICA_FFT_FORWARD   /* 1 / n in the forward transform */
} mica_fft_norm;
/* y_k = sum_t x_t e^(-2 pi i k t / n) along axis, x [..,n,..,2]; the inverse has a plus. */
MICA_API mica_var mica_fft(mica_tape *t, mica_var x, int axis, mica_fft_norm norm);
MICA_API mica_var mica_ifft(mica_tape *t, mica_var x, int axis, mica_fft_norm norm);
/* The first n / 2 + 1 of them, of real x: [..,n,..] -> [..,n/2+1,..,2]. */
MICA_API mica_var mica_rfft(mica_tape *t, mica_var x, int axis, mica_fft_norm norm);
/* Back: [..,n/2+1,..,2] -> [..,n,..]. The imaginary part of the first, and for even n of the last,
 * is not read. */
MICA_API mica_var mica_irfft(mica_tape *t, mica_var x, int axis, int64_t n, mica_fft_norm norm);
/* Over height and width of pictures: [N,H,W,C] -> [N,H,W/2+1,C,2], and back. */
MICA_API mica_var mica_rfft2(mica_tape *t, mica_var x, mica_fft_norm norm);
MICA_API mica_var mica_irfft2(mica_tape *t, mica_var x, int64_t width, mica_fft_norm norm);

typedef struct mica_long_convolution_options {
  uint32_t size;
  bool circular;  /* x goes round; else it is 0 before the first place */
  int64_t direct; /* so many taps or fewer are added up one by one, more by Fourier transforms */
} mica_long_convolution_options;
#define MICA_LONG_CONVOLUTION_OPTIONS                                                              \
  { sizeof(mica_long_convolution_options), false, 32 }
/* y[n,t,c] = sum_j k[c,j] x[n,t-j,c]: x [N,L,C], k [C,K] -> [N,L,C]. Causal taps beyond the length
 * reach nothing; circular ones must not be more than it. */
MICA_API mica_var mica_long_convolution(mica_tape *t, mica_var x, mica_var k,
                                        const mica_long_convolution_options *o);

/* ---- products ---- */

/* op(a) op(b), batched over leading dimensions with broadcasting; op transposes the last two. */
MICA_API mica_var mica_matmul(mica_tape *t, mica_var a, mica_var b);
MICA_API mica_var mica_matmul_t(mica_tape *t, mica_var a, bool transpose_a, mica_var b,
                                bool transpose_b);
/* activation(x w^T + bias): x [.., I], w [O, I], bias [O] or MICA_NONE. */
MICA_API mica_var mica_linear(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                              mica_activation act);

typedef struct mica_conv_options {
  uint32_t size;
  int32_t stride[2], dilation[2]; /* height, width */
  int32_t pad[4];                 /* top, bottom, left, right */
  int32_t groups;
  int32_t output_pad[2]; /* transposed form only */
} mica_conv_options;
/* What to pad in front of and behind an axis for ceil(size / stride) results, the odd one behind:
 * "same" of TensorFlow, and of PyTorch with stride 1. */
static inline void mica_same_padding(int64_t size, int32_t kernel, int32_t stride, int32_t dilation,
                                     int32_t pad[2]) {
  const int64_t extent = (int64_t)dilation * (kernel - 1) + 1, places = (size - 1) / stride;
  const int64_t lack = places * stride + extent - size, all = size > 0 && lack > 0 ? lack : 0;
  pad[0] = (int32_t)(all / 2);
  pad[1] = (int32_t)(all - all / 2);
}
/* clang-format off */
#define MICA_CONV_OPTIONS                                                                          \
  { sizeof(mica_conv_options), {1, 1}, {1, 1}, {0, 0, 0, 0}, 1, {0, 0} }
/* clang-format on */
/* x [N,H,W,C], w [O,kh,kw,C/groups], bias [O] or MICA_NONE -> [N,Ho,Wo,O];
 * Ho = (H + top + bottom - dilation (kh - 1) - 1) / stride + 1 */
MICA_API mica_var mica_conv2d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                              const mica_conv_options *o);
/* x [N,L,C], w [O,k,C/groups]; the second element of stride, dilation and pad pairs is used. */
MICA_API mica_var mica_conv1d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                              const mica_conv_options *o);
/* x [N,H,W,I], w [I,kh,kw,O/groups] -> Ho = (H - 1) stride - top - bottom + dilation (kh - 1) +
 * output_pad + 1 */
MICA_API mica_var mica_conv_transpose2d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                                        const mica_conv_options *o);
MICA_API mica_var mica_conv_transpose1d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                                        const mica_conv_options *o);

typedef struct mica_conv3d_options {
  uint32_t size;
  int32_t stride[3], dilation[3]; /* depth, height, width */
  int32_t pad[6];                 /* front, back, top, bottom, left, right */
  int32_t groups;
  int32_t output_pad[3]; /* transposed form only */
} mica_conv3d_options;
/* clang-format off */
#define MICA_CONV3D_OPTIONS                                                                        \
  { sizeof(mica_conv3d_options), {1, 1, 1}, {1, 1, 1}, {0, 0, 0, 0, 0, 0}, 1, {0, 0, 0} }
/* clang-format on */
/* The same of volumes: x [N,D,H,W,C], w [O,kd,kh,kw,C/groups] -> [N,Do,Ho,Wo,O], and transposed
 * with w [C,kd,kh,kw,O/groups]. */
MICA_API mica_var mica_conv3d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                              const mica_conv3d_options *o);
MICA_API mica_var mica_conv_transpose3d(mica_tape *t, mica_var x, mica_var w, mica_var bias,
                                        const mica_conv3d_options *o);

/* ---- softmax family, over the last axis unless an axis is given ---- */

MICA_API mica_var mica_softmax(mica_tape *t, mica_var x, int axis);     /* e^x / sum e^x */
MICA_API mica_var mica_log_softmax(mica_tape *t, mica_var x, int axis); /* x - ln sum e^x */

/* ---- normalisation ---- */

MICA_API mica_var mica_layer_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias,
                                  double eps); /* over the last axis; gain, bias [C] or MICA_NONE */
/* x / sqrt(mean x^2 + eps) gain */
MICA_API mica_var mica_rms_norm(mica_tape *t, mica_var x, mica_var gain, double eps);
MICA_API mica_var mica_group_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias,
                                  int64_t groups,
                                  double eps); /* x [N,..,C]; groups = C is instance norm */
/* x [..,C] with batch statistics; *mean and *var (biased) [C], detached, for the running averages.
 */
MICA_API mica_var mica_batch_norm_train(mica_tape *t, mica_var x, mica_var gain, mica_var bias,
                                        double eps, mica_activation act, mica_var *mean,
                                        mica_var *var);
/* act(mica_batch_norm_train(x) + residual), the end of a residual block; residual has x's shape.
 * Less memory and fewer passes over it than the three one after another. */
MICA_API mica_var mica_batch_norm_add_train(mica_tape *t, mica_var x, mica_var gain, mica_var bias,
                                            mica_var residual, double eps, mica_activation act,
                                            mica_var *mean, mica_var *var);
/* (x - mean) / sqrt(var + eps) gain + bias with given statistics, then act (identity or relu). */
MICA_API mica_var mica_batch_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias,
                                  mica_var mean, mica_var var, double eps, mica_activation act);
/* mica_batch_norm_train over those positions of x [..,C] where mask [..] is not 0; the others are 0
 * and get no gradient. *count (may be NULL): how many there are; none at all gives 0, and *mean and
 * *var are MICA_NONE. The mask's values decide shapes, so they are read at once. */
MICA_API mica_var mica_masked_batch_norm_train(mica_tape *t, mica_var x, mica_var mask,
                                               mica_var gain, mica_var bias, double eps,
                                               mica_activation act, mica_var *mean, mica_var *var,
                                               int64_t *count);
/* gain x g / (mean of g over channels + eps) + bias + x, g the norm of x [N,..,C] over an example's
 * positions (Woo et al. 2023, ConvNeXt V2) */
MICA_API mica_var mica_global_response_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias,
                                            double eps);
/* Group norm with a group for each channel (Ulyanov, Vedaldi & Lempitsky 2016). */
MICA_API mica_var mica_instance_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias,
                                     double eps);
/* x / max(|x|, eps), last axis */
MICA_API mica_var mica_l2_normalise(mica_tape *t, mica_var x, double eps);

/* ---- pooling: images x [N,H,W,C], lines [N,L,C], volumes [N,D,H,W,C] ---- */

typedef struct mica_pool_options {
  uint32_t size;
  int32_t kernel[2], stride[2], dilation[2];
  int32_t pad[4]; /* top, bottom, left, right */
  bool ceil_mode, count_padding;
} mica_pool_options;
/* clang-format off */
#define MICA_POOL_OPTIONS                                                                          \
  { sizeof(mica_pool_options), {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, false, false }
/* clang-format on */
typedef struct mica_pool3d_options {
  uint32_t size;
  int32_t kernel[3], stride[3], dilation[3]; /* depth, height, width */
  int32_t pad[6];                            /* front, back, top, bottom, left, right */
  bool ceil_mode, count_padding;
} mica_pool3d_options;
/* clang-format off */
#define MICA_POOL3D_OPTIONS                                                                        \
  { sizeof(mica_pool3d_options), {2, 2, 2}, {2, 2, 2}, {1, 1, 1}, {0, 0, 0, 0, 0, 0}, false, false }
/* clang-format on */
/* The largest, or the mean, of each window; of lines the second elements of the options count.
 * Padding is at most half the kernel. */
MICA_API mica_var mica_max_pool1d(mica_tape *t, mica_var x, const mica_pool_options *o);
MICA_API mica_var mica_max_pool2d(mica_tape *t, mica_var x, const mica_pool_options *o);
MICA_API mica_var mica_max_pool3d(mica_tape *t, mica_var x, const mica_pool3d_options *o);
MICA_API mica_var mica_avg_pool1d(mica_tape *t, mica_var x, const mica_pool_options *o);
MICA_API mica_var mica_avg_pool2d(mica_tape *t, mica_var x, const mica_pool_options *o);
MICA_API mica_var mica_avg_pool3d(mica_tape *t, mica_var x, const mica_pool3d_options *o);
/* Mean, or largest, over h x w bins that cover x [N,H,W,C]: rows floor(i H / h) up to, not
 * including, ceil((i + 1) H / h), and columns alike; lines and volumes the same. */
MICA_API mica_var mica_adaptive_avg_pool1d(mica_tape *t, mica_var x, int64_t l);
MICA_API mica_var mica_adaptive_avg_pool2d(mica_tape *t, mica_var x, int64_t h, int64_t w);
MICA_API mica_var mica_adaptive_avg_pool3d(mica_tape *t, mica_var x, int64_t d, int64_t h,
                                           int64_t w);
MICA_API mica_var mica_adaptive_max_pool1d(mica_tape *t, mica_var x, int64_t l);
MICA_API mica_var mica_adaptive_max_pool2d(mica_tape *t, mica_var x, int64_t h, int64_t w);
MICA_API mica_var mica_adaptive_max_pool3d(mica_tape *t, mica_var x, int64_t d, int64_t h,
                                           int64_t w);
MICA_API mica_var mica_global_avg_pool(mica_tape *t, mica_var x); /* [N,..,C] -> [N,C] */
/* (mean over positions of max(x, eps)^p)^(1/p), p [1] learnable: [N,..,C] -> [N,C] (Radenovic et
 * al. 2018) */
MICA_API mica_var mica_gem_pool(mica_tape *t, mica_var x, mica_var p, double eps);

/* ---- shape ---- */

/* One dimension may be -1. */
MICA_API mica_var mica_reshape(mica_tape *t, mica_var x, mica_shape shape);
/* Merge from_axis and all after. */
MICA_API mica_var mica_flatten(mica_tape *t, mica_var x, int from_axis);
/* dimension i of the result is axes[i] of x (a copy) */
MICA_API mica_var mica_permute(mica_tape *t, mica_var x, int n, const int *axes);
/* swap axes a and b (a copy) */
MICA_API mica_var mica_transpose(mica_tape *t, mica_var x, int a, int b);
/* Repeat size-1 dimensions. */
MICA_API mica_var mica_expand(mica_tape *t, mica_var x, mica_shape shape);
/* elements begin .. end - 1 along axis */
MICA_API mica_var mica_slice(mica_tape *t, mica_var x, int axis, int64_t begin, int64_t end);
/* n tensors one after the other along axis */
MICA_API mica_var mica_concat(mica_tape *t, int n, const mica_var *x, int axis);
/* n tensors of one shape along a new axis */
MICA_API mica_var mica_stack(mica_tape *t, int n, const mica_var *x, int axis);
/* n parts of the given sizes along axis. */
MICA_API void mica_split(mica_tape *t, mica_var x, int axis, int n, const int64_t *sizes,
                         mica_var *out);
MICA_API mica_var mica_pad(mica_tape *t, mica_var x, int n, const int64_t *before,
                           const int64_t *after, double value); /* the leading n dimensions */
MICA_API mica_var mica_roll(mica_tape *t, mica_var x, int axis, int64_t shift);
MICA_API mica_var mica_flip(mica_tape *t, mica_var x, int axis);

/* ---- gather and order ---- */

/* [V,D], ids [..] -> [..,D]; row gradient */
MICA_API mica_var mica_embedding(mica_tape *t, mica_var table, mica_var ids);
MICA_API mica_var mica_gather_rows(mica_tape *t, mica_var x, mica_var ids); /* x[ids[i], ..] */
/* 1 at ids[i], 0 elsewhere: int64 [..] in 0 .. classes - 1 -> [..,classes]; no gradient */
MICA_API mica_var mica_one_hot(mica_tape *t, mica_var ids, int64_t classes, mica_dtype dtype);
/* Ids of x's rank, as take_along_axis. */
MICA_API mica_var mica_gather(mica_tape *t, mica_var x, int axis, mica_var ids);
/* x with rows added at x[ids] */
MICA_API mica_var mica_scatter_add(mica_tape *t, mica_var x, mica_var ids, mica_var rows);
/* The k largest of the last axis, largest first, ties by index; *ids int64 (may be NULL). */
MICA_API mica_var mica_top_k(mica_tape *t, mica_var x, int64_t k, mica_var *ids);
/* Last axis, stable. */
MICA_API mica_var mica_sort(mica_tape *t, mica_var x, bool descending, mica_var *ids);

/* ---- rows of different numbers: segment s is rows offsets[s] .. offsets[s + 1] - 1 ---- */

typedef enum mica_bag { MICA_BAG_SUM, MICA_BAG_MEAN, MICA_BAG_MAX } mica_bag;
/* Row s of the result brings together the rows table[ids[i]] of segment s: table [V,D], ids int64
 * [total], offsets int64 [N+1] rising from 0 to total (PyTorch's include_last_offset) -> [N,D]. An
 * empty bag gives 0. weights [total] or MICA_NONE multiply the rows of a sum, and have a gradient.
 * Row gradient; of the largest, to the first. */
MICA_API mica_var mica_embedding_bag(mica_tape *t, mica_var table, mica_var ids, mica_var offsets,
                                     mica_var weights, mica_bag mode);
/* The same of x's own rows: x [total, ..], offsets int64 [N+1] -> [N, ..]; 0 where there are none.
 */
MICA_API mica_var mica_segment_sum(mica_tape *t, mica_var x, mica_var offsets);
MICA_API mica_var mica_segment_mean(mica_tape *t, mica_var x, mica_var offsets);
MICA_API mica_var mica_segment_max(mica_tape *t, mica_var x, mica_var offsets);

/* ---- interactions of the vectors x [N,F,D] of each example ---- */

/* sum over i < j of x_i x_j, element by element: [N,D], in time linear in F (Rendle 2010, lemma
 * 3.1) */
MICA_API mica_var mica_pair_sum(mica_tape *t, mica_var x);
/* x_i . x_j for (i, j) = (1,0), (2,0), (2,1), (3,0), ...: [N, F (F - 1) / 2] */
MICA_API mica_var mica_pair_dots(mica_tape *t, mica_var x);
/* ---- rotary positions ---- */

typedef enum mica_rotary_layout {
  MICA_ROTARY_HALVES, /* channel i is turned with channel i + dim / 2 (Hugging Face's Llama) */
  MICA_ROTARY_PAIRS   /* channels 2 i and 2 i + 1 (the original Llama, GPT-J, llama2.c) */
} mica_rotary_layout;

typedef enum mica_rotary_scaling {
  MICA_ROTARY_UNSCALED,
  MICA_ROTARY_LINEAR, /* positions over `factor` (Chen et al. 2023) */
  MICA_ROTARY_YARN    /* slow pairs over `factor`, fast ones as they are (Peng et al. 2023) */
} mica_rotary_scaling;

typedef struct mica_rotary_options {
  uint32_t size;
  int32_t layout;   /* mica_rotary_layout */
  double base;      /* above 1: pair i turns by base^(-2 i / dim) a position */
  int64_t dim;      /* channels that turn, from the first on, even; 0: all of a head */
  int64_t offset;   /* position of the first token when no positions are given */
  int32_t scaling;  /* mica_rotary_scaling */
  double factor;    /* length wanted over `original`; YaRN of 1 or less changes nothing */
  int64_t original; /* YaRN: length that was trained */
  double beta_fast, beta_slow; /* YaRN: turns within `original` from which a pair is fast, and below
                                  which it is slow; a ramp over the pairs between */
  double attention; /* multiplies the result; 0: 0.1 ln(factor) + 1 for YaRN above 1, else 1 */
} mica_rotary_options;
#define MICA_ROTARY_OPTIONS                                                                        \
  { sizeof(mica_rotary_options), 0, 10000, 0, 0, 0, 1, 2048, 32, 1, 0 }
/* Turn the pairs of channels of x [N,L,h,d] by position times frequency (Su et al. 2021), so that a
 * product of two depends on the distance of their positions. positions: int64 [L] or [N,L], or
 * MICA_NONE: offset, offset + 1, ... Angles are computed in float64. */
MICA_API mica_var mica_rotary(mica_tape *t, mica_var x, mica_var positions,
                              const mica_rotary_options *o);

/* ---- random ---- */

/* Training: x mask / (1 - p). */
MICA_API mica_var mica_dropout(mica_tape *t, mica_var x, double p);
MICA_API mica_var mica_drop_path(mica_tape *t, mica_var x, double p); /* training: whole examples */
/* Fresh draws, no gradient: normal, and uniform on [lo, hi); float32 or float64. */
MICA_API mica_var mica_random_normal_like(mica_tape *t, mica_shape shape, mica_dtype dtype,
                                          double mean, double deviation);
MICA_API mica_var mica_random_uniform_like(mica_tape *t, mica_shape shape, mica_dtype dtype,
                                           double lo, double hi);

/* ---- images, lines and volumes: x [N,..,C] with one, two or three spatial axes; arrays have an
 * element for each of these axes in order ---- */

typedef enum mica_interpolation {
  MICA_NEAREST,              /* place o of `out` shows place floor(o in / out) */
  MICA_BILINEAR,             /* linear along each axis */
  MICA_BICUBIC,              /* cubic convolution, a = -0.75 (Keys 1981) */
  MICA_AREA,                 /* the mean of what a pixel covers, whole pixels */
  MICA_SMOOTH_BILINEAR,      /* widened when it shrinks, as Pillow's */
  MICA_SMOOTH_BICUBIC,       /* the same, a = -0.5 */
  MICA_NEAREST_CENTRE,       /* floor((o + 1/2) in / out) */
  MICA_BICUBIC_SOFT,         /* a = -0.5, not widened */
  MICA_SMOOTH_BICUBIC_SHARP, /* a = -0.75, widened when it shrinks */
  MICA_SMOOTH_LANCZOS        /* sinc(x) sinc(x / 3), |x| < 3, widened when it shrinks */
} mica_interpolation;
/* [N,H,W,C] -> [N,h,w,C]; half-pixel centres unless align_corners (nearest ignores it, area and the
 * smooth kinds refuse it). */
MICA_API mica_var mica_resize(mica_tape *t, mica_var x, int64_t h, int64_t w,
                              mica_interpolation kind, bool align_corners);

typedef struct mica_resize_options {
  uint32_t size;
  mica_interpolation kind;
  bool align_corners;
  double scale[3]; /* places are worked out with this factor instead of size / the axis' size, which
                      0 asks for: PyTorch's interpolate given a scale_factor, whose sizes are
                      floor(scale_factor size). Area and align_corners know no factor. */
} mica_resize_options;
/* clang-format off */
#define MICA_RESIZE_OPTIONS                                                                        \
  { sizeof(mica_resize_options), MICA_BILINEAR, false, {0, 0, 0} }
/* clang-format on */
/* Each spatial axis to its size of `size`, 1 or more. */
MICA_API mica_var mica_resize_axes(mica_tape *t, mica_var x, const int64_t *size,
                                   const mica_resize_options *o);

typedef enum mica_pad_mode {
  MICA_PAD_REFLECT,   /* c b | a b c | b a: at most size - 1 on a side */
  MICA_PAD_SYMMETRIC, /* b a | a b c | c b: at most size */
  MICA_PAD_REPLICATE, /* a a | a b c | c c */
  MICA_PAD_CIRCULAR   /* b c | a b c | a b: at most size */
} mica_pad_mode;
/* before[i] and after[i] places more at the ends of spatial axis i; more than the mode allows is
 * MICA_ERR_SHAPE. mica_pad adds a constant. */
MICA_API mica_var mica_pad_edges(mica_tape *t, mica_var x, mica_pad_mode mode,
                                 const int64_t *before, const int64_t *after);

typedef struct mica_unfold_options {
  uint32_t size;
  int32_t kernel[3], stride[3], dilation[3];
  int32_t pad[6]; /* before and after the first axis, the second, the third */
} mica_unfold_options;
/* clang-format off */
#define MICA_UNFOLD_OPTIONS                                                                        \
  { sizeof(mica_unfold_options), {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0, 0, 0, 0} }
/* clang-format on */
/* What a convolution's kernel covers at each position ("im2col"), zeros in the padding:
 * [N,H,W,C] -> [N,Ho,Wo,kh kw,C], taps row by row. A product with a weight [O, kh kw C] is the
 * convolution. */
MICA_API mica_var mica_unfold(mica_tape *t, mica_var x, const mica_unfold_options *o);
/* The adjoint: each patch added where unfold of an input of `size` takes it from. */
MICA_API mica_var mica_fold(mica_tape *t, mica_var patches, const int64_t *size,
                            const mica_unfold_options *o);

/* Cut into windows of the given sizes, which become examples: [N,H,W,C] -> [N nh nw, wh, ww, C],
 * those of an image in raster order. An axis that its window does not divide is filled up with
 * zeros at its end: nh = ceil(H / wh) (Liu et al. 2021). */
MICA_API mica_var mica_window_partition(mica_tape *t, mica_var x, const int64_t *window);
/* The reverse: windows of an x of this shape put together, and what was filled up cut off. */
MICA_API mica_var mica_window_reverse(mica_tape *t, mica_var windows, mica_shape shape);

/* Which channel holds pixel (a, b), row and column, of the r x r block of channel c of C. */
typedef enum mica_phase_order {
  MICA_PHASE_LAST,   /* c r^2 + a r + b: PyTorch's pixel_shuffle, "CRD" */
  MICA_PHASE_FIRST,  /* (a r + b) C + c: depth to space and back, "DCR" */
  MICA_PHASE_SWAPPED /* (b r + a) C + c: Swin's patch merging */
} mica_phase_order;
/* Blocks of r pixels along each spatial axis from channels, [N,H,W,C r^2] -> [N,H r,W r,C] (Shi et
 * al. 2016), and the reverse, space to depth. */
MICA_API mica_var mica_pixel_shuffle(mica_tape *t, mica_var x, int64_t r, mica_phase_order order);
MICA_API mica_var mica_pixel_unshuffle(mica_tape *t, mica_var x, int64_t r, mica_phase_order order);

/* What lies outside: zeros, the nearest pixel, or the picture mirrored about its outermost centres
 * with align_corners, else about its outer edges. */
typedef enum mica_edge { MICA_EDGE_ZEROS, MICA_EDGE_BORDER, MICA_EDGE_REFLECT } mica_edge;
typedef struct mica_grid_sample_options {
  uint32_t size;
  mica_interpolation kind; /* MICA_NEAREST, MICA_BILINEAR or MICA_BICUBIC */
  mica_edge edge;
  bool align_corners; /* the outermost pixels lie at -1 and 1; else their outer edges do */
} mica_grid_sample_options;
#define MICA_GRID_SAMPLE_OPTIONS                                                                   \
  { sizeof(mica_grid_sample_options), MICA_BILINEAR, MICA_EDGE_ZEROS, false }
/* x [N,..,C] read at the places of grid [N,..,d], d coordinates in [-1, 1] for d spatial axes, the
 * last axis' first ((x, y) of an image): [N,..,C] with the grid's middle dimensions, of which there
 * may be any number. As PyTorch's grid_sample; a coordinate that is not a number gives no numbers.
 * Nearest takes the even pixel of two as near, and gives the grid no gradient. */
MICA_API mica_var mica_grid_sample(mica_tape *t, mica_var x, mica_var grid,
                                   const mica_grid_sample_options *o);
/* The grid [N,..,d] of `size` places whose coordinates are theta [N,d,d+1] times those of the
 * places themselves and 1 (Jaderberg et al. 2015). */
MICA_API mica_var mica_affine_grid(mica_tape *t, mica_var theta, const int64_t *size,
                                   bool align_corners);

/* ---- attention ---- */

/* From the score s of a key that a query sees to its weight. */
typedef enum mica_attention_map {
  MICA_ATTEND_SOFTMAX,      /* e^s / sum e^s */
  MICA_ATTEND_SOFTPLUS,     /* ln(1 + e^s) */
  MICA_ATTEND_SIGMOID,      /* 1 / (1 + e^-s) */
  MICA_ATTEND_SILU,         /* s sigmoid(s); needs a divisor (Zhai et al. 2024) */
  MICA_ATTEND_RELU,         /* max(s, 0) */
  MICA_ATTEND_RELU_SQUARED, /* max(s, 0)^2 */
  MICA_ATTEND_CUSTOM        /* `function` of the options */
} mica_attention_map;

/* weight[i] = f(score[i]) and, unless slope is NULL, slope[i] = f'(score[i]), for n scores. Must
 * not fail; several threads call it at once. Weights that are divided by their sum must not be
 * negative. */
typedef void (*mica_attention_function)(void *ctx, int64_t n, const double *score, double *weight,
                                        double *slope);

/* Between positions p and r. A grid of `columns` columns has position row * columns + column. */
typedef enum mica_attention_distance {
  MICA_DISTANCE_SEQUENCE,  /* |p - r| */
  MICA_DISTANCE_MANHATTAN, /* of a grid: rows apart plus columns apart */
  MICA_DISTANCE_CHEBYSHEV  /* of a grid: the larger of the two */
} mica_attention_distance;

#define MICA_ATTENTION_ENDS INT64_MIN /* offset: the last query is at the last key */
#define MICA_ATTENTION_SEEN (-1.0)    /* divisor: the number of keys that the query sees */

/* How scores become weights, and which keys a query sees. Query i is at position p = i + offset,
 * key j at r = j, unless positions are given. A query sees a key when causal, window and segments
 * all let it; a bias of -inf hides it besides. What is hidden may be NaN. */
typedef struct mica_attention_options {
  uint32_t size;
  double scale;   /* 0: 1 / sqrt(head dimension) */
  bool causal;    /* r <= p */
  int64_t window; /* 0: all; else |p - r| < window */

  mica_attention_map map;
  /* MICA_ATTEND_CUSTOM's, with its ctx, which must outlive the step. */
  mica_attention_function function;
  void *function_ctx;
  /* What weights are divided by. 0: the sum over the keys that the query sees (all that softmax
   * takes); above 0: this number; MICA_ATTENTION_SEEN. */
  double divisor;
  bool log_length; /* scale times ln(keys that the query sees) */
  /* Sharpened: with A the weights divided by their sum and N the keys that the query sees,
   * max(N A - threshold, 0)^power divided by its sum; A where all of these are 0, and threshold 0
   * where N is 1. power 1 or more; 0: not sharpened. */
  double power, threshold;

  int64_t offset;      /* MICA_ATTENTION_ENDS: Lk - Lq */
  int64_t block;       /* above 1: causal by blocks of so many positions, floor(r / block) <=
                          floor(p / block) */
  bool strict;         /* causal: r < p, or the same token where both end together and are at one
                          position. With targets that share a position: none sees another */
  int64_t left, right; /* p - left <= r <= p + right; -1: no bound. Narrows a window */
  int64_t sinks;       /* keys at r < sinks are seen however far (Han et al. 2023) */
  /* int64, of the queries [Lq] or [N,Lq] and the keys [Lk] or [N,Lk] ([total] for ragged); absent:
   * MICA_NONE. A key whose position is negative is hidden (an empty place of a ring buffer). */
  mica_var query_positions, key_positions;
  /* Both or none. Query and key see each other in one segment; negative ones are padding. */
  mica_var query_segments, key_segments;

  /* Of each head, copied; NULL: none. Scores less slope * distance (mica_nn_alibi_slopes), and
   * weights after their division times decay^distance, 0 < decay <= 1, with no division after. */
  const double *slopes, *decays;
  mica_attention_distance distance;
  int64_t columns;        /* of a grid */
  int64_t distance_limit; /* what is farther counts as so far; 0: no limit */

  /* Above 0: heads lie side by side in the last axis, q [N,Lq,heads d], k [N,Lk,kv_heads d],
   * v [N,Lk,kv_heads dv] and the result [N,Lq,heads dv] (without N for ragged); they may be slices
   * of one projection, without a copy. kv_heads 0: as many as heads. */
  int64_t heads, kv_heads;

  /* Training: weights, after their division, are 0 with this probability, else divided by
   * 1 - dropout. The lse is that of all. */
  double dropout;
} mica_attention_options;
/* clang-format off */
#define MICA_ATTENTION_OPTIONS                                                                     \
  { sizeof(mica_attention_options), 0, false, 0, MICA_ATTEND_SOFTMAX, NULL, NULL, 0, false, 0, 1,  \
    MICA_ATTENTION_ENDS, 0, false, -1, -1, 0, {0, 0}, {0, 0}, {0, 0},       \
    {0, 0}, NULL, NULL, MICA_DISTANCE_SEQUENCE, 0, 0, 0, 0, 0 }
/* clang-format on */
/* weights(scale q k^T + bias) v: q [N,Lq,h,d], k [N,Lk,g,d], v [N,Lk,g,dv], g divides h (grouped
 * queries); bias broadcasts to [N,h,Lq,Lk] (MICA_NONE: none). A query that sees nothing gives 0.
 * lse (may be NULL) receives the differentiable logarithm of the sum of each query's weights,
 * [N,h,Lq], for softmax the log-sum-exp of its scores; -inf where nothing is seen; an error where
 * weights are not divided by their sum, or sharpened. Memory linear in length; q, k and v may be
 * slices of the last dimension of one tensor without a copy. */
MICA_API mica_var mica_attention(mica_tape *t, mica_var q, mica_var k, mica_var v, mica_var bias,
                                 const mica_attention_options *o, mica_var *lse);

/* The same for sequences of different lengths, one after the other (mica_ragged): q [total,h,d],
 * k [total,g,d], v [total,g,dv]; sequence n has queries query_offsets[n] .. query_offsets[n + 1]
 * and keys likewise, int64 [sequences + 1] from 0 to the totals (key_offsets MICA_NONE: those of
 * the queries). bias broadcasts to [sequences,h,longest queries,longest keys]; positions count
 * within a sequence. Result [total,h,dv], lse [h,total]. */
MICA_API mica_var mica_ragged_attention(mica_tape *t, mica_var q, mica_var k, mica_var v,
                                        mica_var bias, mica_var query_offsets, mica_var key_offsets,
                                        const mica_attention_options *o, mica_var *lse);

/* Attention to two sets of keys from attention to each, y [..,L,h,dv] and l [..,h,L]:
 * (e^l1 y1 + e^l2 y2) / (e^l1 + e^l2). *lse (may be NULL) receives ln(e^l1 + e^l2). l of -inf: seen
 * nothing there; both: 0 and -inf. */
MICA_API mica_var mica_attention_merge(mica_tape *t, mica_var y1, mica_var l1, mica_var y2,
                                       mica_var l2, mica_var *lse);

/* mica_attention over the keys that the tape's mask (mica_set_mask) holds for, besides `bias`; keys
 * [N,Lk,..] of another length than the mask's are a latched error. What attention layers call. */
MICA_API mica_var mica_masked_attention(mica_tape *t, mica_var q, mica_var k, mica_var v,
                                        mica_var bias, const mica_attention_options *o,
                                        mica_var *lse);
/* The same of queries, keys and values that lie side by side, as one projection makes them: x
 * [N,L,3 C], C channels of `heads` heads each, to [N,L,C]. Nothing is copied apart. */
MICA_API mica_var mica_packed_attention(mica_tape *t, mica_var x, int64_t heads, mica_var bias,
                                        const mica_attention_options *o);

/* ---- distances ---- */

/* [N,D],[M,D] -> |a_i - b_j|^2 [N,M] */
MICA_API mica_var mica_squared_distances(mica_tape *t, mica_var a, mica_var b);
/* Rows pairwise [N,M]. */
MICA_API mica_var mica_cosine_similarity(mica_tape *t, mica_var a, mica_var b, double eps);

/* What takes the place of the cosine c = cos(x) of an example and its own class, m the margin. */
typedef enum mica_margin {
  MICA_MARGIN_NONE,        /* c */
  MICA_MARGIN_COSINE,      /* c - m (Wang et al. 2018, CosFace) */
  MICA_MARGIN_ARC,         /* cos(x + m), and c where x > pi - m (Deng et al. 2019, ArcFace) */
  MICA_MARGIN_ARC_FALLING, /* the same, and c - m sin(m) where x >= pi - m, so that it falls */
  MICA_MARGIN_SPHERE       /* (-1)^k cos(m x) - 2 k for x in [k pi / m, (k + 1) pi / m] (Liu et al.
                              2017, SphereFace); m 1 or more, not only whole */
} mica_margin;
/* One of these, element by element, of cosines (clamped to [-1, 1]) of any shape; margin 0 to 10.
 * Where the slope is infinite it is bounded. */
MICA_API mica_var mica_cosine_margin(mica_tape *t, mica_var cosine, mica_margin kind,
                                     double margin);

/* ---- losses: the mean over examples ---- */

typedef struct mica_cross_entropy_options {
  uint32_t size;
  double smoothing;     /* target (1 - s) one-hot + s / classes */
  int64_t ignore_index; /* labels equal to it count for nothing */
  bool per_example;     /* [N] instead of the mean */
} mica_cross_entropy_options;
#define MICA_CROSS_ENTROPY_OPTIONS                                                                 \
  { sizeof(mica_cross_entropy_options), 0, -100, false }
/* logits [..,C], labels int64 [..], class weights [C] or MICA_NONE; the mean is weighted, as
 * PyTorch's. */
MICA_API mica_var mica_cross_entropy(mica_tape *t, mica_var logits, mica_var labels,
                                     mica_var weights, const mica_cross_entropy_options *o);
/* -mean sum target log softmax */
MICA_API mica_var mica_soft_cross_entropy(mica_tape *t, mica_var logits, mica_var target);
/* With logits, mean of all. */
MICA_API mica_var mica_bce(mica_tape *t, mica_var logits, mica_var target);
/* The same with the positive part of each class times pos_weight [C]: the mean of
 * (1 - y) x + (1 + (w - 1) y) softplus(-x), x and y [..,C]. */
MICA_API mica_var mica_weighted_bce(mica_tape *t, mica_var logits, mica_var target,
                                    mica_var pos_weight);
/* Mean of max(0, margin - target x)^power: targets -1 and 1, power 1 or 2. */
MICA_API mica_var mica_hinge(mica_tape *t, mica_var x, mica_var target, double margin, int power);
/* The mean over examples of the sum over classes j other than the label y of
 * max(0, margin - x_y + x_j)^power / C (Crammer & Singer 2001, as PyTorch's): logits [N,C]. */
MICA_API mica_var mica_multi_margin(mica_tape *t, mica_var logits, mica_var labels, double margin,
                                    int power);
/* The mean over examples of -(1 - p)^gamma ln p, p the label's probability of logits [..,C]; gamma
 * >= 0 (Lin et al. 2017). */
MICA_API mica_var mica_focal(mica_tape *t, mica_var logits, mica_var labels, double gamma);
/* The same of independent classes, mean of all: p = sigmoid((2 y - 1) x) for a target y of 0 or 1,
 * times alpha where y = 1 and 1 - alpha where y = 0 (alpha < 0: no such factor). */
MICA_API mica_var mica_binary_focal(mica_tape *t, mica_var logits, mica_var target, double gamma,
                                    double alpha);
/* 1 - the mean over examples of (2 sum p g + smooth) / (sum p + sum g + smooth), sums over all but
 * the leading axis; squared: of p^2 and g^2 below (Milletari, Navab & Ahmadi 2016). p, target
 * [N,..] in [0, 1]. */
MICA_API mica_var mica_dice(mica_tape *t, mica_var p, mica_var target, double smooth, bool squared);
/* Mean (x - target)^2. */
MICA_API mica_var mica_mse(mica_tape *t, mica_var x, mica_var target);
MICA_API mica_var mica_l1(mica_tape *t, mica_var x, mica_var target); /* mean |x - target| */
/* Mean of |d| < delta ? d^2 / 2 : delta (|d| - delta / 2). */
MICA_API mica_var mica_huber(mica_tape *t, mica_var x, mica_var target, double delta);
/* mean over rows of sum p (ln p - ln q): log_q [..,C], p [..,C] probabilities */
MICA_API mica_var mica_kl(mica_tape *t, mica_var log_q, mica_var p);

#ifdef __cplusplus
}
#endif
#endif
