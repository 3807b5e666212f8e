/* A network: an architecture chosen by text, with its parameters. */
#include "model/net.h"

#include <stdio.h>
#include <string.h>

struct mica_net {
  mica_engine *engine;
  mica_spec *spec;
  const mica_model_functions *f;
  mica_spec *head; /* NULL: the architecture's own */
  mica_params *params;
  mica_problem task;
  int64_t *field_size; /* task.field_size */
  mica_net_taps_list taps;
};

static mica_status check_problem(const char *text, const mica_problem *task) {
  const bool tokens = task->vocabulary > 0, fields = task->fields > 0;
  if (task->height < 0 || task->width < 0 || task->channels < 0 || task->classes < 0 ||
      (task->height == 0) != (task->width == 0) ||
      (task->channels == 0 && (task->height || !(tokens || fields))))
    return mica_fail(
        MICA_ERR_INVALID,
        "model %s: examples of %lldx%lldx%lld in %lld classes, expected an image's height, width "
        "and channels, or only columns",
        text, (long long)task->height, (long long)task->width, (long long)task->channels,
        (long long)task->classes);
  if (task->vocabulary < 0 || task->length < 0 || tokens != (task->length > 0))
    return mica_fail(MICA_ERR_INVALID,
                     "model %s: sequences of %lld tokens of a vocabulary of %lld, expected both to "
                     "be 0 or both above",
                     text, (long long)task->length, (long long)task->vocabulary);
  if (task->fields < 0 || (fields && !task->field_size))
    return mica_fail(MICA_ERR_INVALID, "model %s: %lld fields without their sizes", text,
                     (long long)task->fields);
  for (int64_t f = 0; f < task->fields; f++)
    if (task->field_size[f] < 1)
      return mica_fail(MICA_ERR_INVALID, "model %s: field %lld has %lld values, expected 1 or more",
                       text, (long long)f, (long long)task->field_size[f]);
  return MICA_OK;
}

/* What the architecture reads must be there, and what it does not read must not be lost silently.
 */
static mica_status check_reads(const mica_component *c, const mica_problem *task) {
  static const char *const name[] = {"tokens", "categorical fields"};
  const bool reads[] = {c->needs & MICA_NEED_TOKENS, c->needs & MICA_NEED_FIELDS};
  const bool has[] = {task->vocabulary > 0, task->fields > 0};
  for (int i = 0; i < 2; i++)
    if (reads[i] != has[i])
      return mica_fail(MICA_ERR_INVALID, "model %s %s %s, and the examples have %s", c->name,
                       reads[i] ? "reads" : "cannot read", name[i], has[i] ? "some" : "none");
  return MICA_OK;
}

static mica_status keep_problem(mica_net *net, const mica_problem *task) {
  net->task = *task;
  net->task.field_size = NULL;
  if (!task->fields) return MICA_OK;
  net->field_size = mica_calloc((size_t)task->fields, sizeof *net->field_size);
  if (!net->field_size) return MICA_ERR_MEMORY;
  memcpy(net->field_size, task->field_size, (size_t)task->fields * sizeof *net->field_size);
  net->task.field_size = net->field_size;
  return MICA_OK;
}

static const mica_layer_functions *head_functions(const mica_net *net) {
  return net->head ? mica_spec_component(net->head)->functions : NULL;
}

static int64_t body_features(const mica_net *net) {
  return net->f->features(mica_spec_options(net->spec), &net->task);
}

static const char *head_name(const mica_net *net) {
  if (net->head) return "head";
  return net->f->head ? net->f->head(mica_spec_options(net->spec)) : NULL;
}

static mica_node *head_node(const mica_net *net) {
  const char *head = head_name(net);
  return head ? mica_node_find(mica_params_root(net->params), head) : NULL;
}

mica_node *mica_net_head(const mica_net *net) {
  mica_node *node = head_node(net), *last = node && net->head ? mica_node_find(node, "fc") : NULL;
  return last ? last : node;
}

static void mark_output(mica_net *net) {
  mica_node *node = mica_net_head(net);
  if (node) mica_node_set_flags(node, MICA_PARAM_OUTPUT, 0);
}

