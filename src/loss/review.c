/* Knowledge review (Chen et al. 2021): the student's taps are fused from the last to the first,
 * each with what came out for the one behind it, by an attention of two maps (ABF), and compared
 * with the teacher's as they are and pooled to 4, 2 and 1 (HCL).
 */
#include "loss/warmup.h"

#include <mica/nn.h>

#define WIDTH_MOST 512

static int64_t channels(mica_shape s) {
  return s.dim[s.rank - 1];
}

/* Names below the loss's node: tap.N.reduce, .reduce_norm, .attend, .widen, .widen_norm. */
static mica_node *found(mica_node *node, int i, const char *name) {
  char number[16];
  mica_node *at = mica_node_find(node, mica_node_index(number, sizeof number, "tap", i));
  return at ? mica_node_find(at, name) : NULL;
}

static mica_status init(mica_node *node, const void *options, const mica_loss_shapes *shapes) {
  const mica_review_options *o = options;
  const int n = shapes->taps;
  if (!n) return MICA_OK;
  int64_t width = o->width ? o->width : channels(shapes->tap[n - 1]);
  if (width > WIDTH_MOST) width = WIDTH_MOST;
  mica_status status = MICA_OK;
  for (int i = 0; i < n && status == MICA_OK; i++) {
    char number[16];
    mica_node *at = mica_node_child(node, mica_node_index(number, sizeof number, "tap", i));
    status = mica_nn_conv2d_init(mica_node_child(at, "reduce"), channels(shapes->tap[i]), width, 1,
                                 1, 1, false, NULL);
    if (status == MICA_OK)
      status = mica_nn_batch_norm_init(mica_node_child(at, "reduce_norm"), width);
    if (status == MICA_OK && i + 1 < n)
      status =
          mica_nn_conv2d_init(mica_node_child(at, "attend"), 2 * width, 2, 1, 1, 1, true, NULL);
    if (status == MICA_OK)
      status = mica_nn_conv2d_init(mica_node_child(at, "widen"), width,
                                   channels(shapes->teacher_tap[i]), 3, 3, 1, false, NULL);
    if (status == MICA_OK)
      status = mica_nn_batch_norm_init(mica_node_child(at, "widen_norm"),
                                       channels(shapes->teacher_tap[i]));
  }
  return status;
}

/* A map [N,H,W,C] of whatever a tap gives: tokens lie in one column, a vector in one place. */
static mica_var as_map(mica_tape *t, mica_var v) {
  const mica_view x = mica_read(t, v);
  if (!mica_ok(t) || x.shape.rank == 4) return v;
  if (x.shape.rank == 3)
    return mica_reshape(t, v, MICA_SHAPE(x.shape.dim[0], x.shape.dim[1], 1, x.shape.dim[2]));
  if (x.shape.rank == 2)
    return mica_reshape(t, v, MICA_SHAPE(x.shape.dim[0], 1, 1, x.shape.dim[1]));
  return mica_latch(t, MICA_ERR_SHAPE, "loss review: a tap of %d dimensions", x.shape.rank);
}

static mica_var to_size(mica_tape *t, mica_var v, int64_t h, int64_t w) {
  if (!mica_ok(t) || (mica_dim(t, v, 1) == h && mica_dim(t, v, 2) == w)) return v;
  return mica_resize(t, v, h, w, MICA_NEAREST, false);
}

static mica_var compare(mica_tape *t, mica_var a, mica_var b) {
  const int64_t h = mica_ok(t) ? mica_dim(t, a, 1) : 0;
  mica_var sum = mica_mse(t, a, b);
  double total = 1, weight = 1;
  for (int64_t side = 4; side >= 1; side /= 2) {
    if (side >= h) continue;
    weight /= 2;
    total += weight;
    const mica_var one = mica_mse(t, mica_adaptive_avg_pool2d(t, a, side, side),
                                  mica_adaptive_avg_pool2d(t, b, side, side));
    sum = mica_add(t, sum, mica_affine(t, one, weight, 0));
  }
  return mica_affine(t, sum, 1 / total, 0);
}

static mica_var forward(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  const mica_review_options *o = options;
  mica_conv_options same = MICA_CONV_OPTIONS, around = MICA_CONV_OPTIONS;
  for (int i = 0; i < 4; i++) around.pad[i] = 1;
  mica_var total = MICA_NONE, behind = MICA_NONE;
  mica_scope_begin(t, NULL);
  for (int i = in->taps; i-- > 0 && mica_ok(t);) {
    const mica_var teacher = as_map(t, in->teacher_tap[i]);
    mica_var x = mica_nn_conv2d(t, found(node, i, "reduce"), &same, as_map(t, in->tap[i]));
    x = mica_nn_batch_norm(t, found(node, i, "reduce_norm"), MICA_IDENTITY, x);
    if (!mica_is_none(behind) && mica_ok(t)) {
      const mica_var y = to_size(t, behind, mica_dim(t, x, 1), mica_dim(t, x, 2));
      mica_var share = mica_concat(t, 2, (const mica_var[]){x, y}, -1);
      share = mica_sigmoid(t, mica_nn_conv2d(t, found(node, i, "attend"), &same, share));
      x = mica_add(t, mica_mul(t, x, mica_slice(t, share, -1, 0, 1)),
                   mica_mul(t, y, mica_slice(t, share, -1, 1, 2)));
    }
    if (mica_ok(t)) x = to_size(t, x, mica_dim(t, teacher, 1), mica_dim(t, teacher, 2));
    behind = x;
    x = mica_nn_conv2d(t, found(node, i, "widen"), &around, x);
    x = mica_nn_batch_norm(t, found(node, i, "widen_norm"), MICA_IDENTITY, x);
    const mica_var one = compare(t, x, teacher);
    total = mica_is_none(total) ? one : mica_add(t, total, one);
  }
  return mica_scope_end(t, mica_warm(t, total, in, o->warmup));
}

static const mica_option options[] = {{"width", MICA_OPTION_INT, "0", 0, 65536, NULL,
                                       "of the fused maps; 0: the last tap's channels",
                                       offsetof(mica_review_options, width)},
                                      MICA_WARMUP_ROW(mica_review_options),
                                      {0}};

static const mica_loss_functions functions = {.forward = forward, .init_with = init};

const mica_component mica_component_loss_review = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LOSS,
    "review",
    "the student's maps, fused from last to first, against the teacher's",
    "norm-direction-distillation",
    options,
    sizeof(mica_review_options),
    MICA_NEED_TEACHER | MICA_NEED_TAPS,
    0,
    &functions};
