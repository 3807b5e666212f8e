/* Folding a batch norm into the convolution before it. */
#include "param/low_rank.h"
#include "param/tree.h"

#include <math.h>
#include <string.h>

bool mica_node_folded(const mica_node *node) {
  return node->folded != NULL;
}

mica_node *mica_node_folded_into(const mica_node *norm) {
  return norm->folded;
}

mica_status mica_node_each(mica_node *node, mica_node_fn fn, void *ctx) {
  mica_status status = fn(ctx, node);
  for (int32_t i = 0; i < node->n_child && status == MICA_OK; i++)
    status = mica_node_each(node->child[i], fn, ctx);
  return status;
}

static const char *const entries[] = {"weight", "bias", "running_mean", "running_var"};
enum { GAIN, SHIFT, MEAN, VARIANCE, ENTRIES };

static double at(const mica_param *q, int64_t i) {
  return mica_tensor_get(q->value, i);
}

static void scale(mica_param *weight, mica_param *bias, mica_param *const norm[ENTRIES],
                  double eps) {
  const int64_t n = mica_tensor_count(bias->value), row = mica_tensor_count(weight->value) / n;
  (void)mica_param_write(weight);
  (void)mica_param_write(bias);
  for (int64_t o = 0; o < n; o++) {
    const double gain = at(norm[GAIN], o) / sqrt(at(norm[VARIANCE], o) + eps);
    for (int64_t i = 0; i < row; i++)
      mica_tensor_set(weight->value, o * row + i, gain * at(weight, o * row + i));
    mica_tensor_set(bias->value, o, at(norm[SHIFT], o) + gain * (at(bias, o) - at(norm[MEAN], o)));
  }
}

mica_status mica_norm_fold(mica_node *conv, mica_node *norm, double eps, bool values) {
  mica_param *entry[ENTRIES];
  if (norm->folded || conv->n_adapter)
    return mica_fail(MICA_ERR_STATE, "'%s' cannot be folded into '%s'", norm->path, conv->path);
  if (conv->low_rank) conv = mica_node_find(conv, "1");
  mica_param *weight = mica_node_param(conv, "weight"), *bias = mica_node_param(conv, "bias");
  const int64_t n = weight ? mica_tensor_dim(weight->value, 0) : 0;
  for (int i = 0; i < ENTRIES; i++) {
    entry[i] = mica_node_param(norm, entries[i]);
    if (!entry[i] || !n || mica_tensor_count(entry[i]->value) != n)
      return mica_fail(MICA_ERR_INVALID, "'%s' is no batch norm of what '%s' gives", norm->path,
                       conv->path);
  }
  mica_status status = MICA_OK;
  if (!bias)
    status = mica_param_add(conv, "bias", mica_tensor_dtype(weight->value), MICA_SHAPE(n),
                            MICA_PARAM_TRAINABLE | MICA_PARAM_CONVOLUTION, &MICA_INIT_ZEROS, &bias);
  if (status == MICA_OK && values) scale(weight, bias, entry, eps);
  while (norm->n_entry && status == MICA_OK)
    status = mica_param_remove(norm, norm->entry[norm->n_entry - 1].name);
  if (status == MICA_OK) norm->folded = conv;
  return status;
}
