/* Vectors for categorical fields and numeric columns. All fields share one table, in which each has
 * rows of its own: one look-up, one sort of the rows that have a gradient, one update. */
#include <mica/nn.h>
#include <mica/op.h>

mica_status mica_nn_field_embedding_init(mica_node *node, int64_t fields, const int64_t *size,
                                         int64_t columns, int64_t width, const mica_init *init) {
  const mica_init small = {MICA_INIT_NORMAL, 0, 0.01, 0, false};
  const uint32_t flags = MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_EMBEDDING;
  mica_param *offsets = NULL;
  int64_t rows = 0;
  for (int64_t f = 0; f < fields; f++) {
    if (size[f] < 1 || size[f] > INT64_MAX - rows)
      return mica_fail(MICA_ERR_INVALID, "field %lld has %lld values, expected 1 or more",
                       (long long)f, (long long)size[f]);
    rows += size[f];
  }
  if (!init) init = &small;
  mica_status status =
      mica_param_add(node, "weight", MICA_F32, MICA_SHAPE(rows, width), flags, init, NULL);
  if (status == MICA_OK && columns)
    status =
        mica_param_add(node, "numeric", MICA_F32, MICA_SHAPE(columns, width), flags, init, NULL);
  if (status == MICA_OK)
    status = mica_param_add(node, "offsets", MICA_I64, MICA_SHAPE(fields + 1), MICA_PARAM_BUFFER,
                            NULL, &offsets);
  if (status != MICA_OK) return status;
  int64_t *at = mica_param_write(offsets);
  for (int64_t f = 0; f < fields; f++) at[f + 1] = at[f] + size[f];
  return MICA_OK;
}

/* ids [N,F] and offsets [F + 1] to rows of the table; no gradient. */
static void rows_forward(mica_call *c) {
  const mica_view *ids = &c->in[0], *offsets = &c->in[1];
  if (ids->dtype != MICA_I64 || ids->shape.rank != 2 ||
      ids->shape.dim[1] != offsets->shape.dim[0] - 1) {
    mica_call_fail(c, MICA_ERR_SHAPE,
                   "expected int64 [N,%lld]:", (long long)offsets->shape.dim[0] - 1);
    return;
  }
  const int64_t n = ids->shape.dim[0], fields = ids->shape.dim[1], rows = *(int64_t *)c->ctx;
  const int64_t *at = offsets->data, *id = ids->data;
  for (int64_t f = 0; f < fields; f++)
    if (at[0] != 0 || at[f] >= at[f + 1] || at[fields] != rows) {
      mica_call_fail(c, MICA_ERR_FORMAT,
                     "the table of %lld rows has wrong offsets:", (long long)rows);
      return;
    }
  const mica_view *y = mica_call_output(c, MICA_I64, ids->shape);
  if (!y) return;
  int64_t *to = y->data;
  for (int64_t i = 0; i < n; i++, id += fields, to += fields)
    for (int64_t f = 0; f < fields; f++) {
      if (id[f] < 0 || id[f] >= at[f + 1] - at[f]) {
        mica_call_fail(c, MICA_ERR_INVALID,
                       "id %lld in field %lld of example %lld, expected 0 or more and below %lld:",
                       (long long)id[f], (long long)f, (long long)i,
                       (long long)(at[f + 1] - at[f]));
        return;
      }
      to[f] = at[f] + id[f];
    }
}

static const mica_custom_op rows_op = {
    {sizeof(mica_op), "field_rows", MICA_OP_BY_EXAMPLE, NULL}, rows_forward, 0};

mica_var mica_nn_field_embedding(mica_tape *t, mica_node *node, mica_var ids, mica_var x) {
  mica_nn_enter(t, node);
  mica_var table = mica_adapted_weight(t, node, "weight"), rows = MICA_NONE;
  mica_var in[2] = {ids, mica_weight(t, node, "offsets")};
  const int64_t length = mica_dim(t, table, 0);
  mica_custom(t, &rows_op, &length, sizeof length, 2, in, 1, &rows);
  return mica_scope_end(t, mica_nn_field_columns(t, node, mica_embedding(t, table, rows), x));
}

mica_var mica_nn_field_columns(mica_tape *t, mica_node *node, mica_var y, mica_var x) {
  const mica_var numeric = mica_weight_optional(t, node, "numeric");
  if (mica_is_none(numeric)) return y;
  const int64_t columns = mica_dim(t, numeric, 0);
  const mica_var values = mica_reshape(t, x, MICA_SHAPE(mica_dim(t, y, 0), columns, 1));
  return mica_concat(t, 2, (mica_var[]){y, mica_mul(t, values, numeric)}, 1);
}