mica_status mica_net_parse(const mica_engine *engine, const char *text, mica_spec **body,
                           mica_spec **head) {
  const char *bar = strchr(text, '|');
  *body = NULL;
  if (head) *head = NULL;
  if (!bar) return mica_spec_parse(engine, MICA_KIND_MODEL, text, body);
  const char *end = bar, *rest = bar + 1;
  while (end > text && end[-1] == ' ') end--;
  while (*rest == ' ') rest++;
  if (strncmp(rest, "head=", 5) != 0)
    return mica_fail(MICA_ERR_INVALID, "model '%.200s': expected \"ARCHITECTURE | head=HEAD\"",
                     text);
  char *first = mica_strndup(text, (size_t)(end - text));
  if (!first) return MICA_ERR_MEMORY;
  mica_status status = mica_spec_parse(engine, MICA_KIND_MODEL, first, body);
  mica_free(first);
  if (status == MICA_OK && head) status = mica_spec_parse(engine, MICA_KIND_LAYER, rest + 5, head);
  return status;
}

static mica_status init_head(mica_net *net) {
  const mica_layer_problem problem = {body_features(net), net->task.classes};
  mica_node *node = mica_node_child(mica_params_root(net->params), "head");
  if (!node) return mica_last_status();
  const mica_status status =
      head_functions(net)->init(node, mica_spec_options(net->head), &problem);
  if (status == MICA_OK) mark_output(net);
  return status;
}

static mica_status init(mica_net *net) {
  mica_problem body = net->task;
  if (net->head) body.classes = 0;
  mica_status status =
      net->f->init(mica_params_root(net->params), mica_spec_options(net->spec), &body);
  if (status == MICA_OK && net->head && net->task.classes) status = init_head(net);
  return status;
}

mica_status mica_net_create_within(mica_engine *engine, const char *text, const mica_problem *task,
                                   uint64_t seed, int64_t elements, mica_net **out) {
  *out = NULL;
  mica_status status = check_problem(text, task);
  if (status != MICA_OK) return status;
  mica_net *net = mica_calloc(1, sizeof *net);
  if (!net) return MICA_ERR_MEMORY;
  net->engine = engine;
  status = keep_problem(net, task);
  if (status == MICA_OK) status = mica_net_parse(engine, text, &net->spec, &net->head);
  if (status == MICA_OK) status = check_reads(mica_spec_component(net->spec), task);
  if (status == MICA_OK) status = mica_params_create(engine, seed, &net->params);
  if (status == MICA_OK) {
    mica_params_set_limit(net->params, elements);
    net->f = mica_spec_component(net->spec)->functions;
    status = init(net);
    mica_params_set_limit(net->params, 0);
  }
  if (status != MICA_OK) {
    mica_net_free(net);
    return status;
  }
  mark_output(net);
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
  mica_spec_free(net->head);
  mica_free(net->field_size);
  mica_net_taps_end(&net->taps);
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
  static const char between[] = " | head=";
  char *body = mica_spec_text(net->spec), *head, *both;
  if (!net->head || !body) return body;
  head = mica_spec_text(net->head);
  both = head ? mica_malloc(strlen(body) + strlen(head) + sizeof between) : NULL;
  if (both) {
    strcpy(both, body);
    strcat(both, between);
    strcat(both, head);
  }
  mica_free(body);
  mica_free(head);
  return both;
}
static int64_t own_features(const mica_net *net) {
  const mica_layer_functions *head = head_functions(net);
  const int64_t body = body_features(net);
  return head && head->features && net->task.classes
             ? head->features(mica_spec_options(net->head), body)
             : body;
}

int64_t mica_net_features(const mica_net *net) {
  return net->taps.n ? mica_net_taps_width(&net->taps) : own_features(net);
}

/* ---- a head of its own kind ---- */

const mica_component *mica_net_head_component(const mica_net *net) {
  return net->head ? mica_spec_component(net->head) : NULL;
}

/* The architecture's own linear layer goes; a forward that finds no weight leaves logits out. */
static mica_status drop_own_head(mica_net *net) {
  mica_node *head = mica_net_head(net);
  mica_status status = MICA_OK;
  if (head && mica_node_param(head, "weight")) status = mica_param_remove(head, "weight");
  if (head && status == MICA_OK && mica_node_param(head, "bias"))
    status = mica_param_remove(head, "bias");
  return status;
}

