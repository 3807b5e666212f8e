/* DLRM: numbers become one more vector, and the dot products of all pairs of vectors go on. */
#include "model/click.h"

#include <math.h>

static bool has_numbers(const mica_problem *task) {
  return task->channels > 0;
}

/* The vector of the numbers, where there are any, and the products. */
static int64_t inputs_of(const mica_dlrm_options *o, const mica_problem *task) {
  const int64_t n = task->fields + has_numbers(task);
  return n * (n - 1) / 2 + (has_numbers(task) ? o->dim : 0);
}

static int64_t features(const void *options, const mica_problem *task) {
  const mica_dlrm_options *o = options;
  return mica_click_width(&o->top, inputs_of(o, task));
}

/* Each field's values are drawn from +-1/sqrt(their number). */
static void scale_fields(mica_node *node, const mica_problem *task, int64_t dim) {
  float *row = mica_param_write(mica_node_param(node, "weight"));
  for (int64_t f = 0; f < task->fields; f++) {
    const float bound = 1 / sqrtf((float)task->field_size[f]);
    for (int64_t i = 0; i < task->field_size[f] * dim; i++) *row++ *= bound;
  }
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_dlrm_options *o = options;
  const mica_init one = {MICA_INIT_UNIFORM, -1, 1, 0, false};
  mica_node *embedding = mica_node_child(root, "embedding");
  mica_status status = mica_click_check(task, "dlrm");
  if (status == MICA_OK && !inputs_of(o, task))
    status = mica_fail(MICA_ERR_INVALID, "model dlrm: one field alone has no pairs");
  if (status == MICA_OK && o->table)
    status = mica_embedding_init(embedding, o->table, task->fields, task->field_size, o->dim);
  else if (status == MICA_OK)
    status =
        mica_nn_field_embedding_init(embedding, task->fields, task->field_size, 0, o->dim, &one);
  if (status == MICA_OK && !o->table) scale_fields(embedding, task, o->dim);
  if (status == MICA_OK && has_numbers(task)) {
    mica_node *bottom = mica_node_child(root, "bottom");
    status = mica_nn_tower_init(bottom, task->channels, &o->bottom, false);
    if (status == MICA_OK)
      status = mica_nn_linear_init(mica_node_child(bottom, "last"),
                                   mica_click_width(&o->bottom, task->channels), o->dim, true);
  }
  if (status == MICA_OK)
    status = mica_nn_tower_init(mica_node_child(root, "top"), inputs_of(o, task), &o->top, false);
  if (status == MICA_OK) status = mica_click_head_init(root, features(o, task));
  return status == MICA_OK ? mica_click_bias_init(root, task) : status;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_dlrm_options *o = options;
  mica_node *bottom = mica_node_find(root, "bottom");
  const mica_inputs fields = {MICA_NONE, MICA_NONE, in->fields};
  mica_var e = mica_click_embedding(t, root, &fields), x;
  if (bottom) {
    mica_var v = mica_nn_tower(t, bottom, &o->bottom, 0, in->x);
    v = mica_relu(t, mica_nn_linear(t, mica_node_find(bottom, "last"), v));
    e = mica_concat(
        t, 2, (mica_var[]){mica_reshape(t, v, MICA_SHAPE(mica_dim(t, v, 0), 1, o->dim)), e}, 1);
    x = mica_concat(t, 2, (mica_var[]){v, mica_pair_dots(t, e)}, 1);
  } else {
    x = mica_pair_dots(t, e);
  }
  out->features = mica_nn_tower(t, mica_node_find(root, "top"), &o->top, o->dropout, x);
  out->logits = mica_click_logits(t, root, mica_click_head(t, root, out->features));
}

static const mica_option options[] = {
    {"dim", MICA_OPTION_INT, "16", 1, 1 << 16, NULL, "width of a value's vector",
     offsetof(mica_dlrm_options, dim)},
    {"bottom", MICA_OPTION_INTS, "512,256,64", 1, 1 << 20, NULL,
     "widths of the layers that read the numbers; one of width dim follows",
     offsetof(mica_dlrm_options, bottom)},
    {"top", MICA_OPTION_INTS, "512,256", 1, 1 << 20, NULL,
     "widths of the layers that read the products", offsetof(mica_dlrm_options, top)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "after each of the top layers",
     offsetof(mica_dlrm_options, dropout)},
    MICA_CLICK_TABLE(mica_dlrm_options),
    {0}};

static const mica_model_functions functions = {init, forward, mica_click_no_head, features};

MICA_CLICK_COMPONENT(dlrm, "dlrm", "deep learning recommendation model (DLRM)", options);
