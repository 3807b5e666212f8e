/* Generators: how tokens are drawn, texts longer than the network's, no memory taken once warm. */
#include "support/failing_alloc.h"
#include "support/near.h"

#include "model/sample.h"

#include <mica/generate.h>

#include <string.h>

static mica_engine *engine;

static mica_net *net_of(mica_engine *e, const char *spec, int64_t vocabulary, int64_t length) {
  const mica_problem task = MICA_PROBLEM_TOKENS(vocabulary, length, 0);
  mica_net *net;
  if (mica_net_create(e, spec, &task, 3, &net) != MICA_OK) fail_msg("%s", mica_last_error());
  return net;
}

/* ---- drawing ---- */

static const float logits[5] = {1, 3, -2, 2, 0};

static int64_t draw(const mica_sampling *s, const uint8_t *came, uint64_t number) {
  mica_candidate scratch[5];
  int64_t token = -1;
  static const uint8_t none[5];
  assert_int_equal(mica_sample(s, 5, logits, came ? came : none, number, scratch, &token), MICA_OK);
  return token;
}

/* Shares of many draws beside the probabilities wanted. */
static void shares(mica_sampling s, const double *want) {
  enum { DRAWS = 20000 };
  double count[5] = {0};
  for (uint64_t i = 0; i < DRAWS; i++) count[draw(&s, NULL, i)] += 1.0 / DRAWS;
  for (int i = 0; i < 5; i++)
    if (want[i] == 0)
      assert_true(count[i] == 0);
    else
      assert_true(fabs(count[i] - want[i]) < 0.015);
}

static void softmax(double temperature, const int *in, double *p) {
  double total = 0;
  for (int i = 0; i < 5; i++) total += p[i] = in[i] ? exp((double)logits[i] / temperature) : 0;
  for (int i = 0; i < 5; i++) p[i] /= total;
}

static void test_sampling(void **state) {
  (void)state;
  double p[5];
  softmax(1, (int[]){1, 1, 1, 1, 1}, p);
  shares((mica_sampling){1, 1, 0, 1, 7}, p);
  softmax(2.5, (int[]){1, 1, 1, 1, 1}, p);
  shares((mica_sampling){1, 2.5, 0, 1, 8}, p);
  softmax(1.5, (int[]){1, 1, 0, 1, 0}, p);
  shares((mica_sampling){1, 1.5, 3, 1, 9}, p);
  /* Probabilities 0.64, 0.24, 0.09, ...: the two likeliest are the fewest that reach 0.8. */
  softmax(1, (int[]){0, 1, 0, 1, 0}, p);
  shares((mica_sampling){1, 1, 0, 0.8, 10}, p);
  /* Of the two likeliest, the first holds 0.73. */
  softmax(1, (int[]){0, 1, 0, 0, 0}, p);
  shares((mica_sampling){1, 1, 2, 0.7, 11}, p);
  shares((mica_sampling){1, 1, 0, 1e-9, 12}, p);
  shares((mica_sampling){1, 0, 0, 1, 13}, p);
  shares((mica_sampling){1, 1, 1, 1, 14}, p);
  const uint8_t came[5] = {0, 1, 1, 0, 0};
  const mica_sampling penalty = {2, 0, 0, 1, 0};
  assert_int_equal(draw(&penalty, came, 0), 3); /* 3 / 2 is below 2 */
  const mica_sampling same = {1, 1, 0, 1, 99};
  for (uint64_t i = 0; i < 20; i++) assert_int_equal(draw(&same, NULL, i), draw(&same, NULL, i));
}

static void test_bad_logits(void **state) {
  (void)state;
  const mica_sampling s = {1, 1, 0, 1, 0};
  mica_candidate scratch[3];
  static const uint8_t came[3];
  int64_t token;
  float x[3] = {0, NAN, 1};
  assert_int_equal(mica_sample(&s, 3, x, came, 0, scratch, &token), MICA_ERR_NUMERIC);
  x[0] = x[1] = x[2] = -INFINITY;
  assert_int_equal(mica_sample(&s, 3, x, came, 0, scratch, &token), MICA_ERR_NUMERIC);
  x[1] = INFINITY;
  assert_int_equal(mica_sample(&s, 3, x, came, 0, scratch, &token), MICA_ERR_NUMERIC);
  x[1] = 2;
  assert_int_equal(mica_sample(&s, 3, x, came, 0, scratch, &token), MICA_OK);
  assert_int_equal(token, 1);
}

/* ---- generators ---- */

