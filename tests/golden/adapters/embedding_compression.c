/* embedding-compression: the operations and rules that compressed tables are made of. The tensors
 * that a file has say which it is. */
#include "adapter.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct trial {
  golden *g;
  mica_tape *t;
  mica_params *params;
} trial;

static void begin(trial *r, golden *g) {
  *r = (trial){.g = g};
  golden_need(g, mica_params_create(golden_engine(g), MICA_SEED_NONE, &r->params));
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &r->t));
  mica_set_training(r->t, true);
}

static const char *named(const char *prefix, const char *name) {
  static char text[80];
  snprintf(text, sizeof text, "%s%s", prefix, name);
  return text;
}

/* The parameter param.NAME of the file as a weight on the tape. */
static mica_var weight(trial *r, const char *name) {
  mica_tensor *value = golden_tensor(r->g, named("param.", name), MICA_F32);
  mica_param *q;
  golden_need(r->g, mica_param_add(mica_params_root(r->params), name, MICA_F32,
                                   *mica_tensor_shape(value), MICA_PARAM_TRAINABLE, NULL, &q));
  golden_need(r->g, mica_param_replace(q, value));
  return mica_param_var(r->t, q);
}

static mica_var given(trial *r, const char *name, mica_dtype dtype) {
  return mica_input(r->t, golden_tensor(r->g, named("in.", name), dtype));
}

/* y, and the gradients of sum(y cotangent) + extra. */
static void finish(trial *r, mica_var y, mica_var extra) {
  const mica_var cotangent = given(r, "cotangent", MICA_F32);
  golden_need_tape(r->g, r->t);
  if (golden_has(r->g, "out.y")) golden_check_var(r->g, "out.y", r->t, y);
  mica_var loss = mica_sum(r->t, mica_mul(r->t, y, cotangent), 0, NULL, false);
  if (!mica_is_none(extra)) loss = mica_add(r->t, loss, extra);
  golden_need(r->g, mica_backward(r->t, loss));
  for (int64_t i = 0; i < mica_params_count(r->params); i++) {
    mica_param *q = mica_params_at(r->params, i);
    golden_check(r->g, named("grad.", mica_param_path(q)), mica_param_grad(q));
  }
}

static void check_ints(trial *r, const char *name, mica_var v) {
  const mica_view x = mica_read(r->t, v);
  golden_need_tape(r->g, r->t);
  golden_check_integers(r->g, name, x.data, mica_view_count(&x));
}

/* ---- encodings ---- */

static void compositional(trial *r) {
  const bool multiply = strcmp(golden_text(r->g, "aggregator", "mul"), "mul") == 0;
  const mica_var q = weight(r, "quotient"), m = weight(r, "remainder");
  finish(r, mica_compositional_embedding(r->t, q, m, given(r, "ids", MICA_I64), multiply),
         MICA_NONE);
}

/* A table of one field with the buckets' number of rows. */
static void hash(trial *r) {
  golden *g = r->g;
  const int64_t m = golden_integer(g, "M", 0), d = golden_dim(g, "param.table", 1), size = 64 * m;
  mica_node *root = mica_params_root(r->params);
  char spec[64];
  mica_var ids = given(r, "ids", MICA_I64);
  snprintf(spec, sizeof spec, "hash:bytes=%.17g", (4 * (double)(m * d) + 17) / (4 * (double)(size * d)));
  golden_need(g, mica_embedding_init(root, spec, 1, &size, d));
  mica_param *q = mica_node_param(root, "weight");
  golden_need(g, mica_param_replace(q, golden_tensor(g, "param.table", MICA_F32)));
  const int64_t n = mica_dim(r->t, ids, 0);
  const mica_var y = mica_embedding_lookup(r->t, root, mica_reshape(r->t, ids, MICA_SHAPE(n, 1)));
  const mica_var rows = mica_reshape(r->t, y, MICA_SHAPE(n, d));
  golden_need_tape(g, r->t);
  golden_check_var(g, "out.y", r->t, rows);
  golden_need(g, mica_backward_from(r->t, rows, given(r, "cotangent", MICA_F32)));
  golden_check(g, "grad.table", mica_param_grad(q));
}

