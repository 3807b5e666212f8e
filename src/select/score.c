/* Scoring the examples of a stream: one pass in evaluation mode, batch by batch. */
#include <mica/select.h>

#include "train/batch.h"

#include <string.h>

/* The loss of each example of a batch, for gradients example by example. */
static void example_losses(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out,
                           mica_var *out) {
  (void)n_in, (void)n_out;
  const mica_net *net = ctx;
  const mica_problem *p = mica_net_problem(net);
  int k = 0;
  mica_inputs inputs = {MICA_NONE, MICA_NONE, MICA_NONE};
  if (p->channels) inputs.x = in[k++];
  if (p->vocabulary) inputs.tokens = in[k++];
  if (p->fields) inputs.fields = in[k++];
  mica_outputs o;
  mica_cross_entropy_options each = MICA_CROSS_ENTROPY_OPTIONS;
  each.per_example = true;
  mica_net_forward_inputs(t, net, &inputs, &o);
  out[0] = mica_cross_entropy(t, o.logits, in[k], MICA_NONE, &each);
}

/* Contiguous float32 elements of a value. */
static mica_status plain(mica_tape *t, mica_var v, const char *what, mica_view *out) {
  if (!mica_ok(t)) return mica_tape_status(t);
  if (mica_is_none(v)) return mica_fail(MICA_ERR_INVALID, "the network gives no %s to score", what);
  *out = mica_read(t, v);
  if (mica_ok(t) && !mica_view_contiguous(out)) *out = mica_read(t, mica_affine(t, v, 1, 0));
  return mica_tape_status(t);
}

static mica_status score_batch(const mica_net *net, const mica_component *score,
                               const void *options, mica_tape *t, const mica_batch *batch,
                               double *out) {
  const mica_score_functions *fn = score->functions;
  mica_outputs o;
  mica_view logits, features = {0};
  mica_var in[4];
  if (!batch->labels || mica_tensor_count(batch->labels) != batch->n)
    return mica_fail(MICA_ERR_INVALID, "scores need one label for each example");
  mica_tape_reset(t);
  mica_set_training(t, false);
  mica_no_grad_begin(t);
  const mica_inputs inputs = mica_batch_inputs(t, batch);
  mica_net_forward_inputs(t, net, &inputs, &o);
  mica_status status = plain(t, o.logits, "logits", &logits);
  if (status == MICA_OK && (score->needs & MICA_NEED_FEATURES))
    status = plain(t, o.features, "features", &features);
  mica_no_grad_end(t);
  if (status != MICA_OK) return status;
  const int64_t classes = logits.shape.dim[logits.shape.rank - 1];
  if (mica_view_count(&logits) != batch->n * classes)
    return mica_fail(MICA_ERR_SHAPE, "scores need one row of logits for each example");
  const int64_t *label = mica_tensor_data(batch->labels);
  for (int64_t i = 0; i < batch->n; i++)
    if (label[i] < 0 || label[i] >= classes)
      return mica_fail(MICA_ERR_INVALID, "label %lld of an example, expected 0 to %lld",
                       (long long)label[i], (long long)classes - 1);
  int n = 0;
  if (batch->x) in[n++] = mica_input(t, batch->x);
  if (batch->tokens) in[n++] = mica_input(t, batch->tokens);
  if (batch->fields) in[n++] = mica_input(t, batch->fields);
  in[n++] = mica_input(t, batch->labels);
  const mica_score_input input = {.n = batch->n,
                                  .classes = classes,
                                  .width = features.data ? features.shape.dim[1] : 0,
                                  .logits = logits.data,
                                  .labels = label,
                                  .features = features.data,
                                  .t = t,
                                  .loss = example_losses,
                                  .loss_ctx = (void *)net,
                                  .n_in = n,
                                  .in = in};
  return fn->score(&input, options, out);
}

mica_status mica_score_examples(const mica_net *net, const char *spec, const mica_stream *stream,
                                int64_t n, bool add, double *score) {
  mica_spec *parsed = NULL;
  mica_tape *t = NULL;
  double *piece = NULL;
  mica_engine *engine = mica_params_engine(mica_net_params(net));
  mica_status status = mica_spec_parse(engine, MICA_KIND_SCORE, spec, &parsed);
  if (status == MICA_OK) status = mica_tape_create(engine, NULL, &t);
  if (status == MICA_OK) status = stream->seek(stream->ctx, 0, 0);
  if (status == MICA_OK && !add) memset(score, 0, (size_t)n * sizeof *score);
  int64_t at = 0;
  for (int64_t b = 0; b < stream->batches && status == MICA_OK; b++) {
    mica_batch batch = {0};
    status = stream->next(stream->ctx, &batch);
    if (status == MICA_OK && batch.parts)
      status = mica_fail(MICA_ERR_INVALID, "scores of a zipped stream; score its streams alone");
    if (status != MICA_OK) break;
    double *more = mica_realloc_array(piece, (size_t)batch.n + 1, sizeof *piece);
    if (!more) status = MICA_ERR_MEMORY;
    if (more) piece = more;
    if (status == MICA_OK)
      status = score_batch(net, mica_spec_component(parsed), mica_spec_options(parsed), t, &batch,
                           piece);
    const int64_t *ids = batch.ids ? mica_tensor_data(batch.ids) : NULL;
    for (int64_t i = 0; i < batch.n && status == MICA_OK; i++, at++) {
      const int64_t id = ids ? ids[i] : at;
      if (id < 0 || id >= n)
        status = mica_fail(MICA_ERR_INVALID, "example %lld, scores are wanted of %lld",
                           (long long)id, (long long)n);
      else
        score[id] += piece[i];
    }
  }
  mica_free(piece);
  mica_tape_free(t);
  mica_spec_free(parsed);
  return status;
}
