/* Training for retrieval: contrastive codes, losses within a batch, mining, batches of neighbours,
 * a stage of training. */
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

static void need(mica_status status) {
  if (status != MICA_OK) fail_msg("%s", mica_last_error());
}

static mica_tensor *draw(uint64_t seed, mica_dtype dtype, int64_t n, int64_t d) {
  mica_tensor *t;
  need(mica_tensor_create(dtype, MICA_SHAPE(n, d), &t));
  for (int64_t i = 0; i < n * d; i++)
    mica_tensor_set(t, i, mica_random_normal(mica_key_seed(seed), (uint64_t)i));
  return t;
}

/* ---- the layer ---- */

static void test_the_layer(void **state) {
  (void)state;
  enum { n = 40, d = 12, parts = 3, words = 9 };
  mica_params *p;
  mica_tape *t;
  mica_quantiser *fitted, *back;
  need(mica_params_create(engine, 3, &p));
  mica_node *node = mica_node_child(mica_params_root(p), "codes");
  need(mica_contrastive_pq_init(node, d, parts, words, true));
  mica_tensor *x = draw(1, MICA_F32, n, d), *q = draw(2, MICA_F32, 5, d);
  const mica_view v = mica_tensor_view(x);
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  o.parts = parts;
  o.words = words;
  o.rotations = 3;
  need(mica_quantiser_fit(engine, &v, &o, &fitted));
  need(mica_contrastive_pq_import(node, fitted));
  need(mica_contrastive_pq_export(node, &back));
  assert_memory_equal(mica_quantiser_codewords(back), mica_quantiser_codewords(fitted),
                      words * d * sizeof(float));
  assert_memory_equal(mica_quantiser_rotation(back), mica_quantiser_rotation(fitted),
                      d * d * sizeof(float));
  /* The layer's codes are the quantiser's; scores are products with what codes stand for. */
  uint8_t code[n * parts];
  float decoded[n * d];
  need(mica_quantiser_encode(back, &v, code));
  need(mica_quantiser_decode(back, code, n, decoded));
  need(mica_tape_create(engine, NULL, &t));
  mica_var number;
  mica_var xv = mica_input(t, x), y = mica_contrastive_pq(t, node, xv, &number);
  mica_var again = mica_contrastive_pq_decode(t, node, number);
  mica_var score = mica_contrastive_pq_score(t, node, mica_input(t, q), number);
  need(mica_tape_status(t));
  const mica_view got = mica_read(t, number), a = mica_read(t, y), b = mica_read(t, again);
  const mica_view s = mica_read(t, score);
  for (int64_t i = 0; i < n * parts; i++) assert_int_equal(((int64_t *)got.data)[i], code[i]);
  assert_memory_equal(a.data, b.data, n * d * sizeof(float));
  for (int64_t i = 0; i < 5; i++)
    for (int64_t j = 0; j < n; j++) {
      double sum = 0;
      for (int64_t c = 0; c < d; c++) sum += mica_tensor_get(q, i * d + c) * decoded[j * d + c];
      assert_true(fabs(((float *)s.data)[i * n + j] - sum) < 1e-4);
    }
  mica_tape_free(t);
  mica_quantiser_free(fitted);
  mica_quantiser_free(back);
  mica_tensor_free(x);
  mica_tensor_free(q);
  mica_params_free(p);
}

/* The gradient that passes the choice is that of the softmax: a step against it brings the loss
 * down, and the codewords of a decoding are moved where they are used. */
static void test_gradients_of_the_layer(void **state) {
  (void)state;
  enum { n = 6, d = 4, parts = 2, words = 3 };
  mica_params *p;
  mica_tape *t;
  need(mica_params_create(engine, 4, &p));
  mica_node *node = mica_params_root(p);
  need(mica_contrastive_pq_init(node, d, parts, words, false));
  mica_param *codebook = mica_node_param(node, "codebook");
  mica_tensor *code, *target = draw(7, MICA_F32, n, d);
  need(mica_tensor_create(MICA_I64, MICA_SHAPE(n, parts), &code));
  for (int64_t i = 0; i < n * parts; i++) mica_tensor_set(code, i, (double)(i * i % words));
  need(mica_tape_create(engine, NULL, &t));
  mica_backward(t, mica_mse(t, mica_contrastive_pq_decode(t, node, mica_input(t, code)),
                            mica_input(t, target)));
  need(mica_tape_status(t));
  const mica_view g = mica_param_grad(codebook);
  for (int64_t w = 0; w < parts * words * d / parts; w++) {
    double loss[2];
    for (int side = 0; side < 2; side++) {
      mica_tape_reset(t);
      float *c = mica_param_write(codebook);
      const float was = c[w];
      c[w] = was + (side ? 0.01f : -0.01f);
      loss[side] =
          mica_item(t, mica_mse(t, mica_contrastive_pq_decode(t, node, mica_input(t, code)),
                                mica_input(t, target)));
      c[w] = was;
    }
    assert_true(fabs((loss[1] - loss[0]) / 0.02 - (double)((float *)g.data)[w]) < 1e-3);
  }
  mica_tape_free(t);
  mica_tensor_free(code);
  mica_tensor_free(target);
  mica_params_free(p);
}

