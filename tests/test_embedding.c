/* Compressed embedding tables: budgets, lookups, gradients by differences, what is exported, and
 * what is refused. */
#include "support/failing_alloc.h"
#include "support/folder.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static mica_engine *engine;

#define FIELDS 3
#define WIDTH  8
static const int64_t field_size[FIELDS] = {300, 40, 5};
#define ROWS 345

/* Each method with what it is asked for, and the least share of that which it should come near. */
typedef struct method_case {
  const char *spec;
  double bytes, near;  /* measured bytes: from near * bytes to bytes */
  bool differentiable; /* differences mean something */
} method_case;

static const method_case methods[] = {
    {"hash:bytes=0.2", 0.2, 0.95, true},
    {"compositional:bytes=0.3", 0.3, 0.93, true},
    {"compositional:bytes=0.3:combine=sum", 0.3, 0.93, true},
    {"tt:bytes=0.3", 0.3, 0.85, true},
    {"dhe:bytes=0.4:hashes=64", 0.4, 0.95, true},
    {"dhe:bytes=0.4:hashes=64:form=normal", 0.4, 0.9, true},
    {"robe:bytes=0.1", 0.1, 0.99, true},
    {"robe:bytes=0.1:pieces=4", 0.1, 0.99, true},
    {"dedup:bytes=0.5:block=2", 0.5, 0.9, true},
    {"dpq:bytes=0.2", 0.2, 0.85, false},
    {"dpq:bytes=0.2:form=sx", 0.2, 0.85, false},
    {"mgqe:bytes=0.25", 0.25, 0.85, false},
    {"adaptive:bytes=0.2", 0.2, 0.95, true},
    {"mde:bytes=0.3", 0.3, 0.75, true},
    {"mde:bytes=0.3:power=false:fill=false", 0.3, 0.5, true},
    {"autodim:bytes=0.6:widths=1,2,4", 0.6, 0.1, false},
    {"optembed:bytes=0.5:generations=2:parents=3:mutants=2:children=2", 0.5, 0.5, false},
    {"deeplight:bytes=0.4", 0.4, 0.95, true},
    {"deeplight:bytes=0.1", 0.1, 0.95, true},
    {"autosrh:bytes=0.4", 0.4, 0.95, true},
    {"pep:bytes=0.4:start=-12", 0.4, 0.95, true},
    {"pep:bytes=0.4:start=-12:threshold=global", 0.4, 0.95, true},
    {"int:bits=8:bytes=0.3", 0.3, 0.8, false},
    {"int:bits=16", 0.51, 0.95, false},
    {"int:bits=8:alpt=true:bytes=0.4", 0.4, 0.9, false},
};
#define METHODS ((int)(sizeof methods / sizeof *methods))

typedef struct bed {
  mica_params *params;
  mica_node *node;
  mica_embedding_table *table;
  mica_tape *t;
} bed;

static mica_status make(bed *b, mica_engine *own, const char *spec) {
  *b = (bed){0};
  mica_status status = mica_params_create(own, 3, &b->params);
  if (status != MICA_OK) return status;
  b->node = mica_node_child(mica_params_root(b->params), "table");
  status = mica_embedding_init(b->node, spec, FIELDS, field_size, WIDTH);
  b->table = mica_embedding_at(b->node);
  return status == MICA_OK ? mica_tape_create(own, NULL, &b->t) : status;
}

static void need_make(bed *b, const char *spec) {
  if (make(b, engine, spec) != MICA_OK) fail_msg("%s: %s", spec, mica_last_error());
}

static void end(bed *b) {
  mica_tape_free(b->t);
  mica_params_free(b->params);
}

static int64_t ids[][FIELDS] = {{0, 0, 0},   {299, 39, 4}, {17, 5, 2}, {17, 5, 1},
                                {150, 0, 3}, {31, 12, 0},  {0, 39, 4}};
#define N 7

static mica_var lookup(bed *b) {
  const mica_view v = mica_view_of(ids, MICA_I64, MICA_SHAPE(N, FIELDS));
  return mica_embedding_lookup(b->t, b->node, mica_constant(b->t, &v));
}

/* ---- budgets ---- */

static void near(const char *spec, const float *a, const float *b, int64_t n, double bound) {
  for (int64_t i = 0; i < n; i++)
    if (!(fabs((double)a[i] - (double)b[i]) <= bound))
      fail_msg("%s: element %lld is %.9g and %.9g", spec, (long long)i, (double)a[i], (double)b[i]);
}

