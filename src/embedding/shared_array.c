/* ROBE (Desai et al. 2022, "Random Offset Block Embedding Array"): one array of numbers for the
 * whole table. A vector is `pieces` windows of it, where hashes say, with signs from hashes. */
#include "embedding/table.h"

#include <math.h>
#include <string.h>

enum { NUMBERS = 9 };

typedef struct windows {
  int64_t width, pieces, slots;
  int64_t number[NUMBERS];
} windows;

/* Where element i of the vector of id x at place s lies, and its sign; r0 < 2^31, so that sums and
 * products of what is below r0 stay in 64 bits. */
static int64_t place(const windows *o, int64_t x, int64_t s, int64_t i, int64_t length,
                     bool *negative) {
  const int64_t *r = o->number, p = r[0], w = o->width / o->pieces;
  const int64_t at =
      (x % p * r[3] % p + r[1] + i % w + r[2] * (i / w) % p + r[4] * (s % p) % p) % p;
  if (negative)
    *negative = (x % p * r[7] % p + r[5] + r[6] * (i % p) % p + r[8] * (s % p) % p) % p % 2 == 0;
  return at % length;
}

/* The same for all elements of a vector: what depends on the element alone is in `step` (index,
 * then sign), what does not is worked out once. Places with a minus as -1 - place. */
static void places(const windows *o, const int64_t *step, int64_t x, int64_t s, int64_t length,
                   int64_t *at) {
  const int64_t *r = o->number, p = r[0], d = o->width;
  const int64_t first = (x % p * r[3] % p + r[1] + r[4] * (s % p) % p) % p;
  const int64_t sign = (x % p * r[7] % p + r[5] + r[8] * (s % p) % p) % p;
  for (int64_t i = 0; i < d; i++) {
    int64_t index = first + step[i], chance = sign + step[d + i];
    index -= index >= p ? p : 0;
    chance -= chance >= p ? p : 0;
    const int64_t to = index % length;
    at[i] = chance % 2 ? to : -1 - to;
  }
}

static void steps_of(const windows *o, int64_t *step) {
  const int64_t *r = o->number, p = r[0], w = o->width / o->pieces;
  for (int64_t i = 0; i < o->width; i++) {
    step[i] = (i % w + r[2] * (i / w) % p) % p;
    step[o->width + i] = r[6] * (i % p) % p;
  }
}

void mica_array_places(int64_t n, int64_t slots, const int64_t *ids, int64_t width, int64_t pieces,
                       const int64_t *numbers, int64_t length, int64_t *index, int64_t *sign) {
  windows o = {width, pieces, slots, {0}};
  memcpy(o.number, numbers, sizeof o.number);
  for (int64_t k = 0; k < n * slots; k++)
    for (int64_t i = 0; i < width; i++) {
      bool negative;
      const int64_t at = place(&o, ids[k], k % slots, i, length, &negative);
      if (index) index[k * width + i] = at;
      if (sign) sign[k * width + i] = negative ? -1 : 1;
    }
}

/* ---- the operation ---- */

static void forward(mica_call *c) {
  const windows *o = c->ctx;
  const mica_view *array = &c->in[0], *ids = &c->in[1];
  const int64_t n = mica_view_count(ids), *id = ids->data, d = o->width;
  if (array->shape.rank != 1 || !mica_dtype_is_float(array->dtype) || !array->shape.dim[0] ||
      ids->dtype != MICA_I64 || ids->shape.rank < 1 || ids->shape.rank >= MICA_MAX_RANK) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected an array [L] and int64 ids [..,slots]:");
    return;
  }
  const int64_t length = array->shape.dim[0];
  const int64_t slots = o->slots ? o->slots : ids->shape.dim[ids->shape.rank - 1];
  mica_shape shape = ids->shape;
  shape.dim[shape.rank++] = d;
  const mica_view *y = mica_call_output(c, array->dtype, shape);
  /* The place of each element; those with a minus as -1 - place. */
  int64_t *at = y ? mica_call_saved(c, (size_t)(n * d) * sizeof *at) : NULL;
  if (!at) return;
  int64_t *step = mica_call_scratch(c, (size_t)(2 * d) * sizeof *step);
  if (!step) return;
  steps_of(o, step);
  for (int64_t k = 0; k < n; k++) {
    if (id[k] < 0) {
      mica_call_fail(c, MICA_ERR_INVALID, "id %lld is negative:", (long long)id[k]);
      return;
    }
    places(o, step, id[k], k % slots, length, at + k * d);
  }
  if (y->dtype == MICA_F32) {
    const float *x = array->data;
    for (int64_t i = 0; i < n * d; i++)
      ((float *)y->data)[i] = at[i] < 0 ? -x[-1 - at[i]] : x[at[i]];
  } else {
    const double *x = array->data;
    for (int64_t i = 0; i < n * d; i++)
      ((double *)y->data)[i] = at[i] < 0 ? -x[-1 - at[i]] : x[at[i]];
  }
  mica_call_mixes(c, 0);
}

/* The array is small and all of it is used in a batch: its gradient is dense. */
static void backward(mica_call *c) {
  mica_view *g = mica_call_grad(c, 0);
  if (!g) return;
  const int64_t n = mica_view_count(&c->grad_out[0]), *at = c->saved[0];
  memset(g->data, 0, (size_t)mica_view_count(g) * mica_dtype_size(g->dtype));
  if (g->dtype == MICA_F32) {
    const float *gy = c->grad_out[0].data;
    float *to = g->data;
    for (int64_t i = 0; i < n; i++)
      if (at[i] < 0)
        to[-1 - at[i]] -= gy[i];
      else
        to[at[i]] += gy[i];
  } else {
    const double *gy = c->grad_out[0].data;
    double *to = g->data;
    for (int64_t i = 0; i < n; i++)
      if (at[i] < 0)
        to[-1 - at[i]] -= gy[i];
      else
        to[at[i]] += gy[i];
  }
}

