/* Networks that read tokens, categorical fields, or several things at once: the problem is checked
 * against the architecture, trained, kept in the model file, and a session takes a view of each. */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N          7
#define COLUMNS    2
#define FIELDS     2
#define VOCABULARY 9
#define LENGTH     4
#define WIDTH      3

static mica_engine *engine;
static const int64_t field_size[FIELDS] = {5, 3};

/* A plug-in: sums of embeddings of tokens and fields and of a linear map of the columns. With
 * classes an answer for each example, without them scores of the vocabulary for each token. */
static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  (void)options;
  mica_status status =
      mica_nn_embedding_init(mica_node_child(root, "tokens"), task->vocabulary, WIDTH);
  for (int64_t f = 0; f < task->fields && status == MICA_OK; f++)
    status = mica_nn_embedding_init(mica_node_childf(root, "field%d", (int)f), task->field_size[f],
                                    WIDTH);
  if (status == MICA_OK)
    status = mica_nn_linear_init(mica_node_child(root, "columns"), task->channels, WIDTH, false);
  return status == MICA_OK
             ? mica_nn_linear_init(mica_node_child(root, "head"), WIDTH,
                                   task->classes ? task->classes : task->vocabulary, true)
             : status;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  (void)options;
  static const int positions[] = {1};
  mica_node *head = mica_node_find(root, "head");
  const int64_t outputs = mica_dim(t, mica_weight(t, head, "bias"), 0);
  out->tokens = mica_nn_embedding(t, mica_node_find(root, "tokens"), in->tokens);
  mica_var sum = mica_mean(t, out->tokens, 1, positions, false);
  sum = mica_add(t, sum, mica_nn_linear(t, mica_node_find(root, "columns"), in->x));
  for (int f = 0; f < FIELDS; f++) {
    char name[16];
    snprintf(name, sizeof name, "field%d", f);
    const mica_var ids = mica_reshape(t, mica_slice(t, in->fields, 1, f, f + 1), MICA_SHAPE(-1));
    sum = mica_add(t, sum, mica_nn_embedding(t, mica_node_find(root, name), ids));
  }
  out->features = sum;
  out->logits = mica_nn_linear(t, head, outputs == VOCABULARY ? out->tokens : sum);
}

static const char *head_of(const void *options) {
  (void)options;
  return "head";
}
static int64_t features(const void *options, const mica_problem *task) {
  (void)options, (void)task;
  return WIDTH;
}

typedef struct no_options {
  uint32_t size;
} no_options;
static const mica_option table[] = {{0}};
static const mica_model_functions functions = {init, forward, head_of, features};
static const mica_component mixed = {MICA_COMPONENT_HEAD,
                                     MICA_KIND_MODEL,
                                     "mixed",
                                     "tokens, fields and columns",
                                     NULL,
                                     table,
                                     sizeof(no_options),
                                     MICA_NEED_TOKENS | MICA_NEED_FIELDS | MICA_NEED_ROWS,
                                     MICA_NEED_LOGITS | MICA_NEED_FEATURES | MICA_NEED_TOKENS,
                                     &functions};

static mica_problem problem(int64_t classes) {
  return (mica_problem){0, 0, COLUMNS, classes, VOCABULARY, LENGTH, FIELDS, field_size};
}

static int64_t token[N * LENGTH], field[N * FIELDS];
static float column[N * COLUMNS];