static void test_what_the_layer_refuses(void **state) {
  (void)state;
  mica_params *p;
  mica_quantiser *q;
  need(mica_params_create(engine, 3, &p));
  mica_node *root = mica_params_root(p), *plain = mica_node_child(root, "plain");
  assert_int_equal(mica_contrastive_pq_init(root, 10, 3, 8, false), MICA_ERR_INVALID);
  assert_int_equal(mica_contrastive_pq_init(root, 10, 0, 8, false), MICA_ERR_INVALID);
  assert_int_equal(mica_contrastive_pq_init(root, 10, 5, 257, false), MICA_ERR_INVALID);
  assert_int_equal(mica_contrastive_pq_init(root, 10, 5, 1, false), MICA_ERR_INVALID);
  assert_int_equal(mica_contrastive_pq_export(root, &q), MICA_ERR_NOT_FOUND);
  need(mica_contrastive_pq_init(plain, 4, 2, 3, false));
  mica_tensor *x = draw(1, MICA_F32, 20, 4);
  const mica_view v = mica_tensor_view(x);
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  o.parts = 2;
  o.words = 3;
  o.rotations = 1;
  need(mica_quantiser_fit(engine, &v, &o, &q));
  assert_int_equal(mica_contrastive_pq_import(plain, q), MICA_ERR_INVALID); /* a rotation */
  mica_quantiser_free(q);
  o.rotations = 0;
  o.words = 4;
  need(mica_quantiser_fit(engine, &v, &o, &q));
  assert_int_equal(mica_contrastive_pq_import(plain, q), MICA_ERR_INVALID);
  mica_quantiser_free(q);
  mica_tensor_free(x);
  mica_params_free(p);
}

/* ---- losses ---- */

static const double temperature = 0.8;

static mica_var loss_of(mica_tape *t, mica_tensor *const x[3], mica_tensor *const mask[2],
                        mica_var in[3]) {
  for (int i = 0; i < 3; i++) in[i] = mica_leaf(t, x[i]);
  return mica_in_batch_loss(t, in[0], in[1], in[2], mica_input(t, mask[0]), mica_input(t, mask[1]),
                            temperature);
}

static void test_loss_within_a_batch(void **state) {
  (void)state;
  enum { n = 4, more = 3, d = 5 };
  mica_tensor *x[3] = {draw(1, MICA_F64, n, d), draw(2, MICA_F64, n, d),
                       draw(3, MICA_F64, more, d)};
  mica_tensor *mask[2];
  mica_tape *t;
  need(mica_tensor_create(MICA_F32, MICA_SHAPE(n, n), &mask[0]));
  need(mica_tensor_create(MICA_F32, MICA_SHAPE(n, more), &mask[1]));
  for (int64_t i = 0; i < n * n; i++) mica_tensor_set(mask[0], i, i % 5 != 0); /* and diagonals */
  for (int64_t i = 0; i < n * more; i++) mica_tensor_set(mask[1], i, i != 4);
  need(mica_tape_create(engine, NULL, &t));
  mica_var in[3];
  mica_var loss = loss_of(t, x, mask, in);
  /* As written down. */
  double expected = 0;
  for (int64_t i = 0; i < n; i++) {
    double sum = 0, own = 0;
    for (int64_t j = 0; j < n + more; j++) {
      double s = 0;
      for (int64_t c = 0; c < d; c++)
        s += mica_tensor_get(x[0], i * d + c) *
             mica_tensor_get(j < n ? x[1] : x[2], (j < n ? j : j - n) * d + c);
      if (j < n ? mica_tensor_get(mask[0], i * n + j) == 0 && i != j
                : mica_tensor_get(mask[1], i * more + j - n) == 0)
        s = -10000;
      sum += exp(s / temperature);
      if (j == i) own = s / temperature;
    }
    expected += (log(sum) - own) / n;
  }
  assert_true(fabs(mica_item(t, loss) - expected) < 1e-10);
  mica_backward(t, loss);
  need(mica_tape_status(t));
  mica_tensor *gradient[3];
  for (int i = 0; i < 3; i++) need(mica_copy_out(t, mica_gradient(t, in[i]), &gradient[i]));
  for (int i = 0; i < 3; i++)
    for (int64_t e = 0; e < mica_tensor_count(x[i]); e++) {
      double side[2];
      const double was = mica_tensor_get(x[i], e);
      for (int s = 0; s < 2; s++) {
        mica_tape_reset(t);
        mica_tensor_set(x[i], e, was + (s ? 1e-5 : -1e-5));
        side[s] = mica_item(t, loss_of(t, x, mask, in));
      }
      mica_tensor_set(x[i], e, was);
      assert_true(fabs((side[1] - side[0]) / 2e-5 - mica_tensor_get(gradient[i], e)) < 1e-7);
    }
  for (int i = 0; i < 3; i++) {
    mica_tensor_free(x[i]);
    mica_tensor_free(gradient[i]);
  }
  mica_tensor_free(mask[0]);
  mica_tensor_free(mask[1]);
  mica_tape_free(t);
}

