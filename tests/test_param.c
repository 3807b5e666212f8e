/* Parameter trees: names, ties, flags, row gradients, copies, and adapters on a network. */
#include "support/test.h"

#include <mica/model.h>
#include <mica/optim.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static mica_engine *engine;

static mica_params *tree(void) {
  mica_params *p = NULL;
  assert_int_equal(mica_params_create(engine, 4, &p), MICA_OK);
  return p;
}

static const mica_init normal = {MICA_INIT_NORMAL, 0, 1, 0, false};

static mica_param *add(mica_params *p, const char *node, const char *name, mica_shape shape) {
  mica_param *q = NULL;
  assert_int_equal(mica_param_add(mica_node_child(mica_params_root(p), node), name, MICA_F32, shape,
                                  MICA_PARAM_TRAINABLE, &normal, &q),
                   MICA_OK);
  return q;
}

static void test_names_and_ties(void **state) {
  (void)state;
  mica_params *p = tree();
  mica_param *a = add(p, "layer1.0", "weight", MICA_SHAPE(2, 3));
  add(p, "layer1.1", "weight", MICA_SHAPE(2));
  mica_node *head = mica_node_child(mica_params_root(p), "head");
  assert_int_equal(mica_param_tie(head, "weight", a), MICA_OK);
  assert_ptr_equal(mica_params_find(p, "head.weight"), a);
  assert_ptr_equal(mica_params_find(p, "layer1.0.weight"), a);
  assert_null(mica_params_find(p, "layer1.weight"));
  assert_null(mica_params_find(p, "layer2.0.weight"));
  assert_int_equal(mica_params_count(p), 2);
  assert_int_equal(mica_params_elements(p, MICA_PARAM_TRAINABLE), 8);
  assert_int_equal(mica_param_add(head, "weight", MICA_F32, MICA_SHAPE(1), 0, NULL, NULL),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_param_add(head, "a.b", MICA_F32, MICA_SHAPE(1), 0, NULL, NULL),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_params_flag(p, "layer1.[1-9].*,nothing", 0, MICA_PARAM_TRAINABLE), 1);
  assert_int_equal(mica_params_elements(p, MICA_PARAM_TRAINABLE), 6);
  mica_params *copy;
  assert_int_equal(mica_params_clone(p, &copy), MICA_OK);
  assert_ptr_equal(mica_params_find(copy, "head.weight"),
                   mica_params_find(copy, "layer1.0.weight"));
  assert_true(mica_tensor_get(mica_param_value(a), 5) ==
              mica_tensor_get(mica_param_value(mica_params_find(copy, "head.weight")), 5));
  /* Initial values depend on the seed and the name alone. */
  mica_params *other = tree();
  add(other, "layer1.1", "weight", MICA_SHAPE(2));
  mica_param *again = add(other, "layer1.0", "weight", MICA_SHAPE(2, 3));
  assert_memory_equal(mica_tensor_data(mica_param_value(a)),
                      mica_tensor_data(mica_param_value(again)), 24);
  mica_params_free(p);
  mica_params_free(copy);
  mica_params_free(other);
}

/* Zeros where values are about to be loaded; what is drawn later has a seed again. */
static void test_no_seed(void **state) {
  (void)state;
  mica_params *p = NULL, *seeded = tree();
  assert_int_equal(mica_params_create(engine, MICA_SEED_NONE, &p), MICA_OK);
  mica_param *a = add(p, "a", "weight", MICA_SHAPE(40, 500)), *b;
  for (int64_t i = 0; i < 20000; i++) assert_true(mica_tensor_get(mica_param_value(a), i) == 0);
  mica_params_set_seed(p, 4);
  assert_int_equal(mica_param_initialise(a, &normal), MICA_OK);
  b = add(seeded, "a", "weight", MICA_SHAPE(40, 500));
  assert_memory_equal(mica_tensor_data(mica_param_value(a)), mica_tensor_data(mica_param_value(b)),
                      20000 * sizeof(float));
  mica_params_free(p);
  mica_params_free(seeded);
}