static const char *const learned = "gpt:dim=16:depth=2:heads=2",
                         *const rotary = "gpt:dim=16:depth=2:heads=2:position=rotary";

static void generate(const char *spec, const mica_generator_options *o, int64_t length, int64_t n,
                     int64_t *out) {
  mica_net *net = net_of(engine, spec, 11, length);
  mica_generator *g;
  const int64_t prompt[3] = {1, 5, 2};
  if (mica_generator_create(net, o, &g) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_generator_feed(g, 3, prompt), MICA_OK);
  for (int64_t i = 0; i < n; i++)
    if (mica_generator_next(g, &out[i]) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_generator_count(g), 3 + n - 1);
  mica_generator_free(g);
  mica_net_free(net);
}

/* Token by token the network's own logits are the largest, also beyond its length. */
static void test_follows_the_network(void **state) {
  (void)state;
  mica_generator_options o = MICA_GENERATOR_OPTIONS;
  o.sampling.temperature = 0;
  int64_t got[40], text[43] = {1, 5, 2};
  for (int k = 0; k < 2; k++) {
    generate(k ? rotary : learned, &o, 12, 40, got);
    mica_net *net = net_of(engine, k ? rotary : learned, 11, 12);
    mica_tape *t;
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    for (int64_t i = 0, from = 0; i < 40; i++) {
      const int64_t n = 3 + i;
      /* Learned positions: when 12 tokens were read, the last 6 begin anew. */
      if (n - from > 12) {
        if (k) break; /* rotary ones go on with sinks: test_kv_cache.c */
        from = n - 7;
      }
      mica_tape_reset(t);
      const mica_view view = mica_view_of(text + from, MICA_I64, MICA_SHAPE(1, n - from));
      mica_outputs out;
      mica_net_forward(t, net, mica_borrow(t, &view), &out);
      const mica_view best = mica_read(t, mica_argmax(t, out.logits, -1));
      assert_int_equal(((int64_t *)best.data)[n - from - 1], got[i]);
      text[n] = got[i];
    }
    mica_tape_free(t);
    mica_net_free(net);
  }
}

static void test_seeds(void **state) {
  (void)state;
  mica_generator_options o = MICA_GENERATOR_OPTIONS;
  int64_t a[30], b[30], c[30];
  o.sampling.seed = 4;
  generate(rotary, &o, 12, 30, a);
  generate(rotary, &o, 12, 30, b);
  o.sampling.seed = 5;
  generate(rotary, &o, 12, 30, c);
  assert_memory_equal(a, b, sizeof a);
  assert_memory_not_equal(a, c, sizeof a);
}

static void test_pieces_of_a_prompt(void **state) {
  (void)state;
  mica_net *net = net_of(engine, rotary, 11, 2000);
  mica_generator *one, *many;
  int64_t prompt[1300];
  for (int64_t i = 0; i < 1300; i++) prompt[i] = i * i % 11;
  assert_int_equal(mica_generator_create(net, NULL, &one), MICA_OK);
  assert_int_equal(mica_generator_create(net, NULL, &many), MICA_OK);
  assert_int_equal(mica_generator_feed(one, 1300, prompt), MICA_OK);
  for (int64_t i = 0; i < 1300; i += 100)
    assert_int_equal(mica_generator_feed(many, 100, prompt + i), MICA_OK);
  const float *a = mica_generator_logits(one), *b = mica_generator_logits(many);
  for (int i = 0; i < 11; i++) assert_near((double)a[i], (double)b[i], 1e-5);
  mica_generator_clear(many);
  assert_null(mica_generator_logits(many));
  assert_int_equal(mica_generator_count(many), 0);
  assert_int_equal(mica_generator_feed(many, 1300, prompt), MICA_OK);
  b = mica_generator_logits(many);
  for (int i = 0; i < 11; i++) assert_near((double)a[i], (double)b[i], 1e-6);
  mica_generator_free(one);
  mica_generator_free(many);
  mica_net_free(net);
}

