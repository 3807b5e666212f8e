/* `mica train` of a network with a compressed table of vectors: its text, the stages that its
 * method needs, and what came out. */
#include "cli/train.h"

#include "base/buffer.h"

#include <mica/train_embedding.h>

#include <math.h>
#include <string.h>

char *train_architecture(const cli_args *a) {
  const char *table = cli_text(a, "--table"), *bytes = cli_text(a, "--bytes");
  const char *head = cli_text(a, "--head");
  mica_bytes b = {0};
  mica_bytes_text(&b, a->operand[0]);
  if (table || bytes) {
    mica_bytes_printf(&b, ":table=(%s", table ? table : "compositional");
    if (bytes) mica_bytes_printf(&b, ":bytes=%s", bytes);
    mica_bytes_text(&b, ")");
  }
  if (head) mica_bytes_printf(&b, " | head=%s", head);
  return mica_bytes_take(&b);
}

static mica_embedding_table *table_of(const mica_net *net) {
  return mica_embedding_at(mica_node_find(mica_params_root(mica_net_params(net)), "embedding"));
}

bool train_needs_stages(const mica_net *net) {
  mica_embedding_facts f = {0};
  if (table_of(net)) mica_embedding_describe(table_of(net), &f);
  return f.phases != 0;
}

static int on_progress(void *ctx, const char *what, int64_t done, int64_t total) {
  const train_watch *w = ctx;
  if (w->terminal && done % 50 == 0)
    fprintf(stderr, "\r%s: step %lld of %lld\033[K", what, (long long)done, (long long)total);
  return cli_interrupted();
}

mica_status train_stages(mica_net *net, const train_data *d, const mica_train_options *o,
                         train_watch *w, mica_train_result *result) {
  const mica_stream *train = d->steps.ctx ? &d->steps : &d->part[MICA_PART_TRAIN];
  const mica_stream *validation = &d->part[MICA_PART_VALIDATION];
  mica_train_embedding_options t = MICA_TRAIN_EMBEDDING_OPTIONS;
  mica_train_embedding_result r;
  *result = (mica_train_result){
      .loss = NAN, .best_val_accuracy = NAN, .best_epoch = -1, .best_val_loss = NAN};
  if (!validation->ctx)
    return mica_fail(MICA_ERR_INVALID, "this table's method needs a validation part");
  if (o->n_stages)
    return mica_fail(MICA_ERR_INVALID,
                     "--stage: this table's method has stages of its own, each of --epochs");
  t.optimiser = o->optimiser;
  t.loss = o->loss;
  t.evaluate = train->batches;
  t.steps = o->epochs * train->batches;
  t.warm_up = train->batches;
  t.tune = (o->epochs + 3) / 4 * train->batches;
  t.seed = o->seed;
  t.progress = on_progress;
  t.progress_ctx = w;
  mica_evaluation e = {0};
  mica_status status = mica_train_embedding(net, train, validation, &t, &r);
  if (w->terminal) fprintf(stderr, "\r\033[K");
  result->epochs = o->epochs;
  result->steps = r.steps + r.searched;
  w->auroc = r.auroc;
  if (status == MICA_OK) status = mica_evaluate(net, validation, false, false, &e);
  if (status == MICA_OK) result->best_val_loss = e.loss;
  if (status == MICA_OK) result->best_val_accuracy = e.accuracy;
  mica_evaluation_clear(&e);
  return status;
}

mica_status train_finish_table(const cli_args *a, const mica_net *net) {
  mica_embedding_table *table = table_of(net);
  const char *path = cli_text(a, "--table-out");
  mica_embedding_facts f;
  if (!table)
    return path ? mica_fail(MICA_ERR_INVALID, "--table-out: the network has no compressed table")
                : MICA_OK;
  mica_status status = mica_embedding_decide(table);
  if (status != MICA_OK) return status;
  mica_embedding_describe(table, &f);
  fprintf(stderr, "table: %lld ids of %lld numbers in %lld bytes, %.4f of %lld; %lld in training\n",
          (long long)f.rows, (long long)f.width, (long long)f.bytes, f.rate,
          (long long)f.full_bytes, (long long)f.training_bytes);
  if (!path) return MICA_OK;
  mica_packed_embedding *packed = NULL;
  status = mica_embedding_export(table, &packed);
  if (status == MICA_OK) status = mica_packed_embedding_save(packed, path);
  mica_packed_embedding_free(packed);
  return status;
}
