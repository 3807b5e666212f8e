/* Smaller networks: weights in two factors, folded norms, int8, and model and adapter files that
 * have such changes; what is hostile in them is refused.
 */
#include "support/failing_alloc.h"
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mica_engine *engine;
static char folder[] = "/tmp/mica-test-compression-XXXXXX", path[80], other[80];
static const mica_problem pictures = MICA_PROBLEM_IMAGES(8, 8, 1, 3);
static const char *const names[] = {"a", "b", "c"};

static mica_net *make_net(const char *spec) {
  mica_net *net;
  if (mica_net_create(engine, spec, &pictures, 1, &net) != MICA_OK)
    fail_msg("%s: %s", spec, mica_last_error());
  return net;
}

static void answers_of(mica_tape *t, const mica_net *net, float out[12]) {
  mica_outputs o;
  mica_no_grad_begin(t);
  const mica_var x = mica_full(t, MICA_F32, MICA_SHAPE(4, 8, 8, 1), 0);
  const mica_view v = mica_read(t, x);
  for (int i = 0; i < 4 * 64; i++)
    ((float *)v.data)[i] = (float)mica_random_normal(mica_key_seed(9), (uint64_t)i);
  mica_net_forward(t, net, x, &o);
  const mica_view y = mica_read(t, o.logits);
  if (!y.data) fail_msg("%s", mica_tape_error(t));
  memcpy(out, y.data, 12 * sizeof(float));
  mica_no_grad_end(t);
}

static void answers(const mica_net *net, float out[12]) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  answers_of(t, net, out);
  mica_tape_free(t);
}

static double gap(const float *a, const float *b) {
  double most = 0;
  for (int i = 0; i < 12; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
  return most;
}

/* Running statistics that do something. */
static void stir(mica_net *net) {
  mica_params *p = mica_net_params(net);
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    mica_param *q = mica_params_at(p, i);
    if (!strstr(mica_param_path(q), "running_")) continue;
    (void)mica_param_write(q);
    for (int64_t k = 0; k < mica_tensor_count(mica_param_value(q)); k++)
      mica_tensor_set(mica_param_value(q), k,
                      0.2 * mica_random_uniform(mica_key_seed((uint64_t)i), (uint64_t)k) +
                          (strstr(mica_param_path(q), "running_var") ? 0.5 : -0.1));
  }
}

static mica_status save(const mica_net *net, bool int8) {
  const mica_preprocess pre = MICA_PREPROCESS(8, 8, 1);
  mica_model *m;
  if (!int8) return mica_net_save(net, &pre, names, NULL, path);
  /* The model takes a network over: here one that is read back. */
  mica_status status = mica_net_save(net, &pre, names, NULL, path);
  if (status == MICA_OK) status = mica_model_open(engine, path, &m);
  if (status != MICA_OK) return status;
  mica_model_set_int8(m, true);
  status = mica_model_save(m, path);
  mica_model_free(m);
  return status;
}

static void reopened(float out[12]) {
  mica_model *m;
  if (mica_model_open(engine, path, &m) != MICA_OK) fail_msg("%s", mica_last_error());
  answers(mica_model_net(m), out);
  mica_model_free(m);
}

static const char *const nets[] = {"mlp:hidden=16,12", "convnet:widths=12,16",
                                   "resnet:depth=8:width=12", "vit:patch=4:dim=16:depth=2:heads=2"};

/* All singular values are the weight itself; fewer are the nearest matrix of that rank; and what is
 * saved is opened again. */
