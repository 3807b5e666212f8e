#include "support/reference_network.h"

#include <string.h>

reference_network reference_begin(mica_engine *engine, const char *spec, int64_t height,
                                  int64_t width, const char *path) {
  const mica_problem task = MICA_PROBLEM_IMAGES(height, width, 3, 5);
  reference_network r = {.file = golden_open(path)};
  mica_load_options o = MICA_LOAD_OPTIONS;
  mica_load_report report;
  o.strip = "";
  if (mica_net_create(engine, spec, &task, 0, &r.net) ||
      mica_params_load(mica_net_params(r.net), path, &o, &report))
    fail_msg("%s", mica_last_error());
  /* The file has no counters of batches. */
  if (report.reshaped || report.share < 0.999) fail_msg("%s", report.text);
  mica_free(report.text);
  r.x = golden_read(r.file, MICA_F32, "x");
  assert_int_equal(mica_tape_create(engine, NULL, &r.tape), MICA_OK);
  return r;
}

void reference_end(reference_network *r) {
  mica_tape_free(r->tape);
  mica_tensor_free(r->x);
  mica_net_free(r->net);
  mica_archive_close(r->file);
}

static void compare(const reference_network *r, const char *name, mica_view got, double bound) {
  mica_tensor *want = golden_read(r->file, MICA_F64, name);
  assert_true(golden_agrees(name, &got, want, bound));
  mica_tensor_free(want);
}

void reference_agrees(const reference_network *r, const char *name, mica_var got, double bound) {
  const mica_view v = mica_read(r->tape, got);
  if (!mica_ok(r->tape)) fail_msg("%s", mica_tape_error(r->tape));
  compare(r, name, v, bound);
}

/* The parameter of the file's tensor PREFIXname. */
static mica_param *find(const reference_network *r, const char *name, const char *prefix) {
  mica_param *q = mica_params_find(mica_net_params(r->net), name + strlen(prefix));
  if (!q) fail_msg("%s has no parameter", name);
  return q;
}

/* A kernel of the file, [o, c, k, k], as the library has it: [o, k, k, c]. */
static mica_tensor *turned(mica_tensor *kernel) {
  const mica_shape *shape = mica_tensor_shape(kernel);
  const int64_t o = shape->dim[0], c = shape->dim[1], k = shape->dim[2];
  mica_tensor *out;
  assert_int_equal(mica_tensor_create(MICA_F64, MICA_SHAPE(o, k, k, c), &out), MICA_OK);
  double *to = mica_tensor_data(out);
  const double *from = mica_tensor_data(kernel);
  for (int64_t j = 0; j < o * c * k * k; j++)
    to[(j / (c * k * k) * k * k + j % (k * k)) * c + j / (k * k) % c] = from[j];
  mica_tensor_free(kernel);
  return out;
}

void reference_gradients(const reference_network *r, int64_t n, double bound) {
  static const char prefix[] = "grad.";
  mica_tape *t = r->tape;
  mica_outputs out;
  int64_t compared = 0;
  mica_net_forward(t, r->net, mica_input(t, r->x), &out);
  mica_backward(t, mica_mean(t, mica_square(t, out.logits), 0, NULL, false));
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  for (int64_t i = 0; i < mica_archive_count(r->file); i++) {
    const char *name = mica_archive_name(r->file, i);
    if (strncmp(name, prefix, strlen(prefix)) != 0) continue;
    mica_tensor *want = golden_read(r->file, MICA_F64, name);
    const mica_shape *shape = mica_tensor_shape(want);
    mica_view got = mica_param_grad(find(r, name, prefix));
    /* Kernels of one input channel, and 1x1 ones, lie in the same order in both layouts but for the
     * stem's. */
    if (shape->rank == 4 && shape->dim[1] > 1 && shape->dim[2] > 1)
      want = turned(want);
    else
      got = mica_view_of(got.data, MICA_F32, *shape);
    assert_true(golden_agrees(name, &got, want, bound));
    mica_tensor_free(want);
    compared++;
  }
  assert_int_equal(compared, n);
}

void reference_training(const reference_network *r) {
  static const char prefix[] = "training.", logits[] = "training.logits";
  mica_tape *t = r->tape;
  mica_outputs out;
  int64_t compared = 0;
  mica_set_training(t, true);
  mica_net_forward(t, r->net, mica_input(t, r->x), &out);
  reference_agrees(r, logits, out.logits, 1e-3);
  assert_int_equal(mica_commit(t), MICA_OK);
  for (int64_t i = 0; i < mica_archive_count(r->file); i++) {
    const char *name = mica_archive_name(r->file, i);
    if (strncmp(name, prefix, strlen(prefix)) != 0 || strcmp(name, logits) == 0) continue;
    compare(r, name, mica_tensor_view(mica_param_value(find(r, name, prefix))), 1e-4);
    compared++;
  }
  assert_true(compared > 0);
}

int64_t reference_trainable(const mica_net *net) {
  const mica_params *p = mica_net_params(net);
  int64_t n = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_param *q = mica_params_at(p, i);
    if (mica_param_flags(q) & MICA_PARAM_TRAINABLE) n += mica_tensor_count(mica_param_value(q));
  }
  return n;
}
