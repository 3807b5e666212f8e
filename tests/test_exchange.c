/* Indices in the files of others: what FAISS wrote (tests/golden/make_faiss.py) answers as FAISS
 * does, what goes out comes back the same, and no file does harm. */
#include "support/failing_alloc.h"
#include "support/folder.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;
static mica_archive *answers;

static void need(mica_status status) {
  if (status != MICA_OK) fail_msg("%s", mica_last_error());
}

static const char *fixture(const char *name) {
  static char path[512];
  snprintf(path, sizeof path, "tests/golden/faiss/%s.faiss", name);
  return path;
}

static mica_tensor *answer(const char *name, const char *what) {
  char full[64];
  mica_tensor *t;
  snprintf(full, sizeof full, "%s%s", name, what);
  const int64_t at = mica_archive_find(answers, full);
  if (at < 0) fail_msg("no %s", full);
  need(mica_archive_read(answers, at, &t));
  return t;
}

static const char *const names[] = {"flat_l2", "flat_ip", "id_map", "ivf_l2", "ivf_ip", "ivfpq_3",
                                    "ivfpq_4", "pq_l2",   "pq_ip",  "opq",    "hnsw",   "sparse"};
enum { kinds = sizeof names / sizeof *names };

/* The index gives FAISS' neighbours and scores; codes may tie. */
static void check_answers(const char *name, const mica_index *index) {
  mica_tensor *q = answer("", "q"), *ids = answer(name, ".ids");
  mica_tensor *scores = answer(name, ".scores");
  const mica_view x = mica_tensor_view(q);
  const int64_t m = mica_tensor_dim(ids, 0), k = mica_tensor_dim(ids, 1);
  int64_t *row = mica_malloc((size_t)(m * k) * sizeof *row), same = 0;
  double *score = mica_malloc((size_t)(m * k) * sizeof *score);
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = k;
  assert_true(row && score);
  need(mica_index_query(index, &x, &o, row, score));
  for (int64_t i = 0; i < m * k; i++) {
    const double s = mica_index_metric_of(index) == MICA_INDEX_L2 ? score[i] * score[i] : score[i];
    if (!(fabs(s - mica_tensor_get(scores, i)) < 1e-4))
      fail_msg("%s: score %g, FAISS says %g", name, s, mica_tensor_get(scores, i));
    assert_true(row[i] >= 0);
    same += mica_index_ids(index)[row[i]] == (int64_t)mica_tensor_get(ids, i);
  }
  if (same < m * k - 2) fail_msg("%s: %d of %d neighbours", name, (int)same, (int)(m * k));
  mica_free(row);
  mica_free(score);
  mica_tensor_free(q);
  mica_tensor_free(ids);
  mica_tensor_free(scores);
}

static void test_what_faiss_wrote(void **state) {
  (void)state;
  for (int i = 0; i < kinds; i++) {
    mica_index *index;
    need(mica_index_import_faiss(engine, fixture(names[i]), NULL, &index));
    check_answers(names[i], index);
    mica_index_free(index);
    /* Into a file of ours, out again, and in again. */
    need(mica_index_import_faiss(engine, fixture(names[i]), folder_path("own.index"), &index));
    check_answers(names[i], index);
    need(mica_index_export_faiss(index, folder_path("again.faiss")));
    mica_index_free(index);
    need(mica_index_import_faiss(engine, folder_path("again.faiss"), NULL, &index));
    check_answers(names[i], index);
    mica_index_free(index);
  }
}

static void test_what_is_not_read(void **state) {
  (void)state;
  static const struct { const char *name, *says; } cases[] = {{"lsh", "LSH"}, {"sq", "scalar"}};
  mica_index *index;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(mica_index_import_faiss(engine, fixture(cases[i].name), NULL, &index),
                     MICA_ERR_UNSUPPORTED);
    if (!strstr(mica_last_error(), cases[i].says)) fail_msg("%s", mica_last_error());
    assert_null(index);
  }
  assert_int_equal(mica_index_import_faiss(engine, "tests/test_exchange.c", NULL, &index),
                   MICA_ERR_FORMAT);
  assert_int_equal(mica_index_import_faiss(engine, folder_path("none"), NULL, &index),
                   MICA_ERR_NOT_FOUND);
}

