/* Training single elements: what a mask holds back never changes by one bit, under every rule, and
 * the others move as a parameter of their own would; makers of masks; a resumed run. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/test.h"

#include <mica/train.h>

#include <math.h>
#include <string.h>

static mica_engine *engine;

/* ---- exactness ---- */

enum { ROWS = 40, WIDTH = 30, N = ROWS * WIDTH };

static bool trained_at(int64_t i) {
  return mica_random_below(mica_key_seed(9), (uint64_t)i, 3) == 0;
}

/* A tree with one entry: all elements under a mask, or those of the mask alone. */
static mica_params *tree(bool masked, mica_param **out) {
  mica_params *p;
  int64_t n = 0;
  for (int64_t i = 0; i < N; i++) n += trained_at(i);
  assert_int_equal(mica_params_create(engine, 1, &p), MICA_OK);
  assert_int_equal(mica_param_add(mica_params_root(p), "w", MICA_F32,
                                  masked ? MICA_SHAPE(ROWS, WIDTH) : MICA_SHAPE(n),
                                  MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY, NULL, out),
                   MICA_OK);
  uint8_t mask[N];
  float *w = mica_param_write(*out);
  for (int64_t i = 0, k = 0; i < N; i++) {
    mask[i] = trained_at(i);
    const float x = (float)mica_random_normal(mica_key_seed(3), (uint64_t)i);
    if (masked || mask[i]) w[k++] = x;
  }
  const mica_view view = mica_view_of(mask, MICA_BOOL, MICA_SHAPE(ROWS, WIDTH));
  if (masked) assert_int_equal(mica_param_set_mask(*out, &view), MICA_OK);
  return p;
}

/* A step whose gradient at element i is a function of i, of the step, and of the value. */
static void step(mica_tape *t, mica_params *p, mica_param *q, mica_optimiser *opt, int s,
                 bool masked) {
  float g[N];
  int64_t n = 0;
  for (int64_t i = 0; i < N; i++)
    if (masked || trained_at(i))
      g[n++] = (float)mica_random_normal(mica_key_seed(100 + (uint64_t)s), (uint64_t)i);
  mica_params_zero_grad(p);
  mica_tape_reset(t);
  const mica_view view =
      mica_view_of(g, MICA_F32, masked ? MICA_SHAPE(ROWS, WIDTH) : MICA_SHAPE(n));
  const mica_var w = mica_param_var(t, q);
  const mica_var loss =
      mica_sum(t, mica_mul(t, mica_mul(t, w, w), mica_borrow(t, &view)), 0, NULL, false);
  assert_int_equal(mica_backward(t, loss), MICA_OK);
  if (mica_optimiser_step(opt, t, 1) != MICA_OK) fail_msg("%s", mica_last_error());
}

