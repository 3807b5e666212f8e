/* Walks the registry of gradient cases; gradients/gradients.h tells what is compared with what.
 *
 * The machine's own loops must give the same bits for one and two threads, so some cases are larger
 * than a chunk of work (16384 elements). */
#include "support/test.h"

#include "gradients/gradients.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAMILY_OF(name) extern const gradient_family gradient_##name;
#include "gradient_families.def"
#undef FAMILY_OF
#define FAMILY_OF(name) &gradient_##name,
static const gradient_family *const families[] = {
#include "gradient_families.def"
};
#undef FAMILY_OF
#define FAMILIES (int)(sizeof families / sizeof *families)

mica_var gradient_ids(mica_tape *t, mica_shape shape, int64_t start, int64_t step, int64_t limit) {
  int64_t ids[1024];
  const int64_t n = mica_shape_count(&shape);
  assert_true(n <= 1024);
  for (int64_t i = 0; i < n; i++) ids[i] = (start + i * step) % limit;
  const mica_view view = mica_view_of(ids, MICA_I64, shape);
  return mica_constant(t, &view);
}

/* ---- inputs ---- */

static double sample(const gradient_input *in, int which, int64_t i) {
  const mica_key key = mica_key_fold(mica_key_seed(7), (uint64_t)which);
  const double x = in->lo + (in->hi - in->lo) * mica_random_uniform(key, (uint64_t)i);
  return fabs(x) < in->gap ? (x < 0 ? x - in->gap : x + in->gap) : x;
}

/* The inputs of a case and the weights of its projection, drawn once: runs share them. */
static struct {
  const gradient_case *c;
  double *x[CASE_INPUTS], *weight;
  int64_t weights;
} drawn;

static void forget_drawn(void) {
  for (int i = 0; i < CASE_INPUTS; i++) {
    free(drawn.x[i]);
    drawn.x[i] = NULL;
  }
  drawn.c = NULL;
}

static void draw_inputs(const gradient_case *c) {
  if (drawn.c == c) return;
  forget_drawn();
  for (int i = 0; i < c->n; i++) {
    const int64_t n = mica_shape_count(&c->in[i].shape);
    drawn.x[i] = malloc((size_t)(n + 1) * sizeof(double));
    assert_non_null(drawn.x[i]);
    for (int64_t k = 0; k < n; k++) drawn.x[i][k] = sample(&c->in[i], i, k);
  }
  drawn.c = c;
}

static const double *draw_weights(int64_t n) {
  if (n <= drawn.weights) return drawn.weight;
  drawn.weight = realloc(drawn.weight, (size_t)n * sizeof(double));
  assert_non_null(drawn.weight);
  for (int64_t i = drawn.weights; i < n; i++)
    drawn.weight[i] = 2 * mica_random_uniform(mica_key_seed(99), (uint64_t)i) - 1;
  drawn.weights = n;
  return drawn.weight;
}

typedef struct outcome {
  int64_t n_out, n_in[CASE_INPUTS];
  double *out, *grad[CASE_INPUTS];
  double projected;
} outcome;

static void outcome_free(outcome *o) {
  free(o->out);
  for (int i = 0; i < CASE_INPUTS; i++) free(o->grad[i]);
  memset(o, 0, sizeof *o);
}

static double *doubles(const mica_view *v) {
  const int64_t n = mica_view_count(v);
  double *x = malloc((size_t)(n ? n : 1) * sizeof *x);
  const mica_view to = mica_view_of(x, MICA_F64, v->shape);
  if (mica_view_copy(&to, v) != MICA_OK) fail();
  return x;
}

/* Run one case; products and convolutions of float32 run in `compute`. nudge: add `by` to element
 * `at` of input `which` (-1: none). */
