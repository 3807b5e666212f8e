/* Model files from elsewhere: each wrong field is an error that names the file and the field, a
 * newer format is refused, and the file of an earlier release still answers as it did. */
#include "support/test.h"

#include <mica/mica.h>

#include "base/buffer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WIDTH  4
#define FEW    6
#define COMPAT "tests/compat/model-0.1.0.mica"

static mica_engine *engine;
static char dir[] = "/tmp/mica-test-model-files-XXXXXX";
static char good[128], bad[128];

/* A small model of pictures with a head; everything in it follows from the seed. */
static mica_model *make(void) {
  const mica_problem task = MICA_PROBLEM_IMAGES(WIDTH, WIDTH, 1, 2);
  mica_preprocess p = MICA_PREPROCESS(WIDTH, WIDTH, 1);
  const char *const names[] = {"yes", "no"}, *const heads[] = {"left", "right", "both"};
  const int64_t label[FEW] = {0, 0, 1, 1, 2, 2};
  mica_net *net;
  mica_model *m;
  mica_estimator *e;
  mica_fit_data data = MICA_FIT_DATA;
  float x[FEW * WIDTH];
  p.mean[0] = 0.25;
  p.deviation[0] = 0.5;
  p.crop = 0.875;
  p.interpolation = MICA_FILTER_BICUBIC;
  assert_int_equal(mica_net_create(engine, "convnet:widths=4", &task, 7, &net), MICA_OK);
  assert_int_equal(mica_model_create(net, &p, names, "{\"seed\":7}", &m), MICA_OK);
  for (int i = 0; i < FEW * WIDTH; i++)
    x[i] = (float)mica_random_normal(mica_key_seed(3), (uint64_t)i) + 3 * (float)(i / WIDTH / 2);
  data.x = mica_view_of(x, MICA_F32, MICA_SHAPE(FEW, WIDTH));
  data.label = label;
  assert_int_equal(mica_estimator_create(engine, "prototypes:reject=0.2", &e), MICA_OK);
  if (mica_estimator_fit(e, &data, NULL)) fail_msg("%s", mica_last_error());
  if (mica_model_put_head(m, "sides", e, heads)) fail_msg("%s", mica_last_error());
  return m;
}

static int setup(void **state) {
  (void)state;
  assert_non_null(mkdtemp(dir));
  snprintf(good, sizeof good, "%s/good.mica", dir);
  snprintf(bad, sizeof bad, "%s/bad.mica", dir);
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  mica_model *m = make();
  assert_int_equal(mica_model_save(m, good), MICA_OK);
  /* MICA_WRITE_COMPAT=1 makes the file that later releases must read. */
  if (getenv("MICA_WRITE_COMPAT")) assert_int_equal(mica_model_save(m, COMPAT), MICA_OK);
  mica_model_free(m);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  mica_engine_free(engine);
  unlink(good);
  unlink(bad);
  return rmdir(dir);
}

/* ---- a file with one thing changed ---- */

/* Text with the first `from` replaced by `to`; release with free. */
static char *replaced(const char *text, const char *from, const char *to) {
  const char *at = strstr(text, from);
  if (!at) fail_msg("the metadata has no %s: %s", from, text);
  const size_t before = (size_t)(at - text), n = strlen(text) + strlen(to) + 1;
  char *out = malloc(n);
  assert_non_null(out);
  snprintf(out, n, "%.*s%s%s", (int)before, text, to, at + strlen(from));
  return out;
}

/* Write `bad` as `good`, with other metadata, without the tensor `drop`, and with no number at the
 * start of `poison` (NULL: none). */
static void write_worse(const char *metadata, const char *training, const char *drop,
                        const char *poison) {
  mica_archive *a;
  assert_int_equal(mica_archive_open(good, &a), MICA_OK);
  const int64_t n = mica_archive_count(a);
  mica_named_view *views = calloc((size_t)n + 1, sizeof *views);
  mica_tensor **tensor = calloc((size_t)n + 1, sizeof *tensor);
  int64_t kept = 0;
  assert_true(views && tensor);
  for (int64_t i = 0; i < n; i++) {
    const char *name = mica_archive_name(a, i);
    if (drop && strcmp(name, drop) == 0) continue;
    assert_int_equal(mica_archive_read(a, i, &tensor[kept]), MICA_OK);
    views[kept] = (mica_named_view){name, mica_tensor_view(tensor[kept])};
    if (poison && strcmp(name, poison) == 0) {
      const bool wide = mica_tensor_dtype(tensor[kept]) == MICA_F64;
      if (wide)
        *(double *)mica_tensor_data(tensor[kept]) = NAN;
      else
        *(float *)mica_tensor_data(tensor[kept]) = NAN;
    }
    kept++;
  }
  assert_true(!drop || kept == n - 1);
  const mica_text_pair pairs[] = {{"mica", metadata}, {"mica.training", training}};
  const int64_t n_pairs = training ? 2 : metadata ? 1 : 0;
  assert_int_equal(mica_safetensors_write(bad, views, kept, pairs, n_pairs), MICA_OK);
  for (int64_t i = 0; i < kept; i++) mica_tensor_free(tensor[i]);
  free(tensor);
  free(views);
  mica_archive_close(a);
}