/* Values to be loaded share blocks of memory, which live as long as any of them. */
static void test_values_to_load(void **state) {
  (void)state;
  static const int64_t sizes[] = {1, 63,     64,     65,     5000,   17000,
                                  0, 300000, 524288, 524289, 400000, 80};
  enum { N = sizeof sizes / sizeof *sizes };
  mica_params *p = NULL;
  mica_tensor *kept[N];
  assert_int_equal(mica_params_create(engine, MICA_SEED_NONE, &p), MICA_OK);
  for (int i = 0; i < N; i++) {
    char name[16];
    snprintf(name, sizeof name, "w%d", i);
    kept[i] = mica_tensor_retain(mica_param_value(add(p, "values", name, MICA_SHAPE(sizes[i]))));
    float *x = mica_tensor_data(kept[i]);
    assert_int_equal((uintptr_t)x % 64, 0);
    for (int64_t k = 0; k < sizes[i]; k++) assert_true(x[k] == 0);
    for (int64_t k = 0; k < sizes[i]; k++) x[k] = (float)(i + 1);
  }
  mica_params_set_seed(p, 3); /* what follows is drawn */
  const float *drawn = mica_tensor_data(mica_param_value(add(p, "values", "new", MICA_SHAPE(500))));
  assert_true(drawn[0] != 0 && drawn[499] != 0);
  for (int i = 0; i < N; i += 2) mica_tensor_free(kept[i]);
  mica_params_free(p);
  for (int i = 1; i < N; i += 2) {
    const float *x = mica_tensor_data(kept[i]);
    for (int64_t k = 0; k < sizes[i]; k++) assert_true(x[k] == (float)(i + 1));
    mica_tensor_free(kept[i]);
  }
}

static void test_orthogonal(void **state) {
  (void)state;
  static const int64_t sizes[][2] = {{5, 3}, {3, 5}, {4, 4}, {1, 1}};
  const mica_init init = {MICA_INIT_ORTHOGONAL, 0, 0, 2, false};
  for (int k = 0; k < 4; k++) {
    mica_params *p = tree();
    const int64_t n = sizes[k][0], m = sizes[k][1];
    mica_param *q = NULL;
    assert_int_equal(
        mica_param_add(mica_params_root(p), "w", MICA_F64, MICA_SHAPE(n, m), 0, &init, &q),
        MICA_OK);
    const mica_tensor *w = mica_param_value(q);
    const int64_t small = n < m ? n : m, large = n < m ? m : n;
    for (int64_t i = 0; i < small; i++)
      for (int64_t j = 0; j < small; j++) {
        double dot = 0;
        for (int64_t l = 0; l < large; l++)
          dot += n < m ? mica_tensor_get(w, i * m + l) * mica_tensor_get(w, j * m + l)
                       : mica_tensor_get(w, l * m + i) * mica_tensor_get(w, l * m + j);
        assert_true(fabs(dot - (i == j ? 4 : 0)) < 1e-12);
      }
    mica_params_free(p);
  }
}

static void test_row_gradients(void **state) {
  (void)state;
  mica_params *p = tree();
  mica_param *table = add(p, "emb", "weight", MICA_SHAPE(5, 2));
  mica_tape *t = NULL;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  int64_t ids[4] = {3, 1, 3, 0};
  const mica_view view = mica_view_of(ids, MICA_I64, MICA_SHAPE(4));
  mica_node *node = mica_node_find(mica_params_root(p), "emb");
  for (int twice = 0; twice < 2; twice++) {
    mica_tape_reset(t);
    mica_var y = mica_embedding(t, mica_weight(t, node, "weight"), mica_constant(t, &view));
    assert_int_equal(mica_backward(t, mica_sum(t, y, 0, NULL, false)), MICA_OK);
  }
  assert_int_equal(mica_param_grad_kind(table), MICA_GRAD_ROWS);
  const int64_t *rows;
  const void *values;
  int64_t n;
  assert_int_equal(mica_param_grad_rows(table, &rows, &values, &n), MICA_OK);
  assert_int_equal(n, 3);
  assert_true(rows[0] == 0 && rows[1] == 1 && rows[2] == 3);
  assert_true(((const float *)values)[0] == 2 && ((const float *)values)[4] == 4);
  assert_true(fabs(mica_params_grad_norm(p) - sqrt(2 * (4 + 4 + 16))) < 1e-6);
  /* A dense gradient joins: everything becomes dense. */
  mica_tape_reset(t);
  assert_int_equal(mica_backward(t, mica_sum(t, mica_weight(t, node, "weight"), 0, NULL, false)),
                   MICA_OK);
  assert_int_equal(mica_param_grad_kind(table), MICA_GRAD_DENSE);
  const mica_view dense = mica_param_grad(table);
  assert_true(((const float *)dense.data)[6] == 5 && ((const float *)dense.data)[4] == 1);
  mica_params_zero_grad(p);
  assert_int_equal(mica_param_grad_kind(table), MICA_GRAD_NONE);
  mica_tape_free(t);
  mica_params_free(p);
}

