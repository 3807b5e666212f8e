/* How much memory steps take: networks at inference no more than their largest block, recomputation
 * less than training without it, attention in proportion to the length, and a training step in
 * steady state no new memory at all. Backward gives back what forward saved. */
#include "support/test.h"

#include <mica/train.h>

#include <stdio.h>
#include <stdlib.h>

static const mica_problem problem = MICA_PROBLEM_IMAGES(16, 16, 3, 5);

/* One thread: whether two of them need scratch at the same moment is up to the system. */
static mica_engine *engine_of(int libraries) {
  mica_engine *engine = NULL;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  o.libraries = libraries;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  return engine;
}

static mica_net *net_of(mica_engine *engine, const char *spec) {
  mica_net *net = NULL;
  assert_int_equal(mica_net_create(engine, spec, &problem, 1, &net), MICA_OK);
  return net;
}

/* The most that one forward of a batch holds. */
static uint64_t peak(const char *spec, bool recording) {
  mica_engine *engine = engine_of(0);
  mica_net *net = net_of(engine, spec);
  mica_tape *t;
  mica_outputs out;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  if (!recording) mica_no_grad_begin(t);
  mica_net_forward(t, net, mica_random_normal_like(t, MICA_SHAPE(8, 16, 16, 3), MICA_F32, 0, 1),
                   &out);
  assert_true(mica_ok(t));
  const uint64_t bytes = mica_tape_memory_use(t).peak;
  mica_tape_free(t);
  mica_net_free(net);
  mica_engine_free(engine);
  return bytes;
}

static void test_inference_is_one_block(void **state) {
  (void)state;
  static const char *const pairs[][2] = {
      {"resnet:depth=14:width=8", "resnet:depth=32:width=8"},
      {"vit:patch=4:dim=32:depth=2:heads=4", "vit:patch=4:dim=32:depth=10:heads=4"}};
  for (int i = 0; i < 2; i++) {
    const uint64_t shallow = peak(pairs[i][0], false), deep = peak(pairs[i][1], false);
    print_message("%s: %llu bytes, deeper: %llu, recording: %llu\n", pairs[i][0],
                  (unsigned long long)shallow, (unsigned long long)deep,
                  (unsigned long long)peak(pairs[i][1], true));
    assert_true(deep <= shallow + shallow / 20);
    assert_true(peak(pairs[i][1], true) > 3 * deep);
  }
}

/* ---- backward ---- */

/* What forward saved goes back as backward passes it: little more is ever held than at its start,
 * and in the end no more than forward's results. */
static void test_backward_gives_back(void **state) {
  (void)state;
  static const char *const specs[] = {"resnet:depth=20:width=8",
                                      "vit:patch=4:dim=32:depth=6:heads=4"};
  static const int64_t some[8] = {0, 1, 2, 3, 4, 0, 1, 2};
  const mica_view labels = mica_view_of((void *)(uintptr_t)some, MICA_I64, MICA_SHAPE(8));
  for (int i = 0; i < 2; i++) {
    mica_engine *engine = engine_of(0);
    mica_net *net = net_of(engine, specs[i]);
    mica_tape *t;
    mica_outputs out;
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    mica_set_training(t, true);
    mica_var x = mica_random_normal_like(t, MICA_SHAPE(8, 16, 16, 3), MICA_F32, 0, 1);
    mica_net_forward(t, net, x, &out);
    mica_var loss = mica_cross_entropy(t, out.logits, mica_borrow(t, &labels), MICA_NONE, NULL);
    const uint64_t saved = mica_tape_memory_use(t).in_use;
    if (mica_backward(t, loss) != MICA_OK) fail_msg("%s", mica_last_error());
    const mica_tape_memory after = mica_tape_memory_use(t);
    print_message("%s: %llu bytes after forward, at most %llu, %llu after backward\n", specs[i],
                  (unsigned long long)saved, (unsigned long long)after.peak,
                  (unsigned long long)after.in_use);
    assert_true(after.in_use < saved / 4);
    assert_true(after.peak < saved + saved / 2);
    mica_tape_free(t);
    mica_net_free(net);
    mica_engine_free(engine);
  }
}

/* The most that attention over L positions holds, forward and backward: softmax, sharpened softplus
 * with what masks it, and the same of two sequences in one. */