static void test_low_rank(void **state) {
  (void)state;
  for (int k = 0; k < 4; k++) {
    float before[12], small[12], again[12];
    mica_net *net = make_net(nets[k]);
    stir(net);
    mica_params *p = mica_net_params(net);
    mica_low_rank_options o = MICA_LOW_RANK_OPTIONS;
    mica_low_rank_report r;
    answers(net, before);
    o.keep = 0.6;
    if (mica_low_rank(p, &o, &r) != MICA_OK) fail_msg("%s: %s", nets[k], mica_last_error());
    assert_true(r.replaced >= 2 && r.after < r.before && mica_params_factored(p));
    for (int64_t i = 0; i < r.layers; i++) {
      const mica_low_rank_layer *l = &r.layer[i];
      assert_true(l->rank == (int64_t)floor(0.6 * (double)(l->outputs * l->inputs) /
                                            (double)(l->outputs + l->inputs)));
      assert_true(l->frobenius > 0 && l->frobenius < 1 && l->largest > 0);
    }
    mica_low_rank_report_clear(&r);
    answers(net, small);
    if (!(gap(before, small) > 1e-6)) fail_msg("%s: nothing changed", nets[k]);
    if (save(net, false) != MICA_OK) fail_msg("%s: %s", nets[k], mica_last_error());
    reopened(again);
    assert_memory_equal(small, again, sizeof small);
    /* A low-rank network trains, in its factors, and takes adapters. */
    assert_int_equal(mica_adapt(p, NULL, "lora:rank=1", NULL), MICA_OK);
    answers(net, again);
    assert_true(gap(small, again) < 1e-6);
    assert_int_equal(mica_low_rank(p, &o, NULL), MICA_ERR_STATE);
    mica_net_free(net);
  }
}

/* A matrix of rank 3 is found whole, by energy too; ratio and rank; what stays. */
static void test_ranks(void **state) {
  (void)state;
  mica_params *p;
  mica_param *w;
  assert_int_equal(mica_params_create(engine, 3, &p), MICA_OK);
  mica_node *root = mica_params_root(p);
  assert_int_equal(mica_nn_linear_init(mica_node_child(root, "x"), 30, 20, true), MICA_OK);
  assert_int_equal(mica_nn_linear_init(mica_node_child(root, "few"), 30, 9, true), MICA_OK);
  assert_int_equal(mica_nn_linear_init(mica_node_child(root, "y"), 12, 12, false), MICA_OK);
  w = mica_params_find(p, "x.weight");
  (void)mica_param_write(w);
  for (int i = 0; i < 20; i++)
    for (int j = 0; j < 30; j++) {
      double sum = 0;
      for (int k = 0; k < 3; k++)
        sum += mica_random_normal(mica_key_seed(1), (uint64_t)(i * 3 + k)) *
               mica_random_normal(mica_key_seed(2), (uint64_t)(j * 3 + k));
      mica_tensor_set(mica_param_value(w), i * 30 + j, sum);
    }
  mica_low_rank_options o = MICA_LOW_RANK_OPTIONS;
  mica_low_rank_report r;
  assert_int_equal(mica_low_rank(p, &o, NULL), MICA_ERR_INVALID);
  o.ratio = 0.5;
  assert_int_equal(mica_low_rank(p, &o, NULL), MICA_ERR_INVALID);
  o.ratio = 2;
  o.rank = 3;
  assert_int_equal(mica_low_rank(p, &o, NULL), MICA_ERR_INVALID);
  o.rank = 0;
  o.exclude = "x,y";
  assert_int_equal(mica_low_rank(p, &o, NULL), MICA_ERR_NOT_FOUND);
  o.ratio = 0;
  o.exclude = NULL;
  o.energy = 0.9999;
  assert_int_equal(mica_low_rank(p, &o, &r), MICA_OK);
  assert_int_equal(r.layers, 2);
  assert_string_equal(r.layer[0].name, "x");
  assert_int_equal(r.layer[0].rank, 3);
  assert_true(r.layer[0].frobenius < 1e-5);
  /* Nearly all of a drawn matrix takes nearly all values: a pair would be larger. */
  assert_int_equal(r.layer[1].rank, 0);
  assert_int_equal(r.replaced, 1);
  assert_int_equal(r.before - r.after, 600 - 150);
  mica_low_rank_report_clear(&r);
  assert_true(mica_node_low_rank(mica_node_find(root, "x")));
  assert_non_null(mica_params_find(p, "x.1.bias"));
  assert_null(mica_params_find(p, "x.bias"));
  o.energy = 0;
  o.rank = 2;
  o.random = true;
  assert_int_equal(mica_low_rank(p, &o, &r), MICA_OK);
  assert_true(r.layer[0].rank == 2 && r.layer[0].frobenius > 0.9);
  mica_low_rank_report_clear(&r);
  mica_params_free(p);
}