static int setup(void **state) {
  (void)state;
  for (int i = 0; i < N * LENGTH; i++) token[i] = i * 5 % VOCABULARY;
  for (int i = 0; i < N * FIELDS; i++) field[i] = i * 3 % field_size[i % FIELDS];
  for (int i = 0; i < N * COLUMNS; i++)
    column[i] = (float)mica_random_normal(mica_key_seed(5), (uint64_t)i);
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  return mica_engine_register(engine, &mixed) != MICA_OK;
}
static int teardown(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

static void refused(const char *spec, mica_problem p, const char *why) {
  mica_net *net;
  assert_int_equal(mica_net_create(engine, spec, &p, 1, &net), MICA_ERR_INVALID);
  assert_null(net);
  if (!strstr(mica_last_error(), why)) fail_msg("%s", mica_last_error());
}

static void test_problems(void **state) {
  (void)state;
  mica_problem p = problem(2);
  refused("mlp", p, "mlp cannot read tokens");
  p.vocabulary = p.length = 0;
  refused("mlp", p, "mlp cannot read categorical fields");
  refused("mixed", p, "mixed reads tokens, and the examples have none");
  p = problem(2);
  p.fields = 0;
  refused("mixed", p, "reads categorical fields, and the examples have none");
  p = problem(2);
  p.length = 0;
  refused("mixed", p, "0 tokens of a vocabulary of 9");
  p = problem(2);
  p.field_size = NULL;
  refused("mixed", p, "2 fields without their sizes");
  static const int64_t none[FIELDS] = {4, 0};
  p.field_size = none;
  refused("mixed", p, "field 1 has 0 values");
  refused("mlp", (mica_problem)MICA_PROBLEM_ROWS(0, 2), "0x0x0");
}

/* ---- on a tape ---- */

static mica_net *make(int64_t classes) {
  mica_net *net;
  int64_t size[FIELDS] = {field_size[0], field_size[1]};
  mica_problem p = problem(classes);
  p.field_size = size;
  if (mica_net_create(engine, "mixed", &p, 3, &net) != MICA_OK) fail_msg("%s", mica_last_error());
  size[0] = size[1] = 0; /* the network has its own copy */
  assert_int_equal(mica_net_problem(net)->field_size[0], field_size[0]);
  return net;
}

static mica_tensor *tensor(void *data, mica_dtype dtype, int64_t width) {
  mica_tensor *out;
  const mica_view v = mica_view_of(data, dtype, MICA_SHAPE(N, width));
  assert_int_equal(mica_tensor_from_view(&v, dtype, &out), MICA_OK);
  return out;
}

static mica_batch batch(void) {
  return (mica_batch){.n = N,
                      .x = tensor(column, MICA_F32, COLUMNS),
                      .tokens = tensor(token, MICA_I64, LENGTH),
                      .fields = tensor(field, MICA_I64, FIELDS)};
}
static void batch_free(mica_batch *b) {
  mica_tensor_free(b->x);
  mica_tensor_free(b->tokens);
  mica_tensor_free(b->fields);
  mica_tensor_free(b->labels);
}

static void test_shapes(void **state) {
  (void)state;
  mica_net *net = make(2);
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  static const char *const why[] = {"[N,2]", "int64 tokens [N,L]", "int64 fields [N,2]"};
  for (int wrong = 0; wrong < 4; wrong++) {
    mica_tape_reset(t);
    const mica_var odd = mica_full(t, MICA_F32, MICA_SHAPE(N, 3), 0);
    mica_batch b = batch();
    mica_inputs in = {mica_input(t, b.x), mica_input(t, b.tokens), mica_input(t, b.fields)};
    mica_outputs out;
    if (wrong == 0) in.x = odd;
    if (wrong == 1) in.tokens = odd;
    if (wrong == 2) in.fields = odd;
    mica_net_forward_inputs(t, net, &in, &out);
    assert_int_equal(mica_tape_status(t), wrong < 3 ? MICA_ERR_SHAPE : MICA_OK);
    if (wrong < 3 && !strstr(mica_tape_error(t), why[wrong])) fail_msg("%s", mica_tape_error(t));
    mica_tape_reset(t);
    batch_free(&b);
  }
  mica_tape_free(t);
  mica_net_free(net);
}

/* ---- training ---- */

static mica_status seek(void *ctx, int64_t epoch, int64_t at) {
  (void)ctx, (void)epoch, (void)at;
  return MICA_OK;
}
static mica_status next(void *ctx, mica_batch *out) {
  *out = *(const mica_batch *)ctx;
  return MICA_OK;
}

/* Scores for each token: the labels are [n, L], and -100 counts neither in the loss nor in the
 * measures. */
static void test_tokens_train(void **state) {
  (void)state;
  mica_net *net = make(0);
  mica_batch b = batch();
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(N, LENGTH), &b.labels), MICA_OK);
  for (int i = 0; i < N * LENGTH; i++)
    mica_tensor_set(b.labels, i, i % LENGTH ? (double)((token[i] + 1) % VOCABULARY) : -100);
  const mica_stream stream = {&b, 1, seek, next};
  mica_evaluation before, after;
  assert_int_equal(mica_evaluate(net, &stream, true, false, &before), MICA_OK);
  assert_int_equal(mica_tensor_dim(before.logits, 0), N * LENGTH);
  assert_int_equal(mica_tensor_dim(before.labels, 0), N * LENGTH);
  mica_train_options o = MICA_TRAIN_OPTIONS;
  o.optimiser = "adam:lr=0.1";
  o.schedule = "constant";
  o.epochs = 200;
  if (mica_train(net, &stream, NULL, &o, NULL) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_evaluate(net, &stream, false, false, &after), MICA_OK);
  assert_true(after.loss < 0.1 * before.loss);
  assert_true(after.accuracy == 1);
  mica_evaluation_clear(&before);
  mica_evaluation_clear(&after);
  /* A label for each example does not fit scores for each token. */
  mica_tensor_free(b.labels);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(N), &b.labels), MICA_OK);
  assert_int_equal(mica_evaluate(net, &stream, false, false, &after), MICA_ERR_SHAPE);
  batch_free(&b);
  mica_net_free(net);
}

