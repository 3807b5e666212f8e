#include "tensor/kernel/onednn.h"

#ifdef MICA_HAVE_ONEDNN

#include "tensor/kernel/library.h"

#include <dnnl.h>
#include <string.h>

/* ---- the two generations of the API ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t layout_ref;
typedef struct layout {
  dnnl_memory_desc_t desc;
} layout;
#else
typedef const dnnl_memory_desc_t *layout_ref;
typedef struct layout {
  dnnl_memory_desc_t desc;
} layout;
#endif

static layout_ref ref(const layout *l) {
#if DNNL_VERSION_MAJOR >= 3
  return l->desc;
#else
  return &l->desc;
#endif
}

static void layout_free(layout *l) {
#if DNNL_VERSION_MAJOR >= 3
  if (l->desc) dnnl_memory_desc_destroy(l->desc);
  l->desc = NULL;
#else
  (void)l;
#endif
}

/* Strides NULL: oneDNN chooses. */
static dnnl_status_t layout_make(layout *l, int rank, const dnnl_dims_t dims,
                                 const int64_t *strides, dnnl_data_type_t type) {
#if DNNL_VERSION_MAJOR >= 3
  l->desc = NULL;
  if (!strides)
    return dnnl_memory_desc_create_with_tag(&l->desc, rank, dims, type, dnnl_format_tag_any);
  return dnnl_memory_desc_create_with_strides(&l->desc, rank, dims, type, strides);
#else
  if (!strides)
    return dnnl_memory_desc_init_by_tag(&l->desc, rank, dims, type, dnnl_format_tag_any);
  return dnnl_memory_desc_init_by_strides(&l->desc, rank, dims, type, strides);
#endif
}

static dnnl_status_t append_linear(dnnl_post_ops_t ops, float alpha) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_linear, alpha, 0);
#else
  return dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_linear, alpha, 0);
#endif
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops, float beta) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_post_ops_append_sum(ops, beta, 0, dnnl_data_type_undef);
#else
  return dnnl_post_ops_append_sum(ops, beta);
#endif
}

static dnnl_status_t describe_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                     const layout *a, const layout *b, const layout *bias,
                                     const layout *c, const_dnnl_primitive_attr_t attr) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_matmul_primitive_desc_create(pd, engine, ref(a), ref(b), bias ? ref(bias) : NULL,
                                           ref(c), attr);
#else
  dnnl_matmul_desc_t d;
  const dnnl_status_t s =
      dnnl_matmul_desc_init(&d, ref(a), ref(b), bias ? ref(bias) : NULL, ref(c));
  return s ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
#endif
}

typedef struct window {
  dnnl_dims_t strides, dilates, pad_before, pad_after;
} window;

/* The descriptor of a pass; `hint` is the forward's for the two backward passes. */
static dnnl_status_t describe_convolution(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                          mica_onednn_pass pass, const layout *src,
                                          const layout *weights, const layout *bias,
                                          const layout *dst, const window *w,
                                          const_dnnl_primitive_attr_t attr,
                                          const_dnnl_primitive_desc_t hint) {
  const layout_ref b = bias ? ref(bias) : NULL;
#if DNNL_VERSION_MAJOR >= 3
  if (pass == MICA_ONEDNN_DATA)
    return dnnl_convolution_backward_data_primitive_desc_create(
        pd, engine, dnnl_convolution_direct, ref(src), ref(weights), ref(dst), w->strides,
        w->dilates, w->pad_before, w->pad_after, hint, attr);
  if (pass == MICA_ONEDNN_WEIGHTS)
    return dnnl_convolution_backward_weights_primitive_desc_create(
        pd, engine, dnnl_convolution_direct, ref(src), ref(weights), b, ref(dst), w->strides,
        w->dilates, w->pad_before, w->pad_after, hint, attr);
  return dnnl_convolution_forward_primitive_desc_create(
      pd, engine, dnnl_forward_training, dnnl_convolution_direct, ref(src), ref(weights), b,
      ref(dst), w->strides, w->dilates, w->pad_before, w->pad_after, attr);
#else
  dnnl_convolution_desc_t d;
  dnnl_status_t s;
  if (pass == MICA_ONEDNN_DATA)
    s = dnnl_dilated_convolution_backward_data_desc_init(&d, dnnl_convolution_direct, ref(src),
                                                         ref(weights), ref(dst), w->strides,
                                                         w->dilates, w->pad_before, w->pad_after);
  else if (pass == MICA_ONEDNN_WEIGHTS)
    s = dnnl_dilated_convolution_backward_weights_desc_init(
        &d, dnnl_convolution_direct, ref(src), ref(weights), b, ref(dst), w->strides, w->dilates,
        w->pad_before, w->pad_after);
  else
    s = dnnl_dilated_convolution_forward_desc_init(
        &d, dnnl_forward_training, dnnl_convolution_direct, ref(src), ref(weights), b, ref(dst),
        w->strides, w->dilates, w->pad_before, w->pad_after);
  return s ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, hint);
