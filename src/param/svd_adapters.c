/* Adapters on singular vectors of the frozen weight, W = U diag(s) V^T of each part:
 *
 *   svfit, svf   D = U diag(sigma - s) V^T, sigma trained (Sun et al. 2024; all of them: Sun et al.
 *                2022)
 *   svft         D = U M V^T, M with few elements off its diagonal trained (Lingam et al. 2024)
 *   lora-xs      D = U diag(s) M V^T, M of rank x rank trained (Balazy et al. 2024)
 *   pissa        D = B A - B0 A0, B = U diag(s^1/2) and A = diag(s^1/2) V^T trained (Meng et al.
 *                2024); of the last singular values it is milora (Wang et al. 2024)
 *
 * D is 0 at first, to the bit, and W stays as it is. Entries below the adapter's node: v [R, I] of
 * all parts, s [R], u0, u1, ... [rows of the part, its rank]; sigma [R], or core0, core1, ...
 * [rank, rank], or a and a0 [R, I], b0, b1, ... and c0, c1, ... (the first values of b). */
#include "param/basis.h"
#include "param/tree.h"

#include <mica/ops.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PARTS = MICA_LIST_MAX };
typedef enum svd_form { SIGMA, CORE, SCALED_CORE, FACTORS } svd_form;

static char *numbered(char name[16], const char *stem, int i) {
  snprintf(name, 16, "%s%d", stem, i);
  return name;
}

/* ---- parts ---- */

/* What modules that hold queries, keys and values are called. */
static bool is_packed(const char *name) {
  return strcmp(name, "qkv") == 0 || strcmp(name, "c_attn") == 0 || strcmp(name, "in_proj") == 0;
}

static mica_status find_parts(const mica_node *module, const mica_param *weight, int64_t rows,
                              int64_t columns, mica_basis_options *o) {
  if (!o->split.n) {
    const int64_t rest = rows - columns;
    const bool packed = is_packed(mica_node_name(module)) && rest > 0 && rest % 2 == 0;
    o->split = packed ? (mica_ints){3, {columns, rest / 2, rest / 2}} : (mica_ints){1, {rows}};
  }
  int64_t sum = 0;
  for (int i = 0; i < o->split.n; i++) sum += o->split.v[i];
  if (sum != rows)
    return mica_fail(MICA_ERR_INVALID, "split: %lld rows in all, '%s' has %lld", (long long)sum,
                     mica_param_path(weight), (long long)rows);
  if (o->rank.n > 1 && o->rank.n != o->split.n)
    return mica_fail(MICA_ERR_INVALID, "rank: %d numbers for the %d parts of '%s'", o->rank.n,
                     o->split.n, mica_param_path(weight));
  return MICA_OK;
}

/* ---- what of the basis ---- */

static int64_t rank_of(const mica_basis_options *o, int part) {
  return o->rank.n ? o->rank.v[o->rank.n > 1 ? part : 0] : 0;
}

/* Does a randomised range pay? It has a few columns more than are wanted, instead of all. */
static bool randomised(const mica_basis_options *o, int64_t k, int64_t least) {
  if (o->svd == 1 || o->values != 0 || !k) return false;
  return o->svd == 2 || (least >= 512 && 8 * (k + o->oversampling) <= least);
}

/* Which k of `all` values: the first, the last, or drawn, in descending order of the values. */
static void which(const mica_basis_options *o, int64_t all, int64_t k, mica_key key, int64_t *at) {
  for (int64_t i = 0; i < k; i++) at[i] = o->values == 1 ? all - k + i : i;
  if (o->values != 2) return;
  int64_t left = k, n = 0;
  for (int64_t i = 0; i < all && left; i++)
    if (mica_random_uniform(key, (uint64_t)i) * (double)(all - i) < (double)left) {
      at[n++] = i;
      left--;
    }
}

