/* Adapters: they begin as nothing, merged is unmerged, several stand side by side, packed
 * projections are taken apart, bases are what they should be, and what is refused.
 */
#include "support/failing_alloc.h"
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;
static const mica_init normal = {MICA_INIT_NORMAL, 0, 0.3, 0, false};

#define CLASSES 3
static const mica_problem pictures = MICA_PROBLEM_IMAGES(8, 8, 1, CLASSES);

static mica_net *make_net(const char *spec) {
  mica_net *net;
  if (mica_net_create(engine, spec, &pictures, 1, &net) != MICA_OK)
    fail_msg("%s: %s", spec, mica_last_error());
  return net;
}

static void answers(const mica_net *net, float out[4 * CLASSES]) {
  mica_tape *t;
  mica_outputs o;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_no_grad_begin(t);
  const mica_var x = mica_full(t, MICA_F32, MICA_SHAPE(4, 8, 8, 1), 0);
  const mica_view v = mica_read(t, x);
  for (int i = 0; i < 4 * 64; i++)
    ((float *)v.data)[i] = (float)mica_random_normal(mica_key_seed(9), (uint64_t)i);
  mica_net_forward(t, net, x, &o);
  const mica_view y = mica_read(t, o.logits);
  if (!y.data) fail_msg("%s", mica_tape_error(t));
  memcpy(out, y.data, 4 * CLASSES * sizeof(float));
  mica_tape_free(t);
}

static double gap(const float *a, const float *b) {
  double most = 0;
  for (int i = 0; i < 4 * CLASSES; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
  return most;
}

/* Other values in all that an adapter trains. */
static void move(mica_params *p, const char *name) {
  char part[80];
  snprintf(part, sizeof part, ".adapter.%s.", name);
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    mica_param *q = mica_params_at(p, i);
    if (!strstr(mica_param_path(q), part) || mica_param_flags(q) & MICA_PARAM_BUFFER) continue;
    mica_tensor *value = mica_param_value(q);
    (void)mica_param_write(q);
    for (int64_t k = 0; k < mica_tensor_count(value); k++)
      mica_tensor_set(value, k,
                      mica_tensor_get(value, k) +
                          0.1 * mica_random_normal(mica_key_seed((uint64_t)i), (uint64_t)k));
  }
}

static const char *const specs[] = {"lora:rank=2:alpha=4",
                                    "svfit:rank=3",
                                    "svfit:energy=0.9",
                                    "svfit:rank=2:values=bottom",
                                    "svfit:rank=2:values=random",
                                    "svfit:rank=3:basis=random",
                                    "svf",
                                    "svft:rank=4:band=1",
                                    "svft:rank=4:band=1:pattern=random",
                                    "lora-xs:rank=3",
                                    "lora-xs:rank=2:svd=randomised",
                                    "pissa:rank=2",
                                    "milora:rank=2",
                                    "ssf"};
#define SPECS  (sizeof specs / sizeof *specs)
#define DELTAS (SPECS - 1) /* those that are a matrix beside the weight */
static const char *const nets[] = {"mlp:hidden=16,12", "convnet:widths=4,6",
                                   "resnet:depth=8:width=4", "vit:patch=4:dim=8:depth=1:heads=2"};

/* At first the network is what it was; moved it is another one, and merging does not change that,
 * nor taking out again, nor leaving the adapter off. */
static void test_merged_is_unmerged(void **state) {
  (void)state;
  for (size_t n = 0; n < 4; n++)
    for (size_t s = 0; s < SPECS; s++) {
      float before[12], attached[12], moved[12], merged[12], out[12], off[12], folded[12];
      mica_net *net = make_net(nets[n]);
      mica_params *p = mica_net_params(net);
      const int64_t entries = mica_params_count(p);
      int64_t count;
      answers(net, before);
      if (mica_adapt(p, NULL, specs[s], &count) != MICA_OK)
        fail_msg("%s on %s: %s", specs[s], nets[n], mica_last_error());
      assert_true(count >= 2);
      answers(net, attached);
      if (gap(before, attached) > 1e-5)
        fail_msg("%s on %s begins %g away", specs[s], nets[n], gap(before, attached));
      move(p, "default");
      answers(net, moved);
      assert_true(gap(before, moved) > 1e-4);
      assert_int_equal(mica_adapter_merge(p, "default", true), MICA_OK);
      answers(net, merged);
      if (gap(moved, merged) > 1e-5)
        fail_msg("%s on %s: merged is %g away", specs[s], nets[n], gap(moved, merged));
      assert_int_equal(mica_adapter_use(p, "default", false), MICA_ERR_STATE);
      assert_int_equal(mica_adapter_merge(p, "default", false), MICA_OK);
      answers(net, out);
      assert_true(gap(moved, out) < 1e-5);
      assert_int_equal(mica_adapter_use(p, "default", false), MICA_OK);
      answers(net, off);
      assert_true(gap(before, off) < 1e-5);
      assert_int_equal(mica_adapter_use(p, "default", true), MICA_OK);
      assert_int_equal(mica_adapters_merge(p), MICA_OK);
      answers(net, folded);
      assert_true(gap(moved, folded) < 1e-5);
      assert_int_equal(mica_params_count(p), entries);
      assert_int_equal(mica_adapters(p), 0);
      mica_net_free(net);
    }
}

