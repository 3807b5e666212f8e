/* Distillation: the losses against their equations, the scheme against the same by hand, class
 * means, adapters between widths, knowledge review, and what is refused.
 */
#include "support/failing_alloc.h"
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N       48
#define SIDE    8
#define CLASSES 3

static mica_engine *engine;
static const mica_problem pictures = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, CLASSES);

static void make_data(mica_tensor **x, mica_tensor **labels) {
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(N, SIDE, SIDE, 1), x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(N), labels), MICA_OK);
  const mica_key key = mica_key_seed(5);
  for (int64_t n = 0; n < N; n++) {
    mica_tensor_set(*labels, n, (double)(n % CLASSES));
    for (int64_t p = 0; p < SIDE * SIDE; p++)
      mica_tensor_set(*x, n * SIDE * SIDE + p,
                      0.5 * mica_random_normal(key, (uint64_t)(n * SIDE * SIDE + p)) +
                          (p % CLASSES == n % CLASSES));
  }
}

typedef struct pair {
  mica_tensor *x, *labels;
  mica_stream stream;
  mica_net *teacher, *student;
} pair;

static pair make_pair(const char *teacher, const char *student) {
  pair p = {0};
  make_data(&p.x, &p.labels);
  assert_int_equal(mica_memory_stream_create(p.x, p.labels, 16, false, false, 1, &p.stream),
                   MICA_OK);
  assert_int_equal(mica_net_create(engine, teacher, &pictures, 1, &p.teacher), MICA_OK);
  assert_int_equal(mica_net_create(engine, student, &pictures, 2, &p.student), MICA_OK);
  return p;
}

static void end_pair(pair *p) {
  mica_net_free(p->student);
  mica_net_free(p->teacher);
  mica_memory_stream_free(&p->stream);
  mica_tensor_free(p->x);
  mica_tensor_free(p->labels);
}

static mica_status distil(pair *p, const char *spec, const char *loss, mica_train_result *result) {
  const mica_scheme_setting s = {
      .size = sizeof s, .net = p->student, .train = &p->stream, .teacher = p->teacher};
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_scheme *scheme;
  mica_status status = mica_scheme_create(engine, spec, &s, loss, &scheme);
  if (status != MICA_OK) return status;
  o.scheme = scheme;
  o.loss = mica_scheme_loss(scheme);
  o.optimiser = "sgd:lr=0.05";
  o.epochs = 2;
  status = mica_train(p->student, &p->stream, NULL, &o, result);
  mica_scheme_free(scheme);
  return status;
}

/* Every loss by every form trains, between networks of other widths too. */
static void test_losses_train(void **state) {
  (void)state;
  static const char *const losses[] = {"ce+kd:T=4:warmup=2",
                                       "ce+dkd:beta=2",
                                       "ce+dist:T=2",
                                       "ce+kd+2*nd",
                                       "ce+nd:form=direction",
                                       "ce+nd:form=norm:target=sample",
                                       "ce+nd:form=mse",
                                       "ce+nd:target=sample:dropout=0",
                                       "ce+review",
                                       "ce+review:width=3:warmup=1"};
  static const char *const students[] = {"convnet:widths=3,5", "mlp:hidden=6,4"};
  static const char *const taps[] = {"distil:taps=pyramid",
                                     "distil:taps=0,1:teacher_taps=pyramid.0,features"};
  for (size_t k = 0; k < 2; k++)
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
      pair p = make_pair("convnet:widths=4,8", students[k]);
      mica_train_result r = {0};
      if (distil(&p, taps[k], losses[i], &r) != MICA_OK)
        fail_msg("%s %s: %s", students[k], losses[i], mica_last_error());
      assert_true(isfinite(r.loss) && r.steps == 6);
      end_pair(&p);
    }
}