#endif
}

/* ---- a compiled call: reorders in, the primitive, reorders out ---- */

enum { BUFFERS = 24, STEPS = 8, STEP_ARGS = 6, ALIGNMENT = 64 };

typedef struct buffer {
  dnnl_memory_t memory;
  int user;      /* which of the caller's pointers, or -1: our scratch */
  size_t offset; /* in the scratch */
} buffer;

typedef struct step {
  dnnl_primitive_t primitive;
  int n;
  dnnl_exec_arg_t arg[STEP_ARGS];
} step;

typedef struct compiled {
  bool slow; /* oneDNN has nothing good for this key: remembered, so that it is not asked again */
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  buffer buffers[BUFFERS];
  step steps[STEPS];
  int buffer_count, step_count;
  size_t scratch;
  size_t packed;        /* bytes of packed weights */
  dnnl_status_t status; /* the first failure while it is being built */
} compiled;

static void compiled_free(void *object) {
  compiled *c = object;
  for (int i = 0; i < c->step_count; i++) dnnl_primitive_destroy(c->steps[i].primitive);
  for (int i = 0; i < c->buffer_count; i++) dnnl_memory_destroy(c->buffers[i].memory);
  if (c->stream) dnnl_stream_destroy(c->stream);
  if (c->engine) dnnl_engine_destroy(c->engine);
  mica_free(c);
}

static bool ok(compiled *c, dnnl_status_t status) {
  if (c->status == dnnl_success) c->status = status;
  return c->status == dnnl_success;
}

static compiled *compiled_new(void) {
  compiled *c = mica_calloc(1, sizeof *c);
  if (!c) return NULL;
  if (ok(c, dnnl_engine_create(&c->engine, dnnl_cpu, 0)))
    ok(c, dnnl_stream_create(&c->stream, c->engine, dnnl_stream_default_flags));
  return c;
}

static const layout_ref nothing = NULL;

