/* What the options of attention mean to its kernel: maps, masks, biases, and their inputs. */
#include "autograd/attention_rules.h"

#include "autograd/ranges.h"
#include "autograd/tape.h"

#include <math.h>
#include <string.h>

mica_attention_options mica_attention_defaults(const mica_attention_options *given) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  return o;
}

void mica_attention_inputs(const mica_attention_options *o, mica_var bias, mica_var *in) {
  in[MICA_RULE_BIAS] = bias;
  in[MICA_RULE_QUERY_POSITIONS] = o->query_positions;
  in[MICA_RULE_KEY_POSITIONS] = o->key_positions;
  in[MICA_RULE_QUERY_SEGMENTS] = o->query_segments;
  in[MICA_RULE_KEY_SEGMENTS] = o->key_segments;
}

static bool take_heads_apart(mica_shape *s, int64_t heads) {
  const int64_t columns = s->dim[s->rank - 1];
  if (columns % heads) return false;
  s->dim[s->rank - 1] = heads;
  s->dim[s->rank++] = columns / heads;
  return true;
}

const char *mica_attention_heads_of(const mica_call *c, const mica_attention_options *o, int rank,
                                    mica_attention_heads *out) {
  *out = (mica_attention_heads){c->in[0].shape, c->in[1].shape, c->in[2].shape, o->heads != 0};
  mica_shape *q = &out->q, *k = &out->k, *v = &out->v;
  const int given = rank - out->side_by_side;
  if (q->rank != given || k->rank != given || v->rank != given)
    return out->side_by_side ? "expected q, k and v [N,L,heads d] (ragged: [total,heads d])"
                             : "expected q [N,Lq,h,d], k [N,Lk,g,d], v [N,Lk,g,dv] (ragged: "
                               "[total,h,d])";
  if (out->side_by_side) {
    const int64_t kv_heads = o->kv_heads ? o->kv_heads : o->heads;
    if (o->heads < 1 || kv_heads < 1 || !take_heads_apart(q, o->heads) ||
        !take_heads_apart(k, kv_heads) || !take_heads_apart(v, kv_heads))
      return "the columns are not a multiple of the heads";
  }
  const int h = rank - 2, l = rank - 3;
  if ((rank > 3 && (q->dim[0] != k->dim[0] || q->dim[0] != v->dim[0])) || k->dim[l] != v->dim[l] ||
      k->dim[h] != v->dim[h] || q->dim[h + 1] != k->dim[h + 1] || !k->dim[h] ||
      q->dim[h] % k->dim[h])
    return "q, k and v do not fit together";
  return NULL;
}

/* ---- inputs ---- */

static const char *bind_bias(mica_call *c, int i, mica_attention_args *a) {
  const mica_view *b = &c->in[i];
  const int64_t want[4] = {a->batch, a->heads, a->queries, a->keys};
  if (!b->data) return NULL;
  if (b->dtype != a->dtype) return "expected one float type for all";
  int64_t stride[4], step = 1;
  if (b->shape.rank > 4 || !mica_view_contiguous(b)) return "the bias must be a dense [N,h,Lq,Lk]";
  for (int d = 3, at = b->shape.rank - 1; d >= 0; d--, at--) {
    const int64_t n = at < 0 ? 1 : b->shape.dim[at];
    if (n != want[d] && n != 1) return "the bias does not broadcast to [N,h,Lq,Lk]";
    stride[d] = n == 1 ? 0 : step;
    step *= n;
  }
  if (want[3] != 1 && stride[3] != 1) return "the bias must have a column for each key";
  a->bias = b->data;
  a->bias_batch = stride[0];
  a->bias_head = stride[1];
  a->bias_query = stride[2];
  if (b->shape.rank < 4 || b->shape.dim[0] != a->batch) mica_call_mixes(c, i);
  return NULL;
}

/* int64 of `n` tokens, for all or for each of the batch; n is all there are where it is ragged. */
static const char *bind_ids(mica_call *c, int i, const mica_attention_args *a, int64_t n,
                            mica_attention_ids *to) {
  const mica_view *v = &c->in[i];
  if (!v->data) return NULL;
  if (v->dtype != MICA_I64) return "positions and segments are int64";
  const int rank = v->shape.rank;
  const bool each = rank == 2 && !a->q_offsets && v->shape.dim[0] == a->batch;
  if ((rank != 1 && !each) || v->shape.dim[rank - 1] != n)
    return a->q_offsets ? "positions and segments are [total], one for each token"
                        : "positions and segments are [L] or [N,L], of the queries or the keys";
  to->at = v->data;
  to->batch = rank == 2 ? v->row_stride : 0;
  return NULL;
}