static void test_folded(void **state) {
  (void)state;
  static const char *const convs[] = {"convnet:widths=4,6", "resnet:depth=8:width=4",
                                      "vgg:depth=11:width=2:hidden=4", "mobilenet", "efficientnet"};
  for (int k = 0; k < 5; k++) {
    float before[12], after[12], again[12];
    mica_net *net = make_net(convs[k]);
    stir(net);
    answers(net, before);
    int64_t count;
    const int64_t entries = mica_params_count(mica_net_params(net));
    if (mica_net_fold(net, &count) != MICA_OK) fail_msg("%s: %s", convs[k], mica_last_error());
    if (!count) { /* without norms there is nothing to do */
      mica_net_free(net);
      continue;
    }
    answers(net, after);
    double most = 1;
    for (int i = 0; i < 12; i++) most = fmax(most, fabs((double)before[i]));
    if (gap(before, after) > 1e-4 * most) fail_msg("%s: %g away", convs[k], gap(before, after));
    assert_true(mica_params_count(mica_net_params(net)) < entries);
    if (save(net, false) != MICA_OK) fail_msg("%s: %s", convs[k], mica_last_error());
    reopened(again);
    if (gap(after, again) > 1e-5 * most)
      fail_msg("%s: %g away in a file", convs[k], gap(after, again));
    assert_int_equal(mica_net_fold(net, &count), MICA_OK);
    assert_int_equal(count, 0);
    mica_net_free(net);
  }
  mica_net *net = make_net("convnet:widths=4,6");
  assert_int_equal(mica_adapt(mica_net_params(net), NULL, "svf", NULL), MICA_OK);
  assert_int_equal(mica_net_fold(net, NULL), MICA_ERR_STATE);
  mica_net_free(net);
  /* Factors first, then norms into the second. */
  float before[12], after[12];
  net = make_net("convnet:widths=12,16");
  stir(net);
  mica_low_rank_options o = MICA_LOW_RANK_OPTIONS;
  o.keep = 0.5;
  assert_int_equal(mica_low_rank(mica_net_params(net), &o, NULL), MICA_OK);
  answers(net, before);
  assert_int_equal(mica_net_fold(net, NULL), MICA_OK);
  answers(net, after);
  assert_true(gap(before, after) < 1e-4);
  assert_int_equal(save(net, false), MICA_OK);
  reopened(before);
  assert_true(gap(before, after) < 1e-5);
  mica_net_free(net);
}

static int64_t bytes_of(const char *file) {
  FILE *f = fopen(file, "rb");
  assert_non_null(f);
  fseek(f, 0, SEEK_END);
  const int64_t n = ftell(f);
  fclose(f);
  return n;
}

static void test_int8(void **state) {
  (void)state;
  for (int k = 0; k < 4; k++) {
    float before[12], after[12];
    mica_net *net = make_net(nets[k]);
    answers(net, before);
    assert_int_equal(save(net, false), MICA_OK);
    const int64_t whole = bytes_of(path);
    assert_int_equal(save(net, true), MICA_OK);
    if (k == 3) assert_true(bytes_of(path) < whole / 2);
    reopened(after);
    double most = 0.1;
    for (int i = 0; i < 12; i++) most = fmax(most, fabs((double)before[i]));
    if (gap(before, after) > 0.05 * most)
      fail_msg("%s: %g of %g", nets[k], gap(before, after), most);
    assert_true(gap(before, after) > 0);
    mica_net_free(net);
  }
}