static void write_bad(const char *metadata, const char *drop) {
  write_worse(metadata, NULL, drop, NULL);
}

/* Opening `bad` fails with a message that names the file and has `text` in it. */
static void refused(mica_status status, const char *text) {
  mica_model *m = NULL;
  const mica_status got = mica_model_open(engine, bad, &m);
  if (got == MICA_OK) fail_msg("opened, expected: %s", text);
  if (got != status) fail_msg("%s: %s", mica_status_name(got), mica_last_error());
  assert_null(m);
  if (!strstr(mica_last_error(), bad) || !strstr(mica_last_error(), text))
    fail_msg("expected '%s' in: %s", text, mica_last_error());
}

static char *metadata_of(const char *path) {
  mica_archive *a;
  assert_int_equal(mica_archive_open(path, &a), MICA_OK);
  char *text = strdup(mica_archive_metadata(a, "mica"));
  assert_non_null(text);
  mica_archive_close(a);
  return text;
}

static void each_wrong_field_is_named(void **state) {
  (void)state;
  static const struct {
    const char *from, *to;
    mica_status status;
    const char *text;
  } cases[] = {
      {"\"format\":1", "\"format\":5", MICA_ERR_UNSUPPORTED, "model format 5; this is mica"},
      {"\"format\":1", "\"format\":\"1\"", MICA_ERR_FORMAT, "format"},
      {"{\"format\"", "[{\"format\"", MICA_ERR_FORMAT, "mica"},
      {"convnet", "konvnet", MICA_ERR_NOT_FOUND, "convnet"},
      {"convnet:widths=4", "convnet:depth=4", MICA_ERR_INVALID, "depth"},
      {"convnet:widths=4", "convnet:widths=4096,4096,4096", MICA_ERR_FORMAT, "elements"},
      {"convnet:widths=4", "resnet:depth=1994:width=4096", MICA_ERR_FORMAT, "elements"},
      {"convnet:widths=4", "convnet:widths=8", MICA_ERR_SHAPE, "the network gives 8"},
      {"convnet:widths=4", "convnet:widths=2", MICA_ERR_SHAPE, "the network gives 2"},
      {"\"height\":4", "\"height\":-4", MICA_ERR_FORMAT, "input of -4x4x1"},
      {"\"height\":4", "\"height\":99999", MICA_ERR_FORMAT, "input of 99999"},
      {"\"channels\":1", "\"channels\":9223372036854775807", MICA_ERR_FORMAT, "out of range"},
      {"\"width\":4", "\"wide\":4", MICA_ERR_FORMAT, "width"},
      {"[\"yes\",\"no\"]", "[\"yes\",3]", MICA_ERR_FORMAT, "classes[1]"},
      {"[\"yes\",\"no\"]", "\"yes\"", MICA_ERR_FORMAT, "classes"},
      {"\"cover\"", "\"stretch\"", MICA_ERR_UNSUPPORTED, "resize is 'stretch'"},
      {"\"crop\":0.875", "\"crop\":1.5", MICA_ERR_FORMAT, "crop is 1.5"},
      {"bicubic", "hamming", MICA_ERR_INVALID, "hamming"},
      {"\"mean\":[0.25]", "\"mean\":[0.25,1]", MICA_ERR_FORMAT, "mean has 2 numbers"},
      {"\"mean\":[0.25]", "\"mean\":[null]", MICA_ERR_FORMAT, "mean[0]"},
      {"\"deviation\":[0.5]", "\"deviation\":[0]", MICA_ERR_FORMAT, "deviation"},
      {"\"heads\":[", "\"heads\":[7,", MICA_ERR_FORMAT, "heads[0]"},
      {"\"sides\"", "\"other\"", MICA_ERR_FORMAT, "heads[0]"},
      {"[\"left\",\"right\",\"both\"]", "[\"left\",\"right\"]", MICA_ERR_FORMAT,
       "2 names for 3 classes"},
      {"[\"left\",\"right\",\"both\"]", "[\"left\",\"right\",\"left\"]", MICA_ERR_INVALID,
       "two classes 'left'"},
      {"\"features\":\"features\"", "\"examples\":[1,2],\"features\":\"features\"", MICA_ERR_FORMAT,
       "no list of 3 counts"},
      {"\"features\":\"features\"", "\"examples\":[1,2,-3],\"features\":\"features\"",
       MICA_ERR_FORMAT, "examples[2] is no count"},
      {"\"features\":\"features\"", "\"examples\":[1,\"2\",3],\"features\":\"features\"",
       MICA_ERR_FORMAT, "examples[1] is no count"},
      {"\"features\":\"features\"", "\"examples\":{},\"features\":\"features\"", MICA_ERR_FORMAT,
       "no list of 3 counts"},
      {"\"features\":\"features\"", "\"features\":\"layer3\"", MICA_ERR_UNSUPPORTED, "layer3"},
      {"\\\"features\\\":4", "\\\"features\\\":5", MICA_ERR_FORMAT, "heads[0]"},
      {"\\\"features\\\":4", "\\\"features\\\":2000000000", MICA_ERR_FORMAT, "in tensors of"},
      {"\\\"format\\\":1", "\\\"format\\\":2", MICA_ERR_UNSUPPORTED, "a newer mica wrote it"},
      {"prototypes", "knn", MICA_ERR_FORMAT, "heads[0]"},
      {"\"answers\":\"sides\"", "\"answers\":\"tops\"", MICA_ERR_NOT_FOUND, "no head 'tops'"},
      {"\"answers\":\"sides\"", "\"answers\":3", MICA_ERR_FORMAT, "answers"}};
  char *text = metadata_of(good);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *changed = replaced(text, cases[i].from, cases[i].to);
    write_bad(changed, NULL);
    refused(cases[i].status, cases[i].text);
    free(changed);
  }
  free(text);
}