/* The delta is the matrix that the linear form multiplies by, and its gradient that of the form. */
static void test_linear_form(void **state) {
  (void)state;
  for (size_t s = 0; s < DELTAS; s++) {
    mica_params *p;
    mica_tape *t;
    double sum[2] = {0, 0}, norm[2];
    assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
    mica_node *node = mica_node_child(mica_params_root(p), "qkv");
    assert_int_equal(mica_param_add(node, "weight", MICA_F64, MICA_SHAPE(15, 5), MICA_PARAM_LINEAR,
                                    &normal, NULL),
                     MICA_OK);
    assert_int_equal(mica_adapt(p, "qkv", specs[s], NULL), MICA_OK);
    move(p, "default");
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    for (int form = 0; form < 2; form++) {
      mica_tape_reset(t);
      mica_params_zero_grad(p);
      const mica_var x = mica_random_normal_like(t, MICA_SHAPE(7, 5), MICA_F64, 0, 1);
      const mica_view xv = mica_read(t, x);
      for (int i = 0; i < 35; i++)
        ((double *)xv.data)[i] = mica_random_normal(mica_key_seed(4), (uint64_t)i);
      const mica_var y =
          form ? mica_linear(t, x, mica_adapted_weight(t, node, "weight"), MICA_NONE, MICA_IDENTITY)
               : mica_adapted_linear(t, node, x);
      const mica_var z = mica_sum(t, mica_square(t, y), 0, NULL, false);
      sum[form] = mica_item(t, z);
      assert_int_equal(mica_backward(t, z), MICA_OK);
      norm[form] = mica_params_grad_norm(p);
    }
    assert_true(fabs(sum[0] - sum[1]) < 1e-9 * sum[0]);
    assert_true(norm[0] > 1e-3 && fabs(norm[0] - norm[1]) < 1e-9 * norm[0]);
    mica_tape_free(t);
    mica_params_free(p);
  }
}

/* ---- adapters on outputs ---- */

/* y and the sum of its squares by float64, through a linear layer or a convolution of single
 * pixels.
 */
static double through(mica_params *p, mica_node *node, bool kernel, double y[7 * 3]) {
  mica_tape *t;
  double x[7 * 5];
  const mica_conv_options conv = MICA_CONV_OPTIONS;
  mica_params_zero_grad(p);
  for (int i = 0; i < 35; i++) x[i] = mica_random_normal(mica_key_seed(4), (uint64_t)i);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  const mica_var in = mica_full(t, MICA_F64, kernel ? MICA_SHAPE(1, 7, 1, 5) : MICA_SHAPE(7, 5), 0);
  memcpy(mica_read(t, in).data, x, sizeof x);
  const mica_var out = kernel ? mica_nn_conv2d(t, node, &conv, in) : mica_nn_linear(t, node, in);
  const mica_var z = mica_sum(t, mica_square(t, out), 0, NULL, false);
  const double sum = mica_item(t, z);
  const mica_view made = mica_read(t, out);
  if (!made.data) fail_msg("%s", mica_tape_error(t));
  memcpy(y, made.data, 21 * sizeof *y);
  if (mica_adapters(p)) assert_int_equal(mica_backward(t, z), MICA_OK);
  mica_tape_free(t);
  return sum;
}

static double relu_or_gelu(bool relu, double v) {
  return relu ? fmax(v, 0) : 0.5 * v * (1 + erf(v / sqrt(2)));
}

