/* Losses of pairs, triplets and means of a batch, and of matched local descriptors: against loops
 * over all of them, and gradients against differences; samplers of such batches. */
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 7, D = 3 };
static mica_engine *engine;
static const int64_t label_of[N] = {4, 1, 4, 1, 2, 4, 1};

static double value(const char *spec, const double *x, const int64_t *label, double *gradient) {
  mica_loss *loss;
  mica_tape *t;
  mica_tensor *f;
  assert_int_equal(mica_tensor_create(MICA_F64, MICA_SHAPE(N, D), &f), MICA_OK);
  memcpy(mica_tensor_data(f), x, N * D * sizeof *x);
  if (mica_loss_create(engine, spec, NULL, 5, D, &loss)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  const mica_view y = mica_view_of((void *)(uintptr_t)label, MICA_I64, MICA_SHAPE(N));
  const mica_loss_inputs in = {.features = mica_leaf(t, f), .labels = mica_constant(t, &y)};
  const mica_var v = mica_loss_forward(t, loss, &in);
  const double got = mica_item(t, v);
  if (gradient) {
    if (mica_backward(t, v)) fail_msg("%s: %s", spec, mica_last_error());
    const mica_view g = mica_read(t, mica_gradient(t, in.features));
    memcpy(gradient, g.data, N * D * sizeof *gradient);
  }
  if (!mica_ok(t)) fail_msg("%s: %s", spec, mica_tape_error(t));
  mica_tape_free(t);
  mica_loss_free(loss);
  mica_tensor_free(f);
  return got;
}

static void draw(double *x, uint64_t seed) {
  for (int i = 0; i < N * D; i++) x[i] = mica_random_normal(mica_key_seed(seed), (uint64_t)i);
}

static void unit(const double *x, double *u) {
  for (int i = 0; i < N; i++) {
    double s = 0;
    for (int k = 0; k < D; k++) s += x[i * D + k] * x[i * D + k];
    for (int k = 0; k < D; k++) u[i * D + k] = x[i * D + k] / sqrt(s);
  }
}

static double dot(const double *x, int i, int j) {
  double s = 0;
  for (int k = 0; k < D; k++) s += x[i * D + k] * x[j * D + k];
  return s;
}

static double square(const double *x, int i, int j) {
  double s = 0;
  for (int k = 0; k < D; k++) s += (x[i * D + k] - x[j * D + k]) * (x[i * D + k] - x[j * D + k]);
  return s;
}

static bool same(int i, int j) {
  return label_of[i] == label_of[j];
}

static void losses_are_their_loops(void **state) {
  (void)state;
  double x[N * D], u[N * D];
  draw(x, 1);
  unit(x, u);
  double hard = 0, soft = 0, all = 0, active = 0, near = 0, far = 0, n_near = 0, n_far = 0,
         stars = 0;
  int anchors = 0;
  for (int a = 0; a < N; a++) {
    double farthest = -1, nearest = 1e9, far_plain = -1, near_plain = 1e9, with = 0, against = 0;
    for (int b = 0; b < N; b++) {
      if (a == b) continue;
      if (same(a, b)) {
        farthest = fmax(farthest, sqrt(square(u, a, b)));
        far_plain = fmax(far_plain, square(x, a, b));
        near += square(u, a, b), n_near++;
        with += exp(-2 * dot(u, a, b));
        for (int n = 0; n < N; n++)
          if (!same(a, n)) {
            const double lack = sqrt(square(u, a, b)) - sqrt(square(u, a, n)) + 0.3;
            all += fmax(0, lack), active += lack > 0;
          }
      } else {
        nearest = fmin(nearest, sqrt(square(u, a, b)));
        near_plain = fmin(near_plain, square(x, a, b));
        far += pow(fmax(0, 1.5 - sqrt(square(u, a, b))), 2), n_far++;
        against += exp(2 * dot(u, a, b));
      }
    }
    if (farthest < 0) continue;
    anchors++;
    hard += fmax(0, farthest - nearest + 0.3);
    soft += log1p(exp(far_plain - near_plain));
    stars += log1p(with * against);
  }
  const double bound = 1e-10;
  assert_true(fabs(value("triplet:margin=0.3", x, label_of, NULL) - hard / anchors) < bound);
  assert_true(fabs(value("triplet:margin=0:soft:squared:normalise=false", x, label_of, NULL) -
                   soft / anchors) < bound);
  assert_true(fabs(value("triplet:mining=all", x, label_of, NULL) - all / active) < bound);
  assert_true(fabs(value("contrastive:margin=1.5", x, label_of, NULL) -
                   (near / n_near + far / n_far) / 2) < bound);
  assert_true(fabs(value("constellation:scale=2", x, label_of, NULL) - stars / anchors) < bound);
}

static void prototypes_are_the_first_of_a_class(void **state) {
  (void)state;
  double x[N * D], mean[2][D] = {{0}}, sum = 0;
  draw(x, 2);
  /* Two shots of classes 1 (rows 1 and 3) and 4 (0 and 2); 6 and 5 are asked; class 2 is alone. */
  for (int k = 0; k < D; k++) {
    mean[0][k] = (x[1 * D + k] + x[3 * D + k]) / 2;
    mean[1][k] = (x[0 * D + k] + x[2 * D + k]) / 2;
  }
  for (int q = 0; q < 2; q++) {
    double d[2] = {0};
    for (int c = 0; c < 2; c++)
      for (int k = 0; k < D; k++) d[c] += pow(x[(q ? 5 : 6) * D + k] - mean[c][k], 2);
    sum += log(exp(-d[0]) + exp(-d[1])) + d[q];
  }
  assert_true(fabs(value("prototypical:shots=2", x, label_of, NULL) - sum / 2) < 1e-10);
}

static void gradients_are_differences(void **state) {
  (void)state;
  static const char *const specs[] = {
      "triplet",      "triplet:soft:squared:normalise=false",      "triplet:mining=all:margin=1",
      "contrastive",  "contrastive:normalise=false:margin=3",      "constellation",
      "prototypical", "prototypical:shots=2:metric=cosine:scale=3"};
  for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
    double x[N * D], g[N * D], largest = 0;
    draw(x, 3);
    (void)value(specs[s], x, label_of, g);
    for (int i = 0; i < N * D; i++) {
      const double was = x[i], h = 1e-6;
      x[i] = was + h;
      const double up = value(specs[s], x, label_of, NULL);
      x[i] = was - h;
      const double want = (up - value(specs[s], x, label_of, NULL)) / (2 * h);
      x[i] = was;
      if (fabs(g[i] - want) > 1e-6) fail_msg("%s, element %d: %g, %g", specs[s], i, g[i], want);
      largest = fmax(largest, fabs(g[i]));
    }
    assert_true(largest > 1e-3);
  }
}