static void deep_and_missing_parts_are_refused(void **state) {
  (void)state;
  enum { DEPTH = 100000 };
  write_bad(NULL, NULL);
  refused(MICA_ERR_FORMAT, "no metadata 'mica'");
  char *deep = malloc(DEPTH + 1), *text = metadata_of(good);
  assert_non_null(deep);
  memset(deep, '[', DEPTH);
  deep[DEPTH] = 0;
  write_bad(deep, NULL);
  refused(MICA_ERR_FORMAT, "deep");
  free(deep);
  write_bad(text, "stages.0.conv1.weight");
  refused(MICA_ERR_FORMAT, "stages.0.conv1.weight");
  write_bad(text, "mica.head.sides.mean");
  refused(MICA_ERR_FORMAT, "no tensor 'mica.head.sides.mean'");
  /* The same head again. */
  const char *from = strstr(text, "\"heads\":[") + strlen("\"heads\":["), *to = strstr(from, "}]");
  char *again = malloc(2 * strlen(text));
  assert_true(again && to);
  snprintf(again, 2 * strlen(text), "%.*s,%s", (int)(to + 1 - text), text, from);
  write_bad(again, NULL);
  refused(MICA_ERR_FORMAT, "two heads are called 'sides'");
  free(again);
  free(text);
}

static void what_is_no_number_or_no_object_is_refused(void **state) {
  (void)state;
  char *text = metadata_of(good);
  write_worse(text, NULL, NULL, "stages.0.conv1.weight");
  refused(MICA_ERR_FORMAT, "tensor 'stages.0.conv1.weight': element 0 is ");
  write_worse(text, NULL, NULL, "mica.head.sides.mean");
  refused(MICA_ERR_FORMAT, "\"mean\" is not finite");
  write_worse(text, "{\"seed\":", NULL, NULL);
  refused(MICA_ERR_FORMAT, "mica.training");
  write_worse(text, "[7]", NULL, NULL);
  refused(MICA_ERR_FORMAT, "mica.training: expected a JSON object");
  free(text);
}

static void bytes_in_memory_open_too(void **state) {
  (void)state;
  FILE *f = fopen(good, "rb");
  static char bytes[1 << 16];
  assert_non_null(f);
  const size_t n = fread(bytes, 1, sizeof bytes, f);
  assert_int_equal(fclose(f), 0);
  mica_model *m;
  if (mica_model_open_memory(engine, bytes, n, "flash", &m)) fail_msg("%s", mica_last_error());
  memset(bytes, 0xaa, 100); /* they are not needed any more */
  assert_string_equal(mica_model_class(m, 2), "both");
  mica_model_free(m);
  assert_int_not_equal(mica_model_open_memory(engine, bytes, n, "flash", &m), MICA_OK);
  assert_non_null(strstr(mica_last_error(), "flash"));
}