/* ---- files that do not fit together ---- */

static void read_all(const char *path, uint8_t **bytes, size_t *size) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  assert_int_equal(fseek(f, 0, SEEK_END), 0);
  *size = (size_t)ftell(f);
  rewind(f);
  *bytes = mica_malloc(*size);
  assert_non_null(*bytes);
  assert_int_equal(fread(*bytes, 1, *size, f), *size);
  fclose(f);
}

static void try_bytes(const uint8_t *bytes, size_t size, int *refused, int *answered) {
  /* A copy of just this length, so that the sanitizer sees what is read beyond it. */
  uint8_t *copy = mica_malloc(size ? size : 1);
  assert_non_null(copy);
  if (size) memcpy(copy, bytes, size);
  mica_index *index;
  if (mica_index_import_faiss_memory(engine, copy, size, "hostile", NULL, &index) != MICA_OK) {
    assert_null(index);
    assert_true(strlen(mica_last_error()) > 0);
    ++*refused;
  } else {
    const int64_t d = mica_index_width(index);
    float *q = mica_calloc((size_t)d, sizeof *q);
    int64_t row[3];
    double score[3];
    mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
    o.k = 3;
    const mica_view x = mica_view_of(q, MICA_F32, MICA_SHAPE(1, d));
    need(mica_index_query(index, &x, &o, row, score));
    for (int i = 0; i < 3; i++) assert_true(row[i] >= -1 && row[i] < mica_index_count(index));
    mica_free(q);
    mica_index_free(index);
    ++*answered;
  }
  mica_free(copy);
}

static void test_hostile_files(void **state) {
  (void)state;
  int refused = 0, answered = 0;
  for (int i = 0; i < kinds; i++) {
    uint8_t *bytes;
    size_t size;
    read_all(fixture(names[i]), &bytes, &size);
    for (size_t cut = 0; cut < size; cut += cut < 200 ? 1 : 1 + size / 60) {
      const int before = refused;
      try_bytes(bytes, cut, &refused, &answered);
      assert_int_equal(refused, before + 1);
    }
    const mica_key key = mica_key_seed((uint64_t)i);
    for (uint64_t trial = 0; trial < 700; trial++) {
      /* Half of them where lengths and sizes stand. */
      const size_t at = mica_random_below(key, trial, trial % 2 ? size : size < 160 ? size : 160);
      const uint8_t was = bytes[at];
      bytes[at] = (uint8_t)(trial % 3 == 0 ? 0xff : trial % 3 == 1 ? 0x7f : was ^ (1 << trial % 8));
      try_bytes(bytes, size, &refused, &answered);
      bytes[at] = was;
    }
    mica_free(bytes);
  }
  assert_true(refused > 500 && answered > 500);
}

/* ---- indices of ours ---- */

static mica_index *index_of(const char *spec, bool labelled, bool numbered) {
  enum { n = 300, d = 12 };
  static float x[n * d];
  static int64_t id[n], label[n];
  static char text[n][16];
  const char *name[n];
  for (int64_t i = 0; i < n * d; i++)
    x[i] = (float)mica_random_normal(mica_key_seed(9), (uint64_t)i);
  for (int64_t i = 0; i < n; i++) {
    id[i] = numbered ? i : (i * 7) % n + 1000;
    label[i] = i % 5 ? i % 4 : MICA_CLASS_NONE;
    snprintf(text[i], sizeof text[i], "a\tb\\%d\n", (int)i);
    name[i] = i % 3 ? text[i] : NULL;
  }
  mica_index_batch batch = MICA_INDEX_BATCH;
  mica_index *index;
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(n, d));
  batch.id = id;
  batch.label = labelled ? label : NULL;
  batch.name = labelled ? name : NULL;
  need(mica_index_create(engine, spec, &batch, &index));
  return index;
}