static void check_rule(const char *rule, double clip) {
  mica_param *a, *b;
  mica_params *whole = tree(true, &a), *part = tree(false, &b);
  mica_optimiser *oa, *ob;
  mica_tape *t;
  float before[N];
  memcpy(before, mica_tensor_data(mica_param_value(a)), sizeof before);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  assert_int_equal(mica_optimiser_create(whole, rule, &oa), MICA_OK);
  assert_int_equal(mica_optimiser_create(part, rule, &ob), MICA_OK);
  mica_optimiser_clip(oa, clip);
  mica_optimiser_clip(ob, clip);
  for (int s = 0; s < 4; s++) {
    step(t, whole, a, oa, s, true);
    step(t, part, b, ob, s, false);
    /* Norms add up in another order. */
    assert_true(fabs(mica_optimiser_grad_norm(oa) - mica_optimiser_grad_norm(ob)) <=
                1e-12 * mica_optimiser_grad_norm(ob));
  }
  const float *x = mica_tensor_data(mica_param_value(a)),
              *y = mica_tensor_data(mica_param_value(b));
  const double tolerance = clip > 0 || strncmp(rule, "la", 2) == 0 ? 1e-6 : 0;
  int64_t moved = 0;
  for (int64_t i = 0, k = 0; i < N; i++) {
    if (!trained_at(i)) {
      if (memcmp(&x[i], &before[i], sizeof *x) != 0)
        fail_msg("%s: element %lld changed", rule, (long long)i);
      continue;
    }
    if (!(fabs((double)x[i] - (double)y[k]) <= tolerance))
      fail_msg("%s: element %lld is %.9g, expected %.9g", rule, (long long)i, (double)x[i],
               (double)y[k]);
    moved += x[i] != before[i];
    k++;
  }
  assert_true(moved > N / 4);
  /* The state of what is held back is as it was made. */
  const mica_params *state = mica_optimiser_state(oa);
  for (int64_t e = 0; e < mica_params_count(state); e++) {
    const mica_tensor *v = mica_param_value(mica_params_at(state, e));
    for (int64_t i = 0; mica_tensor_count(v) == N && i < N; i++)
      assert_true(trained_at(i) || mica_tensor_get(v, i) == 0);
  }
  mica_tape_free(t);
  mica_optimiser_free(oa);
  mica_optimiser_free(ob);
  mica_params_free(whole);
  mica_params_free(part);
}

static const char *const rules[] = {"sgd:lr=0.1",
                                    "sgd:lr=0.1:momentum=0.9:weight_decay=0.1",
                                    "sgd:lr=0.1:momentum=0.9:nesterov:weight_decay=0.01",
                                    "adam:lr=0.01:weight_decay=0.1",
                                    "adam:amsgrad",
                                    "adamw:lr=0.01:weight_decay=0.5",
                                    "adagrad:lr=0.1:weight_decay=0.1",
                                    "rmsprop:momentum=0.9:centred:weight_decay=0.1",
                                    "lamb:lr=0.1:weight_decay=0.1",
                                    "lars:momentum=0.9:weight_decay=0.1"};

static void test_every_rule(void **state) {
  (void)state;
  /* A rule that is not in this list would go untested. */
  const mica_component *c;
  for (int i = 0; (c = mica_component_at(engine, MICA_KIND_OPTIMISER, i)); i++) {
    if (((const mica_optimiser_functions *)c->functions)->whole) continue; /* takes no mask */
    bool listed = false;
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++)
      listed |= strncmp(rules[k], c->name, strlen(c->name)) == 0 &&
                strchr(":", rules[k][strlen(c->name)]) != NULL;
    if (!listed) fail_msg("no case of optimiser %s", c->name);
  }
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    check_rule(rules[i], 0);
    check_rule(rules[i], 0.5);
  }
}

/* Row gradients of an embedding whose columns are trained in part. */
static void test_rows(void **state) {
  (void)state;
  static const char *const specs[] = {"sgd:lr=0.1", "adam:lr=0.1:lazy:weight_decay=0.1",
                                      "adamw:lr=0.1:weight_decay=0.1", "lamb:lr=0.1:lazy"};
  static const int64_t ids[] = {7, 2, 7};
  for (size_t k = 0; k < sizeof specs / sizeof *specs; k++) {
    mica_param *q;
    mica_params *p = tree(true, &q);
    mica_optimiser *opt;
    mica_tape *t;
    float before[N];
    memcpy(before, mica_tensor_data(mica_param_value(q)), sizeof before);
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    assert_int_equal(mica_optimiser_create(p, specs[k], &opt), MICA_OK);
    for (int s = 0; s < 2; s++) {
      mica_params_zero_grad(p);
      mica_tape_reset(t);
      const mica_view view = mica_view_of((void *)(uintptr_t)ids, MICA_I64, MICA_SHAPE(3));
      mica_var y = mica_embedding(t, mica_param_var(t, q), mica_borrow(t, &view));
      assert_int_equal(mica_backward(t, mica_sum(t, mica_mul(t, y, y), 0, NULL, false)), MICA_OK);
      assert_int_equal(mica_param_grad_kind(q), MICA_GRAD_ROWS);
      if (mica_optimiser_step(opt, t, 1) != MICA_OK) fail_msg("%s", mica_last_error());
    }
    const int64_t *row;
    const void *values;
    int64_t n, moved = 0;
    const bool lazy = strstr(specs[k], "lazy") || !strcmp(specs[k], "sgd:lr=0.1");
    if (lazy) {
      assert_int_equal(mica_param_grad_rows(q, &row, &values, &n), MICA_OK);
      for (int64_t i = 0; i < n * WIDTH; i++)
        assert_true((((const float *)values)[i] != 0) ==
                    trained_at(row[i / WIDTH] * WIDTH + i % WIDTH));
    }
    const float *x = mica_tensor_data(mica_param_value(q));
    for (int64_t i = 0; i < N; i++) {
      const bool asked = i / WIDTH == 2 || i / WIDTH == 7;
      if (!trained_at(i) || (lazy && !asked))
        assert_memory_equal(&x[i], &before[i], sizeof *x);
      else
        moved += x[i] != before[i];
    }
    assert_true(moved > 10);
    mica_tape_free(t);
    mica_optimiser_free(opt);
    mica_params_free(p);
  }
}