/* A buffer of the caller (user >= 0) or of our scratch (-1); the index, or -1 after a failure. */
static int add_buffer(compiled *c, layout_ref l, int user) {
  if (c->status != dnnl_success || l == nothing || c->buffer_count == BUFFERS) {
    ok(c, dnnl_invalid_arguments);
    return -1;
  }
  buffer *b = &c->buffers[c->buffer_count];
  if (!ok(c, dnnl_memory_create(&b->memory, l, c->engine, DNNL_MEMORY_NONE))) return -1;
  b->user = user;
  if (user < 0) {
    b->offset = c->scratch;
    c->scratch += (dnnl_memory_desc_get_size(l) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }
  return c->buffer_count++;
}

static void add_arg(compiled *c, step *s, int name, int at) {
  if (c->status != dnnl_success || at < 0) return;
  s->arg[s->n].arg = name;
  s->arg[s->n++].memory = c->buffers[at].memory;
}

/* A new step of a described primitive, with its scratchpad; NULL after a failure. */
static step *add_step(compiled *c, const_dnnl_primitive_desc_t pd) {
  if (c->status != dnnl_success) return NULL;
  if (c->step_count == STEPS) {
    ok(c, dnnl_invalid_arguments);
    return NULL;
  }
  step *s = &c->steps[c->step_count];
  if (!ok(c, dnnl_primitive_create(&s->primitive, pd))) return NULL;
  c->step_count++;
  layout_ref scratchpad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  if (scratchpad != nothing && dnnl_memory_desc_get_size(scratchpad) > 0)
    add_arg(c, s, DNNL_ARG_SCRATCHPAD, add_buffer(c, scratchpad, -1));
  return s;
}

static dnnl_status_t user_scratchpad(dnnl_primitive_attr_t *attr) {
  const dnnl_status_t s = dnnl_primitive_attr_create(attr);
  return s ? s : dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
}

/* Copy between two buffers with whatever change of layout and type lies between them. */
static void add_reorder(compiled *c, int from, layout_ref from_layout, int to,
                        layout_ref to_layout) {
  if (c->status != dnnl_success) return;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t pd = NULL;
  if (ok(c, user_scratchpad(&attr)) &&
      ok(c, dnnl_reorder_primitive_desc_create(&pd, from_layout, c->engine, to_layout, c->engine,
                                               attr))) {
    step *s = add_step(c, pd);
    if (s) {
      add_arg(c, s, DNNL_ARG_FROM, from);
      add_arg(c, s, DNNL_ARG_TO, to);
    }
  }
  if (pd) dnnl_primitive_desc_destroy(pd);
  if (attr) dnnl_primitive_attr_destroy(attr);
}

/* The buffer that a primitive reads: the caller's own where the layouts agree, else a reordered
 * copy. `rounded`, when given, is a bf16 layout to pass through on the way. */
static int add_input(compiled *c, int user, const layout *given, const layout *rounded,
                     layout_ref wanted) {
  int at = add_buffer(c, ref(given), user);
  layout_ref have = ref(given);
  if (rounded) {
    const int next = add_buffer(c, ref(rounded), -1);
    add_reorder(c, at, have, next, ref(rounded));
    at = next;
    have = ref(rounded);
  }
  if (c->status != dnnl_success || dnnl_memory_desc_equal(have, wanted)) return at;
  const int to = add_buffer(c, wanted, -1);
  add_reorder(c, at, have, to, wanted);
  return to;
}

static bool is_slow(const_dnnl_primitive_desc_t pd) {
  const char *name = NULL;
  if (dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) != dnnl_success || !name)
    return false;
  return strstr(name, "ref") != NULL;
}

static mica_status run_compiled(const mica_engine *engine, compiled *c, int threads,
                                void *const *user) {
  char *scratch = NULL;
  if (c->scratch) {
    scratch = mica_workspace_acquire(engine, c->scratch);
    if (!scratch) return MICA_ERR_MEMORY;
  }
  dnnl_status_t status = dnnl_success;
  for (int i = 0; i < c->buffer_count && status == dnnl_success; i++) {
    const buffer *b = &c->buffers[i];
    status =
        dnnl_memory_set_data_handle(b->memory, b->user < 0 ? scratch + b->offset : user[b->user]);
  }
  const int before = mica_library_threads_set(threads);
  for (int i = 0; i < c->step_count && status == dnnl_success; i++)
    status =
        dnnl_primitive_execute(c->steps[i].primitive, c->stream, c->steps[i].n, c->steps[i].arg);
  if (status == dnnl_success) status = dnnl_stream_wait(c->stream);
  mica_library_threads_restore(before);
  mica_workspace_release(engine, scratch);
  if (status == dnnl_success) return MICA_OK;
  if (status == dnnl_out_of_memory) return mica_fail(MICA_ERR_MEMORY, "oneDNN ran out of memory");
  return mica_fail(MICA_ERR_UNSUPPORTED, "oneDNN failed with status %d", (int)status);
}

/* Take the call kept under the key or build it, run it, keep it. */
typedef void (*build_fn)(compiled *c, const void *ctx);