static const mica_custom_op array_op = {
    {sizeof(mica_op), "array_embedding", MICA_OP_BY_EXAMPLE, backward}, forward, 0};

static bool numbers_fit(const windows *o) {
  bool fit = o->width >= 1 && o->pieces >= 1 && o->width % o->pieces == 0 && o->number[0] > 0 &&
             o->number[0] <= INT32_MAX;
  for (int i = 1; i < NUMBERS; i++) fit = fit && o->number[i] >= 0 && o->number[i] < o->number[0];
  return fit;
}

static mica_var look_up(mica_tape *t, mica_var array, mica_var ids, const windows *o) {
  mica_var y = MICA_NONE;
  if (!numbers_fit(o))
    return mica_latch(t, MICA_ERR_INVALID,
                      "array_embedding: width %lld in %lld pieces, or numbers outside of the first",
                      (long long)o->width, (long long)o->pieces);
  mica_custom(t, &array_op, o, sizeof *o, 2, (mica_var[]){array, ids}, 1, &y);
  return y;
}

mica_var mica_array_embedding(mica_tape *t, mica_var array, mica_var ids, int64_t width,
                              int64_t pieces, const int64_t *numbers) {
  windows o = {width, pieces, 0, {0}};
  memcpy(o.number, numbers, sizeof o.number);
  return look_up(t, array, ids, &o);
}

/* ---- the table ---- */

typedef struct robe_options {
  uint32_t size;
  double bytes;
  int64_t pieces, seed;
} robe_options;

static mica_status robe_init(mica_embedding_table *e) {
  const robe_options *o = e->options;
  const int64_t length = e->budget / 4;
  if (e->width % o->pieces)
    return mica_fail(MICA_ERR_INVALID, "table robe: %lld pieces of a vector of %lld numbers",
                     (long long)o->pieces, (long long)e->width);
  if (length < e->width) return mica_embedding_too_small(e, 4 * e->width);
  windows *plan = e->plan = mica_calloc(1, sizeof *plan);
  if (!plan) return MICA_ERR_MEMORY;
  *plan = (windows){e->width, o->pieces, 0, {2038074743}};
  const mica_key key = mica_key_fold_name(mica_key_seed((uint64_t)o->seed), "windows");
  for (int i = 1; i < NUMBERS; i++)
    plan->number[i] =
        1 + (int64_t)mica_random_below(key, (uint64_t)i, (uint64_t)plan->number[0] - 1);
  return mica_embedding_weight(e, "weight", MICA_SHAPE(length), NULL);
}

static int64_t own_id(const mica_embedding_table *e, int64_t field, int64_t id) {
  (void)e, (void)field;
  return id;
}

/* A field is a place; of lists of one field all ids are at that field's. */
static mica_var robe_lookup(mica_tape *t, const mica_embedding_table *e,
                            const mica_embedding_batch *b) {
  windows o = *(const windows *)e->plan;
  o.slots = b->fields;
  /* Place s adds r4 s: begin at the first field's. */
  o.number[1] = (o.number[1] + o.number[4] * b->first % o.number[0]) % o.number[0];
  o.number[5] = (o.number[5] + o.number[8] * b->first % o.number[0]) % o.number[0];
  return look_up(t, mica_weight(t, e->node, "weight"), mica_embedding_map(t, e, b, own_id), &o);
}

static int64_t robe_bytes(const mica_embedding_table *e) {
  return 4 * mica_tensor_count(mica_param_value(mica_node_param(e->node, "weight")));
}

/* ---- the packed form: weight. Settings: pieces, then the numbers ---- */

static mica_status robe_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  const windows *plan = e->plan;
  p->form = &mica_packed_windows;
  p->setting[0] = plan->pieces;
  memcpy(p->setting + 1, plan->number, sizeof plan->number);
  return mica_packed_copy(p, 0, mica_node_param(e->node, "weight"));
}

static windows windows_of(const mica_packed_embedding *p) {
  windows o = {p->width, p->setting[0], 0, {0}};
  memcpy(o.number, p->setting + 1, sizeof o.number);
  return o;
}

static mica_status check(mica_packed_embedding *p) {
  const windows o = windows_of(p);
  return mica_packed_count(p, 0) && numbers_fit(&o)
             ? MICA_OK
             : mica_packed_wrong(p, "the hashes' numbers do not fit");
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const windows o = windows_of(p);
  const float *array = mica_packed_data(p, 0);
  for (int64_t i = 0; i < p->width; i++) {
    bool negative;
    const float x = array[place(&o, id, field, i, mica_packed_count(p, 0), &negative)];
    out[i] = negative ? -x : x;
  }
}

const mica_packed_form mica_packed_windows = {"windows", {"weight"}, {MICA_F32}, check, row};

static const mica_option options[] = {
    MICA_EMBEDDING_BYTES(robe_options, "0.1"),
    {"pieces", MICA_OPTION_INT, "1", 1, 65536, NULL, "windows of a vector",
     offsetof(robe_options, pieces)},
    {"seed", MICA_OPTION_INT, "0", 0, 1 << 30, NULL, "of the hashes", offsetof(robe_options, seed)},
    {0}};
static const mica_embedding_method robe_method = {
    .init = robe_init, .lookup = robe_lookup, .bytes = robe_bytes, .pack = robe_pack};
MICA_EMBEDDING_COMPONENT(robe, "robe", "signed windows of one shared array (ROBE)", options,
                         robe_options);
