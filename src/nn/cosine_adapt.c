/* Scale, margin and hardness from a batch's cosines: see cosine.h. Sums of e^(scale cosine) are
 * logarithms throughout, for the scale goes to hundreds. */
#include "nn/cosine.h"

#include "tensor/element.h"

#include <math.h>
#include <stdlib.h>

/* Below this the median cosine is taken to be off 1, or the scale would have no bound. */
#define GAP_LEAST 1e-4

typedef struct by_cosine {
  double value;
  int64_t row;
} by_cosine;

static int ascending(const void *a, const void *b) {
  const by_cosine *x = a, *y = b;
  if (x->value != y->value) return x->value < y->value ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

/* ln of the sum over classes other than the label of e^(scale cosine); -inf where there is none. */
static double log_others(const mica_view *cosine, int64_t row, int64_t label, double scale) {
  const int64_t classes = cosine->shape.dim[1], first = row * classes;
  double top = -INFINITY, sum = 0;
  for (int64_t c = 0; c < classes; c++)
    if (c != label) top = fmax(top, scale * mica_view_element(cosine, first + c));
  if (isinf(top)) return top;
  for (int64_t c = 0; c < classes; c++)
    if (c != label) sum += exp(scale * mica_view_element(cosine, first + c) - top);
  return top + log(sum);
}

/* The same of each row, ascending, in place of `rows`. */
static void all_others(const mica_view *cosine, const int64_t *label, double scale,
                       by_cosine *rows) {
  const int64_t n = cosine->shape.dim[0];
  for (int64_t i = 0; i < n; i++) rows[i] = (by_cosine){log_others(cosine, i, label[i], scale), i};
  qsort(rows, (size_t)n, sizeof *rows, ascending);
}

static double log_mean(const by_cosine *rows, int64_t n) {
  const double top = rows[n - 1].value;
  double sum = 0;
  if (isinf(top)) return top;
  for (int64_t i = 0; i < n; i++) sum += exp(rows[i].value - top);
  return top + log(sum / (double)n);
}

static void adacos(const mica_view *cosine, const int64_t *label, by_cosine *rows,
                   mica_cosine_state *state) {
  const int64_t n = cosine->shape.dim[0];
  /* The lower median of angles is the upper one of cosines. */
  const double angle = acos(fmin(1, fmax(-1, rows[n / 2].value)));
  all_others(cosine, label, state->scale, rows);
  state->log_others = log_mean(rows, n);
  const double scale = state->log_others / cos(fmin(acos(-1) / 4, angle));
  /* Of two classes the logarithm may be 0 or below: the scale then stays. */
  if (isfinite(scale) && scale > 1) state->scale = scale;
}

static void madacos(const mica_cosine_options *o, const mica_view *cosine, const int64_t *label,
                    bool training, by_cosine *rows, mica_cosine_state *state) {
  const int64_t n = cosine->shape.dim[0], middle = rows[(n - 1) / 2].row;
  const double odds = log(o->top_prob / (1 - o->top_prob)) + log((1 - o->alpha) / o->alpha);
  state->scale = fmax(o->floor, odds / fmax(1 - state->median, GAP_LEAST));
  if (o->others == MICA_COSINE_OTHERS_SAMPLE) {
    state->log_others = log_others(cosine, middle, label[middle], state->scale);
  } else {
    all_others(cosine, label, state->scale, rows);
    state->log_others =
        o->others == MICA_COSINE_OTHERS_MEAN ? log_mean(rows, n) : rows[(n - 1) / 2].value;
  }
  const double margin =
      state->median - (state->log_others + log(o->alpha / (1 - o->alpha))) / state->scale;
  state->margin = training && margin > 0 && isfinite(margin) ? margin : 0;
}

mica_status mica_cosine_adapt(const mica_cosine_options *o, const mica_view *cosine,
                              const int64_t *label, bool training, mica_cosine_state *state) {
  const int64_t n = cosine->shape.dim[0], classes = cosine->shape.dim[1];
  state->median = state->log_others = NAN;
  state->margin = training ? o->margin : 0;
  if (!n) return MICA_OK;
  by_cosine *rows = mica_malloc((size_t)n * sizeof *rows);
  if (!rows) return MICA_ERR_MEMORY;
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    rows[i] = (by_cosine){mica_view_element(cosine, i * classes + label[i]), i};
    sum += rows[i].value;
  }
  qsort(rows, (size_t)n, sizeof *rows, ascending);
  state->median = rows[(n - 1) / 2].value;
  if (o->kind == MICA_COSINE_MADACOS)
    madacos(o, cosine, label, training, rows, state);
  else if (o->kind == MICA_COSINE_ADACOS && o->dynamic && training)
    adacos(cosine, label, rows, state);
  else if (o->kind == MICA_COSINE_CURRICULARFACE && training)
    state->hardness += o->momentum * (sum / (double)n - state->hardness);
  mica_free(rows);
  return MICA_OK;
}