static void test_what_losses_refuse(void **state) {
  (void)state;
  mica_params *p;
  mica_tape *t;
  need(mica_params_create(engine, 0, &p));
  mica_node *node = mica_params_root(p);
  need(mica_contrastive_pq_init(node, 4, 2, 3, false));
  mica_tensor *x = draw(1, MICA_F32, 3, 4), *y = draw(2, MICA_F32, 2, 4);
  need(mica_tape_create(engine, NULL, &t));
  mica_in_batch_loss(t, mica_input(t, x), mica_input(t, y), MICA_NONE, MICA_NONE, MICA_NONE, 1);
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  mica_tape_reset(t);
  mica_in_batch_loss(t, mica_input(t, x), mica_input(t, x), MICA_NONE, MICA_NONE, MICA_NONE, 0);
  assert_int_equal(mica_tape_status(t), MICA_ERR_INVALID);
  mica_tape_reset(t);
  mica_var ids = mica_full(t, MICA_I64, MICA_SHAPE(3, 3), 0);
  mica_in_batch_loss(t, mica_input(t, x), mica_input(t, x), MICA_NONE, ids, MICA_NONE, 1);
  assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
  mica_tape_reset(t);
  mica_retriever_loss_options o = MICA_RETRIEVER_LOSS_OPTIONS;
  o.dense = o.codes = o.squares = 0;
  mica_contrastive_pq_loss(t, node, mica_input(t, x), mica_input(t, x), MICA_NONE, MICA_NONE,
                           MICA_NONE, &o, NULL);
  assert_int_equal(mica_tape_status(t), MICA_ERR_INVALID);
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_tensor_free(y);
  mica_params_free(p);
}

/* ---- batches ---- */

enum { queries = 50, documents = 80, depth = 10, batch = 8 };
static int64_t right_at[queries + 1], right[2 * queries], candidate[queries * depth];

/* Query i is right with documents i and, if even, i + 1; its candidates come from its own group of
 * ten, so that walks stay there. */
static mica_relevance make_truth(void) {
  int64_t at = 0;
  for (int64_t i = 0; i < queries; i++) {
    right_at[i] = at;
    right[at++] = i;
    if (i % 2 == 0) right[at++] = i + 1;
    for (int64_t j = 0; j < depth; j++) candidate[i * depth + j] = i / 10 * 10 + (i + j) % 10;
    candidate[i * depth + depth - 1] = -1;
  }
  right_at[queries] = at;
  return (mica_relevance){queries, documents, right_at, right};
}

static bool is_right(int64_t query, int64_t document) {
  for (int64_t j = right_at[query]; j < right_at[query + 1]; j++)
    if (right[j] == document) return true;
  return false;
}