/* What they compute, by hand; gradients by differences; a convolution as a linear layer. */
static void test_outputs_by_hand(void **state) {
  (void)state;
  static const char *const forms[] = {"ssf", "bottleneck:rank=2:scale=0.5",
                                      "bottleneck:rank=2:act=relu", "psrp:rank=2"};
  for (int form = 0; form < 4; form++)
    for (int kernel = 0; kernel < 2; kernel++) {
      mica_params *p;
      double plain[21], y[21], other[21], at[18];
      mica_param *own[4], *bias;
      assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
      mica_node *node = mica_node_child(mica_params_root(p), "layer");
      assert_int_equal(mica_param_add(node, "weight", MICA_F64,
                                      kernel ? MICA_SHAPE(3, 1, 1, 5) : MICA_SHAPE(3, 5),
                                      MICA_PARAM_LINEAR, &normal, NULL),
                       MICA_OK);
      assert_int_equal(mica_param_add(node, "bias", MICA_F64, MICA_SHAPE(3), 0, &normal, &bias),
                       MICA_OK);
      (void)through(p, node, kernel, plain);
      assert_int_equal(mica_adapt(p, "layer", forms[form], NULL), MICA_OK);
      (void)through(p, node, kernel, y);
      for (int i = 0; i < 21; i++) assert_true(y[i] == plain[i]);
      move(p, "default");
      const double sum = through(p, node, kernel, y);
      static const char *const names[4][4] = {{"scale", "shift", NULL, NULL},
                                              {"down", "down_bias", "up", "up_bias"},
                                              {"down", "down_bias", "up", "up_bias"},
                                              {"down", "up_weight", "up_bias", NULL}};
      int n = 0, n_entries = 0;
      for (int k = 0; k < 4 && names[form][k]; k++, n_entries++) {
        char path[64];
        snprintf(path, sizeof path, "layer.adapter.default.%s", names[form][k]);
        own[k] = mica_params_find(p, path);
        assert_non_null(own[k]);
        for (int64_t i = 0; i < mica_tensor_count(mica_param_value(own[k])); i++)
          at[n++] = mica_tensor_get(mica_param_value(own[k]), i);
      }
      for (int r = 0; r < 7; r++)
        for (int c = 0; c < 3; c++) {
          double want = plain[r * 3 + c];
          if (form == 3) {
            double w = 1, shift = 0;
            for (int h = 0; h < 2; h++) {
              double u = 0;
              for (int j = 0; j < 3; j++) u += at[h * 3 + j] * plain[r * 3 + j];
              w += at[6 + c * 2 + h] * fmax(u, 0);
              shift += at[12 + c * 2 + h] * fmax(u, 0);
            }
            want = w * want + shift;
          } else if (form == 0) {
            want = at[c] * want + at[3 + c];
          } else {
            double more = at[14 + c];
            for (int h = 0; h < 2; h++) {
              double u = at[6 + h];
              for (int j = 0; j < 3; j++) u += at[h * 3 + j] * plain[r * 3 + j];
              more += at[8 + c * 2 + h] * relu_or_gelu(form == 2, u);
            }
            want += (form == 1 ? 0.5 : 1) * more;
          }
          assert_true(fabs(y[r * 3 + c] - want) < 1e-12);
        }
      /* Each element's gradient. */
      double gradient[4][6];
      for (int k = 0; k < n_entries; k++) {
        const mica_view g = mica_param_grad(own[k]);
        memcpy(gradient[k], g.data,
               (size_t)mica_tensor_count(mica_param_value(own[k])) * sizeof(double));
      }
      for (int k = 0; k < n_entries; k++)
        for (int64_t i = 0; i < mica_tensor_count(mica_param_value(own[k])); i++) {
          const double h = 1e-6;
          double *v = mica_param_write(own[k]);
          const double was = v[i];
          v[i] = was + h;
          const double above = through(p, node, kernel, other);
          v = mica_param_write(own[k]);
          v[i] = was - h;
          const double below = through(p, node, kernel, other);
          v = mica_param_write(own[k]);
          v[i] = was;
          const double wanted = (above - below) / (2 * h);
          if (fabs(gradient[k][i] - wanted) > 1e-6 * (1 + fabs(wanted)))
            fail_msg("%s %s %lld: %g, by differences %g", forms[form], names[form][k], (long long)i,
                     gradient[k][i], wanted);
        }
      assert_true(through(p, node, kernel, y) == sum);
      mica_params_free(p);
    }
}

