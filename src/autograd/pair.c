/* Interactions: the products of the vectors of one example with each other. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/pair.h"

typedef struct pair_job {
  const mica_pair_kernels *k;
  enum { SUM, SUM_BACK, DOTS, DOTS_BACK } what;
  mica_tiles tiles;
  size_t size;
  int64_t m, cols, y_cols; /* vectors of an example, their elements, the result's */
  int64_t each;            /* elements of a tile's scratch */
  const char *x, *gy;
  char *y, *scratch;
} pair_job;

static void pair_range(void *ctx, int64_t begin, int64_t end) {
  const pair_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const int64_t n = t.blocks;
    const size_t wide = (size_t)(t.block * j->m * j->cols) * j->size,
                 narrow = (size_t)(t.block * j->y_cols) * j->size;
    char *scratch = j->scratch ? j->scratch + (size_t)(i * j->each) * j->size : NULL;
    switch (j->what) {
    case SUM: j->k->sum(n, j->m, j->cols, j->x + wide, j->y + narrow); break;
    case SUM_BACK:
      j->k->sum_back(n, j->m, j->cols, j->x + wide, j->gy + narrow, j->y + wide);
      break;
    case DOTS: j->k->dots(n, j->m, j->cols, j->x + wide, j->y + narrow, scratch); break;
    case DOTS_BACK:
      j->k->dots_back(n, j->m, j->cols, j->x + wide, j->gy + narrow, j->y + wide, scratch);
      break;
    }
  }
}

/* Tiles have scratch each, so there are at most this many. */
#define PAIR_TILES 64

static pair_job job_of(mica_call *c, int what, int64_t y_cols) {
  const mica_view *x = &c->in[0];
  const int64_t n = x->shape.dim[0], m = x->shape.dim[1], cols = x->shape.dim[2];
  pair_job j = {.k = mica_kernels_of(c->engine, x->dtype)->pair,
                .what = what,
                .tiles = mica_tiles_of(n, m * cols, 1),
                .size = mica_dtype_size(x->dtype),
                .m = m,
                .cols = cols,
                .y_cols = y_cols,
                .x = x->data};
  const int64_t least = (n + PAIR_TILES - 1) / PAIR_TILES;
  if (j.tiles.group < least) {
    j.tiles.group = least;
    j.tiles.count = (n + least - 1) / least;
  }
  if (what == DOTS || what == DOTS_BACK) {
    j.each = j.k->dots_scratch(m, cols);
    j.scratch = mica_call_scratch(c, (size_t)(j.tiles.count * j.each) * j.size);
  }
  return j;
}

static void backward(mica_call *c, int what) {
  const mica_view *gx = mica_call_grad(c, 0), *gy = &c->grad_out[0];
  if (!gx) return;
  pair_job j = job_of(c, what, gy->shape.dim[1]);
  if (!mica_ok(c->tape)) return;
  j.gy = gy->data;
  j.y = gx->data;
  mica_parallel_for(c->engine, j.tiles.count, pair_range, &j);
}

static void sum_backward(mica_call *c) {
  backward(c, SUM_BACK);
}
static void dots_backward(mica_call *c) {
  backward(c, DOTS_BACK);
}

static const mica_op sum_op = {sizeof(mica_op), "pair_sum", MICA_OP_BY_EXAMPLE, sum_backward};
static const mica_op dots_op = {sizeof(mica_op), "pair_dots", MICA_OP_BY_EXAMPLE, dots_backward};

static mica_var pairs(mica_tape *t, const mica_op *op, mica_var x) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  if (!mica_is_float(v) || v->shape.rank != 3)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected vectors [N,F,D] of floats:");
  const bool dots = op == &dots_op;
  const int64_t m = v->shape.dim[1];
  const int64_t y_cols = dots ? (m ? m * (m - 1) / 2 : 0) : v->shape.dim[2];
  const mica_view *y = mica_call_output(&c, v->dtype, MICA_SHAPE(v->shape.dim[0], y_cols));
  pair_job j = job_of(&c, dots ? DOTS : SUM, y_cols);
  if (mica_ok(t)) {
    j.y = y->data;
    mica_parallel_for(c.engine, j.tiles.count, pair_range, &j);
  }
  mica_call_save_input(&c, 0);
  return mica_call_end(&c);
}

mica_var mica_pair_sum(mica_tape *t, mica_var x) {
  return pairs(t, &sum_op, x);
}
mica_var mica_pair_dots(mica_tape *t, mica_var x) {
  return pairs(t, &dots_op, x);
}