static void test_budgets(void **state) {
  (void)state;
  for (int i = 0; i < METHODS; i++) {
    const method_case *m = &methods[i];
    bed b;
    mica_embedding_facts f, packed_facts;
    mica_packed_embedding *p = NULL;
    need_make(&b, m->spec);
    assert_int_equal(mica_embedding_decide(b.table), MICA_OK);
    assert_int_equal(mica_embedding_decide(b.table), MICA_OK);
    mica_embedding_describe(b.table, &f);
    assert_int_equal(f.rows, ROWS);
    assert_int_equal(f.full_bytes, 4 * ROWS * WIDTH);
    if (!(f.rate <= m->bytes + 1e-9 && f.rate >= m->near * m->bytes))
      fail_msg("%s takes %.4f", m->spec, f.rate);
    if (mica_embedding_export(b.table, &p) != MICA_OK)
      fail_msg("%s: %s", m->spec, mica_last_error());
    mica_packed_embedding_describe(p, &packed_facts);
    if (packed_facts.bytes != f.bytes)
      fail_msg("%s says %lld bytes and packs %lld", m->spec, (long long)f.bytes,
               (long long)packed_facts.bytes);
    mica_packed_embedding_free(p);
    end(&b);
  }
}

/* Whatever the share, what is packed is what was trained: a table of many fields, row by row. */
static void test_shares(void **state) {
  (void)state;
  enum { MANY = 8 };
  static const int64_t size[MANY] = {94, 148, 63, 4, 23, 79, 73, 21};
  static const char *const names[] = {"hash", "compositional", "tt", "mde", "autodim", "mgqe"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (int percent = 5; percent <= 100; percent += 5) {
      mica_params *params = NULL;
      mica_packed_embedding *p = NULL;
      mica_tape *t = NULL;
      char spec[80];
      snprintf(spec, sizeof spec, "%s:bytes=%.2f", names[i], percent / 100.0);
      assert_int_equal(mica_params_create(engine, 1, &params), MICA_OK);
      mica_node *node = mica_node_child(mica_params_root(params), "table");
      if (mica_embedding_init(node, spec, MANY, size, 16) == MICA_OK) {
        int64_t id[MANY];
        float out[MANY * 16];
        assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
        assert_int_equal(mica_embedding_decide(mica_embedding_at(node)), MICA_OK);
        assert_int_equal(mica_embedding_export(mica_embedding_at(node), &p), MICA_OK);
        mica_embedding_facts f;
        mica_packed_embedding_describe(p, &f);
        if (f.rate > percent / 100.0 + 1e-9) fail_msg("%s takes %g", spec, f.rate);
        for (int64_t k = 0; k < 150; k++) {
          for (int j = 0; j < MANY; j++) id[j] = k % size[j];
          const mica_view v = mica_view_of(id, MICA_I64, MICA_SHAPE(1, MANY));
          mica_tape_reset(t);
          const mica_view y = mica_read(t, mica_embedding_lookup(t, node, mica_borrow(t, &v)));
          assert_int_equal(mica_packed_embedding_lookup(p, engine, 1, id, out), MICA_OK);
          near(spec, y.data, out, MANY * 16, 2e-6);
        }
      } else if (!strstr(mica_last_error(), "is the least")) {
        fail_msg("%s: %s", spec, mica_last_error());
      }
      mica_packed_embedding_free(p);
      mica_tape_free(t);
      mica_params_free(params);
    }
}

static void test_too_small(void **state) {
  (void)state;
  static const char *const specs[] = {
      "hash:bytes=0.005", "compositional:bytes=0.05", "tt:bytes=0.005",
      "dhe:bytes=0.005",  "robe:bytes=0.002",         "dedup:bytes=0.01:block=100",
      "dpq:bytes=0.001",  "mgqe:bytes=0.001",         "adaptive:bytes=0.002",
      "mde:bytes=0.05",   "autodim:bytes=0.05",       "optembed:bytes=0.05",
      "int:bytes=0.1",    "int:bits=16:bytes=0.3",    "deeplight:bytes=0.001"};
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    bed b;
    if (make(&b, engine, specs[i]) != MICA_ERR_INVALID) fail_msg("%s", specs[i]);
    if (!strstr(mica_last_error(), "is the least")) fail_msg("%s: %s", specs[i], mica_last_error());
    end(&b);
  }
}

