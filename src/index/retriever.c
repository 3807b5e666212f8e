/* One stage of a retriever's training, and the mining of what is hard for it. */
#include <mica/optim.h>
#include <mica/retriever.h>

#include "base/progress.h"

#include <math.h>
#include <string.h>

mica_status mica_mine_negatives(const mica_index *index, const mica_view *queries,
                                const mica_view *coarse, const mica_relevance *truth, int64_t depth,
                                int64_t effort, int64_t *id) {
  const int64_t n = queries->shape.rank == 2 ? queries->shape.dim[0] : -1;
  if (n != truth->queries || depth < 1)
    return mica_fail(MICA_ERR_INVALID,
                     "mining: %lld queries of %lld, %lld candidates of each, expected 1 or more",
                     (long long)n, (long long)truth->queries, (long long)depth);
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = depth;
  o.effort = effort;
  o.coarse = coarse;
  o.seen_at = truth->at;
  o.seen = truth->relevant;
  double *score = mica_realloc_array(NULL, (size_t)n * (size_t)depth, sizeof *score);
  mica_status status = score ? mica_index_query(index, queries, &o, id, score) : MICA_ERR_MEMORY;
  const int64_t *number = mica_index_ids(index);
  for (int64_t i = 0; i < n * depth && !status; i++)
    if (id[i] >= 0) id[i] = number[id[i]];
  mica_free(score);
  return status;
}

/* ---- training ---- */

typedef struct {
  mica_retriever_fn encode;
  void *ctx;
  const mica_relevance *truth;
  const mica_retriever_options *o;
  mica_tape *tape;
  mica_optimiser *optimiser;
  mica_spec *schedule;
  mica_locality *batches;
  int64_t *query, *positive, *negative;
  mica_tensor *pairs, *more; /* masks, [batch, batch] and [batch, batch * negatives] */
} stage;

static bool is_right(const mica_relevance *r, int64_t query, int64_t document) {
  for (int64_t j = r->at[query]; j < r->at[query + 1]; j++)
    if (r->relevant[j] == document) return true;
  return false;
}

/* 1, and 0 where a document is right for a query. *any: is there a 0. */
static mica_var mask(const stage *s, mica_tensor *m, int64_t n, const int64_t *document,
                     int64_t columns, bool own) {
  float *to = mica_tensor_data(m);
  bool any = false;
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < columns; j++) {
      const bool right = !(own && i == j) && is_right(s->truth, s->query[i], document[j]);
      to[i * columns + j] = right ? 0 : 1;
      any |= right;
    }
  const mica_view v = mica_view_of(to, MICA_F32, MICA_SHAPE(n, columns));
  return any ? mica_borrow(s->tape, &v) : MICA_NONE;
}

static mica_status step(const stage *s, int64_t n, int64_t at, int64_t steps, double *loss) {
  const mica_retriever_options *o = s->o;
  mica_tape *t = s->tape;
  const int64_t more = n * o->batches.negatives;
  mica_tape_set_step(t, (uint64_t)at, 0);
  mica_var q = s->encode(t, s->ctx, false, n, s->query);
  mica_var k = s->encode(t, s->ctx, true, n, s->positive);
  mica_var m = more ? s->encode(t, s->ctx, true, more, s->negative) : MICA_NONE;
  mica_var pairs = mask(s, s->pairs, n, s->positive, n, true);
  mica_var further = more ? mask(s, s->more, n, s->negative, more, false) : MICA_NONE;
  mica_var l = o->codes
                   ? mica_contrastive_pq_loss(t, o->codes, q, k, m, pairs, further, &o->loss, NULL)
                   : mica_in_batch_loss(t, q, k, m, pairs, further, o->loss.temperature);
  *loss = mica_item(t, l);
  mica_backward(t, l);
  mica_status status = mica_tape_status(t);
  if (!status)
    status = mica_optimiser_step(s->optimiser, t, mica_schedule_factor(s->schedule, at, steps));
  if (!status) status = mica_commit(t);
  mica_tape_reset(t);
  return status;
}

