/* Tables below a node: making them, and asking them for vectors. */
#include "embedding/table.h"
#include "param/tree.h"

#include <mica/nn.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static void table_free(void *given) {
  mica_embedding_table *e = given;
  if (!e) return;
  mica_spec_free(e->spec);
  mica_free(e->size);
  mica_free(e->plan);
  mica_free(e);
}

void mica_embedding_unplace(mica_embedding_table *e) {
  table_free(e);
}

mica_embedding_table *mica_embedding_at(const mica_node *node) {
  return node && node->attached_free == table_free ? node->attached : NULL;
}

static mica_status take_sizes(mica_embedding_table *e, int64_t fields, const int64_t *size,
                              int64_t width) {
  if (fields < 1 || width < 1 || width > 1 << 16)
    return mica_fail(MICA_ERR_INVALID,
                     "a table of %lld fields and %lld numbers, expected 1 or more",
                     (long long)fields, (long long)width);
  e->size = mica_calloc((size_t)fields * 2 + 1, sizeof *e->size);
  if (!e->size) return MICA_ERR_MEMORY;
  e->offset = e->size + fields;
  e->fields = fields;
  e->width = width;
  for (int64_t f = 0; f < fields; f++) {
    if (size[f] < 1 || size[f] > ((int64_t)1 << 40) - e->rows)
      return mica_fail(MICA_ERR_INVALID, "field %lld has %lld values, expected 1 or more",
                       (long long)f, (long long)size[f]);
    e->size[f] = size[f];
    e->rows += size[f];
    e->offset[f + 1] = e->rows;
    if (size[f] > e->largest) e->largest = size[f];
  }
  return MICA_OK;
}

mica_status mica_embedding_place(mica_engine *engine, const char *spec, int64_t fields,
                                 const int64_t *size, int64_t width, mica_embedding_table **out) {
  mica_embedding_table *e = mica_calloc(1, sizeof *e);
  *out = NULL;
  if (!e) return MICA_ERR_MEMORY;
  e->engine = engine;
  mica_status status = take_sizes(e, fields, size, width);
  if (status == MICA_OK) status = mica_spec_parse(engine, MICA_KIND_EMBEDDING, spec, &e->spec);
  if (status != MICA_OK) {
    table_free(e);
    return status;
  }
  e->method = mica_spec_component(e->spec)->functions;
  e->options = mica_spec_options(e->spec);
  const struct {
    uint32_t size;
    double bytes;
  } *common = e->options;
  e->rate = common->bytes;
  e->budget = (int64_t)floor(e->rate * 4 * (double)e->rows * (double)width);
  *out = e;
  return MICA_OK;
}

mica_status mica_embedding_init(mica_node *node, const char *spec, int64_t fields,
                                const int64_t *size, int64_t width) {
  mica_embedding_table *e;
  if (!node) return MICA_ERR_MEMORY;
  if (node->attached) return mica_fail(MICA_ERR_STATE, "'%s' has a table already", node->path);
  mica_status status = mica_embedding_place(mica_params_engine(mica_node_params(node)), spec,
                                            fields, size, width, &e);
  if (status != MICA_OK) return status;
  e->node = node;
  status = e->method->init ? e->method->init(e)
                           : mica_fail(MICA_ERR_UNSUPPORTED,
                                       "%s compresses finished matrices, it is no table to train",
                                       mica_spec_component(e->spec)->name);
  if (status != MICA_OK) {
    table_free(e);
    return status;
  }
  node->attached = e;
  node->attached_free = table_free;
  return MICA_OK;
}

/* ---- parameters ---- */

mica_init mica_embedding_values(const mica_embedding_table *e) {
  const double bound = 1 / sqrt((double)e->largest);
  return (mica_init){MICA_INIT_UNIFORM, -bound, bound, 0, false};
}

mica_status mica_embedding_weight(mica_embedding_table *e, const char *name, mica_shape shape,
                                  const mica_init *init) {
  const mica_init usual = mica_embedding_values(e);
  return mica_param_add(e->node, name, MICA_F32, shape,
                        MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_EMBEDDING,
                        init ? init : &usual, NULL);
}