/* ---- setting and making ---- */

static void test_set_and_clear(void **state) {
  (void)state;
  mica_param *q;
  mica_params *p = tree(true, &q), *copy;
  const int64_t trained = mica_params_trained(p);
  assert_true(trained > 0 && trained < N);
  assert_int_equal(mica_params_clone(p, &copy), MICA_OK);
  assert_int_equal(mica_params_trained(copy), trained);
  assert_memory_equal(mica_tensor_data(mica_param_mask(mica_params_at(copy, 0))),
                      mica_tensor_data(mica_param_mask(q)), N);
  float wrong[N];
  uint8_t few[N] = {0};
  few[3] = 7;
  mica_view view = mica_view_of(wrong, MICA_F32, MICA_SHAPE(ROWS, WIDTH));
  assert_int_equal(mica_param_set_mask(q, &view), MICA_ERR_SHAPE);
  assert_non_null(strstr(mica_last_error(), "expected bool or uint8"));
  view = mica_view_of(few, MICA_U8, MICA_SHAPE(WIDTH, ROWS));
  assert_int_equal(mica_param_set_mask(q, &view), MICA_ERR_SHAPE);
  assert_int_equal(mica_params_trained(p), trained);
  view = mica_view_of(few, MICA_U8, MICA_SHAPE(ROWS, WIDTH));
  assert_int_equal(mica_param_set_mask(q, &view), MICA_OK);
  assert_int_equal(mica_param_trained(q), 1);
  assert_int_equal(((uint8_t *)mica_tensor_data(mica_param_mask(q)))[3], 1);
  assert_int_equal(mica_params_unmask(p, "nothing"), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_params_unmask(p, "w"), MICA_OK);
  assert_null(mica_param_mask(q));
  assert_int_equal(mica_params_trained(p), N);
  /* A new shape has no mask. */
  mica_param *other = mica_params_at(copy, 0);
  assert_int_equal(mica_param_resize(other, MICA_SHAPE(2, 2), NULL), MICA_OK);
  assert_null(mica_param_mask(other));
  mica_params_free(copy);
  mica_params_free(p);
}

static int64_t count_in(const mica_param *q, int64_t channel, int64_t each) {
  int64_t n = 0;
  const uint8_t *mask = mica_tensor_data(mica_param_mask(q));
  for (int64_t i = 0; i < each; i++) n += mask[channel * each + i];
  return n;
}

