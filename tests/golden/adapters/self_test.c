/* The runner's own: y = x W^T + b with the gradient of sum(y), for tests/test_golden.sh. */
#include "adapter.h"

#include <stdlib.h>

static void run(golden *g) {
  const mica_dtype dtype = golden_flag(g, "double", false) ? MICA_F64 : MICA_F32;
  mica_tape *t;
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  const mica_var x = mica_leaf(t, golden_tensor(g, "in.x", dtype));
  const mica_var w = mica_leaf(t, golden_tensor(g, "param.weight", dtype));
  mica_var y = mica_linear(t, x, w, MICA_NONE, MICA_IDENTITY);
  if (golden_has(g, "param.bias"))
    y = mica_add(t, y, mica_input(t, golden_tensor(g, "param.bias", dtype)));
  y = mica_affine(t, y, golden_number(g, "scale", 1), 0);
  const mica_var sum = mica_sum(t, y, 0, NULL, false);
  golden_need(g, mica_backward(t, sum));
  if (golden_flag(g, "crash", false)) abort();
  if (golden_has(g, "out.y")) golden_check_var(g, "out.y", t, y);
  if (golden_has(g, "grad.weight")) golden_check_var(g, "grad.weight", t, mica_gradient(t, w));
  if (golden_has(g, "out.rows")) {
    const int64_t rows = golden_dim(g, "in.x", 0);
    golden_check_integers(g, "out.rows", &rows, 1);
  }
}

const golden_adapter golden_adapter_self_test = {"self-test", 1e-5, run};
