/* Attention with linear biases (Press, Smith & Lewis 2022): the slope of each head. */
#include <mica/nn.h>

#include <math.h>

void mica_nn_alibi_slopes(int64_t heads, double *slopes) {
  int64_t power = 1;
  while (power * 2 <= heads) power *= 2;
  for (int64_t i = 0; i < heads; i++)
    slopes[i] = i < power ? exp2(-8.0 * (double)(i + 1) / (double)power)
                          : exp2(-4.0 * (double)(2 * (i - power) + 1) / (double)power);
}