/* ---- lookups: trained, packed, read back ---- */

/* A few steps towards random targets, so that no value is as it began. */
static void train(bed *b, int steps) {
  mica_optimiser *opt = NULL;
  assert_int_equal(mica_optimiser_create(b->params, "adam:lr=0.01", &opt), MICA_OK);
  /* What a scale learns is small beside it. */
  if (mica_params_find(b->params, "table.scale"))
    assert_int_equal(mica_optimiser_group(opt, "*.scale", 0.001, 1), MICA_OK);
  for (int i = 0; i < steps; i++) {
    mica_tape_reset(b->t);
    mica_tape_set_step(b->t, (uint64_t)i, 0);
    mica_set_training(b->t, true);
    mica_params_zero_grad(b->params);
    const mica_var y = lookup(b);
    const mica_var z = mica_full(b->t, MICA_F32, MICA_SHAPE(N, FIELDS, WIDTH), 0.3);
    if (mica_backward(b->t, mica_mse(b->t, y, z)) != MICA_OK) fail_msg("%s", mica_tape_error(b->t));
    assert_int_equal(mica_commit(b->t), MICA_OK);
    assert_int_equal(mica_optimiser_step(opt, b->t, 1), MICA_OK);
  }
  mica_optimiser_free(opt);
  mica_tape_reset(b->t);
  mica_set_training(b->t, false);
}

static void test_packed_gives_the_same(void **state) {
  (void)state;
  const char *path = folder_path("table.safetensors");
  for (int i = 0; i < METHODS; i++) {
    const char *spec = methods[i].spec;
    bed b;
    float out[2][N * FIELDS * WIDTH];
    need_make(&b, spec);
    train(&b, 20);
    assert_int_equal(mica_embedding_decide(b.table), MICA_OK);
    if (mica_embedding_at(b.node) && strncmp(spec, "pep", 3) != 0) train(&b, 3);
    mica_packed_embedding *p = NULL, *back = NULL;
    if (mica_embedding_export(b.table, &p) != MICA_OK) fail_msg("%s: %s", spec, mica_last_error());
    assert_int_equal(mica_packed_embedding_lookup(p, engine, N, ids[0], out[0]), MICA_OK);
    const mica_view y = mica_read(b.t, lookup(&b));
    if (!y.data) fail_msg("%s: %s", spec, mica_tape_error(b.t));
    near(spec, y.data, out[0], N * FIELDS * WIDTH, 2e-6);
    bool moved = false;
    for (int k = 0; k < N * FIELDS * WIDTH; k++) moved = moved || fabsf(out[0][k]) > 1e-3f;
    assert_true(moved);
    if (mica_packed_embedding_save(p, path) != MICA_OK ||
        mica_packed_embedding_open(path, &back) != MICA_OK)
      fail_msg("%s: %s", spec, mica_last_error());
    assert_string_equal(mica_packed_embedding_form(back), mica_packed_embedding_form(p));
    assert_int_equal(mica_packed_embedding_lookup(back, engine, N, ids[0], out[1]), MICA_OK);
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    /* In the place of the training form. */
    assert_int_equal(mica_embedding_use(b.table, back), MICA_OK);
    mica_tape_reset(b.t);
    const mica_view used = mica_read(b.t, lookup(&b));
    assert_memory_equal(used.data, out[1], sizeof out[1]);
    int64_t rows[2] = {300 + 12, 299};
    assert_int_equal(mica_packed_embedding_rows(back, engine, 2, rows, out[1]), MICA_OK);
    assert_memory_equal(out[1], out[0] + (5 * FIELDS + 1) * WIDTH, WIDTH * sizeof(float));
    assert_memory_equal(out[1] + WIDTH, out[0] + FIELDS * WIDTH, WIDTH * sizeof(float));
    rows[0] = ROWS;
    assert_int_equal(mica_packed_embedding_rows(back, engine, 1, rows, out[1]), MICA_ERR_INVALID);
    mica_packed_embedding_free(p);
    mica_packed_embedding_free(back);
    end(&b);
  }
}

