/* Methods by name, with a step before and the image's size behind them; measures that run them. */
#include <mica/explain.h>

#include "explain/rules.h"

#include <math.h>
#include <string.h>

/* ---- a step of training before the map ---- */

static mica_status copy_trainable(const mica_net *net, mica_net **out) {
  const mica_status status = mica_explain_copy(net, out);
  const mica_params *p = status == MICA_OK ? mica_net_params(*out) : NULL;
  for (int64_t i = 0; p && i < mica_params_count(p); i++)
    if (!(mica_param_flags(mica_params_at(p, i)) & MICA_PARAM_BUFFER))
      mica_param_set_flags(mica_params_at(p, i), MICA_PARAM_TRAINABLE, 0);
  return status;
}

mica_status mica_meta_step(const mica_net *net, const mica_tensor *x, int64_t target, double rate,
                           mica_net **out) {
  mica_net *own = NULL;
  mica_tape *t = NULL;
  mica_outputs o;
  mica_status status = copy_trainable(net, &own);
  if (status == MICA_OK)
    status = mica_tape_create(mica_params_engine(mica_net_params(own)), NULL, &t);
  if (status == MICA_OK) {
    mica_net_forward(t, own, mica_input(t, (mica_tensor *)x), &o);
    const mica_view label = mica_view_of(&target, MICA_I64, MICA_SHAPE(1));
    const mica_var loss =
        mica_cross_entropy(t, o.logits, mica_constant(t, &label), MICA_NONE, NULL);
    status = mica_backward(t, loss);
  }
  mica_params *params = own ? mica_net_params(own) : NULL;
  for (int64_t i = 0; status == MICA_OK && i < mica_params_count(params); i++) {
    mica_param *q = mica_params_at(params, i);
    if (mica_param_flags(q) & MICA_PARAM_BUFFER || mica_param_grad_kind(q) == MICA_GRAD_NONE)
      continue;
    const mica_view g = mica_param_grad(q);
    if (!g.data || g.dtype != MICA_F32) continue;
    float *v = mica_param_write(q);
    for (int64_t k = 0; k < mica_view_count(&g); k++)
      v[k] = (float)((double)v[k] - rate * (double)((const float *)g.data)[k]);
  }
  mica_tape_free(t);
  if (status == MICA_OK)
    *out = own;
  else
    mica_net_free(own);
  return status;
}

/* ---- methods by name ---- */

static mica_status method_of(const mica_net *net, const char *text, mica_spec **spec,
                             const mica_explainer_functions **fn) {
  const mica_status status =
      mica_spec_parse(mica_params_engine(mica_net_params(net)), MICA_KIND_EXPLAINER, text, spec);
  if (status == MICA_OK) *fn = mica_spec_component(*spec)->functions;
  return status;
}

/* The path of the last layer that gives a map. */
static mica_status last_layer(const mica_net *net, const mica_tensor *x, char **out) {
  mica_layer_list list;
  mica_status status = mica_layers(net, x, &list);
  if (status != MICA_OK) return status;
  if (!list.n)
    status = mica_fail(MICA_ERR_UNSUPPORTED,
                       "explain: no layer of the network gives a map; take a method of the image");
  else if (!(*out = mica_strdup(list.path[list.n - 1])))
    status = MICA_ERR_MEMORY;
  mica_layers_free(&list);
  return status;
}

/* The classes with the highest, or the lowest, scores. */
static mica_status extreme_classes(const mica_net *net, const mica_tensor *x, bool lowest,
                                   int64_t *out) {
  mica_tape *t = NULL;
  mica_outputs o;
  mica_status status = mica_tape_create(mica_params_engine(mica_net_params(net)), NULL, &t);
  if (status != MICA_OK) return status;
  mica_no_grad_begin(t);
  mica_net_forward(t, net, mica_input(t, (mica_tensor *)x), &o);
  const mica_view l = mica_read(t, o.logits);
  status = mica_tape_status(t);
  if (status == MICA_OK && (!l.data || l.shape.rank != 2 || !mica_view_contiguous(&l)))
    status = mica_fail(MICA_ERR_INVALID, "explain: the network gives no scores of classes");
  for (int64_t i = 0; status == MICA_OK && i < l.shape.dim[0]; i++) {
    const float *row = (const float *)l.data + i * l.shape.dim[1];
    out[i] = 0;
    for (int64_t c = 1; c < l.shape.dim[1]; c++)
      if (lowest ? row[c] < row[out[i]] : row[c] > row[out[i]]) out[i] = c;
  }
  mica_tape_free(t);
  return status;
}

