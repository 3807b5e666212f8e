#include "support/golden.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

mica_archive *golden_open(const char *file) {
  mica_archive *a = NULL;
  if (mica_archive_open(file, &a) != MICA_OK) {
    print_error("%s\n", mica_last_error());
    fail();
  }
  return a;
}

mica_tensor *golden_read(const mica_archive *a, mica_dtype dtype, const char *name) {
  mica_tensor *stored, *out;
  const int64_t i = mica_archive_find(a, name);
  if (i < 0) fail_msg("%s has no %s", mica_archive_path(a), name);
  assert_int_equal(mica_archive_read(a, i, &stored), MICA_OK);
  if (!mica_dtype_is_float(mica_tensor_dtype(stored))) return stored;
  const mica_view view = mica_tensor_view(stored);
  assert_int_equal(mica_tensor_from_view(&view, dtype, &out), MICA_OK);
  mica_tensor_free(stored);
  return out;
}

/* Largest difference over the largest wanted element. */
static double difference(const mica_view *got, const mica_tensor *want) {
  double worst = 0, scale = 0;
  mica_tensor *copy;
  assert_int_equal(mica_tensor_from_view(got, MICA_F64, &copy), MICA_OK);
  for (int64_t i = 0; i < mica_tensor_count(want); i++) {
    const double w = mica_tensor_get(want, i), d = fabs(mica_tensor_get(copy, i) - w);
    if (!(d <= worst)) worst = d; /* also when it is NaN */
    if (fabs(w) > scale) scale = fabs(w);
  }
  mica_tensor_free(copy);
  return worst / (scale > 0 ? scale : 1);
}

bool golden_agrees(const char *what, const mica_view *got, const mica_tensor *want, double bound) {
  char a[80], b[80];
  if (!got->data || !mica_shape_equal(&got->shape, mica_tensor_shape(want))) {
    print_error("%s: shape %s, PyTorch has %s\n", what, mica_shape_text(&got->shape, a, sizeof a),
                mica_shape_text(mica_tensor_shape(want), b, sizeof b));
    return false;
  }
  const double d = difference(got, want);
  if (d <= bound) return true;
  print_error("%s: %s differs by %.3g, bound %.3g\n", what, mica_dtype_name(got->dtype), d, bound);
  return false;
}

static double bound_of(mica_dtype dtype) {
  return dtype == MICA_F32 ? 2e-5 : 1e-7;
}

static mica_tensor *stored(golden_case *b, const char *prefix, const char *key) {
  char name[64];
  snprintf(name, sizeof name, "%s.%s%s", b->name, prefix, key);
  assert_true(b->n_held < 2 * GOLDEN_LEAVES);
  return b->held[b->n_held++] = golden_read(b->archive, b->dtype, name);
}

mica_var golden_constant(golden_case *b, const char *key) {
  return mica_input(b->t, stored(b, "", key));
}

mica_var golden_leaf(golden_case *b, const char *key) {
  assert_true(b->n_leaves < GOLDEN_LEAVES);
  const mica_var v = mica_leaf(b->t, stored(b, "", key));
  b->leaf[b->n_leaves].name = key;
  b->leaf[b->n_leaves++].v = v;
  return v;
}

static void compare(golden_case *b, const char *prefix, const char *key, mica_var got) {
  char what[80], name[64];
  snprintf(name, sizeof name, "%s.%s%s", b->name, prefix, key);
  snprintf(what, sizeof what, "%s", name);
  mica_tensor *want = golden_read(b->archive, MICA_F64, name);
  const mica_view view = mica_read(b->t, got);
  if (!golden_agrees(what, &view, want, bound_of(b->dtype))) b->agrees = false;
  mica_tensor_free(want);
}

static bool run(mica_engine *engine, const mica_archive *archive, const golden_operation *c,
                mica_dtype dtype) {
  golden_case b = {.archive = archive, .dtype = dtype, .name = c->name, .agrees = true};
  assert_int_equal(mica_tape_create(engine, NULL, &b.t), MICA_OK);
  mica_set_training(b.t, true);
  const mica_var y = c->fn(&b);
  compare(&b, "", "y", y);
  if (mica_backward_from(b.t, y, golden_constant(&b, "gy")) != MICA_OK) {
    print_error("%s: %s\n", b.name, mica_last_error());
    b.agrees = false;
  }
  for (int i = 0; i < b.n_leaves && b.agrees; i++)
    compare(&b, "d", b.leaf[i].name, mica_gradient(b.t, b.leaf[i].v));
  mica_tape_free(b.t);
  for (int i = 0; i < b.n_held; i++) mica_tensor_free(b.held[i]);
  return b.agrees;
}

int golden_run(mica_engine *engine, const mica_archive *archive, const golden_operation *cases,
               size_t n) {
  int failed = 0;
  for (size_t k = 0; k < n; k++) {
    failed += !run(engine, archive, &cases[k], MICA_F32);
    failed += !run(engine, archive, &cases[k], MICA_F64);
  }
  return failed;
}

void golden_run_all(mica_engine *engine, const char *file, const golden_operation *cases,
                    size_t count) {
  mica_archive *archive = golden_open(file);
  for (int64_t i = 0; i < mica_archive_count(archive); i++) {
    const char *name = mica_archive_name(archive, i);
    const size_t n = strlen(name);
    if (n < 2 || strcmp(name + n - 2, ".y") != 0) continue;
    bool found = false;
    for (size_t k = 0; k < count; k++)
      found |= strlen(cases[k].name) == n - 2 && strncmp(cases[k].name, name, n - 2) == 0;
    if (!found) fail_msg("%s is compared with nothing", name);
  }
  assert_int_equal(golden_run(engine, archive, cases, count), 0);
  mica_archive_close(archive);
}