static mica_status choose(mica_basis *b, const mica_basis_options *o, int64_t k, mica_key key) {
  if (k >= b->k) return MICA_OK;
  int64_t *at = mica_calloc((size_t)k + 1, sizeof *at);
  if (!at) return MICA_ERR_MEMORY;
  which(o, b->k, k, key, at);
  const mica_status status = mica_basis_choose(b, at, k);
  mica_free(at);
  return status;
}

static mica_status find_basis(mica_engine *engine, const mica_view *w, const mica_basis_options *o,
                              int part, mica_key key, mica_basis *b) {
  const int64_t m = w->shape.dim[0], n = w->shape.dim[1], least = m < n ? m : n;
  int64_t k = rank_of(o, part);
  if (k > least) k = least; /* a rank that is meant for many layers */
  if (o->basis) return mica_basis_random(engine, m, n, k ? k : least, key, b);
  if (randomised(o, k, least))
    return mica_basis_randomised(engine, w, k, o->oversampling, o->power, key, b);
  const mica_status status = mica_basis_exact(engine, w, b);
  if (status != MICA_OK) return status;
  if (!k) k = o->energy > 0 ? mica_basis_rank(b, o->energy) : least;
  return choose(b, o, k, mica_key_fold(key, 3));
}

/* ---- entries ---- */

typedef struct attachment {
  mica_node *own;
  mica_param *weight;
  mica_basis_options *o;
  svd_form form;
  mica_dtype dtype;
  int64_t columns, ranks;
  mica_basis part[PARTS]; /* k 0 where values are to be loaded */
} attachment;

/* An entry, filled with `from` (NULL: zeros) where there is something to fill it with. */
static mica_status add(attachment *a, const char *name, mica_shape shape, uint32_t flags,
                       const double *from) {
  mica_param *q;
  const mica_status status =
      mica_param_add(a->own, name, a->dtype, shape, flags, &MICA_INIT_ZEROS, &q);
  if (status != MICA_OK || !from) return status;
  mica_tensor *value = mica_param_value(q);
  (void)mica_param_write(q);
  for (int64_t i = 0, n = mica_shape_count(&shape); i < n; i++) mica_tensor_set(value, i, from[i]);
  return MICA_OK;
}

/* U diag(s^p), or U, of one part. */
static mica_status add_left(attachment *a, const char *name, int part, uint32_t flags, double p) {
  const mica_basis *b = &a->part[part];
  const int64_t rows = a->o->split.v[part], k = rank_of(a->o, part);
  double *u = b->u ? mica_calloc((size_t)(rows * k), sizeof *u) : NULL;
  if (b->u && !u) return MICA_ERR_MEMORY;
  for (int64_t i = 0; u && i < rows * k; i++)
    u[i] = p > 0 ? b->u[i] * pow(b->s[i % k], p) : b->u[i];
  const mica_status status = add(a, name, MICA_SHAPE(rows, k), flags, u);
  mica_free(u);
  return status;
}

/* diag(s^p) V^T, or V^T, of all parts. */
static mica_status add_right(attachment *a, const char *name, uint32_t flags, double p) {
  const int64_t n = a->columns;
  const bool known = a->part[0].vt != NULL;
  double *v = known ? mica_calloc((size_t)(a->ranks * n), sizeof *v) : NULL;
  if (known && !v) return MICA_ERR_MEMORY;
  double *to = v;
  for (int part = 0; known && part < a->o->split.n; part++)
    for (int64_t j = 0; j < a->part[part].k; j++, to += n) {
      const double scale = p > 0 ? pow(a->part[part].s[j], p) : 1;
      for (int64_t i = 0; i < n; i++) to[i] = scale * a->part[part].vt[j * n + i];
    }
  const mica_status status = add(a, name, MICA_SHAPE(a->ranks, n), flags, v);
  mica_free(v);
  return status;
}