static void test_batches_of_neighbours(void **state) {
  (void)state;
  const mica_relevance truth = make_truth();
  double near[3];
  for (int walk = MICA_WALK_RANDOM; walk <= MICA_WALK_BREADTH; walk++) {
    mica_locality_options o = MICA_LOCALITY_OPTIONS;
    mica_locality *s;
    int64_t query[batch], positive[batch], negative[batch * 2], count, first[batch] = {0};
    int64_t together = 0, pairs = 0, hard = 0, all = 0;
    o.walk = walk;
    o.batch = batch;
    o.negatives = 2;
    o.link_to = o.to = depth;
    need(mica_locality_create(&truth, candidate, depth, &o, &s));
    for (int64_t epoch = 0; epoch < 3; epoch++) {
      int used[queries] = {0};
      mica_locality_begin(s, epoch);
      bool opening = true;
      while ((count = mica_locality_next(s, query, positive, negative)) > 0) {
        if (opening && epoch == 0) memcpy(first, query, sizeof first);
        if (opening && epoch == 1) assert_memory_not_equal(first, query, sizeof first);
        opening = false;
        int seen[documents] = {0};
        for (int64_t i = 0; i < count; i++) {
          used[query[i]]++;
          assert_true(is_right(query[i], positive[i]));
          for (int64_t j = 0; j < 2; j++) {
            const int64_t document = negative[2 * i + j];
            assert_in_range(document, 0, documents - 1);
            assert_false(is_right(query[i], document));
            assert_int_equal(seen[document]++, 0);
            hard += document / 10 == query[i] / 10;
            all++;
          }
          for (int64_t j = 0; j < i; j++, pairs++) together += query[i] / 10 == query[j] / 10;
        }
      }
      for (int64_t i = 0; i < queries; i++) assert_int_equal(used[i], 1);
    }
    near[walk] = (double)together / (double)pairs;
    assert_true((double)hard > 0.3 * (double)all);
    /* The same epoch again is the same again. */
    mica_locality_begin(s, 0);
    assert_int_equal(mica_locality_next(s, query, positive, negative), batch);
    assert_memory_equal(first, query, sizeof first);
    mica_locality_free(s);
  }
  assert_true(near[MICA_WALK_DEPTH] > 2 * near[MICA_WALK_RANDOM]);
  assert_true(near[MICA_WALK_BREADTH] > 2 * near[MICA_WALK_RANDOM]);
}

static void test_batches_without_candidates(void **state) {
  (void)state;
  const mica_relevance truth = make_truth();
  mica_locality_options o = MICA_LOCALITY_OPTIONS;
  mica_locality *s;
  int64_t query[batch], positive[batch], negative[batch], total = 0, count;
  o.batch = batch;
  need(mica_locality_create(&truth, NULL, 0, &o, &s));
  while ((count = mica_locality_next(s, query, positive, negative)) > 0) total += count;
  assert_int_equal(total, queries);
  assert_int_equal(mica_locality_next(s, query, positive, negative), 0);
  mica_locality_free(s);
}

static void test_what_batches_refuse(void **state) {
  (void)state;
  mica_relevance truth = make_truth();
  mica_locality_options o = MICA_LOCALITY_OPTIONS;
  mica_locality *s;
  o.batch = 0;
  assert_int_equal(mica_locality_create(&truth, candidate, depth, &o, &s), MICA_ERR_INVALID);
  o.batch = 4;
  o.walk = 7;
  assert_int_equal(mica_locality_create(&truth, candidate, depth, &o, &s), MICA_ERR_INVALID);
  o.walk = MICA_WALK_DEPTH;
  o.to = -1;
  assert_int_equal(mica_locality_create(&truth, candidate, depth, &o, &s), MICA_ERR_INVALID);
  o.to = 5;
  candidate[3] = documents;
  assert_int_equal(mica_locality_create(&truth, candidate, depth, &o, &s), MICA_ERR_INVALID);
  candidate[3] = 0;
  assert_int_equal(mica_locality_create(&truth, NULL, depth, &o, &s), MICA_ERR_INVALID);
  right[5] = -1;
  assert_int_equal(mica_locality_create(&truth, candidate, depth, &o, &s), MICA_ERR_INVALID);
  make_truth();
  right_at[4] = right_at[3];
  assert_int_equal(mica_locality_create(&truth, candidate, depth, &o, &s), MICA_ERR_INVALID);
  make_truth();
}

/* ---- mining and training ---- */

enum { width = 6 };

/* Vectors are rows of a table, which is what is trained: queries first, then documents. */
static mica_var look_up(mica_tape *t, void *ctx, bool of_documents, int64_t n,
                        const int64_t *item) {
  mica_var ids = mica_full(t, MICA_I64, MICA_SHAPE(n), 0);
  const mica_view v = mica_read(t, ids);
  for (int64_t i = 0; mica_ok(t) && i < n; i++)
    ((int64_t *)v.data)[i] = item[i] + (of_documents ? queries : 0);
  return mica_embedding(t, mica_weight(t, ctx, "table"), ids);
}

static mica_status make_table(mica_params **out) {
  const mica_init init = {MICA_INIT_NORMAL, 0, 1, 0, false};
  mica_status status = mica_params_create(engine, 8, out);
  return status ? status
                : mica_param_add(mica_params_root(*out), "table", MICA_F32,
                                 MICA_SHAPE(queries + documents, width), MICA_PARAM_TRAINABLE,
                                 &init, NULL);
}