static void tensor_train(trial *r) {
  double dims[3], ranks[4];
  if (golden_list(r->g, "dims", dims, 3) != 3 || golden_list(r->g, "ranks", ranks, 4) != 4 ||
      ranks[1] != ranks[2])
    golden_fail(r->g, "expected three cores of one rank");
  const int64_t d[3] = {(int64_t)dims[0], (int64_t)dims[1], (int64_t)dims[2]};
  const mica_var core[3] = {weight(r, "core0"), weight(r, "core1"), weight(r, "core2")};
  finish(r,
         mica_tensor_train_embedding(r->t, core, given(r, "ids", MICA_I64), d, (int64_t)ranks[1]),
         MICA_NONE);
}

/* One block of the network, and the two encodings. */
static void deep_hash(trial *r) {
  golden *g = r->g;
  mica_tape *t = r->t;
  const int64_t buckets = golden_integer(g, "num_buckets", 1000000);
  const mica_var in[4] = {given(r, "ids", MICA_I64), given(r, "slopes", MICA_I64),
                          given(r, "biases", MICA_I64), given(r, "primes", MICA_I64)};
  const mica_var x = mica_hash_encoding(t, in[0], in[1], in[2], in[3], buckets, false, MICA_F32);
  const mica_var z = mica_hash_encoding(t, in[0], in[1], in[2], in[3], buckets, true, MICA_F32);
  golden_need_tape(g, t);
  golden_check_var(g, "out.encode_uniform", t, x);
  golden_check_var(g, "out.encode_normal", t, z);
  mica_var mean, var;
  mica_var h = mica_linear(t, x, weight(r, "w1"), weight(r, "b1"), MICA_IDENTITY);
  h = mica_batch_norm_train(t, h, weight(r, "gamma"), weight(r, "beta"), 1e-5, MICA_IDENTITY, &mean,
                            &var);
  finish(r,
         mica_linear(t, mica_mish(t, h), weight(r, "w2"), weight(r, "b2"), MICA_IDENTITY),
         MICA_NONE);
}

static void shared_array(trial *r) {
  golden *g = r->g;
  int64_t n, count;
  const int64_t d = golden_integer(g, "dim", 0), pieces = golden_integer(g, "Z", 1),
                length = golden_dim(g, "param.array", 0), slots = golden_dim(g, "in.ids", 1);
  const int64_t *ids = golden_integers(g, "in.ids", &n),
                *numbers = golden_integers(g, "in.random_numbers", &count);
  int64_t *index = mica_calloc((size_t)(2 * n * d), sizeof *index);
  mica_array_places(n / slots, slots, ids, d, pieces, numbers, length, index, index + n * d);
  golden_check_integers(g, "out.index", index, n * d);
  golden_check_integers(g, "out.sign", index + n * d, n * d);
  const mica_var array = weight(r, "array");
  finish(r,
         mica_array_embedding(r->t, array, given(r, "ids", MICA_I64), d, pieces, numbers),
         MICA_NONE);
}

static void mixed_dimension(trial *r) {
  const mica_var table = weight(r, "table"), m = weight(r, "projection");
  finish(r, mica_matmul(r->t, mica_embedding(r->t, table, given(r, "ids", MICA_I64)), m),
         MICA_NONE);
}

static void mixed_solver(trial *r) {
  golden *g = r->g;
  int64_t n, out[64];
  const int64_t *size = golden_integers(g, "in.num_embeddings", &n);
  for (int64_t i = 0; i < golden_count(g); i++) {
    double alpha;
    const char *name = golden_name(g, i);
    if (sscanf(name, "out.dims_alpha_%lf", &alpha) != 1 || n > 64) continue;
    mica_mixed_dimensions(n, size, golden_integer(g, "base_dim", 16), alpha, true, out);
    golden_check_integers(g, name, out, n);
  }
}

/* ---- codes ---- */