static void test_makers(void **state) {
  (void)state;
  const mica_problem pictures = MICA_PROBLEM_IMAGES(8, 8, 3, 10);
  mica_net *net;
  assert_int_equal(mica_net_create(engine, "resnet:depth=14:shortcut=b", &pictures, 1, &net),
                   MICA_OK);
  mica_params *p = mica_net_params(net);
  int64_t n;
  /* As many as batch norm has: two of each output channel. */
  assert_int_equal(mica_params_train_only(p, "conv"), MICA_OK);
  assert_int_equal(mica_params_mask(p, "conv=random:count=2", 4, &n), MICA_OK);
  assert_int_equal(n, 1120);
  assert_int_equal(mica_params_trained(p), 1120);
  int64_t same = 0, places = 0, used[27] = {0};
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_param *q = mica_params_at(p, i);
    assert_int_equal(mica_param_mask(q) != NULL, mica_param_selected(q, "conv"));
    if (!mica_param_mask(q)) continue;
    const mica_tensor *v = mica_param_value(q);
    const int64_t channels = mica_tensor_dim(v, 0), each = mica_tensor_count(v) / channels;
    for (int64_t c = 0; c < channels; c++) assert_int_equal(count_in(q, c, each), 2);
    const uint8_t *mask = mica_tensor_data(mica_param_mask(q));
    for (int64_t c = 1; c < channels; c++) same += !memcmp(mask, mask + c * each, (size_t)each);
    for (int64_t k = 0; each == 27 && k < channels * each; k++) used[k % 27] += mask[k];
  }
  assert_true(same < 10); /* channels do not share their draw */
  for (int i = 0; i < 27; i++) places += used[i] > 0;
  assert_true(places > 15); /* 32 draws of 27 places */
  mica_param *stem = mica_params_find(p, "conv1.weight");
  uint8_t first[16 * 27];
  memcpy(first, mica_tensor_data(mica_param_mask(stem)), sizeof first);
  assert_int_equal(mica_params_mask(p, "conv=random:count=2", 5, NULL), MICA_OK);
  assert_true(memcmp(first, mica_tensor_data(mica_param_mask(stem)), sizeof first) != 0);
  assert_int_equal(mica_params_mask(p, "conv=random:count=2", 4, NULL), MICA_OK);
  assert_memory_equal(first, mica_tensor_data(mica_param_mask(stem)), sizeof first);
  /* More than there are: all. A share; over the whole entry; a first rule for all the others. */
  assert_int_equal(mica_params_mask(p,
                                    "random:count=20|conv1.*=random:share=0.5:over=all|"
                                    "layer1.0.conv1.*=channels:first=3:count=2|"
                                    "layer1.0.conv2.*=channels:first=14",
                                    1, NULL),
                   MICA_OK);
  assert_int_equal(mica_param_trained(stem), 216);
  assert_int_equal(mica_param_trained(mica_params_find(p, "layer1.1.conv1.weight")), 320);
  assert_int_equal(mica_param_trained(mica_params_find(p, "layer2.0.shortcut.0.weight")), 512);
  const mica_param *two = mica_params_find(p, "layer1.0.conv1.weight");
  assert_int_equal(mica_param_trained(two), 288);
  assert_int_equal(count_in(two, 3, 144), 144);
  assert_int_equal(count_in(two, 4, 144), 144);
  assert_int_equal(mica_param_trained(mica_params_find(p, "layer1.0.conv2.weight")), 288);
  /* Refused. */
  static const struct {
    const char *text, *message;
    mica_status status;
  } wrong[] = {
      {"random", "either count or share", MICA_ERR_INVALID},
      {"random:count=1:share=0.5", "either count or share", MICA_ERR_INVALID},
      {"bn=random:count=1", "for no parameter that is trained", MICA_ERR_NOT_FOUND},
      {"nothing.*=random:count=1", "mask: 'nothing.*' matches no parameter", MICA_ERR_NOT_FOUND},
      {"conv=randm:count=1", "did you mean 'random'", MICA_ERR_NOT_FOUND},
      {"&=random:count=1", "no selection", MICA_ERR_INVALID},
      {NULL, "mask: the text is NULL", MICA_ERR_INVALID}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(mica_params_mask(p, wrong[i].text, 1, NULL), wrong[i].status);
    if (!strstr(mica_last_error(), wrong[i].message)) fail_msg("%s", mica_last_error());
  }
  mica_net_free(net);
}