static void nothing_to_compare_is_zero(void **state) {
  (void)state;
  static const char *const specs[] = {"triplet", "triplet:mining=all", "constellation",
                                      "prototypical"};
  const int64_t alone[N] = {0, 1, 2, 3, 4, 5, 6}, one[N] = {0};
  for (size_t s = 0; s < sizeof specs / sizeof *specs; s++)
    for (int k = 0; k < 2; k++) {
      double x[N * D], g[N * D];
      draw(x, 4);
      assert_true(value(specs[s], x, k ? one : alone, g) == 0);
      for (int i = 0; i < N * D; i++) assert_true(g[i] == 0);
    }
}

static void wrong_inputs_latch(void **state) {
  (void)state;
  static const char *const specs[] = {"triplet", "contrastive", "constellation", "prototypical"};
  for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
    mica_loss *loss;
    mica_tape *t;
    assert_int_equal(mica_loss_create(engine, specs[s], NULL, 5, D, &loss), MICA_OK);
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    const mica_loss_inputs in = {.features = mica_full(t, MICA_F32, MICA_SHAPE(3, 2), 1),
                                 .labels = mica_full(t, MICA_I64, MICA_SHAPE(4), 0)};
    (void)mica_loss_forward(t, loss, &in);
    assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
    mica_tape_free(t);
    mica_loss_free(loss);
  }
}

/* ---- local descriptors ---- */

static double local(const double *x, double *gradient, const mica_local_triplet_options *o,
                    mica_status expected) {
  enum { T = 4, K = 4 };
  mica_tape *t;
  mica_tensor *f;
  assert_int_equal(mica_tensor_create(MICA_F64, MICA_SHAPE(T, K, 2), &f), MICA_OK);
  memcpy(mica_tensor_data(f), x, T * K * 2 * sizeof *x);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  const mica_var leaf = mica_leaf(t, f);
  const mica_var v = mica_local_triplet(t, leaf, mica_full(t, MICA_F64, MICA_SHAPE(T, K), 1), o);
  const double got = mica_item(t, v);
  assert_int_equal(mica_tape_status(t), expected);
  if (gradient) {
    assert_int_equal(mica_backward(t, v), MICA_OK);
    memcpy(gradient, mica_read(t, mica_gradient(t, leaf)).data, T * K * 2 * sizeof *gradient);
  }
  mica_tape_free(t);
  mica_tensor_free(f);
  return got;
}