static outcome run_in(mica_engine *engine, const gradient_case *c, mica_dtype dtype,
                      mica_dtype compute, bool strided, int which, int64_t at, double by,
                      bool backward) {
  outcome o = {0};
  mica_tape *t = NULL;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_set_compute(t, compute);
  mica_set_training(t, c->training);
  mica_tensor *data[CASE_INPUTS] = {0};
  mica_var in[CASE_INPUTS], leaf[CASE_INPUTS];
  draw_inputs(c);
  for (int i = 0; i < c->n; i++) {
    /* A strided input is the left part of wider rows. */
    mica_shape shape = c->in[i].shape;
    const int64_t cols = shape.rank ? shape.dim[shape.rank - 1] : 1;
    const bool wide = strided && shape.rank >= 2;
    if (wide) shape.dim[shape.rank - 1] += 3;
    assert_int_equal(mica_tensor_create(dtype, shape, &data[i]), MICA_OK);
    const int64_t n = mica_shape_count(&c->in[i].shape);
    mica_view to = mica_tensor_view(data[i]);
    to.shape = c->in[i].shape;
    const mica_view from = mica_view_of(drawn.x[i], MICA_F64, to.shape);
    const double before = i == which ? drawn.x[i][at] : 0;
    if (i == which) drawn.x[i][at] += by;
    assert_int_equal(mica_view_copy(&to, &from), MICA_OK);
    if (i == which) drawn.x[i][at] = before;
    leaf[i] = c->in[i].constant ? mica_input(t, data[i]) : mica_leaf(t, data[i]);
    in[i] = wide ? mica_slice(t, leaf[i], -1, 0, cols) : leaf[i];
    o.n_in[i] = n;
  }
  mica_var y = c->run(t, in);
  mica_view v = mica_read(t, y);
  if (!mica_ok(t)) {
    print_error("%s %s: %s\n", c->ops, c->name, mica_tape_error(t));
    fail();
  }
  mica_var dense = mica_view_contiguous(&v) ? y : mica_cast(t, y, v.dtype);
  v = mica_read(t, dense);
  o.n_out = mica_view_count(&v);
  o.out = doubles(&v);
  const double *weight = draw_weights(o.n_out + 1);
  for (int64_t i = 0; i < o.n_out; i++) o.projected += weight[i] * o.out[i];
  if (backward) {
    mica_tensor *w = NULL;
    assert_int_equal(mica_tensor_create(v.dtype, v.shape, &w), MICA_OK);
    const mica_view to = mica_tensor_view(w),
                    from = mica_view_of((void *)(uintptr_t)weight, MICA_F64, v.shape);
    assert_int_equal(mica_view_copy(&to, &from), MICA_OK);
    mica_status status = mica_backward_from(t, y, mica_input(t, w));
    if (status != MICA_OK) {
      print_error("%s %s: %s\n", c->ops, c->name, mica_tape_error(t));
      fail();
    }
    for (int i = 0; i < c->n; i++) {
      if (c->in[i].constant) continue;
      mica_var g = mica_gradient(t, leaf[i]);
      const int64_t cols = c->in[i].shape.rank ? c->in[i].shape.dim[c->in[i].shape.rank - 1] : 1;
      o.grad[i] = calloc((size_t)(o.n_in[i] ? o.n_in[i] : 1), sizeof(double));
      if (mica_is_none(g)) continue; /* nothing came: zero */
      if (strided && c->in[i].shape.rank >= 2)
        g = mica_cast(t, mica_slice(t, g, -1, 0, cols), dtype);
      const mica_view gv = mica_read(t, g);
      free(o.grad[i]);
      o.grad[i] = doubles(&gv);
    }
    mica_tensor_free(w);
  }
  for (int i = 0; i < c->n; i++) mica_tensor_free(data[i]);
  mica_tape_free(t);
  return o;
}

static outcome run_case(mica_engine *engine, const gradient_case *c, mica_dtype dtype, bool strided,
                        int which, int64_t at, double by, bool backward) {
  return run_in(engine, c, dtype, MICA_F32, strided, which, at, by, backward);
}

/* ---- comparisons ---- */

static void compare(const gradient_case *c, const char *what, int64_t n, const double *got,
                    const double *want, double bound) {
  double scale = 1;
  for (int64_t i = 0; i < n; i++)
    if (isfinite(want[i]) && fabs(want[i]) > scale) scale = fabs(want[i]);
  for (int64_t i = 0; i < n; i++) {
    if (got[i] == want[i] || (isnan(got[i]) && isnan(want[i]))) continue;
    if (!(fabs(got[i] - want[i]) <= bound * scale)) {
      print_error("%s %s: %s [%lld] is %.12g, expected %.12g (bound %g of %g)\n", c->ops, c->name,
                  what, (long long)i, got[i], want[i], bound, scale);
      fail();
    }
  }
}

/* Of a large input a few elements spread over it are tried. */
#define ALL_UP_TO 96
#define PROBES    12