static mica_status run_cached(const mica_engine *engine, const void *key, size_t key_bytes,
                              int threads, build_fn build, const void *ctx, void *const *user,
                              bool *done) {
  void *kept;
  mica_status status = mica_primitive_take(engine, key, key_bytes, &kept);
  if (status != MICA_OK) return status;
  compiled *c = kept;
  if (!c) {
    c = compiled_new();
    if (!c) return MICA_ERR_MEMORY;
    const int before = mica_library_threads_set(threads); /* primitives are planned for a team */
    if (c->status == dnnl_success) build(c, ctx);
    mica_library_threads_restore(before);
    if (c->status == dnnl_out_of_memory) {
      compiled_free(c);
      return mica_fail(MICA_ERR_MEMORY, "oneDNN ran out of memory");
    }
    if (c->status != dnnl_success) c->slow = true;
  }
  if (!c->slow) {
    status = run_compiled(engine, c, threads, user);
    *done = status == MICA_OK;
  }
  mica_primitive_put(engine, key, key_bytes, c, compiled_free);
  return status;
}

/* Does the processor multiply bf16 faster than float32? Intel's AVX-512 does half as many
 * multiplications a cycle on pairs of bf16 as on float32, so of Intel's only the matrix units pay.
 * Elsewhere the factors are rounded and multiplied in float32: the same numbers, sooner. */