/* Lists of one field give the sums of what single ids give. */
static void test_lists(void **state) {
  (void)state;
  static int64_t list[] = {17, 0, 39, 5}, offsets[] = {0, 2, 2, 4};
  for (int i = 0; i < METHODS; i++) {
    bed b;
    float single[4][WIDTH];
    need_make(&b, methods[i].spec);
    train(&b, 2);
    const mica_view lv = mica_view_of(list, MICA_I64, MICA_SHAPE(4)),
                    ov = mica_view_of(offsets, MICA_I64, MICA_SHAPE(4));
    for (int k = 0; k < 4; k++) {
      int64_t three[FIELDS] = {0, list[k], 0};
      const mica_view v = mica_view_of(three, MICA_I64, MICA_SHAPE(1, FIELDS));
      const mica_view y =
          mica_read(b.t, mica_embedding_lookup(b.t, b.node, mica_constant(b.t, &v)));
      memcpy(single[k], (const float *)y.data + WIDTH, sizeof single[k]);
    }
    const mica_view y =
        mica_read(b.t, mica_embedding_lookup_lists(b.t, b.node, 1, mica_borrow(b.t, &lv),
                                                   mica_borrow(b.t, &ov), MICA_BAG_SUM));
    if (!y.data) fail_msg("%s: %s", methods[i].spec, mica_tape_error(b.t));
    const float *s = y.data;
    for (int k = 0; k < WIDTH; k++) {
      assert_true(fabsf(s[k] - single[0][k] - single[1][k]) <= 2e-6f);
      assert_true(s[WIDTH + k] == 0);
      assert_true(fabsf(s[2 * WIDTH + k] - single[2][k] - single[3][k]) <= 2e-6f);
    }
    end(&b);
  }
}

/* ---- gradients ---- */

static double loss_of(bed *b, const mica_tensor *cotangent, bool backward) {
  mica_tape_reset(b->t);
  mica_set_training(b->t, true);
  const mica_view c = mica_tensor_view(cotangent);
  const mica_var y = mica_mul(b->t, lookup(b), mica_constant(b->t, &c));
  const mica_var loss = mica_sum(b->t, y, 0, NULL, false);
  const double value = mica_item(b->t, loss);
  if (backward) {
    mica_params_zero_grad(b->params);
    if (mica_backward(b->t, loss) != MICA_OK) fail_msg("%s", mica_tape_error(b->t));
  }
  return value;
}

/* Some elements of each parameter by central differences (float32, so coarse ones). */
static void test_gradients(void **state) {
  (void)state;
  mica_tensor *cotangent = NULL;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(N, FIELDS, WIDTH), &cotangent), MICA_OK);
  for (int64_t i = 0; i < mica_tensor_count(cotangent); i++)
    mica_tensor_set(cotangent, i, mica_random_normal(mica_key_seed(5), (uint64_t)i));
  for (int i = 0; i < METHODS; i++) {
    if (!methods[i].differentiable) continue;
    bed b;
    need_make(&b, methods[i].spec);
    loss_of(&b, cotangent, true);
    int checked = 0;
    for (int64_t q = 0; q < mica_params_count(b.params); q++) {
      mica_param *p = mica_params_at(b.params, q);
      if (!(mica_param_flags(p) & MICA_PARAM_TRAINABLE)) continue;
      if (mica_param_grad_kind(p) == MICA_GRAD_NONE) continue;
      mica_tensor *g = NULL;
      const mica_view gv = mica_param_grad(p);
      assert_int_equal(mica_tensor_from_view(&gv, MICA_F64, &g), MICA_OK);
      const int64_t n = mica_tensor_count(g);
      for (int64_t k = 0, seen = 0; k < n && seen < 12; k++) {
        const double got = mica_tensor_get(g, (k * 7) % n);
        if (fabs(got) < 1e-3) continue;
        seen++;
        float *w = mica_param_write(p);
        const float was = w[(k * 7) % n], h = 0.01f;
        w[(k * 7) % n] = was + h;
        const double up = loss_of(&b, cotangent, false);
        w[(k * 7) % n] = was - h;
        const double down = loss_of(&b, cotangent, false);
        w[(k * 7) % n] = was;
        const double want = (up - down) / (2 * (double)h);
        if (!(fabs(got - want) <= 0.03 * fmax(1, fabs(want))))
          fail_msg("%s: %s[%lld] is %.6g, by differences %.6g", methods[i].spec, mica_param_path(p),
                   (long long)((k * 7) % n), got, want);
        checked++;
      }
      mica_tensor_free(g);
    }
    if (checked < 3) fail_msg("%s: %d elements were checked", methods[i].spec, checked);
    end(&b);
  }
  mica_tensor_free(cotangent);
}