/* Adapters in a model file: apart, off and merged; and in files of their own. */
static void test_adapters_in_files(void **state) {
  (void)state;
  float plain[12], both[12], now[12];
  mica_net *net = make_net(nets[3]);
  mica_params *p = mica_net_params(net);
  answers(net, plain);
  assert_int_equal(mica_adapt_as(p, "one", "*.qkv", "svft:rank=3", NULL), MICA_OK);
  assert_int_equal(mica_adapt_as(p, "two", "*.fc1", "pissa:rank=2", NULL), MICA_OK);
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    mica_param *q = mica_params_at(p, i);
    if (!(mica_param_flags(q) & MICA_PARAM_ADAPTER) || mica_param_flags(q) & MICA_PARAM_BUFFER)
      continue;
    (void)mica_param_write(q);
    for (int64_t e = 0; e < mica_tensor_count(mica_param_value(q)); e++)
      mica_tensor_set(mica_param_value(q), e,
                      mica_tensor_get(mica_param_value(q), e) +
                          0.2 * mica_random_normal(mica_key_seed((uint64_t)i), (uint64_t)e));
  }
  answers(net, both);
  assert_true(gap(plain, both) > 1e-4);
  assert_int_equal(save(net, false), MICA_OK);
  reopened(now);
  assert_memory_equal(both, now, sizeof both);
  mica_model *m;
  mica_adapter_facts facts;
  assert_int_equal(mica_model_open(engine, path, &m), MICA_OK);
  assert_true(mica_adapter_at(mica_net_params(mica_model_net(m)), 1, &facts));
  assert_true(strcmp(facts.name, "two") == 0 && facts.on && !facts.merged && facts.modules == 2);
  mica_model_free(m);

  /* Files of their own, without bases and with: onto the network as it was. */
  for (int bases = 0; bases < 2; bases++) {
    assert_int_equal(mica_adapter_save(p, "one", path, bases), MICA_OK);
    assert_int_equal(mica_adapter_save(p, "two", other, bases), MICA_OK);
    mica_net *fresh = make_net(nets[3]);
    if (mica_adapter_load(mica_net_params(fresh), path, NULL) != MICA_OK ||
        mica_adapter_load(mica_net_params(fresh), other, "second") != MICA_OK)
      fail_msg("%s", mica_last_error());
    answers(fresh, now);
    assert_true(gap(both, now) < 1e-5);
    assert_int_equal(mica_adapter_load(mica_net_params(fresh), path, NULL), MICA_ERR_STATE);
    assert_int_equal(mica_adapters(mica_net_params(fresh)), 2);
    mica_net_free(fresh);
  }
  assert_int_equal(mica_adapter_save(p, "three", path, false), MICA_ERR_NOT_FOUND);
  /* Not the weights that it was trained on; not an adapter. */
  mica_net *fresh = make_net(nets[3]);
  mica_param *w = mica_params_find(mica_net_params(fresh), "blocks.1.mlp.fc1.weight");
  if (!w) w = mica_params_find(mica_net_params(fresh), "blocks.1.fc1.weight");
  assert_non_null(w);
  ((float *)mica_param_write(w))[0] += 1;
  assert_int_equal(mica_adapter_load(mica_net_params(fresh), other, NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "is not the weight that the adapter was trained on"));
  assert_int_equal(mica_adapters(mica_net_params(fresh)), 0);
  assert_int_equal(save(fresh, false), MICA_OK);
  assert_int_equal(mica_adapter_load(mica_net_params(fresh), path, NULL), MICA_ERR_FORMAT);
  mica_net_free(fresh);

  assert_int_equal(mica_adapter_merge(p, "one", true), MICA_OK);
  assert_int_equal(mica_adapter_use(p, "two", false), MICA_OK);
  answers(net, both);
  assert_int_equal(save(net, false), MICA_OK);
  reopened(now);
  assert_memory_equal(both, now, sizeof both);
  mica_net_free(net);
}

/* The metadata's JSON with one text exchanged for another of the same length. */
static void exchange(const char *from, const char *to) {
  static char bytes[1 << 20];
  assert_int_equal(strlen(from), strlen(to));
  FILE *f = fopen(path, "rb");
  const size_t n = fread(bytes, 1, sizeof bytes, f);
  fclose(f);
  bool done = false;
  for (size_t i = 0; i + strlen(from) <= n && !done; i++)
    if (memcmp(bytes + i, from, strlen(from)) == 0) {
      memcpy(bytes + i, to, strlen(to));
      done = true;
    }
  if (!done) fail_msg("there is no %s", from);
  f = fopen(path, "wb");
  fwrite(bytes, 1, n, f);
  fclose(f);
}