static void check_differences(mica_engine *engine, const gradient_case *c) {
  outcome base = run_case(engine, c, MICA_F64, false, -1, 0, 0, true);
  const double h = 1e-5;
  for (int i = 0; i < c->n; i++) {
    if (c->in[i].constant) continue;
    const int64_t n = base.n_in[i], probes = n <= ALL_UP_TO ? n : PROBES;
    for (int64_t p = 0; p < probes; p++) {
      const int64_t k = probes > 1 ? p * (n - 1) / (probes - 1) : 0;
      outcome up = run_case(engine, c, MICA_F64, false, i, k, h, false);
      outcome down = run_case(engine, c, MICA_F64, false, i, k, -h, false);
      const double slope = (up.projected - down.projected) / (2 * h);
      const double size = fabs(slope) > 1 ? fabs(slope) : 1;
      if (!(fabs(base.grad[i][k] - slope) <= 1e-6 * size)) {
        print_error("%s %s: gradient of input %d [%lld] is %.10g, differences give %.10g\n", c->ops,
                    c->name, i, (long long)k, base.grad[i][k], slope);
        fail();
      }
      outcome_free(&up);
      outcome_free(&down);
    }
  }
  outcome_free(&base);
}

/* ---- engines ---- */

typedef struct variant {
  mica_engine *engine;
  char name[64];
  int threads, libraries;
} variant;

static variant variants[12];
static int n_variants;

static int make_engines(void **state) {
  (void)state;
  static const char *const isas[] = {"generic", "avx2", "avx512"};
  for (int i = 0; i < 3; i++)
    for (int threads = 1; threads <= 2; threads++)
      for (int libraries = 0; libraries <= 1; libraries++) {
        mica_engine_options o = MICA_ENGINE_OPTIONS;
        o.threads = threads;
        o.isa = isas[i];
        o.libraries = libraries;
        variant *v = &variants[n_variants];
        if (mica_engine_create(&o, &v->engine) != MICA_OK) {
          print_message("no %s here\n", isas[i]);
          mica_clear_error();
          continue;
        }
        v->threads = threads;
        v->libraries = libraries;
        snprintf(v->name, sizeof v->name, "%s, %d threads, libraries %d", isas[i], threads,
                 libraries);
        n_variants++;
      }
  return n_variants ? 0 : -1;
}

static int free_engines(void **state) {
  (void)state;
  for (int i = 0; i < n_variants; i++) mica_engine_free(variants[i].engine);
  forget_drawn();
  free(drawn.weight);
  return 0;
}

/* ---- the tests ---- */

static void test_differences(void **state) {
  const gradient_family *f = *state;
  for (int i = 0; i < f->n; i++)
    if (!f->cases[i].no_gradient) check_differences(variants[0].engine, &f->cases[i]);
}

/* float64 differs between instruction sets by the order of sums and a few last places. */
#define BOUND_F64 1e-12

/* One case everywhere in one type, contiguous or strided, against `want`. */
static void check_everywhere(const gradient_case *c, const outcome *want, mica_dtype dtype,
                             bool strided) {
  const bool backward = !c->no_gradient;
  const double bound = dtype == MICA_F32 ? c->bound : BOUND_F64;
  outcome one = {0};
  for (int k = 0; k < n_variants; k++) {
    outcome got = run_case(variants[k].engine, c, dtype, strided, -1, 0, 0, backward);
    char what[128], where[100];
    snprintf(where, sizeof where, "%s, %s%s", mica_dtype_name(dtype), variants[k].name,
             strided ? ", strided" : "");
    snprintf(what, sizeof what, "result (%s)", where);
    assert_int_equal(got.n_out, want->n_out);
    compare(c, what, got.n_out, got.out, want->out, bound);
    for (int j = 0; j < c->n && backward; j++) {
      if (c->in[j].constant) continue;
      snprintf(what, sizeof what, "gradient %d (%s)", j, where);
      compare(c, what, got.n_in[j], got.grad[j], want->grad[j], bound);
    }
    /* Own loops give the same bits whatever the thread count; the one-thread variant of an
     * instruction set comes before the other. */
    if (!variants[k].libraries && variants[k].threads == 1) {
      outcome_free(&one);
      one = got;
      continue;
    }
    if (!variants[k].libraries) {
      snprintf(what, sizeof what, "result, bits (%s)", where);
      compare(c, what, got.n_out, got.out, one.out, 0);
      for (int j = 0; j < c->n && backward; j++) {
        if (c->in[j].constant) continue;
        snprintf(what, sizeof what, "gradient %d, bits (%s)", j, where);
        compare(c, what, got.n_in[j], got.grad[j], one.grad[j], 0);
      }
    }
    outcome_free(&got);
  }
  outcome_free(&one);
}