/* ---- model file and session ---- */

static void test_session(void **state) {
  (void)state;
  char path[] = "/tmp/mica-test-inputs-XXXXXX";
  const char *const names[] = {"no", "yes"};
  const mica_preprocess preprocess = MICA_PREPROCESS(0, 0, COLUMNS);
  mica_model *m[2];
  mica_session *s;
  double p[2][N * 2];
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  mica_view x[3] = {mica_view_of(column, MICA_F32, MICA_SHAPE(N, COLUMNS)),
                    mica_view_of(token, MICA_I64, MICA_SHAPE(N, LENGTH)),
                    mica_view_of(field, MICA_I64, MICA_SHAPE(N, FIELDS))};
  assert_int_equal(mica_model_create(make(2), &preprocess, names, NULL, &m[0]), MICA_OK);
  assert_int_equal(mica_model_set_tokenizer(m[0], "bytes"), MICA_ERR_FORMAT);
  assert_int_equal(mica_model_set_tokenizer(m[0], "{\"kind\":\"bytes\"}"), MICA_OK);
  assert_int_equal(mica_model_save(m[0], path), MICA_OK);
  if (mica_model_open(engine, path, &m[1]) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_string_equal(mica_model_tokenizer(m[1]), "{\"kind\":\"bytes\"}");
  const mica_problem *problem = mica_net_problem(mica_model_net(m[1]));
  assert_int_equal(problem->vocabulary, VOCABULARY);
  assert_int_equal(problem->length, LENGTH);
  assert_int_equal(problem->fields, FIELDS);
  assert_memory_equal(problem->field_size, field_size, sizeof field_size);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(mica_session_create(m[i], &s), MICA_OK);
    if (mica_predict_probabilities(s, x, 2, p[i]) != MICA_OK) fail_msg("%s", mica_last_error());
    for (int wrong = 0; wrong < 3; wrong++) {
      const mica_view kept = x[wrong];
      x[wrong].shape.dim[0]--; /* another number of examples than the first view has */
      if (wrong == 0) x[0] = x[1];
      assert_int_equal(mica_predict_probabilities(s, x, 2, p[1]), MICA_ERR_SHAPE);
      x[wrong] = kept;
    }
    field[3] = field_size[1];
    assert_int_equal(mica_predict_probabilities(s, x, 2, p[1]), MICA_ERR_INVALID);
    field[3] = 3 * 3 % field_size[1];
    mica_session_free(s);
  }
  assert_int_equal(mica_session_create(m[1], &s), MICA_OK);
  assert_int_equal(mica_predict_probabilities(s, x, 2, p[1]), MICA_OK);
  assert_memory_equal(p[0], p[1], sizeof p[0]);
  mica_session_free(s);
  mica_model_free(m[0]);
  mica_model_free(m[1]);
  /* Scores for each token are no answer for an example. */
  assert_int_equal(mica_model_create(make(0), &preprocess, NULL, NULL, &m[0]), MICA_OK);
  assert_int_equal(mica_session_create(m[0], &s), MICA_OK);
  mica_answer answer[N];
  assert_int_equal(mica_predict(s, x, answer), MICA_ERR_UNSUPPORTED);
  float embedding[N * WIDTH];
  assert_int_equal(mica_embed(s, x, embedding), MICA_OK);
  mica_session_free(s);
  mica_model_free(m[0]);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_problems), cmocka_unit_test(test_shapes),
                                     cmocka_unit_test(test_tokens_train),
                                     cmocka_unit_test(test_session)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