/* A bottleneck stays beside the layer; neither shares a module; only layers have outputs. */
static void test_what_outputs_refuse(void **state) {
  (void)state;
  float before[12], attached[12], moved[12], off[12];
  for (size_t n = 0; n < 4; n++) {
    mica_net *net = make_net(nets[n]);
    mica_params *p = mica_net_params(net);
    answers(net, before);
    assert_int_equal(mica_adapt(p, NULL, "bottleneck:rank=2", NULL), MICA_OK);
    answers(net, attached);
    assert_true(gap(before, attached) < 1e-6);
    move(p, "default");
    answers(net, moved);
    assert_true(gap(before, moved) > 1e-4);
    assert_int_equal(mica_adapter_merge(p, "default", true), MICA_ERR_UNSUPPORTED);
    assert_non_null(strstr(mica_last_error(), "cannot be merged"));
    assert_int_equal(mica_adapters_merge(p), MICA_ERR_UNSUPPORTED);
    assert_int_equal(mica_adapt_as(p, "more", NULL, "lora:rank=1", NULL), MICA_ERR_STATE);
    assert_int_equal(mica_adapter_use(p, "default", false), MICA_OK);
    answers(net, off);
    assert_true(gap(before, off) < 1e-6);
    assert_int_equal(mica_adapter_remove(p, "default"), MICA_OK);
    assert_int_equal(mica_adapt(p, NULL, "lora:rank=1", NULL), MICA_OK);
    assert_int_equal(mica_adapt_as(p, "more", NULL, "ssf", NULL), MICA_ERR_STATE);
    assert_non_null(strstr(mica_last_error(), "beside which it cannot stand"));
    mica_net_free(net);
  }
  mica_params *p;
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  mica_node *root = mica_params_root(p);
  assert_int_equal(mica_nn_embedding_init(mica_node_child(root, "table"), 9, 4), MICA_OK);
  assert_int_equal(
      mica_nn_conv_transpose2d_init(mica_node_child(root, "up"), 3, 5, 2, 2, 1, true, NULL),
      MICA_OK);
  assert_int_equal(mica_nn_linear_init(mica_node_child(root, "thin"), 3, 5, false), MICA_OK);
  for (int k = 0; k < 3; k++) {
    const char *spec = k > 1 ? "psrp" : k ? "bottleneck" : "ssf";
    assert_int_equal(mica_adapt(p, "table", spec, NULL), MICA_ERR_UNSUPPORTED);
    assert_int_equal(mica_adapt(p, "up", spec, NULL), MICA_ERR_UNSUPPORTED);
  }
  /* Without a bias there is a scale alone, and what was scaled by 0 cannot be taken out again. */
  assert_int_equal(mica_adapt(p, "thin", "ssf", NULL), MICA_OK);
  assert_null(mica_params_find(p, "thin.adapter.default.shift"));
  mica_param *scale = mica_params_find(p, "thin.adapter.default.scale");
  ((float *)mica_param_write(scale))[2] = 0;
  assert_int_equal(mica_adapter_merge(p, "default", true), MICA_OK);
  assert_int_equal(mica_adapter_merge(p, "default", false), MICA_ERR_NUMERIC);
  mica_params_free(p);
}

/* A packed weight is decomposed by projection: each part's values are those of its own rows. */
static void test_packed_projections(void **state) {
  (void)state;
  mica_params *p, *q;
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  assert_int_equal(mica_params_create(engine, 3, &q), MICA_OK);
  mica_node *node = mica_node_child(mica_params_root(p), "attn.qkv");
  mica_param *w;
  assert_int_equal(mica_param_add(node, "weight", MICA_F32, MICA_SHAPE(12, 4), 0, &normal, &w),
                   MICA_OK);
  assert_int_equal(mica_adapt(p, "attn.qkv", "svf", NULL), MICA_OK);
  const mica_param *s = mica_params_find(p, "attn.qkv.adapter.default.s");
  assert_int_equal(mica_tensor_count(mica_param_value(s)), 12);
  for (int part = 0; part < 3; part++) {
    char name[8];
    snprintf(name, sizeof name, "p%d", part);
    mica_node *own = mica_node_child(mica_params_root(q), name);
    mica_param *rows;
    assert_int_equal(mica_param_add(own, "weight", MICA_F32, MICA_SHAPE(4, 4), 0, NULL, &rows),
                     MICA_OK);
    memcpy(mica_param_write(rows), (float *)mica_tensor_data(mica_param_value(w)) + part * 16,
           16 * sizeof(float));
    assert_int_equal(mica_adapt(q, name, "svf", NULL), MICA_OK);
    snprintf(name, sizeof name, "p%d", part);
    char path[40];
    snprintf(path, sizeof path, "%s.adapter.default.s", name);
    const mica_tensor *one = mica_param_value(mica_params_find(q, path));
    for (int i = 0; i < 4; i++)
      assert_true(fabs(mica_tensor_get(one, i) -
                       mica_tensor_get(mica_param_value(s), part * 4 + i)) < 1e-6);
  }
  mica_adapter_facts facts;
  assert_true(mica_adapter_at(p, 0, &facts));
  assert_string_equal(facts.spec, "svf:rank=4,4,4:split=4,4,4");
  assert_int_equal(facts.trained, 12);
  /* Grouped queries: more rows of queries than of keys. */
  mica_node *grouped = mica_node_child(mica_params_root(p), "c_attn");
  assert_int_equal(mica_param_add(grouped, "weight", MICA_F32, MICA_SHAPE(8, 4), 0, &normal, NULL),
                   MICA_OK);
  assert_int_equal(mica_adapt_as(p, "other", "c_attn", "svfit:rank=2", NULL), MICA_OK);
  assert_true(mica_adapter_at(p, 1, &facts));
  assert_string_equal(facts.spec, "svfit:rank=2,2,2:energy=0:split=4,2,2");
  assert_int_equal(mica_adapt_as(p, "third", "c_attn", "svfit:split=3,4", NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "7 rows in all"));
  assert_int_equal(mica_adapt_as(p, "third", "c_attn", "svfit:rank=1,2", NULL), MICA_ERR_INVALID);
  mica_params_free(q);
  mica_params_free(p);
}