static bool has_fast_bf16(void) {
  const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
  const bool pairs = (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
  const bool tiles = (isa & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx;
#if defined(__x86_64__)
  return tiles || (pairs && !__builtin_cpu_is("intel"));
#else
  return tiles || pairs;
#endif
}

/* ---- products ---- */

typedef struct gemm_key {
  int32_t kind, threads;
  uint8_t trans_a, trans_b, bf16, has_bias;
  float alpha, beta;
  int32_t unused;
  int64_t m, n, k, lda, ldb, ldc, batch, stride_a, stride_b, stride_c;
} gemm_key;

static void build_gemm(compiled *c, const void *ctx) {
  const gemm_key *g = ctx;
  const int rank = g->batch > 1 ? 3 : 2;
  const int64_t batch_a = g->stride_a ? g->batch : 1, batch_b = g->stride_b ? g->batch : 1;
  const dnnl_dims_t all_a = {batch_a, g->m, g->k}, all_b = {batch_b, g->k, g->n},
                    all_c = {g->batch, g->m, g->n}, all_bias = {1, 1, g->n};
  const int64_t row_a = g->trans_a ? 1 : g->lda, column_a = g->trans_a ? g->lda : 1;
  const int64_t row_b = g->trans_b ? 1 : g->ldb, column_b = g->trans_b ? g->ldb : 1;
  const dnnl_dims_t step_a = {g->stride_a ? g->stride_a : g->m * g->k, row_a, column_a},
                    step_b = {g->stride_b ? g->stride_b : g->k * g->n, row_b, column_b},
                    step_c = {g->stride_c, g->ldc, 1}, step_bias = {g->n, g->n, 1};
  /* bf16 copies are dense, in the order of the original. */
  const dnnl_dims_t dense_a = {g->m * g->k, g->trans_a ? 1 : g->k, g->trans_a ? g->m : 1},
                    dense_b = {g->k * g->n, g->trans_b ? 1 : g->n, g->trans_b ? g->k : 1};
  const int skip = 3 - rank;
  layout a = {0}, b = {0}, bias = {0}, to = {0}, a16 = {0}, b16 = {0};
  dnnl_primitive_attr_t attr = NULL;
  dnnl_post_ops_t ops = NULL;
  dnnl_primitive_desc_t pd = NULL;
  bool made = ok(c, layout_make(&a, rank, all_a + skip, step_a + skip, dnnl_f32)) &&
              ok(c, layout_make(&b, rank, all_b + skip, step_b + skip, dnnl_f32)) &&
              ok(c, layout_make(&to, rank, all_c + skip, step_c + skip, dnnl_f32)) &&
              ok(c, layout_make(&bias, rank, all_bias + skip, step_bias + skip, dnnl_f32)) &&
              ok(c, layout_make(&a16, rank, all_a + skip, dense_a + skip, dnnl_bf16)) &&
              ok(c, layout_make(&b16, rank, all_b + skip, dense_b + skip, dnnl_bf16)) &&
              ok(c, user_scratchpad(&attr)) && ok(c, dnnl_post_ops_create(&ops)) &&
              (g->alpha == 1 || ok(c, append_linear(ops, g->alpha))) &&
              (g->beta == 0 || ok(c, append_sum(ops, g->beta))) &&
              ok(c, dnnl_primitive_attr_set_post_ops(attr, ops)) &&
              ok(c, describe_matmul(&pd, c->engine, g->bf16 ? &a16 : &a, g->bf16 ? &b16 : &b,
                                    g->has_bias ? &bias : NULL, &to, attr));
  if (made && is_slow(pd)) {
    c->slow = true;
  } else if (made) {
    const int at_a = add_input(c, 0, &a, NULL, ref(g->bf16 ? &a16 : &a));
    const int at_b = add_input(c, 1, &b, NULL, ref(g->bf16 ? &b16 : &b));
    const int at_c = add_buffer(c, ref(&to), 2);
    const int at_bias = g->has_bias ? add_buffer(c, ref(&bias), 3) : -1;
    step *s = add_step(c, pd);
    if (s) {
      add_arg(c, s, DNNL_ARG_SRC, at_a);
      add_arg(c, s, DNNL_ARG_WEIGHTS, at_b);
      add_arg(c, s, DNNL_ARG_DST, at_c);
      add_arg(c, s, DNNL_ARG_BIAS, at_bias);
    }
  }
  if (pd) dnnl_primitive_desc_destroy(pd);
  if (ops) dnnl_post_ops_destroy(ops);
  if (attr) dnnl_primitive_attr_destroy(attr);
  layout_free(&a);
  layout_free(&b);
  layout_free(&to);
  layout_free(&bias);
  layout_free(&a16);
  layout_free(&b16);
}

mica_status mica_onednn_gemm(const mica_engine *engine, const mica_gemm_args *g, bool *done) {
  *done = false;
  const bool bf16 = g->compute == MICA_BF16;
  if (g->dtype != MICA_F32 || (bf16 && !has_fast_bf16())) return MICA_OK;
  if (g->bias && g->alpha != 1) return MICA_OK; /* oneDNN would scale the bias too */
  gemm_key key;
  memset(&key, 0, sizeof key);
  key.kind = 1;
  key.threads = mica_library_threads(engine);
  key.trans_a = g->trans_a;
  key.trans_b = g->trans_b;
  key.bf16 = bf16;
  key.has_bias = g->bias != NULL;
  key.alpha = (float)g->alpha;
  key.beta = (float)g->beta;
  key.m = g->m;
  key.n = g->n;
  key.k = g->k;
  key.lda = g->lda;
  key.ldb = g->ldb;
  key.ldc = g->ldc;
  key.batch = g->batch;
  if (g->batch > 1) {
    key.stride_a = g->stride_a;
    key.stride_b = g->stride_b;
    key.stride_c = g->stride_c;
  }
  void *const user[] = {(void *)(uintptr_t)g->a, (void *)(uintptr_t)g->b, g->c,
                        (void *)(uintptr_t)g->bias};
  return run_cached(engine, &key, sizeof key, key.threads, build_gemm, &key, user, done);
}

/* ---- convolution ---- */

typedef struct convolution_key {
  int32_t kind, threads, pass, has_bias;
  mica_convolution conv;
} convolution_key;

/* Everything a convolution's descriptor is made of: layouts as the caller has them, in bf16 and as
 * oneDNN likes them. */
typedef struct parts {
  layout src, dst, weights, bias; /* the caller's, float32 */
  layout src16, dst16, weights16; /* the same in bf16 */
  layout any32, any16;            /* weights, layout open */
  window w;
} parts;

static void parts_free(parts *p) {
  layout *const all[] = {&p->src,   &p->dst,       &p->weights, &p->bias, &p->src16,
                         &p->dst16, &p->weights16, &p->any32,   &p->any16};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) layout_free(all[i]);
}

static bool is_volume(const mica_convolution *v) {
  return v->size[0] != 1 || v->kernel[0] != 1 || v->before[0] || v->after[0];
}

static bool parts_make(compiled *c, parts *p, const mica_convolution *v) {
  memset(p, 0, sizeof *p);
  int64_t out[MICA_CONVOLUTION_AXES];
  if (mica_convolution_output(v, out) != MICA_OK) return ok(c, dnnl_invalid_arguments);
  /* Images leave their depth of one out. */
  const int axes = is_volume(v) ? 3 : 2, first = MICA_CONVOLUTION_AXES - axes;
  const int64_t in_group = v->c / v->groups, out_group = v->o / v->groups;
  const int64_t taps = mica_convolution_taps(v);
  dnnl_dims_t src = {v->n, v->c}, src_step = {mica_convolution_places(v) * v->c, 1};
  dnnl_dims_t dst = {v->n, v->o}, dst_step = {out[0] * out[1] * out[2] * v->o, 1};
  dnnl_dims_t all = {v->groups, out_group, in_group},
              all_step = {out_group * taps * in_group, taps * in_group, 1};
  int64_t src_inner = v->c, dst_inner = v->o, tap_inner = in_group;
  for (int i = axes; i-- > 0;) {
    const int axis = first + i;
    src[2 + i] = v->size[axis];
    dst[2 + i] = out[axis];
    all[3 + i] = v->kernel[axis];
    src_step[2 + i] = src_inner;
    dst_step[2 + i] = dst_inner;
    all_step[3 + i] = tap_inner;
    src_inner *= v->size[axis];
    dst_inner *= out[axis];
    tap_inner *= v->kernel[axis];
    p->w.strides[i] = v->stride[axis];
    p->w.dilates[i] = v->dilation[axis] - 1;
    p->w.pad_before[i] = v->before[axis];
    p->w.pad_after[i] = v->after[axis];
  }
  const dnnl_dims_t bias = {v->o}, bias_step = {1};
  const int skip = v->groups > 1 ? 0 : 1, rank = axes + 3 - skip;
  return ok(c, layout_make(&p->src, axes + 2, src, src_step, dnnl_f32)) &&
         ok(c, layout_make(&p->dst, axes + 2, dst, dst_step, dnnl_f32)) &&
         ok(c, layout_make(&p->weights, rank, all + skip, all_step + skip, dnnl_f32)) &&
         ok(c, layout_make(&p->bias, 1, bias, bias_step, dnnl_f32)) &&
         ok(c, layout_make(&p->src16, axes + 2, src, src_step, dnnl_bf16)) &&
         ok(c, layout_make(&p->dst16, axes + 2, dst, dst_step, dnnl_bf16)) &&
         ok(c, layout_make(&p->weights16, rank, all + skip, all_step + skip, dnnl_bf16)) &&
         ok(c, layout_make(&p->any32, rank, all + skip, NULL, dnnl_f32)) &&
         ok(c, layout_make(&p->any16, rank, all + skip, NULL, dnnl_bf16));
}

/* Describe the pass with bf16 factors (`bf16`) or float32 ones; NULL when oneDNN has nothing or
 * only its reference for it. */
static dnnl_primitive_desc_t describe(compiled *c, const convolution_key *k, const parts *p,
                                      bool bf16, const_dnnl_primitive_attr_t attr) {
  const mica_onednn_pass pass = (mica_onednn_pass)k->pass;
  dnnl_primitive_desc_t hint = NULL, pd = NULL;
  const layout *src = bf16 ? &p->src16 : &p->src, *dst = bf16 ? &p->dst16 : &p->dst;
  const layout *any = bf16 ? &p->any16 : &p->any32, *bias = k->has_bias ? &p->bias : NULL;
  dnnl_status_t s = dnnl_success;
  if (pass == MICA_ONEDNN_DATA || pass == MICA_ONEDNN_WEIGHTS)
    s = describe_convolution(&hint, c->engine, MICA_ONEDNN_FORWARD, src, any, bias, dst, &p->w,
                             NULL, NULL);
  if (s == dnnl_success) {
    if (pass == MICA_ONEDNN_DATA)
      s = describe_convolution(&pd, c->engine, pass, &p->src, any, NULL, dst, &p->w, attr, hint);
    else if (pass == MICA_ONEDNN_WEIGHTS)
      s = describe_convolution(&pd, c->engine, pass, src, &p->any32, bias, dst, &p->w, attr, hint);
    else
      s = describe_convolution(&pd, c->engine, pass, src, any, bias, &p->dst, &p->w, attr, NULL);
  }
  if (hint) dnnl_primitive_desc_destroy(hint);
  if (s != dnnl_success) return NULL;
  if (!is_slow(pd)) return pd;
  dnnl_primitive_desc_destroy(pd);
  return NULL;
}

enum { USER_SRC, USER_WEIGHTS, USER_BIAS, USER_DST };

static void wire(compiled *c, const convolution_key *k, const parts *p, bool round,
                 const_dnnl_primitive_desc_t pd) {
  const mica_onednn_pass pass = (mica_onednn_pass)k->pass;
  if (pass == MICA_ONEDNN_PACK) {
    layout_ref wanted = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    c->packed = dnnl_memory_desc_get_size(wanted);
    add_reorder(c, add_buffer(c, ref(&p->weights), USER_WEIGHTS), ref(&p->weights),
                add_buffer(c, wanted, USER_DST), wanted);
    return;
  }
  const int at_bias = k->has_bias ? add_buffer(c, ref(&p->bias), USER_BIAS) : -1;
  if (pass == MICA_ONEDNN_WEIGHTS) {
    layout_ref wanted = dnnl_primitive_desc_query_md(pd, dnnl_query_diff_weights_md, 0);
    const int src = add_input(c, USER_SRC, &p->src, round ? &p->src16 : NULL,
                              dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0));
    const int dst = add_input(c, USER_DST, &p->dst, round ? &p->dst16 : NULL,
                              dnnl_primitive_desc_query_md(pd, dnnl_query_diff_dst_md, 0));
    const int user = add_buffer(c, ref(&p->weights), USER_WEIGHTS);
    const bool same = user >= 0 && dnnl_memory_desc_equal(ref(&p->weights), wanted);
    const int weights = same ? user : add_buffer(c, wanted, -1);
    step *s = add_step(c, pd);
    if (s) {
      add_arg(c, s, DNNL_ARG_SRC, src);
      add_arg(c, s, DNNL_ARG_DIFF_DST, dst);
      add_arg(c, s, DNNL_ARG_DIFF_WEIGHTS, weights);
      add_arg(c, s, DNNL_ARG_DIFF_BIAS, at_bias);
    }
    if (!same) add_reorder(c, weights, wanted, user, ref(&p->weights));
    return;
  }
  layout_ref wanted = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
  const int weights =
      pass == MICA_ONEDNN_FORWARD_PACKED
          ? add_buffer(c, wanted, USER_WEIGHTS)
          : add_input(c, USER_WEIGHTS, &p->weights, round ? &p->weights16 : NULL, wanted);
  if (pass == MICA_ONEDNN_DATA) {
    const int dst = add_input(c, USER_DST, &p->dst, round ? &p->dst16 : NULL,
                              dnnl_primitive_desc_query_md(pd, dnnl_query_diff_dst_md, 0));
    const int src = add_buffer(c, ref(&p->src), USER_SRC);
    step *s = add_step(c, pd);
    if (!s) return;
    add_arg(c, s, DNNL_ARG_DIFF_DST, dst);
    add_arg(c, s, DNNL_ARG_WEIGHTS, weights);
    add_arg(c, s, DNNL_ARG_DIFF_SRC, src);
    return;
  }
  const int src = add_input(c, USER_SRC, &p->src, round ? &p->src16 : NULL,
                            dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0));
  const int dst = add_buffer(c, ref(&p->dst), USER_DST);
  step *s = add_step(c, pd);
  if (!s) return;
  add_arg(c, s, DNNL_ARG_SRC, src);
  add_arg(c, s, DNNL_ARG_WEIGHTS, weights);
  add_arg(c, s, DNNL_ARG_BIAS, at_bias);
  add_arg(c, s, DNNL_ARG_DST, dst);
}