mica_node *mica_embedding_field(const mica_embedding_table *e, int64_t field) {
  char name[64];
  return mica_node_find(e->node, mica_node_index(name, sizeof name, "fields", field));
}

mica_status mica_embedding_buffer(mica_embedding_table *e, const char *name, mica_dtype dtype,
                                  mica_shape shape, mica_param **out) {
  return mica_param_add(e->node, name, dtype, shape, MICA_PARAM_BUFFER, NULL, out);
}

float *mica_embedding_floats(const mica_node *node, const char *name) {
  return mica_tensor_data(mica_param_value(mica_node_param(node, name)));
}

int64_t *mica_embedding_integers(const mica_node *node, const char *name) {
  return mica_tensor_data(mica_param_value(mica_node_param(node, name)));
}

mica_status mica_embedding_too_small(const mica_embedding_table *e, int64_t least) {
  return mica_fail(MICA_ERR_INVALID,
                   "table %s of %lld ids: bytes=%g cannot be had, %.3g is the least here",
                   mica_spec_component(e->spec)->name, (long long)e->rows, e->rate,
                   (double)least / (4 * (double)e->rows * (double)e->width));
}

mica_status mica_embedding_decided_init(mica_embedding_table *e) {
  return mica_embedding_buffer(e, "decided", MICA_I64, MICA_SHAPE(1), NULL);
}

bool mica_embedding_decided(const mica_embedding_table *e) {
  return *mica_embedding_integers(e->node, "decided") != 0;
}

/* ---- numbers for ids ---- */

typedef struct ids_job {
  const mica_embedding_table *e;
  mica_row_fn fn; /* NULL: check ids within their field, and give rows of the whole table */
  int64_t fields, first;
} ids_job;

/* ids [.., fields] within their field to rows of the whole table. */
static void rows_forward(mica_call *c) {
  const ids_job *j = c->ctx;
  const mica_view *ids = &c->in[0];
  const int64_t n = mica_view_count(ids);
  const mica_view *y = mica_call_output(c, MICA_I64, MICA_SHAPE(n));
  if (!y) return;
  const int64_t *id = ids->data, *offset = j->e->offset;
  int64_t *to = y->data;
  for (int64_t i = 0; i < n; i++) {
    const int64_t f = j->first + i % j->fields;
    if (id[i] < 0 || id[i] >= j->e->size[f]) {
      mica_call_fail(c, MICA_ERR_INVALID,
                     "id %lld in field %lld of example %lld, expected 0 or more and below %lld:",
                     (long long)id[i], (long long)f, (long long)(i / j->fields),
                     (long long)j->e->size[f]);
      return;
    }
    to[i] = offset[f] + id[i];
  }
}

static void map_forward(mica_call *c) {
  const ids_job *j = c->ctx;
  const int64_t n = mica_view_count(&c->in[0]), *row = c->in[0].data;
  const mica_view *y = mica_call_output(c, MICA_I64, MICA_SHAPE(n));
  if (!y) return;
  for (int64_t i = 0; i < n; i++) {
    const int64_t f = j->first + i % j->fields;
    ((int64_t *)y->data)[i] = j->fn(j->e, f, row[i] - j->e->offset[f]);
  }
}

static const mica_custom_op rows_op = {
    {sizeof(mica_op), "table_rows", MICA_OP_BY_EXAMPLE, NULL}, rows_forward, 0};
static const mica_custom_op map_op = {
    {sizeof(mica_op), "table_ids", MICA_OP_BY_EXAMPLE, NULL}, map_forward, 0};

mica_var mica_embedding_map(mica_tape *t, const mica_embedding_table *e,
                            const mica_embedding_batch *b, mica_row_fn fn) {
  const ids_job j = {e, fn, b->fields, b->first};
  mica_var y = MICA_NONE;
  mica_custom(t, &map_op, &j, sizeof j, 1, &b->rows, 1, &y);
  return y;
}

static int64_t own_id(const mica_embedding_table *e, int64_t field, int64_t id) {
  (void)e, (void)field;
  return id;
}

