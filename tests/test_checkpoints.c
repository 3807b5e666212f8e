/* Checkpoints that nobody here trained: the published CIFAR-10 ResNet-20 gives its published
 * logits. */
#include "support/test.h"

#include <mica/train.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef MICA_HAVE_ZLIB
#include <zlib.h>
#endif

#define IMAGES 4000

static mica_engine *engine;

static char *path_of(const char *variable, const char *file) {
  const char *root = getenv(variable);
  static char path[1024];
  if (!root) {
    print_message("%s is not set\n", variable);
    return NULL;
  }
  snprintf(path, sizeof path, "%s/%s", root, file);
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("%s is not there\n", path);
    return NULL;
  }
  fclose(f);
  return path;
}

#ifdef MICA_HAVE_ZLIB
/* CIFAR records: a label, then 1024 red, green, blue. */
static bool read_images(mica_tensor **x, mica_tensor **labels) {
  const char *path = path_of("MICA_DATA", "cifar-10/data_batch_1.first4000.bin.gz");
  if (!path) return false;
  static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
  gzFile f = gzopen(path, "rb");
  assert_non_null(f);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(IMAGES, 32, 32, 3), x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(IMAGES), labels), MICA_OK);
  float *to = mica_tensor_data(*x);
  for (int n = 0; n < IMAGES; n++) {
    unsigned char record[3073];
    assert_int_equal(gzread(f, record, sizeof record), (int)sizeof record);
    ((int64_t *)mica_tensor_data(*labels))[n] = record[0];
    for (int p = 0; p < 1024; p++)
      for (int c = 0; c < 3; c++)
        to[(n * 1024 + p) * 3 + c] = (float)((record[1 + c * 1024 + p] / 255.0 - mean[c]) / std[c]);
  }
  gzclose(f);
  return true;
}
#else
static bool read_images(mica_tensor **x, mica_tensor **labels) {
  (void)x, (void)labels;
  print_message("skip: built without zlib\n");
  return false;
}
#endif

static void test_resnet20(void **state) {
  static const char *const forms[] = {"resnet-cifar10/resnet20-12fca82f.safetensors",
                                      "resnet-cifar10/resnet20-12fca82f.npz",
                                      "resnet-cifar10/resnet20-12fca82f.th"};
  (void)state;
  mica_tensor *x = NULL, *labels = NULL;
  if (!read_images(&x, &labels)) skip();
  char *path = path_of("MICA_WEIGHTS", "resnet-cifar10/resnet20-logits-first4.json");
  if (!path) skip();
  FILE *f = fopen(path, "rb");
  static char text[65536];
  const size_t n = fread(text, 1, sizeof text, f);
  fclose(f);
  /* The numbers after "logits": four rows of ten. */
  double want[40];
  text[n < sizeof text ? n : n - 1] = 0;
  char *at = strstr(text, "logits");
  assert_non_null(at);
  for (int i = 0; i < 40; i++) {
    at += strcspn(at, "-0123456789");
    want[i] = strtod(at, &at);
  }
  for (int k = 0; k < 3; k++) {
    const mica_problem task = MICA_PROBLEM_IMAGES(32, 32, 3, 10);
    mica_net *net;
    mica_load_report report;
    assert_int_equal(mica_net_create(engine, "resnet:depth=20", &task, 1, &net), MICA_OK);
    path = path_of("MICA_WEIGHTS", forms[k]);
    if (!path) skip();
    if (mica_params_load(mica_net_params(net), path, NULL, &report) != MICA_OK) {
      print_error("%s\n%s\n", mica_last_error(), report.text ? report.text : "");
      fail();
    }
    assert_true(report.share == 1 && report.unexpected == 0 && report.reshaped == 0);
    mica_free(report.text);
    mica_stream stream;
    mica_evaluation e;
    assert_int_equal(mica_memory_stream_create(x, labels, 100, false, false, 0, &stream), MICA_OK);
    if (k) stream.batches = 1;
    assert_int_equal(mica_evaluate(net, &stream, true, false, &e), MICA_OK);
    const float *logits = mica_tensor_data(e.logits);
    for (int i = 0; i < 40; i++)
      if (fabs((double)logits[i] - want[i]) > 2e-4) {
        print_error("%s: logit %d is %g, published %g\n", forms[k], i, (double)logits[i], want[i]);
        fail();
      }
    if (!k) {
      print_message("accuracy on %d training images: %.2f%%\n", IMAGES, 100 * e.accuracy);
      assert_true(e.accuracy > 0.9975);
    }
    mica_evaluation_clear(&e);
    mica_memory_stream_free(&stream);
    mica_net_free(net);
  }
  mica_tensor_free(x);
  mica_tensor_free(labels);
}