mica_status mica_net_set_head(mica_net *net, const char *text, int64_t classes) {
  const mica_component *c = mica_net_component(net);
  mica_spec *spec = NULL;
  if (!classes) classes = net->task.classes;
  if (net->head)
    return mica_fail(MICA_ERR_STATE, "the network has a head already: %s",
                     mica_net_head_component(net)->name);
  if (classes < 1)
    return mica_fail(MICA_ERR_INVALID, "a head of %lld classes, expected 1 or more",
                     (long long)classes);
  if (!(c->provides & MICA_NEED_FEATURES) || body_features(net) < 1)
    return mica_fail(MICA_ERR_UNSUPPORTED, "model %s gives no features for a head", c->name);
  mica_status status = mica_spec_parse(net->engine, MICA_KIND_LAYER, text, &spec);
  if (status == MICA_OK) status = drop_own_head(net);
  if (status != MICA_OK) {
    mica_spec_free(spec);
    return status;
  }
  net->head = spec;
  net->task.classes = classes;
  return init_head(net);
}

void mica_net_after_step(mica_net *net) {
  const mica_layer_functions *f = head_functions(net);
  if (f && f->after_step) f->after_step(head_node(net), mica_spec_options(net->head));
}

mica_status mica_net_head_estimator(const mica_net *net, mica_estimator **out) {
  const mica_layer_functions *f = head_functions(net);
  *out = NULL;
  if (!f || !f->estimator || net->taps.n)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "the network's own head cannot be taken as an estimator on its features");
  return f->estimator(net->engine, head_node(net), mica_spec_options(net->head), out);
}

/* ---- taps ---- */

mica_status mica_net_set_taps(mica_net *net, int64_t n, const char *const *names) {
  mica_net_taps_list taps;
  const mica_status status = mica_net_taps_find(net, n, names, &taps);
  if (status == MICA_OK) mica_net_take_taps(net, &taps);
  return status;
}

void mica_net_take_taps(mica_net *net, mica_net_taps_list *taps) {
  mica_net_taps_end(&net->taps);
  net->taps = *taps;
  *taps = (mica_net_taps_list){0};
}

const mica_net_taps_list *mica_net_taps_of(const mica_net *net) {
  return &net->taps;
}

int64_t mica_net_taps(const mica_net *net) {
  return net->taps.n;
}

const char *mica_net_tap(const mica_net *net, int64_t i, int64_t *width) {
  if (i < 0 || i >= net->taps.n) return NULL;
  if (width) *width = net->taps.tap[i].width;
  return net->taps.tap[i].name;
}

/* ---- forward ---- */

static void check_shape(mica_tape *t, mica_var x, mica_dtype dtype, const char *expected, int rank,
                        int64_t last) {
  char text[128];
  const mica_view v = mica_read(t, x);
  if (!mica_ok(t)) return;
  const bool fits = v.shape.rank == rank && (last < 0 || v.shape.dim[rank - 1] == last);
  if (!fits || (dtype == MICA_I64 && v.dtype != dtype))
    mica_latch(t, MICA_ERR_SHAPE, "the network reads %s, not %s %s", expected,
               mica_dtype_name(v.dtype), mica_shape_text(&v.shape, text, sizeof text));
}

/* The positions of the last map, or the tokens but those of the whole. */
static mica_var positions_of(mica_tape *t, const mica_outputs *out) {
  if (!mica_is_none(out->tokens)) {
    const int64_t n = mica_dim(t, out->tokens, 1);
    return out->class_tokens ? mica_slice(t, out->tokens, 1, out->class_tokens, n) : out->tokens;
  }
  if (!out->n_pyramid)
    return mica_latch(t, MICA_ERR_UNSUPPORTED, "this head reads tokens, which the network lacks");
  const mica_var map = out->pyramid[out->n_pyramid - 1];
  return mica_reshape(t, map, MICA_SHAPE(mica_dim(t, map, 0), -1, mica_dim(t, map, -1)));
}

static void apply_head(mica_tape *t, const mica_net *net, mica_outputs *out) {
  mica_layer_inputs in = {.features = out->features,
                          .map = out->n_pyramid ? out->pyramid[out->n_pyramid - 1] : MICA_NONE};
  mica_layer_outputs head = {0};
  if (mica_spec_component(net->head)->needs & MICA_NEED_TOKENS) in.tokens = positions_of(t, out);
  if (!mica_ok(t)) return;
  head_functions(net)->forward(t, mica_node_find(mica_params_root(net->params), "head"),
                               mica_spec_options(net->head), &in, &head);
  out->logits = head.logits;
  if (!mica_is_none(head.features)) out->features = head.features;
  memcpy(out->part, head.part, sizeof out->part);
}

