/* A network: an architecture chosen by text, with its parameters. */
#include "model/net.h"

#include <string.h>

struct mica_net {
  mica_engine *engine;
  mica_spec *spec;
  const mica_model_functions *f;
  mica_params *params;
  mica_problem task;
};

mica_status mica_net_create_within(mica_engine *engine, const char *text, const mica_problem *task,
                                   uint64_t seed, int64_t elements, mica_net **out) {
  *out = NULL;
  if (task->channels < 1 || task->height < 0 || task->width < 0 || task->classes < 0 ||
      (task->height == 0) != (task->width == 0))
    return mica_fail(
        MICA_ERR_INVALID,
        "model %s: examples of %lldx%lldx%lld in %lld classes, expected an image's height, width "
        "and channels, or only columns",
        text, (long long)task->height, (long long)task->width, (long long)task->channels,
        (long long)task->classes);
  mica_net *net = mica_calloc(1, sizeof *net);
  if (!net) return MICA_ERR_MEMORY;
  net->engine = engine;
  net->task = *task;
  mica_status status = mica_spec_parse(engine, MICA_KIND_MODEL, text, &net->spec);
  if (status == MICA_OK) status = mica_params_create(engine, seed, &net->params);
  if (status == MICA_OK) {
    mica_params_set_limit(net->params, elements);
    net->f = mica_spec_component(net->spec)->functions;
    status = net->f->init(mica_params_root(net->params), mica_spec_options(net->spec), task);
    mica_params_set_limit(net->params, 0);
  }
  if (status != MICA_OK) {
    mica_net_free(net);
    return status;
  }
  *out = net;
  return MICA_OK;
}

mica_status mica_net_create(mica_engine *engine, const char *text, const mica_problem *task,
                            uint64_t seed, mica_net **out) {
  return mica_net_create_within(engine, text, task, seed, 0, out);
}

void mica_net_free(mica_net *net) {
  if (!net) return;
  mica_params_free(net->params);
  mica_spec_free(net->spec);
  mica_free(net);
}

mica_params *mica_net_params(const mica_net *net) {
  return net->params;
}
const mica_component *mica_net_component(const mica_net *net) {
  return mica_spec_component(net->spec);
}
const mica_problem *mica_net_problem(const mica_net *net) {
  return &net->task;
}
char *mica_net_text(const mica_net *net) {
  return mica_spec_text(net->spec);
}
int64_t mica_net_features(const mica_net *net) {
  return net->f->features(mica_spec_options(net->spec), &net->task);
}

void mica_net_forward(mica_tape *t, const mica_net *net, mica_var x, mica_outputs *out) {
  memset(out, 0, sizeof *out);
  if (!mica_ok(t)) return;
  const mica_view v = mica_read(t, x);
  const mica_problem *task = &net->task;
  const bool image = task->height > 0;
  const bool fits = image ? v.shape.rank == 4 && v.shape.dim[3] == task->channels
                          : v.shape.rank == 2 && v.shape.dim[1] == task->channels;
  if (mica_ok(t) && !fits) {
    char text[128];
    mica_latch(t, MICA_ERR_SHAPE, "the network reads %s with %lld %s, not %s",
               image ? "[N,H,W,C]" : "[N,C]", (long long)task->channels,
               image ? "channels" : "columns", mica_shape_text(&v.shape, text, sizeof text));
    return;
  }
  net->f->forward(t, mica_params_root(net->params), mica_spec_options(net->spec), x, out);
}

mica_status mica_net_set_classes(mica_net *net, int64_t classes) {
  if (classes == net->task.classes) return MICA_OK;
  if (classes < 1)
    return mica_fail(MICA_ERR_INVALID, "%lld classes, expected 1 or more", (long long)classes);
  const char *head = net->f->head(mica_spec_options(net->spec));
  if (!head)
    return mica_fail(MICA_ERR_UNSUPPORTED, "model %s has no classes of its own",
                     mica_net_component(net)->name);
  mica_node *node = mica_node_child(mica_params_root(net->params), head);
  if (!node) return mica_last_status();
  const int64_t features = mica_net_features(net);
  mica_param *w = mica_node_param(node, "weight"), *b = mica_node_param(node, "bias");
  mica_status status;
  if (!w) {
    status = mica_nn_linear_init(node, features, classes, true);
  } else {
    const mica_init init = {MICA_INIT_KAIMING_UNIFORM, 0, 0, 0.57735026918962576, false};
    status = mica_param_resize(w, MICA_SHAPE(classes, features), &init);
    if (status == MICA_OK && b)
      status = mica_param_resize(b, MICA_SHAPE(classes), &MICA_INIT_ZEROS);
  }
  if (status == MICA_OK) net->task.classes = classes;
  return status;
}