/* The same neighbours by id. */
static void check_same(const char *spec, const mica_index *a, const mica_index *b,
                       const mica_index_query_options *given) {
  enum { m = 20, k = 7 };
  const int64_t d = mica_index_width(a);
  int64_t row[2][m * k], same = 0;
  double score[2][m * k];
  float *q = mica_malloc((size_t)(m * d) * sizeof *q);
  assert_non_null(q);
  for (int64_t i = 0; i < m * d; i++)
    q[i] = (float)mica_random_normal(mica_key_seed(10), (uint64_t)i);
  const mica_view x = mica_view_of(q, MICA_F32, MICA_SHAPE(m, d));
  mica_index_query_options o = *given;
  o.k = k;
  need(mica_index_query(a, &x, &o, row[0], score[0]));
  need(mica_index_query(b, &x, &o, row[1], score[1]));
  for (int64_t i = 0; i < m * k; i++)
    same += row[0][i] >= 0 && row[1][i] >= 0 &&
            mica_index_ids(a)[row[0][i]] == mica_index_ids(b)[row[1][i]];
  if (same < m * k - 4) fail_msg("%s: %d of %d neighbours", spec, (int)same, m * k);
  mica_free(q);
}

static void test_out_and_in_again(void **state) {
  (void)state;
  static const char *const specs[] = {"exact:metric=l2",
                                      "exact:metric=cosine:storage=f16",
                                      "hnsw:metric=l2:links=6",
                                      "hnsw:metric=inner:candidates=300",
                                      "ivf:metric=l2:lists=9",
                                      "ivf:metric=inner:lists=300",
                                      "ivf:codes=pq:parts=4:words=16:rerank=0:lists=7:metric=l2",
                                      "ivf:codes=opq:parts=3:words=32:rerank=0:lists=7:metric=l2",
                                      "ivf:codes=opq:parts=6:words=256:rerank=0:lists=3",
                                      "pq:parts=4:words=16:rerank=0:metric=inner",
                                      "pq:parts=6:words=64:rerank=0:rotations=3:metric=l2"};
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
    for (int numbered = 0; numbered < 2; numbered++) {
      mica_index *index = index_of(specs[i], false, numbered), *back;
      need(mica_index_export_faiss(index, folder_path("out.faiss")));
      need(mica_index_import_faiss(engine, folder_path("out.faiss"), NULL, &back));
      mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
      o.effort = 300;
      check_same(specs[i], index, back, &o);
      mica_index_free(index);
      mica_index_free(back);
    }
}

static void test_what_does_not_go_out(void **state) {
  (void)state;
  static const char *const specs[] = {"ivf:codes=pq:parts=5:words=16", "pq:parts=4:words=9"};
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    mica_index *index = index_of(specs[i], false, true);
    assert_int_equal(mica_index_export_faiss(index, folder_path("no.faiss")), MICA_ERR_UNSUPPORTED);
    assert_int_equal(mica_index_import_faiss(engine, folder_path("no.faiss"), NULL, NULL),
                     MICA_ERR_NOT_FOUND);
    mica_index_free(index);
  }
  mica_index *index = index_of("exact", false, true);
  assert_int_equal(mica_index_export_faiss(index, folder_path("no/such/folder")),
                   MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_index_export_copy(index, folder_path("no/such/folder")),
                   MICA_ERR_NOT_FOUND);
  mica_index_free(index);
}

/* ---- COPY ---- */

static void test_copy_and_back(void **state) {
  (void)state;
  for (int labelled = 0; labelled < 2; labelled++) {
    mica_index *index = index_of("exact:metric=l2", labelled, false), *back;
    need(mica_index_export_copy(index, folder_path("rows.copy")));
    need(mica_index_import_copy(engine, "exact:metric=l2", folder_path("rows.copy"),
                                labelled ? folder_path("back.index") : NULL, &back));
    const int64_t n = mica_index_count(index), d = mica_index_width(index);
    assert_int_equal(mica_index_count(back), n);
    assert_memory_equal(mica_index_view(index).data, mica_index_view(back).data,
                        (size_t)(n * d) * sizeof(float));
    assert_memory_equal(mica_index_ids(index), mica_index_ids(back), (size_t)n * 8);
    for (int64_t i = 0; i < n; i++) {
      char a[32], b[32];
      if (labelled) assert_int_equal(mica_index_labels(index)[i], mica_index_labels(back)[i]);
      assert_string_equal(mica_index_name(index, i, a, sizeof a),
                          mica_index_name(back, i, b, sizeof b));
    }
    mica_index_free(index);
    mica_index_free(back);
  }
}