/* The slopes and decays of each head, side by side in a buffer that the backward finds again. */
static void bind_tables(mica_call *c, const mica_attention_options *o, mica_attention_bound *x) {
  if (!o->slopes && !o->decays) return;
  const size_t n = (size_t)x->a.heads;
  x->tables = x->saved++;
  double *to = mica_call_saved(c, 2 * n * sizeof *to);
  if (!to) return;
  if (o->slopes) memcpy(to, o->slopes, n * sizeof *to);
  if (o->decays) memcpy(to + n, o->decays, n * sizeof *to);
  x->a.slopes = o->slopes ? to : NULL;
  x->a.decays = o->decays ? to + n : NULL;
}

/* ---- options ---- */

static const char *bind_map(const mica_attention_options *o, mica_attention_args *a) {
  static const mica_attention_curve curves[] = {
      MICA_CURVE_EXP,  MICA_CURVE_SOFTPLUS,     MICA_CURVE_SIGMOID, MICA_CURVE_SILU,
      MICA_CURVE_RELU, MICA_CURVE_RELU_SQUARED, MICA_CURVE_CALLER};
  if (o->map < MICA_ATTEND_SOFTMAX || o->map > MICA_ATTEND_CUSTOM) return "no such map";
  a->curve = curves[o->map];
  if (o->map == MICA_ATTEND_CUSTOM && !o->function) return "a custom map needs its function";
  a->function = o->function;
  a->function_ctx = o->function_ctx;
  if (o->divisor == 0)
    a->divide = MICA_ATTENTION_BY_SUM;
  else if (o->divisor == MICA_ATTENTION_SEEN)
    a->divide = MICA_ATTENTION_BY_SEEN;
  else if (o->divisor > 0 && isfinite(o->divisor))
    a->divide = MICA_ATTENTION_BY_NUMBER;
  else
    return "the divisor is 0, above 0, or MICA_ATTENTION_SEEN";
  a->divisor = o->divisor;
  if (o->map == MICA_ATTEND_SOFTMAX && o->divisor != 0)
    return "softmax divides by the sum: the divisor must be 0";
  if (o->map == MICA_ATTEND_SILU && o->divisor == 0)
    return "silu has weights below 0 and needs a divisor";
  if (o->power != 0 &&
      (!(o->power >= 1) || !isfinite(o->power) || !(o->threshold >= 0) || !isfinite(o->threshold)))
    return "sharpening needs a power of 1 or more and a threshold of 0 or more";
  if (o->power != 0 && o->divisor != 0)
    return "weights that are sharpened are divided by their sum";
  a->power = o->power;
  a->threshold = o->threshold;
  a->log_seen = o->log_length;
  return NULL;
}

static const char *bind_mask(const mica_attention_options *o, mica_attention_args *a) {
  const int64_t all = INT64_MAX;
  if (o->window < 0 || o->left < -1 || o->right < -1 || o->sinks < 0 || o->block < 0)
    return "window, sinks and block are 0 or more, left and right -1 or more";
  if (o->offset != MICA_ATTENTION_ENDS && (o->offset > INT32_MAX || o->offset < -INT32_MAX))
    return "the offset is out of range";
  if (o->strict && (!o->causal || o->block > 1))
    return "strict is a kind of causal, without blocks";
  a->causal = o->causal;
  a->strict = o->strict;
  a->causal_block = o->block;
  a->ends = o->offset == MICA_ATTENTION_ENDS;
  a->offset = a->ends ? a->keys - a->queries : o->offset;
  a->left = o->left >= 0 ? o->left : all;
  a->right = o->right >= 0 ? o->right : all;
  if (o->window && a->left > o->window - 1) a->left = o->window - 1;
  if (o->window && a->right > o->window - 1) a->right = o->window - 1;
  a->bounded = a->left != all || a->right != all;
  a->sinks = o->sinks;
  return NULL;
}