/* Class means: of each class's rows, and zeros for a class that is not there. */
static void test_class_means(void **state) {
  (void)state;
  pair p = make_pair("mlp:hidden=6", "mlp:hidden=6");
  mica_tensor *means;
  mica_evaluation e;
  assert_int_equal(mica_class_means(p.teacher, &p.stream, CLASSES + 1, &means), MICA_OK);
  assert_int_equal(mica_evaluate(p.teacher, &p.stream, false, true, &e), MICA_OK);
  const float *f = mica_tensor_data(e.features);
  for (int64_t c = 0; c <= CLASSES; c++)
    for (int64_t d = 0; d < 6; d++) {
      double sum = 0;
      for (int64_t n = 0; n < N; n++) sum += n % CLASSES == c ? (double)f[n * 6 + d] : 0;
      const double want = c < CLASSES ? sum / (N / CLASSES) : 0;
      assert_true(fabs(mica_tensor_get(means, c * 6 + d) - want) < 1e-6);
    }
  mica_evaluation_clear(&e);
  mica_tensor_free(means);
  assert_int_equal(mica_class_means(p.teacher, &p.stream, CLASSES - 1, &means), MICA_ERR_INVALID);
  assert_int_equal(mica_class_means(p.teacher, &p.stream, -1, &means), MICA_ERR_INVALID);
  assert_int_equal(mica_class_means(p.teacher, &p.stream, 0, &means), MICA_OK);
  assert_int_equal(mica_tensor_dim(means, 0), CLASSES);
  mica_tensor_free(means);
  mica_stream plain;
  assert_int_equal(mica_memory_stream_create(p.x, NULL, 16, false, false, 1, &plain), MICA_OK);
  assert_int_equal(mica_class_means(p.teacher, &plain, CLASSES, &means), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "no labels"));
  mica_memory_stream_free(&plain);
  end_pair(&p);
}

/* The scheme with a teacher's file is the trainer's own teacher, to the bit; and another scale and
 * size of pictures does not change what the teacher sees. */
static void test_teacher_from_file(void **state) {
  (void)state;
  char path[] = "/tmp/mica-test-teacher-XXXXXX", spec[80];
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  pair p = make_pair("mlp:hidden=6", "mlp:hidden=4"), q = make_pair("mlp:hidden=6", "mlp:hidden=4");
  static const char *const names[] = {"a", "b", "c"}, *const others[] = {"a", "c", "b"};
  mica_preprocess pre = MICA_PREPROCESS(SIDE, SIDE, 1);
  assert_int_equal(mica_net_save(p.teacher, &pre, names, NULL, path), MICA_OK);
  snprintf(spec, sizeof spec, "distil:teacher=%s", path);
  mica_scheme_setting s = {
      .size = sizeof s, .net = p.student, .train = &p.stream, .preprocess = &pre, .classes = names};
  mica_scheme *scheme;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  assert_int_equal(mica_scheme_create(engine, spec, &s, NULL, &scheme), MICA_OK);
  assert_string_equal(mica_scheme_loss(scheme), "ce+kd");
  o.loss = "ce+kd";
  o.optimiser = "sgd:lr=0.05";
  o.epochs = 1;
  o.scheme = scheme;
  assert_int_equal(mica_train(p.student, &p.stream, NULL, &o, NULL), MICA_OK);
  o.scheme = NULL;
  o.teacher = q.teacher;
  assert_int_equal(mica_train(q.student, &q.stream, NULL, &o, NULL), MICA_OK);
  mica_params *a = mica_net_params(p.student), *b = mica_net_params(q.student);
  for (int64_t i = 0; i < mica_params_count(a); i++) {
    const mica_tensor *u = mica_param_value(mica_params_at(a, i)),
                      *v = mica_param_value(mica_params_at(b, i));
    assert_memory_equal(mica_tensor_data(u), mica_tensor_data(v),
                        (size_t)mica_tensor_count(u) * sizeof(float));
  }
  mica_scheme_free(scheme);

  /* Pictures that come as (x - 0.5) / 2: the teacher still gets x. */
  mica_preprocess scaled = pre;
  scaled.mean[0] = 0.5;
  scaled.deviation[0] = 2;
  s.preprocess = &scaled;
  assert_int_equal(mica_scheme_create(engine, spec, &s, NULL, &scheme), MICA_OK);
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_outputs out, want;
  mica_loss_inputs in = {0};
  const mica_inputs seen = {.x = mica_affine(t, mica_input(t, p.x), 0.5, -0.25),
                            .tokens = MICA_NONE,
                            .fields = MICA_NONE};
  mica_scheme_forward(t, scheme, p.student, &seen, &out, &in);
  mica_net_forward(t, p.teacher, mica_input(t, p.x), &want);
  assert_true(mica_ok(t));
  const mica_view got = mica_read(t, in.teacher_logits), right = mica_read(t, want.logits);
  for (int64_t i = 0; i < N * CLASSES; i++)
    assert_true(fabsf(((const float *)got.data)[i] - ((const float *)right.data)[i]) < 1e-5f);
  mica_tape_free(t);
  mica_scheme_free(scheme);

  s.classes = others;
  assert_int_equal(mica_scheme_create(engine, spec, &s, NULL, &scheme), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "class 1 is 'b' of the teacher and 'c' here"));
  unlink(path);
  assert_int_equal(mica_scheme_create(engine, spec, &s, NULL, &scheme), MICA_ERR_NOT_FOUND);
  end_pair(&p);
  end_pair(&q);
}