/* Rows that did not come have no gradient. */
static void test_gradients_are_rows(void **state) {
  (void)state;
  static const struct {
    const char *spec, *param;
  } cases[] = {{"full", "weight"},
               {"hash", "weight"},
               {"compositional:bytes=0.3", "quotient"},
               {"compositional:bytes=0.3", "remainder"},
               {"tt:bytes=0.3", "fields.0.core0"},
               {"dedup:block=2", "weight"},
               {"dpq", "query"},
               {"adaptive", "weight"},
               {"mde", "fields.0.weight"},
               {"deeplight", "weight"},
               {"pep", "weight"},
               {"autosrh", "weight"},
               {"optembed", "weight"},
               {"int", "weight"},
               {"int:bytes=0.7:alpt=true", "scale"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    bed b;
    need_make(&b, cases[i].spec);
    mica_set_training(b.t, true);
    assert_int_equal(
        mica_backward(b.t, mica_sum(b.t, mica_square(b.t, lookup(&b)), 0, NULL, false)), MICA_OK);
    char name[80];
    snprintf(name, sizeof name, "table.%s", cases[i].param);
    if (mica_param_grad_kind(mica_params_find(b.params, name)) != MICA_GRAD_ROWS)
      fail_msg("%s: the gradient of %s is not in rows", cases[i].spec, name);
    end(&b);
  }
}

/* ---- what single methods promise ---- */

static void test_frequent_ids(void **state) {
  (void)state;
  int64_t count[ROWS] = {0};
  for (int i = 0; i < 40; i++) count[300 + i] = 1000 - i; /* field 1 is what comes */
  bed b;
  need_make(&b, "adaptive:bytes=0.2:frequent=0.1");
  assert_int_equal(mica_embedding_set_counts(b.table, count), MICA_OK);
  const mica_tensor *f = mica_param_value(mica_params_find(b.params, "table.frequent"));
  assert_int_equal(mica_tensor_count(f), 34);
  for (int64_t i = 0; i < 34; i++) assert_int_equal((int64_t)mica_tensor_get(f, i), 300 + i);
  count[3] = -1;
  assert_int_equal(mica_embedding_set_counts(b.table, count), MICA_ERR_INVALID);
  end(&b);
  count[3] = 0;
  need_make(&b, "autosrh:groups=5");
  assert_int_equal(mica_embedding_set_counts(b.table, count), MICA_OK);
  const mica_tensor *g = mica_param_value(mica_params_find(b.params, "table.group"));
  assert_int_equal((int64_t)mica_tensor_get(g, 300), 0);
  assert_int_equal((int64_t)mica_tensor_get(g, 299), 4);
  end(&b);
}

/* Values stay on the grid, and the mean of many roundings is the value. */
static void test_integers_round_by_chance(void **state) {
  (void)state;
  bed b;
  need_make(&b, "int:bits=8:bytes=0.3");
  float *w = mica_param_write(mica_params_find(b.params, "table.weight"));
  w[0] = 0.0137f;
  double sum = 0;
  for (int i = 0; i < 2000; i++) {
    mica_tape_reset(b.t);
    mica_tape_set_step(b.t, (uint64_t)i, 0);
    mica_set_training(b.t, true);
    const mica_view y = mica_read(b.t, lookup(&b));
    const double v = (double)((const float *)y.data)[0];
    assert_true(fabs(v - 0.01) < 1e-7 || fabs(v - 0.02) < 1e-7);
    /* The example that comes twice is rounded once. */
    assert_true(((const float *)y.data)[6 * FIELDS * WIDTH] == ((const float *)y.data)[0]);
    sum += v / 2000;
  }
  assert_true(fabs(sum - 0.0137) < 0.0004);
  assert_int_equal(mica_commit(b.t), MICA_OK);
  assert_true(fabs((double)w[0] - 0.01) < 1e-7 || fabs((double)w[0] - 0.02) < 1e-7);
  end(&b);
}

static void test_dedup_shares(void **state) {
  (void)state;
  bed b;
  need_make(&b, "dedup:bytes=0.99:block=5:tolerance=0.001");
  mica_param *q = mica_params_find(b.params, "table.weight");
  float *w = mica_param_write(q);
  for (int i = 0; i < 5 * WIDTH; i++) w[50 * WIDTH + i] = w[60 * WIDTH + i] = w[5 * WIDTH + i];
  for (int i = 0; i < 5 * WIDTH; i++) w[70 * WIDTH + i] = w[5 * WIDTH + i] + 0.0005f;
  mica_embedding_facts before, after;
  mica_embedding_describe(b.table, &before);
  assert_int_equal(mica_embedding_decide(b.table), MICA_OK);
  mica_embedding_describe(b.table, &after);
  assert_int_equal(before.bytes - after.bytes, 3 * 5 * WIDTH * 4);
  const int64_t *map = mica_tensor_data(mica_param_value(mica_params_find(b.params, "table.map")));
  assert_true(map[10] == map[1] && map[12] == map[1] && map[14] == map[1] && map[2] == 2);
  end(&b);
}

static void test_pruning_while_training(void **state) {
  (void)state;
  bed b;
  need_make(&b, "deeplight:bytes=0.4:every=2:period=1:damping=0.5");
  train(&b, 12);
  const float *w = mica_tensor_data(mica_param_value(mica_params_find(b.params, "table.weight")));
  int64_t zeros = 0;
  for (int i = 0; i < ROWS * WIDTH; i++) zeros += w[i] == 0; /* NOLINT */
  assert_true(zeros > ROWS * WIDTH / 2);
  assert_int_equal(mica_embedding_decide(b.table), MICA_OK);
  train(&b, 3);
  mica_embedding_facts f;
  mica_embedding_describe(b.table, &f);
  assert_true(f.rate <= 0.4);
  end(&b);
}

typedef struct wanted {
  mica_param *widths;
  int64_t most, asked;
  int64_t want[FIELDS];
} wanted;

/* Best where field 0 is 3 wide, and fields 1 and 2 as wide as they can be. */
static mica_status score(void *ctx, double *out) {
  wanted *o = ctx;
  const int64_t *w = mica_tensor_data(mica_param_value(o->widths));
  *out = -fabs((double)(w[0] - 3)) + 0.1 * (double)(w[1] + w[2]);
  o->asked++;
  return MICA_OK;
}

static void test_evolution(void **state) {
  (void)state;
  bed b;
  need_make(&b, "optembed:bytes=0.6:generations=25");
  wanted o = {.widths = mica_params_find(b.params, "table.widths")};
  if (mica_embedding_evolve(b.table, mica_key_seed(4), score, &o) != MICA_OK)
    fail_msg("%s", mica_last_error());
  const int64_t *w = mica_tensor_data(mica_param_value(o.widths));
  if (o.asked < 20) fail_msg("%lld settings were tried", (long long)o.asked);
  assert_true(w[0] == 3 && w[1] == WIDTH && w[2] == WIDTH);
  mica_embedding_facts f;
  mica_embedding_describe(b.table, &f);
  assert_true(f.rate <= 0.6);
  end(&b);
  need_make(&b, "hash");
  assert_int_equal(mica_embedding_evolve(b.table, mica_key_seed(4), score, &o),
                   MICA_ERR_UNSUPPORTED);
  end(&b);
}

/* ---- refusals ---- */

static void test_refused(void **state) {
  (void)state;
  bed b;
  static const int64_t none[FIELDS] = {3, 0, 2};
  need_make(&b, "hash");
  assert_int_equal(mica_embedding_init(b.node, "hash", FIELDS, field_size, WIDTH), MICA_ERR_STATE);
  mica_node *other = mica_node_child(mica_params_root(b.params), "other");
  assert_int_equal(mica_embedding_init(other, "hash", FIELDS, none, WIDTH), MICA_ERR_INVALID);
  assert_int_equal(mica_embedding_init(other, "hash", 0, none, WIDTH), MICA_ERR_INVALID);
  assert_int_equal(mica_embedding_init(other, "hsh", FIELDS, field_size, WIDTH),
                   MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_embedding_init(other, "robe:pieces=3", FIELDS, field_size, WIDTH),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_embedding_init(other, "int:bits=7", FIELDS, field_size, WIDTH),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_embedding_init(other, "svd", FIELDS, field_size, WIDTH),
                   MICA_ERR_UNSUPPORTED);
  assert_null(mica_embedding_at(other));
  ids[3][1] = 40;
  lookup(&b);
  assert_int_equal(mica_tape_status(b.t), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_tape_error(b.t), "in field 1 of example 3"));
  ids[3][1] = 5;
  mica_tape_reset(b.t);
  mica_embedding_lookup(b.t, other, mica_full(b.t, MICA_I64, MICA_SHAPE(1, FIELDS), 0));
  assert_int_equal(mica_tape_status(b.t), MICA_ERR_STATE);
  mica_tape_reset(b.t);
  mica_embedding_lookup(b.t, b.node, mica_full(b.t, MICA_I64, MICA_SHAPE(1, 2), 0));
  assert_int_equal(mica_tape_status(b.t), MICA_ERR_SHAPE);
  bed another = {0};
  mica_packed_embedding *p = NULL;
  need_make(&another, "autodim");
  assert_int_equal(mica_embedding_export(another.table, &p), MICA_ERR_STATE);
  end(&another);
  end(&b);
}

