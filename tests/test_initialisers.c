/* Initial values by name: what each gives to weights, biases, gains and shifts, and the rules. */
#include "support/test.h"

#include <mica/model.h>

#include <math.h>
#include <string.h>

static mica_engine *engine;

static mica_net *fresh(void) {
  const mica_problem pictures = MICA_PROBLEM_IMAGES(32, 32, 3, 10);
  mica_net *net;
  assert_int_equal(mica_net_create(engine, "resnet:depth=8:shortcut=b", &pictures, 5, &net),
                   MICA_OK);
  return net;
}

typedef struct moments {
  int64_t n;
  double mean, deviation, least, most;
} moments;

static moments moments_of(const mica_net *net, const char *path) {
  const mica_tensor *v = mica_param_value(mica_params_find(mica_net_params(net), path));
  moments m = {mica_tensor_count(v), 0, 0, INFINITY, -INFINITY};
  for (int64_t i = 0; i < m.n; i++) m.mean += mica_tensor_get(v, i) / (double)m.n;
  for (int64_t i = 0; i < m.n; i++) {
    const double x = mica_tensor_get(v, i);
    m.deviation += (x - m.mean) * (x - m.mean) / (double)m.n;
    m.least = fmin(m.least, x);
    m.most = fmax(m.most, x);
  }
  m.deviation = sqrt(m.deviation);
  return m;
}

static void apply(mica_net *net, const char *rules) {
  if (mica_params_initialise(mica_net_params(net), rules, NULL) != MICA_OK)
    fail_msg("%s: %s", rules, mica_last_error());
}

static void test_weights(void **state) {
  (void)state;
  static const char conv[] = "layer3.0.conv2.weight"; /* [64,3,3,64] */
  const double by_in = sqrt(2 / 576.0);
  mica_net *net = fresh();
  apply(net, "conv,linear=normal");
  moments m = moments_of(net, conv);
  assert_true(fabs(m.deviation / by_in - 1) < 0.02 && fabs(m.mean) < 0.02 * by_in);
  assert_true(m.most > 3 * by_in);
  m = moments_of(net, "linear.weight");
  assert_true(fabs(m.deviation / sqrt(2 / 64.0) - 1) < 0.1);
  m = moments_of(net, "conv1.weight"); /* fan 27, not 144 */
  assert_true(fabs(m.deviation / sqrt(2 / 27.0) - 1) < 0.1);
  apply(net, "conv=normal:fan=out:gain=1");
  m = moments_of(net, "layer2.0.conv1.weight"); /* [32,3,3,16]: 288 */
  assert_true(fabs(m.deviation / sqrt(1 / 288.0) - 1) < 0.05);
  apply(net, "conv=normal:fan=both:gain=1");
  m = moments_of(net, "layer2.0.conv1.weight");
  assert_true(fabs(m.deviation / sqrt(2 / (144.0 + 288)) - 1) < 0.05);
  apply(net, "conv=uniform");
  m = moments_of(net, conv);
  assert_true(fabs(m.deviation / by_in - 1) < 0.02);
  assert_true(m.most < by_in * sqrt(3) && m.most > by_in * 1.7 && m.least < -by_in * 1.7);
  apply(net, "conv=binary");
  m = moments_of(net, conv);
  assert_true(m.most == -m.least && fabs(m.most / by_in - 1) < 0.02 && fabs(m.mean) < 0.03 * by_in);
  const mica_tensor *v = mica_param_value(mica_params_find(mica_net_params(net), conv));
  for (int64_t i = 0; i < m.n; i++) assert_true(fabs(mica_tensor_get(v, i)) == m.most);
  apply(net, "conv=orthogonal");
  for (int64_t a = 0; a < 4; a++)
    for (int64_t b = 0; b <= a; b++) {
      double dot = 0;
      for (int64_t i = 0; i < 576; i++)
        dot += mica_tensor_get(v, a * 576 + i) * mica_tensor_get(v, b * 576 + i);
      assert_true(fabs(dot - (a == b)) < 1e-5);
    }
  mica_net_free(net);
}

/* The signs are those of the normal draws, times their deviation (n - 1). */
static void test_binary_is_of_the_draws(void **state) {
  (void)state;
  mica_net *a = fresh(), *b = fresh();
  apply(a, "conv=normal");
  apply(b, "conv=binary");
  const moments m = moments_of(a, "conv1.weight");
  const double deviation = m.deviation * sqrt((double)m.n / (double)(m.n - 1));
  const mica_tensor *x = mica_param_value(mica_params_find(mica_net_params(a), "conv1.weight")),
                    *y = mica_param_value(mica_params_find(mica_net_params(b), "conv1.weight"));
  for (int64_t i = 0; i < m.n; i++)
    assert_true(fabs(mica_tensor_get(y, i) - copysign(deviation, mica_tensor_get(x, i))) <
                1e-6 * deviation);
  mica_net_free(a);
  mica_net_free(b);
}