static void refused(pair *p, const char *spec, const char *loss, mica_status status,
                    const char *why) {
  const mica_status got = distil(p, spec, loss, NULL);
  if (got != status || !strstr(mica_last_error(), why))
    fail_msg("%s %s: %s", spec, loss, mica_last_error());
}

static void test_refusals(void **state) {
  (void)state;
  pair p = make_pair("convnet:widths=4,8", "mlp:hidden=6,4");
  refused(&p, "distil:taps=nowhere", "ce+review", MICA_ERR_NOT_FOUND, "no module 'nowhere'");
  refused(&p, "distil:taps=0:teacher_taps=pyramid", "ce+review", MICA_ERR_INVALID,
          "1 taps of the network and 2 of the teacher");
  refused(&p, "distil", "ce+nosuch", MICA_ERR_NOT_FOUND, "nosuch");
  refused(&p, "no", "ce", MICA_ERR_NOT_FOUND, "no scheme is named 'no'");
  mica_scheme *scheme;
  mica_scheme_setting s = {.size = sizeof s, .net = p.student, .train = &p.stream};
  assert_int_equal(mica_scheme_create(engine, "distil", &s, NULL, &scheme), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "which teacher"));
  s.train = NULL;
  assert_int_equal(mica_scheme_create(engine, "distil", &s, NULL, &scheme), MICA_ERR_INVALID);
  /* A teacher of other inputs; one of other classes has no logits to learn from. */
  const mica_problem rows = MICA_PROBLEM_ROWS(5, CLASSES),
                     more = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, CLASSES + 1);
  mica_net_free(p.teacher);
  assert_int_equal(mica_net_create(engine, "mlp:hidden=6", &rows, 1, &p.teacher), MICA_OK);
  refused(&p, "distil", "ce+kd", MICA_ERR_INVALID, "the teacher reads");
  mica_net_free(p.teacher);
  assert_int_equal(mica_net_create(engine, "mlp:hidden=6", &more, 1, &p.teacher), MICA_OK);
  refused(&p, "distil", "ce+kd", MICA_ERR_INVALID, "loss kd needs logits, teacher");
  assert_int_equal(distil(&p, "distil", "ce+nd", NULL), MICA_OK);
  end_pair(&p);
}

/* Ordinary logits and features; the gradient of each form against differences. */
static double value(const char *spec, mica_params *params, const double *x, const double *z,
                    double *gx, double *gz) {
  const mica_loss_shapes shapes = {
      .size = sizeof shapes, .classes = 3, .features = 4, .teacher_features = 4};
  static double tf[5 * 4], tl[5 * 3], means[3 * 4];
  static int64_t label[5] = {2, 0, 1, 1, 0};
  for (int i = 0; i < 20; i++) tf[i] = mica_random_normal(mica_key_seed(3), (uint64_t)i);
  for (int i = 0; i < 15; i++) tl[i] = 2 * mica_random_normal(mica_key_seed(4), (uint64_t)i);
  for (int i = 0; i < 12; i++) means[i] = mica_random_normal(mica_key_seed(5), (uint64_t)i);
  mica_loss *loss;
  mica_tape *t;
  mica_tensor *fx, *fz;
  assert_int_equal(mica_tensor_create(MICA_F64, MICA_SHAPE(5, 4), &fx), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_F64, MICA_SHAPE(5, 3), &fz), MICA_OK);
  memcpy(mica_tensor_data(fx), x, 20 * sizeof *x);
  memcpy(mica_tensor_data(fz), z, 15 * sizeof *z);
  assert_int_equal(mica_loss_create_with(engine, spec, mica_params_root(params), &shapes, &loss),
                   MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  const mica_view vtf = mica_view_of(tf, MICA_F64, MICA_SHAPE(5, 4)),
                  vtl = mica_view_of(tl, MICA_F64, MICA_SHAPE(5, 3)),
                  vm = mica_view_of(means, MICA_F64, MICA_SHAPE(3, 4)),
                  vl = mica_view_of(label, MICA_I64, MICA_SHAPE(5));
  const mica_loss_inputs in = {.features = mica_leaf(t, fx),
                               .logits = mica_leaf(t, fz),
                               .teacher_features = mica_constant(t, &vtf),
                               .teacher_logits = mica_constant(t, &vtl),
                               .class_means = mica_constant(t, &vm),
                               .labels = mica_constant(t, &vl),
                               .epoch = 1};
  const mica_var y = mica_loss_forward(t, loss, &in);
  const double v = mica_item(t, y);
  if (gx && mica_backward(t, y) != MICA_OK) fail_msg("%s", mica_last_error());
  const mica_var g[2] = {gx ? mica_gradient(t, in.features) : MICA_NONE,
                         gx ? mica_gradient(t, in.logits) : MICA_NONE};
  for (int k = 0; k < 2 && gx; k++)
    for (int64_t i = 0; i < (k ? 15 : 20); i++) {
      const mica_view view = mica_is_none(g[k]) ? (mica_view){0} : mica_read(t, g[k]);
      (k ? gz : gx)[i] = view.data ? ((const double *)view.data)[i] : 0;
    }
  assert_true(mica_ok(t));
  mica_tape_free(t);
  mica_loss_free(loss);
  mica_tensor_free(fx);
  mica_tensor_free(fz);
  return v;
}