static mica_status run(const stage *s, mica_params *params, mica_retriever_result *result) {
  const mica_retriever_options *o = s->o;
  const int64_t per_epoch = (s->truth->queries + o->batches.batch - 1) / o->batches.batch;
  const int64_t steps = o->epochs * per_epoch;
  mica_progress progress;
  mica_progress_begin(&progress, o->progress, o->progress_ctx, "steps", steps);
  mica_status status = MICA_OK;
  for (int64_t epoch = 0; epoch < o->epochs && !status; epoch++) {
    double sum = 0;
    int64_t n;
    mica_locality_begin(s->batches, epoch);
    if (o->epoch) status = o->epoch(s->ctx, epoch);
    while (!status &&
           (n = mica_locality_next(s->batches, s->query, s->positive, s->negative)) > 0) {
      double loss = 0;
      mica_params_zero_grad(params);
      status = step(s, n, result->steps, steps, &loss);
      if (!status && !isfinite(loss))
        status = mica_fail(MICA_ERR_NUMERIC, "retriever: the loss of step %lld is not finite",
                           (long long)result->steps);
      sum += loss * (double)n;
      result->steps++;
      if (!status) status = mica_progress_step(&progress, result->steps);
    }
    const double mean = sum / (double)s->truth->queries;
    if (epoch == 0) result->first_loss = mean;
    result->last_loss = mean;
  }
  return status ? status : mica_progress_end(&progress);
}

mica_status mica_retriever_train(mica_params *params, mica_retriever_fn encode, void *ctx,
                                 const mica_relevance *truth, const int64_t *candidates,
                                 int64_t depth, const mica_retriever_options *options,
                                 mica_retriever_result *out) {
  mica_retriever_options o = MICA_RETRIEVER_OPTIONS;
  mica_retriever_result result = {0};
  mica_tape_options tape = MICA_TAPE_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  if (o.epochs < 1)
    return mica_fail(MICA_ERR_INVALID, "retriever: %lld epochs, expected 1 or more",
                     (long long)o.epochs);
  stage s = {.encode = encode, .ctx = ctx, .truth = truth, .o = &o};
  mica_engine *engine = mica_params_engine(params);
  mica_status status = mica_locality_create(truth, candidates, depth, &o.batches, &s.batches);
  if (status) return status;
  const int64_t b = o.batches.batch, more = b * o.batches.negatives;
  tape.seed = o.batches.seed;
  s.query = mica_realloc_array(NULL, (size_t)b, sizeof *s.query);
  s.positive = mica_realloc_array(NULL, (size_t)b, sizeof *s.positive);
  s.negative = mica_realloc_array(NULL, (size_t)more + 1, sizeof *s.negative);
  status = s.query && s.positive && s.negative ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_tensor_create(MICA_F32, MICA_SHAPE(b, b), &s.pairs);
  if (!status) status = mica_tensor_create(MICA_F32, MICA_SHAPE(b, more), &s.more);
  if (!status) status = mica_tape_create(engine, &tape, &s.tape);
  if (!status) status = mica_optimiser_create(params, o.optimiser, &s.optimiser);
  if (!status) status = mica_schedule_parse(engine, o.schedule, &s.schedule);
  if (!status) {
    mica_set_training(s.tape, true);
    mica_optimiser_clip(s.optimiser, o.clip);
    status = run(&s, params, &result);
  }
  if (out) *out = result;
  mica_spec_free(s.schedule);
  mica_optimiser_free(s.optimiser);
  mica_tape_free(s.tape);
  mica_tensor_free(s.pairs);
  mica_tensor_free(s.more);
  mica_free(s.query);
  mica_free(s.positive);
  mica_free(s.negative);
  mica_locality_free(s.batches);
  return status;
}
