/* Decoders: PyTorch's numbers with the files of GPT-2 and Llama, every form with and without a
 * cache, and the checkpoint of llama2.c. */
#include "support/golden.h"
#include "support/near.h"

#include <mica/generate.h>
#include <mica/kv_cache.h>
#include <mica/tokenizer.h>
#include <mica/train.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mica_engine *engine;

static mica_net *net_of(const char *spec, int64_t vocabulary, int64_t length, int64_t classes) {
  const mica_problem task = MICA_PROBLEM_TOKENS(vocabulary, length, classes);
  mica_net *net;
  if (mica_net_create(engine, spec, &task, 3, &net) != MICA_OK) fail_msg("%s", mica_last_error());
  return net;
}

static mica_tape *tape_make(void) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  return t;
}

static mica_var ids(mica_tape *t, int64_t n, int64_t length, int64_t vocabulary) {
  int64_t id[256];
  assert_true(n * length <= 256);
  for (int64_t i = 0; i < n * length; i++) id[i] = (i * i * 7 + 3 * i + 1) % vocabulary;
  const mica_view view = mica_view_of(id, MICA_I64, MICA_SHAPE(n, length));
  return mica_constant(t, &view);
}

/* ---- PyTorch ---- */

/* Weights by the checkpoint's names and layout, logits, and the gradient of every parameter. */
static void against_torch(const char *name, const char *spec) {
  mica_archive *a = golden_open(GOLDEN_FOLDER "gpt.safetensors");
  mica_net *net = net_of(spec, 11, 7, 0);
  mica_params *params = mica_net_params(net);
  char prefix[64], key[128];
  snprintf(prefix, sizeof prefix, "%s.param.", name);
  mica_load_options o = MICA_LOAD_OPTIONS;
  o.strip = prefix;
  mica_load_report report;
  if (mica_params_load(params, GOLDEN_FOLDER "gpt.safetensors", &o, &report) != MICA_OK)
    fail_msg("%s", mica_last_error());
  assert_int_equal(report.missing + report.reshaped, 0);
  assert_int_equal(report.loaded, mica_params_count(params));
  mica_free(report.text);
  mica_tape *t = tape_make();
  snprintf(key, sizeof key, "%s.tokens", name);
  mica_tensor *tokens = golden_read(a, MICA_I64, key);
  snprintf(key, sizeof key, "%s.y", name);
  mica_tensor *want = golden_read(a, MICA_F64, key);
  snprintf(key, sizeof key, "%s.gy", name);
  mica_tensor *gy = golden_read(a, MICA_F32, key);
  mica_outputs out;
  mica_net_forward(t, net, mica_input(t, tokens), &out);
  const mica_view got = mica_read(t, out.logits);
  assert_true(golden_agrees(name, &got, want, 2e-5));
  assert_int_equal(mica_backward_from(t, out.logits, mica_input(t, gy)), MICA_OK);
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    mica_param *q = mica_params_at(params, i);
    snprintf(key, sizeof key, "%s.grad.%s", name, mica_param_path(q));
    mica_tensor *grad = golden_read(a, MICA_F64, key), *reference;
    const mica_view g = mica_param_grad(q);
    /* The gradient as the file has it: through a parameter of the same layout. */
    memcpy(mica_param_write(q), g.data, (size_t)mica_view_count(&g) * sizeof(float));
    assert_int_equal(mica_param_to_reference(q, &reference), MICA_OK);
    const mica_view v = mica_tensor_view(reference);
    assert_true(golden_agrees(key, &v, grad, 3e-5));
    mica_tensor_free(reference);
    mica_tensor_free(grad);
  }
  mica_tensor_free(tokens);
  mica_tensor_free(want);
  mica_tensor_free(gy);
  mica_tape_free(t);
  mica_net_free(net);
  mica_archive_close(a);
}

static void test_torch(void **state) {
  (void)state;
  against_torch("gpt2", "gpt:dim=24:depth=2:heads=3:mlp=gelu_tanh");
  against_torch("llama", "gpt:dim=24:depth=2:heads=6:kv_heads=2:hidden=20:position=rotary:norm=rms:"
                         "mlp=swiglu:bias=none:tied=false");
}

/* ---- forms ---- */

