/* Looking into a network: which layers give maps, and what one of them did for a class. */
#include <mica/explain.h>

#include "explain/rules.h"

#include <string.h>

/* ---- layers ---- */

void mica_layers_free(mica_layer_list *list) {
  for (int64_t i = 0; i < list->n; i++) mica_free(list->path[i]);
  mica_free(list->path);
  mica_free(list->shape);
  *list = (mica_layer_list){0};
}

static mica_status add_layer(mica_layer_list *list, const char *path, const mica_shape *shape) {
  for (int64_t i = 0; i < list->n; i++)
    if (strcmp(list->path[i], path) == 0) {
      list->shape[i] = *shape; /* a module that runs twice counts with its last result */
      return MICA_OK;
    }
  char **paths = mica_realloc_array(list->path, (size_t)list->n + 1, sizeof *paths);
  if (!paths) return MICA_ERR_MEMORY;
  list->path = paths;
  mica_shape *shapes = mica_realloc_array(list->shape, (size_t)list->n + 1, sizeof *shapes);
  if (!shapes) return MICA_ERR_MEMORY;
  list->shape = shapes;
  if (!(paths[list->n] = mica_strdup(path))) return MICA_ERR_MEMORY;
  shapes[list->n++] = *shape;
  return MICA_OK;
}

static mica_var note_layer(mica_tape *t, void *ctx, const char *path, mica_var v) {
  if (mica_is_none(v) || mica_rank(t, v) != 4) return v;
  const mica_view view = mica_read(t, v);
  const mica_status status = add_layer(ctx, path, &view.shape);
  return status == MICA_OK ? v : mica_latch(t, status, "out of memory");
}

static mica_status forward_images(mica_tape *t, const mica_net *net, mica_var x,
                                  mica_outputs *out) {
  mica_set_training(t, false);
  mica_net_forward(t, net, x, out);
  return mica_tape_status(t);
}

static mica_status check_images(const mica_tensor *x) {
  if (mica_tensor_dtype(x) == MICA_F32 && mica_tensor_shape(x)->rank == 4 &&
      mica_tensor_dim(x, 0) > 0)
    return MICA_OK;
  return mica_fail(MICA_ERR_SHAPE, "explain: expected float32 images [N,H,W,C]");
}

mica_status mica_layers(const mica_net *net, const mica_tensor *x, mica_layer_list *out) {
  mica_tape *t = NULL;
  mica_tensor *one = NULL;
  mica_outputs o;
  *out = (mica_layer_list){0};
  mica_status status = check_images(x);
  if (status == MICA_OK) status = mica_tensor_slice(x, 0, 1, &one);
  if (status == MICA_OK)
    status = mica_tape_create(mica_params_engine(mica_net_params(net)), NULL, &t);
  if (status == MICA_OK) status = mica_tap(t, "*", note_layer, out);
  if (status == MICA_OK) {
    mica_no_grad_begin(t);
    status = forward_images(t, net, mica_input(t, one), &o);
  }
  mica_tape_free(t);
  mica_tensor_free(one);
  if (status != MICA_OK) mica_layers_free(out);
  return status;
}

/* ---- a probe ---- */

typedef struct watch {
  const char *layer;
  mica_var seen;
} watch;

static mica_var watch_layer(mica_tape *t, void *ctx, const char *path, mica_var v) {
  watch *w = ctx;
  if (strcmp(path, w->layer) != 0) return v;
  w->seen = mica_keep(t, v);
  return v;
}

static mica_status copy_or_zeros(mica_tape *t, mica_var v, const mica_shape *shape,
                                 mica_tensor **out) {
  return mica_is_none(v) ? mica_tensor_create(MICA_F32, *shape, out) : mica_copy_out(t, v, out);
}

static mica_status run(mica_tape *t, const mica_net *net, const mica_tensor *x,
                       const int64_t *target, const char *layer, mica_probe *out) {
  const bool image = !layer || !*layer || strcmp(layer, "input") == 0;
  const int64_t n = mica_tensor_dim(x, 0);
  watch w = {layer, MICA_NONE};
  mica_outputs o;
  const mica_var in = mica_leaf(t, (mica_tensor *)x);
  mica_status status = image ? MICA_OK : mica_tap(t, layer, watch_layer, &w);
  if (status == MICA_OK) status = forward_images(t, net, in, &o);
  if (status != MICA_OK) return status;
  const mica_var at = image ? in : w.seen;
  if (mica_is_none(at))
    return mica_fail(MICA_ERR_NOT_FOUND, "explain: the network has no layer '%s'", layer);
  const mica_view view = mica_read(t, at);
  if (view.shape.rank != 4 || view.dtype != MICA_F32)
    return mica_fail(MICA_ERR_SHAPE, "explain: the result of layer '%s' is no map [N,h,w,C]",
                     layer);
  if (mica_is_none(o.logits) || mica_rank(t, o.logits) != 2)
    return mica_fail(MICA_ERR_INVALID, "explain: the network gives no scores of classes");
  const int64_t classes = mica_dim(t, o.logits, 1);
  mica_tensor *pick;
  status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, classes), &pick);
  if (status != MICA_OK) return status;
  float *p = mica_tensor_data(pick);
  for (int64_t i = 0; i < n; i++)
    if (target[i] >= 0 && target[i] < classes)
      p[i * classes + target[i]] = 1;
    else
      status = mica_fail(MICA_ERR_INVALID, "explain: class %lld, expected 0 to %lld",
                         (long long)target[i], (long long)classes - 1);
  const mica_shape shape = view.shape;
  if (status == MICA_OK) status = mica_copy_out(t, at, &out->activation);
  if (status == MICA_OK) status = mica_copy_out(t, o.logits, &out->scores);
  /* Each image's own logit: with a one for it, backward gives the gradient of each alone. */
  if (status == MICA_OK) {
    (void)mica_retain_grad(t, at);
    status = mica_backward_from(t, o.logits, mica_input(t, pick));
  }
  if (status == MICA_OK) status = copy_or_zeros(t, mica_gradient(t, at), &shape, &out->gradient);
  mica_tensor_free(pick);
  return status;
}

void mica_probe_clear(mica_probe *probe) {
  mica_tensor_free(probe->scores);
  mica_tensor_free(probe->activation);
  mica_tensor_free(probe->gradient);
  *probe = (mica_probe){0};
}

mica_status mica_probe_layer(const mica_net *net, const mica_tensor *x, const int64_t *target,
                             const char *layer, mica_relu_rule rule, mica_probe *out) {
  mica_tape *t = NULL;
  mica_net *own = NULL;
  *out = (mica_probe){0};
  mica_status status = check_images(x);
  /* Backward leaves gradients at parameters: those of a copy. */
  if (status == MICA_OK) status = mica_explain_copy(net, &own);
  if (status == MICA_OK)
    status = mica_tape_create(mica_params_engine(mica_net_params(own)), NULL, &t);
  if (status == MICA_OK) status = mica_explain_rule(t, rule);
  if (status == MICA_OK) status = run(t, own, x, target, layer, out);
  mica_tape_free(t);
  mica_net_free(own);
  if (status != MICA_OK) mica_probe_clear(out);
  return status;
}