static mica_status add_values(attachment *a, const char *name, uint32_t flags) {
  const bool known = a->part[0].s != NULL;
  double *s = known ? mica_calloc((size_t)a->ranks, sizeof *s) : NULL;
  if (known && !s) return MICA_ERR_MEMORY;
  int64_t at = 0;
  for (int part = 0; known && part < a->o->split.n; part++) {
    memcpy(s + at, a->part[part].s, (size_t)a->part[part].k * sizeof *s);
    at += a->part[part].k;
  }
  const mica_status status = add(a, name, MICA_SHAPE(a->ranks), flags, s);
  mica_free(s);
  return status;
}

/* Which elements of svft's core are trained: its diagonal, and around it a band or as many drawn
 * from each row. */
static mica_status mask_core(const attachment *a, mica_param *core, int64_t k) {
  const int64_t band = a->o->band;
  const mica_key key = mica_key_fold_name(mica_key_seed(0), mica_param_path(core));
  uint8_t *mask = mica_calloc((size_t)(k * k), 1);
  if (!mask) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < k; i++) {
    mask[i * k + i] = 1;
    for (int64_t j = i > band ? i - band : 0; !a->o->pattern && j < k && j <= i + band; j++)
      mask[i * k + j] = 1;
    for (int64_t j = 0; a->o->pattern && j < 2 * band; j++)
      mask[i * k + (int64_t)(mica_random_bits(key, (uint64_t)(i * 2 * band + j)) % (uint64_t)k)] =
          1;
  }
  const mica_view view = mica_view_of(mask, MICA_U8, MICA_SHAPE(k, k));
  const mica_status status = mica_param_set_mask(core, &view);
  mica_free(mask);
  return status;
}

static mica_status add_entries(attachment *a) {
  const uint32_t frozen = MICA_PARAM_BUFFER, trained = MICA_PARAM_TRAINABLE;
  char name[16];
  mica_status status = MICA_OK;
  if (a->form == FACTORS) {
    status = add_right(a, "a", trained | MICA_PARAM_DECAY, 0.5);
    if (status == MICA_OK) status = add_right(a, "a0", frozen, 0.5);
  } else {
    status = add_right(a, "v", frozen, 0);
    if (status == MICA_OK && a->form != CORE) status = add_values(a, "s", frozen);
    if (status == MICA_OK && a->form == SIGMA) status = add_values(a, "sigma", trained);
  }
  for (int i = 0; i < a->o->split.n && status == MICA_OK; i++) {
    const int64_t k = rank_of(a->o, i);
    if (a->form == FACTORS) {
      status = add_left(a, numbered(name, "b", i), i, trained | MICA_PARAM_DECAY, 0.5);
      if (status == MICA_OK) status = add_left(a, numbered(name, "c", i), i, frozen, 0.5);
      continue;
    }
    status = add_left(a, numbered(name, "u", i), i, frozen, 0);
    if (status != MICA_OK || a->form == SIGMA) continue;
    status = add(a, numbered(name, "core", i), MICA_SHAPE(k, k), trained, NULL);
    if (status == MICA_OK && a->form == CORE)
      status = mask_core(a, mica_node_param(a->own, name), k);
  }
  return status;
}

/* The module whose weight it is. */
static const mica_node *module_of(const mica_param *weight) {
  char path[4096];
  mica_node *root = weight->tree->root;
  const int n = (int)(strlen(weight->path) - strlen(weight->name));
  snprintf(path, sizeof path, "%.*s", n ? n - 1 : 0, weight->path);
  return n ? mica_node_find(root, path) : root;
}