static void test_normalisations(void **state) {
  (void)state;
  static const struct {
    const char *rule;
    double least, most, mean, shift;
  } cases[] = {{"bn=fixed", 1, 1, 1, 0},
               {"bn=oneone", 1, 1, 1, 1},
               {"bn=uniform", 0, 1, 0.5, 0},
               {"bn=positivenegative", -1, 1, 0, 0},
               {"bn=constant:value=0.25", 0.25, 0.25, 0.25, 0.25}};
  mica_net *net = fresh();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    apply(net, cases[i].rule);
    const moments gain = moments_of(net, "layer3.0.bn1.weight"),
                  shift = moments_of(net, "layer3.0.bn1.bias");
    assert_true(gain.least >= cases[i].least && gain.most <= cases[i].most);
    assert_true(fabs(gain.mean - cases[i].mean) < 0.15);
    if (cases[i].least < cases[i].most)
      assert_true(gain.most - gain.least > 0.8 * (cases[i].most - cases[i].least));
    assert_true(shift.least == cases[i].shift && shift.most == cases[i].shift);
    /* Running statistics are no initial values. */
    const moments var = moments_of(net, "layer3.0.bn1.running_var");
    assert_true(var.least == 1 && var.most == 1);
  }
  mica_net_free(net);
}

/* Biases of layers keep theirs; the last rule holds; a draw is the same whatever was before it; and
 * what is drawn again later is of the new kind. */
static void test_rules(void **state) {
  (void)state;
  mica_net *a = fresh(), *b = fresh();
  int64_t n;
  const moments bias = moments_of(a, "linear.bias");
  assert_int_equal(mica_params_initialise(mica_net_params(a), "linear=normal", &n), MICA_OK);
  assert_int_equal(n, 1);
  const moments after = moments_of(a, "linear.bias");
  assert_memory_equal(&bias, &after, sizeof bias);
  apply(a, "binary | bn=fixed | layer1.*&conv=uniform");
  apply(b, "conv=orthogonal|bn=uniform|linear=constant");
  apply(b, "bn=fixed|conv&!layer1.*,linear=binary|layer1.*&conv=uniform");
  for (int64_t i = 0; i < mica_params_count(mica_net_params(a)); i++) {
    const mica_param *q = mica_params_at(mica_net_params(a), i);
    const mica_tensor *x = mica_param_value(q),
                      *y = mica_param_value(mica_params_at(mica_net_params(b), i));
    if (strcmp(mica_param_path(q), "linear.bias") == 0) continue;
    if (memcmp(mica_tensor_data(x), mica_tensor_data(y),
               (size_t)mica_tensor_count(x) * mica_dtype_size(mica_tensor_dtype(x))) != 0)
      fail_msg("%s", mica_param_path(q));
  }
  assert_int_equal(mica_params_reinitialise(mica_net_params(a), "conv1.*", 77, NULL), MICA_OK);
  const moments m = moments_of(a, "conv1.weight");
  assert_true(m.most == -m.least && fabs(m.deviation - m.most) < 0.02 * m.most);
  assert_int_equal(mica_params_reinitialise(mica_net_params(a), "conv1.*,", 77, NULL),
                   MICA_ERR_INVALID);
  static const struct {
    const char *text, *message;
    mica_status status;
  } wrong[] = {{"conv=fixed", "is no gain or shift", MICA_ERR_INVALID},
               {"conv=normal:gain=0", "gain", MICA_ERR_INVALID},
               {"conv=norml", "did you mean 'normal'", MICA_ERR_NOT_FOUND},
               {"embedding=normal", "'embedding' matches no parameter", MICA_ERR_NOT_FOUND},
               {"conv=", "initialiser is expected", MICA_ERR_INVALID}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(mica_params_initialise(mica_net_params(a), wrong[i].text, NULL),
                     wrong[i].status);
    if (!strstr(mica_last_error(), wrong[i].message)) fail_msg("%s", mica_last_error());
  }
  mica_net_free(a);
  mica_net_free(b);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_weights), cmocka_unit_test(test_binary_is_of_the_draws),
      cmocka_unit_test(test_normalisations), cmocka_unit_test(test_rules)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