static void local_triplets_have_their_gradient(void **state) {
  (void)state;
  mica_local_triplet_options o = MICA_LOCAL_TRIPLET_OPTIONS;
  double x[32], g[32], largest = 0;
  o.tuple = 4;
  o.margin = 0.5;
  for (int i = 0; i < 32; i++) x[i] = mica_random_normal(mica_key_seed(8), (uint64_t)i);
  /* The positive shows the query again, a little off: there are matches. */
  for (int i = 0; i < 8; i++) x[8 + i] = x[i] + 0.05 * x[16 + i];
  assert_true(local(x, g, &o, MICA_OK) > 0);
  for (int i = 0; i < 32; i++) {
    const double was = x[i], h = 1e-6;
    x[i] = was + h;
    const double up = local(x, NULL, &o, MICA_OK);
    x[i] = was - h;
    const double want = (up - local(x, NULL, &o, MICA_OK)) / (2 * h);
    x[i] = was;
    assert_true(fabs(g[i] - want) < 1e-6);
    largest = fmax(largest, fabs(g[i]));
  }
  assert_true(largest > 1e-3);
  /* No whole tuple: nothing, and no gradient. */
  o.tuple = 5;
  assert_true(local(x, g, &o, MICA_OK) == 0);
  for (int i = 0; i < 32; i++) assert_true(g[i] == 0);
  o.tuple = 2;
  (void)local(x, NULL, &o, MICA_ERR_INVALID);
}

/* ---- samplers ---- */

enum { ITEMS = 60, CLASSES = 5 };

/* Classes of 24, 16, 10, 8 and 2 examples. */
static void tail(int64_t *label) {
  static const int64_t size[CLASSES] = {24, 16, 10, 8, 2};
  for (int c = 0, i = 0; c < CLASSES; c++)
    for (int k = 0; k < size[c]; k++) label[i++] = c;
}

static mica_sampler *sampler(const char *spec, const int64_t *label, const int64_t *predicted) {
  mica_sampler *s;
  mica_sampler_data d = MICA_SAMPLER_DATA;
  d.n = ITEMS;
  d.label = label;
  d.predicted = predicted;
  if (mica_sampler_create(engine, spec, &d, &s)) fail_msg("%s", mica_last_error());
  return s;
}

static void classes_come_side_by_side(void **state) {
  (void)state;
  int64_t label[ITEMS], order[ITEMS], again[ITEMS];
  tail(label);
  mica_sampler *s = sampler("classes:examples=3", label, NULL);
  assert_int_equal(mica_sampler_order(s, mica_key_seed(1), order), MICA_OK);
  assert_int_equal(mica_sampler_order(s, mica_key_seed(1), again), MICA_OK);
  assert_memory_equal(order, again, sizeof order);
  for (int i = 0; i < ITEMS; i += 3)
    for (int k = 1; k < 3; k++) assert_int_equal(label[order[i]], label[order[i + k]]);
  /* A round has each class once; no example comes twice before its class is through. */
  int seen[ITEMS] = {0};
  for (int i = 0; i < 3 * CLASSES; i++)
    if (label[order[i]] != 4) assert_int_equal(seen[order[i]]++, 0);
  assert_int_equal(mica_sampler_order(s, mica_key_seed(2), again), MICA_OK);
  assert_memory_not_equal(order, again, sizeof order);
  mica_sampler_free(s);
}

