/* Pictures with texts: the words that become a vocabulary, captions as a data set, batches of both,
 * and how pictures and texts find each other, against a count by hand. */
#include "support/failing_alloc.h"
#include "support/folder.h"

#include "base/file.h"

#include <mica/train.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ITEMS = 23, SIDE = 6, LENGTH = 6, SHOWN = 19 };

static const mica_preprocess prepared = {
    SIDE, SIDE, 1, {0.5}, {0.25, 1, 1, 1}, 1, MICA_FILTER_BILINEAR, MICA_FIT_COVER};

static const char *const texts[] = {"a red bolt", "a Red nut", "the nut is r\u00e9d", "a nut, old",
                                    "a bolt"};

/* Item i is picture i % SHOWN with text i % 5: some pictures have two texts, all texts several
 * pictures. */
static int setup(void **state) {
  char list[4096] = "file_name,caption\n";
  if (folder_setup(state)) return -1;
  for (int i = 0; i < ITEMS; i++) {
    char name[32], bytes[32 + SIDE * SIDE];
    const int head = snprintf(bytes, sizeof bytes, "P5 %d %d 255\n", SIDE, SIDE);
    for (int k = 0; k < SIDE * SIDE; k++)
      bytes[head + k] = (char)(unsigned char)((i % SHOWN) * 11 + k * (i % SHOWN) % 50);
    snprintf(name, sizeof name, "%02d.pgm", i % SHOWN);
    if (mica_file_write_atomic(folder_path(name), bytes, (size_t)(head + SIDE * SIDE))) return -1;
    snprintf(list + strlen(list), sizeof list - strlen(list), "%s,\"%s\"\n", name, texts[i % 5]);
  }
  folder_put("captions.csv", list);
  return 0;
}

static mica_dataset *open_captions(double validation) {
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  mica_dataset *ds;
  o.height = o.width = SIDE;
  o.channels = 1;
  o.validation = validation;
  o.captions = true;
  if (mica_dataset_open(folder_path("captions.csv"), &o, &ds)) fail_msg("%s", mica_last_error());
  return ds;
}

static mica_tokenizer *words(int64_t least, int64_t most) {
  mica_tokenizer *t;
  if (mica_tokenizer_words(5, texts, least, most, &t)) fail_msg("%s", mica_last_error());
  return t;
}

static void expect_words(const mica_tokenizer *t, const char *const *want, int64_t n) {
  assert_int_equal(mica_tokenizer_size(t), n);
  for (int64_t i = 0; i < n; i++) assert_string_equal(mica_tokenizer_token(t, i, NULL), want[i]);
}

static void test_words(void **state) {
  (void)state;
  /* By how many texts have them: a 4, nut 3, red 3, bolt 2; then by the text. */
  static const char *const all[] = {"[PAD]", "[UNK]", "a",   "nut", "red",  "bolt",
                                    ",",     "is",    "old", "the", "[SEP]"};
  static const char *const some[] = {"[PAD]", "[UNK]", "a", "nut", "red", "bolt", "[SEP]"};
  static const char *const two[] = {"[PAD]", "[UNK]", "a", "nut", "[SEP]"};
  int64_t id[LENGTH], n;
  mica_tokenizer *t = words(1, 0), *again;
  expect_words(t, all, 11);
  mica_tokenizer_free(t);
  t = words(2, 2);
  expect_words(t, two, 5);
  mica_tokenizer_free(t);
  t = words(2, 0);
  expect_words(t, some, 7);
  const char *const question = "RED, old nut";
  assert_int_equal(mica_tokenizer_encode_rows(t, 1, &question, LENGTH, id, &n), MICA_OK);
  static const int64_t tokens[LENGTH] = {4, 1, 1, 3, 6, 0};
  assert_memory_equal(id, tokens, sizeof tokens);
  assert_int_equal(n, 5);
  /* The same from its text. */
  char *json;
  assert_int_equal(mica_tokenizer_text(t, &json), MICA_OK);
  assert_int_equal(mica_tokenizer_parse(json, &again), MICA_OK);
  expect_words(again, some, 7);
  mica_free(json);
  mica_tokenizer_free(again);
  mica_tokenizer_free(t);
  /* A word counts once a text; a very long one is none. */
  char longest[400];
  memset(longest, 'x', sizeof longest);
  longest[399] = 0;
  const char *const twice[] = {"old old", "new", longest, longest};
  assert_int_equal(mica_tokenizer_words(4, twice, 2, 0, &t), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "2 of the texts"));
  assert_null(t);
  assert_int_equal(mica_tokenizer_words(0, twice, 1, 0, &t), MICA_ERR_INVALID);
  assert_int_equal(mica_tokenizer_words(1, twice, 0, 0, &t), MICA_ERR_INVALID);
  assert_int_equal(mica_tokenizer_words(1, twice, 1, -1, &t), MICA_ERR_INVALID);
}