static void codewords(trial *r) {
  golden *g = r->g;
  mica_tape *t = r->t;
  const mica_var ids = given(r, "ids", MICA_I64), query = weight(r, "query");
  const mica_var q = mica_embedding(t, query, ids);
  mica_var codes, mean, var;
  if (golden_has(g, "param.key")) {
    const mica_var key = weight(r, "key"), values = weight(r, "value");
    const mica_var y = mica_softmax_codewords(t, q, key, values, MICA_NONE, &codes, &mean, &var);
    check_ints(r, "out.codes", codes);
    finish(r, y, MICA_NONE);
    return;
  }
  mica_var words = MICA_NONE;
  if (golden_has(g, "in.frequent")) {
    const int64_t low = golden_integer(g, "low", 0), all = golden_integer(g, "choices", 0);
    int64_t n;
    const int64_t *id = golden_integers(g, "in.ids", &n),
                  *frequent = golden_integers(g, "in.frequent", NULL);
    int64_t *most = mica_calloc((size_t)n, sizeof *most);
    for (int64_t i = 0; i < n; i++) most[i] = frequent[id[i]] ? all : low;
    const mica_view v = mica_view_of(most, MICA_I64, MICA_SHAPE(n));
    words = mica_borrow(t, &v);
  }
  const mica_var book = weight(r, "codebook");
  codes = mica_nearest_codewords(t, q, book, words);
  check_ints(r, "out.codes", codes);
  const mica_var c = mica_codeword_rows(t, book, codes);
  const mica_var penalty = mica_mse(t, c, mica_detach(t, q));
  golden_check_var(g, "out.reg", t, penalty);
  finish(r, mica_with_penalty(t, mica_straight_through(t, c, q), penalty), MICA_NONE);
}

static void integers(trial *r) {
  golden *g = r->g;
  mica_tape *t = r->t;
  mica_params *p = r->params;
  mica_param *q;
  mica_tensor *scale = golden_tensor(g, "in.scale", MICA_F32);
  golden_need(g, mica_param_add(mica_params_root(p), "scale", MICA_F32, *mica_tensor_shape(scale),
                                MICA_PARAM_TRAINABLE, NULL, &q));
  golden_need(g, mica_param_replace(q, scale));
  const double batch = (double)golden_integer(g, "batch", 1), dim = (double)golden_integer(g, "dim", 1);
  const double factor = 1 / sqrt(batch * dim * 127);
  mica_var codes;
  const mica_var w = given(r, "w", MICA_F32);
  const mica_var y = mica_quantise_rows(t, w, mica_param_var(t, q), 8, NULL, factor, &codes);
  check_ints(r, "out.codes", codes);
  golden_check_var(g, "out.dequant", t, y);
  golden_need(g, mica_backward_from(t, y, given(r, "upstream", MICA_F32)));
  golden_check(g, "grad.scale", mica_param_grad(q));
  /* What each element adds: a gradient of 1 for it alone, with a scale of its own. */
  const int64_t n = golden_dim(g, "in.w", 0), d = golden_dim(g, "in.w", 1);
  const float *value = mica_tensor_data(golden_tensor(g, "in.w", MICA_F32)),
              *scales = mica_tensor_data(scale);
  double *local = mica_calloc((size_t)(n * d), sizeof *local);
  for (int64_t i = 0; i < n * d; i++) {
    mica_tensor *x, *s;
    golden_need(g, mica_tensor_create(MICA_F32, MICA_SHAPE(1, 1), &x));
    golden_need(g, mica_tensor_create(MICA_F32, MICA_SHAPE(1), &s));
    *(float *)mica_tensor_data(x) = value[i];
    *(float *)mica_tensor_data(s) = scales[i / d];
    mica_tape_reset(t);
    const mica_var sv = mica_leaf(t, s);
    golden_need(g, mica_backward(t, mica_quantise_rows(t, mica_input(t, x), sv, 8, NULL, 1, NULL)));
    local[i] = mica_item(t, mica_gradient(t, sv));
  }
  golden_check_doubles(g, "out.scale_grad_local", local, n * d);
}

/* ---- what is dropped ---- */

static void soft_threshold(trial *r) {
  mica_tape *t = r->t;
  const mica_var ids = given(r, "ids", MICA_I64), table = weight(r, "table");
  mica_var s = weight(r, "threshold");
  const mica_var x = mica_embedding(t, table, ids);
  if (strncmp(golden_text(r->g, "threshold_type", ""), "feature", 7) == 0)
    s = mica_embedding(t, s, ids);
  finish(r, mica_soft_threshold(t, x, s), MICA_NONE);
}