/* A matrix of known values: the randomised basis finds its leading ones, and energy the rank. */
static void test_bases(void **state) {
  (void)state;
  enum { M = 60, K = 40 };
  mica_params *p;
  mica_param *w;
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  mica_node *node = mica_node_child(mica_params_root(p), "x");
  assert_int_equal(mica_param_add(node, "weight", MICA_F64, MICA_SHAPE(M, K), 0, NULL, &w),
                   MICA_OK);
  /* Columns and rows of two reflections, values 2^-i. */
  double *value = mica_param_write(w), a[M], b[K], na = 0, nb = 0;
  for (int i = 0; i < M; i++) a[i] = mica_random_normal(mica_key_seed(1), (uint64_t)i);
  for (int i = 0; i < K; i++) b[i] = mica_random_normal(mica_key_seed(2), (uint64_t)i);
  for (int i = 0; i < M; i++) na += a[i] * a[i];
  for (int i = 0; i < K; i++) nb += b[i] * b[i];
  for (int i = 0; i < M; i++)
    for (int j = 0; j < K; j++)
      for (int k = 0; k < K; k++)
        value[i * K + j] +=
            ((i == k) - 2 * a[i] * a[k] / na) * exp2(-k) * ((j == k) - 2 * b[j] * b[k] / nb);
  assert_int_equal(mica_adapt_as(p, "exact", "x", "svfit:energy=0.99", NULL), MICA_OK);
  assert_int_equal(mica_adapt_as(p, "rand", "x", "svfit:rank=5:svd=randomised", NULL), MICA_OK);
  assert_int_equal(mica_adapt_as(p, "last", "x", "svfit:rank=5:values=bottom", NULL), MICA_OK);
  const mica_tensor *s = mica_param_value(mica_params_find(p, "x.adapter.exact.s"));
  /* 1 + 1/4 + 1/16 + 1/64 is 0.996 of 4/3. */
  assert_int_equal(mica_tensor_count(s), 4);
  const mica_tensor *r = mica_param_value(mica_params_find(p, "x.adapter.rand.s"));
  for (int i = 0; i < 5; i++) assert_true(fabs(mica_tensor_get(r, i) - exp2(-i)) < 1e-10);
  const mica_tensor *l = mica_param_value(mica_params_find(p, "x.adapter.last.s"));
  for (int i = 0; i < 5; i++) assert_true(fabs(mica_tensor_get(l, i) - exp2(-(K - 5 + i))) < 1e-12);
  /* The vectors are orthonormal on both sides. */
  const mica_tensor *u = mica_param_value(mica_params_find(p, "x.adapter.rand.u0")),
                    *v = mica_param_value(mica_params_find(p, "x.adapter.rand.v"));
  for (int i = 0; i < 5; i++)
    for (int j = 0; j < 5; j++) {
      double left = 0, right = 0;
      for (int k = 0; k < M; k++)
        left += mica_tensor_get(u, k * 5 + i) * mica_tensor_get(u, k * 5 + j);
      for (int k = 0; k < K; k++)
        right += mica_tensor_get(v, i * K + k) * mica_tensor_get(v, j * K + k);
      assert_true(fabs(left - (i == j)) < 1e-9 && fabs(right - (i == j)) < 1e-9);
    }
  mica_params_free(p);
}