/* A failed backward leaves gradients that the optimiser refuses. */
static void test_failed_steps_are_refused(void **state) {
  (void)state;
  mica_params *p = tree();
  add(p, "l", "weight", MICA_SHAPE(2, 2));
  mica_optimiser *opt;
  mica_tape *t = NULL;
  assert_int_equal(mica_optimiser_create(p, "sgd:lr=0.1", &opt), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_node *node = mica_node_find(mica_params_root(p), "l");
  mica_var w = mica_weight(t, node, "weight");
  mica_var loss = mica_sum(t, w, 0, NULL, false);
  assert_int_equal(mica_backward(t, loss), MICA_OK);
  assert_int_equal(mica_backward(t, loss), MICA_ERR_STATE);
  assert_int_equal(mica_optimiser_step(opt, t, 1), MICA_ERR_STATE);
  mica_tape_reset(t);
  assert_int_equal(mica_optimiser_step(opt, t, 1), MICA_ERR_STATE);
  mica_params_zero_grad(p);
  assert_int_equal(mica_optimiser_step(opt, t, 1), MICA_OK);
  mica_tape_free(t);
  mica_optimiser_free(opt);
  mica_params_free(p);
}

static void forward(const mica_net *net, float out[6]) {
  mica_tape *t = NULL;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_var x = mica_random_normal_like(t, MICA_SHAPE(2, 8, 8, 1), MICA_F32, 0, 1);
  mica_outputs o;
  mica_net_forward(t, net, x, &o);
  const mica_view v = mica_read(t, o.logits);
  assert_non_null(v.data);
  memcpy(out, v.data, 6 * sizeof(float));
  mica_tape_free(t);
}

static void test_lora(void **state) {
  (void)state;
  const mica_problem problem = MICA_PROBLEM_IMAGES(8, 8, 1, 3);
  mica_net *net;
  float before[6], attached[6], moved[6], merged[6];
  int64_t count;
  assert_int_equal(mica_net_create(engine, "vit:patch=4:dim=8:depth=1:heads=2", &problem, 1, &net),
                   MICA_OK);
  mica_params *p = mica_net_params(net);
  forward(net, before);
  assert_int_equal(mica_adapt(p, "nothing.*", "lora:rank=2", &count), MICA_ERR_NOT_FOUND);
  assert_int_equal(
      mica_adapt(p, "blocks.*.qkv,blocks.*.fc[12],patch_embed.proj", "lora:rank=2:alpha=4", &count),
      MICA_OK);
  assert_int_equal(count, 4);
  assert_int_equal(mica_adapt(p, "blocks.*.qkv", "lora:rank=2", &count), MICA_ERR_STATE);
  forward(net, attached);
  assert_memory_equal(before, attached, sizeof before);
  /* Only the factors get gradients where the weight is frozen. */
  mica_params_flag(p, "*", 0, MICA_PARAM_TRAINABLE);
  mica_params_flag(p, "*lora_*", MICA_PARAM_TRAINABLE, 0);
  for (int64_t i = 0; i < mica_params_count(p); i++)
    if (strstr(mica_param_path(mica_params_at(p, i)), "lora_B"))
      assert_int_equal(mica_param_initialise(mica_params_at(p, i), &normal), MICA_OK);
  forward(net, moved);
  float gap = 0;
  for (int i = 0; i < 6; i++) gap = fmaxf(gap, fabsf(moved[i] - before[i]));
  assert_true(gap > 1e-3);
  assert_int_equal(mica_adapters_merge(p), MICA_OK);
  assert_null(mica_params_find(p, "blocks.0.attn.qkv.adapter.default.lora_A"));
  forward(net, merged);
  for (int i = 0; i < 6; i++) assert_true(fabsf(moved[i] - merged[i]) < 1e-5);
  mica_net_free(net);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names_and_ties), cmocka_unit_test(test_orthogonal),
      cmocka_unit_test(test_no_seed),        cmocka_unit_test(test_values_to_load),
      cmocka_unit_test(test_row_gradients),  cmocka_unit_test(test_failed_steps_are_refused),
      cmocka_unit_test(test_lora),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