static void supernet(trial *r) {
  golden *g = r->g;
  mica_tape *t = r->t;
  const mica_var x = mica_embedding(t, weight(r, "table"), given(r, "ids", MICA_I64));
  const mica_var threshold = weight(r, "threshold");
  const int64_t n = golden_dim(g, "in.ids", 0), fields = golden_dim(g, "in.ids", 1);
  const mica_var own = mica_expand(t, mica_reshape(t, threshold, MICA_SHAPE(1, fields, 1)),
                                   MICA_SHAPE(n, fields, 1));
  const mica_var gate = mica_row_gate(t, x, own);
  golden_check_var(g, "out.row_gate", t, gate);
  const mica_var y =
      mica_prefix(t, mica_mul(t, x, gate), given(r, "keep_last_index", MICA_I64));
  const mica_var low = mica_sum(t, mica_exp(t, mica_neg(t, threshold)), 0, NULL, false);
  finish(r, y, mica_affine(t, low, golden_number(g, "alpha", 0), 0));
}

static void importance(trial *r) {
  golden *g = r->g;
  mica_tape *t = r->t;
  int64_t n;
  const int64_t *ids = golden_integers(g, "in.ids", &n),
                *group = golden_integers(g, "in.group", NULL);
  int64_t *own = mica_calloc((size_t)n, sizeof *own);
  for (int64_t i = 0; i < n; i++) own[i] = group[ids[i]];
  const mica_view v = mica_view_of(own, MICA_I64, MICA_SHAPE(n));
  const mica_var x = mica_embedding(t, weight(r, "table"), given(r, "ids", MICA_I64));
  const mica_var alpha = weight(r, "alpha");
  const mica_var y = mica_mul(t, x, mica_embedding(t, alpha, mica_borrow(t, &v)));
  const mica_var l1 = mica_sum(t, mica_abs(t, alpha), 0, NULL, false);
  finish(r, y, mica_affine(t, l1, golden_number(g, "alpha_l1", 0), 0));
  mica_param *q = mica_params_find(r->params, "alpha");
  const mica_view gradient = mica_param_grad(q);
  mica_importance_step(gradient.shape.dim[0], gradient.shape.dim[1], gradient.data,
                       golden_number(g, "alpha_lr", 0), mica_param_write(q));
  golden_check(g, "out.alpha_after", mica_tensor_view(mica_param_value(q)));
}

static void pruning(trial *r) {
  golden *g = r->g;
  int64_t n;
  double rate[64], share = 0;
  const int64_t *iteration = golden_integers(g, "in.iteration", &n);
  for (int64_t i = 0; i < n && i < 64; i++)
    rate[i] = mica_pruning_rate(golden_number(g, "prune_rate", 0), iteration[i],
                                golden_integer(g, "batches_per_epoch", 0));
  golden_check_doubles(g, "out.rate", rate, n);
  for (int64_t i = 0; i < golden_count(g); i++) {
    if (sscanf(golden_name(g, i), "out.pruned_at_%lf", &share) != 1) continue;
    mica_tensor *w = golden_tensor(g, "in.w", MICA_F32);
    const int64_t all = mica_tensor_count(w);
    const int64_t zeros =
        mica_prune_magnitude(all, mica_tensor_data(w), all - (int64_t)(share * (double)all + 1e-9));
    golden_check(g, golden_name(g, i), mica_tensor_view(w));
    golden_check_integers(g, "out.zeros", &zeros, 1);
  }
}

static void run(golden *g) {
  static const struct {
    const char *tensor;
    void (*run)(trial *r);
  } kinds[] = {{"param.quotient", compositional}, {"param.core0", tensor_train},
               {"in.primes", deep_hash},          {"param.array", shared_array},
               {"param.projection", mixed_dimension}, {"in.num_embeddings", mixed_solver},
               {"param.query", codewords},        {"in.upstream", integers},
               {"out.row_gate", supernet},        {"param.threshold", soft_threshold},
               {"param.alpha", importance},       {"in.iteration", pruning},
               {"param.table", hash}};
  trial r;
  begin(&r, g);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (golden_has(g, kinds[i].tensor)) {
      kinds[i].run(&r);
      return;
    }
  golden_fail(g, "no table is made of these tensors");
}

const golden_adapter golden_adapter_embedding_compression = {"embedding-compression", 1e-5, run};