/* Every byte of a file may be wrong: an error, or a table that stays inside. */
static void test_hostile_files(void **state) {
  (void)state;
  const char *path = folder_path("packed.safetensors"), *bad = folder_path("bad.safetensors");
  for (int i = 0; i < METHODS; i++) {
    bed b;
    mica_packed_embedding *p = NULL;
    need_make(&b, methods[i].spec);
    assert_int_equal(mica_embedding_decide(b.table), MICA_OK);
    assert_int_equal(mica_embedding_export(b.table, &p), MICA_OK);
    assert_int_equal(mica_packed_embedding_save(p, path), MICA_OK);
    mica_packed_embedding_free(p);
    end(&b);
    FILE *f = fopen(path, "rb");
    static uint8_t bytes[1 << 16];
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_true(n < sizeof bytes);
    for (int k = 0; k < 150; k++) {
      const mica_key key = mica_key_fold(mica_key_seed((uint64_t)i), (uint64_t)k);
      const size_t at = (size_t)mica_random_below(key, 0, n);
      const uint8_t was = bytes[at];
      bytes[at] ^= (uint8_t)(1u << mica_random_below(key, 1, 8));
      f = fopen(bad, "wb");
      fwrite(bytes, 1, n, f);
      fclose(f);
      bytes[at] = was;
      if (mica_packed_embedding_open(bad, &p) != MICA_OK) continue;
      mica_embedding_facts facts;
      mica_packed_embedding_describe(p, &facts);
      if (facts.rows < 1 << 20) {
        int64_t rows[2] = {0, facts.rows - 1};
        float *out = mica_calloc((size_t)(2 * facts.width), sizeof *out);
        mica_packed_embedding_rows(p, engine, 2, rows, out);
        mica_free(out);
      }
      mica_packed_embedding_free(p);
    }
  }
}