static void test_copy_text(void **state) {
  (void)state;
  static const struct {
    const char *text, *says; /* NULL: is read */
    int64_t rows;
  } cases[] = {
      {"1\t[1,2]\n2\t[3,4.5e-1]\n", NULL, 2},
      {"--\nSET x;\nCOPY items (id, embedding) FROM stdin;\n4\t[1,2]\n\\.\n\nSELECT 1;\n", NULL, 1},
      {"7\t[0.5]\t\\N\tone\\ttwo\n8\t[1]\t3\t\\N\n", NULL, 2},
      {"", "no rows", 0},
      {"COPY items FROM stdin;\n\\.\n", "no rows", 0},
      {"1\n", "columns", 0},
      {"1\t[1]\t2\tx\ty\n", "columns", 0},
      {"1\t1,2\n", "brackets", 0},
      {"1\t[]\n", "brackets", 0},
      {"1\t[1,]\n", "number", 0},
      {"1\t[1,2]\n2\t[1]\n", "shorter", 0},
      {"1\t[1,2]\n2\t[1,2,3]\n", "longer", 0},
      {"1\t[1,nan]\n", "number", 0},
      {"1\t[1,1e60]\n", "finite", 0},
      {"-1\t[1]\n", "no rows", 0},
      {"1\t[1]\n-2\t[1]\n", "id", 0},
      {"1\t[1]\tred\n", "label", 0},
      {"99999999999999999999\t[1]\n", "id", 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_index *index;
    const mica_status status = mica_index_import_copy(
        engine, "exact", folder_put("case.copy", cases[i].text), NULL, &index);
    if (cases[i].says) {
      if (status == MICA_OK || !strstr(mica_last_error(), cases[i].says))
        fail_msg("case %d: %s", (int)i, status ? mica_last_error() : "was read");
      assert_null(index);
      continue;
    }
    if (status) fail_msg("case %d: %s", (int)i, mica_last_error());
    assert_int_equal(mica_index_count(index), cases[i].rows);
    if (i == 2) {
      char name[16];
      assert_string_equal(mica_index_name(index, 0, name, sizeof name), "one\ttwo");
      assert_int_equal(mica_index_labels(index)[0], MICA_CLASS_NONE);
      assert_int_equal(mica_index_labels(index)[1], 3);
    }
    mica_index_free(index);
  }
}

/* ---- memory ---- */

static mica_status in_and_out(void *name) {
  mica_index *index = NULL;
  mica_status status = mica_index_import_faiss(engine, fixture(name), NULL, &index);
  if (!status) status = mica_index_export_faiss(index, folder_path("m.faiss"));
  if (!status) status = mica_index_export_copy(index, folder_path("m.copy"));
  mica_index_free(index);
  index = NULL;
  if (!status)
    status = mica_index_import_copy(engine, "exact", folder_path("m.copy"), NULL, &index);
  mica_index_free(index);
  return status;
}

static void test_memory_runs_out(void **state) {
  (void)state;
  static char some[][16] = {"id_map", "ivfpq_4", "pq_l2", "hnsw", "opq"};
  for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
    need(in_and_out(some[i]));
    assert_true(fail_every(3, in_and_out, some[i]) > 20);
  }
}

static int set_up(void **state) {
  failing_alloc_install();
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  if (mica_engine_create(&o, &engine) != MICA_OK) return 1;
  if (mica_archive_open("tests/golden/faiss/answers.npz", &answers) != MICA_OK) return 1;
  return folder_setup(state);
}

static int tear_down(void **state) {
  mica_archive_close(answers);
  mica_engine_free(engine);
  failing_alloc_remove();
  return folder_teardown(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_faiss_wrote),
      cmocka_unit_test(test_what_is_not_read),
      cmocka_unit_test(test_hostile_files),
      cmocka_unit_test(test_out_and_in_again),
      cmocka_unit_test(test_what_does_not_go_out),
      cmocka_unit_test(test_copy_and_back),
      cmocka_unit_test(test_copy_text),
      cmocka_unit_test(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