static mica_status attach(mica_node *own, mica_param *weight, mica_basis_options *o,
                          svd_form form) {
  const mica_view w = mica_tensor_view(mica_param_value(weight));
  const int64_t rows = w.shape.dim[0], columns = mica_view_count(&w) / rows;
  mica_engine *engine = mica_params_engine(mica_node_params(own));
  attachment a = {own, weight, o, form, w.dtype, columns, 0, {{0}}};
  mica_status status = find_parts(module_of(weight), weight, rows, columns, o);
  const bool known = o->rank.n == o->split.n && rank_of(o, 0) > 0;
  mica_ints ranks = {o->split.n, {0}};
  int64_t from = 0;
  if (status == MICA_OK && own->tree->seed == MICA_SEED_NONE) {
    if (!known)
      status = mica_fail(MICA_ERR_INVALID, "'%s': the adapter's ranks are not told",
                         mica_param_path(weight));
    for (int i = 0; i < o->split.n && status == MICA_OK; i++) {
      const int64_t least = o->split.v[i] < columns ? o->split.v[i] : columns;
      ranks.v[i] = rank_of(o, i);
      if (ranks.v[i] < 1 || ranks.v[i] > least)
        status = mica_fail(MICA_ERR_INVALID, "'%s': an adapter of rank %lld",
                           mica_param_path(weight), (long long)ranks.v[i]);
    }
  } else {
    for (int i = 0; i < o->split.n && status == MICA_OK; i++) {
      const mica_key key =
          mica_key_fold(mica_key_fold_name(mica_key_seed(0), mica_param_path(weight)), (uint64_t)i);
      const size_t size = mica_dtype_size(w.dtype);
      const mica_view part = mica_view_of((char *)w.data + (size_t)(from * columns) * size, w.dtype,
                                          MICA_SHAPE(o->split.v[i], columns));
      status = find_basis(engine, &part, o, i, key, &a.part[i]);
      if (status != MICA_OK) status = mica_fail_within("'%s'", mica_param_path(weight));
      ranks.v[i] = a.part[i].k;
      from += o->split.v[i];
    }
  }
  if (status == MICA_OK) {
    o->rank = ranks;
    o->energy = 0;
    for (int i = 0; i < ranks.n; i++) a.ranks += ranks.v[i];
    status = add_entries(&a);
  }
  for (int i = 0; i < o->split.n; i++) mica_basis_free(&a.part[i]);
  return status;
}

/* ---- forward ---- */

/* The part's slice along an axis that runs over the ranks of all parts. */
static mica_var slice(mica_tape *t, const mica_basis_options *o, mica_var x, int axis, int part) {
  int64_t at = 0;
  if (o->split.n == 1) return x;
  for (int i = 0; i < part; i++) at += rank_of(o, i);
  return mica_slice(t, x, axis, at, at + rank_of(o, part));
}

static mica_var entry(mica_tape *t, mica_node *own, const char *stem, int part) {
  char name[16];
  return mica_weight(t, own, numbered(name, stem, part));
}

static mica_var times(mica_tape *t, mica_var x, mica_var w) {
  return mica_linear(t, x, w, MICA_NONE, MICA_IDENTITY);
}

static mica_var join(mica_tape *t, const mica_basis_options *o, const mica_var *y, int axis) {
  if (!mica_ok(t)) return MICA_NONE;
  return o->split.n == 1 ? y[0] : mica_concat(t, o->split.n, y, axis);
}

static mica_var moved(mica_tape *t, mica_node *own) {
  return mica_sub(t, mica_weight(t, own, "sigma"), mica_weight(t, own, "s"));
}

/* x D^T, part by part behind what is common to them. */
static mica_var apply(mica_tape *t, mica_node *own, const mica_basis_options *o, svd_form form,
                      mica_var x) {
  mica_var y[PARTS];
  mica_var h = times(t, x, mica_weight(t, own, form == FACTORS ? "a" : "v"));
  const mica_var first = form == FACTORS ? times(t, x, mica_weight(t, own, "a0")) : MICA_NONE;
  if (form == SIGMA) h = mica_mul(t, h, moved(t, own));
  for (int i = 0; i < o->split.n && mica_ok(t); i++) {
    mica_var part = slice(t, o, h, -1, i);
    if (form == FACTORS) {
      y[i] = mica_sub(t, times(t, part, entry(t, own, "b", i)),
                      times(t, slice(t, o, first, -1, i), entry(t, own, "c", i)));
      continue;
    }
    if (form != SIGMA) part = times(t, part, entry(t, own, "core", i));
    if (form == SCALED_CORE) part = mica_mul(t, part, slice(t, o, mica_weight(t, own, "s"), 0, i));
    y[i] = times(t, part, entry(t, own, "u", i));
  }
  return join(t, o, y, -1);
}