static const char *const forms[] = {
    "gpt:dim=24:depth=2:heads=3",
    "gpt:dim=24:depth=2:heads=4:kv_heads=2:norm=rms:mlp=swiglu:tied=false",
    "gpt:dim=24:depth=2:heads=2:position=rotary:bias=qkv",
    "gpt:dim=24:depth=1:heads=3:kv_heads=1:position=rotary:rotary=pairs:mlp=swiglu:bias=none",
    "gpt:dim=24:depth=2:heads=2:position=rotary:rotary_dim=6:scaling=linear:factor=2",
    "gpt:dim=24:depth=1:heads=2:position=rotary:scaling=yarn:factor=4:original=16:base=500",
};

/* Steps of any size through a cache give what all tokens at once give. */
static void test_cache(void **state) {
  (void)state;
  for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
    mica_net *net = net_of(forms[f], 13, 12, 0);
    mica_tape *t = tape_make(), *steps = tape_make();
    mica_outputs all, part;
    mica_net_forward(t, net, ids(t, 2, 12, 13), &all);
    const mica_view want = mica_read(t, all.logits);
    assert_true(mica_ok(t));
    for (int every = 0; every < 2; every++) {
      mica_kv_cache_options o = MICA_KV_CACHE_OPTIONS;
      o.length = 12;
      o.all_logits = every;
      mica_kv_cache *cache;
      assert_int_equal(mica_kv_cache_create(engine, &o, &cache), MICA_OK);
      for (int64_t at = 0, n; at < 12; at += n) {
        n = at == 0 ? 5 : at == 5 ? 1 : 3;
        mica_tape_reset(steps);
        mica_no_grad_begin(steps);
        mica_set_cache(steps, cache);
        mica_net_forward(steps, net, mica_slice(steps, ids(steps, 2, 12, 13), 1, at, at + n),
                         &part);
        const mica_view got = mica_read(steps, part.logits);
        if (!mica_ok(steps)) fail_msg("%s: %s", forms[f], mica_tape_error(steps));
        const int64_t given = every ? n : 1;
        assert_int_equal(got.shape.dim[1], given);
        for (int64_t b = 0; b < 2; b++)
          for (int64_t i = 0; i < given * 13; i++)
            assert_near((double)((float *)got.data)[b * given * 13 + i],
                        (double)((float *)want.data)[(b * 12 + at + n - given) * 13 + i], 2e-5);
        assert_int_equal(mica_kv_cache_advance(cache, steps), MICA_OK);
      }
      mica_kv_cache_free(cache);
    }
    mica_tape_free(steps);
    mica_tape_free(t);
    mica_net_free(net);
  }
}

/* A token sees nothing that comes after it. */
static void test_causal(void **state) {
  (void)state;
  for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
    mica_net *net = net_of(forms[f], 13, 12, 0);
    mica_tape *t = tape_make();
    mica_outputs whole, half;
    mica_net_forward(t, net, ids(t, 1, 12, 13), &whole);
    mica_net_forward(t, net, mica_slice(t, ids(t, 1, 12, 13), 1, 0, 6), &half);
    const mica_view a = mica_read(t, whole.logits), b = mica_read(t, half.logits);
    for (int i = 0; i < 6 * 13; i++)
      assert_near((double)((float *)a.data)[i], (double)((float *)b.data)[i], 1e-5);
    mica_tape_free(t);
    mica_net_free(net);
  }
}

/* GPT-2's deviations: 0.02, and over sqrt(2 depth) for what is added to the stream. */
static void test_initial_values(void **state) {
  (void)state;
  mica_net *net = net_of("gpt:dim=128:depth=8:heads=4", 64, 32, 0);
  static const struct {
    const char *name;
    double deviation;
  } want[] = {{"wte.weight", 0.02},
              {"h.3.attn.c_attn.weight", 0.02},
              {"h.3.attn.c_proj.weight", 0.005},
              {"h.7.mlp.c_fc.weight", 0.02},
              {"h.7.mlp.c_proj.weight", 0.005},
              {"h.7.mlp.c_proj.bias", 0}};
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    const mica_param *q = mica_params_find(mica_net_params(net), want[i].name);
    assert_non_null(q);
    double sum = 0;
    const int64_t n = mica_tensor_count(mica_param_value(q));
    for (int64_t k = 0; k < n; k++) sum += pow(mica_tensor_get(mica_param_value(q), k), 2);
    assert_true(fabs(sqrt(sum / (double)n) - want[i].deviation) <= 0.05 * want[i].deviation);
  }
  assert_ptr_equal(mica_params_find(mica_net_params(net), "lm_head.weight"),
                   mica_params_find(mica_net_params(net), "wte.weight"));
  mica_net_free(net);
}