mica_var mica_embedding_by_field(mica_tape *t, const mica_embedding_table *e,
                                 const mica_embedding_batch *b, mica_field_fn fn) {
  mica_var y[MICA_EMBEDDING_OWN_FIELDS];
  const int64_t n = b->n / b->fields;
  const mica_var ids =
      mica_reshape(t, mica_embedding_map(t, e, b, own_id), MICA_SHAPE(n, b->fields));
  for (int64_t f = 0; f < b->fields && mica_ok(t); f++) {
    const mica_var own = mica_reshape(t, mica_slice(t, ids, 1, f, f + 1), MICA_SHAPE(n));
    y[f] = fn(t, e, b->first + f, own);
  }
  if (!mica_ok(t)) return MICA_NONE;
  return mica_reshape(t, mica_stack(t, (int)b->fields, y, 1), MICA_SHAPE(b->n, e->width));
}

mica_var mica_embedding_plain(mica_tape *t, const mica_embedding_table *e,
                              const mica_embedding_batch *b) {
  return mica_embedding(t, mica_weight(t, e->node, "weight"), b->rows);
}

/* ---- lookups ---- */

/* Rows of a packed table; no gradient. */
static void packed_forward(mica_call *c) {
  const mica_packed_embedding *p = *(mica_packed_embedding *const *)c->ctx;
  const int64_t n = mica_view_count(&c->in[0]);
  const mica_view *y = mica_call_output(c, MICA_F32, MICA_SHAPE(n, p->width));
  if (y && mica_packed_embedding_rows(p, c->engine, n, c->in[0].data, y->data) != MICA_OK)
    mica_call_fail(c, mica_last_status(), "%s", mica_last_error());
}

static const mica_custom_op packed_op = {
    {sizeof(mica_op), "packed_rows", MICA_OP_BY_EXAMPLE, NULL}, packed_forward, 0};

/* Vectors [n, width] of ids [..], element i of field first + i mod fields. */
static mica_var vectors(mica_tape *t, const mica_embedding_table *e, mica_var ids, int64_t fields,
                        int64_t first) {
  const ids_job j = {e, NULL, fields, first};
  mica_embedding_batch b = {MICA_NONE, 0, fields, first};
  mica_custom(t, &rows_op, &j, sizeof j, 1, &ids, 1, &b.rows);
  b.n = mica_dim(t, b.rows, 0);
  if (!mica_ok(t)) return MICA_NONE;
  if (!e->packed || mica_is_training(t)) return e->method->lookup(t, e, &b);
  mica_var y = MICA_NONE;
  mica_custom(t, &packed_op, &e->packed, sizeof e->packed, 1, &b.rows, 1, &y);
  return y;
}

static bool ids_fit(mica_tape *t, mica_node *node, mica_var ids, int rank, int64_t fields) {
  const mica_embedding_table *e = mica_embedding_at(node);
  const mica_view v = mica_read(t, ids);
  if (!mica_ok(t)) return false;
  char text[96];
  if (!e)
    mica_latch(t, MICA_ERR_STATE, "'%s' has no table", node ? mica_node_path(node) : "(no node)");
  else if (v.dtype != MICA_I64 || v.shape.rank != rank ||
           (fields && v.shape.dim[rank - 1] != fields))
    mica_latch(t, MICA_ERR_SHAPE, "table: expected int64 ids [N%s%.0lld]: %s %s", fields ? "," : "",
               (long long)fields, mica_dtype_name(v.dtype),
               mica_shape_text(&v.shape, text, sizeof text));
  return mica_ok(t);
}

mica_var mica_embedding_lookup(mica_tape *t, mica_node *node, mica_var ids) {
  const mica_embedding_table *e = mica_embedding_at(node);
  if (!ids_fit(t, node, ids, 2, e ? e->fields : 0)) return MICA_NONE;
  const int64_t n = mica_dim(t, ids, 0);
  mica_nn_enter(t, node);
  const mica_var y = vectors(t, e, ids, e->fields, 0);
  return mica_scope_end(t, mica_reshape(t, y, MICA_SHAPE(n, e->fields, e->width)));
}

