/* What `mica train` says while it runs. */
#include "cli/train_run.h"

#include <math.h>

mica_status train_watch_epoch(train_watch *w, const mica_epoch *e) {
  mica_epoch *more = mica_realloc_array(w->epoch, (size_t)w->epochs + 1, sizeof *more);
  if (!more) return MICA_ERR_MEMORY;
  w->epoch = more;
  more[w->epochs++] = *e;
  return MICA_OK;
}

int train_watch_report(void *ctx, const mica_train_metrics *m) {
  train_watch *w = ctx;
  const double left = mica_time_left_update(&w->left, mica_seconds(), m->step, m->steps_total);
  w->seconds = m->seconds;
  if (m->end_of_epoch && m->best) w->auroc = m->val_auroc;
  mica_status status = train_run_log(w, m);
  if (status == MICA_OK && m->end_of_epoch)
    status = train_watch_epoch(w, &(mica_epoch){m->loss, m->val_loss, m->val_accuracy});
  if (status != MICA_OK) {
    snprintf(w->failure, sizeof w->failure, "%s", mica_last_error());
    return 1;
  }
  if (w->json) {
    printf("{\"epoch\": %lld, \"step\": %lld, \"steps\": %lld, \"loss\": %.9g, \"lr\": %.9g",
           (long long)m->epoch, (long long)m->step, (long long)m->steps_total, m->loss, m->lr);
    if (m->end_of_epoch && isfinite(m->val_loss)) printf(", \"val_loss\": %.9g", m->val_loss);
    if (m->end_of_epoch && isfinite(m->val_accuracy))
      printf(", \"val_accuracy\": %.9g", m->val_accuracy);
    if (m->end_of_epoch && isfinite(m->val_auroc)) printf(", \"val_auroc\": %.9g", m->val_auroc);
    if (m->end_of_epoch && isfinite(m->val_loss))
      printf(", \"best\": %s", m->best ? "true" : "false");
    printf(", \"seconds\": %.3f}\n", m->seconds);
    fflush(stdout);
  } else if (m->end_of_epoch) {
    if (w->terminal) fprintf(stderr, "\r\033[K");
    fprintf(stderr, "epoch %lld  loss %.4f", (long long)m->epoch + 1, m->loss);
    if (w->clicks && isfinite(m->val_loss))
      fprintf(stderr, "  validation log loss %.4f, AUROC %.4f%s", m->val_loss, m->val_auroc,
              m->best ? " *" : "");
    else if (w->data->text && isfinite(m->val_loss))
      fprintf(stderr, "  validation loss %.4f, %.3f bits a byte%s", m->val_loss,
              train_text_bits(w->data, MICA_PART_VALIDATION, m->val_loss), m->best ? " *" : "");
    else if (w->data->pairs && isfinite(m->val_loss))
      fprintf(stderr, "  validation loss %.4f, %.2f%% of a batch's texts found%s", m->val_loss,
              100 * m->val_accuracy, m->best ? " *" : "");
    else if (isfinite(m->val_accuracy))
      fprintf(stderr, "  validation %.2f%%%s", 100 * m->val_accuracy, m->best ? " *" : "");
    else if (isfinite(m->val_loss))
      fprintf(stderr, "  validation loss %.4f%s", m->val_loss, m->best ? " *" : "");
    mica_cosine_state s;
    if (w->net && mica_nn_cosine_state(mica_net_head(w->net), &s))
      fprintf(stderr, "  scale %.1f, margin %.2f, median cosine %.2f", s.scale, s.margin, s.median);
    fprintf(stderr, "  %.0f s, %.0f s left\n", m->seconds, left > 0 ? left : 0);
  } else if (w->terminal) {
    fprintf(stderr, "\r\033[Kstep %lld of %lld  loss %.4f  %.0f s left", (long long)m->step,
            (long long)m->steps_total, m->loss, left > 0 ? left : 0);
  }
  return cli_interrupted();
}

void train_watch_free(train_watch *w) {
  (void)train_run_end(w);
  mica_free(w->epoch);
  w->epoch = NULL;
}