static void test_variants(void **state) {
  const gradient_family *f = *state;
  for (int i = 0; i < f->n; i++) {
    const gradient_case *c = &f->cases[i];
    outcome want = run_case(variants[0].engine, c, MICA_F64, false, -1, 0, 0, !c->no_gradient);
    check_everywhere(c, &want, MICA_F64, false);
    check_everywhere(c, &want, MICA_F32, false);
    check_everywhere(c, &want, MICA_F32, true);
    outcome_free(&want);
  }
}

/* bfloat16 keeps 8 bits: each factor is within 2^-9 of itself, sums are float32. */
#define BOUND_BF16 1e-2

static bool same_numbers(const outcome *a, const outcome *b) {
  for (int64_t i = 0; i < a->n_out; i++)
    if (a->out[i] != b->out[i]) return false;
  return true;
}

/* Products and convolutions offer bfloat16; somewhere in each family it must make a difference, on
 * every engine. */
static void test_bf16(void **state) {
  const gradient_family *f = *state;
  for (int k = 0; k < n_variants; k++) {
    int different = 0;
    for (int i = 0; i < f->n; i++) {
      const gradient_case *c = &f->cases[i];
      if (c->no_gradient) continue;
      outcome want = run_case(variants[0].engine, c, MICA_F64, false, -1, 0, 0, true);
      outcome f32 = run_case(variants[k].engine, c, MICA_F32, false, -1, 0, 0, true);
      outcome got = run_in(variants[k].engine, c, MICA_F32, MICA_BF16, false, -1, 0, 0, true);
      char what[128];
      snprintf(what, sizeof what, "result (bfloat16, %s)", variants[k].name);
      compare(c, what, got.n_out, got.out, want.out, BOUND_BF16);
      for (int j = 0; j < c->n; j++) {
        if (c->in[j].constant) continue;
        snprintf(what, sizeof what, "gradient %d (bfloat16, %s)", j, variants[k].name);
        compare(c, what, got.n_in[j], got.grad[j], want.grad[j], BOUND_BF16);
      }
      different += !same_numbers(&f32, &got);
      outcome_free(&want);
      outcome_free(&f32);
      outcome_free(&got);
    }
    if (!different) fail_msg("%s: bfloat16 is float32 (%s)", f->name, variants[k].name);
  }
}

/* Take one word off a list separated by spaces. */
static const char *next_word(const char *list, char *word, size_t size) {
  list += strspn(list, " ");
  const size_t n = strcspn(list, " ");
  assert_true(n < size);
  memcpy(word, list, n);
  word[n] = 0;
  return list + n;
}

/* The operations that a header declares, `mica_var mica_NAME(` and `void mica_NAME(`: appends
 * "NAME " to `declared` and returns how many no case covers. */
static int read_declared(const char *header, char *declared, size_t size) {
  FILE *f = fopen(header, "r");
  if (!f) fail_msg("%s is not below the working directory", header);
  char line[512];
  int missing = 0;
  while (fgets(line, sizeof line, f)) {
    if (strncmp(line, "MICA_API ", 9) != 0) continue;
    const char *name = strstr(line, " mica_");
    if (name && strncmp(name, " mica_var ", 10) == 0)
      name = strstr(name + 9, "mica_");
    else if (name)
      name++;
    if (!name) continue;
    char want[64] = " ";
    size_t n = strcspn(name + 5, "(");
    if (n > 60) continue;
    memcpy(want + 1, name + 5, n);
    strcpy(want + 1 + n, " ");
    assert_true(strlen(declared) + strlen(want) < size);
    strcat(declared, want);
    bool covered = false;
    for (int k = 0; k < FAMILIES && !covered; k++)
      for (int i = 0; i < families[k]->n && !covered; i++) {
        char ops[256];
        snprintf(ops, sizeof ops, " %s ", families[k]->cases[i].ops);
        covered = strstr(ops, want) != NULL;
      }
    if (!covered) {
      print_error("no case for mica_%.*s\n", (int)n, name + 5);
      missing++;
    }
  }
  fclose(f);
  return missing;
}

static void test_every_operation_has_a_case(void **state) {
  (void)state;
  static const char *const headers[] = {"include/mica/ops.h", "include/mica/linear_algebra.h"};
  static char declared[16384];
  int missing = 0;
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
    const size_t before = strlen(declared);
    missing += read_declared(headers[i], declared, sizeof declared);
    assert_true(strlen(declared) > before + 100); /* the lines were found */
  }
  for (int k = 0; k < FAMILIES; k++)
    for (int i = 0; i < families[k]->n; i++) {
      char word[64], name[66];
      const char *rest = families[k]->cases[i].ops;
      for (rest = next_word(rest, word, sizeof word); *word;
           rest = next_word(rest, word, sizeof word)) {
        snprintf(name, sizeof name, " %s ", word);
        if (!strstr(declared, name)) {
          print_error("a case of %s is for mica_%s, which is not declared\n", families[k]->name,
                      word);
          missing++;
        }
      }
    }
  assert_int_equal(missing, 0);
}