static void build_convolution(compiled *c, const void *ctx) {
  const convolution_key *k = ctx;
  parts p;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_post_ops_t ops = NULL;
  if (parts_make(c, &p, &k->conv) && ok(c, user_scratchpad(&attr)) &&
      ok(c, dnnl_post_ops_create(&ops)) &&
      (k->pass != MICA_ONEDNN_FORWARD_ADD || ok(c, append_sum(ops, 1))) &&
      ok(c, dnnl_primitive_attr_set_post_ops(attr, ops))) {
    /* Where bf16 has no fast primitive the factors are rounded and multiplied in float32: the same
     * numbers. */
    const bool round = k->conv.compute == MICA_BF16;
    /* oneDNN 2.6 gives wrong weight gradients of strided volumes in bf16. */
    const bool wrong = k->pass == MICA_ONEDNN_WEIGHTS && is_volume(&k->conv);
    dnnl_primitive_desc_t pd =
        round && !wrong && has_fast_bf16() ? describe(c, k, &p, true, attr) : NULL;
    if (!pd) pd = describe(c, k, &p, false, attr);
    if (pd) {
      wire(c, k, &p, round, pd);
      dnnl_primitive_desc_destroy(pd);
    } else {
      c->slow = true;
    }
  }
  if (ops) dnnl_post_ops_destroy(ops);
  if (attr) dnnl_primitive_attr_destroy(attr);
  parts_free(&p);
}