void mica_net_forward_plain(mica_tape *t, const mica_net *net, const mica_inputs *in,
                            mica_outputs *out) {
  memset(out, 0, sizeof *out);
  const mica_problem *task = &net->task;
  char text[64];
  /* Each of two towers runs alone too. */
  const bool towers = mica_spec_component(net->spec)->provides & MICA_NEED_PAIRS;
  const bool no_x = towers && mica_is_none(in->x) && !mica_is_none(in->tokens);
  const bool no_tokens = towers && mica_is_none(in->tokens) && !mica_is_none(in->x);
  if (task->height && !no_x) {
    snprintf(text, sizeof text, "[N,H,W,%lld]", (long long)task->channels);
    check_shape(t, in->x, MICA_F32, text, 4, task->channels);
  } else if (task->channels && !no_x) {
    snprintf(text, sizeof text, "[N,%lld]", (long long)task->channels);
    check_shape(t, in->x, MICA_F32, text, 2, task->channels);
  }
  if (task->vocabulary && !no_tokens)
    check_shape(t, in->tokens, MICA_I64, "int64 tokens [N,L]", 2, -1);
  if (task->fields) {
    snprintf(text, sizeof text, "int64 fields [N,%lld]", (long long)task->fields);
    check_shape(t, in->fields, MICA_I64, text, 2, task->fields);
  }
  if (mica_ok(t))
    net->f->forward(t, mica_params_root(net->params), mica_spec_options(net->spec), in, out);
  if (net->head && net->task.classes && mica_ok(t)) apply_head(t, net, out);
}

void mica_net_forward_inputs(mica_tape *t, const mica_net *net, const mica_inputs *in,
                             mica_outputs *out) {
  mica_tapping gathered;
  if (!net->taps.n) {
    mica_net_forward_plain(t, net, in, out);
    return;
  }
  mica_tapping_begin(t, &net->taps, &gathered);
  mica_net_forward_plain(t, net, in, out);
  mica_tapping_end(t, &gathered, out);
}

void mica_net_forward(mica_tape *t, const mica_net *net, mica_var x, mica_outputs *out) {
  mica_inputs in = {MICA_NONE, MICA_NONE, MICA_NONE};
  const mica_problem *task = &net->task;
  *(task->vocabulary ? &in.tokens : task->fields ? &in.fields : &in.x) = x;
  mica_net_forward_inputs(t, net, &in, out);
}

/* A head of its own kind changes as it can, or is made anew. */
static mica_status replace_head(mica_net *net, int64_t classes) {
  const mica_layer_functions *f = head_functions(net);
  mica_status status = MICA_OK;
  if (f->resize) {
    const mica_layer_problem problem = {body_features(net), classes};
    status = f->resize(head_node(net), mica_spec_options(net->head), &problem);
    if (status == MICA_OK) net->task.classes = classes;
    return status;
  }
  for (int64_t i = mica_params_count(net->params) - 1; i >= 0 && status == MICA_OK; i--) {
    const char *path = mica_param_path(mica_params_at(net->params, i)), *dot = strrchr(path, '.');
    if (strncmp(path, "head.", 5) != 0) continue;
    char *node = mica_strndup(path, (size_t)(dot - path)), *name = mica_strdup(dot + 1);
    status = node && name
                 ? mica_param_remove(mica_node_find(mica_params_root(net->params), node), name)
                 : MICA_ERR_MEMORY;
    mica_free(node);
    mica_free(name);
  }
  if (status != MICA_OK) return status;
  net->task.classes = classes;
  return init_head(net);
}

mica_status mica_net_set_classes(mica_net *net, int64_t classes) {
  if (classes == net->task.classes) return MICA_OK;
  if (classes < 1)
    return mica_fail(MICA_ERR_INVALID, "%lld classes, expected 1 or more", (long long)classes);
  if (net->head) return replace_head(net, classes);
  const char *head = net->f->head(mica_spec_options(net->spec));
  if (!head)
    return mica_fail(MICA_ERR_UNSUPPORTED, "model %s has no classes of its own",
                     mica_net_component(net)->name);
  mica_node *node = mica_node_child(mica_params_root(net->params), head);
  if (!node) return mica_last_status();
  const int64_t features = own_features(net);
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
  if (status == MICA_OK) {
    net->task.classes = classes;
    mark_output(net);
  }
  return status;
}