/* The deeper ones, which come as pickles only: their names tell the accuracy they were published
 * with, on the test set; on training images they do better still. */
static void test_deeper(void **state) {
  static const struct {
    const char *file, *spec;
  } nets[] = {{"resnet-cifar10/resnet32-d509ac18.th", "resnet:depth=32"},
              {"resnet-cifar10/resnet44-014dd654.th", "resnet:depth=44"},
              {"resnet-cifar10/resnet56-4bfd9763.th", "resnet:depth=56"}};
  (void)state;
  mica_tensor *x = NULL, *labels = NULL;
  if (!read_images(&x, &labels)) skip();
  for (int k = 0; k < 3; k++) {
    const mica_problem task = MICA_PROBLEM_IMAGES(32, 32, 3, 10);
    mica_net *net;
    mica_load_report report;
    mica_stream stream;
    mica_evaluation e;
    const char *path = path_of("MICA_WEIGHTS", nets[k].file);
    if (!path) skip();
    assert_int_equal(mica_net_create(engine, nets[k].spec, &task, 1, &net), MICA_OK);
    if (mica_params_load(mica_net_params(net), path, NULL, &report))
      fail_msg("%s", mica_last_error());
    assert_true(report.share == 1 && report.unexpected == 0 && report.reshaped == 0);
    mica_free(report.text);
    assert_int_equal(mica_memory_stream_create(x, labels, 100, false, false, 0, &stream), MICA_OK);
    stream.batches = 5;
    assert_int_equal(mica_evaluate(net, &stream, false, false, &e), MICA_OK);
    print_message("%s: %.2f%% of %lld training images\n", nets[k].file, 100 * e.accuracy,
                  (long long)e.n);
    assert_true(e.accuracy > 0.99);
    mica_memory_stream_free(&stream);
    mica_net_free(net);
  }
  mica_tensor_free(x);
  mica_tensor_free(labels);
}

/* Saving in the reference layout and loading again changes nothing, with in = kh = kw, where a
 * wrong layout would have the right shape. */
static void test_round_trip(void **state) {
  (void)state;
  const char *path = "build-test-round-trip.safetensors";
  const mica_problem task = MICA_PROBLEM_IMAGES(12, 12, 3, 5);
  mica_net *a, *b;
  assert_int_equal(mica_net_create(engine, "convnet:widths=3,4", &task, 1, &a), MICA_OK);
  assert_int_equal(mica_net_create(engine, "convnet:widths=3,4", &task, 2, &b), MICA_OK);
  const mica_param *p = mica_params_find(mica_net_params(a), "stages.0.conv1.weight");
  const mica_shape *shape = mica_tensor_shape(mica_param_value(p));
  assert_true(shape->dim[1] == 3 && shape->dim[2] == 3 && shape->dim[3] == 3);
  assert_int_equal(mica_params_save(mica_net_params(a), path, NULL, 0), MICA_OK);
  mica_archive *archive;
  mica_tensor *stored;
  assert_int_equal(mica_archive_open(path, &archive), MICA_OK);
  assert_int_equal(
      mica_archive_read(archive, mica_archive_find(archive, "stages.0.conv1.weight"), &stored),
      MICA_OK);
  /* [o, i, kh, kw] there is [o, kh, kw, i] here */
  for (int o = 0; o < 3; o++)
    for (int i = 0; i < 3; i++)
      for (int k = 0; k < 9; k++)
        assert_true(mica_tensor_get(stored, (o * 3 + i) * 9 + k) ==
                    mica_tensor_get(mica_param_value(p), (o * 9 + k) * 3 + i));
  mica_tensor_free(stored);
  mica_archive_close(archive);
  assert_int_equal(mica_params_load(mica_net_params(b), path, NULL, NULL), MICA_OK);
  for (int64_t i = 0; i < mica_params_count(mica_net_params(a)); i++) {
    const mica_param *q = mica_params_at(mica_net_params(a), i);
    const mica_param *r = mica_params_find(mica_net_params(b), mica_param_path(q));
    for (int64_t k = 0; k < mica_tensor_count(mica_param_value(q)); k++)
      assert_true(mica_tensor_get(mica_param_value(q), k) ==
                  mica_tensor_get(mica_param_value(r), k));
  }
  /* Another architecture refuses, and nothing changes. */
  mica_net *c;
  const mica_problem other = MICA_PROBLEM_IMAGES(12, 12, 3, 5);
  assert_int_equal(mica_net_create(engine, "resnet:depth=8", &other, 1, &c), MICA_OK);
  assert_int_equal(mica_params_load(mica_net_params(c), path, NULL, NULL), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "0% of the parameters"));
  mica_net_free(a);
  mica_net_free(b);
  mica_net_free(c);
  remove(path);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_resnet20),
      cmocka_unit_test(test_deeper),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