/* Whole sequences are classified from the last token within the mask. */
static void test_classes(void **state) {
  (void)state;
  mica_net *net = net_of("gpt:dim=24:depth=2:heads=3:position=rotary", 13, 12, 4);
  mica_tape *t = tape_make();
  mica_outputs masked, brief;
  float keep[2][6] = {{1, 1, 1, 1, 0, 0}, {1, 1, 1, 1, 0, 0}};
  const mica_view view = mica_view_of(keep, MICA_F32, MICA_SHAPE(2, 6));
  mica_scope_begin(t, NULL);
  mica_set_mask(t, mica_constant(t, &view));
  mica_net_forward(t, net, ids(t, 2, 6, 13), &masked);
  mica_var kept[1] = {masked.logits};
  mica_scope_end_n(t, 1, kept);
  mica_net_forward(t, net, mica_slice(t, ids(t, 2, 6, 13), 1, 0, 4), &brief);
  const mica_view a = mica_read(t, kept[0]), b = mica_read(t, brief.logits);
  assert_true(mica_ok(t));
  assert_int_equal(a.shape.rank, 2);
  assert_int_equal(a.shape.dim[1], 4);
  for (int i = 0; i < 8; i++)
    assert_near((double)((float *)a.data)[i], (double)((float *)b.data)[i], 1e-5);
  mica_tape_free(t);
  assert_int_equal(mica_net_set_classes(net, 7), MICA_OK);
  mica_net_free(net);
}

static void test_refuses(void **state) {
  (void)state;
  static const struct {
    const char *spec, *says;
  } bad[] = {{"gpt:dim=10:heads=3", "3 heads"},
             {"gpt:dim=12:heads=4:kv_heads=3", "key/value"},
             {"gpt:dim=12:heads=4:position=rotary:rotary_dim=3", "even"},
             {"gpt:dim=12:heads=4:position=rotary:rotary_dim=8", "dim 8 of 3"}};
  const mica_problem task = MICA_PROBLEM_TOKENS(13, 12, 0), images = MICA_PROBLEM_ROWS(4, 2);
  mica_net *net;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(mica_net_create(engine, bad[i].spec, &task, 1, &net), MICA_ERR_INVALID);
    if (!strstr(mica_last_error(), bad[i].says)) fail_msg("%s", mica_last_error());
  }
  assert_int_equal(mica_net_create(engine, "gpt", &images, 1, &net), MICA_ERR_INVALID);
  net = net_of(forms[0], 13, 12, 0);
  mica_tape *t = tape_make();
  mica_outputs out;
  mica_net_forward(t, net, ids(t, 1, 13, 13), &out);
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  assert_non_null(strstr(mica_tape_error(t), "position 13"));
  mica_tape_free(t);
  mica_net_free(net);
}

/* Every form learns a text that repeats. */
static void test_learns(void **state) {
  (void)state;
  int64_t token[16 * 12], next[16 * 12];
  for (int64_t i = 0; i < 16; i++)
    for (int64_t j = 0; j < 12; j++) {
      token[i * 12 + j] = (i + j) % 5 * 2;
      next[i * 12 + j] = (i + j + 1) % 5 * 2;
    }
  for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
    mica_net *net = net_of(forms[f], 13, 12, 0);
    mica_tape *t = tape_make();
    mica_set_training(t, true);
    mica_optimiser *adam;
    assert_int_equal(mica_optimiser_create(mica_net_params(net), "adamw:lr=0.01", &adam), MICA_OK);
    double loss = 0;
    for (int step = 0; step < 60; step++) {
      mica_tape_reset(t);
      const mica_view x = mica_view_of(token, MICA_I64, MICA_SHAPE(16, 12)),
                      y = mica_view_of(next, MICA_I64, MICA_SHAPE(16, 12));
      mica_outputs out;
      mica_net_forward(t, net, mica_borrow(t, &x), &out);
      mica_var l = mica_cross_entropy(t, out.logits, mica_borrow(t, &y), MICA_NONE, NULL);
      loss = mica_item(t, l);
      mica_params_zero_grad(mica_net_params(net));
      assert_int_equal(mica_backward(t, l), MICA_OK);
      assert_int_equal(mica_optimiser_step(adam, t, 1), MICA_OK);
    }
    if (!(loss < 0.05)) fail_msg("%s: loss %g", forms[f], loss);
    mica_optimiser_free(adam);
    mica_tape_free(t);
    mica_net_free(net);
  }
}