/* Several names on one network: each alone, both together, one merged beside the other. */
static void test_several_names(void **state) {
  (void)state;
  float plain[12], first[12], second[12], both[12], now[12];
  mica_net *net = make_net("vit:patch=4:dim=8:depth=1:heads=2");
  mica_params *p = mica_net_params(net);
  answers(net, plain);
  assert_int_equal(mica_adapt_as(p, "one", "blocks.*", "svfit:rank=2", NULL), MICA_OK);
  assert_int_equal(mica_adapt_as(p, "two", "*.qkv", "lora:rank=1", NULL), MICA_OK);
  assert_int_equal(mica_adapters(p), 2);
  move(p, "one");
  move(p, "two");
  answers(net, both);
  assert_int_equal(mica_adapter_use(p, "two", false), MICA_OK);
  answers(net, first);
  assert_int_equal(mica_adapter_use(p, "two", true), MICA_OK);
  assert_int_equal(mica_adapter_use(p, "one", false), MICA_OK);
  answers(net, second);
  assert_true(gap(plain, first) > 1e-4 && gap(plain, second) > 1e-4 && gap(first, second) > 1e-4);
  assert_int_equal(mica_adapter_use(p, "one", true), MICA_OK);
  assert_int_equal(mica_adapter_merge(p, "one", true), MICA_OK);
  answers(net, now);
  assert_true(gap(both, now) < 1e-5);
  mica_adapter_facts facts;
  assert_true(mica_adapter_at(p, 0, &facts));
  assert_true(facts.merged && facts.on && facts.modules == 4 && strcmp(facts.name, "one") == 0);
  assert_true(mica_adapter_at(p, 1, &facts));
  assert_true(!facts.merged && facts.modules == 1 && facts.trained == 8 + 24 &&
              facts.stored == 8 + 24);
  assert_false(mica_adapter_at(p, 2, &facts));
  assert_int_equal(mica_adapter_remove(p, "two"), MICA_OK);
  assert_int_equal(mica_adapter_merge(p, "one", false), MICA_OK);
  answers(net, now);
  assert_true(gap(first, now) < 1e-5);
  assert_int_equal(mica_adapter_remove(p, "two"), MICA_ERR_NOT_FOUND);
  /* A name may be taken again. */
  assert_int_equal(mica_adapter_remove(p, "one"), MICA_OK);
  assert_int_equal(mica_adapt_as(p, "one", "blocks.*", "pissa:rank=1", NULL), MICA_OK);
  mica_net_free(net);
}

/* What is trained: the adapter alone; biases; everything. */
static void test_what_is_trained(void **state) {
  (void)state;
  mica_net *net = make_net("mlp:hidden=16,12");
  mica_params *p = mica_net_params(net);
  assert_int_equal(mica_params_freeze(p, "all"), MICA_OK);
  assert_int_equal(mica_adapt(p, NULL, "bitfit", NULL), MICA_OK);
  assert_int_equal(mica_params_trained(p), 28);
  assert_int_equal(mica_adapters(p), 0);
  assert_int_equal(mica_adapt(p, "layers.1", "full", NULL), MICA_OK);
  assert_int_equal(mica_params_trained(p), 28 + 16 * 12);
  assert_int_equal(mica_params_freeze(p, "all"), MICA_OK);
  assert_int_equal(mica_adapt(p, NULL, "svft:band=1", NULL), MICA_OK);
  assert_int_equal(mica_params_trained(p), 3 * 16 - 2 + 3 * 12 - 2);
  int64_t count, elements;
  assert_int_equal(mica_params_select(p, "adapter", &count, &elements), MICA_OK);
  assert_int_equal(elements, 16 * 16 + 12 * 12);
  mica_net_free(net);
}