/* The output channels of a transposed convolution come last. */
static void test_transposed(void **state) {
  (void)state;
  mica_params *p;
  assert_int_equal(mica_params_create(engine, 1, &p), MICA_OK);
  assert_int_equal(mica_nn_conv_transpose2d_init(mica_node_child(mica_params_root(p), "up"), 6, 4,
                                                 3, 3, 1, false, NULL),
                   MICA_OK);
  mica_param *q = mica_params_at(p, 0);
  assert_int_equal(mica_params_mask(p, "channels:first=1:count=1", 1, NULL), MICA_OK);
  const uint8_t *mask = mica_tensor_data(mica_param_mask(q));
  for (int i = 0; i < 6 * 9 * 4; i++) assert_int_equal(mask[i], i % 4 == 1);
  assert_int_equal(mica_params_mask(p, "random:count=5", 1, NULL), MICA_OK);
  mask = mica_tensor_data(mica_param_mask(q));
  for (int c = 0; c < 4; c++) {
    int n = 0;
    for (int k = 0; k < 54; k++) n += mask[k * 4 + c];
    assert_int_equal(n, 5);
  }
  mica_params_free(p);
}

/* ---- runs ---- */

typedef struct job {
  mica_net *net;
  mica_tensor *x, *labels;
  mica_stream stream;
  int64_t stop;
} job;

static int stop_at(void *ctx, const mica_train_metrics *m) {
  const job *j = ctx;
  return j->stop && m->step >= j->stop;
}

static job job_of(const char *mask) {
  job j = {0};
  const mica_problem task = MICA_PROBLEM_IMAGES(8, 8, 1, 3);
  assert_int_equal(mica_net_create(engine, "resnet:depth=8:width=4", &task, 1, &j.net), MICA_OK);
  if (mask) {
    assert_int_equal(mica_params_train_only(mica_net_params(j.net), "conv"), MICA_OK);
    assert_int_equal(mica_params_mask(mica_net_params(j.net), mask, 2, NULL), MICA_OK);
  }
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(24, 8, 8, 1), &j.x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(24), &j.labels), MICA_OK);
  for (int64_t i = 0; i < 24 * 64; i++)
    mica_tensor_set(j.x, i, mica_random_normal(mica_key_seed(5), (uint64_t)i));
  for (int64_t i = 0; i < 24; i++) mica_tensor_set(j.labels, i, (double)(i % 3));
  assert_int_equal(mica_memory_stream_create(j.x, j.labels, 8, true, false, 1, &j.stream), MICA_OK);
  return j;
}

static void job_free(job *j) {
  mica_memory_stream_free(&j->stream);
  mica_tensor_free(j->x);
  mica_tensor_free(j->labels);
  mica_net_free(j->net);
}

static mica_status train(job *j, const char *dir, bool resume) {
  mica_train_options o = MICA_TRAIN_OPTIONS;
  o.optimiser = "sgd:lr=0.1:momentum=0.9:weight_decay=0.1";
  o.epochs = 3;
  o.average = 0.9;
  o.dir = dir;
  o.resume = resume;
  o.report_every = 1;
  o.report = stop_at;
  o.report_ctx = j;
  return mica_train(j->net, &j->stream, NULL, &o, NULL);
}

static void same_values(const mica_net *a, const mica_net *b) {
  const mica_params *pa = mica_net_params(a), *pb = mica_net_params(b);
  for (int64_t i = 0; i < mica_params_count(pa); i++) {
    const mica_tensor *x = mica_param_value(mica_params_at(pa, i)),
                      *y = mica_param_value(mica_params_at(pb, i));
    assert_memory_equal(mica_tensor_data(x), mica_tensor_data(y),
                        (size_t)mica_tensor_count(x) * mica_dtype_size(mica_tensor_dtype(x)));
  }
}