/* One image at a time, each after its own step. */
static mica_status stepped(const mica_net *net, const mica_explainer_functions *fn,
                           const void *options, const mica_tensor *x, const int64_t *target,
                           const char *layer, double rate, mica_tensor **out) {
  const int64_t n = mica_tensor_dim(x, 0);
  mica_tensor *all = NULL;
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    mica_tensor *one = NULL, *map = NULL;
    mica_net *moved = NULL;
    status = mica_tensor_slice(x, i, i + 1, &one);
    if (status == MICA_OK) status = mica_meta_step(net, one, target[i], rate, &moved);
    if (status == MICA_OK) status = fn->map(moved, one, &target[i], layer, options, &map);
    if (status == MICA_OK && !all) {
      mica_shape shape = *mica_tensor_shape(map);
      shape.dim[0] = n;
      status = mica_tensor_create(MICA_F32, shape, &all);
    }
    if (status == MICA_OK) {
      const int64_t size = mica_tensor_count(map);
      memcpy((float *)mica_tensor_data(all) + i * size, mica_tensor_data(map),
             (size_t)size * sizeof(float));
    }
    mica_net_free(moved);
    mica_tensor_free(map);
    mica_tensor_free(one);
  }
  if (status == MICA_OK)
    *out = all;
  else
    mica_tensor_free(all);
  return status;
}

mica_status mica_explain(const mica_net *net, const char *method, const mica_tensor *x,
                         const int64_t *given, const mica_explain_options *options,
                         mica_tensor **out) {
  mica_explain_options o = MICA_EXPLAIN_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  mica_spec *spec = NULL;
  const mica_explainer_functions *fn = NULL;
  char *layer = NULL;
  mica_tensor *map = NULL, *larger = NULL;
  int64_t *target = NULL;
  if (mica_tensor_dtype(x) != MICA_F32 || mica_tensor_shape(x)->rank != 4 ||
      mica_tensor_dim(x, 0) < 1)
    return mica_fail(MICA_ERR_SHAPE, "explain: expected float32 images [N,H,W,C]");
  const int64_t n = mica_tensor_dim(x, 0);
  mica_status status = method_of(net, method, &spec, &fn);
  if (status == MICA_OK && fn->at_layer && !o.layer) status = last_layer(net, x, &layer);
  if (status == MICA_OK && !given) {
    target = mica_calloc((size_t)n, sizeof *target);
    status = target ? extreme_classes(net, x, false, target) : MICA_ERR_MEMORY;
  }
  const int64_t *classes = given ? given : target;
  const char *at = o.layer ? o.layer : layer;
  if (status == MICA_OK)
    status = o.meta != 0 ? stepped(net, fn, mica_spec_options(spec), x, classes, at, o.meta, &map)
                         : fn->map(net, x, classes, at, mica_spec_options(spec), &map);
  if (status == MICA_OK && o.resize) {
    status = mica_map_resize(map, mica_tensor_dim(x, 1), mica_tensor_dim(x, 2), &larger);
    if (status == MICA_OK) mica_map_normalise(larger);
  }
  if (status == MICA_OK) {
    *out = larger ? larger : map;
    map = larger ? map : NULL;
  }
  mica_tensor_free(map);
  mica_free(target);
  mica_free(layer);
  mica_spec_free(spec);
  return status;
}

/* ---- measures ---- */