/* Embeddings and kernels of other layouts. */
static void test_tables_and_kernels(void **state) {
  (void)state;
  mica_params *p;
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  mica_node *root = mica_params_root(p), *table = mica_node_child(root, "table"),
            *up = mica_node_child(root, "up");
  assert_int_equal(mica_nn_embedding_init(table, 9, 4), MICA_OK);
  assert_int_equal(mica_nn_conv_transpose2d_init(up, 3, 5, 2, 2, 1, true, NULL), MICA_OK);
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  float y[2][20 + 125 * 4];
  int64_t id[5] = {1, 8, 0, 1, 3};
  const mica_view ids = mica_view_of(id, MICA_I64, MICA_SHAPE(5));
  mica_conv_options o = MICA_CONV_OPTIONS;
  for (int merged = 0; merged < 2; merged++) {
    if (!merged) {
      assert_int_equal(mica_adapt(p, "table,up", "svf", NULL), MICA_OK);
      move(p, "default");
    } else {
      assert_int_equal(mica_adapters_merge(p), MICA_OK);
    }
    mica_tape_reset(t);
    const mica_var e = mica_nn_embedding(t, table, mica_constant(t, &ids));
    const mica_var c =
        mica_nn_conv_transpose2d(t, up, &o, mica_full(t, MICA_F32, MICA_SHAPE(1, 2, 2, 3), 0.5));
    const mica_view ev = mica_read(t, e), cv = mica_read(t, c);
    if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
    memcpy(y[merged], ev.data, 20 * sizeof(float));
    memcpy(y[merged] + 20, cv.data, (size_t)mica_view_count(&cv) * sizeof(float));
    for (int i = 0; merged && i < 20 + mica_view_count(&cv); i++)
      assert_true(fabsf(y[0][i] - y[1][i]) < 1e-5f);
  }
  mica_tape_free(t);
  mica_params_free(p);
}