static void test_captions(void **state) {
  (void)state;
  mica_dataset *ds = open_captions(0.3);
  char name[64], other[64];
  assert_int_equal(mica_dataset_count(ds), ITEMS);
  assert_int_equal(mica_dataset_classes(ds), 5);
  assert_in_range(mica_dataset_part_count(ds, MICA_PART_VALIDATION), 2, 13);
  /* A picture is in one part with all its texts. */
  for (int64_t i = 0; i < ITEMS; i++)
    for (int64_t j = 0; j < i; j++)
      if (strcmp(mica_dataset_name(ds, i, name, sizeof name),
                 mica_dataset_name(ds, j, other, sizeof other)) == 0)
        assert_int_equal(mica_dataset_part_of(ds, i), mica_dataset_part_of(ds, j));
  mica_dataset_free(ds);
}

static mica_stream stream_of(const mica_dataset *ds, const mica_tokenizer *t, bool train,
                             int64_t batch) {
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  mica_stream s;
  o.batch = batch;
  o.shuffle = o.drop_last = train;
  o.tokenizer = t;
  o.length = LENGTH;
  if (mica_dataset_stream_create(ds, MICA_PART_TRAIN, &prepared, &o, &s))
    fail_msg("%s", mica_last_error());
  return s;
}

static void test_stream(void **state) {
  (void)state;
  mica_dataset *ds = open_captions(0);
  mica_tokenizer *t = words(1, 0);
  const int64_t *label = mica_tensor_data(mica_dataset_labels(ds));
  for (int train = 0; train < 2; train++) {
    mica_stream s = stream_of(ds, t, train, 8);
    mica_batch b;
    assert_int_equal(s.batches, train ? 2 : 3);
    for (int64_t epoch = 0; epoch < 2; epoch++) {
      assert_int_equal(s.seek(s.ctx, epoch, 0), MICA_OK);
      for (int64_t i = 0; i < s.batches; i++) {
        assert_int_equal(s.next(s.ctx, &b), MICA_OK);
        assert_int_equal(b.n, i < 2 ? 8 : ITEMS - 16);
        const int64_t *first = mica_tensor_data(b.labels), *id = mica_tensor_data(b.ids);
        const int64_t *got = mica_tensor_data(b.tokens);
        assert_int_equal(mica_tensor_dim(b.tokens, 0), b.n);
        for (int64_t k = 0; k < b.n; k++) {
          int64_t want[LENGTH], same = 0;
          const char *text = mica_dataset_class(ds, label[id[k]]);
          assert_int_equal(mica_tokenizer_encode_rows(t, 1, &text, LENGTH, want, NULL), MICA_OK);
          assert_memory_equal(got + k * LENGTH, want, sizeof want);
          while (label[id[same]] != label[id[k]]) same++;
          assert_int_equal(first[k], same);
        }
      }
      assert_int_equal(s.next(s.ctx, &b), MICA_ERR_STATE);
    }
    mica_dataset_stream_free(&s);
  }
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  mica_stream s;
  o.tokenizer = t;
  assert_int_equal(mica_dataset_stream_create(ds, MICA_PART_TRAIN, &prepared, &o, &s),
                   MICA_ERR_INVALID);
  mica_tokenizer_free(t);
  mica_dataset_free(ds);
}

/* ---- both ways ---- */

static const mica_problem problem = {SIDE, SIDE, 1, 0, 11, LENGTH, 0, NULL};

/* The vectors of all pairs, one after the other: as mica_evaluate_pairs cannot know them. */
static void vectors(mica_engine *engine, const mica_net *net, const mica_stream *s, int64_t width,
                    float *x, float *y) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  assert_int_equal(s->seek(s->ctx, 0, 0), MICA_OK);
  for (int64_t i = 0; i < s->batches; i++) {
    mica_batch b;
    mica_outputs o;
    assert_int_equal(s->next(s->ctx, &b), MICA_OK);
    mica_tape_reset(t);
    const mica_inputs in = {mica_input(t, b.x), mica_input(t, b.tokens), MICA_NONE};
    mica_net_forward_inputs(t, net, &in, &o);
    const size_t bytes = (size_t)(b.n * width) * sizeof *x;
    const mica_view u = mica_read(t, o.features), v = mica_read(t, o.text);
    assert_true(mica_ok(t));
    memcpy(x, u.data, bytes);
    memcpy(y, v.data, bytes);
    x += b.n * width;
    y += b.n * width;
  }
  mica_tape_free(t);
}

/* The share of the first `n` things of one side that have a partner among the k nearest others;
 * item i is thing i % n of one side and i % m of the other. */
static double found(const float *x, int64_t n, const float *y, int64_t m, int64_t width,
                    int64_t k) {
  int64_t hits = 0;
  for (int64_t a = 0; a < n; a++) {
    double score[ITEMS], best = -HUGE_VAL;
    bool right[ITEMS] = {false};
    int64_t before = 0;
    for (int64_t i = 0; i < ITEMS; i++)
      if (i % n == a) right[i % m] = true;
    for (int64_t b = 0; b < m; b++) {
      score[b] = 0;
      for (int64_t c = 0; c < width; c++)
        score[b] += (double)x[a * width + c] * (double)y[b * width + c];
      if (right[b] && score[b] > best) best = score[b];
    }
    for (int64_t b = 0; b < m; b++) before += !right[b] && score[b] >= best;
    hits += before < k;
  }
  return (double)hits / (double)n;
}

