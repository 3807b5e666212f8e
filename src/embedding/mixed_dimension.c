/* Mixed dimensions (Ginart et al. 2021): the more ids a field has, the narrower its rows, which a
 * projection widens. */
#include "embedding/table.h"

#include <math.h>
#include <string.h>

typedef struct mixed_options {
  uint32_t size;
  double bytes;
  bool power, fill;
} mixed_options;

static double wanted(int64_t width, int64_t least, int64_t n, double alpha) {
  return (double)width * pow((double)least / (double)n, alpha);
}

void mica_mixed_dimensions(int64_t fields, const int64_t *size, int64_t width, double alpha,
                           bool round_power, int64_t *out) {
  int64_t least = INT64_MAX;
  for (int64_t f = 0; f < fields; f++)
    if (size[f] < least) least = size[f];
  for (int64_t f = 0; f < fields; f++) {
    double d = rint(wanted(width, least, size[f], alpha));
    if (d < 1) d = 1;
    if (round_power) d = exp2(rint(log2(d)));
    out[f] = d > (double)width ? width : (int64_t)d;
  }
}

/* plan: the width of each field, then room for trying. */
static int64_t field_bytes(const mica_embedding_table *e, int64_t f, int64_t w) {
  return 4 * (e->size[f] * w + (w < e->width ? w * e->width : 0));
}

/* Fields that a projection saves nothing for are as wide as the vector. */
static int64_t useful(const mica_embedding_table *e, int64_t f, int64_t w) {
  return field_bytes(e, f, w) < field_bytes(e, f, e->width) ? w : e->width;
}

static int64_t widths_bytes(const mica_embedding_table *e, const int64_t *w) {
  int64_t sum = 8 * e->fields;
  for (int64_t f = 0; f < e->fields; f++) sum += field_bytes(e, f, w[f]);
  return sum;
}

/* The widths of an alpha. */
static void widths_of(const mica_embedding_table *e, double alpha, int64_t *w) {
  const mixed_options *o = e->options;
  mica_mixed_dimensions(e->fields, e->size, e->width, alpha, o->power, w);
  for (int64_t f = 0; f < e->fields; f++) w[f] = useful(e, f, w[f]);
}

/* Bytes fall with alpha, so the share is 1 - alpha. */
static int64_t alpha_bytes(const void *ctx, double share) {
  const mica_embedding_table *e = ctx;
  int64_t *w = (int64_t *)e->plan + e->fields;
  widths_of(e, 1 - share, w);
  return widths_bytes(e, w);
}

/* What the steps of widths leave over: one more to the field that is farthest below its own. */
static void fill(const mica_embedding_table *e, double alpha, int64_t *w) {
  int64_t sum = widths_bytes(e, w), least = INT64_MAX;
  for (int64_t f = 0; f < e->fields; f++)
    if (e->size[f] < least) least = e->size[f];
  for (;;) {
    int64_t best = -1, cost = 0;
    double most = 0;
    for (int64_t f = 0; f < e->fields; f++) {
      if (w[f] >= e->width) continue;
      const int64_t more = field_bytes(e, f, useful(e, f, w[f] + 1)) - field_bytes(e, f, w[f]);
      const double lack = wanted(e->width, least, e->size[f], alpha) / (double)w[f];
      if (sum + more > e->budget || lack <= most) continue;
      most = lack;
      best = f;
      cost = more;
    }
    if (best < 0) return;
    w[best] = useful(e, best, w[best] + 1);
    sum += cost;
  }
}

static mica_status make_field(mica_embedding_table *e, int64_t f, int64_t w) {
  const uint32_t flags = MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_EMBEDDING;
  const mica_init usual = mica_embedding_values(e),
                  xavier = {MICA_INIT_XAVIER_UNIFORM, 0, 0, 1, false};
  mica_node *node = mica_node_childf(e->node, "fields.%lld", (long long)f);
  mica_status status = node ? mica_param_add(node, "weight", MICA_F32, MICA_SHAPE(e->size[f], w),
                                             flags, &usual, NULL)
                            : MICA_ERR_MEMORY;
  if (status == MICA_OK && w < e->width)
    status =
        mica_param_add(node, "projection", MICA_F32, MICA_SHAPE(w, e->width), flags, &xavier, NULL);
  return status;
}