static const char *bind_distance(const mica_attention_options *o, mica_attention_args *a) {
  switch (o->distance) {
  case MICA_DISTANCE_SEQUENCE: a->metric = MICA_METRIC_ALONG; break;
  case MICA_DISTANCE_MANHATTAN: a->metric = MICA_METRIC_MANHATTAN; break;
  case MICA_DISTANCE_CHEBYSHEV: a->metric = MICA_METRIC_CHEBYSHEV; break;
  default: return "no such distance";
  }
  a->columns = o->columns;
  a->distance_limit = o->distance_limit;
  if (o->distance_limit < 0) return "the distance limit is 0 or more";
  if (!o->slopes && !o->decays) return NULL;
  if (o->distance != MICA_DISTANCE_SEQUENCE && o->columns < 1)
    return "distances on a grid need its columns";
  for (int64_t h = 0; h < a->heads; h++) {
    if (o->slopes && !isfinite(o->slopes[h])) return "slopes must be finite";
    if (o->decays && !(o->decays[h] > 0 && o->decays[h] <= 1))
      return "decays are above 0 and at most 1";
  }
  return NULL;
}

const char *mica_attention_bind(mica_call *c, const mica_attention_options *o,
                                mica_attention_bound *x) {
  mica_attention_args *a = &x->a;
  const int first = x->first;
  x->tables = x->sharpened = -1;
  a->scale = o->scale != 0 ? o->scale : 1 / sqrt((double)(a->dim ? a->dim : 1));
  const int64_t queries = a->q_offsets ? a->all_queries : a->queries;
  const int64_t keys = a->k_offsets ? c->in[1].shape.dim[0] : a->keys;
  const char *misfit = bind_map(o, a);
  if (!misfit) misfit = bind_mask(o, a);
  if (!misfit) misfit = bind_distance(o, a);
  if (!misfit) misfit = bind_bias(c, first + MICA_RULE_BIAS, a);
  if (!misfit) misfit = bind_ids(c, first + MICA_RULE_QUERY_POSITIONS, a, queries, &a->q_position);
  if (!misfit) misfit = bind_ids(c, first + MICA_RULE_KEY_POSITIONS, a, keys, &a->k_position);
  if (!misfit) misfit = bind_ids(c, first + MICA_RULE_QUERY_SEGMENTS, a, queries, &a->q_segment);
  if (!misfit) misfit = bind_ids(c, first + MICA_RULE_KEY_SEGMENTS, a, keys, &a->k_segment);
  if (!misfit && mica_is_none(o->query_segments) != mica_is_none(o->key_segments))
    misfit = "segments are those of the queries and those of the keys";
  if (misfit) return misfit;
  if (!(o->dropout >= 0 && o->dropout <= 1)) return "dropout is a probability, 0 to 1";
  if (o->dropout > 0 && mica_is_training(c->tape)) {
    a->drop = o->dropout;
    a->drop_key = mica_tape_draw(c->tape, "attention dropout").word;
  }
  bind_tables(c, o, x);
  if (a->power != 0 && mica_call_recorded(c)) {
    const int64_t rows = a->q_offsets ? a->all_queries : a->batch * a->queries;
    x->sharpened = x->saved++;
    a->sharpened = mica_call_saved(c, (size_t)(2 * a->heads * rows) * mica_dtype_size(a->dtype));
  }
  return NULL;
}

/* ---- between forward and backward ---- */

void mica_attention_keep(mica_call *c, const mica_attention_bound *x) {
  mica_call_context(c, x, sizeof *x);
  for (int i = x->first; i < c->n_in; i++)
    if (c->in[i].data) mica_call_save_input(c, i);
}

mica_attention_args mica_attention_rebound(const mica_call *c) {
  const mica_attention_bound *x = c->ctx;
  mica_attention_args a = x->a;
  const mica_view *rule = c->in + x->first;
  a.bias = rule[MICA_RULE_BIAS].data;
  a.q_position.at = rule[MICA_RULE_QUERY_POSITIONS].data;
  a.k_position.at = rule[MICA_RULE_KEY_POSITIONS].data;
  a.q_segment.at = rule[MICA_RULE_QUERY_SEGMENTS].data;
  a.k_segment.at = rule[MICA_RULE_KEY_SEGMENTS].data;
  const double *tables = x->tables < 0 ? NULL : c->saved[x->tables];
  if (a.slopes) a.slopes = tables;
  if (a.decays) a.decays = tables + a.heads;
  if (x->sharpened >= 0) a.sharpened = c->saved[x->sharpened];
  return a;
}