static void tails_are_drawn_by_a_power(void **state) {
  (void)state;
  static const char *const specs[] = {"power:power=0", "power:power=1", "power:power=0.5:cap=4"};
  int64_t label[ITEMS], order[ITEMS];
  tail(label);
  for (int k = 0; k < 3; k++) {
    mica_sampler *s = sampler(specs[k], label, NULL);
    double count[CLASSES] = {0};
    bool used[ITEMS] = {false};
    for (uint64_t epoch = 0; epoch < 200; epoch++) {
      assert_int_equal(mica_sampler_order(s, mica_key_fold(mica_key_seed(3), epoch), order),
                       MICA_OK);
      for (int i = 0; i < ITEMS; i++) {
        count[label[order[i]]] += 1. / (200 * ITEMS);
        used[order[i]] = true;
      }
    }
    int distinct = 0;
    for (int i = 0; i < ITEMS; i++) distinct += used[i];
    if (k == 0) assert_true(fabs(count[4] - 0.2) < 0.02 && fabs(count[0] - 0.2) < 0.02);
    if (k == 1) assert_true(fabs(count[4] - 2. / 60) < 0.01 && fabs(count[0] - 24. / 60) < 0.02);
    /* Four of four classes and the two of the last. */
    assert_int_equal(distinct, k == 2 ? 18 : ITEMS);
    mica_sampler_free(s);
  }
}

static void tuples_are_around_mistakes(void **state) {
  (void)state;
  int64_t label[ITEMS], predicted[ITEMS], order[ITEMS];
  tail(label);
  /* Half of class 1 is taken for 0; all else is right. */
  for (int i = 0; i < ITEMS; i++) predicted[i] = label[i] == 1 && i % 2 ? 0 : label[i];
  for (int hard = 0; hard < 2; hard++) {
    mica_sampler *s =
        sampler(hard ? "tuples:tuple=6" : "tuples:tuple=6:hard=false", label, predicted);
    int mistaken = 0, negatives = 0;
    for (uint64_t epoch = 0; epoch < 50; epoch++) {
      assert_int_equal(mica_sampler_order(s, mica_key_fold(mica_key_seed(4), epoch), order),
                       MICA_OK);
      for (int i = 0; i + 6 <= ITEMS; i += 6) {
        assert_int_equal(label[order[i]], label[order[i + 1]]);
        assert_int_not_equal(order[i], order[i + 1]);
        for (int k = 2; k < 6; k++) {
          assert_int_not_equal(label[order[i]], label[order[i + k]]);
          for (int j = 0; j < k; j++) assert_int_not_equal(order[i + j], order[i + k]);
          if (label[order[i]] != 0) continue;
          negatives++;
          mistaken += predicted[order[i + k]] == 0;
        }
        if (hard && predicted[order[i]] != label[order[i]])
          assert_int_equal(predicted[order[i + 1]], label[order[i + 1]]);
      }
    }
    const double share = (double)mistaken / negatives;
    if (hard ? share < 0.4 : share > 0.35) fail_msg("%d: a share of %g", hard, share);
    mica_sampler_free(s);
  }
}

static void samplers_refuse(void **state) {
  (void)state;
  int64_t label[ITEMS], bad[ITEMS];
  mica_sampler *s;
  mica_sampler_data d = MICA_SAMPLER_DATA;
  tail(label);
  tail(bad);
  d.label = label;
  assert_int_equal(mica_sampler_create(engine, "classes", &d, &s), MICA_ERR_INVALID);
  d.n = ITEMS;
  assert_int_equal(mica_sampler_create(engine, "clases", &d, &s), MICA_ERR_NOT_FOUND);
  bad[3] = -1;
  d.label = bad;
  assert_int_equal(mica_sampler_create(engine, "classes", &d, &s), MICA_ERR_INVALID);
  bad[3] = 5000000;
  assert_int_equal(mica_sampler_create(engine, "classes", &d, &s), MICA_ERR_INVALID);
  bad[3] = 7;
  d.label = label;
  d.predicted = bad;
  assert_int_equal(mica_sampler_create(engine, "tuples", &d, &s), MICA_ERR_INVALID);
  d.predicted = NULL;
  assert_int_equal(mica_sampler_create(engine, "classes", &d, &s), MICA_OK);
  mica_tensor *x;
  mica_stream stream;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(ITEMS - 1, 2), &x), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, NULL, 4, false, false, 0, &stream), MICA_OK);
  assert_int_equal(mica_memory_stream_sample(&stream, s), MICA_ERR_INVALID);
  mica_memory_stream_free(&stream);
  mica_tensor_free(x);
  mica_sampler_free(s);
}