static uint64_t attention_peak(int64_t length, bool sharpened, bool ragged) {
  mica_engine *engine = engine_of(0);
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_tensor *x, *ids;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(1, length, 2, 8), &x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(length), &ids), MICA_OK);
  for (int64_t i = 0; i < mica_tensor_count(x); i++)
    mica_tensor_set(x, i, mica_random_normal(mica_key_seed(1), (uint64_t)i));
  for (int64_t i = 0; i < length; i++) mica_tensor_set(ids, i, (double)(i / 100));
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  const double slopes[2] = {0.5, 0.25};
  if (sharpened) {
    o.map = MICA_ATTEND_SOFTPLUS;
    o.power = 3;
    o.log_length = o.causal = true;
    o.slopes = slopes;
    if (!ragged) o.query_segments = o.key_segments = mica_input(t, ids);
  }
  mica_var q = mica_leaf(t, x), y;
  if (ragged) {
    const int64_t offsets[3] = {0, length / 3, length};
    const mica_view v = mica_view_of((void *)(uintptr_t)offsets, MICA_I64, MICA_SHAPE(3));
    mica_var rows = mica_reshape(t, q, MICA_SHAPE(length, 2, 8));
    y = mica_ragged_attention(t, rows, rows, rows, MICA_NONE, mica_constant(t, &v), MICA_NONE, &o,
                              NULL);
  } else {
    y = mica_attention(t, q, q, q, MICA_NONE, &o, NULL);
  }
  if (mica_backward(t, mica_sum(t, y, 0, NULL, false)) != MICA_OK)
    fail_msg("%s", mica_last_error());
  const uint64_t bytes = mica_tape_memory_use(t).peak;
  mica_tensor_free(x);
  mica_tensor_free(ids);
  mica_tape_free(t);
  mica_engine_free(engine);
  return bytes;
}

static void test_attention_is_linear(void **state) {
  (void)state;
  for (int form = 0; form < 3; form++) {
    const uint64_t one = attention_peak(512, form > 0, form > 1),
                   four = attention_peak(2048, form > 0, form > 1);
    print_message("512 positions: %llu bytes, 2048: %llu\n", (unsigned long long)one,
                  (unsigned long long)four);
    assert_true(four < 5 * one);
  }
}

/* ---- recomputation ---- */

typedef struct layer {
  mica_node *node;
} layer;

static void perceptron(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out,
                       mica_var *out) {
  (void)n_in, (void)n_out;
  mica_node *node = ((const layer *)ctx)->node;
  out[0] = mica_add(t, in[0], mica_nn_mlp(t, node, MICA_GELU, 0, in[0]));
}