double mica_map_correlation(const float *a, const float *b, int64_t n) {
  double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
  for (int64_t i = 0; i < n; i++) {
    ma += (double)a[i] / (double)n;
    mb += (double)b[i] / (double)n;
  }
  for (int64_t i = 0; i < n; i++) {
    const double u = (double)a[i] - ma, v = (double)b[i] - mb;
    aa += u * u;
    bb += v * v;
    ab += u * v;
  }
  return aa > 0 && bb > 0 ? ab / sqrt(aa) / sqrt(bb) : 0;
}

/* The mean correlation of two batches of maps; that of a constant map counts as none. */
static double mean_correlation(const mica_tensor *a, const mica_tensor *b) {
  const int64_t n = mica_tensor_dim(a, 0), size = mica_tensor_count(a) / n;
  double sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += mica_map_correlation((const float *)mica_tensor_data(a) + i * size,
                                (const float *)mica_tensor_data(b) + i * size, size);
  return sum / (double)n;
}

mica_status mica_class_sensitivity(const mica_net *net, const char *method, const mica_tensor *x,
                                   const mica_explain_options *options, double *out) {
  mica_explain_options o = MICA_EXPLAIN_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  o.resize = options ? o.resize : false;
  const int64_t n = mica_tensor_shape(x)->rank ? mica_tensor_dim(x, 0) : 0;
  int64_t *most = mica_calloc(2 * (size_t)n + 1, sizeof *most);
  mica_tensor *a = NULL, *b = NULL;
  mica_status status = most ? extreme_classes(net, x, false, most) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = extreme_classes(net, x, true, most + n);
  if (status == MICA_OK) status = mica_explain(net, method, x, most, &o, &a);
  if (status == MICA_OK) status = mica_explain(net, method, x, most + n, &o, &b);
  if (status == MICA_OK) *out = mean_correlation(a, b);
  mica_tensor_free(a);
  mica_tensor_free(b);
  mica_free(most);
  return status;
}

/* The node that holds an entry: its path without the last name. */
static size_t node_length(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot ? (size_t)(dot - path) : 0;
}

mica_status mica_randomise_from_top(const mica_net *net, const char *method, const mica_tensor *x,
                                    const int64_t *target, const mica_explain_options *options,
                                    uint64_t seed, int64_t most, double *correlation, char **path,
                                    int64_t *steps) {
  mica_net *own = NULL;
  mica_tensor *first = NULL;
  *steps = 0;
  mica_status status = mica_explain_copy(net, &own);
  if (status == MICA_OK) status = mica_explain(own, method, x, target, options, &first);
  mica_params *params = own ? mica_net_params(own) : NULL;
  char last[512] = "";
  for (int64_t i = own ? mica_params_count(params) - 1 : -1;
       i >= 0 && *steps < most && status == MICA_OK; i--) {
    mica_param *q = mica_params_at(params, i);
    const char *name = mica_param_path(q);
    const size_t n = node_length(name);
    char pattern[520];
    mica_tensor *map = NULL;
    if (mica_param_flags(q) & MICA_PARAM_BUFFER || n >= sizeof last - 8) continue;
    if (strlen(last) == n && strncmp(last, name, n) == 0) continue; /* that node is done */
    memcpy(last, name, n);
    last[n] = 0;
    memcpy(pattern, last, n);
    memcpy(pattern + n, n ? ".*" : "*", n ? 3 : 2);
    status = mica_params_reinitialise(params, pattern, seed, NULL);
    if (status == MICA_OK) status = mica_explain(own, method, x, target, options, &map);
    if (status == MICA_OK) {
      correlation[*steps] = mean_correlation(first, map);
      if (path && !(path[*steps] = mica_strdup(last))) status = MICA_ERR_MEMORY;
      if (status == MICA_OK) (*steps)++;
    }
    mica_tensor_free(map);
  }
  mica_tensor_free(first);
  mica_net_free(own);
  for (int64_t i = 0; path && status != MICA_OK && i < *steps; i++) mica_free(path[i]);
  return status;
}