mica_status mica_onednn_convolution(const mica_engine *engine, const mica_convolution *conv,
                                    mica_onednn_pass pass, void *src, void *weights, void *bias,
                                    void *dst, bool *done) {
  *done = false;
  if (conv->dtype != MICA_F32) return MICA_OK;
  convolution_key key;
  memset(&key, 0, sizeof key);
  key.kind = 2;
  key.threads = mica_library_threads(engine);
  key.pass = (int32_t)pass;
  key.has_bias = bias != NULL;
  key.conv = *conv;
  void *const user[] = {src, weights, bias, dst};
  return run_cached(engine, &key, sizeof key, key.threads, build_convolution, &key, user, done);
}

mica_status mica_onednn_pack(const mica_engine *engine, const mica_convolution *conv, bool bias,
                             const void *weights, void **packed) {
  *packed = NULL;
  if (conv->dtype != MICA_F32 || conv->compute != MICA_F32) return MICA_OK;
  convolution_key key;
  memset(&key, 0, sizeof key);
  key.kind = 2;
  key.threads = mica_library_threads(engine);
  key.pass = MICA_ONEDNN_PACK;
  key.has_bias = bias;
  key.conv = *conv;
  compiled *c = compiled_new();
  if (!c) return MICA_ERR_MEMORY;
  const int before = mica_library_threads_set(key.threads);
  if (c->status == dnnl_success) build_convolution(c, &key);
  mica_library_threads_restore(before);
  mica_status status = MICA_OK;
  if (c->status == dnnl_out_of_memory) {
    status = mica_fail(MICA_ERR_MEMORY, "oneDNN ran out of memory");
  } else if (c->status == dnnl_success && !c->slow) {
    *packed = mica_malloc_aligned(c->packed);
    void *const user[] = {NULL, (void *)(uintptr_t)weights, NULL, *packed};
    status = *packed ? run_compiled(engine, c, key.threads, user) : MICA_ERR_MEMORY;
    if (status != MICA_OK) {
      mica_free_aligned(*packed);
      *packed = NULL;
    }
  }
  compiled_free(c);
  return status;
}

#else

mica_status mica_onednn_gemm(const mica_engine *engine, const mica_gemm_args *args, bool *done) {
  (void)engine, (void)args;
  *done = false;
  return MICA_OK;
}

mica_status mica_onednn_convolution(const mica_engine *engine, const mica_convolution *conv,
                                    mica_onednn_pass pass, void *src, void *weights, void *bias,
                                    void *dst, bool *done) {
  (void)engine, (void)conv, (void)pass, (void)src, (void)weights, (void)bias, (void)dst;
  *done = false;
  return MICA_OK;
}

mica_status mica_onednn_pack(const mica_engine *engine, const mica_convolution *conv, bool bias,
                             const void *weights, void **packed) {
  (void)engine, (void)conv, (void)bias, (void)weights;
  *packed = NULL;
  return MICA_OK;
}

#endif