static mica_status mixed_init(mica_embedding_table *e) {
  const mixed_options *o = e->options;
  if (e->fields > MICA_EMBEDDING_OWN_FIELDS)
    return mica_fail(MICA_ERR_UNSUPPORTED, "table mde: %lld fields, at most %d",
                     (long long)e->fields, MICA_EMBEDDING_OWN_FIELDS);
  int64_t *w = e->plan = mica_calloc((size_t)(2 * e->fields), sizeof *w);
  if (!w) return MICA_ERR_MEMORY;
  const double share = mica_embedding_share(e->budget, alpha_bytes, e);
  if (share < 0) return mica_embedding_too_small(e, alpha_bytes(e, 0));
  widths_of(e, 1 - share, w);
  if (o->fill) fill(e, 1 - share, w);
  mica_status status = MICA_OK;
  for (int64_t f = 0; f < e->fields && status == MICA_OK; f++) status = make_field(e, f, w[f]);
  return status;
}

static mica_var field_lookup(mica_tape *t, const mica_embedding_table *e, int64_t f, mica_var ids) {
  mica_node *node = mica_embedding_field(e, f);
  const mica_var x = mica_embedding(t, mica_weight(t, node, "weight"), ids);
  const mica_var m = mica_weight_optional(t, node, "projection");
  return mica_is_none(m) ? x : mica_matmul(t, x, m);
}

static mica_var mixed_lookup(mica_tape *t, const mica_embedding_table *e,
                             const mica_embedding_batch *b) {
  return mica_embedding_by_field(t, e, b, field_lookup);
}

static int64_t mixed_bytes(const mica_embedding_table *e) {
  return widths_bytes(e, e->plan);
}

static mica_status mixed_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  const int64_t *w = e->plan;
  int64_t rows = 0, projections = 0;
  p->form = &mica_packed_narrow;
  for (int64_t f = 0; f < e->fields; f++) {
    rows += e->size[f] * w[f];
    if (w[f] < e->width) projections += w[f] * e->width;
  }
  int64_t *widths = mica_packed_array(p, 0, e->fields);
  float *x = widths ? mica_packed_array(p, 1, rows) : NULL;
  float *m = x ? mica_packed_array(p, 2, projections) : NULL;
  if (!m) return MICA_ERR_MEMORY;
  memcpy(widths, w, (size_t)e->fields * sizeof *w);
  for (int64_t f = 0; f < e->fields; f++) {
    const mica_node *node = mica_embedding_field(e, f);
    memcpy(x, mica_embedding_floats(node, "weight"), (size_t)(e->size[f] * w[f]) * sizeof *x);
    x += e->size[f] * w[f];
    if (w[f] == e->width) continue;
    memcpy(m, mica_embedding_floats(node, "projection"), (size_t)(w[f] * e->width) * sizeof *m);
    m += w[f] * e->width;
  }
  return MICA_OK;
}

static const mica_option options[] = {MICA_EMBEDDING_BYTES(mixed_options, "0.25"),
                                      {"power", MICA_OPTION_BOOL, "true", 0, 0, NULL,
                                       "widths are powers of two", offsetof(mixed_options, power)},
                                      {"fill", MICA_OPTION_BOOL, "true", 0, 0, NULL,
                                       "then widen fields by what is left of the bytes",
                                       offsetof(mixed_options, fill)},
                                      {0}};
static const mica_embedding_method mde_method = {
    .init = mixed_init, .lookup = mixed_lookup, .bytes = mixed_bytes, .pack = mixed_pack};
MICA_EMBEDDING_COMPONENT(mde, "mde", "narrower rows for fields of many ids (mixed dimensions)",
                         options, mixed_options);