/* Layers whose weights no adapter changes say so, by name, and work again without one. */
static void test_layers_without_adapters(void **state) {
  (void)state;
  const mica_cosine_options cosine = MICA_COSINE_OPTIONS;
  mica_params *p;
  mica_tape *t;
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  mica_node *root = mica_params_root(p), *angles = mica_node_child(root, "angles"),
            *spaces = mica_node_child(root, "spaces");
  assert_int_equal(mica_nn_cosine_init(angles, 6, 4, &cosine), MICA_OK);
  assert_int_equal(mica_nn_grassmann_init(spaces, 6, 4, 2), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  for (int k = 0; k < 5; k++) {
    const bool merged = k == 4;
    const char *spec[] = {"lora:rank=2", "ssf", "lora:rank=2", "lora:rank=2"};
    if (merged)
      assert_int_equal(mica_adapter_use(p, "default", false), MICA_OK);
    else if (k < 3)
      assert_int_equal(mica_adapt(p, k == 2 ? "spaces.fc" : "angles", spec[k], NULL), MICA_OK);
    mica_tape_reset(t);
    mica_no_grad_begin(t);
    const mica_var x = mica_full(t, MICA_F32, MICA_SHAPE(3, 6), 0.5);
    (void)(k < 2 ? mica_nn_cosine(t, angles, &cosine, x, MICA_NONE)
                 : mica_nn_grassmann(t, spaces, 25, true, x));
    assert_int_equal(mica_tape_status(t), merged ? MICA_OK : MICA_ERR_UNSUPPORTED);
    if (!merged)
      assert_non_null(strstr(mica_tape_error(t), k < 2 ? "'angles.weight'" : "'spaces.fc.weight'"));
    if (k < 2) assert_int_equal(mica_adapter_remove(p, "default"), MICA_OK);
  }
  mica_tape_free(t);
  mica_params_free(p);
}

/* Adapters on the factors of a weight are in their product, too. */
static void test_product_of_adapted_factors(void **state) {
  (void)state;
  mica_low_rank_options o = MICA_LOW_RANK_OPTIONS;
  float product[3][12 * 16];
  mica_params *p;
  mica_tape *t;
  o.keep = 0.5;
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  mica_node *node = mica_node_child(mica_params_root(p), "layer");
  assert_int_equal(mica_nn_linear_init(node, 16, 12, true), MICA_OK);
  assert_int_equal(mica_low_rank(p, &o, NULL), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  for (int k = 0; k < 3; k++) {
    if (k == 1) assert_int_equal(mica_adapt(p, "layer.*", "lora:rank=2", NULL), MICA_OK);
    if (k == 1) move(p, "default");
    if (k == 2) assert_int_equal(mica_adapters_merge(p), MICA_OK);
    mica_tape_reset(t);
    const mica_view w = mica_read(t, mica_low_rank_weight(t, node));
    if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
    memcpy(product[k], w.data, sizeof product[k]);
  }
  double moved = 0;
  for (int i = 0; i < 12 * 16; i++) {
    moved = fmax(moved, fabs((double)product[1][i] - (double)product[0][i]));
    assert_true(fabsf(product[1][i] - product[2][i]) < 1e-5f);
  }
  assert_true(moved > 0.01);
  mica_tape_free(t);
  mica_params_free(p);
}

static void test_refusals(void **state) {
  (void)state;
  mica_net *net = make_net("mlp:hidden=6");
  mica_params *p = mica_net_params(net);
  int64_t count;
  assert_int_equal(mica_adapt(p, "nothing", "svf", &count), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_adapt(p, NULL, "lora:rank=7", &count), MICA_ERR_INVALID);
  assert_int_equal(mica_params_count(p), 4);
  assert_int_equal(mica_adapt_as(p, "a b", NULL, "svf", &count), MICA_ERR_INVALID);
  assert_int_equal(mica_adapt_as(p, NULL, NULL, "svf", &count), MICA_ERR_INVALID);
  assert_int_equal(mica_adapt_as(p, "", NULL, "svf", &count), MICA_ERR_INVALID);
  assert_int_equal(mica_adapt(p, NULL, "svfit:energy=2", &count), MICA_ERR_INVALID);
  assert_int_equal(mica_adapt(p, NULL, "svd", &count), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_adapter_merge(p, "default", true), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_adapters_merge(p), MICA_OK);
  assert_int_equal(mica_adapt(p, NULL, "svf", &count), MICA_OK);
  assert_int_equal(mica_adapt(p, NULL, "svf", &count), MICA_ERR_STATE);
  /* Not a number: no singular values. */
  mica_param *w = mica_params_find(p, "layers.0.weight");
  mica_tensor_set(mica_param_value(w), 0, NAN);
  assert_int_equal(mica_adapt_as(p, "nan", NULL, "svf", &count), MICA_ERR_NUMERIC);
  assert_non_null(strstr(mica_last_error(), "layers.0.weight"));
  mica_net_free(net);
}

static mica_status whole_life(void *ctx) {
  const mica_engine_options o = {sizeof o, .threads = 1, .libraries = 0};
  mica_engine *own;
  mica_net *net = NULL;
  (void)ctx;
  mica_status status = mica_engine_create(&o, &own);
  if (status != MICA_OK) return status;
  status = mica_net_create(own, "vit:patch=4:dim=8:depth=1:heads=2", &pictures, 1, &net);
  mica_params *p = net ? mica_net_params(net) : NULL;
  if (status == MICA_OK) status = mica_adapt_as(p, "one", "*.qkv", "svft:rank=2", NULL);
  if (status == MICA_OK) status = mica_adapt_as(p, "two", "*.fc1", "lora-xs:svd=randomised", NULL);
  if (status == MICA_OK) status = mica_adapt_as(p, "three", "*.fc2", "pissa:basis=random", NULL);
  if (status == MICA_OK) status = mica_adapter_merge(p, "two", true);
  if (status == MICA_OK) status = mica_adapters_merge(p);
  mica_net_free(net);
  mica_engine_free(own);
  return status;
}

static mica_status life_of_outputs(void *ctx) {
  const mica_engine_options o = {sizeof o, .threads = 1, .libraries = 0};
  mica_engine *own;
  mica_net *net = NULL;
  (void)ctx;
  mica_status status = mica_engine_create(&o, &own);
  if (status != MICA_OK) return status;
  status = mica_net_create(own, "mlp:hidden=4,5", &pictures, 1, &net);
  mica_params *p = net ? mica_net_params(net) : NULL;
  if (status == MICA_OK) status = mica_adapt_as(p, "one", "layers.0", "ssf", NULL);
  if (status == MICA_OK) status = mica_adapt_as(p, "two", "layers.1", "bottleneck:rank=2", NULL);
  if (status == MICA_OK) status = mica_adapt_as(p, "three", "head", "psrp:rank=1", NULL);
  if (status == MICA_OK) status = mica_adapter_merge(p, "one", true);
  if (status == MICA_OK) status = mica_adapter_remove(p, "two");
  mica_net_free(net);
  mica_engine_free(own);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  assert_true(fail_each(life_of_outputs, NULL) > 20);
  assert_true(fail_every(3, whole_life, NULL) > 300);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_merged_is_unmerged),
                                     cmocka_unit_test(test_linear_form),
                                     cmocka_unit_test(test_outputs_by_hand),
                                     cmocka_unit_test(test_what_outputs_refuse),
                                     cmocka_unit_test(test_packed_projections),
                                     cmocka_unit_test(test_bases),
                                     cmocka_unit_test(test_several_names),
                                     cmocka_unit_test(test_what_is_trained),
                                     cmocka_unit_test(test_tables_and_kernels),
                                     cmocka_unit_test(test_refusals),
                                     cmocka_unit_test(test_layers_without_adapters),
                                     cmocka_unit_test(test_product_of_adapted_factors),
                                     cmocka_unit_test(test_failing_allocations)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