/* [k] as a column, which multiplies the rows of a matrix. */
static mica_var column(mica_tape *t, mica_var v) {
  return mica_reshape(t, v, MICA_SHAPE(mica_ok(t) ? mica_dim(t, v, 0) : 0, 1));
}

/* D [O, I]. */
static mica_var compose(mica_tape *t, mica_node *own, const mica_basis_options *o, svd_form form) {
  mica_var y[PARTS];
  mica_var right = mica_weight(t, own, form == FACTORS ? "a" : "v");
  if (form == SIGMA) right = mica_mul(t, right, column(t, moved(t, own)));
  for (int i = 0; i < o->split.n && mica_ok(t); i++) {
    mica_var part = slice(t, o, right, 0, i);
    if (form == FACTORS) {
      y[i] = mica_sub(
          t, mica_matmul(t, entry(t, own, "b", i), part),
          mica_matmul(t, entry(t, own, "c", i), slice(t, o, mica_weight(t, own, "a0"), 0, i)));
      continue;
    }
    if (form != SIGMA) part = mica_matmul(t, entry(t, own, "core", i), part);
    if (form == SCALED_CORE)
      part = mica_mul(t, part, column(t, slice(t, o, mica_weight(t, own, "s"), 0, i)));
    y[i] = mica_matmul(t, entry(t, own, "u", i), part);
  }
  return join(t, o, y, 0);
}

/* ---- the components ---- */

#define FORM(name, form)                                                                           \
  static mica_status name##_attach(mica_node *own, mica_param *weight, void *options) {            \
    return attach(own, weight, options, form);                                                     \
  }                                                                                                \
  static mica_var name##_delta(mica_tape *t, mica_node *own, const void *options) {                \
    return compose(t, own, options, form);                                                         \
  }                                                                                                \
  static mica_var name##_linear(mica_tape *t, mica_node *own, const void *options, mica_var x) {   \
    return apply(t, own, options, form, x);                                                        \
  }                                                                                                \
  static const mica_adapter_functions name##_functions = {                                         \
      .attach = name##_attach, .delta = name##_delta, .linear = name##_linear};
FORM(sigma, SIGMA)
FORM(core, CORE)
FORM(scaled, SCALED_CORE)
FORM(factors, FACTORS)

#define AT(field) offsetof(mica_basis_options, field)
#define ROWS(rank_default, energy_default, values_default)                                          \
  {"rank",                                                                                          \
   MICA_OPTION_INTS,                                                                                \
   rank_default,                                                                                    \
   0,                                                                                               \
   65536,                                                                                           \
   NULL,                                                                                            \
   "how many singular values; one for all parts, or one for each; 0: as energy says, or all",       \
   AT(rank)},                                                                                       \
      {"energy",                                                                                    \
       MICA_OPTION_FLOAT,                                                                           \
       energy_default,                                                                              \
       0,                                                                                           \
       1,                                                                                           \
       NULL,                                                                                        \
       "the fewest that hold this share of the sum of squares; 0: by rank",                         \
       AT(energy)},                                                                                 \
      {"values", MICA_OPTION_CHOICE,  values_default,  0,                                           \
       0,        "top|bottom|random", "which of them", AT(values)},                                 \
      {"basis",                                                                                     \
       MICA_OPTION_CHOICE,                                                                          \
       "svd",                                                                                       \
       0,                                                                                           \
       0,                                                                                           \
       "svd|random",                                                                                \
       "singular vectors, or random orthogonal ones",                                               \
       AT(basis)},                                                                                  \
      {"svd",                                                                                       \
       MICA_OPTION_CHOICE,                                                                          \
       "auto",                                                                                      \
       0,                                                                                           \
       0,                                                                                           \
       "auto|exact|randomised",                                                                     \
       "how they are worked out; randomised: of the top ones",                                      \
       AT(svd)},                                                                                    \
      {"oversampling",  MICA_OPTION_INT, "10", 0, 1024, NULL, "randomised: columns more than rank", \
       AT(oversampling)},                                                                           \
      {"power",  MICA_OPTION_INT, "3", 0, 64, NULL, "randomised: steps of subspace iteration",      \
       AT(power)},                                                                                  \
  {                                                                                                 \
    "split", MICA_OPTION_INTS, NULL, 1, 1 << 30, NULL,                                              \
        "rows of each projection in a packed weight; by the module's name when not given",          \
        AT(split)                                                                                   \
  }
