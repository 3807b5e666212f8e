#include "param/packed_linear.h"

#include "autograd/product.h"
#include "param/derived.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"

#include <mica/op.h>
#include <mica/ops.h>

enum { PACKED = 0x9acced, SEEN = 0x5ee4 }; /* tell its keys from those of other derived values */

typedef struct packing {
  const mica_engine *engine;
  mica_view weight; /* [outputs, inputs] */
  bool first;       /* nobody has used this value before */
} packing;

static mica_status pack(void *ctx, void **object) {
  const packing *p = ctx;
  const mica_view *w = &p->weight;
  const int64_t n = w->shape.dim[0], k = w->shape.dim[1];
  *object = mica_malloc_aligned(mica_gemm_packed_size(p->engine, w->dtype, n, k));
  if (!*object) return MICA_ERR_MEMORY;
  mica_gemm_pack(p->engine, w->dtype, true, n, k, w->data, k, *object);
  return MICA_OK;
}

static mica_status note(void *ctx, void **object) {
  packing *p = ctx;
  p->first = true;
  *object = NULL;
  return MICA_OK;
}

/* A network in training has another value at the next step. */
static bool pays(mica_tape *t, const mica_param *q, mica_var x, mica_var w, mica_var b,
                 packing *p) {
  if (!q || !mica_ok(t) || mica_is_training(t) || mica_is_recording(t) ||
      mica_compute(t) != MICA_F32)
    return false;
  const mica_view xv = mica_read(t, x), bv = mica_is_none(b) ? (mica_view){0} : mica_read(t, b);
  p->engine = mica_tape_engine(t);
  p->weight = mica_read(t, w);
  return xv.data && p->weight.data == mica_tensor_data(mica_param_value(q)) &&
         p->weight.dtype == MICA_F32 && xv.dtype == MICA_F32 && p->weight.shape.rank == 2 &&
         xv.shape.rank > 0 && mica_view_contiguous(&p->weight) &&
         (!bv.data || mica_view_contiguous(&bv)) &&
         mica_gemm_packing_pays(mica_view_rows(&xv), p->weight.shape.dim[0],
                                p->weight.shape.dim[1]);
}

mica_var mica_packed_linear(mica_tape *t, mica_param *q, mica_var x, mica_var w, mica_var b,
                            bool *done) {
  packing p = {.first = false};
  mica_derived *held;
  *done = pays(t, q, x, w, b, &p);
  if (!*done) return MICA_NONE;
  /* Another instruction set has other panels. */
  const uint64_t made_of[] = {mica_param_version(q),
                              (uint64_t)(uintptr_t)mica_kernels_of(p.engine, MICA_F32)};
  mica_status status = mica_derived_hold(q, mica_hash64(made_of, sizeof made_of, SEEN), note, &p,
                                         mica_free_aligned, &held);
  if (status == MICA_OK) mica_derived_release(q, held);
  if (status == MICA_OK && p.first) {
    *done = false;
    return MICA_NONE;
  }
  if (status == MICA_OK)
    status = mica_derived_hold(q, mica_hash64(made_of, sizeof made_of, PACKED), pack, &p,
                               mica_free_aligned, &held);
  if (status != MICA_OK)
    return mica_latch(t, status, "%s: no memory for the packed weight", mica_param_path(q));
  const mica_var y = mica_linear_packed(t, x, w, held->object, b);
  mica_derived_release(q, held);
  return y;
}