/* ---- finished matrices ---- */

static double error_of(mica_packed_embedding *p, const float *x, int64_t n, int64_t d) {
  int64_t *rows = mica_calloc((size_t)n, sizeof *rows);
  float *y = mica_calloc((size_t)(n * d), sizeof *y);
  for (int64_t i = 0; i < n; i++) rows[i] = i;
  assert_int_equal(mica_packed_embedding_rows(p, engine, n, rows, y), MICA_OK);
  double error = 0, all = 0;
  for (int64_t i = 0; i < n * d; i++) {
    error += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
    all += (double)x[i] * (double)x[i];
  }
  mica_free(rows);
  mica_free(y);
  return error / all;
}

static void test_matrices(void **state) {
  (void)state;
  enum { M = 500, D = 24 };
  static float x[M][D];
  /* Rows near a space of 4 dimensions, of norms that differ. */
  for (int i = 0; i < M; i++)
    for (int k = 0; k < D; k++) {
      double sum = 0.05 * mica_random_normal(mica_key_seed(1), (uint64_t)(i * D + k));
      for (int r = 0; r < 4; r++)
        sum += mica_random_normal(mica_key_seed(2), (uint64_t)(i * 4 + r)) *
               mica_random_normal(mica_key_seed(3), (uint64_t)(k * 4 + r));
      x[i][k] = (float)(sum * (1 + i % 7));
    }
  const mica_view v = mica_view_of(x, MICA_F32, MICA_SHAPE(M, D));
  static const struct {
    const char *spec;
    double bytes, most; /* share of the squares that may be lost */
  } cases[] = {{"pq:bytes=0.25", 0.25, 0.2},         {"pq:bytes=0.25:parts=6", 0.25, 0.5},
               {"grouped-pq:bytes=0.3", 0.3, 0.2},   {"svd:bytes=0.3", 0.3, 0.01},
               {"grouped-svd:bytes=0.4", 0.4, 0.03}, {"tt:bytes=0.6", 0.6, 0.5},
               {"prune:bytes=0.5", 0.5, 0.6},        {"int:bytes=0.3", 0.3, 1e-4},
               {"int:bytes=0.6", 0.6, 1e-8},         {"dedup:bytes=0.9:block=2", 0.9, 0.5}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_packed_embedding *p = NULL;
    mica_embedding_facts f;
    if (mica_matrix_compress(engine, cases[i].spec, &v, 1, &p) != MICA_OK)
      fail_msg("%s: %s", cases[i].spec, mica_last_error());
    mica_packed_embedding_describe(p, &f);
    const double error = error_of(p, x[0], M, D);
    if (!(f.rate <= cases[i].bytes && f.rate > 0.5 * cases[i].bytes && error <= cases[i].most))
      fail_msg("%s: %.4f of the bytes, %.4g of the squares are lost", cases[i].spec, f.rate, error);
    mica_packed_embedding_free(p);
  }
  mica_packed_embedding *p = NULL;
  assert_int_equal(mica_matrix_compress(engine, "svd:bytes=0.01", &v, 1, &p), MICA_ERR_INVALID);
  assert_int_equal(mica_matrix_compress(engine, "robe", &v, 1, &p), MICA_ERR_UNSUPPORTED);
  x[7][3] = NAN;
  assert_int_equal(mica_matrix_compress(engine, "svd", &v, 1, &p), MICA_ERR_NUMERIC);
  assert_null(p);
  const mica_view flat = mica_view_of(x, MICA_F32, MICA_SHAPE(M * D));
  assert_int_equal(mica_matrix_compress(engine, "svd", &flat, 1, &p), MICA_ERR_SHAPE);
}