/* ---- llama2.c ---- */

/* The greedy text of the published checkpoint, byte for byte. */
static void test_llama2c(void **state) {
  (void)state;
  const char *folder = getenv("MICA_WEIGHTS");
  if (!folder) {
    print_message("skipped: MICA_WEIGHTS is not set\n");
    skip();
  }
  char path[512];
  mica_net *net;
  mica_tokenizer *tokenizer;
  mica_generator *g;
  snprintf(path, sizeof path, "%s/llama2c-tinystories/stories260K.bin", folder);
  if (access(path, R_OK) != 0) {
    print_message("skipped: no %s\n", path);
    skip();
  }
  assert_int_equal(mica_net_read_llama2c(engine, path, &net), MICA_OK);
  snprintf(path, sizeof path, "%s/llama2c-tinystories/tok512.bin", folder);
  assert_int_equal(mica_tokenizer_open(path, &tokenizer), MICA_OK);
  mica_generator_options o = MICA_GENERATOR_OPTIONS;
  o.sampling.temperature = 0;
  assert_int_equal(mica_generator_create(net, &o, &g), MICA_OK);
  char text[4096], want[4096];
  size_t n = 0, bytes;
  int64_t token = mica_tokenizer_special(tokenizer, MICA_TOKEN_BEGIN), before;
  assert_int_equal(token, 1);
  assert_int_equal(mica_generator_feed(g, 1, &token), MICA_OK);
  for (int i = 0; i < 200; i++) {
    before = token;
    assert_int_equal(mica_generator_next(g, &token), MICA_OK);
    const char *piece = mica_tokenizer_piece(tokenizer, before, token, &bytes);
    assert_non_null(piece);
    assert_true(n + bytes + 1 < sizeof text);
    memcpy(text + n, piece, bytes);
    n += bytes;
  }
  text[n++] = '\n';
  snprintf(path, sizeof path, "%s/llama2c-tinystories/expected-greedy-200.txt", folder);
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  const size_t wanted = fread(want, 1, sizeof want, f);
  fclose(f);
  assert_int_equal(n, wanted);
  assert_memory_equal(text, want, n);
  mica_generator_free(g);
  mica_tokenizer_free(tokenizer);
  mica_net_free(net);
}

static void test_llama2c_refuses(void **state) {
  (void)state;
  static const struct {
    const char *file, *says;
  } bad[] = {{"cut", "header's sizes make"},
             {"longer", "header's sizes make"},
             {"odd_head", "even number"},
             {"claims", "header's sizes make"},
             {"negative", "dim is -4"}};
  mica_net *net;
  char path[64];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    snprintf(path, sizeof path, "fuzz/corpus/llama2c/%s", bad[i].file);
    assert_int_equal(mica_net_read_llama2c(engine, path, &net), MICA_ERR_FORMAT);
    assert_null(net);
    if (!strstr(mica_last_error(), bad[i].says)) fail_msg("%s", mica_last_error());
  }
  assert_int_equal(mica_net_read_llama2c(engine, "fuzz/corpus/llama2c/none", &net),
                   MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_net_read_llama2c(engine, "fuzz/corpus/llama2c/own_classifier", &net),
                   MICA_OK);
  assert_ptr_not_equal(mica_params_find(mica_net_params(net), "lm_head.weight"),
                       mica_params_find(mica_net_params(net), "model.embed_tokens.weight"));
  mica_net_free(net);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_torch),          cmocka_unit_test(test_cache),
      cmocka_unit_test(test_causal),         cmocka_unit_test(test_initial_values),
      cmocka_unit_test(test_classes),        cmocka_unit_test(test_refuses),
      cmocka_unit_test(test_learns),         cmocka_unit_test(test_llama2c),
      cmocka_unit_test(test_llama2c_refuses)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