static void a_cut_file_is_refused_wherever_it_is_cut(void **state) {
  (void)state;
  FILE *f = fopen(good, "rb");
  static char bytes[1 << 16];
  assert_non_null(f);
  const size_t n = fread(bytes, 1, sizeof bytes, f);
  assert_int_equal(fclose(f), 0);
  assert_true(n > 1000 && n < sizeof bytes);
  for (size_t cut = 0; cut < n; cut += 37) {
    f = fopen(bad, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, cut, f), cut);
    assert_int_equal(fclose(f), 0);
    mica_model *m = NULL;
    assert_int_not_equal(mica_model_open(engine, bad, &m), MICA_OK);
    assert_non_null(strstr(mica_last_error(), bad));
  }
}

/* ---- compatibility ---- */

/* What release 0.1.0 answered to the pictures of `look`. */
static const struct {
  int64_t label;
  double probability, anomaly;
} release_0_1_0[FEW] =
#include "compat/model-0.1.0.h"
    ;

static void look(mica_model *m, mica_answer answer[FEW]) {
  uint8_t pixels[FEW * WIDTH * WIDTH];
  mica_session *s;
  for (int i = 0; i < FEW * WIDTH * WIDTH; i++) pixels[i] = (uint8_t)(i * 37 % 251);
  const mica_view v = mica_view_of(pixels, MICA_U8, MICA_SHAPE(FEW, WIDTH, WIDTH, 1));
  assert_int_equal(mica_session_create(m, &s), MICA_OK);
  if (mica_predict(s, &v, answer)) fail_msg("%s", mica_last_error());
  mica_session_free(s);
}

/* The weights of an opened file lie in it: saving over it, which puts another file in its place,
 * leaves the model as it was, and both say the same. */
static void a_model_outlives_its_file(void **state) {
  (void)state;
  mica_model *m, *again;
  mica_answer before[FEW], after[FEW];
  if (mica_model_open(engine, good, &m)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_model_save(m, bad), MICA_OK);
  if (mica_model_open(engine, bad, &again)) fail_msg("%s", mica_last_error());
  look(m, before);
  assert_int_equal(mica_model_save(m, bad), MICA_OK);
  look(again, after);
  for (int i = 0; i < FEW; i++) {
    assert_int_equal(before[i].label, after[i].label);
    assert_memory_equal(&before[i].probability, &after[i].probability, sizeof(double));
  }
  assert_int_equal(unlink(bad), 0);
  look(again, after);
  assert_int_equal(before[0].label, after[0].label);
  mica_model_free(m);
  mica_model_free(again);
}

static void files_of_earlier_releases_answer_as_they_did(void **state) {
  (void)state;
  mica_model *m;
  mica_answer answer[FEW];
  if (mica_model_open(engine, COMPAT, &m)) fail_msg("%s", mica_last_error());
  assert_string_equal(mica_model_training(m), "{\"seed\":7}");
  assert_int_equal(mica_model_preprocess(m)->interpolation, MICA_FILTER_BICUBIC);
  look(m, answer);
  for (int i = 0; i < FEW; i++) {
    if (getenv("MICA_WRITE_COMPAT"))
      printf("  {%lld, %.9g, %.9g},\n", (long long)answer[i].label, answer[i].probability,
             answer[i].anomaly);
    else if (answer[i].label != release_0_1_0[i].label ||
             fabs(answer[i].probability - release_0_1_0[i].probability) > 1e-5 ||
             fabs(answer[i].anomaly - release_0_1_0[i].anomaly) >
                 1e-5 * (1 + fabs(release_0_1_0[i].anomaly)))
      fail_msg("picture %d: %lld with %.9g, anomaly %.9g; was %lld with %.9g, %.9g", i,
               (long long)answer[i].label, answer[i].probability, answer[i].anomaly,
               (long long)release_0_1_0[i].label, release_0_1_0[i].probability,
               release_0_1_0[i].anomaly);
  }
  mica_model_free(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_wrong_field_is_named),
      cmocka_unit_test(deep_and_missing_parts_are_refused),
      cmocka_unit_test(what_is_no_number_or_no_object_is_refused),
      cmocka_unit_test(bytes_in_memory_open_too),
      cmocka_unit_test(a_model_outlives_its_file),
      cmocka_unit_test(a_cut_file_is_refused_wherever_it_is_cut),
      cmocka_unit_test(files_of_earlier_releases_answer_as_they_did),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