static uint64_t training_peak(bool recompute) {
  enum { LAYERS = 8 };
  mica_engine *engine = engine_of(0);
  mica_params *p;
  mica_tape *t;
  layer layers[LAYERS];
  assert_int_equal(mica_params_create(engine, 1, &p), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_var x = mica_random_normal_like(t, MICA_SHAPE(64, 32), MICA_F32, 0, 1);
  for (int i = 0; i < LAYERS; i++) {
    layers[i].node = mica_node_childf(mica_params_root(p), "l.%d", i);
    assert_int_equal(mica_nn_mlp_init(layers[i].node, 32, 128, 32), MICA_OK);
    mica_var y;
    if (recompute)
      mica_recompute(t, perceptron, &layers[i], 1, &x, 1, &y);
    else
      perceptron(t, &layers[i], 1, &x, 1, &y);
    x = y;
  }
  assert_int_equal(mica_backward(t, mica_mean(t, mica_square(t, x), 0, NULL, false)), MICA_OK);
  const uint64_t bytes = mica_tape_memory_use(t).peak;
  mica_tape_free(t);
  mica_params_free(p);
  mica_engine_free(engine);
  return bytes;
}

static void test_recomputation_saves(void **state) {
  (void)state;
  const uint64_t with = training_peak(true), without = training_peak(false);
  print_message("recomputing: %llu bytes, without: %llu\n", (unsigned long long)with,
                (unsigned long long)without);
  assert_true(2 * with < without);
}

/* ---- steady state ---- */

static long allocations;
static void *counting_realloc(void *ctx, void *block, size_t n) {
  (void)ctx;
  __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
  return realloc(block, n);
}
static void counting_free(void *ctx, void *block) {
  (void)ctx;
  free(block);
}

static void steps(const char *spec, const char *optimiser) {
  static const int64_t some[8] = {0, 1, 2, 3, 4, 0, 1, 2};
  mica_engine *engine = engine_of(1);
  mica_net *net = net_of(engine, spec);
  mica_params *p = mica_net_params(net);
  mica_optimiser *opt;
  mica_tape *t;
  assert_int_equal(mica_optimiser_create(p, optimiser, &opt), MICA_OK);
  mica_optimiser_clip(opt, 1);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_set_training(t, true);
  long before = 0;
  for (int i = 0; i < 6; i++) {
    if (i == 3) before = allocations;
    mica_outputs out;
    const mica_view labels = mica_view_of((void *)(uintptr_t)some, MICA_I64, MICA_SHAPE(8));
    mica_tape_reset(t);
    mica_tape_set_step(t, (uint64_t)i, 0);
    mica_params_zero_grad(p);
    mica_net_forward(t, net, mica_random_normal_like(t, MICA_SHAPE(8, 16, 16, 3), MICA_F32, 0, 1),
                     &out);
    mica_var loss = mica_cross_entropy(t, out.logits, mica_borrow(t, &labels), MICA_NONE, NULL);
    if (mica_backward(t, loss) != MICA_OK) fail_msg("%s", mica_last_error());
    assert_int_equal(mica_optimiser_step(opt, t, 1), MICA_OK);
    assert_int_equal(mica_commit(t), MICA_OK);
  }
  const long more = allocations - before;
  if (more) fail_msg("%s: %ld allocations in three steps", spec, more);
  mica_tape_free(t);
  mica_optimiser_free(opt);
  mica_net_free(net);
  mica_engine_free(engine);
}

static void test_steady_state(void **state) {
  (void)state;
  const mica_allocator counting = {NULL, counting_realloc, counting_free};
  mica_set_allocator(&counting);
  steps("mlp:hidden=16:dropout=0.2", "sgd:lr=0.1:momentum=0.9");
  steps("resnet:depth=8:width=16", "sgd:lr=0.1:momentum=0.9:nesterov");
  steps("vit:patch=4:dim=32:depth=2:heads=4:drop_path=0.1:dropout=0.1", "adamw:amsgrad");
  mica_set_allocator(NULL);
}

/* The same of the trainer: from its second epoch on, what lies between two steps' reports. */
static long last_count;
static int between_steps(void *ctx, const mica_train_metrics *m) {
  const long more = allocations - last_count;
  /* Behind the end of an epoch come the evaluation and the next epoch's first batch. */
  static bool fresh;
  if (m->epoch > 0 && !m->end_of_epoch && !fresh) *(long *)ctx += more;
  fresh = m->end_of_epoch;
  last_count = allocations;
  return 0;
}

static void test_trainer_in_steady_state(void **state) {
  (void)state;
  const mica_allocator counting = {NULL, counting_realloc, counting_free};
  mica_set_allocator(&counting);
  mica_engine *engine = engine_of(1);
  mica_net *net = net_of(engine, "resnet:depth=8:width=8");
  mica_tensor *x, *labels;
  mica_stream stream;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(40, 16, 16, 3), &x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(40), &labels), MICA_OK);
  for (int64_t i = 0; i < mica_tensor_count(x); i++)
    mica_tensor_set(x, i, mica_random_normal(mica_key_seed(1), (uint64_t)i));
  for (int64_t i = 0; i < 40; i++) mica_tensor_set(labels, i, (double)(i % 5));
  assert_int_equal(mica_memory_stream_create(x, labels, 8, true, false, 1, &stream), MICA_OK);
  long more = 0;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  o.epochs = 3;
  o.average = 0.9;
  o.clip = 1;
  o.report_every = 1;
  o.report = between_steps;
  o.report_ctx = &more;
  if (mica_train(net, &stream, NULL, &o, NULL) != MICA_OK) fail_msg("%s", mica_last_error());
  if (more) fail_msg("%ld allocations in the steps of two epochs", more);
  mica_memory_stream_free(&stream);
  mica_tensor_free(x);
  mica_tensor_free(labels);
  mica_net_free(net);
  mica_engine_free(engine);
  mica_set_allocator(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_inference_is_one_block),
                                     cmocka_unit_test(test_recomputation_saves),
                                     cmocka_unit_test(test_backward_gives_back),
                                     cmocka_unit_test(test_attention_is_linear),
                                     cmocka_unit_test(test_steady_state),
                                     cmocka_unit_test(test_trainer_in_steady_state)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