static void test_hostile_files(void **state) {
  (void)state;
  static const struct {
    const char *from, *to;
  } cases[] = {{"\\\"rank\\\":3", "\\\"rank\\\":9"},
               {"\\\"rank\\\":3", "\\\"rank\\\":0"},
               {"\\\"rank\\\":3", "\\\"rang\\\":3"},
               {"\\\"module\\\":\\\"layers.0", "\\\"module\\\":\\\"layers.7"},
               {"svf:rank=12", "svf:rank=99"},
               {"svf:rank=12", "svf:rank=11"},
               {"svf:rank=12", "svx:rank=12"},
               {"\\\"name\\\":\\\"default", "\\\"name\\\":\\\"def ult"},
               {"\\\"adapters\\\":[", "\\\"adapters\\\":{"}};
  mica_net *net = make_net("mlp:hidden=16,12");
  mica_low_rank_options o = MICA_LOW_RANK_OPTIONS;
  o.rank = 3;
  o.include = "layers.0";
  assert_int_equal(mica_low_rank(mica_net_params(net), &o, NULL), MICA_OK);
  assert_int_equal(mica_adapt(mica_net_params(net), "layers.1", "svf", NULL), MICA_OK);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_model *m = NULL;
    assert_int_equal(save(net, false), MICA_OK);
    exchange(cases[i].from, cases[i].to);
    const mica_status status = mica_model_open(engine, path, &m);
    if (status == MICA_OK || status == MICA_ERR_MEMORY)
      fail_msg("%s for %s: %s", cases[i].to, cases[i].from, mica_last_error());
    assert_null(m);
  }
  mica_net_free(net);
}

static mica_status whole_life(void *ctx) {
  const mica_engine_options eo = {sizeof eo, .threads = 1, .libraries = 0};
  const mica_preprocess pre = MICA_PREPROCESS(8, 8, 1);
  mica_engine *own;
  mica_net *net = NULL;
  mica_model *m = NULL;
  mica_low_rank_options o = MICA_LOW_RANK_OPTIONS;
  mica_low_rank_report r = {0};
  (void)ctx;
  mica_status status = mica_engine_create(&eo, &own);
  if (status != MICA_OK) return status;
  o.keep = 0.5;
  status = mica_net_create(own, "convnet:widths=12,12:convolutions=1", &pictures, 1, &net);
  if (status == MICA_OK) status = mica_low_rank(mica_net_params(net), &o, &r);
  if (status == MICA_OK) status = mica_net_fold(net, NULL);
  if (status == MICA_OK) status = mica_adapt(mica_net_params(net), NULL, "lora:rank=1", NULL);
  if (status == MICA_OK) status = mica_adapter_save(mica_net_params(net), "default", other, true);
  if (status == MICA_OK) status = mica_net_save(net, &pre, names, NULL, path);
  if (status == MICA_OK) status = mica_model_open(own, path, &m);
  if (status == MICA_OK) {
    mica_model_set_int8(m, true);
    status = mica_model_save(m, path);
  }
  mica_model_free(m);
  m = NULL;
  if (status == MICA_OK) status = mica_model_open(own, path, &m);
  mica_low_rank_report_clear(&r);
  mica_model_free(m);
  mica_net_free(net);
  mica_engine_free(own);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  assert_true(fail_every(11, whole_life, NULL) > 500);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK || !mkdtemp(folder)) return 1;
  snprintf(path, sizeof path, "%s/a.mica", folder);
  snprintf(other, sizeof other, "%s/b.safetensors", folder);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_low_rank),
                                     cmocka_unit_test(test_ranks),
                                     cmocka_unit_test(test_folded),
                                     cmocka_unit_test(test_int8),
                                     cmocka_unit_test(test_adapters_in_files),
                                     cmocka_unit_test(test_hostile_files),
                                     cmocka_unit_test(test_failing_allocations)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(path);
  unlink(other);
  rmdir(folder);
  mica_engine_free(engine);
  return failed;
}