static void a_stream_goes_by_its_sampler(void **state) {
  (void)state;
  int64_t label[ITEMS], order[ITEMS];
  mica_tensor *x, *y;
  mica_stream stream;
  mica_batch batch;
  tail(label);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(ITEMS, 1), &x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(ITEMS), &y), MICA_OK);
  memcpy(mica_tensor_data(y), label, sizeof label);
  mica_sampler *s = sampler("classes:examples=2", label, NULL);
  assert_int_equal(mica_memory_stream_create(x, y, 10, true, false, 6, &stream), MICA_OK);
  assert_int_equal(mica_memory_stream_sample(&stream, s), MICA_OK);
  for (int64_t epoch = 0; epoch < 2; epoch++) {
    assert_int_equal(stream.seek(stream.ctx, epoch, 0), MICA_OK);
    for (int64_t b = 0; b < stream.batches; b++) {
      assert_int_equal(stream.next(stream.ctx, &batch), MICA_OK);
      const int64_t *of = mica_tensor_data(batch.labels), *id = mica_tensor_data(batch.ids);
      for (int i = 0; i < 10; i += 2) assert_int_equal(of[i], of[i + 1]);
      for (int i = 0; i < 10; i++) order[10 * b + i] = id[i];
    }
    /* Any place of the epoch gives the same. */
    assert_int_equal(stream.seek(stream.ctx, epoch, 3), MICA_OK);
    assert_int_equal(stream.next(stream.ctx, &batch), MICA_OK);
    assert_memory_equal(mica_tensor_data(batch.ids), order + 30, 10 * sizeof *order);
  }
  mica_memory_stream_free(&stream);
  mica_sampler_free(s);
  mica_tensor_free(x);
  mica_tensor_free(y);
}

/* ---- memory ---- */

static mica_status everything(void *ctx) {
  (void)ctx;
  static const char *const samplers[] = {"classes", "power", "tuples:tuple=3"};
  static const char *const losses[] = {"triplet", "prototypical", "local_triplet:tuple=3"};
  mica_engine *own = NULL;
  int64_t label[ITEMS], order[ITEMS];
  mica_sampler_data d = MICA_SAMPLER_DATA;
  tail(label);
  d.n = ITEMS;
  d.label = d.predicted = label;
  mica_status status = mica_engine_create(NULL, &own);
  for (int k = 0; k < 3 && status == MICA_OK; k++) {
    mica_sampler *s = NULL;
    mica_loss *loss = NULL;
    mica_tape *t = NULL;
    status = mica_sampler_create(own, samplers[k], &d, &s);
    if (status == MICA_OK) status = mica_sampler_order(s, mica_key_seed(0), order);
    if (status == MICA_OK) status = mica_loss_create(own, losses[k], NULL, 5, 3, &loss);
    if (status == MICA_OK) status = mica_tape_create(own, NULL, &t);
    if (status == MICA_OK) {
      const mica_var x = mica_random_normal_like(t, MICA_SHAPE(3, 2, 2, 3), MICA_F32, 0, 1);
      const mica_loss_inputs in = {.features = mica_reshape(t, x, MICA_SHAPE(12, 3)),
                                   .labels = mica_full(t, MICA_I64, MICA_SHAPE(12), 1),
                                   .map = x};
      (void)mica_loss_forward(t, loss, &in);
      status = mica_tape_status(t);
    }
    mica_tape_free(t);
    mica_loss_free(loss);
    mica_sampler_free(s);
  }
  mica_engine_free(own);
  return status;
}

static void memory_runs_out(void **state) {
  (void)state;
  failing_alloc_install();
  assert_true(fail_each(everything, NULL) > 20);
  failing_alloc_remove();
}

static int setup(void **state) {
  (void)state;
  return mica_engine_create(NULL, &engine);
}
static int teardown(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

int main(void) {
  const struct CMUnitTest before[] = {cmocka_unit_test(memory_runs_out)};
  const struct CMUnitTest tests[] = {cmocka_unit_test(losses_are_their_loops),
                                     cmocka_unit_test(prototypes_are_the_first_of_a_class),
                                     cmocka_unit_test(gradients_are_differences),
                                     cmocka_unit_test(nothing_to_compare_is_zero),
                                     cmocka_unit_test(wrong_inputs_latch),
                                     cmocka_unit_test(local_triplets_have_their_gradient),
                                     cmocka_unit_test(classes_come_side_by_side),
                                     cmocka_unit_test(tails_are_drawn_by_a_power),
                                     cmocka_unit_test(tuples_are_around_mistakes),
                                     cmocka_unit_test(samplers_refuse),
                                     cmocka_unit_test(a_stream_goes_by_its_sampler)};
  const int failed = cmocka_run_group_tests(before, NULL, NULL);
  return failed + cmocka_run_group_tests(tests, setup, teardown);
}