static void test_refuses(void **state) {
  (void)state;
  mica_net *net = net_of(engine, learned, 11, 12);
  mica_generator *g;
  mica_generator_options o = MICA_GENERATOR_OPTIONS;
  const mica_sampling bad[] = {{0.5, 1, 0, 1, 0}, {1, -1, 0, 1, 0}, {1, NAN, 0, 1, 0},
                               {1, 1, -1, 1, 0},  {1, 1, 0, 0, 0},  {1, 1, 0, 1.5, 0},
                               {NAN, 1, 0, 1, 0}, {1, 1, 0, NAN, 0}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    o.sampling = bad[i];
    assert_int_equal(mica_generator_create(net, &o, &g), MICA_ERR_INVALID);
    assert_null(g);
  }
  o = (mica_generator_options)MICA_GENERATOR_OPTIONS;
  o.length = 13;
  assert_int_equal(mica_generator_create(net, &o, &g), MICA_ERR_INVALID);
  assert_int_equal(mica_generator_create(net, NULL, &g), MICA_OK);
  int64_t token = 11;
  assert_int_equal(mica_generator_next(g, &token), MICA_ERR_STATE);
  assert_int_equal(mica_generator_feed(g, 1, &token), MICA_ERR_INVALID);
  token = -1;
  assert_int_equal(mica_generator_feed(g, 1, &token), MICA_ERR_INVALID);
  assert_int_equal(mica_generator_feed(g, 0, &token), MICA_ERR_INVALID);
  assert_int_equal(mica_generator_set_sampling(g, &bad[0]), MICA_ERR_INVALID);
  mica_generator_free(g);
  mica_net_free(net);
  const mica_problem classes = MICA_PROBLEM_TOKENS(11, 12, 3), rows = MICA_PROBLEM_ROWS(3, 2);
  assert_int_equal(mica_net_create(engine, learned, &classes, 1, &net), MICA_OK);
  assert_int_equal(mica_generator_create(net, NULL, &g), MICA_ERR_UNSUPPORTED);
  mica_net_free(net);
  assert_int_equal(mica_net_create(engine, "mlp", &rows, 1, &net), MICA_OK);
  assert_int_equal(mica_generator_create(net, NULL, &g), MICA_ERR_UNSUPPORTED);
  mica_net_free(net);
}

/* ---- memory ---- */

static mica_engine *single(void) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *e = NULL;
  o.threads = 1;
  o.libraries = 0;
  return mica_engine_create(&o, &e) == MICA_OK ? e : NULL;
}

static void test_steps_take_no_memory(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++) {
    failing_alloc_install();
    mica_engine *e = single();
    mica_net *net = net_of(e, k ? rotary : learned, 11, 64);
    mica_generator *g;
    int64_t token = 1;
    mica_generator_options o = MICA_GENERATOR_OPTIONS;
    o.sampling.top_k = 5;
    o.sampling.top_p = 0.9;
    assert_int_equal(mica_generator_create(net, &o, &g), MICA_OK);
    assert_int_equal(mica_generator_feed(g, 1, &token), MICA_OK);
    for (int i = 0; i < 200; i++) assert_int_equal(mica_generator_next(g, &token), MICA_OK);
    failing_alloc_arm(0);
    for (int i = 0; i < 100; i++) assert_int_equal(mica_generator_next(g, &token), MICA_OK);
    assert_int_equal(failing_alloc_count(), 0);
    mica_generator_free(g);
    mica_net_free(net);
    mica_engine_free(e);
    failing_alloc_remove();
  }
}

static mica_status whole(void *ctx) {
  (void)ctx;
  mica_engine *e = NULL;
  mica_net *net = NULL;
  mica_generator *g = NULL;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  o.libraries = 0;
  const mica_problem task = MICA_PROBLEM_TOKENS(5, 4, 0);
  mica_status status = mica_engine_create(&o, &e);
  if (status == MICA_OK)
    status = mica_net_create(e, "gpt:dim=4:depth=1:heads=1:position=rotary", &task, 1, &net);
  if (status == MICA_OK) status = mica_generator_create(net, NULL, &g);
  int64_t token = 1;
  if (status == MICA_OK) status = mica_generator_feed(g, 1, &token);
  for (int i = 0; i < 6 && status == MICA_OK; i++) status = mica_generator_next(g, &token);
  mica_generator_free(g);
  mica_net_free(net);
  mica_engine_free(e);
  return status;
}

static void test_short_of_memory(void **state) {
  (void)state;
  fail_each(whole, NULL);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sampling),
                                     cmocka_unit_test(test_bad_logits),
                                     cmocka_unit_test(test_follows_the_network),
                                     cmocka_unit_test(test_seeds),
                                     cmocka_unit_test(test_pieces_of_a_prompt),
                                     cmocka_unit_test(test_refuses)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  /* Without an engine from outside: every block is counted. */
  const struct CMUnitTest memory[] = {cmocka_unit_test(test_steps_take_no_memory),
                                      cmocka_unit_test(test_short_of_memory)};
  return failed + cmocka_run_group_tests(memory, NULL, NULL);
}