/* A run with decay, momentum and a moving average changes the masked elements and nothing else but
 * the running statistics; stopped and resumed, with the mask or without naming it, it ends with the
 * same bits. */
static void test_runs(void **state) {
  (void)state;
  const char *dir = folder_dir;
  job whole = job_of("conv=random:count=2"), before = job_of("conv=random:count=2");
  if (train(&whole, NULL, false) != MICA_OK) fail_msg("%s", mica_last_error());
  int64_t changed = 0;
  for (int64_t i = 0; i < mica_params_count(mica_net_params(whole.net)); i++) {
    const mica_param *q = mica_params_at(mica_net_params(whole.net), i),
                     *old = mica_params_at(mica_net_params(before.net), i);
    if (mica_param_flags(q) & MICA_PARAM_BUFFER) continue;
    const uint8_t *mask = mica_param_mask(q) ? mica_tensor_data(mica_param_mask(q)) : NULL;
    const float *x = mica_tensor_data(mica_param_value(q)),
                *y = mica_tensor_data(mica_param_value(old));
    for (int64_t k = 0; k < mica_tensor_count(mica_param_value(q)); k++) {
      const bool moved = memcmp(&x[k], &y[k], sizeof *x) != 0;
      assert_true(!moved || (mask && mask[k]));
      changed += moved;
    }
  }
  assert_true(changed > mica_params_trained(mica_net_params(whole.net)) * 9 / 10);
  for (int k = 0; k < 2; k++) {
    job first = job_of("conv=random:count=2");
    first.stop = 4;
    assert_int_equal(train(&first, dir, false), MICA_ERR_CANCELLED);
    job_free(&first);
    job second = job_of(k ? NULL : "conv=random:count=2");
    if (k) assert_int_equal(mica_params_train_only(mica_net_params(second.net), "conv"), MICA_OK);
    if (train(&second, dir, true) != MICA_OK) fail_msg("%s", mica_last_error());
    same_values(whole.net, second.net);
    job_free(&second);
  }
  /* Another mask, or one more, is another run. */
  job other = job_of("conv=random:count=3");
  assert_int_equal(train(&other, dir, true), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "started with another mask of 'conv1.weight'"));
  job_free(&other);
  job plain = job_of("layer1.*&conv=random:count=2");
  plain.stop = 2;
  assert_int_equal(train(&plain, dir, false), MICA_ERR_CANCELLED);
  job_free(&plain);
  other = job_of("layer1.*&conv=random:count=2|conv1.*=random:count=2");
  assert_int_equal(train(&other, dir, true), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "without some of the masks"));
  job_free(&other);
  job_free(&whole);
  job_free(&before);
}

/* ---- memory ---- */

static mica_status mask_all(void *ctx) {
  (void)ctx;
  mica_engine *e;
  mica_params *p = NULL, *copy = NULL;
  mica_status status = mica_engine_create(NULL, &e);
  if (status != MICA_OK) return status;
  status = mica_params_create(e, 1, &p);
  if (status == MICA_OK)
    status =
        mica_nn_conv2d_init(mica_node_child(mica_params_root(p), "c"), 3, 4, 3, 3, 1, true, NULL);
  if (status == MICA_OK) status = mica_params_mask(p, "conv=random:count=2", 1, NULL);
  if (status == MICA_OK) status = mica_params_initialise(p, "conv=orthogonal", NULL);
  if (status == MICA_OK) status = mica_params_clone(p, &copy);
  mica_params_free(copy);
  mica_params_free(p);
  mica_engine_free(e);
  return status;
}