static mica_status stop_at_two(void *ctx, int64_t epoch) {
  (void)ctx;
  return epoch < 2 ? MICA_OK : mica_fail(MICA_ERR_STATE, "enough");
}

static mica_status train_a_little(void *ctx) {
  const mica_relevance truth = make_truth();
  mica_retriever_options o = MICA_RETRIEVER_OPTIONS;
  mica_retriever_result *result = ctx, own;
  mica_params *p = NULL;
  o.epochs = 3;
  o.optimiser = "adam:lr=0.05";
  o.schedule = "constant";
  o.batches.batch = batch;
  mica_status status = make_table(&p);
  if (!status) {
    o.codes = mica_node_child(mica_params_root(p), "codes");
    status = mica_contrastive_pq_init(o.codes, width, 3, 4, true);
  }
  if (!status)
    status = mica_retriever_train(p, look_up, mica_params_root(p), &truth, candidate, depth, &o,
                                  result ? result : &own);
  mica_params_free(p);
  return status;
}

static void test_a_stage_of_training(void **state) {
  (void)state;
  mica_retriever_result r;
  need(train_a_little(&r));
  assert_int_equal(r.steps, 3 * ((queries + batch - 1) / batch));
  assert_true(r.last_loss < 0.8 * r.first_loss);
  /* What is refused. */
  const mica_relevance truth = make_truth();
  mica_retriever_options o = MICA_RETRIEVER_OPTIONS;
  mica_params *p;
  need(make_table(&p));
  o.epochs = 0;
  mica_node *root = mica_params_root(p);
  assert_int_equal(mica_retriever_train(p, look_up, root, &truth, NULL, 0, &o, NULL),
                   MICA_ERR_INVALID);
  o.epochs = 5;
  o.optimiser = "adam:lr=fast";
  assert_int_equal(mica_retriever_train(p, look_up, root, &truth, NULL, 0, &o, NULL),
                   MICA_ERR_INVALID);
  o.optimiser = "sgd:lr=0.1";
  o.epoch = stop_at_two;
  o.batches.batch = batch;
  assert_int_equal(mica_retriever_train(p, look_up, root, &truth, NULL, 0, &o, &r), MICA_ERR_STATE);
  assert_int_equal(r.steps, 2 * ((queries + batch - 1) / batch));
  mica_params_free(p);
}

static void test_mining(void **state) {
  (void)state;
  const mica_relevance truth = make_truth();
  mica_tensor *x = draw(5, MICA_F32, documents, width), *q = draw(6, MICA_F32, queries, width);
  mica_index_batch rows = MICA_INDEX_BATCH;
  mica_index *index;
  rows.x = mica_tensor_view(x);
  need(mica_index_create(engine, "exact:metric=inner", &rows, &index));
  const mica_view asked = mica_tensor_view(q);
  int64_t *id = mica_malloc(queries * documents * sizeof *id);
  need(mica_mine_negatives(index, &asked, NULL, &truth, documents, 0, id));
  for (int64_t i = 0; i < queries; i++) {
    const int64_t lacking = right_at[i + 1] - right_at[i];
    for (int64_t j = 0; j < documents; j++) {
      const int64_t document = id[i * documents + j];
      assert_int_equal(document < 0, j >= documents - lacking);
      assert_true(document < 0 || !is_right(i, document));
    }
  }
  assert_int_equal(mica_mine_negatives(index, &asked, NULL, &truth, 0, 0, id), MICA_ERR_INVALID);
  mica_view few = asked;
  few.shape.dim[0]--;
  assert_int_equal(mica_mine_negatives(index, &few, NULL, &truth, 3, 0, id), MICA_ERR_INVALID);
  mica_free(id);
  mica_index_free(index);
  mica_tensor_free(x);
  mica_tensor_free(q);
}

static void test_memory_runs_out(void **state) {
  (void)state;
  need(train_a_little(NULL));
  assert_true(fail_every(1, train_a_little, NULL) > 20);
}

static int set_up(void **state) {
  (void)state;
  failing_alloc_install();
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  return mica_engine_create(&o, &engine) != MICA_OK;
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  failing_alloc_remove();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_layer),
      cmocka_unit_test(test_gradients_of_the_layer),
      cmocka_unit_test(test_what_the_layer_refuses),
      cmocka_unit_test(test_loss_within_a_batch),
      cmocka_unit_test(test_what_losses_refuse),
      cmocka_unit_test(test_batches_of_neighbours),
      cmocka_unit_test(test_batches_without_candidates),
      cmocka_unit_test(test_what_batches_refuse),
      cmocka_unit_test(test_a_stage_of_training),
      cmocka_unit_test(test_mining),
      cmocka_unit_test(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
