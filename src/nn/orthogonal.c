/* Linear layers whose weights stay orthogonal whatever the optimiser does to what they are made of.
 *
 * All is worked out for a tall matrix; a wide weight is the transpose of one.
 */
#include <mica/layer.h>
#include <mica/linear_algebra.h>

#include <string.h>

static mica_node *place(mica_node *node) {
  return mica_node_find(node, "parametrizations.weight");
}

/* -1 on the diagonal and 0 elsewhere, as PyTorch has it: every map then gives the identity. */
static void set_free_matrix(mica_param *q) {
  const mica_tensor *value = mica_param_value(q);
  const int64_t rows = mica_tensor_dim(value, 0), columns = mica_tensor_dim(value, 1);
  float *v = mica_param_write(q);
  memset(v, 0, (size_t)(rows * columns) * sizeof *v);
  for (int64_t i = 0; i < rows && i < columns; i++) v[i * columns + i] = -1;
}

mica_status mica_nn_orthogonal_init(mica_node *node, int64_t in, int64_t out) {
  const mica_init orthogonal = {MICA_INIT_ORTHOGONAL, 0, 0, 0, false};
  const int64_t tall = in > out ? in : out;
  mica_node *at = mica_node_child(node, "parametrizations.weight");
  mica_param *free_ = NULL;
  mica_status status = mica_param_add(at, "original", MICA_F32, MICA_SHAPE(out, in),
                                      MICA_PARAM_TRAINABLE | MICA_PARAM_LINEAR, NULL, &free_);
  if (status != MICA_OK) return status;
  set_free_matrix(free_);
  return mica_param_add(mica_node_child(at, "0"), "base", MICA_F32, MICA_SHAPE(tall, tall),
                        MICA_PARAM_BUFFER, &orthogonal, NULL);
}

/* A constant [rows, columns] with `below` under the diagonal and `on` on it. */
static mica_var triangle(mica_tape *t, int64_t rows, int64_t columns, float below, float on) {
  float *v = mica_calloc((size_t)(rows * columns) + 1, sizeof *v);
  if (!v) return mica_latch(t, MICA_ERR_MEMORY, "out of memory");
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j <= i && j < columns; j++) v[i * columns + j] = j < i ? below : on;
  const mica_view view = mica_view_of(v, MICA_F32, MICA_SHAPE(rows, columns));
  const mica_var y = mica_constant(t, &view);
  mica_free(v);
  return y;
}

/* The first k columns of H_1 .. H_k, with the sign that makes them those of the identity where all
 * of `lower` is zero. */
static mica_var reflections(mica_tape *t, mica_var lower, int64_t n, int64_t k) {
  const mica_var vectors = mica_add(t, lower, triangle(t, n, k, 0, 1));
  const mica_var square = mica_sum(t, mica_square(t, vectors), 1, (int[]){0}, true);
  const mica_var twice = mica_affine(t, mica_reciprocal(t, square), 2, 0); /* [1,k] */
  mica_var q = triangle(t, n, k, 0, -1);
  for (int64_t i = k - 1; i >= 0 && mica_ok(t); i--) {
    const mica_var v = mica_slice(t, vectors, 1, i, i + 1);
    const mica_var along =
        mica_mul(t, mica_matmul_t(t, v, true, q, false), mica_slice(t, twice, 1, i, i + 1));
    q = mica_sub(t, q, mica_matmul(t, v, along));
  }
  return q;
}

/* [n,k] with orthonormal columns from the free matrix [n,k], n >= k. */
static mica_var orthonormal(mica_tape *t, mica_orthogonal_map map, mica_var free_, int64_t n,
                            int64_t k) {
  mica_var lower = mica_mul(t, free_, triangle(t, n, k, 1, 0));
  if (map == MICA_ORTHOGONAL_HOUSEHOLDER) return reflections(t, lower, n, k);
  if (n > k) {
    const mica_var nothing = mica_full(t, MICA_F32, MICA_SHAPE(n, n - k), 0);
    lower = mica_concat(t, 2, (mica_var[]){lower, nothing}, 1);
  }
  const mica_var skew = mica_sub(t, lower, mica_transpose(t, lower, 0, 1));
  mica_var q;
  if (map == MICA_ORTHOGONAL_CAYLEY) {
    const mica_var one = triangle(t, n, n, 0, 1), half = mica_affine(t, skew, 0.5, 0);
    q = mica_solve(t, mica_sub(t, one, half), mica_add(t, one, half));
  } else {
    q = mica_matrix_exp(t, skew);
  }
  return n > k ? mica_slice(t, q, 1, 0, k) : q;
}

mica_var mica_nn_orthogonal_weight(mica_tape *t, mica_node *node, mica_orthogonal_map map) {
  mica_nn_enter(t, node);
  mica_node *at = place(node);
  mica_var free_ = mica_weight(t, at, "original");
  const mica_var base = mica_weight(t, mica_node_find(at, "0"), "base");
  const mica_view v = mica_read(t, free_);
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  const bool wide = v.shape.dim[0] < v.shape.dim[1];
  const int64_t n = v.shape.dim[wide], k = v.shape.dim[!wide];
  if (wide) free_ = mica_transpose(t, free_, 0, 1);
  const mica_var w = mica_matmul(t, base, orthonormal(t, map, free_, n, k));
  return mica_scope_end(t, wide ? mica_transpose(t, w, 0, 1) : w);
}

mica_var mica_nn_orthogonal(mica_tape *t, mica_node *node, mica_orthogonal_map map, mica_var x) {
  return mica_linear(t, x, mica_nn_orthogonal_weight(t, node, map), MICA_NONE, MICA_IDENTITY);
}

mica_status mica_nn_orthogonal_rebase(mica_node *node, mica_orthogonal_map map) {
  mica_node *at = place(node);
  mica_param *free_ = at ? mica_node_param(at, "original") : NULL;
  mica_param *base = at ? mica_node_param(mica_node_find(at, "0"), "base") : NULL;
  mica_tape *t = NULL;
  if (!free_ || !base)
    return mica_fail(MICA_ERR_NOT_FOUND, "'%s' is no orthogonal layer", mica_node_path(node));
  const mica_shape shape = *mica_tensor_shape(mica_param_value(free_));
  const bool wide = shape.dim[0] < shape.dim[1];
  const int64_t n = shape.dim[wide], k = shape.dim[!wide];
  mica_status status = mica_tape_create(mica_params_engine(mica_node_params(node)), NULL, &t);
  if (status != MICA_OK) return status;
  mica_no_grad_begin(t);
  /* The whole square factor: what lies beyond the weight's columns turns with it. */
  mica_var x = mica_param_var(t, free_);
  if (wide) x = mica_transpose(t, x, 0, 1);
  if (n > k)
    x = mica_concat(t, 2, (mica_var[]){x, mica_full(t, MICA_F32, MICA_SHAPE(n, n - k), 0)}, 1);
  mica_var w = mica_matmul(t, mica_param_var(t, base), orthonormal(t, map, x, n, n));
  const mica_view v = mica_read(t, w);
  status = mica_tape_status(t);
  if (status == MICA_OK) {
    memcpy(mica_param_write(base), v.data, (size_t)(n * n) * sizeof(float));
    set_free_matrix(free_);
  }
  mica_tape_free(t);
  return status;
}