static void test_evaluation(void **state) {
  (void)state;
  enum { WIDTH = 5 };
  float x[ITEMS * WIDTH], y[ITEMS * WIDTH];
  mica_engine *engine;
  mica_net *net;
  mica_pairs_evaluation e, other;
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  if (mica_net_create(engine, "dual:dim=5:widths=4:words=8:hidden=8", &problem, 3, &net))
    fail_msg("%s", mica_last_error());
  mica_dataset *ds = open_captions(0);
  mica_tokenizer *t = words(1, 0);
  mica_stream s = stream_of(ds, t, false, 8), one = stream_of(ds, t, false, ITEMS);
  if (mica_evaluate_pairs(net, &s, &e)) fail_msg("%s", mica_last_error());
  assert_int_equal(e.pairs, ITEMS);
  assert_int_equal(e.pictures, SHOWN);
  assert_int_equal(e.texts, 5);
  vectors(engine, net, &s, WIDTH, x, y);
  assert_true(fabs(e.to_text[0].value - found(x, SHOWN, y, 5, WIDTH, 1)) < 1e-12);
  assert_true(fabs(e.to_picture[0].value - found(y, 5, x, SHOWN, WIDTH, 1)) < 1e-12);
  assert_true(fabs(e.to_picture[1].value - found(y, 5, x, SHOWN, WIDTH, 5)) < 1e-12);
  assert_true(fabs(e.to_text[1].value - 1) < 1e-12); /* there are five texts */
  assert_true(e.to_text[0].interval.lo < e.to_text[0].value);
  assert_true(e.to_text[0].interval.hi > e.to_text[0].value);
  /* Whatever the batches. */
  assert_int_equal(mica_evaluate_pairs(net, &one, &other), MICA_OK);
  assert_true(fabs(e.to_picture[0].value - other.to_picture[0].value) < 1e-12);
  /* What all look alike is found by nobody. */
  mica_param *w = mica_params_find(mica_net_params(net), "image.projection.weight");
  mica_param *b = mica_params_find(mica_net_params(net), "image.projection.bias");
  assert_non_null(w);
  assert_non_null(b);
  memset(mica_param_write(w), 0, WIDTH * 4 * sizeof(float));
  for (int i = 0; i < WIDTH; i++) ((float *)mica_param_write(b))[i] = 1;
  assert_int_equal(mica_evaluate_pairs(net, &s, &e), MICA_OK);
  assert_true(e.to_picture[1].value < 1e-12);
  mica_dataset_stream_free(&s);
  mica_dataset_stream_free(&one);
  /* Pictures alone. */
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  assert_int_equal(mica_dataset_stream_create(ds, MICA_PART_TRAIN, &prepared, &o, &s), MICA_OK);
  assert_int_equal(mica_evaluate_pairs(net, &s, &e), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "no pictures with texts"));
  mica_dataset_stream_free(&s);
  mica_tokenizer_free(t);
  mica_dataset_free(ds);
  mica_net_free(net);
  mica_engine_free(engine);
}

/* ---- memory ---- */

static mica_status all_of_it(void *ctx) {
  mica_engine *engine = NULL;
  mica_net *net = NULL;
  mica_tokenizer *t = NULL;
  mica_stream s = {0};
  mica_pairs_evaluation e;
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  mica_status status = mica_tokenizer_words(5, texts, 1, 0, &t);
  o.tokenizer = t;
  o.length = LENGTH;
  o.batch = 8;
  o.ahead = 0;
  if (!status) status = mica_dataset_stream_create(ctx, MICA_PART_TRAIN, &prepared, &o, &s);
  if (!status) status = mica_engine_create(NULL, &engine);
  if (!status) status = mica_net_create(engine, "dual:dim=5:widths=4", &problem, 3, &net);
  if (!status) status = mica_evaluate_pairs(net, &s, &e);
  mica_dataset_stream_free(&s);
  mica_tokenizer_free(t);
  mica_net_free(net);
  mica_engine_free(engine);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  failing_alloc_install();
  mica_dataset *ds = open_captions(0);
  uint8_t pixels[SIDE * SIDE];
  for (int64_t i = 0; i < ITEMS; i++) assert_int_equal(mica_dataset_read(ds, i, pixels), MICA_OK);
  fail_every(3, all_of_it, ds);
  mica_dataset_free(ds);
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_words), cmocka_unit_test(test_captions), cmocka_unit_test(test_stream),
      cmocka_unit_test(test_evaluation), cmocka_unit_test(test_failing_allocations)};
  return cmocka_run_group_tests(tests, setup, folder_teardown);
}
