/* Counting how often an example is unlearnt during training (Toneva et al. 2019). */
#include <mica/select.h>

#include <math.h>

typedef struct visits {
  int64_t forgotten;
  bool was_right, ever_right;
} visits;

struct mica_forgetting {
  int64_t n;
  visits *of;
};

mica_status mica_forgetting_create(int64_t n, mica_forgetting **out) {
  if (n < 0) return mica_fail(MICA_ERR_INVALID, "forgetting: %lld examples", (long long)n);
  mica_forgetting *f = mica_calloc(1, sizeof *f);
  if (!f) return MICA_ERR_MEMORY;
  f->n = n;
  f->of = mica_calloc((size_t)n + 1, sizeof *f->of);
  if (!f->of) {
    mica_free(f);
    return MICA_ERR_MEMORY;
  }
  *out = f;
  return MICA_OK;
}

void mica_forgetting_free(mica_forgetting *f) {
  if (!f) return;
  mica_free(f->of);
  mica_free(f);
}

mica_status mica_forgetting_visit(mica_forgetting *f, int64_t m, const int64_t *ids,
                                  const bool *right) {
  for (int64_t i = 0; i < m; i++)
    if (ids[i] < 0 || ids[i] >= f->n)
      return mica_fail(MICA_ERR_INVALID, "forgetting: example %lld, expected 0 to %lld",
                       (long long)ids[i], (long long)f->n - 1);
  for (int64_t i = 0; i < m; i++) {
    visits *v = &f->of[ids[i]];
    v->forgotten += v->was_right && !right[i];
    v->was_right = right[i];
    v->ever_right |= right[i];
  }
  return MICA_OK;
}

void mica_forgetting_scores(const mica_forgetting *f, double *score) {
  for (int64_t i = 0; i < f->n; i++)
    score[i] = f->of[i].ever_right ? (double)f->of[i].forgotten : INFINITY;
}

int mica_forgetting_visitor(void *ctx, const mica_batch *batch, const mica_view *logits) {
  const int64_t classes = logits->shape.dim[logits->shape.rank - 1];
  if (!batch->ids || !batch->labels || mica_view_count(logits) != batch->n * classes) {
    mica_fail(MICA_ERR_INVALID, "forgetting: batches need ids and one label for each example");
    return 1;
  }
  const int64_t *ids = mica_tensor_data(batch->ids), *label = mica_tensor_data(batch->labels);
  for (int64_t i = 0; i < batch->n; i++) {
    const float *row = (const float *)logits->data + i * classes;
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++)
      if (row[c] > row[best]) best = c;
    const bool right = best == label[i];
    if (mica_forgetting_visit(ctx, 1, &ids[i], &right) != MICA_OK) return 1;
  }
  return 0;
}