static void test_gradients(void **state) {
  (void)state;
  static const char *const specs[] = {
      "kd:T=2",       "dkd:alpha=0.5:beta=3", "dist:beta=2:T=3",
      "nd",           "nd:target=sample",     "nd:form=direction",
      "nd:form=norm", "nd:form=mse",          "nd:form=norm:target=sample",
      "kd:warmup=4"};
  mica_params *params;
  assert_int_equal(mica_params_create(engine, 0, &params), MICA_OK);
  for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
    double x[20], z[15], gx[20], gz[15];
    for (int i = 0; i < 20; i++) x[i] = mica_random_normal(mica_key_seed(1), (uint64_t)i);
    for (int i = 0; i < 15; i++) z[i] = mica_random_normal(mica_key_seed(2), (uint64_t)i);
    value(specs[s], params, x, z, gx, gz);
    double largest = 0;
    for (int i = 0; i < 35; i++) {
      double *at = i < 20 ? &x[i] : &z[i - 20];
      const double was = *at, h = 1e-5, g = i < 20 ? gx[i] : gz[i - 20];
      *at = was + h;
      const double above = value(specs[s], params, x, z, NULL, NULL);
      *at = was - h;
      const double below = value(specs[s], params, x, z, NULL, NULL);
      *at = was;
      if (fabs((above - below) / (2 * h) - g) > 1e-6)
        fail_msg("%s, element %d: %g by differences, %g", specs[s], i, (above - below) / (2 * h),
                 g);
      largest = fmax(largest, fabs(g));
    }
    assert_true(largest > 1e-3);
  }
  mica_params_free(params);
}

/* Allocations fail in turn: an error, and nothing leaks or is left half made. */
static mica_status whole_run(void *ctx) {
  const mica_engine_options o = {sizeof o, .threads = 1, .libraries = 0};
  mica_engine *own;
  mica_tensor *x = NULL, *labels = NULL;
  mica_stream stream = {0};
  mica_net *teacher = NULL, *student = NULL;
  mica_scheme *scheme = NULL;
  mica_train_options t = MICA_TRAIN_OPTIONS;
  (void)ctx;
  mica_status status = mica_engine_create(&o, &own);
  if (status != MICA_OK) return status;
  status = mica_tensor_create(MICA_F32, MICA_SHAPE(8, SIDE, SIDE, 1), &x);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(8), &labels);
  for (int64_t i = 0; i < 8 && status == MICA_OK; i++)
    mica_tensor_set(labels, i, (double)(i % CLASSES));
  if (status == MICA_OK) status = mica_memory_stream_create(x, labels, 8, false, false, 1, &stream);
  if (status == MICA_OK)
    status = mica_net_create(own, "convnet:widths=2,4", &pictures, 1, &teacher);
  if (status == MICA_OK)
    status = mica_net_create(own, "convnet:widths=2,3", &pictures, 2, &student);
  const mica_scheme_setting s = {
      .size = sizeof s, .net = student, .train = &stream, .teacher = teacher};
  if (status == MICA_OK)
    status = mica_scheme_create(own, "distil:taps=pyramid", &s, "ce+kd+nd+review", &scheme);
  if (status == MICA_OK) {
    t.scheme = scheme;
    t.loss = mica_scheme_loss(scheme);
    t.epochs = 1;
    status = mica_train(student, &stream, NULL, &t, NULL);
  }
  mica_scheme_free(scheme);
  mica_net_free(student);
  mica_net_free(teacher);
  if (stream.ctx) mica_memory_stream_free(&stream);
  mica_tensor_free(x);
  mica_tensor_free(labels);
  mica_engine_free(own);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  assert_true(fail_every(7, whole_run, NULL) > 500);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_losses_train),      cmocka_unit_test(test_class_means),
      cmocka_unit_test(test_teacher_from_file), cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_gradients),         cmocka_unit_test(test_failing_allocations)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