/* ---- memory ---- */

static mica_status whole_life(void *ctx) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *own = NULL;
  bed b = {0};
  mica_packed_embedding *p = NULL;
  o.threads = 1;
  o.libraries = 0;
  mica_status status = mica_engine_create(&o, &own);
  if (status != MICA_OK) return status;
  status = make(&b, own, ctx);
  if (status == MICA_OK) {
    mica_set_training(b.t, true);
    status = mica_backward(b.t, mica_sum(b.t, lookup(&b), 0, NULL, false));
  }
  if (status == MICA_OK) status = mica_commit(b.t);
  if (status == MICA_OK) status = mica_embedding_decide(b.table);
  if (status == MICA_OK) status = mica_embedding_export(b.table, &p);
  mica_packed_embedding_free(p);
  end(&b);
  mica_engine_free(own);
  return status;
}

static void test_failing_allocations(void **state) {
  (void)state;
  for (int i = 0; i < METHODS; i++) {
    if (strncmp(methods[i].spec, "dedup", 5) == 0) continue;
    assert_true(fail_each(whole_life, (void *)(uintptr_t)methods[i].spec) > 10);
  }
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_budgets),
                                     cmocka_unit_test(test_shares),
                                     cmocka_unit_test(test_too_small),
                                     cmocka_unit_test(test_packed_gives_the_same),
                                     cmocka_unit_test(test_lists),
                                     cmocka_unit_test(test_gradients),
                                     cmocka_unit_test(test_gradients_are_rows),
                                     cmocka_unit_test(test_frequent_ids),
                                     cmocka_unit_test(test_integers_round_by_chance),
                                     cmocka_unit_test(test_dedup_shares),
                                     cmocka_unit_test(test_pruning_while_training),
                                     cmocka_unit_test(test_evolution),
                                     cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_hostile_files),
                                     cmocka_unit_test(test_matrices),
                                     cmocka_unit_test(test_failing_allocations)};
  int failed = cmocka_run_group_tests(tests, folder_setup, folder_teardown);
  mica_engine_free(engine);
  return failed;
}