#define TABLE(name, rank, energy, values)                                                          \
  static const mica_option name##_options[] = {ROWS(rank, energy, values), {0}};
TABLE(svfit, "0", "0.99", "top")
TABLE(svf, "0", "0", "top")
TABLE(lora_xs, "16", "0", "top")
TABLE(pissa, "8", "0", "top")
TABLE(milora, "8", "0", "bottom")
static const mica_option svft_options[] = {
    ROWS("0", "0", "top"),
    {"pattern", MICA_OPTION_CHOICE, "banded", 0, 0, "banded|random",
     "which elements off the diagonal", AT(pattern)},
    {"band", MICA_OPTION_INT, "1", 0, 65536, NULL,
     "so many on either side of it, or as many drawn from the row", AT(band)},
    {0}};

#define COMPONENT(symbol, name, summary, functions)                                                \
  const mica_component mica_component_adapter_##symbol = {                                         \
      MICA_COMPONENT_HEAD, MICA_KIND_ADAPTER,          name, summary, "svfit",                     \
      symbol##_options,    sizeof(mica_basis_options), 0,    0,       &functions};
COMPONENT(svfit, "svfit", "the leading singular values of a frozen weight", sigma_functions)
COMPONENT(svf, "svf", "all singular values of a frozen weight", sigma_functions)
COMPONENT(svft, "svft", "singular values, and few elements between singular vectors",
          core_functions)
COMPONENT(lora_xs, "lora-xs", "a small matrix between leading singular vectors", scaled_functions)
COMPONENT(pissa, "pissa", "the leading factors of a weight, trained in the place of its own",
          factors_functions)
COMPONENT(milora, "milora", "the same of its last singular values", factors_functions)

/* ---- selections as adapters ---- */

typedef struct plain_options {
  uint32_t size;
} plain_options;
static const mica_option bitfit_options[] = {{0}};
#define full_options bitfit_options

static mica_status choose_entries(mica_param *weight, bool all) {
  const mica_node *module = module_of(weight);
  mica_param *bias = mica_node_param(module, "bias");
  if (bias) mica_param_set_flags(bias, MICA_PARAM_TRAINABLE, 0);
  if (all) mica_param_set_flags(weight, MICA_PARAM_TRAINABLE, 0);
  return MICA_OK;
}
static mica_status bitfit_attach(mica_node *own, mica_param *weight, void *options) {
  (void)own, (void)options;
  return choose_entries(weight, false);
}
static mica_status full_attach(mica_node *own, mica_param *weight, void *options) {
  (void)own, (void)options;
  return choose_entries(weight, true);
}
static const mica_adapter_functions bitfit_functions = {.attach = bitfit_attach},
                                    full_functions = {.attach = full_attach};
const mica_component mica_component_adapter_bitfit = {MICA_COMPONENT_HEAD,
                                                      MICA_KIND_ADAPTER,
                                                      "bitfit",
                                                      "the biases of frozen layers",
                                                      "svfit",
                                                      bitfit_options,
                                                      sizeof(plain_options),
                                                      0,
                                                      0,
                                                      &bitfit_functions};
const mica_component mica_component_adapter_full = {MICA_COMPONENT_HEAD,
                                                    MICA_KIND_ADAPTER,
                                                    "full",
                                                    "weights and biases themselves",
                                                    "svfit",
                                                    full_options,
                                                    sizeof(plain_options),
                                                    0,
                                                    0,
                                                    &full_functions};
