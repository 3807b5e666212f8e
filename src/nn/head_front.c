/* Pooling and an embedding in front of a head: see head_front.h. */
#include "nn/head_front.h"

enum { AVG, GEM, GEM_LEARNED };

int64_t mica_front_width(const mica_front_options *o, int64_t features) {
  return o->dim ? o->dim : features;
}

mica_status mica_front_init(mica_node *node, const mica_front_options *o, int64_t features) {
  const mica_init p = {MICA_INIT_CONSTANT, o->p, 0, 0, false};
  mica_status status = MICA_OK;
  if (o->pool == GEM_LEARNED)
    status = mica_param_add(node, "p", MICA_F32, MICA_SHAPE(1), MICA_PARAM_TRAINABLE, &p, NULL);
  if (status == MICA_OK && o->dim)
    status = mica_nn_linear_init(mica_node_child(node, "embed"), features, o->dim, o->bias);
  if (status == MICA_OK && o->dim && o->norm)
    status = mica_nn_batch_norm_init(mica_node_child(node, "norm"), o->dim);
  return status;
}

/* The generalised mean of the architecture's last map. */
static mica_var pooled(mica_tape *t, mica_node *node, const mica_front_options *o,
                       const mica_layer_inputs *in) {
  if (o->pool == AVG) return in->features;
  if (mica_is_none(in->map))
    return mica_latch(t, MICA_ERR_UNSUPPORTED,
                      "pool=gem needs a map, and the architecture gives none");
  const mica_var p = o->pool == GEM_LEARNED ? mica_weight(t, node, "p")
                                            : mica_full(t, MICA_F32, MICA_SHAPE(1), o->p);
  return mica_gem_pool(t, in->map, p, 1e-6);
}

mica_var mica_front(mica_tape *t, mica_node *node, const mica_front_options *o,
                    const mica_layer_inputs *in) {
  mica_var x = pooled(t, node, o, in);
  if (!o->dim) return x;
  x = mica_nn_linear(t, mica_node_find(node, "embed"), x);
  return o->norm ? mica_nn_batch_norm(t, mica_node_find(node, "norm"), MICA_IDENTITY, x) : x;
}