/* Pruning: the largest stay, as they were; the others are zero and stay so in training. */
static void test_pruning(void **state) {
  (void)state;
  mica_params *p;
  mica_param *w, *b;
  int64_t kept, of;
  static const float values[12] = {0.1f, -3, 0.2f, 2, 0.5f, -0.5f, 1, 0.05f, -2, 0, 0.3f, 0.4f};
  assert_int_equal(mica_params_create(engine, 1, &p), MICA_OK);
  assert_int_equal(mica_param_add(mica_params_root(p), "w", MICA_F32, MICA_SHAPE(3, 2, 2),
                                  MICA_PARAM_TRAINABLE | MICA_PARAM_LINEAR, NULL, &w),
                   MICA_OK);
  assert_int_equal(mica_param_add(mica_params_root(p), "b", MICA_F32, MICA_SHAPE(3),
                                  MICA_PARAM_TRAINABLE | MICA_PARAM_LINEAR, &MICA_INIT_ONES, &b),
                   MICA_OK);
  memcpy(mica_param_write(w), values, sizeof values);
  /* Of equal ones the first: 0.5 before -0.5. */
  assert_int_equal(mica_params_prune(p, "magnitude:share=0.42", 0, &kept, &of), MICA_OK);
  assert_true(kept == 5 && of == 12);
  static const float left[12] = {0, -3, 0, 2, 0.5f, 0, 1, 0, -2, 0, 0, 0};
  assert_memory_equal(mica_tensor_data(mica_param_value(w)), left, sizeof left);
  assert_true(mica_tensor_get(mica_param_value(b), 2) == 1 && !mica_param_mask(b));
  assert_int_equal(mica_param_trained(w), 5);
  assert_int_equal(mica_params_unmask(p, "w"), MICA_OK);
  assert_int_equal(mica_params_mask(p, "w=nonzero", 0, &kept), MICA_OK);
  assert_int_equal(kept, 5);
  /* Whole channels, by their length: the second is the shortest. */
  memcpy(mica_param_write(w), values, sizeof values);
  assert_int_equal(mica_params_prune(p, "linear=magnitude:share=0.67:unit=channel", 0, &kept, &of),
                   MICA_OK);
  assert_int_equal(kept, 8);
  float *v = mica_param_write(w);
  for (int i = 0; i < 12; i++) assert_true(v[i] == (i / 4 == 1 ? 0 : values[i]));
  /* All and nothing, and what was no number. */
  v[0] = NAN;
  assert_int_equal(mica_params_prune(p, "magnitude:share=0", 0, &kept, NULL), MICA_OK);
  assert_int_equal(kept, 0);
  for (int i = 0; i < 12; i++) assert_true(v[i] == 0);
  assert_int_equal(mica_params_prune(p, "magnitude:share=1", 0, NULL, &of), MICA_OK);
  assert_int_equal(mica_param_trained(w), 12);
  assert_int_equal(mica_params_prune(p, "b=magnitude", 0, NULL, NULL), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_params_prune(p, "w=magnitude:share=2", 0, NULL, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_params_prune(p, NULL, 0, NULL, NULL), MICA_ERR_INVALID);
  mica_params_free(p);
}

static mica_status prune_all(void *ctx) {
  mica_engine *e;
  mica_net *net = NULL;
  const mica_problem rows = {.channels = 3, .classes = 2};
  (void)ctx;
  mica_status status = mica_engine_create(NULL, &e);
  if (status != MICA_OK) return status;
  status = mica_net_create(e, "mlp:hidden=4", &rows, 1, &net);
  if (status == MICA_OK)
    status = mica_params_prune(mica_net_params(net), "magnitude:share=0.5", 1, NULL, NULL);
  mica_net_free(net);
  mica_engine_free(e);
  return status;
}

static void test_memory(void **state) {
  (void)state;
  assert_true(fail_each(mask_all, NULL) > 10);
  assert_true(fail_each(prune_all, NULL) > 10);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_rule),    cmocka_unit_test(test_rows),
      cmocka_unit_test(test_set_and_clear), cmocka_unit_test(test_makers),
      cmocka_unit_test(test_transposed),    cmocka_unit_test(test_runs),
      cmocka_unit_test(test_pruning),       cmocka_unit_test(test_memory),
  };
  const int failed = cmocka_run_group_tests(tests, folder_setup, folder_teardown);
  mica_engine_free(engine);
  return failed;
}