mica_var mica_embedding_lookup_lists(mica_tape *t, mica_node *node, int64_t field, mica_var ids,
                                     mica_var offsets, mica_bag mode) {
  const mica_embedding_table *e = mica_embedding_at(node);
  if (!ids_fit(t, node, ids, 1, 0)) return MICA_NONE;
  if (field < 0 || field >= e->fields)
    return mica_latch(t, MICA_ERR_INVALID, "field %lld of a table of %lld", (long long)field,
                      (long long)e->fields);
  mica_nn_enter(t, node);
  const mica_var y = vectors(t, e, ids, 1, field);
  return mica_scope_end(t, mode == MICA_BAG_MAX    ? mica_segment_max(t, y, offsets)
                           : mode == MICA_BAG_MEAN ? mica_segment_mean(t, y, offsets)
                                                   : mica_segment_sum(t, y, offsets));
}

/* ---- deciding ---- */

mica_status mica_embedding_set_counts(mica_embedding_table *e, const int64_t *count) {
  for (int64_t i = 0; i < e->rows; i++)
    if (count[i] < 0)
      return mica_fail(MICA_ERR_INVALID, "row %lld occurs %lld times", (long long)i,
                       (long long)count[i]);
  return e->method->counts ? e->method->counts(e, count) : MICA_OK;
}

mica_status mica_embedding_decide(mica_embedding_table *e) {
  if (!e->method->decide || mica_embedding_decided(e)) return MICA_OK;
  const mica_status status = e->method->decide(e);
  if (status == MICA_OK) *(int64_t *)mica_param_write(mica_node_param(e->node, "decided")) = 1;
  return status;
}

const char *mica_embedding_search_selection(const mica_embedding_table *e, char *buf, size_t n) {
  if (!e->method->search) return NULL;
  const char *path = mica_node_path(e->node);
  snprintf(buf, n, "%s%s%s", path, *path ? "." : "", e->method->search);
  return buf;
}

mica_status mica_embedding_search_step(mica_embedding_table *e, bool *done) {
  *done = e->method->search_step != NULL;
  return *done ? e->method->search_step(e) : MICA_OK;
}

mica_status mica_embedding_evolve(mica_embedding_table *e, mica_key key,
                                  mica_embedding_score_fn score, void *ctx) {
  if (!e->method->evolve)
    return mica_fail(MICA_ERR_UNSUPPORTED, "table %s has no widths to evolve",
                     mica_spec_component(e->spec)->name);
  return e->method->evolve(e, key, score, ctx);
}

/* ---- what there is ---- */

static int64_t training_bytes(const mica_embedding_table *e) {
  const mica_params *p = mica_node_params(e->node);
  const char *path = mica_node_path(e->node);
  const size_t n = strlen(path);
  int64_t bytes = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_param *q = mica_params_at(p, i);
    if (n && (strncmp(mica_param_path(q), path, n) != 0 || mica_param_path(q)[n] != '.')) continue;
    const mica_tensor *v = mica_param_value(q);
    bytes += mica_tensor_count(v) * (int64_t)mica_dtype_size(mica_tensor_dtype(v));
  }
  return bytes;
}

void mica_embedding_describe(const mica_embedding_table *e, mica_embedding_facts *out) {
  *out = (mica_embedding_facts){
      e->fields,           e->width,          e->rows, 4 * e->rows * e->width,
      e->method->bytes(e), training_bytes(e), 0,       e->method->phases};
  out->rate = (double)out->bytes / (double)out->full_bytes;
}

mica_status mica_embedding_export(const mica_embedding_table *e, mica_packed_embedding **out) {
  mica_packed_embedding *p;
  *out = NULL;
  mica_status status = mica_packed_create(e->fields, e->size, e->width, &p);
  if (status != MICA_OK) return status;
  status = e->method->pack(e, p);
  if (status == MICA_OK) status = p->form->check(p);
  if (status != MICA_OK) {
    mica_packed_embedding_free(p);
    return status;
  }
  *out = p;
  return MICA_OK;
}

mica_status mica_embedding_use(mica_embedding_table *e, const mica_packed_embedding *packed) {
  if (packed && (packed->fields != e->fields || packed->width != e->width ||
                 memcmp(packed->size, e->size, (size_t)e->fields * sizeof *e->size) != 0))
    return mica_fail(MICA_ERR_SHAPE, "the packed table has other fields or another width");
  e->packed = packed;
  return MICA_OK;
}