/* What every operation of mica/ops.h must have: a case with one element, and one with none. */
static void test_every_operation_has_its_edges(void **state) {
  (void)state;
  int missing = 0;
  for (int k = 0; k < FAMILIES; k++)
    for (int i = 0; i < families[k]->n; i++) {
      char word[64], name[66], ops[256];
      const char *rest = families[k]->cases[i].ops;
      for (rest = next_word(rest, word, sizeof word); *word;
           rest = next_word(rest, word, sizeof word)) {
        /* These have no inputs; three, or two, lie side by side; there are no statistics of no rows
         * (an error). */
        const bool no_inputs = strncmp(word, "random_", 7) == 0;
        bool one = no_inputs || strcmp(word, "affine_grid") == 0 ||
                   strcmp(word, "packed_attention") == 0 || strcmp(word, "glu") == 0;
        bool none = no_inputs || strcmp(word, "batch_norm_train") == 0 ||
                    strcmp(word, "batch_norm_add_train") == 0;
        snprintf(name, sizeof name, " %s ", word);
        for (int f = 0; f < FAMILIES; f++)
          for (int j = 0; j < families[f]->n; j++) {
            const gradient_case *c = &families[f]->cases[j];
            snprintf(ops, sizeof ops, " %s ", c->ops);
            if (!strstr(ops, name)) continue;
            one |= mica_shape_count(&c->in[0].shape) == 1;
            for (int n = 0; n < c->n; n++) none |= mica_shape_count(&c->in[n].shape) == 0;
          }
        if (!one || !none) {
          print_error("mica_%s has no case of %s\n", word, one ? "none" : "one element");
          missing++;
        }
      }
    }
  assert_int_equal(missing, 0);
}

/* mica/where.h has the line of each operation that takes the tape first and more. */
static void test_every_operation_notes_its_line(void **state) {
  (void)state;
  FILE *f = fopen("include/mica/where.h", "r");
  assert_non_null(f);
  static char text[32768];
  const size_t n = fread(text, 1, sizeof text - 1, f);
  fclose(f);
  assert_true(n < sizeof text - 1);
  int missing = 0;
  for (int k = 0; k < FAMILIES; k++)
    for (int i = 0; i < families[k]->n; i++) {
      char word[64], line[256];
      const char *rest = families[k]->cases[i].ops;
      for (rest = next_word(rest, word, sizeof word); *word;
           rest = next_word(rest, word, sizeof word)) {
        snprintf(line, sizeof line, "#define mica_%s(t, ...) mica_%s(MICA_HERE(t), __VA_ARGS__)\n",
                 word, word);
        if (strstr(text, line)) continue;
        print_error("mica/where.h has no line for mica_%s\n", word);
        missing++;
      }
    }
  assert_int_equal(missing, 0);
}

int main(void) {
  struct CMUnitTest tests[2 * FAMILIES + 5];
  static char names[2 * FAMILIES][64];
  int n = 0;
  for (int k = 0; k < FAMILIES; k++) {
    void *family = (void *)(uintptr_t)families[k];
    snprintf(names[n], sizeof names[n], "differences: %s", families[k]->name);
    tests[n] = (struct CMUnitTest){names[n], test_differences, NULL, NULL, family};
    n++;
    snprintf(names[n], sizeof names[n], "everywhere: %s", families[k]->name);
    tests[n] = (struct CMUnitTest){names[n], test_variants, NULL, NULL, family};
    n++;
  }
  static const gradient_family *const bf16[] = {&gradient_product, &gradient_convolution};
  static const char *const bf16_names[] = {"bfloat16: product", "bfloat16: convolution"};
  for (int k = 0; k < 2; k++)
    tests[n++] =
        (struct CMUnitTest){bf16_names[k], test_bf16, NULL, NULL, (void *)(uintptr_t)bf16[k]};
  tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_every_operation_has_a_case);
  tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_every_operation_has_its_edges);
  tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_every_operation_notes_its_line);
  assert_true(n == (int)(sizeof tests / sizeof *tests));
  return cmocka_run_group_tests(tests, make_engines, free_engines);
}
